"""Builds the native modules where there is a C compiler; else Python does their work.

``PENSTOCK_NATIVE=1`` makes a build that cannot be an error, ``PENSTOCK_NATIVE=0`` leaves it out.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULES = tuple(
    Path("src/penstock", name)
    for name in (
        "cache/embed/_bert",
        "gateway/_shortcut",
        "ledger/_rows",
        "ledger/_till",
        "ledger/postgres/_copy",
        "net/_line",
        "routing/_gcra",
        "server/_express",
        "wire/_large",
    )
)


class NativeHook(BuildHookInterface):  # type: ignore[misc, type-arg]
    """Puts the module beside its source, for an editable installation, and into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        wanted = os.environ.get("PENSTOCK_NATIVE", "")
        if wanted == "0" or self.target_name != "wheel":
            return
        try:
            built = [build(Path(self.root), module) for module in MODULES]
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            if wanted == "1":
                raise
            self.app.display_warning(f"Native code is left out, Python does its work: {error}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["artifacts"] += [f"/{path}" for path in built]


def build(root: Path, module: Path) -> Path:
    """Compile; returns the file's path below ``root``."""
    from Cython.Compiler.Main import compile as cythonize

    folder, name = root / module.parent, module.name
    sources = [path for path in sorted(folder.glob(f"{name}*.p??")) if path.suffix in (".pyx", ".pxi")]
    digest = blake2b(b"".join(path.read_bytes() for path in sources), digest_size=8).hexdigest()
    target = module.with_name(f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}")
    with tempfile.TemporaryDirectory() as temporary:
        source, made = Path(temporary) / f"{name}.c", Path(temporary) / f"{name}.so"
        found = cythonize(
            str(folder / f"{name}.pyx"),
            output_file=str(source),
            full_module_name=".".join(module.parts[1:]),
        )
        if found.num_errors:
            raise OSError(f"Cython refused {name}.pyx")
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        flags = [
            "-shared",
            "-fPIC",
            "-O2",
            "-fno-strict-aliasing",
            "-ffp-contract=off",
            "-DNDEBUG",
            f'-DPENSTOCK_SOURCES="{digest}"',
        ]
        if sys.platform == "darwin":
            flags = ["-undefined", "dynamic_lookup", *flags]
        include = sysconfig.get_paths()["include"]
        words = [*compiler, *flags, f"-I{include}", str(source), "-o", str(made), "-ldl"]
        subprocess.run(words, check=True, capture_output=True, text=True)
        # In one step: a gateway that runs has the old one open.
        beside = root / target.with_suffix(".new")
        beside.write_bytes(made.read_bytes())
        beside.replace(root / target)
    return target


if __name__ == "__main__":
    for one in MODULES:
        print(build(Path(__file__).parent, one))
