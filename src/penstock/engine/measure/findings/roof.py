"""More than the device can do: then a figure is wrong, not the device fast."""

from penstock.engine.measure.records import Finding, Peaks
from penstock.engine.measure.seen import Seen, Work

NAMES = {
    "float32": ("fp32", "tf32"),
    "fp32": ("fp32", "tf32"),
    "tf32": ("tf32",),
    "bfloat16": ("bf16",),
    "bf16": ("bf16",),
    "float16": ("fp16",),
    "fp16": ("fp16",),
    "float8_e4m3fn": ("fp8",),
    "fp8": ("fp8",),
    "int8": ("int8",),
}
"""From PyTorch's names and the sheet's to the peaks that bound them; a GPU may compute float32 in TF32."""


SLACK = 2.5
"""Over a *measured* peak by up to this much is no unit error: the measurement may have been disturbed, and a convolution may take
fewer multiplications than its formula says (Winograd: 2.25 times fewer). A data sheet's peak has no slack."""


def find(seen: Seen, peaks: Peaks | None = None) -> list[Finding]:
    """``over-peak`` for each work that would take more than 100 % of the peak."""
    if peaks is None:
        return []
    return [finding for work in seen.work for finding in over(work, peaks)]


def over(work: Work, peaks: Peaks) -> list[Finding]:
    """``over-peak``. Empty where it is possible, and where no peak is known for the dtype."""
    names = NAMES.get(work.dtype, tuple(peaks.flops_per_s))
    peak = max((peaks.flops_per_s.get(name, 0.0) for name in names), default=0.0)
    if not peak or work.wall_ms <= 0:
        return []
    reached = work.flops / (work.wall_ms / 1e3)
    if reached <= peak * (SLACK if peaks.source.startswith("measured") else 1.0):
        return []
    least_ms = work.flops / peak * 1e3
    return [
        Finding(
            id="over-peak",
            title=f"{work.name}: {reached / peak:.1f} times the device's peak - a unit error",
            evidence=(
                f"{work.flops / 1e12:.4g} TFLOP in {work.wall_ms:.4g} ms are {reached / 1e12:.4g} TFLOP/s; {peaks.device} has "
                f"{peak / 1e12:.4g} ({peaks.source or 'peak'}). It cannot take less than {least_ms:.4g} ms."
            ),
            bound="A figure is wrong, and the run is as long as it is.",
            fix=(
                "Look at the figure's unit (seconds taken for milliseconds), at whether a batch, several devices or another size "
                "was counted as one call, and at whether the device was waited for before the clock was read.\n"
                "torch.cuda.synchronize()"
            ),
            proof=f"At least {least_ms:.4g} ms for the same work.",
            facts={
                "flops": float(work.flops),
                "wall_ms": work.wall_ms,
                "reached_flops_per_s": reached,
                "peak_flops_per_s": peak,
                "least_ms": least_ms,
            },
            where=work.name,
        )
    ]
