"""Blobs in this process's memory.

Rules
- From any thread, the event loop among them: a lock is held for a dictionary's step, never while anybody is told.
- ``gone`` is told after the lock is let go of, so it may ask again.
- Two dictionaries, by place and by key: what is purged by place is found without a look at all the others.
"""

import threading
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from penstock.blobs.blob import Blob, Gone, Place, Stats
from penstock.blobs.far import Purging, Which
from penstock.blobs.gdsf import Gdsf, Limits, Slot

Evicted = Callable[[Blob, int], None]
"""Told of each blob that had to go for room, or was found to be over, and how often it was of use; from any thread."""


class MemoryBlobs(Purging):
    """One tier: memory."""

    def __init__(self, limits: Limits, *, gone: Gone | None = None, evicted: Evicted | None = None) -> None:
        """``gone`` is told of what is dropped, purged and overwritten; ``evicted`` of what had to go for room."""
        self._limits = limits
        self._gone = gone
        self._evicted = evicted
        self._gdsf: Gdsf[Blob] = Gdsf(limits)
        self._places: dict[Place, dict[bytes, Slot[Blob]]] = {}
        self._lock = threading.Lock()
        self._seq = 0
        self._evictions = 0

    def get(self, place: Place, key: bytes, now_ms: int) -> Blob | None:
        """The blob, unless it is over."""
        with self._lock:
            keys = self._places.get(place)
            slot = None if keys is None else keys.get(key)
            if slot is None:
                return None
            blob = slot.item
            if blob.expires_ms > now_ms:
                self._gdsf.hit(slot)
                return blob
            self._leave(slot)
        self._tell([slot])
        return None

    def put(self, blob: Blob) -> None:
        """Keep it, in place of what had its key."""
        with self._lock:
            old = self._slot(blob.place, blob.key)
            self._seq += 1
            went = self._enter(replace(blob, seq=self._seq), old)
        if old is not None and self._gone is not None:
            self._gone(blob.place, blob.key)
        self._tell(went)

    def promote(self, blob: Blob) -> None:
        """Keep what was found in another tier, unless there is something of its key here."""
        with self._lock:
            if self._slot(blob.place, blob.key) is not None:
                return
            went = self._enter(blob, None)
        self._tell(went)

    def drop(self, place: Place, key: bytes) -> bool:
        """Whether it was there."""
        with self._lock:
            slot = self._slot(place, key)
            if slot is not None:
                self._leave(slot)
        if slot is not None and self._gone is not None:
            self._gone(place, key)
        return slot is not None

    def purge_all(self, which: Which) -> int:
        """Drop all that is meant; how many."""
        with self._lock:
            slots = [
                slot
                for place, keys in self._places.items()
                if which.place(place)
                for slot in keys.values()
                if which.tag is None or which.tag in slot.item.tags
            ]
            for slot in slots:
                self._leave(slot)
        if self._gone is not None:
            for slot in slots:
                self._gone(slot.item.place, slot.item.key)
        return len(slots)

    def scan(self, kind: str, after_seq: int, limit: int, now_ms: int) -> list[Blob]:
        """Living blobs that have an ``about``, in order of ``seq``, without their values."""
        with self._lock:
            found = [
                blob
                for blob in self._of_kind(kind)
                if blob.about and blob.seq > after_seq and blob.expires_ms > now_ms
            ]
        found.sort(key=lambda blob: blob.seq)
        return [replace(blob, value=b"") for blob in found[:limit]]

    def uses(self) -> list[tuple[Place, bytes, int]]:
        """How often each was of use since it came here, of those that were."""
        with self._lock:
            return [
                (slot.item.place, slot.item.key, slot.frequency - 1)
                for keys in self._places.values()
                for slot in keys.values()
                if slot.frequency > 1
            ]

    def stats(self) -> Stats:
        """As it stands; what is over counts until it is found to be."""
        with self._lock:
            return Stats("memory", self._gdsf.all.entries, self._gdsf.all.size, self._evictions)

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._places.clear()
            self._gdsf = Gdsf(self._limits)

    def _of_kind(self, kind: str) -> Iterator[Blob]:
        for place, keys in self._places.items():
            if place.kind == kind:
                for slot in keys.values():
                    yield slot.item

    def _slot(self, place: Place, key: bytes) -> Slot[Blob] | None:
        keys = self._places.get(place)
        return None if keys is None else keys.get(key)

    def _enter(self, blob: Blob, old: Slot[Blob] | None) -> list[Slot[Blob]]:
        if old is not None:
            self._leave(old)
        size = len(blob.value) + len(blob.about)
        slot, went = self._gdsf.enter(blob, blob.place.tenant, size, blob.worth_nusd)
        for other in went:
            self._forget(other.item)
        self._evictions += len(went)
        if slot is not None:
            self._places.setdefault(blob.place, {})[blob.key] = slot
        return went

    def _leave(self, slot: Slot[Blob]) -> None:
        self._gdsf.leave(slot)
        self._forget(slot.item)

    def _forget(self, blob: Blob) -> None:
        keys = self._places[blob.place]
        del keys[blob.key]
        if not keys:
            del self._places[blob.place]

    def _tell(self, went: list[Slot[Blob]]) -> None:
        if self._evicted is not None:
            for slot in went:
                self._evicted(slot.item, slot.frequency - 1)
