"""What Gemini's replies mean: finish reasons, errors inside a 200, usage that adds up, calls and signatures."""

import json

import msgspec
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import (
    UpstreamAuthFailed,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFault,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamTruncated,
)
from penstock.base.events import (
    Event,
    Finished,
    Started,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolStarted,
    UsageSeen,
    fold,
    is_content,
)
from penstock.base.usage import TOKEN_UNITS
from penstock.dialects.gemini import GEMINI
from penstock.dialects.gemini.reply import FAILED, Counts, GeminiReader, read_usage
from tests.dialects.harness import cases, check_any_split, play


def frame(**facts) -> bytes:
    return b"data: " + json.dumps(facts, ensure_ascii=False).encode() + b"\r\n\r\n"


def candidate(parts=None, finish=None) -> dict:
    made = {"index": 0}
    if parts is not None:
        made["content"] = {"role": "model", "parts": parts}
    if finish:
        made["finishReason"] = finish
    return {"candidates": [made]}


def streamed(*frames: bytes) -> list[Event]:
    return play(GeminiReader("Gemini", stream=True), list(frames))


# -- finish reasons (behaviour 17)

STOPS = [
    ("STOP", "stop"),
    ("MAX_TOKENS", "length"),
    ("CONTINUATION", "length"),
    ("SAFETY", "content_filter"),
    ("RECITATION", "content_filter"),
    ("BLOCKLIST", "content_filter"),
    ("PROHIBITED_CONTENT", "content_filter"),
    ("SPII", "content_filter"),
    ("MODEL_ARMOR", "content_filter"),
    ("IMAGE_SAFETY", "content_filter"),
    ("IMAGE_PROHIBITED_CONTENT", "content_filter"),
    ("IMAGE_RECITATION", "content_filter"),
    ("OTHER", "stop"),
    ("LANGUAGE", "stop"),
    ("NO_IMAGE", "stop"),
    ("IMAGE_OTHER", "stop"),
    ("ESCALATION", "stop"),
    ("PUP_LIMITED_DISABLED", "stop"),
    ("FINISH_REASON_UNSPECIFIED", "stop"),
    ("INVENTED_TOMORROW", "stop"),
    *((native, "error") for native in sorted(FAILED)),
]


@pytest.mark.parametrize(("native", "why"), STOPS)
def test_behaviour_17_finish_reason_after_text(native, why):
    """Total and honest, with Google's own word kept."""
    events = streamed(frame(**candidate([{"text": "Hi"}])), frame(**candidate(finish=native)))
    assert events[-2:] == [Stopped(why, native), Finished()]


def test_behaviour_17_every_reason_the_sdk_knows_is_in_the_table():
    """A reason that Google adds shows here with the SDK's next release."""
    assert {reason.value for reason in types.FinishReason} <= {native for native, _ in STOPS}


@pytest.mark.parametrize("native", ["OTHER", "LANGUAGE", "NO_IMAGE", "IMAGE_OTHER", "INVENTED_TOMORROW"])
def test_no_answer_for_no_stated_reason_is_an_error(native):
    events = streamed(frame(**candidate([], native)))
    assert events[-2:] == [Stopped("error", native), Finished()]


@pytest.mark.parametrize("native", sorted(FAILED))
def test_failed_model_before_any_content_can_fall_back(native):
    """Raised, not told: nothing was delivered, so another attempt is free to answer."""
    with pytest.raises(UpstreamFault, match=native) as caught:
        streamed(frame(**candidate([{"text": ""}])), frame(**candidate([], native)))
    assert caught.value.retryable
    assert caught.value.falls_back


def test_stop_with_a_call_is_tool_calls_but_a_cap_stays_a_cap():
    call = [{"functionCall": {"name": "f", "args": {}}}]
    assert streamed(frame(**candidate(call, "STOP")))[-2] == Stopped("tool_calls", "STOP")
    assert streamed(frame(**candidate(call, "MAX_TOKENS")))[-2] == Stopped("length", "MAX_TOKENS")


def test_blocked_prompt_is_a_reply_with_empty_content():
    """HTTP 200, no candidates: started, stopped by the filter, finished."""
    events = streamed(frame(promptFeedback={"blockReason": "SAFETY"}, modelVersion="m", responseId="r"))
    assert events == [Started("m", "r"), Stopped("content_filter", "SAFETY"), Finished()]


