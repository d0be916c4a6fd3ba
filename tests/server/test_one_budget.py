"""One budget of $10 and three gateway processes at 100 requests a second: never above it, and nearly all of it is spent.

As workers of one machine, and as nodes that share a Redis and a PostgreSQL. Callers who are refused ask again, until
nobody is served any more.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from penstock.simulate import Scenario, Simulator, running_simulator
from penstock.simulate.scenario import Distribution, Profile
from tests.server.process import GatewayProcess

LIMIT_NUSD = 10_000_000_000
CONFIG = """
providers:
  openai:
    keys: [{value: env.SOME_KEY}]
    network: {base_url: "SIM/p/openai/v1"}
prices:
  - {model: openai/gpt-4o-mini, usd_per_million: {input: "10", output: "1200"}}
virtual_keys:
  - {name: spender, key: env.SPENDER, budgets: [{limit_usd: 10, period: month}]}
"""
SHARED = (
    CONFIG
    + """
ledger: {url: env.LEDGER_URL}
state: {url: env.STATE_URL}
"""
)
KEYS = {"SOME_KEY": "sk-some", "SPENDER": "vk-spender-4711"}
PER_S = 100
SERVED_LAST = 60
"""So many refusals in a row, and it is over."""


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """Answers of some 16 tokens after some 200 ms."""
    slow = Profile(ttft_ms=Distribution(150.0, 300.0), output_tokens=16)
    with running_simulator(Scenario(profiles={"gpt-4o-mini": slow}, seed=3)) as simulator:
        yield simulator


class Callers:
    """100 calls a second, spread over the gateways, every other one streamed; and somebody who watches what was spent."""

    def __init__(self, gateways: list[GatewayProcess], spent: Callable[[], int]) -> None:
        self._gateways = gateways
        self._spent = spent
        self._headers = {"authorization": f"Bearer {KEYS['SPENDER']}"}
        self._ended = threading.Event()
        self.highest = 0
        self.statuses: list[int] = []

    def run(self, most: int) -> None:
        """Until it is over, or that many calls were made."""
        watcher = threading.Thread(target=self._watch)
        watcher.start()
        began_s = time.monotonic()
        try:
            with ThreadPoolExecutor(48) as pool:
                for number in range(most):
                    pause_s = began_s + number / PER_S - time.monotonic()
                    if pause_s > 0:
                        time.sleep(pause_s)
                    pool.submit(self._call, number)
                    if self._is_over():
                        break
        finally:
            self._ended.set()
            watcher.join()

    def _is_over(self) -> bool:
        last = self.statuses[-SERVED_LAST:]
        return len(last) == SERVED_LAST and set(last) == {402}

    def _call(self, number: int) -> None:
        gateway = self._gateways[number % len(self._gateways)]
        reply = gateway.chat(headers=self._headers, max_tokens=16, stream=number % 2 == 0)
        self.statuses.append(reply.status)

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self.highest = max(self.highest, self._spent())


def judge(callers: Callers, spent: int) -> None:
    """What the ledger says in the end, and said at any time."""
    assert set(callers.statuses) <= {200, 402, 429}
    assert callers.statuses.count(200) > 100
    assert callers.highest <= LIMIT_NUSD
    assert LIMIT_NUSD * 95 // 100 <= spent <= LIMIT_NUSD


def spent_in_file(gateway: GatewayProcess) -> int:
    connection = sqlite3.connect(f"file:{gateway.db}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT COALESCE(SUM(cost_nusd), 0) FROM entries").fetchone()[0]
    finally:
        connection.close()


def test_three_workers(tmp_path, sim):
    """And a restart begins where they ended."""
    text = CONFIG.replace("SIM", sim.url)
    with GatewayProcess(tmp_path, text, KEYS, "--workers", "3") as gateway:
        callers = Callers([gateway], lambda: spent_in_file(gateway))
        callers.run(1200)
        assert gateway.terminate() == 0
    judge(callers, spent_in_file(gateway))
    with GatewayProcess(tmp_path, text, KEYS, "--workers", "2") as gateway:
        headers = {"authorization": f"Bearer {KEYS['SPENDER']}"}
        refused = [gateway.chat(headers=headers, max_tokens=400).status for _ in range(6)]
        assert set(refused) == {402}


def test_three_nodes(tmp_path, sim, postgres_url, redis_server):
    """No call goes to the store as long as a slice lasts; the store alone knows all of them."""

    def spent() -> int:
        with psycopg.connect(postgres_url) as connection:
            row = connection.execute("SELECT COALESCE(SUM(cost_nusd), 0) FROM penstock.entries").fetchone()
            return 0 if row is None else int(row[0])

    keys = {**KEYS, "LEDGER_URL": postgres_url, "STATE_URL": redis_server.url}
    gateways = [node(tmp_path / str(number), sim, keys) for number in range(3)]
    try:
        for gateway in gateways:
            gateway.start()
        for gateway in gateways:
            gateway.url = gateway.wait_for("listening")["url"]
        callers = Callers(gateways, spent)
        callers.run(1200)
        assert [gateway.terminate() for gateway in gateways] == [0, 0, 0]
    finally:
        for gateway in gateways:
            gateway.__exit__(None, None, None)
    judge(callers, spent())


def node(folder, sim, keys) -> GatewayProcess:
    folder.mkdir()
    made = GatewayProcess(folder, SHARED.replace("SIM", sim.url), keys)
    made.db = None
    return made


def test_money_that_lies_idle_with_another_worker_serves_the_next_call(tmp_path, sim):
    """One call after the other, each holding half of the budget: whichever worker has it, nobody is refused."""
    text = CONFIG.replace("SIM", sim.url).replace("limit_usd: 10", 'limit_usd: "0.02"')
    text = text.replace('{input: "10", output: "1200"}', '{input: "2.5", output: "10"}')
    headers = {"authorization": f"Bearer {KEYS['SPENDER']}"}
    with GatewayProcess(tmp_path, text, KEYS, "--workers", "2") as gateway:
        replies = [gateway.chat(headers=headers, max_tokens=1000) for _ in range(20)]
    assert [reply.body[:300] for reply in replies if reply.status != 200] == []
