"""A kernel's name, decoded: what it is, in words. CUDA, ROCm, Triton and PyTorch's own; on a CPU the ops' names.

Names are identity hashes of a build (tile, stages, layout, alignment): two runs with the same name ran the same code. What a
name does not say is not guessed.
"""

import re
from functools import lru_cache

from msgspec import Struct

from penstock.engine.measure import ops


class Decoded(Struct, frozen=True):
    """What a name says."""

    kind: str
    """``gemm``, ``attention``, ``conv``, ``pointwise``, ``reduction``, ``norm``, ``softmax``, ``copy``, ``memset``,
    ``layout``, ``collective``, ``moe``, ``quantise``, ``index``, ``random``, ``view`` or ``other``."""
    means: str
    """In words; empty where the name says nothing."""
    dtype: str = ""
    """``bf16``, ``fp16``, ``fp32``, ``tf32``, ``fp8``, ``int8`` …"""
    fused: tuple[str, ...] = ()
    """The ops in one Inductor kernel."""


TRITON = re.compile(r"^triton_(poi|red|per|tem|for|mm|helion)_fused_(.*?)(?:_(\d+))?$")
CPP = re.compile(r"^(?:graph_\d+_)?cpp_fused_(.*?)(?:_(\d+))?$")
"""Inductor's C++ kernels on a CPU, with ``torch._inductor.config.cpp.enable_kernel_profile``."""
TRITON_KINDS = {
    "poi": ("pointwise", "fused pointwise"),
    "red": ("reduction", "fused reduction"),
    "per": ("reduction", "fused persistent reduction"),
    "tem": ("gemm", "Triton template"),
    "mm": ("gemm", "Triton template"),
    "for": ("pointwise", "fused foreach"),
}
CUTLASS = re.compile(
    r"cutlass\w*?_(?:(\d\d)_)?(?:wmma_)?(?:tensorop|simt)_(\w*?(?:gemm|fprop|dgrad|wgrad)\w*?)_(\d+x\d+)_(\d+x\d+)(?:_(nhwc|ndhwc|[nt]{2}))?"
)
XMMA = re.compile(r"sm(\d+)_xmma_(gemm|fprop)_(\w*?)tilesize(\d+x\d+x\d+)")
XMMA_LAYOUT = re.compile(r"_(tn|nt|nn|tt|nhwc|ndhwc)_")
NVJET = re.compile(r"^nvjet(?:_sm\d+)?_([a-z]+)_(\d+x\d+)_(\d+x\d+)_(\w+)")
TENSILE = re.compile(r"^Cijk_(A(?:lik|ilk))_(B(?:ljk|jlk))_(?:([A-Z0-9]+?)_)?.*?MT(\d+x\d+x\d+)")
TENSILE_TYPES = {
    "BBS": "bf16", "BSS": "bf16", "BB": "bf16", "HHS": "fp16", "HSS": "fp16", "HH": "fp16", "HBH": "fp16", "SB": "fp32",
    "S": "fp32", "SS": "fp32", "DB": "fp64", "F8BS": "fp8", "F8HS": "fp8", "F8F8S": "fp8", "F8NBS": "fp8", "I8II": "int8", "I8BIH": "int8",
}  # fmt: skip
IGEMM = re.compile(r"^igemm_(fwd|bwd|wrw)_\w*?(nhwc|nchw)_(\w+?)_bx\d+_ex\d+_bt(\d+x\d+x\d+)")
LAYOUTS = {
    ("Alik", "Bljk"): "tn", ("Ailk", "Bljk"): "nn", ("Alik", "Bjlk"): "tt", ("Ailk", "Bjlk"): "nt",
}  # fmt: skip
MATRIX_TYPES = (
    ("mxfp4", "mxfp4"), ("mxe2m1", "mxfp4"), ("e2m1", "fp4"), ("e4m3", "fp8"), ("e5m2", "fp8"), ("fp8", "fp8"), ("s8", "int8"), ("i8", "int8"),
    ("bf16", "bf16"), ("bfloat16", "bf16"), ("tf32", "tf32"), ("f16", "fp16"), ("half", "fp16"), ("s1688", "tf32"),
    ("s16816", "fp16"), ("sgemm", "fp32"), ("f32", "fp32"), ("float", "fp32"),
)  # fmt: skip
"""Words that name an element type, more special ones first."""
FUNCTORS = {
    "CUDAFunctor_add": "add", "CUDAFunctorOnSelf_add": "add a scalar", "CUDAFunctorOnOther_add": "add a scalar",
    "MulFunctor": "mul", "DivFunctor": "div", "FillFunctor": "fill", "GeluCUDAKernel": "gelu", "GeluType": "gelu", "silu_kernel": "silu",
    "tanh_kernel": "tanh", "sigmoid_kernel": "sigmoid", "direct_copy_kernel": "copy", "exp_kernel": "exp", "rsqrt_kernel": "rsqrt",
    "bfloat16tofloat32_copy": "cast to fp32", "float16tofloat32_copy": "cast to fp32", "float32tobfloat16_copy": "cast to bf16",
    "bfloat16_copy": "cast to bf16", "float16_copy": "cast to fp16", "pow_tensor": "pow", "sin_kernel": "sin",
    "cos_kernel": "cos", "masked_fill": "masked fill", "clamp": "clamp", "compare": "compare", "CompareFunctor": "compare",
    "where_kernel": "where", "neg_kernel": "neg", "sqrt_kernel": "sqrt", "BitwiseAnd": "and", "log_kernel": "log",
    "threshold": "relu", "leaky_relu": "leaky relu", "arange": "arange", "abs_kernel": "abs",
}  # fmt: skip
"""Part of a functor's name -> the op."""
KEYWORDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("fmha_cutlass", "PyTorchMemEffAttention"), "attention", "memory-efficient attention"),
    (("Im2d2Col", "Im2Col", "im2col"), "conv", "image to columns"),
    (("ncclDevKernel_AllReduce", "ncclKernel_AllReduce", "multimem_all_reduce", "all_reduce", "allreduce"), "collective", "all-reduce"),
    (("ncclDevKernel_AllGather", "ncclKernel_AllGather", "all_gather"), "collective", "all-gather"),
    (("ReduceScatter", "reduce_scatter"), "collective", "reduce-scatter"),
    (("ncclDevKernel", "ncclKernel", "rcclGenericKernel"), "collective", "collective"),
    (("pytorch_flash", "flash_fwd", "flash::", "flash_attn", "FlashAttn", "flash_bwd"), "attention", "flash attention"),
    (("fmha_v2", "fmhaSm", "fmha_fwd", "FmhaFwd", "fmha"), "attention", "fused attention"),
    (("cudnn_generated_fort_native_sdpa", "sdpa_sm", "cudnn_sdpa"), "attention", "cuDNN attention"),
    (("attn_fwd", "_attn_", "unified_attention", "paged_attention", "decode_attention", "mha_fwd"), "attention", "fused attention"),
    (("nchwToNhwc", "nhwcToNchw", "batched_transpose", "nchw2nhwc", "nhwc2nchw"), "layout", "layout conversion"),
    (("reshape_and_cache",), "index", "key-value cache write"),
    (("rotary_embedding", "rope_", "_rope"), "pointwise", "rotary embedding"),
    (("fused_add_rms_norm", "rms_norm", "RMSNorm", "Rmsnorm", "rmsnorm"), "norm", "RMS norm"),
    (("layer_norm", "LayerNorm", "layernorm", "Layernorm"), "norm", "layer norm"),
    (("group_norm", "GroupNorm", "groupnorm", "Groupnorm", "RowwiseMoments"), "norm", "group norm"),
    (("batch_norm", "bn_fw", "BatchNorm"), "norm", "batch norm"),
    (("softmax", "SoftMax", "Softmax"), "softmax", "softmax"),
    (("moe::", "routing", "topk_gating", "moe_align"), "moe", "mixture-of-experts routing"),
    (("quantize", "fp8_quant", "int8_quant", "scaled_quant"), "quantise", "quantise"),
    (("CatArrayBatchedCopy",), "copy", "concatenation"),
    (("splitKreduce", "splitK_reduce", "PostGSU"), "reduction", "split-K reduction of a GEMM"),
    (("gather_kernel", "index_elementwise", "indexSelect", "index_select", "scatter", "index_kernel"), "index", "gather or scatter"),
    (("upsample",), "pointwise", "upsampling"),
    (("RadixSort", "radixSort", "DeviceScan", "bitonicSort", "topk"), "index", "sort or scan"),
    (("distribution_", "philox", "normal_kernel"), "random", "random numbers"),
    (("implicit_convolve", "conv2d_grouped", "grouped_conv", "convolve", "winograd", "Winograd", "depthwise"), "conv", "convolution"),
    (("SubTensorOpWithScalar",), "memset", "fill (MIOpen)"),
)  # fmt: skip
"""(parts of a name) -> kind, words. The first that fits decides."""
GEMM_WORDS = ("gemm", "_matmul", "matmul_", "bmm_", "Gemm", "cublasLt", "gemv")


