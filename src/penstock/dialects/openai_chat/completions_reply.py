"""A provider's legacy completion as events: for those who are told what passes through (gateway.caching)."""

from typing import Any

import msgspec
from msgspec import Struct

from penstock.base.errors import UpstreamMalformed
from penstock.base.events import Event, Finished, Started, Stopped, TextDelta, UsageSeen
from penstock.base.usage import UsageSource
from penstock.dialects.openai_chat.ends import is_done, is_piece_of_done
from penstock.dialects.openai_chat.errors import read_error_in_200, read_page_in_200
from penstock.dialects.openai_chat.shapes import stop_reason
from penstock.dialects.openai_chat.stream_reading import StreamReading
from penstock.dialects.openai_chat.usage import UsageField, read_usage
from penstock.wire.gathered import Gathered
from penstock.wire.sse import SseEvent


class Choice(Struct, gc=False):
    """One answer, or a piece of it."""

    text: str | None = None
    index: int = 0
    finish_reason: str | None = None


class Chunk(Struct, gc=False):
    """A whole reply, or a piece of a stream."""

    choices: list[Choice] | None = None
    usage: UsageField | None = None
    error: Any = None
    model: str | None = None
    id: str | None = None


_decode = msgspec.json.Decoder(Chunk).decode


def read_chunk(data: bytes) -> Chunk:
    """Raises UpstreamFault for an error inside a 200, UpstreamMalformed."""
    try:
        chunk = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamMalformed("The upstream's reply is not a completion.") from None
    if chunk.error:
        raise read_error_in_200(data)
    return chunk


class _Making:
    """Chunks -> events of the first choice: several are never told to anybody else."""

    __slots__ = ("_source", "begun", "stopped")

    def __init__(self, source: UsageSource) -> None:
        self._source: UsageSource = source
        self.begun = False
        self.stopped = False

    def see(self, chunk: Chunk) -> list[Event]:
        events: list[Event] = []
        if not self.begun:
            self.begun = True
            events.append(Started(chunk.model or "", chunk.id or ""))
        for choice in chunk.choices or ():
            if choice.index != 0:
                continue
            if choice.text:
                events.append(TextDelta(choice.text))
            if choice.finish_reason and not self.stopped:
                self.stopped = True
                events.append(Stopped(stop_reason(choice.finish_reason), choice.finish_reason))
        if chunk.usage is not None:
            events.append(UsageSeen(read_usage(chunk.usage, self._source)))
        return events

    def end(self) -> list[Event]:
        return [Finished()] if self.stopped else [Stopped("stop"), Finished()]


class CompletionStreamReader(StreamReading):
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
        """``[DONE]``, or a reason to stop, has come."""
        return self._making.end() if self._done or self._making.stopped else None

    def see(self, event: SseEvent) -> list[Event]:
        """What one event says."""
        data = (event.data or b"").strip()
        if not data or self._done:
            return []
        if data[:1] != b"{":
            self._done = is_done(event.name, data)
            return []
        return self._making.see(read_chunk(data))


class CompletionReader(Gathered):
    """A reply that is not streamed -> events."""

    __slots__ = ()

    def read(self, body: bytes) -> list[Event]:
        """All events."""
        chunk = read_chunk(body)
        if chunk.choices is None:
            raise read_page_in_200(body)
        making = _Making("provider")
        return [*making.see(chunk), *making.end()]
