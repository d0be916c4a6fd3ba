"""Gemini as its callers speak it: what is read from a body, in any spelling; what is never sent on; what is refused.

Golden files: ``tests/golden/gemini_caller/<case>.json`` with the body, the envelope and the neutral request.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.chat import ChatRequest, Thinking, ToolCall
from penstock.base.errors import BadRequest, PenstockError
from penstock.base.events import ThinkingDelta
from penstock.base.models import ModelFacts, Target
from penstock.dialects.gemini import GEMINI, VERTEX, GeminiCall, GeminiCount, model_of
from penstock.dialects.gemini.envelope import GeminiAsk
from penstock.dialects.gemini.fields import TABLE
from penstock.dialects.gemini.marks import PREFIX, mark, standard, unmark

GOLDEN = Path(__file__).parent.parent / "golden" / "gemini_caller"
CASES = sorted(path.stem for path in GOLDEN.glob("*.json"))
STUDIO = Target("g", "gemini-2.5-flash", "gemini", ModelFacts("gemini", "gemini-2.5-flash"))
AT_VERTEX = Target(
    "v", "gemini-2.5-flash", "vertex", ModelFacts("vertex", "gemini-2.5-flash"), options={"project": "p"}
)
HI: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def golden(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def read(body: Any, **more: Any) -> tuple[GeminiCall, GeminiAsk]:
    call = GeminiCall("m/x", "sse", **more)
    ask = call.read_request(
        body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    )
    assert isinstance(ask, GeminiAsk)
    return call, ask


def neutral(body: Any) -> ChatRequest:
    call, ask = read(body)
    return call.expand(ask)


def plain(request: ChatRequest) -> dict[str, Any]:
    every = json.loads(msgspec.json.encode(request))
    return {key: value for key, value in every.items() if value not in (None, [], {}, False)}


@pytest.mark.parametrize("name", CASES)
def test_a_body_is_read_as_recorded(name: str) -> None:
    """Envelope and neutral request."""
    case = golden(name)
    call, ask = read(case["body"])
    envelope = {
        "needs": sorted(ask.needs),
        "input_bytes": ask.input_bytes,
        "max_tokens": ask.max_tokens,
        "metadata": ask.metadata,
    }
    assert envelope == case["ask"]
    assert plain(call.expand(ask)) == case["neutral"]


_OPAQUE = re.compile(r"^(args|response|parametersJsonSchema|responseJsonSchema|labels|properties)$")


def respelt(value: Any, draw: Any) -> Any:
    """The same body, each known name in one of its two spellings."""
    if isinstance(value, list):
        return [respelt(one, draw) for one in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for key, inner in value.items():
        camel = re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), key)
        snake = re.sub(r"([A-Z])", r"_\1", camel).lower()
        name = snake if draw(st.booleans()) else camel
        if camel == "properties":
            made[name] = {own: respelt(one, draw) for own, one in inner.items()}
        else:
            made[name] = inner if _OPAQUE.match(camel) else respelt(inner, draw)
    return made


@given(st.sampled_from(CASES), st.data())
def test_spellings_mean_the_same(name: str, data: st.DataObject) -> None:
    """camelCase, snake_case, and any mixture of the two at every level."""
    case = golden(name)
    found = plain(neutral(respelt(case["body"], data.draw)))
    for one in (found, case["neutral"]):
        one.pop("extras", None)
    assert found == case["neutral"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(sorted({name for fields in TABLE.values() for name in fields}))
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(sorted(TABLE["Request"])), JSON, max_size=5), JSON)
def test_no_body_brings_the_reader_down(body: dict[str, Any], contents: Any) -> None:
    """Whatever JSON it is: read, or refused with a sentence."""
    try:
        call, ask = read({**body, "contents": contents})
        call.expand(ask)
    except PenstockError as error:
        assert isinstance(error, BadRequest)
        assert error.message


@given(st.binary(max_size=60))
def test_bytes_that_are_no_json_are_refused(body: bytes) -> None:
    """With a place, never with a traceback."""
    try:
        call, ask = read(body)
        call.expand(ask)
    except PenstockError as error:
        assert error.status == 400


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": 1}, "contents"),
        ({**HI, "generationConfig": {"maxOutputTokens": "many"}}, "generationConfig.maxOutputTokens"),
        (
            {**HI, "generationConfig": {"maxOutputTokens": 1, "max_output_tokens": 2}},
            "generationConfig.maxOutputTokens",
        ),
        ({**HI, "generation_config": {}, "generationConfig": {}}, "generationConfig"),
        (
            {**HI, "generationConfig": {"thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}}},
            "generationConfig.thinkingConfig",
        ),
        ({**HI, "generationConfig": {"candidateCount": 9}}, "generationConfig.candidateCount"),
        ({"contents": [{"role": "narrator", "parts": [{"text": "x"}]}]}, "contents[0].role"),
        ({"contents": [{"parts": [{"odd": 1}]}]}, "contents[0].parts[0]"),
        (
            {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}}}]}]},
            "contents[0].parts[0].functionResponse",
        ),
        (
            {**HI, "toolConfig": {"functionCallingConfig": {"mode": "ALWAYS"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
        ({**HI, "tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        ({**HI, "systemInstruction": {"parts": [{"inlineData": {}}]}}, "systemInstruction.parts[0]"),
        ({**HI, "cachedContent": "cachedContents/x"}, "cachedContent"),
        ({**HI, "labels": {"a": 1}}, "labels"),
        (
            {
                **HI,
                "generationConfig": {"responseMimeType": "application/json", "responseSchema": {"oneOf": []}},
            },
            "generationConfig.responseSchema.oneOf",
        ),
    ],
)
def test_what_is_wrong_is_named(body: Any, param: str) -> None:
    """By its place, in the caller's words."""
    with pytest.raises(BadRequest) as caught:
        neutral(body)
    assert caught.value.param == param


