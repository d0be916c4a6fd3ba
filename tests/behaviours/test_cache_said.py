"""What a caller says of the cache holds on every path and in every dialect; what became of an answer is told to who asks."""

from collections.abc import Iterator
from typing import Any

import pytest

from penstock.simulate import Profile, Scenario
from tests.behaviours.gateway import CHAT, MODELS, THREE_DIALECTS, Gateway, chat, running_gateway

MODEL = MODELS["openai"]
KEYS = """
virtual_keys:
  - {name: alice, key: env.CALLER_KEY, models: ["*"]}
"""
CACHED = THREE_DIALECTS + KEYS + "cache: {exact: {enabled: true}, coalesce: true}\n"
ALICE = {"authorization": "Bearer vk-caller-000000000006"}
WORDS = {"messages": [{"role": "user", "content": "Where does the sluice stand?"}], "max_tokens": 40}
PARTS = [{"role": "user", "parts": [{"text": "Where does the sluice stand?"}]}]
INLETS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (CHAT, {"model": MODEL, **WORDS}),
    "translated": (CHAT, {"model": MODELS["anthropic"], **WORDS}),
    "openrouter": ("/api/v1/chat/completions", {"model": MODEL, **WORDS}),
    "messages": ("/v1/messages", {"model": MODELS["anthropic"], **WORDS}),
    "gemini": (f"/v1beta/models/{MODELS['gemini']}:generateContent", {"contents": PARTS}),
    "responses": ("/v1/responses", {"model": MODEL, "input": "Where does the sluice stand?"}),
    "completions": (
        "/v1/completions",
        {"model": "openai/gpt-3.5-turbo-instruct", "prompt": "The sluice", "max_tokens": 40},
    ),
    "translated completions": (
        "/v1/completions",
        {"model": MODELS["anthropic"], "prompt": "The sluice", "max_tokens": 40},
    ),
    "embeddings": ("/v1/embeddings", {"model": "openai/text-embedding-3-small", "input": "sluice"}),
    "gemini embeddings": (
        "/v1beta/models/gemini/gemini-embedding-001:embedContent",
        {"content": {"parts": [{"text": "sluice"}]}},
    ),
}
"""Of each, answers are kept."""
UNKEPT: dict[str, tuple[str, dict[str, Any]]] = {
    "several answers": (CHAT, {"model": MODEL, "n": 2, **WORDS}),
    "log probabilities": (CHAT, {"model": MODEL, "logprobs": True, **WORDS}),
    "a search of the provider's": (CHAT, {"model": MODEL, "web_search_options": {}, **WORDS}),
    "moderations": ("/v1/moderations", {"model": "openai/omni-moderation-latest", "input": "sluice"}),
    "images": ("/v1/images/generations", {"model": "openai/gpt-image-1", "prompt": "sluice"}),
    "speech": ("/v1/audio/speech", {"model": "openai/gpt-4o-mini-tts", "input": "sluice", "voice": "alloy"}),
}


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    scenario = Scenario(profiles={"*": Profile(output_tokens=20)})
    with running_gateway(tmp_path_factory.mktemp("said"), CACHED, scenario=scenario) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def uncached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("uncached"), THREE_DIALECTS + KEYS) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _fresh(cached: Gateway, uncached: Gateway) -> None:
    cached.fresh()
    uncached.fresh()


def said(answer: Any) -> str:
    return answer.headers.get("x-penstock-cache", "")


def block(**fields: Any) -> dict[str, Any]:
    return {"penstock": {"cache": fields}}


@pytest.mark.parametrize("inlet", INLETS)
def test_the_body_is_heeded_in_every_dialect_and_never_sent_on(cached: Gateway, inlet: str):
    """off, refresh, a namespace, a score out of range: in the body, as each dialect's SDK sends it."""
    path, body = INLETS[inlet]
    here = {"namespace": inlet}
    only = cached.post({**body, **block(mode="only", **here)}, path, ALICE)
    assert (only.status, said(only), len(cached.sim.requests)) == (404, "miss", 0)
    told = [
        said(cached.post({**body, **block(**fields)}, path, ALICE))
        for fields in (
            {"mode": "off", **here}, here, here, {"mode": "refresh", **here},
            {"mode": "off", **here}, {"namespace": f"not {inlet}"}, {"mode": "only", **here},
        )
    ]  # fmt: skip
    assert told == ["bypass", "miss", "hit-exact", "miss", "bypass", "miss", "hit-exact"]
    assert len(cached.sim.requests) == 5
    wrong = cached.post({**body, **block(min_score=2)}, path, ALICE)
    assert wrong.status == 400
    assert b"penstock.cache.min_score" in wrong.body
    assert all(b"penstock" not in request.body for request in cached.sim.requests)


