"""HTTP on a caller's connection, byte by byte: what a client may send, and what it gets, whatever it sends."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from penstock.gateway import stream as delivery
from penstock.server.http1 import MAX_PIPELINED
from penstock.server.reading import MAX_HEADER_BYTES
from tests.behaviours.gateway import Gateway, Stream, running_gateway
from tests.simulate.raw import RawReply, read_reply, request_bytes

CHAT = "/v1/chat/completions"
LIMIT = 1_000_000
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", idle_timeout_ms: 1000, retry: {max_retries: 0}}
server: {max_body_bytes: 1000000, hold_back_ms: 100}
"""
SCENARIO = {"profiles": {"gpt-4o": {"tokens_per_s": 50.0, "output_tokens": 1000}}}


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Gateway]:
    """One gateway for this file."""
    with running_gateway(tmp_path_factory.mktemp("http"), CONFIG, scenario=SCENARIO) as gateway:
        yield gateway


@pytest.fixture
def gateway(served) -> Gateway:
    served.fresh()
    return served


@pytest.fixture
def sock(gateway) -> Iterator[socket.socket]:
    """One connection to it."""
    with connected(gateway) as made:
        yield made


def connected(gateway: Gateway, receive_bytes: int = 0) -> socket.socket:
    made = socket.socket()
    if receive_bytes:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    made.settimeout(5)
    parts = urlsplit(gateway.url)
    made.connect((parts.hostname, parts.port))
    return made


def body(prompt: str = "hello", **fields: Any) -> bytes:
    messages = [{"role": "user", "content": prompt}]
    return json.dumps({"model": "openai/gpt-4o-mini", "messages": messages, **fields}).encode()


def chat(prompt: str = "hello", **fields: Any) -> bytes:
    return request_bytes("POST", CHAT, body(prompt, **fields))


