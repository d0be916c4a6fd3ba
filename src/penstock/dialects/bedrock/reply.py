"""Converse's replies -> events: the event stream, and the whole message.

Theory
------
``messageStart`` … blocks … ``messageStop`` (why) … ``metadata`` (usage, exact), each a binary frame (wire.eventstream).
A text block has no start of its own; blocks are numbered together, and a map leads from a block to our tool index. A
tool without arguments sends ``""`` or nothing: nothing is emitted, and the fold makes it ``{}``.

Rules
- Usage is additive: ``inputTokens`` excludes what was read from and written to the cache, ``totalTokens`` is the sum of
  all four (prompt caching guide). Streams of OpenAI's models count the cache into ``inputTokens`` as well, and twice in
  the total (bifrost #6942, 2026-09): where the sum of all is the total and the input cannot be a remainder, it is made one.
- The stream ends with ``metadata``, after ``messageStop``. EOF before both is a truncation, whatever has come (behaviour 5).
- An exception frame is an error with its own class. One that arrives in the same bytes as good events is raised by the
  next call, so that they are not lost.
- A reply that is JSON where a stream was promised is read as what it is: a whole message or an error.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.base.errors import UpstreamError, UpstreamMalformed, UpstreamTruncated
from penstock.base.events import (
    Event,
    Finished,
    MediaMade,
    Started,
    Stopped,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolStarted,
    UsageSeen,
)
from penstock.base.usage import Usage, UsageSource, service_tier_of
from penstock.dialects.bedrock.errors import from_frame, from_object, is_error
from penstock.wire.eventstream import MAX_FRAME_BYTES, EventFrame, EventStreamReader
from penstock.wire.gathered import Promised

CLAUDE_FORMAT = "anthropic-claude-v1"
"""Whose signatures a Claude's are, wherever it is served."""
FORMAT = "amazon-bedrock-v1"
"""Any other opaque state: good at Bedrock alone."""
MAX_REPLY_BYTES = 8 * MAX_FRAME_BYTES

_WHY: dict[str, StopReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}


class _CacheDetail(Struct, gc=False):
    ttl: str = ""
    inputTokens: int = 0  # noqa: N815 - the wire's name


class _Usage(Struct, gc=False, rename="camel"):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cache_details: list[_CacheDetail] | None = None


class _Tier(Struct, gc=False):
    type: str | None = None


class _ToolUse(Struct, gc=False, rename="camel"):
    tool_use_id: str = ""
    name: str = ""
    input: Raw = Raw(b"")
    type: str | None = None

    @property
    def ours(self) -> bool:
        """To be called by the caller; a server's tool is Bedrock's own affair."""
        return self.type != "server_tool_use"


class _ReasoningText(Struct, gc=False):
    text: str | None = None
    signature: str | None = None


class _Reasoning(Struct, gc=False, rename="camel"):
    reasoning_text: _ReasoningText | None = None
    redacted_content: str | None = None
    text: str | None = None
    signature: str | None = None


class _Source(Struct, gc=False):
    bytes: str | None = None


class _Image(Struct, gc=False):
    format: str = "png"
    source: _Source | None = None


class _Cited(Struct, gc=False):
    text: str | None = None


class _Citations(Struct, gc=False):
    content: list[_Cited] = []


class _Block(Struct, gc=False, rename="camel"):
    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None
    citations_content: _Citations | None = None
    image: _Image | None = None


class _ToolDelta(Struct, gc=False):
    input: str | None = None


class _Delta(Struct, gc=False, rename="camel"):
    text: str | None = None
    tool_use: _ToolDelta | None = None
    reasoning_content: _Reasoning | None = None
    image: _Image | None = None


class _Frame(Struct, gc=False, rename="camel"):
    content_block_index: int = -1
    start: _Block | None = None
    delta: _Delta | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    service_tier: _Tier | None = None


class _Message(Struct, gc=False):
    content: list[_Block] = []


class _Output(Struct, gc=False):
    message: _Message | None = None


class _Whole(Struct, gc=False, rename="camel"):
    output: _Output | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    service_tier: _Tier | None = None


_decode_frame = msgspec.json.Decoder(_Frame).decode
_decode_whole = msgspec.json.Decoder(_Whole).decode


