"""What the present device can do at best, measured: a GEMM per type, and a copy larger than its caches. Cached per process.

A data sheet's figure is never reached; a roofline drawn with it calls everything slow. Where no device is present,
``datasheets`` has to do.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from msgspec import Struct
from msgspec.structs import replace

from penstock.engine.measure import datasheets, hardware, inside
from penstock.engine.measure.ports import Watch, watch
from penstock.engine.measure.records import Peaks

sheet, sheet_of = datasheets.sheet, datasheets.of_device

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
SHARE = 0.5
"""Of the memory that is free: what a probe may take. Our choice."""
ELEMENT_BYTES = 16
"""Of a GEMM's memory, for each element of one matrix: three of fp32, and one that is being cast."""
LEAST_SIDE, LEAST_COPY = 4, 8
"""Probes shrink to a quarter of the side and an eighth of the copy; smaller ones measure launches and caches."""

Product = Callable[[], Any]


@functools.cache
def measured(device: str = "cpu") -> Peaks:
    """What the device does at best: the fastest of a few runs, as a peak is not disturbed by being slow once.

    Where its memory is full, its data sheet's figures; none where it has no sheet. ``warnings`` then say so.
    """
    kind = torch.device(device)
    effort = EFFORT.get(kind.type, EFFORT["cpu"])
    return probe(device, effort, watch(device))


def probe(device: str, effort: Effort, clock: Watch, *, free_bytes: int | None = None) -> Peaks:
    """As ``measured``, uncached, with a stopwatch of the caller's. ``free_bytes``: by default, what the device says is free."""
    fit = fitted(effort, hardware.free_bytes(device) if free_bytes is None else free_bytes)
    if fit is None:
        return instead(device)
    rates: dict[str, float] = {}
    for dtype, make in products(device, fit.side).items():
        seconds = best_s(make, clock, fit.repeats)  # its operands are gone before the next one's are made
        if seconds > 0:
            rates[dtype] = 2 * fit.side**3 / seconds
    half_bytes = fit.copy_bytes // 2
    seconds = best_s(lambda: _copy(device, half_bytes), clock, fit.repeats)
    if not rates or seconds <= 0:
        return instead(device)
    return Peaks(
        device=hardware.device_name(device),
        flops_per_s=rates,
        bytes_per_s=2 * half_bytes / seconds,
        memory_bytes=hardware.memory_bytes(device),
        source=f"measured: GEMM of side {fit.side}, copy of {half_bytes / 2**20:.4g} MiB, best of {fit.repeats}",
    )


def fitted(effort: Effort, free_bytes: int) -> Effort | None:
    """The probes, halved until each fits into its share of what is free; None where they would be too small to tell anything."""
    side, copy_bytes = effort.side, effort.copy_bytes
    while ELEMENT_BYTES * side**2 > SHARE * free_bytes and side > 1:
        side //= 2
    while copy_bytes > SHARE * free_bytes and copy_bytes > 1:
        copy_bytes //= 2
    if LEAST_SIDE * side < effort.side or LEAST_COPY * copy_bytes < effort.copy_bytes:
        return None
    return replace(effort, side=side, copy_bytes=copy_bytes)


def instead(device: str) -> Peaks:
    """The data sheet's figures, where there is no memory to measure in; no figures where there is no sheet. Says so."""
    name = hardware.device_name(device)
    found = sheet_of(name)
    if found is not None:
        warning = "too little memory was free to measure what the device can do: its data sheet's figures stand for it"
        return replace(found, warnings=(warning,))
    said = "too little memory was free to measure what the device can do, and it has no data sheet here: nothing is compared with it"
    return Peaks(
        device=name,
        flops_per_s={},
        bytes_per_s=0.0,
        memory_bytes=hardware.memory_bytes(device),
        source="not measured",
        warnings=(said,),
    )


def products(device: str, side: int) -> dict[str, Callable[[], Product]]:
    """By type that the device has fast units for: what makes a square GEMM's operands, and gives the call of it."""
    kind = torch.device(device)
    made: dict[str, Callable[[torch.device, int], Product]] = {
        "fp32": functools.partial(_fp32, tf32=False),
        "tf32": functools.partial(_fp32, tf32=True),
        "fp16": functools.partial(_product, torch.float16),
        "bf16": functools.partial(_product, torch.bfloat16),
        "int8": _int8,
        "fp8": _fp8,
    }
    capability = torch.cuda.get_device_capability(kind) if kind.type == "cuda" else (0, 0)
    wanted = types(kind.type, capability, rocm=torch.version.hip is not None, cpu_bf16=inside.bf16_on_cpu())
    return {name: functools.partial(made[name], kind, side) for name in wanted}


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


def best_s(make: Callable[[], Product], clock: Watch, repeats: int) -> float:
    """Seconds of the fastest run of what is made, after one that is not counted; 0.0 where the device refuses it.

    It refuses a type that this build or card has no kernel for, and operands that its memory has no room for.
    """
    try:
        call = make()
        call()
        clock.wait()
    except (RuntimeError, NotImplementedError):
        return 0.0
    best_ms = float("inf")
    for _ in range(repeats):
        first = clock.mark()
        call()
        last = clock.mark()
        clock.wait()
        best_ms = min(best_ms, clock.between_ms(first, last))
    return best_ms / 1e3


def _copy(device: str, half_bytes: int) -> Product:
    source_B = torch.empty(half_bytes, dtype=torch.uint8, device=device).fill_(1)
    target_B = torch.empty_like(source_B)
    return lambda: target_B.copy_(source_B)


def _product(dtype: torch.dtype, device: torch.device, side: int) -> Product:
    drawn = torch.Generator(device).manual_seed(
        0
    )  # the user's own numbers are to come as if nobody had measured
    a_NN = torch.randn(side, side, device=device, generator=drawn).to(dtype)
    b_NN = torch.randn(side, side, device=device, generator=drawn).to(dtype)
    out_NN = torch.empty(side, side, dtype=dtype, device=device)

    def product() -> Any:
        with torch.no_grad():
            return torch.mm(a_NN, b_NN, out=out_NN)

    return product


def _fp32(device: torch.device, side: int, *, tf32: bool) -> Product:
    product = _product(torch.float32, device, side)

    def precisely() -> Any:
        with inside.matmul_precision(tf32=tf32):
            return product()

    return precisely


def _int8(device: torch.device, side: int) -> Product:
    a_NN = torch.ones(side, side, dtype=torch.int8, device=device)
    b_NN = torch.ones(side, side, dtype=torch.int8, device=device).t()
    return lambda: inside.int_product(a_NN, b_NN)


def _fp8(device: torch.device, side: int) -> Product:
    eight = torch.float8_e4m3fnuz if torch.version.hip else torch.float8_e4m3fn
    a_NN = torch.ones(side, side, device=device).to(eight)
    b_NN = torch.ones(side, side, device=device).to(eight).t()
    one = torch.ones((), device=device)
    return lambda: inside.scaled_product(a_NN, b_NN, one)
