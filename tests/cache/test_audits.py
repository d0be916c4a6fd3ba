"""The audits' book: what is written, what follows from a verdict, what other processes learn, and what never fails a call."""

import asyncio
import sqlite3

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import ConfigFault, NotFound, OurFault
from penstock.cache import audit_book
from penstock.cache.audit_book import AuditBook
from penstock.cache.audit_file import AUDITS_KEPT_MS, HITS_KEPT_MS, AuditFile
from penstock.cache.audits import DAY_MS, Audit, Hit, label_of
from penstock.cache.ports import Label
from tests.cache.looped import looped

NOW = 1_790_000_000_000


def an_audit(name="au-1", **fields):
    known = {
        "request_id": "gen-1",
        "at_ms": NOW,
        "klass": "support",
        "entry_id": "ce-1",
        "partition": b"p" * 16,
        "asked": "How do I cancel my card?",
        "cached": "How can I cancel a card?",
        "score": 0.953,
        "version": "fixed-0.94",
        "flags": ("slot",),
        "cached_answer": "Call us.",
        "fresh_answer": "Use the app.",
    }
    return Audit(id=name, **{**known, **fields})


def a_hit(**fields):
    known = {
        "request_id": "gen-1",
        "at_ms": NOW,
        "klass": "support",
        "entry_id": "ce-1",
        "partition": b"p" * 16,
    }
    texts = {"asked": "one question", "cached": "another question", "score": 0.95, "saved_nusd": 12}
    return Hit(**{**known, **texts, **fields})


async def opened(path, **options):
    book = AuditBook(str(path), **options)
    await book.open()
    return book


@looped
async def test_what_was_written_is_read_again_by_the_next_process(tmp_path):
    book = await opened(tmp_path / "a", run="one")
    book.hit(a_hit())
    kept = book.audit(an_audit())
    book.learned(Label("support", 0.99, False, "upload", NOW))
    await book.aclose()
    again = await opened(tmp_path / "a", run="two")
    assert [audit for _, audit in await again.audits(state="open")] == [kept]
    assert await again.hits("ce-1") == [a_hit()]
    assert [label.source for label in await again.labels()] == ["audit", "upload"]
    assert await again.audited() == {"support": 1}
    await again.aclose()


@looped
async def test_an_undecided_audit_says_wrong_until_a_person_says_right(tmp_path):
    book = await opened(tmp_path / "a")
    book.audit(an_audit())
    assert [label.wrong for label in await book.labels()] == [True]
    assert not book.forbids(b"p" * 16, "How do I cancel my card?", "How can I cancel a card?")
    judged = await book.judge("au-1", "right", "ann (admin key)", NOW + 5)
    assert (judged.state, judged.by, judged.judged_ms) == ("right", "ann (admin key)", NOW + 5)
    labels = await book.labels()
    assert [(label.wrong, label.source, label.at_ms, label.score) for label in labels] == [
        (False, "audit", NOW, 0.953)
    ]
    await book.aclose()


@pytest.mark.parametrize("first", ["right", "wrong"])
@looped
async def test_a_verdict_can_be_changed(tmp_path, first):
    """The last word counts: of labels, and of what is kept apart."""
    book = await opened(tmp_path / "a")
    book.audit(an_audit())
    last = "wrong" if first == "right" else "right"
    await book.judge("au-1", first, "ann", NOW)
    await book.judge("au-1", last, "bob", NOW + 1)
    assert [label.wrong for label in await book.labels()] == [last == "wrong"]
    asked, cached = "How do I cancel my card?", "How can I cancel a card?"
    assert book.forbids(b"p" * 16, asked, cached) is (last == "wrong")
    await book.aclose()
    again = await opened(tmp_path / "a")
    assert again.forbids(b"p" * 16, asked, cached) is (last == "wrong")
    await again.aclose()


@looped
async def test_wrong_keeps_the_two_texts_apart_both_ways_and_nowhere_else(tmp_path):
    book = await opened(tmp_path / "a")
    book.audit(an_audit(state="wrong", by="judge", judged_ms=NOW))
    one, other = "How do I cancel my card?", "How can I cancel a card?"
    assert book.forbids(b"p" * 16, one, other)
    assert book.forbids(b"p" * 16, other, one)
    assert not book.forbids(b"q" * 16, one, other)
    assert not book.forbids(b"p" * 16, one, one)
    assert book.quarantined("ce-1") == "audit au-1: judge"
    assert book.quarantined("ce-2") is None
    await book.aclose()


