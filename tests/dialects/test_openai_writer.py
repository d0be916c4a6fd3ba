"""Events as an OpenAI client reads them, held against the official client's own models."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from penstock.base.chat import Ask, Reasoning
from penstock.base.errors import UpstreamFault, UpstreamTruncated
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
from penstock.base.models import ModelFacts, Target
from penstock.base.usage import Usage
from penstock.dialects.openai_chat import OPENAI, OPENROUTER
from penstock.wire.ports import Identity, ReplyWriter
from penstock.wire.sse import SseReader
from tests.dialects.harness import Case, cases, play

IDENTITY = Identity("req-1", 1_794_000_000, "anthropic/claude-haiku-4-5", "anthropic")
TARGET = Target("openai", "gpt-4o-mini", "openai", ModelFacts("openai", "gpt-4o-mini"))
CASES = [case for case in cases("openai") if "wire-reply" in case.parts]
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def writer(*, usage: bool = True, exclude: bool = False, openrouter: bool = False) -> ReplyWriter:
    reasoning = Reasoning(effort="low", exclude=True) if exclude else None
    dialect = OPENROUTER if openrouter else OPENAI
    ask = Ask(
        dialect=dialect.name, body=b"", model="m", stream=True, include_usage=usage, reasoning=reasoning
    )
    return dialect.writer(ask, IDENTITY)


def frames(data: bytes) -> list[Any]:
    """The data of each event, decoded; ``[DONE]`` as it stands."""
    events = SseReader().feed(data)
    assert b"".join(event.raw for event in events) == data
    return ["[DONE]" if event.data == b"[DONE]" else json.loads(event.data or b"null") for event in events]


def chunks(events: list[Event], **options: Any) -> list[dict[str, Any]]:
    """The chunks of a whole reply, each checked by the official client's model."""
    one = writer(**options)
    singly = b"".join(one.write([event]) for event in events)
    assert writer(**options).write(events) == singly
    *found, done = frames(singly)
    assert done == "[DONE]"
    for chunk in found:
        parsed = ChatCompletionChunk.model_validate(chunk, strict=True)
        assert (parsed.id, parsed.created, parsed.model) == (IDENTITY.id, IDENTITY.created_s, IDENTITY.model)
        assert "system_fingerprint" in chunk
    return found


def deltas(events: list[Event], **options: Any) -> list[dict[str, Any]]:
    """The deltas of a reply with these events in it."""
    found = chunks([Started(), *events, Stopped("stop"), Finished()], **options)
    return [chunk["choices"][0]["delta"] for chunk in found if chunk["choices"]][1:-1]


def message(events: list[Event], **options: Any) -> dict[str, Any]:
    """The message of a reply that is not streamed."""
    body = json.loads(writer(**options).whole([Started(), *events, Stopped("stop"), Finished()]))
    ChatCompletion.model_validate(body, strict=True)
    return body["choices"][0]["message"]


def test_the_order_of_a_stream() -> None:
    usage = Usage(input=3, output=2)
    found = chunks(
        [Started("up"), TextDelta("Hi"), UsageSeen(usage), Stopped("length", "MAX_TOKENS"), Finished()]
    )
    first, text, finish, last = found
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert text["choices"][0] == {
        "index": 0,
        "delta": {"content": "Hi"},
        "logprobs": None,
        "finish_reason": None,
    }
    assert finish["choices"][0]["delta"] == {}
    assert finish["choices"][0]["finish_reason"] == "length"
    assert finish["choices"][0]["native_finish_reason"] == "MAX_TOKENS"
    assert [chunk["usage"] for chunk in found[:3]] == [None, None, None]
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 5


def test_behaviour_08_a_caller_who_did_not_ask_sees_no_usage() -> None:
    found = chunks([Started(), UsageSeen(Usage(output=2)), Stopped("stop"), Finished()], usage=False)
    assert all("usage" not in chunk for chunk in found)
    assert all(chunk["choices"] for chunk in found)
    late = chunks([Started(), Stopped("stop"), UsageSeen(Usage(output=2)), Finished()])
    assert late[-1]["usage"]["completion_tokens"] == 2


@given(st.text(max_size=30))
def test_text_of_any_kind_survives(text: str) -> None:
    assert "".join(delta["content"] for delta in deltas([TextDelta(text)])) == text
    assert message([TextDelta(text)])["content"] == text


