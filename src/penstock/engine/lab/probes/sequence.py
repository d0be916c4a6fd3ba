"""All probes of one workload, in an order that keeps what is cold cold. What cannot run leaves its reason."""

import linecache
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import msgspec
import torch

from penstock.engine.lab.probes import (
    compiling,
    cures,
    decoding,
    guiding,
    memory,
    packages,
    parts,
    scaling,
    watching,
)
from penstock.engine.lab.probes.parts import Place
from penstock.engine.lab.probes.stopwatch import Stopwatch, once
from penstock.engine.lab.probes.tensors import LiveBytes, newcomers
from penstock.engine.measure import counting
from penstock.engine.measure.counting import Counts
from penstock.engine.measure.findings import compile as compile_rules
from penstock.engine.measure.findings import layout
from penstock.engine.measure.ports import Watch, watch
from penstock.engine.measure.records import Timing
from penstock.engine.measure.seen import (
    Compilation,
    CompiledPlace,
    GuidedPair,
    Memory,
    Output,
    Part,
    Scaling,
    Seen,
    Skipped,
    SyncPoint,
    Tiling,
    Tried,
    Work,
)
from penstock.engine.measure.syncs import Home, Sync
from penstock.engine.workloads.workload import Workload

QUICK_MS = 20.0
"""A run within this is run a few times more, for batch scaling, without being asked to."""
GROWTH_CALLS = 3
T = TypeVar("T")


def probe(
    workload: Workload,
    *,
    deep: bool = False,
    timing: Timing | None = None,
    counts: Counts | None = None,
    clock: Watch | None = None,
) -> Seen:
    """Look at a live workload; the evidence for ``findings.live.of_seen``.

    Runs it twice; a few times more where it is quick, where memory grew, or where a compiled module was never called. ``deep``
    also times batch 1 against 8, eager against compiled and each fault against its cure, counts the peak on a CPU, and traces
    what is not compiled to see what would break. Call it before anything else calls the workload, or no first call is cold.
    Every object is left as it was; a probe that fails leaves its reason in ``skipped``, and the others run.

    Args:
        workload: loaded, on its device.
        deep: see above.
        timing: of the workload, where it has been timed; else the probing run's time stands for it.
        counts: of one call, where it has been counted: its FLOPs and its host-device syncs. Counted here with ``deep``.
        clock: the stopwatch; by default the device's own.
    """
    stopwatch = Stopwatch(workload.device, clock or watch(workload.device))
    with newcomers():
        seen = _Probing(workload, stopwatch, deep=deep).seen(counted=counts is not None)
    wall_ms = timing.median_ms if timing is not None else seen.wall_ms
    return msgspec.structs.replace(
        seen, wall_ms=wall_ms, **(told_by(counts, workload.name, wall_ms) if counts is not None else {})
    )


def told_by(counts: Counts, name: str, wall_ms: float | None) -> dict[str, Any]:
    """``work`` and ``syncs`` of a ``Seen``, from one call counted."""
    syncs = sync_points(counts.syncs)
    if wall_ms is None or not counts.flops:
        return {"syncs": syncs}
    main = max(counts.flops_by_dtype, key=lambda dtype: counts.flops_by_dtype[dtype], default="")
    mixed = len(counts.flops_by_dtype) > 1
    return {
        "syncs": syncs,
        "work": (Work(name=name, flops=counts.flops, wall_ms=wall_ms, dtype="" if mixed else main),),
    }


def sync_points(found: Iterable[Sync], *, times: int = 1) -> tuple[SyncPoint, ...]:
    """With the source of each line, for what happened ``times`` times as often."""
    return tuple(
        SyncPoint(
            op=one.op,
            where=one.where,
            count=one.count * times,
            final=one.final * times,
            line=_source(one.where),
            caller=one.caller,
        )
        for one in found
    )


def _source(where: str) -> str:
    """Of ``file.py:12 in step``; empty where it cannot be read."""
    path, _, number = where.partition(" in ")[0].rpartition(":")
    return linecache.getline(path, int(number)).strip() if number.isdigit() else ""


