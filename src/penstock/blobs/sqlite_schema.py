"""The tables of a file of blobs, as frozen migrations, and whether a file is one.

Rules
- A migration that was released is never edited: a change is a new one. ``user_version`` counts them.
- A file is ours if its ``application_id`` says so. A file of anyone else is never touched, nor one that is no database at all:
  it may be somebody's document. One of ours that is broken is set aside under another name, never deleted.
"""

import os
import sqlite3
import time
from pathlib import Path

from penstock.blobs.blob import StoreFault

APPLICATION_ID = 0x50454E42
""" "PENB" in the file's header, at byte 68 (sqlite.org/fileformat2.html, 1.3)."""
_ID_AT = 68
_BUSY_S = 2.0
BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE secrets (one INTEGER PRIMARY KEY CHECK (one = 1), secret BLOB NOT NULL)",
        # How far this node has heard of what other nodes do, where there is a Redis behind the file.
        "CREATE TABLE heard (one INTEGER PRIMARY KEY CHECK (one = 1), position BLOB NOT NULL)",
        """
        CREATE TABLE state (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            entries INTEGER NOT NULL,
            size INTEGER NOT NULL,
            clock REAL NOT NULL,
            evicted INTEGER NOT NULL,
            gone_floor INTEGER NOT NULL
        )
        """,
        "INSERT INTO state VALUES (1, 0, 0, 0.0, 0, 0)",
        """
        CREATE TABLE tenants (
            tenant TEXT PRIMARY KEY NOT NULL,
            entries INTEGER NOT NULL,
            size INTEGER NOT NULL,
            clock REAL NOT NULL
        ) WITHOUT ROWID
        """,
        # The value stands last: who reads the columns before it reads no page of it.
        """
        CREATE TABLE blobs (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL,
            tenant TEXT NOT NULL,
            namespace TEXT NOT NULL,
            key BLOB NOT NULL,
            created_ms INTEGER NOT NULL,
            expires_ms INTEGER NOT NULL,
            worth_nusd INTEGER NOT NULL,
            tags TEXT NOT NULL,
            size INTEGER NOT NULL,
            uses INTEGER NOT NULL,
            gain REAL NOT NULL,
            priority REAL NOT NULL,
            own_priority REAL NOT NULL,
            writer TEXT NOT NULL,
            about BLOB NOT NULL,
            value BLOB NOT NULL,
            UNIQUE (kind, tenant, namespace, key)
        )
        """,
        "CREATE INDEX blobs_priority ON blobs (priority, seq)",
        "CREATE INDEX blobs_own ON blobs (tenant, own_priority, seq)",
        "CREATE INDEX blobs_expire ON blobs (expires_ms)",
        "CREATE INDEX blobs_about ON blobs (kind, seq) WHERE length(about) > 0",
        "CREATE TABLE blob_tags (tag TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (tag, seq)) WITHOUT ROWID",
        "CREATE INDEX blob_tags_seq ON blob_tags (seq)",
        # What was dropped, for the other processes. key NULL: all that match the words, and NULL matches any.
        """
        CREATE TABLE gone (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            at_ms INTEGER NOT NULL,
            writer TEXT NOT NULL,
            what TEXT NOT NULL,
            kind TEXT,
            tenant TEXT,
            namespace TEXT,
            key BLOB,
            tag TEXT
        )
        """,
        """
        CREATE TRIGGER blobs_in AFTER INSERT ON blobs BEGIN
            INSERT OR IGNORE INTO tenants VALUES (NEW.tenant, 0, 0, 0.0);
            UPDATE tenants SET entries = entries + 1, size = size + NEW.size WHERE tenant = NEW.tenant;
            UPDATE state SET entries = entries + 1, size = size + NEW.size;
        END
        """,
        """
        CREATE TRIGGER blobs_out AFTER DELETE ON blobs BEGIN
            DELETE FROM blob_tags WHERE seq = OLD.seq;
            UPDATE tenants SET entries = entries - 1, size = size - OLD.size WHERE tenant = OLD.tenant;
            DELETE FROM tenants WHERE tenant = OLD.tenant AND entries = 0;
            UPDATE state SET entries = entries - 1, size = size - OLD.size;
        END
        """,
    ),
)


def connect(path: str) -> sqlite3.Connection:
    """A connection to a file that is ours or new, without its tables yet. Raises StoreFault, sqlite3.Error, OSError."""
    if not Path(path).exists():
        own(path)
    elif not _may_be_ours(path):
        raise StoreFault(
            f"{path!r} is not a cache of Penstock's; it was left as it is, and nothing is kept on disk."
        )
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    # As the ledger's: a killed process loses nothing, a power cut perhaps the last commits.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    return connection


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables, or bring them up to date. Raises StoreFault where the file is of a newer version, or another's."""
    if _refuse_strangers(connection, path):
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Two processes may open a new file at once: what it holds is read again inside the transaction.
        _refuse_strangers(connection, path)
        version = _pragma(connection, "user_version")
        if version > len(MIGRATIONS):
            raise StoreFault(f"{path!r} was written by a newer Penstock; it was left as it is.")
        for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    own(path)


def own(path: str) -> None:
    """The file, and what SQLite keeps beside it, is for its owner alone; one that is not there is made. Raises OSError."""
    if not Path(path).exists():
        # Before SQLite makes it: the files beside it take its mode (sqlite.org, "robust_open", os_unix.c).
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    for one in (Path(path + end) for end in ("", "-wal", "-shm")):
        if one.exists() and one.stat().st_mode & 0o077:
            one.chmod(0o600)


def unusable(path: str) -> str | None:
    """Why no cache could be kept there, as far as can be said without making anything; None: it could."""
    file = Path(path)
    try:
        if file.is_dir():
            return "it is a folder"
        if file.exists():
            if not _may_be_ours(path):
                return "it is a file of another program's, which is left as it is"
            return None if os.access(path, os.R_OK | os.W_OK) else "the file cannot be written"
        if not file.parent.is_dir():
            return f"there is no folder {str(file.parent)!r}"
        return None if os.access(file.parent, os.W_OK | os.X_OK) else "its folder cannot be written"
    except OSError as error:
        return error.strerror or str(error)


def is_ours(path: str) -> bool:
    """Whether the header says so."""
    with Path(path).open("rb") as file:
        return file.read(100)[_ID_AT : _ID_AT + 4] == APPLICATION_ID.to_bytes(4, "big")


def set_aside(path: str) -> str:
    """Give a broken file, and what SQLite keeps beside it, another name: which. Raises OSError."""
    aside = f"{path}.broken-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"
    for end in ("", "-wal", "-shm"):
        if Path(path + end).exists():
            Path(path + end).rename(aside + end)
    return aside


def identity(path: str) -> tuple[int, int]:
    """Which file lies there: it may have been replaced. (0, 0): none."""
    try:
        found = Path(path).stat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def _may_be_ours(path: str) -> bool:
    with Path(path).open("rb") as file:
        head = file.read(100)
    return not head or (
        len(head) == 100 and head[_ID_AT : _ID_AT + 4] in (APPLICATION_ID.to_bytes(4, "big"), b"\0\0\0\0")
        and head.startswith(b"SQLite format 3\0")
    )  # fmt: skip


def _refuse_strangers(connection: sqlite3.Connection, path: str) -> bool:
    """Whether it is new."""
    # In this order: tables and id are made in one transaction, so whoever sees the tables then sees the id.
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    new = _pragma(connection, "application_id") != APPLICATION_ID
    if new and tables:
        raise StoreFault(
            f"{path!r} is another program's database; it was left as it is, and nothing is kept on disk."
        )
    return new


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
