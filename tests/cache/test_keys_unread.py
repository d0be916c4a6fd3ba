"""Nothing that a caller writes is in no key: each value of a body changes it, is refused, or is known not to matter."""

import copy
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.chat import Ask, ChatRequest
from penstock.base.errors import PenstockError
from penstock.cache.controls import DEFAULT
from penstock.cache.eligible import exact_refusal
from penstock.cache.keys import Keys, canonical, surroundings
from penstock.cache.unread import unread
from penstock.dialects import CALLERS
from penstock.dialects.gemini import GeminiCall
from tests.cache.asked import GROUP

PIXEL = "aGVsbG8gd29ybGQh"
FUNCTION = {
    "name": "weather",
    "description": "Weather of a town.",
    "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
    "strict": True,
}
OPENAI = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief.", "name": "boss"},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind.", "new_of_part": 1}]},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {
                    "type": "text",
                    "text": "What is this?",
                    "cache_control": {"type": "ephemeral", "ttl": "5m"},
                },
                {
                    "type": "image_url",
                    "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low", "new": 1},
                },
                {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}},
                {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}},
                {
                    "type": "file",
                    "file": {"file_data": f"data:application/pdf;base64,{PIXEL}", "filename": "a.pdf"},
                },
                {"type": "file", "file": {"file_id": "file-1"}},
            ],
        },
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning": "hm",
            "prefix": True,
            "annotations": [{"a": 1}],
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}", "new": 1}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain", "new_of_message": {"deep": [1]}},
        {"role": "user", "content": "And now?"},
    ],
    "tools": [{"type": "function", "function": {**FUNCTION, "new": 1}, "new_of_tool": 1}],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "parallel_tool_calls": False,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "s", "description": "A thing.", "schema": {"type": "object"}, "strict": True},
    },
    "reasoning": {"effort": "low", "summary": "auto", "exclude": True},
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 4,
    "max_tokens": 100,
    "n": 1,
    "seed": 7,
    "stop": ["END"],
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
    "logit_bias": {"11": 5},
    "verbosity": "low",
    "new_at_the_top": {"a": 1},
    "prediction": {"type": "content", "content": "x"},
    "stream": True,
    "stream_options": {"include_usage": True},
    "user": "ann",
    "metadata": {"a": "b"},
    "store": True,
    "service_tier": "flex",
    "safety_identifier": "x",
    "prompt_cache_key": "x",
}
OPENAI_IDLE = {
    "model", "stream", "stream_options", "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
    "cache_control", "annotations",
}  # fmt: skip
ANTHROPIC = {
    "model": "m",
    "max_tokens": 100,
    "system": [{"type": "text", "text": "Be brief.", "new": 1}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL, "new": 1}},
                {"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}},
                {"type": "document", "title": "T", "context": "C", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"town": "Oslo"}, "caller": {"type": "direct"}},
            ],
        },
        {
            "role": "user",
            "new_of_message": 1,
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": [{"type": "text", "text": "rain", "new": 1}]},
                {"type": "text", "text": "And now?"},
            ],
        },
    ],
    "tools": [{"name": "weather", "description": "d", "input_schema": {"type": "object"}, "strict": True, "new": 1}],
    "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True, "new": 1},
    "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"},
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 4,
    "stop_sequences": ["END"],
    "context_management": {"edits": []},
    "new_at_the_top": 1,
    "stream": True,
    "metadata": {"user_id": "ann"},
    "service_tier": "auto",
}  # fmt: skip
ANTHROPIC_IDLE = {"model", "stream", "metadata", "service_tier", "cache_control"}
RESPONSES = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": "Hello", "phase": "first"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What?", "new": 1}, {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "low"}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}", "new": 1},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {"role": "user", "content": "And now?"},
    ],
    "tools": [{"type": "function", **FUNCTION, "new": 1}],
    "tool_choice": {"type": "function", "name": "weather"},
    "parallel_tool_calls": False,
    "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}, "strict": True, "description": "d"}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "temperature": 0.5,
    "top_p": 0.5,
    "max_output_tokens": 100,
    "truncation": "auto",
    "new_at_the_top": 1,
    "top_logprobs": 2,
    "stream": True,
    "user": "ann",
    "metadata": {"a": "b"},
    "store": False,
    "service_tier": "flex",
    "prompt_cache_key": "x",
}  # fmt: skip
RESPONSES_IDLE = {"model", "stream", "user", "metadata", "store", "service_tier", "prompt_cache_key"}
COMPLETIONS = {
    "model": "m",
    "prompt": "def f():",
    "max_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.5,
    "stop": ["END"],
    "seed": 3,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
    "logit_bias": {"11": 5},
    "new_at_the_top": 1,
    "stream": True,
    "user": "ann",
}
EMBEDDINGS = {
    "model": "m",
    "input": ["a", "b"],
    "dimensions": 64,
    "task": "t",
    "input_type": "query",
    "truncate_prompt_tokens": 5,
    "new_at_the_top": {"a": [1]},
    "encoding_format": "float",
    "user": "ann",
}
GEMINI = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "What is this?"}, {"inlineData": {"mimeType": "image/png", "data": PIXEL}}]},
        {"role": "model", "parts": [{"text": "A mug."}]},
        {"role": "user", "parts": [{"text": "And now?"}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parameters": {"type": "OBJECT"}}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {"temperature": 0.5, "topP": 0.5, "topK": 4, "maxOutputTokens": 100, "seed": 7, "stopSequences": ["END"], "presencePenalty": 0.1},
    "safetySettings": [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"}],
    "labels": {"a": "b"},
}  # fmt: skip
IDS = {"id", "tool_call_id", "tool_use_id", "call_id"}
"""They stand as ordinals: changed alone they break the link, changed together nothing."""

Path = tuple[str | int, ...]
UNSAID: dict[str, set[tuple[str, Path]]] = {
    "openai": {
        *((way, ("messages", 3, "tool_calls", 0, "type")) for way in ("other", "none")),
        *((way, ("tools", 0, "type")) for way in ("other", "none")),
        ("other", ("tool_choice", "type")),
        ("none", ("n",)),
    },
    "anthropic": {("none", ("messages", 0, "content", 3, "source", "media_type"))},
    "responses": {
        ("none", ("input", 1, "type")),
        ("none", ("input", 2, "arguments")),
        ("none", ("tools", 0, "type")),
    },
    "gemini": {("none", ("contents", 0, "role")), ("none", ("contents", 2, "role"))},
}
"""What says the same unsaid, or is said by what stands beside it (a ``function`` is of type function)."""


def key_of(name: str, body: dict[str, Any]) -> bytes | None:
    """The canonical form; None: not cached, or refused."""
    caller = GeminiCall("gemini-2.5-flash") if name == "gemini" else CALLERS[name]
    try:
        ask = caller.read_request(msgspec.json.encode(body))
        request = caller.expand(ask)
    except PenstockError:
        return None
    if exact_refusal(request, DEFAULT) is not None:
        return None
    return canonical(request, group=GROUP, beside=unread(ask))


def leaves(value: Any, at: Path = ()) -> Iterator[Path]:
    """Where the plain values stand."""
    if isinstance(value, dict):
        for name, inner in cast("dict[str, Any]", value).items():
            yield from leaves(inner, (*at, name))
    elif isinstance(value, list):
        for index, inner in enumerate(cast("list[Any]", value)):
            yield from leaves(inner, (*at, index))
    else:
        yield at


def changed(body: dict[str, Any], at: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The body with another value there, and with none."""
    for way in ("other", "none"):
        made: Any = copy.deepcopy(body)
        inner = made
        for step in at[:-1]:
            inner = inner[step]
        last: Any = at[-1]
        old = inner[last]
        if way == "none":
            if isinstance(inner, list):
                continue
            del inner[last]
        elif isinstance(old, bool):
            inner[last] = not old
        elif isinstance(old, int | float):
            inner[last] = old / 2 if isinstance(old, float) else old + 1
        else:
            inner[last] = f"Z{old}"
        yield way, made


def plain(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Without what its dialect refuses to translate, so that the rest can be looked at."""
    made = copy.deepcopy(body)
    if name == "anthropic":
        for part in made["messages"][0]["content"]:
            part.pop("context", None)
    if name == "responses":
        del made["top_logprobs"]
    return made


CASES = {
    "openai": (OPENAI, OPENAI_IDLE),
    "openrouter": (OPENAI, OPENAI_IDLE),
    "anthropic": (ANTHROPIC, ANTHROPIC_IDLE),
    "responses": (RESPONSES, RESPONSES_IDLE),
    "completions": (COMPLETIONS, {"model", "stream", "user"}),
    "embeddings": (EMBEDDINGS, {"model", "user", "encoding_format"}),
    "gemini": (GEMINI, {"labels"}),
}


@pytest.mark.parametrize("name", CASES)
def test_every_value_counts_or_is_known_not_to(name: str) -> None:
    body, idle = CASES[name]
    body = plain(name, body)
    base = key_of(name, body)
    assert base is not None
    silent: set[tuple[str, Path]] = set()
    seen = 0
    for at in leaves(body):
        for way, other in changed(body, at):
            key = key_of(name, other)
            seen += key is not None
            if (key == base) != any(step in idle for step in at) and key is not None and at[-1] not in IDS:
                silent.add((way, at))
    assert silent == UNSAID.get("openai" if name == "openrouter" else name, set())
    assert seen > len(body)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("openai", {"model": "m", "messages": [{"role": "user", "content": "hi"}], "user": "ann", "logit_bias": {"1": 2}}),
        (
            "openai",
            {
                "model": "m",
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                    # As the official client sends back what it was given.
                    {"role": "assistant", "content": "x", "refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None},
                    {"role": "user", "content": "more"},
                ],
                "tools": [{"type": "function", "function": FUNCTION}],
            },
        ),
        ("anthropic", {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], "system": "s"}),
        ("responses", {"model": "m", "input": "hi", "reasoning": {"effort": "low"}}),
        ("embeddings", {"model": "m", "input": "hi", "dimensions": 3, "metadata": {}, "input_type": None}),
        ("completions", {"model": "m", "prompt": "hi", "odd": 1}),
        ("moderations", {"model": "m", "input": "hi", "odd": 1}),
    ],
)  # fmt: skip
def test_what_is_read_is_not_told_again(name: str, body: dict[str, Any]) -> None:
    assert unread(CALLERS[name].read_request(msgspec.json.encode(body))) == b""


