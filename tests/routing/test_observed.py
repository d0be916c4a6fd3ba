"""Rolling measurements: percentiles within their promise, windows that forget, uptime that counts only what tells."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.routing.observed import DAY_S, MINUTES_5_S, MINUTES_30_S, PERCENTILES, Observed

NOW_S = 50_000.0
values = st.lists(st.floats(0.001, 1000), min_size=1, max_size=60)


@given(values)
def test_percentiles_are_right_within_four_percent(found: list[float]):
    """Nearest rank: what the sorted list has at that place."""
    seen = Observed()
    for value in found:
        seen.see("a/m", NOW_S, good=True, first_s=value, tokens_per_s=value)
    latency, speed = seen.latency_s("a/m", NOW_S), seen.throughput("a/m", NOW_S)
    assert latency is not None
    assert speed is not None
    for percent in PERCENTILES:
        rank = ceil(percent * len(found) / 100) - 1
        assert latency.at(percent) == pytest.approx(sorted(found)[rank], rel=0.04)
        assert speed.at(percent) == pytest.approx(sorted(found, reverse=True)[rank], rel=0.04)


events = st.lists(st.tuples(st.integers(0, 2 * DAY_S), st.sampled_from((True, False, None))), max_size=60)


@given(events, st.sampled_from((30, MINUTES_5_S, MINUTES_30_S, DAY_S)))
def test_uptime_counts_its_window_and_nothing_else(found: list[tuple[int, bool | None]], window_s: int):
    """Up to one slot's width: what is inside for sure is counted, what is outside for sure is not."""
    seen = Observed()
    now_s = 4.0 * DAY_S
    for ago_s, good in sorted(found, key=lambda one: -one[0]):
        seen.see("a/m", now_s - ago_s, good=good)
    slot_s = 600 if window_s > MINUTES_30_S else 10
    inside = [good for ago, good in found if good is not None and ago < window_s - slot_s]
    maybe = [good for ago, good in found if good is not None and ago <= window_s]
    up = seen.uptime("a/m", now_s, window_s)
    if not maybe:
        assert up is None
    if inside and len(inside) == len(maybe):
        assert up == pytest.approx(sum(inside) / len(inside))
    if up is not None:
        assert 0 <= up <= 1


def test_memory_is_bounded():
    """Names come from callers, and time goes on."""
    seen = Observed()
    for at in range(5000):
        seen.see(f"a/{at}", NOW_S, good=True)
    assert len(seen._targets) == 4096
    for at in range(3 * DAY_S // 100):
        seen.see("b/m", NOW_S + 100 * at, good=True)
    record = seen._targets["b/m"]
    assert len(record.slots) <= 181
    assert len(record.days) <= 145


def test_whole_replies_count_where_nothing_was_streamed():
    seen = Observed()
    seen.see("a/m", NOW_S, good=True, whole_s=8.0)
    whole = seen.latency_s("a/m", NOW_S)
    assert whole is not None
    assert whole.p50 == pytest.approx(8, rel=0.04)
    seen.see("a/m", NOW_S, good=True, first_s=0.5, whole_s=8.0)
    first = seen.latency_s("a/m", NOW_S)
    assert first is not None
    assert first.p99 == pytest.approx(0.5, rel=0.04)


def test_what_was_counted_elsewhere_is_added():
    """The express lane's histogram: its bounds are coarser, and it lands inside them."""
    seen = Observed()
    seen.see_many("a/m", NOW_S, calls=10, durations=[0, 10, 0], bounds_s=(0.5, 1.0), tokens_per_s=40.0)
    latency, speed = seen.latency_s("a/m", NOW_S), seen.throughput("a/m", NOW_S)
    assert latency is not None
    assert 0.5 <= latency.p50 <= 1.0
    assert speed is not None
    assert speed.p50 == pytest.approx(40, rel=0.04)
    assert seen.uptime("a/m", NOW_S) == 1
    assert not seen.troubled("a/m", NOW_S)


def test_trouble_is_forgotten_after_thirty_seconds():
    seen = Observed()
    seen.see("a/m", NOW_S, good=False)
    assert seen.troubled("a/m", NOW_S + 15)
    assert not seen.troubled("a/m", NOW_S + 45)
    assert not seen.troubled("b/m", NOW_S)
