"""Events -> a Response's output items, and the stream events that build them up.

Theory
------
An item is opened, grows, and is closed; ``output_index`` counts items, and their events name it, so that several may be
open at once. Thinking and text are one after the other. Tool calls stay open until something else begins or the model
stops, for their arguments may come interleaved. The whole reply is the same walk with nobody listening.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct, field

from penstock.base.events import (
    Event,
    MediaMade,
    RefusalDelta,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolStarted,
)
from penstock.dialects.openai_responses.expand import INPUT
from penstock.dialects.openai_responses.proof import FORMAT, seal

_encode = msgspec.json.Encoder().encode
Tell = Callable[[str, dict[str, Any]], None]
"""Takes a stream event's type and its facts, without type and sequence number."""


class _Message(Struct):
    """A message in the making. ``texts`` are the pieces of its last part."""

    place: int
    item: dict[str, Any]
    kind: str = ""
    texts: list[str] = field(default_factory=list[str])


class _Reasoning(Struct):
    """A block of thinking in the making."""

    place: int
    item: dict[str, Any]
    format: str
    texts: list[str] = field(default_factory=list[str])


class _Call(Struct):
    """A tool call in the making. ``custom``: its arguments are an object that holds the input."""

    place: int
    item: dict[str, Any]
    custom: bool
    pieces: list[str] = field(default_factory=list[str])


