"""The official ``cohere`` client, pointed straight at the simulator, understands all it says."""

from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import pytest
from cohere.core.api_error import ApiError

from penstock.simulate import Scenario, Simulator, running_simulator

MODEL = "command-a-plus-05-2026"
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}} if name == "weather" else {},
            },
        },
    }
    for name in ("weather", "now")
]


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with running_simulator(Scenario(keys={"locked": ["right"]})) as sim:
        yield sim


@pytest.fixture
def client(sim: Simulator) -> Iterator[cohere.ClientV2]:
    sim.clear()
    with httpx.Client() as http:
        yield cohere.ClientV2(api_key="k", base_url=sim.provider_url("alpha"), httpx_client=http)


ONCE: Any = {"max_retries": 0}


def ask(client: cohere.ClientV2, text: str = "hi", **more: Any) -> Any:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": text}], "request_options": ONCE} | more
    return client.chat(**asked)


def test_a_message_with_usage(sim: Simulator, client: cohere.ClientV2) -> None:
    """Text, finish reason; what is billed is less than what was counted."""
    reply = ask(client, "ECHO hi there")
    assert (reply.message.content[0].text, reply.finish_reason) == ("hi there", "COMPLETE")
    assert reply.usage.billed_units.output_tokens == 2
    assert reply.usage.tokens.input_tokens > reply.usage.billed_units.input_tokens
    assert (sim.requests[0].dialect, sim.requests[0].key) == ("cohere", "k")


def test_a_stream_with_thinking_plan_and_tools(client: cohere.ClientV2) -> None:
    """The SDK parses every event as the type that it names."""
    events = list(
        client.chat_stream(
            model=MODEL,
            messages=[{"role": "user", "content": "CALL_TOOLS 2"}],
            tools=TOOLS,
            thinking={"type": "enabled", "token_budget": 8},
            request_options=ONCE,
        )
    )
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-1]) == ("message-start", "message-end")
    assert all(type(event).__name__ != "DebugV2ChatStreamResponse" for event in events)
    plan = "".join(event.delta.message.tool_plan for event in events if event.type == "tool-plan-delta")
    assert plan == "I will use the tools that fit."
    names = [
        event.delta.message.tool_calls.function.name for event in events if event.type == "tool-call-start"
    ]
    assert names == ["weather", "now"]
    pieces = [
        event.delta.message.tool_calls.function.arguments
        for event in events
        if event.type == "tool-call-delta" and event.index == 0
    ]
    assert "".join(pieces) == '{"city":"value-0"}'
    thought = [event.delta.message.content.thinking for event in events if event.type == "content-delta"]
    assert "".join(thought)
    assert events[-1].delta.finish_reason == "TOOL_CALL"


def test_a_tool_loop_documents_and_citations(client: cohere.ClientV2) -> None:
    """Results go back one by one; documents are cited, whole and streamed."""
    first = ask(client, "CALL_TOOLS 2", tools=TOOLS).message
    results = [
        {
            "role": "tool",
            "tool_call_id": call.id,
            "content": [{"type": "document", "document": {"data": {"r": str(i)}}}],
        }
        for i, call in enumerate(first.tool_calls)
    ]
    turns = [{"role": "user", "content": "CALL_TOOLS 2"}, first, *results]
    assert "The tools said:" in ask(client, messages=turns, tools=TOOLS).message.content[0].text
    with pytest.raises(cohere.BadRequestError):
        ask(client, messages=turns[:3], tools=TOOLS)
    documents: list[Any] = [{"data": {"title": "a", "text": "the sky is blue"}}]
    assert ask(client, documents=documents).message.citations[0].sources[0].id == "doc:0"
    asked: list[Any] = [{"role": "user", "content": "hi"}]
    stream = client.chat_stream(model=MODEL, messages=asked, documents=documents, request_options=ONCE)
    assert "citation-start" in [event.type for event in stream]


def test_structured_output_pictures_and_refusals(client: cohere.ClientV2) -> None:
    """A schema is kept to; what v2 does not take is an error of the SDK."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"type": "json_object", "json_schema": schema}
    assert ask(client, response_format=form).message.content[0].text.startswith('{"n":')
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    seen = ask(client, messages=[{"role": "user", "content": [{"type": "text", "text": "ECHO seen"}, image]}])
    assert seen.message.content[0].text == "seen"
    for more in ({"response_format": form, "tools": TOOLS}, {"p": 1.0}, {"tool_choice": "REQUIRED"}):
        with pytest.raises(cohere.BadRequestError):
            ask(client, **more)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, cohere.UnauthorizedError),
        (404, cohere.NotFoundError),
        (429, cohere.TooManyRequestsError),
        (500, cohere.InternalServerError),
        (503, cohere.ServiceUnavailableError),
    ],
)
def test_errors_are_the_sdks_own(
    sim: Simulator, client: cohere.ClientV2, status: int, kind: type[ApiError]
) -> None:
    """By status; the message stands in the body."""
    sim.set_faults([{"kind": "status", "status": status}])
    with pytest.raises(kind) as caught:
        ask(client)
    assert caught.value.body["message"]


def test_an_unknown_key_is_refused(sim: Simulator) -> None:
    """401, as Cohere says it."""
    sim.clear()
    with httpx.Client() as http:
        locked = cohere.ClientV2(api_key="wrong", base_url=sim.provider_url("locked"), httpx_client=http)
        with pytest.raises(cohere.UnauthorizedError):
            ask(locked)
