"""A file of blobs as it is open: its connections, their locks, and what is done when it is broken."""

import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager

import msgspec

from penstock.blobs.blob import StoreFault
from penstock.blobs.sqlite_schema import BROKEN, connect, identity, is_ours, prepare, set_aside


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


class SharedFile:
    """Opened with the first question, and again when it was replaced. Any thread may ask."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: _File | None = None
        self._opening = threading.Lock()
        self._closed = False

    def begun(self, connection: sqlite3.Connection) -> None:
        """It is open."""

    def lost(self) -> None:
        """It has been replaced."""

    def renew_if_replaced(self) -> None:
        """Another process may have set it aside, or somebody has removed it."""
        file = self._file
        if file is not None and file.identity != identity(self._path):
            self._forget(file)

    def let_go(self) -> None:
        """For good."""
        with self._opening:
            file, self._file, self._closed = self._file, None, True
        if file is not None:
            file.close()

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        with self.asked(writes=False) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        with self.asked(writes=True) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def asked(self, *, writes: bool) -> Generator[sqlite3.Connection]:
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
                self.begun(file.writer)
            except (sqlite3.Error, OSError) as error:
                aside = ""
                if _broken(error) and is_ours(self._path):
                    aside = f" It was set aside as {set_aside(self._path)!r}."
                raise StoreFault(
                    f"The cache's file {self._path!r} cannot be opened: {error}.{aside}"
                ) from error
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
        self.lost()


def _broken(error: BaseException) -> bool:
    return (
        isinstance(error, sqlite3.DatabaseError) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in BROKEN
    )
