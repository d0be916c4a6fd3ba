"""The official ``google-genai`` client, through the gateway, to each dialect: what a user does, over real sockets.

Developer mode (an API key, ``/v1``) and Vertex mode (a bearer token, ``/v1beta1/projects/...``); behind it OpenAI,
Anthropic, Gemini on AI Studio and Vertex. The client is its own judge: what it cannot read fails here.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.auth.credentials import Credentials
from google.genai import errors, types
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
routes:
  - id: any-of-all
    primary: openai/gpt-4o-mini
    fallbacks: [gemini/gemini-2.5-flash, anthropic/claude-haiku-4-5, vertex-east/gemini-2.5-flash]
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
    "vertex": "vertex-east/gemini-2.5-flash",
}
THINKING = {**DOORS, "openai": "openai/gpt-5-mini"}
each_door = pytest.mark.parametrize("door", DOORS)
either = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
NO_LOOP = types.AutomaticFunctionCallingConfig(disable=True)
WEATHER = types.FunctionDeclaration(
    name="weather",
    description="The weather in a city.",
    parameters=types.Schema(
        type=types.Type.OBJECT,
        properties={
            "city": types.Schema(type=types.Type.STRING),
            "days": types.Schema(type=types.Type.INTEGER),
        },
        required=["city"],
    ),
)
NOW = types.FunctionDeclaration(name="now")
TOOLS = [types.Tool(function_declarations=[WEATHER, NOW])]
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PDF = b"%PDF-1.4\n" + b"\xfb\xef\xff\xbe" * 12 + b"\n%%EOF\n"
"""Bytes whose base64 differs between the two alphabets: the client sends the URL-safe one."""


class Bearer(Credentials):
    """A token that is not Google's: a virtual key does as one."""

    def __init__(self) -> None:
        super().__init__()
        self.token = KEY

    def refresh(self, request: Any) -> None:
        self.token = KEY


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway with all four doors."""
    folder = tmp_path_factory.mktemp("sdk")

    def prepare(sim: Simulator) -> dict[str, str]:
        return {"account": str(sim.make_service_account(folder))}

    with running_gateway(folder, CONFIG, prepare=prepare) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    return served


def studio(gateway: Gateway, key: str = KEY, **options: Any) -> genai.Client:
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=gateway.url, **options))


def vertex(gateway: Gateway) -> genai.Client:
    return genai.Client(
        vertexai=True,
        project="whatever",
        location="us-central1",
        credentials=Bearer(),
        http_options=types.HttpOptions(base_url=gateway.url),
    )


@pytest.fixture(scope="module")
def both(served: Gateway) -> Iterator[dict[str, genai.Client]]:
    """The client in its two modes; making one takes as long as twenty calls."""
    made = {"developer": studio(served), "vertex": vertex(served)}
    yield made
    for one in made.values():
        one.close()


@pytest.fixture
def client(gateway: Gateway, both: dict[str, genai.Client]) -> genai.Client:
    return both["developer"]


@pytest.fixture(params=["developer", "vertex"])
def either_mode(
    gateway: Gateway, both: dict[str, genai.Client], request: pytest.FixtureRequest
) -> genai.Client:
    return both[request.param]


class Heard(BaseModel):
    """A reply, however it came."""

    text: str
    thoughts: str
    finish: types.FinishReason | None
    calls: list[types.FunctionCall]
    usage: types.GenerateContentResponseUsageMetadata
    parts: list[types.Part]
    model: str


def ask(client: genai.Client, model: str, contents: Any, *, stream: bool, **config: Any) -> Heard:
    """One call; a stream's parts are gathered as a chat would keep them."""
    wanted = types.GenerateContentConfig(automatic_function_calling=NO_LOOP, **config)
    if stream:
        replies = list(client.models.generate_content_stream(model=model, contents=contents, config=wanted))
    else:
        replies = [client.models.generate_content(model=model, contents=contents, config=wanted)]
    parts = [
        part
        for reply in replies
        if reply.candidates and reply.candidates[0].content
        for part in reply.candidates[0].content.parts or []
    ]
    last = replies[-1]
    assert last.usage_metadata is not None
    assert last.candidates
    return Heard(
        text="".join(part.text or "" for part in parts if not part.thought),
        thoughts="".join(part.text or "" for part in parts if part.thought),
        finish=last.candidates[0].finish_reason,
        calls=[part.function_call for part in parts if part.function_call],
        usage=last.usage_metadata,
        parts=parts,
        model=last.model_version or "",
    )


