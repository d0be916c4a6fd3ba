"""Translated calls by express: what they are, what differs from them, and what goes wrong with them, is as without the lane
(decision 016)."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from penstock.server import express
from tests.behaviours.gateway import SECRETS, THREE_DIALECTS, Stream
from tests.behaviours.lanes import KEY, Pair, Side, connected, next_answer, status, two_ways
from tests.server.spelling import CONVERSATIONS
from tests.server.test_express_hostile import replies

if express.native is None:
    pytest.skip(f"no express lane: {express.missing}", allow_module_level=True)

CONFIG = (
    THREE_DIALECTS
    + """
  pair:
    dialect: openai
    keys: [{value: env.OPENAI_KEY, name: one, weight: 0.7}, {value: env.SECOND_KEY, name: two, weight: 0.3}]
    network: {base_url: "{sim}/p/pair/v1", retry: {max_retries: 0}}
  scripted:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{scripted}/v1", retry: {max_retries: 0}}
routes:
  - {id: mine, primary: openai/gpt-4o-mini}
  - {id: chained, primary: openai/gpt-4o-mini, fallbacks: [backup/gpt-4o-mini]}
  - {id: across, primary: openai/gpt-4o-mini, fallbacks: [anthropic/claude-haiku-4-5]}
  - {id: tuned, primary: {model: openai/gpt-4o-mini, params: {temperature: 0.1, max_tokens: 7}}}
  - {id: in-json, primary: {model: openai/gpt-4o-mini, params: {response_format: {type: json_object}}}}
prices:
  - {model: pair/gpt-4o, usd_per_million: {input: "2.50", output: "10"}}
  - {model: backup/gpt-4o-mini, usd_per_million: {input: "0.15", output: "0.60"}}
  - {model: scripted/m, usd_per_million: {input: "0.15", output: "0.60", cache_read: "0.075"}}
virtual_keys:
  - {name: caller, key: env.CALLER_KEY}
  - {name: narrow, key: env.OTHER_CALLER_KEY, rate_limit: {requests_per_minute: 5, tokens_per_minute: 20000}}
  - {name: rich, key: env.ADMIN_KEY, max_concurrent: 2, budgets: [{limit_usd: 1, period: month}, {limit_usd: 1, period: day, name: daily}]}
server: {max_body_bytes: 4000000}
"""
)
MESSAGES = "/v1/messages"
MODEL = "openai/gpt-4o-mini"
HELLO: list[Any] = [{"role": "user", "content": "hello there"}]
NARROW = {"authorization": "Bearer vk-other-000000000007"}
RICH = {"x-api-key": SECRETS["ADMIN_KEY"]}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with two_ways(tmp_path_factory.mktemp("translated"), CONFIG) as made:
        yield made


def ask(model: str = MODEL, **fields: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 9, "messages": HELLO, **fields}


def raw(payload: Any, head: dict[str, str] | None = None) -> bytes:
    """One request. ``payload``: bytes as they are."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    heads = {"host": "x", "content-length": str(len(body)), **(KEY if head is None else head)}
    lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in heads.items())
    return b"POST %b HTTP/1.1\r\n%b\r\n%b" % (MESSAGES.encode(), lines, body)


def around(payload: dict[str, Any], messages: bytes) -> bytes:
    """The payload with these bytes for its conversation."""
    return (
        json.dumps({**payload, "messages": 0}).encode().replace(b'"messages": 0', b'"messages": ' + messages)
    )


def alike(
    side: Side, payload: dict[str, Any], *then: Any, head: dict[str, str] | None = None, faults: Any = ()
) -> list[int]:
    """Teach one connection, then these on it: payloads, bodies as bytes, or pairs of a payload and a head."""
    side.warm(payload, KEY if head is None else head, MESSAGES)
    with connected(side) as sock:
        stream = Stream(sock, time.monotonic())
        sock.sendall(raw(payload, head))
        assert next_answer(stream).status == 200
        side.forget()
        side.gateway.faults(*faults)
        found: list[int] = []
        for one in then:
            sock.sendall(raw(*one) if isinstance(one, tuple) else raw(one, head))
            found.append(side.saw(next_answer(stream)).status)
        return found


# What it takes.

