"""Callers that mean harm: what they send costs them more than it costs us, and nobody else pays."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from penstock.server import app as serving
from penstock.server.reading import MAX_HEADER_BYTES
from tests.behaviours.gateway import Gateway, running_gateway
from tests.simulate.raw import read_reply, request_bytes

CHAT = "/v1/chat/completions"
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
server: {max_body_bytes: 1000000}
"""
SCENARIO = {
    "profiles": {
        "slow": {"tokens_per_s": 20.0, "output_tokens": 20},
        "long": {"tokens_per_s": 1_000_000, "output_tokens": 200_000},
    }
}


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("hostile"), CONFIG, scenario=SCENARIO) as gateway:
        yield gateway


@pytest.fixture
def gateway(served) -> Gateway:
    served.fresh()
    return served


@pytest.fixture
def sock(gateway) -> Iterator[socket.socket]:
    with connected(gateway) as made:
        yield made


def connected(gateway: Gateway, receive_bytes: int = 0) -> socket.socket:
    made = socket.socket()
    if receive_bytes:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    made.settimeout(10)
    parts = urlsplit(gateway.url)
    made.connect((parts.hostname, parts.port))
    return made


def chat(**fields: object) -> bytes:
    messages = [{"role": "user", "content": "hello"}]
    return request_bytes(
        "POST", CHAT, json.dumps({"model": "openai/gpt-4o-mini", "messages": messages, **fields}).encode()
    )


def waiting_bytes(gateway: Gateway) -> int:
    """What the gateway holds for callers that do not read."""

    def count() -> int:
        app = gateway.running.app
        assert app is not None
        sockets = [c.transport for c in app.connections]
        return sum(one.get_write_buffer_size() for one in sockets if one is not None)

    return gateway.inside(count)


def test_replies_that_nobody_reads_are_not_heaped_up(gateway):
    """A thousand pipelined requests for a long page: the next is served when the last one's bytes have left."""
    page = len(gateway.get("/v1/models").body)
    with connected(gateway, 4096) as sock:
        sock.settimeout(0.5)
        try:
            for _ in range(1000):
                sock.sendall(request_bytes("GET", "/v1/models"))
        except TimeoutError:
            pass
        time.sleep(0.5)
        assert waiting_bytes(gateway) <= 2 * page + 100_000
    with connected(gateway) as sock:  # and who reads gets them all
        sock.sendall(request_bytes("GET", "/v1/models") * 40)
        data = b""
        while data.count(b"HTTP/1.1 200 OK") < 40 or len(data) < 40 * page:
            data += sock.recv(262144)
        assert data.count(b"HTTP/1.1 200 OK") == 40


def test_a_stream_behind_an_unread_reply_is_held_back_too(gateway):
    """The back-pressure of one reply is the next one's as well: its provider is not read into memory."""
    whole = chat(model="openai/long", max_tokens=200_000)
    size = len(gateway.post(json.loads(whole.partition(b"\r\n\r\n")[2])).body)
    assert size > 500_000
    with connected(gateway, 4096) as sock:
        sock.sendall(whole + chat(model="openai/long", stream=True, max_tokens=200_000))
        time.sleep(2)
        assert waiting_bytes(gateway) <= size + 500_000


def test_trailers_are_bounded(gateway, sock):
    """Header lines behind a body are as many bytes as a head may have, and not a byte for ever."""
    sock.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n".encode())
    line = b"x-%d: " + b"y" * 1000 + b"\r\n"
    most = 0
    for start in range(0, 1000, 20):
        sock.sendall(b"".join(line % (start + number) for number in range(20)))
        most = max(most, _kept(gateway))
    assert most <= 2
    assert read_reply(sock).status == 431


def _kept(gateway: Gateway) -> int:
    def count() -> int:
        readings = [c.reader.reading for c in gateway.running.app.connections]
        return max((len(one.headers) for one in readings if one is not None), default=0)

    return gateway.inside(count)


def test_a_trailer_is_no_header(gateway, sock):
    """What stands behind the body cannot say who calls, or what the call is called (RFC 9110, 6.5.1)."""
    body = chat().partition(b"\r\n\r\n")[2]
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    chunk = b"%x\r\n%b\r\n0\r\nx-request-id: smuggled\r\n\r\n" % (len(body), body)
    sock.sendall(head + chunk)
    reply = read_reply(sock)
    assert reply.status == 200
    assert "x-client-request-id" not in reply.headers


