"""The shortcut past the parser: asked exactly where a chunk begins, and what it takes is as if it had been parsed."""

import asyncio
import gzip
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.base.errors import UpstreamMalformed, UpstreamTruncated
from penstock.net.connection import Connection
from penstock.net.exchange import Exchange
from tests.net.raw_server import LONG

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


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

    def resume_reading(self):
        pass


class Fed:
    """A pumped exchange over a Connection without a socket. ``asked``: the reads that its shortcut was offered, with
    the number of bytes that had come before."""

    def __init__(self, takes=lambda _data: False):
        self.takes = takes
        self.asked = []
        self.body = b""
        self.fed_bytes = 0
        self.taken = 0

    def shortcut(self, data):
        self.asked.append((self.fed_bytes, data))
        if not self.takes(data):
            return False
        self.taken += 1
        self.body += dechunked(data)
        return True

    async def run(self, reads, *, eof=True):
        """The error that ended it, or None."""
        self.pool = _Pool()
        self.connection = connection = Connection(self.pool, asyncio.get_running_loop())
        connection.connection_made(_Socket())
        self.exchange = exchange = Exchange(self.pool, b"head", b"", LONG, 0.0, 10.0, 20.0, 10.0)
        connection.begin(exchange, reused=False)
        pump = None
        for data in reads:
            if pump is None and exchange.status:
                pump = asyncio.ensure_future(exchange.pump(self.sink))
                await asyncio.sleep(0)
            if connection.alive:
                connection.data_received(data)
                self.fed_bytes += len(data)
        if eof and connection.alive:
            connection.connection_lost(None)
        try:
            await (pump or exchange.pump(self.sink))
        except Exception as error:
            return error
        return None

    def sink(self, piece):
        self.body += piece
        self.exchange.shortcut = self.shortcut


def dechunked(data):
    """The body of whole chunks in their plainest framing."""
    body = b""
    while data:
        line, _, rest = data.partition(b"\r\n")
        size = int(line, 16)
        assert rest[size : size + 2] == b"\r\n"
        body, data = body + rest[:size], rest[size + 2 :]
    return body


def cut(data, places):
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


chunks = st.lists(
    st.tuples(
        st.binary(min_size=1, max_size=40)
        | st.just(b"\r\n")
        | st.just(b"5\r\nhello\r\n")
        | st.just(b"0\r\n\r\n"),
        st.sampled_from([b"%x", b"%X", b"00%x", b'%x;a="b"', b"%x;x=y"]),
    ),
    min_size=1,
    max_size=12,
)


def wired(parts, trailers=b""):
    """The wire, and the places in it where a chunk begins. The first looks like text, else decoding were tried."""
    parts.insert(0, (b"data", b"%x"))
    wire, seams = HEAD, set()
    for payload, style in parts:
        seams.add(len(wire))
        wire += style % len(payload) + b"\r\n" + payload + b"\r\n"
    seams.add(len(wire))
    return wire + b"0\r\n" + trailers + b"\r\n", seams


@settings(max_examples=400, deadline=None)
@given(
    parts=chunks,
    places=st.lists(st.integers(0, 1000), max_size=30),
    trailers=st.sampled_from([b"", b"x-t: v\r\n"]),
)
def test_it_is_asked_only_where_a_chunk_begins(parts, places, trailers):
    """Whatever the chunks hold and wherever the reads are cut; refused reads change nothing."""
    wire, seams = wired(parts, trailers)
    for reads in (cut(wire, places), [wire[i : i + 1] for i in range(len(wire))]):
        fed = Fed()
        assert asyncio.run(fed.run(reads)) is None
        assert fed.body == b"".join(payload for payload, _ in parts)
        assert fed.pool.released_count == 1
        assert {at for at, _ in fed.asked} <= seams


@settings(max_examples=300, deadline=None)
@given(parts=chunks, together=st.lists(st.booleans(), min_size=12, max_size=12))
def test_what_it_takes_is_as_if_it_had_been_parsed(parts, together):
    """Reads that end between chunks: it is asked for each but those that the sink saw first."""
    wire, seams = wired(parts)
    marks = [seam for seam, joined in zip(sorted(seams)[1:], together, strict=False) if not joined]
    reads = [wire[a:b] for a, b in itertools.pairwise(sorted({0, len(HEAD), *marks, len(wire)}))]
    plain = {b"%x\r\n%b\r\n" % (len(payload), payload) for payload, _ in parts}
    fed = Fed(takes=lambda data: data in plain)
    assert asyncio.run(fed.run(reads)) is None
    assert fed.body == b"".join(payload for payload, _ in parts)
    assert [data for _, data in fed.asked] == reads[2:]
    assert fed.taken == sum(data in plain for data in reads[2:])


