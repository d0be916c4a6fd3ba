"""The auditor: what it samples, asks again, concludes and forbids; what it spends; and that it never holds up anybody."""

import asyncio
import random
from decimal import Decimal

import msgspec

from penstock.base.clock import SystemClock
from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamFault
from penstock.base.events import Finished, Folded, Started, Stopped, TextDelta, fold
from penstock.cache.answer import Answer
from penstock.cache.audit_book import AuditBook
from penstock.cache.audits import DAY_MS
from penstock.cache.ports import Found, Threshold
from penstock.config.schema_cache import AuditConfig, SemanticCacheConfig
from penstock.dialects.openai_chat import OPENAI
from penstock.gateway.caching import shadow
from penstock.gateway.caching.asking import Fresh
from penstock.gateway.caching.shadow import Auditor, NearMiss, ServedHit
from penstock.gateway.principal import Principal
from penstock.routing.allow import ALL
from tests.cache.looped import looped, until

THRESHOLD = Threshold(value=0.94, version="fixed-0.94", reason="as configured")
BODY = b'{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"How do I cancel my card?"}]}'
CENT = 10_000_000
"""Nano-dollars."""


class Clock(SystemClock):
    """Stands still."""

    def unix_s(self) -> float:
        return 1_790_000_000.0


class FakeDecider:
    def __init__(self):
        self.labels = []
        self.restored = 0

    def threshold(self, klass):
        return THRESHOLD

    def learn(self, label):
        self.labels.append(label)

    def restore(self, labels):
        self.labels = list(labels)
        self.restored += 1


class FakeModel:
    """Answers what it is told to, in order, the last one for ever. ``gate``: it does not before."""

    def __init__(self, *answers, cost_nusd=CENT):
        self.answers = list(answers)
        self.asked = []
        self.cost_nusd = cost_nusd
        self.gate = None
        self.at_once = self.most = 0

    async def __call__(self, question):
        self.asked.append(question)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        self.at_once -= 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            return Fresh(Folded(), 0, "gen-x", answer)
        return Fresh(fold(list(events(answer))), self.cost_nusd, "gen-x")


class FakeSense:
    def __init__(self, similarity, *vetoes):
        self._similarity, self._vetoes = similarity, vetoes

    async def similarity(self, one, other):
        return self._similarity

    def vetoes(self, one, other):
        return self._vetoes


class Draws(random.Random):
    """Says these, then 0.5."""

    def __init__(self, *draws):
        super().__init__(0)
        self._draws = list(draws)

    def random(self):
        return self._draws.pop(0) if self._draws else 0.5


def events(text, why="stop"):
    return (Started("gpt-4o-mini"), TextDelta(text), Stopped(why), Finished())


def an_answer(text="Call us.", cost_nusd=CENT):
    return Answer("ce-1", "gen-0", "website", "chat", "openai/gpt-4o-mini", "openai", "gpt-4o-mini", 0, cost_nusd, "How can I cancel a card?", events(text))  # fmt: skip


def a_hit(n=1, score=0.98, **fields):
    known = {
        "request_id": f"gen-{n}",
        "at_ms": 1_790_000_000_000,
        "klass": "support",
        "partition": b"p" * 16,
        "text": "How do I cancel my card?",
        "caller": OPENAI,
        "body": BODY,
        "told": {b"authorization": b"Bearer secret", b"x-penstock-stage": b"caption", b"anthropic-beta": b"x"},
        "principal": Principal(name="website", team="shop", patterns=ALL, provider_keys={"openai": frozenset({"a"})}),
        "found": Found(None, "ce-1", b"k", "", score, THRESHOLD, "How can I cancel a card?", ("slot",)),
        "answer": an_answer(),
    }  # fmt: skip
    return ServedHit(**{**known, **fields})


def a_miss(fresh="Use the app.", score=0.93, refused="below-threshold", n=1, why="stop", kept=True):
    async def neighbour():
        return an_answer() if kept else None

    fields = msgspec.structs.asdict(a_hit(n))
    del fields["answer"]
    found = Found(Rejected(refused, "No."), "ce-1", b"k", "", score, THRESHOLD, "How can I cancel a card?")
    fields |= {"found": found, "fresh": fold(list(events(fresh, why))), "neighbour": neighbour}
    return NearMiss(**fields)


class Desk:
    """An auditor among fakes."""

    def __init__(self, model, *, sense=None, rng=None, path=":memory:", threshold=0.94, **audit):
        self.model = model
        self.decider = FakeDecider()
        self.evicted = []
        self.book = AuditBook(str(path), run=str(id(self)))
        settings = SemanticCacheConfig(similarity_threshold=threshold, audit=AuditConfig(**audit))
        self.auditor = Auditor(
            settings, self.book, self.decider, self._evict, model, rng or Draws(), Clock(), sense=sense
        )

    async def _evict(self, entry_id):
        self.evicted.append(entry_id)

    async def __aenter__(self):
        await self.auditor.start()
        return self

    async def __aexit__(self, *_):
        await self.auditor.aclose()

    async def audits(self):
        await self.auditor.idle()
        return [audit for _, audit in await self.book.audits()]