class Output:
    """One reply's items. ``tell`` hears the stream events; ``items`` is what is there so far, in order."""

    def __init__(self, seed: str, tell: Tell, *, custom: frozenset[str], summary: bool) -> None:
        self.items: list[dict[str, Any]] = []
        self._seed = seed
        self._tell = tell
        self._custom = custom
        self._summary = summary
        self._message: _Message | None = None
        self._reasoning: _Reasoning | None = None
        self._calls: dict[int, _Call] = {}

    def see(self, event: Event) -> None:
        """Take one content event in."""
        match event:
            case TextDelta(text=text):
                if text:
                    self._say("output_text", text)
            case RefusalDelta(text=text):
                if text:
                    self._say("refusal", text)
            case ThinkingDelta():
                self._think(event)
            case ToolStarted():
                self._call(event)
            case ToolArgs(index=index, json=fragment):
                self._argue(self._calls[index], fragment)
            case MediaMade():
                self._picture(event)
            case _:
                pass

    def end(self, why: StopReason) -> None:
        """The model has stopped: close what is open."""
        status = "incomplete" if why in ("length", "content_filter") else "completed"
        self._end_reasoning(status)
        self._end_message(status)
        self._end_calls(status)

    def shown(self) -> list[dict[str, Any]]:
        """The items as they stand, what is still open included."""
        if self._message is not None:
            _fill(self._message)
        if self._reasoning is not None:
            _settle(self._reasoning, summary=self._summary)
        for call in self._calls.values():
            name = "input" if call.custom else "arguments"
            call.item[name] = _input_of(call.pieces) if call.custom else "".join(call.pieces)
        return self.items

    def _open(self, prefix: str, facts: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        place = len(self.items)
        item = {"id": f"{prefix}_{self._seed}{place:02x}", **facts}
        self.items.append(item)
        self._tell("response.output_item.added", {"output_index": place, "item": dict(item)})
        return place, item

    def _close(self, place: int) -> None:
        self._tell("response.output_item.done", {"output_index": place, "item": self.items[place]})

    # Messages.

    def _say(self, kind: str, text: str) -> None:
        message = self._message
        if message is None:
            self._end_reasoning("completed")
            self._end_calls("completed")
            facts = {"type": "message", "status": "in_progress", "role": "assistant", "content": list[Any]()}
            place, item = self._open("msg", facts)
            item["content"] = []
            message = self._message = _Message(place, item)
        if message.kind != kind:
            self._end_part(message)
            self._begin_part(message, kind)
        message.texts.append(text)
        facts = _at(message, delta=text)
        if kind == "output_text":
            facts["logprobs"] = []
        self._tell(f"response.{kind}.delta", facts)

    def _begin_part(self, message: _Message, kind: str) -> None:
        message.kind, message.texts = kind, []
        message.item["content"].append(_part(kind, ""))
        self._tell("response.content_part.added", _at(message, part=_part(kind, "")))

    def _end_part(self, message: _Message) -> None:
        if not message.kind:
            return
        _fill(message)
        part = message.item["content"][-1]
        if message.kind == "output_text":
            done = _at(message, text=part["text"], logprobs=list[Any]())
        else:
            done = _at(message, refusal=part["refusal"])
        self._tell(f"response.{message.kind}.done", done)
        self._tell("response.content_part.done", _at(message, part=part))

    def _end_message(self, status: str) -> None:
        message, self._message = self._message, None
        if message is not None:
            self._end_part(message)
            message.item["status"] = status
            self._close(message.place)

    # Thinking.

    def _think(self, event: ThinkingDelta) -> None:
        if event.redacted and event.format != FORMAT:
            self._end_reasoning("completed")  # such a block stands alone
        open_ = self._reasoning
        if open_ is not None and (event.tool_id if event.format != FORMAT else open_.format != FORMAT):
            self._end_reasoning("completed")
        proves = event.signature or event.redacted
        if not event.text and not proves:
            return
        reasoning = self._reasoning or self._begin_reasoning(event)
        if event.text:
            self._muse(reasoning, event.text)
        if proves:
            _settle(reasoning, summary=self._summary)
            whole = ThinkingDelta(
                "".join(reasoning.texts), event.signature, event.format, event.redacted, event.tool_id
            )
            reasoning.item["encrypted_content"] = seal(whole)
            self._end_reasoning("completed")

    def _begin_reasoning(self, event: ThinkingDelta) -> _Reasoning:
        self._end_message("completed")
        if not event.tool_id or event.format == FORMAT:
            self._end_calls("completed")  # else it belongs to a call that may still be open
        facts: dict[str, Any] = {"type": "reasoning", "summary": []}
        place, item = self._open("rs", facts)
        item["summary"] = []
        self._reasoning = _Reasoning(place, item, event.format)
        return self._reasoning

    def _muse(self, reasoning: _Reasoning, text: str) -> None:
        at = {"item_id": reasoning.item["id"], "output_index": reasoning.place}
        if not reasoning.texts:
            if self._summary:
                part = {"type": "summary_text", "text": ""}
                self._tell("response.reasoning_summary_part.added", {**at, "summary_index": 0, "part": part})
            else:
                part = {"type": "reasoning_text", "text": ""}
                self._tell("response.content_part.added", {**at, "content_index": 0, "part": part})
        reasoning.texts.append(text)
        if self._summary:
            self._tell("response.reasoning_summary_text.delta", {**at, "summary_index": 0, "delta": text})
        else:
            self._tell("response.reasoning_text.delta", {**at, "content_index": 0, "delta": text})

    def _end_reasoning(self, status: str) -> None:
        reasoning, self._reasoning = self._reasoning, None
        if reasoning is None:
            return
        _settle(reasoning, summary=self._summary)
        text = "".join(reasoning.texts)
        at = {"item_id": reasoning.item["id"], "output_index": reasoning.place}
        if text and self._summary:
            at["summary_index"] = 0
            self._tell("response.reasoning_summary_text.done", {**at, "text": text})
            part = {"type": "summary_text", "text": text}
            self._tell("response.reasoning_summary_part.done", {**at, "part": part})
        elif text:
            at["content_index"] = 0
            self._tell("response.reasoning_text.done", {**at, "text": text})
            part = {"type": "reasoning_text", "text": text}
            self._tell("response.content_part.done", {**at, "part": part})
        if status != "completed":
            reasoning.item["status"] = status
        self._close(reasoning.place)

    # Calls.

    def _call(self, event: ToolStarted) -> None:
        self._end_reasoning("completed")
        self._end_message("completed")
        custom = event.name in self._custom
        facts: dict[str, Any] = {"call_id": event.id, "name": event.name}
        if custom:
            place, item = self._open("ctc", {"type": "custom_tool_call", **facts, "input": ""})
        else:
            more = {"status": "in_progress", "arguments": ""}
            place, item = self._open("fc", {"type": "function_call", **more, **facts})
        self._calls[event.index] = _Call(place, item, custom)

    def _argue(self, call: _Call, fragment: str) -> None:
        if not fragment:
            return
        call.pieces.append(fragment)
        if not call.custom:
            at = {"item_id": call.item["id"], "output_index": call.place}
            self._tell("response.function_call_arguments.delta", {**at, "delta": fragment})

    def _end_calls(self, status: str) -> None:
        calls, self._calls = self._calls, {}
        for call in calls.values():
            at = {"item_id": call.item["id"], "output_index": call.place}
            if call.custom:
                text = call.item["input"] = _input_of(call.pieces)
                self._tell("response.custom_tool_call_input.delta", {**at, "delta": text})
                self._tell("response.custom_tool_call_input.done", {**at, "input": text})
            else:
                if not call.pieces:
                    self._argue(call, "{}")
                text = call.item["arguments"] = "".join(call.pieces)
                call.item["status"] = status
                done = {**at, "name": call.item["name"], "arguments": text}
                self._tell("response.function_call_arguments.done", done)
            self._close(call.place)

    # Pictures.

    def _picture(self, made: MediaMade) -> None:
        """Sounds cannot come: this API never asks for one. A picture at an address is told as words."""
        if made.kind != "image" or made.partial >= 0:
            return
        if not made.data:
            self._say("output_text", f"![]({made.url})")
            return
        self._end_reasoning("completed")
        self._end_message("completed")
        self._end_calls("completed")
        facts: dict[str, Any] = {"type": "image_generation_call", "status": "in_progress", "result": None}
        place, item = self._open("ig", facts)
        at = {"item_id": item["id"], "output_index": place}
        self._tell("response.image_generation_call.in_progress", at)
        item["status"], item["result"] = "completed", made.data
        subtype = made.mime.partition("/")[2]
        if subtype in ("png", "webp", "jpeg", "gif"):
            item["output_format"] = subtype
        self._tell("response.image_generation_call.completed", at)
        self._close(place)


def _at(message: _Message, **more: Any) -> dict[str, Any]:
    at = {"item_id": message.item["id"], "output_index": message.place}
    return {**at, "content_index": len(message.item["content"]) - 1, **more}


def _fill(message: _Message) -> None:
    if message.kind:
        message.item["content"][-1] = _part(message.kind, "".join(message.texts))


def _settle(reasoning: _Reasoning, *, summary: bool) -> None:
    text = "".join(reasoning.texts)
    if not text:
        return
    if summary:
        reasoning.item["summary"] = [{"type": "summary_text", "text": text}]
    else:
        reasoning.item["content"] = [{"type": "reasoning_text", "text": text}]


def _part(kind: str, text: str) -> dict[str, Any]:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _input_of(pieces: list[str]) -> str:
    """The free text that a function of one string was called with; what is no such call goes as it came."""
    text = "".join(pieces)
    try:
        found: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text
    given: Any = found.get(INPUT) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return given if isinstance(given, str) else text
