"""A text as the guards read it: numbers, negations, codes, quotations, known words, names, and which part a word plays.

Pure, and without a model: a chunk between spaces is one word, one number or one code, and lists say what a word belongs to.
A reading is kept for some thousand texts, since the cached one of a pair comes again and again.
"""

import re
import unicodedata
from functools import lru_cache

from msgspec import Struct

from penstock.cache.semantic.language_words import ENGLISH
from penstock.cache.semantic.lists import (
    FUNCTION,
    MEMBERS,
    NEGATORS,
    NO_NEGATION,
    ONES,
    ORDINALS,
    OTHER_NUMBERS,
    PHRASES,
    ROLES,
    ROMAN,
    SCALES,
    TENS,
    TOWARDS,
    UNITS,
)

KEPT = 4096
NUMBER = "\0"
"""Stands among the words where digits were."""
_QUOTES = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201a": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u201e": '"',
        "\u00ab": '"',
        "\u00bb": '"',
        "\u2013": "-",
        "\u2014": " - ",
        "\u2212": "-",
        "\u00d7": "*",
        "\u00f7": "/",
        "&": " and ",
    }
)
_EDGE = ".,;:!?()[]{}<>\"'*_~|\\"
_QUOTED = re.compile(r"\"([^\"\n]{1,400})\"|`([^`\n]{1,400})`|(?<!\w)'([^'\n]{2,200})'(?!\w)")
_ADDRESS = re.compile(r"://|^www\.|^[\w.+-]+@[\w-]+\.")
_NUMBER = re.compile(
    r"^([$\u20ac\u00a3\u00a5+-]*)(\d+(?:,\d{3})+(?:\.\d+)?|\d*\.\d+|\d+)([%\u00b0$\u20ac\u00a3\u00a5]?[a-z]*)$"
)
_PARTS = re.compile(
    r"^[$\u20ac\u00a3\u00a5]?\d+(?:[.,]\d+)?(?:[-/:x][$\u20ac\u00a3\u00a5]?\d+(?:[.,]\d+)?)+([%a-z]*)$"
)
_LETTERED = re.compile(r"^([a-z]+)-?(\d+(?:\.\d+)?)$")
_SPLIT = re.compile(r"[-/:x]")
_SIGNS = {
    "+": "plus",
    "-": "minus",
    "*": "times",
    "/": "divided",
    "^": "^",
    "<": "<",
    ">": ">",
}
_SIGNED = re.compile(r"(?<=[\d)])([+*^<>=])(?=[\d(])")
_EITHER_WAY = re.compile(r"\bor (?:why |\w+ )?(?:\w+n't|not)\b|\w/\w+n't\b|\byes (?:and|or) no\b")
_FREE_OF = frozenset(
    {
        *(
            "sugar",
            "gluten",
            "dairy",
            "fat",
            "lactose",
            "nut",
            "caffeine",
            "alcohol",
            "cruelty",
            "pain",
            "tax",
            "duty",
        ),
        *(
            "debt",
            "grain",
            "egg",
            "meat",
            "oil",
            "salt",
            "acid",
            "smoke",
            "ad",
            "ads",
            "fragrance",
            "plastic",
            "wheat",
        ),
    }
)
_SUFFIX = {"k": 1000.0, "bn": 1e9, "st": 1.0, "nd": 1.0, "rd": 1.0, "th": 1.0}
_COUNTED = frozenset({"war", "chapter", "part", "phase", "volume", "type", "class", "act", "stage", "book"})
_ANSWERS = frozenset({"No,", "no,", "Yes,", "yes,", "No.", "Yes."})
_FORMS = ("ing", "ed", "s", "ly", "e")
"""Of words that begin a sentence and are no names ("Describe", "Installing"), beside the frequent ones."""
_LINKS = frozenset({"and", "or", "nor", "vs", "versus", "between"})
_MODAL = frozenset(
    {"in", "of", "since", "until", "by", "last", "next", "this", "early", "late", "mid", "during"}
)


class Number(Struct, frozen=True, gc=False, order=True):
    """``unit``: "" if none is told. ``sure``: written so that it can mean nothing else ("one", "second" and "first" can)."""

    value: str
    unit: str
    sure: bool
    head: str
    """The word after it: what is counted."""


_MOVED_FROM = 4
"""So many content words before "to" may be what is moved."""


