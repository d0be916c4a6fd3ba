"""Pass-through of a request: what changes, and that nothing else does."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import BadRequest
from penstock.base.models import ModelFacts, Target
from penstock.config.catalogue import Catalogue
from penstock.dialects.openai_chat import OPENAI, forward
from penstock.wire.http import WireRequest, header

BODY = (
    b'{ "messages": [{"role":"user","content":"Hi \\u00e9 there"}],\n  "model" : "openai/gpt-4o-mini",'
    b' "temperature": 1.10, "x_unknown": {"z":1, "a":[1,2 ]} }'
)


def target(model: str = "gpt-4o-mini", provider: str = "openai", **more: Any) -> Target:
    """A target without facts, unless ``facts`` are given."""
    given = more.pop("facts", {})
    facts = ModelFacts(provider, model, source="test" if given else "", **given)
    return Target(provider, model, "openai", facts, **more)


def spliced(body: bytes | dict[str, Any], to: Target | None = None) -> WireRequest:
    """The upstream's request for a caller's body."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return OPENAI.splice_request(OPENAI.read_request(raw), to or target(), "sk-secret")


def sent(to: Target | None = None, **fields: Any) -> dict[str, Any]:
    """The upstream's body, decoded, for a small request with these fields."""
    base = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hello there, friend"}]}
    return json.loads(spliced({**base, **fields}, to).body)


def test_only_the_model_s_name_changes() -> None:
    request = spliced(BODY)
    assert request.body == BODY.replace(b'"openai/gpt-4o-mini"', b'"gpt-4o-mini"')
    assert (request.method, request.path, request.adjusted) == (b"POST", b"/chat/completions", ())


def test_a_body_that_needs_no_change_is_the_caller_s_own() -> None:
    body = BODY.replace(b"openai/gpt-4o-mini", b"gpt-4o-mini")
    assert spliced(body).body is body


@pytest.mark.parametrize(
    "name", ["Model", "MODEL", "Messages", "meſſages", "Stream", "STREAM_options", "Max_Tokens"]
)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("asked", ["openai/gpt-4o-mini", "gpt-4o-mini"])
def test_a_field_that_some_readers_take_for_another_is_refused(name: str, first: bool, asked: str) -> None:
    """Go's decoder ignores case: one model would be billed, and another one served."""
    fields: dict[str, Any] = {
        "model": asked,
        "messages": [{"role": "user", "content": "Hello there, friend"}],
    }
    body = {name: "gpt-4o", **fields} if first else {**fields, name: "gpt-4o"}
    with pytest.raises(BadRequest) as caught:
        spliced(body, target(overrides={"x": 1}) if "ſ" in name else None)
    assert (caught.value.code, caught.value.param) == ("ambiguous_field", name)


def test_upper_case_elsewhere_is_no_matter() -> None:
    body = b'{"model":"Org/MODEL","messages":[{"role":"user","content":"\\"Model\\""}],"X":{"Model":"a"},"user":"Model"}'
    assert b'"gpt-4o-mini"' in spliced(body).body
    assert b'"X":{"Model":"a"},"user":"Model"' in spliced(body).body


def test_headers() -> None:
    request = spliced(BODY)
    assert header(request.headers, b"authorization") == b"Bearer sk-secret"
    assert header(request.headers, b"content-type") == b"application/json"
    assert header(request.headers, b"accept") == b"application/json"
    assert header(request.headers, b"accept-encoding") == b"identity"
    assert "sk-secret" not in repr(request)
    streamed = spliced(BODY[:-2] + b',"stream":true}')
    assert header(streamed.headers, b"accept") == b"text/event-stream"
    keyless = OPENAI.splice_request(OPENAI.read_request(BODY), target(), "")
    assert header(keyless.headers, b"authorization") is None


def test_headers_of_one_call_are_not_those_of_the_next() -> None:
    first, second = spliced(BODY), spliced(BODY)
    first.headers.append((b"x", b"y"))
    assert header(second.headers, b"x") is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", '{"include_usage":true}'),
        (',"stream_options":null', '{"include_usage":true}'),
        (',"stream_options":{}', '{"include_usage":true}'),
        (',"stream_options":{"include_usage":false}', '{"include_usage":true}'),
        (
            ',"stream_options":{ "include_obfuscation": false }',
            '{ "include_obfuscation": false,"include_usage":true }',
        ),
        (',"stream_options":{"include_usage":true}', '{"include_usage":true}'),
    ],
)
def test_behaviour_08_usage_is_asked_for_in_every_stream(options: str, expected: str) -> None:
    body = BODY[:-2] + b',"stream":true' + options.encode() + b"}"
    out = spliced(body).body
    assert f'"stream_options":{expected}'.encode() in out
    assert json.loads(out)["stream_options"]["include_usage"] is True
    for untouched in (b'"content":"Hi \\u00e9 there"', b'"temperature": 1.10', b'{"z":1, "a":[1,2 ]}'):
        assert untouched in out


