"""Reading a caller's request: the envelope."""

import gzip
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.chat import (
    Ask,
    ProviderPreferences,
    Reasoning,
)
from penstock.base.errors import BadRequest
from penstock.base.models import ModelFacts, Target
from penstock.dialects.openai_chat import OPENAI, OPENROUTER, envelope

USER = {"role": "user", "content": "Hello, how are you today?"}


def ask_of(**fields: Any) -> Ask:
    """The envelope of a small request with these fields."""
    return OPENAI.read_request(
        msgspec.json.encode({"model": "openai/gpt-4o-mini", "messages": [USER], **fields})
    )


def refused(**fields: Any) -> BadRequest:
    """The refusal of such a request."""
    with pytest.raises(BadRequest) as caught:
        OPENAI.expand(ask_of(**fields))
    assert caught.value.status == 400
    return caught.value


def parts_of(*content: Any, role: str = "user") -> tuple[Any, ...]:
    """The neutral parts of one message."""
    return OPENAI.expand(ask_of(messages=[{"role": role, "content": list(content)}])).messages[0].parts


def test_the_plain_envelope() -> None:
    body = b'{"messages":[{"role":"user","content":"Hi"}],"model":"m","max_tokens":5}'
    ask = OPENAI.read_request(body)
    assert ask == Ask(
        dialect="openai",
        body=body,
        model="m",
        max_tokens=5,
        input_bytes=len(b'[{"role":"user","content":"Hi"}]'),
        messages=msgspec.Raw(b'[{"role":"user","content":"Hi"}]'),
    )
    assert OPENROUTER.read_request(body).dialect == "openrouter"
    assert OPENROUTER.family == OPENAI.family == "openai"


def test_the_full_envelope() -> None:
    ask = ask_of(
        stream=True,
        stream_options={"include_usage": True},
        max_tokens=10,
        max_completion_tokens=20,
        n=2,
        models=["a/b", "c"],
        fallbacks=["d", {"model": "e"}],
        provider={"order": ["x"], "ignore": ["y"], "allow_fallbacks": False, "sort": "price"},
        metadata={"sku": "12"},
        tools=[{"type": "function", "function": {"name": "f"}}],
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        route="fallback",
    )
    assert (ask.stream, ask.include_usage, ask.max_tokens, ask.n) == (True, True, 20, 2)
    assert (ask.models, ask.fallbacks) == (("a/b", "c"), ("d", "e"))
    assert ask.provider == ProviderPreferences(
        order=("x",), ignore=("y",), allow_fallbacks=False, sort="price"
    )
    assert ask.needs == {"tools", "json_schema"}
    assert ask.metadata == {"sku": "12"}
    assert ask.gateway_fields == ("models", "fallbacks", "provider", "route")


def test_null_is_absent() -> None:
    names = "stream stream_options max_tokens n models fallbacks provider reasoning reasoning_effort"
    names += " include_reasoning metadata tools response_format"
    nulls = dict.fromkeys(names.split())
    ask = ask_of(**nulls)
    assert (ask.stream, ask.reasoning, ask.metadata, ask.needs, ask.n) == (False, None, None, frozenset(), 1)
    assert ask.gateway_fields == ("models", "fallbacks", "provider", "reasoning", "include_reasoning")
    assert OPENAI.expand(ask).reasoning is None


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "line 1, column 1 (byte 0)"),
        (b'{"model":', "line 1, column 10 (byte 9)"),
        (b'{\n  "model": "m",\n  oops\n}', "line 3, column 3 (byte 20)"),
        (b'{"model":"m"} x', "line 1, column 15 (byte 14)"),
        (b'{"model":"\xff"}', "line 1, column 11 (byte 10)"),
        (b'{"model":"a\nb"}', "column"),
        (b'{"model":"m\\ud83d"}', "half of a surrogate pair at line 1, column 12 (byte 11)"),
    ],
)
def test_bad_json_is_refused_with_its_position(body: bytes, place: str) -> None:
    with pytest.raises(BadRequest) as caught:
        OPENAI.read_request(body)
    assert place in caught.value.message
    assert caught.value.code == "invalid_json"


