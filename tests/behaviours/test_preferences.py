"""``models``, ``fallbacks`` and ``provider{}`` mean the same in the body of every inlet, and none of them leaves the gateway."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google import genai
from google.genai import types

from tests.behaviours.gateway import THREE_DIALECTS, Answer, Gateway, at, running_gateway

OURS = {"models", "fallbacks", "provider", "penstock"}
HELLO = [{"role": "user", "content": "hello"}]
CONTENTS = [{"role": "user", "parts": [{"text": "hello"}]}]
OPENAI, CLAUDE, GEMINI = "openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash"


def to_openai(model: str, **more: Any) -> tuple[dict[str, Any], str]:
    return {"model": model, "messages": HELLO, **more}, "/v1/chat/completions"


def to_responses(model: str, **more: Any) -> tuple[dict[str, Any], str]:
    return {"model": model, "input": "hello", **more}, "/v1/responses"


def to_anthropic(model: str, **more: Any) -> tuple[dict[str, Any], str]:
    return {"model": model, "max_tokens": 99, "messages": HELLO, **more}, "/v1/messages"


def to_gemini(model: str, **more: Any) -> tuple[dict[str, Any], str]:
    return {"contents": CONTENTS, **more}, f"/v1beta/models/{model}:generateContent"


Inlet = Callable[..., tuple[dict[str, Any], str]]
INLETS: list[Inlet] = [to_openai, to_responses, to_anthropic, to_gemini]
inlets = pytest.mark.parametrize("inlet", INLETS, ids=lambda inlet: inlet.__name__)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = THREE_DIALECTS + "    models: {gpt-4o-mini: gpt-4o-mini}\n"
    with running_gateway(tmp_path_factory.mktemp("preferences"), config) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    return served


def ask(gateway: Gateway, asked: tuple[dict[str, Any], str]) -> Answer:
    answer = gateway.post(*asked)
    for one in gateway.sim.requests:
        assert not any(f'"{name}"'.encode() in one.body for name in OURS), one.body
    return answer


@inlets
@pytest.mark.parametrize("model", [OPENAI, CLAUDE, GEMINI])
@pytest.mark.parametrize("field", ["models", "fallbacks"])
def test_a_chain_of_the_callers_own(gateway: Gateway, inlet: Inlet, model: str, field: str) -> None:
    """The model fails, and the next one named answers; whoever it is, passed through or translated."""
    gateway.faults(at(model.partition("/")[0], "status", status=500))
    other: Any = CLAUDE if model == OPENAI else OPENAI
    chain = [other] if field == "models" else [{"model": other}]
    answer = ask(gateway, inlet(model, **{field: chain}))
    assert answer.status == 200, answer.body
    assert answer.headers["x-penstock-provider"] == other.partition("/")[0]
    assert [one.provider for one in gateway.sim.requests] == [
        name.partition("/")[0] for name in (model, other)
    ]


@inlets
def test_a_choice_of_provider(gateway: Gateway, inlet: Inlet) -> None:
    """Order, exclusion and no way out: by the same reader, to the same plan."""
    for wish, served_by in (
        ({"order": ["backup"]}, "backup"),
        ({"only": ["backup"]}, "backup"),
        ({"ignore": ["backup"]}, "openai"),
    ):
        answer = ask(gateway, inlet(OPENAI, provider=wish))
        assert (answer.status, answer.headers["x-penstock-provider"]) == (200, served_by), wish
    gateway.faults(at("openai", "status", status=500))
    wish = {"order": ["openai"], "allow_fallbacks": False}
    assert ask(gateway, inlet(OPENAI, provider=wish)).status >= 500
    assert (
        ask(gateway, inlet(OPENAI, provider={"order": ["openai"]})).headers["x-penstock-provider"] == "backup"
    )


@inlets
@pytest.mark.parametrize("model", [OPENAI, CLAUDE, GEMINI])
def test_a_wish_that_nobody_reads_is_told(gateway: Gateway, inlet: Inlet, model: str) -> None:
    """Also where the bytes go through; null is no wish."""
    answer = ask(gateway, inlet(model, provider={"options": {"openai": {}}}))
    assert answer.status == 200, answer.body
    assert "provider.options-dropped" in answer.headers["x-penstock-adjusted"].split(",")
    answer = ask(gateway, inlet(model, provider=None, models=None, fallbacks=None, penstock=None))
    assert answer.status == 200, answer.body
    assert "provider" not in answer.headers.get("x-penstock-adjusted", "")


@inlets
@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"models": "x"}, "models"),
        ({"models": [""]}, "models[0]"),
        ({"fallbacks": [{"modle": "x"}]}, "fallbacks[0]"),
        ({"provider": "openai"}, "provider"),
        ({"provider": {"order": "openai"}}, "provider.order"),
        ({"provider": {"sort": "beauty"}}, "provider.sort"),
        ({"provider": {"max_price": {"prompt": -1}}}, "provider.max_price.prompt"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    gateway: Gateway, inlet: Inlet, fields: dict[str, Any], names: str
) -> None:
    """It decides where a prompt goes: nothing is sent."""
    answer = ask(gateway, inlet(OPENAI, **fields))
    assert answer.status == 400, answer.body
    assert names in answer.body.decode()
    assert not gateway.sim.requests


BUDGETS: dict[str, tuple[Inlet, dict[str, Any]]] = {
    "openai": (to_openai, {"reasoning": {"max_tokens": 60_000}}),
    "anthropic": (
        to_anthropic,
        {"max_tokens": 64_000, "thinking": {"type": "enabled", "budget_tokens": 60_000}},
    ),
}


@pytest.mark.parametrize("caller", BUDGETS)
def test_a_budget_above_geminis_range_is_its_maximum_unless_all_is_required(
    gateway: Gateway, caller: str
) -> None:
    """Anthropic's callers think in larger budgets than Gemini takes."""
    inlet, fields = BUDGETS[caller]
    answer = ask(gateway, inlet(GEMINI, **fields))
    assert answer.status == 200, answer.body
    assert gateway.sent()["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 24_576
    assert "reasoning.max_tokens-clamped" in answer.headers["x-penstock-adjusted"].split(",")
    gateway.fresh()
    strict = {"require_parameters": True}
    refused = ask(gateway, inlet(GEMINI, **fields, provider=strict))
    assert refused.status == 400
    assert "reasoning.max_tokens-clamped" in refused.body.decode()
    assert not gateway.sim.requests


@pytest.mark.parametrize("vertexai", [False, True])
def test_googles_client_sends_them_as_its_extra_body(gateway: Gateway, vertexai: bool) -> None:
    """``http_options.extra_body``, of one call."""
    options = types.HttpOptions(base_url=gateway.url)
    extra: dict[str, Any] = {"fallbacks": [CLAUDE], "provider": {"ignore": ["backup"]}}
    config = types.GenerateContentConfig(http_options=types.HttpOptions(extra_body=extra))
    gateway.faults(at("openai", "status", status=500))
    with genai.Client(api_key="any", vertexai=vertexai, http_options=options) as client:
        reply = client.models.generate_content(model=OPENAI, contents="hello", config=config)
    assert reply.text
    assert [one.provider for one in gateway.sim.requests] == ["openai", "anthropic"]


@inlets
def test_a_misspelt_wish_is_refused_by_name(gateway: Gateway, inlet: Inlet) -> None:
    """Nobody would keep it, and who wrote it believes that somebody does."""
    for wish, meant in (
        ({"data_colection": "deny"}, "data_collection"),
        ({"zdrr": True}, "zdr"),
        ({"allowFallbacks": False}, "allow_fallbacks"),
    ):
        answer = gateway.post(*inlet(OPENAI, provider=wish))
        assert answer.status == 400, answer.body
        assert f"provider.{next(iter(wish))}".encode() in answer.body
        assert f"Did you mean '{meant}'?".encode() in answer.body
    assert gateway.sim.requests == []


@inlets
def test_a_provider_that_nobody_knows(gateway: Gateway, inlet: Inlet) -> None:
    """A misspelt one is refused where it is to be used; what is not known at all is told."""
    for field in ("only", "order"):
        answer = gateway.post(*inlet(OPENAI, provider={field: ["opnai"]}))
        assert answer.status == 400, answer.body
        assert f"provider.{field}".encode() in answer.body
        assert b"Did you mean 'openai'?" in answer.body
    assert gateway.sim.requests == []
    for wish, word in (
        ({"ignore": ["opnai"]}, "provider.ignore.opnai-unknown"),
        ({"order": ["quuxhost", "openai"]}, "provider.order.quuxhost-unknown"),
    ):
        answer = ask(gateway, inlet(OPENAI, provider=wish))
        assert answer.status == 200, answer.body
        assert word in answer.headers["x-penstock-adjusted"].split(",")


def test_wishes_hold_for_every_operation(gateway: Gateway) -> None:
    """A picture's and a voice's prompt goes nowhere against them either, nor does what is to be embedded, judged or ranked."""
    wish = {"data_collection": "deny", "max_price": {"prompt": 0}}
    speak = {"model": "openai/tts-1", "input": "hello", "voice": "alloy"}
    draw = {"model": "openai/gpt-image-1", "prompt": "a weir"}
    embed = {"model": "openai/text-embedding-3-small", "input": "hello"}
    judge = {"model": "openai/omni-moderation-latest", "input": "hello"}
    rank = {"model": "openai/rerank-2", "query": "hello", "documents": ["hello"]}
    asked = (
        (speak, "/v1/audio/speech"),
        (draw, "/v1/images/generations"),
        (embed, "/v1/embeddings"),
        (judge, "/v1/moderations"),
        (rank, "/v1/rerank"),
    )
    for body, path in asked:
        no = {"ignore": ["openai"]} if body is judge else wish  # moderation costs nothing
        assert gateway.post({**body, "provider": no}, path).status == 400
        answer = gateway.post({**body, "provider": {"zdrr": True}}, path)
        assert (answer.status, b"Did you mean 'zdr'?" in answer.body) == (400, True), answer.body
    assert gateway.sim.requests == []


def test_vectors_have_a_chain_of_the_callers_own(gateway: Gateway) -> None:
    """Stripped before the provider, and followed when the first fails."""
    gateway.faults(at("openai", "status", status=503))
    body = {
        "model": "openai/text-embedding-3-small",
        "input": "hello",
        "fallbacks": ["backup/text-embedding-3-small"],
    }
    answer = gateway.post(body, "/v1/embeddings")
    assert answer.status == 200, answer.body
    assert answer.headers["x-penstock-provider"] == "backup"
    assert "fallbacks" not in gateway.sent()
