"""Embeddings, moderations and ranking through the official clients, to every door that has them."""

import math
from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import openai
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tests.behaviours.gateway import THREE_DIALECTS, Gateway, at, running_gateway

CONFIG = (
    THREE_DIALECTS
    + """
  cohere:
    dialect: cohere
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/cohere", retry: {max_retries: 0}}
  jina:
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/jina/v1", retry: {max_retries: 0}}
  worded:
    dialect: kserve
    network: {base_url: "{sim}/p/worded", retry: {max_retries: 0}}
    tokenizer: TOKENIZER
  triton:
    dialect: kserve
    tensors: {input: TEXT, labels: "harm, fine", threshold: "0.5"}
    network: {base_url: "{sim}/p/triton", retry: {max_retries: 0}}
  vertex:
    dialect: vertex
    project: simulated-project
    location: us-east5
    credentials: "file:{account}"
    network: {base_url: "{sim}/p/vertex", retry: {max_retries: 0}}
fallbacks:
  - {primary: cohere/rerank-v3.5, secondary: jina/jina-reranker-v2-base-multilingual}
virtual_keys:
  - {name: caller, key: env.CALLER_KEY}
prices:
  - {model: triton/embed, usd_per_million: {request: "2.5"}}
"""
)
KEY = "vk-caller-000000000006"
EMBEDDERS = {
    "openai": "openai/text-embedding-3-small",
    "gemini": "gemini/gemini-embedding-001",
    "vertex": "vertex/text-embedding-005",
    "cohere": "cohere/embed-v4.0",
    "triton": "triton/embed",
}
TEXTS = ["a heron at the weir", "the sluice is open", "a heron at the weir"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    place = tmp_path_factory.mktemp("vectors")
    words = Tokenizer(
        WordLevel({"a": 0, "heron": 1, "at": 2, "the": 3, "weir": 4, "[UNK]": 5}, unk_token="[UNK]")
    )
    words.pre_tokenizer = Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    words.save(str(place / "tokenizer.json"))
    config = CONFIG.replace("TOKENIZER", str(place / "tokenizer.json"))
    with running_gateway(
        place, config=config, prepare=lambda sim: {"account": str(sim.make_service_account(place))}
    ) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    return served


@pytest.fixture
def client(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0)


def length(vector: list[float]) -> float:
    return math.sqrt(sum(value * value for value in vector))


@pytest.mark.parametrize("door", EMBEDDERS)
def test_embeddings(client: openai.OpenAI, gateway: Gateway, door: str):
    """The client asks for base64 by itself, and decodes it; the same texts have the same vectors, in their order."""
    made = client.embeddings.create(model=EMBEDDERS[door], input=TEXTS)
    assert [row.index for row in made.data] == [0, 1, 2]
    first, second, third = (row.embedding for row in made.data)
    assert first == third != second
    assert length(first) == pytest.approx(1, abs=1e-5)
    spelled = client.embeddings.create(model=EMBEDDERS[door], input=TEXTS[0], encoding_format="float")
    assert spelled.data[0].embedding == pytest.approx(first, abs=1e-6)
    [entry] = gateway.last_record().entries
    assert entry.klass == "delivered"
    assert entry.model == EMBEDDERS[door].partition("/")[2]
    if door == "triton":
        assert entry.cost_nusd == 2500
    else:
        assert entry.input == spelled.usage.prompt_tokens > 0
        assert entry.output == 0
        assert entry.cost_nusd == sum(line.cost_nusd or 0 for line in entry.lines) > 0


@pytest.mark.parametrize("door", ["openai", "gemini", "vertex", "cohere"])
def test_dimensions(client: openai.OpenAI, door: str):
    made = client.embeddings.create(model=EMBEDDERS[door], input="short", dimensions=8)
    assert len(made.data[0].embedding) == 8
    assert length(made.data[0].embedding) == pytest.approx(1, abs=1e-5)


def test_tokens_pass_through_to_openai(client: openai.OpenAI, gateway: Gateway):
    made = client.embeddings.create(model=EMBEDDERS["openai"], input=[[1, 2, 3], [4, 5]])
    assert len(made.data) == 2
    assert made.usage.prompt_tokens == 5


@pytest.mark.parametrize("door", ["gemini", "vertex", "cohere", "triton"])
def test_tokens_are_refused_elsewhere(client: openai.OpenAI, gateway: Gateway, door: str):
    with pytest.raises(openai.BadRequestError, match="tokenizer") as caught:
        client.embeddings.create(model=EMBEDDERS[door], input=[[1, 2, 3]])
    assert caught.value.param == "input[0]"  # pyright: ignore[reportUnknownMemberType]
    assert not gateway.sim.requests


def test_tokens_become_words_with_a_tokenizer(client: openai.OpenAI):
    raw = client.embeddings.with_raw_response.create(model="worded/embed", input=[[0, 1, 2, 3, 4]])
    words = client.embeddings.create(model="triton/embed", input=TEXTS[0])
    assert raw.parse().data[0].embedding == words.data[0].embedding
    assert raw.headers["x-penstock-adjusted"] == "tokens-as-text"


def test_pictures(client: openai.OpenAI, gateway: Gateway):
    picture: Any = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    made = client.embeddings.create(model="cohere/embed-v4.0", input=picture)
    assert len(made.data) == 1
    [entry] = gateway.last_record().entries
    assert entry.input_image == 100
    assert client.embeddings.create(model="gemini/gemini-embedding-2", input=picture).data
    with pytest.raises(openai.BadRequestError, match="takes words"):
        client.embeddings.create(model="triton/embed", input=picture)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "x"}, "model"),
        ({"model": "openai/text-embedding-3-small"}, "input"),
        ({"model": "cohere/embed-v4.0", "input": []}, "input"),
        ({"model": "cohere/embed-v4.0", "input": ["x", 1]}, "input"),
        ({"model": "cohere/embed-v4.0", "input": ["x", ""]}, "input[1]"),
        ({"model": "cohere/embed-v4.0", "input": "x", "dimensions": 0}, "dimensions"),
        ({"model": "cohere/embed-v4.0", "input": "x", "encoding_format": "int8"}, "encoding_format"),
        ({"model": "anthropic/claude-haiku-4-5", "input": "x"}, "model"),
        ({"model": "openai/omni-moderation-latest", "input": "x"}, "model"),
    ],
)
def test_faults_name_their_field(gateway: Gateway, body: dict[str, Any], param: str):
    answer = gateway.post(body, "/v1/embeddings", {"authorization": f"Bearer {KEY}"})
    assert answer.status == 400, answer.body
    assert answer.error["param"] == param
    assert not gateway.sim.requests


