"""The neutral request as an OpenAI-compatible provider reads it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.chat import Ask, ChatRequest, Document, Message, Text, ToolChoice
from penstock.base.models import ModelFacts, Target
from penstock.dialects.openai_chat import OPENAI
from tests.dialects.harness import Case, cases

REQUESTS = [case for case in cases("openai") if "wire-request" in case.parts]
KNOWING = {"passthrough_fields": "reasoning,cache_control"}


def target(provider: str = "openai", model: str = "gpt-4o-mini", **more: Any) -> Target:
    return Target(provider, model, "openai", ModelFacts(provider, model), **more)


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.name)
def test_golden_requests(case: Case) -> None:
    options = dict(option.split("=", 1) for option in case.options["neutral"])
    request = msgspec.json.decode(case.parts["neutral"], type=ChatRequest)
    wire = OPENAI.write_request(request, target(options["provider"], options["model"]), "KEY")
    head = [f"{wire.method.decode()} {wire.path.decode()}"]
    head += [f"{name.decode()}: {value.decode()}" for name, value in wire.headers]
    assert "\n".join(head).encode() + b"\n\n" + wire.body == case.parts["wire-request"].rstrip()
    assert "\n".join(wire.adjusted) == case.parts["adjusted"].decode().strip()


def test_behaviour_19_the_same_request_is_the_same_bytes() -> None:
    request = msgspec.json.decode(REQUESTS[0].parts["neutral"], type=ChatRequest)
    assert (
        OPENAI.write_request(request, target(), "k").body == OPENAI.write_request(request, target(), "k").body
    )


@pytest.mark.parametrize(
    ("choice", "wire"),
    [
        (ToolChoice("auto"), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("named"), "required"),
        (ToolChoice("named", ("f",)), {"type": "function", "function": {"name": "f"}}),
        (
            ToolChoice("named", ("f", "g")),
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [
                        {"type": "function", "function": {"name": "f"}},
                        {"type": "function", "function": {"name": "g"}},
                    ],
                },
            },
        ),
        (
            ToolChoice("auto", ("f",)),
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
        ),
    ],
)
def test_behaviour_18_tool_choice(choice: ToolChoice, wire: Any) -> None:
    request = ChatRequest("m", (Message("user", (Text("x"),)),), tool_choice=choice)
    assert json.loads(OPENAI.write_request(request, target(), "").body)["tool_choice"] == wire


def test_several_choices_are_asked_for() -> None:
    request = ChatRequest("m", (Message("user", (Text("x"),)),), n=2)
    assert OPENAI.refuse(request, target()) is None
    assert json.loads(OPENAI.write_request(request, target(), "").body)["n"] == 2


def test_a_document_by_url_is_refused_for_openai_itself_only() -> None:
    request = ChatRequest("m", (Message("user", (Document(url="https://x.example/a.pdf"),)),))
    assert OPENAI.refuse(request, target("openai")) is not None
    assert OPENAI.refuse(request, target("openrouter")) is None
    body = json.loads(OPENAI.write_request(request, target("openrouter"), "").body)
    assert body["messages"][0]["content"][0]["file"] == {"file_data": "https://x.example/a.pdf"}


def test_an_upstream_that_knows_openrouter_s_fields_gets_them() -> None:
    knows = target("openrouter", "x", options=KNOWING)
    ask = _ask(
        messages=[
            {
                "role": "user",
                "content": [{"type": "text", "text": "U", "cache_control": {"type": "ephemeral"}}],
            },
            {
                "role": "assistant",
                "content": "A",
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "text": "t",
                        "signature": "S",
                        "format": "anthropic-claude-v1",
                        "index": 0,
                    }
                ],
            },
        ],
        reasoning={"max_tokens": -1, "exclude": True},
    )
    body = json.loads(OPENAI.write_request(OPENAI.expand(ask), knows, "").body)
    assert body["reasoning"] == {"max_tokens": -1, "exclude": True}
    assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert body["messages"][1]["reasoning_details"] == [
        {"type": "reasoning.text", "text": "t", "signature": "S", "format": "anthropic-claude-v1", "index": 0}
    ]


def _ask(**fields: Any) -> Ask:
    base = {"model": "m", "messages": [{"role": "user", "content": "Hello there, how are you?"}]}
    return OPENAI.read_request(msgspec.json.encode({**base, **fields}))


_WORDS = st.text(min_size=1, max_size=8)
_CACHE = st.sampled_from(
    [{}, {"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral", "ttl": "1h"}}]
)
_TEXT = st.builds(lambda text, cache: {"type": "text", "text": text, **cache}, _WORDS, _CACHE)
_IMAGE = st.sampled_from(
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x.example/1.png"}},
    ]
)
_OTHER = st.sampled_from(
    [
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA=="}},
    ]
)
_CONTENT = _WORDS | st.lists(_TEXT | _IMAGE | _OTHER, min_size=1, max_size=3)
_DETAILS = st.lists(
    st.sampled_from(
        [
            {"type": "reasoning.text", "text": "t", "signature": "S", "format": "anthropic-claude-v1"},
            {"type": "reasoning.encrypted", "data": "R", "format": "anthropic-claude-v1"},
            {"type": "reasoning.encrypted", "data": "G", "id": "c1", "format": "google-gemini-v1"},
            {"type": "reasoning.text", "text": "u", "format": "unknown"},
        ]
    ),
    max_size=3,
).map(lambda details: [{**detail, "index": place} for place, detail in enumerate(details)])
_ROUND = st.builds(
    lambda content, words, details, calls: [
        {"role": "user", "content": content},
        {
            "role": "assistant",
            "content": words,
            "reasoning_details": details,
            "tool_calls": [
                {"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": '{"n":1}'}}
                for i, name in enumerate(calls)
            ],
        },
        *({"role": "tool", "tool_call_id": f"c{i}", "content": "r"} for i in range(len(calls))),
    ],
    _CONTENT,
    st.none() | _WORDS,
    _DETAILS,
    st.lists(_WORDS, max_size=2),
)
_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "max_tokens": st.integers(1, 9),
        "max_completion_tokens": st.integers(1, 9),
        "stop": _WORDS | st.lists(_WORDS, min_size=1, max_size=4),
        "seed": st.integers(),
        "logit_bias": st.dictionaries(_WORDS, st.integers(-9, 9), max_size=2),
        "user": _WORDS,
        "reasoning": st.sampled_from([{"effort": "high"}, {"max_tokens": 9}, {"enabled": False}]),
        "tool_choice": st.sampled_from(["auto", "none", {"type": "function", "function": {"name": "f"}}]),
        "tools": st.just(
            [
                {
                    "type": "function",
                    "function": {"name": "f", "parameters": {"z": 1, "a": 2**70}, "strict": False},
                }
            ]
        ),
        "response_format": st.sampled_from([{"type": "json_object"}, {"type": "text"}]),
        "stream": st.booleans(),
    },
)


@given(st.lists(_ROUND, min_size=1, max_size=3), _OPTIONS)
def test_openai_to_neutral_to_openai_is_the_same_request(rounds: list[Any], options: dict[str, Any]) -> None:
    messages = [{"role": "system", "content": "S"}, *(turn for one in rounds for turn in one)]
    first = OPENAI.expand(_ask(messages=messages, **options))
    wire = OPENAI.write_request(first, target("openrouter", "m", options=KNOWING), "k")
    assert wire.adjusted == ()
    assert OPENAI.expand(OPENAI.read_request(wire.body)) == first
