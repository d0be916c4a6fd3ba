"""Several answers to one request through the official clients, at a provider of the other format."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from google import genai
from google.genai import types

from tests.behaviours.gateway import MODELS, SECRETS, THREE_DIALECTS, Gateway, chat, running_gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = THREE_DIALECTS + "virtual_keys: [{name: alice, key: env.CALLER_KEY}]\n"
    with running_gateway(tmp_path_factory.mktemp("several"), config) as served:
        yield served


def test_openais_client_gets_geminis_candidates(gateway: Gateway):
    """Streamed and whole; what they cost together is the call's."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SECRETS["CALLER_KEY"], max_retries=0) as client:
        asked: Any = {"model": MODELS["gemini"], "n": 3, "messages": [{"role": "user", "content": "say it"}]}
        chats: Any = client.chat.completions
        whole = chats.with_raw_response.create(**asked)
        reply = whole.parse()
        assert [one.index for one in reply.choices] == [0, 1, 2]
        assert all(one.message.content and one.finish_reason == "stop" for one in reply.choices)
        assert "x-penstock-adjusted" not in whole.headers
        entry = gateway.entry(whole.headers["x-request-id"])
        assert (entry.input, entry.output) == (reply.usage.prompt_tokens, reply.usage.completion_tokens)
        del asked["n"]
        one = chats.create(**asked)
        assert reply.usage.completion_tokens == 3 * one.usage.completion_tokens
        texts: dict[int, str] = {}
        ends: dict[int, str] = {}
        for chunk in chats.create(**asked, n=3, stream=True):
            for choice in chunk.choices:
                texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
                if choice.finish_reason:
                    ends[choice.index] = choice.finish_reason
        assert texts == dict.fromkeys(range(3), one.choices[0].message.content)
        assert ends == dict.fromkeys(range(3), "stop")


def test_googles_client_gets_openais_choices(gateway: Gateway):
    """Streamed and whole."""
    options = types.HttpOptions(base_url=gateway.url, api_version="v1beta")
    with genai.Client(api_key=SECRETS["CALLER_KEY"], http_options=options) as client:
        config = types.GenerateContentConfig(candidate_count=2)
        reply = client.models.generate_content(model=MODELS["openai"], contents="say it", config=config)
        candidates = reply.candidates or []
        assert [one.index for one in candidates] == [0, 1]
        assert all(one.content and one.content.parts and one.content.parts[0].text for one in candidates)
        texts = {0: "", 1: ""}
        ends: set[int] = set()
        for piece in client.models.generate_content_stream(
            model=MODELS["openai"], contents="say it", config=config
        ):
            for one in piece.candidates or []:
                index = one.index or 0
                texts[index] += "".join(part.text or "" for part in (one.content and one.content.parts) or [])
                if one.finish_reason is not None:
                    ends.add(index)
        assert texts[0] == texts[1] != ""
        assert ends == {0, 1}


def test_an_override_of_the_configuration_does_not_make_several_of_one(tmp_path: Path):
    """Whoever asked for one answer could read no others: the target is left out, with the reason."""
    config = THREE_DIALECTS + "routes: [{id: r, primary: {model: gemini/gemini-2.5-flash, params: {n: 2}}}]\n"
    with running_gateway(tmp_path, config) as gateway:
        answer = gateway.post(chat("r", "x"))
        assert answer.status == 503, answer.body
        assert answer.error["code"] == "no_target_left"
        assert [one for one in gateway.sim.requests if one.provider == "gemini"] == []
