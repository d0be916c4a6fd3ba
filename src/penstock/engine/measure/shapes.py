"""FLOPs and bytes of an op from the shapes in a trace (``record_shapes=True``). Needs no torch.

A multiply-add counts as 2 FLOPs, as in PyTorch's counter. Bytes are what the op must read and write at least once, each tensor
whole. What is not known is None, never 0.
"""

import math
from functools import lru_cache
from typing import cast

import msgspec
from msgspec import Struct

from penstock.engine.measure import ops
from penstock.engine.measure.timeline import Span

WIDTH_BYTES = {
    "float": 4, "double": 8, "c10::Half": 2, "c10::BFloat16": 2, "long int": 8, "long": 8, "int": 4, "short": 2,
    "signed char": 1, "unsigned char": 1, "bool": 1, "c10::complex<float>": 8, "c10::complex<double>": 16,
    "c10::Float8_e4m3fn": 1, "c10::Float8_e5m2": 1, "c10::Float8_e4m3fnuz": 1, "c10::Float8_e5m2fnuz": 1,
}  # fmt: skip
"""C++ name of a tensor's element, as Kineto writes it -> bytes."""
DTYPES = {
    "float": "fp32", "double": "fp64", "c10::Half": "fp16", "c10::BFloat16": "bf16", "signed char": "int8",
    "c10::Float8_e4m3fn": "fp8", "c10::Float8_e5m2": "fp8", "c10::Float8_e4m3fnuz": "fp8", "c10::Float8_e5m2fnuz": "fp8",
}  # fmt: skip
"""-> the name of a peak in ``Peaks.flops_per_s``."""
CONVOLUTIONS: dict[str, tuple[int, int, int]] = {
    "convolution": (3, 4, 5), "_convolution": (3, 4, 5), "conv1d": (3, 4, 5), "conv2d": (3, 4, 5), "conv3d": (3, 4, 5),
    "convolution_overrideable": (3, 4, 5), "cudnn_convolution": (3, 2, 4), "miopen_convolution": (4, 3, 5),
    "miopen_depthwise_convolution": (4, 3, 5), "mkldnn_convolution": (4, 3, 5), "thnn_conv2d": (4, 5, -1),
    "_slow_conv2d_forward": (4, 5, -1), "slow_conv3d": (4, 5, -1), "slow_conv3d_forward": (4, 5, -1),
    "slow_conv_dilated2d": (4, 5, 6), "slow_conv_dilated3d": (4, 5, 6), "_conv_depthwise2d": (4, 5, 6),
}  # fmt: skip
"""Op -> the places of stride, padding and dilation among its inputs; -1 where it takes none."""
TRANSPOSED: dict[str, tuple[int, int, int, int, int]] = {
    "convolution": (3, 4, 7, 5, 8), "_convolution": (3, 4, 7, 5, 8), "convolution_overrideable": (3, 4, 7, 5, 8),
    "conv_transpose1d": (3, 4, 5, 7, 6), "conv_transpose2d": (3, 4, 5, 7, 6), "conv_transpose3d": (3, 4, 5, 7, 6),
    "slow_conv_transpose2d": (4, 5, 6, 7, -1), "slow_conv_transpose3d": (4, 5, 6, 7, -1),
    "cudnn_convolution_transpose": (4, 2, 3, 5, 6), "miopen_convolution_transpose": (5, 3, 4, 6, 7),
}  # fmt: skip
"""Transposed: the places of stride, padding, output padding, dilation and groups; -1 where it takes none (one group)."""
SAME_SIZE = frozenset(
    (
        "native_layer_norm",
        "native_group_norm",
        "_softmax",
        "_log_softmax",
        "_safe_softmax",
        "native_batch_norm",
    )
)
"""Not pointwise, but their result is as large as their largest input, and each is read and written once at least."""
REDUCTIONS = frozenset(("sum", "mean", "var", "var_mean", "std", "amax", "amin", "argmax", "any", "all"))
"""Their result is taken for nothing beside what they read."""
WITH_BIAS_FIRST = ("addmm", "baddbmm", "addbmm", "addmv")
ATTENTIONS = frozenset(name for name in ops.FUSED_ATTENTION if name.startswith("_scaled_dot_product")) | {
    "scaled_dot_product_attention",
}
"""Those that take (batch, heads, length, size); the innermost ones have length and heads the other way round. The math backend
is none: the products inside it are counted themselves."""


