"""From a loaded configuration to a House. What outlives a reload (ledger, health, limits, connections) is handed in."""

import random
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from typing import Any

import msgspec

from penstock import __version__
from penstock.base.clock import Clock, SystemClock
from penstock.base.endpoint import parse_base_url
from penstock.base.errors import ConfigFault
from penstock.base.models import Target
from penstock.config.borrowing import catalogue_for
from penstock.config.catalogue import Catalogue, ProviderFacts
from penstock.config.load import Loaded
from penstock.config.offers import offer_of
from penstock.config.schema import Config, ProviderConfig
from penstock.config.schema_aws import region_of
from penstock.config.secrets import local_path, reference_name
from penstock.config.slugs import Drift
from penstock.dialects import spoken
from penstock.dialects.bedrock import bedrock_base_url, is_key_pair
from penstock.dialects.gemini import vertex_base_url
from penstock.gateway.books import Books
from penstock.gateway.dialogue import fetcher_of
from penstock.gateway.house import House, Provider
from penstock.gateway.kinds import spoken_there
from penstock.gateway.listing import Listing
from penstock.gateway.principal import Doors
from penstock.gateway.queue import ProviderQueue
from penstock.gateway.reasoning_memory import ReasoningMemory
from penstock.gateway.treasury import MemoryStore, Treasury
from penstock.gateway.watcher import Watcher
from penstock.gateway.webhooks import Address, Webhooks
from penstock.ledger.journal import Journal
from penstock.ledger.leases import Pot, SliceStore
from penstock.net.aws_sign import AwsSigner
from penstock.net.dial import ca_version, trust
from penstock.net.google_token import GoogleTokens
from penstock.net.transport import Transport, TransportSettings
from penstock.objects.keeper import Keeper
from penstock.observe.log import OperatorLog
from penstock.observe.metrics import Metrics
from penstock.routing.estimate import TokenEstimator
from penstock.routing.health import Health
from penstock.routing.keys import KeyRing, ProviderKey
from penstock.routing.names import Names
from penstock.routing.observed import Observed
from penstock.server.postings import expect_own_costs
from penstock.state.names import new_run
from penstock.wiring.detokenizing import detokenizer
from penstock.wiring.governed import Kept, doors_of, has_budgets
from penstock.wiring.objects import keeper_at
from penstock.wiring.sellers import Sellers

_COMPLETES = re.compile(r"gpt-3\.5-turbo-instruct(?:-\d+)?|davinci-002|babbage-002")
"""OpenAI's models for /completions alone (its reference, legacy completions; read 2026-11)."""


class Shared:
    """What outlives a reload."""

    def __init__(self, journal: Journal, log: OperatorLog, seed: int | None = None) -> None:
        self.journal = journal
        self.log = log
        self.metrics = Metrics(version=__version__)
        self.observed = Observed()
        self.books = Books(journal, self.metrics, log, self.observed)
        self.health = Health()
        self.estimator = TokenEstimator()
        self.reasoning = ReasoningMemory()
        self.clock: Clock = SystemClock()
        self.rng = random.Random(seed)
        self.transports: dict[TransportSettings, Transport] = {}
        self.kept = Kept({}, {})
        self.run = new_run()
        """The name of this run of this process, never used again."""
        self.open_store: Callable[[], SliceStore] = lambda: MemoryStore(self.clock)
        self.call_back: Callable[[list[Pot]], Awaitable[object]] | None = None
        """Makes other processes return what lies idle in budgets, where there are any."""
        """Where the money of budgets comes from, once there is a budget; by itself it is forgotten with the process."""
        self.queues: dict[str, ProviderQueue] = {}
        self.watcher: Watcher | None = None
        self.keeper: Keeper = keeper_at(":memory:")
        """What callers leave with us; by itself it is forgotten with the process."""