def test_nothing_is_served_behind_a_refused_head(gateway, sock):
    """What follows in the same packet is not understood any more: it must not run, and must not be billed."""
    huge = f"GET /health HTTP/1.1\r\nx-big: {'y' * (MAX_HEADER_BYTES + 10)}\r\n\r\n".encode()
    sock.sendall(huge + chat())
    assert read_reply(sock).status == 431
    time.sleep(0.2)
    assert gateway.sim.requests == []


@pytest.mark.parametrize("size", [1, 2])
def test_a_body_in_tiny_chunks_costs_its_own_bytes(gateway, size):
    """A million chunks of two bytes are two megabytes, and not fifty."""
    app = gateway.running.app
    assert app is not None
    loop = asyncio.new_event_loop()
    try:
        reader = loop.run_until_complete(_reader(app))
    finally:
        loop.close()
    reader.feed(f"POST {CHAT} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".encode())
    piece = b"%x\r\n%b\r\n" % (size, b"[" * size)
    for _ in range(20):
        reader.feed(piece * 5000)
    assert reader.reading is not None
    assert len(reader.reading.chunks) < 100
    assert b"".join(reader.reading.chunks) == b"[" * (size * 100_000)


async def _reader(app: serving.App):
    return app.connection().reader


def test_a_head_that_drips_is_cut(gateway, sock, monkeypatch):
    """A byte now and then keeps no connection open: a head must be whole a minute after its first byte."""
    monkeypatch.setattr(serving, "STALLED_REQUEST_S", 0.3)
    sock.sendall(b"GET /health HTTP/1.1\r\n")
    until_s = time.monotonic() + 5
    with pytest.raises((ConnectionError, TimeoutError, AssertionError)):  # noqa: PT012 - dripping is the point
        while True:
            assert time.monotonic() < until_s, "still open"
            sock.sendall(b"a: b\r\n")
            gateway.inside(gateway.running.app.close_stale)
            if gateway.inside(lambda: len(gateway.running.app.connections)) == 0:
                raise ConnectionResetError
            time.sleep(0.05)
    assert time.monotonic() < until_s


def test_request_ids_cannot_be_foretold(gateway):
    """From a thousand ids the next does not follow: they do not come from a generator that can be wound on."""
    app = gateway.running.app
    assert app is not None
    ids = gateway.inside(lambda: [app.request_id() for _ in range(2000)])
    assert len(set(ids)) == 2000
    assert {len(one) for one in ids} == {36}
    assert all(one.startswith("gen-") and one[4:] == one[4:].lower() for one in ids)
    assert not any(isinstance(value, __import__("random").Random) for value in vars(app).values())


def test_what_is_in_flight_is_counted(gateway):
    """The gauge reads the calls of the moment: this very scrape is one."""
    assert b"\npenstock_inflight_requests 1\n" in gateway.get("/metrics").body


def test_an_idle_connection_keeps_no_body(gateway, sock):
    """A thousand callers that once sent a picture each do not hold a thousand pictures until they speak again."""
    sock.sendall(chat(user="x" * 500_000))
    assert read_reply(sock).status == 200
    mine = sock.getsockname()

    def kept() -> int:
        (connection,) = [
            one
            for one in gateway.running.app.connections
            if one.transport is not None and one.transport.get_extra_info("peername") == mine
        ]
        reply = connection._reply
        request = None if reply is None else reply._request
        return 0 if request is None else len(request.body) + sum(map(len, request.chunks))

    assert gateway.inside(kept) == 0


def test_a_body_that_came_in_pieces_is_held_once(gateway):
    """Its pieces are let go of when the whole is there."""
    loop = asyncio.new_event_loop()
    taken: list[object] = []
    try:
        reader = loop.run_until_complete(_reader(gateway.running.app))
        reader._connection = type("Taker", (), {"accept": staticmethod(taken.append), "fed": 0})
        reader.feed(f"POST {CHAT} HTTP/1.1\r\ncontent-length: 200000\r\n\r\n".encode())
        reader.feed(b"x" * 100_000)
        reader.feed(b"x" * 100_000)
    finally:
        loop.close()
    (request,) = taken
    assert (len(request.body), request.chunks) == (200_000, [])


def test_large_bodies_are_not_read_ahead_of_their_turn(gateway, sock):
    """One is served, one waits; the rest stays on the wire, so that a connection holds no more than two or three."""
    large = chat(user="x" * 400_000)

    def queued() -> int:
        return max(len(one._queue) for one in gateway.running.app.connections)

    sock.settimeout(5)
    sender = threading.Thread(target=sock.sendall, args=(chat(model="openai/slow") + large * 8,))
    sender.start()
    time.sleep(0.5)
    assert gateway.inside(queued) <= 2
    data = b""
    while data.count(b"HTTP/1.1 200 OK") < 9:
        data += sock.recv(262144)
    sender.join()
