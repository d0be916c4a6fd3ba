"""Requests and tokens per minute: what passes, how long the rest waits, and corrections that are never lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.base.decisions import Rejected
from penstock.routing.limits import (
    Gcra,
    KeyLimits,
    PathLimits,
    go_duration,
    missing,
    native,
    nearest_lines,
    own_bucket,
)
from penstock.wire.retry_hint import go_duration_s


@pytest.mark.parametrize("start_s", [0.0, 0.1, 12_345.678, 1.8e9])
def test_from_idle_600_pass_at_once_and_the_601st_waits_a_tenth_of_a_second(start_s):
    """The issue's own figures, at any reading of the clock."""
    limits = KeyLimits(600, None, None)
    assert [limits.admit(50, start_s) for _ in range(600)] == [None] * 600
    refusal = limits.admit(50, start_s)
    assert isinstance(refusal, Rejected)
    assert refusal.code == "rate-limited-requests"
    assert refusal.retry_after_s == pytest.approx(0.1, abs=1e-5)
    assert limits.admit(50, start_s + refusal.retry_after_s) is None
    assert limits.admit(50, start_s + refusal.retry_after_s) is not None


def test_a_burst_of_one_spaces_calls_evenly():
    """``burst`` is what passes at once; the rate is unchanged."""
    limits = KeyLimits(60, None, 1)
    assert limits.admit(1, 0.0) is None
    assert limits.admit(1, 0.5).retry_after_s == pytest.approx(0.5, abs=1e-5)
    assert limits.admit(1, 1.0) is None


COSTS = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 80)), max_size=60)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 100), COSTS)
def test_no_stretch_of_time_admits_more_than_burst_and_rate(per_minute, burst, asks):
    """Over every window: admitted <= max(burst, its largest ask) + rate x length. And a stated wait is enough."""
    gcra, now_s = Gcra(per_minute, burst), 100.0
    admitted: list[tuple[float, int]] = []
    for pause_s, cost in asks:
        now_s += pause_s
        wait_s = gcra.admit(cost, now_s)
        if wait_s:
            assert gcra.peek(cost, now_s + wait_s * 0.99 - 2e-6) > 0 or wait_s < 3e-6, "no longer than needed"
            now_s += wait_s
            assert gcra.peek(cost, now_s) == 0.0
            assert gcra.admit(cost, now_s) == 0.0
        admitted.append((now_s, cost))
    for first in range(len(admitted)):
        units = 0
        for at_s, cost in admitted[first:]:
            units += cost
            # An ask over the burst goes into debt alone: only the last of the window may stand over.
            allowance = burst + max(0, cost - burst) + (at_s - admitted[first][0]) * per_minute / 60
            assert units <= allowance + per_minute * 1e-6


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), max_size=30))
def test_an_estimate_and_its_correction_are_the_true_cost(per_minute, calls):
    """Estimating and correcting in one moment leaves the bucket as the true cost would have."""
    estimated, true = Gcra(per_minute, 10_000), Gcra(per_minute, 10_000)
    for guess, actual in calls:
        estimated.correct(guess, 5.0)
        estimated.correct(actual - guess, 5.0)
        true.correct(actual, 5.0)
    assert estimated.reset_s(5.0) == true.reset_s(5.0)
    assert estimated.remaining(5.0) == true.remaining(5.0)


def test_a_debit_after_the_estimate_delays_the_next_call_whenever_it_comes():
    """There is no window at whose edge an overshoot could be forgotten."""
    limits = KeyLimits(None, 600, None)
    assert limits.admit(100, 0.0) is None
    limits.settle(100, 1300, 59.99)
    refusal = limits.admit(1, 60.01)
    assert refusal.code == "rate-limited-tokens"
    assert refusal.retry_after_s == pytest.approx(60.08, abs=0.01)
    assert limits.admit(1, 60.01 + refusal.retry_after_s) is None


def test_a_credit_never_makes_more_than_a_full_bucket():
    """Over-estimates come back, but no further than full."""
    gcra = Gcra(60)
    assert gcra.admit(60, 0.0) == 0.0
    gcra.correct(-50, 0.0)
    assert gcra.remaining(0.0) == 50
    gcra.correct(-500, 0.0)
    assert gcra.remaining(0.0) == 60
    assert gcra.admit(60, 0.0) == 0.0
    assert gcra.admit(1, 0.0) == pytest.approx(1.0, abs=1e-5)


