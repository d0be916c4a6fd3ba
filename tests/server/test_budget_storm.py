"""Callers who do not give up, through a real gateway process: a hard budget is never exceeded, and nearly all of it is spent."""

import pytest

from tests.server.budget_storm import LIMIT_NUSD, Storm, play

STORMS = [
    Storm(20, dear=8, tokens_per_s=400.0),
    Storm(100, dear=4, tokens_per_s=800.0),
    Storm(100, stream=False, dear=8, tokens_per_s=800.0),
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("storm", STORMS, ids=str)
def test_never_above_ten_dollars_and_at_least_95_percent_spent(tmp_path, storm):
    """At a multiple of the issue's prices, so that it is over in seconds: python -m tests.server.budget_storm is the whole of it."""
    played = play(tmp_path, storm)
    assert played.odd == []
    assert played.spent_nusd <= LIMIT_NUSD
    assert played.billed_nusd <= LIMIT_NUSD
    assert played.spent_nusd >= LIMIT_NUSD * 95 // 100
    assert played.refused


@pytest.mark.timeout(120)
def test_kill_9_gives_no_money_back(tmp_path):
    """Three times, in the middle of streams: whatever the provider has sent until then is within the limit, too.

    What a run that was killed had leased is counted as spent: with each kill at most that is lost of the budget.
    """
    played = play(tmp_path, Storm(100, dear=4, tokens_per_s=400.0, kills=3))
    assert played.odd == []
    assert played.broken > 20
    assert played.spent_nusd <= LIMIT_NUSD
    assert played.billed_nusd <= LIMIT_NUSD
    assert played.spent_nusd >= LIMIT_NUSD // 10
