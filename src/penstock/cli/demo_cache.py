"""``penstock demo --cache``: a shop's captions asked for twice, without a cache and with all of its tiers.

Theory
------
``demo_captions`` draws the traffic and knows which product each text means. A simulated model, some 340 ms slow, answers by
that. The same calls go through two real gateways, one after the other: first without a cache, then with exact, coalesce and,
where its embedder is installed, semantic at the configured threshold. Times are taken by the caller, money is read from the
ledgers, and whether a served answer was right is asked of the generator.

Rules
- What says a product again is sent once the first answer has come: how busy this machine is decides nothing.
- Audits of hits are off here: each would ask the model once more, and the spend shown is that of answers alone.
- Exits 0 when every call was answered, whatever the cache did: a wrong answer is a figure, and it is shown.
"""

import argparse
import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec import Struct
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.base.decisions import Rejected
from penstock.base.endpoint import parse_base_url
from penstock.base.errors import UpstreamError
from penstock.base.money import usd_text
from penstock.cache.embed.opening import inspect
from penstock.cli.demo_captions import KINDS, TEMPLATE, Caption, Kind, Traffic, code_of, traffic
from penstock.cli.demo_stage import DEADLINES, KEY, Process, end_in_order, settled, stay
from penstock.cli.screen import folded, put, screen
from penstock.config.schema_cache import SemanticCacheConfig
from penstock.net.transport import Transport, TransportSettings
from penstock.wire.http import WireRequest

RATE_PER_S = 30
THRESHOLD = 0.94
MODEL = "openai/gpt-4o-mini"
SYSTEM = "You write captions for an online shop. Name the product and nothing that is not in the description."
TIERS = ("hit-exact", "coalesced", "hit-semantic")
"""Words of ``x-penstock-cache`` that stand for an answer which no model was asked for."""
PROFILE: dict[str, Any] = {"ttft_ms": {"p50": 290, "p95": 360}, "tokens_per_s": 600}
"""About 340 ms a caption, as users report it."""


class Told(Struct):
    """What came of one call. ``how``: the reply's ``x-penstock-cache``. ``right``: it names the product that was asked for."""

    how: str = ""
    ms: float = 0.0
    whole: bool = False
    right: bool = False


class Share(Struct, frozen=True):
    """Some of a replay's calls: by how they were answered, or by what they were."""

    name: str
    calls: int
    hits: int
    wrong: int
    p50_ms: float
    p95_ms: float


class Side(Struct, frozen=True):
    """One replay. ``wrong``: answers that name another product, out of the cache or not."""

    calls: int
    unanswered: int
    asked_of_model: int
    cost_nusd: int
    saved_nusd: int
    hits: int
    wrong: int
    p50_ms: float
    p95_ms: float
    tiers: tuple[Share, ...] = ()
    kinds: tuple[Share, ...] = ()


class Summary(Struct, frozen=True):
    """Both, and why the semantic tier was left out ("": it was not)."""

    before: Side
    after: Side
    without_semantic: str


def configuration(sim_url: str, *, cached: bool, semantic: bool) -> dict[str, Any]:
    """Of the gateway."""
    provider = {
        "keys": [{"value": "env.DEMO_KEY"}],
        "network": {"base_url": f"{sim_url}/p/openai/v1"},
    }
    found: dict[str, Any] = {
        "providers": {"openai": provider},
        "virtual_keys": [{"name": "demo", "key": "env.DEMO_VIRTUAL_KEY"}],
    }
    if cached:
        found["cache"] = {"exact": {"enabled": True, "ttl_seconds": 86_400}, "coalesce": True}
    if cached and semantic:
        found["semantic_cache"] = {
            "enabled": True,
            "similarity_threshold": THRESHOLD,
            "ttl_seconds": 604_800,
            "templates": [TEMPLATE],
            "max_queue_ms": 2000,  # a busy machine shows the tier, too
            "audit": {"rate": 0.0, "first": 0, "shadow_rate": 0.0},
        }
    return found


