"""Events -> what a Gemini client reads, and Google's own bytes on their way through.

The official client's types are the judge of what is written; the golden replies of Google are what is passed through.
"""

import json
from typing import Any

import msgspec
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.chat import Thinking
from penstock.base.errors import UpstreamError, UpstreamFault, UpstreamTruncated
from penstock.base.events import (
    Event,
    Finished,
    MediaMade,
    RefusalDelta,
    Started,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolStarted,
    UsageSeen,
)
from penstock.base.usage import Usage
from penstock.dialects.gemini import GEMINI, GeminiCall
from penstock.dialects.gemini.envelope import Framing, GeminiAsk
from penstock.dialects.gemini.marks import standard, unmark
from penstock.dialects.gemini.reply import GeminiReader
from penstock.wire.ports import Identity
from tests.dialects.harness import Case, cases

IDENTITY = Identity("gen-1", 1_763_000_000, "openai/gpt-4o-mini")
STREAMS = [case for case in cases("gemini") if "wire-reply" in case.parts and case.stream]
WHOLES = [case for case in cases("gemini") if "wire-reply" in case.parts and not case.stream]


def asked(
    framing: Framing = "sse", *, thoughts: bool = False, vertex: bool = False
) -> tuple[GeminiCall, GeminiAsk]:
    body: dict[str, Any] = {"contents": "hi"}
    if thoughts:
        body["generationConfig"] = {"thinkingConfig": {"includeThoughts": True}}
    call = GeminiCall("m/x", framing, vertex=vertex)
    ask = call.read_request(json.dumps(body).encode())
    assert isinstance(ask, GeminiAsk)
    return call, ask


def streamed(events: list[Event], framing: Framing = "sse", *, thoughts: bool = False) -> list[Any]:
    """Each piece of the stream, as the client's type."""
    call, ask = asked(framing, thoughts=thoughts)
    writer = call.writer(ask, IDENTITY)
    out = b"".join(writer.write([event]) for event in events)
    return [types.GenerateContentResponse.model_validate(one) for one in pieces(out, framing)]


def pieces(out: bytes, framing: Framing) -> list[Any]:
    if framing == "array":
        return json.loads(out)
    blocks = out.split(b"\r\n\r\n")
    assert blocks[-1] == b""
    assert all(block.startswith(b"data: {") and b"\n" not in block for block in blocks[:-1])
    return [json.loads(block[6:]) for block in blocks[:-1]]


def whole(events: list[Event], *, thoughts: bool = False) -> types.GenerateContentResponse:
    call, ask = asked("whole", thoughts=thoughts)
    return types.GenerateContentResponse.model_validate_json(call.writer(ask, IDENTITY).whole(events))


def parts_of(replies: list[Any]) -> list[types.Part]:
    return [part for reply in replies for part in reply.candidates[0].content.parts or []]


def joined(parts: list[types.Part], *, thought: bool = False) -> str:
    return "".join(part.text or "" for part in parts if bool(part.thought) is thought)


TEXT = st.text(max_size=12)
COUNT = st.integers(0, 5000)
USAGE = st.builds(
    Usage,
    input=COUNT,
    cache_read=COUNT,
    input_audio=COUNT,
    input_image=COUNT,
    output=COUNT,
    reasoning=COUNT,
    output_audio=COUNT,
    output_image=COUNT,
)
CONTENT = st.lists(
    TEXT.map(TextDelta)
    | st.builds(ThinkingDelta, text=TEXT)
    | st.builds(
        ThinkingDelta,
        text=TEXT,
        signature=st.text(min_size=1, max_size=8),
        format=st.just("anthropic-claude-v1"),
    )
    | st.just(MediaMade("image", "image/png", "AAAA")),
    max_size=6,
)
TOOLS = st.lists(
    st.tuples(
        st.sampled_from(["f", "g"]),
        st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=3),
    ),
    max_size=3,
)
WHY = st.sampled_from(["stop", "length", "content_filter"])


@st.composite
def replies(draw: st.DrawFn) -> tuple[list[Event], list[tuple[str, Any]]]:
    """A lawful reply, and its tool calls."""
    events: list[Event] = [Started("served", "up-1"), *draw(CONTENT)]
    tools = draw(TOOLS)
    for index, (name, _) in enumerate(tools):
        events.append(ToolStarted(index, f"call_{index}", name))
    for index, (_, args) in enumerate(tools):  # interleaved fragments are lawful, and OpenAI's habit
        text = json.dumps(args)
        events += [ToolArgs(index, text[:1]), ToolArgs(index, text[1:])]
    events.append(Stopped("tool_calls" if tools else draw(WHY), "native"))
    return [*events, UsageSeen(draw(USAGE)), Finished()], tools