def test_ids_that_are_not_there_are_made_the_same_each_time() -> None:
    """A growing history keeps the ids of its beginning."""
    calls = [{"functionCall": {"name": "f", "args": {"n": n}}} for n in (1, 1)]
    answers = [{"functionResponse": {"name": "f", "response": {"output": "x"}}}] * 2
    turn = [
        {"role": "user", "parts": [{"text": "a"}]},
        {"role": "model", "parts": calls},
        {"role": "user", "parts": answers},
    ]

    def ids(contents: list[Any]) -> list[str]:
        return [
            part.id
            for message in neutral({"contents": contents}).messages
            for part in message.parts
            if isinstance(part, ToolCall)
        ]

    short, long = ids(turn), ids([*turn, *turn])
    assert long[:2] == short
    assert len(set(long)) == 4


# Other providers' proofs.


@given(
    st.lists(
        st.builds(
            ThinkingDelta,
            text=st.text(max_size=20),
            signature=st.text(max_size=20),
            format=st.sampled_from(["anthropic-claude-v1", "unknown", "openai-responses-v1"]),
            redacted=st.text(max_size=10),
        ),
        max_size=3,
    ),
    st.booleans(),
)
def test_a_mark_survives_the_clients_coding(blocks: list[ThinkingDelta], urlsafe: bool) -> None:
    """Clients decode the bytes and encode them anew, in either alphabet, with padding or without."""
    marked = mark(blocks)
    assert marked.startswith(PREFIX.decode())
    raw = base64.b64decode(marked)
    again = base64.urlsafe_b64encode(raw).decode().rstrip("=") if urlsafe else base64.b64encode(raw).decode()
    found = unmark(standard(again))
    assert found is not None
    assert [(one.text, one.signature, one.format, one.redacted) for one in found] == [
        (one.text, one.signature, one.format, one.redacted) for one in blocks
    ]


