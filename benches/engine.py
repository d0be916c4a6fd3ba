"""Whether the engine's figures hold: kernel times of a capture against the stopwatch, and what measuring costs.

``python -m benches.engine [--device cuda:0] [--rounds 5]`` writes ``benches/results/engine-figures-<device>_…json``. On a GPU the
stopwatch is CUDA events, and a kernel's time must be within 3 % of them; on a CPU it is the wall clock, which other processes
disturb (the record says how much). The two calls of ``same_call_twice`` are one and the same: their ratio is the noise.
"""

import argparse
import copy
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from msgspec import to_builtins

from benches.machine import identity, write
from penstock.engine.measure import (
    attribution,
    capture,
    counting,
    hardware,
    peaks,
    ranges,
    timeline,
    timing,
    trace,
)

CALLS = 10
"""In one capture: a kernel's time is the mean of them."""


def products(device: str) -> dict[str, Any]:
    """Name -> a call of one large kernel: at 1 ms and more, what lies around it does not count."""
    cuda = device.startswith("cuda")
    side, dtypes = (8192, (torch.float16, torch.bfloat16)) if cuda else (768, (torch.float32,))
    found: dict[str, Any] = {}
    for dtype in dtypes:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        found[f"product {side} {str(dtype).removeprefix('torch.')}"] = lambda a=a, b=b: torch.mm(a, b)
    image = torch.randn(8 if cuda else 1, 128, 128, 128, device=device)
    layer = torch.nn.Conv2d(128, 128, 3, padding=1, device=device)
    found["convolution 128x128x128"] = lambda: layer(image)
    return found


def kernel_ms(call: Any, device: str) -> float:
    """Device time of one call in a capture: all its kernels, on a CPU all its ops."""
    with tempfile.TemporaryDirectory() as folder:
        path = capture.capture(
            lambda: [call() for _ in range(CALLS)], path=Path(folder) / "t.json", device=device, warmup=2
        )
        rows = attribution.kernels(timeline.build(trace.load(path)))
    return sum(row.total_ms for row in rows) / CALLS


def compared(device: str, rounds: int) -> list[dict[str, Any]]:
    """Each product: stopwatch, capture, ratio, FLOP/s."""
    found: list[dict[str, Any]] = []
    for name, call in products(device).items():
        watched: list[float] = []
        seen: list[float] = []
        warnings: set[str] = set()
        for _ in range(rounds):  # in turn: both meet the same clocks and heat
            one = timing.measure(call, device=device, least_s=0.3, most_s=5)
            watched.append(one.median_ms)
            warnings |= set(one.warnings)
            seen.append(kernel_ms(call, device))
        flops = counting.count(call, device=device).flops
        row = {
            "name": name,
            "stopwatch_ms": statistics.median(watched),
            "kernels_ms": statistics.median(seen),
            "ratio": statistics.median(k / w for k, w in zip(seen, watched, strict=True)),
            "flops": flops,
            "flops_per_s": flops / statistics.median(watched) * 1e3,
            "warnings": sorted(warnings),
        }
        print(
            f"{name}: stopwatch {row['stopwatch_ms']:.3f} ms, kernels {row['kernels_ms']:.3f} ms, ratio {row['ratio']:.3f}"
        )
        found.append(row)
    return found


def costs(device: str) -> dict[str, Any]:
    """Many small ops, the worst case: bare, the same again, within ranges, within a counter; ratios to bare."""
    model = torch.nn.Sequential(*(torch.nn.Linear(64, 64, device=device) for _ in range(50)))
    x = torch.randn(8, 64, device=device)

    other = copy.deepcopy(model)

    def bare() -> Any:
        return model(x)

    calls = {
        "bare": bare,
        "same_call_twice": lambda: model(x),
        "ranged": lambda: other(x),
        "counted": lambda: counting.count(bare),
    }
    with ranges.staged(modules={"model": other}):
        found = timing.interleave(calls, device=device, least_s=1.0, most_s=20)
    return {
        name: {**to_builtins(one), "ratio": one.median_ms / found["bare"].median_ms}
        for name, one in found.items()
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        record = {
            "what": "kernel times of a capture against the stopwatch; what measuring costs; peaks as measured",
            **identity(),
            "engine": hardware.machine(asked.device),
            "compared": compared(asked.device, asked.rounds),
            "costs": costs(asked.device),
            "peaks": to_builtins(peaks.measured(asked.device)),
        }
    print(write(f"engine-figures-{asked.device.partition(':')[0]}", record))


if __name__ == "__main__":
    main()
