"""Whether to ask static vectors before a text is embedded: where nearly every text has something near it, they cost more than they
spare (a tenth of an embedding each time, and hits pay it too)."""

import time
from typing import Protocol

SIEVED_ANYWAY = 8
"""One look in so many asks them in any case, so that a change is seen."""
_LATELY = 0.1


class Sieving(Protocol):
    """Static vectors of what is kept (cache.semantic.sieve)."""

    def passes(self, partition: bytes, text: str) -> bool:
        """Something here may be near."""
        ...

    def insert(self, partition: bytes, entry_id: str, text: str) -> None:
        """One more."""
        ...

    def remove(self, entry_id: str) -> None:
        """One less."""
        ...


class Paying:
    """Of one tier, in its thread."""

    __slots__ = ("_past", "_spared", "_takes_s")

    def __init__(self) -> None:
        self._takes_s, self._spared, self._past = 0.0, 0.5, 0
        """How long they take, lately; of what share they spared the embedding; looks past them since they were asked last."""

    def near(self, sieve: Sieving, partition: bytes, text: str, embedding_s: float) -> bool:
        """What they say, or True without asking. ``embedding_s``: what they would spare."""
        self._past += 1
        if self._spared * embedding_s < self._takes_s and self._past < SIEVED_ANYWAY:
            return True
        self._past = 0
        began_s = time.monotonic()
        near = sieve.passes(partition, text)
        self._takes_s += _LATELY * (time.monotonic() - began_s - self._takes_s)
        self._spared += _LATELY * ((not near) - self._spared)
        return near