def identity_holds(usage: types.GenerateContentResponseUsageMetadata) -> bool:
    parts = (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count)
    return usage.total_token_count == sum(count or 0 for count in parts)


# Text.


@each_door
@either
def test_text(either_mode: genai.Client, door: str, stream: bool) -> None:
    """Words, finish, usage identity, the model's version: in both modes of the client, from every provider."""
    heard = ask(either_mode, DOORS[door], "ECHO over the weir", stream=stream)
    assert heard.text == "over the weir"
    assert heard.finish == types.FinishReason.STOP
    assert identity_holds(heard.usage)
    assert heard.usage.prompt_token_count
    assert heard.model.startswith(DOORS[door].partition("/")[2])


@each_door
def test_the_request_id_finds_the_call(gateway: Gateway, client: genai.Client, door: str) -> None:
    """By our own id in the head, and by the reply's."""
    reply = client.models.generate_content(model=DOORS[door], contents="ECHO hi")
    assert reply.sdk_http_response is not None
    assert reply.response_id is not None
    head = reply.sdk_http_response.headers or {}
    record = gateway.ledger(head["x-request-id"])
    assert gateway.ledger(reply.response_id).call.request_id == head["x-request-id"]
    assert record.entries[0].virtual_key == "caller"
    assert reply.usage_metadata is not None
    assert record.entries[0].input == reply.usage_metadata.prompt_token_count


@each_door
def test_a_system_instruction_and_settings_arrive(gateway: Gateway, client: genai.Client, door: str) -> None:
    """At their places in the provider's own words."""
    more = {
        "system_instruction": "Be brief.",
        "max_output_tokens": 5,
        "temperature": 0.25,
        "stop_sequences": ["zz"],
    }
    heard = ask(client, DOORS[door], "hello there, tell me more of it", stream=False, **more)
    assert heard.finish == types.FinishReason.MAX_TOKENS
    sent = gateway.sent()
    match door:
        case "openai":
            assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
            assert (sent["max_completion_tokens"], sent["temperature"], sent["stop"]) == (5, 0.25, ["zz"])
        case "anthropic":
            assert (sent["max_tokens"], sent["stop_sequences"]) == (5, ["zz"])
            assert "Be brief." in json.dumps(sent["system"])
        case _:
            assert sent["systemInstruction"]["parts"] == [{"text": "Be brief."}]
            config = sent["generationConfig"]
            assert (config["maxOutputTokens"], config["temperature"], config["stopSequences"]) == (
                5,
                0.25,
                ["zz"],
            )


def test_store_is_off_at_ai_studio_and_never_sent_to_vertex(gateway: Gateway, client: genai.Client) -> None:
    """Google stores requests unless told otherwise (2026-10-26)."""
    ask(client, DOORS["gemini"], "hi", stream=False)
    assert gateway.sent()["store"] is False
    ask(client, DOORS["vertex"], "hi", stream=False)
    assert "store" not in gateway.sent()
    made = vertex(gateway)
    ask(made, DOORS["vertex"], "hi", stream=True)
    assert "store" not in gateway.sent()
    made.close()


def test_the_same_door_gets_the_callers_bytes(gateway: Gateway) -> None:
    """Order, spacing, spelling of numbers: only ``store`` is added."""
    body = b'{ "contents" : {"role":"USER","parts":{"text":"ECHO hi"}}, "generation_config":{"temperature":1.50}}'
    answer = gateway.post(body, f"/v1beta/models/{DOORS['gemini']}:generateContent", {"x-goog-api-key": KEY})
    assert answer.status == 200
    assert gateway.sim.requests[-1].body == body[:-1] + b',"store":false}'


# Tools.


