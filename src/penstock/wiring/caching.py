"""The cache, from its knobs: stores, keys, embedder, tier; opened once, and joined to each house that a reload builds.

What the semantic tier needs (``penstock[semantic]``: numpy, onnxruntime, tokenizers, usearch) is imported only where it is
switched on. Where it is not installed the tier is off, and says so: the gateway serves.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import MsgspecError

from penstock.base.decisions import Rejected
from penstock.blobs.blob import Blob, Place
from penstock.blobs.opening import BlobSettings, open_blobs
from penstock.blobs.tiers import Blobs
from penstock.cache.answer import KIND, read_about
from penstock.cache.keys import Keys
from penstock.cache.ports import Decider
from penstock.cache.templates import Templates
from penstock.config.cache_meaning import coalesces, wants_cache, wants_meaning
from penstock.config.load import Loaded
from penstock.config.schema_cache import CacheConfig, SemanticCacheConfig
from penstock.config.secrets import local_path
from penstock.gateway.caching.caching import Caching
from penstock.gateway.caching.flights import Flights
from penstock.gateway.caching.means import Means
from penstock.gateway.caching.semantic import Semantic
from penstock.gateway.house import House
from penstock.ledger.opening import is_postgres
from penstock.wiring.build import Shared

MEMORY = "memory"
THRESHOLD = 0.94
"""As the users' reports have it (10,000 caption pairs: below it wrong categories, above 0.96 few hits)."""
LOOSEST = 0.80
_SCANNED = 500


