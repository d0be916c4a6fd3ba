"""What a caller asks of an embeddings model, in the neutral form that every upstream dialect can write."""

from typing import Any, Literal

from msgspec import Struct, field

from penstock.base.chat import Image

EmbeddingsInput = str | tuple[int, ...] | Image
"""One thing to embed: words, the tokens of words (of the model's own tokenizer), or a picture."""


class EmbeddingsRequest(Struct):
    """``inputs`` in the caller's order; a reply has one vector for each.

    ``dimensions``: None is the model's own. ``encoding`` is how the caller wants its vectors, not how a provider is
    asked for them. ``task`` is Google's taskType or Cohere's input_type, in the words of the caller's dialect
    (upper case for Google's, lower case for Cohere's); "" not said. ``truncate``: what becomes of too long inputs.
    """

    model: str
    inputs: tuple[EmbeddingsInput, ...]
    dimensions: int | None = None
    encoding: Literal["float", "base64"] = "float"
    task: str = ""
    title: str = ""
    truncate: str = ""
    user: str | None = None
    extras: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
