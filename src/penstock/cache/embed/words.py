"""Word pieces of plain English without the tokenizer: most words of a text stand whole in the vocabulary.

Theory
WordPiece takes the longest piece that a word begins with: a word that is in the vocabulary is one piece. What is split where,
and made lower case, is a matter of a line for ASCII. Of the tokenizer's 0.2 ms, in a process that does other things between
two texts, a tenth remains.

Rules
- Other texts than printable ASCII, and such as could hold one of the tokenizer's own marks, are the tokenizer's; and so is a
  word that the vocabulary has not.
- The table is the vocabulary, and nothing is added to it: how long a text takes tells nothing of what others have asked.
- Of the built-in model's tokenizer only, whose digest is known: others may split otherwise.
"""

import re
from collections.abc import Callable, Mapping

_PLAIN = re.compile(r"[ -Z\\-~]*")
"""Printable ASCII but for "[", with which the marks begin."""
_WORD = re.compile(r"[a-z0-9]+|[^a-z0-9 ]")


class Words:
    """``pieces_of``: the tokenizer's own, of one word, without marks."""

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        marks: tuple[int, int],
        pieces_of: Callable[[str], list[int]],
    ) -> None:
        self._whole = {word: number for word, number in vocabulary.items() if _WORD.fullmatch(word)}
        self._first, self._last = marks
        self._pieces_of = pieces_of

    def pieces(self, text: str) -> list[int] | None:
        """With both marks; None: it is the tokenizer's."""
        if not _PLAIN.fullmatch(text):
            return None
        found = [self._first]
        whole = self._whole
        for word in _WORD.findall(text.lower()):
            number = whole.get(word)
            if number is None:
                found += self._pieces_of(word)
            else:
                found.append(number)
        found.append(self._last)
        return found
