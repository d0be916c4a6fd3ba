"""What happened when: host threads with their ops, ranges and runtime calls, and the device's events with what launched them.

Pure: built from a ``Trace``, asked by everything else. Times are microseconds from the run's start. A device event belongs to
the op, module and stage in which it was *launched* (they run later, and overlap by chance); the launch is the runtime or driver
call with the same correlation id. Without device events the run was a CPU's, and the ops that did the work stand in their place.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from msgspec import Struct

from penstock.engine.measure import device_names, marks, ops, places
from penstock.engine.measure.intervals import Interval, innermost, length, order, parents, union
from penstock.engine.measure.records import Slice
from penstock.engine.measure.trace import Args, Event, Trace

CATEGORIES = {
    "cpu_op": "op", "operator": "op",
    "user_annotation": "annotation",
    "python_function": "frame",
    "cuda_runtime": "call", "cuda_driver": "call", "hip_runtime": "call", "hip_driver": "call",
    "xpu_runtime": "call", "xpu_driver": "call", "runtime": "call",
    "kernel": "kernel",
    "gpu_memcpy": "copy", "memcpy": "copy",
    "gpu_memset": "memset", "memset": "memset",
    "overhead": "overhead",
}  # fmt: skip
"""Kineto's categories (and those of its first versions) -> ours."""
DEVICE = ("kernel", "copy", "memset")
SYNCS = ("Synchronize", "MemcpyWithStream")
BLOCKING_COPIES = frozenset(
    ("cudaMemcpy", "hipMemcpy", "cuMemcpyDtoH_v2", "cuMemcpyHtoD_v2", "hipMemcpyDtoH", "hipMemcpyHtoD")
)
NN_MODULE = "nn.Module: "
NOT_THE_USERS = (
    "torch/",
    "triton/",
    "/tmp/torchinductor",  # noqa: S108 - a name in a trace
    "<",
    "threading.py",
    "contextlib.py",
    "functools.py",
    NN_MODULE,
)
"""Frames in which nobody looks for the cause of a wait."""


class Span(Struct, eq=False, gc=False):
    """A stretch of a host thread: an op, an annotation, a Python frame or a runtime call."""

    name: str
    kind: str
    thread: int
    """Index into ``Timeline.threads``."""
    start_us: float
    end_us: float
    args: Args | None = None
    parent: "Span | None" = None
    """The span of its kind in which it started."""
    depth: int = 0

    @property
    def dur_us(self) -> float:
        """How long it took."""
        return self.end_us - self.start_us


class Call(Struct, eq=False, gc=False):
    """A runtime or driver call that launches something or waits, with what surrounds it on its thread."""

    span: Span
    op: Span | None = None
    annotation: Span | None = None
    """The innermost ``user_annotation``."""
    module: Span | None = None
    """The innermost ``nn.Module`` frame."""
    frame: Span | None = None
    """The innermost Python function of the user's (or of a library that is not torch)."""
    replays: bool = False
    """A graph replay: one call, many kernels."""
    caller: Span | None = None
    """The innermost function of the user's own, where ``frame`` is a library's; else ``frame``."""


class DeviceEvent(Struct, eq=False, gc=False):
    """A kernel, a copy or a memset on a device; on a CPU an op that did work."""

    name: str
    kind: str
    """``kernel``, ``copy`` or ``memset``."""
    device: int
    stream: str
    start_us: float
    end_us: float
    bytes: int | None = None
    """Of a copy or memset."""
    call: Call | None = None
    """What launched it; None where the trace does not say."""

    @property
    def dur_us(self) -> float:
        """How long it ran."""
        return self.end_us - self.start_us

    @property
    def op(self) -> Span | None:
        """The innermost CPU op that launched it."""
        return self.call.op if self.call else None

    @property
    def replayed(self) -> bool:
        """Launched by a graph replay, with some others: which op or module it belongs to is not known."""
        return self.call is not None and self.call.replays


class Thread(Struct, eq=False, frozen=True, kw_only=True):
    """A host thread. Each kind of its spans is in order, outer ones first."""

    pid: str
    tid: str
    ops: tuple[Span, ...] = ()
    annotations: tuple[Span, ...] = ()
    modules: tuple[Span, ...] = ()
    frames: tuple[Span, ...] = ()
    calls: tuple[Span, ...] = ()
    """Every runtime call, those that launch nothing included."""


