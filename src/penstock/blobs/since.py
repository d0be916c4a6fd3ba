"""What was dropped lately, so that nothing that was begun before a purge is kept after it.

Theory
------
An answer is made for seconds, and put when it is there. Whoever purges meanwhile means it, too: it was made of what had to go.
So a moment is taken where the making begins (``Since``): how many drops and purges this process knew of, its own and those that
it has heard of, and how far each far store had heard. A put that comes with it is refused here if something that means the
blob was noted later; and where nothing has been heard yet, by the store, which is given the old mark (``far``).

Rules
- Only so many notes are kept. Older than the oldest of them, or than ``MOST_S``, is too old: not kept, which is a miss.
- Notes and puts take turns under one lock (``tiers``): between the question and the put nothing can be dropped.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from penstock.blobs.blob import Blob, Place
from penstock.blobs.far import Drop, Purge

MOST_NOTES = 4_096
MOST_S = 1_800.0
"""The file knows of an hour (sqlite_rows.GONE_KEPT_MS)."""


class Since(Struct, frozen=True):
    """A moment. ``number``: of the notes until then; ``marks``: of the far stores, the nearest first."""

    number: int
    marks: tuple[int, ...]
    at_s: float


class Dropped:
    """The notes of one process. Any thread may ask."""

    __slots__ = ("_marks", "_monotonic_s", "_most_s", "_notes", "number", "turns")

    def __init__(
        self,
        marks: Callable[[], tuple[int, ...]] = tuple,
        monotonic_s: Callable[[], float] = time.monotonic,
        most_s: float = MOST_S,
    ) -> None:
        """``marks``: of the far stores, now."""
        self.number = 0
        self.turns = threading.RLock()
        """Of puts and of notes: whoever puts holds it from his question on."""
        self._notes: deque[tuple[int, Drop | Purge]] = deque(maxlen=MOST_NOTES)
        self._marks = marks
        self._monotonic_s = monotonic_s
        self._most_s = most_s

    def since(self) -> Since:
        """This moment, for what is begun now and put later."""
        with self.turns:
            return Since(self.number, self._marks(), self._monotonic_s())

    def note(self, op: Drop | Purge) -> None:
        """It was dropped, here or by another process."""
        with self.turns:
            self.number += 1
            self._notes.append((self.number, op))

    def meant(self, since: Since, blob: Blob) -> bool:
        """Whether what was begun then, and is this blob now, has been dropped meanwhile; or may have been."""
        return self._any(since, lambda op: _means(op, blob))

    def touched(self, since: Since, place: Place, key: bytes) -> bool:
        """The same of a blob whose tags are not known yet: a purge by tag may mean it."""
        return self._any(since, lambda op: _may_mean(op, place, key))

    def _any(self, since: Since, means: Callable[[Drop | Purge], bool]) -> bool:
        with self.turns:
            if self._monotonic_s() - since.at_s > self._most_s:
                return True
            if self.number == since.number:
                return False
            if self._notes[0][0] > since.number + 1:
                return True
            return any(means(op) for number, op in self._notes if number > since.number)


def _means(op: Drop | Purge, blob: Blob) -> bool:
    if isinstance(op, Purge):
        return op.which.blob(blob)
    return (op.place, op.key) == (blob.place, blob.key)


def _may_mean(op: Drop | Purge, place: Place, key: bytes) -> bool:
    if isinstance(op, Purge):
        return op.which.place(place)
    return (op.place, op.key) == (place, key)
