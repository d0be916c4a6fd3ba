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
from functools import partial
from typing import Protocol, cast

import msgspec

from penstock.base.clock import Clock
from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest, CallerGone, NotFound, OurFault, PenstockError
from penstock.base.models import Target
from penstock.blobs.blob import Place
from penstock.blobs.tiers import Blobs
from penstock.cache.answer import Answer, read_answer
from penstock.cache.controls import block_of, controls_of
from penstock.cache.eligible import exact_refusal, last_user_text, semantic_refusal
from penstock.cache.keys import Keys, canonical
from penstock.config.schema_cache import CacheConfig, CoalesceConfig, SemanticCacheConfig
from penstock.gateway.caching.entering import enter_free, leave_free
from penstock.gateway.caching.flights import Flight, Flights
from penstock.gateway.caching.following import Following
from penstock.gateway.caching.hits import cache_lines, outcome_of, replay
from penstock.gateway.caching.keeping import keepable
from penstock.gateway.caching.lookup import Hit, Vectored, Wanted, group_of, place_of
from penstock.gateway.caching.quick import CACHED, Done, Host, quick, remember
from penstock.gateway.caching.recording import Recorded
from penstock.gateway.caching.replies import Detachable
from penstock.gateway.house import House, Provider
from penstock.gateway.planning import Planned
from penstock.gateway.ports import Inbound, Reply
from penstock.gateway.remote import ASIDE_BYTES, Translator
from penstock.gateway.settle import CallFacts, settle
from penstock.observe.metrics import Metrics
from penstock.observe.names import CACHE_CALLS, CACHE_SAVED_NUSD
from penstock.routing.allow import may_use
from penstock.wire.ports import Relay

FIND_S = 0.05
"""A far store that takes longer has not got it."""
ROUNDS = 2
"""How often a follower joins again after the call that it had joined went wrong."""
PARSED_ASIDE_BYTES = 64 * 1024


class Call(Protocol):
    """The call that is served (gateway.call.ChatCall)."""

    house: House
    inbound: Inbound
    reply: Reply
    facts: CallFacts
    translator: Translator

    async def fetch(self, planned: Planned, tokens: int) -> None:
        """Have it answered by a provider."""
        ...


class Meaning(Protocol):
    """The semantic tier, as a call asks it (gateway.caching.semantic)."""

    async def look(self, wanted: Wanted, *, virtual_key: str, route: str) -> Vectored | Rejected:
        """What was made of its text, and what was found."""
        ...

    async def complete(self, vectored: Vectored) -> bool:
        """Whether its answer can be kept."""
        ...

    def keep(self, vectored: Vectored, entry_id: str, place: Place, key: bytes, until_ms: int) -> None:
        """An answer to it is there from now on."""
        ...

    def served(self, call: Call, wanted: Wanted, hit: Hit) -> None:
        """It was served: an audit may follow."""
        ...

    def missed(self, call: Call, wanted: Wanted, answer: Answer) -> None:
        """A fresh answer came, beside a neighbour that was not served."""
        ...


def coalesce_of(settings: CacheConfig) -> CoalesceConfig | None:
    """The block, or the defaults where it is only switched on; None: off."""
    block = settings.coalesce
    if isinstance(block, bool):
        return CoalesceConfig(enabled=True) if block else None
    return block if block.enabled else None


class Heard:
    """The recording of a call's newest attempt."""

    __slots__ = ("recorded",)

    def __init__(self) -> None:
        self.recorded: Recorded | None = None


