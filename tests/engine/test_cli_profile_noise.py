"""What libraries say on stderr while something is profiled: with ``--verbose``, and where the run fails; the user's own words always."""

import importlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import profile_noise
from penstock.engine.workloads import noise
from tests.house.source import SRC

pytest.importorskip("torch")
LIBRARY = """
import logging
import sys
import warnings

log = logging.getLogger("loud")
log.addHandler(logging.StreamHandler())
log.propagate = False


def say(words):
    log.warning(words)


def load():
    warnings.warn("the loud library is old", FutureWarning, stacklevel=2)
    log.warning("no optional part here")
    for at in range(4):
        print(f"\\rloading {at}/3", end="", file=sys.stderr)
    print(file=sys.stderr)
    print("hello from loud")
"""
MODULE = """
import sys

import loud
from torch import nn, ones

loud.load()
print("the user's own words", file=sys.stderr)


def build():
    return nn.Linear(4, 4), ones(2, 4)


def broken():
    return nn.Linear(4, 4), ones(2, 5)
"""
SAID = ("the loud library is old", "no optional part here", "loading 3/3", "hello from loud")


@pytest.fixture
def loud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed library that warns, logs, draws a bar and greets; and a module that uses it."""
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "loud.py").write_text(LIBRARY)
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "loud", raising=False)


def profiled(folder: Path, *words: str) -> tuple[int, str, str]:
    """The command as a user starts it."""
    environ = {
        "PATH": os.environ["PATH"], "PYTHONPATH": f"{SRC.parent}:{folder / 'site-packages'}", "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "profile", *words, "--quick", "--seconds", "0.1", "--json"],
        env=environ, capture_output=True, text=True, timeout=55, check=False, cwd=folder,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.usefixtures("loud")
def test_libraries_are_not_heard(tmp_path: Path):
    """The user's own words are, and so is our progress; that something was kept back is said."""
    code, out, err = profiled(tmp_path, "mine.py:build")
    assert code == 0
    assert not [word for word in SAID if word in err + out]
    assert "the user's own words" in err
    assert "lines of libraries' own words are not shown; --verbose shows them" in err
    assert "timing without a profiler" in err


@pytest.mark.usefixtures("loud")
def test_with_verbose_they_are(tmp_path: Path):
    code, out, err = profiled(tmp_path, "mine.py:build", "--verbose")
    assert code == 0
    assert [word for word in SAID if word not in err] == []
    assert not [word for word in SAID if word in out]
    assert "--verbose shows them" not in err


@pytest.mark.usefixtures("loud")
def test_a_run_that_fails_tells_all_of_it_first(tmp_path: Path):
    code, out, err = profiled(tmp_path, "mine.py:broken")
    assert (code, out) == (1, "")
    places = [err.index(word) for word in SAID]
    assert max(places) < err.index("mat1 and mat2")
    assert "loading 0/3" not in err  # a bar's last look is enough


def test_whatever_ends_it_nothing_is_lost(capsys: pytest.CaptureFixture[str], loud: None):
    """An interrupt too; and afterwards stderr is what it was, for those as well who took hold of it meanwhile."""
    held: list[Any] = []

    def interrupted() -> None:
        with profile_noise.kept_back(verbose=False):
            held.append(sys.stderr)
            importlib.import_module("loud").say("nearly there")
            raise KeyboardInterrupt

    before = sys.stderr
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sys.stderr is before
    assert not noise.KEPT.get()
    sys.modules["loud"].say("and afterwards")
    assert capsys.readouterr().err.splitlines() == ["nearly there", "and afterwards"]
    assert held[0].open


def test_where_nobody_keeps_it_what_is_known_is_silenced_at_its_source(caplog: pytest.LogCaptureFixture):
    """In Python, without the command: as before. With it nothing is lost to a filter."""
    caplog.set_level(logging.WARNING)
    for kept, count in ((False, 0), (True, 1)):
        told = noise.KEPT.set(kept)
        try:
            with noise.without_noise():
                logging.getLogger("torchao").warning("Failed to load a.so")
        finally:
            noise.KEPT.reset(told)
        assert len(caplog.records) == count
        caplog.clear()
