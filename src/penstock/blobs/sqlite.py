"""Blobs in a file of SQLite's, which several processes of one machine share.

Theory
------
WAL: who reads waits for nobody, of writers one at a time. Reads and writes go by connections of their own, each under its own
lock, so that a find never waits for a batch.

What another process did is read about once a second (``poll``): ``PRAGMA data_version`` says whether there is anything at all,
rows with a higher ``seq`` are what was written, the table ``gone`` is what was dropped. A drop is noted in the transaction that
does it, and so is seen by every ``write`` that comes after it (``far`` says why that matters).

Eviction is GreedyDual-Size-Frequency, as in memory (``gdsf``), with the priorities in columns and the clocks in tables. Hits are
counted in this process and written with the next batch.

Rules
- Whatever goes wrong is StoreFault: the file is locked, the disk full, the file broken or not ours.
- A broken file is set aside under another name, and a new one begun; the others find that out with their next poll.
- What has expired is not found, swept or not.
"""

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from penstock.blobs.blob import Blob, Place, Stats, StoreFault
from penstock.blobs.far import Change, Drop, Heard, Op, Purge, Put, Which
from penstock.blobs.gdsf import Limits
from penstock.blobs.sqlite_rows import (
    apply,
    changes_since,
    countable,
    lawful,
    make_room,
    mark_of,
    meaningful,
    newest,
    purged_since,
    purged_words,
    sweep,
    use,
)
from penstock.blobs.sqlite_schema import BROKEN, connect, identity, is_ours, prepare, set_aside

SWEEP_EVERY_S = 60.0
USES_EVERY_S = 10.0
_USES_AT_ONCE = 256
_USES_HELD = 100_000
_MOST_BYTES = 512 * 1024 * 1024
"""Of one value: SQLite itself takes no more than a gigabyte."""
_GET = (
    "SELECT value, created_ms, expires_ms, worth_nusd, tags, about, seq FROM blobs "
    "WHERE kind = ? AND tenant = ? AND namespace = ? AND key = ? AND expires_ms > ?"
)
_SCAN = (
    "SELECT tenant, namespace, key, created_ms, expires_ms, worth_nusd, tags, about, seq FROM blobs "
    "WHERE kind = ? AND seq > ? AND length(about) > 0 AND expires_ms > ? ORDER BY seq LIMIT ?"
)
_tags = msgspec.json.Decoder(tuple[str, ...]).decode


class _File:
    """An open file: a connection to read by, one to write by, and their locks."""

    def __init__(self, path: str) -> None:
        self.reading = threading.RLock()
        self.writing = threading.RLock()
        self.writer = connect(path)
        try:
            prepare(self.writer, path)
            self.reader = connect(path)
        except BaseException:
            self.writer.close()
            raise
        self.identity = identity(path)

    def close(self) -> None:
        with self.reading:
            self.reader.close()
        with self.writing:
            self.writer.close()


