"""Look-ups in the far stores: in a thread of their own, with a deadline.

Theory
------
What is found is kept in memory as well, from the reader's thread. Meanwhile the blob may have been dropped, purged or overwritten:
then it must not come back. Whoever does that leaves word first (``forget``), and drops it from memory afterwards; the reader
looks for word and keeps what it found in one step. So either the word was there, or what was kept is dropped. A drop that
the far stores have not carried out yet hides what it means (``Behind.hides``), and leaves word again when it is done.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from penstock.base.decisions import Rejected
from penstock.blobs.blob import Blob, Place, StoreFault
from penstock.blobs.far import Drop, Purge
from penstock.blobs.guard import Guarded

MOST_FINDS = 64
"""More at once are misses: stores that read so slowly are of no use to a cache."""
T = TypeVar("T")


class _Find:
    """A look-up that is under way."""

    __slots__ = ("future", "valid")

    def __init__(self) -> None:
        self.future: asyncio.Future[Blob | None] | None = None
        self.valid = True
        """Nothing has become of the key since it began."""


class Finder:
    """Belongs to the event loop; ``forget`` to any thread."""

    def __init__(
        self, far: Sequence[Guarded], *, hides: Callable[[Blob], bool], keep: Callable[[Blob], None]
    ) -> None:
        self.late = 0
        """Look-ups that were answered too late, or not begun because too many waited."""
        self._far = far
        self._hides = hides
        self._keep_blob = keep
        self._finds: dict[tuple[Place, bytes], _Find] = {}
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="penstock-blobs-find")

    async def find(self, place: Place, key: bytes, now_ms: int, *, within_s: float) -> Blob | None:
        """What a far store has. None: nothing, too late, or something has become of it meanwhile."""
        find = self._finds.get((place, key)) or self._begin(place, key, now_ms)
        if find is None or find.future is None:
            self.late += 1
            return None
        await asyncio.wait([find.future], timeout=within_s)
        if not find.future.done():
            self.late += 1
            return None
        blob = find.future.result()
        return blob if blob is not None and find.valid and blob.expires_ms > now_ms else None

    async def do(self, work: Callable[[], T]) -> T:
        """Something else, in the same thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def left_alone(self) -> Rejected | None:
        """Why something may not have been found that is there; None: all stores are asked."""
        return next((no for one in self._far if (no := one.left_alone()) is not None), None)

    def forget(self, place: Place | None = None, key: bytes = b"") -> None:
        """What is being read just now is not to be kept: of this key, or at all."""
        if not self._finds:
            return
        with self._lock:
            for where, find in list(self._finds.items()):
                if place is None or where == (place, key):
                    find.valid = False

    def settled(self, op: Drop | Purge) -> None:
        """The far stores know of it. What was read before that may still be on its way here."""
        if isinstance(op, Drop):
            self.forget(op.place, op.key)
        else:
            self.forget()

    def close(self) -> None:
        """When the reads that have begun are done."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _begin(self, place: Place, key: bytes, now_ms: int) -> _Find | None:
        if len(self._finds) >= MOST_FINDS:
            return None
        find = _Find()
        with self._lock:
            self._finds[place, key] = find
        loop = asyncio.get_running_loop()
        find.future = loop.run_in_executor(self._thread, self._read, find, place, key, now_ms)
        return find

    def _read(self, find: _Find, place: Place, key: bytes, now_ms: int) -> Blob | None:
        try:
            for one in self._far:
                try:
                    blob = one.read(lambda store: store.get(place, key, now_ms))
                except StoreFault:
                    continue  # the guard has counted it, and said so
                if blob is not None:
                    return self._keep(find, blob)
            return None
        finally:
            with self._lock:
                self._finds.pop((place, key), None)

    def _keep(self, find: _Find, blob: Blob) -> Blob | None:
        with self._lock:
            if not find.valid or self._hides(blob):
                return None
            self._keep_blob(blob)
        return blob
