"""The tables in the ledger's SQLite file, through connections of their own.

Rules
- The file is the ledger's: it is there, and ours, before these tables are (``ledger.schema`` refuses any other).
- WAL: who reads waits for nobody. Of writers one at a time; ``BEGIN IMMEDIATE`` waits its turn up front.
"""

import queue
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager

from penstock.base.errors import ConfigFault, OurFault
from penstock.objects.tables import Connection

_WAIT_S = 10.0
_TABLES = (
    "CREATE TABLE object_schema (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL)",
    "INSERT INTO object_schema VALUES (1, 1)",
    """
    CREATE TABLE objects (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        owner TEXT NOT NULL,
        id TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        expires_ms INTEGER,
        due_ms INTEGER,
        lease_ms INTEGER,
        worker TEXT,
        version INTEGER NOT NULL,
        meta TEXT NOT NULL,
        blob TEXT,
        size INTEGER NOT NULL,
        UNIQUE (kind, owner, id)
    )
    """,
    "CREATE INDEX objects_listed ON objects (kind, owner, seq)",
    "CREATE INDEX objects_due ON objects (kind, due_ms) WHERE due_ms IS NOT NULL",
    "CREATE INDEX objects_expire ON objects (expires_ms) WHERE expires_ms IS NOT NULL",
    """
    CREATE TABLE object_pieces (
        blob TEXT NOT NULL,
        n INTEGER NOT NULL,
        size INTEGER NOT NULL,
        data BLOB NOT NULL,
        UNIQUE (blob, n)
    )
    """,
    "CREATE TABLE object_drafts (blob TEXT PRIMARY KEY, begun_ms INTEGER NOT NULL)",
    """
    CREATE TABLE object_items (
        seq INTEGER NOT NULL,
        n INTEGER NOT NULL,
        state TEXT NOT NULL,
        data BLOB,
        blob TEXT,
        UNIQUE (seq, n)
    )
    """,
    "CREATE INDEX object_items_state ON object_items (seq, state)",
    "CREATE TABLE object_gone (number INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER, blob TEXT)",
)


class SqliteTables:
    """A file. Raises ConfigFault where it cannot be opened. ``:memory:``: one connection, forgotten with it."""

    lock = ""
    skip = ""

    def __init__(self, path: str, *, most: int = 4) -> None:
        self._path = path
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._places = threading.Semaphore(1 if path == ":memory:" else most)
        try:
            connection = self._open()
            try:
                _prepare(connection)
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise ConfigFault(
                f"What callers leave with the gateway cannot be kept in {path!r}: {error}.",
                path="$.ledger.path",
                hint="Name a file in a directory that exists and may be written.",
            ) from error
        self._idle.put(connection)

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """One state of the file."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Generator[Connection]:
        """All or nothing."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    def close(self) -> None:
        """Let go."""
        while not self._idle.empty():
            self._idle.get_nowait().close()

    @contextmanager
    def _transaction(self, begin: str) -> Generator[sqlite3.Connection]:
        with self._places:
            try:
                try:
                    connection = self._idle.get_nowait()
                except queue.Empty:
                    connection = self._open()
                try:
                    connection.execute(begin)
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
                finally:
                    self._idle.put(connection)
            except sqlite3.Error as error:
                raise OurFault(
                    f"What callers leave with the gateway cannot be kept or read: {error}.",
                    status=503,
                    retry_after_s=1,
                ) from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
        )
        # As the ledger's: a killed process loses nothing, a power cut perhaps the last commits (decision 001).
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'object_schema'").fetchone()
    if there is None:
        for statement in _TABLES:
            connection.execute(statement)
    connection.execute("COMMIT")
