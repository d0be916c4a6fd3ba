"""The append-only journal: records from the loop thread, batches of SQL in one writer thread.

Theory
------
``add`` makes a record's rows, the values to be bound, and appends them to a list. The writer thread takes a slice,
and hands SQLite up to 128 rows per statement (decision 001): the writer needs the GIL a few times per slice, not
per row, because beside a busy event loop each time can cost it tens of milliseconds. Rows are not made in the writer,
where the same GIL time would be one stall of the loop instead of two microseconds after a reply. A loop that never
rests would starve the writer all the same: once two slices wait, ``add`` gives the GIL away now and then.

Rows stay in the list until they are committed, so that a batch that could not be written is simply still there; and
in ``pending``, so that what is not yet stored can be found. From there the loop thread puts them by, some hundred at a
time, with the place of the last one in the order of all rows, and drops such a lot when that is stored.

Rules
- Nothing that was added is dropped. A batch that cannot be written is tried again with back-off; ``fault`` says why;
  from ``max_queue`` records on ``full`` is True and admission refuses new calls.
- A batch is one transaction of calls and entries together; ``id`` makes a repetition harmless.
- A record that cannot be encoded or bound costs its text, never its money (``_salvage``).
- Entries without a call (``add_entries``) come with a callback: it is called once they are committed, and says how many
  were new. The store counts them.
- ``add``, ``find`` and ``full`` belong to one thread, the loop's; ``add_entries``, ``flush`` and ``close`` to any.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from copy import copy
from typing import Any, cast

import msgspec

from penstock.base.errors import OurFault
from penstock.ledger.entry import Call, Entry, Line, Record
from penstock.ledger.rows import (
    Alike,
    Form,
    call_values,
    encode,
    entry_values,
    record_of,
    rows_of,
    unknown_type,
)
from penstock.ledger.store import SLICE_RECORDS, Group, Row, SqliteStore, Store

MAX_BATCH_RECORDS = 10_000
"""Reached only with a backlog. A batch is one transaction: what it has written is safe, and seen, at its end."""
PUT_BY = 128
"""Records that are put by together."""
BEHIND_RECORDS = 2 * SLICE_RECORDS
GIVE_WAY_EVERY = 16
_GIVE_WAY_S = 0.00005
"""As long as a thread takes to wake: a loop that never rests takes the GIL back before a waiting writer has."""
_FADING = 0.9
"""For each batch: a checkpoint's stall is forgotten after some twenty."""
_MOST = 2**63 - 1
"""SQLite's and PostgreSQL's largest integer."""
_MOST_NAPS = 32
"""Before the writer sleeps: with a flush_ms of 20, a third of a second."""
_BACK_OFF_S = (0.05, 0.1, 0.25, 0.5, 1.0)
_CLOSE_TIMEOUT_S = 30.0
_UNENCODABLE = (UnicodeEncodeError, OverflowError, TypeError, ValueError, RecursionError)