def test_usage_is_not_asked_for_where_there_is_no_stream() -> None:
    assert "stream_options" not in sent()
    assert "stream_options" not in sent(stream=False)


def test_behaviour_19_order_of_keys_and_spelling_survive_every_edit() -> None:
    body = BODY[:-2] + b',"models":["a"],"max_tokens": 7,"stream":true,"fallbacks":[],"seed":1E2}'
    out = spliced(body, target("gpt-5-mini", overrides={"top_p": 0.5, "temperature": 0.25})).body
    assert list(json.loads(out)) == [
        *["messages", "model", "temperature", "x_unknown", "max_completion_tokens", "stream", "seed"],
        *["top_p", "stream_options"],
    ]
    assert b'"seed":1E2' in out
    assert b'"x_unknown": {"z":1, "a":[1,2 ]}' in out
    assert b'"temperature": 0.25' in out


def test_behaviour_20_unknown_parameters_pass() -> None:
    assert sent(foo={"bar": [1]}, logit_bias={"1": 2})["foo"] == {"bar": [1]}


@pytest.mark.parametrize(
    ("to", "fields", "expected"),
    [
        (target("gpt-5"), {"max_tokens": 5}, {"max_completion_tokens": 5}),
        (target("o3-mini"), {"max_tokens": 5}, {"max_completion_tokens": 5}),
        (target("o1", "azure"), {"max_tokens": 5}, {"max_completion_tokens": 5}),
        (target("gpt-4o-mini"), {"max_tokens": 5}, {"max_tokens": 5}),
        (target("gpt-5", "my-vllm"), {"max_tokens": 5}, {"max_tokens": 5}),
        (target("m", "ollama"), {"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
        (target("m", facts={"cap_name": "max_tokens"}), {"max_completion_tokens": 5}, {"max_tokens": 5}),
        (
            target("m", facts={"cap_name": "max_tokens"}),
            {"max_tokens": 9, "max_completion_tokens": 5},
            {"max_tokens": 5},
        ),
        (
            target("m", facts={"cap_name": "max_tokens"}),
            {"max_tokens": 9, "max_completion_tokens": None},
            {"max_tokens": 9},
        ),
        (target("gpt-5"), {"max_tokens": 9, "max_completion_tokens": 5}, {"max_completion_tokens": 5}),
        (target("gpt-5", overrides={"max_tokens": 3}), {"max_tokens": 9}, {"max_completion_tokens": 3}),
        (target("gpt-5", overrides={"max_tokens": 3}), {}, {"max_completion_tokens": 3}),
        (
            target("x", "local", overrides={"max_tokens": 3}),
            {"max_completion_tokens": 9},
            {"max_tokens": 3},
        ),
    ],
)
def test_behaviour_21_a_cap_is_renamed_or_kept_never_lost(
    to: Target, fields: dict[str, Any], expected: dict[str, int]
) -> None:
    out = sent(to, **fields)
    assert {name: out[name] for name in ("max_tokens", "max_completion_tokens") if name in out} == expected


GATEWAY: dict[str, Any] = {
    "models": ["a"],
    "fallbacks": ["b"],
    "provider": {"order": ["x"], "zdr": True, "options": {}, "sort": "price"},
    "reasoning": {"max_tokens": 1000},
    "include_reasoning": True,
    "route": "fallback",
    "transforms": [],
    "plugins": [{"id": "web"}],
    "usage": {"include": True},
    "cache_control": {"type": "ephemeral"},
    "penstock": {},
}


def test_fields_that_only_a_gateway_reads_are_taken_out_and_losses_are_said() -> None:
    request = spliced(
        {"model": "m", "messages": [{"role": "user", "content": "Hello there, you"}], **GATEWAY}
    )
    assert set(json.loads(request.body)) == {"model", "messages", "reasoning_effort"}
    assert set(request.adjusted) == {
        "provider.options-dropped",
        "transforms-dropped",
        "plugins-dropped",
        "cache_control-dropped",
        "reasoning.max_tokens-approximated",
    }


def test_fields_that_the_upstream_knows_go_through_as_they_are() -> None:
    knows = target("m", "openrouter", options={"passthrough_fields": ",".join(GATEWAY)})
    request = spliced(
        {"model": "m", "messages": [{"role": "user", "content": "Hi there, you all"}], **GATEWAY}, knows
    )
    assert {name: json.loads(request.body)[name] for name in GATEWAY} == GATEWAY
    assert request.adjusted == ()


@pytest.mark.parametrize(
    ("reasoning", "effort", "adjusted"),
    [
        ({"effort": "high"}, "high", ()),
        ({"effort": "none"}, "none", ()),
        ({"enabled": True}, "medium", ()),
        ({"enabled": False}, "none", ()),
        ({"max_tokens": 0}, "none", ()),
        ({"max_tokens": -1}, "medium", ("reasoning.max_tokens-approximated",)),
        ({"max_tokens": 500}, "low", ("reasoning.max_tokens-approximated",)),
        ({"max_tokens": 9000}, "medium", ("reasoning.max_tokens-approximated",)),
        ({"max_tokens": 24576}, "high", ("reasoning.max_tokens-approximated",)),
        ({"effort": "low", "exclude": True}, "low", ("reasoning.exclude-dropped",)),
        ({"exclude": True}, None, ("reasoning.exclude-dropped",)),
        ({}, None, ()),
    ],
)
def test_reasoning_becomes_an_effort_where_nothing_else_is_known(
    reasoning: dict[str, Any], effort: str | None, adjusted: tuple[str, ...]
) -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello there, you"}],
        "reasoning": reasoning,
    }
    request = spliced(body)
    out = json.loads(request.body)
    assert "reasoning" not in out
    assert out.get("reasoning_effort") == effort
    assert request.adjusted == adjusted


def test_no_reasoning_asked_is_nothing_sent_and_an_effort_asked_stays() -> None:
    assert "reasoning_effort" not in sent()
    assert sent(reasoning_effort="xhigh")["reasoning_effort"] == "xhigh"


@pytest.mark.parametrize(
    "to",
    [
        target(facts={"reasoning": "none"}),
        *(
            Target("openai", model, "openai", Catalogue.load().facts("openai", model))
            for model in ("gpt-4o-mini", "gpt-4.1", "gpt-3.5-turbo", "gpt-4o-2024-08-06")
        ),
    ],
    ids=lambda to: to.model,
)
def test_a_model_that_cannot_reason_is_not_asked_to(to: Target) -> None:
    """Neither where the catalogue says so, nor where OpenAI's own model is from before reasoning."""
    request = spliced(
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Hello there, you"}],
            "reasoning": {"effort": "low"},
        },
        to,
    )
    assert "reasoning_effort" not in json.loads(request.body)
    assert request.adjusted == ("reasoning-dropped",)


