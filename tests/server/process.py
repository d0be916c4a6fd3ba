"""``penstock serve`` as the operator starts it: a process of its own, its log read line by line."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.simulate.raw import RawReply, ask

ROOT = Path(__file__).parents[2]
WAIT_S = 20.0


def command(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """``penstock WORDS`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "penstock", *words],
        env=environment(env or {}),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def environment(extra: dict[str, str]) -> dict[str, str]:
    """This process's environment without anybody's keys, with ours, and with this tree's package in front."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_KEY", "_TOKEN"))}
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "300", **extra}


class GatewayProcess:
    """``with GatewayProcess(folder, yaml, env) as gateway``: it listens inside the block."""

    def __init__(self, folder: Path, config: str, env: dict[str, str] | None = None, *options: str) -> None:
        self.folder = folder
        self.config = folder / "penstock.yaml"
        self.config.write_text(config, encoding="utf-8")
        self.db: Path | None = folder / "penstock.db"
        """None: where the configuration says."""
        self.env = env or {}
        self.options = options
        self.url = ""
        self.lines: list[str] = []
        self.exit: int | None = None
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        self.url = self.wait_for("listening")["url"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        self.join()

    def start(self) -> None:
        """Start it; ``__enter__`` also waits until it listens."""
        words = ["serve", "--config", str(self.config), "--port", "0", "--json"]
        words += [] if self.db is None else ["--db", str(self.db)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "penstock", *words, *self.options],
            env=environment(self.env),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,))
        self._reader.start()

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log so far; a line that is no JSON stands under ``text``."""
        return [
            json.loads(line) if line.startswith("{") else {"event": "text", "text": line}
            for line in list(self.lines)
        ]

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """The ``count``-th such line of the log."""
        until_s = time.monotonic() + WAIT_S
        while time.monotonic() < until_s:
            found = [one for one in self.events if one["event"] == event]
            if len(found) >= count:
                return found[count - 1]
            assert self._process is not None
            if self._process.poll() is not None and self._reader is not None and not self._reader.is_alive():
                break
            time.sleep(0.01)
        raise AssertionError(f"no {event!r} in the log: {self.lines}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def join(self) -> int:
        """Wait until it has ended: its exit status."""
        assert self._process is not None
        assert self._reader is not None
        self.exit = self._process.wait(WAIT_S)
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()
        return self.exit

    def terminate(self) -> int:
        """SIGTERM and its end."""
        self.signal(signal.SIGTERM)
        return self.join()

    def ask(self, path: str, body: Any = None, **options: Any) -> RawReply:
        """One request on a connection of its own."""
        if body is None:
            options.setdefault("method", "GET")
        return ask(self.url, path, body, **options)

    def chat(self, **fields: Any) -> RawReply:
        """One chat call."""
        headers = fields.pop("headers", None)
        body = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], **fields}
        return self.ask("/v1/chat/completions", body, headers=headers)
