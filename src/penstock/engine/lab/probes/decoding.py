"""What decoding in one piece needs: a dry run of an autoencoder on meta tensors, and, on request, both ways timed."""

import copy
from typing import Any

import torch
from torch import nn

from penstock.engine.lab.probes.parts import inside_of
from penstock.engine.lab.probes.patches import Patches
from penstock.engine.lab.probes.stopwatch import Stopwatch
from penstock.engine.lab.probes.tensors import LiveBytes

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def whole_bytes(autoencoder: Any, given: Arguments) -> int:
    """Peak bytes of the tensors of one decode without tiling or slicing; weights and input not counted. No memory is taken."""
    module = inside_of(autoencoder)
    shell = _shell(module)
    for switch in ("use_tiling", "use_slicing"):
        if hasattr(shell, switch):
            setattr(shell, switch, False)
    args = tuple(_meta(one) for one in given[0])
    kwargs = {name: _meta(one) for name, one in given[1].items()}
    with torch.no_grad(), LiveBytes() as live:
        _of_class(module).decode(shell, *args, **kwargs)
    return live.peak_bytes


def _shell(module: nn.Module) -> Any:
    """The module with its weights on meta; they are not copied first. What hangs on the instance (a compiled method) is left out."""
    memo: dict[int, Any] = {}
    for weight in module.parameters():
        memo[id(weight)] = nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    for child in module.modules():
        for value in vars(child).values():
            if callable(value) and not isinstance(value, nn.Module | type):
                memo[id(value)] = value
    return copy.deepcopy(module, memo)


def _of_class(thing: object) -> Any:
    return type(thing)


def _meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, torch.Tensor) else value


def both_ways(autoencoder: Any, given: Arguments, watch: Stopwatch) -> tuple[float, float]:
    """Milliseconds of one decode as it is set, and in one piece."""
    module = inside_of(autoencoder)
    args, kwargs = given

    def as_set() -> None:
        with torch.no_grad():
            autoencoder.decode(*args, **kwargs)

    def whole() -> None:
        with Patches() as patches:
            patches.put(module, "use_tiling", False)
            patches.put(module, "use_slicing", False)
            as_set()

    timed = watch.turns({"cut": as_set, "whole": whole})
    return timed["cut"].median_ms, timed["whole"].median_ms
