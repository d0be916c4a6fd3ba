"""A neutral conversation -> turns that alternate, for an upstream API that insists on it (Anthropic's, Bedrock's).

Rules of such APIs
- Roles alternate; the first turn is the user's; there is at least one. Runs of one side are joined.
- A turn with tool calls is followed by a user turn that begins with exactly their results. What is missing is made up as
  an error result; a result that answers nothing becomes text.
- In an assistant turn thoughts come before tool calls and are never last.
- Text is never blank. Tool ids are unique; what a dialect's ids may not have in them is rewritten, the same way in call and
  result.

How a block looks is the dialect's: what ``Blocks`` leaves open. Whatever is changed beyond these rules is noted in ``Notes``.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from penstock.base.chat import Image, Message, Part, Text, Thinking, ToolCall, ToolResult
from penstock.wire.notes import Notes

Block = dict[str, Any]

NO_RESULT = "No result was recorded for this tool call."
NO_WORDS = "The tool failed without a message."
_BLANK = "(empty message)"
_OPENING = "(The conversation begins with the assistant's words.)"
_arguments = msgspec.json.Decoder(dict[str, msgspec.Raw])


class History(msgspec.Struct):
    """The conversation as the provider takes it."""

    system: list[Block]
    messages: list[Block]
    tool_names: tuple[str, ...]
    """Names of the tools called in it, in order."""

    @property
    def prefilled(self) -> bool:
        """It ends in the assistant's words, to be continued."""
        return bool(self.messages) and self.messages[-1]["role"] == "assistant"

    def last_two(self) -> tuple[Block, Block] | None:
        """The first blocks of the last two turns."""
        if len(self.messages) < 2:
            return None
        return self.messages[-2]["content"][0], self.messages[-1]["content"][0]


class Blocks:
    """How a dialect writes a conversation's parts. To inherit from; one object a conversation. Words have a key ``text``."""

    BAD_ID = re.compile(r"[^a-zA-Z0-9_-]")
    MAX_ID_CHARS: int | None = None
    MADE_UP_ID = "tool_made_up"

    def __init__(self, notes: Notes) -> None:
        self.notes = notes

    def words(self, text: str) -> Block:
        """A block of text."""
        raise NotImplementedError

    def cached(self, cache: str | None, blocks: list[Block]) -> None:
        """The last block ends a prefix that is to be cached."""
        raise NotImplementedError

    def is_thought(self, block: Block) -> bool:
        """Whether it may not be last."""
        raise NotImplementedError

    def thinking(self, part: Thinking, blocks: list[Block]) -> None:
        """A thought, if this provider takes it back."""
        raise NotImplementedError

    def call_block(self, wire_id: str, name: str, arguments: msgspec.Raw) -> Block:
        """A tool call."""
        raise NotImplementedError

    def missing_block(self, wire_id: str) -> Block:
        """The made-up result of a call that has none."""
        raise NotImplementedError

    def result_block(self, wire_id: str, part: ToolResult, text: str, images: list[Block]) -> Block:
        """A tool's result. ``text``: in an error never blank."""
        raise NotImplementedError

    def media(self, part: Part, blocks: list[Block]) -> bool:
        """A picture, a file ...; False for what a user's turn does not take."""
        raise NotImplementedError

    def picture(self, part: Image) -> Block:
        """A picture among a tool's results."""
        raise NotImplementedError

    def completed(self, blocks: list[Block]) -> list[Block]:
        """A user turn's blocks after its results, with what the provider wants beside them."""
        return blocks


def write_turns(messages: tuple[Message, ...], blocks: Blocks) -> History:
    """All of it. The conversation has no faults (the dialect's ``refuse`` has seen to it)."""
    return _Turns(blocks).write(messages)


