"""Where objects made at run time are kept: a SQLite file of their own beside the ledger, or the ledger's PostgreSQL.

Rules
- A change is one transaction: the objects, the record of it, and the version that tells others. All of it, or nothing.
- It is on the disk before it is answered (``synchronous = FULL``).
- Two who change at once: the second one's version is stale, and it decides anew on what the first one left.
- The file is made by the first change: who never uses this has no such file.
"""

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec

from penstock.base.errors import ConfigFault, OurFault
from penstock.registry.objects import Kind, Registry, Stored
from penstock.registry.views import Entry

SUFFIX = ".admin"
APPLICATION_ID = 0x50454E41
""" "PENA" in the file's header."""
VERSION = 1
_WAIT_S = 5.0
_PATH = "$.ledger.path"
_TABLES = (
    "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, closed INTEGER NOT NULL)",
    "INSERT INTO state VALUES (1, 0, 0)",
    """
    CREATE TABLE objects (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        fields TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        PRIMARY KEY (kind, name)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms INTEGER NOT NULL,
        who TEXT NOT NULL,
        action TEXT NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        before TEXT,
        after TEXT
    )
    """,
    # Nobody's history is rewritten, by a slip of a tool neither.
    "CREATE TRIGGER audit_kept BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the record is only added to'); END",
    "CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the record is only added to'); END",
)


NEWEST = "SELECT after FROM audit WHERE action = ? ORDER BY id DESC LIMIT 1"


class Stale(Exception):
    """Somebody else has changed something since this was read."""


class Store(Protocol):
    """Every method may block; each is whole by itself, and any thread may call it."""

    name: str
    """For people: no password in it."""

    def version(self) -> int:
        """How many changes there were. Raises OurFault."""
        ...

    def read(self) -> Registry:
        """All of it. Raises OurFault."""
        ...

    def commit(self, version: int, place: tuple[Kind, str], after: Stored | None, entry: Entry) -> None:
        """Store a change made on ``version``, durably. Raises Stale, or OurFault: then nothing is stored."""
        ...

    def note(self, entry: Entry) -> None:
        """Add to the record alone, unless the newest of this action says the same. Raises OurFault."""
        ...

    def audit(self, *, limit: int, before: int | None, kind: str | None, name: str | None) -> list[Entry]:
        """The record, newest first, below the id ``before``. Raises OurFault."""
        ...

    def close(self) -> None:
        """Let go of what is held."""
        ...


def cannot(doing: str, store: str, why: str) -> OurFault:
    """The store does not answer: nothing was changed."""
    return OurFault(
        f"Keys, teams and budgets cannot be {doing} {store}: {why}.",
        code="admin_store_fault",
        status=503,
        hint="Nothing was changed. Mend the store, and ask again.",
        retry_after_s=1,
    )


def stored_of(kind: Kind, name: str, fields: str, created_ms: int, updated_ms: int) -> Stored:
    """A row."""
    read: dict[str, Any] = msgspec.json.decode(fields)
    return Stored(kind=kind, name=name, fields=read, created_ms=created_ms, updated_ms=updated_ms)


def fields_text(one: Stored) -> str:
    """Its fields as a column."""
    return msgspec.json.encode(one.fields).decode()


def entry_row(entry: Entry) -> tuple[int, str, str, str, str, str | None, str | None]:
    """A change as columns."""
    return (
        entry.at_ms,
        entry.who,
        entry.action,
        entry.kind,
        entry.name,
        _json(entry.before),
        _json(entry.after),
    )


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def entry_from(row: tuple[Any, ...]) -> Entry:
    """Columns as a change."""
    id_, at_ms, who, action, kind, name, before, after = row
    return Entry(
        id=id_,
        at_ms=at_ms,
        who=who,
        action=action,
        kind=kind,
        name=name,
        before=None if before is None else msgspec.json.decode(before),
        after=None if after is None else msgspec.json.decode(after),
    )


