"""When is a budget's limit near? Thresholds that are told once a window, and a forecast at the recent rate."""

from collections import deque

from msgspec import Struct

from penstock.ledger.budgets import Bucket, Budget
from penstock.ledger.leases import Claim, Pot

THRESHOLDS_PERCENT = (50, 80, 95, 100)


class Reading(Struct, frozen=True):
    """What was spent of one budget in one window, by all processes together."""

    node: str
    spec: Budget
    start_s: float
    end_s: float
    spent_nusd: int

    @property
    def pot(self) -> Pot:
        """Its name in the shared store."""
        return self.node, self.spec.name, self.start_s


def read(bucket: Bucket, spent_nusd: int | None = None) -> Reading:
    """A bucket as it stands; ``spent_nusd``: what the shared store knows of all processes, where it knows more."""
    account = bucket.account
    spent = bucket.spent if spent_nusd is None else max(spent_nusd, bucket.spent)
    return Reading(account.node, account.spec, bucket.start_s, bucket.end_s, spent)


class Alert(Struct, frozen=True):
    """``percent`` of a budget's limit is spent; or ``refusing``: what is left of it is too little for a call that asked."""

    percent: int
    reading: Reading
    refusing: bool = False

    def claim(self, holder: str, seq: int) -> Claim:
        """The right to tell it, as a pot of one nano-dollar: of all processes, now and after a restart, one gets it.

        Who is granted it may tell. While nobody has ``taken`` it (a store that has just forgotten grants nothing for a
        while), it is to be claimed again, by the same ``holder`` with a higher ``seq``. Whoever asks later under another
        name does not get it, also if it has forgotten that it told.
        """
        return Claim(holder, self.pot, seq, 0, 0, want=True, need=1, limit=1, ceiling=1)

    @property
    def pot(self) -> Pot:
        """What is claimed."""
        spec = self.reading.spec
        what = "refusing" if self.refusing else f"{self.percent} %"
        name = f"{spec.name} at {what} of {spec.limit_nusd}"
        return f"alerts of {self.reading.node}", name, self.reading.start_s


class Told(Struct, frozen=True):
    """What was told of one budget: up to ``percent`` of ``limit_nusd``, in the window that began at ``start_s``."""

    start_s: float = float("-inf")
    limit_nusd: int = 0
    percent: int = 0


def alerts(reading: Reading, told: Told, thresholds: tuple[int, ...] = THRESHOLDS_PERCENT) -> list[Alert]:
    """Thresholds newly reached, lowest first. Each is told once a window; of another limit they are others.

    A correction that lowers what was spent takes nothing back. A settlement in an earlier window than the told one
    is silent: its time is over.
    """
    if reading.start_s < told.start_s:
        return []
    limit_nusd = reading.spec.limit_nusd
    same = (reading.start_s, limit_nusd) == (told.start_s, told.limit_nusd)
    before = told.percent if same else 0
    reached = [one for one in sorted(set(thresholds)) if reading.spent_nusd * 100 >= limit_nusd * one]
    return [Alert(one, reading) for one in reached if one > before]


def told_of(alert: Alert) -> Told:
    """What is told once ``alert`` is."""
    return Told(alert.reading.start_s, alert.reading.spec.limit_nusd, alert.percent)


class Rate:
    """Readings of one budget's spending, spread over the last ``span_s``; bounded in number."""

    __slots__ = ("_readings", "_span_s", "_step_s")

    def __init__(self, span_s: float = 3600.0, readings: int = 60) -> None:
        self._span_s = span_s
        self._step_s = span_s / readings
        self._readings: deque[tuple[float, int]] = deque(maxlen=readings + 2)

    def read(self, reading: Reading, now_s: float) -> None:
        """Note what is spent now. A new window begins anew."""
        readings = self._readings
        if readings and (readings[-1][0] < reading.start_s or now_s < readings[-1][0]):
            readings.clear()
        if not readings or now_s - readings[-1][0] >= self._step_s:
            readings.append((now_s, reading.spent_nusd))
        while readings and now_s - readings[0][0] > self._span_s + self._step_s:
            readings.popleft()

    def forecast_s(self, reading: Reading, now_s: float) -> float | None:
        """When the limit will be reached at the recent rate (unix seconds); None: not in this window, or not known."""
        left = reading.spec.limit_nusd - reading.spent_nusd
        if left <= 0:
            return now_s
        if not self._readings or self._readings[0][0] < reading.start_s:
            return None
        since_s, before = self._readings[0]
        grown = reading.spent_nusd - before
        if now_s <= since_s or grown <= 0:
            return None
        at_s = now_s + left * (now_s - since_s) / grown
        return at_s if at_s < reading.end_s else None
