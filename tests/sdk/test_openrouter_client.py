"""The official ``openrouter`` client, through the gateway: what a user does who changes nothing but the server's URL.

The client reads every reply with its own models: a page whose shape is wrong raises here.
"""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from openrouter import OpenRouter, components, errors

from tests.behaviours.gateway import SECRETS, THREE_DIALECTS, Gateway, at, running_gateway

CONFIG = (
    THREE_DIALECTS
    + """    models: {gpt-4o-mini: gpt-4o-mini}
    data_policy: {trains: false, zdr: true, quantizations: {"*": fp8}}
prices:
  - {model: backup/gpt-4o-mini, usd_per_million: {input: "0.30", output: "1.20"}}
organisations: [{name: acme, budgets: [{limit_usd: 50, period: month}]}]
teams: [{name: shop, organisation: acme}]
virtual_keys:
  - {name: caller, key: env.CALLER_KEY, budgets: [{limit_usd: 2, period: day}]}
  - {name: teamed, key: env.OTHER_CALLER_KEY, team: shop}
  - {name: free, key: env.ADMIN_KEY, models: ["!anthropic/*", "*"]}
"""
)
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
MODEL = "openai/gpt-4o-mini"
either = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("openrouter"), CONFIG) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    served.inside(served.house.books.flush)
    served.inside(served.house.observed._targets.clear)
    return served


def client(gateway: Gateway, key: str = "CALLER_KEY") -> OpenRouter:
    return OpenRouter(api_key=SECRETS[key], server_url=f"{gateway.url}/api/v1", retry_config=None)


def send(gateway: Gateway, *, stream: bool = False, key: str = "CALLER_KEY", **more: Any) -> Any:
    asked = {"model": MODEL, "messages": HELLO, **more}
    return client(gateway, key).chat.send(stream=stream, **asked)


def test_a_whole_reply(gateway: Gateway) -> None:
    reply = send(gateway)
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.cost > 0
    raw = gateway.post({"model": MODEL, "messages": HELLO}, "/api/v1/chat/completions", auth()).json()
    assert raw["provider"] in ("openai", "backup")
    assert raw["choices"][0]["native_finish_reason"] == "stop"


def auth(key: str = "CALLER_KEY") -> dict[str, str]:
    return {"authorization": f"Bearer {SECRETS[key]}"}


@either
@pytest.mark.parametrize("model", [MODEL, "anthropic/claude-haiku-4.5", "google/gemini-2.5-flash"])
def test_the_cost_in_the_reply_is_the_ledgers(gateway: Gateway, model: str, stream: bool) -> None:
    """Passed through or translated, whole or streamed: to the last digit."""
    answer = gateway.post(
        {"model": model, "messages": HELLO, "stream": stream}, "/api/v1/chat/completions", auth()
    )
    usage = answer.usage() if stream else answer.json()["usage"]
    assert usage is not None
    cost = gateway.ledger(answer.request_id).cost_nusd
    assert cost
    assert round(usage["cost"] * 10**9) == cost
    details = usage["cost_details"]
    parts = details["upstream_inference_prompt_cost"] + details["upstream_inference_completions_cost"]
    assert round(parts * 10**9) == cost


@pytest.mark.parametrize("model", [MODEL, "anthropic/claude-haiku-4.5", "google/gemini-2.5-flash"])
def test_a_stream(gateway: Gateway, model: str) -> None:
    with send(gateway, model=model, stream=True) as chunks:
        seen = list(chunks)
    assert "".join(choice.delta.content or "" for chunk in seen for choice in chunk.choices)
    assert [c.finish_reason for chunk in seen for c in chunk.choices if c.finish_reason] == ["stop"]
    assert [chunk.usage.cost for chunk in seen if chunk.usage] != []


def test_reasoning_comes_and_goes_unchanged(gateway: Gateway) -> None:
    """What the client was given it sends back, and the provider gets its own signature again."""
    reply = send(gateway, model="anthropic/claude-haiku-4.5", reasoning={"effort": "medium"}, max_tokens=4000)
    message = reply.choices[0].message
    assert message.reasoning
    details = [detail.model_dump(exclude_unset=True) for detail in message.reasoning_details]
    assert details[0]["signature"]
    history = [
        *HELLO,
        {"role": "assistant", "content": message.content, "reasoning_details": details},
        {"role": "user", "content": "go on"},
    ]
    send(
        gateway,
        model="anthropic/claude-haiku-4.5",
        messages=history,
        reasoning={"effort": "medium"},
        max_tokens=4000,
    )
    blocks = gateway.sent()["messages"][1]["content"]
    thinking = [block for block in blocks if block["type"] == "thinking"]
    assert [(block["thinking"], block["signature"]) for block in thinking] == [
        (details[0]["text"], details[0]["signature"])
    ]


