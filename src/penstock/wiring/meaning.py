"""The semantic tier, from its knobs: embedder, static vectors, tier, decider, audits; what was kept before is taken up again.

What it needs (``penstock[semantic]``: numpy, onnxruntime, tokenizers, usearch) is imported only where it is switched on. Where
it is not installed the tier is off, and says so: the gateway serves.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from msgspec import MsgspecError, Struct

from penstock.base.decisions import Rejected
from penstock.blobs.blob import Blob, Place
from penstock.blobs.tiers import Blobs
from penstock.cache.answer import KIND, Answer, read_about, read_answer
from penstock.cache.audit_book import AuditBook
from penstock.cache.audit_file import MEMORY
from penstock.cache.audits import DAY_MS
from penstock.cache.embed.opening import BUILTIN, folder_of, open_embedder, open_prefilter
from penstock.cache.keys import Keys
from penstock.cache.ports import Embedder, Prefilter
from penstock.cache.semantic.decider import Certified, FixedThreshold
from penstock.cache.templates import Templates
from penstock.config.schema_cache import CacheConfig, SemanticCacheConfig
from penstock.gateway.caching.asking import Inner
from penstock.gateway.caching.keeping import ENTRY
from penstock.gateway.caching.provider_embedder import ProviderEmbedder
from penstock.gateway.caching.semantic import RemoteEmbedder, Semantic, Tier
from penstock.gateway.caching.sense import EmbeddedSense
from penstock.gateway.caching.shadow import LOOSEST, THRESHOLD, Auditor, LearningDecider
from penstock.gateway.caching.sieving import Sieving
from penstock.wiring.build import Shared

FIND_S = 1.0
"""An audit has time."""
_SCANNED = 100
"""At a time: some milliseconds of the embedder's thread, between which calls are looked up."""
APART = Place("apart", "", "")
"""Where pairs lie that were judged wrong, as keyed hashes, for the other nodes."""
APART_MS = 180 * DAY_MS
"""As long as an audit's words are kept."""
_SAID = 1_000
"""So many answers take long enough to be taken up that the log says so."""
Says = Callable[[str], Rejected | None]


class Closes(Protocol):
    """Has something running."""

    def close(self) -> None:
        """End it."""
        ...


class Parts(Struct, frozen=True):
    """What the tier is made of. ``remote``: the embedder is a provider's. ``sieve`` and ``static``: where there are static vectors."""

    embedder: Embedder | RemoteEmbedder
    tier: Tier
    decider: LearningDecider
    cues: Says
    english: Says
    vetoes: Callable[[str, str], tuple[str, ...]]
    sieve: Sieving | None = None
    static: Any = None


