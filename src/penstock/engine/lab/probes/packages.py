"""Packages beside torch, judged by their metadata and binaries. Nothing is imported: importing is what would fail."""

import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import torch

from penstock.engine.measure.seen import Package

NAMES = ("torchvision",)
_WANTS = re.compile(r"^torch\s*\(?={2,3}\s*(?P<version>[^\s;,)]+)")
"""The whole version, whatever it ends in: a nightly's ``2.14.0.dev20260101`` too."""
_CUDA = (b"libtorch_cuda.so", b"libc10_cuda.so", b"libcudart.so")
"""Libraries that a binary built for CUDA names in its dynamic section."""


def beside_torch() -> tuple[Package, ...]:
    """Each of ``NAMES`` that is installed."""
    found: list[Package] = []
    for name in NAMES:
        try:
            here = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(
            Package(
                name=name,
                version=here.version,
                wants_torch=wanted(here.requires or []),
                cuda=_linked(Path(str(here.locate_file(name))), here.version),
                torch_version=torch.__version__,
                torch_cuda=torch.version.cuda is not None,
            )
        )
    return tuple(found)


def wanted(requires: Iterable[str]) -> str:
    """The torch that a package's requirements name by ``==``, whole; empty where they name none."""
    return next((match["version"] for line in requires if (match := _WANTS.match(line))), "")


def _linked(folder: Path, version: str) -> bool | None:
    """Whether its extensions name CUDA's libraries; by its version's local part where it has none; None where that says nothing."""
    extensions = [*folder.glob("*.so"), *folder.glob("*.pyd")]
    if extensions:
        return any(name in one.read_bytes() for one in extensions for name in _CUDA)
    local = version.partition("+")[2]
    return local.startswith("cu") if local else None
