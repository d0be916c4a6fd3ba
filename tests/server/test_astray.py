"""Paths that nothing is served at: whoever asks there learns where to ask."""

import json
from collections.abc import Iterator

import pytest

from penstock.base.chat import ChatRequest, Message, Text
from penstock.base.errors import BadRequest
from penstock.base.models import ModelFacts, Target
from penstock.dialects import CALLERS
from penstock.dialects.openai_responses.request import refuse
from penstock.server.astray import lies_outside, no_path
from penstock.server.routes import caller_of
from tests.behaviours.gateway import Gateway, running_gateway

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
"""


@pytest.mark.parametrize(
    ("path", "drop", "meant", "shape"),
    [
        ("/v1/v1/messages", "/v1", "/v1/messages", "anthropic"),
        ("/anthropic/v1/v1/messages", "/v1", "/anthropic/v1/messages", "anthropic"),
        ("/v1/v1/chat/completions", "/v1", "/v1/chat/completions", "openai"),
        ("/v1/v1beta/models/m:generateContent", "/v1", "/v1beta/models/m:generateContent", "gemini"),
        ("/v1beta/v1beta/models/m:generateContent", "/v1beta", "/v1beta/models/m:generateContent", "gemini"),
        ("/v1beta/v1beta1/models", "/v1beta", "/v1beta1/models", "gemini"),
    ],
)
def test_a_doubled_version_says_what_to_drop(path: str, drop: str, meant: str, shape: str) -> None:
    error = no_path(path)
    assert error.hint == f"Drop {drop} from the end of the base URL; what is meant is {meant}."
    assert lies_outside(path)
    assert caller_of(path.encode()).name == shape


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/mesages", "/v1/messages"),
        ("/v1/response", "/v1/responses"),
        ("/v2/embed", "/v1/embeddings"),
        ("/models/m:generateContent", "/v1beta/models/{model}:generateContent"),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/nowhere", "models at /v1/models"),
    ],
)
def test_the_nearest_path_is_named(path: str, said: str) -> None:
    assert said in (no_path(path).hint or "")
    assert not lies_outside(path)


@pytest.mark.parametrize(
    "path", ["/v1beta/models", "/v1beta/models/m", "/v1/models/openai/gpt-4o", "/v1/models/llama3"]
)
def test_what_exists_does_not_lie_outside(path: str) -> None:
    assert not lies_outside(path)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("astray"), CONFIG) as running:
        yield running


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/gemini-2.5-pro:generateText",
        "/v1beta/models/gemini-2.5-pro:batchGenerateContent",
        "/v1beta/v1beta/models/gemini-2.5-pro:generateContent",
        "/v1/responses/input_tokens",
    ],
)
def test_what_is_not_served_is_404_and_never_405(gateway: Gateway, path: str) -> None:
    answer = gateway.open({"a": 1}, path, method="POST").rest()
    error = json.loads(answer.body)["error"]
    assert answer.status == 404
    assert ("/raw/{provider}/" in error["message"]) != ("Drop /v1beta" in error["message"])


def test_what_is_served_with_another_method_stays_405(gateway: Gateway) -> None:
    assert gateway.open({"a": 1}, "/v1/models", method="POST").rest().status == 405
    assert gateway.open({"a": 1}, "/v1beta/models/m", method="POST").rest().status == 405


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"documents": []}, "documents", "is empty"),
        ({"documents": None}, "documents", "is missing"),
        ({"top_k": 2}, "top_k", "Did you mean top_n?"),
        ({"documents": ["a", {"txt": "b"}]}, "documents[1].text", "has no text"),
    ],
)
def test_a_ranking_that_cannot_be_made(body: dict[str, object], param: str, said: str) -> None:
    asked = json.dumps({"model": "cohere/rerank-v3.5", "query": "q", "documents": ["a"]} | body).encode()
    with pytest.raises(BadRequest) as caught:
        CALLERS["rerank"].read_request(asked)
    assert caught.value.param == param
    assert said in caught.value.public()


def test_a_refused_field_says_what_to_do_instead() -> None:
    target = Target("openai", "gpt-5", "responses", facts=ModelFacts("openai", "gpt-5"))
    no = refuse(ChatRequest("m", (Message("user", (Text("Hi"),)),), stop=("x",)), target)
    assert no is not None
    assert "Leave stop out" in no.reason
