"""What each upstream dialect does with each feature of a request: not written down, but tried out.

A small OpenAI request per feature is read, expanded and written by the real dialects. What they say is the table.
"""

from typing import Any, NamedTuple

import msgspec

from penstock.base.errors import PenstockError
from penstock.base.models import Target
from penstock.config.catalogue import Catalogue
from penstock.dialects import CALLERS, UPSTREAMS

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
MODELS: dict[str, tuple[tuple[str, str], ...]] = {
    "openai": (("openai", "gpt-4o-mini"),),
    "responses": (("openai", "gpt-4o-mini"),),
    "anthropic": (("anthropic", "claude-haiku-4-5"),),
    "gemini": (("gemini", "gemini-2.5-flash"),),
    "vertex": (("vertex", "gemini-2.5-flash"),),
    "bedrock": (("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),),
    "cohere": (("cohere", "command-a-plus-05-2026"),),
}
"""The models that stand for their dialects in the table."""
_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
_SCHEMA: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"n": {"type": "integer"}},
            "required": ["n"],
            "additionalProperties": False,
        },
    },
}


def _content(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look."}, *parts]}]}


FEATURES: dict[str, dict[str, Any]] = {
    "text, stream": {"stream": True},
    "system prompt": {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    },
    "image as data": _content(
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    ),
    "image by URL": _content({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
    "PDF as data": _content(
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQK"},
        }
    ),
    "audio as data": _content(
        {"type": "input_audio", "input_audio": {"data": "UklGRgAAAABXQVZF", "format": "wav"}}
    ),
    "tools": {"tools": [_TOOL]},
    "`tool_choice: required`": {"tools": [_TOOL], "tool_choice": "required"},
    "`tool_choice`: one function": {
        "tools": [_TOOL],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    },
    "`parallel_tool_calls: false`": {"tools": [_TOOL], "parallel_tool_calls": False},
    "`response_format: json_object`": {"response_format": {"type": "json_object"}},
    "`response_format: json_schema`": {"response_format": _SCHEMA},
    "`max_tokens`": {"max_tokens": 100},
    "`max_completion_tokens`": {"max_completion_tokens": 100},
    "`temperature`, `top_p`": {"temperature": 0.2, "top_p": 0.9},
    "`top_k`": {"top_k": 20},
    "`stop`": {"stop": ["END"]},
    "`seed`": {"seed": 7},
    "`n: 2`": {"n": 2},
    "`presence_penalty`, `frequency_penalty`": {"presence_penalty": 0.5, "frequency_penalty": 0.5},
    "`logprobs`": {"logprobs": True, "top_logprobs": 2},
    "`reasoning_effort: low`": {"reasoning_effort": "low"},
    "`reasoning: {max_tokens: 2048}`": {"reasoning": {"max_tokens": 2048}, "max_tokens": 4096},
    "`user`": {"user": "someone"},
    "`service_tier: flex`": {"service_tier": "flex"},
    "`store: true`": {"store": True},
    "a field nobody knows": {"some_new_field": 1},
}


class Said(NamedTuple):
    """What a dialect made of a feature."""

    verdict: str
    words: tuple[str, ...]


def coverage(catalogue: Catalogue) -> dict[str, dict[str, str]]:
    """Feature -> column -> what happens. The first column is pass-through, the others are translations."""
    table: dict[str, dict[str, str]] = {}
    for feature, fields in FEATURES.items():
        row: dict[str, str] = {"openai (pass-through)": _through(fields, catalogue)}
        for dialect in UPSTREAMS:
            if dialect != "openai":
                for provider, model in MODELS[dialect]:
                    row[f"{dialect} ({model})"] = _translated(fields, dialect, provider, model, catalogue)
        table[feature] = row
    return table


def _body(fields: dict[str, Any], model: str) -> bytes:
    return msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields})


def _target(dialect: str, provider: str, model: str, catalogue: Catalogue) -> Target:
    options = {"project": "p", "location": "global"} if dialect == "vertex" else {}
    return Target(
        provider=provider,
        model=model,
        dialect=dialect,
        facts=catalogue.facts(provider, model),
        overrides={},
        options=options,
    )


def _through(fields: dict[str, Any], catalogue: Catalogue) -> str:
    caller, upstream = CALLERS["openai"], UPSTREAMS["openai"]
    provider, model = MODELS["openai"][0]
    ask = caller.read_request(_body(fields, f"{provider}/{model}"))
    request = upstream.splice_request(ask, _target("openai", provider, model, catalogue), "key")  # type: ignore[attr-defined]
    return _said(request.adjusted)


def _translated(fields: dict[str, Any], dialect: str, provider: str, model: str, catalogue: Catalogue) -> str:
    caller, upstream = CALLERS["openai"], UPSTREAMS[dialect]
    try:
        neutral = caller.expand(caller.read_request(_body(fields, f"{provider}/{model}")))
    except PenstockError as error:
        return f"refused: `{error.code}`"
    target = _target(dialect, provider, model, catalogue)
    refused = upstream.refuse(neutral, target)
    if refused is not None and refused.code.endswith("-url"):  # gateway.media fetches that part for it
        return f"`{refused.code.removesuffix('-url')}-fetched`"
    if refused is not None:
        return f"refused: `{refused.code}`"
    return _said(upstream.write_request(neutral, target, "key").adjusted)


def _said(adjusted: tuple[str, ...]) -> str:
    return ", ".join(f"`{word}`" for word in adjusted) if adjusted else "yes"