def test_two_places_are_two() -> None:
    def told(*turns: dict[str, Any]) -> bytes:
        body = {"model": "m", "messages": [{"role": "user", "content": "a", **turn} for turn in turns]}
        return unread(CALLERS["openai"].read_request(msgspec.json.encode(body)))

    assert told({"odd": 1}, {}) != told({}, {"odd": 1})
    assert told({"odd": 1}) != told({"odd": 2})
    assert told({"odd": 1, "also": 2}) == told({"also": 2, "odd": 1})


def test_what_was_passed_over_is_in_the_partition_too() -> None:
    caller = CALLERS["openai"]
    keys = Keys(bytes(32))
    found: set[bytes] = set()
    for prefix in (True, False):
        body = {"model": "m", "messages": [{"role": "user", "content": "hi", "prefix": prefix}]}
        ask = caller.read_request(msgspec.json.encode(body))
        request = caller.expand(ask)
        assert isinstance(request, ChatRequest)
        beside = unread(ask)
        assert surroundings(request, group=GROUP) != surroundings(request, group=GROUP, beside=beside)
        found.add(keys.partition_key("t", "", request, GROUP, "b", "", beside=beside))
    assert len(found) == 2


PLACES = [at for at in leaves(OPENAI) if at[0] == "messages"]


@given(
    st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from([None, [], {}, "", 0, False, "x", [1], {"a": 1}])),
        max_size=4,
    )
)
def test_what_is_found_is_what_was_put_there(put: list[tuple[Path, Any]]) -> None:
    body: Any = {"model": "m", "messages": copy.deepcopy(OPENAI["messages"])}
    before = msgspec.json.decode(unread(Ask("openai", msgspec.json.encode(body), "m")))
    added: set[str] = set()
    for number, (at, value) in enumerate(put):
        inner = body
        for step in at[:-1]:
            inner = inner[step]
        if isinstance(inner, dict):
            inner[f"odd{number}"] = value
            if value not in (None, [], {}):
                added.add(f"odd{number}")
    after = msgspec.json.decode(unread(Ask("openai", msgspec.json.encode(body), "m")))
    new = {name.rsplit("'", 2)[1] for name in after if name not in before}
    assert {name for name in new if name.startswith("odd")} <= added
    known_places = {
        f"odd{number}"
        for number, (at, _) in enumerate(put)
        if not set(at) & {"cache_control", "annotations", "new_of_message"}
    }
    assert added & known_places <= new
