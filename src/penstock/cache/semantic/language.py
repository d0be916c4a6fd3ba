"""Is a text English? The built-in embedder and the guards are; any other language stays with the exact tier.

Theory
------
No model, no dependency: letters, frequent words and a few endings of 19 languages vote. Long texts are easy (a third of all words
are among the hundred most frequent). Short ones are not: four words of a product caption may hold no frequent word at all. So the
burden of proof is on "not English": a text without evidence either way counts as English. What that lets through is a text without a
single frequent word, which then meets neighbours of its own language only, and the audit.

- Letters of another script, more than a fifth of all: not English.
- Else each word votes for the languages that have it, an English word for English; words that both have count half abroad.
- Foreign evidence must outweigh the English, and be more than a single borrowed word in a longer text.
"""

import re
import unicodedata

from penstock.base.decisions import Rejected
from penstock.cache.semantic.language_words import ENDINGS, ENGLISH, FOREIGN, LATIN_OWN

MOST_WORDS = 200
"""More are not looked at: what 200 words are, the rest is."""
OTHER_SCRIPT = 0.2
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
    for word in words:
        low = word.lower().replace("\u2019", "'")
        folded = low if low.isascii() else _bare(low)
        told = _BY_WORD.get(folded, ())
        here = low in ENGLISH
        if here:
            home += 1.0
        elif not told and low.endswith(_ENGLISH_ENDINGS):
            home += 0.5
        for language in told:
            abroad[language] += 0.4 if here else 1.0
        if folded != low and not here:
            general += 1.0 if LATIN_OWN.intersection(low) else 0.6
        elif not here and not told and low.endswith(ENDINGS):
            general += 0.4
    if "\u00bf" in text or "\u00a1" in text:
        general += 1.0
    likely = max(abroad, key=abroad.__getitem__)
    foreign = abroad[likely] + general
    if foreign > home and foreign >= max(0.6, 0.12 * len(words)):
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
