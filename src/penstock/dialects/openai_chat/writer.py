"""Events -> chat completion chunks, or one chat completion, as an OpenAI client reads them.

Theory
------
All chunks of a reply share their head and tail, so these are encoded once; a delta costs the JSON of its text and a
join. A tool call whose arguments never came gets ``{}`` before the finish (behaviour 15).
"""

from typing import Any

import msgspec

from penstock.base.chat import Ask
from penstock.base.errors import PenstockError, UpstreamFault
from penstock.base.events import (
    Aside,
    Event,
    Finished,
    Folded,
    MediaMade,
    RefusalDelta,
    Started,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolStarted,
    UsageSeen,
    fold,
)
from penstock.base.usage import Usage
from penstock.dialects.openai_chat.details import write_detail
from penstock.dialects.openai_chat.errors import write_error, write_openrouter_error
from penstock.dialects.openai_chat.openrouter import charge_of, cost_fields
from penstock.dialects.openai_chat.rules import wants_usage
from penstock.dialects.openai_chat.usage import write_usage
from penstock.wire.ports import Identity

_encode = msgspec.json.Encoder().encode
_DONE = b"data: [DONE]\n\n"
_ROLE = b'"role":"assistant","content":""'


class ChatWriter:
    """One reply. ``openrouter`` adds what its clients expect: provider, usage always, its error shape."""

    __slots__ = (
        "_argless",
        "_asides",
        "_ask",
        "_detail_format",
        "_detail_index",
        "_exclude",
        "_failed",
        "_head",
        "_identity",
        "_images",
        "_include_usage",
        "_joins",
        "_openrouter",
        "_served",
        "_start",
        "_stop",
        "_tail",
        "_usage",
    )
    content_type = b""

    def __init__(self, ask: Ask, identity: Identity, *, openrouter: bool = False, index: int = 0) -> None:
        """``index``: of the choice; the others of a reply have writers beside the first one's."""
        self._ask = ask
        self._identity = identity
        self._openrouter = openrouter
        self._include_usage = wants_usage(ask)
        self._exclude = ask.reasoning is not None and ask.reasoning.exclude
        self._usage: Usage | None = None
        self._served = ""
        self._argless: list[int] = []
        self._detail_index = 0
        self._detail_format: str = ""
        self._joins = False
        self._images = 0
        self._failed = False
        self._asides: dict[int, ChatWriter] = {}
        self._stop: Stopped | None = None
        facts = self._facts("chat.completion.chunk")
        self._start = b"data: " + _encode(facts)[:-1]
        self._head = self._start + b',"choices":[{"index":%d,"delta":{' % index
        self._tail = b'},"logprobs":null,"finish_reason":null}]' + self._no_usage() + b"}\n\n"

    def _facts(self, kind: str) -> dict[str, Any]:
        identity = self._identity
        facts: dict[str, Any] = {
            "id": identity.id,
            "object": kind,
            "created": identity.created_s,
            "model": identity.model,
        }
        if self._openrouter and identity.provider:
            facts["provider"] = identity.provider
        facts["system_fingerprint"] = None
        return facts

    def _no_usage(self) -> bytes:
        return b',"usage":null' if self._include_usage else b""

    @property
    def stopped(self) -> bool:
        """Its finish reason has been written."""
        return self._stop is not None

    def write(self, events: list[Event]) -> bytes:
        """Chunks for these events."""
        if len(events) == 1:
            event = events[0]
            if type(event) is TextDelta:
                text = event.text
                return self._head + b'"content":' + _encode(text) + self._tail if text else b""
        return b"".join([self._one(event) for event in events])

    def _one(self, event: Event) -> bytes:
        match event:
            case TextDelta(text=text):
                return self._delta(b'"content":' + _encode(text)) if text else b""
            case ThinkingDelta():
                return b"" if self._exclude else self._thinking(event)
            case ToolArgs(index=index, json=fragment):
                if not fragment:
                    return b""
                if index in self._argless:
                    self._argless.remove(index)
                return self._arguments(index, fragment)
            case ToolStarted():
                self._argless.append(event.index)
                call = {
                    "index": event.index,
                    "id": event.id,
                    "type": "function",
                    "function": {"name": event.name, "arguments": ""},
                }
                return self._delta(b'"tool_calls":[' + _encode(call) + b"]")
            case RefusalDelta(text=text):
                return self._delta(b'"refusal":' + _encode(text)) if text else b""
            case MediaMade():
                return self._media(event)
            case UsageSeen(usage=usage):
                self._usage = usage
                return b""
            case Started(model=served):
                self._served = served
                return self._delta(_ROLE)
            case Stopped():
                return self._stopped(event)
            case Aside(index=index, event=said):
                return self._aside(index, said)
            case Finished():
                return self._finished()
            case _:
                raise AssertionError(f"a {type(event).__name__} in a chat")

    def _aside(self, index: int, event: Event) -> bytes:
        """A chunk of another choice."""
        beside, opening = self._asides.get(index), b""
        if beside is None:
            beside = ChatWriter(self._ask, self._identity, openrouter=self._openrouter, index=index)
            self._asides[index] = beside
            opening = beside.write([Started()])
        return opening + beside.write([event])

    def _delta(self, inner: bytes) -> bytes:
        return self._head + inner + self._tail

    def _arguments(self, index: int, fragment: str) -> bytes:
        return self._delta(
            b'"tool_calls":[{"index":%d,"function":{"arguments":%b}}]' % (index, _encode(fragment))
        )

    def _thinking(self, event: ThinkingDelta) -> bytes:
        alone = bool(event.redacted or event.tool_id)
        if self._joins and (alone or event.format != self._detail_format):
            self._detail_index += 1
            self._joins = False
        detail = _encode(write_detail(event, self._detail_index, first=not self._joins))
        self._detail_format = event.format
        # A signature, a redacted block or a tool's signature ends its block; the next detail begins another.
        ends = alone or bool(event.signature)
        self._joins = not ends
        if ends:
            self._detail_index += 1
        inner = b'"reasoning_details":[' + detail + b"]"
        return self._delta(b'"reasoning":' + _encode(event.text) + b"," + inner if event.text else inner)

    def _media(self, event: MediaMade) -> bytes:
        if event.kind == "audio":
            return self._delta(b'"audio":' + _encode(_audio(self._identity, event.data)))
        image = _image(event, self._images)
        self._images += 1
        return self._delta(b'"images":[' + _encode(image) + b"]")

    def _stopped(self, event: Stopped) -> bytes:
        out = b"".join(self._arguments(index, "{}") for index in self._argless)
        self._argless, self._stop = [], event
        if event.why == "error":
            return out + self.fail(_failed(event))
        return (
            out
            + self._head
            + b'},"logprobs":null,"finish_reason":'
            + _encode(event.why)
            + b',"native_finish_reason":'
            + _encode(event.native or event.why)
            + b"}]"
            + self._no_usage()
            + b"}\n\n"
        )

    def _finished(self) -> bytes:
        if self._failed:
            return b""
        # Where the reply was cut, the others end as the first one does.
        cut = [one.write([self._stop or Stopped("stop")]) for one in self._asides.values() if not one.stopped]
        return b"".join(cut) + self._last()

    def _last(self) -> bytes:
        if self._include_usage and self._usage is not None:
            told = _encode(self._told(self._usage, self._served))
            return self._start + b',"choices":[],' + told[1:] + b"\n\n" + _DONE
        return _DONE

    def fail(self, error: PenstockError) -> bytes:
        """The frame that ends a failed stream. No ``[DONE]``: it would be taken for success."""
        self._failed = True
        if self._openrouter:
            return openrouter_failure(error, self._identity.id, self._start)
        return b"data: " + _encode(write_error(error, self._identity.id)) + b"\n\n"

    def whole(self, events: list[Event]) -> bytes:
        """The non-streaming body. Raises UpstreamFault where the model itself ended in an error."""
        folded = fold(events)
        body = self._facts("chat.completion")
        answers = {0: folded, **folded.asides}
        body["choices"] = [self._choice(index, answer) for index, answer in answers.items()]
        if folded.usage is not None:
            body.update(self._told(folded.usage, folded.model))
        return _encode(body)

    def _choice(self, index: int, folded: Folded) -> dict[str, Any]:
        stopped = folded.stopped or Stopped("stop")
        if stopped.why == "error":
            raise _failed(stopped)
        return {
            "index": index,
            "message": self._message(folded),
            "logprobs": None,
            "finish_reason": stopped.why,
            "native_finish_reason": stopped.native or stopped.why,
        }

    def _told(self, usage: Usage, served: str) -> dict[str, Any]:
        """``usage``, and what OpenRouter's callers are told with it."""
        told: dict[str, Any] = {"usage": write_usage(usage)}
        if self._openrouter:
            told["usage"].update(cost_fields(charge_of(self._identity, usage, served)))
            if self._identity.story is not None:
                told["openrouter_metadata"] = self._identity.story()
        return told

    def _message(self, folded: Folded) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": folded.text or (None if folded.tools or folded.refusal else ""),
            "refusal": folded.refusal or None,
        }
        if folded.thinking and not self._exclude:
            message["reasoning"] = "".join(block.text for block in folded.thinking) or None
            message["reasoning_details"] = [
                write_detail(block, index) for index, block in enumerate(folded.thinking)
            ]
        if folded.tools:
            message["tool_calls"] = [
                {
                    "id": tool.id,
                    "type": "function",
                    "function": {"name": tool.name, "arguments": tool.arguments},
                }
                for tool in folded.tools
            ]
        images = [made for made in folded.media if made.kind == "image"]
        if images:
            message["images"] = [_image(made, index) for index, made in enumerate(images)]
        sounds = [made.data for made in folded.media if made.kind == "audio"]
        if sounds:
            message["audio"] = _audio(self._identity, "".join(sounds))
        return message


def openrouter_failure(error: PenstockError, request_id: str, start: bytes) -> bytes:
    """OpenRouter's end of a failed stream: a chunk with an error and a choice that says so. ``start`` is its head."""
    body = _encode(write_openrouter_error(error, request_id))
    return (
        start
        + b","
        + body[1:-1]
        + b',"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,'
        + b'"finish_reason":"error","native_finish_reason":null}]}\n\n'
    )


def _failed(stopped: Stopped) -> UpstreamFault:
    reason = f" ({stopped.native})" if stopped.native else ""
    return UpstreamFault(f"The model ended its reply in an error{reason}.", code="model_output_error")


def _image(made: MediaMade, index: int) -> dict[str, Any]:
    url = made.url or f"data:{made.mime};base64,{made.data}"
    return {"type": "image_url", "image_url": {"url": url}, "index": index}


def _audio(identity: Identity, data: str) -> dict[str, Any]:
    return {"id": f"audio_{identity.id}", "data": data, "expires_at": identity.created_s, "transcript": ""}
