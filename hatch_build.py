"""Builds the native express lane (src/penstock/server/_express.pyx) where there is a C compiler; else the short lane serves.

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

FOLDER = Path("src/penstock/server")
SOURCES = ("_express.pyx", "_express_reply.pxi", "_express_scan.pxi", "_express_words.pxi")


class NativeHook(BuildHookInterface):  # type: ignore[misc, type-arg]
    """Puts the module beside its source, for an editable installation, and into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        wanted = os.environ.get("PENSTOCK_NATIVE", "")
        if wanted == "0" or self.target_name != "wheel":
            return
        try:
            built = build(Path(self.root))
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            if wanted == "1":
                raise
            self.app.display_warning(f"The express lane is left out, calls take the short lane: {error}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["artifacts"].append(f"/{built}")


def build(root: Path) -> Path:
    """Compile; returns the module's path below ``root``."""
    from Cython.Compiler.Main import compile as cythonize

    folder = root / FOLDER
    digest = blake2b(b"".join((folder / name).read_bytes() for name in SOURCES), digest_size=8).hexdigest()
    module = FOLDER / f"_express{sysconfig.get_config_var('EXT_SUFFIX')}"
    with tempfile.TemporaryDirectory() as temporary:
        source, made = Path(temporary) / "_express.c", Path(temporary) / "_express.so"
        found = cythonize(
            str(folder / SOURCES[0]), output_file=str(source), full_module_name="penstock.server._express"
        )
        if found.num_errors:
            raise OSError("Cython refused the source")
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        flags = [
            "-shared",
            "-fPIC",
            "-O2",
            "-fno-strict-aliasing",
            "-DNDEBUG",
            f'-DPENSTOCK_SOURCES="{digest}"',
        ]
        if sys.platform == "darwin":
            flags = ["-undefined", "dynamic_lookup", *flags]
        include = sysconfig.get_paths()["include"]
        words = [*compiler, *flags, f"-I{include}", str(source), "-o", str(made)]
        subprocess.run(words, check=True, capture_output=True, text=True)
        # In one step: a gateway that runs has the old one open.
        beside = root / module.with_suffix(".new")
        beside.write_bytes(made.read_bytes())
        beside.replace(root / module)
    return module


if __name__ == "__main__":
    print(build(Path(__file__).parent))
