"""HTTP/1.1 on a caller's connection: httptools in, one write out, a hang-up seen at once.

Theory
------
Inference routes are served here, protocol-level: a request is parsed in the socket's callback, its handler runs as one
task, and a reply leaves in one ``transport.write``. While a request is served the socket is still read, so that a caller
that hangs up cancels its task, and with it the upstream call, at once (behaviour 24). Pipelined requests wait in line.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import httptools
from msgspec import Struct

from penstock.base.errors import BadRequest, BodyTooLarge, Draining, PenstockError
from penstock.gateway.ports import TOLD, Known
from penstock.wire.http import Headers

MAX_HEADER_BYTES = 64 * 1024
MAX_PIPELINED = 16
_SMALL_BYTES = 1024
"""Pieces of a body below this are gathered: as objects of their own they would weigh twenty times their bytes."""
LINGER_S = 2.0
_REASONS: dict[int, bytes] = {
    100: b"Continue", 200: b"OK", 201: b"Created", 202: b"Accepted", 204: b"No Content", 301: b"Moved Permanently",
    302: b"Found", 304: b"Not Modified", 307: b"Temporary Redirect", 400: b"Bad Request", 401: b"Unauthorized",
    402: b"Payment Required", 403: b"Forbidden", 404: b"Not Found", 405: b"Method Not Allowed", 408: b"Request Timeout",
    409: b"Conflict", 413: b"Content Too Large", 422: b"Unprocessable Content", 429: b"Too Many Requests",
    431: b"Request Header Fields Too Large", 500: b"Internal Server Error", 501: b"Not Implemented",
    502: b"Bad Gateway", 503: b"Service Unavailable", 504: b"Gateway Timeout", 529: b"Site Is Overloaded",
}  # fmt: skip
_READ = TOLD | {b"connection"}
_STATUS_LINES: dict[int, bytes] = {
    status: b"HTTP/1.1 %d %s\r\n" % (status, reason) for status, reason in _REASONS.items()
}


class Request(Struct, eq=False):
    """One parsed request. ``received_s`` is the monotonic time of its first byte.

    A Struct, like HttpReply: both are made for every call, and their defaults are set without a line of Python.
    """

    received_s: float
    method: bytes = b""
    url: bytes = b""
    headers: Headers = []
    chunks: list[bytes | bytearray] = []
    size: int = 0
    """Of the body so far, where no content-length says it."""
    seen: int = 0
    body: bytes = b""
    keep_alive: bool = True
    told: dict[bytes, bytes] = {}
    measured: bool = False
    """Its content-length is known, and below the limit."""
    chunked_ok: bool = True
    upgrades: bool = False
    head_bytes: int = -1
    """Read of the socket since the head began, but for its first piece; -1 before that piece is counted."""
    refused: PenstockError | None = None

    def __repr__(self) -> str:
        """Without headers and body: they hold secrets and people's words."""
        return f"Request({self.method!r}, {self.url!r})"

    def expects(self) -> bool:
        """The caller waits for 100 Continue before it sends the body."""
        return self.told.get(b"expect", b"").lower() == b"100-continue"


class Handler(Protocol):
    """What the connection hands its requests to."""

    draining: bool

    @property
    def max_body_bytes(self) -> int:
        """Larger bodies are refused."""
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
        if data:
            self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

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