@each_door
@either
def test_a_round_trip_with_two_tools(client: genai.Client, door: str, stream: bool) -> None:
    """Two calls in one turn, whole; results in another order, told apart by name."""
    asked = ask(client, DOORS[door], "CALL_TOOLS 2", stream=stream, tools=TOOLS)
    assert [call.name for call in asked.calls] == ["weather", "now"]
    assert isinstance((asked.calls[0].args or {})["city"], str)
    assert asked.calls[1].args in ({}, None)
    assert asked.finish == types.FinishReason.STOP
    results = [
        types.Part.from_function_response(name=name, response={"output": said})
        for name, said in (("now", "noon"), ("weather", "sunny"))
    ]
    history = [
        types.Content(role="user", parts=[types.Part(text="CALL_TOOLS 2")]),
        types.Content(role="model", parts=asked.parts),
        types.Content(role="user", parts=results),
    ]
    answer = ask(client, DOORS[door], history, stream=stream, tools=TOOLS)
    assert "sunny" in answer.text
    assert "noon" in answer.text


@each_door
def test_a_tool_is_forced_or_forbidden(client: genai.Client, door: str) -> None:
    """ANY with a name, and NONE."""
    named = types.FunctionCallingConfig(
        mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["now"]
    )
    heard = ask(
        client,
        DOORS[door],
        "hi",
        stream=False,
        tools=TOOLS,
        tool_config=types.ToolConfig(function_calling_config=named),
    )
    assert [call.name for call in heard.calls] == ["now"]
    none = types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.NONE)
    heard = ask(
        client,
        DOORS[door],
        "CALL_TOOL",
        stream=False,
        tools=TOOLS,
        tool_config=types.ToolConfig(function_calling_config=none),
    )
    assert heard.calls == []


@each_door
def test_the_client_calls_functions_by_itself(client: genai.Client, door: str) -> None:
    """Automatic function calling in a chat: the client runs the function and asks again."""
    heard: list[str] = []

    def weather(city: str) -> str:
        """The weather in a city."""
        heard.append(city)
        return "hail and thunder"

    chat = client.chats.create(model=DOORS[door], config=types.GenerateContentConfig(tools=[weather]))
    reply = chat.send_message("CALL_TOOL")
    assert len(heard) == 1
    assert reply.text is not None
    assert "hail and thunder" in reply.text


@each_door
def test_ten_turns_with_two_parallel_tools_and_thoughts(client: genai.Client, door: str) -> None:
    """Reasoning and tools at once: ids, signatures and thoughts survive the client's own copying of each turn."""
    more: Any = {
        "tools": TOOLS,
        "thinking_config": types.ThinkingConfig(thinking_budget=1024, include_thoughts=True),
    }
    history: list[types.Content] = []
    for turn in range(10):
        stream = turn % 2 == 1
        history.append(types.Content(role="user", parts=[types.Part(text="CALL_TOOLS 2")]))
        asked = ask(client, THINKING[door], history, stream=stream, **more)
        assert [call.name for call in asked.calls] == ["weather", "now"]
        history.append(types.Content(role="model", parts=asked.parts))
        results = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=call.id, name=call.name, response={"output": f"{call.name}-{turn}"}
                )
            )
            for call in reversed(asked.calls)
        ]
        history.append(types.Content(role="user", parts=results))
        answer = ask(client, THINKING[door], history, stream=stream, **more)
        assert f"weather-{turn}" in answer.text
        assert f"now-{turn}" in answer.text
        assert identity_holds(answer.usage)
        history.append(types.Content(role="model", parts=answer.parts))


# Thinking.


@each_door
@either
def test_thoughts_are_shown_when_asked_for(
    gateway: Gateway, client: genai.Client, door: str, stream: bool
) -> None:
    """With ``include_thoughts`` and not without; they count as thoughts either way where the provider counts them."""
    shown = types.ThinkingConfig(thinking_budget=2048, include_thoughts=True)
    heard = ask(client, THINKING[door], "hi", stream=stream, thinking_config=shown)
    if door != "openai":  # OpenAI's chat completions count thoughts and never show them
        assert heard.thoughts
    if door != "anthropic":
        assert heard.usage.thoughts_token_count
    hidden = ask(
        client,
        THINKING[door],
        "hi",
        stream=stream,
        thinking_config=types.ThinkingConfig(thinking_budget=2048),
    )
    assert hidden.thoughts == ""
    assert hidden.text
    assert identity_holds(hidden.usage)