def test_a_compressed_body_is_told_so() -> None:
    """No line and column of bytes that are no text."""
    with pytest.raises(BadRequest) as caught:
        OPENAI.read_request(gzip.compress(b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}'))
    assert (caught.value.code, caught.value.message) == ("invalid_json", "The body is compressed.")
    assert "content-encoding" in caught.value.public()


def test_json_nested_beyond_reason_is_refused() -> None:
    body = b'{"model":"m","messages":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    with pytest.raises(BadRequest, match="nested too deeply"):
        OPENAI.read_request(body)


@pytest.mark.parametrize("body", [b"[1]", b'"x"', b"1", b"null"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="not a JSON object"):
        OPENAI.read_request(body)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": "yes"}, "stream"),
        ({"stream_options": 1}, "stream_options"),
        ({"stream_options": {"include_usage": "x"}}, "stream_options.include_usage"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"model": 3}, "model"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "a text of more than twenty-four bytes"}, "messages"),
        ({"messages": {"role": "user", "content": "not a list"}}, "messages"),
        ({"tools": {"type": "function"}}, "tools"),
        ({"response_format": "json"}, "response_format"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
    ],
)
def test_a_wrong_field_is_named_with_its_remedy(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        ask_of(**fields)
    assert caught.value.param == param
    assert caught.value.hint


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"fallbacks": "a"}, "fallbacks"),
        ({"fallbacks": [1]}, "fallbacks[0]"),
        ({"fallbacks": ["a", {}]}, "fallbacks[1]"),
        ({"fallbacks": [{"model": "a", "params": {}}]}, "fallbacks[0]"),
        ({"fallbacks": [""]}, "fallbacks[0]"),
        ({"models": "a"}, "models"),
        ({"models": [None]}, "models[0]"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"provider": []}, "provider"),
        ({"provider": {"order": "x"}}, "provider.order"),
        ({"provider": {"allow_fallbacks": "no"}}, "provider.allow_fallbacks"),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"reasoning": {"max_tokens": -2}}, "reasoning.max_tokens"),
        ({"reasoning": {"max_tokens": "1"}}, "reasoning.max_tokens"),
        ({"reasoning": {"effort": "high", "max_tokens": 5}}, "reasoning"),
        ({"reasoning": {"max_tokens": 5}, "reasoning_effort": "low"}, "reasoning"),
        ({"reasoning": {"effort": "high"}, "reasoning_effort": "low"}, "reasoning_effort"),
        ({"reasoning": {"effort": "high", "enabled": False}}, "reasoning.enabled"),
        ({"reasoning": {"max_tokens": 0, "enabled": True}}, "reasoning.enabled"),
        ({"reasoning_effort": "max-ish"}, "reasoning_effort"),
    ],
)
def test_behaviour_23_malformed_routing_fields_are_refused_never_ignored(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        ask_of(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"reasoning": {}}, None),
        ({"include_reasoning": True}, None),
        ({"thinking": {"type": "enabled"}}, None),
        ({"reasoning_effort": "low"}, Reasoning(effort="low", param="reasoning_effort")),
        ({"reasoning": {"effort": "none"}}, Reasoning(effort="none")),
        ({"reasoning": {"max_tokens": -1}}, Reasoning(max_tokens=-1)),
        ({"reasoning": {"max_tokens": 0}}, Reasoning(max_tokens=0)),
        ({"reasoning": {"max_tokens": 24576, "exclude": True}}, Reasoning(max_tokens=24576, exclude=True)),
        ({"reasoning": {"enabled": True}}, Reasoning(enabled=True)),
        ({"reasoning": {"enabled": False}}, Reasoning(enabled=False)),
        ({"include_reasoning": False}, Reasoning(exclude=True)),
        ({"reasoning": {"exclude": False}, "include_reasoning": False}, None),
        ({"reasoning": {"effort": "high"}, "reasoning_effort": "high"}, Reasoning(effort="high")),
        ({"reasoning": {"effort": "high", "summary": "auto"}}, Reasoning(effort="high")),
    ],
)
def test_reasoning_in_its_three_spellings(fields: dict[str, Any], expected: Reasoning | None) -> None:
    assert ask_of(**fields).reasoning == expected


