"""A wrong call is told before anything starts, with what to write instead."""

import pytest

from penstock.cli.main import run


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