def test_anthropics_proof_of_thought_returns_to_it_and_to_nobody_else(
    gateway: Gateway, client: genai.Client
) -> None:
    """Behind a mark in thoughtSignature; Google never sees it, Anthropic gets it back as it was."""
    config: Any = {"thinking_config": types.ThinkingConfig(thinking_budget=2048, include_thoughts=True)}
    asked = ask(client, DOORS["anthropic"], "CALL_TOOL", stream=True, tools=TOOLS, **config)
    results = [
        types.Part(
            function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": "1"})
        )
        for call in asked.calls
    ]
    history = [
        types.Content(role="user", parts=[types.Part(text="CALL_TOOL")]),
        types.Content(role="model", parts=asked.parts),
        types.Content(role="user", parts=results),
    ]
    ask(client, DOORS["anthropic"], history, stream=False, tools=TOOLS, **config)
    block = gateway.sent()["messages"][1]["content"][0]
    assert block["type"] == "thinking"
    assert block["signature"]
    assert block["thinking"] == asked.thoughts
    ask(client, DOORS["gemini"], history, stream=False, tools=TOOLS)
    body = gateway.sim.requests[-1].body
    assert block["signature"].encode() not in body
    assert b"cGVuc3RvY2s6" not in body
    assert b"functionCall" in body


def test_hidden_thoughts_leave_their_proof_all_the_same(gateway: Gateway, client: genai.Client) -> None:
    """Without ``include_thoughts`` the proof rides on the part after them."""
    config: Any = {"thinking_config": types.ThinkingConfig(thinking_budget=2048)}
    asked = ask(client, DOORS["anthropic"], "CALL_TOOL", stream=False, tools=TOOLS, **config)
    assert not asked.thoughts
    call = next(part for part in asked.parts if part.function_call)
    assert any(part.thought_signature for part in asked.parts)
    assert call.function_call is not None
    answer = types.FunctionResponse(id=call.function_call.id, name="weather", response={"output": "1"})
    history = [
        types.Content(role="user", parts=[types.Part(text="CALL_TOOL")]),
        types.Content(role="model", parts=asked.parts),
        types.Content(role="user", parts=[types.Part(function_response=answer)]),
    ]
    ask(client, DOORS["anthropic"], history, stream=False, tools=TOOLS, **config)
    assert gateway.sent()["messages"][1]["content"][0]["signature"]


# Media, JSON.


@each_door
@either
def test_a_picture_arrives_byte_for_byte(
    gateway: Gateway, client: genai.Client, door: str, stream: bool
) -> None:
    """Whatever alphabet of base64 the client writes."""
    picture = types.Part.from_bytes(data=PIXEL, mime_type="image/png")
    heard = ask(client, DOORS[door], ["ECHO seen", picture], stream=stream)
    assert heard.text == "seen"
    body = gateway.sim.requests[-1].body
    standard = base64.b64encode(PIXEL)
    assert standard in body or base64.urlsafe_b64encode(PIXEL) in body
    if door in ("openai", "anthropic"):
        assert standard in body


@pytest.mark.parametrize("door", ["openai", "anthropic", "gemini"])
def test_a_pdf_arrives_byte_for_byte(gateway: Gateway, client: genai.Client, door: str) -> None:
    """A document, as inline data."""
    document = types.Part.from_bytes(data=PDF, mime_type="application/pdf")
    assert ask(client, DOORS[door], ["ECHO read", document], stream=False).text == "read"
    body = gateway.sim.requests[-1].body
    if door == "gemini":
        assert base64.urlsafe_b64encode(PDF) in body
    else:
        assert base64.b64encode(PDF) in body


class City(BaseModel):
    """What is asked for."""

    name: str
    people: int


