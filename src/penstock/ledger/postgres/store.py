"""The journal's store in PostgreSQL: batches go by COPY.

Once, exactly
- A batch is one transaction; a large one of calls alone is two, on two connections at once, for one backend and one COPY
  keep one processor busy while the other waits. Where it is not known whether a commit came through, or one half failed, the
  batch is written again.
- An entry of ours is made once, with its id and its time: (id, at_ms) is the key of its month's partition, so a second
  writing finds the first. COPY knows no "or ignore": it runs straight into the table, and only where something repeats
  is the batch taken back and merged through a temporary table.
- An entry from outside (class ``own_cost``) carries its sender's id, and may come again with another time, in another
  month, where no partition's key would see it: ``own_ids`` keeps all such ids, and the first one counts.

While the server is away the journal keeps its rows and says why; each attempt opens a new connection.
"""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
from psycopg import errors, pq

from penstock.base.errors import OurFault, PenstockError
from penstock.base.native import load_native
from penstock.ledger.entry import Record
from penstock.ledger.postgres.address import Address
from penstock.ledger.postgres.reader import PostgresReader
from penstock.ledger.postgres.schema import SESSION, make_months, prepare
from penstock.ledger.rows import read_record
from penstock.ledger.schema import CALL_COLUMNS, ENTRY_COLUMNS
from penstock.ledger.store import Group, Row

native, missing = load_native("penstock.ledger.postgres", "_copy", Path(__file__).parent)
"""Writes rows for COPY. ``missing``: why psycopg has to; "" where it has not."""
_HALVED_RECORDS = 512
"""From so many on a batch is written in two halves."""
_MONTHS_EVERY_S = 3600.0
_READ_TIMEOUT_MS = 5_000
_AWAY_S = 1.0
_INTEGERS = frozenset(
    [
        "at_ms",
        "status",
        "stream",
        "attempts",
        "gateway_us",
        "attempt",
        "input",
        "cache_read",
        "cache_write_5m",
        "cache_write_1h",
        "input_audio",
        "input_image",
        "output",
        "reasoning",
        "output_audio",
        "output_image",
        "cost_nusd",
        "saved_nusd",
    ]
)
_FLOATS = frozenset(("latency_ms", "ttft_ms", "tokens_per_s", "connect_ms", "joules"))
_SILENT: dict[str, Any] = {
    **dict.fromkeys(("organisation", "team", "end_user", "stage", "client_request_id"), ""),
    **dict.fromkeys(("cache_read", "cache_write_5m", "cache_write_1h", "input_audio", "input_image"), 0),
    **dict.fromkeys(("reasoning", "output_audio", "output_image", "saved_nusd", "stream"), 0),
    "adjusted": "[]",
}
"""The columns' defaults, as the migrations have made them; of all others NULL."""
_COPY_BEGINS = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_ENDS = b"\xff\xff"
_LEFT_OUT = ord("-")
_COPY_ROWS = 250
"""As many are written at a time: while the server reads them, the next are made."""
_NEVER_NULL = {"id": "", "request_id": "", "class": "", "at_ms": 0}
_ID = ENTRY_COLUMNS.index("id")
_AT = ENTRY_COLUMNS.index("at_ms")
_CLASS = ENTRY_COLUMNS.index("class")
_META = ENTRY_COLUMNS.index("meta")
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""A zero byte as JSON writes it. PostgreSQL reads no such text."""

_UNFIT = (
    UnicodeEncodeError,
    OverflowError,
    TypeError,
    ValueError,
    AttributeError,
    psycopg.DataError,
    psycopg.ProgrammingError,
    errors.NotNullViolation,
)
"""Half a surrogate pair, a zero byte, an integer beyond 64 bits, an object that is no value, no time."""
_CLAIM = """
WITH given AS (SELECT * FROM unnest(%s::text[], %s::bigint[]) AS one (id, at_ms)),
    taken AS (INSERT INTO own_ids (id, at_ms) SELECT id, at_ms FROM given ON CONFLICT DO NOTHING RETURNING id)
