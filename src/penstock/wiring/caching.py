"""The cache, from its knobs: stores and keys, opened once, and joined to each house that a reload builds."""

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.base.errors import BadRequest, ConfigFault
from penstock.base.events import Event
from penstock.blobs.opening import BlobSettings, open_blobs
from penstock.blobs.tiers import Blobs
from penstock.cache.answer import KIND
from penstock.cache.keys import Keys
from penstock.cache.semantic.binomial import lower, upper
from penstock.config.cache_meaning import coalesces, wants_cache, wants_meaning
from penstock.config.load import Loaded
from penstock.config.schema_cache import CacheConfig, SemanticCacheConfig
from penstock.config.secrets import local_path
from penstock.gateway.caching.asking import Fresh, Question
from penstock.gateway.caching.caching import Caching
from penstock.gateway.caching.filling import fill
from penstock.gateway.caching.flights import Flights
from penstock.gateway.caching.keeping import ASKER, ENTRY, MODEL
from penstock.gateway.caching.lookup import team_tenant
from penstock.gateway.caching.means import Means, Tally
from penstock.gateway.caching.office import CacheOffice, Figures
from penstock.gateway.house import House
from penstock.gateway.ports import Inbound
from penstock.gateway.principal import Principal
from penstock.ledger.opening import is_postgres
from penstock.server.app import App
from penstock.server.inner import ask_inside
from penstock.wiring.build import Shared
from penstock.wiring.keeping import MEMORY

if TYPE_CHECKING:
    from penstock.wiring.meaning import MeaningDesk

BEHIND_S = 1.0
"""Answers of the last calls may still wait for their vectors."""


