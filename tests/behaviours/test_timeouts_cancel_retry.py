"""Behaviours 24, 25, 27 to 32: hanging up, four deadlines, what is retried, where a call goes next."""

import email.utils
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from penstock.ledger.entry import Record
from tests.behaviours.gateway import Gateway, Stream, running_gateway

HELLO = [{"role": "user", "content": "hello there, how are you today?"}]
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY, name: first}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 2, backoff_initial_ms: 1}}
  pair:
    dialect: openai
    keys: [{value: env.OPENAI_KEY, name: one}, {value: env.SECOND_KEY, name: two}]
    network: {base_url: "{sim}/p/pair/v1", retry: {max_retries: 1, backoff_initial_ms: 1}}
  patient:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/patient/v1", retry: {max_retries: 3, backoff_initial_ms: 60000, backoff_max_ms: 60000}}
  hasty:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network:
      base_url: "{sim}/p/hasty/v1"
      connect_timeout_ms: 300
      first_byte_timeout_ms: 250
      idle_timeout_ms: 250
      total_timeout_ms: 900
      retry: {max_retries: 0}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
  gemini:
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{sim}/p/gemini", retry: {max_retries: 0}}
  backup:
    dialect: openai
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/backup/v1", retry: {max_retries: 0}}
routes:
  - {id: bounded, primary: openai/gpt-4o, fallbacks: [pair/gpt-4o, backup/gpt-4o], max_attempts: 4}
  - id: overrides
    primary: {model: openai/gpt-4o, params: {temperature: 0.1}}
    fallbacks:
      - {model: anthropic/claude-haiku-4-5, params: {max_tokens: 77, temperature: 0.5}}
      - {model: backup/gpt-4o-mini, params: {max_tokens: 5, seed: 7}}