class Timeline(Struct, eq=False, frozen=True, kw_only=True, weakref=True):
    """A run. ``threads[0]`` is the busiest host thread (most runtime calls, else most ops)."""

    device: str
    """Its name; ``cpu`` without device events."""
    device_index: int
    """The busiest device; -1 for a CPU."""
    events: tuple[DeviceEvent, ...]
    """Of that device, by start."""
    others: dict[int, tuple[DeviceEvent, ...]]
    """Of the other devices."""
    threads: tuple[Thread, ...]
    waits: tuple[Call, ...]
    """Runtime calls that block the host until the device is done."""
    overheads: tuple[Span, ...]
    """The profiler's own work, as it told."""
    start_us: float
    end_us: float
    on_cpu: bool
    with_stack: bool
    with_shapes: bool
    peak_bytes: int | None = None
    """Most that was allocated at once, where the trace tells: on its devices, for a CPU's run on the host."""
    skipped: int = 0

    def busy(self) -> tuple[Interval, ...]:
        """When the device did something."""
        return _busy(self)


T = TypeVar("T")


def once(compute: Callable[[Timeline], T]) -> Callable[[Timeline], T]:
    """What follows from a timeline alone is worked out at the first question and kept as long as the timeline is."""
    known: WeakKeyDictionary[Timeline, T] = WeakKeyDictionary()

    @wraps(compute)
    def answer(timeline: Timeline) -> T:
        if timeline not in known:
            known[timeline] = compute(timeline)
        return known[timeline]

    return answer


@once
def _busy(timeline: Timeline) -> tuple[Interval, ...]:
    return tuple(union((event.start_us, event.end_us) for event in timeline.events))


def build(trace: Trace, *, between: tuple[float, float] | None = None) -> Timeline:
    """The timeline of a trace, or of the part between two times (microseconds from its start).

    Of a part: host spans that overlap it, and the device events launched in it, whenever they ran.
    """
    kinds: dict[str, list[Event]] = {}
    for event in trace.events:
        kind = CATEGORIES.get((event.cat or "").lower())
        if kind is not None:
            kinds.setdefault(kind, []).append(event)
    told = [e for kind in ("op", "annotation", "call", *DEVICE) for e in kinds.get(kind, ())]
    origin = min((event.ts for event in told), default=0.0)
    threads = _threads(kinds, origin)
    wanted = {correlation(e.args) for kind in DEVICE for e in kinds.get(kind, ())}
    calls = _calls(threads, wanted)
    devices = _devices(kinds, origin, calls)
    index = max(devices, key=lambda at: _busy_us(devices[at]), default=-1)
    waiting = [call for call in calls.every if waits(call.span.name) and not call.replays]
    if between is not None:
        threads = tuple(_part(thread, between) for thread in threads)
        devices = {at: tuple(e for e in rows if _launched_in(e, between)) for at, rows in devices.items()}
        waiting = [call for call in waiting if between[0] <= call.span.start_us < between[1]]
    events = devices.pop(index) if index >= 0 else _cpu_events(threads)
    overheads = tuple(
        Span(e.name, "overhead", -1, e.ts - origin, e.ts - origin + (e.dur or 0.0))
        for e in kinds.get("overhead", ())
    )
    ends = [span.end_us for t in threads for row in (t.ops, t.annotations, t.calls) for span in row]
    ends += [event.end_us for event in events]
    starts = [span.start_us for t in threads for row in (t.ops, t.annotations, t.calls) for span in row]
    starts += [event.start_us for event in events]
    return Timeline(
        device=device_names.told(trace, index, [event.name for event in events]),
        device_index=index,
        events=events,
        others=devices,
        threads=threads,
        waits=tuple(waiting),
        overheads=overheads,
        start_us=between[0] if between else min(starts, default=0.0),
        end_us=between[1] if between else max(ends, default=0.0),
        on_cpu=index < 0,
        with_stack=trace.with_stack,
        with_shapes=trace.with_shapes,
        peak_bytes=trace.peak_host_bytes if index < 0 else trace.peak_device_bytes,
        skipped=trace.skipped,
    )


def _busy_us(events: Sequence[DeviceEvent]) -> float:
    return length(union((event.start_us, event.end_us) for event in events))


def _launched_in(event: DeviceEvent, between: tuple[float, float]) -> bool:
    """By its launch; by its own start where that is not known."""
    start = event.call.span.start_us if event.call else event.start_us
    return between[0] <= start < between[1]


def waits(name: str) -> bool:
    """Whether a runtime call of that name blocks the host until the device is done."""
    return any(word in name for word in SYNCS) or name in BLOCKING_COPIES


