"""What the next answer is expected to need."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.ledger.quantile import OutputSizes, Recent

WHO = ("chat", "gpt-x", "key-1")


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=400), st.integers(1, 100))
def test_it_is_the_quantile_of_the_last_128(outputs, percent):
    """By nearest rank: at least ``percent`` do not exceed it, and it was one of them."""
    recent = Recent()
    for tokens in outputs:
        recent.add(tokens)
    last = outputs[-128:]
    found = recent.quantile(percent)
    assert found in last
    assert sum(one <= found for one in last) * 100 >= percent * len(last)
    assert sum(one < found for one in last) * 100 < percent * len(last)
    assert len(recent) == len(last)


def test_before_enough_samples_the_prior_or_the_maximum_stands():
    """And where neither is known, it says so."""
    sizes = OutputSizes(least=3)
    sizes.learn(WHO, 10)
    sizes.learn(WHO, 10)
    assert sizes.expect(WHO, 4096) == 4096
    assert sizes.expect(WHO, 4096, prior=500) == 500
    assert sizes.expect(WHO, 100, prior=500) == 100
    assert sizes.expect(WHO, None) is None
    sizes.learn(WHO, 12)
    assert sizes.expect(WHO, None) == 12
    assert sizes.expect(WHO, 5) == 5
    assert sizes.expect(("chat", "gpt-x", "key-2"), 77) == 77


def test_memory_is_bounded_and_the_longest_untaught_goes_first():
    """Keys that come and go do not add up."""
    sizes = OutputSizes(least=1)
    for number in range(4096):
        sizes.learn(("r", "m", str(number)), 7)
    sizes.learn(("r", "m", "0"), 7)
    sizes.learn(WHO, 7)
    assert sizes.expect(("r", "m", "0"), None) == 7
    assert sizes.expect(("r", "m", "1"), None) is None
    assert sizes.expect(WHO, None) == 7
    assert len(sizes._recent) == 4096