@lru_cache(maxsize=16384)
def decode(name: str) -> Decoded:
    """What a kernel, copy, memset or op of that name is."""
    for attempt in (
        _memory,
        _op,
        _triton,
        _cutlass,
        _xmma,
        _nvjet,
        _tensile,
        _igemm,
        _keyword,
        _gemm,
        _native,
    ):
        found = attempt(name)
        if found is not None:
            return found
    return Decoded("other", "")


def _memory(name: str) -> Decoded | None:
    if name.startswith("Memset"):
        return Decoded("memset", "memory set")
    if not name.startswith("Memcpy"):
        return None
    ways = {
        "HtoD": "host to device",
        "DtoH": "device to host",
        "DtoD": "within the device",
        "PtoP": "device to device",
    }
    way = next((words for key, words in ways.items() if key in name), "")
    paged = ", from pageable memory: the host waits" if "Pageable" in name else ""
    return Decoded("copy", f"copy {way}{paged}".strip())


def _op(name: str) -> Decoded | None:
    """A CPU op in a kernel's place."""
    if not name.startswith(("aten::", "mkldnn::")):
        return None
    base = ops.short(name).removeprefix("mkldnn::")
    if base in ops.MATMULS or "linear" in base:
        return Decoded("gemm", "matrix multiply" + (" with bias in its epilogue" if base == "addmm" else ""))
    if "attention" in base:
        return Decoded(
            "attention", "flash attention" if "flash" in base else "attention by single ops (math)"
        )
    if "conv" in base:
        return Decoded("conv", "convolution")
    for words, kind in (("softmax", "softmax"), ("norm", "norm")):
        if words in base:
            return Decoded(kind, base.replace("native_", "").replace("_", " ").strip())
    if base in ("copy_", "clone", "contiguous", "cat", "_to_copy"):
        return Decoded("copy", "copy")
    if base in ops.POINTWISE:
        return Decoded("pointwise", f"pointwise: {base.rstrip('_')}")
    if not ops.runs(name):
        return Decoded("view", "no kernel")
    return Decoded("other", base.strip("_").replace("_", " "))