@looped
async def test_a_hit_that_was_right_is_a_clean_label():
    async with Desk(FakeModel("call US")) as desk:
        desk.auditor.served(a_hit())
        (audit,) = await desk.audits()
        assert (audit.state, audit.by, audit.cost_nusd) == ("right", "equal", CENT)
        assert (audit.cached_answer, audit.fresh_answer) == ("Call us.", "call US")
        (label,) = desk.decider.labels
        assert (label.wrong, label.source, label.served, label.weight, label.score) == (
            False,
            "audit",
            True,
            1.0,
            0.98,
        )
        assert desk.evicted == []
        (hit,) = await desk.book.hits("ce-1")
        assert (hit.asked, hit.cached, hit.flags) == (
            "How do I cancel my card?",
            "How can I cancel a card?",
            ("slot",),
        )


@looped
async def test_it_is_asked_as_the_caller_asked_and_paid_by_nobody():
    """The same body and dialect, for what the key may use; no credential, no limits, past the cache, last in the queue."""
    async with Desk(FakeModel("Call us.")) as desk:
        desk.auditor.served(a_hit())
        await desk.auditor.idle()
        (asked,) = desk.model.asked
        assert (asked.body, asked.caller, asked.purpose) == (BODY, OPENAI, "audit")
        assert asked.principal.name == asked.principal.team == asked.principal.organisation == ""
        assert asked.principal.allowance is None
        assert asked.principal.provider_keys == {"openai": frozenset({"a"})}
        assert asked.told == {
            b"anthropic-beta": b"x",
            b"x-penstock-cache": b"off",
            b"x-penstock-priority": b"batch",
            b"x-penstock-stage": b"cache_audit",
            b"x-penstock-meta": b"purpose=cache_audit,audited=gen-1",
        }


@looped
async def test_answers_that_mean_the_same_are_right_unless_something_must_not_differ():
    async with Desk(FakeModel("Ring us up."), sense=FakeSense(0.97)) as desk:
        desk.auditor.served(a_hit())
        assert [(audit.state, audit.by) for audit in await desk.audits()] == [("right", "meaning")]
    async with Desk(FakeModel("Ring us up."), sense=FakeSense(0.99, "numbers")) as desk:
        desk.auditor.served(a_hit())
        (audit,) = await desk.audits()
        assert (audit.state, audit.by) == ("open", "")
        assert "numbers" in audit.reason


@looped
async def test_what_nobody_decides_is_open_counts_as_wrong_and_evicts_nothing():
    async with Desk(FakeModel("Use the app.")) as desk:
        desk.auditor.served(a_hit())
        (audit,) = await desk.audits()
        assert audit.state == "open"
        assert [label.wrong for label in desk.decider.labels] == [True]
        assert desk.evicted == []
        assert not desk.book.forbids(b"p" * 16, "How do I cancel my card?", "How can I cancel a card?")


@looped
async def test_a_person_s_word_replaces_the_label():
    async with Desk(FakeModel("Use the app.")) as desk:
        desk.auditor.served(a_hit())
        (audit,) = await desk.audits()
        judged = await desk.auditor.verdict(audit.id, "right", "ann")
        assert judged.state == "right"
        assert [label.wrong for label in desk.decider.labels] == [False]
        assert desk.evicted == []
        await desk.auditor.verdict(audit.id, "wrong", "bob")
        assert [label.wrong for label in desk.decider.labels] == [True]
        assert desk.evicted == ["ce-1"]
        assert desk.book.quarantined("ce-1") == f"audit {audit.id}: bob"
        assert desk.book.forbids(b"p" * 16, "How do I cancel my card?", "How can I cancel a card?")


@looped
async def test_a_judge_that_says_different_both_ways_evicts_quarantines_and_keeps_apart():
    model = FakeModel("Use the app.", "DIFFERENT", "DIFFERENT", cost_nusd=CENT)
    async with Desk(model, judge="openai/gpt-4o") as desk:
        desk.auditor.served(a_hit())
        (audit,) = await desk.audits()
        assert (audit.state, audit.by, audit.cost_nusd) == ("wrong", "judge", 3 * CENT)
        assert desk.evicted == ["ce-1"]
        assert desk.book.quarantined("ce-1") is not None
        assert desk.book.forbids(b"p" * 16, "How can I cancel a card?", "How do I cancel my card?")
        judging = [msgspec.json.decode(asked.body) for asked in model.asked[1:]]
        assert [one["model"] for one in judging] == ["openai/gpt-4o"] * 2
        first, second = (one["messages"][1]["content"] for one in judging)
        assert (first.index("Call us.") < first.index("Use the app.")) is True
        assert (second.index("Call us.") < second.index("Use the app.")) is False
        assert {asked.purpose for asked in model.asked} == {"audit"}


