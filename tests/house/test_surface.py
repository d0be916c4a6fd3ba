"""The public surface is what the package says it is; importing is cheap; the error tree is as drawn."""

import re
import subprocess
import sys

import penstock
from penstock.base import errors
from tests.house.source import ROOT


def test_all_is_what_is_public():
    """``__all__`` names everything public in the package's root, and nothing else."""
    public = {name for name in vars(penstock) if not name.startswith("_")} - {
        "base", "blobs", "cache", "cli", "config", "dialects", "gateway", "ledger", "net", "observe", "routing", "server", "simulate",
        "objects", "registry", "state", "testing", "wire", "wiring", "meter", "engine", "engine_wiring",
    }  # fmt: skip
    assert public <= set(penstock.__all__)
    assert all(hasattr(penstock, name) for name in penstock.__all__)


def test_importing_loads_nothing_heavy():
    """``import penstock`` loads no server, no torch, no SDK."""
    script = "import sys, penstock; print(sorted(m for m in sys.modules if '.' not in m))"
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT / "src"
    )
    heavy = {"torch", "starlette", "rich", "yaml", "uvloop", "google", "cryptography", "sqlite3", "asyncio"}
    assert heavy & set(eval(out.stdout)) == set()


def test_the_drawn_error_tree_is_the_classes():
    """The docstring's tree and the classes are one."""
    drawn = set(re.findall(r"^[ │├└─]*?([A-Z][A-Za-z]+)(?=\s|$)", _tree(), re.MULTILINE))
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.PenstockError)
    }
    assert drawn == defined


def _tree() -> str:
    doc = errors.__doc__ or ""
    return "\n".join(line for line in doc.split("Rules")[0].splitlines()[1:] if line.strip())


def test_drawn_status_is_the_default_status():
    """Where the tree shows one status, the class has it."""
    wrong = []
    for name, status in re.findall(r"([A-Z][A-Za-z]+)\s+(\d{3})\s", _tree()):
        if getattr(errors, name).default_status != int(status):
            wrong.append((name, status))
    assert wrong == []
