"""How many tokens will this be? Bytes per token, learned per model; no tokenizer file is ever fetched."""

from math import ceil

from msgspec import Struct

DEFAULT_BYTES_PER_TOKEN = 4.0
_ALPHA = 0.05
_MIN_TOKENS = 16
"""Shorter prompts are mostly the chat format's own tokens and teach nothing."""
_LOWEST, _HIGHEST = 0.5, 16.0
"""A sample outside is no text (a base64 image, say) and is pulled to the border."""
_MAX_MODELS = 4096


class _Ratio(Struct):
    bytes_per_token: float
    samples: int


class TokenEstimator:
    """An EWMA of bytes per token for each model; the least recently taught models are forgotten first."""

    __slots__ = ("ratios",)

    def __init__(self) -> None:
        self.ratios: dict[str, _Ratio] = {}
        """By model, the least recently taught first."""

    def tokens(self, model: str, input_bytes: int) -> int:
        """Tokens of ``input_bytes`` at ``model``, rounded up; at least 1."""
        ratio = self.ratios.get(model)
        per_token = DEFAULT_BYTES_PER_TOKEN if ratio is None else ratio.bytes_per_token
        return max(1, ceil(input_bytes / per_token))

    def learn(self, model: str, input_bytes: int, tokens: int) -> None:
        """``input_bytes`` turned out to be ``tokens``. The default counts as the first sample."""
        if tokens < _MIN_TOKENS or input_bytes <= 0:
            return
        sample = min(_HIGHEST, max(_LOWEST, input_bytes / tokens))
        ratio = self.ratios.pop(model, None)
        if ratio is None:
            if len(self.ratios) >= _MAX_MODELS:
                del self.ratios[next(iter(self.ratios))]
            ratio = _Ratio(DEFAULT_BYTES_PER_TOKEN, 1)
        # The first samples weigh more, as in a plain mean; then the EWMA's own weight takes over.
        ratio.samples += 1
        ratio.bytes_per_token += (sample - ratio.bytes_per_token) * max(_ALPHA, 1 / ratio.samples)
        self.ratios[model] = ratio
