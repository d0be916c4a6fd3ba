"""Folds new entries into the rollups (ledger.rollup), in the reader's process and on the reader's time.

A ledger in PostgreSQL is folded by its server: ``ledger.postgres.fold``.

Rules
- Reads in chunks, without keeping anyone from writing; writes each chunk in one short transaction, if the rollups are still
  what they were when it was read.
- A ledger that cannot be written, or is busy, stays as it is: the answer is exact without, only slower.
"""

import sqlite3
from contextlib import closing
from urllib.parse import quote

from penstock.ledger.opening import fold_postgres, is_postgres
from penstock.ledger.rollup import (
    HOUR,
    MODEL,
    PROVIDER,
    STAGE,
    TRACE,
    WALL_US,
    State,
    has_rollups,
    stands,
    state_of,
)

FOLD_FROM = 20_000
"""Entries beyond the watermark that are cheaper read than folded."""
CHUNK = 50_000
ALL = 2**62
_BUSY_S = 1.0
_TRIES = 20

_RANGE = "rowid > ? AND rowid <= ?"
_E_TRACE = TRACE.replace("trace_id", "e.trace_id").replace("request_id", "e.request_id")
_SAME_CELL = (
    f"n.hour = {HOUR.replace('at_ms', 'e.at_ms')} AND n.class = e.class AND n.stage = {STAGE.replace('stage', 'e.stage')} "
    f"AND n.provider = {PROVIDER.replace('provider', 'e.provider')} AND n.model = {MODEL.replace('model', 'e.model')}"
)
_NOW = (
    "CREATE TEMP TABLE IF NOT EXISTS now (hour INTEGER, stage TEXT, class TEXT, provider TEXT, model TEXT, cell INTEGER, "
    "PRIMARY KEY (hour, stage, class, provider, model)) WITHOUT ROWID"
)
"""The cells of a chunk, for SQLite to look up."""

_Key = tuple[int, str, str, str, str]
"""Hour, stage, class, provider, model."""


def fold(path: str, *, from_rows: int = FOLD_FROM, most: int = ALL, chunk: int = CHUNK) -> int:
    """Fold what is new, if it is at least ``from_rows`` entries, about ``most`` of them (in PostgreSQL: all). How many were
    folded; 0 where that cannot be."""
    if is_postgres(path):
        return fold_postgres(path, from_rows=from_rows)
    try:
        with closing(
            sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=_BUSY_S, isolation_level=None)
        ) as connection:
            if not has_rollups(connection):
                return 0
            return _catch_up(connection, from_rows, most, chunk)
    except sqlite3.Error:
        return 0


def _catch_up(connection: sqlite3.Connection, from_rows: int, most: int, chunk: int) -> int:
    folded = lost = 0
    state = state_of(connection)
    newest = int(connection.execute("SELECT coalesce(max(rowid), 0) FROM entries").fetchone()[0])
    if newest - max(0, state.upto) < from_rows and (state.upto == 0 or stands(connection, state)):
        return 0  # before what is known is read: most questions have nothing to fold
    folder = _Folder(connection)
    while lost < _TRIES and folded < most:
        if folder.void:
            folder.clear()
        else:
            rows = folder.read(chunk)
            if rows == 0:
                break
            if rows and folder.write():
                folded += rows
                continue
        lost += 1  # another reader was quicker, or an entry was changed: what is known here is old
        folder = _Folder(connection)
    return folded


