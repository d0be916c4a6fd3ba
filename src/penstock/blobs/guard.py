"""A far store behind a breaker: one that fails is left alone for a while, so that it costs nothing.

Rules
- After a fault it is not asked for ``RETRY_S``, twice as long after each further one, at most ``MOST_RETRY_S``.
- One that answers, but slowly, costs each look-up that long. After ``SLOW_IN_A_ROW`` slow answers it is not read for
  ``PAUSE_S``, twice as long where the first answer after that is slow, too, at most ``MOST_PAUSE_S``. What is written and dropped
  goes on: nobody waits for it.
- It is opened when it is first asked: a store that cannot be opened is one that fails.
- A fault is said once in words that hold no secret (``say``), and again when the words change.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from penstock.base.decisions import Rejected
from penstock.blobs.blob import Stats, StoreFault
from penstock.blobs.far import FarStore

RETRY_S = 1.0
MOST_RETRY_S = 30.0
SLOW_S = 0.025
"""Half of what a look-up waits at most (gateway.caching.finding): from here on it is hardly worth its time."""
SLOW_IN_A_ROW = 5
PAUSE_S = 5.0
MOST_PAUSE_S = 60.0
T = TypeVar("T")
Say = Callable[[str, str], object]
"""A key and a sentence, for the operator's log (``OperatorLog.once``); from any thread."""


class Guarded:
    """One far store. Any thread may ask."""

    def __init__(
        self,
        name: str,
        open_store: Callable[[], FarStore],
        *,
        say: Say | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        slow_s: float | None = None,
    ) -> None:
        """``slow_s``: from when on an answer is slow; None: no such patience."""
        self.name = name
        self.passed_over = 0
        """Reads that were not made, because its answers were slow."""
        self._slow_s = slow_s
        self._slow = 0
        """Slow answers in a row."""
        self._pause_s = PAUSE_S
        self._paused_until_s = 0.0
        self.faults = 0
        self.fault: str | None = None
        """Why it does not serve, until it does."""
        self.stats = Stats(name, 0, 0)
        """As last seen."""
        self._open_store = open_store
        self._say = say
        self._monotonic_s = monotonic_s
        self._store: FarStore | None = None
        self._opening = threading.Lock()
        self._retry_at_s = 0.0
        self._retry_s = RETRY_S
        self._closed = False

    @property
    def mark(self) -> int:
        """How far the store has heard of what others drop; 0 before it is open."""
        return 0 if self._store is None else self._store.mark

    def do(self, question: Callable[[FarStore], T]) -> T:
        """Ask. Raises StoreFault, at once while it is left alone."""
        if self.fault is not None and self._monotonic_s() < self._retry_at_s:
            raise StoreFault(self.fault)
        try:
            answer = question(self._opened())
        except StoreFault as fault:
            self._failed(str(fault))
            raise
        if self.fault is not None:
            self.fault, self._retry_s = None, RETRY_S
        return answer

    def read(self, question: Callable[[FarStore], T]) -> T:
        """The same for who waits. Raises StoreFault, at once while it is left alone."""
        slow_s, began_s = self._slow_s, self._monotonic_s()
        if slow_s is None:
            return self.do(question)
        if began_s < self._paused_until_s:
            self.passed_over += 1
            raise StoreFault(self._slowness())
        answer = self.do(question)
        took_s = self._monotonic_s() - began_s
        self._slow = self._slow + 1 if took_s >= slow_s else 0
        if not self._slow:
            self._pause_s = PAUSE_S
        elif self._slow >= SLOW_IN_A_ROW:
            self._paused_until_s = began_s + took_s + self._pause_s
            if self._say is not None:
                self._say(
                    f"cache.{self.name}.slow",
                    f"{self._slowness()} What would be found there is a miss meanwhile.",
                )
            self._pause_s = min(MOST_PAUSE_S, 2 * self._pause_s)
        return answer

    def left_alone(self) -> Rejected | None:
        """Why it is not read now; None: it is."""
        now_s = self._monotonic_s()
        if now_s < self._paused_until_s:
            return Rejected("store-slow", self._slowness())
        if self.fault is not None and now_s < self._retry_at_s:
            return Rejected(
                "store-away", f"The cache's store {self.name} does not serve, and is left alone for a while."
            )
        return None

    def _slowness(self) -> str:
        return (
            f"The cache's store {self.name} took {1000 * (self._slow_s or 0):.0f} ms or more {self._slow} times in a row, and "
            "is not read for a while."
        )

    def look(self) -> None:
        """Bring ``stats`` up to date."""
        self.stats = self.do(lambda store: store.stats())

    def close(self) -> None:
        """Let go. Raises StoreFault where something could not be written."""
        with self._opening:
            store, self._store, self._closed = self._store, None, True
        if store is not None:
            store.close()

    def _opened(self) -> FarStore:
        store = self._store
        if store is None:
            with self._opening:
                store = self._store
                if self._closed:
                    raise StoreFault(f"The cache's store {self.name} is closed.")
                if store is None:
                    store = self._store = self._open_store()
        return store

    def _failed(self, words: str) -> None:
        self.faults += 1
        if self.fault != words and self._say is not None:
            self._say(
                f"cache.{self.name}", f"{words} Until that is mended, what would be found there is a miss."
            )
        self.fault = words
        self._retry_at_s = self._monotonic_s() + self._retry_s
        self._retry_s = min(MOST_RETRY_S, 2 * self._retry_s)


def first_of(far: Sequence[Guarded], question: Callable[[FarStore], T]) -> T | None:
    """What the first store that answers says; None: none does."""
    for one in far:
        try:
            return one.do(question)
        except StoreFault:
            continue  # the guard has counted it, and said so
    return None


def each_of(far: Sequence[Guarded], work: Callable[[FarStore], T]) -> list[T]:
    """What those say that answer; all are asked."""
    done: list[T] = []
    for one in far:
        try:
            done.append(one.do(work))
        except StoreFault:
            continue  # the guard has counted it, and said so
    return done
