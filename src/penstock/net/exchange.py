"""One request and its reply: waited for with one future, read whole or pumped piece by piece.

Theory. No task and no timer belong to an exchange. Whoever awaits it awaits ``waiter``; the socket's callbacks move
it on; the Transport's sweeper compares the clock with ``due`` and ``total_due``.

Rules
- Every end goes through ``completed`` or ``fail``: it leaves the sweeper's set and lets go of its connection.
- An exception never travels in the future (nobody may be left to retrieve it): it is kept in ``error`` and raised by
  who awaits. Whoever is cancelled while awaiting closes the socket at once.
- Where bytes arrive no clock is read: ``touched`` asks the sweeper to move ``due`` on.
- A body that nobody reads yet is held up to ``HOLD_BYTES``; then the socket waits. So much of an error page is gathered
  for a listener; more is a failure, and the connection closes.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from msgspec import Struct

from penstock.base.errors import TimeoutPhase, UpstreamMalformed, UpstreamTruncated
from penstock.net import decode
from penstock.wire.http import Headers, header

HOLD_BYTES: Final = 1024 * 1024

_OK: Final = 200
_REDIRECT: Final = 300
_PAUSED: Final = 1  # by who takes the pieces
_UNREAD: Final = 2  # by the bound on what is held
_HALTED: Final = 4  # by who decides whether it goes on


class Deadlines(Struct, frozen=True):
    """Limits for one attempt, in seconds from their own beginning.

    ``connect_s``: DNS, TCP, TLS and proxy, and the wait for a free connection. ``first_byte_s``: from the request to
    the reply's head. ``idle_s``: between two reads of a body; it does not run while paused. ``total_s``: all of it.
    """

    connect_s: float
    first_byte_s: float
    idle_s: float
    total_s: float


class NeverSent(asyncio.CancelledError):
    """Cancelled before a byte of the request was written: the provider knows of nothing, and bills nothing."""


class Sink(Protocol):
    """Takes the pieces of a body, called from the socket's callback: quick, and it may raise."""

    def __call__(self, piece: bytes, /) -> None:
        """One piece, never empty."""
        ...


class Line(Protocol):
    """What an exchange asks of its connection."""

    transport: asyncio.Transport | None
    exchange: "Exchange | None"

    def close(self) -> None:
        """Close the socket now."""
        ...


class Owner(Protocol):
    """What an exchange asks of its Transport."""

    where: str

    def ended(self, exchange: "Exchange") -> None:
        """Over, well or not: no more deadlines, no place in the queue, no dialling for it."""
        ...