def _threads(kinds: dict[str, list[Event]], origin: float) -> tuple[Thread, ...]:
    lanes: dict[tuple[str, str], dict[str, list[Span]]] = {}
    for kind in ("op", "annotation", "call"):
        for event in kinds.get(kind, ()):
            lane = lanes.setdefault((str(event.pid), str(event.tid)), {})
            lane.setdefault(kind, []).append(_span(event, kind, origin))
    _add_frames(lanes, kinds.get("frame", ()), origin)
    ranked = sorted(
        lanes.items(), key=lambda item: (-len(item[1].get("call", ())), -len(item[1].get("op", ())), item[0])
    )
    made: list[Thread] = []
    for index, ((pid, tid), lane) in enumerate(ranked):
        for spans in lane.values():
            spans.sort(key=order)
            for span in spans:
                span.thread = index
        for kind in ("op", "annotation", "module"):
            _nest(lane.get(kind, []))
        made.append(
            Thread(
                pid=pid,
                tid=tid,
                ops=tuple(lane.get("op", ())),
                annotations=tuple(lane.get("annotation", ())),
                modules=tuple(lane.get("module", ())),
                frames=tuple(lane.get("frame", ())),
                calls=tuple(lane.get("call", ())),
            )
        )
    return tuple(made)


def _span(event: Event, kind: str, origin: float) -> Span:
    start = event.ts - origin
    return Span(event.name, kind, 0, start, start + (event.dur or 0.0), event.args)


def _add_frames(
    lanes: dict[tuple[str, str], dict[str, list[Span]]], events: Iterable[Event], origin: float
) -> None:
    """Python frames go to the thread of their id; frames of a lane nobody else uses are left out."""
    for event in events:
        module = event.name.startswith(NN_MODULE)
        if not module and event.name.startswith(NOT_THE_USERS):
            continue
        lane = lanes.get((str(event.pid), str(event.tid)))
        if lane is not None:
            kind = "module" if module else "frame"
            lane.setdefault(kind, []).append(_span(event, kind, origin))


def _nest(spans: Sequence[Span]) -> None:
    for span, parent in zip(spans, parents(spans), strict=True):
        if parent >= 0:
            span.parent = spans[parent]
            span.depth = spans[parent].depth + 1


def _part(thread: Thread, between: tuple[float, float]) -> Thread:
    first, last = between

    def within(spans: tuple[Span, ...]) -> tuple[Span, ...]:
        return tuple(span for span in spans if span.end_us >= first and span.start_us <= last)

    return Thread(
        pid=thread.pid,
        tid=thread.tid,
        ops=within(thread.ops),
        annotations=within(thread.annotations),
        modules=within(thread.modules),
        frames=within(thread.frames),
        calls=within(thread.calls),
    )


def correlation(args: Args | None) -> int | None:
    """An event's correlation id; None where it has none (0 means none)."""
    value = args.correlation if args else None
    if isinstance(value, str):
        value = int(value) if value.isdecimal() and len(value) < 20 else None
    return value or None


class _Calls:
    """Calls by the correlation id, which a process gives once: in a trace of several processes an id may stand for several."""

    def __init__(self) -> None:
        self.every: list[Call] = []
        self.by_id: dict[int, dict[str, Call]] = {}
        """Id -> process -> call."""

    def take(self, call: Call, pid: str) -> None:
        """A call of that process; of two with one id (a driver's inside a runtime's) the first one counts."""
        number = correlation(call.span.args)
        if number is None:
            self.every.append(call)
            return
        alike = self.by_id.setdefault(number, {})
        if pid not in alike:
            alike[pid] = call
            self.every.append(call)

    def of(self, event: Event, device: int | None) -> Call | None:
        """What launched it. Where several processes have its id: the call of its own process, else the one that names its device;
        None where neither is told. Kineto writes the device's index where others write the process.
        """
        alike = self.by_id.get(correlation(event.args) or 0, {})
        if len(alike) == 1:
            return next(iter(alike.values()))
        if device is not None and _whole(event.pid or 0) != device and str(event.pid) in alike:
            return alike[str(event.pid)]
        there = [call for call in alike.values() if device is not None and _device(call.span.args) == device]
        return there[0] if len(there) == 1 else None


def _device(args: Args | None) -> int | None:
    return None if args is None or args.device is None else _whole(args.device)


def _lead(thread: Thread, threads: Sequence[Thread]) -> tuple[Span, ...]:
    """The annotations that say what a thread works for. One without any (autograd's) works for its process's first thread."""
    if thread.annotations:
        return thread.annotations
    return next(other.annotations for other in threads if other.pid == thread.pid)


def _own_frames(thread: Thread) -> list[Span]:
    """The user's own functions, without those of libraries."""
    return [frame for frame in thread.frames if not places.frame_in_library(frame.name)]


