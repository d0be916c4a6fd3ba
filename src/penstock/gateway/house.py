"""The built house: everything a call needs, made by ``wiring`` from one configuration, swapped whole on reload."""

import asyncio
import random
from collections.abc import Callable
from copy import copy
from typing import Any, Protocol

from penstock.base.chat import Ask
from penstock.base.clock import Clock
from penstock.base.decisions import Rejected
from penstock.base.endpoint import Endpoint
from penstock.base.errors import PenstockError
from penstock.base.models import Target
from penstock.base.operations import Operation
from penstock.config.schema import Config, NetworkConfig, RetryConfig
from penstock.config.slugs import Drift
from penstock.gateway.kinds import no_provider_for, unfit
from penstock.gateway.listing import Listing
from penstock.gateway.principal import Doors
from penstock.gateway.queue import ProviderQueue
from penstock.gateway.reasoning_memory import ReasoningMemory
from penstock.ledger.budgets import Refused
from penstock.ledger.entry import Record
from penstock.ledger.journal import Journal
from penstock.net.fetch import Fetcher
from penstock.net.google_token import GoogleTokens
from penstock.net.transport import Deadlines, Transport
from penstock.objects.keeper import Keeper
from penstock.observe.metrics import Metrics
from penstock.routing.estimate import TokenEstimator
from penstock.routing.health import Health
from penstock.routing.keys import KeyRing
from penstock.routing.names import Names
from penstock.routing.observed import Observed
from penstock.wire.http import WireRequest
from penstock.wire.ports import UpstreamDialect

STREAM_FIRST_BYTE_S = 60.0
WHOLE_FIRST_BYTE_S = 600.0


Sign = Callable[[WireRequest, str], WireRequest]


class Provider:
    """One configured provider at run time: its dialect, its way out, its keys."""

    __slots__ = (
        "base_url",
        "detokenize",
        "dialect",
        "fetcher",
        "keys",
        "name",
        "network",
        "passes",
        "queue",
        "sign",
        "spoken",
        "stream",
        "tokens",
        "transport",
        "whole",
    )

    def __init__(
        self,
        name: str,
        spoken: dict[Operation, UpstreamDialect],
        transport: Transport,
        keys: KeyRing,
        network: NetworkConfig,
        *,
        tokens: GoogleTokens | None = None,
    ) -> None:
        self.name = name
        self.base_url: Endpoint | None = None
        """Below it the credential may be sent, where a reply points there."""
        self.fetcher = Fetcher()
        """For what its replies point at elsewhere."""
        self.spoken = spoken
        self.dialect = next(iter(spoken.values()))
        """Chat's, where it can chat."""
        self.transport = transport
        self.keys = keys
        self.network = network
        self.tokens = tokens
        self.detokenize: Callable[[tuple[int, ...]], str] | None = None
        """Tokens to words, where a tokenizer is configured."""
        self.queue: ProviderQueue | None = None
        """Where calls wait for it (gateway.waiting), if it serves only so many at a time."""
        self.passes = frozenset(
            operation for operation, dialect in spoken.items() if hasattr(dialect, "splice_request")
        )
        """What it can be asked for in a caller's own bytes."""
        self.sign: Sign | None = None
        """Signs a written request with a credential (net.aws_sign), where the provider wants that."""
        self.stream = _deadlines(network, STREAM_FIRST_BYTE_S)
        self.whole = _deadlines(network, WHOLE_FIRST_BYTE_S)

    def deadlines(self, left_s: float, *, stream: bool) -> Deadlines:
        """The four deadlines of one attempt, its total cut to what is left of the call."""
        return _cut(self.stream if stream else self.whole, left_s)

    def drawing(self, left_s: float) -> Deadlines:
        """The same for a picture, streamed or not: a provider is silent for as long as it draws."""
        base = self.whole
        idle_s = max(base.idle_s, base.first_byte_s)
        return _cut(Deadlines(base.connect_s, base.first_byte_s, idle_s, base.total_s), left_s)


def _cut(base: Deadlines, left_s: float) -> Deadlines:
    if left_s >= base.total_s:
        return base
    return Deadlines(base.connect_s, base.first_byte_s, base.idle_s, left_s)


def _deadlines(network: NetworkConfig, first_byte_default_s: float) -> Deadlines:
    first_ms = network.first_byte_timeout_ms
    return Deadlines(
        connect_s=network.connect_timeout_ms / 1000,
        first_byte_s=first_byte_default_s if first_ms is None else first_ms / 1000,
        idle_s=network.idle_timeout_ms / 1000,
        total_s=network.total_timeout_ms / 1000,
    )


class BooksPort(Protocol):
    """Where ended calls go (gateway.books)."""

    def take(self, facts: Any, ask: Ask, error: PenstockError | None, version: str, /) -> None:
        """Keep an ended call; it will be written up."""
        ...

    def find(self, any_id: str, *, virtual_key: str) -> Record | None:
        """A call of this key, wherever it is by now."""
        ...

    async def look_up(self, any_id: str, *, virtual_key: str) -> Record | None:
        """The same, without holding up anybody while the database is asked."""
        ...

    def flush(self) -> None:
        """Write up what is here."""
        ...

    @property
    def waiting(self) -> int:
        """Calls not yet stored."""
        ...

    @property
    def full(self) -> bool:
        """New calls must be refused: they could not be recorded."""
        ...


