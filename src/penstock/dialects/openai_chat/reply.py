"""A provider's reply as events, streamed or whole.

Same rules about ends and errors as the relay's: over at ``[DONE]``, or at EOF after a finish reason; an error inside a
200 is raised, after the content that came before it.
"""

from typing import Any

import msgspec
from msgspec import Struct

from penstock.base.errors import UpstreamMalformed
from penstock.base.events import (
    Aside,
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
from penstock.dialects.openai_chat.details import Formats, read_details
from penstock.dialects.openai_chat.ends import (
    check_choice,
    is_done,
    is_piece_of_done,
    read_whole,
)
from penstock.dialects.openai_chat.errors import read_error_in_200
from penstock.dialects.openai_chat.loose import as_list, as_object, as_text
from penstock.dialects.openai_chat.shapes import (
    Choice,
    Chunk,
    Function,
    Piece,
    ToolPiece,
    cites_pages,
    is_error,
    present,
    read_chunk,
    stop_reason,
)
from penstock.dialects.openai_chat.stream_reading import StreamReading
from penstock.dialects.openai_chat.usage import UsageField, read_usage
from penstock.wire.gathered import Gathered
from penstock.wire.sse import SseEvent

AUDIO_MIME = "audio/*"
"""OpenAI's reply does not say the format of a sound: the request chose it."""


class _Call(Struct):
    """One tool call in the making. ``held`` are arguments that came before the name."""

    index: int
    id: str
    named: bool = False
    held: str = ""


class _Making:
    """Chunks -> events of the first choice."""

    __slots__ = (
        "_asides",
        "_by_index",
        "_calls",
        "_cites",
        "_formats",
        "_served",
        "_source",
        "_started",
        "_stop_held",
        "_usage",
        "stopped",
    )

    def __init__(self, source: UsageSource, started: Started | None = None) -> None:
        self._source: UsageSource = source
        self._started = started
        self._served: str | None = None
        self._usage: UsageField | None = None
        self._cites = False
        self._formats = Formats()
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._asides: dict[int, _Making] = {}
        self._stop_held: Stopped | None = None
        self.stopped = False

    @property
    def started(self) -> bool:
        """True once anything has come."""
        return self._started is not None

    @property
    def all_stopped(self) -> bool:
        """Every answer that has begun has ended."""
        return self.stopped and all(one.stopped for one in self._asides.values())

    def see(self, chunk: Chunk) -> list[Event]:
        """The events of one chunk, or of a whole reply."""
        events: list[Event] = []
        if self._started is None:
            self._started = Started(chunk.model or "", chunk.id or "")
            events.append(self._started)
        self._served = chunk.service_tier or self._served
        cited = False
        for choice in chunk.choices or ():
            check_choice(choice)
            if choice.index != 0:
                events += self._aside(choice)
                continue
            piece = choice.delta or choice.message
            if piece is not None:
                made = self.content(piece, whole=choice.message is not None)
                if made and self.stopped:
                    raise UpstreamMalformed("The upstream sent content after its finish reason.")
                events.extend(made)
                cited = cited or (bool(piece.annotations) and cites_pages(piece.annotations))
            if choice.finish_reason and not self.stopped:
                self._stop_held = self.stop(choice.finish_reason, choice.native_finish_reason)
        if self._stop_held is not None and self.all_stopped:  # the reply goes on while another answer does
            events.append(self._stop_held)
            self._stop_held = None
        if chunk.usage is not None:
            self._usage = chunk.usage
        self._cites = self._cites or cited
        # Citations may follow the usage, and say that there is more to pay.
        if self._usage is not None and (cited or chunk.usage is not None):
            usage = read_usage(self._usage, self._source, self._served, cites=self._cites)
            events.append(UsageSeen(usage))
        return events

    def end(self) -> list[Event]:
        """A proper end: what the model did not say about why it stopped is taken as "stop"."""
        ending: list[Event] = [
            Aside(index, one.stop("stop", ""))
            for index, one in sorted(self._asides.items())
            if not one.stopped
        ]
        if self._stop_held is not None or not self.stopped:
            ending.append(self._stop_held or self.stop("stop", ""))
            self._stop_held = None
        return [*ending, Finished()]

    def _aside(self, choice: Choice) -> list[Event]:
        """Another answer than the first: read as the first one is."""
        one = self._asides.get(choice.index)
        if one is None:
            reply = "" if self._started is None else self._started.id
            one = self._asides[choice.index] = _Making(self._source, Started("", f"{reply}/{choice.index}"))
        piece, said = choice.delta or choice.message, list[Event]()
        if piece is not None:
            said = one.content(piece, whole=choice.message is not None)
            if said and one.stopped:
                raise UpstreamMalformed("The upstream sent content after its finish reason.")
            self._cites = self._cites or (bool(piece.annotations) and cites_pages(piece.annotations))
        if choice.finish_reason and not one.stopped:
            said.append(one.stop(choice.finish_reason, choice.native_finish_reason))
        return [Aside(choice.index, event) for event in said]  # type: ignore[arg-type] - content, or the end

    def stop(self, reason: str, native: str | None) -> Stopped:
        """The model has stopped."""
        self.stopped = True
        if any(not call.named for call in self._calls):
            raise UpstreamMalformed("The upstream's tool call has no name.")
        why = stop_reason(reason)
        if why == "stop" and self._calls:
            # A forced call, and many compatible servers, say "stop" after calls.
            why = "tool_calls"
        return Stopped(why, reason if native is None else native)

    def content(self, piece: Piece, *, whole: bool) -> list[Event]:
        """What a piece of the answer says."""
        events: list[Event] = []
        thought = piece.reasoning or piece.reasoning_content
        details = read_details(piece.reasoning_details, self._formats)
        if thought and not any(delta.text for delta in details):
            events.append(ThinkingDelta(thought))
        events.extend(details)
        if piece.content:
            events.append(TextDelta(piece.content))
        if piece.refusal:
            events.append(RefusalDelta(piece.refusal))
        if piece.audio is not None:
            if piece.audio.transcript:
                events.append(TextDelta(piece.audio.transcript))
            if piece.audio.data:
                events.append(MediaMade("audio", AUDIO_MIME, data=piece.audio.data))
        if present(piece.images):
            events.extend(_images(msgspec.json.decode(piece.images)))
        for tool in piece.tool_calls or ():
            self._tool(events, tool, whole=whole)
        if piece.function_call is not None:
            self._tool(events, ToolPiece(index=0, function=piece.function_call), whole=whole)
        return events

    def _tool(self, events: list[Event], piece: ToolPiece, *, whole: bool) -> None:
        call = None if whole else self._find(piece)
        if call is None:
            place = len(self._calls)
            reply = self._started.id if self._started is not None else ""
            call = _Call(place, piece.id or f"call_{reply}_{place}")
            self._calls.append(call)
            self._by_index[place if piece.index is None else piece.index] = call
        function = piece.function or Function()
        arguments = function.arguments or ""
        if not call.named:
            if not function.name:
                call.held += arguments
                return
            call.named = True
            events.append(ToolStarted(call.index, call.id, function.name))
            arguments, call.held = call.held + arguments, ""
        if arguments:
            events.append(ToolArgs(call.index, arguments))

    def _find(self, piece: ToolPiece) -> _Call | None:
        """The call that a fragment belongs to; None begins a new one.

        Some servers number all calls 0 or not at all: another id then begins another call (behaviour 14).
        """
        if piece.index is None:
            call = self._calls[-1] if self._calls else None
        else:
            call = self._by_index.get(piece.index)
        if call is not None and piece.id and piece.id != call.id and call.named:
            return None
        return call


class StreamReader(StreamReading):
    """A stream -> events."""

    __slots__ = ("_done", "_making")

    def __init__(self) -> None:
        super().__init__()
        self._making = _Making("stream")
        self._done = False

    def lost(self, event: SseEvent) -> bool:
        """The beginning of the end marker."""
        return is_piece_of_done(event)

    def end(self) -> list[Event] | None:
        """``[DONE]``, or a reason to stop for every choice, has come."""
        return self._making.end() if self._done or self._making.all_stopped else None

    def see(self, event: SseEvent) -> list[Event]:
        """What one event says."""
        data = event.data
        if data is None or self._done:
            return []
        if data[:1] != b"{":
            data = data.strip()
            if data[:1] != b"{":
                self._done = is_done(event.name, data)
                if self._done and not self._making.started:
                    raise UpstreamMalformed("The upstream's stream ended without any choice.")
                return []
        chunk = read_chunk(data)
        if present(chunk.error) or (
            chunk.choices is None and chunk.usage is None and is_error(data, event.name)
        ):
            raise read_error_in_200(data)
        if not chunk.choices and chunk.usage is None:
            return []
        return self._making.see(chunk)


class WholeReader(Gathered):
    """A reply that is not streamed -> events."""

    __slots__ = ()

    def read(self, body: bytes) -> list[Event]:
        """All events."""
        making = _Making("provider")
        events = making.see(read_whole(body))
        return [*events, *making.end()]


def _images(found: Any) -> list[Event]:
    """``images[]``: OpenRouter's place for pictures made by the model."""
    made: list[Event] = []
    for image in map(as_object, as_list(found)):
        url = as_text(as_object(image.get("image_url")).get("url")) or ""
        head, comma, data = url.partition(",")
        if head.startswith("data:") and comma:
            made.append(MediaMade("image", head.removeprefix("data:").partition(";")[0], data=data))
        elif url:
            made.append(MediaMade("image", "image/*", url=url))
    return made
