"""How a provider serves, beside the model: whether it trains on requests, keeps them, and in which number format it runs.

Data: ``data/offers.json``, one row per provider with its source and the day it was read. An operator's ``data_policy``
wins, field by field. A server on the operator's own machine sends nothing away. Everything else is unknown.
"""

from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct, field

from penstock.base.models import Offer
from penstock.config.catalogue import ProviderFacts
from penstock.config.schema import ProviderConfig

_DATA = Path(__file__).parent / "data" / "offers.json"
OWN = "configured"
_LOCAL = "a server of your own"


class OfferRow(Struct, frozen=True):
    """One row. ``without`` are prefixes of models that the row does not speak of."""

    provider: str
    source: str
    date: str
    trains: bool | None = None
    zdr: bool | None = None
    distillable: bool | None = None
    obeys: bool = False
    note: str = ""
    without: tuple[str, ...] = field(name="except", default=())


@cache
def offer_rows() -> dict[str, OfferRow]:
    """The file, by the catalogue's name of the provider."""
    rows = msgspec.json.decode(_DATA.read_bytes(), type=tuple[OfferRow, ...])
    return {row.provider: row for row in rows}


def offer_of(name: str, settings: ProviderConfig, known: ProviderFacts | None, model: str) -> Offer:
    """What is known of ``model`` at the configured provider ``name``."""
    row = None if known is None else offer_rows().get(known.name)
    if row is not None and any(prefix in model.lower() for prefix in row.without):
        row = None
    local = known is not None and known.kind == "local"
    own = settings.data_policy
    found = Offer(
        slugs=_slugs(name, settings, known),
        trains=False if local else None if row is None else row.trains,
        zdr=True if local else None if row is None else row.zdr,
        distillable=None if row is None else row.distillable,
        obeys=row is not None and row.obeys,
        source=_LOCAL if local else "" if row is None else row.source,
        date="" if row is None else row.date,
    )
    if own is None:
        return found
    said = {
        word: value for word in ("trains", "zdr", "distillable") if (value := getattr(own, word)) is not None
    }
    format_ = next((name for pattern, name in own.quantizations.items() if fnmatchcase(model, pattern)), "")
    if said:
        found = msgspec.structs.replace(found, **said, source=OWN, date="")
    return msgspec.structs.replace(found, quantization=format_) if format_ else found


def _slugs(name: str, settings: ProviderConfig, known: ProviderFacts | None) -> frozenset[str]:
    """OpenRouter's slugs are ours or aliases of ours; a base slug means all of its regions (wire.md 1.3)."""
    words = {name.lower()}
    if known is not None:
        words |= {known.name.lower(), *(alias.lower() for alias in known.aliases)}
    if settings.location:
        words |= {f"{word}/{settings.location.lower()}" for word in words}
    return frozenset(words)
