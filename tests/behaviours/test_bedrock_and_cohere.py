"""The openai SDK through the gateway to Bedrock and to Cohere: words, streams, tools, thinking, pictures, files, fallbacks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from penstock.simulate import Scenario
from tests.behaviours.gateway import SECRETS, Gateway, at, chat, running_gateway

PAIR = "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
ID, _, SECRET = PAIR.partition(":")
API_KEY = "ABSKQmVkcm9ja0FQSUtleS10ZXN0"
COHERE_KEY = "cohere-key-test-00000000"
CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
TARGETS = (f"bedrock/{CLAUDE}", f"bearer/{CLAUDE}", "cohere/command-a-plus-05-2026")
CONFIG = f"""
providers:
  bedrock:
    location: eu-central-1
    aws: {{access_key_id: env.AWS_ID, secret_access_key: env.AWS_SECRET, session_token: env.AWS_TOKEN}}
    network: {{base_url: "{{sim}}/p/bedrock", retry: {{max_retries: 0}}}}
  bearer:
    dialect: bedrock
    location: us-east-1
    keys: [{{value: env.AWS_BEARER}}, {{value: env.AWS_PAIR}}]
    network: {{base_url: "{{sim}}/p/bearer", retry: {{max_retries: 0}}}}
  cohere:
    keys: [{{value: env.COHERE_KEY}}]
    network: {{base_url: "{{sim}}/p/cohere", retry: {{max_retries: 0}}}}
  backup:
    dialect: openai
    keys: [{{value: env.BACKUP_KEY}}]
    network: {{base_url: "{{sim}}/p/backup/v1", retry: {{max_retries: 0}}}}
