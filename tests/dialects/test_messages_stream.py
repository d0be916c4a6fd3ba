"""Replies to Anthropic's callers: any lawful events through the official client's accumulator; pass-through of any split."""

import itertools
import json
from typing import Any

import pytest
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import UpstreamError, UpstreamFault, UpstreamMalformed, UpstreamTruncated
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
    fold,
)
from penstock.base.usage import Usage
from penstock.dialects.anthropic import ANTHROPIC
from penstock.dialects.anthropic.carried import read_carried
from penstock.wire.ports import Relay
from penstock.wire.sse import sse
from tests.dialects import harness
from tests.dialects import messages_kit as kit
from tests.dialects.messages_kit import HELLO, ask_of

REPLIES = [
    case for case in harness.cases("anthropic") if "wire-reply" in case.parts and "raises" not in case.parts
]
FAILURES = [case for case in harness.cases("anthropic") if "raises" in case.parts]
STREAMS = [case for case in REPLIES if case.stream]
OPENING, ENDING = [Started("m", "r")], [Stopped("stop", "stop"), Finished()]


def relay(*, stream: bool = True) -> Relay:
    return ANTHROPIC.relay(ask_of({**HELLO, "stream": stream}), stream=stream)


def message(events: list[Event], body: dict[str, Any] | None = None) -> Message:
    """What the client has, of a stream; the whole body must say the same."""
    ask = ask_of(body or HELLO)
    stream = kit.writer(ask).write(events)
    split = kit.writer(ask)
    assert b"".join(split.write([event]) for event in events).count(b"event: ") == stream.count(b"event: ")
    made = kit.accumulated(stream)
    whole = Message.model_validate_json(kit.writer(ask).whole(events))
    assert [block.to_dict() for block in made.content] == [block.to_dict() for block in whole.content]
    assert (made.stop_reason, made.stop_sequence) == (whole.stop_reason, whole.stop_sequence)
    indices = [frame["index"] for frame in kit.frames(stream) if "index" in frame]
    assert indices == sorted(indices)
    return made


# Any events.

WORDS = st.text(max_size=5)
FORMATS = st.sampled_from(["anthropic-claude-v1", "google-gemini-v1", "openai-responses-v1", "unknown"])
SAID = st.one_of(
    st.builds(TextDelta, WORDS),
    st.builds(RefusalDelta, WORDS),
    st.builds(ThinkingDelta, WORDS, st.sampled_from(["", "c2ln"]), FORMATS),
    st.builds(ThinkingDelta, st.just(""), st.just(""), FORMATS, st.just("c2VjcmV0")),
)
ARGUMENTS = st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=6), max_size=3)


@st.composite
def replies(draw: st.DrawFn) -> tuple[list[Event], list[dict[str, Any]]]:
    """Words, thoughts, and calls whose arguments grow by turns, in any order that the law allows; and the arguments."""
    events: list[Event] = draw(st.lists(SAID, max_size=6))
    calls = draw(st.lists(ARGUMENTS, max_size=3))
    queues: list[list[Event]] = []
    for index, arguments in enumerate(calls):
        text = json.dumps(arguments) if arguments or draw(st.booleans()) else ""
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
        pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
        queues.append(
            [ToolStarted(index, f"call {index}", f"tool{index}"), *(ToolArgs(index, one) for one in pieces)]
        )
    started = 0
    while any(queues):
        ready = [place for place, queue in enumerate(queues) if queue and place <= started]
        place = draw(st.sampled_from(ready))
        event = queues[place].pop(0)
        started = max(started, place + 1) if isinstance(event, ToolStarted) else started
        events.append(event)
        events += draw(st.lists(SAID, max_size=1))
    return [*OPENING, *events, *ENDING], calls