class CacheDesk:
    """Holds what outlives a reload. ``join`` gives a house its cache."""

    def __init__(self, place: str, ledger_path: str, environ: Mapping[str, str]) -> None:
        self._beside = f"{ledger_path if is_postgres(place) else place}.cache"
        self._environ = environ
        self._settings: BlobSettings | None = None
        self.blobs: Blobs | None = None
        self.keys: Keys | None = None
        self.semantic: Semantic | None = None
        self._semantic_settings: SemanticCacheConfig | None = None
        self._flights = Flights(1)
        self._ids: dict[tuple[Place, bytes], str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, house: House, loaded: Loaded, shared: Shared) -> None:
        """The cache that its configuration wants. Raises ConfigFault where a store cannot be opened."""
        config = house.config
        if not wants_cache(config):
            house.caching = None
            return
        settings = self._blob_settings(config.cache, loaded, only_joins=not _keeps(house))
        if self.blobs is None:
            blobs = open_blobs(settings, say=shared.log.once)
            await blobs.open()
            self.blobs, self._settings = blobs, settings
            self.keys = Keys(blobs.secret())
        elif settings != self._settings:
            shared.log.fault("reload.needs_restart", path="$.cache")
        assert self.keys is not None
        semantic = config.semantic_cache if wants_meaning(config) else None
        if semantic != self._semantic_settings or (semantic is not None and self.semantic is None):
            await self._mean(semantic, loaded, shared)
        means = Means(
            config.cache,
            self.keys,
            self.blobs,
            shared.metrics,
            shared.clock,
            semantic_settings=semantic,
            meaning=self.semantic,
        )
        house.caching = Caching(means, self._flights)

    def _blob_settings(self, cache: CacheConfig, loaded: Loaded, *, only_joins: bool) -> BlobSettings:
        path: str | None = self._beside if cache.path is None else str(local_path(cache.path, loaded.base))
        if cache.path == MEMORY or only_joins or self._beside.startswith(":memory:"):
            path = None
        url = cache.redis
        if url is not None and url in loaded.secrets:
            url = loaded.secrets[url].reveal()
        return BlobSettings(
            path=path,
            redis_url=url,
            max_bytes=cache.max_bytes,
            max_entries=cache.max_entries,
            tenant_max_bytes=cache.tenant_max_bytes,
            disk_max_bytes=cache.disk_max_bytes,
        )

    async def _mean(self, settings: SemanticCacheConfig | None, loaded: Loaded, shared: Shared) -> None:
        """Open the semantic tier, or close it."""
        old, self.semantic = self.semantic, None
        self._semantic_settings = settings
        if old is not None:
            await asyncio.to_thread(old.close)
        if settings is None or self.blobs is None or self.keys is None:
            return
        made = await asyncio.to_thread(opened, settings, loaded, self._environ)
        if isinstance(made, Rejected):
            shared.log.once("semantic cache off", f"The semantic cache is off: {made.reason}")
            return
        embedder, tier, cues, english = made
        self.semantic = Semantic(
            settings,
            self.keys,
            tier,
            embedder,
            Templates(settings.templates),
            cues=cues,
            english=english,
            clock_ms=lambda: int(shared.clock.unix_s() * 1000),
        )
        self.blobs.subscribe(self._gone)
        self.blobs.news(self._came)
        task = asyncio.get_running_loop().create_task(self._refill(self.blobs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _refill(self, blobs: Blobs) -> None:
        """What was kept before this process began."""
        after = 0
        while found := await blobs.scan(KIND, after, _SCANNED):
            for blob in found:
                self._came(blob)
            after = found[-1].seq

    def _came(self, blob: Blob) -> None:
        semantic = self.semantic
        if semantic is None or not blob.about or blob.place.kind != KIND:
            return
        try:
            entry_id = read_about(blob.about).id
        except MsgspecError:
            return  # of another version
        self._ids[blob.place, blob.key] = entry_id
        semantic.learn(blob)

    def _gone(self, place: Place, key: bytes) -> None:
        entry_id = self._ids.pop((place, key), None)
        if entry_id is not None and self.semantic is not None:
            self.semantic.forget(entry_id)

    async def aclose(self) -> None:
        """Write what is to be written."""
        for task in list(self._tasks):
            task.cancel()
        if self.semantic is not None:
            await asyncio.to_thread(self.semantic.close)
        if self.blobs is not None:
            await self.blobs.aclose()


def _keeps(house: House) -> bool:
    config = house.config
    return config.cache.exact.enabled or wants_meaning(config) or not coalesces(config)


Says = Callable[[str], Rejected | None]


def opened(
    settings: SemanticCacheConfig, loaded: Loaded, environ: Mapping[str, str]
) -> tuple[Any, Any, Says, Says] | Rejected:
    """Embedder, tier, and who speaks of cues and language; or what is missing."""
    try:
        from penstock.cache.embed.opening import open_embedder  # noqa: PLC0415 - see tests/house/test_floors.py

        # Opened before the tier is imported: onnxruntime loaded after usearch ends the process (1.31 and 2.26, 2026-11).
        embedder = open_embedder(settings, base=loaded.base, environ=environ)
        if isinstance(embedder, Rejected):
            return embedder
        from penstock.cache.semantic.cues import volatile  # noqa: PLC0415 - see tests/house/test_floors.py
        from penstock.cache.semantic.language import english  # noqa: PLC0415 - see tests/house/test_floors.py
        from penstock.cache.semantic.tier import SemanticTier  # noqa: PLC0415 - see tests/house/test_floors.py
    except ImportError as error:
        return Rejected(
            "not-installed", f"{error.name} is not installed. Run pip install 'penstock[semantic]'."
        )
    return embedder, SemanticTier(decider_of(settings)), volatile, english


def decider_of(settings: SemanticCacheConfig) -> Decider:
    """The configured threshold, or one that is certified."""
    from penstock.cache.semantic.decider import Certified, FixedThreshold  # noqa: PLC0415 - see tests/house/test_floors.py

    value = settings.similarity_threshold
    if settings.max_error_rate is None:
        return FixedThreshold(THRESHOLD if value is None else value, confidence=settings.confidence)
    return Certified(settings.max_error_rate, settings.confidence, LOOSEST if value is None else value)
