"""The audits' file: served hits, what was asked again, verdicts, labels, quarantines, and pairs that are not to be confused.

Theory
------
It lies beside the cache's own file and not in it: answers can be made again, and are dropped for room; a person's verdict
cannot, and the labels that a threshold was certified by took weeks and money. Whoever deletes the cache keeps them.

Several processes write to one file. Each follows what the others add, by number: ``labels`` and ``quarantines`` are only
added to (a label that is replaced gets a new number), so "all above the last one seen" is all that is new.

Rules
- It is for its owner alone (mode 0600), as the cache's own file is.
- Where prompts may not be kept, a keyed hash stands in their place. The key is the file's own.
- A *pair* is the keyed hash of a partition and two texts, the same in either order: a verdict "wrong" forbids it both ways.
"""

import os
import sqlite3
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import msgspec

from penstock.base.errors import ConfigFault, OurFault
from penstock.blobs.sqlite_schema import own
from penstock.cache.audits import (
    DAY_MS,
    NOTHING_NEW,
    Audit,
    Counted,
    Hit,
    Looked,
    News,
    State,
    Verdict,
    label_of,
)
from penstock.cache.ports import Label

SUFFIX = ".audits"
APPLICATION_ID = 0x50454E48
""" "PENH" in the file's header."""
VERSION = 1
MEMORY = ":memory:"
HITS_KEPT_MS = 35 * DAY_MS
AUDITS_KEPT_MS = 180 * DAY_MS
"""The words of an audit; its label stays."""
_WAIT_S = 5.0
_TABLES = (
    "CREATE TABLE secret (one INTEGER PRIMARY KEY CHECK (one = 1), bytes BLOB NOT NULL)",
    """
    CREATE TABLE hits (
        seq INTEGER PRIMARY KEY, request_id TEXT NOT NULL, at_ms INTEGER NOT NULL, klass TEXT NOT NULL,
        entry_id TEXT NOT NULL, partition BLOB NOT NULL, asked TEXT NOT NULL, cached TEXT NOT NULL, score REAL NOT NULL,
        threshold REAL, version TEXT NOT NULL, flags TEXT NOT NULL, saved_nusd INTEGER
    )
    """,
    "CREATE INDEX hits_entry ON hits (entry_id)",
    "CREATE INDEX hits_at ON hits (at_ms)",
    """
    CREATE TABLE audits (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, request_id TEXT NOT NULL, at_ms INTEGER NOT NULL,
        klass TEXT NOT NULL, entry_id TEXT NOT NULL, partition BLOB NOT NULL, asked TEXT NOT NULL, cached TEXT NOT NULL,
        score REAL NOT NULL, version TEXT NOT NULL, flags TEXT NOT NULL, served INTEGER NOT NULL, weight REAL NOT NULL,
        cached_answer TEXT NOT NULL, fresh_answer TEXT NOT NULL, state TEXT NOT NULL, by_whom TEXT NOT NULL,
        reason TEXT NOT NULL, judged_ms INTEGER, cost_nusd INTEGER, pair BLOB NOT NULL
    )
    """,
    "CREATE INDEX audits_state ON audits (state, seq)",
    "CREATE INDEX audits_at ON audits (at_ms)",
    """
    CREATE TABLE labels (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, audit TEXT UNIQUE, klass TEXT NOT NULL, score REAL NOT NULL,
        wrong INTEGER NOT NULL, source TEXT NOT NULL, at_ms INTEGER NOT NULL, weight REAL NOT NULL, served INTEGER NOT NULL,
        amended INTEGER NOT NULL, run TEXT NOT NULL
    )
    """,
    "CREATE TABLE pairs (seq INTEGER PRIMARY KEY AUTOINCREMENT, pair BLOB NOT NULL UNIQUE, at_ms INTEGER NOT NULL)",
    """
    CREATE TABLE quarantines (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, entry_id TEXT NOT NULL UNIQUE, at_ms INTEGER NOT NULL, reason TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE looks (
        day INTEGER NOT NULL, klass TEXT NOT NULL, looks INTEGER NOT NULL, hits INTEGER NOT NULL,
        saved_nusd INTEGER NOT NULL, PRIMARY KEY (day, klass)
    ) WITHOUT ROWID
    """,
    "CREATE TABLE spending (day INTEGER PRIMARY KEY, nusd INTEGER NOT NULL)",
)
_HIT = "request_id, at_ms, klass, entry_id, partition, asked, cached, score, threshold, version, flags, saved_nusd"
_AUDIT = (
    "request_id, at_ms, klass, entry_id, partition, asked, cached, score, id, version, flags, served, weight, "
    "cached_answer, fresh_answer, state, by_whom, reason, judged_ms, cost_nusd, pair"
)
_LABEL = "klass, score, wrong, source, at_ms, weight, served"
_flags: Any = msgspec.json.Decoder(tuple[str, ...]).decode


