"""The nouns of the store: a blob, where it lies, and what a store of blobs offers.

Theory
------
A blob lies in a *place*: kind, tenant, namespace. The place is a hard partition: it is compared, never searched by
similarity or prefix, and a key of another place is not found. The key is made by who stores (a keyed hash of what the
bytes depend on); the store never looks into key or value.

Rules
- ``expires_ms`` is absolute: a hit never prolongs a life.
- A store that fails raises ``StoreFault``; whoever asks counts that as a miss.
"""

from collections.abc import Callable
from typing import Protocol, TypedDict, Unpack

from msgspec import Struct


class StoreFault(Exception):
    """The store could not answer. To a cache that is a miss."""


class Place(Struct, frozen=True, gc=False):
    """Where blobs lie. ``tenant`` "" is a gateway without virtual keys; ``kind`` is "answer", "tensor" and so on."""

    kind: str
    tenant: str = ""
    namespace: str = ""


class Blob(Struct, frozen=True, gc=False):
    """One kept value.

    ``worth_nusd`` is what one hit saves; 0: not known, and eviction goes by use alone. ``about`` is what is read without the
    value when a store is scanned. ``seq`` is the store's own order of arrival, set by it.
    """

    place: Place
    key: bytes
    value: bytes
    created_ms: int
    expires_ms: int
    worth_nusd: int = 0
    tags: tuple[str, ...] = ()
    about: bytes = b""
    seq: int = 0


class Stats(Struct, frozen=True):
    """What one tier holds. ``evicted`` counts what had to go for room, since it was opened."""

    tier: str
    entries: int
    value_bytes: int
    evicted: int = 0


class Words(TypedDict, total=False):
    """What a purge matches exactly; None, or nothing said: whatever it is."""

    kind: str | None
    tenant: str | None
    namespace: str | None
    tag: str | None


Gone = Callable[[Place, bytes], None]
"""Told of each blob that was dropped, purged, evicted or overwritten; from any thread."""


class BlobStore(Protocol):
    """One tier: memory, SQLite or Redis. Blocking; called from one thread at a time, except in memory."""

    def get(self, place: Place, key: bytes, now_ms: int) -> Blob | None:
        """The blob, unless it is over."""
        ...

    def put(self, blob: Blob) -> None:
        """Keep it, in place of what had its key. What has to go for room, goes."""
        ...

    def drop(self, place: Place, key: bytes) -> bool:
        """Whether it was there."""
        ...

    def purge(self, **words: Unpack[Words]) -> int:
        """Drop all that matches every given word exactly; how many."""
        ...

    def scan(self, kind: str, after_seq: int, limit: int, now_ms: int) -> list[Blob]:
        """Living blobs that have an ``about``, in order of ``seq``, without their values (b"")."""
        ...

    def stats(self) -> Stats:
        """As it stands."""
        ...

    def close(self) -> None:
        """Write what is to be written, and let go."""
        ...
