"""What both demos stand on: processes of our own, a post, a ledger that has come to rest, and the end.

``demo`` and ``demo_cache`` start simulated providers and a real gateway, and read what happened from its ledger.
"""

import asyncio
import json
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from penstock.base.endpoint import parse_base_url
from penstock.cli.screen import put
from penstock.ledger.pulse import Pulse, pulse
from penstock.net.transport import Deadlines, Transport, TransportSettings
from penstock.wire.http import WireRequest

START_TIMEOUT_S = 20.0
SETTLED_S = 10.0
DEADLINES = Deadlines(5.0, 30.0, 30.0, 60.0)
KEY = "psk-demo"


class NotStarted(Exception):
    """One of our processes ended before it listened; the words are what it said."""


def _faults(said: str) -> str:
    """The faults among the log's JSON lines; all that was said where there are none."""
    lines = [line for line in said.splitlines() if '"fault"' in line]
    return "\n".join(f"  {json.loads(line)['fault']}" for line in lines if line.startswith("{")) or said


class Process:
    """One of our own processes, ended by its own id."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._drain: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, *words: str, env: dict[str, str], stream: str) -> tuple["Process", str]:
        """Start ``penstock WORDS`` and wait for the JSON line that names its url."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "penstock", *words,
            env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            url = await cls._url(process, words[0], stream)
        except BaseException:
            # Also when the demo itself is ended just now: nobody else knows of this process yet.
            if process.returncode is None:
                process.kill()
            await process.wait()
            raise
        started = cls(process)
        started.keep_reading()
        return started, url

    @staticmethod
    async def _url(process: asyncio.subprocess.Process, word: str, stream: str) -> str:
        pipe = process.stdout if stream == "stdout" else process.stderr
        said: list[str] = []
        while pipe is not None:
            async with asyncio.timeout(START_TIMEOUT_S):  # wait_for of Python 3.11 may swallow a cancel
                line = await pipe.readline()
            if not line:
                other = process.stderr if stream == "stdout" else process.stdout
                rest = (await other.read()).decode() if other is not None else ""
                await process.wait()
                raise NotStarted(f"penstock {word} did not start.\n{_faults(''.join(said) + rest)}")
            said.append(line.decode())
            if b'"url"' in line:
                break
        return str(json.loads(said[-1])["url"])

    def keep_reading(self) -> None:
        """Empty its pipes, so that it never waits for us."""
        self._drain = asyncio.ensure_future(self._read_on())

    async def _read_on(self) -> None:
        for pipe in (self._process.stdout, self._process.stderr):
            while pipe is not None and await pipe.read(65536):
                pass

    async def stop(self) -> None:
        """SIGTERM, and wait."""
        if self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        if self._drain is not None:
            await self._drain


async def post(url: str, path: bytes, body: dict[str, Any]) -> None:
    transport = Transport(TransportSettings(endpoint=parse_base_url(url)))
    request = WireRequest(b"POST", path, [(b"content-type", b"application/json")], msgspec.json.encode(body))
    exchange = await transport.send(request, DEADLINES)
    await exchange.read(1 << 20)
    await transport.aclose()


def end_in_order() -> None:
    """SIGTERM, or a terminal that is closed: end like Ctrl-C does, and leave no process behind."""
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


async def settled(connection: sqlite3.Connection, *, least: int = 0) -> Pulse:
    """The figures once the writer has written what was queued: so many calls at least, but for a writer that has died."""
    last, until_s = pulse(connection), asyncio.get_running_loop().time() + SETTLED_S
    while True:
        await asyncio.sleep(0.2)
        now = pulse(connection)
        if now == last and (now.requests >= least or asyncio.get_running_loop().time() > until_s):
            return now
        last = now


async def stay(console: Console, url: str, config: Path, db: Path) -> None:
    """Say where it runs and how to call it: lines to be copied, so neither folded nor marked up."""
    body = '{"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}'
    for line in (
        "",
        f"The gateway runs at {url} (configuration {config}). Try:",
        "",
        f"  curl {url}/v1/chat/completions \\",
        f"    -H 'Authorization: Bearer {KEY}' -H 'Content-Type: application/json' \\",
        f"    -d '{body}'",
        "",
        f"What it cost: penstock cost --by model --db {db}",
        "Ctrl-C ends it.",
    ):
        put(console, line)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
