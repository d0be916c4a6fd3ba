"""What the store's questions are made of, in SQL that SQLite and PostgreSQL both read.

Rules
- One statement's text serves both: ``?`` for a bound value, ON CONFLICT DO NOTHING, no RETURNING (SQLite 3.34 has none).
- What is deleted disappears in one short transaction, which notes it in ``object_gone``; its pieces and items follow, a few in
  each transaction. What a killed process has left of them the next sweep takes.
"""

import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from penstock.base.errors import OurFault
from penstock.objects.store import PIECE_BYTES, Stored, lawful

DRAFT_KEPT_MS = 86_400_000
COLUMNS = "kind, id, owner, created_ms, expires_ms, due_ms, version, meta, size"
NAMED = "kind = ? AND owner = ? AND id = ?"
_PIECES_AT_ONCE, _ITEMS_AT_ONCE = 4, 200


class Rows(Protocol):
    """An answer."""

    @property
    def rowcount(self) -> int:
        """How many rows a statement has changed."""
        ...

    def fetchone(self) -> Any:
        """The next row, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """All of them."""
        ...


class Connection(Protocol):
    """A connection in a transaction."""

    def execute(self, statement: str, bound: Sequence[Any] = (), /) -> Rows:
        """Run a statement."""
        ...


class Database(Protocol):
    """Transactions. Whatever goes wrong in one is raised as OurFault, and nothing of it is kept."""

    lock: str
    """Behind a SELECT: nobody changes these rows until the transaction ends."""
    skip: str
    """The same, and rows that others hold are passed over."""

    def reading(self) -> AbstractContextManager[Connection]:
        """One state of the database."""
        ...

    def writing(self) -> AbstractContextManager[Connection]:
        """All or nothing."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class ObjectRows:
    """What every question to the tables is made of."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self.database = database
        self.now_ms = now_ms

    def draft(self) -> str:
        """Begin a body."""
        blob = secrets.token_hex(16)
        with self.database.writing() as connection:
            begin_draft(connection, blob, self.now_ms())
        return blob

    def add(self, draft: str, n: int, piece: bytes) -> None:
        """The n-th piece of a body."""
        if len(piece) > PIECE_BYTES:
            raise OurFault(f"A piece of {len(piece)} bytes is over {PIECE_BYTES}.")
        with self.database.writing() as connection:
            add_piece(connection, draft, n, piece)

    def sent_ahead(self, body: bytes) -> str | None:
        """A body that is too large for the transaction that makes its object visible, piece by piece before it."""
        if len(body) <= PIECE_BYTES:
            return None
        draft = self.draft()
        for n, start in enumerate(range(0, len(body), PIECE_BYTES)):
            self.add(draft, n, body[start : start + PIECE_BYTES])
        return draft

    def held(self, connection: Connection, kind: str, name: str, owner: str) -> Any:
        """Its row (seq, blob, version, expires_ms), which nobody else changes before the transaction ends."""
        if not lawful(kind, name, owner):
            return None
        statement = f"SELECT seq, blob, version, expires_ms FROM objects WHERE {NAMED}{self.database.lock}"  # noqa: S608 - our own names
        return connection.execute(statement, (kind, owner, name)).fetchone()

    def lives(self, held: Any) -> bool:
        return held[3] is None or held[3] > self.now_ms()

    def live(self, connection: Connection, kind: str, name: str, owner: str, columns: str) -> Any:
        if not lawful(kind, name, owner):
            return None
        return connection.execute(
            f"SELECT {columns} FROM objects WHERE {NAMED} AND (expires_ms IS NULL OR expires_ms > ?)",  # noqa: S608 - our own names
            (kind, owner, name, self.now_ms()),
        ).fetchone()

    def carry_off(self, rounds: int | None) -> None:
        """Delete what nobody sees any more, a little in each transaction."""
        while rounds is None or rounds > 0:
            rounds = None if rounds is None else rounds - 1
            with self.database.writing() as connection:
                row = connection.execute(
                    "SELECT number, seq, blob FROM object_gone ORDER BY number LIMIT 1" + self.database.skip  # noqa: S608 - our own words
                ).fetchone()
                if row is None:
                    return
                number, seq, blob = row
                more = blob is not None and _fewer_pieces(connection, blob)
                more = more or (seq is not None and _fewer_items(connection, seq))
                if not more:
                    connection.execute("DELETE FROM object_gone WHERE number = ?", (number,))


def stored_of(row: Any) -> Stored:
    """A row of ``objects`` as an object."""
    kind, name, owner, created_ms, expires_ms, due_ms, version, meta, size = row
    return Stored(
        kind=kind,
        id=name,
        owner=owner,
        created_ms=created_ms,
        expires_ms=expires_ms,
        due_ms=due_ms,
        version=version,
        meta=msgspec.json.decode(meta, type=dict[str, Any]),
        size=size,
    )


def text_of(meta: dict[str, Any]) -> str:
    return msgspec.json.encode(meta).decode()


def begin_draft(connection: Connection, blob: str, now_ms: int) -> None:
    connection.execute("INSERT INTO object_drafts (blob, begun_ms) VALUES (?, ?)", (blob, now_ms))


def add_piece(connection: Connection, blob: str, n: int, piece: bytes) -> None:
    connection.execute(
        "INSERT INTO object_pieces (blob, n, size, data) VALUES (?, ?, ?, ?)", (blob, n, len(piece), piece)
    )


def attached(connection: Connection, draft: str | None, body: bytes) -> tuple[str | None, int]:
    """A body's name and size: of a draft, which is one no longer, or of a small body, which is written here."""
    if draft is None:
        if not body:
            return None, 0
        blob = secrets.token_hex(16)
        add_piece(connection, blob, 0, body)
        return blob, len(body)
    if not connection.execute("DELETE FROM object_drafts WHERE blob = ?", (draft,)).rowcount:
        raise OurFault("A body took more than a day to come, and was dropped.", status=503)
    row = connection.execute("SELECT sum(size) FROM object_pieces WHERE blob = ?", (draft,)).fetchone()
    return draft, int(row[0] or 0)


