"""What Anthropic's request writer promises for any conversation: lawful order, the SDK's own types, nothing lost.

The oracle is the ``anthropic`` SDK's ``MessageCreateParams``. Its TypedDicts ignore unknown keys and its iterables
are validated when they are walked, so the test walks everything and compares keys itself.
"""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest
from anthropic import types as sdk
from anthropic.types import message_create_params
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from penstock.base.chat import (
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
)
from penstock.base.models import ModelFacts, Target
from penstock.dialects.anthropic import ANTHROPIC

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
MODELS = (
    "claude-3-haiku-20240307",
    "claude-3-7-sonnet-latest",
    "claude-haiku-4-5",
    "claude-opus-4-6",
    "claude-opus-4-8",
    "claude-opus-5",
    "claude-sonnet-5-5",
    "claude-opus-5-5",
    "claude-fable-5-2",
    "some-other-model",
)
# What only an API version knows; the newest SDK has no such keyword any more.
SAMPLING = {"temperature", "top_p", "top_k"}

TEXTS = st.one_of(st.sampled_from(["", " ", "\n"]), st.text(min_size=1, max_size=12))
IDS = st.sampled_from(["a", "b", "c.d:0", "call_1", ""])
CACHE = st.sampled_from([None, None, "5m", "1h"])
ARGUMENTS = st.sampled_from(["", "{}", '{"x": 1}', '{"n":12345678901234567890123}', "{bad", "null", "[1]"])
text_parts = st.builds(Text, TEXTS, CACHE)
images = st.builds(Image, data=st.just(PNG), mime=st.just("image/png"), detail=st.sampled_from([None, "low"]))
thinking = st.one_of(
    st.builds(Thinking, st.text(max_size=5), st.sampled_from(["", "sig"]), st.just("anthropic-claude-v1")),
    st.builds(Thinking, redacted=st.just("xx"), format=st.just("anthropic-claude-v1")),
    st.builds(Thinking, st.text(max_size=5), st.just("sig"), st.just("google-gemini-v1")),
)
documents = st.just(Document(data="JVBERi0xLjQK", mime="application/pdf", filename="f.pdf"))
calls = st.builds(ToolCall, IDS, st.sampled_from(["f", "g"]), ARGUMENTS)
results = st.builds(
    ToolResult,
    IDS,
    st.just("f"),
    TEXTS,
    st.booleans(),
    st.sampled_from([(), (Image(data=PNG, mime="image/png"),)]),
)


def parts(*kinds: st.SearchStrategy[Part], most: int = 4) -> st.SearchStrategy[tuple[Part, ...]]:
    return st.lists(st.one_of(*kinds), max_size=most).map(tuple)


