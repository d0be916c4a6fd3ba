"""Bodies as the wire frames them: whole or pumped, any split, and every way to end too early."""

import asyncio
import gzip
import itertools
import zlib

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.base.errors import OurFault, UpstreamMalformed, UpstreamTruncated, UpstreamUnreachable
from penstock.net.connection import Connection
from penstock.net.exchange import Exchange
from penstock.wire.http import WireRequest, header
from tests.net.raw_server import (
    LONG,
    LOOPS,
    OK,
    RawServer,
    always,
    ask,
    fetch,
    nothing_left,
    once_and_close,
    post,
    pumped,
    replies,
    settle,
)

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nx-t: v\r\n\r\n"
TO_EOF = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nhello world"
EARLY = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"


def served(script, use, loop=asyncio.run, **settings_):
    """Run ``use(transport, server)`` against a script; nothing may be left behind."""

    async def main():
        async with RawServer(script) as server:
            transport = server.transport(**settings_)
            try:
                return await use(transport, server)
            finally:
                await transport.aclose()
                await settle()
                assert nothing_left(transport)

    return loop(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", [fetch, pumped])
@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (OK, b"hello"),
        (CHUNKED, b"hello world"),
        (TO_EOF, b"hello world"),
        (EARLY + OK, b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b""),
    ],
)
def test_each_framing_gives_its_body(loop, way, reply, body):
    async def use(transport, _server):
        return await way(transport)

    assert served(once_and_close(reply), use, loop) == body


@pytest.mark.parametrize("reply", [EARLY + OK, CHUNKED])
def test_a_reply_split_at_every_byte_of_a_real_socket(reply):
    async def script(link):
        await link.request()
        await link.send(*(bytes([b]) for b in reply), gap_s=0.0002)
        await link.gone()

    async def use(transport, _server):
        body = await pumped(transport)
        assert transport.idle == 1
        return body

    assert served(script, use) in (b"hello", b"hello world")


class _Pool:
    where = "h:1"

    def __init__(self):
        self.released_count = 0

    def released(self, _connection):
        self.released_count += 1

    def dropped(self, _connection):
        pass

    def ended(self, _exchange):
        pass


class _Socket:
    def write(self, _data):
        pass

    def abort(self):
        pass


async def _parsed(pieces, *, eof=True):
    """A reply fed to a Connection without a socket; the decoded body, or the error."""
    pool = _Pool()
    connection = Connection(pool, asyncio.get_running_loop())
    connection.connection_made(_Socket())
    exchange = Exchange(pool, b"head", b"", LONG, 0.0, 10.0, 20.0, 10.0)
    connection.begin(exchange, reused=False)
    for piece in pieces:
        connection.data_received(piece)
        if not connection.alive:
            break
    if eof and connection.alive:
        connection.connection_lost(None)
    if exchange.status == 0:
        raise exchange.error
    return exchange.status, await exchange.read(1_000_000)


def cut(data, places):
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


def framed(body, framing, encoding):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    if encoding:
        head += b"content-encoding: " + encoding + b"\r\n"
    if framing == "length":
        return head + b"content-length: %d\r\n\r\n" % len(body) + body
    if framing == "chunked":
        chunks = b"".join(
            b"%x\r\n%b\r\n" % (len(body[i : i + 7]), body[i : i + 7]) for i in range(0, len(body), 7)
        )
        return head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    return head + b"\r\n" + body


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(max_size=80).map(lambda t: b'{"text":"' + t.encode() + b'"}'),
    framing=st.sampled_from(["length", "chunked", "eof"]),
    packing=st.sampled_from(["plain", "gzip", "gzip unsaid", "deflate", "br", "gzip as br", "plain as gzip"]),
    places=st.lists(st.integers(0, 2000), max_size=20),
    early=st.booleans(),
)
def test_any_split_of_any_reply_gives_the_same_body(text, framing, packing, places, early):
    packed = {"g": gzip.compress, "d": zlib.compress, "b": brotli.compress, "p": bytes}[packing[0]](text)
    said = {"plain": None, "gzip unsaid": None, "gzip as br": b"br", "plain as gzip": b"gzip"}.get(
        packing, packing.encode()
    )
    wire = (EARLY if early else b"") + framed(packed, framing, said)
    assert asyncio.run(_parsed(cut(wire, places))) == (200, text)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_behaviour_05_a_reply_cut_at_every_byte_is_never_whole(framing):
    """Neither content-length nor chunks may end with the connection."""
    wire = framed(b'{"a": "hello world"}', framing, None)
    head = wire.index(b"\r\n\r\n") + 4
    for end in range(len(wire)):
        with pytest.raises(UpstreamUnreachable if end < head else UpstreamTruncated):
            asyncio.run(_parsed([wire[:end]]))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
    ],
)
@pytest.mark.parametrize("by_reset", [False, True])
def test_a_body_cut_on_a_real_socket_is_truncated_after_what_came(loop, reply, by_reset):
    async def script(link):
        await link.request()
        await link.send(reply)
        await asyncio.sleep(0.05)
        if by_reset:
            link.reset()

    async def use(transport, _server):
        with pytest.raises(UpstreamTruncated, match="closed the connection before its reply was complete"):
            await fetch(transport)
        pieces = []
        exchange = await ask(transport)
        with pytest.raises(UpstreamTruncated):
            await exchange.pump(pieces.append)
        assert b"".join(pieces) == (b"hel" if reply.endswith(b"\r\nhel") else b"hello")

    served(script, use, loop)


