"""One fault of a configuration: where, what, and what to write instead."""

from msgspec import Struct

MAX_SHOWN_CHARS = 24


class Fault(Struct, frozen=True):
    """``path`` is like ``$.providers.openai.keys[0].value``; ``remedy`` says what to write instead."""

    path: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        """One line."""
        return f"{self.path}: {self.message} {self.remedy}".rstrip()


def shown(word: object) -> str:
    """A word of the file as a message may repeat it: short ones only, for a long one may be a misplaced secret."""
    text = repr(word)
    return text if len(text) <= MAX_SHOWN_CHARS + 2 else "(too long to repeat)"
