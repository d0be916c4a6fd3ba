"""What was tried against the express lane: more than it has room for, other spellings, what costs more than it looks."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from penstock.base.models import PriceRow, PriceTier
from penstock.base.money import Price
from penstock.base.usage import service_tier_of
from penstock.dialects.openai_chat.relay import WholeRelay
from penstock.dialects.openai_chat.shapes import stop_reason
from penstock.ledger.prices import price_lines
from penstock.ledger.rows import encode
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


COUNTS = st.sampled_from(
    [None, 0, 1, 7, 16, 999_983, 10**6 - 1, 10**6, 2**31 - 1, 2**31, 2**63, -1]
) | st.integers(0, 10**9)
SMALL = st.sampled_from([None, 0, 1])
TEXT = st.sampled_from(
    [None, "", "stop", "default", "flex", "error", "né", "\ud800", "STOP", "tool_calls"]
) | st.text(max_size=4)
ANY = st.sampled_from([None, False, "", [], {}, "x", [1], {"a": 1}, [{"type": "url_citation"}]])


DETAILS = st.none() | st.dictionaries(
    st.sampled_from(
        ["cached_tokens", "reasoning_tokens", "audio_tokens", "cache_write_tokens", "image_tokens"]
    ),
    SMALL,
)
ODD: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "usage": {
        "prompt_tokens": COUNTS,
        "completion_tokens": COUNTS,
        "total_tokens": SMALL,
        "prompt_tokens_details": DETAILS,
        "completion_tokens_details": DETAILS,
        "prompt_cache_hit_tokens": SMALL,
        "num_search_queries": SMALL,
        "num_sources_used": SMALL,
        "citation_tokens": SMALL,
        "search_context_size": st.sampled_from([None, "low"]),
        "server_tool_use": st.none() | st.fixed_dictionaries({"web_search_requests": SMALL}),
    },
    "message": {
        **dict.fromkeys(("content", "reasoning", "reasoning_content", "refusal"), TEXT),
        **dict.fromkeys(
            ("annotations", "images", "reasoning_details", "tool_calls", "audio", "function_call"), ANY
        ),
    },
    "choice": {
        "finish_reason": TEXT,
        "native_finish_reason": TEXT,
        "index": st.integers(0, 2),
        "error": ANY,
        "message": ANY,
    },
    "": {"error": ANY, "model": TEXT, "id": TEXT, "service_tier": TEXT, "usage": ANY, "choices": ANY},
}


@st.composite
def replies(draw: st.DrawFn) -> dict[str, Any]:
    """A plain reply with a few fields that are not."""
    read, written = draw(COUNTS) or 0, draw(COUNTS) or 0
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    message = {"role": "assistant", "content": "words", "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole: dict[str, Any] = {"id": "chat-1", "model": "m", "choices": [choice], "usage": usage}
    parts = {"usage": usage, "message": message, "choice": choice, "": whole}
    for _ in range(draw(st.integers(0, 3))):
        where = draw(st.sampled_from(sorted(ODD)))
        name = draw(st.sampled_from(sorted(ODD[where])))
        parts[where][name] = draw(ODD[where][name])
    return whole


class Calm:
    draining = False


def shape_of(row: PriceRow) -> Any:
    assert express.native is not None
    shape = express.native.Shape()
    shape.app = Calm
    shape.decode, shape.tiers, shape.stops = express._decode, service_tier_of, stop_reason
    one, two = row.units["input"], row.units["output"]
    shape.in_pico, shape.in_per, shape.out_pico, shape.out_per = one.pico_usd, one.per, two.pico_usd, two.per
    thoughts, cached = row.units.get("reasoning", two), row.units.get("cache_read")
    shape.thought_pico, shape.thought_per = thoughts.pico_usd, thoughts.per
    if cached is not None:
        shape.cached_pico, shape.cached_per = cached.pico_usd, cached.per
    shape.tier_above = min((tier.above_tokens for tier in row.tiers), default=2**31)
    shape.lines_1 = encode([row.version, "provider"])[1:-1] + b","
    return shape


PRICE = st.builds(Price, st.integers(0, 2**31 - 1), st.sampled_from([1, 1000, 10**6]))
WIDE = "\x01\U0001f30d" * 20


@given(replies(), PRICE, PRICE, st.booleans())
@example({"choices": [{"message": {"content": "a", "annotations": []}}], "usage": {"prompt_tokens": 2**31 - 1, "completion_tokens": 2**31 - 1}}, Price(2**31 - 1), Price(2**31 - 1), False)  # fmt: skip
def test_what_is_understood_of_a_reply_is_what_the_relay_reads(
    reply: dict[str, Any], read: Price, written: Price, tiered: bool
):
    """Its figures, their price to the nano-dollar, and the words of the ledger's row."""
    tiers = (PriceTier(1000, {"input": Price(5)}),) if tiered else ()
    row = PriceRow(WIDE, {"input": read, "output": written, "cache_read": Price(3, 1000)}, tiers)
    assert express.native is not None
    body = json.dumps(reply).encode()
    found = express.native.figures(shape_of(row), body)
    event("left to others" if found is None else "understood")
    if found is None:
        return
    relay = WholeRelay()
    relay.feed(body)
    assert relay.close() == body
    usage = relay.usage
    assert usage is not None
    lines, cost = price_lines(usage, row)
    assert (usage.note, usage.fees, usage.service_tier, usage.source) == ("", (), "", "provider")
    assert usage.total_tokens == usage.input + usage.output + usage.cache_read + usage.reasoning
    assert found == (
        (usage.input, usage.cache_read, usage.output, usage.reasoning),
        relay.model,
        relay.upstream_id,
        relay.stopped,
        relay.native_stop,
        cost,
        encode(lines).decode(),
        body,
    )


