"""The guided tour, run: each step's sides timed in turn, captured, and held against what was written before.

The comparison is ``compare``'s; the sides and what should be seen of them are the workload's own (``workloads/tour.py``).
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from penstock.engine.lab import compare, sides
from penstock.engine.measure import attribution, timeline, timing, trace
from penstock.engine.measure.capture import capture
from penstock.engine.measure.records import KernelRow, Timing, Variant
from penstock.engine.workloads import outputs, tour
from penstock.engine.workloads.tour import TourSide, TourWorkload

Tell = Callable[..., None]


def run(
    step: str,
    *,
    shape: tuple[int, ...] = (),
    dtype: str = "",
    device: str = "",
    names: Sequence[str] = tour.SIDES,
    least_s: float = 0.5,
    most_s: float = 10.0,
) -> tuple[Variant, ...]:
    """One step of the tour: ``linear``, ``mlp`` or ``geglu``, its sides one beside the other.

    Args:
        step: which.
        shape: batch, sequence, width and, if wanted, hidden width.
        dtype: fp32, bf16 or fp16; by default fp32 on a CPU and bf16 on a GPU.
        device: ``cpu`` or ``cuda``; by default a GPU where there is one.
        names: which sides.
        least_s: each is timed for at least this long.
        most_s: and at most this long.
    """
    loaded = tour.load(step, shape=shape, dtype=dtype, device=device)
    return variants(loaded, names, least_s=least_s, most_s=most_s)


def variants(
    loaded: TourWorkload,
    names: Sequence[str] = tour.SIDES,
    *,
    least_s: float = 0.5,
    most_s: float = 10.0,
    shapes: int = 1,
    tell: Tell = lambda *said: None,
) -> tuple[Variant, ...]:
    """The sides of a loaded step, run; ``differences`` says where what was seen is not what was expected."""
    made = loaded.sides(names)

    def interleaved(calls: Mapping[str, Callable[[], Any]]) -> Mapping[str, Timing]:
        return timing.interleave(calls, device=loaded.device, least_s=least_s, most_s=most_s)

    with tempfile.TemporaryDirectory(prefix="penstock-tour-") as folder:

        def kernels(name: str, call: Callable[[], Any]) -> tuple[KernelRow, ...]:
            return observed(call, loaded.device, Path(folder) / f"{name}.json")

        ports = sides.ports(interleaved, kernels)
        told = compare.compare(
            [side_of(side, loaded.device) for side in made], ports, shapes=shapes, tell=tell
        )
    return tuple(held_against(variant, side) for variant, side in zip(told, made, strict=True))


def side_of(side: TourSide, device: str) -> compare.Side:
    """As the comparison knows it."""
    expected = tuple(str(sight) for sight in side.sights)
    return compare.Side(
        name=side.name,
        call=side.call,
        output=partial(outputs.drawn, side.call, device),
        prepared=side.prepared,
        compiled=side.compiled,
        expected=(*expected, f"because: {side.reason}") if side.reason and expected else expected,
        refused=side.refused,
    )


def observed(call: Callable[[], Any], device: str, path: Path) -> tuple[KernelRow, ...]:
    """The kernels of one call, by name, the longest first. On a CPU the ops that did the work."""
    capture(call, path=path, device=device)
    sums: dict[str, KernelRow] = {}
    for row in attribution.kernels(timeline.build(trace.load(path))):
        known = sums.get(row.name)
        sums[row.name] = (
            replace(row, module="")
            if known is None
            else replace(known, count=known.count + row.count, total_ms=known.total_ms + row.total_ms)
        )
    return tuple(sorted(sums.values(), key=lambda row: -row.total_ms))


def held_against(variant: Variant, side: TourSide) -> Variant:
    """The variant with its differences; one that was not run has none."""
    if variant.refused:
        return variant
    seen = tour.differences(side.sights, variant.kernels)
    return replace(variant, differences=(*seen, *variant.differences))