def build(loaded: Loaded, catalogue: Catalogue, shared: Shared, previous: House | None = None) -> House:
    """A House beside the running one. Raises ConfigFault when a part cannot be made; nothing is started."""
    config = loaded.config
    if config is None:
        raise ConfigFault("The configuration has faults.", path="$")
    catalogue = catalogue_for(config, catalogue)
    providers: dict[str, Provider] = {}
    for name, settings in config.providers.items():
        made = _provider(name, settings, loaded, catalogue, shared)
        if made is not None:
            providers[name] = made
            if previous is not None and name in previous.providers:
                made.keys.adopt(previous.providers[name].keys)
    maker = _TargetMaker(config, providers, catalogue)
    sellers = Sellers(config, frozenset(providers), catalogue, maker.make)
    names = Names(
        config=config,
        make_target=maker.make,
        bare=partial(_sellers_of, catalogue),
        nearest=catalogue.nearest,
        endpoints=sellers.of,
    )
    models = _models(config, providers, catalogue)
    shared.metrics.expect(names.own(), frozenset(model["id"] for model in models))
    expect_own_costs(shared.metrics, config)
    house = House(
        config=config,
        version=blake2b(loaded.text.encode(), digest_size=6).hexdigest(),
        names=names,
        providers=providers,
        doors=_doors(config, loaded, shared),
        health=shared.health,
        estimator=shared.estimator,
        books=shared.books,
        journal=shared.journal,
        metrics=shared.metrics,
        clock=shared.clock,
        rng=shared.rng,
        log_once=shared.log.once,
        models=models,
        keeper=shared.keeper,
        observed=shared.observed,
        drift=Drift(catalogue.facts),
        reasoning=shared.reasoning,
        provider_names=frozenset(
            word.lower()
            for words in (config.providers, *((row.name, *row.aliases) for row in catalogue.providers()))
            for word in words
        ),
        listing=Listing(partial(sellers.offered, names), sellers.find),
    )
    _queues(config, providers, shared)
    house.watcher = _watch(config, loaded, shared)
    return house


def _watch(config: Config, loaded: Loaded, shared: Shared) -> Watcher | None:
    """Alerts, where there are budgets. What was told, and what waits to be posted, outlives a reload."""
    treasury = shared.kept.treasury
    if treasury is None:
        return None
    watcher = shared.watcher
    if watcher is None:
        webhooks = Webhooks(shared.log, shared.metrics, shared.clock, shared.rng)
        watcher = shared.watcher = Watcher(treasury, webhooks, shared.metrics, shared.log, shared.clock)
        treasury.watch = watcher.note
    watcher.percents = config.alerts.at_percent
    secrets = loaded.secrets
    watcher.webhooks.change(
        [
            Address(
                secrets[one.url].reveal() if one.url in secrets else one.url, secrets[one.secret].reveal()
            )
            for one in config.alerts.webhooks
        ]
    )
    return watcher


def _lease_s(config: Config) -> float:
    """What is not settled by then belongs to no call that runs."""
    return 2 * config.server.total_timeout_ms / 1000


def govern(house: House, loaded: Loaded, shared: Shared) -> House:
    """The running house with the keys, teams and budgets of ``loaded``; all else stays."""
    config = loaded.config
    assert config is not None, "only what was loaded is put in force"
    governed = house.governed(config, _doors(config, loaded, shared))
    governed.watcher = _watch(config, loaded, shared)
    return governed


def _doors(config: Config, loaded: Loaded, shared: Shared) -> Doors:
    if shared.kept.treasury is None and has_budgets(config):
        shared.kept.treasury = Treasury(shared.open_store(), shared.run, shared.clock, _lease_s(config))
        shared.kept.treasury.recalls.ask = shared.call_back
    return doors_of(config, loaded, shared.kept)


def ledger_place(loaded: Loaded) -> str:
    """Where the ledger is: the URL, password and all, or the file. Not to be shown: ``ledger.opening.shown``."""
    if loaded.config is None:
        raise ConfigFault("The configuration has faults.", path="$")
    ledger = loaded.config.ledger
    if ledger.url is None:
        return ledger.path
    secret = loaded.secrets.get(ledger.url)
    return ledger.url if secret is None else secret.reveal()