def test_behaviour_14_parallel_calls_keep_index_id_and_fragments() -> None:
    events: list[Event] = [
        ToolStarted(0, "a", "f"),
        ToolArgs(0, '{"x"'),
        ToolStarted(1, "b", "g"),
        ToolArgs(1, "{}"),
        ToolArgs(0, ":1}"),
    ]
    calls = [delta["tool_calls"][0] for delta in deltas(events)]
    assert calls[0] == {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert [(call["index"], call["function"]["arguments"]) for call in calls] == [
        *[(0, ""), (0, '{"x"'), (1, ""), (1, "{}"), (0, ":1}")]
    ]
    assert all("id" not in call for call in (calls[1], calls[3], calls[4]))
    assert [call["function"]["arguments"] for call in message(events)["tool_calls"]] == ['{"x":1}', "{}"]
    assert message(events)["content"] is None


def test_behaviour_15_a_call_without_arguments_gets_an_empty_object() -> None:
    events: list[Event] = [
        ToolStarted(0, "a", "now"),
        ToolArgs(0, ""),
        ToolStarted(1, "b", "f"),
        ToolArgs(1, "[1]"),
    ]
    whole = {0: "", 1: ""}
    for delta in deltas(events):
        call = delta["tool_calls"][0]
        whole[call["index"]] += call["function"]["arguments"]
    assert whole == {0: "{}", 1: "[1]"}
    assert message(events)["tool_calls"][0]["function"]["arguments"] == "{}"


THOUGHTS: list[Event] = [
    ThinkingDelta("one ", format="anthropic-claude-v1"),
    ThinkingDelta("two", format="anthropic-claude-v1"),
    ThinkingDelta(signature="S", format="anthropic-claude-v1"),
    ThinkingDelta(redacted="R", format="anthropic-claude-v1"),
    ThinkingDelta("three", format="google-gemini-v1"),
    ThinkingDelta(signature="G", format="google-gemini-v1", tool_id="a"),
]


def test_behaviour_16_reasoning_comes_as_text_and_as_details_to_be_echoed() -> None:
    sent = deltas(THOUGHTS)
    assert "".join(delta.get("reasoning", "") for delta in sent) == "one twothree"
    details = [delta["reasoning_details"][0] for delta in sent]
    assert [detail["index"] for detail in details] == [0, 0, 0, 1, 2, 3]
    assert details[3] == {
        "type": "reasoning.encrypted",
        "data": "R",
        "format": "anthropic-claude-v1",
        "index": 1,
    }
    assert details[5] == {
        "type": "reasoning.encrypted",
        "data": "G",
        "id": "a",
        "format": "google-gemini-v1",
        "index": 3,
    }


def test_behaviour_16_what_was_sent_comes_back_as_it_was_thought() -> None:
    """A client that echoes the details, of a stream or of a whole reply, returns every block unchanged."""
    streamed = [detail for delta in deltas(THOUGHTS) for detail in delta["reasoning_details"]]
    for details in (streamed, message(THOUGHTS)["reasoning_details"]):
        turn = {"role": "assistant", "content": "x", "reasoning_details": details}
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}, turn]}
        parts = OPENAI.expand(OPENAI.read_request(json.dumps(body).encode())).messages[1].parts[:-1]
        thoughts = [
            ThinkingDelta(part.text, part.signature, part.format, part.redacted, part.tool_id)  # type: ignore[union-attr]
            for part in parts
        ]
        assert thoughts == fold([Started(), *THOUGHTS]).thinking


@pytest.mark.parametrize("everywhere", [False, True])
def test_what_the_sdk_joined_comes_back_as_it_was_thought(everywhere: bool) -> None:
    """It joins the strings of one index. ``everywhere``: others say the format with every fragment, so it is joined, too."""
    joined: dict[int, dict[str, Any]] = {}
    formats: dict[int, str] = {}
    for delta in deltas(THOUGHTS):
        for detail in delta["reasoning_details"]:
            known = joined.setdefault(detail["index"], {})
            assert ("format" in detail) is not bool(known)
            formats.setdefault(detail["index"], detail.get("format", ""))
            if everywhere:
                detail["format"] = formats[detail["index"]]
            for name, value in detail.items():
                plain = name in ("index", "type") or name not in known
                known[name] = value if plain else known[name] + value
    assert ("anthropic-claude-v1" * 3 if everywhere else "anthropic-claude-v1") == joined[0]["format"]
    turn = {"role": "assistant", "content": "x", "reasoning_details": [joined[at] for at in sorted(joined)]}
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}, turn]}
    parts = OPENAI.expand(OPENAI.read_request(json.dumps(body).encode())).messages[1].parts[:-1]
    assert [(part.text, part.signature, part.format) for part in parts] == [  # type: ignore[union-attr]
        (part.text, part.signature, part.format) for part in fold([Started(), *THOUGHTS]).thinking
    ]


def test_another_providers_thoughts_are_another_block() -> None:
    """A block has one format, which its first fragment says."""
    said = deltas(
        [ThinkingDelta("a", format="f-1"), ThinkingDelta("b", format="f-2"), ThinkingDelta("c", format="f-2")]
    )
    details = [delta["reasoning_details"][0] for delta in said]
    assert [(one["index"], one.get("format")) for one in details] == [(0, "f-1"), (1, "f-2"), (1, None)]


def test_excluded_reasoning_is_not_returned() -> None:
    assert deltas(THOUGHTS, exclude=True) == []
    assert not {"reasoning", "reasoning_details"} & set(message(THOUGHTS, exclude=True))


