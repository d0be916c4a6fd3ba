"""A live profile's parts put together: the thing is loaded, and each step gets what does it. Imports torch."""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from msgspec.structs import replace

from penstock.engine.lab import compare, sides
from penstock.engine.lab import tour as guided
from penstock.engine.lab.probes import probe
from penstock.engine.lab.probes.sequence import homes, told_by
from penstock.engine.lab.run import Ports, run
from penstock.engine.lab.spent import with_spent
from penstock.engine.measure import attribution, counting, hardware, peaks, timeline, timing, trace
from penstock.engine.measure.capture import capture
from penstock.engine.measure.counting import Counts
from penstock.engine.measure.findings.live import of_seen
from penstock.engine.measure.ports import Watch, watch
from penstock.engine.measure.records import Finding, KernelRow, Profile, Timing, Variant
from penstock.engine.measure.seen import Seen
from penstock.engine.workloads import generator, module, noise, pipeline, tour
from penstock.engine.workloads.tour import TourWorkload
from penstock.engine.workloads.workload import Workload
from penstock.engine_wiring.asked import Asked
from penstock.engine_wiring.inputs import nothing_else, pipeline_arguments

Tell = Callable[..., None]
LEAST_S, MOST_S = 0.5, 10.0
QUICK_LEAST_S, QUICK_MOST_S = 0.1, 2.0


def profile_live(asked: Asked, tell: Tell) -> Profile:
    """Load the target, run it, tell. Raises BadRequest for whatever is the user's mistake."""
    with noise.without_noise():
        return _profile_live(asked, tell)


def _profile_live(asked: Asked, tell: Tell) -> Profile:
    tell(f"loading {asked.target}")
    watched = FirstCall(load(asked))
    loaded = cast("Workload", watched)
    with tempfile.TemporaryDirectory(prefix="penstock-profile-") as folder:
        path = asked.capture or Path(folder) / "capture.json"
        given = ports(loaded, asked, Path(folder), tell)
        if isinstance(watched.workload, TourWorkload):
            names = asked.compare or tour.SIDES  # the tour is a comparison, whether asked for or not
            given = replace(given, compare=partial(_toured, watched.workload, names, asked, tell))
        profile = run(loaded, given, path=path, tell=tell)
        if isinstance(watched.workload, TourWorkload):
            profile = replace(profile, notes=tour.words(watched.workload))
    first_ms = watched.first_ms
    if profile.timing is not None and first_ms is not None:
        profile = replace(profile, timing=replace(profile.timing, first_ms=first_ms))
    return profile


def load(asked: Asked) -> Workload:
    """The workload behind the target, with the inputs that were asked for."""
    if asked.kind == "module":
        nothing_else(asked, "build() makes the module's inputs", "shape", "dtype", "batch", "device")
        return module.load(asked.target)
    if asked.kind == "tour":
        nothing_else(asked, "the tour's sizes are its --shape", "batch", "steps", "tokens", "prompt")
        return tour.load(asked.target, shape=asked.shape, dtype=asked.dtype, device=asked.device)
    device, dtype = asked.device or None, asked.dtype or None
    if asked.kind == "generator":
        nothing_else(asked, "a generator's prompt is --prompt", "shape")
        tokens = asked.tokens or generator.TOKENS
        return generator.load(
            asked.target,
            device=device,
            dtype=dtype,
            prompt=asked.prompt or None,
            tokens=tokens,
            batch=asked.batch or 1,
        )
    return pipeline.load(
        asked.target,
        device=device,
        dtype=dtype,
        steps=asked.steps or None,
        batch=asked.batch or 1,
        arguments=pipeline_arguments(asked),
    )


class FirstCall:
    """A workload whose first call of all is timed: whoever makes it, it is the cold one. Until the device has done it, too."""

    def __init__(self, workload: Workload, clock: Watch | None = None) -> None:
        self.workload: Any = workload
        self.first_ms: float | None = None
        self._clock = clock or watch(workload.device)

    def call(self) -> Any:
        """As the workload's."""
        if self.first_ms is not None:
            return self.workload.call()
        self._clock.wait()  # for what loading has left to do
        began_s = self._clock.wall_s()
        result = self.workload.call()
        self._clock.wait()
        self.first_ms = (self._clock.wall_s() - began_s) * 1000
        return result

    def __getattr__(self, name: str) -> Any:
        """Everything else is the workload's own."""
        return getattr(self.workload, name)


