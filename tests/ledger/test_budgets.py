"""Budgets: all or none on a path, settled once, never given back by a crash."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.money import Price
from penstock.ledger.budgets import Budget, Budgets, Node, Refused, Reservation, Settled
from penstock.ledger.reserving import Guard, Offer, fit_max_tokens, most_nusd

NOW = datetime(2026, 11, 21, 12, tzinfo=ZoneInfo("UTC")).timestamp()
MIDNIGHT = datetime(2026, 11, 22, tzinfo=ZoneInfo("UTC")).timestamp()


def tree(*, org: int = 1000, team: int = 500, key: int = 100, **more) -> Budgets:
    return Budgets(
        [
            Node("org", None, (Budget("org-day", org, "day"),)),
            Node("team", "org", (Budget("team-day", team, "day"), Budget("team-month", team * 10, "month"))),
            Node("key", "team", (Budget("key-day", key, "day", **more),)),
            Node("other", "team", (Budget("other-day", key, "day"),)),
            Node("user", "key"),
        ],
        lease_s=60,
    )


def figures(budgets: Budgets, now_s: float = NOW) -> dict[str, tuple[int, int]]:
    return {
        name: (account.at(now_s).spent, account.at(now_s).reserved)
        for (_, name), account in budgets.accounts.items()
    }


def test_a_call_holds_in_every_budget_on_its_path_and_settles_there():
    """A user without budgets of their own spends the key's, the team's and the organisation's."""
    budgets = tree()
    path = budgets.path("user")
    assert isinstance(budgets.reserve(path, "a", 60, NOW), Reservation)
    assert figures(budgets) == {
        "org-day": (0, 60), "team-day": (0, 60), "team-month": (0, 60), "key-day": (0, 60), "other-day": (0, 0),
    }  # fmt: skip
    assert budgets.settle("a", 45) == Settled(45)
    assert figures(budgets) == {
        "org-day": (45, 0), "team-day": (45, 0), "team-month": (45, 0), "key-day": (45, 0), "other-day": (0, 0),
    }  # fmt: skip


def test_a_refusal_takes_nothing_anywhere_and_says_what_where_and_when():
    """The organisation has room, the key has not."""
    budgets = tree()
    path = budgets.path("user")
    budgets.reserve(path, "a", 90, NOW)
    held = budgets.reserve(path, "b", 20, NOW)
    assert held == Refused("budget-held", "key", "key-day", 20, 10, MIDNIGHT, 1.0)
    assert "has $0.00000001 left that running calls do not hold" in held.reason
    budgets.settle("a", 90)
    spent = budgets.reserve(path, "b", 20, NOW)
    assert spent == Refused("budget-exhausted", "key", "key-day", 20, 10, MIDNIGHT, MIDNIGHT - NOW)
    never = budgets.reserve(path, "b", 101, NOW)
    assert (never.code, never.retry_after_s) == ("budget-too-small", None)
    assert figures(budgets)["org-day"] == (90, 0)
    assert isinstance(budgets.reserve(path, "b", 10, NOW), Reservation)
    assert isinstance(budgets.reserve(path, "c", 20, MIDNIGHT), Reservation), "the stated moment is enough"


def test_the_budget_that_stands_longest_in_the_way_is_named():
    """Who waits for the day's end would still meet the month's."""
    budgets = Budgets([Node("k", None, (Budget("month", 10, "month"), Budget("day", 5, "day")))])
    path = budgets.path("k")
    budgets.reserve(path, "a", 5, NOW)
    budgets.settle("a", 9)  # more than held: recorded all the same
    assert budgets.reserve(path, "b", 4, NOW).budget == "month"


def test_a_reservation_belongs_to_the_window_in_which_it_began():
    """Settled after midnight, it is yesterday's money; today begins at nothing."""
    budgets = tree()
    path = budgets.path("key")
    budgets.reserve(path, "late", 80, MIDNIGHT - 1)
    budgets.reserve(path, "today", 30, MIDNIGHT + 1)
    assert budgets.extend("late", 30, MIDNIGHT + 2).code == "budget-held", "yesterday's limit still holds it"
    assert isinstance(budgets.extend("late", 20, MIDNIGHT + 2), Reservation)
    assert budgets.settle("late", 99) == Settled(99)
    assert figures(budgets, MIDNIGHT + 3)["key-day"] == (0, 30)
    assert figures(budgets, MIDNIGHT + 3)["team-month"] == (99, 30), "the month goes on"
    account = budgets.accounts["key", "key-day"]
    assert [(one.spent, one.reserved) for one in account.earlier] == [(99, 0)]


