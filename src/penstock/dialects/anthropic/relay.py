"""Pass-through of a reply: whole events go on as they came; beside them we read what settling needs.

Rules
- A ping, a block's empty beginning or a bare signature are not content (behaviour 1); a comment goes on at once.
- A stream is over at ``message_stop``; EOF before it is a cut (behaviour 5). Nothing is invented.
- An error inside a 200 is an error (behaviour 9). What came before it in the same bytes goes on first if it was content;
  the error is then raised by the next call.
- Anthropic's client takes no event without an ``event:`` line (anthropic-python 2.11.0: AssertionError). Servers that
  leave it out get it put in, from the data's own ``type``.
"""

import msgspec

from penstock.base.errors import UpstreamError, UpstreamMalformed, UpstreamTruncated
from penstock.base.events import (
    Event,
    RefusalDelta,
    Started,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolStarted,
    UsageSeen,
    is_content,
)
from penstock.base.usage import Usage
from penstock.dialects.anthropic.errors import from_object
from penstock.dialects.anthropic.repeats import learn
from penstock.dialects.anthropic.reply import WholeReader
from penstock.dialects.anthropic.shapes import (
    WHY,
    Block,
    Delta,
    Frame,
    UsageField,
    decode_frame,
    merged,
    normal,
)
from penstock.dialects.anthropic.writer import ending
from penstock.wire.sse import Mould, SseEvent, SseReader, completed, sse

MAX_LESSONS = 64
"""Of one stream: a block's deltas are all alike, and a reply has few blocks."""
_SILENT = frozenset({"text", "thinking"})
"""Blocks that say nothing by their beginning."""


class _Seen:
    """What both relays learn of a reply: the attributes of wire.ports.Relay."""

    content_type = b""

    def __init__(self) -> None:
        self.content_seen = False
        self.said_bytes = 0
        self.usage: Usage | None = None
        self.stopped: str | None = None
        self.native_stop = ""
        self.model = ""
        self.upstream_id = ""
        self.finished = False
        self.mould: Mould | None = None

    def __repr__(self) -> str:
        """Without what it holds of the reply: people's words."""
        return f"<{type(self).__name__} {self.upstream_id}>"

    @property
    def content_bytes(self) -> int:
        """Of all that was read."""
        return self.said_bytes

    def say(self, text: str) -> None:
        """Content."""
        self.content_seen = True
        self.said_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

    def bill(self, usage: Usage) -> None:
        """The figures so far."""
        self.usage = usage

    def stop(self, native: str) -> None:
        """The model's reason. One that we do not know is an end all the same."""
        self.stopped, self.native_stop = WHY.get(native, "stop"), native


