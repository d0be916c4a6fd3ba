"""Cohere's dialect: any conversation becomes a lawful request; replies in any split and truncation; usage and errors.

The oracle of requests is the simulator's rules, which the official client has proved.
"""

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from penstock.base.chat import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Video,
)
from penstock.base.errors import UpstreamError, UpstreamFault, UpstreamMalformed, UpstreamTruncated
from penstock.base.events import Event, Finished, Started, Stopped, TextDelta, ThinkingDelta, fold
from penstock.base.models import ModelFacts, Target
from penstock.base.usage import Usage
from penstock.config.catalogue import Catalogue
from penstock.dialects.cohere import COHERE
from penstock.ledger.prices import price_lines
from penstock.simulate import cohere_rules
from penstock.simulate.cohere import PREAMBLE_TOKENS, shown_usage
from penstock.simulate.reply import NO_QUIRKS, Call
from penstock.simulate.scenario import Profile, ProviderSettings
from penstock.wire.ports import ReplyReader
from tests.dialects.harness import check_any_split, check_truncation, play, squash

MODELS = ("command-a-plus-05-2026", "command-r7b-12-2024", "command-a-reasoning-08-2025")
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"


def target(model: str = MODELS[0], **facts: Any) -> Target:
    return Target("cohere", model, "cohere", ModelFacts("cohere", model, **facts))


# Requests.

TEXTS = st.one_of(st.sampled_from(["", " "]), st.text(min_size=1, max_size=12))
IDS = st.sampled_from(["a", "b", "call_1", ""])
CACHE = st.sampled_from([None, None, "5m"])
ARGUMENTS = st.sampled_from(["", "{}", '{"x": 1}', '{"n":12345678901234567890123}', "{bad", "null", "[1]"])
text_parts = st.builds(Text, TEXTS, CACHE)
images = st.builds(
    Image, data=st.just(PNG), mime=st.just("image/png"), detail=st.sampled_from([None, "low", "original"])
)
thinking = st.builds(
    Thinking,
    st.text(max_size=5),
    st.just(""),
    st.sampled_from(["cohere-v2", "cohere-tool-plan-v2", "anthropic-claude-v1"]),
)
documents = st.sampled_from(
    [
        Document(data="aGVsbG8=", mime="text/plain", filename="a.txt"),
        Document(data="e30=", mime="application/json"),
        Document(url="data:text/csv;base64,YSxi"),
    ]
)
calls = st.builds(ToolCall, IDS, st.sampled_from(["f", "g"]), ARGUMENTS)
results = st.builds(
    ToolResult,
    IDS,
    st.just("f"),
    st.one_of(TEXTS, st.just('{"a": 1}')),
    st.booleans(),
    st.sampled_from([(), (Image(data=PNG, mime="image/png"),)]),
)


def parts(*kinds: st.SearchStrategy[Part], most: int = 3) -> st.SearchStrategy[tuple[Part, ...]]:
    return st.lists(st.one_of(*kinds), max_size=most).map(tuple)


MESSAGES = st.one_of(
    st.builds(Message, st.just("system"), parts(text_parts, most=2)),
    st.builds(
        Message, st.just("user"), parts(text_parts, images, documents), st.sampled_from(["", "", "ann"])
    ),
    st.builds(Message, st.just("assistant"), parts(text_parts, thinking, calls)),
    st.builds(Message, st.just("tool"), results.map(lambda result: (result,))),
)
HISTORIES = st.lists(MESSAGES, min_size=1, max_size=6).map(tuple)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
REQUESTS = st.builds(
    ChatRequest,
    model=st.sampled_from(MODELS),
    messages=HISTORIES,
    stream=st.booleans(),
    max_tokens=st.sampled_from([None, 1, 300]),
    temperature=st.sampled_from([None, 0.0, 1.5]),
    top_p=st.sampled_from([None, 0.0, 0.5, 1.0]),
    top_k=st.sampled_from([None, 5, 5000]),
    seed=st.sampled_from([None, 0, 7]),
    stop=st.sampled_from([(), ("x", ""), tuple("abcdefg")]),
    presence_penalty=st.sampled_from([None, -1.0, 0.5, 2.0]),
    tools=st.sampled_from(
        [(), (Tool("f", strict=True), Tool("g", cache="5m")), (Tool("f", "x", SCHEMA, strict=True),)]
    ),
    tool_choice=st.sampled_from(
        [None, ToolChoice("auto"), ToolChoice("none"), ToolChoice("required"), ToolChoice("named", ("f",))]
    ),
    parallel_tool_calls=st.sampled_from([None, False]),
    reasoning=st.one_of(
        st.none(),
        st.builds(Reasoning, effort=st.sampled_from(["none", "minimal", "high", "max"])),
        st.builds(Reasoning, max_tokens=st.sampled_from([-1, 0, 1, 2000]), exclude=st.booleans()),
        st.builds(Reasoning, enabled=st.sampled_from([None, True, False])),
    ),
    response_format=st.sampled_from(
        [None, ResponseFormat("json_object"), ResponseFormat("json_schema", SCHEMA, "a")]
    ),
    extras=st.sampled_from(
        [{}, {"openai": {"safety_mode": "STRICT", "documents": [{"data": {"text": "x"}}]}}]
    ),
)