class FileStore:
    """A SQLite file. Raises ConfigFault where it is somebody else's, or of a newer version."""

    def __init__(self, path: str) -> None:
        self.name = self._path = path
        if os.path.exists(path):  # noqa: PTH110 - a name that SQLite takes as it is
            try:
                with self._asked("read from") as connection:
                    _refuse_strangers(connection, path)
            except ConfigFault:
                raise
            except OurFault as error:
                raise ConfigFault(error.message, path=_PATH, hint=error.hint) from error

    def version(self) -> int:
        """How many changes there were."""
        return int(self._state()[0])

    def read(self) -> Registry:
        """All of it, as of one moment."""
        if not os.path.exists(self._path):  # noqa: PTH110
            return Registry()
        with self._asked("read from") as connection:
            connection.execute("BEGIN")
            version, closed = _state_of(connection)
            rows = (
                []
                if version == 0
                else connection.execute(
                    "SELECT kind, name, fields, created_ms, updated_ms FROM objects "
                    "ORDER BY CASE kind WHEN 'organisation' THEN 0 WHEN 'team' THEN 1 ELSE 2 END, name"
                ).fetchall()
            )
            connection.execute("ROLLBACK")
        return Registry(version=version, closed=closed, objects=tuple(stored_of(*row) for row in rows))

    def commit(self, version: int, place: tuple[Kind, str], after: Stored | None, entry: Entry) -> None:
        """One transaction. Raises Stale, or OurFault: then nothing is stored."""
        with self._asked("stored in") as connection:
            self._begin(connection)
            if _state_of(connection)[0] != version:
                raise Stale
            if after is None:
                connection.execute("DELETE FROM objects WHERE kind = ? AND name = ?", place)
            else:
                connection.execute(
                    "INSERT INTO objects VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, name) DO UPDATE SET "
                    "fields = excluded.fields, updated_ms = excluded.updated_ms",
                    (after.kind, after.name, fields_text(after), after.created_ms, after.updated_ms),
                )
            connection.execute(
                "UPDATE state SET version = version + 1, closed = closed OR ?", (int(place[0] == "key"),)
            )
            _add(connection, entry)
            connection.execute("COMMIT")

    def note(self, entry: Entry) -> None:
        """Add to the record; where there is no file yet, there is nothing to add to."""
        if not os.path.exists(self._path):  # noqa: PTH110
            return
        with self._asked("noted in") as connection:
            self._begin(connection)
            newest = connection.execute(NEWEST, (entry.action,)).fetchone()
            if newest is None or newest[0] != entry_row(entry)[-1]:
                _add(connection, entry)
            connection.execute("COMMIT")

    def audit(self, *, limit: int, before: int | None, kind: str | None, name: str | None) -> list[Entry]:
        """The record, newest first."""
        if not os.path.exists(self._path):  # noqa: PTH110
            return []
        with self._asked("read from") as connection:
            if _empty(connection):
                return []
            rows = connection.execute(
                "SELECT id, at_ms, who, action, kind, name, before, after FROM audit "
                "WHERE id < ?1 AND (?2 IS NULL OR kind = ?2) AND (?3 IS NULL OR name = ?3) ORDER BY id DESC LIMIT ?4",
                (2**62 if before is None else before, kind, name, limit),
            ).fetchall()
        return [entry_from(row) for row in rows]

    def close(self) -> None:
        """Nothing is held between two questions."""

    def _state(self) -> tuple[int, bool]:
        if not os.path.exists(self._path):  # noqa: PTH110
            return 0, False
        with self._asked("read from") as connection:
            return _state_of(connection)

    def _begin(self, connection: sqlite3.Connection) -> None:
        """A transaction that writes; the tables are made in the first one."""
        connection.execute("BEGIN IMMEDIATE")
        _refuse_strangers(connection, self._path)
        if _empty(connection):
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _asked(self, doing: str) -> Generator[sqlite3.Connection]:
        try:
            with self._open() as connection:
                try:
                    yield connection
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
        except sqlite3.Error as error:
            raise cannot(doing, self._path, str(error)) from error

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        """A connection for one question: changes are rare, and what is not held cannot go stale."""
        try:
            if not os.path.exists(self._path):  # noqa: PTH110
                # For its owner alone, whatever the umask says; SQLite gives its journal the same rights.
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(
                self._path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise cannot("kept in", self._path, _why(error)) from error
        try:
            connection.execute("PRAGMA synchronous = FULL")
            yield connection
        finally:
            connection.close()


def _why(error: OSError | sqlite3.Error) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)


def _state_of(connection: sqlite3.Connection) -> tuple[int, bool]:
    if _empty(connection):
        return 0, False
    version, closed = connection.execute("SELECT version, closed FROM state").fetchone()
    return int(version), bool(closed)


def _empty(connection: sqlite3.Connection) -> bool:
    """A file whose first change never came to be."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0]) == 0


def _add(connection: sqlite3.Connection, entry: Entry) -> None:
    connection.execute(
        "INSERT INTO audit (at_ms, who, action, kind, name, before, after) VALUES (?, ?, ?, ?, ?, ?, ?)",
        entry_row(entry),
    )


def _refuse_strangers(connection: sqlite3.Connection, path: str) -> None:
    """Raises ConfigFault for a file of somebody else's, or of a newer version."""
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application != APPLICATION_ID and not (application == 0 and version == 0 and empty):
        raise ConfigFault(
            f"{path!r} does not hold Penstock's keys and teams: it is another program's database.",
            path=_PATH,
            hint="Move it away, or name another ledger; this file was left as it is.",
        )
    if version > VERSION:
        raise ConfigFault(
            f"{path!r} was written by a newer Penstock (schema {version}; this one knows {VERSION}).",
            path=_PATH,
            hint="Run the newer version.",
        )
