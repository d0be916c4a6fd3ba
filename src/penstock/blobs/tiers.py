"""The tiers as one: this process's memory, and behind it SQLite, Redis, both or neither.

Theory
------
Memory answers at once, on the event loop (``near``). The far stores are read in a thread of their own with a deadline
(``find``), and written behind by another (``behind``). What is found there is kept in memory too, unless it was dropped or
overwritten while it was being read.

Rules
- No failure of a store reaches who asks: it is a miss, counted in ``faults`` and said once.
- Whoever subscribes is told from any thread of each blob that is no longer what it was: dropped, purged, overwritten (or
  possibly so: with far stores each put tells), or evicted from the last tier that keeps things: the file where there is one,
  memory where it is alone. To be told of a key that one does not know is no fault.
- Purged is purged, and what was begun before a purge is not kept after it (``since``): here when ``purge`` is called, in the other processes of this machine about a second later, in other nodes at
  once if Redis answers. A far store that does not answer is told when it does (``owed``); until then this process finds nothing
  there that was purged.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Unpack

from penstock.blobs.behind import POLL_S, Behind
from penstock.blobs.blob import Blob, Gone, Place, Stats, StoreFault, Words
from penstock.blobs.far import Change, Drop, FarStore, Heard, Op, Purge, Remember, Which
from penstock.blobs.finding import Finder
from penstock.blobs.gdsf import Limits
from penstock.blobs.guard import Guarded, Say, first_of
from penstock.blobs.memory import MemoryBlobs
from penstock.blobs.since import Dropped, Since

SECRET_BYTES = 32
_PATIENT: Mapping[str, float] = MappingProxyType({})
News = Callable[[Blob], object]
OpenFar = Callable[[Heard], FarStore]


class Blobs:
    """All tiers. ``near``, ``put`` and ``find`` belong to the event loop; ``near`` and ``put`` may be asked from any thread."""

    def __init__(
        self,
        limits: Limits,
        far: Sequence[tuple[str, OpenFar]] = (),
        *,
        now_ms: Callable[[], int],
        say: Say | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        max_waiting: int = 10_000,
        max_waiting_bytes: int = 64 * 1024 * 1024,
        poll_s: float = POLL_S,
        slow_s: Mapping[str, float] = _PATIENT,
    ) -> None:
        """``far``: names of stores and how they are opened, the nearest first. ``slow_s``: of which from when on an answer is
        slow (``guard``)."""
        self._now_ms = now_ms
        self._subscribers: list[Gone] = []
        self._readers_of_news: list[News] = []
        self._memory = MemoryBlobs(limits, gone=self._gone, evicted=self._evicted)
        self.near = self._memory.get
        """What memory has; about a microsecond."""
        self._far = [
            Guarded(
                name,
                partial(opened, partial(self._heard, at)),
                say=say,
                monotonic_s=monotonic_s,
                slow_s=slow_s.get(name),
            )
            for at, (name, opened) in enumerate(far)
        ]
        self.stores = max(1, len(self._far))
        """How many there are to ``scan``: what other nodes wrote before this one began lies in the furthest alone."""
        self._behind = Behind(
            self._far,
            max_blobs=max_waiting,
            max_bytes=max_waiting_bytes,
            poll_s=poll_s,
        )
        self._finder = Finder(self._far, hides=self._behind.hides, keep=self._memory.promote)
        self._behind.settled = self._finder.settled
        self.left_alone = self._finder.left_alone
        """Why something may not have been found that is there; None: all stores are asked."""
        self.dropped = Dropped(lambda: tuple([one.mark for one in self._far]), monotonic_s)
        """What was dropped lately, and moments for what is begun now and put later."""
        self._secret = b""

    async def open(self) -> None:
        """Open the far stores, and agree on the root secret. One that does not open is a store that fails: no error."""
        self._secret = await self._finder.do(lambda: agree(self._far))
        if self._far:
            self._behind.start()

    def secret(self) -> bytes:
        """32 random bytes, the same for all who share the furthest store; where it fails, of this process alone."""
        if not self._secret:
            self._secret = secrets.token_bytes(SECRET_BYTES)
        return self._secret

    def put(self, blob: Blob, since: Since | None = None) -> bool:
        """In memory now, in the far stores soon. ``since``: when its making began. False: it was dropped meanwhile, and is not
        kept."""
        with self.dropped.turns:
            if since is not None and self.dropped.meant(since, blob):
                return False
            if self._far:
                self._finder.forget(blob.place, blob.key)
                self._gone(blob.place, blob.key)
            self._memory.put(blob)
            if self._far:
                self._behind.put(blob, None if since is None else since.marks)
        return True

    async def find(self, place: Place, key: bytes, now_ms: int, *, within_s: float) -> Blob | None:
        """What any tier has. Too late, or with a fault: None, and counted."""
        blob = self.near(place, key, now_ms)
        if blob is not None or not self._far:
            return blob
        waiting = self._behind.waiting(place, key)
        if waiting is not None:
            return waiting if waiting.expires_ms > now_ms else None
        blob = await self._finder.find(place, key, now_ms, within_s=within_s)
        return self.near(place, key, now_ms) if blob is None else blob

    async def drop(self, place: Place, key: bytes) -> bool:
        """Whether it was there, in any tier."""
        op = Drop(place, key)
        self.dropped.note(op)
        self._finder.forget(place, key)
        here = self._memory.drop(place, key)
        if not self._far:
            return here
        if not here:
            self._gone(place, key)
        waited, _, far = self._behind.drop(op)
        return bool(await asyncio.wrap_future(far) or here or waited)

    async def purge(self, **words: Unpack[Words]) -> int:
        """Drop all that matches every given word exactly; how many."""
        op = Purge(Which(**words))
        self.dropped.note(op)
        self._finder.forget()
        here = self._memory.purge_all(op.which)
        if not self._far:
            return here
        waited, unwritten, far = self._behind.drop(op)
        for place, key in unwritten:  # no store has had it, and so none will tell
            self._gone(place, key)
        return max(here, await asyncio.wrap_future(far) + waited)

    async def scan(self, kind: str, after_seq: int, limit: int, *, store: int | None = None) -> list[Blob]:
        """Living blobs that have an ``about``, in order of ``seq``, without their values: of the nearest store that answers, or of
        ``store``."""
        if not self._far:
            return self._memory.scan(kind, after_seq, limit, self._now_ms())
        far = self._far if store is None else self._far[store : store + 1]
        found = await self._finder.do(lambda: scanned(far, kind, after_seq, limit, self._now_ms()))
        return [blob for blob in found if not self._behind.hides(blob)]

    async def flush(self) -> None:
        """Wait until what was put is in the far stores, as far as they take it."""
        if self._far:
            await asyncio.wrap_future(self._behind.flush())

    def stats(self) -> list[Stats]:
        """Of each tier; of the far ones as of a second ago."""
        return [self._memory.stats(), *(one.stats for one in self._far)]

    @property
    def faults(self) -> int:
        """How often a far store did not answer, or not in time."""
        return self._finder.late + sum(one.faults for one in self._far)

    @property
    def unwritten(self) -> int:
        """Blobs that were not written to the far stores, because too many waited."""
        return self._behind.unwritten

    @property
    def owed(self) -> int:
        """Drops and purges that a far store has not heard of yet, because it does not answer."""
        return self._behind.owed

    def subscribe(self, gone: Gone) -> None:
        """Be told of what is gone; see above."""
        self._subscribers.append(gone)

    def news(self, callback: News) -> None:
        """Be told of blobs with ``about`` that another process or node wrote, without their values; from another thread."""
        self._readers_of_news.append(callback)

    async def aclose(self) -> None:
        """Write what is to be written, for a few seconds at most, and let go."""
        await asyncio.to_thread(self._close)

    def _gone(self, place: Place, key: bytes) -> None:
        for told in self._subscribers:
            told(place, key)

    def _evicted(self, blob: Blob, uses: int) -> None:
        if not self._far:
            self._gone(blob.place, blob.key)
        elif uses:
            self._behind.used(blob.place, blob.key, uses)

    def _heard(self, at: int, changes: Sequence[Change]) -> None:
        """From the stores' threads: what others did, and what went for room. What the second store says the first must hear."""
        for change in changes:
            op = _dropped(change)
            if op is not None:
                self.dropped.note(op)
        relayed = list(filter(None, map(_relayed, changes))) if at else []
        if relayed:
            self._behind.relay(relayed, at)
        for change in changes:
            if change.what == "evict":
                self._gone(change.place, change.key)
            elif change.what in ("purge", "lost"):
                self._finder.forget()
                self._memory.purge_all(change.which or Which())
            elif change.what != "heard":
                self._finder.forget(change.place, change.key)
                if not self._memory.drop(change.place, change.key):
                    self._gone(change.place, change.key)
            if change.blob is not None and change.blob.about:
                for told in self._readers_of_news:
                    told(change.blob)

    def _close(self) -> None:
        for place, key, uses in self._memory.uses() if self._far else ():
            self._behind.used(place, key, uses)
        self._behind.close()
        self._finder.close()
        for one in self._far:
            try:
                one.close()
            except StoreFault:
                continue  # what could not be written is lost: a cache may forget
        self._memory.close()


