"""What the tests of Anthropic's callers share: golden cases, an ask, and the official client's accumulator."""

from typing import Any, cast

import anthropic
import msgspec
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from penstock.base.chat import ChatRequest
from penstock.base.models import ModelFacts, Target
from penstock.dialects import CALLERS, UPSTREAMS
from penstock.dialects.anthropic import anthropic_caller
from penstock.dialects.anthropic.envelope import MessagesAsk
from penstock.wire.http import WireRequest
from penstock.wire.ports import Identity, ReplyWriter
from penstock.wire.sse import SseReader
from tests.dialects import harness

IDENTITY = Identity("gen-1", 1_794_000_000, "openai/gpt-4o-mini", "openai")
MODELS = {"openai": "gpt-5-mini", "gemini": "gemini-3-flash", "anthropic": "claude-sonnet-4-6"}
HELLO: dict[str, Any] = {
    "model": "anthropic/claude-haiku-4-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}
_EVENT = TypeAdapter[Any](RawMessageStreamEvent)
assert anthropic.__version__ >= "2.11"


def target(dialect: str, model: str = "", **more: Any) -> Target:
    """A target of a dialect, of which nothing is known but its name."""
    model = model or MODELS[dialect]
    return Target(dialect, model, dialect, ModelFacts(dialect, model), **more)


def ask_of(body: Any, version: str = "", betas: str = "", **more: Any) -> MessagesAsk:
    """A caller's body (bytes, or anything as JSON), read."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    caller = anthropic_caller(version.encode(), betas.encode(), **more)
    return cast("MessagesAsk", caller.read_request(raw))


def case_ask(case: harness.Case) -> MessagesAsk:
    """The caller's part of a golden file."""
    options = dict(option.split("=", 1) for option in case.options["caller"])
    return ask_of(case.parts["caller"].strip(), options.get("version", ""), options.get("betas", ""))


def expanded(ask: MessagesAsk) -> ChatRequest:
    """The neutral request."""
    return cast("ChatRequest", CALLERS["anthropic"].expand(ask))


def written(ask: MessagesAsk, dialect: str, model: str = "") -> WireRequest:
    """The request that a provider of this dialect gets, translated."""
    upstream, goal = UPSTREAMS[dialect], target(dialect, model)
    neutral = expanded(ask)
    assert upstream.refuse(neutral, goal) is None
    return upstream.write_request(neutral, goal, "KEY")


def writer(ask: MessagesAsk | None = None) -> ReplyWriter:
    """A writer for one reply."""
    return CALLERS["anthropic"].writer(ask or ask_of(HELLO), IDENTITY)


def frames(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream, each with its ``event:`` line, as the client wants it."""
    seen: list[dict[str, Any]] = []
    for event in SseReader().feed(data):
        frame = msgspec.json.decode(event.data or b"null")
        assert event.name.decode() == frame["type"]
        seen.append(frame)
    return seen


def accumulated(data: bytes) -> Message:
    """The message that the official client makes of a stream; every event is checked by its own types."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for frame in frames(data):
        if frame["type"] in ("ping", "error"):
            continue
        event = _EVENT.validate_python(frame)
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    return cast("Message", snapshot)
