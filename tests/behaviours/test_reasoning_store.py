"""Reasoning survives a tool conversation although the caller's library drops it: kept by the call's id, put back by us."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from penstock.simulate import Simulator, running_simulator
from tests.behaviours.gateway import CHAT, Gateway, running_gateway
from tests.behaviours.test_tools_and_reasoning import NOW, WEATHER

CONFIG = """
providers:
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{far}/p/anthropic", retry: {max_retries: 0}}
  gemini:
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{far}/p/gemini", retry: {max_retries: 0}}
virtual_keys:
  - {name: mine, key: env.CALLER_KEY}
  - {name: theirs, key: env.OTHER_CALLER_KEY}
"""
MINE, THEIRS = "vk-caller-000000000006", "vk-other-000000000007"
MODELS = {"anthropic": "anthropic/claude-haiku-4-5", "gemini": "gemini/gemini-3-flash-preview"}
ADJUSTED = "x-penstock-adjusted"
each_maker = pytest.mark.parametrize("maker", MODELS)


@pytest.fixture(scope="module")
def far() -> Iterator[Simulator]:
    with running_simulator() as sim:
        yield sim


@pytest.fixture
def gateway(tmp_path: Path, far: Simulator) -> Iterator[Gateway]:
    with running_gateway(tmp_path, CONFIG, far=far.url) as running:
        yield running


def asked(maker: str, messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """What a client without a word for reasoning sends."""
    return {
        "model": MODELS[maker],
        "messages": messages,
        "tools": [WEATHER, NOW],
        "reasoning_effort": "low",
        "max_completion_tokens": 4000,
        **more,
    }


def plain(message: dict[str, Any]) -> dict[str, Any]:
    """The assistant's message as a client keeps it that knows OpenAI's own fields only."""
    return {name: message[name] for name in ("role", "content", "tool_calls") if name in message}


def results(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"role": "tool", "tool_call_id": call["id"], "content": f"{number} degrees"}
        for number, call in enumerate(message["tool_calls"])
    ]


def begun(gateway: Gateway, maker: str, key: str = MINE, **more: Any) -> list[dict[str, Any]]:
    """A conversation whose next turn brings two tools' results."""
    said = [{"role": "user", "content": "CALL_TOOLS 2"}]
    answer = gateway.post(asked(maker, said, **more), CHAT, {"authorization": f"Bearer {key}"})
    assert answer.status == 200, answer.body
    message = plain(answer.json()["choices"][0]["message"])
    assert len(message["tool_calls"]) == 2
    return [*said, message, *results(message)]


def proofs(far: Simulator) -> list[str]:
    """The signatures in the last request that a provider received."""
    body = far.requests[-1].body.decode()
    found: list[str] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            found.extend(value[name] for name in ("signature", "thoughtSignature") if name in value)
            for one in value.values():
                look(one)
        elif isinstance(value, list):
            for one in value:
                look(one)

    look(json.loads(body))
    return found


@each_maker
def test_ten_turns_with_two_tools_through_openais_library(tmp_path: Path, far: Simulator, maker: str) -> None:
    """With a reload in the middle, and a restart: the second half of the history is read from the database."""
    messages: list[Any] = []

    def turns(gateway: Gateway, count: int) -> None:
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=MINE, max_retries=0) as client:
            for _ in range(count):
                messages.append({"role": "user", "content": "CALL_TOOLS 2"})
                for _step in range(2):
                    raw = client.chat.completions.with_raw_response.create(**asked(maker, messages))
                    message = plain(raw.parse().choices[0].message.model_dump(exclude_none=True))
                    messages.append(message)
                    if "tool_calls" in message:
                        assert len(message["tool_calls"]) == 2
                        messages.extend(results(message))
                    else:
                        assert "reasoning-restored" in raw.headers[ADJUSTED]
                        assert "skip" not in str(proofs(far))
                assert messages[-1]["role"] == "assistant"

    with running_gateway(tmp_path, CONFIG, far=far.url) as gateway:
        turns(gateway, 3)
        assert gateway.reload(CONFIG + "# again\n") == []
        turns(gateway, 2)
    with running_gateway(tmp_path, CONFIG, far=far.url) as gateway:
        turns(gateway, 5)
        assert len(gateway.house.reasoning) == 20
    assert len(proofs(far)) == 10
    assert len(messages) == 10 * 5


