"""The money of all budgets in this process: slices leased from a store, and the loop that keeps them fresh.

Theory
------
A call reserves within the slices that this process holds: one step of one thread, no wait. What is due between this
process and the store (shortages, returns, renewals) goes out from a timer, and at once where a call waits for it; what
gathers meanwhile goes together.

Rules
- A store that does not answer grants nothing: hard budgets refuse once their slices are used, soft ones go on within what
  is known here.
- What lies idle with other processes is called back at once for a call that is short (``Recalls``), which waits for it a
  second at most. So a call that fits is refused only while running calls hold the rest.
- Lives as long as the process: a reload changes the nodes of the tree, never what was spent in them.
- Without budgets nothing of it runs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from penstock.base.clock import Clock
from penstock.gateway.together import Together
from penstock.ledger.budgets import Bucket, Budgets, Node, Path, Refused, Reservation
from penstock.ledger.leases import Claim, Grant, Pot, Short, Slices, SliceStore, ceiling_nusd
from penstock.ledger.pool import Pool
from penstock.ledger.quantile import OutputSizes

BUSY_S, QUIET_S = 0.025, 0.4
"""Between two looks at what is due: after one that found something, and at most."""
SWEEP_S = 5.0
PAUSES_S = (0.0, 0.03, 0.07, 0.15, 0.3, 0.45)
"""After each time that money was called back: others answer at once, or run calls that end soon, or are slow."""
WAIT_S = 1.0
"""At most, for what others were asked to return."""


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


class Recalls:
    """Makes other processes return what lies idle there, for calls that are short."""

    __slots__ = ("_asking", "_slices", "ask")

    def __init__(self, slices: Slices) -> None:
        self.ask: Callable[[list[Pot]], Awaitable[object]] | None = None
        """Returns when all others have returned what they could. None: there are no others."""
        self._slices = slices
        self._asking: dict[Pot, asyncio.Task[None]] = {}

    async def help(
        self, buckets: tuple[Bucket, ...], more_nusd: int, until_s: float, *, part: bool = False
    ) -> bool:
        """Others were asked, of the loop's time until then. False: they have nothing that would help, or cannot be asked.
        ``part``: less than all would help."""
        ask = self.ask
        pots = [] if ask is None else self._slices.elsewhere(buckets, more_nusd, part=part)
        left_s = until_s - asyncio.get_running_loop().time()
        if ask is None or not pots or left_s <= 0:
            return False
        new = [pot for pot in pots if pot not in self._asking]
        if new:
            self._asking.update(dict.fromkeys(new, asyncio.ensure_future(self._ask(new, ask))))
        await asyncio.wait({self._asking[pot] for pot in pots}, timeout=left_s)
        return True

    async def _ask(self, pots: list[Pot], ask: Callable[[list[Pot]], Awaitable[object]]) -> None:
        """One question, however many calls wait for it."""
        try:
            await ask(pots)
        finally:
            for pot in pots:
                del self._asking[pot]


class Treasury:
    """Budgets within slices. Belongs to one event loop."""

    __slots__ = (
        "_claims",
        "_clock",
        "_hurry_at_s",
        "_period_s",
        "_recalled",
        "_sweep_at_s",
        "budgets",
        "due",
        "moved",
        "recalls",
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
        self.recalls = Recalls(self.slices)
        self._clock = clock
        self._claims = Together(self._send)
        self.due: asyncio.Handle | None = None
        """The next look at what is due; None: nothing runs yet (``wake``)."""
        self._hurry_at_s = 0.0
        self.moved: set[Bucket] = set()
        """Whose figures have changed since ``hand_over``; always the same set."""
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
        if self.due is None:
            self.wake()
        answer = self.budgets.reserve(path, rid, amount_nusd, now_s)
        if type(answer) is Reservation:
            return answer
        return self.slices.reserve(path, rid, amount_nusd, now_s)

    async def obtain(self, path: Path, rid: str, amount_nusd: int) -> Reservation | Refused:
        """The same, and what is short is asked of the store, and of other processes where it lies idle."""
        until_s = asyncio.get_running_loop().time() + WAIT_S
        pauses, asked = iter(PAUSES_S), False
        while True:
            answer = self.reserve(path, rid, amount_nusd, self._clock.unix_s())
            if isinstance(answer, Short):
                await self.exchange(answer.claims)
                now_s = self._clock.unix_s()
                answer = self.slices.reserve(path, rid, amount_nusd, now_s, claimed=answer)
                if (
                    isinstance(answer, Refused)
                    and self.store.fault
                    and self._lend(path.at(now_s), amount_nusd)
                ):
                    answer = self.budgets.reserve(path, rid, amount_nusd, now_s)
            assert not isinstance(answer, Short), "asked the store, and was told to ask"
            if isinstance(answer, Reservation) or self.store.fault:
                return answer
            held = answer.code == "budget-held"
            if not held and (asked or answer.code != "budget-exhausted"):
                return answer
            # Even where all together is too little, once: for less, which the caller may try with what is left.
            asked, pause_s = True, next(pauses, None)
            buckets = path.at(self._clock.unix_s())
            if pause_s is None or not await self.recalls.help(buckets, amount_nusd, until_s, part=not held):
                return answer
            await asyncio.sleep(pause_s)

    def extend(self, rid: str, more_nusd: int, now_s: float) -> Reservation | Refused:
        """More for a running call (ledger.reserving.Extends). ``now_s`` is unix time."""
        answer = self.slices.extend(rid, more_nusd, now_s)
        if isinstance(answer, Refused) and self.store.fault:
            held = self.budgets.held(rid)
            if held and self._lend(held, more_nusd, running=True):
                answer = self.budgets.extend(rid, more_nusd, now_s)
        if isinstance(answer, Reservation):
            self.moved.update(answer.buckets)
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
        if now_s >= self._hurry_at_s and not self._claims.busy:
            self._hurry_at_s = now_s + 2 * BUSY_S
            if self.due is not None:
                self.due.cancel()
            self.due = asyncio.get_running_loop().call_soon(self._tick)

    async def refill(self, rid: str, more_nusd: int, least_nusd: int) -> Refused | None:
        """More for a running call that must wait for it: ``more_nusd``, or what there is from ``least_nusd`` on.
        None: it is held."""
        until_s = asyncio.get_running_loop().time() + WAIT_S
        pauses, again = iter(PAUSES_S), True
        while True:
            await self.exchange(self.slices.extension(rid, more_nusd, least_nusd, self._clock.unix_s()))
            ask_nusd = more_nusd
            answer = self.extend(rid, ask_nusd, self._clock.unix_s())
            # At once, so that no other call takes what has just come.
            while isinstance(answer, Refused) and ask_nusd > least_nusd:
                ask_nusd = max(least_nusd, ask_nusd // 2)
                answer = self.extend(rid, ask_nusd, self._clock.unix_s())
            if isinstance(answer, Reservation):
                return None
            if again:
                again = False  # the store has less than was last heard: what it has is asked for
                continue
            pause_s = next(pauses, None)
            if pause_s is None or self.store.fault:
                return answer
            if not await self.recalls.help(self.budgets.held(rid), least_nusd, until_s):
                return answer
            await asyncio.sleep(pause_s)

    def settle(self, held: Reservation, spent_nusd: int) -> None:
        """What a call really cost, instead of what it held."""
        self.budgets.settle(held.id, spent_nusd)
        self.moved.update(held.buckets)

    def hand_over(self) -> None:
        """Tell the watch which buckets' figures have moved. Some moments later, so that a call need not."""
        moved = [*self.moved]
        self.moved.clear()
        for bucket in moved:
            bucket.moved = False
        if self.watch is not None:
            for bucket in moved:
                self.watch(bucket)

    async def exchange(self, claims: list[Claim]) -> None:
        """Send claims and learn the answers; what several wait for goes together."""
        await self._claims.ask(claims)

    async def _send(self, claims: list[Claim]) -> None:
        grants = await self.store.exchange(claims)
        now_s = self._clock.unix_s()
        self.slices.alone = self.store.fault is not None
        for grant in grants:
            self.slices.learn(grant, now_s)

    def wake(self) -> None:
        """Money is about to be held: from now on what is due is looked after."""
        self._period_s = BUSY_S
        self.due = asyncio.get_running_loop().call_later(BUSY_S, self._tick)

    def _tick(self) -> None:
        """What is due goes out; nothing for a while: ever more seldom."""
        now_s = self._clock.unix_s()
        if now_s >= self._sweep_at_s:
            self._sweep_at_s = now_s + SWEEP_S
            for held in self.budgets.sweep(now_s):
                self.moved.update(held.buckets)
        if self.moved:
            self.hand_over()
        claims = self.slices.claims(now_s)
        self._period_s = BUSY_S if claims else min(QUIET_S, self._period_s * 2)
        self.due = asyncio.get_running_loop().call_later(self._period_s, self._tick)
        self._claims.tell(claims)

    async def aclose(self) -> None:
        """At a clean stop: everything unspent goes back."""
        if self.due is not None:
            self.due.cancel()
            self.due = None
        await self.exchange(self.slices.leave(self._clock.unix_s()))
        await self.store.aclose()
