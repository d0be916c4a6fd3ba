"""Exact binomial arithmetic: against tables, and against the definition, draw by draw."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cache.semantic.binomial import at_most, looks, lower, needed, share, upper


def mass(k: int, n: int, p: float) -> float:
    """P(Bin(n, p) = k), by definition."""
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


@pytest.mark.parametrize(
    ("wrong", "n", "low", "high"),
    [
        # Two-sided 95 % limits as in printed tables (Geigy, Scientific Tables, 7th ed., 1970, pp. 85-103).
        (0, 10, 0.0, 0.3085),
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (10, 10, 0.6915, 1.0),
        (1, 20, 0.0013, 0.2487),
        (2, 50, 0.0049, 0.1371),
        (10, 100, 0.0490, 0.1762),
    ],
)
def test_limits_are_those_of_the_tables(wrong: int, n: int, low: float, high: float) -> None:
    assert lower(wrong, n, 0.025) == pytest.approx(low, abs=6e-5)
    assert upper(wrong, n, 0.025) == pytest.approx(high, abs=6e-5)


@settings(deadline=None)
@given(st.integers(1, 400), st.data(), st.floats(0.001, 0.999))
def test_the_tail_is_the_sum_of_its_masses(n: int, data: st.DataObject, p: float) -> None:
    wrong = data.draw(st.integers(0, n))
    assert at_most(wrong, n, p) == pytest.approx(sum(mass(k, n, p) for k in range(wrong + 1)), abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 24), st.floats(0.005, 0.995), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_upper_limit_is_below_the_truth_no_more_often_than_the_level(
    n: int, p: float, level: float
) -> None:
    missed = sum(mass(k, n, p) for k in range(n + 1) if upper(k, n, level) < p - 1e-9)
    assert missed <= level + 1e-9
    missed = sum(mass(k, n, p) for k in range(n + 1) if lower(k, n, level) > p + 1e-9)
    assert missed <= level + 1e-9


def test_one_look_needs_as_many_labels_as_the_reference_says() -> None:
    for delta, clean, one_wrong in ((0.05, 59, 93), (0.02, 149, 236), (0.01, 299, 473), (0.005, 598, 947)):
        for wrong, n in ((0, clean), (1, one_wrong)):
            assert at_most(wrong, n, delta) <= 0.05 < at_most(wrong, n - 1, delta)


def ever_rejected(p: float, delta: float, level: float, draws: int) -> float:
    """P(the test that is repeated after each of ``draws`` draws ever rejects), one draw after another."""
    alive = {0: 1.0}
    rejected = 0.0
    for n in range(1, draws + 1):
        stepped: dict[int, float] = {}
        for wrong, chance in alive.items():
            stepped[wrong] = stepped.get(wrong, 0.0) + chance * (1 - p)
            stepped[wrong + 1] = stepped.get(wrong + 1, 0.0) + chance * p
        alive = {}
        for wrong, chance in stepped.items():
            needs = needed(wrong, delta, level)
            if needs is not None and n >= needs:
                rejected += chance
            else:
                alive[wrong] = chance
    return rejected


@pytest.mark.parametrize(("delta", "level"), [(0.05, 0.05), (0.2, 0.05), (0.1, 0.01)])
def test_repeated_looks_spend_the_level_and_no_more(delta: float, level: float) -> None:
    spent = ever_rejected(delta, delta, level, 500)
    assert 0.75 * level < spent <= level
    assert ever_rejected(1.3 * delta, delta, level, 500) < spent
    assert ever_rejected(0.2 * delta, delta, level, 500) > 0.6


def test_the_plain_test_would_not_survive_repeated_looks() -> None:
    """Why all this: one look at 5 %, taken after every draw."""
    alive, rejected = {0: 1.0}, 0.0
    for n in range(1, 301):
        stepped: dict[int, float] = {}
        for wrong, chance in alive.items():
            for more, p in ((0, 0.95), (1, 0.05)):
                stepped[wrong + more] = stepped.get(wrong + more, 0.0) + chance * p
        alive = {}
        for wrong, chance in stepped.items():
            if at_most(wrong, n, 0.05) <= 0.05:
                rejected += chance
            else:
                alive[wrong] = chance
    assert rejected > 0.12


def test_shares_add_up_to_one() -> None:
    assert sum(share(k) for k in range(999)) == pytest.approx(1 - 1 / 1000)


@settings(deadline=None)
@given(st.floats(0.002, 0.3), st.floats(0.001, 0.1), st.floats(1.05, 8))
def test_more_level_never_needs_more_labels(delta: float, level: float, times: float) -> None:
    """Without this, a level that is handed on could lose what a smaller one had won."""
    small, large = looks(delta, level, 48), looks(delta, min(0.5, level * times), 48)
    assert all(more <= less for more, less in zip(large, small, strict=True))
    assert all(a <= b for a, b in itertools.pairwise(small))


def test_the_longer_table_continues_the_shorter() -> None:
    assert looks(0.02, 0.05, 160)[:49] == looks(0.02, 0.05, 48)
    assert needed(48, 0.02, 0.05) == looks(0.02, 0.05, 48)[48]
    assert needed(49, 0.02, 0.05) == looks(0.02, 0.05, 160)[49]
    assert needed(161, 0.02, 0.05) is None


@pytest.mark.parametrize(("delta", "level"), [(0.0, 0.05), (1.0, 0.05), (0.1, 0.0), (0.1, 1.0)])
def test_no_test_at_the_ends(delta: float, level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        looks(delta, level, 48)
