"""The official ``openai`` client's legacy completions: over chat models as one message, and through where they exist."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types import Completion

from tests.behaviours.gateway import THREE_DIALECTS, Gateway, at, running_gateway

CONFIG = (
    THREE_DIALECTS
    + """
  old:
    dialect: openai
    completions: true
    keys: [{value: env.SECOND_KEY}]
    network: {base_url: "{sim}/p/old/v1", retry: {max_retries: 0}}
"""
)
DOORS = {
    "openai": "openai/gpt-4o-mini",
    "anthropic": "anthropic/claude-haiku-4-5",
    "gemini": "gemini/gemini-2.5-flash",
    "old": "old/some-base-model",
}
each_door = pytest.mark.parametrize("door", DOORS)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("completions"), CONFIG) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    return served


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as made:
        yield made


@each_door
def test_a_completion_whole_and_streamed(client: openai.OpenAI, gateway: Gateway, door: str) -> None:
    """The same words; usage as asked; the client's own type; what was done is told."""
    asked: Any = {"model": DOORS[door], "prompt": "SAY_TOKENS 5", "max_tokens": 50}
    raw = client.completions.with_raw_response.create(**asked)
    made = Completion.model_validate_json(raw.content)
    assert raw.headers.get("x-penstock-adjusted") == (None if door == "old" else "prompt-as-chat")
    chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert made.choices[0].text
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == made.choices[0].text
    assert (made.choices[0].finish_reason, chunks[-2].choices[0].finish_reason) == ("stop", "stop")
    assert made.usage is not None
    assert chunks[-1].usage is not None
    assert (made.usage.completion_tokens, chunks[-1].usage.completion_tokens) == (5, 5)
    entry = gateway.last_record().entries[0]
    assert entry.output == 5


@each_door
def test_usage_that_nobody_asked_for_is_not_shown_but_known(
    client: openai.OpenAI, gateway: Gateway, door: str
) -> None:
    """No chunk without choices; the ledger has it all the same."""
    chunks = list(client.completions.create(model=DOORS[door], prompt="SAY_TOKENS 3", stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert gateway.last_record().entries[0].output == 3


def test_the_old_ones_get_the_bytes(client: openai.OpenAI, gateway: Gateway) -> None:
    """Several prompts, n, logprobs, a suffix: as they are, but for the model's name and what only a gateway reads."""
    asked: Any = {
        "prompt": ["SAY_TOKENS 2", "SAY_TOKENS 3"],
        "n": 2,
        "logprobs": 1,
        "suffix": "end",
        "max_tokens": 9,
    }
    made = client.completions.create(model=DOORS["old"], **asked, extra_body={"fallbacks": []})
    assert [choice.index for choice in made.choices] == [0, 1, 2, 3]
    assert made.choices[0].logprobs is not None
    assert gateway.sent() == {"model": "some-base-model", **asked}
    assert gateway.sim.requests[-1].path.endswith("/completions")
    assert "chat" not in gateway.sim.requests[-1].path


def test_a_chat_model_gets_one_message(client: openai.OpenAI, gateway: Gateway) -> None:
    """With the parameters that both have; echo repeats the prompt."""
    made = client.completions.create(
        model=DOORS["openai"], prompt="ECHO on", echo=True, temperature=0.5, stop=["END"], seed=7
    )
    assert made.choices[0].text == "ECHO onon"
    sent = gateway.sent()
    assert sent["messages"] == [{"role": "user", "content": "ECHO on"}]
    assert (sent["temperature"], sent["stop"], sent["seed"]) == (0.5, ["END"], 7)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"prompt": ["one", "two"]}, "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"n": 0}, "n"),
        ({"prompt": 7}, "prompt"),
    ],
)
def test_what_no_chat_can_do_is_refused(client: openai.OpenAI, more: dict[str, Any], param: str) -> None:
    """With the field's name, before anything is sent."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(**{"model": DOORS["openai"], "prompt": "hi", **more})
    assert refused.value.param == param


@each_door
def test_a_stream_that_breaks_raises(client: openai.OpenAI, gateway: Gateway, door: str) -> None:
    """Never a quiet end."""
    gateway.faults(at(door, "close_mid_stream", after=2))
    with pytest.raises(openai.APIError):
        list(client.completions.create(model=DOORS[door], prompt="SAY_TOKENS 9", stream=True))
    gateway.faults()


def test_every_path(gateway: Gateway) -> None:
    """As OpenAI's clients write it, with each prefix."""
    for path in ("/v1/completions", "/openai/v1/completions", "/completions", "/api/v1/completions"):
        answer = gateway.post({"model": DOORS["openai"], "prompt": "ECHO x"}, path)
        assert answer.status == 200
        assert json.loads(b"".join(piece.data for piece in answer.pieces))["object"] == "text_completion"
