"""Deciders: labels in, thresholds with their reasons out."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cache.classes import MOST_CLASSES
from penstock.cache.ports import Label, Source
from penstock.cache.semantic.decider import Certified, FixedThreshold


def label(score: float, wrong: bool, source: Source = "shadow", *, at_ms: int = 0, klass: str = "a") -> Label:
    """A judged pair."""
    return Label(
        klass=klass,
        score=score,
        wrong=wrong,
        source=source,
        at_ms=at_ms,
        served=source in ("audit", "person"),
    )


def certified(score: float = 0.99, promise: float = 0.05) -> Certified:
    """A decider whose class "a" is served."""
    decider = Certified(promise)
    for _ in range(1000):
        decider.learn(label(score, False))
    assert decider.threshold("a").value is not None
    return decider


def test_the_configured_threshold_is_served_at_once() -> None:
    decider = FixedThreshold(0.94)
    told = decider.threshold("any")
    assert (told.value, told.version, told.certified, told.labels) == (0.94, "fixed-0.94", False, 0)
    assert told.error_bound is None


def test_the_configured_threshold_tells_what_its_audits_found() -> None:
    decider = FixedThreshold(0.94)
    decider.restore([label(0.95, False, "audit") for _ in range(58)])
    decider.learn(label(0.95, True, "audit"))
    decider.learn(label(0.93, True, "shadow"))
    told = decider.threshold("a")
    assert told.value == 0.94
    assert told.version == "fixed-0.94"
    assert told.labels == 59
    assert told.error_bound is not None
    assert 0.05 < told.error_bound < 0.09
    assert "1 of 59 answers" in told.reason
    assert decider.threshold("b").labels == 0


def test_nothing_is_served_before_it_is_certified_and_the_reason_counts() -> None:
    decider = Certified(0.01, loosest=0.97)
    first = decider.threshold("a")
    assert first.value is None
    assert "not certified yet: 0 clean labels of the" in first.reason
    for _ in range(212):
        decider.learn(label(0.981, False))
    told = decider.threshold("a")
    assert told.value is None
    assert told.labels == 212
    assert "212 clean labels of the 390 that 1 % needs at 0.98" in told.reason
    decider.learn(label(0.981, True))
    assert "213 labels, 1 wrong, of the 635 that 1 % needs at 0.98" in decider.threshold("a").reason


def test_a_certified_threshold_says_by_what() -> None:
    told = certified().threshold("a")
    assert told.certified
    assert told.error_bound == 0.05
    assert told.value == 0.8, "nothing was ever wrong, so the loosest is as good as the strictest"
    assert "at most 5 % wrong, confidence 0.95" in told.reason
    assert told.version.startswith("c0-0.8-")


def test_classes_learn_nothing_from_each_other() -> None:
    decider = certified()
    assert decider.threshold("b").value is None
    decider.learn(label(0.99, False, klass="b"))
    assert decider.threshold("b").labels == 1


def test_classes_that_callers_make_do_not_grow_without_end() -> None:
    """Of one tenant the one that has learned nothing for longest is forgotten; no other tenant's is."""
    decider, fixed = certified(), FixedThreshold(0.9)
    names = ["quiet|0|m|b", *[f"noisy|{at}|m|b" for at in range(2 * MOST_CLASSES + 5)]]
    for name in names:
        decider.learn(label(0.99, False, klass=name))
        fixed.learn(label(0.99, False, "audit", klass=name))
    alive = {one.klass for one in decider.standings()}
    assert alive == {"a", names[0], *names[6:]}
    assert decider.threshold(names[1]).labels == 0, "forgotten, so it must be certified anew"
    assert [fixed.threshold(name).labels for name in (names[0], names[1], names[-1])] == [1, 0, 1]
    decider.learn(label(0.99, False, klass=names[6]))
    decider.learn(label(0.99, False, klass="noisy|one more|m|b"))
    alive = {one.klass for one in decider.standings()}
    assert names[6] in alive, "it has learned something since"
    assert names[7] not in alive
    decider.forget(names[6])
    fixed.forget(names[-1])
    assert (decider.threshold(names[6]).labels, fixed.threshold(names[-1]).labels) == (0, 0)


