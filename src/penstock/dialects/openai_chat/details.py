"""``reasoning_details`` (OpenRouter) between the wire and ThinkingDelta, both ways.

What is whose (reference wire.md, 1.6 and 6.5)
- ``reasoning.text`` carries text, and a signature that ends the block.
- ``reasoning.encrypted`` carries opaque data: a redacted block, or for Gemini a thought signature, tied by ``id`` to
  its tool call.
- ``index`` tells blocks apart; fragments of one block share it.
- ``format`` stands in the first fragment of a block only: the openai SDK joins the strings of one index, whatever they
  are (openai-python, lib/streaming/_deltas.py: all but ``index`` and ``type``), and sends back what it joined.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.base.events import ThinkingDelta

GEMINI = "google-gemini-v1"
UNKNOWN = "unknown"


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


class Formats:
    """Whose state a detail is, where only the first fragment of a block says it."""

    __slots__ = ("_index", "_name")

    def __init__(self) -> None:
        self._index: int | None = None
        self._name = UNKNOWN

    def of(self, detail: Detail) -> str:
        """Its format, once, however often a client joined it to itself; that of its block where it has none."""
        if detail.format:
            self._index, self._name = detail.index, once(detail.format)
            return self._name
        return self._name if detail.index is not None and detail.index == self._index else UNKNOWN


def once(name: str) -> str:
    """``vv`` -> ``v``. No format is a word said several times."""
    return name[: (name + name).find(name, 1)]


def read_details(raw: Raw, formats: Formats) -> list[ThinkingDelta]:
    """The thinking in a delta's or message's ``reasoning_details``; what cannot be read is left out."""
    if len(raw) <= len("[]"):
        return []
    try:
        details = _DETAILS.decode(raw) or []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    return [delta for detail in details if (delta := read_detail(detail, formats.of(detail))) is not None]


def read_detail(detail: Detail, name: str) -> ThinkingDelta | None:
    """One detail of the format ``name``, or None if there is nothing in it."""
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


def write_detail(delta: ThinkingDelta, index: int, *, first: bool = True) -> dict[str, Any]:
    """One detail for a client, which must send it back unchanged. ``first``: it begins its block."""
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
    if first:
        detail["format"] = delta.format
    detail["index"] = index
    return detail
