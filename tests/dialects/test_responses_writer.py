"""Events as a Responses client reads them, held against the official client's own types and accumulator."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from penstock.base.errors import UpstreamTruncated
from penstock.base.events import (
    Event,
    Finished,
    MediaMade,
    RefusalDelta,
    Started,
    Stopped,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolStarted,
    UsageSeen,
)
from penstock.base.usage import Usage
from penstock.dialects.openai_responses import ResponsesCaller
from penstock.wire.ports import Identity
from penstock.wire.sse import SseReader

IDENTITY = Identity("gen-0123456789abcdef", 1_794_000_000, "anthropic/claude-haiku-4-5", "anthropic")
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
TOOLS = [
    {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}},
    {"type": "custom", "name": "shell"},
]
USAGE = UsageSeen(Usage(input=5, cache_read=3, output=7, reasoning=2))


def caller(**more: Any) -> ResponsesCaller:
    made = ResponsesCaller()
    made.read_request(json.dumps({"model": "m", "input": "hi", "tools": TOOLS, **more}).encode())
    return made


def streamed(events: list[Event], **more: Any) -> list[dict[str, Any]]:
    """The events of a whole stream, one batch at a time or all at once: the same."""
    one = caller(stream=True, **more)
    assert one.ask is not None
    writer = one.writer(one.ask, IDENTITY)
    out = b"".join(writer.write([event]) for event in events)
    return told(out)


def told(out: bytes) -> list[dict[str, Any]]:
    """Each event under the name that its data says."""
    found = SseReader().feed(out)
    assert b"".join(event.raw for event in found) == out
    said = [json.loads(event.data or b"") for event in found]
    assert [event.name.decode() for event in found] == [one["type"] for one in said]
    return said


def whole(events: list[Event], **more: Any) -> dict[str, Any]:
    one = caller(**more)
    assert one.ask is not None
    body = one.writer(one.ask, IDENTITY).whole(events)
    assert one.ask.final == body
    return json.loads(body)


def reply(*content: Event, why: StopReason = "stop") -> list[Event]:
    return [Started("claude", "msg_1"), *content, USAGE, Stopped(why, "end_turn"), Finished()]


texts = st.text(min_size=1, max_size=8)
deltas = st.one_of(
    st.builds(TextDelta, st.text(max_size=8)),
    st.builds(RefusalDelta, texts),
    st.builds(ThinkingDelta, texts),
    st.builds(lambda text: ThinkingDelta(signature=text, format="anthropic-claude-v1"), texts),
    st.builds(lambda text: ThinkingDelta(redacted=text, format="anthropic-claude-v1"), texts),
    st.builds(lambda text: ThinkingDelta(redacted=text, format="openai-responses-v1", tool_id="rs_9"), texts),
    st.builds(lambda text: MediaMade("image", "image/png", data=text), texts),
)


@st.composite
def replies(draw: st.DrawFn) -> list[Event]:
    """Content in any order, and between it calls whose arguments come in any interleaving."""
    events: list[Event] = []
    index = 0
    for _ in range(draw(st.integers(0, 5))):
        if draw(st.booleans()):
            events.append(draw(deltas))
            continue
        run = range(index, index + draw(st.integers(1, 3)))
        index = run.stop
        pieces = {one: list(draw(st.sampled_from(['{"a":1}', '{"input":"x"}', ""]))) for one in run}
        events += [
            ToolStarted(one, f"call_{one}", draw(st.sampled_from(["weather", "shell"]))) for one in run
        ]
        while any(pieces.values()):
            one = draw(st.sampled_from([one for one in run if pieces[one]]))
            events.append(ToolArgs(one, pieces[one].pop(0)))
    return reply(*events, why=draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter"])))


def timeless(response: dict[str, Any]) -> dict[str, Any]:
    return {**response, "completed_at": None}


@settings(deadline=None, max_examples=50)
@given(replies(), st.booleans())
def test_the_stream_accumulates_to_the_whole_in_the_clients_own_types(
    events: list[Event], summary: bool
) -> None:
    """Each event has the type its name says; numbers count up; the accumulated deltas are the whole's words."""
    more: dict[str, Any] = {"reasoning": {"summary": "auto"}} if summary else {}
    said = streamed(events, **more)
    response = whole(events, **more)
    Response.model_validate(response)
    assert [one["sequence_number"] for one in said] == list(range(len(said)))
    assert [one["type"] for one in said[:2]] == ["response.created", "response.in_progress"]
    assert said[-1]["type"] == f"response.{response['status']}"
    assert timeless(said[-1]["response"]) == timeless(response)
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    for one in said:
        state.handle_event(EVENT.validate_python(one))
    assert words_of(said) == {
        place: words(item) for place, item in enumerate(response["output"]) if words(item)
    }
    opened = [one["output_index"] for one in said if one["type"] == "response.output_item.added"]
    closed = {one["output_index"]: one["item"] for one in said if one["type"] == "response.output_item.done"}
    assert opened == list(range(len(response["output"])))
    assert [closed[place] for place in opened] == response["output"]