"""
SCENARIO = {"profiles": {"*paced*": {"tokens_per_s": 50.0, "output_tokens": 200}}}
PACED = {
    "openai": "openai/gpt-4o-paced",
    "anthropic": "anthropic/claude-haiku-4-5-paced",
    "gemini": "gemini/gemini-2.5-flash-paced",
}


def ask(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": HELLO, **fields}


def attempts(record: Record) -> list[tuple[str, str, str | None]]:
    return [(one.provider, one.provider_key, one.error_code) for one in record.entries]


def served_by(gateway: Gateway) -> list[str]:
    return [one.provider for one in gateway.sim.requests]


def status(number: int, *providers: str, **fields: Any) -> dict[str, Any]:
    when = {"providers": list(providers), **fields.pop("when", {})} if providers else fields.pop("when", {})
    return {"kind": "status", "status": number, "when": when, **fields}


# 24. The caller hangs up.


@contextmanager
def black_hole() -> Iterator[str]:
    """An address at which nobody ever accepts: its queue of connections is full."""
    server = socket.create_server(("127.0.0.1", 0), backlog=0)
    host, port = server.getsockname()
    waiting = [socket.socket() for _ in range(4)]
    try:
        for one in waiting:
            one.setblocking(False)
            one.connect_ex((host, port))
        time.sleep(0.05)
        yield f"http://{host}:{port}/v1"
    finally:
        for one in (*waiting, server):
            one.close()


def gone_ms(stream: Stream, gateway: Gateway, how: str) -> float:
    """Hang up; milliseconds until the provider saw it."""
    hung_up_s = time.time()
    stream.reset() if how == "reset" else stream.close()
    received = gateway.sim.wait_for(lambda one: one.disconnected_unix_s is not None)
    assert received.disconnected_unix_s is not None
    return (received.disconnected_unix_s - hung_up_s) * 1000


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("provider", PACED)
def test_behaviour_24_hanging_up_mid_stream_reaches_the_provider_at_once(gateway, provider, how):
    """The aim is 50 ms; what was consumed until then is billed, marked as estimated."""
    stream = gateway.stream(ask(PACED[provider]))
    stream.until(b'"content":"')
    request_id = stream.headers["x-request-id"]
    took_ms = gone_ms(stream, gateway, how)
    print(f"{provider}, {how}, mid-stream: the provider saw it after {took_ms:.1f} ms")
    assert took_ms < 500
    record = gateway.ledger(request_id)
    (entry,) = record.entries
    assert (record.call.status, record.call.error_code) == (499, "caller_gone")
    assert (entry.klass, entry.usage_source, entry.error_code) == (
        "billed_not_delivered",
        "estimated",
        "caller_gone",
    )
    assert entry.input > 0
    assert 0 < entry.output < 100
    assert gateway.house.health.snapshot(time.monotonic()) == {}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["hang", "hang_after_head"])
def test_behaviour_24_hanging_up_before_the_first_byte_reaches_the_provider(gateway, fault, stream):
    """While the head is awaited, and while 200 is held back; the prompt was consumed and is billed."""
    gateway.faults({"kind": fault})
    call = gateway.open(ask("openai/gpt-4o", stream=stream))
    gateway.sim.wait_for(lambda one: bool(one.faults))
    time.sleep(0.05)
    took_ms = gone_ms(call, gateway, "close")
    print(f"{fault}, stream={stream}: the provider saw it after {took_ms:.1f} ms")
    assert took_ms < 500
    record = gateway.last_record()
    (entry,) = record.entries
    assert record.call.error_code == "caller_gone"
    assert (entry.klass, entry.usage_source, entry.output) == ("billed_not_delivered", "estimated", 0)
    assert entry.input > 0


def test_behaviour_24_hanging_up_while_backing_off_ends_the_call(gateway):
    """A call that waits for its retry makes none once nobody waits for it."""
    gateway.faults(status(503))
    call = gateway.open(ask("patient/gpt-4o"))
    gateway.sim.wait_for(lambda one: one.complete)
    time.sleep(0.05)
    assert gateway.running.app.inflight == 1
    hung_up_s = time.monotonic()
    call.close()
    while gateway.running.app.inflight:
        assert time.monotonic() - hung_up_s < 0.5
        time.sleep(0.001)
    print(f"back-off: given up after {(time.monotonic() - hung_up_s) * 1000:.1f} ms")
    record = gateway.last_record()
    assert (record.call.error_code, record.call.attempts) == ("caller_gone", 1)
    assert [(one.klass, one.cost_nusd, one.status) for one in record.entries] == [("failed", 0, 503)]
    assert gateway.story(record.call.request_id)["happenings"][-1]["what"] == "wait"
    assert len(gateway.sim.requests) == 1


def test_behaviour_24_hanging_up_while_connecting_ends_the_attempt(tmp_path):
    """Nothing was sent, so nothing is billed; the half-open connection is given up."""
    with black_hole() as url:
        config = (
            f'providers: {{openai: {{keys: [{{value: env.OPENAI_KEY}}], network: {{base_url: "{url}"}}}}}}'
        )
        with running_gateway(tmp_path, config) as gateway:
            call = gateway.open(ask("openai/gpt-4o-mini"))
            time.sleep(0.1)
            assert gateway.running.app.inflight == 1
            hung_up_s = time.monotonic()
            call.close()
            while gateway.running.app.inflight:
                assert time.monotonic() - hung_up_s < 0.5
                time.sleep(0.001)
            print(f"connecting: given up after {(time.monotonic() - hung_up_s) * 1000:.1f} ms")
            (entry,) = gateway.last_record().entries
            assert entry.error_code == "caller_gone"
            assert entry.output == 0


def test_behaviour_24_hanging_up_while_a_pipelined_call_waits_cancels_both(gateway):
    """The one that runs is let go, the one in line never starts."""
    gateway.faults({"kind": "hang"})
    payload = json.dumps(ask("openai/gpt-4o")).encode()
    wire = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (
        len(payload),
        payload,
    )
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(wire + wire)
        gateway.sim.wait_for(lambda one: bool(one.faults))
    gateway.sim.wait_for(lambda one: one.disconnected_unix_s is not None)
    time.sleep(0.05)
    assert len(gateway.sim.requests) == 1
    assert gateway.running.app.inflight == 0


# 25. Four deadlines.


def test_behaviour_25_connect_deadline_falls_back(tmp_path):
    """A host that does not answer costs its connect deadline, no more, and nothing in money."""
    with black_hole() as url:
        config = CONFIG.replace("{sim}/p/hasty/v1", url)
        with running_gateway(tmp_path, config) as gateway:
            began_s = time.monotonic()
            answer = gateway.post(ask("hasty/gpt-4o", fallbacks=["backup/gpt-4o"]))
            took_s = time.monotonic() - began_s
            assert answer.headers["x-penstock-provider"] == "backup"
            first, second = gateway.ledger(answer.request_id).entries
            assert (first.error_code, first.klass, first.cost_nusd) == (
                "upstream_timeout_connect",
                "failed",
                0,
            )
            assert second.klass == "delivered"
            assert took_s >= 0.25


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "hang"}, "upstream_timeout_first_byte"),
        ({"kind": "slow_head", "ms": 5000}, "upstream_timeout_first_byte"),
        ({"kind": "hang_after_head"}, "upstream_timeout_idle"),
    ],
    ids=["silent", "late-head", "silent-body"],
)  # fmt: skip
def test_behaviour_25_a_silent_provider_falls_back(gateway, fault, code, stream):
    """Before its head or after it: the next target answers, and the ledger says why."""
    gateway.faults({**fault, "when": {"providers": ["hasty"]}})
    answer = gateway.post(ask("hasty/gpt-4o", stream=stream, fallbacks=["backup/gpt-4o"]))
    assert answer.status == 200
    assert answer.headers["x-penstock-provider"] == "backup"
    assert answer.headers["x-penstock-attempts"] == "2"
    record = gateway.ledger(answer.request_id)
    assert [(one.provider, one.error_code) for one in record.entries] == [("hasty", code), ("backup", None)]


def test_behaviour_25_a_provider_that_only_beats_its_heart_falls_back(gateway):
    """Comments keep the wire alive, not the attempt."""
    gateway.faults({"kind": "heartbeats", "forever": True, "ms": 20, "when": {"providers": ["hasty"]}})
    answer = gateway.post(ask("hasty/gpt-4o", stream=True, fallbacks=["backup/gpt-4o"]))
    assert answer.headers["x-penstock-provider"] == "backup"
    assert gateway.ledger(answer.request_id).entries[0].error_code == "upstream_timeout_total"


def test_behaviour_25_a_stream_that_stalls_after_content_ends_honestly(gateway):
    """The idle deadline, once the caller has content: an error event and no [DONE], billed and not delivered."""
    gateway.faults({"kind": "stall", "after": 3, "forever": True})
    answer = gateway.post(ask("hasty/gpt-4o", stream=True, fallbacks=["backup/gpt-4o"]))
    assert answer.status == 200
    assert not answer.done
    assert answer.stream_error()["code"] == "upstream_timeout_idle"
    (entry,) = gateway.ledger(answer.request_id).entries
    assert (entry.klass, entry.error_code, entry.usage_source) == (
        "billed_not_delivered", "upstream_timeout_idle", "estimated")  # fmt: skip
    assert served_by(gateway) == ["hasty"]


def test_behaviour_25_the_total_deadline_ends_a_stream_that_never_ends(gateway):
    """Content keeps coming, each piece in time; the attempt as a whole is over all the same."""
    answer = gateway.post(ask("hasty/gpt-4o-paced", stream=True))
    assert answer.stream_error()["code"] == "upstream_timeout_total"
    (entry,) = gateway.ledger(answer.request_id).entries
    assert entry.klass == "billed_not_delivered"
    assert 800 < entry.latency_ms < 3000


def test_behaviour_25_no_deadline_cuts_what_progresses(gateway):
    """A reply slower than the idle deadline as a whole, but never silent for so long, is delivered."""
    gateway.faults({"kind": "split", "bytes": 400, "ms": 30})
    answer = gateway.post(ask("hasty/gpt-4o", stream=True, max_tokens=4))
    assert answer.done


# 27. What is retried.


@pytest.mark.parametrize("code", [400, 409, 422])
@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_behaviour_27_the_caller_s_own_mistake_is_never_retried(gateway, provider, code):
    """Neither on the same target nor on another: the provider's sentence comes back, once."""
    gateway.faults(status(code, message="limit exceeded: rate limit, timeout, overloaded, 503"))
    model = PACED[provider].removesuffix("-paced")
    answer = gateway.post(ask(model, fallbacks=["backup/gpt-4o"]))
    assert answer.status == code
    assert "limit exceeded" in answer.error["message"]
    assert answer.error["type"] == "invalid_request_error"
    assert served_by(gateway) == [provider]
    assert gateway.house.health.snapshot(time.monotonic()) == {}