def test_what_comes_after_a_taken_chunk_is_parsed_as_ever():
    """Half a chunk, its rest, a taken one, garbage: each is seen for what it is."""
    reads = [HEAD, b"1\r\na\r\n", b"1\r\nb\r\n", b"1\r\n", b"c\r\n", b"1\r\nd\r\n", b"xyz\r\n"]
    fed = Fed(takes=lambda data: data in (b"1\r\nb\r\n", b"1\r\nd\r\n"))
    error = asyncio.run(fed.run(reads))
    assert isinstance(error, UpstreamMalformed)
    assert (fed.body, fed.taken) == (b"abcd", 2)
    assert [data for _, data in fed.asked] == [b"1\r\nb\r\n", b"1\r\n", b"1\r\nd\r\n", b"xyz\r\n"]


def test_behaviour_05_an_end_after_a_taken_chunk_is_a_cut():
    fed = Fed(takes=lambda _data: True)
    error = asyncio.run(fed.run([HEAD, b"1\r\na\r\n", b"1\r\nb\r\n"]))
    assert isinstance(error, UpstreamTruncated)
    assert fed.body == b"ab"


def test_its_exception_ends_the_exchange_as_the_sinks_does():
    def broken(_data):
        raise ZeroDivisionError

    fed = Fed(takes=broken)
    assert isinstance(
        asyncio.run(fed.run([HEAD, b"1\r\na\r\n", b"1\r\nb\r\n", b"1\r\nc\r\n"])), ZeroDivisionError
    )
    assert not fed.connection.alive
    assert fed.body == b"a"


@pytest.mark.parametrize("declared", [b"content-encoding: gzip\r\n", b"content-type: application/json\r\n"])
def test_a_body_that_is_decoded_never_takes_it(declared):
    """Its chunks are not what the caller gets."""
    packed = gzip.compress(b'{"text": "hello"}')
    parts = [b"%x\r\n%b\r\n" % (1, packed[i : i + 1]) for i in range(len(packed))]
    fed = Fed(takes=lambda _data: True)
    head = HEAD.replace(b"content-type: text/event-stream\r\n", declared)
    assert asyncio.run(fed.run([head, *parts, b"0\r\n\r\n"])) is None
    assert (fed.body, fed.asked) == (b'{"text": "hello"}', [])


@pytest.mark.parametrize("head", [b"content-length: 8\r\n", b""])
def test_a_body_without_chunks_never_takes_it(head):
    """Also where it looks like one."""
    fed = Fed(takes=lambda _data: True)
    reads = [b"HTTP/1.1 200 OK\r\n" + head + b"\r\n", b"\r\n", b"1\r\na\r\n"]
    assert asyncio.run(fed.run(reads)) is None
    assert (fed.body, fed.asked) == (b"\r\n1\r\na\r\n", [])


def test_the_next_exchange_of_a_connection_begins_without_one():
    async def main():
        fed = Fed(takes=lambda data: data == b"1\r\nb\r\n")
        assert await fed.run([HEAD, b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"], eof=False) is None
        second = Exchange(fed.pool, b"head", b"", LONG, 0.0, 10.0, 20.0, 10.0)
        fed.connection.begin(second, reused=True)
        fed.connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n")
        fed.connection.data_received(b"1\r\nc\r\n")
        return fed.taken, len(fed.asked), await second.read(100)

    assert asyncio.run(main()) == (1, 2, b"1\r\nc\r\n")


def test_what_it_takes_keeps_the_idle_deadline_off():
    """The sweeper asks whether anything came, and not which way it went."""
    touched = []

    class Watched(Fed):
        def shortcut(self, data):
            self.exchange.touched = False
            return super().shortcut(data)

        def sink(self, piece):
            touched.append(self.exchange.touched)
            super().sink(piece)

    fed = Watched(takes=lambda data: data == b"1\r\nb\r\n")

    async def main():
        assert isinstance(await fed.run([HEAD, b"1\r\na\r\n", b"1\r\nb\r\n"]), UpstreamTruncated)

    asyncio.run(main())
    assert (fed.taken, fed.exchange.touched, touched) == (1, True, [True])
