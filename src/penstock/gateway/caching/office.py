"""What an operator sees and does of the cache: figures, audits and verdicts, a report, purges, filling.

The figures of look-ups, stores and money come from who serves (``Figures``); what belongs to the semantic tier from its auditor.
Shares are of 1, money is decimal dollars in text; a share of nothing is None.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from penstock.base.clock import Clock
from penstock.base.errors import BadRequest, NotFound
from penstock.base.events import Event
from penstock.base.money import usd_text
from penstock.blobs.blob import Stats
from penstock.cache.audits import DAY_MS, Audit, Counted, Looked, State, Verdict
from penstock.gateway.ports import Inbound
from penstock.gateway.principal import Principal

if TYPE_CHECKING:
    from penstock.gateway.caching.shadow import Auditor

CONFIDENCE = 0.95
"""Of the report's bounds, both sides together."""
Bound = Callable[[int, int, float], float]
"""Of a rate: by how many were wrong, of how many, at which level (cache.semantic.binomial)."""


class Figures(Struct, frozen=True):
    """How look-ups ended, by the word of ``x-penstock-cache``, and what was saved, since the start of this process."""

    answers: dict[str, int]
    saved_nusd: int
    faults: int


class Purging(Protocol):
    """Drops answers wherever they lie."""

    async def __call__(
        self, *, tenant: str | None, namespace: str | None, tag: str | None, model: str | None
    ) -> int:
        """All that matches every given word; without any, all. How many."""
        ...


class Filling(Protocol):
    """Keeps an answer that nobody has asked for yet."""

    async def __call__(
        self, inbound: Inbound, principal: Principal, events: tuple[Event, ...], namespace: str | None
    ) -> str:
        """The entry's id. Raises BadRequest for what may not be kept."""
        ...


