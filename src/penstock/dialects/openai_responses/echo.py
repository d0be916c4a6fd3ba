"""What a Response says of its own request: the fields that OpenAI gives back, with their defaults."""

from typing import Any

import msgspec
from msgspec import Raw

from penstock.dialects.openai_responses.envelope import ResponsesAsk

_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_DEFAULTS: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": 1.0,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
_LIKE_OPENAI_TOOL: dict[str, dict[str, Any]] = {
    "function": {"description": None, "parameters": None, "strict": None},
    "custom": {"description": None},
}


def echo(ask: ResponsesAsk) -> dict[str, Any]:
    """The echoed fields, ``tools`` with what OpenAI fills in. The body was read before: it is an object."""
    fields = _decode_fields(ask.body)
    said: dict[str, Any] = {name: _or(fields, name, default) for name, default in _DEFAULTS.items()}
    said["metadata"] = _or(fields, "metadata", {})
    said["reasoning"] = {"effort": None, "summary": None, **_object(fields, "reasoning")}
    text = _object(fields, "text")
    said["text"] = {**text, "format": text.get("format") or {"type": "text"}}
    said["tools"] = [_tool(tool) for tool in _or(fields, "tools", [])]
    said["store"] = ask.store
    return said


def _or(fields: dict[str, Raw], name: str, default: Any) -> Any:
    raw = fields.get(name)
    if raw is None or bytes(raw) == b"null":
        return default
    return msgspec.json.decode(raw)


def _object(fields: dict[str, Raw], name: str) -> dict[str, Any]:
    raw = fields.get(name)
    if raw is None or bytes(raw) == b"null":
        return {}
    return msgspec.json.decode(raw, type=dict[str, Any])


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    return {**_LIKE_OPENAI_TOOL.get(tool.get("type", ""), {}), **tool}
