"""Where the journal's batches lie: the port, and SQLite behind it. PostgreSQL's is ``ledger.postgres.store``."""

import sqlite3
import threading
from bisect import bisect_left
from collections.abc import Callable
from itertools import chain
from typing import Any, Protocol, cast

from penstock.ledger.checkpoint import Checkpointer
from penstock.ledger.entry import Entry, Record
from penstock.ledger.native_rows import native_writer
from penstock.ledger.reading import open_reader
from penstock.ledger.rows import NULL, Alike, Form, read_record, rows_of
from penstock.ledger.schema import (
    CALL_COLUMNS,
    ENTRY_COLUMNS,
    INSERT_CALLS,
    INSERT_ENTRIES,
    STATEMENT_ROWS,
    cannot_open,
    open_writer,
)


class Group:
    """Entries without a call. ``stored`` is told how many were new, in the writer's thread, once they are committed;
    before it ``counted``, if there is one, of the new ones themselves."""

    __slots__ = ("counted", "entries", "fresh", "new", "stored")

    def __init__(
        self,
        entries: tuple[Entry, ...],
        stored: Callable[[int], object],
        counted: Callable[[list[Entry]], object] | None = None,
    ) -> None:
        self.entries = entries
        self.stored = stored
        self.counted = counted
        self.new = 0
        self.fresh: set[str] = set()
        """Ids of the new ones."""

    def tell(self) -> None:
        """It is committed."""
        if self.counted is not None:
            first = {entry.id: entry for entry in reversed(self.entries)}
            self.counted([entry for name, entry in first.items() if name in self.fresh])
        self.stored(self.new)


Row = tuple[Record | Alike | Group, list[Any], list[Any]]
"""A record, its call's values (a group has none), its entries' values one after the other."""
SLICE_RECORDS = STATEMENT_ROWS[-1]
_CALL_NULLS = [NULL] * len(CALL_COLUMNS)
_ID = ENTRY_COLUMNS.index("id")
_ENTRY_NULLS = [NULL] * len(ENTRY_COLUMNS)


class Store(Protocol):
    """A ledger's tables. ``write`` belongs to the writer thread, ``read`` to any, ``close`` comes after both.

    One that says ``takes_alike`` is given rows that are alike as they are (rows.Alike), others all values of them.
    """

    name: str
    """The ledger, in words for people: no secret."""
    faults: tuple[type[BaseException], ...]
    """What ``write`` raises where the batch is to be tried again."""
    unbindable: tuple[type[BaseException], ...]
    """What ``write`` raises where a value of the batch cannot be stored as it is."""

    @property
    def notice(self) -> str | None:
        """What is amiss although batches are written."""
        ...

    def write(self, batch: list[Any]) -> None:
        """Write a batch of ``Row`` in one transaction; what is there already is passed over. Groups are told what was ``new``."""
        ...

    def why(self, error: BaseException) -> str:
        """A fault as a sentence."""
        ...

    def read(self, any_id: str, virtual_key: str | None) -> Record | None:
        """The record of a request id or a body id."""
        ...

    def close(self) -> None:
        """Let go of the tables."""
        ...


