"""What a caller can write that is taken for something else further on: names as paths, long numbers, costs nobody held."""

import asyncio
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.behaviours.gateway import SECRETS, Gateway, running_gateway

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
  gemini:
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{sim}/p/gemini", retry: {max_retries: 0}}
  cohere:
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/cohere", retry: {max_retries: 0}}
  fal:
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/fal", retry: {max_retries: 0}}
  replicate:
    keys: [{value: env.SECOND_KEY}]
    network: {base_url: "{sim}/p/replicate/v1", retry: {max_retries: 0}}
virtual_keys:
  - name: narrow
    key: env.CALLER_KEY
    models: ["fal/fal-ai/flux/*", "replicate/black-forest-labs/*", "!fal/fal-ai/flux/pro"]
  - {name: poor, key: env.OTHER_CALLER_KEY, budgets: [{limit_usd: "0.005"}]}
  - {name: paced, key: env.PACED_KEY, rate_limit: {requests_per_minute: 2, burst: 2}}
  - {name: wide, key: env.ADMIN_KEY}
"""
NARROW = {"authorization": f"Bearer {SECRETS['CALLER_KEY']}"}
POOR = {"authorization": f"Bearer {SECRETS['OTHER_CALLER_KEY']}"}
WIDE = {"authorization": f"Bearer {SECRETS['ADMIN_KEY']}"}
HELLO = [{"role": "user", "content": "hello there"}]
LONG = "000003600" + "9" * 5000


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    secrets = {**SECRETS, "PACED_KEY": "vk-paced-000000000010"}
    with running_gateway(tmp_path_factory.mktemp("inlets"), CONFIG, secrets=secrets) as running:
        yield running


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    shared.fresh()
    return shared


@pytest.mark.parametrize(
    "model",
    [
        "fal/fal-ai/flux/../../secret/model",
        "fal/fal-ai/flux/./../x",
        "fal/fal-ai/flux//pro",
        "fal/fal-ai/flux/pro/",
        "replicate/black-forest-labs/../../../account",
    ],
)
def test_a_name_is_no_path(gateway: Gateway, model: str):
    """What the allow-list was asked about is what is called: a provider's server might read the dots."""
    answer = gateway.post({"model": model, "prompt": "a mill"}, "/v1/images/generations", NARROW)
    assert answer.status == 404
    assert (answer.error["code"], answer.error["param"]) == ("model_not_found", "model")
    assert list(gateway.sim.requests) == []


def test_a_version_of_replicate_is_asked_for_with_its_model(gateway: Gateway):
    """A version's id alone would run any model there is, whatever name stood before it."""
    version = "a" * 64
    body = {"model": f"replicate/black-forest-labs/flux-dev:{version}", "prompt": "a mill"}
    assert gateway.post(body, "/v1/images/generations", NARROW).status == 200
    sent = next(one for one in gateway.sim.requests if one.method == "POST")
    assert f'"version":"black-forest-labs/flux-dev:{version}"'.encode() in sent.body


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/files?limit={LONG}",
        f"/v1/files?limit=000000001{'9' * 30}",
        f"/v1/jobs?limit={LONG}",
        f"/v1/batches?limit={LONG}",
        f"/v1/messages/batches?limit={LONG}",
        f"/v1beta/models?pageSize={LONG}",
        f"/v1beta/models?pageToken={LONG}",
    ],
)
def test_a_number_that_no_limit_has_is_refused(gateway: Gateway, path: str):
    answer = gateway.get(path, WIDE)
    assert answer.status == 400, answer.body[:200]
    assert answer.json()["error"]


@pytest.mark.parametrize("seconds", [LONG, "000003600" + "9" * 30])
def test_a_file_is_kept_for_no_such_time(gateway: Gateway, seconds: str):
    fields = {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": seconds}
    parts = [
        f'--b\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{fields[key]}\r\n' for key in fields
    ]
    file = '--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n--b--\r\n'
    kind = {"content-type": "multipart/form-data; boundary=b"}
    answer = httpx.post(
        f"{gateway.url}/v1/files", content=("".join(parts) + file).encode(), headers={**WIDE, **kind}
    )
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "expires_after[seconds]")


def test_a_schema_with_a_number_of_thousands_of_digits(gateway: Gateway):
    """Read as the number it is, Python would refuse it with an error of its own."""
    schema = {"type": "STRING", "maxLength": "9" * 5000}
    body = {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "f", "parameters": {"type": "OBJECT", "properties": {"a": schema}}}
                ]
            }
        ],
        "generationConfig": {"maxOutputTokens": "9" * 5000},
    }
    answer = gateway.post(body, "/v1beta/models/openai%2Fgpt-4o-mini:generateContent", WIDE)
    assert answer.status == 400, answer.body[:200]
    del body["generationConfig"]
    answer = gateway.post(body, "/v1beta/models/openai%2Fgpt-4o-mini:generateContent", WIDE)
    assert answer.status < 500, answer.body[:200]


