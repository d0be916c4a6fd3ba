"""The official ``openai`` client's Responses API through the gateway, to each dialect, over real sockets.

Four doors: OpenAI's chat, OpenAI's own Responses (passed through), Anthropic and Gemini.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from penstock.base.errors import OurFault
from tests.behaviours.gateway import THREE_DIALECTS, Gateway, at, running_gateway

CONFIG = (
    THREE_DIALECTS
    + """
  native:
    dialect: responses
    keys: [{value: env.SECOND_KEY}]
    network: {base_url: "{sim}/p/native/v1", retry: {max_retries: 0}}
  account:
    dialect: responses
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/account/v1", retry: {max_retries: 0}}
routes:
  - {id: chain, primary: openai/gpt-5, fallbacks: [native/gpt-5]}
virtual_keys:
  - {name: caller, key: env.CALLER_KEY}
  - {name: other, key: env.OTHER_CALLER_KEY}
"""
)
KEY, OTHER_KEY = "vk-caller-000000000006", "vk-other-000000000007"
DOORS = {
    "openai": "openai/gpt-5",
    "native": "native/gpt-5",
    "anthropic": "anthropic/claude-haiku-4-5",
    "gemini": "gemini/gemini-2.5-flash",
}
each_door = pytest.mark.parametrize("door", DOORS)
either = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
SUNNY = ("The tools said: sunny | sunny", 'The tools said: {"output":"sunny"} | {"output":"sunny"}')
"""Gemini takes an object for a tool's words."""
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5"
    "ErkJggg=="
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("responses"), CONFIG) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    return served


def make(gateway: Gateway, key: str = KEY, path: str = "/v1") -> openai.OpenAI:
    return openai.OpenAI(base_url=gateway.url + path, api_key=key, max_retries=0)


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with make(gateway) as made:
        yield made


def ask(client: openai.OpenAI, stream: bool, **asked: Any) -> Any:
    """One response, whole or by the helper for streams."""
    if not stream:
        return client.responses.create(**asked)
    with client.responses.stream(**asked) as events:
        return events.get_final_response()


def answers(made: Any, text: str = "sunny") -> list[Any]:
    """An output for each call of a response."""
    return [
        {"type": "function_call_output", "call_id": item.call_id, "output": text}
        for item in made.output
        if item.type == "function_call"
    ]


@each_door
@either
def test_words_usage_and_what_is_kept(
    client: openai.OpenAI, gateway: Gateway, door: str, stream: bool
) -> None:
    """The answer, strictly of the client's type; retrieved as it was; its usage is the ledger's."""
    made = ask(client, stream, model=DOORS[door], input="ECHO good morning", instructions="Be brief.")
    assert (made.output_text, made.status) == ("good morning", "completed")
    again = client.responses.with_raw_response.retrieve(made.id)
    kept = Response.model_validate_json(again.content)
    assert (kept.output_text, kept.usage, kept.instructions) == (made.output_text, made.usage, "Be brief.")
    entry = gateway.last_record().entries[0]
    assert made.usage.input_tokens == entry.input + entry.cache_read
    assert made.usage.output_tokens == entry.output + entry.reasoning