def test_media() -> None:
    events: list[Event] = [
        MediaMade("image", "image/png", "AA=="),
        MediaMade("image", "image/*", url="https://x.example/1.png"),
        MediaMade("audio", "audio/wav", "BB=="),
    ]
    first, second, sound = deltas(events)
    assert first["images"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}, "index": 0}
    ]
    assert second["images"][0]["image_url"]["url"] == "https://x.example/1.png"
    assert second["images"][0]["index"] == 1
    assert sound["audio"]["data"] == "BB=="
    whole = message(events)
    assert len(whole["images"]) == 2
    assert whole["audio"]["data"] == "BB=="


def test_a_refusal_and_a_blocked_prompt() -> None:
    assert deltas([RefusalDelta("No")]) == [{"refusal": "No"}]
    assert (message([RefusalDelta("No")])["refusal"], message([RefusalDelta("No")])["content"]) == (
        "No",
        None,
    )
    blocked: list[Event] = [Started(), Stopped("content_filter", "PROHIBITED_CONTENT"), Finished()]
    body = json.loads(writer().whole(blocked))
    assert body["choices"][0]["message"]["content"] == ""
    assert body["choices"][0]["finish_reason"] == "content_filter"
    assert body["system_fingerprint"] is None
    assert chunks(blocked)[-1]["choices"][0]["finish_reason"] == "content_filter"


def test_usage_in_full_and_marked_where_it_was_estimated() -> None:
    usage = Usage(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    body = json.loads(writer().whole([Started(), UsageSeen(usage), Stopped("stop"), Finished()]))
    assert body["usage"] == {
        "prompt_tokens": 21,
        "completion_tokens": 34,
        "total_tokens": 55,
        "prompt_tokens_details": {
            "cached_tokens": 2,
            "cache_write_tokens": 7,
            "audio_tokens": 5,
            "image_tokens": 6,
        },
        "completion_tokens_details": {"reasoning_tokens": 8, "audio_tokens": 9, "image_tokens": 10},
    }
    estimated = Usage(output=1, source="estimated")
    body = json.loads(writer().whole([Started(), UsageSeen(estimated), Stopped("stop"), Finished()]))
    assert body["usage"]["estimated"] is True
    assert "usage" not in json.loads(writer().whole([Started(), Stopped("stop"), Finished()]))


def test_behaviour_05_a_failed_stream_ends_with_an_error_and_no_done() -> None:
    one = writer()
    one.write([Started(), TextDelta("x")])
    (frame,) = frames(one.fail(UpstreamTruncated("The upstream hung up.")))
    assert frame["error"]["code"] == "upstream_truncated"
    assert one.write([Finished()]) == b""


def test_behaviour_17_a_model_s_own_error_is_no_completion() -> None:
    events: list[Event] = [Started(), TextDelta("x"), Stopped("error", "MALFORMED_FUNCTION_CALL"), Finished()]
    found = frames(writer().write(events))
    assert "MALFORMED_FUNCTION_CALL" in found[-1]["error"]["message"]
    with pytest.raises(UpstreamFault, match="MALFORMED_FUNCTION_CALL"):
        writer().whole(events)


def test_openrouter_s_callers_get_its_shapes() -> None:
    events: list[Event] = [
        Started(),
        TextDelta("x"),
        UsageSeen(Usage(output=1)),
        Stopped("stop", "end_turn"),
        Finished(),
    ]
    found = chunks(events, usage=False, openrouter=True)
    assert {chunk["provider"] for chunk in found} == {"anthropic"}
    assert found[-1]["usage"]["completion_tokens"] == 1
    one = writer(openrouter=True)
    (frame,) = frames(one.fail(UpstreamTruncated("The upstream hung up.")))
    assert frame["error"]["code"] == 502
    assert frame["error"]["metadata"]["error_type"] == "provider_unavailable"
    assert frame["choices"][0]["finish_reason"] == "error"
    assert frame["choices"][0]["delta"]["content"] == ""
    assert {"id", "object", "created", "model", "system_fingerprint"} <= set(frame)


@by_name
def test_written_and_read_again_a_reply_is_the_same(case: Case) -> None:
    """Events -> chunks -> events, and events -> body -> events, lose nothing of any golden reply."""
    want = fold(case.events)
    streamed = OPENAI.reader(TARGET, stream=True)
    one = writer()
    got = fold(play(streamed, [one.write([event]) for event in case.events]))
    whole = OPENAI.reader(TARGET, stream=False)
    same = fold(play(whole, [writer().whole(case.events)]))
    for reply in (got, same):
        assert (reply.text, reply.refusal, reply.thinking, reply.tools) == (
            *(want.text, want.refusal, want.thinking, want.tools),
        )
        assert reply.stopped == want.stopped
        assert sorted(map(str, reply.media)) == sorted(map(str, want.media))
        if want.usage is not None and not want.usage.note and reply.usage is not None:
            assert reply.usage.prompt_tokens == want.usage.prompt_tokens
            assert reply.usage.completion_tokens == want.usage.completion_tokens
        assert (reply.usage is None) == (want.usage is None)
