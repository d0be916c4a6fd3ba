"""Events -> a Messages stream, or one message, as Anthropic's client reads them.

Rules
- ``message_delta`` carries the stop reason and the usage, so it waits for ``Finished``: OpenAI says the usage last. What
  the input was is not known at ``message_start`` then; the client takes it from ``message_delta`` (anthropic-python 2.11.0).
- A call is ``tool_use`` even where the provider only said "stop": clients run tools by that word.
- The native word is kept where it is one of Anthropic's own.
"""

from typing import Any

import msgspec

from penstock.base.chat import Ask
from penstock.base.errors import PenstockError, UpstreamFault
from penstock.base.events import Aside, Event, Finished, Started, Stopped, TextDelta, UsageSeen
from penstock.base.usage import Usage
from penstock.dialects.anthropic.blocks import Blocks, Frames, Gathered
from penstock.dialects.anthropic.failures import write_error
from penstock.dialects.anthropic.shapes import WHY
from penstock.wire.ports import Identity
from penstock.wire.sse import sse

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_encode = msgspec.json.Encoder().encode
_MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_TIERS = frozenset({"priority", "batch"})


class MessagesWriter:
    """One reply."""

    __slots__ = ("_blocks", "_exclude", "_failed", "_identity", "_stopped", "_usage")

    content_type = b""

    def __init__(self, ask: Ask, identity: Identity) -> None:
        self._identity = identity
        self._exclude = ask.reasoning is not None and ask.reasoning.exclude
        self._blocks = Frames(identity.id, exclude=self._exclude)
        self._usage: Usage | None = None
        self._stopped: Stopped | None = None
        self._failed = False

    def write(self, events: list[Event]) -> bytes:
        """Frames for these events."""
        if len(events) == 1:
            event = events[0]
            if type(event) is TextDelta:
                return self._blocks.take(event)
        out: list[bytes] = []
        for place, event in enumerate(events):
            if type(event) is Started:
                after = events[place + 1] if place + 1 < len(events) else None
                out.append(self._started(after.usage if isinstance(after, UsageSeen) else None))
            else:
                out.append(self._one(event))
        return b"".join(out)

    def _one(self, event: Event) -> bytes:
        match event:
            case UsageSeen(usage=usage):
                self._usage = usage
                return b""
            case Stopped():
                self._stopped = event
                if event.why == "error":
                    return self.fail(_failed(event))
                return self._blocks.end()
            case Finished():
                return self._finished()
            case Started() | Aside():  # its callers ask for one answer
                return b""
            case _:
                return self._blocks.take(event)

    def _started(self, usage: Usage | None) -> bytes:
        message = self._message([], None)
        message["usage"] = _whole_usage(usage or Usage())
        message["usage"]["output_tokens"] = 0
        return sse(_encode({"type": "message_start", "message": message}), b"message_start")

    def _finished(self) -> bytes:
        if self._failed:
            return b""
        stopped = self._stopped or Stopped("stop")
        frame = {
            "type": "message_delta",
            "delta": _ending(stopped, self._blocks),
            "usage": _usage(self._usage or Usage()),
        }
        return sse(_encode(frame), b"message_delta") + _MESSAGE_STOP

    def fail(self, error: PenstockError) -> bytes:
        """The event that ends a failed stream. No ``message_stop``: it would be taken for success."""
        self._failed = True
        return sse(_encode(write_error(error, self._identity.id)), b"error")

    def whole(self, events: list[Event]) -> bytes:
        """The non-streaming body. Raises UpstreamFault where the model itself ended in an error."""
        blocks = Gathered(self._identity.id, exclude=self._exclude)
        usage, stopped = Usage(), Stopped("stop")
        for event in events:
            match event:
                case UsageSeen(usage=seen):
                    usage = seen
                case Stopped():
                    stopped = event
                case Started() | Aside() | Finished():
                    continue
                case _:
                    blocks.take(event)
        if stopped.why == "error":
            raise _failed(stopped)
        blocks.end()
        message = self._message(blocks.content, stopped, blocks)
        message["usage"] = _whole_usage(usage)
        return _encode(message)

    def _message(
        self, content: list[dict[str, Any]], stopped: Stopped | None, blocks: Blocks | None = None
    ) -> dict[str, Any]:
        return {
            "id": self._identity.id,
            "type": "message",
            "role": "assistant",
            "model": self._identity.model,
            "content": content,
            **_ending(stopped, blocks),
        }


def ending(events: list[Event]) -> bytes:
    """The end of a message that we cut off: ``message_delta`` and ``message_stop``."""
    usage, stopped = Usage(), Stopped("length")
    for event in events:
        if isinstance(event, UsageSeen):
            usage = event.usage
        elif isinstance(event, Stopped):
            stopped = event
    frame = {"type": "message_delta", "delta": _ending(stopped, None), "usage": _usage(usage)}
    return sse(_encode(frame), b"message_delta") + _MESSAGE_STOP


def _ending(stopped: Stopped | None, blocks: Blocks | None) -> dict[str, Any]:
    """Why it stopped, as Anthropic says it."""
    if stopped is None:
        return {"stop_reason": None, "stop_sequence": None, "stop_details": None}
    refusal = "" if blocks is None else "".join(blocks.refusal)
    reason = _REASONS.get(stopped.why, "end_turn")
    if stopped.native in WHY:
        reason = stopped.native
    elif reason == "end_turn":
        if blocks is not None and blocks.called:
            reason = "tool_use"
        elif refusal:
            reason = "refusal"
        elif stopped.stop_sequence is not None:
            reason = "stop_sequence"
    details = None
    if reason == "refusal":
        details = {"type": "refusal", "category": None, "explanation": refusal or None}
    return {"stop_reason": reason, "stop_sequence": stopped.stop_sequence, "stop_details": details}


def _usage(usage: Usage) -> dict[str, Any]:
    """Cumulative figures: input without the cache, output with the thoughts."""
    body: dict[str, Any] = {
        "input_tokens": usage.input + usage.input_audio + usage.input_image,
        "cache_creation_input_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }
    searches = sum(quantity for unit, quantity in usage.fees if unit.partition(":")[0] == "web_search")
    if searches:
        body["server_tool_use"] = {"web_search_requests": searches, "web_fetch_requests": 0}
    if usage.source in ("counted", "estimated"):
        body["estimated"] = True
    return body


def _whole_usage(usage: Usage) -> dict[str, Any]:
    body = _usage(usage)
    body["cache_creation"] = {
        "ephemeral_5m_input_tokens": usage.cache_write_5m,
        "ephemeral_1h_input_tokens": usage.cache_write_1h,
    }
    body["service_tier"] = usage.service_tier if usage.service_tier in _TIERS else "standard"
    return body


def _failed(stopped: Stopped) -> UpstreamFault:
    reason = f" ({stopped.native})" if stopped.native else ""
    return UpstreamFault(f"The model ended its reply in an error{reason}.", code="model_output_error")
