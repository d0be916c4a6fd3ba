"""Anthropic's callers, read: both API versions, what is refused and why, what is told; and pass-through of requests."""

import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.chat import Document, Image, Reasoning, Text, Thinking, ToolChoice
from penstock.base.errors import (
    BadRequest,
    BudgetRefused,
    Draining,
    Forbidden,
    NotFound,
    PenstockError,
    RateLimited,
    Unauthenticated,
    UpstreamBadRequest,
    UpstreamFault,
    UpstreamTimeout,
    UpstreamTooLarge,
)
from penstock.dialects import CALLERS, UPSTREAMS
from penstock.dialects.anthropic import ANTHROPIC
from penstock.dialects.anthropic.carried import Carried, read_carried, write_carried
from penstock.dialects.anthropic.shapes import FORMAT
from penstock.wire.http import WireRequest, header
from tests.dialects import messages_kit as kit
from tests.dialects.messages_kit import HELLO, ask_of, expanded, target

NEW, OLD = "2026-10-21", "2023-06-01"
PDF = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLg=="},
}
TOOL = {"name": "now", "input_schema": {"type": "object"}}


def user(*blocks: Any) -> dict[str, Any]:
    return {**HELLO, "messages": [{"role": "user", "content": list(blocks)}]}


def loop(result: dict[str, Any], call_id: str = "t1") -> dict[str, Any]:
    """One call and its result."""
    call = {"type": "tool_use", "id": "t1", "name": "now", "input": {}}
    return {
        **HELLO,
        "tools": [TOOL],
        "messages": [
            {"role": "user", "content": "time?"},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call_id, **result}]},
        ],
    }


def spliced(body: Any, *, version: str = "", betas: str = "", **more: Any) -> WireRequest:
    goal = target("anthropic", more.pop("model", "claude-haiku-4-5"), **more)
    return ANTHROPIC.splice_request(ask_of(body, version, betas), goal, "KEY")


# The envelope.


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": {}}, "messages"),
        ({"stream": 1}, "stream"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": "x"}}, "thinking.budget_tokens"),
        ({"fallbacks": [{"model": "a", "weight": 2}]}, "fallbacks[0]"),
    ],
)
def test_what_is_wrong_is_named_with_a_remedy(change: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        ask_of({**HELLO, **change})
    assert caught.value.param == param
    assert caught.value.hint


@pytest.mark.parametrize("body", [b"", b"[]", b'{"model":', b'{"model":"a\xff"}', b"[" * 100_000])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        ask_of(body)


def test_an_unknown_version_is_refused_and_none_is_the_older() -> None:
    with pytest.raises(BadRequest) as caught:
        ask_of(HELLO, "2099-01-01")
    assert caught.value.param == "anthropic-version"
    assert ask_of({**HELLO, "temperature": 0.5}).version == ""


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({**HELLO, "temperature": 1}, "temperature"),
        ({**HELLO, "top_p": 1}, "top_p"),
        ({**HELLO, "top_k": 5}, "top_k"),
        ({**HELLO, "messages": [{"role": "assistant", "content": [PDF]}]}, "messages.0.content.0"),
        (user({"type": "text", "text": "a", "citations": [{}]}), "messages.0.content.0.citations"),
    ],
)
def test_each_version_keeps_its_rules(body: dict[str, Any], param: str) -> None:
    """2026-10-21 refuses, even a default value; 2023-06-01 takes it all."""
    with pytest.raises(BadRequest) as caught:
        ask_of(body, NEW)
    assert caught.value.param == param
    assert ask_of(body, OLD).model == HELLO["model"]


def test_what_the_newer_version_does_not_mind() -> None:
    assert ask_of(user({"type": "text", "text": "a", "citations": []}, PDF), NEW).needs == {"document"}