ALIKE: dict[str, dict[str, Any]] = {
    "plain": ask(),
    "with-instructions": ask(system="Be brief."),
    "instructions-in-parts": ask(system=[{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]),
    "a-breakpoint": ask(system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]),
    "sampling": ask(temperature=0.5, top_p=0.9, stop_sequences=["x", "y"]),
    "what-is-dropped": ask(top_k=3, metadata={"user_id": "u", "more": "m"}, context_management={"edits": []}),
    "a-route": ask("mine"),
    "a-chain": ask("chained"),
    "overrides": ask("tuned", temperature=1),
    "thinking": ask(thinking={"type": "enabled", "budget_tokens": 1024}),
    "not-streamed": ask(stream=False),
    "draws-a-key": ask("pair/gpt-4o"),
}  # fmt: skip


@pytest.mark.parametrize("name", ALIKE)
def test_another_conversation_goes_by_express(pair: Pair, name: str):
    """What the provider receives, what the caller reads, what is written down, counted and learned of it."""
    payload = ALIKE[name]
    others: list[Any] = [
        [{"role": "user", "content": 'é\n"\\ \u2028 \U0001f30d'}, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "x" * 3000}],
        [{"content": [{"type": "text", "text": "in parts"}], "role": "user"}],
        [{"role": "system", "content": "mid"}, {"role": "user", "content": [{"text": "in", "type": "text"}, {"type": "text", "text": "parts"}]}],
    ]  # fmt: skip
    then = [around(payload, json.dumps(messages).encode()) for messages in others]
    then.append(around(payload, json.dumps(others[0], ensure_ascii=False, separators=(",", ":")).encode()))
    pair.run(lambda side: alike(side, payload, *then), taken=4, express=4, handed=0)


def test_what_was_adjusted_is_told(pair: Pair):
    """In the reply's head and in the ledger, by express as well."""

    def scenario(side: Side) -> None:
        assert alike(side, ALIKE["what-is-dropped"], ask() | ALIKE["what-is-dropped"]) == [200]
        told = side.gateway.last_record().call
        assert "top_k-dropped" in told.adjusted
        assert dict(side.seen[0]["headers"])["x-penstock-adjusted"] == ",".join(told.adjusted)
        assert dict(side.seen[0]["headers"])["request-id"] == "ID"

    pair.run(scenario, taken=1, express=1, handed=0)


NOT_ALIKE: dict[str, tuple[Any, int]] = {
    "other-instructions": (ask(system="Be verbose."), 1),
    "another-cap": (ask(max_tokens=10), 1),
    "another-model": (ask("openai/gpt-4o"), 0),
    "another-route": (ask("across"), 0),
    "another-field": (ask(metadata={"user_id": "u"}), 1),
    "a-stream": (ask(stream=True), 0),
    "a-tool": (ask(tools=[{"name": "t", "input_schema": {"type": "object"}}]), 0),
    "a-picture": (ask(messages=[{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}]}]), 0),
    "a-marked-part": (ask(messages=[{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}]), 1),
    "a-tool's-answer": (ask(messages=[{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "a"}]}]), 0),
    "nothing-said": (ask(messages=[]), 0),
    "an-empty-turn": (ask(messages=[{"role": "user", "content": ""}]), 0),
    "an-empty-prefill": (ask(messages=[*HELLO, {"role": "assistant", "content": ""}]), 1),
    "no-such-role": (ask(messages=[{"role": "tool", "content": "a"}]), 0),
    "no-list": (ask(messages="hello"), 0),
    "more-in-a-turn": (ask(messages=[{"role": "user", "content": "a", "name": "n"}]), 1),
    "another-model-inside": (b'{"model": "openai/gpt-4o-mini", "max_tokens": 9, "messages": [],"model":"openai/gpt-4o","messages":[]}', 0),
    "a-key-twice": (around(ask(), b'[{"role":"user","content":"a","content":"b"}]'), 1),
    "half-a-pair": (around(ask(), b'[{"role":"user","content":"\\ud800"}]'), 0),
    "no-text": (around(ask(), b'[{"role":"user","content":"\xff"}]'), 0),
    "a-disguise": (around(ask(), b'[{"role":"user","content":"\\u0041"}]'), 1),
    "another-version": ((ask(), {**KEY, "anthropic-version": "2026-10-21"}), 1),
    "no-version": ((ask(), {**KEY, "anthropic-version": "1999-01-01"}), 0),
    "a-beta": ((ask(), {**KEY, "anthropic-beta": "context-1m-2025-08-07"}), 1),
    "another-key": ((ask(), NARROW), 1),
    "nobody": ((ask(), {"x-api-key": "sk-ant-nobody"}), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_ALIKE)
