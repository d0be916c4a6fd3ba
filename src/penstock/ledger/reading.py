"""Opening a SQLite ledger to read it: as it is, whichever version made it, and without writing a byte.

Rules
- A file of an older version is shown as one of this version: what its tables lack stands in temporary views before them, with
  what a migration would fill in. SQLite looks through such a view, so that the file's own indexes are used.
- A file that nobody writes to, in a folder that this user may not write to either, is read as it lies: SQLite would else
  want to make its shared memory there.
"""

import sqlite3
from pathlib import Path

from penstock.base.errors import ConfigFault
from penstock.ledger.schema import (
    CALL_COLUMNS,
    ENTRY_COLUMNS,
    FILLED,
    LEDGER_PATH,
    MIGRATIONS,
    cannot_open,
    refuse_strangers,
)

_TIMEOUT_S = 5.0


def open_reader(path: str) -> sqlite3.Connection:
    """A connection that cannot write. Raises ConfigFault where there is no ledger at ``path``."""
    try:
        connection = _connect(path, "mode=ro")
    except sqlite3.Error as error:
        raise ConfigFault(
            f"There is no ledger to read at {path!r} ({error}).",
            path=LEDGER_PATH,
            hint="Start `penstock serve` once, or name the file with --db.",
        ) from error
    try:
        try:
            refuse_strangers(connection, path, may_be_new=False)
        except sqlite3.OperationalError:
            if Path(f"{path}-wal").exists():
                raise
            connection.close()
            connection = _connect(path, "mode=ro&immutable=1")
            refuse_strangers(connection, path, may_be_new=False)
        _fill_in(connection)
    except sqlite3.Error as error:
        connection.close()
        raise cannot_open(path, error) from error
    except ConfigFault:
        connection.close()
        raise
    return connection


def _connect(path: str, how: str) -> sqlite3.Connection:
    name = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(
        f"file:{name}?{how}", uri=True, timeout=_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )


def _fill_in(connection: sqlite3.Connection) -> None:
    """Views before the tables of an older version. The columns are named: a gateway may migrate the file meanwhile."""
    if int(connection.execute("PRAGMA user_version").fetchone()[0]) >= len(MIGRATIONS):
        return
    for table, columns in (("calls", CALL_COLUMNS), ("entries", ENTRY_COLUMNS)):
        there = {row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")}
        if not there.issuperset(columns):
            shown = ", ".join(
                name if name in there else f"{FILLED.get(name, 'NULL')} AS {name}" for name in columns
            )
            connection.execute(f"CREATE TEMP VIEW {table} AS SELECT rowid, {shown} FROM main.{table}")  # noqa: S608 - our own names