@each_door
@either
def test_structured_output(client: genai.Client, door: str, stream: bool) -> None:
    """A pydantic model as the schema; the client parses the answer with it."""
    config: Any = {"response_mime_type": "application/json", "response_schema": City}
    heard = ask(client, DOORS[door], "a city", stream=stream, **config)
    assert City.model_validate_json(heard.text)


def test_a_json_schema_goes_on_as_it_is(gateway: Gateway, client: genai.Client) -> None:
    """``response_json_schema`` keeps what an OpenAPI subset has no word for."""
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "exclusiveMinimum": 0}},
        "required": ["n"],
    }
    ask(
        client,
        DOORS["openai"],
        "a number",
        stream=False,
        response_mime_type="application/json",
        response_json_schema=schema,
    )
    assert gateway.sent()["response_format"]["json_schema"]["schema"] == schema


# What others do not know.


def test_what_only_google_has_is_said_where_another_answers(gateway: Gateway, client: genai.Client) -> None:
    """In ``x-penstock-adjusted``; and at Google's other door it arrives."""
    harmless = [
        types.SafetySetting(
            category=types.HarmCategory.HARM_CATEGORY_HARASSMENT,
            threshold=types.HarmBlockThreshold.BLOCK_NONE,
        )
    ]
    config = types.GenerateContentConfig(safety_settings=harmless)
    reply = client.models.generate_content(model=DOORS["openai"], contents="ECHO hi", config=config)
    assert reply.sdk_http_response is not None
    assert (reply.sdk_http_response.headers or {})["x-penstock-adjusted"] == "safetySettings-dropped"
    client.models.generate_content(model=DOORS["vertex"], contents="ECHO hi", config=config)
    assert gateway.sent()["safetySettings"][0]["threshold"] == "BLOCK_NONE"


def test_googles_own_tools_need_google(gateway: Gateway, client: genai.Client) -> None:
    """Without its search the answer would be to another question: refused elsewhere, and the sentence says why."""
    search = [types.Tool(google_search=types.GoogleSearch())]
    for door in ("openai", "anthropic"):
        with pytest.raises(errors.ClientError) as caught:
            ask(client, DOORS[door], "ECHO hi", stream=False, tools=search)
        assert caught.value.code == 400
        assert "googleSearch" in (caught.value.message or "")
    for door in ("gemini", "vertex"):
        assert ask(client, DOORS[door], "ECHO hi", stream=False, tools=search).text == "hi"
        assert gateway.sent()["tools"] == [{"googleSearch": {}}]


def test_content_kept_at_google_is_refused_elsewhere(client: genai.Client) -> None:
    """Without it the question would be another one."""
    with pytest.raises(errors.ClientError) as caught:
        ask(client, DOORS["openai"], "hi", stream=False, cached_content="cachedContents/one")
    assert caught.value.code == 400
    assert "cachedContent" in (caught.value.message or "")


# Errors.


@each_door
def test_a_providers_refusal_keeps_its_class(gateway: Gateway, client: genai.Client, door: str) -> None:
    """429 with what to wait, in Google's words."""
    provider = DOORS[door].partition("/")[0]
    gateway.faults(at(provider, "status", status=429, retry_after_s=7))
    with pytest.raises(errors.ClientError) as caught:
        ask(client, DOORS[door], "hi", stream=False)
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    details = caught.value.details["error"]["details"]
    assert [one["retryDelay"] for one in details if one["@type"].endswith("RetryInfo")]


@each_door
@pytest.mark.parametrize("kind", ["close_mid_stream", "error_mid_stream"])
def test_an_error_in_the_middle_of_a_stream_is_raised(
    gateway: Gateway, client: genai.Client, door: str, kind: str
) -> None:
    """Not taken for an end: whether the provider says so or falls silent."""
    gateway.faults(at(DOORS[door].partition("/")[0], kind, after=3))
    with pytest.raises(errors.APIError) as caught:
        ask(client, DOORS[door], "SAY_TOKENS 40", stream=True)
    assert caught.value.status == "UNAVAILABLE"