def test_what_differs_in_more_is_left_alone(pair: Pair, name: str):
    """Others serve it, or refuse it: ``taken`` by the short lane. Never as if it were the call before it."""
    other, taken = NOT_ALIKE[name]
    pair.run(lambda side: alike(side, ask(), other), taken=taken, express=0)


def test_callers_do_not_get_each_others_shape(pair: Pair):
    """Two keys by turns on one connection, and on another that begins with what the first has learned."""

    def scenario(side: Side) -> list[str]:
        alike(side, ask(), ask(), (ask(), NARROW), (ask(), NARROW), ask(), (ask(), NARROW))
        with connected(side) as sock:
            stream = Stream(sock, time.monotonic())
            for head in (NARROW, KEY):
                sock.sendall(raw(ask(), head))
                side.saw(next_answer(stream))
        return [one["call"]["virtual_key"] for one, _ in side.seen[1::2]]

    pair.run(scenario, taken=7)
    assert pair.express >= 2


@pytest.mark.parametrize("name", ["in-json"])
def test_where_the_conversation_is_looked_at_nothing_is_learned(pair: Pair, name: str):
    """A word is added to what does not ask for JSON."""
    other = around(ask(name), b'[{"role":"user","content":"as json"}]')
    pair.run(lambda side: alike(side, ask(name), ask(name), other, ask(name)), taken=3, express=0)


# What goes wrong with it.

TROUBLE: dict[str, tuple[str, list[dict[str, Any]], int]] = {
    "500": (MODEL, [status(500)], 502),
    "500-falls-back": ("chained", [status(500, "openai")], 200),
    "500-falls-back-across": ("across", [status(500, "openai")], 200),
    "429-falls-back": ("chained", [status(429, "openai", retry_after_s=30)], 200),
    "401-another-key": ("pair/gpt-4o", [status(401, count=1)], 200),
    "400": (MODEL, [status(400, message="no such parameter", code="nope")], 400),
    "404": (MODEL, [status(404)], 404),
    "html-200": (MODEL, [{"kind": "html", "status": 200}], 502),
    "no-json-200": (MODEL, [{"kind": "malformed"}], 502),
    "error-in-200": (MODEL, [{"kind": "error_in_200", "status": 500}], 502),
    "truncated": (MODEL, [{"kind": "close_mid_stream"}], 502),
    "replayed": (MODEL, [{"kind": "early_close", "count": 1}], 200),
    "gzip": (MODEL, [{"kind": "gzip"}], 200),
    "in-pieces": (MODEL, [{"kind": "split", "bytes": 40}], 200),
    "odd-usage": (MODEL, [{"kind": "bad_usage"}], 200),
    "another-model": (MODEL, [{"kind": "model_drift"}], 200),
}  # fmt: skip


@pytest.mark.parametrize("name", TROUBLE)
def test_what_goes_wrong_goes_on_alike(pair: Pair, name: str):
    """Retries, other keys, fallbacks, errors and the ledger: as if the short lane had taken it."""
    model, faults, expected = TROUBLE[name]

    def scenario(side: Side) -> None:
        assert alike(side, ask(model), ask(model), faults=faults) == [expected]

    pair.run(scenario, taken=1, express=1)


def test_a_caller_that_hangs_up_costs_what_it_costs(pair: Pair):
    """The provider's connection closes at once; what was asked is billed as estimated."""

    def scenario(side: Side) -> None:
        side.warm(ask(), KEY, MESSAGES)
        with connected(side) as sock:
            stream = Stream(sock, time.monotonic())
            for _ in range(2):
                sock.sendall(raw(ask()))
                assert next_answer(stream).status == 200
            side.forget()
            side.gateway.faults({"kind": "hang"})
            sock.sendall(raw(ask()))
            until_s = time.monotonic() + 5
            while not side.gateway.sim.requests and time.monotonic() < until_s:
                time.sleep(0.005)
            assert side.app.inflight == 1
        side.settled()
        record = side.gateway.last_record()
        assert (record.call.status, record.entries[0].klass) == (499, "billed_not_delivered")
        side.recorded(record.call.request_id)

    pair.run(scenario, taken=1, express=1)


