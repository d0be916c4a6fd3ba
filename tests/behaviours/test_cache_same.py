"""A caller cannot tell a kept answer from a fetched one by what it says: the model's name, sources; and what it takes of his rates."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.cli.main import main
from penstock.simulate import Profile, Scenario
from tests.behaviours.gateway import MODELS, SECRETS, THREE_DIALECTS, Gateway, Scripted, chat, running_gateway

MODEL = "openai/gpt-4o-mini"
ALICE = {"authorization": f"Bearer {SECRETS['CALLER_KEY']}"}
BOB = {"authorization": f"Bearer {SECRETS['OTHER_CALLER_KEY']}"}
CONFIG = (
    THREE_DIALECTS
    + """
virtual_keys:
  - {name: alice, key: env.CALLER_KEY, rate_limit: {requests_per_minute: 6}}
  - {name: bob, key: env.OTHER_CALLER_KEY}
cache: {exact: {enabled: true, ttl_seconds: 3600}, coalesce: {enabled: true, wait_ms: 20000}}
"""
)


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    scenario = Scenario(profiles={"*": Profile(output_tokens=20)})
    with running_gateway(tmp_path_factory.mktemp("same"), CONFIG, scenario=scenario) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _fresh(cached: Gateway) -> None:
    cached.fresh()


def said(answer: Any) -> str:
    return answer.headers.get("x-penstock-cache", "")


def models_in(value: Any) -> set[str]:
    """Every model that a reply names, wherever."""
    if isinstance(value, list):
        return set[str]().union(*map(models_in, value))
    if not isinstance(value, dict):
        return set()
    own = {value[name] for name in ("model", "modelVersion") if name in value}
    return own.union(*map(models_in, value.values()))


def named(answer: Any) -> set[str]:
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        return models_in(answer.frames())
    return models_in(answer.json())


def asks(model: str, text: str, *, stream: bool) -> dict[str, tuple[str, dict[str, Any]]]:
    """The same question in each caller's dialect: path and body."""
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    said_so = [{"role": "user", "content": text}]
    return {
        "openai": ("/v1/chat/completions", chat(model, text, stream=stream, max_tokens=90)),
        "responses": ("/v1/responses", {"model": model, "input": text, "stream": stream, "store": False}),
        "anthropic": ("/v1/messages", {"model": model, "messages": said_so, "stream": stream, "max_tokens": 90}),
        "gemini": (
            f"/v1beta/models/{model}:{verb}",
            {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": 90}},
        ),
        "openrouter": ("/api/v1/chat/completions", chat(model, text, stream=stream, max_tokens=90)),
        "completions": (
            "/v1/completions", {"model": model, "prompt": text, "stream": stream, "max_tokens": 90},
        ),
    }  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("provider", sorted(MODELS))
@pytest.mark.parametrize(
    "dialect", ["openai", "responses", "anthropic", "gemini", "openrouter", "completions"]
)
def test_a_hit_names_the_model_as_a_fetched_reply_does(
    cached: Gateway, dialect: str, provider: str, stream: bool
):
    """Passed through it is the provider's own word, translated the caller's: on a miss, on a hit, and on the quick way."""
    path, body = asks(MODELS[provider], f"name it {dialect} {provider} {stream}", stream=stream)[dialect]
    answers = [cached.post(body, path, BOB) for _ in range(3)]
    assert [one.status for one in answers] == [200] * 3, answers[0].body
    assert [said(one) for one in answers] == ["miss", "hit-exact", "hit-exact"]
    first, *hits = map(named, answers)
    assert len(first) == 1
    assert hits == [first, first]


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
def test_who_never_fetched_it_reads_the_name_that_he_would_have_read(cached: Gateway, dialect: str):
    """The entry was made by a caller of another dialect."""
    text = f"made by another {dialect}"
    for first in ("openai", "anthropic", "gemini"):
        path, body = asks(MODELS[dialect], text, stream=False)[first]
        cached.post(body, path, BOB)
    path, body = asks(MODELS[dialect], text, stream=False)[dialect]
    hit = cached.post(body, path, BOB)
    fetched = cached.post(body, path, {**BOB, "x-penstock-cache": "off"})
    assert (said(hit), said(fetched)) == ("hit-exact", "bypass")
    assert named(hit) == named(fetched)


def test_embeddings_name_their_model_alike(cached: Gateway):
    body = {"model": "openai/text-embedding-3-small", "input": "name it"}
    answers = [cached.post(body, "/v1/embeddings", BOB) for _ in range(3)]
    assert [said(one) for one in answers] == ["miss", "hit-exact", "hit-exact"]
    assert len({one.json()["model"] for one in answers}) == 1


def test_a_follower_names_the_model_as_its_leader(tmp_path: Any):
    slow = Scenario(profiles={"*": Profile(ttft_ms=300, output_tokens=20)})
    with running_gateway(tmp_path, CONFIG, scenario=slow) as gateway:
        for dialect in ("openai", "anthropic"):
            for stream in (False, True):
                path, body = asks(MODELS[dialect], f"follow {stream}", stream=stream)[dialect]
                leader = gateway.open(body, path, BOB)
                gateway.sim.wait_for(lambda received, of=dialect: received.provider == of)
                follower = gateway.post(body, path, BOB)
                assert said(follower) == "coalesced"
                assert named(follower) == named(leader.rest())
                gateway.fresh()


def test_a_kept_answer_is_no_attempt(cached: Gateway, capsys: pytest.CaptureFixture[str]):
    """The header, the ledger and explain agree; so does the quick way."""
    body = chat(MODEL, "no attempt")
    answers = [cached.post(body, headers=BOB) for _ in range(3)]
    assert [one.headers["x-penstock-attempts"] for one in answers] == ["1", "0", "0"]
    for answer, attempts in zip(answers, (1, 0, 0), strict=True):
        record = cached.stored(answer.request_id)
        assert record.call.attempts == attempts
        assert record.entries[0].attempt == attempts
    db = str(cached.config.parent / "ledger.db")
    with pytest.raises(SystemExit, match="0"):
        main(["explain", answers[1].request_id, "--db", db])
    told = capsys.readouterr().out
    assert "0 attempts" in told
    assert "attempt 0" not in told
    assert "kept answer of openai/gpt-4o-mini" in told


def test_a_follower_that_fetches_after_all_takes_one_request(tmp_path: Any):
    """What it had taken to follow is given back: of six a minute, two calls leave four."""
    scripted = Scripted()
    config = CONFIG.replace("{sim}/p/openai/v1", "{scripted}/v1")
    with running_gateway(tmp_path, config, scripted=scripted.url) as gateway:
        answer = completion(
            "with sources", annotations=[{"type": "url_citation", "url": "https://a.example"}]
        )
        scripted.whole(answer)
        scripted.says.insert(0, 0.4)
        body = chat(MODEL, "one of six")
        leader = gateway.open(body, headers=ALICE)
        until(lambda: len(scripted.bodies) == 1)
        follower = gateway.post(body, headers=ALICE)
        leader.rest()
        assert len(scripted.bodies) == 2, "it has asked for itself"
        assert follower.headers["x-ratelimit-remaining-requests"] == "4"
    scripted.close()


def completion(text: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text, **more}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6},
    }