fallbacks:
{"".join(f"  - {{primary: '{target}', secondary: backup/gpt-4o-mini}}{chr(10)}" for target in TARGETS)}
"""
KEYS = {
    **SECRETS,
    "AWS_ID": ID,
    "AWS_SECRET": SECRET,
    "AWS_TOKEN": "IQoJb3JpZ2luX2VjEXAMPLE==",
    "AWS_BEARER": API_KEY,
    "AWS_PAIR": PAIR,
    "COHERE_KEY": COHERE_KEY,
}
SCENARIO = Scenario(
    keys={"bedrock": [f"{PAIR}:{KEYS['AWS_TOKEN']}"], "bearer": [API_KEY, PAIR], "cohere": [COHERE_KEY]}
)
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Tells {name}.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
    for name in ("weather", "tide")
]
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "data:application/pdf;base64,JVBERi0xLjQKJcOkw7zDtsOfCg=="
each = pytest.mark.parametrize("model", TARGETS)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("bedrock")
    with running_gateway(folder, CONFIG, scenario=SCENARIO, secrets=KEYS) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    shared.fresh()
    return shared


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0) as client:
        yield client


def say(client: openai.OpenAI, model: str, text: str, **more: Any) -> Any:
    asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]} | more
    return client.chat.completions.create(**asked)


@each
def test_words_whole_and_streamed_and_their_exact_cost(
    gateway: Gateway, client: openai.OpenAI, model: str
) -> None:
    """The same words, the same usage; the ledger's cost is the sum of its lines."""
    whole = say(client, model, "ECHO Grüße an alle 🙂")
    assert whole.choices[0].message.content == "Grüße an alle 🙂"
    assert whole.choices[0].finish_reason == "stop"
    chunks = list(
        say(client, model, "ECHO Grüße an alle 🙂", stream=True, stream_options={"include_usage": True})
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Grüße an alle 🙂"
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens > 0
    entry = gateway.entry(whole.id)
    assert sum(line.quantity for line in entry.lines) == whole.usage.total_tokens


@pytest.mark.parametrize("model", [TARGETS[0], "cohere/command-r7b-12-2024"])
def test_the_cost_is_exact(gateway: Gateway, client: openai.OpenAI, model: str) -> None:
    """Quantity times price, line by line; what the caller is told is what the provider counted."""
    entry = gateway.entry(say(client, model, "SAY_TOKENS 50").id)
    assert entry.output == 50
    assert [line.unit for line in entry.lines] == ["input", "output"]
    assert all(
        line.quantity * (line.price_pico_usd or 0) // (1000 * line.per) == line.cost_nusd
        for line in entry.lines
    )
    assert entry.cost_nusd == sum(line.cost_nusd or 0 for line in entry.lines)
    assert entry.cost_nusd


@each
@pytest.mark.parametrize("stream", [False, True])
def test_two_parallel_tools_over_several_turns(
    client: openai.OpenAI, gateway: Gateway, model: str, stream: bool
) -> None:
    """Three rounds of two calls each; ids, arguments and results stay together."""
    turns: list[Any] = [{"role": "system", "content": "Be brief."}]
    for number in range(3):
        turns.append({"role": "user", "content": f"CALL_TOOLS 2 round {number}"})
        message = _message(client, model, turns, stream=stream)
        calls = message["tool_calls"]
        assert [call["function"]["name"] for call in calls] == ["weather", "tide"]
        assert [json.loads(call["function"]["arguments"]) for call in calls] == [
            {"city": "value-0"},
            {"city": "value-1"},
        ]
        assert len({call["id"] for call in calls}) == 2
        turns.append(message)
        turns += [
            {"role": "tool", "tool_call_id": call["id"], "content": f"sunny {number}{place}"}
            for place, call in enumerate(calls)
        ]
        answer = _message(client, model, turns, stream=stream)
        assert f"sunny {number}0" in answer["content"]
        assert f"sunny {number}1" in answer["content"]
        turns.append(answer)
    assert len(gateway.sim.requests) == 6


def _message(client: openai.OpenAI, model: str, turns: list[Any], *, stream: bool) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": model, "messages": turns, "tools": TOOLS}
    if not stream:
        made = client.chat.completions.create(**asked).choices[0].message
        return made.model_dump(exclude_none=True, exclude={"reasoning", "reasoning_details", "annotations"})
    content, calls = "", {}
    for chunk in client.chat.completions.create(**asked, stream=True):
        delta = chunk.choices[0].delta if chunk.choices else None
        content += (delta.content or "") if delta else ""
        for part in (delta.tool_calls or ()) if delta else ():
            call = calls.setdefault(
                part.index,
                {
                    "id": part.id,
                    "type": "function",
                    "function": {"name": part.function.name, "arguments": ""},
                },
            )
            call["function"]["arguments"] += part.function.arguments or ""
    message: dict[str, Any] = {"role": "assistant", "content": content or None}
    return message | ({"tool_calls": [calls[index] for index in sorted(calls)]} if calls else {})


@each
def test_thinking_comes_and_goes_back(gateway: Gateway, model: str) -> None:
    """Visible thoughts; with tools the block (signed at Bedrock) is returned as it came, and is accepted."""
    asked = {"model": model, "tools": TOOLS, "max_tokens": 3000, "reasoning": {"max_tokens": 1500}}
    turns: list[Any] = [{"role": "user", "content": "CALL_TOOL"}]
    first = gateway.post({**asked, "messages": turns}).json()["choices"][0]["message"]
    assert first["reasoning"]
    call = first["tool_calls"][0]
    turns += [first, {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}]
    answer = gateway.post({**asked, "messages": turns})
    assert answer.json()["choices"][0]["message"]["content"] == "The tools said: sunny"
    sent = gateway.sent()
    if model.startswith("cohere"):
        assert sent["thinking"] == {"type": "enabled", "token_budget": 1500}
        assert sent["messages"][1]["tool_plan"] == "I will use the tools that fit."
    else:
        assert sent["additionalModelRequestFields"]["thinking"]["budget_tokens"] == 1500
        assert sent["messages"][1]["content"][0]["reasoningContent"]["reasoningText"]["signature"]
    assert "thinking-dropped" not in answer.headers.get("x-penstock-adjusted", "")


@each
def test_pictures_and_files(gateway: Gateway, client: openai.OpenAI, model: str) -> None:
    """A picture by its bytes; a PDF goes to Bedrock, and Cohere's refusal names the field."""
    picture = {"type": "image_url", "image_url": {"url": PNG}}
    words = {"type": "text", "text": "ECHO seen"}
    seen = say(client, model, "", messages=[{"role": "user", "content": [words, picture]}])
    assert seen.choices[0].message.content == "seen"
    file = {"type": "file", "file": {"filename": "a report.pdf", "file_data": PDF}}
    asked = chat(model, "", messages=[{"role": "user", "content": [words, file]}], fallbacks=[])
    answer = gateway.post(asked)
    if model.startswith("cohere"):
        assert answer.status in (200, 400)
        if answer.status == 400:
            assert answer.error["param"] == "messages[0].content[1]"
        else:  # the backup took it: the plan says why not Cohere
            assert (model, "document-format") in gateway.refused(answer.request_id) or (
                gateway.entry(answer.request_id).provider == "backup"
            )
        return
    assert answer.json()["choices"][0]["message"]["content"] == "seen"
    document = gateway.sent()["messages"][0]["content"][1]["document"]
    assert (document["format"], document["name"]) == ("pdf", "a report")


@each
def test_structured_output(gateway: Gateway, client: openai.OpenAI, model: str) -> None:
    """The schema goes to the provider, and the answer fits it."""
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    reply = say(client, model, "a number", response_format=form)
    assert isinstance(json.loads(reply.choices[0].message.content)["n"], int)
    sent = gateway.sent()
    assert ("outputConfig" in sent) != ("response_format" in sent)


@each
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [429, 503, 500])
def test_behaviour_01_throttling_and_outages_fall_back(
    gateway: Gateway, model: str, stream: bool, status: int
) -> None:
    """The caller sees the backup's answer only; the ledger both attempts."""
    gateway.faults(at(model.partition("/")[0], "status", status=status))
    answer = gateway.post(chat(model, "ECHO from the backup", stream=stream))
    assert (answer.status, answer.text()) == (200, "from the backup")
    entries = gateway.ledger(answer.request_id).entries
    assert entries[-1].provider == "backup"
    assert len(entries) >= 2