@pytest.mark.parametrize("fault", [None, 400])
def test_money_is_held_and_paid_alike(pair: Pair, fault: int | None):
    """To the nano-dollar, by the till: what is spent, and what is still held."""

    def scenario(side: Side) -> Any:
        faults = [status(fault)] if fault else []
        treasury = side.gateway.running.shared.kept.treasury

        def books() -> dict[str, tuple[int, int]]:
            return {
                f"{node}/{name}": (account.current.spent, account.current.reserved)
                for (node, name), account in treasury.budgets.accounts.items()
                if account.current is not None
            }

        before = side.gateway.inside(books)
        found = alike(side, ask(), ask(), ask(), around(ask(), b'[{"role":"user","content":"longer words"}]'), head=RICH, faults=faults)  # fmt: skip
        after = side.gateway.inside(books)
        spent = {name: now[0] - before.get(name, (0, 0))[0] for name, now in after.items()}
        return found, spent, [reserved for _, reserved in after.values()], treasury.budgets.live()

    pair.run(scenario, taken=3, express=3, handed=None if fault else 0)


def test_a_limit_lets_exactly_so_many_pass(pair: Pair):
    """Five a minute: two were spent on learning."""
    pair.run(lambda side: alike(side, ask(), *[ask()] * 5, head=NARROW), taken=3, express=3, handed=0)


def test_a_reload_is_obeyed_at_once(tmp_path: Path):
    """A name that means another target now, of another dialect even."""
    moved = CONFIG.replace("primary: openai/gpt-4o-mini}\n", "primary: anthropic/claude-haiku-4-5}\n", 1)
    assert moved != CONFIG
    with two_ways(tmp_path, CONFIG) as pair:

        def scenario(side: Side) -> list[Any]:
            side.warm(ask("mine"), KEY, MESSAGES)
            with connected(side) as sock:
                stream = Stream(sock, time.monotonic())
                found: list[Any] = []
                for turn in range(4):
                    if turn == 2:
                        assert side.gateway.reload(moved) == []
                        side.forget()
                    sock.sendall(raw(ask("mine")))
                    answer = side.saw(next_answer(stream))
                    found.append((answer.status, answer.headers["x-penstock-provider"]))
                return found

        pair.run(scenario, taken=1, express=0)
        assert [one.provider for one in pair.sides[0].gateway.last_record().entries] == ["anthropic"]


@pytest.mark.parametrize(("said", "express_calls"), [(None, 0), ("off", 2)])
def test_a_cache_is_asked_first(tmp_path: Path, said: str | None, express_calls: int):
    """Where it is on, a translated call is kept and found as ever; who opts out goes by express, and is told so."""
    head = KEY if said is None else {**KEY, "x-penstock-cache": said}
    with two_ways(tmp_path, CONFIG + "cache:\n  exact: {enabled: true, ttl_seconds: 3600}\n") as pair:

        def scenario(side: Side) -> list[str]:
            alike(side, ask(), ask(), ask(), head=head)
            return [dict(one["headers"])["x-penstock-cache"] for one in side.seen[::2]]

        pair.run(scenario, taken=express_calls, express=express_calls)


# Anything.


def http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)  # fmt: skip


WELL = http(
    b'{"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"well"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":20,"completion_tokens":2,"total_tokens":22}}'
)
# A figure that no ledger holds has no place here: what is kept of such a call is the journal's affair.
REPLIES = replies().filter(lambda reply: str(2**63) not in json.dumps(reply))
TALK = st.lists(st.tuples(CONVERSATIONS, REPLIES | st.none()), min_size=4, max_size=4)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(TALK, st.sampled_from([ask("scripted/m"), ask("scripted/m", system="Be brief.", top_k=3)]))
def test_any_conversation_and_any_reply(pair: Pair, talk: list[tuple[bytes, Any]], payload: dict[str, Any]):
    """Whatever is said, in whatever spelling, and answered: the bytes that leave, the reply, its head, the ledger, the
    explanation and the counters are those of the long way."""
    went: list[int] = []

    def scenario(side: Side) -> list[Any]:
        found: list[Any] = []
        side.script.after = [WELL]
        side.warm(payload, KEY, MESSAGES)
        for messages, reply in talk:
            with connected(side) as sock:
                stream = Stream(sock, time.monotonic())
                sock.sendall(raw(payload))
                assert next_answer(stream).status == 200
                side.forget()
                side.script.turns = [] if reply is None else [[http(json.dumps(reply).encode())]]
                sock.sendall(raw(around(payload, messages)))
                answer = side.saw(next_answer(stream))
                found.append((answer.status, [body.decode("latin-1") for body in side.script.bodies]))
                went.append(len(side.express))
            side.script.turns = []
            side.gateway.fresh()
            side.forget()
        return found

    pair.run(scenario, taken=0)
    event(f"by express: {sum(went)} of {len(talk)}")
