"""The official ``anthropic`` client, pointed straight at the simulator, understands all it says."""

from collections.abc import Iterator

import anthropic
import pytest

from penstock.simulate import Scenario, Simulator, running_simulator

TOOLS = [
    {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}},
    {"name": "now", "input_schema": {"type": "object", "properties": {}}},
]
OLD = {"anthropic-version": "2023-06-01"}
MODEL = "claude-haiku-4-5"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with running_simulator(Scenario(keys={"locked": ["right"]})) as sim:
        yield sim


@pytest.fixture
def client(sim: Simulator) -> Iterator[anthropic.Anthropic]:
    sim.clear()
    with anthropic.Anthropic(base_url=sim.provider_url("alpha"), api_key="k", max_retries=0) as client:
        yield client


def say(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def create(client: anthropic.Anthropic, text: str = "hi", **more):
    asked = {"model": MODEL, "max_tokens": 2048, "messages": say(text)} | more
    return client.messages.create(**asked)


def refused(client: anthropic.Anthropic, **more) -> str:
    with pytest.raises(anthropic.BadRequestError) as caught:
        create(client, **more)
    assert caught.value.body["error"]["type"] == "invalid_request_error"
    return caught.value.body["error"]["message"]


def test_a_message_and_what_the_client_sent(sim: Simulator, client: anthropic.Anthropic) -> None:
    """Text, stop reason, usage; SDK 2 sends the key as a bearer and version 2026-10-21."""
    message = create(client, "ECHO hi there")
    assert (message.content[0].text, message.stop_reason) == ("hi there", "end_turn")
    assert message.usage.output_tokens == 2
    received = sim.requests[0]
    assert (received.key, received.dialect) == ("k", "anthropic")
    assert received.headers["anthropic-version"] == "2026-10-21"


def test_a_stream_with_thinking_text_and_tools(client: anthropic.Anthropic) -> None:
    """The SDK's accumulator builds the message; a pings and a signature pass; arguments are whole."""
    asked = {"model": MODEL, "max_tokens": 2048, "messages": say("CALL_TOOLS 2"), "tools": TOOLS}
    with client.messages.stream(**asked, thinking={"type": "enabled", "budget_tokens": 1024}) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    thinking, first, second = message.content
    assert (thinking.type, bool(thinking.signature), bool(thinking.thinking)) == ("thinking", True, True)
    assert (first.name, first.input) == ("weather", {"city": "value-0"})
    assert (second.name, second.input) == ("now", {})
    assert message.stop_reason == "tool_use"
    assert message.usage.output_tokens_details.thinking_tokens == 32


def test_a_tool_loop_with_thinking_needs_the_block_unchanged(client: anthropic.Anthropic) -> None:
    """The turn goes on with the signed block; changed or left out it is a 400."""
    asked = {"tools": TOOLS, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    first = create(client, "CALL_TOOL", **asked)
    call = next(block for block in first.content if block.type == "tool_use")
    result = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}],
    }
    turn = [block.model_dump(exclude_none=True) for block in first.content]

    def history(blocks: list) -> list:
        return [*say("CALL_TOOL"), {"role": "assistant", "content": blocks}, result]

    answer = create(client, messages=history(turn), **asked)
    assert answer.content[-1].text == "The tools said: sunny"
    changed = [{**turn[0], "thinking": "another thought"}, *turn[1:]]
    assert "Invalid `signature`" in refused(client, messages=history(changed), **asked)
    assert "Expected `thinking`" in refused(client, messages=history(turn[1:]), **asked)


def test_thinking_may_be_omitted_or_redacted(client: anthropic.Anthropic) -> None:
    """display:omitted gives an empty, signed block; a redacted block carries data only."""
    omitted = create(client, thinking={"type": "enabled", "budget_tokens": 1024, "display": "omitted"})
    assert (omitted.content[0].thinking, bool(omitted.content[0].signature)) == ("", True)
    adaptive = create(client, "REDACT_THINKING", model="claude-opus-4-7", thinking={"type": "adaptive"})
    assert adaptive.content[0].type == "redacted_thinking"


def test_both_versions_have_their_rules(client: anthropic.Anthropic) -> None:
    """Sampling: refused by the new version, taken by the old one, refused by newer models in any version."""
    assert "temperature" in refused(client, extra_body={"temperature": 1.0})
    assert create(client, extra_body={"temperature": 0.5}, extra_headers=OLD).stop_reason == "end_turn"
    assert "deprecated for this model" in refused(
        client, model="claude-opus-4-7", extra_body={"temperature": 0.5}, extra_headers=OLD
    )
    assert "version" in refused(client, extra_headers={"anthropic-version": "2024-01-01"})
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
    history = [*say("a"), {"role": "assistant", "content": [document]}, *say("b")]
    assert "document" in refused(client, messages=history)
    assert create(client, messages=history, extra_headers=OLD).content
    cited = {"type": "text", "text": "a", "citations": [{"type": "char_location"}]}
    assert "citations" in refused(client, messages=[{"role": "user", "content": [cited]}])


