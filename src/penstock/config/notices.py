"""What a configuration should be warned about: lifecycle dates, unknown prices, knobs without effect. Refuses nothing."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

from penstock.config.cache_meaning import cache_notices
from penstock.config.catalogue import Catalogue, lifecycle_note
from penstock.config.fault import Fault
from penstock.config.meaning import LATER, model_of, targets_of
from penstock.config.schema import Config, ProviderConfig


def notices(config: Config, catalogue: Catalogue, today: str) -> list[Fault]:
    """All of them. ``today`` is an ISO date."""
    found: list[Fault] = []
    if not config.providers:
        found.append(Fault("$.providers", "There is no provider: no call can be served.", "Add one."))
    for name, provider in config.providers.items():
        found += _provider_notices(name, provider, catalogue)
    found += cache_notices(config)
    found += _model_notices(config, catalogue, date.fromisoformat(today))
    found += [
        Fault(f"$.prices[{i}].model", f"No provider of {own.model!r} is configured.", "Take the price out.")
        for i, own in enumerate(config.prices)
        if own.model.partition("/")[0] not in config.providers
    ]
    found += [
        Fault(f"$.virtual_keys[{i}].expires", f"The key {key.name!r} has expired.", "Renew it or drop it.")
        for i, key in enumerate(config.virtual_keys)
        if key.expires is not None and _has_passed(key.expires, today)
    ]
    return found


def _provider_notices(name: str, provider: ProviderConfig, catalogue: Catalogue) -> Iterator[Fault]:
    path = f"$.providers.{name}"
    facts = catalogue.provider(name)
    dialect = provider.dialect or (facts.dialect if facts is not None else None)
    if dialect in LATER:
        yield Fault(path, f"{name} is kept, and served by a later version.", "Nothing to do.")
    if dialect is not None and dialect != "vertex":
        for field, value in (
            ("project", provider.project),
            ("location", provider.location),
            ("credentials", provider.credentials),
        ):
            if value is not None and not (field == "location" and dialect == "bedrock"):
                yield Fault(
                    f"{path}.{field}", "Only Vertex uses this.", "Take it out, or set dialect: vertex."
                )
    if (
        not provider.keys
        and provider.aws is None
        and facts is not None
        and facts.kind != "local"
        and dialect not in ("vertex", *LATER)
    ):
        example = f"keys: [{{value: env.{facts.env or 'NAME'}}}]"
        yield Fault(f"{path}.keys", "There is no key: calls go out without a credential.", f"Add {example}")


def _model_notices(config: Config, catalogue: Catalogue, today: date) -> Iterator[Fault]:
    """Of every model that the configuration names: targets of chains and routes, and what aliases stand for."""
    named = [(path, model_of(ref)) for path, ref in targets_of(config)]
    named += [
        (f"$.providers.{name}.models.{alias}", f"{name}/{model}")
        for name, provider in config.providers.items()
        for alias, model in provider.models.items()
    ]
    own = {price.model for price in config.prices}
    for path, name in named:
        provider, _, model = name.partition("/")
        settings = config.providers.get(provider)
        if settings is None:
            continue
        model = settings.models.get(model, model)
        known = catalogue.provider(provider)
        if settings.dialect is None and known is not None and known.dialect in LATER:
            yield Fault(
                path, f"{provider} cannot answer chat calls: this target is left out.", "Take it out."
            )
            continue
        facts = catalogue.facts(provider, model)
        note = lifecycle_note(facts, today)
        if note:
            yield Fault(path, f"{provider}/{model} {_sentence(note)}.", "Plan its successor.")
        if facts.price is None and f"{provider}/{model}" not in own:
            yield Fault(
                path, f"The price of {provider}/{model} is not known.", "Add it under prices: to see costs."
            )


def _sentence(note: str) -> str:
    return f"was {note}" if note.startswith("retired") else f"is {note}" if note.startswith("depr") else note


def _has_passed(expires: str, today: str) -> bool:
    """True for a moment that is over when today begins; what is no moment is a fault, not a notice."""
    try:
        moment = datetime.fromisoformat(expires)
    except ValueError:
        return False
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return aware <= datetime.fromisoformat(today).replace(tzinfo=UTC)