def test_needs_and_size_are_what_the_model_reads() -> None:
    """A picture's base64 is not; one inside a tool's answer is a picture too; a quoted word is none."""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 9000}}
    ask = ask_of({**user(picture), "system": "x" * 500, "tools": [TOOL]})
    assert ask.needs == {"image", "tools"}
    assert 1500 < ask.input_bytes < 2500
    assert ask_of(loop({"content": [picture]})).needs == {"image", "tools"}
    assert ask_of(user({"type": "text", "text": '"source" and "image"'})).needs == frozenset()
    shape = {"format": {"type": "json_schema", "schema": {}}}
    assert ask_of({**HELLO, "output_config": shape}).needs == {"json_schema"}


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, Reasoning(max_tokens=2048)),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 9, "display": "omitted"}},
            Reasoning(max_tokens=9, exclude=True),
        ),
        ({"thinking": {"type": "adaptive"}}, Reasoning(max_tokens=-1)),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, Reasoning(effort="max")),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, Reasoning(effort="none")),
        ({"output_config": {"effort": "low"}}, Reasoning(effort="low")),
        ({"thinking": {"type": "of-next-year"}}, None),
    ],
)
def test_thinking_is_one_wish(fields: dict[str, Any], wanted: Reasoning | None) -> None:
    got = ask_of({**HELLO, **fields}).reasoning
    assert (got and msgspec.structs.replace(got, param="reasoning")) == wanted


def test_a_gateways_own_fields_are_read_and_taken_out() -> None:
    fields: dict[str, Any] = {
        "models": ["a/b"],
        "fallbacks": ["c/d", {"model": "e/f"}],
        "provider": {"only": ["x"], "allow_fallbacks": False},
    }
    ask = ask_of({**HELLO, **fields, "metadata": {"user_id": "u-1"}})
    assert (ask.models, ask.fallbacks, ask.user) == (("a/b",), ("c/d", "e/f"), "u-1")
    assert ask.provider is not None
    assert (ask.provider.only, ask.provider.allow_fallbacks) == (("x",), False)
    assert not fields.keys() & json.loads(spliced({**HELLO, **fields}).body).keys()
    assert not fields.keys() & expanded(ask).extras.get("anthropic", {}).keys()


