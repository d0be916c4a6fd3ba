"""A loaded thing in three ways: eager, compiled, with fused kernels. Nothing of it stays changed: each call switches and switches back.

Compiled are the forwards of a module or generator, and of a pipeline its denoiser (block by block where the model names its
repeated blocks) and its autoencoder's ``decode``: what ``torch.compile(pipe.vae)`` would not touch, for a pipeline never calls
that module's ``forward``.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, cast

import torch
from msgspec import structs
from torch import nn
from torch.nn import functional

from penstock.engine.kernels import geglu
from penstock.engine.lab.compare import Ports, Side
from penstock.engine.lab.probes import compiling, cures, parts
from penstock.engine.measure import inside
from penstock.engine.measure.counting import Counts
from penstock.engine.measure.records import KernelRow, Timing
from penstock.engine.workloads import outputs
from penstock.engine.workloads.tour import compile_refusal
from penstock.engine.workloads.workload import Workload

_ABSENT: Any = object()
_CALL = "_compiled_call_impl"
"""What ``nn.Module.compile`` sets, and every call of a module looks at first."""
_TEXT = "text_encoder"
_SHOWN = 8
_DIFFUSERS = "diffusers.models.activations"
"""Where the GEGLU is defined whose function the kernels compute: the second half through the exact gelu, times the first."""

Place = tuple[Any, str, Any]
"""An object, the name of one of its own attributes, and what it is for the time of a call."""


@contextmanager
def switched(places: Sequence[Place]) -> Generator[None, Any, None]:
    """The attributes as given, inside the block; then as they were."""
    before: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for owner, name, value in places:
            held = cast("dict[str, Any]", vars(owner))
            before.append((held, name, held.get(name, _ABSENT)))
            held[name] = value
        yield
    finally:
        for held, name, value in reversed(before):
            if value is _ABSENT:
                held.pop(name, None)
            else:
                held[name] = value


def sides(workload: Workload, names: Sequence[str], counts: Counts | None = None) -> tuple[Side, ...]:
    """The variants of these names. ``counts`` of the eager call make what is expected of each."""
    return tuple(_side(workload, name, counts) for name in names)


def _side(workload: Workload, name: str, counts: Counts | None) -> Side:
    if name == "compile":
        refused = compile_refusal(torch.device(workload.device))
        if refused:
            return Side(name=name, call=workload.call, output=workload.call, refused=refused)
        places = compiled_places(workload)
        within = _names(workload, places) if workload.kind == "pipeline" else ("",)
        made = _switched_side(workload, name, places, expected_compiled(counts, within), prepared=True)
        if counts is None:
            return made
        fused = sum((len(ops) - 1) * count for ops, count in _like(counts, within).items())
        return structs.replace(
            made, least_kernels=0 if fused else counts.ops, most_kernels=counts.ops - fused
        )
    if name == "kernels":
        places, reasons = kernel_places(workload)
        refused = "" if places else _why_none(reasons)
        made = _switched_side(workload, name, places, tuple(dict.fromkeys(reasons)))
        return Side(
            name=name,
            call=made.call,
            output=made.output,
            expected=made.expected if places else (),
            refused=refused,
        )
    ops = None if counts is None else counts.ops
    return Side(
        name=name,
        call=workload.call,
        output=_output(workload),
        expected=expected_eager(counts),
        least_kernels=ops,
        most_kernels=ops,
    )


def _switched_side(
    workload: Workload,
    name: str,
    places: Sequence[Place],
    expected: tuple[str, ...],
    *,
    prepared: bool = False,
) -> Side:
    output = _output(workload)

    def within(call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with switched(places):
                return call()

        return run

    return Side(
        name=name,
        call=within(workload.call),
        output=within(output),
        prepared=prepared,
        compiled=compiled_words(workload, places) if prepared else (),
        expected=expected,
        refused="" if places else "nothing of it can be compiled",
    )


def _output(workload: Workload) -> Callable[[], Any]:
    """What is compared: numbers, where the thing would else give images of 8 bits; copied, and drawn from one seed."""
    numbers: Any = getattr(workload, "numbers", None)
    call = cast("Callable[[], Any]", numbers) if callable(numbers) else workload.call
    return partial(outputs.drawn, call, workload.device)


def compiled_places(workload: Workload) -> list[Place]:
    """What is compiled of it, each with its compiled form. Nothing is compiled before it is called."""
    if workload.kind != "pipeline":
        return [_compiled_call(module, workload.device) for module in workload.modules().values()]
    places: list[Place] = []
    for point in workload.stages():
        owner: Any = point.owner
        if not isinstance(owner, nn.Module) or point.stage.startswith(_TEXT):
            continue
        if point.method == "forward":
            places += [_compiled_call(block, workload.device) for block in _blocks(owner)]
        elif point.method == "decode":
            places.append((owner, "decode", _compiled(owner.decode, workload.device)))
    return places


def compiled_words(workload: Workload, places: Sequence[Place]) -> tuple[str, ...]:
    """What these compile, as people call it: ``model (Sequential)``, ``unet: 6 x BasicTransformerBlock``, ``vae.decode``."""
    holds = {
        id(module): (part, root) for part, root in workload.modules().items() for module in root.modules()
    }
    counts: dict[tuple[str, str], int] = {}
    for owner, name, _ in places:
        part, root = holds[id(owner)]
        kind = type(owner).__name__
        told = f".{name}" if name != _CALL else f" ({kind})" if owner is root else f": {{}} x {kind}"
        counts[part, told] = counts.get((part, told), 0) + 1
    return tuple(f"{part}{told.format(count)}" for (part, told), count in counts.items())


def _blocks(module: nn.Module) -> list[nn.Module]:
    """The blocks that a model says it repeats, compiled once for all of them; else the model."""
    names: Any = getattr(module, "_repeated_blocks", None)
    if not names:
        return [module]
    found = [part for part in module.modules() if type(part).__name__ in names]
    return found or [module]


def _compiled_call(module: nn.Module, device: str) -> Place:
    call: Any = cast("Any", module)._call_impl  # noqa: SLF001 - as nn.Module.compile does
    return module, _CALL, _compiled(cures.followed(call) if parts.built_in(module) else call, device)


def _compiled(call: Any, device: str) -> Any:
    torch_: Any = torch
    # On a CPU Inductor's own kernels are recorded only when asked for; without a profiler that costs nothing.
    return torch_.compile(call, options={"cpp.enable_kernel_profile": True} if device == "cpu" else None)


def graphs() -> int:
    """Graphs that Dynamo has made in this process."""
    torch_: Any = torch
    return int(torch_._dynamo.utils.counters["stats"]["unique_graphs"])  # noqa: SLF001 - the only place that says it


def ports(
    interleave: Callable[[Mapping[str, Callable[[], Any]]], Mapping[str, Timing]],
    kernels: Callable[[str, Callable[[], Any]], tuple[KernelRow, ...]],
) -> Ports:
    """What a comparison on this machine asks, but for how it is timed and captured."""
    return Ports(
        interleave=interleave,
        kernels=kernels,
        max_error=outputs.max_error,
        graphs=graphs,
        recompiles=recompiles,
        compiled=runs_compiled,
        scale=outputs.scale,
        random=lambda output: isinstance(output, outputs.Kept) and output.random,
    )


def runs_compiled(call: Callable[[], Any]) -> bool:
    """Whether a call runs compiled code: by Dynamo's own ranges in a profile of it."""
    return any(name.startswith("Torch-Compiled Region") for name in inside.event_names(call))


