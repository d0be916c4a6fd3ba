"""A budget of $10 under callers who do not give up, through a real gateway process and simulated providers.

Calls begin on a schedule; who is refused asks again when it was told to. It ends when nothing runs and the cheapest call is
refused. What was spent is the ledger's sum; what the provider would bill is counted at the provider.
``PYTHONPATH=src:. python -m tests.server.budget_storm`` plays it at the issue's prices and prints a table (some minutes).
"""

import asyncio
import json
import random
import signal
import sqlite3
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import convert

from penstock.simulate import Scenario, running_simulator
from tests.server.process import GatewayProcess

LIMIT_USD = 10
LIMIT_NUSD = LIMIT_USD * 10**9
MAX_TOKENS = 4096
MOST_WAITING = 200
ENV = {"STORM_KEY": "sk-storm", "STORM_CALLER": "vk-storm"}
CONFIG = """
providers:
  openai:
    keys: [{value: env.STORM_KEY}]
    network: {base_url: "SIM/p/openai/v1", retry: {max_retries: 0}}
prices: [{model: openai/gpt-4o-mini, usd_per_million: {input: "INPUT", output: "OUTPUT"}}]
organisations: [{name: acme, budgets: [{limit_usd: 1000, period: month}]}]
teams: [{name: design, organisation: acme, budgets: [{limit_usd: BUDGET, period: day, mode: MODE, overdraft_percent: OVERDRAFT}]}]
virtual_keys: [{name: storm, team: design, key: env.STORM_CALLER, budgets: [{limit_usd: 100, period: week}]}]
ledger: {max_queue: 100000}
"""


@dataclass(frozen=True)
class Storm:
    """What is played. ``dear``: times $3 and $15 a million tokens; ``tokens_per_s``: of a stream."""

    per_s: int
    seed: int = 1
    stream: bool = True
    dear: int = 1
    tokens_per_s: float = 80.0
    soft: bool = False
    kills: int = 0
    """kill -9 so often, each time in the middle of the calls."""


@dataclass
class Played:
    """How it went. ``billed_nusd``: what the provider would bill for the replies, by what it has sent."""

    spent_nusd: int = 0
    billed_nusd: int = 0
    served: int = 0
    cut: int = 0
    refused: dict[str, int] = field(default_factory=dict[str, int])
    broken: int = 0
    """Calls that a kill took with it."""
    odd: list[str] = field(default_factory=list[str])
    took_s: float = 0.0


@dataclass
class _Call:
    prompt: int
    reply: int
    told: str = ""
    """Why it was refused last."""


