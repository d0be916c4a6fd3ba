"""What a reply says of its key's limits, and a refusal of when to ask again."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.behaviours.gateway import SECRETS, Answer, Gateway, at, chat, running_gateway

PLAIN = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"
WAYS: dict[str, dict[str, Any]] = {
    "short-lane": chat(PLAIN),
    "long-way": chat(PLAIN, models=[PLAIN]),
    "stream": chat(PLAIN, stream=True),
    "translated": chat(CLAUDE),
    "translated-stream": chat(CLAUDE, stream=True),
    "refused-by-the-provider": chat("local/m"),
    "refused-by-the-plan": chat(PLAIN, provider={"only": ["nobody"]}),
}
KEYS = {name: f"vk-{name}-0000000000000000" for name in ("free", "narrow", "tokens", *WAYS)}
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  local:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/local/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
virtual_keys:
  - {name: free, key: env.FREE}
  - {name: narrow, key: env.NARROW, rate_limit: {requests_per_minute: 1}}
  - {name: tokens, key: env.TOKENS, rate_limit: {tokens_per_minute: 600}}
""" + "".join(
    f"  - {{name: {way}, key: env.{way.upper().replace('-', '_')}, "
    "rate_limit: {requests_per_minute: 1, burst: 9, tokens_per_minute: 6000}}\n"
    for way in WAYS
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    secrets = {**SECRETS, **{name.upper().replace("-", "_"): key for name, key in KEYS.items()}}
    with running_gateway(tmp_path_factory.mktemp("headers"), CONFIG, secrets=secrets) as made:
        yield made


def call(gateway: Gateway, key: str, body: dict[str, Any]) -> Answer:
    return gateway.post(body, headers={"authorization": f"Bearer {KEYS[key]}"})


def limits(answer: Answer) -> dict[str, str]:
    return {
        name.removeprefix("x-ratelimit-"): value
        for name, value in answer.headers.items()
        if name.startswith("x-ratelimit-")
    }


@pytest.mark.parametrize("way", WAYS)
def test_every_reply_tells_its_keys_limits(gateway: Gateway, way: str):
    """Whichever way the call went, and only where there are any."""
    body = WAYS[way]
    gateway.faults(at("local", "status", status=400))
    assert limits(call(gateway, "free", body)) == {}  # and the next whole reply takes the short lane
    answer = call(gateway, way, body)
    assert answer.status == (400 if way.startswith("refused") else 200)
    said = limits(answer)
    assert list(said) == [
        *("limit-requests", "remaining-requests", "reset-requests"),
        *("limit-tokens", "remaining-tokens", "reset-tokens"),
    ]
    assert (said["limit-requests"], said["limit-tokens"]) == ("9", "6000")
    # What the plan refused was never admitted.
    assert said["remaining-requests"] == ("9" if way == "refused-by-the-plan" else "8")
    assert 0 <= int(said["remaining-tokens"]) <= 6000
    assert "retry-after" not in answer.headers


def test_a_whole_reply_tells_tokens_as_they_were_used(gateway: Gateway):
    """Not as they were estimated: the head is written after the correction."""
    began_s = time.monotonic()
    answer = call(gateway, "tokens", chat(PLAIN))
    used = answer.json()["usage"]["total_tokens"]
    back = int((time.monotonic() - began_s) * 10) + 1
    assert list(limits(answer)) == ["limit-tokens", "remaining-tokens", "reset-tokens"]
    assert 600 - used <= int(limits(answer)["remaining-tokens"]) <= 600 - used + back


def test_a_refusal_by_a_limit_tells_it_and_when_to_come_back(gateway: Gateway):
    """The second call of a minute."""
    assert call(gateway, "narrow", chat(PLAIN)).status == 200
    refused = call(gateway, "narrow", chat(PLAIN, stream=True))
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert limits(refused)["remaining-requests"] == "0"
    assert 50_000 < int(refused.headers["retry-after-ms"]) <= 60_000
    assert 50 < int(refused.headers["retry-after"]) <= 60


@pytest.mark.parametrize(
    ("fault", "wait_s", "then"),
    [
        (at("openai", "status", status=429), 1, 429),
        (at("openai", "status", status=429, retry_after_s=17), 17, 429),
        (at("openai", "status", status=429, code="insufficient_quota"), 300, 502),
    ],
    ids=["no-hint", "a-hint", "quota"],
)
def test_a_provider_that_refuses_always_says_when(
    gateway: Gateway, fault: dict[str, Any], wait_s: int, then: int
):
    """Where it said nothing, as long as its key cools down; and to the next call, which is not sent, what is left."""
    gateway.faults(fault)
    first = call(gateway, "free", chat(PLAIN))
    assert (first.status, int(first.headers["retry-after"])) == (429, wait_s)
    assert int(first.headers["retry-after-ms"]) == wait_s * 1000
    if wait_s > 5:  # else the call waits for the key itself
        again = call(gateway, "free", chat(PLAIN))
        assert again.status == then
        assert 1 <= int(again.headers["retry-after-ms"]) <= wait_s * 1000
        assert len(gateway.sim.requests) == 1
