"""Templates: what every call says is never compared by meaning, declared or learned."""

import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import ConfigFault
from penstock.cache import templates as module
from penstock.cache.templates import (
    ENOUGH_ANSWERS,
    ENOUGH_MESSAGES,
    MAX_BYTES,
    MAX_GAP,
    WINDOW,
    Stripped,
    Templates,
    id_share,
    shared,
)

CAPTION = "Write a caption for {product} in {style}."
NOUNS = [
    "lamp",
    "harbour",
    "violin",
    "engine",
    "garden",
    "letter",
    "winter",
    "market",
    "bridge",
    "mirror",
    "ticket",
    "camel",
    "window",
    "planet",
    "sailor",
]
ADJECTIVES = [
    "quiet",
    "golden",
    "broken",
    "modern",
    "tiny",
    "endless",
    "bitter",
    "marble",
    "hollow",
    "polite",
]
INSTRUCTION = (
    "You are a careful translator. Translate the text that follows into German. Keep every name, number and unit as it is. "
    "Do not add remarks, do not explain, do not leave anything out. Use the polite form of address. Write quotation marks the "
    "German way. If the text holds a list, keep its items in their order. If a word has no German equivalent, keep it in "
    "English. Answer with the translation alone and nothing else. The text to be translated stands below this line: "
)


def bodies(count: int, seed: int = 1) -> list[str]:
    """Different texts, all of them short."""
    chance = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        words = [chance.choice(chance.choice([NOUNS, ADJECTIVES])) for _ in range(chance.randint(4, 9))]
        found[" ".join(words)] = None
    return list(found)


def code(stripped: Stripped) -> str | None:
    return None if stripped.exact_only is None else stripped.exact_only.code


# Declared.


def test_a_declared_template_leaves_its_variables() -> None:
    found = Templates([CAPTION]).strip("c", "Write a caption for a red mug in film noir.")
    assert found.text == "a red mug\nfilm noir"
    assert found.variables == ("a red mug", "film noir")
    assert found.template_id.startswith("d-")
    assert found.exact_only is None
    assert not found.learning


@pytest.mark.parametrize(
    "text",
    [
        "write a caption for a mug in noir.",
        "Write a caption for a mug in noir",
        "Write a caption for a mug.",
        "Please: Write a caption for a mug in noir.",
        "Write a caption for  in noir.",
        "Write a caption for a mug in .",
        "",
    ],
)
def test_what_is_not_of_a_template_is_left_whole(text: str) -> None:
    found = Templates([CAPTION]).strip("c", text)
    assert found.text == text
    assert found.template_id == ""
    assert found.variables == ()


def test_the_longest_template_wins() -> None:
    general, special = "Write {anything}", "Write a caption for {product}"
    for order in ([general, special], [special, general]):
        templates = Templates(order)
        assert templates.strip("c", "Write a caption for a mug").variables == ("a mug",)
        assert templates.strip("c", "Write a poem").variables == ("a poem",)


def test_templates_have_ids_of_their_own() -> None:
    one, two = Templates([CAPTION]), Templates(["Describe {product}", CAPTION])
    text = "Write a caption for a mug in noir."
    assert one.strip("c", text).template_id == two.strip("other", text).template_id
    assert two.strip("c", "Describe a mug").template_id != two.strip("c", text).template_id


@pytest.mark.parametrize(
    "text", ["no variable", "{only}", "{a}{b}", " {a} {b} ", "", "{{escaped}}", "{1}", "{}"]
)
def test_what_is_no_template_is_a_fault_of_the_configuration(text: str) -> None:
    with pytest.raises(ConfigFault) as caught:
        Templates([CAPTION, text])
    assert caught.value.path == "$.semantic_cache.templates[1]"


def test_braces_that_are_no_variable_are_words() -> None:
    found = Templates(['{"task": {{name}}, "for": {product}, "n": {1}}']).strip(
        "c", '{"task": {name}, "for": a mug, "n": {1}}'
    )
    assert found.text == "a mug"


