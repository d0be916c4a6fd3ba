"""Behaviours 19 and 20: what a caller sends arrives as it was written, and what cannot is said."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.behaviours.gateway import MODELS, THREE_DIALECTS, Gateway, Scripted, chat

CONFIG = (
    THREE_DIALECTS
    + """
  strict:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/strict/v1", retry: {max_retries: 0}}
  router:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/router/v1", retry: {max_retries: 0}}
    passthrough_fields: [models, provider, reasoning, usage, transforms, plugins]
  said-openai:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{scripted}/v1", retry: {max_retries: 0}}
routes:
  - id: warm
    primary: {model: openai/gpt-4o-mini, params: {temperature: 0.5, seed: 7}}
"""
)
SCENARIO = {"providers": {name: {"unknown_fields": "accept"} for name in ("openai", "router", "said-openai")}}
USAGE = b',"stream_options":{"include_usage":true}'
TRANSLATED = ("anthropic", "gemini")
either = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


def sent(gateway: Gateway, body: bytes) -> bytes:
    """The bytes that the provider received for ``body``."""
    answer = gateway.post(body)
    assert answer.status == 200, answer.body
    return gateway.sim.requests[-1].body


# 19. Bytes and order.

ODD_BODY = r"""
 { "temperature" : 1.0e0 ,"messages":[
   {"content":"caf\u00e9 \ud83d\ude42 \/ 水車",  "role":"user", "zz_unknown": {"b":1,"a":[ ]}} ],
   "x_big": 123456789012345678901234567890, "x_float": 0.10000000000000000001,
   "tools":[{"function":{"parameters":{"required":["b","a"],"properties":{"b":{"type":"string"},"a":{"type":"integer"}},"type":"object"},
   "description":"","name":"f"},"type":"function"}],
   "model" : "openai/gpt-4o-mini" , "x_null":null,"x_nested":{"z":{"y":{"x":[1,2,{"w":false}]}}}, "user":"u"
 }
""".encode()


def test_behaviour_19_all_bytes_but_the_models_name_are_the_callers(gateway: Gateway) -> None:
    """Order, spaces, escapes, the spelling of numbers, unknown and null fields: as they were written."""
    assert sent(gateway, ODD_BODY) == ODD_BODY.replace(b"openai/gpt-4o-mini", b"gpt-4o-mini")


def test_behaviour_19_a_bare_model_name_changes_nothing_at_all(gateway: Gateway) -> None:
    """Where no edit is needed, none is made."""
    body = ODD_BODY.replace(b"openai/gpt-4o-mini", b"gpt-4o-mini")
    assert sent(gateway, body) == body


def test_behaviour_19_a_stream_adds_the_wish_for_usage_and_nothing_else(gateway: Gateway) -> None:
    """One splice after the model's name (behaviour 8), however the body is written."""
    body = ODD_BODY.replace(b'"user":"u"', b'"stream" : true')
    wanted = body.replace(b'"openai/gpt-4o-mini"', b'"gpt-4o-mini"' + USAGE)
    assert sent(gateway, body) == wanted
    asked = body.replace(
        b'"stream" : true', b'"stream" : true, "stream_options" : { "include_usage" : true }'
    )
    assert sent(gateway, asked) == asked.replace(b"openai/gpt-4o-mini", b"gpt-4o-mini")


@pytest.mark.parametrize(
    ("written", "received"),
    [
        (b'{"model":"openai/gpt-5","max_tokens":9,"messages":M}', b'{"model":"gpt-5","max_completion_tokens":9,"messages":M}'),
        (b'{"model":"openai/gpt-4o-mini","models":["backup/m"],"messages":M}', b'{"model":"gpt-4o-mini","messages":M}'),
        (b'{"models":["backup/m"],"messages":M,"model":"openai/gpt-4o-mini"}', b'{"messages":M,"model":"gpt-4o-mini"}'),
        (b'{"messages":M,"fallbacks":["backup/m"] ,"model":"openai/gpt-4o-mini"}', b'{"messages":M ,"model":"gpt-4o-mini"}'),
        (b'{"model":"openai/gpt-4o-mini","provider":{"order":["openai"]},"messages":M}', b'{"model":"gpt-4o-mini","messages":M}'),
        (b'{"model":"openai/gpt-5","reasoning":{"effort":"low"},"messages":M}', b'{"model":"gpt-5","messages":M,"reasoning_effort":"low"}'),
        (b'{"model":"warm","messages":M,"temperature":0.9}', b'{"model":"gpt-4o-mini","messages":M,"temperature":0.5,"seed":7}'),
    ],
    ids=["cap", "models", "models-first", "fallbacks", "provider", "reasoning", "overrides"],
)  # fmt: skip
def test_behaviour_19_the_documented_splices_are_the_only_ones(
    gateway: Gateway, written: bytes, received: bytes
) -> None:
    """Cap renamed, gateway fields out, reasoning respelt, a target's own parameters in: nothing else moves."""
    messages = b'[ {"role":"user", "content":"hi", "b":1, "a":2} ]'
    assert sent(gateway, written.replace(b"M", messages)) == received.replace(b"M", messages)


