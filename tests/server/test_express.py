"""The express lane is no other gateway either: what it takes, and what goes wrong with it, is as without it (decision 009)."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httptools
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.base.native import load_native
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
    status,
    two_ways,
)

if express.native is None:
    pytest.skip(f"no express lane: {express.missing}", allow_module_level=True)

native = express.native


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with two_ways(tmp_path_factory.mktemp("express"), CONFIG) as made:
        yield made


# What it reads.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON, st.booleans(), st.sampled_from([None, 1]))
def test_what_json_writes_is_a_value(value: Any, ascii_only: bool, indent: int | None):
    """However it is written: text beyond ASCII, escapes, spaces."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        return
    assert native.is_value(raw) or "\\ud" in text


@given(st.data())
def test_what_is_taken_for_a_value_is_one(data: st.DataObject):
    """No reader that the gateway or a provider may use would refuse it, or find something behind it."""
    raw = bytearray(
        json.dumps(data.draw(JSON), ensure_ascii=data.draw(st.booleans())).encode("utf-8", "replace")
    )
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(raw)))
        cut = data.draw(st.integers(0, 2))
        raw[at : at + cut] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b",", b"]", b"}", b"\x80", b"0", b"e"])
        )
    if native.is_value(bytes(raw)):
        found = msgspec.json.decode(bytes(raw))
        assert (
            json.loads(raw.decode("utf-8", "strict"), parse_constant=pytest.fail) == found
            or "E" in repr(found).upper()
        )


@pytest.mark.parametrize(
    "raw",
    [b"", b" 1", b"1 ", b"01", b"1.", b".5", b"+1", b"1e", b"NaN", b"tru", b'"\t"', b'"\\x"', b'"\\u12"', b'"\\ud800"', b'"',
     b"[1,]", b"[,1]", b"[1 2]", b'{"a"}', b'{"a":}', b"{a:1}", b'{"a":1,}', b"[" * 100 + b"]" * 100, b'"\xc0\xaf"', b'"\xed\xa0\x80"',
     b'"\xf4\x90\x80\x80"', b'"\xff"', b'"\xe2\x82"', b"[]x", b'[],"model":"x"', b"[1\x00]"],
)  # fmt: skip
def test_what_is_no_value_is_left_to_others(raw: bytes):
    """Half values, two values, and bytes that are no text."""
    assert not native.is_value(raw)


class Parsed:
    """What httptools makes of a reply."""

    def __init__(self, data: bytes) -> None:
        self.body, self.complete, self.messages, self.keeps = b"", False, 0, False
        parser = self.parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.complete = False
        self.status = parser.get_status_code()

    def on_message_begin(self) -> None:
        self.messages += 1

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_headers_complete(self) -> None:
        self.keeps = self.parser.should_keep_alive()

    def on_message_complete(self) -> None:
        self.complete = True


