"""The short lane serves plain calls that are translated, or pass between Anthropic's callers and Anthropic, as the long way does."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.behaviours.gateway import THREE_DIALECTS
from tests.behaviours.lanes import KEY, Pair, Side, two_ways

CONFIG = (
    THREE_DIALECTS
    + """
  cohere:
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/cohere", retry: {max_retries: 0}}
routes:
  - {id: either, primary: anthropic/claude-haiku-4-5, fallbacks: [gemini/gemini-2.5-flash]}
virtual_keys:
  - {name: caller, key: env.CALLER_KEY}
"""
)
CHAT, MESSAGES, EMBED = "/v1/chat/completions", "/v1/messages", "/v1/embeddings"
SAID: list[Any] = [{"role": "user", "content": "hello there"}]
CALLS: dict[str, tuple[str, dict[str, Any], int]] = {
    "openai to anthropic": (CHAT, {"model": "anthropic/claude-haiku-4-5", "messages": SAID}, 1),
    "openai to gemini": (CHAT, {"model": "gemini/gemini-2.5-flash", "messages": SAID, "seed": 3}, 1),
    "openai to cohere": (CHAT, {"model": "cohere/command-a-03-2025", "messages": SAID, "logit_bias": {"1": 2}}, 1),
    "anthropic to openai": (MESSAGES, {"model": "openai/gpt-4o-mini", "max_tokens": 9, "messages": SAID}, 1),
    "anthropic to gemini": (MESSAGES, {"model": "gemini/gemini-2.5-flash", "max_tokens": 9, "messages": SAID}, 1),
    "anthropic to anthropic": (MESSAGES, {"model": "anthropic/claude-haiku-4-5", "max_tokens": 9, "messages": SAID}, 1),
    "embeddings": (EMBED, {"model": "openai/text-embedding-3-small", "input": "hello"}, 1),
    "embeddings elsewhere": (EMBED, {"model": "cohere/embed-v4.0", "input": ["hello", "there"]}, 1),
    "a chain": (CHAT, {"model": "either", "messages": SAID}, 1),
    # What the lane leaves alone.
    "a stream": (MESSAGES, {"model": "openai/gpt-4o-mini", "max_tokens": 9, "messages": SAID, "stream": True}, 0),
    "tools": (
        MESSAGES,
        {
            "model": "openai/gpt-4o-mini",
            "max_tokens": 9,
            "messages": SAID,
            "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
        },
        0,
    ),
    "refused by the dialect": (CHAT, {"model": "anthropic/claude-haiku-4-5", "messages": SAID, "n": 2}, 0),
    "no such field's value": (MESSAGES, {"model": "openai/gpt-4o-mini", "max_tokens": "many", "messages": SAID}, 0),
    "openrouter": ("/api/v1/chat/completions", {"model": "anthropic/claude-haiku-4-5", "messages": SAID}, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with two_ways(tmp_path_factory.mktemp("translated"), CONFIG) as made:
        yield made


def plain_of(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A call like this one that every lane may take: so that its plan is remembered."""
    return {
        name: value for name, value in body.items() if name in ("model", "max_tokens", "messages", "input")
    }


@pytest.mark.parametrize("name", CALLS)
def test_it_is_served_alike(pair: Pair, name: str):
    """What the provider receives, what the caller reads, what is written down, counted and learned of it."""
    path, body, taken = CALLS[name]

    def scenario(side: Side) -> None:
        if name != "no such field's value":
            side.warm(plain_of(path, body), KEY, path)
        side.post(body, KEY, path)

    pair.run(scenario, taken=taken, express=0)


@pytest.mark.parametrize("name", [name for name, (_, _, taken) in CALLS.items() if taken])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 429},
        {"kind": "status", "status": 400},
        {"kind": "early_close"},
        {"kind": "malformed"},
        {"kind": "error_in_200"},
        {"kind": "html", "status": 200},
    ],
    ids=lambda fault: f"{fault['kind']}{fault.get('status', '')}",
)
def test_it_fails_alike(pair: Pair, name: str, fault: dict[str, Any]):
    """What goes wrong after the request left goes on on the long way, whose story is the same."""
    path, body, taken = CALLS[name]

    def scenario(side: Side) -> None:
        side.warm(plain_of(path, body), KEY, path)
        side.gateway.faults({**fault, "when": {"first": 1}})
        side.post(body, KEY, path)

    pair.run(scenario, taken=taken, express=0)
