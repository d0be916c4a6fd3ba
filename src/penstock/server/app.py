"""Routes, request ids and the error shield around every request.

The inference routes are one literal table; everything else goes to the ASGI pages behind the same port.
"""

import asyncio
import os
import time
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from penstock.base.decisions import Rejected
from penstock.base.errors import CallerGone, MethodNotAllowed, NotFound, OurFault, PenstockError
from penstock.dialects import CALLERS
from penstock.dialects.openai_responses.envelope import ResponsesAsk
from penstock.gateway.caching.entering import asks
from penstock.gateway.caching.office import CacheOffice
from penstock.gateway.call import ChatCall
from penstock.gateway.conversation import call_of, in_background
from penstock.gateway.heads import refusal_lines
from penstock.gateway.house import House
from penstock.gateway.lane import Cancels, LaneCall, take
from penstock.gateway.ports import Inbound, Reply
from penstock.gateway.remote import Attempted
from penstock.gateway.settle import CallFacts, begin_facts, settle
from penstock.observe.log import OperatorLog
from penstock.observe.names import BREAKER, CONNECTIONS, KEY_UP, LEDGER_FAULT, LEDGER_QUEUE, TURNED_AWAY
from penstock.server import express
from penstock.server.asgi import AsgiApp, run_asgi
from penstock.server.crowd import TurnedAway
from penstock.server.http1 import HttpConnection, HttpReply
from penstock.server.raw import is_raw, serve_raw
from penstock.server.reading import Request
from penstock.server.respond import echoed, last_words, respond
from penstock.server.routes import CHAT_ROUTES, caller_of, quick_caller, route
from penstock.state.workers import Seat
from penstock.wire.http import Headers, header_block
from penstock.wire.ports import CallerDialect

if TYPE_CHECKING:
    from penstock.server._express import Shape, Tally

_OPENAI = CALLERS["openai"]
_ALLOW_POST: Headers = [(b"allow", b"POST, OPTIONS")]
SWEEP_S = 5.0
STALLED_REQUEST_S = 60.0
SETTLE_S = 1.0


class TakesJobs(Protocol):
    """Who keeps requests that are answered later (server.jobs)."""

    async def accept(self, request: Request, reply: HttpReply, request_id: str) -> None:
        """Keep it, and answer 202."""
        ...

    async def accept_background(
        self, ask: ResponsesAsk, request: Request, reply: HttpReply, request_id: str
    ) -> None:
        """The same of a Response that is made in the background, which is answered as it is then."""
        ...


def origin_form(target: bytes) -> bytes:
    """``http://host/path`` as ``/path``: a server takes both (RFC 9112, 3.2.2)."""
    rest = target.partition(b"://")[2]
    slash = rest.find(b"/")
    return rest[slash:] if slash >= 0 else b"/"


def _random_words() -> Iterator[str]:
    """80 random bits each, from the system: what a generator of our own has said foretells what it will say."""
    while True:
        pool = os.urandom(2560).hex()
        for at in range(0, len(pool), 20):
            yield pool[at : at + 20]


