"""A wrong call is told before anything starts, with what to write instead."""

import os
import subprocess
import sys

import pytest

from penstock.cli.main import run
from tests.docs.blocks import ROOT


@pytest.mark.parametrize("words", [["serve"], ["simulate"], ["demo"]])
@pytest.mark.parametrize("port", ["65536", "80000", "-1", "http", "8080.0", ""])
def test_a_port_that_is_none_is_refused(words, port, capsys):
    """The event loop would have listened on 80000 modulo 65536."""
    with pytest.raises(SystemExit) as ended:
        run([*words, f"--port={port}"])
    assert ended.value.code == 2
    assert "write a number from 0 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-3", "nan", "inf", "soon"])
def test_a_replay_has_a_length(seconds, capsys):
    """No division by nothing, and an end."""
    with pytest.raises(SystemExit) as ended:
        run(["demo", f"--seconds={seconds}"])
    assert ended.value.code == 2
    assert "write a number above 0" in capsys.readouterr().err


def test_a_misspelt_command_is_guessed(capsys):
    """And the list of commands follows."""
    assert run(["serv"]) == 2
    said = capsys.readouterr().err
    assert "Did you mean 'serve'?" in said
    assert "penstock COMMAND --help" in said


@pytest.mark.parametrize("name", ["", " "])
def test_a_key_stands_for_somebody(name, capsys):
    """Nothing is printed that ``check`` would refuse, and no key is thrown away."""
    for more in ([], ["--print"]):
        assert run(["keys", "new", *more, "--name", name]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert "needs a name" in said.err or "--config" in said.err


@pytest.mark.parametrize("more", [[], ["--print"]], ids=["alone", "print"])
def test_a_key_asked_for_without_a_word_is_printed(more, capsys, tmp_path, monkeypatch):
    """A fresh one, with lines that ``check`` takes; nothing is stored, and a place to store it at wants a name."""
    monkeypatch.chdir(tmp_path)
    assert run(["keys", "new", *more]) == 0
    key, _, lines = capsys.readouterr().out.partition("\n")
    assert key.startswith("psk-")
    config = tmp_path / "penstock.yaml"
    config.write_text(
        "providers: {ollama: {}}\n" + lines[lines.index("  virtual_keys:") :].replace("\n  ", "\n").lstrip()
    )
    assert run(["check", str(config)]) == 0, config.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["penstock.yaml"]
    assert run(["keys", "new", "--db", "penstock.db"]) == 1
    assert "needs a name" in capsys.readouterr().err


def test_a_terminal_that_knows_ascii_only_gets_escapes():
    """A name with an umlaut is no reason for a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "keys", "new", "--print", "--name", "Zürich"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"psk-" in done.stdout
