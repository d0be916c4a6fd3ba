"""Static vectors of what a partition holds: is there anything near enough that embedding the question may come to something?

It spares embeddings on the way of a call, and never decides a hit: a question that is not near is a miss, and embedded later,
when its answer is kept. Vectors are made when they are first needed: an entry may have come before the table was there.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

MOST_AT_ONCE = 2000
"""Vectors made for one look-up (0.04 ms each): where more are missing the question passes."""


class Sieve:
    """Of one tier. ``embed``: cache.ports.Prefilter's. Belongs to one thread."""

    def __init__(self, embed: Callable[[str], bytes], dimensions: int, least: float) -> None:
        self._embed = embed
        self._dimensions = dimensions
        self._least = least
        self._partitions: dict[bytes, _Sieved] = {}
        self._where: dict[str, bytes] = {}

    def insert(self, partition: bytes, entry_id: str, text: str) -> None:
        """One more."""
        self.remove(entry_id)
        self._where[entry_id] = partition
        here = self._partitions.get(partition)
        if here is None:
            here = self._partitions[partition] = _Sieved(self._dimensions)
        here.waiting[entry_id] = text

    def remove(self, entry_id: str) -> None:
        """One less."""
        partition = self._where.pop(entry_id, None)
        here = None if partition is None else self._partitions.get(partition)
        if partition is None or here is None:
            return
        here.remove(entry_id)
        if not here.ids and not here.waiting:
            del self._partitions[partition]

    def passes(self, partition: bytes, text: str) -> bool:
        """Something here may be near."""
        here = self._partitions.get(partition)
        if here is None:
            return False
        if len(here.waiting) > MOST_AT_ONCE:
            for _ in range(MOST_AT_ONCE):
                here.take(self._embed)
            return True
        while here.waiting:
            here.take(self._embed)
        asked = np.frombuffer(self._embed(text), dtype="<f4")
        return float((here.matrix[: len(here.ids)] @ asked).max(initial=-1.0)) >= self._least


class _Sieved:
    """Vectors of one partition, in rows that are moved when one goes."""

    def __init__(self, dimensions: int) -> None:
        self.waiting: dict[str, str] = {}
        self.ids: list[str] = []
        self._rows: dict[str, int] = {}
        self.matrix: NDArray[np.float32] = np.empty((16, dimensions), dtype=np.float32)

    def take(self, embed: Callable[[str], bytes]) -> None:
        """Make the vector of one that waits for it."""
        entry_id, text = self.waiting.popitem()
        row = len(self.ids)
        if row == len(self.matrix):
            self.matrix = np.concatenate((self.matrix, np.empty_like(self.matrix)))
        self.matrix[row] = np.frombuffer(embed(text), dtype="<f4")
        self.ids.append(entry_id)
        self._rows[entry_id] = row

    def remove(self, entry_id: str) -> None:
        """The last row takes its place."""
        if self.waiting.pop(entry_id, None) is not None:
            return
        row = self._rows.pop(entry_id, None)
        if row is None:
            return
        last = self.ids.pop()
        if last != entry_id:
            self.matrix[row] = self.matrix[len(self.ids)]
            self.ids[row] = last
            self._rows[last] = row
