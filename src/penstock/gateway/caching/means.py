"""What the parts of the cache's way share: the call that is served, the ports, the stores and the knobs."""

from collections import Counter
from typing import Protocol

from penstock.base.clock import Clock
from penstock.base.decisions import Rejected
from penstock.blobs.blob import Place
from penstock.blobs.tiers import Blobs
from penstock.cache.answer import Answer
from penstock.cache.keys import Keys
from penstock.config.schema_cache import CacheConfig, CoalesceConfig, SemanticCacheConfig
from penstock.gateway.caching.hits import cache_lines
from penstock.gateway.caching.lookup import Hit, Vectored, Wanted
from penstock.gateway.house import House
from penstock.gateway.planning import Planned
from penstock.gateway.ports import Inbound, Reply
from penstock.gateway.remote import Translator
from penstock.gateway.settle import CallFacts
from penstock.observe.log import OperatorLog
from penstock.observe.metrics import Metrics
from penstock.observe.names import CACHE_CALLS, CACHE_SAVED_NUSD


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


class Tally:
    """How look-ups ended, and what was saved, since the start of this process."""

    __slots__ = ("answers", "saved_nusd")

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.saved_nusd = 0


class Means:
    """Of one gateway process, under one configuration."""

    __slots__ = (
        "blobs",
        "clock",
        "coalesce",
        "keys",
        "log",
        "meaning",
        "metrics",
        "semantic_settings",
        "settings",
        "tally",
    )

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
        tally: Tally | None = None,
        log: OperatorLog | None = None,
    ) -> None:
        self.settings = settings
        self.keys = keys
        self.blobs = blobs
        self.metrics = metrics
        self.clock = clock
        self.semantic_settings = semantic_settings
        self.meaning = meaning
        self.coalesce = coalesce_of(settings)
        self.tally = Tally() if tally is None else tally
        self.log = OperatorLog() if log is None else log

    def now_ms(self) -> int:
        """Wall time."""
        return int(self.clock.unix_s() * 1000)

    def count(self, how: str, saved_nusd: int | None = None) -> None:
        """One more that ended so."""
        self.metrics.add(CACHE_CALLS, 1, how)
        self.tally.answers[how] += 1
        if saved_nusd:
            self.metrics.add(CACHE_SAVED_NUSD, saved_nusd)
            self.tally.saved_nusd += saved_nusd

    def failed(self, what: str, error: Exception) -> None:
        """A bug of the cache's: a line in the log now and then, and the call goes on without it."""
        kind = type(error).__name__
        if self.log.once(
            f"cache {what} {kind}", f"The cache failed in {what} ({kind}): calls go on without it."
        ):
            self.log.failure_of_words("cache.failed", error)

    def bypass(self, facts: CallFacts, no: Rejected) -> None:
        """The cache has no part in this call. Calls of our own (audits) are told, and counted with nobody's."""
        facts.cache = cache_lines("bypass")
        facts.note("cache", reason=f"bypass: {no.reason}", code=no.code)
        facts.notes.insert(0, facts.notes.pop())  # said before any attempt, wherever it is written down
        if facts.purpose is None:
            self.count("bypass")