def homes(workload: Workload) -> tuple[Home, ...]:
    """What is kept on the CPU by design, so that reading it is no wait: a scheduler's ``sigmas`` and ``timesteps``."""
    scheduler = getattr(workload.root, "scheduler", None)
    return () if scheduler is None else (Home(scheduler, "sigmas"), Home(scheduler, "timesteps"))


class _Probing:
    """One pass over one workload; its evidence as it comes in."""

    def __init__(self, workload: Workload, watch: Stopwatch, *, deep: bool) -> None:
        self._workload, self._watch, self._deep = workload, watch, deep
        self._skipped: list[Skipped] = []
        self._compiled: dict[str, list[Place]] = {name: [] for name in workload.modules()}
        self._parts: dict[str, Part] = {}
        self._ran: tuple[compiling.Mark, compiling.Mark] | None = None

    def seen(self, *, counted: bool) -> Seen:
        """The sequence."""
        work, since = self._workload, compiling.mark()
        self._compiled = self._attempt("compiled parts", lambda: parts.places(work)) or self._compiled
        for name in work.modules():
            part = self._attempt(
                f"parts: {name}", lambda name=name: parts.part(work, name, self._compiled[name])
            )
            if part is not None:
                self._parts[name] = part
        before = self._attempt("memory", lambda: memory.settled_bytes(work.device)) or 0
        first = self._attempt("first run", self._first)
        run = (
            self._attempt("watched run", lambda: self._watched(first, before)) if first is not None else None
        )
        compilation = self._attempt(
            "compilation", lambda: compiling.history(self._compiled, since, self._ran)
        )
        guided: tuple[GuidedPair, ...] = ()
        if run is not None:
            guided = self._guided(run[0])
            self._fill(run[0], black=run[2])
            compilation = self._deeper(run[0], compilation)
            self._cure(run[0])
            run = (run[0], self._peak(run[1]), run[2])
            run[0].forget()
        scaled = self._scaling(run[0].wall_ms) if run is not None else None
        wall_ms = run[0].wall_ms if run is not None else None
        return Seen(
            name=work.name,
            kind=work.kind,
            device=work.device,
            steps=work.steps,
            batch=work.batch,
            wall_ms=wall_ms,
            parts=tuple(self._parts.values()),
            guided=guided,
            compilation=compilation,
            memory=run[1] if run is not None else None,
            scaling=scaled,
            stages=self._stages(first, run[0]) if first is not None and run is not None else {},
            warm_ups=self._warm_ups(),
            packages=self._attempt("packages", packages.beside_torch) or (),
            skipped=tuple(self._skipped),
            **({} if counted else self._counts(wall_ms)),
        )

    def _attempt(self, name: str, call: Callable[[], T]) -> T | None:
        """What a probe gives; None, and the reason kept, where it fails."""
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - a profile does not end because a probe does
            lines = str(error).strip().split("\n")
            self._skipped.append(Skipped(probe=name, reason=f"{type(error).__name__}: {lines[0]}"))
            return None

    def _first(self) -> watching.Watch:
        first = watching.Watch(self._workload, self._compiled, self._watch, light=True)
        first.call()
        return first

    def _watched(self, first: watching.Watch, before: int) -> tuple[watching.Watch, Memory, bool]:
        """The second run, with memory looked at; and whether its images are black."""
        work = self._workload
        after_first = memory.settled_bytes(work.device)
        held = memory.held(work)
        counts = {name: calls.count for name, calls in first.parts.items()}
        denoiser = max(counts, key=lambda name: counts[name], default="")
        every = max(1, -(-counts.get(denoiser, 0) // watching.SAMPLES))
        on_gpu = work.device.startswith("cuda")
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(work.device)
        run = watching.Watch(work, self._compiled, self._watch)
        began = compiling.mark()
        result = run.call(denoiser=denoiser, every=every)
        self._ran = began, compiling.mark()
        black = watching.black(result)
        del result
        peak = int(torch.cuda.max_memory_allocated(work.device)) if on_gpu else None
        holders = memory.grown(held, memory.held(work))
        calls_bytes = (before, after_first)
        if holders or memory.settled_bytes(work.device) > after_first + run.holding_bytes():
            calls_bytes += self._more_calls(run)
        return (
            run,
            Memory(
                total_bytes=memory.total_bytes(work.device),
                peak_bytes=peak,
                steps_bytes=tuple(run.steps_bytes),
                steps_apart=every,
                calls_bytes=calls_bytes,
                holders=holders,
            ),
            black,
        )

    def _more_calls(self, run: watching.Watch) -> tuple[int, ...]:
        """Live bytes after each of some more calls. What the watched run is holding for us does not change between them."""
        found = [memory.settled_bytes(self._workload.device)]
        for _ in range(GROWTH_CALLS):
            self._workload.call()
            found.append(memory.settled_bytes(self._workload.device))
        return tuple(found)

    def _peak(self, seen: Memory) -> Memory:
        """On a CPU the peak is counted, operator by operator: on request, and where no compiled code hides them."""
        if not self._deep or seen.peak_bytes is not None or any(self._compiled.values()):
            return seen
        made = self._attempt("peak memory", lambda: peak_bytes(self._workload))
        weights = sum(part.weight_bytes for part in self._parts.values())
        return seen if made is None else msgspec.structs.replace(seen, peak_bytes=weights + made)

    def _guided(self, run: watching.Watch) -> tuple[GuidedPair, ...]:
        found: list[GuidedPair] = []
        for name, calls in run.parts.items():
            pair = calls.guided(name, parts.path_of(self._workload, name))
            if pair is None:
                continue
            if self._deep and not pair.ragged:
                module, given = self._workload.modules()[name], calls.pairs[-1]
                timed = self._attempt(
                    "guidance, both ways",
                    lambda module=module, pair=pair, given=given: guiding.both_ways(
                        module, pair, given, self._watch
                    ),
                )
                if timed is not None:
                    pair = msgspec.structs.replace(pair, twice_ms=timed[0], once_ms=timed[1])
            found.append(pair)
        return tuple(found)

    def _fill(self, run: watching.Watch, *, black: bool) -> None:
        """Put into the parts what the run showed."""
        for name, part in self._parts.items():
            output: Output | None = run.outputs.get(name)
            if output is not None and black:
                output = msgspec.structs.replace(output, black_image=True)
            self._parts[name] = msgspec.structs.replace(
                part,
                forward_calls=run.parts[name].count,
                method_calls=dict(run.methods[name]),
                wall_ms=run.parts[name].wall_ms,
                compiled=tuple(self._place(place, run.places) for place in self._compiled[name]),
                output=output,
                tiling=self._tiling(name, part.tiling, run),
            )

    def _place(self, place: Place, calls: Mapping[str, int]) -> CompiledPlace:
        count = calls.get(place.path, 0)
        others: dict[str, int] = {}
        if not count and place.kind != "method":
            others = (
                self._attempt(f"bypassed: {place.path}", lambda: watching.bypassed(self._workload, place))
                or {}
            )
        return place.record(count, others)

    def _cure(self, run: watching.Watch) -> None:
        """On request: what is not channels-last and what is compiled to no effect, against what it should be."""
        for name, part in self._parts.items() if self._deep else ():
            laid = self._laid_out(name, part, run) if layout.suspect(part) else None
            places = tuple(
                self._compiled_for_a_trial(place, seen)
                for place, seen in zip(self._compiled[name], part.compiled, strict=True)
            )
            self._parts[name] = msgspec.structs.replace(part, channels_last=laid, compiled=places)

    def _laid_out(self, name: str, part: Part, run: watching.Watch) -> Tried | None:
        module = self._workload.modules()[name]
        weights = parts.channels_first(parts.inside_of(module), self._compiled[name])
        last, decoded = run.parts[name].last, run.decoded.get(name)
        if last is not None:
            call, times = partial(module, **last), part.forward_calls or 1
        elif decoded is not None:
            call, times = partial(module.decode, *decoded[0], **decoded[1]), part.method_calls["decode"]
        else:
            return None
        return self._attempt(
            f"{name} in both layouts", lambda: cures.channels_last(weights, call, times, self._watch)
        )

    def _compiled_for_a_trial(self, place: Place, seen: CompiledPlace) -> CompiledPlace:
        if not compile_rules.to_no_effect(seen):
            return seen
        tried = self._attempt(
            f"{place.path}, compiled", lambda: cures.compiled(self._workload, place, seen.others, self._watch)
        )
        return msgspec.structs.replace(seen, tried=tried)

    def _tiling(self, name: str, tiling: Tiling | None, run: watching.Watch) -> Tiling | None:
        if tiling is None or not (tiling.tiling or tiling.slicing) or name not in run.decoded:
            return tiling
        module, given = self._workload.modules()[name], run.decoded[name]
        decodes = run.methods[name]["decode"]
        tiling = msgspec.structs.replace(tiling, decodes=decodes, tiles=run.tiles[name])
        if run.tiles[name] <= decodes:
            return tiling
        whole = self._attempt(
            f"decoding {name} in one piece, on meta", lambda: decoding.whole_bytes(module, given)
        )
        tiling = msgspec.structs.replace(tiling, whole_bytes=whole)
        if self._deep:
            timed = self._attempt(
                f"decoding {name}, both ways", lambda: decoding.both_ways(module, given, self._watch)
            )
            if timed is not None:
                tiling = msgspec.structs.replace(tiling, cut_ms=timed[0], whole_ms=timed[1])
        return tiling

    def _deeper(self, run: watching.Watch, compilation: Compilation | None) -> Compilation | None:
        """Eager against compiled; or, where nothing is compiled, what would break in the part that takes longest."""
        if not self._deep or compilation is None:
            return compilation
        if any(self._compiled.values()):
            timed = self._attempt(
                "eager against compiled",
                lambda: scaling.eager_and_compiled(
                    self._workload,
                    self._watch,
                    [place for found in self._compiled.values() for place in found],
                ),
            )
            return (
                compilation
                if timed is None
                else msgspec.structs.replace(compilation, eager=timed[0], compiled=timed[1])
            )
        name = max(
            run.parts, key=lambda name: run.parts[name].wall_ms * bool(run.parts[name].last), default=""
        )
        given = run.parts[name].last if name else None
        if given is None:
            return compilation
        module, path = self._workload.modules()[name], parts.path_of(self._workload, name)
        return (
            self._attempt("what would break", lambda: compiling.tried(module, (), dict(given), path))
            or compilation
        )

    def _scaling(self, wall_ms: float) -> Scaling | None:
        if not self._deep and (wall_ms > QUICK_MS or any(self._compiled.values())):
            return None
        return self._attempt("batch scaling", lambda: scaling.scaling(self._workload, self._watch))

    def _counts(self, wall_ms: float | None) -> dict[str, Any]:
        """FLOPs and syncs, on request; not of compiled parts, whose graphs would be left for eager code."""
        if not self._deep:
            return {}
        counts = self._attempt(
            "counting",
            lambda: counting.count(
                self._workload.call, device=self._workload.device, on_cpu_by_design=homes(self._workload)
            ),
        )
        return told_by(counts, self._workload.name, wall_ms) if counts is not None else {}

    def _stages(self, first: watching.Watch, run: watching.Watch) -> dict[str, Timing]:
        return {name: once(took, first_ms=first.stages.get(name)) for name, took in run.stages.items()}

    def _warm_ups(self) -> dict[str, str]:
        """Of stages that take a prompt: the call that warms them."""
        return {
            point.stage: f'pipe.{point.method}("warm up")'
            for point in self._workload.stages()
            if point.owner is self._workload.root and point.method == "encode_prompt"
        }


def peak_bytes(workload: Workload) -> int:
    """Peak of the tensors that one run makes, weights not counted, on a CPU. Slow: each operator is looked at in Python."""
    with LiveBytes() as live:
        workload.call()
    return live.peak_bytes
