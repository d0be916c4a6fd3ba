"""A provider's reply as typed structs, read strictly and fast, or loosely where a provider strays.

Strays seen in the wild: ``content`` as a list of parts (Mistral), tool ``arguments`` as an object (Ollama), usage with
figures that are no integers. Such a chunk is bent into shape rather than refused.
"""

import json
from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.base.errors import UpstreamMalformed
from penstock.base.events import StopReason
from penstock.dialects.openai_chat.loose import as_list, as_object, as_text
from penstock.dialects.openai_chat.usage import UsageField

_NONE = Raw(b"")


class Function(Struct, gc=False):
    """A call's function, or a fragment of it."""

    name: str | None = None
    arguments: str | None = None


class ToolPiece(Struct, gc=False):
    """One element of ``tool_calls``, whole or a fragment."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class AudioPiece(Struct, gc=False):
    """``audio`` of a message or delta."""

    data: str | None = None
    transcript: str | None = None


class Piece(Struct, gc=False):
    """A ``delta``, or a whole ``message``."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: Raw = _NONE
    refusal: str | None = None
    tool_calls: list[ToolPiece] | None = None
    function_call: Function | None = None
    audio: AudioPiece | None = None
    images: Raw = _NONE
    annotations: Raw = _NONE


class Choice(Struct, gc=False):
    """One of ``choices``."""

    index: int = 0
    delta: Piece | None = None
    message: Piece | None = None
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    error: Raw = _NONE


class Chunk(Struct, gc=False):
    """One event of a stream, or a whole reply. ``choices`` None: there was no such field, or null."""

    choices: list[Choice] | None = None
    usage: UsageField | None = None
    error: Raw = _NONE
    model: str | None = None
    id: str | None = None
    service_tier: str | None = None


_decode = msgspec.json.Decoder(Chunk).decode
_decode_any = msgspec.json.Decoder().decode
_TOKENS = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        "prompt_cache_hit_tokens",
    }
)

_STOPS: dict[str, StopReason] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "complete": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
}


def stop_reason(native: str) -> StopReason:
    """The neutral word. What nobody has defined is an error, not a stop (behaviour 17)."""
    return _STOPS.get(native) or _STOPS.get(native.lower(), "error")


def read_chunk(data: bytes) -> Chunk:
    """One JSON object of a reply. Raises UpstreamMalformed."""
    try:
        return _decode(data)
    except msgspec.ValidationError:
        return _read_loosely(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_with_halves(data)


def reread(data: bytes) -> Chunk | None:
    """The same, for a second look: None for what is no JSON or strays."""
    try:
        return _decode(data)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def is_error(data: bytes, name: bytes) -> bool:
    """True for an error in another shape than ``{"error": ...}``, in a body that has no choices.

    vLLM: {"object": "error", "message": ...}; FastAPI: {"detail": ...}; or an event named so.
    """
    if name == b"error":
        return True
    try:
        body = as_object(_decode_any(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True  # what a chunk does not look into is no JSON: a damaged event, and no word of the model
    return body.get("object") == "error" or "detail" in body or "message" in body


def present(raw: Raw) -> bool:
    """True for a field that is there and says something: not null, false, "" or {}."""
    return raw is not _NONE and bytes(raw) not in (b"", b"null", b"false", b'""', b"{}", b"[]")


def cites_pages(annotations: Raw) -> bool:
    """True for a message that cites pages of the web: its model has searched."""
    return b'"url_citation"' in bytes(annotations)


def _read_with_halves(data: bytes) -> Chunk:
    """JSON with half a surrogate pair in it, which Python's and JavaScript's encoders write, but no strict reader
    takes. It is read as "?"; anything else is malformed."""
    try:
        whole = json.dumps(json.loads(data), ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        raise UpstreamMalformed("The upstream's reply holds JSON that cannot be read.") from None
    return _read_loosely(whole)


def _read_loosely(data: bytes) -> Chunk:
    try:
        body = _decode_any(data)
        if isinstance(body, dict):
            return msgspec.convert(_straightened(as_object(body)), Chunk, strict=False)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        pass
    raise UpstreamMalformed("The upstream's reply is not a chat completion.") from None


def _straightened(body: dict[str, Any]) -> dict[str, Any]:
    straight: dict[str, Any] = {name: as_text(body.get(name)) for name in ("model", "id", "service_tier")}
    if body.get("error"):
        straight["error"] = Raw(msgspec.json.encode(body["error"]))
    if isinstance(body.get("choices"), list):
        straight["choices"] = [_straight_choice(as_object(choice)) for choice in as_list(body["choices"])]
    straight["usage"] = _straight_usage(body.get("usage"))
    return straight


def _straight_usage(usage: Any) -> UsageField | None:
    """All of it; or its tokens alone, where what stands beside them is odd; or nothing."""
    tokens = {name: value for name, value in as_object(usage).items() if name in _TOKENS}
    for tried in (usage, tokens or None):
        try:
            return msgspec.convert(tried, UsageField | None, strict=False)
        except msgspec.ValidationError:
            continue
    return None


def _straight_choice(choice: dict[str, Any]) -> dict[str, Any]:
    straight: dict[str, Any] = {
        "index": choice["index"] if isinstance(choice.get("index"), int) else 0,
        "finish_reason": as_text(choice.get("finish_reason")),
        "native_finish_reason": as_text(choice.get("native_finish_reason")),
    }
    if choice.get("error"):
        straight["error"] = Raw(msgspec.json.encode(choice["error"]))
    for name in ("delta", "message"):
        if choice.get(name):
            straight[name] = _straight_piece(as_object(choice[name]))
    return straight


def _straight_piece(piece: dict[str, Any]) -> dict[str, Any]:
    straight: dict[str, Any] = {
        name: as_text(piece.get(name)) for name in ("content", "reasoning", "reasoning_content", "refusal")
    }
    if isinstance(piece.get("content"), list):
        words, thoughts = _of_parts(as_list(piece["content"]))
        straight["content"] = words
        straight["reasoning"] = thoughts or straight["reasoning"]
    for name in ("reasoning_details", "images", "annotations"):
        if isinstance(piece.get(name), list):
            straight[name] = Raw(msgspec.json.encode(piece[name]))
    if piece.get("audio"):
        audio = as_object(piece["audio"])
        straight["audio"] = {key: as_text(audio.get(key)) for key in ("data", "transcript")}
    if piece.get("function_call"):
        straight["function_call"] = _straight_function(as_object(piece["function_call"]))
    if isinstance(piece.get("tool_calls"), list):
        straight["tool_calls"] = [_straight_tool(as_object(tool)) for tool in as_list(piece["tool_calls"])]
    return straight


def _straight_tool(tool: dict[str, Any]) -> dict[str, Any]:
    return {
        "index": tool["index"] if isinstance(tool.get("index"), int) else None,
        "id": as_text(tool.get("id")),
        "function": _straight_function(as_object(tool.get("function"))),
    }


def _straight_function(function: dict[str, Any]) -> dict[str, Any]:
    arguments: Any = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    return {"name": as_text(function.get("name")), "arguments": arguments}


def _of_parts(parts: list[Any]) -> tuple[str, str]:
    """Text and thinking of a list of content parts, as Mistral sends them."""
    words: list[str] = []
    thoughts: list[str] = []
    for part in map(as_object, parts):
        if part.get("type") == "thinking":
            inner: Any = part.get("thinking")
            thoughts.append(as_text(inner) or _of_parts(as_list(inner))[0])
        else:
            words.append(as_text(part.get("text")) or "")
    return "".join(words), "".join(thoughts)
