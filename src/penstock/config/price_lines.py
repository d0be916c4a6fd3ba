"""How the catalogue writes a model's prices, as one line of text, and what is read of it.

Theory
- A price line is ``unit=usd ...``, then ``>N`` (tier: prompts longer than N tokens), ``~name`` (service class) or
  ``~name>N`` (both), each followed by its own units. ``PriceRow.service`` has the last kind under the key
  ``"name>N"``.
- ``@2026-12-01`` in a price line begins the prices from that day (UTC) on, whole: ``PriceRow.later``.
- ``%12345/1000-2400,...;67/0000-2400`` says when ``~off_peak`` holds: days of the week (1 is Monday) and spans, UTC.
"""

import hashlib
from datetime import UTC, datetime

import msgspec

from penstock.base.models import PriceRow, PriceTier
from penstock.base.money import Price, price_from_usd_text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 24 * 60


def followed(row: PriceRow, later: list[PriceRow]) -> PriceRow:
    """A row with what comes after it. Each but the last is passing."""
    if not later:
        return row
    ends = [msgspec.structs.replace(one, passing=True) for one in later[:-1]]
    return msgspec.structs.replace(row, later=(*ends, later[-1]), passing=True)


def parse_prices(line: str, source: str, date: str) -> PriceRow:
    """A price line (see above) as a PriceRow; its version is a hash of figures and date."""
    line, *dated = line.split(" @")
    row = _parse_row(line, source, date)
    if not dated:
        return row
    later: list[PriceRow] = []
    for words in dated:
        day, _, prices = words.partition(" ")
        successor = _parse_row(prices, source, date)
        later.append(msgspec.structs.replace(successor, from_ms=starts_ms(day)))
    return followed(row, sorted(later, key=lambda one: one.from_ms))


def starts_ms(text: str | None) -> int:
    """A date or a date-time, UTC unless it says otherwise, as unix milliseconds; None is 0. ValueError for none."""
    if text is None:
        return 0
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"{text!r} is no date: write 2026-12-01") from error
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    span = aware - _EPOCH
    return (span.days * 86_400 + span.seconds) * 1000 + span.microseconds // 1000


def _parse_row(line: str, source: str, date: str) -> PriceRow:
    parts: dict[tuple[str, int], dict[str, Price]] = {("", 0): {}}
    units, hours = parts["", 0], ""
    for word in line.split(" "):
        unit, equals, text = word.partition("=")
        if equals:
            units[unit] = price_from_usd_text(text)
        elif word.startswith("%"):
            hours = word[1:]
        else:
            service, _, above = word.removeprefix("~").partition(">")
            units = parts.setdefault((service, int(above or 0)), {})
    row = PriceRow(
        version=short_hash(f"{line} {date}"),
        units=parts["", 0],
        tiers=tuple(
            PriceTier(above, prices)
            for (service, above), prices in sorted(parts.items())
            if above and not service
        ),
        service={
            f"{service}>{above}" if above else service: prices
            for (service, above), prices in sorted(parts.items())
            if service
        },
        source=source,
        date=date,
    )
    return _by_the_clock(row, hours) if hours else row


def _by_the_clock(row: PriceRow, hours: str) -> PriceRow:
    """``row``, and its off-peak prices in these hours. What costs nothing at the peak costs nothing then."""
    free = {unit: price for unit, price in row.units.items() if not price.pico_usd}
    units = {**free, **row.service["off_peak"]}
    cheap = msgspec.structs.replace(row, units=units, tiers=(), passing=True)
    return msgspec.structs.replace(row, hours=hours_of(hours), by_hours=cheap, passing=True)


def hours_of(text: str) -> tuple[tuple[int, int], ...]:
    """ "12345/1000-2400;67/0000-2400" as spans of minutes since Monday, 0:00 UTC, in order."""
    found: list[tuple[int, int]] = []
    for group in text.split(";"):
        days, _, spans = group.partition("/")
        for span in spans.split(","):
            first, beyond = (int(clock[:2]) * 60 + int(clock[2:]) for clock in span.split("-"))
            found += [((int(day) - 1) * _DAY + first, (int(day) - 1) * _DAY + beyond) for day in days]
    return tuple(sorted(found))


def short_hash(text: str) -> str:
    """Eight digits that tell two texts apart: a version."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
