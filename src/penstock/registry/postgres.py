"""The store in the ledger's PostgreSQL: every gateway of that database has the same keys, teams and budgets.

One connection, kept: the version is asked every second. Where it is gone another one is opened, and a question is asked
again; a change is not, for it may have come through: then the record says whether it did.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psycopg

from penstock.ledger.postgres.address import Address
from penstock.ledger.postgres.schema import SESSION, prepare
from penstock.registry.objects import Kind, Registry, Stored
from penstock.registry.store import Stale, cannot, entry_from, entry_row, fields_text, stored_of
from penstock.registry.views import Entry

T = TypeVar("T")
_Connection = psycopg.Connection[Any]
_NEWEST = "SELECT after FROM admin_audit WHERE action = %s ORDER BY id DESC LIMIT 1"
_STATE = "SELECT version, closed FROM admin_state"
_LOCKED = "SELECT version, closed FROM admin_state FOR UPDATE"
_TIMEOUTS = "-c statement_timeout=5000 -c lock_timeout=5000"


class PostgresStore:
    """A database of PostgreSQL's, migrated where needed. Raises ConfigFault where it cannot be opened."""

    def __init__(self, url: str) -> None:
        self._address = Address(url)
        self.name = self._address.shown
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        prepare(self._address)

    def version(self) -> int:
        """How many changes there were."""
        return self._asked(lambda connection: _state_of(connection)[0])

    def read(self) -> Registry:
        """All of it, as of one moment."""

        def all_of_it(connection: _Connection) -> Registry:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            version, closed = _state_of(connection)
            rows = connection.execute(
                "SELECT kind, name, fields, created_ms, updated_ms FROM admin_objects "
                "ORDER BY CASE kind WHEN 'organisation' THEN 0 WHEN 'team' THEN 1 ELSE 2 END, name"
            ).fetchall()
            return Registry(version=version, closed=closed, objects=tuple(stored_of(*row) for row in rows))

        return self._asked(all_of_it)

    def commit(self, version: int, place: tuple[Kind, str], after: Stored | None, entry: Entry) -> None:
        """One transaction. Raises Stale, or OurFault: then nothing is stored."""

        def store(connection: _Connection) -> None:
            if _state_of(connection, to_change=True)[0] != version:
                raise Stale
            if after is None:
                connection.execute("DELETE FROM admin_objects WHERE kind = %s AND name = %s", place)
            else:
                connection.execute(
                    "INSERT INTO admin_objects VALUES (%s, %s, %s, %s, %s) ON CONFLICT (kind, name) DO UPDATE SET "
                    "fields = excluded.fields, updated_ms = excluded.updated_ms",
                    (after.kind, after.name, fields_text(after), after.created_ms, after.updated_ms),
                )
            connection.execute(
                "UPDATE admin_state SET version = version + 1, closed = closed OR %s", (place[0] == "key",)
            )
            _add(connection, entry)

        self._changed(store, entry)

    def note(self, entry: Entry) -> None:
        """Add to the record alone, unless the newest of this action says the same."""

        def add(connection: _Connection) -> None:
            _state_of(connection, to_change=True)  # of several gateways one after another
            newest = connection.execute(_NEWEST, (entry.action,)).fetchone()
            if newest is None or newest[0] != entry_row(entry)[-1]:
                _add(connection, entry)

        self._changed(add, entry)

    def audit(self, *, limit: int, before: int | None, kind: str | None, name: str | None) -> list[Entry]:
        """The record, newest first."""
        rows: Sequence[Any] = self._asked(
            lambda connection: connection.execute(
                "SELECT id, at_ms, who, action, kind, name, before, after FROM admin_audit "
                "WHERE (%s::bigint IS NULL OR id < %s) AND (%s::text IS NULL OR kind = %s) "
                "AND (%s::text IS NULL OR name = %s) ORDER BY id DESC LIMIT %s",
                (before, before, kind, kind, name, name, limit),
            ).fetchall()
        )
        return [entry_from(row) for row in rows]

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._drop()

    def _asked(self, question: Callable[[_Connection], T]) -> T:
        """A question, asked again on a new connection where the kept one is gone."""
        with self._lock:
            kept = self._connection is not None
            try:
                return self._once(question)
            except psycopg.OperationalError as error:
                if not kept:
                    raise cannot("read from", self.name, self._address.words(error)) from error
            except psycopg.Error as error:
                raise cannot("read from", self.name, self._address.words(error)) from error
            try:
                return self._once(question)
            except psycopg.Error as error:
                raise cannot("read from", self.name, self._address.words(error)) from error

    def _changed(self, change: Callable[[_Connection], None], entry: Entry) -> None:
        with self._lock:
            try:
                # Whether the kept connection still lives is found out before anything is at stake.
                self._once(_state_of)
            except psycopg.Error:
                self._drop()
            try:
                self._once(change)
            except psycopg.Error as error:
                if not self._came_through(entry):
                    raise cannot("stored in", self.name, self._address.words(error)) from error

    def _came_through(self, entry: Entry) -> bool:
        """Whether a change whose commit was not answered is in the record."""
        asked = entry_row(entry)
        statement = (
            "SELECT 1 FROM admin_audit WHERE (at_ms, who, action, kind, name) = (%s, %s, %s, %s, %s) "
            "AND before IS NOT DISTINCT FROM %s AND after IS NOT DISTINCT FROM %s"
        )
        try:
            return self._once(lambda connection: connection.execute(statement, asked).fetchone()) is not None
        except psycopg.Error:
            return False

    def _once(self, question: Callable[[_Connection], T]) -> T:
        connection = self._connection
        if connection is None or connection.closed:
            connection = self._connection = self._address.connect(settings=f"{SESSION} {_TIMEOUTS}")
        try:
            said = question(connection)
            connection.commit()
        except BaseException:
            self._drop()
            raise
        return said

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _state_of(connection: _Connection, *, to_change: bool = False) -> tuple[int, bool]:
    row = connection.execute(_LOCKED if to_change else _STATE).fetchone()
    if row is None:
        raise psycopg.DataError("the table admin_state has no row")
    return int(row[0]), bool(row[1])


def _add(connection: _Connection, entry: Entry) -> None:
    connection.execute(
        "INSERT INTO admin_audit (at_ms, who, action, kind, name, before, after) VALUES (%s, %s, %s, %s, %s, %s, %s)",
        entry_row(entry),
    )
