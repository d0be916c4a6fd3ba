"""Memory of one call: its peak, each stage's peak, and what is left over after each step.

On a CPU the profiler's allocation records are read (PyTorch keeps no statistics there); on a GPU the caching allocator's own,
reset at each border of a stage. All figures are bytes above what was allocated as the call began: exact, load does not change them.
"""

import bisect
import gzip
import itertools
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median_low
from typing import Any

import msgspec
import torch
from msgspec import Struct, field

from penstock.engine.measure import marks, ranges
from penstock.engine.measure.capture import capture
from penstock.engine.measure.ports import Allocator, CudaAllocator, watch

CPU = 0
"""PyTorch's number for the device type, in allocation records."""
CUDA = 1


class MemorySeen(Struct, kw_only=True):
    """One call's memory, in bytes above ``start_bytes``."""

    peak_bytes: int
    end_bytes: int = 0
    """Still allocated when the call had returned, its output included."""
    start_bytes: int | None = None
    """Allocated before it (weights); None on a CPU, where only changes are recorded."""
    by_stage: dict[str, int] = field(default_factory=dict)
    """The most that was allocated while the stage ran."""
    after: dict[str, list[int]] = field(default_factory=dict)
    """Allocated at the end of each call of the stage: one figure a step for a denoiser."""


def seen(call: Callable[[], Any], *, points: Sequence[ranges.Point] = (), device: str = "cpu") -> MemorySeen:
    """Run ``call`` once and tell its memory.

    Args:
        call: the workload. Run it once before: what a first call keeps is no leak.
        points: methods that are stages, see ``ranges.staged``.
        device: where its tensors live.
    """
    if torch.device(device).type == "cuda":
        clock = watch(device)
        clock.wait()
        return metered(call, points=points, allocator=CudaAllocator(device))
    with tempfile.TemporaryDirectory(prefix="penstock-memory-") as folder:
        return of_trace(
            capture(
                call, path=Path(folder) / "memory.json", points=points, warmup=0, memory=True, device=device
            )
        )


def metered(call: Callable[[], Any], *, points: Sequence[ranges.Point], allocator: Allocator) -> MemorySeen:
    """By a device's own statistics. The peak is read and reset at each border, and belongs to every stage that is open."""
    start = allocator.now_bytes()
    meter = _Meter(allocator, start)
    allocator.reset()
    with ranges.staged(points, beat=meter.beat):
        kept = call()
    meter.border()
    end = allocator.now_bytes() - start
    del kept
    return MemorySeen(
        peak_bytes=max(0, meter.peak),
        end_bytes=end,
        start_bytes=start,
        by_stage=meter.by_stage,
        after=dict(meter.after),
    )


def growth_per_step_bytes(after: Sequence[int]) -> int:
    """What each step leaves behind: the lower median of the differences between steps; 0 under three.

    The first step is left out, and one more that keeps something does not count: multistep schedulers fill their history.
    """
    settled = after[1:]
    if len(settled) < 2:
        return 0
    return int(median_low(later - sooner for sooner, later in itertools.pairwise(settled)))


class _Meter:
    """Splits a device's peak at the borders of stages."""

    def __init__(self, allocator: Allocator, start: int) -> None:
        self._allocator = allocator
        self._start = start
        self._open: list[str] = []
        self.peak = 0
        self.by_stage: dict[str, int] = {}
        self.after: defaultdict[str, list[int]] = defaultdict(list)

    def border(self) -> None:
        """What was the most since the last border, counted to all that is open."""
        peak = self._allocator.peak_bytes() - self._start
        self.peak = max(self.peak, peak)
        for stage in self._open:
            self.by_stage[stage] = max(self.by_stage.get(stage, 0), peak)
        self._allocator.reset()

    def beat(self, stage: str, begins: bool) -> None:
        """A stage begins or ends."""
        self.border()
        if begins:
            self._open.append(stage)
            return
        self._open.remove(stage)
        self.after[stage].append(self._allocator.now_bytes() - self._start)


class _Args(Struct):
    """Of an allocation record."""

    total: int = field(default=0, name="Total Allocated")
    change: int = field(default=0, name="Bytes")
    device: int = field(default=-1, name="Device Type")


class _Event(Struct):
    """Any event; its arguments stay unread unless it is an allocation record."""

    name: str = ""
    cat: str = ""
    ts: float = 0.0
    dur: float = 0.0
    args: msgspec.Raw = msgspec.Raw(b"{}")


class _Trace(Struct):
    traceEvents: list[_Event] = field(default_factory=list[_Event])  # noqa: N815 - the file's word


def of_trace(path: Path, *, device_type: int = CPU) -> MemorySeen:
    """By the allocation records of a trace that was captured with ``memory=True``.

    Only what lies within the run's own range counts; without one, all of it.
    """
    raw = path.read_bytes()
    told = msgspec.json.decode(gzip.decompress(raw) if path.name.endswith(".gz") else raw, type=_Trace)
    spans = [e for e in told.traceEvents if e.cat == "user_annotation"]
    run = next((e for e in spans if marks.run_of(e.name) is not None), None)
    first, last = (run.ts, run.ts + run.dur) if run else (float("-inf"), float("inf"))
    records = sorted(
        (event.ts, args.total, args.change)
        for event in told.traceEvents
        if event.name == "[memory]" and first <= event.ts <= last
        for args in [msgspec.json.decode(event.args, type=_Args)]
        if args.device == device_type
    )
    if not records:
        return MemorySeen(peak_bytes=0)
    start = records[0][1] - records[0][2]
    times = [ts for ts, _total, _change in records]
    totals = [total - start for _ts, total, _change in records]

    def at(ts: float) -> int:
        index = bisect.bisect_right(times, ts)
        return totals[index - 1] if index else 0

    found = MemorySeen(peak_bytes=max(0, *totals), end_bytes=totals[-1])
    for span in sorted(spans, key=lambda e: e.ts):
        stage = marks.stage_of(span.name)
        if stage is None or not first <= span.ts <= last:
            continue
        ends = span.ts + span.dur
        inside = totals[bisect.bisect_left(times, span.ts) : bisect.bisect_right(times, ends)]
        found.by_stage[stage] = max(found.by_stage.get(stage, 0), at(span.ts), *inside)
        found.after.setdefault(stage, []).append(at(ends))
    return found
