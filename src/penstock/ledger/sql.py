"""The few words in which SQLite's and PostgreSQL's SQL differ: all else in the ledger's questions is common to both.

Placeholders are ``?`` everywhere; what reads PostgreSQL turns them into its own. Text is compared byte by byte in both
(PostgreSQL's columns are COLLATE "C").
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from msgspec import Struct


class Sql(Struct, frozen=True):
    """One database's words. ``meta`` and ``explain_has`` bind one value, ``of_trace`` an id, a range of ids, the id again;
    ``folded`` and ``unfolded`` (entries before and behind the rollups' watermark) bind that watermark.

    ``wall_us``: an entry's wall time in whole microseconds, a half of one rounded up.
    """

    day: str
    snapshot: str
    wall_us: str
    folded: str
    unfolded: str
    meta: str
    explain_has: str
    of_trace: str


SQLITE = Sql(
    snapshot="BEGIN",
    wall_us="coalesce(CAST(round(latency_ms * 1000) AS INTEGER), 0)",
    folded="rowid <= ?",
    unfolded="rowid > ?",
    day="strftime('%Y-%m-%d', at_ms / 1000, 'unixepoch')",
    meta="(SELECT m.value FROM json_each(entries.meta) m WHERE m.key = ?)",
    explain_has="instr(explain, ?)",
    of_trace=(
        "rowid IN (SELECT rowid FROM entries WHERE trace_id = ? AND trace_id <> request_id "
        "UNION ALL SELECT rowid FROM entries WHERE id >= ? AND id < ? AND trace_id = request_id AND trace_id = ?)"
    ),
)
POSTGRES = Sql(
    snapshot="BEGIN ISOLATION LEVEL REPEATABLE READ",
    wall_us="coalesce(CAST(floor(latency_ms * 1000 + 0.5) AS bigint), 0)",
    folded="txn < ?",
    unfolded="txn >= ?",
    day="to_char(to_timestamp(at_ms / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    meta="(entries.meta::json ->> ?::text)",
    explain_has="strpos(explain, ?) > 0",
    of_trace=(
        "((trace_id = ? AND trace_id <> request_id) "
        "OR (id >= ? AND id < ? AND trace_id = request_id AND trace_id = ?))"
    ),
)


class Rows(Protocol):
    """What an executed statement gives."""

    def fetchone(self) -> Any:
        """The next row, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """All that is left."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Row by row."""
        ...


class Elsewhere(Protocol):
    """A ledger that is not SQLite's, read with the same two methods."""

    @property
    def sql(self) -> Sql:
        """Its words."""
        ...

    def execute(self, statement: str, bound: Sequence[Any] = ..., /) -> Rows:
        """Run a statement with ``?`` for each bound value."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


Reading = sqlite3.Connection | Elsewhere
"""A connection that the ledger's questions can be put to."""


def sql_of(connection: Reading) -> Sql:
    """The words that this connection understands."""
    return SQLITE if isinstance(connection, sqlite3.Connection) else connection.sql