def as_call(body: dict[str, Any], model: str) -> Call:
    return Call(
        method="POST", path="", query={}, headers=[], body=b"", dialect="cohere", provider="cohere", json=body,
        model=model, key="k", stream=False, serial=1, unix_s=0, settings=ProviderSettings(), profile=Profile(),
        quirks=NO_QUIRKS, prompts_seen={}, known_token=lambda _: True,
    )  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REQUESTS)
def test_any_conversation_becomes_a_lawful_request(request: ChatRequest) -> None:
    """Whatever was asked; and no words are lost on the way."""
    goal = target(request.model)
    assume(COHERE.refuse(request, goal) is None)
    wire = COHERE.write_request(request, goal, "KEY")
    body = msgspec.json.decode(wire.body)
    cohere_rules.check(body, as_call(body, request.model))
    assert dict(wire.headers)[b"authorization"] == b"Bearer KEY"
    words = strings(body)
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, Text | ToolResult) and part.text.strip():
                assert any(
                    part.text in word or json.dumps(part.text, ensure_ascii=False)[1:-1] in word
                    for word in words
                )


def strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    return [text for item in value for text in strings(item)] if isinstance(value, list) else []


SAMPLES: dict[str, list[Any]] = {
    "stream": [True],
    "max_tokens": [77],
    "temperature": [0.5, 2.0],
    "top_p": [0.5, 1.0],
    "top_k": [3],
    "n": [2],
    "seed": [0, 5],
    "stop": [("x",), ("",)],
    "presence_penalty": [0.5, -0.5],
    "frequency_penalty": [-0.5],
    "logprobs": [True],
    "top_logprobs": [3],
    "tools": [(Tool("f"),)],
    "tool_choice": [ToolChoice("required"), ToolChoice("named", ("f",)), ToolChoice("none")],
    "parallel_tool_calls": [False],
    "response_format": [ResponseFormat("json_object"), ResponseFormat("json_schema", {"type": "object"})],
    "reasoning": [
        Reasoning(effort="high"),
        Reasoning(max_tokens=3000),
        Reasoning(max_tokens=-1),
        Reasoning(enabled=True),
    ],
    "user": ["u"],
    "service_tier": ["flex"],
    "store": [True],
    "extras": [{"openai": {"logit_bias": {"1": 1}}}, {"openai": {"safety_mode": "OFF"}}],
}


def test_every_field_of_a_request_is_known_here() -> None:
    """So that a new field cannot be forgotten by this dialect."""
    ours = {info.name for info in msgspec.structs.fields(ChatRequest)} - {
        "adjusted",
        "only_at",
    }  # the gateway's
    assert ours == {*SAMPLES, "model", "messages"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SAMPLES)
def test_behaviour_20_no_field_disappears_in_silence(name: str, model: str) -> None:
    """A field changes the request, or is refused by name, or is named in ``adjusted``."""
    hi = (Message("user", (Text("hi"),)),)
    tools = (Tool("f"), Tool("g")) if name in ("tool_choice", "parallel_tool_calls") else ()
    plain = ChatRequest(model, hi, tools=tools)
    before = COHERE.write_request(plain, target(model), "KEY")
    assert before.adjusted == ()
    for value in SAMPLES[name]:
        request = msgspec.structs.replace(plain, **{name: value})
        rejected = COHERE.refuse(request, target(model))
        if rejected is not None:
            assert (rejected.param, rejected.caller_fault) == (name, True)
            continue
        after = COHERE.write_request(request, target(model), "KEY")
        said = next(iter(next(iter(value.values())))) if name == "extras" else name
        assert after.body != before.body or any(word.startswith(said) for word in after.adjusted)