@each_door
@either
def test_a_conversation_with_tools_by_id(client: openai.OpenAI, door: str, stream: bool) -> None:
    """Two parallel calls, answered with the id of the response that made them; then the words after them."""
    asked = {"model": DOORS[door], "tools": [WEATHER]}
    first = ask(client, stream, input="CALL_TOOLS 2", **asked)
    calls = [item for item in first.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == [{"city": "value-0"}, {"city": "value-1"}]
    second = ask(client, stream, input=answers(first), previous_response_id=first.id, **asked)
    assert second.output_text in SUNNY
    third = ask(client, stream, input="ECHO bye", previous_response_id=second.id, **asked)
    assert third.output_text == "bye"
    items = list(client.responses.input_items.list(third.id, order="asc", limit=3))
    kinds = [item.type for item in items if item.type != "reasoning"]
    assert kinds == ["message", *["function_call"] * 2, *["function_call_output"] * 2, "message", "message"]


@each_door
def test_a_conversation_with_tools_by_items(client: openai.OpenAI, door: str) -> None:
    """Nothing is kept: the output's items go back as they came, thoughts among them."""
    asked = {"model": DOORS[door], "tools": [WEATHER], "store": False, "reasoning": {"effort": "low"}}
    asked["include"] = ["reasoning.encrypted_content"]
    history: list[Any] = [{"role": "user", "content": "CALL_TOOLS 2"}]
    first = client.responses.create(input=history, **asked)
    history += [item.model_dump(exclude_none=True) for item in first.output]
    second = client.responses.create(input=[*history, *answers(first)], **asked)
    assert second.output_text in SUNNY
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


@pytest.mark.parametrize("door", ["native", "anthropic", "gemini"])
def test_thoughts_survive_a_tool_call(client: openai.OpenAI, gateway: Gateway, door: str) -> None:
    """Their maker gets its signature or state back; another maker gets the conversation without it."""
    asked: Any = {"model": DOORS[door], "tools": [WEATHER], "reasoning": {"effort": "low", "summary": "auto"}}
    if door == "native":
        asked["include"] = ["reasoning.encrypted_content"]
    first = client.responses.create(input="CALL_TOOL", **asked)
    thought = first.output[0]
    assert thought.type == "reasoning"
    assert thought.summary[0].text
    if door == "native":  # to another account than the one that keeps the response
        asked = {**asked, "model": "account/gpt-5"}
    done = client.responses.create(input=answers(first), previous_response_id=first.id, **asked)
    assert "sunny" in done.output_text
    proof = {"native": "gAAAAsimulated.", "anthropic": "signature", "gemini": "thoughtSignature"}[door]
    assert proof in json.dumps(gateway.sent())
    other = "anthropic" if door != "anthropic" else "native"
    moved = client.responses.create(
        model=DOORS[other], input="ECHO moved", previous_response_id=done.id, tools=[WEATHER]
    )
    assert moved.output_text == "moved"
    assert proof not in json.dumps(gateway.sent())


@pytest.mark.parametrize("door", ["openai", "anthropic", "gemini"])
def test_thoughts_are_shown_as_asked(client: openai.OpenAI, door: str) -> None:
    """A summary where one is asked for, else reasoning text; in a stream, too. OpenAI's chat shows none."""
    asked: Any = {"model": DOORS[door], "input": "hi"}
    with client.responses.stream(**asked, reasoning={"effort": "low", "summary": "auto"}) as events:
        kinds = {event.type for event in events}
    bare = {
        event.type for event in client.responses.create(**asked, reasoning={"effort": "low"}, stream=True)
    }
    assert ("response.reasoning_summary_text.delta" in kinds) is (door != "openai")
    assert ("response.reasoning_text.delta" in bare) is (door != "openai")


@each_door
@either
def test_structured_output(client: openai.OpenAI, door: str, stream: bool) -> None:
    """Parsed by the client's helper."""

    class Mill(BaseModel):
        name: str
        wheels: int

    if stream:
        with client.responses.stream(model=DOORS[door], input="hi", text_format=Mill) as events:
            made = events.get_final_response()
    else:
        made = client.responses.parse(model=DOORS[door], input="hi", text_format=Mill)
    assert isinstance(made.output_parsed, Mill)


@each_door
def test_a_picture_and_a_file(client: openai.OpenAI, gateway: Gateway, door: str) -> None:
    """Both reach the provider, in its own words."""
    content = [
        {"type": "input_text", "text": "ECHO seen"},
        {"type": "input_image", "image_url": PIXEL, "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQK"},
    ]
    made = client.responses.create(model=DOORS[door], input=[{"role": "user", "content": content}])
    assert made.output_text == "seen"
    sent = json.dumps(gateway.sent())
    assert PIXEL.partition(",")[2] in sent
    assert "JVBERi0xLjQK" in sent


def test_a_response_belongs_to_its_key(client: openai.OpenAI, gateway: Gateway) -> None:
    """Another key can neither see it, list it, delete it nor go on from it; it is told what OpenAI would say."""
    made = client.responses.create(model=DOORS["openai"], input="secret")
    with make(gateway, OTHER_KEY) as other:
        for act in (other.responses.retrieve, other.responses.delete, other.responses.input_items.list):
            with pytest.raises(openai.NotFoundError, match=f"Response with id '{made.id}' not found"):
                act(made.id)
        for name in (made.id, "resp_nobody"):
            with pytest.raises(openai.BadRequestError) as refused:
                other.responses.create(model=DOORS["native"], input="go on", previous_response_id=name)
            assert (refused.value.code, refused.value.param) == (
                "previous_response_not_found",
                "previous_response_id",
            )
    assert len(gateway.sim.requests) == 1
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_a_conversation_whose_beginning_was_deleted_ends(client: openai.OpenAI) -> None:
    """What is gone is named."""
    first = client.responses.create(model=DOORS["openai"], input="one")
    second = client.responses.create(model=DOORS["openai"], input="two", previous_response_id=first.id)
    client.responses.delete(first.id)
    with pytest.raises(openai.BadRequestError, match=first.id):
        client.responses.create(model=DOORS["openai"], input="three", previous_response_id=second.id)
    assert client.responses.retrieve(second.id).output_text == second.output_text


def test_its_own_account_goes_on_from_what_it_keeps(client: openai.OpenAI, gateway: Gateway) -> None:
    """OpenAI's own Responses gets the id and the new input alone; anyone else all of the conversation."""
    first = client.responses.create(model=DOORS["native"], input="one")
    client.responses.create(model=DOORS["native"], input="two", previous_response_id=first.id)
    assert gateway.sent() == {"model": "gpt-5", "input": "two", "previous_response_id": first.id}
    client.responses.create(model=DOORS["openai"], input="two", previous_response_id=first.id)
    assert [turn["role"] for turn in gateway.sent()["messages"]] == ["user", "assistant", "user"]


def test_turns_are_kept_as_what_they_added(client: openai.OpenAI, gateway: Gateway) -> None:
    """Twenty turns take about twenty times the room of one."""
    made, sizes = None, []
    for turn in range(20):
        previous = {} if made is None else {"previous_response_id": made.id}
        made = client.responses.create(
            model=DOORS["openai"], input=f"ECHO {turn:02d} {'x' * 500}", **previous
        )
        used = gateway.house.keeper.used("response", "caller")
        sizes.append(asyncio.run_coroutine_threadsafe(used, gateway.loop).result(10))
    grown = [after - before for before, after in itertools.pairwise(sizes)]
    assert max(grown) < 1.2 * min(grown)


def test_an_answer_that_cannot_be_kept_is_delivered(
    client: openai.OpenAI, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was paid for; the operator is told, and to go on from it is refused."""

    async def full(*_given: Any, **_named: Any) -> None:
        raise OurFault("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.house.keeper, "put", full)
        made = [ask(client, stream, model=DOORS["openai"], input="ECHO paid") for stream in (False, True)]
    assert [one.output_text for one in made] == ["paid", "paid"]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made[0].id)


def test_input_items_come_in_pages(client: openai.OpenAI) -> None:
    """Both orders, ``after`` and ``limit``; the client's own pager walks them."""
    items: Any = [{"role": "user", "content": f"item {place}"} for place in range(5)]
    made = client.responses.create(model=DOORS["openai"], input=items)
    page = client.responses.input_items.list(made.id, limit=2)
    assert (page.has_more, [item.content[0].text for item in page.data]) == (True, ["item 4", "item 3"])
    walked = [
        item.content[0].text for item in client.responses.input_items.list(made.id, limit=2, order="asc")
    ]
    assert walked == [f"item {place}" for place in range(5)]
    for wrong in ({"limit": 0}, {"order": "up"}, {"after": "nobody"}):
        with pytest.raises(openai.BadRequestError):
            client.responses.input_items.list(made.id, **wrong)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input[0].call_id"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": 7}]}]},
            "input[0].content[0].text",
        ),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
    ],
)
def test_what_cannot_be_served_names_its_field(
    client: openai.OpenAI, more: dict[str, Any], param: str
) -> None:
    """400 with the field and the reason, before anything is sent."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**{"model": DOORS["openai"], "input": "hi", **more})
    assert refused.value.param == param


def test_an_answer_that_is_fetched_later_is_kept_like_any_other(client: openai.OpenAI) -> None:
    """``x-penstock-async`` works here, too: the job's result is a response that one may go on from."""
    first = client.responses.create(model=DOORS["openai"], input="one")
    asked = {"model": DOORS["anthropic"], "input": "ECHO later", "previous_response_id": first.id}
    job: Any = client.post(
        "/responses", cast_to=object, body=asked, options={"headers": {"x-penstock-async": "true"}}
    )
    until_s = time.monotonic() + 20
    while job["status"] not in ("completed", "failed"):
        assert time.monotonic() < until_s, job
        time.sleep(0.05)
        job = client.get(f"/jobs/{job['id']}", cast_to=object)
    made = job["result"]["body"]
    assert made["status"] == "completed"
    assert client.responses.retrieve(made["id"]).output_text == "later"
    again = client.responses.create(model=DOORS["gemini"], input="ECHO on", previous_response_id=made["id"])
    assert len(client.responses.input_items.list(again.id).data) == 5


