"""What holds for every schedule, whatever fails in whatever order; and the whole room together."""

import random
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.base.decisions import Rejected
from penstock.base.errors import (
    UpstreamAuthFailed,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFault,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from penstock.config.schema import RetryConfig
from penstock.routing.health import Health
from penstock.routing.keys import KeyChoice, KeyRing, ProviderKey
from penstock.routing.names import Chain
from penstock.routing.plan import plan
from penstock.routing.schedule import MAX_KEY_WAIT_S, Schedule, Stop, Try, Wait
from tests.routing.make import rate_limited, refused, steps, target

NAMES = ("openai/a", "openai/b", "anthropic/c")
HINTS = st.one_of(st.none(), st.floats(0, 90))
ERRORS: st.SearchStrategy[UpstreamError] = st.one_of(
    st.builds(lambda hint: UpstreamFault("fault", retry_after_s=hint), HINTS),
    st.builds(lambda: UpstreamFault("fault, and no other would do", falls_back=False)),
    st.builds(lambda: UpstreamTimeout("slow", phase="idle")),
    st.builds(rate_limited, HINTS),
    st.builds(lambda hint: rate_limited(hint, quota=True), HINTS),
    st.builds(refused, st.sampled_from([401, 402, 403])),
    st.builds(lambda: UpstreamNotFound("gone")),
    st.builds(lambda: UpstreamBadRequest("bad")),
    st.builds(lambda: UpstreamBadRequest("too long", falls_back=True)),
)
REFUSALS: st.SearchStrategy[Rejected] = st.one_of(
    st.builds(lambda s: Rejected("keys-cooling", "cooling.", retry_after_s=s), st.floats(0, 9)),
    st.builds(lambda s: Rejected("open", "open.", retry_after_s=s), st.floats(0, 30)),
    st.sampled_from([Rejected("keys-exhausted", "dead."), Rejected("no-key-for-model", "none.")]),
)


class Attempts(RuleBasedStateMachine):
    """Any failures in any order, at any pace."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.said: Try | Wait | Stop | None = None
        self.tried: list[Try] = []
        self.visited: set[int] = set()
        self.closed: set[int] = set()
        self.rotations: Counter[int] = Counter()
        self.key_wait_s = 0.0
        self.last: UpstreamError | None = None

    @initialize(
        names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4),
        retries=st.integers(0, 3),
        keys=st.integers(1, 4),
        max_attempts=st.one_of(st.none(), st.integers(1, 12)),
        deadline_s=st.floats(1, 200),
        seed=st.integers(0, 9),
    )
    def start(self, names, retries, keys, max_attempts, deadline_s, seed):
        self.names, self.retries, self.keys, self.deadline_s = names, retries, keys, deadline_s
        self.limit = max_attempts or len(names) * max(1 + retries, keys)
        self.breadth = min(self.limit, len(names))
        # Positions tell two entries of one target apart.
        places = tuple(
            type(step)(
                target=type(step.target)(
                    step.target.provider, step.target.model, "openai", step.target.facts, position=place
                ),
                reason=step.reason,
                pass_through=True,
                pass_through_reason="",
            )
            for place, step in enumerate(steps(*names))
        )
        self.schedule = Schedule(
            places,
            retries=lambda provider: RetryConfig(max_retries=retries, backoff_initial_ms=500),
            key_count=lambda target: keys,
            max_attempts=max_attempts,
            deadline_s=deadline_s,
            rng=random.Random(seed),
        )
        self.ask()

    def ask(self) -> None:
        said = self.said = self.schedule.next(self.now_s)
        if isinstance(said, Wait):
            assert said.wait_s > 0
            assert self.now_s + said.wait_s < self.deadline_s + 1e-9, "no wait passes the deadline"
        elif isinstance(said, Try):
            place = said.step.target.position
            assert place not in self.closed, "never again what cannot be healed there"
            assert place >= max(self.visited, default=0), "the chain's order"
            assert said.last_resort == (place == len(self.names) - 1)
            assert said.attempt == self.schedule.attempts <= self.limit
            self.visited.add(place)
        else:
            self.check_the_end(said)

    def check_the_end(self, stop: Stop) -> None:
        healed_nowhere = self.last is not None and not self.last.falls_back
        in_time = self.now_s < self.deadline_s
        if in_time and not healed_nowhere:
            assert len(self.visited) >= self.breadth, "every target gets its try"
        if not in_time and self.last is not None and not healed_nowhere:
            assert isinstance(stop.error, UpstreamTimeout), "a call that ran out of time says so"
        assert stop.reason
        assert "sk-" not in stop.error.public()

    @precondition(lambda self: isinstance(self.said, Wait))
    @rule(late_s=st.floats(0, 3))
    def sleep(self, late_s):
        self.now_s += self.said.wait_s + late_s
        self.ask()

    @precondition(lambda self: isinstance(self.said, Wait) and self.said.wait_s > 1e-3)
    @rule(share=st.floats(0.01, 0.9))
    def wake_early(self, share):
        due_s = self.now_s + self.said.wait_s
        self.now_s += self.said.wait_s * share
        self.ask()
        assert isinstance(self.said, Wait)
        assert abs(self.now_s + self.said.wait_s - due_s) < 1e-6

    @precondition(lambda self: isinstance(self.said, Try))
    @rule(error=ERRORS, took_s=st.floats(0, 5), key=st.integers(1, 4))
    def fail(self, error, took_s, key):
        place = self.said.step.target.position
        self.now_s += took_s
        self.tried.append(self.said)
        self.last = error
        if not error.retryable and not error.rotates_key:
            self.closed.add(place)
        name = f"k{min(key, self.keys)}"
        self.schedule.failed(name, error, self.now_s)
        self.ask()
        if isinstance(self.said, Try) and self.said.step.target.position == place and error.rotates_key:
            assert self.said.reason == "another key"
            assert name in self.said.avoid_keys
            assert len(self.said.avoid_keys) < self.keys, "only while there is another key"
        if isinstance(error, UpstreamAuthFailed):
            assert not isinstance(self.said, Wait), "no back-off for a refused key"

    @precondition(lambda self: isinstance(self.said, Try))
    @rule(refusal=REFUSALS)
    def cannot_start(self, refusal):
        attempt = self.said.attempt
        self.last = None
        self.schedule.unavailable(refusal, self.now_s)
        assert self.schedule.attempts == attempt - 1
        self.ask()
        if isinstance(self.said, Wait):
            self.key_wait_s += self.said.wait_s
            assert self.key_wait_s <= MAX_KEY_WAIT_S + 1e-9

    @precondition(lambda self: isinstance(self.said, Stop))
    @rule(later_s=st.floats(0, 300))
    def stay_stopped(self, later_s):
        assert self.schedule.next(self.now_s + later_s) is self.said

    @invariant()
    def budgets_hold(self):
        if self.said is None:
            return
        assert len(self.tried) <= self.limit
        per_place = Counter(one.step.target.position for one in self.tried)
        # A first try, the retries, and as many rotations as there are other keys.
        assert all(count <= 1 + self.retries + self.keys - 1 for count in per_place.values())


TestAttempts = Attempts.TestCase
TestAttempts.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
    st.data(),
)
def test_the_whole_room_ends_every_call_in_bounded_steps(names, keys, rng, data):
    """Plan, schedule, keys and health as the gateway uses them: many calls, each comes to its end in time."""
    rings = {
        provider: KeyRing(
            provider, tuple(ProviderKey(provider, f"k{n}", f"sk-{provider}-{n}") for n in range(keys))
        )
        for provider in ("openai", "anthropic")
    }
    health, now_s = Health(), 0.0
    chain = Chain(tuple(target(name) for name in names), "")
    easy: dict[str, Any] = {
        "needs": frozenset(),
        "input_tokens": 1,
        "max_tokens": None,
        "caller_family": "openai",
        "patterns": ("*",),
        "preferences": None,
        "refuse": None,
        "may_pass_through": lambda target: None,
    }
    for _ in range(3):
        started_s = now_s
        made = plan(chain, health=health, now_s=now_s, **easy)
        assert made.steps, "the last target is never skipped"
        assert made.steps[-1].target.name == names[-1]
        schedule = Schedule(
            made.steps,
            retries=lambda provider: RetryConfig(),
            key_count=lambda target: rings[target.provider].count(target.model),
            max_attempts=None,
            deadline_s=now_s + 60,
            rng=rng,
        )
        for _ in range(200):
            said = schedule.next(now_s)
            if isinstance(said, Stop):
                break
            if isinstance(said, Wait):
                now_s += said.wait_s
                continue
            name = said.step.target.name
            ring = rings[said.step.target.provider]
            no = health.admit(name, now_s)
            if no is not None and not said.last_resort:
                schedule.unavailable(no, now_s)
                continue
            choice = ring.choose(said.step.target.model, now_s, rng, avoid=said.avoid_keys)
            if not isinstance(choice, KeyChoice):
                if no is None:
                    health.neutral(name)
                schedule.unavailable(choice, now_s)
                continue
            error = data.draw(st.one_of(st.none(), ERRORS))
            if error is None:
                health.ok(name)
                ring.succeeded(choice.key.name)
                break
            if error.is_fault:
                health.fault(name, now_s)
            elif isinstance(error, UpstreamNotFound):
                health.drop(name, now_s)
            elif no is None:
                health.neutral(name)
            ring.failed(choice.key.name, error, now_s)
            schedule.failed(choice.key.name, error, now_s)
        else:
            raise AssertionError("a call must end")
        assert now_s <= started_s + 60
        now_s += data.draw(st.floats(0, 20))


def test_a_429_with_one_key_is_waited_out_and_served_by_the_probe():
    """The schedule's wait and the ring's cool-down agree, so that one wait is enough."""
    ring, rng, now_s = KeyRing("openai", ()), random.Random(1), 50.0
    schedule = Schedule(
        steps("openai/a"),
        retries=lambda provider: RetryConfig(),
        key_count=lambda target: ring.count(target.model),
        max_attempts=None,
        deadline_s=100.0,
        rng=rng,
    )
    error = rate_limited(2.5)
    assert isinstance(error, UpstreamRateLimited)
    assert isinstance(schedule.next(now_s), Try)
    ring.failed("none", error, now_s)
    schedule.failed("none", error, now_s)
    said = schedule.next(now_s)
    assert isinstance(said, Wait)
    now_s += said.wait_s
    assert isinstance(schedule.next(now_s), Try)
    assert isinstance(ring.choose("a", now_s, rng), KeyChoice)