class Tensor(Struct, frozen=True):
    """An input as recorded. ``dtype`` is the C++ name."""

    dims: tuple[int, ...]
    dtype: str

    @property
    def numel(self) -> int:
        """How many elements."""
        return math.prod(self.dims)

    @property
    def nbytes(self) -> int:
        """How many bytes, if it is dense."""
        return self.numel * WIDTH_BYTES.get(self.dtype, 0)


class Cost(Struct, frozen=True):
    """What an op does and moves."""

    flops: int | None = None
    bytes: int | None = None
    dtype: str = ""
    """Of its arithmetic, as ``Peaks`` names it; empty where it is none of those."""


def tensors(op: Span) -> tuple[Tensor | None, ...]:
    """The op's inputs in order; None for what is no tensor (or a list of them). Empty where shapes were not recorded."""
    if op.args is None:
        return ()
    return _tensors(bytes(op.args.dims), bytes(op.args.types))


@lru_cache(maxsize=8192)
def _tensors(dims_json: bytes, types_json: bytes) -> tuple[Tensor | None, ...]:
    """A run repeats its shapes: each is decoded once."""
    if not dims_json or not types_json:
        return ()
    try:
        dims: object = msgspec.json.decode(dims_json)
        types: object = msgspec.json.decode(types_json)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ()
    if not isinstance(dims, list) or not isinstance(types, list):
        return ()
    found: list[Tensor | None] = []
    for shape, kind in zip(cast("list[object]", dims), cast("list[object]", types), strict=False):
        known = isinstance(kind, str) and kind in WIDTH_BYTES and isinstance(shape, list)
        sizes = cast("list[object]", shape) if isinstance(shape, list) else []
        if known and all(isinstance(size, int) and 0 <= size < 1 << 40 for size in sizes):
            found.append(Tensor(tuple(cast("list[int]", sizes)), str(kind)))
        else:
            found.append(None)
    return tuple(found)


@lru_cache(maxsize=8192)
def _inputs(text: bytes) -> tuple[str, ...]:
    """The scalar arguments in order, as text; empty where they were not recorded."""
    try:
        found: object = msgspec.json.decode(text) if text else []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ()
    listed = cast("list[object]", found) if isinstance(found, list) else []
    return tuple(value if isinstance(value, str) else "" for value in listed)


def cost(op: Span) -> Cost | None:
    """FLOPs and bytes of one call; None where nothing is known of it."""
    if op.args is None or not op.name.startswith("aten::"):
        return None
    return _cost(ops.short(op.name), tensors(op), _inputs(bytes(op.args.inputs)))


@lru_cache(maxsize=8192)
def _cost(name: str, given: tuple[Tensor | None, ...], said: tuple[str, ...]) -> Cost | None:
    if not given:
        return None
    if name in ops.MATMULS:
        return _matmul(name, given)
    if name in TRANSPOSED and (name not in CONVOLUTIONS or said[6:7] == ("True",)):
        return _transposed(name, given, said)
    if name in CONVOLUTIONS:
        return _convolution(name, given, said)
    if name in ATTENTIONS:
        return _attention(given)
    if name in ops.POINTWISE or name in SAME_SIZE:
        return _pointwise(name, given)
    if name in REDUCTIONS and given[0] is not None:
        return Cost(None, given[0].nbytes)
    return None


class Matmul(Struct, frozen=True):
    """Elements of a matmul's two sides and of its result."""

    left: int
    right: int
    result: int
    inner: int
    dtype: str


def matmul(op: Span) -> Matmul | None:
    """The sizes of a matmul's op; None where they are not known or do not fit."""
    return _sizes(ops.short(op.name), tensors(op))


def _sizes(name: str, given: tuple[Tensor | None, ...]) -> Matmul | None:
    first = 1 if name in WITH_BIAS_FIRST else 0
    pair = given[first : first + 2]
    if len(pair) < 2 or pair[0] is None or pair[1] is None or not pair[0].dims or not pair[1].dims:
        return None
    a, b = pair[0], pair[1]
    inner = a.dims[-1]
    if name == "linear":
        columns, theirs = b.dims[0], b.numel // max(b.dims[0], 1)
    elif len(b.dims) > 1:
        columns, theirs = b.dims[-1], b.dims[-2]
    else:
        columns, theirs = 1, b.numel
    if inner == 0 or inner != theirs:
        return None
    rows = a.numel // inner
    if name == "matmul" and len(b.dims) > 2 >= len(a.dims):
        rows *= math.prod(b.dims[:-2])
    return Matmul(a.numel, b.numel, rows * columns, inner, a.dtype)