def test_behaviour_27_a_404_is_not_retried_but_another_target_may_know_the_model(gateway):
    """The endpoint is dropped by the provider's own word; the chain goes on."""
    gateway.faults(status(404, "openai"))
    answer = gateway.post(ask("openai/gpt-9", fallbacks=["backup/gpt-4o"]))
    assert answer.status == 200
    assert served_by(gateway) == ["openai", "backup"]
    gateway.post(ask("openai/gpt-9", fallbacks=["backup/gpt-4o"]))
    assert served_by(gateway) == ["openai", "backup", "backup"]
    answer = gateway.post(ask("openai/gpt-9", fallbacks=["backup/gpt-4o"]))
    assert gateway.refused(answer.request_id) == [("openai/gpt-9", "dropped")]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 408}, {"kind": "status", "status": 500}, {"kind": "status", "status": 502},
        {"kind": "status", "status": 503}, {"kind": "status", "status": 529}, {"kind": "early_close"},
        {"kind": "reset"}, {"kind": "html"}, {"kind": "plain_text"}, {"kind": "malformed"},
        {"kind": "error_in_200", "status": 500}, {"kind": "close_mid_stream"},
    ],
    ids=lambda fault: f"{fault['kind']}{fault.get('status', '')}",
)  # fmt: skip
def test_behaviour_27_what_may_pass_is_retried_before_the_first_byte(gateway, fault, stream):
    """5xx, 408, the network, broken bodies: another try on the same target answers, and both are in the ledger."""
    # A kept connection that turns out to be dead is replaced by the transport itself, within the attempt.
    count = 2 if fault["kind"] in ("early_close", "reset") else 1
    gateway.faults({**fault, "count": count, "when": {"providers": ["openai"]}})
    answer = gateway.post(ask("openai/gpt-4o", stream=stream))
    assert answer.status == 200
    assert answer.headers["x-penstock-attempts"] in ("2", str(1 + count))
    *_, first, second = gateway.ledger(answer.request_id).entries
    assert first.klass in ("failed", "billed_not_delivered")
    assert first.error_code is not None
    assert (second.provider, second.klass) == ("openai", "delivered")


