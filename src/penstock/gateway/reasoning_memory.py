"""What gateway.reasoning has kept lately: bounded, so that the common look-up asks no database."""

import asyncio
from collections import OrderedDict

from msgspec import Struct

from penstock.base.chat import Thinking

MOST_TURNS = 4096
MOST_CHARS = 64 * 1024 * 1024
UNKNOWN_S = 60.0
"""So long a call that the database does not know is not asked for again: another process may have just made it."""


class Kept(Struct, frozen=True):
    """The thoughts of one reply, and its calls' names by their ids. ``format`` is its maker's."""

    format: str
    calls: dict[str, str]
    thoughts: tuple[Thinking, ...]

    @property
    def chars(self) -> int:
        """How much room it takes."""
        return sum(len(one.text) + len(one.signature) + len(one.redacted) for one in self.thoughts)


class ReasoningMemory:
    """What was kept lately, by owner and call id; the oldest is forgotten first. Outlives a reload."""

    __slots__ = ("_chars", "_kept", "_tasks", "_unknown")

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], tuple[float, Kept]] = OrderedDict()
        self._unknown: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._chars = 0

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, owner: str, kept: Kept, expires_s: float) -> None:
        """Under each of its calls."""
        for call_id in kept.calls:
            self._drop((owner, call_id))
            self._kept[owner, call_id] = (expires_s, kept)
            self._chars += kept.chars
        while self._kept and (len(self._kept) > MOST_TURNS or self._chars > MOST_CHARS):
            self._drop(next(iter(self._kept)))

    def get(self, owner: str, call_id: str, now_s: float) -> Kept | None:
        """None: never seen, forgotten, or expired."""
        found = self._kept.get((owner, call_id))
        if found is None:
            return None
        if found[0] <= now_s:
            self._drop((owner, call_id))
            return None
        self._kept.move_to_end((owner, call_id))
        return found[1]

    def is_unknown(self, owner: str, call_id: str, now_s: float) -> bool:
        """The database was asked for it in vain a moment ago."""
        return self._unknown.get((owner, call_id), 0.0) > now_s

    def unknown(self, owner: str, call_id: str, now_s: float) -> None:
        """The database does not know it."""
        self._unknown[owner, call_id] = now_s + UNKNOWN_S
        if len(self._unknown) > MOST_TURNS:
            self._unknown.popitem(last=False)

    def beside(self, task: "asyncio.Task[None]") -> None:
        """Hold on to what is being written."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _drop(self, key: tuple[str, str]) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._chars -= found[1].chars
