"""One loader that reports all faults, each with its path. The only reader of the environment.

Steps: YAML -> plain values (duplicate keys refused) -> shape faults -> typed Config -> meaning faults -> secrets. Where
there are shape faults, what is left without them goes the same way, so that one run says everything.
Rule: no message and no repr repeats a value that may be a secret.
"""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml
from msgspec import Struct, field

from penstock.base.ready import ready
from penstock.config.borrowing import borrowed
from penstock.config.catalogue import Catalogue
from penstock.config.fault import Fault
from penstock.config.hooks import webhook_notices
from penstock.config.meaning import meaning_faults, secret_faults
from penstock.config.mend import follows, mended
from penstock.config.notices import notices
from penstock.config.schema import Config
from penstock.config.secrets import Secret, is_hash, is_reference, resolve, virtual_secrets
from penstock.config.shape import shape_faults


class Loaded(Struct):
    """What loading gave: a Config exactly where there are no faults.

    ``secrets`` maps a reference as written to its Secret. ``warnings`` (lifecycle dates and the like) refuse nothing.
    """

    config: Config | None
    faults: list[Fault]
    warnings: list[Fault] = field(default_factory=list[Fault])
    secrets: dict[str, Secret] = field(default_factory=dict[str, Secret])
    text: str = ""
    base: Path = field(default_factory=Path)
    closed: bool = False
    """Virtual keys were made at run time: without any left the gateway stays closed."""

    made: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    """What tells an object made at run time from another that had its name before: by kind and name."""

    def __repr__(self) -> str:
        """Without the text: a refused file may hold a secret in plain."""
        return f"Loaded({len(self.faults)} faults, {len(self.warnings)} warnings, from {self.base})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """For rich, which would not ask ``__repr__``."""
        return [("faults", self.faults), ("warnings", self.warnings), ("base", str(self.base))]


def load(
    path: Path, environ: Mapping[str, str], catalogue: Catalogue, today: str, *, secrets: bool = True
) -> Loaded:
    """Read a file. Never raises for what is in it: faults are values. ``today`` is an ISO date, for lifecycles.

    Without ``secrets`` none is resolved, and none is missed: for who only wants to know what the file says.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return _refused("$", f"There is no file {path}.", "Give the path of a YAML file to --config.")
    except OSError as error:
        return _refused(
            "$", f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions."
        )
    except UnicodeDecodeError as error:
        return _refused("$", f"{path} is not UTF-8 (byte {error.start}).", "Save it as UTF-8.")
    return load_text(text, path.parent, environ, catalogue, today, resolving=secrets)


def value_of(text: str) -> Any:
    """One value as a configuration would hold it: a list, fields, a number, text. ValueError for what is no YAML."""
    try:
        return yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader that refuses repeated keys
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError("it is no YAML value") from error


def load_text(
    text: str,
    base: Path,
    environ: Mapping[str, str],
    catalogue: Catalogue,
    today: str,
    *,
    resolving: bool = True,
) -> Loaded:
    """The same for text; relative files are found from ``base``."""
    try:
        document = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader that refuses repeated keys
    except yaml.YAMLError as error:
        return Loaded(None, [_not_yaml(error)])
    except (ValueError, TypeError, AttributeError, OverflowError):
        # What PyYAML's own constructors raise for a tag whose value does not fit: "!!int x", "!!timestamp x".
        return _refused("$", "A value does not fit its YAML tag (!!int, ...).", "Write it without the tag.")
    except RecursionError:
        return _refused("$", "The nesting is too deep.", "Flatten it: no knob is nested so deeply.")
    if document is None:
        document = {}
    ready(Config)
    structural = shape_faults(document, Config)
    if structural and not isinstance(document, dict):
        return Loaded(None, structural, text=text, base=base)
    try:
        config = msgspec.convert(mended(document, Config) if structural else document, Config)
    except msgspec.ValidationError as error:  # a rule that shape_faults does not know: said, if not so well
        return Loaded(None, structural or [Fault("$", f"{error}.")], text=text, base=base)
    faults = meaning_faults(config, catalogue, base)
    secrets: dict[str, Secret] = {}
    for place, reference in references(config) if resolving else ():
        found = resolve(reference, environ, base)
        if isinstance(found, Secret):
            secrets[reference] = found
        else:
            faults.append(Fault(place, found.reason, _secret_remedy(found.code)))
    faults += secret_faults(config, secrets)
    known = Catalogue((), borrowed(config, catalogue))
    warnings = [*notices(config, known, today), *webhook_notices(config, secrets)]
    if structural:
        faults = structural + [fault for fault in faults if not follows(fault, structural)]
        warnings = [warning for warning in warnings if not follows(warning, structural)]
    return Loaded(None if faults else config, faults, warnings, secrets, text, base)


