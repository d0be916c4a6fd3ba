"""``penstock demo``: simulated providers, the gateway, and a traffic replay with an outage in the middle; ``--cache``: see ``demo_cache``.

Everything is real but the models: three processes, real sockets, the ledger on disk. All figures are read from the
ledger. Exits 0 when every call was answered although one provider failed.
"""

import argparse
import asyncio
import os
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from penstock.base.endpoint import parse_base_url
from penstock.base.errors import UpstreamError
from penstock.base.money import usd_text
from penstock.cli.arguments import calls, port, seconds
from penstock.cli.demo_cache import cache_demo
from penstock.cli.demo_stage import DEADLINES, KEY, NotStarted, Process, end_in_order, post, settled, stay
from penstock.cli.screen import folded, put, screen
from penstock.ledger.pulse import Pulse, pulse
from penstock.net.transport import Transport, TransportSettings
from penstock.wire.http import WireRequest

RATE_PER_S = 60
CONFIG = """\
providers:
  openai:
    keys: [{{value: env.DEMO_KEY, name: primary, weight: 0.7}}, {{value: env.DEMO_KEY_2, name: backup, weight: 0.3}}]
    network: {{base_url: {sim}/p/openai/v1, first_byte_timeout_ms: 1500, retry: {{max_retries: 1, backoff_initial_ms: 20}}}}
  anthropic:
    keys: [{{value: env.DEMO_KEY}}]
    network: {{base_url: {sim}/p/anthropic}}
  gemini:
    keys: [{{value: env.DEMO_KEY}}]
    network: {{base_url: {sim}/p/gemini}}
fallbacks:
  - primary: openai/gpt-4o-mini
    secondary: anthropic/claude-haiku-4-5
    tertiary: gemini/gemini-2.5-flash
virtual_keys:
  - {{name: demo, key: env.DEMO_VIRTUAL_KEY, rate_limit: {{requests_per_minute: 100000}}}}
"""
SCENARIO: dict[str, Any] = {
    "seed": 7,
    "profiles": {"*": {"ttft_ms": {"p50": 25, "p95": 60}, "tokens_per_s": 400, "output_tokens": 24}},
}
OUTAGE: dict[str, Any] = {
    "replace": True,
    "faults": [
        {"kind": "status", "status": 503, "when": {"providers": ["openai"], "probability": 0.6}},
        {"kind": "early_close", "when": {"providers": ["openai"], "probability": 0.5}},
        {"kind": "error_first_frame", "when": {"providers": ["openai"]}},
    ],
}
PHASES = ("calm", "outage of openai", "recovery")
CALM: dict[str, Any] = {"replace": True, "faults": []}
MODELS = ("openai/gpt-4o-mini", "openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--stay", action="store_true", help="leave everything running, with its URL, until Ctrl-C"
    )
    parser.add_argument(
        "--cache",
        action="store_true",
        help="instead: captions with near-duplicates, without and with the cache",
    )
    parser.add_argument("--calls", type=calls, default=200, help="captions, with --cache (200)")
    parser.add_argument("--seed", type=int, default=7, help="which captions are drawn, with --cache (7)")
    parser.add_argument("--seconds", type=seconds, default=9.0, help="length of the replay (9)")
    parser.add_argument("--port", type=port, default=0, help="the gateway's port (a free one)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON only")


def run(args: argparse.Namespace) -> int:
    """0 when no call failed."""
    with tempfile.TemporaryDirectory(prefix="penstock-demo-") as folder:
        try:
            play = cache_demo if args.cache else _demo
            return uvloop.run(play(args, Path(folder)))
        except asyncio.CancelledError:
            return 1
        except NotStarted as error:
            sys.stderr.write(f"penstock demo: {error}\n")
            return 1


class _Replay:
    """Calls at a steady rate, streamed and not, over three models."""

    def __init__(self, gateway: str) -> None:
        self._transport = Transport(TransportSettings(endpoint=parse_base_url(gateway)))
        self._running: set[asyncio.Task[None]] = set()
        self.sent = 0
        self.unanswered = 0

    def fire(self) -> None:
        """One more call."""
        task = asyncio.ensure_future(self._call(self.sent))
        self.sent += 1
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _call(self, number: int) -> None:
        stream = number % 2 == 0
        body = {
            "model": MODELS[number % len(MODELS)],
            "stream": stream,
            "messages": [{"role": "user", "content": f"Write a caption for product {number}."}],
        }
        request = WireRequest(
            method=b"POST",
            path=b"/v1/chat/completions",
            headers=[(b"content-type", b"application/json"), (b"authorization", b"Bearer " + KEY.encode())],
            body=msgspec.json.encode(body),
        )
        try:
            exchange = await self._transport.send(request, DEADLINES)
            answer = await exchange.read(1 << 20)
        except UpstreamError:
            self.unanswered += 1
            return
        whole = answer.rstrip().endswith(b"data: [DONE]") if stream else exchange.status == 200
        self.unanswered += not whole

    async def finish(self) -> None:
        """Wait for the calls that still run."""
        while self._running:
            await asyncio.wait(self._running)
        await self._transport.aclose()