class Caching:
    """The cache of one gateway process (gateway.house.Caches)."""

    def __init__(
        self,
        settings: CacheConfig,
        keys: Keys,
        blobs: Blobs,
        metrics: Metrics,
        clock: Clock,
        *,
        semantic_settings: SemanticCacheConfig | None = None,
        meaning: Meaning | None = None,
        flights: Flights | None = None,
    ) -> None:
        """``flights``: of the configuration before, so that a reload joins what is under way."""
        self.settings = settings
        self.keys = keys
        self.blobs = blobs
        self.metrics = metrics
        self.clock = clock
        self.semantic_settings = semantic_settings
        self.meaning = meaning
        self.coalesce = coalesce_of(settings)
        self._tasks: set[asyncio.Task[None]] = set()
        self.flights = Flights(100) if flights is None else flights
        if self.coalesce is not None:
            self.flights.most_followers = self.coalesce.max_followers

    def quick(self, host: Host, house: House, inbound: Inbound, reply: Reply) -> Done | Rejected | None:
        """See gateway.caching.quick."""
        return quick(self, host, house, inbound, reply)

    def now_ms(self) -> int:
        """Wall time."""
        return int(self.clock.unix_s() * 1000)

    async def serve(self, call: Call, planned: Planned, tokens: int) -> None:
        """Serve the call from the cache, or have it fetched."""
        wanted = await self.wanted(call, planned)
        if isinstance(wanted, Rejected):
            self.bypass(call.facts, wanted)
            await call.fetch(planned, tokens)
            return
        hit = await self._exact(call, wanted, planned)
        if hit is not None:
            await self._serve_hit(call, wanted, planned, hit)
            return
        if wanted.joins:
            joined = await self._join(call, wanted, planned)
            if joined:
                return
        flight = self.flights.lead(wanted.key, call.facts.request_id) if wanted.joins else None
        try:
            hit = await self._by_meaning(call, wanted, planned)
            if hit is not None:
                await self._serve_hit(call, wanted, planned, hit)
                return
            if wanted.controls.mode == "only":
                raise NotFound(
                    "No kept answer fits this call, and it asked for one only.",
                    code="cache_miss",
                    hint="Send it without x-penstock-cache: only to have it answered.",
                )
            await self._fetch(call, planned, tokens, wanted, flight)
        finally:
            if flight is not None and not call.facts.orphan:
                self._land(wanted, flight, CallerGone("The call that this one had joined was given up."))

    # What a call wants

    async def wanted(self, call: Call, planned: Planned) -> Wanted | Rejected:
        """What this call looks for and may leave, or why the cache has no part in it. Raises BadRequest of its controls."""
        facts, inbound = call.facts, call.inbound
        ask = facts.ask
        assert ask is not None
        block = block_of(ask.body)[0] if "penstock" in ask.gateway_fields else None
        controls = controls_of(inbound.told, block)
        if controls.mode == "off":
            return Rejected("asked-off", "The caller asked for no cache.")
        if ask.operation not in CACHED or facts.purpose is not None:
            return Rejected("not-cached", f"Answers of {facts.purpose or ask.operation} are not kept.")
        call.translator = translator = Translator(inbound.caller, ask)
        await translator.aside()
        try:
            neutral = translator.neutral()
        except BadRequest as error:
            return Rejected("untranslatable", f"The request cannot be compared: {error.message}")
        exact_no, semantic_no = exact_refusal(neutral, controls), None
        joins = (
            self.coalesce is not None
            and exact_no is None
            and controls.mode in ("default", "exact")
            and not self._too_warm(neutral)
        )
        if not self.settings.exact.enabled:
            exact_no = Rejected("exact-off", "The exact tier is off (cache.exact.enabled).")
        elif controls.mode == "semantic":
            exact_no = Rejected("asked-semantic", "The caller asked for the semantic tier alone.")
        if self.meaning is None or self.semantic_settings is None:
            semantic_no = Rejected("semantic-off", "The semantic tier is off.")
        elif controls.mode == "exact":
            semantic_no = Rejected("asked-exact", "The caller asked for the exact tier alone.")
        else:
            semantic_no = semantic_refusal(neutral, controls, self.semantic_settings)
        if exact_no is not None and semantic_no is not None and not joins:
            return semantic_no if self.meaning is not None else exact_no
        wishes = "" if ask.provider is None else msgspec.json.encode(ask.provider).decode()
        group = group_of(planned, wishes)
        place = place_of(facts.principal, self.settings.scope, controls.namespace)

        def keyed() -> bytes:
            return self.keys.exact_key(place.tenant, place.namespace, canonical(neutral, group=group))

        key = await asyncio.to_thread(keyed) if len(ask.body) > ASIDE_BYTES else keyed()
        reads = controls.mode != "refresh"
        return Wanted(place, key, controls, neutral, group, exact_no, semantic_no, joins, reads)

    def _too_warm(self, neutral: object) -> bool:
        most = 0.3 if self.semantic_settings is None else self.semantic_settings.max_temperature
        temperature = getattr(neutral, "temperature", None)
        return temperature is not None and temperature > most

    def bypass(self, facts: CallFacts, no: Rejected) -> None:
        """The cache has no part in this call."""
        facts.cache = cache_lines("bypass")
        facts.note("cache", reason=f"bypass: {no.reason}", code=no.code)
        self.metrics.add(CACHE_CALLS, 1, "bypass")

    # Looking

    async def _exact(self, call: Call, wanted: Wanted, planned: Planned) -> Hit | None:
        if not wanted.exact or not wanted.reads:
            return None
        read = await self._read(wanted.place, wanted.key)
        now_ms = self.now_ms()
        if read is None:
            return None
        answer, value = read
        if answer.exact_until_ms <= now_ms or self._too_old(answer, wanted, now_ms):
            return None
        return self._allowed(call, planned, Hit(answer, None, value))

    async def _read(self, place: Place, key: bytes) -> tuple[Answer, bytes] | None:
        now_ms = self.now_ms()
        blob = self.blobs.near(place, key, now_ms)
        if blob is None:
            blob = await self.blobs.find(place, key, now_ms, within_s=FIND_S)
        if blob is None:
            return None
        try:
            return read_answer(blob.value), blob.value
        except msgspec.MsgspecError:  # of another version: it is overwritten by the next answer
            return None

    def _too_old(self, answer: Answer, wanted: Wanted, now_ms: int) -> bool:
        ttl_s = wanted.controls.ttl_s
        return ttl_s is not None and now_ms - answer.created_ms > ttl_s * 1000

    def _allowed(self, call: Call, planned: Planned, hit: Hit) -> Hit | None:
        name = f"{hit.answer.provider}/{hit.answer.model}"
        if any(step.target.name == name for step in planned.steps):
            return hit
        if may_use(name, call.facts.explain.route, call.facts.principal.patterns):
            return hit
        call.facts.note(
            "cache", reason=f"the kept answer is of {name}, which this key may not use", code="not-allowed"
        )
        return None

    async def _by_meaning(self, call: Call, wanted: Wanted, planned: Planned) -> Hit | None:
        if self.meaning is None or not wanted.semantic:
            if wanted.semantic_no is not None and self.meaning is not None:
                call.facts.note("cache", reason=wanted.semantic_no.reason, code=wanted.semantic_no.code)
            return None
        facts = call.facts
        asked = "" if facts.ask is None else facts.ask.model
        looked = await self.meaning.look(wanted, virtual_key=facts.principal.name, route=asked)
        if isinstance(looked, Rejected):
            wanted.semantic_no = looked
            facts.note("cache", reason=f"not looked for by meaning: {looked.reason}", code=looked.code)
            return None
        wanted.vectored = looked
        found = looked.found
        if found is None or not wanted.reads:
            return None
        if found.refused is not None:
            facts.note(
                "cache",
                reason=f"no hit by meaning: {found.refused.reason}",
                code=found.refused.code,
            )
            return None
        place = Place(wanted.place.kind, wanted.place.tenant, found.namespace)
        read = await self._read(place, found.entry_key)
        now_ms = self.now_ms()
        answer = None if read is None else read[0]
        if answer is None or answer.semantic_until_ms <= now_ms or self._too_old(answer, wanted, now_ms):
            facts.note("cache", reason="the nearest kept answer is gone", code="expired")
            return None
        return self._allowed(call, planned, Hit(answer, found))

    async def _serve_hit(self, call: Call, wanted: Wanted, planned: Planned, hit: Hit) -> None:
        facts, answer = call.facts, hit.answer
        await enter_free(facts)
        how = "hit-exact" if hit.found is None else "hit-semantic"
        facts.cache = cache_lines(how, now_ms=self.now_ms(), answer=answer, found=hit.found)
        why = "the same request" if hit.found is None else f"means the same, score {hit.found.score:.4f}"
        facts.note("cache", reason=f"{how}: {answer.id}, {why}", code=how)
        outcome = outcome_of(facts, planned.steps[0].target, answer.provider, answer.model, answer.cost_nusd)
        self.count(how, answer.cost_nusd)
        paced = self.settings.replay == "paced"
        if hit.value is not None and facts.ask is not None:
            target, place = planned.steps[0].target, wanted.place
            remember(
                call.house,
                call.inbound,
                answer,
                hit.value,
                place,
                wanted.key,
                facts.ask,
                target,
                facts.explain,
            )
        await replay(call.house, call.inbound, call.reply, facts, outcome, answer, paced=paced)
        if hit.found is not None and self.meaning is not None:
            self.meaning.served(call, wanted, hit)

    def count(self, how: str, saved_nusd: int | None) -> None:
        """One more served so."""
        self.metrics.add(CACHE_CALLS, 1, how)
        if saved_nusd:
            self.metrics.add(CACHE_SAVED_NUSD, saved_nusd)

    # Joining

    async def _join(self, call: Call, wanted: Wanted, planned: Planned) -> bool:
        """Whether an identical call in flight has answered this one."""
        last: PenstockError | None = None
        for _ in range(ROUNDS):
            flight = self.flights.find(wanted.key)
            if flight is None:
                return False
            await enter_free(call.facts)
            assert self.coalesce is not None
            following = Following(call, planned.steps[0].target, flight)
            last = await following.run(self.coalesce.wait_ms / 1000)
            if last is None:
                self.count("coalesced", flight.cost_nusd)
                return True
            call.facts.note(
                "cache",
                reason=f"the call that this one had joined went wrong: {last.message}",
                code="unjoined",
            )
        wanted.joins = False
        return False

    # Fetching

    async def _fetch(
        self, call: Call, planned: Planned, tokens: int, wanted: Wanted, flight: Flight | None
    ) -> None:
        facts, heard = call.facts, Heard()
        leave_free(facts)
        facts.cache = cache_lines("miss")
        facts.note(
            "cache", reason="miss" if wanted.reads else "miss: a fresh answer was asked for", code="miss"
        )
        self.metrics.add(CACHE_CALLS, 1, "miss")
        facts.record = partial(self._listen, heard, flight, wanted)
        if flight is None:
            await call.fetch(planned, tokens)
            await self._keep(call, planned, wanted, heard)
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
        operation = "embeddings" if type(wanted.neutral).__name__ == "EmbeddingsRequest" else "chat"
        stream = bool(getattr(wanted.neutral, "stream", False))
        dialect = provider.spoken[operation]
        most = 4 * self.settings.max_entry_bytes  # a streamed answer is a small part of its bytes
        recorded = Recorded(relay, lambda: dialect.reader(target, stream=stream), target, most)
        heard.recorded = recorded
        if flight is not None:
            flight.listen(recorded)
        return cast("Relay", recorded)  # it reads what the relay holds, and sets nothing

    async def _lead(
        self, call: Call, planned: Planned, tokens: int, wanted: Wanted, flight: Flight, heard: Heard
    ) -> None:
        """Fetch it in a task of its own, which may outlive its caller."""
        facts = call.facts
        reply = Detachable(call.reply)
        call.reply = reply
        task = asyncio.get_running_loop().create_task(call.fetch(planned, tokens))
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
                task.add_done_callback(partial(self._orphaned, call, planned, wanted, flight, heard))
                raise
            task.cancel()
            await asyncio.wait((task,))
            raise
        except PenstockError as error:
            self._land(wanted, flight, error)
            raise
        await self._keep(call, planned, wanted, heard)
        self._land(wanted, flight, None, facts.cost_nusd)

    def _orphaned(
        self,
        call: Call,
        planned: Planned,
        wanted: Wanted,
        flight: Flight,
        heard: Heard,
        task: "asyncio.Task[None]",
    ) -> None:
        """A call without its caller has ended."""
        error = CallerGone("The caller hung up.") if task.cancelled() else task.exception()
        facts = call.facts
        if error is None:
            self._land(wanted, flight, None, facts.cost_nusd)
            kept = asyncio.get_running_loop().create_task(self._keep(call, planned, wanted, heard))
            self._tasks.add(kept)
            kept.add_done_callback(self._tasks.discard)
            return
        ours = (
            error
            if isinstance(error, PenstockError)
            else OurFault("The gateway failed to serve this request.")
        )
        settle(call.house, facts, ours)
        self._land(wanted, flight, ours)

    def _land(
        self, wanted: Wanted, flight: Flight, error: PenstockError | None, cost_nusd: int | None = None
    ) -> None:
        self.flights.over(wanted.key, flight)
        flight.end(error, cost_nusd)

    async def _keep(self, call: Call, planned: Planned, wanted: Wanted, heard: Heard) -> None:
        """What was delivered is kept, if it may be."""
        facts, recorded = call.facts, heard.recorded
        outcome = facts.outcomes[-1] if facts.outcomes else None
        if recorded is None or outcome is None or not outcome.delivered or outcome.cut:
            return
        if recorded.unwritten:
            facts.note(
                "unkept", reason="The answer has sources or log probabilities.", code="not-reproducible"
            )
            return
        large = recorded.size > PARSED_ASIDE_BYTES
        read = await asyncio.to_thread(recorded.events) if large else recorded.events()
        if read is None:
            facts.note(
                "unkept",
                reason="The answer is too large to be kept, or cannot be read back.",
                code="unreadable",
            )
            return
        if (
            wanted.vectored is not None
            and self.meaning is not None
            and not await self.meaning.complete(wanted.vectored)
        ):
            wanted.vectored = None
        prompt = ""
        if self.settings.keep_prompts and wanted.semantic:
            prompt = last_user_text(wanted.neutral) or ""  # type: ignore[arg-type] - the semantic tier has chats only
        found = keepable(
            facts,
            outcome,
            planned,
            wanted,
            *read,
            settings=self.settings,
            semantic=self.semantic_settings,
            now_ms=self.now_ms(),
            prompt=prompt,
        )
        if isinstance(found, Rejected):
            facts.note("unkept", reason=found.reason, code=found.code)
            return
        self.blobs.put(found.blob)
        if self.meaning is not None and wanted.vectored is not None:
            if found.about is not None:
                self.meaning.keep(
                    wanted.vectored, found.answer.id, wanted.place, wanted.key, found.about.until_ms
                )
            self.meaning.missed(call, wanted, found.answer)
