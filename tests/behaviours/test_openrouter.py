"""What each field of ``provider{}`` does to a call, over real sockets; and a reply that another model made."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from penstock.cli.drift import drifts
from penstock.config.catalogue import Catalogue
from tests.behaviours.gateway import SECRETS, THREE_DIALECTS, Answer, Gateway, at, chat, running_gateway

CONFIG = (
    THREE_DIALECTS
    + """    models: {gpt-4o-mini: gpt-4o-mini}
  azure:
    keys: [{value: env.SECOND_KEY}]
    network: {base_url: "{sim}/p/azure/v1", retry: {max_retries: 0}}
    data_policy: {trains: false, zdr: true, distillable: true, quantizations: {"gpt-4o*": bf16}}
prices:
  - {model: openai/gpt-4o-mini, usd_per_million: {input: "1", output: "1"}}
  - {model: azure/gpt-4o-mini, usd_per_million: {input: "2", output: "2"}}
  - {model: backup/gpt-4o-mini, usd_per_million: {input: "3", output: "3"}}
"""
)
MODEL = "openai/gpt-4o-mini"
PATH = "/api/v1/chat/completions"


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


def ask(gateway: Gateway, provider: dict[str, Any] | None = None, model: str = MODEL, **more: Any) -> Answer:
    fields = {} if provider is None else {"provider": provider}
    return gateway.post(chat(model, **fields, **more), PATH)


def tried(gateway: Gateway, answer: Answer) -> list[str]:
    """The providers of the plan, in order."""
    return [step[0].partition("/")[0] for step in gateway.story(answer.request_id)["steps"]]


@pytest.mark.parametrize(
    ("wishes", "order", "codes"),
    [
        ({"sort": "price"}, ["openai", "azure", "backup"], {}),
        ({"order": ["backup", "azure"]}, ["backup", "azure", "openai"], {}),
        ({"order": ["azure"], "allow_fallbacks": False}, ["azure"], {"openai": "fallbacks-not-allowed"}),
        (
            {"only": ["azure", "backup"], "sort": {"by": "price"}},
            ["azure", "backup"],
            {"openai": "not-in-only"},
        ),
        ({"ignore": ["openai"], "sort": "price"}, ["azure", "backup"], {"openai": "ignored"}),
        ({"data_collection": "deny", "sort": "price"}, ["openai", "azure"], {"backup": "data-collection"}),
        ({"zdr": True}, ["azure"], {"openai": "zdr", "backup": "zdr"}),
        ({"enforce_distillable_text": True}, ["azure"], {"openai": "not-distillable"}),
        ({"quantizations": ["bf16", "fp16"]}, ["azure"], {"openai": "quantization"}),
        ({"quantizations": ["unknown"], "sort": "price"}, ["openai", "backup"], {"azure": "quantization"}),
        (
            {"max_price": {"prompt": "2", "completion": 2.0}, "sort": "price"},
            ["openai", "azure"],
            {"backup": "too-dear"},
        ),
        ({"sort": {"by": "price", "partition": "none"}}, ["openai", "azure", "backup"], {}),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) and value else None,
)
def test_each_wish_decides_who_is_tried(
    gateway: Gateway, wishes: dict[str, Any], order: list[str], codes: dict[str, str]
) -> None:
    answer = ask(gateway, wishes)
    assert answer.status == 200
    assert answer.headers["x-penstock-provider"] == order[0]
    assert tried(gateway, answer) == order
    refused = {name.partition("/")[0]: code for name, code in gateway.refused(answer.request_id)}
    assert codes.items() <= refused.items()
    assert set(order) | set(refused) == {"openai", "azure", "backup"}


def test_where_nobody_is_left_every_reason_is_said(gateway: Gateway) -> None:
    answer = ask(gateway, {"zdr": True, "max_price": {"prompt": 1}})
    assert answer.status == 400
    message = answer.error["message"]
    assert all(f"{name}/gpt-4o-mini" in message for name in ("openai", "azure", "backup"))
    assert "zero data retention" in message
    assert "provider.max_price.prompt is $1 per million tokens" in message
    assert not gateway.sim.requests


@pytest.mark.parametrize(
    ("wishes", "param"),
    [
        ({"sort": "beauty"}, "provider.sort"),
        ({"sort": {"by": "price", "partition": "half"}}, "provider.sort.partition"),
        ({"max_price": {"prompt": "cheap"}}, "provider.max_price.prompt"),
        ({"max_price": {"prompt": -1}}, "provider.max_price.prompt"),
        ({"max_price": {"soul": 1}}, "provider.max_price.soul"),
        ({"quantizations": ["fp99"]}, "provider.quantizations"),
        ({"preferred_max_latency": {"p51": 1}}, "provider.preferred_max_latency.p51"),
        ({"preferred_min_throughput": "fast"}, "provider.preferred_min_throughput"),
        ({"data_collection": "perhaps"}, "provider.data_collection"),
        ({"zdr": "yes"}, "provider.zdr"),
    ],
)
def test_a_wish_that_cannot_be_read_is_refused_by_name(gateway: Gateway, wishes: Any, param: str) -> None:
    answer = ask(gateway, wishes)
    assert answer.status == 400
    assert answer.error["metadata"]["param"] == param
    assert not gateway.sim.requests


def test_parameters_that_would_be_lost_keep_a_target_out(gateway: Gateway) -> None:
    """By the dialect's own word, before anything is sent; and the next model that keeps them all is asked."""
    lossy = {"models": ["anthropic/claude-haiku-4.5", MODEL], "logit_bias": {"5": 1}, "model": None}
    answer = ask(gateway, {"require_parameters": True, "sort": "price"}, **lossy)
    assert answer.headers["x-penstock-provider"] == "openai"
    assert "x-penstock-adjusted" not in answer.headers
    assert gateway.refused(answer.request_id) == [("anthropic/claude-haiku-4-5", "parameters-lost")]
    reasons = [reason for _, _, reason in gateway.story(answer.request_id)["refused"]]
    assert "logit_bias-dropped" in reasons[0]
    assert [one.provider for one in gateway.sim.requests] == ["openai"]
    alone = ask(gateway, {"require_parameters": True}, "anthropic/claude-haiku-4.5", logit_bias={"5": 1})
    assert (alone.status, "logit_bias-dropped" in alone.error["message"]) == (400, True)
    kept = ask(gateway, None, "anthropic/claude-haiku-4.5", logit_bias={"5": 1})
    assert "logit_bias-dropped" in kept.headers["x-penstock-adjusted"]