@looped
async def test_a_compared_miss_that_was_wrong_leaves_the_entry_alone(tmp_path):
    """The neighbour is right for its own question."""
    book = await opened(tmp_path / "a")
    book.audit(an_audit("sh-1", served=False, state="wrong", by="judge", judged_ms=NOW))
    await book.flush()
    assert book.quarantined("ce-1") is None
    assert [label.source for label in await book.labels()] == ["shadow"]
    await book.aclose()
    again = await opened(tmp_path / "a")
    assert again.quarantines == {}
    await again.aclose()


@looped
async def test_another_process_hears_of_a_verdict(tmp_path):
    """Label, quarantine and pair, once each; and that a label was replaced."""
    here, there = await opened(tmp_path / "a", run="here"), await opened(tmp_path / "a", run="there")
    here.audit(an_audit())
    await here.flush()
    news = await there.news()
    assert [label.wrong for label in news.labels] == [True]
    assert (news.amended, news.quarantined) == (False, ())
    await here.judge("au-1", "wrong", "ann", NOW)
    news = await there.news()
    assert news.amended
    assert news.quarantined == (("ce-1", "audit au-1: ann"),)
    asked, cached = "How do I cancel my card?", "How can I cancel a card?"
    assert there.forbids(b"p" * 16, asked, cached)
    assert (await there.news()).labels == ()
    assert (await here.news()).labels == ()  # its own are no news
    await here.judge("au-1", "right", "bob", NOW)
    assert (await there.news()).amended
    assert not there.forbids(b"p" * 16, asked, cached)
    await here.aclose()
    await there.aclose()


@looped
async def test_two_that_open_one_file_at_once_share_its_secret(tmp_path):
    books = await asyncio.gather(*(opened(tmp_path / "a", run=str(n)) for n in range(4)))
    books[0].audit(an_audit(state="wrong", by="ann", judged_ms=NOW))
    await books[0].flush()
    for book in books[1:]:
        await book.news()
        assert book.forbids(b"p" * 16, "How do I cancel my card?", "How can I cancel a card?")
    for book in books:
        await book.aclose()


@looped
async def test_prompts_that_may_not_be_kept_are_nowhere_in_the_file(tmp_path):
    """Hashes stand in their place, and a verdict works all the same."""
    book = await opened(tmp_path / "a", keep_prompts=False)
    book.hit(a_hit(asked="a mallard question", cached="a mallard answer's question"))
    book.audit(an_audit(asked="a mallard question", cached="another mallard question"))
    await book.judge("au-1", "wrong", "ann", NOW)
    assert book.forbids(b"p" * 16, "a mallard question", "another mallard question")
    (audit,) = [audit for _, audit in await book.audits(state="wrong")]
    assert audit.asked.startswith("#")
    assert audit.cached_answer == "Call us."
    await book.aclose()
    for path in tmp_path.iterdir():
        assert b"mallard" not in path.read_bytes()


@given(st.text(), st.text(), st.binary(min_size=16, max_size=16))
def test_a_pair_has_no_order_and_nothing_else_makes_it(one, other, partition):
    file = AuditFile(":memory:", "")
    assert file.pair(partition, one, other) == file.pair(partition, other, one)
    assert file.pair(partition, one, other) != file.pair(partition, one, other + "x")
    assert file.pair(partition + b"x", one, other) != file.pair(partition, one, other)


@looped
async def test_a_day_s_money_is_one_sum_for_all(tmp_path):
    """However many ask at once: never more than the budget."""
    books = [await opened(tmp_path / "a", run=str(n)) for n in range(3)]
    took = await asyncio.gather(*(books[n % 3].reserve(20_000, 10, 95) for n in range(30)))
    assert sum(took) == 9
    await books[0].settle(20_000, 10, 4)
    assert await books[1].spent(20_000) == 84
    assert await books[2].reserve(20_000, 10, 95)
    assert not await books[2].reserve(20_000, 10, 95)
    assert await books[2].reserve(20_001, 10, 95)
    assert await books[2].reserve(20_001, 10**12, None)
    for book in books:
        await book.aclose()


