"""What a tier outside of this process must offer, so that several processes may share it.

Theory
------
What is written comes late: it has waited in a queue. So each ``Put`` carries the store's mark at the time it was asked for,
that is how far this process had then heard of what others drop. A write that others have dropped since is not done: a purge
is never undone by something older. It may be that something newer is not kept, too: to a cache that is a miss.

What others do is told as ``Change``: at once or within about a second.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, Unpack

from msgspec import Struct

from penstock.blobs.blob import Blob, BlobStore, Place, Words

NOWHERE = Place("")
NOW = 2**63 - 1
"""The mark of a put that does not come late."""


class Which(Struct, frozen=True):
    """Words that a purge matches exactly; None: whatever it is."""

    kind: str | None = None
    tenant: str | None = None
    namespace: str | None = None
    tag: str | None = None

    def place(self, place: Place) -> bool:
        """Whether blobs there are meant."""
        return (
            self.kind in (None, place.kind)
            and self.tenant in (None, place.tenant)
            and self.namespace in (None, place.namespace)
        )

    def blob(self, blob: Blob) -> bool:
        """Whether this one is meant."""
        return (self.tag is None or self.tag in blob.tags) and self.place(blob.place)


class Put(Struct, frozen=True):
    """Keep it. ``mark`` is the store's, when this was asked for."""

    blob: Blob
    mark: int


class Drop(Struct, frozen=True):
    """Drop one. ``if_there``: others need to hear of it only if it was there."""

    place: Place
    key: bytes
    if_there: bool = False


class Purge(Struct, frozen=True):
    """Drop all that are meant."""

    which: Which


class Used(Struct, frozen=True):
    """One was of use so many times, elsewhere."""

    place: Place
    key: bytes
    times: int


class Remember(Struct, frozen=True):
    """How far this node has heard of what others do, after the operations before it."""

    position: bytes


Op = Put | Drop | Purge | Used | Remember


class Change(Struct, frozen=True):
    """What became of blobs, as a store tells it.

    "put": another process wrote ``blob`` (without its value); ``same_node``: one that shares our file. "drop": another dropped it.
    "purge": another dropped all of ``which``. "evict": this process did, for room or as part of a purge. "lost": more was missed
    than can be told; nothing held here may be relied on. "heard": that is all up to the position in ``key``.
    """

    what: Literal["put", "drop", "evict", "purge", "lost", "heard"]
    place: Place = NOWHERE
    key: bytes = b""
    blob: Blob | None = None
    which: Which | None = None
    same_node: bool = False


class Purging:
    """A store that purges: told in words, or in one object of them."""

    def purge_all(self, which: Which) -> int:
        """Drop all that is meant; how many."""
        raise NotImplementedError

    def purge(self, **words: Unpack[Words]) -> int:
        """Drop all that matches every given word exactly; how many."""
        return self.purge_all(Which(**words))


class Writing(Purging):
    """A store whose every change is a ``write``."""

    def write(self, ops: Sequence[Op]) -> list[int]:
        """All of it, in order; of each how many blobs it concerned."""
        raise NotImplementedError

    def put(self, blob: Blob) -> None:
        """Keep it, in place of what had its key."""
        self.write([Put(blob, NOW)])

    def drop(self, place: Place, key: bytes) -> bool:
        """Whether it was there."""
        return self.write([Drop(place, key)])[0] > 0

    def purge_all(self, which: Which) -> int:
        """Drop all that is meant; how many."""
        return self.write([Purge(which)])[0]


Heard = Callable[[Sequence[Change]], None]
"""From any thread."""


class FarStore(BlobStore, Protocol):
    """SQLite or Redis. Any thread may ask; whoever reads does not wait for who writes. Raises StoreFault."""

    name: str
    mark: int
    """How far it has heard of what others drop."""

    def write(self, ops: Sequence[Op]) -> list[int]:
        """All of it, in order; of each how many blobs it concerned. Raises StoreFault where none of it is done."""
        ...

    def poll(self) -> None:
        """Hear what others did, and put the house in order; about once a second."""
        ...

    def secret(self, offer: bytes, *, instead: bool = False) -> bytes:
        """The one that is kept there, which is ``offer`` where there was none (or ``instead`` of what there was)."""
        ...


def lawful(place: Place, *words: str) -> bool:
    """Whether these words can be written as UTF-8: no half of a surrogate pair."""
    try:
        "".join((place.kind, place.tenant, place.namespace, *words)).encode()
    except UnicodeEncodeError:
        return False
    return True


def storable(blob: Blob) -> bool:
    """Whether its words and numbers can be written."""
    numbers = (blob.created_ms, blob.expires_ms, blob.worth_nusd)
    return lawful(blob.place, *blob.tags) and all(-(2**63) <= n < 2**63 for n in numbers)


def meaningful(op: Drop | Purge | Used) -> bool:
    """Whether there may be anything that it means."""
    if isinstance(op, Purge):
        which = op.which
        return lawful(Place(which.kind or "", which.tenant or "", which.namespace or ""), which.tag or "")
    return lawful(op.place)
