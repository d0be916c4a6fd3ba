"""Behaviour 40: errors in the caller's dialect, with the right status, and without a secret."""

from collections.abc import Iterator
from typing import Any

import msgspec
import openai
import pytest

from penstock.base.endpoint import parse_base_url
from penstock.base.models import ModelFacts, Target
from penstock.dialects import CALLERS, UPSTREAMS
from penstock.gateway.ports import Inbound, Known
from penstock.net.transport import TransportSettings
from tests.behaviours.gateway import SECRETS, Answer, Gateway

HELLO = [{"role": "user", "content": "hello"}]
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
  gemini:
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{sim}/p/gemini", retry: {max_retries: 0}}
server: {admin_key: env.ADMIN_KEY, max_body_bytes: 100000}
virtual_keys: [{name: caller, key: env.CALLER_KEY}, {name: other, key: env.OTHER_CALLER_KEY, models: [openai/gpt-4o-mini]}]
"""
MODELS = ["openai/gpt-4o", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash"]
MINE = {"authorization": f"Bearer {SECRETS['CALLER_KEY']}"}
REPLY_HEADERS = {
    "content-type", "content-length", "transfer-encoding", "connection", "cache-control", "x-accel-buffering", "allow",
    "x-request-id", "x-client-request-id", "server-timing", "retry-after", "retry-after-ms",
}  # fmt: skip


def post(gateway: Gateway, path: str = "/v1/chat/completions", **fields: Any) -> Answer:
    return gateway.post({"model": "openai/gpt-4o", "messages": HELLO, **fields}, path, MINE)


def openai_shape(answer: Answer) -> dict[str, Any]:
    """OpenAI's error, exactly; also as the frame that ends a stream."""
    error = answer.stream_error() if answer.status == 200 else answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert error["request_id"] == answer.request_id
    assert isinstance(error["message"], str)
    assert isinstance(error["code"], str)
    return error


def openrouter_shape(answer: Answer) -> dict[str, Any]:
    """OpenRouter's: an integer code that is the status."""
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "metadata"}
    assert type(error["code"]) is int
    assert error["code"] == answer.status
    assert error["metadata"]["request_id"] == answer.request_id
    return error


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("status", "shown", "kind"),
    [
        (400, 400, "invalid_request_error"), (401, 502, "server_error"), (402, 502, "server_error"),
        (403, 502, "server_error"), (404, 404, "invalid_request_error"), (413, 413, "invalid_request_error"),
        (429, 429, "rate_limit_error"), (500, 502, "server_error"), (503, (502, 503), "server_error"),
        (529, (502, 503), "server_error"),
    ],
)  # fmt: skip
def test_behaviour_40_a_provider_s_refusal_in_the_caller_s_dialect(gateway, model, status, shown, kind):
    """Whatever the provider speaks: OpenAI's shape, a status that blames the right one, both ids; in OpenRouter's too."""
    for stream in (False, True):
        gateway.fresh()
        gateway.faults({"kind": "status", "status": status, "message": "the provider's own words"})
        answer = post(gateway, model=model, stream=stream)
        error = openai_shape(answer)
        assert answer.status in (shown if isinstance(shown, tuple) else (shown,))
        assert error["type"] == kind
        if shown != 502 or status == 500:
            assert "the provider's own words" in error["message"]
        gateway.fresh()
        gateway.faults({"kind": "status", "status": status, "message": "the provider's own words"})
        again = post(gateway, "/api/v1/chat/completions", model=model, stream=stream)
        openrouter_shape(again)
        assert again.status == answer.status


@pytest.mark.parametrize("kind", ["html", "plain_text", "malformed", "early_close", "error_in_200"])
@pytest.mark.parametrize("model", MODELS)
def test_behaviour_40_a_broken_answer_in_the_caller_s_dialect(gateway, model, kind):
    """An HTML page of a CDN, a proxy's words, half a body: a JSON error all the same."""
    gateway.faults({"kind": kind, "status": 503 if kind == "error_in_200" else 0})
    answer = post(gateway, model=model)
    error = openai_shape(answer)
    assert answer.status in (502, 503)
    assert "<html" not in error["message"]


@pytest.mark.parametrize("model", MODELS)
def test_behaviour_40_a_broken_stream_ends_with_an_error_event(gateway, model):
    """OpenAI's frame, or OpenRouter's chunk with finish_reason error; and never [DONE] after OpenAI's."""
    gateway.faults({"kind": "error_mid_stream", "after": 3}, {"kind": "split", "bytes": 60, "ms": 2})
    answer = post(gateway, model=model, stream=True)
    assert answer.status == 200
    openai_shape(answer)
    assert not answer.done
    again = post(gateway, "/api/v1/chat/completions", model=model, stream=True)
    last = [frame for frame in again.frames() if isinstance(frame, dict)][-1]
    assert type(last["error"]["code"]) is int
    assert last["choices"][0]["finish_reason"] == "error"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/chat/completions", b"{", 400, "invalid_json"),
        ("/v1/chat/completions", {"model": "nobody/nothing", "messages": HELLO}, 404, "model_not_found"),
        ("/v1/chat/completions", b"x" * 100_001, 413, "request_too_large"),
        ("/v1/nowhere", {}, 404, "not_found"),
        ("/v1/models", {}, 405, "method_not_allowed"),
    ],
)
def test_behaviour_40_our_own_refusals_speak_both_shapes(gateway, path, body, status, code):
    """By the path that was called; each with what to do."""
    answer = gateway.post(body, path, MINE)
    assert (answer.status, openai_shape(answer)["code"]) == (status, code)
    answer = gateway.post(body, f"/api{path}", MINE)
    error = openrouter_shape(answer)
    assert (answer.status, error["metadata"]["provider_code"]) == (status, code)


