"""How a stream leaves for a Gemini caller: server-sent events, or one JSON array in pieces.

Rules
- With ``alt=sse``: ``data: {json}`` lines, a blank line after each, no comments, no ``[DONE]`` (google-genai raises on a
  comment line; measured 2026-11). Without: ``[{...}``, then ``,{...}``, then ``]``.
- An array is opened by its first piece, whoever writes it: the ask keeps in mind that it is open (``begun``).
"""

from penstock.dialects.gemini.envelope import GeminiAsk

_LEAD = b",\r\n"
JSON = b"application/json; charset=UTF-8"


def content_type(ask: GeminiAsk) -> bytes:
    """Of the reply; b"" where the common one is right."""
    return JSON if ask.framing == "array" else b""


def frame(ask: GeminiAsk, json: bytes) -> bytes:
    """One piece of a stream."""
    if ask.framing != "array":
        return b"data: " + json + b"\r\n\r\n"
    lead = _LEAD if ask.begun else b"["
    ask.begun = True
    return lead + json


def ending(ask: GeminiAsk) -> bytes:
    """What closes a stream."""
    if ask.framing != "array":
        return b""
    return b"]" if ask.begun else b"[]"
