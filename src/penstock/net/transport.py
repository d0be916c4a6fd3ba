"""A pool of connections to one provider, and the clock over all of its exchanges.

Theory. ``send`` takes the connection that was used last (it is the warmest, and the others may age and close), or
opens one, or waits in line until one is free; then it awaits the reply's head. Deadlines are kept by one sweeper per
Transport, which runs every ``TICK_S`` while exchanges are active: a deadline may fire up to two ticks late, and never
early. A sweeper that finds the loop had stood still gives the sockets one turn before it judges.

Rules
- ``_slots`` counts open connections and those being opened; every path that loses one calls ``_admit``.
- A cancelled or failed exchange leaves the line, stops its dialling, closes its socket: at once, in ``ended``.
- Use from one event loop only.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final

from msgspec import Struct

from penstock.base.endpoint import Endpoint, parse_proxy
from penstock.base.errors import OurFault, UpstreamTimeout, UpstreamUnreachable
from penstock.net.connection import Connection
from penstock.net.dial import Dialer
from penstock.net.exchange import Deadlines, Exchange, NeverSent
from penstock.net.faults import timed_out, unreachable
from penstock.wire.http import WireRequest, header_block

__all__ = ["Deadlines", "Exchange", "Transport", "TransportSettings"]

_JOIN_BYTES: Final = 64 * 1024  # a body up to this long is copied behind its head: one write, one packet
_MAX_BLOCKS: Final = 256
TICK_S: Final = 0.02
_STOOD_STILL_S: Final = 0.25
_WARM_S: Final = 10.0


class TransportSettings(Struct, frozen=True):
    """What a Transport is made of. ``proxy`` may hold a secret: repr hides it.

    ``ca_version`` is what stood in ``ca_file`` (net.dial.ca_version): other certificates make another Transport.
    """

    endpoint: Endpoint
    proxy: str | None = None
    ca_file: str | None = None
    ca_version: str = ""
    max_connections: int = 1024
    address: str | None = None
    """Connect there, whatever the host's name stands for (net.fetch)."""

    def __repr__(self) -> str:
        """Without the proxy's credentials."""
        through = ", through a proxy" if self.proxy else ""
        return f"TransportSettings({self.endpoint.where}{through}, max_connections={self.max_connections})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """For rich, which would not ask ``__repr__``."""
        return [("endpoint", self.endpoint.where), ("max_connections", self.max_connections)]


class _Heads:
    """Request lines and headers for one endpoint. What is the same for every call with one credential is made once."""

    __slots__ = ("_after_target", "_blocks", "_lines", "_target")

    def __init__(self, target: bytes, after_target: bytes) -> None:
        self._target = target
        self._after_target = after_target
        self._lines = after_target.count(b"\r\n")
        self._blocks: dict[tuple[object, ...], bytes] = {}  # keys and values hold credentials

    def of(self, request: WireRequest) -> bytes:
        """The head of one request, its content-length included. Raises OurFault for what would be another request."""
        key = (request.method, request.path, *request.headers)
        block = self._blocks.get(key)
        if block is None:
            path = request.path or (b"" if self._target else b"/")
            first = b"%b %b%b%b" % (request.method, self._target, path, self._after_target)
            block = first + header_block(request.headers)
            lines = self._lines + len(request.headers)
            if block.count(b"\n") != lines or block.count(b"\r") != lines or b" " in path or b"\0" in block:
                # It would be another request.
                raise OurFault("A path or header for the provider holds a line break or a space.")
            if len(self._blocks) >= _MAX_BLOCKS:
                self._blocks.clear()
            self._blocks[key] = block
        length = len(request.body) or (request.size if request.pieces or request.poured is not None else 0)
        if length or request.method not in (b"GET", b"HEAD"):
            return b"%bcontent-length: %d\r\n\r\n" % (block, length)
        return block + b"\r\n"


class Transport:
    """Sends requests to one provider. ValueError (with a sentence) if the proxy or the CA file cannot be used."""

    def __init__(self, settings: TransportSettings) -> None:
        endpoint = settings.endpoint
        proxy = parse_proxy(settings.proxy) if settings.proxy else None
        self.where: Final = endpoint.where
        self.opened_total = 0
        self.reused_total = 0
        self._dialer = Dialer(endpoint, proxy, settings.ca_file, settings.address)
        self._max = settings.max_connections
        plain_proxy = proxy if endpoint.scheme == "http" else None
        self._plain_proxy = plain_proxy.where if plain_proxy is not None else None
        self.direct: Final = plain_proxy is None
        """What answers is the provider: no proxy stands between that could answer in its place."""
        origin = b"" if plain_proxy is None else b"http://" + endpoint.authority
        after_target = b" HTTP/1.1\r\nhost: " + endpoint.authority + b"\r\n"
        if plain_proxy is not None and plain_proxy.authorization is not None:
            after_target += b"proxy-authorization: " + plain_proxy.authorization + b"\r\n"
        self.heads = _Heads(origin + endpoint.base_path, after_target)
        self._idle: list[Connection] = []
        self._waiting: deque[Exchange] = deque()
        self._active: set[Exchange] = set()
        self._dials: set[asyncio.Task[Connection]] = set()
        self._slots = 0
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeping = False
        self._swept_s = 0.0
        self._spared = False

    def __repr__(self) -> str:
        """Where, and how busy."""
        return f"<Transport {self.where}, {self.idle} idle, {self.in_use} in use>"

    @property
    def open(self) -> int:
        """Open connections."""
        return self._slots - len(self._dials)

    @property
    def idle(self) -> int:
        """Open connections without an exchange."""
        return len(self._idle)

    @property
    def in_use(self) -> int:
        """Open connections with an exchange."""
        return self.open - len(self._idle)

    @property
    def waiting(self) -> int:
        """Exchanges in line for a connection."""
        return len(self._waiting)

    async def warm(self, connections: int = 1) -> str | None:
        """See to it that so many connections are idle and ready, TLS done. None, or a sentence why not."""
        self._loop = asyncio.get_running_loop()
        missing = min(connections - len(self._idle), self._max - self._slots)
        tasks = [self._dial(None) for _ in range(missing)]
        if not tasks:
            return None
        try:
            done, late = await asyncio.wait(tasks, timeout=_WARM_S)
        finally:
            for task in tasks:
                task.cancel()
        if late:
            return f"No connection to {self.where} within {_WARM_S:g} s."
        errors = [error for task in done if not task.cancelled() and (error := task.exception())]
        return str(errors[0]) if errors else None

    def begin(
        self,
        connection: Connection,
        request: WireRequest,
        deadlines: Deadlines,
        listener: Callable[[], None],
        max_bytes: int,
    ) -> Exchange:
        """Send over a borrowed connection; the reply is gathered whole, and nothing is awaited.

        ``listener`` is called when the exchange is over, well or not: see ``Exchange.whole``.
        """
        assert self._loop is not None
        try:
            exchange = self._exchange(request, deadlines, monotonic(), self._loop)
        except BaseException:
            self.released(connection, used=False)
            raise
        exchange.listener = listener
        exchange.reading, exchange.limit = True, max_bytes
        self.reused_total += 1
        connection.begin(exchange, reused=True)
        return exchange

    def _exchange(
        self, request: WireRequest, deadlines: Deadlines, now: float, loop: asyncio.AbstractEventLoop
    ) -> Exchange:
        """A new exchange under the sweeper's eyes."""
        connect_s = deadlines.connect_s
        head, body = self.heads.of(request), request.body
        if len(body) <= _JOIN_BYTES:
            head, body = head + body, b""
        exchange = Exchange(
            self, head, body, deadlines, now, now + connect_s, now + deadlines.total_s, connect_s
        )
        if request.pieces or request.poured is not None:
            exchange.pieces = request.poured or request.pieces
        if request.method == b"HEAD":
            exchange.bodyless = True
        self._active.add(exchange)
        if not self._sweeping:
            self._sweeping = True
            self._swept_s = now
            loop.call_later(TICK_S, self._sweep)
        return exchange

    async def send(self, request: WireRequest, deadlines: Deadlines) -> Exchange:
        """Send, and return when the reply's head is here. UpstreamUnreachable, -Timeout, -Malformed."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        now = monotonic()
        exchange = self._exchange(request, deadlines, now, loop)
        connection = self.borrow(now)
        if connection is not None:
            self.reused_total += 1
            connection.begin(exchange, reused=True)
        elif self._slots < self._max:
            self._dial(exchange)
        else:
            self._waiting.append(exchange)
        waiter = exchange.waiter = loop.create_future()
        try:  # what exchange.wait does, without a coroutine more
            await waiter
        except BaseException as error:
            unsent = exchange.phase == "connect" and not exchange.replayed
            exchange.abort()
            if unsent and isinstance(error, asyncio.CancelledError):
                raise NeverSent(*error.args) from None
            raise
        if exchange.status == 0:
            assert exchange.error is not None
            raise exchange.error
        if exchange.status == 407 and self._plain_proxy is not None:
            exchange.abort()
            raise UpstreamUnreachable(f"The proxy {self._plain_proxy} refused our credentials (407).")
        return exchange

    async def aclose(self) -> None:
        """Close what is idle now, and what is busy when its exchange ends. A later ``send`` still works, unpooled."""
        self._closed = True
        loop = asyncio.get_running_loop()
        gone: list[asyncio.Future[None]] = []
        for connection in tuple(self._idle):
            connection.lost = loop.create_future()
            gone.append(connection.lost)
            connection.close()
        for lost in gone:
            await lost

    # What exchanges and connections tell.

    def ended(self, exchange: Exchange) -> None:
        """No more deadlines, no place in the line, no dialling."""
        self._active.discard(exchange)
        if exchange.phase == "connect":
            if exchange.dial is not None:
                exchange.dial.cancel()
                exchange.dial = None
            elif exchange in self._waiting:
                self._waiting.remove(exchange)

    def released(self, connection: Connection, *, used: bool = True) -> None:
        """To the first in line, or to the idle ones.

        Borrowed, and not ``used``: its server has heard nothing of it, and will close it when it would have.
        """
        if self._waiting:
            self.reused_total += 1
            connection.begin(self._waiting.popleft(), reused=True)
        elif self._closed:
            connection.close()
        else:
            if used:
                connection.expires_s = monotonic() + connection.keep_s
            self._idle.append(connection)

    def dropped(self, connection: Connection) -> None:
        """A connection is closed: its slot is free."""
        if connection.pooled:
            connection.pooled = False
            self._slots -= 1
            if connection in self._idle:
                self._idle.remove(connection)
            self._admit()

    def replay(self, exchange: Exchange) -> None:
        """The keep-alive race (see connection.py): once more, over a connection that is surely fresh.

        It takes the place of the one that was lost, whose ``dropped`` comes next.
        """
        exchange.replayed = True
        exchange.phase = "connect"
        exchange.touched = False
        exchange.due = monotonic() + exchange.deadlines.connect_s
        self._dial(exchange)

    # Inside.

    def borrow(self, now: float) -> Connection | None:
        """The connection used last of those that are open and free, for ``begin`` or ``released``; or None."""
        while self._idle:
            connection = self._idle.pop()
            transport = connection.transport
            if transport is not None and now < connection.expires_s and not transport.is_closing():
                return connection
            connection.close()
        return None

    def _dial(self, exchange: Exchange | None) -> "asyncio.Task[Connection]":
        assert self._loop is not None
        self._slots += 1
        task = self._loop.create_task(self._dialer.open(self))
        self._dials.add(task)
        if exchange is not None:
            exchange.dial = task
        task.add_done_callback(partial(self._dialled, exchange))
        return task

    def _dialled(self, exchange: Exchange | None, task: "asyncio.Task[Connection]") -> None:
        self._dials.discard(task)
        error = unreachable(None, self.where, "connecting") if task.cancelled() else task.exception()
        connection = task.result() if error is None else None
        if connection is not None and connection.alive:
            connection.pooled = True
            self.opened_total += 1
            if exchange is None or exchange.done:
                self.released(connection)
            else:
                exchange.dial = None
                connection.begin(exchange, reused=False)
            return
        self._slots -= 1
        if exchange is not None:
            exchange.dial = None
            exchange.fail(error or unreachable(None, self.where, "connecting"))
        self._admit()

    def _admit(self) -> None:
        """Slots may be free: dial for who waits."""
        while self._waiting and self._slots < self._max:
            self._dial(self._waiting.popleft())

    # The clock.

    def _sweep(self) -> None:
        loop = self._loop
        assert loop is not None
        now = monotonic()
        stood_still = now - self._swept_s > _STOOD_STILL_S
        self._swept_s = now
        overdue: list[Exchange] = []
        for exchange in self._active:
            if exchange.touched:
                exchange.touched = False
                exchange.due = now + exchange.span_s
            if now >= exchange.total_due or (now >= exchange.due and not exchange.brakes):
                overdue.append(exchange)
        self._spared = stood_still and not self._spared
        if not self._spared:
            for exchange in overdue:
                exchange.fail(_too_late(exchange, now, self.where, self._max))
        if self._idle and self._idle[0].expires_s <= now:
            self._idle[0].close()
        if self._active:
            loop.call_later(TICK_S, self._sweep)
        else:
            self._sweeping = False


def _too_late(exchange: Exchange, now: float, where: str, most: int) -> UpstreamTimeout:
    if now >= exchange.total_due:
        error = timed_out("total", where, exchange.deadlines.total_s)
        error.unsent = exchange.phase == "connect" and not exchange.replayed
        return error
    if exchange.phase == "connect" and exchange.dial is None:
        return UpstreamTimeout(
            f"No connection to {where} came free within {exchange.deadlines.connect_s:g} s:"
            f" all {most} are in use (max_connections).",
            phase="connect",
        )
    return timed_out(exchange.phase, where, exchange.span_s)
