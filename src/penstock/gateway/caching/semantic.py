"""The semantic tier in a request's life: its text is stripped, embedded and compared in a thread of its own, within a deadline.

Theory
------
An embedding takes some milliseconds of one core, without Python's lock. One thread makes them one after another (a text's
vector must not depend on what it was embedded beside), and takes entries up and lets them go in their order. A caller waits
for at most ``max_queue_ms`` in front of that thread; else his call is a miss, told as such.

To compare is Python, which runs one thread at a time in any case: where the partition is small it is done in the loop, whose
processor has it at hand, and a text whose vector is known waits for no thread at all, unless there are entries to be taken
up before. A large partition's product, which needs no lock, is the thread's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import msgspec

from penstock.base.chat import ChatRequest
from penstock.base.decisions import Rejected
from penstock.base.events import TextDelta, fold
from penstock.blobs.blob import Blob, Place
from penstock.cache.answer import About, Answer, read_about
from penstock.cache.classes import Classes, escaped
from penstock.cache.eligible import last_user_text
from penstock.cache.keys import Keys
from penstock.cache.ports import Embedder, Found
from penstock.cache.semantic.known import KnownVectors
from penstock.cache.templates import Templates
from penstock.config.schema_cache import SemanticCacheConfig
from penstock.gateway.caching.aside import Aside, Job
from penstock.gateway.caching.lookup import Hit, Vectored, Wanted
from penstock.gateway.caching.means import Call
from penstock.gateway.caching.shadow import Auditor, NearMiss, ServedHit
from penstock.gateway.caching.sieving import Paying, Sieving

MOST_TOKENS = 200
"""Of what is embedded: beyond the window two texts that begin alike are one (measured: cosine 1.000 from 256 on)."""


COMPARABLE = frozenset({"not-certified", "below-threshold"})
"""Refusals of what might have been served at another threshold; what a guard refused would not."""
MOST_ENTRIES = 100_000
MOST_BEHIND = 50
"""Of answers that wait for their vectors: further ones are not kept."""
_BUSY = Found(
    Rejected(
        "embedder-busy", "the embedder has more to do than semantic_cache.max_queue_ms allows to wait for"
    )
)
_FAR = Found(Rejected("no-neighbour", "nothing that is kept in this partition comes near (static vectors)"))
_FILLING = Rejected(
    "taking-up",
    "What was kept before the start is still being taken up, and nothing of it so far could be compared.",
)
_FORBIDDEN = Rejected("negative-pair", "somebody has judged that these two do not mean the same")
_LATE = Found(Rejected("embedder-late", "the embedding model took too long"))


class Tier(Protocol):
    """What is kept, by partition (cache.semantic.tier)."""

    def look(
        self, partition: bytes, klass: str, text: str, vector: bytes, now_ms: int, *, min_score: float | None
    ) -> Found:
        """The nearest, and whether it may be served."""
        ...

    def ahead(self, text: str) -> None:
        """It is being embedded: what else takes time of a look."""
        ...

    def brief(self, partition: bytes) -> bool:
        """A look there takes no longer than other things the loop does."""
        ...

    def insert(self, about: About, place_namespace: str, key: bytes) -> object:
        """One more."""
        ...

    def remove(self, entry_id: str) -> object:
        """One less."""
        ...

    def quarantine(self, entry_id: str, reason: str) -> object:
        """It is served no more."""
        ...


class RemoteEmbedder(Protocol):
    """A provider's embedding model (gateway.caching.provider_embedder)."""

    build_id: str
    english_only: bool
    within_s: float
    """A later vector is of no use."""

    async def vector(self, text: str) -> bytes | Rejected:
        """float32 little-endian, unit length."""
        ...


Says = Callable[[str], Rejected | None]


