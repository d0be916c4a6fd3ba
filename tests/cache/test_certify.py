"""The certificate: nothing before its labels are there, no false one more often than the level, whatever is served meanwhile."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cache.semantic.binomial import needed
from penstock.cache.semantic.certify import STARTS, Certificate, fixed_sequence, grid, starts


def test_the_grid_goes_from_strict_to_the_loosest() -> None:
    thresholds = grid(0.80)
    assert thresholds[0] == 0.995
    assert thresholds[-1] == 0.80
    assert list(thresholds) == sorted(set(thresholds), reverse=True)
    assert {start for start, _ in STARTS} <= set(thresholds)
    assert grid(0.94)[-2:] == (0.945, 0.94)
    assert grid(0.943)[-2:] == (0.945, 0.943)
    assert grid(0.999) == (0.999,)


@settings(deadline=None)
@given(st.floats(0.01, 1.0))
def test_the_shares_of_the_starts_add_up_to_one(loosest: float) -> None:
    assert sum(starts(grid(loosest))) == pytest.approx(1.0)


def test_nothing_is_certified_before_the_declared_number_of_clean_labels() -> None:
    certificate = Certificate(0.01, 0.05, grid(0.98))
    needs = needed(0, 0.01, 0.05 * 0.8)
    assert needs is not None
    for count in range(1, needs):
        assert not certificate.add(0.981, False, anywhere=False), count
    assert certificate.value is None
    assert certificate.add(0.981, False, anywhere=False)
    assert (certificate.value, certificate.labels) == (0.98, needs)


def test_a_wrong_label_costs_labels_at_its_score_and_below_only() -> None:
    certificate = Certificate(0.05, 0.05, grid(0.90))
    certificate.add(0.93, True, anywhere=False)
    while certificate.value is None:
        certificate.add(0.999, False, anywhere=False)
    steps = {step.threshold: step for step in certificate.steps()}
    assert certificate.value == 0.95 or steps[0.95].certified or steps[0.98].certified
    assert certificate.value > 0.93
    assert not steps[0.93].certified
    assert steps[0.93].wrong == 1
    assert steps[0.94].wrong == 0


def test_served_scores_are_sampled_otherwise_and_do_not_count() -> None:
    certificate = Certificate(0.05, 0.05, grid(0.80))
    for _ in range(10):
        certificate.add(0.94, True, anywhere=False)
    while certificate.value is None:
        certificate.add(0.985, False, anywhere=False)
    served_from = certificate.value
    before = certificate.steps()
    for _ in range(500):
        assert not certificate.add(served_from, False, anywhere=False)
    assert certificate.steps() == before
    certificate.add(served_from - 0.001, False, anywhere=False)
    certificate.add(0.99, False, anywhere=True)
    assert certificate.steps()[-1].labels == before[-1].labels + 2


def test_a_certified_threshold_hands_its_level_to_the_next_looser() -> None:
    certificate = Certificate(0.05, 0.05, grid(0.96))
    for _ in range(400):
        certificate.add(0.961, False, anywhere=True)
    assert certificate.value is None, "no chain begins at 0.96, so it waits for 0.98"
    while certificate.value is None:
        certificate.add(0.999, False, anywhere=True)
    assert certificate.value == 0.96, "all looser ones had their labels already: one pass goes through"


def uneven(score: float) -> float:
    """A class with a cliff: right above 0.96, wrong below; R(t) > 5 % from about 0.93 on."""
    return 0.002 if score >= 0.96 else 0.16


def rate_from(threshold: float) -> float:
    """R(t) of scores that are uniform on [0.8, 1]."""
    clean, bad = min(0.04, 1 - threshold), max(0.0, 0.96 - threshold)
    return (clean * 0.002 + bad * 0.16) / (clean + bad)


def certified_run(seed: int, *, looks_only_below: bool) -> float | None:
    """The loosest threshold after 2,000 look-ups; ``looks_only_below``: labels of served scores are not there, as in life."""
    draw = random.Random(seed)
    certificate = Certificate(0.05, 0.05, grid(0.80))
    for _ in range(2000):
        score = draw.uniform(0.8, 1.0)
        certificate.add(score, draw.random() < uneven(score), anywhere=not looks_only_below)
    return certificate.value


@pytest.mark.parametrize("looks_only_below", [True, False])
def test_a_false_certificate_is_as_rare_as_the_level(looks_only_below: bool) -> None:
    """100 classes, each looked at after each of 2,000 labels."""
    values = [certified_run(seed, looks_only_below=looks_only_below) for seed in range(100)]
    false = [value for value in values if value is not None and rate_from(value) > 0.05]
    assert len(false) <= 9, "5 % of 100, and two standard deviations"
    assert sum(value is not None for value in values) >= 95


def test_a_class_on_the_very_edge_is_certified_no_more_often_than_the_level() -> None:
    """The hardest truth: wrong in exactly 5 % at every score."""
    certified = 0
    for seed in range(150):
        draw = random.Random(seed)
        certificate = Certificate(0.05, 0.05, grid(0.80))
        for _ in range(1200):
            certificate.add(draw.uniform(0.8, 1.0), draw.random() < 0.05, anywhere=False)
        certified += certificate.value is not None
    assert 0 < certified <= 150 * 0.05 + 6


def test_one_look_is_the_plain_binomial_test_in_sequence() -> None:
    clean = [(0.98, 100, 0), (0.97, 150, 0), (0.96, 200, 9), (0.95, 250, 9)]
    assert fixed_sequence(clean, 0.05, 0.05) == 0.97, "0.96 stops the chain of 0.98"
    assert fixed_sequence([(0.98, 20, 0), (0.95, 300, 1)], 0.05, 0.05) == 0.95, "a chain begins at 0.95, too"
    assert fixed_sequence([(0.98, 40, 0)], 0.05, 0.05) is None
    assert fixed_sequence([(0.98, 59, 0)], 0.05, 0.05) == 0.98
    assert fixed_sequence([(0.97, 59, 0)], 0.05, 0.05) == 0.97, "without a known start the strictest is one"
    assert fixed_sequence([], 0.05, 0.05) is None


def test_what_is_hopeless_says_so() -> None:
    certificate = Certificate(0.01, 0.05, grid(0.98))
    for _ in range(200):
        certificate.add(0.99, True, anywhere=False)
    assert all(step.needs is None for step in certificate.steps() if step.labels)
