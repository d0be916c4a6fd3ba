"""Hourly rollups of the ledger, so that a million entries are summed in a moment; and the scan that they must equal.

Theory
------
A *cell* is the sum of all entries of one hour, stage, class, provider and model. Sums add up; counts of traces do not: a
trace is in many cells. So each trace has its *set* of cells, and for each set it is kept how many traces have it. There
are few sets, because renders are alike, and "how many traces touch any of these cells" is a sum over sets: exact for
every window and filter.

Whoever reads folds in what is new (``ledger.fold``), up to the *watermark*: the writer of entries pays nothing. It is a
rowid in SQLite, where one writes after the other, and in PostgreSQL the oldest transaction that may still be writing: each
entry there says which transaction wrote it.
What is not folded yet, and what lies in a window's broken first and last hour, is read from the entries themselves. So
an answer is exact whether or not there was anything to fold, or any right to write.

Rules
- Rollups are made from entries and can be thrown away: triggers do so when an entry is changed or deleted, and a watermark
  that no longer stands is one more reason: VACUUM may give rowids anew; a database restored elsewhere counts its
  transactions anew, and a month's partition may be gone.
- Wall time is whole microseconds per entry, so that sums do not depend on their order.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from penstock.ledger.queries import condition
from penstock.ledger.sql import SQLITE, Reading, Sql, sql_of
from penstock.ledger.stages import WORK, Cell, Facts

HOUR_MS = 3_600_000
SCHEMA = 4
"""The migration that made the tables: an older ledger is scanned."""
STAGE, PROVIDER, MODEL = "coalesce(stage, '')", "coalesce(provider, '')", "coalesce(model, '')"
TRACE = "coalesce(nullif(trace_id, ''), request_id)"
HOUR = f"at_ms / {HOUR_MS} - (at_ms % {HOUR_MS} < 0)"
WALL_US = SQLITE.wall_us
_WORK = f"class IN ({', '.join(repr(name) for name in sorted(WORK))})"
_CELL_WHERE: dict[str, str] = {
    "class": "class",
    "provider": PROVIDER,
    "model": f"{PROVIDER} || '/' || {MODEL}",
    "stage": STAGE,
}
"""Filters that a cell can answer."""
_FEW = 100_000
THERE = (
    "SELECT upto FROM rollup_state WHERE upto > 0 AND upto <= CAST(pg_snapshot_xmin(pg_current_snapshot())::text AS bigint) "
    "AND cluster = (SELECT system_identifier FROM pg_control_system()) AND parts <@ "
    "(SELECT array_agg(CAST(inhrelid AS bigint)) FROM pg_inherits WHERE inhparent = 'penstock.entries'::regclass)"
)
"""The watermark in PostgreSQL, if it stands: this cluster's transactions, and every partition that was folded."""
_ASKED = 5_000
"""Values bound in one question; every SQLite takes so many."""
_ANY, _DELIVERED = 1, 2
"""The first bits of a trace's mask; then one for each stage."""

Window = tuple[int | None, int | None]
"""Milliseconds: from (included), until (not); None is open."""


class State(Struct, frozen=True):
    """How far the rollups go: to ``upto``, whose entry is ``last_id``. -1: they are void."""

    upto: int
    last_id: str
    changes: int


def facts_of(connection: Reading, window: Window, where: Mapping[str, str]) -> Facts:
    """What the ledger knows of a window under these filters, by the quickest exact way."""
    if set(where) <= set(_CELL_WHERE) and has_rollups(connection):
        return rolled_facts(connection, window, where)
    return scanned_facts(connection, window, where)


def first_ms(connection: Reading) -> int | None:
    """When the first entry began; None in an empty ledger."""
    return connection.execute("SELECT min(at_ms) FROM entries").fetchone()[0]