def test_hosted_tools_go_to_openais_own(client: openai.OpenAI, gateway: Gateway) -> None:
    """As they are; and so does any field that we do not know."""
    client.responses.create(
        model=DOORS["native"], input="hi", tools=[{"type": "web_search"}], extra_body={"max_tool_calls": 2}
    )
    assert gateway.sent()["tools"] == [{"type": "web_search"}]
    assert gateway.sent()["max_tool_calls"] == 2


@pytest.mark.parametrize("door", ["openai", "anthropic", "native"])
def test_a_custom_tool_is_a_function_elsewhere(client: openai.OpenAI, door: str) -> None:
    """And comes back as a custom call, streamed or not; its output goes back."""
    asked: Any = {
        "model": DOORS[door],
        "tools": [{"type": "custom", "name": "shell", "description": "Runs."}],
    }
    first = client.responses.create(input="CALL_TOOL", **asked)
    call = first.output[-1]
    assert (call.type, call.name) == ("custom_tool_call", "shell")
    assert call.input in ("value-0", "free text")
    output: Any = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "done"}
    last = client.responses.create(input=[output], previous_response_id=first.id, **asked)
    assert last.status == "completed"


def test_what_is_left_out_is_told(client: openai.OpenAI) -> None:
    """In x-penstock-adjusted."""
    made = client.responses.with_raw_response.create(
        model=DOORS["anthropic"],
        input="hi",
        truncation="auto",
        safety_identifier="u",
        extra_body={"top_logprobs": 2},
    )
    told = set(made.headers["x-penstock-adjusted"].split(","))
    assert {"truncation-dropped", "safety_identifier-dropped", "top_logprobs-dropped"} <= told


