"""What GPUs can do at best, from their makers' data sheets: data, with source and date. Needs no torch.

Dense figures: where a sheet prints "with sparsity" only, half of it. Tensor-core rates with fp32 accumulation.
"""

from penstock.base.errors import BadRequest
from penstock.engine.measure.records import Peaks

TERA = 10**12
GIB = 2**30

SHEETS: dict[str, Peaks] = {
    "h100": Peaks(
        device="NVIDIA H100 SXM5 80GB",
        flops_per_s={
            "fp32": 66.9 * TERA, "tf32": 494.7 * TERA, "bf16": 989.4 * TERA, "fp16": 989.4 * TERA, "fp8": 1978.9 * TERA,
            "int8": 1978.9 * TERA, "fp64": 66.9 * TERA,
        },
        bytes_per_s=3.35 * TERA,
        memory_bytes=80 * GIB,
        source="NVIDIA H100 Tensor Core GPU Architecture whitepaper, table of SXM5 peak rates, 2022-09; dense",
    ),
    "h200": Peaks(
        device="NVIDIA H200 SXM 141GB",
        flops_per_s={
            "fp32": 66.9 * TERA, "tf32": 494.7 * TERA, "bf16": 989.4 * TERA, "fp16": 989.4 * TERA, "fp8": 1978.9 * TERA,
            "int8": 1978.9 * TERA, "fp64": 66.9 * TERA,
        },
        bytes_per_s=4.8 * TERA,
        memory_bytes=141 * 10**9,
        source="NVIDIA H200 Tensor Core GPU data sheet, 2024-11; dense: half of what it prints with sparsity",
    ),
    "a100": Peaks(
        device="NVIDIA A100 SXM4 80GB",
        flops_per_s={
            "fp32": 19.5 * TERA, "tf32": 156 * TERA, "bf16": 312 * TERA, "fp16": 312 * TERA, "int8": 624 * TERA, "fp64": 19.5 * TERA,
        },
        bytes_per_s=2.039 * TERA,
        memory_bytes=80 * GIB,
        source="NVIDIA A100 80GB data sheet, 2021-06; dense",
    ),
    "a10g": Peaks(
        device="NVIDIA A10G 24GB",
        flops_per_s={"fp32": 35 * TERA, "tf32": 35 * TERA, "bf16": 70 * TERA, "fp16": 70 * TERA, "int8": 140 * TERA},
        bytes_per_s=0.6 * TERA,
        memory_bytes=24 * GIB,
        source="NVIDIA A10G data sheet (AWS g5), 2021-11; dense. Not the A10, whose tensor cores do 125 bf16 TFLOP/s",
    ),
    "b200": Peaks(
        device="NVIDIA HGX B200 180GB",
        flops_per_s={
            "fp32": 75 * TERA, "tf32": 1100 * TERA, "bf16": 2250 * TERA, "fp16": 2250 * TERA, "fp8": 4500 * TERA,
            "int8": 4500 * TERA, "fp4": 9000 * TERA, "fp64": 37 * TERA,
        },
        bytes_per_s=7.7 * TERA,
        memory_bytes=180 * 10**9,
        source="NVIDIA Blackwell data sheet, one GPU of an HGX B200, 2025-03; dense: half of what it prints with sparsity",
    ),
    "mi300x": Peaks(
        device="AMD Instinct MI300X 192GB",
        flops_per_s={
            "fp32": 163.4 * TERA, "tf32": 653.7 * TERA, "bf16": 1307.4 * TERA, "fp16": 1307.4 * TERA, "fp8": 2614.9 * TERA,
            "int8": 2614.9 * TERA, "fp64": 163.4 * TERA,
        },
        bytes_per_s=5.3 * TERA,
        memory_bytes=192 * 10**9,
        source="AMD Instinct MI300X data sheet, 2023-12; dense",
    ),
}  # fmt: skip
"""By the name that ``--gpu`` takes."""

OTHER_CARDS = {
    "pcie": "the sheet is of the SXM card; one in a PCIe slot has less power and slower memory",
    "hbm2e": "the sheet is of the card with HBM3; with HBM2e it is the one in a PCIe slot",
    "nvl": "the sheet is of the SXM card, not of the NVL one",
    "mig": "a MIG instance has a part of the card's units and memory",
    "40gb": "the sheet is of the card with 80 GB, whose memory is faster",
}
"""Words of a driver's name that mean another card than the sheet's, and why: no figures rather than wrong ones."""


def sheet(name: str) -> Peaks:
    """The data sheet's figures for ``h100``, ``h200``, ``a100``, ``a10g``, ``b200`` or ``mi300x``.

    Raises:
        BadRequest: no sheet for that name.
    """
    found = SHEETS.get(name.strip().lower())
    if found is None:
        raise BadRequest(
            f"no data sheet for the GPU {name!r}.", param="gpu", hint=f"Known: {', '.join(sorted(SHEETS))}."
        )
    return found


def of_device(name: str) -> Peaks | None:
    """The sheet for a device as its driver calls it (``NVIDIA H100 80GB HBM3``); None where there is none for that very card."""
    return None if why_none(name) else SHEETS.get(_key(name))


def why_none(name: str) -> str:
    """Why a device of a known family has no sheet: it is another card of it. Empty where it has one, or is of no family known."""
    key = _key(name)
    if not key:
        return ""
    return next(
        (f"no data sheet for {name}: {why}" for word, why in OTHER_CARDS.items() if word in _words(name)), ""
    )


def _key(name: str) -> str:
    """The first sheet's key that is a word of the name; empty where none is."""
    return next((key for key in SHEETS if key in _words(name)), "")


def _words(name: str) -> list[str]:
    return name.lower().replace("-", " ").replace("_", " ").split()
