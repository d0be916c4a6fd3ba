"""A simulator in a thread of its own, for tests and tools that block."""

import asyncio
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


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
