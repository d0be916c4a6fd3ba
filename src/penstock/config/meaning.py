"""Faults of meaning: what is well-formed and still cannot be built, and what will soon fail."""

from datetime import datetime

from penstock.config.catalogue import Catalogue
from penstock.config.fault import Fault
from penstock.config.schema import Config, ProviderConfig, RouteConfig, TargetRef
from penstock.config.secrets import is_reference, reference_name
from penstock.config.shape import nearest

LATER_DIALECTS = frozenset({"stability"})
"""Providers that load now and are served by a later version."""


def meaning_faults(config: Config, catalogue: Catalogue) -> list[Fault]:
    """All of them."""
    faults: list[Fault] = []
    for name, provider in config.providers.items():
        faults += _provider_faults(name, provider, catalogue)
    faults += _chain_faults(config)
    faults += _virtual_key_faults(config)
    faults += [
        Fault(
            f"$.prices[{i}].usd_per_million.{unit}", f"{text!r} is no price.", 'Write decimal text, "0.15".'
        )
        for i, own in enumerate(config.prices)
        for unit, text in own.usd_per_million.items()
        if not _is_price(text)
    ]
    return faults


def meaning_warnings(config: Config, catalogue: Catalogue, today: str) -> list[Fault]:
    """Lifecycle dates and unknown prices of the models that the configuration names. They refuse nothing."""
    warnings: list[Fault] = []
    for path, ref in _targets(config):
        provider, _, model = _model_of(ref).partition("/")
        facts = catalogue.facts(provider, model)
        if facts.retires:
            when = "was retired on" if facts.retires <= today else "retires on"
            warnings.append(Fault(path, f"{provider}/{model} {when} {facts.retires}.", "Plan its successor."))
        if facts.price is None and provider in config.providers:
            warnings.append(
                Fault(
                    path,
                    f"The price of {provider}/{model} is not known.",
                    "Add it under prices: to see costs.",
                )
            )
    return warnings


def _provider_faults(name: str, provider: ProviderConfig, catalogue: Catalogue) -> list[Fault]:
    path, faults = f"$.providers.{name}", list[Fault]()
    facts = catalogue.provider(name)
    dialect = provider.dialect or (facts.dialect if facts is not None else None)
    if dialect is None:
        close = nearest(name, [known.name for known in catalogue.providers()])
        meant = f"Did you mean {close!r}? Else add" if close else "Add"
        faults.append(
            Fault(
                path, f"{name!r} is not a known provider.", f"{meant} dialect: openai and network.base_url."
            )
        )
    has_url = provider.network.base_url is not None or (facts is not None and bool(facts.base_url))
    if dialect == "openai" and not has_url:
        faults.append(Fault(f"{path}.network.base_url", "No base URL is known.", "Write https://host/v1."))
    if dialect == "vertex":
        faults += [
            Fault(f"{path}.{field}", f"Vertex needs {field}.", f"Add {field}: {example}")
            for field, value, example in (
                ("project", provider.project, "my-project"),
                ("location", provider.location, "us-east5 (or global)"),
            )
            if not value
        ]
        if provider.credentials is None and not provider.keys:
            faults.append(
                Fault(f"{path}.credentials", "Vertex needs credentials.", "Add credentials: file:sa.json")
            )
    faults += _url_faults(f"{path}.network.base_url", provider.network.base_url)
    faults += _key_faults(path, provider)
    return faults


def _url_faults(path: str, url: str | None) -> list[Fault]:
    if url is None or (
        url.startswith(("http://", "https://")) and len(url.split("://", 1)[1].split("/")[0]) > 0
    ):
        return []
    return [Fault(path, f"{url!r} is not an http(s) URL.", "Write https://host[:port][/path].")]