@given(st.binary(max_size=40))
def test_googles_own_signatures_are_not_ours(raw: bytes) -> None:
    """Only what begins with the mark is taken apart."""
    signature = base64.b64encode(raw).decode()
    assert (unmark(signature) is None) is not raw.startswith(b"penstock:")


def test_a_spoilt_mark_holds_nothing() -> None:
    """It is still ours, so it goes to nobody."""
    assert unmark(PREFIX.decode() + "AAAA") == []
    part = {"text": "x", "thoughtSignature": PREFIX.decode() + "AAAA"}
    request = neutral({"contents": [*HI["contents"], {"role": "model", "parts": [part]}]})
    assert not any(isinstance(one, Thinking) for one in request.messages[1].parts)


@pytest.mark.parametrize("dialect", [GEMINI, VERTEX])
def test_no_mark_is_passed_through_to_google(dialect: Any) -> None:
    """Thoughts of others go, their calls get Google's dummy; what has no mark keeps its bytes."""
    _, ask = read(golden("thoughts-of-others")["body"])
    target = AT_VERTEX if dialect is VERTEX else STUDIO
    wire = dialect.splice_request(ask, target, "KEY")
    assert PREFIX not in wire.body
    assert b"hidden" not in wire.body
    assert "thinking-stripped" in wire.adjusted
    contents = json.loads(wire.body)["contents"]
    assert [part.get("text") for part in contents[1]["parts"]] == ["Let me ", "think.", "Hello.", None]
    assert contents[1]["parts"][3]["thoughtSignature"] == "skip_thought_signature_validator"
    assert contents[3]["parts"][1]["thoughtSignature"] == "QUJD"


# Pass-through.


@pytest.mark.parametrize(
    ("said", "sent"), [(None, False), (False, False), (True, True)], ids=["unsaid", "off", "on"]
)
def test_store_is_off_unless_asked_for(said: bool | None, sent: bool) -> None:
    """At AI Studio; Vertex has no such field."""
    body = HI if said is None else {**HI, "store": said}
    wire = GEMINI.splice_request(read(body)[1], STUDIO, "KEY")
    assert json.loads(wire.body)["store"] is sent
    wire = VERTEX.splice_request(read(body)[1], AT_VERTEX, "KEY")
    assert "store" not in json.loads(wire.body)
    assert wire.adjusted == (("store-dropped",) if said else ())


def test_the_targets_own_parameters_win() -> None:
    """By OpenAI's names, in generationConfig; what Gemini has no word for is said."""
    overrides = {
        "max_tokens": 7,
        "stop": "x",
        "reasoning_effort": "low",
        "logit_bias": {},
        "temperature": None,
    }
    target = msgspec.structs.replace(STUDIO, overrides=overrides)
    body = {**HI, "generation_config": {"temperature": 1, "max_output_tokens": 900, "odd": 1.50}}
    wire = GEMINI.splice_request(read(body)[1], target, "KEY")
    assert json.loads(wire.body)["generation_config"] == {
        "odd": 1.5,
        "maxOutputTokens": 7,
        "stopSequences": ["x"],
        "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
    }
    assert wire.adjusted == ("logit_bias-dropped",)


def test_contents_as_words_become_a_content() -> None:
    """Google takes an object or a list; a string is ours to spell out."""
    wire = GEMINI.splice_request(read({"contents": "hi"})[1], STUDIO, "KEY")
    assert json.loads(wire.body)["contents"] == HI["contents"]


def test_a_repeated_field_is_refused() -> None:
    """Readers disagree about which one counts."""
    with pytest.raises(BadRequest) as caught:
        GEMINI.splice_request(read(b'{"contents":"hi","store":true,"store":false}')[1], STUDIO, "KEY")
    assert caught.value.code == "duplicate_field"