@looped
async def test_a_judge_that_contradicts_itself_leaves_it_to_a_person():
    async with Desk(FakeModel("Use the app.", "SAME", "DIFFERENT"), judge="openai/gpt-4o") as desk:
        desk.auditor.served(a_hit())
        (audit,) = await desk.audits()
        assert (audit.state, audit.by) == ("open", "")
        assert "another in the other" in audit.reason


@looped
async def test_a_judge_that_says_the_same_both_ways_is_believed():
    async with Desk(FakeModel("Use the app.", "same", "SAME."), judge="openai/gpt-4o") as desk:
        desk.auditor.served(a_hit())
        assert [(audit.state, audit.by) for audit in await desk.audits()] == [("right", "judge")]


@looped
async def test_the_first_are_all_audited_then_few_and_more_near_the_threshold():
    """The weight is 1 / the rate it was drawn at."""
    rng = Draws(0.99, 0.99, 0.5, 0.09, 0.5, 0.5, 0.019)
    async with Desk(FakeModel("Call us."), rng=rng, first=2, rate=0.02) as desk:
        for n, score in enumerate([0.99, 0.99, 0.945, 0.945, 0.99, 0.99, 0.99]):
            desk.auditor.served(a_hit(n, score))
        audits = {audit.request_id: audit.weight for audit in await desk.audits()}
        assert audits == {"gen-0": 1.0, "gen-1": 1.0, "gen-3": 10.0, "gen-6": 50.0}
        (looked,) = await desk.book.looked_at(0)
        assert (looked.looks, looked.hits, looked.saved_nusd) == (7, 7, 7 * CENT)


@looped
async def test_what_was_audited_before_a_restart_counts(tmp_path):
    async with Desk(FakeModel("Call us."), first=1, rate=0.0, path=tmp_path / "a") as desk:
        desk.auditor.served(a_hit(1))
        assert len(await desk.audits()) == 1
    async with Desk(FakeModel("Call us."), first=1, rate=0.0, path=tmp_path / "a") as again:
        assert [label.wrong for label in again.decider.labels] == [False]
        again.auditor.served(a_hit(2))
        assert len(await again.audits()) == 1