class CacheDesk:
    """Holds what outlives a reload. ``join`` gives a house its cache."""

    def __init__(self, place: str, ledger_path: str, environ: Mapping[str, str]) -> None:
        self._beside = f"{ledger_path if is_postgres(place) else place}.cache"
        self._environ = environ
        self._settings: BlobSettings | None = None
        self._app: App | None = None
        self._flights = Flights(1)
        self._tally = Tally()
        self._wanted: SemanticCacheConfig | None = None
        self.blobs: Blobs | None = None
        self.keys: Keys | None = None
        self.meaning: MeaningDesk | None = None
        self._off = ""
        """Why the semantic tier is not there, where it is wanted."""

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
            self.blobs, self._settings, self.keys = blobs, settings, Keys(blobs.secret())
        elif settings != self._settings:
            shared.log.fault("reload.needs_restart", path="$.cache")
        assert self.keys is not None
        semantic = config.semantic_cache if wants_meaning(config) else None
        if semantic != self._wanted:
            await self._mean(semantic, config.cache, loaded, shared)
        means = Means(
            config.cache,
            self.keys,
            self.blobs,
            shared.metrics,
            shared.clock,
            semantic_settings=semantic,
            meaning=None if self.meaning is None else self.meaning.semantic,
            tally=self._tally,
            log=shared.log,
        )
        house.caching = Caching(means, self._flights)

    def introduce(self, app: App) -> None:
        """Whose calls are cached; through it audits ask again, and an operator sees what is kept."""
        self._app = app
        caching = app.house.caching
        if not isinstance(caching, Caching) or self.blobs is None:
            app.cache = None
            return
        app.cache = CacheOffice(
            clock=caching.means.clock,
            stores=self.blobs.stats,
            figures=self._figures,
            purge=self._purge,
            evict=self._evict,
            auditor=None if self.meaning is None else self.meaning.auditor,
            semantic=self._semantic_view,
            fill=partial(self._fill, app),
            lower=lower,
            upper=upper,
        )

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

    async def _mean(
        self, wanted: SemanticCacheConfig | None, cache: CacheConfig, loaded: Loaded, shared: Shared
    ) -> None:
        """Open the semantic tier of these knobs, or close it."""
        old, self.meaning, self._wanted = self.meaning, None, wanted
        if old is not None:
            await old.aclose()
        self._off = ""
        if wanted is None or self.blobs is None or self.keys is None or self._settings is None:
            return
        path = self._settings.path
        from penstock.wiring.meaning import MeaningDesk  # noqa: PLC0415 - see tests/house/test_floors.py

        made = MeaningDesk(
            wanted,
            self.keys,
            self.blobs,
            shared,
            audits_at=None if path is None else f"{path}.audits",
            cache=cache,
            inner=self._ask,
        )
        try:
            refused = await made.open(Path(loaded.base), self._environ)
            why = None if refused is None else refused.reason
        except (
            ConfigFault
        ) as error:  # the audits' file cannot be written: the gateway serves without this tier
            why = error.public()
        self._off = why or ""
        if why is not None:
            await made.aclose()
            shared.log.once("semantic cache off", f"The semantic cache is off: {why}")
            return
        self.meaning = made

    async def _ask(self, asked: Question) -> Fresh:
        """A call that the cache makes for itself."""
        if self._app is None:
            raise ConfigFault("The gateway does not listen yet.", path="$.semantic_cache")
        return await ask_inside(self._app, asked)

    def _semantic_view(self) -> dict[str, Any]:
        if self.meaning is not None:
            return self.meaning.view()
        return {"state": "off", "why": self._off or "It is not configured (semantic_cache)."}

    def _figures(self) -> Figures:
        assert self.blobs is not None
        return Figures(dict(self._tally.answers), self._tally.saved_nusd, self.blobs.faults)

    async def _purge(
        self, *, tenant: str | None, namespace: str | None, tag: str | None, model: str | None
    ) -> int:
        """``tenant``: the name of a key, a team (ORGANISATION/TEAM) or an organisation, or with its kind (key:, team:,
        organisation:). Of an organisation its teams', of a key what it asked for where it shares its answers."""
        assert self.blobs is not None
        if model is not None:
            if tag is not None:
                raise BadRequest("A purge names a tag or a model, not both.", param="model", hint="Send two.")
            tag = MODEL + model
        if tenant is None or ":" in tenant or not tenant:
            return await self.blobs.purge(kind=KIND, tenant=tenant, namespace=namespace, tag=tag)
        count = 0
        for one in self._tenants(tenant):
            count += await self.blobs.purge(kind=KIND, tenant=one, namespace=namespace, tag=tag)
        if tag is None:
            count += await self.blobs.purge(kind=KIND, namespace=namespace, tag=ASKER + tenant)
        return count

    def _tenants(self, name: str) -> list[str]:
        """As they are called in the stores. Of teams that are no longer there, only those without an organisation, or named
        with it."""
        teams = () if self._app is None else self._app.house.config.teams
        named = [one for one in teams if name in (one.name, one.organisation)]
        shared = [team_tenant(one.organisation or "", one.name) for one in named]
        return list(
            dict.fromkeys((f"key:{name}", f"organisation:{name}", f"team:/{name}", f"team:{name}", *shared))
        )

    async def _evict(self, entry_id: str) -> bool:
        assert self.blobs is not None
        return bool(await self.blobs.purge(tag=ENTRY + entry_id))

    async def _fill(
        self,
        app: App,
        inbound: Inbound,
        principal: Principal,
        events: tuple[Event, ...],
        namespace: str | None,
    ) -> str:
        caching = app.house.caching
        if not isinstance(caching, Caching):
            raise BadRequest("Nothing is cached.", code="cache_off")
        return await fill(app.house, caching.means, inbound, principal, events, namespace)

    async def hush(self) -> None:
        """No more calls of our own."""
        if self.meaning is not None:
            await self.meaning.hush()

    async def aclose(self) -> None:
        """Write what is to be written."""
        if self._flights.behind:
            await asyncio.wait(self._flights.behind, timeout=BEHIND_S)
        if self.meaning is not None:
            await self.meaning.aclose()
        if self.blobs is not None:
            await self.blobs.aclose()


def _keeps(house: House) -> bool:
    config = house.config
    return config.cache.exact.enabled or wants_meaning(config) or not coalesces(config)