def limits_in_python(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that a test writes itself are asked for: native limits would write their own."""
    for side in pair.sides:
        for principal in side.gateway.house.doors._principals.values():
            if principal.limits is not None:
                monkeypatch.setattr(principal.limits, "native", None)


def test_limits_as_long_as_anybody_writes_them(pair: Pair, monkeypatch: pytest.MonkeyPatch):
    """What stands in each reply's head has the room that it takes."""
    long = b"x-ratelimit-limit-requests: %b\r\n" % (b"9" * 5000)
    limits_in_python(pair, monkeypatch)
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
    limits_in_python(pair, monkeypatch)
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


def test_a_call_that_nobody_can_go_on_with_leaves_nothing(tmp_path: Path):
    """A fault of ours between the lanes: the caller's connection ends, no place stays taken, what was held is spent."""
    rich = RICH.replace("budgets:", "max_concurrent: 1\n    budgets:")
    with two_ways(tmp_path, CONFIG.replace("server: {max", rich + "server: {max")) as pair:
        side = pair.sides[0]
        treasury = side.gateway.running.shared.kept.treasury
        side.warm(ask(max_tokens=5), ADMIN)

        def broken(call: Any) -> None:
            raise RuntimeError(call)

        with connected(side) as sock:
            stream = Stream(sock, time.monotonic())
            for _ in range(2):
                sock.sendall(request(ask(max_tokens=5), ADMIN))
                assert next_answer(stream).status == 200
            side.forget()
            for shape in side.app.shapes.values():
                shape.as_lane = broken
            side.gateway.faults({"kind": "status", "status": 400})
            sock.sendall(request(ask(max_tokens=5), ADMIN))
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1) == b""
            assert len(side.express) == 1
        side.settled()
        assert not treasury.budgets.live()
        side.gateway.faults()
        side.gateway.inside(side.without_express)
        assert side.gateway.post(ask(max_tokens=5), headers=ADMIN).status == 200


def test_a_budget_that_cannot_be_asked_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A fault of ours before anything was taken: the other lanes have the call."""
    with two_ways(tmp_path, CONFIG.replace("server: {max", RICH + "server: {max")) as pair:
        side = pair.sides[0]

        class Broken:
            def take(self, *_: Any) -> bool:
                raise RuntimeError

        monkeypatch.setattr("penstock.server.express.toll_of", lambda *_: Broken())
        assert taught(side, ask(max_tokens=5), [request(ask(max_tokens=5), ADMIN)], ADMIN) == [200]
        assert not side.express


def test_a_fault_after_the_reply_came_costs_no_money_twice_and_keeps_none(tmp_path: Path):
    """Between the provider's reply and ours: the call is settled and in the ledger, and nothing stays reserved."""

    class Sick:
        _records: ClassVar = {1: 1}

        def untroubled(self, *_: Any) -> bool:
            return True

        def ok(self, *_: Any) -> None:
            raise RuntimeError

    with two_ways(tmp_path, CONFIG.replace("server: {max", RICH + "server: {max")) as pair:
        side = pair.sides[0]
        treasury = side.gateway.running.shared.kept.treasury

        def figures() -> list[tuple[int, int]]:
            found = [one.current for one in treasury.budgets.accounts.values() if one.current is not None]
            return [(bucket.spent, bucket.reserved) for bucket in found]

        side.warm(ask(max_tokens=5), ADMIN)
        with connected(side) as sock:
            stream = Stream(sock, time.monotonic())
            for _ in range(2):
                sock.sendall(request(ask(max_tokens=5), ADMIN))
                assert next_answer(stream).status == 200
            before = side.gateway.inside(figures)
            shape = side.app.shape
            assert shape is not None
            well, shape.health = shape.health, Sick()
            side.gateway.inside(side.forget)
            sock.sendall(request(ask(max_tokens=5), ADMIN))
            sock.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1) == b""
            shape.health = well
        side.settled()
        after = side.gateway.inside(figures)
        each = {now[0] - then[0] for now, then in zip(after, before, strict=True)}
        assert [reserved for _, reserved in after] == [0] * len(after)
        assert len(each) == 1
        record = side.gateway.last_record()
        assert each == {record.entries[0].cost_nusd}
