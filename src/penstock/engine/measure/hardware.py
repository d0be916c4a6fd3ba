"""What the figures rest on: device, driver, versions, threads. Facts as words, for reports; nothing is decided here."""

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from penstock.engine.measure import inside

PACKAGES = (
    "torch",
    "triton",
    "diffusers",
    "transformers",
    "accelerate",
    "torchao",
    "kernels",
    "torchvision",
    "numpy",
)
"""Whose versions are told, where they are installed; none of them is imported for it."""
CPUINFO = Path("/proc/cpuinfo")


def machine(device: str = "cpu") -> dict[str, str]:
    """Facts by name. ``device`` is where the work runs; with a GPU its name, memory, capability and driver are told too."""
    facts = {
        "device": device,
        "cpu": cpu_name(_read(CPUINFO)) or platform.processor() or platform.machine(),
        "cpu_cores": f"{psutil.cpu_count(logical=False) or '?'} cores, {psutil.cpu_count()} threads",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": f"{torch.get_num_threads()} (between ops: {torch.get_num_interop_threads()})",
        "memory": _gib(psutil.virtual_memory().total),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "fp32_matmul": inside.fp32_precision(),
    }
    facts |= versions()
    kind = torch.device(device)
    if kind.type == "cuda":
        facts |= _gpu(kind)
    return facts


def versions() -> dict[str, str]:
    """Installed versions of what matters to speed."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_name(cpuinfo: str) -> str:
    """The model's name out of Linux' ``/proc/cpuinfo``; empty where it is not told."""
    for line in cpuinfo.splitlines():
        key, _colon, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware"):
            return value.strip()
    return ""


def device_name(device: str) -> str:
    """As the driver calls it (``NVIDIA H100 80GB HBM3``); ``cpu`` for a CPU."""
    kind = torch.device(device)
    return torch.cuda.get_device_name(kind) if kind.type == "cuda" else kind.type


def memory_bytes(device: str) -> int:
    """All memory of the device; of the machine, for a CPU."""
    kind = torch.device(device)
    if kind.type == "cuda":
        return _properties(kind).total_memory
    return psutil.virtual_memory().total


def free_bytes(device: str) -> int:
    """Memory that can be had now: the driver's, and what PyTorch's allocator holds without a tensor in it; the machine's, for a CPU."""
    kind = torch.device(device)
    if kind.type != "cuda":
        return psutil.virtual_memory().available
    free, _total = torch.cuda.mem_get_info(kind)
    return free + torch.cuda.memory_reserved(kind) - torch.cuda.memory_allocated(kind)


def _gpu(device: torch.device) -> Mapping[str, str]:
    """What the driver tells of one GPU (CUDA or ROCm)."""
    told = _properties(device)
    facts: dict[str, str] = {
        "gpu": told.name,
        "gpu_memory": _gib(told.total_memory),
        "gpu_processors": str(told.multi_processor_count),
        "gpu_capability": f"{told.major}.{told.minor}",
        "gpu_count": str(torch.cuda.device_count()),
    }
    if torch.version.hip:
        facts["rocm"] = str(torch.version.hip)
    else:
        facts["cuda"] = str(torch.version.cuda)
    cudnn = torch.backends.cudnn.version()
    return facts | ({"cudnn": str(cudnn)} if cudnn else {})


def _properties(device: torch.device) -> Any:
    handle: Any = torch.cuda
    return handle.get_device_properties(device)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
