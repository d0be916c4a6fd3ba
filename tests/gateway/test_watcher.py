"""Who watches the budgets, where the shared store is slow to say, says nothing, or has forgotten."""

import asyncio
import io
from typing import Any

from penstock.gateway import watcher
from penstock.gateway.treasury import MemoryStore, Treasury
from penstock.gateway.watcher import Watcher
from penstock.ledger.budgets import Bucket, Budget, Code, Node, Refused
from penstock.ledger.leases import Claim, Grant, Pot
from penstock.observe.log import OperatorLog
from penstock.observe.metrics import Metrics
from penstock.testing import FakeClock

LIMIT = 1000


class Store(MemoryStore):
    """A store that may be away, or may grant nothing for a while."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.away = self.quiet = False
        self.asked = 0

    async def exchange(self, claims: list[Claim]) -> list[Grant]:
        self.asked += 1
        if self.away:
            return []
        if self.quiet:
            return [Grant(one.pot, one.seq, 0, one.limit, 0, 0.0) for one in claims]
        return await super().exchange(claims)

    async def standing(self, pots: list[Pot]) -> list[tuple[int, int]]:
        return [] if self.away else await super().standing(pots)


class Posts:
    """Webhooks that are only kept."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def post(self, told: dict[str, Any]) -> None:
        self.told.append(told)

    async def aclose(self) -> None:
        """There is nothing to wait for."""


class Watching:
    """One process that watches one budget of a team."""

    def __init__(self, store: Store, clock: FakeClock, holder: str = "one") -> None:
        self.store, self.clock, self.posts, self.said = store, clock, Posts(), io.StringIO()
        self.treasury = Treasury(store, holder, clock)
        self.treasury.put([Node("team a", None, (Budget("day", LIMIT, "day"),))])
        self.metrics = Metrics()
        self.watcher = Watcher(
            self.treasury,
            self.posts,
            self.metrics,
            OperatorLog(stream=self.said),
            clock,  # type: ignore[arg-type]
        )
        self.treasury.watch = self.watcher.note

    @property
    def bucket(self) -> Bucket:
        return self.treasury.budgets.accounts["team a", "day"].at(self.clock.unix_s())

    def spend(self, nusd: int) -> None:
        self.bucket.spent += nusd
        self.watcher.note(self.bucket)

    def refuse(self, code: Code = "budget-exhausted") -> None:
        self.watcher.refused(Refused(code, "team a", "day", 50, 30, self.bucket.end_s, 1.0))

    def percents(self) -> list[int]:
        return [told["percent"] for told in self.posts.told]

    def gauges(self) -> dict[str, str]:
        lines = self.metrics.render().decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if line.startswith("penstock_budget"))


def test_a_store_that_does_not_answer_is_asked_again():
    """Nothing is told meanwhile, and nothing is lost."""

    async def run() -> None:
        clock = FakeClock()
        store = Store(clock)
        one = Watching(store, clock)
        store.away = True
        one.spend(850)
        await one.watcher.check()
        assert one.percents() == []
        store.away, store.quiet = False, True
        await one.watcher.check()
        assert (one.percents(), store.asked) == ([], 1)
        store.quiet = False
        await one.watcher.check()
        await one.watcher.check()
        assert one.percents() == [50, 80]
        assert one.said.getvalue().count("budget.alert") == 2
        await one.watcher.aclose()

    asyncio.run(run())


def test_what_others_have_spent_counts_and_one_of_two_tells():
    """Neither has spent half of it; the second to look finds that they have."""

    async def run() -> None:
        clock = FakeClock()
        store = Store(clock)
        two = [Watching(store, clock, name) for name in ("one", "two")]
        for each in two:
            each.spend(300)
            pot = ("team a", "day", each.bucket.start_s)
            claim = Claim(
                each.treasury.slices.holder, pot, 1, 300, 0, limit=LIMIT, ceiling=LIMIT, granted=300
            )
            await store.exchange([claim])
        for each in (*two, *two):
            await each.watcher.check()
        assert sorted([*two[0].percents(), *two[1].percents()]) == [50]
        for each in two:
            await each.watcher.refresh()
            assert each.gauges()['penstock_budget_spent_ratio{holder="team a",budget="day"}'] == "0.6"
            await each.watcher.aclose()

    asyncio.run(run())


def test_it_looks_for_a_while_and_then_no_more():
    """Until others have said what they spent; a budget that nobody touches costs nothing."""

    async def run() -> None:
        clock = FakeClock()
        one = Watching(Store(clock), clock)
        one.spend(1)
        await one.watcher.check()
        assert one.watcher._touched
        clock.advance(watcher.LINGER_S + 0.1)
        await one.watcher.check()
        assert not one.watcher._touched
        await one.watcher.aclose()

    asyncio.run(run())