def recompiles() -> Callable[[], tuple[str, ...]]:
    """Watch Dynamo from now on; what this gives tells each function that was compiled again, how often, and why."""
    since = compiling.mark()

    def told() -> tuple[str, ...]:
        again = compiling.history({}, since).recompiles
        return tuple(f"{one.function} ({one.where}), {one.count} times: {one.guard}" for one in again)

    return told


def kernel_places(workload: Workload) -> tuple[list[Place], list[str]]:
    """Modules that a fused kernel can stand in for, with its forward; and what was decided about each, in words."""
    places: list[Place] = []
    reasons: list[str] = []
    for root in workload.modules().values():
        for module in root.modules():
            found = _geglu_forward(module)
            if found is not None:
                forward, reason = found
                reasons.append(reason)
                if forward is not None:
                    places.append((module, "forward", forward))
    return places, reasons


def _geglu_forward(module: nn.Module) -> tuple[Callable[..., Any] | None, str] | None:
    """A forward for diffusers' ``GEGLU`` (one product, then halves); None for a module of another kind."""
    proj: Any = getattr(module, "proj", None)
    if type(module).__name__ != "GEGLU" or type(proj) is not nn.Linear:
        return None
    if type(module).__module__ != _DIFFUSERS or "forward" in vars(module):
        return None, (
            "GEGLU that is not diffusers' own is left as it is: which half is the gate, and which gelu, is its author's"
        )
    weight: torch.Tensor = proj.weight
    no_triton = geglu.triton_refusal(weight.device, weight.dtype)
    if not no_triton:
        return (
            _with_triton(proj),
            "GEGLU by our Triton kernel: gelu and mul are one kernel",
        )
    no_onednn = geglu.onednn_refusal(weight.device, weight.dtype)
    if not no_onednn:
        return _with_onednn(proj), "GEGLU by oneDNN: gelu and mul are the ends of two products"
    return None, f"GEGLU has no kernel here: {no_triton}; {no_onednn}"