def read_ahead(loaded: Loaded) -> None:
    """Read what a house of this configuration will want from files (trust in certificates, some 20 ms each), so that
    ``build`` finds it in memory. Touches nothing that runs: made for another thread."""
    for settings in () if loaded.config is None else loaded.config.providers.values():
        if (settings.network.base_url or "").startswith("http://"):
            continue
        with suppress(ValueError):  # build says it, with its path
            trust(_ca_file(settings, loaded))


def retire(old: House, new: House, shared: Shared) -> list[Transport]:
    """Transports that only the old house used; they close when their last exchange ends."""
    kept = {id(provider.transport) for provider in new.providers.values()}
    gone = [p.transport for p in old.providers.values() if id(p.transport) not in kept]
    stale = {id(transport) for transport in gone}
    shared.transports = {
        settings: transport for settings, transport in shared.transports.items() if id(transport) not in stale
    }
    return gone


def _provider(
    name: str, settings: ProviderConfig, loaded: Loaded, catalogue: Catalogue, shared: Shared
) -> Provider | None:
    """One provider, or None for one whose dialect a later version brings."""
    secrets, path = loaded.secrets, f"$.providers.{name}"
    facts = catalogue.provider(name)
    dialect_name = settings.dialect or (facts.dialect if facts is not None else "openai")
    operations = spoken(dialect_name)
    if not operations:
        return None
    dialect = next(iter(operations.values()))
    base_url = settings.network.base_url or (facts.base_url if facts is not None else "")
    if dialect_name == "vertex" and settings.network.base_url is None:
        base_url = vertex_base_url(settings.location or "global")
    region = region_of(settings.aws, settings.location, settings.network.base_url)
    if dialect_name == "bedrock" and settings.network.base_url is None and region is not None:
        base_url = bedrock_base_url(region)
    base_url = base_url or dialect.default_base_url
    transport = _transport(base_url, settings, loaded, shared, path)
    tokens = None
    if settings.credentials is not None:
        try:
            tokens = GoogleTokens(
                secrets[settings.credentials].reveal().encode(),
                lambda url: _transport(url, settings, loaded, shared, path),
            )
        except ValueError as error:
            raise ConfigFault(str(error), path=f"{path}.credentials") from error
    keys = tuple(
        ProviderKey(
            provider=name,
            name=key.name or reference_name(key.value),
            secret=secrets[key.value].reveal(),
            weight=key.weight,
            models=key.models,
        )
        for key in settings.keys
    )
    keys += _aws_keys(name, settings, loaded)
    provider = Provider(name, operations, transport, KeyRing(name, keys), settings.network, tokens=tokens)
    if dialect_name == "bedrock" and region is not None and any(is_key_pair(key.secret) for key in keys):
        provider.sign = AwsSigner(parse_base_url(base_url), region, f"{path}.keys").sign
    if settings.tokenizer is not None:
        provider.detokenize = detokenizer(local_path(settings.tokenizer, loaded.base), f"{path}.tokenizer")
    provider.base_url = parse_base_url(base_url)
    provider.fetcher = fetcher_of(provider.base_url, _proxy(settings, loaded), _ca_file(settings, loaded))
    return provider


def _aws_keys(name: str, settings: ProviderConfig, loaded: Loaded) -> tuple[ProviderKey, ...]:
    """The identity of ``aws``, as the one credential that keys have room for: id:secret[:session-token]."""
    aws = settings.aws
    if aws is None:
        return ()
    parts = [loaded.secrets[reference].reveal() for _, reference in aws.secrets("")]
    return (
        ProviderKey(
            provider=name,
            name=reference_name(aws.access_key_id),
            secret=":".join(parts),
            weight=1,
            models=("*",),
        ),
    )


def _queues(config: Config, providers: dict[str, Provider], shared: Shared) -> None:
    """Queues last as long as the process: who waits does not lose its turn by a reload."""
    for name, provider in providers.items():
        settings = config.providers[name].queue
        if settings is None:
            continue
        queue = shared.queues.get(name)
        if queue is None:
            queue = shared.queues[name] = ProviderQueue(name, settings)
        queue.change(settings)
        provider.queue = queue


