"""One socket to a provider: request bytes out, the reply parsed in the socket's own callback.

Theory. A Connection is an asyncio.Protocol that carries one exchange after another. What arrived in one read of the
socket is handed on in one call, so that a burst of chunks costs one pass of the reader and not fifty.

The shortcut. Who takes the pieces may know whole chunks better than the parser does. While the parser stands exactly
between two chunks, what comes is offered to the exchange's ``shortcut`` first: if that takes it, it was so many whole
chunks, and the parser need not know of them; if not, the parser has missed nothing.

The keep-alive race. A server may close an idle connection in the moment in which we write to it. When a *reused*
connection ends before any byte of the reply, and soon after the request (``RACE_S``), the request is sent once more
over a fresh connection. Later than that the server was probably at work on it (and perhaps bills for it): then it is
UpstreamUnreachable, and whether to try again is policy, which does not live here.

Rules
- Any byte that no exchange asked for closes the connection: a second reply in the pool would be somebody else's.
- A reply's head, a run of trailers, of chunk extensions or of 1xx replies is at most ``MAX_HEAD_BYTES`` long.
- Only a reply with neither content-length nor chunks may end with the connection (RFC 9112, 6.3).
"""

import asyncio
from collections.abc import Iterator
from functools import partial
from time import monotonic
from typing import Final, Protocol, cast

import httptools

from penstock.base.errors import PenstockError, UpstreamMalformed
from penstock.net.exchange import Exchange, read_head, tell
from penstock.net.faults import PARSER_FAULTS, malformed, truncated, unreachable
from penstock.net.line import Line
from penstock.wire.http import header

_SPACE: Final = 0x20
RACE_S: Final = 1.0
MAX_HEAD_BYTES: Final = 64 * 1024
KEEP_IDLE_S: Final = 55.0
"""Below the 60 s after which common load balancers close an idle connection."""

_SLICE_BYTES: Final = 256 * 1024
_TURN_BYTES: Final = 1024 * 1024  # of a large body in one turn of the loop; others want theirs


class Pool(Protocol):
    """What a connection tells the Transport that owns it."""

    where: str

    def released(self, connection: "Connection") -> None:
        """Its exchange is complete and it may carry another."""
        ...

    def dropped(self, connection: "Connection") -> None:
        """It is closed. Told once."""
        ...

    def replay(self, exchange: Exchange) -> None:
        """Send it again over a fresh connection."""
        ...


