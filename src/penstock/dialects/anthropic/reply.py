"""Anthropic's replies -> events: the event stream, and the whole message.

Theory
------
``message_start`` … blocks … ``message_delta`` (stop reason, cumulative usage) … ``message_stop``. Content blocks are
numbered together; our tool index counts tool blocks only, so a map leads from the one to the other. Blocks of
server tools have no entry in it, and their argument deltas are skipped with them. A block's first fragments may
be empty, and a tool without arguments sends only ``""``: nothing is emitted, and the fold makes it ``{}``.

Rules
- Usage is additive (input excludes the cache) and ``message_delta`` carries totals, not increments: what it says
  replaces what ``message_start`` said. Totals do not fall: a 0 replaces nothing, unless the whole input is still as
  large without it (0 fresh, as much or more from the cache).
- Stop reasons: see ``WHY``. A reason that is not in the table is ``stop`` if there was content, else ``error``:
  the native word is kept either way (behaviour 17).
- EOF before ``message_stop`` is a truncation, whatever has come (behaviour 5).
- An error that arrives in the same bytes as good events is raised by the next call, so that they are not lost.
- A reply that is JSON where a stream was promised is read as what it is: a whole message or an error.
"""

import msgspec
from msgspec import Raw

from penstock.base.errors import UpstreamMalformed
from penstock.base.events import (
    Event,
    Finished,
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
from penstock.dialects.anthropic.errors import from_object
from penstock.dialects.anthropic.shapes import (
    FORMAT,
    WHY,
    Block,
    Delta,
    Frame,
    Message,
    StopDetails,
    UsageField,
    decode_frame,
    decode_message,
    merged,
    normal,
)
from penstock.wire.gathered import Promised
from penstock.wire.sse import MAX_EVENT_BYTES, SseEvent
from penstock.wire.streaming import Streaming


class State:
    """What one reply has said so far; shared by both readers."""

    __slots__ = ("content", "open_tools", "started", "stopped", "tools", "usage")

    def __init__(self) -> None:
        self.started = False
        self.stopped = False
        self.content = False
        self.tools = 0
        # Content index -> (tool index, the input given at the block's start; None once fragments have come).
        self.open_tools: dict[int, tuple[int, Raw | None]] = {}
        self.usage: UsageField | None = None

    def start(self, message: Message) -> Started:
        self.started = True
        return Started(model=message.model, id=message.id)

    def open_block(self, index: int, block: Block, events: list[Event]) -> None:
        kind = block.type
        if kind == "text":
            if block.text:
                self.content = True
                events.append(TextDelta(block.text))
        elif kind == "tool_use":
            self.content = True
            events.append(ToolStarted(self.tools, block.id or "", block.name or ""))
            self.open_tools[index] = (self.tools, block.input)
            self.tools += 1
        elif kind == "thinking":
            if block.thinking or block.signature:
                events.append(ThinkingDelta(block.thinking or "", block.signature or "", FORMAT))
        elif kind == "redacted_thinking" and block.data:
            events.append(ThinkingDelta(format=FORMAT, redacted=block.data))

    def close_block(self, index: int, events: list[Event]) -> None:
        """A tool whose whole input came with its start and no fragment after it: emit it now."""
        tool, given = self.open_tools.pop(index, (-1, None))
        raw = b"" if given is None else bytes(given)
        if raw[1:-1].strip() and raw != b"null":
            try:
                events.append(ToolArgs(tool, raw.decode()))
            except UnicodeDecodeError as error:
                raise UpstreamMalformed("A tool's input in the provider's reply is not UTF-8.") from error

    def merge(self, usage: UsageField | None, source: UsageSource) -> UsageSeen | None:
        """Totals replace totals; None says nothing, and 0 says it of what has been counted."""
        if usage is None:
            return None
        held = self.usage = merged(self.usage, usage)
        return UsageSeen(normal(held, source))

    def stop(
        self, native: str | None, sequence: str | None, details: StopDetails | None, events: list[Event]
    ) -> None:
        """``Stopped``, with the refusal's explanation before it if there is one."""
        self.stopped = True
        why = WHY.get(native or "") or ("stop" if self.content else "error")
        if why == "content_filter" and details is not None and details.explanation:
            events.append(RefusalDelta(details.explanation))
        events.append(Stopped(why, native or "", sequence))


class StreamReader(Streaming):
    """The event stream. Right for any split of the bytes."""

    last_event = "message_stop"
    __slots__ = ("_done", "_native", "_state")

    def __init__(self) -> None:
        super().__init__()
        self._state = State()
        self._native: Message | None = None
        self._done = False

    def whole(self) -> Promised:
        """A message without a stream, or what is none."""
        return WholeReader("stream")

    def over(self) -> bool:
        """``message_stop`` has come."""
        return self._done

    def see(self, event: SseEvent, events: list[Event]) -> None:
        """One event of the wire."""
        data = event.data
        if not data or self._done:
            return
        try:
            frame = decode_frame(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if data == b"[DONE]":
                return
            raise UpstreamMalformed(f"An event of the provider's stream is not readable: {error}") from error
        kind = frame.type
        state = self._state
        if kind == "content_block_delta":
            if not state.started or state.stopped:
                raise _out_of_place(kind)
            if frame.delta is not None:
                self._delta(frame.index, frame.delta, events)
        elif kind == "content_block_start":
            if not state.started or state.stopped:
                raise _out_of_place(kind)
            if frame.content_block is not None:
                state.open_block(frame.index, frame.content_block, events)
        elif kind == "content_block_stop":
            if state.open_tools and not state.stopped:
                state.close_block(frame.index, events)
        elif kind == "message_delta":
            self._message_delta(frame, events)
        elif kind == "message_start":
            self._message_start(frame.message or Message(), events)
        elif kind == "message_stop":
            self._message_stop(events)
        elif kind == "error":
            raise from_object(frame.error)

    def _delta(self, index: int, delta: Delta, events: list[Event]) -> None:
        kind = delta.type
        if kind == "text_delta":
            if delta.text:
                self._state.content = True
                events.append(TextDelta(delta.text))
        elif kind == "input_json_delta":
            held = self._state.open_tools.get(index)
            if held is not None and delta.partial_json:
                if held[1] is not None:
                    self._state.open_tools[index] = (held[0], None)
                events.append(ToolArgs(held[0], delta.partial_json))
        elif kind == "thinking_delta":
            events.append(ThinkingDelta(delta.thinking or "", "", FORMAT))
        elif kind == "signature_delta":
            events.append(ThinkingDelta("", delta.signature or "", FORMAT))
        # citations_delta and what is still to be invented: no neutral word for it.

    def _message_start(self, message: Message, events: list[Event]) -> None:
        state = self._state
        if state.started:
            return  # some servers repeat it; the first one counts
        events.append(state.start(message))
        # After a pause for code execution a message may start with its blocks and its stop reason already there.
        for index, block in enumerate(message.content):
            state.open_block(~index, block, events)
            state.close_block(~index, events)
        self._native = message
        if (seen := state.merge(message.usage, "stream")) is not None:
            events.append(seen)

    def _message_delta(self, frame: Frame, events: list[Event]) -> None:
        state = self._state
        if not state.started:
            raise _out_of_place(frame.type)
        if (seen := state.merge(frame.usage, "stream")) is not None:
            events.append(seen)
        delta = frame.delta
        if delta is not None and delta.stop_reason is not None and not state.stopped:
            self._end_tools(events)
            state.stop(delta.stop_reason, delta.stop_sequence, delta.stop_details, events)

    def _message_stop(self, events: list[Event]) -> None:
        state = self._state
        if not state.started:
            raise _out_of_place("message_stop")
        if not state.stopped:
            self._end_tools(events)
            start = self._native or Message()
            state.stop(start.stop_reason, start.stop_sequence, start.stop_details, events)
        self._done = True

    def _end_tools(self, events: list[Event]) -> None:
        for index in tuple(self._state.open_tools):
            self._state.close_block(index, events)


class WholeReader(Promised):
    """The whole message: gathered, then read at the end."""

    most_bytes = MAX_EVENT_BYTES
    __slots__ = ()

    def __init__(self, promised: str = "message") -> None:
        super().__init__(promised)

    def read(self, body: bytes) -> list[Event]:
        """All events of the message; or what was wrong with it."""
        try:
            message = decode_message(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self.not_json(body) from error
        if message.error is not None or message.type == "error":
            raise from_object(message.error)
        if message.type != "message":
            raise self.other_json()
        return events_of(message)


def events_of(message: Message) -> list[Event]:
    state = State()
    events: list[Event] = [state.start(message)]
    for index, block in enumerate(message.content):
        state.open_block(index, block, events)
        state.close_block(index, events)
    if (seen := state.merge(message.usage, "provider")) is not None:
        events.append(seen)
    state.stop(message.stop_reason, message.stop_sequence, message.stop_details, events)
    events.append(Finished())
    return events


def _out_of_place(kind: str) -> UpstreamMalformed:
    return UpstreamMalformed(f"The provider's stream has a {kind} where none may stand.")
