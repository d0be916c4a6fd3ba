"""The official ``google-genai`` client, on AI Studio's and on Vertex's paths, understands all the simulator says."""

import json
from collections.abc import Iterator
from pathlib import Path

import google.auth.transport.requests
import pytest
import requests
from google import genai
from google.auth import crypt, jwt
from google.genai import errors, types
from google.oauth2 import service_account

from penstock.simulate import Scenario, Simulator, running_simulator
from penstock.simulate.oauth import SCOPE
from tests.simulate.raw import ask

FLASH = "gemini-2.5-flash"
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [
    types.Tool(
        function_declarations=[
            types.FunctionDeclaration(name="weather", parameters_json_schema=WEATHER),
            types.FunctionDeclaration(name="now"),
        ]
    )
]
NO_LOOP = types.AutomaticFunctionCallingConfig(disable=True)


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with running_simulator(Scenario(keys={"locked": ["right"]})) as sim:
        yield sim


def studio(sim: Simulator, provider: str = "alpha", key: str = "k", **options) -> genai.Client:
    return genai.Client(
        api_key=key, http_options=types.HttpOptions(base_url=sim.provider_url(provider), **options)
    )


@pytest.fixture
def client(sim: Simulator) -> Iterator[genai.Client]:
    sim.clear()
    made = studio(sim)
    yield made
    made.close()


def refused(client: genai.Client, model: str = FLASH, contents="hi", **config) -> str:
    with pytest.raises(errors.ClientError) as caught:
        client.models.generate_content(model=model, contents=contents, config=config)
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    return caught.value.message


def test_generate_and_stream_say_the_same(sim: Simulator, client: genai.Client) -> None:
    """Text, finish, usage identity, model version; the stream's last chunk carries the final figures."""
    whole = client.models.generate_content(model=FLASH, contents="one")
    chunks = list(client.models.generate_content_stream(model=FLASH, contents="one"))
    assert "".join(chunk.text or "" for chunk in chunks) == whole.text
    assert (
        whole.candidates[0].finish_reason == chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    )
    usage = chunks[-1].usage_metadata
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
    assert usage == whole.usage_metadata
    assert whole.model_version == FLASH
    received = sim.requests[0]
    assert (received.dialect, received.key, received.model, received.stream) == ("gemini", "k", FLASH, False)
    assert sim.requests[1].stream


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_both_api_versions_are_served(sim: Simulator, version: str) -> None:
    """google-genai 3 asks /v1, its predecessors /v1beta."""
    made = studio(sim, api_version=version)
    assert made.models.generate_content(model=FLASH, contents="ECHO hi").text == "hi"
    made.close()


def test_thinking_shown_hidden_and_off(client: genai.Client) -> None:
    """Thoughts are parts when asked for, billed either way, none with budget 0; identity holds."""
    config = {"thinking_config": {"thinking_budget": 1024, "include_thoughts": True}}
    shown = client.models.generate_content(model=FLASH, contents="hi", config=config)
    assert shown.candidates[0].content.parts[0].thought is True
    assert shown.candidates[0].content.parts[1].thought_signature
    streamed = list(client.models.generate_content_stream(model=FLASH, contents="hi", config=config))
    assert streamed[0].candidates[0].content.parts[0].thought is True
    hidden = client.models.generate_content(
        model=FLASH, contents="hi", config={"thinking_config": {"thinking_budget": -1}}
    )
    assert not any(part.thought for part in hidden.candidates[0].content.parts)
    off = client.models.generate_content(
        model=FLASH, contents="hi", config={"thinking_config": {"thinking_budget": 0}}
    )
    counts = [reply.usage_metadata.thoughts_token_count for reply in (shown, hidden, off)]
    assert counts == [32, 32, None]
    usage = shown.usage_metadata
    parts = usage.prompt_token_count + usage.candidates_token_count + usage.thoughts_token_count
    assert usage.total_token_count == parts


def test_thinking_can_use_up_the_cap(client: genai.Client) -> None:
    """MAX_TOKENS with a content that lacks parts."""
    config = {"thinking_config": {"thinking_budget": 1024}, "max_output_tokens": 10}
    reply = client.models.generate_content(model=FLASH, contents="hi", config=config)
    assert reply.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert reply.candidates[0].content.parts is None
    assert reply.usage_metadata.thoughts_token_count == 10


