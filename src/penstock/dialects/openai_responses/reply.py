"""A provider's Response as events, streamed or whole.

Rules
- A stream is over at ``response.completed`` or ``response.incomplete``; one that ends before is cut. ``response.failed``
  and ``error`` are raised.
- Deltas make the answer; what a provider says only in an item's end (arguments, text) is taken from there.
- An encrypted reasoning item is thinking whose ``redacted`` is its state and whose ``tool_id`` is the item's own id.
"""

import msgspec
from msgspec import Struct

from penstock.base.errors import UpstreamMalformed
from penstock.base.events import (
    Event,
    Finished,
    MediaMade,
    RefusalDelta,
    Started,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolStarted,
    UsageSeen,
)
from penstock.base.usage import UsageSource
from penstock.dialects.openai_chat.errors import read_page_in_200
from penstock.dialects.openai_chat.stream_reading import StreamReading
from penstock.dialects.openai_responses.expand import INPUT
from penstock.dialects.openai_responses.proof import FORMAT
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
from penstock.dialects.openai_responses.shapes import Item, kind_of
from penstock.wire.gathered import Gathered
from penstock.wire.sse import SseEvent


class _Call(Struct):
    """A tool call in the making: how far its arguments have come."""

    index: int
    said: bool = False


class _Making:
    """Items and deltas -> events."""

    def __init__(self, source: UsageSource) -> None:
        self._source: UsageSource = source
        self._calls: dict[int, _Call] = {}
        self._spoken: set[int] = set()
        """Items of which deltas have come."""
        self._summary = (-1, 0)
        """The item and the part of its summary that a delta has last belonged to."""

    def begin(self, place: int, item: Item) -> list[Event]:
        """An item has been opened."""
        kind = kind_of(item)
        if kind not in ("function_call", "custom_tool_call") or place in self._calls:
            return []
        if not item.name:
            raise UpstreamMalformed("The upstream's tool call has no name.")
        call = self._calls[place] = _Call(len(self._calls))
        call_id = item.call_id or item.id or f"call_{call.index}"
        return [ToolStarted(call.index, call_id, item.name)]

    def delta(self, happening: Happening) -> list[Event]:
        """A piece of an item."""
        place, text = happening.output_index or 0, happening.delta
        if not isinstance(text, str) or not text:
            return []
        match happening.type:
            case "response.output_text.delta":
                made: Event = TextDelta(text)
            case "response.refusal.delta":
                made = RefusalDelta(text)
            case "response.reasoning_text.delta":
                made = ThinkingDelta(text, format=FORMAT)
            case "response.reasoning_summary_text.delta":
                made = ThinkingDelta(self._apart(place, happening.summary_index or 0) + text, format=FORMAT)
            case "response.function_call_arguments.delta":
                call = self._calls.get(place)
                if call is None:
                    raise UpstreamMalformed("The upstream sent arguments of a call that has not begun.")
                call.said = True
                made = ToolArgs(call.index, text)
            case _:
                return []
        self._spoken.add(place)
        return [made]

    def _apart(self, place: int, part: int) -> str:
        """What stands between two parts of one summary."""
        last, self._summary = self._summary, (place, part)
        return "\n\n" if last[0] == place and last[1] != part else ""

    def end(self, place: int, item: Item) -> list[Event]:
        """An item is whole: what no delta has said."""
        said = place in self._spoken
        match kind_of(item):
            case "message":
                return [] if said else _words(item)
            case "reasoning":
                return _thoughts(item, said=said)
            case "function_call" | "custom_tool_call" as kind:
                events = self.begin(place, item)
                call = self._calls[place]
                arguments = item.arguments or ""
                if kind == "custom_tool_call":
                    arguments = msgspec.json.encode({INPUT: item.input or ""}).decode()
                if not call.said and arguments:
                    call.said = True
                    events.append(ToolArgs(call.index, arguments))
                return events
            case "image_generation_call" if item.result:
                return [MediaMade("image", f"image/{item.output_format or 'png'}", data=item.result)]
            case _:
                return []

    def over(self, whole: Whole) -> list[Event]:
        """The Response has ended."""
        usage = usage_of(whole, self._source)
        why, native = stop_of(whole, calls=bool(self._calls))
        ended: list[Event] = [Stopped(why, native)]
        return ended if usage is None else [UsageSeen(usage), *ended]


def _words(item: Item) -> list[Event]:
    events: list[Event] = []
    for part in item.content if isinstance(item.content, list) else ():
        if part.text:
            events.append(TextDelta(part.text))
        if part.refusal:
            events.append(RefusalDelta(part.refusal))
    return events


def _thoughts(item: Item, *, said: bool) -> list[Event]:
    events: list[Event] = []
    if not said:
        content = item.content if isinstance(item.content, list) else []
        text = "\n\n".join(part.text or "" for part in item.summary or ()) or "".join(
            part.text or "" for part in content
        )
        if text:
            events.append(ThinkingDelta(text, format=FORMAT))
    if item.encrypted_content:
        events.append(ThinkingDelta(redacted=item.encrypted_content, format=FORMAT, tool_id=item.id or ""))
    return events


class StreamReader(StreamReading):
    """A stream -> events."""

    __slots__ = ("_making", "_over", "_started")

    def __init__(self) -> None:
        super().__init__()
        self._making = _Making("stream")
        self._started = self._over = False

    def end(self) -> list[Event] | None:
        """The response's last event has come."""
        return [Finished()] if self._over else None

    def see(self, event: SseEvent) -> list[Event]:
        """What one event says."""
        data = event.data
        if data is None or self._over or data.strip() in (b"", b"[DONE]"):
            return []
        happening = read_happening(data)
        kind = happening.type or event.name.decode("latin-1")
        if kind == "error" or (not kind and present(happening.error)):
            raise error_of(happening, data)
        events: list[Event] = []
        if not self._started:
            self._started = True
            whole = read_response(happening.response) if present(happening.response) else Whole()
            events.append(Started(whole.model or "", whole.id or ""))
        if kind in TERMINAL:
            whole = read_response(happening.response)
            failed = failure(whole)
            if failed is not None:
                raise failed
            self._over = True
            return [*events, *self._making.over(whole)]
        if happening.delta is not None:
            return [*events, *self._making.delta(happening)]
        if present(happening.item):
            item = read_item(happening.item)
            place = happening.output_index or 0
            if item is not None and kind == "response.output_item.added":
                events.extend(self._making.begin(place, item))
            elif item is not None and kind == "response.output_item.done":
                events.extend(self._making.end(place, item))
        return events


class WholeReader(Gathered):
    """A reply that is not streamed -> events."""

    __slots__ = ()

    def read(self, body: bytes) -> list[Event]:
        """All events."""
        whole = read_whole(body)
        making = _Making("provider")
        events: list[Event] = [Started(whole.model or "", whole.id or "")]
        for place, raw in enumerate(whole.output or ()):
            item = read_item(raw)
            if item is not None:
                events.extend(making.end(place, item))
        return [*events, *making.over(whole), Finished()]


def read_whole(body: bytes) -> Whole:
    """A whole reply. Raises what a 200 with an error in it, a page, or no output amounts to."""
    if body.lstrip()[:1] != b"{":
        raise read_page_in_200(body)
    whole = read_response(body)
    failed = failure(whole)
    if failed is not None:
        raise failed
    if present(whole.error) or whole.output is None:
        raise read_page_in_200(body)
    return whole
