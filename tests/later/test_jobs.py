"""Calls that are answered later: fetched, cancelled, posted, and what a kill in the middle leaves of them."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.behaviours.gateway import CHAT, MODELS, SECRETS, Answer, Gateway, at, chat, running_gateway
from tests.behaviours.receiver import Receiver

KEY = b"completions-are-signed-with-this"
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
virtual_keys:
  - {name: alice, key: env.CALLER_KEY}
  - {name: bob, key: env.OTHER_CALLER_KEY}
jobs: {webhook_hosts: ["{hook}"], webhook_secret: env.HOOK_SECRET, max_waiting: 40}
"""
ALICE = {"authorization": f"Bearer {SECRETS['CALLER_KEY']}"}
BOB = {"authorization": f"Bearer {SECRETS['OTHER_CALLER_KEY']}"}
ASYNC = {**ALICE, "x-penstock-async": "true"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Gateway]:
    secrets = {**SECRETS, "HOOK_SECRET": "whsec_" + base64.b64encode(KEY).decode()}
    folder = tmp_path_factory.mktemp("jobs")
    with running_gateway(
        folder, CONFIG, secrets=secrets, hook=receiver.url.removeprefix("http://")
    ) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway, receiver: Receiver) -> Gateway:
    served.fresh()
    receiver.posted.clear()
    receiver.statuses.clear()
    return served


def ended(gateway: Gateway, name: str) -> dict[str, Any]:
    until_s = time.monotonic() + 15
    while True:
        job = gateway.get(f"/v1/jobs/{name}", ALICE).json()
        if job["status"] in ("completed", "failed", "cancelled"):
            return job
        assert time.monotonic() < until_s, job
        time.sleep(0.02)


def left(gateway: Gateway, body: dict[str, Any], **headers: str) -> str:
    answer = gateway.post(body, CHAT, {**ASYNC, **headers})
    assert answer.status == 202, answer.body
    job = answer.json()
    assert (job["object"], answer.headers["location"]) == ("job", f"/v1/jobs/{job['id']}")
    assert job["status"] == "queued"
    return job["id"]


def delete(gateway: Gateway, name: str, headers: dict[str, str] = ALICE) -> Answer:
    return gateway.open(None, f"/v1/jobs/{name}", headers, method="DELETE").rest()


@pytest.mark.parametrize("model", [MODELS["openai"], MODELS["anthropic"]])
def test_the_answer_is_what_it_would_have_been(gateway: Gateway, model: str):
    """Status, headers and body; the call is in the ledger as any other."""
    direct = gateway.post(chat(model, "say it"), CHAT, ALICE)
    job = ended(gateway, left(gateway, chat(model, "say it"), **{"x-penstock-stage": "nightly"}))
    result = job["result"]
    assert (job["status"], result["status"], job["error"]) == ("completed", 200, None)
    assert result["body"]["choices"] == direct.json()["choices"]
    assert result["headers"]["x-request-id"] == job["request_id"]
    names = set(direct.headers) - {"content-length"}
    assert names <= set(result["headers"])
    entry = gateway.entry(job["request_id"])
    assert (entry.virtual_key, entry.stage, entry.cost_nusd is not None) == ("alice", "nightly", True)
    whole = gateway.get(f"/v1/jobs/{job['id']}/result", ALICE)
    assert whole.status == 200
    assert whole.json() == result["body"]


def test_a_stream_is_kept_as_its_events(gateway: Gateway):
    """Server-sent events, all of them, to be read at once."""
    job = ended(gateway, left(gateway, chat(MODELS["openai"], stream=True)))
    assert job["result"]["headers"]["content-type"].startswith("text/event-stream")
    assert job["result"]["body"].endswith("data: [DONE]\n\n")
    whole = gateway.get(f"/v1/jobs/{job['id']}/result", ALICE)
    assert whole.text()
    assert whole.done


def test_an_error_is_kept_as_it_would_have_been(gateway: Gateway):
    """In the caller's dialect, with its status."""
    job = ended(gateway, left(gateway, chat("openai/gpt-4o-mini", messages="none")))
    assert job["status"] == "failed"
    assert job["result"]["status"] == 400
    assert job["result"]["body"]["error"]["param"] == "messages"
    assert job["error"]["message"]
    assert gateway.get(f"/v1/jobs/{job['id']}/result", ALICE).status == 400


def test_a_job_is_its_keys_alone(gateway: Gateway):
    """To others it does not exist; without a key nothing is kept."""
    name = left(gateway, chat(MODELS["openai"]))
    ended(gateway, name)
    for path in (f"/v1/jobs/{name}", f"/v1/jobs/{name}/result"):
        assert gateway.get(path, BOB).status == 404
    assert delete(gateway, name, BOB).status == 404
    assert gateway.post(None, f"/v1/jobs/{name}/cancel", BOB).status == 404
    assert gateway.get("/v1/jobs", BOB).json()["data"] == []
    assert name in [one["id"] for one in gateway.get("/v1/jobs", ALICE).json()["data"]]
    assert gateway.post(chat(MODELS["openai"]), CHAT, {"x-penstock-async": "true"}).status == 401
    assert delete(gateway, name).json() == {"id": name, "object": "job", "deleted": True}
    assert gateway.get(f"/v1/jobs/{name}", ALICE).status == 404
    assert gateway.post(chat(MODELS["openai"]), CHAT, {**ALICE, "x-penstock-async": "maybe"}).status == 400


