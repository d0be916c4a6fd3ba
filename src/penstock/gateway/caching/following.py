"""One caller that follows another's call: the same events, in his own dialect, as they come.

Rule: his last bytes wait until the leader is settled, and he himself.
"""

import asyncio
import copy
import time
from typing import Protocol

from penstock.base.errors import PenstockError
from penstock.base.events import Event, Finished
from penstock.gateway.caching.flights import Flight, Follower
from penstock.gateway.caching.hits import (
    cache_lines,
    deliver,
    identity_of_hit,
    model_named,
    outcome_of,
    stream_head,
)
from penstock.gateway.heads import reply_head
from penstock.gateway.house import House
from penstock.gateway.planning import Planned
from penstock.gateway.ports import Inbound, Reply
from penstock.gateway.settle import CallFacts, Outcome
from penstock.wire.ports import ReplyWriter


class Late(PenstockError):
    """A follower has had nothing for too long."""


class Call(Protocol):
    """What is known of the follower."""

    house: House
    inbound: Inbound
    reply: Reply
    facts: CallFacts


class Following:
    """``run`` once."""

    __slots__ = ("_ask", "_call", "_flight", "_gathered", "_made", "_outcome", "_planned", "_stream")

    def __init__(self, call: Call, planned: Planned, flight: Flight) -> None:
        ask = call.facts.ask
        assert ask is not None
        self._call = call
        self._flight = flight
        self._planned = planned
        self._ask = ask
        self._stream = ask.stream
        self._gathered: list[Event] = []
        self._outcome: Outcome | None = None
        self._made: ReplyWriter | None = None

    async def run(self, wait_s: float) -> PenstockError | None:
        """None: answered. Else what went wrong before anything was sent; afterwards it is raised."""
        facts, reply, flight = self._call.facts, self._call.reply, self._flight
        facts.cache = cache_lines("coalesced")
        follower = flight.join(self._hear, lambda: reply.started)
        if follower is None:
            facts.cache = b""
            return PenstockError("it could not be joined any more")
        facts.note(
            "cache", reason=f"joined the call {flight.leader_id}, which asks the same", code="coalesced"
        )
        timer = asyncio.get_running_loop().call_later(wait_s, self._late, follower, wait_s)
        try:
            error = await self._ended(follower)
        except Exception as bug:
            if reply.started or facts.settled:
                raise
            facts.outcomes.clear()
            error = PenstockError(f"its answer could not be told here ({type(bug).__name__})")
        finally:
            timer.cancel()
            flight.leave(follower)
        if error is None:
            return None
        if reply.started:
            raise copy.copy(error)
        facts.cache = b""
        return error

    async def _ended(self, follower: Follower) -> PenstockError | None:
        facts, began_s = self._call.facts, time.monotonic()
        try:
            error = await follower.over
        finally:
            facts.waited_s += time.monotonic() - began_s
        if error is None:
            self._finish()
        return error

    def _late(self, follower: Follower, wait_s: float) -> None:
        if not follower.heard and not follower.over.done():
            follower.over.set_result(Late(f"it had no word for {wait_s:g} s"))

    def _hear(self, events: list[Event]) -> None:
        gathered, reply, facts = self._gathered, self._call.reply, self._call.facts
        gathered += events
        if not self._stream or isinstance(events[-1], Finished):
            return
        out = self._writer.write(gathered)
        self._gathered = []
        if not out:
            return
        if reply.started:
            reply.write(out)
            return
        outcome = self._began()
        outcome.content_s = time.monotonic()
        facts.own_s = outcome.content_s - facts.received_s - facts.waited_s
        reply.start(200, stream_head(facts, outcome), out)

    @property
    def _writer(self) -> ReplyWriter:
        """Made with the first events: only then it is known who answers."""
        if self._made is None:
            call, flight = self._call, self._flight
            served = (flight.provider, flight.model)
            model = model_named(call.house, call.facts, self._planned, served, self._gathered)
            self._made = call.inbound.caller.writer(
                self._ask, identity_of_hit(call.facts, flight.provider, model)
            )
        return self._made

    def _began(self) -> Outcome:
        if self._outcome is None:
            flight = self._flight
            self._outcome = outcome_of(
                self._call.facts, self._planned.steps[0].target, flight.provider, flight.model, None
            )
        return self._outcome

    def _finish(self) -> None:
        facts, reply, outcome = self._call.facts, self._call.reply, self._began()
        outcome.saved_nusd = self._flight.cost_nusd or 0
        if self._flight.sources:
            facts.adjusted = (*facts.adjusted, "sources-dropped")
            facts.note(
                "cache",
                reason="its answer turned out to have sources after the stream had begun",
                code="unsourced",
            )
        writer = self._writer
        last = writer.write(self._gathered) if self._stream else writer.whole(self._gathered)
        deliver(
            self._call.house, facts, outcome, f"the answer of {self._flight.leader_id}, which paid for it"
        )
        if not self._stream:
            reply.send(200, reply_head(facts, outcome, stream=False), last)
        elif reply.started:
            reply.end(last)
        else:
            reply.start(200, stream_head(facts, outcome), last)
            reply.end()