def test_trouble_moves_an_endpoint_behind_the_others(gateway: Gateway) -> None:
    """For the next thirty seconds; the failed call itself was answered by another endpoint."""
    gateway.faults(at("openai", "status", status=500))
    first = ask(gateway, {"order": ["openai"]})
    assert first.status == 200
    assert first.headers["x-penstock-provider"] != "openai"
    gateway.faults()
    gateway.inside(gateway.house.books.flush)
    assert {tried(gateway, ask(gateway))[-1] for _ in range(5)} == {"openai"}


def test_what_was_measured_sorts_and_only_deprioritises(gateway: Gateway) -> None:
    for provider in ("openai", "azure"):
        assert ask(gateway, {"only": [provider]}, stream=True).done
    gateway.inside(gateway.house.books.flush)
    sorted_so = ask(gateway, {"sort": "throughput"})
    assert tried(gateway, sorted_so)[-1] == "backup"
    gateway.inside(gateway.house.books.flush)
    gateway.inside(lambda: gateway.house.observed._targets.pop("backup/gpt-4o-mini", None))
    picky = ask(gateway, {"preferred_max_latency": {"p99": 0}})
    assert tried(gateway, picky)[0] == "backup"
    assert set(tried(gateway, picky)) == {"openai", "azure", "backup"}
    steps = gateway.story(picky.request_id)["steps"]
    assert "behind the rest" in steps[-1][1]


def test_the_weights_are_told(gateway: Gateway) -> None:
    answer = ask(gateway)
    reasons = {step[0].partition("/")[0]: step[1] for step in gateway.story(answer.request_id)["steps"]}
    assert "share 0.734694" in reasons["openai"]  # 1 / (1 + 1/4 + 1/9)
    assert "share 0.183673" in reasons["azure"]
    assert "share 0.081633" in reasons["backup"]


@pytest.mark.parametrize(
    "model", ["gpt-4o-mini", "openai/gpt-4o-mini:floor", "openai/gpt-4o-mini-2024-07-18:floor"]
)
def test_a_model_is_found_by_any_spelling(gateway: Gateway, model: str) -> None:
    answer = ask(gateway, {"sort": "price"}, model)
    assert answer.status == 200
    assert tried(gateway, answer)[0] == "openai"


