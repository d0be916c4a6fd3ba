"""Anthropic's dialect, rule by rule: models, reasoning, refusals, versions, errors, stop reasons, usage."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
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
from penstock.base.errors import (
    PenstockError,
    UpstreamAuthFailed,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFault,
    UpstreamMalformed,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamTooLarge,
    UpstreamTruncated,
)
from penstock.base.events import Finished, Stopped, TextDelta, UsageSeen, fold
from penstock.base.models import ModelFacts, Target
from penstock.config.catalogue import Catalogue
from penstock.dialects.anthropic import ANTHROPIC
from penstock.dialects.anthropic.models import by_name, rules_for
from tests.dialects.harness import play

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
HI = (Message("user", (Text("hi"),)),)


def target(model: str, options: dict[str, str] | None = None, **facts: Any) -> Target:
    return Target(
        "anthropic", model, "anthropic", ModelFacts("anthropic", model, **facts), options=options or {}
    )


def written(
    model: str, options: dict[str, str] | None = None, **fields: Any
) -> tuple[dict[str, Any], set[str], str]:
    """(body, adjusted, API version) of a request."""
    request = ChatRequest(**{"model": model, "messages": HI, **fields})
    assert ANTHROPIC.refuse(request, target(model, options)) is None
    wire = ANTHROPIC.write_request(request, target(model, options), "KEY")
    return (
        msgspec.json.decode(wire.body),
        set(wire.adjusted),
        dict(wire.headers)[b"anthropic-version"].decode(),
    )


# Models


@pytest.mark.parametrize(
    ("model", "sampling", "thinking", "off", "forced", "prefill", "schema", "output"),
    [
        ("claude-3-haiku-20240307", True, "none", "omit", True, True, False, 4_096),
        ("claude-3-5-sonnet-20241022", True, "none", "omit", True, True, False, 8_192),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", True, "budget", "omit", True, True, False, 64_000),
        ("claude-opus-4-20250514", True, "budget", "omit", True, True, False, 32_000),
        ("claude-opus-4-0", True, "budget", "omit", True, True, False, 32_000),
        ("claude-sonnet-4@20250514", True, "budget", "omit", True, True, False, 64_000),
        ("claude-opus-4-1-20250805", True, "budget", "omit", True, True, False, 32_000),
        ("anthropic/claude-haiku-4.5", True, "budget", "omit", True, True, True, 64_000),
        ("claude-sonnet-4-5-20250929", True, "budget", "omit", True, True, True, 64_000),
        ("claude-opus-4-6", True, "both", "omit", True, False, True, 128_000),
        ("claude-opus-4-7", False, "adaptive", "omit", True, False, True, 128_000),
        ("claude-sonnet-5", False, "adaptive", "disabled", True, False, True, 128_000),
        ("claude-haiku-5-5", False, "adaptive", "disabled", True, False, True, 128_000),
        ("claude-sonnet-5-5", False, "adaptive", "between_tools", False, False, True, 128_000),
        ("claude-opus-5-5", False, "adaptive", "never", False, False, True, 128_000),
        ("claude-fable-5", False, "adaptive", "never", True, False, True, 128_000),
        ("claude-fable-5-2", False, "adaptive", "never", False, False, True, 128_000),
        ("claude-opus-9-20990101", False, "adaptive", "never", False, False, True, 128_000),
        ("claude-saga-1", False, "adaptive", "never", False, False, True, 128_000),
        ("claude-instant-1.2", True, "none", "omit", True, True, False, 4_096),
        ("glm-5", True, "budget", "omit", True, True, False, 8_192),
    ],
)
def test_a_models_rules_follow_from_its_name(
    model: str,
    sampling: bool,
    thinking: str,
    off: str,
    forced: bool,
    prefill: bool,
    schema: bool,
    output: int,
) -> None:
    """Old, dated, prefixed, newer than the table, and no Claude at all."""
    rules = by_name(model)
    assert (rules.sampling, rules.thinking, rules.off, rules.forced_tools) == (
        sampling,
        thinking,
        off,
        forced,
    )
    assert (rules.prefill, rules.json_schema, rules.max_output) == (prefill, schema, output)


def test_the_catalogue_corrects_what_the_name_suggests() -> None:
    """Facts with a source win; facts without one say nothing."""
    known = target(
        "glm-5",
        source="catalogue",
        max_output_tokens=9_000,
        reasoning="none",
        capabilities=frozenset({"tools", "json_schema"}),
    )
    rules = rules_for(known)
    assert (rules.max_output, rules.thinking, rules.sampling) == (9_000, "none", False)
    assert (rules.prefill, rules.json_schema) == (False, True)
    assert rules_for(target("glm-5", max_output_tokens=9_000)) == by_name("glm-5")
    always = rules_for(target("glm-5", source="catalogue", reasoning="always"))
    assert (always.thinking, always.off) == ("adaptive", "never")
    assert rules_for(target("claude-opus-4-6", source="x", reasoning="adaptive")).thinking == "both"


def test_names_and_catalogue_say_the_same_of_every_claude() -> None:
    """Two independent sources: our table by name, and the catalogue built from public tables."""
    catalogue, compared = Catalogue(), 0
    for model in catalogue.chat_models("anthropic"):
        facts, rules = catalogue.facts("anthropic", model), by_name(model)
        if facts.capabilities is not None:
            compared += 1
            said = {"sampling": rules.sampling, "prefill": rules.prefill, "json_schema": rules.json_schema}
            assert {name: name in facts.capabilities for name in said} == said, model
            assert facts.max_output_tokens == rules.max_output, model
            assert rules_for(Target("anthropic", model, "anthropic", facts)).thinking == rules.thinking, model
    assert compared >= 20


def test_behaviour_21_a_cap_is_never_lost_and_an_absent_one_is_the_models_own() -> None:
    """max_tokens is required by Anthropic; filling it in is no adjustment, lowering it to what can be is one."""
    assert written("claude-haiku-4-5", max_tokens=5)[0]["max_tokens"] == 5
    body, adjusted, _ = written("claude-haiku-4-5")
    assert (body["max_tokens"], adjusted) == (64_000, set())
    goal = target("claude-haiku-4-5", source="catalogue", max_output_tokens=1_000)
    wire = ANTHROPIC.write_request(ChatRequest("m", HI, max_tokens=5_000), goal, "KEY")
    assert msgspec.json.decode(wire.body)["max_tokens"] == 1_000
    assert wire.adjusted == ("max_tokens-lowered",)


# Versions and sampling


@pytest.mark.parametrize(
    ("model", "pin", "kept", "version"),
    [
        ("claude-haiku-4-5", None, True, "2023-06-01"),
        ("claude-haiku-4-5", "2026-10-21", False, "2026-10-21"),
        ("claude-haiku-4-5", "2023-06-01", True, "2023-06-01"),
        ("claude-opus-4-7", None, False, "2026-10-21"),
        ("claude-opus-4-7", "2023-06-01", False, "2023-06-01"),
    ],
)
def test_the_api_version_is_the_newest_that_keeps_the_sampling_parameters(
    model: str, pin: str | None, kept: bool, version: str
) -> None:
    """temperature and top_k are kept under 2023-06-01 where the model takes them, else reported."""
    body, adjusted, used = written(model, {"api_version": pin} if pin else None, temperature=0.5, top_k=4)
    assert ("temperature" in body, "top_k" in body) == (kept, kept)
    assert adjusted == (set() if kept else {"temperature-dropped", "top_k-dropped"})
    assert used == version


def test_temperature_and_top_p_do_not_stand_together_from_4_1_on() -> None:
    """The newer models refuse the two beside each other; the older take both."""
    body, adjusted, _ = written("claude-opus-4-6", temperature=0.5, top_p=0.5)
    assert body["temperature"] == 0.5
    assert "top_p" not in body
    assert adjusted == {"top_p-dropped"}
    assert written("claude-3-5-haiku-latest", temperature=0.5, top_p=0.5)[0]["top_p"] == 0.5


# Reasoning


@pytest.mark.parametrize(
    ("model", "asked", "thinking", "effort", "adjusted"),
    [
        ("claude-haiku-4-5", None, None, None, set()),
        ("claude-sonnet-5", None, None, None, set()),
        ("claude-3-haiku-20240307", Reasoning(effort="high"), None, None, {"reasoning-dropped"}),
        (
            "claude-haiku-4-5",
            Reasoning(effort="high"),
            {"type": "enabled", "budget_tokens": 8_000},
            None,
            set(),
        ),
        (
            "claude-haiku-4-5",
            Reasoning(effort="minimal"),
            {"type": "enabled", "budget_tokens": 1_024},
            None,
            set(),
        ),
        (
            "claude-haiku-4-5",
            Reasoning(enabled=True),
            {"type": "enabled", "budget_tokens": 5_000},
            None,
            set(),
        ),
        (
            "claude-haiku-4-5",
            Reasoning(max_tokens=2_000, exclude=True),
            {"type": "enabled", "budget_tokens": 2_000, "display": "omitted"},
            None,
            set(),
        ),
        (
            "claude-haiku-4-5",
            Reasoning(max_tokens=5),
            {"type": "enabled", "budget_tokens": 1_024},
            None,
            {"reasoning-budget-raised"},
        ),
        (
            "claude-haiku-4-5",
            Reasoning(max_tokens=-1),
            {"type": "enabled", "budget_tokens": 5_000},
            None,
            {"reasoning-dynamic-approximated"},
        ),
        ("claude-haiku-4-5", Reasoning(max_tokens=0), None, None, set()),
        (
            "claude-3-7-sonnet-latest",
            Reasoning(effort="low", exclude=True),
            {"type": "enabled", "budget_tokens": 2_000},
            None,
            {"reasoning-exclude-dropped"},
        ),
        (
            "claude-opus-4-6",
            Reasoning(max_tokens=3_000),
            {"type": "enabled", "budget_tokens": 3_000},
            None,
            set(),
        ),
        ("claude-opus-4-6", Reasoning(effort="max"), "summarized", "max", set()),
        (
            "claude-opus-4-6",
            Reasoning(effort="xhigh"),
            "summarized",
            "max",
            {"reasoning_effort-approximated"},
        ),
        ("claude-opus-4-8", Reasoning(effort="xhigh", exclude=True), "omitted", "xhigh", set()),
        (
            "claude-opus-4-8",
            Reasoning(effort="minimal"),
            "summarized",
            "low",
            {"reasoning_effort-approximated"},
        ),
        ("claude-opus-4-8", Reasoning(max_tokens=-1), "summarized", None, set()),
        (
            "claude-opus-4-8",
            Reasoning(max_tokens=5_000),
            "summarized",
            "medium",
            {"reasoning-budget-approximated"},
        ),
        ("claude-opus-4-8", Reasoning(effort="none"), None, None, set()),
        ("claude-opus-5", Reasoning(effort="none"), {"type": "disabled"}, None, set()),
        ("claude-haiku-5-5", Reasoning(enabled=False), {"type": "disabled"}, None, set()),
        ("claude-sonnet-5-5", Reasoning(max_tokens=0), {"type": "between_tools"}, None, set()),
        ("claude-opus-5-5", Reasoning(effort="none"), None, "low", {"reasoning-off-approximated"}),
        ("claude-opus-5", Reasoning(), "summarized", None, set()),
        ("claude-opus-5", Reasoning(exclude=True), None, None, set()),
        ("claude-opus-4-8", Reasoning(), None, None, set()),
    ],
)
def test_reasoning_is_spelt_as_the_model_takes_it(
    model: str, asked: Reasoning | None, thinking: Any, effort: str | None, adjusted: set[str]
) -> None:
    """None asked, nothing sent; every spelling, on budget, adaptive and always-thinking models (max_tokens 10,000)."""
    body, noted, _ = written(model, max_tokens=10_000, reasoning=asked)
    wanted = {"type": "adaptive", "display": thinking} if isinstance(thinking, str) else thinking
    assert body.get("thinking") == wanted
    assert body.get("output_config", {}).get("effort") == effort
    assert noted == adjusted


@pytest.mark.parametrize(
    ("cap", "asked", "budget", "max_tokens", "adjusted"),
    [
        (500, Reasoning(effort="low"), 1_024, 1_524, {"max_tokens-raised"}),
        (2_000, Reasoning(max_tokens=2_000), 2_000, 4_000, {"max_tokens-raised"}),
        (
            60_000,
            Reasoning(max_tokens=500_000),
            32_000,
            64_000,
            {"max_tokens-raised", "reasoning-budget-lowered"},
        ),
        (None, Reasoning(max_tokens=500_000), 32_000, 64_000, {"reasoning-budget-lowered"}),
        (None, Reasoning(effort="max"), 60_800, 64_000, set()),
    ],
)
def test_max_tokens_exceeds_the_thinking_budget(
    cap: int | None, asked: Reasoning, budget: int, max_tokens: int, adjusted: set[str]
) -> None:
    """The caller's cap stays the answer's; both stay within what the model can emit."""
    body, noted, _ = written("claude-haiku-4-5", max_tokens=cap, reasoning=asked)
    assert (body["thinking"]["budget_tokens"], body["max_tokens"]) == (budget, max_tokens)
    assert noted == adjusted


def test_a_forced_tool_goes_before_a_thinking_budget() -> None:
    """The two are refused together: a budget model does not think, a 4.6 model thinks adaptively."""
    fields: dict[str, Any] = {"tools": (Tool("f"),), "tool_choice": ToolChoice("named", ("f",))}
    body, noted, _ = written("claude-haiku-4-5", reasoning=Reasoning(effort="high"), **fields)
    assert body["tool_choice"] == {"type": "tool", "name": "f"}
    assert "thinking" not in body
    assert noted == {"reasoning-dropped"}
    body, noted, _ = written("claude-opus-4-6", reasoning=Reasoning(max_tokens=2_000), **fields)
    assert body["thinking"]["type"] == "adaptive"
    assert noted == {"reasoning-budget-approximated"}


def test_a_budget_is_not_asked_for_in_a_tool_loop_without_thinking() -> None:
    """Anthropic wants thinking before the tool_use then, and there is none to give back."""
    loop = (
        *HI,
        Message("assistant", (ToolCall("a", "f", "{}"),)),
        Message("tool", (ToolResult("a", "f", "1"),)),
    )
    fields: dict[str, Any] = {"messages": loop, "tools": (Tool("f"),), "reasoning": Reasoning(effort="high")}
    body, noted, _ = written("claude-haiku-4-5", **fields)
    assert "thinking" not in body
    assert noted == {"reasoning-dropped"}
    assert written("claude-opus-4-8", **fields)[0]["thinking"]["type"] == "adaptive"


# Tools and formats


def test_behaviour_18_tool_choice_is_mapped() -> None:
    """auto, none, required, named, allowed tools; parallel off; forcing where it cannot be forced."""
    tools = (Tool("f"), Tool("g"))
    cases: list[tuple[ToolChoice | None, Any]] = [
        (None, None),
        (ToolChoice("auto"), {"type": "auto"}),
        (ToolChoice("none"), {"type": "none"}),
        (ToolChoice("required"), {"type": "any"}),
        (ToolChoice("named", ("g",)), {"type": "tool", "name": "g"}),
    ]
    for choice, wanted in cases:
        body, noted, _ = written("claude-haiku-4-5", tools=tools, tool_choice=choice)
        assert (body.get("tool_choice"), noted) == (wanted, set())
    body, noted, _ = written(
        "claude-haiku-4-5", tools=(*tools, Tool("h")), tool_choice=ToolChoice("named", ("g", "h"))
    )
    assert [tool["name"] for tool in body["tools"]] == ["g", "h"]
    assert body["tool_choice"] == {"type": "any"}
    assert noted == {"tools-filtered"}
    body, _, _ = written("claude-haiku-4-5", tools=tools, parallel_tool_calls=False)
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    body, noted, _ = written("claude-opus-5-5", tools=tools, tool_choice=ToolChoice("named", ("g",)))
    assert body["tool_choice"] == {"type": "auto"}
    assert [tool["name"] for tool in body["tools"]] == ["g"]
    assert "the tool g" in body["system"]
    assert noted == {"tool_choice-approximated"}


def test_behaviour_19_tool_schemas_keep_their_bytes() -> None:
    """Keys in the caller's order, big numbers whole; only a missing type is added."""
    schema = {
        "properties": {"z": {"const": 12345678901234567890123}, "a": {"type": "string"}},
        "required": ["z"],
    }
    goal = target("claude-haiku-4-5")
    wire = ANTHROPIC.write_request(ChatRequest("m", HI, tools=(Tool("f", "", schema),)), goal, "KEY")
    assert (
        b'"input_schema":{"type":"object","properties":{"z":{"const":12345678901234567890123},'
        b'"a":{"type":"string"}},"required":["z"]}' in wire.body
    )


