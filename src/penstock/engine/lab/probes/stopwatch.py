"""Wall time of parts of a run, and calls timed in turn, on the clock of ``measure.ports``. The device is waited for at each reading."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from penstock.engine.measure import timing
from penstock.engine.measure.ports import Watch
from penstock.engine.measure.records import Timing

LEAST_S, MOST_S = 0.1, 10.0
"""A probe's timing is short: it decides between twofold differences, not between percents."""


class Stopwatch(Struct, frozen=True):
    """Milliseconds on one device."""

    device: str
    clock: Watch

    def now_ms(self) -> float:
        """The time, once the device has done what it was given."""
        self.clock.wait()
        return self.clock.wall_s() * 1e3

    def turns(self, calls: Mapping[str, Callable[[], Any]]) -> dict[str, Timing]:
        """Each call, in turn with the others: what disturbs one disturbs all."""
        return timing.interleave(calls, device=self.device, least_s=LEAST_S, most_s=MOST_S, clock=self.clock)


def once(took_ms: float, *, first_ms: float | None = None) -> Timing:
    """One reading, as a ``Timing``."""
    return Timing(median_ms=took_ms, low_ms=took_ms, high_ms=took_ms, runs=1, warmup=1, first_ms=first_ms)
