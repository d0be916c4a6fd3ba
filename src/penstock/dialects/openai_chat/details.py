"""``reasoning_details`` (OpenRouter) between the wire and ThinkingDelta, both ways.

What is whose (reference wire.md, 1.6 and 6.5)
- ``reasoning.text`` carries text, and a signature that ends the block.
- ``reasoning.encrypted`` carries opaque data: a redacted block, or for Gemini a thought signature, tied by ``id`` to
  its tool call.
- ``index`` tells blocks apart; fragments of one block share it.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.base.events import ThinkingDelta

GEMINI = "google-gemini-v1"


class Detail(Struct, gc=False):
    """One element of ``reasoning_details``."""

    type: str = ""
    text: str | None = None
    summary: str | None = None
    data: str | None = None
    signature: str | None = None
    format: str | None = None
    id: str | None = None
    index: int | None = None


_DETAILS: msgspec.json.Decoder[list[Detail] | None] = msgspec.json.Decoder(list[Detail] | None)


def read_details(raw: Raw) -> list[ThinkingDelta]:
    """The thinking in a delta's or message's ``reasoning_details``; what cannot be read is left out."""
    if len(raw) <= len("[]"):
        return []
    try:
        details = _DETAILS.decode(raw) or []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    return [delta for detail in details if (delta := read_detail(detail)) is not None]


def read_detail(detail: Detail) -> ThinkingDelta | None:
    """One detail, or None if there is nothing in it."""
    name = detail.format or "unknown"
    if detail.type == "reasoning.encrypted":
        if not detail.data:
            return None
        if name == GEMINI:
            return ThinkingDelta(signature=detail.data, format=name, tool_id=detail.id or "")
        return ThinkingDelta(redacted=detail.data, format=name, tool_id=detail.id or "")
    text = detail.text or detail.summary or ""
    if not text and not detail.signature:
        return None
    return ThinkingDelta(text=text, signature=detail.signature or "", format=name)


def write_detail(delta: ThinkingDelta, index: int) -> dict[str, Any]:
    """One detail for a client, which must send it back unchanged."""
    detail: dict[str, Any]
    if delta.redacted or (delta.format == GEMINI and delta.signature and not delta.text):
        detail = {"type": "reasoning.encrypted", "data": delta.redacted or delta.signature}
        if delta.tool_id:
            detail["id"] = delta.tool_id
    else:
        detail = {"type": "reasoning.text"}
        if delta.text:
            detail["text"] = delta.text
        if delta.signature:
            detail["signature"] = delta.signature
    detail["format"] = delta.format
    detail["index"] = index
    return detail
