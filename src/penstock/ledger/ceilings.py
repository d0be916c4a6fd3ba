"""The dearest that a call can be: prices rounded up over all that might be billed, so that a hold is never too small.

Rules
- Any token of the prompt may turn out to be written to a cache, any token of the reply to be reasoning: the dearest of
  these prices counts. So does a long prompt's, from the first length on that the bound on the prompt reaches.
- A class of service (priority, flex) counts where the caller may have asked for one.
- Where a price that could be needed is not known, there is no ceiling: such a call does not pass a budget.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from penstock.base.models import PriceRow
from penstock.base.money import Price, line_cost_nusd

_IN = ("input", "cache_write_5m")
_IN_LONG_KEPT = "cache_write_1h"
_OUT = ("output", "reasoning")
_OF_MODALITY = {"audio": "_audio", "image": "_image"}


class Ceiling(Struct, frozen=True):
    """The dearest prices of a token read and a token written, and what a call costs beside them."""

    input: Price
    output: Price
    call_nusd: int


def ceiling_of(
    row: PriceRow | None, prompt_tokens: int, modalities: Iterable[str], *, services: bool, long_kept: bool
) -> Ceiling | None:
    """The ceiling of calls up to this prompt. ``modalities``: read or written beside text; ``long_kept``: in a cache
    for an hour. None: a price is not known."""
    if row is None:
        return None
    kinds = [end for name, end in _OF_MODALITY.items() if name in modalities]
    read = [*_IN, *(f"input{end}" for end in kinds), *([_IN_LONG_KEPT] if long_kept else [])]
    written = [*_OUT, *(f"output{end}" for end in kinds)]
    tables: list[Mapping[str, Price]] = [row.units]
    tables += [tier.prices for tier in row.tiers if prompt_tokens > tier.above_tokens]
    if services:
        for name, prices in row.service.items():
            above = name.partition(">")[2]
            if not above or prompt_tokens > int(above):
                tables.append(prices)
    dearest_in, dearest_out = _dearest(tables, read), _dearest(tables, written)
    if "input" not in row.units or "output" not in row.units or dearest_in is None or dearest_out is None:
        return None
    fee = row.units.get("request")
    return Ceiling(dearest_in, dearest_out, 0 if fee is None else line_cost_nusd(1, fee))


def _dearest(tables: list[Mapping[str, Price]], units: list[str]) -> Price | None:
    """Compared as fractions: no rounding."""
    found: Price | None = None
    for prices in tables:
        for unit in units:
            price = prices.get(unit)
            if price is not None and (
                found is None or price.pico_usd * found.per > found.pico_usd * price.per
            ):
                found = price
    return found
