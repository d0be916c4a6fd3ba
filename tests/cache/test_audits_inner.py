"""Calls that the cache makes for itself, through a real gateway to simulated providers: asked as a caller asks, paid by nobody."""

import asyncio
import json
import struct

import pytest

from penstock.base.decisions import Rejected
from penstock.dialects import CALLERS
from penstock.dialects.anthropic import anthropic_caller
from penstock.dialects.gemini import GeminiCall
from penstock.dialects.openai_responses import ResponsesCaller
from penstock.gateway.caching.asking import OURSELVES, Question, on_behalf, told_inside
from penstock.gateway.caching.provider_embedder import ProviderEmbedder, unit
from penstock.server.inner import ask_inside
from tests.behaviours.gateway import MODELS, THREE_DIALECTS, WAIT_S, Gateway, chat, running_gateway

CONFIG = (
    THREE_DIALECTS
    + """
virtual_keys:
  - {name: small, key: env.CALLER_KEY, budgets: [{limit_usd: "0.0000001", period: day}]}
  - {name: narrow, key: env.OTHER_CALLER_KEY, models: ["openai/*"]}
"""
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with running_gateway(tmp_path_factory.mktemp("inner"), CONFIG) as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(gateway):
    gateway.fresh()


def asked(gateway: Gateway, question: Question):
    return asyncio.run_coroutine_threadsafe(ask_inside(gateway.running.app, question), gateway.loop).result(
        WAIT_S
    )


def question(caller, body, purpose="audit", principal=OURSELVES):
    told = told_inside({b"x-penstock-stage": b"caption"}, purpose, "gen-audited")
    return Question(caller, json.dumps(body).encode(), told, principal, purpose)


ASKED = {
    "openai": (CALLERS["openai"], chat(MODELS["openai"])),
    "openai, streamed": (CALLERS["openai"], chat(MODELS["openai"], stream=True)),
    "anthropic": (anthropic_caller(), chat(MODELS["anthropic"], max_tokens=50)),
    "anthropic, streamed": (anthropic_caller(), chat(MODELS["anthropic"], max_tokens=50, stream=True)),
    "gemini": (
        GeminiCall("gemini/gemini-2.5-flash", "whole", vertex=False, version="v1beta"),
        {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
    ),
    "responses": (ResponsesCaller(), {"model": MODELS["openai"], "input": "hello", "store": False}),
    "another provider's model": (CALLERS["openai"], chat(MODELS["anthropic"])),
}


@pytest.mark.parametrize("name", ASKED)
def test_any_caller_s_call_is_answered_in_events(gateway, name):
    """Whatever its dialect, streamed or not, its own provider's bytes or another's."""
    caller, body = ASKED[name]
    fresh = asked(gateway, question(caller, body))
    assert fresh.error is None
    assert fresh.folded.finished
    assert fresh.folded.stopped.why == "stop"
    assert fresh.folded.text
    assert fresh.cost_nusd > 0


@pytest.mark.parametrize("purpose", ["audit", "shadow"])
def test_the_ledger_says_what_it_was_for_and_no_key_pays(gateway, purpose):
    """The key has less than a token's money left: its own call is refused, the gateway's for it is not."""
    key = {"authorization": "Bearer vk-caller-000000000006"}
    assert gateway.post(chat(MODELS["openai"]), headers=key).status == 402
    house = gateway.house
    principal = on_behalf(house.doors.named("small"))
    fresh = asked(gateway, question(CALLERS["openai"], chat(MODELS["openai"]), purpose, principal))
    assert fresh.error is None
    entry = gateway.entry(fresh.request_id)
    assert (entry.klass, entry.virtual_key, entry.stage) == (purpose, "", f"cache_{purpose}")
    assert entry.cost_nusd == fresh.cost_nusd > 0
    assert entry.meta == {"purpose": f"cache_{purpose}", "audited": "gen-audited"}


def test_it_may_use_what_the_key_may_use_and_no_more(gateway):
    principal = on_behalf(gateway.house.doors.named("narrow"))
    assert (
        asked(gateway, question(CALLERS["openai"], chat(MODELS["openai"]), principal=principal)).error is None
    )
    refused = asked(gateway, question(CALLERS["openai"], chat(MODELS["anthropic"]), principal=principal))
    assert refused.error is not None
    assert refused.error.status == 403


def test_what_goes_wrong_is_in_the_answer(gateway):
    """And what it cost in vain is known."""
    gateway.faults({"kind": "status", "status": 500})
    fresh = asked(gateway, question(CALLERS["openai"], chat(MODELS["openai"])))
    assert fresh.error is not None
    assert not fresh.folded.finished
    assert gateway.entry(fresh.request_id).klass == "failed"
    bad = asked(gateway, Question(CALLERS["openai"], b"{", {}, OURSELVES, "audit"))
    assert bad.error.status == 400


def test_a_caller_is_not_counted_for_it(gateway):
    """Nobody waits for it: a drain does not."""
    before = gateway.running.app.inflight
    asked(gateway, question(CALLERS["openai"], chat(MODELS["openai"])))
    assert gateway.running.app.inflight == before


def embedded(gateway, embedder, *texts):
    async def all_of_them():
        return await asyncio.gather(*(embedder.vector(text) for text in texts))

    return asyncio.run_coroutine_threadsafe(all_of_them(), gateway.loop).result(WAIT_S)


def provider_embedder(gateway, model="openai/text-embedding-3-small", within_s=10.0):
    return ProviderEmbedder(model, lambda one: ask_inside(gateway.running.app, one), within_s)


def test_a_provider_embeds_and_the_ledger_says_so(gateway):
    """A unit vector; one call for texts that are the same; none for one that is known."""
    embedder = provider_embedder(gateway)
    one, same, other = embedded(gateway, embedder, "a red mug", "a red mug", "a blue mug")
    assert one == same != other
    values = struct.unpack(f"<{len(one) // 4}f", one)
    assert sum(value * value for value in values) == pytest.approx(1.0, abs=1e-5)
    assert len(gateway.sim.requests) == 2
    assert embedded(gateway, embedder, "a red mug") == [one]
    assert len(gateway.sim.requests) == 2
    record = gateway.last_record()
    (entry,) = record.entries
    assert (entry.klass, entry.virtual_key, entry.stage) == ("embedding", "", "cache_embedding")
    assert embedder.build_id == "provider:openai/text-embedding-3-small"


def test_an_embedding_model_that_fails_is_a_no(gateway):
    gateway.faults({"kind": "status", "status": 500})
    embedder = provider_embedder(gateway)
    (no,) = embedded(gateway, embedder, "a red mug")
    assert isinstance(no, Rejected)
    assert (no.code, embedder.failed) == ("embedder-failed", 1)
    gateway.fresh()
    (vector,) = embedded(gateway, embedder, "a red mug")  # a "no" is not remembered
    assert isinstance(vector, bytes)
    (unknown,) = embedded(gateway, provider_embedder(gateway, "nobody/nothing"), "a red mug")
    assert isinstance(unknown, Rejected)


def test_who_does_not_wait_does_not_stop_the_call(gateway):
    """The next to ask has the vector at once."""
    embedder = provider_embedder(gateway)

    async def impatient():
        task = asyncio.ensure_future(embedder.vector("a red mug"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        running = list(embedder._asked.values())
        await asyncio.gather(*running)
        return task.cancelled(), await embedder.vector("a red mug")

    cancelled, vector = asyncio.run_coroutine_threadsafe(impatient(), gateway.loop).result(WAIT_S)
    assert cancelled
    assert isinstance(vector, bytes)
    assert len(gateway.sim.requests) == 1


@pytest.mark.parametrize(
    "vector",
    [
        b"",
        b"abc",
        struct.pack("<2f", 0, 0),
        struct.pack("<2f", float("nan"), 1),
        struct.pack("<f", float("inf")),
    ],
)
def test_what_has_no_direction_is_no_vector(vector):
    assert unit(vector) is None


def test_a_unit_vector_points_where_it_did():
    assert struct.unpack("<2f", unit(struct.pack("<2f", 3, 4))) == pytest.approx((0.6, 0.8))