def _dropped(change: Change) -> Drop | Purge | None:
    """What others took away."""
    if change.what in ("purge", "lost"):
        return Purge(change.which or Which())
    return Drop(change.place, change.key) if change.what == "drop" else None


def _relayed(change: Change) -> Op | None:
    """What a file must do that other nodes do not see."""
    match change.what:
        case "put":
            return None if change.same_node else Drop(change.place, change.key, if_there=True)
        case "drop":
            return Drop(change.place, change.key, if_there=True)
        case "purge" | "lost":
            return Purge(change.which or Which())
        case "heard":
            return Remember(change.key)
        case _:
            return None


def agree(far: Sequence[Guarded]) -> bytes:
    """One root secret: each store is offered the nearer one's; then the nearer ones learn the furthest's."""
    agreed = secrets.token_bytes(SECRET_BYTES)
    for instead, order in ((False, far), (True, far[-2::-1])):
        for one in order:
            try:
                agreed = one.do(lambda store, offer=agreed, force=instead: store.secret(offer, instead=force))
            except StoreFault:
                continue  # the guard has counted it, and said so
    return agreed


def scanned(far: Sequence[Guarded], kind: str, after_seq: int, limit: int, now_ms: int) -> list[Blob]:
    """Of the first store that answers."""
    return first_of(far, lambda store: store.scan(kind, after_seq, limit, now_ms)) or []
