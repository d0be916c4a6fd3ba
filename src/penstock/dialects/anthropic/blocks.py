"""Events -> content blocks, one after the other, as Anthropic's format has them; for streams and whole messages alike.

Theory
------
Anthropic's blocks are sequential: one is open, and only it grows. Our events are freer: calls of several tools may grow by
turns (OpenAI allows it). So while a tool's block is open and its arguments are not whole, what belongs to others waits, in
order. Arguments that are whole close the block as soon as something else comes; so does the end of the reply.

A block of thoughts ends with its signature. Thoughts that nobody signed, or another provider did, get one of ours
(``carried``), so that they come back with all that their maker needs.
"""

import re
from typing import Any

import msgspec

from penstock.base.events import (
    Content,
    MediaMade,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolStarted,
)
from penstock.dialects.anthropic.carried import write_carried
from penstock.dialects.anthropic.shapes import FORMAT

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BAD_ID = re.compile(r"[^a-zA-Z0-9_-]")


class Blocks:
    """The order of blocks. Subclasses say what opening, growing and closing one makes: bytes of a stream, or nothing."""

    __slots__ = (
        "_arguments",
        "_exclude",
        "_name",
        "_open",
        "_signed",
        "_tool",
        "_waiting",
        "_whose",
        "called",
        "refusal",
    )

    def __init__(self, name: str, *, exclude: bool) -> None:
        self._name = name
        """Of the reply: a call without an id is named after it."""
        self._exclude = exclude
        self._open = ""
        self._tool = -1
        self._arguments: list[str] = []
        self._waiting: list[Content] = []
        self._whose = ""
        self._signed = False
        self.called = False
        self.refusal: list[str] = []

    # What a subclass says.

    def opened(self, block: dict[str, Any]) -> bytes:
        """A block begins."""
        raise NotImplementedError

    def grown(self, kind: str, field: str, text: str) -> bytes:
        """The open block grows."""
        raise NotImplementedError

    def closed(self, arguments: str) -> bytes:
        """The open block ends; a tool's with all its arguments."""
        raise NotImplementedError

    # The order.

    def take(self, event: Content) -> bytes:
        """One piece of content."""
        if self._open == "tool":
            if isinstance(event, ToolArgs) and event.index == self._tool:
                return self._argue(event.json)
            if self._waiting or not self._whole():
                self._waiting.append(event)
                return b""
        match event:
            case TextDelta(text=text):
                return self._say(text)
            case ThinkingDelta():
                return self._think(event)
            case RefusalDelta(text=text):
                self.refusal.append(text)
                return self._say(text)
            case ToolStarted():
                return self._call(event)
            case ToolArgs():
                return b""  # blanks after arguments that are whole
            case MediaMade():
                return self._show(event)
            case _:
                return b""  # of other operations

    def end(self) -> bytes:
        """No more content: what waits comes now, whole or not."""
        out = self._close()
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            out += b"".join([self.take(event) for event in waiting]) + self._close()
        return out

    def _say(self, text: str) -> bytes:
        if not text:
            return b""
        if self._open == "text":
            return self.grown("text_delta", "text", text)
        return self._begin("text", {"type": "text", "text": ""}) + self.grown("text_delta", "text", text)

    def _show(self, made: MediaMade) -> bytes:
        """A model's picture has no block in this format: it is a link in the text. A sound is not sent."""
        if made.kind != "image" or made.partial >= 0:
            return b""
        return self._say(f"![image]({made.url or f'data:{made.mime};base64,{made.data}'})")

    def _think(self, event: ThinkingDelta) -> bytes:
        if event.redacted:
            data = write_carried(event.redacted, event.format, event.tool_id)
            return self._begin("redacted", {"type": "redacted_thinking", "data": data}) + self._close()
        text = "" if self._exclude else event.text
        if not text and not event.signature:
            return b""
        out = b""
        if self._open != "thinking" or self._whose != event.format:
            out = self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            self._whose, self._signed = event.format, False
        if text:
            out += self.grown("thinking_delta", "thinking", text)
        if event.signature:
            out += self._sign(event.signature, self.id_of(event.tool_id)) + self._close()
        return out

    def _sign(self, signature: str, tool_id: str) -> bytes:
        self._signed = True
        return self.grown("signature_delta", "signature", write_carried(signature, self._whose, tool_id))

    def _call(self, event: ToolStarted) -> bytes:
        self.called = True
        given = self.id_of(event.id) or self.id_of(f"toolu_{self._name}_{event.index}")
        out = self._begin("tool", {"type": "tool_use", "id": given, "name": event.name, "input": {}})
        self._tool, self._arguments = event.index, []
        return out

    def id_of(self, given: str) -> str:
        """A call's id in the letters that Anthropic takes: the caller may go on there."""
        return _BAD_ID.sub("_", given)

    def _argue(self, fragment: str) -> bytes:
        if not fragment:
            return b""
        self._arguments.append(fragment)
        out = self.grown("input_json_delta", "partial_json", fragment)
        if self._waiting and self._whole():
            out += self._close()
            waiting, self._waiting = self._waiting, []
            out += b"".join([self.take(event) for event in waiting])
        return out

    def _whole(self) -> bool:
        """The open tool's arguments are one JSON object."""
        if not self._arguments or not self._arguments[-1].rstrip().endswith("}"):
            return False
        try:
            _object.decode("".join(self._arguments))
        except (msgspec.DecodeError, UnicodeEncodeError):
            return False
        return True

    def _begin(self, kind: str, block: dict[str, Any]) -> bytes:
        out = self._close()
        self._open = kind
        return out + self.opened(block)

    def _close(self) -> bytes:
        if not self._open:
            return b""
        out = b""
        if self._open == "thinking" and not self._signed and self._whose != FORMAT:
            out = self._sign("", "")
        arguments = "".join(self._arguments) if self._open == "tool" else ""
        self._open, self._tool, self._arguments = "", -1, []
        return out + self.closed(arguments)


