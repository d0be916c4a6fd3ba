"""What only recorded shapes tell of a live run: FLOPs and bytes of its kernels, ops that could be one kernel.

Recording shapes slows the host about threefold. So it is done in a capture of its own, whose stages and gaps nobody reads: the
profile keeps the times of the capture without, and takes over from this one what that could not know.
"""

from msgspec.structs import replace

from penstock.engine.measure import attribution
from penstock.engine.measure.findings import kernels, limits
from penstock.engine.measure.records import KernelRow, Peaks, Profile
from penstock.engine.measure.timeline import Timeline

BY_SHAPES = ("unfused-pointwise", "math-attention")
"""Findings that need the shapes, on a CPU too."""


def with_shapes(seen: Profile, shaped: Timeline, peaks: Peaks | None) -> Profile:
    """The profile of the capture without shapes, and what the same run's capture with them adds."""
    found = [one for one in kernels.find(shaped) if one.id in BY_SHAPES]
    if not shaped.on_cpu:  # a CPU's ops stand in the roofline: which roof is nearer is no fault there
        found += limits.find(shaped, peaks or seen.peaks)
    told = {one.id for one in found}
    kept = [one for one in seen.findings if one.id not in told]
    return replace(
        seen,
        kernels=priced(seen.kernels, attribution.kernels(shaped)),
        findings=(*kept, *found),
    )


def priced(rows: tuple[KernelRow, ...], shaped: tuple[KernelRow, ...]) -> tuple[KernelRow, ...]:
    """The rows with FLOPs and bytes of those of the same name, op and module that ran as often."""
    known = {(row.name, row.op, row.module, row.count): row for row in shaped}
    told: list[KernelRow] = []
    for row in rows:
        same = known.get((row.name, row.op, row.module, row.count))
        if same is not None and row.flops is None and row.bytes is None:
            row = replace(row, flops=same.flops, bytes=same.bytes)
        told.append(row)
    return tuple(told)
