"""One call's time by batch size, from the run's own upward, and eager against compiled. Callers decide whether the time for it is there."""

from typing import Any

import torch

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


def eager_and_compiled(workload: Workload, watch: Stopwatch) -> tuple[Timing, Timing]:
    """The workload as it is, and with everything compiled in it made to run eagerly. Nothing is compiled or undone."""

    def eager() -> None:
        with torch.compiler.set_stance("force_eager"):
            workload.call()

    timed = watch.turns({"compiled": workload.call, "eager": eager})
    return timed["eager"], timed["compiled"]
