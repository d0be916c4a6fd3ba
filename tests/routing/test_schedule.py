"""Try, wait or stop: one budget and one deadline over a chain (behaviours 27, 28, 30, 31)."""

import random
from typing import Any

import pytest

from penstock.base.decisions import Rejected
from penstock.base.errors import (
    Forbidden,
    NoTargetLeft,
    UpstreamAuthFailed,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFault,
    UpstreamMalformed,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from penstock.config.schema import RetryConfig
from penstock.routing.schedule import Schedule, Stop, Try, Wait
from tests.routing.make import rate_limited, refused, steps

A, B = "openai/a", "anthropic/b"


class Call:
    """A call driven by hand: each ``fails`` asks for a Try, sleeping through waits, and reports its failure."""

    def __init__(self, *names: str, retries: int = 1, keys: int = 1, deadline_s: float = 100.0, **more: Any):
        self.now_s = 0.0
        self.waits_s: list[float] = []
        self.schedule = Schedule(
            steps(*names),
            retries=lambda provider: RetryConfig(max_retries=retries),
            key_count=lambda target: keys,
            max_attempts=more.get("max_attempts"),
            deadline_s=deadline_s,
            rng=random.Random(1),
        )

    def ask(self) -> Try | Stop:
        """The next Try or Stop, having slept."""
        while isinstance(said := self.schedule.next(self.now_s), Wait):
            assert said.wait_s > 0
            self.waits_s.append(said.wait_s)
            self.now_s += said.wait_s
        return said

    def fails(self, error: UpstreamError, key: str = "k1") -> Try:
        """One attempt that failed."""
        said = self.ask()
        assert isinstance(said, Try), said
        self.schedule.failed(key, error, self.now_s)
        return said

    def stopped(self) -> Stop:
        """It is over."""
        said = self.ask()
        assert isinstance(said, Stop), said
        assert self.schedule.next(self.now_s) is said, "and it stays over"
        return said

    def next_is(self, name: str, reason: str) -> Try:
        """The next Try's target and reason."""
        said = self.ask()
        assert isinstance(said, Try), said
        assert said.step.target.name == name
        assert said.reason.startswith(reason), said.reason
        return said


FAULTS: list[UpstreamError] = [
    UpstreamFault("503"),
    UpstreamTimeout("slow", phase="first_byte"),
    UpstreamUnreachable("no route"),
    UpstreamTruncated("cut"),
    UpstreamMalformed("html"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_behaviour_27_a_fault_is_retried_with_jitter_then_falls_back(fault):
    """max_retries on each target, doubling ceilings, then the next target; the end tells the whole story."""
    call = Call(A, B, retries=2)
    assert call.fails(fault).reason == "first try"
    assert call.fails(fault).reason.startswith("retry 1 after ")
    assert call.fails(fault).reason.startswith("retry 2 after ")
    assert call.next_is(B, "fallback").last_resort
    call.schedule.failed("k1", fault, call.now_s)
    call.fails(fault)
    call.fails(fault)
    stop = call.stopped()
    assert type(stop.error) is type(fault)
    assert stop.error.message.count(A) == 3
    assert stop.error.message.count(B) == 3
    assert stop.error.__cause__ is fault
    assert len(call.waits_s) == 4
    assert all(wait_s <= ceiling for wait_s, ceiling in zip(call.waits_s, [0.1, 0.2, 0.1, 0.2], strict=True))


@pytest.mark.parametrize(
    "error",
    [
        UpstreamBadRequest("bad field"),
        UpstreamBadRequest("no", status=422),
        UpstreamFault("x", falls_back=False),
    ],
)
def test_behaviour_27_what_no_other_target_can_heal_stops_at_once(error):
    """A 400 or 422 is never retried and never sent elsewhere; the caller gets that very error."""
    call = Call(A, B, retries=0) if error.retryable else Call(A, B, retries=3, keys=3)
    call.fails(error)
    assert call.stopped().error is error
    assert call.schedule.attempts == 1


@pytest.mark.parametrize(
    "error",
    [
        UpstreamNotFound("gone"),
        UpstreamBadRequest("too long", code="context_length_exceeded", falls_back=True),
    ],
)
def test_what_another_model_may_take_falls_back_without_a_retry(error):
    """404 and a context that is too small go to the next target at once."""
    call = Call(A, B, retries=3)
    call.fails(error)
    call.next_is(B, "fallback")
    assert call.waits_s == []


@pytest.mark.parametrize("status", [401, 402, 403])
def test_behaviour_30_refused_keys_rotate_without_back_off(status):
    """Every key once, then the next target; all dead is our own 502, without the provider's sentence."""
    call = Call(A, B, retries=0, keys=2)
    assert call.fails(refused(status), "k1").avoid_keys == frozenset()
    second = call.fails(refused(status), "k2")
    assert (second.step.target.name, second.reason) == (A, "another key")
    assert second.avoid_keys == {"k1"}
    third = call.fails(refused(status), "k1")
    assert (third.step.target.name, third.avoid_keys) == (B, frozenset())
    call.fails(refused(status), "k2")
    error = call.stopped().error
    assert isinstance(error, UpstreamAuthFailed)
    assert (error.status, error.code) == (502, "upstream_credentials_exhausted")
    assert "sk-" not in error.public()
    assert str(status) in error.message
    assert call.waits_s == []


def test_behaviour_30_one_refused_key_is_still_not_the_callers():
    """A single attempt keeps the provider's sentence to itself, too."""
    call = Call(A)
    call.fails(refused())
    error = call.stopped().error
    assert error.status == 502
    assert "sk-" not in error.public()


def test_behaviour_28_a_429_takes_another_key_then_another_target_at_once():
    """No waiting while there is anywhere to go."""
    call = Call(A, B, keys=2)
    call.fails(rate_limited(30), "k1")
    assert call.fails(rate_limited(30), "k2").reason == "another key"
    call.next_is(B, "fallback")
    assert call.waits_s == []


def test_behaviour_28_retry_after_is_honoured_where_nothing_else_is_left():
    """Exactly as long as asked; without a hint as long as the key itself cools down."""
    call = Call(A)
    call.fails(rate_limited(7))
    assert call.next_is(A, "retry 1 after 7000 ms").attempt == 2
    assert call.waits_s == [7]
    call = Call(A, retries=2)
    for _ in range(3):
        call.fails(rate_limited())
    assert call.waits_s == [1, 2]


@pytest.mark.parametrize(
    ("error", "how"),
    [
        (rate_limited(100.0), {}),
        (rate_limited(3, quota=True), {}),
        (rate_limited(3), {"retries": 0}),
        (rate_limited(3), {"max_attempts": 1}),
    ],
)
def test_behaviour_28_a_429_that_cannot_be_waited_out_is_forwarded(error, how):
    """Past the deadline, a spent quota, no retry left: the 429 with its Retry-After, at once."""
    call = Call(A, **how)
    call.fails(error)
    assert call.stopped().error is error
    assert call.waits_s == []


def test_all_rate_limited_gives_the_smallest_retry_after():
    """The caller may come back as soon as one target can serve."""
    call = Call(A, B, retries=0)
    call.fails(rate_limited(9))
    call.fails(rate_limited(40))
    error = call.stopped().error
    assert isinstance(error, UpstreamRateLimited)
    assert (error.status, error.retry_after_s) == (429, 9)


def test_behaviour_31_the_budget_keeps_one_try_for_every_target():
    """A small budget is spent on breadth first."""
    call = Call(A, B, "gemini/c", retries=5, keys=5, max_attempts=4)
    tried = [call.fails(FAULTS[0]).step.target.name for _ in range(4)]
    assert tried == [A, A, B, "gemini/c"]
    assert "budget" not in call.stopped().reason
    call = Call(A, B, "gemini/c", retries=5, keys=5, max_attempts=2)
    tried = [call.fails(refused(), f"k{place}").step.target.name for place in range(2)]
    assert tried == [A, B]
    assert call.stopped().reason == "the budget of 2 attempts is spent"


def test_behaviour_31_the_default_budget_is_the_chains_sum():
    """max(1 + max_retries, keys) of each target, all together."""
    call = Call(A, B, retries=1, keys=3)
    errors = [rate_limited(), rate_limited(), rate_limited(), refused(), refused(), refused()]
    for place, error in enumerate(errors):
        call.fails(error, f"k{place % 3}")
    assert call.schedule.attempts == 6
    assert isinstance(call.stopped().error, UpstreamAuthFailed)


def test_a_target_named_twice_is_tried_twice_with_another_key():
    """The second entry avoids what the first has used."""
    call = Call(A, B, A, retries=0, keys=2)
    call.fails(FAULTS[0], "k1")
    call.fails(FAULTS[0], "k1")
    assert call.next_is(A, "fallback").avoid_keys == {"k1"}


def test_behaviour_31_no_wait_passes_the_deadline():
    """Instead the next target is tried at once; with none left the last error stands."""
    slow = RetryConfig(max_retries=3, backoff_initial_ms=60_000, backoff_max_ms=60_000)
    schedule = Schedule(
        steps(A, B),
        retries=lambda provider: slow,
        key_count=lambda target: 1,
        max_attempts=None,
        deadline_s=2.0,
        rng=random.Random(3),
    )
    for name in (A, B):
        said = schedule.next(1.0)
        assert isinstance(said, Try)
        assert said.step.target.name == name
        schedule.failed("k", FAULTS[0], 1.0)
    said = schedule.next(1.0)
    assert isinstance(said, Stop)
    assert isinstance(said.error, UpstreamFault)


def test_the_calls_own_deadline_ends_it_as_504():
    """An attempt that used up the time is not followed by another."""
    call = Call(A, B, deadline_s=5.0)
    call.ask()
    call.schedule.failed("k", UpstreamTimeout("total", phase="total"), 5.0)
    call.now_s = 5.0
    error = call.stopped().error
    assert isinstance(error, UpstreamTimeout)
    assert (error.phase, error.status) == ("total", 504)
    assert A in error.message
    assert Call(A, deadline_s=0.0).stopped().error.status == 504


def test_a_fault_with_more_patience_than_a_back_off_is_left_for_the_next_target():
    """503 with Retry-After: 60 falls back at once; on the last target it is waited out."""
    call = Call(A, B)
    call.fails(UpstreamFault("busy", retry_after_s=60))
    call.fails(UpstreamFault("busy", retry_after_s=60))
    assert call.next_is(B, "retry 1 after 60000 ms").attempt == 3
    assert call.waits_s == [60]


def test_a_target_that_cannot_start_uses_no_attempt():
    """The breaker opened meanwhile: the next target has the same number."""
    call = Call(A, B, max_attempts=1)
    first = call.ask()
    assert isinstance(first, Try)
    assert (first.attempt, first.last_resort) == (1, False)
    call.schedule.unavailable(Rejected("open", "openai/a is open."), 0.0)
    second = call.next_is(B, "fallback: openai/a is open.")
    assert (second.attempt, second.last_resort) == (1, True)


def test_cooling_keys_of_the_last_target_are_waited_for_a_little():
    """Up to five seconds in all, and within the deadline; then 429 with what is left."""
    call = Call(A)
    for retry_after_s in (2.0, 2.5):
        call.next_is(A, "")
        call.schedule.unavailable(
            Rejected("keys-cooling", "cooling.", retry_after_s=retry_after_s), call.now_s
        )
    assert call.next_is(A, "a key after 2500 ms").attempt == 1
    call.schedule.unavailable(Rejected("keys-cooling", "cooling.", retry_after_s=0.7), call.now_s)
    error = call.stopped().error
    assert isinstance(error, UpstreamRateLimited)
    assert error.retry_after_s == 0.7
    assert error.message.count("cooling.") == 1, "one refusal, however often it was waited for"
    assert call.waits_s == [2.0, 2.5]
    call = Call(A, deadline_s=1.0)
    call.ask()
    call.schedule.unavailable(Rejected("keys-cooling", "cooling.", retry_after_s=1.0), 0.0)
    assert call.stopped().error.retry_after_s == 1.0


@pytest.mark.parametrize(
    ("codes", "kind", "status"),
    [
        (["keys-cooling", "keys-cooling"], UpstreamRateLimited, 429),
        (["keys-exhausted", "keys-exhausted"], UpstreamAuthFailed, 502),
        (["key-not-allowed", "key-not-allowed"], Forbidden, 403),
        (["no-key-for-model", "open"], NoTargetLeft, 503),
        (["keys-exhausted", "keys-cooling"], NoTargetLeft, 503),
        (["queue-full", "queue-full"], NoTargetLeft, 503),
        (["open", "queue-full"], NoTargetLeft, 503),
    ],
)
def test_when_nothing_could_start_the_error_says_what_kind_of_nothing(codes, kind, status):
    """Busy, dead, forbidden and unavailable are different answers."""
    call = Call(A, B)
    for code in codes:
        call.ask()
        call.schedule.unavailable(
            Rejected(code, f"{code}.", retry_after_s=30.0 if "keys" in code else None), 0.0
        )
    error = call.stopped().error
    assert (type(error), error.status) == (kind, status)
    assert all(f"{code}." in error.message for code in codes)
    assert (error.code == "queue_full") is (set(codes) == {"queue-full"})


def test_who_waited_until_the_deadline_is_out_of_time():
    """Whatever targets are left, and although the clock may read a little less."""
    call = Call(A, B)
    call.ask()
    call.schedule.unavailable(Rejected("queue-timeout", "No place came free."), call.now_s)
    error = call.stopped().error
    assert (type(error), error.code) == (UpstreamTimeout, "upstream_timeout_total")
    assert "openai/a: No place came free." in error.message


def test_failed_attempts_and_targets_that_could_not_start_are_told_together():
    """The last real error speaks, with the whole story."""
    call = Call(A, B, retries=0)
    call.fails(UpstreamFault("exploded", upstream_status=500))
    call.ask()
    call.schedule.unavailable(Rejected("no-key-for-model", "no key there."), 0.0)
    error = call.stopped().error
    assert isinstance(error, UpstreamFault)
    assert error.upstream_status == 500
    assert "(1) openai/a: exploded; (2) anthropic/b: no key there." in error.message


def test_no_steps_is_an_end_not_a_crash():
    """The gateway asks no_steps first, but a slip must not loop."""
    assert isinstance(Call().stopped().error, NoTargetLeft)
