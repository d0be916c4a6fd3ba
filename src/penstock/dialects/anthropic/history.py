"""A neutral conversation -> Anthropic's ``system`` and ``messages``, in the order that it insists on (wire.turns).

Rules of the wire beyond that order (400 otherwise)
- Only our own signed thoughts go back, since another provider's signature is void here (wire facts, reasoning round trip).
- A final assistant turn (a prefill) does not end in blanks.
- Tool ids match ``[a-zA-Z0-9_-]+``.
"""

from collections.abc import Iterable

import msgspec

from penstock.base.chat import Document, Image, Message, Part, Thinking, ToolResult
from penstock.dialects.anthropic.media import document_block, image_block
from penstock.dialects.anthropic.shapes import FORMAT
from penstock.wire.notes import Notes
from penstock.wire.turns import NO_RESULT, Block, Blocks, History, write_turns

_THOUGHTS = ("thinking", "redacted_thinking")


def unsigned_loop(history: History) -> bool:
    """It ends in tool results whose calling turn has no thinking: a thinking budget is refused there."""
    last = history.last_two()
    return last is not None and last[1]["type"] == "tool_result" and last[0]["type"] not in _THOUGHTS


def write_history(messages: tuple[Message, ...], notes: Notes) -> History:
    """Translate a conversation without faults (see media.fault)."""
    return write_turns(messages, _Blocks(notes))


class _Blocks(Blocks):
    MADE_UP_ID = "toolu_made_up"

    def words(self, text: str) -> Block:
        return {"type": "text", "text": text}

    def cached(self, cache: str | None, blocks: list[Block]) -> None:
        if cache:
            ttl = {"ttl": "1h"} if cache == "1h" else {}
            blocks[-1]["cache_control"] = {"type": "ephemeral", **ttl}

    def is_thought(self, block: Block) -> bool:
        return block["type"] in _THOUGHTS

    def thinking(self, part: Thinking, blocks: list[Block]) -> None:
        if part.format != FORMAT:
            self.notes.add("thinking-dropped")
        elif part.redacted:
            blocks.append({"type": "redacted_thinking", "data": part.redacted})
        elif part.signature:
            blocks.append({"type": "thinking", "thinking": part.text, "signature": part.signature})
        else:
            self.notes.add("thinking-dropped")

    def call_block(self, wire_id: str, name: str, arguments: msgspec.Raw) -> Block:
        return {"type": "tool_use", "id": wire_id, "name": name, "input": arguments}

    def missing_block(self, wire_id: str) -> Block:
        return {"type": "tool_result", "tool_use_id": wire_id, "content": NO_RESULT, "is_error": True}

    def result_block(self, wire_id: str, part: ToolResult, text: str, images: list[Block]) -> Block:
        block: Block = {"type": "tool_result", "tool_use_id": wire_id}
        if images:
            block["content"] = [*([self.words(text)] if text.strip() else []), *images]
        elif text.strip():
            block["content"] = text
        if part.is_error:
            block["is_error"] = True
        return block

    def media(self, part: Part, blocks: list[Block]) -> bool:
        match part:
            case Image():
                blocks.append(self.picture(part))
            case Document():
                block, approximated = document_block(part)
                if approximated:
                    self.notes.add("document-as-text")
                blocks.append(block)
                self.cached(part.cache, blocks)
            case _:
                return False
        return True

    def picture(self, part: Image) -> Block:
        if part.detail not in (None, "auto"):
            self.notes.add("detail-dropped")
        blocks = [image_block(part)]
        self.cached(part.cache, blocks)
        return blocks[0]


def trim_prefill(history: History, notes: Notes) -> None:
    """A prefill must not end in blanks."""
    last = history.messages[-1]["content"][-1]
    if last["type"] == "text" and last["text"] != last["text"].rstrip():
        last["text"] = last["text"].rstrip()
        notes.add("prefill-trimmed")


def keep_breakpoints(groups: Iterable[list[Block]], limit: int, notes: Notes) -> None:
    """At most ``limit`` cache breakpoints (Anthropic's is 4): the last ones, as they cover the longest prefix."""
    marked = [block for group in groups for block in group if "cache_control" in block]
    for block in marked[:-limit]:
        del block["cache_control"]
        notes.add("cache_control-dropped")