def _calls(threads: Sequence[Thread], wanted: set[int | None]) -> _Calls:
    """Calls with an id that is wanted, and waits."""
    found = _Calls()
    for thread in threads:
        spans = [s for s in thread.calls if waits(s.name) or (correlation(s.args) or 0) in wanted]
        points = [span.start_us for span in spans]
        lead = _lead(thread, threads)
        rows = (
            innermost(row, points)
            for row in (thread.ops, lead, thread.modules, thread.frames, _own_frames(thread))
        )
        for span, op, annotation, module, frame, own in zip(spans, *rows, strict=True):
            replays = "GraphLaunch" in span.name
            call = Call(span, op, annotation, module, frame, replays=replays, caller=own)
            found.take(call, thread.pid)
    return found


def _devices(
    kinds: dict[str, list[Event]],
    origin: float,
    calls: _Calls,
) -> dict[int, tuple[DeviceEvent, ...]]:
    devices: dict[int, list[DeviceEvent]] = {}
    for kind in DEVICE:
        for event in kinds.get(kind, ()):
            args = event.args or Args()
            device = _whole(args.device) if args.device is not None else _whole(event.pid)
            start = event.ts - origin
            call = calls.of(event, _device(args))
            devices.setdefault(max(device or 0, 0), []).append(
                DeviceEvent(
                    event.name,
                    kind,
                    max(device or 0, 0),
                    str(args.stream if args.stream is not None else event.tid),
                    start,
                    start + (event.dur or 0.0),
                    _whole(args.size),
                    call,
                )
            )
    return {at: tuple(sorted(rows, key=order)) for at, rows in devices.items()}


def _whole(value: float | str | None) -> int | None:
    if isinstance(value, str):
        return int(value) if value.isdecimal() and len(value) < 20 else None
    return None if value is None or not abs(value) < 1e18 else int(value)


def _cpu_events(threads: Sequence[Thread]) -> tuple[DeviceEvent, ...]:
    """The ops that did work, as the events of the device ``cpu``. ``call`` holds the op itself and its surroundings."""
    made: list[DeviceEvent] = []
    for index, thread in enumerate(threads):
        at = {id(op): place for place, op in enumerate(thread.ops)}
        above = [at.get(id(op.parent), -1) if op.parent else -1 for op in thread.ops]
        chosen = [thread.ops[i] for i in ops.kernel_ops([op.name for op in thread.ops], above)]
        points = [op.start_us for op in chosen]
        lead = _lead(thread, threads)
        rows = (innermost(row, points) for row in (lead, thread.modules, thread.frames, _own_frames(thread)))
        for op, annotation, module, frame, own in zip(chosen, *rows, strict=True):
            call = Call(op, op, annotation, module, frame, caller=own)
            made.append(DeviceEvent(op.name, "kernel", -1, str(index), op.start_us, op.end_us, None, call))
    return tuple(sorted(made, key=order))


def launch_delay_us(events: Sequence[DeviceEvent]) -> float | None:
    """Median from a call's start to its event's start, replays left out; None where no launch is known."""
    delays = [
        event.start_us - event.call.span.start_us for event in events if event.call and not event.replayed
    ]
    return statistics.median(delays) if delays else None


def slices(timeline: Timeline, *, most: int = 150_000) -> tuple[Slice, ...]:
    """Bars for a drawing, by start: at most ``most``, the longest ones; stages and waits are never left out before others."""
    ranked: list[tuple[int, float, str, Span | DeviceEvent, str, int]] = []

    def add(rank: int, lane: str, span: Span | DeviceEvent, kind: str, depth: int = 0) -> None:
        ranked.append((rank, span.start_us - span.end_us, lane, span, kind, depth))

    for index, thread in enumerate(timeline.threads):
        lane = "host" if index == 0 else f"host {thread.tid}"
        for span in thread.annotations:
            add(0, f"{lane} ranges", span, "module" if marks.module_of(span.name) else "stage", span.depth)
        for span in thread.modules:
            add(1, f"{lane} modules", span, "module", span.depth)
        for span in thread.ops:
            add(2, lane, span, "op", span.depth)
        for span in thread.calls:
            add(3, f"{lane} calls", span, "launch")
    for call in timeline.waits:
        add(0, "syncs", call.span, "sync")
    for event in () if timeline.on_cpu else timeline.events:
        add(
            1,
            f"{timeline.device} stream {event.stream}",
            event,
            "kernel" if event.kind == "kernel" else "copy",
        )
    ranked.sort(key=lambda row: row[:2])
    bars = [
        Slice(
            lane=lane,
            name=span.name.removeprefix(NN_MODULE),
            start_us=span.start_us - timeline.start_us,
            dur_us=span.end_us - span.start_us,
            kind=kind,
            depth=depth,
        )
        for _, _, lane, span, kind, depth in ranked[:most]
    ]
    return tuple(sorted(bars, key=lambda bar: (bar.start_us, -bar.dur_us)))