def test_models_in_fallback_order(gateway: Gateway) -> None:
    gateway.faults(at("openai", "status", status=500), at("backup", "status", status=500))
    reply = client(gateway).chat.send(models=[MODEL, "anthropic/claude-haiku-4.5"], messages=HELLO)
    assert isinstance(reply, components.ChatResult)
    assert reply.model == "anthropic/claude-haiku-4.5"


def test_metadata_where_it_is_asked_for(gateway: Gateway) -> None:
    told = client(gateway).chat.send(model=MODEL, messages=HELLO, x_open_router_metadata="enabled")
    assert isinstance(told, components.ChatResult)
    metadata = told.openrouter_metadata
    assert metadata is not None
    assert metadata.requested == MODEL
    assert metadata.endpoints.total == 2
    assert sum(one.selected for one in metadata.endpoints.available) == 1
    silent = send(gateway)
    assert silent.openrouter_metadata is None


def test_the_list_of_models(gateway: Gateway) -> None:
    listed = client(gateway).models.list()
    assert listed is not None
    rows = {row.id: row for row in listed.result.data}
    assert {MODEL, "anthropic/claude-haiku-4.5", "google/gemini-2.5-flash"} <= set(rows)
    assert rows[MODEL].pricing.prompt == "0.00000015"
    assert rows[MODEL].pricing.completion == "0.0000006"
    assert rows["google/gemini-2.5-flash"].context_length == 1_048_576
    assert "tools" in rows[MODEL].supported_parameters
    assert client(gateway).models.count().data.count == listed.result.total_count == len(rows)
    assert not any(name.startswith("anthropic/") for name in ids(client(gateway, "ADMIN_KEY").models.list()))


def ids(listed: Any) -> list[str]:
    return [row.id for row in listed.result.data]


def test_the_list_in_pages_filtered_and_sorted(gateway: Gateway) -> None:
    models = client(gateway).models
    everything = ids(models.list())
    first, second = models.list(limit=3), models.list(offset=3, limit=3)
    assert ids(first) + ids(second) == everything[:6]
    takes_tools = ids(models.list(supported_parameters="tools,reasoning"))
    assert 0 < len(takes_tools) < len(everything)
    cheap = models.list(sort="pricing-low-to-high")
    assert cheap is not None
    prices = [
        Decimal(row.pricing.prompt) + Decimal(row.pricing.completion)
        for row in cheap.result.data
        if "-1" not in (row.pricing.prompt, row.pricing.completion)
    ]
    assert prices == sorted(prices)
    with pytest.raises(errors.BadRequestResponseError):
        models.list(sort="intelligence-high-to-low")


def test_endpoints_show_what_was_measured(gateway: Gateway) -> None:
    for provider in ("openai", "backup"):
        for _ in range(3):
            with send(gateway, stream=True, provider={"only": [provider]}) as chunks:
                list(chunks)
    gateway.faults(at("backup", "status", status=500))
    with pytest.raises(errors.OpenRouterError):
        send(gateway, provider={"only": ["backup"]})
    gateway.inside(gateway.house.books.flush)
    found = client(gateway).endpoints.list(author="openai", slug="gpt-4o-mini").data
    assert found.id == MODEL
    rows = {row.provider_name: row for row in found.endpoints}
    assert set(rows) == {"openai", "backup"}
    for row in rows.values():
        latency, throughput = row.latency_last_30m, row.throughput_last_30m
        assert latency is not None
        assert 0 < latency.p50 <= latency.p99
        assert throughput is not None
        assert 0 < throughput.p99 <= throughput.p50
    assert rows["openai"].uptime_last_1d == 100
    up = rows["backup"].uptime_last_30m
    assert up is not None
    assert 0 < up < 100
    assert rows["backup"].quantization == "fp8"
    unused = client(gateway).endpoints.list(author="anthropic", slug="claude-haiku-4.5").data
    assert [(row.uptime_last_5m, row.latency_last_30m) for row in unused.endpoints] == [(None, None)]
    with pytest.raises(errors.NotFoundResponseError):
        client(gateway).endpoints.list(author="nobody", slug="nothing")


