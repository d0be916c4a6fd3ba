"""The breaker: when a target is left alone, and how it comes back."""

import re

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock.routing import health as module
from penstock.routing.health import DROPPED_S, FAULTS_TO_OPEN, LAW, PROBE_LEASE_S, Health

NAME = "openai/m"


def opened(now_s: float = 0.0) -> Health:
    """A breaker that five faults have just opened."""
    health = Health()
    assert [health.fault(NAME, now_s) for _ in range(5)] == [False, False, False, False, True]
    return health


def test_five_faults_in_a_row_open_a_target():
    """Four do not, and a success between starts the count anew."""
    health = Health()
    for _ in range(3):
        for _ in range(4):
            assert health.fault(NAME, 0.0) is False
        assert health.check(NAME, 0.0) is None
        health.ok(NAME)
    assert health.snapshot(0.0) == {}
    refusal = opened().check(NAME, 0.5)
    assert refusal is not None
    assert (refusal.code, refusal.retry_after_s, refusal.caller_fault) == ("open", pytest.approx(1.5), False)
    assert "open after 5 faults in a row" in refusal.reason


def test_429_and_4xx_are_no_faults():
    """Neutral outcomes neither count nor interrupt the count."""
    health = Health()
    for _ in range(4):
        health.fault(NAME, 0.0)
        health.neutral(NAME)
    for _ in range(100):
        health.neutral(NAME)
    assert health.state(NAME, 0.0) == "closed"
    assert health.fault(NAME, 0.0) is True


def test_open_times_grow_by_1_6_up_to_30_s():
    """2 s x 1.6^k, at most 30 s; a success of the probe starts again at 2 s."""
    health, now_s, waits_s = opened(), 0.0, []
    for _ in range(9):
        wait_s = health.check(NAME, now_s).retry_after_s
        waits_s.append(wait_s)
        now_s += wait_s
        assert health.admit(NAME, now_s) is None
        assert health.fault(NAME, now_s) is True
    assert waits_s == pytest.approx([2 * 1.6**k for k in range(6)] + [30, 30, 30])
    now_s += 30
    assert health.admit(NAME, now_s) is None
    health.ok(NAME)
    assert health.state(NAME, now_s) == "closed"
    for _ in range(5):
        health.fault(NAME, now_s)
    assert health.check(NAME, now_s).retry_after_s == pytest.approx(2)


def test_half_open_admits_one_live_call():
    """One call probes; a look takes nothing; the rest are refused until the probe reports."""
    health = opened()
    assert health.state(NAME, 1.9) == "open"
    assert health.state(NAME, 2.0) == "half-open"
    assert health.check(NAME, 2.0) is None
    assert health.check(NAME, 2.0) is None
    assert health.admit(NAME, 2.0) is None
    second = health.admit(NAME, 2.1)
    assert second is not None
    assert "one live call is testing it" in second.reason
    health.neutral(NAME)
    assert health.admit(NAME, 2.2) is None, "a probe that said nothing is freed"
    health.ok(NAME)
    assert health.admit(NAME, 2.3) is None


def test_a_silent_probe_is_given_up_after_its_lease():
    """A very long call does not hold all the others back."""
    health = opened()
    assert health.admit(NAME, 2.0) is None
    assert health.admit(NAME, 2.0 + PROBE_LEASE_S - 0.1) is not None
    assert health.admit(NAME, 2.0 + PROBE_LEASE_S) is None


def test_late_results_do_not_open_further_and_a_late_success_probes_at_once():
    """Calls sent before the opening report into the open state."""
    health = opened()
    assert health.fault(NAME, 1.0) is False
    assert health.check(NAME, 1.0).retry_after_s == pytest.approx(1.0)
    health.ok(NAME)
    assert health.state(NAME, 1.0) == "half-open"
    assert health.admit(NAME, 1.0) is None
    assert health.admit(NAME, 1.0) is not None


