"""Compiled code in a trace: a frame that ran in several versions, and code that left the graph and came back."""

import re

from penstock.engine.measure.intervals import innermost
from penstock.engine.measure.records import Finding
from penstock.engine.measure.timeline import Span, Timeline

REGION = re.compile(r"^Torch-Compiled Region: (\d+)/(\d+)")
"""Frame and version, as Dynamo names its range."""


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
    return [
        Finding(
            id="recompiles",
            title="One piece of code was compiled for each kind of input",
            evidence=(
                f"{sum(len(seen) for seen in many.values())} compiled versions of {len(many)} frames ran ({told}): each new shape, "
                "dtype or flag costs a compilation when it comes first. The trace shows the versions and not their making: no figure "
                "is given."
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
    return [
        Finding(
            id="graph-breaks",
            title="A compiled function is broken into several graphs",
            evidence=(
                f"{len(broken)} times a compiled region began inside another one (frames {', '.join(map(str, frames))}): Python ran "
                "between the graphs, nothing is fused across, and no CUDA graph can span them."
            ),
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


def _outer(span: Span, inside: dict[int, tuple[Span, int]]) -> int | None:
    """The frame of the nearest region around it."""
    above = span.parent
    while above is not None and id(above) not in inside:
        above = above.parent
    return inside[id(above)][1] if above is not None else None


def _where(timeline: Timeline, span: Span) -> str:
    (frame,) = innermost(timeline.threads[span.thread].frames, [span.start_us])
    return frame.name if frame else ""
