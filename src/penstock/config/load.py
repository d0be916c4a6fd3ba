"""One loader that reports all faults, each with its path. The only reader of the environment.

Steps: YAML -> plain values (duplicate keys refused) -> shape faults -> typed Config -> meaning faults -> secrets.
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml
from msgspec import Struct, field

from penstock.config.catalogue import Catalogue
from penstock.config.fault import Fault
from penstock.config.meaning import meaning_faults, meaning_warnings
from penstock.config.schema import Config
from penstock.config.secrets import Secret, resolve
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


def load(path: Path, environ: Mapping[str, str], catalogue: Catalogue, today: str) -> Loaded:
    """Read a file. Never raises for what is in it: faults are values. ``today`` is an ISO date, for lifecycles."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return _refused("$", f"There is no file {path}.", "Give the path of a YAML file to --config.")
    except (OSError, UnicodeDecodeError) as error:
        return _refused(
            "$", f"{path} cannot be read: {error}.", "Check its permissions and that it is UTF-8."
        )
    return load_text(text, path.parent, environ, catalogue, today)


def load_text(text: str, base: Path, environ: Mapping[str, str], catalogue: Catalogue, today: str) -> Loaded:
    """The same for text; relative files are found from ``base``."""
    try:
        document = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader that refuses repeated keys
    except yaml.YAMLError as error:
        return _refused("$", f"This is not YAML: {_place(error)}", "Check indentation and quotes there.")
    if document is None:
        document = {}
    faults = shape_faults(document, Config)
    if faults:
        return Loaded(None, faults, text=text, base=base)
    config = msgspec.convert(document, Config)
    faults = meaning_faults(config, catalogue)
    secrets: dict[str, Secret] = {}
    for place, reference in references(config):
        found = resolve(reference, environ, base)
        if isinstance(found, Secret):
            secrets[reference] = found
        else:
            faults.append(Fault(place, found.reason, _secret_remedy(found.code)))
    warnings = meaning_warnings(config, catalogue, today)
    return Loaded(None if faults else config, faults, warnings, secrets, text, base)


def references(config: Config) -> list[tuple[str, str]]:
    """Every secret reference of the configuration, with its path."""
    found: list[tuple[str, str]] = []
    for name, provider in config.providers.items():
        path = f"$.providers.{name}"
        found += [(f"{path}.keys[{i}].value", key.value) for i, key in enumerate(provider.keys)]
        if provider.credentials is not None:
            found.append((f"{path}.credentials", provider.credentials))
        proxy = provider.network.proxy
        if proxy is not None and proxy.startswith(("env.", "file:")):
            found.append((f"{path}.network.proxy", proxy))
    found += [(f"$.virtual_keys[{i}].key", key.key) for i, key in enumerate(config.virtual_keys)]
    if config.server.admin_key is not None:
        found.append(("$.server.admin_key", config.server.admin_key))
    return found


def _secret_remedy(code: str) -> str:
    if code == "secret-in-plain":
        return "Write env.NAME or file:PATH, and keep the secret there."
    if code == "secret-unset":
        return "Set it before starting, or name another variable."
    return "Write a readable, non-empty file's path after file:."


def _refused(path: str, message: str, remedy: str) -> Loaded:
    return Loaded(None, [Fault(path, message, remedy)])


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it cannot be parsed"
    return (
        f"{problem} (line {mark.line + 1}, column {mark.column + 1})." if mark is not None else f"{problem}."
    )


class _UniqueKeys(yaml.SafeLoader):
    """YAML 1.1's loader lets the last of two equal keys win in silence; we refuse."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping, or an error that names the repeated key and its place."""
        seen: set[Any] = set()
        pairs: list[tuple[yaml.Node, yaml.Node]] = node.value
        for key_node, _ in pairs:
            key = cast("Any", self.construct_object(key_node, deep=True))  # pyright: ignore[reportUnknownMemberType]
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


# A date such as ``expires: 2027-01-01`` stays the text that was written.
_UniqueKeys.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