def test_a_providers_own_404_drops_the_endpoint_for_ten_minutes():
    """Then one call asks again; another 404 drops it again, an answer brings it back."""
    health = Health()
    health.drop(NAME, 0.0)
    refusal = health.check(NAME, 1.0)
    assert (refusal.code, refusal.retry_after_s) == ("dropped", pytest.approx(DROPPED_S - 1))
    assert health.fault(NAME, 1.0) is False
    assert health.state(NAME, 1.0) == "dropped"
    assert health.admit(NAME, DROPPED_S) is None
    assert health.admit(NAME, DROPPED_S) is not None
    health.drop(NAME, DROPPED_S)
    assert health.state(NAME, DROPPED_S + 1) == "dropped"
    assert health.admit(NAME, 2 * DROPPED_S) is None
    health.ok(NAME)
    assert health.snapshot(2 * DROPPED_S) == {}


def test_the_docstring_shows_the_table_that_runs():
    """The theory in the module's head is the law, cell by cell."""
    rows = re.findall(r"^ {4}(closed|open|half-open|dropped) +(.+)$", module.__doc__, re.MULTILINE)
    assert len(rows) == len(LAW)
    for state, cells in rows:
        shown = [re.sub(r"\(.\)", "", cell).replace("drop.", "dropped") for cell in cells.split()]
        events = ("fault", "fifth-fault", "ok", "neutral", "gone", "probe")
        assert shown == [LAW[state].get(event, "-") for event in events], state


def test_the_table_of_targets_stays_bounded():
    """Callers choose model names, so the oldest record makes room."""
    health = Health()
    for number in range(5000):
        health.drop(f"openai/m{number}", 0.0)
    assert len(health.snapshot(0.0)) == 4096
    assert health.check("openai/m0", 0.0) is None


class Breaker(RuleBasedStateMachine):
    """Any order of calls and outcomes; each admitted call reports exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.health = Health()
        self.now_s = 0.0
        self.flying: list[tuple[bool, float]] = []
        """Admitted calls: whether it is a probe, and when it was admitted."""

    @rule(pause_s=st.floats(0, 40))
    def wait(self, pause_s):
        self.now_s += pause_s

    @rule()
    def ask(self):
        before = self.health.state(NAME, self.now_s)
        looked = self.health.check(NAME, self.now_s)
        admitted = self.health.admit(NAME, self.now_s)
        assert (looked is None) == (admitted is None), "a look and an admission agree"
        if admitted is None:
            probe = before == "half-open"
            if probe:
                others = [at for is_probe, at in self.flying if is_probe and self.now_s - at < PROBE_LEASE_S]
                assert not others, "one probe at a time"
            self.flying.append((probe, self.now_s))
        else:
            assert admitted.retry_after_s > 0

    @rule(outcome=st.sampled_from(["fault", "ok", "neutral", "drop"]), data=st.data())
    def report(self, outcome, data):
        if not self.flying:
            return
        # The newest probe reports before late results of older calls, and of probes given up, blur the picture.
        probes = [call for call in self.flying if call[0]]
        call = probes[-1] if probes else data.draw(st.sampled_from(self.flying))
        self.flying.remove(call)
        if outcome == "fault":
            self.health.fault(NAME, self.now_s)
        elif outcome == "drop":
            self.health.drop(NAME, self.now_s)
        else:
            getattr(self.health, outcome)(NAME)

    @invariant()
    def every_refusal_ends(self):
        refusal = self.health.check(NAME, self.now_s)
        if refusal is not None:
            limit_s = DROPPED_S if refusal.code == "dropped" else 30.0
            assert 0 < refusal.retry_after_s <= limit_s + 1e-9
            assert self.health.check(NAME, self.now_s + refusal.retry_after_s + 1e-6) is None


TestBreaker = Breaker.TestCase
TestBreaker.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_invented_models_do_not_push_a_breaker_out():
    """Callers may invent names without end: what answered 404 long ago goes first, then newer 404s, then the oldest."""
    health = Health()
    for _ in range(FAULTS_TO_OPEN):
        health.fault("openai/real", 0.0)
    for number in range(10_000):
        health.drop(f"openai/invented-{number}", 0.5)
    assert health.check("openai/real", 1.0) is not None
    assert health.check("openai/invented-9999", 1.0) is not None
    health.drop("openai/another", 0.5 + DROPPED_S)
    assert set(health.snapshot(0.5 + DROPPED_S)) == {"openai/real", "openai/another"}
    assert health.untroubled(("openai/fine",))
    assert not health.untroubled(("openai/fine", "openai/real"))