def test_behaviour_27_retries_end_with_max_retries(gateway):
    """First try and two retries; then the provider's own failure, told as ours to bear."""
    gateway.faults(status(500, message="internal trouble"))
    answer = gateway.post(ask("openai/gpt-4o"))
    assert answer.status == 502
    assert "internal trouble" in answer.error["message"]
    assert served_by(gateway) == ["openai"] * 3


@pytest.mark.parametrize("kind", ["close_mid_stream", "error_mid_stream", "reset", "malformed"])
def test_behaviour_27_nothing_is_retried_after_the_first_content(gateway, kind):
    """The caller has words; a second answer behind them would be a lie."""
    gateway.faults({"kind": kind, "after": 3, "count": 1})
    answer = gateway.post(ask("openai/gpt-4o", stream=True, fallbacks=["backup/gpt-4o"]))
    assert answer.status == 200
    assert answer.text() != ""
    assert not answer.done
    assert answer.stream_error() is not None
    assert served_by(gateway) == ["openai"]


# 28. Retry-After.


@pytest.mark.parametrize("form", ["seconds", "ms", "date", "reset"])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_behaviour_28_retry_after_is_honoured_in_every_form(gateway, provider, form):
    """With no other key or target, the call waits as long as it was asked to, and succeeds."""
    wait_s = 2.0 if form == "date" else 0.3 if form != "seconds" else 1.0
    gateway.faults(status(429, count=1, retry_after_s=wait_s, retry_after_as=form))
    model = "openai/gpt-4o"
    if provider == "anthropic":
        model = "anthropic/claude-haiku-4-5"
        gateway.faults(status(429, retry_after_s=wait_s, retry_after_as=form))
    began_s = time.monotonic()
    answer = gateway.post(ask(model))
    if provider == "anthropic":  # no retries configured: told to the caller at once instead
        assert answer.status == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 2
        assert 100 <= int(answer.headers["retry-after-ms"]) <= 2000
        return
    assert answer.status == 200
    first, second = gateway.sim.requests
    least_s = 0.9 if form == "date" else wait_s - 0.01
    assert second.started_unix_s - first.started_unix_s >= least_s
    assert time.monotonic() - began_s < wait_s + 2


