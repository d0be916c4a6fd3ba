"""What the present device can do at best, measured: a GEMM per type, and a copy larger than its caches. Cached per process.

A data sheet's figure is never reached; a roofline drawn with it calls everything slow. Where no device is present,
``datasheets`` has to do.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from msgspec import Struct

from penstock.engine.measure import datasheets, hardware, inside
from penstock.engine.measure.ports import Watch, watch
from penstock.engine.measure.records import Peaks

sheet = datasheets.sheet

GIB = 2**30


class Effort(Struct, frozen=True, kw_only=True):
    """How large the probes are. Large enough to be bound by what they measure, small enough for a fraction of a second."""

    side: int
    """Of the square matrices."""
    copy_bytes: int
    repeats: int = 5


EFFORT = {
    "cpu": Effort(side=1024, copy_bytes=256 * 2**20),
    "cuda": Effort(side=8192, copy_bytes=4 * GIB, repeats=10),
}
"""A copy has to be several times the last cache: 256 MiB for a CPU, 4 GiB for a GPU (of which half is read)."""


@functools.cache
def measured(device: str = "cpu") -> Peaks:
    """What the device does at best: the fastest of a few runs, as a peak is not disturbed by being slow once."""
    kind = torch.device(device)
    effort = EFFORT.get(kind.type, EFFORT["cpu"])
    return probe(device, effort, watch(device))


def probe(device: str, effort: Effort, clock: Watch) -> Peaks:
    """As ``measured``, uncached, with a stopwatch of the caller's."""
    flops = 2 * effort.side**3
    rates: dict[str, float] = {}
    for dtype, product in products(device, effort.side).items():
        seconds = best_s(product, clock, effort.repeats)
        if seconds > 0:
            rates[dtype] = flops / seconds
    source_B = torch.empty(effort.copy_bytes // 2, dtype=torch.uint8, device=device).fill_(1)
    target_B = torch.empty_like(source_B)
    seconds = best_s(lambda: target_B.copy_(source_B), clock, effort.repeats)
    return Peaks(
        device=hardware.device_name(device),
        flops_per_s=rates,
        bytes_per_s=2 * source_B.numel() / seconds if seconds > 0 else 0.0,
        memory_bytes=hardware.memory_bytes(device),
        source=f"measured: GEMM of side {effort.side}, copy of {effort.copy_bytes // 2 // 2**20} MiB, best of {effort.repeats}",
    )


def products(device: str, side: int) -> dict[str, Callable[[], Any]]:
    """A square GEMM per type that the device has fast units for, ready to be called."""
    kind = torch.device(device)
    made: dict[str, Callable[[torch.device, int], Callable[[], Any]]] = {
        "fp32": functools.partial(_fp32, tf32=False),
        "tf32": functools.partial(_fp32, tf32=True),
        "fp16": functools.partial(_product, torch.float16),
        "bf16": functools.partial(_product, torch.bfloat16),
        "int8": _int8,
        "fp8": _fp8,
    }
    capability = torch.cuda.get_device_capability(kind) if kind.type == "cuda" else (0, 0)
    wanted = types(kind.type, capability, rocm=torch.version.hip is not None, cpu_bf16=inside.bf16_on_cpu())
    return {name: made[name](kind, side) for name in wanted}


def types(kind: str, capability: tuple[int, int], *, rocm: bool, cpu_bf16: bool) -> tuple[str, ...]:
    """Types with fast units: of a GPU by its compute capability (Ampere 8.0, Ada 8.9, Hopper 9.0), of a CPU by what oneDNN says."""
    if kind != "cuda":
        return ("fp32", "bf16") if kind == "cpu" and cpu_bf16 else ("fp32",)
    found = ["fp32", "fp16", "bf16"]
    if capability >= (8, 0):
        found += ["tf32", "int8"]
    if capability >= (8, 9):
        found += ["fp8"]
    return (
        tuple(found)
        if not rocm
        else ("fp32", "fp16", "bf16", "int8", *(("fp8",) if capability >= (9, 4) else ()))
    )


def best_s(call: Callable[[], Any], clock: Watch, repeats: int) -> float:
    """Seconds of the fastest run, after one that is not counted; 0.0 where the device refuses the probe."""
    try:
        call()
    except (RuntimeError, NotImplementedError):  # a type that this build or card has no kernel for
        return 0.0
    clock.wait()
    best_ms = float("inf")
    for _ in range(repeats):
        first = clock.mark()
        call()
        last = clock.mark()
        clock.wait()
        best_ms = min(best_ms, clock.between_ms(first, last))
    return best_ms / 1e3


def _product(dtype: torch.dtype, device: torch.device, side: int) -> Callable[[], Any]:
    a_NN = torch.randn(side, side, device=device).to(dtype)
    b_NN = torch.randn(side, side, device=device).to(dtype)
    out_NN = torch.empty(side, side, dtype=dtype, device=device)

    def product() -> Any:
        with torch.no_grad():
            return torch.mm(a_NN, b_NN, out=out_NN)

    return product


def _fp32(device: torch.device, side: int, *, tf32: bool) -> Callable[[], Any]:
    product = _product(torch.float32, device, side)

    def precisely() -> Any:
        with inside.matmul_precision(tf32=tf32):
            return product()

    return precisely


def _int8(device: torch.device, side: int) -> Callable[[], Any]:
    a_NN = torch.ones(side, side, dtype=torch.int8, device=device)
    b_NN = torch.ones(side, side, dtype=torch.int8, device=device).t()
    return lambda: inside.int_product(a_NN, b_NN)


def _fp8(device: torch.device, side: int) -> Callable[[], Any]:
    eight = torch.float8_e4m3fnuz if torch.version.hip else torch.float8_e4m3fn
    a_NN = torch.ones(side, side, device=device).to(eight)
    b_NN = torch.ones(side, side, device=device).to(eight).t()
    one = torch.ones((), device=device)
    return lambda: inside.scaled_product(a_NN, b_NN, one)