def chunk(stop: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": stop}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [choice],
    }


SOURCES = {
    "annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A"}}]
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_follower_never_lacks_the_sources_of_an_answer(tmp_path: Any, stream: bool):
    """Events cannot say them: where they come before a word has gone out to him, he asks for himself."""
    scripted = Scripted()
    config = CONFIG.replace("{sim}/p/openai/v1", "{scripted}/v1")
    with running_gateway(tmp_path, config, scripted=scripted.url) as gateway:
        if stream:
            head = {**chunk(role="assistant", content=""), "citations": ["https://a.example"]}
            scripted.sse(0.4, head, chunk(content="so it is"), chunk("stop"), b"data: [DONE]\n\n")
        else:
            scripted.whole(completion("so it is", **SOURCES))
            scripted.says.insert(0, 0.4)
        body = chat(MODEL, f"with sources {stream}", stream=stream)
        leader = gateway.open(body, headers=BOB)
        until(lambda: len(scripted.bodies) == 1)
        answers = [gateway.post(body, headers=BOB), leader.rest()]
        assert [one.text() for one in answers] == ["so it is"] * 2
        assert all(b"https://a.example" in one.body for one in answers)
        assert [said(one) for one in answers] == ["miss", "miss"]
    scripted.close()


def test_sources_that_come_too_late_are_told_of(tmp_path: Any):
    """His stream had begun: he has the words, and the call's record says what is missing."""
    scripted = Scripted()
    config = CONFIG.replace("{sim}/p/openai/v1", "{scripted}/v1")
    with running_gateway(tmp_path, config, scripted=scripted.url) as gateway:
        late = chunk(**SOURCES)
        scripted.sse(
            chunk(role="assistant", content="so "), 0.5, chunk(content="it is"), late, chunk("stop"), b"data: [DONE]\n\n",
        )  # fmt: skip
        body = chat(MODEL, "late sources", stream=True)
        leader = gateway.open(body, headers=BOB)
        until(lambda: len(scripted.bodies) == 1)
        follower = gateway.post(body, headers=BOB)
        assert (said(follower), follower.text(), follower.done) == ("coalesced", "so it is", True)
        assert leader.rest().text() == "so it is"
        assert "sources-dropped" in gateway.ledger(follower.request_id).call.adjusted
    scripted.close()


def until(ready: Any) -> None:
    import time  # noqa: PLC0415

    end_s = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def test_a_warmed_answer_names_the_model_as_a_fetched_one(tmp_path: Any):
    config = CONFIG + "server: {admin_key: env.ADMIN_KEY}\n"
    admin = {"authorization": f"Bearer {SECRETS['ADMIN_KEY']}"}
    with running_gateway(tmp_path, config) as gateway:
        body = chat(MODEL, "warmed")
        told = {"key": "bob", "calls": [{"request": body, "answer": "a warm answer"}]}
        gateway.post(told, "/admin/cache/warm", admin)
        hit = gateway.post(body, headers=BOB)
        fetched = gateway.post(body, headers={**BOB, "x-penstock-cache": "off"})
        assert said(hit) == "hit-exact"
        assert json.loads(hit.body)["model"] == json.loads(fetched.body)["model"]
