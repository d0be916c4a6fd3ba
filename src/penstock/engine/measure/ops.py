"""What PyTorch's ops are, by name: views and allocations that run nothing, pointwise ops, reductions. Needs no torch.

On a CPU the ops are the kernels; ``kernel_ops`` says which of a thread's nested ops did the work.
"""

from collections.abc import Sequence

VIEWS = frozenset(
    [
        "t",
        "transpose",
        "permute",
        "view",
        "_unsafe_view",
        "_reshape_alias",
        "reshape",  # where it has to copy, the copy is an op inside it
        "as_strided",
        "as_strided_",
        "expand",
        "expand_as",
        "slice",
        "select",
        "unsqueeze",
        "squeeze",
        "unsqueeze_",
        "squeeze_",
        "narrow",
        "chunk",
        "split",
        "split_with_sizes",
        "unsafe_split",
        "unsafe_chunk",
        "unbind",
        "unflatten",
        "flatten",
        "detach",
        "detach_",
        "alias",
        "resolve_conj",
        "resolve_neg",
        "view_as",
        "unfold",
        "diagonal",
        "real",
        "imag",
        "movedim",
        "swapaxes",
        "swapdims",
        "numpy_T",
        "mT",
        "mH",
        "adjoint",
        "lift_fresh",
        "broadcast_to",
        "broadcast_tensors",
        "tensor_split",
        "result_type",
        "set_",
        "view_as_real",
        "view_as_complex",
        "transpose_",
        "hsplit",
        "vsplit",
        "dsplit",
        "ravel",
        "atleast_1d",
        "atleast_2d",
        "atleast_3d",
        "meshgrid",
    ]
)
"""Ops that change how memory is read and run no kernel."""
COMPOSITE = frozenset(
    [
        "reshape",
        "to",
        "contiguous",
        "type_as",
        "dropout",
        "feature_dropout",
        "alpha_dropout",
        "conj",
        "_conj",
        "lift",
        "positive",
        "requires_grad_",
        "cpu",
        "cuda",
        "linear",
        "matmul",
        "conv1d",
        "conv2d",
        "conv3d",
        "layer_norm",
        "group_norm",
        "softmax",
    ]
)
"""Ops that leave the work to ops inside them; without any inside they did nothing (``to`` the dtype it had, dropout in eval)."""
ALLOCATIONS = frozenset(
    [
        "empty",
        "empty_like",
        "empty_strided",
        "empty_permuted",
        "new_empty",
        "new_empty_strided",
        "resize_",
        "resize_as_",
        "_nnpack_available",
        "is_nonzero",
        "item",
        "_local_scalar_dense",
        "can_cast",
        "promote_types",
        "record_stream",
        "is_same_size",
        "_has_compatible_shallow_copy_type",
        "_fused_sdp_choice",
        "sym_size",
        "sym_numel",
        "size",
        "stride",
    ]
)
"""Ops that reserve memory or ask a question."""
WITH_HELPERS = frozenset(
    [
        "addmm",
        "searchsorted",
        "mm",
        "bmm",
        "baddbmm",
        "addbmm",
        "mv",
        "addmv",
        "dot",
        "linalg_vector_norm",
        "native_layer_norm",
        "native_group_norm",
        "native_batch_norm",
        "_softmax",
        "_log_softmax",
        "sum",
        "mean",
        "var",
        "var_mean",
        "std",
        "cumsum",
        "mkldnn_convolution",
        "slow_conv_dilated2d",
        "slow_conv_dilated3d",
        "_slow_conv2d_forward",
        "slow_conv3d_forward",
        "slow_conv_transpose2d",
        "slow_conv_transpose3d",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_flash_attention_forward",
        "index_select",
        "index",
        "index_put_",
        "embedding",
        "upsample_nearest2d",
        "cat",
        "stack",
        "_int_mm",
        "_scaled_mm",
        "_weight_int8pack_mm",
        "_weight_int4pack_mm",
        "sort",
        "topk",
        "argmax",
        "any",
        "all",
        "randn",
        "normal_",
        "arange",
        "where",
        "gather",
        "scatter",
        "max_pool2d_with_indices",
        "avg_pool2d",
        "adaptive_avg_pool2d",
        "fill_",
    ]
)
"""Ops that are one kernel although small ops run inside them (a bias copied for ``addmm``, an output filled)."""
POINTWISE = frozenset(
    [
        "add",
        "add_",
        "sub",
        "sub_",
        "rsub",
        "mul",
        "mul_",
        "div",
        "div_",
        "pow",
        "pow_",
        "gelu",
        "gelu_",
        "silu",
        "silu_",
        "relu",
        "relu_",
        "sigmoid",
        "sigmoid_",
        "tanh",
        "tanh_",
        "exp",
        "exp_",
        "log",
        "sqrt",
        "rsqrt",
        "neg",
        "neg_",
        "abs",
        "sin",
        "cos",
        "erf",
        "clamp",
        "clamp_",
        "clamp_min",
        "clamp_max",
        "where",
        "masked_fill",
        "masked_fill_",
        "copy_",
        "_to_copy",
        "lerp",
        "addcmul",
        "addcdiv",
        "addcmul_",
        "addcdiv_",
        "leaky_relu",
        "elu",
        "hardswish",
        "softplus",
        "mish",
        "maximum",
        "minimum",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "logical_and",
        "logical_or",
        "logical_not",
        "bitwise_and",
        "bitwise_or",
        "bitwise_not",
        "reciprocal",
        "square",
        "floor",
        "ceil",
        "round",
        "hardtanh",
        "threshold",
        "fill_",
        "zero_",
        "native_dropout",
    ]
)
"""Ops that treat each element for itself."""
MATMULS = frozenset(
    ["mm", "addmm", "bmm", "baddbmm", "addbmm", "linear", "matmul", "_int_mm", "_scaled_mm", "mv", "addmv"]
)
MATH_ATTENTION = "_scaled_dot_product_attention_math"
FUSED_ATTENTION = frozenset(
    [
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_fused_attention_overrideable",
        "_flash_attention_forward",
        "_efficient_attention_forward",
        "_cudnn_attention_forward",
    ]
)
COPYING = frozenset(("copy_", "_to_copy"))
"""Of ``POINTWISE``: moves values and computes nothing."""
SYNCING = frozenset(
    [
        "_local_scalar_dense",
        "nonzero",
        "equal",
        "masked_select",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
    ]
)
"""Ops that read a value back to the host: on a GPU they wait for it."""
SOFTMAXES = frozenset(("_softmax", "_safe_softmax", "softmax"))


