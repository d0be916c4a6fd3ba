"""Another provider's proof of reasoning, carried through a Gemini caller in ``thoughtSignature``.

Theory
------
A Gemini client sends each part back as it came, and knows one place for opaque state: ``thoughtSignature``, bytes in
base64. What Anthropic or an OpenAI-shaped provider demands back is put there behind a mark of our own: then it is known
for what it is when it returns, goes to the provider that made it, and never to Google, who would refuse it.

Rules
- Clients decode and encode the bytes again, so either alphabet of base64, with padding or without, is read.
- ``PREFIX`` is how every mark begins in base64: twelve characters, the same in both alphabets.
"""

import base64
import binascii

import msgspec
from msgspec import Struct

from penstock.base.chat import Thinking
from penstock.base.events import ThinkingDelta

_MARK = b"penstock:"
PREFIX = base64.b64encode(_MARK)
MAX_MARK_BYTES = 4 * 1024 * 1024


class _Block(Struct, array_like=True):
    """One block of reasoning, as ``Thinking``."""

    format: str
    signature: str = ""
    redacted: str = ""
    text: str = ""
    tool_id: str = ""


_encode = msgspec.json.Encoder().encode
_BLOCKS = msgspec.json.Decoder(list[_Block])


def standard(data: str) -> str:
    """Base64 in the alphabet that all providers read, padded. google-genai sends the URL-safe one."""
    if "-" in data or "_" in data:
        data = data.replace("-", "+").replace("_", "/")  # str.translate takes seconds for a film
    lacking = -len(data) % 4
    return data + "=" * lacking if lacking else data


def mark(blocks: list[ThinkingDelta]) -> str:
    """``blocks`` as a thoughtSignature."""
    rows = [_Block(one.format, one.signature, one.redacted, one.text, one.tool_id) for one in blocks]
    return base64.b64encode(_MARK + _encode(rows)).decode()


def unmark(signature: str) -> list[Thinking] | None:
    """What a thoughtSignature of ours holds; None for Google's own. A spoilt one of ours holds nothing."""
    if not signature.startswith(PREFIX.decode()) or len(signature) > MAX_MARK_BYTES:
        return None
    try:
        rows = _BLOCKS.decode(base64.b64decode(standard(signature))[len(_MARK) :])
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
        return []
    return [
        Thinking(
            text=row.text,
            signature=row.signature,
            format=row.format,
            redacted=row.redacted,
            tool_id=row.tool_id,
        )
        for row in rows
    ]
