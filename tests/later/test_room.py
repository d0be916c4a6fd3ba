"""How much one virtual key may leave with the gateway, and what is refused before anything is done for it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.behaviours.gateway import CHAT, MODELS, Gateway, chat, running_gateway

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    raw: true
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  cohere:
    keys: [{value: env.SECOND_KEY}]
    network: {base_url: "{sim}/p/cohere", retry: {max_retries: 0}}
virtual_keys:
  - {name: alice, key: env.CALLER_KEY}
  - {name: bob, key: env.OTHER_CALLER_KEY}
jobs: {max_total_bytes: 3000}
responses: {max_total_bytes: 3000}
images: {max_total_bytes: 2000}
rerank: {max_documents: 3}
"""
ALICE, BOB = ({"authorization": f"Bearer vk-{who}"} for who in ("caller-000000000006", "other-000000000007"))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("room"), CONFIG) as made:
        yield made


def full(answer: Any, knob: str) -> bool:
    """It says which knob, and what makes room."""
    error = answer.error
    return (answer.status, error["code"]) == (403, "storage_full") and knob in error["message"]


def test_jobs_of_one_key_have_a_size(gateway: Gateway):
    """The other key's are its own; what is deleted makes room."""
    big = chat(MODELS["openai"], "x" * 1200)
    leave = lambda who: gateway.post(big, CHAT, {**who, "x-penstock-async": "true"})  # noqa: E731 - of this test
    taken = [leave(ALICE).json()["id"]]
    while (answer := leave(ALICE)).status == 202:
        taken.append(answer.json()["id"])
        assert len(taken) < 4
    assert full(answer, "jobs.max_total_bytes")
    assert leave(BOB).status == 202
    for name in taken:
        assert gateway.open(None, f"/v1/jobs/{name}", ALICE, method="DELETE").rest().status == 200
    assert leave(ALICE).status == 202


def test_kept_responses_of_one_key_have_a_size(gateway: Gateway):
    """When they are too many, nothing is asked of a provider that could not be kept; store: false is served."""
    body = {"model": MODELS["openai"], "input": "y" * 900}
    names: list[str] = []
    while (answer := gateway.post(body, "/v1/responses", ALICE)).status == 200:
        names.append(answer.json()["id"])
        assert len(names) < 5
    assert full(answer, "responses.max_total_bytes")
    before = len(gateway.sim.requests)
    assert gateway.post({**body, "background": True}, "/v1/responses", ALICE).status == 403
    assert len(gateway.sim.requests) == before
    assert gateway.post({**body, "store": False}, "/v1/responses", ALICE).status == 200
    assert gateway.post(body, "/v1/responses", BOB).status == 200
    for name in names:
        gateway.open(None, f"/v1/responses/{name}", ALICE, method="DELETE").rest()
    assert gateway.post(body, "/v1/responses", ALICE).status == 200


def test_linked_pictures_of_one_key_have_a_size(gateway: Gateway):
    """Before one is made that costs something; their bytes without a link are served."""
    body = {"model": "openai/gpt-image-1", "prompt": "a heron", "response_format": "url"}
    made = 0
    while (answer := gateway.post(body, "/v1/images/generations", ALICE)).status == 200:
        link = answer.json()["data"][0]["url"]
        made += 1
        assert made < 40
    assert full(answer, "images.max_total_bytes")
    assert gateway.get(f"/v1{link.partition('/v1')[2]}").status == 200
    before = len(gateway.sim.requests)
    assert full(gateway.post(body, "/v1/images/generations", ALICE), "images.max_total_bytes")
    assert len(gateway.sim.requests) == before
    assert gateway.post(body, "/v1/images/generations", BOB).status == 200
    plain = {**body, "response_format": "b64_json"}
    assert gateway.post(plain, "/v1/images/generations", ALICE).status == 200


def test_ranking_has_a_most(gateway: Gateway):
    body = {"model": "cohere/rerank-v3.5", "query": "q", "documents": ["a", "b", "c"]}
    assert gateway.post(body, "/v1/rerank", ALICE).status == 200
    answer = gateway.post({**body, "documents": ["a"] * 4}, "/v1/rerank", ALICE)
    said = answer.json()
    assert (answer.status, said["param"], said["code"]) == (400, "documents", "too_many_documents")
    assert "rerank.max_documents" in said["message"]


def test_a_raw_call_is_no_job(gateway: Gateway):
    """Refused with its reason, and nothing was sent."""
    before = len(gateway.sim.requests)
    body = chat("gpt-4o-mini")
    headers = {**ALICE, "x-penstock-async": "true"}
    for path in ("/raw/openai/chat/completions", "/v1/fine_tuning/jobs"):
        answer = gateway.post(body, path, headers)
        assert (answer.status, answer.error["param"]) == (400, "x-penstock-async")
    assert len(gateway.sim.requests) == before
    assert gateway.post(body, "/raw/openai/chat/completions", ALICE).status == 200