@given(replies(), st.booleans())
def test_what_is_written_is_what_was_said(
    made: tuple[list[Event], list[tuple[str, Any]]], thoughts: bool
) -> None:
    """Stream, array and whole say the same to the client's types; counts add up; calls are whole; proofs come back."""
    events, tools = made
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    thought = "".join(event.text for event in events if isinstance(event, ThinkingDelta))
    signed = [event for event in events if isinstance(event, ThinkingDelta) and event.signature]
    usage = next(event.usage for event in events if isinstance(event, UsageSeen))
    for found in (
        streamed(events, thoughts=thoughts),
        streamed(events, "array", thoughts=thoughts),
        [whole(events, thoughts=thoughts)],
    ):
        parts = parts_of(found)
        assert joined(parts) == text
        assert joined(parts, thought=True) == (thought if thoughts else "")
        calls = [part.function_call for part in parts if part.function_call]
        assert [(call.name, call.args) for call in calls] == tools
        counts = found[-1].usage_metadata
        assert counts.total_token_count == usage.total_tokens
        assert counts.total_token_count == (
            counts.prompt_token_count + counts.candidates_token_count + (counts.thoughts_token_count or 0)
        )
        ends = [one.candidates[0].finish_reason for one in found]
        assert ends[:-1] == [None] * (len(found) - 1)
        assert ends[-1] is not None
        assert {one.model_version for one in found} == {"served"}
        assert {one.response_id for one in found} == {"gen-1"}
        assert proofs(parts) == [one.signature for one in signed]


def proofs(parts: list[types.Part]) -> list[str]:
    """Others' signatures, as a client would send them back."""
    found: list[Thinking] = []
    for part in parts:
        if part.thought_signature:
            row = json.loads(part.model_dump_json(exclude_none=True))
            found += unmark(standard(row["thought_signature"])) or []
    return [one.signature for one in found]


def test_usage_may_come_after_the_stop() -> None:
    """OpenAI's order: the finish waits for it, and stands in the last piece only."""
    found = streamed(
        [Started(), TextDelta("a"), Stopped("stop"), UsageSeen(Usage(input=3, output=1)), Finished()]
    )
    assert [one.usage_metadata is None for one in found] == [True, False]
    assert found[-1].candidates[0].content.parts == [types.Part(text="")]


def test_arguments_that_are_no_object_are_malformed_in_googles_words() -> None:
    """Never a part with other arguments than the model's."""
    events: list[Event] = [
        Started(), ToolStarted(0, "c", "f"), ToolArgs(0, '{"a":'), Stopped("tool_calls"), Finished()
    ]  # fmt: skip
    reply = whole(events)
    assert reply.candidates
    assert reply.candidates[0].finish_reason == types.FinishReason.MALFORMED_FUNCTION_CALL
    assert 'f({"a":)' in (reply.candidates[0].finish_message or "")


@pytest.mark.parametrize(
    ("stopped", "finish"),
    [
        (Stopped("stop", "end_turn"), "STOP"),
        (Stopped("length", "max_tokens"), "MAX_TOKENS"),
        (Stopped("content_filter", "content_filter"), "SAFETY"),
        (Stopped("content_filter", "PROHIBITED_CONTENT"), "PROHIBITED_CONTENT"),
        (Stopped("length", "CONTINUATION"), "CONTINUATION"),
        (Stopped("stop", "COMPLETE"), "STOP"),
    ],
)
def test_finish_reasons(stopped: Stopped, finish: str) -> None:
    """Ours, and Google's own where Google gave them."""
    reply = whole([Started(), TextDelta("a"), stopped, Finished()])
    assert reply.candidates
    assert reply.candidates[0].finish_reason == types.FinishReason[finish]


def test_a_refusal_is_text_that_was_stopped_for_safety() -> None:
    """Gemini has no field for it."""
    reply = whole([Started(), RefusalDelta("I will not."), Stopped("stop"), Finished()])
    assert reply.candidates
    assert reply.text == "I will not."
    assert reply.candidates[0].finish_reason == types.FinishReason.SAFETY


def test_a_model_that_fails_is_an_error() -> None:
    """Not an empty answer."""
    with pytest.raises(UpstreamFault):
        whole([Started(), Stopped("error", "MALFORMED_RESPONSE"), Finished()])


def test_googles_signatures_stand_where_google_puts_them() -> None:
    """On the call they belong to, on the next text, or on an empty text at the end."""
    mine = "google-gemini-v1"
    events: list[Event] = [
        Started(),
        ThinkingDelta("", "T1RF", mine),
        TextDelta("a"),
        ThinkingDelta("", "Q0FMTA==", mine, "", "call_1"),
        ToolStarted(0, "call_1", "f"),
        ThinkingDelta("", "RU5E", mine),
        Stopped("tool_calls"),
        Finished(),
    ]
    reply = whole(events)
    assert reply.candidates
    assert reply.candidates[0].content
    found = [(part.text, part.thought_signature) for part in reply.candidates[0].content.parts or []]
    assert found == [("a", b"OTE"), (None, b"CALL"), ("", b"END")]