NAMES = st.sampled_from(
    [b"content-length", b"Content-Length", b"transfer-encoding", b"connection", b"content-type", b"x-a", b"date", b"trailer", b"keep-alive", b"content-encoding", b"upgrade", b" x", b"x y", b""]
)  # fmt: skip
VALUES = st.sampled_from([b"5", b"05", b" 5 ", b"5, 5", b"+5", b"0x5", b"", b"chunked", b"Chunked", b"gzip, chunked", b"keep-alive", b"close", b"a\tb", b"\xe9", b"a\rb", b"a\nb", b"x: y"])  # fmt: skip
BODIES = st.sampled_from([b"hello", b"hell", b"hellohello", b"5\r\nhello\r\n0\r\n\r\n", b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nx: y\r\n\r\n", b"5\r\nhello", b"5\nhello\n0\n\n", b""])  # fmt: skip


@given(
    st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No", b"HTTP/1.1 200", b"HTTP/1.1 200 O\xe9"]),
    st.lists(st.tuples(NAMES, VALUES), max_size=4),
    BODIES,
)  # fmt: skip
@example(b"HTTP/1.1 200 OK", [(b"content-length", b"5")], b"hello")
@example(b"HTTP/1.1 200 OK", [(b"transfer-encoding", b"chunked")], b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")
def test_a_reply_that_is_taken_is_what_the_parser_reads(
    first: bytes, heads: list[tuple[bytes, bytes]], body: bytes
):
    """One whole 200 whose connection stays open, and the same body."""
    data = first + b"\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in heads) + b"\r\n" + body
    found = native.whole_body(data)
    if found is None:
        return
    parsed = Parsed(data)
    assert (parsed.complete, parsed.status, parsed.messages, parsed.keeps, parsed.body) == (
        True,
        200,
        1,
        True,
        found,
    )
    assert not any(name.lower() in (b"content-encoding", b"upgrade", b"trailer") for name, _ in heads)


def test_the_usual_replies_are_taken():
    """With a length, and in chunks; not in pieces."""
    plain = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    assert [native.whole_body(one) for one in (plain, chunked)] == [b"hello", b"hello"]
    for whole in (plain, chunked):
        assert all(native.whole_body(whole[:size]) is None for size in range(len(whole)))
        assert native.whole_body(whole + b"H") is None


# What it serves.


def alike(
    side: Side, *payloads: dict[str, Any], head: dict[str, str] | None = None, faults: Any = ()
) -> list[int]:
    """Teach one connection, then ``payloads`` on it, one after the other."""
    head = KEY if head is None else head
    side.warm(payloads[0], head)
    with connected(side) as sock:
        stream = Stream(sock, time.monotonic())
        sock.sendall(request(payloads[0], head))
        assert next_answer(stream).status == 200
        side.forget()
        side.gateway.faults(*faults)
        found: list[int] = []
        for payload in payloads:
            sock.sendall(request(payload, head))
            found.append(side.saw(next_answer(stream)).status)
        return found


CONVERSATIONS: dict[str, Any] = {
    "other-words": [{"role": "user", "content": "something else"}],
    "longer": [{"role": "system", "content": "s" * 3000}, {"role": "user", "content": 'é\n"\\ \u2028 🌍'}],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "in parts"}]}],
}  # fmt: skip


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_another_conversation_goes_by_express(pair: Pair, name: str):
    """Nothing but the conversation differs."""
    pair.run(
        lambda side: alike(side, ask(), {"model": PLAIN, "messages": CONVERSATIONS[name]}),
        taken=2,
        express=2,
        handed=0,
    )


NOT_ALIKE: dict[str, dict[str, Any]] = {
    "a-picture": {"model": PLAIN, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]},
    "another-field": ask(user="someone"),
    "a-stream": ask(stream=True),
    "another-model": ask("calm/gpt-4o"),
    "no-list": {"model": PLAIN, "messages": "hello"},
    "nothing-said": {"model": PLAIN, "messages": []},
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_ALIKE)
def test_what_differs_in_more_is_left_alone(pair: Pair, name: str):
    """The other lanes serve it, and the connection's next one goes by express again, or not."""
    pair.run(
        lambda side: alike(side, ask(), NOT_ALIKE[name]),
        taken=1 + (name == "another-field"),
        express=1,
    )


@pytest.mark.parametrize(
    "inside",
    [b'[],"model":"calm/gpt-4o","messages":[]', b'[]}{"a":[]', b'["\\ud800"]', b'["\xff"]', b"[1,]", b"[ ]"],
)
def test_a_conversation_that_is_more_than_one_is_left_alone(pair: Pair, inside: bytes):
    """Another model between what stood before and after it would be served and not billed."""

    def scenario(side: Side) -> None:
        side.warm(ask(), KEY)
        whole = request({"model": PLAIN, "messages": [0]})
        crafted = b'{"model": "calm/gpt-4o-mini", "messages": %b}' % inside
        head = whole[: whole.index(b"\r\n\r\n")].replace(
            b"content-length: %d" % len(whole.partition(b"\r\n\r\n")[2]), b"content-length: %d" % len(crafted)
        )
        with connected(side) as sock:
            stream = Stream(sock, time.monotonic())
            for _ in range(2):
                sock.sendall(request(ask()))
                assert next_answer(stream).status == 200
            side.forget()
            sock.sendall(head + b"\r\n\r\n" + crafted)
            assert side.saw(next_answer(stream)).status in (
                400,
                502,
            )  # 502: the simulator refuses what is no text

    pair.run(scenario, taken=1 if inside == b'["\xff"]' else 0, express=0)


