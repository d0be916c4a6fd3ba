"""A clock that waits for the device before it is read, and calls timed in turn. The clock can be given, for tests."""

import time
from collections.abc import Callable, Mapping
from statistics import median, quantiles
from typing import Any

import torch
from msgspec import Struct

from penstock.engine.measure.records import Timing

Clock = Callable[[], float]
"""Seconds, from any origin."""


class Stopwatch(Struct, frozen=True):
    """Milliseconds on one device. ``clock`` in seconds."""

    device: str = "cpu"
    clock: Clock = time.perf_counter

    def now_ms(self) -> float:
        """The time, once the device has done what it was given."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
        return self.clock() * 1e3

    def turns(self, calls: Mapping[str, Callable[[], Any]], *, runs: int = 5) -> dict[str, Timing]:
        """Each call once to warm up, then all in turn, ``runs`` times: what disturbs one disturbs the others too."""
        first: dict[str, float] = {}
        took: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(runs + 1):
            for name, call in calls.items():
                start = self.now_ms()
                call()
                spent = self.now_ms() - start
                if turn:
                    took[name].append(spent)
                else:
                    first[name] = spent
        return {name: timing(times, warmup=1, first_ms=first[name]) for name, times in took.items()}


def timing(times_ms: list[float], *, warmup: int = 0, first_ms: float | None = None) -> Timing:
    """Quartiles of some times; at least one."""
    low, high = (times_ms[0], times_ms[0])
    if len(times_ms) > 1:
        low, _, high = quantiles(times_ms, n=4, method="inclusive")
    return Timing(
        median_ms=median(times_ms),
        low_ms=low,
        high_ms=high,
        runs=len(times_ms),
        warmup=warmup,
        first_ms=first_ms,
    )
