"""Pictures through the gateway, as OpenAI's own client asks for them, over every provider that the simulator plays."""

import base64
from collections.abc import Iterator

import openai
import pytest

from penstock.wire.pictures import look
from tests.behaviours.gateway import Gateway, running_gateway

PROVIDERS = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  gemini:
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{sim}/p/gemini", retry: {max_retries: 0}}
  stability:
    keys: [{value: env.SECOND_KEY}]
    network: {base_url: "{sim}/p/stability", retry: {max_retries: 0}}
  fal:
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/fal", retry: {max_retries: 0}}
  replicate:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/replicate/v1", retry: {max_retries: 0}}
"""
MODELS = {
    "openai": "openai/gpt-image-2",
    "gemini": "gemini/gemini-2.5-flash-image",
    "stability": "stability/stable-image-core",
    "fal": "fal/fal-ai/flux/dev",
    "replicate": "replicate/black-forest-labs/flux-dev",
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("images"), PROVIDERS) as running:
        yield running


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    gateway.fresh()
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("provider", MODELS)
def test_four_pictures_from_every_provider(gateway: Gateway, client: openai.OpenAI, provider: str):
    """n is honoured everywhere; each picture is one; the ledger knows what they cost."""
    raw = client.images.with_raw_response.generate(
        model=MODELS[provider], prompt="a mill at a river", n=4, size="1024x1024"
    )
    reply = raw.parse()
    assert reply.data is not None
    facts = [look(base64.b64decode(one.b64_json or "")) for one in reply.data]
    assert len(facts) == 4
    assert all(one is not None and one.mime == "image/png" for one in facts)
    entry = gateway.entry(raw.headers["x-request-id"])
    assert entry.klass == "delivered"
    print(entry.lines, entry.cost_nusd, raw.headers.get("x-penstock-adjusted"), reply.usage, reply.size)
