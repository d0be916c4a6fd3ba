"""The run's parts, by the ranges in its trace, with what they do not cover: the rows' wall time sums to the run's.

Whose ranges count, the first that there is: our own stages (``marks.STAGE``) with the user's annotations; modules (our ranges, or
the profiler's ``nn.Module`` frames). ``ProfilerStep#n`` and our ``run:`` range say how long the run was; they are no stages
themselves as long as something is inside them.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from penstock.engine.measure import marks
from penstock.engine.measure.attribution import class_of, op_costs, plain
from penstock.engine.measure.intervals import Interval, length, overlap, union
from penstock.engine.measure.records import DEVICE_ALONE, SILENT, UNATTRIBUTED, StageRow
from penstock.engine.measure.timeline import NN_MODULE, DeviceEvent, Span, Timeline

STEP = "ProfilerStep#"
LEAST_ALONE = 0.01
"""Of the trace: what follows the host's last event is told from this share on. Our choice."""
_TOUCH = 0.001
"""Pieces nearer than this share of the run are drawn as one: a pixel of a thousand."""
ELSEWHERE = "another thread"
"""Parent of stages that ran beside the run's main thread: they do not count into the sum."""


def stages(timeline: Timeline, *, price_nusd_per_s: int | None = None) -> tuple[StageRow, ...]:
    """Stages in order of their first start, nested ones after their parent, the residual last.

    Rows without a parent do not overlap; with the residual their ``wall_ms`` sum to ``wall(timeline)``, their ``cost_nusd`` to the
    run's. On a CPU the columns of the device are None.
    """
    wall = _wall(timeline)
    ranges = [_ranges(timeline, index) for index in range(len(timeline.threads))]
    covered = [length(union((span.start_us, span.end_us) for span in row)) for row in ranges]
    main = max(range(len(ranges)), key=lambda index: (covered[index], -index), default=0)
    parts: dict[tuple[str, str], _Part] = {}
    for index in sorted(range(len(ranges)), key=lambda at: at != main):
        _collect(ranges[index], wall, "" if index == main else ELSEWHERE, parts)
    launched = _launched(timeline, ranges)
    return _Table(timeline, wall, parts, launched, price_nusd_per_s).rows()


def wall_us(timeline: Timeline) -> float:
    """How long the run took: its ``run:`` ranges, else its profiler steps, else from its first event to its last."""
    return length(_wall(timeline))


class _Part:
    """All calls of one stage under one parent."""

    def __init__(self, name: str, parent: str) -> None:
        self.name = name
        self.parent = parent
        self.pieces: list[Interval] = []
        self.spans: set[int] = set()
        self.calls = 0


def _wall(timeline: Timeline) -> list[Interval]:
    spans = [span for thread in timeline.threads for span in thread.annotations]
    runs = [span for span in spans if marks.run_of(span.name) is not None]
    steps = [span for span in spans if span.name.startswith(STEP)]
    chosen = runs or steps
    if not chosen:
        return [(timeline.start_us, timeline.end_us)]
    return union(
        (max(s.start_us, timeline.start_us), min(s.end_us, timeline.end_us))
        for s in chosen
        if s.end_us >= timeline.start_us and s.start_us <= timeline.end_us
    )


def _frame(span: Span) -> bool:
    """Says how long a run was or whose, not what part of it something is."""
    ours = marks.run_of(span.name) is not None or marks.trace_of(span.name) is not None
    return ours or span.name.startswith(STEP)


def _ranges(timeline: Timeline, index: int) -> list[Span]:
    """One thread's spans that are stages, outer ones first."""
    said = [span for thread in timeline.threads for span in thread.annotations if not _frame(span)]
    thread = timeline.threads[index]
    if any(marks.module_of(span.name) is None for span in said):
        return [s for s in thread.annotations if not _frame(s) and marks.module_of(s.name) is None]
    own = [s for s in thread.annotations if not _frame(s)]
    modules = own or list(thread.modules)
    if modules:
        return _without_root(modules)
    runs = any(marks.run_of(span.name) is not None for span in thread.annotations)
    return list(thread.annotations) if not said and not runs else []


