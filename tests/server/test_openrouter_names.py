"""What OpenRouter's callers are shown, they may call; and nothing else is named to them."""

from collections.abc import Iterator

import pytest

from tests.behaviours.gateway import SECRETS, THREE_DIALECTS, Gateway, chat, running_gateway

CONFIG = (
    THREE_DIALECTS
    + """routes:
  - {id: house-blend, primary: anthropic/claude-haiku-4-5, fallbacks: [openai/gpt-4o-mini]}
virtual_keys:
  - {name: wide, key: env.CALLER_KEY}
  - {name: narrow, key: env.OTHER_CALLER_KEY, models: ["openai/gpt-4o-mini", "gemini/*"]}
  - {name: routed, key: env.ADMIN_KEY, models: [house-blend]}
"""
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("names"), CONFIG) as one:
        yield one


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {SECRETS[key]}"}


def listed(gateway: Gateway, key: str) -> list[str]:
    return [row["id"] for row in gateway.get("/api/v1/models", bearer(key)).json()["data"]]


@pytest.mark.parametrize("key", ["CALLER_KEY", "OTHER_CALLER_KEY", "ADMIN_KEY"])
def test_what_is_listed_can_be_called_and_looked_up(gateway: Gateway, key: str) -> None:
    names = listed(gateway, key)
    assert names
    assert len(set(names)) == len(names)
    for name in [*names[:4], *names[-4:]]:
        assert gateway.get(f"/api/v1/models/{name}", bearer(key)).json()["id"] == name
        assert gateway.post(chat(name), "/api/v1/chat/completions", bearer(key)).status == 200


def test_other_keys_models_are_not_named(gateway: Gateway) -> None:
    assert {"house-blend", "openai/gpt-4o", "anthropic/claude-haiku-4.5"} <= set(
        listed(gateway, "CALLER_KEY")
    )
    narrow = listed(gateway, "OTHER_CALLER_KEY")
    assert "openai/gpt-4o-mini" in narrow
    assert "google/gemini-2.5-flash" in narrow
    assert not {"openai/gpt-4o", "anthropic/claude-haiku-4.5"} & set(narrow)
    assert listed(gateway, "ADMIN_KEY") == ["house-blend"]
    refused = gateway.get("/api/v1/models/openai/gpt-4o", bearer("OTHER_CALLER_KEY"))
    assert (refused.status, refused.json()["error"]["code"]) == (404, 404)
    assert gateway.get("/api/v1/models/openai/gpt-4o/endpoints", bearer("OTHER_CALLER_KEY")).status == 404


def test_a_key_is_asked_for(gateway: Gateway) -> None:
    for page in (
        "models",
        "models/count",
        "key",
        "credits",
        "providers",
        "endpoints/zdr",
        "models/a/b/endpoints",
    ):
        assert gateway.get(f"/api/v1/{page}").status == 401, page


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/chat/completions"])
@pytest.mark.parametrize(
    "model",
    [
        "azure/gpt-4o",
        "groq/gpt-4o",
        "openrouter/gpt-4o",
        "azure/claude-haiku-4-5",
        "vertex/gemini-2.5-flash",
        "foo/gpt-4o",
    ],
)
def test_who_names_a_provider_that_is_not_configured_gets_no_other(
    gateway: Gateway, model: str, path: str
) -> None:
    """Another contract, another country: a call for Azure is not OpenAI's, though it sells a model of that name."""
    gateway.fresh()
    refused = gateway.post(chat(model), path, bearer("CALLER_KEY"))
    assert refused.status == 404
    assert f"no provider '{model.partition('/')[0]}' is configured" in refused.error["message"]
    assert not gateway.sim.requests
