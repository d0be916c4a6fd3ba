"""What was tried against the express lane: more than it has room for, other spellings, what costs more than it looks."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.routing.limits import KeyLimits
from penstock.server import express
from tests.behaviours.gateway import SECRETS, Stream
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
    two_ways,
)

if express.native is None:
    pytest.skip(f"no express lane: {express.missing}", allow_module_level=True)

KEPT = CONFIG.replace('cache_read: "0.075"}', 'cache_read: "0.075", cache_write_1h: "3"}')
RICH = """  - name: rich
    key: env.ADMIN_KEY
    budgets: [{limit_usd: 100, period: month}]
"""
ADMIN = {"authorization": f"Bearer {SECRETS['ADMIN_KEY']}"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with two_ways(tmp_path_factory.mktemp("express"), CONFIG) as made:
        yield made


def raw(body: bytes, head: dict[str, str]) -> bytes:
    lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in head.items())
    return b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n%b\r\n%b" % (
        len(body),
        lines,
        body,
    )


def taught(side: Side, payload: dict[str, Any], then: list[bytes], head: dict[str, str]) -> list[int]:
    """Two calls that teach a connection, then these."""
    side.warm(payload, head)
    with connected(side) as sock:
        stream = Stream(sock, time.monotonic())
        for _ in range(2):
            sock.sendall(request(payload, head))
            assert next_answer(stream).status == 200
        side.forget()
        found: list[int] = []
        for one in then:
            sock.sendall(one)
            found.append(side.saw(next_answer(stream)).status)
        return found


def test_limits_as_long_as_anybody_writes_them(pair: Pair, monkeypatch: pytest.MonkeyPatch):
    """What stands in each reply's head has the room that it takes."""
    long = b"x-ratelimit-limit-requests: %b\r\n" % (b"9" * 5000)
    monkeypatch.setattr(KeyLimits, "lines", lambda limits, now_s: long)
    sent = [request(ask(max_tokens=2), NARROW)]
    pair.run(lambda side: taught(side, ask(max_tokens=2), sent, NARROW), taken=1, express=1, handed=0)


def test_a_picture_that_is_spelled_otherwise_is_a_picture(pair: Pair):
    """Its type in two spellings, one of them outside of the conversation, where another field has the plain one."""
    plain = ask(response_format={"type": "text"})
    messages = b'[{"role": "user", "content": [{"\\u0074ype": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]'
    body = json.dumps(plain).encode().replace(json.dumps(plain["messages"]).encode(), messages)
    pair.run(lambda side: taught(side, plain, [raw(body, KEY)], KEY), taken=0, express=0)


@pytest.mark.parametrize("first", [False, True])
def test_what_may_be_kept_an_hour_is_held_for_that_long(tmp_path: Path, first: bool):
    """A prompt that asks for a cache's hour may cost twenty times as much: it never goes by what another one costs."""
    config = KEPT.replace("server: {max", RICH + "server: {max")
    words = {"type": "text", "text": "long " * 50, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    long_kept = {"model": PLAIN, "messages": [{"role": "user", "content": [words]}], "max_tokens": 5}
    payloads = [ask(max_tokens=5), long_kept]
    if first:
        payloads.reverse()
    with two_ways(tmp_path, config) as pair:

        def scenario(side: Side) -> int:
            treasury = side.gateway.running.shared.kept.treasury
            side.warm(payloads[0], ADMIN)
            with connected(side) as sock:
                stream = Stream(sock, time.monotonic())
                for _ in range(2):
                    sock.sendall(request(payloads[0], ADMIN))
                    assert next_answer(stream).status == 200
                side.forget()
                side.gateway.faults({"kind": "hang"})
                sock.sendall(request(payloads[1], ADMIN))
                until_s = time.monotonic() + 5
                while not side.gateway.sim.requests and time.monotonic() < until_s:
                    time.sleep(0.005)
                held = sum(one.current.reserved for one in treasury.budgets.accounts.values() if one.current)
            side.settled()
            return held

        pair.run(scenario, taken=1, express=0)


def test_a_reply_that_could_not_be_told_is_billed(pair: Pair, monkeypatch: pytest.MonkeyPatch):
    """A fault of ours behind the provider's last byte: the record stands, and nothing is counted as running."""
    side = pair.sides[0]
    side.gateway.inside(side.begin_anew)
    side.warm(ask(max_tokens=2), NARROW)
    with connected(side) as sock:
        stream = Stream(sock, time.monotonic())
        for _ in range(2):
            sock.sendall(request(ask(max_tokens=2), NARROW))
            assert next_answer(stream).status == 200
        side.forget()
        before = side.gateway.last_record().call.request_id

        def fails(limits: KeyLimits, now_s: float) -> bytes:
            raise ValueError(f"{limits} at {now_s}")

        with monkeypatch.context() as patch:
            patch.setattr(KeyLimits, "lines", fails)
            sock.sendall(request(ask(max_tokens=2), NARROW))
            assert sock.recv(4000) == b""
        assert len(side.express) == 1
    side.settled()
    last = side.gateway.last_record()
    assert (last.call.request_id != before, last.entries[0].klass) == (True, "delivered")
    assert last.entries[0].cost_nusd


def test_what_an_old_configuration_has_taught_is_let_go(pair: Pair):
    """Its shapes hold the providers' keys."""
    side = pair.sides[0]
    side.gateway.inside(side.begin_anew)

    def learn_one(payload: dict[str, Any]) -> None:
        side.warm(payload, KEY)
        with connected(side) as sock:
            stream = Stream(sock, time.monotonic())
            for _ in range(2):
                sock.sendall(request(payload, KEY))
                assert next_answer(stream).status == 200

    learn_one(ask(seed=1))
    learn_one(ask(seed=2))
    assert len(side.app.shapes) >= 2
    assert side.gateway.reload(CONFIG + "\n\n") == []
    learn_one(ask(seed=3))
    assert {one.house for one in side.app.shapes.values()} == {side.gateway.house}
