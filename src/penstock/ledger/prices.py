"""Usage x prices -> lines and their sum, in integers.

Rules
- One line for each class of tokens with a quantity; one for the call itself where the row has a price per request.
- A long-context tier holds for the whole request once the whole prompt is longer than its threshold; it overlays
  the row: a unit that the tier does not name keeps its price.
- ``batch``, ``flex`` and ``priority`` have their own figures or none. Where none is known, nor for that service at
  that prompt length, the price is unknown: to bill another service's price would be a guess.
- Reasoning without a price of its own is billed as output, audio and image input as input (base.models.PriceRow).
  Any other missing price makes its line, and so the sum, None.
"""

from collections.abc import Mapping

from penstock.base.models import UNKNOWN_VERSION, PriceRow
from penstock.base.money import Price
from penstock.base.usage import TOKEN_UNITS, Usage
from penstock.ledger.entry import Line, token_counts

STANDARD_SERVICE: frozenset[str | None] = frozenset({None, "", "auto", "default", "standard", "on_demand"})
"""Spellings of "the list price". The tier that counts is the one the provider says it served."""

_BORROWS = {"reasoning": "output", "input_audio": "input", "input_image": "input"}
_NO_PRICES: dict[str, Price] = {}


def price_lines(
    usage: Usage, row: PriceRow | None, *, service_tier: str | None = None
) -> tuple[tuple[Line, ...], int | None]:
    """The lines of one attempt, and their sum in nano-dollars: None if any line's price is unknown."""
    if row is None:
        version, units = UNKNOWN_VERSION, _NO_PRICES
    else:
        version = row.version
        units = (
            row.units
            if not row.tiers and service_tier in STANDARD_SERVICE
            else prices_for(row, usage.prompt_tokens, service_tier)
        )
    source = usage.source
    lines: list[Line] = []
    total: int | None = 0
    for unit, quantity in _quantities(usage):
        price = units.get(unit)
        if price is None and unit in _BORROWS:
            price = units.get(_BORROWS[unit])
        if price is None:
            lines.append(Line(unit, quantity, None, 1, version, source, None))
            total = None
            continue
        # base.money.line_cost_nusd, written out: this loop is on the hot path.
        per = price.per
        whole = per * 1000
        cost, rest = divmod(quantity * price.pico_usd, whole)
        if rest and (2 * rest > whole or (2 * rest == whole and cost & 1)):
            cost += 1
        lines.append(Line(unit, quantity, price.pico_usd, per, version, source, cost))
        if total is not None:
            total += cost
    fee = units.get("request")
    if fee is not None and fee.pico_usd:
        line = _request_line(fee, version)
        lines.append(line)
        if total is not None and line.cost_nusd is not None:
            total += line.cost_nusd
    return tuple(lines), total


def _quantities(usage: Usage) -> list[tuple[str, int]]:
    """Units with a quantity. Most calls have only the first two: they are not worth a loop over ten."""
    found: list[tuple[str, int]] = []
    if usage.input > 0:
        found.append(("input", usage.input))
    if usage.output > 0:
        found.append(("output", usage.output))
    if usage.total_tokens != usage.input + usage.output:
        pairs = zip(TOKEN_UNITS, token_counts(usage), strict=True)
        return [(unit, quantity) for unit, quantity in pairs if quantity > 0]
    return found


def prices_for(row: PriceRow, prompt_tokens: int, service_tier: str | None = None) -> Mapping[str, Price]:
    """The prices that hold for a prompt of this length in this service; a missing unit is unknown."""
    tier = None
    for candidate in row.tiers:
        if prompt_tokens > candidate.above_tokens and (
            tier is None or candidate.above_tokens > tier.above_tokens
        ):
            tier = candidate
    if service_tier not in STANDARD_SERVICE:
        if tier is not None:
            return _NO_PRICES
        return row.service.get(service_tier or "", _NO_PRICES)
    return row.units if tier is None else {**row.units, **tier.prices}


def _request_line(fee: Price, version: str) -> Line:
    from_pico = fee.pico_usd
    cost, rest = divmod(from_pico, fee.per * 1000)
    if 2 * rest > fee.per * 1000 or (2 * rest == fee.per * 1000 and cost & 1):
        cost += 1
    return Line("request", 1, from_pico, fee.per, version, "counted", cost)
