"""Cohere's v2 replies -> events: the event stream, and the whole message.

Theory
------
``message-start`` … content, tool plan, tool calls, citations … ``message-end`` (why, usage). Tool calls are numbered by
themselves. What the model plans before it calls tools (``tool_plan``) is reasoning of its own kind; it goes back as it
came (``history``).

Rules
- Usage is what is billed: ``billed_units``. ``tokens`` counts Cohere's own preamble as well, which nobody pays for; it
  stands in where nothing else is said. What was read from the cache (``cached_tokens``) is set apart only where the
  catalogue has a price of its own for it: Cohere bills it as input (pricing page, read 2026-11).
- EOF before ``message-end`` is a truncation, whatever has come (behaviour 5).
- Finish reasons: see ``_WHY``; one that is not there is ``stop`` if there was content, else ``error``.
- An error in the same bytes as good events is raised by the next call, so that they are not lost.
- A reply that is JSON where a stream was promised is read as what it is: a whole message or an error.
"""

from typing import Any, TypeVar, cast

import msgspec
from msgspec import Struct

from penstock.base.errors import UpstreamMalformed
from penstock.base.events import (
    Event,
    Finished,
    Started,
    Stopped,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolStarted,
    UsageSeen,
)
from penstock.base.usage import Usage, UsageSource
from penstock.dialects.cohere.errors import in_reply
from penstock.wire.gathered import Promised
from penstock.wire.sse import MAX_EVENT_BYTES, SseEvent
from penstock.wire.streaming import Streaming

FORMAT = "cohere-v2"
"""Thoughts; they carry no signature."""
PLAN_FORMAT = "cohere-tool-plan-v2"

_WHY: dict[str, StopReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "ERROR_LIMIT": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
    "ERROR": "error",
    "TIMEOUT": "error",
}


class _Count(Struct, gc=False):
    input_tokens: float | None = None
    output_tokens: float | None = None
    search_units: float | None = None


class _Usage(Struct, gc=False):
    billed_units: _Count | None = None
    tokens: _Count | None = None
    cached_tokens: float | None = None


