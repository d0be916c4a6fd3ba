"""The tables in the ledger's PostgreSQL, which the ledger's migrations make (0006).

Connections are made by whom this room is given: the URL, its password and its time-outs are the ledger's business.
"""

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from penstock.base.errors import OurFault
from penstock.objects.tables import Connection, Rows

_Connection = psycopg.Connection[Any]


class _Asked:
    """A connection that reads ``?`` as SQLite does."""

    __slots__ = ("_connection",)

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, bound: Sequence[Any] = (), /) -> Rows:
        return self._connection.execute(statement.replace("?", "%s").encode(), bound)


class PostgresTables:
    """A database whose schema is there."""

    lock = " FOR UPDATE"
    skip = " FOR UPDATE SKIP LOCKED"

    def __init__(
        self, connect: Callable[[], _Connection], words: Callable[[BaseException], str], *, most: int = 4
    ) -> None:
        self._connect = connect
        self._words = words
        self._idle: queue.LifoQueue[_Connection] = queue.LifoQueue()
        self._places = threading.Semaphore(most)

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """One state of the database."""
        with self._transaction(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Generator[Connection]:
        """All or nothing."""
        with self._transaction(b"BEGIN") as connection:
            yield connection

    def close(self) -> None:
        """Let go."""
        while not self._idle.empty():
            self._idle.get_nowait().close()

    @contextmanager
    def _transaction(self, begin: bytes) -> Generator[_Asked]:
        with self._places:
            connection: _Connection | None = None
            whole = False
            try:
                connection = self._begun(begin)
                yield _Asked(connection)
                connection.execute(b"COMMIT")
                whole = True
            except psycopg.Error as error:
                raise self._fault(error) from error
            finally:
                if connection is not None:
                    if whole:
                        self._idle.put(connection)
                    else:
                        connection.close()

    def _begun(self, begin: bytes) -> _Connection:
        """A kept connection may be gone: before anything is at stake, another one is made."""
        while True:
            try:
                kept = self._idle.get_nowait()
            except queue.Empty:
                break
            try:
                kept.execute(begin)
            except psycopg.Error:
                kept.close()
            else:
                return kept
        connection = self._connect()
        try:
            connection.execute(begin)
        except BaseException:
            connection.close()
            raise
        return connection

    def _fault(self, error: BaseException) -> OurFault:
        said = self._words(error)
        return OurFault(
            f"What callers leave with the gateway cannot be kept or read: {said}.",
            status=503,
            retry_after_s=1,
        )
