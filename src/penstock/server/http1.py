"""HTTP/1.1 on a caller's connection: httptools in, one write out, a hang-up seen at once.

Theory
------
Inference routes are served here, protocol-level: a request is parsed in the socket's callback, its handler runs as one
task, and a reply leaves in one ``transport.write``. While a request is served the socket is still read, so that a caller
that hangs up cancels its task, and with it the upstream call, at once (behaviour 24). Pipelined requests wait in line.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import httptools
from msgspec import Struct

from penstock.base.errors import BadRequest, Draining, PenstockError
from penstock.gateway.lane import Cancels
from penstock.gateway.ports import Known
from penstock.server.reading import MAX_HEADER_BYTES, Request, RequestReader

MAX_PIPELINED = 16
LINGER_S = 2.0
TURN_BYTES = 1024 * 1024
"""Of a large body in one turn of the loop: others want theirs."""
_FLOOD_BYTES = 64 * 1024
"""Shorter pieces come no faster than they are read."""
_REASONS: dict[int, bytes] = {
    100: b"Continue", 200: b"OK", 201: b"Created", 202: b"Accepted", 204: b"No Content", 301: b"Moved Permanently",
    302: b"Found", 304: b"Not Modified", 307: b"Temporary Redirect", 400: b"Bad Request", 401: b"Unauthorized",
    402: b"Payment Required", 403: b"Forbidden", 404: b"Not Found", 405: b"Method Not Allowed", 408: b"Request Timeout",
    409: b"Conflict", 413: b"Content Too Large", 422: b"Unprocessable Content", 429: b"Too Many Requests",
    431: b"Request Header Fields Too Large", 500: b"Internal Server Error", 501: b"Not Implemented",
    502: b"Bad Gateway", 503: b"Service Unavailable", 504: b"Gateway Timeout", 529: b"Site Is Overloaded",
}  # fmt: skip
_STATUS_LINES: dict[int, bytes] = {
    status: b"HTTP/1.1 %d %s\r\n" % (status, reason) for status, reason in _REASONS.items()
}


class Handler(Protocol):
    """What the connection hands its requests to."""

    draining: bool

    @property
    def max_body_bytes(self) -> int:
        """Larger bodies are refused."""
        ...

    def quick(self, request: Request, reply: "HttpReply") -> Cancels | None:
        """Serve one request here and now, without a task; None where it takes one (``handle``)."""
        ...

    def handle(self, request: Request, reply: "HttpReply") -> Coroutine[Any, Any, None]:
        """Serve one request; must end the reply, whatever happens."""
        ...

    def refuse(self, request: Request, reply: "HttpReply", error: PenstockError) -> None:
        """Answer an error for a request that never reached a handler."""
        ...


class HttpReply(Struct, eq=False):
    """The way back to one caller (gateway.ports.Reply)."""

    _connection: "HttpConnection"
    _request: Request
    started: bool = False
    ended: bool = False
    status: int = 0
    on_pause: Callable[[], None] | None = None
    on_resume: Callable[[], None] | None = None
    _chunked: bool = False

    def __repr__(self) -> str:
        """Without the connection, which knows the caller's credential."""
        return f"HttpReply({self.status}, ended={self.ended})"

    @property
    def connection(self) -> "HttpConnection":
        """The caller's."""
        return self._connection

    @property
    def url(self) -> bytes:
        """What was asked for."""
        return self._request.url

    @property
    def known(self) -> Known:
        """What the connection remembers between its calls."""
        return self._connection.known

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """A whole reply in one write. ``head`` is header lines."""
        request, connection = self._request, self._connection
        line = self._first_line(status)
        self.ended = True
        transport = connection.transport
        if transport is not None:
            transport.write(
                b"%b%bcontent-length: %d\r\n\r\n%b"
                % (line, head, len(body), b"" if request.method == b"HEAD" else body)
            )
        connection.reply_ended(request)

    def start(self, status: int, head: bytes, first: bytes) -> None:
        """Begin a chunked reply; ``first`` leaves with the head. HTTP/1.0 reads to the connection's end instead."""
        if not self._request.chunked_ok:
            self._request.keep_alive = False
            self._connection.write(b"%b%b\r\n%b" % (self._first_line(status), head, first))
            return
        self._chunked = True
        chunk = b"%x\r\n%b\r\n" % (len(first), first) if first else b""
        self._connection.write(
            b"%b%btransfer-encoding: chunked\r\n\r\n%b" % (self._first_line(status), head, chunk)
        )

    def write(self, data: bytes) -> None:
        """One chunk, flushed at once."""
        transport = self._connection.transport
        if data and transport is not None:
            transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def forwarder(self) -> Callable[[bytes], None] | None:
        """The transport's own ``write``, without a frame between: for pieces that are chunks already."""
        transport = self._connection.transport
        return transport.write if self._chunked and transport is not None else None

    def end(self, last: bytes = b"") -> None:
        """The proper end of a chunked reply."""
        if self.ended:
            return
        self.ended = True
        if not self._chunked:
            self._connection.write(last)
        elif last:
            self._connection.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))
        else:
            self._connection.write(b"0\r\n\r\n")
        self._connection.reply_ended(self._request)

    def abort(self) -> None:
        """Cut the connection: the reply cannot be ended properly."""
        self.ended = True
        self._connection.abort()

    def _first_line(self, status: int) -> bytes:
        self.started = True
        self.status = status
        line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        if self._request.keep_alive and not self._connection.handler.draining:
            return line
        self._request.keep_alive = False
        return line + b"connection: close\r\n"