def test_unspecified_block_reason_is_no_block():
    with pytest.raises(UpstreamTruncated):
        streamed(frame(promptFeedback={"blockReason": "BLOCKED_REASON_UNSPECIFIED"}))


def test_text_after_a_finish_reason_is_not_lost():
    """Old models set STOP on every chunk."""
    events = streamed(
        frame(**candidate([{"text": "a"}], "STOP")), frame(**candidate([{"text": "b"}], "STOP"))
    )
    assert fold(events).text == "ab"
    assert events[-2] == Stopped("stop", "STOP")


def test_behaviour_01_empty_first_delta_is_no_content():
    reader = GeminiReader("Gemini", stream=True)
    first = reader.feed(frame(**candidate([{"text": ""}]), modelVersion="m"))
    assert first == [Started("m", "")]
    assert not any(is_content(event) for event in first)


# -- failures inside a 200 (behaviours 5, 9, 13)

ERRORS = [
    (503, "UNAVAILABLE", UpstreamFault),
    (500, "INTERNAL", UpstreamFault),
    (429, "RESOURCE_EXHAUSTED", UpstreamRateLimited),
    (400, "INVALID_ARGUMENT", UpstreamBadRequest),
    (403, "PERMISSION_DENIED", UpstreamAuthFailed),
    (None, "UNKNOWN", UpstreamFault),
]


@pytest.mark.parametrize(("code", "status", "kind"), ERRORS)
def test_behaviour_09_error_frame_is_raised_with_its_class(code, status, kind):
    """First or in the middle, as ``data:``, bare, or as a list."""
    error = {"error": {"code": code, "message": "overloaded", "status": status}}
    text = json.dumps(error).encode()
    hello = frame(**candidate([{"text": "Hi"}]))
    for body in [frame(**error), b"[" + text + b"]", text, b"data: [" + text + b"]\n\n"]:
        with pytest.raises(kind):
            streamed(body)
    for tail in [frame(**error), text, b"\r\n\r\n[" + text + b"]\r\n"]:
        with pytest.raises(kind):
            streamed(hello, tail)
    with pytest.raises(kind):
        play(GeminiReader("Gemini", stream=False), [text])


@pytest.mark.parametrize(
    "body", [b"", b"\r\n", b"{}", b"[]", b'{"candidates":[]}', b"data: {}\n\n", b"data: x"]
)
@pytest.mark.parametrize("stream", [True, False])
def test_empty_or_foreign_200_is_never_a_reply(body, stream):
    with pytest.raises((UpstreamTruncated, UpstreamMalformed)):
        play(GeminiReader("Gemini", stream=stream), [body])


def test_behaviour_13_html_in_a_200_is_malformed():
    for stream in (True, False):
        with pytest.raises(UpstreamMalformed):
            play(GeminiReader("Gemini", stream=stream), [b"<!doctype html><title>502</title>"])


def test_broken_json_in_the_middle_is_malformed():
    with pytest.raises(UpstreamMalformed):
        streamed(frame(**candidate([{"text": "Hi"}])), b'data: {"candidates": [}\n\n')


def test_arguments_that_are_no_utf8_are_malformed():
    """They are kept raw: the frame's own reading does not look at them."""
    good = frame(**candidate([{"functionCall": {"name": "f", "args": {"a": "xy"}}}]))
    with pytest.raises(UpstreamMalformed):
        streamed(good.replace(b"xy", b"\x90y"))


@pytest.mark.parametrize("value", [b"7", b'"x"', b'{"candidates":7}', b'{"candidates":[{"content":[]}]}'])
def test_wrong_shapes_are_malformed_not_a_crash(value):
    with pytest.raises((UpstreamMalformed, UpstreamTruncated)):
        streamed(b"data: " + value + b"\n\n")


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_crash_the_reader(junk, stream):
    """Anything at all: events, or an UpstreamError."""
    try:
        events = play(GeminiReader("Gemini", stream=stream), [junk])
    except UpstreamError:
        return
    assert events[-1] == Finished()


def test_behaviour_04_very_long_event_passes():
    """A picture of a megabyte in one line."""
    picture = {"inlineData": {"mimeType": "image/png", "data": "A" * 1_000_000}}
    body = frame(**candidate([picture], "STOP"))
    events = streamed(*(body[i : i + 65_536] for i in range(0, len(body), 65_536)))
    assert len(fold(events).media[0].data) == 1_000_000


