"""A profile from a trace that was made elsewhere. Needs no torch."""

from pathlib import Path

from penstock.engine.measure import (
    attribution,
    datasheets,
    findings,
    gaps,
    roofline,
    stage_rows,
    timeline,
    trace,
)
from penstock.engine.measure.records import DEVICE_ALONE, SILENT, Peaks, Profile
from penstock.engine.measure.timeline import Timeline


def profile_of_trace(
    path: Path, *, price_nusd_per_s: int | None = None, peaks: Peaks | None = None, most_slices: int = 150_000
) -> Profile:
    """The whole profile of a ``.json`` or ``.json.gz`` file. ``price_nusd_per_s``: of the device, nano-dollars a second.

    Raises BadRequest where the file is no trace.
    """
    line = timeline.build(trace.load(path))
    return of_timeline(
        line, target=path.name, price_nusd_per_s=price_nusd_per_s, peaks=peaks, most_slices=most_slices
    )


def of_timeline(
    line: Timeline,
    *,
    target: str,
    price_nusd_per_s: int | None = None,
    peaks: Peaks | None = None,
    most_slices: int = 150_000,
) -> Profile:
    """The profile of a timeline; its wall time is the profiled run's. Without ``peaks``, those of the device's data sheet."""
    wall_us = stage_rows.wall_us(line)
    peaks = peaks or datasheets.of_device(line.device)
    return Profile(
        target=target,
        source="trace",
        device=gaps.summary(line),
        wall_ms=wall_us / 1e3,
        stages=stage_rows.stages(line, price_nusd_per_s=price_nusd_per_s),
        kernels=attribution.kernels(line),
        findings=findings.of_timeline(line, peaks),
        roofline=roofline.points(line, peaks) if peaks else (),
        peaks=peaks,
        timeline=timeline.slices(line, most=most_slices),
        warnings=(*warnings(line), *(() if peaks else no_sheet(line))),
        facts=facts(line),
        cost_nusd=None if price_nusd_per_s is None else round(price_nusd_per_s * wall_us / 1e6),
    )


def _behind_the_host(line: Timeline) -> list[str]:
    """What lies behind the host's last event, and why it is no stage's."""
    pieces = dict(stage_rows.after_the_host(line))
    told: list[str] = []
    if SILENT in pieces:
        start_us, end_us = pieces[SILENT]
        given = sum(1 for event in line.events if event.call and event.call.span.start_us < start_us)
        told.append(
            f"from {start_us / 1e3:.1f} to {end_us / 1e3:.1f} ms the trace has nothing of the host nor of the device ({SILENT}), though "
            f"{given} of its events were launched before: what the device did meanwhile, most likely work from before the recording "
            "began, was not recorded"
        )
    if DEVICE_ALONE in pieces:
        start_us, end_us = pieces[DEVICE_ALONE]
        told.append(
            f"for {(end_us - start_us) / 1e3:.1f} ms the device works off what it was given, after the host's last event in the trace "
            f"({DEVICE_ALONE}): the stages that gave it have it in their device time, not in their wall time"
        )
    return told


def no_sheet(line: Timeline) -> tuple[str, ...]:
    """That the card has no figures to be measured against, where a reader would expect them."""
    why = datasheets.why_none(line.device)
    return (f"{why}. Nothing is compared with the card's peaks",) if why else ()


def facts(line: Timeline) -> dict[str, float]:
    """Further figures: steps that the profiler marked, the most memory that was allocated at once, stops of the host."""
    told = {"threads": float(len(line.threads)), "waits": float(len(line.waits))}
    steps = sum(1 for t in line.threads for span in t.annotations if span.name.startswith(stage_rows.STEP))
    if steps:
        told["steps"] = float(steps)
    if line.peak_bytes is not None:
        told["peak_memory_bytes"] = float(line.peak_bytes)
    return told


def warnings(line: Timeline) -> tuple[str, ...]:
    """What a reader must know of how the trace was made."""
    told: list[str] = []
    if line.with_stack:
        told.append(
            "recorded with_stack: the Python tracer slows the host, so host times and host waits are too long"
        )
    if line.on_cpu and any("Launch" in span.name for thread in line.threads for span in thread.calls):
        told.append(
            "kernels were launched but none recorded: profile with ProfilerActivity.CUDA; the figures are of the host's ops"
        )
    if line.others:
        count = len(line.others) + 1
        told.append(
            f"{count} devices are in the trace; the figures are of {line.device} (index {line.device_index}), the busiest"
        )
    told += _behind_the_host(line)
    if line.overheads:
        lost_ms = sum(span.dur_us for span in line.overheads) / 1e3
        told.append(f"the profiler itself took {lost_ms:.1f} ms on the host ({len(line.overheads)} times)")
    if line.skipped:
        told.append(f"{line.skipped} events could not be understood and were left out")
    return tuple(told)
