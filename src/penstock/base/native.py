"""Native modules: built at the installation where there is a C compiler (hatch_build.py), and used only if built of the
sources that stand beside them. What they do, Python does as well, slower.
"""

from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from types import ModuleType


def load_native(package: str, name: str, folder: Path) -> tuple[ModuleType | None, str]:
    """The module ``name`` of ``package``, whose sources are in ``folder``; or None, and why there is none."""
    try:
        module = import_module(f"{package}.{name}")
    except ImportError:
        return None, "it was not built: that takes a C compiler at the installation"
    sources = [path for path in sorted(folder.glob(f"{name}*.p??")) if path.suffix in (".pyx", ".pxi")]
    if sources and source_digest(sources) != module.SOURCES:
        return None, "it was built of other sources: install again"
    return module, ""


def source_digest(sources: list[Path]) -> str:
    """Of what a module is built of."""
    return blake2b(b"".join(path.read_bytes() for path in sources), digest_size=8).hexdigest()
