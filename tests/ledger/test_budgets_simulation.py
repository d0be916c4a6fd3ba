"""Under load with callers that do not give up: never above the limit, and nearly all of it spent."""

import pytest

from tests.ledger.budget_simulation import LIMIT_NUSD, Simulation


@pytest.mark.parametrize("cuttable", [True, False], ids=["streamed", "cannot-be-cut"])
@pytest.mark.parametrize("per_s", [20, 100])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_hard_budget_is_never_exceeded_and_at_least_95_percent_of_it_is_spent(per_s, seed, cuttable):
    """The issue's own figures: refused callers retry until nothing is reserved and the cheapest is refused."""
    run = Simulation(per_s, seed, cuttable=cuttable).play()
    assert run.most_nusd <= LIMIT_NUSD
    assert run.spent_nusd >= LIMIT_NUSD * 95 // 100
    assert run.counts["refused"] > 100, "the limit was met under load"


@pytest.mark.parametrize("per_s", [20, 100])
def test_a_soft_budget_stays_within_its_overdraft(per_s):
    """5 % here; and it is used: fewer streams are cut."""
    run = Simulation(per_s, 1, mode="soft").play()
    assert run.spent_nusd >= LIMIT_NUSD * 95 // 100
    assert run.most_nusd <= LIMIT_NUSD * 105 // 100
    assert run.counts["cut"] <= Simulation(per_s, 1).play().counts["cut"]


def test_reserving_the_expected_output_admits_more_before_the_first_refusal():
    """Why not every call holds its maximum: most of the budget would be held when little of it is spent."""
    expected = Simulation(20, 3).play().first_refused_nusd
    maximum = Simulation(20, 3, cuttable=False).play().first_refused_nusd
    assert expected > 3 * maximum


def test_a_prior_is_used_until_enough_answers_were_seen():
    """At 100 a second the budget is met before the first answers have ended: only a prior can help then."""
    assert (
        Simulation(100, 3, prior=1000).play().first_refused_nusd
        > 3 * Simulation(100, 3).play().first_refused_nusd
    )