class Journal:
    """One ledger and its writer thread: a file of SQLite's, or another ``store``. ``add``, ``find`` and ``full`` belong to the loop thread."""

    def __init__(
        self, path: str = "", *, flush_ms: int = 50, max_queue: int = 200_000, store: Store | None = None
    ) -> None:
        """Open or create the ledger at ``path``; raises ConfigFault where that cannot be."""
        self.fault: str | None = None
        """Why the last batch could not be written, until one could."""
        self.max_queue = max_queue
        self._flush_s = flush_ms / 1000
        self._took_s = 0.0
        """What a write takes at present, the worst of the last ones."""
        self.rows: list[Row | Alike] = []
        """What is not yet stored; always the same list."""
        self.pending: dict[str, Record | Alike] = {}
        """The newest of them by their ids; always the same dictionary."""
        self._put_by: deque[tuple[int, dict[str, Record | Alike]]] = deque()
        """Those before, and behind which row of all their last one stands."""
        self._late_s = float("inf")
        """When the batch that is being gathered or written should have been stored."""
        self.asleep = False
        """The writer waits for a row: whoever adds one wakes it."""
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._progress = threading.Condition()
        self._written = 0
        self._closing = False
        self._abandon_at_s = float("inf")
        self._store = SqliteStore(path) if store is None else store
        self.takes_alike: bool = getattr(self._store, "takes_alike", False)
        """The store writes rows that are alike as they are: ``add_alike`` is ``rows.append`` and two names in ``pending``,
        and then ``look_after`` where there is something to do (see there)."""
        self._groups = 0
        self._thread = threading.Thread(target=self._run, name="penstock-ledger", daemon=True)
        self._thread.start()

    def add(self, record: Record) -> None:
        """Take a record; never fails, and never waits for the disk."""
        call = record.call
        try:
            row = _row(record, call, record.entries)
        except _UNENCODABLE:
            row = _salvage(record)
        self._queue_up(row, record, call.request_id, call.body_id)

    def add_alike(self, alike: Alike) -> None:
        """Take a call with one entry that is like others (rows.Form)."""
        row = alike if self.takes_alike else (alike, *rows_of(alike))
        self._queue_up(row, alike, alike[1], alike[2])

    def _queue_up(self, row: "Row | Alike", record: "Record | Alike", request_id: str, body_id: str) -> None:
        self.rows.append(row)
        self.pending[request_id] = record
        if body_id:
            self.pending[body_id] = record
        waiting = len(self.rows)
        if (
            self.asleep
            or len(self.pending) >= PUT_BY
            or (waiting >= BEHIND_RECORDS and not waiting % GIVE_WAY_EVERY)
        ):
            self.look_after()

    def look_after(self) -> None:
        """After a row was added: wake the writer, give way to it, put by what is pending."""
        if self.asleep:
            self.asleep = False
            self._bell.put(None)
        waiting = len(self.rows)
        if waiting >= BEHIND_RECORDS and self.fault is None and time.monotonic() >= self._late_s:
            time.sleep(_GIVE_WAY_S)  # let the writer have the GIL
        if len(self.pending) >= PUT_BY:
            with self._progress:
                behind = self._written + len(self.rows)
            self._put_by.append((behind, self.pending.copy()))
            self.pending.clear()
            self._forget()

    def add_entries(
        self,
        entries: tuple[Entry, ...],
        stored: Callable[[int], object],
        counted: Callable[[list[Entry]], object] | None = None,
    ) -> None:
        """Take entries that belong to no call; never fails, and never waits for the disk. From any thread.

        ``stored`` is called in the writer's thread, must not raise, and is given how many of them were not there before:
        an id that is there stays as it is. It is called only after their commit; ``counted`` before it, with those that
        were not there.
        """
        group = Group(entries, stored, counted)
        try:
            values = [value for entry in entries for value in entry_values(entry)]
        except _UNENCODABLE:
            values = [value for entry in entries for value in entry_values(_salvaged(entry))]
        with self._progress:
            self._groups += 1
        self.rows.append((group, [], values))
        if self.asleep:
            self.asleep = False
            self._bell.put(None)

    @property
    def notice(self) -> str | None:
        """What is amiss with the ledger although batches are written."""
        return self._store.notice

    @property
    def queued(self) -> int:
        """Records not yet stored."""
        return len(self.rows)

    @property
    def full(self) -> bool:
        """True: refuse new calls, for what they would spend could not be kept safely."""
        return len(self.rows) >= self.max_queue

    def find(self, any_id: str, *, virtual_key: str | None = None) -> Record | None:
        """The record of a request id, or of a reply's body id; with ``virtual_key``, only if that key made it.

        Answered from the queue where it is not yet stored. From the database, ``call.explain`` is plain data.
        """
        record = self.recent(any_id, virtual_key=virtual_key)
        return self.read(any_id, virtual_key=virtual_key) if record is None and any_id else record

    def recent(self, any_id: str, *, virtual_key: str | None = None) -> Record | None:
        """What ``find`` looks at first: the record where it may not be stored yet. Never waits."""
        self._forget()
        record = self.pending.get(any_id) if any_id else None
        for _, some in reversed(self._put_by if record is None else ()):
            record = record or some.get(any_id)
        if isinstance(record, tuple):
            record = record_of(record)
        if record is not None and (virtual_key is None or record.call.virtual_key == virtual_key):
            return record
        return None

    def read(self, any_id: str, *, virtual_key: str | None = None) -> Record | None:
        """The record where it is stored. Waits for the database: for any thread."""
        return self._store.read(any_id, virtual_key)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything added so far is stored; False if that took longer than ``timeout_s``."""
        with self._progress:
            target = self._written + len(self.rows)
            self._bell.put(None)
            return self._progress.wait_for(lambda: self._written >= target, timeout_s)

    def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> None:
        """Store what is left and stop. Raises OurFault, with the count, if it could not be stored in time."""
        if not self._closing:
            self._abandon_at_s = time.monotonic() + timeout_s
            self._closing = True
            self._bell.put(None)
        self._thread.join()
        self._store.close()
        if self.rows:
            raise OurFault(
                f"{len(self.rows)} calls could not be written to the ledger {self._store.name}: {self.fault}",
                code="ledger_not_written",
            )

    def _run(self) -> None:
        try:
            self._write_until_closed()
        except BaseException as error:
            self.fault = f"The ledger's writer has stopped: {type(error).__name__}. Restart the gateway."
            raise

    def _write_until_closed(self) -> None:
        failures = 0
        while True:
            gathered = not self.rows and self._gather_first()
            if not self.rows:
                if self._closing:
                    return
                self.asleep = True
                if not self.rows and not self._closing:
                    self._bell.get()
                self.asleep = False
                continue
            self._late_s = time.monotonic() + self._flush_s
            if not (gathered or self._closing) and len(self.rows) < MAX_BATCH_RECORDS:
                _nap(self._bell, self._gather_s)
            begun_s = time.monotonic()
            if self._write_batch():
                failures = 0
                self._took_s = max(time.monotonic() - begun_s, self._took_s * _FADING)
                continue
            if self._closing and time.monotonic() >= self._abandon_at_s:
                return
            _nap(self._bell, _BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)])
            failures += 1

    @property
    def _gather_s(self) -> float:
        """How long a batch gathers. A record that just missed one waits for that one's write, a gather and its own write,
        all in flush_ms: half of it is enough for a quick disk, and a slow one leaves less, or nothing."""
        return min(self._flush_s / 2, max(0.0, self._flush_s - 2 * self._took_s))

    def _gather_first(self) -> bool:
        """Nap as long as a batch gathers, some times, before anybody has to wake the writer: to wake a thread costs the loop
        more than the call that does it. True: rows have come meanwhile, and have gathered."""
        for _ in range(_MOST_NAPS):
            nap_s = self._gather_s
            if self.rows or self._closing or not nap_s:
                break
            self._late_s = time.monotonic() + self._flush_s
            _nap(self._bell, nap_s)
        return bool(self.rows)

    def _write_batch(self) -> bool:
        batch, store = self.rows[:MAX_BATCH_RECORDS], self._store
        try:
            try:
                store.write(batch)
            except store.unbindable:
                batch = [_mended(row) for row in batch]
                self.rows[: len(batch)] = batch
                store.write(batch)
        except store.faults as error:
            self.fault = store.why(error)
            return False
        self.fault = None
        groups = [row[0] for row in batch if isinstance(row[0], Group)] if self._groups else []
        with self._progress:
            del self.rows[: len(batch)]
            self._written += len(batch)
            self._groups -= len(groups)
            self._progress.notify_all()
        for group in groups:
            group.tell()
        return True

    def _forget(self) -> None:
        """Of what is stored, and put by: the database answers for it now."""
        written, put_by = self._written, self._put_by
        while put_by and put_by[0][0] <= written:
            put_by.popleft()
        if not self.rows:
            self.pending.clear()


def _nap(bell: "queue.SimpleQueue[None]", seconds: float) -> None:
    """Let a batch gather; cut short by flush and close."""
    try:
        bell.get(timeout=seconds)
    except queue.Empty:
        return


def _row(record: Record, call: Call, entries: tuple[Entry, ...]) -> Row:
    if len(entries) == 1:
        return record, call_values(call), entry_values(entries[0])
    return record, call_values(call), [value for entry in entries for value in entry_values(entry)]


def _salvage(record: Record) -> Row:
    """The row of a record that cannot be stored as it is: broken characters replaced, impossible numbers unknown."""
    call = copy(record.call)
    call.explain = None
    call = Call(*(_plain(getattr(call, name)) for name in Call.__struct_fields__))
    try:
        call.explain = _plain(msgspec.to_builtins(record.call.explain, enc_hook=unknown_type))
        encode(call.explain)
    except _UNENCODABLE as error:
        call.explain = {"unreadable": f"What was decided could not be kept: {type(error).__name__}."}
    call.at_ms = call.at_ms or 0  # a row without a time would not be taken
    return _row(record, call, tuple(_salvaged(entry) for entry in record.entries))


def _mended(row: Row | Alike) -> Row:
    """A row that can be bound."""
    whole: Row = (row, *rows_of(row)) if isinstance(row[0], Form) else cast("Row", row)
    owner, call, entries = whole
    if _fits(call) and _fits(entries):
        return whole
    if not isinstance(owner, Group):
        return _salvage(owner if isinstance(owner, Record) else record_of(owner))
    return owner, [], [value for entry in owner.entries for value in entry_values(_salvaged(entry))]


def _salvaged(entry: Entry) -> Entry:
    made = Entry(*(_plain(getattr(entry, name)) for name in Entry.__struct_fields__))
    made.at_ms = made.at_ms or 0
    return made


def _fits(values: list[Any]) -> bool:
    return all(isinstance(value, float) or value == _plain(value) for value in values)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -_MOST - 1 <= value <= _MOST else None
    if isinstance(value, dict):
        return {str(_plain(str(key))): _plain(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, Line):
        line = Line(*(_plain(getattr(value, name)) for name in Line.__struct_fields__))
        # A line has a quantity: of an impossible one the most that can be stored, at no known cost.
        known = line.quantity == value.quantity
        return line if known else msgspec.structs.replace(line, quantity=_MOST, cost_nusd=None)
    if isinstance(value, tuple | list):
        return tuple(_plain(item) for item in cast("list[Any]", value))
    return value if isinstance(value, float) else unknown_type(value)