@looped
async def test_a_day_s_budget_is_kept_and_holds_before_it_is_spent():
    model = FakeModel("Call us.")
    async with Desk(model, budget_usd="0.025") as desk:
        for n in range(5):
            desk.auditor.served(a_hit(n))
        assert len(await desk.audits()) == 2
        assert desk.auditor.counts.unfunded == 3
        spent_nusd = await desk.book.spent(1_790_000_000_000 // DAY_MS)
        assert spent_nusd == 2 * CENT <= Decimal("0.025") * 10**9


@looped
async def test_what_was_held_and_not_spent_is_given_back():
    async with Desk(FakeModel("Call us.", cost_nusd=1), budget_usd="0.0100000004") as desk:
        for n in range(5):
            desk.auditor.served(a_hit(n))
            await desk.auditor.idle()
        assert len(await desk.audits()) == 1  # 0.01 of a cent is left, one more holds a cent
        assert await desk.book.spent(1_790_000_000_000 // DAY_MS) == 1


@looped
async def test_a_model_without_a_price_is_audited_only_without_a_budget():
    unpriced = an_answer(cost_nusd=None)
    async with Desk(FakeModel("Call us.", cost_nusd=None)) as desk:
        desk.auditor.served(a_hit(answer=unpriced))
        assert await desk.audits() == []
        assert (desk.auditor.counts.unpriced, desk.model.asked) == (1, [])
    async with Desk(FakeModel("Call us.", cost_nusd=None), budget_usd=None) as desk:
        desk.auditor.served(a_hit(answer=unpriced))
        assert [audit.state for audit in await desk.audits()] == ["right"]


@looped
async def test_a_failed_or_cut_answer_is_no_label():
    """Neither says anything of the kept one."""
    async with Desk(FakeModel(UpstreamFault("It broke."))) as desk:
        desk.auditor.served(a_hit())
        assert await desk.audits() == []
        assert desk.auditor.counts.failed == 1
        assert desk.decider.labels == []
    async with Desk(FakeModel("unused")) as desk:
        desk.auditor.missed(a_miss(why="length"))
        desk.auditor.missed(a_miss(kept=False))
        assert await desk.audits() == []


@looped
async def test_never_more_than_two_at_once_and_what_finds_no_room_is_counted(monkeypatch):
    monkeypatch.setattr(shadow, "MAX_WAITING", 3)
    model = FakeModel("Call us.")
    async with Desk(model, budget_usd=None) as desk:
        model.gate = asyncio.Event()
        for n in range(9):
            desk.auditor.served(a_hit(n))  # gives back at once: nothing is awaited here
        assert desk.auditor.waiting == 5
        assert desk.auditor.counts.dropped == 4
        await until(lambda: len(model.asked) == 2)
        model.gate.set()
        assert len(await desk.audits()) == 5
        assert model.most == 2
        assert len(await desk.book.hits("ce-1")) == 9  # each hit is on record, audited or not


@looped
async def test_closing_cuts_what_runs():
    model = FakeModel("Call us.")
    async with Desk(model) as desk:
        model.gate = asyncio.Event()
        for n in range(4):
            desk.auditor.served(a_hit(n))
        await until(lambda: model.asked)
    desk.auditor.served(a_hit(9))
    assert desk.auditor.counts.dropped == 1


@looped
async def test_a_bug_ends_one_audit_and_no_other():
    class Broken(FakeSense):
        async def similarity(self, one, other):
            raise ZeroDivisionError

    async with Desk(FakeModel("Use the app.", "Call us."), sense=Broken(0)) as desk:
        desk.auditor.served(a_hit(1))
        desk.auditor.served(a_hit(2))
        assert [audit.request_id for audit in await desk.audits()] == ["gen-2"]


@looped
async def test_a_miss_beside_a_neighbour_is_a_free_label():
    """No call; the entry stays where it was wrong for this question; the two are kept apart."""
    async with Desk(FakeModel("DIFFERENT"), judge="openai/gpt-4o") as desk:
        desk.auditor.missed(a_miss(fresh="Call us."))
        desk.auditor.missed(a_miss(fresh="Use the app.", n=2))
        audits = {audit.request_id: audit for audit in await desk.audits()}
        assert (audits["gen-1"].state, audits["gen-1"].by, audits["gen-1"].served) == (
            "right",
            "equal",
            False,
        )
        assert audits["gen-2"].state == "wrong"
        assert {asked.purpose for asked in desk.model.asked} == {"shadow"}
        assert desk.evicted == []
        assert desk.book.quarantined("ce-1") is None
        assert desk.book.forbids(b"p" * 16, "How do I cancel my card?", "How can I cancel a card?")
        assert sorted((label.wrong, label.source, label.served) for label in desk.decider.labels) == [
            (False, "shadow", False),
            (True, "shadow", False),
        ]


@looped
async def test_a_miss_is_compared_only_where_another_threshold_might_have_served_it():
    """Not what a guard refused, nor what is far below; at the configured share, whatever the score."""
    async with Desk(FakeModel("unused")) as desk:
        desk.auditor.missed(a_miss(refused="guard-numbers"))
        desk.auditor.missed(a_miss(refused="no-neighbour"))
        desk.auditor.missed(a_miss(score=0.88))
        assert await desk.audits() == []
        desk.auditor.missed(a_miss(score=0.90, fresh="Call us.", refused="not-certified"))
        assert len(await desk.audits()) == 1
    async with Desk(FakeModel("unused"), rng=Draws(0.3, 0.1), shadow_rate=0.25) as desk:
        desk.auditor.missed(a_miss(n=1))
        desk.auditor.missed(a_miss(n=2))
        assert [(audit.request_id, audit.weight) for audit in await desk.audits()] == [("gen-2", 4.0)]


@looped
async def test_another_process_s_verdict_holds_here(tmp_path, monkeypatch):
    monkeypatch.setattr(shadow, "FOLLOW_S", 0.01)
    async with (
        Desk(FakeModel("Use the app."), path=tmp_path / "a") as here,
        Desk(FakeModel("unused"), path=tmp_path / "a") as there,
    ):
        here.auditor.served(a_hit())
        (audit,) = await here.audits()
        await until(lambda: there.decider.labels)
        assert [label.wrong for label in there.decider.labels] == [True]
        await here.auditor.verdict(audit.id, "right", "ann")
        await until(lambda: not there.decider.labels[0].wrong)
        await here.auditor.verdict(audit.id, "wrong", "ann")
        await until(lambda: there.evicted)
        assert there.evicted == ["ce-1"]
        assert there.book.forbids(b"p" * 16, "How do I cancel my card?", "How can I cancel a card?")
        assert here.evicted == ["ce-1"]


def test_nothing_that_is_asked_shows_words_or_keys():
    assert "cancel" not in repr(a_hit())
    assert "secret" not in repr(a_hit())
    assert "cancel" not in repr(a_miss())