@each_door
def test_other_providers_stand_in_before_the_first_word(gateway: Gateway, door: str) -> None:
    """A fallback of another dialect answers in the caller's words; the head says who it was."""
    gateway.faults(at(DOORS[door].partition("/")[0], "status", status=503))
    path = "/v1beta/models/any-of-all:streamGenerateContent?alt=sse"
    answer = gateway.post({"contents": "ECHO hi"}, path, {"x-goog-api-key": KEY})
    assert answer.status == 200
    assert answer.headers["x-penstock-provider"] == ("gemini" if door == "openai" else "openai")
    said = [frame["candidates"][0]["content"]["parts"] for frame in answer.frames()]
    assert "".join(part.get("text", "") for parts in said for part in parts) == "hi"


def test_our_own_errors_are_googles_to_read(gateway: Gateway, client: genai.Client) -> None:
    """A wrong key, an unknown model, a limit, a wrong field."""
    stranger = studio(gateway, "vk-nobody")
    with pytest.raises(errors.ClientError) as caught:
        ask(stranger, DOORS["openai"], "hi", stream=False)
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")
    stranger.close()
    with pytest.raises(errors.ClientError) as caught:
        ask(client, "openai2/none", "hi", stream=True)
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    slow = studio(gateway, SLOW_KEY)
    ask(slow, DOORS["openai"], "hi", stream=False)
    with pytest.raises(errors.ClientError) as caught:
        ask(slow, DOORS["openai"], "hi", stream=False)
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    slow.close()
    with pytest.raises(errors.ClientError) as caught:
        ask(client, DOORS["openai"], "hi", stream=False, candidate_count=9)
    violations = [one for one in caught.value.details["error"]["details"] if "fieldViolations" in one]
    assert violations[0]["fieldViolations"][0]["field"] == "generationConfig.candidateCount"


# Streams as arrays, other paths.


@each_door
def test_without_alt_sse_a_stream_is_one_json_array(gateway: Gateway, door: str) -> None:
    """Piece by piece, and JSON all together; the key may stand in the query."""
    path = f"/v1beta/models/{DOORS[door].replace('/', '%2F')}:streamGenerateContent?key={KEY}"
    answer = gateway.post({"contents": "SAY_TOKENS 30"}, path)
    assert answer.headers["content-type"].startswith("application/json")
    replies = [types.GenerateContentResponse.model_validate(one) for one in answer.json()]
    assert len(replies) > 1
    assert replies[-1].candidates
    assert replies[-1].candidates[0].finish_reason == types.FinishReason.STOP
    gateway.faults(at(DOORS[door].partition("/")[0], "close_mid_stream", after=3))
    broken = gateway.post({"contents": "SAY_TOKENS 30"}, path)
    assert broken.json()[-1]["error"]["status"] == "UNAVAILABLE"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/openai/gpt-4o-mini",
        "/v1beta/models/models%2Fopenai%2Fgpt-4o-mini",
        "/v1alpha/models/openai/gpt-4o-mini",
        "/v1/publishers/openai/models/gpt-4o-mini",
        "/v1beta1/projects/p/locations/global/publishers/openai/models/gpt-4o-mini",
        "/v1/projects/p/locations/us/publishers/google/models/openai%2Fgpt-4o-mini",
    ],
)
def test_every_path_of_googles_is_served(gateway: Gateway, path: str) -> None:
    """Versions, publishers, express; a prefix that stands doubled."""
    answer = gateway.post(
        {"contents": "ECHO hi"}, f"{path}:generateContent", {"authorization": f"Bearer {KEY}"}
    )
    assert answer.json()["candidates"][0]["content"]["parts"] == [{"text": "hi"}]
    assert gateway.sim.requests[-1].model == "gpt-4o-mini"


def test_no_comment_keeps_a_stream_alive(tmp_path: Any) -> None:
    """The client raises on comment lines: a provider that makes us wait gets none written."""
    slow = THREE_DIALECTS + "server: {hold_back_ms: 20}\n"
    with running_gateway(tmp_path, slow) as gateway:
        gateway.faults({"kind": "slow_head", "ms": 300})
        answer = gateway.post(
            {"contents": "ECHO hi"}, "/v1beta/models/openai/gpt-4o-mini:streamGenerateContent?alt=sse"
        )
        assert answer.status == 200
        assert all(line.startswith(b"data: ") for line in answer.body.split(b"\r\n") if line)