@each
def test_an_error_before_the_first_word_falls_back_and_later_it_is_said(gateway: Gateway, model: str) -> None:
    """In the stream of a 200: first frame, then after some words."""
    provider = model.partition("/")[0]
    gateway.faults(at(provider, "error_first_frame", status=429))
    answer = gateway.post(chat(model, "ECHO from the backup", stream=True))
    assert (answer.text(), answer.done) == ("from the backup", True)
    gateway.fresh()
    gateway.faults(at(provider, "error_mid_stream", after=2, status=503))
    answer = gateway.post(chat(model, "ECHO a b c d e", stream=True))
    assert answer.stream_error() is not None
    assert not answer.done
    assert answer.text()


@each
@pytest.mark.parametrize(
    "fault", [{"kind": "close_mid_stream", "after": 2}, {"kind": "malformed", "after": 2}]
)
def test_behaviour_05_a_cut_or_broken_stream_ends_in_an_error(
    gateway: Gateway, model: str, fault: dict[str, Any]
) -> None:
    """Never in an invented end."""
    gateway.faults({**fault, "when": {"providers": [model.partition("/")[0]]}})
    answer = gateway.post(chat(model, "ECHO a b c d e f", stream=True))
    assert answer.stream_error() is not None
    assert not answer.done
    assert gateway.ledger(answer.request_id).entries[-1].error


@each
@pytest.mark.parametrize("size", [1, 7])
def test_behaviour_02_any_split_on_the_wire(gateway: Gateway, model: str, size: int) -> None:
    """Byte by byte, real sockets."""
    gateway.faults(at(model.partition("/")[0], "split", bytes=size))
    assert gateway.post(chat(model, "ECHO für alle 🙂", stream=True)).text() == "für alle 🙂"


def test_signatures_are_made_for_each_key_and_hide_it(gateway: Gateway) -> None:
    """Temporary credentials, a pair among API keys; a refusal quotes no secret, and the next key is tried."""
    gateway.post(chat(TARGETS[0]))
    head = gateway.sim.requests[-1].headers
    assert head["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={ID}/")
    assert head["x-amz-security-token"] == KEYS["AWS_TOKEN"]
    assert "/eu-central-1/bedrock/aws4_request" in head["authorization"]
    used = set()
    for number in range(24):
        gateway.post(chat(TARGETS[1], f"again {number}"))
        used.add(gateway.sim.requests[-1].key)
    assert used == {API_KEY, ID}
    gateway.fresh()
    gateway.faults(at("bedrock", "status", status=403, message=f"the pair {PAIR} and {SECRET} are unknown"))
    answer = gateway.post(chat(TARGETS[0], "ECHO x"))
    entries = gateway.ledger(answer.request_id).entries
    assert entries[0].provider == "bedrock"
    assert SECRET not in repr(gateway.story(answer.request_id))


def test_a_large_body_is_signed_like_a_small_one(gateway: Gateway) -> None:
    """Beside the loop: the signature fits all the same."""
    file = {"type": "file", "file": {"filename": "big.pdf", "file_data": PDF[:-4] + "A" * 3_000_000}}
    turns = [{"role": "user", "content": [{"type": "text", "text": "ECHO seen"}, file]}]
    answer = gateway.post({"model": "bedrock/imported-model", "messages": turns})  # of no known context
    assert answer.text() == "seen"
    assert gateway.sim.requests[-1].dialect == "bedrock"


def test_a_cached_prompt_is_written_then_read(gateway: Gateway) -> None:
    """cache_control becomes a cachePoint; both counts reach the caller and the ledger."""
    words = {"type": "text", "text": "long " * 200, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    asked = {"model": TARGETS[0], "messages": [{"role": "user", "content": [words]}]}
    first, second = gateway.post(asked), gateway.post(asked)
    written, read = (gateway.entry(answer.request_id) for answer in (first, second))
    assert written.cache_write_1h == read.cache_read > 0
    assert second.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == read.cache_read


def test_guardrails_go_through_untouched(gateway: Gateway) -> None:
    """What is Bedrock's own by name."""
    guard = {"guardrailIdentifier": "abc", "guardrailVersion": "1", "trace": "enabled"}
    answer = gateway.post(chat(TARGETS[0], "BLOCK_PROMPT", guardrailConfig=guard))
    assert gateway.sent()["guardrailConfig"] == guard
    assert answer.finish() == "content_filter"
