"""The tier with the built-in embedder at a threshold of 0.94: what is served of adversaries, and of paraphrases."""

import random

import pytest

pytest.importorskip("onnxruntime", reason="needs penstock[semantic]")

from penstock.cache.answer import About
from penstock.cache.ports import Embedder, Found
from penstock.cache.semantic.tier import SemanticTier
from tests.cache.semantic.adversaries import CLASSES
from tests.cache.semantic.test_tier import NOW, Fixed

SAMPLE = 20


def asked_after(embedder: Embedder, cached: str, asked: str) -> Found:
    """One answer is cached, and one question asked."""
    tier = SemanticTier(Fixed(0.94))
    vector = embedder.embed(cached)
    assert tier.insert(About("ce-1", b"p", "class", cached, vector, "build", NOW + 1), "ns", b"k") is None
    return tier.look(b"p", "class", asked, embedder.embed(asked), NOW, min_score=None)


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in {"same", "unseen_antonyms"}])
def test_no_adversary_is_served(embedder: Embedder, name: str) -> None:
    pairs = CLASSES[name](random.Random(31))
    pairs = random.Random(32).sample(pairs, SAMPLE)
    found = [asked_after(embedder, one, other) for one, other in pairs]
    above = sum(one.score >= 0.94 for one in found)
    print(
        f"{name}: {above} of {SAMPLE} score 0.94 or more, {sum(one.refused is None for one in found)} are served"
    )
    assert all(one.refused is not None for one in found)


def test_a_good_part_of_paraphrases_is_served(embedder: Embedder) -> None:
    pairs = CLASSES["same"](random.Random(31))
    served = sum(asked_after(embedder, one, other).refused is None for one, other in pairs)
    print(f"served: {served} of {len(pairs)}")
    assert served >= 0.4 * len(pairs)


@pytest.mark.parametrize(
    ("cached", "asked", "code"),
    [
        # Reference 1.2: a bank's users, 0.887 and 0.809 with another embedder, and 0.7 as its threshold.
        ("How do I cancel my card?", "How do I close my investment account?", "below-threshold"),
        ("Where are your ATM locations?", "What is my loan balance?", "below-threshold"),
        # Reference 1.4.
        ("Which privacy law applies in the EU?", "Which privacy law applies in the US?", "guard-contrast"),
        ("How many grams are in 5 ounces?", "How many grams are in 15 ounces?", "guard-numbers"),
        ("Is this mushroom safe to eat?", "Is this mushroom not safe to eat?", "guard-negation"),
        # Case-folding of code: the embedder reads lower case, and scores these 1.
        ("Explain grep -i in a shell script", "Explain grep -I in a shell script", "guard-codes"),
    ],
)
def test_what_peers_served_wrongly(embedder: Embedder, cached: str, asked: str, code: str) -> None:
    refused = asked_after(embedder, cached, asked).refused
    assert refused is not None
    assert refused.code == code


def test_a_long_frame_makes_any_two_texts_near_and_is_vetoed(embedder: Embedder) -> None:
    """Reference 2.3: behind 178 words of instructions two texts score 0.90 to 0.97; beyond the window exactly 1."""
    frame = " ".join(["Answer politely and in full sentences, as the handbook of our shop says."] * 20)
    found = asked_after(
        embedder, f"{frame} Where do sea turtles sleep?", f"{frame} Who plays chess near trams?"
    )
    assert found.score > 0.94
    assert found.refused is not None
    assert found.refused.code.startswith("guard-")