def test_tools_in_parallel_and_their_results(client: genai.Client) -> None:
    """Two calls with arguments that fit; the results come back in one turn and are quoted."""
    config = {"tools": TOOLS, "automatic_function_calling": NO_LOOP}
    called = client.models.generate_content(model=FLASH, contents="CALL_TOOLS 2", config=config)
    assert [(call.name, call.args) for call in called.function_calls] == [
        ("weather", {"city": "value-0"}),
        ("now", {}),
    ]
    streamed = list(
        client.models.generate_content_stream(model=FLASH, contents="CALL_TOOLS 2", config=config)
    )
    assert [call.name for chunk in streamed for call in chunk.function_calls or []] == ["weather", "now"]
    results = [
        types.Part.from_function_response(name=call.name, response={"ok": True})
        for call in called.function_calls
    ]
    asked = types.Content(role="user", parts=[types.Part(text="CALL_TOOLS 2")])
    history = [asked, called.candidates[0].content, types.Content(role="user", parts=results)]
    answer = client.models.generate_content(model=FLASH, contents=history, config=config)
    assert answer.text == 'The tools said: {"ok":true} | {"ok":true}'
    short = [*history[:2], types.Content(role="user", parts=results[:1])]
    assert "number of function response parts" in refused(client, contents=short, **config)


def test_gemini_3_wants_its_signatures_back(client: genai.Client) -> None:
    """The call carries an id and a signature; without the signature the next turn is refused."""
    config = {"tools": TOOLS, "automatic_function_calling": NO_LOOP}
    model = "gemini-3.8-flash"
    called = client.models.generate_content(model=model, contents="CALL_TOOL", config=config)
    part = called.candidates[0].content.parts[0]
    assert part.function_call.id
    assert part.thought_signature
    answer = types.Part(
        function_response=types.FunctionResponse(id=part.function_call.id, name="weather", response={"ok": 1})
    )
    asked = types.Content(role="user", parts=[types.Part(text="CALL_TOOL")])
    tail = types.Content(role="user", parts=[answer])
    history = [asked, called.candidates[0].content, tail]
    assert client.models.generate_content(model=model, contents=history, config=config).text
    part.thought_signature = None
    assert "missing a thought_signature" in refused(client, model, history, **config)


def test_blocked_prompt_malformed_call_and_filter(client: genai.Client) -> None:
    """promptFeedback without candidates; MALFORMED_FUNCTION_CALL without parts; SAFETY with some text."""
    for blocked in (
        client.models.generate_content(model=FLASH, contents="BLOCK_PROMPT"),
        next(iter(client.models.generate_content_stream(model=FLASH, contents="BLOCK_PROMPT"))),
    ):
        assert blocked.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT
        assert blocked.candidates is None
    malformed = client.models.generate_content(model=FLASH, contents="MALFORMED_CALL").candidates[0]
    assert (malformed.finish_reason, malformed.content.parts) == (
        types.FinishReason.MALFORMED_FUNCTION_CALL,
        None,
    )
    filtered = client.models.generate_content(model=FLASH, contents="FILTER_ANSWER")
    assert filtered.candidates[0].finish_reason == types.FinishReason.SAFETY


def test_json_images_cache_and_counting(client: genai.Client) -> None:
    """A schema is satisfied; a picture counts 258 by modality; cached is a part of the prompt; drawn pictures come."""
    config = {"response_mime_type": "application/json", "response_json_schema": WEATHER}
    assert json.loads(client.models.generate_content(model=FLASH, contents="hi", config=config).text) == {
        "city": "value-0"
    }
    picture = types.Part.from_bytes(data=b"x", mime_type="image/png")
    seen = client.models.generate_content(model=FLASH, contents=["hi", picture]).usage_metadata
    assert {d.modality.value: d.token_count for d in seen.prompt_tokens_details} == {"TEXT": 1, "IMAGE": 258}
    cached = client.models.generate_content(
        model="gemini-2.5-flash-cached", contents="hi" * 100
    ).usage_metadata
    assert 0 < cached.cached_content_token_count < cached.prompt_token_count
    assert client.models.count_tokens(model=FLASH, contents="hello there").total_tokens == 3
    drawn = client.models.generate_content(model=FLASH, contents="DRAW_IMAGE").candidates[0].content.parts
    assert any(part.inline_data and part.inline_data.data.startswith(b"\x89PNG") for part in drawn)


