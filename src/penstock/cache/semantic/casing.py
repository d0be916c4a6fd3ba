"""Where a capital letter is all the difference: options and names in code, units, words that are another word with a capital.

Theory
------
The built-in embedder, like most, reads lower case: "grep -i" and "grep -I" have one vector and a score of 1, which no threshold
can part (reference 1.4: "case-folding of code"). On the other hand half of all people type without capitals, and mean the same. So
a difference of case counts in three places only:

- code: options (all of them must be the same), variables, identifiers;
- units in which it is a factor of a billion, or of eight: mW and MW, Mb and MB, both written with care;
- words of a list (Polish, Turkey, US), where the one without a capital stands in a text that has capitals elsewhere.

Not at the beginning of a sentence, nor in a headline or a shout.
"""

import re
from functools import lru_cache

from msgspec import Struct

from penstock.cache.semantic.language_words import ENGLISH
from penstock.cache.semantic.lists import FUNCTION

KEPT = 4096


def _listed(words: str) -> list[str]:
    return words.split()


_EDGE = ".,;:!?()[]{}<>\"'*~|`"
_ENDS = ".?!:"
_OPTION = re.compile(r"--[A-Za-z][\w-]*|-[A-Za-z]{1,3}")
_CODE = re.compile(r"\$\{?[A-Za-z_]\w*\}?|\w*_\w+|\w+(?:::\w+)+|[\w.]+\(\)")
_UNITS = frozenset(_listed("mw mwh mpa mj mv ma mb gb kb tb mbps gbps kbps"))
_ACRONYMS = frozenset(_listed("us it who aids ram sim pin sat act pet cat add"))
_NAMES = frozenset(
    _listed(
        "polish turkey china march august chile jordan reading nice cork bath mobile rust swift python java ruby shell windows word excel "
        "access outlook teams slack signal meta target gap visa stripe square oracle apple amazon mercury bush bill mark rose frank grant "
        "jack rob sue drew cook"
    )
)
_WATCHED = _UNITS | _ACRONYMS | _NAMES
_COMMON = FUNCTION | ENGLISH
"""Behind a bullet, without a blank, they are no option."""
_TITLES = frozenset(_listed("mr ms dr st jr sr no vs pm am"))
_COUNTRY_AFTER = frozenset({"the", "in"})
"""Behind these "us" is a country, however it is written."""


class Written(Struct, frozen=True):
    """What of a text hangs on its case. ``spelt``: every time it stands there, by lower-case form."""

    options: frozenset[str]
    spelt: dict[str, tuple[str, ...]]


def case_differs(one: str, other: str) -> bool:
    """A capital letter, or an option, makes two texts of them. Symmetric; False for a text beside itself."""
    if "-" not in one and "-" not in other and one == one.lower() and other == other.lower():
        return False
    left, right = written(one), written(other)
    if left.options != right.options:
        return True
    return any(
        _unlike(mine, theirs) and (low not in _UNITS or not (low in mine or low in theirs))
        for low, mine in left.spelt.items()
        if (theirs := right.spelt.get(low)) is not None
    )


def _unlike(mine: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    return set(mine).isdisjoint(theirs) or (len(mine) == len(theirs) and mine != theirs)


@lru_cache(maxsize=KEPT)
def written(text: str) -> Written:
    """What of ``text`` hangs on its case."""
    options: set[str] = set()
    spelt: dict[str, list[str]] = {}
    words: list[tuple[str, str, bool]] = []
    begins, before = True, ""
    for raw in text.split():
        core = raw.strip(_EDGE)
        if _OPTION.fullmatch(core) is not None and (len(core) == 2 or core[1:].lower() not in _COMMON):
            options.add(core)
        elif raw[0] == "`" or _CODE.fullmatch(raw.strip(".,;:!?\"'")) is not None:
            spelt.setdefault(core.lower(), []).append(core)
        elif core.isalpha():
            words.append((core, before, begins))
            before = core.lower()
        if core:
            begins = raw[-1] in _ENDS and not (len(core) == 1 or core.isdigit())
    low = sum(word.islower() for word, _, _ in words)
    if low or not any(word[0].isupper() and not starts for word, _, starts in words):
        careful = text != text.lower()
        for word, after, starts in words:
            if _tells(word, after, starts=starts, careful=careful):
                spelt.setdefault(word.lower(), []).append(word)
    return Written(frozenset(options), {name: tuple(sorted(forms)) for name, forms in spelt.items()})


def _tells(word: str, before: str, *, starts: bool, careful: bool) -> bool:
    """Whether the case of ``word`` says something. ``careful``: its text has capitals."""
    low = word.lower()
    if low not in _WATCHED:
        return len(word) == 2 and not word.isupper() and not starts and low not in FUNCTION | _TITLES
    if low == "us" and before in _COUNTRY_AFTER:
        return False
    if word == low:
        return careful or low in _UNITS or low == "us"
    return not (starts and word[1:].islower())