def test_a_format_that_a_model_lacks_becomes_an_instruction() -> None:
    """json_schema before 4.5 and json_object everywhere: in words, and reported; strict tools likewise dropped."""
    schema = {"type": "object", "properties": {"b": {"type": "string"}}}
    body, noted, _ = written(
        "claude-3-7-sonnet-latest", response_format=ResponseFormat("json_schema", schema)
    )
    assert json.dumps(schema, separators=(",", ":")) in body["system"]
    assert noted == {"response_format-approximated"}
    body, noted, _ = written("claude-opus-5", response_format=ResponseFormat("json_object"))
    assert "JSON object" in body["system"]
    assert noted == {"response_format-approximated"}
    assert written("claude-3-7-sonnet-latest", tools=(Tool("f", strict=True),))[1] == {"strict-dropped"}
    assert written("claude-haiku-4-5", tools=(Tool("f", strict=True),))[0]["tools"][0]["strict"] is True


def test_the_callers_schema_object_is_not_changed() -> None:
    """A fallback may still need it as it was."""
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}}
    copy = json.loads(json.dumps(schema))
    written("claude-haiku-4-5", response_format=ResponseFormat("json_schema", schema))
    assert schema == copy


def test_only_four_cache_breakpoints_are_kept_the_last_ones() -> None:
    """The fifth is refused by Anthropic; the later a breakpoint, the longer the prefix it caches."""
    messages = (
        Message("system", (Text("s", "1h"), Text("t", "1h"))),
        Message("user", (Text("a", "5m"), Text("b"), Text("c", "5m"), Text("d", "5m"))),
    )
    body, noted, _ = written("claude-haiku-4-5", messages=messages)
    assert [("cache_control" in block) for block in body["system"]] == [False, True]
    assert [("cache_control" in block) for block in body["messages"][0]["content"]] == [
        True,
        False,
        True,
        True,
    ]
    assert noted == {"cache_control-dropped"}