def test_audits_certify_nothing() -> None:
    """They are sampled otherwise than misses are."""
    decider = Certified(0.05)
    for _ in range(2000):
        decider.learn(label(0.99, False, "audit"))
    assert decider.threshold("a").value is None


def strict() -> tuple[Certified, float]:
    """A class that is served, and could be from a looser score."""
    decider = Certified(0.05)
    for _ in range(6):
        decider.learn(label(0.92, True))
    while decider.threshold("a").value is None:
        decider.learn(label(0.99, False))
    value = decider.threshold("a").value
    assert value is not None
    assert value > 0.92
    return decider, value


def audit_of(weight: float) -> Label:
    """A hit that was right."""
    return Label("a", 0.99, False, "audit", at_ms=0, weight=weight, served=True)


def test_first_hits_are_all_audited_and_loosen_the_threshold() -> None:
    decider, value = strict()
    for _ in range(300):
        decider.learn(audit_of(1.0))
    looser = decider.threshold("a").value
    assert looser is not None
    assert looser < value


def test_later_audits_are_a_sample_of_their_own_and_loosen_nothing() -> None:
    decider, value = strict()
    decider.learn(audit_of(50.0))
    for _ in range(300):
        decider.learn(audit_of(1.0))
    assert decider.threshold("a").value == value
    assert decider.standings()[0].audits == 301


def test_audits_count_only_at_the_rate_of_misses() -> None:
    decider, value = strict()
    decider.learn(Label("a", 0.5, True, "shadow", at_ms=0, weight=2.0))
    for _ in range(300):
        decider.learn(audit_of(1.0))
    assert decider.threshold("a").value == value


def lived(seed: int) -> float | None:
    """2,500 look-ups of a class that is right above 0.96 and wrong in 16 % below: R(t) > 5 % from about 0.93 on."""
    draw = random.Random(seed)
    decider = Certified(0.05)
    hits = 0
    loosest: float | None = None
    for _ in range(2500):
        score = draw.uniform(0.8, 1.0)
        wrong = draw.random() < (0.002 if score >= 0.96 else 0.16)
        value = decider.threshold("a").value
        if value is None or score < value:
            decider.learn(label(score, wrong))
            continue
        loosest = value if loosest is None else min(value, loosest)
        hits += 1
        rate = 1.0 if hits <= 50 else 0.1 if score - value < 0.02 else 0.02
        if draw.random() < rate:
            decider.learn(Label("a", score, wrong, "audit", at_ms=0, weight=1 / rate, served=True))
    return loosest


def test_a_whole_life_has_a_false_certificate_no_more_often_than_the_level() -> None:
    found = [lived(seed) for seed in range(40)]
    truth = [
        (0.04 * 0.002 + (0.96 - value) * 0.16) / (1 - value) if value is not None and value < 0.96 else 0.0
        for value in found
    ]
    assert sum(rate > 0.05 for rate in truth) <= 40 * 0.05 + 3
    assert sum(value is not None for value in found) >= 36


def test_uploaded_pairs_certify() -> None:
    decider = Certified(0.05)
    for _ in range(200):
        decider.learn(label(0.99, False, "upload"))
    assert decider.threshold("a").certified


