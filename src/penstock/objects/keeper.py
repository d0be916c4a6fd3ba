"""The store for the event loop: the same names, awaited; the work is done by a few threads of its own.

Not ``asyncio.to_thread``: a slow disk must not take the threads that names are looked up in.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from penstock.base.errors import PenstockError
from penstock.objects.store import KEEP, Due, Item, ObjectStore, Stored

THREADS = 4
ABOUT_S = 60.0
MOST_ABOUT = 10_000
T = TypeVar("T")


class _Threads:
    """One store, opened with the first question, and the threads it is asked in."""

    def __init__(self, open_store: Callable[[], ObjectStore]) -> None:
        self._open = open_store
        self._store: ObjectStore | None = None
        self._opening: asyncio.Future[ObjectStore] | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="penstock-objects")

    async def open(self) -> None:
        """Now, and not with the first question. Raises ConfigFault where that cannot be."""
        await self.do(lambda _store: None)

    async def aclose(self) -> None:
        """What was asked is finished; then the database is let go of."""
        await asyncio.to_thread(self._threads.shutdown, wait=True)
        if self._store is not None:
            self._store.close()

    async def do(self, question: Callable[[ObjectStore], T]) -> T:
        loop = asyncio.get_running_loop()
        if self._opening is None:
            self._opening = loop.run_in_executor(self._threads, self._open)
        try:
            store = await asyncio.shield(self._opening)
        except PenstockError:
            self._opening = None  # whoever asks next tries again
            raise
        self._store = store
        return await loop.run_in_executor(self._threads, question, store)


class _Work(_Threads):
    """Claims, leases and results."""

    async def claim(self, kind: str, *, worker: str, lease_ms: int, now_ms: int) -> Stored | None:
        """Work that is due and leased by nobody."""
        return await self.do(lambda store: store.claim(kind, worker=worker, lease_ms=lease_ms, now_ms=now_ms))

    async def renew(self, held: Stored, *, worker: str, lease_ms: int, now_ms: int) -> Stored | None:
        """Hold it for longer, and see how it stands. None: it is another's by now, done or gone."""
        return await self.do(
            lambda store: store.renew(
                held.kind, held.id, held.owner, worker=worker, lease_ms=lease_ms, now_ms=now_ms
            )
        )

    async def release(self, held: Stored, *, worker: str, due_ms: int) -> bool:
        """Give it back, to be claimed from ``due_ms`` on."""
        return await self.do(
            lambda store: store.release(held.kind, held.id, held.owner, worker=worker, due_ms=due_ms)
        )

    async def tell(self, held: Stored, items: list[Item]) -> int:
        """Keep results; one whose number is there already is passed over. How many were new."""
        return await self.do(lambda store: store.tell(held.kind, held.id, held.owner, items))

    async def told(self, held: Stored, *, start: int = 0, limit: int = 100) -> list[Item]:
        """Results from number ``start`` on, in order."""
        return await self.do(
            lambda store: store.told(held.kind, held.id, held.owner, start=start, limit=limit)
        )

    async def counts(self, held: Stored) -> dict[str, int]:
        """How many results of each state."""
        return await self.do(lambda store: store.counts(held.kind, held.id, held.owner))

    async def numbers(self, held: Stored) -> list[int]:
        """Of which numbers there is a result."""
        return await self.do(lambda store: store.numbers(held.kind, held.id, held.owner))

    async def sweep(self, now_ms: int) -> int:
        """Drop what has expired, and what was left behind."""
        return await self.do(lambda store: store.sweep(now_ms))


class Keeper(_Work):
    """The store, awaited. Raises what the store raises."""

    def __init__(self, open_store: Callable[[], ObjectStore]) -> None:
        super().__init__(open_store)
        self._about: dict[tuple[str, str], tuple[int, float]] = {}

    async def put(
        self,
        kind: str,
        name: str,
        owner: str,
        *,
        meta: dict[str, Any],
        body: bytes = b"",
        draft: str | None = None,
        expires_ms: int | None = None,
        due_ms: int | None = None,
    ) -> None:
        """Keep it, whole or not at all."""
        self._more(kind, owner, None if draft is not None else len(body))
        await self.do(
            lambda store: store.put(
                kind, name, owner, meta=meta, body=body, draft=draft, expires_ms=expires_ms, due_ms=due_ms
            )
        )

    async def draft(self) -> str:
        """Begin a body that comes piece by piece."""
        return await self.do(lambda store: store.draft())

    async def add(self, draft: str, n: int, piece: bytes) -> None:
        """The n-th piece of a body, at most ``PIECE_BYTES``."""
        await self.do(lambda store: store.add(draft, n, piece))

    async def get(self, kind: str, name: str, owner: str) -> Stored | None:
        """None: there is none, it has expired, or it is another's."""
        return await self.do(lambda store: store.get(kind, name, owner))

    async def body(self, kind: str, name: str, owner: str) -> bytes | None:
        """All of its body."""
        return await self.do(lambda store: store.body(kind, name, owner))

    async def pieces(self, kind: str, name: str, owner: str) -> AsyncGenerator[bytes]:
        """Its body piece by piece; for objects whose body never changes."""
        n = 0
        while (piece := await self._piece(kind, name, owner, n)) is not None:
            yield piece
            n += 1

    async def change(
        self,
        kind: str,
        name: str,
        owner: str,
        meta: dict[str, Any],
        *,
        version: int,
        due_ms: Due = KEEP,
        expires_ms: Due = KEEP,
        body: bytes | None = None,
    ) -> bool:
        """Compare and swap. False: it is no longer of this version, or gone."""
        self._more(kind, owner, None if body is not None else 0)
        return await self.do(
            lambda store: store.change(
                kind, name, owner, meta, version=version, due_ms=due_ms, expires_ms=expires_ms, body=body
            )
        )

    async def delete(self, kind: str, name: str, owner: str) -> bool:
        """False: there was none."""
        return await self.do(lambda store: store.delete(kind, name, owner))

    async def listed(self, kind: str, owner: str, *, after: str = "", limit: int = 100) -> list[Stored]:
        """Newest first."""
        return await self.do(lambda store: store.listed(kind, owner, after=after, limit=limit))

    async def many(self, kind: str, owner: str) -> int:
        """How many there are."""
        return await self.do(lambda store: store.many(kind, owner))

    async def used(self, kind: str, owner: str) -> int:
        """Bytes of all bodies."""
        return await self.do(lambda store: store.used(kind, owner))

    async def used_about(self, kind: str, owner: str, near: int) -> int:
        """The same as it was within the last minute, and what this process has kept since; from ``near`` on, exactly."""
        known, now_s = self._about.get((kind, owner)), time.monotonic()
        if known is not None and known[0] < near and now_s - known[1] < ABOUT_S:
            return known[0]
        used = await self.used(kind, owner)
        if len(self._about) >= MOST_ABOUT:
            self._about.clear()
        self._about[kind, owner] = used, now_s
        return used

    def _more(self, kind: str, owner: str, size: int | None) -> None:
        """So many bytes more; None: not known."""
        known = self._about.pop((kind, owner), None)
        if known is not None and size is not None:
            self._about[kind, owner] = known[0] + size, known[1]

    async def _piece(self, kind: str, name: str, owner: str, n: int) -> bytes | None:
        return await self.do(lambda store: store.piece(kind, name, owner, n))