MESSAGES = st.one_of(
    st.builds(Message, st.just("system"), parts(text_parts, most=2)),
    st.builds(
        Message, st.just("user"), parts(text_parts, images, documents), st.sampled_from(["", "", "ann"])
    ),
    st.builds(Message, st.just("assistant"), parts(text_parts, thinking, calls)),
    st.builds(Message, st.just("tool"), results.map(lambda result: (result,))),
)
HISTORIES = st.lists(MESSAGES, min_size=1, max_size=9).map(tuple)
TOOLS = st.sampled_from(
    [
        (),
        (Tool("f", "does f", {"type": "object", "properties": {}}, strict=True), Tool("g", cache="5m")),
        (Tool("f", parameters={"properties": {"x": {"type": "integer"}}}),),
    ]
)
CHOICES = st.sampled_from(
    [
        None,
        ToolChoice("auto"),
        ToolChoice("none"),
        ToolChoice("required"),
        ToolChoice("named", ("f",)),
        ToolChoice("named", ("f", "g")),
    ]
)
REASONING = st.one_of(
    st.none(),
    st.builds(
        Reasoning, effort=st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"])
    ),
    st.builds(Reasoning, max_tokens=st.sampled_from([-1, 0, 1, 2000, 500_000]), exclude=st.booleans()),
    st.builds(Reasoning, enabled=st.sampled_from([None, True, False]), exclude=st.booleans()),
)
FORMATS = st.sampled_from(
    [
        None,
        ResponseFormat("text"),
        ResponseFormat("json_object"),
        ResponseFormat(
            "json_schema", {"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}}
        ),
    ]
)
REQUESTS = st.builds(
    ChatRequest,
    model=st.sampled_from(MODELS),
    messages=HISTORIES,
    stream=st.booleans(),
    max_tokens=st.sampled_from([None, 1, 300, 5000]),
    temperature=st.sampled_from([None, 0.0, 1.0, 1.5]),
    top_p=st.sampled_from([None, 0.5]),
    top_k=st.sampled_from([None, 5]),
    stop=st.sampled_from([(), ("x", " ")]),
    tools=TOOLS,
    tool_choice=CHOICES,
    parallel_tool_calls=st.sampled_from([None, True, False]),
    reasoning=REASONING,
    response_format=FORMATS,
    user=st.sampled_from([None, "u"]),
    service_tier=st.sampled_from([None, "auto", "flex"]),
)


def goal(model: str, **facts: Any) -> Target:
    return Target("anthropic", model, "anthropic", ModelFacts("anthropic", model, **facts))


@functools.cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def walk(value: object) -> object:
    """Everything, lazily validated iterables included."""
    if isinstance(value, str | bytes | int | float | None):
        return value
    if isinstance(value, Mapping):
        return {key: walk(item) for key, item in value.items()}
    assert isinstance(value, Iterable)
    return [walk(item) for item in value]


BLOCKS: dict[str, Any] = {
    "text": sdk.TextBlockParam,
    "image": sdk.ImageBlockParam,
    "document": sdk.DocumentBlockParam,
    "thinking": sdk.ThinkingBlockParam,
    "redacted_thinking": sdk.RedactedThinkingBlockParam,
    "tool_use": sdk.ToolUseBlockParam,
    "tool_result": sdk.ToolResultBlockParam,
}


def check_keys(body: dict[str, Any]) -> None:
    params = message_create_params.MessageCreateParamsBase.__annotations__
    assert set(body) <= set(params) | {"stream"} | SAMPLING
    for turn in body["messages"]:
        assert set(turn) == {"role", "content"}
        for block in turn["content"]:
            assert set(block) <= set(BLOCKS[block["type"]].__annotations__)
    for tool in body.get("tools", ()):
        assert set(tool) <= set(sdk.ToolParam.__annotations__)
    assert set(body.get("output_config", ())) <= set(sdk.OutputConfigParam.__annotations__)


def check_order(messages: list[dict[str, Any]]) -> None:
    """The rules that Anthropic answers with 400 (wire facts: ordering errors seen)."""
    assert messages
    assert [turn["role"] for turn in messages] == [("user", "assistant")[i % 2] for i in range(len(messages))]
    seen: set[str] = set()
    for turn, following in zip(messages, [*messages[1:], None], strict=True):
        content = turn["content"]
        assert content
        kinds = [block["type"] for block in content]
        for block in content:
            assert block["type"] != "text" or block["text"].strip()
        if turn["role"] == "user":
            assert not {"thinking", "redacted_thinking", "tool_use"} & set(kinds)
            continue
        assert set(kinds) <= {"text", "thinking", "redacted_thinking", "tool_use"}
        assert kinds[-1] not in ("thinking", "redacted_thinking")
        used = [block["id"] for block in content if block["type"] == "tool_use"]
        assert kinds[len(kinds) - len(used) :] == ["tool_use"] * len(used)
        assert not seen & set(used)
        assert len(set(used)) == len(used)
        seen.update(used)
        answers = [
            b["tool_use_id"] for b in (following or {"content": []})["content"] if b["type"] == "tool_result"
        ]
        assert answers == used
        if used:
            assert following is not None
            assert all(b["type"] == "tool_result" for b in following["content"][: len(used)])
    results = [b for turn in messages for b in turn["content"] if b["type"] == "tool_result"]
    assert len(results) == len(seen)


def breakpoints(value: object) -> int:
    if isinstance(value, dict):
        return ("cache_control" in value) + sum(breakpoints(item) for item in value.values())
    return sum(breakpoints(item) for item in value) if isinstance(value, list) else 0


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REQUESTS)
def test_any_conversation_becomes_a_lawful_request(request: ChatRequest) -> None:
    """Alternating roles, complete and leading tool results, no blank text, and the SDK's types all through."""
    target = goal(request.model)
    assume(ANTHROPIC.refuse(request, target) is None)
    wire = ANTHROPIC.write_request(request, target, "KEY")
    body = msgspec.json.decode(wire.body)
    check_keys(body)
    check_order(body["messages"])
    assert breakpoints(body) <= 4
    kind = message_create_params
    which = kind.MessageCreateParamsStreaming if request.stream else kind.MessageCreateParamsNonStreaming
    walk(adapter(which).validate_python(body))
    version = dict(wire.headers)[b"anthropic-version"]
    assert (version == b"2023-06-01") == bool(SAMPLING & set(body))
    thinks = body.get("thinking", {}).get("type")
    if thinks == "enabled":
        assert 1024 <= body["thinking"]["budget_tokens"] < body["max_tokens"]
        assert body.get("tool_choice", {}).get("type") not in ("any", "tool")
        assert body["messages"][-1]["role"] == "user"
    if thinks in ("enabled", "adaptive"):
        assert not SAMPLING & set(body)
    if any(b["type"].startswith("tool_") for turn in body["messages"] for b in turn["content"]):
        assert body["tools"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES)