SELECT id FROM given EXCEPT SELECT id FROM taken
"""
"""Takes ids, and says which were taken before. Arrays are written here: psycopg's own way costs ten times as much."""


class PostgresStore:
    """A database of PostgreSQL's. Raises ConfigFault where it cannot be opened."""

    faults: tuple[type[BaseException], ...] = (
        psycopg.Error,
        PenstockError,
        UnicodeEncodeError,
        OverflowError,
    )
    unbindable: tuple[type[BaseException], ...] = ()
    """What a column cannot hold is mended here: the types are PostgreSQL's own matter."""

    def __init__(self, url: str) -> None:
        self._address = address = Address(url)
        self.name = address.shown
        self._looking: PostgresReader | None = None
        self._look = threading.Lock()
        self._away_until_s = 0.0
        self._months_at_s = 0.0
        prepare(address)
        try:
            self._connection = address.connect(settings=SESSION)
        except psycopg.Error as error:
            raise address.fault(error, "opened") from error
        self._beside: psycopg.Connection[Any] | None = None
        """For second halves; made when the first of them comes."""
        self._helper: ThreadPoolExecutor | None = None

    @property
    def notice(self) -> str | None:
        """Nothing goes amiss unseen."""
        return None

    def write(self, batch: list[Row]) -> None:
        """Write a batch: all of it, or it is to be written again."""
        if len(batch) < _HALVED_RECORDS or any(isinstance(owner, Group) for owner, _, _ in batch):
            self._write(batch)
            return
        try:
            self._ready()
            self._connection.commit()  # both halves must see the partitions
        except BaseException:
            _let_go(self._connection)
            raise
        if self._helper is None:
            self._helper = ThreadPoolExecutor(1, thread_name_prefix="penstock-ledger-beside")
        middle = len(batch) // 2
        second = self._helper.submit(self._write_beside, batch[middle:])
        try:
            self._write(batch[:middle])
        finally:
            error = second.exception()  # waits: both are over before anything is tried again
        if error is not None:
            raise error

    def _write_beside(self, batch: list[Row]) -> None:
        connection = self._beside
        if connection is None or connection.closed:
            connection = self._beside = self._address.connect(settings=SESSION)
        try:
            self._put_all(connection, batch)
        except BaseException:
            _let_go(connection)
            raise

    def _write(self, batch: list[Row]) -> None:
        """One transaction."""
        try:
            self._ready()
            _tell(batch, self._put_all(self._connection, batch))
        except BaseException:
            _let_go(self._connection)
            raise

    def _ready(self) -> None:
        """A connection, the tables, and the months ahead."""
        if self._connection.closed:
            # Also after a fail-over: whoever answers now must have the tables.
            prepare(self._address)
            self._connection = self._address.connect(settings=SESSION)
            self._months_at_s = 0.0
        self._make_months(self._connection)

    def _put_all(self, connection: "psycopg.Connection[Any]", batch: list[Row]) -> set[str]:
        """Write and commit; what a column cannot hold is mended. Gives the ids from outside that were new."""
        calls, ours, theirs = _tables(batch)
        try:
            fresh = self._put(connection, calls, ours, theirs)
        except _UNFIT:
            connection.rollback()
            fitting = [_fitting(CALL_COLUMNS, row) for row in calls]
            rest = ([_fitting(ENTRY_COLUMNS, row) for row in rows] for rows in (ours, theirs))
            fresh = self._put(connection, fitting, *rest)
        connection.commit()
        return fresh

    def _put(
        self,
        connection: "psycopg.Connection[Any]",
        calls: list[list[Any]],
        ours: list[list[Any]],
        theirs: list[list[Any]],
    ) -> set[str]:
        """Write the rows; gives the ids from outside that were new."""
        try:
            _copy(connection, "calls", CALL_COLUMNS, calls)
            fresh = _claim(connection, theirs)
            _copy(connection, "entries", ENTRY_COLUMNS, [*ours, *fresh.values()])
        except errors.UniqueViolation:
            connection.rollback()
            fresh = _claim(connection, theirs)
            _merge(connection, "calls", CALL_COLUMNS, calls)
            _merge(connection, "entries", ENTRY_COLUMNS, [*ours, *fresh.values()])
        return set(fresh)

    def why(self, error: BaseException) -> str:
        """A fault as a sentence."""
        if isinstance(error, PenstockError):
            return error.public()
        return f"The ledger {self.name} cannot be written: {self._address.words(error)}."

    def read(self, any_id: str, virtual_key: str | None) -> Record | None:
        """The record of a request id or a body id. Raises OurFault (503) where the server does not answer."""
        with self._look:
            if time.monotonic() < self._away_until_s:
                # Many may ask at once: they do not each wait for a server that has just not answered.
                raise OurFault(f"The ledger {self.name} does not answer.", code="ledger_fault", status=503)
            # A connection that idled through a restart of the server is dead: one more, and no more.
            if self._looking is not None:
                try:
                    return read_record(self._looking, any_id, virtual_key=virtual_key)
                except PenstockError:
                    self._looking.close()
                    self._looking = None
            try:
                self._looking = PostgresReader(self._address, timeout_ms=_READ_TIMEOUT_MS)
                return read_record(self._looking, any_id, virtual_key=virtual_key)
            except PenstockError as error:
                self._away_until_s = time.monotonic() + _AWAY_S
                raise OurFault(error.message, code="ledger_fault", status=503) from error

    def close(self) -> None:
        """Let go of the connections."""
        with self._look:
            if self._looking is not None:
                self._looking.close()
        if self._helper is not None:
            self._helper.shutdown()
        if self._beside is not None:
            self._beside.close()
        self._connection.close()

    def _make_months(self, connection: "psycopg.Connection[Any]") -> None:
        """Partitions ahead, now and then. Where one cannot be made just now, its rows go to ``*_other`` and move later."""
        now_s = time.monotonic()
        if now_s < self._months_at_s:
            return
        try:
            make_months(connection, time.time_ns() // 1_000_000)
            self._months_at_s = now_s + _MONTHS_EVERY_S
        except (errors.LockNotAvailable, errors.DeadlockDetected, errors.InsufficientPrivilege):
            connection.rollback()
            self._months_at_s = now_s + _MONTHS_EVERY_S / 60


def _let_go(connection: "psycopg.Connection[Any]") -> None:
    """Back to a connection that can be used, or to none."""
    if connection.closed or connection.info.transaction_status == pq.TransactionStatus.UNKNOWN:
        connection.close()
        return
    try:
        connection.rollback()
    except psycopg.Error:
        connection.close()


def _tables(batch: list[Row]) -> tuple[list[list[Any]], list[list[Any]], list[list[Any]]]:
    """The rows of calls, of our entries, and of entries from outside."""
    calls: list[list[Any]] = []
    ours: list[list[Any]] = []
    theirs: list[list[Any]] = []
    width = len(ENTRY_COLUMNS)
    for owner, call, values in batch:
        if call:
            calls.append(call if native is not None else _nulls(call))
        outside = isinstance(owner, Group)
        for start in range(0, len(values), width):
            row = values if len(values) == width else values[start : start + width]
            if native is None:
                row = _nulls(row)
            meta = row[_META]
            if type(meta) is str and "\\u0000" in meta:
                row = [*row]
                row[_META] = _NUL.sub(r"\1\\ufffd", meta)
            (theirs if outside or row[_CLASS] == "own_cost" else ours).append(row)
    return calls, ours, theirs


def _nulls(values: list[Any]) -> list[Any]:
    """``rows.NULL`` is no number: it is not equal to itself."""
    return [None if value != value else value for value in values]


def _copy(
    connection: "psycopg.Connection[Any]", table: str, columns: tuple[str, ...], rows: list[list[Any]]
) -> None:
    if not rows:
        return
    kinds = b""
    if native is not None:
        kinds = b"".join(
            [b"i" if name in _INTEGERS else b"f" if name in _FLOATS else b"t" for name in columns]
        )
        kinds = native.spoken(rows, kinds, tuple([_SILENT.get(name) for name in columns]))
        columns = tuple([name for name, kind in zip(columns, kinds, strict=True) if kind != _LEFT_OUT])
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT binary)".encode()) as copy,
    ):
        if native is not None:
            copy.write(_COPY_BEGINS)
            for start in range(0, len(rows), _COPY_ROWS):
                copy.write(native.tuples(rows[start : start + _COPY_ROWS], kinds))
            copy.write(_COPY_ENDS)
            return
        copy.set_types(
            ["int8" if name in _INTEGERS else "float8" if name in _FLOATS else "text" for name in columns]
        )
        write = copy.write_row
        for row in rows:
            write(row)


