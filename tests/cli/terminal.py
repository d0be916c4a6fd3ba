"""What a command prints into a terminal of some width: a real one, and the quick way within this process."""

import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Mapping

import pytest

from penstock.cli.main import run

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def plain(text: str) -> str:
    """Without colours and cursor moves."""
    return _ESCAPE.sub("", text).replace("\r", "")


def in_terminal(words: list[str], columns: int, env: Mapping[str, str]) -> tuple[int, str]:
    """Run a program with a pseudo-terminal as all its streams; its exit code and all it wrote, escapes included."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    streams = [(os.POSIX_SPAWN_DUP2, slave, number) for number in (0, 1, 2)]
    child = os.posix_spawn(
        words[0], words, dict(env), file_actions=[*streams, (os.POSIX_SPAWN_CLOSE, master)]
    )
    os.close(slave)
    said = bytearray()
    try:
        while piece := os.read(master, 65536):
            said += piece
    except OSError:  # how Linux says that the other side has closed
        pass
    finally:
        os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.decode()


class Screen:
    """Runs commands here, with rich told that it writes to a terminal of ``columns``; None: into a pipe."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def show(self, columns: int | None, *words: str) -> tuple[int, str]:
        """The exit code, and what stands there, without colours."""
        with self._monkeypatch.context() as patch:
            for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
                patch.delenv(name, raising=False)
            if columns is not None:
                patch.setenv("COLUMNS", str(columns))
                patch.setenv("FORCE_COLOR", "1")
            code = run(list(words))
        return code, plain(self._capsys.readouterr().out)

    def lines(self, columns: int | None, *words: str) -> list[str]:
        """What stands there after a command that worked."""
        code, out = self.show(columns, *words)
        assert code == 0, out
        return out.splitlines()