@given(replies())
def test_any_reply_is_a_message_that_the_client_can_read(
    made: tuple[list[Event], list[dict[str, Any]]],
) -> None:
    """Nothing is lost, nothing invented: text, calls with whole arguments, each proof with its maker."""
    events, calls = made
    folded = fold(events)
    got = message(events)
    text = "".join(event.text for event in events if isinstance(event, TextDelta | RefusalDelta))
    assert "".join(block.text for block in got.content if block.type == "text") == text
    used = [block for block in got.content if block.type == "tool_use"]
    assert [(block.name, block.input) for block in used] == [
        (f"tool{i}", args) for i, args in enumerate(calls)
    ]
    assert [block.id for block in used] == [f"call_{index}" for index in range(len(calls))]
    thought = "".join(block.thinking for block in got.content if block.type == "thinking")
    assert thought == "".join(block.text for block in folded.thinking)
    proofs = [
        read_carried(block.signature if block.type == "thinking" else block.data)
        for block in got.content
        if block.type in ("thinking", "redacted_thinking")
    ]
    given = [
        (event.signature or event.redacted, event.format)
        for event in events
        if isinstance(event, ThinkingDelta) and (event.signature or event.redacted)
    ]
    assert [(proof.proof, proof.format) for proof in proofs if proof.proof] == given
    assert got.stop_reason == ("tool_use" if calls else "refusal" if folded.refusal else "end_turn")


@given(replies())
def test_a_caller_that_wants_no_thoughts_gets_their_proofs(
    made: tuple[list[Event], list[dict[str, Any]]],
) -> None:
    """``display: omitted``: no words of them, and what the next turn needs."""
    events = made[0]
    got = message(events, {**HELLO, "thinking": {"type": "adaptive", "display": "omitted"}})
    assert not any(block.thinking for block in got.content if block.type == "thinking")
    signed = [event for event in events if isinstance(event, ThinkingDelta) and event.signature]
    assert len([block for block in got.content if block.type == "thinking" and block.signature]) == len(
        signed
    )


# Single cases.


@pytest.mark.parametrize(
    ("stopped", "reason"),
    [
        (Stopped("stop", "stop"), "end_turn"),
        (Stopped("stop", "stop_sequence", "HALT"), "stop_sequence"),
        (Stopped("stop", "STOP", "HALT"), "stop_sequence"),
        (Stopped("length", "length"), "max_tokens"),
        (Stopped("length", "model_context_window_exceeded"), "model_context_window_exceeded"),
        (Stopped("stop", "pause_turn"), "pause_turn"),
        (Stopped("tool_calls", "STOP"), "tool_use"),
        (Stopped("content_filter", "SAFETY"), "refusal"),
    ],
)
def test_stop_reasons(stopped: Stopped, reason: str) -> None:
    got = message([*OPENING, TextDelta("a"), stopped, Finished()])
    assert (got.stop_reason, got.stop_sequence) == (reason, stopped.stop_sequence)


def test_usage_is_the_last_word_and_additive() -> None:
    """OpenAI says it after the end: the client takes it from message_delta."""
    usage = Usage(
        input=10, cache_read=5, cache_write_5m=3, cache_write_1h=2, input_image=7, output=4, reasoning=6
    )
    events = [*OPENING, TextDelta("a"), ENDING[0], UsageSeen(usage), ENDING[1]]
    for got in (
        kit.accumulated(kit.writer().write(events)),
        Message.model_validate_json(kit.writer().whole(events)),
    ):
        seen = got.usage
        assert (seen.input_tokens, seen.cache_read_input_tokens, seen.cache_creation_input_tokens) == (
            17,
            5,
            5,
        )
        assert seen.output_tokens == 10
        assert seen.output_tokens_details is not None
        assert seen.output_tokens_details.thinking_tokens == 6


def test_what_a_fee_was_for_is_counted() -> None:
    usage = UsageSeen(Usage(input=1, output=1, fees=(("web_search:low", 2),)))
    got = message([*OPENING, usage, TextDelta("a"), *ENDING])
    assert got.usage.server_tool_use is not None
    assert got.usage.server_tool_use.web_search_requests == 2


def test_a_picture_is_a_link_in_the_text() -> None:
    """The format has no block for it; a draft of it, or a sound, is nothing."""
    drafts = [MediaMade("image", "image/png", "AAAA", partial=0), MediaMade("audio", "audio/wav", "AAAA")]
    got = message([*OPENING, *drafts, MediaMade("image", "image/png", "AAAA"), *ENDING])
    assert [block.to_dict()["text"] for block in got.content] == ["![image](data:image/png;base64,AAAA)"]