class StreamRelay(_Seen):
    """A stream, event by event."""

    def __init__(self) -> None:
        super().__init__()
        self._sse = SseReader()
        self._whole: WholeReader | None = None
        self._begun = False
        self._failed: UpstreamError | None = None
        self._field: UsageField | None = None
        self._open = -1
        """The block that is open."""
        self._mould: Mould | None = None
        self._past_bytes = 0
        self._lessons = MAX_LESSONS

    @property
    def content_bytes(self) -> int:
        """Of all that was read, and of all that passed."""
        known = self._mould
        return self.said_bytes + self._past_bytes + (0 if known is None else known.passed_bytes)

    def feed(self, data: bytes) -> bytes:
        """Whole events for the caller, as they came."""
        if not self._begun:
            start = data.lstrip()
            self._begun = bool(start)
            if start[:1] in (b"{", b"[", b"<"):
                self._whole = WholeReader("stream")
        if self._whole is not None:
            self._whole.feed(data)
            return b""
        if self._failed is not None:
            raise self._failed
        self.mould = None
        out: list[bytes] = []
        for event in self._sse.feed(data):
            try:
                out.append(self._pass(event))
            except UpstreamError as error:
                self._failed = error
                if not self.content_seen or not any(out):
                    raise
                break
        if not (self._sse.pending or self.finished or self._failed):
            self.mould = self._mould
        return out[0] if len(out) == 1 else b"".join(out)

    def close(self) -> bytes:
        """EOF: the last event even without its blank line (behaviour 3), or UpstreamTruncated."""
        if self._failed is not None:
            raise self._failed
        if self._whole is not None:
            self._whole.close()  # says what is wrong, if it is an error or no JSON
            raise UpstreamMalformed("The provider promised a stream and sent a whole message.")
        out = b""
        for event in self._sse.close():
            try:
                out += completed(self._pass(event))
            except UpstreamMalformed:
                raise _cut() from None
        if not self.finished:
            raise _cut()
        return out

    def end_early(self, events: list[Event]) -> bytes:
        """The end that we give a stream before its model did."""
        self.finished = True
        stop = b""
        if self._open >= 0:
            frame = msgspec.json.encode({"type": "content_block_stop", "index": self._open})
            stop = sse(frame, b"content_block_stop")
        return stop + ending(events)

    def _pass(self, event: SseEvent) -> bytes:
        data = event.data
        if not data or self.finished or data == b"[DONE]":
            return b"" if data == b"[DONE]" else event.raw
        try:
            frame = decode_frame(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamMalformed(f"An event of the provider's stream is not readable: {error}") from error
        self._see(frame)
        known = self._mould
        if frame.type == "content_block_delta" and not (known is not None and known.surrounds(event.raw)):
            self._learn(event, frame)
        return event.raw if event.name else sse(data.replace(b"\n", b" "), frame.type.encode())

    def _learn(self, event: SseEvent, frame: Frame) -> None:
        """What events like this one have around their words; each lesson costs one more reading."""
        if self._lessons <= 0 or not event.name:
            return
        self._lessons -= 1
        learned = learn(event, frame)
        if learned is not None:
            self._past_bytes += 0 if self._mould is None else self._mould.passed_bytes
            self._mould = learned

    def _see(self, frame: Frame) -> None:
        kind = frame.type
        if kind == "content_block_delta":
            if frame.delta is not None:
                self._delta(frame.delta)
        elif kind == "content_block_start":
            self._open = frame.index
            if frame.content_block is not None:
                self._block(frame.content_block)
        elif kind == "content_block_stop":
            self._open = -1
        elif kind == "message_delta":
            self._bill(frame.usage)
            if frame.delta is not None and frame.delta.stop_reason is not None:
                self.stop(frame.delta.stop_reason)
        elif kind == "message_start":
            self._start(frame)
        elif kind == "message_stop":
            if not self.upstream_id and not self.model:
                raise UpstreamMalformed("The provider's stream ended without any message.")
            if self.stopped is None:
                self.stop("")
            self.finished = True
        elif kind == "error":
            raise from_object(frame.error)

    def _start(self, frame: Frame) -> None:
        message = frame.message
        if message is None or self.upstream_id:
            return
        self.model, self.upstream_id = message.model, message.id
        for block in message.content:
            self._block(block)
        if message.stop_reason is not None:
            self.stop(message.stop_reason)
        self._bill(message.usage)

    def _block(self, block: Block) -> None:
        words = (block.text or "") + (block.thinking or "")
        if words or block.type not in _SILENT:
            self.say(words or block.name or "")

    def _delta(self, delta: Delta) -> None:
        words = delta.text or delta.thinking or delta.partial_json
        if words:
            self.say(words)

    def _bill(self, usage: UsageField | None) -> None:
        if usage is not None:
            self._field = merged(self._field, usage)
            self.bill(normal(self._field, "stream"))


class WholeRelay(_Seen):
    """A reply that is not streamed: forwarded as it came, once it is known to be one."""

    def __init__(self) -> None:
        super().__init__()
        self._reader = WholeReader()
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        """Nothing yet: a reply that turns out to be an error must not have been sent."""
        self._pieces.append(data)
        self._reader.feed(data)
        return b""

    def close(self) -> bytes:
        """The provider's bytes."""
        for event in self._reader.close():
            self._note(event)
        self.finished = True
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def _note(self, event: Event) -> None:
        if is_content(event):
            self.content_seen = True
        match event:
            case TextDelta(text=text) | RefusalDelta(text=text) | ThinkingDelta(text=text) if text:
                self.say(text)
            case ToolStarted(name=name):
                self.say(name)
            case ToolArgs(json=fragment):
                self.say(fragment)
            case UsageSeen(usage=usage):
                self.bill(usage)
            case Stopped(native=native):
                self.stop(native)
            case Started(model=model, id=reply_id):
                self.model, self.upstream_id = model, reply_id
            case _:
                pass


def _cut() -> UpstreamTruncated:
    return UpstreamTruncated("The provider closed the stream before its message_stop.")
