"""What of a profile can be put on a roofline: kernels or ops whose FLOPs, bytes and time are all known."""

from collections.abc import Iterable

from penstock.engine.measure.records import KernelRow, Peaks, RooflinePoint

OVERHEAD_US = 5.0
"""A kernel shorter than this on average is bound by neither: what it costs is being launched."""
_OF_ROOF = 0.1
"""Under a tenth of what the roof allows, the roof says nothing."""


def points(kernels: Iterable[KernelRow], peaks: Peaks | None) -> tuple[RooflinePoint, ...]:
    """One point per kernel's meaning (else its name) and op, the longest first; rows of a replay, whose op is not known, are left out."""
    sums: dict[tuple[str, str], tuple[int, int, float, int]] = {}
    for row in kernels:
        if row.flops is None or row.bytes is None or not row.attributed or row.total_ms <= 0:
            continue
        key = (row.means or row.name, row.op)
        flops, moved, ms, count = sums.get(key, (0, 0, 0.0, 0))
        sums[key] = (flops + row.flops, moved + row.bytes, ms + row.total_ms, count + row.count)
    found = [
        RooflinePoint(
            name=f"{op} ({name})" if op else name,
            flops=flops,
            bytes=moved,
            time_ms=ms,
            bound=bound(flops, moved, ms, count, peaks),
        )
        for (name, op), (flops, moved, ms, count) in sums.items()
        if flops > 0 and moved > 0
    ]
    return tuple(sorted(found, key=lambda point: -(point.time_ms or 0.0)))


def bound(flops: int, moved_bytes: int, ms: float, count: int, peaks: Peaks | None) -> str:
    """``compute``, ``memory`` or ``overhead``; empty where the device's peaks are not known.

    Args:
        flops: of all calls together.
        moved_bytes: of all calls together, read and written.
        ms: of all calls together.
        count: of calls.
        peaks: of the device; the fastest dtype's rate is taken, for a kernel does not say its own.
    """
    if ms / max(1, count) * 1000 < OVERHEAD_US:
        return "overhead"
    if peaks is None or peaks.bytes_per_s <= 0 or not peaks.flops_per_s:
        return ""
    top = max(peaks.flops_per_s.values())
    least_s = max(flops / top, moved_bytes / peaks.bytes_per_s)
    if least_s * 1000 < ms * _OF_ROOF:
        return "overhead"
    return "compute" if flops / top >= moved_bytes / peaks.bytes_per_s else "memory"
