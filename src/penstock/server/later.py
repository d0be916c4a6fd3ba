"""Work that is done later: claimed from the objects room, leased while it runs, given back when this process stops.

Theory
------
What is to be done lies in the database, and says when it is due. Each process claims as much as it has places for, and renews
its leases; of one that was killed the leases end, and another process goes on. What a kind of work must do to be begun
anew safely, its worker knows (server.jobs, server.batch_work, server.completions).

Rules
- Whoever has lost its lease stops at once, and can change nothing any more: ``Held.change`` is a compare-and-swap.
- A worker's failure is logged, and the work is due again a little later.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from penstock.base.errors import PenstockError
from penstock.objects.keeper import Keeper
from penstock.objects.store import KEEP, Due, Item, Stored
from penstock.objects.times import unix_ms
from penstock.observe.log import OperatorLog

POLL_S = 1.0
LEASE_MS = 8_000
RENEW_S = 2.0
AGAIN_MS = 15_000
_INSIST_S = (0.1, 0.5, 2.0, 5.0, 10.0, 10.0)
"""Between two tries to keep what cannot be had again: an answer that was paid for."""
SWEEP_S = 60.0
Edit = Callable[[dict[str, Any]], dict[str, Any]]


class LeaseLost(Exception):
    """Somebody else has it by now, or it was deleted."""


class Held:
    """A piece of work, while it is ours."""

    def __init__(self, keeper: Keeper, stored: Stored, worker: str) -> None:
        self.keeper = keeper
        self.stored = stored
        self.cancelled = asyncio.Event()
        """Its owner wants no more of it."""
        self._worker = worker
        self._changing = asyncio.Lock()
        self._notice()

    @property
    def meta(self) -> dict[str, Any]:
        """As it was last seen."""
        return self.stored.meta

    async def renew(self) -> None:
        """Hold it for longer, and see what its owner has changed. Raises LeaseLost."""
        async with self._changing:
            await self._renew()

    async def change(
        self, edit: Edit, *, due_ms: Due = KEEP, expires_ms: Due = KEEP, body: bytes | None = None
    ) -> None:
        """Replace its meta by what ``edit`` makes of the newest. Raises LeaseLost."""
        async with self._changing:
            await insist(lambda: self._change(edit, due_ms, expires_ms, body))

    async def tell(self, items: list[Item]) -> None:
        """Keep results."""
        await insist(lambda: self.keeper.tell(self.stored, items))

    async def _change(self, edit: Edit, due_ms: Due, expires_ms: Due, body: bytes | None) -> None:
        while True:
            one = self.stored
            meta = edit(one.meta)
            if await self.keeper.change(
                    one.kind, one.id, one.owner, meta, version=one.version, due_ms=due_ms, expires_ms=expires_ms, body=body
                ):  # fmt: skip
                self.stored = msgspec.structs.replace(one, meta=meta, version=one.version + 1)
                return
            await self._renew()

    async def release(self, after_ms: int = 0) -> None:
        """Give it back, to be claimed again."""
        await self.keeper.release(self.stored, worker=self._worker, due_ms=unix_ms() + after_ms)

    async def _renew(self) -> None:
        fresh = await self.keeper.renew(self.stored, worker=self._worker, lease_ms=LEASE_MS, now_ms=unix_ms())
        if fresh is None:
            raise LeaseLost
        self.stored = fresh
        self._notice()

    def _notice(self) -> None:
        if self.stored.meta.get("cancel"):
            self.cancelled.set()


async def insist(ask: Callable[[], Awaitable[object]]) -> None:
    """Ask the database again where it does not answer; a database is away for a minute at most, or for good."""
    for wait_s in _INSIST_S:
        try:
            await ask()
        except PenstockError:
            await asyncio.sleep(wait_s)
        else:
            return
    await ask()


class Worker(Protocol):
    """What does one kind of work."""

    kind: str

    @property
    def most(self) -> int:
        """How much of it at once."""
        ...

    async def work(self, held: Held) -> None:
        """Do it, and say so in it. Cancelled when this process stops."""
        ...


class Later:
    """All that one process does later. Belongs to its event loop."""

    def __init__(self, keeper: Keeper, name: str, log: OperatorLog, workers: Sequence[Worker]) -> None:
        self._keeper = keeper
        self._name = name
        self._log = log
        self._workers = workers
        self._running: dict[tuple[str, str, str], tuple[Held, asyncio.Task[None]]] = {}
        self._more = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Claim what is due, from now on."""
        self._loop = asyncio.ensure_future(self._claim_all())
        self._sweeper = asyncio.ensure_future(self._sweep())

    def kick(self) -> None:
        """Something is due now."""
        self._more.set()

    def poke(self, kind: str, name: str, owner: str) -> None:
        """Its owner has changed it: if it runs here, it shall see that at once."""
        running = self._running.get((kind, name, owner))
        if running is not None:
            running[0].cancelled.set()

    def stop_claiming(self) -> None:
        """This process will stop: what runs may end."""
        for task in (self._loop, self._sweeper):
            if task is not None:
                task.cancel()

    async def aclose(self) -> None:
        """What still runs is cut, and given back."""
        self.stop_claiming()
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _claim_all(self) -> None:
        while True:
            self._more.clear()
            try:
                for worker in self._workers:
                    while self._count(worker.kind) < worker.most and await self._claim(worker):
                        pass
            except PenstockError as error:
                self._log.once("later", error.public())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._more.wait(), POLL_S)

    def _count(self, kind: str) -> int:
        return sum(key[0] == kind for key in self._running)

    async def _claim(self, worker: Worker) -> bool:
        stored = await self._keeper.claim(worker.kind, worker=self._name, lease_ms=LEASE_MS, now_ms=unix_ms())
        if stored is None:
            return False
        held = Held(self._keeper, stored, self._name)
        key = (stored.kind, stored.id, stored.owner)
        self._running[key] = held, asyncio.ensure_future(self._do(worker, held, key))
        return True

    async def _do(self, worker: Worker, held: Held, key: tuple[str, str, str]) -> None:
        work = asyncio.ensure_future(worker.work(held))
        try:
            while not work.done():
                await asyncio.wait([work], timeout=RENEW_S)
                if not work.done():
                    await self._renewed(held)
            await work
        except LeaseLost:
            self._log.once("later lease", f"{held.stored.kind} {held.stored.id} is another's by now.")
        except PenstockError as error:
            self._log.once("later", f"{held.stored.kind} {held.stored.id}: {error.public()}")
            await self._give_back(held)
        except Exception as error:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
            self._log.failure("later.failed", error)
            await self._give_back(held)
        finally:
            if not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
                await self._give_back(held, 0)
            self._running.pop(key, None)
            self._more.set()

    async def _renewed(self, held: Held) -> None:
        try:
            await held.renew()
        except PenstockError as error:  # it goes on: whether the lease was lost the next change will tell
            self._log.once("later", error.public())

    async def _give_back(self, held: Held, after_ms: int = AGAIN_MS) -> None:
        with contextlib.suppress(PenstockError):  # its lease ends in any case
            await held.release(after_ms)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self._keeper.sweep(unix_ms())
            except PenstockError as error:
                self._log.once("sweep", error.public())