class Exchange(Struct, eq=False):
    """One request and its reply. Made by ``Transport.send``; then ``read`` or ``pump``, once.

    A Struct, because it is made for every call: its many defaults are set without a line of Python.
    """

    _owner: Owner
    head: bytes
    """What is written first: request line and headers (they hold the credential), and a short body."""
    body: bytes
    """What is written after it: a long body."""
    deadlines: Deadlines
    started_s: float
    due: float
    total_due: float
    span_s: float
    bodyless: bool = False  # the reply to HEAD
    status: int = 0
    reused: bool = False
    """The connection had been open before."""
    connect_ms: float = 0.0
    """From ``send`` until the request was written: the queue, DNS, TCP, TLS, proxy."""
    connection: Line | None = None
    dial: asyncio.Task[object] | None = None
    replayed: bool = False
    done: bool = False
    error: BaseException | None = None
    sink: Sink | None = None
    shortcut: Callable[[bytes], bool] | None = None
    """Set by who pumps: tried first on bytes that begin where a chunk begins. True: they were whole chunks and no last
    one, and are dealt with. Not asked while a body is being decoded."""
    plain: bool = False
    """Its pieces go to the sink as they came on the wire."""
    phase: TimeoutPhase = "connect"
    touched: bool = False
    brakes: int = 0
    """Why the socket is not read, one bit each; the idle deadline stands still while there is a reason."""
    waiter: asyncio.Future[None] | None = None
    listener: Callable[[], None] | None = None
    """Instead of who awaits: called once, when the exchange is over and its connection is free again."""
    _raw_head: bytes = b""
    _decoder: decode.Decoder | None = None
    _held: list[bytes] = []
    _held_bytes: int = 0
    limit: int = HOLD_BYTES
    """How much of a body is held: where ``reading``, more is a failure; else the socket waits."""
    reading: bool = False
    pieces: Iterable[memoryview] = ()
    """Instead of ``body``; gone through once more where the request is."""

    def __repr__(self) -> str:
        """Without head and body: they hold secrets and people's words."""
        state = "done" if self.done else self.phase
        return f"<Exchange with {self._owner.where}, status {self.status}, {state}>"

    # For who asked.

    @property
    def headers(self) -> Headers:
        """The reply's headers, read anew each time. A declared encoding is undone here, and its header says nothing true."""
        headers = read_head(self._raw_head)
        if self._decoder is None or not any(pair[0] == b"content-encoding" for pair in headers):
            return headers
        return [pair for pair in headers if pair[0] not in (b"content-encoding", b"content-length")]

    async def read(self, max_bytes: int) -> bytes:
        """The whole body, decoded. Longer than ``max_bytes``, on the wire or decoded: UpstreamMalformed."""
        self.limit = max_bytes
        if not self.done:
            self.reading = True
            if self._held_bytes > max_bytes:
                self.fail(_too_long(self._owner.where, self.limit))
            else:
                self._loosen(_UNREAD)
                await self.wait()
        return self.whole(max_bytes)

    async def pump(self, sink: Sink) -> None:
        """Each decoded piece to ``sink``, synchronously, until the body's proper end.

        An exception of ``sink`` closes the connection and is raised from here.
        """
        try:
            self.sink = self._first(sink)
            self._drain()
            if not self.done:
                self._loosen(_UNREAD)
                await self.wait()
            if self.error is not None:
                raise self.error
            if self._decoder is not None:
                for piece in self._decoder.finish():
                    sink(piece)
        except BaseException:
            self.abort()
            raise
        finally:
            self.sink = self.shortcut = None

    def pause(self, *, halt: bool = False) -> None:
        """Read no more from the socket: the one who takes the pieces is slow. The idle deadline stands still.

        ``halt``: because somebody decides whether it goes on at all. Both must be over before it is read on.
        """
        self._brake(_HALTED if halt else _PAUSED)

    def resume(self, *, halt: bool = False) -> None:
        """Read on."""
        self._loosen(_HALTED if halt else _PAUSED)

    def abort(self) -> None:
        """Close the socket now. After a complete body nothing happens: the connection is in the pool again."""
        if not self.done:
            self._held.clear()
            self.fail(UpstreamTruncated(f"The exchange with {self._owner.where} was given up."))

    async def wait(self) -> None:
        """Until woken by the reply's head, its end, or a failure. Cancelled here, the socket closes at once."""
        waiter = self.waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        except BaseException:
            self.abort()
            raise

    # For the connection and the Transport.

    def begun(self, connection: Line, now: float, *, reused: bool) -> None:
        """The request is being written."""
        self.connection = connection
        self.reused = reused
        self.connect_ms = (now - self.started_s) * 1000.0
        self.phase = "first_byte"
        self.span_s = self.deadlines.first_byte_s
        self.touched = True

    def headed(self, status: int, raw_head: bytes, encoding: bytes | None) -> None:
        """The reply's head is here, and what it declares as its content-encoding."""
        if encoding is not None:
            self._decoder = decode.declared(encoding, self._owner.where)
        self.status = status
        if self.reading and not _OK <= status < _REDIRECT:
            self.limit = min(self.limit, HOLD_BYTES)
        self._raw_head = raw_head
        self.pieces = ()
        self.head = self.body = b""  # no replay from here on: let go of the credential and of a large body
        self.phase = "idle"
        self.span_s = self.deadlines.idle_s
        self.touched = True
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def hold(self, piece: bytes) -> None:
        """A piece that came before a sink, or for ``read``."""
        self._held.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes > self.limit:
            if self.reading:
                self.fail(_too_long(self._owner.where, self.limit))
            else:
                self._brake(_UNREAD)

    def completed(self) -> None:
        """The body's proper end; the connection looks after itself."""
        self.done = True
        self.connection = None
        self._owner.ended(self)
        self._wake()

    def fail(self, error: BaseException) -> None:
        """The end of an exchange that went wrong: its connection closes."""
        if self.done:
            return
        self.done = True
        self.error = error
        self.sink = None
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.exchange = None
            connection.close()
        self._owner.ended(self)
        self._wake()
        tell(self)

    def whole(self, max_bytes: int) -> bytes:
        """The body of an exchange that is over, decoded; raises what went wrong."""
        if self.error is not None:
            raise self.error
        held, self._held = self._held, []
        body = held[0] if len(held) == 1 else b"".join(held)
        if body and body[0] in decode.SUSPECT:
            self._suspect()
        decoded = body if self._decoder is None else _undo(self._decoder, body, max_bytes)
        if decoded is None or len(decoded) > max_bytes:
            raise _too_long(self._owner.where, max_bytes)
        return decoded

    def _drain(self) -> None:
        """What came before the sink."""
        held, self._held = self._held, []
        for piece in held:
            sink = self.sink
            if sink is None:  # aborted by the sink itself
                return
            sink(piece)

    def _wake(self) -> None:
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _brake(self, reason: int) -> None:
        connection = self.connection
        if connection is None or connection.transport is None:
            return
        if not self.brakes:
            connection.transport.pause_reading()
        self.brakes |= reason

    def _loosen(self, reason: int) -> None:
        connection = self.connection
        if not self.brakes & reason or connection is None or connection.transport is None:
            return
        self.brakes &= ~reason
        if not self.brakes:
            self.touched = True
            connection.transport.resume_reading()

    # Decoding.

    def _suspect(self) -> None:
        """The first byte of a body looks compressed: is it, although no encoding was declared?"""
        if self._decoder is None and decode.looks_like_text(header(self.headers, b"content-type")):
            self._decoder = decode.suspected(self._owner.where)

    def _first(self, sink: Sink) -> Sink:
        """A sink for the first piece, which then puts the right one in its place: usually ``sink`` itself."""

        def first(piece: bytes, /) -> None:
            if piece[0] in decode.SUSPECT:
                self._suspect()
            decoder = self._decoder
            if decoder is None:
                self.sink = sink
                self.plain = True
                sink(piece)
                return

            def decoded(piece: bytes, /) -> None:
                for part in decoder.feed(piece):
                    if self.sink is None:  # aborted
                        return
                    sink(part)

            self.sink = decoded
            decoded(piece)

        return first


def tell(exchange: Exchange) -> None:
    """Tell the listener that it is over, last of all: it may begin the next exchange."""
    listener, exchange.listener = exchange.listener, None
    if listener is not None:
        listener()


def read_head(raw: bytes) -> Headers:
    """The headers of a reply's head, as it came and as the parser has accepted it: no folded lines, no lone line ends."""
    headers: Headers = []
    for line in raw.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip(b" \t")))
    return headers


def _undo(decoder: decode.Decoder, body: bytes, max_bytes: int) -> bytes | None:
    """The decoded body; None as soon as it is longer than ``max_bytes``."""
    parts: list[bytes] = []
    left = max_bytes
    for pieces in (decoder.feed(body), decoder.finish()):
        for part in pieces:
            left -= len(part)
            if left < 0:
                return None
            parts.append(part)
    return b"".join(parts)


def _too_long(where: str, limit: int) -> UpstreamMalformed:
    return UpstreamMalformed(f"{where} sent a body of more than {limit} bytes.")