class Connection(Line, asyncio.Protocol):
    """See the module. ``exchange`` is None while idle; ``alive`` until closed by either side."""

    __slots__ = (
        "_barren",
        "_began_s",
        "_behind",
        "_complete",
        "_encoding",
        "_framed",
        "_heads",
        "_in_body",
        "_interim",
        "_keep",
        "_loop",
        "_outbox",
        "_parser",
        "_pieces",
        "_pool",
        "_seam",
        "_write_paused",
        "alive",
        "expires_s",
        "keep_s",
        "lost",
        "on_body",
        "on_chunk_complete",
        "on_chunk_header",
        "pooled",
        "transport",
    )

    def __init__(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._pool = pool
        self._loop = loop
        self.transport: asyncio.Transport | None = None
        self.alive = False
        self.pooled = False  # set by the Transport when it counts this connection as open
        self.keep_s = KEEP_IDLE_S
        self.expires_s = 0.0
        self.lost: asyncio.Future[None] | None = None  # for who waits until the socket is gone
        self._pieces: list[bytes] = []
        # httptools calls the list's own append: no Python frame for a chunk.
        self.on_body = self._pieces.append
        self._heads: list[bytes] = []
        self._encoding: bytes | None = None
        self._began_s = 0.0
        self._barren = 0  # bytes since the last piece of a body
        self._in_body = False
        self._framed = False
        self._interim = False
        self._complete = False
        self._keep = False
        self._outbox: memoryview | None = None
        self._behind: Iterator[memoryview] = iter(())  # what comes after it
        self._write_paused = False
        # The last callback was the end of a chunk. The parser calls these without a Python frame, too.
        self._seam = False
        self.on_chunk_header = partial(setattr, self, "_seam", False)
        self.on_chunk_complete = partial(setattr, self, "_seam", True)
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        del self.on_chunk_header, self.on_chunk_complete  # the parser has them; here they would be a cycle

    # The way out.

    def begin(self, exchange: Exchange, *, reused: bool) -> None:
        """Write the request; the reply will come to ``exchange``."""
        transport = self.transport
        assert transport is not None
        self.exchange = exchange
        self._began_s = now = monotonic()
        self._barren = 0
        self._in_body = self._framed = self._complete = self._keep = self._seam = False
        exchange.begun(self, now, reused=reused)
        transport.write(exchange.head)
        if exchange.body or exchange.pieces:
            self._behind = iter(exchange.pieces or (memoryview(exchange.body),))
            self._outbox = next(self._behind, None)
            self._push()

    def _push(self) -> None:
        """Write the large body on, as far as the socket takes it and not more than a turn's worth."""
        for _ in range(_TURN_BYTES // _SLICE_BYTES):
            rest, transport = self._outbox, self.transport
            if rest is None or transport is None or self._write_paused:
                return
            if len(rest) > _SLICE_BYTES:
                self._outbox = rest[_SLICE_BYTES:]
            else:
                self._outbox = next(self._behind, None)
            transport.write(rest[:_SLICE_BYTES])
        if self._outbox is not None and not self._write_paused:
            self._loop.call_soon(self._push)

    def pause_writing(self) -> None:
        """asyncio: the socket takes no more for now."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """asyncio: it does again."""
        self._write_paused = False
        self._push()

    # The way in.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected, TLS and all."""
        self.transport = cast("asyncio.Transport", transport)
        self.alive = True

    def received(self, data: bytes) -> None:
        """Bytes that no shortcut took (net.line)."""
        exchange, parser = self.exchange, self._parser
        if exchange is None or parser is None:
            self.close()
            return
        if self._in_body:
            exchange.touched = True
        else:
            self._barren += len(data)
            self._heads.append(data)
        try:
            parser.feed_data(data)
        except PARSER_FAULTS as error:
            self._refuse(exchange, error)
            return
        pieces = self._pieces
        if pieces:
            self._barren = 0
            self._deliver(exchange, pieces)
            if self.exchange is not exchange:
                return
        elif not self._complete:
            if self._in_body:
                self._barren += len(data)
            if self._barren > MAX_HEAD_BYTES:
                exchange.fail(UpstreamMalformed(f"{self._pool.where} sent headers without end."))
                return
        if self._complete:
            self._finish(exchange)
        elif exchange.shortcut is not None or self.shortcut is not None:
            between = self._seam and exchange.plain and data.endswith(b"\r\n")
            self.shortcut = exchange.shortcut if between else None

    def _deliver(self, exchange: Exchange, pieces: list[bytes]) -> None:
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        sink = exchange.sink
        if sink is None:
            exchange.hold(piece)
            return
        try:
            sink(piece)
        except BaseException as error:
            exchange.fail(error)  # pump raises it, where it can be handled
            if not isinstance(error, Exception):
                raise

    def _refuse(self, exchange: Exchange, error: Exception) -> None:
        """The parser gave up. What came before is still delivered, and a reply complete before is complete."""
        if self._pieces:
            self._deliver(exchange, self._pieces)
            if self.exchange is not exchange:
                return
        if self._complete:
            self._keep = False
            self._finish(exchange)
            return
        cause = error.__context__
        exchange.fail(cause if isinstance(cause, PenstockError) else malformed(error, self._pool.where))

    def _finish(self, exchange: Exchange) -> None:
        self.exchange = self.shortcut = None
        if exchange.brakes and self.transport is not None:
            self.transport.resume_reading()
        exchange.completed()
        if self._keep and self._outbox is None:
            self._pool.released(self)
        else:
            self.close()
        tell(exchange)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: closed, by whomever."""
        exchange, self.exchange = self.exchange, None
        where = self._pool.where
        if exchange is not None:
            exchange.connection = None
            silent = not self._in_body and self._barren == 0
            if self._in_body and exc is None and not self._framed:
                exchange.completed()
                tell(exchange)
            elif self._in_body:
                exchange.fail(truncated(exc, where))
            elif (
                silent and exchange.reused and not exchange.replayed and monotonic() - self._began_s < RACE_S
            ):
                self._pool.replay(exchange)
            else:
                exchange.fail(unreachable(exc, where, "waiting for its reply"))
        self._forget()
        if self.lost is not None and not self.lost.done():
            self.lost.set_result(None)

    def close(self) -> None:
        """Close the socket now, with nothing more sent. Idempotent."""
        transport = self.transport
        self._forget()
        if transport is not None:
            transport.abort()

    def _forget(self) -> None:
        self.transport = None
        self._outbox = None
        self._behind = iter(())
        self._parser = self.shortcut = None  # they hold our bound methods, and the exchange's user: cycles
        if self.alive:
            self.alive = False
            self._pool.dropped(self)

    # httptools' callbacks.

    def on_message_begin(self) -> None:
        """A reply begins; a second one was not asked for, and its body must not be taken for ours."""
        if self._complete:
            raise UpstreamMalformed(f"{self._pool.where} sent a second reply, which was not asked for.")

    def on_headers_complete(self) -> None:
        """The head is complete; trailers, which nothing of ours reads, do not come here."""
        parser, exchange = self._parser, self.exchange
        if parser is None or exchange is None:
            return
        heads = self._heads
        raw = heads[0] if len(heads) == 1 else b"".join(heads)
        heads.clear()
        if raw[0] < _SPACE:
            raw = raw.lstrip(b"\r\n")
        # The parser takes no other line ends than CR LF, so that this is where the head ends for it, too.
        end = raw.find(b"\r\n\r\n")
        status = parser.get_status_code()
        where = self._pool.where
        if end > MAX_HEAD_BYTES:
            raise UpstreamMalformed(f"{where} sent more than {MAX_HEAD_BYTES} bytes of headers.")
        if status < 200:
            if status == 101:
                raise UpstreamMalformed(f"{where} switched protocols, which was not asked for.")
            self._interim = True
            heads.append(raw[end + 4 :])
            return
        self._in_body = True
        self._keep = parser.should_keep_alive()
        if not self._keep and not parser.get_http_version().startswith("1."):
            raise UpstreamMalformed(f"{where} did not answer in HTTP/1.1.")
        raw = raw[:end]
        exchange.headed(status, raw, self._read_framing(raw))
        if exchange.bodyless:
            # The parser does not know that this was HEAD, and would wait for the body that content-length announces.
            self._complete = True
            self._keep = False

    def _read_framing(self, raw: bytes) -> bytes | None:
        """What a head says of its body's end and of the connection's; its content-encoding."""
        # find, not "in": for that, CPython first takes the needle for an int and words an error about it.
        find = raw.lower().find
        self._framed = find(b"\r\ncontent-length:") >= 0
        if find(b"\r\ntransfer-encoding:") >= 0:
            self._framed = b"chunked" in (header(read_head(raw), b"transfer-encoding") or b"").lower()
        if find(b"\r\nkeep-alive:") >= 0:
            for part in (header(read_head(raw), b"keep-alive") or b"").lower().split(b","):
                key, _, number = part.strip().partition(b"=")
                if key == b"timeout" and number.isdigit():
                    # One second earlier than the server means to close.
                    self.keep_s = min(KEEP_IDLE_S, max(0, int(number[:9]) - 1))
        return header(read_head(raw), b"content-encoding") if find(b"\r\ncontent-encoding:") >= 0 else None

    def on_message_complete(self) -> None:
        """The body is complete."""
        if self._interim:
            self._interim = False
        else:
            self._complete = True