def _triton(name: str) -> Decoded | None:
    """Inductor's kernels, on a GPU and on a CPU."""
    plain = CPP.match(name)
    if plain is not None:
        fused = split_ops(plain[1])
        return Decoded(
            "pointwise", f"fused C++ loop: {', '.join(fused)}" if fused else "C++ loop", fused=fused
        )
    found = TRITON.match(name)
    if found is None:
        return None
    kind, words = TRITON_KINDS.get(found[1], ("other", "Triton kernel"))
    fused = split_ops(found[2])
    return Decoded(kind, f"{words}: {', '.join(fused)}" if fused else words, fused=fused)


KNOWN_OPS = tuple(
    sorted(
        ops.POINTWISE
        | ops.VIEWS
        | ops.WITH_HELPERS
        | ops.FUSED_ATTENTION
        | {
            "native_layer_norm",
            "constant_pad_nd",
            "moe_forward",
            "masked_fill",
            "_to_copy",
            "clone",
            "native_group_norm",
        },
        key=len,
        reverse=True,
    )
)


def split_ops(text: str) -> tuple[str, ...]:
    """``_unsafe_view_gelu_mul`` -> (_unsafe_view, gelu, mul): the longest known op first, else up to the next underscore."""
    found: list[str] = []
    rest = text
    while rest:
        op = next((op for op in KNOWN_OPS if rest == op or rest.startswith(op + "_")), None)
        if op is None:
            op = rest.split("_", 1)[0] if not rest.startswith("_") else "_" + rest[1:].split("_", 1)[0]
        if op:
            found.append(op)
        rest = rest[len(op) :].removeprefix("_") if op else rest[1:]
        if rest == "_":
            break
    return tuple(found)


def _cutlass(name: str) -> Decoded | None:
    found = CUTLASS.search(name)
    if found is None:
        return None
    _, op, tile, stages, layout = found.groups()
    kind = "gemm" if "gemm" in op else "conv"
    dtype = _dtype(op)
    depth = stages.split("x")[0]
    words = f"{'GEMM' if kind == 'gemm' else 'convolution'} {tile}x{depth} {dtype} {layout or ''}".rstrip()
    return Decoded(kind, f"{words} (CUTLASS)", dtype)