def test_an_ask_over_the_burst_is_admitted_when_the_bucket_is_full_and_leaves_a_debt():
    """Impossible for ever would be worse: it passes from idle, and what follows pays for it."""
    limits = KeyLimits(None, 600, None)
    assert limits.admit(1, 0.0) is None
    refusal = limits.admit(6000, 0.0)
    assert refusal.retry_after_s == pytest.approx(0.1, abs=1e-5)
    assert limits.admit(6000, 0.0 + refusal.retry_after_s) is None
    assert limits.admit(1, 1.0).retry_after_s == pytest.approx(539.2, abs=0.01)


def test_both_limits_or_neither():
    """A refusal by one leaves the other as it was; the longer wait is the one that is said."""
    limits = KeyLimits(60, 600, 2)
    assert limits.admit(600, 0.0) is None
    for _ in range(5):
        refusal = limits.admit(300, 0.0)
        assert (refusal.code, refusal.retry_after_s) == ("rate-limited-tokens", pytest.approx(30, abs=1e-5))
    assert b"x-ratelimit-remaining-requests: 1\r\n" in limits.lines(0.0)
    assert limits.admit(0, 0.0) is None
    refusal = limits.admit(1, 0.0)
    assert (refusal.code, refusal.retry_after_s) == ("rate-limited-requests", pytest.approx(1, abs=1e-5))
    assert b"x-ratelimit-remaining-tokens: 600\r\n" in limits.lines(60.0)


def test_headers_are_openais():
    """Limit, remaining and reset for each limit that is set, and none for what is not."""
    limits = KeyLimits(600, 60_000, None)
    limits.admit(90, 10.0)
    assert limits.lines(10.0).decode().split("\r\n") == [
        "x-ratelimit-limit-requests: 600",
        "x-ratelimit-remaining-requests: 599",
        "x-ratelimit-reset-requests: 100ms",
        "x-ratelimit-limit-tokens: 60000",
        "x-ratelimit-remaining-tokens: 59910",
        "x-ratelimit-reset-tokens: 90ms",
        "",
    ]
    assert KeyLimits(None, None, None).lines(0.0) == b""
    assert KeyLimits(None, None, None).admit(10**9, 0.0) is None


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, b"0ms"),
        (1, b"1ms"),
        (12, b"12ms"),
        (1000, b"1s"),
        (1100, b"1.1s"),
        (59_999, b"59.999s"),
        (60_000, b"1m0s"),
        (90_250, b"1m30.25s"),
        (360_000, b"6m0s"),
        (3_600_000, b"1h0m0s"),
        (7_384_005, b"2h3m4.005s"),
    ],
)
def test_resets_are_go_durations(ms, text):
    """OpenAI's clients read these."""
    assert go_duration(ms) == text


@given(
    st.integers(1, 100_000),
    st.integers(1, 5000),
    st.lists(st.integers(0, 9000), max_size=8),
    st.floats(0, 500),
)
def test_what_is_told_is_what_holds(per_minute, burst, asks, now_s):
    """What remains passes, one more does not; after the reset, and not a millisecond before, all of the burst passes."""
    gcra = Gcra(per_minute, burst)
    for cost in asks:
        gcra.admit(cost, 0.0)
    limit, left, reset = gcra.told(int(now_s * 1e9))
    assert (limit, left) == (burst, gcra.remaining(now_s))
    reset_s = go_duration_s(reset.decode())
    assert reset_s is not None
    assert gcra.remaining(now_s + reset_s + 1e-6) == burst
    assert gcra.reset_s(now_s) == pytest.approx(max(0.0, reset_s - 0.0005), abs=0.000502)
    if left:
        assert gcra.peek(left, now_s) == 0.0
    if reset_s:
        assert left == burst or gcra.peek(left + 1, now_s) > 0.0


def test_of_several_limits_the_nearest_is_told():
    """Of requests and of tokens apart: what a caller must heed is the one with least left."""
    team, key = KeyLimits(100, 500, None), KeyLimits(60, 6000, None)
    for _ in range(3):
        assert team.admit(100, 0.0) is None
    assert key.admit(100, 0.0) is None
    lines = nearest_lines((key, team, KeyLimits(None, None, None)), 0.0).decode()
    assert "limit-requests: 60\r\nx-ratelimit-remaining-requests: 59\r\n" in lines
    assert "limit-tokens: 500\r\nx-ratelimit-remaining-tokens: 200\r\n" in lines
    assert nearest_lines((key,), 0.0) == key.lines(0.0)
    assert nearest_lines((), 0.0) == b""