class MeaningDesk:
    """The semantic tier of one configuration. ``open`` before the first call."""

    def __init__(
        self,
        settings: SemanticCacheConfig,
        keys: Keys,
        blobs: Blobs,
        shared: Shared,
        *,
        audits_at: str | None,
        cache: CacheConfig,
        inner: Inner,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._blobs = blobs
        self._shared = shared
        self._inner = inner
        self._book = AuditBook(
            MEMORY if audits_at is None else audits_at,
            run=shared.run,
            keep_prompts=cache.keep_prompts,
            log_once=shared.log.once,
        )
        self._cache = cache
        self._ids: dict[tuple[Place, bytes], str] = {}
        self._closing: list[Closes] = []
        self._dropping: set[asyncio.Future[bool]] = set()
        self._refilling: asyncio.Task[None] | None = None
        self._closed = False
        self._remote: ProviderEmbedder | None = None
        self.semantic: Semantic | None = None
        self.auditor: Auditor | None = None

    async def open(self, base: Path, environ: Mapping[str, str]) -> Rejected | None:
        """None: it serves. Else why it is off. Raises ConfigFault."""
        parts = await asyncio.to_thread(opened, self._settings, self._inner, base, environ)
        if isinstance(parts, Rejected):
            return parts
        shared = self._shared
        semantic = Semantic(
            self._settings,
            self._keys,
            parts.tier,
            parts.embedder,
            Templates(self._settings.templates),
            cues=parts.cues,
            english=parts.english,
            clock_ms=lambda: int(shared.clock.unix_s() * 1000),
            most_entries=self._cache.max_entries,
        )
        sense = None
        if isinstance(parts.embedder, ProviderEmbedder):
            self._remote = parts.embedder
        if hasattr(parts.embedder, "embed"):
            embedder: Embedder = parts.embedder  # type: ignore[assignment] - a remote one has no ``embed``
            sense = EmbeddedSense(embedder, parts.vetoes)
            self._closing.append(sense)
        if parts.static is not None:
            semantic.sieve, semantic.sieve_ready = parts.sieve, lambda: bool(parts.static.ready)
            self._closing.append(parts.static)
        self.semantic = semantic
        self.auditor = semantic.audits = Auditor(
            self._settings,
            self._book,
            parts.decider,
            self._condemn,
            self._inner,
            shared.rng,
            shared.clock,
            sense=sense,
            log=shared.log,
            agreed=semantic.agreed,
            parted=None if self._cache.redis is None else self._part,
        )
        self.auditor.classes = semantic.classes
        semantic.classes.gone = self.auditor.folded
        await self.auditor.start()
        for entry_id, reason in self._book.quarantines.items():
            semantic.quarantine(entry_id, reason)
        semantic.read = self._read
        self._blobs.subscribe(self._gone)
        self._blobs.news(self._came)
        self._refilling = asyncio.get_running_loop().create_task(self._refill(semantic))
        return None

    async def _refill(self, semantic: Semantic) -> None:
        """What was kept before this process began, by it or by other nodes. Calls are served meanwhile."""
        log, began_s, count = self._shared.log, time.monotonic(), 0
        semantic.filling = True
        for kind, store in product((APART.kind, KIND), range(self._blobs.stores)):
            after = 0
            while found := await self._blobs.scan(kind, after, _SCANNED, store=store):
                if count < _SAID <= count + len(found):
                    log.event("cache.taking_up", so_far=count + len(found))
                for blob in found:
                    self._came(blob)
                after, count = found[-1].seq, count + len(found)
                await semantic.caught_up()
        semantic.filling = False
        if count >= _SAID:
            seconds = round(time.monotonic() - began_s, 1)
            log.event("cache.taken_up", compared=self.view().get("entries"), seconds=seconds)

    def view(self) -> dict[str, Any]:
        """As an operator sees it. ``graphs``: large partitions, of which a graph of neighbours has been built since the start."""
        semantic = self.semantic
        if semantic is None:
            return {"state": "off", "why": "It is being closed."}
        stats: Any = getattr(semantic.tier, "stats", lambda: None)()
        return {
            "state": "taking up" if semantic.filling else "on",
            "embedder": semantic.build_id,
            "entries": 0 if stats is None else stats.entries,
            "partitions": 0 if stats is None else stats.partitions,
            "graphs": 0 if stats is None else stats.graphs,
        }

    def _part(self, partition: bytes, one: str, other: str, /, *, wrong: bool) -> None:
        """A verdict of this node's, for the others: its own processes read the audits' file."""
        semantic = self.semantic
        if semantic is None or self._closed:
            return
        key = self._keys.pair_key(partition, one, other)
        if wrong:
            now_ms = int(self._shared.clock.unix_s() * 1000)
            self._blobs.put(Blob(APART, key, b"", now_ms, now_ms + APART_MS, 0, (), key))
            semantic.apart.add(key)
        elif key in semantic.apart:
            semantic.apart.discard(key)
            self._dropping.add(task := asyncio.ensure_future(self._blobs.drop(APART, key)))
            task.add_done_callback(self._dropping.discard)

    def _came(self, blob: Blob) -> None:
        semantic = self.semantic
        if semantic is None or self._closed or not blob.about:
            return
        if blob.place == APART:
            semantic.apart.add(blob.key)
            return
        if blob.place.kind != KIND:
            return
        try:
            entry_id = read_about(blob.about).id
        except MsgspecError:
            return  # of another version
        if self._ids.get((blob.place, blob.key)) == entry_id:
            return  # a nearer store had it, too
        self._ids[blob.place, blob.key] = entry_id
        semantic.learn(blob)

    def _gone(self, place: Place, key: bytes) -> None:
        semantic = self.semantic
        if semantic is None or self._closed:
            return
        if place == APART:
            semantic.apart.discard(key)
            return
        entry_id = self._ids.pop((place, key), None) or semantic.id_of(place, key)
        if entry_id is not None:
            semantic.forget(entry_id)

    async def _condemn(self, entry_id: str) -> None:
        """It was wrong: gone everywhere, and not to come back here."""
        if self.semantic is not None:
            self.semantic.quarantine(entry_id, "an audit found it wrong")
        await self._blobs.purge(tag=ENTRY + entry_id)

    async def _read(self, place: Place, key: bytes) -> Answer | None:
        now_ms = int(self._shared.clock.unix_s() * 1000)
        blob = await self._blobs.find(place, key, now_ms, within_s=FIND_S)
        if blob is None:
            return None
        try:
            return read_answer(blob.value)
        except MsgspecError:
            return None

    async def hush(self) -> None:
        """No more calls of our own: a drain does not wait for them."""
        auditor, self.auditor = self.auditor, None
        if auditor is not None:
            await auditor.aclose()
        if self._remote is not None:
            await self._remote.aclose()

    async def aclose(self) -> None:
        """What runs is ended, what is known is written."""
        await self.hush()
        self._closed = True
        if self._refilling is not None:
            self._refilling.cancel()
        if self.semantic is not None:
            await asyncio.to_thread(self.semantic.close)
        for one in self._closing:
            await asyncio.to_thread(one.close)
        # The stores tell this object for as long as they are open: it must not keep a model and its vectors alive.
        self.semantic = self._remote = None
        self._closing.clear()
        self._ids.clear()


def opened(
    settings: SemanticCacheConfig, inner: Inner, base: Path, environ: Mapping[str, str]
) -> Parts | Rejected:
    """The parts, or what is missing. Blocks for half a second."""
    try:
        embedder = embedder_of(settings, inner, base, environ)
        if isinstance(embedder, Rejected):
            return embedder
        # Only now: onnxruntime loaded after usearch ends the process (1.31 and 2.26, 2026-11).
        from penstock.cache.semantic.cues import volatile  # noqa: PLC0415 - see tests/house/test_floors.py
        from penstock.cache.semantic.guards import vetoes  # noqa: PLC0415 - see tests/house/test_floors.py
        from penstock.cache.semantic.language import english  # noqa: PLC0415 - see tests/house/test_floors.py
        from penstock.cache.semantic.sieve import Sieve  # noqa: PLC0415 - see tests/house/test_floors.py
        from penstock.cache.semantic.tier import SemanticTier  # noqa: PLC0415 - see tests/house/test_floors.py
    except ImportError as error:
        return Rejected(
            "not-installed", f"{error.name} is not installed. Run pip install 'penstock[semantic]'."
        )
    decider = decider_of(settings)
    static = None
    if hasattr(embedder, "embed"):
        static = open_prefilter(settings, embedder, base=base, environ=environ)  # type: ignore[arg-type] - it embeds here
    tier = SemanticTier(decider)
    if static is None or isinstance(static, Rejected):
        return Parts(embedder, tier, decider, volatile, english, vetoes)
    prefilter: Prefilter = static
    sieve = Sieve(prefilter.embed, static.dimensions, static.least)
    return Parts(embedder, tier, decider, volatile, english, vetoes, sieve, static)


def embedder_of(
    settings: SemanticCacheConfig, inner: Inner, base: Path, environ: Mapping[str, str]
) -> Embedder | RemoteEmbedder | Rejected:
    """On this machine, or a provider's model."""
    if settings.embedder != BUILTIN and folder_of(settings.embedder, base) is None:
        return ProviderEmbedder(settings.embedder, inner)
    return open_embedder(settings, base=base, environ=environ)


def decider_of(settings: SemanticCacheConfig) -> LearningDecider:
    """The configured threshold, or one that is certified."""
    value = settings.similarity_threshold
    if settings.max_error_rate is None:
        return FixedThreshold(THRESHOLD if value is None else value, confidence=settings.confidence)
    return Certified(settings.max_error_rate, settings.confidence, LOOSEST if value is None else value)
