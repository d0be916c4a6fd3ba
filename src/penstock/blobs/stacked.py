"""The tiers as one store for programs without an event loop: memory, and behind it what is far, asked in turn.

Rules
- Blocking, from any thread. A far store that fails is a miss, left alone for a while (``guard``).
- Nothing is written behind: a put is in the far stores when it returns, or was not taken.
- Other processes are heard once a second at most, by whoever asks next.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from penstock.blobs.blob import Blob, Place, Stats, StoreFault
from penstock.blobs.far import Change, FarStore, Heard, Purge, Purging, Which
from penstock.blobs.gdsf import Limits
from penstock.blobs.guard import Guarded, Say, each_of, first_of
from penstock.blobs.memory import MemoryBlobs

POLL_S = 1.0


class StackedBlobs(Purging):
    """One ``BlobStore`` of several. ``far``: names of stores and how they are opened, the nearest first."""

    def __init__(
        self,
        limits: Limits,
        far: Sequence[tuple[str, Callable[[Heard], FarStore]]] = (),
        *,
        say: Say | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._memory = MemoryBlobs(limits)
        self._far = [
            Guarded(name, partial(opened, self._heard), say=say, monotonic_s=monotonic_s)
            for name, opened in far
        ]
        self._monotonic_s = monotonic_s
        self._poll_at_s = 0.0
        self._changes = 0
        self._lock = threading.Lock()

    @property
    def faults(self) -> int:
        """How often a far store did not answer."""
        return sum(one.faults for one in self._far)

    def get(self, place: Place, key: bytes, now_ms: int) -> Blob | None:
        """The blob, unless it is over."""
        self._poll()
        blob = self._memory.get(place, key, now_ms)
        before = self._changes
        for one in () if blob is not None else self._far:
            try:
                blob = one.do(lambda store: store.get(place, key, now_ms))
            except StoreFault:
                continue  # the guard has counted it, and said so
            if blob is not None:
                with self._lock:
                    if self._changes == before:
                        self._memory.promote(blob)
                break
        return blob

    def put(self, blob: Blob) -> None:
        """Keep it, in place of what had its key."""
        self._changed()
        self._memory.put(blob)
        self._each(lambda store: int(store.put(blob) is None))

    def drop(self, place: Place, key: bytes) -> bool:
        """Whether it was there."""
        self._changed()
        here = self._memory.drop(place, key)
        there = self._each(lambda store: int(store.drop(place, key)))
        self._changed()
        return here or there > 0

    def purge_all(self, which: Which) -> int:
        """Drop all that is meant; how many."""
        self._changed()
        here = self._memory.purge_all(which)
        there = self._each(lambda store: store.write([Purge(which)])[0])
        self._changed()
        self._memory.purge_all(which)
        return max(here, there)

    def scan(self, kind: str, after_seq: int, limit: int, now_ms: int) -> list[Blob]:
        """Living blobs that have an ``about``, in order of ``seq``, without their values."""
        found = first_of(self._far, lambda store: store.scan(kind, after_seq, limit, now_ms))
        return self._memory.scan(kind, after_seq, limit, now_ms) if found is None else found

    def stats(self) -> Stats:
        """Of the memory."""
        return self._memory.stats()

    def close(self) -> None:
        """Let go."""
        for one in self._far:
            try:
                one.close()
            except StoreFault:
                continue  # what could not be written is lost: a cache may forget
        self._memory.close()

    def _each(self, work: Callable[[FarStore], int]) -> int:
        """The most that any of them did."""
        return max(each_of(self._far, work), default=0)

    def _poll(self) -> None:
        now_s = self._monotonic_s()
        if now_s < self._poll_at_s or not self._far:
            return
        self._poll_at_s = now_s + POLL_S
        each_of(self._far, lambda store: store.poll())

    def _changed(self) -> None:
        """What is being read just now is not to be kept."""
        with self._lock:
            self._changes += 1

    def _heard(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.what in ("purge", "lost"):
                self._changed()
                self._memory.purge_all(change.which or Which())
            elif change.what in ("put", "drop"):
                self._changed()
                self._memory.drop(change.place, change.key)