def test_pictures_that_a_budget_does_not_cover_are_refused_before_they_are_asked_for(gateway: Gateway):
    """Only a chat call can be told to write less: no maximum is put into a body that has none."""
    body = {"model": "openai/gpt-image-2", "prompt": "a mill", "quality": "high", "size": "1024x1024"}
    answer = gateway.post(body, "/v1/images/generations", POOR)
    assert (answer.status, answer.error["code"]) == (402, "budget-too-small")
    assert list(gateway.sim.requests) == []


def test_ranking_is_held_for_every_search_that_it_may_be_billed_for(gateway: Gateway):
    """Cohere bills a search for each hundred documents: 500 of them are five, of $0.002 each."""
    body = {"model": "cohere/rerank-v3.5", "query": "x", "documents": ["a"] * 500}
    assert gateway.post(body, "/v1/rerank", POOR).status == 402
    assert list(gateway.sim.requests) == []
    assert gateway.post({**body, "documents": ["word " * 2000] * 60}, "/v1/rerank", POOR).status == 402
    assert gateway.post({**body, "documents": ["a"] * 200}, "/v1/rerank", POOR).status == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/messages",
            {
                "model": "anthropic/claude-haiku-4-5",
                "messages": HELLO,
                "max_tokens": 50,
                "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 10}],
            },
        ),
        (
            "/v1/chat/completions",
            {"model": "openai/gpt-4o-mini", "messages": HELLO, "max_tokens": 50, "web_search_options": {}},
        ),
        (
            "/v1beta/models/gemini-2.5-flash:generateContent",
            {
                "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
                "cachedContent": "cachedContents/abc",
                "generationConfig": {"maxOutputTokens": 50, "thinkingConfig": {"thinkingBudget": 0}},
            },
        ),
    ],
)
def test_what_a_provider_finds_by_itself_is_held_too(gateway: Gateway, path: str, body: dict[str, object]):
    """Searches cost a fee each, and what they find is read as prompt: ten cents and more, of a budget of half a cent."""
    assert gateway.post(body, path, POOR).status == 402
    assert list(gateway.sim.requests) == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "openai/text-embedding-3-small", "input": ["word " * 1000] * 40}),
        ("/v1/rerank", {"model": "cohere/rerank-v3.5", "query": "x", "documents": ["word " * 1000] * 40}),
    ],
)
def test_a_context_bounds_each_text_of_a_list_and_not_their_sum(
    gateway: Gateway, path: str, body: dict[str, object]
):
    """Forty pages are a usual batch: OpenAI takes 8,191 tokens for each text of a call."""
    answer = gateway.post(body, path, WIDE)
    assert answer.status == 200, answer.body[:200]


@pytest.mark.parametrize(
    ("path", "where"),
    [("/v1/files", ("error", "message")), ("/v1beta/models?pageSize=3", ("error", "status"))],
)
def test_a_fault_of_ours_on_a_page_has_the_callers_shape(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, path: str, where: tuple[str, str]
):
    """No plain text of a framework: a client reads what it was promised."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("penstock.server.files_pages.page_of", broken)
    monkeypatch.setattr("penstock.server.gemini_pages._number", broken)
    answer = gateway.get(path, WIDE)
    assert answer.status == 500
    assert answer.json()[where[0]][where[1]]


@pytest.mark.parametrize("word", ["key", "%6bey"])
def test_a_key_in_the_query_is_not_kept_with_a_job(gateway: Gateway, word: str):
    """Google's callers present it there; what is kept of a request opens no door."""
    secret = SECRETS["ADMIN_KEY"]
    path = f"/v1beta/models/openai%2Fgpt-4o-mini:generateContent?{word}={secret}&alt=json"
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    answer = gateway.post(body, path, {"x-penstock-async": "true"})
    assert answer.status == 202
    name = answer.json()["id"]
    kept = gateway.inside(lambda: asyncio.ensure_future(gateway.house.keeper.get("job", name, "wide")))
    while not kept.done():
        time.sleep(0.01)
    stored = kept.result()
    assert stored is not None
    assert stored.meta["query"] == "alt=json"
    assert secret not in str(stored.meta)
    while gateway.get(f"/v1/jobs/{name}", WIDE).json()["status"] not in ("completed", "failed"):
        time.sleep(0.01)
    assert gateway.get(f"/v1/jobs/{name}", WIDE).json()["status"] == "completed"


def test_counting_tokens_is_paced_like_any_call(gateway: Gateway):
    """It is free, but a provider is asked: a key's rates hold for it."""
    body = {"model": "anthropic/claude-haiku-4-5", "messages": HELLO}
    paced = {"authorization": "Bearer vk-paced-000000000010"}
    seen = [gateway.post(body, "/v1/messages/count_tokens", paced).status for _ in range(4)]
    assert seen == [200, 200, 429, 429]


@pytest.mark.parametrize("model", ["openai/text-embedding-3-small", "gemini/gemini-embedding-001"])
def test_the_simulator_makes_no_vector_without_end(gateway: Gateway, model: str):
    """It refuses what a provider refuses, before it fills the memory with it."""
    answer = gateway.post({"model": model, "input": "x", "dimensions": 10**12}, "/v1/embeddings", WIDE)
    assert answer.status == 400
