"""A hit that is remembered (gateway.caching.quick) forgets with the store: each question is asked after two hits, so that the
third would be the remembered one. ``remembered`` proves that it was there to be served."""

from collections.abc import Iterator
from typing import Any

import pytest

from penstock.simulate import Profile, Scenario
from tests.behaviours.gateway import SECRETS, THREE_DIALECTS, Gateway, chat, running_gateway

MODEL = "openai/gpt-4o-mini"
KEYS = """
virtual_keys:
  - {name: alice, key: env.CALLER_KEY, models: ["*"], rate_limit: {requests_per_minute: 60}}
  - {name: bob, key: env.OTHER_CALLER_KEY, models: ["*"]}
cache:
  exact: {enabled: true, ttl_seconds: 3600}
server: {admin_key: env.ADMIN_KEY}
"""
CONFIG = THREE_DIALECTS + KEYS
ALICE = {"authorization": "Bearer vk-caller-000000000006"}
ADMIN = {"authorization": f"Bearer {SECRETS['ADMIN_KEY']}"}
BOB = {"authorization": "Bearer vk-other-000000000007"}


@pytest.fixture
def cached(tmp_path: Any) -> Iterator[Gateway]:
    scenario = Scenario(profiles={"*": Profile(output_tokens=20)})
    with running_gateway(tmp_path, CONFIG, scenario=scenario) as gateway:
        yield gateway


def said(answer: Any) -> str:
    return answer.headers.get("x-penstock-cache", "")


def remembered(cached: Gateway, body: dict[str, Any]) -> int:
    """Asks until it is served from what is remembered; how many are."""
    answers = [cached.post(body, headers=ALICE) for _ in range(3)]
    assert [said(answer) for answer in answers] == ["miss", "hit-exact", "hit-exact"]
    return len(cached.house.hits)


def asked(cached: Gateway) -> int:
    return len(cached.sim.requests)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("which", [{"tenant": "alice"}, {"all": True}])
def test_a_purge_is_obeyed(cached: Gateway, stream: bool, which: dict[str, Any]):
    """The next call asks the provider, and what it brings is another entry."""
    body = chat(MODEL, "purged", stream=stream)
    assert remembered(cached, body) == 1
    before = cached.post(body, headers=ALICE).headers["x-penstock-cache-entry"]
    purged = cached.post(which, "/admin/cache/purge", ADMIN)
    assert purged.json()["purged"] == 1
    assert said(cached.post(body, headers=ALICE)) == "miss"
    after = cached.post(body, headers=ALICE)
    assert said(after) == "hit-exact"
    assert after.headers["x-penstock-cache-entry"] != before
    assert asked(cached) == 2


def test_a_refresh_replaces_what_is_remembered(cached: Gateway):
    """The old answer is in nobody's memory."""
    body = chat(MODEL, "refreshed")
    remembered(cached, body)
    before = cached.post(body, headers=ALICE).headers["x-penstock-cache-entry"]
    assert said(cached.post(body, headers={**ALICE, "x-penstock-cache": "refresh"})) == "miss"
    assert cached.post(body, headers=ALICE).headers["x-penstock-cache-entry"] != before


def test_a_life_ends(cached: Gateway, monkeypatch: pytest.MonkeyPatch):
    """ttl_seconds after it was kept, however often it was asked for."""
    body = chat(MODEL, "mortal")
    remembered(cached, body)
    kept_s, now = cached.house.clock.unix_s(), [0.0]

    def unix_s(_: object) -> float:
        return kept_s + now[0]

    monkeypatch.setattr(type(cached.house.clock), "unix_s", unix_s)
    hows: list[str] = []
    for now[0] in (3000, 3598, 3601):
        hows.append(said(cached.post(body, headers=ALICE)))
    assert hows == ["hit-exact", "hit-exact", "miss"]


def test_another_key_has_another_memory(cached: Gateway):
    """The same bytes from bob are bob's own question."""
    body = chat(MODEL, "whose")
    remembered(cached, body)
    assert said(cached.post(body, headers=BOB)) == "miss"
    assert cached.post(body, headers={"authorization": "Bearer nobody"}).status == 401


def test_its_limits_hold(cached: Gateway):
    """A remembered hit takes a request of the rate as any other; past it, it is refused."""
    body = chat(MODEL, "limited")
    remembered(cached, body)
    statuses = [cached.post(body, headers=ALICE).status for _ in range(60)]
    assert statuses[:57] == [200] * 57
    assert set(statuses[57:]) == {429}
    assert asked(cached) == 1


def test_a_reload_forgets_it(cached: Gateway):
    """A model that a key may not use any more is not served from memory either."""
    body = chat(MODEL, "reloaded")
    remembered(cached, body)
    assert cached.reload(CONFIG.replace('models: ["*"]', 'models: ["anthropic/*"]')) == []
    assert cached.post(body, headers=ALICE).status == 403
    assert asked(cached) == 1
