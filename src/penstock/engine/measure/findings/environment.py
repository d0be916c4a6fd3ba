"""Packages beside torch that were built for another torch."""

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
    if package.wants_torch and package.torch_version and _plain(package.torch_version) != package.wants_torch:
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
            fix=(
                "Remove it (text-to-image needs none), or install the build that belongs to this torch, from where torch came.\n"
                f"pip uninstall -y {package.name}"
            ),
            proof='python -c "import diffusers" says nothing.',
            facts={"cuda": float(bool(package.cuda)), "torch_cuda": float(bool(package.torch_cuda))},
            where=package.name,
        )
    ]


def _plain(version: str) -> str:
    """``2.13.0`` of ``2.13.0+cpu``."""
    return version.split("+", maxsplit=1)[0]
