"""A neutral conversation -> Converse's ``system`` and ``messages``, in the order that it insists on (wire.turns).

Rules of the wire beyond that order (ValidationException otherwise; API reference of Converse, read 2026-11)
- A user turn with a document has a text as well. Pictures and files stand in user turns only.
- Tool ids match ``[a-zA-Z0-9_.:-]{1,64}``.
- Of thoughts only signed ones go back, and only to the family that made them. A Claude's signature is good wherever that
  Claude is served (Anthropic's extended thinking guide), so that Anthropic's own come here too.
"""

import re
from collections.abc import Iterable

import msgspec

from penstock.base.chat import Audio, Document, Image, Message, Part, Thinking, ToolResult, Video
from penstock.dialects.bedrock.media import (
    audio_block,
    document_block,
    document_name,
    image_block,
    video_block,
)
from penstock.dialects.bedrock.models import Rules
from penstock.dialects.bedrock.reply import CLAUDE_FORMAT, FORMAT
from penstock.wire.notes import Notes
from penstock.wire.turns import NO_RESULT, Block, Blocks, History, write_turns

_ATTACHED = "(See the attached document.)"


def unsigned_loop(history: History) -> bool:
    """It ends in tool results whose calling turn has no thinking: a thinking budget is refused there."""
    last = history.last_two()
    return last is not None and "toolResult" in last[1] and "reasoningContent" not in last[0]


def write_history(messages: tuple[Message, ...], rules: Rules, notes: Notes) -> History:
    """Translate a conversation without faults (see media.fault)."""
    return write_turns(messages, _Blocks(rules, notes))


class _Blocks(Blocks):
    BAD_ID = re.compile(r"[^a-zA-Z0-9_.:-]")
    MAX_ID_CHARS = 64
    MADE_UP_ID = "tooluse_made_up"

    def __init__(self, rules: Rules, notes: Notes) -> None:
        super().__init__(notes)
        self.rules = rules
        self.used_names: set[str] = set()

    def words(self, text: str) -> Block:
        return {"text": text}

    def cached(self, cache: str | None, blocks: list[Block]) -> None:
        """A breakpoint stands after its block."""
        if not cache:
            return
        if self.rules.cache:
            blocks.append(cache_point(cache, self.rules, self.notes))
        else:
            self.notes.add("cache_control-dropped")

    def is_thought(self, block: Block) -> bool:
        return "reasoningContent" in block

    def thinking(self, part: Thinking, blocks: list[Block]) -> None:
        ours = CLAUDE_FORMAT if self.rules.family == "claude" else FORMAT
        if part.redacted and part.format == FORMAT:
            blocks.append({"reasoningContent": {"redactedContent": part.redacted}})
        elif part.signature and part.format == ours:
            text = {"text": part.text, "signature": part.signature}
            blocks.append({"reasoningContent": {"reasoningText": text}})
        else:
            self.notes.add("thinking-dropped")

    def call_block(self, wire_id: str, name: str, arguments: msgspec.Raw) -> Block:
        return {"toolUse": {"toolUseId": wire_id, "name": name, "input": arguments}}

    def missing_block(self, wire_id: str) -> Block:
        return {"toolResult": {"toolUseId": wire_id, "content": [{"text": NO_RESULT}], "status": "error"}}

    def result_block(self, wire_id: str, part: ToolResult, text: str, images: list[Block]) -> Block:
        text = text if text.strip() else ""
        content: list[Block] = [{"text": text}] if text or not images else []
        block: Block = {"toolUseId": wire_id, "content": [*content, *images]}
        if not text and not images:
            block["content"] = [{"text": "(no output)"}]
        if part.is_error:
            if self.rules.family in ("claude", "nova"):
                block["status"] = "error"
            else:
                self.notes.add("tool_result-error-dropped")
        return {"toolResult": block}

    def media(self, part: Part, blocks: list[Block]) -> bool:
        match part:
            case Image():
                if part.detail not in (None, "auto"):
                    self.notes.add("detail-dropped")
                blocks.append(image_block(part))
                self.cached(part.cache, blocks)
            case Document():
                blocks.append(document_block(part, document_name(part.filename, self.used_names)))
                self.cached(part.cache, blocks)
            case Audio():
                blocks.append(audio_block(part))
            case Video():
                blocks.append(video_block(part))
            case _:
                return False
        return True

    def picture(self, part: Image) -> Block:
        return image_block(part)

    def completed(self, blocks: list[Block]) -> list[Block]:
        if any("document" in block for block in blocks) and not any("text" in block for block in blocks):
            self.notes.add("text-added")
            blocks.append({"text": _ATTACHED})
        return blocks


def cache_point(cache: str, rules: Rules, notes: Notes) -> Block:
    """A breakpoint. One hour is a Claude's alone; 5 minutes is what none of them needs to be told."""
    point: dict[str, str] = {"type": "default"}
    if cache == "1h":
        if rules.family == "claude":
            point["ttl"] = "1h"
        else:
            notes.add("cache-ttl-dropped")
    return {"cachePoint": point}


def keep_breakpoints(groups: Iterable[list[Block]], limit: int, notes: Notes) -> None:
    """At most ``limit`` cache breakpoints (4 a request): the last ones, as they cover the longest prefix."""
    held = list(groups)
    surplus = sum("cachePoint" in block for group in held for block in group) - limit
    for group in held:
        kept: list[Block] = []
        for block in group:
            if surplus > 0 and "cachePoint" in block:
                surplus -= 1
                notes.add("cache_control-dropped")
            else:
                kept.append(block)
        group[:] = kept
