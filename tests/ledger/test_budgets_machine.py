"""Whatever order things come in, the invariants of budgets hold."""

from datetime import datetime
from zoneinfo import ZoneInfo

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from penstock.ledger.budgets import Bucket, Budget, Budgets, Node, Refused, Reservation

START = datetime(2026, 10, 24, 20, tzinfo=ZoneInfo("UTC")).timestamp()
"""Before the night in which Berlin's clocks go back, in a week and a month that end soon."""
KEYS = ["key-a", "key-b", "key-c"]
PARENTS = {"team-1": ["key-a", "key-b"], "team-2": ["key-c"], "org": ["team-1", "team-2"]}
PERIODS = ("day", "week", "month")


def budgets_of(node: str, limit: int, mode: str) -> Node:
    parent = next((up for up, down in PARENTS.items() if node in down), None)
    made = [
        Budget(f"{node}-{period}", limit * (1 + 2 * number), period, "Europe/Berlin", mode, 10)
        for number, period in enumerate(PERIODS)
    ]
    return Node(node, parent, tuple(made))


class BudgetMachine(RuleBasedStateMachine):
    """Three keys under two teams; one key is soft, its team and organisation hard."""

    live = Bundle("live")
    ended = Bundle("ended")

    def __init__(self) -> None:
        super().__init__()
        self.now_s = START
        self.count = 0
        self.budgets = Budgets(
            [
                budgets_of("org", 900, "hard"),
                budgets_of("team-1", 500, "hard"),
                budgets_of("team-2", 500, "hard"),
                budgets_of("key-a", 300, "hard"),
                budgets_of("key-b", 300, "soft"),
                budgets_of("key-c", 700, "soft"),
            ],
            lease_s=3600,
        )
        self.held: dict[str, Reservation] = {}
        self.paid: dict[str, int] = {}
        self.seen: set[Bucket] = set()

    def totals(self) -> dict[Bucket, tuple[int, int]]:
        return {bucket: (bucket.spent, bucket.committed) for bucket in self.seen}

    @rule(target=live, key=st.sampled_from(KEYS), amount=st.integers(0, 350))
    def reserve(self, key, amount):
        path = self.budgets.path(key)
        self.seen.update(path.at(self.now_s))
        before = self.totals()
        self.count += 1
        rid = f"r{self.count}"
        answer = self.budgets.reserve(path, rid, amount, self.now_s)
        if isinstance(answer, Refused):
            assert self.totals() == before, "all or nothing"
            assert answer.left_nusd < amount
            assert answer.window_ends_s > self.now_s
            return multiple()
        self.held[rid] = answer
        return rid

    @rule(rid=live, more=st.integers(0, 200))
    def extend(self, rid, more):
        before = self.totals()
        answer = self.budgets.extend(rid, more, self.now_s)
        if isinstance(answer, Refused):
            assert self.totals() == before
        else:
            assert rid not in self.paid

    @rule(target=ended, rid=consumes(live), part=st.integers(0, 100))
    def settle(self, rid, part):
        held = self.held[rid]
        cost = held.held * part // 100
        answer = self.budgets.settle(rid, cost)
        assert answer.spent_nusd == cost
        assert answer.over_nusd == 0
        assert not answer.again
        assert answer.late == (rid in self.paid)
        self.paid[rid] = cost
        return rid

    @rule(rid=ended, cost=st.integers(0, 1000))
    def settle_again(self, rid, cost):
        before = self.totals()
        answer = self.budgets.settle(rid, cost)
        assert answer.again
        assert answer.spent_nusd == self.paid[rid]
        assert self.totals() == before, "no double settlement"

    @rule(rid=ended, key=st.sampled_from(KEYS))
    def reserve_an_ended_id(self, rid, key):
        assert self.budgets.reserve(self.budgets.path(key), rid, 1, self.now_s).code == "lease-ended"

    @rule(minutes=st.sampled_from([1, 30, 61, 60 * 5, 60 * 24, 60 * 24 * 9]))
    def wait(self, minutes):
        self.now_s += minutes * 60

    @rule()
    def sweep(self):
        before = {bucket: bucket.committed for bucket in self.seen}
        for held in self.budgets.sweep(self.now_s):
            assert held.expires_s <= self.now_s
            self.paid[held.id] = held.held
        assert {bucket: bucket.committed for bucket in self.seen} == before, "a sweep gives no money back"

    @invariant()
    def limits_hold(self):
        for bucket in self.seen:
            spec = bucket.account.spec
            most = spec.limit_nusd * (110 if spec.mode == "soft" else 100) // 100
            assert 0 <= bucket.spent <= bucket.committed <= most

    @invariant()
    def every_bucket_is_the_sum_of_its_calls(self):
        for bucket in self.seen:
            mine = [held for held in self.held.values() if bucket in held.buckets]
            assert bucket.spent == sum(self.paid[held.id] for held in mine if held.id in self.paid)
            assert bucket.reserved == sum(held.held for held in mine if held.id not in self.paid)

    @invariant()
    def a_parent_is_the_sum_of_its_children(self):
        at = {(one.account.node, one.account.spec.period, one.start_s): one for one in self.seen}
        for (node, period, start_s), bucket in at.items():
            if node in PARENTS:
                children = [at.get((child, period, start_s)) for child in PARENTS[node]]
                assert bucket.spent == sum(child.spent for child in children if child)
                assert bucket.committed == sum(child.committed for child in children if child)


BudgetMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBudgetMachine = BudgetMachine.TestCase