def test_a_count_asks_for_a_count() -> None:
    """The whole request at AI Studio, its fields at Vertex; contents alone, or generateContentRequest."""
    for body in (HI, {"generateContentRequest": {**HI, "model": "models/m"}}):
        call = GeminiCount("m/x")
        ask = call.read_request(json.dumps(body).encode())
        wire = GEMINI.splice_request(ask, STUDIO, "KEY")
        assert wire.path == b"/v1beta/models/gemini-2.5-flash:countTokens"
        inner = json.loads(wire.body)["generateContentRequest"]
        assert inner == {"model": "models/gemini-2.5-flash", **HI}
        wire = VERTEX.splice_request(ask, AT_VERTEX, "KEY")
        assert json.loads(wire.body) == HI


def test_vertex_is_asked_at_the_callers_version() -> None:
    """v1beta1 has fields that v1 refuses."""
    for version, begin in (("v1", b"/v1/projects/p/"), ("v1beta1", b"/v1beta1/projects/p/")):
        wire = VERTEX.splice_request(read(HI, vertex=True, version=version)[1], AT_VERTEX, "KEY")
        assert wire.path.startswith(begin)
        assert wire.path.endswith(b":streamGenerateContent?alt=sse")


# The other door.


def test_fields_of_the_other_door_are_refused_or_said() -> None:
    """What the answer depends on is refused; the rest is left out and named."""
    request = neutral({**HI, "tools": [{"fileSearch": {}}]})
    refused = VERTEX.refuse(request, AT_VERTEX)
    assert refused is not None
    assert refused.code == "gemini-door"
    assert GEMINI.refuse(request, STUDIO) is None
    request = neutral(
        {**HI, "generationConfig": {"audioTimestamp": True, "speechConfig": {"languageCode": "de"}}}
    )
    wire = GEMINI.write_request(request, STUDIO, "KEY")
    assert "generationConfig.audioTimestamp-dropped" in wire.adjusted
    assert json.loads(wire.body)["generationConfig"]["speechConfig"] == {"languageCode": "de"}
    wire = VERTEX.write_request(request, AT_VERTEX, "KEY")
    assert json.loads(wire.body)["generationConfig"]["audioTimestamp"] is True
    settings = [{"category": "C", "threshold": "T", "method": "SEVERITY"}]
    wire = GEMINI.write_request(neutral({**HI, "safetySettings": settings}), STUDIO, "KEY")
    assert json.loads(wire.body)["safetySettings"] == [{"category": "C", "threshold": "T"}]


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("media", "thoughts-of-others")])
def test_what_google_is_sent_reads_as_what_was_asked(name: str) -> None:
    """Body -> neutral -> Google's other door -> neutral: the same conversation, tools and settings."""
    first = neutral(golden(name)["body"])
    wire = VERTEX.write_request(first, AT_VERTEX, "KEY")
    again = neutral(wire.body)

    def facts(request: ChatRequest) -> Any:
        words = [
            (message.role, part.text if hasattr(part, "text") else part.name)
            for message in request.messages
            for part in message.parts
            if not isinstance(part, Thinking)
        ]
        named = [tool.name for tool in request.tools]
        return (
            sorted(map(str, words)),
            named,
            request.max_tokens,
            request.stop,
            request.seed,
            request.tool_choice,
        )

    if name == "tools-without-ids":
        first.tool_choice = again.tool_choice
    assert facts(again) == facts(first)


@pytest.mark.parametrize(
    ("name", "publisher", "model"),
    [
        ("gemini-2.5-flash", "", "gemini-2.5-flash"),
        ("openai%2Fgpt-4o-mini", "google", "openai/gpt-4o-mini"),
        ("models%2Fgemini-2.5-flash", "", "gemini-2.5-flash"),
        ("gpt-4o-mini", "openai", "openai/gpt-4o-mini"),
        ("a/b:nitro", "", "a/b:nitro"),
    ],
)
def test_a_models_name_is_found_in_any_path(name: str, publisher: str, model: str) -> None:
    """Prefixes, publishers, escapes."""
    assert model_of(name, publisher) == model
