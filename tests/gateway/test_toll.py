"""The native till and the toll in Python are one behaviour: same refusals, same figures in every budget, same places."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.base.money import price_from_usd_text
from penstock.gateway.allowance import Allowance
from penstock.gateway.purse import Hold, Purse, Quote, Tariff
from penstock.gateway.toll import Toll, hold_of, toll_of
from penstock.gateway.treasury import MemoryStore, Treasury
from penstock.ledger import budgets
from penstock.ledger.budgets import Bucket, Budget, Node
from penstock.routing.concurrency import Places
from penstock.routing.limits import KeyLimits

pytestmark = pytest.mark.skipif(budgets.native is None, reason=f"no native till: {budgets.missing}")

START_S = 1_795_219_200.0
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 5_000), st.integers(1, 400)),
        st.tuples(st.just("settle"), st.integers(0, 9), st.one_of(st.none(), st.integers(0, 3_000))),
        st.tuples(st.just("go on"), st.integers(0, 9), st.integers(0, 3_000)),
        st.tuples(st.just("later"), st.integers(1, 40_000), st.just(0)),
        st.tuples(st.just("told"), st.just(0), st.just(0)),
    ),
    max_size=50,
)


class At:
    """A clock that the test moves."""

    now_s = START_S

    def unix_s(self) -> float:
        return self.now_s

    def monotonic_s(self) -> float:
        return self.now_s


class House:
    """One key with budgets on two nodes, places and rates, and what its calls hold."""

    def __init__(self, limits: list[int], most: int, rates: bool) -> None:
        self.clock = At()
        self.treasury = Treasury(MemoryStore(self.clock), "h", self.clock)
        one, two, three = limits
        self.treasury.put(
            [
                Node("team", None, (Budget("day", one, "day"), Budget("month", two, "month"))),
                Node("key", "team", (Budget("day", three, "day"),)),
            ]
        )
        path = self.treasury.path("key")
        assert path is not None
        self.path = path
        self.fill()
        self.purse = Purse(self.treasury, path, "key")
        limit = KeyLimits(20, 2_000, None) if rates else None
        self.places = Places(most)
        self.allowance = Allowance(limit, (("key", self.places),), self.purse)
        self.tariff = Tariff(
            Quote(0, price_from_usd_text("0.000002"), 50, 50, False, False),
            price_from_usd_text("0.00000015"),
            7,
            13,
        )
        self.toll = toll_of(self.allowance, self.tariff, self.clock.unix_s())
        self.watched: list[list[int]] = []
        self.treasury.watch = lambda bucket: self.watched[-1].append(self.number(bucket))

    def fill(self) -> None:
        """All that the budgets have is leased: the till itself asks no store."""
        for bucket in self.path.at(self.clock.unix_s()):
            bucket.limit = bucket.account.spec.limit_nusd

    def number(self, bucket: Bucket) -> int:
        return [*self.treasury.budgets.accounts.values()].index(bucket.account)

    def figures(self) -> Any:
        found = []
        for account in self.treasury.budgets.accounts.values():
            for bucket in (*account.earlier, account.current):
                assert bucket is not None
                found.append((bucket.start_s, bucket.spent, bucket.committed, bucket.reserved))
        return found, len(self.places.held)

    async def play(self, steps: Any) -> list[Any]:
        held: list[tuple[str, Any, int]] = []
        story: list[Any] = []
        for number, (what, one, two) in enumerate(steps):
            if what == "take":
                rid = f"r{number}"
                hold = self.toll.take(rid, one, two, self.clock.monotonic_s())
                story.append(hold is not False)
                if hold is not False:
                    held.append((rid, hold, two))
            elif what == "settle" and held:
                rid, hold, tokens = held.pop(one % len(held))
                hold.settle(two)
                self.toll.leave(rid, tokens, tokens // 2, self.clock.monotonic_s())
            elif what == "go on" and held:
                rid, hold, tokens = held.pop(one % len(held))
                on = hold_of(self.purse, self.tariff, f"{rid}/0", hold)
                assert isinstance(on, Hold)
                story.append((on.quote.amount_nusd, on.guarded, on.reservation.held))
                on.settle(two)
                on.settle(two + 5)  # again: the first one counts
                self.allowance.leave(rid, tokens, tokens, self.clock.monotonic_s())
            elif what == "later":
                self.clock.now_s += one
                self.fill()
            elif what == "told":
                self.watched.append([])
                self.treasury.hand_over()
                story.append(sorted(self.watched[-1]))
            story.append(self.figures())
        assert self.treasury.budgets.live() == (0 if not isinstance(self.toll, Toll) else len(held))
        for rid, hold, tokens in held:
            hold.settle(0)
            self.toll.leave(rid, tokens, 0, self.clock.monotonic_s())
        assert self.treasury.due is not None or not any(what == "take" for what, _, _ in steps)
        if self.treasury.due is not None:
            self.treasury.due.cancel()
        figures, places = self.figures()
        assert places == 0
        assert all(reserved == 0 for *_, reserved in figures)
        return [*story, figures]


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=STEPS,
    limits=st.lists(st.integers(200, 9_000), min_size=3, max_size=3),
    most=st.integers(1, 4),
    rates=st.booleans(),
)
def test_till_and_toll_are_one(
    monkeypatch: pytest.MonkeyPatch, steps: Any, limits: list[int], most: int, rates: bool
):
    """Whatever is taken, settled, handed over to the long way, over windows' ends."""

    async def run() -> list[Any]:
        house = House(limits, most, rates)
        assert isinstance(house.toll, Toll) == (budgets.native is None)
        return await house.play(steps)

    native = asyncio.run(run())
    with monkeypatch.context() as patched:
        patched.setattr(budgets, "native", None)
        python = asyncio.run(run())
    assert native == python


def test_what_it_cannot_count_python_counts():
    """Prices beyond its figures, a reply that can be cut, budgets beyond a billion dollars."""
    house = House([10**9] * 3, 2, rates=False)
    now_s = house.clock.unix_s()
    one = house.tariff
    dear = Tariff(one.quote, price_from_usd_text("5000"), 0, 0)
    assert isinstance(toll_of(house.allowance, dear, now_s), Toll)
    cuttable = Tariff(Quote(0, one.input, 5, None, True, False), one.input, 0, 0)
    assert isinstance(toll_of(house.allowance, cuttable, now_s), Toll)
    assert isinstance(toll_of(Allowance(None, house.allowance.places, None), None, now_s), Toll)
    vast = House([2**61] * 3, 2, rates=False)
    assert isinstance(vast.toll, Toll)
    assert not isinstance(house.toll, Toll)


def test_a_limit_that_fails_takes_nothing():
    """A fault of ours in the middle: no budget is charged, no place is held."""
    house = House([10**9] * 3, 2, rates=False)

    class Broken:
        def admit(self, tokens: int, now_s: float) -> None:
            raise ArithmeticError

    house.allowance.limits = Broken()  # type: ignore[assignment]
    toll = toll_of(house.allowance, house.tariff, house.clock.unix_s())
    before = house.figures()

    async def run() -> None:
        with pytest.raises(ArithmeticError):
            toll.take("r", 10, 10, 1.0)
        assert house.treasury.due is not None
        house.treasury.due.cancel()

    asyncio.run(run())
    assert house.figures() == before
