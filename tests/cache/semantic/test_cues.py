"""Words that say that an answer is of the moment, or one caller's own."""

import pytest

from penstock.cache.semantic.cues import volatile


@pytest.mark.parametrize(
    "text",
    [
        "what is my account balance",
        "Where is our latest order?",
        "Can you see my most recent invoice?",
        "cancel my gym subscription",
        "What's in my calendar for Monday?",
        "why was my card declined",
        "summarise our team's meetings",
        "who am I?",
    ],
)
def test_personal(text: str) -> None:
    refused = volatile(text)
    assert refused is not None
    assert refused.code == "personal-cue"


@pytest.mark.parametrize(
    "text",
    [
        "What is the weather in Oslo?",
        "latest iPhone",
        "who won the match yesterday",
        "price of gold",
        "Bitcoin price",
        "what time is it in Tokyo",
        "What should I cook tonight?",
        "today's headlines",
        "EUR USD exchange rate",
        "Is the museum open now?",
        "current president of France",
        "How old is the King?",
        "net worth of Elon Musk",
        "how much does a Tesla cost",
        "events this weekend",
        "traffic on the A8",
        "stock price of Nvidia",
    ],
)
def test_volatile(text: str) -> None:
    refused = volatile(text)
    assert refused is not None
    assert refused.code == "volatile-cue"


@pytest.mark.parametrize(
    "text",
    [
        "How does photosynthesis work?",
        "red cotton dress",
        "my dog is afraid of thunder",
        "price elasticity of demand",
        "What is electric current?",
        "convert 5 km to miles",
        "the history of weathering rocks",
        "I know nothing about chess, explain the rules",
        "our solar system",
        "write a poem about my grandmother",
        "newspaper layout with three columns",
    ],
)
def test_neither(text: str) -> None:
    assert volatile(text) is None


def test_the_reason_shows_the_cue_and_not_the_text() -> None:
    refused = volatile("My dear friend, how much is " + "very " * 50 + "much worth?")
    assert refused is not None
    assert len(refused.reason) < 120