def short(name: str) -> str:
    """``aten::mm`` -> ``mm``; other names as they are."""
    return name.removeprefix("aten::")


def runs(name: str) -> bool:
    """Whether an op runs something: no view, no allocation, no bookkeeping of Dynamo's (which has no namespace)."""
    if "::" not in name:
        return "cpp_fused" in name or name.startswith("triton_")
    base = short(name)
    return base not in VIEWS and base not in ALLOCATIONS and base not in COMPOSITE


def pointwise(name: str) -> bool:
    """Whether an op treats each element for itself."""
    return name.startswith("aten::") and short(name) in POINTWISE


def whole(name: str) -> bool:
    """Whether what runs inside an op only helps it: a scalar cast for a pointwise op, a bias copied for ``addmm``."""
    base = short(name)
    return base in WITH_HELPERS or base in POINTWISE


def _convolutions(names: Sequence[str], parents: Sequence[int]) -> frozenset[int]:
    """Those ``_convolution`` that call no op for their product (oneDNN's transposed ones): they are the kernel themselves."""
    found = {index for index, name in enumerate(names) if name == "aten::_convolution"}
    if found:
        for index, name in enumerate(names):
            if "conv" in name and "weight" not in name and index not in found:
                above = parents[index]
                while above >= 0:
                    found.discard(above)
                    above = parents[above]
    return frozenset(found)


def kernel_ops(names: Sequence[str], parents: Sequence[int]) -> list[int]:
    """Indices of the ops that are a CPU's kernels: innermost ops that run something, and ``whole`` ones.

    ``names`` of nested ops, outer ones first; ``parents`` as ``intervals.parents`` gives them.
    """
    alone = _convolutions(names, parents)
    inside = [False] * len(names)
    """In an op that is one kernel."""
    holds = [False] * len(names)
    """Has an op inside that runs something."""
    for index, parent in enumerate(parents):
        if parent >= 0:
            inside[index] = inside[parent] or parent in alone or whole(names[parent])
    for index in range(len(names) - 1, -1, -1):
        parent = parents[index]
        if parent >= 0 and (holds[index] or runs(names[index])):
            holds[parent] = True
    return [
        index
        for index, name in enumerate(names)
        if not inside[index] and runs(name) and (index in alone or whole(name) or not holds[index])
    ]