def _key_faults(path: str, provider: ProviderConfig) -> list[Fault]:
    faults: list[Fault] = []
    seen: set[str] = set()
    for i, key in enumerate(provider.keys):
        name = key.name or (reference_name(key.value) if is_reference(key.value) else "")
        if name and name in seen:
            faults.append(
                Fault(f"{path}.keys[{i}].name", f"Two keys are named {name!r}.", "Give each its own name.")
            )
        seen.add(name)
        if not key.models:
            faults.append(
                Fault(
                    f"{path}.keys[{i}].models", "The list is empty: no model at all.", 'Write ["*"] for all.'
                )
            )
    return faults


def key_names(provider: ProviderConfig) -> list[str]:
    """Names of a provider's keys, as ``provider_keys`` may use them."""
    return [key.name or reference_name(key.value) for key in provider.keys]


def _model_of(ref: TargetRef) -> str:
    return ref if isinstance(ref, str) else ref.model


def _targets(config: Config) -> list[tuple[str, TargetRef]]:
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


def _chain_faults(config: Config) -> list[Fault]:
    faults: list[Fault] = []
    for path, ref in _targets(config):
        provider, slash, model = _model_of(ref).partition("/")
        if not slash or not model:
            faults.append(Fault(path, f"{_model_of(ref)!r} names no provider.", "Write provider/model."))
        elif provider not in config.providers:
            close = nearest(provider, list(config.providers))
            meant = f"Did you mean {close}/{model}?" if close else f"Add {provider} under providers."
            faults.append(Fault(path, f"The provider {provider!r} is not configured.", meant))
    seen: set[str] = set()
    for i, route in enumerate((*config.routes, *config.mcp)):
        block = _block(config, i, route)
        if route.id in seen:
            faults.append(
                Fault(f"{block}.id", f"The route {route.id!r} stands twice.", "Give each its own id.")
            )
        seen.add(route.id)
    primaries: set[str] = set()
    for i, chain in enumerate(config.fallbacks):
        name = _model_of(chain.primary)
        if name in primaries:
            faults.append(Fault(f"$.fallbacks[{i}].primary", f"{name!r} has two chains.", "Make them one."))
        primaries.add(name)
        if chain.tertiary is not None and chain.secondary is None:
            faults.append(Fault(f"$.fallbacks[{i}].tertiary", "There is no secondary.", "Call it secondary."))
    return faults


def _block(config: Config, i: int, route: RouteConfig) -> str:
    own = len(config.routes)
    return f"$.routes[{i}]" if i < own and config.routes[i] is route else f"$.mcp[{i - own}]"


def _virtual_key_faults(config: Config) -> list[Fault]:
    faults: list[Fault] = []
    names: set[str] = set()
    secrets: set[str] = set()
    known = {f"{name}.{key}" for name, provider in config.providers.items() for key in key_names(provider)}
    for i, key in enumerate(config.virtual_keys):
        path = f"$.virtual_keys[{i}]"
        if key.name in names:
            faults.append(Fault(f"{path}.name", f"Two virtual keys are named {key.name!r}.", "Rename one."))
        if key.key in secrets:
            faults.append(Fault(f"{path}.key", "Two virtual keys share one secret.", "Give each its own."))
        names.add(key.name)
        secrets.add(key.key)
        for n, wanted in enumerate(key.provider_keys):
            if wanted not in known:
                close = nearest(wanted, sorted(known))
                meant = (
                    f"Did you mean {close!r}?" if close else f"Known: {', '.join(sorted(known)) or 'none'}."
                )
                faults.append(Fault(f"{path}.provider_keys[{n}]", f"There is no key {wanted!r}.", meant))
        if not key.models:
            faults.append(
                Fault(f"{path}.models", "The list is empty: no model at all.", 'Write ["*"] for all.')
            )
        if key.expires is not None and not _is_moment(key.expires):
            faults.append(
                Fault(
                    f"{path}.expires", f"{key.expires!r} is no date.", "Write 2027-01-01 (in quotes or not)."
                )
            )
    return faults


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_price(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()
