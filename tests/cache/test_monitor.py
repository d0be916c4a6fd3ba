"""The running test: silent while the promise holds, soon loud when it does not, also after a long good time."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cache.semantic.monitor import Monitor


def alarm_after(seed: int, rates: list[tuple[int, float]], promise: float) -> int | None:
    """At which audit; ``rates``: so many audits at such a rate."""
    draw = random.Random(seed)
    monitor = Monitor(promise, 0.05)
    for count, rate in enumerate(itertools.chain.from_iterable([rate] * n for n, rate in rates), 1):
        if monitor.add(draw.random() < rate):
            return count
    return None


@settings(deadline=None)
@given(st.floats(0.001, 0.6), st.integers(1, 9))
def test_wealth_is_a_martingale_on_the_edge(promise: float, audits: int) -> None:
    """Its mean over all courses, each weighted by its probability at the promised rate, is 1: so Ville's bound holds."""
    mean = 0.0
    for course in itertools.product((False, True), repeat=audits):
        monitor = Monitor(promise, 1e-9)
        chance = 1.0
        for wrong in course:
            monitor.add(wrong)
            chance *= promise if wrong else 1 - promise
        mean += chance * monitor.wealth()
    assert mean == pytest.approx(1.0)


@settings(deadline=None)
@given(st.floats(0.001, 0.6), st.lists(st.booleans(), max_size=60))
def test_a_wrong_audit_raises_it_and_a_right_one_does_not(promise: float, course: list[bool]) -> None:
    monitor = Monitor(promise, 1e-12)
    for wrong in course:
        before = monitor.wealth()
        monitor.add(wrong)
        assert (monitor.wealth() > before) if wrong else (monitor.wealth() <= before + 1e-12)
    assert (monitor.audits, monitor.wrong) == (len(course), sum(course))


def test_a_kept_promise_is_hardly_ever_called_broken() -> None:
    alarms = sum(alarm_after(seed, [(1500, 0.02)], 0.02) is not None for seed in range(150))
    assert alarms <= 150 * 0.05


def test_a_broken_promise_is_found() -> None:
    found = sorted(alarm_after(seed, [(2000, 0.10)], 0.02) or 2001 for seed in range(100))
    assert found[50] <= 60
    assert found[95] <= 200


def test_it_is_found_also_after_a_long_good_time() -> None:
    found = sorted(alarm_after(seed, [(1500, 0.002), (2000, 0.20)], 0.02) or 9999 for seed in range(100))
    alarms_before = sum(each <= 1500 for each in found)
    assert alarms_before <= 5
    assert found[90] <= 1500 + 100


def test_it_stays_broken() -> None:
    monitor = Monitor(0.01, 0.05)
    while not monitor.add(True):
        assert monitor.audits < 10
    assert monitor.add(False)
    assert monitor.broken


def test_a_promise_near_one_still_has_a_bet() -> None:
    monitor = Monitor(0.9, 0.05)
    for _ in range(200):
        monitor.add(True)
    assert monitor.broken