def test_vendor_rules(client: anthropic.Anthropic) -> None:
    """Ordering of tool results, empty text, thinking per model, prefill, unknown fields."""
    use = {"type": "tool_use", "id": "t1", "name": "now", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "x"}
    called = [*say("a"), {"role": "assistant", "content": [use]}]
    assert "t1" in refused(client, messages=[*called, *say("b")], tools=TOOLS)
    late = {"role": "user", "content": [{"type": "text", "text": "b"}, result]}
    assert "Did not find 1 `tool_result`" in refused(client, messages=[*called, late], tools=TOOLS)
    foreign = {"role": "user", "content": [{**result, "tool_use_id": "t2"}]}
    assert "t2" in refused(client, messages=[*called, foreign], tools=TOOLS)
    assert "must define tools" in refused(client, messages=[*called, {"role": "user", "content": [result]}])
    assert "non-empty" in refused(
        client, messages=[{"role": "user", "content": [{"type": "text", "text": ""}]}]
    )
    assert "1024" in refused(client, thinking={"type": "enabled", "budget_tokens": 10})
    assert "max_tokens" in refused(client, thinking={"type": "enabled", "budget_tokens": 4096})
    assert "not supported" in refused(
        client, model="claude-opus-4-7", thinking={"type": "enabled", "budget_tokens": 1024}
    )
    assert "adaptive" in refused(client, thinking={"type": "adaptive"})
    assert "forces tool use" in refused(
        client, thinking={"type": "enabled", "budget_tokens": 1024}, tools=TOOLS, tool_choice={"type": "any"}
    )
    prefill = [*say("a"), {"role": "assistant", "content": "b"}]
    assert "prefill" in refused(client, model="claude-opus-4-6", messages=prefill)
    assert create(client, messages=prefill).content
    assert "Extra inputs" in refused(client, extra_body={"reasoning": {}})
    assert "input_schema" in refused(client, tools=[{"name": "f", "input_schema": {}}])


def test_missing_max_tokens(client: anthropic.Anthropic) -> None:
    """The field is required."""
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: Field required"):
        client.post("/v1/messages", body={"model": MODEL, "messages": say("hi")}, cast_to=object)


def test_a_marked_prompt_is_written_then_read(client: anthropic.Anthropic) -> None:
    """The first call writes the cache, the second reads it; input excludes both; the hour has its own field."""
    system = [{"type": "text", "text": "rules " * 100, "cache_control": {"type": "ephemeral"}}]
    first, second = create(client, system=system).usage, create(client, system=system).usage
    assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (150, 0)
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, 150)
    assert first.input_tokens == second.input_tokens == 1
    system[0]["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
    assert create(client, "other", system=system).usage.cache_creation.ephemeral_1h_input_tokens == 150


def test_ways_to_stop(client: anthropic.Anthropic) -> None:
    """max_tokens, stop_sequence with its text, refusal, JSON by schema."""
    assert create(client, "SAY_TOKENS 50", max_tokens=5).stop_reason == "max_tokens"
    stopped = create(client, "ECHO one two three", stop_sequences=["two"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "two")
    assert create(client, "REFUSE_ANSWER").stop_reason == "refusal"
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    answer = create(client, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert answer.content[0].text == '{"n":1}'


def test_errors_raise_the_clients_own_classes(sim: Simulator, client: anthropic.Anthropic) -> None:
    """429 with headers, 529, 401, and an error event in the middle of a stream."""
    sim.set_faults([{"kind": "status", "status": 429, "retry_after_s": 2}])
    with pytest.raises(anthropic.RateLimitError) as limited:
        create(client)
    assert limited.value.response.headers["retry-after"] == "2"
    sim.set_faults([{"kind": "status", "status": 529}])
    with pytest.raises(anthropic.OverloadedError):
        create(client)
    sim.set_faults([{"kind": "error_mid_stream", "after": 2}])
    with (
        pytest.raises(anthropic.APIStatusError, match="overloaded_error"),
        client.messages.stream(model=MODEL, max_tokens=64, messages=say("hi")) as stream,
    ):
        stream.get_final_message()
    with (
        anthropic.Anthropic(base_url=sim.provider_url("locked"), api_key="wrong", max_retries=0) as other,
        pytest.raises(anthropic.AuthenticationError),
    ):
        create(other)


def test_tokens_are_counted_and_models_listed(client: anthropic.Anthropic) -> None:
    """count_tokens agrees with the usage of the call; the list paginates."""
    counted = client.messages.count_tokens(model=MODEL, messages=say("hello there")).input_tokens
    assert counted == create(client, "hello there").usage.input_tokens
    assert [model.id for model in client.models.list()] == [MODEL]
