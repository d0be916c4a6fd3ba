"""The official ``openai`` client's Responses API, pointed straight at the simulator, understands all it says."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from penstock.simulate import Simulator, running_simulator

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
NOW: Any = {
    "type": "function",
    "name": "now",
    "strict": False,
    "parameters": {"type": "object", "properties": {}},
}


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with running_simulator() as sim:
        yield sim


@pytest.fixture
def client(sim: Simulator) -> Iterator[openai.OpenAI]:
    sim.clear()
    with openai.OpenAI(base_url=f"{sim.url}/v1", api_key="sk-test", max_retries=0) as made:
        yield made


def test_a_response_is_what_the_types_say(client: openai.OpenAI, sim: Simulator) -> None:
    """Validated strictly, not only constructed; usage adds up; the provider is OpenAI."""
    raw = client.responses.with_raw_response.create(model="gpt-4o-mini", input="ECHO hi there")
    made = Response.model_validate_json(raw.content)
    assert (made.output_text, made.status, made.store) == ("hi there", "completed", True)
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    assert (sim.requests[0].provider, sim.requests[0].dialect) == ("openai", "responses")


def test_a_stream_accumulates_to_the_whole(client: openai.OpenAI) -> None:
    """Sequence numbers count up; the client's accumulator ends with the same items as the whole reply."""
    asked: Any = {"model": "gpt-5", "input": "hi", "reasoning": {"effort": "low", "summary": "auto"}}
    whole = client.responses.create(**asked)
    with client.responses.stream(**asked) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.output_text == whole.output_text
    assert (
        [item.type for item in final.output]
        == [item.type for item in whole.output]
        == ["reasoning", "message"]
    )


def test_two_calls_and_their_answers(client: openai.OpenAI) -> None:
    """Called in a stream, answered by items, and by the id of the response that called."""
    with client.responses.stream(model="gpt-5", input="CALL_TOOLS 2", tools=[WEATHER, NOW]) as stream:
        made = stream.get_final_response()
    calls = [item for item in made.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["weather", "now"]
    assert json.loads(calls[0].arguments) == {"city": "value-0"}
    outputs: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": call.name} for call in calls
    ]
    items: Any = [item.model_dump(exclude_none=True) for item in calls]
    by_items = client.responses.create(model="gpt-5", input=[*items, *outputs])
    by_id = client.responses.create(model="gpt-5", input=outputs, previous_response_id=made.id)
    assert by_items.output_text == by_id.output_text == "The tools said: weather | now"


def test_encrypted_reasoning_comes_back_and_goes_back(client: openai.OpenAI) -> None:
    """Only where it is asked for; given back it is known, anything else is refused."""
    asked: Any = {"model": "gpt-5", "input": "hi", "reasoning": {"effort": "low"}, "store": False}
    bare = client.responses.create(**asked).output[0]
    made = client.responses.create(**asked, include=["reasoning.encrypted_content"]).output[0]
    assert bare.type == made.type == "reasoning"
    assert bare.encrypted_content is None
    item: Any = made.model_dump(exclude_none=True)
    client.responses.create(model="gpt-5", input=[item, {"role": "user", "content": "on"}])
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="gpt-5", input=[{**item, "encrypted_content": "other"}])
    assert refused.value.code == "invalid_encrypted_content"


def test_a_schema_a_cap_and_a_refusal(client: openai.OpenAI) -> None:
    """Parsed by the helper; incomplete with its reason; a refusal in its own part."""

    class Mill(BaseModel):
        name: str
        wheels: int

    parsed = client.responses.parse(model="gpt-4o-mini", input="hi", text_format=Mill)
    assert isinstance(parsed.output_parsed, Mill)
    cut = client.responses.create(model="gpt-4o-mini", input="SAY_TOKENS 40", max_output_tokens=16)
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    refused = client.responses.create(model="gpt-4o-mini", input="REFUSE_ANSWER")
    assert refused.output[0].content[0].type == "refusal"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"previous_response_id": "resp_nobody"}, "previous_response_id"),
        ({"max_output_tokens": 1}, "max_output_tokens"),
        ({"reasoning": {"effort": "low"}}, "reasoning.effort"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"extra_body": {"stop": ["x"]}}, "stop"),
        ({"tools": [{**WEATHER, "strict": True}]}, "tools[0].parameters"),
    ],
)
def test_what_the_vendor_refuses(client: openai.OpenAI, more: dict[str, Any], param: str) -> None:
    """400 with the parameter's name."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="gpt-4o-mini", input="hi", **more)
    assert refused.value.param == param


def test_a_stream_that_fails_is_raised(client: openai.OpenAI, sim: Simulator) -> None:
    """The event ``error`` makes the client raise, after what came before it."""
    sim.set_faults([{"kind": "error_mid_stream", "after": 2}])
    stream = client.responses.create(model="gpt-4o-mini", input="hi", stream=True)
    with pytest.raises(openai.APIError):
        list(stream)
