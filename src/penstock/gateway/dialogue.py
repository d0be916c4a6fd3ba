"""The doing of a dialogue (wire.ports.Dialogue): its exchanges side by side, its waits, its end; told as one exchange.

Theory
------
A dialogue decides, and this sends: each wish is a task of its own, whose answer comes through one queue, as does the end
of a wait. To who delivers a reply (gateway.call, gateway.stream) a ``Conversation`` looks like any exchange: it is read whole
or pumped piece by piece; the pieces are empty, and the relay has the events they stand for.

Rules
- At most ``AT_ONCE`` exchanges of a call run side by side. All of them share the call's deadline.
- An address below the provider's own base URL gets the credential that the dialogue's own requests carry. Any other is
  fetched without it, and only in the open internet, unless the provider is a neighbour itself (net.fetch).
- A question asked in vain is asked again, twice; what makes something is sent once: the dialogue hears that it failed.
- Given up, for whatever reason, what runs is cut, and the provider is told to stop, if it can be told.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from penstock.base.decisions import Rejected
from penstock.base.endpoint import Endpoint, parse_hook_url
from penstock.base.errors import UpstreamError, UpstreamFault, UpstreamTimeout
from penstock.base.events import Event, MediaMade
from penstock.gateway.house import Provider
from penstock.net.fetch import Fetcher
from penstock.net.transport import Deadlines
from penstock.wire.http import Headers, WireRequest
from penstock.wire.ports import Dialogue, Elsewhere, Moves, Send

AT_ONCE = 8
MAX_PIECE_BYTES = 128 * 1024 * 1024
ASKS = 3
ASK_AGAIN_S = 0.2
STOP_S = 10.0
_CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key"})
_stopping: set[asyncio.Task[None]] = set()
"""What tells providers to stop, until it has."""

Finishing = Callable[[MediaMade], Awaitable[MediaMade]]
Answered = tuple[str, int, Headers, bytes] | tuple[str, UpstreamError] | BaseException | None
"""An answer by its tag, a failure by its tag, a bug of ours, or the end of a wait."""


class Told:
    """The reader of a dialogue's reply: what it was told comes out with the next piece, however empty."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def tell(self, events: list[Event]) -> None:
        """What is to come out next."""
        self._events += events

    def feed(self, data: bytes) -> list[Event]:
        """All that was told."""
        del data
        events, self._events = self._events, []
        return events

    def close(self) -> list[Event]:
        """The rest. A dialogue that ends has told its end."""
        return self.feed(b"")


