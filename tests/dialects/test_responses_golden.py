"""The Responses dialect against its golden files: requests as written, replies in any split and cut at every byte.

What goes through is held to the same: byte for byte, with the same usage, and cut where it is cut.
"""

import json
from typing import Any

import msgspec
import pytest
from openai.types.responses import ResponseCreateParams, ResponseStreamEvent
from pydantic import TypeAdapter

from penstock.base.chat import Audio, ChatRequest, Message, Text
from penstock.base.errors import UpstreamError, UpstreamTruncated
from penstock.base.events import Finished, Stopped, UsageSeen, is_content
from penstock.base.models import ModelFacts, Target
from penstock.base.usage import Usage
from penstock.dialects.openai_responses import RESPONSES
from penstock.dialects.openai_responses.envelope import ResponsesAsk
from penstock.wire.ports import Relay, ReplyReader
from penstock.wire.sse import SseReader
from tests.dialects import harness

CASES = harness.cases("responses")
REQUESTS = [case for case in CASES if "neutral" in case.parts]
REPLIES = [case for case in CASES if "events" in case.parts]
FAILURES = [case for case in CASES if "raises" in case.parts]
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
by_name = pytest.mark.parametrize("case", REPLIES, ids=lambda case: case.name)


def target(model: str = "gpt-5") -> Target:
    return Target("openai", model, "responses", ModelFacts("openai", model))


def reader(case: harness.Case) -> ReplyReader:
    return RESPONSES.reader(target(), stream=case.stream)


def relay(case: harness.Case) -> tuple[Relay, ResponsesAsk]:
    ask = ResponsesAsk("responses", b"{}", "gpt-5", case.stream)
    return RESPONSES.relay(ask, stream=case.stream), ask


def complete(case: harness.Case) -> int:
    """Where the reply is whole: the end of its last event that says something."""
    body = case.reply.rstrip()
    return len(body.removesuffix(b"data: [DONE]").rstrip())


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.name)
def test_a_neutral_request_is_written_as_its_golden_file_says(case: harness.Case) -> None:
    """Method, path, headers, body and ``adjusted``; the official client's own type takes the body."""
    request = msgspec.json.decode(case.parts["neutral"], type=ChatRequest)
    assert RESPONSES.refuse(request, target(request.model)) is None
    wire = RESPONSES.write_request(request, target(request.model), "KEY")
    head, _, body = case.parts["wire-request"].partition(b"\n\n")
    lines = [wire.method + b" " + wire.path, *(name + b": " + value for name, value in wire.headers)]
    assert b"\n".join(lines) == head
    assert json.loads(wire.body) == json.loads(body)
    assert wire.adjusted == case.options["wire-request"]
    adapter: TypeAdapter[Any] = TypeAdapter(ResponseCreateParams)
    adapter.validate_python(json.loads(wire.body))


@by_name
def test_behaviour_02_a_reply_gives_the_same_events_in_any_split(case: harness.Case) -> None:
    """Whole, byte by byte (inside UTF-8 characters too), and in random cuts."""
    harness.check_any_split(lambda: reader(case), case.reply, case.events)


@by_name
def test_behaviour_05_a_cut_reply_is_never_taken_for_a_whole_one(case: harness.Case) -> None:
    """Every cut before the end of the terminal event's data is an error."""
    harness.check_truncation(lambda: reader(case), case.reply, complete(case))


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case.name)
def test_behaviour_09_an_error_inside_a_200_is_raised(case: harness.Case) -> None:
    """By the reader and by the relay, whole or byte by byte: the same class, status and code."""
    wanted = tuple(json.loads(case.parts["raises"]))
    pieces = [[case.reply], [case.reply[at : at + 1] for at in range(len(case.reply))]]
    for chunks in pieces:
        for one in (reader(case), relay(case)[0]):
            with pytest.raises(UpstreamError) as raised:  # noqa: PT012 - either may notice
                for chunk in chunks:
                    one.feed(chunk)
                one.close()
            assert (type(raised.value).__name__, raised.value.status, raised.value.code) == wanted


