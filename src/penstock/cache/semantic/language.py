"""Is a text English? The built-in embedder and the guards are; any other language stays with the exact tier.

Theory
------
No model, no dependency: letters, frequent words and a few endings of 19 languages vote. Long texts are easy (a third of all words
are among the hundred most frequent). Short ones are not: four words of a product caption may hold no frequent word at all. So the
burden of proof is on "not English": a text without evidence either way counts as English. What that lets through is a text without a
single frequent word, which then meets neighbours of its own language only, and the audit.

- Letters of another script, more than a fifth of all: not English.
- Else each word votes for the languages that have it, an English word for English; a word that both have for both, less.
- Letters that English lacks speak for abroad, though little in a word with a capital ("hotels in S\u00e3o Paulo").
- Foreign evidence must outweigh the English, and be more than a single borrowed word in a longer text.
"""

import re
import unicodedata

from penstock.base.decisions import Rejected
from penstock.cache.semantic.language_words import ENDINGS, ENGLISH, FOREIGN, LATIN_OWN
from penstock.cache.semantic.lists import MEMBERS
from penstock.cache.semantic.reading import singular

MOST_WORDS = 200
"""More are not looked at: what 200 words are, the rest is."""
OTHER_SCRIPT = 0.2
BOTH_HOME, BOTH_ABROAD = 0.6, 0.4
"""What a word says that both languages have."""
SHORT = 0.8
"""What a foreign word of up to three letters says; names of things are often so short."""
LETTER = 0.4
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_BY_WORD: dict[str, tuple[str, ...]] = {}
for _language, _words in FOREIGN.items():
    for _word in _words:
        _BY_WORD[_word] = (*_BY_WORD.get(_word, ()), _language)
_ENGLISH_ENDINGS = (
    "ing",
    "ed",
    "ness",
    "ship",
    "ful",
    "less",
    "tion",
    "ly",
    "'s",
    "ght",
    "ck",
    "wn",
    "th",
    "oom",
    "ook",
    "ies",
)


def english(text: str) -> Rejected | None:
    """None: English, or nothing to tell. Else the reason names the language, where it is known."""
    words = _WORD.findall(text)[:MOST_WORDS]
    if not words:
        return None
    letters = sum(map(len, words))
    plain = [word for word in words if word.isascii()]
    if len(plain) != len(words) and _of_other_script(words) > OTHER_SCRIPT * letters:
        return Rejected("not-english", "The text is not in Latin script; the built-in embedder is English.")
    home, abroad, general = 0.0, dict.fromkeys(FOREIGN, 0.0), 0.0
    for place, word in enumerate(words):
        low = word.lower().replace("\u2019", "'")
        strange = not low.isascii()
        told = _BY_WORD.get(_bare(low) if strange else low, ())
        here = low in ENGLISH or low in MEMBERS or singular(low) in ENGLISH
        if here:
            home += BOTH_HOME if told else 1.0
        elif not told and low.endswith(_ENGLISH_ENDINGS):
            home += 0.5
        for language in told:
            abroad[language] += (
                BOTH_ABROAD if here else 1.0 if len(low) > 3 else SHORT if len(low) > 1 else LETTER
            )
        if strange and not here:
            named = place > 0 and word[0].isupper()
            general += 0.3 if named else 1.0 if LATIN_OWN.intersection(low) else 0.6
        elif not here and not told and low.endswith(ENDINGS):
            general += 0.6
    if "\u00bf" in text or "\u00a1" in text:
        general += 1.0
    likely = max(abroad, key=abroad.__getitem__)
    foreign = abroad[likely] + general
    if foreign > home and foreign >= max(0.6, 0.2 * min(len(words), 10)):
        name = likely if abroad[likely] else "another language"
        return Rejected("not-english", f"The text looks like {name}; the built-in embedder is English.")
    return None


def _of_other_script(words: list[str]) -> int:
    return sum(
        1
        for word in words
        if not word.isascii()
        for letter in word
        if letter > "\u024f" and not "\u1e00" <= letter <= "\u1eff" and letter.isalpha()
    )


def _bare(word: str) -> str:
    """Without its accents."""
    apart = unicodedata.normalize("NFD", word)
    return "".join(letter for letter in apart if not unicodedata.combining(letter)).replace("\u00df", "ss")
