"""Token estimates that learn, and allow-lists in which a denial wins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.routing.allow import allowed, verdict
from penstock.routing.estimate import TokenEstimator


def test_four_bytes_a_token_until_something_is_learned():
    """And never less than one token."""
    estimator = TokenEstimator()
    assert [estimator.tokens("m", size) for size in (0, 1, 4, 5, 4000)] == [1, 1, 1, 2, 1000]


def test_the_estimate_moves_to_what_a_model_really_needs():
    """One model's text does not teach another's."""
    estimator = TokenEstimator()
    for _ in range(50):
        estimator.learn("cjk", 2400, 1000)
    assert estimator.tokens("cjk", 2400) == pytest.approx(1000, rel=0.05)
    assert estimator.tokens("other", 2400) == 600


def test_what_is_no_text_teaches_little():
    """A base64 image of a million bytes must not turn the next prompt into nothing."""
    estimator = TokenEstimator()
    for _ in range(100):
        estimator.learn("m", 1_000_000, 800)
    assert estimator.tokens("m", 1600) >= 100
    estimator.learn("fresh", 400, 3)
    estimator.learn("fresh", 0, 300)
    assert estimator.tokens("fresh", 400) == 100


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**6)), max_size=50), st.integers(0, 10**8))
def test_estimates_stay_sane_whatever_is_learned(samples, size):
    """Between a sixteenth of a token and two tokens a byte."""
    estimator = TokenEstimator()
    for input_bytes, tokens in samples:
        estimator.learn("m", input_bytes, tokens)
    assert max(1, size // 16) <= estimator.tokens("m", size) <= 2 * size + 1


def test_the_least_recently_taught_models_are_forgotten():
    """The table is bounded: callers may invent models."""
    estimator = TokenEstimator()
    estimator.learn("kept", 2000, 1000)
    estimator.learn("lost", 2000, 1000)
    for number in range(4095):
        estimator.learn(f"m{number}", 2000, 1000)
        estimator.learn("kept", 2000, 1000)
    assert estimator.tokens("kept", 2000) > 900
    assert estimator.tokens("lost", 2000) == 500


@pytest.mark.parametrize(
    ("name", "patterns", "expected"),
    [
        ("openai/gpt-4o", ("*",), "allowed"),
        ("openai/gpt-4o", (), "unmatched"),
        ("openai/gpt-4o", ("openai/*",), "allowed"),
        ("openai/gpt-4o", ("openai/gpt-4o",), "allowed"),
        ("openai/gpt-4o-mini", ("openai/gpt-4o",), "unmatched"),
        ("openai/gpt-4o", ("OpenAI/*",), "unmatched"),
        ("openai/gpt-4o", ("*", "!openai/gpt-4o"), "denied"),
        ("openai/gpt-4o", ("!openai/*", "openai/gpt-4o"), "denied"),
        ("gemini/flash", ("*", "!openai/*"), "allowed"),
        ("gemini/flash", ("!openai/*",), "unmatched"),
        ("a/m[1]", ("a/m[1]",), "allowed"),
    ],
)
def test_behaviour_33_explicit_star_and_deny_wins(name, patterns, expected):
    """Nothing is allowed that no pattern allows; a denial wins wherever it stands in the list."""
    assert verdict(name, patterns) == expected
    assert allowed(name, patterns) is (expected == "allowed")