class HttpConnection(asyncio.Protocol):
    """One caller's connection."""

    __slots__ = (
        "_clogged",
        "_current",
        "_discarding",
        "_loop",
        "_queue",
        "_registry",
        "_reply",
        "_shape",
        "_take",
        "_task",
        "fed",
        "handler",
        "known",
        "last_s",
        "learned",
        "reader",
        "transport",
        "turn_bytes",
    )

    def __init__(self, handler: Handler, registry: "set[HttpConnection]") -> None:
        self.handler = handler
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self.reader = RequestReader(self, handler)
        self.transport: asyncio.Transport | None = None
        self._current: Request | None = None
        self._reply: HttpReply | None = None
        self._task: Cancels | None = None
        self._queue: deque[Request] = deque()
        self._discarding = False
        self._clogged = False  # the caller does not read what was written
        self.known = Known()
        self.last_s = 0.0
        self.fed = 0  # bytes of the piece at hand
        self.turn_bytes = 0  # of a large body, since the others had their turn
        self._shape: object = None
        self._take: Callable[[HttpConnection, Any, bytes], bool] | None = None
        self.learned = 0
        """How many of its calls the express lane has learned from."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller has connected."""
        self.transport = transport  # type: ignore[assignment] - a TCP transport reads and writes
        self._registry.add(self)
        self.last_s = self._loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone: whatever runs for it is cancelled."""
        self._registry.discard(self)
        self.transport = None
        self._queue.clear()
        if self._task is not None and self._reply is not None and not self._reply.ended:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        if self._discarding or (self._take is not None and self._take(self, self._shape, data)):
            return
        self.last_s = self._loop.time()
        self.fed = len(data)
        reader = self.reader
        if reader.again(data):
            return
        try:
            try:
                reader.feed(data)
            except httptools.HttpParserUpgrade as offer:
                reader.decline_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError:
            self.refuse(BadRequest("This is not HTTP/1.1."))
        reader.remember(data)
        if reader.reading is not None:
            reader.grew(len(data))
            if len(data) >= _FLOOD_BYTES:
                self.turn_bytes += len(data)
                if self.turn_bytes >= TURN_BYTES and self.transport is not None:
                    self.turn_bytes = 0
                    _yield_a_turn(self._loop, self.transport, self._queue)

    def expect(self, shape: object, take: "Callable[[HttpConnection, Any, bytes], bool] | None") -> None:
        """What is like ``shape`` goes by express from now on (server.express): ``take`` serves it, or leaves it."""
        self._shape, self._take = shape, take

    def eof_received(self) -> bool:
        """Half-closed: a caller that shuts its side has hung up."""
        return False

    def pause_writing(self) -> None:
        """The caller reads slowly: stop reading from the provider, and serve nothing more until it has caught up."""
        self._clogged = True
        if self._reply is not None and self._reply.on_pause is not None:
            self._reply.on_pause()

    def resume_writing(self) -> None:
        """The caller has caught up."""
        self._clogged = False
        if self._reply is not None and self._reply.on_resume is not None:
            self._reply.on_resume()
        if self._current is None:
            self._serve_next()

    def accept(self, request: Request) -> None:
        """A whole request: serve it, or let it wait for the one before. A large one is the last that is read ahead."""
        if self.transport is None or (self._discarding and request.refused is None):
            return
        if self._current is None and not self._clogged:
            self._serve(request)
            return
        self._queue.append(request)
        if len(self._queue) >= MAX_PIPELINED or len(request.body) > MAX_HEADER_BYTES:
            self.transport.pause_reading()

    def write(self, data: bytes) -> None:
        """Bytes for the caller, if there is still one."""
        if self.transport is not None:
            self.transport.write(data)

    def reply_ended(self, request: Request) -> None:
        """The current reply is whole: close, or serve the next in line."""
        self.last_s = self._loop.time()
        self._current = self._reply = self._task = None  # an idle connection keeps no body, and no call
        if self.transport is None:
            return
        if request.refused is not None:
            self._linger(self.transport)
        elif not request.keep_alive:
            self.transport.close()
        elif self._queue:
            self._serve_next()
        elif self.reader.reading is not None:
            self.ask_for_body()

    def ask_for_body(self) -> None:
        """100 Continue for a caller that waits for it, once the reply before it is out."""
        reading = self.reader.reading
        if self._current is None and reading is not None and reading.method and reading.expects():
            del reading.told[b"expect"]
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def refuse(self, error: PenstockError) -> None:
        """Answer an error, in its turn, and hang up: the rest of what comes is not understood, or too much."""
        if self._discarding:
            return
        request = self.reader.give_up()
        self._discarding = True
        request.refused = error
        request.keep_alive = False
        self.accept(request)

    def abort(self) -> None:
        """Cut the connection."""
        if self.transport is not None:
            self.transport.abort()

    def close(self) -> None:
        """Close once what was written has left."""
        if self.transport is not None:
            self.transport.close()

    @property
    def idle(self) -> bool:
        """No request is being read or served."""
        return self._current is None and self.reader.reading is None

    def overdue(self, now_s: float, stalled_s: float) -> bool:
        """A request has begun and will not become whole: nothing comes any more, or its head only drips."""
        reading = self.reader.reading
        if self._current is not None or reading is None:
            return False
        return now_s - (self.last_s if reading.method else reading.received_s) > stalled_s

    def _serve(self, request: Request) -> None:
        self._current = request
        self._reply = reply = HttpReply(self, request)
        if request.refused is not None:
            self.handler.refuse(request, reply, request.refused)
        elif self.handler.draining:
            self.handler.refuse(request, reply, Draining("The gateway is shutting down.", retry_after_s=1))
        else:
            handler = self.handler
            task = handler.quick(request, reply) or self._loop.create_task(handler.handle(request, reply))
            if self._reply is reply:  # not answered yet
                self._task = task

    def _serve_next(self) -> None:
        if self._queue and self.transport is not None and not self._clogged:
            self.transport.resume_reading()
            self._serve(self._queue.popleft())

    def _linger(self, transport: asyncio.Transport) -> None:
        """Let a caller that is still sending read our answer: a plain close would reset the connection."""
        if transport.can_write_eof():
            transport.write_eof()
        self._loop.call_later(LINGER_S, transport.abort)


def _yield_a_turn(
    loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, waiting: deque[Request]
) -> None:
    """A large body comes as fast as it is read: libuv would read 32 pieces of it before it looked at anyone else."""

    def read_on() -> None:
        # While requests wait in line, it is ``_serve_next`` that reads on.
        if not transport.is_closing() and not waiting:
            transport.resume_reading()

    if not transport.is_closing():
        transport.pause_reading()
        loop.call_soon(read_on)
