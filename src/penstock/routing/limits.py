"""Requests and tokens per minute of one virtual key: GCRA, exact in integers.

Theory
------
GCRA (the generic cell rate algorithm, ITU-T I.371) keeps one number, the theoretical arrival time: the moment at
which all that was admitted is paid off. Here time is counted in nanoseconds x ``per_minute``, so that one unit
costs exactly 60e9 and no sum ever rounds: 600 pass at once, the 601st does not.

Rules
- An ask larger than the whole burst would be impossible for ever. It is admitted when the bucket is full, and its
  debt delays what follows, so the rate still holds over time.
- A correction moves the same number, later: nothing is lost at the edge of a window, because there is no window.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from penstock.base.decisions import Rejected
from penstock.base.native import load_native

if TYPE_CHECKING:
    from penstock.routing._gcra import Path as NativePath

native, missing = load_native("penstock.routing", "_gcra", Path(__file__).parent)
"""``missing``: why there is none; "" where there is."""

_MINUTE_NS = 60_000_000_000
_MARGIN_NS = 1_000
"""Added to a wait, so that a caller who waits exactly that long in float seconds is admitted."""

_REQUESTS = b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\nx-ratelimit-reset-requests: %b\r\n"
_TOKENS = (
    b"x-ratelimit-limit-tokens: %d\r\nx-ratelimit-remaining-tokens: %d\r\nx-ratelimit-reset-tokens: %b\r\n"
)
_Told = tuple[int, int, bytes]
_NATIVE_LEVELS = 8
_NATIVE_MOST = 2**40
"""A minute's units up to which native code counts without a thought of its 128 bits."""