# Refusals


def user(*parts: Any) -> dict[str, Any]:
    return {"messages": (Message("system", (Text("s"),)), Message("user", (Text("see"), *parts)))}


@pytest.mark.parametrize(
    ("model", "fields", "code", "param"),
    [
        ("claude-haiku-4-5", {"n": 2}, "n-unsupported", "n"),
        ("claude-haiku-4-5", user(Audio("AAAA", "wav")), "audio-unsupported", "messages[1].content[1]"),
        ("claude-haiku-4-5", user(Image(url="http://e.x/a.png")), "image-url", "messages[1].content[1]"),
        ("claude-haiku-4-5", user(Image(url="gs://e/a.png")), "image-url", "messages[1].content[1]"),
        (
            "claude-haiku-4-5",
            user(Image(data="AAAA", mime="image/heic")),
            "image-format",
            "messages[1].content[1]",
        ),
        ("claude-haiku-4-5", user(Document(file_id="file-abc")), "file-id", "messages[1].content[1]"),
        (
            "claude-haiku-4-5",
            user(Document(url="http://e.x/a.pdf")),
            "document-url",
            "messages[1].content[1]",
        ),
        (
            "claude-haiku-4-5",
            user(Document(data="UEsDBAo=", mime="application/vnd.openxmlformats")),
            "document-format",
            "messages[1].content[1]",
        ),
        (
            "claude-haiku-4-5",
            user(Document(data="/w==", mime="text/plain")),
            "document-format",
            "messages[1].content[1]",
        ),
        (
            "claude-opus-4-6",
            {"messages": (*HI, Message("assistant", (Text("The answer is"),)))},
            "prefill-unsupported",
            "messages[1]",
        ),
        (
            "claude-haiku-4-5",
            {"tools": (Tool("f"),), "tool_choice": ToolChoice("named", ("x",))},
            "tool_choice-unknown",
            "tool_choice",
        ),
    ],
)
def test_what_would_change_the_meaning_is_refused_with_the_field_and_a_remedy(
    model: str, fields: dict[str, Any], code: str, param: str
) -> None:
    """The caller's fault for this target; another target of the chain may take it."""
    rejected = ANTHROPIC.refuse(ChatRequest(**{"model": model, "messages": HI, **fields}), target(model))
    assert rejected is not None
    assert (rejected.code, rejected.param, rejected.caller_fault) == (code, param, True)
    assert rejected.reason.endswith(".")


