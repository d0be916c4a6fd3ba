"""One linear, an MLP and a GeGLU MLP on a GPU: eager, compiled, and by a library's or our own kernel.

    python examples/engine/linear_to_geglu.py [--dtype bf16] [--out record.json]

Part two of the series, at its own size (64 x 128 x 768, hidden 3072). GeGLU: five kernels eagerly, four compiled
(``triton_poi_fused_…_gelu_mul_0``), four with our Triton kernel (``_gelu_mul_kernel``). What is expected stands in
``penstock/engine/workloads/tour.py``. Exits with 1 where anything else is seen.
"""

import torch
from on_gpu import NAMES, Case, main

from penstock.engine.workloads import tour


def cases(device: str, dtype: torch.dtype, sizes: list[int]) -> list[Case]:
    """Each step's sides; one that cannot run here is told and left out."""
    found: list[Case] = []
    for step in tour.STEPS:
        loaded = tour.load(step, shape=tuple(sizes), dtype=NAMES[dtype], device=device)
        for side in loaded.sides():
            if side.refused:
                print(f"{step}, {side.name}: not run: {side.refused}")
            else:
                found.append(Case(f"{step} {side.name}", side.call, side.sights))
    return found


if __name__ == "__main__":
    main(__doc__, cases)