class _Players:
    """The callers of one run."""

    def __init__(self, storm: Storm, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.storm = storm
        self.random = random.Random(storm.seed)
        self.played = Played()
        self.running = 0
        self.waiting: list[_Call] = []
        self.hungry = 0
        """Callers who were refused, and are not served yet."""
        self.over = False
        self.kills = storm.kills

    async def play(self, gateway: GatewayProcess) -> None:
        began_s, tasks, sent = time.monotonic(), set[asyncio.Task[None]](), 0
        while not self.over:
            due = int((time.monotonic() - began_s) * self.storm.per_s)
            for _ in range(due - sent):
                sent += 1
                if self.hungry < MOST_WAITING:
                    reply = min(MAX_TOKENS, max(1, int(self.random.lognormvariate(6.0, 0.8))))
                    call = _Call(self.random.randint(200, 2000), reply)
                    tasks.add(asyncio.ensure_future(self.caller(call)))
            await asyncio.sleep(0.01)
            if self.kills and self.running and time.monotonic() - began_s > self.storm.kills - self.kills + 1:
                self.kills -= 1
                await self.kill(gateway)
            if self.waiting and not self.running and not self.kills and await self.cheapest_is_refused():
                self.over = True
            assert time.monotonic() - began_s < 600, "it does not end"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.played.took_s = time.monotonic() - began_s

    async def kill(self, gateway: GatewayProcess) -> None:
        """Without a warning; and another one takes its place."""
        gateway.signal(signal.SIGKILL)
        await asyncio.to_thread(gateway.join)
        gateway.lines.clear()
        gateway.start()
        listening = await asyncio.to_thread(gateway.wait_for, "listening")
        self.port = urlsplit(listening["url"]).port

    async def cheapest_is_refused(self) -> bool:
        cheapest = min(self.waiting, key=lambda call: call.prompt)
        if cheapest.told not in ("budget-exhausted", "budget-too-small"):
            return False
        status, _, code = await self.ask(cheapest)
        return status == 402 and code != "budget-held" and not self.running

    async def caller(self, call: _Call) -> None:
        """Until it is served."""
        while True:
            status, again_s, code = await self.ask(call)
            if status == 200:
                self.hungry -= bool(call.told)
                return
            self.hungry += not call.told
            self.played.refused[code] = self.played.refused.get(code, 0) + 1
            call.told = code
            self.waiting.append(call)
            await asyncio.sleep(min(1.0, again_s))
            self.waiting.remove(call)

    async def ask(self, call: _Call) -> tuple[int, float, str]:
        """Status, when to ask again, and the code of a refusal."""
        words = f"[SAY_TOKENS={call.reply}] " + "word " * call.prompt
        body = json.dumps(
            {
                "model": "openai/gpt-4o-mini",
                "messages": [{"role": "user", "content": words}],
                "max_tokens": MAX_TOKENS,
                "stream": self.storm.stream,
            }
        ).encode()
        self.running += 1
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer vk-storm\r\n"
                b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
            answer = await reader.read(-1)
            writer.close()
        except ConnectionError:
            answer = b""
        finally:
            self.running -= 1
        return self.judge(answer)

    def judge(self, answer: bytes) -> tuple[int, float, str]:
        head, _, body = answer.partition(b"\r\n\r\n")
        if self.storm.kills and not (head and body.endswith((b"0\r\n\r\n", b"}"))):
            self.played.broken += 1
            return 0, 0.1, "broken"
        status = int(head.split(b" ", 2)[1])
        if status == 200:
            self.played.served += 1
            self.played.cut += b'"finish_reason":"length"' in body
            if self.storm.stream and b"data: [DONE]\n\n" not in body:
                self.played.odd.append(body[-300:].decode())
            return 200, 0.0, ""
        again = [line for line in head.split(b"\r\n") if line.lower().startswith(b"retry-after:")]
        error: dict[str, Any] = json.loads(body)["error"]
        if status not in (402, 429) or not error["code"].startswith("budget-"):
            self.played.odd.append(f"{status} {error}")
        return status, float(again[0].split(b":")[1]) if again else 1.0, error["code"]


def play(folder: Path, storm: Storm) -> Played:
    """One run to its end."""
    config = CONFIG.replace("INPUT", str(3 * storm.dear)).replace("OUTPUT", str(15 * storm.dear))
    config = config.replace("BUDGET", str(LIMIT_USD)).replace("MODE", "soft" if storm.soft else "hard")
    config = config.replace("OVERDRAFT", "5" if storm.soft else "0")
    with running_simulator(_scenario(storm)) as sim:
        with GatewayProcess(folder, config.replace("SIM", sim.url), ENV) as gateway:
            players = _Players(storm, gateway.url)
            asyncio.run(players.play(gateway))
            assert gateway.terminate() == 0
        played = players.played
        tokens = sum(max(0, one.events_sent - 4) for one in sim.requests) if storm.stream else 0
    with sqlite3.connect(folder / "penstock.db") as ledger:
        spent, inputs = ledger.execute(
            "SELECT sum(cost_nusd), sum(input) FROM entries WHERE team = 'design'"
        ).fetchone()
    played.spent_nusd = spent
    played.billed_nusd = (inputs * 3 + tokens * 15) * storm.dear * 1000
    return played


def _scenario(storm: Storm) -> Scenario:
    return convert(
        {"profiles": {"*": {"ttft_ms": 50, "tokens_per_s": storm.tokens_per_s}}, "keep_body_bytes": 0},
        Scenario,
    )


def main() -> None:
    """The table of docs/explanation/budgets.md."""
    print("| calls | a second | spent | billed, about | served | ended early | refused | took |")
    for stream in (True, False):
        for per_s in (20, 100):
            with tempfile.TemporaryDirectory() as folder:
                played = play(Path(folder), Storm(per_s, stream=stream))
            print(
                f"| {'streamed' if stream else 'whole'} | {per_s} | {played.spent_nusd / LIMIT_NUSD:.2%} "
                f"| {played.billed_nusd / LIMIT_NUSD:.2%} | {played.served} | {played.cut} | {played.refused} "
                f"| {played.took_s:.0f} s |"
            )


if __name__ == "__main__":
    main()
