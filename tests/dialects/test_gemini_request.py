"""Requests to Gemini: where they go, what is refused before the call, what is dropped and said."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.chat import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Reasoning,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest
from penstock.base.models import ModelFacts, Target
from penstock.dialects.gemini import GEMINI, VERTEX, Gemini, vertex_base_url
from penstock.wire.http import header
from penstock.wire.ports import UpstreamDialect
from tests.dialects.gemini_oracle import check_body

HELLO = (Message("user", (Text("Hello"),)),)
PORTS: tuple[UpstreamDialect, ...] = (GEMINI, VERTEX)


def target(model: str = "gemini-2.5-flash", **options: str) -> Target:
    place = {"project": "my-project", **options}
    return Target("g", model, "gemini", ModelFacts("g", model), options=place)


def ask(messages: tuple[Message, ...] = HELLO, **facts: Any) -> ChatRequest:
    return ChatRequest("never-used", messages, **facts)


def body_of(request: ChatRequest, dialect: Gemini = GEMINI, model: str = "gemini-2.5-flash"):
    """(body, adjusted) of a request that is not refused."""
    assert dialect.refuse(request, target(model)) is None
    wire = dialect.write_request(request, target(model), "KEY")
    body = json.loads(wire.body)
    check_body(body, vertex=dialect is VERTEX)
    return body, wire.adjusted


def refusal(request: ChatRequest, dialect: Gemini = GEMINI, model: str = "gemini-2.5-flash") -> Rejected:
    found = dialect.refuse(request, target(model))
    assert isinstance(found, Rejected)
    assert found.reason.endswith(".")
    return found


# -- where


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("us-east5", "https://us-east5-aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("us", "https://aiplatform.us.rep.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_vertex_hosts(location, url):
    assert vertex_base_url(location) == url


def test_ai_studio_path_and_key():
    wire = GEMINI.write_request(ask(stream=True), target(), "AIzaKEY")
    assert wire.path == b"/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert header(wire.headers, b"x-goog-api-key") == b"AIzaKEY"
    assert header(wire.headers, b"authorization") is None
    assert header(wire.headers, b"accept") == b"text/event-stream"
    assert "AIzaKEY" not in repr(wire)


def test_vertex_path_and_token():
    wire = VERTEX.write_request(ask(), target(location="europe-west4"), "ya29.token")
    assert wire.path == (
        b"/v1/projects/my-project/locations/europe-west4/publishers/google/models/gemini-2.5-flash:generateContent"
    )
    assert header(wire.headers, b"authorization") == b"Bearer ya29.token"
    assert header(wire.headers, b"x-goog-api-key") is None
    assert b"/locations/global/" in VERTEX.write_request(ask(), target(), "t").path


@given(st.text(min_size=1, max_size=30))
def test_no_model_name_leaves_its_segment(name):
    """Names from callers are data: no slash, query, space or control byte of theirs reaches the path."""
    path = GEMINI.write_request(ask(), target(name), "KEY").path
    assert path.startswith(b"/v1beta/models/")
    assert path.count(b"/") == 3
    assert not set(path) & set(b"?# \r\n\x00")


@pytest.mark.parametrize("name", ["models/gemini-2.5-flash", "google/gemini-2.5-flash", "gemini-2.5-flash"])
def test_model_prefixes_are_ours_to_write(name):
    assert (
        GEMINI.write_request(ask(), target(name), "K").path
        == b"/v1beta/models/gemini-2.5-flash:generateContent"
    )


# -- store, tiers, what Vertex does not know


def test_store_is_off_unless_asked_and_never_on_vertex():
    """AI Studio stores by default since 2026-10-26."""
    assert body_of(ask())[0]["store"] is False
    assert body_of(ask(store=False))[0]["store"] is False
    assert body_of(ask(store=True))[0]["store"] is True
    body, said = body_of(ask(store=True), VERTEX)
    assert "store" not in body
    assert said == ("store-dropped",)


def test_service_tiers():
    assert body_of(ask(service_tier="flex"))[0]["serviceTier"] == "flex"
    assert "serviceTier" not in body_of(ask(service_tier="auto"))[0]
    assert body_of(ask(service_tier="scale"))[1] == ("service_tier-dropped",)
    assert body_of(ask(service_tier="flex"), VERTEX)[1] == ("service_tier-dropped",)


# -- parameters


def test_every_parameter_has_its_place():
    body, said = body_of(
        ask(
            max_tokens=10,
            temperature=0.5,
            top_p=0.9,
            top_k=40,
            seed=-5,
            stop=("a", "b"),
            presence_penalty=0.1,
            frequency_penalty=0.2,
            n=1,
        )
    )
    assert body["generationConfig"] == {
        "maxOutputTokens": 10,
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "seed": -5,
        "stopSequences": ["a", "b"],
    }
    assert said == ()


def test_behaviour_21_the_cap_is_never_lost_and_no_budget_is_invented():
    """max_tokens without reasoning: the cap goes, no thinkingConfig does."""
    for model in ("gemini-2.5-flash", "gemini-3.5-flash", "gemini-2.0-flash", "unknown"):
        assert body_of(ask(max_tokens=50), model=model)[0]["generationConfig"] == {"maxOutputTokens": 50}


def test_behaviour_20_what_is_dropped_is_said():
    _, said = body_of(
        ask(
            logprobs=True,
            top_logprobs=3,
            user="u",
            extras={"openai": {"logit_bias": {}, "verbosity": "low", "stream_options": {}}},
        )
    )
    assert said == ("logprobs-dropped", "user-dropped", "logit_bias-dropped", "verbosity-dropped")


def test_newer_models_take_no_penalties_and_ignore_sampling():
    body, said = body_of(
        ask(temperature=0.1, presence_penalty=0.5, frequency_penalty=0), model="gemini-3.8-flash"
    )
    assert body["generationConfig"] == {"temperature": 0.1}
    assert said == ("temperature-ignored", "presence_penalty-dropped")
    assert body_of(ask(temperature=0.1), model="gemini-3.5-flash-lite")[1] == ("temperature-ignored",)
    assert body_of(ask(temperature=0.1), model="gemini-3.5-flash")[1] == ()


def test_long_seeds_are_folded_the_same_way_each_time():
    first, said = body_of(ask(seed=2**40 + 7))
    assert first["generationConfig"]["seed"] == 7
    assert said == ("seed-approximated",)


# -- tools and formats (behaviour 18)

TOOL = Tool("f", "does f", {"type": "object", "properties": {"b": {"type": "integer"}, "a": {}}})


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (None, None),
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("named", ("f",)), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_behaviour_18_tool_choice(choice, config):
    body, said = body_of(ask(tools=(TOOL,), tool_choice=choice))
    assert body.get("toolConfig") == (config and {"functionCallingConfig": config})
    assert said == ()


def test_tool_choice_without_tools_is_not_sent():
    assert body_of(ask(tool_choice=ToolChoice("required"))) == (body_of(ask())[0], ("tool_choice-dropped",))
    assert body_of(ask(tool_choice=ToolChoice("none")))[1] == ()


def test_strict_is_held_as_far_as_google_does():
    strict = Tool("f", "", {"type": "object", "properties": {"a": {}}}, strict=True)
    body, said = body_of(ask(tools=(strict,)))
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert said == ("strict-approximated",)
    forced, _ = body_of(ask(tools=(strict,), tool_choice=ToolChoice("required")))
    assert forced["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}


def test_behaviour_19_schemas_go_as_they_came():
    """Key order and all keywords; an object without properties is left out (a 400 if sent)."""
    schema = {
        "type": "object",
        "properties": {"z": {"const": 1}, "a": {"$ref": "#/$defs/x"}},
        "$defs": {"x": {}},
    }
    wire = GEMINI.write_request(ask(tools=(Tool("f", "", schema),)), target(), "K")
    assert json.dumps(schema, separators=(",", ":")).encode() in wire.body
    for empty in (
        {"type": "object"},
        {"type": "object", "properties": {}, "additionalProperties": False},
        {},
        None,
    ):
        body, _ = body_of(ask(tools=(Tool("f", "", empty),)))
        assert body["tools"] == [{"functionDeclarations": [{"name": "f"}]}]
    free = {"type": "object", "additionalProperties": {"type": "string"}}
    assert (
        "parametersJsonSchema"
        in body_of(ask(tools=(Tool("f", "", free),)))[0]["tools"][0]["functionDeclarations"][0]
    )


def test_models_before_2_5_get_the_subset():
    wanted = ResponseFormat("json_schema", {"type": "object", "properties": {"a": {"const": "x"}}})
    body, said = body_of(ask(tools=(TOOL,)), model="gemini-2.0-flash")
    declared = body["tools"][0]["functionDeclarations"][0]
    assert declared["parameters"]["properties"]["b"] == {"type": "INTEGER"}
    body, said = body_of(ask(response_format=wanted), model="gemini-2.0-flash")
    assert body["generationConfig"]["responseSchema"]["properties"]["a"] == {"type": "STRING", "enum": ["x"]}
    assert said == ()


def test_response_formats():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    wanted = ResponseFormat("json_schema", schema, strict=True)
    assert body_of(ask(response_format=wanted))[0]["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
    }
    plain = body_of(ask(response_format=ResponseFormat("json_object")))[0]
    assert plain["generationConfig"] == {"responseMimeType": "application/json"}
    assert "generationConfig" not in body_of(ask(response_format=ResponseFormat("text")))[0]
    both = ask(response_format=wanted, tools=(TOOL,))
    old, said = body_of(both)
    assert "generationConfig" not in old
    assert said == ("response_format-dropped",)
    assert "responseJsonSchema" in body_of(both, model="gemini-3.5-flash")[0]["generationConfig"]


# -- refused before the call


@pytest.mark.parametrize(
    ("facts", "param"),
    [
        ({"n": 9}, "n"),
        ({"stop": tuple("abcdef")}, "stop"),
        ({"reasoning": Reasoning(max_tokens=-2, param="reasoning.max_tokens")}, "reasoning.max_tokens"),
        ({"tools": (TOOL, Tool("1st"))}, "tools[1].function.name"),
        ({"tools": (TOOL,), "tool_choice": ToolChoice("named", ("f", "g"))}, "tool_choice"),
        ({"messages": ()}, "messages"),
        ({"messages": (Message("tool", (ToolResult("x", "", "1"),)),)}, "messages[0].tool_call_id"),
    ],
)
def test_callers_faults_name_the_field(facts, param):
    found = refusal(ask(**facts))
    assert (found.param, found.caller_fault) == (param, True)


def test_a_result_that_answers_a_call_needs_no_name():
    history = (
        *HELLO,
        Message("assistant", (ToolCall("x", "f", ""),)),
        Message("tool", (ToolResult("x", "", "1"),)),
    )
    body, _ = body_of(ask(history))
    assert body["contents"][2]["parts"][0]["functionResponse"]["name"] == "f"


def test_prefill_is_refused_where_the_model_refuses_it():
    prefill = ask((*HELLO, Message("assistant", (Text("Well,"),))))
    assert body_of(prefill)[0]["contents"][-1] == {"role": "model", "parts": [{"text": "Well,"}]}
    assert refusal(prefill, model="gemini-3.6-flash").param == "messages[1]"
    assert refusal(prefill, model="gemini-4-argon").code == "prefill-unsupported"


def test_vertex_without_project_is_the_operators_fault():
    found = VERTEX.refuse(ask(), Target("v", "gemini-2.5-flash", "vertex", ModelFacts("v", "m")))
    assert found is not None
    assert (found.code, found.caller_fault) == ("vertex-project-missing", False)


def test_unchecked_requests_still_do_not_lie():
    """write_request without refuse(): an impossible budget is a BadRequest, not a silent drop."""
    with pytest.raises(BadRequest, match="24576"):
        GEMINI.write_request(ask(reasoning=Reasoning(max_tokens=-2)), target(), "K")


# -- media

PNG, GIF = "iVBORw0KGgo=", "R0lGODlhAQ=="


@pytest.mark.parametrize(
    ("dialect", "part", "sent"),
    [
        (GEMINI, Image(data=PNG, mime="image/png"), {"inlineData": {"mimeType": "image/png", "data": PNG}}),
        (GEMINI, Image(data=PNG, mime="image/jpg"), {"inlineData": {"mimeType": "image/jpeg", "data": PNG}}),
        (GEMINI, Image(data=PNG), {"inlineData": {"mimeType": "image/png", "data": PNG}}),
        (GEMINI, Image(data=GIF, mime="image/gif"), {"inlineData": {"mimeType": "image/gif", "data": GIF}}),
        (GEMINI, Image(url="http://x.org/a"), {"fileData": {"fileUri": "http://x.org/a"}}),
        (
            VERTEX,
            Image(url="https://x.org/A.PNG?x=/b.gif#c"),
            {"fileData": {"mimeType": "image/png", "fileUri": "https://x.org/A.PNG?x=/b.gif#c"}},
        ),
        (
            VERTEX,
            Document(url="gs://bucket/a.pdf"),
            {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://bucket/a.pdf"}},
        ),
        (
            GEMINI,
            Document(data="aGk=", mime="text/plain; charset=utf-8"),
            {"inlineData": {"mimeType": "text/plain", "data": "aGk="}},
        ),
        (VERTEX, Audio(data="UklG", format="wav"), {"inlineData": {"mimeType": "audio/wav", "data": "UklG"}}),
        (GEMINI, Audio(data="SUQz", format="mp3"), {"inlineData": {"mimeType": "audio/mp3", "data": "SUQz"}}),
    ],
)
def test_media_that_go(dialect, part, sent):
    body, said = body_of(ask((Message("user", (part,)),)), dialect)
    assert body["contents"][0]["parts"] == [sent]
    assert said == ()


@pytest.mark.parametrize(
    ("dialect", "part", "word"),
    [
        (VERTEX, Image(data=GIF, mime="image/gif"), "image/gif"),
        (VERTEX, Image(data=GIF), "image/gif"),
        (GEMINI, Image(data="Qk0=", mime="image/bmp"), "image/bmp"),
        (GEMINI, Image(data="AAAA"), "without a type"),
        (VERTEX, Image(url="https://x.org/a"), "send the data"),
        (VERTEX, Image(url="http://x.org/a.png"), "https://"),
        (GEMINI, Image(url="file:///etc/passwd"), "begin with"),
        (GEMINI, Image(), "begin with"),
        (GEMINI, Image(url="http://[bad/a.gif.exe"), None),
        (GEMINI, Document(data="AAAA", mime="text/csv"), "text/csv"),
        (GEMINI, Document(data="AAAA", filename="a.docx"), "without a type"),
        (GEMINI, Document(file_id="file-abc"), "another provider"),
        (GEMINI, Audio(data="AAAA", format="pcm16"), "pcm16"),
    ],
)
def test_media_that_are_refused_name_the_field(dialect, part, word):
    request = ask((*HELLO, Message("user", (Text("see"), part))))
    found = dialect.refuse(request, target())
    if word is None:  # an odd address is Google's to fetch; it must not crash us
        assert found is None
        return
    assert isinstance(found, Rejected)
    assert word in found.reason
    assert (found.param, found.caller_fault) == ("messages[1].content[1]", True)


def test_detail_is_approximated_for_the_whole_request():
    low, high = (
        Image(data=PNG, mime="image/png", detail="low"),
        Image(data=PNG, mime="image/png", detail="high"),
    )
    auto = Image(data=PNG, mime="image/png", detail="auto")
    one, said = body_of(ask((Message("user", (low, auto)),)))
    assert one["generationConfig"] == {"mediaResolution": "MEDIA_RESOLUTION_LOW"}
    assert said == ("detail-approximated",)
    both, _ = body_of(ask((Message("user", (low, high)),)))
    assert both["generationConfig"] == {"mediaResolution": "MEDIA_RESOLUTION_HIGH"}
    assert body_of(ask((Message("user", (auto,)),)))[1] == ()


# -- everything at once

REQUESTS = st.builds(
    ChatRequest,
    model=st.just("m"),
    messages=st.just(HELLO),
    stream=st.booleans(),
    max_tokens=st.none() | st.integers(1, 10**6),
    temperature=st.none() | st.floats(0, 2),
    top_k=st.none() | st.integers(1, 64),
    n=st.none() | st.just(1),
    seed=st.none() | st.integers(-(2**70), 2**70),
    stop=st.lists(st.text(min_size=1, max_size=4), max_size=5).map(tuple),
    presence_penalty=st.none() | st.floats(-2, 2),
    logprobs=st.none() | st.booleans(),
    tools=st.sampled_from([(), (TOOL,), (Tool("g", strict=True), TOOL)]),
    tool_choice=st.none() | st.sampled_from([ToolChoice("auto"), ToolChoice("none"), ToolChoice("required")]),
    parallel_tool_calls=st.none() | st.booleans(),
    response_format=st.none()
    | st.builds(ResponseFormat, st.sampled_from(["text", "json_object", "json_schema"])),
    reasoning=st.none() | st.builds(Reasoning, effort=st.sampled_from(["low", "medium", "high", "max"])),
    user=st.none() | st.just("u"),
    service_tier=st.none() | st.sampled_from(["auto", "flex", "priority", "scale"]),
    store=st.none() | st.booleans(),
)
NAMES = [
    "gemini-2.0-flash",
    "gemini-2.5-flash",
    "gemini-2.5-pro",
    "gemini-3.5-flash",
    "gemini-4-argon",
    "tuned-1",
]
SAID = {
    "logprobs": "logprobs-dropped",
    "user": "user-dropped",
}


@given(REQUESTS, st.sampled_from(NAMES), st.sampled_from([GEMINI, VERTEX]))
def test_any_request_is_one_that_google_knows(request_, model, dialect):
    """Known names and types only, on both doors; and what has no place there is said."""
    body, said = body_of(request_, dialect, model)
    for field, word in SAID.items():
        assert bool(getattr(request_, field)) == (word in said)
    if request_.max_tokens is not None:
        assert body["generationConfig"]["maxOutputTokens"] == request_.max_tokens
    if request_.reasoning is None:
        assert "thinkingConfig" not in body.get("generationConfig", {})
