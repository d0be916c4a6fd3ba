"""A request's way through the cache: exact, joined, by meaning; else it is fetched, recorded and kept.

Theory
------
What may be served is decided by pure functions (``cache``); this file asks the stores in their order, and what it cannot
have it has fetched by the call itself. Nothing here may fail a call: a store that is away, an embedder that is late, an entry
that cannot be read are misses, each with its reason in the call's explanation.

Rules
- A hit takes a request of its caller's rates, none of its tokens, and no money.
- A hit was answered by a target that this caller may use, whoever asked for it first.
- What is kept was delivered whole; errors, cut and filtered answers never are (cache.storable).
"""

import asyncio

from penstock.base.decisions import Rejected
from penstock.base.errors import CallerGone, PenstockError
from penstock.gateway.caching.entering import cache_miss, enter_free
from penstock.gateway.caching.fetching import Fetching
from penstock.gateway.caching.finding import Finding
from penstock.gateway.caching.flights import Flight, Flights, Unshared
from penstock.gateway.caching.following import Following, Late
from penstock.gateway.caching.hits import cache_lines, model_named, outcome_of, replay
from penstock.gateway.caching.lookup import Hit, Wanted
from penstock.gateway.caching.means import Call, Meaning, Means
from penstock.gateway.caching.quick import Done, Host, quick, remember
from penstock.gateway.caching.wanting import wanted_of
from penstock.gateway.house import House
from penstock.gateway.planning import Planned
from penstock.gateway.ports import Inbound, Reply
from penstock.gateway.settle import CallFacts

ROUNDS = 2
"""How often a follower joins again after the call that it had joined went wrong."""


class Caching:
    """The cache of one gateway process (gateway.house.Caches)."""

    __slots__ = ("_fetching", "_finding", "flights", "means")

    def __init__(self, means: Means, flights: Flights | None = None) -> None:
        """``flights``: of the configuration before, so that a reload joins what is under way."""
        self.means = means
        self.flights = Flights(100) if flights is None else flights
        if means.coalesce is not None:
            self.flights.most_followers = means.coalesce.max_followers
        self._finding = Finding(means)
        self._fetching = Fetching(means, self.flights)

    def quick(self, host: Host, house: House, inbound: Inbound, reply: Reply) -> Done | Rejected | None:
        """See gateway.caching.quick."""
        return quick(self.means, host, house, inbound, reply)

    def bypass(self, facts: CallFacts, no: Rejected) -> None:
        """The cache has no part in this call."""
        self.means.bypass(facts, no)

    async def serve(self, call: Call, planned: Planned, tokens: int) -> None:
        """Serve the call from the cache, or have it fetched."""
        wanted = await wanted_of(self.means, call, planned)
        if isinstance(wanted, Rejected):
            self.bypass(call.facts, wanted)
            await call.fetch(planned, tokens)
            return
        hit = await self._finding.exact(call, wanted, planned)
        if hit is not None and await self._serve_hit(call, wanted, planned, hit):
            return
        if wanted.joins:
            joined = await self._join(call, wanted, planned)
            if joined:
                return
        flight = self._lead(call, wanted) if wanted.joins else None
        try:
            hit = await self._finding.by_meaning(call, wanted, planned)
            if hit is not None and await self._serve_hit(call, wanted, planned, hit):
                return
            if wanted.controls.mode == "only":
                call.facts.cache = cache_lines("miss")
                self.means.count("miss")
                raise cache_miss()
            await self._fetching.fetch(call, planned, tokens, wanted, flight)
        finally:
            if flight is not None and not call.facts.orphan:
                self._fetching.land(
                    wanted, flight, CallerGone("The call that this one had joined was given up.")
                )

    def _lead(self, call: Call, wanted: Wanted) -> Flight | None:
        return self.flights.lead(wanted.key, call.facts.request_id, wanted.since)

    async def _serve_hit(self, call: Call, wanted: Wanted, planned: Planned, hit: Hit) -> bool:
        """False: it could not be told, and nothing of it was."""
        facts = call.facts
        await enter_free(facts)
        try:
            await self._told(call, wanted, planned, hit)
        except Exception as error:
            if call.reply.started or facts.settled:
                raise
            self.means.failed("replaying", error)
            facts.outcomes.clear()
            facts.cache = b""
            facts.note("cache", reason=f"{hit.answer.id} could not be told", code="cache-failed")
            return False
        if hit.found is not None and self.means.meaning is not None:
            # Afterwards: the loop writes what was sent when this step is over.
            asyncio.get_running_loop().call_soon(self._learn, self.means.meaning, call, wanted, hit)
        return True

    def _learn(self, meaning: Meaning, call: Call, wanted: Wanted, hit: Hit) -> None:
        """An audit may follow."""
        try:
            meaning.served(call, wanted, hit)
        except Exception as error:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
            self.means.failed("auditing", error)

    async def _told(self, call: Call, wanted: Wanted, planned: Planned, hit: Hit) -> None:
        facts, answer = call.facts, hit.answer
        how = "hit-exact" if hit.found is None else "hit-semantic"
        facts.cache = cache_lines(how, now_ms=self.means.now_ms(), answer=answer, found=hit.found)
        why = "the same request" if hit.found is None else f"means the same, score {hit.found.score:.4f}"
        facts.note("cache", reason=f"{how}: {answer.id}, {why}", code=how)
        outcome = outcome_of(facts, planned.steps[0].target, answer.provider, answer.model, answer.cost_nusd)
        paced = self.means.settings.replay == "paced"
        model = model_named(call.house, facts, planned, (answer.provider, answer.model), answer.events)
        if hit.value is not None:
            at, target = (wanted.place, wanted.key), planned.steps[0].target
            call.inbound.ask = facts.ask
            remember(call.house, call.inbound, answer, hit.value, at, target, facts.explain, model)
        await replay(call.house, call.inbound, call.reply, facts, outcome, answer, model=model, paced=paced)
        self.means.count(how, answer.cost_nusd)

    async def _join(self, call: Call, wanted: Wanted, planned: Planned) -> bool:
        """Whether an identical call in flight has answered this one."""
        last: PenstockError | None = None
        for _ in range(ROUNDS):
            flight = self.flights.find(wanted.key)
            if flight is None:
                return False
            if self.means.blobs.dropped.touched(flight.since, wanted.place, wanted.key):
                self.flights.over(wanted.key, flight)  # what it brings is of before a purge
                return False
            await enter_free(call.facts)
            assert self.means.coalesce is not None
            following = Following(call, planned, flight)
            last = await following.run(self.means.coalesce.wait_ms / 1000)
            if last is None:
                self.means.count("coalesced", flight.cost_nusd)
                return True
            call.facts.note(
                "cache",
                reason=f"the call that this one had joined went wrong: {last.message}",
                code="unjoined",
            )
            if isinstance(last, Late | Unshared):
                break  # the same call again would take as long, or could not be told either
        wanted.joins = False
        return False
