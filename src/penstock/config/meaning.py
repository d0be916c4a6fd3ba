"""Faults of meaning: what is well-formed and still cannot be built. What only warns is in ``notices``."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import msgspec

from penstock.base.endpoint import parse_base_url, parse_proxy
from penstock.config.cache_meaning import cache_faults
from penstock.config.catalogue import Catalogue, ProviderFacts, own_price
from penstock.config.currencies import currency_faults
from penstock.config.fault import Fault, shown
from penstock.config.governing import governing_faults
from penstock.config.hooks import webhook_faults
from penstock.config.price_lines import starts_ms
from penstock.config.rates import rate_faults
from penstock.config.schema import Config, DialectName, PriceOverride, ProviderConfig, TargetConfig, TargetRef
from penstock.config.schema_aws import aws_faults
from penstock.config.secrets import (
    Secret,
    is_reference,
    key_hash,
    local_path,
    reference_name,
    virtual_secrets,
)
from penstock.config.shape import nearest
from penstock.config.state_url import state_faults

SPOKEN: frozenset[str] = frozenset(get_args(DialectName))
"""Dialects of this version."""
LATER: frozenset[str] = frozenset()
"""Dialects whose providers load now and are served by a later version."""
ALSO_RESPONSES = frozenset({"openai", "openrouter", "xai"})
"""Providers of the dialect openai that have the Responses API at the same address."""
_LEDGER_URL = "postgresql://user@host:5432/database"
NOT_OVERRIDDEN = frozenset({"model", "messages", "stream", "stream_options"})
"""Parameters that a target cannot replace: the gateway itself decides them."""


def meaning_faults(config: Config, catalogue: Catalogue, base: Path) -> list[Fault]:
    """All of them, but for what needs the secrets. Files are found from ``base``."""
    faults: list[Fault] = []
    for name, provider in config.providers.items():
        faults += _provider_faults(name, provider, catalogue)
        faults += _network_faults(name, provider, base)
        faults += _key_faults(name, provider)
    faults += _target_faults(config, catalogue)
    faults += _route_faults(config)
    faults += _chain_faults(config)
    faults += _virtual_key_faults(config)
    faults += governing_faults(config)
    faults += _price_faults(config)
    faults += rate_faults(config)
    faults += currency_faults(config)
    if config.ledger.url is not None and not is_reference(config.ledger.url):
        faults += _ledger_faults(config.ledger.url, plain=True)
    if config.state.url is not None and not is_reference(config.state.url):
        faults += state_faults(config.state.url, plain=True)
    faults += cache_faults(config)
    return faults


def _ledger_faults(url: str, *, plain: bool) -> Iterator[Fault]:
    """Of ``ledger.url``. What stands in it is not repeated: it may be a password."""
    path = "$.ledger.url"
    try:
        parts = urlsplit(url)
        secret = parts.password is not None or "password=" in parts.query
    except ValueError:
        yield Fault(path, "This is no URL (it is not repeated here).", f"Write {_LEDGER_URL}.")
        return
    if parts.scheme not in ("postgresql", "postgres"):
        yield Fault(
            path, "The ledger's URL is not PostgreSQL's.", f"Write {_LEDGER_URL}, or path: for a SQLite file."
        )
    elif plain and secret:
        yield Fault(
            path,
            "A password must not stand in the configuration (it is not repeated here).",
            "Write env.NAME or file:PATH, and keep the whole URL there.",
        )


WITH_FILES = frozenset({"openai", "responses", "anthropic", "gemini"})
"""Dialects whose providers have a store for files (penstock.dialects.UPLOADS)."""


def _provider_faults(name: str, provider: ProviderConfig, catalogue: Catalogue) -> Iterator[Fault]:
    path = f"$.providers.{name}"
    if not name or "/" in name or name != name.strip():
        yield Fault(path, "A provider's name has no slash and no spaces around it.", "Rename it.")
    facts = catalogue.provider(name)
    dialect = provider.dialect or (facts.dialect if facts is not None else None)
    if dialect is None:
        close = nearest(name, [known.name for known in catalogue.providers()])
        meant = f"Did you mean {close!r}? Else add" if close else "Add"
        yield Fault(
            path, f"{shown(name)} is not a known provider.", f"{meant} dialect: openai and network.base_url."
        )
    elif dialect not in SPOKEN | LATER:
        yield Fault(
            f"{path}.dialect",
            f"No dialect of this version speaks to {name}.",
            "Where it has an OpenAI-compatible address, add dialect: openai and network.base_url.",
        )
    elif provider.uploads.when in ("needed", "large") and dialect not in WITH_FILES:
        yield Fault(
            f"{path}.uploads.when",
            f"{name} has no store for files that a request could name.",
            f"Take the field out: {', '.join(sorted(WITH_FILES))} have one.",
        )
    yield from _address_faults(path, provider, facts, dialect)
    if dialect == "vertex":
        for field, value, example in (
            ("project", provider.project, "my-project"),
            ("location", provider.location, "us-east5 (or global)"),
        ):
            if not value:
                yield Fault(f"{path}.{field}", f"Vertex needs {field}.", f"Add {field}: {example}")
        if provider.credentials is None and not provider.keys:
            yield Fault(f"{path}.credentials", "Vertex needs credentials.", "Add credentials: file:sa.json")
    yield from aws_faults(
        path, provider.aws, provider.location, provider.network.base_url, bedrock=dialect == "bedrock"
    )
    for alias, model in provider.models.items():
        if not alias or not model:
            yield Fault(f"{path}.models.{alias}", "An alias or its model is empty.", "Write alias: model-id.")


def _address_faults(
    path: str, provider: ProviderConfig, facts: ProviderFacts | None, dialect: str | None
) -> Iterator[Fault]:
    """Is it known where the provider lives?"""
    place = f"{path}.network.base_url"
    if provider.network.base_url is not None:
        try:
            parse_base_url(provider.network.base_url)
        except ValueError as error:
            yield Fault(place, str(error), "Write https://host[:port][/path].")
    elif facts is not None and provider.dialect == "responses" and facts.name in ALSO_RESPONSES:
        return  # beside the chat completions, at the same address
    elif facts is not None and provider.dialect not in (None, facts.dialect):
        yield Fault(
            place,
            f"{facts.name} speaks {facts.dialect} at its known address, not {provider.dialect}.",
            f"Write the address where it speaks {provider.dialect}, or drop dialect.",
        )
    elif dialect in ("openai", "responses") if facts is None else not facts.base_url and dialect in SPOKEN:
        yield Fault(place, "No base URL is known.", "Write https://host/v1.")


def _network_faults(name: str, provider: ProviderConfig, base: Path) -> Iterator[Fault]:
    path, network = f"$.providers.{name}.network", provider.network
    if network.proxy is not None and not is_reference(network.proxy):
        yield from _proxy_faults(f"{path}.proxy", network.proxy, plain=True)
    if network.ca_file is not None:
        try:
            ssl.create_default_context(cafile=local_path(network.ca_file, base))
        except ssl.SSLError:
            yield Fault(f"{path}.ca_file", "The file holds no PEM certificates.", "Name a PEM bundle.")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            yield Fault(f"{path}.ca_file", f"The file cannot be read: {why}.", "Name a readable PEM bundle.")
    retry = network.retry
    if retry.backoff_max_ms < retry.backoff_initial_ms:
        yield Fault(
            f"{path}.retry.backoff_max_ms",
            f"The ceiling is below the first back-off ({retry.backoff_initial_ms} ms).",
            "Raise it, or lower backoff_initial_ms.",
        )


def _proxy_faults(path: str, url: str, *, plain: bool) -> Iterator[Fault]:
    try:
        proxy = parse_proxy(url)
    except ValueError as error:
        yield Fault(path, str(error), "Write http://host:port.")
        return
    if plain and proxy.authorization is not None:
        yield Fault(
            path,
            "A password must not stand in the configuration (it is not repeated here).",
            "Write env.NAME, and keep the whole URL there.",
        )


def _key_faults(name: str, provider: ProviderConfig) -> Iterator[Fault]:
    path = f"$.providers.{name}"
    seen: set[str] = set()
    for i, key_name in enumerate(_key_names(provider)):
        if key_name is not None and key_name in seen:
            yield Fault(
                f"{path}.keys[{i}].name", f"Two keys are named {shown(key_name)}.", "Give each its own name."
            )
        seen.add(key_name or "")
        if not provider.keys[i].models:
            yield Fault(
                f"{path}.keys[{i}].models", "The list is empty: no model at all.", 'Write ["*"] for all.'
            )


def _key_names(provider: ProviderConfig) -> list[str | None]:
    """Names of a provider's keys, as ``provider_keys`` may use them; None where it would be made of a secret."""
    return [
        key.name or (reference_name(key.value) if is_reference(key.value) else None) for key in provider.keys
    ]