def test_a_broken_promise_switches_the_class_off_until_fresh_labels_certify_it() -> None:
    decider = certified()
    before = decider.threshold("a")
    while decider.threshold("a").value is not None:
        decider.learn(label(0.99, True, "audit"))
    off = decider.threshold("a")
    assert off.version not in (before.version, Certified(0.05).threshold("a").version)
    assert "switched off by its audits, and not certified again yet: 0 clean labels" in off.reason
    (standing,) = decider.standings()
    assert (standing.alarms, standing.audits) == (1, 0)
    late = 0
    while decider.threshold("a").value is None:
        decider.learn(label(0.99, False, "audit"))
        decider.learn(label(0.99, False))
        late += 1
    first = 0
    again = Certified(0.05)
    while again.threshold("a").value is None:
        again.learn(label(0.99, False))
        first += 1
    assert late > first, "half the level is left"


def test_one_wrong_audit_breaks_no_promise_of_five_percent() -> None:
    decider = certified()
    for _ in range(40):
        decider.learn(label(0.99, False, "audit"))
    decider.learn(label(0.99, True, "audit"))
    assert decider.threshold("a").value is not None
    assert decider.standings()[0].wrong_audits == 1


def test_a_person_settles_a_hit_for_the_monitor_and_a_comparison_for_the_certificate() -> None:
    decider = certified()
    decider.learn(label(0.99, True, "person"))
    assert decider.standings()[0].wrong_audits == 1
    comparison = Label("a", 0.99, True, "person", at_ms=0, served=False)
    unserved = Certified(0.05)
    unserved.learn(comparison)
    assert unserved.standings()[0].steps[0].wrong == 0
    assert unserved.standings()[0].steps[1].wrong == 1
    unserved.learn(label(0.99, True, "person"))
    assert unserved.standings()[0].steps[1].wrong == 1, "of a hit of former times: for neither"
    assert unserved.standings()[0].audits == 0


def test_restoring_replaces_what_was_learned() -> None:
    decider = certified()
    decider.restore([label(0.99, False)])
    assert decider.threshold("a").labels == 1
    fixed = FixedThreshold(0.9)
    fixed.learn(label(0.95, True, "audit"))
    fixed.restore([])
    assert fixed.threshold("a").labels == 0


def test_a_certified_class_may_loosen_by_labels_below_its_threshold() -> None:
    decider = Certified(0.05)
    draw = random.Random(5)
    seen: list[float] = []
    for _ in range(8):
        decider.learn(label(0.93, True))
    for _ in range(3000):
        score = draw.uniform(0.8, 1.0)
        told = decider.threshold("a").value
        if told is not None and told not in seen:
            seen.append(told)
        if told is None or score < told:
            decider.learn(label(score, draw.random() < (0.5 if score < 0.9 else 0.02)))
    assert len(seen) >= 2
    assert seen == sorted(seen, reverse=True)
    assert 0.89 <= seen[-1] <= 0.93


labels = st.lists(
    st.builds(
        Label,
        klass=st.sampled_from(["a", "b"]),
        score=st.floats(0.78, 1.0),
        wrong=st.sampled_from([False, False, False, False, False, False, False, True]),
        source=st.sampled_from(["shadow", "shadow", "shadow", "audit", "upload", "person"]),
        at_ms=st.integers(0, 10**6),
        served=st.booleans(),
    ),
    max_size=300,
)


@settings(deadline=None)
@given(labels)
def test_restored_labels_bring_back_the_same_decision(kept: list[Label]) -> None:
    ordered = sorted(kept, key=lambda each: each.at_ms)
    lived = Certified(0.2)
    for each in ordered:
        lived.learn(each)
        lived.threshold(each.klass)
    restored = Certified(0.2)
    restored.restore(iter(kept))
    assert [lived.threshold(name) for name in "abc"] == [restored.threshold(name) for name in "abc"]
    assert lived.standings() == restored.standings()


@settings(deadline=None)
@given(labels)
def test_the_version_changes_with_the_decision_and_only_then(kept: list[Label]) -> None:
    decider = Certified(0.3)
    seen = {decider.threshold("a").version: decider.threshold("a").value}
    for each in kept:
        decider.learn(each)
        told = decider.threshold("a")
        assert seen.setdefault(told.version, told.value) == told.value
        assert told.certified == (told.value is not None)
