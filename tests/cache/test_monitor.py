"""The running test: silent while the promise holds, soon loud when it does not, also after a long good time."""

import itertools
import random

import pytest
from hypothesis import assume, given, settings
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


def audited(seed: int, hits: int, near_wrong: float, far_wrong: float, *, weighted: bool) -> Monitor:
    """A third of the hits lie near the threshold; they are audited five times as often, at 10 % instead of 2 %."""
    draw = random.Random(seed)
    monitor = Monitor(0.02, 0.05)
    for _ in range(hits):
        near = draw.random() < 1 / 3
        rate = 0.10 if near else 0.02
        wrong = draw.random() < (near_wrong if near else far_wrong)
        if draw.random() < rate:
            monitor.add(wrong, 1 / rate if weighted else 1.0)
    return monitor


def test_audits_that_favour_the_threshold_break_no_kept_promise() -> None:
    """2 % of all hits are wrong, as promised, and all of them are near the threshold: 6 % there."""
    broken = [audited(seed, 20_000, 0.06, 0.0, weighted=True).broken for seed in range(40)]
    assert sum(broken) <= 4
    counted_alike = [audited(seed, 20_000, 0.06, 0.0, weighted=False).broken for seed in range(10)]
    assert sum(counted_alike) >= 8


def test_uneven_audits_find_a_broken_promise() -> None:
    assert sum(audited(seed, 20_000, 0.15, 0.05, weighted=True).broken for seed in range(20)) == 20
    assert sum(audited(seed, 20_000, 0.0, 0.12, weighted=True).broken for seed in range(20)) == 20


@settings(deadline=None)
@given(st.floats(0.001, 0.6), st.floats(0, 1), st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0, 1))
def test_one_uneven_audit_wins_nothing_on_the_edge(
    promise: float, near_share: float, near_rate: float, far_rate: float, near_wrong: float
) -> None:
    """The mean of W after one more hit, over near and far, audited and not, wrong and right, at exactly the promised rate."""
    far_share = 1 - near_share
    wrong_left = promise - near_share * near_wrong
    assume(far_share > 1e-6)
    assume(0 <= wrong_left <= far_share)
    largest = max(1 / near_rate, 1 / far_rate)

    def begun() -> Monitor:
        """Both weights have been seen."""
        monitor = Monitor(promise, 1e-12)
        monitor.add(False, largest)
        return monitor

    before = begun()
    invested = before.wealth()
    mean = 0.0
    for part, rate, wrong_rate in (
        (near_share, near_rate, near_wrong),
        (far_share, far_rate, wrong_left / far_share),
    ):
        mean += part * (1 - rate) * invested
        for wrong, chance in ((True, wrong_rate), (False, 1 - wrong_rate)):
            after = begun()
            after.add(wrong, 1 / rate)
            mean += part * rate * chance * after.wealth()
    assert mean == pytest.approx(invested)