def test_no_words_of_a_conversation_are_lost(messages: tuple[Message, ...]) -> None:
    """Every text and every tool result that is not blank stands in the body, late, orphaned or not."""
    request = ChatRequest("claude-haiku-4-5", messages)
    wire = ANTHROPIC.write_request(request, goal("claude-haiku-4-5"), "KEY")
    body = msgspec.json.decode(wire.body)
    words = [text for turn in body["messages"] for text in strings(turn["content"])]
    words += strings(body.get("system", ""))
    for message in messages:
        for part in message.parts:
            if isinstance(part, Text | ToolResult) and part.text.strip():
                # A prefill alone is trimmed at its end, which is reported.
                text = part.text.rstrip() if "prefill-trimmed" in wire.adjusted else part.text
                assert any(text in word for word in words)


def strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    return [text for item in value for text in strings(item)] if isinstance(value, list) else []


# One value for each field that differs from its default in meaning. A new field of ChatRequest fails the first test.
SAMPLES: dict[str, list[Any]] = {
    "stream": [True],
    "max_tokens": [77],
    "temperature": [0.5, 2.0],
    "top_p": [0.5],
    "top_k": [3],
    "n": [2],
    "seed": [0, 5],
    "stop": [("x",), (" ",)],
    "presence_penalty": [0.5],
    "frequency_penalty": [-0.5],
    "logprobs": [True],
    "top_logprobs": [3],
    "tools": [(Tool("f"),)],
    "tool_choice": [ToolChoice("required"), ToolChoice("named", ("f",))],
    "parallel_tool_calls": [False],
    "response_format": [ResponseFormat("json_object"), ResponseFormat("json_schema", {"type": "object"})],
    "reasoning": [
        Reasoning(effort="high"),
        Reasoning(effort="minimal"),
        Reasoning(max_tokens=3000),
        Reasoning(max_tokens=-1),
        Reasoning(enabled=True, exclude=True),
    ],
    "user": ["u"],
    "service_tier": ["auto", "default", "flex", "priority"],
    "store": [True],
    "extras": [
        {"openai": {"logit_bias": {"1": 1}}},
        {"openai": {"verbosity": "low"}},
        {"anthropic": {"speed": "fast"}},
    ],
}


THE_GATEWAYS = {"adjusted", "only_at"}
"""Facts about the request, not parts of it: gateway.remote acts on them, whatever the dialect."""


def test_every_field_of_a_request_is_known_here() -> None:
    """So that a new field cannot be forgotten by this dialect."""
    fields = {info.name for info in msgspec.structs.fields(ChatRequest)}
    assert fields == {*SAMPLES, *THE_GATEWAYS, "model", "messages"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SAMPLES)
def test_behaviour_20_no_field_disappears_in_silence(name: str, model: str) -> None:
    """A field changes the bytes, or is refused by name, or is named in ``adjusted``."""
    hi = (Message("user", (Text("hi"),)),)
    tools = (Tool("f"), Tool("g")) if name in ("tool_choice", "parallel_tool_calls") else ()
    plain = ChatRequest(model, hi, tools=tools)
    target = goal(model)
    before = ANTHROPIC.write_request(plain, target, "KEY")
    for value in SAMPLES[name]:
        request = msgspec.structs.replace(plain, **{name: value})
        rejected = ANTHROPIC.refuse(request, target)
        if rejected is not None:
            assert rejected.param == name
            assert rejected.caller_fault
            continue
        after = ANTHROPIC.write_request(request, target, "KEY")
        said = {"extras": next(iter(next(iter(value.values()))))} if name == "extras" else {}
        noted = any(word.startswith(said.get(name, name)) for word in after.adjusted)
        assert (after.body, after.headers) != (before.body, before.headers) or noted
        assert before.adjusted == ()


def test_what_says_only_the_default_is_left_out_without_a_word() -> None:
    """temperature 1, n 1, penalties of 0, store false: same bytes, nothing adjusted."""
    hi = (Message("user", (Text("hi"),)),)
    for model in MODELS:
        plain = ANTHROPIC.write_request(ChatRequest(model, hi), goal(model), "KEY")
        same = ChatRequest(
            model,
            hi,
            temperature=1.0,
            top_p=1.0,
            n=1,
            presence_penalty=0,
            frequency_penalty=0.0,
            logprobs=False,
            top_logprobs=0,
            parallel_tool_calls=True,
            store=False,
            response_format=ResponseFormat("text"),
        )
        wire = ANTHROPIC.write_request(same, goal(model), "KEY")
        assert (wire.body, wire.adjusted) == (plain.body, ())