class Conversation:
    """Stands where an exchange stands. ``feed`` gives its relay the events that ``told`` has."""

    def __init__(
        self,
        provider: Provider,
        dialogue: Dialogue,
        told: Told,
        deadlines: Deadlines,
        finishing: Finishing | None = None,
    ) -> None:
        self.status = 0
        self.brakes = 0
        self.shortcut: Callable[[bytes], bool] | None = None
        self.headers: Headers = []
        self._provider = provider
        self._dialogue = dialogue
        self._told = told
        self._deadlines = deadlines
        self._finishing = finishing
        self._feed: Callable[[bytes], Any] = _to_nobody
        self._queue: asyncio.Queue[Answered] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._seats = asyncio.Semaphore(AT_ONCE)
        self._timer: asyncio.TimerHandle | None = None
        self._wake_s = 0.0
        self._credentials: Headers = []
        self._over = False

    def hear(self, feed: Callable[[bytes], Any]) -> None:
        """Who is told of events while the whole reply is waited for."""
        self._feed = feed

    # As an exchange.

    async def read(self, max_bytes: int) -> bytes:
        """Run to the end. The body is empty: the relay has heard all of it."""
        del max_bytes
        await self._run(self._feed)
        return b""

    async def pump(self, sink: Callable[[bytes], Any]) -> None:
        """The same; each event goes to the caller as it comes."""
        await self._run(sink)

    def pause(self, *, halt: bool = False) -> None:
        """Nothing that comes is so much that it could not be held."""

    def resume(self, *, halt: bool = False) -> None:
        """See ``pause``."""

    def abort(self) -> None:
        """Give it up. After its end nothing happens."""
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        for send in self._dialogue.cancel():
            task = asyncio.get_running_loop().create_task(self._stop(send))
            _stopping.add(task)
            task.add_done_callback(_stopping.discard)

    # The doing.

    async def _run(self, sink: Callable[[bytes], Any]) -> None:
        try:
            async with asyncio.timeout(self._deadlines.total_s):
                moves = await asyncio.to_thread(
                    self._dialogue.begin
                )  # pictures are written, masks turned round
                while not await self._take(moves, sink):
                    moves = self._next(await self._queue.get())
        except TimeoutError:
            raise UpstreamTimeout(
                "The pictures were not there before the call's deadline.", phase="total"
            ) from None
        self._over = True

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What is nobody upstream's fault ends the whole: nobody would wait for its answer in vain."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._queue.put_nowait(error)

    def _next(self, came: Answered) -> Moves:
        if isinstance(came, BaseException):
            raise came
        if came is None:
            self._timer = None
            return self._dialogue.woke()
        if len(came) == 2:
            return self._dialogue.failed(*came)
        return self._dialogue.got(*came)

    async def _take(self, moves: Moves, sink: Callable[[bytes], Any]) -> bool:
        """Do what it wants. True: that was the end."""
        for send in moves.sends:
            task = asyncio.get_running_loop().create_task(self._exchange(send))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        if moves.wait_s > 0:
            self._wait(moves.wait_s)
        if moves.done:
            self.status = 200
        if moves.events:
            self._told.tell([await self._finished(event) for event in moves.events])
            sink(b"")
        return moves.done

    async def _finished(self, event: Event) -> Event:
        if self._finishing is None or not isinstance(event, MediaMade) or event.partial >= 0:
            return event
        return await self._finishing(event)

    def _wait(self, wait_s: float) -> None:
        """Wake it after so long, or sooner, if that was asked for before."""
        loop = asyncio.get_running_loop()
        wake_s = loop.time() + wait_s
        if self._timer is not None:
            if self._wake_s <= wake_s:
                return
            self._timer.cancel()
        self._wake_s = wake_s
        self._timer = loop.call_later(wait_s, self._queue.put_nowait, None)

    async def _exchange(self, send: Send) -> None:
        """One wish; its answer, or what became of it."""
        async with self._seats:
            try:
                status, headers, body = await self._answer(send.what)
            except UpstreamError as error:
                self._queue.put_nowait((send.tag, error))
            else:
                self._queue.put_nowait((send.tag, status, headers, body))

    async def _answer(self, what: WireRequest | Elsewhere) -> tuple[int, Headers, bytes]:
        asks = ASKS if what.method == b"GET" else 1
        for ask in range(1, asks + 1):
            try:
                return await self._once(what)
            except UpstreamError as error:
                if ask == asks or not error.retryable:
                    raise
                await asyncio.sleep(ask * ASK_AGAIN_S)
        raise AssertionError("unreachable")

    async def _once(self, what: WireRequest | Elsewhere) -> tuple[int, Headers, bytes]:
        if isinstance(what, Elsewhere):
            below = self._below(what)
            if below is None:
                return await self._fetch(what)
            what = below
        else:
            self._credentials = [pair for pair in what.headers if pair[0] in _CREDENTIALS]
        exchange = await self._provider.transport.send(what, self._deadlines)
        try:
            return exchange.status, exchange.headers, await exchange.read(MAX_PIECE_BYTES)
        finally:
            exchange.abort()

    def _below(self, what: Elsewhere) -> WireRequest | None:
        """The request for an address below the provider's own; None: it is elsewhere."""
        own = self._provider.base_url
        if own is None or not what.url.startswith(("https://", "http://")):
            return None
        try:
            place, path = parse_hook_url(what.url.partition("#")[0])
        except ValueError:
            return None
        base = own.base_path
        same = (place.scheme, place.host, place.port) == (own.scheme, own.host, own.port)
        if not same or not path.startswith(base + b"/"):
            return None
        headers: Headers = [*self._credentials, (b"accept", b"*/*")]
        return WireRequest(what.method, path[len(base) :], headers, b"")

    async def _fetch(self, what: Elsewhere) -> tuple[int, Headers, bytes]:
        found = await self._provider.fetcher.fetch(what.url, self._deadlines, what.method)
        if isinstance(found, Rejected):
            host = (urlsplit(what.url).hostname or "")[:100]
            raise UpstreamFault(
                f"The provider pointed at {host}, which is not fetched: {found.reason}.", code=found.code
            )
        return found.status, found.headers, found.body

    async def _stop(self, send: Send) -> None:
        """Tell the provider; what it says to that is of no use to anybody."""
        try:
            async with asyncio.timeout(STOP_S):
                await self._once(send.what)
        except (UpstreamError, TimeoutError):
            return


def _to_nobody(_piece: bytes) -> None:
    """Before it is known who listens."""


def fetcher_of(endpoint: Endpoint, proxy: str | None, ca_file: str | None) -> Fetcher:
    """For what a provider at ``endpoint`` points at: one that is a neighbour itself may point at its neighbours."""
    return Fetcher(trusts_neighbours=endpoint.scheme == "http", proxy=proxy, ca_file=ca_file)