def test_behaviour_28_another_key_is_used_at_once(gateway):
    """No waiting while a key is left that was not told to wait."""
    gateway.faults(status(429, count=1, retry_after_s=30))
    answer = gateway.post(ask("pair/gpt-4o"))
    assert answer.status == 200
    first, second = gateway.ledger(answer.request_id).entries
    assert {first.provider_key, second.provider_key} == {"one", "two"}
    assert (first.status, first.klass, first.cost_nusd) == (429, "failed", 0)
    assert gateway.sim.requests[1].started_unix_s - gateway.sim.requests[0].started_unix_s < 1


def test_behaviour_28_another_target_is_used_at_once(gateway):
    """A fallback beats a wait."""
    gateway.faults(status(429, "openai", retry_after_s=30))
    answer = gateway.post(ask("openai/gpt-4o", fallbacks=["backup/gpt-4o"]))
    assert answer.headers["x-penstock-provider"] == "backup"
    assert served_by(gateway) == ["openai", "backup"]


def test_behaviour_28_retry_after_reaches_the_caller_when_all_are_exhausted(gateway):
    """The soonest of them, as a header, with OpenAI's type for it; later callers get it without a call upstream."""
    gateway.faults(status(429, "openai", retry_after_s=40), status(429, "backup", retry_after_s=30))
    for _ in range(2):
        answer = gateway.post(ask("openai/gpt-4o", fallbacks=["backup/gpt-4o"]))
        assert answer.status == 429
        assert answer.error["type"] == "rate_limit_error"
        assert 28 <= int(answer.headers["retry-after"]) <= 30
    assert len(gateway.sim.requests) <= 3


def test_behaviour_28_an_http_date_is_read_by_the_provider_s_clock(gateway):
    """A date in the past means now; one far beyond the deadline is not waited for."""
    past = email.utils.formatdate(time.time() - 60, usegmt=True)
    gateway.faults(status(429, count=1, headers={"retry-after": past}))
    assert gateway.post(ask("openai/gpt-4o")).status == 200
    gateway.fresh()
    far = email.utils.formatdate(time.time() + 3600, usegmt=True)
    gateway.faults(status(429, count=1, headers={"retry-after": far}))
    began_s = time.monotonic()
    assert gateway.post(ask("openai/gpt-4o", fallbacks=["backup/gpt-4o"])).status == 200
    assert time.monotonic() - began_s < 2


# 29. Cool-down across requests.


def test_behaviour_29_a_cooling_key_is_left_alone_by_later_calls(gateway):
    """What one call learnt, the next ones know, until the time is up; then one probe brings the key back."""
    gateway.faults(status(429, retry_after_s=0.6, when={"keys": ["sk-openai-test-000000000001"], "first": 1}))
    while not any(one.faults for one in gateway.sim.requests):
        assert gateway.post(ask("pair/gpt-4o")).status == 200
    cooled_s = time.monotonic()
    before = len(gateway.sim.requests)
    for _ in range(8):
        gateway.post(ask("pair/gpt-4o"))
    if time.monotonic() - cooled_s < 0.5:
        assert {one.key for one in gateway.sim.requests[before:]} == {"sk-openai-test-000000000002"}
    assert "penstock_provider_key_up" in gateway.get("/metrics").body.decode()
    time.sleep(0.7)
    while gateway.sim.requests[-1].key != "sk-openai-test-000000000001":
        assert gateway.post(ask("pair/gpt-4o")).status == 200
        assert len(gateway.sim.requests) < 200
    assert gateway.inside(lambda: gateway.house.providers["pair"].keys.cooling(time.monotonic())) == {}