def test_no_chat_with_an_embedder(gateway: Gateway):
    asked = {"model": "openai/text-embedding-3-small", "messages": [{"role": "user", "content": "hi"}]}
    answer = gateway.post(asked, headers={"authorization": f"Bearer {KEY}"})
    assert answer.status == 400
    assert "embedding" in answer.error["message"]


def test_moderations(client: openai.OpenAI, gateway: Gateway):
    made = client.moderations.create(model="openai/omni-moderation-latest", input=["violence", "a heron"])
    assert [one.flagged for one in made.results] == [True, False]
    assert made.results[0].categories.violence
    assert client.moderations.create(input="a heron").results[0].flagged is False
    sorted_out = client.moderations.create(model="triton/classifier", input=["harm", "a heron"])
    assert [one.flagged for one in sorted_out.results] == [True, True]
    assert sorted_out.results[0].category_scores.model_extra == pytest.approx({"harm": 0.97, "fine": 0.03})
    with pytest.raises(openai.BadRequestError, match="no moderations"):
        client.moderations.create(model="anthropic/claude-haiku-4-5", input="x")


@pytest.mark.parametrize("model", ["cohere/rerank-v3.5", "jina/jina-reranker-v2-base-multilingual"])
@pytest.mark.parametrize("version", [1, 2])
def test_rerank_with_coheres_client(gateway: Gateway, model: str, version: int):
    kind = cohere.Client if version == 1 else cohere.ClientV2
    with httpx.Client() as http:
        client = kind(api_key=KEY, base_url=gateway.url, httpx_client=http)
        stranger = kind(api_key="wrong", base_url=gateway.url, httpx_client=http)
        rank_with(gateway, client, stranger, model)


def rank_with(gateway: Gateway, client: Any, stranger: Any, model: str) -> None:
    documents = ["the sluice is open", "a heron at the weir", "nothing"]
    ranked = client.rerank(model=model, query="heron weir", documents=documents, top_n=2)
    assert [one.index for one in ranked.results] == [1, 0]
    assert ranked.results[0].relevance_score > ranked.results[1].relevance_score
    [entry] = gateway.last_record().entries
    if model.startswith("cohere"):
        assert [(line.unit, line.quantity, line.cost_nusd) for line in entry.lines] == [
            ("query", 1, 2_000_000)
        ]
    else:
        assert entry.input > 0
    with pytest.raises(cohere.errors.BadRequestError, match="query"):
        client.rerank(model=model, query="", documents=documents)
    with pytest.raises(cohere.errors.UnauthorizedError):
        stranger.rerank(model=model, query="x", documents=documents)


def test_rerank_as_jinas_callers_do(gateway: Gateway):
    """Documents come back where they are asked for; objects are ranked by their fields."""
    body = {
        "model": "jina/jina-reranker-v2-base-multilingual",
        "query": "heron",
        "documents": [{"title": "x", "text": "a heron"}, "nothing"],
        "return_documents": True,
    }
    answer = gateway.post(body, "/v1/rerank", {"authorization": f"Bearer {KEY}"})
    assert answer.status == 200, answer.body
    first = answer.json()["results"][0]
    assert first["document"] == {"title": "x", "text": "a heron"}
    assert answer.json()["usage"]["total_tokens"] > 0
    assert "documents-as-text" in answer.headers["x-penstock-adjusted"]


def test_a_reranker_that_is_down_is_followed_by_another(gateway: Gateway):
    gateway.faults(at("cohere", "status", status=503))
    body = {"model": "cohere/rerank-v3.5", "query": "heron", "documents": ["a heron", "no"]}
    answer = gateway.post(body, "/v2/rerank", {"authorization": f"Bearer {KEY}"})
    assert answer.status == 200, answer.body
    assert answer.headers["x-penstock-provider"] == "jina"
    assert [entry.klass for entry in gateway.last_record().entries] == ["failed", "delivered"]