class Frames(Blocks):
    """Blocks as events of a stream."""

    __slots__ = ("_head", "_index")

    def __init__(self, name: str, *, exclude: bool) -> None:
        super().__init__(name, exclude=exclude)
        self._index = -1
        self._head = b""
        """What is before a text's delta."""

    def take(self, event: Content) -> bytes:
        """One piece of content. Most are words that follow words."""
        if type(event) is TextDelta and self._open == "text" and event.text:
            return self._head + _encode(event.text) + b"}}\n\n"
        return super().take(event)

    def opened(self, block: dict[str, Any]) -> bytes:
        """``content_block_start``."""
        self._index += 1
        self._head = _TEXT_HEAD % self._index
        return (
            b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
            % (self._index, _encode(block))
        )

    def grown(self, kind: str, field: str, text: str) -> bytes:
        """``content_block_delta``."""
        return _DELTA % (self._index, kind.encode(), field.encode(), _encode(text))

    def closed(self, arguments: str) -> bytes:
        """``content_block_stop``."""
        return b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % self._index


class Gathered(Blocks):
    """Blocks of a whole message: ``content`` once ``end`` was called."""

    __slots__ = ("_pieces", "content")

    def __init__(self, name: str, *, exclude: bool) -> None:
        super().__init__(name, exclude=exclude)
        self.content: list[dict[str, Any]] = []
        self._pieces: dict[str, list[str]] = {}

    def opened(self, block: dict[str, Any]) -> bytes:
        """A new block."""
        self.content.append(block)
        self._pieces = {}
        return b""

    def grown(self, kind: str, field: str, text: str) -> bytes:
        """A piece of it."""
        self._pieces.setdefault(field, []).append(text)
        return b""

    def closed(self, arguments: str) -> bytes:
        """Its pieces in one."""
        block = self.content[-1]
        for field, pieces in self._pieces.items():
            if field != "partial_json":
                block[field] = "".join(pieces)
        if block["type"] == "tool_use":
            block["input"] = _input(arguments)
        return b""


_encode = msgspec.json.Encoder().encode
_TEXT_HEAD = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
    b'"delta":{"type":"text_delta","text":'
)
_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
    b'"delta":{"type":"%b","%b":%b}}\n\n'
)


def _input(arguments: str) -> msgspec.Raw:
    """Arguments byte for byte, if they are an object; those that a cap cut off are none."""
    raw = arguments.strip().encode("utf-8", "replace")
    try:
        _object.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.Raw(b"{}")
    return msgspec.Raw(raw)
