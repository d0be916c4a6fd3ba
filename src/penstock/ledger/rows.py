"""Rows of the database -> the nouns they were made of."""

import sqlite3
from typing import Any

import msgspec

from penstock.ledger.entry import Call, Entry, Line, Record
from penstock.ledger.schema import CALL_COLUMNS, ENTRY_COLUMNS

_LINES = msgspec.json.Decoder(tuple[Line, ...])
_META = msgspec.json.Decoder(dict[str, str])
_ADJUSTED = msgspec.json.Decoder(tuple[str, ...])
_EXPLAIN = msgspec.json.Decoder()

SELECT_CALLS = f"SELECT {', '.join(CALL_COLUMNS)} FROM calls"  # noqa: S608 - our own names
SELECT_ENTRIES = f"SELECT {', '.join(ENTRY_COLUMNS)} FROM entries"  # noqa: S608 - our own names


def call_of(row: tuple[Any, ...]) -> Call:
    """A row of SELECT_CALLS. ``explain`` comes back as plain dicts and lists."""
    call = Call(*row)
    call.stream = bool(call.stream)
    call.adjusted = _ADJUSTED.decode(row[12]) if row[12] else ()
    call.explain = _EXPLAIN.decode(row[13]) if row[13] else None
    return call


def entry_of(row: tuple[Any, ...]) -> Entry:
    """A row of SELECT_ENTRIES."""
    entry = Entry(*row)
    entry.stream = bool(entry.stream)
    entry.lines = _LINES.decode(row[32]) if row[32] else ()
    entry.meta = _META.decode(row[39]) if row[39] else None
    return entry


def read_record(
    connection: sqlite3.Connection, any_id: str, *, virtual_key: str | None = None
) -> Record | None:
    """The call whose request id or body id is ``any_id``, newest first where several bodies share an id."""
    mine = "" if virtual_key is None else " AND virtual_key = ?"
    bound = (any_id,) if virtual_key is None else (any_id, virtual_key)
    for column in ("request_id", "body_id"):
        row = connection.execute(
            f"{SELECT_CALLS} WHERE {column} = ?{mine} ORDER BY at_ms DESC LIMIT 1", bound
        ).fetchone()
        if row is not None:
            call = call_of(row)
            return Record(call, entries_of(connection, call.request_id))
    return None


def entries_of(connection: sqlite3.Connection, request_id: str) -> tuple[Entry, ...]:
    """The attempts of a call, in order."""
    rows = connection.execute(f"{SELECT_ENTRIES} WHERE request_id = ? ORDER BY attempt, id", (request_id,))
    return tuple(entry_of(row) for row in rows)
