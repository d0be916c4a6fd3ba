"""Who names ``penstock.engine.profile`` where torch is not installed is told what to install."""

import subprocess
import sys

from tests.house.source import SRC

PROGRAM = """
import sys
sys.modules["torch"] = None
try:
    from penstock.engine import profile
except ModuleNotFoundError as error:
    print(error)
"""


def test_the_extra_is_named():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": str(SRC.parent)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "pip install 'penstock[engine]'" in done.stdout
    assert "torch is not installed" in done.stdout