def test_asking_only_to_exclude_reasoning_asks_for_none() -> None:
    assert OPENAI.expand(ask_of(reasoning={"exclude": True})).reasoning is None


@pytest.mark.parametrize(
    ("part", "need"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x.example/1.png"}}, "image"),
        ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}, "audio"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "document"),
    ],
)
def test_needs_are_read_from_parts_not_from_words(part: dict[str, Any], need: str) -> None:
    assert ask_of(messages=[{"role": "user", "content": [part]}]).needs == {need}
    words = 'a "type": "image_url" and "input_audio" and "file" in a text'
    assert ask_of(messages=[{"role": "user", "content": words}]).needs == frozenset()
    said = {"type": "text", "text": "image_url"}
    assert ask_of(messages=[{"role": "user", "content": [said]}]).needs == frozenset()


def test_a_picture_s_base64_is_not_counted_as_words() -> None:
    url = "data:image/png;base64," + "A" * 500_000
    image = {"type": "image_url", "image_url": {"url": url}}
    ask = ask_of(messages=[{"role": "user", "content": [{"type": "text", "text": "x" * 100}, image]}])
    assert 1000 < ask.input_bytes < 1400


@pytest.mark.parametrize("metadata", [["x"], {"a": 1}, "x", 5])
def test_metadata_that_is_no_object_of_strings_is_left_to_the_upstream(metadata: Any) -> None:
    assert ask_of(metadata=metadata).metadata is None


@given(st.binary(max_size=60))
def test_no_body_can_crash_the_reader(body: bytes) -> None:
    with pytest.raises(BadRequest):
        OPENAI.read_request(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_FIELDS = [
    "messages",
    "tools",
    "tool_choice",
    "response_format",
    "reasoning",
    "provider",
    "fallbacks",
    "models",
]


@given(
    st.dictionaries(st.sampled_from([*_FIELDS, "metadata", "stop", "stream_options", "n"]), _JSON, max_size=4)
)
def test_any_field_of_any_shape_is_read_or_refused_by_name(fields: dict[str, Any]) -> None:
    named = ""
    try:
        OPENAI.expand(ask_of(**fields))
    except BadRequest as error:
        named = error.param or ""
    else:
        named = "read"
    assert named


def test_behaviour_22_a_body_of_twenty_megabytes_is_read_and_spliced_unharmed() -> None:
    picture = b'{"type":"image_url","image_url":{"url":"data:image/png;base64,' + b"A" * 20_000_000 + b'"}}'
    body = b'{"model":"openai/m","messages":[{"role":"user","content":[' + picture + b']}],"stream":true}'
    ask = OPENAI.read_request(body)
    assert ask.needs == {"image"}
    assert ask.input_bytes < 2000
    target = Target("openai", "m", "openai", ModelFacts("openai", "m"))
    out = OPENAI.splice_request(ask, target, "k").body
    assert picture in out
    assert len(out) == len(body) - len(b"openai/") + len(b',"stream_options":{"include_usage":true}')


def test_the_gateway_s_fields_stand_together_at_the_envelope_s_end() -> None:
    """``read_envelope`` looks at all of them in one comparison."""
    names = envelope._Envelope.__struct_fields__
    assert names[-len(envelope.GATEWAY_FIELDS) :] == envelope.GATEWAY_FIELDS
