"""A call that the cache could not serve is fetched: recorded beside its caller's way, followed by others, and kept.

Rule: a call that others follow belongs to them as well: it goes on when its own caller has gone, until nobody waits.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import cast

from msgspec import structs

from penstock.base.chat import ChatRequest
from penstock.base.decisions import Rejected
from penstock.base.embeddings import EmbeddingsRequest
from penstock.base.errors import CallerGone, OurFault, PenstockError
from penstock.base.models import Target
from penstock.base.operations import Operation
from penstock.blobs.since import Since
from penstock.cache.answer import About, encode
from penstock.cache.eligible import last_user_text
from penstock.cache.storable import cut
from penstock.gateway.caching.entering import leave_free
from penstock.gateway.caching.flights import Flight, Flights
from penstock.gateway.caching.hits import cache_lines
from penstock.gateway.caching.keeping import Delivered, Keepable, keepable
from penstock.gateway.caching.lookup import Vectored, Wanted
from penstock.gateway.caching.means import Call, Meaning, Means
from penstock.gateway.caching.recording import Recorded
from penstock.gateway.caching.replies import Detachable
from penstock.gateway.house import Provider
from penstock.gateway.planning import Planned
from penstock.gateway.settle import settle
from penstock.wire.ports import Relay, ReplyReader

PARSED_ASIDE_BYTES = 64 * 1024


class Heard:
    """The recording of a call's newest attempt."""

    __slots__ = ("recorded",)

    def __init__(self) -> None:
        self.recorded: Recorded | None = None