class SqliteStore:
    """A file of SQLite's. Raises ConfigFault where it cannot be opened."""

    takes_alike = True

    faults: tuple[type[BaseException], ...] = (sqlite3.Error,)
    unbindable: tuple[type[BaseException], ...] = (
        UnicodeEncodeError,
        OverflowError,
        sqlite3.ProgrammingError,
        sqlite3.InterfaceError,
    )
    """Half a surrogate pair, an integer beyond 64 bits, an object that is no value (in 3.11; in 3.10)."""

    def __init__(self, path: str) -> None:
        self.name = repr(path)
        self._writer = open_writer(path)
        try:
            self._reader = open_reader(path)
            self._native = native_writer(path)
            self._checkpoints = Checkpointer(path)
        except sqlite3.Error as error:
            self._writer.close()
            raise cannot_open(path, error) from error
        except BaseException:
            self._writer.close()
            raise
        self._reading = threading.Lock()

    @property
    def notice(self) -> str | None:
        """The WAL grows, and why."""
        return self._checkpoints.fault

    def write(self, batch: list[Row | Alike]) -> None:
        """Write a batch in one transaction, which the first statement begins."""
        if self._native is not None and Group not in {type(row[0]) for row in batch}:
            self._checkpoints.wrote(self._native.write(batch))
            return
        self._write([cast("Row", (row, *rows_of(row)) if isinstance(row[0], Form) else row) for row in batch])

    def _write(self, batch: list[Row]) -> None:
        writer = self._writer
        try:
            for start in range(0, len(batch), SLICE_RECORDS):
                owners, calls, entries = zip(*batch[start : start + SLICE_RECORDS], strict=True)
                if any(isinstance(owner, Group) for owner in owners):
                    entries = self._groups(owners, entries)
                self._insert(INSERT_CALLS, list(chain.from_iterable(calls)), _CALL_NULLS)
                self._insert(INSERT_ENTRIES, list(chain.from_iterable(entries)), _ENTRY_NULLS)
            writer.commit()
        except BaseException:
            writer.rollback()
            raise
        # A group is one row of the batch, however many entries it has.
        self._checkpoints.wrote(sum(len(values) // len(_ENTRY_NULLS) for _, _, values in batch))

    def _groups(
        self, owners: tuple[Record | Alike | Group, ...], entries: tuple[list[Any], ...]
    ) -> list[list[Any]]:
        """Write each group by itself, for only so SQLite can say what was new; the entries of records are left."""
        left: list[list[Any]] = []
        for owner, values in zip(owners, entries, strict=True):
            if isinstance(owner, Group):
                ids = {str(one) for one in values[_ID :: len(_ENTRY_NULLS)]}
                before, last = self._writer.total_changes, self._last_row() if len(ids) > 1 else 0
                # A copy: a failed batch is written again.
                self._insert(INSERT_ENTRIES, [*values], _ENTRY_NULLS)
                owner.new = self._writer.total_changes - before
                owner.fresh = ids if owner.new == len(ids) else self._among(ids, last) if owner.new else set()
            else:
                left.append(values)
        return left

    def _last_row(self) -> int:
        return self._writer.execute("SELECT max(rowid) FROM entries").fetchone()[0] or 0

    def _among(self, ids: set[str], last: int) -> set[str]:
        """Which of these came behind the row ``last``."""
        rows = self._writer.execute("SELECT id FROM entries WHERE rowid > ?", (last,))
        return {str(row[0]) for row in rows} & ids

    def _insert(self, statements: dict[int, str], values: list[Any], nulls: list[float]) -> None:
        """Write rows that stand one after the other, in as few statements as can hold them."""
        width, most = len(nulls), STATEMENT_ROWS[-1]
        rows = len(values) // width
        while rows > most:
            self._writer.executemany(statements[most], [values[: most * width]])
            del values[: most * width]
            rows -= most
        if rows:
            room = STATEMENT_ROWS[bisect_left(STATEMENT_ROWS, rows)]
            values += nulls * (room - rows)
            # executemany of one: it gives the GIL away once less than execute does (CPython 3.11).
            self._writer.executemany(statements[room], [values])

    def why(self, error: BaseException) -> str:
        """A fault as a sentence."""
        return f"The ledger {self.name} cannot be written: {error}."

    def read(self, any_id: str, virtual_key: str | None) -> Record | None:
        """The record of a request id or a body id."""
        with self._reading:
            return read_record(self._reader, any_id, virtual_key=virtual_key)

    def close(self) -> None:
        """The writer last: only who may write can fold the WAL into the file when the last connection goes."""
        self._checkpoints.close()
        with self._reading:
            self._reader.close()
        if self._native is not None:
            self._native.close()
        self._writer.close()