def _without_root(modules: list[Span]) -> list[Span]:
    """A model's children instead of the model itself, where it is the one thing at the top and has any."""
    ids = {id(span) for span in modules}
    tops = {id(span): span.name for span in modules if _above(span, ids) is None}
    if len(set(tops.values())) == 1 and len(modules) > len(tops):
        return [span for span in modules if id(span) not in tops]
    return modules


def _above(span: Span, ids: set[int]) -> Span | None:
    """The nearest parent that is a stage too."""
    above = span.parent
    while above is not None and id(above) not in ids:
        above = above.parent
    return above


def label(span: Span) -> str:
    """The stage's name in a table."""
    if span.name.startswith(NN_MODULE):
        return class_of(span.name)
    name = marks.stage_of(span.name) or marks.module_of(span.name) or plain(span.name)
    return name.partition("#")[0].strip() or span.name


def _collect(
    spans: Sequence[Span], wall: list[Interval], top: str, parts: dict[tuple[str, str], _Part]
) -> None:
    """Spans into rows. A span that outlives its parent (damaged traces) is cut at the parent's end; of a stage inside itself
    only the outer one counts."""
    ids = {id(span) for span in spans}
    ends: dict[int, float] = {}
    names: dict[int, str] = {}
    owner: dict[int, _Part] = {}
    for span in spans:
        above = _above(span, ids)
        end = min(span.end_us, ends[id(above)]) if above is not None else span.end_us
        ends[id(span)] = end
        name = label(span)
        parent = names[id(above)] if above is not None else top
        names[id(span)] = name
        if above is not None and name == parent:
            owner[id(span)] = owner[id(above)]
            continue
        part = parts.setdefault((name, parent), _Part(name, parent))
        owner[id(span)] = part
        pieces = [
            (max(a, span.start_us), min(b, end)) for a, b in wall if min(b, end) > max(a, span.start_us)
        ]
        if pieces or any(a <= span.start_us <= b for a, b in wall):
            part.calls += 1
            part.pieces += pieces or [(span.start_us, span.start_us)]
    for span in spans:
        owner[id(span)].spans.add(id(span))


def _launched(timeline: Timeline, ranges: Sequence[Sequence[Span]]) -> dict[int, list[DeviceEvent]]:
    """id(stage span) -> the device events launched inside it, those of nested stages included."""
    chosen = {id(span) for row in ranges for span in row}
    found: dict[int, list[DeviceEvent]] = {}
    for event in timeline.events:
        call = event.call
        if call is None:
            continue
        for start in (call.annotation, call.module):
            span = start
            while span is not None:
                if id(span) in chosen and span.end_us >= call.span.start_us:
                    found.setdefault(id(span), []).append(event)
                span = span.parent
    return found


