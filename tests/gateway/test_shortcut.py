"""The shortcut and the long way are one: any stream in any chunks and reads gives the same bytes, figures and errors."""

import asyncio
import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from tests.dialects.harness import Case
from tests.dialects.openai_kit import DONE, STREAMS, TARGET, chunk, relay, streams_by_name

from penstock.base.errors import UpstreamError
from penstock.dialects.openai_chat.relay import StreamRelay
from penstock.gateway.settle import Outcome
from penstock.gateway.shortcut import MAX_CHUNK_BYTES, Shortcut, missing, shortcut_of
from penstock.gateway.stream import Delivery
from penstock.net.connection import Connection
from penstock.net.exchange import Deadlines, Exchange
from penstock.server.http1 import HttpConnection, HttpReply, Request
from penstock.wire.sse import Mould, sse

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
both_kinds = pytest.mark.parametrize(
    "take_of",
    [
        lambda *what: Shortcut(*what).take,
        pytest.param(shortcut_of, marks=pytest.mark.skipif(bool(missing), reason=missing)),
    ],
    ids=["python", "native"],
)


class _Pool:
    where = "h:1"
    draining = False
    max_body_bytes = 1

    def released(self, _connection: object) -> None:
        pass

    dropped = ended = released


class _Socket:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.write = self.written.append

    def abort(self) -> None:
        pass

    resume_reading = pause_reading = close = abort


class Seen(Struct):
    """What came of a stream: for the caller, for settling, for the next request."""

    body: bytes
    error: str
    content_bytes: int
    usage: Any
    stopped: tuple[str | None, str]
    named: tuple[str, str]
    finished: bool
    reusable: bool


class Wired:
    """A Connection, a Delivery and a caller's reply, without sockets. ``passed``: reads that took the shortcut."""

    def __init__(self, *, short: bool = True, include_usage: bool = False) -> None:
        self.short = short
        self.include_usage = include_usage
        self.passed = 0

    def shortened(self, data: bytes) -> bool:
        taken = self.short and self._take(data)
        self.passed += taken
        return taken

    async def run(self, reads: list[bytes], *, chunked: bool = True) -> Seen:
        pool, loop = _Pool(), asyncio.get_running_loop()
        connection = Connection(pool, loop)
        connection.connection_made(_Socket())
        deadlines = Deadlines(9.0, 9.0, 9.0, 9.0)
        exchange = Exchange(pool, b"head", b"", deadlines, 0.0, 9.0, 9.0, 9.0)
        connection.begin(exchange, reused=False)
        caller = HttpConnection(pool, set())
        caller.connection_made(socket := _Socket())
        reply = HttpReply(caller, Request(0.0, chunked_ok=chunked))
        one = relay(include_usage=self.include_usage)
        outcome = Outcome(TARGET, "key", 1, True, True, 0.0)
        delivery = Delivery(
            reply,
            exchange,
            one,
            outcome,
            head=lambda: b"",
            finish=lambda: None,
            hold_back_s=9.0,
            idle_s=9.0,
            heartbeat=b"",
        )
        connection.data_received(HEAD)
        running = asyncio.ensure_future(delivery.run())
        await asyncio.sleep(0)
        for data in reads:
            if connection.alive and connection.exchange is not None:
                connection.data_received(data)
                if exchange.shortcut is not None and exchange.shortcut != self.shortened:
                    self._take, exchange.shortcut = exchange.shortcut, self.shortened
                if connection.shortcut is not None:
                    connection.shortcut = self.shortened
        reusable = connection.exchange is None and connection.alive
        if connection.alive:
            connection.connection_lost(None)
        error = ""
        try:
            await running
        except UpstreamError as failure:
            error = f"{type(failure).__name__}: {failure}"
        assert exchange.shortcut is None
        assert connection.shortcut is None
        wire = b"".join(socket.written)
        head, _, body = wire.partition(b"\r\n\r\n")
        return Seen(
            body=dechunked(body) if b"chunked" in head else body,
            error=error,
            content_bytes=one.content_bytes,
            usage=one.usage,
            stopped=(one.stopped, one.native_stop),
            named=(one.model, one.upstream_id),
            finished=one.finished,
            reusable=reusable,
        )


