"""Usage x prices -> lines and their sum, in integers.

Rules
- Prices have dates, and some have hours (``row_at``): one call has one row, the one in force when its attempt began.
- One line for each class of tokens with a quantity; one for the call itself where the row has a price per request;
  one for each fee that the reply reports (``Usage.fees``), unknown where the row has no price for it.
- A fee whose kind the reply does not say ("web_search" beside prices for "web_search:low" and "web_search:high") has a
  price only where all kinds cost the same. A price "X_prompt" is for the call, however many X it took. What a
  search brought in ("grounded_input") is free where the row does not price it: Google charges for the search alone.
- A long-context tier holds for the whole request once the whole prompt is longer than its threshold; it overlays
  the row: a unit that the tier does not name keeps its price. Not so the cache's, which are shares of the input's: where
  the tier moves the input's price and does not name them, they are unknown (or move along, where they equal it).
- ``batch``, ``flex`` and ``priority`` have their own figures or none. Where none is known, nor for that service at
  that prompt length, the price is unknown: to bill another service's price would be a guess. Which service it was is
  what the provider says it served (``Usage.service_tier``), not what was asked.
- Reasoning without a price of its own is billed as output, audio and image input as input (base.models.PriceRow),
  in a tier or service too, unless the row shows that they differ. Cached audio is billed as cached text where the row
  does not tell audio from text at all. Any other missing price makes its line, and so the sum, None.
"""

from collections.abc import Iterator, Mapping

from penstock.base.models import UNKNOWN_VERSION, PriceRow
from penstock.base.money import Price, line_cost_nusd
from penstock.base.usage import TOKEN_UNITS, Usage
from penstock.ledger.entry import Line, token_counts

_BORROWS = {
    "reasoning": "output",
    "input_audio": "input",
    "input_image": "input",
    "cache_read_audio": "cache_read",
}
_SHARES_OF_INPUT = ("cache_read", "cache_read_audio", "cache_write_5m", "cache_write_1h")
_NO_PRICES: dict[str, Price | None] = {}
_WEEK_MINUTES = 7 * 24 * 60
_MONDAY_MS = 4 * 86_400_000
"""1970-01-05, a Monday."""
_GIVEN = {"grounded_input": Price(0, text="0")}
"""What a seller that charges for the search gives with it, where the row has no price for it."""


def price_lines(usage: Usage, row: PriceRow | None) -> tuple[tuple[Line, ...], int | None]:
    """The lines of one attempt, and their sum in nano-dollars: None if any line's price is unknown."""
    if row is None:
        version, units = UNKNOWN_VERSION, _NO_PRICES
    else:
        version = row.version
        units = (
            row.units
            if not row.tiers and not usage.service_tier
            else prices_for(row, usage.prompt_tokens, usage.service_tier)
        )
    source = usage.source
    lines: list[Line] = []
    total: int | None = 0
    for unit, quantity in _quantities(usage):
        price = units.get(unit)
        if price is None and unit in _BORROWS and unit not in units:
            price = _borrowed(units, unit)
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
        cost = line_cost_nusd(1, fee)
        lines.append(Line("request", 1, fee.pico_usd, fee.per, version, "counted", cost))
        if total is not None:
            total += cost
    if usage.fees:
        for line in _fee_lines(usage, units, version):
            lines.append(line)
            total = None if total is None or line.cost_nusd is None else total + line.cost_nusd
    return tuple(lines), total


def row_at(row: PriceRow | None, at_ms: int) -> PriceRow | None:
    """The prices in force at that moment: a call is priced by when it began, not by when it was written up."""
    if row is None or not row.passing:
        return row
    found = row
    for successor in row.later:
        if successor.from_ms <= at_ms:
            found = successor
    if found.by_hours is not None:
        minute = (at_ms - _MONDAY_MS) // 60_000 % _WEEK_MINUTES
        if any(first <= minute < beyond for first, beyond in found.hours):
            return found.by_hours
    return found


def _fee_lines(usage: Usage, units: Mapping[str, Price | None], version: str) -> Iterator[Line]:
    for unit, times in usage.fees:
        name, quantity = unit, times
        price = _fee_price(units, unit)
        if price is None:
            by_prompt = unit.partition(":")[0] + "_prompt"
            price = units.get(by_prompt)
            if price is not None:
                name, quantity = by_prompt, 1
        if price is None:
            yield Line(name, quantity, None, 1, version, usage.source, None)
        else:
            cost = line_cost_nusd(quantity, price)
            yield Line(name, quantity, price.pico_usd, price.per, version, usage.source, cost)