def test_variables_side_by_side_are_one() -> None:
    assert Templates(["Say {a}{b} now"]).strip("c", "Say x y now").variables == ("x y",)


WORDS = st.text(alphabet="ab .", min_size=1, max_size=4)


@given(
    st.lists(WORDS, min_size=1, max_size=4),
    st.lists(WORDS, min_size=5, max_size=5),
    st.text(alphabet="ab .", max_size=12),
)
def test_a_match_is_what_a_regular_expression_would_find(
    values: list[str], literals: list[str], other: str
) -> None:
    literals = literals[: len(values) + 1]
    template = "".join(literal + "{v}" for literal in literals[:-1]) + literals[-1]
    if not "".join(literals).strip():
        return
    first, *middle = literals
    last = middle.pop()
    pattern = ".+".join(re.escape(one) for one in (first.lstrip(), *middle, last.rstrip()))
    for text in ("".join(a + b for a, b in zip(literals, [*values, ""], strict=True)).strip(), other):
        found = Templates([template]).strip("c", text)
        if found.variables:
            assert re.fullmatch(pattern, text, re.DOTALL)
            assert len(found.variables) == len(values)
        elif re.fullmatch(pattern, text, re.DOTALL):
            # Only a value of blanks alone keeps it from matching.
            assert " " in text


def test_matching_is_linear__no_backtracking() -> None:
    """k wildcards of a regular expression would take n**k steps here, and not end within the test's time."""
    templates = Templates(["".join(f"a{{v{i}}}" for i in range(20)) + "b{w}c"])
    found = templates.strip("c", "a" * 200_000)
    assert found.variables == ()
    assert templates.strip("c", "a" * 200_000 + "bxc").variables[-1] == "x"


def test_numbers_that_vary_are_compared_exactly() -> None:
    templates = Templates(["Summarise invoice {number}"])
    assert code(templates.strip("c", "Summarise invoice 2024-00117")) == "mostly-ids"
    assert code(templates.strip("c", "Summarise invoice of the baker")) is None


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("a red mug", 0.0),
        ("4711", 1.0),
        ("INV-2024/7", 1.0),
        ("ann@a.example", 1.0),
        ("https://a.example/x", 1.0),
        ("SKU_RED_MUG", 1.0),
        ("NASA and ESA", 0.0),
        ("ab 12", 0.5),
    ],
)
def test_the_share_of_ids(text: str, share: float) -> None:
    assert id_share(text) == share


# Learned.


def test_a_template_is_learned_from_twenty_messages() -> None:
    templates = Templates()
    asked = bodies(60)
    told = [templates.strip("c", f"Write a short caption for this: {body}") for body in asked]
    for found, body in list(zip(told, asked, strict=True))[: ENOUGH_MESSAGES - 1]:
        assert found.learning
        assert found.template_id == ""
        assert body in found.text
    later = told[ENOUGH_MESSAGES:]
    assert {found.template_id for found in later} == {later[0].template_id}
    assert later[0].template_id.startswith("l-")
    assert [found.text for found in later] == asked[ENOUGH_MESSAGES:]


def test_an_end_is_learned_as_well() -> None:
    templates = Templates()
    asked = bodies(30)
    for body in asked:
        found = templates.strip("c", f"Text: {body}\nAnswer with one word and no more, please.")
    assert found.text == f"Text: {asked[-1]}"
    for body in asked:
        found = templates.strip(
            "d", f"The text to look at is this: {body}\nAnswer with one word and no more, please."
        )
    assert found.text == asked[-1]


def test_one_message_has_one_template_while_it_is_in_use() -> None:
    """A boundary that moved with the window would put equal messages into different partitions."""
    templates = Templates()
    chance = random.Random(5)
    ids: set[str] = set()
    for number, body in enumerate(bodies(600, seed=2)):
        start = "golden " if 200 < number < 320 and chance.random() < 0.95 else ""
        found = templates.strip("c", f"Write a caption for {start}{body}")
        if number > ENOUGH_MESSAGES:
            ids.add(found.template_id)
    assert len(ids) == 1