def model_of(ref: TargetRef) -> str:
    """``provider/model`` of a target, however it is written."""
    return ref if isinstance(ref, str) else ref.model


def targets_of(config: Config) -> list[tuple[str, TargetRef]]:
    """Every target that the configuration names, with its path."""
    found: list[tuple[str, TargetRef]] = []
    for i, chain in enumerate(config.fallbacks):
        path = f"$.fallbacks[{i}]"
        found.append((f"{path}.primary", chain.primary))
        if chain.secondary is not None:
            found.append((f"{path}.secondary", chain.secondary))
        if chain.tertiary is not None:
            found.append((f"{path}.tertiary", chain.tertiary))
        found += [(f"{path}.fallbacks[{n}]", ref) for n, ref in enumerate(chain.fallbacks)]
    for block, routes in (("routes", config.routes), ("mcp", config.mcp)):
        for i, route in enumerate(routes):
            found.append((f"$.{block}[{i}].primary", route.primary))
            found += [(f"$.{block}[{i}].fallbacks[{n}]", ref) for n, ref in enumerate(route.fallbacks)]
    return found


def _target_faults(config: Config, catalogue: Catalogue) -> Iterator[Fault]:
    for path, ref in targets_of(config):
        provider, slash, model = model_of(ref).partition("/")
        if not slash or not model:
            yield Fault(path, f"{model_of(ref)!r} names no provider.", "Write provider/model.")
        elif provider not in config.providers:
            known = catalogue.provider(provider) is not None  # then it is no misspelt one
            close = None if known else nearest(provider, list(config.providers))
            meant = f"Did you mean {close}/{model}?" if close else f"Add {provider} under providers."
            yield Fault(path, f"The provider {provider!r} is not configured.", meant)
        if isinstance(ref, TargetConfig):
            yield from _params_faults(f"{path}.params", ref.params)


