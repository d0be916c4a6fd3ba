"""When is a budget's limit near? Thresholds that are told once a window, and a forecast at the recent rate."""

from collections import deque

from msgspec import Struct

from penstock.ledger.budgets import Bucket

THRESHOLDS_PERCENT = (50, 80, 95, 100)


class Alert(Struct, frozen=True):
    """``percent`` of a budget's limit is spent in the window that began at ``window_start_s``."""

    node: str
    budget: str
    percent: int
    spent_nusd: int
    limit_nusd: int
    window_start_s: float


class Told(Struct, frozen=True):
    """What was told of one budget: up to ``percent``, in the window that began at ``window_start_s``."""

    window_start_s: float = float("-inf")
    percent: int = 0


def alerts(
    bucket: Bucket, told: Told, thresholds: tuple[int, ...] = THRESHOLDS_PERCENT
) -> tuple[list[Alert], Told]:
    """Thresholds newly reached, lowest first, and what is told from now on. Each is told once a window.

    A correction that lowers what was spent takes nothing back. A settlement in an earlier window than the told one
    is silent: its time is over.
    """
    if bucket.start_s < told.window_start_s:
        return [], told
    spec = bucket.account.spec
    before = told.percent if bucket.start_s == told.window_start_s else 0
    reached = [
        one for one in sorted(thresholds) if one > before and bucket.spent * 100 >= spec.limit_nusd * one
    ]
    said = [
        Alert(bucket.account.node, spec.name, one, bucket.spent, spec.limit_nusd, bucket.start_s)
        for one in reached
    ]
    return said, Told(bucket.start_s, max([before, *reached]))


class Rate:
    """Readings of one budget's spending, spread over the last ``span_s``; bounded in number."""

    __slots__ = ("_readings", "_span_s", "_step_s")

    def __init__(self, span_s: float = 3600.0, readings: int = 60) -> None:
        self._span_s = span_s
        self._step_s = span_s / readings
        self._readings: deque[tuple[float, int]] = deque(maxlen=readings + 2)

    def read(self, bucket: Bucket, now_s: float) -> None:
        """Note what is spent now. A new window begins anew."""
        readings = self._readings
        if readings and (readings[-1][0] < bucket.start_s or now_s < readings[-1][0]):
            readings.clear()
        if not readings or now_s - readings[-1][0] >= self._step_s:
            readings.append((now_s, bucket.spent))
        while readings and now_s - readings[0][0] > self._span_s + self._step_s:
            readings.popleft()

    def forecast_s(self, bucket: Bucket, now_s: float) -> float | None:
        """When the limit will be reached at the recent rate (unix seconds); None: not in this window, or not known."""
        left = bucket.account.spec.limit_nusd - bucket.spent
        if left <= 0:
            return now_s
        if not self._readings or self._readings[0][0] < bucket.start_s:
            return None
        since_s, before = self._readings[0]
        grown = bucket.spent - before
        if now_s <= since_s or grown <= 0:
            return None
        at_s = now_s + left * (now_s - since_s) / grown
        return at_s if at_s < bucket.end_s else None
