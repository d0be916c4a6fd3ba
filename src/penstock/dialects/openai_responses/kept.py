"""What our own store keeps of a call, and the conversation that kept calls make.

Theory
------
A call keeps what it added: its own input items and its Response, with the id of the call before it. So a chain of n turns
takes room for n turns, and is read from its end to its beginning. Items get the ids by which they are listed.
"""

from typing import Any, cast

import msgspec
from msgspec import Raw, Struct

from penstock.dialects.openai_responses.envelope import ResponsesAsk, first_byte
from penstock.dialects.openai_responses.shapes import Loose, kind_of

KIND = "response"
_PREFIX = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "reasoning": "rs",
}


class Turn(Struct):
    """One call, as it is kept: what came, and what was answered."""

    input: list[Raw]
    response: Raw

    @property
    def output(self) -> list[Raw]:
        """The answer's items."""
        return _decode_output(self.response).output


class _Answer(Struct):
    id: str = ""
    status: str = ""
    output: list[Raw] = []


_LISTED_WITH: dict[Any, dict[str, Any]] = {
    "output_text": {"annotations": []},
    "input_image": {"detail": "auto"},
}
"""What a content part must have when it is listed, and may leave out when it is sent."""
_decode_turn = msgspec.json.Decoder(Turn).decode
_decode_output = msgspec.json.Decoder(_Answer).decode
_decode_items = msgspec.json.Decoder(list[dict[str, Any]]).decode
_encode = msgspec.json.encode


def turn_of(ask: ResponsesAsk) -> tuple[str, dict[str, Any], bytes]:
    """A finished call as it is kept: its id, what is said of it, and its turn."""
    answer = _decode_output(ask.final)
    meta = {"previous": ask.previous, "status": answer.status, "made_at": ask.made_at}
    items = [_encode(item) for item in _listed(ask, answer.id)]
    body = b'{"input":[' + b",".join(items) + b'],"response":' + ask.final + b"}"
    return answer.id, meta, body


def read_turn(body: bytes) -> Turn:
    """A kept turn."""
    return _decode_turn(body)


def conversation(turns: list[Turn]) -> list[bytes]:
    """The items of kept turns, the oldest first."""
    return [bytes(item) for turn in turns for item in (*turn.input, *turn.output)]


def _listed(ask: ResponsesAsk, response_id: str) -> list[dict[str, Any]]:
    """The input's items as they are listed: each with a type, an id and a status."""
    seed = response_id.removeprefix("resp_")
    if first_byte(ask.input) == b'"':
        text = msgspec.json.decode(ask.input, type=str)
        found: list[dict[str, Any]] = [{"role": "user", "content": text}]
    else:
        found = _decode_items(ask.input) if ask.input else []
    return [_whole(item, f"{seed}i{place:03x}") for place, item in enumerate(found)]


def _whole(item: dict[str, Any], name: str) -> dict[str, Any]:
    kind = kind_of(Loose(_text(item, "type"), _text(item, "role"), _text(item, "id")))
    if kind == "item_reference":
        return item
    whole = {"id": item.get("id") or f"{_PREFIX.get(kind, 'item')}_{name}", **item, "type": kind}
    whole["id"] = whole["id"] or f"{_PREFIX.get(kind, 'item')}_{name}"
    if kind == "message":
        content: Any = item.get("content")
        whole["content"] = _content(content, item.get("role") == "assistant")
    if kind == "reasoning":
        whole.setdefault("summary", [])
    elif not whole.get("status"):
        whole["status"] = "completed"
    return whole


def _content(content: Any, assistant: bool) -> list[Any]:
    if isinstance(content, str):
        part: dict[str, Any] = {"type": "output_text" if assistant else "input_text", "text": content}
        content = [part]
    parts: list[Any] = []
    for found in cast("list[Any]", content) if isinstance(content, list) else []:
        part = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        more = _LISTED_WITH.get(part.get("type"), {})
        parts.append({**more, **part} if more else found)
    return parts


def _text(item: dict[str, Any], name: str) -> str | None:
    value: Any = item.get(name)
    return value if isinstance(value, str) else None
