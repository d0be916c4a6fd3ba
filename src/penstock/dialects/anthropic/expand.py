"""The caller's Messages request as the neutral form, for a target of another dialect.

What the neutral form has no word for, and Anthropic would take back, goes to ``extras["anthropic"]``; what is lost or
changed on the way here stands in ``adjusted``. What would change the meaning is refused: Anthropic's own tools, files that
live there.
"""

import base64
from typing import Any

import msgspec
from msgspec import Raw

from penstock.base.chat import (
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from penstock.base.errors import BadRequest
from penstock.dialects.anthropic.carried import read_carried
from penstock.dialects.anthropic.envelope import GATEWAY_FIELDS, REMEDIES, MessagesAsk, begins, is_nothing
from penstock.dialects.anthropic.turns import Block, Body, CacheControl, Choice, Format, Source, ToolDef, Turn
from penstock.wire.notes import Notes
from penstock.wire.preferences import provider_losses
from penstock.wire.unreadable import unreadable

BETAS = "anthropic-beta"
"""Stands in the extras for the header of that name."""
_KNOWN = frozenset(Body.__struct_fields__) | {"model", "stream", "thinking", "metadata"} | set(GATEWAY_FIELDS)
_OUTPUT_KNOWN = frozenset({"effort", "format"})
_body = msgspec.json.Decoder(Body)
_fields = msgspec.json.Decoder(dict[str, Raw])
_format = msgspec.json.Decoder(Format)
_blocks = msgspec.json.Decoder(list[Block])
_text = msgspec.json.Decoder(str)
_TIERS = {"auto": "auto", "standard_only": "default"}
_NULL = Raw(b"null")
_SEPARATOR = "\n"


def expand(ask: MessagesAsk) -> ChatRequest:
    """The neutral request. Raises BadRequest naming the field."""
    notes = Notes()
    try:
        body = _body.decode(ask.body)
        extras = _extras(ask, _fields.decode(ask.body), notes)
        wanted = _response_format(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error, ask.body, REMEDIES) from None
    if body.max_tokens == 0:
        raise BadRequest(
            "max_tokens 0 (warming a cache) means something to Anthropic only.",
            param="max_tokens",
            hint="Send at least 1.",
        )
    choice = _tool_choice(body.tool_choice)
    parallel = body.tool_choice is None or body.tool_choice.disable_parallel_tool_use is not True
    return ChatRequest(
        model=ask.model,
        messages=_Reader(notes).read(body),
        stream=ask.stream,
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        stop=tuple(body.stop_sequences or ()),
        tools=tuple(_tool(tool, index, notes) for index, tool in enumerate(body.tools or ())),
        tool_choice=choice,
        parallel_tool_calls=None if parallel else False,
        response_format=wanted,
        reasoning=ask.reasoning,
        user=ask.user or None,
        service_tier=_TIERS.get(body.service_tier, body.service_tier) if body.service_tier else None,
        extras={"anthropic": extras} if extras else {},
        adjusted=notes.words(),
    )


def _extras(ask: MessagesAsk, fields: dict[str, Raw], notes: Notes) -> dict[str, Any]:
    extras: dict[str, Any] = {
        name: msgspec.json.decode(raw) for name, raw in fields.items() if name not in _KNOWN and raw != _NULL
    }
    if "metadata" in fields and fields["metadata"] != _NULL:
        for name in _fields.decode(fields["metadata"]):
            if name != "user_id":
                notes.add(f"metadata.{name}-dropped")
    if "provider" in fields:
        for word in provider_losses(bytes(fields["provider"])):
            notes.add(word)
    if "output_config" in fields and fields["output_config"] != _NULL:
        given = _fields.decode(fields["output_config"])
        for name in given:
            if name not in _OUTPUT_KNOWN:
                notes.add(f"output_config.{name}-dropped")
        wish = ask.reasoning
        if "effort" in given and (wish is None or (wish.max_tokens or 0) > 0):
            notes.add("output_config.effort-dropped")
    if ask.reasoning is None and fields.get("thinking", _NULL) != _NULL:
        notes.add("thinking-dropped")
    if ask.betas:
        extras[BETAS] = ask.betas
    return extras


def _response_format(body: Body) -> ResponseFormat | None:
    output = body.output_config
    if output is None or is_nothing(output.format):
        return None
    return ResponseFormat("json_schema", _format.decode(output.format).schema)


def _tool(tool: ToolDef, index: int, notes: Notes) -> Tool:
    if tool.type not in (None, "custom"):
        raise BadRequest(
            f"A tool of type {tool.type!r} can go only to Anthropic.",
            param=f"tools.{index}.type",
            hint="Use a tool of your own, with an input_schema.",
        )
    for name, raw in (("input_examples", tool.input_examples), ("allowed_callers", tool.allowed_callers)):
        if not is_nothing(raw):
            notes.add(f"tools.{name}-dropped")
    if tool.defer_loading:
        notes.add("tools.defer_loading-dropped")
    return Tool(tool.name, tool.description or "", tool.input_schema, tool.strict, _cache(tool.cache_control))


def _tool_choice(choice: Choice | None) -> ToolChoice | None:
    if choice is None:
        return None
    match choice.type:
        case "auto" | "none":
            return ToolChoice(choice.type)
        case "any":
            return ToolChoice("required")
        case "tool" if choice.name:
            return ToolChoice("named", (choice.name,))
        case _:
            raise BadRequest(
                f"tool_choice: {choice.type[:40]!r} is no choice.",
                param="tool_choice",
                hint='Send {"type": "auto"}, "any", "none", or "tool" with a name.',
            )


def _cache(control: CacheControl | None) -> str | None:
    return None if control is None else control.ttl or "5m"


class _Reader:
    """The conversation. ``names`` are the tools called in it, by call id."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.names: dict[str, str] = {}

    def read(self, body: Body) -> tuple[Message, ...]:
        messages: list[Message] = []
        system = body.system
        if system:
            blocks = [Block("text", system)] if isinstance(system, str) else system
            messages.append(Message("system", tuple(self.instructions(blocks))))
        last = len(body.messages) - 1
        for index, turn in enumerate(body.messages):
            if not turn.content and (turn.role != "assistant" or index < last):
                raise BadRequest(
                    f"messages.{index}: all messages must have non-empty content.",
                    param=f"messages.{index}.content",
                    hint="Leave the message out.",
                )
            self.turn(turn, f"messages.{index}", messages)
        return tuple(messages)

    def instructions(self, blocks: list[Block], at: str = "system") -> list[Part]:
        parts: list[Part] = []
        for index, block in enumerate(blocks):
            if block.type != "text":
                raise BadRequest(f"{at}.{index}.type: Input should be 'text'.", param=f"{at}.{index}")
            parts.append(Text(block.text, _cache(block.cache_control)))
        return parts

    def turn(self, turn: Turn, at: str, messages: list[Message]) -> None:
        if isinstance(turn.content, str):
            if turn.content:
                messages.append(Message(turn.role, (Text(turn.content),)))
            return
        if turn.role == "system":
            messages.append(Message("system", tuple(self.instructions(turn.content, f"{at}.content"))))
            return
        parts: list[Part] = []
        results: list[Message] = []
        for index, block in enumerate(turn.content):
            where = f"{at}.content.{index}"
            if turn.role == "assistant":
                self.said(block, where, parts)
            elif block.type == "tool_result":
                results.append(Message("tool", (self.result(block, where, parts),)))
            else:
                parts += self.shown(block, where)
        messages += results
        if parts:
            messages.append(Message(turn.role, tuple(parts)))

    def said(self, block: Block, where: str, parts: list[Part]) -> None:
        """One block of the assistant's."""
        match block.type:
            case "text":
                if not is_nothing(block.citations):
                    self.notes.add("citations-dropped")
                if block.text:
                    parts.append(Text(block.text, _cache(block.cache_control)))
            case "thinking":
                held = read_carried(block.signature)
                parts.append(Thinking(block.thinking, held.proof, held.format, "", held.tool_id))
            case "redacted_thinking":
                held = read_carried(block.data)
                parts.append(Thinking("", "", held.format, held.proof, held.tool_id))
            case "tool_use":
                self.lost_cache(block)
                self.names[block.id] = block.name
                raw = bytes(block.input)
                parts.append(ToolCall(block.id, block.name, "{}" if raw in (b"", b"null") else raw.decode()))
            case "image" | "document":
                parts += self.shown(block, where)
            case _:
                raise _foreign(block, where)

    def shown(self, block: Block, where: str) -> list[Part]:
        """One block of the user's, or of a tool's answer."""
        match block.type:
            case "text":
                return [Text(block.text, _cache(block.cache_control))]
            case "image":
                return [_image(block, where)]
            case "document":
                return self.document(block, where)
            case "search_result":
                self.notes.add("search_result-approximated")
                words = [part.text for part in self.inner(block.content, where) if isinstance(part, Text)]
                lines = [block.title or "", block.source if isinstance(block.source, str) else "", *words]
                return [Text(_SEPARATOR.join(line for line in lines if line), _cache(block.cache_control))]
            case _:
                raise _foreign(block, where)

    def document(self, block: Block, where: str) -> list[Part]:
        source, cache = _source(block, where), _cache(block.cache_control)
        if not is_nothing(block.citations):
            self.notes.add("document.citations-dropped")
        parts: list[Part] = []
        if block.context:
            self.notes.add("document.context-approximated")
            parts.append(Text(block.context))
        title = block.title or ""
        match source.type:
            case "base64":
                parts.append(Document(source.data, source.media_type, filename=title, cache=cache))
            case "text":
                data = base64.b64encode(source.data.encode("utf-8", "replace")).decode()
                mime = source.media_type or "text/plain"
                parts.append(Document(data, mime, filename=title, cache=cache))
            case "url":
                parts.append(Document(url=source.url, filename=title, cache=cache))
            case "file":
                parts.append(Document(file_id=source.file_id, filename=title, cache=cache))
            case "content":
                self.notes.add("document.content-approximated")
                parts += [Text(title)] if title else []
                parts += self.inner(source.content, where)
            case _:
                raise _no_source(source, where)
        return parts

    def result(self, block: Block, where: str, beside: list[Part]) -> ToolResult:
        """A tool's answer. A document in it stands beside it in the user's message."""
        if block.tool_use_id not in self.names:
            raise BadRequest(
                f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {block.tool_use_id[:80]}.",
                param=f"{where}.tool_use_id",
                hint="Send the assistant's message with its tool_use before the tool's answer.",
            )
        self.lost_cache(block)
        words: list[str] = []
        images: list[Image] = []
        for part in self.inner(block.content, where):
            match part:
                case Text(text=text):
                    words.append(text)
                case Image():
                    images.append(part)
                case _:
                    self.notes.add("tool_result.document-moved")
                    beside.append(part)
        name = self.names[block.tool_use_id]
        return ToolResult(
            block.tool_use_id, name, _SEPARATOR.join(words), block.is_error is True, tuple(images)
        )

    def inner(self, content: Raw, where: str) -> list[Part]:
        """Text, or blocks within a block."""
        if is_nothing(content):
            return []
        try:
            if begins(content, b'"'):
                return [Text(_text.decode(content))]
            blocks = _blocks.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadRequest(
                f"{where}.content is neither text nor a list of blocks.", param=f"{where}.content"
            ) from None
        parts: list[Part] = []
        for index, block in enumerate(blocks):
            parts += self.shown(block, f"{where}.content.{index}")
        return parts

    def lost_cache(self, block: Block) -> None:
        if block.cache_control is not None:
            self.notes.add("cache_control-dropped")


def _image(block: Block, where: str) -> Image:
    source, cache = _source(block, where), _cache(block.cache_control)
    match source.type:
        case "base64":
            return Image(data=source.data, mime=source.media_type, cache=cache)
        case "url":
            return Image(url=source.url, cache=cache)
        case "file":
            raise BadRequest(
                f"{where}: a picture by its file id can go only to Anthropic, where the file is.",
                param=f"{where}.source",
                hint="Send its bytes as base64, or a URL.",
            )
        case _:
            raise _no_source(source, where)


def _source(block: Block, where: str) -> Source:
    if isinstance(block.source, Source):
        return block.source
    raise BadRequest(f"{where}.source: Field required.", param=f"{where}.source")


def _no_source(source: Source, where: str) -> BadRequest:
    return BadRequest(
        f"{where}.source: {source.type[:40]!r} is no type of source.",
        param=f"{where}.source.type",
        hint="Send base64, url or file; a document also text or content.",
    )


def _foreign(block: Block, where: str) -> BadRequest:
    return BadRequest(
        f"{where}: a block of type {block.type[:60]!r} can go only to Anthropic.",
        param=f"{where}.type",
        hint="Leave it out, or choose a model of Anthropic's.",
    )
