"""Behaviours 21 to 23: a cap is never lost, big bodies pass and block nobody, what is malformed is refused."""

import base64
import json
import threading
import time
from typing import Any

import pytest

from penstock.config.catalogue import Catalogue
from penstock.config.load import load_text
from tests.behaviours.gateway import Gateway, running_gateway
from tests.server.process import GatewayProcess

HELLO = [{"role": "user", "content": "SAY_TOKENS 40"}]
PROVIDER = '{{keys: [{{value: env.OPENAI_KEY}}], {more}network: {{base_url: "{{sim}}/p/{name}{path}", retry: {{max_retries: 0}}}}}}'


def provider(name: str, path: str = "/v1", more: str = "") -> str:
    return f"  {name}: " + PROVIDER.format(name=name, path=path, more=more) + "\n"


CONFIG = (
    "providers:\n"
    + "".join(provider(name) for name in ("openai", "mistral", "groq", "deepseek", "vllm", "openrouter"))
    + provider("unheard-of", more="dialect: openai, ")
    + provider("anthropic", "")
    + provider("gemini", "")
    + "server: {max_body_bytes: 30000000}\n"
)
SCENARIO = {
    "profiles": {"*paced*": {"tokens_per_s": 100.0, "output_tokens": 300}},
    "providers": {"openrouter": {"unknown_fields": "accept"}},
}
CAPS = ("max_tokens", "max_completion_tokens", "maxOutputTokens")


def caps_sent(gateway: Gateway) -> dict[str, Any]:
    """Every cap in the last request to a provider, wherever it stands."""
    sent = gateway.sent()
    return {
        name: found[name]
        for found in (sent, sent.get("generationConfig", {}))
        for name in CAPS
        if name in found
    }


# 21. The cap.


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("asked", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("openai/gpt-4o", "max_completion_tokens"),
        ("openai/gpt-5-mini", "max_completion_tokens"),
        ("openai/o4-mini", "max_completion_tokens"),
        ("mistral/mistral-large-latest", "max_tokens"),
        ("groq/llama-3.3-70b-versatile", "max_tokens"),
        ("deepseek/deepseek-chat", "max_tokens"),
        ("vllm/anything", "max_tokens"),
        ("openrouter/some/model", "max_tokens"),
        ("unheard-of/model", None),
        ("anthropic/claude-haiku-4-5", "max_tokens"),
        ("gemini/gemini-2.5-flash", "maxOutputTokens"),
    ],
)
def test_behaviour_21_the_cap_arrives_under_the_name_that_the_backend_knows(
    gateway, model, wanted, asked, stream
):
    """Once, with its value, and the answer keeps to it; where nothing is known the caller's own name stays."""
    answer = gateway.post({"model": model, "messages": HELLO, asked: 7, "stream": stream})
    assert answer.status == 200, answer
    assert caps_sent(gateway) == {wanted or asked: 7}
    assert gateway.entry(answer.request_id).output == 7
    assert answer.finish() == "length"


@pytest.mark.parametrize(
    "model", ["openai/gpt-4o", "vllm/m", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash"]
)
def test_behaviour_21_two_caps_become_one(gateway, model):
    """The newer name counts, as at OpenAI; a null beside it is no cap."""
    for first, second, kept in ((9, 50, 9), (None, 6, 6), (6, None, 6)):
        body = {"model": model, "messages": HELLO, "max_completion_tokens": first, "max_tokens": second}
        assert gateway.post(body).status == 200
        assert [value for value in caps_sent(gateway).values() if value is not None] == [kept]


def test_behaviour_21_no_cap_asked_is_none_sent(gateway):
    """But for Anthropic, whose interface demands one: the model's own limit, never less."""
    for model in ("openai/gpt-4o", "vllm/m", "gemini/gemini-2.5-flash"):
        gateway.post({"model": model, "messages": HELLO})
        assert caps_sent(gateway) == {}
    gateway.post({"model": "anthropic/claude-haiku-4-5", "messages": HELLO})
    assert caps_sent(gateway)["max_tokens"] >= 8192


@pytest.mark.parametrize("cap", [0, -1, "10", 1.5, True])
def test_behaviour_21_an_impossible_cap_is_not_dropped_in_silence(gateway, cap):
    """Either the provider says so, or we do; nobody generates without a limit instead."""
    answer = gateway.post({"model": "anthropic/claude-haiku-4-5", "messages": HELLO, "max_tokens": cap})
    assert answer.status == 400
    assert "max_tokens" in str(answer.error)


# 23. What the gateway has acted on, a router behind it does not act on again.


@pytest.mark.parametrize("field", ["models", "fallbacks"])
def test_behaviour_23_a_chain_is_followed_by_one_gateway_only(gateway, field):
    """OpenRouter knows ``models``, but these are our names for our chain: there they would be a 400, or a second one."""
    body = {"model": "openrouter/some/model", field: ["openai/gpt-4o"], "messages": HELLO, "max_tokens": 5}
    assert gateway.post(body).status == 200
    assert gateway.sent()["model"] == "some/model"
    assert field not in gateway.sent()


def test_behaviour_23_a_choice_of_provider_that_named_the_router_stays_here(gateway):
    """``only: [openrouter]`` chose our provider; OpenRouter would find none of that name. The rest is for it."""
    wish = {"only": ["openrouter"], "sort": "price", "order": ["deepinfra"]}
    body = {"model": "openrouter/some/model", "messages": HELLO, "max_tokens": 5}
    assert gateway.post({**body, "provider": wish}).status == 200
    assert gateway.sent()["provider"] == {"sort": "price", "order": ["deepinfra"]}
    assert gateway.post({**body, "provider": {"only": ["openrouter"]}}).status == 200
    assert "provider" not in gateway.sent()


# 22. Big bodies.


def picture(size: int) -> list[dict[str, Any]]:
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(size)).decode()
    url = f"data:image/png;base64,{data}"
    return [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is it?"},
                {"type": "image_url", "image_url": {"url": url}},
            ],
        }
    ]


