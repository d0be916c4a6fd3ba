"""What to do next: try, wait or stop. One attempt budget and one deadline over a whole chain.

Theory
------
The gateway asks ``next``, acts, and reports ``failed`` or ``unavailable``; a success simply stops asking. After a
failure on one step:

    the error                      another key untried   else
    auth (401, 402, 403)           same step, at once    next step, or stop
    429                            same step, at once    next step at once, or wait for Retry-After, or stop
    5xx, timeout, network, broken  -                     back-off and retry, then next step, then stop
    not retryable, falls back      -                     next step, or stop
    not retryable                  -                     stop with that very error

Rules
- ``max_retries`` limits retries of a step; trying another key is limited by the number of keys instead.
- While steps are untried, one attempt for each of them is reserved: a retry or another key never takes it.
- No wait ends at or after the deadline: instead the next step is tried at once, or the last error stands.
- A step that could not even start (no key, breaker open) uses up no attempt.
"""

import random
from collections.abc import Callable

from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.base.errors import (
    Forbidden,
    NoTargetLeft,
    PenstockError,
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from penstock.base.models import Target
from penstock.config.schema import RetryConfig
from penstock.routing.keys import MIN_COOL_S, RATE_FIRST_S
from penstock.routing.plan import Step

MAX_KEY_WAIT_S = 5.0
"""How long one call waits, in all, for cooling keys of its last target."""
_MAX_LINE = 200
_NONE: frozenset[str] = frozenset()


class Try(Struct, frozen=True):
    """Send now. ``attempt`` counts from 1; ``avoid_keys`` are names to avoid where there are others.

    ``last_resort``: no other step is left, so the call goes even where ``Health.admit`` says no.
    """

    step: Step
    attempt: int
    avoid_keys: frozenset[str]
    reason: str
    last_resort: bool = False


class Wait(Struct, frozen=True):
    """Sleep, then ask again."""

    wait_s: float
    reason: str


class Stop(Struct, frozen=True):
    """It is over: what to answer, and why."""

    error: PenstockError
    reason: str


class _Event(Struct, frozen=True):
    """Something that did not work: an attempt's error, or why a step could not start."""

    target: str
    error: UpstreamError | None
    rejected: Rejected | None = None

    def line(self) -> str:
        if self.error is None:
            told = "" if self.rejected is None else self.rejected.reason
        elif isinstance(self.error, UpstreamAuthFailed):
            told = f"key refused ({self.error.upstream_status or 'by the provider'})"
        else:
            told = self.error.message
        return f"{self.target}: {told[:_MAX_LINE]}"


class Schedule:
    """The attempts of one call. ``deadline_s`` is a moment on the clock that ``now_s`` reads."""

    __slots__ = (
        "_at",
        "_avoid",
        "_budget",
        "_deadline_s",
        "_due_s",
        "_events",
        "_key_count",
        "_key_wait_s",
        "_max_attempts",
        "_reason",
        "_retries",
        "_retries_used",
        "_rng",
        "_rotations",
        "_steps",
        "_stop",
        "_used",
        "_wait_reason",
        "attempts",
    )

    def __init__(
        self,
        steps: tuple[Step, ...],
        *,
        retries: Callable[[str], RetryConfig],
        key_count: Callable[[Target], int],
        max_attempts: int | None,
        deadline_s: float,
        rng: random.Random,
    ) -> None:
        self._steps = steps
        self._retries = retries
        self._key_count = key_count
        self._max_attempts = max_attempts
        self._deadline_s = deadline_s
        self._rng = rng
        self._at = 0
        self._retries_used = 0
        self._rotations = 0
        self._due_s: float | None = None
        self._reason = "first try"
        self._avoid = _NONE
        self._stop: Stop | None = None
        self.attempts = 0
        if not steps:
            self._stop = Stop(NoTargetLeft("The plan has no steps."), "nothing to try")
        # What follows is only needed once something failed: see _first_trouble.
        self._events: list[_Event] | None = None

    def next(self, now_s: float) -> Try | Wait | Stop:
        """What to do now."""
        if self._stop is not None:
            return self._stop
        if now_s >= self._deadline_s:
            return self._out_of_time()
        if self._due_s is not None and self._due_s > now_s:
            return Wait(self._due_s - now_s, self._wait_reason)
        self._due_s = None
        self.attempts += 1
        steps = self._steps
        at = self._at
        return Try(steps[at], self.attempts, self._avoid, self._reason, at == len(steps) - 1)

    def failed(self, key_name: str, error: UpstreamError, now_s: float) -> None:
        """The attempt failed with ``error``, on the key ``key_name``."""
        events = self._first_trouble()
        target = self._steps[self._at].target
        name = target.name
        events.append(_Event(name, error))
        self._used.setdefault(name, set()).add(key_name)
        if not (error.falls_back or error.retryable or error.rotates_key):
            self._stop = Stop(error, f"{error.code}: no retry and no other target would help")
        elif now_s >= self._deadline_s:
            self._out_of_time()
        elif error.rotates_key:
            self._after_key_trouble(target, name, error, now_s)
        elif error.retryable:
            self._after_fault(target, name, error, now_s)
        else:
            self._move_on(error, "the last target failed")

    def unavailable(self, rejected: Rejected, now_s: float) -> None:
        """The attempt could not start; it does not count. The next step's turn, a short wait for keys, or no time left."""
        events = self._first_trouble()
        self.attempts -= 1
        name = self._steps[self._at].target.name
        if events and events[-1].target == name and events[-1].rejected is not None:
            events.pop()  # waited for a key in vain: the same refusal, once
        events.append(_Event(name, None, rejected))
        if now_s >= self._deadline_s or rejected.code == "queue-timeout":
            self._out_of_time()
            return
        if self._fall_back(f"fallback: {rejected.reason}"):
            return
        wait_s = max(MIN_COOL_S, rejected.retry_after_s or 0.0)
        if (
            rejected.code == "keys-cooling"
            and self._key_wait_s + wait_s <= MAX_KEY_WAIT_S
            and now_s + wait_s < self._deadline_s
        ):
            self._key_wait_s += wait_s
            self._same_step(name, f"a key after {_ms(wait_s)}", now_s + wait_s, rejected.reason)
        else:
            self._exhausted("the last target could not be tried")

    def _first_trouble(self) -> list[_Event]:
        """Make what only a call in trouble needs, and count the budget."""
        if self._events is None:
            self._events = []
            self._used: dict[str, set[str]] = {}
            self._key_wait_s = 0.0
            self._wait_reason = ""
            self._budget = self._max_attempts or sum(
                max(1 + self._retries(step.target.provider).max_retries, self._key_count(step.target))
                for step in self._steps
            )
        return self._events

    def _after_key_trouble(self, target: Target, name: str, error: UpstreamError, now_s: float) -> None:
        keys = self._key_count(target)
        # Counted twice, because avoiding a key is a preference: the same one may have come back.
        if keys > len(self._used[name]) and keys > 1 + self._rotations and self._may_stay():
            self._rotations += 1
            self._same_step(name, "another key", None, "")
            return
        if self._untried() and error.falls_back:
            self._move_on(error, "")
            return
        settings = self._retries(target.provider)
        can_retry = (
            isinstance(error, UpstreamRateLimited)
            and not error.quota_exhausted
            and self._retries_used < settings.max_retries
            and self._may_stay()
        )
        if can_retry:
            hint_s = error.retry_after_s
            # Without a hint: as long as the key itself cools down.
            wait_s = RATE_FIRST_S * 2.0**self._retries_used if hint_s is None else max(MIN_COOL_S, hint_s)
            if now_s + wait_s < self._deadline_s:
                self._retry(name, wait_s, now_s, "rate-limited, and no other key or target is left")
                return
        self._exhausted("no other key, no other target, and no time or retry left to wait")

    def _after_fault(self, target: Target, name: str, error: UpstreamError, now_s: float) -> None:
        settings = self._retries(target.provider)
        if self._retries_used < settings.max_retries and self._may_stay():
            ceiling_s = (
                min(settings.backoff_max_ms, settings.backoff_initial_ms * 2.0**self._retries_used) / 1000
            )
            hint_s = error.retry_after_s or 0.0
            wait_s = max(self._rng.random() * ceiling_s, hint_s)
            # A provider that asks for more patience than a back-off has is left for the next one.
            patient = hint_s * 1000 <= settings.backoff_max_ms or not self._untried() or not error.falls_back
            if patient and now_s + wait_s < self._deadline_s:
                self._retry(name, wait_s, now_s, f"back-off after {error.code}")
                return
        self._move_on(error, "the last target failed and no retry is left")

    def _move_on(self, error: UpstreamError, otherwise: str) -> None:
        """The next step where it may help and the budget allows; else the end."""
        if not error.falls_back:
            self._exhausted(f"{error.code}: no other target would help")
        elif not self._fall_back("fallback"):
            spent = f"the budget of {self._budget} attempts is spent" if self._untried() else ""
            self._exhausted(spent or otherwise)

    def _untried(self) -> int:
        """Steps behind the present one: each has one attempt reserved."""
        return len(self._steps) - 1 - self._at

    def _may_stay(self) -> bool:
        """True if another attempt on this step leaves one for each untried step."""
        return self._budget - self.attempts > self._untried()

    def _retry(self, name: str, wait_s: float, now_s: float, why: str) -> None:
        self._retries_used += 1
        self._same_step(name, f"retry {self._retries_used} after {_ms(wait_s)}", now_s + wait_s, why)

    def _same_step(self, name: str, reason: str, due_s: float | None, wait_reason: str) -> None:
        self._reason, self._due_s, self._wait_reason = reason, due_s, wait_reason
        self._avoid = frozenset(self._used.get(name, ()))

    def _fall_back(self, reason: str) -> bool:
        """On to the next step, if there is one and the budget has an attempt for it."""
        if not self._untried() or self._budget <= self.attempts:
            return False
        self._at += 1
        self._retries_used = self._rotations = 0
        self._due_s, self._reason = None, reason
        self._avoid = frozenset(self._used.get(self._steps[self._at].target.name, ()))
        return True

    def _out_of_time(self) -> Stop:
        error = UpstreamTimeout(
            self._story("The call's deadline passed before a target had answered."), phase="total"
        )
        self._stop = Stop(error, "the call's deadline has passed")
        return self._stop

    def _exhausted(self, reason: str) -> None:
        self._stop = Stop(self._last_word(), reason)

    def _last_word(self) -> PenstockError:
        """One error for a chain that is at its end."""
        events = self._events or []
        errors = [event.error for event in events if event.error is not None]
        codes = [event.rejected.code for event in events if event.rejected is not None]
        if all(isinstance(error, UpstreamAuthFailed) for error in errors) and set(codes) <= {
            "keys-exhausted"
        }:
            return UpstreamAuthFailed(
                self._story("Every provider key was refused."),
                hint="The gateway's operator must renew them; your own key is not the matter.",
                retry_after_s=_soonest_s(events),
            )
        if len(errors) == 1 and not codes:
            return errors[0]
        if all(isinstance(error, UpstreamRateLimited) for error in errors) and set(codes) <= {"keys-cooling"}:
            return _rate_limited(self._story("Every target is rate-limited."), _soonest_s(events), errors)
        if errors:
            last = errors[-1]
            # The provider's own sentence about a key often quotes a part of it.
            head = "A provider key was refused." if isinstance(last, UpstreamAuthFailed) else last.message
            return _retold(last, self._story(head))
        if set(codes) == {"key-not-allowed"}:
            return Forbidden(
                self._story("This key may not spend on any provider key of the chain."),
                code="key_not_allowed",
            )
        reasons, wait_s = tuple(event.line() for event in events), _soonest_s(events)
        if set(codes) == {"queue-full"}:
            return NoTargetLeft(
                self._story("The queue is full."), code="queue_full", reasons=reasons, retry_after_s=wait_s
            )
        return NoTargetLeft(self._story("No target could be tried."), reasons=reasons, retry_after_s=wait_s)

    def _story(self, head: str) -> str:
        events = self._events
        if not events:
            return head
        told = "; ".join(f"({place}) {event.line()}" for place, event in enumerate(events, 1))
        return f"{head} Tried: {told}"


def _soonest_s(events: list[_Event]) -> float | None:
    """The smallest hint among them: then at least one target is worth another call."""
    sources = [event.error or event.rejected for event in events]
    hints = [one.retry_after_s for one in sources if one is not None and one.retry_after_s is not None]
    return min(hints, default=None)


def _rate_limited(
    message: str, retry_after_s: float | None, errors: list[UpstreamError]
) -> UpstreamRateLimited:
    made = UpstreamRateLimited(message, retry_after_s=retry_after_s)
    made.quota_exhausted = bool(errors) and all(
        isinstance(error, UpstreamRateLimited) and error.quota_exhausted for error in errors
    )
    return made


def _retold(error: UpstreamError, message: str) -> UpstreamError:
    """The same error with the whole story as its message. The original stays as it was: its entry shows it."""
    kind = type(error)
    made = kind.__new__(kind, message)
    made.args = (message,)
    made.__dict__.update(error.__dict__)
    made.message = message
    made.__cause__ = error
    return made


def _ms(wait_s: float) -> str:
    return f"{wait_s * 1000:.0f} ms"