def test_several_templates_of_one_class_are_learned() -> None:
    templates = Templates()
    heads = [f"{' '.join(ADJECTIVES[:6])} {noun} {' '.join(NOUNS[:8])} says: " for noun in NOUNS[:3]]
    found: dict[str, set[str]] = {head: set() for head in heads}
    for number, body in enumerate(bodies(240, seed=3)):
        head = heads[number % 3]
        stripped = templates.strip("c", head + body)
        if number > 100:
            found[head].add(stripped.template_id)
            assert stripped.text == body
    assert all(len(ids) == 1 for ids in found.values())
    assert len(set.union(*found.values())) == 3


def test_questions_without_a_template_are_left_whole() -> None:
    templates = Templates()
    for body in bodies(300, seed=4):
        found = templates.strip("c", body)
        assert found.text == body
        assert found.template_id == ""
        assert found.exact_only is None
    assert not found.learning


def test_one_hot_question_is_no_template() -> None:
    templates = Templates()
    for body in bodies(50):
        for _ in range(20):
            assert templates.strip("c", "How do I reset my forgotten password?").text.startswith("How")
        templates.strip("c", body)
    found = templates.strip("c", "How do I reset my forgotten password?")
    assert found.template_id == ""
    assert found.exact_only is None


def test_198_bodies_behind_one_template_are_never_served_one_another__lemondata() -> None:
    """95 % of one user's semantic hits were wrong: 198 different texts, one long instruction, one cached answer.

    What is offered for comparison is never the instruction, and once it shows that every text has an answer of its own,
    nothing is.
    """
    templates = Templates()
    offered: list[tuple[str, str]] = []
    codes: list[str | None] = []
    asked = bodies(198, seed=9)
    for body in asked:
        found = templates.strip("c", INSTRUCTION + body)
        codes.append(code(found))
        if found.exact_only is None:
            offered.append((found.template_id, found.text))
        templates.answered("c", found.template_id, f"Übersetzt: {body}")
        assert (
            templates.strip("c", INSTRUCTION + body).exact_only is not None
            or found.template_id
            or body == asked[0]
        )
    assert offered[0] == ("", INSTRUCTION + asked[0])
    assert all(key and text in asked for key, text in offered[1:])
    assert len({text for _, text in offered}) == len(offered)
    assert set(codes[1 : ENOUGH_MESSAGES - 1]) == {"template-suspected"}
    assert set(codes[ENOUGH_MESSAGES + ENOUGH_ANSWERS :]) == {"answers-all-differ"}


def test_the_first_message_is_exact_only_as_soon_as_it_is_known_to_be_one_of_many() -> None:
    templates = Templates()
    first, second = bodies(2)
    assert templates.strip("c", INSTRUCTION + first).exact_only is None
    assert code(templates.strip("c", INSTRUCTION + second)) == "template-suspected"
    assert code(templates.strip("c", INSTRUCTION + first)) == "template-suspected"
    assert code(templates.strip("c", INSTRUCTION + second)) == "template-suspected"


def test_answers_that_repeat_keep_a_template_open() -> None:
    templates = Templates()
    chance = random.Random(6)
    for body in bodies(190, seed=7):
        found = templates.strip("c", f"Is this text friendly or not? {body}")
        templates.answered(
            "c", found.template_id, chance.choice(["Friendly.", "friendly. ", "Not friendly."])
        )
        assert found.exact_only is None
    assert not found.learning


def test_hits_count_as_answers_that_repeat() -> None:
    templates = Templates([CAPTION])
    key = templates.strip("c", "Write a caption for a mug in noir.").template_id
    for number in range(400):
        if number % 5:
            templates.answered("c", key, f"caption {number}")
        else:
            templates.repeated("c", key)
    assert templates.strip("c", "Write a caption for a lamp in noir.").exact_only is None