def dechunked(data: bytes) -> bytes:
    """The body of a chunked reply, checked as strictly as its reader would; it may lack its end."""
    body = b""
    while data and data != END:
        line, _, rest = data.partition(b"\r\n")
        size = int(line, 16)
        assert size > 0
        assert rest[size : size + 2] == b"\r\n"
        body, data = body + rest[:size], rest[size + 2 :]
    return body


def both(reads: list[bytes], **more: Any) -> Wired:
    """Run it both ways; the one that took the shortcut."""
    short, long = Wired(**more), Wired(short=False, **more)
    assert asyncio.run(short.run(reads)) == asyncio.run(long.run(reads))
    assert long.passed == 0
    return short


def framed(payload: bytes, style: bytes = b"%x") -> bytes:
    return style % len(payload) + b"\r\n" + payload + b"\r\n"


def said(text: str, field: str = "content", *, ascii_only: bool = False, **more: Any) -> bytes:
    """An event like its neighbours."""
    body = {
        "id": "c",
        "model": "m",
        "choices": [{"index": 0, "delta": {field: text}, "finish_reason": None}],
        **more,
    }
    return sse(json.dumps(body, ensure_ascii=ascii_only, separators=(",", ":")).encode())


ROLE = chunk({"role": "assistant", "content": ""})
STOP = chunk({}, "stop")
USAGE = sse(b'{"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9,"total_tokens":12}}')
words = st.text(max_size=12) | st.sampled_from(
    ["a", " b", "ä", "漢字", '"', "\\", "\n", "\x7f", "\u200b", "🚰", "data: "]
)
raw_texts = st.sampled_from(
    [
        b"\xc3",
        b"\xa4",
        b"\xff",
        b"\x00",
        b"\t",
        b"\\n",
        b"\\",
        b'"',
        b'"},"x":{"y":"',
        b"\\u0041",
        b"\\ud800",
        b"",
    ]
)
events = st.one_of(
    words.map(said),
    words.map(said),
    words.map(said),
    raw_texts.map(lambda raw: said("TEXT").replace(b"TEXT", raw)),
    words.map(lambda text: said(text, ascii_only=True)),
    words.map(lambda text: said(text, "reasoning_content")),
    st.tuples(words, st.text("abc19", max_size=6)).map(lambda pair: said(pair[0], obfuscation=pair[1])),
    st.tuples(words, st.integers(0, 2)).map(lambda pair: said(pair[0], created=pair[1])),
    words.map(lambda text: said(text, usage={"prompt_tokens": 1, "completion_tokens": 1})),
    words.map(lambda text: said(text).replace(b'"index":0', b'"index":1')),
    words.map(lambda text: said(text).replace(b"\n\n", b"\r\n\r\n")),
    st.sampled_from(
        [
            ROLE, USAGE, STOP, DONE, b": ping\n\n", b"\n", b"event: error\ndata: {}\n\n", b"data: x\n\n",
            sse(b'{"error":{"message":"no"}}'),
            chunk({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": "{}"}}]}),
        ]
    ),
)  # fmt: skip
STYLES = [b"%x"] * 6 + [b"%X", b"%X", b"00%x", b"%x;x=y", b"%x ", b"0x%x"]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


@settings(max_examples=600, deadline=None)
@given(
    parts=st.lists(st.tuples(events, st.sampled_from(STYLES), st.booleans(), st.booleans()), max_size=14),
    places=st.lists(st.integers(0, 4000), max_size=4),
    ended=st.booleans(),
    include_usage=st.booleans(),
)
def test_both_ways_are_one_for_any_stream_in_any_chunks_and_reads(parts, places, ended, include_usage):
    """``parts``: an event, how its chunk's size is written, whether the next one rides in the same chunk, or read."""
    chunks: list[bytes] = []
    payload = b""
    for event, style, joined, _ in [(ROLE, b"%x", False, False), (said("hi"), b"%x", False, False), *parts]:
        payload += event
        if not joined:
            chunks.append(framed(payload, style))
            payload = b""
    if payload:
        chunks.append(framed(payload))
    if ended:
        chunks += [framed(STOP), framed(DONE), END]
    reads, together = [], b""
    for each, held in itertools.zip_longest(chunks, [held for *_, held in parts], fillvalue=False):
        together += each or b""
        if not held:
            reads.append(together)
            together = b""
    reads = [read for read in [*reads, together] if read]
    both(reads, include_usage=include_usage)
    both(cut(b"".join(reads), places), include_usage=include_usage)


@streams_by_name
def test_both_ways_are_one_for_the_golden_streams(case: Case) -> None:
    """An event a chunk, in several spellings; and cut off after each of its reads."""
    blocks = [block + b"\n\n" for block in case.reply.replace(b"\r\n", b"\n").split(b"\n\n") if block.strip()]
    for style in (b"%x", b"%X", b"0%x"):
        chunks = [framed(block, style) for block in blocks]
        for last in range(len(chunks) + 1):
            both(chunks[:last])
        both([*chunks, END])


def test_a_golden_stream_of_text_goes_the_short_way() -> None:
    """Else the tests above would hold for nothing."""
    passed = {}
    for case in STREAMS:
        blocks = [block + b"\n\n" for block in case.reply.split(b"\n\n") if block.strip()]
        passed[case.name] = both([*map(framed, blocks), END]).passed
    assert sum(count > 0 for count in passed.values()) >= 3, passed


@pytest.mark.parametrize("style", [b"%x", b"%X"])
@pytest.mark.parametrize(
    "event",
    [
        lambda n: said(f" word{n}"),
        lambda n: said(f" Wörter {n} 漢字 🚰"),
        lambda n: said("x" * (n % 40 + 1), "reasoning_content"),
        lambda n: said(f" word{n}", obfuscation="aZ9" * (n % 5 + 1)),
        lambda n: said(f" word{n}", created=n // 50),
    ],
)
def test_nearly_all_usual_events_go_the_short_way(event, style):
    """Of 400: but for the first ones, and where the mould changed, and while the digits' case is learned."""
    reads = [framed(event(n), style) for n in range(400)]
    one = both([framed(ROLE), *reads, framed(STOP), framed(USAGE), framed(DONE), END])
    assert one.passed >= 370


@pytest.mark.parametrize("many", [2, 3, 7])
def test_several_chunks_in_one_read_go_the_short_way_together(many: int) -> None:
    """As they come when the gateway is behind."""
    chunks = [framed(said(f" word{n}")) for n in range(70)]
    reads = [b"".join(chunks[at : at + many]) for at in range(0, 70, many)]
    assert both([*reads, framed(STOP), framed(DONE), END]).passed == len(reads) - 1


def test_a_caller_that_takes_no_chunks_gets_the_same_bytes() -> None:
    """HTTP/1.0: there is nothing to pass on as it came."""
    reads = [framed(said(f" word{n}")) for n in range(9)]
    one, other = Wired(), Wired()
    plain = asyncio.run(one.run([*reads, framed(STOP), END], chunked=False))
    assert plain == asyncio.run(other.run([*reads, framed(STOP), END]))
    assert (one.passed, other.passed) == (0, 8)


@both_kinds
def test_what_is_not_surely_the_usual_event_is_refused(take_of) -> None:
    """Byte by byte: one wrong, one missing, one too many; and nothing leaves."""
    mould = Mould(b'data: {"c":"', b'"}\n\n')
    written: list[bytes] = []
    take = take_of(mould, written.append)
    good = framed(b'data: {"c":"word"}\n\n')
    text = range(good.index(b"word"), good.index(b"word") + 4)
    assert take(good)
    assert (written, mould.passed_bytes) == ([good], 4)
    wrong = [
        good[:at] + bytes([byte]) + good[at + 1 :]
        for at in range(len(good))
        for byte in range(256)
        if byte != good[at]
        and not (at in text and chr(byte).isprintable() and byte < 128 and byte not in b'"\\')
    ]
    wrong += [good[:at] + good[at + 1 :] for at in range(len(good))]
    wrong += [good[:at] + b"x" + good[at:] for at in range(len(good))]
    wrong += [good[:at] for at in range(len(good))]
    wrong += [good + good[:at] for at in range(1, len(good))]
    wrong += [
        b"",
        END,
        good + END,
        b"0" + good,
        good.replace(b"\r\n", b";x=y\r\n", 1),
        b"\r\n" + good,
        b"\n" * 99,
    ]
    wrong += [
        good[good.index(b"data") :],
        good.replace(b"\r\n", b"\n"),
        framed(b'data: {"c":"'),
        framed(b'"}\n\n'),
    ]
    assert [data for data in wrong if take(data)] == []
    assert (written, mould.passed_bytes) == ([good], 4)


@both_kinds
def test_the_text_and_what_is_around_it_do_not_overlap(take_of) -> None:
    """One quote that would end the opening and begin the closing."""
    take = take_of(Mould(b'data: {"c":"', b'"}\n\n'), lambda _data: None)
    assert not take(framed(b'data: {"c":"}\n\n'))
    assert take(framed(b'data: {"c":""}\n\n'))


@both_kinds
def test_halves_of_a_character_do_not_meet_across_events(take_of) -> None:
    """Each text must be UTF-8 by itself."""
    take = take_of(Mould(b'data: {"c":"', b'"}\n\n'), lambda _data: None)
    whole, first, second = (
        framed(b'data: {"c":"%b"}\n\n' % half) for half in (b"\xc3\xa4", b"\xc3", b"\xa4")
    )
    assert take(whole + whole)
    assert not take(first + second)
    assert not take(first)


@pytest.mark.parametrize("filler", ["", "aB3", 'a"b', "a b", "ä"])
@both_kinds
def test_a_filler_is_letters_and_digits_only(take_of, filler: str) -> None:
    mould = Mould(b'data: {"c":"', b'"}\n\n', b'","f":"')
    take = take_of(mould, lambda _data: None)
    data = framed(f'data: {{"c":"wörd","f":"{filler}"}}\n\n'.encode())
    assert take(data) is (filler == "aB3")
    assert mould.passed_bytes == (5 if filler == "aB3" else 0)


@both_kinds
def test_chunks_of_every_size_are_told_from_those_that_cannot_be(take_of) -> None:
    """Around each change in the number of digits, and beyond the largest that is looked at."""
    for payload in [*range(18, 600), *range(4080, 4110), MAX_CHUNK_BYTES - 9, MAX_CHUNK_BYTES + 1]:
        mould = Mould(b'data: {"c":"', b'"}\n\n')
        data = framed(b'data: {"c":"' + b"x" * (payload - 16) + b'"}\n\n')
        assert take_of(mould, lambda _data: None)(data) is (len(data) <= MAX_CHUNK_BYTES)
        assert mould.passed_bytes == (payload - 16 if len(data) <= MAX_CHUNK_BYTES else 0)


@pytest.mark.parametrize("size", [5, 21, 262, 4103, MAX_CHUNK_BYTES + 1])
@both_kinds
def test_an_event_without_its_chunks_head_is_refused(take_of, size: int) -> None:
    """Of a size that no chunk has, too: 16 bytes need two digits, and 15 with two digits are 21."""
    take = take_of(Mould(b"d:", b"\n"), lambda _data: None)
    assert not take(b"d:" + b"x" * (size - 5) + b"\n\r\n")


def test_a_relay_that_is_cut_knows_what_passed() -> None:
    """What the provider is owed for is counted, not only what was read."""
    seen = asyncio.run((one := Wired()).run([framed(said("ten bytes.")) for _ in range(20)]))
    assert one.passed > 10
    assert (seen.content_bytes, seen.error[:17]) == (200, "UpstreamTruncated")
    assert StreamRelay().content_bytes == 0