class Reading(Struct, frozen=True):
    """All that the guards compare."""

    folded: str
    words: tuple[str, ...]
    """Content words, singular, in order."""
    coordinated: tuple[bool, ...]
    """Per content word: stands beside the one before by "and", "or", "vs": their order says nothing."""
    numbers: tuple[Number, ...]
    negations: int
    codes: frozenset[str]
    quoted: frozenset[str]
    members: dict[str, frozenset[str]]
    """Known words by the set they belong to."""
    names: tuple[str, ...]
    """Capitalised where grammar asks for none."""
    roles: dict[str, frozenset[str]]
    """Content words after a preposition, by preposition."""
    moves: frozenset[tuple[str, str]]
    """Every content word shortly before "to" or "into" beside the first after it: what becomes what, in any voice."""
    every: frozenset[str]
    """All words, singular."""
    said: tuple[str, ...]
    """All words in order."""


class _Chunks:
    """The text's words, lower case, beside what they were written like; numbers and codes on the way."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.capital: list[int] = []
        """Per word: 0 lower, 1 capitalised, 2 all capitals or mixed; negative where a sentence begins."""
        self.numbers: list[tuple[int, str, str, bool]] = []
        """Place among the words, value, unit, sure."""
        self.codes: set[str] = set()
        self.phrased: dict[int, str] = {}
        """Known phrases with a capital, at their first word; "" at the others."""

    def word(self, word: str, *, begins: bool) -> None:
        if word.islower():
            self.words.append(word)
            self.capital.append(-1 if begins else 0)
            return
        kind = 1 if word[1:].islower() else 2
        self.words.append(word.lower())
        self.capital.append(-kind - 1 if begins else kind)

    def plain(self, word: str) -> None:
        """A word that is not written so, but meant."""
        self.words.append(word)
        self.capital.append(0)

    def number(self, value: str, unit: str, *, sure: bool = True) -> None:
        self.numbers.append((len(self.words), value, unit, sure))
        self.words.append(NUMBER)
        self.capital.append(0)


@lru_cache(maxsize=KEPT)
def read(text: str) -> Reading:
    """What ``text`` says, as far as it can be told without understanding it."""
    if text.isascii():
        plain = text.replace("&", " and ") if "&" in text else text
    else:
        plain = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    if _SIGNED.search(plain) is not None:
        plain = _SIGNED.sub(r" \1 ", plain)
    quoted: frozenset[str] = frozenset()
    if '"' in plain or "'" in plain or "`" in plain:
        plain = plain.replace('""', '"')
        quoted = frozenset(
            next(one for one in found if one).strip() for found in _QUOTED.findall(plain) if any(found)
        )
    chunks = _Chunks()
    begins = True
    for raw in plain.split():
        core = raw.strip(_EDGE)
        if core:
            if core.isalpha():
                if not (begins and raw in _ANSWERS):
                    chunks.word(core, begins=begins)
            else:
                _odd(chunks, core, begins=begins)
        elif raw in _SIGNS:
            _sign(chunks, raw)
        begins = raw[-1] in ".?!:" and not (len(core) == 1 or core.isdigit())
    return _reading(plain, quoted, chunks)


def _odd(chunks: _Chunks, core: str, *, begins: bool) -> None:
    """A chunk that is not letters alone."""
    low = core.lower()
    if "'" in core:
        _apostrophe(chunks, core, begins=begins)
    elif low in MEMBERS:
        chunks.word(core, begins=begins)
    elif core in _SIGNS:
        _sign(chunks, core)
    elif _ADDRESS.search(core):
        chunks.codes.add(core.rstrip("/"))
    elif any(map(str.isdigit, core)):
        _digits(chunks, core, low)
    else:
        bare = core.replace(".", "")
        if "." in core and bare.isalpha() and bare != core and len(bare) <= core.count(".") + 1:
            chunks.word(bare, begins=begins)
            return
        if low.endswith("-free"):
            chunks.plain("not")
            core = core[:-5]
        for part in re.split(r"[^\w#+]+", core):
            if part:
                chunks.word(part, begins=begins)
                begins = False


def _sign(chunks: _Chunks, sign: str) -> None:
    """An operator stands after a number or a single letter; elsewhere it is a dash or a bullet."""
    if not chunks.words or (chunks.words[-1] != NUMBER and len(chunks.words[-1]) > 1):
        return
    named = _SIGNS[sign]
    if named.isalpha():
        chunks.plain(named)
    else:
        chunks.codes.add(named)


def _apostrophe(chunks: _Chunks, core: str, *, begins: bool) -> None:
    low = core.lower()
    if low in MEMBERS:
        chunks.word(core, begins=begins)
        return
    if low.endswith("n't"):
        chunks.plain("not")
        core = core[:-3]
    elif "'" in core[-3:]:
        core = core[: core.rindex("'")]
    core = core.replace("'", "")
    if core.isalpha():
        chunks.word(core, begins=begins)
    elif core:
        _odd(chunks, core, begins=begins)


def _digits(chunks: _Chunks, core: str, low: str) -> None:
    if (found := _NUMBER.match(low)) is not None:
        sign, digits, suffix = found.groups()
        unit = UNITS.get(suffix, "")
        scale = _SUFFIX.get(suffix, 0.0)
        if not suffix or unit or scale or suffix == "s":
            value = _value(digits, scale or 1.0)
            currency = sign.lstrip("+-")
            chunks.number(f"-{value}" if sign.startswith("-") else value, currency or ("" if scale else unit))
            return
    if (found := _PARTS.match(low)) is not None:
        unit = UNITS.get(found[1], "")
        parts = _SPLIT.split(low.removesuffix(found[1]))
        for part in parts:
            bare = part.lstrip("$\u20ac\u00a3\u00a5")
            currency = part[: len(part) - len(bare)]
            if ":" not in low or bare.strip("0"):
                chunks.number(_value(bare.lstrip("0") or "0"), currency or unit)
        for sign in ("-", "/"):
            if low.count(sign) == 1:
                chunks.plain(_SIGNS[sign])
        return
    if (found := _LETTERED.match(low)) is not None:
        chunks.number(_value(found[2]), f"~{found[1]}")
        return
    first, *rest = low.split("-")
    if rest and all(map(str.isalpha, rest)) and _NUMBER.match(first):
        _digits(chunks, first, first)
        for piece in rest:
            chunks.plain(piece)
        return
    chunks.codes.add(core if not (core.islower() or core.isupper()) else low)


def _value(digits: str, scale: float = 1.0) -> str:
    bare = digits.replace(",", "")
    if len(bare) > 15 or (bare.startswith("0") and len(bare) > 1 and "." not in bare):
        return bare
    return f"{float(bare) * scale:.12g}"


def _reading(plain: str, quoted: frozenset[str], chunks: _Chunks) -> Reading:
    words = _joined(chunks)
    numbers = _numbers(words, chunks)
    names = _names(chunks)
    members: dict[str, set[str]] = {}
    content: list[str] = []
    roles: dict[str, set[str]] = {}
    moves: set[tuple[str, str]] = set()
    role, fresh = "", False
    coordinated: list[bool] = []
    linked = False
    negations, before = 0, ""
    for word in words:
        if word == NUMBER:
            continue
        for set_name, name in MEMBERS.get(word, ()):
            members.setdefault(set_name, set()).add(name)
        if word in NEGATORS or (word == "free" and before in _FREE_OF):
            negations += 1
        elif word in ROLES:
            role, fresh = word, word in TOWARDS
        elif word in FUNCTION:
            role = ""
            linked = linked or word in _LINKS
        else:
            if fresh:
                moves.update((moved, singular(word)) for moved in content[-_MOVED_FROM:])
                fresh = False
            content.append(singular(word))
            coordinated.append(linked)
            linked = False
            if role:
                roles.setdefault(role, set()).add(content[-1])
        before = word
    folded = plain.casefold()
    if negations:
        negations -= sum(folded.count(phrase) for phrase in NO_NEGATION) + len(_EITHER_WAY.findall(folded))
    return Reading(
        folded=folded,
        words=tuple(content),
        coordinated=tuple(coordinated),
        numbers=tuple(numbers),
        negations=max(negations, 0),
        codes=frozenset(chunks.codes),
        quoted=quoted,
        members={name: frozenset(found) for name, found in members.items()},
        names=names,
        roles={name: frozenset(found) for name, found in roles.items()},
        moves=frozenset(moves),
        every=frozenset(map(singular, chunks.words)),
        said=tuple(chunks.words),
    )


def _joined(chunks: _Chunks) -> list[str]:
    """The words, known phrases as one; "us" and "may" that are a pronoun and a verb lose their letters."""
    words = chunks.words
    joined: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        for phrase in PHRASES.get(word, ()):
            if tuple(words[at : at + len(phrase)]) == phrase:
                joined.append(" ".join(phrase))
                if chunks.capital[at] > 0:
                    chunks.phrased[at] = joined[-1]
                    chunks.phrased.update(dict.fromkeys(range(at + 1, at + len(phrase)), ""))
                at += len(phrase)
                break
        else:
            before = words[at - 1] if at else ""
            if (word == "us" and abs(chunks.capital[at]) < 2 and before not in {"the", "in"}) or (
                word == "may"
                and before not in _MODAL
                and before != NUMBER
                and words[at + 1 : at + 2] != [NUMBER]
            ):
                word = "it"
            joined.append(word)
            at += 1
    return joined


def _numbers(words: list[str], chunks: _Chunks) -> list[Number]:
    """Digits and number words in order, with the unit beside them."""
    digits = iter(chunks.numbers)
    found: list[Number] = []
    at = 0
    while at < len(words):
        word = words[at]
        value, unit, sure, used = "", "", True, 1
        if word == NUMBER:
            _, value, unit, sure = next(digits)
            while at + used < len(words) and (scale := SCALES.get(words[at + used])) and not unit:
                value, used = f"{float(value) * scale:.12g}", used + 1
        elif word in ONES or word in TENS or word in SCALES:
            value, used = _spelt(words, at)
            sure = value not in {"1", "0"} and words[at - 1] not in {"several", "many", "few", "some"}
        elif word in ROMAN:
            value = str(ROMAN[word])
        elif word == "i" and at and words[at - 1] in _COUNTED:
            value = "1"
        elif word in ORDINALS:
            value, sure = str(ORDINALS[word]), ORDINALS[word] > 2
        elif word in OTHER_NUMBERS:
            value, sure = f"{OTHER_NUMBERS[word]:g}", False
        at += used
        if value:
            after = words[at] if at < len(words) else ""
            if not unit and after in UNITS and word not in ORDINALS:
                unit = UNITS[after]
            found.append(Number(value, unit, sure, singular(after)))
    return found


def _spelt(words: list[str], at: int) -> tuple[str, int]:
    """The value of number words from ``at`` on, and how many they are."""
    total, part, used = 0, 0, 0
    for word in words[at:]:
        if word in SCALES:
            scale = SCALES[word]
            if scale >= 1000:
                total, part = total + (part or 1) * scale, 0
            else:
                part = (part or 1) * scale
        elif word in TENS and part % 100 == 0:
            part += TENS[word]
        elif word in ONES and (part == 0 or (part % 10 == 0 and ONES[word] < 10) or part % 100 == 0):
            part += ONES[word]
        elif not (word == "and" and part and part % 100 == 0):
            break
        used += 1
    if words[at + used - 1] == "and":
        used -= 1
    return str(total + part), used


def _names(chunks: _Chunks) -> tuple[str, ...]:
    """Words with a capital inside a sentence; none in a headline or a shout, where small words have one, too, or all have."""
    if max(chunks.capital, default=0) <= 0 and min(chunks.capital, default=0) > -2:
        return ()
    low = {True: 0, False: 0}
    high = {True: 0, False: 0}
    for word, kind in zip(chunks.words, chunks.capital, strict=True):
        if kind >= 0 and word != NUMBER:
            (high if kind else low)[word in FUNCTION] += 1
    if high[True] > low[True] or (not low[False] and not low[True] and high[False] > 2):
        return ()
    names: list[str] = []
    for at, (word, kind) in enumerate(zip(chunks.words, chunks.capital, strict=True)):
        follows = at + 1 < len(chunks.capital) and chunks.capital[at + 1] > 0
        if kind in {0, -1} or (kind == -2 and not follows and (word in ENGLISH or word.endswith(_FORMS))):
            continue
        if word in FUNCTION and not (kind == 2 and word in MEMBERS):
            continue
        name = chunks.phrased.get(at, singular(word))
        if name:
            names.append(name)
    return tuple(names)


@lru_cache(maxsize=16384)
def singular(word: str) -> str:
    """Near enough: "boxes", "cities" and "shoes" lose their plural, "glass" and "bus" stay."""
    if len(word) <= 3 or word[-1] != "s" or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    return word[:-1]