class Gcra:
    """One limit of ``per_minute`` units; from idle ``burst`` units pass at once (default: one minute's worth)."""

    __slots__ = ("_limit", "_paid_at", "burst", "per_minute")

    def __init__(self, per_minute: int, burst: int | None = None) -> None:
        if per_minute < 1 or (burst is not None and burst < 1):
            raise ValueError("A rate limit is at least 1 per minute, and its burst at least 1.")
        self.per_minute = per_minute
        self.burst = per_minute if burst is None else burst
        self._limit = self.burst * _MINUTE_NS
        self._paid_at: int | None = None  # None: nothing was ever admitted, whatever the clock's origin

    def admit(self, cost: float, now_s: float) -> float:
        """Take ``cost`` units: 0.0, or the seconds to wait (nothing is taken then)."""
        now = int(now_s * 1e9) * self.per_minute
        paid_at = self._paid_at
        if paid_at is None or paid_at < now:
            paid_at = now
        after = paid_at + int(cost * _MINUTE_NS)
        if after - now > self._limit and paid_at > now:
            return self._wait_s(min(after - now - self._limit, paid_at - now))
        self._paid_at = after
        return 0.0

    def peek(self, cost: float, now_s: float) -> float:
        """What admit would answer, without taking."""
        before = self._paid_at
        wait_s = self.admit(cost, now_s)
        self._paid_at = before
        return wait_s

    def correct(self, delta: float, now_s: float) -> None:
        """Debit (positive) or credit (negative) what an estimate missed. A full bucket stays just full."""
        now = int(now_s * 1e9) * self.per_minute
        paid_at = self._paid_at
        if paid_at is None or paid_at < now:
            paid_at = now
        self._paid_at = paid_at + int(delta * _MINUTE_NS)

    def remaining(self, now_s: float) -> int:
        """Whole units that would pass now; 0 while in debt."""
        return self.status(now_s)[0]

    def reset_s(self, now_s: float) -> float:
        """Seconds until the bucket is full again."""
        return self.status(now_s)[1]

    def status(self, now_s: float) -> tuple[int, float]:
        """``remaining`` and ``reset_s`` in one look."""
        paid_at = self._paid_at
        owed = 0 if paid_at is None else paid_at - int(now_s * 1e9) * self.per_minute
        if owed <= 0:
            return self.burst, 0.0
        return max(0, (self._limit - owed) // _MINUTE_NS), owed / self.per_minute / 1e9

    def told(self, now_ns: int) -> _Told:
        """What a header says: ``burst``, ``remaining`` and ``reset_s`` as a Go duration, rounded up."""
        per_minute, paid_at = self.per_minute, self._paid_at
        owed = 0 if paid_at is None else paid_at - now_ns * per_minute
        if owed <= 0:
            return self.burst, self.burst, b"0ms"
        left = self._limit - owed
        reset_ms = -(-owed // (per_minute * 1_000_000))
        return (
            self.burst,
            left // _MINUTE_NS if left > 0 else 0,
            b"%dms" % reset_ms if reset_ms < 1000 else go_duration(reset_ms),
        )

    def mark(self) -> int | None:
        """The state, for ``restore``: undoing an admission exactly."""
        return self._paid_at

    def restore(self, mark: int | None) -> None:
        """Back to ``mark``; only within one decision, before anything else was admitted."""
        self._paid_at = mark

    def _wait_s(self, scaled: int) -> float:
        return (-(-scaled // self.per_minute) + _MARGIN_NS) / 1e9


class Bucket(Protocol):
    """One limit: ``Gcra``, or a lease of one that several processes share (``routing.credit``)."""

    per_minute: int
    burst: int

    def admit(self, cost: float, now_s: float) -> float:
        """Take ``cost`` units: 0.0, or the seconds to wait."""
        ...

    def correct(self, delta: float, now_s: float) -> None:
        """Debit or credit what an estimate missed."""
        ...

    def told(self, now_ns: int) -> _Told:
        """What a header says."""
        ...

    def mark(self) -> int | None:
        """The state, for ``restore``."""
        ...

    def restore(self, mark: int | None) -> None:
        """Back to ``mark``; only within one decision."""
        ...


def own_bucket(_what: str, per_minute: int, burst: int) -> Bucket:
    """A limit of this process alone: in native code where that was built and the figures fit."""
    if native is not None and max(per_minute, burst) <= _NATIVE_MOST:
        return native.Gcra(per_minute, burst)
    return Gcra(per_minute, burst)


class Limits(Protocol):
    """The limits that one call must keep: one level's, or a whole path's."""

    def admit(self, tokens: int, now_s: float) -> Rejected | None:
        """Take one request and ``tokens`` of all, or of none."""
        ...

    def settle(self, estimated: int, actual: int, now_s: float) -> None:
        """Correct the tokens by what the estimate missed."""
        ...

    def give_back(self, now_s: float) -> None:
        """One request was taken for a call that is taken for anew."""
        ...

    def lines(self, now_s: float) -> bytes:
        """OpenAI's ``x-ratelimit-*`` as header lines."""
        ...


def native_path(levels: "tuple[KeyLimits, ...]") -> "NativePath | None":
    """The limits of these levels in native code; None where one of them is not."""
    buckets = [level.buckets for level in levels]
    if native is None or len(levels) > _NATIVE_LEVELS:
        return None
    if not all(one is None or isinstance(one, native.Gcra) for both in buckets for one in both):
        return None
    return native.Path([requests for requests, _ in buckets], [tokens for _, tokens in buckets])


class KeyLimits:
    """Both limits of one virtual key, or of what stands above or below it. ``burst`` is in requests; tokens burst with
    one minute's worth. ``holder`` begins the sentence of a refusal."""

    __slots__ = ("_holder", "_requests", "_tokens", "native")

    def __init__(
        self,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        burst: int | None,
        holder: str = "This key",
        make: Callable[[str, int, int], Bucket] = own_bucket,
    ) -> None:
        """``make`` gives the limit of ``requests`` or ``tokens``, of this rate and burst."""
        self._holder = holder
        rate, tokens = requests_per_minute, tokens_per_minute
        self._requests = None if rate is None else make("requests", rate, rate if burst is None else burst)
        self._tokens = None if tokens is None else make("tokens", tokens, tokens)
        self.native = native_path((self,))
        """The same limits in native code, where that was built."""

    @property
    def buckets(self) -> tuple[Bucket | None, Bucket | None]:
        """Of requests, and of tokens."""
        return self._requests, self._tokens

    def admit(self, tokens: int, now_s: float) -> Rejected | None:
        """Take one request and ``tokens``, both or neither."""
        if self.native is not None and self.native.admit(tokens, now_s) is None:
            return None
        requests, bucket = self._requests, self._tokens
        mark: int | None = None
        requests_wait_s = tokens_wait_s = 0.0
        if requests is not None:
            mark = requests.mark()
            requests_wait_s = requests.admit(1, now_s)
        if bucket is not None:
            before = bucket.mark()
            tokens_wait_s = bucket.admit(tokens, now_s)
            if requests_wait_s:
                bucket.restore(before)
        if not requests_wait_s and not tokens_wait_s:
            return None
        if requests is not None:
            requests.restore(mark)
        if requests_wait_s >= tokens_wait_s and requests is not None:
            return Rejected(
                "rate-limited-requests",
                f"{self._holder} may make {requests.per_minute} requests per minute; "
                f"the next one is free in {requests_wait_s:.2f} s.",
                retry_after_s=requests_wait_s,
            )
        limit = 0 if bucket is None else bucket.per_minute
        return Rejected(
            "rate-limited-tokens",
            f"{self._holder} may use {limit} tokens per minute; "
            f"this call's {tokens} (estimated) are free in {tokens_wait_s:.2f} s.",
            retry_after_s=tokens_wait_s,
        )

    def settle(self, estimated: int, actual: int, now_s: float) -> None:
        """Correct the tokens by what the estimate missed. A negative balance delays the next call."""
        if self._tokens is not None and actual != estimated:
            self._tokens.correct(actual - estimated, now_s)

    def give_back(self, now_s: float) -> None:
        """One request was taken for a call that is taken for anew."""
        if self._requests is not None:
            self._requests.correct(-1, now_s)

    def mark(self) -> tuple[int | None, int | None]:
        """The state, for ``restore``."""
        requests, tokens = self._requests, self._tokens
        return None if requests is None else requests.mark(), None if tokens is None else tokens.mark()

    def restore(self, mark: tuple[int | None, int | None]) -> None:
        """Undo the admission since ``mark``; only within one decision, before anything else was admitted."""
        if self._requests is not None:
            self._requests.restore(mark[0])
        if self._tokens is not None:
            self._tokens.restore(mark[1])

    def told(self, now_ns: int) -> tuple[_Told | None, _Told | None]:
        """What headers say of requests and of tokens."""
        requests, tokens = self._requests, self._tokens
        return None if requests is None else requests.told(now_ns), None if tokens is None else tokens.told(
            now_ns
        )

    def lines(self, now_s: float) -> bytes:
        """OpenAI's ``x-ratelimit-*`` as header lines: limit is what passes from idle, reset a Go duration until full."""
        if self.native is not None:
            return self.native.lines(now_s)
        now_ns = int(now_s * 1e9)
        requests, tokens = self._requests, self._tokens
        lines = b"" if requests is None else _REQUESTS % requests.told(now_ns)
        return lines if tokens is None else lines + _TOKENS % tokens.told(now_ns)


class PathLimits:
    """The limits of several levels of the tree; a call must keep all of them, nearest first."""

    __slots__ = ("levels", "native")

    def __init__(self, levels: tuple[KeyLimits, ...]) -> None:
        self.levels = levels
        self.native = native_path(levels)
        """The same limits in native code, where that was built."""

    def admit(self, tokens: int, now_s: float) -> Rejected | None:
        """Take one request and ``tokens`` of all, or of none."""
        if self.native is not None and self.native.admit(tokens, now_s) is None:
            return None
        taken: list[tuple[KeyLimits, tuple[int | None, int | None]]] = []
        for level in self.levels:
            mark = level.mark()
            refused = level.admit(tokens, now_s)
            if refused is not None:
                for before, its_mark in taken:
                    before.restore(its_mark)
                return refused
            taken.append((level, mark))
        return None

    def settle(self, estimated: int, actual: int, now_s: float) -> None:
        """Correct the tokens of all."""
        for level in self.levels:
            level.settle(estimated, actual, now_s)

    def give_back(self, now_s: float) -> None:
        """Of all."""
        for level in self.levels:
            level.give_back(now_s)

    def lines(self, now_s: float) -> bytes:
        """Of requests and of tokens the level that has least left: what the caller will meet first."""
        if self.native is not None:
            return self.native.lines(now_s)
        return nearest_lines(self.levels, now_s)


def nearest_lines(path: tuple[KeyLimits, ...], now_s: float) -> bytes:
    """The same for a call that several limits hold: of requests and of tokens the one that has least left."""
    now_ns = int(now_s * 1e9)
    told = [one.told(now_ns) for one in path]
    requests = min((one for one, _ in told if one is not None), key=_left, default=None)
    tokens = min((one for _, one in told if one is not None), key=_left, default=None)
    lines = b"" if requests is None else _REQUESTS % requests
    return lines if tokens is None else lines + _TOKENS % tokens


def _left(told: _Told) -> int:
    return told[1]


def go_duration(ms: int) -> bytes:
    """As OpenAI writes it: 12ms, 1s, 1.5s, 6m0s, 1h0m0s."""
    if ms < 1000:
        return b"%dms" % ms
    if ms < 60_000:
        return b"%gs" % (ms / 1000)
    minutes, rest_ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    rest_s = rest_ms / 1000
    return b"%dh%dm%gs" % (hours, minutes, rest_s) if hours else b"%dm%gs" % (minutes, rest_s)


if native is not None:
    native.use(go_duration)
