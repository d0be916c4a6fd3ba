"""A live run, from a loaded thing to its profile: timed without a profiler, captured with one, counted, probed, compared.

The order is the point. The first call of all is watched by the probes, for only it is cold; then the figure that counts is
taken, with nothing wrapped or recorded; then comes the capture. Everything that a machine answers is a port, so that the
order and what becomes of the answers can be tested with any thing.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from penstock.engine.lab import exact, from_trace, shaped
from penstock.engine.lab.points import bound
from penstock.engine.measure import timeline, trace
from penstock.engine.measure.counting import Counts, OpCount
from penstock.engine.measure.findings.compile import of_variants
from penstock.engine.measure.findings.traced import rank
from penstock.engine.measure.records import (
    UNATTRIBUTED,
    Finding,
    Peaks,
    Profile,
    RooflinePoint,
    StageRow,
    Timing,
    Variant,
)
from penstock.engine.workloads.workload import Workload

Tell = Callable[..., None]
_SLOWER = 1.5
"""A capture that takes this many times the timed run is said to."""


class Ports(Struct, frozen=True, kw_only=True):
    """What is done to the thing. None: it is not done."""

    measure: Callable[[Callable[[], Any]], Timing]
    capture: Callable[[Path], Path]
    """One profile of a call, written there."""
    shaped: Callable[[], Path] | None = None
    """A second profile of a call, with the operands' shapes."""
    machine: Callable[[], dict[str, str]]
    peaks: Callable[[], Peaks | None]
    probe: Callable[[], Any] | None = None
    """Looks at the thing, which nothing has called before; what it saw is for ``faults``."""
    count: Callable[[], Counts] | None = None
    faults: Callable[[Any, Profile, Counts | None], Iterable[Finding]] | None = None
    """What is wrong with it: of what the probe saw (None without one), the capture with the timing and the peaks, the counts."""
    compare: Callable[[Counts | None], tuple[Variant, ...]] | None = None


def run(workload: Workload, ports: Ports, *, path: Path, tell: Tell) -> Profile:
    """The profile of one call. ``path``: where the capture is written, ``.json`` or ``.json.gz``."""
    seen_live = None
    if ports.probe is not None:
        tell("first call, and looking at it")
        seen_live = ports.probe()
    tell("timing without a profiler")
    timing = ports.measure(workload.call)
    tell("capturing one run with the profiler")
    ports.capture(path)
    tell("reading the capture")
    line = timeline.build(trace.load(path))
    tell("measuring what the device can do")
    peaks = ports.peaks()
    seen = from_trace.of_timeline(line, target=workload.name, peaks=peaks)
    if ports.shaped is not None:
        tell("capturing one run with the operands' shapes")
        seen = shaped.with_shapes(seen, timeline.build(trace.load(ports.shaped())), peaks)
    counts = None
    if ports.count is not None:
        tell("counting ops, FLOPs and bytes")
        counts = ports.count()
    found = exact.named(seen.findings, workload)
    if ports.faults is not None:
        tell("looking for faults")
        found += ports.faults(seen_live, replace(seen, timing=timing, peaks=peaks), counts)
    variants = ports.compare(counts) if ports.compare is not None else ()
    found += of_variants(variants)
    stages = seen.stages if counts is None else counted(seen.stages, counts)
    return replace(
        seen,
        source="live",
        timing=timing,
        stages=stages,
        findings=ranked(found),
        variants=variants,
        roofline=(*seen.roofline, *_of_ops(seen, counts, peaks), *_of_stages(stages, counts, peaks)),
        peaks=peaks,
        machine=ports.machine(),
        notes=tuple(getattr(workload, "notes", ())),
        warnings=(
            *seen.warnings,
            *_slowed(seen, timing),
            *_not_probed(seen_live),
            *(peaks.warnings if peaks is not None else ()),
        ),
        facts=facts(workload, counts),
    )


