"""Bytes that one dispatched op reads and writes, and whether it is a view, free, or pointwise. No state: op and tensors in, figures out."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from msgspec import Struct
from torch.utils._pytree import tree_leaves

from penstock.engine.measure import inside

VIEWS = {
    "aten::_unsafe_view",
    "aten::detach",
    "aten::detach_",
    "aten::lift_fresh",
    "aten::alias",
    "aten::_reshape_alias",
}
"""Metadata only, though their schema does not say so."""
FREE = {
    "aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty", "aten::new_empty_strided", "aten::resize_",
    "aten::set_", "aten::is_same_size", "aten::record_stream", "aten::_assert_async", "aten::is_pinned", "aten::_has_compatible_shallow_copy_type",
    "aten::sym_size", "aten::sym_stride", "aten::sym_numel", "aten::sym_storage_offset", "aten::dim", "aten::size", "aten::stride",
    "aten::numel", "aten::is_contiguous", "aten::sym_is_contiguous", "aten::_local_scalar_dense", "profiler::_record_function_enter_new",
    "profiler::_record_function_exit",
}  # fmt: skip
"""No kernel over memory: allocations, questions, and the read of a single number."""
POINTWISE = {
    "_to_copy",
    "copy_",
    "masked_fill",
    "masked_fill_",
    "fill_",
    "zero_",
    "where",
    "clone",
    "native_dropout",
}
"""One thread an element, though PyTorch's tag is missing; a copy counts only on one device."""
GATHERS = {
    "aten::embedding",
    "aten::index_select",
    "aten::gather",
    "aten::index",
    "aten::take",
    "aten::_unsafe_index",
}
"""Read of their first operand only as many elements as they write."""
SCATTERS = {
    "aten::index_put_",
    "aten::_index_put_impl_",
    "aten::index_copy_",
    "aten::scatter_",
    "aten::index_add_",
}
"""Write of their first operand only what they are given."""
OVERWRITES = {"aten::copy_", "aten::fill_", "aten::zero_", "aten::normal_", "aten::uniform_", "aten::random_"}
"""Do not read what they write over."""
DTYPES = {
    torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16", torch.float16: "fp16", torch.int8: "int8", torch.uint8: "int8",
    torch.float8_e4m3fn: "fp8", torch.float8_e5m2: "fp8", torch.float8_e4m3fnuz: "fp8", torch.float8_e5m2fnuz: "fp8",
}  # fmt: skip
"""As ``Peaks.flops_per_s`` names them."""


class Moved(Struct, kw_only=True):
    """Tensors of one op with the bytes it moves of each."""

    reads: list[tuple[torch.Tensor, int]]
    writes: list[tuple[torch.Tensor, int]]
    outputs: list[torch.Tensor]

    @property
    def total_bytes(self) -> int:
        """In and out."""
        return sum(size for _tensor, size in (*self.reads, *self.writes))

    @property
    def first(self) -> torch.Tensor | None:
        """The first operand: its type decides which peak the FLOPs are held against."""
        return self.reads[0][0] if self.reads else None


def is_view(func: Any) -> bool:
    """Whether an ``OpOverload`` only describes memory anew."""
    return func.is_view or inside.name_of(func) in VIEWS


def is_free(func: Any) -> bool:
    """Whether it moves nothing worth counting."""
    return inside.name_of(func) in FREE


def is_pointwise(func: Any) -> bool:
    """Whether each output element depends on one element of each input."""
    return torch.Tag.pointwise in func.tags or inside.name_of(func).removeprefix("aten::") in POINTWISE


def of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> Moved:
    """What ``func`` moved. Expanded tensors count their own elements only; gathers what they pick, scatters what they put."""
    name = inside.name_of(func)
    inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and has_storage(t)]
    outputs = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor) and has_storage(t)]
    written = sum(bytes_of(t) for t in outputs)
    reads: list[tuple[torch.Tensor, int]] = []
    for position, tensor in enumerate(inputs):
        size = bytes_of(tensor)
        if position == 0 and name in GATHERS:
            size = min(size, written)
        elif position == 0 and (name in OVERWRITES or name in SCATTERS):
            continue
        reads.append((tensor, size))
    if name in SCATTERS:
        given = max((bytes_of(t) for t in inputs[1:]), default=0)
        return Moved(reads=reads, writes=[(t, min(bytes_of(t), given)) for t in outputs], outputs=outputs)
    return Moved(reads=reads, writes=[(t, bytes_of(t)) for t in outputs], outputs=outputs)


def bytes_of(tensor: torch.Tensor) -> int:
    """Bytes of the elements that exist: a dimension of stride 0 is one element that is read again and again."""
    if tensor.numel() == 0:
        return 0
    elements = prod(
        length for length, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride != 0
    )
    return int(elements) * tensor.element_size()


def has_storage(tensor: torch.Tensor) -> bool:
    """Plain strided tensors have; sparse and oneDNN's opaque ones do not say."""
    return tensor.layout is torch.strided


def dtype_name(tensor: torch.Tensor | None) -> str:
    """``bf16`` and so on; torch's own name where we have none."""
    if tensor is None:
        return ""
    return DTYPES.get(tensor.dtype, str(tensor.dtype).removeprefix("torch."))
