"""The gateway without sockets: what one call costs in our own code, from the caller's bytes to the reply's.

Real connections, parser, house, ledger and metrics on both sides of two transports that only hand bytes over, ``--calls`` calls
with ``--open`` of them in flight. ``python -m benches.inside [--calls 20000] [--open 32] [--profile] [--no-ledger] [--budgets] [--translated|--stream]``
"""

import argparse
import asyncio
import cProfile
import json
import pstats
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from benches.gateway import BODY
from benches.houses import CONFIG, KEY
from benches.upstream import FIRST, HEAD, LAST, WHOLE, event
from penstock.config.catalogue import Catalogue
from penstock.config.load import load_text
from penstock.ledger.journal import Journal
from penstock.net.connection import Connection
from penstock.observe.log import OperatorLog
from penstock.server.app import App
from penstock.wiring.build import Shared, build

TRANSLATED = json.dumps({**json.loads(BODY), "max_tokens": 512})
REQUEST = b"POST %b HTTP/1.1\r\nHost: x\r\ncontent-type: application/json\r\nauthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
REPLY = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n%b" % (
    len(WHOLE), WHOLE,
)  # fmt: skip


STREAMED = json.dumps({**json.loads(BODY), "stream": True})
PIECES = (HEAD + FIRST, event(), event(), event() + LAST)
"""A stream of three events, as the provider's socket gives it."""


def request(*, translated: bool, streamed: bool) -> bytes:
    """The request that every caller sends."""
    path, body = (b"/v1/messages", TRANSLATED) if translated else (b"/v1/chat/completions", BODY)
    body = STREAMED if streamed else body
    return REQUEST % (path, KEY.encode(), len(body), body.encode())


class Up(asyncio.Transport):
    """A provider that answers in the loop's next turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pieces: tuple[bytes, ...]) -> None:
        super().__init__()
        self.loop = loop
        self.pieces = pieces
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        for piece in self.pieces:
            self.loop.call_soon(self.protocol.data_received, piece)

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None: ...

    def close(self) -> None: ...


class Down(asyncio.Transport):
    """A caller that asks again once it is answered."""

    def __init__(self, loop: asyncio.AbstractEventLoop, again: Any, ending: bytes) -> None:
        super().__init__()
        self.loop = loop
        self.again = again
        self.ending = ending

    def write(self, data: Any) -> None:
        if data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(data)
        if data.endswith(self.ending):
            self.again(self)

    def abort(self) -> None: ...

    def close(self) -> None: ...


BUDGETED = """    team: t
    budgets: [{limit_usd: 900000, period: day}]
teams: [{name: t, organisation: o, budgets: [{limit_usd: 900000, period: week}]}]
organisations: [{name: o, budgets: [{limit_usd: 900000, period: month}]}]
"""
"""Three budgets on the path of the bench's key."""


async def run(
    calls: int,
    at_once: int,
    *,
    ledger: bool,
    profile: bool,
    budgets: bool = False,
    translated: bool = False,
    streamed: bool = False,
) -> float:
    loop = asyncio.get_running_loop()
    asking = request(translated=translated, streamed=streamed)
    with tempfile.TemporaryDirectory() as folder:
        known = {"BENCH_KEY": "sk", "BENCH_VIRTUAL_KEY": KEY}
        config = CONFIG.format(upstream=9) + (BUDGETED if budgets else "")
        loaded = load_text(config, Path(), known, Catalogue.load(), "2026-11-21")
        journal = Journal(f"{folder}/ledger.db")
        if not ledger:
            journal.add = lambda record: None  # type: ignore[method-assign]
        house = build(loaded, Catalogue.load(), Shared(journal, OperatorLog()))
        transport = house.providers["openai"].transport
        transport._loop = loop  # noqa: SLF001 - instead of dialling
        for _ in range(at_once):
            socket = Up(loop, PIECES if streamed else (REPLY,))
            connection = socket.protocol = Connection(transport, loop)
            connection.connection_made(socket)
            connection.pooled = True
            transport._slots += 1  # noqa: SLF001
            transport.released(connection)
        app = App(house, OperatorLog())
        asked, answered, done = 0, 0, loop.create_future()

        def ask(down: Down) -> None:
            nonlocal asked
            asked += 1
            loop.call_soon(down.protocol.data_received, asking)

        def again(down: Down) -> None:
            nonlocal answered
            answered += 1
            if asked < calls:
                ask(down)
            elif answered == calls:
                done.set_result(None)

        for _ in range(at_once):
            down = Down(loop, again, b"\r\n0\r\n\r\n" if streamed else b"")
            down.protocol = app.connection()
            down.protocol.connection_made(down)
            ask(down)
        profiler = cProfile.Profile()
        if profile:
            profiler.enable()
        before = time.thread_time()
        await asyncio.wait_for(done, 300)
        spent = time.thread_time() - before
        if profile:
            profiler.disable()
            pstats.Stats(profiler).sort_stats("tottime").print_stats(60)
        journal.close()
        return spent / calls * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--open", type=int, default=32)
    parser.add_argument("--no-ledger", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--budgets", action="store_true", help="three budgets on the path")
    parser.add_argument("--translated", action="store_true", help="Anthropic's dialect in, OpenAI's out")
    parser.add_argument("--stream", action="store_true", help="streams of three events")
    args = parser.parse_args()
    loop_us = uvloop.run(
        run(
            args.calls,
            args.open,
            ledger=not args.no_ledger,
            profile=args.profile,
            budgets=args.budgets,
            translated=args.translated,
            streamed=args.stream,
        )
    )
    print(json.dumps({"calls": args.calls, "open": args.open, "loop_us_per_call": round(loop_us, 1)}))


if __name__ == "__main__":
    main()
