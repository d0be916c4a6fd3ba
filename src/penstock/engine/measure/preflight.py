"""What a stage will cost on a card that is not here: counted on meta tensors, held against the card's peaks.

Two times are told. The *roofline* is a bound that no program can beat: the FLOPs at the card's peak, or weights, inputs and
outputs moved once, whichever is longer. The *eager* time is the same op by op, each reading and writing its own tensors: what
separate kernels take at best. Between them lies what fusing can gain; launches and idle time come on top of both.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from msgspec import Struct, field
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from penstock.engine.measure import counting, inside
from penstock.engine.measure.counting import OpCount
from penstock.engine.measure.records import Peaks
from penstock.engine.measure.syncs import Sync

LAUNCH_US = 5.0
"""Host time of one kernel launch; about this on current hosts. Eager PyTorch needs as much again and more for its dispatch."""
HALVES = (torch.bfloat16, torch.float16)
FLASH_WIDEST = 256
"""Head dimension up to which flash attention has a kernel (pytorch 2.13, sdp_utils)."""
FALLBACK = {"fp8": "bf16", "int8": "bf16", "tf32": "fp32", "fp64": "fp32", "bf16": "fp16"}
"""A type that a card has no units for is computed in the next wider one."""


class Part(Struct, frozen=True, kw_only=True):
    """One stage, counted once."""

    name: str
    calls: int
    parameters: int
    weight_bytes: int
    flops: int
    """Of one call; so are all that follow."""
    bytes: int
    """Read and written by separate ops."""
    least_bytes: int
    """Weights (without tables that are only looked up in), inputs and outputs, each once."""
    peak_bytes: int
    """The most that is alive at once, inputs included, weights not. Kernels' workspaces are not known."""
    ops: int
    """Each a kernel launch or more on a GPU."""
    flops_by_dtype: dict[str, int] = field(default_factory=dict)
    by_op: dict[str, OpCount] = field(default_factory=dict)
    by_module: dict[str, OpCount] = field(default_factory=dict)
    """By dotted name, what ran inside a module, its children included."""
    module_calls: dict[str, int] = field(default_factory=dict)
    uncounted: dict[str, int] = field(default_factory=dict)
    """Ops without a FLOP formula: the FLOPs are too low by them."""
    syncs: tuple[Sync, ...] = ()
    """Reads that stop the host."""


def count(name: str, call: Callable[[], Any], modules: Mapping[str, nn.Module], *, calls: int = 1) -> Part:
    """Run ``call`` once on meta tensors and count it. Attention is taken to run fused, as it does on every card of the sheets."""
    weights = {id(p): p for part in modules.values() for p in (*part.parameters(), *part.buffers())}
    parameters = {id(p): p for part in modules.values() for p in part.parameters()}
    live = Live([*weights.values()])
    kept: list[Any] = []
    with FusedAttention(), live:
        counts = counting.count(lambda: kept.append(call()), modules=modules, device="meta")
    outputs = {inside.storage_key(t): t for t in tree_leaves(kept) if isinstance(t, Tensor)}
    moved_once = _read_whole(modules) + live.input_bytes + sum(_storage_bytes(t) for t in outputs.values())
    return Part(
        name=name,
        calls=calls,
        parameters=sum(p.numel() for p in parameters.values()),
        weight_bytes=weight_bytes(modules),
        flops=counts.flops,
        bytes=counts.bytes,
        least_bytes=moved_once,
        peak_bytes=live.peak_bytes,
        ops=counts.ops,
        flops_by_dtype=counts.flops_by_dtype,
        by_op=counts.by_op,
        by_module=counts.by_module,
        module_calls=counts.calls,
        uncounted=counts.uncounted,
        syncs=counts.syncs,
    )


def weight_bytes(modules: Mapping[str, nn.Module]) -> int:
    """Of all parameters and buffers, what is shared counted once."""
    held = {
        inside.storage_key(p): p for part in modules.values() for p in (*part.parameters(), *part.buffers())
    }
    return sum(_storage_bytes(p) for p in held.values())


def _read_whole(modules: Mapping[str, nn.Module]) -> int:
    """Weights that are read from end to end: not an embedding's table, unless a product shares it (a tied head)."""
    every = [inner for part in modules.values() for inner in part.modules()]
    tables = {
        inside.storage_key(inner.weight)
        for inner in every
        if isinstance(inner, nn.Embedding | nn.EmbeddingBag)
    }
    read = {
        inside.storage_key(p): p
        for inner in every
        if not isinstance(inner, nn.Embedding | nn.EmbeddingBag)
        for p in inner.parameters(recurse=False)
    }
    tied = tables & set(read)
    return sum(_storage_bytes(p) for key, p in read.items() if key not in tables or key in tied)


def _storage_bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