def _fee_price(units: Mapping[str, Price | None], unit: str) -> Price | None:
    """The price of this kind of it; of it, if kinds are not told apart; or of any kind, if all cost the same."""
    name, _, kind = unit.partition(":")
    price = units.get(unit) or units.get(name) or (_GIVEN.get(unit) if units else None)
    if price is not None or kind:
        return price
    kinds = [price for other, price in units.items() if other.startswith(f"{name}:")]
    first = kinds[0] if kinds else None
    if first is None or not all(_equal(first, other) for other in kinds):
        return None
    return first


def _quantities(usage: Usage) -> list[tuple[str, int]]:
    """Units with a quantity. Most calls have only the first two: they are not worth a loop over ten."""
    found: list[tuple[str, int]] = []
    if usage.input > 0:
        found.append(("input", usage.input))
    if usage.output > 0:
        found.append(("output", usage.output))
    if usage.total_tokens != usage.input + usage.output:
        counts = token_counts(usage)
        pairs = [(unit, quantity) for unit, quantity in zip(TOKEN_UNITS, counts, strict=True) if quantity > 0]
        return _with_cached_audio(pairs, usage.cache_read_audio) if usage.cache_read_audio else pairs
    return found


def _with_cached_audio(pairs: list[tuple[str, int]], audio: int) -> list[tuple[str, int]]:
    """The cached tokens in two parts."""
    split: list[tuple[str, int]] = []
    for unit, quantity in pairs:
        if unit != "cache_read":
            split.append((unit, quantity))
            continue
        part = min(audio, quantity)
        split += [(unit, quantity - part)] if quantity > part else []
        split.append(("cache_read_audio", part))
    return split


def _borrowed(units: Mapping[str, Price | None], unit: str) -> Price | None:
    """The lender's price. Cached audio is no cached text where audio is no text."""
    if unit == "cache_read_audio" and "input_audio" in units and not _same(units, "input_audio", "input"):
        return None
    return units.get(_BORROWS[unit])


def prices_for(row: PriceRow, prompt_tokens: int, service_tier: str = "") -> Mapping[str, Price | None]:
    """The prices that hold for a prompt of this length in this service; a missing unit is unknown, so is None."""
    tier = None
    for candidate in row.tiers:
        if prompt_tokens > candidate.above_tokens and (
            tier is None or candidate.above_tokens > tier.above_tokens
        ):
            tier = candidate
    if service_tier:
        return _service_prices(row, prompt_tokens, service_tier, long=tier is not None)
    return row.units if tier is None else _overlaid(row.units, tier.prices)


def _overlaid(base: Mapping[str, Price], tier: Mapping[str, Price]) -> Mapping[str, Price | None]:
    """The base's prices, and over them the tier's."""
    units: dict[str, Price | None] = {**base, **tier}
    if "input" in tier and not _equal(tier["input"], base.get("input")):
        for unit in _SHARES_OF_INPUT:
            if unit in base and unit not in tier:
                units[unit] = tier["input"] if _same(base, unit, "input") else None
    for unit, lender in _BORROWS.items():
        # A price that is only the lender's, written out, moves with the lender's.
        if lender in tier and unit not in tier and _same(base, unit, lender):
            units[unit] = tier[lender]
    return units


def _service_prices(
    row: PriceRow, prompt_tokens: int, service_tier: str, *, long: bool
) -> Mapping[str, Price | None]:
    """``service`` holds a class's own tiers as "name>N". ``long``: the list price has a tier for this prompt."""
    own = row.service.get(service_tier)
    if own is None:
        return _NO_PRICES
    reached = 0
    prices: Mapping[str, Price | None] = own
    for name, tier_prices in row.service.items():
        found, _, above = name.partition(">")
        if found == service_tier and above and reached < int(above) < prompt_tokens:
            reached, prices = int(above), _overlaid(own, tier_prices)
    if long and not reached:
        return _NO_PRICES
    # Where the list tells audio from text, a service's price of text says nothing about its audio.
    apart = [
        unit
        for unit, lender in _BORROWS.items()
        if unit in row.units and unit not in prices and not _same(row.units, unit, lender)
    ]
    return {**prices, **dict.fromkeys(apart)} if apart else prices


def _same(units: Mapping[str, Price | None], unit: str, lender: str) -> bool:
    """Both have prices, and they are equal, however written."""
    one = units.get(unit)
    return one is not None and _equal(one, units.get(lender))


def _equal(one: Price, other: Price | None) -> bool:
    return other is not None and one.pico_usd * other.per == other.pico_usd * one.per
