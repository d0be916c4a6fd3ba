"""FLOPs of one dispatched op, with the formulas that PyTorch's counter lacks.

A multiply and an add are two FLOPs. Only matrix products, convolutions, attention and recurrent layers are counted, as PyTorch
does: pointwise work is bound by bytes. Attention is counted dense, whether causal or not, and 2:4-sparse products as dense ones,
so that one model has one figure on every device. ``torch.utils.flop_counter`` (2.13) counts nothing for what stands in ``OURS``.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch

from penstock.engine.measure import inside

Formula = Callable[[Sequence[Any], Mapping[str, Any], Any], int]
"""(args, kwargs, output) of the op as dispatched -> FLOPs."""

HEAVY = ("mm", "matmul", "conv", "attention", "attn", "linear", "lstm", "gru", "rnn", "einsum", "bilinear")
"""What a name looks like whose op should have a formula; without one it is reported as not counted."""
LIGHT = ("::mul", "comm", "prepack", "reorder", "backward", "quantize")
"""What only looks like it."""


def inner(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """``out = a @ b``, however b is packed: 2 x elements of the output x last dimension of the first operand."""
    return 2 * _elements(out) * _size(args[0])[-1]


def inner_second(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """``out = c + a @ b``: as ``inner``, with a as the second operand."""
    return 2 * _elements(out) * _size(args[1])[-1]


def dot(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """Inner product of two vectors."""
    return 2 * _elements(args[0])


def attention(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """``softmax(q_BHSD @ k_BHTD.mT) @ v_BHTE``; k and v may have fewer heads (grouped queries)."""
    batch, heads, queries, width = _size(args[0])
    keys = _size(args[1])[-2]
    return 2 * batch * heads * queries * keys * (width + _size(args[2])[-1])


def attention_bshd(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """Attention over ``q_BSHD``, the layout of the flash-attn package's own ops."""
    batch, queries, heads, width = _size(args[0])
    keys = _size(args[1])[1]
    return 2 * batch * heads * queries * keys * (width + _size(args[2])[-1])


def grouped(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """Products of groups (mixture of experts). ``a_TK b_GKN``: each row meets one group; ``a_MT b_TN``: groups split the T.

    ``a_GMK b_GKN`` and ``a_GMK b_KT`` count like plain products: each output element is one inner product.
    """
    a_size, b_size = _size(args[0]), _size(args[1])
    if len(a_size) == 2 and len(b_size) == 2:  # the groups' products together meet every column of a once
        return 2 * a_size[0] * a_size[1] * b_size[1]
    return inner(args, kwargs, out)


def convolution(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """``x_BC…`` with ``w_OI…`` (I is per group): 2 x elements of the output x elements of one filter."""
    return 2 * _elements(out) * prod(_size(args[1])[1:])


def convolution_third(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """As ``convolution``, with the weight third: before it stands what is added to the result."""
    return 2 * _elements(out) * prod(_size(args[2])[1:])


def convolution_transpose(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """``x_BC…`` with ``w_IO…`` (O is per group): 2 x elements of the input x elements of one filter."""
    return 2 * _elements(args[0]) * prod(_size(args[1])[1:])


def quantised_convolution(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """oneDNN's quantised convolution: (x, x scale, x zero point, w_OI…, …)."""
    return 2 * _elements(out) * prod(_size(args[3])[1:])


def recurrent_layer(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """One LSTM or GRU layer in one direction: (x_SBI, w_GI, w_GH, …), G = gates x hidden."""
    steps, batch, _width = _size(args[0])
    return 2 * steps * batch * (prod(_size(args[1])) + prod(_size(args[2])))


def recurrent_stack(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """All layers and directions: (x_SBI or x_BSI, [weights and biases], …). Each matrix meets each step once."""
    matrices = [weight for weight in args[1] if weight.dim() == 2]
    return 2 * prod(_size(args[0])[:2]) * sum(weight.numel() for weight in matrices)


OURS: dict[str, Formula] = {
    "aten::_scaled_dot_product_flash_attention_for_cpu": attention,
    "aten::_scaled_dot_product_fused_attention_overrideable": attention,
    "aten::_scaled_dot_product_attention_math_for_mps": attention,
    "aten::_cudnn_attention_forward": attention,
    "flash_attn::_flash_attn_forward": attention_bshd,
    "aten::linear": inner,
    "aten::mv": inner,
    "aten::addmv": inner_second,
    "aten::addmv_": inner_second,
    "aten::dot": dot,
    "aten::vdot": dot,
    "aten::_int_mm": inner,
    "aten::_addmm_activation": inner_second,
    "aten::_scaled_mm": inner,
    "aten::_scaled_mm_v2": inner,
    "aten::_grouped_mm": grouped,
    "aten::_scaled_grouped_mm": grouped,
    "aten::_scaled_grouped_mm_v2": grouped,
    "aten::_weight_int8pack_mm": inner,
    "aten::_weight_int4pack_mm": inner,
    "aten::_weight_int4pack_mm_for_cpu": inner,
    "aten::_dyn_quant_matmul_4bit": inner,
    "aten::_sparse_semi_structured_linear": inner,
    "aten::mkldnn_convolution": convolution,
    "aten::mkldnn_rnn_layer": recurrent_layer,
    "aten::miopen_convolution": convolution,
    "aten::_cudnn_rnn": recurrent_stack,
    "aten::miopen_rnn": recurrent_stack,
    "mkldnn::_linear_pointwise": inner,
    "mkldnn::_convolution_pointwise": convolution,
    "mkldnn::_convolution_pointwise.binary": convolution_third,
    "mkldnn::_convolution_pointwise_.binary": convolution_third,
    "mkldnn::_convolution_transpose_pointwise": convolution_transpose,
    "onednn::qlinear_pointwise": inner,
    "onednn::linear_dynamic_fp16": inner,
    "onednn::linear_relu_dynamic_fp16": inner,
    "onednn::qconv_pointwise": quantised_convolution,
    "onednn::qconv1d_pointwise": quantised_convolution,
    "onednn::qconv2d_pointwise": quantised_convolution,
    "onednn::qconv3d_pointwise": quantised_convolution,
}
"""By the op's qualified name, all overloads alike: ops of packages that are not installed cost nothing to name."""


def of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int | None:
    """FLOPs of one dispatched op; None where no formula is known, or it does not fit the call (``looks_heavy`` says whether one is missed).

    ``func`` is an ``OpOverload``; ``out`` what it returned (meta tensors do).
    """
    formula = OURS.get(inside.overload_of(func)) or OURS.get(inside.name_of(func))
    theirs = inside.library_formula(func)
    try:
        if formula is not None:
            return formula(args, kwargs, out)
        return None if theirs is None else int(theirs(*args, **kwargs, out_val=out))
    except (TypeError, ValueError, LookupError, AttributeError, AssertionError):
        return None  # called otherwise than the formula's author thought: by keywords, without what has a default


def looks_heavy(name: str) -> bool:
    """A qualified name (``torchao::da8w4_linear_cpu``) whose op surely computes products."""
    return any(part in name for part in HEAVY) and not any(part in name for part in LIGHT)


def _size(tensor: Any) -> tuple[int, ...]:
    return tuple(int(length) for length in tensor.shape)


def _elements(out: Any) -> int:
    first = out if isinstance(out, torch.Tensor) else out[0]
    return first.numel()