def piece_of(connection: Connection, blob: str | None, n: int) -> bytes | None:
    if blob is None:
        return None
    row = connection.execute("SELECT data FROM object_pieces WHERE blob = ? AND n = ?", (blob, n)).fetchone()
    return None if row is None else bytes(row[0])


def joined(connection: Connection, blob: str | None) -> bytes:
    pieces: list[bytes] = []
    while (piece := piece_of(connection, blob, len(pieces))) is not None:
        pieces.append(piece)
    return b"".join(pieces)


def drop(connection: Connection, held: Any) -> None:
    """The object of a row (seq, blob, ...) is seen no more."""
    gone(connection, held[0], held[1])
    connection.execute("DELETE FROM objects WHERE seq = ?", (held[0],))


def gone(connection: Connection, seq: int | None, blob: str | None) -> None:
    """The items of ``seq`` and the pieces of ``blob`` are nobody's."""
    if seq is not None or blob is not None:
        connection.execute("INSERT INTO object_gone (seq, blob) VALUES (?, ?)", (seq, blob))


def _fewer_pieces(connection: Connection, blob: str) -> bool:
    some = "SELECT n FROM object_pieces WHERE blob = ? ORDER BY n LIMIT ?"
    statement = f"DELETE FROM object_pieces WHERE blob = ? AND n IN ({some})"  # noqa: S608 - our own names
    return connection.execute(statement, (blob, blob, _PIECES_AT_ONCE)).rowcount == _PIECES_AT_ONCE


def _fewer_items(connection: Connection, seq: int) -> bool:
    rows = connection.execute(
        "SELECT n, blob FROM object_items WHERE seq = ? ORDER BY n LIMIT ?", (seq, _ITEMS_AT_ONCE)
    ).fetchall()
    for _, blob in rows:
        gone(connection, None, blob)
    if rows:
        connection.execute("DELETE FROM object_items WHERE seq = ? AND n <= ?", (seq, rows[-1][0]))
    return len(rows) == _ITEMS_AT_ONCE