def test_what_came_before_the_cut_is_pumped_even_if_pump_comes_late():
    async def use(transport, _server):
        exchange = await ask(transport)
        await settle()
        pieces = []
        with pytest.raises(UpstreamTruncated):
            await exchange.pump(pieces.append)
        assert b"".join(pieces) == b"hel"

    served(once_and_close(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel"), use)


@pytest.mark.parametrize(
    "reply",
    [
        b"hello, I am not HTTP",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"<html>0.9</html>\n",
        b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: zstd\r\ncontent-length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 10_000 + b"content-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-a: " + b"b" * 100_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    ],
)
def test_what_is_no_http_1_1_is_malformed(reply):
    async def script(link):
        await link.request()
        await link.send(reply)
        await link.gone()

    async def use(transport, server):
        with pytest.raises(UpstreamMalformed) as caught:
            await ask(transport)
        assert f"127.0.0.1:{server.port}" in str(caught.value)

    served(script, use)


@pytest.mark.parametrize(
    "tail", [b"zz\r\nx", b"5\r\nhelloXX", b"0\r\nx: " + b"y" * 700_000, b"5;" + b"e" * 700_000, b"5" * 40]
)
def test_garbage_inside_a_chunked_body_is_malformed_after_what_was_good(tail):
    async def script(link):
        await link.request()
        await link.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n" + tail)
        await link.gone()

    async def use(transport, _server):
        pieces = []
        exchange = await ask(transport)
        with pytest.raises(UpstreamMalformed):
            await exchange.pump(pieces.append)
        assert b"".join(pieces).startswith(b"good")

    served(script, use)


@pytest.mark.parametrize(
    "extra", [b"x", OK, b"HTTP/1.", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npoisoned!", b"\r\n\r\nx"]
)
def test_bytes_behind_a_reply_never_become_somebody_elses_reply(extra):
    async def use(transport, server):
        assert await fetch(transport) == b"hello"
        await settle()
        assert transport.idle == 0
        assert await fetch(transport) == b"hello"
        assert server.accepted == 2

    served(always(OK + extra), use)


def test_bytes_on_an_idle_connection_discard_it():
    async def script(link):
        await link.request()
        await link.send(OK, b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n", gap_s=0.03)
        await link.gone()

    async def use(transport, server):
        assert await fetch(transport) == b"hello"
        assert transport.idle == 1
        await asyncio.sleep(0.1)
        assert transport.idle == 0
        assert await fetch(transport) == b"hello"
        assert server.accepted == 2

    served(script, use)


def test_a_body_over_the_limit_is_refused_on_the_wire_and_decoded():
    bomb = gzip.compress(bytes(50_000_000))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"

    async def use(transport, _server):
        assert await fetch(transport, 5) == b"hello"
        with pytest.raises(UpstreamMalformed, match="more than 4 bytes"):
            await fetch(transport, 4)
        for _ in range(2):
            with pytest.raises(UpstreamMalformed, match="more than 1000000 bytes"):
                await fetch(transport, 1_000_000)

    served(
        replies(
            OK,
            OK,
            head % len(bomb) + b"content-encoding: gzip\r\n\r\n" + bomb,
            head % len(bomb) + b"\r\n" + bomb,
        ),
        use,
    )


def test_behaviour_12_encodings_are_undone_and_their_headers_go():
    packed = gzip.compress(b'{"a":1}')
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    length = b"content-length: %d\r\n" % len(packed)

    async def use(transport, _server):
        exchange = await ask(transport)
        assert header(exchange.headers, b"content-encoding") is None
        assert header(exchange.headers, b"content-type") == b"application/json"
        assert await exchange.read(100) == b'{"a":1}'
        assert await pumped(transport) == b'{"a":1}'
        assert await fetch(transport) == b'{"a":1}'
        assert await pumped(transport) == b'{"a":1}'
        assert await pumped(transport) == packed

    said, unsaid = (
        head + length + b"content-encoding: gzip\r\n\r\n" + packed,
        head + length + b"\r\n" + packed,
    )
    file = b"HTTP/1.1 200 OK\r\ncontent-type: application/gzip\r\n" + length + b"\r\n" + packed
    served(replies(said, said, unsaid, unsaid, file), use)


def test_a_compressed_body_whose_stream_stops_short_is_truncated():
    packed = gzip.compress(b'{"a":1}' * 50)[:-9]
    reply = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed

    async def use(transport, _server):
        with pytest.raises(UpstreamTruncated):
            await fetch(transport)
        with pytest.raises(UpstreamTruncated):
            await pumped(transport)

    served(always(reply), use)


def test_behaviour_11_each_piece_is_pushed_as_it_comes_also_through_gzip():
    """The sink has a piece before the server sends the next one: nothing is buffered on the way."""
    taken = asyncio.Event

    async def run(packer, head):
        step = taken()

        async def script(link):
            await link.request()
            await link.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n" + head + b"\r\n")
            for number in range(5):
                data = packer(b"data: %d\n\n" % number)
                await link.send(b"%x\r\n%b\r\n" % (len(data), data))
                await step.wait()
                step.clear()
            await link.send(b"%x\r\n%b\r\n" % (len(end), end) if (end := packer(None)) else b"", b"0\r\n\r\n")
            await link.gone()

        got = []

        def sink(piece):
            got.append(piece)
            step.set()

        async with RawServer(script) as server:
            transport = server.transport()
            await (await ask(transport)).pump(sink)
            await transport.aclose()
        assert got == [b"data: %d\n\n" % number for number in range(5)]

    stream = zlib.compressobj(wbits=31)

    def pack(data):
        return stream.flush() if data is None else stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)

    asyncio.run(run(lambda data: data or b"", b""))
    asyncio.run(run(pack, b"content-encoding: gzip\r\n"))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("late", [False, True])
def test_an_exception_of_the_sink_closes_the_connection_and_is_raised_from_pump(loop, late):
    class Refused(Exception):
        pass

    seen = []

    async def script(link):
        await link.request()
        await link.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello")
        seen.append(await link.gone())

    async def use(transport, _server):
        exchange = await ask(transport)
        if late:
            await settle()

        def sink(_piece):
            raise Refused

        with pytest.raises(Refused):
            await exchange.pump(sink)
        await settle()
        assert transport.open == 0
        assert seen == [True]

    served(script, use, loop)


def test_a_sink_may_abort_its_own_exchange():
    async def use(transport, _server):
        exchange = await ask(transport)
        pieces = []

        def sink(piece):
            pieces.append(piece)
            exchange.abort()

        with pytest.raises(UpstreamTruncated, match="given up"):
            await exchange.pump(sink)
        assert pieces == [b"hello"]

    served(replies(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello"), use)


@pytest.mark.parametrize("loop", LOOPS)
def test_pause_holds_the_server_back_and_resume_lets_it_go_on(loop):
    """Back-pressure reaches the server's own writes."""
    size = 40_000_000
    sent = []

    async def script(link):
        await link.request()
        await link.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // 100_000):
            await link.send(bytes(100_000))
            sent.append(100_000)
        await link.gone()

    async def use(transport, _server):
        exchange = await ask(transport)
        total = 0

        def sink(piece):
            nonlocal total
            if not total:
                exchange.pause()
                exchange.pause()
            total += len(piece)

        task = asyncio.ensure_future(exchange.pump(sink))
        await asyncio.sleep(0.2)
        assert total < 2_000_000
        held = sum(sent)
        assert held < size
        await asyncio.sleep(0.1)
        assert sum(sent) == held
        exchange.resume()
        exchange.resume()
        await task
        assert total == size

    served(script, use, loop)


def test_a_paused_exchange_whose_last_bytes_came_leaves_a_connection_that_reads():
    async def use(transport, server):
        exchange = await ask(transport)
        await exchange.pump(lambda _piece: exchange.pause())
        exchange.pause()
        assert await fetch(transport) == b"hello"
        assert server.accepted == 1

    served(always(OK), use)


@pytest.mark.parametrize("way", ["read", "pump"])
def test_a_body_that_nobody_reads_yet_is_held_to_a_bound_and_then_complete(way):
    size = 30_000_000
    sent = []

    async def script(link):
        await link.request()
        await link.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // 100_000):
            await link.send(bytes(100_000))
            sent.append(100_000)
        await link.gone()

    async def use(transport, _server):
        exchange = await ask(transport)
        await asyncio.sleep(0.2)
        assert sum(sent) < size
        if way == "read":
            assert len(await exchange.read(size)) == size
        else:
            total = []
            await exchange.pump(lambda piece: total.append(len(piece)))
            assert sum(total) == size
        assert await exchange_is_over(exchange)

    async def exchange_is_over(exchange):
        exchange.abort()
        return exchange.error is None

    served(script, use)


@pytest.mark.parametrize("loop", LOOPS)
def test_behaviour_22_a_large_request_goes_out_while_other_exchanges_go_on(loop):
    big = bytes(30_000_000)
    got = []

    async def script(link):
        while True:
            _, body = await link.request()
            got.append(len(body))
            await link.send(OK)

    async def use(transport, _server):
        turns = 0

        async def others():
            nonlocal turns
            while len(big) not in got:
                assert await fetch(transport) == b"hello"
                turns += 1

        async def upload():
            exchange = await transport.send(post(b"/x", big), LONG)
            assert await exchange.read(100) == b"hello"

        await asyncio.gather(upload(), others())
        assert turns > 1
        assert transport.idle == 2

    served(script, use, loop)


def test_a_reply_that_comes_before_the_request_is_written_is_a_reply():
    """413 at once, from a server that reads no further; the connection is not used again."""

    async def script(link):
        await link.reader.readuntil(b"\r\n\r\n")
        await link.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await asyncio.sleep(1)

    async def use(transport, _server):
        exchange = await transport.send(post(b"/x", bytes(60_000_000)), LONG)
        assert exchange.status == 413
        assert await exchange.read(10) == b"big"
        await settle()
        assert transport.open == 0

    served(script, use)


def test_the_request_is_written_as_given():
    seen = []

    async def script(link):
        while True:
            seen.append(await link.request())
            await link.send(OK)

    async def use(_transport, server):
        transport = server.transport("/v1")
        request = post(b"/chat?x=1", b"\x00body", (b"authorization", b"Bearer k"), (b"accept", b"*/*"))
        await (await transport.send(request, LONG)).read(10)
        await (await transport.send(WireRequest(b"GET", b"/models", [], b""), LONG)).read(10)
        await (await transport.send(post(b"/x", b""), LONG)).read(10)
        await transport.aclose()
        where = b"127.0.0.1:%d" % server.port
        assert seen[0] == (
            b"POST /v1/chat?x=1 HTTP/1.1\r\nhost: "
            + where
            + b"\r\nauthorization: Bearer k\r\naccept: */*\r\n"
            b"content-length: 5\r\n\r\n",
            b"\x00body",
        )
        assert seen[1] == (b"GET /v1/models HTTP/1.1\r\nhost: " + where + b"\r\n\r\n", b"")
        assert seen[2][0].endswith(b"content-length: 0\r\n\r\n")

    served(script, use)


@pytest.mark.parametrize(
    "request_",
    [
        post(b"/x", b"", (b"authorization", b"Bearer a\r\nx-evil: 1")),
        post(b"/x", b"", (b"authorization", b"Bearer a\nx-evil: 1")),
        post(b"/x", b"", (b"authorization", b"Bearer a\rb")),
        post(b"/x", b"", (b"authorization", b"Bearer a\0")),
        post(b"/x HTTP/1.1\r\nx-evil: 1\r\n\r\nGET /", b""),
        post(b"/a model", b""),
    ],
)
def test_no_header_or_path_can_smuggle_another_request(request_):
    async def use(transport, server):
        with pytest.raises(OurFault) as caught:
            await transport.send(request_, LONG)
        assert "Bearer" not in str(caught.value)
        assert server.accepted == 0

    served(always(OK), use)


def test_head_has_no_body():
    async def use(transport, _server):
        exchange = await transport.send(WireRequest(b"HEAD", b"/x", [], b""), LONG)
        assert exchange.status == 200
        assert await exchange.read(10) == b""

    served(always(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"), use)


def test_header_names_are_lower_case_in_order_and_repeated():
    async def use(transport, _server):
        exchange = await ask(transport)
        assert exchange.headers == [
            (b"x-b", b"1"),
            (b"set-cookie", b"a"),
            (b"set-cookie", b"b"),
            (b"content-length", b"0"),
        ]
        assert b"".join([await exchange.read(1)]) == b""

    served(
        always(b"HTTP/1.1 200 OK\r\nX-B: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"),
        use,
    )


def test_nothing_of_an_exchange_shows_a_secret():
    async def use(transport, _server):
        exchange = await transport.send(post(b"/x", b"words", (b"authorization", b"Bearer sekrit")), LONG)
        shown = f"{exchange!r} {transport!r} {exchange}"
        await exchange.read(10)
        assert "sekrit" not in shown
        assert "words" not in shown

    served(always(OK), use)


@given(
    places=st.lists(st.integers(0, 400), max_size=8),
    early=st.sampled_from([b"", b"\r\n\r\n", EARLY, b"\r\n" + EARLY + EARLY]),
    framing=st.sampled_from([b"Content-Length: 2", b"Transfer-Encoding: chunked"]),
)
def test_any_split_of_any_head_gives_the_same_headers(places, early, framing):
    """Heads are kept as bytes and read when asked: where one begins and ends must not depend on the pieces."""
    head = (
        b"HTTP/1.1 429 Too Many: Requests\r\nRetry-After:\t7 \r\nX-Empty:\r\nX: a: b\r\n"
        + framing
        + b"\r\n\r\n"
    )
    body = b"ok" if framing[:1] == b"C" else b"2\r\nok\r\n0\r\nRetry-After: 9\r\n\r\n"

    async def use():
        pool = _Pool()
        connection = Connection(pool, asyncio.get_running_loop())
        connection.connection_made(_Socket())
        for _ in range(2):  # and the next reply over the same connection begins afresh
            exchange = Exchange(pool, b"head", b"", LONG, 0.0, 10.0, 20.0, 10.0)
            connection.begin(exchange, reused=False)
            for piece in cut(early + head + body, places):
                connection.data_received(piece)
            assert (exchange.status, await exchange.read(10)) == (429, b"ok")
            name, _, value = framing.partition(b": ")
            assert exchange.headers == [
                (b"retry-after", b"7"),
                (b"x-empty", b""),
                (b"x", b"a: b"),
                (name.lower(), value),
            ]
        assert pool.released_count == 2

    asyncio.run(use())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("sizes", [(1,), (0, 7), (300_000, 5, 1_000_000, 1), (1, 2, 3) * 50, (700_000,) * 5])
def test_a_request_in_pieces_leaves_as_one_body(loop, sizes):
    """In their order, with their whole length announced; and the connection goes on, also with bodies of the other kind."""
    pieces = tuple(memoryview(bytes([65 + place % 26]) * size) for place, size in enumerate(sizes))
    got = []

    async def script(link):
        for _ in range(3):
            got.append((await link.request())[1])
            await link.send(OK)
        await link.gone()

    async def use(transport, server):
        for request in (WireRequest(b"POST", b"/", [], b"", (), pieces), post(b"/x", b"y" * 300_000), WireRequest(b"POST", b"/", [], b"", (), pieces)):  # fmt: skip
            exchange = await transport.send(request, LONG)
            assert await exchange.read(100) == b"hello"
            assert exchange.pieces == ()
        return server.accepted

    assert served(script, use, loop) == 1
    assert got == [b"".join(pieces), b"y" * 300_000, b"".join(pieces)]
