"""The append-only journal: records from the loop thread, batches of SQL in one writer thread.

Theory
------
``add`` is a list append, two dict stores and a look at a flag. The writer thread slices the list, encodes the slice
in C and hands SQLite one statement (decision 001): Python runs per batch there, never per row, and the GIL is free
while SQLite works. Rows stay in the list until they are committed, so that what is not yet stored can be found, and
a batch that cannot be written is simply still there.

Rules
- Nothing that was added is dropped. A batch that cannot be written is tried again with back-off; ``fault`` says why;
  from ``max_queue`` records on ``full`` is True and admission refuses new calls.
- A batch is one transaction of calls and entries together; ``id`` makes a repetition harmless.
- A record that cannot be encoded costs its text, never its money (``_salvage``).
"""

import queue
import sqlite3
import threading
import time

import msgspec

from penstock.base.errors import OurFault
from penstock.ledger.entry import Call, Entry, Record
from penstock.ledger.rows import read_record
from penstock.ledger.schema import WRITE_BATCH, open_reader, open_writer

MAX_BATCH_RECORDS = 2000
"""More gains little speed (cache-routing-ledger.md, 6.6) and makes a find, and a retry, wait longer."""
SLICE_RECORDS = 200
"""Encoded per call of the encoder, about 1 ms: the GIL is not held longer than that."""
MAX_BATCH_BYTES = 16 * 1024 * 1024
_BACK_OFF_S = (0.05, 0.1, 0.25, 0.5, 1.0)
_CLOSE_TIMEOUT_S = 30.0


def _unknown_type(value: object) -> str:
    return f"<{type(value).__name__}>"


_ENCODER = msgspec.json.Encoder(enc_hook=_unknown_type)


