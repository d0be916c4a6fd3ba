"""Plans are remembered for plain calls, and a remembered plan is never a stale one."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.inside import CONFIG, MODEL, Inside, chat, claude, inside, whole

from penstock.base.errors import UpstreamFault, UpstreamNotFound
from penstock.routing import health
from penstock.testing import ScriptedReply

KEYS = """
virtual_keys:
  - {name: wide, key: env.WIDE}
  - {name: narrow, key: env.NARROW, models: ["anthropic/*"]}
  - {name: never, key: env.NEVER, models: ["*", "!openai/*", "!anthropic/*"]}
"""
SMALL = CONFIG.replace("openai/gpt-4o-mini,", "openai/gpt-4,")
"""gpt-4 reads 8,192 tokens."""
PIXEL = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]


def claude_whole(text: str = "claude") -> ScriptedReply:
    """A reply as Anthropic sends it."""
    return ScriptedReply(
        (
            b'{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-4-5","content":[{"type":"text","text":"%b"}],'
            b'"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":3}}' % text.encode(),
        )
    )


def served_by(house: Inside, body: dict[str, Any], **told: str) -> str | None:
    """Who serves a call; every provider has an answer ready."""
    house.scripts["openai"].script = [whole()]
    house.scripts["anthropic"].script = [claude_whole()]
    return asyncio.run(house.call(body, told)).header("x-penstock-provider")


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer value-of-{name}"}


def test_the_second_call_has_the_same_plan_and_the_same_words(tmp_path: Path) -> None:
    """Remembered or made: the record reads the same."""
    with inside(tmp_path) as house:
        assert served_by(house, chat()) == "openai"
        assert served_by(house, chat()) == "openai"
        first, second = (house.record(number).call.explain for number in (1, 2))
        assert (first.route_reason, first.steps, first.refused) == (
            second.route_reason,
            second.steps,
            second.refused,
        )
        assert [step.target for step in first.steps] == [MODEL, "anthropic/claude-haiku-4-5"]


def test_a_target_in_trouble_is_not_served_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five faults open it; the next call goes elsewhere at once, and back when it is well."""
    # Two seconds, as it is, may pass on a busy machine before the next call: which then is the probe, rightly.
    for name in ("OPEN_FIRST_S", "OPEN_MAX_S"):
        monkeypatch.setattr(health, name, 600.0)
    with inside(tmp_path) as house:
        assert served_by(house, chat()) == "openai"
        for _ in range(5):
            house.scripts["openai"].script = [UpstreamFault("down")]
            house.scripts["anthropic"].script = [claude_whole()]
            asyncio.run(house.call(chat()))
        sent = len(house.scripts["openai"].sent)
        assert served_by(house, chat()) == "anthropic"
        assert len(house.scripts["openai"].sent) == sent
        assert house.record().call.explain.refused[0].target == MODEL
        house.house.health.ok(MODEL)
        assert served_by(house, chat()) == "openai"


def test_a_model_that_its_provider_dropped_is_not_served_from_memory(tmp_path: Path) -> None:
    """A 404 of the provider's own: not asked again."""
    with inside(tmp_path) as house:
        assert served_by(house, chat()) == "openai"
        house.scripts["openai"].script = [UpstreamNotFound("gone")]
        house.scripts["anthropic"].script = [claude_whole()]
        asyncio.run(house.call(chat()))
        sent = len(house.scripts["openai"].sent)
        assert served_by(house, chat()) == "anthropic"
        assert len(house.scripts["openai"].sent) == sent


def test_one_keys_plan_is_not_anothers(tmp_path: Path) -> None:
    """Allow-lists hold whoever called before, in either order."""
    with inside(tmp_path, CONFIG + KEYS) as house:
        for _ in range(2):
            assert served_by(house, chat(), **bearer("WIDE")) == "openai"
            assert served_by(house, chat(), **bearer("NARROW")) == "anthropic"
            error = asyncio.run(house.refused(chat(), bearer("NEVER")))
            assert (error.status, error.code) == (403, "model_not_allowed")


def test_needs_preferences_and_own_chains_are_planned_anew(tmp_path: Path) -> None:
    """A plain call's plan does not serve a call with conditions, nor the other way round."""
    with inside(tmp_path, SMALL) as house:
        plain = chat(model="openai/gpt-4")
        assert served_by(house, plain) == "openai"
        with_image = {**plain, "messages": [{"role": "user", "content": PIXEL}]}
        assert served_by(house, with_image) == "anthropic"
        assert served_by(house, plain) == "openai"
        assert served_by(house, {**plain, "provider": {"ignore": ["openai"]}}) == "anthropic"
        assert served_by(house, {**plain, "models": ["anthropic/claude-haiku-4-5"]}) == "openai"
        own = {**plain, "model": "anthropic/claude-haiku-4-5", "fallbacks": ["openai/gpt-4"]}
        assert served_by(house, own) == "anthropic"
        assert served_by(house, plain) == "openai"


def test_a_prompt_that_does_not_fit_is_planned_anew(tmp_path: Path) -> None:
    """The remembered plan is for small prompts; a large one goes where it fits."""
    with inside(tmp_path, SMALL) as house:
        assert served_by(house, chat(model="openai/gpt-4")) == "openai"
        assert served_by(house, chat("word " * 30_000, model="openai/gpt-4")) == "anthropic"
        assert house.record().call.explain.refused[0].code == "context-too-small"
        assert served_by(house, chat(model="openai/gpt-4")) == "openai"


def test_a_reload_forgets_every_plan(tmp_path: Path) -> None:
    """The new configuration's chain, prices and keys hold from the first call on."""
    with inside(tmp_path) as house:
        assert served_by(house, chat()) == "openai"
        swapped = """
providers:
  anthropic: {keys: [{value: env.A}], network: {retry: {max_retries: 0}}, models: {gpt-4o-mini: claude-haiku-4-5}}
  openai: {keys: [{value: env.B}], network: {retry: {max_retries: 0}}}
fallbacks: [{primary: openai/gpt-4o-mini}]
"""
        house.move_in(swapped, house.house)
        house.scripts["openai"].script = [UpstreamFault("down")]
        error = asyncio.run(house.refused(chat()))
        assert error.code == "upstream_fault"
        assert [step.target for step in house.record().call.explain.steps] == [MODEL]


def test_a_name_without_end_is_refused_and_not_remembered(tmp_path: Path) -> None:
    """Callers choose names: what is remembered by name stays small."""
    with inside(tmp_path) as house:
        error = asyncio.run(house.refused(chat(model="openai/" + "x" * 100_000)))
        assert (error.status, error.code) == (404, "model_not_found")
        assert len(error.public()) < 300
        error = asyncio.run(house.refused(chat(fallbacks=["openai/" + "x" * 100_000])))
        assert 400 <= error.status < 500


def test_many_names_do_not_grow_without_end(tmp_path: Path) -> None:
    """Unknown models of a known provider are all callable; the memory of their plans is bounded."""
    with inside(tmp_path) as house:

        async def run() -> None:
            for number in range(1100):
                house.scripts["openai"].script = [whole()]
                await house.call(chat(model=f"openai/house-{number}"))

        asyncio.run(run())
        assert len(house.house.plans) <= 1024


def test_claude_streams_in_the_harness(tmp_path: Path) -> None:
    """The scripts of both dialects are read as the dialects read providers."""
    with inside(tmp_path, anthropic=[claude("hi")]) as house:
        reply = asyncio.run(house.call(chat(model="anthropic/claude-haiku-4-5", stream=True)))
        assert reply.text() == "hi"
