"""A product and a sum on a GPU: bound by the host when small, by arithmetic when large; compiled, one addmm.

    python examples/engine/add_matmul.py [--size 64 --size 4096] [--dtype bf16] [--out record.json]

Part one of the series. Prints what is expected, then what is seen, and the differences; exits with 1 where there are any.
"""

from typing import Any

import torch
from on_gpu import Case, main

from penstock.engine.workloads.tour import Sight

PRODUCT = Sight(count=1, words="product", kind="gemm")
EAGER = (PRODUCT, Sight(count=1, words="sum, a kernel of its own", kind="pointwise", ops=("add",)))
COMPILED = (
    Sight(count=1, words="the same product, as addmm", kind="gemm"),
    Sight(count=1, words="bias copied to where the result will stand", kind="copy"),
)
"""cuBLAS adds a matrix to its product in place: the sum's second operand is copied there first."""


def cases(device: str, dtype: torch.dtype, sizes: list[int]) -> list[Case]:
    """Each size, eager and compiled."""
    return [case for size in sizes or [64, 4096] for case in _of_size(size, device, dtype)]


def _of_size(size: int, device: str, dtype: torch.dtype) -> list[Case]:
    x, w, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(3))

    def step() -> torch.Tensor:
        return torch.add(torch.matmul(x, w), b)

    compile_: Any = torch.compile
    return [Case(f"eager {size}", step, EAGER), Case(f"compiled {size}", compile_(step), COMPILED)]


if __name__ == "__main__":
    main(__doc__, cases)
