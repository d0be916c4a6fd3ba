"""Nodes that share a Redis: one rate, one set of keys, and what becomes of them when the Redis goes."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.simulate import Simulator, running_simulator
from tests.server.process import GatewayProcess
from tests.servers import RedisServer

CONFIG = """
providers:
  openai:
    keys: [{value: env.SOME_KEY}]
    network: {base_url: "SIM/p/openai/v1", retry: {max_retries: 0}}
virtual_keys:
  - {name: rated, key: env.RATED, rate_limit: {requests_per_minute: 1, burst: 30}}
  - {name: hard, key: env.HARD, budgets: [{limit_usd: "0.01", period: month}]}
  - {name: soft, key: env.SOFT, budgets: [{limit_usd: "0.01", period: month, mode: soft}]}
state: {url: env.STATE_URL, limits_fail_mode: MODE}
"""
KEYS = {"SOME_KEY": "sk-some", "RATED": "vk-rated-4711", "HARD": "vk-hard-4711", "SOFT": "vk-soft-4711"}


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """One simulator for all nodes of this file."""
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """One that may be stopped."""
    server = RedisServer()
    yield server
    server.remove()


def node(folder, sim, redis, mode="local", *options: str) -> GatewayProcess:
    folder.mkdir()
    text = CONFIG.replace("SIM", sim.url).replace("MODE", mode)
    return GatewayProcess(folder, text, {**KEYS, "STATE_URL": redis.url}, *options)


def status(gateway: GatewayProcess, name: str, **fields) -> int:
    return gateway.chat(headers={"authorization": f"Bearer {KEYS[name]}"}, max_tokens=400, **fields).status


def test_a_rate_is_one_for_all_nodes_and_a_limited_key_cools_down_for_all(tmp_path, sim, redis):
    """Exactly the burst passes, whoever is asked; one of the two has workers."""
    sim.clear()
    workers = node(tmp_path / "b", sim, redis, "local", "--workers", "2")
    with node(tmp_path / "a", sim, redis) as one, workers as two:
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda n: status((one, two)[n % 2], "RATED"), range(80)))
        assert (statuses.count(200), statuses.count(429)) == (30, 50)
        sim.clear()
        sim.set_faults([{"kind": "status", "status": 429, "retry_after_s": 30}])
        assert status(one, "HARD") == 429
        time.sleep(0.3)
        assert status(two, "HARD") == 429
        assert len(sim.requests) == 1
        sim.set_faults([])


@pytest.mark.parametrize("mode", ["local", "closed"])
def test_without_the_redis_each_goes_on_as_it_is_told(tmp_path, sim, redis, mode):
    """Hard budgets within what was leased, soft ones by what was left, limits alone or not at all; and then all is told."""
    sim.clear()
    with node(tmp_path / "a", sim, redis, mode) as one:
        assert [status(one, name) for name in ("HARD", "SOFT", "RATED")] == [200, 200, 200]
        redis.stop(now=True)
        refused = one.chat(headers={"authorization": f"Bearer {KEYS['HARD']}"}, max_tokens=8000)
        assert refused.json()["error"]["code"] == "budget-held", refused.body
        assert refused.status == 503
        assert [
            one.chat(headers={"authorization": f"Bearer {KEYS['SOFT']}"}, max_tokens=8000).status
            for _ in range(3)
        ] == [200] * 3
        rated = [status(one, "RATED") for _ in range(40)]
        assert rated[-1] == 429
        assert (rated.count(200) >= 29) is (mode == "local")
        redis.start()
        ends_s = time.monotonic() + 20
        while status(one, "HARD") != 200:  # it came back empty: quiet for a lease
            assert time.monotonic() < ends_s
            time.sleep(0.1)
        assert status(one, "SOFT") == 200
        assert one.terminate() == 0
    assert not [event for event in one.events if event["event"] == "admin.failed"]


def test_a_start_without_the_redis_is_refused_with_a_reason(tmp_path, sim, redis):
    """Not served without the limits that were configured."""
    redis.stop()
    gateway = node(tmp_path / "a", sim, redis)
    gateway.start()
    assert gateway.join() == 1
    assert "$.state.url" in gateway.wait_for("config.fault")["fault"]
