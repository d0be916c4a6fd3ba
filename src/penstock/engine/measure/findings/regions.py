"""Compiled code in a trace: a frame that ran in several versions, and code that left the graph and came back."""

import bisect
import re

from penstock.engine.measure.attribution import of_library
from penstock.engine.measure.intervals import innermost, length, overlap, union
from penstock.engine.measure.records import Finding
from penstock.engine.measure.timeline import Span, Timeline

REGION = re.compile(r"^Torch-Compiled Region: (\d+)/(\d+)")
"""Frame and version, as Dynamo names its range."""
COMPILING = "entire_frame_compile"
"""Dynamo's range around one compilation of one frame."""


def find(timeline: Timeline) -> list[Finding]:
    """``recompiles`` and ``graph-breaks``, by Dynamo's own ranges."""
    regions = [
        (span, int(found[1]), int(found[2]))
        for thread in timeline.threads
        for span in (*thread.ops, *thread.annotations)
        for found in [REGION.match(span.name)]
        if found
    ]
    return [*_versions(timeline, regions), *_breaks(timeline, regions)]


def _versions(timeline: Timeline, regions: list[tuple[Span, int, int]]) -> list[Finding]:
    versions: dict[int, set[int]] = {}
    for _, frame, version in regions:
        versions.setdefault(frame, set()).add(version)
    many = {frame: seen for frame, seen in versions.items() if len(seen) > 1}
    if not many:
        return []
    told = ", ".join(f"frame {frame} in {len(seen)} versions" for frame, seen in sorted(many.items()))
    first = next(span for span, frame, _ in regions if frame in many)
    again = _again(timeline, regions)
    spent_ms = sum(span.dur_us for span in again) / 1e3
    paid = (
        f"{len(again)} of the compilations after a frame's first are in the trace: {spent_ms:.3g} ms."
        if again
        else "The trace shows the versions and not their making: no figure is given."
    )
    return [
        Finding(
            id="recompiles",
            title="One piece of code was compiled for each kind of input",
            evidence=(
                f"{sum(len(seen) for seen in many.values())} compiled versions of {len(many)} frames ran ({told}): each new shape, "
                f"dtype or flag costs a compilation when it comes first. {paid}"
            ),
            saves_ms=spent_ms if again else None,
            once=bool(again),
            bound=(
                "The second and later compilations of a frame, as Dynamo's own ranges tell them: once for each new shape."
                if again
                else "They were made before the trace began: what they took is not in it."
            ),
            fix=(
                "Compile for sizes that vary, or pad inputs to a few buckets.\n"
                "model = torch.compile(model, dynamic=True)\n"
                'torch.compiler.set_stance("fail_on_recompile")  # in production, once all buckets are warm'
            ),
            proof="Torch-Compiled Region: n/0 alone in the trace.",
            facts={"frames": float(len(many)), "versions": float(sum(len(seen) for seen in many.values()))},
            where=_where(timeline, first),
        )
    ]


def _breaks(timeline: Timeline, regions: list[tuple[Span, int, int]]) -> list[Finding]:
    """A region inside another one's is where Python went on between two graphs of one function."""
    inside = {id(span): (span, frame) for span, frame, _ in regions}
    broken = [(span, frame) for span, frame, _ in regions if _outer(span, inside) not in (None, frame)]
    if not broken:
        return []
    frames = sorted({frame for _, frame in broken})
    saves_us = _between_us(timeline, {id(top): top for span, _ in broken for top in [_top(span, inside)]})
    return [
        Finding(
            id="graph-breaks",
            title="A compiled function is broken into several graphs",
            evidence=(
                f"{len(broken)} times a compiled region began inside another one (frames {', '.join(map(str, frames))}): Python ran "
                "between the graphs, nothing is fused across, and no CUDA graph can span them."
            ),
            saves_ms=saves_us / 1e3,
            bound="The broken functions' time outside of matmuls, convolutions and attention.",
            fix=(
                "See the reason and the line, and take it out of the function: prints, .item(), branches on tensors or on values "
                "that change.\n"
                'TORCH_LOGS="graph_breaks" python run.py\n'
                "model = torch.compile(model, fullgraph=True)"
            ),
            proof="fullgraph=True compiles; no region within a region.",
            facts={"breaks": float(len(broken)), "frames": float(len(frames))},
            where=_where(timeline, broken[0][0]),
        )
    ]


def _again(timeline: Timeline, regions: list[tuple[Span, int, int]]) -> list[Span]:
    """Compilations of a frame that had been compiled before: those that a range of a later version follows on their thread."""
    found: list[Span] = []
    for index, thread in enumerate(timeline.threads):
        own = sorted((span.start_us, version) for span, _, version in regions if span.thread == index)
        for span in thread.ops:
            at = bisect.bisect_left(own, (span.end_us, 0)) if span.name == COMPILING else len(own)
            if at < len(own) and own[at][1]:
                found.append(span)
    return found


def _top(span: Span, inside: dict[int, tuple[Span, int]]) -> Span:
    """The outermost region around it."""
    found, above = span, span.parent
    while above is not None:
        found = above if id(above) in inside else found
        above = above.parent
    return found


def _between_us(timeline: Timeline, tops: dict[int, Span]) -> float:
    """From the start of each of these regions to the end of all that it launched, less what libraries computed meanwhile."""
    pieces = [(span.start_us, span.end_us) for span in tops.values()]
    launched = [
        event
        for event in timeline.events
        if event.call is not None
        and any(
            span.thread == event.call.span.thread and span.start_us <= event.call.span.start_us <= span.end_us
            for span in tops.values()
        )
    ]
    pieces += [(event.start_us, event.end_us) for event in launched]
    library = union(
        (event.start_us, event.end_us)
        for event in launched
        if of_library(event.name, event.op.name if event.op else "")
    )
    whole = union(pieces)
    return length(whole) - overlap(whole, library)


def _outer(span: Span, inside: dict[int, tuple[Span, int]]) -> int | None:
    """The frame of the nearest region around it."""
    above = span.parent
    while above is not None and id(above) not in inside:
        above = above.parent
    return inside[id(above)][1] if above is not None else None


def _where(timeline: Timeline, span: Span) -> str:
    (frame,) = innermost(timeline.threads[span.thread].frames, [span.start_us])
    return frame.name if frame else ""