@each_door
def test_a_stream_that_breaks_raises_in_the_client(
    client: openai.OpenAI, gateway: Gateway, door: str
) -> None:
    """After its words, never as a quiet end; nothing is kept of it."""
    gateway.faults(at(door, "close_mid_stream", after=3))
    seen: list[str] = []
    events = client.responses.create(model=DOORS[door], input="hi", stream=True)
    with pytest.raises(openai.APIError):
        seen.extend(event.type for event in events)
    assert "response.output_text.delta" in seen
    assert "response.completed" not in seen
    gateway.faults()


@either
def test_a_fallback_answers_under_one_id(client: openai.OpenAI, gateway: Gateway, stream: bool) -> None:
    """OpenAI's chat fails; its Responses answers in pass-through, and is kept."""
    gateway.faults(at("openai", "status", status=503))
    made = ask(client, stream, model="chain", input="ECHO second")
    assert made.output_text == "second"
    assert client.responses.retrieve(made.id).output_text == "second"


@pytest.mark.parametrize("path", ["/openai/v1", "/api/v1", ""])
def test_every_path_that_clients_use(gateway: Gateway, path: str) -> None:
    """Made and looked at below each prefix."""
    with make(gateway, path=path) as client:
        made = client.responses.create(model=DOORS["gemini"], input="ECHO here")
        assert client.responses.retrieve(made.id).output_text == "here"


def test_cancel_refuses_what_is_over(client: openai.OpenAI) -> None:
    """In OpenAI's words."""
    made = client.responses.create(model=DOORS["openai"], input="hi")
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(made.id)


@each_door
def test_ten_turns_with_two_parallel_tools(client: openai.OpenAI, door: str) -> None:
    """Called and answered five times over, by id, and the last answer knows the tools' words."""
    made, asked = None, {"model": DOORS[door], "tools": [WEATHER], "reasoning": {"effort": "low"}}
    for turn in range(5):
        previous = {} if made is None else {"previous_response_id": made.id}
        called = client.responses.create(input="CALL_TOOLS 2", **asked, **previous)
        outputs = answers(called, f"turn {turn}")
        assert len(outputs) == 2
        made = client.responses.create(input=outputs, previous_response_id=called.id, **asked)
        assert f"turn {turn}" in made.output_text


@pytest.mark.parametrize("stream", [False, True])
def test_chat_callers_reach_openais_responses(gateway: Gateway, stream: bool) -> None:
    """Thoughts, their encrypted state and a tool loop; the state goes back with its item's id."""
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": WEATHER["parameters"]}}
    asked: Any = {"model": DOORS["native"], "tools": [tool], "reasoning_effort": "low"}
    history: list[Any] = [{"role": "user", "content": "CALL_TOOLS 2"}]
    with make(gateway) as client:
        if stream:
            with client.chat.completions.stream(messages=history, **asked) as events:
                message = events.get_final_completion().choices[0].message.model_dump(exclude_none=True)
        else:
            made = client.chat.completions.create(messages=history, **asked)
            message = made.choices[0].message.model_dump(exclude_none=True)
        message.pop("parsed", None)
        history.append(message)
        history += [
            {"role": "tool", "tool_call_id": call["id"], "content": "wet"} for call in message["tool_calls"]
        ]
        last = client.chat.completions.create(messages=history, **asked)
    assert last.choices[0].message.content == "The tools said: wet | wet"
    thoughts = [item for item in gateway.sent()["input"] if item.get("type") == "reasoning"]
    assert [thought["id"][:3] for thought in thoughts] == ["rs_"]
    assert thoughts[0]["encrypted_content"].startswith("gAAAAsimulated.")
    assert [part["text"] for part in thoughts[0]["summary"]] == [message["reasoning"]]
    assert gateway.sent()["store"] is False