class Watched(Protocol):
    """Who knows how budgets stand (gateway.watcher)."""

    async def refresh(self) -> None:
        """Set the gauges."""
        ...

    def refused(self, refused: Refused) -> None:
        """A budget has refused a call."""
        ...


class Caches(Protocol):
    """The cache in a request's life (gateway.caching)."""

    async def serve(self, call: Any, planned: Any, tokens: int, /) -> None:
        """Serve the call from the cache, or have it fetched."""
        ...

    def quick(self, host: Any, house: Any, inbound: Any, reply: Any, /) -> Any:
        """Serve the call here and now; None: it takes the long way; Rejected: the cache has no part in it."""
        ...

    def bypass(self, facts: Any, no: Rejected, /) -> None:
        """Tell so."""
        ...


class Hits(dict[tuple[object, ...], object]):
    """Bodies whose answers are kept, and about what they take."""

    held_bytes = 0


class Flights(dict[tuple[str, str], asyncio.Future[None]]):
    """Files that are being brought to providers, by owner and content (gateway.uploads)."""


class House:
    """Everything one call may use. Immutable in its shape: a reload builds another one beside it."""

    __slots__ = (
        "books",
        "caching",
        "clock",
        "config",
        "doors",
        "drift",
        "estimator",
        "health",
        "hits",
        "journal",
        "keeper",
        "listing",
        "log_once",
        "metrics",
        "models",
        "names",
        "observed",
        "plans",
        "provider_names",
        "providers",
        "reasoning",
        "rng",
        "uploads",
        "version",
        "watcher",
    )

    def __init__(
        self,
        *,
        config: Config,
        version: str,
        names: Names,
        providers: dict[str, Provider],
        doors: Doors,
        health: Health,
        estimator: TokenEstimator,
        books: BooksPort,
        journal: Journal,
        metrics: Metrics,
        clock: Clock,
        rng: random.Random,
        log_once: Callable[[str, str], object],
        models: tuple[dict[str, Any], ...],
        keeper: Keeper,
        observed: Observed | None = None,
        drift: Drift | None = None,
        listing: Listing | None = None,
        reasoning: ReasoningMemory | None = None,
        provider_names: frozenset[str] = frozenset(),
    ) -> None:
        self.provider_names = provider_names
        """What callers may call a provider, configured or not, in lower case; empty: not known."""
        self.observed = Observed() if observed is None else observed
        """What was seen of each target lately."""
        self.drift = drift
        """Whether another model answered than was asked for."""
        self.listing = Listing() if listing is None else listing
        """The models that OpenRouter's callers list."""
        self.reasoning = ReasoningMemory() if reasoning is None else reasoning
        """The reasoning behind tool calls, as it was kept lately."""
        self.config = config
        self.version = version
        self.names = names
        self.plans: dict[tuple[object, ...], object] = {}
        """Plans of undisturbed calls, remembered by what they depend on (gateway.planning)."""
        self.providers = providers
        self.doors = doors
        self.health = health
        self.estimator = estimator
        self.books = books
        self.journal = journal
        self.keeper = keeper
        """What callers leave with us, in the ledger's database."""
        self.metrics = metrics
        self.clock = clock
        self.rng = rng
        self.log_once = log_once
        self.caching: Caches | None = None
        """The cache; None: it is off."""
        self.hits = Hits()
        """Bodies whose answers are kept, as they were found last (gateway.caching.quick)."""
        self.uploads = Flights()
        self.watcher: Watched | None = None
        """Who knows how budgets stand (gateway.watcher); None: there are none."""
        self.models = models
        """What ``/v1/models`` offers, before a key's allow-list: OpenAI's shape."""

    def governed(self, config: Config, doors: Doors) -> "House":
        """The same house with other keys, teams and budgets."""
        other = copy(self)
        other.config = config
        other.doors = doors
        other.plans = {}
        other.hits = Hits()
        return other

    def retries(self, provider: str) -> RetryConfig:
        """How often a target of ``provider`` is retried."""
        return self.providers[provider].network.retry

    def key_count(self, target: Target) -> int:
        """How many keys may serve ``target``."""
        return self.providers[target.provider].keys.count(target.model)

    def against_pass_through(self, target: Target, operation: Operation = "chat") -> str | None:
        """What stands against passing the bytes through although both sides speak one dialect: nothing today."""
        passes = self.providers[target.provider].passes
        return None if operation in passes else "this provider's dialect has no pass-through"

    def cannot(self, operation: Operation, target: Target) -> Rejected | None:
        """Why this target cannot be asked for ``operation`` at all, or None. What is not known of a model refuses nothing."""
        if operation not in self.providers[target.provider].spoken:
            able = [name for name, provider in self.providers.items() if operation in provider.spoken]
            return no_provider_for(operation, target, able)
        return unfit(operation, target)

    def condition(self, now_s: float) -> dict[str, Any]:
        """Breakers, key cool-downs and connections as they stand: for the operator."""
        return {
            "targets": self.health.snapshot(now_s),
            "keys_cooling_s": {
                f"{name}.{key}": left_s
                for name, provider in self.providers.items()
                for key, left_s in provider.keys.cooling(now_s).items()
            },
            "queues": {
                name: {"running": queue.running, "waiting": queue.waiting}
                for name, provider in self.providers.items()
                if (queue := provider.queue) is not None
            },
            "connections": {
                name: {"open": provider.transport.open, "in_use": provider.transport.in_use}
                for name, provider in self.providers.items()
            },
        }