def test_behaviour_19_fields_that_the_upstream_knows_go_on_unchanged(gateway: Gateway) -> None:
    """A router upstream gets ``provider``, ``reasoning`` and the like as they were written."""
    body = (
        b'{"model":"router/a-model","provider":{"sort":"price"},"reasoning":{"effort":"low"},"usage":{"include":true},'
        b'"messages":[{"role":"user","content":"hi"}],"transforms":[]}'
    )
    assert sent(gateway, body) == body.replace(b"router/a-model", b"a-model")


NAMES = st.text("abcxyz_", min_size=1, max_size=6).map(lambda name: "x" + name)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    extra=st.dictionaries(NAMES, VALUES, max_size=4),
    order=st.randoms(use_true_random=False),
    ascii_only=st.booleans(),
    gaps=st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:  ")]),
    stream=st.booleans(),
    inside=VALUES,
)
def test_behaviour_19_any_body_keeps_its_bytes(
    gateway: Gateway, extra: Any, order: Any, ascii_only: bool, gaps: Any, stream: bool, inside: Any
) -> None:
    """Whatever the fields, their order, spacing and escapes."""
    body = {
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": "hi", "xz": inside}],
        **extra,
    }
    if stream:
        body["stream"] = True
    fields = list(body.items())
    order.shuffle(fields)
    text = json.dumps(dict(fields), ensure_ascii=ascii_only, separators=gaps).encode()
    usage = USAGE if stream else b""
    assert sent(gateway, text) == text.replace(b'"openai/gpt-4o-mini"', b'"gpt-4o-mini"' + usage)


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "d",
            "parameters": {
                "type": "object",
                "properties": {"zeta": {"type": "string"}, "alpha": {"type": "object", "properties": {"q": {"type": "integer"}, "b": {"type": "string"}}}},
                "required": ["zeta"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("second", "first")
]  # fmt: skip
TURNS: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "one"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "second", "arguments": '{"zeta":"v","alpha":{"q":12345678901234567890,"b":"x"}}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": '{"z":1,"a":2}'},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
]  # fmt: skip


@pytest.mark.parametrize("provider", TRANSLATED)
def test_behaviour_19_equal_requests_have_equal_bytes(gateway: Gateway, provider: str) -> None:
    """Translation is deterministic, ids included."""
    body = json.dumps({"model": MODELS[provider], "messages": TURNS, "tools": TOOLS}).encode()
    assert len({sent(gateway, body) for _ in range(3)}) == 1


@pytest.mark.parametrize("provider", TRANSLATED)
def test_behaviour_19_a_longer_conversation_keeps_its_beginning(gateway: Gateway, provider: str) -> None:
    """Each turn's body continues the one before: everything up to the old end is the same, in the same order.

    A provider's prompt cache matches by prefix: one moved key in a tool or an old message would miss it.
    """
    bodies = []
    for end in (2, 4, 6):
        body = {"model": MODELS[provider], "messages": TURNS[:end], "tools": TOOLS}
        bodies.append(json.loads(sent(gateway, json.dumps(body).encode())))
    name = "contents" if provider == "gemini" else "messages"
    for shorter, longer in pairwise(bodies):
        old, new = shorter.pop(name), longer[name]
        assert json.dumps(new[: len(old)]) == json.dumps(old)
        rest = {key: value for key, value in longer.items() if key != name}
        assert json.dumps(rest) == json.dumps(shorter)


@pytest.mark.parametrize("provider", TRANSLATED)
def test_behaviour_19_tools_and_arguments_keep_their_keys_order(gateway: Gateway, provider: str) -> None:
    """A schema's keys, the tools' order, and a call's arguments (big numbers too) are the caller's."""
    received = sent(
        gateway, json.dumps({"model": MODELS[provider], "messages": TURNS, "tools": TOOLS}).encode()
    )
    arguments = TURNS[2]["tool_calls"][0]["function"]["arguments"].encode()
    assert arguments in received
    tools = received[received.index(b'"tools"') :]
    assert tools.index(b'"second"') < tools.index(b'"first"')
    assert tools.index(b'"zeta"') < tools.index(b'"alpha"')
    assert tools.index(b'"q"') < tools.index(b'"b"')


