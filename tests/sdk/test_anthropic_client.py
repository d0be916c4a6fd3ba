"""The official ``anthropic`` client, through the gateway, to each dialect: what a user does, over real sockets.

The client is its own judge: its streaming helper puts messages together and raises for what it cannot read. The
simulated providers keep their vendors' rules: a changed signature, a missing tool result, an unknown field is a 400.
"""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any, cast

import anthropic
import pytest
from anthropic.types import Message
from pydantic import BaseModel

from penstock.simulate.gemini_rules import SIGNATURE
from tests.behaviours.gateway import THREE_DIALECTS, Gateway, at, running_gateway

CONFIG = (
    THREE_DIALECTS
    + """
  responses:
    dialect: responses
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/responses/v1", retry: {max_retries: 0}}
server: {hold_back_ms: 200}
prices:
  - {model: anthropic/claude-haiku-4-5, usd_per_million: {input: "3", output: "15"}}
routes:
  - {id: any-of-three, primary: openai/gpt-4o-mini, fallbacks: [anthropic/claude-haiku-4-5, gemini/gemini-2.5-flash]}
  - {id: tuned, primary: {model: anthropic/claude-haiku-4-5, params: {temperature: 0.3}}}
virtual_keys:
  - {name: caller, key: env.CALLER_KEY}
  - {name: slow, key: env.OTHER_CALLER_KEY, rate_limit: {requests_per_minute: 1}, models: ["openai/*"]}
"""
)
KEY, SLOW_KEY = "vk-caller-000000000006", "vk-other-000000000007"
DOORS = {
    "openai": "openai/gpt-4o-mini",
    "anthropic": "anthropic/claude-haiku-4-5",
    "gemini": "gemini/gemini-2.5-flash",
}
THINKING = {
    "openai": "openai/gpt-5-mini",
    "anthropic": "anthropic/claude-haiku-4-5",
    "gemini": "gemini/gemini-2.5-flash",
    "gemini-3": "gemini/gemini-3-flash",
    "responses": "responses/gpt-5-mini",
    "reasoner": "backup/some-reasoner",
}
"""A model of each way to think: hidden, signed, signed by Google (2.5 and 3), encrypted, and shown without any proof."""
OLD = {"anthropic-version": "2023-06-01"}
BUDGET: Any = {"type": "enabled", "budget_tokens": 1024}
WEATHER: Any = {
    "name": "weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
NOW: Any = {"name": "now", "input_schema": {"type": "object", "properties": {}}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()
each_door = pytest.mark.parametrize("door", DOORS)
each_thinker = pytest.mark.parametrize("door", THINKING)
either = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    scenario = {"providers": {"backup": {"reasoning_field": "reasoning_content", "unknown_fields": "accept"}}}
    with running_gateway(tmp_path_factory.mktemp("sdk"), CONFIG, scenario=scenario) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    return served


@pytest.fixture
def client(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0, timeout=20) as client:
        yield client


def say(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


def ask(
    client: anthropic.Anthropic, model: str, messages: Any, *, stream: bool = False, **more: Any
) -> Message:
    """One call; a stream is put together by the SDK's own helper."""
    asked: dict[str, Any] = {"model": model, "max_tokens": 2000, "messages": messages, **more}
    if not stream:
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as events:
        kinds = [event.type for event in events]
        assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
        return events.get_final_message()


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def calls_of(message: Message) -> list[Any]:
    return [block for block in message.content if block.type == "tool_use"]


def answered(message: Message, *words: str) -> list[Any]:
    """The assistant's turn and the results of its calls, as a user writes them."""
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": word}
        for call, word in zip(calls_of(message), words, strict=True)
    ]
    return [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]


# Text.


@each_door
@either
def test_text_with_its_usage(client: anthropic.Anthropic, gateway: Gateway, door: str, stream: bool) -> None:
    """The words, the stop reason, usage; and each provider got its own key."""
    heard = ask(client, DOORS[door], say("ECHO naïve 水車 🙂"), stream=stream)
    assert (text_of(heard), heard.stop_reason, heard.role) == ("naïve 水車 🙂", "end_turn", "assistant")
    assert heard.usage.input_tokens > 0
    assert heard.usage.output_tokens == 3
    received = gateway.sim.requests[-1]
    assert (received.provider, received.stream) == (door, stream)
    assert KEY not in received.body.decode()
    entry = gateway.last_record().entries[0]
    assert (entry.input, entry.output) == (heard.usage.input_tokens, 3)


@each_door
@either
def test_a_system_prompt_and_a_history_arrive(
    client: anthropic.Anthropic, gateway: Gateway, door: str, stream: bool
) -> None:
    """As blocks with a cache mark, and in order."""
    system: Any = [{"type": "text", "text": "answer like a miller", "cache_control": {"type": "ephemeral"}}]
    history = [*say("first"), {"role": "assistant", "content": "second"}, *say("ECHO third")]
    assert text_of(ask(client, DOORS[door], history, stream=stream, system=system)) == "third"
    body = gateway.sim.requests[-1].body.decode()
    assert body.index("first") < body.index("second") < body.index("third")
    place = {"openai": "messages", "anthropic": "system"}.get(door, "systemInstruction")
    assert "miller" in json.dumps(gateway.sent()[place])


@each_door
@either
def test_stop_sequences_and_caps(client: anthropic.Anthropic, door: str, stream: bool) -> None:
    heard = ask(client, DOORS[door], say("ECHO one HALT two"), stream=stream, stop_sequences=["HALT"])
    assert text_of(heard).strip() == "one"
    assert heard.stop_reason == ("stop_sequence" if door == "anthropic" else "end_turn")
    assert heard.stop_sequence == ("HALT" if door == "anthropic" else None)
    capped = ask(client, DOORS[door], say("SAY_TOKENS 50"), stream=stream, max_tokens=5)
    assert (len(text_of(capped).split()), capped.stop_reason) == (5, "max_tokens")


@each_door
def test_a_stream_has_anthropics_events_in_order(
    client: anthropic.Anthropic, gateway: Gateway, door: str
) -> None:
    """Every event with its name and the same type; one message; several pieces."""
    body = {"model": DOORS[door], "max_tokens": 99, "messages": say("SAY_TOKENS 12"), "stream": True}
    answer = gateway.post(body, "/v1/messages", {"x-api-key": KEY})
    lines = answer.body.decode().splitlines()
    names = [line[7:] for line in lines if line.startswith("event: ")]
    frames = answer.frames()
    assert names == [frame["type"] for frame in frames]
    kinds = [name for name in names if name != "ping"]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert kinds.count("content_block_delta") > 3
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["request-id"] == answer.request_id


# Tools.


@each_door
@either
def test_parallel_tools_and_their_results(client: anthropic.Anthropic, door: str, stream: bool) -> None:
    """Two calls, told apart; one without arguments; the answer has read both results."""
    asked = ask(client, DOORS[door], say("CALL_TOOLS 2"), stream=stream, tools=[WEATHER, NOW])
    assert asked.stop_reason == "tool_use"
    assert [(call.name, type(call.input)) for call in calls_of(asked)] == [("weather", dict), ("now", dict)]
    assert calls_of(asked)[1].input == {}
    history = [*say("CALL_TOOLS 2"), *answered(asked, "sunny", "noon")]
    heard = ask(client, DOORS[door], history, stream=stream, tools=[WEATHER, NOW])
    assert heard.stop_reason == "end_turn"
    assert "sunny" in text_of(heard)
    assert "noon" in text_of(heard)


@each_door
@either
def test_tool_choice(client: anthropic.Anthropic, gateway: Gateway, door: str, stream: bool) -> None:
    """Forced by name; none; and one at a time, where the provider knows that."""
    more: Any = {"tools": [NOW, WEATHER], "stream": stream}
    forced = ask(client, DOORS[door], say("hi"), tool_choice={"type": "tool", "name": "weather"}, **more)
    assert [call.name for call in calls_of(forced)] == ["weather"]
    none = ask(client, DOORS[door], say("CALL_TOOL"), tool_choice={"type": "none"}, **more)
    assert calls_of(none) == []
    one: Any = {"type": "auto", "disable_parallel_tool_use": True}
    single = ask(client, DOORS[door], say("CALL_TOOLS 2"), tool_choice=one, **more)
    assert len(calls_of(single)) == (2 if door == "gemini" else 1)


@each_door
def test_a_result_with_a_picture_or_an_error(
    client: anthropic.Anthropic, gateway: Gateway, door: str
) -> None:
    """The picture arrives, wherever the provider has a place for it; the failure is told, or said to be lost."""
    asked = ask(client, DOORS[door], say("CALL_TOOLS 2"), tools=[WEATHER, NOW])
    first, second = calls_of(asked)
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    results = [
        {
            "type": "tool_result",
            "tool_use_id": first.id,
            "content": [{"type": "text", "text": "map"}, picture],
        },
        {"type": "tool_result", "tool_use_id": second.id, "content": "no clock", "is_error": True},
    ]
    history = [*say("CALL_TOOLS 2"), {"role": "assistant", "content": asked.content}, *say(results)]
    raw = client.messages.with_raw_response.create(
        model=DOORS[door], max_tokens=99, messages=history, tools=[WEATHER, NOW]
    )
    assert raw.parse().stop_reason == "end_turn"
    body = gateway.sim.requests[-1].body.decode()
    assert "no clock" in body
    assert PIXEL in body
    lost = raw.headers.get("x-penstock-adjusted", "")
    assert ("tool_result.is_error-dropped" in lost) == (door == "openai")


# Thinking.


@each_thinker
@either
def test_thinking_is_shown_and_survives_a_tool_loop(
    client: anthropic.Anthropic, gateway: Gateway, door: str, stream: bool
) -> None:
    """Three turns of thoughts and calls. Who signs its thoughts gets them back as they were, or would refuse."""
    more: Any = {"tools": [WEATHER], "thinking": BUDGET, "stream": stream}
    history: list[Any] = []
    for word in ("rain", "snow", "hail"):
        history += say("CALL_TOOL")
        asked = ask(client, THINKING[door], history, **more)
        thoughts = [block for block in asked.content if block.type == "thinking"]
        assert bool(thoughts) == (door != "openai")  # OpenAI shows none
        assert all(block.thinking and block.signature for block in thoughts)
        if door != "openai":
            assert asked.content[0].type == "thinking"
        assert asked.usage.output_tokens_details is not None
        assert asked.usage.output_tokens_details.thinking_tokens > 0
        history += answered(asked, word)
        heard = ask(client, THINKING[door], history, **more)
        assert word in text_of(heard)
        history.append({"role": "assistant", "content": heard.content})
    body = gateway.sim.requests[-1].body.decode()
    assert "penstock." not in body
    assert (SIGNATURE in body) == door.startswith("gemini")
    assert ('"encrypted_content"' in body) == (door == "responses")


@each_thinker
def test_thoughts_that_shall_not_be_shown_are_not(client: anthropic.Anthropic, door: str) -> None:
    """``display: omitted``: no words of them, and the conversation goes on all the same."""
    hidden: Any = {**BUDGET, "display": "omitted"}
    asked = ask(client, THINKING[door], say("CALL_TOOL"), tools=[WEATHER], thinking=hidden, stream=True)
    assert not any(block.thinking for block in asked.content if block.type == "thinking")
    history = [*say("CALL_TOOL"), *answered(asked, "rain")]
    assert "rain" in text_of(ask(client, THINKING[door], history, tools=[WEATHER], thinking=hidden))


def test_redacted_thoughts_go_back_to_their_maker(client: anthropic.Anthropic) -> None:
    """Anthropic's own, in a pass-through."""
    more: Any = {"tools": [WEATHER], "thinking": BUDGET}
    asked = ask(client, DOORS["anthropic"], say("CALL_TOOL REDACT_THINKING"), stream=True, **more)
    assert asked.content[0].type == "redacted_thinking"
    history = [*say("CALL_TOOL REDACT_THINKING"), *answered(asked, "rain")]
    assert "rain" in text_of(ask(client, DOORS["anthropic"], history, **more))


def test_adaptive_thinking_and_effort(client: anthropic.Anthropic, gateway: Gateway) -> None:
    """In each provider's own words."""
    effort: Any = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}
    for door, told in (
        ("openai", lambda sent: sent["reasoning_effort"] == "low"),
        ("gemini", lambda sent: sent["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 1024),
        ("gemini-3", lambda sent: sent["generationConfig"]["thinkingConfig"]["thinkingLevel"] == "LOW"),
    ):
        assert text_of(ask(client, THINKING[door], say("ECHO x"), **effort)) == "x"
        assert told(gateway.sent())
    ask(client, "anthropic/claude-sonnet-4-6", say("ECHO x"), **effort)
    assert gateway.sent()["output_config"] == {"effort": "low"}


# Pictures, documents, structure.


@each_door
@either
def test_pictures_and_documents_arrive(
    client: anthropic.Anthropic, gateway: Gateway, door: str, stream: bool
) -> None:
    """A picture and a PDF as base64, byte for byte; a text document; the words beside them."""
    parts = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a note"}},
        {"type": "text", "text": "ECHO seen"},
    ]
    assert text_of(ask(client, DOORS[door], say(parts), stream=stream)) == "seen"
    body = gateway.sim.requests[-1].body.decode()
    assert PIXEL in body
    assert PDF in body
    assert "a note" in body or base64.b64encode(b"a note").decode() in body


class Mill(BaseModel):
    name: str
    wheels: int


@each_door
def test_structured_output_is_parsed_by_the_sdk(client: anthropic.Anthropic, door: str) -> None:
    """``parse`` with a pydantic class, and the same from a stream."""
    model = "anthropic/claude-sonnet-4-6" if door == "anthropic" else DOORS[door]
    asked: Any = {"model": model, "max_tokens": 500, "messages": say("hi"), "output_format": Mill}
    assert isinstance(client.messages.parse(**asked).parsed_output, Mill)
    with client.messages.stream(**asked) as events:
        assert isinstance(events.get_final_message().parsed_output, Mill)


# Versions, keys, headers, paths.


def test_both_versions_and_both_keys(gateway: Gateway) -> None:
    """``x-api-key`` and a bearer; 2023-06-01 takes sampling, 2026-10-21 does not; each goes on to Anthropic."""
    body = {"model": DOORS["anthropic"], "max_tokens": 9, "messages": say("ECHO x"), "temperature": 0.5}
    for key in ({"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}):
        assert gateway.post(body, "/v1/messages", {**key, **OLD}).status == 200
        sent = gateway.sim.requests[-1]
        assert sent.headers["anthropic-version"] == "2023-06-01"
        assert (sent.key, gateway.sent()["temperature"]) == ("sk-ant-test-000000000003", 0.5)
        assert "authorization" not in sent.headers
        refused = gateway.post(body, "/v1/messages", {**key, "anthropic-version": "2026-10-21"})
        assert (refused.status, refused.error["details"]["param"]) == (400, "temperature")
    bare = gateway.post(body, "/v1/messages", {"x-api-key": KEY})
    assert bare.status == 200


def test_sampling_of_the_older_version_reaches_every_provider(
    client: anthropic.Anthropic, gateway: Gateway
) -> None:
    for model in DOORS.values():
        extra: Any = {"extra_headers": OLD, "extra_body": {"temperature": 0.5}}
        assert text_of(ask(client, model, say("ECHO x"), **extra)) == "x"
        assert '"temperature":0.5' in gateway.sim.requests[-1].body.decode()


def test_the_bytes_go_through_to_anthropic(gateway: Gateway) -> None:
    """Spaces, order, unknown fields, beta headers: only the model's name is ours. And a path of its own."""
    body = (
        b'{ "metadata": {"user_id": "ann"}, "max_tokens":9,  "model" : "anthropic/claude-haiku-4-5",'
        b' "messages": [ {"role":"user", "content":"ECHO x"} ] }'
    )
    headers = {"x-api-key": KEY, "anthropic-version": "2026-10-21", "anthropic-beta": "some-beta-2026-01-01"}
    for path in ("/v1/messages", "/anthropic/v1/messages", "/v1/messages?beta=true"):
        answer = gateway.post(body, path, headers)
        assert answer.json()["content"][0]["text"] == "x"
        sent = gateway.sim.requests[-1]
        assert sent.body == body.replace(b"anthropic/claude", b"claude")
        assert sent.headers["anthropic-beta"] == "some-beta-2026-01-01"
        assert gateway.ledger(answer.request_id).call.user == "ann"


def test_a_targets_own_parameters_hold(client: anthropic.Anthropic, gateway: Gateway) -> None:
    """The route's temperature is sent, at the version that takes it."""
    assert text_of(ask(client, "tuned", say("ECHO x"))) == "x"
    assert gateway.sent()["temperature"] == 0.3
    assert gateway.sim.requests[-1].headers["anthropic-version"] == "2023-06-01"


def test_replies_say_who_served_them(client: anthropic.Anthropic, gateway: Gateway) -> None:
    """The SDK's own request id finds the call in the ledger; the cost is there."""
    raw = client.messages.with_raw_response.create(
        model=DOORS["anthropic"],
        max_tokens=9,
        messages=say("ECHO hi"),
        extra_headers={"x-penstock-meta": "sku=12"},
    )
    message = raw.parse()
    assert message._request_id == raw.request_id == raw.headers["x-request-id"]
    record = gateway.ledger(raw.headers["request-id"])
    assert (record.entries[0].virtual_key, record.entries[0].meta) == ("caller", {"sku": "12"})
    assert raw.headers["x-penstock-cost-usd"]
    assert gateway.ledger(message.id).call.request_id == raw.request_id


def test_a_waiting_stream_is_kept_alive_by_pings(client: anthropic.Anthropic, gateway: Gateway) -> None:
    """Before the first word and without one: an event that clients of this format know."""
    gateway.faults(at("openai", "slow_head", ms=600), at("openai", "stall", after=0, ms=600))
    body = {"model": DOORS["openai"], "max_tokens": 9, "messages": say("ECHO x"), "stream": True}
    answer = gateway.post(body, "/v1/messages", {"x-api-key": KEY})
    frames = answer.frames()
    assert frames[-1] == {"type": "message_stop"}
    assert {"type": "ping"} in frames
    assert b"\n:" not in answer.body
    gateway.faults(at("openai", "stall", after=0, ms=600))
    assert text_of(ask(client, DOORS["openai"], say("ECHO x"), stream=True)) == "x"


# Counting and models.


@each_door
def test_tokens_are_counted_by_the_provider_or_estimated(
    client: anthropic.Anthropic, gateway: Gateway, door: str
) -> None:
    """The reply says which; what is counted is what the call would have cost."""
    asked: Any = {"model": DOORS[door], "messages": say("ECHO how long is this"), "system": "be brief"}
    raw = client.messages.with_raw_response.count_tokens(**asked, tools=[WEATHER])
    counted = raw.parse().input_tokens
    by = "estimate" if door == "openai" else "provider"
    assert (raw.headers["x-penstock-counted-by"], raw.headers["x-penstock-provider"]) == (by, door)
    assert raw.headers["request-id"]
    assert bool(gateway.sim.requests) == (by == "provider")
    if by == "provider":
        assert (
            ask(client, DOORS[door], asked["messages"], system="be brief", tools=[WEATHER]).usage.input_tokens
            == counted
        )
    assert counted > 0


def test_a_count_survives_a_provider_that_is_away_and_refuses_what_it_refuses(
    client: anthropic.Anthropic, gateway: Gateway
) -> None:
    gateway.faults(at("gemini", "status", status=503))
    raw = client.messages.with_raw_response.count_tokens(model=DOORS["gemini"], messages=say("hello there"))
    assert raw.headers["x-penstock-counted-by"] == "estimate"
    assert raw.parse().input_tokens > 0
    with pytest.raises(anthropic.BadRequestError, match="all messages must have non-empty content"):
        client.messages.count_tokens(model=DOORS["anthropic"], messages=say(""))
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="nobody/nothing", messages=say("x"))


def test_models_are_listed_in_anthropics_shape(client: anthropic.Anthropic, gateway: Gateway) -> None:
    """Page by page; OpenAI's callers get theirs at the same path."""
    everything = list(client.models.list(limit=50))
    ids = [model.id for model in everything]
    openais = gateway.get("/v1/models", {"authorization": f"Bearer {KEY}"}).json()
    assert ids == [row["id"] for row in openais["data"]]
    assert len(set(ids)) == len(ids) > 50
    first = client.models.list(limit=2)
    assert (first.has_more, first.first_id, first.last_id) == (True, ids[0], ids[1])
    back = client.models.list(before_id=ids[4], limit=2)
    assert [model.id for model in back.data] == ids[2:4]
    haiku = client.models.retrieve(DOORS["anthropic"])
    assert (haiku.type, haiku.lifecycle) == ("model", "active")
    assert haiku.max_tokens == 64_000
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nobody/nothing")
    with pytest.raises(anthropic.BadRequestError):
        client.models.list(limit=0)
    assert gateway.get("/anthropic/v1/models?limit=1", {"x-api-key": KEY}).json()["has_more"] is True


# Errors.


def test_our_own_refusals_are_the_clients_own_classes(client: anthropic.Anthropic, gateway: Gateway) -> None:
    """401, 403, 404, 400, 429: the class, the type, our code, the request id."""
    with anthropic.Anthropic(base_url=gateway.url, api_key="vk-wrong", max_retries=0) as wrong:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            ask(wrong, DOORS["openai"], say("hi"))
        assert (caught.value.type, caught.value.error_code) == ("authentication_error", "invalid_api_key")
        assert caught.value.request_id
        with pytest.raises(anthropic.AuthenticationError):
            wrong.models.list()
        with pytest.raises(anthropic.AuthenticationError):
            wrong.messages.count_tokens(model=DOORS["openai"], messages=say("hi"))
    with anthropic.Anthropic(base_url=gateway.url, api_key=SLOW_KEY, max_retries=0) as slow:
        with pytest.raises(anthropic.PermissionDeniedError):
            ask(slow, DOORS["anthropic"], say("hi"))
        ask(slow, DOORS["openai"], say("ECHO one"))
        with pytest.raises(anthropic.RateLimitError) as limited:
            ask(slow, DOORS["openai"], say("ECHO two"))
        assert int(limited.value.response.headers["retry-after"]) > 30
    with pytest.raises(anthropic.NotFoundError, match="no provider 'opnai' is configured"):
        ask(client, "opnai/gpt-4o-mini", say("hi"))
    with pytest.raises(anthropic.BadRequestError) as bad:
        ask(
            client,
            DOORS["openai"],
            say("hi"),
            tools=[cast("Any", {"type": "web_search_20250305", "name": "w"})],
        )
    assert bad.value.details is not None
    assert (bad.value.type, bad.value.details.to_dict()["param"]) == ("invalid_request_error", "tools.0.type")


@each_door
@either
@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (400, anthropic.BadRequestError),
        (404, anthropic.NotFoundError),
        (413, anthropic.ContentTooLargeError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.OverloadedError),
    ],
)
def test_a_providers_refusal_is_the_clients_own_class(
    client: anthropic.Anthropic,
    gateway: Gateway,
    door: str,
    stream: bool,
    status: int,
    wanted: type[Exception],
) -> None:
    gateway.faults(at(door, "status", status=status))
    with pytest.raises(wanted) as caught:
        ask(client, DOORS[door], say("hi"), stream=stream)
    error = cast("anthropic.APIStatusError", caught.value)
    assert error.request_id == cast("Any", error.body)["request_id"]
    assert error.type is not None
    assert error.error_code


@each_door
@pytest.mark.parametrize("kind", ["close_mid_stream", "error_mid_stream"])
def test_a_failure_in_mid_stream_is_raised_by_the_client(
    client: anthropic.Anthropic, gateway: Gateway, door: str, kind: str
) -> None:
    """After the first words there is no way back: the client gets the words, then an exception."""
    gateway.faults(at(door, kind, after=3))
    said: list[str] = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        gather(client, DOORS[door], said)
    assert "".join(said)
    assert cast("Any", caught.value.body)["type"] == "error"
    assert caught.value.type in ("api_error", "overloaded_error")


def gather(client: anthropic.Anthropic, model: str, said: list[str]) -> None:
    """A stream's words, kept whatever happens."""
    with client.messages.stream(model=model, max_tokens=99, messages=say("SAY_TOKENS 30")) as stream:
        said.extend(stream.text_stream)


# Fallbacks, and conversations.


@either
def test_a_route_survives_two_of_its_three(
    client: anthropic.Anthropic, gateway: Gateway, stream: bool
) -> None:
    """The chain in its order, dialect after dialect."""
    gateway.faults(at("openai", "status", status=503), at("anthropic", "status", status=500))
    assert text_of(ask(client, "any-of-three", say("ECHO still here"), stream=stream)) == "still here"
    assert [(entry.provider, entry.klass) for entry in gateway.last_record().entries] == [
        ("openai", "failed"),
        ("anthropic", "failed"),
        ("gemini", "delivered"),
    ]


def test_a_fallback_of_the_callers_own(client: anthropic.Anthropic, gateway: Gateway) -> None:
    gateway.faults(at("anthropic", "error_first_frame"))
    extra: Any = {"fallbacks": [DOORS["openai"]]}
    heard = ask(client, DOORS["anthropic"], say("ECHO here"), stream=True, extra_body=extra)
    assert (text_of(heard), gateway.last_record().entries[-1].provider) == ("here", "openai")


@each_thinker
@either
def test_ten_turns_with_two_parallel_tools(client: anthropic.Anthropic, door: str, stream: bool) -> None:
    """Thoughts, two calls, their results, an answer; ten times over, the history kept as the SDK has it."""
    more: Any = {"tools": [WEATHER, NOW], "thinking": BUDGET, "stream": stream, "max_tokens": 4000}
    history: list[Any] = []
    for turn in range(10):
        history += say(f"CALL_TOOLS 2, turn {turn}")
        asked = ask(client, THINKING[door], history, **more)
        assert [call.name for call in calls_of(asked)] == ["weather", "now"]
        history += answered(asked, f"rain {turn}", f"noon {turn}")
        heard = ask(client, THINKING[door], history, **more)
        assert f"rain {turn}" in text_of(heard)
        assert f"noon {turn}" in text_of(heard)
        history.append({"role": "assistant", "content": heard.content})


def test_a_conversation_goes_from_provider_to_provider(client: anthropic.Anthropic, gateway: Gateway) -> None:
    """In the middle of tool loops too: each gets its own proofs back and never another's, or it would refuse."""
    more: Any = {"tools": [WEATHER, NOW], "thinking": BUDGET, "max_tokens": 4000}
    doors = [
        "gemini-3",
        "anthropic",
        "openai",
        "responses",
        "gemini-3",
        "reasoner",
        "anthropic",
        "responses",
        "gemini",
    ]
    history: list[Any] = []
    for turn, (door, following) in enumerate(zip(doors, [*doors[1:], "gemini-3"], strict=True)):
        history += say(f"CALL_TOOLS 2, turn {turn}")
        asked = ask(client, THINKING[door], history, stream=turn % 2 == 0, **more)
        history += answered(asked, f"rain {turn}", f"noon {turn}")
        heard = ask(client, THINKING[following], history, stream=turn % 2 == 1, **more)
        assert f"rain {turn}" in text_of(heard)
        history.append({"role": "assistant", "content": heard.content})
    for received in gateway.sim.requests:
        body = received.body.decode()
        assert "penstock." not in body
        assert SIGNATURE not in body or received.provider == "gemini"


def test_the_async_client_streams_to_every_door_at_once(gateway: Gateway) -> None:
    """Thirty streams side by side: each gets its own words."""

    async def one(client: anthropic.AsyncAnthropic, door: str, number: int) -> bool:
        words = f"{door} {number}"
        async with client.messages.stream(
            model=DOORS[door], max_tokens=99, messages=say(f"ECHO {words}")
        ) as stream:
            said = [text async for text in stream.text_stream]
        return "".join(said) == words

    async def everyone() -> list[bool]:
        async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client:
            return await asyncio.gather(
                *(one(client, door, number) for door in DOORS for number in range(10))
            )

    assert all(asyncio.run(everyone()))
