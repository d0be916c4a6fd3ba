"""The official ``openai`` client, through the gateway, to each dialect: what a user does, over real sockets.

The client is its own judge: what it cannot read, or reads differently from one dialect to the next, fails here. Five
doors: OpenAI, Anthropic, Gemini on AI Studio, Vertex in a region and Vertex global (a service account signs in).
"""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from penstock.simulate import Simulator
from tests.behaviours.gateway import THREE_DIALECTS, Gateway, at, running_gateway

CONFIG = (
    THREE_DIALECTS
    + """
  vertex-east:
    dialect: vertex
    project: simulated-project
    location: us-east5
    credentials: "file:{account}"
    network: {base_url: "{sim}/p/vertex-east", retry: {max_retries: 0}}
  vertex-global:
    dialect: vertex
    project: simulated-project
    location: global
    credentials: "file:{account}"
    network: {base_url: "{sim}/p/vertex-global", retry: {max_retries: 0}}
routes:
  - {id: any-of-three, primary: openai/gpt-4o-mini, fallbacks: [anthropic/claude-haiku-4-5, gemini/gemini-2.5-flash]}
virtual_keys:
  - {name: caller, key: env.CALLER_KEY}
  - {name: slow, key: env.OTHER_CALLER_KEY, rate_limit: {requests_per_minute: 1}}
"""
)
KEY, SLOW_KEY = "vk-caller-000000000006", "vk-other-000000000007"
DOORS = {
    "openai": "openai/gpt-4o-mini",
    "anthropic": "anthropic/claude-haiku-4-5",
    "gemini": "gemini/gemini-2.5-flash",
    "vertex-east": "vertex-east/gemini-2.5-flash",
    "vertex-global": "vertex-global/gemini-2.5-flash",
}
THINKING = {**DOORS, "openai": "openai/gpt-5-mini"}
"""A model of each door that thinks when asked to."""
each_door = pytest.mark.parametrize("door", DOORS)
either = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
            "required": ["city"],
        },
    },
}
NOW: Any = {
    "type": "function",
    "function": {"name": "now", "parameters": {"type": "object", "properties": {}}},
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway with all five doors."""
    folder = tmp_path_factory.mktemp("sdk")

    def prepare(sim: Simulator) -> dict[str, str]:
        return {"account": str(sim.make_service_account(folder))}

    with running_gateway(folder, CONFIG, prepare=prepare) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    return served


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0, timeout=20) as client:
        yield client


def say(text: Any) -> Any:
    return [{"role": "user", "content": text}]


class Heard(BaseModel):
    """A reply, however it came."""

    text: str
    finish: str | None
    calls: list[tuple[str, dict[str, Any]]]
    usage: Any
    message: Any


def ask(client: openai.OpenAI, model: str, messages: Any, *, stream: bool, **more: Any) -> Heard:
    """One call; a stream is put together by the SDK's own accumulator."""
    if stream:
        wanted = {"stream_options": {"include_usage": True}}
        with client.chat.completions.stream(model=model, messages=messages, **wanted, **more) as events:
            for _ in events:
                pass
            reply = events.get_final_completion()
    else:
        reply = client.chat.completions.create(model=model, messages=messages, **more)
    message = reply.choices[0].message
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
    return Heard(
        text=message.content or "",
        finish=reply.choices[0].finish_reason,
        calls=calls,
        usage=reply.usage,
        message=message.model_dump(exclude_none=True, exclude={"parsed"}),
    )


# Text.


@each_door
@either
def test_text_with_its_usage(client: openai.OpenAI, gateway: Gateway, door: str, stream: bool) -> None:
    """The words, the finish, consistent usage; and the provider that was asked got its own kind of credential."""
    heard = ask(client, DOORS[door], say("ECHO naïve 水車 🙂"), stream=stream)
    assert (heard.text, heard.finish) == ("naïve 水車 🙂", "stop")
    assert heard.usage.total_tokens == heard.usage.prompt_tokens + heard.usage.completion_tokens > 0
    received = gateway.sim.requests[-1]
    assert (received.provider, received.stream) == (door, stream)
    assert received.key.startswith("ya29.sim-") == door.startswith("vertex")
    if door.startswith("vertex"):
        place = "us-east5" if door == "vertex-east" else "global"
        assert received.path.startswith(f"/p/{door}/v1/projects/simulated-project/locations/{place}/")


@each_door
def test_a_stream_is_chunks_of_one_reply(client: openai.OpenAI, door: str) -> None:
    """A role first, several pieces, one finish, and no usage that was not asked for."""
    chunks = list(
        client.chat.completions.create(model=DOORS[door], messages=say("SAY_TOKENS 12"), stream=True)
    )
    assert len({(chunk.id, chunk.model, chunk.object) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) > 3
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == [
        "stop"
    ]
    assert all(chunk.usage is None for chunk in chunks)


@each_door
def test_usage_in_a_stream_comes_once_at_the_end(client: openai.OpenAI, door: str) -> None:
    """include_usage: the last chunk, without choices."""
    chunks = list(
        client.chat.completions.create(
            model=DOORS[door],
            messages=say("SAY_TOKENS 12"),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 12)


@each_door
@either
def test_a_system_prompt_and_a_history_arrive(
    client: openai.OpenAI, gateway: Gateway, door: str, stream: bool
) -> None:
    """System, developer, assistant: in the words of each dialect, none lost."""
    messages = [
        {"role": "system", "content": "answer like a miller"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "second"},
        {"role": "user", "content": "ECHO third"},
    ]
    assert ask(client, DOORS[door], messages, stream=stream).text == "third"
    body = gateway.sim.requests[-1].body.decode()
    assert body.index("first") < body.index("second") < body.index("third")
    assert "answer like a miller" in body
    sent = gateway.sent()
    place = {"openai": "messages", "anthropic": "system"}.get(door, "systemInstruction")
    assert "miller" in json.dumps(sent[place])


@each_door
@either
def test_a_stop_sequence_ends_the_reply(client: openai.OpenAI, door: str, stream: bool) -> None:
    """The text before it, without it."""
    heard = ask(client, DOORS[door], say("ECHO one two HALT three"), stream=stream, stop=["HALT"])
    assert (heard.text.strip(), heard.finish) == ("one two", "stop")


@each_door
@either
def test_a_cap_is_a_cap(client: openai.OpenAI, door: str, stream: bool) -> None:
    """Whatever it is called there: the reply is cut, and says so (the SDK's accumulator raises for it)."""
    if stream:
        with pytest.raises(openai.LengthFinishReasonError) as caught:
            ask(client, DOORS[door], say("SAY_TOKENS 50"), stream=True, max_tokens=5)
        reply = caught.value.completion
    else:
        reply = client.chat.completions.create(model=DOORS[door], messages=say("SAY_TOKENS 50"), max_tokens=5)
    assert reply.choices[0].finish_reason == "length"
    assert len((reply.choices[0].message.content or "").split()) == 5


# Tools.


@each_door
@either
def test_a_forced_tool_is_called(client: openai.OpenAI, door: str, stream: bool) -> None:
    """Named by the caller: that one, with arguments that fit its schema."""
    choice: Any = {"type": "function", "function": {"name": "weather"}}
    heard = ask(client, DOORS[door], say("hi"), stream=stream, tools=[NOW, WEATHER], tool_choice=choice)
    assert heard.finish == "tool_calls"
    assert [name for name, _ in heard.calls] == ["weather"]
    assert isinstance(heard.calls[0][1]["city"], str)


@each_door
@either
def test_parallel_tools_keep_their_index_id_and_arguments(
    client: openai.OpenAI, door: str, stream: bool
) -> None:
    """Two calls in one turn, told apart by the SDK; a tool without parameters gets {}."""
    heard = ask(client, DOORS[door], say("CALL_TOOLS 2"), stream=stream, tools=[WEATHER, NOW])
    assert [name for name, _ in heard.calls] == ["weather", "now"]
    assert heard.calls[1][1] == {}
    ids = [call["id"] for call in heard.message["tool_calls"]]
    assert len(set(ids)) == 2
    assert all(ids)


@each_door
@either
def test_a_round_trip_with_tools(client: openai.OpenAI, door: str, stream: bool) -> None:
    """Calls, their results in any order, and an answer that has read them: the history is taken back as it was given."""
    tools = [WEATHER, NOW]
    asked = ask(client, DOORS[door], say("CALL_TOOLS 2"), stream=stream, tools=tools)
    history = [*say("CALL_TOOLS 2"), asked.message]
    for call, said in reversed(list(zip(asked.message["tool_calls"], ("sunny", "noon"), strict=True))):
        history.append({"role": "tool", "tool_call_id": call["id"], "content": said})
    answer = ask(client, DOORS[door], history, stream=stream, tools=tools)
    assert answer.finish == "stop"
    assert answer.text.startswith("The tools said:")
    assert "sunny" in answer.text
    assert "noon" in answer.text


@each_door
def test_the_sdk_runs_a_conversation_in_which_it_thinks_and_calls(client: openai.OpenAI, door: str) -> None:
    """Reasoning and tools at once, three turns: signatures and ids survive the client's own copying."""
    more: Any = {"stream": True, "tools": [WEATHER], "reasoning_effort": "low"}
    history: list[Any] = []
    for turn in ("rain", "snow", "hail"):
        history += say("CALL_TOOL")
        asked = ask(client, THINKING[door], history, **more)
        assert asked.finish == "tool_calls"
        history.append(asked.message)
        history += [
            {"role": "tool", "tool_call_id": call["id"], "content": turn}
            for call in asked.message["tool_calls"]
        ]
        answer = ask(client, THINKING[door], history, **more)
        assert turn in answer.text
        history.append(answer.message)


# Images, JSON.


@each_door
@either
def test_an_image_as_data_arrives_byte_for_byte(
    client: openai.OpenAI, gateway: Gateway, door: str, stream: bool
) -> None:
    """A data URL, beside words; it is counted in the usage."""
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    plain = ask(client, DOORS[door], say("ECHO seen"), stream=stream)
    heard = ask(client, DOORS[door], say([{"type": "text", "text": "ECHO seen"}, picture]), stream=stream)
    assert heard.text == "seen"
    assert heard.usage.prompt_tokens > plain.usage.prompt_tokens
    assert PIXEL in gateway.sim.requests[-1].body.decode()
    assert base64.b64decode(PIXEL).startswith(b"\x89PNG")


class Mill(BaseModel):
    name: str
    wheels: int
    tags: list[str]


@each_door
def test_a_json_schema_is_parsed_by_the_sdk(client: openai.OpenAI, door: str) -> None:
    """``parse`` with a pydantic class, in every dialect's own way of structured output."""
    reply = client.chat.completions.parse(model=DOORS[door], messages=say("hi"), response_format=Mill)
    assert isinstance(reply.choices[0].message.parsed, Mill)


@each_door
def test_a_json_schema_is_parsed_from_a_stream(client: openai.OpenAI, door: str) -> None:
    with client.chat.completions.stream(
        model=DOORS[door], messages=say("hi"), response_format=Mill
    ) as events:
        for _ in events:
            pass
        assert isinstance(events.get_final_completion().choices[0].message.parsed, Mill)


# Reasoning.


def thinking_of(door: str, sent: dict[str, Any]) -> Any:
    """What the provider was told about thinking; None: nothing."""
    if door == "openai":
        return sent.get("reasoning_effort")
    if door == "anthropic":
        return sent.get("thinking")
    return sent.get("generationConfig", {}).get("thinkingConfig")


@each_door
@either
def test_reasoning_effort_is_told_in_each_dialects_way(
    client: openai.OpenAI, gateway: Gateway, door: str, stream: bool
) -> None:
    """``reasoning_effort``: low; it thinks, is counted, and Google's own number for low goes to Google."""
    heard = ask(client, THINKING[door], say("ECHO done"), stream=stream, reasoning_effort="low")
    assert heard.text == "done"
    told = thinking_of(door, gateway.sent())
    if door == "openai":
        assert told == "low"
    elif door == "anthropic":
        assert told["type"] == "enabled"
        assert told["budget_tokens"] >= 1024
    else:
        assert told["thinkingBudget"] == 1024
    if door != "anthropic":  # Anthropic counts thoughts as output and does not say how many
        assert heard.usage.completion_tokens_details.reasoning_tokens > 0


@each_door
@either
def test_a_dynamic_budget_goes_through_extra_body(
    client: openai.OpenAI, gateway: Gateway, door: str, stream: bool
) -> None:
    """OpenRouter's ``reasoning{max_tokens: -1}``: dynamic where that is known, the nearest thing elsewhere."""
    extra = {"reasoning": {"max_tokens": -1}}
    heard = ask(client, THINKING[door], say("ECHO done"), stream=stream, extra_body=extra)
    assert heard.text == "done"
    sent = gateway.sent()
    assert "reasoning" not in sent
    told = thinking_of(door, sent)
    if door == "openai":
        assert told == "medium"
    elif door == "anthropic":
        assert told["type"] in ("adaptive", "enabled")
    else:
        assert told["thinkingBudget"] == -1


@each_door
@either
def test_no_reasoning_asked_is_nothing_sent(
    client: openai.OpenAI, gateway: Gateway, door: str, stream: bool
) -> None:
    """The provider's own default holds."""
    ask(client, THINKING[door], say("ECHO done"), stream=stream)
    assert thinking_of(door, gateway.sent()) is None


# Errors, as the client raises them.


@each_door
@either
def test_a_model_that_nobody_has_is_not_found(
    client: openai.OpenAI, gateway: Gateway, door: str, stream: bool
) -> None:
    """The provider's 404 is the client's NotFoundError."""
    gateway.faults(at(door, "status", status=404))
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, DOORS[door], say("hi"), stream=stream)
    assert caught.value.code == "model_not_found"
    assert caught.value.request_id


def test_a_provider_that_nobody_configured_is_not_found_with_a_hint(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no provider 'opnai' is configured"):
        ask(client, "opnai/gpt-4o-mini", say("hi"), stream=False)


@each_door
@either
def test_a_rate_limit_is_the_clients_own_error_with_its_wait(
    client: openai.OpenAI, gateway: Gateway, door: str, stream: bool
) -> None:
    """429 with Retry-After, so that a client that retries waits as long as it must."""
    gateway.faults(at(door, "status", status=429, retry_after_s=7))
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, DOORS[door], say("hi"), stream=stream)
    assert 0 < int(caught.value.response.headers["retry-after"]) <= 8


@each_door
@either
def test_a_bad_request_names_the_field(
    client: openai.OpenAI, gateway: Gateway, door: str, stream: bool
) -> None:
    """400: the provider's where the bytes went through, ours before anybody was asked elsewhere."""
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, DOORS[door], [{"role": "nobody", "content": "hi"}], stream=stream)
    assert caught.value.param == "messages[0].role"
    assert caught.value.type == "invalid_request_error"
    assert "nobody" in caught.value.message
    assert bool(gateway.sim.requests) == (door == "openai")


@each_door
def test_an_error_in_mid_stream_is_raised_by_the_client(
    client: openai.OpenAI, gateway: Gateway, door: str
) -> None:
    """After the first words there is no way back: the client gets the words, then an exception."""
    gateway.faults(at(door, "close_mid_stream", after=3))
    stream = client.chat.completions.create(model=DOORS[door], messages=say("SAY_TOKENS 30"), stream=True)
    said = ""
    with pytest.raises(openai.APIError) as caught:  # noqa: PT012 - the words come before the error
        for chunk in stream:
            said += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    assert said
    assert caught.value.code == "upstream_truncated"


def test_a_wrong_key_and_a_spent_limit_are_the_clients_own_errors(gateway: Gateway) -> None:
    """401 and 429 of the gateway itself."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="vk-wrong", max_retries=0) as wrong:
        with pytest.raises(openai.AuthenticationError):
            ask(wrong, DOORS["openai"], say("hi"), stream=False)
        with pytest.raises(openai.AuthenticationError):
            wrong.models.list()
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SLOW_KEY, max_retries=0) as slow:
        assert ask(slow, DOORS["openai"], say("ECHO one"), stream=False).text == "one"
        with pytest.raises(openai.RateLimitError) as caught:
            ask(slow, DOORS["openai"], say("ECHO two"), stream=False)
    assert int(caught.value.response.headers["retry-after"]) > 30


def test_the_client_lists_the_models(client: openai.OpenAI) -> None:
    """Routes and every chat model of the configured providers."""
    ids = {model.id for model in client.models.list()}
    assert {
        "any-of-three",
        "openai/gpt-4o-mini",
        "anthropic/claude-haiku-4-5",
        "gemini/gemini-2.5-flash",
    } <= ids


def test_replies_say_who_served_them(client: openai.OpenAI, gateway: Gateway) -> None:
    """Raw headers through the SDK; the request id finds the call in the ledger."""
    raw = client.chat.completions.with_raw_response.create(
        model="any-of-three", messages=say("ECHO hi"), extra_headers={"x-penstock-meta": "sku=12"}
    )
    assert raw.headers["x-penstock-provider"] == "openai"
    record = gateway.ledger(raw.headers["x-request-id"])
    assert (record.entries[0].virtual_key, record.entries[0].meta) == ("caller", {"sku": "12"})
    assert gateway.ledger(raw.parse().id).call.request_id == raw.headers["x-request-id"]


# The main job.


@pytest.fixture
def hasty(gateway: Gateway) -> Iterator[Gateway]:
    """The gateway waits 300 ms for a head."""
    assert gateway.reload(CONFIG.replace("network: {", "network: {first_byte_timeout_ms: 300, ")) == []
    yield gateway
    assert gateway.reload(CONFIG) == []


@pytest.mark.parametrize("victim", ["openai", "anthropic", "gemini"])
def test_a_provider_that_hangs_is_replaced(hasty: Gateway, client: openai.OpenAI, victim: str) -> None:
    """It takes the request and never answers: somebody else does, within one deadline."""
    hasty.faults(at(victim, "hang"))
    rescue = {"fallbacks": [next(DOORS[name] for name in DOORS if name != victim)]}
    raw = client.chat.completions.with_raw_response.create(
        model=DOORS[victim], messages=say("ECHO here"), stream=True, extra_body=rescue
    )
    assert "".join(c.choices[0].delta.content or "" for c in raw.parse() if c.choices) == "here"
    assert raw.headers["x-penstock-provider"] != victim
    assert hasty.ledger(raw.headers["x-request-id"]).entries[0].error_code == "upstream_timeout_first_byte"


@pytest.mark.parametrize("victim", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize("kind", ["status", "early_close", "error_first_frame", "close_mid_stream"])
def test_one_client_streams_to_three_dialects_while_one_of_them_fails(
    gateway: Gateway, client: openai.OpenAI, victim: str, kind: str
) -> None:
    """The fault comes in the middle of the run; every call is answered, whole, by somebody."""
    others = [name for name in ("openai", "anthropic", "gemini") if name != victim]
    rescue = {
        name: [DOORS[others[0] if name != others[0] else others[1]]]
        for name in ("openai", "anthropic", "gemini")
    }
    for turn in range(6):
        if turn == 2:
            gateway.faults(at(victim, kind, **({"after": 0} if kind == "close_mid_stream" else {})))
        for name in ("openai", "anthropic", "gemini"):
            raw = client.chat.completions.with_raw_response.create(
                model=DOORS[name],
                messages=say(f"ECHO turn {turn} of {name}"),
                stream=True,
                extra_body={"fallbacks": rescue[name]},
            )
            said = "".join(c.choices[0].delta.content or "" for c in raw.parse() if c.choices)
            assert said == f"turn {turn} of {name}"
            failed = name == victim and turn >= 2
            assert (raw.headers["x-penstock-provider"] != name) == failed


def test_a_route_survives_two_of_its_three(gateway: Gateway, client: openai.OpenAI) -> None:
    """The chain in its order; the ledger knows each attempt."""
    gateway.faults(at("openai", "status", status=503), at("anthropic", "error_first_frame"))
    raw = client.chat.completions.with_raw_response.create(
        model="any-of-three", messages=say("ECHO still here"), stream=True
    )
    assert "".join(c.choices[0].delta.content or "" for c in raw.parse() if c.choices) == "still here"
    record = gateway.ledger(raw.headers["x-request-id"])
    assert [(entry.provider, entry.klass) for entry in record.entries] == [
        ("openai", "failed"),
        ("anthropic", "failed"),
        ("gemini", "delivered"),
    ]


def test_the_async_client_streams_to_every_door_at_once(gateway: Gateway) -> None:
    """Sixty streams side by side: each gets its own words."""

    async def one(client: openai.AsyncOpenAI, door: str, number: int) -> bool:
        stream = await client.chat.completions.create(
            model=DOORS[door], messages=say(f"ECHO {door} {number}"), stream=True
        )
        said = ""
        async for chunk in stream:
            said += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        return said == f"{door} {number}"

    async def run() -> list[bool]:
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
            return await asyncio.gather(
                *(one(client, door, number) for number in range(12) for door in DOORS)
            )

    assert asyncio.run(run()) == [True] * 12 * len(DOORS)


def test_the_async_client_that_leaves_a_stream_is_let_go(gateway: Gateway) -> None:
    """``break`` out of a stream and close it: the provider's connection closes, and the next call works."""
    gateway.faults(at("openai", "stall", after=2))

    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
            stream = await client.chat.completions.create(
                model=DOORS["openai"], messages=say("SAY_TOKENS 30"), stream=True
            )
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    break
            await stream.close()
            await asyncio.to_thread(
                gateway.sim.wait_for, lambda received: received.disconnected_unix_s is not None
            )
            reply = await client.chat.completions.create(model=DOORS["gemini"], messages=say("ECHO next"))
            assert reply.choices[0].message.content == "next"

    asyncio.run(run())