def test_behaviour_29_five_faults_open_a_target_and_one_probe_closes_it(gateway):
    """While it is open, nobody waits for it; half-open lets a single call through; its success closes it again."""
    gateway.faults(status(500, "hasty"))
    chain = ask("hasty/gpt-4o", fallbacks=["backup/gpt-4o"])
    for _ in range(5):
        assert gateway.post(chain).status == 200
    gateway.sim.forget_requests()
    answer = gateway.post(chain)
    assert served_by(gateway) == ["backup"]
    assert gateway.refused(answer.request_id) == [("hasty/gpt-4o", "open")]
    gateway.faults()
    time.sleep(2.05)
    gateway.sim.forget_requests()
    assert gateway.post(chain).headers["x-penstock-provider"] == "hasty"
    assert gateway.house.health.snapshot(time.monotonic()) == {}


def test_behaviour_29_the_last_of_a_chain_is_tried_although_it_is_open(gateway):
    """A bad chance beats none."""
    gateway.faults(status(500, "backup"))
    for _ in range(6):
        assert gateway.post(ask("backup/gpt-4o")).status == 502
    gateway.faults()
    assert gateway.post(ask("backup/gpt-4o")).status == 200


def test_behaviour_29_refusals_do_not_count_as_faults(gateway):
    """429 and 4xx say nothing about a target's health."""
    for code in (400, 422, 413, 400, 422, 400, 429):
        gateway.faults(status(code))
        gateway.post(ask("anthropic/claude-haiku-4-5"))
    assert gateway.house.health.snapshot(time.monotonic()) == {}


# 30. Refused keys.


@pytest.mark.parametrize("code", [401, 402, 403])
def test_behaviour_30_a_refused_key_is_rotated_without_waiting(gateway, code):
    """The other key answers at once; the refused one cools down for the calls after."""
    gateway.faults(status(code, when={"keys": ["sk-openai-test-000000000001"]}))
    for _ in range(12):
        assert gateway.post(ask("pair/gpt-4o")).status == 200
    refused = [one for one in gateway.sim.requests if one.faults]
    assert len(refused) == 1
    assert gateway.sim.requests[-1].key == "sk-openai-test-000000000002"