def _matmul(name: str, given: tuple[Tensor | None, ...]) -> Cost | None:
    sizes = _sizes(name, given)
    if sizes is None:
        return None
    width = WIDTH_BYTES[sizes.dtype]
    others = sum(tensor.nbytes for tensor in given if tensor is not None)
    return Cost(2 * sizes.result * sizes.inner, others + sizes.result * width, DTYPES.get(sizes.dtype, ""))


def _numbers(value: str) -> list[int]:
    """``"[1, 1]"`` -> [1, 1]; empty where it is no such list."""
    try:
        return msgspec.json.decode(value.encode(), type=list[int])
    except msgspec.MsgspecError:
        return []


def _convolution(name: str, given: tuple[Tensor | None, ...], said: tuple[str, ...]) -> Cost | None:
    """From input and weight; stride, padding and dilation are found by place, which differs by op."""
    if len(given) < 2 or given[0] is None or given[1] is None:
        return None
    x, weight = given[0], given[1]
    space = len(x.dims) - 2
    if space < 1 or len(weight.dims) != len(x.dims):
        return None
    stride, padding, dilation = (
        _numbers(said[at]) if 0 <= at < len(said) else [1] * space for at in CONVOLUTIONS[name]
    )
    if not len(stride) == len(padding) == len(dilation) == space or 0 in stride:
        return None
    out = [
        (x.dims[2 + i] + 2 * padding[i] - dilation[i] * (weight.dims[2 + i] - 1) - 1) // stride[i] + 1
        for i in range(space)
    ]
    elements = x.dims[0] * weight.dims[0] * math.prod(out)
    if min(out) < 1:
        return None
    flops = 2 * elements * math.prod(weight.dims[1:])
    return Cost(flops, x.nbytes + weight.nbytes + elements * WIDTH_BYTES[x.dtype], DTYPES.get(x.dtype, ""))


def _transposed(name: str, given: tuple[Tensor | None, ...], said: tuple[str, ...]) -> Cost | None:
    """From input and weight (in, out / groups, …): each element of the input meets all of the weight that is of its channel."""
    if len(given) < 2 or given[0] is None or given[1] is None:
        return None
    x, weight = given[0], given[1]
    space = len(x.dims) - 2
    if space < 1 or len(weight.dims) != len(x.dims):
        return None
    *places, at_groups = TRANSPOSED[name]
    stride, padding, more, dilation = (_numbers(said[at]) if at < len(said) else [] for at in places)
    if not len(stride) == len(padding) == len(more) == len(dilation) == space:
        return None
    groups = said[at_groups] if 0 <= at_groups < len(said) else "1"
    out = [
        (x.dims[2 + i] - 1) * stride[i]
        - 2 * padding[i]
        + dilation[i] * (weight.dims[2 + i] - 1)
        + more[i]
        + 1
        for i in range(space)
    ]
    if not groups.isdecimal() or min(out) < 1:
        return None
    elements = x.dims[0] * weight.dims[1] * int(groups) * math.prod(out)
    flops = 2 * x.numel * math.prod(weight.dims[1:])
    return Cost(flops, x.nbytes + weight.nbytes + elements * WIDTH_BYTES[x.dtype], DTYPES.get(x.dtype, ""))


def _attention(given: tuple[Tensor | None, ...]) -> Cost | None:
    """Queries, keys and values as (..., length, head size): two matmuls; a causal mask is not taken off."""
    if len(given) < 3 or any(t is None or len(t.dims) != 4 for t in given[:3]):
        return None
    q, k, v = (cast("Tensor", t) for t in given[:3])
    batch, length, size = math.prod(q.dims[:-2]), q.dims[-2], q.dims[-1]
    flops = 2 * batch * length * k.dims[-2] * (size + v.dims[-1])
    out = batch * length * v.dims[-1] * WIDTH_BYTES[q.dtype]
    return Cost(flops, q.nbytes + k.nbytes + v.nbytes + out, DTYPES.get(q.dtype, ""))


def _pointwise(name: str, given: tuple[Tensor | None, ...]) -> Cost | None:
    """One FLOP an element is not counted (PyTorch's counter gives 0); the bytes are what such ops cost."""
    read = [tensor for tensor in given if tensor is not None]
    if not read:
        return None
    largest = max(read, key=lambda tensor: tensor.numel)
    if name == "copy_":
        return Cost(None, sum(tensor.nbytes for tensor in read[:2]), "")
    return Cost(None, sum(tensor.nbytes for tensor in read) + largest.nbytes, "")