def test_behaviour_32_a_target_s_own_parameters_replace_the_caller_s() -> None:
    to = target(overrides={"temperature": 0, "seed": None, "top_p": 0.1, "model": "evil", "stream": True})
    out = sent(to, temperature=1, seed=5)
    assert (out["temperature"], out["top_p"], out["model"]) == (0, 0.1, "gpt-4o-mini")
    assert "seed" not in out
    assert "stream" not in out


@pytest.mark.parametrize(
    ("override", "effort"),
    [({"reasoning_effort": "low"}, "low"), ({"reasoning": {"effort": "none"}}, "none")],
)
def test_a_target_s_own_reasoning_replaces_the_caller_s(override: dict[str, Any], effort: str) -> None:
    to = target(overrides=override)
    assert sent(to, reasoning={"effort": "high"})["reasoning_effort"] == effort
    assert sent(to, reasoning_effort="high")["reasoning_effort"] == effort
    assert sent(to)["reasoning_effort"] == effort


def test_a_call_that_names_only_models_gets_a_model() -> None:
    out = spliced(b'{"models":["a","b"],"messages":[{"role":"user","content":"Hi there"}]}').body
    assert json.loads(out) == {"messages": [{"role": "user", "content": "Hi there"}], "model": "gpt-4o-mini"}


@pytest.mark.parametrize(
    "tail",
    [
        b',"model":"openai/gpt-4o"}',
        b',"\\u006dodel":"x"}',
        b',"temperature":2}',
        b',"stream":true,"stream":false}',
    ],
)
def test_a_repeated_key_is_refused_by_name(tail: bytes) -> None:
    with pytest.raises(BadRequest, match="more than once") as caught:
        spliced(BODY[:-2] + tail)
    assert caught.value.param in ("model", "temperature", "stream")


def test_a_second_attempt_splices_the_caller_s_bytes_again() -> None:
    ask = OPENAI.read_request(BODY)
    first = OPENAI.splice_request(ask, target("a"), "k")
    second = OPENAI.splice_request(ask, target("b", overrides={"seed": 1}), "k")
    assert json.loads(first.body)["model"] == "a"
    assert json.loads(second.body) == {**json.loads(BODY), "model": "b", "seed": 1}
    assert ask.body == BODY


