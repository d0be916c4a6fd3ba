"""Whose deadline it was: heartbeats that never end, and a call that had no time left."""

import time
from collections.abc import Iterator

import pytest
from tests.behaviours.gateway import Gateway, Scripted, chat, running_gateway

from penstock.gateway import stream as delivery

CONFIG = """
providers:
  silent:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{scripted}/v1", idle_timeout_ms: 300, retry: {max_retries: 0}}
  backup:
    dialect: openai
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/backup/v1", retry: {max_retries: 0}}
routes: [{id: safe, primary: silent/m, fallbacks: [backup/gpt-4o-mini]}]
"""
PING = (b": ping\n\n", 0.05)


@pytest.fixture
def script() -> Iterator[Scripted]:
    made = Scripted()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def gateway(tmp_path, script) -> Iterator[Gateway]:
    with running_gateway(tmp_path, CONFIG, scripted=script.url) as gateway:
        yield gateway


def test_a_reply_that_has_stopped_ends_although_heartbeats_go_on(gateway, script, monkeypatch):
    """Bifrost #6784: no [DONE] ever comes. The end is seen a moment after the last word, not after the hold-back."""
    monkeypatch.setattr(delivery, "TICK_S", 0.2)
    word = {
        "id": "c",
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}],
    }
    stop = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    script.sse(word, stop, *PING * 80)
    before_s = time.monotonic()
    answer = gateway.post({**chat("silent/m"), "stream": True})
    assert (answer.text(), answer.finish(), answer.ended) == ("hi", "stop", "complete")
    assert time.monotonic() - before_s < 3.9
    assert gateway.entry(answer.request_id).klass == "delivered"


def test_a_call_that_ran_out_of_time_does_not_blame_its_last_target(gateway, script):
    """The target had less time than its own deadlines give it: that opens no breaker."""
    config = CONFIG + "server: {total_timeout_ms: 120}\n"
    assert gateway.reload(config.replace("idle_timeout_ms: 300, ", "")) == []
    script.says = [2.0]
    for _ in range(6):
        answer = gateway.post(chat("silent/m"))
        assert (answer.status, answer.error["code"]) == (504, "upstream_timeout_total")
    assert gateway.inside(lambda: gateway.house.health.check("silent/m", time.monotonic())) is None


def test_a_stream_that_stalls_after_content_ends_at_the_idle_deadline(gateway, script):
    """With heartbeats, too, and long before the hold-back would be over: it is for slow starts only."""
    word = {
        "id": "c",
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}],
    }
    script.sse(word, *PING * 80)
    before_s = time.monotonic()
    answer = gateway.post({**chat("silent/m"), "stream": True})
    assert not answer.done
    assert answer.stream_error()["code"] == "upstream_timeout_idle"
    assert time.monotonic() - before_s < 3.9
    assert gateway.entry(answer.request_id).klass == "billed_not_delivered"