def test_a_job_is_cancelled_in_the_middle(gateway: Gateway):
    """At once, and its call is settled."""
    gateway.faults(at("openai", "slow_head", ms=20_000))
    name = left(gateway, chat(MODELS["openai"]))
    until_s = time.monotonic() + 10
    while not gateway.sim.requests:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    gateway.post(None, f"/v1/jobs/{name}/cancel", ALICE)
    job = ended(gateway, name)
    assert (job["status"], job["result"]) == ("cancelled", None)
    assert gateway.get(f"/v1/jobs/{name}/result", ALICE).status == 404
    assert gateway.last_record().call.error_code == "caller_gone"


def test_the_end_is_posted_signed_and_again_where_it_was_not_taken(gateway: Gateway, receiver: Receiver):
    """standardwebhooks.com; the same message id through all tries."""
    receiver.statuses[:] = [500]
    name = left(gateway, chat(MODELS["openai"]), **{"x-penstock-webhook": f"{receiver.url}/done?x=1"})
    receiver.until(lambda: len(receiver.posted) >= 2)
    first, second = receiver.posted[:2]
    assert first.is_signed_by(KEY)
    assert second.is_signed_by(KEY)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert (second.path, second.told["type"]) == ("/done?x=1", "job.completed")
    assert second.told["data"] == {
        "id": name,
        "object": "job",
        "status": "completed",
        "http_status": 200,
        "error": None,
    }


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest", "http://127.0.0.1:1/x", "ftp://x/", "nonsense",
        "http://user@{hook}/", "http://{hook}@evil.example/", "http://evil.example/{hook}",
    ],
)  # fmt: skip
def test_nothing_is_posted_to_a_host_that_was_not_named(gateway: Gateway, url: str):
    """The caller is told at once, and no job is kept."""
    before = len(gateway.get("/v1/jobs?limit=100", ALICE).json()["data"])
    url = url.replace("{hook}", gateway.urls["hook"])
    answer = gateway.post(chat(MODELS["openai"]), CHAT, {**ASYNC, "x-penstock-webhook": url})
    assert answer.status == 400
    assert answer.error["param"] == "x-penstock-webhook"
    assert len(gateway.get("/v1/jobs?limit=100", ALICE).json()["data"]) == before


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SECRETS["CALLER_KEY"], max_retries=0) as made:
        yield made


def made(client: openai.OpenAI, name: str) -> Any:
    until_s = time.monotonic() + 15
    while (response := client.responses.retrieve(name)).status in ("queued", "in_progress"):
        assert time.monotonic() < until_s, response
        time.sleep(0.02)
    return response


@pytest.mark.parametrize("model", [MODELS["openai"], MODELS["anthropic"]])
def test_a_response_is_made_in_the_background(gateway: Gateway, client: openai.OpenAI, model: str):
    """Queued at once, looked at by its id, and the conversation goes on from it."""
    first = client.responses.create(model=model, input="say one", background=True, metadata={"a": "b"})
    assert (first.status, first.background, first.output, first.metadata) == ("queued", True, [], {"a": "b"})
    response = made(client, first.id)
    assert (response.status, response.id, response.background) == ("completed", first.id, True)
    assert response.output_text
    assert response.usage is not None
    assert [item.type for item in client.responses.input_items.list(first.id)] == ["message"]
    after = client.responses.create(model=model, input="and two", previous_response_id=first.id)
    assert after.output_text
    assert "say one" in json.dumps(gateway.sent())
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_a_response_in_the_background_is_cancelled_or_fails(gateway: Gateway, client: openai.OpenAI):
    """Each is said in the Response itself; one that is over is not cancelled."""
    gateway.faults(at("openai", "slow_head", ms=20_000))
    first = client.responses.create(model=MODELS["openai"], input="hi", background=True)
    until_s = time.monotonic() + 10
    while not gateway.sim.requests:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    assert client.responses.cancel(first.id).status == "cancelled"
    assert made(client, first.id).status == "cancelled"
    gateway.faults(at("openai", "status", status=500))
    failed = made(client, client.responses.create(model=MODELS["openai"], input="hi", background=True).id)
    assert failed.status == "failed"
    assert failed.error is not None
    gateway.fresh()
    plain = client.responses.create(model=MODELS["openai"], input="hi")
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        client.responses.cancel(plain.id)
    for refused in ({"stream": True}, {"store": False}):
        with pytest.raises(openai.BadRequestError):
            client.responses.create(model=MODELS["openai"], input="hi", background=True, **refused)


def test_a_key_keeps_so_many_jobs_and_no_more(gateway: Gateway):
    """jobs.max_waiting; what is deleted makes room."""
    for one in gateway.get("/v1/jobs?limit=100", ALICE).json()["data"]:
        delete(gateway, one["id"])
    names = [left(gateway, chat(MODELS["openai"])) for _ in range(40)]
    refused = gateway.post(chat(MODELS["openai"]), CHAT, ASYNC)
    assert (refused.status, refused.error["code"]) == (429, "too_many_jobs")
    for name in names:
        ended(gateway, name)
        delete(gateway, name)
    assert json.loads(gateway.post(chat(MODELS["openai"]), CHAT, ASYNC).body)["object"] == "job"
