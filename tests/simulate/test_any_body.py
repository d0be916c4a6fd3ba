"""Whatever JSON is sent, each vendor answers or refuses; nothing in the simulator breaks."""

import copy
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.simulate import Simulator
from penstock.simulate.anthropic_rules import REDACTED_DATA
from penstock.simulate.http1 import RawRequest

PICTURE = {"type": "image_url", "image_url": {"url": "data:,", "detail": "low"}}
OPENAI = {
    "model": "some-model",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "CALL_TOOL"}, PICTURE]},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "f",
                "parameters": {"type": "object", "properties": {"a": {"type": "array"}}},
            },
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object", "properties": {}}},
    },
    "stop": ["x"],
    "max_tokens": 5,
    "temperature": 1,
    "n": 2,
    "seed": 1,
    "logprobs": True,
    "parallel_tool_calls": True,
    "reasoning_effort": "low",
    "stream": True,
    "stream_options": {"include_usage": True},
}
ANTHROPIC = {
    "model": "claude-haiku-4-5",
    "max_tokens": 2048,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "CALL_TOOL"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "redacted_thinking", "data": REDACTED_DATA},
                {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}]}
            ],
        },
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {"a": {"enum": [1]}}}}],
    "tool_choice": {"type": "auto"},
    "stop_sequences": ["x"],
    "output_config": {"format": {"type": "json_schema", "schema": {"anyOf": [{"type": "string"}]}}},
    "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
    "cache_control": {"type": "ephemeral", "ttl": "1h"},
    "metadata": {"user_id": "u"},
    "stream": True,
}
GEMINI = {
    "contents": [
        {
            "role": "user",
            "parts": [{"text": "CALL_TOOL"}, {"inlineData": {"mimeType": "image/png", "data": "eA=="}}],
        },
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"x": 1}}}]},
    ],
    "systemInstruction": {"parts": [{"text": "s"}]},
    "tools": [
        {
            "functionDeclarations": [
                {"name": "f", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}
            ]
        }
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {
        "thinkingConfig": {"thinkingBudget": 5},
        "stopSequences": ["x"],
        "maxOutputTokens": 50,
        "candidateCount": 1,
        "temperature": 1,
    },
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
}
BEDROCK = {
    "system": [{"text": "s"}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
    "messages": [
        {
            "role": "user",
            "content": [{"text": "CALL_TOOL"}, {"image": {"format": "png", "source": {"bytes": "eA=="}}}],
        },
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"redactedContent": REDACTED_DATA}},
                {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}},
            ],
        },
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"text": "x"}]}}]},
    ],
    "toolConfig": {
        "tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}}}],
        "toolChoice": {"auto": {}},
    },
    "inferenceConfig": {"maxTokens": 3000, "stopSequences": ["x"]},
    "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{}"}}}},
    "additionalModelRequestFields": {
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {},
    },
}
COHERE = {
    "model": "command-a",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "CALL_TOOL"}]},
        {
            "role": "assistant",
            "tool_plan": "p",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {
            "role": "tool",
            "tool_call_id": "c",
            "content": [{"type": "document", "document": {"data": {"a": 1}}}],
        },
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "documents": [{"data": {"text": "x"}}],
    "tool_choice": "REQUIRED",
    "stop_sequences": ["x"],
    "thinking": {"type": "enabled", "token_budget": 5},
    "max_tokens": 50,
    "k": 5,
    "stream": True,
}
ASKED = {
    "/model/anthropic.claude-haiku-4-5/converse": BEDROCK,
    "/model/anthropic.claude-haiku-4-5/converse-stream": BEDROCK,
    "/v2/chat": COHERE,
    "/v1/chat/completions": OPENAI,
    "/v1/messages": ANTHROPIC,
    "/v1/messages/count_tokens": {k: v for k, v in ANTHROPIC.items() if k not in ("max_tokens", "stream")},
    "/v1/models/gemini-2.5-flash:generateContent": GEMINI,
    "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse": GEMINI,
    "/v1beta/models/gemini-2.5-flash:countTokens": GEMINI,
}
HEADERS = [(b"authorization", b"Bearer k"), (b"anthropic-version", b"2023-06-01")]
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 5),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=4),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)
SIM = Simulator()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every node."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


def perform(target: str, body: Any) -> tuple[int, bytes]:
    """Straight into the application: an exception is a failed test, not a closed socket."""
    performance = SIM.perform(RawRequest("POST", target, HEADERS, msgspec.json.encode(body), True, True, 1))
    return performance.received.status, performance.whole


@given(data=st.data(), target=st.sampled_from(sorted(ASKED)))
@settings(max_examples=600, deadline=None)
def test_any_value_in_any_place_is_answered_or_refused(data: st.DataObject, target: str) -> None:
    """One node of a good request is replaced by anything: 200 or 4xx, and a whole reply."""
    body = copy.deepcopy(ASKED[target])
    path = data.draw(st.sampled_from(places(body)))
    junk = data.draw(JSON)
    if path:
        parent = body
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = junk
    else:
        body = junk
    status, wire = perform(target, body)
    assert status == 200 or 400 <= status < 500
    assert wire.startswith(b"HTTP/1.1 %d " % status)


def test_the_good_requests_are_good() -> None:
    """So that the test above starts from what passes every rule."""
    gemini_3 = "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse"
    assert {target: perform(target, body)[0] for target, body in ASKED.items()} == {
        target: 400 if target == gemini_3 else 200 for target in ASKED
    }  # Gemini 3 wants a thought signature in the history
