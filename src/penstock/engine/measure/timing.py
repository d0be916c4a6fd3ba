"""How long a call takes, without a profiler: the figure that counts.

Warm-up goes on until the times have settled; samples are long enough for the clock; median and quartiles are reported, never a
mean. When several calls are compared they are sampled in turn, in random order, so that a machine that slows down slows all
of them. What disturbed the measurement is said. The clock and the device are a ``Watch``; the decisions here are pure.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles
from typing import Any

from msgspec import Struct

from penstock.base.errors import BadRequest
from penstock.engine.measure.ports import Watch, watch
from penstock.engine.measure.records import Timing

Call = Callable[[], Any]

WINDOW = 3
"""Samples that are compared with the ``WINDOW`` before them to see whether the times have settled."""
SETTLED = 0.05
"""Settled: the median of a window is not this much below the one before."""
MOST_WARMUP = 50
LEAST_SAMPLES = 5
MOST_SAMPLES = 1000
SAMPLE_MS = {"wall": 0.2, "thread": 0.2, "cuda-events": 0.05}
"""A sample lasts at least this long: a hundred times the clock's resolution and more. Shorter calls are repeated within it, which
on a device hides a part of their launches behind the call before."""
DISTURBED = 1.3
"""Wall ÷ CPU time above this: the process was not running for a quarter of the time, or the call itself waits."""
SPREAD = 0.2
"""(upper - lower quartile) ÷ median above this: the figure is not steady."""
DRIFT = 0.15
"""Second half's median over the first half's, minus 1: the machine slowed down (heat, clocks, another process)."""


class Samples(Struct, kw_only=True):
    """Raw readings of one call, in milliseconds per call."""

    first_ms: float | None = None
    warmup: int = 0
    settled: bool = True
    per_sample: int = 1
    ms: list[float]
    wall_s: float = 0.0
    cpu_s: float | None = None


def measure(
    call: Call,
    *,
    device: str = "cpu",
    least_s: float = 0.5,
    most_s: float = 10.0,
    clock: Watch | None = None,
) -> Timing:
    """Time one call.

    Args:
        call: what to time. It is called many times.
        device: where its work runs, ``cpu`` or ``cuda:0``.
        least_s: samples are taken for at least this long (and ``LEAST_SAMPLES`` of them).
        most_s: nothing goes on longer than this, warm-up included, but for the calls already begun: two at the least.
        clock: the stopwatch; by default the device's own.
    """
    return interleave({"": call}, device=device, least_s=least_s, most_s=most_s, clock=clock)[""]


def interleave(
    calls: Mapping[str, Call],
    *,
    device: str = "cpu",
    least_s: float = 0.5,
    most_s: float = 10.0,
    clock: Watch | None = None,
    order: random.Random | None = None,
) -> dict[str, Timing]:
    """Time several calls under the same conditions: each round samples all of them once, in an order drawn anew.

    Args:
        calls: by name.
        device: of all of them.
        least_s: each is sampled for at least this long.
        most_s: for each; see ``measure``. A slow call that has used up its time leaves the rounds to the others.
        clock: the stopwatch; by default the device's own.
        order: where the order of each round comes from; a fixed seed by default, so that a run can be repeated.
    """
    if not 0 <= least_s <= most_s:
        raise BadRequest(
            f"the time to measure for is {least_s} to {most_s} seconds: the first must not be the larger.",
            param="least_s",
        )
    with_clock = clock or watch(device)
    drawn = order or random.Random(0)
    taken = {name: _warm(call, with_clock, most_s / 2) for name, call in calls.items()}
    budget_s = {name: most_s - taken[name].wall_s for name in calls}
    for samples in taken.values():
        samples.wall_s, samples.cpu_s = 0.0, None
    while not all(enough(taken[name], least_s, budget_s[name]) for name in calls):
        # all that have time left, also those with enough: compared calls are to see the same moments
        turns = [name for name in calls if not spent(taken[name], budget_s[name])]
        drawn.shuffle(turns)
        for name in turns:
            _sample(calls[name], taken[name], with_clock)
    return {name: summary(taken[name], with_clock.clock) for name in calls}


def enough(samples: Samples, least_s: float, most_s: float) -> bool:
    """Whether sampling may end: long enough and often enough, or out of time."""
    return spent(samples, most_s) or (len(samples.ms) >= LEAST_SAMPLES and samples.wall_s >= least_s)


def spent(samples: Samples, most_s: float) -> bool:
    """Whether sampling must end: out of time, or more samples than tell anything new. One sample there always is."""
    return len(samples.ms) >= MOST_SAMPLES or (len(samples.ms) > 0 and samples.wall_s >= most_s)


def settled(ms: Sequence[float], window: int = WINDOW) -> bool:
    """Whether times have stopped falling: two windows, the second not clearly below the first."""
    if len(ms) < 2 * window:
        return False
    return median(ms[-window:]) >= (1 - SETTLED) * median(ms[-2 * window : -window])


def window_of(first_ms: float, most_s: float) -> int:
    """How many calls a window of the warm-up holds: one where warming up by more would eat the time for samples."""
    return WINDOW if first_ms / 1e3 * 4 * WINDOW < most_s else 1


def repeats(call_ms: float, sample_ms: float) -> int:
    """How many calls make one sample."""
    if call_ms <= 0:
        return 1000
    return max(1, min(1000, round(sample_ms / call_ms + 0.5)))


def summary(samples: Samples, clock: str) -> Timing:
    """Median and quartiles, with what must be said about them."""
    low, middle, high = _quartiles(samples.ms)
    return Timing(
        median_ms=middle,
        low_ms=low,
        high_ms=high,
        runs=len(samples.ms),
        warmup=samples.warmup,
        first_ms=samples.first_ms,
        clock=clock,
        per_sample=samples.per_sample,
        warnings=warnings(samples, clock),
    )


def warnings(samples: Samples, clock: str) -> tuple[str, ...]:
    """What a reader must know before trusting the median."""
    low, middle, high = _quartiles(samples.ms)
    said: list[str] = []
    if clock == "wall" and samples.cpu_s is not None:
        ratio = samples.wall_s / samples.cpu_s if samples.cpu_s > 0 else float("inf")
        if ratio > DISTURBED:
            said.append(f"the machine was disturbed (or the call waits): wall ÷ CPU time {ratio:.1f}")
    if middle > 0 and (high - low) / middle > SPREAD:
        said.append(f"unsteady: the quartiles lie {(high - low) / middle:.0%} of the median apart")
    half = len(samples.ms) // 2
    if half >= LEAST_SAMPLES:
        drift = median(samples.ms[half:]) / max(median(samples.ms[:half]), 1e-9) - 1
        if abs(drift) > DRIFT:
            way = "slower" if drift > 0 else "faster"
            said.append(f"drifting: the second half of the samples was {abs(drift):.0%} {way} than the first")
    if not samples.settled:
        said.append(f"not settled after {samples.warmup} calls of warm-up: the times were still falling")
    if len(samples.ms) < LEAST_SAMPLES:
        taken = f"{len(samples.ms)} sample{'s' if len(samples.ms) > 1 else ''}"
        said.append(f"only {taken}: the call is slow for the time it was given")
    return tuple(said)


def _warm(call: Call, clock: Watch, most_s: float) -> Samples:
    """Call until the times have settled; the first call is kept apart, it is cold."""
    begun_s = clock.wall_s()
    first_ms = _lap(call, clock, 1)
    ms: list[float] = []
    window = window_of(first_ms, most_s)
    while not settled(ms, window) and len(ms) < MOST_WARMUP and clock.wall_s() - begun_s < most_s:
        ms.append(_lap(call, clock, 1))
    typical_ms = median(ms[-WINDOW:]) if ms else first_ms
    return Samples(
        first_ms=first_ms,
        warmup=1 + len(ms),
        settled=settled(ms, window) or len(ms) < 2 * window,
        per_sample=repeats(typical_ms, SAMPLE_MS.get(clock.clock, 0.2)),
        ms=[],
        wall_s=clock.wall_s() - begun_s,
    )


def _sample(call: Call, samples: Samples, clock: Watch) -> None:
    """One sample more."""
    wall_s, cpu_s = clock.wall_s(), clock.cpu_s()
    samples.ms.append(_lap(call, clock, samples.per_sample))
    samples.wall_s += clock.wall_s() - wall_s
    ended_s = clock.cpu_s()
    if cpu_s is not None and ended_s is not None:
        samples.cpu_s = (samples.cpu_s or 0.0) + ended_s - cpu_s


def _lap(call: Call, clock: Watch, times: int) -> float:
    """Milliseconds per call. The device is idle before and done after: what is timed is what a lone request waits."""
    clock.wait()
    first = clock.mark()
    for _ in range(times):
        call()
    last = clock.mark()
    clock.wait()
    return clock.between_ms(first, last) / times


def _quartiles(ms: Sequence[float]) -> tuple[float, float, float]:
    if len(ms) == 1:
        return ms[0], ms[0], ms[0]
    low, middle, high = quantiles(ms, n=4, method="inclusive")
    return low, middle, high