def _merge(
    connection: "psycopg.Connection[Any]", table: str, columns: tuple[str, ...], rows: list[list[Any]]
) -> None:
    """The same, passing over what is there."""
    if not rows:
        return
    _set_down(connection, table, columns, rows)
    names = ", ".join(columns)
    connection.execute(
        f"INSERT INTO {table} ({names}) SELECT {names} FROM pg_temp.new_{table} ON CONFLICT DO NOTHING".encode()  # noqa: S608 - our own names
    )


def _claim(connection: "psycopg.Connection[Any]", rows: list[list[Any]]) -> dict[str, list[Any]]:
    """Entries from outside, by id, that nobody has sent before: an id that was ever taken is passed over, whatever its
    time; of two in one batch the first counts."""
    first: dict[str, list[Any]] = {}
    for row in rows:
        first.setdefault(str(row[_ID]), row)
    if not first:
        return {}
    ids = ",".join([_quoted(name) for name in first])
    times = ",".join([str(row[_AT]) for row in first.values()])
    for (name,) in connection.execute(_CLAIM, (f"{{{ids}}}", f"{{{times}}}")).fetchall():
        del first[name]
    return first


def _quoted(text: str) -> str:
    """An element of an array, as PostgreSQL reads it."""
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _tell(batch: list[Row], fresh: set[str]) -> None:
    """Each group how many of its entries were new; of two with one id, the first."""
    width = len(ENTRY_COLUMNS)
    for owner, _, values in batch:
        if isinstance(owner, Group):
            own = {str(values[start + _ID]) for start in range(0, len(values), width)} & fresh
            owner.new, owner.fresh = len(own), own
            fresh -= own


def _set_down(
    connection: "psycopg.Connection[Any]", table: str, columns: tuple[str, ...], rows: list[list[Any]]
) -> None:
    """Rows in a temporary table that the commit empties."""
    connection.execute(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS new_{table} (LIKE penstock.{table} INCLUDING DEFAULTS) "
        "ON COMMIT DELETE ROWS".encode()
    )
    connection.execute(f"TRUNCATE pg_temp.new_{table}".encode())
    _copy(connection, f"pg_temp.new_{table}", columns, rows)


def _fitting(columns: tuple[str, ...], values: list[Any]) -> list[Any]:
    return [_fit(columns[index % len(columns)], value) for index, value in enumerate(values)]


def _fit(column: str, value: Any) -> Any:
    """``value`` as this column can hold it."""
    if value is None or value != value:
        return _NEVER_NULL.get(column)
    if column in _INTEGERS:
        fits = isinstance(value, int) and -(2**63) <= value < 2**63
        return int(value) if fits else _NEVER_NULL.get(column)
    if column in _FLOATS:
        return float(value) if isinstance(value, int | float) and abs(value) < 2**1000 else None
    return str(value).replace("\0", "\ufffd").encode("utf-8", "replace").decode()
