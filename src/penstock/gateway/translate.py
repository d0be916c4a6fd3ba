"""Translation as a Relay: one dialect's reader, another's writer, and what settle needs to know in between.

Rule: a model that ends its reply in an error has failed, although its provider's wire ended well: UpstreamFault, so
that another target may answer; where words have left already, what came with the end goes out before the error.
"""

from penstock.base.errors import UpstreamError, UpstreamFault
from penstock.base.events import (
    Aside,
    Event,
    Finished,
    Lawful,
    MediaMade,
    RefusalDelta,
    Started,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    UsageSeen,
    is_content,
)
from penstock.base.usage import Usage
from penstock.gateway.structured import Judge
from penstock.wire.ports import ReplyReader, ReplyWriter
from penstock.wire.sse import Mould


class Translation:
    """Bytes of the provider's dialect in, bytes of the caller's out (wire.ports.Relay)."""

    __slots__ = (
        "_events",
        "_failure",
        "_judge",
        "_law",
        "_reader",
        "_stream",
        "_writer",
        "content_bytes",
        "content_seen",
        "finished",
        "model",
        "mould",
        "native_stop",
        "stopped",
        "upstream_id",
        "usage",
    )

    def __init__(
        self, reader: ReplyReader, writer: ReplyWriter, *, stream: bool, judge: Judge | None = None
    ) -> None:
        """``judge``: says at the end whether the answer is one (gateway.structured)."""
        self._judge = judge
        self._reader = reader
        self._writer = writer
        self._stream = stream
        self._law = Lawful()
        self._events: list[Event] = []
        self._failure: UpstreamError | None = None
        self.content_seen = False
        self.content_bytes = 0
        self.mould: Mould | None = None  # no event goes through as it came
        self.usage: Usage | None = None
        self.stopped: str | None = None
        self.native_stop = ""
        self.model = ""
        self.upstream_id = ""
        self.finished = False

    @property
    def content_type(self) -> bytes:
        """What the writer makes."""
        return self._writer.content_type

    def feed(self, data: bytes) -> bytes:
        """Events of ``data`` in the caller's dialect."""
        if self._failure is not None:
            raise self._failure
        return self._pass(self._reader.feed(data))

    def close(self) -> bytes:
        """The last bytes; the whole body where the reply is not streamed."""
        out = b"" if self._failure is not None else self._pass(self._reader.close())
        if self._failure is not None:
            raise self._failure
        return out if self._stream else self._writer.whole(self._events)

    def end_early(self, events: list[Event]) -> bytes:
        """The end that we give a stream before its model did, in the caller's dialect."""
        self.finished = True
        return self._writer.write(events)

    def _pass(self, events: list[Event]) -> bytes:
        committed = self.content_seen
        for event in events:
            self._law.see(event)
            self._note(event)
        if self.stopped == "error":
            return self._fail(events, committed=committed)
        if self._judge is not None:
            return self._judged(self._judge, events, committed=committed)
        if self._stream:
            return self._writer.write(events) if events else b""
        self._events += events
        return b""

    def _judged(self, judge: Judge, events: list[Event], *, committed: bool) -> bytes:
        """The same, with somebody who may say no at the end; what he holds leaves at once, or never."""
        for event in events:
            judge.see(event)
        self._events += events
        hold = judge.hold and self._stream
        if self.finished and (no := judge.verdict()) is not None:
            return self._fail(events, committed=committed and not hold, failure=no)
        if hold and not self.finished:
            self.content_seen = False  # 200 may not be sent before the verdict
            return b""
        if hold:
            self.content_seen = any(is_content(event) for event in self._events)
            return self._writer.write(self._events)
        return self._writer.write(events) if self._stream and events else b""

    def _fail(self, events: list[Event], *, committed: bool, failure: UpstreamError | None = None) -> bytes:
        reason = f" ({self.native_stop})" if self.native_stop else ""
        self._failure = failure or UpstreamFault(
            f"The model ended its reply in an error{reason}.", code="model_output_error"
        )
        self.finished = False
        if not (self._stream and committed):
            raise self._failure
        return self._writer.write([event for event in events if not isinstance(event, Stopped | Finished)])

    def _note(self, event: Event) -> None:
        if not self.content_seen:
            self.content_seen = is_content(event)
        match event.event if isinstance(event, Aside) and not isinstance(event.event, Stopped) else event:
            case TextDelta(text=text) | RefusalDelta(text=text) | ThinkingDelta(text=text):
                self.content_bytes += len(text.encode())
            case ToolArgs(json=fragment):
                self.content_bytes += len(fragment.encode())
            case UsageSeen(usage=usage):
                self.usage = usage
            case Stopped(why=why, native=native):
                self.stopped, self.native_stop = why, native
            case Started(model=model, id=reply_id):
                self.model, self.upstream_id = model, reply_id
            case Finished():
                self.finished = True
            case MediaMade():
                pass
            case _:
                pass
