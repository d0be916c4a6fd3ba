"""``--compare``: one thing in several ways, under the same conditions, each held against the first.

Theory: a variant that must be prepared (compiled) pays that once for every shape of the traffic, and gains the difference of
the medians with every call. It has paid for itself after

    prepare seconds x shapes / (first variant's median - its own)

calls; never, where it is not faster. What is expected is written before anything is run: a difference from what is observed
is the finding.

Rules
- Pure but for its ports. A variant that cannot be run is refused with a reason, and the others go on.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from penstock.engine.measure.records import KernelRow, Timing, Variant

Tell = Callable[..., None]


class Side(Struct, frozen=True, kw_only=True):
    """One way to run the thing. ``call`` times it, ``output`` gives what is compared."""

    name: str
    call: Callable[[], Any]
    output: Callable[[], Any]
    prepared: bool = False
    """It must be prepared: its first call is timed as such."""
    expected: tuple[str, ...] = ()
    least_kernels: int | None = None
    most_kernels: int | None = None
    """What ``expected`` says of how many there are; None where it says nothing."""
    refused: str = ""
    """Why it is not run; empty where it is."""


class Ports(Struct, frozen=True, kw_only=True):
    """What a machine answers."""

    interleave: Callable[[Mapping[str, Callable[[], Any]]], Mapping[str, Timing]]
    max_error: Callable[[Any, Any], float | None]
    kernels: Callable[[str, Callable[[], Any]], tuple[KernelRow, ...]]
    """Of one call of the variant of that name."""
    graphs: Callable[[], int | None]
    """How many graphs this process has compiled."""
    seconds: Callable[[], float] = time.perf_counter


def compare(sides: Sequence[Side], ports: Ports, *, shapes: int = 1, tell: Tell) -> tuple[Variant, ...]:
    """The variants in their order; the first is what the others are held against."""
    running = [side for side in sides if not side.refused]
    prepared: dict[str, tuple[float, int | None]] = {}
    for side in running:
        tell(f"comparing: preparing {side.name}")
        graphs, began_s = ports.graphs(), ports.seconds()
        side.call()
        took_s, made = ports.seconds() - began_s, ports.graphs()
        count = None if graphs is None or made is None or not side.prepared else made - graphs
        prepared[side.name] = (took_s if side.prepared else 0.0, count)
    tell("comparing: timing in turn")
    timings = ports.interleave({side.name: side.call for side in running})
    base = running[0].name if running else ""
    wanted = running[0].output() if running else None
    told: list[Variant] = []
    for side in sides:
        if side.refused:
            told.append(Variant(name=side.name, expected=side.expected, refused=side.refused))
            continue
        tell(f"comparing: looking at {side.name}")
        timing = timings[side.name]
        took_s, count = prepared[side.name]
        kernels = ports.kernels(side.name, side.call)
        prepare_s = max(0.0, took_s - timing.median_ms / 1000) if side.prepared else 0.0
        told.append(
            Variant(
                name=side.name,
                timing=timing,
                prepare_s=prepare_s,
                graphs=count,
                kernels=kernels,
                expected=side.expected,
                differences=differences(side, kernels),
                gain=None if side.name == base else gain(timings[base], timing),
                break_even_calls=None
                if side.name == base
                else break_even(prepare_s, timings[base].median_ms, timing.median_ms, shapes),
                max_error=None if side.name == base else ports.max_error(wanted, side.output()),
            )
        )
    return tuple(told)


def differences(side: Side, kernels: Sequence[KernelRow]) -> tuple[str, ...]:
    """What of the expectation does not hold. Nothing is said where nothing was observed."""
    seen = sum(row.count for row in kernels)
    least, most = side.least_kernels, side.most_kernels
    if not seen or least is None or most is None or least <= seen <= most:
        return ()
    wanted = f"{most}" if least == most else f"at most {most}"
    more = (
        "more ran than the ops that were counted need"
        if seen > most
        else "some were fused, folded or not needed"
    )
    return (f"{seen} kernels were observed where {wanted} were expected: {more}",)


def gain(base: Timing, own: Timing) -> float | None:
    """The base's median over its own; above 1 is faster."""
    return base.median_ms / own.median_ms if own.median_ms > 0 else None


def break_even(prepare_s: float, base_ms: float, own_ms: float, shapes: int) -> float | None:
    """Calls after which preparing has paid for itself; None where it never does, 0 where nothing was to be prepared."""
    gained_ms = base_ms - own_ms
    if gained_ms <= 0:
        return None
    return prepare_s * 1000 * shapes / gained_ms