def test_openais_done_marker_is_tolerated():
    events = streamed(frame(**candidate([{"text": "Hi"}], "STOP")), b"data: [DONE]\n\n")
    assert events[-2:] == [Stopped("stop", "STOP"), Finished()]


# -- calls and signatures (behaviours 14 to 16)


def test_behaviour_14_parallel_calls_keep_index_id_and_order():
    """Across chunks too; ids that Google gives are kept, others are made, stable and distinct."""
    same = {"functionCall": {"name": "f", "args": {"a": 1}}}
    own = {"functionCall": {"name": "g", "args": {"b": 2}, "id": "abc"}}
    body = frame(**candidate([same, same]), responseId="r") + frame(**candidate([own], "STOP"))
    tools = fold(streamed(body)).tools
    assert [(tool.index, tool.name, tool.arguments) for tool in tools] == [
        (0, "f", '{"a":1}'),
        (1, "f", '{"a":1}'),
        (2, "g", '{"b":2}'),
    ]
    assert tools[2].id == "abc"
    assert len({tool.id for tool in tools}) == 3
    assert all(tool.id.startswith("call_") and len(tool.id) <= 40 for tool in tools[:2])
    check_any_split(lambda: GeminiReader("Gemini", stream=True), body, streamed(body))


@pytest.mark.parametrize("call", [{"name": "f"}, {"name": "f", "args": None}, {"name": "f", "args": {}}])
def test_behaviour_15_empty_arguments_are_an_empty_object(call):
    assert fold(streamed(frame(**candidate([{"functionCall": call}], "STOP")))).tools[0].arguments == "{}"


def test_behaviour_15_arguments_keep_key_order_and_big_integers():
    raw = b'{"z": 1,\n "a": 123456789012345678901234567890, "f": 1.10, "s": "\xc3\xbc\\n"}'
    body = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":' + raw
    body += b'}}]},"finishReason":"STOP"}]}'
    arguments = fold(play(GeminiReader("Gemini", stream=False), [body])).tools[0].arguments
    assert arguments == '{"z":1,"a":123456789012345678901234567890,"f":1.10,"s":"ü\\n"}'


def test_behaviour_16_signatures_are_told_with_what_they_belong_to():
    """On a call tied by its id, on text before the text, alone in an empty part kept."""
    events = streamed(
        frame(**candidate([{"text": "hm", "thought": True}])),
        frame(**candidate([{"text": "Hi", "thoughtSignature": "QQ=="}])),
        frame(**candidate([{"functionCall": {"name": "f", "id": "x"}, "thoughtSignature": "Qg=="}])),
        frame(**candidate([{"text": "", "thoughtSignature": "Qw=="}], "STOP")),
    )
    google = "google-gemini-v1"
    assert [event for event in events if isinstance(event, ThinkingDelta | TextDelta | ToolStarted)] == [
        ThinkingDelta("hm", "", google),
        ThinkingDelta("", "QQ==", google),
        TextDelta("Hi"),
        ThinkingDelta("", "Qg==", google, "", "x"),
        ToolStarted(0, "x", "f"),
        ThinkingDelta("", "Qw==", google),
    ]


# -- usage (behaviour 34)


def counts(**facts) -> Counts:
    return msgspec.convert(facts, Counts)


def test_behaviour_34_cached_and_audio_are_taken_out_of_the_prompt():
    usage = read_usage(
        counts(
            promptTokenCount=1000,
            cachedContentTokenCount=400,
            candidatesTokenCount=20,
            thoughtsTokenCount=30,
            toolUsePromptTokenCount=5,
            totalTokenCount=1055,
            promptTokensDetails=[{"modality": "AUDIO", "tokenCount": 300}, {"modality": "TEXT"}],
            cacheTokensDetails=[{"modality": "AUDIO", "tokenCount": 100}],
        ),
        "provider",
    )
    assert (usage.input, usage.cache_read, usage.input_audio) == (405, 400, 200)
    assert usage.cache_read_audio == 100
    assert (usage.output, usage.reasoning, usage.total_tokens, usage.note) == (20, 30, 1055, "")