def test_a_vertex_caller_is_told_when() -> None:
    """``createTime``, which AI Studio does not have."""
    call, ask = asked("whole", vertex=True)
    body = json.loads(
        call.writer(ask, IDENTITY).whole([Started(), TextDelta("a"), Stopped("stop"), Finished()])
    )
    assert body["createTime"] == "2025-11-13T02:13:20Z"


def test_an_error_ends_an_array_as_json() -> None:
    """Whether anything was written before it or nothing."""
    call, ask = asked("array")
    error = UpstreamTruncated("cut")
    assert json.loads(call.write_stream_error(error, "r"))[0]["error"]["code"] == 502
    writer = call.writer(ask, IDENTITY)
    out = writer.write([Started()]) + writer.write([TextDelta("a")])
    found = json.loads(out + call.write_stream_error(error, "r"))
    assert len(found) == 2
    assert found[1]["error"]["status"] == "UNAVAILABLE"


# Pass-through.


def passed(case: Case, cuts: list[int], framing: Framing = "sse") -> tuple[bytes, Any]:
    """The case's reply through a relay, cut at these places; what came out, and the relay."""
    _, ask = asked(framing)
    relay = GEMINI.relay(ask, stream=True)
    out, start = b"", 0
    for end in [*sorted({cut for cut in cuts if 0 < cut < len(case.reply)}), len(case.reply)]:
        out += relay.feed(case.reply[start:end])
        start = end
    return out + relay.close(), relay


def outcome(case: Case, cuts: list[int], framing: Framing = "sse") -> Any:
    try:
        out, relay = passed(case, cuts, framing)
    except UpstreamError as error:
        return type(error)
    return (
        out,
        relay.usage,
        relay.stopped,
        relay.native_stop,
        relay.model,
        relay.upstream_id,
        relay.content_bytes,
    )


SSE = [case for case in STREAMS if case.reply.startswith(b"data:")]


@pytest.mark.parametrize("case", SSE, ids=lambda case: case.name)
def test_googles_stream_goes_through_as_it_came(case: Case) -> None:
    """Byte for byte, and what is learned of it is what the reader says."""
    found = outcome(case, [])
    if isinstance(found, type):
        return
    out, usage, stopped, *_ = found
    assert out == case.reply
    reader = GeminiReader("Gemini", stream=True)
    events = [*reader.feed(case.reply), *reader.close()]
    seen = [event.usage for event in events if isinstance(event, UsageSeen)]
    assert usage == (seen[-1] if seen else None)
    assert stopped == next(event.why for event in events if isinstance(event, Stopped))
    in_pieces = json.loads(outcome(case, [], "array")[0])
    assert in_pieces == [
        json.loads(block[5:]) for block in case.reply.replace(b"\r", b"").split(b"\n\n") if block
    ]


@given(st.sampled_from(SSE), st.lists(st.integers(1, 4000), max_size=6), st.sampled_from(["sse", "array"]))
def test_any_split_is_the_same(case: Case, cuts: list[int], framing: Framing) -> None:
    """Of the bytes, in either framing."""
    assert outcome(case, cuts, framing) == outcome(case, [], framing)


@given(st.sampled_from(SSE), st.integers(0, 4000))
def test_a_cut_stream_is_an_error_or_was_whole(case: Case, end: int) -> None:
    """No end is invented."""
    cut = msgspec.structs.replace(case, parts={**case.parts, "wire-reply": case.parts["wire-reply"][:end]})
    found = outcome(cut, [])
    if not isinstance(found, type):
        assert b'"finishReason"' in cut.reply or b'"blockReason"' in cut.reply


def test_comments_do_not_pass() -> None:
    """The official client raises on them."""
    case = next(case for case in SSE if case.name.startswith("text-stream"))
    noisy = msgspec.structs.replace(
        case, parts={**case.parts, "wire-reply": b": hb\n\n" + case.parts["wire-reply"] + b": hb\n\n"}
    )
    out, *_ = outcome(noisy, [])
    assert b": hb" not in out
    assert out == case.reply


@pytest.mark.parametrize("case", WHOLES, ids=lambda case: case.name)
def test_googles_whole_reply_goes_through_as_it_came(case: Case) -> None:
    """Once it is known to be one."""
    _, ask = asked("whole")
    relay = GEMINI.relay(ask, stream=False)
    assert relay.feed(case.reply) == b""
    try:
        assert relay.close() == case.reply
    except UpstreamError:
        return
    assert relay.finished
    assert relay.stopped is not None
