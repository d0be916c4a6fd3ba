"""Graph replays: fast, and opaque to a profiler."""

import collections

from penstock.engine.measure import gaps
from penstock.engine.measure.records import Finding
from penstock.engine.measure.timeline import Timeline


def find(timeline: Timeline) -> list[Finding]:
    """``graph-replay-unattributed`` where replays launched a fifth of the kernel time or more."""
    told = gaps.summary(timeline)
    if told.graph_replayed_share < gaps.UNRELIABLE:
        return []
    replayed = [event for event in timeline.events if event.replayed and event.kind == "kernel"]
    each = collections.Counter(id(event.call) for event in replayed)
    total_ms = sum(event.dur_us for event in replayed) / 1e3
    return [
        Finding(
            id="graph-replay-unattributed",
            title="Kernels of a graph replay: op, module and launch delay are unknown",
            evidence=(
                f"{told.unreliable_because} ({total_ms:.1f} ms; up to {max(each.values())} kernels share one correlation id). "
                "Kernel times, busy share and gaps hold; what is said of ops does not."
            ),
            fix=(
                "Name the kernels while the graph is captured (CUDA, torch 2.13 and cuda-bindings 13.1), or profile once without "
                "graphs and match the kernels by their order.\n"
                "with torch.cuda.graph(graph, enable_annotations=True): ..."
            ),
            bound="It is what the trace cannot tell, and costs the run nothing.",
            proof="Kernel rows with an op, or no *GraphLaunch in the trace.",
            facts={
                "kernels": float(told.kernels),
                "replayed": float(len(replayed)),
                "launches": float(len(each)),
                "share": told.graph_replayed_share,
                "replayed_ms": total_ms,
            },
        )
    ]