class _File:
    """The connection, and the file's own secret."""

    def __init__(self, path: str, run: str) -> None:
        """``run`` names this run of this process: what it writes is no news to it."""
        self._path = path
        self._run = run
        self._db: sqlite3.Connection | None = None
        self._secret = b""
        self._seen = (0, 0, 0)
        """Numbers of the last label, quarantine and pair that this process knows of."""
        self._pairs = 0
        self._version = -1

    def open(self) -> None:
        """Make or check the tables."""
        try:
            if self._path != MEMORY:
                own(self._path)
            self._db = db = sqlite3.connect(
                self._path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            with self._writing() as writing:
                _prepare(writing, self._path)
                writing.execute("INSERT OR IGNORE INTO secret VALUES (1, ?)", (os.urandom(32),))
            self._secret = db.execute("SELECT bytes FROM secret").fetchone()[0]
        except (sqlite3.Error, OSError) as error:
            raise ConfigFault(
                f"Audits of the cache cannot be kept in {self._path!r}: {error}.",
                path="$.cache.path",
                hint="Name a file in a directory that exists and may be written.",
            ) from error

    def close(self) -> None:
        """Let go."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def hashed(self, text: str) -> str:
        """What is kept of a text that may not be."""
        return (
            "#" + blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=self._secret).hexdigest()
        )

    def pair(self, partition: bytes, one: str, other: str) -> bytes:
        """Of two texts in a partition, in either order."""
        hashes = sorted((self.hashed(one), self.hashed(other)))
        return blake2b(partition + "".join(hashes).encode(), digest_size=16, key=self._secret).digest()

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            raise OurFault("The audits of the cache are not open.", status=503, retry_after_s=1)
        return self._db

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        db = self._open()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise


class _Reading(_File):
    """What is asked of it."""

    def standing(self) -> tuple[set[bytes], dict[str, str]]:
        """Pairs that are not to be confused, and quarantined entries with the reason. News begins after them."""
        db = self._open()
        db.execute("BEGIN")
        try:
            tables = ("labels", "quarantines", "pairs")
            numbers = [
                db.execute(f"SELECT coalesce(max(seq), 0) FROM {name}").fetchone()[0]  # noqa: S608 - our own names
                for name in tables
            ]
            self._seen = (numbers[0], numbers[1], numbers[2])
            pairs = {row[0] for row in db.execute("SELECT pair FROM pairs")}
            quarantined = dict(db.execute("SELECT entry_id, reason FROM quarantines").fetchall())
        finally:
            db.execute("COMMIT")
        self._pairs = len(pairs)
        return pairs, quarantined

    def news(self) -> News:
        """What others have added since this was asked last."""
        db = self._open()
        version = db.execute("PRAGMA data_version").fetchone()[
            0
        ]  # changes with every commit of another connection
        if version == self._version:
            return NOTHING_NEW
        self._version = version
        label, quarantine, pair = self._seen
        labels = db.execute(
            f"SELECT seq, run, amended, {_LABEL} FROM labels WHERE seq > ? ORDER BY seq",  # noqa: S608 - our own names
            (label,),
        ).fetchall()
        gone = db.execute(
            "SELECT seq, entry_id, reason FROM quarantines WHERE seq > ? ORDER BY seq", (quarantine,)
        ).fetchall()
        pairs = db.execute("SELECT seq, pair FROM pairs WHERE seq > ? ORDER BY seq", (pair,)).fetchall()
        count = db.execute("SELECT count(*) FROM pairs").fetchone()[0]
        released, self._pairs = count < self._pairs + len(pairs), count
        if not (labels or gone or pairs or released):
            return NOTHING_NEW
        self._seen = (
            labels[-1][0] if labels else label,
            gone[-1][0] if gone else quarantine,
            pairs[-1][0] if pairs else pair,
        )
        theirs = [row for row in labels if row[1] != self._run]
        return News(
            labels=tuple(_label(row[3:]) for row in theirs),
            amended=any(row[2] for row in theirs),
            quarantined=tuple((row[1], row[2]) for row in gone),
            released=released,
            pairs=tuple(row[1] for row in pairs),
        )

    def labels(self) -> list[Label]:
        """All of them, in the order in which they came."""
        rows = self._open().execute(f"SELECT {_LABEL} FROM labels ORDER BY at_ms, seq")  # noqa: S608 - our own names
        return [_label(row) for row in rows]

    def classes(self) -> list[str]:
        """Of which anything is known: look-ups or labels."""
        rows = self._open().execute("SELECT klass FROM looks UNION SELECT klass FROM labels ORDER BY 1")
        return [row[0] for row in rows]

    def forbidden(self) -> set[bytes]:
        """All pairs that are not to be confused."""
        return {row[0] for row in self._open().execute("SELECT pair FROM pairs")}

    def audits(self, *, state: State | None, klass: str | None, before: int | None, limit: int) -> list[tuple[int, Audit]]:  # fmt: skip
        """Newest first, with their numbers."""
        where = ["1"] + ["state = ?"] * (state is not None) + ["klass = ?"] * (klass is not None)
        values: list[Any] = [one for one in (state, klass) if one is not None]
        if before is not None:
            where.append("seq < ?")
            values.append(before)
        rows = self._open().execute(
            f"SELECT seq, {_AUDIT} FROM audits WHERE {' AND '.join(where)} ORDER BY seq DESC LIMIT ?",  # noqa: S608 - our own names
            (*values, limit),
        )
        return [(row[0], _audit(row[1:])) for row in rows]

    def audit(self, name: str) -> Audit | None:
        """One of them."""
        row = self._open().execute(f"SELECT {_AUDIT} FROM audits WHERE id = ?", (name,)).fetchone()  # noqa: S608 - our own names
        return None if row is None else _audit(row)

    def hits(self, *, entry_id: str, limit: int) -> list[Hit]:
        """To whom an entry was served, newest first."""
        rows = self._open().execute(
            f"SELECT {_HIT} FROM hits WHERE entry_id = ? ORDER BY seq DESC LIMIT ?",  # noqa: S608 - our own names
            (entry_id, limit),
        )
        return [_hit(row) for row in rows]

    def audited(self) -> dict[str, int]:
        """How many served hits of each class have been audited."""
        return dict(
            self._open().execute("SELECT klass, count(*) FROM labels WHERE served GROUP BY klass").fetchall()
        )

    def looked(self, since_day: int) -> list[Looked]:
        """Sums by class since a day (days since 1970)."""
        rows = self._open().execute(
            "SELECT min(day), klass, sum(looks), sum(hits), sum(saved_nusd) FROM looks WHERE day >= ? GROUP BY klass",
            (since_day,),
        )
        return [Looked(*row) for row in rows]

    def counted(self, since_ms: int) -> list[Counted]:
        """Audits of served hits since a time, by class and state."""
        rows = self._open().execute(
            "SELECT klass, state, count(*), sum(weight), sum(weight * weight), sum(coalesce(cost_nusd, 0)) FROM audits "
            "WHERE at_ms >= ? AND served GROUP BY klass, state",
            (since_ms,),
        )
        return [Counted(*row) for row in rows]

    def spent(self, day: int) -> int:
        """Of the day's money."""
        row = self._open().execute("SELECT nusd FROM spending WHERE day = ?", (day,)).fetchone()
        return 0 if row is None else row[0]


class AuditFile(_Reading):
    """The file, or memory that is forgotten. Blocks; one thread at a time. Raises sqlite3.Error, ConfigFault from ``open``."""

    def write(self, rows: Iterable["Hit | Audit | Label"], looks: Iterable[Looked]) -> None:
        """All of them, or none. An audit brings its label, and where it says wrong, the pair."""
        with self._writing() as db:
            for row in rows:
                match row:
                    case Hit():
                        db.execute(f"INSERT INTO hits ({_HIT}) VALUES ({_marks(12)})", _hit_row(row))  # noqa: S608 - our own names
                    case Audit():
                        db.execute(
                            f"INSERT OR REPLACE INTO audits ({_AUDIT}) VALUES ({_marks(21)})",  # noqa: S608 - our own names
                            _audit_row(row),
                        )
                        self._label(db, label_of(row), row.id)
                        self._settle(db, row)
                    case Label():
                        self._label(db, row, None)
            db.executemany(
                "INSERT INTO looks VALUES (?, ?, ?, ?, ?) ON CONFLICT (day, klass) DO UPDATE SET "
                "looks = looks + excluded.looks, hits = hits + excluded.hits, saved_nusd = saved_nusd + excluded.saved_nusd",
                [msgspec.structs.astuple(look) for look in looks],
            )

    def upload(self, pairs: Iterable[tuple[Label, str, str]]) -> int:
        """Labels with their two texts; how many are new or changed. All of them, or none.

        A pair that is there already is one label, not two: a file that is uploaded twice proves no more than once. What
        stands several times in one upload was drawn several times, and counts so.
        """
        times: Counter[bytes] = Counter()
        changed = 0
        with self._writing() as db:
            for label, one, other in pairs:
                pair = self.pair(label.klass.encode(), one, other)
                name = f"up-{pair.hex()}-{times[pair]}"
                times[pair] += 1
                known = db.execute("SELECT score, wrong FROM labels WHERE audit = ?", (name,)).fetchone()
                if known != (label.score, label.wrong):
                    self._label(db, label, name, amended=known is not None)
                    changed += 1
        return changed

    def judge(self, name: str, verdict: Verdict, who: str, now_ms: int) -> Audit | None:
        """A person's word: it replaces whatever was thought before. None: there is no such audit."""
        with self._writing() as db:
            row = db.execute(f"SELECT {_AUDIT} FROM audits WHERE id = ?", (name,)).fetchone()  # noqa: S608 - our own names
            if row is None:
                return None
            audit = msgspec.structs.replace(_audit(row), state=verdict, by=who, judged_ms=now_ms)
            db.execute(
                "UPDATE audits SET state = ?, by_whom = ?, judged_ms = ? WHERE id = ?",
                (verdict, who, now_ms, name),
            )
            db.execute("DELETE FROM labels WHERE audit = ?", (name,))
            self._label(db, label_of(audit), name, amended=True)
            self._settle(db, audit)
        return audit

    def reserve(self, day: int, nusd: int, limit_nusd: int | None) -> bool:
        """Take so much of the day's money, of all processes together; False: there is not so much left."""
        with self._writing() as db:
            db.execute("INSERT OR IGNORE INTO spending VALUES (?, 0)", (day,))
            most = 2**62 if limit_nusd is None else limit_nusd
            taken = db.execute(
                "UPDATE spending SET nusd = nusd + ? WHERE day = ? AND nusd + ? <= ?", (nusd, day, nusd, most)
            )
            return taken.rowcount == 1

    def settle(self, day: int, reserved_nusd: int, spent_nusd: int) -> None:
        """What was reserved cost so much."""
        with self._writing() as db:
            db.execute("UPDATE spending SET nusd = nusd + ? WHERE day = ?", (spent_nusd - reserved_nusd, day))

    def sweep(self, now_ms: int) -> None:
        """Drop the words of what is long past."""
        with self._writing() as db:
            db.execute("DELETE FROM hits WHERE at_ms < ?", (now_ms - HITS_KEPT_MS,))
            db.execute("DELETE FROM audits WHERE at_ms < ?", (now_ms - AUDITS_KEPT_MS,))
            db.execute("DELETE FROM spending WHERE day < ?", (now_ms // DAY_MS - 400,))
            db.execute("DELETE FROM looks WHERE day < ?", (now_ms // DAY_MS - 400,))

    def _settle(self, db: sqlite3.Connection, audit: Audit) -> None:
        """What follows from a verdict."""
        at_ms = audit.at_ms if audit.judged_ms is None else audit.judged_ms
        if audit.state == "wrong":
            db.execute("INSERT OR IGNORE INTO pairs (pair, at_ms) VALUES (?, ?)", (audit.pair, at_ms))
            if audit.served:
                db.execute(
                    "INSERT OR IGNORE INTO quarantines (entry_id, at_ms, reason) VALUES (?, ?, ?)",
                    (audit.entry_id, at_ms, f"audit {audit.id}: {audit.by}"),
                )
        elif audit.state == "right":
            db.execute("DELETE FROM pairs WHERE pair = ?", (audit.pair,))

    def _label(
        self, db: sqlite3.Connection, label: Label, audit: str | None, *, amended: bool = False
    ) -> None:
        db.execute(
            f"INSERT OR REPLACE INTO labels (audit, {_LABEL}, amended, run) VALUES ({_marks(10)})",  # noqa: S608 - our own names
            (
                audit, label.klass, label.score, label.wrong, label.source, label.at_ms, label.weight, label.served,
                amended, self._run,
            ),
        )  # fmt: skip


def _prepare(db: sqlite3.Connection, path: str) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    mine = db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    if version == VERSION and mine:
        return
    if version or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise ConfigFault(
            f"{path!r} is a file of something else, or of another version of Penstock.",
            path="$.cache.path",
            hint="Name another file for the cache, or move this one away.",
        )
    for table in _TABLES:
        db.execute(table)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _hit_row(hit: Hit) -> tuple[Any, ...]:
    row = msgspec.structs.astuple(hit)
    return (*row[:10], msgspec.json.encode(hit.flags).decode(), hit.saved_nusd)


def _hit(row: tuple[Any, ...]) -> Hit:
    fields: dict[str, Any] = dict(zip(Hit.__struct_fields__, row, strict=True))
    fields["flags"] = _flags(fields["flags"])
    return Hit(**fields)


def _audit_row(audit: Audit) -> tuple[Any, ...]:
    row = msgspec.structs.astuple(audit)
    return (*row[:10], msgspec.json.encode(audit.flags).decode(), *row[11:])


def _audit(row: tuple[Any, ...]) -> Audit:
    fields: dict[str, Any] = dict(zip(Audit.__struct_fields__, row, strict=True))
    fields["flags"], fields["served"] = _flags(fields["flags"]), bool(fields["served"])
    return Audit(**fields)


def _label(row: tuple[Any, ...]) -> Label:
    klass, score, wrong, source, at_ms, weight, served = row
    return Label(klass, score, bool(wrong), source, at_ms, weight, bool(served))
