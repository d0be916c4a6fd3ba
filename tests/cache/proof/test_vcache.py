"""The rule that ours is compared with is itself right: it does what its paper says, so the comparison is one."""

import random

import pytest

from tests.cache.proof.vcache import Entry, fit


def observed(seed: int, count: int, middle: float, steep: float) -> list[tuple[float, bool]]:
    """Similarities with answers that are right by a logistic law."""
    draw = random.Random(seed)
    found = [(0.0, False), (1.0, True)]
    for _ in range(count):
        score = draw.uniform(0.6, 1.0)
        found.append((score, draw.random() < 1 / (1 + 2.718281828 ** (-steep * (score - middle)))))
    return found


def test_the_curve_is_found_again() -> None:
    for seed in range(5):
        middle, slope, variance = fit(observed(seed, 2000, 0.85, 40))
        assert middle == pytest.approx(0.85, abs=0.01)
        assert slope == pytest.approx(40, rel=0.25)
        assert 0 < variance < 1e-4


def test_more_observations_are_more_certain() -> None:
    few, many = fit(observed(1, 60, 0.85, 30)), fit(observed(1, 3000, 0.85, 30))
    assert many[2] < few[2] / 10


def test_an_entry_is_explored_until_four_answers_were_compared() -> None:
    entry = Entry()
    for _ in range(3):
        assert entry.explore(0.99, 0.05) == 1.0
        entry.observe(0.95, True)
    assert entry.explore(0.99, 0.05) == 1.0
    entry.observe(0.95, True)
    assert entry.explore(0.99, 0.05) < 1.0


def test_what_is_surely_right_is_served_and_what_is_surely_wrong_is_not() -> None:
    entry = Entry()
    for score, right in observed(3, 400, 0.85, 80)[2:]:
        entry.observe(score, right)
    assert entry.explore(0.99, 0.05) < 0.1
    assert entry.explore(0.70, 0.05) > 0.9
    assert entry.explore(0.99, 0.01) <= entry.explore(0.92, 0.01) <= entry.explore(0.86, 0.01)


def test_its_promise_is_on_all_calls() -> None:
    """Where it serves with probability 1 - tau, it is wrong in at most delta of all calls: the paper's bound, in simulation."""
    entry = Entry()
    for score, right in observed(7, 500, 0.85, 40)[2:]:
        entry.observe(score, right)
    draw = random.Random(8)
    wrong = served = 0
    for score, right in observed(9, 4000, 0.85, 40)[2:]:
        if draw.random() > entry.explore(round(score, 3), 0.05):
            served += 1
            wrong += not right
    assert wrong <= 0.05 * 4000
    assert served > 0.1 * 4000
