"""What a caller asks of a model that judges: how well documents answer a query, or whether something is harmful."""

from typing import Any

from msgspec import Struct, field

from penstock.base.chat import Image, Text


class RerankRequest(Struct):
    """``documents`` in the caller's order: words, or objects of fields (``rank_fields`` says which count)."""

    model: str
    query: str
    documents: tuple[str | dict[str, Any], ...]
    top_n: int | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: int | None = None
    rank_fields: tuple[str, ...] = ()
    extras: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])


class ModerationsRequest(Struct):
    """``inputs``: each is judged for itself, and may have several parts."""

    model: str
    inputs: tuple[tuple[Text | Image, ...], ...]
    extras: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