class _State:
    """What one reply has said so far; shared by both readers."""

    __slots__ = ("content", "format", "images", "started", "stopped", "tools", "total", "used")

    def __init__(self, *, claude: bool) -> None:
        self.format = CLAUDE_FORMAT if claude else FORMAT
        self.started = False
        self.stopped = False
        self.content = False
        self.used = False
        self.total = 0
        self.tools: dict[int, int] = {}  # block -> tool index
        self.images: dict[int, str] = {}  # block -> its type

    def tool(self, index: int, tool: _ToolUse, events: list[Event]) -> int:
        number = self.tools[index] = self.total
        self.total += 1
        self.content = True
        events.append(ToolStarted(number, tool.tool_use_id, tool.name))
        return number

    def text(self, text: str | None, events: list[Event]) -> None:
        if text:
            self.content = True
            events.append(TextDelta(text))

    def reasoning(self, said: _Reasoning, events: list[Event]) -> None:
        whole = said.reasoning_text
        text = said.text or (whole.text if whole else None) or ""
        signature = said.signature or (whole.signature if whole else None) or ""
        if text or signature:
            events.append(ThinkingDelta(text, signature, self.format))
        if said.redacted_content:
            events.append(ThinkingDelta(format=FORMAT, redacted=said.redacted_content))

    def image(self, form: str, source: _Source | None, events: list[Event]) -> None:
        if source is not None and source.bytes:
            self.content = True
            events.append(MediaMade("image", f"image/{form}", source.bytes))

    def stop(self, native: str | None, events: list[Event]) -> None:
        self.stopped = True
        why = _WHY.get(native or "") or ("stop" if self.content else "error")
        events.append(Stopped(why, native or ""))

    def count(self, usage: _Usage | None, tier: _Tier | None, source: UsageSource) -> list[Event]:
        if usage is None:
            return []
        self.used = True
        return [UsageSeen(_normal(usage, tier.type if tier else None, source))]


def _normal(usage: _Usage, tier: str | None, source: UsageSource) -> Usage:
    """Bedrock's figures as the disjoint vector; a contradiction is noted."""
    notes: list[str] = []
    if usage.input_tokens is None:
        notes.append("inputTokens not reported")
    if usage.output_tokens is None:
        notes.append("outputTokens not reported")
    fresh, output = usage.input_tokens or 0, usage.output_tokens or 0
    read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    hour = sum(detail.inputTokens for detail in usage.cache_details or () if detail.ttl == "1h")
    if hour > written:
        notes.append(f"cache writes: {hour} for 1h of {written} in all")
        hour = written
    total, parts = usage.total_tokens, fresh + read + written + output
    if total is not None and total != parts:
        notes.append(f"totalTokens {total} is not the sum {parts}")
    return Usage(
        input=fresh,
        cache_read=read,
        cache_write_5m=written - hour,
        cache_write_1h=hour,
        output=output,
        source=source,
        service_tier=service_tier_of(tier),
        note="; ".join(notes),
    )


