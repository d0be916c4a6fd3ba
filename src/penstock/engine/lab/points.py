"""Which limit is the nearer one, for what was counted apart from its time: ops of a CPU's run, whole stages."""

from penstock.engine.measure.records import Peaks
from penstock.engine.measure.roofline import own_peak, peak_of

OVERHEAD_US = 5.0
"""A kernel shorter than this on average is bound by neither: what it costs is being launched."""
_OF_ROOF = 0.1
"""Under a tenth of what the roof allows, the roof says nothing."""


def bound(flops: int, moved_bytes: int, ms: float, count: int, peaks: Peaks | None, dtype: str = "") -> str:
    """``compute``, ``memory`` or ``overhead``; empty where the device's peaks are not known, or would have to be the dtype's.

    Args:
        flops: of all calls together.
        moved_bytes: of all calls together, read and written.
        ms: of all calls together.
        count: of calls.
        peaks: of the device.
        dtype: of the arithmetic, as ``Peaks`` names it; without it only what holds at every dtype's peak is said.
    """
    if ms / max(1, count) * 1000 < OVERHEAD_US:
        return "overhead"
    if peaks is None or peaks.bytes_per_s <= 0:
        return ""
    top = peak_of(peaks, dtype)
    tops = (
        {(top, own_peak(peaks, dtype))} if top else {(one, one) for one in peaks.flops_per_s.values() if one}
    )
    memory_s = moved_bytes / peaks.bytes_per_s
    said = {_under(flops / top, flops / own, memory_s, ms) for top, own in tops}
    return said.pop() if len(said) == 1 else ""


def _under(compute_s: float, own_s: float, memory_s: float, ms: float) -> str:
    if max(compute_s, own_s, memory_s) * 1000 < ms * _OF_ROOF:
        return "overhead"
    return "compute" if compute_s >= memory_s else "memory"
