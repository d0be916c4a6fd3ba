"""``penstock serve --workers N``: several processes that are one gateway to whoever looks at it."""

import json
import os
import re
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.simulate import Scenario, Simulator, running_simulator
from penstock.simulate.scenario import Profile
from tests.server.process import GatewayProcess

KEYS = {"OPENAI_KEY_PRIMARY": "plainsecretprimary4711", "ADMIN_KEY": "admin-secret-9000"}
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY_PRIMARY}]
    network: {base_url: "SIM/p/openai/v1"}
server: {admin_key: env.ADMIN_KEY, drain_timeout_ms: 5000}
"""
ADMIN = {"authorization": f"Bearer {KEYS['ADMIN_KEY']}"}
PACED = Scenario(profiles={"gpt-4o": Profile(tokens_per_s=40.0, output_tokens=40)})


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """One simulator for all processes of this file."""
    with running_simulator(PACED) as simulator:
        yield simulator


def start(tmp_path, sim, workers=3, text=CONFIG, *options: str) -> GatewayProcess:
    return GatewayProcess(tmp_path, text.replace("SIM", sim.url), KEYS, "--workers", str(workers), *options)


def until(holds, what: str) -> None:
    ends_s = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < ends_s, what
        time.sleep(0.01)


def children(gateway: GatewayProcess) -> list[int]:
    pid = gateway.wait_for("listening")["pid"]
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def counted(gateway: GatewayProcess) -> int:
    text = gateway.ask("/metrics").body.decode()
    return sum(int(n) for n in re.findall(r"^penstock_requests_total\{.*\} (\d+)$", text, re.MULTILINE))


def test_they_are_one_gateway_to_whoever_asks(tmp_path, sim):
    """Any worker knows every call and every figure, whoever of them served it."""
    with start(tmp_path, sim) as gateway:
        assert gateway.ask("/ready").status == 200
        for number in range(1, 25):
            reply = gateway.chat()
            assert reply.status == 200
            found = gateway.ask(f"/v1/generation?id={reply.headers['x-request-id']}")
            assert found.status == 200
            assert found.json()["data"]["request_id"] == reply.headers["x-request-id"]
            if number % 8 == 0:
                assert [counted(gateway) for _ in range(4)] == [number] * 4
        text = gateway.ask("/metrics").body.decode()
        assert "penstock_gateway_overhead_seconds_count 24" in text
        assert 'penstock_provider_key_up{provider="openai",key="OPENAI_KEY_PRIMARY"} 1' in text
        assert gateway.terminate() == 0
    served = {event["worker"] for event in gateway.events if event["event"] == "worker.stopped"}
    assert served == {0, 1, 2}
    assert gateway.wait_for("stopped")["cut_calls"] is False


def test_a_reload_is_everybodys(tmp_path, sim):
    """Whichever worker is asked, all have the new configuration when it answers; a faulty one is nobody's."""
    with start(tmp_path, sim) as gateway:
        before = gateway.ask("/ready").json()["config"]
        gateway.config.write_text(
            CONFIG.replace("SIM", sim.url) + "routes: [{id: mine, primary: openai/gpt-4o-mini}]\n",
            encoding="utf-8",
        )
        answer = gateway.ask("/admin/reload", {}, headers=ADMIN)
        assert answer.status == 200
        assert answer.json()["config"] != before
        assert {gateway.chat(model="mine").status for _ in range(20)} == {200}
        gateway.config.write_text("nonsense: 1\n", encoding="utf-8")
        assert gateway.ask("/admin/reload", {}, headers=ADMIN).status == 400
        assert {gateway.chat(model="mine").status for _ in range(20)} == {200}
        gateway.signal(signal.SIGHUP)
        gateway.wait_for("reload.refused", 6)
        assert 'penstock_config_reloads_total{outcome="applied"} 1' in gateway.ask("/metrics").body.decode()


def test_a_worker_that_is_killed_is_replaced_and_nobody_is_refused(tmp_path, sim):
    """Connections that the kernel had given to it wait for its successor."""
    with start(tmp_path, sim) as gateway:
        for victim in children(gateway)[:2]:
            os.kill(victim, signal.SIGKILL)
        assert {gateway.chat().status for _ in range(20)} == {200}
        assert gateway.wait_for("worker.died", 2)["status"] == -signal.SIGKILL
        gateway.wait_for("worker.listening", 5)
        until(lambda: len(children(gateway)) == 3, "three workers again")
        assert gateway.ask("/ready").status == 200
        assert gateway.terminate() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_waits_for_running_streams(tmp_path, sim, number):
    """Of whichever worker."""
    sim.clear()
    with start(tmp_path, sim) as gateway:
        replies = []
        threads = [
            threading.Thread(target=lambda: replies.append(gateway.chat(model="openai/gpt-4o", stream=True)))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        until(lambda: sum(1 for one in sim.requests if one.events_sent > 2) == 6, "six streams")
        gateway.signal(number)
        assert gateway.join() == 0
        for thread in threads:
            thread.join()
        assert [(reply.ended, reply.frames()[-1]) for reply in replies] == [("complete", "[DONE]")] * 6


def test_without_their_supervisor_they_end_and_the_port_is_free(tmp_path, sim):
    """Nobody would start a dead one again, and nobody could grant anything."""
    with start(tmp_path, sim) as gateway:
        workers = children(gateway)
        port = int(gateway.url.rpartition(":")[2])
        gateway.signal(signal.SIGKILL)
        gateway.join()
        until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers), "they ended")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