def _xmma(name: str) -> Decoded | None:
    found = XMMA.search(name)
    if found is None:
        return None
    arch, op, types, tile = found.groups()
    said = XMMA_LAYOUT.search(f"_{types}")
    layout = said[1] if said else ""
    dtype = _dtype(types)
    word = "GEMM" if op == "gemm" else "convolution"
    return Decoded(
        "gemm" if op == "gemm" else "conv",
        f"{word} {tile} {dtype} {layout}".rstrip() + f" ({'cuBLAS' if op == 'gemm' else 'cuDNN'}, sm{arch})",
        dtype,
    )


def _nvjet(name: str) -> Decoded | None:
    found = NVJET.match(name)
    if found is None:
        return None
    types = {
        "hsh": "fp16", "tst": "bf16", "sss": "fp32", "ttt": "bf16", "qqtst": "fp8", "hhh": "fp16", "tss": "bf16", "hss": "fp16",
    }  # fmt: skip
    dtype = types.get(found[1], "")
    tile = f"{found[2]}x{found[3].split('x')[0]}"
    tail = found[4].split("_")
    layout = next((part.lower()[:2] for part in reversed(tail) if re.fullmatch("[TN]{2,3}", part)), "")
    bias = " with bias" if "bias" in tail else ""
    return Decoded(
        "gemm", " ".join(filter(None, ("GEMM", tile, dtype, layout))) + f"{bias} (cuBLAS nvjet)", dtype
    )


def _tensile(name: str) -> Decoded | None:
    found = TENSILE.match(name)
    if found is None:
        return None
    dtype = TENSILE_TYPES.get(found[3] or "", "")
    layout = LAYOUTS.get((found[1], found[2]), "")
    return Decoded("gemm", " ".join(filter(None, ("GEMM", found[4], dtype, layout))) + " (hipBLASLt)", dtype)


def _igemm(name: str) -> Decoded | None:
    found = IGEMM.match(name)
    if found is None:
        return None
    dtype = _dtype(found[3])
    return Decoded("conv", f"convolution {found[4]} {dtype} {found[2]} (MIOpen implicit GEMM)", dtype)


def _keyword(name: str) -> Decoded | None:
    for parts, kind, words in KEYWORDS:
        if any(part in name for part in parts):
            maker = ""
            if "aiter" in name:
                maker = " (aiter)"
            elif "ck_tile" in name or "ck::" in name or name.startswith("_ZN2ck"):
                maker = " (Composable Kernel)"
            return Decoded(kind, words + maker, _dtype(name) if kind in ("attention", "conv") else "")
    return None


def _gemm(name: str) -> Decoded | None:
    """Matrix multiplies of other makers: Composable Kernel, Triton by hand, TensorRT-LLM, old cuBLAS."""
    low = name.lower()
    if not any(word.lower() in low for word in GEMM_WORDS):
        return None
    dtype = _dtype(name)
    tile = re.search(r"(?:tile|t|_)(\d{2,3}x\d{1,3}(?:x\d{1,3})?)", name)
    makers = (
        ("_ZN2ck", "Composable Kernel"),
        ("ck::", "Composable Kernel"),
        ("ck_tile", "Composable Kernel"),
        ("aiter", "aiter"),
        ("cublas", "cuBLAS"),
    )
    maker = next((words for part, words in makers if part in name), "")
    words = " ".join(filter(None, ("GEMM", tile[1] if tile else "", dtype)))
    extra = " with SwiGLU" if "swiglu" in low else ""
    return Decoded("gemm", f"{words}{extra}" + (f" ({maker})" if maker else ""), dtype)


def _native(name: str) -> Decoded | None:
    """PyTorch's own elementwise and reduction kernels."""
    if "elementwise_kernel" in name or "multi_tensor_apply" in name:
        op = next((word for part, word in FUNCTORS.items() if part in name), "")
        if op == "copy" or op.startswith("cast"):
            return Decoded("copy", op)
        return Decoded("pointwise", f"pointwise: {op}" if op else "pointwise")
    if "reduce_kernel" in name:
        op = next((word for word in ("Mean", "Sum", "Max", "Min", "Norm", "Arg") if f"{word}" in name), "")
        return Decoded("reduction", f"reduction: {op.lower()}" if op else "reduction")
    return None


def _dtype(text: str) -> str:
    low = text.lower()
    return next((dtype for word, dtype in MATRIX_TYPES if word in low), "")
