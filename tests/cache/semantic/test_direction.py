"""What becomes what: "litres to gallons" is not "gallons to litres", in whatever voice or frame it is asked.

Found by the proof's streams: such pairs score 0.99, and were the only wrong ones above 0.95.
"""

import itertools

import pytest

from penstock.cache.semantic.guards import vetoes
from tests.cache.proof.phrases import CALIBRATION, SCORING
from tests.cache.proof.sentences import sentences

DIRECTIONS = [
    one
    for seed, words in ((1, CALIBRATION), (2, SCORING))
    for one in sentences(seed, words, 2500)
    if one.meaning.startswith("direction/")
]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("formula to convert litres to gallons", "formula to convert gallons to litres"),
        ("How are gallons converted into litres?", "How do I convert litres to gallons?"),
        ("turn a frog into a prince", "turn a prince into a frog"),
        ("translate this from French to English", "how does one translate English to French"),
        ("forward calls from the office to my mobile", "forward calls from my mobile to the office"),
    ],
)
def test_the_other_way_round_is_another_thing(one: str, other: str) -> None:
    assert "order" in vetoes(one, other)
    assert "order" in vetoes(other, one)


def test_no_direction_of_the_streams_is_taken_for_its_reverse() -> None:
    reversed_pairs = 0
    for one, other in itertools.combinations(DIRECTIONS, 2):
        if one.meaning == other.meaning:
            assert vetoes(one.text, other.text) == (), (one.text, other.text)
        elif one.meaning.split("/")[1:] == other.meaning.split("/")[:0:-1]:
            assert vetoes(one.text, other.text), (one.text, other.text)
            reversed_pairs += 1
    assert reversed_pairs > 50


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I get from Paris to Lyon?", "How can I get from Paris to Lyon?"),
        ("I want to learn to swim", "How can I learn to swim? I want to."),
        ("Give me tips to reduce stress", "tips to reduce stress, please"),
        ("how to send a letter to Canada", "sending a letter to Canada"),
        ("add milk to the coffee", "how do I add milk to coffee"),
    ],
)
def test_the_same_way_is_the_same(one: str, other: str) -> None:
    assert "order" not in vetoes(one, other)
