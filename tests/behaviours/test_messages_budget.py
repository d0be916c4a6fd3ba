"""A budget that ends in the middle of an Anthropic caller's stream: it is a whole message, cut at its cap, and not an error."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.behaviours.gateway import Gateway, running_gateway
from tests.dialects.messages_kit import accumulated

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
prices:
  - {model: openai/gpt-4o-mini, usd_per_million: {input: "3", output: "15"}}
  - {model: anthropic/claude-haiku-4-5, usd_per_million: {input: "3", output: "15"}}
virtual_keys:
  - {name: hard, key: env.CALLER_KEY, budgets: [{limit_usd: "0.05", period: day}]}
"""
KEY = {"x-api-key": "vk-caller-000000000006"}
LONG = 4_000
"""Tokens of a reply that costs six cents, of a budget that has five."""


@pytest.fixture
def gateway(tmp_path) -> Iterator[Gateway]:
    profile = {"output_tokens": LONG, "tokens_per_s": 5_000, "tokens_per_event": 4}
    with running_gateway(tmp_path, CONFIG, scenario={"profiles": {"*": profile}}) as gateway:
        yield gateway


def asked(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 8000, "messages": [{"role": "user", "content": "hello"}], **more}


@pytest.mark.parametrize("model", ["anthropic/claude-haiku-4-5", "openai/gpt-4o-mini"])
def test_a_stream_without_room_is_ended_as_if_it_had_come_to_its_cap(gateway: Gateway, model: str) -> None:
    """Passed through or translated: the open block is closed, the reason and the usage are there."""
    answer = gateway.post(asked(model, stream=True), "/v1/messages", KEY)
    assert (answer.status, answer.ended) == (200, "complete")
    kinds = [frame["type"] for frame in answer.frames()]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert kinds.count("content_block_stop") == kinds.count("content_block_start") == 1
    got = accumulated(answer.body)
    assert got.stop_reason == "max_tokens"
    entry = gateway.entry(answer.request_id)
    assert (entry.klass, entry.finish_reason, entry.usage_source) == ("delivered", "length", "estimated")
    assert got.usage.output_tokens == entry.output > 0
    assert 0 < entry.cost_nusd <= 50_000_000


def test_what_cannot_be_paid_is_a_billing_error(gateway: Gateway) -> None:
    """Held before the call: the whole reply at its cap costs more than there is; its cap is lowered, and then there is nothing."""
    first = gateway.post(asked("anthropic/claude-haiku-4-5"), "/v1/messages", KEY)
    assert (first.status, first.json()["stop_reason"]) == (200, "max_tokens")
    assert gateway.sent()["max_tokens"] < 8000
    refused = gateway.post(asked("anthropic/claude-haiku-4-5"), "/v1/messages", KEY)
    assert (refused.status, refused.error["type"]) == (402, "billing_error")
    assert refused.error["details"]["error_code"] == "budget-exhausted"
