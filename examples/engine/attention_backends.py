"""Attention on a GPU: by hand, in place, and each backend of PyTorch's, told apart by their kernels' names.

    python examples/engine/attention_backends.py [--dtype bf16] [--out record.json]

Part three of the series. By hand six kernels, of which one is the copy that ``masked_fill`` makes; in place five. ``MATH`` is
ten or more, a product in fp32 among them; efficient, flash and cuDNN are one each. Exits with 1 where anything else is seen.
"""

from collections.abc import Callable

import torch
from on_gpu import Case, main
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from penstock.engine.workloads.tour import Sight

BY_HAND = (
    Sight(count=2, words="product", kind="gemm"),
    Sight(count=1, words="scale", kind="pointwise", ops=("mul",)),
    Sight(count=1, words="the scores copied, for masked_fill is out of place", kind="copy"),
    Sight(count=1, words="masked_fill", kind="pointwise", ops=("fill",)),
    Sight(count=1, words="softmax", kind="softmax"),
)
IN_PLACE = tuple(sight for sight in BY_HAND if sight.kind != "copy")
EFFICIENT = (Sight(count=1, words="memory-efficient attention", kind="attention", ops=("memory-efficient",)),)
FLASH = (Sight(count=1, words="flash attention", kind="attention", ops=("flash attention",)),)
CUDNN = (Sight(count=1, words="cuDNN's attention", kind="attention", ops=("cudnn",)),)
BACKENDS = {
    "efficient": (SDPBackend.EFFICIENT_ATTENTION, EFFICIENT),
    "flash": (SDPBackend.FLASH_ATTENTION, FLASH),
    "cudnn": (SDPBackend.CUDNN_ATTENTION, CUDNN),
}


def cases(device: str, dtype: torch.dtype, sizes: list[int]) -> list[Case]:
    """``sizes``: batch, heads, sequence, head dimension."""
    shape = sizes or [8, 16, 1024, 64]
    q, k, v = (torch.randn(shape, device=device).to(dtype) for _ in range(3))
    later = torch.ones(shape[2], shape[2], dtype=torch.bool, device=device).triu(1)
    scale = shape[3] ** -0.5

    def by_hand() -> torch.Tensor:
        scores = (q @ k.transpose(-2, -1)) * scale
        return scores.masked_fill(later, float("-inf")).softmax(-1) @ v

    def in_place() -> torch.Tensor:
        scores = (q @ k.transpose(-2, -1)).mul_(scale)
        return scores.masked_fill_(later, float("-inf")).softmax(-1) @ v

    def backend(which: SDPBackend) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            with sdpa_kernel(which):
                return scaled_dot_product_attention(q, k, v, is_causal=True)

        return run

    found = [Case("by hand", by_hand, BY_HAND), Case("in place", in_place, IN_PLACE)]
    found.append(Case("math", backend(SDPBackend.MATH), (), least=10))
    return found + [Case(name, backend(which), sights) for name, (which, sights) in BACKENDS.items()]


if __name__ == "__main__":
    main(__doc__, cases)