def test_a_provider_that_is_no_author_means_itself(gateway: Gateway) -> None:
    assert tried(gateway, ask(gateway, None, "azure/gpt-4o-mini")) == ["azure"]


def test_thinking_as_a_suffix_asks_for_it(gateway: Gateway) -> None:
    assert ask(gateway, None, "google/gemini-2.5-flash:thinking").status == 200
    assert gateway.sent()["generationConfig"]["thinkingConfig"]["thinkingBudget"] != 0


# Another model answers.


def drift(gateway: Gateway) -> float:
    text = gateway.get("/metrics").body.decode()
    return sum(
        float(line.split()[-1])
        for line in text.splitlines()
        if line.startswith("penstock_model_drift_total{")
    )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", [PATH, "/v1/chat/completions"])
def test_a_reply_of_another_model_is_priced_as_that_counted_and_told(
    gateway: Gateway, path: str, stream: bool
) -> None:
    before = drift(gateway)
    gateway.faults({"kind": "model_drift", "name": "gemini-3.5-flash-lite"})
    answer = gateway.post(chat("gemini/gemini-2.5-flash", stream=stream), path)
    entry = gateway.entry(answer.request_id)
    assert (entry.model, entry.model_served) == ("gemini-2.5-flash", "gemini-3.5-flash-lite")
    prices = gateway.house.drift
    assert prices is not None
    asked = gateway.house.listing.one("gemini/gemini-2.5-flash")
    assert asked is not None
    other = prices.of("gemini", asked.targets[0].facts, "gemini-3.5-flash-lite")
    assert other is not None
    assert other.price is not None
    assert entry.price_version == other.price.version
    told = [one for one in gateway.story(answer.request_id)["happenings"] if one["what"] == "drift"]
    assert [one["code"] for one in told] == ["model-drift"]
    assert "gemini-3.5-flash-lite" in told[0]["reason"]
    assert drift(gateway) == before + 1
    gateway.stored(answer.request_id)
    ledger = str(gateway.config.parent / "ledger.db")
    found = {(one.target, one.served) for one in drifts(ledger, Catalogue.load().facts, 0)}
    assert found == {("gemini/gemini-2.5-flash", "gemini-3.5-flash-lite")}
    if path == PATH:
        usage = answer.usage() if stream else answer.json()["usage"]
        assert usage is not None
        assert round(usage["cost"] * 10**9) == entry.cost_nusd


@pytest.mark.parametrize("said", ["gpt-4o-mini-2024-07-18", "another-model", "gpt-4o-mini"])
def test_a_date_or_an_unknown_name_is_no_drift(gateway: Gateway, said: str) -> None:
    """The one is the same model; of the other nobody can tell."""
    before = drift(gateway)
    gateway.faults({"kind": "model_drift", "name": said})
    answer = gateway.post(chat("openai/gpt-4o-mini"), "/v1/chat/completions")
    entry = gateway.entry(answer.request_id)
    assert entry.cost_nusd == entry.prompt_tokens * 1000 + entry.output * 1000
    assert drift(gateway) == before


def test_a_drift_that_begins_later_is_not_missed_by_the_short_ways(gateway: Gateway) -> None:
    """The same call over and over on one connection goes by the quickest lane; then its provider changes the model."""

    parts = urlsplit(gateway.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)

    def call() -> str:
        connection.request(
            "POST",
            "/v1/chat/completions",
            json.dumps(chat("openai/gpt-4o")),
            {"content-type": "application/json"},
        )
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 200
        return reply.headers["x-request-id"] or ""

    usual = [call() for _ in range(5)]
    gateway.faults({"kind": "model_drift", "name": "gpt-4.1"})
    odd = call()
    connection.close()
    versions = {gateway.entry(one).price_version for one in usual}
    assert len(versions) == 1
    assert gateway.entry(odd).model_served == "gpt-4.1"
    assert gateway.entry(odd).price_version not in versions


def test_a_hint_for_openai_callers_too(gateway: Gateway) -> None:
    """``provider{}`` is read on every inlet of OpenAI's dialect; OpenAI's own shape of reply stays OpenAI's."""
    answer = gateway.post(chat("gpt-4o-mini", provider={"only": ["azure"]}), "/v1/chat/completions")
    assert answer.headers["x-penstock-provider"] == "azure"
    assert "cost" not in answer.json()["usage"]
    assert SECRETS["SECOND_KEY"] not in answer.body.decode()