def test_endpoints_that_keep_nothing(gateway: Gateway) -> None:
    found = client(gateway).endpoints.list_zdr_endpoints().data
    assert found
    assert {row.provider_name for row in found} == {"backup"}


def test_providers(gateway: Gateway) -> None:
    assert {row.slug for row in client(gateway).providers.list().data} == {
        "openai",
        "anthropic",
        "gemini",
        "backup",
    }


def test_a_generation_can_be_looked_up(gateway: Gateway) -> None:
    reply = send(gateway, model="google/gemini-2.5-flash")
    found = client(gateway).generations.get_generation(id=reply.id).data
    assert found.total_cost == reply.usage.cost
    assert found.provider_name == "gemini"
    assert found.native_finish_reason == "STOP"
    with pytest.raises(errors.NotFoundResponseError):
        client(gateway, "OTHER_CALLER_KEY").generations.get_generation(id=reply.id)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the client's own fields
def test_the_key_and_its_credits(gateway: Gateway) -> None:
    before = client(gateway).api_keys.get_current_key_metadata().data
    reply = send(gateway)
    after = client(gateway).api_keys.get_current_key_metadata().data
    assert (after.label, after.limit, after.limit_reset) == ("caller", 2, "daily")
    for word in ("usage", "usage_daily", "usage_weekly", "usage_monthly"):
        assert getattr(after, word) - getattr(before, word) == pytest.approx(reply.usage.cost)
    assert after.limit_remaining is not None
    assert after.limit_remaining == pytest.approx(2 - after.usage_daily)
    assert [row.limit_usd for row in after.budgets] == [2]
    spent = client(gateway).credits.get_credits().data
    assert spent.total_credits == 2
    assert spent.total_usage == pytest.approx(after.usage_daily)
    assert client(gateway, "OTHER_CALLER_KEY").credits.get_credits().data.total_credits == 50
    with pytest.raises(errors.ForbiddenResponseError, match="budget"):
        client(gateway, "ADMIN_KEY").credits.get_credits()


@pytest.mark.parametrize(
    ("asked", "fault", "raised"),
    [
        ({"model": f"{MODEL}:online"}, None, errors.BadRequestResponseError),
        ({"model": "nobody/nothing"}, None, errors.NotFoundResponseError),
        ({"key": "GEMINI_KEY"}, None, errors.UnauthorizedResponseError),
        ({"model": "google/gemini-2.5-flash"}, 429, errors.TooManyRequestsResponseError),
        ({"model": "google/gemini-2.5-flash"}, 500, errors.BadGatewayResponseError),
        ({"provider": {"only": ["openai"]}}, 503, errors.ServiceUnavailableResponseError),
    ],
)
def test_errors_raise_the_right_class(
    gateway: Gateway, asked: dict[str, Any], fault: int | None, raised: type[Exception]
) -> None:
    if fault is not None:
        gateway.faults({"kind": "status", "status": fault})
    with pytest.raises(raised) as caught:
        send(gateway, **asked)
    error: Any = caught.value
    assert error.data.error.code == error.status_code
    if fault is not None:
        assert error.data.error.metadata["provider_name"] in ("gemini", "openai")
        assert error.data.error.metadata["raw"]
        assert error.data.error.metadata["error_type"]


@pytest.mark.parametrize("model", [MODEL, "google/gemini-2.5-flash"])
def test_a_stream_that_fails_ends_in_an_error_chunk(gateway: Gateway, model: str) -> None:
    """The client does not raise: it hands over ``chunk.error`` (wire.md 0)."""
    gateway.faults({"kind": "error_mid_stream", "after": 4}, {"kind": "split", "bytes": 60, "ms": 2})
    with send(gateway, model=model, stream=True) as chunks:
        seen = list(chunks)
    last = seen[-1]
    assert last.error is not None
    assert last.error.code >= 500
    assert last.choices[0].finish_reason == "error"
    assert any(choice.delta.content for chunk in seen[:-1] for choice in chunk.choices)


def test_the_async_client(gateway: Gateway) -> None:
    async def ask() -> Any:
        async with client(gateway) as one:
            return await one.chat.send_async(model=MODEL, messages=HELLO)

    assert asyncio.run(ask()).choices[0].message.content