async def _demo(args: argparse.Namespace, folder: Path) -> int:
    console = screen(stderr=args.json)
    env = {**os.environ, "DEMO_KEY": "sk-demo-1", "DEMO_KEY_2": "sk-demo-2", "DEMO_VIRTUAL_KEY": KEY}
    scenario, config, db = folder / "scenario.json", folder / "penstock.yaml", folder / "penstock.db"
    scenario.write_bytes(msgspec.json.encode(SCENARIO))
    end_in_order()
    with console.status("starting the simulated providers"):
        sim, sim_url = await Process.start(
            "simulate", "--port", "0", "--json", "--scenario", str(scenario), env=env, stream="stdout"
        )
    gateway: Process | None = None
    try:
        config.write_text(CONFIG.format(sim=sim_url), encoding="utf-8")
        with console.status("starting the gateway"):
            gateway, url = await Process.start(
                "serve", "--config", str(config), "--port", str(args.port), "--db", str(db), "--json",
                env=env, stream="stderr",
            )  # fmt: skip
        connection = sqlite3.connect(f"file:{db}?mode=ro", uri=True)
        try:
            unanswered = await _play(console, args.seconds, url, sim_url, connection)
            figures = await settled(connection)
        finally:
            connection.close()
        _tell(console, figures, unanswered, args)
        if args.stay:
            await stay(console, url, config, db)
        return 0 if figures.requests and not figures.failed and not unanswered else 1
    finally:
        if gateway is not None:
            await gateway.stop()
        await sim.stop()


async def _play(
    console: Console, seconds: float, url: str, sim_url: str, connection: sqlite3.Connection
) -> int:
    """Three thirds: calm, the outage of openai, recovery. Returns the calls that were not answered whole."""
    replay = _Replay(url)
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    phase = -1
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        while (gone_s := loop.time() - start_s) < seconds:
            wanted = min(len(PHASES) - 1, int(gone_s / seconds * len(PHASES)))
            if wanted != phase:
                phase = wanted
                await post(sim_url, b"/_sim/faults", OUTAGE if PHASES[phase].startswith("outage") else CALM)
                if not console.is_terminal:
                    put(console, f"{gone_s:.1f} s: {PHASES[phase]}")
            while replay.sent < gone_s * RATE_PER_S:
                replay.fire()
            live.update(Group(_phases(phase, gone_s, seconds), *_tables(pulse(connection))))
            await asyncio.sleep(0.05)
        await replay.finish()
    return replay.unanswered


def _phases(phase: int, gone_s: float, seconds: float) -> Group:
    """Where in the play we are: what was, what is, what comes; and a bar."""
    words = Text("  ")
    for place, name in enumerate(PHASES):
        now = "bold red" if name.startswith("outage") else "bold green"
        words.append("  >  " if place else "", "dim")
        words.append(f"[{name}]" if place == phase else f" {name} ", now if place == phase else "dim")
    bar = Table.grid(padding=(0, 1))
    bar.add_row(" ", ProgressBar(total=seconds, completed=gone_s, width=44), f"{gone_s:.0f} of {seconds:g} s")
    return Group(words, bar, "")


def _tables(figures: Pulse) -> tuple[Table, Table]:
    """All calls in a row, and the providers behind them. Columns keep their widths while figures grow."""
    calls = Table(title="all calls, read from the ledger", title_justify="left", title_style="bold")
    style = {
        "failed": "red" if figures.failed else "green",
        "fell back": "yellow" if figures.fell_back else "",
    }
    cells = {
        "requests": str(figures.requests),
        "failed": str(figures.failed),
        "fell back": str(figures.fell_back),
        "cost": f"${usd_text(figures.cost_nusd)}",
        "added p50": _added(figures.added_p50_us),
        "added p99": _added(figures.added_p99_us),
    }
    for title in cells:
        calls.add_column(title, justify="right", min_width=9, no_wrap=True, style=style.get(title))
    calls.add_row(*cells.values())
    providers = Table(title="attempts by provider", title_justify="left", title_style="bold")
    for title in ("provider", "attempts", "failed", "cost", "median TTFT"):
        providers.add_column(
            title, justify="left" if title == "provider" else "right", min_width=11, no_wrap=True
        )
    for row in figures.providers:
        ttft = "-" if row.ttft_p50_ms is None else f"{row.ttft_p50_ms:.1f} ms"
        failed = Text(str(row.failed), "red" if row.failed else "")
        providers.add_row(row.provider, str(row.attempts), failed, f"${usd_text(row.cost_nusd)}", ttft)
    return calls, providers


def _added(microseconds: int | None) -> str:
    return "-" if microseconds is None else f"{microseconds:,} µs"


def _tell(console: Console, figures: Pulse, unanswered: int, args: argparse.Namespace) -> None:
    if args.json:
        sys.stdout.write(
            msgspec.json.encode({**msgspec.to_builtins(figures), "unanswered": unanswered}).decode() + "\n"
        )
        return
    for table in _tables(figures):
        console.print(table)
    well = bool(figures.requests) and not figures.failed and not unanswered
    folded(
        console,
        f"{figures.requests} calls; {figures.failed} failed; {figures.fell_back} answered by another attempt or "
        f"provider; {unanswered} not answered whole.",
        "bold green" if well else "bold red",
    )
    folded(
        console,
        f"Cost ${usd_text(figures.cost_nusd)}, of which ${usd_text(figures.not_delivered_nusd)} was billed and not "
        f"delivered. Added by the gateway: median {_added(figures.added_p50_us)}, "
        f"p99 {_added(figures.added_p99_us)}.",
    )
