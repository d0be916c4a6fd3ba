"""Lines of batches and jobs beside the cache: what is kept is served, at no cost, unless the cache is switched off for it."""

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.behaviours.gateway import MODELS, SECRETS, Gateway, chat, running_gateway
from tests.later.test_files_batches import CONFIG, begun, client_of, ended, line, results
from tests.later.test_jobs import ASYNC
from tests.later.test_jobs import ended as job_ended

MODEL = MODELS["openai"]
KEY = {"authorization": f"Bearer {SECRETS['CALLER_KEY']}"}
CACHED = CONFIG + "cache: {exact: {enabled: true}, coalesce: true}\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("lines"), CACHED) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    return served


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with client_of(gateway) as made:
        yield made


def told_of(client: openai.OpenAI, lines: list[Any], **more: Any) -> list[dict[str, Any]]:
    batch = ended(client, begun(client, lines, **more).id)
    assert batch.status == "completed", batch
    return [*results(client, batch.output_file_id), *results(client, batch.error_file_id)]


def entry_of(gateway: Gateway, row: dict[str, Any]) -> Any:
    return gateway.entry(row["response"]["request_id"])


def test_a_line_that_is_kept_is_served_and_costs_nothing(gateway: Gateway, client: openai.OpenAI):
    """It was asked as a call before; the third line is the second one again."""
    first = gateway.post(chat(MODEL, "kept before"), headers=KEY)
    rows = told_of(
        client, [line("a", MODEL, "kept before"), line("b", MODEL, "not yet"), line("c", MODEL, "not yet")]
    )
    assert [row["custom_id"] for row in rows] == ["a", "b", "c"]
    assert len(gateway.sim.requests) == 2
    entries = [entry_of(gateway, row) for row in rows]
    assert entries[0].klass == "cache_hit"
    assert (entries[0].cost_nusd, entries[0].saved_nusd) == (0, gateway.entry(first.request_id).cost_nusd)
    assert sorted(one.klass for one in entries[1:]) == ["cache_hit", "delivered"]
    paid = next(one for one in entries[1:] if one.klass == "delivered")
    spared = next(one for one in entries[1:] if one.klass == "cache_hit")
    assert (spared.cost_nusd, spared.saved_nusd) == (0, paid.cost_nusd)
    contents = [row["response"]["body"]["choices"][0]["message"]["content"] for row in rows]
    assert contents[0] == first.text()
    assert contents[1] == contents[2] != ""


def test_a_batchs_answers_are_kept_for_calls(gateway: Gateway, client: openai.OpenAI):
    (row,) = told_of(client, [line("a", MODEL, "kept by a batch")])
    hit = gateway.post(chat(MODEL, "kept by a batch"), headers=KEY)
    assert hit.headers["x-penstock-cache"] == "hit-exact"
    assert hit.text() == row["response"]["body"]["choices"][0]["message"]["content"]


def test_the_cache_may_be_switched_off_for_a_batch_or_a_line(gateway: Gateway, client: openai.OpenAI):
    """By the header of its creation, or in the line's body."""
    gateway.post(chat(MODEL, "asked again"), headers=KEY)
    rows = told_of(client, [line("a", MODEL, "asked again")], extra_headers={"x-penstock-cache": "off"})
    rows += told_of(client, [line("a", MODEL, "asked again", penstock={"cache": "off"})])
    assert len(gateway.sim.requests) == 3
    assert [entry_of(gateway, row).klass for row in rows] == ["delivered", "delivered"]
    assert all(b"penstock" not in one.body for one in gateway.sim.requests)


def test_only_what_is_kept_may_be_asked_for(gateway: Gateway, client: openai.OpenAI):
    """Nothing is spent: what is not kept is an error of its line."""
    gateway.post(chat(MODEL, "kept one"), headers=KEY)
    rows = told_of(
        client,
        [line("a", MODEL, "kept one"), line("b", MODEL, "none")],
        extra_headers={"x-penstock-cache": "only"},
    )
    assert len(gateway.sim.requests) == 1
    assert sorted((row["custom_id"], row["response"]["status_code"]) for row in rows) == [
        ("a", 200),
        ("b", 404),
    ]


def test_a_word_to_the_cache_that_means_nothing_is_refused_at_once(client: openai.OpenAI, gateway: Gateway):
    """And not a day later, line by line."""
    for name, value in (("x-penstock-cache", "of"), ("x-penstock-cache-tll", "60")):
        with pytest.raises(openai.BadRequestError) as refused:
            begun(client, [line("a", MODEL)], extra_headers={name: value})
        assert name in str(refused.value)
    question = [{"role": "user", "content": "x"}]
    params: Any = {"model": MODELS["anthropic"], "max_tokens": 9, "messages": question}
    with anthropic.Anthropic(api_key=SECRETS["CALLER_KEY"], base_url=gateway.url, max_retries=0) as other:
        create: Any = other.messages.batches.create
        with pytest.raises(anthropic.BadRequestError):
            create(requests=[{"custom_id": "a", "params": params}], extra_headers={"x-penstock-cache": "of"})


def test_lines_that_are_to_be_looked_for_stay_here(tmp_path: Any):
    """A provider's own service knows nothing of what is kept: not even where it was asked for."""
    with running_gateway(tmp_path, CACHED.replace("native: never", "native: auto")) as gateway:
        with client_of(gateway) as client:
            headers = {"x-penstock-batch": "native", "x-penstock-cache": "only"}
            batch = ended(client, begun(client, [line("a", MODEL, "none")], extra_headers=headers).id)
        assert gateway.sim.requests == []
        assert (batch.penstock_road, batch.request_counts.failed) == ("own", 1)
        assert "x-penstock-cache" in batch.penstock_reason


def test_a_job_is_served_from_the_cache_too(gateway: Gateway):
    """And its answer is kept; off is obeyed."""
    body = chat(MODEL, "a job's question")
    names = []
    for more in ({}, {}, {"x-penstock-cache": "off"}):
        made = gateway.post(body, headers={**ASYNC, **more})
        assert made.status == 202
        names.append(made.json()["id"])
        assert job_ended(gateway, names[-1])["status"] == "completed"
    answers = [gateway.get(f"/v1/jobs/{name}/result", KEY) for name in names]
    assert len(gateway.sim.requests) == 2
    assert answers[0].text() == answers[1].text()
    hit = gateway.entry(answers[1].json()["id"])
    assert (hit.klass, hit.cost_nusd, hit.saved_nusd > 0) == ("cache_hit", 0, True)
