"""A stream on its way to the caller: hold 200 back until there is content, then flush event by event.

Theory
------
The provider's bytes are pushed (``sink``) straight from its socket's callback through the relay to the caller's
socket: no task wakes up for an event. Once content has passed, events that are like the last but for their text do not
even come here (gateway.shortcut). Until the first content event nothing is written, so that an early failure can
still fall back (behaviours 1, 9). After ``hold_back_ms`` 200 goes out all the same and comments keep it alive.

Rules
- The call is settled *before* its last bytes leave, so that ``/v1/generation`` knows it by then.
- Comments reset the transport's idle timer, not ours: a stream without progress is stuck (behaviour 4).
- A provider that said why it stopped, and then only sends comments, has finished (bifrost #6784); so has one whose
  connection then falls silent or breaks (behaviour 6): the relay's ``close`` knows.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from penstock.base.errors import UpstreamError, UpstreamTimeout, UpstreamTruncated
from penstock.gateway.dialogue import Conversation
from penstock.gateway.ports import Reply
from penstock.gateway.settle import Outcome
from penstock.gateway.shortcut import shortcut_of
from penstock.net.transport import Exchange
from penstock.wire.ports import Relay
from penstock.wire.sse import Mould

TICK_S = 5.0
DRAIN_S = 1.0


class Watched(Protocol):
    """What may end a stream (gateway.cutting)."""

    next_bytes: int
    """Of content: from so many on it must be asked."""

    def goes_on(self, content_bytes: int) -> bool:
        """More may pass."""
        ...

    async def refill(self) -> None:
        """See whether more can be had."""
        ...


class Delivery:
    """One attempt's stream. ``run`` returns when all is delivered, or raises the UpstreamError that broke it."""

    __slots__ = (
        "_asking",
        "_committed",
        "_cut",
        "_exchange",
        "_finish",
        "_head",
        "_heartbeat",
        "_held",
        "_hold_until_s",
        "_idle_s",
        "_loop",
        "_mark",
        "_mark_s",
        "_mould",
        "_outcome",
        "_relay",
        "_reply",
        "_stuck",
        "_tick_s",
        "_timer",
        "_watch",
        "done",
    )

    def __init__(
        self,
        reply: Reply,
        exchange: Exchange | Conversation,
        relay: Relay,
        outcome: Outcome,
        *,
        head: Callable[[], bytes],
        finish: Callable[[], None],
        hold_back_s: float,
        idle_s: float,
        heartbeat: bytes,
        watch: "Watched | None" = None,
        cut: Callable[[], bytes] = bytes,
    ) -> None:
        self._reply = reply
        self._exchange = exchange
        self._relay = relay
        self._outcome = outcome
        self._head = head
        self._finish = finish
        self._idle_s = idle_s
        self._heartbeat = heartbeat
        self._tick_s = min(TICK_S, idle_s)
        self._held: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._mark: tuple[int, bool] = (0, False)
        self._mark_s = self._loop.time()
        self._hold_until_s = self._mark_s + hold_back_s
        self._stuck: UpstreamError | None = None
        self._committed = False
        self._mould: Mould | None = None
        self._watch = watch
        self._cut = cut
        self._asking: asyncio.Task[None] | None = None
        self.done = False

    async def run(self) -> None:
        """Pump until the end. After this returns, the reply has ended."""
        reply, exchange = self._reply, self._exchange
        reply.on_pause, reply.on_resume = exchange.pause, exchange.resume
        self._timer = self._loop.call_later(self._next_tick_s(self._mark_s), self._tick)
        try:
            await exchange.pump(self.sink if self._watch is None else self._watched)
            if not self.done:
                self._end(self._relay.close())
        except UpstreamError as error:
            if not self.done and not self._complete(self._stuck or error):
                raise (self._stuck or error) from error
        finally:
            self._timer.cancel()
            if self._asking is not None:
                self._asking.cancel()
            reply.on_pause = reply.on_resume = None

    def sink(self, data: bytes) -> None:
        """One piece from the provider's socket."""
        relay = self._relay
        if self.done:
            return
        out = relay.feed(data)
        if relay.finished:
            self._end(out)
        elif self._committed:
            if out:
                self._reply.write(out)
            if relay.mould is not self._mould:
                self._shorten(relay.mould)
        elif relay.content_seen:
            self._outcome.content_s = time.monotonic()
            self._committed = True
            self._commit(out)
            self._shorten(relay.mould)
        elif self._reply.started:
            self._reply.write(out)
        else:
            self._held.append(out)

    def _shorten(self, mould: Mould | None) -> None:
        """From now on events in this mould go past us, or no longer."""
        self._mould = mould
        forward = None if mould is None else self._reply.forwarder()
        shortcut = None if mould is None or forward is None else shortcut_of(mould, forward)
        self._exchange.shortcut = shortcut if self._watch is None else self._watched_short(shortcut)

    def _watched(self, data: bytes) -> None:
        """One piece of a stream that may come to cost more than is held for it."""
        self.sink(data)
        watch = self._watch
        if watch is not None and not self.done and self._relay.content_bytes >= watch.next_bytes:
            self._look(watch)

    def _watched_short(self, shortcut: Callable[[bytes], bool] | None) -> Callable[[bytes], bool] | None:
        """The same for what goes past us."""
        watch = self._watch
        if shortcut is None or watch is None:
            return shortcut

        def take(data: bytes) -> bool:
            taken = shortcut(data)
            if taken and self._relay.content_bytes >= watch.next_bytes:
                self._look(watch)
            return taken

        return take

    def _look(self, watch: "Watched") -> None:
        """Does it go on? Where it must not, the store is asked first, and nothing is read meanwhile."""
        if self._asking is None and not watch.goes_on(self._relay.content_bytes):
            self._exchange.pause(halt=True)
            self._asking = asyncio.ensure_future(self._ask(watch))

    async def _ask(self, watch: "Watched") -> None:
        await watch.refill()
        self._asking = None
        if self.done:
            return
        if watch.goes_on(self._relay.content_bytes):
            self._exchange.resume(halt=True)
            return
        self._exchange.shortcut = None
        try:
            last = self._cut()
            self.done = True
            self._reply.end(last)
        finally:
            self._exchange.abort()

    def _commit(self, out: bytes) -> None:
        if self._reply.started:
            self._reply.write(out)
            return
        self._held.append(out)
        first, self._held = b"".join(self._held), []
        self._reply.start(200, self._head(), first)

    def _end(self, out: bytes) -> None:
        """All is here: settle, then let the last bytes go."""
        self.done = True
        self._exchange.shortcut = None
        relay = self._relay
        if relay.content_seen and not self._outcome.content_s:
            self._outcome.content_s = time.monotonic()
        head = None if self._reply.started else self._head()
        self._finish()
        if head is not None:
            self._held.append(out)
            self._reply.start(200, head, b"".join(self._held))
            self._reply.end()
        else:
            self._reply.end(out)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(DRAIN_S, self._exchange.abort)

    def _tick(self) -> None:
        """Five more seconds have passed without an end, or the hold-back is over."""
        relay, now_s = self._relay, self._loop.time()
        mark = (relay.content_bytes, relay.stopped is not None)
        # While the caller reads slowly the provider is not read at all: that is not its lack of progress.
        if mark != self._mark or self._exchange.brakes:
            self._mark, self._mark_s = mark, now_s
        if relay.stopped is not None and now_s - self._mark_s >= self._tick_s:
            self._close_quiet()
            return
        # A slow start is none of ours until the hold-back is over: heartbeats keep it alive.
        held = not self._reply.started and now_s < self._hold_until_s
        if not held and now_s - self._mark_s >= self._idle_s:
            self._stuck = UpstreamTimeout(
                f"The provider's stream made no progress for {self._idle_s:g} s.", phase="idle"
            )
            self._exchange.abort()
            return
        if not self._reply.started:
            if not held:
                self._commit(self._heartbeat)
        elif self._mark_s < now_s and self._heartbeat:
            self._reply.write(self._heartbeat)
        self._timer = self._loop.call_later(self._next_tick_s(now_s), self._tick)

    def _next_tick_s(self, now_s: float) -> float:
        left_s = self._hold_until_s - now_s
        return self._tick_s if left_s <= 0 else min(self._tick_s, left_s + 0.001)

    def _complete(self, error: UpstreamError) -> bool:
        """The connection broke off or fell silent: was all of the reply here? Then it is delivered."""
        if not isinstance(error, UpstreamTruncated | UpstreamTimeout):
            return False
        if getattr(self._relay, "unframed", False):  # bare sound: nothing in it says that all of it is here
            return False
        try:
            out = self._relay.close()
        except UpstreamError:
            return False
        self._end(out)
        return True

    def _close_quiet(self) -> None:
        """The model stopped long ago, and the wire only idles: that is the end."""
        try:
            out = self._relay.close()
        except UpstreamError as error:
            self._stuck = error
            self._exchange.abort()
            return
        self._end(out)
        self._exchange.abort()