def test_what_was_shut_is_opened_by_comparisons_that_agree() -> None:
    templates = Templates([CAPTION])
    text = "Write a caption for a mug in noir."
    key = templates.strip("c", text).template_id
    for number in range(ENOUGH_ANSWERS - 1):
        templates.answered("c", key, f"caption {number}")
        assert templates.strip("c", text).exact_only is None
    templates.answered("c", key, "another")
    assert code(templates.strip("c", text)) == "answers-all-differ"
    assert templates.strip("d", text).exact_only is None
    for _ in range(WINDOW // 8):
        templates.repeated("c", key)
    assert templates.strip("c", text).exact_only is None


def test_classes_know_nothing_of_each_other() -> None:
    templates = Templates()
    for body in bodies(40):
        templates.strip("one", INSTRUCTION + body)
    assert templates.strip("one", INSTRUCTION + "a new text").text == "a new text"
    other = templates.strip("two", INSTRUCTION + "a new text")
    assert other.text == INSTRUCTION + "a new text"
    assert other.learning


def test_a_template_that_is_no_longer_asked_is_forgotten() -> None:
    templates = Templates()
    for body in bodies(40):
        templates.strip("c", INSTRUCTION + body)
    for body in bodies(WINDOW + MAX_GAP, seed=11):
        templates.strip("c", body)
    assert templates.strip("c", INSTRUCTION + "a new text").template_id == ""


def test_memory_is_bounded() -> None:
    templates = Templates(max_bytes=300_000)
    text = "x" * 50_000
    for number in range(100):
        templates.strip(f"c{number % 10}", f"{number} {text}")
        classes, held = templates.stats()
        assert held <= 300_000
    assert classes > 1
    assert held > 100_000
    for number in range(60):
        templates.answered("c", f"t{number}", "a")
    assert templates.stats()[0] == 1


def test_one_class_alone_stays_within_what_two_hundred_messages_take() -> None:
    templates = Templates()
    for number in range(2 * WINDOW):
        templates.strip("c", f"{number} " + "y" * 100_000)
    assert templates.stats()[1] < MAX_BYTES / 8


@given(st.lists(st.text(alphabet="ab \n", max_size=30), max_size=90), st.text(alphabet="ab \n", max_size=8))
def test_nothing_is_lost(texts: list[str], head: str) -> None:
    """What is left is a stretch of the message, never nothing where there was something."""
    templates = Templates()
    for text in texts:
        asked = head + text
        found = templates.strip("c", asked)
        assert found.text in asked
        assert bool(found.text.strip()) == bool(asked.strip())
        assert templates.strip("c", asked).text in asked


def test_a_repeated_message_teaches_nothing() -> None:
    templates = Templates()
    before: Any = None
    for _ in range(100):
        found = templates.strip("c", "What is the capital of France and why?")
        assert found.learning
        assert before in (None, templates.stats())
        before = templates.stats()


ALIKE = st.text(alphabet="ab", max_size=200)


@given(ALIKE, ALIKE, ALIKE)
def test_what_two_texts_begin_with(begin: str, one: str, two: str) -> None:
    first, second = f"{begin} {one}", f"{begin} {two}"
    alike = [a == b for a, b in zip(first, second, strict=False)]
    expected = alike.index(False) if False in alike else len(alike)
    assert shared(first, second) == shared(second, first, len(begin)) == expected


def test_a_tenant_that_makes_thousands_of_classes_forgets_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another tenant's templates have learned stays."""
    monkeypatch.setattr(module, "MAX_CLASSES", 20)
    templates = Templates()
    for number in range(30):
        templates.strip("quiet|a", f"Write a caption for the product {number} in our shop window, please")
    learned = templates.strip("quiet|a", "Write a caption for the product 99 in our shop window, please")
    for number in range(500):
        templates.strip(f"noisy|{number}", "hello")
    assert templates.stats()[0] == 20
    assert (
        templates.strip("quiet|a", "Write a caption for the product 99 in our shop window, please") == learned
    )
    assert (
        sum(templates._held.values())
        == templates.stats()[1]
        == sum(one.held_bytes for one in templates._classes.values())
    )
    assert set(templates._classes) == {name for names in templates._tenants.values() for name in names}
