"""A look-up in the semantic tier: what is found, what is not, and the reason for each "no"."""

import pytest

pytest.importorskip("onnxruntime", reason="needs penstock[semantic]")

from penstock.cache.answer import About
from penstock.cache.ports import Found, Label, Threshold
from penstock.cache.semantic.index import Vectors
from penstock.cache.semantic.tier import SemanticTier
from tests.cache.semantic.vectors import near, of, some

NOW = 1_000_000
PARTITION = b"p" * 16


class Fixed:
    """A decider that has decided."""

    def __init__(self, value: float | None = 0.94) -> None:
        self.value = value

    def threshold(self, klass: str) -> Threshold:
        return Threshold(self.value, "v1", "as configured" if self.value else "no labels yet")

    def learn(self, label: Label) -> None:
        raise AssertionError("a look-up teaches nothing")


def about(
    entry_id: str, text: str, vector: Vectors, *, partition: bytes = PARTITION, until_ms: int = NOW + 1000
) -> About:
    return About(entry_id, partition, "class", text, vector.tobytes(), "build", until_ms)


def tier_with(*entries: About, value: float | None = 0.94) -> SemanticTier:
    tier = SemanticTier(Fixed(value))
    for entry in entries:
        assert tier.insert(entry, "ns", entry.id.encode()) is None
    return tier


def look(
    tier: SemanticTier,
    text: str,
    vector: Vectors,
    *,
    partition: bytes = PARTITION,
    now_ms: int = NOW,
    min_score: float | None = None,
) -> Found:
    return tier.look(partition, "class", text, vector.tobytes(), now_ms, min_score=min_score)


def code(found: Found) -> str:
    return found.refused.code if found.refused is not None else "served"


ASKED = "How do plants make sugar?"
V = of(ASKED)


def test_the_same_text_is_found_and_the_finding_names_all_of_it() -> None:
    found = look(tier_with(about("ce-1", ASKED, V)), ASKED, V)
    assert found.refused is None
    assert (found.entry_id, found.entry_key, found.namespace, found.text) == ("ce-1", b"ce-1", "ns", ASKED)
    assert found.score == 1.0
    assert found.threshold is not None
    assert found.threshold.version == "v1"
    assert found.flags == ()


def test_nothing_there() -> None:
    assert code(look(SemanticTier(Fixed()), ASKED, V)) == "no-neighbour"


@pytest.mark.parametrize(
    ("cosine", "expected"), [(0.95, "served"), (0.939, "below-threshold"), (0.1, "below-threshold")]
)
def test_the_threshold_decides(cosine: float, expected: str) -> None:
    found = look(tier_with(about("ce-1", ASKED, V)), "How do plants produce sugar?", near(V, cosine, 1))
    assert code(found) == expected
    assert found.entry_id == "ce-1"
    assert found.score == pytest.approx(cosine, abs=1e-5)


@pytest.mark.parametrize(
    ("min_score", "expected"),
    [(0.98, "below-threshold"), (0.96, "served"), (0.5, "served"), (None, "served")],
)
def test_a_calls_own_score_tightens(min_score: float | None, expected: str) -> None:
    found = look(tier_with(about("ce-1", ASKED, V)), ASKED + " ", near(V, 0.97, 1), min_score=min_score)
    assert code(found) == expected


def test_a_calls_own_score_loosens_nothing() -> None:
    assert (
        code(look(tier_with(about("ce-1", ASKED, V)), ASKED + " ", near(V, 0.92, 1), min_score=0.5))
        == "below-threshold"
    )


def test_what_is_not_certified_is_found_but_not_served() -> None:
    found = look(tier_with(about("ce-1", ASKED, V), value=None), ASKED, V)
    assert code(found) == "not-certified"
    assert found.refused is not None
    assert found.refused.reason == "no labels yet"
    assert (found.entry_id, found.score) == ("ce-1", 1.0)


def test_a_guard_comes_before_the_threshold() -> None:
    """So that a pair which no score would serve does not count in a calibration."""
    for value, cosine in ((0.94, 0.99), (None, 0.99), (0.94, 0.9)):
        tier = tier_with(about("ce-1", "Convert 5 km to miles", V), value=value)
        found = look(tier, "Convert 50 km to miles", near(V, cosine, 2))
        assert code(found) == "guard-numbers"
        assert "numbers" in found.flags


def test_far_below_any_threshold_the_guards_are_not_asked() -> None:
    found = look(
        tier_with(about("ce-1", "Convert 5 km to miles", V)), "Convert 50 km to miles", near(V, 0.6, 2)
    )
    assert code(found) == "below-threshold"
    assert found.flags == ()


def test_only_the_first_candidate_is_judged() -> None:
    tier = tier_with(
        about("ce-1", "Convert 5 km to miles", near(V, 0.99, 1)),
        about("ce-2", "Convert 50 km to miles", near(V, 0.97, 2)),
    )
    found = look(tier, "Convert 50 km into miles", V)
    assert code(found) == "guard-numbers"
    assert found.entry_id == "ce-1"


