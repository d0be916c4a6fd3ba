"""The reckoning after kills (tests/server/storm.py): what was acknowledged is in the ledger, once, and every counter agrees.

``play`` kills a gateway process again and again, each time in the middle of a storm, and starts it anew on the same ledger.
For the test (tests/server/test_kill.py) and the bench (``python -m benches.kill``).
"""

import json
import random
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from prometheus_client.parser import text_string_to_metric_families

from penstock.ledger.opening import open_ledger
from penstock.ledger.stages import WORK
from penstock.ledger.tree import key_id, organisation_id
from tests.server.process import GatewayProcess, command
from tests.server.storm import CALL_NUSD, CALLER, CONFIG, ENV, PER_POST, Post, Storm
from tests.servers import free_port

AUTHORIZED = {"authorization": f"Bearer {CALLER}"}
BUDGETS = (key_id("storm"), organisation_id("weather"))


class Reckoning:
    """What was sent and acknowledged, over all kills; the ledger at ``place`` is held to it."""

    def __init__(self, place: str, state: Path) -> None:
        self.place = place
        self.state = state
        """Where the budgets are."""
        self.costs: dict[str, int] = {}
        """Request id -> nano-dollars, of all that was ever posted."""
        self.owed: set[str] = set()
        """Posted entries that are acknowledged."""
        self.answers: list[tuple[str, float]] = []
        """Calls that were answered, and how many milliseconds before the blow their replies had ended."""
        self.resent_nusd = 0
        """Of entries that were sent again, to the process that runs, and were not there."""
        self._said: set[str] = set()
        self.unanswered: list[Post] = []
        self.answered: list[Post] = []

    def add(self, storm: Storm, *, killed: bool = True) -> None:
        """One more storm. If nobody was killed, all replies are acknowledged."""
        for post in storm.posts:
            self.costs |= post.costs
            if post.acknowledged:
                self.owed |= post.costs.keys()
                self.answered.append(post)
            else:
                self.unanswered.append(post)
        self.answers += [
            (name, (storm.killed_s - ended_s) * 1000 if killed else float("inf"))
            for name, ended_s in storm.answers
        ]

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the ledger."""
        with closing(open_ledger(self.place)) as connection:
            return [tuple(row) for row in connection.execute(sql).fetchall()]

    def faults(self, within_ms: float) -> list[str]:
        """All that is wrong with the ledger and was not yet said, if a reply that ended more than ``within_ms`` before the blow is acknowledged."""
        rows = self.ask("SELECT id, request_id, class, cost_nusd FROM entries")
        calls = dict(self.ask("SELECT request_id, attempts FROM calls"))
        said: list[str] = []
        if len({row[0] for row in rows}) != len(rows):
            said.append("an entry stands there twice")
        posted = {row[1]: row[3] for row in rows if row[2] == "own_cost"}
        called = {row[1]: row[3] for row in rows if row[2] != "own_cost"}
        said += [f"{name} was acknowledged and is lost" for name in self.owed - posted.keys()]
        said += [
            f"{name} was answered {ago_ms:.1f} ms before the blow and is lost"
            for name, ago_ms in self.answers
            if ago_ms > within_ms and name not in called
        ]
        said += [f"{name} costs {nusd}" for name, nusd in posted.items() if self.costs.get(name) != nusd]
        said += [f"{name} costs {nusd}" for name, nusd in called.items() if nusd not in (CALL_NUSD, 0)]
        if calls.keys() != called.keys() or len(rows) - len(posted) != sum(calls.values()):
            said.append("a call is there without its entries, or they without it")
        elsewhere = "organisation <> 'weather' OR team <> 'coast' OR virtual_key <> 'storm'"
        for table in ("calls", "entries"):
            ((strange,),) = self.ask(f"SELECT count(*) FROM {table} WHERE {elsewhere}")
            if strange:
                said.append(f"{strange} of {table} are not under their key, team and organisation")
        for post in (*self.answered, *self.unanswered):
            there = len(post.costs.keys() & posted.keys())
            if there not in (0, PER_POST):
                said.append(f"of the batch {post.name} only {there} entries are there")
        new = [one for one in said if one not in self._said]
        self._said.update(new)
        return new

    def lost_ms(self) -> list[float]:
        """How long before the blow the replies of lost calls had ended."""
        there = {row[0] for row in self.ask("SELECT request_id FROM calls")}
        return sorted(ago_ms for name, ago_ms in self.answers if name not in there)

    def counters(self, gateway: GatewayProcess) -> list[str]:
        """What a process that has just begun says of the whole ledger: the rollups' table, and its metrics."""
        said: list[str] = []
        by_stage = {
            stage: (int(nusd), entries)
            for stage, nusd, entries in self.ask(
                "SELECT stage, sum(cost_nusd), count(*) FROM entries GROUP BY 1"
            )
        }
        table = json.loads(command("cost", "--by", "stage", "--json", "--db", self.place).stdout)
        told = {row["stage"]: (row["cost_nusd"], row["entries"]) for row in table["rows"]}
        if told != by_stage:
            said.append(f"the rollups say {told}, the entries {by_stage}")
        work = ", ".join(f"'{name}'" for name in sorted(WORK))
        ((renders,),) = self.ask(f"SELECT count(DISTINCT trace_id) FROM entries WHERE class IN ({work})")
        if table["delivered_renders"] != renders:
            said.append(f"the rollups know {table['delivered_renders']} renders, the entries {renders}")
        for labels, usd in values(gateway, "penstock_cost_per_render").items():
            stage = dict(labels)["stage"].replace("none", "")
            if abs(usd * 1e9 - by_stage[stage][0] / renders) > 1:
                said.append(
                    f"a render's {stage!r} costs {usd} by the metrics, {by_stage[stage][0] / renders} by the entries"
                )
        return said

    def overdrawn(self) -> dict[str, int]:
        """Budget -> how much more it counts as spent, over all runs, than the calls in the ledger have cost. Never less
        than 0: what a killed process had taken to spend is not given back."""
        ((calls_nusd,),) = self.ask(
            "SELECT coalesce(sum(cost_nusd), 0) FROM entries WHERE class <> 'own_cost'"
        )
        with closing(sqlite3.connect(f"file:{self.state}?mode=ro", uri=True)) as connection:
            taken = dict(connection.execute("SELECT node, sum(nusd) FROM taken GROUP BY node").fetchall())
        return {node: taken.get(node, 0) - int(calls_nusd) for node in BUDGETS}

    def sent_again(self, gateway: GatewayProcess) -> list[str]:
        """Batches that nobody acknowledged come anew and are taken whole, or are there; acknowledged ones are there."""
        said: list[str] = []
        self.resent_nusd = 0
        for post in (*self.unanswered, *self.answered[-1:]):
            reply = gateway.ask("/v1/ledger/entries", post.body, headers=AUTHORIZED, timeout_s=20)
            told = reply.json()
            there = PER_POST if post.acknowledged else told.get("duplicates")
            if there not in (0, PER_POST) or told != {"accepted": PER_POST - there, "duplicates": there}:
                said.append(f"{post.name} was answered {reply.status} {told}")
            self.owed |= post.costs.keys()
            self.resent_nusd += sum(post.costs.values()) if there == 0 else 0
        self.answered += self.unanswered
        self.unanswered = []
        return said


