"""What a workload's modules are made of, without running them: weights, layout, quantisation, what is compiled."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from msgspec import Struct
from torch import nn
from torch._dynamo.eval_frame import OptimizedModule

from penstock.engine.measure.seen import CompiledPlace, Convs, Part, Quantised, Tiling
from penstock.engine.workloads.workload import Workload

CONVS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


class Place(Struct, frozen=True):
    """A compiled thing, with the live object."""

    owner: Any
    """The module as the user's code holds it; of a compiled method, its module."""
    method: str
    """``forward``, or the compiled method."""
    path: str
    kind: str

    def record(self, forward_calls: int | None = None, others: dict[str, int] | None = None) -> CompiledPlace:
        """As evidence."""
        return CompiledPlace(
            path=self.path,
            kind=self.kind,
            class_name=type(inside_of(self.owner)).__name__,
            forward_calls=forward_calls,
            others=others or {},
            stepped_over=self.kind == "in-place" and all(built_in(child) for child in self.owner.modules()),
            function=code_of(getattr(inside_of(self.owner), self.method)),
        )


def own(thing: object) -> dict[str, Any]:
    """An object's own attributes. TypeError for one that has no ``__dict__``."""
    return vars(thing)


def inside_of(module: Any) -> Any:
    """The user's module, of ``torch.compile(module)`` too."""
    return own(module)["_modules"]["_orig_mod"] if isinstance(module, OptimizedModule) else module


def in_place(module: Any) -> bool:
    """``module.compile()`` was called."""
    return own(module).get("_compiled_call_impl") is not None