def chunked(payload: bytes, size: int, head: str = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\n") -> bytes:
    pieces = [payload[start : start + size] for start in range(0, len(payload), size)]
    framed = b"".join(b"%x;name=value\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head.encode() + b"transfer-encoding: chunked\r\n\r\n" + framed + b"0\r\nx-trailer: 1\r\n\r\n"


def replies(sock: socket.socket, count: int) -> list[RawReply]:
    """``count`` whole replies with a content-length, in order."""
    data, found = b"", []
    while len(found) < count:
        head, blank, rest = data.partition(b"\r\n\r\n")
        if blank:
            reply = RawReply(status=int(head[9:12]))
            lines = head.decode().split("\r\n")[1:]
            reply.headers = {
                name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)
            }
            length = int(reply.headers.get("content-length", 0))
            if len(rest) >= length:
                reply.chunks, data = [rest[:length]], rest[length:]
                found.append(reply)
                continue
        more = sock.recv(65536)
        assert more, (len(found), data[:500])
        data += more
    assert data == b""
    return found


def text_of(reply: RawReply) -> str:
    return reply.json()["choices"][0]["message"]["content"]


def closed(sock: socket.socket) -> bool:
    """The other side has closed, and sent nothing more."""
    try:
        return sock.recv(1000) == b""
    except ConnectionResetError:
        return True


# Connections.


def test_a_refusal_names_the_callers_own_id_though_its_head_was_let_go(gateway, sock):
    """After calls on the short lane, whose headers are not kept, a head like the last one is refused."""
    gateway.post(body())  # makes the plan that the short lane goes by
    message = request_bytes("POST", CHAT, body(), {"x-request-id": "mine"})
    for _ in range(2):
        sock.sendall(message)
        assert replies(sock, 1)[0].status == 200
    gateway.inside(lambda: setattr(gateway.running.app, "draining", True))
    try:
        sock.sendall(message)
        (reply,) = replies(sock, 1)
    finally:
        gateway.inside(lambda: setattr(gateway.running.app, "draining", False))
    assert (reply.status, reply.headers["x-client-request-id"]) == (503, "mine")


def test_a_connection_serves_many_requests(sock, gateway):
    """Keep-alive: chats, pages, errors, streams, one after another on one socket."""
    for number in range(3):
        sock.sendall(chat(f"ECHO {number}"))
        assert text_of(read_reply(sock)) == str(number)
        sock.sendall(request_bytes("GET", "/health"))
        assert read_reply(sock).json() == {"status": "ok"}
        sock.sendall(request_bytes("POST", CHAT, b"{"))
        assert read_reply(sock).status == 400
        sock.sendall(chat(stream=True))
        assert read_reply(sock).frames()[-1] == "[DONE]"
    assert len({one.connection for one in gateway.sim.requests}) == 1


def test_pipelined_requests_are_answered_in_their_order(sock):
    """Far more than are held at once, in one write, with pages and errors between."""
    count = 5 * MAX_PIPELINED
    sock.sendall(
        b"".join(
            chat(f"ECHO {number}") + request_bytes("GET", "/health") + request_bytes("POST", CHAT, b"[")
            for number in range(count)
        )
    )
    found = replies(sock, 3 * count)
    assert [text_of(one) for one in found[::3]] == [str(number) for number in range(count)]
    assert {one.status for one in found[1::3]} == {200}
    assert {one.status for one in found[2::3]} == {400}


def test_requests_may_come_in_any_pieces(sock):
    """Byte by byte: head, body, and the next request's first byte in the last piece."""
    wire = chat("ECHO one") + chat("ECHO two")
    for start in range(len(wire)):
        sock.sendall(wire[start : start + 1])
    assert [text_of(one) for one in replies(sock, 2)] == ["one", "two"]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_chunked_bodies_are_read(sock, size):
    """With extensions and trailers, in any chunk size; the connection goes on."""
    for _ in range(2):
        sock.sendall(chunked(body("ECHO as chunks"), size))
        assert text_of(read_reply(sock)) == "as chunks"


def test_connection_close_is_honoured(sock):
    """The reply says so too, and the socket closes after it."""
    sock.sendall(request_bytes("POST", CHAT, body(), {"connection": "close"}))
    reply = read_reply(sock)
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert closed(sock)


@pytest.mark.parametrize("keep", ["", "connection: keep-alive\r\n"])
def test_http_1_0_gets_no_chunks(sock, keep):
    """Such a client (nginx's default towards its upstreams) reads a stream to the connection's end."""
    payload = body(stream=True)
    head = f"POST {CHAT} HTTP/1.0\r\n{keep}content-length: {len(payload)}\r\n\r\n"
    sock.sendall(head.encode() + payload)
    reply = read_reply(sock)
    assert reply.status == 200
    assert "transfer-encoding" not in reply.headers
    assert reply.ended == "eof"
    assert reply.body.startswith(b"data: {")
    assert reply.frames()[-1] == "[DONE]"


def test_an_upgrade_that_we_do_not_speak_is_ignored(sock):
    """RFC 9110, 7.8. Java's HTTP client asks for h2c on every first request over plain text."""
    offered = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEAAEAA"}
    sock.sendall(request_bytes("POST", CHAT, body("ECHO plain"), offered))
    reply = read_reply(sock)
    assert (reply.status, text_of(reply)) == (200, "plain")
    head = f"POST {CHAT} HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
    sock.sendall(chunked(body("ECHO in chunks"), 5, head) + chat("ECHO next"))
    assert [text_of(one) for one in replies(sock, 2)] == ["in chunks", "next"]
    sock.sendall(
        request_bytes("GET", "/health", b"", {"connection": "close, upgrade", "upgrade": "websocket"})
    )
    reply = read_reply(sock)
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert closed(sock)


def test_connect_is_refused(sock):
    """The gateway is no proxy."""
    sock.sendall(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n")
    assert read_reply(sock).status == 400


def test_the_target_may_be_absolute(sock, gateway):
    """RFC 9112, 3.2.2: a server must accept it."""
    sock.sendall(request_bytes("GET", f"{gateway.url}/health"))
    assert read_reply(sock).json() == {"status": "ok"}
    sock.sendall(request_bytes("POST", f"{gateway.url}{CHAT}", body("ECHO there")))
    assert text_of(read_reply(sock)) == "there"


# What is not HTTP, or too much of it.


@pytest.mark.parametrize(
    "wire",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nbad header\x00: x\r\n\r\n",
    ],
    ids=["tls", "words", "version", "negative", "two-lengths", "length-and-chunks", "no-chunk-size", "nul"],
)  # fmt: skip
def test_garbage_is_answered_400_and_the_connection_closes(sock, wire):
    """With an error object and a request id, however early it stops being HTTP; nothing is smuggled."""
    sock.sendall(wire)
    reply = read_reply(sock)
    assert reply.status == 400
    assert reply.headers["connection"] == "close"
    assert reply.headers["x-request-id"] == reply.json()["error"]["request_id"]
    sock.settimeout(4)
    assert closed(sock)


def test_garbage_after_a_request_waits_for_its_turn(sock):
    """The request before is answered first, whole."""
    sock.sendall(chat("ECHO first") + b"garbage\r\n\r\n" + chat("ECHO never"))
    first, second = replies(sock, 2)
    assert text_of(first) == "first"
    assert second.status == 400
    assert closed(sock)


@pytest.mark.parametrize("ended", [True, False], ids=["whole", "endless"])
@pytest.mark.parametrize("where", ["header", "headers", "url"])
def test_too_many_header_bytes_are_431(gateway, ended, where):
    """Also while they still come: what is over the limit is not kept, and no end is waited for."""
    with connected(gateway) as sock:
        big = b"x" * (3 * MAX_HEADER_BYTES)
        if where == "url":
            wire = b"GET /" + big + (b" HTTP/1.1\r\n\r\n" if ended else b"")
        elif where == "header":
            wire = b"GET / HTTP/1.1\r\na: " + big + (b"\r\n\r\n" if ended else b"")
        else:
            wire = b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * MAX_HEADER_BYTES + (b"\r\n" if ended else b"")
        sock.sendall(wire)
        reply = read_reply(sock)
        assert reply.status == 431
        assert "header" in reply.json()["error"]["message"]


def test_a_body_over_the_limit_is_413_before_it_is_sent(sock, gateway):
    """By its announced length, with the limit and the remedy in the message; nobody upstream is asked."""
    sock.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {LIMIT + 1}\r\n\r\n".encode())
    reply = read_reply(sock)
    error = reply.json()["error"]
    assert (reply.status, error["code"]) == (413, "request_too_large")
    assert str(LIMIT) in error["message"]
    assert "max_body_bytes" in error["message"]
    assert gateway.sim.requests == []


@pytest.mark.parametrize("way", ["length", "chunked"])
def test_a_client_that_is_still_sending_can_read_its_413(sock, way):
    """No reset takes the answer away while ten times the limit is on its way."""
    huge = b"x" * (10 * LIMIT)
    wire = request_bytes("POST", CHAT, huge) if way == "length" else chunked(huge, 50_000)
    sock.sendall(wire)
    assert read_reply(sock).status == 413


def test_a_body_just_at_the_limit_is_served(sock):
    """The limit itself is allowed, announced or chunked."""
    payload = body("ECHO fits")
    payload = payload[:-1] + b" " * (LIMIT - len(payload)) + b"}"
    assert len(payload) == LIMIT
    sock.sendall(request_bytes("POST", CHAT, payload) + chunked(payload, 70_000))
    assert [text_of(one) for one in replies(sock, 2)] == ["fits", "fits"]


def test_expect_100_continue(gateway):
    """A body that fits is asked for; one that does not is refused before it is sent."""
    payload = body("ECHO asked")
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: "
    with connected(gateway) as sock:
        sock.sendall(f"{head}{len(payload)}\r\n\r\n".encode())
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(payload)
        assert text_of(read_reply(sock)) == "asked"
    with connected(gateway) as sock:
        sock.sendall(f"{head}{LIMIT + 1}\r\n\r\n".encode())
        assert read_reply(sock).status == 413


def test_expect_waits_for_the_reply_before_it(sock):
    """100 Continue of a pipelined request does not land inside the reply that is being written."""
    payload = body("ECHO second")
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {len(payload)}\r\n\r\n"
    )
    sock.sendall(chat("SAY_TOKENS 10", stream=True, model="openai/gpt-4o") + head.encode())
    wire = b""
    while b"0\r\n\r\n" not in wire:
        wire += sock.recv(65536)
    reply, _, rest = wire.partition(b"\r\n0\r\n\r\n")
    assert b"100 Continue" not in reply
    assert reply.endswith(b"data: [DONE]\n\n")
    while not rest.endswith(b"\r\n\r\n"):
        rest += sock.recv(1000)
    assert rest == b"HTTP/1.1 100 Continue\r\n\r\n"
    sock.sendall(payload)
    assert text_of(read_reply(sock)) == "second"


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"", "byte 0"),
        (b'{"model": "m",\n "messages": [}', "line 2, column 15 (byte 29)"),
        (b'{"model": "m"', "byte 13"),
        (b'{"model": "\xff\xfe"}', "UTF-8"),
        (b"[1, 2]", "object"),
        (b'{"model": 7, "messages": []}', "model"),
        (b'{"model": "openai/gpt-4o", "model": "openai/gpt-4o", "messages": [{}]}', "more than once"),
        (b'{"model": "openai/gpt-4o", "messages": ' + b"[" * 100_000, "nested"),
    ],
    ids=["empty", "position", "cut", "utf-8", "array", "type", "twice", "deep"],
)  # fmt: skip
def test_a_bad_body_is_400_with_its_place(gateway, payload, says):
    """The caller is told where; nothing is sent, and nothing half-recorded."""
    answer = gateway.post(payload)
    assert answer.status == 400, answer
    assert says in answer.error["message"]
    assert answer.error["type"] == "invalid_request_error"
    assert gateway.sim.requests == []


