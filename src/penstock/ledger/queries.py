"""Questions to the ledger: what was spent, by whom, on what; and what happened on one call.

Pure functions over a read-only connection (``opening.open_ledger``), SQLite's or PostgreSQL's.

Rules
- A sum is of what is known; how many attempts have no known price stands beside it, always.
- ``meta:<key>`` is the caller's own metadata, as a dimension and as a filter; ``tag:<name>`` is the same place under the
  operator's word for it: a virtual key's tags are kept there, and no caller replaces them. Days are UTC.
- A user is told with the virtual key, ``key/user``: the same name under two keys is two people.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from penstock.base.errors import BadRequest
from penstock.base.money import usd_text
from penstock.base.usage import TOKEN_UNITS
from penstock.ledger.entry import Call, Entry
from penstock.ledger.rows import ids_of, read_record
from penstock.ledger.sql import SQLITE, Reading, Sql, sql_of

DIMENSIONS: dict[str, str] = {
    "provider": "provider",
    "model": "provider || '/' || model",
    "organisation": "coalesce(organisation, '')",
    "team": "coalesce(team, '')",
    "virtual_key": "virtual_key",
    "user": "CASE WHEN coalesce(end_user, '') = '' THEN '' ELSE virtual_key || '/' || end_user END",
    "provider_key": "provider || '.' || provider_key",
    "route": "route",
    "day": SQLITE.day,
    "class": "class",
    "stage": "stage",
    "trace": "trace_id",
    "dialect": "dialect",
    "error": "coalesce(error_code, '')",
}
"""What entries can be grouped and filtered by, and its SQL (for a day: SQLite's)."""

_META = ("meta", "tag")


class CostRow(Struct, frozen=True):
    """One group. ``key`` None: the entries that have no such metadata. Tokens are the disjoint vector's sums."""

    key: str | None
    calls: int
    entries: int
    tokens: dict[str, int]
    cost_nusd: int
    unknown_price: int
    saved_nusd: int = 0
    """What answers out of the cache had cost when they were made."""

    @property
    def cost_usd(self) -> str:
        """The known sum as exact decimal dollars."""
        return usd_text(self.cost_nusd)


class Explained(Struct, frozen=True):
    """One call as it was recorded. ``cost_nusd`` is None where any attempt's price is unknown."""

    call: Call
    entries: tuple[Entry, ...]
    cost_nusd: int | None
    known_nusd: int
    unknown_price: int


def cost(
    connection: Reading,
    *,
    by: str,
    since_ms: int | None = None,
    until_ms: int | None = None,
    where: Mapping[str, str] | None = None,
) -> list[CostRow]:
    """Spending grouped by one dimension: days in order, all else the dearest first."""
    sql = sql_of(connection)
    key, bound = _dimension(by, sql)
    conditions: list[str] = []
    filters: list[Any] = []
    if since_ms is not None:
        conditions.append("at_ms >= ?")
        filters.append(since_ms)
    if until_ms is not None:
        conditions.append("at_ms < ?")
        filters.append(until_ms)
    for name, value in (where or {}).items():
        held, more = condition(name, value, sql)
        conditions.append(held)
        filters += more
    sums = ", ".join(f"coalesce(sum({unit}), 0)" for unit in TOKEN_UNITS)
    rows = connection.execute(
        f"SELECT {key}, count(DISTINCT request_id), count(*), coalesce(sum(cost_nusd), 0), "  # noqa: S608 - our own names; values are bound
        f"count(*) - count(cost_nusd), {sums}, coalesce(sum(saved_nusd), 0) FROM entries "
        f"{'WHERE ' + ' AND '.join(conditions) if conditions else ''} "
        f"GROUP BY 1 ORDER BY {'1' if by == 'day' else '4 DESC, 1'} NULLS FIRST",
        [*bound, *filters],
    )
    return [
        CostRow(
            None if row[0] is None else str(row[0]),
            row[1],
            row[2],
            {unit: int(count) for unit, count in zip(TOKEN_UNITS, row[5:-1], strict=True)},
            int(row[3]),
            row[4],
            int(row[-1]),
        )
        for row in rows
    ]


def explain(connection: Reading, request_id: str) -> Explained | None:
    """The call of a request id, or of a reply's body id."""
    record = read_record(connection, request_id)
    if record is None:
        return None
    known = [entry.cost_nusd for entry in record.entries if entry.cost_nusd is not None]
    return Explained(
        call=record.call,
        entries=record.entries,
        cost_nusd=record.cost_nusd,
        known_nusd=sum(known),
        unknown_price=len(record.entries) - len(known),
    )


def condition(name: str, value: str, sql: Sql) -> tuple[str, list[Any]]:
    """One filter in this database's words, and what is bound to it. Raises BadRequest for a dimension that there is not."""
    if name == "trace":
        # A trace is several calls, whose entries are in an index of their own, or one call of that id, or both.
        return sql.of_trace, [value, *ids_of(value), value]
    expression, bound = _dimension(name, sql)
    return f"{expression} = ?", [*bound, value]


def _dimension(name: str, sql: Sql) -> tuple[str, list[Any]]:
    prefix, _, key = name.partition(":")
    if prefix in _META and key:
        return sql.meta, [key]
    if name == "day":
        return sql.day, []
    if name in DIMENSIONS:
        return DIMENSIONS[name], []
    raise BadRequest(
        f"The ledger has no dimension {name!r}.",
        param=name,
        hint=f"Use one of {', '.join(DIMENSIONS)}, meta:<key> or tag:<name>.",
    )