def code_of(function: Any) -> str:
    """``/path/unet.py:118`` of a function or method, through wrappers; empty for one that is not Python."""
    original = getattr(function, "_torchdynamo_orig_callable", function)
    code = getattr(inspect.unwrap(getattr(original, "__func__", original)), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def path_of(workload: Workload, name: str) -> str:
    """How the user's code reaches a part: ``pipe.unet``; ``model`` for the root itself."""
    if workload.modules().get(name) is workload.root:
        return "model"
    return f"{'pipe' if workload.kind == 'pipeline' else 'model'}.{name}"


def is_autoencoder(module: Any) -> bool:
    """Has ``encode`` and ``decode``, as diffusers' autoencoders do."""
    return callable(getattr(module, "encode", None)) and callable(getattr(module, "decode", None))


def places(workload: Workload) -> dict[str, list[Place]]:
    """By part: what is compiled in it, outermost only - a graph takes in what it calls."""
    found: dict[str, list[Place]] = {}
    for name, module in workload.modules().items():
        found[name] = list(_places(module, path_of(workload, name)))
    return found


def _places(module: Any, path: str) -> Iterator[Place]:
    if isinstance(module, OptimizedModule):
        yield Place(module, "forward", path, "module")
        yield from _methods(inside_of(module), path)
        return
    if in_place(module):
        yield Place(module, "forward", path, "in-place")
        yield from _methods(module, path)
        return
    methods = list(_methods(module, path))
    yield from methods
    if any(place.method == "forward" for place in methods):
        return
    for name, child in module.named_children():
        yield from _places(child, f"{path}[{name}]" if name.isdigit() else f"{path}.{name}")


def _methods(module: Any, path: str) -> Iterator[Place]:
    for name, value in own(module).items():
        if not name.startswith("_") and not isinstance(value, nn.Module) and compiled_function(value):
            yield Place(module, name, f"{path}.{name}", "method")


def built_in(module: nn.Module) -> bool:
    """Its ``forward`` is PyTorch's own code."""
    return type(module).forward.__module__.startswith("torch.nn.")


def compiled_function(value: Any) -> bool:
    """What ``torch.compile(function)`` returns."""
    return callable(value) and hasattr(value, "_torchdynamo_orig_callable")


def part(workload: Workload, name: str, compiled: Sequence[Place]) -> Part:
    """One part as it rests."""
    held: Any = workload.modules()[name]
    module = inside_of(held)
    weights = list(module.parameters())
    dtypes = Counter[str]()
    for weight in weights:
        if weight.is_floating_point():
            dtypes[str(weight.dtype).removeprefix("torch.")] += weight.numel()
    upcast = getattr(getattr(module, "config", None), "force_upcast", None)
    parameters = sum(weight.numel() for weight in weights)
    return Part(
        name=name,
        path=path_of(workload, name),
        class_name=type(module).__name__,
        autoencoder=is_autoencoder(module),
        device=str(weights[0].device) if weights else workload.device,
        dtype=dtypes.most_common(1)[0][0] if dtypes else "",
        force_upcast=None if upcast is None else bool(upcast),
        parameters=parameters,
        weight_bytes=sum(_bytes(weight) for weight in [*weights, *module.buffers()]),
        convs=_convs(module, parameters, compiled),
        quantised=_quantised(module, compiled),
        compiled=tuple(place.record() for place in compiled),
        built_in=built_in(module),
        repeated_blocks=bool(getattr(module, "_repeated_blocks", None)),
        tiling=_tiling(module),
    )


def _bytes(weight: torch.Tensor) -> int:
    """Of a quantised weight, its inner tensors': the outer one tells the size it stands for."""
    flatten: Callable[[], Any] | None = getattr(weight, "__tensor_flatten__", None)
    if flatten is None:
        return weight.numel() * weight.element_size()
    names: list[str] = flatten()[0]
    return sum(_bytes(getattr(weight, name)) for name in names)


def _covered(compiled: Sequence[Place]) -> set[int]:
    """Modules in compiled regions, by identity."""
    return {id(child) for place in compiled for child in inside_of(place.owner).modules()}


def _convs(module: nn.Module, parameters: int, compiled: Sequence[Place]) -> Convs:
    weights = [child.weight for child in module.modules() if isinstance(child, CONVS)]
    size = sum(weight.numel() for weight in weights)
    images = [weight.dim() - 2 for weight in _laid_out(module, compiled)]
    return Convs(
        count=len(weights),
        contiguous=len(channels_first(module, compiled)),
        parameter_share=size / parameters if parameters else 0.0,
        dims=max([2, *images]),
    )


def channels_first(module: nn.Module, compiled: Sequence[Place]) -> list[torch.Tensor]:
    """Weights of convolutions that are not channels-last and could be."""
    return [
        weight
        for weight in _laid_out(module, compiled)
        if not weight.is_contiguous(memory_format=last_of(weight))
    ]


def last_of(weight: torch.Tensor) -> torch.memory_format:
    """The layout that a convolution's weight has channels-last."""
    return torch.channels_last if weight.dim() == 4 else torch.channels_last_3d


def _laid_out(module: nn.Module, compiled: Sequence[Place]) -> list[torch.Tensor]:
    """Weights of convolutions with two or three dimensions of space, outside compiled regions: there Inductor lays them out."""
    covered = _covered(compiled)
    return [
        child.weight
        for child in module.modules()
        if isinstance(child, CONVS) and child.weight.dim() in (4, 5) and id(child) not in covered
    ]


def quantised_weight(weight: Any) -> bool:
    """A tensor class of torchao's, or any other that wraps a quantised one."""
    return any(cls.__module__.split(".")[0] == "torchao" for cls in type(weight).__mro__)


def _quantised(module: nn.Module, compiled: Sequence[Place]) -> Quantised:
    covered = _covered(compiled)
    weights = uncompiled = 0
    names = Counter[str]()
    for child in module.modules():
        for weight in child.parameters(recurse=False):
            if quantised_weight(weight):
                weights += 1
                uncompiled += id(child) not in covered
                names[type(weight).__name__] += 1
    return Quantised(
        weights=weights, uncompiled=uncompiled, type_name=names.most_common(1)[0][0] if names else ""
    )


def _tiling(module: Any) -> Tiling | None:
    if not is_autoencoder(module) or not hasattr(module, "use_tiling"):
        return None
    return Tiling(tiling=bool(module.use_tiling), slicing=bool(getattr(module, "use_slicing", False)))