def _params_faults(path: str, params: dict[str, Any]) -> Iterator[Fault]:
    for name, value in params.items():
        place = f"{path}.{name}"
        if name in NOT_OVERRIDDEN:
            yield Fault(place, f"A target cannot replace {name!r}.", "Take it out.")
        elif not _is_json(value):
            yield Fault(
                place, "The value cannot be sent as JSON.", "Write text, numbers, true, lists or fields."
            )
        elif name in _PARAMS and not _fits(value, _PARAMS[name]):
            yield Fault(place, f"This value is no {name}.", f"Write {_PARAM_WORDS[_PARAMS[name]]}.")


_NUMBER, _WHOLE, _WORD = int | float | None, int | None, str | None
_PARAMS: dict[str, Any] = {
    **dict.fromkeys(("temperature", "top_p", "presence_penalty", "frequency_penalty"), _NUMBER),
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "n", "seed", "top_k", "top_logprobs"), _WHOLE),
    **dict.fromkeys(("reasoning_effort", "service_tier", "user", "verbosity"), _WORD),
}
"""Parameters whose kind every dialect agrees on. What is not listed goes to the provider as it is."""
_PARAM_WORDS: dict[Any, str] = {_NUMBER: "a number", _WHOLE: "a whole number", _WORD: "text"}


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError:
        return False
    return True


