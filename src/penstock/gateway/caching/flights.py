"""Identical calls in flight join one upstream call (single-flight).

Theory
------
The first call of a key *leads*: it is an ordinary call, at its own charge, and its answer is recorded. Those that come
meanwhile *follow*: each writes the same events in its own dialect, streamed or whole, from the beginning, as they come.
A flight belongs to one tenant: its key is the exact key, which no other tenant's call has.

Rules
- A follower's last events wait until the leader is settled, so that both stand in the ledger when they are read.
- A leader that hangs up is gone, and its call goes on for as long as somebody follows; without followers it is cancelled.
- What went wrong is the leader's: a follower that has had nothing yet tries again, and the first of them leads.
- Who comes after a purge does not join a call that was begun before it.
- Where an answer turns out to have sources or log probabilities, which events cannot say, whoever has had nothing of it yet
  asks for himself; whose stream has begun is told the rest without them, and his explanation says so.
- What goes wrong in telling a follower is that follower's, and ends his call alone.
"""

import asyncio
from collections.abc import Callable

from penstock.base.errors import PenstockError
from penstock.base.events import Event, Finished
from penstock.blobs.since import Since
from penstock.gateway.caching.recording import Recorded

Hear = Callable[[list[Event]], None]


class Unshared(PenstockError):
    """An answer that cannot be told to another caller whole."""


class Follower:
    """One caller that waits. ``hear`` gets events; ``over`` is None when all came, else why not. ``began``: his reply has."""

    __slots__ = ("began", "hear", "heard", "over")

    def __init__(self, hear: Hear, began: Callable[[], bool]) -> None:
        self.hear = hear
        self.began = began
        self.heard = False
        self.over: asyncio.Future[PenstockError | None] = asyncio.get_running_loop().create_future()


class Flight:
    """One upstream call, and who waits for it."""

    __slots__ = (
        "_events",
        "_open",
        "_recorded",
        "cost_nusd",
        "ended",
        "followers",
        "leader_id",
        "model",
        "on_empty",
        "on_joined",
        "provider",
        "served",
        "since",
    )

    def __init__(self, leader_id: str, since: Since) -> None:
        self.leader_id = leader_id
        self.since = since
        """When its call began."""
        self.followers: list[Follower] = []
        self._events: list[Event] = []
        self._open = False
        self._recorded: Recorded | None = None
        self.ended = False
        self.provider = ""
        self.model = ""
        self.cost_nusd: int | None = None
        """Of the leader, once it has ended."""
        self.on_joined: Callable[[], object] | None = None
        self.on_empty: Callable[[], object] | None = None
        """Called when nobody follows any more: its leader has gone."""
        self.served = 0
        """How many followers have had the answer."""

    def listen(self, recorded: Recorded) -> None:
        """The leader's next attempt has begun: what a failed one said is forgotten. None of it was told."""
        self._recorded, self._events, self._open = recorded, [], False
        self.provider, self.model = recorded.target.provider, recorded.target.model
        if self.followers:
            recorded.follow(self._hear)

    @property
    def sources(self) -> bool:
        """There is more in the answer than followers can be told."""
        return self._recorded is not None and self._recorded.sources

    def join(self, hear: Hear, began: Callable[[], bool]) -> Follower | None:
        """One more who waits; what came so far is told at once. None: it cannot be joined any more."""
        if self.ended:
            return None
        first = not self.followers and not self._events
        if first and self._recorded is not None and not self._recorded.follow(self._hear):
            return None
        if self.sources:
            return None
        follower = Follower(hear, began)
        self.followers.append(follower)
        if self.on_joined is not None:
            self.on_joined()
        if self._open:
            self._tell(follower, self._events)
        return follower

    def leave(self, follower: Follower) -> None:
        """It waits no more."""
        if follower in self.followers:
            self.followers.remove(follower)
        if not self.followers and not self.ended and self.on_empty is not None:
            self.on_empty()

    def end(self, error: PenstockError | None, cost_nusd: int | None = None) -> None:
        """The leader is settled: the rest leaves, or what went wrong."""
        if self.ended:
            return
        self.ended, self.cost_nusd = True, cost_nusd
        broken = self._recorded is None or self._recorded.broken
        whole = error is None and not broken and bool(self._events) and isinstance(self._events[-1], Finished)
        for follower in list(self.followers):
            if whole and self.sources and not follower.began():
                self._refuse(follower)
            elif whole:
                self.served += 1
                if not follower.over.done():
                    follower.over.set_result(None)
            elif not follower.over.done():
                follower.over.set_result(
                    error or PenstockError("The call that this one had joined broke off.")
                )

    def _refuse(self, follower: Follower) -> None:
        if not follower.over.done():
            follower.over.set_result(Unshared("its answer has sources or log probabilities"))

    def _hear(self, events: list[Event]) -> None:
        if self.sources:
            for follower in list(self.followers):
                if not follower.began():
                    self.followers.remove(follower)
                    self._refuse(follower)
        before = len(self._events)
        self._events += events
        if not self._open:
            # Before there is content, or a verdict on it, the leader may still go elsewhere.
            seen = self._recorded is not None and self._recorded.content_seen
            if not seen and not isinstance(events[-1], Finished):
                return
            self._open, before = True, 0
        new = self._events[before:]
        for follower in list(self.followers):
            self._tell(follower, new)

    def _tell(self, follower: Follower, events: list[Event]) -> None:
        follower.heard = True
        try:
            follower.hear(events)
        except Exception as error:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
            self.followers.remove(follower)
            if not follower.over.done():
                follower.over.set_exception(error)


class Flights:
    """The flights of one process, by exact key."""

    __slots__ = ("_by_key", "behind", "most_followers")

    def __init__(self, most_followers: int) -> None:
        self._by_key: dict[bytes, Flight] = {}
        self.most_followers = most_followers
        self.behind: set[asyncio.Task[None]] = set()
        """What is done with answers after they have left."""

    def find(self, key: bytes) -> Flight | None:
        """The one that may be joined."""
        flight = self._by_key.get(key)
        if flight is None or flight.ended or flight.sources or len(flight.followers) >= self.most_followers:
            return None
        return flight

    def lead(self, key: bytes, leader_id: str, since: Since) -> Flight | None:
        """A new one; None where there is one already, which has no room."""
        if key in self._by_key:
            return None
        flight = self._by_key[key] = Flight(leader_id, since)
        return flight

    def over(self, key: bytes, flight: Flight) -> None:
        """It is to be joined no more."""
        if self._by_key.get(key) is flight:
            del self._by_key[key]