@each_maker
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_the_thoughts_are_back_and_it_is_told(
    gateway: Gateway, far: Simulator, maker: str, stream: bool
) -> None:
    messages = begun(gateway, maker)
    answer = gateway.post(asked(maker, messages, stream=stream), CHAT, {"authorization": f"Bearer {MINE}"})
    assert answer.status == 200, answer.body
    assert "reasoning-restored" in answer.headers[ADJUSTED].split(", ")
    assert len(proofs(far)) == 1
    assert "restored" in str(gateway.story(answer.request_id))


@each_maker
def test_another_key_gets_nothing(gateway: Gateway, far: Simulator, maker: str) -> None:
    messages = begun(gateway, maker)
    answer = gateway.post(asked(maker, messages), CHAT, {"authorization": f"Bearer {THEIRS}"})
    assert answer.status == 200, answer.body
    assert "reasoning-restored" not in answer.headers.get(ADJUSTED, "")
    assert proofs(far) in ([], ["skip_thought_signature_validator"])


@each_maker
def test_another_maker_gets_nothing(gateway: Gateway, far: Simulator, maker: str) -> None:
    other = next(name for name in MODELS if name != maker)
    messages = begun(gateway, maker)
    answer = gateway.post(asked(other, messages), CHAT, {"authorization": f"Bearer {MINE}"})
    assert answer.status == 200, answer.body
    assert "reasoning-restored" not in answer.headers.get(ADJUSTED, "")
    assert proofs(far) in ([], ["skip_thought_signature_validator"])


@each_maker
def test_a_call_under_another_name_is_another_call(gateway: Gateway, far: Simulator, maker: str) -> None:
    messages = begun(gateway, maker)
    messages[1]["tool_calls"][0]["function"]["name"] = "now"
    messages[1]["tool_calls"][0]["function"]["arguments"] = "{}"
    answer = gateway.post(asked(maker, messages), CHAT, {"authorization": f"Bearer {MINE}"})
    assert answer.status == 200, answer.body
    assert "reasoning-restored" not in answer.headers.get(ADJUSTED, "")


def test_switched_off_nothing_is_kept(tmp_path: Path, far: Simulator) -> None:
    config = CONFIG + "reasoning_store: {enabled: false}\n"
    with running_gateway(tmp_path, config, far=far.url) as gateway:
        messages = begun(gateway, "gemini")
        answer = gateway.post(asked("gemini", messages), CHAT, {"authorization": f"Bearer {MINE}"})
        assert answer.status == 200, answer.body
        assert "reasoning-restored" not in answer.headers.get(ADJUSTED, "")
        assert len(gateway.house.reasoning) == 0


def test_through_anthropics_inlet_too(gateway: Gateway, far: Simulator) -> None:
    """A caller of the Messages API that sends its history back without thinking blocks."""
    tools = [
        {"name": tool["function"]["name"], "input_schema": tool["function"]["parameters"]}
        for tool in (WEATHER, NOW)
    ]
    ask = {"model": MODELS["gemini"], "max_tokens": 4000, "tools": tools}
    said: list[dict[str, Any]] = [{"role": "user", "content": "CALL_TOOLS 2"}]
    headers = {"x-api-key": MINE, "anthropic-version": "2023-06-01"}
    first = gateway.post({**ask, "messages": said}, "/v1/messages", headers)
    assert first.status == 200, first.body
    calls = [block for block in first.json()["content"] if block["type"] == "tool_use"]
    answers = [{"type": "tool_result", "tool_use_id": call["id"], "content": "20"} for call in calls]
    said += [{"role": "assistant", "content": calls}, {"role": "user", "content": answers}]
    second = gateway.post({**ask, "messages": said}, "/v1/messages", headers)
    assert second.status == 200, second.body
    assert "reasoning-restored" in second.headers[ADJUSTED]
    assert len(proofs(far)) == 1
