"""A provider that serves so many at a time: whose turn it is, who is refused, and that nobody is left behind."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock.gateway.queue import ProviderQueue
from tests.behaviours.gateway import SECRETS, Gateway, Stream, at, chat, running_gateway

LOCAL = "local/m"
KEYS = {
    "ALPHA": "vk-alpha-0000000000000001",
    "BETA": "vk-beta-00000000000000002",
    "NIGHT": "vk-night-000000000000003",
    "TILL": "vk-till-00000000000000004",
}
CONFIG = """
providers:
  local:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/local/v1", retry: {max_retries: 0}}
    queue: {max_concurrent: 1, max_waiting: 8, max_waiting_per_key: 6}
  backup:
    dialect: openai
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/backup/v1", retry: {max_retries: 0}}
routes:
  - {id: safe, primary: local/m, fallbacks: [backup/m]}
virtual_keys:
  - {name: alpha, key: env.ALPHA}
  - {name: beta, key: env.BETA}
  - {name: night, key: env.NIGHT, priority: batch}
  - {name: till, key: env.TILL, max_concurrent: 9}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("queue"), CONFIG, secrets={**SECRETS, **KEYS}) as made:
        yield made


class Busy:
    """A provider whose only place is taken by a call that hangs, until ``let_go``."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._asked: list[Stream] = []
        gateway.faults(at("local", "hang", count=1))
        self._first = self.ask("first", "ALPHA", waits=False)
        self.until(lambda: len(gateway.sim.requests) == 1)

    @property
    def queue(self) -> ProviderQueue:
        queue = self.gateway.house.providers["local"].queue
        assert queue is not None
        return queue

    def until(self, holds: Callable[[], bool]) -> None:
        until_s = time.monotonic() + 10
        while not self.gateway.inside(holds):
            assert time.monotonic() < until_s
            time.sleep(0.002)

    def ask(self, text: str, key: str, *, waits: bool = True, model: str = LOCAL, **more: str) -> Stream:
        """Send a call; if it ``waits``, come back when it stands in line."""
        before = self.gateway.inside(lambda: self.queue.waiting)
        headers = {"authorization": f"Bearer {KEYS[key]}", **{f"x-penstock-{k}": v for k, v in more.items()}}
        stream = self.gateway.open(chat(model, text), headers=headers)
        self._asked.append(stream)
        if waits:
            self.until(lambda: self.queue.waiting == before + 1)
        return stream

    def let_go(self) -> None:
        """The caller of the call that hangs goes away."""
        self._first.close()

    def served(self, *streams: Stream) -> list[str]:
        """All of them are answered; whose prompts the provider saw after the first one, in its order."""
        for stream in streams:
            assert stream.rest().status == 200
        bodies = [json.loads(one.body) for one in self.gateway.sim.requests[1:]]
        return [body["messages"][0]["content"] for body in bodies]

    def end(self) -> None:
        """Nobody is left behind."""
        for stream in self._asked:
            stream.close()
        self.until(lambda: self.queue.running == 0 and self.queue.waiting == 0)


@pytest.fixture
def busy(gateway: Gateway) -> Iterator[Busy]:
    made = Busy(gateway)
    yield made
    made.end()


def test_keys_take_turns(busy: Busy):
    """One key's flood came first, and does not keep another's two calls from their turn."""
    flood = [busy.ask(f"a{number}", "ALPHA") for number in range(5)]
    few = [busy.ask(f"b{number}", "BETA") for number in range(2)]
    busy.let_go()
    order = busy.served(*flood, *few)
    assert sorted(order) == ["a0", "a1", "a2", "a3", "a4", "b0", "b1"]
    assert order.index("b1") < order.index("a3")
    assert [one for one in order if one[0] == "a"] == sorted(one for one in order if one[0] == "a")


def test_interactive_goes_before_batch(busy: Busy):
    """By the key's class or the call's own; a batch key does not raise itself by asking."""
    batch = [
        busy.ask("n0", "NIGHT"),
        busy.ask("n1", "NIGHT", priority="interactive"),
        busy.ask("b0", "BETA", priority="batch"),
    ]
    quick = [busy.ask("a0", "ALPHA"), busy.ask("b1", "BETA", priority="Interactive")]
    busy.let_go()
    order = busy.served(*batch, *quick)
    assert sorted(order[:2]) == ["a0", "b1"]
    assert sorted(order[2:]) == ["b0", "n0", "n1"]


def test_a_priority_that_is_none_is_refused(gateway: Gateway):
    """A slip of the pen must not make an urgent call of a slow one."""
    headers = {"authorization": f"Bearer {KEYS['BETA']}", "x-penstock-priority": "bach"}
    refused = gateway.post(chat(LOCAL), headers=headers)
    assert (refused.status, refused.error["param"]) == (400, "x-penstock-priority")
    assert gateway.sim.requests == []


def test_a_full_queue_refuses_at_once(busy: Busy):
    """As a whole, and one key's part of it; with the reason, and when to ask again. Who waits is not disturbed."""
    mine = [busy.ask(f"a{number}", "ALPHA") for number in range(6)]
    one_more = busy.ask("a6", "ALPHA", waits=False).rest()
    assert (one_more.status, one_more.error["code"]) == (503, "queue_full")
    assert "6 calls of this key wait already" in one_more.error["message"]
    assert int(one_more.headers["retry-after"]) >= 1
    theirs = [busy.ask(f"b{number}", "BETA") for number in range(2)]
    full = busy.ask("n", "NIGHT", waits=False).rest()
    assert (full.status, full.error["code"]) == (503, "queue_full")
    assert "8 calls wait already" in full.error["message"]
    record = busy.gateway.ledger(full.request_id)
    assert (record.call.status, record.entries) == (503, ())
    busy.let_go()
    assert len(busy.served(*mine, *theirs)) == 8


