"""The money of all budgets in this process: slices leased from a store, and the loop that keeps them fresh.

Theory
------
A call reserves within the slices that this process holds: one step of one thread, no wait. What is due between this
process and the store (shortages, returns, renewals) goes out from a timer, and at once where a call waits for it; what
gathers meanwhile goes together.

Rules
- A store that does not answer grants nothing: hard budgets refuse once their slices are used, soft ones go on within what
  is known here.
- What lies idle with other processes is called back at once for a call that is short (``recall``), which waits for it a
  second at most. So a call that fits is refused only while running calls hold the rest.
- Lives as long as the process: a reload changes the nodes of the tree, never what was spent in them.
- Without budgets nothing of it runs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from penstock.base.clock import Clock
from penstock.ledger.budgets import Bucket, Budgets, Node, Path, Refused, Reservation
from penstock.ledger.leases import Claim, Grant, Pot, Short, Slices, SliceStore, ceiling_nusd
from penstock.ledger.pool import Pool
from penstock.ledger.quantile import OutputSizes

BUSY_S, QUIET_S = 0.025, 0.4
"""Between two looks at what is due: after one that found something, and at most."""
SWEEP_S = 5.0
PAUSES_S = (0.0, 0.03, 0.07, 0.15, 0.3, 0.45)
"""After each time that money was called back: others answer at once, or run calls that end soon, or are slow."""
RECALL_S = 0.5


class MemoryStore:
    """A pool that nobody shares and that nothing outlives: where no state is kept."""

    def __init__(self, clock: Clock) -> None:
        self.fault: str | None = None
        self._pool = Pool()
        self._clock = clock

    async def exchange(self, claims: list[Claim]) -> list[Grant]:
        """At once."""
        now_s = self._clock.unix_s()
        return [self._pool.exchange(claim, now_s) for claim in claims]

    async def standing(self, pots: list[Pot]) -> list[tuple[int, int]]:
        """Of each pot what was spent, and what is leased beyond that."""
        return [self._pool.status(pot) for pot in pots]

    async def aclose(self) -> None:
        """There is nothing to let go of."""


class Treasury:
    """Budgets within slices. Belongs to one event loop."""

    __slots__ = (
        "_asked",
        "_asking",
        "_clock",
        "_due",
        "_hurry_at_s",
        "_moved",
        "_period_s",
        "_recalled",
        "_recalling",
        "_sweep_at_s",
        "_tasks",
        "budgets",
        "recall",
        "sizes",
        "slices",
        "store",
        "watch",
    )

    def __init__(self, store: SliceStore, holder: str, clock: Clock, lease_s: float = 1800.0) -> None:
        self.store = store
        self.budgets = Budgets((), lease_s=lease_s, fed=True)
        self.slices = Slices(holder, self.budgets)
        self.sizes = OutputSizes()
        self.watch: Callable[[Bucket], object] | None = None
        """Told of every bucket in which something was settled, or held for a running call."""
        self.recall: Callable[[list[Pot]], Awaitable[object]] | None = None
        """Makes all other processes return what lies idle there. None: there are no others."""
        self._recalling: dict[Pot, asyncio.Task[None]] = {}
        self._clock = clock
        self._asked: list[tuple[list[Claim], asyncio.Future[None]]] = []
        self._asking: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._due: asyncio.Handle | None = None
        self._hurry_at_s = 0.0
        self._moved: set[Bucket] = set()
        self._period_s = QUIET_S
        self._sweep_at_s = 0.0
        self._recalled: set[tuple[str, str]] = set()

    def unix_s(self) -> float:
        """The moment by which windows are told."""
        return self._clock.unix_s()

    def unheard(self, names: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Of these budgets, by node and name, those that were not asked for before: what was spent in them is to be recalled."""
        found = set(names) - self._recalled
        self._recalled |= found
        return found

    def not_heard(self, names: Iterable[tuple[str, str]]) -> None:
        """What was spent in these could not be recalled: it is asked for again."""
        self._recalled -= set(names)

    def total_nusd(self, bucket: Bucket) -> int:
        """What all processes, and all runs before, have spent in this window, as far as this one has heard."""
        return bucket.spent + self.slices.elsewhere_nusd(bucket)

    def put(self, nodes: Iterable[Node]) -> None:
        """Nodes that are new or have changed; what was spent in them stays, and a new limit holds at once."""
        for node in nodes:
            known = [(self.budgets.accounts.get((node.id, spec.name)), spec) for spec in node.budgets]
            changed = [account for account, spec in known if account is not None and account.spec != spec]
            self.budgets.put(node)
            for account in changed:
                self.slices.cut(account)

    def path(self, node: str) -> Path | None:
        """The budgets of a node and of all above it; None where there are none."""
        path = self.budgets.path(node)
        return path if path.accounts else None

    def reserve(self, path: Path, rid: str, amount_nusd: int, now_s: float) -> Reservation | Refused | Short:
        """Within what this process has leased. ``Short``: the store may have more (``obtain``). ``now_s`` is unix time."""
        if self._due is None:
            self._wake()
        answer = self.budgets.reserve(path, rid, amount_nusd, now_s)
        if type(answer) is Reservation:
            return answer
        return self.slices.reserve(path, rid, amount_nusd, now_s)

    async def obtain(self, path: Path, rid: str, amount_nusd: int) -> Reservation | Refused:
        """The same, and what is short is asked of the store, and of other processes where it lies idle."""
        answer = await self._obtain(path, rid, amount_nusd)
        for pause_s in PAUSES_S:
            if isinstance(answer, Reservation) or answer.code != "budget-held":
                break
            if not await self._called_back(path.at(self._clock.unix_s()), amount_nusd):
                break
            await asyncio.sleep(pause_s)
            answer = await self._obtain(path, rid, amount_nusd)
        return answer

    async def _obtain(self, path: Path, rid: str, amount_nusd: int) -> Reservation | Refused:
        answer = self.reserve(path, rid, amount_nusd, self._clock.unix_s())
        if isinstance(answer, Short):
            await self.exchange(answer.claims)
            now_s = self._clock.unix_s()
            answer = self.slices.reserve(path, rid, amount_nusd, now_s, claimed=answer)
            if isinstance(answer, Refused) and self.store.fault and self._lend(path.at(now_s), amount_nusd):
                answer = self.budgets.reserve(path, rid, amount_nusd, now_s)
        assert not isinstance(answer, Short), "asked the store, and was told to ask"
        return answer

    async def _called_back(self, buckets: tuple[Bucket, ...], more_nusd: int) -> bool:
        """Others were asked to return what lies idle. False: they have nothing that would help, or cannot be asked."""
        if self.recall is None or self.store.fault:
            return False
        pots = self.slices.elsewhere(buckets, more_nusd)
        new = [pot for pot in pots if pot not in self._recalling]
        if new:
            task = asyncio.ensure_future(self._call_back(new, self.recall))
            self._recalling.update(dict.fromkeys(new, task))
        tasks = {self._recalling[pot] for pot in pots}
        if tasks:
            await asyncio.wait(tasks, timeout=RECALL_S)
        return bool(pots)

    async def _call_back(self, pots: list[Pot], recall: Callable[[list[Pot]], Awaitable[object]]) -> None:
        """One question, however many calls wait for it."""
        try:
            await recall(pots)
        finally:
            for pot in pots:
                del self._recalling[pot]

    async def return_idle(self, pots: list[Pot]) -> None:
        """Another process is short: what lies idle here goes back to the store."""
        await self.exchange(self.slices.return_idle(pots, self._clock.unix_s()))

    def extend(self, rid: str, more_nusd: int, now_s: float) -> Reservation | Refused:
        """More for a running call (ledger.reserving.Extends). ``now_s`` is unix time."""
        answer = self.slices.extend(rid, more_nusd, now_s)
        if isinstance(answer, Refused) and self.store.fault:
            held = self.budgets.held(rid)
            if held and self._lend(held, more_nusd, running=True):
                answer = self.budgets.extend(rid, more_nusd, now_s)
        if isinstance(answer, Reservation):
            self._moved.update(answer.buckets)
        return answer

    def _lend(self, buckets: tuple[Bucket, ...], more_nusd: int, *, running: bool = False) -> bool:
        """The store does not answer: soft budgets go on within their own limits, a running call's within the overdraft.
        False: a hard one is short, or there is no room."""
        short = [one for one in buckets if one.committed + more_nusd > one.limit]
        for one in short:
            spec = one.account.spec
            most = ceiling_nusd(spec) if running else spec.limit_nusd
            known_nusd = one.committed + self.slices.elsewhere_nusd(one)
            if spec.mode != "soft" or known_nusd + more_nusd > most:
                return False
        for one in short:
            self.slices.presume(one, one.committed + more_nusd - one.limit)
        return True

    def hurry(self) -> None:
        """An extension was refused: what it lacked is claimed soon, and not at the next look."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._hurry_at_s and self._asking is None:
            self._hurry_at_s = now_s + 2 * BUSY_S
            if self._due is not None:
                self._due.cancel()
            self._due = asyncio.get_running_loop().call_soon(self._tick)

    async def refill(self, rid: str, more_nusd: int, least_nusd: int) -> Refused | None:
        """More for a running call that must wait for it: ``more_nusd``, or what there is from ``least_nusd`` on.
        None: it is held."""
        for pause_s in (None, *PAUSES_S):
            if pause_s is not None:
                await asyncio.sleep(pause_s)
            # Twice: of a pool that has less than was last heard, what it has.
            for _ in range(2):
                claims = self.slices.extension(rid, more_nusd, least_nusd, self._clock.unix_s())
                await self.exchange(claims)
                answer = self._extended(rid, more_nusd, least_nusd)
                if isinstance(answer, Reservation):
                    return None
            if not await self._called_back(self.budgets.held(rid), least_nusd):
                break
        return answer

    def _extended(self, rid: str, more_nusd: int, least_nusd: int) -> Reservation | Refused:
        """At once, so that no other call takes what has just come."""
        while True:
            answer = self.extend(rid, more_nusd, self._clock.unix_s())
            if isinstance(answer, Reservation) or more_nusd <= least_nusd:
                return answer
            more_nusd = max(least_nusd, more_nusd // 2)

    def settle(self, held: Reservation, spent_nusd: int) -> None:
        """What a call really cost, instead of what it held."""
        self.budgets.settle(held.id, spent_nusd)
        self._moved.update(held.buckets)

    def hand_over(self) -> None:
        """Tell the watch which buckets' figures have moved. Some moments later, so that a call need not."""
        moved, self._moved = self._moved, set()
        if self.watch is not None:
            for bucket in moved:
                self.watch(bucket)

    async def exchange(self, claims: list[Claim]) -> None:
        """Send claims and learn the answers; what several wait for goes together."""
        if not claims:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append((claims, done))
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())
        await done

    async def _ask(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, []
                try:
                    grants = await self.store.exchange([one for claims, _ in asked for one in claims])
                    now_s = self._clock.unix_s()
                    self.slices.alone = self.store.fault is not None
                    for grant in grants:
                        self.slices.learn(grant, now_s)
                finally:
                    for _, done in asked:
                        if not done.done():
                            done.set_result(None)
        finally:
            self._asking = None

    def _wake(self) -> None:
        self._period_s = BUSY_S
        self._due = asyncio.get_running_loop().call_later(BUSY_S, self._tick)

    def _tick(self) -> None:
        """What is due goes out; nothing for a while: ever more seldom."""
        now_s = self._clock.unix_s()
        if now_s >= self._sweep_at_s:
            self._sweep_at_s = now_s + SWEEP_S
            for held in self.budgets.sweep(now_s):
                self._moved.update(held.buckets)
        if self._moved:
            self.hand_over()
        claims = self.slices.claims(now_s)
        self._period_s = BUSY_S if claims else min(QUIET_S, self._period_s * 2)
        self._due = asyncio.get_running_loop().call_later(self._period_s, self._tick)
        if claims:
            task = asyncio.ensure_future(self.exchange(claims))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """At a clean stop: everything unspent goes back."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        await self.exchange(self.slices.leave(self._clock.unix_s()))
        await self.store.aclose()
