"""Which targets are worth a call: a breaker per target, its transitions as a table.

Theory
------
    state      fault   fifth-fault   ok       neutral   gone      probe
    closed     closed  open          closed   closed    dropped   -
    open       open    open          open(a)  open      dropped   half-open(b)
    half-open  open    open          closed   open(a)   dropped   half-open(b)
    dropped    dropped dropped       drop.(a) dropped   dropped   half-open(b)

(a) due at once: the next call is a probe. (b) only once the time is up. In half-open a single fault is enough.

- Opens after FAULTS_TO_OPEN consecutive faults, for 2 s x 1.6^k, at most 30 s; k counts openings in a row.
- A target without a record is healthy, so the common look is one dictionary miss.
- 429 and 4xx are ``neutral``: they say nothing about health. ``gone`` is the provider's own 404.
- A result that arrives while open belongs to a call from before, or to one that went all the same because it was
  the last of its chain: a success makes the next call a probe, a fault does not open further.
- A probe that reports nothing for PROBE_LEASE_S (a very long call) no longer holds others back.
"""

from collections.abc import Callable

from msgspec import Struct

from penstock.base.decisions import Rejected

FAULTS_TO_OPEN = 5
OPEN_FIRST_S, OPEN_FACTOR, OPEN_MAX_S = 2.0, 1.6, 30.0
DROPPED_S = 600.0
PROBE_LEASE_S = 30.0
_TIDY_S = 60.0
_MAX_TARGETS = 4096

LAW: dict[str, dict[str, str]] = {
    "closed": {
        "fault": "closed",
        "fifth-fault": "open",
        "ok": "closed",
        "neutral": "closed",
        "gone": "dropped",
    },
    "open": {
        "fault": "open",
        "fifth-fault": "open",
        "ok": "open",
        "neutral": "open",
        "gone": "dropped",
        "probe": "half-open",
    },
    "half-open": {
        "fault": "open",
        "fifth-fault": "open",
        "ok": "closed",
        "neutral": "open",
        "gone": "dropped",
        "probe": "half-open",
    },
    "dropped": {
        "fault": "dropped",
        "fifth-fault": "dropped",
        "ok": "dropped",
        "neutral": "dropped",
        "gone": "dropped",
        "probe": "half-open",
    },
}


class _Record(Struct):
    """One target that had trouble. ``until_s``: when open or dropped ends, or when a probe's lease does."""

    state: str = "closed"
    faults: int = 0
    openings: int = 0
    until_s: float = 0.0


