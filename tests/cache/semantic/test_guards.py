"""The guards: what they veto of adversaries, what they leave of paraphrases, and laws that hold for any text."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cache.semantic.guards import flags, vetoes
from penstock.cache.semantic.reading import read
from tests.cache.semantic.adversaries import CLASSES

LEAST = {
    "numbers": 0.99,
    "negations": 0.98,
    "entities": 0.98,
    "captions": 0.98,
    "antonyms": 0.97,
    "orders": 0.98,
    "codes": 0.99,
    "templates": 0.95,
    # Words that no list has are not seen: 0.35. Of these 80 pairs two score 0.94 or more unvetoed (MiniLM int8, 2026-11-22).
    "unseen_antonyms": 0.30,
}


@pytest.mark.parametrize("name", LEAST)
def test_the_share_of_adversarial_pairs_that_is_vetoed(name: str) -> None:
    pairs = CLASSES[name](random.Random(23))
    vetoed = sum(bool(vetoes(one, other)) for one, other in pairs) / len(pairs)
    print(f"{name}: {vetoed:.3f} of {len(pairs)}")
    assert vetoed >= LEAST[name]


def test_the_share_of_paraphrases_that_is_lost() -> None:
    """Ours: at most 5 %. On real questions (not shipped): 4.4 % of 698 true pairs from 0.90, beside 33 % of 165 false ones."""
    pairs = CLASSES["same"](random.Random(23))
    lost = [(vetoes(one, other), one, other) for one, other in pairs if vetoes(one, other)]
    print(f"paraphrases lost: {len(lost)} of {len(pairs)}: {lost}")
    assert len(lost) <= 0.05 * len(pairs)


@pytest.mark.parametrize(
    ("word", "one", "other"),
    [
        ("numbers", "Convert 5 km to miles", "Convert 50 km to miles"),
        ("numbers", "5 kg of rice", "5 lb of rice"),
        ("numbers", "5 kg in lb", "5 lb in kg"),
        ("numbers", "What is 20% of 50?", "What is 50% of 20?"),
        ("numbers", "films of 1999", "films"),
        ("numbers", "World War I", "World War II"),
        ("numbers", "the second president", "the third president"),
        ("numbers", "GPT-4 or Claude", "GPT-3 or Claude"),
        ("numbers", "a thousand cranes", "a million cranes"),
        ("numbers", "paper of size A4", "paper of size B4"),
        ("numbers", "room for 2 adults and 3 children", "room for 3 adults and 2 children"),
        ("numbers", "-5 degrees", "5 degrees"),
        ("numbers", "lunch at 12:30", "lunch at 12:45"),
        ("contrast", "what is 5+3", "what is 5*3"),
        ("contrast", "what is 10-5", "what is 10/5"),
        ("negation", "Is it safe to eat raw eggs?", "Is it not safe to eat raw eggs?"),
        ("negation", "recipes with sugar", "recipes without sugar"),
        ("negation", "healthy snacks", "unhealthy snacks"),
        ("negation", "useful advice", "useless advice"),
        ("negation", "inbound calls", "outbound calls"),
        ("negation", "an overrated film", "an underrated film"),
        ("codes", "error ERR-4012-AB", "error ERR-4013-AB"),
        ("codes", "read https://example.com/a", "read https://example.com/b"),
        ("codes", "write to amy@example.com", "write to bob@example.com"),
        ("codes", "video dQw4w9WgXcQ", "video dQw4w9WgXcq"),
        ("codes", "explain ls -l", "explain Ls -l"),
        ("codes", "explain git add -a", "explain git add -A"),
        ("codes", "explain git add -A", "explain git add"),
        ("codes", "explain `rm -r`", "explain `rm -R`"),
        ("codes", "what does `LS` do", "what does `ls` do"),
        ("codes", "what does $PATH hold", "what does $path hold"),
        ("codes", "where is my_value set", "where is My_Value set"),
        ("codes", "when to call get()", "when to call Get()"),
        ("codes", "a plant of 5 mW", "a plant of 5 MW"),
        ("codes", "a line of 100 Mb", "a line of 100 MB"),
        ("codes", "How is Polish spelt?", "How is polish spelt?"),
        ("codes", "is it safe for us to travel", "Is it safe for US to travel"),
        ("codes", "Who does IT support?", "Who does it support?"),
        ("quoted", 'What does "break a leg" mean?', 'What does "cold feet" mean?'),
        ("quoted", "what does `ls` do", "what does `rm` do"),
        ("contrast", "capital of france", "capital of germany"),
        ("contrast", "red cotton dress", "blue cotton dress"),
        ("contrast", "men's running shoes", "women's running shoes"),
        ("contrast", "turn on the lights", "turn off the lights"),
        ("contrast", "train from new york", "train from los angeles"),
        ("contrast", "When was Rome founded?", "Where was Rome founded?"),
        ("names", "Who is Elon Musk?", "Who is Jeff Bezos?"),
        ("order", "convert USD to EUR", "convert EUR to USD"),
        ("order", "flights from Paris to London", "flights from London to Paris"),
        ("order", "Is Java faster than Python", "Is Python faster than Java"),
        ("order", "dog bites man", "man bites dog"),
    ],
)
def test_what_is_vetoed_and_by_which_guard(word: str, one: str, other: str) -> None:
    assert word in vetoes(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("best 3 phones", "best three phones"),
        ("20% of 50", "20 percent of 50"),
        ("1,000 cranes", "a thousand cranes"),
        ("5k run", "5000 run"),
        ("$5 off", "5 dollars off"),
        ("World War II", "World War 2"),
        ("iPhone 15 review", "iphone15 review"),
        ("2-bedroom flat with 1 bath", "flat with 1 bath and 2 bedrooms"),
        ("What's the weather?", "what is the weather"),
        ("gluten-free bread", "bread without gluten"),
        ("I can't sleep", "I am unable to sleep"),
        ("whether or not to buy", "whether to buy"),
        ("Explain it - please", "Explain it please"),
        ("What is AI?", "What is Artificial Intelligence?"),
        ("flights from Paris to London", "flights to London from Paris"),
        ("milk chocolate vs dark chocolate", "dark chocolate vs milk chocolate"),
        ("the U.S. senate", "the US Senate"),
        ("president of the United States", "American president"),
        ("What do Pakistanis eat?", "What do people in Pakistan eat?"),
        ('what does "foo" mean', "what does foo mean"),
        ("tell us the plan", "tell me the plan"),
        ("HOW DO I BOIL EGGS", "how do i boil eggs"),
        ("How To Boil Eggs", "how to boil eggs"),
        ("how to install python", "How to install Python?"),
        ("translate this into polish", "Translate this into Polish"),
        ("the us senate", "the US senate"),
        ("what is 1 mb", "What is 1 MB"),
        ("Polish the brass", "polish the brass"),
        ("HOW DO I POLISH BRASS", "how do i polish brass"),
        ("what does `ls` do", "what does ls do"),
        ("-please help", "please help"),
        ("which one is better", "which is better"),
        ("the first time in Rome", "first time in Rome"),
    ],
)
def test_what_is_left_alone(one: str, other: str) -> None:
    assert vetoes(one, other) == ()


def test_eu_and_us_are_not_one_another() -> None:
    """Reference 1.4: the entity swap that peers' users report."""
    assert vetoes("Summarise EU privacy law", "Summarise US privacy law")
    assert vetoes("rules for the EU", "rules for us") == ()