def test_arguments_that_a_cap_cut_off_are_no_input() -> None:
    """The stream gives them as they came; the whole message has no place for half an object."""
    events = [*OPENING, ToolStarted(0, "c", "now"), ToolArgs(0, '{"a": [1'), Stopped("length"), Finished()]
    whole = Message.model_validate_json(kit.writer().whole(events))
    assert (whole.content[0].to_dict()["input"], whole.stop_reason) == ({}, "max_tokens")
    assert b'"partial_json":"{\\"a\\": [1"' in kit.writer().write(events)


def test_a_failed_stream_ends_in_an_error_and_nothing_after_it() -> None:
    writer = kit.writer()
    begun = writer.write([*OPENING, TextDelta("a")])
    failed = writer.fail(UpstreamFault("The provider broke off.", status=503)) + writer.write([Finished()])
    kinds = [frame["type"] for frame in kit.frames(begun + failed)]
    assert kinds == ["message_start", "content_block_start", "content_block_delta", "error"]
    assert kit.frames(failed)[0]["error"]["type"] == "overloaded_error"


def test_a_model_that_ends_in_an_error_has_no_message() -> None:
    events = [*OPENING, Stopped("error", "MALFORMED_FUNCTION_CALL"), Finished()]
    with pytest.raises(UpstreamFault):
        kit.writer().whole(events)
    assert kit.frames(kit.writer().write(events))[-1]["type"] == "error"


# Pass-through.


def through(one: Relay, chunks: list[bytes]) -> bytes:
    return b"".join([*(one.feed(chunk) for chunk in chunks), one.close()])


def fed(one: Relay, data: bytes, sent: list[bytes]) -> None:
    """Once with data, once more, and to the end; what came out is kept whatever happens."""
    sent.append(one.feed(data))
    sent.append(one.feed(b""))
    sent.append(one.close())


def facts(one: Relay) -> tuple[Any, ...]:
    return (
        one.usage,
        one.stopped,
        one.native_stop,
        one.model,
        one.upstream_id,
        one.finished,
        one.content_seen,
    )


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: case.name)
def test_a_reply_goes_through_as_it_came_in_any_split(case: harness.Case) -> None:
    """Byte for byte; and beside it the same is known as a reader of events would tell."""
    one = relay(stream=case.stream)
    assert through(one, [case.reply]).rstrip() == case.reply.rstrip()
    folded = fold(case.events)
    assert folded.stopped is not None
    assert (one.usage, one.model, one.upstream_id) == (folded.usage, folded.model, folded.id)
    assert (one.stopped, one.native_stop) == (folded.stopped.why, folded.stopped.native)
    if not case.stream:
        return
    pieces = relay()
    assert through(pieces, [case.reply[i : i + 1] for i in range(len(case.reply))]) == through(
        relay(), [case.reply]
    )
    assert facts(pieces) == facts(one)
    assert pieces.content_bytes == one.content_bytes


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_a_cut_stream_is_never_taken_for_a_whole_one(case: harness.Case) -> None:
    """Cut at any byte before its last event's data: an error, and nothing that says message_stop."""
    complete = len(case.reply.rstrip(b"\r\n"))
    for size in range(0, complete, 3):
        one = relay()
        assert b'"message_stop"' not in one.feed(case.reply[:size])
        with pytest.raises(UpstreamTruncated):
            one.close()


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case.name)
def test_an_error_inside_a_200_is_raised_and_loses_nothing(case: harness.Case) -> None:
    """Good events of the same bytes go first; then the error, of the right class."""
    name, status, _code = json.loads(case.parts["raises"])
    sent: list[bytes] = []
    with pytest.raises(UpstreamError) as caught:
        fed(relay(stream=case.stream), case.reply, sent)
    assert case.reply.startswith(b"".join(sent))
    assert (type(caught.value).__name__, caught.value.status) == (name, status)


@given(st.data())
def test_a_spoilt_event_is_an_error_or_passes(data: st.DataObject) -> None:
    """One byte of a stream changed: the bytes go on, or the relay says whose fault it is. Never another exception."""
    case = data.draw(st.sampled_from(STREAMS))
    place = data.draw(st.integers(0, len(case.reply) - 1))
    spoilt = case.reply[:place] + bytes([data.draw(st.integers(0, 255))]) + case.reply[place + 1 :]
    one = relay()
    try:
        through(one, [spoilt])
    except UpstreamError:
        return
    assert one.finished