class Live(TorchDispatchMode):
    """The most bytes that are alive at once during a call, by storages, on meta tensors as on real ones. Weights are left out."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] - torch leaves a parameter untyped
        self._weights = {inside.storage_key(w) for w in weights}
        self._alive: dict[int, tuple[inside.Held, int]] = {}
        self._now = 0
        self.peak_bytes = 0
        self.input_bytes = 0
        """Of tensors that were there before the call, and were used by it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One op: its inputs are alive beside its outputs."""
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor) and tensor.device.type == "meta":
                self.input_bytes += self._add(tensor)
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.device.type == "meta":
                self._add(tensor)
        self.peak_bytes = max(self.peak_bytes, self._now)
        return out

    def _add(self, tensor: Tensor) -> int:
        """Bytes that were not known to be alive."""
        key = inside.storage_key(tensor)
        if key in self._weights:
            return 0
        held = self._alive.get(key)
        if held is not None and not held[0].gone:
            return 0
        self._sweep()
        size = _storage_bytes(tensor)
        self._alive[key] = (inside.hold(tensor), size)
        self._now += size
        return size

    def _sweep(self) -> None:
        for key in [key for key, (held, _size) in self._alive.items() if held.gone]:
            self._now -= self._alive.pop(key)[1]


class FusedAttention(TorchFunctionMode):
    """Attention as a GPU would run it: flash where it can, memory-efficient otherwise. On meta PyTorch takes the math route."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every call of PyTorch's; all but attention go through."""
        if func is torch.nn.functional.scaled_dot_product_attention:
            return fused_attention(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``scaled_dot_product_attention`` on meta tensors, B x H x S x D, as one op."""
    aten: Any = torch.ops.aten
    if query.device.type != "meta" or query.dim() != 4:
        given = {"attn_mask": attn_mask, "dropout_p": dropout_p, "is_causal": is_causal, "scale": scale}
        return aten.scaled_dot_product_attention(query, key, value, enable_gqa=enable_gqa, **given)
    if attn_mask is None and query.dtype in HALVES and query.shape[-1] <= FLASH_WIDEST:
        return aten._scaled_dot_product_flash_attention(  # noqa: SLF001 - the op that PyTorch itself chooses
            query, key, value, dropout_p, is_causal, False, scale=scale
        )[0]
    groups = query.shape[1] // key.shape[1]
    if groups > 1:  # this kernel does not share heads: PyTorch repeats them for it
        key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
    return aten._scaled_dot_product_efficient_attention(  # noqa: SLF001 - as above
        query, key, value, attn_mask, False, dropout_p, is_causal, scale=scale
    )[0]


def peak_flops_per_s(peaks: Peaks, dtype: str) -> float:
    """The card's rate for a type, or for the wider one that it is computed in. 0.0 where none is known."""
    asked: str | None = dtype
    while asked is not None:
        if asked in peaks.flops_per_s:
            return peaks.flops_per_s[asked]
        asked = FALLBACK.get(asked)
    return 0.0


def _compute_s(flops_by_dtype: Mapping[str, int], peaks: Peaks) -> float:
    total = 0.0
    for dtype, flops in flops_by_dtype.items():
        rate = peak_flops_per_s(peaks, dtype)
        total += flops / rate if rate else 0.0
    return total


def roofline_ms(part: Part, peaks: Peaks) -> float:
    """One call of the stage at best, however it is written."""
    return 1e3 * max(_compute_s(part.flops_by_dtype, peaks), part.least_bytes / peaks.bytes_per_s)


def eager_ms(part: Part, peaks: Peaks) -> float:
    """One call of the stage as separate ops, each at its own roof."""
    return sum(op_ms(part, name, peaks) for name in part.by_op)


def op_ms(part: Part, name: str, peaks: Peaks) -> float:
    """All of a stage's ops of one name, in one call, at their roof."""
    sums = part.by_op[name]
    share = sums.flops / part.flops if part.flops else 0.0  # an op's own dtype is the stage's, or nearly
    return 1e3 * max(share * _compute_s(part.flops_by_dtype, peaks), sums.bytes / peaks.bytes_per_s)


def separate_ms(part: Part, sums: OpCount, peaks: Peaks) -> float:
    """Some of a stage's ops, at the roof of their sum."""
    share = sums.flops / part.flops if part.flops else 0.0
    return 1e3 * max(share * _compute_s(part.flops_by_dtype, peaks), sums.bytes / peaks.bytes_per_s)


def bound(part: Part, peaks: Peaks) -> str:
    """``compute`` or ``memory``: which of the two makes the roofline. ``overhead`` where launching alone takes longer than eager."""
    if part.ops * LAUNCH_US / 1e3 > eager_ms(part, peaks):
        return "overhead"
    return (
        "compute"
        if _compute_s(part.flops_by_dtype, peaks) >= part.least_bytes / peaks.bytes_per_s
        else "memory"
    )