class StreamReader:
    """The event stream. Right for any split of the bytes."""

    __slots__ = ("_claude", "_failure", "_frames", "_openai", "_state", "_whole")

    def __init__(self, model: str) -> None:
        self._claude = "claude" in model.lower()
        self._openai = "openai." in model.lower()
        self._frames = EventStreamReader()
        self._state = _State(claude=self._claude)
        self._whole: WholeReader | bool | None = None  # None: not known yet; False: it is a stream
        self._failure: UpstreamError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Events completed by ``data``."""
        if self._failure is not None:
            raise self._failure
        if not data:
            return []
        if self._whole is None:
            self._whole = (
                WholeReader("claude" if self._claude else "", "stream") if data[:1] in b"{[<" else False
            )
        if isinstance(self._whole, WholeReader):
            return self._whole.feed(data)
        events: list[Event] = []
        try:
            for frame in self._frames.feed(data):
                self._see(frame, events)
        except UpstreamError as failure:
            if not events:
                raise
            self._failure = failure
        return events

    def close(self) -> list[Event]:
        """The wire has ended: ``Finished``, or UpstreamTruncated."""
        if self._failure is not None:
            raise self._failure
        if isinstance(self._whole, WholeReader):
            return self._whole.close()
        self._frames.close()
        state = self._state
        if not (state.stopped and state.used):
            raise UpstreamTruncated("The provider closed the stream before its end (messageStop, metadata).")
        return [Finished()]

    def _see(self, frame: EventFrame, events: list[Event]) -> None:
        name, state = frame.name, self._state
        if frame.kind in ("exception", "error"):
            raise from_frame(name, frame.payload, frame.headers.get(":error-message", ""))
        if frame.kind != "event":
            raise UpstreamMalformed("A frame of the provider's stream says not what it is.")
        try:
            said = _decode_frame(frame.payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamMalformed(f"An event of the provider's stream is not readable: {error}") from error
        match name:
            case "messageStart":
                if not state.started:
                    state.started = True
                    events.append(Started())
            case "contentBlockStart" | "contentBlockDelta":
                if not state.started or state.stopped:
                    raise _out_of_place(name)
                if said.start is not None:
                    self._start(said.content_block_index, said.start, events)
                if said.delta is not None:
                    self._delta(said.content_block_index, said.delta, events)
            case "messageStop":
                if not state.started or state.stopped:
                    raise _out_of_place(name)
                state.stop(said.stop_reason, events)
            case "metadata":
                if not state.started:
                    raise _out_of_place(name)
                if not state.used:
                    events.extend(state.count(self._remainder(said.usage), said.service_tier, "stream"))
            case _:
                pass  # contentBlockStop, and what is still to be invented

    def _remainder(self, usage: _Usage | None) -> _Usage | None:
        """OpenAI's models: the input without the cache, and a total that counts it once (see the rules)."""
        if usage is None or not self._openai:
            return usage
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_write_input_tokens or 0)
        fresh = usage.input_tokens or 0
        doubled = usage.total_tokens == fresh + cached + (usage.output_tokens or 0)
        if cached and fresh >= cached and doubled:
            usage.input_tokens = fresh - cached
            usage.total_tokens = None
        return usage

    def _start(self, index: int, block: _Block, events: list[Event]) -> None:
        if block.tool_use is not None and block.tool_use.ours:
            self._state.tool(index, block.tool_use, events)
        elif block.image is not None:
            self._state.images[index] = block.image.format

    def _delta(self, index: int, delta: _Delta, events: list[Event]) -> None:
        state = self._state
        state.text(delta.text, events)
        if delta.tool_use is not None and delta.tool_use.input:
            tool = state.tools.get(index)
            if tool is not None:  # else a server tool's
                events.append(ToolArgs(tool, delta.tool_use.input))
        if delta.reasoning_content is not None:
            state.reasoning(delta.reasoning_content, events)
        if delta.image is not None:
            state.image(state.images.get(index, "png"), delta.image.source, events)
        # Citations: no neutral word for them.


class WholeReader(Promised):
    """The whole message: gathered, then read at the end."""

    most_bytes = MAX_REPLY_BYTES
    __slots__ = ("_claude",)

    def __init__(self, model: str, promised: str = "message") -> None:
        self._claude = "claude" in model.lower()
        super().__init__(promised)

    def read(self, body: bytes) -> list[Event]:
        """All events of the message; or what was wrong with it."""
        try:
            whole = _decode_whole(body)
            if whole.output is None:
                self._raise_other(msgspec.json.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self.not_json(body) from error
        return self._events(whole)

    def _raise_other(self, body: dict[str, Any]) -> None:
        if is_error(body):
            raise from_object(body)
        raise self.other_json()

    def _events(self, whole: _Whole) -> list[Event]:
        state = _State(claude=self._claude)
        events: list[Event] = [Started()]
        message = whole.output.message if whole.output is not None else None
        for index, block in enumerate(message.content if message is not None else ()):
            state.text(block.text, events)
            if block.citations_content is not None:
                for cited in block.citations_content.content:
                    state.text(cited.text, events)
            if block.reasoning_content is not None:
                state.reasoning(block.reasoning_content, events)
            if block.tool_use is not None and block.tool_use.ours:
                self._tool(state, index, block.tool_use, events)
            if block.image is not None:
                state.image(block.image.format, block.image.source, events)
        events.extend(state.count(whole.usage, whole.service_tier, "provider"))
        state.stop(whole.stop_reason, events)
        events.append(Finished())
        return events

    @staticmethod
    def _tool(state: _State, index: int, tool: _ToolUse, events: list[Event]) -> None:
        number = state.tool(index, tool, events)
        raw = bytes(tool.input)
        if raw[1:-1].strip() and raw != b"null":
            try:
                events.append(ToolArgs(number, raw.decode()))
            except UnicodeDecodeError as error:
                raise UpstreamMalformed("A tool's input in the provider's reply is not UTF-8.") from error


def _out_of_place(kind: str) -> UpstreamMalformed:
    return UpstreamMalformed(f"The provider's stream has a {kind} where none may stand.")
