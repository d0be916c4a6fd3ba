"""Money of one process between its calls and the store: swept, lent where the store is silent, handed to the watch."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from penstock.gateway.treasury import SWEEP_S, MemoryStore, Treasury
from penstock.ledger.budgets import Budget, Node, Refused, Reservation
from penstock.ledger.leases import Claim, Grant, Pot
from penstock.testing import FakeClock

LIMIT = 1_000_000


class Silent(MemoryStore):
    """Answers as long as it is not told to be ``out``."""

    out = False

    async def exchange(self, claims: list[Claim]) -> list[Grant]:
        self.fault = "It does not answer." if self.out else None
        return [] if self.out else await super().exchange(claims)


def treasury(clock: FakeClock, store: Silent, mode: Any = "hard", lease_s: float = 60.0) -> Treasury:
    made = Treasury(store, "run", clock, lease_s)
    made.put([Node("key k", None, (Budget("day", LIMIT, "day", "UTC", mode, 10),))])
    return made


def pair(clock: FakeClock) -> tuple[Treasury, Treasury]:
    """Two processes on one store; each returns what lies idle when the other is short."""
    store = Silent(clock)
    made = [Treasury(store, name, clock, 60.0) for name in ("a", "b")]
    for one in made:
        one.put([Node("key k", None, (Budget("day", LIMIT, "day", "UTC"),))])
    a, b = made

    def returns(one: Treasury) -> Callable[[list[Pot]], Coroutine[Any, Any, None]]:
        return lambda pots: one.exchange(one.slices.return_idle(pots, one.unix_s()))

    a.recalls.ask, b.recalls.ask = returns(b), returns(a)
    return a, b


def run(play: Coroutine[Any, Any, None]) -> None:
    asyncio.run(play)


def test_what_is_never_settled_is_swept_as_spent():
    """A bug that forgets a call must not give its money back, nor hold it for ever."""

    async def play() -> None:
        clock = FakeClock()
        one = treasury(clock, Silent(clock))
        path = one.path("key k")
        assert path is not None
        moved: list[int] = []
        one.watch = lambda bucket: moved.append(bucket.spent)
        held = await one.obtain(path, "lost", 1000)
        assert isinstance(held, Reservation)
        bucket = held.buckets[0]
        clock.advance(60.0 + SWEEP_S)
        one._tick()
        assert (held.state, bucket.spent, bucket.reserved) == ("swept", 1000, 0)
        one.settle(held, 400)
        assert bucket.spent == 400
        one._tick()
        assert moved == [1000, 400]
        await one.aclose()

    run(play())


def test_a_silent_store_stops_hard_budgets_and_not_soft_ones():
    """Hard: what is leased can be spent, then no. Soft: on within the limit; the store hears of it when it is back."""

    async def play(mode: str) -> int:
        clock, spent = FakeClock(), 0
        store = Silent(clock)
        one = treasury(clock, store, mode)
        path = one.path("key k")
        assert path is not None
        first = await one.obtain(path, "first", 1000)
        assert isinstance(first, Reservation)
        one.settle(first, 1000)
        store.out = True
        for number in range(2000):
            held = await one.obtain(path, f"r{number}", 1000)
            if isinstance(held, Refused):
                assert held.code in ("budget-held", "budget-exhausted")
                break
            one.settle(held, 1000)
            spent += 1000
        store.out = False
        clock.advance(5.0)
        await one.exchange(one.slices.claims(clock.unix_s()))
        bucket = path.at(clock.unix_s())[0]
        pot = ("key k", "day", bucket.start_s)
        ((known, loose),) = await store.standing([pot])
        assert known == bucket.spent == spent + 1000
        assert known + loose <= LIMIT
        await one.aclose()
        return spent

    async def both() -> None:
        assert await play("hard") < LIMIT // 10
        assert await play("soft") == LIMIT - 1000

    run(both())


def test_calls_that_wait_go_together():
    """One exchange for all who are short at the same moment."""

    async def play() -> None:
        clock = FakeClock()
        store = Silent(clock)
        asked: list[int] = []
        real = store.exchange

        async def exchange(claims: list[Claim]) -> list[Grant]:
            asked.append(len(claims))
            await asyncio.sleep(0)
            return await real(claims)

        store.exchange = exchange  # type: ignore[method-assign]
        one = treasury(clock, store)
        path = one.path("key k")
        assert path is not None
        answers = await asyncio.gather(*(one.obtain(path, f"r{number}", 500) for number in range(50)))
        assert all(isinstance(answer, Reservation) for answer in answers)
        assert sum(asked) == 50
        assert len(asked) <= 2
        await one.aclose()

    run(play())


def test_what_lies_idle_elsewhere_comes_back_for_a_call_that_is_short():
    """At once, in both directions, as long as no running call holds it."""

    async def play() -> None:
        one, other = pair(FakeClock())
        for number in range(6):
            one, other = other, one
            path = one.path("key k")
            assert path is not None
            held = await one.obtain(path, f"r{number}", 600_000)
            assert isinstance(held, Reservation)
            one.settle(held, 1_000)

    run(play())


def test_what_running_calls_hold_elsewhere_is_waited_for_and_then_refused(monkeypatch):
    """With the true figures: what is left, and that the rest may come back."""
    monkeypatch.setattr("penstock.gateway.treasury.PAUSES_S", (0.0, 0.0, 0.0))

    async def play() -> None:
        a, b = pair(FakeClock())
        path_a, path_b = a.path("key k"), b.path("key k")
        assert path_a is not None
        assert path_b is not None
        assert isinstance(await a.obtain(path_a, "runs", 700_000), Reservation)
        refused = await b.obtain(path_b, "short", 400_000)
        assert isinstance(refused, Refused)
        assert (refused.code, refused.left_nusd) == ("budget-held", 300_000)
        assert isinstance(await b.obtain(path_b, "fits", 300_000), Reservation)

    run(play())


def test_a_running_call_is_given_what_lies_idle_elsewhere(monkeypatch):
    """And what the pool has, if that is less than it would like; a refusal says how little there is."""
    monkeypatch.setattr("penstock.gateway.treasury.PAUSES_S", (0.0, 0.0, 0.0))

    async def play() -> None:
        a, b = pair(FakeClock())
        path_a, path_b = a.path("key k"), b.path("key k")
        assert path_a is not None
        assert path_b is not None
        streamed = await a.obtain(path_a, "stream", 1_000)
        assert isinstance(streamed, Reservation)
        before = await b.obtain(path_b, "before", 900_000)
        assert isinstance(before, Reservation)
        b.settle(before, 100_000)
        assert await a.refill("stream", 500_000, 10_000) is None
        assert streamed.held >= 11_000
        while await a.refill("stream", 500_000, 10_000) is None:
            assert streamed.held <= 900_000
        assert streamed.held > 880_000
        refused = await a.refill("stream", 500_000, 10_000)
        assert refused is not None
        assert refused.code == "budget-exhausted", "nobody else holds anything"
        assert refused.left_nusd == 900_000 - streamed.held

    run(play())


def test_who_is_refused_hears_of_what_lay_idle_elsewhere_too():
    """A call that fits nowhere is told what is left of the whole budget, so that a smaller one can be tried."""

    async def play() -> None:
        a, b = pair(FakeClock())
        path_a, path_b = a.path("key k"), b.path("key k")
        assert path_a is not None
        assert path_b is not None
        held = await a.obtain(path_a, "r", 900_000)
        assert isinstance(held, Reservation)
        a.settle(held, 500_000)
        refused = await b.obtain(path_b, "too much", 500_001)
        assert isinstance(refused, Refused)
        assert (refused.code, refused.left_nusd) == ("budget-exhausted", 500_000)
        assert isinstance(await b.obtain(path_b, "all", 500_000), Reservation)

    run(play())