class RequestReader:
    """httptools' callbacks: bytes of one connection -> whole requests, or the reason why not."""

    __slots__ = ("_connection", "_handler", "_parser", "_urls", "feed", "on_url", "reading")

    def __init__(self, connection: "HttpConnection", handler: Handler) -> None:
        self._connection = connection
        self._handler = handler
        self._urls: list[bytes] = []
        self.on_url = self._urls.append
        """A piece of the target. The list's own method: httptools calls it without a Python frame."""
        self._parser = httptools.HttpRequestParser(self)
        self.feed = self._parser.feed_data
        self.reading: Request | None = None

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.reading = Request(time.monotonic())
        self._urls.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        reading = self.reading
        if reading is None or reading.method:
            return  # a trailer: nothing of ours reads one, and none may pass for a header
        name = name.lower()
        reading.headers.append((name, value))
        if name in _READ:
            reading.told.setdefault(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        reading = self.reading
        if reading is None:
            return
        urls, parser, told = self._urls, self._parser, reading.told
        reading.url = urls[0] if len(urls) == 1 else b"".join(urls)
        reading.method = parser.get_method()
        reading.keep_alive = parser.should_keep_alive()
        if not reading.keep_alive or told.pop(b"connection", None) is not None:
            # Only here may it be HTTP/1.0, which by itself does not keep alive; asking the parser is dear.
            reading.chunked_ok = parser.get_http_version() != "1.0"
        reading.upgrades = b"upgrade" in told
        length = told.get(b"content-length", b"")
        in_pieces = reading.head_bytes >= 0
        if (in_pieces or self._connection.fed > MAX_HEADER_BYTES) and _head_bytes(reading) > MAX_HEADER_BYTES:
            self._connection.refuse(_head_too_large())
        elif length.isdigit():
            if int(length) > self._handler.max_body_bytes:
                self._connection.refuse(self._too_large())
            reading.measured = True
        if b"expect" in told and reading.refused is None and reading.expects():
            self._connection.ask_for_body()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        reading = self.reading
        if reading is None:
            return
        chunks = reading.chunks
        if chunks and len(body) < _SMALL_BYTES:
            if isinstance(chunks[-1], bytes):
                chunks.append(bytearray())
            chunks[-1] += body
        else:
            chunks.append(body)
        if not reading.measured:
            reading.size += len(body)
            if reading.size > self._handler.max_body_bytes:
                self._connection.refuse(self._too_large())

    def on_message_complete(self) -> None:
        """The request is whole; one that offers an upgrade is read again: see ``decline_upgrade``."""
        request = self.reading
        if (
            request is not None
            and (request.upgrades or request.method == b"CONNECT")
            and self._parser.should_upgrade()
        ):
            return
        self.reading = None
        if request is not None:
            chunks = request.chunks
            request.body = b"".join(chunks)  # of one piece: the piece itself
            chunks.clear()
            self._connection.accept(request)

    def decline_upgrade(self, rest: bytes) -> None:
        """The same request without its offer, which a server may ignore (RFC 9110, 7.8): llhttp skips its body."""
        request, self.reading = self.reading, None
        if request is None or request.method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT")
        head = [b"%b %b HTTP/1.1\r\n" % (request.method, request.url)]
        head += [
            b"%b: %b\r\n" % pair for pair in request.headers if pair[0] not in (b"connection", b"upgrade")
        ]
        if not request.keep_alive:
            head.append(b"connection: close\r\n")
        self._parser = httptools.HttpRequestParser(self)
        self.feed = self._parser.feed_data
        self.feed(b"".join((*head, b"\r\n", rest)))

    def give_up(self) -> Request:
        """What was being read, with as much of its target as came: it will be refused."""
        request, self.reading = self.reading, None
        if request is None:
            return Request(time.monotonic())
        request.url = request.url or b"".join(self._urls)
        return request

    def grew(self, size: int) -> None:
        """A piece of ``size`` bytes came and the request is not whole: a head must end within its limit."""
        reading = self.reading
        if reading is None:
            return
        if reading.method:
            self._grew_body(reading, size)
            return
        reading.head_bytes += 1 if reading.head_bytes < 0 else size
        if reading.refused is None and reading.head_bytes > MAX_HEADER_BYTES:
            reading.refused = _head_too_large()
        if reading.refused is not None:
            self._connection.refuse(reading.refused)

    def _grew_body(self, reading: Request, size: int) -> None:
        """Chunk extensions and trailers are no body: of them a chunked one may bring as much as a head at a stretch."""
        if reading.measured:
            return
        if reading.size != reading.seen:
            reading.seen, reading.head_bytes = reading.size, 0
            return
        reading.head_bytes += size
        if reading.head_bytes > MAX_HEADER_BYTES:
            self._connection.refuse(_head_too_large())

    def _too_large(self) -> BodyTooLarge:
        limit = self._handler.max_body_bytes
        return BodyTooLarge(
            f"The body is over {limit} bytes.", hint="Send less, or raise server.max_body_bytes."
        )


def _head_bytes(request: Request) -> int:
    return len(request.url) + sum(len(name) + len(value) for name, value in request.headers)


def _head_too_large() -> BadRequest:
    return BadRequest(f"The request's headers are over {MAX_HEADER_BYTES} bytes.", status=431)


class HttpConnection(asyncio.Protocol):
    """One caller's connection."""

    __slots__ = (
        "_clogged",
        "_current",
        "_discarding",
        "_loop",
        "_queue",
        "_reader",
        "_registry",
        "_reply",
        "_task",
        "fed",
        "handler",
        "known",
        "last_s",
        "transport",
    )

    def __init__(self, handler: Handler, registry: "set[HttpConnection]") -> None:
        self.handler = handler
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader(self, handler)
        self.transport: asyncio.Transport | None = None
        self._current: Request | None = None
        self._reply: HttpReply | None = None
        self._task: asyncio.Task[None] | None = None
        self._queue: deque[Request] = deque()
        self._discarding = False
        self._clogged = False  # the caller does not read what was written
        self.known = Known()
        self.last_s = 0.0
        self.fed = 0  # bytes of the piece at hand

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
        if self._discarding:
            return
        self.last_s = self._loop.time()
        self.fed = len(data)
        reader = self._reader
        try:
            try:
                reader.feed(data)
            except httptools.HttpParserUpgrade as offer:
                reader.decline_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError:
            self.refuse(BadRequest("This is not HTTP/1.1."))
        if reader.reading is not None:
            reader.grew(len(data))

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
        self._current = self._reply = None  # an idle connection keeps no body
        if self.transport is None:
            return
        if request.refused is not None:
            self._linger(self.transport)
        elif not request.keep_alive:
            self.transport.close()
        elif self._queue:
            self._serve_next()
        elif self._reader.reading is not None:
            self.ask_for_body()

    def ask_for_body(self) -> None:
        """100 Continue for a caller that waits for it, once the reply before it is out."""
        reading = self._reader.reading
        if self._current is None and reading is not None and reading.method and reading.expects():
            del reading.told[b"expect"]
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def refuse(self, error: PenstockError) -> None:
        """Answer an error, in its turn, and hang up: the rest of what comes is not understood, or too much."""
        if self._discarding:
            return
        request = self._reader.give_up()
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
        return self._current is None and self._reader.reading is None

    def overdue(self, now_s: float, stalled_s: float) -> bool:
        """A request has begun and will not become whole: nothing comes any more, or its head only drips."""
        reading = self._reader.reading
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
            self._task = self._loop.create_task(self.handler.handle(request, reply))

    def _serve_next(self) -> None:
        if self._queue and self.transport is not None and not self._clogged:
            self.transport.resume_reading()
            self._serve(self._queue.popleft())

    def _linger(self, transport: asyncio.Transport) -> None:
        """Let a caller that is still sending read our answer: a plain close would reset the connection."""
        if transport.can_write_eof():
            transport.write_eof()
        self._loop.call_later(LINGER_S, transport.abort)
