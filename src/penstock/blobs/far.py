"""What a tier outside of this process must offer, so that several processes may share it.

Theory
------
What is written comes late: it has waited in a queue. So each ``Put`` carries the store's mark at the time it was asked for,
that is how far this process had then heard of what others drop. A write that others have dropped since is not done: a purge
is never undone by something older. It may be that something newer is not kept, too: to a cache that is a miss.

What others do is told as ``Change``: at once or within about a second.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from penstock.blobs.blob import Blob, BlobStore, Place

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
    """Drop one."""

    place: Place
    key: bytes


class Purge(Struct, frozen=True):
    """Drop all that are meant."""

    which: Which


class Used(Struct, frozen=True):
    """One was of use so many times, elsewhere."""

    place: Place
    key: bytes
    times: int


Op = Put | Drop | Purge | Used


class Change(Struct, frozen=True):
    """What became of blobs without this process's doing.

    "put": another wrote ``blob`` (without its value). "drop": it is gone. "evict": it had to go for room. "purge": all of
    ``which`` are gone. "lost": more was missed than can be told; nothing held here may be relied on.
    """

    what: Literal["put", "drop", "evict", "purge", "lost"]
    place: Place = NOWHERE
    key: bytes = b""
    blob: Blob | None = None
    which: Which | None = None


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