def test_a_prefill_is_taken_up_to_4_5_and_trimmed() -> None:
    """Trailing blanks are refused by Anthropic; and thinking does not go with a prefill."""
    messages = (*HI, Message("assistant", (Text("The answer is "),)))
    body, noted, _ = written("claude-haiku-4-5", messages=messages, reasoning=Reasoning(effort="high"))
    assert body["messages"][-1] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "The answer is"}],
    }
    assert noted == {"prefill-trimmed", "reasoning-dropped"}


def test_an_image_of_an_assistant_is_dropped_and_said() -> None:
    """Anthropic's assistant turns hold no media (documents there are a 400 since 2026-10-21)."""
    messages = (*HI, Message("assistant", (Text("see"), Image(data=PNG, mime="image/png"))), *HI)
    body, noted, _ = written("claude-haiku-4-5", messages=messages)
    assert [block["type"] for block in body["messages"][1]["content"]] == ["text"]
    assert noted == {"assistant-media-dropped"}


def test_metadata_is_the_gateway_s_own_and_no_loss() -> None:
    """The ledger keeps the caller's metadata; what Anthropic has no word for is still named."""
    extras = {"openai": {"metadata": {"sku": "12"}, "logit_bias": {"1": 2}}}
    body, adjusted, _ = written("claude-haiku-4-5", extras=extras)
    assert "metadata" not in body
    assert adjusted == {"logit_bias-dropped"}