def test_thinking_rules_per_model(client: genai.Client) -> None:
    """Budget ranges of 2.5, levels only from 3 on, never both."""
    assert "24576" in refused(client, thinking_config={"thinking_budget": 24_577})
    assert "512" in refused(client, "gemini-2.5-flash-lite", thinking_config={"thinking_budget": 100})
    assert "thinking mode" in refused(client, "gemini-2.5-pro", thinking_config={"thinking_budget": 0})
    assert "not supported" in refused(client, thinking_config={"thinking_level": "LOW"})
    both = {"thinking_budget": 1, "thinking_level": "LOW"}
    assert "only one" in refused(client, "gemini-3.5-flash", thinking_config=both)
    assert "MINIMAL" in refused(client, "gemini-3.8-flash", thinking_config={"thinking_level": "MINIMAL"})
    assert client.models.generate_content(
        model="gemini-3.5-flash", contents="hi", config={"thinking_config": {"thinking_level": "LOW"}}
    ).usage_metadata.thoughts_token_count


def test_schema_rules_on_the_wire(sim: Simulator) -> None:
    """Unknown names are named with their place, in any case; a top-level budget is no such name; single for many."""
    key = {"x-goog-api-key": "k"}
    path = f"/v1beta/models/{FLASH}:generateContent"
    contents = [{"role": "USER", "parts": [{"text": "ECHO hi"}]}]

    def message(body) -> str:
        reply = ask(sim.url, path, body, headers=key)
        assert (reply.status, reply.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
        return reply.json()["error"]["message"]

    unknown = {"contents": contents, "generationConfig": {"thinkingConfig": {"budget": 1}}, "foo": 1}
    assert message(unknown).split("\n") == [
        "Invalid JSON payload received. Unknown name \"budget\" at 'generation_config.thinking_config': Cannot find field.",
        'Invalid JSON payload received. Unknown name "foo": Cannot find field.',
    ]
    assert "not repeating" in message({"contents": contents, "generationConfig": [{}]})
    assert "Struct" in message(
        {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": "x"}}]}]}
    )
    assert "contents is not specified" in message({})
    assert "should be non-empty for OBJECT" in message(
        {
            "contents": contents,
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
        }
    )
    mixed = {
        "contents": contents[0],
        "system_instruction": {"parts": {"text": "be brief"}},
        "generation_config": {
            "maxOutputTokens": 5,
            "thinkingConfig": {"include_thoughts": False, "thinking_budget": 0},
        },
        "store": False,
    }
    assert ask(sim.url, path, mixed, headers=key).status == 200


def test_studio_errors(sim: Simulator, client: genai.Client) -> None:
    """A bad key is a 400 with API_KEY_INVALID; no key a 403; 429 and a mid-stream error raise."""
    locked = studio(sim, "locked", "wrong")
    with pytest.raises(errors.ClientError) as denied:
        locked.models.generate_content(model=FLASH, contents="hi")
    locked.close()
    assert denied.value.code == 400
    assert denied.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    body = {"contents": {"parts": {"text": "hi"}}}
    assert (
        ask(sim.url, f"/v1/models/{FLASH}:generateContent", body, headers={"authorization": ""}).status == 403
    )
    sim.set_faults([{"kind": "status", "status": 429, "code": "PerDay"}])
    with pytest.raises(errors.ClientError) as limited:
        client.models.generate_content(model=FLASH, contents="hi")
    assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")
    sim.set_faults([{"kind": "error_mid_stream", "after": 1}])
    with pytest.raises(errors.ServerError):
        list(client.models.generate_content_stream(model=FLASH, contents="hi"))


def test_the_stream_without_sse_is_one_json_array(sim: Simulator) -> None:
    """As curl without ``alt=sse`` sees it."""
    sim.clear()
    body = {"contents": {"parts": {"text": "ECHO a b"}}}
    reply = ask(sim.url, f"/v1/models/{FLASH}:streamGenerateContent", body, headers={"x-goog-api-key": "k"})
    texts = [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in reply.json()]
    assert "".join(texts) == "a b"
    sse = ask(
        sim.url, f"/v1/models/{FLASH}:streamGenerateContent?alt=sse", body, headers={"x-goog-api-key": "k"}
    )
    assert all(chunk.startswith(b"data: {") and chunk.endswith(b"}\r\n\r\n") for chunk in sse.chunks)


# Vertex.


@pytest.fixture
def account(sim: Simulator, tmp_path: Path) -> Path:
    sim.clear()
    return sim.make_service_account(tmp_path)


def credentials_of(account: Path) -> service_account.Credentials:
    return service_account.Credentials.from_service_account_file(str(account), scopes=[SCOPE])


def test_vertex_with_a_service_account_made_here(sim: Simulator, account: Path) -> None:
    """google-auth signs with the fresh key, the simulator verifies, gives a token, and Vertex takes it."""
    session = requests.Session()
    credentials = credentials_of(account)
    credentials.refresh(google.auth.transport.requests.Request(session))
    session.close()
    client = genai.Client(
        vertexai=True,
        project="p",
        location="us-east5",
        credentials=credentials,
        http_options=types.HttpOptions(base_url=sim.url),
    )
    assert client.models.generate_content(model=FLASH, contents="ECHO hi").text == "hi"
    assert list(client.models.generate_content_stream(model=FLASH, contents="hi"))[
        -1
    ].usage_metadata.traffic_type
    assert [received.dialect for received in sim.requests] == ["oauth", "vertex", "vertex"]
    assert "/v1beta1/projects/p/locations/us-east5/publishers/google/models/" in sim.requests[1].path
    sim.expire_tokens()
    with pytest.raises(errors.ClientError) as denied:
        client.models.generate_content(model=FLASH, contents="hi")
    assert (denied.value.code, denied.value.status) == (401, "UNAUTHENTICATED")
    client.close()


def test_vertex_refuses_store_and_strangers(sim: Simulator, account: Path) -> None:
    """``store`` is an unknown name there; any bearer that was not given here is a 401."""
    path = f"/v1/projects/p/locations/global/publishers/google/models/{FLASH}:generateContent"
    body = {"contents": {"parts": {"text": "hi"}}}
    assert ask(sim.url, path, body, headers={"authorization": "Bearer stranger"}).status == 401
    token = token_for(sim, assertion(account))["access_token"]
    bearer = {"authorization": f"Bearer {token}"}
    assert ask(sim.url, path, body, headers=bearer).status == 200
    refused = ask(sim.url, path, {**body, "store": False}, headers=bearer)
    assert 'Unknown name "store"' in refused.json()["error"]["message"]


def assertion(account: Path, signer_of: Path | None = None, **claims) -> str:
    """A JWT for the account, possibly signed by another's key or with other claims."""
    info = json.loads(account.read_text())
    signing = json.loads((signer_of or account).read_text())
    signer = crypt.RSASigner.from_string(signing["private_key"], info["private_key_id"])
    now_s = int(google.auth._helpers.datetime_to_secs(google.auth._helpers.utcnow()))
    payload = {
        "iss": info["client_email"],
        "aud": info["token_uri"],
        "iat": now_s,
        "exp": now_s + 3600,
        "scope": SCOPE,
    }
    return jwt.encode(signer, {**payload, **claims}).decode()


def token_for(sim: Simulator, assertion: str) -> dict:
    form = f"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    reply = ask(sim.url, "/token", form.encode(), headers=headers)
    return {"status": reply.status, **reply.json()}


def test_a_forged_or_wrong_assertion_gets_no_token(sim: Simulator, account: Path, tmp_path: Path) -> None:
    """Signature, audience, times, scope and issuer are each verified."""
    other = sim.make_service_account(tmp_path, "other")
    assert token_for(sim, assertion(account))["token_type"] == "Bearer"
    forged = token_for(sim, assertion(account, signer_of=other))
    assert (forged["status"], forged["error"], forged["error_description"]) == (
        400,
        "invalid_grant",
        "Invalid JWT Signature.",
    )
    bent = assertion(account)
    head, _, signature = bent.split(".")
    altered = assertion(account, sub="someone").split(".")[1]
    assert token_for(sim, f"{head}.{altered}.{signature}")["error_description"] == "Invalid JWT Signature."
    assert "aud" in token_for(sim, assertion(account, aud="https://elsewhere/"))["error_description"]
    assert "short-lived" in token_for(sim, assertion(account, iat=1, exp=2))["error_description"]
    assert token_for(sim, assertion(account, scope="openid"))["error"] == "invalid_scope"
    assert "account not found" in token_for(sim, assertion(account, iss="nobody@x"))["error_description"]
    assert token_for(sim, "abc")["error"] == "invalid_grant"
