"""One fault of a configuration: where, what, and what to write instead."""

from msgspec import Struct


class Fault(Struct, frozen=True):
    """``path`` is like ``$.providers.openai.keys[0].value``; ``remedy`` says what to write instead."""

    path: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        """One line."""
        return f"{self.path}: {self.message} {self.remedy}".rstrip()
