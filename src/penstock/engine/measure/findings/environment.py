"""Packages beside torch that were built for another torch."""

import re

from penstock.engine.measure.records import Finding
from penstock.engine.measure.seen import Package, Seen


def find(seen: Seen) -> list[Finding]:
    """``broken-torchvision`` for each that cannot be loaded beside this torch."""
    return [finding for package in seen.packages for finding in broken(package)]


def broken(package: Package) -> list[Finding]:
    """``broken-<name>``: linked against CUDA beside a CPU torch, or built for another version. Empty where it fits."""
    why: list[str] = []
    if package.cuda and package.torch_cuda is False:
        why.append(f"its binaries are linked against CUDA, and torch {package.torch_version} is a CPU build")
    if package.wants_torch and package.torch_version and not fits(package.torch_version, package.wants_torch):
        why.append(f"it was built for torch {package.wants_torch}, and {package.torch_version} is installed")
    if not why:
        return []
    return [
        Finding(
            id=f"broken-{package.name}",
            title=f"{package.name} {package.version} was built for another torch",
            evidence=(
                f"{package.name} {package.version}: {'; '.join(why)}. Its operators do not register (operator torchvision::nms does "
                "not exist), and transformers and diffusers, which import it when they find it, fail with it."
            ),
            bound="It decides whether the run works, not how long it takes.",
            fix=(
                "Remove it (text-to-image needs none), or install the build that belongs to this torch, from where torch came.\n"
                f"pip uninstall -y {package.name}"
            ),
            proof='python -c "import diffusers" says nothing.',
            facts={"cuda": float(bool(package.cuda)), "torch_cuda": float(bool(package.torch_cuda))},
            where=package.name,
        )
    ]


def fits(version: str, wanted: str) -> bool:
    """Whether an installed version is the one that was asked for by ``==``, as PEP 440 compares them.

    ``2.13.0+cpu`` is ``2.13.0`` and ``2.13``; ``2.13.*`` is any that begins so; a nightly is that night's alone.
    """
    have = _public(version)
    if wanted.endswith(".*"):
        return f"{have}.".startswith(f"{_public(wanted.removesuffix('.*'))}.")
    return _trimmed(have) == _trimmed(_public(wanted))


def _public(version: str) -> str:
    """Without the local part, which says how it was built: ``2.13.0`` of ``v2.13.0+cpu``."""
    return version.strip().lower().removeprefix("v").split("+", maxsplit=1)[0]


def _trimmed(version: str) -> str:
    """Without the release's last zeros: ``2.13`` of ``2.13.0``, ``2.14.dev1`` of ``2.14.0.dev1``."""
    release = re.match(r"[0-9.]*[0-9]", version)
    if release is None:
        return version
    return re.sub(r"(\.0+)+$", "", release[0]) + version[release.end() :]
