"""Pass-through of a reply: whole events go on as they came; beside them we read what settling and our store need.

Rules: a lifecycle event, or one that opens an item, is not content; a stream is over at ``response.completed`` or
``response.incomplete``, and is cut without them; an error inside a 200 is an error.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from penstock.base.errors import UpstreamError
from penstock.base.events import Event, UsageSeen
from penstock.base.usage import Usage, UsageSource
from penstock.dialects.openai_chat.ends import Page
from penstock.dialects.openai_chat.stream_relaying import StreamRelaying
from penstock.dialects.openai_responses.envelope import ResponsesAsk
from penstock.dialects.openai_responses.reading import (
    TERMINAL,
    Happening,
    Whole,
    error_of,
    failure,
    present,
    read_happening,
    read_item,
    read_response,
    stop_of,
    usage_of,
)
from penstock.dialects.openai_responses.reply import read_whole
from penstock.dialects.openai_responses.shapes import Item, kind_of
from penstock.dialects.openai_responses.writer import write_usage
from penstock.wire.sse import Mould, SseEvent, SseReader, sse

_CALLS = frozenset({"function_call", "custom_tool_call"})


class _Reading(Struct, eq=False):
    """What both relays learn of a reply: the attributes of wire.ports.Relay."""

    ask: ResponsesAsk
    content_seen: bool = False
    content_bytes: int = 0
    usage: Usage | None = None
    stopped: str | None = None
    native_stop: str = ""
    model: str = ""
    upstream_id: str = ""
    finished: bool = False
    content_type: bytes = b""
    mould: Mould | None = None
    _calls: bool = False

    def __repr__(self) -> str:
        """Without what it holds of the reply: people's words."""
        return f"<{type(self).__name__} {self.upstream_id}>"

    def _say(self, text: str) -> None:
        if text:
            self.content_seen = True
            self.content_bytes += len(text.encode("utf-8", "surrogatepass"))

    def _item(self, item: Item) -> None:
        """A whole item: what it says."""
        if kind_of(item) in _CALLS:
            self.content_seen = self._calls = True
            self._say((item.name or "") + (item.arguments or item.input or ""))
        for part in (*(item.content if isinstance(item.content, list) else ()), *(item.summary or ())):
            self._say(part.text or part.refusal or "")
        if item.result:
            self.content_seen = True

    def _end(self, whole: Whole, source: UsageSource, raw: bytes) -> None:
        self.usage = usage_of(whole, source)
        self.stopped, self.native_stop = stop_of(whole, calls=self._calls)
        self.model, self.upstream_id = whole.model or self.model, whole.id or self.upstream_id
        self.ask.final = raw
        self.finished = True


class WholeRelay(_Reading):
    """A reply that is not streamed: forwarded as it came, once it is known to be one."""

    _pieces: list[bytes] = field(default_factory=list[bytes])

    def feed(self, data: bytes) -> bytes:
        """Nothing yet: a reply that turns out to be an error must not have been sent."""
        self._pieces.append(data)
        return b""

    def close(self) -> bytes:
        """The provider's bytes."""
        body = b"".join(self._pieces)
        whole = read_whole(body)
        for raw in whole.output or ():
            item = read_item(raw)
            if item is not None:
                self._item(item)
        self._end(whole, "provider", body)
        return body


class StreamRelay(_Reading, StreamRelaying):
    """A stream, event by event."""

    sse: SseReader = field(default_factory=SseReader)
    begun: bool = False
    page: Page | None = None
    failed: UpstreamError | None = None
    _spoken: set[int] = field(default_factory=set[int])
    """Items of which deltas have come."""
    _snapshot: bytes = b""
    """The Response as it began."""
    _items: dict[int, Raw] = field(default_factory=dict[int, Raw])
    """Items as they were opened, or, once they are whole, as they ended."""
    _texts: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    """What open items have said."""
    _refusals: set[int] = field(default_factory=set[int])

    def end_early(self, events: list[Event]) -> bytes:
        """The end that we give a stream before its model did: ``response.incomplete``, with what was there."""
        response: dict[str, Any] = msgspec.json.decode(self._snapshot) if self._snapshot else {}
        usage = next((event.usage for event in events if isinstance(event, UsageSeen)), None)
        response |= {
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [self._cut_item(place) for place in sorted(self._items)],
            "usage": None if usage is None else write_usage(usage),
        }
        self.ask.sequence += 1
        self.ask.final = msgspec.json.encode(response)
        self.finished = True
        facts = b'{"type":"response.incomplete","sequence_number":%d,"response":%b}'
        return sse(facts % (self.ask.sequence, self.ask.final), b"response.incomplete")

    def _cut_item(self, place: int) -> dict[str, Any]:
        item: dict[str, Any] = msgspec.json.decode(self._items[place])
        text = "".join(self._texts.get(place, ()))
        if not text:
            return item
        match item.get("type"):
            case "message":
                part: dict[str, Any] = {
                    "type": "output_text",
                    "text": text,
                    "annotations": [],
                    "logprobs": [],
                }
                if place in self._refusals:
                    part = {"type": "refusal", "refusal": text}
                return {**item, "status": "incomplete", "content": [part]}
            case "function_call":
                return {**item, "status": "incomplete", "arguments": text}
            case "custom_tool_call":
                return {**item, "input": text}
            case "reasoning":
                return {**item, "summary": [{"type": "summary_text", "text": text}]}
            case _:
                return item

    def see(self, event: SseEvent) -> bool:
        """Read one event; all of them are for the caller."""
        self._see(event)
        return True

    def _see(self, event: SseEvent) -> None:
        data = event.data
        if data is None or self.finished or data.strip() in (b"", b"[DONE]"):
            return
        happening = read_happening(data)
        kind = happening.type or event.name.decode("latin-1")
        if happening.sequence_number is not None:
            self.ask.sequence = happening.sequence_number
        if isinstance(happening.delta, str):
            self._say(happening.delta)
            place = happening.output_index or 0
            self._spoken.add(place)
            self._texts.setdefault(place, []).append(happening.delta)
            if kind == "response.refusal.delta":
                self._refusals.add(place)
        elif present(happening.item):
            self._see_item(happening, kind)
        elif present(happening.response):
            self._see_response(happening.response, kind)
        elif kind == "error" or (not kind and present(happening.error)):
            raise error_of(happening, data)

    def _see_item(self, happening: Happening, kind: str) -> None:
        item, place = read_item(happening.item), happening.output_index or 0
        self._items[place] = happening.item
        if kind == "response.output_item.done":
            self._texts.pop(place, None)
        if item is None:
            return
        if kind == "response.output_item.added" and kind_of(item) in _CALLS:
            self.content_seen = self._calls = True
            self._say(item.name or "")
        elif kind == "response.output_item.done" and (happening.output_index or 0) not in self._spoken:
            self._item(item)

    def _see_response(self, raw: Raw, kind: str) -> None:
        whole = read_response(raw)
        if kind in TERMINAL:
            failed = failure(whole)
            if failed is not None:
                raise failed
            self._end(whole, "stream", bytes(raw))
        elif not self.upstream_id:
            self._snapshot = bytes(raw)
            self.model, self.upstream_id = whole.model or "", whole.id or ""