# Counting, models.


@pytest.mark.parametrize("door", DOORS)
def test_tokens_are_counted_by_the_provider_where_it_can(
    gateway: Gateway, either_mode: genai.Client, door: str
) -> None:
    """Google's and Anthropic's own count; our estimate for the rest, and the head says which."""
    words = "how many tokens are these words " * 4
    counted = either_mode.models.count_tokens(model=DOORS[door], contents=words)
    assert counted.total_tokens
    assert counted.sdk_http_response is not None
    by = (counted.sdk_http_response.headers or {})["x-penstock-counted-by"]
    assert by == ("estimate" if door == "openai" else "provider")
    if door != "openai":
        assert "hello" not in gateway.sim.requests[-1].body.decode()
        assert "how many tokens" in gateway.sim.requests[-1].body.decode()


def test_a_whole_request_is_counted_too(gateway: Gateway, client: genai.Client) -> None:
    """``generateContentRequest``: with its instruction and tools."""
    path = f"/v1beta/models/{DOORS['gemini']}:countTokens"
    inner = {
        "contents": [{"parts": [{"text": "hi there"}]}],
        "system_instruction": {"parts": [{"text": "be brief"}]},
    }
    bare = gateway.post({"contents": inner["contents"]}, path, {"x-goog-api-key": KEY}).json()
    whole = gateway.post({"generateContentRequest": inner}, path, {"x-goog-api-key": KEY}).json()
    assert whole["totalTokens"] > bare["totalTokens"]


def test_models_are_listed_for_googles_clients(gateway: Gateway, client: genai.Client) -> None:
    """In pages; one by its name; in Vertex mode, too. OpenAI's clients keep their list."""
    names = {model.name for model in client.models.list(config={"page_size": 7})}
    assert {f"models/{name}" for name in ("openai/gpt-4o-mini", "gemini/gemini-2.5-flash")} <= names
    one = client.models.get(model="gemini/gemini-2.5-flash")
    assert one.name == "models/gemini/gemini-2.5-flash"
    assert one.input_token_limit
    with pytest.raises(errors.ClientError) as caught:
        client.models.get(model="openai/none")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    made = vertex(gateway)
    listed = {model.name for model in made.models.list(config={"page_size": 500})}
    assert "publishers/google/models/openai/gpt-4o-mini" in listed
    made.close()
    plain = gateway.get("/v1/models", {"authorization": f"Bearer {KEY}"}).json()
    assert plain["object"] == "list"


# Embeddings.


@pytest.mark.parametrize(
    "model",
    ["openai/text-embedding-3-small", "gemini/gemini-embedding-001", "vertex-east/text-embedding-005"],
)
def test_embeddings(gateway: Gateway, either_mode: genai.Client, model: str) -> None:
    """A vector for each content, in their order: by the verb that the client's mode and the model's name choose."""
    texts = ["a heron at the weir", "the sluice is open", "a heron at the weir"]
    found = either_mode.models.embed_content(
        model=model, contents=texts, config={"output_dimensionality": 16}
    )
    vectors = [one.values or [] for one in found.embeddings or []]
    assert [len(one) for one in vectors] == [16, 16, 16]
    assert vectors[0] == vectors[2] != vectors[1]
    sent = gateway.sim.requests[-1].body.decode()
    assert "heron" in sent
    assert "16" in sent


def test_a_task_is_googles_own_word(gateway: Gateway, client: genai.Client) -> None:
    """It arrives at Google, and is told as dropped where nobody knows it."""
    config: Any = {"task_type": "RETRIEVAL_QUERY"}
    client.models.embed_content(model="gemini/gemini-embedding-001", contents="a weir", config=config)
    assert "RETRIEVAL_QUERY" in gateway.sim.requests[-1].body.decode()
    told = client.models.embed_content(
        model="openai/text-embedding-3-small", contents="a weir", config=config
    )
    assert told.sdk_http_response is not None
    assert "task" in (told.sdk_http_response.headers or {})["x-penstock-adjusted"]
