"""The store over SQL that SQLite and PostgreSQL both read; what differs is in ``objects.sqlite`` and ``objects.postgres``."""

from typing import Any

from penstock.base.errors import OurFault
from penstock.objects.store import KEEP, Due, Stored, lawful
from penstock.objects.tables import (
    COLUMNS,
    DRAFT_KEPT_MS,
    attached,
    drop,
    gone,
    joined,
    piece_of,
    stored_of,
    text_of,
)
from penstock.objects.work import WorkRows

_EXPIRED_AT_ONCE, _ROUNDS_AT_DELETE, _TRIES = 100, 2, 3


class SqlObjects(WorkRows):
    """The store in a database whose tables are there."""

    def put(
        self,
        kind: str,
        name: str,
        owner: str,
        *,
        meta: dict[str, Any],
        body: bytes = b"",
        draft: str | None = None,
        expires_ms: int | None = None,
        due_ms: int | None = None,
    ) -> None:
        """Keep it, whole or not at all."""
        if not lawful(kind, name, owner):
            raise OurFault("An object's name holds a character that cannot be stored.")
        text = text_of(meta)
        if draft is None:
            draft = self.sent_ahead(body)
        with self.database.writing() as connection:
            blob, size = attached(connection, draft, body)
            for _ in range(_TRIES):
                held = self.held(connection, kind, name, owner)
                version = 1
                if held is not None:
                    version = held[2] + 1
                    drop(connection, held)
                made = connection.execute(
                    "INSERT INTO objects (kind, owner, id, created_ms, expires_ms, due_ms, version, meta, blob, size) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (kind, owner, name, self.now_ms(), expires_ms, due_ms, version, text, blob, size),
                )
                if made.rowcount:
                    return
        raise OurFault("An object is being stored twice at once.", status=503, retry_after_s=1)

    def get(self, kind: str, name: str, owner: str) -> Stored | None:
        """None: there is none, it has expired, or it is another's."""
        with self.database.reading() as connection:
            row = self.live(connection, kind, name, owner, COLUMNS)
        return None if row is None else stored_of(row)

    def body(self, kind: str, name: str, owner: str) -> bytes | None:
        """All of its body."""
        with self.database.reading() as connection:
            row = self.live(connection, kind, name, owner, "blob")
            return None if row is None else joined(connection, row[0])

    def piece(self, kind: str, name: str, owner: str, n: int) -> bytes | None:
        """The n-th piece of its body."""
        with self.database.reading() as connection:
            row = self.live(connection, kind, name, owner, "blob")
            return None if row is None else piece_of(connection, row[0], n)

    def change(
        self,
        kind: str,
        name: str,
        owner: str,
        meta: dict[str, Any],
        *,
        version: int,
        due_ms: Due = KEEP,
        expires_ms: Due = KEEP,
        body: bytes | None = None,
    ) -> bool:
        """Compare and swap."""
        sets: dict[str, Any] = {"meta": text_of(meta)}
        if due_ms != KEEP:
            sets |= {"due_ms": due_ms, "lease_ms": None, "worker": None}
        if expires_ms != KEEP:
            sets["expires_ms"] = expires_ms
        draft = None if body is None else self.sent_ahead(body)
        with self.database.writing() as connection:
            held = self.held(connection, kind, name, owner)
            if held is None or held[2] != version or not self.lives(held):
                return False
            if body is not None:
                sets["blob"], sets["size"] = attached(connection, draft, body)
                gone(connection, None, held[1])
            connection.execute(
                f"UPDATE objects SET version = version + 1, {', '.join(f'{name} = ?' for name in sets)} WHERE seq = ?",  # noqa: S608 - our own names
                (*sets.values(), held[0]),
            )
        return True

    def delete(self, kind: str, name: str, owner: str) -> bool:
        """False: there was none."""
        with self.database.writing() as connection:
            held = self.held(connection, kind, name, owner)
            if held is None:
                return False
            drop(connection, held)
        self.carry_off(rounds=_ROUNDS_AT_DELETE)
        return self.lives(held)

    def listed(self, kind: str, owner: str, *, after: str = "", limit: int = 100) -> list[Stored]:
        """Newest first."""
        with self.database.reading() as connection:
            last: Any = (2**62,)
            if after:
                last = self.live(connection, kind, after, owner, "seq")
            if last is None or not lawful(kind, owner):
                return []
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM objects WHERE kind = ? AND owner = ? AND seq < ? "  # noqa: S608 - our own names
                "AND (expires_ms IS NULL OR expires_ms > ?) ORDER BY seq DESC LIMIT ?",
                (kind, owner, last[0], self.now_ms(), limit),
            ).fetchall()
        return [stored_of(row) for row in rows]

    def many(self, kind: str, owner: str) -> int:
        """How many there are."""
        return self._sum("count(*)", kind, owner)

    def used(self, kind: str, owner: str) -> int:
        """Bytes of all bodies."""
        return self._sum("sum(size)", kind, owner)

    def _sum(self, what: str, kind: str, owner: str) -> int:
        with self.database.reading() as connection:
            row = connection.execute(
                f"SELECT {what} FROM objects WHERE kind = ? AND owner = ? AND (expires_ms IS NULL OR expires_ms > ?)",  # noqa: S608 - our own words
                (kind, owner, self.now_ms()),
            ).fetchone()
        return int(row[0] or 0)

    def sweep(self, now_ms: int) -> int:
        """Drop what has expired, and what was left behind."""
        dropped = 0
        while True:
            with self.database.writing() as connection:
                rows = connection.execute(
                    "SELECT seq, blob FROM objects WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?"  # noqa: S608 - our own words
                    + self.database.skip,
                    (now_ms, _EXPIRED_AT_ONCE),
                ).fetchall()
                for row in rows:
                    drop(connection, row)
                stale = connection.execute(
                    "SELECT blob FROM object_drafts WHERE begun_ms <= ? LIMIT ?" + self.database.skip,  # noqa: S608 - our own words
                    (now_ms - DRAFT_KEPT_MS, _EXPIRED_AT_ONCE),
                ).fetchall()
                for (blob,) in stale:
                    connection.execute("DELETE FROM object_drafts WHERE blob = ?", (blob,))
                    gone(connection, None, blob)
            dropped += len(rows)
            if len(rows) < _EXPIRED_AT_ONCE and len(stale) < _EXPIRED_AT_ONCE:
                break
        self.carry_off(rounds=None)
        return dropped

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()