def scanned_facts(connection: Reading, window: Window, where: Mapping[str, str]) -> Facts:
    """From the entries alone: right for every filter, slow for many entries."""
    sql = sql_of(connection)
    held, bound = conditions(window, where, sql)
    cells = connection.execute(
        f"SELECT {STAGE}, class, {PROVIDER}, {MODEL}, count(*), count(*) FILTER (WHERE attempt = 1), "  # noqa: S608 - our own names
        f"count(*) - count(cost_nusd), coalesce(sum(cost_nusd), 0), sum({sql.wall_us}) "
        f"FROM entries WHERE {held} GROUP BY 1, 2, 3, 4",
        bound,
    ).fetchall()
    traces = connection.execute(
        f"SELECT {STAGE}, count(DISTINCT {TRACE}) FROM entries WHERE {held} GROUP BY 1",  # noqa: S608 - our own names
        bound,
    ).fetchall()
    in_all, delivered = connection.execute(
        f"SELECT count(DISTINCT {TRACE}), count(DISTINCT CASE WHEN {_WORK} THEN {TRACE} END) "  # noqa: S608 - our own names
        f"FROM entries WHERE {held}",
        bound,
    ).fetchone()
    return Facts(tuple(Cell(*row[:4], *map(int, row[4:])) for row in cells), dict(traces), in_all, delivered)


