"""Events -> a Response, or the stream events that make it, as OpenAI's clients read them.

Rules
- ``sequence_number`` counts every event of a stream from 0. A failure is told twice: ``response.failed`` holds what was
  there, and ``error`` is what the official clients raise on (they look for a field ``error``; read 2026-11).
- What the stream's last event holds is the whole Response, the same as without a stream; ``ask.final`` keeps it.
"""

import time
from typing import Any

import msgspec

from penstock.base.errors import PenstockError, UpstreamFault
from penstock.base.events import Event, Finished, Started, Stopped, TextDelta, UsageSeen
from penstock.base.usage import Usage
from penstock.dialects.openai_chat.errors import error_type
from penstock.dialects.openai_responses.echo import echo
from penstock.dialects.openai_responses.envelope import ResponsesAsk
from penstock.dialects.openai_responses.output import Output
from penstock.wire.ports import Identity

_encode = msgspec.json.Encoder().encode
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseWriter:
    """One reply."""

    __slots__ = ("_ask", "_base", "_last", "_out", "_output", "_stopped", "_told", "_usage")
    content_type = b""

    def __init__(self, ask: ResponsesAsk, identity: Identity) -> None:
        seed = identity.id.removeprefix("gen-")
        self._ask = ask
        self._base: dict[str, Any] = {
            "id": f"resp_{seed}",
            "object": "response",
            "created_at": identity.created_s,
            "model": identity.model,
            **echo(ask),
        }
        self._output = Output(seed, self._tell, custom=ask.custom, summary=ask.summary)
        self._out: list[bytes] = []
        self._told = True
        self._stopped: Stopped | None = None
        self._usage: Usage | None = None

    def write(self, events: list[Event]) -> bytes:
        """Stream events for these events."""
        for event in events:
            self._one(event)
        out, self._out = b"".join(self._out), []
        return out

    def whole(self, events: list[Event]) -> bytes:
        """The non-streaming body. Raises UpstreamFault where the model itself ended in an error."""
        self._told = False
        for event in events:
            self._one(event)
        self._ask.final = body = _encode(self._response())
        return body

    def fail(self, error: PenstockError) -> bytes:
        """The end of a stream that failed: what was there, and why there is no more."""
        self._output.shown()
        said = {"code": error_code(error), "message": error.public()}
        self._tell("response.failed", {"response": {**self._shown("failed"), "error": said}})
        self._ask.sequence += 1
        self._out.append(error_event(error, self._ask.sequence))
        out, self._out = b"".join(self._out), []
        return out

    def _one(self, event: Event) -> None:
        match event:
            case TextDelta():
                self._output.see(event)
            case Started():
                snapshot = {"response": self._shown("in_progress")}
                self._tell("response.created", snapshot)
                self._tell("response.in_progress", snapshot)
            case UsageSeen(usage=usage):
                self._usage = usage
            case Stopped(why=why, native=native):
                if why == "error":
                    raise _failed(native)
                self._stopped = event
                self._output.end(why)
            case Finished():
                response = self._response()
                if self._told:
                    self._ask.final = _encode(response)
                    self._tell(f"response.{response['status']}", {"response": response})
            case _:
                self._output.see(event)

    def _tell(self, name: str, facts: dict[str, Any]) -> None:
        if not self._told:
            return
        ask = self._ask
        ask.sequence += 1
        event = _encode({"type": name, "sequence_number": ask.sequence, **facts})
        self._out.append(b"event: %b\ndata: %b\n\n" % (name.encode(), event))

    def _shown(self, status: str) -> dict[str, Any]:
        """The Response as it stands."""
        usage = self._usage
        return {
            **self._base,
            "status": status,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "output": self._output.items,
            "service_tier": (usage.service_tier if usage is not None else "") or "default",
            "usage": None if usage is None else write_usage(usage),
        }

    def _response(self) -> dict[str, Any]:
        """The Response as it ended."""
        why = self._stopped.why if self._stopped is not None else "stop"
        reason = _INCOMPLETE.get(why)
        response = self._shown("incomplete" if reason else "completed")
        if reason:
            response["incomplete_details"] = {"reason": reason}
        else:
            response["completed_at"] = max(self._base["created_at"], int(time.time()))
        return response


def write_usage(usage: Usage) -> dict[str, Any]:
    """``usage`` as this API counts it: all that was read and written, with what of it was cached and thought."""
    body: dict[str, Any] = {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write_5m + usage.cache_write_1h,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total_tokens,
    }
    if usage.source in ("counted", "estimated"):
        body["estimated"] = True
    return body


def error_code(error: PenstockError) -> str:
    """One of the codes that a failed Response may have."""
    if error.status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if error.code == "content_policy_violation" else "server_error"


def error_event(error: PenstockError, sequence: int) -> bytes:
    """The event ``error``: flat, as it is documented, and with the object that the official clients raise on."""
    said = {"type": error_type(error), "code": error.code, "message": error.public(), "param": error.param}
    event = {**said, "type": "error", "sequence_number": sequence, "error": said}
    return b"event: error\ndata: " + _encode(event) + b"\n\n"


def _failed(native: str) -> UpstreamFault:
    reason = f" ({native})" if native else ""
    return UpstreamFault(f"The model ended its reply in an error{reason}.", code="model_output_error")
