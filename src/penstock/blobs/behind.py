"""Written behind: what goes to the far stores, in one thread and one order.

Theory
------
``put`` leaves a ticket in a queue and the blob in ``waiting``; whoever drops or purges takes it out of there, and leaves an
operation that comes after it. So within a process a ticket of something that was dropped finds nothing to write, and an
operation finds all that was written before it. Between processes the mark on each ``Put`` does the same (``far``).

An operation that a store does not take (it is locked, or away) is owed to it: it comes first when the store is back, and until
then hides what it would have dropped (``hides``).

Rules
- Bounded by count and bytes. Full: the blob is not written (``unwritten``), and what the far stores have under its key is
  dropped, so that nobody finds an older one there.
- A put that a store does not take is lost, and counted there: a cache may forget. A drop is never lost while this process lives;
  of too many the last resort is to drop everything.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from penstock.blobs.blob import Blob, Place, StoreFault
from penstock.blobs.far import Drop, FarStore, Op, Purge, Put, Used, Which
from penstock.blobs.guard import Guarded

POLL_S = 1.0
BATCH = 256
MOST_OWED = 10_000
_CLOSE_S = 5.0
Key = tuple[Place, bytes]
EVERYTHING = Purge(Which())


class _Ticket:
    """A place in the queue: for a blob in ``waiting``, or for an operation that somebody may wait for."""

    __slots__ = ("done", "flying", "key", "marks", "most", "op")

    def __init__(self, key: Key | None, marks: Sequence[int], op: Op | None, most: int = 2**31) -> None:
        self.key = key
        self.marks = marks
        self.op = op
        self.most = most
        """Of the stores, only the nearest so many."""
        self.flying = False
        """It is being written just now."""
        self.done: Future[int] = Future()


class Behind:
    """The queue and its thread. Any thread may ask."""

    def __init__(
        self,
        far: Sequence[Guarded],
        *,
        max_blobs: int = 10_000,
        max_bytes: int = 64 * 1024 * 1024,
        poll_s: float = POLL_S,
    ) -> None:
        self.unwritten = 0
        self.settled: Callable[[Drop | Purge], object] = _nobody
        """Told when a drop or purge was done, and hides nothing any more."""
        self._far = far
        self._max_blobs = max_blobs
        self._max_bytes = max_bytes
        self._poll_s = poll_s
        self._queue: deque[_Ticket] = deque()
        self._waiting: dict[Key, tuple[Blob, _Ticket]] = {}
        self._waiting_bytes = 0
        self._pending: dict[int, Drop | Purge] = {}
        """Dropped, though not in the far stores yet."""
        self._owed: dict[str, list[Op]] = {one.name: [] for one in far}
        self._bell = threading.Condition()
        self._closing = False
        self._ended = False
        self._batch: list[_Ticket] = []
        """Nothing is written any more."""
        self._thread = threading.Thread(target=self._run, name="penstock-blobs", daemon=True)

    def start(self) -> None:
        """From here on it is written."""
        self._thread.start()

    def put(self, blob: Blob, marks: Sequence[int] | None = None) -> None:
        """Keep it in the far stores; never waits for them. ``marks``: theirs when its making began; None: now."""
        key = (blob.place, blob.key)
        size = len(blob.value) + len(blob.about)
        if marks is None:
            marks = [one.mark for one in self._far]
        with self._bell:
            self._take(key)
            if self._ended:
                self.unwritten += 1
            elif len(self._waiting) >= self._max_blobs or self._waiting_bytes + size > self._max_bytes:
                self.unwritten += 1
                self._line_up(_Ticket(None, (), Drop(blob.place, blob.key)))
            else:
                ticket = _Ticket(key, marks, None)
                self._waiting[key] = (blob, ticket)
                self._waiting_bytes += size
                self._line_up(ticket)

    def relay(self, ops: Sequence[Op], most: int) -> None:
        """What other nodes did, for the nearest so many stores; in this order."""
        with self._bell:
            for op in ops:
                ticket = _Ticket(None, (), op, most)
                if isinstance(op, Drop | Purge):
                    self._pending[id(ticket)] = op
                self._line_up(ticket)

    def waiting(self, place: Place, key: bytes) -> Blob | None:
        """What is still to be written."""
        found = self._waiting.get((place, key))
        return None if found is None else found[0]

    def used(self, place: Place, key: bytes, times: int) -> None:
        """Remember that it was of use, if there is time for it."""
        if len(self._queue) < self._max_blobs:
            self._add(Used(place, key, times))

    def drop(self, op: Drop | Purge) -> tuple[int, list[Key], Future[int]]:
        """Take it out of what waits, and out of the far stores: how many, which they were, and then how many more. What is
        being written just now is taken from there."""
        with self._bell:
            if isinstance(op, Drop):
                keys = [(op.place, op.key)]
            else:
                keys = [key for key, (blob, _) in self._waiting.items() if op.which.blob(blob)]
            flying = sum(key in self._waiting and self._waiting[key][1].flying for key in keys)
            taken = [key for key in keys if self._take(key)]
            ticket = _Ticket(None, (), op)
            self._pending[id(ticket)] = op
            self._line_up(ticket)
        return len(taken) - flying, taken, ticket.done

    def hides(self, blob: Blob) -> bool:
        """Whether it was dropped, though a far store may not know that yet."""
        return any(_meant(op, blob) for op in list(self._pending.values())) or any(
            _meant(op, blob) for owed in self._owed.values() for op in list(owed)
        )

    @property
    def owed(self) -> int:
        """Drops and purges that a far store has not heard of, because it does not answer."""
        return sum(len(ops) for ops in self._owed.values())

    def flush(self) -> "Future[int]":
        """Done when all that was asked so far is."""
        return self._add(None)

    def close(self) -> None:
        """Write what is left, for a few seconds at most."""
        with self._bell:
            self._closing = True
            self._bell.notify()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_S)

    def _add(self, op: Op | None) -> "Future[int]":
        with self._bell:
            ticket = _Ticket(None, (), op)
            self._line_up(ticket)
        return ticket.done

    def _line_up(self, ticket: _Ticket) -> None:
        if self._ended:
            _say(ticket, 0)
            return
        self._queue.append(ticket)
        self._bell.notify()

    def _take(self, key: Key) -> int:
        found = self._waiting.pop(key, None)
        if found is None:
            return 0
        self._waiting_bytes -= len(found[0].value) + len(found[0].about)
        return 1

    def _run(self) -> None:
        try:
            self._write_until_closed()
        finally:
            with self._bell:  # whatever ended it: nobody waits for ever
                self._ended = True
                left = [ticket for ticket in (*self._batch, *self._queue) if not ticket.done.done()]
                self._queue.clear()
            for ticket in left:
                _say(ticket, 0)

    def _write_until_closed(self) -> None:
        poll_at_s = time.monotonic() + self._poll_s
        while True:
            with self._bell:
                if not self._queue and not self._closing:
                    self._bell.wait(max(0.0, poll_at_s - time.monotonic()))
                batch = self._batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                if not batch and self._closing:
                    return
            if batch:
                self._write(batch)
            if time.monotonic() >= poll_at_s:
                self._poll()
                poll_at_s = time.monotonic() + self._poll_s

    def _write(self, batch: list[_Ticket]) -> None:
        blobs: dict[int, Blob] = {}
        with self._bell:
            for ticket in batch:
                found = None if ticket.key is None else self._waiting.get(ticket.key)
                if found is not None and found[1] is ticket:
                    ticket.flying = True
                    blobs[id(ticket)] = found[0]
        work = [ticket for ticket in batch if ticket.op is not None or id(ticket) in blobs]
        counts = dict.fromkeys(map(id, batch), 0)
        for at, one in enumerate(self._far):
            mine = [ticket for ticket in work if at < ticket.most]
            ops = [ticket.op or Put(blobs[id(ticket)], ticket.marks[at]) for ticket in mine]
            done = self._tell(one, ops) if ops else []
            for ticket, count in zip(mine, done, strict=False):
                counts[id(ticket)] = max(counts[id(ticket)], count)
        with self._bell:
            for ticket in batch:
                if ticket.key is not None and self._waiting.get(ticket.key, (None, None))[1] is ticket:
                    self._take(ticket.key)
        for ticket in batch:
            if isinstance(ticket.op, Drop | Purge):
                self.settled(ticket.op)
            self._pending.pop(id(ticket), None)
            _say(ticket, counts[id(ticket)])

    def _tell(self, one: Guarded, ops: list[Op]) -> list[int]:
        """What is owed to this store first. What it does not take of that, and of these, is owed from now on."""
        owed = self._owed[one.name]
        every = owed + ops
        try:
            done = one.do(lambda store: _ask(store, every))
        except StoreFault:
            self._owe(one.name, [op for op in ops if isinstance(op, Drop | Purge)])
            return []
        if owed:
            for op in owed:
                if isinstance(op, Drop | Purge):
                    self.settled(op)
            self._owed[one.name] = []
        return done[len(owed) :]

    def _owe(self, name: str, ops: list[Op]) -> None:
        owed = self._owed[name]
        if ops and len(owed) + len(ops) > MOST_OWED:
            self._owed[name] = [EVERYTHING]
        elif owed != [EVERYTHING]:
            self._owed[name] = owed + ops

    def _poll(self) -> None:
        for one in self._far:
            try:
                if self._owed[one.name]:
                    self._tell(one, [])
                one.do(lambda store: store.poll())
                one.look()
            except StoreFault:
                continue  # the guard has counted it, and said so


def _say(ticket: _Ticket, count: int) -> None:
    """Done. Who asked may have gone (a task that was cancelled cancels this, too): that is no fault of the queue's."""
    if ticket.done.set_running_or_notify_cancel():
        ticket.done.set_result(count)


def _ask(store: FarStore, ops: list[Op]) -> list[int]:
    return store.write(ops) if ops else []


def _meant(op: Op, blob: Blob) -> bool:
    if isinstance(op, Purge):
        return op.which.blob(blob)
    return isinstance(op, Drop) and (op.place, op.key) == (blob.place, blob.key)


def _nobody(_op: Drop | Purge) -> None:
    """Nobody wants to know."""
