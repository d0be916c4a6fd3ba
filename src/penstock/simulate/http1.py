"""The HTTP/1.1 server side of one connection: parse, hand over, perform the steps of the reply.

Theory
------
No task per request: an application gives either the bytes of the whole answer, written at once, or an iterator of
steps, walked by the event loop's timers. So a waiting reply costs one timer, and a caller that hangs up is noticed
in ``connection_lost`` at once, whatever the reply was doing.

Each step's time is counted from the one before it, never from "now": a stream does not drift.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from http import HTTPStatus
from typing import NamedTuple, Protocol, cast

import httptools
from msgspec import Struct

from penstock.simulate.log import Received
from penstock.wire.http import Headers

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus} | {529: b"Overloaded"}
_ABORT_ON_CLOSE = struct.pack("ii", 1, 0)


class Op(IntEnum):
    """What a step does. RAW goes out as it is; BODY gets the reply's framing."""

    RAW = 0
    BODY = 1
    END = 2
    CUT = 3
    RESET = 4
    HANG = 5


class Step(NamedTuple):
    """Wait, then act."""

    wait_s: float
    op: Op
    data: bytes = b""


class RawRequest(Struct, gc=False):
    """One parsed request. ``chunked_ok`` is False for HTTP/1.0, whose body ends with the connection."""

    method: str
    target: str
    headers: Headers
    body: bytes
    keep_alive: bool
    chunked_ok: bool
    connection: int


class Performance(Struct):
    """What to send: ``whole`` at once, or ``steps``. ``chunked`` is the framing of BODY steps."""

    received: Received
    whole: bytes = b""
    steps: Iterator[Step] | None = None
    chunked: bool = False
    keep_alive: bool = True


class Application(Protocol):
    """Who answers."""

    def perform(self, request: RawRequest) -> Performance:
        """The answer. Never raises."""
        ...

    def unix_s(self) -> float:
        """Now, for the log."""
        ...


def head_bytes(
    status: int, headers: Headers, *, length: int | None, chunked: bool, keep_alive: bool
) -> bytes:
    """A reply's head."""
    parts = [b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"Status"))]
    parts += [b"%b: %b\r\n" % pair for pair in headers]
    if length is not None:
        parts.append(b"content-length: %d\r\n" % length)
    elif chunked:
        parts.append(b"transfer-encoding: chunked\r\n")
    parts.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
    return b"".join(parts)


class Connection(asyncio.Protocol):
    """One caller."""

    def __init__(self, app: Application, serial: int, registry: "set[Connection]") -> None:
        self._app = app
        self._serial = serial
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._waiting: deque[RawRequest] = deque()
        self._current: Performance | None = None
        self._next: Step | None = None
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._advancing = False

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the socket."""
        # uvloop's transports do not derive from asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)
        self._registry.add(self)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what is not HTTP is answered 400 and closed."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # a bug of ours, not the caller's
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.write(
                    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                )
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # asyncio's port
        """The caller is gone, or we have closed: write down which."""
        self._registry.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        current, self._current = self._current, None
        self._transport = None
        self._waiting.clear()
        if current is not None:
            current.received.disconnected_unix_s = self._app.unix_s()

    def pause_writing(self) -> None:
        """The caller reads slowly."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on where we stopped."""
        self._paused = False
        if self._current is not None and self._timer is None and not self._advancing:
            self._advance()

    def abort(self) -> None:
        """Close now (the simulator stops)."""
        if self._transport is not None:
            self._transport.abort()

    # The parser's side.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._target, self._headers, self._body = b"", [], []

    def on_url(self, url: bytes) -> None:
        """The target, possibly in pieces."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        name = name.lower()
        self._headers.append((name, value))
        if name == b"expect" and value.lower() == b"100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """A whole request: answer it, after those before it."""
        request = RawRequest(
            self._parser.get_method().decode("latin-1"),
            self._target.decode("latin-1"),
            self._headers,
            self._body[0] if len(self._body) == 1 else b"".join(self._body),
            self._parser.should_keep_alive(),
            self._parser.get_http_version() != "1.0",
            self._serial,
        )
        if self._current is not None or self._waiting:
            self._waiting.append(request)
        else:
            self._begin(request)

    # The reply's side.

    def _begin(self, request: RawRequest) -> None:
        performance = self._app.perform(request)
        self._current = performance
        if performance.steps is None:
            self._write(performance.whole)
            self._finish()
            return
        self._due_s = self._loop.time()
        self._advance()

    def _advance(self) -> None:
        """Perform the steps that are due; set the timer for the next."""
        self._advancing = True
        try:
            while (current := self._current) is not None and not self._paused:
                step = self._next
                if step is None:
                    step = next(current.steps, None) if current.steps else None
                    if step is None:
                        self._finish()
                        return
                    if step.wait_s > 0:
                        self._due_s += step.wait_s
                        if self._due_s > self._loop.time():
                            self._next = step
                            self._timer = self._loop.call_at(self._due_s, self._fire)
                            return
                self._next = None
                if not self._act(step, current):
                    return
        finally:
            self._advancing = False

    def _fire(self) -> None:
        self._timer = None
        self._advance()

    def _act(self, step: Step, current: Performance) -> bool:
        """Do one step; False if the walk ends here."""
        op = step.op
        if op is Op.BODY:
            data = step.data
            if data:
                current.received.events_sent += 1
                self._write(b"%x\r\n%b\r\n" % (len(data), data) if current.chunked else data)
            return True
        match op:
            case Op.RAW:
                if step.data:
                    self._write(step.data)
            case Op.END:
                if current.chunked:
                    self._write(b"0\r\n\r\n")
            case Op.HANG:
                self._next = step
                return False
            case _:
                self._close(current, reset=op is Op.RESET)
                return False
        return True

    def _write(self, data: bytes) -> None:
        current, transport = self._current, self._transport
        if current is None or transport is None:
            return
        received = current.received
        if received.first_byte_unix_s is None:
            received.first_byte_unix_s = self._app.unix_s()
        received.bytes_sent += len(data)
        transport.write(data)

    def _finish(self) -> None:
        current, self._current = self._current, None
        self._next = None
        if current is None:
            return
        current.received.ended_unix_s = self._app.unix_s()
        if not current.keep_alive and self._transport is not None:
            self._transport.close()
        elif self._waiting:
            self._loop.call_soon(self._begin_waiting)

    def _begin_waiting(self) -> None:
        if self._current is None and self._waiting and self._transport is not None:
            self._begin(self._waiting.popleft())

    def _close(self, current: Performance, *, reset: bool) -> None:
        self._current = None
        current.received.ended_unix_s = self._app.unix_s()
        if self._transport is None:
            return
        if reset:
            sock = self._transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_ON_CLOSE)
            self._transport.abort()
        else:
            self._transport.close()
