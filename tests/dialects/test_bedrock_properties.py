"""What Bedrock's request writer promises for any conversation: lawful order, botocore's own types, nothing lost.

Two oracles: botocore's service model (names, types, limits), and the simulator's rules, which boto3 has proved.
"""

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
from penstock.dialects.bedrock import BEDROCK
from penstock.simulate import anthropic_rules, bedrock_rules
from penstock.simulate.reply import NO_QUIRKS, Call
from penstock.simulate.scenario import Profile, ProviderSettings
from tests.dialects.bedrock_kit import check_shape, target

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
MODELS = (
    "anthropic.claude-3-haiku-20240307-v1:0",
    "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
    "anthropic.claude-haiku-4-5-20251001-v1:0",
    "us.anthropic.claude-opus-4-6-v1",
    "global.anthropic.claude-opus-4-8",
    "anthropic.claude-sonnet-5-5",
    "amazon.nova-pro-v1:0",
    "us.amazon.nova-2-lite-v1:0",
    "openai.gpt-oss-120b-1:0",
    "meta.llama3-8b-instruct-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123",
)
TEXTS = st.one_of(st.sampled_from(["", " ", "\n"]), st.text(min_size=1, max_size=12))
IDS = st.sampled_from(["a", "b", "c.d:0", "call_1", "", "x" * 80, "y" * 63 + "é"])
CACHE = st.sampled_from([None, None, "5m", "1h"])
ARGUMENTS = st.sampled_from(["", "{}", '{"x": 1}', '{"n":12345678901234567890123}', "{bad", "null", "[1]"])
text_parts = st.builds(Text, TEXTS, CACHE)
images = st.builds(Image, data=st.just(PNG), mime=st.just("image/png"), detail=st.sampled_from([None, "low"]))
thoughts = st.text(max_size=5)
thinking = st.one_of(
    thoughts.map(lambda text: Thinking(text, anthropic_rules.sign(text), "anthropic-claude-v1")),
    st.just(Thinking(redacted=anthropic_rules.REDACTED_DATA, format="amazon-bedrock-v1")),
    st.builds(Thinking, thoughts, st.just("sig"), st.just("google-gemini-v1")),
)
documents = st.builds(
    Document,
    data=st.just("JVBERi0xLjQK"),
    mime=st.just("application/pdf"),
    filename=st.sampled_from(["", "a b_c.pdf", "x/y  z.PDF", "report.pdf", "…"]),
)
calls = st.builds(ToolCall, IDS, st.sampled_from(["f", "g"]), ARGUMENTS)
results = st.builds(
    ToolResult,
    IDS,
    st.just("f"),
    TEXTS,
    st.booleans(),
    st.sampled_from([(), (Image(data=PNG, mime="image/png"),)]),
)


def parts(*kinds: st.SearchStrategy[Part], most: int = 3) -> st.SearchStrategy[tuple[Part, ...]]:
    return st.lists(st.one_of(*kinds), max_size=most).map(tuple)


MESSAGES = st.one_of(
    st.builds(Message, st.just("system"), parts(text_parts, most=2)),
    st.builds(Message, st.just("user"), parts(text_parts, images), st.sampled_from(["", "", "ann"])),
    st.builds(Message, st.just("user"), st.tuples(documents)),
    st.builds(Message, st.just("assistant"), parts(text_parts, thinking, calls)),
    st.builds(Message, st.just("tool"), results.map(lambda result: (result,))),
)
HISTORIES = st.lists(MESSAGES, min_size=1, max_size=5).map(tuple)
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
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}}
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
    response_format=st.sampled_from(
        [
            None,
            ResponseFormat("text"),
            ResponseFormat("json_object"),
            ResponseFormat("json_schema", SCHEMA, "a"),
        ]
    ),
    service_tier=st.sampled_from([None, "auto", "flex", "scale"]),
)


def as_call(body: dict[str, Any], model: str) -> Call:
    return Call(
        method="POST", path="", query={}, headers=[], body=b"", dialect="bedrock", provider="bedrock", json=body,
        model=model, key="k", stream=False, serial=1, unix_s=0, settings=ProviderSettings(), profile=Profile(),
        quirks=NO_QUIRKS, prompts_seen={}, known_token=lambda _: True,
    )  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REQUESTS)
def test_any_conversation_becomes_a_lawful_request(request: ChatRequest) -> None:
    """botocore's model takes it, and the rules of the wire do."""
    goal = target(request.model)
    assume(BEDROCK.refuse(request, goal) is None)
    wire = BEDROCK.write_request(request, goal, "ABSKkey")
    body = check_shape(wire)
    documents = [1 for turn in body["messages"] for block in turn["content"] if "document" in block]
    assume(len(documents) <= 5)  # Bedrock's own limit, which its sentence explains better than ours could
    bedrock_rules.check(body, as_call(body, request.model))
    assert wire.path.endswith(b"/converse-stream" if request.stream else b"/converse")
    assert b"/" not in wire.path.removeprefix(b"/model/").rpartition(b"/")[0]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES)