@pytest.mark.parametrize("where", ["header", "body"])
@pytest.mark.parametrize("name", UNKEPT)
def test_only_is_paid_for_by_nobody_where_no_answer_is_kept(cached: Gateway, name: str, where: str):
    """Who asks for a kept answer or none gets none, and why; a model would have been asked, and billed."""
    path, body = UNKEPT[name]
    headers = {**ALICE, "x-penstock-cache": "only"} if where == "header" else ALICE
    answer = cached.post(body if where == "header" else {**body, **block(mode="only")}, path, headers)
    assert (answer.status, answer.error["code"], said(answer)) == (404, "cache_miss", "bypass")
    assert answer.error["message"].startswith("No answer to such a call is kept")
    assert cached.sim.requests == []
    assert cached.post(body, path, ALICE).status == 200


@pytest.mark.parametrize("inlet", INLETS)
def test_only_in_the_body_asks_nobody_where_nothing_is_cached(uncached: Gateway, inlet: str):
    """Also on a path that has been asked before: no lane passes over it."""
    path, body = INLETS[inlet]
    for _ in range(3):
        assert uncached.post(body, path, ALICE).status == 200
    assert uncached.post({**body, **block(mode="off")}, path, ALICE).status == 200
    uncached.fresh()
    assert uncached.post({**body, **block(mode="only")}, path, ALICE).status == 404
    assert uncached.post({**body, **block(mode="of")}, path, ALICE).status == 400
    assert uncached.sim.requests == []


def test_a_header_that_means_nothing_is_refused_where_nothing_is_cached(uncached: Gateway):
    """On the day that a cache is configured it would have meant something."""
    body = chat(MODEL)
    for _ in range(3):
        assert uncached.post(body, headers=ALICE).status == 200
    answer = uncached.post(body, headers={**ALICE, "x-penstock-cache-ttl": "an hour"})
    assert (answer.status, answer.error["param"]) == (400, "x-penstock-cache-ttl")


@pytest.mark.parametrize("coalesce", ["true", "false"])
def test_explain_says_why_an_answer_was_not_kept(tmp_path: Any, coalesce: str):
    """Whether streamed or not, and whether others could have joined it."""
    config = CACHED.replace("coalesce: true", f"coalesce: {coalesce}")
    scenario = Scenario(profiles={"*": Profile(output_tokens=30_000)})
    with running_gateway(tmp_path, config, scenario=scenario) as gateway:
        for stream, words in ((False, 3), (True, 3), (False, 20_000)):
            body = chat(MODEL, f"cut {stream}", max_tokens=words, stream=stream)
            answer = gateway.post(body, headers=ALICE)
            assert (answer.finish(), said(answer)) == ("length", "miss")
            happened = gateway.story(answer.request_id)["happenings"]
            assert [one["code"] for one in happened if one["what"] == "unkept"] == ["truncated"]


OLD = {"model": "openai/gpt-3.5-turbo-instruct", "prompt": "Once upon a mill", "max_tokens": 40}


@pytest.mark.parametrize("first", [False, True], ids=["whole", "streamed"])
def test_a_completion_that_passes_through_is_kept_with_its_words(cached: Gateway, first: bool):
    """The API before chat has replies of another form: read as chat's they would be empty answers."""
    body = {**OLD, "prompt": f"Once upon a mill, {first}"}
    texts: list[str] = []
    for stream in (first, False, True):
        answer = cached.post({**body, "stream": stream}, "/v1/completions", ALICE)
        frames = answer.frames() if stream else [answer.json()]
        chosen = [one for frame in frames if isinstance(frame, dict) for one in frame["choices"]]
        texts.append("".join(one["text"] for one in chosen))
        assert said(answer) == ("hit-exact" if len(texts) > 1 else "miss")
    assert texts[0]
    assert texts == [texts[0]] * 3
    assert len(cached.sim.requests) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_who_joins_a_completion_reads_its_words(tmp_path: Any, stream: bool):
    """A follower is told events: those of the reply that passes through to the leader."""
    scenario = Scenario(profiles={"*": Profile(ttft_ms=300, output_tokens=20)})
    with running_gateway(tmp_path, CACHED, scenario=scenario) as gateway:
        calls = [gateway.open({**OLD, "stream": stream}, "/v1/completions", ALICE) for _ in range(3)]
        answers = [call.rest() for call in calls]
        assert sorted(map(said, answers)) == ["coalesced", "coalesced", "miss"]
        frames = [answer.frames() if stream else [answer.json()] for answer in answers]
        texts = {
            "".join(one["text"] for frame in some if isinstance(frame, dict) for one in frame["choices"])
            for some in frames
        }
        assert len(texts) == 1
        assert texts != {""}
        assert len(gateway.sim.requests) == 1