# The neutral form.


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({**HELLO, "max_tokens": 0}, "max_tokens"),
        ({**HELLO, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.type"),
        (user({"type": "container_upload", "file_id": "file_1"}), "messages.0.content.0.type"),
        (
            user({"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
            "messages.0.content.0.source",
        ),
        (user({"type": "image"}), "messages.0.content.0.source"),
        (user({"type": "document", "source": {"type": "ftp"}}), "messages.0.content.0.source.type"),
        ({**HELLO, "messages": [{"role": "user", "content": ""}]}, "messages.0.content"),
        (loop({"content": "x"}, "t2"), "messages.2.content.0.tool_use_id"),
        (loop({"content": 7}), "messages.2.content.0.content"),
        ({**HELLO, "tool_choice": {"type": "tool"}}, "tool_choice"),
        ({**HELLO, "system": [{"type": "image"}]}, "system.0"),
        ({**HELLO, "messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({**HELLO, "messages": [{"role": "system", "content": [PDF]}]}, "messages.0.content.0"),
    ],
)
def test_what_only_anthropic_can_take_is_refused_for_others(body: dict[str, Any], param: str) -> None:
    """For a translation; Anthropic itself gets it as it is."""
    with pytest.raises(BadRequest) as caught:
        expanded(ask_of(body))
    assert caught.value.param == param
    assert spliced(body).body == json.dumps(body, separators=(",", ":")).encode().replace(
        b"anthropic/claude", b"claude"
    )


def test_the_places_of_files() -> None:
    """By data, by URL, by id; a text's own words; blocks within."""
    parts = (
        expanded(
            ask_of(
                user(
                    {
                        "type": "document",
                        "source": {"type": "url", "url": "https://a/b.pdf"},
                        "title": "b.pdf",
                    },
                    {"type": "document", "source": {"type": "file", "file_id": "file_9"}},
                    {"type": "document", "source": {"type": "content", "content": "words"}, "title": "T"},
                    {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
                )
            )
        )
        .messages[0]
        .parts
    )
    assert parts == (
        Document(url="https://a/b.pdf", filename="b.pdf"),
        Document(file_id="file_9"),
        Text("T"),
        Text("words"),
        Image(url="https://a/b.png"),
    )


def test_a_system_message_may_stand_in_the_middle() -> None:
    """As the SDK's types have it; as text or as blocks."""
    late = [
        {"role": "system", "content": "brief"},
        {"role": "system", "content": [{"type": "text", "text": "b"}]},
    ]
    request = expanded(ask_of({**HELLO, "messages": [*HELLO["messages"], *late]}))
    assert [(one.role, one.parts) for one in request.messages[1:]] == [
        ("system", (Text("brief"),)),
        ("system", (Text("b"),)),
    ]


def test_a_document_in_a_tools_answer_stands_beside_it() -> None:
    request = expanded(ask_of(loop({"content": [{"type": "text", "text": "see"}, PDF], "is_error": True})))
    tool, beside = request.messages[-2:]
    assert (tool.role, tool.parts[0].text, tool.parts[0].is_error) == ("tool", "see", True)  # type: ignore[union-attr]
    assert [type(part) for part in beside.parts] == [Document]
    assert "tool_result.document-moved" in request.adjusted


@pytest.mark.parametrize(
    ("choice", "wanted", "parallel"),
    [
        (None, None, None),
        ({"type": "auto"}, ToolChoice("auto"), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice("required"), False),
        ({"type": "tool", "name": "now"}, ToolChoice("named", ("now",)), None),
        ({"type": "none"}, ToolChoice("none"), None),
    ],
)
def test_tool_choices(choice: Any, wanted: ToolChoice | None, parallel: bool | None) -> None:
    request = expanded(ask_of({**HELLO, "tools": [TOOL], "tool_choice": choice}))
    assert (request.tool_choice, request.parallel_tool_calls) == (wanted, parallel)


def test_what_is_lost_is_said() -> None:
    body = {
        **HELLO,
        "metadata": {"user_id": "u", "team": "t"},
        "output_config": {"effort": "low", "task_budget": {"type": "tokens"}},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "container": "c",
    }
    wire = kit.written(ask_of(body, OLD, "a-1,b-2"), "openai")
    words = {*expanded(ask_of(body)).adjusted, *wire.adjusted}
    assert words >= {
        "metadata.team-dropped",
        "output_config.task_budget-dropped",
        "output_config.effort-dropped",
        "container-dropped",
        "anthropic-beta-dropped",
    }


@given(st.text(min_size=1), st.text(min_size=1), st.text())
def test_a_proof_comes_back_as_it_was(proof: str, whose: str, tool_id: str) -> None:
    """Any text in any of the three; what is Anthropic's own goes bare."""
    carried = write_carried(proof, whose, tool_id)
    assert read_carried(carried) == Carried(proof, whose, tool_id)
    assert read_carried(write_carried("c2ln", FORMAT)) == Carried("c2ln", FORMAT)


@pytest.mark.parametrize("signature", ["penstock.1.", "penstock.1.x", "penstock.1.x.y"])
def test_a_broken_mark_is_nobodys_proof(signature: str) -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": signature}
    body = {**HELLO, "messages": [{"role": "assistant", "content": [block]}]}
    assert expanded(ask_of(body)).messages[0].parts == (Thinking("hm"),)


SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=6)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "metadata",
    "stop_sequences",
]
BLOCK = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["text", "image", "document", "thinking", "tool_use", "tool_result", "search_result"]
        )
    },
    optional=dict.fromkeys(
        ("text", "source", "content", "input", "signature", "citations", "title"), ANYTHING
    ),
)


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=3), st.sampled_from(["", OLD, NEW]))
def test_any_field_of_any_shape_is_read_or_refused_by_name(fields: dict[str, Any], version: str) -> None:
    """Never an exception of another kind."""
    try:
        ask = ask_of({**HELLO, **fields}, version)
        expanded(ask)
    except BadRequest as error:
        assert error.message