def test_where_the_queue_is_full_a_chain_goes_on(busy: Busy):
    """At once, with the reason told."""
    waiting = [busy.ask(f"a{number}", "ALPHA") for number in range(6)]
    elsewhere = busy.ask("chained", "ALPHA", waits=False, model="safe").rest()
    assert (elsewhere.status, elsewhere.headers["x-penstock-provider"]) == (200, "backup")
    told = busy.gateway.story(elsewhere.request_id)["happenings"]
    assert [(one["what"], one.get("code", "")) for one in told][:2] == [
        ("queued", ""),
        ("refused", "queue-full"),
    ]
    busy.let_go()
    busy.served(*waiting)


def test_who_hangs_up_while_waiting_leaves_at_once(busy: Busy):
    """Its place in line is free while the provider is still busy, and the provider never hears of it."""
    gone, stays = busy.ask("gone", "BETA"), busy.ask("stays", "BETA")
    gone.close()
    busy.until(lambda: busy.queue.waiting == 1)
    busy.let_go()
    assert busy.served(stays) == ["stays"]
    record = busy.gateway.last_record()
    assert {record.call.status} <= {200, 499}


def test_a_call_waits_no_longer_than_it_may_last(busy: Busy):
    """A reload shortens that for calls from then on; the queue, and who runs, stay."""
    gateway = busy.gateway
    config = gateway.config.read_text(encoding="utf-8")
    try:
        assert gateway.reload(config + "server: {total_timeout_ms: 150}\n") == []
        late = busy.ask("late", "BETA", waits=False).rest()
    finally:
        assert gateway.reload(config) == []
    assert (late.status, late.error["code"]) == (504, "upstream_timeout_total")
    assert "No place at local came free" in late.error["message"]
    assert gateway.inside(lambda: (busy.queue.running, busy.queue.waiting)) == (1, 0)
    assert len(gateway.sim.requests) == 1
    assert gateway.ledger(late.request_id).entries == ()


def test_explain_tells_the_wait(busy: Busy):
    """What it waited behind, and how long; and the wait is not the gateway's own share."""
    waited = busy.ask("patient", "BETA")
    time.sleep(0.1)
    busy.let_go()
    answer = waited.rest()
    record = busy.gateway.ledger(answer.request_id)
    told = busy.gateway.story(answer.request_id)["happenings"]
    assert [one["what"] for one in told] == ["queued", "turn", "try", "delivered"]
    assert told[0]["reason"] == "1 calls run at local and 0 wait; interactive"
    wait_ms = float(told[1]["reason"].removeprefix("waited ").removesuffix(" ms in the queue"))
    assert 90 < wait_ms <= record.call.latency_ms
    assert record.call.gateway_us < (record.call.latency_ms - wait_ms) * 1000 + 1000
    (entry,) = record.entries
    assert entry.latency_ms < record.call.latency_ms - wait_ms + 1
    timing = answer.headers["server-timing"]
    assert float(timing.rpartition("upstream;dur=")[2]) >= wait_ms


