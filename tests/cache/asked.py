"""Requests as callers write them, read by the real dialects."""

from typing import Any, cast

import msgspec

from penstock.base.chat import ChatRequest, Message, Text
from penstock.base.embeddings import EmbeddingsRequest
from penstock.cache.keys import canonical
from penstock.dialects import CALLERS
from penstock.dialects.gemini import GeminiCall

GROUP = "openai/gpt-5-mini"


def read(dialect: str, body: dict[str, Any] | bytes) -> ChatRequest:
    """The neutral request of a chat body."""
    caller = GeminiCall("gemini-2.5-flash") if dialect == "gemini" else CALLERS[dialect]
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return cast("ChatRequest", caller.expand(caller.read_request(raw)))


def openai(text: str = "Describe a red mug.", /, **fields: Any) -> ChatRequest:
    """A question in OpenAI's dialect."""
    return read("openai", {"model": "m", "messages": [{"role": "user", "content": text}], **fields})


def anthropic(text: str = "Describe a red mug.", /, **fields: Any) -> ChatRequest:
    """The same question in Anthropic's."""
    body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": text}], **fields}
    return read("anthropic", body)


def gemini(text: str = "Describe a red mug.", /, **fields: Any) -> ChatRequest:
    """The same question in Google's."""
    body = {"contents": [{"role": "user", "parts": [{"text": text}]}], **fields}
    return read("gemini", body)


def embeddings(given: Any = "a red mug", /, **fields: Any) -> EmbeddingsRequest:
    """A text to embed."""
    caller = CALLERS["embeddings"]
    raw = msgspec.json.encode({"model": "m", "input": given, **fields})
    return cast("EmbeddingsRequest", caller.expand(caller.read_request(raw)))


def form(request: ChatRequest | EmbeddingsRequest) -> bytes:
    """Its canonical form."""
    return canonical(request, group=GROUP)


def said(*turns: tuple[str, str], **fields: Any) -> ChatRequest:
    """A neutral conversation: (role, text)."""
    messages = tuple(Message(cast("Any", role), (Text(text),)) for role, text in turns)
    return ChatRequest("m", messages, **fields)