def test_gauges_are_of_the_window_of_now(monkeypatch):
    """The forecast is there while it is before the window's end; yesterday's figures are gone with yesterday."""

    async def run() -> None:
        clock = FakeClock()
        one = Watching(Store(clock), clock)
        labels = '{holder="team a",budget="day"}'
        one.spend(10)
        await one.watcher.refresh()
        assert f"penstock_budget_forecast_exhausted_seconds{labels}" not in one.gauges()
        clock.advance(100)
        one.spend(100)
        await one.watcher.refresh()
        found = one.gauges()
        assert found[f"penstock_budget_spent_usd{labels}"] == "0.00000011"
        assert found[f"penstock_budget_limit_usd{labels}"] == "0.000001"
        assert 889 < float(found[f"penstock_budget_forecast_exhausted_seconds{labels}"]) < 891
        clock.advance(86_400)
        assert one.gauges() == {}
        await one.watcher.refresh()
        assert one.gauges()[f"penstock_budget_spent_ratio{labels}"] == "0.0"
        await one.watcher.aclose()

    asyncio.run(run())


def test_that_calls_are_refused_is_told_once_a_window():
    """Before all is spent; by one of two processes; also where the store is away at first. Each refusal is counted."""

    async def run() -> None:
        clock = FakeClock()
        store = Store(clock)
        two = [Watching(store, clock, name) for name in ("one", "two")]
        one = two[0]
        one.spend(970)
        store.away = True
        for each in two:
            each.refuse()
            each.refuse()
            await each.watcher.check()
        assert one.posts.told == []
        store.away = False
        for each in (*two, *two):
            each.refuse()
            await each.watcher.check()
        told = [*one.posts.told, *two[1].posts.told]
        assert [(each["type"], each["percent"]) for each in told] == [
            ("budget.threshold", 50),
            ("budget.threshold", 80),
            ("budget.threshold", 95),
            ("budget.exhausted", 100),
        ]
        assert told[-1]["spent_usd"] == "0.00000097"
        count = 'penstock_budget_refusals_total{holder="team a",budget="day",code="budget-exhausted"}'
        assert one.gauges()[count] == "4"
        assert one.said.getvalue().count("budget.exhausted") == 1
        clock.advance(86_400)
        one.refuse()
        await one.watcher.check()
        assert one.posts.told[-1]["type"] == "budget.exhausted"
        assert len(one.posts.told) == 5
        for each in two:
            await each.watcher.aclose()

    asyncio.run(run())


def test_a_budget_that_others_hold_is_counted_and_not_told():
    """It comes back in a moment; and a call that would never fit says nothing of what is left."""

    async def run() -> None:
        clock = FakeClock()
        one = Watching(Store(clock), clock)
        for code in ("budget-held", "budget-too-small"):
            one.refuse(code)
            await one.watcher.check()
        assert one.posts.told == []
        assert sum("refusals" in name for name in one.gauges()) == 2
        await one.watcher.aclose()

    asyncio.run(run())


def test_what_was_spent_before_the_state_existed_is_in_the_gauges():
    """The ledger knew of it, and the pool has not heard: as ``penstock budgets`` shows it. Thresholds count it, too."""

    async def run() -> None:
        clock = FakeClock()
        one = Watching(Store(clock), clock)
        one.treasury.slices.known["team a", "day", one.bucket.start_s] = 600
        await one.watcher.refresh()
        assert one.gauges()['penstock_budget_spent_usd{holder="team a",budget="day"}'] == "0.0000006"
        one.spend(10)
        await one.watcher.check()
        assert one.percents() == [50]
        assert one.posts.told[0]["spent_usd"] == "0.00000061"
        await one.watcher.aclose()

    asyncio.run(run())


def test_what_is_remembered_is_bounded(monkeypatch):
    """Budgets of many users: those spent from longest ago are forgotten; what was told of them is in the store."""
    monkeypatch.setattr(watcher, "MAX_BUDGETS", 3)

    async def run() -> None:
        clock = FakeClock()
        one = Watching(Store(clock), clock)
        names = [f"user {number} of key k" for number in range(6)]
        one.treasury.put([Node(name, "team a", (Budget("day", LIMIT, "day"),)) for name in names])
        for _ in range(2):
            for name in names:
                bucket = one.treasury.budgets.accounts[name, "day"].at(clock.unix_s())
                bucket.spent = 600
                one.watcher.note(bucket)
                await one.watcher.check()
        assert len(one.watcher._seen) == 3
        assert one.percents() == [50] * 6
        await one.watcher.aclose()

    asyncio.run(run())
