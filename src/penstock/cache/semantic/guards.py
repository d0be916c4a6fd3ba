"""Guards: in which words two near texts differ so that an answer to the one is no answer to the other.

Theory
------
An embedder sees what a text is about, hardly how much of it, whether at all, or which way round: of adversarial pairs 32 % (numbers)
and 67 % (negations, antonyms, directions) score 0.90 and more (reference 2.3). Such differences stand in few words, and words
can be compared. The guards do not make hits more right on the whole - on real questions they cost as many right hits as raising
the threshold would -: they take away the kinds of mistake that nobody forgives.

- ``vetoes``: must not be served, whatever the score: numbers, negation, codes (and what is another thing with a capital,
  see ``casing``), quoted, contrast (two alternatives of one set), names, order.
- ``flags``: worth a note: slot (one content word stands for another), one-sided (a known name in one of them alone), length.

Both are pure and symmetric, and empty for a text beside itself. English: see ``language``.
"""

import re
from collections import Counter

from penstock.cache.semantic.casing import case_differs
from penstock.cache.semantic.lists import FUNCTION, MEMBERS
from penstock.cache.semantic.reading import Number, Reading, read, singular

_CLOSED = frozenset({"un", "in", "im", "ir", "il", "dis", "non", "mis", "anti", "de"})
_FACING = (
    *(
        ("over", "under"),
        ("pre", "post"),
        ("hyper", "hypo"),
        ("macro", "micro"),
        ("up", "down"),
        ("in", "out"),
    ),
    *(
        ("in", "ex"),
        ("im", "ex"),
        ("inter", "intra"),
        ("pro", "anti"),
        ("as", "des"),
        ("on", "off"),
        ("for", "back"),
    ),
    *(("multi", "single"), ("maxi", "mini"), ("en", "de"), ("out", "under"), ("after", "fore")),
)
_TAIL = 4
_COMMON_TAILS = frozenset(
    {
        *(
            "tion",
            "sion",
            "ment",
            "ness",
            "able",
            "ible",
            "ally",
            "ious",
            "ance",
            "ence",
            "ical",
            "less",
            "ship",
            "ular",
            "fect",
        ),
        *(
            "ting",
            "ning",
            "ring",
            "sing",
            "king",
            "ling",
            "ding",
            "ming",
            "ping",
            "ving",
            "ated",
            "ized",
            "ised",
            "cted",
            "uted",
        ),
        *(
            "nced",
            "test",
            "gest",
            "rest",
            "lest",
            "iest",
            "ture",
            "mize",
            "mise",
            "rate",
            "cate",
            "nate",
            "tain",
            "mple",
            "rmed",
        ),
        *(
            "usly",
            "ngly",
            "tely",
            "vely",
            "ntly",
            "lity",
            "body",
            "hing",
            "here",
            "ever",
            "self",
            "logy",
            "ther",
            "ight",
            "ound",
        ),
    }
)
"""Endings that say what kind of word it is, or nothing at all."""
LONG = 20
"""Words between the common beginning and the common end."""
TEMPLATE_WORDS = 10
"""So many words in common at the beginning and the end, and what stands between is the question."""
NAMED = frozenset({"country", "city", "state", "language", "currency", "company", "bloc", "month", "weekday"})
MUCH_LONGER = 2.0


def vetoes(cached_text: str, asked_text: str) -> tuple[str, ...]:
    """The words of all guards that object, in a fixed order; empty: none does."""
    if cached_text == asked_text:
        return ()
    one, other = read(cached_text), read(asked_text)
    found: list[str] = []
    if _numbers_differ(one.numbers, other.numbers):
        found.append("numbers")
    if _negation_differs(one, other):
        found.append("negation")
    if one.codes != other.codes or case_differs(cached_text, asked_text):
        found.append("codes")
    if _quoted_differ(one, other) or _quoted_differ(other, one):
        found.append("quoted")
    if _contrasts(one, other):
        found.append("contrast")
    if _names_differ(one, other):
        found.append("names")
    if _order_differs(one, other):
        found.append("order")
    if _template(one, other):
        found.append("template")
    return tuple(found)


def flags(cached_text: str, asked_text: str) -> tuple[str, ...]:
    """What may matter, and is noted."""
    if cached_text == asked_text:
        return ()
    one, other = read(cached_text), read(asked_text)
    found: list[str] = []
    if _slot(one.words, other.words):
        found.append("slot")
    if any(bool(one.members.get(name)) != bool(other.members.get(name)) for name in NAMED):
        found.append("one-sided")
    shorter, longer = sorted((len(one.words), len(other.words)))
    if longer > MUCH_LONGER * max(shorter, 1):
        found.append("length")
    return tuple(found)


def _numbers_differ(one: tuple[Number, ...], other: tuple[Number, ...]) -> bool:
    """Values as a multiset, then units where both tell one, then order where it is not the counted things that moved."""
    if not one and not other:
        return False
    left = Counter(number.value for number in one)
    right = Counter(number.value for number in other)
    if left != right:
        return _unmatched(one, left - right, other, right - left)
    by_value = zip(sorted(one), sorted(other), strict=True)
    if any(a.unit != b.unit and a.unit and b.unit for a, b in by_value):
        return True
    if len(one) > 1 and [number.value for number in one] != [number.value for number in other]:
        return Counter((n.value, n.unit or n.head) for n in one) != Counter(
            (n.value, n.unit or n.head) for n in other
        )
    return False


def _unmatched(
    one: tuple[Number, ...], left: Counter[str], other: tuple[Number, ...], right: Counter[str]
) -> bool:
    """A number that only one text has matters if it is surely a number, or if the other has another one in its place."""
    if left and right:
        return True
    numbers, lacking = (one, left) if left else (other, right)
    return any(number.value in lacking and number.sure for number in numbers)