def test_a_stream_keeps_its_place_to_its_end(gateway: Gateway):
    """Not only until its head is here."""
    busy = Busy(gateway)
    busy.let_go()
    busy.until(lambda: busy.queue.running == 0)
    gateway.faults(at("local", "stall", after=2, forever=True, count=1))
    headers = {"authorization": f"Bearer {KEYS['ALPHA']}"}
    with gateway.stream(chat(LOCAL), headers) as streaming:
        assert streaming.until(b"data: ")
        waits = busy.ask("waits", "BETA")
        assert gateway.inside(lambda: busy.queue.running) == 1
    assert waits.rest().status == 200
    busy.end()


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_failed_call_gives_its_place_back(gateway: Gateway, status: int):
    """On the short lane and on the long way."""
    headers = {"authorization": f"Bearer {KEYS['ALPHA']}"}
    assert gateway.post(chat(LOCAL), headers=headers).status == 200
    gateway.faults(at("local", "status", status=status))
    for body in (chat(LOCAL), chat(LOCAL, models=[LOCAL]), chat(LOCAL, stream=True)):
        gateway.inside(gateway.house.providers["local"].keys._cooling.clear)
        assert gateway.post(body, headers=headers).status >= 400
        queue = gateway.house.providers["local"].queue
        assert queue is not None
        assert gateway.inside(lambda queue=queue: (queue.running, queue.waiting)) == (0, 0)


def test_nobody_waits_for_a_target_that_would_be_refused(busy: Busy):
    """Its breaker is open: the chain goes on, and does not stand in line first."""
    gateway = busy.gateway

    def break_it() -> None:
        for _ in range(5):
            gateway.house.health.fault(LOCAL, time.monotonic())

    gateway.inside(break_it)
    answer = busy.ask("chained", "ALPHA", waits=False, model="safe").rest()
    assert answer.headers["x-penstock-provider"] == "backup"
    story: dict[str, Any] = gateway.story(answer.request_id)
    assert "queued" not in [one["what"] for one in story["happenings"]]


def test_a_reload_that_allows_more_lets_them_go(busy: Busy):
    """Who waits goes on waiting under the new numbers."""
    gateway = busy.gateway
    config = gateway.config.read_text(encoding="utf-8")
    waits = [busy.ask("w0", "BETA"), busy.ask("w1", "ALPHA")]
    try:
        assert gateway.reload(config.replace("max_concurrent: 1", "max_concurrent: 3")) == []
        assert sorted(busy.served(*waits)) == ["w0", "w1"]
    finally:
        assert gateway.reload(config) == []


def test_metrics_count_what_became_of_calls(busy: Busy):
    """Running and waiting as they stand; the others since the start."""
    busy.ask("waits", "BETA")
    text = busy.gateway.get("/metrics").body.decode()
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("penstock_queue"))
    assert found['penstock_queue_running{provider="local"}'] == "1"
    assert found['penstock_queue_waiting{provider="local"}'] == "1"
    assert float(found['penstock_queue_calls_total{provider="local",outcome="at-once"}']) >= 1
    assert float(found['penstock_queue_wait_seconds_total{provider="local"}']) > 0


def test_a_call_that_fails_at_the_till_gives_its_place_back(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    """Whatever goes wrong between a place at the provider and the caller's allowance: the place is free again."""
    headers = {"authorization": f"Bearer {KEYS['TILL']}"}
    assert gateway.post(chat(LOCAL, "warm"), headers=headers).status == 200  # the plan is remembered

    asked: list[object] = []

    def broken(*_: object) -> bool:
        asked.append(gateway)
        raise ArithmeticError

    queue = gateway.house.providers["local"].queue
    assert queue is not None
    with monkeypatch.context() as patched:
        patched.setattr("penstock.gateway.lane.charged", broken)
        answered = gateway.post(chat(LOCAL, "broken"), headers=headers)
    assert asked
    assert answered.status in (200, 500)
    assert gateway.inside(lambda: queue.running) == 0
    assert gateway.post(chat(LOCAL, "again"), headers=headers).status == 200