def _transport(
    base_url: str, settings: ProviderConfig, loaded: Loaded, shared: Shared, path: str
) -> Transport:
    """The transport for these settings; an equal one that already runs is used again, its warm connections too."""
    proxy, ca_file = _proxy(settings, loaded), _ca_file(settings, loaded)
    try:
        wanted = TransportSettings(
            endpoint=parse_base_url(base_url),
            proxy=proxy,
            ca_file=ca_file,
            ca_version=ca_version(ca_file),
            max_connections=settings.network.max_connections,
        )
        known = shared.transports.get(wanted)
        if known is None:
            known = shared.transports[wanted] = Transport(wanted)
    except (ValueError, OSError) as error:
        raise ConfigFault(str(error), path=f"{path}.network") from error
    return known


def _proxy(settings: ProviderConfig, loaded: Loaded) -> str | None:
    proxy, secrets = settings.network.proxy, loaded.secrets
    return secrets[proxy].reveal() if proxy is not None and proxy in secrets else proxy


def _ca_file(settings: ProviderConfig, loaded: Loaded) -> str | None:
    ca_file = settings.network.ca_file
    return None if ca_file is None else str(local_path(ca_file, loaded.base))


class _TargetMaker:
    """Targets for names: the catalogue's facts joined with the configuration's options."""

    def __init__(self, config: Config, providers: dict[str, Provider], catalogue: Catalogue) -> None:
        self._config = config
        self._providers = providers
        self._catalogue = catalogue

    def make(self, provider: str, model: str, overrides: dict[str, Any]) -> Target | None:
        """A target, or None where the provider cannot be used in this version."""
        built = self._providers.get(provider)
        if built is None:
            return None
        settings = self._config.providers[provider]
        known = self._catalogue.provider(provider)
        facts = self._catalogue.facts(provider, model)
        if facts.cap_name is None and known is not None:
            facts = msgspec.structs.replace(facts, cap_name=known.cap_name)
        passing = settings.passthrough_fields or (known.passthrough_fields if known is not None else ())
        options = {
            "project": settings.project,
            "location": settings.location,
            "api_version": settings.api_version,
            "also": "completions" if completes(built.dialect.name, settings, known, model) else None,
            "passthrough_fields": ",".join(sorted(passing)) or None,
            **{f"tensors.{name}": value for name, value in settings.tensors.items()},
        }
        return Target(
            provider=provider,
            model=model,
            dialect=built.dialect.name,
            facts=facts,
            overrides=overrides,
            options={key: value for key, value in options.items() if value is not None},
            offer=offer_of(provider, settings, known, model),
        )


def completes(dialect: str, settings: ProviderConfig, known: ProviderFacts | None, model: str) -> bool:
    """Whether this model takes OpenAI's legacy completions: as configured; else OpenAI's own that take nothing else."""
    if dialect != "openai":
        return False
    if settings.completions is not None:
        return settings.completions
    return known is not None and known.name == "openai" and _COMPLETES.fullmatch(model) is not None


def _sellers_of(catalogue: Catalogue, model: str) -> list[tuple[str, str]]:
    """Who sells a model of that bare name, where it can be asked."""
    return [
        (name, id_)
        for name, id_ in catalogue.bare(model)
        if (row := catalogue.provider(name)) is not None and spoken_there(row.dialect, id_)
    ]


def _models(
    config: Config, providers: dict[str, Provider], catalogue: Catalogue
) -> tuple[dict[str, Any], ...]:
    """Routes, aliases, then every chat model the catalogue knows of the configured providers."""
    ids: dict[str, str] = {route.id: "penstock" for route in (*config.routes, *config.mcp)}
    for name, settings in config.providers.items():
        if name in providers:
            ids |= {f"{name}/{alias}": name for alias in settings.models}
            ids |= {
                f"{name}/{model}": name
                for model in catalogue.chat_models(name)
                if spoken_there(providers[name].dialect.name, model)
            }
    return tuple(
        {"id": id_, "object": "model", "created": 0, "owned_by": owner} for id_, owner in ids.items()
    )
