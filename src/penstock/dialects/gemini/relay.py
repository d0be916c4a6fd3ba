"""Pass-through of Google's replies: what came goes on as it came; beside it we read what settling needs.

Rules
- Streams are asked for as server-sent events; a caller who wants an array gets each event's JSON as a piece of it.
- Comments do not go on: Google sends none, and its client raises on them.
- A stream is over at its end if a finish reason or a blocked prompt was told, else it was cut; nothing is invented.
- An error inside a 200 is an error. What came before it in the same bytes goes on first if it was content.
"""

from penstock.base.errors import UpstreamError, UpstreamMalformed, UpstreamTruncated
from penstock.base.events import (
    Event,
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
from penstock.dialects.gemini.envelope import GeminiAsk
from penstock.dialects.gemini.framing import content_type, ending, frame
from penstock.dialects.gemini.reply import GeminiReader
from penstock.wire.sse import Mould, SseEvent, SseReader


class _Reading:
    """What both relays learn of a reply: the attributes of wire.ports.Relay."""

    stopped: str | None

    def __init__(self, ask: GeminiAsk, label: str, *, stream: bool) -> None:
        self._ask = ask
        self._reader = GeminiReader(label, stream=stream)
        self._label = label
        self.content_type = content_type(ask)
        self.content_seen = False
        self.content_bytes = 0
        self.mould: Mould | None = None  # every event may be the last, which has the usage
        self.usage: Usage | None = None
        self.stopped = None
        self.native_stop = ""
        self.model = ""
        self.upstream_id = ""
        self.finished = False
        ask.begun = False

    def _note(self, events: list[Event]) -> None:
        for event in events:
            self.content_seen = self.content_seen or is_content(event)
            match event:
                case TextDelta(text=text) | RefusalDelta(text=text) | ThinkingDelta(text=text):
                    self.content_bytes += len(text.encode("utf-8", "surrogatepass"))
                case ToolArgs(json=fragment):
                    self.content_bytes += len(fragment.encode("utf-8", "surrogatepass"))
                case UsageSeen(usage=usage):
                    self.usage = usage
                case Stopped(why=why, native=native):
                    self.stopped, self.native_stop = why, native
                case Started(model=model, id=reply_id):
                    self.model, self.upstream_id = model, reply_id
                case _:
                    pass


class StreamRelay(_Reading):
    """A stream, event by event."""

    def __init__(self, ask: GeminiAsk, label: str) -> None:
        super().__init__(ask, label, stream=True)
        self._sse = SseReader()
        self._failed: UpstreamError | None = None
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """Whole events for the caller."""
        if self._failed is not None:
            raise self._failed
        if not self._begun:
            data = self._begin(data)
        out: list[bytes] = []
        for event in self._sse.feed(data):
            try:
                self._see(event, out)
            except UpstreamError as error:
                self._failed = error
                if not out or not self.content_seen:
                    raise
                break
        if self.stopped is None and (reason := self._reader.ended) is not None:
            self._note([Stopped(*reason)])
        return b"".join(out)

    def close(self) -> bytes:
        """EOF: the last event even without its blank line, or UpstreamTruncated."""
        if self._failed is not None:
            raise self._failed
        out: list[bytes] = []
        for event in self._sse.close():
            try:
                self._see(event, out)
            except UpstreamMalformed:
                if self._reader.ended is None:
                    raise UpstreamTruncated(f"{self._label} closed in the middle of an event.") from None
        self._note(self._reader.close())
        self.finished = True
        out.append(ending(self._ask))
        return b"".join(out)

    def _begin(self, data: bytes) -> bytes:
        """A page or a JSON body where a stream was promised is an error, or a proxy's habit: the reader tells."""
        start = data.lstrip()
        self._begun = bool(start)
        if start[:1] == b"<":
            raise UpstreamMalformed(f"{self._label} answered with an HTML page.")
        return data

    def _see(self, event: SseEvent, out: list[bytes]) -> None:
        data = event.data
        if data is None:
            data = event.raw.strip()
            if data[:1] not in (b"{", b"["):
                return  # a comment
        if not data or data == b"[DONE]":
            return
        seen = self._reader.frame(data)
        self._note(seen)
        raw = event.raw
        plain = raw[:5] == b"data:" and raw.endswith((b"\n\n", b"\r\n\r\n")) and b"\n:" not in raw
        if plain and self._ask.framing == "sse":
            out.append(raw)
        elif data[:1] == b"{":
            out.append(frame(self._ask, data.replace(b"\n", b" ")))


class WholeRelay(_Reading):
    """A reply that is not streamed: forwarded as it came, once it is known to be one."""

    def __init__(self, ask: GeminiAsk, label: str) -> None:
        super().__init__(ask, label, stream=False)
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        """Nothing yet: a reply that turns out to be an error must not have been sent."""
        self._pieces.append(data)
        return b""

    def close(self) -> bytes:
        """The provider's bytes."""
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._reader.feed(body)
        self._note(self._reader.close())
        self.finished = True
        return body
