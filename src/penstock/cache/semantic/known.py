"""Vectors that were made before, by partition and text: who asks the same again costs no second embedding.

Theory
A built-in embedder takes milliseconds of a core, a provider's one a remote call that is paid for; to look a text up takes
a microsecond. A text has one vector for as long as the embedder is the same (its build's id), so nothing here
expires: what was used longest ago goes first.

Rule: a partition sees its own alone. The vector would be the same, but how soon it is there would tell one tenant what
another has asked.
"""

import threading

MOST_KNOWN = 4_096
"""Of 384 numbers each: 6 MiB and the texts themselves."""
MOST_CHARACTERS = 2_000
"""A longer text is rarely asked twice, and would take the room of many."""


class KnownVectors:
    """Of one embedder; a loop and a thread share it."""

    __slots__ = ("_lock", "_most", "_vectors")

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._most = most
        self._vectors: dict[tuple[bytes, str], bytes] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many are known."""
        return len(self._vectors)

    def find(self, partition: bytes, text: str) -> bytes:
        """float32 little-endian, unit length; empty: not known. It counts as used now."""
        key = (partition, text)
        with self._lock:
            vector = self._vectors.pop(key, b"")
            if vector:
                self._vectors[key] = vector
        return vector

    def keep(self, partition: bytes, text: str, vector: bytes) -> None:
        """The text has this vector."""
        if not vector or len(text) > MOST_CHARACTERS:
            return
        key = (partition, text)
        with self._lock:
            self._vectors.pop(key, None)
            self._vectors[key] = vector
            if len(self._vectors) > self._most:
                del self._vectors[next(iter(self._vectors))]
