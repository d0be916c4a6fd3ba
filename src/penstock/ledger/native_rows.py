"""The writer of rows in native code (_rows.pyx), where it was built and SQLite is a library of its own.

A writer in Python binds rows with the GIL held: half a millisecond for a hundred of them, in which the event loop stands
still. This one takes the values' addresses with the GIL, a few microseconds, and binds and writes without it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from penstock.base.native import load_native
from penstock.ledger.rows import Form
from penstock.ledger.schema import CALL_COLUMNS, ENTRY_COLUMNS, INSERT_CALLS, INSERT_ENTRIES, PRAGMAS

if TYPE_CHECKING:
    from penstock.ledger._rows import Writer

native, missing = load_native("penstock.ledger", "_rows", Path(__file__).parent)
"""``missing``: why there is none; "" where there is."""
_ROWS = (16, 4, 1)
"""What a statement writes. Of more in one step SQLite saves nothing; 999 values is what an old one can bind."""


def native_writer(path: str) -> "Writer | None":
    """A writer of its own for a ledger that is there and migrated; None where there can be none. Raises sqlite3.Error."""
    if native is None or not native.available():
        return None
    statements = tuple(INSERT_CALLS[rows] for rows in _ROWS), tuple(INSERT_ENTRIES[rows] for rows in _ROWS)
    return native.Writer(path, PRAGMAS, statements, (len(CALL_COLUMNS), len(ENTRY_COLUMNS)), Form)