class Health:
    """The breakers of all targets, by ``provider/model``."""

    __slots__ = ("_records", "_tidy_at_s", "tell")

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._tidy_at_s = 0.0
        self.tell: Callable[[str, float], None] | None = None
        """Told of a target that opens, and for how long: other processes take it as a hint."""

    def hint(self, target: str, open_s: float, now_s: float) -> None:
        """Another process has opened this target: so does this one, and probes it for itself afterwards."""
        record = self._records.get(target) or self._new(target, now_s)
        if record.state == "closed":
            record.state, record.faults, record.until_s = (
                "open",
                FAULTS_TO_OPEN,
                now_s + min(OPEN_MAX_S, open_s),
            )
            record.openings += 1

    @property
    def quiet(self) -> bool:
        """No target had trouble lately: every check would pass."""
        return not self._records

    def untroubled(self, targets: tuple[str, ...]) -> bool:
        """None of these had trouble lately, whatever others had: every check of them would pass."""
        records = self._records
        return not records or not any(target in records for target in targets)

    def check(self, target: str, now_s: float) -> Rejected | None:
        """Why the target should not be called now, or None. A pure look."""
        record = self._records.get(target)
        if record is None or record.state == "closed" or record.until_s <= now_s:
            return None
        return _refusal(target, record, now_s)

    def admit(self, target: str, now_s: float) -> Rejected | None:
        """Like check, but takes the probe where one is due.

        Pair each admission with exactly one of fault, ok, neutral or drop. A call that goes unadmitted, because
        it is the last of its chain, reports fault or ok, but not neutral: that would free another call's probe.
        """
        record = self._records.get(target)
        if record is None or record.state == "closed":
            return None
        if record.until_s > now_s:
            return _refusal(target, record, now_s)
        record.state = LAW[record.state]["probe"]
        record.until_s = now_s + PROBE_LEASE_S
        return None

    def fault(self, target: str, now_s: float) -> bool:
        """One more fault. True when it opened the target."""
        record = self._records.get(target) or self._new(target, now_s)
        record.faults += 1
        before = record.state
        record.state = LAW[before]["fifth-fault" if record.faults >= FAULTS_TO_OPEN else "fault"]
        if record.state != "open" or before == "open":
            return False
        record.until_s = now_s + min(OPEN_MAX_S, OPEN_FIRST_S * OPEN_FACTOR ** min(record.openings, 32))
        record.openings += 1
        if self.tell is not None:
            self.tell(target, record.until_s - now_s)
        return True

    def ok(self, target: str) -> None:
        """The target served: consecutive faults are forgotten."""
        if not self._records:
            return
        record = self._records.get(target)
        if record is None:
            return
        before = record.state
        record.state = LAW[before]["ok"]
        if record.state == "closed":
            del self._records[target]
        else:
            record.until_s = 0.0

    def neutral(self, target: str) -> None:
        """The outcome says nothing about health (429, 4xx, the caller hung up): a probe is freed."""
        if not self._records:
            return
        record = self._records.get(target)
        if record is None:
            return
        before = record.state
        record.state = LAW[before]["neutral"]
        if before == "half-open":
            record.until_s = 0.0

    def drop(self, target: str, now_s: float) -> None:
        """The provider itself says 404: drop the endpoint for DROPPED_S, then try it again."""
        record = self._records.get(target) or self._new(target, now_s)
        record.state = LAW[record.state]["gone"]
        record.until_s = now_s + DROPPED_S

    def state(self, target: str, now_s: float) -> str:
        """closed, open, half-open (a probe is due or out) or dropped."""
        record = self._records.get(target)
        if record is None:
            return "closed"
        return _state(record, now_s)

    def snapshot(self, now_s: float) -> dict[str, dict[str, object]]:
        """Every target with a record: for metrics and ``explain``. A target not in it is closed."""
        return {
            target: {
                "state": _state(record, now_s),
                "faults": record.faults,
                "openings": record.openings,
                "retry_after_s": max(0.0, record.until_s - now_s),
            }
            for target, record in self._records.items()
        }

    def _new(self, target: str, now_s: float) -> _Record:
        # Callers choose model names, so the table is bounded. Names that nobody knows, and nobody asks for any more, go
        # first, so that they cannot push out a breaker; then the oldest record, which errs towards calling.
        records = self._records
        if now_s >= self._tidy_at_s:
            self._tidy_at_s = now_s + _TIDY_S
            for name in [n for n, r in records.items() if r.state == "dropped" and r.until_s <= now_s]:
                del records[name]
        if len(records) >= _MAX_TARGETS:
            gone = (name for name, record in records.items() if record.state == "dropped")
            del records[next(gone, next(iter(records)))]
        record = records[target] = _Record()
        return record


def _state(record: _Record, now_s: float) -> str:
    if record.state in ("open", "dropped") and record.until_s <= now_s:
        return "half-open"
    return record.state


def _refusal(target: str, record: _Record, now_s: float) -> Rejected:
    left_s = record.until_s - now_s
    if record.state == "dropped":
        return Rejected(
            "dropped",
            f"{target} answered 404 (no such model there); it is asked again in {left_s:.0f} s.",
            retry_after_s=left_s,
        )
    if record.state == "half-open":
        why = f"{target} is half-open: one live call is testing it"
    else:
        why = f"{target} is open after {record.faults} faults in a row, for another {left_s:.1f} s"
    return Rejected("open", f"{why}.", retry_after_s=left_s)
