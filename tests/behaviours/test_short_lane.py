"""The short lane is no other gateway: what it serves, and what it leaves alone, is as without it (decision 007)."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from penstock.wire.large import LARGE_BYTES
from tests.behaviours.gateway import Stream
from tests.behaviours.lanes import (
    CONFIG,
    HELLO,
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


# What is served.

BODIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "metadata": {"metadata": {"sku": "12", "long": "x" * 500}},
    "a-name": {"model": "calm/quick"},
    "sampling": {"temperature": 0.25, "top_p": 1.0, "seed": 3, "stop": ["\n"], "user": "someone"},
    "a-cap": {"max_tokens": 5},
    "a-new-cap": {"model": "calm/gpt-5-mini", "max_tokens": 5},
    "two-caps": {"max_tokens": 5, "max_completion_tokens": 6},
    "effort": {"model": "calm/gpt-5-mini", "reasoning_effort": "low"},
    "reasoning": {"model": "calm/gpt-5-mini", "reasoning": {"effort": "high"}},
    "budget": {"model": "calm/gpt-5-mini", "reasoning": {"max_tokens": 2000}},
    "dropped-fields": {"plugins": [{"id": "web"}], "transforms": ["middle-out"]},
    "overrides": {"model": "tuned", "temperature": 1.5, "user": "someone"},
    "not-streamed": {"stream": False, "n": 2},
    "a-word-twice": {"user": "model", "metadata": {"messages": "1"}},
    "unknown-field": {"no_such_field": [1, 2.50, {"a": None}]},
    "null-fields": {"tools": None, "stop": None, "max_tokens": None, "stream": None},
}


NOT_BY_EXPRESS = {
    "a-new-cap", "effort", "reasoning", "budget", "overrides",  # no price is known
    "a-word-twice",  # where the conversation stands is not plain to see
    "unknown-field", "null-fields",  # refused by the provider
}  # fmt: skip
"""These are the short lane's, however often they come."""


@pytest.mark.parametrize("name", BODIES)
def test_a_body_goes_through_alike(pair: Pair, name: str):
    """What the provider receives, what the caller reads and what is written down."""
    body = ask(**BODIES[name])

    def scenario(side: Side) -> None:
        side.warm({"model": body["model"], "messages": HELLO}, KEY)
        side.teach(body, KEY)
        side.post(body, KEY)

    pair.run(scenario, express=name not in NOT_BY_EXPRESS)


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"role":"user","content":"model"}],"model" : "calm/quick"}',
        b'{"mode\\u006c":"calm/quick","messages":[{"role":"user","content":"hi"}]}',
        b' {"model":"calm\\/quick","messages":[{"role":"user","content":"\\u0022model\\u0022"}]} ',
        b'{"messages":[{"role":"user","content":"\xf0\x9f\x8c\x8d"}],"model":"calm/quick","x":1e400}',
        b'{"model":"calm/quick","messages":[{"role":"user","content":"%b"}]}' % (b"a" * 1_500_000),
    ],
    ids=["spaced", "escaped-name", "escaped-value", "big-number", "large"],
)
def test_bytes_go_through_alike(pair: Pair, body: bytes):
    """Bodies that the edit of the model's name must look at twice; a large one is no call for the lane."""

    def scenario(side: Side) -> None:
        side.warm(ask("calm/quick"), KEY)
        side.post(body, KEY)

    pair.run(scenario, taken=int(len(body) < LARGE_BYTES))


