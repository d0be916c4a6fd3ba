"""A neutral conversation -> Anthropic's ``system`` and ``messages``, in the order that it insists on.

Rules of the wire (400 otherwise)
- Roles alternate; the first turn is the user's; there is at least one. Runs of one side are joined.
- A turn with tool_use blocks is followed by a user turn that begins with exactly their tool_results. What is missing
  is made up as an error result; a result that answers nothing becomes text.
- In an assistant turn thinking comes before tool_use and is never last; only our own signed blocks go back, since
  another provider's signature is void here (wire facts, reasoning round trip).
- Text is never blank; a final assistant turn (a prefill) does not end in blanks.
- Tool ids match ``[a-zA-Z0-9_-]+`` and are unique; others are rewritten, the same way in call and result.

Whatever is changed beyond that is noted in ``Notes``.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from penstock.base.chat import (
    Audio,
    Document,
    Image,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
)
from penstock.dialects.anthropic.media import document_block, image_block
from penstock.dialects.anthropic.shapes import FORMAT

Block = dict[str, Any]

_MISSING = "No result was recorded for this tool call."
_BLANK = "(empty message)"
_OPENING = "(The conversation begins with the assistant's words.)"
_BAD_ID = re.compile(r"[^a-zA-Z0-9_-]")
_arguments = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Notes:
    """What was dropped or approximated: kebab-case words, each once, in order of their discovery."""

    __slots__ = ("_words",)

    def __init__(self) -> None:
        self._words: dict[str, None] = {}

    def add(self, word: str) -> None:
        """Note it."""
        self._words[word] = None

    def words(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self._words)


class History(msgspec.Struct):
    """The conversation as Anthropic takes it."""

    system: list[Block]
    messages: list[Block]
    tool_names: tuple[str, ...]
    """Names of the tools called in it, in order."""

    @property
    def prefilled(self) -> bool:
        """It ends in the assistant's words, to be continued."""
        return bool(self.messages) and self.messages[-1]["role"] == "assistant"

    @property
    def unsigned_loop(self) -> bool:
        """It ends in tool results whose calling turn has no thinking: a thinking budget is refused there."""
        if len(self.messages) < 2 or self.messages[-1]["content"][0]["type"] != "tool_result":
            return False
        return self.messages[-2]["content"][0]["type"] not in ("thinking", "redacted_thinking")


def write_history(messages: tuple[Message, ...], notes: Notes) -> History:
    """Translate a conversation without faults (see media.fault)."""
    return _Writer(notes).write(messages)