@pytest.mark.parametrize(
    ("part", "code"),
    [
        (Audio("AAAA", "wav"), "audio-unsupported"),
        (Video(data="AAAA", mime="video/mp4"), "video-unsupported"),
        (Image(url="s3://bucket/a.png"), "image-url"),
        (Document(file_id="file-1"), "file-id"),
        (Document(url="https://example.com/a.txt"), "document-url"),
        (Document(data="JVBERi0xLjQK", mime="application/pdf"), "document-format"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name_with_a_remedy(part: Part, code: str) -> None:
    """With the field's path."""
    rejected = COHERE.refuse(ChatRequest("m", (Message("user", (Text("x"), part)),)), target())
    assert rejected is not None
    assert (rejected.code, rejected.param, rejected.caller_fault) == (code, "messages[0].content[1]", True)


def test_a_conversation_word_for_word() -> None:
    """Documents apart, thoughts and the plan as they came, an error as JSON, a picture after its result."""
    turns = (
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("Look"), Document(data="aGVsbG8=", mime="text/plain", filename="a.txt"))),
        Message(
            "assistant",
            (
                Thinking("Hm.", format="cohere-v2"),
                Thinking("I will look.", format="cohere-tool-plan-v2"),
                ToolCall("t1", "f", '{"n":12345678901234567890123}'),
                ToolCall("t2", "f", ""),
            ),
        ),
        Message(
            "tool", (ToolResult("t1", "f", "no", is_error=True, images=(Image(data=PNG, mime="image/png"),)),)
        ),
        Message("user", (Text("Go on"),)),
    )
    wire = COHERE.write_request(ChatRequest(MODELS[0], turns), target(), "KEY")
    body = msgspec.json.decode(wire.body)
    assert wire.adjusted == ("tool_result-images-moved", "tool_result-missing")
    assert body["documents"] == [{"data": {"title": "a.txt", "text": "hello"}}]
    assert [message["role"] for message in body["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "user",
    ]
    _, _, assistant, first, second, last = body["messages"]
    assert assistant["content"] == [{"type": "thinking", "thinking": "Hm."}]
    assert assistant["tool_plan"] == "I will look."
    assert [call["function"]["arguments"] for call in assistant["tool_calls"]] == [
        '{"n":12345678901234567890123}',
        "{}",
    ]
    assert first == {"role": "tool", "tool_call_id": "t1", "content": '{"error":"no"}'}
    assert "error" in second["content"]
    assert [block["type"] for block in last["content"]] == ["image_url", "text"]


# Replies.


def event(value: dict[str, Any]) -> bytes:
    return (
        b"event: "
        + value["type"].encode()
        + b"\ndata: "
        + json.dumps(value, ensure_ascii=False).encode()
        + b"\n\n"
    )


def content(kind: str, index: int, **said: Any) -> bytes:
    return event({"type": kind, "index": index, "delta": {"message": {"content": said}}})


def call_event(kind: str, index: int, **said: Any) -> bytes:
    return event({"type": kind, "index": index, "delta": {"message": {"tool_calls": said}}})


USAGE = {
    "billed_units": {"input_tokens": 5.0, "output_tokens": 7.0},
    "tokens": {"input_tokens": 71.0, "output_tokens": 7.0},
    "cached_tokens": 64.0,
}


def end(why: str = "COMPLETE", **more: Any) -> bytes:
    return event({"type": "message-end", "delta": {"finish_reason": why, "usage": USAGE, **more}})


START = event(
    {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant", "content": []}}}
)
TOOLS = b"".join(
    (
        START,
        content("content-start", 0, type="thinking", thinking=""),
        content("content-delta", 0, thinking="Hm. "),
        content("content-delta", 0, thinking="Yes."),
        event({"type": "content-end", "index": 0}),
        event({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I will "}}}),
        event({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "look."}}}),
        call_event("tool-call-start", 0, id="t1", type="function", function={"name": "f", "arguments": ""}),
        call_event("tool-call-delta", 0, function={"arguments": '{"n":'}),
        call_event("tool-call-delta", 0, function={"arguments": "1}"}),
        event({"type": "tool-call-end", "index": 0}),
        call_event("tool-call-start", 1, id="t2", type="function", function={"name": "g", "arguments": "{}"}),
        event({"type": "tool-call-end", "index": 1}),
        content("content-start", 1, type="text", text=""),
        content("content-delta", 1, text="Zürich "),
        event(
            {
                "type": "citation-start",
                "index": 0,
                "delta": {"message": {"citations": {"start": 0, "end": 1}}},
            }
        ),
        event({"type": "citation-end", "index": 0}),
        content("content-delta", 1, text="🙂"),
        event({"type": "debug", "prompt": "x"}),
        end("TOOL_CALL"),
        b"data: [DONE]\n\n",
    )
)


def reader(*, streamed: bool = True, **facts: Any) -> ReplyReader:
    return COHERE.reader(target(**facts), stream=streamed)


EVENTS = play(reader(), [TOOLS])


def test_a_stream_says_what_it_means() -> None:
    """Thoughts and plan apart, tools by our own index, words, what is billed."""
    folded = fold(EVENTS)
    assert EVENTS[0] == Started(id="c1")
    assert folded.thinking == [
        ThinkingDelta("Hm. Yes.", format="cohere-v2"),
        ThinkingDelta("I will look.", format="cohere-tool-plan-v2"),
    ]
    assert [(tool.id, tool.name, tool.arguments) for tool in folded.tools] == [
        ("t1", "f", '{"n":1}'),
        ("t2", "g", "{}"),
    ]
    assert folded.text == "Zürich 🙂"
    assert folded.stopped == Stopped("tool_calls", "TOOL_CALL")
    assert folded.usage == Usage(input=5, output=7, source="stream")
    assert folded.finished


def test_behaviour_02_any_split_gives_the_same_events() -> None:
    """Byte by byte too."""
    check_any_split(reader, TOOLS, EVENTS)


def test_behaviour_05_a_cut_stream_is_never_taken_for_a_whole_one() -> None:
    """At every byte before the end of message-end."""
    complete = TOOLS.index(b"data: [DONE]") - 2
    check_truncation(reader, TOOLS, complete)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(TOOLS) - 1), st.integers(1, 255), st.lists(st.integers(0, len(TOOLS)), max_size=5))
def test_a_corrupted_byte_is_harmless_or_an_error(place: int, flip: int, cuts: list[int]) -> None:
    """SSE has no check sums: words may change, but there is an end only where one was sent; blame is the provider's."""
    broken = TOOLS[:place] + bytes((TOOLS[place] ^ flip,)) + TOOLS[place + 1 :]
    edges = [0, *sorted(cuts), len(broken)]
    try:
        seen = play(reader(), [broken[a:b] for a, b in itertools.pairwise(edges)])
    except UpstreamError as error:
        assert error.blame == "upstream"
    else:
        assert seen[-1] == Finished()


def test_a_whole_reply_says_what_its_stream_says() -> None:
    """And every cut of it is an error."""
    body = json.dumps(
        {
            "id": "c1",
            "finish_reason": "TOOL_CALL",
            "message": {
                "role": "assistant",
                "tool_plan": "I will look.",
                "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"n":1}'}},
                    {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
                ],
                "content": [
                    {"type": "thinking", "thinking": "Hm. Yes."},
                    {"type": "text", "text": "Zürich 🙂"},
                ],
            },
            "usage": USAGE,
        }
    ).encode()
    whole, streamed = fold(play(reader(streamed=False), [body[:9], body[9:]])), fold(EVENTS)
    assert whole.usage is not None
    assert whole.usage == msgspec.structs.replace(streamed.usage, source="provider")  # type: ignore[type-var]
    for name in ("id", "text", "thinking", "tools", "stopped"):
        assert getattr(whole, name) == getattr(streamed, name)
    for cut in range(len(body)):
        with pytest.raises(UpstreamError):
            play(reader(streamed=False), [body[:cut]])


@pytest.mark.parametrize(
    ("native", "why"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("TOOL_CALL", "tool_calls"),
        ("ERROR_TOXIC", "content_filter"),
        ("ERROR", "error"),
        ("TIMEOUT", "error"),
        ("SOMETHING_NEW", "stop"),
    ],
)
def test_behaviour_17_every_reason_to_stop(native: str, why: str) -> None:
    """The native word is kept."""
    stopped = fold(play(reader(), [START + content("content-delta", 0, text="x") + end(native)])).stopped
    assert stopped == Stopped(why, native)  # type: ignore[arg-type]


def failing(chunks: list[bytes], *, streamed: bool = True) -> tuple[list[Event], UpstreamError]:
    player, seen = reader(streamed=streamed), []
    try:
        for chunk in chunks:
            seen += player.feed(chunk)
        seen += player.close()
    except UpstreamError as error:
        return seen, error
    raise AssertionError("the failure was not noticed")


def test_behaviour_09_an_error_in_a_stream_is_raised_and_loses_no_event() -> None:
    """In message-end, whole or byte by byte."""
    body = START + content("content-delta", 0, text="so far") + end("ERROR", error="it broke")
    for chunks in ([body, b""], [body[i : i + 1] for i in range(len(body))]):
        seen, error = failing(chunks)
        assert squash(seen) == [Started(id="c1"), TextDelta("so far")]
        assert isinstance(error, UpstreamFault)
        assert "it broke" in error.message


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"message":"overloaded","id":"x"}', UpstreamFault),
        (b"<html>no</html>", UpstreamMalformed),
        (b'{"other":1}', UpstreamMalformed),
        (b"", UpstreamTruncated),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_behaviour_10_what_is_no_reply_is_an_error(body: bytes, kind: type, streamed: bool) -> None:
    """JSON errors, pages and nothing at all, inside a 200."""
    assert isinstance(failing([body], streamed=streamed)[1], kind)