class _Replay:
    """All calls of a traffic, at a steady rate, each after what it waits for."""

    def __init__(self, gateway: str, calls: Sequence[Caption]) -> None:
        self._transport = Transport(TransportSettings(endpoint=parse_base_url(gateway)))
        self._calls = calls
        self._tasks: list[asyncio.Task[None]] = []
        self.told = [Told() for _ in calls]

    async def run(self, progress: Callable[[int], None]) -> list[Told]:
        """What came of them."""
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        try:
            for number in range(len(self._calls)):
                await asyncio.sleep(max(0.0, start_s + number / RATE_PER_S - loop.time()))
                self._tasks.append(asyncio.ensure_future(self._call(number)))
                progress(number + 1)
            await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await self._transport.aclose()
        return self.told

    async def _call(self, number: int) -> None:
        call, told = self._calls[number], self.told[number]
        if call.after >= 0:
            await asyncio.wait([self._tasks[call.after]])
        stream = number % 3 == 0
        body = {
            "model": MODEL,
            "stream": stream,
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": call.text}],
        }
        request = WireRequest(
            method=b"POST",
            path=b"/v1/chat/completions",
            headers=[(b"content-type", b"application/json"), (b"authorization", b"Bearer " + KEY.encode())],
            body=msgspec.json.encode(body),
        )
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            exchange = await self._transport.send(request, DEADLINES)
            answer = await exchange.read(1 << 20)
        except UpstreamError:
            return
        told.ms = (loop.time() - began_s) * 1000
        told.how = dict(exchange.headers).get(b"x-penstock-cache", b"").decode()
        told.whole = exchange.status == 200 and (not stream or answer.rstrip().endswith(b"data: [DONE]"))
        told.right = told.whole and code_of(call.product) in words_of(answer, stream=stream)


class _Delta(Struct, frozen=True):
    content: str | None = None


class _Choice(Struct):
    message: _Delta = _Delta()
    delta: _Delta = _Delta()


class _Reply(Struct):
    choices: list[_Choice] = []


def words_of(answer: bytes, *, stream: bool) -> str:
    """The text of a chat reply."""
    if not stream:
        return "".join(choice.message.content or "" for choice in _reply(answer))
    frames = [line[6:] for line in answer.splitlines() if line.startswith(b"data: {")]
    return "".join(choice.delta.content or "" for frame in frames for choice in _reply(frame))


def _reply(data: bytes) -> list[_Choice]:
    return msgspec.json.decode(data, type=_Reply).choices


async def cache_demo(args: argparse.Namespace, folder: Path) -> int:
    """0 when every call was answered."""
    console = screen(stderr=args.json)
    env = {**os.environ, "DEMO_KEY": "sk-demo-1", "DEMO_VIRTUAL_KEY": KEY}
    drawn = traffic(args.calls, args.seed)
    scenario = folder / "scenario.json"
    profiles = {"*": {**PROFILE, "answers": drawn.answers}}
    scenario.write_bytes(msgspec.json.encode({"seed": args.seed, "profiles": profiles}))
    end_in_order()
    found = await asyncio.to_thread(inspect, SemanticCacheConfig())
    missing = found.reason if isinstance(found, Rejected) else ""
    with console.status("starting the simulated model"):
        sim, sim_url = await Process.start(
            "simulate", "--port", "0", "--json", "--scenario", str(scenario), env=env, stream="stdout"
        )
    try:
        plain = configuration(sim_url, cached=False, semantic=False)
        async with _gateway(console, args.port, folder, "before", env, plain) as (url, db):
            before = await _played(console, "without a cache", url, db, drawn)
        cached = configuration(sim_url, cached=True, semantic=not missing)
        async with _gateway(console, args.port, folder, "after", env, cached) as (url, db):
            after = await _played(console, "with the cache", url, db, drawn)
            _tell(console, Summary(before, after, missing), args)
            if args.stay:
                await stay(console, url, folder / "after.yaml", db)
    finally:
        await sim.stop()
    return 0 if not before.unanswered and not after.unanswered else 1


@asynccontextmanager
async def _gateway(
    console: Console, port: int, folder: Path, name: str, env: dict[str, str], config: dict[str, Any]
) -> AsyncGenerator[tuple[str, Path]]:
    """A gateway with files of its own: its URL and its ledger."""
    path, db = folder / f"{name}.yaml", folder / f"{name}.db"
    path.write_bytes(msgspec.json.encode(config))
    with console.status("starting the gateway"):
        process, url = await Process.start(
            "serve", "--config", str(path), "--port", str(port), "--db", str(db), "--json",
            env=env, stream="stderr",
        )  # fmt: skip
    try:
        yield url, db
    finally:
        await process.stop()


async def _played(console: Console, name: str, url: str, db: Path, drawn: Traffic) -> Side:
    """One replay, as its callers and its ledger saw it."""
    many = len(drawn.calls)
    if not console.is_terminal:
        put(console, f"{many} captions {name}")
    with console.status(f"{name}: ") as status:
        replay = _Replay(url, drawn.calls)
        told = await replay.run(lambda sent: status.update(f"{name}: {sent} of {many} captions"))
    connection = sqlite3.connect(f"file:{db}?mode=ro", uri=True)
    try:
        await settled(connection, least=many)
        asked, cost_nusd, saved_nusd = connection.execute(
            "SELECT sum(class <> 'cache_hit'), sum(cost_nusd), sum(saved_nusd) FROM entries"
        ).fetchone()
    finally:
        connection.close()
    return side_of(drawn.calls, told, asked or 0, cost_nusd or 0, saved_nusd or 0)