def _negation_differs(one: Reading, other: Reading) -> bool:
    if one.negations % 2 != other.negations % 2:
        return True
    left, right = set(one.words) - set(other.words), set(other.words) - set(one.words)
    return any(_opposed(a, b) or _opposed(b, a) for a in left for b in right)


def _opposed(word: str, base: str) -> bool:
    """ "unhealthy" and "healthy", "useless" and "useful", "inbound" and "outbound"."""
    if len(word) > len(base) > 3 and word.endswith(base):
        return word[: -len(base)] in _CLOSED
    if word.endswith("less"):
        return word[:-4] == base or (base.endswith("ful") and word[:-4] == base[:-3])
    return word[-3:] == base[-3:] and any(
        word.startswith(one)
        and base.startswith(other)
        and len(word) > len(one) + 2
        and word[len(one) :] == base[len(other) :]
        for one, other in _FACING
    )


def _quoted_differ(one: Reading, other: Reading) -> bool:
    """A quotation of which the other text has not all words. Quotation marks alone, or around a plural, say nothing."""
    return any(
        quote.casefold() not in other.folded and not read(quote).every <= other.every for quote in one.quoted
    )


def _contrasts(one: Reading, other: Reading) -> bool:
    if any(_contrast(one.members, other.members, name) for name in one.members):
        return True
    left, right = set(one.words) - set(other.words), set(other.words) - set(one.words)
    return any(_siblings(a, b) for a in left for b in right)


def _siblings(word: str, other: str) -> bool:
    """ "numerator" and "denominator", "hardware" and "software", "saltwater" and "freshwater": one long ending, two beginnings.

    Of questions that mean the same, 0.4 % have such a pair (QQP, scores from 0.85).
    """
    if (
        word[-_TAIL:] != other[-_TAIL:]
        or word[-_TAIL:] in _COMMON_TAILS
        or len(word) == _TAIL
        or len(other) == _TAIL
    ):
        return False
    return word[:4] != other[:4]


def _contrast(one: dict[str, frozenset[str]], other: dict[str, frozenset[str]], name: str) -> bool:
    """Each has an alternative of the set that the other has not."""
    theirs = other.get(name)
    if theirs is None:
        return False
    mine = one[name]
    return bool(mine - theirs) and bool(theirs - mine)


def _names_differ(one: Reading, other: Reading) -> bool:
    left = [name for name in one.names if name not in other.every and not _named(name, other)]
    if not left:
        return False
    right = [name for name in other.names if name not in one.every and not _named(name, one)]
    return bool(right) and not (_short_for(left, other) or _short_for(right, one))


def _named(name: str, text: Reading) -> bool:
    """Whether the text has the name in another form: "Indian" for India, "USA" for United States, "Democratic" for Democrats."""
    if any(other in text.members.get(kind, ()) for kind, other in MEMBERS.get(name, ())):
        return True
    return len(name) >= 5 and any(
        len(word) >= 5 and (word.startswith(name) or name.startswith(word)) for word in text.every
    )


def _short_for(names: list[str], text: Reading) -> bool:
    """Whether a name is the initials of words of the other text ("AI", "Artificial Intelligence")."""
    initials = "".join(word[0] for word in re.findall(r"\w+", text.folded))
    return any(2 <= len(name) <= 6 and name in initials for name in names)


def _order_differs(one: Reading, other: Reading) -> bool:
    """ "convert X to Y" and "convert Y to X"; "dog bites man" and "man bites dog".

    Not where long stretches differ: there the same words stand on both sides of a "to" by chance (3 % of true paraphrases).
    """
    head, tail = _frame(one.said, other.said)
    if max(len(one.said), len(other.said)) - head - tail > LONG:
        return False
    for role in one.roles.keys() & other.roles.keys():
        left, right = one.roles[role] - other.roles[role], other.roles[role] - one.roles[role]
        if left and right and left <= set(other.words) and right <= set(one.words):
            return True
    if any(before != after and (after, before) in other.moves for before, after in one.moves):
        return True
    return _swapped(one, other)


def _swapped(one: Reading, other: Reading) -> bool:
    """Two content words have changed places across a third that stayed, and no "and" or "vs" makes them equals."""
    if len(one.words) != len(other.words) or len(one.words) < 3 or one.words == other.words:
        return False
    at = [place for place, word in enumerate(one.words) if word != other.words[place]]
    if len(at) != 2 or at[1] - at[0] < 2:
        return False
    first, last = at
    if one.words[first] != other.words[last] or one.words[last] != other.words[first]:
        return False
    between = slice(first + 1, last + 1)
    return not any(one.coordinated[between]) and not any(other.coordinated[between])


def _template(one: Reading, other: Reading) -> bool:
    """A long common frame, and inside it two parts of several words that have none in common."""
    said, theirs = one.said, other.said
    if min(len(said), len(theirs)) <= TEMPLATE_WORDS:
        return False
    head, tail = _frame(said, theirs)
    if head + tail < TEMPLATE_WORDS:
        return False
    mine = {singular(word) for word in said[head : len(said) - tail]} - FUNCTION
    others = {singular(word) for word in theirs[head : len(theirs) - tail]} - FUNCTION
    return bool(mine) and bool(others) and len(mine) + len(others) > 2 and not mine & others


def _frame(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[int, int]:
    """How many words two texts have in common at the beginning, and at the end of what is left."""
    most = min(len(one), len(other))
    head = 0
    while head < most and one[head] == other[head]:
        head += 1
    tail = 0
    while tail < most - head and one[-1 - tail] == other[-1 - tail]:
        tail += 1
    return head, tail


def _slot(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return len(one) == len(other) and sum(a != b for a, b in zip(one, other, strict=True)) == 1