COUNTS = st.integers(0, 10**7)


@settings(max_examples=200, deadline=None)
@given(COUNTS, COUNTS, st.integers(0, 10**7))
def test_usage_is_what_is_billed_and_its_cost_is_exact(fresh: int, output: int, cached: int) -> None:
    """The parts sum to the billed units; ``tokens`` counts a preamble that nobody pays for."""
    said: dict[str, Any] = shown_usage(Usage(input=fresh, output=output, cache_read=cached), "") or {}
    assert said["tokens"]["input_tokens"] - said["billed_units"]["input_tokens"] == PREAMBLE_TOKENS
    body = START + event({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": said}})
    price = Catalogue.load().facts("cohere", "command-r7b-12-2024").price
    usage = fold(play(reader(price=price), [body])).usage
    assert usage is not None
    assert (usage.total_tokens, usage.note) == (fresh + output, "")
    lines, total = price_lines(usage, price)
    assert total == sum(line.cost_nusd or 0 for line in lines)
    # 0.0375 and 0.15 dollars a million, by hand: nano-dollars, each line rounded by itself.
    exact = fresh * 37.5 + output * 150
    assert abs((total or 0) - exact) <= 1
    assert sum(line.quantity for line in lines) == fresh + output


def test_what_was_cached_stands_apart_only_where_it_has_a_price() -> None:
    """Else it would cost nothing known."""
    row = Catalogue.load().facts("cohere", "command-r7b-12-2024").price
    assert row is not None
    with_cache = msgspec.structs.replace(row, units={**row.units, "cache_read": row.units["input"]})
    body = START + end()
    for price, parts_of in ((row, (5, 0)), (with_cache, (0, 5))):
        usage = fold(play(reader(price=price), [body])).usage
        assert usage is not None
        assert (usage.input, usage.cache_read) == parts_of


@pytest.mark.parametrize(
    ("status", "message", "name", "public", "code"),
    [
        (400, "invalid request: x", "UpstreamBadRequest", 400, "invalid_request"),
        (
            400,
            "too many tokens: size limit exceeded by 5",
            "UpstreamBadRequest",
            400,
            "context_length_exceeded",
        ),
        (401, "invalid api token", "UpstreamAuthFailed", 502, "upstream_credentials_exhausted"),
        (402, "billing", "UpstreamAuthFailed", 502, "upstream_credentials_exhausted"),
        (404, "model 'x' not found", "UpstreamNotFound", 404, "model_not_found"),
        (422, "unprocessable", "UpstreamBadRequest", 422, "invalid_request"),
        (429, "slow down", "UpstreamRateLimited", 429, "rate_limit_exceeded"),
        (498, "blocked", "UpstreamBadRequest", 400, "content_policy_violation"),
        (499, "cancelled", "UpstreamFault", 502, "upstream_fault"),
        (500, "oh", "UpstreamFault", 502, "upstream_fault"),
        (503, "later", "UpstreamFault", 503, "upstream_fault"),
        (504, "late", "UpstreamFault", 504, "upstream_fault"),
    ],
)
def test_errors_have_their_blame(status: int, message: str, name: str, public: int, code: str) -> None:
    """By status; the sentence reaches the caller."""
    error = COHERE.read_error(status, [], json.dumps({"id": "x", "message": message}).encode())
    assert (type(error).__name__, error.status, error.code) == (name, public, code)
    assert message in error.message


def test_errors_hold_no_secrets_and_never_raise() -> None:
    """A trial key's monthly limit is not waited for."""
    told = "You are using a Trial key, which is limited to 1000 API calls / month."
    limited = COHERE.read_error(429, [], json.dumps({"message": told}).encode())
    assert getattr(limited, "quota_exhausted", None) is True
    key = "Ab1" * 14
    assert (
        key not in COHERE.read_error(401, [], json.dumps({"message": f"key {key} is bad"}).encode()).message
    )
    for body in (b"", b"{", b"\xff\xfe", b"[" * 5000, b'{"message": 7}', b"<html>"):
        assert isinstance(COHERE.read_error(500, [], body), UpstreamFault)
