"""Folds new entries into the rollups (ledger.rollup), in the reader's process and on the reader's time.

Rules
- Reads without a lock, in chunks; writes each chunk in one short transaction, if nothing has changed since it was read.
- A ledger that cannot be written, or is busy, stays as it is: the answer is exact without, only slower.
"""

import sqlite3
from contextlib import closing
from urllib.parse import quote

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
_BUSY_S = 1.0
_TRIES = 20

_Key = tuple[int, str, str, str, str]
"""Hour, stage, class, provider, model."""


def fold(path: str, *, from_rows: int = FOLD_FROM, chunk: int = CHUNK) -> int:
    """Fold what is new, if it is at least ``from_rows`` entries. How many were folded; 0 where that cannot be."""
    try:
        with closing(
            sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=_BUSY_S, isolation_level=None)
        ) as connection:
            if not has_rollups(connection):
                return 0
            return _catch_up(connection, from_rows, chunk)
    except sqlite3.Error:
        return 0


def _catch_up(connection: sqlite3.Connection, from_rows: int, chunk: int) -> int:
    folded = lost = 0
    folder = _Folder(connection)
    newest = int(connection.execute("SELECT coalesce(max(rowid), 0) FROM entries").fetchone()[0])
    if newest - max(0, folder.state.upto) < from_rows and not folder.void:
        return 0
    while lost < _TRIES:
        if folder.void:
            folder.clear()
        else:
            rows = folder.read(chunk)
            if not rows:
                return folded
            if folder.write():
                folded += rows
                continue
        lost += 1  # another reader was quicker, or an entry was changed: what is known here is old
        folder = _Folder(connection)
    return folded


class _Folder:
    """The rollups as one reader knows them: what ``read`` makes of a chunk, ``write`` stores."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
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

    def read(self, chunk: int) -> int:
        """What the next entries change; how many they are."""
        self._sums, self._made, self._moves, self._traces = {}, [], {}, {}
        upto, last_id, rows = self.state.upto, self.state.last_id, 0
        touched: dict[str, set[int]] = {}
        for rowid, entry_id, trace, first, cost_nusd, wall_us, *key in self._connection.execute(
            f"SELECT rowid, id, {TRACE}, coalesce(attempt = 1, 0), cost_nusd, {WALL_US}, "  # noqa: S608 - our own names
            f"{HOUR}, {STAGE}, class, {PROVIDER}, {MODEL} "
            "FROM entries WHERE rowid > ? ORDER BY rowid LIMIT ?",
            (upto, chunk),
        ):
            upto, last_id = rowid, entry_id
            rows += 1
            cell = self._cell(tuple(key))
            sums = self._sums.get(cell)
            if sums is None:
                sums = self._sums[cell] = [0, 0, 0, 0, 0]
            sums[0] += 1
            sums[1] += first
            if cost_nusd is None:
                sums[2] += 1
            else:
                sums[3] += cost_nusd
            sums[4] += wall_us
            of_trace = touched.get(trace)
            if of_trace is None:
                touched[trace] = {cell}
            else:
                of_trace.add(cell)
        self._last = State(upto, last_id, self.state.changes)
        for trace, cells in touched.items():
            self._move(trace, cells)
        return rows

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

    def _move(self, trace: str, cells: set[int]) -> None:
        """A trace leaves the set that it had for the one that it has now."""
        row = None
        if self.state.upto:
            row = self._connection.execute(
                "SELECT cells FROM rollup_traces WHERE trace = ?", (trace,)
            ).fetchone()
        if row is not None:
            before = {int(cell) for cell in self._texts[row[0]].split(",")}
            if cells <= before:
                return
            cells = cells | before
            self._moves[row[0]] = self._moves.get(row[0], 0) - 1
        text = ",".join(map(str, sorted(cells)))
        number = self._sets.get(text)
        if number is None:
            number = self._sets[text] = self._next_set
            self._texts[number] = text
            self._next_set += 1
        self._moves[number] = self._moves.get(number, 0) + 1
        self._traces[trace] = number