HEADERS: dict[str, dict[str, str]] = {
    "told": {
        "x-request-id": "mine-17",
        "x-penstock-meta": "sku=12,campaign=x,=y,z",
        "x-penstock-stage": "draft",
        "x-penstock-trace": "trace-9",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    },
    "traceparent": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    "broken-traceparent": {"traceparent": "00"},
    "odd-characters": {"x-request-id": "caf\xe9 " + "y" * 300, "x-penstock-meta": "a=b=c,," + "k=v," * 30},
    "close": {"connection": "close"},
    "keep-alive": {"connection": "keep-alive"},
    "upgrade": {"connection": "upgrade", "upgrade": "h2c"},
    "another-key-too": {"x-api-key": "nonsense"},
    "foreign-page": {"origin": "https://elsewhere.example"},
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/openai/v1/chat/completions"])
@pytest.mark.parametrize("fault", [None, 400])
def test_headers_are_read_alike(pair: Pair, name: str, path: str, fault: int | None):
    """Of a call that is served and of one that is refused by the provider."""

    def scenario(side: Side) -> None:
        side.warm(ask(), KEY, path)
        if fault:
            side.gateway.faults(status(fault))
        answer = side.post(ask(metadata={"a": "b"}), {**KEY, **HEADERS[name]}, path)
        assert answer.status == (fault or 200)

    pair.run(scenario)


def test_keys_are_drawn_alike(pair: Pair):
    """By weight, from the same generator: the same keys in the same order."""

    def scenario(side: Side) -> list[str]:
        side.warm(ask("pair/gpt-4o"), KEY)
        answers = [side.post(ask("pair/gpt-4o"), KEY) for _ in range(12)]
        keys = [side.gateway.entry(answer.request_id).provider_key for answer in answers]
        assert set(keys) == {"one", "two"}
        return keys

    pair.run(scenario, taken=12)


def test_pipelined_requests_are_answered_in_their_order(pair: Pair):
    """Several on one connection, among them a stream, a bad one and a page."""
    payloads = [
        ask(user="1"),
        ask(user="2", stream=True),
        ask("calm/no-such"),
        ask(user="3"),
        {"model": 5},
        ask(user="4"),
    ]

    def scenario(side: Side) -> None:
        side.warm(ask(), KEY)
        wire = b"".join(request(payload) for payload in payloads)
        wire += b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n" + request(ask(user="5"))
        with connected(side) as sock:
            sock.sendall(wire)
            stream = Stream(sock, time.monotonic())
            for _ in range(len(payloads) + 2):
                side.saw(next_answer(stream))

    pair.run(scenario, taken=4)


def test_calls_in_turn_on_one_connection(pair: Pair):
    """The connection's memory of its credential, a call refused between two that are served, HTTP/1.0 at the end."""

    def scenario(side: Side) -> None:
        side.warm(ask(), KEY)
        with connected(side) as sock:
            stream = Stream(sock, time.monotonic())
            for head in (
                {},
                {"authorization": "Bearer nobody"},
                {},
                {"authorization": NARROW["authorization"]},
            ):
                sock.sendall(request(ask(), {**KEY, **head}))
                side.saw(next_answer(stream))
            sock.sendall(request(ask(), version=b"1.0"))
            side.saw(next_answer(stream))
            assert sock.recv(1) == b""

    pair.run(scenario, taken=4)


# What is not for the lane.

REFUSED: dict[str, tuple[Any, int]] = {
    "no-json": (b'{"model": "calm/gpt-4o-mini", "messages": [', 400),
    "empty": (b"", 400),
    "an-array": (b"[]", 400),
    "model-twice": (
        b'{"model": "calm/gpt-4o-mini", "messages": [{"role": "user", "content": "a"}], "model": "calm/gpt-4o-mini"}',
        400,
    ),
    "no-messages": ({"model": PLAIN}, 400),
    "unknown-model": (ask("calm-ish/none"), 404),
    "unknown-bare-model": (ask("gpt-4-oh"), 404),
    "model-not-a-name": (ask(17), 400),  # type: ignore[arg-type] - that is the test
    "too-large": (b'{"model":"calm/gpt-4o-mini","messages":"' + b"a" * 4_000_001 + b'"}', 413),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_alike(pair: Pair, name: str):
    """Nothing is sent, and nothing of the lane's first look remains."""
    body, number = REFUSED[name]

    def scenario(side: Side) -> None:
        side.warm(ask(), KEY)
        assert side.post(body, KEY).status == number
        assert side.gateway.sim.requests == []

    pair.run(scenario, taken=0)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
def test_other_methods_are_answered_alike(pair: Pair, method: str):
    """The path takes POST."""

    def scenario(side: Side) -> None:
        side.warm(ask(), KEY)
        stream = side.gateway.open(ask(), headers=KEY, method=method)
        side.saw(next_answer(stream, bodyless=method == "HEAD"))
        stream.close()

    pair.run(scenario, taken=0)


@pytest.mark.parametrize("head", [{}, {"authorization": "Bearer nobody"}, {"x-api-key": "nobody"}])
def test_strangers_are_turned_away_alike(pair: Pair, head: dict[str, str]):
    """401, with or without a credential."""

    def scenario(side: Side) -> None:
        side.warm(ask(), KEY)
        assert side.post(ask(), head).status == 401

    pair.run(scenario, taken=0)


def test_a_limit_lets_exactly_so_many_pass(pair: Pair):
    """A call that the lane looked at and left to the long way is charged once, and so is one that the lane served."""

    def scenario(side: Side) -> int:
        side.warm(ask("calm/gpt-4o"), KEY)
        side.warm(ask("calm/gpt-4o"), NARROW)  # one of five
        spent = side.spent("narrow")
        repeated = json.dumps(ask()).encode()[:-1] + b', "model": "calm/gpt-4o"}'
        answers = [side.post(ask("calm/gpt-4o"), NARROW), side.post(repeated, NARROW)]
        answers += [side.post(ask("calm/gpt-4o"), NARROW) for _ in range(4)]
        assert [one.status for one in answers] == [200, 400, 200, 200, 429, 429]
        return spent()

    pair.run(scenario, taken=3)


def test_a_limit_lets_exactly_so_many_pass_at_once(pair: Pair):
    """Thirty requests on six connections: which of them pass is chance, how many is not."""

    def scenario(side: Side) -> list[int]:
        side.warm(ask(), KEY)
        with ExitStack() as stack:
            sockets = [stack.enter_context(connected(side)) for _ in range(6)]
            for sock in sockets:
                sock.sendall(request(ask(), NARROW) * 5)
            streams = [Stream(sock, time.monotonic()) for sock in sockets]
            found = sorted(next_answer(stream).status for stream in streams for _ in range(5))
        assert found == [200] * 5 + [429] * 25
        side.taken[1:] = []  # the lane takes those for whom a connection is free at that moment
        return found

    pair.run(scenario)


def test_without_virtual_keys_all_is_alike(tmp_path: Path):
    """Any credential, or none, is nobody's; a web page from elsewhere is turned away."""
    head, _, rest = CONFIG.partition("virtual_keys:")
    with two_ways(tmp_path, head + rest[rest.index("server:") :]) as pair:

        def scenario(side: Side) -> list[int]:
            side.warm(ask())
            heads = ({}, KEY, {"origin": "http://localhost:3000"}, {"origin": "https://elsewhere.example"})
            return [side.post(ask(), head).status for head in heads]

        pair.run(scenario, taken=3)
