"""A transport that follows a script: what a provider's socket would say, without one.

It stands where ``net.transport.Transport`` does: ``send`` gives the next reply of the script or raises its next error,
and keeps what it was sent. Use it for one event loop.
"""

import asyncio
import math
from collections.abc import Callable, Iterable

from msgspec import Struct

from penstock.base.errors import UpstreamError, UpstreamMalformed, UpstreamTruncated
from penstock.net.transport import Deadlines
from penstock.wire.http import Headers, WireRequest

FOREVER = math.inf
"""A wait that only ``abort`` or a cancellation ends."""

Piece = bytes | float | UpstreamError


class ScriptIsOver(AssertionError):
    """More was sent than the script has answers for."""


class ScriptedReply(Struct, frozen=True):
    """One reply. ``pieces``: bytes as they come; a number waits so many seconds; an error breaks off.

    ``head_after_s`` is the wait for the head. ``headers`` are lower-case.
    """

    pieces: tuple[Piece, ...] = ()
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    head_after_s: float = 0.0


class ScriptedExchange:
    """What ``send`` gives: an ``Exchange`` as its users see it."""

    def __init__(self, reply: ScriptedReply) -> None:
        self.status = reply.status
        self.headers: Headers = list(reply.headers)
        self.reused = False
        self.connect_ms = 0.0
        self.aborted = False
        """``abort`` was called while the reply was not complete: its socket would have been closed."""
        self.shortcut: Callable[[bytes], bool] | None = None
        """Never asked: a script has no chunks."""
        self.complete = False
        self.paused = False
        self.error: BaseException | None = None
        """What ended it, where it was begun with a listener."""
        self._gathered = False
        self._body = b""
        self._pieces = reply.pieces
        self._abort = asyncio.Event()
        self._go = asyncio.Event()
        self._go.set()

    @property
    def brakes(self) -> int:
        """Not 0 while it is paused."""
        return int(self.paused)

    @property
    def done(self) -> bool:
        """Over, well or not."""
        return self.complete or self.aborted or self.error is not None

    async def read(self, max_bytes: int) -> bytes:
        """The whole body. UpstreamMalformed where it is longer than ``max_bytes``."""
        if self._gathered:
            return self.whole(max_bytes)
        body: list[bytes] = []
        await self.pump(body.append)
        whole = b"".join(body)
        if len(whole) > max_bytes:
            raise UpstreamMalformed(f"The script's body has more than {max_bytes} bytes.")
        return whole

    async def pump(self, sink: Callable[[bytes], None]) -> None:
        """Each piece to ``sink``; returns at the end. An exception of ``sink`` aborts, and is raised from here."""
        try:
            for piece in self._pieces:
                await self._turn()
                if isinstance(piece, UpstreamError):
                    raise piece
                if isinstance(piece, bytes):
                    sink(piece)
                else:
                    await self.wait(piece)
            await self._turn()
        except BaseException:
            self.abort()
            raise
        self.complete = True

    async def gather(
        self, listener: Callable[[], None], max_bytes: int, answer: "ScriptedReply | UpstreamError"
    ) -> None:
        """The whole body or what went wrong, and then ``listener``: what ``Transport.begin`` does."""
        try:
            if isinstance(answer, UpstreamError):
                raise answer
            if answer.head_after_s:
                await self.wait(answer.head_after_s)
            self.status = answer.status
            self._body = await self.read(max_bytes)
        except UpstreamError as error:
            self.error = error
        self._gathered = True
        listener()

    def whole(self, max_bytes: int) -> bytes:
        """The body that was gathered; raises what went wrong."""
        if self.error is not None:
            raise self.error
        return self._body

    def pause(self, *, halt: bool = False) -> None:
        """No more pieces until ``resume``; ``halt`` is the same brake here."""
        self.paused = True
        self._go.clear()

    def resume(self, *, halt: bool = False) -> None:
        """Read on."""
        self.paused = False
        self._go.set()

    def abort(self) -> None:
        """Close now; nothing after a complete body."""
        if not self.complete and self.error is None:
            self.aborted = True
            self._abort.set()
            self._go.set()

    async def wait(self, seconds: float) -> None:
        """So long, or until it is aborted (UpstreamTruncated)."""
        try:
            async with asyncio.timeout(None if seconds == FOREVER else seconds):
                await self._abort.wait()
        except TimeoutError:
            return
        raise UpstreamTruncated("The scripted exchange was given up.")

    async def _turn(self) -> None:
        """Let others run, as a socket would; wait while paused."""
        await asyncio.sleep(0)
        await self._go.wait()
        if self.aborted:
            raise UpstreamTruncated("The scripted exchange was given up.")


class ScriptedTransport:
    """Replies and errors in order.

    ``sent`` keeps each request with its deadlines, ``exchanges`` each reply that was begun. Without a next answer
    ``send`` raises ScriptIsOver, so that a call too many is a failure and not a hang.
    """

    where = "scripted:443"

    direct = True

    def __init__(self, script: Iterable[ScriptedReply | UpstreamError] = ()) -> None:
        self.script = list(script)
        self.returned = 0
        """Connections that were borrowed and not used."""
        self._running: set[asyncio.Task[None]] = set()
        self.sent: list[tuple[WireRequest, Deadlines]] = []
        self.exchanges: list[ScriptedExchange] = []
        self.closed = False

    def then(self, *answers: ScriptedReply | UpstreamError) -> None:
        """Add to the script."""
        self.script += answers

    @property
    def open(self) -> int:
        """Connections that would be open: those of exchanges that go on."""
        return self.in_use

    @property
    def in_use(self) -> int:
        """Exchanges that go on."""
        return sum(not exchange.done for exchange in self.exchanges)

    def borrow(self, now: float) -> "ScriptedTransport | None":
        """A connection, as long as the script has answers."""
        return self if self.script else None

    def released(self, connection: object, *, used: bool = True) -> None:
        """One that was borrowed comes back unused."""
        self.returned += 1

    def begin(
        self,
        connection: object,
        request: WireRequest,
        deadlines: Deadlines,
        listener: Callable[[], None],
        max_bytes: int,
    ) -> ScriptedExchange:
        """The next answer of the script, gathered whole for ``listener``."""
        self.sent.append((request, deadlines))
        answer = self.script.pop(0)
        exchange = ScriptedExchange(ScriptedReply() if isinstance(answer, UpstreamError) else answer)
        exchange.status = 0  # until the head is here
        self.exchanges.append(exchange)
        task = asyncio.get_running_loop().create_task(exchange.gather(listener, max_bytes, answer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return exchange

    async def send(self, request: WireRequest, deadlines: Deadlines) -> ScriptedExchange:
        """The next answer of the script."""
        self.sent.append((request, deadlines))
        await asyncio.sleep(0)
        if not self.script:
            raise ScriptIsOver(f"Request {len(self.sent)} is one more than the script has answers for.")
        answer = self.script.pop(0)
        if isinstance(answer, UpstreamError):
            raise answer
        exchange = ScriptedExchange(answer)
        self.exchanges.append(exchange)
        if answer.head_after_s:
            try:
                await exchange.wait(answer.head_after_s)
            except BaseException:
                exchange.abort()
                raise
        return exchange

    async def warm(self, connections: int = 1) -> str | None:
        """Nothing to warm."""
        return None

    async def aclose(self) -> None:
        """Nothing to close; that it was asked is kept."""
        self.closed = True
