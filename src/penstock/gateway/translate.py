"""Translation as a Relay: one dialect's reader, another's writer, and what settle needs to know in between."""

from penstock.base.events import (
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
from penstock.wire.ports import ReplyReader, ReplyWriter


class Translation:
    """Bytes of the provider's dialect in, bytes of the caller's out (wire.ports.Relay)."""

    __slots__ = (
        "_events",
        "_law",
        "_reader",
        "_stream",
        "_writer",
        "content_bytes",
        "content_seen",
        "finished",
        "model",
        "native_stop",
        "stopped",
        "upstream_id",
        "usage",
    )

    def __init__(self, reader: ReplyReader, writer: ReplyWriter, *, stream: bool) -> None:
        self._reader = reader
        self._writer = writer
        self._stream = stream
        self._law = Lawful()
        self._events: list[Event] = []
        self.content_seen = False
        self.content_bytes = 0
        self.usage: Usage | None = None
        self.stopped: str | None = None
        self.native_stop = ""
        self.model = ""
        self.upstream_id = ""
        self.finished = False

    def feed(self, data: bytes) -> bytes:
        """Events of ``data`` in the caller's dialect."""
        return self._pass(self._reader.feed(data))

    def close(self) -> bytes:
        """The last bytes; the whole body where the reply is not streamed."""
        out = self._pass(self._reader.close())
        return out if self._stream else self._writer.whole(self._events)

    def _pass(self, events: list[Event]) -> bytes:
        for event in events:
            self._law.see(event)
            self._note(event)
        if self._stream:
            return self._writer.write(events) if events else b""
        self._events += events
        return b""

    def _note(self, event: Event) -> None:
        if not self.content_seen:
            self.content_seen = is_content(event)
        match event:
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