def test_instructions_alone_become_a_question() -> None:
    """Anthropic needs a user turn."""
    body, noted, _ = written("claude-haiku-4-5", messages=(Message("system", (Text("a"), Text("b"))),))
    assert body["system"] == "a"
    assert body["messages"][0]["content"] == [{"type": "text", "text": "b"}]
    assert noted == {"system-as-user"}
    assert written("claude-haiku-4-5", messages=())[0]["messages"][0]["role"] == "user"


# Errors


def body_of(kind: str, message: str = "m", **details: Any) -> bytes:
    error: dict[str, Any] = {"type": kind, "message": message, **({"details": details} if details else {})}
    return json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "public", "code"),
    [
        (400, body_of("invalid_request_error"), UpstreamBadRequest, 400, "invalid_request"),
        (409, body_of("conflict_error"), UpstreamBadRequest, 409, "invalid_request"),
        (422, b"", UpstreamBadRequest, 422, "invalid_request"),
        (422, body_of("invalid_request_error"), UpstreamBadRequest, 422, "invalid_request"),
        (200, body_of("conflict_error"), UpstreamBadRequest, 409, "invalid_request"),
        (401, body_of("invalid_request_error"), UpstreamBadRequest, 400, "invalid_request"),
        (404, body_of("invalid_request_error"), UpstreamBadRequest, 400, "invalid_request"),
        (425, b"", UpstreamFault, 502, "upstream_fault"),
        (401, body_of("authentication_error"), UpstreamAuthFailed, 502, "upstream_credentials_exhausted"),
        (402, body_of("billing_error"), UpstreamAuthFailed, 502, "upstream_credentials_exhausted"),
        (403, body_of("permission_error"), UpstreamAuthFailed, 502, "upstream_credentials_exhausted"),
        (404, body_of("not_found_error", "model: claude-x"), UpstreamNotFound, 404, "model_not_found"),
        (413, body_of("request_too_large"), UpstreamTooLarge, 413, "request_too_large"),
        (429, body_of("rate_limit_error"), UpstreamRateLimited, 429, "rate_limit_exceeded"),
        (500, body_of("api_error"), UpstreamFault, 502, "upstream_fault"),
        (504, body_of("timeout_error"), UpstreamFault, 504, "upstream_fault"),
        (529, body_of("overloaded_error"), UpstreamFault, 503, "upstream_fault"),
        (529, b"", UpstreamFault, 503, "upstream_fault"),
        (408, b"", UpstreamFault, 502, "upstream_fault"),
        (302, b"<html>moved</html>", UpstreamFault, 502, "upstream_fault"),
        (502, b"<html><body>Bad Gateway</body></html>", UpstreamFault, 502, "upstream_fault"),
        (503, b"upstream connect error", UpstreamFault, 503, "upstream_fault"),
        (
            400,
            body_of("invalid_request_error", "Your credit balance is too low to access the API."),
            UpstreamAuthFailed,
            502,
            "upstream_credentials_exhausted",
        ),
    ],
)
def test_behaviour_27_errors_are_classified_by_type_and_status(
    status: int, body: bytes, kind: type[UpstreamError], public: int, code: str
) -> None:
    """Only faults and rate limits are retried; 401-403 rotate the key; 404 drops the endpoint."""
    error = ANTHROPIC.read_error(status, [], body)
    assert type(error) is kind
    assert (error.status, error.code, error.upstream_status) == (public, code, status)
    assert error.retryable == (kind in (UpstreamFault, UpstreamRateLimited))