def references(config: Config) -> list[tuple[str, str]]:
    """Every secret reference of the configuration, with its path."""
    found: list[tuple[str, str]] = []
    for name, provider in config.providers.items():
        path = f"$.providers.{name}"
        found += [(f"{path}.keys[{i}].value", key.value) for i, key in enumerate(provider.keys)]
        if provider.aws is not None:
            found += provider.aws.secrets(f"{path}.aws")
        if provider.credentials is not None:
            found.append((f"{path}.credentials", provider.credentials))
        proxy = provider.network.proxy
        if proxy is not None and is_reference(proxy):
            found.append((f"{path}.network.proxy", proxy))
    for i, key in enumerate(config.virtual_keys):
        secrets = virtual_secrets(f"$.virtual_keys[{i}]", key)
        found += [(path, reference) for path, reference in secrets if not is_hash(reference)]
    if config.server.admin_key is not None:
        found.append(("$.server.admin_key", config.server.admin_key))
    for i, hook in enumerate(config.alerts.webhooks):
        path = f"$.alerts.webhooks[{i}]"
        found += [(f"{path}.url", hook.url)] if is_reference(hook.url) else []
        found.append((f"{path}.secret", hook.secret))
    if config.jobs.webhook_secret is not None:
        found.append(("$.jobs.webhook_secret", config.jobs.webhook_secret))
    if config.ledger.url is not None and is_reference(config.ledger.url):
        found.append(("$.ledger.url", config.ledger.url))
    if config.state.url is not None and is_reference(config.state.url):
        found.append(("$.state.url", config.state.url))
    if config.cache.redis is not None and is_reference(config.cache.redis):
        found.append(("$.cache.redis", config.cache.redis))
    return found


def _secret_remedy(code: str) -> str:
    if code == "secret-in-plain":
        return "Write env.NAME or file:PATH, and keep the secret there."
    if code == "secret-unset":
        return "Set it before starting, or name another variable."
    if code == "secret-misnamed":
        return "Write env.NAME, with letters, digits and _ in NAME."
    return "Write a readable, non-empty file's path after file:."


def _refused(path: str, message: str, remedy: str) -> Loaded:
    return Loaded(None, [Fault(path, message, remedy)])


def _not_yaml(error: yaml.YAMLError) -> Fault:
    if isinstance(error, _Refused):
        return Fault("$", f"This YAML is refused: {_place(error)}", error.remedy)
    if "'\\t'" in (getattr(error, "problem", None) or ""):
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        return Fault("$", f"This is not YAML: a tab stands before the text{line}.", "Indent with spaces.")
    return Fault("$", f"This is not YAML: {_place(error)}", "Check indentation, brackets and quotes there.")


def _place(error: yaml.YAMLError) -> str:
    """What and where. Words of the file are left out (a secret may begin with ``*`` or ``!``), but for our own."""
    mark = getattr(error, "problem_mark", None)
    said = (getattr(error, "context", None), getattr(error, "problem", None))
    problem = ", ".join(part for part in said if part) or "it cannot be parsed"
    if not isinstance(error, _Refused):
        problem = _HANGING.sub("", _QUOTED.sub(r"\1", problem))
    if mark is None:
        return f"{problem}."
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})."


# PyYAML quotes single characters of its own ("',' or ']'") and words of the file.
_QUOTED = re.compile(r"(?:( '.')| ?'[^']{2,}')(?!\w)")
_HANGING = re.compile(r",? (?:but|and) (?:got|found)$")
_MERGE = "tag:yaml.org,2002:merge"


class _Refused(yaml.constructor.ConstructorError):
    """Our own refusal: its words may be shown."""

    def __init__(self, problem: str, mark: yaml.Mark, remedy: str) -> None:
        super().__init__(None, None, problem, mark)
        self.remedy = remedy


class _UniqueKeys(yaml.SafeLoader):
    """YAML 1.1's loader lets the last of two equal keys win in silence; we refuse."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping, or an error that names the repeated key and its place. ``<<`` merges, as YAML 1.1 says."""
        seen: set[Any] = set()
        pairs: list[tuple[yaml.Node, yaml.Node]] = node.value
        for key_node, _ in pairs:
            if key_node.tag == _MERGE:
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Refused("a name is no plain word", key_node.start_mark, "Write a plain word.")
            key = cast("Any", self.construct_object(key_node, deep=True))  # pyright: ignore[reportUnknownMemberType]
            if key in seen:
                raise _Refused(f"the key {key!r} stands twice", key_node.start_mark, "Make the two one.")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """Text, but no half of a surrogate pair ("\\ud800"): it cannot be printed or sent."""
        value = cast("Any", super().construct_scalar(node))  # pyright: ignore[reportUnknownMemberType]
        if isinstance(value, str) and any("\ud800" <= mark <= "\udfff" for mark in value):
            raise _Refused("a text holds half of a surrogate pair", node.start_mark, "Take it out.")
        return value


# A date such as ``expires: 2027-01-01`` stays the text that was written.
_UniqueKeys.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
