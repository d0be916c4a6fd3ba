"""A fault against its cure, timed in turn on the thing itself: convolutions channels-last, and what was to be compiled, compiled.

On request only: compiling takes minutes. Everything is put back as it was; what Dynamo has kept of the trial stays in this process.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from penstock.engine.lab.probes.parts import Place, last_of
from penstock.engine.lab.probes.patches import Patches
from penstock.engine.lab.probes.stopwatch import Stopwatch
from penstock.engine.measure.seen import Tried
from penstock.engine.workloads.workload import Workload


def channels_last(
    weights: Sequence[torch.Tensor], call: Callable[[], Any], times: int, watch: Stopwatch
) -> Tried:
    """One call of a part with its convolutions' weights as they are, and channels-last. ``times``: such calls in a run."""
    first = [weight.data for weight in weights]
    last = [one.contiguous(memory_format=last_of(one)) for one in first]

    def with_weights(laid: Sequence[torch.Tensor]) -> Callable[[], None]:
        def run() -> None:
            for weight, data in zip(weights, laid, strict=True):  # on both sides, so that both pay for it
                weight.data = data
            with torch.no_grad():
                call()

        return run

    try:
        timed = watch.turns({"first": with_weights(first), "last": with_weights(last)})
    finally:
        for weight, data in zip(weights, first, strict=True):
            weight.data = data
    return Tried(before=timed["first"], after=timed["last"], times=times)


def compiled(workload: Workload, place: Place, others: Mapping[str, int], watch: Stopwatch) -> Tried:
    """The whole run as it is, and with the methods that are called compiled; without ``others``, the module's own call."""
    owner: Any = place.owner
    compile_: Any = getattr(torch, "compile")  # noqa: B009 - its type is unknown in part
    made: dict[str, Any] = {name: compile_(getattr(owner, name)) for name in others}
    if not others:
        made["_compiled_call_impl"] = compile_(followed(owner._call_impl))  # noqa: SLF001 - as nn.Module.compile does

    def cured() -> None:
        with Patches() as patches:
            for name, value in made.items():
                patches.put(owner, name, value)
            workload.call()

    cured()  # compiles: no part of what is timed
    timed = watch.turns({"as it is": workload.call, "compiled": cured})
    return Tried(before=timed["as it is"], after=timed["compiled"])


def followed(call: Callable[..., Any]) -> Callable[..., Any]:
    """The call from a frame of ours. Dynamo skips frames of torch.nn, so that a ``Sequential``'s own call would compile nothing
    (torch 2.13), but follows calls into them. Only for those: Dynamo caches by code, which all these wrappers share.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    return run