def test_the_port_is_not_shared_with_another_gateway(tmp_path, sim):
    """SO_REUSEPORT would let it, without a word."""
    with start(tmp_path, sim) as gateway:
        (tmp_path / "two").mkdir()
        second = start(tmp_path / "two", sim, 2, CONFIG, "--port", gateway.url.rpartition(":")[2])
        second.start()
        assert second.join() == 1
        assert "in use" in second.wait_for("config.fault")["fault"]
        third = start(tmp_path, sim, 2)
        third.start()
        assert third.join() == 1
        assert "Another gateway" in third.wait_for("config.fault")["fault"]


def test_faults_are_said_once_and_end_it(tmp_path, sim):
    """Those of the configuration, and those that only a worker finds."""
    broken = start(tmp_path, sim, 3, "nonsense: 1\n")
    broken.start()
    assert broken.join() == 1
    assert len([one for one in broken.events if one["event"] == "config.fault"]) == 1
    open_door = start(tmp_path, sim, 3, CONFIG, "--host", "0.0.0.0")
    open_door.start()
    assert open_door.join() == 1
    faults = [one["fault"] for one in open_door.events if one["event"] == "config.fault"]
    assert len(faults) == 1
    assert "no virtual_keys" in faults[0]


def test_the_number_may_stand_in_the_configuration(tmp_path, sim):
    """``server.workers``."""
    text = CONFIG.replace("server: {", "server: {workers: 2, ")
    with GatewayProcess(tmp_path, text.replace("SIM", sim.url), KEYS) as gateway:
        assert gateway.wait_for("listening")["workers"] == 2
        assert len(children(gateway)) == 2
        assert json.loads(gateway.ask("/ready").body)["status"] == "ready"


KEYED = (
    CONFIG
    + """
virtual_keys:
  - {name: rated, key: env.RATED, rate_limit: {requests_per_minute: 1, burst: 40}}
  - {name: placed, key: env.PLACED, max_concurrent: 5}
  - {name: spender, key: env.SPENDER, budgets: [{limit_usd: "0.0001", period: day}]}
"""
)
KEYS |= {"RATED": "vk-rated-4711", "PLACED": "vk-placed-4711", "SPENDER": "vk-spender-4711"}


def crowd(gateway: GatewayProcess, count: int, name: str, **fields) -> list[int]:
    """The statuses of so many calls, eight at a time, each on a connection of its own."""
    headers = {"authorization": f"Bearer {KEYS[name]}"}

    def call(_number: int) -> int:
        return gateway.chat(headers=headers, **fields).status

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(call, range(count)))


def test_a_rate_is_one_for_all_workers(tmp_path, sim):
    """Exactly the burst passes, whoever asks which worker; and again nothing after one of them was killed."""
    with start(tmp_path, sim, 3, KEYED) as gateway:
        statuses = crowd(gateway, 100, "RATED")
        assert sorted(set(statuses)) == [200, 429]
        assert statuses.count(200) == 40
        os.kill(children(gateway)[0], signal.SIGKILL)
        gateway.wait_for("worker.listening", 4)
        assert set(crowd(gateway, 20, "RATED")) == {429}


def test_places_are_one_for_all_workers(tmp_path, sim):
    """Five streams run, the sixth is refused; their places are free when they have ended."""
    sim.clear()
    with start(tmp_path, sim, 3, KEYED) as gateway:
        headers = {"authorization": f"Bearer {KEYS['PLACED']}"}
        statuses: list[int] = []
        streams = [
            threading.Thread(
                target=lambda: statuses.append(
                    gateway.chat(model="openai/gpt-4o", stream=True, headers=headers).status
                )
            )
            for _ in range(5)
        ]
        for stream in streams:
            stream.start()
        until(lambda: sum(1 for one in sim.requests if one.events_sent > 2) == 5, "five streams")
        assert set(crowd(gateway, 12, "PLACED")) == {429}
        for stream in streams:
            stream.join()
        assert statuses == [200] * 5
        assert {crowd(gateway, 1, "PLACED")[0] for _ in range(6)} == {200}


def test_a_budget_is_one_for_all_workers_and_outlives_them(tmp_path, sim):
    """What all have spent stays below the limit; a restart gives nothing of it back."""
    with start(tmp_path, sim, 3, KEYED) as gateway:
        statuses = crowd(gateway, 60, "SPENDER", max_tokens=16)
        assert statuses.count(200) > 0
        assert {402, 429} & set(statuses)
        assert gateway.terminate() == 0
    spent = costs(gateway)
    assert 50_000 <= spent <= 100_000
    with start(tmp_path, sim, 2, KEYED) as gateway:
        crowd(gateway, 20, "SPENDER", max_tokens=16)
        assert gateway.terminate() == 0
    assert spent <= costs(gateway) <= 100_000


def costs(gateway: GatewayProcess) -> int:
    connection = sqlite3.connect(gateway.db)
    try:
        return connection.execute("SELECT SUM(cost_nusd) FROM entries").fetchone()[0]
    finally:
        connection.close()


def test_a_key_that_one_worker_finds_limited_cools_down_for_all(tmp_path, sim):
    """Nobody else asks with it before its time."""
    text = CONFIG.replace('openai/v1"}', 'openai/v1", retry: {max_retries: 0}}')
    with start(tmp_path, sim, 3, text) as gateway:
        assert gateway.chat().status == 200
        sim.clear()
        sim.set_faults([{"kind": "status", "status": 429, "retry_after_s": 30}])
        assert gateway.chat().status == 429
        time.sleep(0.2)
        assert {gateway.chat().status for _ in range(12)} == {429}
        assert len(sim.requests) == 1
        assert 'penstock_provider_key_up{provider="openai",key="OPENAI_KEY_PRIMARY"} 0' in (
            gateway.ask("/metrics").body.decode()
        )