def _with_onednn(proj: nn.Linear) -> Callable[..., Any]:
    fused: Any = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - what Inductor itself calls on a CPU
    up_FD, gate_FD = (half.contiguous() for half in proj.weight.detach().chunk(2, dim=0))
    bias: Any = proj.bias
    up_F, gate_F = (None, None) if bias is None else (half.contiguous() for half in bias.detach().chunk(2))

    def forward(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        x_RD = hidden_states.reshape(-1, hidden_states.shape[-1])
        act_RF = fused(x_RD, gate_FD, gate_F, "gelu", [], "none")
        out_RF = fused(x_RD, act_RF, up_FD, up_F, "mul")
        return out_RF.reshape(*hidden_states.shape[:-1], out_RF.shape[-1])

    return forward


def _with_triton(proj: nn.Linear) -> Callable[..., Any]:
    gelu_mul: Any = import_module("penstock.engine.kernels.geglu_triton").gelu_mul

    def forward(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        up, gate = functional.linear(hidden_states, proj.weight, proj.bias).chunk(2, dim=-1)
        return gelu_mul(gate.contiguous(), up.contiguous(), "none")

    return forward


def _why_none(reasons: Sequence[str]) -> str:
    if reasons:
        return reasons[0]
    return (
        "it has no module that a kernel of ours or of a library stands in for (GEGLU is what the table has)"
    )


def expected_eager(counts: Counts | None) -> tuple[str, ...]:
    """One kernel for each op that moves something, by name; written before looking."""
    if counts is None:
        return ()
    ranked = sorted(counts.by_op.items(), key=lambda one: -one[1].count)
    told = [f"{one.count} x {name}" for name, one in ranked[:_SHOWN]]
    if len(ranked) > _SHOWN:
        told.append(f"{sum(one.count for _, one in ranked[_SHOWN:])} of {len(ranked) - _SHOWN} other ops")
    return (f"{counts.ops} kernels, one for each op that moves something: {', '.join(told)}",)


def expected_compiled(counts: Counts | None, within: Sequence[str] = ("",)) -> tuple[str, ...]:
    """The chains of pointwise ops as one kernel each. ``within``: dotted names of what is compiled; "" is all of it."""
    if counts is None:
        return ()
    like = _like(counts, within)
    if not like:
        return ("nothing to fuse: as many kernels as eager",)
    fused = sum((len(ops) - 1) * count for ops, count in like.items())
    ranked = sorted(like.items(), key=lambda one: -(len(one[0]) - 1) * one[1])
    told = [f"{count} x one kernel for {', '.join(ops)}" for ops, count in ranked[:_SHOWN]]
    if len(ranked) > _SHOWN:
        told.append(f"{sum(count for _, count in ranked[_SHOWN:])} x one kernel for other chains")
    return (f"at most {counts.ops - fused} kernels, for {fused} pointwise ops need none of their own", *told)


def _like(counts: Counts, within: Sequence[str]) -> dict[tuple[str, ...], int]:
    """Chains of what is compiled, by their ops -> how many."""
    like: dict[tuple[str, ...], int] = {}
    for chain in counts.pointwise_chains:
        if any(not name or chain.module == name or chain.module.startswith(f"{name}.") for name in within):
            like[chain.ops] = like.get(chain.ops, 0) + chain.count
    return like


def _names(workload: Workload, places: Sequence[Place]) -> tuple[str, ...]:
    """Dotted names of what is switched, as the counter has them."""
    owners = {id(owner) for owner, _, _ in places}
    return tuple(
        f"{part}.{name}" if name else part
        for part, root in workload.modules().items()
        for name, module in root.named_modules()
        if id(module) in owners
    )