def test_settling_twice_counts_once():
    """And the first one counts."""
    budgets = tree()
    budgets.reserve(budgets.path("key"), "a", 60, NOW)
    assert budgets.settle("a", 45) == Settled(45)
    assert budgets.settle("a", 60) == Settled(45, again=True)
    assert budgets.release("a") == Settled(45, again=True)
    assert figures(budgets)["key-day"] == (45, 0)
    assert budgets.settle("never-seen", 5) is None
    again = budgets.reserve(budgets.path("key"), "a", 60, NOW)
    assert again.code == "lease-ended", "an id is one call's"


def test_reserving_twice_holds_once():
    """Also when a second hold would not fit."""
    budgets = tree()
    path = budgets.path("key")
    first = budgets.reserve(path, "a", 60, NOW)
    assert budgets.reserve(path, "a", 30, NOW) is first
    assert budgets.reserve(path, "a", 60, NOW) is first
    assert figures(budgets)["key-day"] == (0, 60)


def test_what_outlives_its_lease_is_spent_at_its_hold_until_it_is_settled_late():
    """A crash never gives money back; the truth, when it comes, is put in."""
    budgets = tree()
    path = budgets.path("key")
    budgets.reserve(path, "a", 60, NOW)
    budgets.reserve(path, "b", 20, NOW)
    budgets.extend("b", 0, NOW + 50)
    assert [held.id for held in budgets.sweep(NOW + 60)] == ["a"]
    assert figures(budgets)["key-day"] == (60, 20)
    assert budgets.extend("a", 1, NOW + 61).code == "lease-ended"
    assert budgets.settle("a", 25) == Settled(25, late=True)
    assert budgets.settle("a", 26) == Settled(25, again=True)
    assert figures(budgets)["key-day"] == (25, 20)
    assert budgets.sweep(NOW + 110)[0].id == "b"
    assert budgets.live() == 0


def test_a_soft_budget_lets_running_calls_into_its_overdraft_and_no_new_ones():
    """Up to the stated percentage, and not beyond."""
    budgets = tree(mode="soft", overdraft_percent=5)
    path = budgets.path("key")
    budgets.reserve(path, "a", 100, NOW)
    assert budgets.reserve(path, "b", 1, NOW).code == "budget-held"
    assert isinstance(budgets.extend("a", 5, NOW), Reservation)
    assert budgets.extend("a", 1, NOW).left_nusd == 0
    hard = tree(mode="hard", overdraft_percent=5)
    hard.reserve(hard.path("key"), "a", 100, NOW)
    assert isinstance(hard.extend("a", 1, NOW), Refused)


def test_a_limit_can_be_changed_and_a_start_is_told_what_was_spent():
    """A lowered limit refuses what is new; what runs is kept."""
    budgets = tree()
    budgets.restore("key", "key-day", 70, NOW)
    path = budgets.path("key")
    assert budgets.reserve(path, "a", 40, NOW).left_nusd == 30
    budgets.accounts["key", "key-day"].change(Budget("key-day", 200, "day"))
    assert isinstance(budgets.reserve(path, "a", 40, NOW), Reservation)
    budgets.accounts["key", "key-day"].change(Budget("key-day", 50, "day"))
    assert budgets.reserve(path, "b", 1, NOW).left_nusd == 0
    assert budgets.settle("a", 40) == Settled(40)
    with pytest.raises(ValueError, match="another budget"):
        budgets.accounts["key", "key-day"].change(Budget("key-day", 50, "month"))