def test_keys_are_drawn_alike(pair: Pair):
    """By weight, from the same generator."""
    pair.run(lambda side: alike(side, *[ask("pair/gpt-4o")] * 12), taken=12, express=12, handed=0)


def test_a_limit_lets_exactly_so_many_pass(pair: Pair):
    """Five a minute: two were spent on learning."""

    def scenario(side: Side) -> list[int]:
        return alike(side, *[ask("calm/gpt-4o-mini")] * 5, head=NARROW)

    pair.run(scenario, taken=3, express=3, handed=0)


HEADS: dict[str, dict[str, str]] = {
    "told": {
        "x-request-id": "mine-17",
        "x-penstock-meta": "sku=12,campaign=x",
        "x-penstock-stage": "draft",
        "x-penstock-trace": "trace-9",
    },
    "traceparent": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("fault", [None, 400])
def test_what_a_caller_tells_is_kept_alike(pair: Pair, name: str, fault: int | None):
    """Of a call that is served and of one that the provider refuses."""
    faults = [status(fault)] if fault else []
    body = ask(metadata={"a": "b"}, max_tokens=9)
    pair.run(
        lambda side: alike(side, body, head={**KEY, **HEADS[name]}, faults=faults),
        taken=1,
        express=1,
        handed=1 if fault else 0,
    )


TROUBLE: dict[str, tuple[str, list[dict[str, Any]], int]] = {
    "500": (PLAIN, [status(500)], 502),
    "503-retried": ("openai/gpt-4o", [status(503, count=1)], 200),
    "500-falls-back": ("chained", [status(500, "openai")], 200),
    "429-falls-back": ("chained", [status(429, "openai", retry_after_s=30)], 200),
    "401-another-key": ("pair/gpt-4o", [status(401, count=1)], 200),
    "400": (PLAIN, [status(400, message="no such parameter", code="nope")], 400),
    "404": (PLAIN, [status(404)], 404),
    "html-200": (PLAIN, [{"kind": "html", "status": 200}], 502),
    "no-json-200": (PLAIN, [{"kind": "malformed"}], 502),
    "error-in-200": (PLAIN, [{"kind": "error_in_200", "status": 500}], 502),
    "truncated": (PLAIN, [{"kind": "close_mid_stream"}], 502),
    "reset-inside": (PLAIN, [{"kind": "reset", "after": 1}], 502),
    "replayed": (PLAIN, [{"kind": "early_close", "count": 1}], 200),
    "gzip": (PLAIN, [{"kind": "gzip"}], 200),
    "gzip-undeclared": (PLAIN, [{"kind": "gzip", "name": "none"}], 200),
    "in-pieces": (PLAIN, [{"kind": "split", "bytes": 40}], 200),
    "odd-usage": (PLAIN, [{"kind": "bad_usage"}], 200),
    "another-model": (PLAIN, [{"kind": "model_drift"}], 200),
    "silent": ("hasty/gpt-4o", [{"kind": "hang"}], 504),
    "silent-body": ("hasty/gpt-4o", [{"kind": "hang_after_head"}], 504),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_what_goes_wrong_goes_on_alike(pair: Pair, name: str):
    """Retries, other keys, fallbacks, errors and the ledger: as if the short lane had taken it."""
    model, faults, expected = TROUBLE[name]

    def scenario(side: Side) -> None:
        assert alike(side, ask(model), faults=faults) == [expected]

    pair.run(scenario, taken=1, express=1 if side_can(name) else 0)


def side_can(name: str) -> bool:
    """Whether calls like this one are learned: models without a price are not."""
    return TROUBLE[name][0] in (PLAIN, "pair/gpt-4o", "hasty/gpt-4o", "openai/gpt-4o", "chained")


def test_a_caller_that_hangs_up_costs_what_it_costs(pair: Pair):
    """The provider's connection closes at once; what was asked is billed as estimated."""

    def scenario(side: Side) -> None:
        side.warm(ask(), KEY)
        with connected(side) as sock:
            stream = Stream(sock, time.monotonic())
            for _ in range(2):
                sock.sendall(request(ask()))
                assert next_answer(stream).status == 200
            side.forget()
            side.gateway.faults({"kind": "hang"})
            sock.sendall(request(ask()))
            until_s = time.monotonic() + 5
            while not side.gateway.sim.requests and time.monotonic() < until_s:
                time.sleep(0.005)
            assert side.app.inflight == 1
        side.settled()
        record = side.gateway.last_record()
        assert (record.call.status, record.entries[0].klass) == (499, "billed_not_delivered")
        side.recorded(record.call.request_id)

    pair.run(scenario, taken=1, express=1)


RICH = """  - name: rich
    key: env.ADMIN_KEY
    max_concurrent: 2
    tags: {plan: gold}
    budgets: [{limit_usd: 0.01, period: month}, {limit_usd: 1, period: day, name: daily}]
    users: [{name: "*", rate_limit: {requests_per_minute: 9}}]
"""


@pytest.mark.parametrize("head", [{}, {"x-penstock-user": "ann"}])
@pytest.mark.parametrize("fault", [None, 400])
def test_money_is_held_and_paid_alike(tmp_path: Path, head: dict[str, str], fault: int | None):
    """To the nano-dollar: what is spent, what is still held, and what a call that cannot pay hears."""
    config = CONFIG.replace("server: {max", RICH + "server: {max")
    rich = {"authorization": f"Bearer {SECRETS['ADMIN_KEY']}", **head}
    with two_ways(tmp_path, config) as pair:

        def scenario(side: Side) -> Any:
            faults = [status(fault)] if fault else []
            found = alike(side, *[ask(max_tokens=5)] * 3, head=rich, faults=faults)
            treasury = side.gateway.running.shared.kept.treasury
            books = {
                f"{node}/{name}": (account.current.spent, account.current.reserved)
                for (node, name), account in treasury.budgets.accounts.items()
                if account.current is not None
            }
            return found, books, treasury.budgets.live()

        pair.run(scenario, taken=3, express=3, handed=None if fault else 0)


def test_what_is_sent_ahead_waits_its_turn(pair: Pair):
    """Pipelined behind a call by express: answered after it, in order."""

    def scenario(side: Side) -> None:
        side.warm(ask(), KEY)
        with connected(side) as sock:
            stream = Stream(sock, time.monotonic())
            for _ in range(2):
                sock.sendall(request(ask()))
                assert next_answer(stream).status == 200
            side.forget()
            side.gateway.faults({"kind": "slow_head", "ms": 60, "count": 1})
            sock.sendall(request(ask()))
            time.sleep(0.02)
            sock.sendall(request({"model": 5}) + request(ask()))
            for _ in range(3):
                side.saw(next_answer(stream))

    pair.run(scenario, taken=2)


def test_a_key_that_expires_is_refused(pair: Pair):
    """At its moment, also on a connection that it has opened."""

    def scenario(side: Side) -> None:
        side.warm(ask(), KEY)
        house = side.gateway.house
        principal = next(one for one in house.doors._principals.values() if one.name == "caller")
        with connected(side) as sock:
            stream = Stream(sock, time.monotonic())
            msgspec.structs.force_setattr(principal, "expires_unix_s", time.time() + 0.4)
            side.without_express()
            for _ in range(2):
                sock.sendall(request(ask()))
                assert next_answer(stream).status == 200
            side.forget()
            time.sleep(0.45)
            sock.sendall(request(ask()))
            assert side.saw(next_answer(stream)).status == 403
        msgspec.structs.force_setattr(principal, "expires_unix_s", None)

    pair.run(scenario, taken=0)


def test_a_reload_is_obeyed_at_once(pair: Pair):
    """What was learned under the old configuration does not outlive it."""

    def scenario(side: Side) -> list[int]:
        side.warm(ask(), KEY)
        with connected(side) as sock:
            stream = Stream(sock, time.monotonic())
            found: list[int] = []
            for turn in range(4):
                if turn == 2:
                    assert side.gateway.reload(CONFIG + "\n") == []
                    side.forget()
                sock.sendall(request(ask()))
                found.append(side.saw(next_answer(stream)).status)
            return found

    pair.run(scenario, taken=1)


def test_a_module_of_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch):
    """It is said why, and the short lane serves."""
    monkeypatch.setattr(native, "SOURCES", "of another day")
    module, why = load_native("penstock.server", "_express", Path(express.__file__).parent)
    assert module is None
    assert "other sources" in why