@either
def test_behaviour_19_the_reply_is_not_touched_either(
    gateway: Gateway, scripted: Scripted, stream: bool
) -> None:
    """Pass-through: the provider's bytes, its odd spaces and unknown fields, are the caller's."""
    chunk = b'{ "id":"c" ,"x_new":{"b":1,"a":2.50},"model":"m","choices":[{"index":0,"%b":{"content":"hi","x":null},"finish_reason":"stop"}]}'
    if stream:
        said = b": hm\n\ndata: " + chunk % b"delta" + b"\n\nevent: x\n\ndata: [DONE]\n\n"
        scripted.sse(said)
    else:
        said = b"\n" + chunk % b"message" + b" \n"
        scripted.whole(said)
    assert gateway.post(chat("said-openai/m", stream=stream)).body == said


# 20. Unknown parameters.


@either
def test_behaviour_20_unknown_parameters_reach_an_openai_upstream(gateway: Gateway, stream: bool) -> None:
    """Parameters of tomorrow, and of vLLM: at the top and inside messages."""
    unknown = {
        "top_k": 5,
        "min_p": 0.1,
        "guided_json": {"type": "object"},
        "verbosity": "low",
        "x_future": [1, {"a": None}],
    }
    body = chat("openai/gpt-4o-mini", stream=stream, **unknown)
    body["messages"][0]["cache_hint"] = {"keep": True}
    answer = gateway.post(body)
    assert answer.status == 200
    assert "x-penstock-adjusted" not in answer.headers
    received = gateway.sent()
    assert {name: received[name] for name in unknown} == unknown
    assert received["messages"] == body["messages"]
    assert gateway.ledger(answer.request_id).call.adjusted == ()


def test_behaviour_20_a_provider_that_refuses_them_says_so_itself(gateway: Gateway) -> None:
    """Its 400 comes back as a 400, in its own words: we neither guess nor drop."""
    answer = gateway.post(chat("strict/gpt-4o-mini", x_future=1))
    assert answer.status == 400
    assert "x_future" in answer.error["message"]


LOST = {
    "logit_bias": {"50256": -100},
    "x_future": {"a": 1},
    "prediction": {"type": "content", "content": "x"},
    "modalities": ["text"],
    "prompt_cache_key": "k",
    "logprobs": True,
}


@either
@pytest.mark.parametrize("provider", TRANSLATED)
def test_behaviour_20_what_translation_drops_is_said(gateway: Gateway, provider: str, stream: bool) -> None:
    """Each by its name, in the reply's header and in the ledger; the call itself is served."""
    answer = gateway.post(chat(MODELS[provider], stream=stream, **LOST))
    assert answer.status == 200, answer.body
    said = set(answer.headers["x-penstock-adjusted"].split(","))
    assert said >= {f"{name}-dropped" for name in LOST}
    assert set(gateway.stored(answer.request_id).call.adjusted) == said
    assert "x_future" not in json.dumps(gateway.sent())


@pytest.mark.parametrize("provider", TRANSLATED)
def test_behaviour_20_nothing_dropped_nothing_said(gateway: Gateway, provider: str) -> None:
    """The header stands only where something was lost."""
    answer = gateway.post(chat(MODELS[provider], max_tokens=9, stop=["zzz"], temperature=0.5))
    assert answer.status == 200
    assert "x-penstock-adjusted" not in answer.headers
    assert gateway.ledger(answer.request_id).call.adjusted == ()


def test_behaviour_20_gateway_fields_that_do_nothing_are_said(gateway: Gateway) -> None:
    """Asked of a gateway, done by none of ours: taken out, and reported."""
    answer = gateway.post(
        chat(
            "openai/gpt-4o-mini",
            transforms=["middle-out"],
            plugins=[{"id": "web"}],
            provider={"options": {"openai": {}}, "sort": "price"},
        )
    )
    assert answer.status == 200
    assert set(answer.headers["x-penstock-adjusted"].split(",")) == {
        "transforms-dropped",
        "plugins-dropped",
        "provider.options-dropped",
    }
    assert not {"transforms", "plugins", "provider"} & set(gateway.sent())


def test_behaviour_20_a_fallback_reports_its_own_losses(gateway: Gateway) -> None:
    """The header speaks of the target that answered, not of one that failed."""
    gateway.faults({"kind": "status", "status": 500, "when": {"providers": ["openai"]}})
    answer = gateway.post(chat(MODELS["openai"], logit_bias={"1": 1}, fallbacks=[MODELS["anthropic"]]))
    assert (answer.status, answer.headers["x-penstock-provider"]) == (200, "anthropic")
    assert answer.headers["x-penstock-adjusted"] == "logit_bias-dropped"
    gateway.fresh()
    gateway.faults({"kind": "status", "status": 500, "when": {"providers": ["anthropic"]}})
    answer = gateway.post(chat(MODELS["anthropic"], logit_bias={"1": 1}, fallbacks=[MODELS["openai"]]))
    assert (answer.status, answer.headers["x-penstock-provider"]) == (200, "openai")
    assert "x-penstock-adjusted" not in answer.headers
    assert gateway.sent()["logit_bias"] == {"1": 1}
