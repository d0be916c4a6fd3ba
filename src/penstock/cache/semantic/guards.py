"""Guards: in which words two near texts differ so that an answer to the one is no answer to the other.

Theory
------
An embedder sees what a text is about, hardly how much of it, whether at all, or which way round: of adversarial pairs 32 % (numbers)
and 67 % (negations, antonyms, directions) score 0.90 and more (reference 2.3). Such differences stand in few words, and words
can be compared. The guards do not make hits more right on the whole - on real questions they cost as many right hits as raising
the threshold would -: they take away the kinds of mistake that nobody forgives.

- ``vetoes``: must not be served, whatever the score: numbers, negation, codes, quoted, contrast (two alternatives of one
  set), names, order.
- ``flags``: worth a note: slot (one content word stands for another), one-sided (a known name in one of them alone), length.

Both are pure and symmetric, and empty for a text beside itself. English: see ``language``.
"""

import re
from collections import Counter

from penstock.cache.semantic.reading import Number, Reading, read

_CLOSED = ("un", "in", "im", "ir", "il", "dis", "non", "a", "mis")
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
    if one.codes != other.codes:
        found.append("codes")
    if _quoted_differ(one, other) or _quoted_differ(other, one):
        found.append("quoted")
    if any(_contrast(one.members, other.members, name) for name in one.members):
        found.append("contrast")
    if _names_differ(one, other):
        found.append("names")
    if _order_differs(one, other):
        found.append("order")
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
    """ "unhealthy" and "healthy", "useless" and "useful"."""
    if len(word) <= len(base):
        return word.endswith("less") and base.endswith("ful") and word[:-4] == base[:-3]
    return len(base) > 3 and (
        (word.endswith(base) and word[: -len(base)] in _CLOSED) or word == f"{base}less"
    )


def _quoted_differ(one: Reading, other: Reading) -> bool:
    return any(quote.casefold() not in other.folded for quote in one.quoted)


def _contrast(one: dict[str, frozenset[str]], other: dict[str, frozenset[str]], name: str) -> bool:
    """Each has an alternative of the set that the other has not."""
    theirs = other.get(name)
    if theirs is None:
        return False
    mine = one[name]
    return bool(mine - theirs) and bool(theirs - mine)


def _names_differ(one: Reading, other: Reading) -> bool:
    left = [name for name in one.names if name not in other.every]
    right = [name for name in other.names if name not in one.every]
    if not left or not right:
        return False
    return not (_short_for(left, other) or _short_for(right, one))


def _short_for(names: list[str], text: Reading) -> bool:
    """Whether a name is the initials of words of the other text ("AI", "Artificial Intelligence")."""
    initials = "".join(word[0] for word in re.findall(r"\w+", text.folded))
    return any(2 <= len(name) <= 6 and name in initials for name in names)


def _order_differs(one: Reading, other: Reading) -> bool:
    """ "convert X to Y" and "convert Y to X"; "dog bites man" and "man bites dog"."""
    for role in one.roles.keys() & other.roles.keys():
        left, right = one.roles[role] - other.roles[role], other.roles[role] - one.roles[role]
        if left and right and left <= set(other.words) and right <= set(one.words):
            return True
    if any((after, before) in other.moves for before, after in one.moves):
        return True
    return _swapped(one.words, other.words)


def _swapped(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Two content words have changed places across a third that stayed."""
    if len(one) != len(other) or len(one) < 3 or one == other:
        return False
    at = [place for place, word in enumerate(one) if word != other[place]]
    return len(at) == 2 and at[1] - at[0] > 1 and one[at[0]] == other[at[1]] and one[at[1]] == other[at[0]]


def _slot(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return len(one) == len(other) and sum(a != b for a, b in zip(one, other, strict=True)) == 1
