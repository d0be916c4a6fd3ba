"""Where an op stands under its device's roof: t >= max(FLOPs / peak, bytes / bandwidth)."""

from msgspec import Struct

from penstock.engine.measure.attribution import op_costs
from penstock.engine.measure.records import Peaks, RooflinePoint
from penstock.engine.measure.timeline import Timeline

FALLBACK = {"fp32": ("tf32",), "bf16": ("fp16",), "fp16": ("bf16",), "tf32": ("fp32",)}
"""A peak that stands in where a device's sheet has none of the dtype's own; fp32 matmuls may run as TF32, which bounds them."""


NEAR = 0.3
"""Share of its roof from which an op can be said to be bound by it; below, launches and latency decide. Our choice."""


class Known(Struct, frozen=True):
    """Device events of one op under one dtype, with what they did."""

    name: str
    dtype: str
    flops: int
    bytes: int
    time_us: float
    compute_us: float
    """At the peak."""
    memory_us: float
    """At the bandwidth."""
    count: int

    @property
    def bound(self) -> str:
        """``compute`` or ``memory``: which roof is the lower one for it, near or not."""
        return "compute" if self.compute_us >= self.memory_us else "memory"

    @property
    def least_us(self) -> float:
        """It cannot be faster than this with these FLOPs and bytes."""
        return max(self.compute_us, self.memory_us)


def known(timeline: Timeline, peaks: Peaks) -> list[Known]:
    """Ops with known bytes (and a known peak, where they have FLOPs), by op, dtype and nearer roof, longest first."""
    costs = op_costs(timeline)
    sums: dict[tuple[str, str, str], list[float]] = {}
    for event in timeline.events:
        cost = costs.get(id(event))
        if cost is None or not cost.bytes or event.op is None or not peaks.bytes_per_s:
            continue
        peak = _peak(peaks, cost.dtype) if cost.flops else None
        if cost.flops and not peak:
            continue
        compute_us = cost.flops / peak * 1e6 if cost.flops and peak else 0.0
        memory_us = cost.bytes / peaks.bytes_per_s * 1e6
        bound = "compute" if compute_us >= memory_us else "memory"
        row = sums.setdefault((event.op.name, cost.dtype, bound), [0.0] * 6)
        added = (cost.flops or 0, cost.bytes, event.dur_us, compute_us, memory_us, 1)
        for place, value in enumerate(added):
            row[place] += value
    rows = [
        Known(name, dtype, int(row[0]), int(row[1]), row[2], row[3], row[4], int(row[5]))
        for (name, dtype, _), row in sums.items()
    ]
    return sorted(rows, key=lambda row: -row.time_us)


def points(timeline: Timeline, peaks: Peaks) -> tuple[RooflinePoint, ...]:
    """For a scatter: one point an op (and dtype, and roof)."""
    return tuple(_point(row) for row in known(timeline, peaks))


def _point(row: Known) -> RooflinePoint:
    return RooflinePoint(
        name=row.name,
        flops=row.flops,
        bytes=row.bytes,
        time_ms=row.time_us / 1e3,
        bound=row.bound if row.least_us >= NEAR * row.time_us else "overhead",
    )


def _peak(peaks: Peaks, dtype: str) -> float | None:
    """FLOP/s that bounds the dtype; of two candidates the higher, for a bound must hold."""
    if not dtype:
        return None
    names = (dtype, *FALLBACK.get(dtype, ()))
    found = [peaks.flops_per_s[name] for name in names if name in peaks.flops_per_s]
    return (max(found) if dtype == "fp32" else found[0]) if found else None