_MEMBERS = st.sampled_from(
    [
        ("model", '"openai/gpt-4o-mini"'),
        ("model", '"gpt-4o-mini"'),
        ("model", '"gpt\\u002d4o-mini"'),
        ("messages", '[{"role":"user","content":"Hello there, my friend"}]'),
        ("messages", '[{"role":"user","content":"the word \\"model\\": \\"gpt-4o-mini\\", quoted"}]'),
        ("messages", '[{"role":"user","content":[{"type":"text","text":"model"}],"name":"model"}]'),
        ("temperature", "1.10"),
        ("stream", "true"),
        ("stream", "false"),
        ("stream_options", '{"include_usage":true}'),
        ("stream_options", '{"include_usage": false}'),
        ("stream_options", "null"),
        ("max_tokens", "7"),
        ("max_completion_tokens", "9"),
        ("x", '{"model":"gpt-4o-mini","stream":true,"max_tokens":1}'),
        ("x\\\\", '"\\\\"'),
    ]
)
_TALK = '[{"role":"user","content":"Hello there, you"}]'
_DECOYS = st.sampled_from(
    [
        ("metadata", f'{{"messages":{_TALK}}}'),
        ("metadata", '{"messages":"x"}'),
        ("user", '"messages"'),
        ("x", f'[{{"messages": {_TALK}}}]'),
        ("x", f'{{"messages":{_TALK[:-1]},{{"model":"other"}}]}}'),
    ]
)
"""Other fields that look like the conversation, or hold the same bytes."""
_TARGETS = st.sampled_from([target("gpt-4o-mini"), target("gpt-5"), target("m", "ollama"), target('q"/\\')])


@st.composite
def _bodies(draw: st.DrawFn) -> bytes:
    """Bodies with repeated keys, escaped keys, keys as words, in the spacings that clients use."""
    members = [
        ("model", '"openai/gpt-4o-mini"'),
        ("messages", _TALK),
    ]
    members = draw(st.permutations(members + draw(st.lists(st.one_of(_MEMBERS, _DECOYS), max_size=4))))
    comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]))
    names = [f"\\u{ord(key[0]):04x}{key[1:]}" if draw(st.integers(0, 9)) == 0 else key for key, _ in members]
    pieces = [f'"{name}"{colon}{value}' for name, (_, value) in zip(names, members, strict=True)]
    return f"{{{comma.join(pieces)}}}".encode()


_READ_BY_US = ("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens")


@given(_bodies(), _TARGETS)
def test_the_short_way_sends_what_the_long_way_sends(body: bytes, to: Target) -> None:
    """Byte for byte; and of what the gateway itself acts on, the short way takes nothing that stands there twice."""
    ask = OPENAI.read_request(body)
    short = forward._at_once(ask, to)
    if short is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "_at_once", lambda ask, target: None)
        try:
            assert OPENAI.splice_request(ask, to, "k").body == short
        except BadRequest as error:
            assert error.code == "duplicate_field"
            assert error.param not in _READ_BY_US


@pytest.mark.parametrize("key", _READ_BY_US)
def test_the_short_way_refuses_what_the_gateway_reads_twice(key: str) -> None:
    first = {"model": '"m"', "messages": '[{"role":"user","content":"Hello there, friend"}]'}
    values = {"stream": "false", "stream_options": "null", "max_tokens": "7", "max_completion_tokens": "7"}
    fields = [f'"{name}":{value}' for name, value in first.items()]
    body = (
        "{"
        + ",".join([*fields, *[f'"{key}":{ {**first, **values}[key] }'] * (1 if key in first else 2)])
        + "}"
    )
    with pytest.raises(BadRequest, match="more than once") as caught:
        spliced(body.encode())
    assert caught.value.param == key
    assert (
        forward._at_once(OPENAI.read_request("".join(("{", ",".join(fields), "}")).encode()), target())
        is not None
    )


@pytest.mark.parametrize("space", ["", " "])
@pytest.mark.parametrize("stream", [False, True])
def test_the_usual_call_goes_the_short_way(space: str, stream: bool) -> None:
    """As the official clients and json.dumps write it: or the shortcut would be none."""
    body = json.dumps(
        {"model": "a/m", "messages": [{"role": "user", "content": "Hello there"}], "stream": stream}
    )
    raw = body if space else body.replace(": ", ":").replace(", ", ",")
    assert forward._at_once(OPENAI.read_request(raw.encode()), target()) is not None