class _Table:
    """Writes the rows."""

    def __init__(
        self,
        timeline: Timeline,
        wall: list[Interval],
        parts: dict[tuple[str, str], _Part],
        launched: dict[int, list[DeviceEvent]],
        price_nusd_per_s: int | None,
    ) -> None:
        self.timeline = timeline
        self.wall = wall
        self.total_us = length(wall)
        self.parts = parts
        self.launched = launched
        self.price = price_nusd_per_s
        self.busy = timeline.busy()
        self.costs = op_costs(timeline)

    def rows(self) -> tuple[StageRow, ...]:
        kept = [part for part in self.parts.values() if part.calls]
        kept.sort(key=lambda part: min(part.pieces))
        inside: dict[str, list[_Part]] = {}
        for part in kept:
            inside.setdefault(part.parent, []).append(part)
        ordered: list[StageRow] = []
        told: set[int] = set()
        left = [*reversed(inside.get(ELSEWHERE, [])), *reversed(inside.get("", []))]
        while left:
            part = left.pop()
            if id(part) not in told:
                told.add(id(part))
                ordered.append(self.row(part))
                left += reversed(inside.get(part.name, []))
        return (*ordered, *self.rest(kept))

    def row(self, part: _Part) -> StageRow:
        pieces = union(part.pieces)
        events = list({id(e): e for at in part.spans for e in self.launched.get(at, ())}.values())
        return self.made(part.name, part.parent, part.calls, pieces, events)

    def rest(self, kept: list[_Part]) -> list[StageRow]:
        """What no stage covers, so that the sum is the wall time: the residual last, before it what the host has no part in."""
        covered = union(piece for part in kept if not part.parent for piece in part.pieces)
        free = _complement(self.wall, covered)
        told = {id(e) for part in kept for at in part.spans for e in self.launched.get(at, ())}
        events = [event for event in self.timeline.events if id(event) not in told]
        rows: list[StageRow] = []
        for name, piece in after_the_host(self.timeline):
            inside = _common(free, [piece])
            row = self.made(name, "", 1, inside, [])
            rows.append(
                replace(row, exposed_host_ms=None)
            )  # of a host that the trace has nothing of, nothing is known
            free = _complement(free, inside)
        return [*rows, self.made(UNATTRIBUTED, "", 1, free, events)]

    def made(
        self, name: str, parent: str, calls: int, pieces: list[Interval], events: list[DeviceEvent]
    ) -> StageRow:
        wall_us = length(pieces)
        known = [self.costs[id(event)] for event in events if id(event) in self.costs]
        on_cpu = self.timeline.on_cpu
        return StageRow(
            name=name,
            parent=parent,
            calls=calls,
            start_ms=(pieces[0][0] - self.wall[0][0]) / 1e3 if pieces and self.wall else 0.0,
            wall_ms=wall_us / 1e3,
            share=wall_us / self.total_us if self.total_us else 0.0,
            exposed_host_ms=None if on_cpu else (wall_us - overlap(pieces, self.busy)) / 1e3,
            gpu_busy_ms=None if on_cpu else length(union((e.start_us, e.end_us) for e in events)) / 1e3,
            launches=None if on_cpu else len({id(event.call) for event in events if event.call}),
            flops=_known([cost.flops for cost in known]),
            bytes=_known([cost.bytes for cost in known]),
            cost_nusd=None if self.price is None else round(self.price * wall_us / 1e6),
            pieces=self.drawn(pieces),
        )

    def drawn(self, pieces: list[Interval]) -> tuple[tuple[float, float], ...]:
        """For a picture: milliseconds from the run's start, without what is too fine to be seen."""
        if not pieces or not self.wall:
            return ()
        zero_us, near_us = self.wall[0][0], self.total_us * _TOUCH
        out: list[list[float]] = []
        for start, end in pieces:
            if out and start - out[-1][1] < near_us:
                out[-1][1] = max(out[-1][1], end)
            else:
                out.append([start, end])
        return tuple(((start - zero_us) / 1e3, (end - zero_us) / 1e3) for start, end in out)


def _known(values: list[int | None]) -> int | None:
    told = [value for value in values if value is not None]
    return sum(told) if told else None


def after_the_host(timeline: Timeline) -> list[tuple[str, Interval]]:
    """What the trace shows behind its last host event: first nothing, then the device alone. Empty where that is next to nothing.

    A device runs behind its host. Where nothing waits for it, the host's recording ends before the device does; and what it was
    still working off when the recording began is not in the trace.
    """
    ends = [
        max(span.end_us for span in row)
        for thread in timeline.threads
        for row in (thread.ops, thread.annotations, thread.calls, thread.frames)
        if row
    ]
    if timeline.on_cpu or not timeline.events or not ends:
        return []
    host_us = max(ends)
    left = [event for event in timeline.events if event.end_us > host_us]
    end_us = max((event.end_us for event in left), default=host_us)
    whole_us = max(timeline.end_us, end_us) - timeline.start_us
    if end_us - host_us < LEAST_ALONE * whole_us:
        return []
    begins_us = max(host_us, min(event.start_us for event in left))
    found = [(DEVICE_ALONE, (begins_us, end_us))]
    return (
        [(SILENT, (host_us, begins_us)), *found] if begins_us - host_us >= LEAST_ALONE * whole_us else found
    )


def _common(ones: list[Interval], others: list[Interval]) -> list[Interval]:
    return [(max(a, c), min(b, d)) for a, b in ones for c, d in others if min(b, d) > max(a, c)]


def _complement(wall: list[Interval], covered: list[Interval]) -> list[Interval]:
    """The parts of ``wall`` that ``covered`` leaves free. Both disjoint and in order."""
    free: list[Interval] = []
    for start, end in wall:
        at = start
        for first, last in covered:
            if last <= at or first >= end:
                continue
            if first > at:
                free.append((at, first))
            at = max(at, last)
        if end > at:
            free.append((at, end))
    return free