class _Writer:
    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.turns: list[Block] = []
        self.used_ids: set[str] = set()
        self.open_calls: dict[str, str] = {}  # the caller's id -> ours, of the last assistant turn
        self.names: dict[str, None] = {}

    def write(self, messages: tuple[Message, ...]) -> History:
        leading = 0
        while leading < len(messages) and messages[leading].role == "system":
            leading += 1
        system = [block for message in messages[:leading] for block in self.texts(message)]
        if leading == len(messages) and system:
            # A conversation of instructions alone: the last one has to be the question.
            self.notes.add("system-as-user")
            self.turns.append({"role": "user", "content": [system.pop()]})
        for assistant, run in _runs(messages[leading:]):
            if assistant:
                self.assistant_turn(run)
            else:
                self.user_turn(run)
        if self.open_calls:
            self.user_turn([])
        if not self.turns or (self.turns[-1]["role"] == "assistant" and messages[-1].role != "assistant"):
            # The last words are blank. Without a stand-in the turn before would pass for a prefill.
            self.notes.add("empty-message-filled")
            self.push("user", [{"type": "text", "text": _BLANK}])
        if self.turns[0]["role"] == "assistant":
            self.notes.add("user-turn-added")
            self.turns.insert(0, {"role": "user", "content": [{"type": "text", "text": _OPENING}]})
        return History(system, self.turns, tuple(self.names))

    def push(self, role: str, blocks: list[Block]) -> None:
        if not blocks:
            return
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"].extend(blocks)
        else:
            self.turns.append({"role": role, "content": blocks})

    def texts(self, message: Message) -> list[Block]:
        blocks: list[Block] = []
        for part in message.parts:
            if isinstance(part, Text):
                self.text(part, blocks)
        self.named(message, blocks)
        return blocks

    def text(self, part: Text, blocks: list[Block]) -> None:
        if part.text.strip():
            blocks.append(_cached({"type": "text", "text": part.text}, part.cache))
        elif part.cache:
            self.notes.add("cache_control-dropped")

    def named(self, message: Message, blocks: list[Block]) -> None:
        """Anthropic has no name of a speaker: it goes before the first words."""
        if not message.name or not blocks:
            return
        self.notes.add("name-approximated")
        for index, block in enumerate(blocks):
            if block["type"] == "text":
                blocks[index] = {**block, "text": f"{message.name}: {block['text']}"}
                return
        blocks.append({"type": "text", "text": f"(from {message.name})"})

    # The assistant's side.

    def assistant_turn(self, run: list[Message]) -> None:
        before: list[Block] = []
        calls: list[Block] = []
        for message in run:
            blocks: list[Block] = []
            for part in message.parts:
                match part:
                    case Text():
                        self.text(part, blocks)
                    case Thinking():
                        self.thinking(part, blocks)
                    case ToolCall():
                        calls.append(self.call(part))
                    case Image() | Document() | Audio() | Video():
                        self.notes.add("assistant-media-dropped")
                    case ToolResult():
                        self.notes.add("tool_result-dropped")
            self.named(message, blocks)
            before.extend(blocks)
        while before and not calls and before[-1]["type"] in ("thinking", "redacted_thinking"):
            before.pop()
            self.notes.add("thinking-dropped")
        self.push("assistant", before + calls)

    def thinking(self, part: Thinking, blocks: list[Block]) -> None:
        if part.format != FORMAT:
            self.notes.add("thinking-dropped")
        elif part.redacted:
            blocks.append({"type": "redacted_thinking", "data": part.redacted})
        elif part.signature:
            blocks.append({"type": "thinking", "thinking": part.text, "signature": part.signature})
        else:
            self.notes.add("thinking-dropped")

    def call(self, part: ToolCall) -> Block:
        wire_id = self.fresh_id(part.id)
        if part.id in self.open_calls:
            self.notes.add("tool_call-id-repeated")
        self.open_calls[part.id if part.id not in self.open_calls else wire_id] = wire_id
        self.names[part.name] = None
        return {"type": "tool_use", "id": wire_id, "name": part.name, "input": self.input(part.arguments)}

    def fresh_id(self, given: str) -> str:
        base = _BAD_ID.sub("_", given) or "toolu_made_up"
        wire_id, count = base, 2
        while wire_id in self.used_ids:
            wire_id, count = f"{base}_{count}", count + 1
        self.used_ids.add(wire_id)
        return wire_id

    def input(self, arguments: str) -> msgspec.Raw:
        """The arguments byte for byte (big numbers and key order survive), if they are an object."""
        raw = arguments.strip().encode("utf-8", "replace")
        if raw in (b"", b"null"):
            return msgspec.Raw(b"{}")
        try:
            _arguments.decode(raw)
        except msgspec.DecodeError:
            self.notes.add("tool_arguments-dropped")
            return msgspec.Raw(b"{}")
        return msgspec.Raw(raw)

    # The user's side: people, tools and late instructions.

    def user_turn(self, run: list[Message]) -> None:
        results: dict[str, Block] = {}
        rest: list[Block] = []
        for message in run:
            if message.role == "system":
                self.late_system(message, rest)
                continue
            blocks: list[Block] = []
            for part in message.parts:
                match part:
                    case Text():
                        self.text(part, blocks)
                    case Image():
                        blocks.append(self.image(part))
                    case Document():
                        blocks.append(self.document(part))
                    case ToolResult():
                        self.result(part, results, blocks)
                    case Thinking() | Audio() | Video() | ToolCall():
                        self.notes.add("user-parts-dropped")
            self.named(message, blocks)
            rest.extend(blocks)
        ordered: list[Block] = []
        for given, wire_id in self.open_calls.items():
            block = results.get(given)
            if block is None:
                self.notes.add("tool_result-missing")
                block = {"type": "tool_result", "tool_use_id": wire_id, "content": _MISSING, "is_error": True}
            ordered.append(block)
        self.open_calls = {}
        self.push("user", ordered + rest)

    def late_system(self, message: Message, rest: list[Block]) -> None:
        self.notes.add("system-as-user")
        rest.extend(
            {**block, "text": f"<system>\n{block['text']}\n</system>"} for block in self.texts(message)
        )

    def result(self, part: ToolResult, results: dict[str, Block], rest: list[Block]) -> None:
        wire_id = self.open_calls.get(part.id)
        images = [self.image(image) for image in part.images]
        if wire_id is None or part.id in results:
            self.notes.add("tool_result-orphaned")
            label = part.name or part.id
            rest.append(
                {"type": "text", "text": f'<tool_result name="{label}">\n{part.text}\n</tool_result>'}
            )
            rest.extend(images)
            return
        block: Block = {"type": "tool_result", "tool_use_id": wire_id}
        text = part.text if part.text.strip() or not part.is_error else "The tool failed without a message."
        if images:
            words = [{"type": "text", "text": text}] if text.strip() else []
            block["content"] = [*words, *images]
        elif text.strip():
            block["content"] = text
        if part.is_error:
            block["is_error"] = True
        results[part.id] = block

    def image(self, part: Image) -> Block:
        if part.detail not in (None, "auto"):
            self.notes.add("detail-dropped")
        return _cached(image_block(part), part.cache)

    def document(self, part: Document) -> Block:
        block, approximated = document_block(part)
        if approximated:
            self.notes.add("document-as-text")
        return _cached(block, part.cache)


def _runs(messages: Iterable[Message]) -> list[tuple[bool, list[Message]]]:
    """Runs of one side: (is it the assistant's, its messages)."""
    runs: list[tuple[bool, list[Message]]] = []
    for message in messages:
        assistant = message.role == "assistant"
        if runs and runs[-1][0] is assistant:
            runs[-1][1].append(message)
        else:
            runs.append((assistant, [message]))
    return runs


def _cached(block: Block, cache: str | None) -> Block:
    if cache:
        block["cache_control"] = (
            {"type": "ephemeral", "ttl": "1h"} if cache == "1h" else {"type": "ephemeral"}
        )
    return block


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