def test_events_without_a_name_get_one() -> None:
    """The official client fails on them; other servers leave them out."""
    case = next(case for case in STREAMS if case.name == "text")
    bare = b"\n".join(line for line in case.reply.split(b"\n") if not line.startswith(b"event:"))
    assert bare != case.reply
    assert kit.accumulated(through(relay(), [bare])).content == kit.accumulated(case.reply).content


def test_a_whole_message_where_a_stream_was_promised_is_malformed() -> None:
    case = next(case for case in REPLIES if case.name == "text-whole")
    with pytest.raises(UpstreamMalformed):
        through(relay(), [case.reply])


def test_a_stream_that_we_end_is_a_whole_message() -> None:
    """In the middle of a block: it is closed, the reason is the cap, and the usage is what was seen."""
    case = next(case for case in STREAMS if case.name == "text")
    begun = case.reply[: case.reply.index(b"event: content_block_stop")]
    one = relay()
    sent = one.feed(begun)
    events: list[Event] = [UsageSeen(Usage(input=3, output=2)), Stopped("length", "budget"), Finished()]
    ended = sent + one.end_early(events)  # type: ignore[attr-defined] - of this dialect's relays
    got = kit.accumulated(ended)
    assert (got.stop_reason, got.usage.output_tokens) == ("max_tokens", 2)
    kinds = [frame["type"] for frame in kit.frames(ended)][-3:]
    assert kinds == ["content_block_stop", "message_delta", "message_stop"]


def test_a_relay_shows_no_words() -> None:
    """Its repr names the reply alone."""
    case = next(case for case in STREAMS if case.name == "text")
    one = relay()
    through(one, [case.reply])
    assert repr(one) == f"<StreamRelay {one.upstream_id}>"


# What goes past the relay.


def delta(text: str, kind: str = "text", index: int = 0, **more: Any) -> bytes:
    body = {
        "type": "content_block_delta",
        "index": index,
        "delta": {"type": f"{kind}_delta", kind: text, **more},
    }
    return sse(json.dumps(body, ensure_ascii=False).encode(), b"content_block_delta")


BEGUN = sse(
    b'{"type":"message_start","message":{"id":"msg_1","model":"claude","content":[]}}', b"message_start"
) + sse(
    b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
    b"content_block_start",
)


@given(st.text(min_size=1, max_size=8), st.text(max_size=8), st.sampled_from(["text", "thinking"]))
def test_an_event_like_the_last_says_its_text_and_nothing_else(first: str, second: str, kind: str) -> None:
    """What the mould surrounds may pass: read, it would have counted the same."""
    one = relay()
    one.feed(BEGUN)
    one.feed(delta(first, kind))
    mould = one.mould
    if not (first.isprintable() and '"' not in first and "\\" not in first):
        return
    assert mould is not None
    following = delta(second, kind)
    assert mould.surrounds(following)
    words = following.removeprefix(mould.opening).removesuffix(mould.closing)
    before = one.content_bytes
    if second.isprintable() and '"' not in second and "\\" not in second:
        assert words == second.encode()
        mould.passed_bytes += len(words)
    else:
        one.feed(following)
    assert one.content_bytes == before + len(second.encode())
    one.feed(sse(b'{"type":"content_block_stop","index":0}', b"content_block_stop"))
    one.feed(delta("elsewhere", kind, index=1))
    assert one.content_bytes == before + len(second.encode()) + len("elsewhere")
    assert one.mould is not None
    assert not one.mould.surrounds(following)


@pytest.mark.parametrize(
    "odd",
    [
        delta("a", "partial_json"),
        delta("a", citation="b"),
        delta("a", thinking="b"),
        delta("a").replace(b"event: content_block_delta\n", b""),
        delta('say "a"'),
    ],
)
def test_an_event_that_says_more_is_no_mould(odd: bytes) -> None:
    """Or other things than its text, or nothing that can be told from its bytes."""
    one = relay()
    one.feed(BEGUN)
    one.feed(odd)
    assert one.mould is None or not one.mould.surrounds(delta("other"))


def test_nothing_passes_while_bytes_are_held_back() -> None:
    one = relay()
    one.feed(BEGUN)
    one.feed(delta("a"))
    assert one.mould is not None
    one.feed(delta("b")[:20])
    assert one.mould is None
    one.feed(delta("b")[20:])
    assert one.mould is not None