class _Function(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(Struct, gc=False):
    id: str | None = None
    function: _Function | None = None


class _Content(Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class _DeltaMessage(Struct, gc=False):
    """``content`` and ``tool_calls`` are one object each in a stream."""

    content: _Content | list[_Content] | None = None
    tool_calls: _Call | list[_Call] | None = None
    tool_plan: str | None = None


class _Delta(Struct, gc=False):
    message: _DeltaMessage | None = None
    finish_reason: str | None = None
    usage: _Usage | None = None
    error: str | None = None


class _Frame(Struct, gc=False):
    type: str = ""
    id: str | None = None
    index: int = -1
    delta: _Delta | None = None
    message: Any = None


class _Message(Struct, gc=False):
    content: list[_Content] | None = None
    tool_calls: list[_Call] | None = None
    tool_plan: str | None = None


class _Whole(Struct, gc=False):
    id: str | None = None
    message: _Message | str | None = None
    finish_reason: str | None = None
    usage: _Usage | None = None
    error: Any = None


_decode_frame = msgspec.json.Decoder(_Frame).decode
_decode_whole = msgspec.json.Decoder(_Whole).decode


class _State:
    """What one reply has said so far; shared by both readers."""

    __slots__ = ("cache_priced", "content", "started", "stopped", "tools", "total")

    def __init__(self, *, cache_priced: bool) -> None:
        self.cache_priced = cache_priced
        self.started = False
        self.stopped = False
        self.content = False
        self.total = 0
        self.tools: dict[int, int] = {}  # Cohere's index -> ours

    def said(self, content: _Content, events: list[Event]) -> None:
        if content.thinking:
            events.append(ThinkingDelta(content.thinking, format=FORMAT))
        if content.text:
            self.content = True
            events.append(TextDelta(content.text))

    def plan(self, text: str | None, events: list[Event]) -> None:
        if text:
            events.append(ThinkingDelta(text, format=PLAN_FORMAT))

    def call(self, index: int, call: _Call, events: list[Event]) -> None:
        function = call.function or _Function()
        number = self.tools[index] = self.total
        self.total += 1
        self.content = True
        events.append(ToolStarted(number, call.id or "", function.name or ""))
        self.arguments(index, call, events)

    def arguments(self, index: int, call: _Call, events: list[Event]) -> None:
        number = self.tools.get(index)
        if number is not None and call.function is not None and call.function.arguments:
            events.append(ToolArgs(number, call.function.arguments))

    def end(self, native: str | None, usage: _Usage | None, source: UsageSource, events: list[Event]) -> None:
        self.stopped = True
        if usage is not None:
            events.append(UsageSeen(normal(usage, source, cache_priced=self.cache_priced)))
        why = _WHY.get(native or "") or ("stop" if self.content else "error")
        events.append(Stopped(why, native or ""))


def normal(usage: _Usage, source: UsageSource, *, cache_priced: bool) -> Usage:
    """Cohere's figures as the disjoint vector; a contradiction is noted."""
    notes: list[str] = []
    billed = usage.billed_units
    count = billed or usage.tokens or _Count()
    if billed is None:
        notes.append("billed_units not reported")
    given = {"input": count.input_tokens, "output": count.output_tokens}
    notes += [f"{name}_tokens not reported" for name, value in given.items() if value is None]
    fresh, output = _whole(count.input_tokens), _whole(count.output_tokens)
    read = min(_whole(usage.cached_tokens), fresh) if cache_priced else 0
    searches = _whole(count.search_units)
    return Usage(
        input=fresh - read,
        cache_read=read,
        output=output,
        source=source,
        fees=(("query", searches),) if searches > 0 else (),
        note="; ".join(notes),
    )


def _whole(value: float | None) -> int:
    """Cohere writes counts as floats."""
    return max(0, round(value)) if value is not None else 0


class StreamReader(Streaming):
    """The event stream. Right for any split of the bytes."""

    last_event = "message-end"
    __slots__ = ("_cache_priced", "_state")

    def __init__(self, *, cache_priced: bool) -> None:
        self._cache_priced = cache_priced
        super().__init__()
        self._state = _State(cache_priced=cache_priced)

    def whole(self) -> Promised:
        """A message without a stream, or what is none."""
        return WholeReader("stream", cache_priced=self._cache_priced)

    def over(self) -> bool:
        """``message-end`` has come."""
        return self._state.stopped

    def see(self, event: SseEvent, events: list[Event]) -> None:
        """One event of the wire."""
        data, state = event.data, self._state
        if not data or data == b"[DONE]" or state.stopped:
            return
        try:
            frame = _decode_frame(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamMalformed(f"An event of the provider's stream is not readable: {error}") from error
        delta = frame.delta or _Delta()
        kind = frame.type
        if kind == "message-start":
            if not state.started:
                state.started = True
                events.append(Started(id=frame.id or ""))
            return
        if not kind and isinstance(frame.message, str):
            raise in_reply(frame.message)
        if kind not in _KNOWN:
            return  # citations, debug and what is still to be invented: no neutral word for it
        if not state.started:
            raise UpstreamMalformed(f"The provider's stream has a {kind} where none may stand.")
        if kind == "message-end":
            if delta.error:
                raise in_reply(delta.error)
            state.end(delta.finish_reason, delta.usage, "stream", events)
        elif delta.message is not None:
            self._message(kind, frame.index, delta.message, events)

    def _message(self, kind: str, index: int, message: _DeltaMessage, events: list[Event]) -> None:
        state = self._state
        state.plan(message.tool_plan, events)
        for content in _listed(message.content):
            state.said(content, events)
        for call in _listed(message.tool_calls):
            if kind == "tool-call-start":
                state.call(index, call, events)
            else:
                state.arguments(index, call, events)


T = TypeVar("T")
_KNOWN = frozenset(
    {"content-start", "content-delta", "tool-plan-delta", "tool-call-start", "tool-call-delta", "message-end"}
)


def _listed(value: "T | list[T] | None") -> "list[T]":
    if value is None:
        return []
    return cast("list[T]", value) if isinstance(value, list) else [value]


class WholeReader(Promised):
    """The whole message: gathered, then read at the end."""

    most_bytes = MAX_EVENT_BYTES
    __slots__ = ("_cache_priced",)

    def __init__(self, promised: str = "message", *, cache_priced: bool) -> None:
        self._cache_priced = cache_priced
        super().__init__(promised)

    def read(self, body: bytes) -> list[Event]:
        """All events of the message; or what was wrong with it."""
        try:
            whole = _decode_whole(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self.not_json(body) from error
        if isinstance(whole.message, str) or whole.error is not None:
            raise in_reply(whole.message or whole.error)
        if whole.message is None:
            raise self.other_json()
        return self._events(whole, whole.message)

    def _events(self, whole: _Whole, message: _Message) -> list[Event]:
        state = _State(cache_priced=self._cache_priced)
        events: list[Event] = [Started(id=whole.id or "")]
        thoughts = [content for content in message.content or () if content.thinking]
        for content in thoughts:
            state.said(content, events)
        state.plan(message.tool_plan, events)
        for content in message.content or ():
            if not content.thinking:
                state.said(content, events)
        for index, call in enumerate(message.tool_calls or ()):
            state.call(index, call, events)
        state.end(whole.finish_reason, whole.usage, "provider", events)
        events.append(Finished())
        return events
