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
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from penstock.blobs.blob import Blob, Place, Stats
from penstock.blobs.far import (
    Change,
    Heard,
    Op,
    Purge,
    Put,
    Remember,
    Writing,
    lawful,
    meaningful,
    storable,
)
from penstock.blobs.gdsf import Limits
from penstock.blobs.sqlite_file import SharedFile
from penstock.blobs.sqlite_rows import (
    apply,
    changes_since,
    make_room,
    mark_of,
    newest,
    purged_since,
    purged_words,
    sweep,
    use,
)

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


class SqliteBlobs(SharedFile, Writing):
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
        super().__init__(path)
        self.mark = 0
        self._limits = limits
        self._now_ms = now_ms
        self._heard = heard
        self._monotonic_s = monotonic_s
        self._writer_name = secrets.token_hex(8)
        self._uses: dict[int, int] = {}
        self._seq = 0
        self._data_version = -1
        self._swept_s = self._used_s = monotonic_s()

    def get(self, place: Place, key: bytes, now_ms: int) -> Blob | None:
        """The blob, unless it is over."""
        with self.reading() as connection:
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

    def write(self, ops: Sequence[Op]) -> list[int]:
        """All of it in one transaction."""
        puts = [op for op in ops if isinstance(op, Put)]
        done: list[int] = []
        gone: list[tuple[Place, bytes]] = []
        with self.writing() as connection:
            purged = purged_since(connection, min((put.mark for put in puts), default=0), self._writer_name)
            newest_seq = newest(connection)
            now_ms = self._now_ms()
            for op in ops:
                if isinstance(op, Put):
                    done.append(self._put(connection, op, purged))
                elif not isinstance(op, Remember) and not meaningful(op):
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
        self._tell([Change("evict", *one) for one in gone] + [Change("evict", *one) for one in evicted])
        return done

    def scan(self, kind: str, after_seq: int, limit: int, now_ms: int) -> list[Blob]:
        """Living blobs that have an ``about``, in order of ``seq``, without their values."""
        with self.reading() as connection:
            rows = connection.execute(_SCAN, (kind, after_seq, now_ms, limit))
            return [
                Blob(
                    Place(kind, tenant, namespace), key, b"", created, expires, worth, _tags(tags), about, seq
                )
                for tenant, namespace, key, created, expires, worth, tags, about, seq in rows
            ]

    def stats(self) -> Stats:
        """As it stands; what is over counts until it is swept."""
        with self.reading() as connection:
            entries, size, evicted = connection.execute("SELECT entries, size, evicted FROM state").fetchone()
        return Stats(self.name, entries, size, evicted)

    def poll(self) -> None:
        """Hear what the others did; sweep what is over."""
        self.renew_if_replaced()
        changes: list[Change] = []
        with self.asked(writes=True) as connection:
            now_s = self._monotonic_s()
            if self._uses and now_s - self._used_s >= USES_EVERY_S:
                _transact(connection, self._write_uses)
            if now_s - self._swept_s >= SWEEP_EVERY_S:
                self._swept_s = now_s
                _transact(connection, lambda one: sweep(one, self._now_ms()))
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
        with self.writing() as connection:
            verb = "REPLACE" if instead else "IGNORE"
            connection.execute(f"INSERT OR {verb} INTO secrets VALUES (1, ?)", (offer,))  # noqa: S608 - our own words
            return bytes(connection.execute("SELECT secret FROM secrets").fetchone()[0])

    def position(self) -> bytes:
        """How far this node has heard of what other nodes do; b"": nothing is known."""
        with self.reading() as connection:
            row = connection.execute("SELECT position FROM heard").fetchone()
        return b"" if row is None else bytes(row[0])

    def close(self) -> None:
        """Write what is to be written, and let go."""
        if self._file is not None and self._uses:
            with self.writing() as connection:
                self._write_uses(connection)
        self.let_go()

    def begun(self, connection: sqlite3.Connection) -> None:
        """What others do is heard from here on."""
        self.mark, self._seq, self._data_version = mark_of(connection), newest(connection), -1
        self._uses.clear()

    def lost(self) -> None:
        """The file was replaced."""
        self._tell([Change("lost")])

    def _put(self, connection: sqlite3.Connection, put: Put, purged: list[tuple[int, Any]]) -> int:
        blob = put.blob
        size = len(blob.value) + len(blob.about)
        limits = self._limits
        most = min(_MOST_BYTES, limits.tenant_max_bytes if blob.place.tenant else limits.max_bytes)
        if size > most or not storable(blob):
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


def _transact(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], None]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    work(connection)
    connection.execute("COMMIT")
