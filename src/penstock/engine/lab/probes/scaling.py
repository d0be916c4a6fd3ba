"""One call's time by batch size, from the run's own upward, and eager against compiled. Callers decide whether the time for it is there."""

from collections.abc import Sequence
from typing import Any

from penstock.engine.lab.probes.parts import Place, inside_of
from penstock.engine.lab.probes.patches import Patches
from penstock.engine.lab.probes.stopwatch import Stopwatch
from penstock.engine.measure.records import Timing
from penstock.engine.measure.seen import Scaling
from penstock.engine.workloads.workload import Workload

TIMES = 8
"""How many of the run's own batch are put together."""


def scaling(workload: Workload, watch: Stopwatch) -> Scaling | None:
    """The workload's own batch and eight times as much, in turn. None where it cannot be given another batch."""
    own = workload.batch
    many = workload.with_batch(TIMES * own)
    if many is None:
        return None
    timed = watch.turns({str(own): workload.call, str(TIMES * own): many})
    return Scaling(
        timings={int(size): timing for size, timing in timed.items()}, batch=own, call=_written(workload)
    )


def _written(workload: Workload) -> str:
    """The larger batch, as it is written for this object."""
    if workload.kind == "pipeline":
        return f"pipe([prompt] * {TIMES * workload.batch})"
    if workload.kind == "generator":
        return f'model.generate(**tokenizer([prompt] * {TIMES * workload.batch}, return_tensors="pt"))'
    written: Any = getattr(
        workload, "written", None
    )  # a module of the user's knows what its inputs are called
    return written(TIMES) if written is not None else f"model(torch.cat([x] * {TIMES}))"


def eager_and_compiled(
    workload: Workload, watch: Stopwatch, places: Sequence[Place]
) -> tuple[Timing, Timing]:
    """The workload with what was compiled in it called as it was before, and as it is. Nothing is compiled or undone.

    Not by Dynamo's stance: what it wraps is then still called through the wrapper, which costs a tiny model more than its own work.
    """

    def eager() -> None:
        with Patches() as patches:
            for place in places:
                patches.put(place.owner, *_uncompiled(place))
            workload.call()

    timed = watch.turns({"compiled": workload.call, "eager": eager})
    return timed["eager"], timed["compiled"]


def _uncompiled(place: Place) -> tuple[str, Any]:
    """The attribute in which a place is compiled, and what it holds where it is not."""
    if place.kind == "in-place":
        return "_compiled_call_impl", None
    if place.kind == "module":
        return "forward", inside_of(place.owner)._call_impl  # noqa: SLF001 - what torch.compile(module) wraps
    return place.method, getattr(place.owner, place.method)._torchdynamo_orig_callable  # noqa: SLF001 - what it wraps
