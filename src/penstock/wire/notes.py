"""What a translation into a provider's words drops or approximates."""


class Notes:
    """Kebab-case words ("logit_bias-dropped"), each once, in order of their discovery. They reach ``WireRequest.adjusted``."""

    __slots__ = ("_words",)

    def __init__(self) -> None:
        self._words: dict[str, None] = {}

    def add(self, word: str) -> None:
        """Note it."""
        self._words[word] = None

    def words(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self._words)