@pytest.mark.parametrize("code", [401, 402, 403])
@pytest.mark.parametrize("model", ["pair/gpt-4o", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash"])
def test_behaviour_30_all_dead_is_our_own_error_not_a_401(gateway, model, code):
    """The caller must not think that its own key is bad."""
    gateway.faults(status(code))
    for _ in range(2):
        answer = gateway.post(ask(model))
        assert answer.status == 502
        assert answer.error["code"] == "upstream_credentials_exhausted"
        assert "your own key is not the matter" in answer.error["message"]
    assert len(gateway.sim.requests) == (2 if model.startswith("pair") else 1)


# 31. One budget, one deadline.


def test_behaviour_31_one_attempt_budget_over_retries_keys_and_fallbacks(gateway):
    """Four attempts over three targets: each gets its first, whatever the ones before would like."""
    gateway.faults(status(503))
    answer = gateway.post(ask("bounded"))
    assert answer.status >= 500
    assert served_by(gateway) == ["openai", "openai", "pair", "backup"]
    assert gateway.ledger(answer.request_id).call.attempts == 4


def test_behaviour_31_without_a_ceiling_the_budget_is_the_chain_s_sum(gateway):
    """Three tries of the first, two of the second, one of the third: and not one more."""
    gateway.faults(status(503))
    answer = gateway.post(ask("openai/gpt-4o", fallbacks=["pair/gpt-4o", "backup/gpt-4o"]))
    assert served_by(gateway) == ["openai"] * 3 + ["pair"] * 2 + ["backup"]
    for provider in ("openai/gpt-4o", "pair/gpt-4o", "backup/gpt-4o"):
        assert provider in answer.error["message"]


def test_behaviour_31_a_target_named_twice_is_tried_twice_with_another_key(gateway):
    """The operator's way to say: once more, but differently."""
    gateway.faults(status(400, code="context_length_exceeded"))
    gateway.post(ask("pair/gpt-4o", fallbacks=["pair/gpt-4o"]))
    first, second = gateway.sim.requests
    assert {first.key, second.key} == {"sk-openai-test-000000000001", "sk-openai-test-000000000002"}


def test_behaviour_31_one_deadline_over_everything(tmp_path):
    """server.total_timeout_ms ends a call wherever it stands: in an attempt, or before a wait it could not survive."""
    config = CONFIG + "server: {total_timeout_ms: 700}\n"
    with running_gateway(tmp_path, config) as gateway:
        gateway.faults({"kind": "hang"})
        began_s = time.monotonic()
        answer = gateway.post(ask("openai/gpt-4o", fallbacks=["pair/gpt-4o", "backup/gpt-4o"]))
        assert answer.status == 504
        assert answer.error["code"] == "upstream_timeout_total"
        assert 0.6 < time.monotonic() - began_s < 3
        assert gateway.ledger(answer.request_id).call.latency_ms < 3000
        gateway.faults(status(429, retry_after_s=20))
        began_s = time.monotonic()
        assert gateway.post(ask("openai/gpt-4o-mini")).status == 429
        assert time.monotonic() - began_s < 0.6


# 32. Fallbacks keep the meaning.


def test_behaviour_32_each_target_gets_its_own_parameters(gateway):
    """Overrides reach the target they belong to, in its dialect, and no other; the caller's own survive elsewhere."""
    gateway.faults(status(503, "openai"))
    answer = gateway.post(ask("overrides", max_tokens=20, temperature=1.0, top_p=0.9))
    assert answer.headers["x-penstock-provider"] == "anthropic"
    tried = {one.provider: json.loads(one.body) for one in gateway.sim.requests}
    first = tried["openai"]
    assert (first["temperature"], first["max_completion_tokens"], first["top_p"]) == (0.1, 20, 0.9)
    assert (tried["anthropic"]["max_tokens"], tried["anthropic"]["temperature"]) == (77, 0.5)
    gateway.fresh()
    gateway.faults(status(503, "openai"), status(503, "anthropic"))
    answer = gateway.post(ask("overrides", max_tokens=20, temperature=1.0, top_p=0.9))
    assert answer.headers["x-penstock-provider"] == "backup"
    assert answer.headers["x-penstock-model"] == "gpt-4o-mini"
    sent = gateway.sent()
    assert (
        sent["max_completion_tokens" if "max_completion_tokens" in sent else "max_tokens"],
        sent["seed"],
        sent["temperature"],
    ) == (5, 7, 1.0)
    assert answer.finish() == "length"


def test_behaviour_32_the_reply_tells_who_served(gateway):
    """Provider, model and the number of attempts, in headers; the same in the ledger and in the generation."""
    gateway.faults(status(503, "openai"))
    answer = gateway.post(ask("openai/gpt-4o", stream=True, fallbacks=["gemini/gemini-2.5-flash"]))
    assert answer.headers["x-penstock-provider"] == "gemini"
    assert answer.headers["x-penstock-model"] == "gemini-2.5-flash"
    assert answer.headers["x-penstock-attempts"] == "4"
    data = gateway.get(f"/v1/generation?id={answer.request_id}").json()["data"]
    assert data["provider_name"] == "gemini"
    assert [one["provider_name"] for one in data["provider_responses"]] == ["openai"] * 3 + ["gemini"]


def test_behaviour_32_targets_that_lack_a_capability_are_passed_over(gateway):
    """Tools and pictures go where they are taken, by the catalogue, and the reason is written down."""
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    body = {"model": "openai/gpt-3.5-turbo", "messages": [{"role": "user", "content": picture}]}
    answer = gateway.post({**body, "fallbacks": ["openai/gpt-4o"]})
    assert answer.status == 200
    assert answer.headers["x-penstock-model"] == "gpt-4o"
    assert gateway.refused(answer.request_id) == [("openai/gpt-3.5-turbo", "lacks-image")]
    alone = gateway.post(body)
    assert (alone.status, alone.error["param"]) == (400, "messages[0].content[0]")


def test_behaviour_32_a_prompt_too_long_for_one_goes_to_the_next(gateway):
    """By the catalogue before the call, and by the provider's own word after it."""
    long = [{"role": "user", "content": "word " * 30_000}]
    answer = gateway.post({"model": "openai/gpt-3.5-turbo", "messages": long, "fallbacks": ["openai/gpt-4o"]})
    assert answer.headers["x-penstock-model"] == "gpt-4o"
    assert [one.model for one in gateway.sim.requests] == ["gpt-4o"]
    gateway.faults(status(400, "openai", code="context_length_exceeded"))
    answer = gateway.post(ask("openai/gpt-4o", fallbacks=["backup/gpt-4o"]))
    assert answer.headers["x-penstock-provider"] == "backup"
