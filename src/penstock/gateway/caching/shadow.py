"""Audits of what the semantic tier serves, and of what it would have served: asked again, compared, learned from.

Theory
------
Of served hits a sample is asked again of the model: all of the first ones of a class, then few, more of them near the
threshold, where mistakes are likelier. Of misses with a near neighbour nothing needs to be asked: the fresh answer is there.
What the comparison comes to is a label for the class's threshold (cache.ports.Label). Whether a label is told must not depend
on what it says: an audit that nobody can decide says "wrong" until a person has judged it (cache.audits).

Rules
- Nothing here holds up a reply, or fails one: a queue with an end, two at a time, what finds no room is counted.
- The money is our own: a day's budget for all processes together, an entry of class audit (or shadow: a judge's word on a miss)
  in the ledger, no virtual key's budgets. What an answer cost is held before it is asked again; of a model without a price
  nothing is asked while there is a budget.
- A hit that was wrong drops its entry and quarantines it; and its two texts are not to be confused again. Verdicts of other
  processes are followed.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from msgspec import Struct

from penstock.base.clock import Clock
from penstock.base.errors import PenstockError
from penstock.base.events import Folded
from penstock.cache.answer import Answer
from penstock.cache.audit_book import AuditBook
from penstock.cache.audits import MAX_ANSWER_CHARS, Audit, Hit, Verdict, label_of
from penstock.cache.classes import MOST_CLASSES, ByClass, Classes, tenant_of_class
from penstock.cache.ports import Decider, Found, Label
from penstock.config.schema_cache import SemanticCacheConfig
from penstock.gateway.caching.asking import Inner, Question, on_behalf, told_inside
from penstock.gateway.caching.comparing import Said, Sense, said_by, shown
from penstock.gateway.caching.judging import Counts, Judging
from penstock.gateway.principal import Principal
from penstock.observe.log import OperatorLog
from penstock.wire.ports import CallerDialect

MAX_WAITING = 256
AT_ONCE = 2
NEAR = 0.02
"""So close above its threshold a hit is audited ``NEAR_TIMES`` as often."""
NEAR_TIMES = 5
GREY = 0.05
"""A miss so far below the loosest threshold is compared, too: it says where wrong begins."""
FOLLOW_S = 0.5
SWEEP_S = 6 * 3600.0
REOPENING = frozenset({"answers-all-differ", "template-suspected"})
"""Refusals of templates (cache.templates) that answers which agree take back. They are no labels: nothing would have been served."""
COMPARABLE = frozenset({"not-certified", "below-threshold"})
"""Refusals of what might have been served at another threshold; what a guard refused would not."""


THRESHOLD, LOOSEST = 0.94, 0.80
"""What holds, and what is tried, where no similarity_threshold is configured."""


def loosest(settings: SemanticCacheConfig) -> float:
    """From which similarity on something may be served, some time."""
    value = settings.similarity_threshold
    return value or (THRESHOLD if settings.max_error_rate is None else LOOSEST)


class LearningDecider(Decider, Protocol):
    """One that begins anew from what is kept."""

    def restore(self, labels: Iterable[Label]) -> None:
        """As if these, and no other, had been learned. In another thread than it is asked in."""
        ...

    def forget(self, klass: str) -> None:
        """A class that has been folded away."""
        ...


class Parted(Protocol):
    """Keeps two texts of a partition apart wherever they are compared, or no longer."""

    def __call__(self, partition: bytes, one: str, other: str, /, *, wrong: bool) -> None:
        """``wrong``: they do not mean the same."""
        ...


class Asked(Struct, frozen=True, kw_only=True):
    """A call that was looked up. ``text``: what was compared; ``told``: its headers."""

    request_id: str
    at_ms: int
    klass: str
    partition: bytes
    text: str
    caller: CallerDialect
    body: bytes
    told: dict[bytes, bytes]
    principal: Principal
    found: Found
    template: tuple[str, str] = ("", "")
    """The class in which templates are learned, and the one that was stripped."""

    def __repr__(self) -> str:
        """Without anybody's words."""
        return f"{type(self).__name__}({self.request_id}, {self.found.entry_id})"


