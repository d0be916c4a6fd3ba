"""A neutral conversation -> Cohere's ``messages`` and ``documents``; and which parts Cohere cannot take.

Rules of the wire (400 otherwise)
- Every tool call is answered by one ``tool`` message, right after the turn that made it. What is missing is made up; a
  result that answers nothing becomes the user's words.
- A tool's result is a JSON object as text, or a list of blocks. Pictures in it follow in the user's name.
- Textual files are ``documents``, which Cohere cites; beside tools or a response_format it takes none, and they become
  text. The SDK's types know no other files, sounds or films.
- Thoughts (and the plan before tool calls) go back as they came, but for another provider's.
"""

import base64
import binascii
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
from penstock.base.decisions import Rejected
from penstock.dialects.cohere.reply import FORMAT, PLAN_FORMAT
from penstock.wire.notes import Notes

Block = dict[str, Any]

_MISSING = '{"error":"No result was recorded for this tool call."}'
_BLANK = "(empty message)"
_TEXTUAL = ("application/json", "application/xml", "application/yaml")
_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class History(msgspec.Struct):
    """The conversation as Cohere takes it."""

    messages: list[Block]
    documents: list[Block]


def fault(part: Part, where: str) -> Rejected | None:
    """Why a part cannot go to Cohere, or None. ``where`` is its path in the caller's body."""
    match part:
        case Audio():
            return _no(
                "audio-unsupported", where, "Cohere's chat takes no sound", "Send a transcript as text"
            )
        case Video():
            return _no("video-unsupported", where, "Cohere's chat takes no video", "Send pictures of it")
        case Image(url=url, data=data):
            if data or url.startswith(("data:", "https://", "http://")):
                return None
            return _no("image-url", where, "Cohere fetches images from web addresses only", "Send the bytes")
        case Document():
            return _document_fault(part, where)
        case _:
            return None


def _document_fault(document: Document, where: str) -> Rejected | None:
    if document.file_id:
        return _no("file-id", where, "Cohere does not know this file id", "Send the file's text instead")
    if document.url and not document.url.startswith("data:"):
        return _no(
            "document-url", where, "Cohere's chat fetches no documents", "Send the file's text instead"
        )
    if _text_of(document) is None:
        return _no(
            "document-format",
            where,
            f"Cohere's chat takes text, not {document.mime or 'a file of unknown type'}",
            "Send the file's text",
        )
    return None


def _no(code: str, where: str, what: str, remedy: str) -> Rejected:
    return Rejected(code, f"{what} ({where}). {remedy}.", param=where, caller_fault=True)


def _text_of(document: Document) -> str | None:
    """The words of a textual file, or None."""
    data, mime = document.data, document.mime
    if not data and document.url.startswith("data:"):
        head, _, data = document.url.partition(",")
        mime = mime or head[5:]
    mime = mime.lower().partition(";")[0].strip()
    if not (mime.startswith("text/") or mime in _TEXTUAL):
        return None
    try:
        text = base64.b64decode(data, validate=False).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return text if text.strip() else None


def write_history(messages: tuple[Message, ...], notes: Notes, *, with_documents: bool) -> History:
    """Translate a conversation without faults (see ``fault``)."""
    writer = _Writer(notes, with_documents=with_documents)
    for message in messages:
        writer.message(message)
    return writer.end()


