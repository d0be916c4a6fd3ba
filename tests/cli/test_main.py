"""The command line's own behaviour: overview, unknown commands, exit codes, and what is loaded when."""

import os
import subprocess
import sys

import pytest

from penstock import __version__
from penstock.cli.main import COMMANDS, run
from tests.house.source import ROOT

HEAVY = {
    "starlette",
    "uvloop",
    "httptools",
    "rich",
    "yaml",
    "google",
    "cryptography",
    "sqlite3",
    "asyncio",
    "ssl",
}


def loaded_by(*words: str) -> set[str]:
    """Top-level modules after a command has run in a process of its own."""
    script = (
        "import sys\nfrom penstock.cli.main import run\n"
        f"try:\n    code = run({list(words)!r})\nexcept SystemExit as stop:\n    code = stop.code\n"
        "assert code == 0, code\n"
        "print('LOADED', *sorted(m for m in sys.modules if '.' not in m))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "src",
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    return set(done.stdout.rpartition("LOADED ")[2].split())


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_names_every_command(words, capsys):
    """On stdout, with exit 0."""
    assert run(words) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name, (_, summary) in COMMANDS.items():
        assert any(line.startswith(f"  {name} ") and line.endswith(summary) for line in out.splitlines())


@pytest.mark.parametrize("words", [["--version"], ["-V"], ["version"]])
def test_the_version_is_said(words, capsys):
    assert run(words) == 0
    assert capsys.readouterr().out == f"penstock {__version__}\n"


@pytest.mark.parametrize("word", ["srve", "", "--config", "serve.py"])
def test_an_unknown_command_is_a_wrong_call(word, capsys):
    """Exit 2, the overview on stderr, nothing on stdout."""
    assert run([word]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"no command {word!r}" in err
    assert "serve" in err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    """--help: exit 0, its summary and its options."""
    with pytest.raises(SystemExit) as stop:
        run([name, "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert out.startswith(f"usage: penstock {name}")
    assert COMMANDS[name][1] in out


@pytest.mark.parametrize(
    "words", [["check"], ["keys", "nwe"], ["explain"], ["serve", "--port", "x"], ["cost", "--nope"]]
)
def test_a_wrong_call_is_exit_2(words, capsys):
    """argparse's own sentence on stderr."""
    with pytest.raises(SystemExit) as stop:
        run(words)
    assert stop.value.code == 2
    assert "usage: penstock" in capsys.readouterr().err


def test_help_loads_nothing_that_it_does_not_need():
    """The overview, and serve's own help, come before the house is loaded."""
    assert loaded_by("--help") & HEAVY == set()
    assert loaded_by("serve", "--help") & HEAVY == set()
    assert loaded_by("keys", "new", "a", "--print") & HEAVY == set()


def test_models_loads_no_server():
    assert loaded_by("models", "gpt-4o-mini") & (HEAVY - {"rich", "ssl"}) == set()


def test_python_m_penstock_is_the_same(tmp_path):
    """The module and the script are one."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.stdout == f"penstock {__version__}\n"


@pytest.mark.parametrize("words", [["cache"], ["cache", "--help"], ["cache", "help"]])
def test_a_group_names_its_commands(words, capsys):
    """By their second words, on stdout, with exit 0."""
    assert run(words) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name, (_, summary) in COMMANDS.items():
        group, _, second = name.partition(" ")
        if group == "cache":
            assert any(
                line.startswith(f"  {second} ") and line.endswith(summary) for line in out.splitlines()
            )
    assert "doctor" not in out


def test_a_command_that_a_group_has_not_is_a_wrong_call(capsys):
    """Exit 2; the nearest is named."""
    assert run(["cache", "adit"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "no command 'cache adit'. Did you mean 'cache audit'?" in err