def test_behaviour_40_a_key_s_refusals_speak_both_shapes(gateway):
    """401 and 403 are the caller's own matter only where they really are."""
    other = {"authorization": f"Bearer {SECRETS['OTHER_CALLER_KEY']}"}
    body = {"model": "openai/gpt-4o", "messages": HELLO}
    for path, shape in (("/v1", openai_shape), ("/api/v1", openrouter_shape)):
        unknown = gateway.post(body, f"{path}/chat/completions", {"authorization": "Bearer no"})
        assert unknown.status == 401
        shape(unknown)
        forbidden = gateway.post(body, f"{path}/chat/completions", other)
        assert forbidden.status == 403
        shape(forbidden)


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    """The official client."""
    with openai.OpenAI(api_key=SECRETS["CALLER_KEY"], base_url=f"{gateway.url}/v1", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError), (401, openai.InternalServerError), (403, openai.InternalServerError),
        (404, openai.NotFoundError), (429, openai.RateLimitError), (500, openai.InternalServerError),
    ],
)  # fmt: skip
def test_behaviour_40_the_official_client_raises_what_its_users_catch(gateway, client, model, status, raised):
    """And finds message, code and request id where it looks for them."""
    gateway.faults({"kind": "status", "status": status, "message": "as it was said"})
    with pytest.raises(raised) as caught:
        client.chat.completions.create(model=model, messages=HELLO)
    error = caught.value
    assert error.request_id.startswith("gen-")
    assert error.code
    gateway.fresh()
    gateway.faults({"kind": "error_mid_stream", "after": 2}, {"kind": "split", "bytes": 60, "ms": 2})
    with (
        pytest.raises(openai.APIError),
        client.chat.completions.create(model=model, messages=HELLO, stream=True) as stream,
    ):
        for _ in stream:
            pass


def test_behaviour_40_no_header_of_a_provider_reaches_the_caller(gateway):
    """Of headers there is a list of ours, and nothing else: organisations, cookies and limits of our keys stay here."""
    leaky = {
        "x-leak": SECRETS["OPENAI_KEY"],
        "set-cookie": "session=secret",
        "openai-organization": "org-ours",
    }
    for model in MODELS:
        for fault in (
            {"kind": "slow_head", "ms": 1, "headers": leaky},
            {"kind": "status", "status": 500, "headers": leaky},
        ):
            for stream in (False, True):
                gateway.faults(fault)
                answer = post(gateway, model=model, stream=stream)
                foreign = {name for name in answer.headers if name not in REPLY_HEADERS}
                assert {name for name in foreign if not name.startswith("x-penstock-")} == set()
                assert "secret" not in str(answer.headers)


def reachable(root: Any) -> Iterator[Any]:
    """Every object of Penstock's that can be reached from ``root``."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        kind = type(one)
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += list(one)
        elif kind.__module__.startswith("penstock."):
            yield one
            names = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
            names += list(getattr(one, "__dict__", {})) + list(getattr(kind, "__struct_fields__", ()))
            waiting += [getattr(one, name) for name in names if hasattr(one, name)]


def test_behaviour_40_no_repr_shows_a_secret(gateway):
    """Of nothing that a running gateway holds: a traceback or a debugger's log must not leak a key."""
    for model in MODELS:
        assert post(gateway, model=model).status == 200
    gateway.faults({"kind": "stall", "after": 2})
    with gateway.stream({"model": MODELS[0], "messages": HELLO}, MINE) as running:
        assert running.status == 200
        found = gateway.inside(lambda: [repr(one) for one in reachable(gateway.running.app)])
    kinds = {text.partition("(")[0].partition(" ")[0] for text in found}
    assert {"ProviderKey", "Principal", "Known"} <= kinds
    assert len(found) > 100
    settings = TransportSettings(parse_base_url("http://h:1/v1"), proxy="http://u:proxysecret@h:1")
    inbound = Inbound(CALLERS["openai"], {b"x-api-key": SECRETS["CALLER_KEY"].encode()}, b"{}", 0.0, Known())
    found += [repr(settings), str(settings), repr(inbound)]
    facts = ModelFacts(provider="openai", model="gpt-4o")
    for name, dialect in UPSTREAMS.items():
        target = Target(
            provider=name,
            model="m",
            dialect=name,
            facts=facts,
            options={"project": "p", "location": "global"},
        )
        ask = msgspec.json.encode({"model": "m", "messages": HELLO, "max_tokens": 5})
        caller = UPSTREAMS["openai"]
        request = dialect.write_request(
            caller.expand(caller.read_request(ask)), target, SECRETS["OPENAI_KEY"]
        )
        found.append(repr(request))
    for text in found:
        for secret in (*SECRETS.values(), "proxysecret"):
            assert secret not in text, text[:200]