@pytest.mark.parametrize(
    "body",
    [
        body_of("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        body_of("invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 2"),
        body_of("invalid_request_error", "other words", error_code="context_length_exceeded"),
    ],
)
def test_a_prompt_too_long_may_fall_back_to_another_model(body: bytes) -> None:
    """The one 400 that another model may take."""
    error = ANTHROPIC.read_error(400, [], body)
    assert (error.code, error.falls_back) == ("context_length_exceeded", True)
    loose = ANTHROPIC.read_error(400, [], body_of("invalid_request_error", "I fear the prompt is too long"))
    assert (loose.code, loose.falls_back) == ("invalid_request", False)


def test_behaviour_28_retry_hints_are_read_and_a_spent_quota_is_told_from_a_full_minute() -> None:
    """retry-after, reset times, enforced_spend_limit_reached, x-should-retry."""
    limited = ANTHROPIC.read_error(429, [(b"retry-after", b"7")], body_of("rate_limit_error"))
    assert isinstance(limited, UpstreamRateLimited)
    assert (limited.retry_after_s, limited.quota_exhausted) == (7.0, False)
    spent = ANTHROPIC.read_error(
        429, [], body_of("rate_limit_error", error_code="enforced_spend_limit_reached")
    )
    assert isinstance(spent, UpstreamRateLimited)
    assert spent.quota_exhausted
    final = ANTHROPIC.read_error(529, [(b"x-should-retry", b"false")], body_of("overloaded_error"))
    assert (final.retryable, final.falls_back, final.status) == (False, True, 503)
    assert ANTHROPIC.read_error(529, [(b"x-should-retry", b"true")], b"").retryable


def test_behaviour_13_a_page_instead_of_json_is_one_clean_sentence() -> None:
    """No markup reaches the caller."""
    page = b"<html><script>x</script><body>502</body></html>"
    error = ANTHROPIC.read_error(502, [], page)
    assert "HTML" in error.message
    assert "<" not in error.message
    assert ANTHROPIC.read_error(500, [], b"plain\n\nwords ").message.endswith("plain words")


def test_behaviour_40_no_secret_passes_through_an_error() -> None:
    """Key-like strings are masked, in JSON and in plain text; long messages are cut."""
    secrets = [
        "sk-ant-api03-AbCdEfGhIjKlMnOp",
        "Bearer abc.def-123",
        "x-api-key: hunter2hunter2",
        "AIzaSyA1234567890abcdefghij",
        "a1b2c3d4" * 6,
    ]
    for secret in secrets:
        for body in (body_of("authentication_error", f"bad key {secret} here"), f"denied {secret}".encode()):
            message = ANTHROPIC.read_error(401, [], body).message
            assert secret.split()[-1] not in message
            assert "[masked]" in message
    long = ANTHROPIC.read_error(400, [], body_of("invalid_request_error", "no " * 1_000)).message
    assert len(long) < 600


@settings(max_examples=200, deadline=None)
@given(
    st.integers(100, 599),
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"retry-after", b"retry-after-ms", b"x-should-retry", b"anthropic-ratelimit-x-reset"]
            ),
            st.binary(max_size=12),
        )
    ),
    st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=4),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["error", "type", "message", "details"]), inner)
            ),
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_reading_an_error_never_raises(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Whatever a proxy invents."""
    error = ANTHROPIC.read_error(status, headers, body)
    assert isinstance(error, UpstreamError)
    assert error.message


# Replies


def frames(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


START = {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 3}}}
STOP = {"type": "message_stop"}


def block(index: int, text: str) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": index},
    ]


def ended(reason: str | None, **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}


def reader() -> Any:
    return ANTHROPIC.reader(target("claude-haiku-4-5"), stream=True)


@pytest.mark.parametrize(
    ("native", "text", "why"),
    [
        ("end_turn", "x", "stop"),
        ("stop_sequence", "x", "stop"),
        ("pause_turn", "x", "stop"),
        ("tool_use", "x", "tool_calls"),
        ("max_tokens", "x", "length"),
        ("model_context_window_exceeded", "x", "length"),
        ("refusal", "", "content_filter"),
        ("something_new", "x", "stop"),
        ("something_new", "", "error"),
        (None, "x", "stop"),
        (None, "", "error"),
    ],
)
def test_behaviour_17_every_stop_reason_has_one_honest_meaning(
    native: str | None, text: str, why: str
) -> None:
    """Stream and whole alike; an unknown word is an error unless there is an answer, and stays readable."""
    body = frames(START, *(block(0, text) if text else []), ended(native, output_tokens=2), STOP)
    stopped = fold(play(reader(), [body])).stopped
    assert stopped == Stopped(why, native or "")  # type: ignore[arg-type]
    whole = {
        "type": "message",
        "id": "m",
        "model": "c",
        "content": [{"type": "text", "text": text}],
        "stop_reason": native,
    }
    player = ANTHROPIC.reader(target("claude-haiku-4-5"), stream=False)
    assert fold(play(player, [json.dumps(whole).encode()])).stopped == stopped


def test_behaviour_34_usage_is_cumulative_additive_and_disjoint() -> None:
    """message_delta replaces; input excludes the cache; thinking is taken out of output; None is not 0."""
    first = {
        "input_tokens": 10,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        "output_tokens": 1,
    }
    start = {"type": "message_start", "message": {"id": "m", "model": "c", "usage": first}}
    last = ended("end_turn", output_tokens=20, output_tokens_details={"thinking_tokens": 15})
    usage = fold(play(reader(), [frames(start, *block(0, "x"), last, STOP)])).usage
    assert usage is not None
    assert (usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h) == (10, 5, 3, 4)
    assert (usage.output, usage.reasoning, usage.source, usage.note) == (5, 15, "stream", "")
    assert (usage.prompt_tokens, usage.completion_tokens) == (22, 20)
    odd = {"output_tokens": 5, "output_tokens_details": {"thinking_tokens": 9}}
    start = {"type": "message_start", "message": {"id": "m", "model": "c", "usage": odd}}
    usage = fold(play(reader(), [frames(start, ended("end_turn"), STOP)])).usage
    assert usage is not None
    assert (usage.output, usage.reasoning) == (0, 5)
    assert usage.note == "input_tokens not reported; thinking_tokens 9 of 5 output_tokens"


def test_usage_that_never_came_is_not_invented() -> None:
    """No UsageSeen at all, so that the gateway estimates and says so."""
    start = {"type": "message_start", "message": {"id": "m", "model": "c"}}
    body = frames(start, *block(0, "x"), {**ended("end_turn"), "usage": None}, STOP)
    events = play(reader(), [body])
    assert not any(isinstance(event, UsageSeen) for event in events)
    assert events[-1] == Finished()


def test_a_stop_reason_without_message_stop_is_a_truncation() -> None:
    """Anthropic always sends message_stop."""
    with pytest.raises(UpstreamTruncated):
        play(reader(), [frames(START, *block(0, "x"), ended("end_turn", output_tokens=2))])


@pytest.mark.parametrize(
    "body",
    [
        frames(*block(0, "x")),
        frames(block(0, "x")[1]),
        frames(ended("end_turn")),
        frames(STOP),
        frames(START, ended("end_turn"), *block(0, "x")),
        frames(START, ended("end_turn"), block(0, "x")[1]),
        frames(START) + b"event: content_block_delta\ndata: {broken\n\n",
        frames(START) + b'event: x\ndata: {"type":"content_block_delta","index":"a"}\n\n',
        frames(START) + b'event: x\ndata: {"type":"content_block_delta","delta":{"text":"\xff"}}\n\n',
    ],
)
def test_a_stream_out_of_order_or_unreadable_is_malformed(body: bytes) -> None:
    """Never an unlawful event, never a crash."""
    with pytest.raises(UpstreamMalformed):
        play(reader(), [body])


def test_what_follows_message_stop_is_ignored() -> None:
    """Some proxies add OpenAI's [DONE]."""
    body = (
        frames(START, *block(0, "x"), ended("end_turn"), STOP) + b"data: [DONE]\n\n" + frames(*block(1, "y"))
    )
    assert fold(play(reader(), [body])).text == "x"


def test_a_whole_message_where_a_stream_was_promised_is_read_all_the_same() -> None:
    """Some servers ignore ``stream``; losing a paid answer would help nobody."""
    whole = {
        "type": "message",
        "id": "m",
        "model": "c",
        "content": [{"type": "text", "text": "x"}],
        "stop_reason": "end_turn",
    }
    events = play(reader(), [b" \n", json.dumps(whole).encode()])
    assert TextDelta("x") in events
    assert events[-1] == Finished()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6), st.booleans())
def test_any_bytes_give_events_or_an_upstream_error(chunks: list[bytes], stream: bool) -> None:
    """A reader has no other exit."""
    player = ANTHROPIC.reader(target("claude-haiku-4-5"), stream=stream)
    with pytest.raises(PenstockError):
        play(player, [*chunks, b'data: {"type": "message_stop"}\n\n'])