class Semantic:
    """The tier, its embedder and its thread (gateway.caching.caching.Meaning)."""

    def __init__(
        self,
        settings: SemanticCacheConfig,
        keys: Keys,
        tier: Tier,
        embedder: Embedder | RemoteEmbedder,
        templates: Templates,
        *,
        cues: Says,
        english: Says,
        clock_ms: Callable[[], int],
        most_entries: int = MOST_ENTRIES,
    ) -> None:
        """``most_entries``: in memory; of more, the oldest are found by their exact key alone."""
        self._most = most_entries
        self._order: dict[str, None] = {}
        """The entries that the tier has, the oldest first. The thread's own."""
        self.settings = settings
        self.tier = tier
        self.classes = Classes()
        self.audits: Auditor | None = None
        self.read: Callable[[Place, bytes], Awaitable[Answer | None]] | None = None
        """What lies there: the neighbour's answer, for comparisons."""
        self.sieve: Sieving | None = None
        self.sieve_ready: Callable[[], bool] = lambda: False
        """Its vectors can be made."""
        self._ids: dict[tuple[Place, bytes], str] = {}
        self._keys = keys
        self._embedder = embedder
        self.build_id = embedder.build_id
        self._templates = templates
        self._cues = cues
        self._english = english
        self._clock_ms = clock_ms
        self._thread = Aside("penstock-embed")
        self._waiting = 0
        self._known = KnownVectors()
        self.apart: set[bytes] = set()
        """Pairs that were judged wrong at any node (``Keys.pair_key``), beside those that the book knows."""
        self.filling = False
        """What was kept before is still being taken up."""
        self._usual_s = 0.002
        """How long one embedding takes, lately."""
        self._paying = Paying()
        if hasattr(embedder, "embed"):
            self._thread.do(partial(self._embed, Vectored(b"", "", "the first one takes longer", b"", "")))

    async def look(self, wanted: Wanted, *, virtual_key: str, route: str) -> Vectored | Rejected:
        """What was made of the call's text, and what was found."""
        request = wanted.neutral
        text = last_user_text(request) if isinstance(request, ChatRequest) else None
        if text is None or not isinstance(request, ChatRequest):
            return Rejected("no-text", "The call has no last message of a user's to compare.")
        no = self._cues(text) or (self._english(text) if self._embedder.english_only else None)
        if no is not None:
            return no
        place, group = wanted.place, wanted.group
        setting = self._keys.template_class(wanted.owner, place.namespace, request, group)
        template_class = f"{escaped(place.tenant)}|{setting}"
        stripped = self._templates.strip(template_class, text)
        if stripped.exact_only is not None and stripped.exact_only.code == "mostly-ids":
            return stripped.exact_only
        partition = self._keys.partition_key(
            wanted.owner,
            place.namespace,
            request,
            group,
            self.build_id,
            stripped.template_id,
            beside=wanted.beside,
        )
        klass = self.classes.name(place.tenant, place.namespace, route, self.build_id, self._clock_ms())
        template = (template_class, stripped.template_id)
        vectored = Vectored(partition, klass, stripped.text, b"", self.build_id, template)
        looked = await self._embedded(vectored, wanted)
        if not isinstance(looked, Rejected):
            self._judged(looked, stripped.exact_only)
        return looked

    def _judged(self, looked: Vectored, exact_only: Rejected | None) -> None:
        """What a person, or the template, has against what was found."""
        found, audits = looked.found, self.audits
        if found is None:
            return
        if self.filling and found.refused is not None and found.refused.code == "no-neighbour":
            found = msgspec.structs.replace(found, refused=_FILLING)
        book = None if audits is None else audits.book
        if found.refused is None and (
            (book is not None and book.forbids(looked.partition, looked.text, found.text))
            or (self.apart and self._keys.pair_key(looked.partition, looked.text, found.text) in self.apart)
        ):
            found = msgspec.structs.replace(found, refused=_FORBIDDEN)
        comparable = found.refused is None or found.refused.code in COMPARABLE
        if exact_only is not None and comparable:
            # It is compared all the same: answers that agree open the template again.
            found = msgspec.structs.replace(found, refused=exact_only)
        looked.found = found
        if audits is not None and found.refused is not None:
            audits.passed(looked.klass, self._clock_ms())

    async def _embedded(self, vectored: Vectored, wanted: Wanted) -> Vectored | Rejected:
        embedder = self._embedder
        vectored.vector = self._known.find(vectored.partition, vectored.text)
        if vectored.vector:
            pass
        elif not hasattr(embedder, "embed"):
            remote: RemoteEmbedder = embedder  # type: ignore[assignment] - it is one
            try:
                async with asyncio.timeout(remote.within_s):
                    vector = await remote.vector(vectored.text)
            except TimeoutError:
                vectored.found = _LATE
                return vectored
            if isinstance(vector, Rejected):
                return vector
            vectored.vector = vector
            self._known.keep(vectored.partition, vectored.text, vector)
        elif self._waiting * self._usual_s * 1000 > self.settings.max_queue_ms:
            vectored.found = _BUSY
            return vectored
        if vectored.vector and self._thread.idle and self.tier.brief(vectored.partition):
            return self._compare(vectored, wanted)
        self._waiting += 1
        loop = asyncio.get_running_loop()
        ahead = partial(_read_ahead, loop, self.tier, vectored.text)
        job = self._thread.ask(partial(self._look, vectored, wanted, time.monotonic(), ahead))
        within_s = self.settings.max_queue_ms / 1000
        late = loop.call_later(within_s, _give_up, job)
        try:
            looked = await job.future
        finally:
            late.cancel()
            job.take_back()
            self._waiting -= 1
        if looked is _BUSY:
            vectored.found = _BUSY
        elif isinstance(looked, Rejected):
            return looked
        return vectored if vectored.found is not None else self._compare(vectored, wanted)

    def _look(
        self, vectored: Vectored, wanted: Wanted, asked_s: float, ahead: Callable[[], object]
    ) -> Rejected | Found | None:
        """In the thread: the vector; and what is near, where that takes long. ``ahead``: for the loop, meanwhile."""
        if not vectored.vector:
            began_s = time.monotonic()
            if (began_s - asked_s) * 1000 > self.settings.max_queue_ms:
                return _BUSY
            sieve = self.sieve if self.sieve_ready() else None
            if sieve is not None and not self._paying.near(
                sieve, vectored.partition, vectored.text, self._usual_s
            ):
                vectored.found = _FAR
                return None
            began_s = time.monotonic()
            ahead()
            no = self._embed(vectored)
            if no is not None:
                return no
            self._usual_s += 0.1 * (time.monotonic() - began_s - self._usual_s)
        if not self.tier.brief(vectored.partition):
            self._compare(vectored, wanted)
        return None

    def _compare(self, vectored: Vectored, wanted: Wanted) -> Vectored:
        """What is near, and whether it may be served."""
        vectored.found = self.tier.look(
            vectored.partition,
            vectored.klass,
            vectored.text,
            vectored.vector,
            self._clock_ms(),
            min_score=wanted.controls.min_score,
        )
        return vectored

    def _embed(self, vectored: Vectored) -> Rejected | None:
        """In the thread: the vector of a text that fits into the embedder's window."""
        embedder: Embedder = self._embedder  # type: ignore[assignment] - a remote one makes its vectors elsewhere
        tokens = embedder.tokens(vectored.text)
        if tokens > MOST_TOKENS:
            return Rejected(
                "text-too-long", f"What is to be compared has {tokens} tokens; {MOST_TOKENS} are the most."
            )
        vectored.vector = embedder.embed(vectored.text)
        self._known.keep(vectored.partition, vectored.text, vectored.vector)
        return None

    async def complete(self, vectored: Vectored) -> bool:
        """Whether its answer can be kept: what was not embedded in time is embedded now, for nobody waits."""
        if vectored.vector or self._waiting >= MOST_BEHIND:
            return bool(vectored.vector)
        if not hasattr(self._embedder, "embed"):
            remote: RemoteEmbedder = self._embedder  # type: ignore[assignment] - it is one
            vector = await remote.vector(vectored.text)
            vectored.vector = b"" if isinstance(vector, Rejected) else vector
        else:
            self._waiting += 1
            try:
                await self._thread.ask(partial(self._embed, vectored)).future
            finally:
                self._waiting -= 1
        return bool(vectored.vector)

    def keep(self, vectored: Vectored, entry_id: str, place: Place, key: bytes, until_ms: int) -> None:
        """An answer to it is there from now on."""
        about = About(
            entry_id,
            vectored.partition,
            vectored.klass,
            vectored.text,
            vectored.vector,
            vectored.embedder,
            until_ms,
        )
        self._ids[place, key] = entry_id
        self._thread.do(partial(self._insert, about, place.namespace, key))

    def id_of(self, place: Place, key: bytes) -> str | None:
        """The entry whose answer lay there, once."""
        return self._ids.pop((place, key), None)

    def learn(self, blob: Blob) -> None:
        """An entry that was kept before, or elsewhere. Another build's vectors mean nothing here."""
        about = read_about(blob.about)
        if about.embedder == self.build_id:
            self._thread.do(partial(self._insert, about, blob.place.namespace, blob.key))

    async def caught_up(self) -> None:
        """Until the thread has done all that it was told so far."""
        await self._thread.ask(_nothing).future

    def forget(self, entry_id: str) -> None:
        """It is gone."""
        self._thread.do(partial(self._remove, entry_id))

    def quarantine(self, entry_id: str, reason: str) -> None:
        """It was wrong."""
        self._thread.do(partial(self.tier.quarantine, entry_id, reason))

    def served(self, call: Call, wanted: Wanted, hit: Hit) -> None:
        """It was served: an audit may follow."""
        vectored = wanted.vectored
        if vectored is None or hit.found is None:
            return
        self._templates.repeated(*vectored.template)
        if self.audits is not None:
            self.audits.served(ServedHit(**_told(call, vectored, hit.found), answer=hit.answer))

    def missed(self, call: Call, wanted: Wanted, answer: Answer) -> None:
        """A fresh answer came, beside a neighbour that was not served."""
        vectored = wanted.vectored
        if vectored is None:
            return
        words = "".join(event.text for event in answer.events if isinstance(event, TextDelta))
        self._templates.answered(*vectored.template, words)
        found, audits = vectored.found, self.audits
        if audits is None or found is None or found.refused is None:
            return
        if not found.entry_id or self.read is None or found.entry_key == wanted.key:
            return
        place = Place(wanted.place.kind, wanted.place.tenant, found.namespace)
        near = _told(call, vectored, found)
        audits.missed(
            NearMiss(
                **near, fresh=fold(list(answer.events)), neighbour=partial(self.read, place, found.entry_key)
            )
        )

    def agreed(self, template: tuple[str, str]) -> None:
        """A comparison has found that one answer did for two messages of this template."""
        self._templates.repeated(*template)

    def _insert(self, about: About, namespace: str, key: bytes) -> None:
        self._known.keep(about.partition, about.text, about.vector)
        self.tier.insert(about, namespace, key)
        self._order.pop(about.id, None)
        self._order[about.id] = None
        while len(self._order) > self._most:
            self._remove(next(iter(self._order)))
        sieve = self.sieve
        if sieve is not None:
            sieve.insert(about.partition, about.id, about.text)

    def _remove(self, entry_id: str) -> None:
        self.tier.remove(entry_id)
        self._order.pop(entry_id, None)
        sieve = self.sieve
        if sieve is not None:
            sieve.remove(entry_id)

    def close(self) -> None:
        """No more of it."""
        self._thread.close()


def _give_up(job: Job[Rejected | Found | None]) -> None:
    """It has waited long enough: unless it has begun."""
    if not job.future.done() and job.take_back():
        job.future.set_result(_BUSY)


def _read_ahead(loop: asyncio.AbstractEventLoop, tier: Tier, text: str) -> None:
    """In the thread: while it embeds, without Python's lock, the loop has something to do."""
    loop.call_soon_threadsafe(tier.ahead, text)


def _nothing() -> None:
    """It has come to the end of its queue."""


def _told(call: Call, vectored: Vectored, found: Found) -> dict[str, Any]:
    facts, inbound = call.facts, call.inbound
    return {
        "request_id": facts.request_id,
        "at_ms": facts.at_ms,
        "klass": vectored.klass,
        "partition": vectored.partition,
        "text": vectored.text,
        "caller": inbound.caller,
        "body": inbound.body,
        "told": inbound.told,
        "principal": facts.principal,
        "found": found,
        "template": vectored.template,
    }
