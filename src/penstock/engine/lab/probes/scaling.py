"""One call's time by batch size, and eager against compiled. Callers decide whether the time for it is there."""

import torch

from penstock.engine.lab.probes.stopwatch import Stopwatch
from penstock.engine.measure.records import Timing
from penstock.engine.measure.seen import Scaling
from penstock.engine.workloads.workload import Workload

BATCHES = (1, 8)


def scaling(workload: Workload, watch: Stopwatch) -> Scaling | None:
    """Batch 1 and 8 in turn. None where the workload cannot be given another batch."""
    calls = {str(size): call for size in BATCHES if (call := workload.with_batch(size)) is not None}
    if len(calls) < len(BATCHES):
        return None
    timed = watch.turns(calls)
    most = BATCHES[-1]
    codes = {
        "pipeline": f"pipe([prompt] * {most})",
        "generator": f'model.generate(**tokenizer([prompt] * {most}, return_tensors="pt"))',
    }
    code = codes.get(workload.kind, f"model(*(torch.cat([x] * {most}) for x in inputs))")
    return Scaling(timings={int(size): timing for size, timing in timed.items()}, call=code)


def eager_and_compiled(workload: Workload, watch: Stopwatch) -> tuple[Timing, Timing]:
    """The workload as it is, and with everything compiled in it made to run eagerly. Nothing is compiled or undone."""

    def eager() -> None:
        with torch.compiler.set_stance("force_eager"):
            workload.call()

    timed = watch.turns({"compiled": workload.call, "eager": eager})
    return timed["eager"], timed["compiled"]