class ServedHit(Asked, frozen=True, kw_only=True):
    """A hit of the semantic tier that has gone, or goes, to its caller."""

    answer: Answer

    __repr__ = Asked.__repr__


class NearMiss(Asked, frozen=True, kw_only=True):
    """A miss that was answered afresh. ``neighbour`` reads the nearest kept answer; None: it is gone."""

    fresh: Folded
    neighbour: Callable[[], Awaitable[Answer | None]]

    __repr__ = Asked.__repr__


class _Lane:
    """Work that is done ``AT_ONCE`` at a time, ``MAX_WAITING`` waiting; what fails is told."""

    def __init__(self, counts: Counts, log: OperatorLog) -> None:
        self._counts = counts
        self._log = log
        self._waiting: deque[Callable[[], Awaitable[None]]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        """What is yet to be done."""
        return len(self._waiting) + len(self._running)

    def offer(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it, some time; or drop it."""
        if self._closed or len(self._waiting) >= MAX_WAITING:
            self._counts.dropped += 1
            return
        self._waiting.append(work)
        self._next()

    async def idle(self) -> None:
        """Until nothing is to be done."""
        while self._running:
            await asyncio.wait(self._running)

    async def aclose(self) -> None:
        """Cut what runs."""
        self._closed = True
        self._waiting.clear()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def told(self, task: "asyncio.Task[None]") -> None:
        """A bug ends its task, and stands in the log."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._log.failure_of_words("cache.audit_failed", error)

    def _next(self) -> None:
        while self._waiting and len(self._running) < AT_ONCE:
            task = asyncio.ensure_future(self._one(self._waiting.popleft()))
            self._running.add(task)
            task.add_done_callback(self._done)

    async def _one(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except PenstockError as error:
            self._counts.failed += 1
            # Its code alone: a provider's own sentence may quote what it was asked.
            self._log.once("cache audit", f"An audit of the cache came to nothing ({error.code}).")

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self.told(task)
        self._next()


class Auditor:
    """Belongs to one event loop. ``start`` before the first hit."""

    def __init__(
        self,
        settings: SemanticCacheConfig,
        book: AuditBook,
        decider: LearningDecider,
        evict: Callable[[str], Awaitable[object]],
        inner: Inner,
        rng: random.Random,
        clock: Clock,
        *,
        sense: Sense | None = None,
        log: OperatorLog | None = None,
        agreed: Callable[[tuple[str, str]], object] = lambda _template: None,
        parted: Parted | None = None,
    ) -> None:
        """``parted``: is told of each verdict, so that it holds at other nodes. ``agreed``: is told of each template of which one answer did for two messages. ``evict`` drops an entry wherever it lies. ``sense``: what tells whether answers mean the same."""
        self.settings = settings
        self.book = book
        self.decider = decider
        self.counts = Counts()
        self._evict = evict
        self._agreed = agreed
        self._parted = parted
        self._rng = rng
        self._clock = clock
        self._log = OperatorLog() if log is None else log
        self._lane = _Lane(self.counts, self._log)
        self.judging = Judging(settings, book, inner, clock, self.counts, sense=sense, log=self._log)
        self._audited: ByClass[int] = ByClass()
        self.classes: Classes | None = None
        """Which ones are alive."""
        self._kept: list[asyncio.Task[None]] = []
        self._lock = asyncio.Lock()
        self._late: list[Label] | None = None
        """What was learned while all labels were learned anew."""

    async def start(self) -> None:
        """Read what was learned before. Raises ConfigFault."""
        await self.book.open()
        await self._relearn()
        for klass, count in (await self.book.audited()).items():
            self._audited.put(klass, count)
        self._kept = [asyncio.ensure_future(self._follow()), asyncio.ensure_future(self._sweep())]
        for task in self._kept:
            task.add_done_callback(self._lane.told)

    async def aclose(self) -> None:
        """What runs is cut, and settled as that; what is known is written. Before the ledger closes."""
        for task in self._kept:
            task.cancel()
        await asyncio.gather(*self._kept, return_exceptions=True)
        await self._lane.aclose()
        await self.book.aclose()

    @property
    def waiting(self) -> int:
        """What is yet to be done."""
        return len(self._lane)

    def passed(self, klass: str, at_ms: int) -> None:
        """A look-up that served nothing."""
        self.book.looked(klass, at_ms, hit=False)

    def served(self, hit: ServedHit) -> None:
        """Write it down, and audit a sample. Never blocks, never raises."""
        found, threshold = hit.found, hit.found.threshold
        self.book.looked(hit.klass, hit.at_ms, hit=True, saved_nusd=hit.answer.cost_nusd)
        value = None if threshold is None else threshold.value
        self.book.hit(
            Hit(
                request_id=hit.request_id,
                at_ms=hit.at_ms,
                klass=hit.klass,
                entry_id=found.entry_id,
                partition=hit.partition,
                asked=hit.text,
                cached=found.text,
                score=found.score,
                threshold=value,
                version="" if threshold is None else threshold.version,
                flags=found.flags,
                saved_nusd=hit.answer.cost_nusd,
            )
        )
        rate = self._rate(hit.klass, found.score, value)
        if rate > 0 and self._rng.random() < rate:
            self._audited.put(hit.klass, (self._audited.get(hit.klass) or 0) + 1)
            self._lane.offer(lambda: self._ask_again(hit, 1 / rate))

    def missed(self, near: NearMiss) -> None:
        """Compare a fresh answer with the neighbour's. Never blocks, never raises."""
        found = near.found
        code = "" if found.refused is None else found.refused.code
        if not found.entry_id or code not in COMPARABLE | REOPENING:
            return
        if found.score < loosest(self.settings) - GREY:
            return
        rate = self.settings.audit.shadow_rate
        if rate > 0 and self._rng.random() < rate:
            self._lane.offer(lambda: self._compare_miss(near, 1 / rate))

    def folded(self, klass: str) -> None:
        """It gave way to another class of its tenant's."""
        self.decider.forget(klass)
        self._audited.pop(klass)
        self._log.once(
            f"cache classes {tenant_of_class(klass)}",
            f"{tenant_of_class(klass) or 'The gateway'} has more than {MOST_CLASSES} classes of the semantic cache (namespaces, "
            "models): those that were idle longest are folded away.",
        )

    async def verdict(self, name: str, verdict: Verdict, who: str) -> Audit:
        """A person's word. Raises NotFound, or OurFault where the book does not answer."""
        audit = await self.book.judge(name, verdict, who, self._now_ms())
        if verdict == "wrong" and audit.served:
            await self._evict(audit.entry_id)
        if self._parted is not None and self.book.keep_prompts:  # else nobody knows the words any more
            self._parted(audit.partition, audit.asked, audit.cached, wrong=verdict == "wrong")
        await self._relearn()
        return audit

    async def idle(self) -> None:
        """Until nothing waits: for tests, and for who stops."""
        await self._lane.idle()

    def _rate(self, klass: str, score: float, threshold: float | None) -> float:
        audit = self.settings.audit
        if (self._audited.get(klass) or 0) < audit.first:
            return 1.0
        near = threshold is not None and score - threshold < NEAR
        return min(1.0, audit.rate * (NEAR_TIMES if near else 1))

    async def _ask_again(self, hit: ServedHit, weight: float) -> None:
        """A served hit, asked of the model once more."""
        told = told_inside(hit.told, "audit", hit.request_id)
        asked = Question(hit.caller, hit.body, told, on_behalf(hit.principal), "audit")
        cost_nusd = hit.answer.cost_nusd
        if cost_nusd is None and self.judging.budget_nusd is not None:
            self.counts.unpriced += 1
            self._log.once(
                "cache audit price",
                f"What {hit.answer.provider}/{hit.answer.model} costs is not known: its hits are not audited while "
                "semantic_cache.audit.budget_usd is set.",
            )
            return
        paid = await self.judging.paid(asked, cost_nusd or 0)
        if paid is None:
            return
        fresh, spent_nusd = paid
        self.counts.audited += 1
        await self._conclude(hit, hit.answer, fresh, weight, spent_nusd)

    async def _compare_miss(self, near: NearMiss, weight: float) -> None:
        fresh = said_by(near.fresh)
        answer = await near.neighbour() if fresh.whole else None
        if answer is None:
            return
        self.counts.compared += 1
        await self._conclude(near, answer, fresh, weight, 0)

    async def _conclude(
        self, of: Asked, answer: Answer, fresh: Said, weight: float, spent_nusd: int | None
    ) -> None:
        served, kept = isinstance(of, ServedHit), said_by(answer.events)
        compared, judge_nusd = await self.judging.compare(
            of.text, kept, fresh, "audit" if served else "shadow"
        )
        if compared.word == "right":
            self._agreed(of.template)
        if of.found.refused is not None and of.found.refused.code in REOPENING:
            return
        found, now_ms = of.found, self._now_ms()
        state = "open" if compared.word == "unsure" else compared.word
        audit = self.book.audit(
            Audit(
                id=f"{'au' if served else 'sh'}-{of.request_id.removeprefix('gen-')}",
                request_id=of.request_id,
                at_ms=now_ms,
                klass=of.klass,
                entry_id=found.entry_id,
                partition=of.partition,
                asked=of.text,
                cached=found.text,
                score=found.score,
                version="" if found.threshold is None else found.threshold.version,
                flags=found.flags,
                served=served,
                weight=weight,
                cached_answer=shown(kept)[:MAX_ANSWER_CHARS],
                fresh_answer=shown(fresh)[:MAX_ANSWER_CHARS],
                state=state,
                by=compared.by,
                reason=compared.reason,
                judged_ms=None if state == "open" else now_ms,
                cost_nusd=None if spent_nusd is None else spent_nusd + judge_nusd,
            )
        )
        setattr(self.counts, state, getattr(self.counts, state) + 1)
        self._learn(label_of(audit))
        if self._parted is not None and state != "open":
            self._parted(of.partition, of.text, found.text, wrong=state == "wrong")
        if state == "wrong" and served:
            await self._evict(audit.entry_id)

    def _learn(self, label: Label) -> None:
        self.decider.learn(label)
        if self._late is not None:
            self._late.append(label)

    async def _relearn(self) -> None:
        """A label was taken back: all of them anew, beside the loop; what comes meanwhile is learned after."""
        async with self._lock:
            self._late = []
            labels = await self.book.labels()
            await asyncio.to_thread(self.decider.restore, labels)
            late, self._late, known = self._late, None, set(labels)
        for label in late:
            if label not in known:
                self.decider.learn(label)

    async def _follow(self) -> None:
        """What other processes have learned, and forbidden, holds here."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            try:
                news = await self.book.news()
                if news.amended:
                    await self._relearn()
                else:
                    for label in news.labels:
                        self._learn(label)
                for entry_id, _reason in news.quarantined:
                    await self._evict(entry_id)
            except PenstockError as error:
                self._log.once("cache audits followed", error.public())

    async def _sweep(self) -> None:
        while True:
            try:
                await self.book.sweep(self._now_ms())
            except PenstockError as error:
                self._log.once("cache audits swept", error.public())
            await asyncio.sleep(SWEEP_S)

    def _now_ms(self) -> int:
        return int(self._clock.unix_s() * 1000)