def test_a_translation_template_serves_no_other_text() -> None:
    """LemonData: 199 requests, 198 bodies, one cached answer."""
    frame = "You are a translator. Translate the following text from English into French, keep the tone: "
    bodies = [
        "the boat left the harbour at dawn",
        "our shop opens again after the holidays",
        "his sister plays chess in a club",
    ]
    for one in bodies:
        for other in bodies:
            assert bool(vetoes(frame + one, frame + other)) == (one != other)


def test_what_is_up_to_the_threshold_is_flagged_at_most() -> None:
    """Reference 1.2: "cancel card" matched "close investment account" at 0.887: no guard's matter, and far below 0.94."""
    assert vetoes("how do I cancel my card", "how do I close my investment account") == ()


def test_flags_note_a_slot_one_sided_names_and_length() -> None:
    assert flags("a tale of a brave hen", "a tale of a clever hen") == ("slot",)
    assert "one-sided" in flags("best museums", "best museums in Rome")
    assert "length" in flags("museums", "museums with paintings, statues, coins and old clocks")
    assert flags("best museums", "best museums") == ()


_WORDS = [
    *("not", "never", "5", "5.5", "-3", "$20", "20%", "5km", "A4", "B-52", "US", "us", "May", "may", "'", '"', "`x`", "#", "-", "*", "5-10"),
    *("New", "York", "from", "to", "red", "blue", "one", "hundred", "and", "twenty", "x@y.z", "http://a/b", "don't", "O'Neil's", "\u00e9t\u00e9"),
    *("Rome", "Paris", "buy", "sell", "10:30", "1/2", "free", "sugar", "sugar-free", "U.S.", "C++", "No,", "?", "over", "under", "\0", "x" * 60),
]  # fmt: skip
_sentences = st.lists(st.sampled_from(_WORDS), max_size=14).map(" ".join)
_any_text = st.one_of(
    _sentences, st.text(max_size=60), st.text(alphabet="0123456789.,:/-+$%xkm '\"", max_size=20)
)


@given(text=_any_text)
@settings(max_examples=400, deadline=None)
def test_no_text_differs_from_itself(text: str) -> None:
    assert vetoes(text, text) == ()
    assert flags(text, text) == ()
    again = "".join(list(text))
    read.cache_clear()
    assert read(text) == read.__wrapped__(again)


@given(one=_any_text, other=_any_text)
@settings(max_examples=500, deadline=None)
def test_the_guards_are_symmetric(one: str, other: str) -> None:
    assert vetoes(one, other) == vetoes(other, one)
    assert flags(one, other) == flags(other, one)


@given(words=st.lists(st.sampled_from(_WORDS), min_size=1, max_size=8), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_spaces_and_a_last_full_stop_change_nothing(words: list[str], seed: int) -> None:
    gaps = random.Random(seed)
    loose = "".join(word + gaps.choice([" ", "  ", "\n "]) for word in words)
    tight = " ".join(words)
    if tight[-1].isalpha():
        assert vetoes(tight, f"{loose.rstrip()}.") == ()


@given(number=st.integers(2, 999_999), other=st.integers(2, 999_999))
@settings(max_examples=150, deadline=None)
def test_two_numbers_are_the_same_or_vetoed(number: int, other: int) -> None:
    assert bool(vetoes(f"a ship of {number} tons", f"a ship of {other} tons")) == (number != other)
    assert vetoes(f"a ship of {number} tons", f"a ship of {number:,} tons") == ()
