"""The nouns of the ledger -> values of its rows, and back."""

from collections.abc import Callable
from math import isnan
from operator import itemgetter
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from penstock.ledger.entry import Call, Entry, Line, Record
from penstock.ledger.schema import CALL_COLUMNS, ENTRY_COLUMNS
from penstock.ledger.sql import Reading

NULL = float("nan")
"""SQLite stores it as NULL. ``None`` is stored as NULL too, but ``sqlite3`` looks for an adapter first: ten times an int."""


def unknown_type(value: object) -> str:
    """What stands for a value that neither JSON nor SQLite can hold."""
    return f"<{type(value).__name__}>"


encode = msgspec.json.Encoder(enc_hook=unknown_type).encode

_LINES = msgspec.json.Decoder(tuple[Line, ...])
_META = msgspec.json.Decoder(dict[str, str])
_ADJUSTED = msgspec.json.Decoder(tuple[str, ...])
_EXPLAIN = msgspec.json.Decoder()

SELECT_CALLS = f"SELECT {', '.join(CALL_COLUMNS)} FROM calls"  # noqa: S608 - our own names
SELECT_ENTRIES = f"SELECT {', '.join(ENTRY_COLUMNS)} FROM entries"  # noqa: S608 - our own names


def call_values(call: Call) -> list[Any]:
    """A row of ``calls``, to be bound. Raises what ``encode`` raises."""
    row: list[Any] = [*astuple(call)]
    if row[5] is None:  # error_code
        row[5] = NULL
    row[6] = 1 if row[6] else 0  # stream: a bool is looked up like None is
    row[12] = encode(row[12]).decode() if row[12] else "[]"
    row[13] = NULL if row[13] is None else encode(row[13]).decode()
    return row


def entry_values(entry: Entry) -> list[Any]:
    """A row of ``entries``, to be bound. Raises what ``encode`` raises."""
    row: list[Any] = [*astuple(entry)]
    row[14] = 1 if row[14] else 0  # stream
    row[32] = encode(row[32]).decode()
    row[39] = NULL if row[39] is None else encode(row[39]).decode()
    # One by one, and only what is often not known: a loop over all of them costs a third of this function.
    if row[16] is None:  # error_code
        row[16] = NULL
    if row[17] is None:  # error
        row[17] = NULL
    if row[36] is None:  # ttft_ms
        row[36] = NULL
    if row[37] is None:  # tokens_per_s
        row[37] = NULL
    if row[38] is None:  # connect_ms
        row[38] = NULL
    if row[41] is None:  # joules
        row[41] = NULL
    return row


Place = tuple[int, int]
"""A column, and which of a row's own values stands there."""
Pick = Callable[[tuple[Any, ...]], tuple[Any, ...]]


class Form(Struct, eq=False):
    """What the rows of calls that are alike have in common: a call's and its entry's values, and where a row's own go.

    The first of a row's own values is the request id, the second the body id.
    """

    virtual_key: str
    call: list[Any]
    entry: list[Any]
    call_places: tuple[Place, ...]
    entry_places: tuple[Place, ...]
    own: int
    """How many values a row brings."""
    _pick_call: Pick | None = None
    _pick_entry: Pick | None = None

    def __repr__(self) -> str:
        """Without the values."""
        return f"Form({self.own} values)"

    def whole(self, alike: "Alike") -> tuple[list[Any], list[Any]]:
        """All values of a row: of the call's and of the entry's. Picked in C out of its own and the common ones."""
        if self._pick_call is None or self._pick_entry is None:
            self._pick_call = _pick(self.call_places, self.own, len(self.call))
            self._pick_entry = _pick(self.entry_places, self.own, len(self.entry))
        return [*self._pick_call((*alike, *self.call))], [*self._pick_entry((*alike, *self.entry))]


def _pick(places: tuple[Place, ...], own: int, width: int) -> Pick:
    at = [*range(own + 1, own + 1 + width)]
    for column, value in places:
        at[column] = value + 1
    return itemgetter(*at)


Alike = tuple[Any, ...]
"""A call with one entry: its Form, then its own values. It is kept as it is, and is a row in the native writer alone."""


def rows_of(alike: Alike) -> tuple[list[Any], list[Any]]:
    """The values of the call's row and of the entry's."""
    form: Form = alike[0]
    return form.whole(alike)


def record_of(alike: Alike) -> Record:
    """The same, as it would be read from the database."""
    call, entry = (
        tuple([None if isinstance(value, float) and isnan(value) else value for value in row])
        for row in rows_of(alike)
    )
    return Record(call_of(call), (entry_of(entry),))


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


_BODY = "body_id = ? AND body_id <> '' AND body_id <> request_id"
"""The words of the index ``calls_body``: SQLite uses a partial index only where it reads its condition."""


def read_record(connection: Reading, any_id: str, *, virtual_key: str | None = None) -> Record | None:
    """The call whose request id or body id is ``any_id``, newest first where several bodies share an id."""
    mine = "" if virtual_key is None else " AND virtual_key = ?"
    bound = (any_id,) if virtual_key is None else (any_id, virtual_key)
    for named in ("request_id = ?", _BODY):
        row = connection.execute(
            f"{SELECT_CALLS} WHERE {named}{mine} ORDER BY at_ms DESC LIMIT 1", bound
        ).fetchone()
        if row is not None:
            call = call_of(row)
            return Record(call, entries_of(connection, call.request_id))
    return None


def entries_of(connection: Reading, request_id: str) -> tuple[Entry, ...]:
    """The attempts of a call, in order."""
    rows = connection.execute(
        f"{SELECT_ENTRIES} WHERE id >= ? AND id < ? AND request_id = ? ORDER BY attempt, id",
        (*ids_of(request_id), request_id),
    )
    return tuple(entry_of(row) for row in rows)


def ids_of(request_id: str) -> tuple[str, str]:
    """The first id that an attempt of this call can have, and the first beyond: "/" is followed by "0"."""
    return f"{request_id}/", f"{request_id}0"