def side_of(
    calls: Sequence[Caption], told: Sequence[Told], asked: int, cost_nusd: int, saved_nusd: int
) -> Side:
    """A replay in figures. Pure."""
    both = list(zip(calls, told, strict=True))
    whole = [one for one in told if one.whole]
    tiers = [
        _share(tier, [one for one in whole if (one.how if one.how in TIERS else "model") == tier])
        for tier in (*TIERS, "model")
    ]
    kinds = [_share(kind, [one for call, one in both if call.kind == kind and one.whole]) for kind in KINDS]
    every = _share("", whole)
    return Side(
        calls=len(told),
        unanswered=len(told) - len(whole),
        asked_of_model=asked,
        cost_nusd=cost_nusd,
        saved_nusd=saved_nusd,
        hits=every.hits,
        wrong=every.wrong,
        p50_ms=every.p50_ms,
        p95_ms=every.p95_ms,
        tiers=tuple(tiers),
        kinds=tuple(kinds),
    )


def _share(name: str, some: Sequence[Told]) -> Share:
    times = sorted(one.ms for one in some)
    return Share(
        name,
        len(some),
        sum(one.how in TIERS for one in some),
        sum(not one.right for one in some),
        *(
            round(times[min(len(times) - 1, len(times) * part // 100)], 1) if times else 0.0
            for part in (50, 95)
        ),
    )


def _tell(console: Console, summary: Summary, args: argparse.Namespace) -> None:
    if args.json:
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
        return
    before, after = summary.before, summary.after
    for table in (_sides(before, after), _tiers(after), _kinds(after)):
        console.print(table)
    if summary.without_semantic:
        folded(console, f"Without the semantic tier. {summary.without_semantic}", "yellow")
    folded(
        console,
        f"{after.hits} of {after.calls} captions out of the cache, {after.wrong} of them wrong; {_change(before.cost_nusd, after.cost_nusd)} "
        f"spend; {before.unanswered + after.unanswered} calls not answered whole.",
        "bold red" if after.wrong or before.unanswered or after.unanswered else "bold green",
    )
    if not summary.without_semantic:
        folded(
            console,
            f"The threshold of {THRESHOLD} is served as configured, and promises nothing: other words (--seed) may slip through. "
            "max_error_rate serves only what labels have certified.",
            "dim",
        )


def _sides(before: Side, after: Side) -> Table:
    table = _table("the same captions twice", ("", "without", "with the cache", "change"))
    rows = (
        ("answered by the model", f"{before.asked_of_model}", f"{after.asked_of_model}", before.asked_of_model, after.asked_of_model),
        ("spend", f"${usd_text(before.cost_nusd)}", f"${usd_text(after.cost_nusd)}", before.cost_nusd, after.cost_nusd),
        ("p50", _ms(before.p50_ms), _ms(after.p50_ms), before.p50_ms, after.p50_ms),
        ("p95", _ms(before.p95_ms), _ms(after.p95_ms), before.p95_ms, after.p95_ms),
    )  # fmt: skip
    for name, one, other, old, new in rows:
        table.add_row(name, one, other, _change(old, new))
    return table


def _tiers(after: Side) -> Table:
    table = _table("how they were answered", ("x-penstock-cache", "captions", "share", "p50", "p95", "wrong"))
    for tier in after.tiers:
        times = (_ms(tier.p50_ms), _ms(tier.p95_ms)) if tier.calls else ("-", "-")
        share = f"{100 * tier.calls / max(1, after.calls):.1f} %"
        name = "miss" if tier.name == "model" else tier.name
        table.add_row(name, str(tier.calls), share, *times, _wrong(tier.wrong))
    return table


def _kinds(after: Side) -> Table:
    table = _table("what they were", ("", "captions", "out of the cache", "wrong"))
    for kind in after.kinds:
        table.add_row(KINDS[cast("Kind", kind.name)], str(kind.calls), str(kind.hits), _wrong(kind.wrong))
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for at, name in enumerate(columns):
        table.add_column(name, justify="right" if at else "left", no_wrap=True)
    return table


def _ms(value: float) -> str:
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def _change(old: float, new: float) -> str:
    return "-" if not old else f"{100 * (new - old) / old:+.0f} %"


def _wrong(count: int) -> Text:
    return Text(str(count), "bold red" if count else "green")
