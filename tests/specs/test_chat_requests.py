"""What is sent upstream is what the vendors' own published types say a request is: names, required keys, values' types.

Requests are made by hypothesis and taken from the golden files. Bedrock's are held to botocore's service model in
tests/dialects/test_bedrock_properties.py; Vertex's top level to the fields of its discovery document (v1, revision 20261106),
its parts and configuration to the same google-genai models as AI Studio's.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from anthropic.types import message_create_params as anthropic_params
from cohere.v2.client import V2Client
from google.genai import types as google
from hypothesis import HealthCheck, assume, given, settings
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import response_create_params as responses_params

from penstock.base.chat import ChatRequest
from penstock.base.models import ModelFacts, Target
from penstock.dialects import UPSTREAMS
from tests.dialects.bedrock_kit import check_shape
from tests.dialects.harness import cases
from tests.specs.requests import requests
from tests.specs.typed import call_faults, faults

MODELS = {
    "openai": ("gpt-4o-mini", "gpt-5-mini"),
    "responses": ("gpt-4o-mini", "gpt-5-mini"),
    "anthropic": ("claude-haiku-4-5", "claude-opus-4-8", "claude-sonnet-5-5"),
    "gemini": ("gemini-2.5-flash", "gemini-3-flash"),
    "vertex": ("gemini-2.5-flash", "gemini-3-flash"),
    "bedrock": ("anthropic.claude-haiku-4-5-20251001-v1:0", "amazon.nova-pro-v1:0"),
    "cohere": ("command-a-03-2025", "command-a-reasoning-08-2025", "command-a-vision-07-2025"),
}
SAMPLING = {"temperature", "top_p", "top_k"}
"""Fields of Anthropic's version 2023-06-01; the types of the newest SDK have them no longer."""
VERTEX_TOP = {
    "cachedContent", "contents", "continuationToken", "generationConfig", "labels", "modelArmorConfig", "outputConfig",
    "safetySettings", "systemInstruction", "toolConfig", "tools",
}  # fmt: skip
"""GenerateContentRequest accepts exactly these; anything else is a 400 "Unknown name"."""
STUDIO_TOP = VERTEX_TOP - {"modelArmorConfig", "outputConfig"} | {"serviceTier", "store"}
GOOGLE: dict[str, Any] = {
    "contents": google.Content,
    "systemInstruction": google.Content,
    "generationConfig": google.GenerationConfig,
    "tools": google.Tool,
    "toolConfig": google.ToolConfig,
    "safetySettings": google.SafetySetting,
}
FREE = {
    "args",
    "response",
    "responseJsonSchema",
    "parametersJsonSchema",
    "properties",
    "default",
    "enum",
    "labels",
}
"""Below these the names are the caller's."""


def target(dialect: str, model: str) -> Target:
    options = {"project": "p", "location": "global"} if dialect == "vertex" else {}
    return Target(dialect, model, dialect, ModelFacts(dialect, model), options=options)


def check_openai(body: dict[str, Any]) -> list[str]:
    streamed = body.get("stream") is True
    kind = (
        chat_params.CompletionCreateParamsStreaming
        if streamed
        else chat_params.CompletionCreateParamsNonStreaming
    )
    return faults(body, kind)


def check_responses(body: dict[str, Any]) -> list[str]:
    streamed = body.get("stream") is True
    kind = (
        responses_params.ResponseCreateParamsStreaming
        if streamed
        else responses_params.ResponseCreateParamsNonStreaming
    )
    return faults(body, kind)


def check_anthropic(body: dict[str, Any]) -> list[str]:
    streamed = body.get("stream") is True
    kind = (
        anthropic_params.MessageCreateParamsStreaming
        if streamed
        else anthropic_params.MessageCreateParamsNonStreaming
    )
    return faults({name: item for name, item in body.items() if name not in SAMPLING}, kind)


def check_cohere(body: dict[str, Any]) -> list[str]:
    return call_faults(body, V2Client.chat, "stream")


def check_google(body: dict[str, Any], top: set[str]) -> list[str]:
    """By google-genai's own models, which refuse what they do not know and warn of an unknown name in an enum."""
    found = [f".{name}: no field of GenerateContentRequest" for name in set(body) - top]
    found += [f"{name}: not in camelCase" for name in _names(body) if "_" in name]
    for name, kind in GOOGLE.items():
        held = body.get(name, [])
        for one in held if isinstance(held, list) else [held]:
            kind.model_validate(one)
    return found


def _names(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [
            one for name, item in value.items() for one in (name, *([] if name in FREE else _names(item)))
        ]
    return [name for item in value for name in _names(item)] if isinstance(value, list) else []


CHECKS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "openai": check_openai,
    "responses": check_responses,
    "anthropic": check_anthropic,
    "gemini": lambda body: check_google(body, STUDIO_TOP),
    "vertex": lambda body: check_google(body, VERTEX_TOP),
    "cohere": check_cohere,
}


def test_every_dialect_has_its_specification() -> None:
    """A new dialect is held to a published type, or to a reason why there is none."""
    assert {*CHECKS, "bedrock"} == set(UPSTREAMS)


@pytest.mark.parametrize("dialect", CHECKS)
def test_any_request_is_of_the_vendors_types(dialect: str) -> None:
    """Whatever is not refused."""
    upstream, check = UPSTREAMS[dialect], CHECKS[dialect]

    @settings(
        max_examples=80,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(requests(*MODELS[dialect]))
    def every(request: ChatRequest) -> None:
        goal = target(dialect, request.model)
        assume(upstream.refuse(request, goal) is None)
        body = msgspec.json.decode(upstream.write_request(request, goal, "KEY").body)
        assert check(body) == []

    every()


GOLDEN = [
    (folder, case)
    for folder in UPSTREAMS
    for case in cases(folder)
    if {"neutral", "wire-request"} <= set(case.parts)
]


@pytest.mark.parametrize(("dialect", "case"), GOLDEN, ids=[f"{name}-{case.name}" for name, case in GOLDEN])
def test_golden_requests_are_of_the_vendors_types(dialect: str, case: Any) -> None:
    """The files that the dialects' own tests hold them to."""
    request = msgspec.json.decode(case.parts["neutral"], type=ChatRequest)
    wire = UPSTREAMS[dialect].write_request(request, target(dialect, request.model), "KEY")
    if dialect == "bedrock":
        assert check_shape(wire)
        return
    assert CHECKS[dialect](msgspec.json.decode(wire.body)) == []


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "openai": (
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "txt": "x"}]}]},
        "txt",
    ),
    "responses": ({"model": "m", "input": [{"type": "function_call_output", "id": "x"}]}, "output"),
    "anthropic": (
        {
            "model": "m",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}],
        },
        "no str",
    ),
    "cohere": ({"model": "m", "messages": [{"role": "user", "content": "x"}], "top_p": 1}, "top_p"),
    "gemini": ({"contents": [], "toolChoice": {}}, "toolChoice"),
    "vertex": ({"contents": [], "store": False}, "store"),
}


@pytest.mark.parametrize("dialect", WRONG)
def test_the_checks_can_fail(dialect: str) -> None:
    """A key or a value that is wrong is named."""
    body, named = WRONG[dialect]
    assert re.search(named, "; ".join(CHECKS[dialect](body)))
