"""GeGLU, ``(gelu(x gateT) * (x upT)) downT``: the PyTorch reference, and the routes on which GELU and multiply are no kernels of their own.

Eager: five kernels (three products, gelu, mul). With Triton: four, as a compiler makes of it, gelu and mul being one. With
oneDNN on a CPU: three, gelu and mul being the ends of the products before them. Shapes: R rows (batch x sequence), D width, F
hidden width. Weights as ``nn.Linear`` keeps them: gate_FD, up_FD, down_DF. GELU is exact (``none``) or ``tanh``.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

GEMMS = 3
APPROXIMATIONS = ("none", "tanh")


def reference(
    x_RD: Tensor, gate_FD: Tensor, up_FD: Tensor, down_DF: Tensor, approximate: str = "tanh"
) -> Tensor:
    """GeGLU as one writes it in PyTorch; R x D. Every other route is held to it."""
    gate_RF, up_RF = functional.linear(x_RD, gate_FD), functional.linear(x_RD, up_FD)
    return functional.linear(gelu_mul_reference(gate_RF, up_RF, approximate), down_DF)


def gelu_mul_reference(gate: Tensor, up: Tensor, approximate: str = "tanh") -> Tensor:
    """``gelu(gate) * up``, two kernels, of any shape that both share."""
    return functional.gelu(gate, approximate=approximate) * up


def with_triton(
    x_RD: Tensor, gate_FD: Tensor, up_FD: Tensor, down_DF: Tensor, approximate: str = "tanh"
) -> Tensor:
    """GeGLU with one Triton kernel for gelu and mul; R x D. ``triton_refusal`` is asked before."""
    gate_RF, up_RF = functional.linear(x_RD, gate_FD), functional.linear(x_RD, up_FD)
    gelu_mul: Any = import_module("penstock.engine.kernels.geglu_triton").gelu_mul
    return functional.linear(gelu_mul(gate_RF, up_RF, approximate), down_DF)


def with_onednn(
    x_RD: Tensor, gate_FD: Tensor, up_FD: Tensor, down_DF: Tensor, approximate: str = "tanh"
) -> Tensor:
    """GeGLU in three oneDNN products; R x D. The gate's ends in gelu, up's in the multiply. ``onednn_refusal`` is asked before."""
    fused: Any = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - what Inductor itself calls on a CPU
    act_RF = fused(x_RD, gate_FD, None, "gelu", [], approximate)
    hidden_RF = fused(x_RD, act_RF, up_FD, None, "mul")
    return fused(hidden_RF, down_DF, None, "none", [], "")


def triton_refusal(device: torch.device, dtype: torch.dtype) -> str:
    """Why the Triton kernel cannot run there; empty where it can."""
    if device.type != "cuda":
        return f"Triton compiles for GPUs, and this is a {device.type.upper()}"
    if find_spec("triton") is None:
        return "triton is not installed: pip install triton"
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"the kernel knows fp32, bf16 and fp16, not {dtype}"
    if torch.version.hip is None:
        major, minor = torch.cuda.get_device_capability(device)
        if major < 8 and dtype == torch.bfloat16:
            return f"bf16 needs compute capability 8.0, and this GPU has {major}.{minor}"
        if major < 7:
            return f"Triton needs compute capability 7.0, and this GPU has {major}.{minor}"
    return ""


def onednn_refusal(device: torch.device, dtype: torch.dtype) -> str:
    """Why oneDNN's fused product cannot run there; empty where it can."""
    if device.type != "cpu":
        return "oneDNN's fused products are for CPUs"
    if not torch.backends.mkldnn.is_available() or not _has_op():
        return "this build of PyTorch has no oneDNN"
    if dtype == torch.float32:
        return ""
    onednn: Any = torch.ops.mkldnn
    if dtype == torch.bfloat16:
        can = bool(onednn._is_mkldnn_bf16_supported())  # noqa: SLF001 - as Inductor asks
        return "" if can else "oneDNN multiplies bf16 only with AVX-512, which this CPU does not have"
    if dtype == torch.float16:
        can = bool(onednn._is_mkldnn_fp16_supported())  # noqa: SLF001 - as Inductor asks
        return (
            ""
            if can
            else "oneDNN multiplies fp16 only with AVX-512 FP16 or AMX, which this CPU does not have"
        )
    return f"oneDNN's fused product knows fp32, bf16 and fp16, not {dtype}"


def onednn_loss(device: torch.device, dtype: torch.dtype) -> str:
    """Why oneDNN would run there and is better left alone; empty where it gains.

    Measured on an AVX2 EPYC, one thread, torch 2.13, 2026-11-21: fp32 GeGLU of 256 x 768 x 3072 takes 55.8 ms eagerly and 66.7 ms
    with oneDNN, packed weights or not; 16 rows take the same. Its products cost more there than the two passes it saves.
    """
    if device.type == "cpu" and dtype == torch.float32 and torch.backends.mkl.is_available():
        return "MKL, which eager PyTorch calls, multiplies fp32 faster than oneDNN, by more than the two passes saved"
    return ""


def _has_op() -> bool:
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


def travelling_bytes(rows: int, hidden: int, itemsize: int, *, route: str) -> int:
    """Bytes of intermediates (R x F each) that are written to memory and read back, by route.

    Eager: gate, up, gelu's and mul's results are written, and read by the next: 4 writes, 4 reads. ``triton`` and ``compile``
    keep gelu's result in registers: 3 and 3. ``onednn`` keeps the products' results there as well: 2 and 2.
    """
    crossings = {"eager": 8, "compile": 6, "triton": 6, "onednn": 4}
    return crossings[route] * rows * hidden * itemsize
