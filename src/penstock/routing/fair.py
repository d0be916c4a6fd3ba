"""Who goes next when the upstream is the bottleneck: fair between virtual keys, interactive before batch.

Theory
------
Deficit round robin (Shreedhar and Varghese, 1995): keys with waiting calls stand in a ring. Each turn adds ``quantum``
tokens to a key's deficit; its calls leave as long as the deficit pays for them. So keys get equal tokens over time,
whatever the sizes of their calls, for O(1) a call; two keys that wait never differ by more than two quanta and two of
the largest calls.

Rules
- Priority classes share by weight, in the same way: an interactive turn is worth ``interactive_share`` batch turns in
  tokens. Batch gets the rest of a busy upstream, and so never starves; all of it when nothing interactive waits.
- A key that has nothing waiting loses its deficit: nobody saves up for a burst.
- The queue is bounded, as a whole and for each key; what does not fit is refused at once, not kept waiting for nothing.
"""

from collections import deque
from typing import Generic, Literal, TypeVar

from msgspec import Struct

from penstock.base.decisions import Rejected

T = TypeVar("T")
Priority = Literal["interactive", "batch"]


class Waiting(Struct, Generic[T], eq=False):
    """One call in the queue; itself is its name."""

    item: T
    key: str
    priority: Priority
    tokens: int


class _Line(Struct, Generic[T]):
    """One key's calls, and the tokens that they may still use in this turn."""

    calls: deque[Waiting[T]]
    deficit: int


class _Ring(Generic[T]):
    """Deficit round robin over the keys of one class. The head of ``_turn`` has had its quantum."""

    __slots__ = ("_lines", "_quantum", "_turn")

    def __init__(self, quantum: int) -> None:
        self._lines: dict[str, _Line[T]] = {}
        self._turn: deque[str] = deque()
        self._quantum = quantum

    def add(self, one: Waiting[T]) -> None:
        line = self._lines.get(one.key)
        if line is None:
            line = self._lines[one.key] = _Line(deque(), 0 if self._turn else self._quantum)
            self._turn.append(one.key)
        line.calls.append(one)

    def peek(self) -> Waiting[T] | None:
        """The call whose turn it is: turns pass until one key's deficit pays for its first call."""
        passed = 0
        while self._turn:
            line = self._lines[self._turn[0]]
            if line.calls[0].tokens <= line.deficit:
                return line.calls[0]
            if passed >= len(self._turn):
                self._jump()
                passed = 0
            self._turn.rotate(-1)
            self._lines[self._turn[0]].deficit += self._quantum
            passed += 1
        return None

    def take(self, one: Waiting[T]) -> None:
        """Remove what ``peek`` gave, and pay for it."""
        line = self._lines[one.key]
        line.deficit -= one.tokens
        self.drop(one)

    def drop(self, one: Waiting[T]) -> None:
        """Remove a call without payment; a key with none left leaves the ring, and its deficit is lost."""
        line = self._lines[one.key]
        line.calls.remove(one)
        if line.calls:
            return
        del self._lines[one.key]
        was_head = self._turn[0] == one.key
        self._turn.remove(one.key)
        if was_head and self._turn:
            self._lines[self._turn[0]].deficit += self._quantum

    def _jump(self) -> None:
        """Nobody could pay in a whole round: all rounds but one that the nearest key lacks, for every key at once."""
        lines = self._lines.values()
        rounds = min((line.calls[0].tokens - line.deficit - 1) // self._quantum for line in lines)
        for line in lines:
            line.deficit += max(0, rounds) * self._quantum


class FairQueue(Generic[T]):
    """Calls that wait for the upstream. ``offer`` puts in or refuses; ``next`` takes out."""

    __slots__ = ("_batch", "_credit", "_interactive", "_live", "_most", "_most_a_key", "_share", "_waiting")

    def __init__(
        self, most: int, *, most_a_key: int | None = None, quantum: int = 1000, interactive_share: int = 9
    ) -> None:
        if quantum < 1:
            raise ValueError("A quantum is at least 1.")
        self._interactive: _Ring[T] = _Ring(quantum)
        self._batch: _Ring[T] = _Ring(quantum)
        self.resize(most, most_a_key=most_a_key, interactive_share=interactive_share)
        self._credit = 0
        """Tokens that batch is owed, times ``interactive_share``."""
        self._live: dict[str, int] = {}
        self._waiting = 0

    def resize(self, most: int, *, most_a_key: int | None = None, interactive_share: int = 9) -> None:
        """Other numbers from now on. Who waits already goes on waiting, also where fewer may."""
        if most < 1 or interactive_share < 1 or (most_a_key is not None and most_a_key < 1):
            raise ValueError("A queue's size and share are at least 1.")
        self._most = most
        self._most_a_key = most if most_a_key is None else most_a_key
        self._share = interactive_share

    def __len__(self) -> int:
        return self._waiting

    def offer(
        self, item: T, key: str, tokens: int, priority: Priority = "interactive"
    ) -> Waiting[T] | Rejected:
        """Wait in line with an estimate of ``tokens`` (at least 1), or hear at once that there is no room."""
        mine = self._live.get(key, 0)
        if self._waiting >= self._most or mine >= self._most_a_key:
            whose = (
                f"{self._waiting} calls wait"
                if self._waiting >= self._most
                else f"{mine} calls of this key wait"
            )
            return Rejected("queue-full", f"{whose} already, as many as may.", retry_after_s=1.0)
        one = Waiting(item, key, priority, max(1, tokens))
        (self._interactive if priority == "interactive" else self._batch).add(one)
        self._live[key] = mine + 1
        self._waiting += 1
        return one

    def next(self) -> Waiting[T] | None:
        """The call that may go now; None: nobody waits."""
        quick, slow = self._interactive.peek(), self._batch.peek()
        if quick is not None and (slow is None or slow.tokens * self._share > self._credit):
            self._interactive.take(quick)
            self._credit = self._credit + quick.tokens if slow is not None else 0
            self._forget(quick)
            return quick
        if slow is not None:
            self._batch.take(slow)
            self._credit = self._credit - slow.tokens * self._share if quick is not None else 0
            self._forget(slow)
        return slow

    def leave(self, one: Waiting[T]) -> None:
        """Its caller hung up. Only for a call that waits: ``next`` has not given it."""
        (self._interactive if one.priority == "interactive" else self._batch).drop(one)
        self._forget(one)

    def _forget(self, one: Waiting[T]) -> None:
        self._waiting -= 1
        left = self._live[one.key] - 1
        if left:
            self._live[one.key] = left
        else:
            del self._live[one.key]