def _is_json(value: Any) -> bool:
    """JSON would give back what was written: no sets, bytes, NaN, names that are no text, or endless loops."""
    try:
        return bool(msgspec.json.decode(msgspec.json.encode(value)) == value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return False


def _route_faults(config: Config) -> Iterator[Fault]:
    seen: set[str] = set()
    for block, routes in (("routes", config.routes), ("mcp", config.mcp)):
        for i, route in enumerate(routes):
            path = f"$.{block}[{i}].id"
            if not route.id:
                yield Fault(path, "The id is empty.", "Write the name that callers use as model.")
            elif route.id in seen:
                yield Fault(path, f"The route {route.id!r} stands twice.", "Give each its own id.")
            seen.add(route.id)


def _chain_faults(config: Config) -> Iterator[Fault]:
    primaries: set[str] = set()
    for i, chain in enumerate(config.fallbacks):
        name = model_of(chain.primary)
        if name in primaries:
            yield Fault(f"$.fallbacks[{i}].primary", f"{name!r} has two chains.", "Make them one.")
        primaries.add(name)
        if chain.tertiary is not None and chain.secondary is None:
            yield Fault(f"$.fallbacks[{i}].tertiary", "There is no secondary.", "Call it secondary.")


def _virtual_key_faults(config: Config) -> Iterator[Fault]:
    names: set[str] = set()
    secrets: set[str] = set()
    known = [
        f"{name}.{key}"
        for name, provider in config.providers.items()
        for key in _key_names(provider)
        if key is not None
    ]
    for i, key in enumerate(config.virtual_keys):
        path = f"$.virtual_keys[{i}]"
        if not key.name:
            yield Fault(f"{path}.name", "The name is empty.", "Write who the key stands for.")
        elif key.name in names:
            yield Fault(f"{path}.name", f"Two virtual keys are named {shown(key.name)}.", "Rename one.")
        if key.key in secrets:
            yield Fault(f"{path}.key", "Two virtual keys share one secret.", "Give each its own.")
        names.add(key.name)
        secrets.add(key.key)
        for n, wanted in enumerate(key.provider_keys):
            if wanted not in known:
                close = nearest(wanted, known)
                meant = f"Did you mean {close!r}?" if close else f"Known: {', '.join(known) or 'none'}."
                yield Fault(f"{path}.provider_keys[{n}]", f"There is no key {shown(wanted)}.", meant)


def _price_faults(config: Config) -> Iterator[Fault]:
    seen: set[tuple[str, int]] = set()
    for i, own in enumerate(config.prices):
        path = f"$.prices[{i}]"
        try:
            from_ms = starts_ms(own.starts)
        except ValueError:
            yield Fault(f"{path}.from", f"{own.starts!r} is no date.", "Write an ISO date, 2026-12-01.")
            from_ms = -1 - i
        provider, slash, model = own.model.partition("/")
        if not (provider and slash and model):
            yield Fault(f"{path}.model", f"{own.model!r} names no provider.", "Write provider/model.")
        elif (own.model, from_ms) in seen:
            what = f"{own.model!r} has two prices" + (" from one moment on." if own.starts else ".")
            yield Fault(
                f"{path}.model", what, "Make them one, or say from when each holds (from: 2026-12-01)."
            )
        seen.add((own.model, from_ms))
        if not own.usd_per_million:
            yield Fault(
                f"{path}.usd_per_million", "There is no unit.", 'Write {input: "0.15", output: "0.6"}.'
            )
        for unit, text in own.usd_per_million.items():
            # One unit at a time, so that each fault has its own place.
            try:
                own_price(PriceOverride(model="any/model", usd_per_million={unit: text}))
            except ValueError as error:
                yield Fault(f"{path}.usd_per_million.{unit}", f"{error}.", 'Write decimal text, "0.15".')


def secret_faults(config: Config, secrets: dict[str, Secret]) -> list[Fault]:
    """What is wrong with secrets that were found. No message repeats one."""
    return [
        *_header_faults(config, secrets),
        *_resolved_faults(config, secrets),
        *webhook_faults(config, secrets),
    ]


def _header_faults(config: Config, secrets: dict[str, Secret]) -> Iterator[Fault]:
    """Keys travel in headers: visible ASCII only. And two callers must not share one."""
    places = [
        (f"$.providers.{name}.keys[{i}].value", key.value)
        for name, provider in config.providers.items()
        for i, key in enumerate(provider.keys)
    ]
    callers = [
        (path, reference)
        for i, key in enumerate(config.virtual_keys)
        for path, reference in virtual_secrets(f"$.virtual_keys[{i}]", key)
    ]
    admin = [("$.server.admin_key", config.server.admin_key)] if config.server.admin_key else []
    for path, reference in (*places, *callers, *admin):
        secret = secrets.get(reference)
        if secret is not None and not all("!" <= mark <= "~" for mark in secret.reveal()):
            yield Fault(
                path,
                f"What {reference} holds cannot stand in a header: it has a space, a line break or a special mark.",
                "Keep the key alone there, on one line.",
            )
    seen: dict[bytes, str] = {}
    for path, reference in callers:
        hashed = key_hash(reference, secrets)
        if hashed is not None and seen.setdefault(hashed, reference) != reference:
            yield Fault(path, "Two virtual keys hold the same secret.", "Give each its own.")


def _resolved_faults(config: Config, secrets: dict[str, Secret]) -> Iterator[Fault]:
    ledger = secrets.get(config.ledger.url or "")
    if ledger is not None:
        yield from _ledger_faults(ledger.reveal(), plain=False)
    state = secrets.get(config.state.url or "")
    if state is not None:
        yield from state_faults(state.reveal(), plain=False)
    shared = secrets.get(config.cache.redis or "")
    if shared is not None:
        yield from state_faults(shared.reveal(), plain=False, path="$.cache.redis")
    for name, provider in config.providers.items():
        path = f"$.providers.{name}"
        credentials = secrets.get(provider.credentials or "")
        if credentials is not None and not _is_account(credentials.reveal()):
            yield Fault(
                f"{path}.credentials",
                "This is not a Google service account's key: it needs client_email and private_key.",
                "Download the account's key as JSON, and name that file.",
            )
        proxy = secrets.get(provider.network.proxy or "")
        if proxy is not None:
            yield from _proxy_faults(f"{path}.network.proxy", proxy.reveal(), plain=False)


class _Account(msgspec.Struct):
    client_email: str
    private_key: str
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address


def _is_account(text: str) -> bool:
    """The fields that a token needs. Whether the key itself is sound shows when the house is built."""
    try:
        account = msgspec.json.decode(text.encode(), type=_Account)
        parse_base_url(account.token_uri)
    except ValueError:  # msgspec's errors are ValueErrors
        return False
    return bool(account.client_email) and "PRIVATE KEY" in account.private_key
