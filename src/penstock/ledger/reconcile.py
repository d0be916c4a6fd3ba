"""Our ledger beside a provider's export, by day and model: what differs, and why, as far as figures can say.

Pure, but for ``ledger_figures``, which asks the ledger.

Rules
- What is not known on one side is not compared: an export of tokens says nothing of dollars, and one of dollars nothing of
  tokens. Several exports of one provider (usage, cost) are joined first.
- A difference counts if it is above *both* tolerances: so many per cent of the export's figure, and so many dollars.
  Tokens know only the per cent.
- By key only where every key of the export is one of the ledger's names for that provider; else keys are summed up.
  The ledger knows no projects.
- The ledger's day is that of the attempt's beginning; a provider may take its end, so that a call at midnight can stand on
  the day before or after. Days outside the export's first and last are not compared.

Reasons, the first that fits: ``missing-in-ledger`` (spent past the gateway), ``missing-in-export`` (not exported yet, or
never billed), ``unknown-price`` (entries without a price), ``estimated-usage`` (the provider never said what a cut call
used), ``tokens-differ``, ``price-differs`` (same tokens, other dollars; or tokens that the export does not have).
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from penstock.ledger.exports import Export, plain_model
from penstock.ledger.sql import Reading

Reason = Literal[
    "missing-in-ledger",
    "missing-in-export",
    "unknown-price",
    "estimated-usage",
    "tokens-differ",
    "price-differs",
]
Place = tuple[str, str, str]
"""Day, model, key ("" where keys are not compared)."""


class Figures(Struct):
    """One side's sums at one place. None: not known. The last three are the ledger's alone."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_nusd: int | None = None
    entries: int = 0
    estimated: int = 0
    unknown_price: int = 0


class Difference(Struct, frozen=True):
    """One place at which both sides differ. ``export`` or ``ledger`` None: that side has nothing there."""

    day: str
    model: str
    key: str
    reason: Reason
    detail: str
    export: Figures | None
    ledger: Figures | None


class Tolerance(Struct, frozen=True):
    """``percent_micro``: millionths of a per cent, so that no float decides."""

    percent_micro: int = 1_000_000
    nusd: int = 10_000_000

    def tokens(self, theirs: int, ours: int) -> bool:
        """Both may be called equal."""
        return abs(theirs - ours) * 100_000_000 <= self.percent_micro * theirs

    def cost(self, theirs: int, ours: int) -> bool:
        """Both may be called equal."""
        return abs(theirs - ours) <= self.nusd or self.tokens(theirs, ours)


class LedgerDay(Struct, frozen=True):
    """The ledger's sums of one hour's attempts at one model by one key, put on a day."""

    day: str
    model: str
    provider: str
    key: str
    figures: Figures


class Reconciled(Struct, frozen=True):
    """The whole comparison. ``compared``: places; totals are sums of what is known on each side."""

    first_day: str
    last_day: str
    timezone: str
    by_key: bool
    compared: int
    differences: tuple[Difference, ...]
    export_nusd: int | None
    ledger_nusd: int
    ledger_unknown_price: int


def span_ms(exports: Iterable[Export]) -> tuple[int, int] | None:
    """The moments between which the exports' days lie, in their time zone; None where there is no row."""
    exports = list(exports)
    days = [row.day for export in exports for row in export.rows]
    if not days:
        return None
    zone = ZoneInfo(exports[0].timezone)
    ends = (date.fromisoformat(min(days)), date.fromisoformat(max(days)) + timedelta(days=1))
    first, last = (datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC) for day in ends)
    return (int(first.timestamp()) * 1000, int(last.timestamp()) * 1000)


