"""A neutral conversation -> Converse's ``system`` and ``messages``, in the order that it insists on.

Rules of the wire (ValidationException otherwise; API reference of Converse, read 2026-11)
- Roles alternate; the first turn is the user's; no turn is empty, no text is blank. Runs of one side are joined.
- A turn with toolUse blocks is followed by a user turn with exactly their toolResults. What is missing is made up as an
  error; a result that answers nothing becomes text.
- A user turn with a document has a text as well. Pictures and files stand in user turns only.
- Tool ids match ``[a-zA-Z0-9_.:-]{1,64}`` and are unique; others are rewritten, the same way in call and result.
- Of thoughts only signed ones go back, and only to the family that made them. A Claude's signature is good wherever that
  Claude is served (Anthropic's extended thinking guide), so that Anthropic's own come here too.

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
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
)
from penstock.dialects.bedrock.media import (
    audio_block,
    document_block,
    document_name,
    image_block,
    video_block,
)
from penstock.dialects.bedrock.models import Rules
from penstock.dialects.bedrock.reply import CLAUDE_FORMAT, FORMAT

Block = dict[str, Any]

_MISSING = "No result was recorded for this tool call."
_BLANK = "(empty message)"
_OPENING = "(The conversation begins with the assistant's words.)"
_ATTACHED = "(See the attached document.)"
_BAD_ID = re.compile(r"[^a-zA-Z0-9_.:-]")
_MAX_ID_CHARS = 64
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
    """The conversation as Converse takes it."""

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
        if len(self.messages) < 2 or "toolResult" not in self.messages[-1]["content"][0]:
            return False
        return "reasoningContent" not in self.messages[-2]["content"][0]


def write_history(messages: tuple[Message, ...], rules: Rules, notes: Notes) -> History:
    """Translate a conversation without faults (see media.fault)."""
    return _Writer(rules, notes).write(messages)


class _Writer:
    def __init__(self, rules: Rules, notes: Notes) -> None:
        self.rules = rules
        self.notes = notes
        self.turns: list[Block] = []
        self.used_ids: set[str] = set()
        self.used_names: set[str] = set()
        self.open_calls: dict[str, str] = {}  # the caller's id -> ours, of the last assistant turn
        self.names: dict[str, None] = {}

    def write(self, messages: tuple[Message, ...]) -> History:
        leading = 0
        while leading < len(messages) and messages[leading].role == "system":
            leading += 1
        system = [block for message in messages[:leading] for block in self.texts(message)]
        if leading == len(messages) and any("text" in block for block in system):
            # A conversation of instructions alone: the last one has to be the question.
            self.notes.add("system-as-user")
            last = max(index for index, block in enumerate(system) if "text" in block)
            self.push("user", [system[last]])
            system = system[:last]
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
            self.push("user", [{"text": _BLANK}])
        if self.turns[0]["role"] == "assistant":
            self.notes.add("user-turn-added")
            self.turns.insert(0, {"role": "user", "content": [{"text": _OPENING}]})
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
            blocks.append({"text": part.text})
            self.cached(part.cache, blocks)
        elif part.cache:
            self.notes.add("cache_control-dropped")

    def cached(self, cache: str | None, blocks: list[Block]) -> None:
        """A breakpoint stands after its block."""
        if not cache:
            return
        if self.rules.cache:
            blocks.append(cache_point(cache, self.rules, self.notes))
        else:
            self.notes.add("cache_control-dropped")

    def named(self, message: Message, blocks: list[Block]) -> None:
        """Converse has no name of a speaker: it goes before the first words."""
        if not message.name or not blocks:
            return
        self.notes.add("name-approximated")
        for block in blocks:
            if "text" in block:
                block["text"] = f"{message.name}: {block['text']}"
                return
        blocks.insert(0, {"text": f"(from {message.name})"})

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
                    case ToolResult():
                        self.notes.add("tool_result-dropped")
                    case _:
                        self.notes.add("assistant-media-dropped")
            self.named(message, blocks)
            before.extend(blocks)
        while before and not calls and "reasoningContent" in before[-1]:
            before.pop()
            self.notes.add("thinking-dropped")
        self.push("assistant", before + calls)

    def thinking(self, part: Thinking, blocks: list[Block]) -> None:
        ours = CLAUDE_FORMAT if self.rules.family == "claude" else FORMAT
        if part.redacted and part.format == FORMAT:
            blocks.append({"reasoningContent": {"redactedContent": part.redacted}})
        elif part.signature and part.format == ours:
            text = {"text": part.text, "signature": part.signature}
            blocks.append({"reasoningContent": {"reasoningText": text}})
        else:
            self.notes.add("thinking-dropped")

    def call(self, part: ToolCall) -> Block:
        wire_id = self.fresh_id(part.id)
        if part.id in self.open_calls:
            self.notes.add("tool_call-id-repeated")
        self.open_calls[part.id if part.id not in self.open_calls else wire_id] = wire_id
        self.names[part.name] = None
        return {"toolUse": {"toolUseId": wire_id, "name": part.name, "input": self.input(part.arguments)}}

    def fresh_id(self, given: str) -> str:
        base = (
            _BAD_ID.sub("_", given)[: _MAX_ID_CHARS - 4]
            if len(given) > _MAX_ID_CHARS
            else _BAD_ID.sub("_", given)
        )
        base = base or "tooluse_made_up"
        wire_id, count = base, 2
        while wire_id in self.used_ids:
            wire_id, count = f"{base[: _MAX_ID_CHARS - 4]}_{count}", count + 1
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
                self.notes.add("system-as-user")
                rest.extend(
                    {"text": f"<system>\n{block['text']}\n</system>"} if "text" in block else block
                    for block in self.texts(message)
                )
                continue
            blocks: list[Block] = []
            for part in message.parts:
                self.user_part(part, results, blocks)
            self.named(message, blocks)
            rest.extend(blocks)
        ordered: list[Block] = []
        for given, wire_id in self.open_calls.items():
            block = results.get(given)
            if block is None:
                self.notes.add("tool_result-missing")
                block = {
                    "toolResult": {"toolUseId": wire_id, "content": [{"text": _MISSING}], "status": "error"}
                }
            ordered.append(block)
        self.open_calls = {}
        if any("document" in block for block in rest) and not any("text" in block for block in rest):
            self.notes.add("text-added")
            rest.append({"text": _ATTACHED})
        self.push("user", ordered + rest)

    def user_part(self, part: Part, results: dict[str, Block], blocks: list[Block]) -> None:
        match part:
            case Text():
                self.text(part, blocks)
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
            case ToolResult():
                self.result(part, results, blocks)
            case Thinking() | ToolCall():
                self.notes.add("user-parts-dropped")

    def result(self, part: ToolResult, results: dict[str, Block], rest: list[Block]) -> None:
        wire_id = self.open_calls.get(part.id)
        images = [image_block(image) for image in part.images]
        if wire_id is None or part.id in results:
            self.notes.add("tool_result-orphaned")
            label = part.name or part.id
            rest.append({"text": f'<tool_result name="{label}">\n{part.text}\n</tool_result>'})
            rest.extend(images)
            return
        text = (
            part.text if part.text.strip() else "The tool failed without a message." if part.is_error else ""
        )
        content: list[Block] = [{"text": text}] if text or not images else []
        block: Block = {"toolUseId": wire_id, "content": [*content, *images]}
        if not text and not images:
            block["content"] = [{"text": "(no output)"}]
        if part.is_error:
            if self.rules.family in ("claude", "nova"):
                block["status"] = "error"
            else:
                self.notes.add("tool_result-error-dropped")
        results[part.id] = {"toolResult": block}


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
