"""What was seen of each target lately: first token, throughput, uptime; kept in rolling windows of our own measurements.

Theory
------
Time is cut into slots of 10 s, kept for 30 minutes, and of 10 minutes, kept for a day. A slot counts measurements in
buckets whose bounds are 7 % apart, so that slots can be added and a percentile of any window is right within 4 %.

Rules
- Uptime is success / (success + error), as OpenRouter counts it (docs, provider routing, 2026-11): errors are 5xx, no
  answer, 401, 402, 404, a broken stream; what the caller sent wrong (400, 403, 413, 422, 451) and 429 count for nothing.
- Latency is the time to the first content of a stream; where a window has no stream, that of whole replies.
- Throughput is the tokens made per second from the start of the attempt, time to the first token included.
- What was not measured is None; nothing is guessed.
"""

from collections import deque
from collections.abc import Sequence
from math import ceil, exp, log

from msgspec import Struct, field

SLOT_S, DAY_SLOT_S = 10, 600
MINUTES_5_S, MINUTES_30_S, DAY_S = 300, 1800, 86_400
RECENT_S = 30
"""A target with trouble in this window is not a stable one (OpenRouter's rule)."""
PERCENTILES = (50, 75, 90, 99)
_STEP = log(1.07)
_MAX_TARGETS = 4096
_OUTAGE_SHARE = 0.2
"""From a fifth of failed calls on, trouble is an outage."""

Counts = dict[int, int]
"""Bucket -> how often."""


class _Slot(Struct):
    at: int
    good: int = 0
    bad: int = 0
    first: Counts = field(default_factory=Counts)
    whole: Counts = field(default_factory=Counts)
    throughput: Counts = field(default_factory=Counts)


class _Seen(Struct):
    slots: deque[_Slot]
    days: deque[list[int]]
    """[slot, good, bad]"""


class Percentiles(Struct, frozen=True):
    """Nearest-rank percentiles of a window."""

    p50: float
    p75: float
    p90: float
    p99: float

    def at(self, percent: int) -> float:
        """The one of 50, 75, 90 or 99."""
        return {50: self.p50, 75: self.p75, 90: self.p90, 99: self.p99}[percent]


class Observed:
    """Measurements of all targets, by ``provider/model``. ``now_s`` is monotonic and never goes back."""

    __slots__ = ("_targets",)

    def __init__(self) -> None:
        self._targets: dict[str, _Seen] = {}

    def see(
        self,
        target: str,
        now_s: float,
        *,
        good: bool | None,
        first_s: float | None = None,
        whole_s: float | None = None,
        tokens_per_s: float | None = None,
    ) -> None:
        """One attempt. ``good`` None: it says nothing about the target."""
        slot, seen = self._slot(target, now_s)
        for value, counts in (
            (first_s, slot.first),
            (whole_s, slot.whole),
            (tokens_per_s, slot.throughput),
        ):
            if value is not None and value > 0:
                bucket = _bucket(value)
                counts[bucket] = counts.get(bucket, 0) + 1
        if good is not None:
            self._count(slot, seen, now_s, int(good), int(not good))

    def see_many(
        self,
        target: str,
        now_s: float,
        *,
        calls: int,
        durations: Sequence[int],
        bounds_s: Sequence[float],
        tokens_per_s: float,
    ) -> None:
        """Whole replies that were counted elsewhere: ``durations[i]`` of them took up to ``bounds_s[i]``, the last more."""
        slot, seen = self._slot(target, now_s)
        for at, count in enumerate(durations):
            if count:
                upper = bounds_s[min(at, len(bounds_s) - 1)]
                lower = bounds_s[at - 1] if at else upper / 2
                bucket = _bucket((lower * upper) ** 0.5)
                slot.whole[bucket] = slot.whole.get(bucket, 0) + count
        if tokens_per_s > 0:
            bucket = _bucket(tokens_per_s)
            slot.throughput[bucket] = slot.throughput.get(bucket, 0) + calls
        self._count(slot, seen, now_s, calls, 0)

    def latency_s(self, target: str, now_s: float, window_s: int = MINUTES_5_S) -> Percentiles | None:
        """Time to the first content."""
        slots = self._window(target, now_s, window_s)
        return _percentiles([slot.first for slot in slots]) or _percentiles([slot.whole for slot in slots])

    def throughput(self, target: str, now_s: float, window_s: int = MINUTES_5_S) -> Percentiles | None:
        """Tokens per second; ``p90`` is what nine of ten calls reach, as a slower call is the worse one."""
        return _percentiles(
            [slot.throughput for slot in self._window(target, now_s, window_s)], descending=True
        )

    def uptime(self, target: str, now_s: float, window_s: int = MINUTES_30_S) -> float | None:
        """Share of attempts that succeeded, 0 to 1."""
        good = bad = 0
        if window_s > MINUTES_30_S:
            seen = self._targets.get(target)
            first = int(now_s - window_s) // DAY_SLOT_S
            for at, well, ill in () if seen is None else seen.days:
                if at > first:
                    good, bad = good + well, bad + ill
        else:
            for slot in self._window(target, now_s, window_s):
                good, bad = good + slot.good, bad + slot.bad
        return good / (good + bad) if good + bad else None

    def troubled(self, target: str, now_s: float) -> bool:
        """A significant outage in the last 30 s: a fifth or more of its attempts failed."""
        up = self.uptime(target, now_s, RECENT_S)
        return up is not None and 1 - up >= _OUTAGE_SHARE

    def _window(self, target: str, now_s: float, window_s: int) -> list[_Slot]:
        seen = self._targets.get(target)
        first = int(now_s - window_s) // SLOT_S
        return [] if seen is None else [slot for slot in seen.slots if slot.at > first]

    def _count(self, slot: _Slot, seen: _Seen, now_s: float, good: int, bad: int) -> None:
        slot.good += good
        slot.bad += bad
        at = int(now_s) // DAY_SLOT_S
        if not seen.days or seen.days[-1][0] != at:
            seen.days.append([at, 0, 0])
        seen.days[-1][1] += good
        seen.days[-1][2] += bad

    def _slot(self, target: str, now_s: float) -> tuple[_Slot, _Seen]:
        seen = self._targets.get(target)
        if seen is None:
            if len(self._targets) >= _MAX_TARGETS:  # the one that was seen first goes: callers choose names
                del self._targets[next(iter(self._targets))]
            seen = self._targets[target] = _Seen(
                deque(maxlen=MINUTES_30_S // SLOT_S + 1), deque(maxlen=DAY_S // DAY_SLOT_S + 1)
            )
        at = int(now_s) // SLOT_S
        slots = seen.slots
        if not slots or slots[-1].at != at:
            slots.append(_Slot(at))
        return slots[-1], seen


def _bucket(value: float) -> int:
    return round(log(value) / _STEP)


def _percentiles(counted: list[Counts], *, descending: bool = False) -> Percentiles | None:
    """Nearest rank over all ``counted``. ``descending``: from the highest value down."""
    together: Counts = {}
    for counts in counted:
        for bucket, count in counts.items():
            together[bucket] = together.get(bucket, 0) + count
    total = sum(together.values())
    if not total:
        return None
    found: list[float] = []
    passed, wanted = 0, 0
    for bucket in sorted(together, reverse=descending):
        passed += together[bucket]
        while wanted < len(PERCENTILES) and passed >= ceil(PERCENTILES[wanted] * total / 100):
            found.append(exp(bucket * _STEP))
            wanted += 1
    return Percentiles(*found)