@given(st.lists(BLOCK, max_size=4), st.sampled_from(["user", "assistant"]))
def test_any_block_of_any_shape_is_read_or_refused(blocks: list[Any], role: str) -> None:
    body = {**HELLO, "messages": [{"role": role, "content": blocks}, {"role": "user", "content": "so?"}]}
    try:
        ask = ask_of(body, NEW)
        expanded(ask)
        for dialect in kit.MODELS:
            if UPSTREAMS[dialect].refuse(expanded(ask), target(dialect)) is None:
                assert kit.written(ask, dialect).body
    except BadRequest as error:
        assert error.message


# Pass-through.


def test_what_goes_through_keeps_its_spelling() -> None:
    """Order, spaces, numbers, unknown fields; only the model's name is ours."""
    body = b'{ "zeta": 1.50, "messages" : [{"role":"user","content":"\\u00e9"}],\n "max_tokens":10 , "model": "a/b"}'
    assert spliced(body, model="b").body == body.replace(b'"a/b"', b'"b"')
    assert spliced(body, model="a/b").body == body


def test_versions_and_betas_go_on() -> None:
    wire = spliced(HELLO, version=NEW, betas="x-1, y-2")
    assert header(wire.headers, b"anthropic-version") == NEW.encode()
    assert header(wire.headers, b"anthropic-beta") == b"x-1, y-2"
    assert header(spliced(HELLO).headers, b"anthropic-version") == OLD.encode()
    pinned = spliced(HELLO, version=NEW, options={"api_version": OLD})
    assert header(pinned.headers, b"anthropic-version") == OLD.encode()
    assert header(wire.headers, b"x-api-key") == b"KEY"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b","max_tokens":1,"messages":[{"role":"user","content":"x"}]}',
        b'{"model":"a","Model":"b","max_tokens":1,"messages":[{"role":"user","content":"x"}]}',
    ],
)
def test_a_key_that_readers_disagree_about_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        spliced(body)
    assert caught.value.code in ("duplicate_field", "ambiguous_field")


@pytest.mark.parametrize(
    ("overrides", "change", "adjusted", "version"),
    [
        ({"max_tokens": 7}, {"max_tokens": 7}, (), NEW),
        ({"max_completion_tokens": 7}, {"max_tokens": 7}, (), NEW),
        ({"temperature": 0.2}, {"temperature": 0.2}, (), OLD),
        ({"stop": "X", "user": "u"}, {"stop_sequences": ["X"], "metadata": {"user_id": "u"}}, (), NEW),
        ({"seed": 7}, {}, ("seed-dropped",), NEW),
        ({"inference_geo": "eu"}, {"inference_geo": "eu"}, (), NEW),
        (
            {"reasoning_effort": "low"},
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1124},
            ("max_tokens-raised",),
            NEW,
        ),
    ],
)
def test_a_targets_own_parameters_are_put_in_by_anthropics_names(
    overrides: dict[str, Any], change: dict[str, Any], adjusted: tuple[str, ...], version: str
) -> None:
    wire = spliced(HELLO, version=NEW, overrides=overrides)
    assert json.loads(wire.body) == {**HELLO, "model": "claude-haiku-4-5", **change}
    assert wire.adjusted == adjusted
    assert header(wire.headers, b"anthropic-version") == version.encode()


def test_words_that_look_like_our_mark_stay() -> None:
    """Only thoughts are taken out: a user who quotes the mark is quoted."""
    body = user({"type": "text", "text": "what is penstock.1.google?"})
    assert json.loads(spliced(body).body)["messages"] == body["messages"]
    assert spliced(body).adjusted == ()


def test_a_message_of_foreign_thoughts_alone_goes() -> None:
    thought = {"type": "redacted_thinking", "data": "penstock.1.openai-responses-v1..x"}
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": [thought]}]
    wire = spliced({**HELLO, "messages": [*turns, {"role": "user", "content": "b"}]})
    assert [turn["content"] for turn in json.loads(wire.body)["messages"]] == ["a", "b"]
    assert wire.adjusted == ("thinking-dropped",)