@pytest.mark.parametrize("model", ["openai/gpt-4o", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash"])
def test_behaviour_22_ten_megabytes_of_picture_arrive_whole(gateway, model):
    """Passed through or translated, byte for byte."""
    messages = picture(10_000_000)
    answer = gateway.post({"model": model, "messages": messages})
    assert answer.status == 200, answer
    url = messages[0]["content"][1]["image_url"]["url"]
    assert url.partition(",")[2].encode() in gateway.sim.requests[-1].body


def test_behaviour_22_a_long_prompt_arrives_whole(gateway):
    """A hundred kilobytes and more, with every character in it."""
    text = 'the quick brown fox über naïve 水車 🙂 \\ " \n\t' * 4000
    for model in ("openai/gpt-4o", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash"):
        assert gateway.post({"model": model, "messages": [{"role": "user", "content": text}]}).status == 200
        assert text in list(strings_of(gateway.sent()))


def strings_of(value: Any) -> Any:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings_of(item)


def test_behaviour_22_big_bodies_do_not_hold_up_other_calls(gateway):
    """While several are read, translated and sent, a running stream goes on and small calls are answered."""
    body = json.dumps({"model": "anthropic/claude-haiku-4-5", "messages": picture(6_000_000)}).encode()
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(gateway.post(body).status)) for _ in range(3)]
    with gateway.stream(
        {"model": "openai/gpt-4o-paced", "messages": [{"role": "user", "content": "hello"}]}
    ) as stream:
        pieces = iter(stream)
        next(pieces)
        for thread in threads:
            thread.start()
        began_s, during, small = time.monotonic(), 0, 0
        while any(thread.is_alive() for thread in threads):
            next(pieces)
            during += 1
            small += gateway.post({"model": "openai/gpt-4o", "messages": HELLO}).status == 200
        print(
            f"{during} events and {small} small calls within {time.monotonic() - began_s:.2f} s of big bodies"
        )
        assert statuses == [200] * 3
        assert during >= 1
        assert small == during
        assert stream.rest().done


def test_behaviour_22_a_body_over_the_limit_is_413(gateway):
    """In the caller's dialect, with the limit in the message."""
    answer = gateway.post(b'{"model":"' + b"x" * 30_000_000)
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert "30000000" in answer.error["message"]


def test_behaviour_22_a_provider_s_own_413_is_its_own(gateway):
    """Another target may take what this one finds too large; alone, the caller is told."""
    gateway.faults({"kind": "status", "status": 413, "when": {"providers": ["openai"]}})
    body = {"model": "openai/gpt-4o", "messages": HELLO}
    assert gateway.post(body).status == 413
    answer = gateway.post({**body, "fallbacks": ["vllm/m"]})
    assert answer.headers["x-penstock-provider"] == "vllm"


# 23. Malformed wishes.


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"fallbacks": "openai/gpt-4o"}, "fallbacks"),
        ({"fallbacks": [1]}, "fallbacks"),
        ({"fallbacks": [""]}, "fallbacks"),
        ({"fallbacks": [{"model": "openai/gpt-4o", "wieght": 1}]}, "fallbacks"),
        ({"fallbacks": [{"name": "openai/gpt-4o"}]}, "fallbacks"),
        ({"fallbacks": {"model": "openai/gpt-4o"}}, "fallbacks"),
        ({"fallbacks": ["openai"]}, "fallbacks"),
        ({"fallbacks": ["nobody-has-this"]}, "fallbacks"),
        ({"models": "openai/gpt-4o"}, "models"),
        ({"models": ["nobody-has-this"]}, "models"),
        ({"models": ["openai/gpt-4o"] * 40}, "models"),
        ({"provider": "openai"}, "provider"),
        ({"provider": {"order": "openai"}}, "provider.order"),
        ({"provider": {"allow_fallbacks": "no"}}, "provider.allow_fallbacks"),
        ({"provider": {"only": ["mistral"]}}, "provider"),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"effort": "enormous"}}, "reasoning.effort"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"stream": "yes"}, "stream"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
    ],
)  # fmt: skip
def test_behaviour_23_a_malformed_wish_is_400_and_names_its_field(gateway, fields, param):
    """Never ignored: nobody is asked, and the caller reads which field and what to write."""
    answer = gateway.post({"model": "openai/gpt-4o", "messages": HELLO, **fields})
    assert answer.status == 400, answer
    assert (answer.error["param"] or "").partition("[")[0] == param
    assert gateway.sim.requests == []