def test_mistakes_in_the_tree_are_named():
    """Before any money moves."""
    with pytest.raises(ValueError, match="parent nobody"):
        Budgets([Node("team", "nobody")])
    with pytest.raises(ValueError, match="one name"):
        Budgets([Node("team", None, (Budget("x", 1), Budget("x", 2)))])
    with pytest.raises(ValueError, match="not negative"):
        Budgets([Node("team", None, (Budget("x", -1),))])
    budgets = tree()
    for ask in (
        lambda: budgets.reserve(budgets.path("key"), "a", -1, NOW),
        lambda: budgets.extend("a", -1, NOW),
        lambda: budgets.settle("a", -1),
    ):
        with pytest.raises(ValueError, match="not negative"):
            ask()


def test_what_is_remembered_is_bounded():
    """A settlement repeated after very many others is unknown, not double."""
    budgets = Budgets([Node("k", None, (Budget("b", 1000),))], remember=2)
    path = budgets.path("k")
    for rid in "abcd":
        budgets.reserve(path, rid, 1, NOW)
        budgets.settle(rid, 1)
    assert budgets.settle("a", 1) is None
    assert budgets.settle("c", 1) == Settled(1, again=True)
    assert budgets.settle("d", 1) == Settled(1, again=True)


PRICE = Price(pico_usd=15, per=1)


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(1, 10**8),
    st.integers(0, 10**7),
    st.integers(1, 50),
)
def test_a_call_that_cannot_be_cut_gets_the_largest_cap_that_fits(room, input_nusd, wanted, pico, least):
    """One token more would not fit; what is offered can be reserved; else it is refused, and rightly."""
    budgets, price = Budgets([Node("k", None, (Budget("b", room),))]), Price(pico_usd=pico)
    path = budgets.path("k")
    offer = fit_max_tokens(path, input_nusd, wanted, price, NOW, least=least)
    if isinstance(offer, Refused):
        assert input_nusd + most_nusd(min(least, wanted), price) > room
        return
    assert offer.amount_nusd >= input_nusd + -(-offer.max_tokens * pico // 1000)
    assert offer.lowered == (offer.max_tokens < wanted)
    if offer.lowered:
        assert offer.max_tokens >= least
        assert input_nusd + most_nusd(offer.max_tokens + 1, price) > room
    assert isinstance(budgets.reserve(path, "a", offer.amount_nusd, NOW), Reservation)


def test_without_budgets_everything_fits():
    """No budget on the path is no limit."""
    budgets = Budgets([Node("k")])
    path = budgets.path("k")
    assert fit_max_tokens(path, 5, 1000, PRICE, NOW) == Offer(1000, 20)
    assert isinstance(budgets.reserve(path, "a", 10**30, NOW), Reservation)


@given(
    st.integers(1, 2000), st.integers(0, 300), st.integers(1, 400), st.lists(st.integers(0, 30), max_size=200)
)
def test_a_guarded_stream_stops_before_it_costs_more_than_it_holds(limit, other, chunk, deltas):
    """As long as no delta costs more than the stated slack, a hard limit holds whatever the stream does."""
    budgets = Budgets([Node("k", None, (Budget("b", limit),))])
    path = budgets.path("k")
    budgets.reserve(path, "other", min(other, limit - 1), NOW)
    held = budgets.reserve(path, "a", max(1, (limit - min(other, limit - 1)) // 4), NOW)
    guard, cost = Guard(budgets, held, chunk, slack_nusd=30), 0
    if not guard.produced(0, NOW):
        assert guard.refused.budget == "b"
        return
    for delta in deltas:
        cost += delta
        go_on = guard.produced(cost, NOW)
        assert cost <= held.held
        if not go_on:
            assert guard.refused.budget == "b"
            assert cost + 30 >= held.held, "what was held is used up"
            break
    assert budgets.settle("a", cost).over_nusd == 0


def test_a_guarded_stream_whose_lease_was_swept_stops():
    """Its money is already counted as spent; more would be nobody's."""
    budgets = tree()
    held = budgets.reserve(budgets.path("key"), "a", 10, NOW)
    guard = Guard(budgets, held, 10)
    assert guard.produced(9, NOW)
    assert held.held == 20
    budgets.sweep(NOW + 60)
    assert not guard.produced(10, NOW + 61)
    assert guard.refused.code == "lease-ended"
    assert "counted as spent" in guard.refused.reason
