"""The short lane is no other gateway: what goes wrong with a call that it took goes on as without it (decision 007)."""

import asyncio
import gzip
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.base.errors import OurFault
from tests.behaviours.gateway import Stream
from tests.behaviours.lanes import (
    CONFIG,
    KEY,
    NARROW,
    PLAIN,
    Pair,
    Side,
    ask,
    connected,
    next_answer,
    request,
    status,
    two_ways,
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with two_ways(tmp_path_factory.mktemp("lanes"), CONFIG) as made:
        yield made


# What goes wrong.

HOUSE: dict[str, tuple[str, list[dict[str, Any]], int, int]] = {
    "500": (PLAIN, [status(500)], 502, 1),
    "503-retried": ("openai/gpt-4o", [status(503, count=1)], 200, 2),
    "503-to-the-end": ("openai/gpt-4o", [status(503)], 503, 3),
    "500-falls-back": ("chained", [status(500, "openai")], 200, 4),
    "500-and-a-spent-budget": ("once", [status(500, "openai")], 502, 1),
    "500-falls-back-across": ("across", [status(502, "openai")], 200, 4),
    "429-falls-back": ("chained", [status(429, "openai", retry_after_s=30)], 200, 2),
    "429-waits": ("openai/gpt-4o", [status(429, count=1, retry_after_s=0.06, retry_after_as="ms")], 200, 2),
    "429-to-the-end": (PLAIN, [status(429, retry_after_s=7)], 429, 1),
    "401-another-key": ("pair/gpt-4o", [status(401, count=1)], 200, 2),
    "403-every-key": ("pair/gpt-4o", [status(403)], 502, 2),
    "402": (PLAIN, [status(402)], 502, 1),
    "400": (PLAIN, [status(400, message="no such parameter", code="nope")], 400, 1),
    "400-no-fallback": ("chained", [status(400, "openai")], 400, 1),
    "404": (PLAIN, [status(404)], 404, 1),
    "404-falls-back": ("chained", [status(404, "openai")], 200, 2),
    "413": (PLAIN, [status(413)], 413, 1),
    "html-502": (PLAIN, [{"kind": "html"}], 502, 1),
    "html-200": (PLAIN, [{"kind": "html", "status": 200}], 502, 1),
    "text-200": (PLAIN, [{"kind": "plain_text", "status": 200}], 502, 1),
    "no-json-200": (PLAIN, [{"kind": "malformed"}], 502, 1),
    "error-in-200": (PLAIN, [{"kind": "error_in_200", "status": 500}], 502, 1),
    "error-in-200-falls-back": ("chained", [{"kind": "error_in_200", "when": {"providers": ["openai"]}}], 200, 2),
    "truncated": (PLAIN, [{"kind": "close_mid_stream"}], 502, 1),
    "truncated-and-retried": ("openai/gpt-4o", [{"kind": "close_mid_stream", "count": 1}], 200, 2),
    "reset-inside": (PLAIN, [{"kind": "reset", "after": 1}], 502, 1),
    "replayed": (PLAIN, [{"kind": "early_close", "count": 1}], 200, 1),
    "closed-again": (PLAIN, [{"kind": "early_close"}], 502, 1),
    "gzip": (PLAIN, [{"kind": "gzip"}], 200, 1),
    "deflate": (PLAIN, [{"kind": "deflate", "mode": "raw"}], 200, 1),
    "br": (PLAIN, [{"kind": "br"}], 200, 1),
    "gzip-undeclared": (PLAIN, [{"kind": "gzip", "name": "none"}], 200, 1),
    "gzip-untrue": (PLAIN, [{"kind": "wrong_encoding_header"}], 200, 1),
    "unknown-encoding": (PLAIN, [{"kind": "wrong_encoding_header", "name": "zstd"}], 502, 1),
    "in-pieces": (PLAIN, [{"kind": "split", "bytes": 40}], 200, 1),
    "odd-usage": (PLAIN, [{"kind": "bad_usage"}], 200, 1),
    "another-model": (PLAIN, [{"kind": "model_drift"}], 200, 1),
    "silent": ("hasty/gpt-4o", [{"kind": "hang"}], 504, 1),
    "silent-body": ("hasty/gpt-4o", [{"kind": "hang_after_head"}], 504, 1),
    "stalls": ("hasty/gpt-4o", [{"kind": "stall"}], 504, 1),
    "too-slow": ("brief/gpt-4o", [{"kind": "split", "bytes": 10, "ms": 20}], 504, 1),
}  # fmt: skip
"""Model, faults, the status that the caller gets, and how many attempts were made."""
FORGOTTEN = {
    "400", "400-no-fallback", "413", "replayed", "gzip", "deflate", "br", "gzip-undeclared", "gzip-untrue",
    "in-pieces", "odd-usage", "another-model", "503-retried", "truncated-and-retried", "429-waits",
}  # fmt: skip
"""No fault is remembered and no key cools down afterwards: the next call may take the lane again."""


@pytest.mark.parametrize("name", HOUSE)
def test_trouble_is_handled_alike(pair: Pair, name: str):
    """Retries, other keys, fallbacks, waits, errors: the same attempts, the same words, the same bill."""
    model, faults, number, attempts = HOUSE[name]

    def scenario(side: Side) -> None:
        side.warm(ask(model), KEY)
        side.gateway.inside(lambda: side.gateway.house.rng.seed(3))
        side.gateway.faults(*faults)
        answer = side.post(ask(model), {**KEY, "x-request-id": "mine"})
        assert answer.status == number, answer.body
        assert answer.headers["x-penstock-attempts"] == str(attempts)
        # What the trouble left behind decides the next one's way.
        side.gateway.faults()
        side.post(ask(model), KEY)

    pair.run(scenario, taken=2 if name in FORGOTTEN else 1)


# What only a scripted upstream says.

SAID = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}
WHOLE = json.dumps(SAID).encode()
ERROR = (
    b'{"error":{"message":"The provider says no.","type":"invalid_request_error","param":"user","code":"no"}}'
)