# Callers that read slowly, or not at all.


def test_a_caller_that_does_not_read_bounds_what_is_held_for_it(gateway):
    """Back-pressure: of tens of megabytes the process holds a few hundred kilobytes, and the stream ends whole."""
    words = 100_000
    with connected(gateway, receive_bytes=4096) as sock:
        sock.sendall(chat(f"SAY_TOKENS {words}", stream=True))
        gateway.sim.wait_for(lambda one: one.bytes_sent > 4_000_000)
        time.sleep(0.5)
        held = gateway.inside(
            lambda: [
                (one.transport.get_write_buffer_size(), one._reply.on_pause.__self__.brakes)
                for one in gateway.running.app.connections
                if one._reply is not None and one._reply.on_pause is not None
            ]
        )
        ((unread, brakes),) = held
        assert 0 < unread < 1024 * 1024
        assert (
            brakes
        )  # the provider's socket is not read either: what it sends waits in the kernel, then at home
        sock.settimeout(30)
        stream = Stream(sock, 0.0)
        read = sum(piece.data.count(b'"content":"') for piece in stream)
        assert stream.answer.ended == "complete"
        assert read >= words
    assert stream.answer.pieces[-1].data.endswith(b"data: [DONE]\n\n")


def test_a_caller_that_reads_late_is_not_the_provider_s_fault(gateway, monkeypatch):
    """The idle deadline is the provider's, and stands still while nobody takes what it sends."""
    monkeypatch.setattr(delivery, "TICK_S", 0.2)
    words = 30_000
    with connected(gateway, receive_bytes=4096) as sock:
        sock.sendall(chat(f"SAY_TOKENS {words}", stream=True))
        gateway.sim.wait_for(lambda one: one.status == 200)

        time.sleep(2.5)
        sock.settimeout(30)
        stream = Stream(sock, 0.0)
        answer = stream.rest()
    assert answer.ended == "complete"
    assert answer.done
    assert gateway.ledger(answer.request_id).entries[0].klass == "delivered"


def test_a_stream_for_a_caller_that_left_unread_data_ends(gateway):
    """Hanging up with a full socket is hanging up: the provider is let go."""
    sock = connected(gateway, receive_bytes=4096)
    gateway.faults({"kind": "stall", "after": 30_000})
    sock.sendall(chat("SAY_TOKENS 40000", stream=True))
    gateway.sim.wait_for(lambda one: one.bytes_sent > 4_000_000)
    time.sleep(0.3)
    sock.close()
    gateway.sim.wait_for(lambda one: one.disconnected_unix_s is not None)
    assert gateway.last_record().entries[0].klass == "billed_not_delivered"