class App:
    """What the connections hand their requests to (server.http1.Handler)."""

    def __init__(self, house: House, log: OperatorLog) -> None:
        self.house = house
        self.pages: AsgiApp | None = None
        self.log = log
        self.draining = False
        self.impatient = False
        """The drain shall end now."""
        self.inflight = 0
        self.others: Seat | None = None
        """The way to the other workers, where there are any."""
        self.jobs: TakesJobs | None = None
        self.cache: CacheOffice | None = None
        """What an operator sees and does of the cache, where there is one."""
        self.started_s = time.monotonic()
        self.connections: set[HttpConnection] = set()
        self.turned_away: set[TurnedAway] = set()
        self.shapes: dict[tuple[bytes, ...], Shape] = {}
        """Of calls for the express lane, by what is the same in them."""
        self.shape: Shape | None = None
        """The newest: what a new connection's first request is probably like."""
        self.take = express.take
        """None: no call goes by express."""
        self.tallies: dict[tuple[str, str, str, bool], Tally] = {}
        self._ids = _random_words()
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def max_body_bytes(self) -> int:
        """The limit in force now: a reload may change it."""
        return self.house.config.server.max_body_bytes

    def connection(self) -> HttpConnection | TurnedAway:
        """A protocol for one accepted socket. More than ``server.max_connections`` are turned away."""
        limit = self.house.config.server.max_connections
        if len(self.connections) < limit:
            made = HttpConnection(self, self.connections)
            if self.shape is not None:
                made.expect(self.shape, self.take)
            return made
        self.house.metrics.add(TURNED_AWAY, 1)
        self.log.once(
            "connections full", f"{limit} connections are open (server.max_connections): new ones get 503"
        )
        error = OurFault(
            f"The gateway has {limit} connections open, and takes no more.",
            code="too_many_connections",
            hint="Try again, on connections that are kept open.",
            status=503,
            retry_after_s=1,
        )
        return TurnedAway(last_words(error, _OPENAI, self.request_id()), self.turned_away)

    def request_id(self) -> str:
        """Fresh, ours, in time order, not to be guessed: 12 hex of milliseconds, 80 random bits."""
        return f"gen-{int(time.time() * 1000):012x}{next(self._ids)}"

    def handle(self, request: Request, reply: HttpReply) -> Coroutine[Any, Any, None]:
        """Serve one request; it ends the reply, whatever happens."""
        caller = CHAT_ROUTES.get(request.url)  # as nearly all of them ask
        if caller is not None:
            return self._shield(caller, request, reply, chat=True)
        if request.url[:1] != b"/":
            request.url = origin_form(request.url)
        path, _, query = request.url.partition(b"?")
        path = path.rstrip(b"/") if len(path) > 1 else path
        try:
            caller = route(path, query, request.told)
        except PenstockError as error:
            return _misrouted(self, error, request, reply)
        return self._shield(caller or caller_of(path), request, reply, chat=caller is not None)

    def quick(self, request: Request, reply: HttpReply) -> Cancels | None:
        """Serve one request here and now, without a task; None where it takes one (``handle``)."""
        if request.method != b"POST" or b"x-penstock-async" in request.told:
            return None
        try:
            caller = CHAT_ROUTES.get(request.url) or quick_caller(request.url, request.told)
        except PenstockError:
            return None
        if caller is None:
            return None
        inbound = request.inbound = Inbound(
            caller, request.told, request.body, request.received_s, reply.known
        )
        try:
            if self.house.caching is not None:
                kept = self.house.caching.quick(self, self.house, inbound, reply)
                if not isinstance(kept, Rejected):
                    return kept
                inbound.uncached = kept
            elif asks(request.told):
                return None  # what it says is looked at all the same
            call = take(self, self.house, inbound, reply)
        except PenstockError:
            return None  # ``handle`` finds it again, and says it
        except Exception as error:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
            self.log.failure("lane.failed", error)
            return None
        if call is not None:
            request.headers = []  # all that is read of them is in ``told``; forty small objects less for as long as it lasts
        return call

    def served(self, call: LaneCall) -> None:
        """The short lane has served it: the next one like it may go by express."""
        try:
            express.learn(self, call)
        except Exception as error:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
            self.log.failure("express.failed", error)

    def carry_on(self, call: LaneCall, made: Attempted) -> Cancels:
        """What went wrong on the short lane goes on on the long way (gateway.lane)."""
        task = asyncio.get_running_loop().create_task(self._carry_on(call, made))
        task.add_done_callback(partial(self._carried, call))
        return task

    async def _carry_on(self, call: LaneCall, made: Attempted) -> None:
        inbound, reply, facts = call.inbound, call.reply, call.facts
        try:
            await ChatCall(call.house, inbound, reply, facts).run(made)
        except PenstockError as error:
            self._answer(error, inbound, reply, facts)
        except Exception as error:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
            fault = self._bug(error, facts.request_id)
            respond(reply, fault, inbound.caller, facts.request_id, echoed(list(inbound.told.items())))

    def _carried(self, call: LaneCall, _task: "asyncio.Task[None]") -> None:
        """Here and not in the task, which a hang-up may cancel before its first step: then nobody has settled the call."""
        self.inflight -= 1
        settle(call.house, call.facts, CallerGone("The caller hung up."))

    def _bug(self, error: Exception, request_id: str) -> OurFault:
        self.log.failure("request.failed", error, request_id=request_id)
        return OurFault(
            "The gateway failed to serve this request.",
            hint=f"Tell its operator the request id {request_id}.",
        )

    def _answer(self, error: PenstockError, inbound: Inbound, reply: Reply, facts: CallFacts) -> None:
        lines = refusal_lines(facts, time.monotonic()) + header_block(echoed(list(inbound.told.items())))
        respond(reply, error, inbound.caller, facts.request_id, lines=lines)

    def refuse(self, request: Request, reply: HttpReply, error: PenstockError) -> None:
        """Answer an error for a request that never reached a handler."""
        echo = echoed(
            list(request.told.items())
        )  # the lane lets go of ``headers``, and so does a head like the last
        respond(reply, error, caller_of(request.url.partition(b"?")[0]), self.request_id(), echo)

    def _without_post(
        self, caller: CallerDialect, request: Request, reply: HttpReply, request_id: str
    ) -> None:
        if request.method == b"OPTIONS":
            told = [*_ALLOW_POST, (b"x-request-id", request_id.encode()), *echoed(request.headers)]
            reply.send(200, header_block(told), b"")
            return
        error = MethodNotAllowed("This path takes POST.", hint="Send the chat request as a POST body.")
        respond(reply, error, caller, request_id, [*_ALLOW_POST, *echoed(request.headers)])

    async def _page(self, request: Request, reply: HttpReply, request_id: str) -> None:
        if is_raw(request.url):
            await serve_raw(self.house, request, reply, request_id)
            return
        if self.pages is None:
            raise NotFound("There is no such path.")
        await run_asgi(self.pages, request, reply, request_id)

    async def _shield(self, caller: CallerDialect, request: Request, reply: HttpReply, *, chat: bool) -> None:
        """No request ends without an answer, and no bug without a line in the log."""
        request_id = self.request_id()
        call: ChatCall | None = None
        self.inflight += 1
        try:
            if not chat:
                await self._page(request, reply, request_id)
            elif request.method != b"POST":
                self._without_post(caller, request, reply, request_id)
            elif self.jobs is not None and b"x-penstock-async" in request.told:
                await self.jobs.accept(request, reply, request_id)
            else:
                inbound = request.inbound
                if inbound is None:
                    inbound = Inbound(caller, request.told, request.body, request.received_s, reply.known)
                facts = begin_facts(request_id, inbound.received_s, self.house.clock.unix_s())
                behind = None if self.jobs is None else await in_background(inbound)
                if behind is not None and self.jobs is not None:
                    await self.jobs.accept_background(behind, request, reply, request_id)
                    return
                call = call_of(self.house, inbound, reply, facts, self.log.failure)
                await call.run()
        except PenstockError as error:
            if call is not None:
                self._answer(error, call.inbound, reply, call.facts)
            else:
                respond(reply, error, caller, request_id, echoed(request.headers))
        except Exception as error:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
            echo = echoed(list(request.told.items()))
            respond(reply, self._bug(error, request_id), caller, request_id, echo)
        finally:
            self.inflight -= 1

    def take_gauges(self) -> None:
        """Readings of the moment, into the metrics: called when they are scraped."""
        house, metrics, now_s = self.house, self.house.metrics, time.monotonic()
        express.count(metrics, self.tallies, house.observed, now_s)
        metrics.inflight = self.inflight
        metrics.set(CONNECTIONS, len(self.connections))
        metrics.set(LEDGER_QUEUE, house.books.waiting)
        metrics.set(LEDGER_FAULT, int(house.journal.fault is not None))
        metrics.clear(BREAKER)
        metrics.clear(KEY_UP)
        for target in house.health.snapshot(now_s):
            metrics.set_breaker(target, house.health.state(target, now_s))
        for name, provider in house.providers.items():
            if provider.queue is not None:
                provider.queue.tell(metrics)
            cooling = provider.keys.cooling(now_s)
            for key in provider.keys.keys:
                metrics.set_key(name, key.name, up=key.name not in cooling)

    def sweep(self) -> None:
        """Close stale connections, every few seconds."""
        self.close_stale()
        express.count(self.house.metrics, self.tallies, self.house.observed, time.monotonic())
        notice = self.house.journal.notice
        if notice is not None:
            self.log.once("ledger notice", notice)
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self.sweep)

    def close_stale(self) -> None:
        """Close connections that idle too long, or whose request never becomes whole."""
        now_s, idle_s = asyncio.get_running_loop().time(), self.house.config.server.keep_alive_ms / 1000
        for connection in list(self.connections):
            quiet_s = now_s - connection.last_s
            # After twice the time it was closed a while ago, and its caller never read what was written.
            if (connection.idle and quiet_s > 2 * idle_s) or connection.overdue(now_s, 2 * STALLED_REQUEST_S):
                connection.abort()
            elif (connection.idle and quiet_s > idle_s) or connection.overdue(now_s, STALLED_REQUEST_S):
                connection.close()

    async def drain(self, timeout_s: float) -> bool:
        """No new calls; wait for running ones. True when all ended in time."""
        self.draining = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        await asyncio.sleep(0)  # calls taken in this very turn of the loop begin, and count
        while self.inflight and loop.time() < deadline_s and not self.impatient:
            for connection in list(self.connections):
                if connection.idle:
                    connection.close()
            await asyncio.sleep(0.02)
        ended = self.inflight == 0
        for stranger in list(self.turned_away):
            stranger.abort()
        for connection in list(self.connections):
            connection.close() if ended else connection.abort()
        # A closed connection leaves when its caller has read the last bytes; a cut call must still be settled.
        last_s = max(deadline_s, loop.time() + SETTLE_S) if ended else loop.time() + SETTLE_S
        while (self.connections or self.inflight) and loop.time() < last_s:  # noqa: ASYNC110 - once per life
            await asyncio.sleep(0.005)
        if self.connections:
            ended = False
            for connection in list(self.connections):
                connection.abort()
            await asyncio.sleep(0)
        return ended


async def _misrouted(app: App, error: PenstockError, request: Request, reply: HttpReply) -> None:
    """A path or a header says what cannot be."""
    app.refuse(request, reply, error)
