"""A simulator in a thread or a process of its own, for tests, benches and tools that block."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

import uvloop

from penstock.base.clock import Clock
from penstock.simulate.scenario import Scenario
from penstock.simulate.server import Simulator

_START_TIMEOUT_S = 10.0


@contextmanager
def running_simulator(
    scenario: Scenario | None = None, *, host: str = "127.0.0.1", port: int = 0, clock: Clock | None = None
) -> Generator[Simulator]:
    """``with running_simulator() as sim:`` — listening inside the block, gone after it."""
    sim = Simulator(scenario, clock)
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=_run, args=(loop,), name="simulator", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(sim.start(host, port), loop).result(_START_TIMEOUT_S)
        try:
            yield sim
        finally:
            asyncio.run_coroutine_threadsafe(sim.stop(), loop).result(_START_TIMEOUT_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def simulator_process(*arguments: str) -> Generator[str]:
    """``penstock simulate`` as a process on a free port, with further ``arguments``; gives its URL, ends it after."""
    command = [sys.executable, "-m", "penstock.cli.simulate", "--port", "0", "--json", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own command
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            if not line:
                raise RuntimeError("The simulator did not start; its own message is on stderr.")
            yield json.loads(line)["url"]
        finally:
            process.terminate()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
