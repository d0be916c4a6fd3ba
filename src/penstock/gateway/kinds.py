"""Which operation a model is for, by the catalogue's word for its kind (``mode``), and what to tell who asked it for another.

Rules
- What is not known of a model refuses nothing: no row, another mode, no capabilities.
- Gemini's models for pictures and sound answer chats, and its chat models draw, speak and listen as its dialect knows.
  What speaks OpenAI's dialect has a path for each, and answers another one's call with an error.
- What other makers sell on Vertex AI has endpoints of its own (``publishers/anthropic``, ``endpoints/openapi``), in other
  formats than Gemini's; so have models there that end in ``-maas`` (cloud.google.com, partner models; read 2026-11).
"""

from typing import Any, cast

import msgspec

from penstock.base.chat import Ask
from penstock.base.decisions import Rejected
from penstock.base.models import Target
from penstock.base.operations import Operation

_NO_CHAT = frozenset({"embedding", "rerank", "moderation"})
"""The catalogue's modes of models that surely cannot chat, whoever serves them."""
_NO_OPENAI_CHAT = _NO_CHAT | {"image_generation", "image_edit", "audio_speech", "audio_transcription"}
_CHATS = frozenset({"chat", "responses"})
_MODES: dict[Operation, frozenset[str]] = {
    "embeddings": frozenset({"embedding"}),
    "images": frozenset({"image_generation", "image_edit", *_CHATS}),
    "speech": frozenset({"audio_speech", "chat"}),
    "transcriptions": frozenset({"audio_transcription", "chat"}),
    "moderations": frozenset({"moderation"}),
    "rerank": frozenset({"rerank"}),
}
"""The catalogue's modes of models that may do it."""
_FOR: dict[str, tuple[str, str]] = {
    "chat": ("chat", "/v1/chat/completions"),
    "responses": ("chat", "/v1/chat/completions"),
    "embedding": ("embeddings", "/v1/embeddings"),
    "rerank": ("reranking", "/v1/rerank"),
    "moderation": ("moderation", "/v1/moderations"),
    "image_generation": ("pictures", "/v1/images/generations"),
    "image_edit": ("pictures", "/v1/images/edits"),
    "audio_speech": ("speech", "/v1/audio/speech"),
    "audio_transcription": ("transcription", "/v1/audio/transcriptions"),
}

_OTHERS = ("claude", "codestral", "jamba", "ministral", "mistral")
"""How other makers' models on Vertex AI begin whose names do not say who made them."""

_PARTS: dict[str, frozenset[str]] = {
    "image": frozenset({"image_url", "image"}),
    "audio": frozenset({"input_audio"}),
    "video": frozenset({"video_url"}),
    "document": frozenset({"file", "document"}),
}
"""What such a part is called by OpenAI's callers and by Anthropic's."""


def part_of(ask: Ask, need: str) -> str | None:
    """Where in OpenAI's or Anthropic's messages the first part stands that needs this; None: not found."""
    wanted = _PARTS.get(need)
    if wanted is None or ask.operation != "chat" or not bytes(ask.messages).startswith(b"["):
        return None
    try:
        messages: Any = msgspec.json.decode(ask.messages)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    for at, message in enumerate(messages):
        content = _get(message, "content")
        for place, part in enumerate(cast("list[Any]", content) if isinstance(content, list) else ()):
            if str(_get(part, "type")) in wanted:
                return f"messages[{at}].content[{place}]"
    return None


def _get(value: Any, name: str) -> Any:
    return cast("dict[str, Any]", value).get(name) if isinstance(value, dict) else None


def unfit(operation: Operation, target: Target) -> Rejected | None:
    """Why this model is not one for ``operation``, or None."""
    if not target.facts.known:
        return None
    if not spoken_there(target.dialect, target.model):
        return Rejected(
            "operation-unsupported",
            f"{target.name} is none of Google's own models, and the others on Vertex AI are not spoken to.",
            param="model",
            caller_fault=True,
        )
    if _fits(operation, target):
        return None
    kind, path = _FOR.get(target.facts.mode, (f"{target.facts.mode}, not for {operation}", ""))
    return Rejected(
        "operation-unsupported",
        f"{target.name} is a model for {kind}{path and ': '}{path}.",
        param="model",
        caller_fault=True,
    )


def spoken_there(dialect: str, model: str) -> bool:
    """Whether a model that is sold where this dialect is spoken can be asked in it."""
    if dialect != "vertex":
        return True
    own = model.removeprefix("google/")
    return not ("/" in own or own.startswith(_OTHERS) or own.endswith("-maas"))


def _fits(operation: Operation, target: Target) -> bool:
    facts, openai = target.facts, target.dialect == "openai"
    if operation == "chat":
        return facts.mode not in (_NO_OPENAI_CHAT if openai else _NO_CHAT)
    if facts.mode not in _MODES[operation]:
        return False
    if not openai or facts.mode not in _CHATS or facts.capabilities is None:
        return True
    if operation == "images":
        return "image" in facts.modalities_out
    return "audio" in (facts.modalities_out if operation == "speech" else facts.modalities_in)


def no_provider_for(operation: Operation, target: Target, able: list[str]) -> Rejected:
    """The target's provider does not do ``operation`` at all; ``able`` are the configured ones that do."""
    others = f"Of the configured providers {', '.join(able)} {'has' if len(able) == 1 else 'have'}."
    said = f"{target.provider} has no {operation}. {others if able else 'No configured provider has.'}"
    return Rejected("operation-unsupported", said, param="model", caller_fault=True)