def words(item: dict[str, Any]) -> str:
    parts = [*item.get("content", ()), *item.get("summary", ())]
    said = "".join(part.get("text") or part.get("refusal") or "" for part in parts)
    return said + item.get("arguments", "") + item.get("input", "")


def words_of(said: list[dict[str, Any]]) -> dict[int, str]:
    """Deltas alone, by item."""
    found: dict[int, str] = {}
    for one in said:
        if one["type"].endswith(".delta") and one["delta"]:
            found[one["output_index"]] = found.get(one["output_index"], "") + one["delta"]
    return found


def test_a_response_says_what_was_asked() -> None:
    """The echoed fields, with OpenAI's defaults for the others; usage in this API's words."""
    asked: dict[str, Any] = {
        "instructions": "Be brief.",
        "metadata": {"sku": "12"},
        "reasoning": {"effort": "low"},
        "text": {"verbosity": "low"},
        "temperature": 0.5,
        "tool_choice": {"type": "function", "name": "weather"},
        "max_output_tokens": 99,
        "store": False,
    }
    made = Response.model_validate(whole(reply(TextDelta("Hello")), **asked))
    assert (made.id, made.object, made.output_text) == ("resp_0123456789abcdef", "response", "Hello")
    assert (made.instructions, made.metadata, made.temperature) == ("Be brief.", {"sku": "12"}, 0.5)
    assert made.model_dump()["store"] is False
    assert made.text is not None
    assert made.text.format is not None
    assert (made.text.verbosity, made.text.format.type) == ("low", "text")
    assert made.usage is not None
    assert made.usage.model_dump(exclude_none=True) == {
        "input_tokens": 8,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 17,
    }


@pytest.mark.parametrize(
    ("why", "status", "reason"),
    [("length", "incomplete", "max_output_tokens"), ("content_filter", "incomplete", "content_filter")],
)
def test_an_answer_cut_short_is_incomplete(why: StopReason, status: str, reason: str) -> None:
    """With its reason, and a message that is incomplete, too."""
    said = streamed(reply(TextDelta("Hal"), why=why))
    last = said[-1]["response"]
    assert (said[-1]["type"], last["status"]) == ("response.incomplete", status)
    assert last["incomplete_details"] == {"reason": reason}
    assert last["output"][0]["status"] == "incomplete"


def test_a_stream_that_breaks_says_so_twice() -> None:
    """``response.failed`` with what was there, then the error on which the official client raises."""
    one = caller(stream=True)
    assert one.ask is not None
    writer = one.writer(one.ask, IDENTITY)
    out = writer.write([Started("claude"), TextDelta("Hal")])
    out += one.write_stream_error(UpstreamTruncated("The provider closed its stream."), "gen-1")
    said = told(out)
    assert [event["type"] for event in said[-2:]] == ["response.failed", "error"]
    assert [event["sequence_number"] for event in said] == list(range(len(said)))
    failed = EVENT.validate_python(said[-2])
    assert (failed.response.error.code, failed.response.output[0].content[0].text) == ("server_error", "Hal")
    assert EVENT.validate_python(said[-1]).message == "The provider closed its stream."
    assert said[-1]["error"]["code"] == "upstream_truncated"
    assert not one.ask.final


def test_a_stream_that_goes_through_ends_with_the_next_number() -> None:
    """The relay has seen the last one; there is no snapshot of ours."""
    one = caller(stream=True)
    assert one.ask is not None
    one.ask.translated, one.ask.sequence = False, 6
    [event] = told(one.write_stream_error(UpstreamTruncated("Cut."), "gen-1"))
    assert (event["type"], event["sequence_number"], event["error"]["message"]) == ("error", 7, "Cut.")