class SqliteBlobs:
    """One tier: a file. Any thread may ask."""

    name = "sqlite"

    def __init__(
        self,
        path: str,
        limits: Limits,
        *,
        now_ms: Callable[[], int],
        heard: Heard | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opened with the first question. ``limits.max_bytes`` is of what lies in it; the file itself is a little larger."""
        self.mark = 0
        self._path = path
        self._limits = limits
        self._now_ms = now_ms
        self._heard = heard
        self._monotonic_s = monotonic_s
        self._writer_name = secrets.token_hex(8)
        self._file: _File | None = None
        self._opening = threading.Lock()
        self._closed = False
        self._uses: dict[int, int] = {}
        self._seq = 0
        self._data_version = -1
        self._swept_s = self._used_s = monotonic_s()

    def get(self, place: Place, key: bytes, now_ms: int) -> Blob | None:
        """The blob, unless it is over."""
        with self._reading() as connection:
            if not lawful(place):
                return None
            row = connection.execute(
                _GET, (place.kind, place.tenant, place.namespace, key, now_ms)
            ).fetchone()
            if row is None:
                return None
            value, created_ms, expires_ms, worth_nusd, tags, about, seq = row
            blob = Blob(place, key, value, created_ms, expires_ms, worth_nusd, _tags(tags), about, seq)
        if len(self._uses) < _USES_HELD:
            self._uses[seq] = self._uses.get(seq, 0) + 1
        return blob

    def put(self, blob: Blob) -> None:
        """Keep it, in place of what had its key."""
        self.write([Put(blob, self.mark)])

    def drop(self, place: Place, key: bytes) -> bool:
        """Whether it was there."""
        return self.write([Drop(place, key)])[0] > 0

    def purge(
        self,
        *,
        kind: str | None = None,
        tenant: str | None = None,
        namespace: str | None = None,
        tag: str | None = None,
    ) -> int:
        """Drop all that matches every given word exactly; how many."""
        return self.write([Purge(Which(kind, tenant, namespace, tag))])[0]

    def write(self, ops: Sequence[Op]) -> list[int]:
        """All of it in one transaction."""
        puts = [op for op in ops if isinstance(op, Put)]
        done: list[int] = []
        gone: list[tuple[Place, bytes]] = []
        with self._writing() as connection:
            purged = purged_since(connection, min((put.mark for put in puts), default=0), self._writer_name)
            newest_seq = newest(connection)
            now_ms = self._now_ms()
            for op in ops:
                if isinstance(op, Put):
                    done.append(self._put(connection, op, purged))
                elif not meaningful(op):
                    done.append(0)
                elif isinstance(op, Purge):
                    gone += purged_words(connection, op.which)
                    done.append(apply(connection, op, self._writer_name, now_ms))
                else:
                    done.append(apply(connection, op, self._writer_name, now_ms))
            self._write_uses(connection)
            evicted: list[tuple[Place, bytes]] = []
            if puts:
                tenants = {put.blob.place.tenant for put in puts if lawful(put.blob.place)}
                evicted = make_room(connection, self._limits, tenants, newest_seq, self._writer_name, now_ms)
        self._tell([Change("drop", *one) for one in gone] + [Change("evict", *one) for one in evicted])
        return done

    def scan(self, kind: str, after_seq: int, limit: int, now_ms: int) -> list[Blob]:
        """Living blobs that have an ``about``, in order of ``seq``, without their values."""
        with self._reading() as connection:
            rows = connection.execute(_SCAN, (kind, after_seq, now_ms, limit))
            return [
                Blob(
                    Place(kind, tenant, namespace), key, b"", created, expires, worth, _tags(tags), about, seq
                )
                for tenant, namespace, key, created, expires, worth, tags, about, seq in rows
            ]

    def stats(self) -> Stats:
        """As it stands; what is over counts until it is swept."""
        with self._reading() as connection:
            entries, size, evicted = connection.execute("SELECT entries, size, evicted FROM state").fetchone()
        return Stats(self.name, entries, size, evicted)

    def poll(self) -> None:
        """Hear what the others did; sweep what is over."""
        file = self._file
        if file is not None and file.identity != identity(self._path):
            self._forget(file)  # another process has set it aside, or somebody has removed it
        changes: list[Change] = []
        with self._asked(writes=True) as connection:
            now_s = self._monotonic_s()
            if self._uses and now_s - self._used_s >= USES_EVERY_S:
                self._transact(connection, self._write_uses)
            if now_s - self._swept_s >= SWEEP_EVERY_S:
                self._swept_s = now_s
                self._transact(connection, lambda one: sweep(one, self._now_ms()))
            version = int(connection.execute("PRAGMA data_version").fetchone()[0])
            if version != self._data_version:
                connection.execute("BEGIN")
                changes, self.mark, self._seq = changes_since(
                    connection, self.mark, self._seq, self._writer_name
                )
                connection.execute("COMMIT")
                self._data_version = version
        self._tell(changes)

    def secret(self, offer: bytes, *, instead: bool = False) -> bytes:
        """The one that is kept there, which is ``offer`` where there was none."""
        with self._writing() as connection:
            verb = "REPLACE" if instead else "IGNORE"
            connection.execute(f"INSERT OR {verb} INTO secrets VALUES (1, ?)", (offer,))  # noqa: S608 - our own words
            return bytes(connection.execute("SELECT secret FROM secrets").fetchone()[0])

    def close(self) -> None:
        """Write what is to be written, and let go."""
        if self._file is not None and self._uses:
            with self._writing() as connection:
                self._write_uses(connection)
        self._closed = True
        with self._opening:
            file, self._file = self._file, None
        if file is not None:
            file.close()

    def _put(self, connection: sqlite3.Connection, put: Put, purged: list[tuple[int, Any]]) -> int:
        blob = put.blob
        size = len(blob.value) + len(blob.about)
        limits = self._limits
        most = min(_MOST_BYTES, limits.tenant_max_bytes if blob.place.tenant else limits.max_bytes)
        if size > most or not lawful(blob.place, *blob.tags) or not countable(blob):
            return 0
        if any(number > put.mark and meant(blob) for number, meant in purged):
            return 0
        return apply(connection, put, self._writer_name, self._now_ms())

    def _write_uses(self, connection: sqlite3.Connection) -> None:
        self._used_s = self._monotonic_s()
        for seq in list(self._uses)[:_USES_AT_ONCE]:
            use(connection, seq, self._uses.pop(seq, 0))

    def _tell(self, changes: list[Change]) -> None:
        if changes and self._heard is not None:
            self._heard(changes)

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        with self._asked(writes=False) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        with self._asked(writes=True) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def _transact(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], None]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        work(connection)
        connection.execute("COMMIT")

    @contextmanager
    def _asked(self, *, writes: bool) -> Generator[sqlite3.Connection]:
        """A connection, and its lock. What was begun and goes wrong is undone."""
        file = self._opened()
        connection = file.writer if writes else file.reader
        try:
            with file.writing if writes else file.reading:
                try:
                    yield connection
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
        except (sqlite3.Error, msgspec.DecodeError, OSError) as error:
            if _broken(error):
                self._begin_anew(file)
            raise StoreFault(f"The cache's file {self._path!r} does not serve: {error}.") from error

    def _opened(self) -> _File:
        with self._opening:
            if self._closed:
                raise StoreFault(f"The cache's file {self._path!r} is closed.")
            if self._file is not None:
                return self._file
            try:
                file = _File(self._path)
                self.mark, self._seq = mark_of(file.writer), newest(file.writer)
            except (sqlite3.Error, OSError) as error:
                aside = ""
                if _broken(error) and is_ours(self._path):
                    aside = f" It was set aside as {set_aside(self._path)!r}."
                raise StoreFault(
                    f"The cache's file {self._path!r} cannot be opened: {error}.{aside}"
                ) from error
            self._data_version = -1
            self._uses.clear()
            self._file = file
            return file

    def _begin_anew(self, file: _File) -> None:
        """A broken file gets another name, unless another process has done that already.

        First that, and then our connections to it are closed: SQLite leaves the files beside it alone where it finds that the
        file has moved (pager.c, databaseIsUnmoved), and would else delete those of the new one.
        """
        with self._opening:
            if file.identity == identity(self._path) and is_ours(self._path):
                set_aside(self._path)
        self._forget(file)

    def _forget(self, file: _File) -> None:
        with self._opening:
            if self._file is file:
                self._file = None
        file.close()
        self._tell([Change("lost")])


def _broken(error: BaseException) -> bool:
    return (
        isinstance(error, sqlite3.DatabaseError) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in BROKEN
    )
