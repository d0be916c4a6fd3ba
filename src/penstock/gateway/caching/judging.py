"""What an answer is compared by, and paid with: the day's budget, the embedder, the judge.

Theory: the budget is one sum for all processes, in the book's file. What a call will cost at most is taken from it before the
call, and the rest given back after it, so that it is not passed by more than a guess was wrong.
"""

from decimal import Decimal

import msgspec
from msgspec import Struct

from penstock.base.clock import Clock
from penstock.base.money import NANO_PER_USD
from penstock.cache.audit_book import AuditBook
from penstock.cache.audits import DAY_MS
from penstock.config.schema_cache import SemanticCacheConfig
from penstock.dialects.openai_chat import OPENAI
from penstock.gateway.caching.asking import OURSELVES, Inner, Question, told_inside
from penstock.gateway.caching.comparing import (
    Compared,
    NoSense,
    Said,
    Sense,
    by_judge,
    by_meaning,
    by_words,
    heard,
    judgeable,
    question,
    said_by,
    undecided,
)
from penstock.ledger.entry import EntryClass
from penstock.observe.log import OperatorLog

JUDGE_TOKENS = 256


class Counts(Struct):
    """What became of what was to be audited, since the start."""

    audited: int = 0
    compared: int = 0
    right: int = 0
    wrong: int = 0
    open: int = 0
    dropped: int = 0
    failed: int = 0
    """Asked again, and no whole answer came."""
    unfunded: int = 0
    """The day's budget was spent."""
    unpriced: int = 0


class Judging:
    """Asks, pays, compares. ``counts`` are the auditor's."""

    def __init__(
        self,
        settings: SemanticCacheConfig,
        book: AuditBook,
        inner: Inner,
        clock: Clock,
        counts: Counts,
        *,
        sense: Sense | None = None,
        log: OperatorLog,
    ) -> None:
        self._settings = settings.audit
        self._book = book
        self._inner = inner
        self._clock = clock
        self._counts = counts
        self._sense: Sense = NoSense() if sense is None else sense
        self._log = log
        self._judge_nusd = 0
        """What a judge's word cost at most so far."""

    @property
    def budget_nusd(self) -> int | None:
        """Of a day; None: any sum."""
        text = self._settings.budget_usd
        return None if text is None else int(Decimal(text) * NANO_PER_USD)

    async def paid(self, asked: Question, most_nusd: int) -> tuple[Said, int | None] | None:
        """An answer and what it cost; None: there is no money, or no whole answer came."""
        day = int(self._clock.unix_s() * 1000) // DAY_MS
        if not await self._book.reserve(day, most_nusd, self.budget_nusd):
            self._counts.unfunded += 1
            self._log.once(
                "cache audit budget",
                f"Audits of the cache have spent their ${self._settings.budget_usd} of today (semantic_cache.audit.budget_usd).",
            )
            return None
        spent_nusd: int | None = most_nusd
        try:
            fresh = await self._inner(asked)
            spent_nusd = fresh.cost_nusd
        finally:
            await self._book.settle(day, most_nusd, most_nusd if spent_nusd is None else spent_nusd)
        said = said_by(fresh.folded)
        if fresh.error is not None or not said.whole:
            self._counts.failed += 1
            return None
        return said, fresh.cost_nusd

    async def compare(self, asked: str, kept: Said, fresh: Said, purpose: EntryClass) -> tuple[Compared, int]:
        """The verdict, and what it cost to ask a judge."""
        said = by_words(kept, fresh)
        if said is not None:
            return said, 0
        similarity, vetoes = await self._sense.similarity(kept.text, fresh.text), ()
        if similarity is not None:
            vetoes = self._sense.vetoes(kept.text, fresh.text)
        said = by_meaning(similarity, vetoes)
        if said is not None:
            return said, 0
        if self._settings.judge is None:
            return undecided(similarity, vetoes), 0
        if not judgeable(asked, kept, fresh):
            return undecided(similarity, vetoes, "too long for the judge"), 0
        words: list[bool | None] = []
        spent_nusd = 0
        for first, second in ((kept.text, fresh.text), (fresh.text, kept.text)):
            paid = await self.paid(self._to_judge(asked, first, second, purpose), self._judge_nusd)
            if paid is None:
                return undecided(similarity, vetoes, "the judge was not to be had"), spent_nusd
            words.append(heard(paid[0].text))
            spent_nusd += paid[1] or 0
            self._judge_nusd = max(self._judge_nusd, paid[1] or 0)
        judged = by_judge(words[0], words[1])
        return judged if judged.by else undecided(similarity, vetoes, judged.reason), spent_nusd

    def _to_judge(self, asked: str, first: str, second: str, purpose: EntryClass) -> Question:
        body = {
            "model": self._settings.judge,
            "messages": question(asked, first, second),
            "temperature": 0,
            "max_tokens": JUDGE_TOKENS,
        }
        told = told_inside({}, f"{purpose}_judge", "")
        return Question(OPENAI, msgspec.json.encode(body), told, OURSELVES, purpose)