# Counting.


@pytest.mark.parametrize("dialect", ["anthropic", "gemini", "vertex"])
def test_a_count_asks_for_what_would_be_sent(dialect: str) -> None:
    """Without what a count does not take; and what comes back is read."""
    body = {**HELLO, "system": "be brief", "tools": [TOOL], "stop_sequences": ["x"], "temperature": 0.5}
    goal = target(dialect, kit.MODELS.get(dialect, "gemini-3-flash"), options={"project": "p"})
    wire = UPSTREAMS[dialect].count_request(expanded(ask_of(body)), goal, "KEY")  # type: ignore[attr-defined]
    sent = json.loads(wire.body)
    if dialect == "anthropic":
        assert wire.path == b"/v1/messages/count_tokens"
        assert sent.keys() == {"model", "messages", "system", "tools"}
    else:
        assert wire.path.endswith(b":countTokens")
        inner = sent if dialect == "vertex" else sent["generateContentRequest"]
        assert inner.keys() >= {"contents", "systemInstruction", "tools"}
        assert "store" not in inner
    reply = b'{"input_tokens": 7}' if dialect == "anthropic" else b'{"totalTokens": 7}'
    assert UPSTREAMS[dialect].read_count(reply) == 7  # type: ignore[attr-defined]


def test_a_count_of_the_callers_own_bytes() -> None:
    caller = ask_of({**HELLO, "stream": True, "top_k": 3, "unknown": 1}, counting=True)
    wire = ANTHROPIC.splice_request(caller, target("anthropic"), "KEY")
    assert (wire.path, caller.stream) == (b"/v1/messages/count_tokens", False)
    assert json.loads(wire.body).keys() == {"model", "messages", "unknown"}
    assert ask_of({key: HELLO[key] for key in ("model", "messages")}, counting=True).max_tokens is None


# Errors.


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (BadRequest("x", param="model"), 400, "invalid_request_error"),
        (Unauthenticated("x"), 401, "authentication_error"),
        (BudgetRefused("x"), 402, "billing_error"),
        (Forbidden("x"), 403, "permission_error"),
        (NotFound("x"), 404, "not_found_error"),
        (UpstreamTooLarge("x"), 413, "request_too_large"),
        (RateLimited("x"), 429, "rate_limit_error"),
        (UpstreamFault("x"), 502, "api_error"),
        (UpstreamFault("x", status=503), 529, "overloaded_error"),
        (Draining("x"), 503, "overloaded_error"),
        (UpstreamTimeout("x", phase="idle"), 504, "timeout_error"),
        (UpstreamBadRequest("x", code="context_length_exceeded"), 400, "invalid_request_error"),
    ],
)
def test_our_errors_are_anthropics(error: PenstockError, status: int, kind: str) -> None:
    caller: Any = CALLERS["anthropic"]
    body = json.loads(caller.write_error(error, "gen-1"))
    assert caller.status_of(error) == status
    assert (body["type"], body["request_id"]) == ("error", "gen-1")
    assert (body["error"]["type"], body["error"]["details"]["error_code"]) == (kind, error.code)
    assert body["error"]["message"].startswith("prompt is too long") is (
        error.code == "context_length_exceeded"
    )
    frame = caller.write_stream_error(error, "gen-1")
    assert kit.frames(frame) == [body]


def test_a_large_document_is_not_copied_to_be_understood() -> None:
    """Reading the envelope costs none of its size, passing it through one copy."""
    document = {**PDF, "source": {**PDF["source"], "data": "JVBERi0x" * 500_000}}  # type: ignore[dict-item]
    body = json.dumps(user(document)).encode()
    tracemalloc.start()
    try:
        ask = ask_of(body)
        read_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        wire = ANTHROPIC.splice_request(ask, target("anthropic", "x"), "KEY")
        passed_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(wire.body) > 4_000_000
    assert ask.needs == {"document"}
    assert read_bytes < len(body) / 10
    assert passed_bytes < len(body) * 1.5
