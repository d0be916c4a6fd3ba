"""The bytes of one caller's connection -> whole requests, or the reason why not: httptools' callbacks.

Rules
- A head ends within ``MAX_HEADER_BYTES``, a body within the limit in force; what does not is refused while it comes.
- A request that offers an upgrade is read again without its offer.
- A client sends the same head with every request of a connection, but for its content-length. Such a request that comes
  in one piece is taken without the parser (``again``), on the strength of the one that the parser has accepted.
"""

import re
import time
from typing import TYPE_CHECKING, Protocol

import httptools
from msgspec import Struct

from penstock.base.errors import BadRequest, BodyTooLarge, PenstockError
from penstock.gateway.ports import CACHE_BEGINNING, MISSPELT, TOLD, Inbound
from penstock.wire.http import Headers
from penstock.wire.large import GATHERED_BYTES, gather

if TYPE_CHECKING:
    from penstock.wire._large import Gather

MAX_HEADER_BYTES = 64 * 1024
_SMALL_BYTES = 1024
"""Pieces of a body below this are gathered: as objects of their own they would weigh twenty times their bytes."""
_READ = TOLD | {b"connection"}
_MAX_MISSES = 4
"""After so many heads in a row that were not the one before, a connection's heads are no longer remembered."""
_MAX_LIKE_BYTES = 8 * 1024
"""Longer heads are not remembered: an idle connection would hold them for as long as it is kept."""
_MAX_DIGITS = 12
_LENGTH = re.compile(rb"(\r\ncontent-length:[ \t]*)([0-9]+)(?=\r\n)", re.IGNORECASE)


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
    gathered: "Gather | None" = None
    """Of a large body: instead of ``chunks``."""
    inbound: Inbound | None = None
    """What the gateway has made of it, where it has looked already."""

    def __repr__(self) -> str:
        """Without headers and body: they hold secrets and people's words."""
        return f"Request({self.method!r}, {self.url!r})"

    def expects(self) -> bool:
        """The caller waits for 100 Continue before it sends the body."""
        return self.told.get(b"expect", b"").lower() == b"100-continue"


class Limits(Protocol):
    """Whose limits hold."""

    @property
    def max_body_bytes(self) -> int:
        """Larger bodies are refused."""
        ...


class Taker(Protocol):
    """The connection that a reader works for."""

    fed: int

    def accept(self, request: Request) -> None:
        """A whole request."""
        ...

    def refuse(self, error: PenstockError) -> None:
        """What comes cannot become one."""
        ...

    def ask_for_body(self) -> None:
        """100 Continue."""
        ...


class RequestReader:
    """httptools' callbacks: bytes of one connection -> whole requests, or the reason why not."""

    __slots__ = (
        "_connection",
        "_like",
        "_limits",
        "_misses",
        "_parser",
        "_prefix",
        "_suffix",
        "_torn",
        "_urls",
        "feed",
        "on_url",
        "reading",
        "taken",
    )

    def __init__(self, connection: Taker, handler: Limits) -> None:
        self._connection = connection
        self._limits = handler
        self._urls: list[bytes] = []
        self.on_url = self._urls.append
        """A piece of the target. The list's own method: httptools calls it without a Python frame."""
        self._parser = httptools.HttpRequestParser(self)
        self.feed = self._parser.feed_data
        self.reading: Request | None = None
        self.taken: Request | None = None
        """The last whole request that the parser gave."""
        self._like: Request | None = None
        self._prefix = self._suffix = b""
        """What stands before and after the digits of content-length in the head of ``_like``."""
        self._misses = 0
        self._torn = False
        """The last piece ended within a request: what the next one begins with is no head of its own."""

    def again(self, data: bytes) -> bool:
        """Take ``data``, if it is one whole request with the head of the one before, but for its content-length."""
        like, prefix, suffix = self._like, self._prefix, self._suffix
        if like is None or self.reading is not None or not data.startswith(prefix):
            return False
        start = len(prefix)
        end = data.find(b"\r", start, start + _MAX_DIGITS)
        if end < 0 or not data.startswith(suffix, end):
            return False
        length, body_at = data[start:end], end + len(suffix)
        size = len(data) - body_at
        if not length.isdigit() or int(length) != size or not 0 < size <= self._limits.max_body_bytes:
            return False
        self._misses = 0
        request = Request(time.monotonic(), like.method, like.url, like.headers)
        request.body, request.told, request.measured = data[body_at:], like.told, True
        self._connection.accept(request)
        return True

    def remember(self, data: bytes) -> None:
        """``data`` has just been read by the parser: where it was one whole request, the next one may be like it."""
        request, self.taken = self.taken, None
        torn, self._torn = self._torn, self.reading is not None
        if request is None or torn or self._misses > _MAX_MISSES:
            return  # the end of one that came in pieces may look like a whole one, and be half a head, or a body
        self._misses += 1
        self._like = None
        body = request.body
        head = data[: len(data) - len(body)]
        if (
            not (body and request.measured and request.keep_alive and request.chunked_ok)
            or request.upgrades
            or request.refused is not None
            or self.reading is not None
            or len(head) > _MAX_LIKE_BYTES
            or head.find(b"\r\n\r\n") != len(head) - 4
            or not head.startswith(request.method + b" ")
            or b"expect" in request.told
        ):
            return
        found = _LENGTH.findall(head)
        if len(found) != 1 or int(found[0][1]) != len(body):
            return
        before, digits = found[0]
        at = head.index(before) + len(before)
        self._prefix, self._suffix = head[:at], head[at + len(digits) :]
        self._like = Request(0.0, request.method, request.url, request.headers)
        self._like.told = request.told

    def head_like(self, told: dict[bytes, bytes]) -> tuple[bytes, bytes] | None:
        """What stands before and after the digits of content-length in the remembered head, if ``told`` is of it."""
        like = self._like
        return None if like is None or like.told is not told else (self._prefix, self._suffix)

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
        elif name.startswith(CACHE_BEGINNING):
            reading.told.setdefault(MISSPELT, name)

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
            size = int(length)
            if size > self._limits.max_body_bytes:
                self._connection.refuse(self._too_large())
            elif size > GATHERED_BYTES:
                reading.gathered = gather(size)
            reading.measured = True
        if b"expect" in told and reading.refused is None and reading.expects():
            self._connection.ask_for_body()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        reading = self.reading
        if reading is None:
            return
        if reading.gathered is not None:
            reading.gathered.add(body)
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
            if reading.size > self._limits.max_body_bytes:
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
            gathered, request.gathered = request.gathered, None
            request.body = b"".join(chunks) if gathered is None else gathered.take()
            chunks.clear()
            self.taken = request
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
        limit = self._limits.max_body_bytes
        return BodyTooLarge(
            f"The body is over {limit} bytes.", hint="Send less, or raise server.max_body_bytes."
        )


def _head_bytes(request: Request) -> int:
    return len(request.url) + sum(len(name) + len(value) for name, value in request.headers)


def _head_too_large() -> BadRequest:
    return BadRequest(f"The request's headers are over {MAX_HEADER_BYTES} bytes.", status=431)
