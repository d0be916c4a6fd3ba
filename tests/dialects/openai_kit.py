"""What the OpenAI dialect's tests share: its golden replies, readers and relays, and chunks by hand."""

import json
from typing import Any

import pytest

from penstock.base.chat import Ask
from penstock.base.models import ModelFacts, Target
from penstock.dialects.openai_chat import OPENAI
from penstock.wire.ports import Relay, ReplyReader
from penstock.wire.sse import sse
from tests.dialects.harness import cases

TARGET = Target("openai", "gpt-4o-mini", "openai", ModelFacts("openai", "gpt-4o-mini"))
CASES = [case for case in cases("openai") if "wire-reply" in case.parts]
STREAMS = [case for case in CASES if case.stream]
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
streams_by_name = pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)


def reader(*, stream: bool = True) -> ReplyReader:
    """A reader of events."""
    return OPENAI.reader(TARGET, stream=stream)


def relay(*, stream: bool = True, include_usage: bool = False, dialect: str = "openai") -> Relay:
    """A relay for a caller of ``dialect``."""
    ask = Ask(dialect=dialect, body=b"{}", model="m", stream=stream, include_usage=include_usage)
    return OPENAI.relay(ask, stream=stream)


def through(one: Relay, chunks: list[bytes]) -> bytes:
    """What the caller gets."""
    return b"".join([*(one.feed(chunk) for chunk in chunks), one.close()])


def chunk(
    delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **more: Any
) -> bytes:
    """One event with one choice."""
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return sse(json.dumps({"id": "c", "model": "m", "choices": [choice], **more}).encode())


DONE = b"data: [DONE]\n\n"
HELLO = chunk({"role": "assistant", "content": ""}) + chunk({"content": "Hello"})
