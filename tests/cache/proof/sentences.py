"""Requests whose meaning is known: captions, how-to questions, complaints (negations), entities, numbers, directions, templates.

Two sentences of one ``meaning`` have the same right answer, any two others have not. A sentence is a meaning in one of many
forms; forms and synonyms are drawn at random, meanings by popularity (a few are asked often, most rarely).
"""

import random
from collections.abc import Callable

from msgspec import Struct

from tests.cache.proof.phrases import Phrases, Same


class Sentence(Struct, frozen=True):
    """``meaning`` names the right answer."""

    text: str
    meaning: str


def _caption(draw: random.Random, words: Phrases) -> Sentence:
    item, look, place = _popular(draw, words.items), _popular(draw, words.looks), _popular(draw, words.places)
    i, c, p = draw.choice(item), draw.choice(look), draw.choice(place)
    form = draw.choice(
        (
            "a {c} {i} {p}", "the {c} {i} {p}", "a photo of a {c} {i} {p}", "photograph of a {c} {i} {p}", "a picture of a {c} {i} {p}",
            "{c} {i} {p}", "an image of a {c} {i} {p}", "{c} {i} standing {p}", "product photo: {c} {i} {p}", "{c} {i}, {p}", "{p}, a {c} {i}",
            "there is a {c} {i} {p}", "this picture shows a {c} {i} {p}", "a {c} {i} can be seen {p}",
        )
    )  # fmt: skip
    return Sentence(form.format(i=i, c=c, p=p), f"caption/{item[0]}/{look[0]}/{place[0]}")


def _task(draw: random.Random, words: Phrases) -> Sentence:
    task = _popular(draw, words.tasks)
    form = draw.choice(
        (
            "How do I {t}?", "How can I {t}?", "What is the best way to {t}?", "What's the right way to {t}?", "Please explain how to {t}.", "how to {t}",
            "Can you tell me how to {t}?", "I want to {t}. How does that work?", "Show me how to {t}.", "Could you explain how I can {t}?", "Steps to {t}",
            "I need help: how do I {t}?", "Tell me how to {t}, please.", "What do I have to do to {t}?", "Is there an easy way to {t}?",
        )
    )  # fmt: skip
    return Sentence(form.format(t=draw.choice(task)), f"task/{task[0]}")


def _fault(draw: random.Random, words: Phrases) -> Sentence:
    fault = _popular(draw, words.faults)
    negated = draw.random() < 0.5
    form = draw.choice(
        ("Why can't I {t}?", "Why am I not able to {t}?", "I cannot {t}. What is wrong?", "What can I do if I can't {t}?", "Why is it not possible to {t}?", "I am unable to {t}, why?")
        if negated
        else ("How can I {t}?", "Where can I {t}?", "Where do I {t}?", "I would like to {t}. Where?", "At which place can I {t}?", "How and where can I {t}?")
    )  # fmt: skip
    return Sentence(form.format(t=draw.choice(fault)), f"fault/{negated}/{fault[0]}")


def _entity(draw: random.Random, words: Phrases) -> Sentence:
    land, fact = draw.choice(words.lands), _popular(draw, words.facts)
    form = draw.choice(
        (
            "What is the {f} of {l}?", "Which is the {f} of {l}?", "What's the {f} of {l}?", "Tell me the {f} of {l}.", "Name the {f} of {l}.", "{l}: what is its {f}?",
            "Do you know the {f} of {l}?", "I am looking for the {f} of {l}.", "the {f} of {l}", "What is {l}'s {f}?", "Please name {l}'s {f}.",
        )
    )  # fmt: skip
    return Sentence(form.format(f=draw.choice(fact), l=land), f"entity/{land}/{fact[0]}")


def _number(draw: random.Random, words: Phrases) -> Sentence:
    topic, count = _popular(draw, words.topics), draw.choice(words.counts)
    kind, forms = draw.choice(
        (
            ("ideas", ("Give me {n} ideas for a post about {t}.", "I need {n} ideas for a post about {t}.", "List {n} ideas for posts about {t}.", "{n} post ideas about {t}, please")),
            ("facts", ("Tell me {n} facts about {t}.", "List {n} facts about {t}.", "Give {n} interesting facts about {t}.", "{n} facts about {t}")),
            ("words", ("Write a headline of {n} words about {t}.", "Write a {n}-word headline about {t}.", "I need a headline about {t} with {n} words.")),
        )
    )  # fmt: skip
    return Sentence(
        draw.choice(forms).format(n=count, t=draw.choice(topic)), f"number/{kind}/{count}/{topic[0]}"
    )


def _direction(draw: random.Random, words: Phrases) -> Sentence:
    at = 2 * draw.randrange(len(words.units) // 2)
    pair = [words.units[at], words.units[at + 1]]
    draw.shuffle(pair)
    form = draw.choice(
        (
            "How do I convert {a} to {b}?", "Convert {a} to {b}.", "How are {a} converted into {b}?", "formula to convert {a} to {b}", "How can I turn {a} into {b}?",
            "What is the formula for converting {a} to {b}?", "Explain how to convert from {a} to {b}.",
        )
    )  # fmt: skip
    return Sentence(form.format(a=pair[0], b=pair[1]), f"direction/{pair[0]}/{pair[1]}")


def _template(draw: random.Random, words: Phrases) -> Sentence:
    review = draw.choice(words.reviews)
    kind, forms = draw.choice(
        (
            ("german", ("Translate into German: {r}", "Translate to German: {r}", "Translate this into German: {r}", "German translation of: {r}")),
            ("mood", ("Is this review positive or negative? {r}", "Positive or negative? {r}", "Say whether this review is positive or negative: {r}")),
        )
    )  # fmt: skip
    return Sentence(draw.choice(forms).format(r=review), f"template/{kind}/{review}")


FAMILIES: tuple[tuple[int, Callable[[random.Random, Phrases], Sentence]], ...] = (
    (38, _caption),
    (22, _task),
    (8, _fault),
    (14, _entity),
    (10, _number),
    (2, _direction),
    (6, _template),
)


def _popular(draw: random.Random, choices: tuple[Same, ...]) -> Same:
    """The first are asked for most often."""
    return draw.choices(choices, [1 / (place + 2) for place in range(len(choices))])[0]


def sentences(seed: int, words: Phrases, count: int) -> list[Sentence]:
    """Distinct ones, in the order of the draw."""
    draw = random.Random(seed)
    makers = [make for _, make in FAMILIES]
    weights = [weight for weight, _ in FAMILIES]
    found: dict[str, Sentence] = {}
    misses = 0
    while len(found) < count:
        sentence = draw.choices(makers, weights)[0](draw, words)
        misses = misses + 1 if sentence.text in found else 0
        if misses > 10_000:
            raise ValueError(f"these phrases make no more than {len(found)} sentences")
        found.setdefault(sentence.text, sentence)
    return list(found.values())