class _Turns:
    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.notes = blocks.notes
        self.turns: list[Block] = []
        self.open_calls: dict[str, str] = {}
        """The caller's id -> ours, of the last assistant turn."""
        self._used_ids: set[str] = set()
        self._names: dict[str, None] = {}

    def write(self, messages: tuple[Message, ...]) -> History:
        leading = 0
        while leading < len(messages) and messages[leading].role == "system":
            leading += 1
        system = [block for message in messages[:leading] for block in self._texts(message)]
        if leading == len(messages) and any("text" in block for block in system):
            # A conversation of instructions alone: the last one has to be the question.
            self.notes.add("system-as-user")
            last = max(index for index, block in enumerate(system) if "text" in block)
            self._push("user", [system[last]])
            system = system[:last]
        for assistant, run in _runs(messages[leading:]):
            if assistant:
                self._assistant_turn(run)
            else:
                self._user_turn(run)
        if self.open_calls:
            self._user_turn([])
        if not self.turns or (self.turns[-1]["role"] == "assistant" and messages[-1].role != "assistant"):
            # The last words are blank. Without a stand-in the turn before would pass for a prefill.
            self.notes.add("empty-message-filled")
            self._push("user", [self.blocks.words(_BLANK)])
        if self.turns[0]["role"] == "assistant":
            self.notes.add("user-turn-added")
            self.turns.insert(0, {"role": "user", "content": [self.blocks.words(_OPENING)]})
        return History(system, self.turns, tuple(self._names))

    def _push(self, role: str, blocks: list[Block]) -> None:
        if not blocks:
            return
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"].extend(blocks)
        else:
            self.turns.append({"role": role, "content": blocks})

    def _texts(self, message: Message) -> list[Block]:
        blocks: list[Block] = []
        for part in message.parts:
            if isinstance(part, Text):
                self._text(part, blocks)
        self._named(message, blocks)
        return blocks

    def _text(self, part: Text, blocks: list[Block]) -> None:
        if part.text.strip():
            blocks.append(self.blocks.words(part.text))
            self.blocks.cached(part.cache, blocks)
        elif part.cache:
            self.notes.add("cache_control-dropped")

    def _named(self, message: Message, blocks: list[Block]) -> None:
        """These APIs have no name of a speaker: it goes before the first words."""
        if not message.name or not blocks:
            return
        self.notes.add("name-approximated")
        for block in blocks:
            if "text" in block:
                block["text"] = f"{message.name}: {block['text']}"
                return
        blocks.append(self.blocks.words(f"(from {message.name})"))

    # The assistant's side.

    def _assistant_turn(self, run: list[Message]) -> None:
        before: list[Block] = []
        calls: list[Block] = []
        for message in run:
            blocks: list[Block] = []
            for part in message.parts:
                match part:
                    case Text():
                        self._text(part, blocks)
                    case Thinking():
                        self.blocks.thinking(part, blocks)
                    case ToolCall():
                        calls.append(self._call(part))
                    case ToolResult():
                        self.notes.add("tool_result-dropped")
                    case _:
                        self.notes.add("assistant-media-dropped")
            self._named(message, blocks)
            before.extend(blocks)
        while before and not calls and self.blocks.is_thought(before[-1]):
            before.pop()
            self.notes.add("thinking-dropped")
        self._push("assistant", before + calls)

    def _call(self, part: ToolCall) -> Block:
        wire_id = self._fresh_id(part.id)
        if part.id in self.open_calls:
            self.notes.add("tool_call-id-repeated")
        self.open_calls[part.id if part.id not in self.open_calls else wire_id] = wire_id
        self._names[part.name] = None
        return self.blocks.call_block(wire_id, part.name, self._input(part.arguments))

    def _fresh_id(self, given: str) -> str:
        base, most = self.blocks.BAD_ID.sub("_", given) or self.blocks.MADE_UP_ID, self.blocks.MAX_ID_CHARS
        room = None if most is None else most - 4  # for "_999"
        if most is not None and len(base) > most:
            base = base[:room]
        wire_id, count = base, 2
        while wire_id in self._used_ids:
            wire_id, count = f"{base[:room]}_{count}", count + 1
        self._used_ids.add(wire_id)
        return wire_id

    def _input(self, arguments: str) -> msgspec.Raw:
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

    def _user_turn(self, run: list[Message]) -> None:
        results: dict[str, Block] = {}
        rest: list[Block] = []
        for message in run:
            if message.role == "system":
                rest.extend(self._late_system(message))
                continue
            blocks: list[Block] = []
            for part in message.parts:
                self._user_part(part, results, blocks)
            self._named(message, blocks)
            rest.extend(blocks)
        ordered: list[Block] = []
        for given, wire_id in self.open_calls.items():
            block = results.get(given)
            if block is None:
                self.notes.add("tool_result-missing")
                block = self.blocks.missing_block(wire_id)
            ordered.append(block)
        self.open_calls = {}
        self._push("user", ordered + self.blocks.completed(rest))

    def _late_system(self, message: Message) -> list[Block]:
        self.notes.add("system-as-user")
        return [
            {**block, "text": f"<system>\n{block['text']}\n</system>"} if "text" in block else block
            for block in self._texts(message)
        ]

    def _user_part(self, part: Part, results: dict[str, Block], blocks: list[Block]) -> None:
        match part:
            case Text():
                self._text(part, blocks)
            case ToolResult():
                self._result(part, results, blocks)
            case _:
                if not self.blocks.media(part, blocks):
                    self.notes.add("user-parts-dropped")

    def _result(self, part: ToolResult, results: dict[str, Block], rest: list[Block]) -> None:
        wire_id = self.open_calls.get(part.id)
        images = [self.blocks.picture(image) for image in part.images]
        if wire_id is None or part.id in results:
            self.notes.add("tool_result-orphaned")
            label = part.name or part.id
            rest.append(self.blocks.words(f'<tool_result name="{label}">\n{part.text}\n</tool_result>'))
            rest.extend(images)
            return
        text = part.text if part.text.strip() or not part.is_error else NO_WORDS
        results[part.id] = self.blocks.result_block(wire_id, part, text, images)


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