def test_no_words_of_a_conversation_are_lost(messages: tuple[Message, ...]) -> None:
    """Every text and every tool result that is not blank stands in the body, late, orphaned or not."""
    model = "anthropic.claude-haiku-4-5-20251001-v1:0"
    wire = BEDROCK.write_request(ChatRequest(model, messages), target(model), "ABSKkey")
    words = strings(msgspec.json.decode(wire.body))
    for message in messages:
        for part in message.parts:
            if isinstance(part, Text | ToolResult) and part.text.strip():
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
    "tool_choice": [ToolChoice("required"), ToolChoice("named", ("f",)), ToolChoice("none")],
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
    "service_tier": ["flex", "priority", "scale"],
    "store": [True],
    "extras": [
        {"openai": {"logit_bias": {"1": 1}}},
        {"openai": {"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}}},
        {"anthropic": {"speed": "fast"}},
    ],
}


def test_every_field_of_a_request_is_known_here() -> None:
    """So that a new field cannot be forgotten by this dialect."""
    fields = {info.name for info in msgspec.structs.fields(ChatRequest)} - {
        "adjusted",
        "only_at",
    }  # the gateway's
    assert fields == {*SAMPLES, "model", "messages"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SAMPLES)
def test_behaviour_20_no_field_disappears_in_silence(name: str, model: str) -> None:
    """A field changes the request, or is refused by name, or is named in ``adjusted``."""
    hi = (Message("user", (Text("hi"),)),)
    tools = (Tool("f"), Tool("g")) if name in ("tool_choice", "parallel_tool_calls") else ()
    plain = ChatRequest(model, hi, tools=tools)
    before = BEDROCK.write_request(plain, target(model), "ABSKkey")
    assert before.adjusted == ()
    for value in SAMPLES[name]:
        request = msgspec.structs.replace(plain, **{name: value})
        rejected = BEDROCK.refuse(request, target(model))
        if rejected is not None:
            assert rejected.param == name
            assert rejected.caller_fault
            continue
        after = BEDROCK.write_request(request, target(model), "ABSKkey")
        check_shape(after)
        said = next(iter(next(iter(value.values())))) if name == "extras" else name
        noted = any(word.startswith(said) for word in after.adjusted)
        assert (after.body, after.path) != (before.body, before.path) or noted


@pytest.mark.parametrize(
    ("part", "code"),
    [
        (Image(url="https://example.com/a.png"), "image-url"),
        (Image(data="AAAA", mime="image/heic"), "image-format"),
        (Document(file_id="file-1"), "file-id"),
        (Document(url="https://example.com/a.pdf"), "document-url"),
        (Document(data="AAAA", mime="application/zip", filename="a.zip"), "document-format"),
        (Audio("AAAA", "midi"), "audio-format"),
        (Video(data="AAAA", mime="video/ogg"), "video-format"),
        (Video(data="AAAA", mime="video/mp4", start_s=1.0), "video-clip"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name_with_a_remedy(part: Part, code: str) -> None:
    """And what can, is not."""
    rejected = BEDROCK.refuse(ChatRequest("m", (Message("user", (Text("x"), part)),)), target())
    assert rejected is not None
    assert (rejected.code, rejected.param, rejected.caller_fault) == (code, "messages[0].content[1]", True)
    assert rejected.reason.count(".") >= 2


def test_every_medium_by_its_bytes_and_from_s3() -> None:
    """Sniffed where the bytes speak; names of documents are made lawful and unlike."""
    sent = (
        Image(data="/9j/4AAQ", mime="image/png"),
        Image(url=f"data:image/png;base64,{PNG}"),
        Image(url="s3://bucket/a.webp"),
        Document(data="JVBERi0xLjQK", filename="a_b.pdf"),
        Document(data="YSxi", mime="text/csv", filename="a_b.csv"),
        Document(data="e30=", mime="application/json"),
        Audio("AAAA", "wav"),
        Video(data="AAAA", mime="video/quicktime"),
        Video(url="s3://bucket/b.mp4"),
    )
    request = ChatRequest("amazon.nova-pro-v1:0", (Message("user", sent),))
    assert BEDROCK.refuse(request, target(request.model)) is None
    wire = BEDROCK.write_request(request, target(request.model), "ABSKkey")
    blocks = check_shape(wire)["messages"][0]["content"]
    made = [
        (kind, block["format"], block.get("name"), *block["source"])
        for one in blocks[:-1]
        for kind, block in one.items()
    ]
    assert made == [
        ("image", "jpeg", None, "bytes"),
        ("image", "png", None, "bytes"),
        ("image", "webp", None, "s3Location"),
        ("document", "pdf", "a-b", "bytes"),
        ("document", "csv", "a-b 2", "bytes"),
        ("document", "txt", "document", "bytes"),
        ("audio", "wav", None, "bytes"),
        ("video", "mov", None, "bytes"),
        ("video", "mp4", None, "s3Location"),
    ]
    assert (blocks[-1], wire.adjusted) == ({"text": "(See the attached document.)"}, ("text-added",))


def test_a_pair_of_keys_stays_out_of_the_request_and_an_api_key_is_a_bearer() -> None:
    """The signature is made at the edge."""
    request = ChatRequest("m", (Message("user", (Text("x"),)),))
    signed = BEDROCK.write_request(request, target(), "AKIAIOSFODNN7EXAMPLE:se/cr+et")
    assert b"authorization" not in dict(signed.headers)
    assert "se/cr" not in repr(signed.headers)
    bearer = BEDROCK.write_request(request, target(), "ABSKQmVkcm9ja0FQSUtleS1k")
    assert dict(bearer.headers)[b"authorization"] == b"Bearer ABSKQmVkcm9ja0FQSUtleS1k"