def test_a_limit_is_positive():
    """Nothing may be configured that admits nothing."""
    with pytest.raises(ValueError, match="at least 1"):
        Gcra(0)
    with pytest.raises(ValueError, match="at least 1"):
        Gcra(5, 0)


COSTS = st.integers(0, 10**9) | st.floats(0, 1e6)


@pytest.mark.skipif(bool(missing), reason=f"no native limits: {missing}")
@given(
    st.integers(1, 2**40),
    st.none() | st.integers(1, 2**40),
    st.lists(
        st.tuples(st.sampled_from(["admit", "correct", "peek", "undo"]), COSTS, st.integers(0, 10**11)),
        max_size=30,
    ),
)
def test_native_code_counts_as_python_does(per_minute, burst, steps):
    """To the unit, whatever happens: admissions, waits, corrections, what headers say, and what was undone."""
    one, other, now_ns = Gcra(per_minute, burst), native.Gcra(per_minute, burst), 10**14
    for what, cost, later_ns in steps:
        now_ns += later_ns
        now_s = now_ns / 1e9
        if what == "undo":
            marks = one.mark(), other.mark()
            assert one.admit(cost, now_s) == other.admit(cost, now_s)
            one.restore(marks[0])
            other.restore(marks[1])
        elif what == "correct":
            delta = cost if later_ns % 2 else -cost
            one.correct(delta, now_s)
            other.correct(delta, now_s)
        else:
            assert getattr(one, what)(cost, now_s) == getattr(other, what)(cost, now_s)
        assert one.mark() == other.mark()
        assert one.told(now_ns) == other.told(now_ns)
        assert one.status(now_s) == other.status(now_s)
        assert (one.remaining(now_s), one.reset_s(now_s)) == (other.remaining(now_s), other.reset_s(now_s))


@pytest.mark.skipif(bool(missing), reason=f"no native limits: {missing}")
@given(
    st.none() | st.integers(1, 10**9),
    st.none() | st.integers(1, 10**9),
    st.integers(0, 10**7),
    st.integers(0, 10**12),
)
def test_native_header_lines_are_the_same(requests, tokens, used, later_ns):
    """Either limit alone, both, or none."""
    found = []
    for make in (lambda _what, *figures: Gcra(*figures), own_bucket):
        limits = KeyLimits(requests, tokens, None, make=make)
        limits.admit(used, 10**5)
        found.append(limits.lines((10**14 + later_ns) / 1e9))
    assert found[0] == found[1]


@pytest.mark.skipif(bool(missing), reason=f"no native limits: {missing}")
@pytest.mark.parametrize("wrong", [(0,), (5, 0), (-1,)])
def test_native_code_refuses_what_is_no_limit(wrong):
    """As Python does."""
    with pytest.raises(ValueError, match="at least 1"):
        native.Gcra(*wrong)


@pytest.mark.skipif(bool(missing), reason=f"no native limits: {missing}")
@given(
    st.lists(
        st.tuples(st.none() | st.integers(1, 50), st.none() | st.integers(1, 5000)), min_size=1, max_size=4
    ).filter(lambda levels: any(one is not None for level in levels for one in level)),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 10**10)), max_size=40),
)
def test_native_paths_decide_as_python_does(levels, calls):
    """Of several levels: who passes, what a refusal says, what is corrected, and what headers tell."""
    paths = [
        PathLimits(
            tuple(KeyLimits(*level, None, holder=f"level {at}", make=make) for at, level in enumerate(levels))
        )
        for make in (lambda _what, *figures: Gcra(*figures), own_bucket)
    ]
    assert [path.native is not None for path in paths] == [False, True]
    now_ns = 10**14
    for tokens, used, later_ns in calls:
        now_ns += later_ns
        now_s = now_ns / 1e9
        refused = [path.admit(tokens, now_s) for path in paths]
        assert refused[0] == refused[1]
        if refused[0] is None:
            for path in paths:
                path.settle(tokens, used, now_s)
        assert paths[0].lines(now_s) == paths[1].lines(now_s)
        marks = [[level.mark() for level in path.levels] for path in paths]
        assert marks[0] == marks[1]