class _Folder:
    """The rollups as one reader knows them: what ``read`` makes of a chunk, ``write`` stores."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute(_NOW)
        connection.execute("BEGIN")
        try:
            self.state = state_of(connection)
            self.void = self.state.upto != 0 and not stands(connection, self.state)
            self._cells: dict[_Key, int] = {
                (hour, stage, klass, provider, model): cell
                for cell, hour, stage, klass, provider, model in connection.execute(
                    "SELECT cell, hour, stage, class, provider, model FROM rollup_cells"
                )
            }
            self._sets: dict[str, int] = {}
            self._texts: dict[int, str] = {}
            for number, cells in connection.execute("SELECT id, cells FROM rollup_sets"):
                self._sets[cells] = number
                self._texts[number] = cells
        finally:
            connection.execute("COMMIT")
        self._next_cell = max(self._cells.values(), default=0) + 1
        self._next_set = max(self._texts, default=0) + 1
        self._last: State = self.state
        self._sums: dict[int, list[int]] = {}
        self._made: list[tuple[int, _Key]] = []
        self._moves: dict[int, int] = {}
        self._traces: dict[str, int] = {}

    def read(self, chunk: int) -> int | None:
        """What the next entries change; how many they are; None if the rollups are not what they were.

        SQLite does the work by row: it does not hold the GIL.
        """
        self._connection.execute("BEGIN")  # one snapshot
        try:
            return self._read(chunk) if state_of(self._connection) == self.state else None
        finally:
            self._connection.execute("COMMIT")

    def _read(self, chunk: int) -> int:
        self._sums, self._made, self._moves, self._traces = {}, [], {}, {}
        connection, after = self._connection, self.state.upto
        upto, rows = connection.execute(
            "SELECT coalesce(max(rowid), 0), count(*) FROM (SELECT rowid FROM entries WHERE rowid > ? ORDER BY rowid LIMIT ?)",
            (after, chunk),
        ).fetchone()
        if not rows:
            return 0
        (last_id,) = connection.execute("SELECT id FROM entries WHERE rowid = ?", (upto,)).fetchone()
        self._last = State(upto, last_id, self.state.changes)
        for hour, stage, klass, provider, model, *sums in connection.execute(
            f"SELECT {HOUR}, {STAGE}, class, {PROVIDER}, {MODEL}, count(*), coalesce(sum(attempt = 1), 0), "  # noqa: S608 - our own names
            f"count(*) - count(cost_nusd), coalesce(sum(cost_nusd), 0), sum({WALL_US}) "
            f"FROM entries NOT INDEXED WHERE {_RANGE} GROUP BY 1, 2, 3, 4, 5",
            (after, upto),
        ).fetchall():
            self._sums[self._cell((hour, stage, klass, provider, model))] = sums
        self._sort_traces(after, upto)
        return rows

    def _sort_traces(self, after: int, upto: int) -> None:
        """Which set of cells each trace of these entries had, and has now."""
        connection = self._connection
        connection.execute("DELETE FROM temp.now")
        connection.executemany(
            "INSERT INTO temp.now VALUES (?, ?, ?, ?, ?, ?)",
            [(*key, cell) for key, cell in self._cells.items() if cell in self._sums],
        )
        before = dict(
            connection.execute(
                f"SELECT trace, cells FROM rollup_traces WHERE trace IN (SELECT {TRACE} FROM entries NOT INDEXED "  # noqa: S608 - our own names
                f"WHERE {_RANGE})",
                (after, upto),
            )
            if after
            else ()
        )
        numbers: dict[tuple[str, int | None], int] = {}
        for trace, cells in connection.execute(
            f"SELECT {_E_TRACE}, group_concat(DISTINCT n.cell) FROM entries e NOT INDEXED CROSS JOIN temp.now n "  # noqa: S608 - our own names
            f"ON {_SAME_CELL} WHERE e.{_RANGE} GROUP BY 1",
            (after, upto),
        ):
            old = before.get(trace)
            number = numbers.get((cells, old))
            if number is None:
                number = numbers[cells, old] = self._joined(cells, old)
            if number != old:
                self._moves[number] = self._moves.get(number, 0) + 1
                self._traces[trace] = number
                if old is not None:
                    self._moves[old] = self._moves.get(old, 0) - 1

    def _joined(self, cells: str, old: int | None) -> int:
        """The set of these cells and of what was there before."""
        joined = {int(cell) for cell in cells.split(",")}
        if old is not None:
            joined.update(int(cell) for cell in self._texts[old].split(","))
        text = ",".join(map(str, sorted(joined)))
        number = self._sets.get(text)
        if number is None:
            number = self._sets[text] = self._next_set
            self._texts[number] = text
            self._next_set += 1
        return number

    def write(self) -> bool:
        """Store it; False, and nothing is stored, if the rollups or an entry have changed since."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            if state_of(connection) != self.state:
                connection.execute("ROLLBACK")
                return False
            connection.executemany(
                "INSERT INTO rollup_cells VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0)",
                [(cell, *key) for cell, key in self._made],
            )
            connection.executemany(
                "UPDATE rollup_cells SET entries = entries + ?, calls = calls + ?, unpriced = unpriced + ?, "
                "cost_nusd = cost_nusd + ?, wall_us = wall_us + ? WHERE cell = ?",
                [(*sums, cell) for cell, sums in self._sums.items()],
            )
            connection.executemany(
                "INSERT INTO rollup_sets VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET traces = traces + excluded.traces",
                [(number, self._texts[number], moved) for number, moved in self._moves.items()],
            )
            connection.executemany(
                "DELETE FROM rollup_sets WHERE id = ? AND traces = 0", [(number,) for number in self._moves]
            )
            connection.executemany(
                "INSERT OR REPLACE INTO rollup_traces VALUES (?, ?)", sorted(self._traces.items())
            )
            connection.execute(
                "UPDATE rollup_state SET upto = ?, last_id = ?", (self._last.upto, self._last.last_id)
            )
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.state = self._last
        return True

    def clear(self) -> None:
        """Throw void rollups away, unless somebody else did. Nothing else can be done with this folder then."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            if state_of(connection) == self.state:
                for table in ("rollup_cells", "rollup_sets", "rollup_traces"):
                    connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
                connection.execute("UPDATE rollup_state SET upto = 0, last_id = ''")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _cell(self, key: _Key) -> int:
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = self._next_cell
            self._next_cell += 1
            self._made.append((cell, key))
        return cell