def test_expired_entries_are_over_to_the_millisecond_and_hits_prolong_nothing() -> None:
    tier = tier_with(about("ce-1", ASKED, V, until_ms=NOW + 10))
    for now_ms in (NOW, NOW + 9, NOW + 9):
        assert code(look(tier, ASKED, V, now_ms=now_ms)) == "served"
    assert code(look(tier, ASKED, V, now_ms=NOW + 10)) == "expired"
    assert code(look(tier, ASKED, V, now_ms=NOW + 10)) == "no-neighbour"
    assert tier.stats().entries == 0
    assert tier.stats().partitions == 0


def test_a_living_entry_behind_expired_ones_is_found() -> None:
    tier = tier_with(
        about("ce-1", ASKED, near(V, 0.99, 1), until_ms=NOW - 1),
        about("ce-2", ASKED, near(V, 0.98, 2), until_ms=NOW + 5),
    )
    found = look(tier, ASKED, V)
    assert (code(found), found.entry_id) == ("served", "ce-2")


def test_quarantined_entries_are_passed_over_and_do_not_come_back() -> None:
    tier = tier_with(about("ce-1", ASKED, V))
    assert tier.quarantine("ce-1", "judged wrong")
    found = look(tier, ASKED, V)
    assert code(found) == "quarantined"
    assert found.refused is not None
    assert "judged wrong" in found.refused.reason
    assert tier.remove("ce-1")
    assert tier.insert(about("ce-1", ASKED, V), "ns", b"ce-1") is None
    assert code(look(tier, ASKED, V)) == "quarantined"
    assert tier.insert(about("ce-2", ASKED, near(V, 0.97, 1)), "ns", b"ce-2") is None
    assert look(tier, ASKED, V).entry_id == "ce-2"


def test_an_entry_may_be_quarantined_before_it_is_read_from_a_store() -> None:
    tier = SemanticTier(Fixed())
    assert not tier.quarantine("ce-1", "judged wrong")
    assert tier.insert(about("ce-1", ASKED, V), "ns", b"k") is None
    assert code(look(tier, ASKED, V)) == "quarantined"


def test_one_answer_one_entry_the_later_counts() -> None:
    tier = SemanticTier(Fixed())
    for entry_id in ("ce-1", "ce-2"):
        assert tier.insert(about(entry_id, ASKED, V), "ns", b"one key") is None
    assert look(tier, ASKED, V).entry_id == "ce-2"
    assert tier.stats().entries == 1
    assert not tier.remove("ce-1")
    assert tier.remove("ce-2")


def test_an_id_that_comes_again_in_another_partition_leaves_the_first() -> None:
    tier = tier_with(about("ce-1", ASKED, V))
    assert tier.insert(about("ce-1", ASKED, V, partition=b"q" * 16), "ns", b"ce-1") is None
    assert code(look(tier, ASKED, V)) == "no-neighbour"
    assert look(tier, ASKED, V, partition=b"q" * 16).entry_id == "ce-1"


def test_partitions_never_see_each_others_vectors() -> None:
    """Two tenants, the same text, the same vector (vLLM semantic-router #1448 and #2134, OmniRoute #3740, LiteLLM PR #26992)."""
    ours, theirs = b"a" * 16, b"a" * 15 + b"b"
    tier = tier_with(about("ce-a", ASKED, V, partition=ours))
    assert code(look(tier, ASKED, V, partition=theirs)) == "no-neighbour"
    assert tier.insert(about("ce-b", ASKED, V, partition=theirs), "ns", b"kb") is None
    assert look(tier, ASKED, V, partition=ours).entry_id == "ce-a"
    assert look(tier, ASKED, V, partition=theirs).entry_id == "ce-b"
    assert tier.remove("ce-a")
    assert code(look(tier, ASKED, V, partition=ours)) == "no-neighbour"
    assert look(tier, ASKED, V, partition=theirs).entry_id == "ce-b"


def test_a_failed_embedding_is_no_neighbour_of_anything() -> None:
    """Bifrost before 1.7.0 kept a placeholder vector where the embedder had failed."""
    tier = tier_with(about("ce-1", ASKED, V))
    refused = tier.insert(about("ce-2", "anything", V * 0), "ns", b"k2")
    assert refused is not None
    assert refused.code == "bad-vector"
    assert code(look(tier, ASKED, V * 0)) == "bad-vector"
    assert code(look(tier, ASKED, some(1, 3, dimensions=256)[0])) == "bad-vector"
    assert tier.stats().entries == 1


def test_a_close_second_is_noted() -> None:
    tier = tier_with(about("ce-1", ASKED, near(V, 0.99, 1)), about("ce-2", ASKED, near(V, 0.988, 2)))
    assert look(tier, ASKED, V).flags == ("close-second",)


def test_stats_count() -> None:
    tier = tier_with(about("ce-1", ASKED, V), about("ce-2", "another", of("another"), partition=b"q" * 16))
    look(tier, ASKED, V)
    look(tier, "none", of("none"), partition=b"r" * 16)
    stats = tier.stats()
    assert (stats.partitions, stats.entries, stats.looks, stats.found, stats.graphs) == (2, 2, 2, 1, 0)
    assert stats.index_bytes > 0