class Journal:
    """One SQLite ledger and its writer thread. ``add``, ``find`` and ``full`` belong to the loop thread."""

    def __init__(self, path: str, *, flush_ms: int = 20, max_queue: int = 200_000) -> None:
        """Open or create the ledger at ``path``; raises ConfigFault where that cannot be."""
        self.path = path
        self.fault: str | None = None
        """Why the last batch could not be written, until one could."""
        self._max_queue = max_queue
        # A record waits for the batch before it and then for its own: two gathers and two writes in flush_ms.
        self._gather_s = flush_ms / 4000
        self._rows: list[Record] = []
        self._pending: dict[str, Record] = {}
        self._asleep = False
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._progress = threading.Condition()
        self._written = 0
        self._closing = False
        self._abandon_at_s = float("inf")
        self._writer = open_writer(path)
        try:
            self._reader = open_reader(path)
        except BaseException:
            self._writer.close()
            raise
        self._reading = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="penstock-ledger", daemon=True)
        self._thread.start()

    def add(self, record: Record) -> None:
        """Take a record; never blocks, never fails."""
        self._rows.append(record)
        call = record.call
        self._pending[call.request_id] = record
        if call.body_id:
            self._pending[call.body_id] = record
        if self._asleep:
            self._asleep = False
            self._bell.put(None)

    @property
    def queued(self) -> int:
        """Records not yet stored."""
        return len(self._rows)

    @property
    def full(self) -> bool:
        """True: refuse new calls, for what they would spend could not be kept safely."""
        return len(self._rows) >= self._max_queue

    def find(self, any_id: str, *, virtual_key: str | None = None) -> Record | None:
        """The record of a request id, or of a reply's body id; with ``virtual_key``, only if that key made it.

        Answered from the queue where it is not yet stored. From the database, ``call.explain`` is plain data.
        """
        record = self._pending.get(any_id)
        if record is not None and (virtual_key is None or record.call.virtual_key == virtual_key):
            return record
        with self._reading:
            return read_record(self._reader, any_id, virtual_key=virtual_key)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything added so far is stored; False if that took longer than ``timeout_s``."""
        with self._progress:
            target = self._written + len(self._rows)
            self._bell.put(None)
            return self._progress.wait_for(lambda: self._written >= target, timeout_s)

    def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> None:
        """Store what is left and stop. Raises OurFault, with the count, if it could not be stored in time."""
        if not self._closing:
            self._abandon_at_s = time.monotonic() + timeout_s
            self._closing = True
            self._bell.put(None)
        self._thread.join()
        self._writer.close()
        self._reader.close()
        if self._rows:
            raise OurFault(
                f"{len(self._rows)} calls could not be written to the ledger {self.path!r}: {self.fault}",
                code="ledger_not_written",
            )

    def _run(self) -> None:
        failures = 0
        while True:
            if not self._rows and not self._wait_for_rows():
                return
            if not self._closing and len(self._rows) < MAX_BATCH_RECORDS:
                self._nap(self._gather_s)
            if self._write_batch():
                failures = 0
                continue
            if self._closing and time.monotonic() >= self._abandon_at_s:
                return
            self._nap(_BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)])
            failures += 1

    def _wait_for_rows(self) -> bool:
        """Sleep until there is something to do; False when closing and all is written."""
        while not self._rows:
            if self._closing:
                return False
            self._asleep = True
            if not self._rows and not self._closing:
                self._bell.get()
            self._asleep = False
        return True

    def _nap(self, seconds: float) -> None:
        """Let a batch gather; cut short by flush and close."""
        try:
            self._bell.get(timeout=seconds)
        except queue.Empty:
            return

    def _write_batch(self) -> bool:
        batch, calls, entries = self._encode_batch()
        try:
            self._writer.execute(WRITE_BATCH, (calls, entries))
        except sqlite3.Error as error:
            self.fault = f"The ledger {self.path!r} cannot be written: {error}."
            return False
        self.fault = None
        with self._progress:
            del self._rows[: len(batch)]
            self._written += len(batch)
            self._progress.notify_all()
        pending = self._pending
        for record in batch:
            call = record.call
            # A newer call may carry the same body id: it keeps its place.
            if pending.get(call.request_id) is record:
                del pending[call.request_id]
            if call.body_id and pending.get(call.body_id) is record:
                del pending[call.body_id]
        return True

    def _encode_batch(self) -> tuple[list[Record], bytes, bytes]:
        batch: list[Record] = []
        calls: list[bytes] = []
        entries: list[bytes] = []
        size = 0
        while len(batch) < MAX_BATCH_RECORDS and size < MAX_BATCH_BYTES:
            piece = self._rows[len(batch) : len(batch) + SLICE_RECORDS]
            if not piece:
                break
            call_text, entry_text = _encode(piece)
            calls.append(call_text)
            if entry_text:
                entries.append(entry_text)
            size += len(call_text) + len(entry_text)
            batch += piece
        return batch, b"[" + b",".join(calls) + b"]", b"[" + b",".join(entries) + b"]"


def _encode(records: list[Record]) -> tuple[bytes, bytes]:
    """JSON of the calls and of the entries, without the outer brackets."""
    try:
        return (
            _ENCODER.encode([record.call for record in records])[1:-1],
            _ENCODER.encode([entry for record in records for entry in record.entries])[1:-1],
        )
    except (UnicodeEncodeError, OverflowError, TypeError, ValueError, RecursionError):
        salvaged = [_salvage(record) for record in records]
        return (
            _ENCODER.encode([record.call for record in salvaged])[1:-1],
            _ENCODER.encode([entry for record in salvaged for entry in record.entries])[1:-1],
        )


def _salvage(record: Record) -> Record:
    """The record as it can be encoded: broken characters replaced, impossible numbers unknown."""
    call = Call(*(_plain(getattr(record.call, name)) for name in Call.__struct_fields__))
    try:
        _ENCODER.encode(call.explain)
    except (UnicodeEncodeError, OverflowError, TypeError, ValueError, RecursionError) as error:
        call.explain = {"unreadable": f"What was decided could not be kept: {type(error).__name__}."}
    entries = tuple(
        Entry(*(_plain(getattr(entry, name)) for name in Entry.__struct_fields__)) for entry in record.entries
    )
    return Record(call, entries)


def _plain(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else None
    if isinstance(value, dict):
        return {str(_plain(str(key))): _plain(item) for key, item in value.items()}
    return value
