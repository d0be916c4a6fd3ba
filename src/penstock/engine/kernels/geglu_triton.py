"""The Triton kernel of GeGLU: gelu and multiply in one pass over memory. Imported only where Triton is installed.

Its reference is ``geglu.gelu_mul_reference``. It runs on any machine with ``TRITON_INTERPRET=1`` (tests/engine/test_kernels.py).
"""

# pyright: basic, reportInvalidTypeForm=false
# A kernel is written in Triton's language: its pointers and blocks have no Python types.

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

triton: Any = import_module("triton")
tl: Any = import_module("triton.language")

BLOCK = 1024
"""Elements of one program: eight of bf16 (16 bytes, the widest load) for each of 128 threads."""


@triton.jit
def _gelu_mul_kernel(gate, up, out, size, TANH: tl.constexpr, BLOCK: tl.constexpr):  # noqa: ANN001, ANN202
    """``out[i] = gelu(gate[i]) * up[i]`` for the BLOCK elements of this program, in fp32 whatever they are stored in."""
    start = tl.program_id(0).to(tl.int64) * BLOCK  # 64 bits: 2^31 elements are 4 GiB of bf16
    at = start + tl.arange(0, BLOCK)
    inside = at < size
    g = tl.load(gate + at, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
    if TANH:
        z = 0.7978845608028654 * (g + 0.044715 * g * g * g)  # sqrt(2 / pi)
        # tanh by exp: Triton's own is a device library's function, which its interpreter does not have
        t = 1.0 - 2.0 / (tl.exp(2.0 * z) + 1.0)
        act = 0.5 * g * (1.0 + t)
    else:
        act = 0.5 * g * (1.0 + tl.erf(g * 0.7071067811865476))  # 1 / sqrt(2)
    tl.store(out + at, (act * u).to(out.dtype.element_ty), mask=inside)


def gelu_mul(gate: Tensor, up: Tensor, approximate: str = "tanh") -> Tensor:
    """``gelu(gate) * up`` as one kernel, of any shape that both share; the result is contiguous."""
    gate, up = gate.contiguous(), up.contiguous()
    out = torch.empty_like(gate)
    size = gate.numel()
    if size:
        grid = (triton.cdiv(size, BLOCK),)
        kernel: Any = _gelu_mul_kernel
        kernel[grid](gate, up, out, size, TANH=approximate == "tanh", BLOCK=BLOCK, num_warps=4)
    return out