def ledger_figures(
    connection: Reading, providers: tuple[str, ...], timezone: str, span: tuple[int, int]
) -> list[LedgerDay]:
    """What the ledger has of these providers (all of them, if none is named) between two moments."""
    named = f"AND provider IN ({', '.join('?' * len(providers))})" if providers else ""
    # A quarter of an hour: every time zone's day begins on one.
    rows = connection.execute(
        "SELECT at_ms / 900000, coalesce(nullif(model_served, ''), model), provider, provider_key, "  # noqa: S608 - our own names; values are bound
        "sum(input + cache_read + cache_write_5m + cache_write_1h + input_audio + input_image), "
        "sum(output + reasoning + output_audio + output_image), coalesce(sum(cost_nusd), 0), count(*), "
        "count(*) FILTER (WHERE usage_source IN ('estimated', 'counted')), count(*) - count(cost_nusd) "
        "FROM entries WHERE at_ms >= ? AND at_ms < ? AND class NOT IN ('failed', 'cache_hit', 'own_cost') "
        f"{named} GROUP BY 1, 2, 3, 4",
        [*span, *providers],
    )
    zone = ZoneInfo(timezone)
    return [
        LedgerDay(
            datetime.fromtimestamp(quarter * 900, zone).date().isoformat(),
            plain_model(model),
            provider,
            key or "",
            Figures(int(tokens_in or 0), int(tokens_out or 0), int(cost), entries, estimated, unknown),
        )
        for quarter, model, provider, key, tokens_in, tokens_out, cost, entries, estimated, unknown in rows
    ]


def reconcile(exports: Iterable[Export], ledger: list[LedgerDay], tolerance: Tolerance) -> Reconciled:
    """Every place at which the exports and the ledger differ, in the order of days, the dearest first."""
    exports = list(exports)
    keys = {row.key for export in exports for row in export.rows}
    by_key = bool(keys) and "" not in keys and keys <= {day.key for day in ledger}
    several = len({day.provider for day in ledger}) > 1
    theirs = _joined([_summed(export, by_key=by_key) for export in exports])
    ours: dict[Place, Figures] = {}
    for day in ledger:
        model = day.model
        if several and (day.day, f"{day.provider}/{model}", day.key if by_key else "") in theirs:
            model = f"{day.provider}/{model}"
        place = (day.day, model, day.key if by_key else "")
        ours[place] = _plus(ours[place], day.figures) if place in ours else day.figures
    places = sorted(theirs.keys() | ours.keys())
    found = [
        difference
        for place in places
        if (difference := _compare(place, theirs.get(place), ours.get(place), tolerance)) is not None
    ]
    found.sort(key=lambda one: (one.day, -_weight(one), one.model, one.key))
    days = [row.day for export in exports for row in export.rows]
    costs = [figures.cost_nusd for figures in theirs.values() if figures.cost_nusd is not None]
    return Reconciled(
        first_day=min(days, default=""),
        last_day=max(days, default=""),
        timezone=exports[0].timezone if exports else "UTC",
        by_key=by_key,
        compared=len(places),
        differences=tuple(found),
        export_nusd=sum(costs) if costs else None,
        ledger_nusd=sum(figures.cost_nusd or 0 for figures in ours.values()),
        ledger_unknown_price=sum(figures.unknown_price for figures in ours.values()),
    )


def _summed(export: Export, *, by_key: bool) -> dict[Place, Figures]:
    """Rows of one export by place. A figure that one of them lacks is not known of the place."""
    sums: dict[Place, Figures] = {}
    for row in export.rows:
        model = plain_model(f"{row.provider}/{row.model}") if row.provider else row.model
        place = (row.day, model, row.key if by_key else "")
        figures = Figures(row.input_tokens, row.output_tokens, row.cost_nusd)
        sums[place] = _plus(sums[place], figures) if place in sums else figures
    return sums


def _joined(exports: list[dict[Place, Figures]]) -> dict[Place, Figures]:
    """Exports of different things: one that is silent about a figure takes nothing from one that says it."""
    joined: dict[Place, Figures] = {}
    for places in exports:
        for place, figures in places.items():
            before = joined.get(place)
            joined[place] = figures if before is None else _beside(before, figures)
    return joined