@by_name
def test_behaviour_19_what_goes_through_is_untouched_and_read(case: harness.Case) -> None:
    """Every byte arrives; usage, stop and the whole Response are known, as the reader knows them."""
    body = case.reply
    for chunks in ([body], [body[at : at + 1] for at in range(len(body))]):
        one, ask = relay(case)
        out = b"".join([*(one.feed(chunk) for chunk in chunks), one.close()])
        assert out == body
        usage = [event.usage for event in case.events if isinstance(event, UsageSeen)][-1]
        stopped = next(event for event in case.events if isinstance(event, Stopped))
        assert (one.usage, one.stopped, one.native_stop) == (usage, stopped.why, stopped.native)
        assert (one.finished, one.model) == (True, "gpt-5-2026-08-07")
        assert json.loads(ask.final)["status"] in ("completed", "incomplete")
        assert one.content_seen == any(map(is_content, case.events))


@by_name
def test_behaviour_05_a_relay_notices_a_cut(case: harness.Case) -> None:
    """At every byte before the end."""
    whole = complete(case)
    step = max(1, whole // 150)
    for cut in [*range(0, whole, step), whole - 1]:
        one, ask = relay(case)
        with pytest.raises(UpstreamError):  # noqa: PT012 - either may notice
            one.feed(case.reply[:cut])
            one.close()
        assert not ask.final


def test_usage_is_exact() -> None:
    """The parts of the vector add up to the provider's total."""
    for case in REPLIES:
        for event in case.events:
            if isinstance(event, UsageSeen):
                assert event.usage.total_tokens == 416
                assert (event.usage.cache_read, event.usage.reasoning) == (64, 256)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"n": 2}, "n-unsupported"),
        ({"stop": ("END",)}, "stop-unsupported"),
        ({"messages": (Message("user", (Audio("UklG", "wav"),)),)}, "audio-unsupported"),
    ],
)
def test_what_this_api_has_not_is_refused_before_the_call(change: dict[str, Any], code: str) -> None:
    """With the caller's fault, so that another target may take it."""
    request = ChatRequest(model="gpt-5", messages=(Message("user", (Text("hi"),)),))
    refused = RESPONSES.refuse(msgspec.structs.replace(request, **change), target())
    assert refused is not None
    assert (refused.code, refused.caller_fault) == (code, True)


def test_a_page_instead_of_a_stream_is_its_error() -> None:
    """And a stream that says nothing is cut."""
    for stream in (True, False):
        one = RESPONSES.reader(target(), stream=stream)
        one.feed(b"<html><title>502 Bad Gateway</title></html>")
        with pytest.raises(UpstreamError, match="502 Bad Gateway"):
            one.close()
    with pytest.raises(UpstreamTruncated):
        RESPONSES.reader(target(), stream=True).close()


@pytest.mark.parametrize("case", [case for case in REPLIES if case.stream], ids=lambda case: case.name)
def test_a_stream_that_we_end_says_what_was_there(case: harness.Case) -> None:
    """Cut anywhere: one lawful event more, with the next number and the words so far."""
    for share in (1, 2, 3, 4):
        one, ask = relay(case)
        passed = one.feed(case.reply[: complete(case) * share // 5])
        if not passed.strip():
            continue
        early: Any = one
        usage = UsageSeen(Usage(input=3, output=2))
        out = passed + early.end_early([usage, Stopped("length", "budget"), Finished()])
        events = [EVENT.validate_json(event.data) for event in SseReader().feed(out) if event.data]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        last = events[-1]
        assert (last.type, last.response.status) == ("response.incomplete", "incomplete")
        assert last.response.usage.total_tokens == 5
        said = "".join(event.delta for event in events if event.type.endswith(".delta"))
        shown = last.response.output
        texts = [
            getattr(part, "text", "") or getattr(part, "refusal", "")
            for item in shown
            for part in (*(getattr(item, "content", None) or ()), *(getattr(item, "summary", None) or ()))
        ]
        texts += [getattr(item, "arguments", "") for item in shown]
        assert case.name == "stream_items_without_deltas" or "".join(texts) == said or len(shown) > 2
        assert json.loads(ask.final)["id"] == events[0].response.id