def ranked(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Each once, those that save most of every run first, then what is paid once, those without a bound last; else as they were found.

    A fault that both the capture and a probe have seen is told once: as the one that knows where.
    """
    kept: dict[tuple[str, str], Finding] = {}
    for one in found:
        kept.setdefault((one.id, one.where), one)
    located = {identity for identity, where in kept if where}
    shown = [one for (identity, where), one in kept.items() if where or identity not in located]
    return tuple(sorted(shown, key=rank))


def counted(rows: Iterable[StageRow], counts: Counts) -> tuple[StageRow, ...]:
    """The rows with FLOPs and bytes of their stages, else of the modules of their names, where the capture knew none."""
    told: list[StageRow] = []
    for row in rows:
        sums = counts.by_stage.get(row.name) or module_of(row.name, counts)
        if row.flops is None and sums is not None and sums.flops:
            row = replace(row, flops=sums.flops, bytes=sums.bytes)
        told.append(row)
    return tuple(told)


def module_of(stage: str, counts: Counts) -> OpCount | None:
    """What was counted in the module that a stage is: of ``encode_prompt`` in all text encoders together, of a module whose
    ``forward`` is not called (``vae``, which is asked to decode) in its children.
    """
    known = counts.by_module.get(stage)
    if known is not None and known.count:
        return known
    text = stage == "encode_prompt"
    parts = [
        one
        for name, one in counts.by_module.items()
        if (text and name.startswith("text_encoder") and "." not in name)
        or (name.startswith(f"{stage}.") and name.count(".") == stage.count(".") + 1)
    ]
    whole = OpCount()
    for part in parts:
        whole.add(part.flops, part.bytes)
    return whole if parts else None


def facts(workload: Workload, counts: Counts | None) -> dict[str, float]:
    """Figures of one call that no table has."""
    told: dict[str, float] = {"batch": workload.batch, "steps": workload.steps}
    parts: dict[int, Any] = {}
    for module in workload.modules().values():
        parts |= {id(one): one for one in module.parameters()}
    told["parameters"] = sum(one.numel() for one in parts.values())
    told["parameter_bytes"] = sum(one.numel() * one.element_size() for one in parts.values())
    if counts is not None:
        told["flops"] = counts.flops
        told["bytes_if_nothing_fused"] = counts.bytes
        told["ops"] = counts.ops
        told["views"] = counts.views
        told["ops_without_a_flop_formula"] = sum(counts.uncounted.values())
    return told


def _of_ops(seen: Profile, counts: Counts | None, peaks: Peaks | None) -> Iterable[RooflinePoint]:
    """On a CPU the kernels are the ops, whose FLOPs and bytes were counted apart from their time."""
    if counts is None or not seen.device.name.startswith("cpu"):
        return
    drawn, dtype = {point.name for point in seen.roofline}, _one_dtype(counts)
    times: dict[str, tuple[float, int]] = {}
    sums: dict[str, tuple[int, int]] = {}
    for row in seen.kernels:
        ms, count = times.get(row.name, (0.0, 0))
        times[row.name] = (ms + row.total_ms, count + row.count)
        if row.flops and row.bytes:
            flops, moved = sums.get(row.name, (0, 0))
            sums[row.name] = (flops + row.flops, moved + row.bytes)
    for name, one in counts.by_op.items():
        sums.setdefault(name, (one.flops, one.bytes))
    for name, (flops, moved) in sums.items():
        ms, count = times.get(name, (0.0, 0))
        if name not in drawn and flops and moved and ms:
            yield RooflinePoint(
                name=name,
                flops=flops,
                bytes=moved,
                time_ms=ms,
                bound=bound(flops, moved, ms, count, peaks, dtype),
                dtype=dtype,
            )


def _one_dtype(counts: Counts | None) -> str:
    """The dtype of all arithmetic of the run; empty where there are several, for then an op's or a stage's is not known."""
    known = [] if counts is None else [name for name, flops in counts.flops_by_dtype.items() if flops]
    return known[0] if len(known) == 1 else ""


def _of_stages(
    rows: Iterable[StageRow], counts: Counts | None, peaks: Peaks | None
) -> Iterable[RooflinePoint]:
    dtype = _one_dtype(counts)
    for row in rows:
        if row.flops and row.bytes and row.name != UNATTRIBUTED:
            yield RooflinePoint(
                name=f"stage {row.name}",
                flops=row.flops,
                bytes=row.bytes,
                time_ms=row.wall_ms,
                bound=bound(row.flops, row.bytes, row.wall_ms, row.calls, peaks, dtype),
                dtype=dtype,
            )


def _not_probed(seen: Any) -> Iterable[str]:
    """Probes that could not run, with their reasons."""
    for one in getattr(seen, "skipped", ()):
        yield f"not looked at: {one.probe}: {one.reason}"


def _slowed(seen: Profile, timing: Timing) -> Iterable[str]:
    """Where the profiler has changed what it shows."""
    if seen.wall_ms and timing.median_ms and seen.wall_ms > _SLOWER * timing.median_ms:
        yield (
            f"the captured run took {seen.wall_ms / timing.median_ms:.1f} times as long as the timed ones: the profiler costs most "
            "where ops are short, so shares of short ops are too large"
        )