class Fetching:
    """Fetches one process's calls."""

    __slots__ = ("_flights", "_means")

    def __init__(self, means: Means, flights: Flights) -> None:
        self._means = means
        self._flights = flights

    async def fetch(
        self, call: Call, planned: Planned, tokens: int, wanted: Wanted, flight: Flight | None
    ) -> None:
        """At its caller's charge; what is delivered is kept, if it may be. ``flight``: those who follow it."""
        facts, heard = call.facts, Heard()
        leave_free(facts)
        facts.cache = cache_lines("miss")
        facts.note(
            "cache", reason="miss" if wanted.reads else "miss: a fresh answer was asked for", code="miss"
        )
        self._means.count("miss")
        facts.record = partial(self._listen, heard, flight, wanted)
        if flight is None:
            await self._fetched(call, planned, tokens, wanted, heard)
            return
        await self._lead(call, planned, tokens, wanted, flight, heard)

    def _listen(
        self,
        heard: Heard,
        flight: Flight | None,
        wanted: Wanted,
        relay: Relay,
        provider: Provider,
        target: Target,
    ) -> Relay:
        operation: Operation = "embeddings" if isinstance(wanted.neutral, EmbeddingsRequest) else "chat"
        stream = bool(getattr(wanted.neutral, "stream", False))
        dialect = provider.spoken[operation]
        most = 4 * self._means.settings.max_entry_bytes  # a streamed answer is a small part of its bytes
        # What passes through may be of an older API of the provider's than its dialect reads.
        own: Callable[[], ReplyReader] | None = getattr(relay, "reader", None)
        recorded = Recorded(relay, own or (lambda: dialect.reader(target, stream=stream)), target, most)
        heard.recorded = recorded
        if flight is not None:
            flight.listen(recorded)
        return cast("Relay", recorded)  # it reads what the relay holds, and sets nothing

    async def _lead(
        self, call: Call, planned: Planned, tokens: int, wanted: Wanted, flight: Flight, heard: Heard
    ) -> None:
        """Fetch it in a task of its own, which may outlive its caller."""
        facts = call.facts
        reply = Detachable(call.reply, lambda: bool(flight.followers))
        flight.on_joined = reply.hurry
        call.reply = reply
        task = asyncio.get_running_loop().create_task(self._fetched(call, planned, tokens, wanted, heard))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done() and flight.followers:
                facts.orphan = True
                reply.detach()
                facts.note(
                    "left", reason=f"its caller hung up; {len(flight.followers)} others wait for its answer"
                )
                flight.on_empty = task.cancel
                task.add_done_callback(partial(self._orphaned, call, wanted, flight))
                raise
            if task.done() and not task.cancelled() and task.exception() is None:
                self.land(wanted, flight, None, facts.cost_nusd)  # it had just come to its end
                raise
            task.cancel()
            await asyncio.wait((task,))
            raise
        except PenstockError as error:
            self.land(wanted, flight, error)
            raise
        self.land(wanted, flight, None, facts.cost_nusd)

    async def _fetched(self, call: Call, planned: Planned, tokens: int, wanted: Wanted, heard: Heard) -> None:
        """In one step after the last byte: what is said of the answer here is still written up with the call."""
        await call.fetch(planned, tokens)
        await self._keep(call, planned, wanted, heard)

    def _orphaned(self, call: Call, wanted: Wanted, flight: Flight, task: "asyncio.Task[None]") -> None:
        """A call without its caller has ended."""
        error = CallerGone("The caller hung up.") if task.cancelled() else task.exception()
        facts = call.facts
        if error is None:
            self.land(wanted, flight, None, facts.cost_nusd)
            return
        ours = (
            error
            if isinstance(error, PenstockError)
            else OurFault("The gateway failed to serve this request.")
        )
        settle(call.house, facts, ours)
        self.land(wanted, flight, ours)

    def land(
        self, wanted: Wanted, flight: Flight, error: PenstockError | None, cost_nusd: int | None = None
    ) -> None:
        """The flight is over, with the answer or without."""
        self._flights.over(wanted.key, flight)
        flight.end(error, cost_nusd)

    async def _keep(self, call: Call, planned: Planned, wanted: Wanted, heard: Heard) -> None:
        """What was delivered is kept, if it may be. The answer has left, and waits for none of it."""
        try:
            await self._put(call, planned, wanted, heard)
        except Exception as error:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
            self._means.failed("keeping", error)

    def _behind(self, what: Coroutine[None, None, None]) -> None:
        tasks, task = self._flights.behind, asyncio.get_running_loop().create_task(what)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _put(self, call: Call, planned: Planned, wanted: Wanted, heard: Heard) -> None:
        means, found = self._means, await self._kept(call, planned, wanted, heard)
        if found is None:
            return
        if isinstance(found, Rejected):
            call.facts.note("unkept", reason=found.reason, code=found.code)
            return
        meaning, vectored, about = means.meaning, wanted.vectored, found.about
        late = about is not None and not about.vector
        # Who asks the very same need not wait until its vector is made.
        if not means.blobs.put(structs.replace(found.blob, about=b"") if late else found.blob, wanted.since):
            call.facts.note(
                "unkept", reason="It was asked for before a purge that means it.", code="purged-meanwhile"
            )
            return
        if meaning is None or vectored is None:
            return
        if about is not None and late:
            self._behind(self._complete(meaning, vectored, found, about, wanted.since))
        elif about is not None:
            meaning.keep(vectored, found.answer.id, wanted.place, wanted.key, about.until_ms)
        meaning.missed(call, wanted, found.answer)

    async def _complete(
        self, meaning: Meaning, vectored: Vectored, found: Keepable, about: About, since: Since
    ) -> None:
        """An answer gets the vector by which it can be found."""
        try:
            if not await meaning.complete(vectored):
                return
            about, blob = structs.replace(about, vector=vectored.vector), found.blob
            if self._means.blobs.put(structs.replace(blob, about=encode(about)), since):
                meaning.keep(vectored, found.answer.id, blob.place, blob.key, about.until_ms)
        except Exception as error:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
            self._means.failed("embedding", error)

    async def _kept(
        self, call: Call, planned: Planned, wanted: Wanted, heard: Heard
    ) -> Keepable | Rejected | None:
        """None: nothing was delivered."""
        facts, recorded, means = call.facts, heard.recorded, self._means
        outcome = facts.outcomes[-1] if facts.outcomes else None
        if recorded is None or outcome is None or not outcome.delivered or outcome.cut:
            return None
        no = cut(recorded.stopped)
        if (
            no is not None
        ):  # known at once: of a large answer, what is found beside the loop comes after the call is written up
            return no
        large = recorded.size > PARSED_ASIDE_BYTES
        if await asyncio.to_thread(recorded.unwritten) if large else recorded.unwritten():
            return Rejected("not-reproducible", "The answer has sources or log probabilities.")
        read = await asyncio.to_thread(recorded.events) if large else recorded.events()
        if read is None:
            return Rejected("unreadable", "The answer is too large to be kept, or cannot be read back.")
        prompt = ""
        if isinstance(wanted.neutral, ChatRequest):
            prompt = last_user_text(wanted.neutral) or ""
        return keepable(
            Delivered(facts, outcome, planned, wanted, *read, prompt),
            settings=means.settings,
            semantic=means.semantic_settings,
            now_ms=means.now_ms(),
        )