def test_thoughts_inside_the_candidates_are_seen_by_the_total():
    usage = read_usage(
        counts(promptTokenCount=10, candidatesTokenCount=50, thoughtsTokenCount=30, totalTokenCount=60),
        "stream",
    )
    assert (usage.output, usage.reasoning, usage.total_tokens) == (20, 30, 60)
    assert "includes the thoughts" in usage.note


def test_figures_that_do_not_add_up_say_so():
    usage = read_usage(counts(promptTokenCount=10, candidatesTokenCount=5, totalTokenCount=99), "stream")
    assert (usage.prompt_tokens, usage.completion_tokens) == (10, 5)
    assert "99" in usage.note


def test_missing_candidates_are_what_the_total_leaves():
    """None is not 0: it is 0 only where the total shows it."""
    thinking = counts(promptTokenCount=10, thoughtsTokenCount=5, totalTokenCount=15)
    assert read_usage(thinking, "stream").completion_tokens == 5
    assert read_usage(thinking, "stream").note == ""
    hidden = read_usage(counts(promptTokenCount=10, totalTokenCount=15), "stream")
    assert (hidden.output, bool(hidden.note)) == (5, True)


NUMBER = st.none() | st.integers(0, 5000)
DETAILS = st.none() | st.lists(
    st.builds(
        lambda modality, tokens: {"modality": modality, "tokenCount": tokens},
        st.sampled_from(["TEXT", "AUDIO", "IMAGE", "VIDEO", "DOCUMENT"]),
        NUMBER,
    ),
    max_size=4,
)


@given(
    st.fixed_dictionaries(
        {
            "promptTokenCount": NUMBER,
            "cachedContentTokenCount": NUMBER,
            "candidatesTokenCount": NUMBER,
            "thoughtsTokenCount": NUMBER,
            "toolUsePromptTokenCount": NUMBER,
            "totalTokenCount": NUMBER,
            "promptTokensDetails": DETAILS,
            "cacheTokensDetails": DETAILS,
            "candidatesTokensDetails": DETAILS,
        }
    )
)
def test_usage_is_disjoint_and_keeps_the_whole_prompt(facts):
    """No part is negative, the parts sum to Google's prompt, and a total that disagrees is noted."""
    usage = read_usage(counts(**facts), "stream")
    assert min(getattr(usage, unit) for unit in TOKEN_UNITS) >= 0
    assert 0 <= usage.cache_read_audio <= usage.cache_read
    assert usage.prompt_tokens == (facts["promptTokenCount"] or 0) + (facts["toolUsePromptTokenCount"] or 0)
    if facts["totalTokenCount"] and usage.total_tokens != facts["totalTokenCount"]:
        assert usage.note


def test_last_usage_counts():
    events = streamed(
        frame(**candidate([{"text": "a"}]), usageMetadata={"promptTokenCount": 3, "totalTokenCount": 4}),
        frame(**candidate([], "STOP"), usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": 9}),
    )
    assert fold(events).usage.output == 9
    assert sum(isinstance(event, UsageSeen) for event in events) == 2


# -- an oracle: what we take for Gemini's replies is what Google's SDK takes for them


@pytest.mark.parametrize(
    "case", [c for c in cases("gemini") if "wire-reply" in c.parts], ids=lambda c: c.name
)
def test_golden_replies_are_googles(case):
    """Every recorded reply validates as the SDK's own response type, unknown fields forbidden."""
    body = case.parts["wire-reply"]
    if body.lstrip()[:1] == b"[":
        texts = [json.dumps(one) for one in json.loads(body)]
    elif case.stream:
        texts = [line[6:].decode() for line in body.splitlines() if line.startswith(b"data: ")]
    else:
        texts = [body.decode()]
    assert texts
    for text in texts:
        if "SOMETHING_NEW" not in text:
            types.GenerateContentResponse.model_validate(json.loads(text))


def test_singletons_read_by_target():
    """The port gives the reader; both flavours read alike."""
    reader = GEMINI.reader(None, stream=False)  # the target decides nothing about a Gemini reply
    assert isinstance(reader, GeminiReader)


def test_behaviour_02_text_that_looks_like_a_frame_is_text():
    """Cut so that a piece by itself looks like one whole event."""
    text = 'x data: {"candidates": []}'
    body = frame(**candidate([{"text": text}], "STOP"))
    cut = body.index(b"data: {", 6)
    reader = GeminiReader("Gemini", stream=True)
    assert fold(play(reader, [body[:cut], body[cut:]])).text == text