def http(number: int, body: bytes, *lines: str, length: int | None = None) -> bytes:
    """One reply. ``length``: what content-length says, where that is not the truth; -1 says none."""
    heads = [f"HTTP/1.1 {number} X", "content-type: application/json", *lines]
    if length != -1:
        heads.append(f"content-length: {len(body) if length is None else length}")
    return "\r\n".join(heads).encode() + b"\r\n\r\n" + body


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces)


SAYS: dict[str, tuple[list[list[bytes | float | None]], int]] = {
    "chunked": ([[http(200, b"", "transfer-encoding: chunked", length=-1) + chunked(WHOLE[:9], WHOLE[9:], b"")]], 200),
    "until-the-end": ([[http(200, WHOLE, "connection: close", length=-1), None]], 200),
    "http-1.0": ([[http(200, WHOLE).replace(b"HTTP/1.1", b"HTTP/1.0"), None]], 200),
    "close-asked": ([[http(200, WHOLE, "connection: close"), None]], 200),
    "continue-first": ([[b"HTTP/1.1 100 Continue\r\n\r\n", http(200, WHOLE)]], 200),
    "byte-by-byte-head": ([[http(200, WHOLE)[at : at + 1] for at in range(30)] + [http(200, WHOLE)[30:]]], 200),
    "a-second-reply": ([[http(200, WHOLE) + http(200, WHOLE)]], 200),
    "201": ([[http(201, WHOLE)]], 200),
    "204": ([[b"HTTP/1.1 204 No Content\r\n\r\n"]], 502),
    "empty": ([[http(200, b"")]], 502),
    "302": ([[http(302, b"", "location: http://elsewhere.example/")]], 502),
    "304": ([[b"HTTP/1.1 304 Not Modified\r\n\r\n", None]], 502),
    "101": ([[b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"]], 502),
    "no-http": ([[b"SSH-2.0-OpenSSH_9.6\r\n"]], 502),
    "half-a-head": ([[b"HTTP/1.1 200 OK\r\ncontent-", None]], 502),
    "endless-head": ([[b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 20_000]], 502),
    "too-short": ([[http(200, WHOLE, length=len(WHOLE) + 5), None]], 502),
    "chunks-cut": ([[http(200, b"", "transfer-encoding: chunked", length=-1) + chunked(WHOLE), None]], 502),
    "gzip-cut": ([[http(200, gzip.compress(WHOLE)[:-20], "content-encoding: gzip")]], 502),
    "gzip-error": ([[http(400, gzip.compress(ERROR), "content-encoding: gzip")]], 400),
    "400-cut": ([[http(400, ERROR, length=5000), None]], 400),
    "401-cut": ([[http(401, ERROR, length=5000), None]], 502),
    "429-cut": ([[http(429, ERROR, "retry-after: 9", length=5000), None]], 429),
    "500-cut": ([[http(500, ERROR, length=5000), None]], 502),
    "400-that-stalls": ([[http(400, ERROR, length=5000), 0.3]], 400),
    "500-in-broken-gzip": ([[http(500, b"\x1f\x8b nonsense", "content-encoding: gzip")]], 502),
    "400-of-megabytes": ([[http(400, b"<html>" + b"a" * 3_000_000)]], 400),
    "429-date": ([[http(429, ERROR, "x-ratelimit-remaining-requests: 0", "x-ratelimit-reset-requests: 3s")]], 429),
    "gone-and-well": ([[None], [http(200, WHOLE)]], 200),
    "gone-and-refused": ([[None], [http(400, ERROR)]], 400),
    "gone-and-silent": ([[None], [0.4]], 504),
    "gone-and-gone": ([[None], [None]], 502),
    "no-model": ([[http(200, json.dumps({**SAID, "model": None, "id": None}).encode())]], 200),
    "no-usage": ([[http(200, json.dumps({**SAID, "usage": None}).encode())]], 200),
    "no-choices": ([[http(200, json.dumps({**SAID, "choices": []}).encode())]], 502),
    "spaces-first": ([[http(200, b" \n" + WHOLE)]], 200),
    "not-utf8": ([[http(200, WHOLE.replace(b"hi", b"\xff\xfe"))]], 502),
    "null": ([[http(200, b"null")]], 502),
    "cut-json": ([[http(200, WHOLE[:-30])]], 502),
    "an-odd-header": ([[http(200, WHOLE, "x-weird: \x01")]], 502),
}  # fmt: skip
"""What the upstream says to each request, and the status that the caller gets where nothing else can help."""


@pytest.mark.parametrize("name", SAYS)
def test_whatever_an_upstream_says_is_read_alike(pair: Pair, name: str):
    """To a call that has no other target, and to one that has."""
    turns, number = SAYS[name]

    def scenario(side: Side) -> None:
        for model in ("scripted/gpt-4o-mini", "safe"):
            side.script.turns = [[http(200, WHOLE)]]
            side.warm(ask(model), KEY)
            side.script.turns = [list(turn) for turn in turns]
            answer = side.gateway.post(ask(model), headers=KEY)
            side.saw(answer)
            if model != "safe":
                assert answer.status == number, answer.body
            side.gateway.fresh()

    # ``forget`` before each call empties the list of those that were taken.
    pair.run(scenario, taken=1)


def test_an_endless_error_is_not_read_to_its_end(pair: Pair):
    """A megabyte of an error page is enough: then its connection closes."""
    piece = chunked(b"a" * 65536)

    def scenario(side: Side) -> None:
        side.script.turns = [[http(200, WHOLE)]]
        side.warm(ask("scripted/gpt-4o-mini"), KEY)
        head = http(400, b"", "transfer-encoding: chunked", length=-1)
        side.script.turns = [[head, *[piece] * 800]]
        assert side.post(ask("scripted/gpt-4o-mini"), KEY).status == 400
        assert side.script.finished(800) < 800

    pair.run(scenario)


def test_a_reply_larger_than_the_limit_is_refused_alike(pair: Pair, monkeypatch: pytest.MonkeyPatch):
    """On the wire, and decoded."""
    for module in ("lane", "call"):
        monkeypatch.setattr(f"penstock.gateway.{module}.MAX_REPLY_BYTES", 2000)
    large = json.dumps({**SAID, "padding": "a" * 3000}).encode()

    def scenario(side: Side) -> None:
        for reply in (http(200, large), http(200, gzip.compress(large), "content-encoding: gzip")):
            side.script.turns = [[http(200, WHOLE)]]
            side.warm(ask("scripted/gpt-4o-mini"), KEY)
            side.script.turns = [[reply]]
            assert side.post(ask("scripted/gpt-4o-mini"), KEY).status == 502
            side.gateway.fresh()

    pair.run(scenario)


# Callers that hang up.

HANG_UPS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "silent": (PLAIN, [{"kind": "hang"}]),
    "head-only": (PLAIN, [{"kind": "hang_after_head"}]),
    "half-a-body": (PLAIN, [{"kind": "stall"}]),
    "with-a-fallback": ("chained", [{"kind": "hang"}]),
    "second-attempt": ("chained", [status(404, "openai"), {"kind": "hang", "when": {"providers": ["backup"]}}]),
    "another-key": ("pair/gpt-4o", [status(401, count=1), {"kind": "hang"}]),
    "retry": ("openai/gpt-4o", [status(503, count=1), {"kind": "hang_after_head"}]),
}  # fmt: skip


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize("name", HANG_UPS)
def test_hanging_up_ends_the_call_alike(pair: Pair, name: str, how: str):
    """The provider's socket closes at once, the call is settled, what was consumed is billed as an estimate."""
    model, faults = HANG_UPS[name]

    def scenario(side: Side) -> None:
        gateway = side.gateway
        side.warm(ask(model), {**KEY, "x-request-id": "mine"})
        gateway.inside(lambda: gateway.house.rng.seed(3))
        gateway.faults(*faults)
        stream = gateway.open(ask(model, plugins=[]), headers=KEY)
        hung = gateway.sim.wait_for(lambda one: bool(one.faults) and "status" not in one.faults)
        wait_for_answer(side, body="hang" not in hung.faults)
        if how == "half-close":
            stream._sock.shutdown(socket.SHUT_WR)
        else:
            stream.reset() if how == "reset" else stream.close()
        gateway.sim.wait_for(lambda one: one.disconnected_unix_s is not None)
        stream.close()
        side.settled()
        record = gateway.last_record()
        assert (record.call.status, record.call.error_code) == (499, "caller_gone")
        side.recorded(record.call.request_id)
        for call in side.taken:
            assert call.facts.waited_s > 0  # else the gateway's own share would hold the provider's

    pair.run(scenario)


def wait_for_answer(side: Side, *, body: bool) -> None:
    """Until the gateway has sent a request, and read the head of its reply where ``body``."""
    gateway = side.gateway

    def ready() -> bool:
        active = [one for provider in gateway.house.providers.values() for one in provider.transport._active]
        return len(active) == 1 and active[0].phase != "connect" and (active[0].status > 0) is body

    until_s = time.monotonic() + 10
    while not gateway.inside(ready):
        assert time.monotonic() < until_s
        time.sleep(0.002)


def test_hanging_up_while_an_error_is_read_ends_the_call_alike(pair: Pair):
    """The status was no 2xx, and its body is not here yet."""

    def scenario(side: Side) -> None:
        side.script.turns = [[http(200, WHOLE)]]
        side.warm(ask("scripted/gpt-4o-mini"), KEY)
        side.script.turns = [[http(500, ERROR, length=5000), 0.1]]
        stream = side.gateway.open(ask("scripted/gpt-4o-mini"), headers=KEY)
        wait_for_answer(side, body=True)
        stream.close()
        side.settled()
        side.recorded(side.gateway.last_record().call.request_id)

    pair.run(scenario)


def test_hanging_up_in_the_very_turn_in_which_an_attempt_failed(pair: Pair, monkeypatch: pytest.MonkeyPatch):
    """The task that shall go on is cancelled before its first step: the call is settled and no longer counted."""
    side = pair.sides[0]
    gateway = side.gateway
    gateway.fresh()
    side.warm(ask("chained"), KEY)
    gateway.faults(status(500, "openai"))
    really = type(side.app).carry_on

    def carry_on(app: Any, call: Any, made: Any) -> Any:
        task = really(app, call, made)
        task.cancel()
        return task

    monkeypatch.setattr(type(side.app), "carry_on", carry_on)
    stream = gateway.open(ask("chained"), headers=KEY)
    gateway.sim.wait_for(lambda one: one.complete)
    side.settled()
    stream.close()
    record = gateway.last_record()
    assert (record.call.error_code, record.call.attempts) == ("caller_gone", 1)
    assert len(side.taken) == 1


# Bugs.

BUGS = {
    "reading-the-reply": ["penstock.dialects.openai_chat.relay.WholeRelay.close"],
    "writing-the-head": ["penstock.gateway.lane.reply_head", "penstock.gateway.call.reply_head"],
    "ending-the-attempt": ["penstock.gateway.lane.end_attempt", "penstock.gateway.call.end_attempt"],
    "what-the-caller-tells": ["penstock.gateway.lane.told_by_caller", "penstock.gateway.call.told_by_caller"],
    "writing-the-request": ["penstock.net.transport._Heads.of"],
    "making-a-relay": ["penstock.dialects.openai_chat.OpenAIChat.relay"],
    "the-envelope": ["penstock.dialects.openai_chat.OpenAIChat.read_request"],
    "the-plan": ["penstock.gateway.lane.remembered", "penstock.gateway.planning.remembered"],
}


@pytest.mark.parametrize("kind", [RuntimeError, OurFault])
@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_answered_and_told_alike(
    pair: Pair, name: str, kind: type[Exception], capfd: pytest.CaptureFixture[str]
):
    """A 500, a line in the log, one record; the connection serves on, and nothing is still counted or taken."""

    before_the_wire = name in ("what-the-caller-tells", "the-envelope", "the-plan", "making-a-relay")

    def broken(*_: object, **__: object) -> None:
        raise kind("a bug")

    def scenario(side: Side) -> tuple[Any, int]:
        side.warm(ask(), NARROW)
        spent = side.spent("narrow")
        capfd.readouterr()
        if before_the_wire:
            side.without_express()  # it asks nobody of those
        with connected(side) as sock:
            stream = Stream(sock, time.monotonic())
            with pytest.MonkeyPatch.context() as patch:
                for target in BUGS[name]:
                    patch.setattr(target, broken)
                sock.sendall(request(ask(), NARROW))
                assert side.saw(next_answer(stream)).status == 500
            assert side.app.inflight == 0
            lines = [line for line in capfd.readouterr().err.splitlines() if "request.failed" in line]
            side.taken[:] = side.taken[:1]
            sock.sendall(request(ask(), NARROW))
            assert side.saw(next_answer(stream)).status == 200
        return spent(), len(lines)

    pair.run(scenario, taken=1 if before_the_wire else 2)


# The gateway itself.


def test_a_ledger_that_is_full_refuses_alike(pair: Pair, monkeypatch: pytest.MonkeyPatch):
    """Nothing is sent that could not be recorded."""

    def scenario(side: Side) -> None:
        side.warm(ask(), KEY)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(side.gateway.house.journal, "max_queue", 0)
            answer = side.post(ask(), KEY)
        assert (answer.status, answer.error["code"]) == (503, "ledger_full")

    pair.run(scenario, taken=0)


@pytest.mark.parametrize("patient", [True, False])
def test_draining_waits_for_what_runs(tmp_path: Path, patient: bool):
    """A running call ends, on a connection that then closes; one that takes too long is cut, settled, not counted."""
    with two_ways(tmp_path, CONFIG) as pair:

        def scenario(side: Side) -> bool:
            side.warm(ask(), KEY)
            side.gateway.faults({"kind": "slow_head", "ms": 150} if patient else {"kind": "hang"})
            stream = side.gateway.open(ask(), headers=KEY)
            side.gateway.sim.wait_for(lambda one: bool(one.faults))
            draining = asyncio.run_coroutine_threadsafe(
                side.app.drain(5.0 if patient else 0.05), side.gateway.loop
            )
            answer = stream.rest()
            side.seen.append((answer.status, answer.ended))
            if patient:
                assert side.saw(answer).headers["connection"] == "close"
            ended = draining.result(10)
            side.settled()
            side.recorded(side.gateway.last_record().call.request_id)
            assert not side.app.connections
            return ended

        pair.run(scenario)


@pytest.mark.parametrize("fault", [{"kind": "slow_head", "ms": 150}, status(500, "openai", count=1)])
def test_a_reload_does_not_disturb_what_runs(tmp_path: Path, fault: dict[str, Any]):
    """The call ends in the house in which it began, also where it must go on on the long way; the next is of the new one."""
    other = CONFIG.replace("max_retries: 2, backoff_initial_ms: 1}", "max_retries: 1, backoff_initial_ms: 2}")
    other = other.replace("primary: openai/gpt-4o,", "primary: backup/gpt-4o-mini,")
    with two_ways(tmp_path, CONFIG) as pair:

        def scenario(side: Side) -> bool:
            gateway = side.gateway
            side.warm(ask("chained"), KEY)
            gateway.faults(fault, {"kind": "slow_head", "ms": 150})
            stream = gateway.open(ask("chained"), headers=KEY)
            gateway.sim.wait_for(lambda one: one.model == "gpt-4o")
            old = gateway.house
            assert gateway.reload(other) == []
            assert gateway.house is not old
            answer = side.saw(stream.rest())
            assert answer.headers["x-penstock-provider"] == "openai"
            gateway.faults()
            side.warm(ask("chained"), KEY)
            assert side.post(ask("chained"), KEY).headers["x-penstock-provider"] == "backup"
            transports = [provider.transport for provider in old.providers.values()]
            return all(not transport.in_use for transport in transports)

        pair.run(scenario)