class Purge(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be dropped."""

    tenant: str | None = None
    namespace: str | None = None
    tag: str | None = None
    model: str | None = None
    entry: str | None = None
    all: bool = False


class CacheOffice:
    """Of one process. ``auditor`` None: there is no semantic tier."""

    def __init__(
        self,
        *,
        clock: Clock,
        stores: Callable[[], list[Stats]],
        figures: Callable[[], Figures],
        purge: Purging,
        evict: Callable[[str], Awaitable[object]],
        auditor: "Auditor | None" = None,
        semantic: Callable[[], dict[str, Any]] | None = None,
        fill: Filling | None = None,
        lower: Bound | None = None,
        upper: Bound | None = None,
    ) -> None:
        """``evict``: drops one entry by its id; says whether it was there. ``semantic``: how that tier is, or why it is not there."""
        self._clock = clock
        self._stores = stores
        self._figures = figures
        self._purge = purge
        self._evict = evict
        self._auditor = auditor
        self._tier = semantic
        self.fill = fill
        """None: nothing can be filled in."""
        self._lower = lower
        self._upper = upper

    async def stats(self) -> dict[str, Any]:
        """Stores, look-ups, money; classes and audits where there is a semantic tier."""
        figures = self._figures()
        view: dict[str, Any] = {
            "object": "cache.stats",
            "tiers": [
                {"tier": one.tier, "entries": one.entries, "bytes": one.value_bytes, "evicted": one.evicted}
                for one in self._stores()
            ],
            "answers": figures.answers,
            "saved_usd": usd_text(figures.saved_nusd),
            "faults": figures.faults,
        }
        if self._tier is not None:
            view["semantic"] = self._tier()
        auditor = self._auditor
        if auditor is None:
            return view
        day = self._now_ms() // DAY_MS
        looked = {one.klass: one for one in await auditor.book.looked_at(day)}
        classes = sorted({*looked, *(label.klass for label in await auditor.book.labels())})
        view["classes"] = [_class_view(auditor, klass, looked.get(klass)) for klass in classes]
        if auditor.classes is not None:
            view["classes_folded"] = auditor.classes.folded
            view["classes_shared_looks"] = auditor.classes.shared
        open_ones = await auditor.book.audits(state="open", limit=500)
        counts, book = auditor.counts, auditor.book
        view["audits"] = {
            "open": len(open_ones),
            "waiting": auditor.waiting,
            "spent_today_usd": usd_text(await book.spent(day)),
            "budget_usd": auditor.settings.audit.budget_usd,
            "audited": counts.audited,
            "compared": counts.compared,
            "right": counts.right,
            "wrong": counts.wrong,
            "undecided": counts.open,
            "failed": counts.failed,
            "unfunded": counts.unfunded,
            "unpriced": counts.unpriced,
            "dropped": counts.dropped + book.dropped + book.lost,
        }
        return view

    async def audits(
        self, *, state: State | None, klass: str | None, before: int | None, limit: int
    ) -> list[dict[str, Any]]:
        """Newest first."""
        rows = await self._semantic().book.audits(state=state, klass=klass, before=before, limit=limit)
        return [audit_view(audit, number) for number, audit in rows]

    async def audit(self, name: str) -> dict[str, Any]:
        """One of them, and to whom its entry was served."""
        book = self._semantic().book
        audit = await book.audit_of(name)
        hits = await book.hits(audit.entry_id)
        return {
            **audit_view(audit),
            "served_to": [
                {"request_id": hit.request_id, "at": iso(hit.at_ms), "score": hit.score} for hit in hits
            ],
        }

    async def verdict(self, name: str, verdict: Verdict, who: str) -> dict[str, Any]:
        """A person's word; what follows from it has happened here, and does elsewhere within a second."""
        return audit_view(await self._semantic().verdict(name, verdict, who))

    async def purge(self, what: Purge) -> int:
        """How many were dropped. Raises BadRequest where it is not said what."""
        named = [one for one in (what.tenant, what.namespace, what.tag, what.model) if one is not None]
        if sum((bool(named), what.entry is not None, what.all)) != 1:
            raise BadRequest(
                "A purge names tenant, namespace, tag or model (several: what matches each), or an entry, or all.",
                hint='Send {"tenant": "website"}, or {"all": true}.',
            )
        if what.entry is not None:
            return int(bool(await self._evict(what.entry)))
        return await self._purge(tenant=what.tenant, namespace=what.namespace, tag=what.tag, model=what.model)

    async def report(self, days: int) -> dict[str, Any]:
        """Hits and audits of the last days, by class."""
        auditor, now_ms = self._semantic(), self._now_ms()
        since_ms = now_ms - days * DAY_MS
        looked = {one.klass: one for one in await auditor.book.looked_at(since_ms // DAY_MS + 1)}
        counted: dict[str, dict[str, Counted]] = {}
        for one in await auditor.book.counted(since_ms):
            counted.setdefault(one.klass, {})[one.state] = one
        classes = [
            self._reported(klass, looked.get(klass), counted.get(klass, {}))
            for klass in sorted({*looked, *counted})
        ]
        spent_nusd = sum(one.cost_nusd for states in counted.values() for one in states.values())
        return {
            "object": "cache.report",
            "days": days,
            "confidence": CONFIDENCE,
            "classes": classes,
            "spent_usd": usd_text(spent_nusd),
        }

    def _reported(self, klass: str, looked: Looked | None, counted: dict[str, Counted]) -> dict[str, Any]:
        numbers = {
            state: counted[state].audits if state in counted else 0 for state in ("right", "wrong", "open")
        }
        judged = {state: one for state, one in counted.items() if state != "open"}
        weights = sum(one.weights for one in judged.values())
        rate = judged["wrong"].weights / weights if "wrong" in judged else (0.0 if judged else None)
        low, high = self._bounds(counted)
        return {
            **_looked_view(klass, looked),
            "audited": sum(numbers.values()),
            **numbers,
            "wrong_rate": rate,
            "low": low,
            "high": high,
        }

    def _bounds(self, counted: dict[str, Counted]) -> tuple[float | None, float | None]:
        """Clopper-Pearson at the effective number of audits (Kish: of weights w it is sum(w)^2 / sum(w^2)).

        What is open is right for the lower bound and wrong for the upper one.
        """
        weights = sum(one.weights for one in counted.values())
        squares = sum(one.squares for one in counted.values())
        if self._lower is None or self._upper is None or not squares:
            return None, None
        trials = max(1, int(weights * weights / squares))
        wrong = counted["wrong"].weights / weights if "wrong" in counted else 0.0
        unsure = counted["open"].weights / weights if "open" in counted else 0.0
        level = (1 - CONFIDENCE) / 2
        low = self._lower(int(wrong * trials + 1e-9), trials, level)
        return low, self._upper(_ceiling((wrong + unsure) * trials), trials, level)

    def _semantic(self) -> "Auditor":
        if self._auditor is None:
            why = "" if self._tier is None else str(self._tier().get("why", ""))
            raise cache_off(f"The semantic tier is off: there are no audits. {why}".rstrip())
        return self._auditor

    def _now_ms(self) -> int:
        return int(self._clock.unix_s() * 1000)


def cache_off(sentence: str) -> NotFound:
    """404 for what is not configured."""
    return NotFound(sentence, code="cache_off", hint="Configure cache or semantic_cache.")


def audit_view(audit: Audit, number: int | None = None) -> dict[str, Any]:
    """As the admin API shows it. ``number`` is what a page goes on from (``before``)."""
    view: dict[str, Any] = {
        "id": audit.id,
        "object": "cache.audit",
        "request_id": audit.request_id,
        "at": iso(audit.at_ms),
        "class": audit.klass,
        "entry": audit.entry_id,
        "asked": audit.asked,
        "cached": audit.cached,
        "score": audit.score,
        "threshold_version": audit.version,
        "flags": audit.flags,
        "served": audit.served,
        "cached_answer": audit.cached_answer,
        "fresh_answer": audit.fresh_answer,
        "state": audit.state,
        "by": audit.by,
        "reason": audit.reason,
        "judged_at": None if audit.judged_ms is None else iso(audit.judged_ms),
        "cost_usd": None if audit.cost_nusd is None else usd_text(audit.cost_nusd),
    }
    return view if number is None else {**view, "number": number}


def iso(at_ms: int) -> str:
    """For people and programs."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _looked_view(klass: str, looked: Looked | None) -> dict[str, Any]:
    looks, hits = (0, 0) if looked is None else (looked.looks, looked.hits)
    return {
        "class": klass,
        "looks": looks,
        "hits": hits,
        "hit_rate": hits / looks if looks else None,
        "saved_usd": usd_text(0 if looked is None else looked.saved_nusd),
    }


def _class_view(auditor: "Auditor", klass: str, looked: Looked | None) -> dict[str, Any]:
    threshold = auditor.decider.threshold(klass)
    return {
        **_looked_view(klass, looked),
        "threshold": threshold.value,
        "certified": threshold.certified,
        "version": threshold.version,
        "labels": threshold.labels,
        "error_bound": threshold.error_bound,
        "reason": threshold.reason,
    }


def _ceiling(value: float) -> int:
    return -int(-(value - 1e-9) // 1)