def _plus(one: Figures, other: Figures) -> Figures:
    return Figures(
        _sum(one.input_tokens, other.input_tokens),
        _sum(one.output_tokens, other.output_tokens),
        _sum(one.cost_nusd, other.cost_nusd),
        one.entries + other.entries,
        one.estimated + other.estimated,
        one.unknown_price + other.unknown_price,
    )


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _beside(one: Figures, other: Figures) -> Figures:
    def either(a: int | None, b: int | None) -> int | None:
        return b if a is None else a if b is None else a + b

    return Figures(
        either(one.input_tokens, other.input_tokens),
        either(one.output_tokens, other.output_tokens),
        either(one.cost_nusd, other.cost_nusd),
    )


def _compare(
    place: Place, theirs: Figures | None, ours: Figures | None, tolerance: Tolerance
) -> Difference | None:
    reason = _reason(theirs, ours, tolerance)
    if reason is None:
        return None
    return Difference(*place, reason, _detail(reason, theirs, ours), theirs, ours)


def _reason(theirs: Figures | None, ours: Figures | None, tolerance: Tolerance) -> Reason | None:
    if theirs is None or ours is None:
        one = theirs or ours or Figures()
        worth = one.cost_nusd
        if worth is None or (theirs is None and one.unknown_price):
            seen = bool(one.input_tokens or one.output_tokens)
        else:
            seen = worth > tolerance.nusd
        if not seen:
            return None
        return "missing-in-ledger" if ours is None else "missing-in-export"
    pairs = ((theirs.input_tokens, ours.input_tokens), (theirs.output_tokens, ours.output_tokens))
    tokens = all(a is None or tolerance.tokens(a, b or 0) for a, b in pairs)
    cost = theirs.cost_nusd is None or tolerance.cost(theirs.cost_nusd, ours.cost_nusd or 0)
    if tokens and cost:
        return None
    if not cost and ours.unknown_price:
        return "unknown-price"
    if ours.estimated:
        return "estimated-usage"
    return "price-differs" if tokens else "tokens-differ"


def _detail(reason: Reason, theirs: Figures | None, ours: Figures | None) -> str:
    ours = ours or Figures()
    match reason:
        case "missing-in-ledger":
            return "the export has it, the ledger does not: was it asked past the gateway, or under another provider's name?"
        case "missing-in-export":
            return f"the ledger has {ours.entries} attempts: is the export older, or of another account?"
        case "unknown-price":
            return (
                f"{ours.unknown_price} of {ours.entries} attempts have no known price: give one under prices"
            )
        case "estimated-usage":
            return f"{ours.estimated} of {ours.entries} attempts were cut, and their usage is our estimate"
        case "tokens-differ":
            return f"other token counts over {ours.entries} attempts"
        case "price-differs":
            told = theirs is not None and theirs.input_tokens is not None
            return (
                "the same tokens at another price"
                if told
                else "other dollars; the export has no tokens to compare"
            )


def _weight(difference: Difference) -> int:
    """How many nano-dollars are at stake, for the order."""
    sides = (difference.export, difference.ledger)
    costs = [side.cost_nusd or 0 if side is not None else 0 for side in sides]
    return abs(costs[0] - costs[1])


def as_json(found: Reconciled) -> dict[str, Any]:
    """The comparison for programs: nano-dollars as integers, what is not known as null."""

    def side(figures: Figures | None, *, ledger: bool) -> dict[str, Any] | None:
        if figures is None:
            return None
        names = ("input_tokens", "output_tokens", "cost_nusd")
        own = ("entries", "estimated", "unknown_price") if ledger else ()
        return {name: getattr(figures, name) for name in (*names, *own)}

    return {
        "first_day": found.first_day,
        "last_day": found.last_day,
        "timezone": found.timezone,
        "by_key": found.by_key,
        "compared": found.compared,
        "export_nusd": found.export_nusd,
        "ledger_nusd": found.ledger_nusd,
        "ledger_entries_with_unknown_price": found.ledger_unknown_price,
        "differences": [
            {
                "day": one.day,
                "model": one.model,
                "key": one.key or None,
                "reason": one.reason,
                "detail": one.detail,
                "export": side(one.export, ledger=False),
                "ledger": side(one.ledger, ledger=True),
            }
            for one in found.differences
        ],
    }
