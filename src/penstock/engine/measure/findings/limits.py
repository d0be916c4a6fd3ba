"""Which roof the run is under: the device's arithmetic or its memory. Needs the device's peaks and recorded shapes."""

from penstock.engine.measure import roofline
from penstock.engine.measure.intervals import length, union
from penstock.engine.measure.records import Finding, Peaks
from penstock.engine.measure.roofline import Known
from penstock.engine.measure.timeline import Timeline

MOST = 0.5
"""Share of the busy time that must be under one roof for the run to be called so."""


def find(timeline: Timeline, peaks: Peaks | None) -> list[Finding]:
    """``compute-bound`` or ``memory-bound``; none without peaks, or where too little of the time has known shapes."""
    if peaks is None or not timeline.events:
        return []
    rows = roofline.known(timeline, peaks)
    busy_us = length(timeline.busy())
    for bound in ("compute", "memory"):
        under = [row for row in rows if row.bound == bound]
        time_us = length(union(piece for row in under for piece in row.pieces))
        if busy_us and time_us >= MOST * busy_us:
            return [_bound(bound, under, time_us, busy_us, peaks)]
    return []


def _bound(bound: str, rows: list[Known], time_us: float, busy_us: float, peaks: Peaks) -> Finding:
    least_us = sum(row.least_us for row in rows)
    flops, moved = sum(row.flops for row in rows), sum(row.bytes for row in rows)
    top = ", ".join(f"{row.name} {row.time_us / 1e3:.3g} ms" for row in rows[:3])
    reached = (
        f"{flops / time_us / 1e6:.0f} TFLOP/s" if bound == "compute" else f"{moved / time_us / 1e3:.0f} GB/s"
    )
    compute = bound == "compute"
    far = max(least_us, sum(row.own_us for row in rows)) < roofline.NEAR * time_us
    note = (
        " That is far from it: kernels this small wait for launches and latency; give them more work."
        if far
        else ""
    )
    return Finding(
        id=f"{bound}-bound",
        title=f"{'Arithmetic' if compute else 'Memory traffic'} is the nearer limit{', and far away' if far else ''}",
        evidence=(
            f"{time_us / 1e3:.4g} of {busy_us / 1e3:.4g} ms busy are ops whose "
            f"{'FLOPs' if compute else 'bytes'} take longer at {peaks.device}'s peak ({peaks.source or 'given'}) than their "
            f"{'bytes' if compute else 'FLOPs'} ({top}). They did {flops / 1e12:.4g} TFLOP and moved {moved / 1e9:.4g} GB: {reached}, "
            f"{least_us / time_us:.0%} of the limit; at the limit they take {least_us / 1e3:.4g} ms, so better kernels for the same "
            f"work save at most the difference.{note}"
        ),
        saves_ms=max(0.0, time_us - least_us) / 1e3,
        bound=f"The time of those ops beyond the device's {'arithmetic' if compute else 'memory'} roof.",
        fix=(
            "Do less or cheaper arithmetic: a lower precision, fewer steps, cached blocks.\n"
            "from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_\n"
            "quantize_(model, Float8DynamicActivationFloat8WeightConfig(granularity=PerRow()))"
            if compute
            else "Move fewer bytes: fuse pointwise ops into their neighbours, use a narrower dtype, batch more per weight read.\n"
            'model = torch.compile(model, mode="max-autotune")'
        ),
        proof="Fewer FLOPs in the same stage, or a dtype with a higher peak in the kernels' names."
        if compute
        else "Fewer bytes in the kernel rows for the same stage.",
        facts={
            "time_ms": time_us / 1e3,
            "busy_ms": busy_us / 1e3,
            "flops": float(flops),
            "bytes": float(moved),
            "roof_ms": least_us / 1e3,
        },
    )
