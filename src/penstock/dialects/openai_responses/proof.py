"""Thinking as a reasoning item, both ways: whose opaque state ``encrypted_content`` holds.

Rules
- What we translate goes sealed, with all that its maker will ask for again: a caller of this API gives items back whole, and
  knows no other field for it. OpenAI's own state too (``openai-responses-v1``), for it holds only under its item's own id.
- What OpenAI itself has sent a caller comes back as it is.
- A seal is opaque, not secret: its maker's signature in it is what proves anything.
"""

import base64
from typing import Any

import msgspec
from msgspec import Struct

from penstock.base.chat import Thinking
from penstock.base.events import ThinkingDelta
from penstock.dialects.openai_responses.shapes import Item

FORMAT = "openai-responses-v1"
MARK = "penstock-thinking-v1."


class _Sealed(Struct, omit_defaults=True):
    format: str
    text: str = ""
    signature: str = ""
    redacted: str = ""
    tool_id: str = ""


_decode = msgspec.json.Decoder(_Sealed).decode


def seal(thought: ThinkingDelta | Thinking) -> str | None:
    """``encrypted_content`` for a whole block of thinking; None where there is nothing to prove it."""
    if not (thought.signature or thought.redacted):
        return None
    sealed = _Sealed(thought.format, thought.text, thought.signature, thought.redacted, thought.tool_id)
    return MARK + base64.urlsafe_b64encode(msgspec.json.encode(sealed)).decode()


def is_sealed(encrypted: str) -> bool:
    """True for a seal of ours: OpenAI could not decrypt it."""
    return encrypted.startswith(MARK)


def unseal(item: Item) -> list[Thinking]:
    """A reasoning item as the thinking it was made of; empty where nothing is left of it."""
    text = "\n\n".join(part.text or "" for part in item.summary or ())
    if not text and isinstance(item.content, list):
        text = "".join(part.text or "" for part in item.content)
    encrypted = item.encrypted_content or ""
    if is_sealed(encrypted):
        try:
            sealed = _decode(base64.urlsafe_b64decode(encrypted.removeprefix(MARK)))
        except (ValueError, msgspec.DecodeError):
            return [Thinking(text)] if text else []
        text = sealed.text or text
        if sealed.format != FORMAT:
            return [Thinking(text, sealed.signature, sealed.format, sealed.redacted, sealed.tool_id)]
        shown = [Thinking(text, format=FORMAT)] if text else []
        return [*shown, Thinking(redacted=sealed.redacted, format=FORMAT, tool_id=sealed.tool_id)]
    if encrypted:
        # Two blocks, as the alphabet tells them: what may be shown, and the state that goes back with the item's id.
        shown = [Thinking(text, format=FORMAT)] if text else []
        return [*shown, Thinking(redacted=encrypted, format=FORMAT, tool_id=item.id or "")]
    return [Thinking(text)] if text else []


def opened(item: dict[str, Any]) -> dict[str, Any] | None:
    """A reasoning item as OpenAI sent it; None where its proof is another maker's, or not there."""
    encrypted = item.get("encrypted_content")
    if not isinstance(encrypted, str) or not encrypted:
        return None
    if not is_sealed(encrypted):
        return item
    thoughts = unseal(Item(encrypted_content=encrypted))
    last = thoughts[-1] if thoughts else Thinking()
    if last.format != FORMAT or not last.redacted:
        return None
    summary = [{"type": "summary_text", "text": thought.text} for thought in thoughts[:-1]]
    own = {"id": last.tool_id} if last.tool_id else {}
    return {"type": "reasoning", **own, "summary": summary, "encrypted_content": last.redacted}
