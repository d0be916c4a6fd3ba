"""What a model is for, and what it is called: a call that cannot fit is refused before it is made, with what would."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.behaviours.gateway import THREE_DIALECTS, Gateway, running_gateway

HELLO = [{"role": "user", "content": "hello"}]
CHAT = "/v1/chat/completions"
CONFIG = (
    THREE_DIALECTS
    + """
  replicate:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/replicate"}
  cohere:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/cohere"}
"""
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("kinds"), CONFIG) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    return served


@pytest.mark.parametrize(
    ("model", "path", "body", "said"),
    [
        ("openai/gpt-image-1", CHAT, {"messages": HELLO}, "a model for pictures: /v1/images/generations."),
        ("openai/tts-1", CHAT, {"messages": HELLO}, "a model for speech: /v1/audio/speech."),
        (
            "openai/whisper-1",
            CHAT,
            {"messages": HELLO},
            "a model for transcription: /v1/audio/transcriptions.",
        ),
        (
            "openai/text-embedding-3-small",
            CHAT,
            {"messages": HELLO},
            "a model for embeddings: /v1/embeddings.",
        ),
        ("openai/gpt-4o-mini", "/v1/images/generations", {"prompt": "a weir"}, f"a model for chat: {CHAT}."),
        (
            "openai/gpt-4o-mini",
            "/v1/audio/speech",
            {"input": "hello", "voice": "alloy"},
            f"a model for chat: {CHAT}.",
        ),
        ("openai/gpt-4o-mini", "/v1/embeddings", {"input": "hello"}, f"a model for chat: {CHAT}."),
    ],
)
def test_a_model_of_another_kind(
    gateway: Gateway, model: str, path: str, body: dict[str, Any], said: str
) -> None:
    answer = gateway.post({"model": model, **body}, path)
    assert (answer.status, answer.error["param"]) == (400, "model"), answer.body
    assert f"{model} is {said}" in answer.error["message"]
    assert gateway.sim.requests == []


def test_what_the_catalogue_does_not_know_is_tried(gateway: Gateway) -> None:
    body = {"model": "openai/a-model-of-tomorrow", "prompt": "a weir"}
    assert gateway.post(body, "/v1/images/generations").status == 200
    assert len(gateway.sim.requests) == 1


def test_a_provider_without_the_operation_is_named_once_with_those_that_have_it(gateway: Gateway) -> None:
    answer = gateway.post({"model": "anthropic/claude-haiku-4-5", "input": "hello"}, "/v1/embeddings")
    said = "anthropic has no embeddings. Of the configured providers openai, gemini, backup, cohere have."
    assert (answer.status, said in answer.error["message"]) == (400, True), answer.body


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"model": "google/gemini-2.5-flash", "messages": HELLO}),
        (
            "/v1beta/models/google/gemini-2.5-flash:generateContent",
            {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
        ),
        ("/api/v1/embeddings", {"model": "google/gemini-embedding-001", "input": "hello"}),
        ("/v1/embeddings", {"model": "google/gemini-embedding-001", "input": "hello"}),
    ],
)
def test_a_slug_finds_its_seller_at_every_door(gateway: Gateway, path: str, body: dict[str, Any]) -> None:
    """Also where another provider that cannot do it has something of that very name."""
    for _ in range(2):
        answer = gateway.post(body, path)
        assert (answer.status, answer.headers["x-penstock-provider"]) == (200, "gemini"), answer.body


def test_a_named_provider_is_never_exchanged(gateway: Gateway) -> None:
    """``replicate/...`` means Replicate, and it has no chat."""
    answer = gateway.post({"model": "replicate/google/gemini-2.5-flash", "messages": HELLO}, CHAT)
    assert (answer.status, "replicate has no chat." in answer.error["message"]) == (400, True), answer.body
    assert gateway.sim.requests == []


def test_the_part_that_a_model_does_not_take_is_named(gateway: Gateway) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    content = [{"type": "text", "text": "What is this?"}, picture]
    answer = gateway.post(
        {"model": "openai/gpt-3.5-turbo", "messages": [*HELLO, {"role": "user", "content": content}]}, CHAT
    )
    assert (answer.status, answer.error["param"]) == (400, "messages[1].content[1]"), answer.body
    assert "takes no image" in answer.error["message"]
    assert "Name a model that takes images" in answer.body.decode()
    assert gateway.sim.requests == []


def test_a_rerank_says_what_it_was_translated_from(gateway: Gateway) -> None:
    body = {"model": "cohere/rerank-v3.5", "query": "weir", "documents": ["a weir", "a bird"]}
    answer = gateway.post(body, "/v2/rerank")
    assert answer.status == 200, answer.body
    assert "translated from rerank to cohere" in str(gateway.story(answer.request_id))


ON_VERTEX = """
providers:
  vertex:
    project: p
    location: us-east5
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{sim}/p/vertex"}
  backup:
    dialect: openai
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/backup/v1", retry: {max_retries: 0}}
"""


def test_other_makers_models_on_vertex_are_neither_listed_nor_asked_for(tmp_path):
    """Vertex's dialect here is Gemini's: what Anthropic, Meta or Mistral sell there has other endpoints and other formats."""
    with running_gateway(tmp_path, ON_VERTEX) as gateway:
        listed = [
            row["id"] for row in gateway.get("/v1/models").json()["data"] if row["id"].startswith("vertex/")
        ]
        assert "vertex/gemini-2.5-flash" in listed
        assert not [one for one in listed if "claude" in one or "llama" in one or one.endswith("-maas")]
        for model in ("vertex/claude-haiku-4-5", "vertex/meta/llama-3.3-70b-instruct-maas"):
            refused = gateway.post({"model": model, "messages": HELLO})
            assert (refused.status, refused.error["param"]) == (400, "model")
            assert "none of Google's own models" in refused.error["message"]
            answer = gateway.post({"model": model, "fallbacks": ["backup/m"], "messages": HELLO})
            assert answer.headers["x-penstock-provider"] == "backup"
        assert gateway.post({"model": "claude-haiku-4-5", "messages": HELLO}).status == 404
        assert {one.provider for one in gateway.sim.requests} == {"backup"}