def test_behaviour_23_an_unknown_model_is_404_with_what_was_meant(gateway):
    """And a missing one 400."""
    answer = gateway.post({"model": "gpt-4o-minni", "messages": HELLO})
    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
    assert "gpt-4o-mini" in answer.error["message"]
    assert gateway.post({"messages": HELLO}).status == 400


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("budget: {usd: 5}", "$.budget"),
        ("virtual_keys: [{name: a, key: env.K, budget: 5}]", "budget"),
        ("virtual_keys: [{name: a, key: env.K, rate_limit: {request_per_minute: 5}}]", "requests_per_minute"),
        ("virtual_keys: [{name: a, key: env.K, rate_limit: {requests_per_minute: '5'}}]", "whole number"),
        ("virtual_keys: [{name: a, key: env.K, models: []}]", "models"),
        ("fallbacks: [openai/gpt-4o, openai/gpt-4o-mini]", "$.fallbacks[0]"),
        ("fallbacks: [{primary: openai/gpt-4o, secondery: openai/gpt-4o-mini}]", "secondary"),
        ("fallbacks: [{primary: openai/gpt-4o, tertiary: openai/gpt-4o-mini}]", "secondary"),
        ("fallbacks: [{primary: nobody/gpt-4o}]", "nobody"),
        ("routes: [{id: r, primary: openai/gpt-4o, params: {}}]", "params"),
        ("providers: {}\nproviders: {}", "twice"),
        ("server: {total_timeout: 5}", "total_timeout_ms"),
    ],
)
def test_behaviour_23_an_unknown_or_malformed_setting_refuses_to_start(tmp_path, line, says):
    """A budget that is not read would be unlimited spending: the path, and the nearest known name."""
    text = (
        f"providers: {{openai: {{keys: [{{value: env.K}}]}}}}\n{line}\n"
        if not line.startswith("providers")
        else line
    )
    loaded = load_text(text, tmp_path, {"K": "secret-value"}, Catalogue.load(), "2026-11-21")
    assert loaded.config is None
    assert says in " ".join(map(str, loaded.faults))
    assert "secret-value" not in repr(loaded)


def test_behaviour_23_such_a_start_exits_with_1(tmp_path):
    """Not a warning in a log that nobody reads."""
    text = "providers: {openai: {keys: [{value: env.K}]}}\nvirtual_keys: [{name: a, key: env.K, budget: 5}]\n"
    gateway = GatewayProcess(tmp_path, text, {"K": "secret-value"})
    gateway.start()
    assert gateway.join() == 1
    assert "budget" in gateway.wait_for("config.fault")["fault"]


def test_behaviour_23_a_route_whose_targets_cannot_chat_is_the_callers_mistake(tmp_path):
    """400 with the reason: such a target is in order, and makes pictures."""
    network = 'network: {base_url: "{sim}/p/stability"}'
    config = f"providers: {{stability: {{keys: [{{value: env.OPENAI_KEY}}], {network}}}}}\nroutes: [{{id: r, primary: stability/stable-image-core}}]\n"
    with running_gateway(tmp_path, config) as gateway:
        answer = gateway.post({"model": "r", "messages": HELLO})
        assert (answer.status, answer.error["param"]) == (400, "model")
        assert "stability has no chat. No configured provider has." in answer.error["message"]
        assert gateway.sim.requests == []
