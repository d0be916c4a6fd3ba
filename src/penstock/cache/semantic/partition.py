"""What one partition holds: its index, and beside each vector the entry it stands for."""

import heapq

from msgspec import Struct

from penstock.cache.answer import About
from penstock.cache.semantic.index import EXACT_BELOW, PartitionIndex, Vectors


class Entry(Struct):
    """One entry. ``key`` and ``namespace`` say where its answer lies; ``quarantined`` why it may not be served, "" if it may."""

    id: str
    index_key: int
    namespace: str
    key: bytes
    text: str
    until_ms: int
    quarantined: str = ""


class Partition:
    """Entries whose requests differ in nothing but the embedded text. One answer key, one entry: the later one counts."""

    def __init__(self, dimensions: int, *, exact_below: int = EXACT_BELOW) -> None:
        self.index = PartitionIndex(dimensions, exact_below=exact_below)
        self._entries: dict[str, Entry] = {}
        self._by_index_key: dict[int, Entry] = {}
        self._by_answer: dict[tuple[str, bytes], str] = {}
        self._ends: list[tuple[int, str]] = []
        """A heap of (until, id); what it names may have gone since."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, entry_id: str) -> Entry | None:
        """The entry, if it is here."""
        return self._entries.get(entry_id)

    def insert(self, about: About, vector: Vectors, namespace: str, key: bytes) -> list[str]:
        """The ids that had to give way: the same id, or an older entry for the same answer."""
        replaced = [one for one in {about.id, self._by_answer.get((namespace, key), "")} if self.remove(one)]
        entry = Entry(about.id, self.index.add(vector), namespace, key, about.text, about.until_ms)
        self._entries[entry.id] = entry
        self._by_index_key[entry.index_key] = entry
        self._by_answer[namespace, key] = entry.id
        heapq.heappush(self._ends, (entry.until_ms, entry.id))
        if len(self._ends) > 2 * len(self._entries) + 64:
            self._ends = [(one.until_ms, one.id) for one in self._entries.values()]
            heapq.heapify(self._ends)
        return replaced

    def remove(self, entry_id: str) -> bool:
        """Whether it was here."""
        entry = self._entries.pop(entry_id, None)
        if entry is None:
            return False
        del self._by_index_key[entry.index_key]
        if self._by_answer.get((entry.namespace, entry.key)) == entry_id:
            del self._by_answer[entry.namespace, entry.key]
        self.index.remove(entry.index_key)
        return True

    def nearest(self, vector: Vectors, k: int) -> list[tuple[Entry, float]]:
        """Nearest first. Expired and quarantined ones are among them."""
        found = self.index.nearest(vector, k)
        return [(entry, score) for key, score in found if (entry := self._by_index_key.get(key)) is not None]

    def overdue(self, now_ms: int) -> bool:
        """Whether there is anything to expire."""
        return bool(self._ends) and self._ends[0][0] <= now_ms

    def expire(self, now_ms: int, at_most: int) -> list[str]:
        """Remove what is over, oldest end first; the ids that went. ``at_most``: so that no look-up pays for all of them."""
        gone: list[str] = []
        while self._ends and self._ends[0][0] <= now_ms and len(gone) < at_most:
            until_ms, entry_id = heapq.heappop(self._ends)
            entry = self._entries.get(entry_id)
            if entry is not None and entry.until_ms == until_ms and self.remove(entry_id):
                gone.append(entry_id)
        return gone