def ports(workload: Workload, asked: Asked, folder: Path, tell: Tell) -> Ports:
    """The steps, done by the engine's own parts."""
    device = workload.device
    least_s, most_s = (QUICK_LEAST_S, QUICK_MOST_S) if asked.quick else (LEAST_S, MOST_S)
    most_s = asked.seconds or most_s
    least_s = min(least_s, most_s)
    return Ports(
        measure=partial(timing.measure, device=device, least_s=least_s, most_s=most_s),
        capture=partial(_captured, workload, asked),
        shaped=partial(_shaped, workload, folder),
        machine=partial(hardware.machine, device),
        peaks=partial(peaks.measured, device),
        probe=partial(probe, workload, deep=asked.deep),
        count=partial(_counted, workload),
        faults=partial(_faults, workload),
        compare=partial(_compared, workload, asked, folder, tell) if asked.compare else None,
    )


def _captured(workload: Workload, asked: Asked, path: Path) -> Path:
    return capture(
        workload.call,
        path=path,
        points=workload.stages(),
        modules=workload.modules(),
        device=workload.device,
        label=workload.name,
        stacks=asked.stacks,
    )


def _shaped(workload: Workload, folder: Path) -> Path:
    """A second capture, with shapes: recording them slows the host, so that no time of a stage is taken from it."""
    return capture(
        workload.call,
        path=folder / "shapes.json",
        points=workload.stages(),
        modules=workload.modules(),
        device=workload.device,
        label=workload.name,
        warmup=0,
        shapes=True,
    )


def _counted(workload: Workload) -> Counts:
    return counting.count(
        workload.call,
        modules=workload.modules(),
        points=workload.stages(),
        device=workload.device,
        on_cpu_by_design=homes(workload),
    )


def _faults(workload: Workload, seen: Seen, captured: Profile, counts: Counts | None) -> Iterable[Finding]:
    """What the rules say of what the probes saw, with the run's own time, its capture and its counts."""
    wall_ms = seen.wall_ms if captured.timing is None else captured.timing.median_ms
    told: dict[str, Any] = told_by(counts, workload.name, wall_ms) if counts is not None else {}
    return of_seen(with_spent(replace(seen, wall_ms=wall_ms, **told), captured), captured.peaks)


def _compared(
    workload: Workload, asked: Asked, folder: Path, tell: Tell, counts: Counts | None
) -> tuple[Variant, ...]:
    def interleaved(calls: Mapping[str, Callable[[], Any]]) -> Mapping[str, Timing]:
        most_s = asked.seconds or (QUICK_MOST_S if asked.quick else MOST_S)
        return timing.interleave(calls, device=workload.device, least_s=min(LEAST_S, most_s), most_s=most_s)

    def observed(name: str, call: Callable[[], Any]) -> tuple[KernelRow, ...]:
        path = capture(call, path=folder / f"{name}.json", device=workload.device, label=name)
        return by_name(attribution.kernels(timeline.build(trace.load(path))))

    return compare.compare(
        sides.sides(workload, asked.compare, counts),
        sides.ports(interleaved, observed),
        shapes=asked.shapes,
        tell=tell,
    )


def _toured(
    loaded: TourWorkload, names: tuple[str, ...], asked: Asked, tell: Tell, counts: Counts | None
) -> tuple[Variant, ...]:
    """The tour's own comparison; what it expects is written there, and not made from ``counts``."""
    most_s = asked.seconds or (QUICK_MOST_S if asked.quick else MOST_S)
    return guided.variants(
        loaded, names, least_s=min(LEAST_S, most_s), most_s=most_s, shapes=asked.shapes, tell=tell
    )


def by_name(rows: tuple[KernelRow, ...]) -> tuple[KernelRow, ...]:
    """One row for each kernel's name, whatever launched it, the longest first."""
    sums: dict[str, KernelRow] = {}
    for row in rows:
        known = sums.get(row.name)
        sums[row.name] = (
            replace(row, module="")
            if known is None
            else replace(known, count=known.count + row.count, total_ms=known.total_ms + row.total_ms)
        )
    return tuple(sorted(sums.values(), key=lambda row: -row.total_ms))