@dataclass
class Played:
    """All kills, and what is wrong after them: nothing, it should be."""

    reckoning: Reckoning
    storms: list[Storm] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def play(
    folder: Path,
    kills: int,
    *,
    posts_per_s: float,
    calls_per_s: float,
    least_s: float,
    within_ms: float,
    ledger_url: str | None = None,
    told: Callable[[str], object] = print,
) -> Played:
    """``kills`` storms of ``least_s`` to twice as long, each ended by SIGKILL; and one that ends in order."""
    upstream_port = free_port()
    config = CONFIG.replace("UPSTREAM", str(upstream_port))
    if ledger_url is not None:
        config += f'ledger: {{url: env.STORM_LEDGER, path: "{folder}/penstock.db"}}\n'
    played = Played(Reckoning(ledger_url or str(folder / "penstock.db"), folder / "penstock.db.state"))
    reckoning = played.reckoning
    for turn in range(kills + 1):
        gateway = GatewayProcess(folder, config, {**ENV, "STORM_LEDGER": ledger_url or ""})
        gateway.db = None if ledger_url is not None else gateway.db
        last = turn == kills
        with gateway:
            played.faults += reckoning.faults(within_ms)
            before = reckoning.overdrawn() if turn else dict.fromkeys(BUDGETS, 0)
            played.faults += [
                f"{node} counts {-more} less than was spent" for node, more in before.items() if more < 0
            ]
            played.faults += reckoning.counters(gateway)
            played.faults += reckoning.sent_again(gateway)
            storm = Storm(f"t{turn}", posts_per_s, calls_per_s)
            port = int(gateway.url.rpartition(":")[2])
            blow = (lambda: None) if last else lambda one=gateway: one.signal(signal.SIGKILL)
            uvloop.run(storm.rage(port, upstream_port, least_s * (1 + random.random()), blow))
            if last:
                played.faults += own_counters(gateway, storm, reckoning.resent_nusd)
                gateway.terminate()
                if reckoning.overdrawn() != before:
                    played.faults.append(
                        f"in order, the budgets went from {before} to {reckoning.overdrawn()}"
                    )
        reckoning.add(storm, killed=not last)
        played.storms.append(storm)
        told(
            f"{turn + 1}: {storm.writes_per_s} writes/s, {len(played.faults)} faults {' '.join(storm.trouble[:2])}"
        )
    played.faults += reckoning.faults(within_ms)
    return played


def own_counters(gateway: GatewayProcess, storm: Storm, resent_nusd: int) -> list[str]:
    """A process that nobody killed has counted what it was asked and told: each call once, each entry once."""
    posted = sum(sum(post.costs.values()) for post in storm.posts if post.acknowledged)
    said: list[str] = []
    for metric, expected in (
        ("penstock_cost_nusd_total", CALL_NUSD * len(storm.answers)),
        ("penstock_own_cost_nusd_total", posted + resent_nusd),
    ):
        found = sum(values(gateway, metric).values())
        if found != expected:
            said.append(f"{metric} is {found}, and should be {expected}")
    return said


def values(gateway: GatewayProcess, metric: str) -> dict[frozenset[tuple[str, str]], float]:
    """The series of one metric."""
    return {
        frozenset(sample.labels.items()): sample.value
        for family in text_string_to_metric_families(gateway.ask("/metrics", timeout_s=20).body.decode())
        for sample in family.samples
        if sample.name == metric
    }
