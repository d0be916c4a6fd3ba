"""The promise, kept in a stream of which the truth is known, and what it costs in hits beside other rules.

Similarities are MiniLM's, guards and decider the gateway's own; phrase lists and seeds of the calibrating and the scored part
have nothing in common. Printed with ``-s``, and recorded by ``python -m benches.cache_stream``.
"""

from pathlib import Path

import pytest

from penstock.base.decisions import Rejected
from penstock.cache.semantic.decider import Certified
from tests.cache.proof import courses
from tests.cache.proof.courses import FIXED, PROMISES, Kept, at_equal_error
from tests.cache.proof.phrases import CALIBRATION, SCORING, Phrases
from tests.cache.proof.stream import KLASS, Pool, Run, order, uploaded

COURSES = 100
COMPARED = 3
"""Courses of the rules beside ours; the bench takes more."""
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def pool(request: pytest.FixtureRequest) -> Pool:
    cache = getattr(request.config, "cache", None)
    made = courses.pool(Path(cache.mkdir("sentences")) if cache is not None else None)
    if isinstance(made, Rejected):
        pytest.skip(made.reason)
    return made


@pytest.fixture(scope="module")
def kept(pool: Pool) -> dict[float, Kept]:
    return {promise: courses.promised(pool, promise, COURSES) for promise in PROMISES}


def words_of(phrases: Phrases) -> set[str]:
    """Every phrase, lower case."""
    found: set[str] = set()
    for part in (
        phrases.items,
        phrases.looks,
        phrases.places,
        phrases.tasks,
        phrases.faults,
        phrases.facts,
        phrases.topics,
    ):
        found |= {phrase.lower() for same in part for phrase in same}
    for part in (phrases.lands, phrases.units, phrases.reviews):
        found |= {phrase.lower() for phrase in part}
    return found | {str(count) for count in phrases.counts}


def test_the_two_lists_have_nothing_in_common() -> None:
    assert not words_of(CALIBRATION) & words_of(SCORING)
    assert len(words_of(SCORING)) > 150


@pytest.mark.parametrize("promise", PROMISES)
def test_the_promise_is_kept_in_95_of_100_courses(kept: dict[float, Kept], promise: float) -> None:
    found = kept[promise]
    assert found.courses == COURSES
    assert found.kept >= 95, courses.table([found], [])
    assert found.served >= 90, "a promise that is kept by serving nothing is no proof"


def test_a_looser_promise_serves_more(kept: dict[float, Kept]) -> None:
    hits = [kept[promise].total.hits for promise in PROMISES]
    assert hits == sorted(hits)
    assert hits[0] > 0


def test_the_stream_is_not_harmless(pool: Pool) -> None:
    """At 0.80 far more than any of the promises would be wrong: they are kept by deciding."""
    assert courses.fixed(pool, 0.80, 2).total.wrong_rate > 2 * max(PROMISES)


def test_nothing_is_served_before_it_is_certified(pool: Pool) -> None:
    calibrating, _ = order(pool, 1)
    decider = Certified(0.01)
    run = Run(pool, decider, 1)
    served = 0
    for start in range(0, len(calibrating), 50):
        certified = decider.threshold(KLASS).value is not None
        hits = run.ask(calibrating[start : start + 50]).hits
        assert certified or hits == 0 or decider.threshold(KLASS).value is not None
        served += hits
        if start < 300:
            assert hits == 0
    assert served > 0


def test_uploaded_pairs_certify_before_the_first_request(pool: Pool) -> None:
    found = courses.from_uploads(pool, 0.02, 20)
    assert found.kept >= 19
    assert found.served == 20
    calibrating, scoring = order(pool, 0)
    decider = Certified(0.02)
    decider.restore(uploaded(pool, calibrating))
    assert decider.threshold(KLASS).certified
    assert Run(pool, decider, 0).ask(scoring[:400]).hits > 0


def test_a_class_whose_traffic_turns_bad_is_switched_off(pool: Pool) -> None:
    """Calibrated where all answers are right; then each request's right answer is its own, as in a class of templates."""
    calibrating, scoring = order(pool, 2)
    decider = Certified(0.05)
    run = Run(pool, decider, 2)
    run.ask(calibrating)
    assert decider.threshold(KLASS).value is not None
    meaning = pool.meaning
    pool.meaning = list(range(len(meaning)))
    try:
        scored = run.ask(scoring)
    finally:
        pool.meaning = meaning
    assert decider.threshold(KLASS).value is None
    assert "switched off by its audits" in decider.threshold(KLASS).reason
    assert 0 < scored.hits < 400
    assert scored.wrong == scored.hits


def test_no_fewer_hits_than_vcache_at_equal_error(pool: Pool, kept: dict[float, Kept]) -> None:
    rules = [courses.of_vcache(pool, delta, COMPARED) for delta in courses.VCACHE_DELTAS]
    shown = [courses.fixed(pool, threshold, COMPARED) for threshold in FIXED]
    print("\n" + courses.table(list(kept.values()), [*shown, *rules]))
    assert max(one.total.hit_rate for one in rules) > 0.02, (
        "vCache's rule serves, so there is something to compare with"
    )
    for promise in PROMISES:
        ours = kept[promise].total
        theirs = at_equal_error(rules, ours.wrong_rate)
        assert ours.hit_rate >= (theirs.total.hit_rate if theirs is not None else 0.0)
        assert ours.hit_rate > 0