def rolled_facts(connection: Reading, window: Window, where: Mapping[str, str]) -> Facts:
    """From the rollups as far as they go; only for filters of which a cell knows."""
    sql = sql_of(connection)
    connection.execute(sql.snapshot)  # one snapshot: somebody may be folding
    try:
        upto = _watermark(connection)
        count = _Count(connection, sql)
        since_ms, until_ms = window
        low = None if since_ms is None else -(-since_ms // HOUR_MS)
        high = None if until_ms is None else until_ms // HOUR_MS
        if upto and (low is None or high is None or low < high):
            count.take_hours((low, high), where)
            if since_ms is not None and low is not None:
                count.take_entries((since_ms, low * HOUR_MS), where, sql.folded, upto)
            if until_ms is not None and high is not None:
                count.take_entries((high * HOUR_MS, until_ms), where, sql.folded, upto)
        elif upto:
            count.take_entries(window, where, sql.folded, upto)
        count.take_entries(window, where, sql.unfolded, upto)
        return count.facts(in_sets=upto > 0)
    finally:
        connection.execute("COMMIT")


def has_rollups(connection: Reading) -> bool:
    """Whether this ledger has the tables. One of an older version in PostgreSQL is not read at all."""
    if not isinstance(connection, sqlite3.Connection):
        return True
    return int(connection.execute("PRAGMA user_version").fetchone()[0]) >= SCHEMA


def _watermark(connection: Reading) -> int:
    """How far the rollups go; 0 where they say nothing."""
    if isinstance(connection, sqlite3.Connection):
        state = state_of(connection)
        return state.upto if stands(connection, state) else 0
    row = connection.execute(THERE).fetchone()
    return 0 if row is None else int(row[0])


def state_of(connection: sqlite3.Connection) -> State:
    """How far they go."""
    return State(*connection.execute("SELECT upto, last_id, changes FROM rollup_state").fetchone())


def stands(connection: sqlite3.Connection, state: State) -> bool:
    """Whether the watermark still stands at its entry: else the rollups say nothing."""
    if state.upto <= 0:
        return False
    row = connection.execute("SELECT id FROM entries WHERE rowid = ?", (state.upto,)).fetchone()
    return row is not None and row[0] == state.last_id


def conditions(window: Window, where: Mapping[str, str], sql: Sql) -> tuple[str, list[Any]]:
    """The SQL of a window and filters over entries, and what is bound to it."""
    since_ms, until_ms = window
    held, bound = ["1 = 1"], list[Any]()
    if since_ms is not None:
        held.append("at_ms >= ?")
        bound.append(since_ms)
    if until_ms is not None:
        held.append("at_ms < ?")
        bound.append(until_ms)
    for name, value in where.items():
        if name in _CELL_WHERE:
            held.append(f"{_CELL_WHERE[name]} = ?")
            bound.append(value)
        else:
            more, values = condition(name, value, sql)
            held.append(more)
            bound += values
    return " AND ".join(held), bound


class _Count:
    """Sums by stage, class, provider and model; and how many traces have which mask of stages."""

    def __init__(self, connection: Reading, sql: Sql) -> None:
        self._connection = connection
        self._sql = sql
        self._sums: dict[tuple[str, str, str, str], list[int]] = {}
        self._bits: dict[str, int] = {}
        self._masks: dict[int, int] = {}
        """Mask -> traces."""
        self._sets: dict[int, int] = {}
        """Set of cells -> mask, by what is asked for."""
        self._seen: dict[str, int] = {}
        """Trace -> mask, of entries that were read themselves."""

    def take_hours(self, hours: Window, where: Mapping[str, str]) -> None:
        """The cells of whole hours, and the traces that touch them."""
        low, high = hours
        held, bound = conditions((None, None), where, self._sql)
        rows = self._connection.execute(
            "SELECT cell, stage, class, provider, model, entries, calls, unpriced, cost_nusd, wall_us "  # noqa: S608 - our own names
            f"FROM rollup_cells WHERE {held} AND hour >= ? AND hour < ?",
            [*bound, -(2**62) if low is None else low, 2**62 if high is None else high],
        )
        bits: dict[str, int] = {}
        for cell, stage, klass, provider, model, *sums in rows:
            bits[str(cell)] = self._mask(stage, klass)
            self._add((stage, klass, provider, model), sums)
        none = 0
        for number, cells, traces in self._connection.execute("SELECT id, cells, traces FROM rollup_sets"):
            mask = 0
            for cell in cells.split(","):
                mask |= bits.get(cell, none)
            if mask:
                self._sets[number] = mask
                self._masks[mask] = self._masks.get(mask, 0) + traces

    def take_entries(self, window: Window, where: Mapping[str, str], rows: str, upto: int) -> None:
        """Entries of a window, one by one. ``rows`` says which: those up to the watermark, or those after it."""
        if window[0] is not None and window[0] == window[1]:
            return
        held, bound = conditions(window, where, self._sql)
        found = self._connection.execute(
            f"SELECT {TRACE}, {STAGE}, class, {PROVIDER}, {MODEL}, CASE WHEN attempt = 1 THEN 1 ELSE 0 END, cost_nusd, "  # noqa: S608 - our own names
            f"{self._sql.wall_us} FROM {self._table(window, rows, upto)} WHERE {rows} AND {held}",
            [upto, *bound],
        )
        seen = self._seen
        for trace, stage, klass, provider, model, first, cost_nusd, wall_us in found:
            seen[trace] = seen.get(trace, 0) | self._mask(stage, klass)
            unpriced = cost_nusd is None
            self._add(
                (stage, klass, provider, model), (1, first, unpriced, 0 if unpriced else cost_nusd, wall_us)
            )

    def _table(self, window: Window, rows: str, upto: int) -> str:
        """Of an open window, or a few entries after the watermark, all are read; else SQLite looks for them by time."""
        if self._sql is not SQLITE or rows != SQLITE.unfolded:
            return "entries"
        newest = self._connection.execute("SELECT coalesce(max(rowid), 0) FROM entries").fetchone()[0]
        return "entries NOT INDEXED" if window[0] is None or newest - upto < _FEW else "entries"

    def facts(self, *, in_sets: bool) -> Facts:
        """All of it. A trace that was seen one by one, and is in a set too, moves to where both say."""
        masks = dict(self._masks)
        sets = self._sets_of_seen() if in_sets else {}
        for trace, mask in self._seen.items():
            before = self._sets.get(sets.get(trace, 0), 0)
            if mask | before != before:
                if before:
                    masks[before] -= 1
                masks[mask | before] = masks.get(mask | before, 0) + 1
        traces = dict.fromkeys(self._bits, 0)
        for mask, number in masks.items():
            for stage, bit in self._bits.items():
                if mask & bit:
                    traces[stage] += number
        return Facts(
            tuple(Cell(*key, *sums) for key, sums in self._sums.items()),
            traces,
            sum(masks.values()),
            sum(number for mask, number in masks.items() if mask & _DELIVERED),
        )

    def _sets_of_seen(self) -> dict[str, int]:
        """The sets of the traces that were seen one by one; a few thousand in a question."""
        seen, found = list(self._seen), dict[str, int]()
        for start in range(0, len(seen), _ASKED):
            some = seen[start : start + _ASKED]
            found.update(
                self._connection.execute(
                    f"SELECT trace, cells FROM rollup_traces WHERE trace IN ({', '.join('?' * len(some))})",  # noqa: S608 - places alone
                    some,
                )
            )
        return found

    def _mask(self, stage: str, klass: str) -> int:
        bit = self._bits.get(stage)
        if bit is None:
            bit = self._bits[stage] = 4 << len(self._bits)
        return bit | (_ANY | _DELIVERED if klass in WORK else _ANY)

    def _add(self, key: tuple[str, str, str, str], sums: Any) -> None:
        kept = self._sums.get(key)
        if kept is None:
            self._sums[key] = list(sums)
            return
        for place, value in enumerate(sums):
            kept[place] += value