class _Writer:
    def __init__(self, notes: Notes, *, with_documents: bool) -> None:
        self.notes = notes
        self.with_documents = with_documents
        self.messages: list[Block] = []
        self.documents: list[Block] = []
        self.open_calls: dict[
            str, str
        ] = {}  # the caller's id -> ours, of the last assistant turn, not yet answered
        self.used_ids: set[str] = set()
        self.late: list[Block] = []  # what follows the results of a turn's tools

    def end(self) -> History:
        self.close_calls()
        if not self.messages or self.messages[-1]["role"] not in ("user", "tool"):
            # Nothing but instructions, or a last message of blanks: Cohere wants a question.
            self.notes.add("empty-message-filled")
            self.messages.append({"role": "user", "content": _BLANK})
        return History(self.messages, self.documents)

    def message(self, message: Message) -> None:
        if message.name:
            self.notes.add("name-approximated")
        if message.role == "tool" or any(isinstance(part, ToolResult) for part in message.parts):
            for part in message.parts:
                if isinstance(part, ToolResult):
                    self.result(part)
            rest = tuple(part for part in message.parts if not isinstance(part, ToolResult))
            if rest:
                self.user(rest, "")
            return
        if message.role == "user":
            self.user(message.parts, message.name)
            return
        self.close_calls()
        if message.role == "assistant":
            self.assistant(message)
        elif text := "".join(part.text for part in message.parts if isinstance(part, Text)):
            if any(isinstance(part, Text) and part.cache for part in message.parts):
                self.notes.add("cache_control-dropped")
            self.messages.append({"role": "system", "content": _named(message.name, text)})

    def close_calls(self) -> None:
        """No further results come: make up what is missing."""
        for wire_id in self.open_calls.values():
            self.notes.add("tool_result-missing")
            self.messages.append({"role": "tool", "tool_call_id": wire_id, "content": _MISSING})
        self.open_calls = {}
        if self.late:
            self.messages.append({"role": "user", "content": self.late})
            self.late = []

    def assistant(self, message: Message) -> None:
        turn: Block = {"role": "assistant"}
        plan: list[str] = []
        content: list[Block] = []
        calls: list[Block] = []
        for part in message.parts:
            match part:
                case Text(text=text) if text:
                    content.append({"type": "text", "text": text})
                case Thinking(text=text, format=form) if text and form == PLAN_FORMAT:
                    plan.append(text)
                case Thinking(text=text, format=form) if text and form == FORMAT:
                    content.append({"type": "thinking", "thinking": text})
                case Thinking():
                    self.notes.add("thinking-dropped")
                case ToolCall():
                    calls.append(self.call(part))
                case Text():
                    pass
                case _:
                    self.notes.add("assistant-media-dropped")
        if plan and calls:
            turn["tool_plan"] = "".join(plan)
        elif plan:
            self.notes.add("thinking-dropped")
        if content:
            simple = len(content) == 1 and content[0]["type"] == "text"
            turn["content"] = content[0]["text"] if simple else content
        if calls:
            turn["tool_calls"] = calls
        if len(turn) > 1:
            self.messages.append(turn)

    def call(self, part: ToolCall) -> Block:
        base = part.id or "call_made_up"
        wire_id, count = base, 2
        while wire_id in self.used_ids:
            wire_id, count = f"{base}_{count}", count + 1
        if wire_id != part.id:
            self.notes.add("tool_call-id-repeated")
        self.used_ids.add(wire_id)
        self.open_calls[part.id if part.id not in self.open_calls else wire_id] = wire_id
        arguments = part.arguments.strip() or "{}"
        if not _is_object(arguments):
            self.notes.add("tool_arguments-dropped")
            arguments = "{}"
        return {"id": wire_id, "type": "function", "function": {"name": part.name, "arguments": arguments}}

    def result(self, part: ToolResult) -> None:
        images = [self.image(image) for image in part.images]
        if images:
            self.notes.add("tool_result-images-moved")
            self.late.extend(images)
        wire_id = self.open_calls.pop(part.id, None)
        if wire_id is None:
            self.notes.add("tool_result-orphaned")
            label = part.name or part.id
            words = f'<tool_result name="{label}">\n{part.text}\n</tool_result>'
            self.late.append({"type": "text", "text": words})
            if not self.open_calls:
                self.close_calls()
            return
        content: str | list[Block] = part.text
        if part.is_error:
            content = _encode({"error": part.text or "The tool failed without a message."}).decode()
        elif not _is_object(part.text):
            content = [{"type": "text", "text": part.text or "(no output)"}]
        self.messages.append({"role": "tool", "tool_call_id": wire_id, "content": content})

    def user(self, parts: tuple[Part, ...], name: str) -> None:
        blocks: list[Block] = []
        for part in parts:
            match part:
                case Text(text=text, cache=cache):
                    if cache:
                        self.notes.add("cache_control-dropped")
                    if text:
                        blocks.append({"type": "text", "text": text})
                case Image():
                    blocks.append(self.image(part))
                case Document():
                    self.document(part, blocks)
                case _:
                    self.notes.add("user-parts-dropped")
        late, self.late = self.late, []
        self.close_calls()
        blocks = [*late, *blocks]
        if not blocks:
            self.notes.add("empty-message-filled")
            blocks = [{"type": "text", "text": _BLANK}]
        if name:
            first = next((block for block in blocks if block["type"] == "text"), None)
            if first is None:
                blocks.insert(0, {"type": "text", "text": f"(from {name})"})
            else:
                first["text"] = _named(name, first["text"])
        simple = len(blocks) == 1 and blocks[0]["type"] == "text"
        self.messages.append({"role": "user", "content": blocks[0]["text"] if simple else blocks})

    def image(self, part: Image) -> Block:
        if part.cache:
            self.notes.add("cache_control-dropped")
        url = f"data:{part.mime or 'image/png'};base64,{part.data}" if part.data else part.url
        image: Block = {"url": url}
        if part.detail in ("low", "high"):
            image["detail"] = part.detail
        elif part.detail not in (None, "auto"):
            self.notes.add("detail-dropped")
        return {"type": "image_url", "image_url": image}

    def document(self, part: Document, blocks: list[Block]) -> None:
        text = _text_of(part) or ""
        name = part.filename or f"document-{len(self.documents) + 1}"
        if part.cache:
            self.notes.add("cache_control-dropped")
        if self.with_documents:
            self.documents.append({"data": {"title": name, "text": text}})
            return
        self.notes.add("document-as-text")
        blocks.append({"type": "text", "text": f'<document name="{name}">\n{text}\n</document>'})


def _named(name: str, text: str) -> str:
    """Cohere has no name of a speaker: it goes before the words."""
    return f"{name}: {text}" if name else text


def _is_object(text: str) -> bool:
    if text.lstrip()[:1] != "{":
        return False
    try:
        _object.decode(text.encode("utf-8", "replace"))
    except msgspec.DecodeError:
        return False
    return True