@looped
async def test_look_ups_are_summed(tmp_path):
    book = await opened(tmp_path / "a")
    for hit in (True, False, True):
        book.looked("support", NOW, hit=hit, saved_nusd=5 if hit else None)
    book.looked("support", NOW - DAY_MS, hit=True)
    (today,) = await book.looked_at(NOW // DAY_MS)
    assert (today.looks, today.hits, today.saved_nusd) == (3, 2, 10)
    (both,) = await book.looked_at(NOW // DAY_MS - 1)
    assert (both.looks, both.hits) == (4, 3)
    await book.aclose()


@looped
async def test_audits_are_counted_by_weight(tmp_path):
    book = await opened(tmp_path / "a")
    for n, (state, weight) in enumerate([("right", 1.0), ("right", 50.0), ("wrong", 10.0), ("open", 1.0)]):
        book.audit(an_audit(f"au-{n}", state=state, weight=weight, judged_ms=NOW, cost_nusd=7))
    book.audit(an_audit("sh-1", served=False))
    counted = {one.state: one for one in await book.counted(NOW)}
    assert (counted["right"].audits, counted["right"].weights, counted["right"].squares) == (2, 51.0, 2501.0)
    assert counted["wrong"].cost_nusd == 7
    assert sum(one.audits for one in counted.values()) == 4
    assert await book.counted(NOW + 1) == []
    await book.aclose()


@looped
async def test_pages_of_audits(tmp_path):
    """Newest first; from the number of the last one seen."""
    book = await opened(tmp_path / "a")
    for n in range(5):
        book.audit(an_audit(f"au-{n}", klass="a" if n % 2 else "b"))
    first = await book.audits(limit=2)
    assert [audit.id for _, audit in first] == ["au-4", "au-3"]
    rest = await book.audits(limit=9, before=first[-1][0])
    assert [audit.id for _, audit in rest] == ["au-2", "au-1", "au-0"]
    assert [audit.id for _, audit in await book.audits(klass="a")] == ["au-3", "au-1"]
    await book.aclose()


@looped
async def test_what_is_long_past_goes_and_its_label_stays(tmp_path):
    book = await opened(tmp_path / "a")
    book.hit(a_hit())
    book.audit(an_audit(state="right", by="equal", judged_ms=NOW))
    await book.flush()
    await book.sweep(NOW + HITS_KEPT_MS + 1)
    assert await book.hits("ce-1") == []
    assert len(await book.audits()) == 1
    await book.sweep(NOW + AUDITS_KEPT_MS + 1)
    assert await book.audits() == []
    assert len(await book.labels()) == 1
    await book.aclose()


@looped
async def test_there_is_no_such_audit(tmp_path):
    book = await opened(tmp_path / "a")
    with pytest.raises(NotFound):
        await book.judge("au-none", "wrong", "ann", NOW)
    with pytest.raises(NotFound):
        await book.audit_of("au-none")
    await book.aclose()


@looped
async def test_a_file_of_something_else_is_refused(tmp_path):
    other = sqlite3.connect(tmp_path / "a")
    other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(ConfigFault, match="something else"):
        await opened(tmp_path / "a")
    with pytest.raises(ConfigFault, match="cannot be kept"):
        await opened(tmp_path / "no" / "such" / "folder")


@looped
async def test_a_file_that_does_not_answer_loses_rows_and_raises_nothing(tmp_path, monkeypatch):
    said = []
    book = await opened(tmp_path / "a", log_once=lambda key, sentence: said.append((key, sentence)))

    def broken(*_, **_named):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(book._file, "write", broken)
    book.hit(a_hit())
    book.looked("support", NOW, hit=True)
    await book.flush()
    assert book.lost == 2
    assert [key for key, _ in said] == ["cache audits"]
    monkeypatch.setattr(book._file, "audits", broken)
    with pytest.raises(OurFault, match="does not answer"):
        await book.audits()
    await book.aclose()


@looped
async def test_a_full_queue_drops_and_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(audit_book, "MAX_WAITING", 3)
    book = await opened(tmp_path / "a")
    for _ in range(8):
        book.hit(a_hit())
    assert book.dropped == 5
    await book.flush()
    assert len(await book.hits("ce-1")) == 3
    await book.aclose()


@looped
async def test_without_a_file_it_is_forgotten():
    book = await opened(":memory:")
    book.audit(an_audit())
    assert len(await book.audits()) == 1
    assert (await book.news()).labels == ()
    await book.aclose()


def test_the_label_of_an_audit_is_what_it_was_sampled_by():
    """Whoever judged it: the certificate's labels and the watch's are not to be mixed (certify)."""
    audit = an_audit(state="right", by="ann", weight=50.0)
    assert label_of(audit) == Label("support", 0.953, False, "audit", NOW, 50.0, True)
    missed = msgspec.structs.replace(audit, served=False, state="open")
    assert label_of(missed) == Label("support", 0.953, True, "shadow", NOW, 50.0, False)
