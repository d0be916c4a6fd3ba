"""Whose answers are whose, and until when: purges win over calls in flight, and a key made anew under an old name is another."""

from collections.abc import Iterator
from typing import Any

import pytest

from penstock.simulate import Profile, Scenario
from tests.behaviours.gateway import SECRETS, THREE_DIALECTS, Gateway, chat, running_gateway

MODEL = "openai/gpt-4o-mini"
ADMIN = {"authorization": f"Bearer {SECRETS['ADMIN_KEY']}"}
ALICE = {"authorization": f"Bearer {SECRETS['CALLER_KEY']}"}
CONFIG = (
    THREE_DIALECTS
    + """
server: {admin_key: env.ADMIN_KEY}
virtual_keys: [{name: alice, key: env.CALLER_KEY}]
cache: {exact: {enabled: true, ttl_seconds: 3600}, coalesce: {enabled: true, wait_ms: 20000}}
"""
)
SLOW = Scenario(profiles={"*": Profile(ttft_ms=300, tokens_per_s=200, output_tokens=40)})


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("scope"), CONFIG, scenario=SLOW) as gateway:
        yield gateway


def said(answer: Any) -> str:
    return answer.headers.get("x-penstock-cache", "")


def purge(gateway: Gateway, **what: Any) -> int:
    return gateway.post(what, "/admin/cache/purge", ADMIN).json()["purged"]


PURGES = [{"all": True}, {"tenant": "alice"}, {"tag": "x"}, {"model": MODEL}]


@pytest.mark.parametrize("what", PURGES, ids=["all", "tenant", "tag", "model"])
def test_a_purge_wins_over_a_call_that_was_begun_before_it(kept: Gateway, what: dict[str, Any]):
    """Its answer reaches its caller, and is not kept; who comes after the purge does not join it either."""
    body = chat(MODEL, f"begun before {sorted(what)}")
    told = {**ALICE, "x-penstock-cache-tags": "x"}
    kept.fresh()
    with kept.stream(body, headers=told) as stream:
        stream.until(b"content")
        purge(kept, **what)
        after = kept.post(body | {"stream": True}, headers=told)
        assert said(after) == "miss", "it joined a call of before the purge"
        first = stream.rest()
    assert first.done
    assert len(kept.sim.requests) == 2
    entry = kept.post(body, headers=told)
    assert said(entry) == "hit-exact"
    assert entry.text() == after.text()


def made(gateway: Gateway, name: str, **fields: Any) -> dict[str, str]:
    key = gateway.post({"name": name, **fields}, "/admin/keys", ADMIN).json()["key"]
    return {"authorization": f"Bearer {key}"}


def test_a_key_made_anew_under_an_old_name_finds_nothing_of_the_old_one(kept: Gateway):
    """Neither by the way round nor by the quick one; a new secret of the same key finds all."""
    body = chat(MODEL, "whose balance is it")
    old = made(kept, "bob")
    assert [said(kept.post(body, headers=old)) for _ in range(3)] == ["miss", "hit-exact", "hit-exact"]
    turned = kept.post({"grace_s": 3600}, "/admin/keys/bob/rotate", ADMIN).json()["key"]
    assert said(kept.post(body, headers={"authorization": f"Bearer {turned}"})) == "hit-exact"
    assert kept.open(None, "/admin/keys/bob", ADMIN, method="DELETE").rest().status == 200
    new = made(kept, "bob")
    assert [said(kept.post(body, headers=new)) for _ in range(2)] == ["miss", "hit-exact"]
    assert purge(kept, tenant="bob") == 2, "by its name both are dropped"


def test_a_team_made_anew_under_an_old_name_finds_nothing_of_the_old_one(tmp_path: Any):
    """The same where a team shares its answers."""
    body = chat(MODEL, "whose plan is it")
    with running_gateway(tmp_path, CONFIG.replace("cache: {", "cache: {scope: team, ")) as gateway:
        found = []
        for name in ("carol", "dave"):
            assert gateway.post({"name": "red"}, "/admin/teams", ADMIN).status == 201
            key = made(gateway, name, team="red")
            found += [said(gateway.post(body, headers=key)) for _ in range(2)]
            gateway.open(None, f"/admin/keys/{name}", ADMIN, method="DELETE").rest()
            assert gateway.open(None, "/admin/teams/red", ADMIN, method="DELETE").rest().status == 200
        assert found == ["miss", "hit-exact", "miss", "hit-exact"]


def test_a_configured_key_with_another_secret_is_another_key(tmp_path: Any):
    """Unless the old one stands in ``previous``: that is a rotation."""
    body = chat(MODEL, "a secret of its own")
    other = {"authorization": f"Bearer {SECRETS['OTHER_CALLER_KEY']}"}
    turned = "{name: alice, key: env.OTHER_CALLER_KEY"
    with running_gateway(tmp_path, CONFIG) as gateway:
        assert said(gateway.post(body, headers=ALICE)) == "miss"
        previous = ", previous: [{key: env.CALLER_KEY, until: 2099-01-01}]}"
        rotated = CONFIG.replace("{name: alice, key: env.CALLER_KEY}", turned + previous)
        assert gateway.reload(rotated) == []
        assert [said(gateway.post(body, headers=key)) for key in (ALICE, other)] == ["hit-exact"] * 2
        anew = CONFIG.replace("{name: alice, key: env.CALLER_KEY}", turned + "}")
        assert gateway.reload(anew) == []
        assert said(gateway.post(body, headers=other)) == "miss"


MISSPELT = [
    ("x-penstock-cache-tll", "60", "x-penstock-cache-ttl"),
    ("x-penstock-cache-name-space", "a", "x-penstock-cache-namespace"),
    ("X-Penstock-Cache-NoStore", "true", "x-penstock-cache-no-store"),
    ("x-penstock-cache-minscore", "0.9", "x-penstock-cache-min-score"),
    ("x-penstock-cahce", "off", "x-penstock-cache"),
]


@pytest.mark.parametrize(("name", "value", "meant"), MISSPELT, ids=[one[0] for one in MISSPELT])
def test_a_misspelt_header_is_refused_with_the_nearest(kept: Gateway, name: str, value: str, meant: str):
    """On every way: a first call, one that was a hit, one past the cache; nothing reaches a provider."""
    body = chat(MODEL, f"misspelt {name}")
    kept.post(body, headers=ALICE)
    assert [said(kept.post(body, headers=ALICE)) for _ in range(2)] == ["hit-exact"] * 2
    kept.fresh()
    for more in ({}, {"x-penstock-cache": "off"}):
        for text in (f"misspelt {name}", f"misspelt anew {name}"):
            refused = kept.post(chat(MODEL, text), headers={**ALICE, **more, name: value})
            assert (refused.status, refused.error["param"]) == (400, name.lower())
            assert f"Did you mean {meant}?" in refused.error["message"] + str(refused.error.get("hint", ""))
    assert kept.sim.requests == []


def test_it_is_refused_where_nothing_is_cached(tmp_path: Any):
    """Who believes that he has switched the cache off must not be surprised on the day it is configured."""
    with running_gateway(tmp_path, THREE_DIALECTS) as gateway:
        for _ in range(3):
            assert gateway.post(chat(MODEL)).status == 200
        refused = gateway.post(chat(MODEL), headers={"x-penstock-cache-tag": "a"})
        assert (refused.status, refused.error["param"]) == (400, "x-penstock-cache-tag")
        assert len(gateway.sim.requests) == 3


SHARED = """
server: {admin_key: env.ADMIN_KEY}
organisations: [{name: acme}, {name: "a/b%c"}]
teams: [{name: red, organisation: acme}, {name: blue, organisation: acme}, {name: odd, organisation: "a/b%c"}, {name: lone}]
virtual_keys:
  - {name: alice, key: env.CALLER_KEY, team: red}
  - {name: bob, key: env.OTHER_CALLER_KEY, team: blue}
  - {name: carol, key: env.SECOND_KEY, team: odd}
  - {name: dave, key: env.BACKUP_KEY, team: lone}
cache: {exact: {enabled: true}, scope: SCOPE}
"""
KEYS = {"alice": "CALLER_KEY", "bob": "OTHER_CALLER_KEY", "carol": "SECOND_KEY", "dave": "BACKUP_KEY"}


@pytest.mark.parametrize(
    ("scope", "tenant", "gone"),
    [
        ("team", "red", ["alice"]),
        ("team", "acme/red", ["alice"]),
        ("team", "acme", ["alice", "bob"]),
        ("team", "lone", ["dave"]),
        ("team", "odd", ["carol"]),
        ("team", "a/b%c", ["carol"]),
        ("team", "bob", ["bob"]),
        ("organisation", "acme", ["alice", "bob"]),
        ("organisation", "alice", ["alice"]),
        ("organisation", "lone", ["dave"]),
        ("key", "alice", ["alice"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_purging_by_tenant_where_answers_are_shared(tmp_path: Any, scope: str, tenant: str, gone: list[str]):
    """A team by its name, an organisation with all its teams, and a key: what it asked for."""
    with running_gateway(tmp_path, THREE_DIALECTS + SHARED.replace("SCOPE", scope)) as gateway:
        bodies = {name: chat(MODEL, f"asked by {name}") for name in KEYS}
        headers = {name: {"authorization": f"Bearer {SECRETS[key]}"} for name, key in KEYS.items()}
        for name, body in bodies.items():
            gateway.post(body, headers=headers[name])
        assert purge(gateway, tenant=tenant) == len(gone)
        left = {
            name: said(gateway.post(bodies[name], headers={**headers[name], "x-penstock-cache": "only"}))
            for name in KEYS
        }
        assert left == {name: "miss" if name in gone else "hit-exact" for name in KEYS}


def test_a_warmed_answer_says_what_it_took(kept: Gateway):
    """Where usage was given: the reply has it, and the hit its saving."""
    body = chat(MODEL, "warmed with usage")
    usage = {"prompt_tokens": 1000, "completion_tokens": 500}
    told = {"key": "alice", "calls": [{"request": body, "answer": "warm", "usage": usage}]}
    assert kept.post(told, "/admin/cache/warm", ADMIN).json()["data"][0]["error"] is None
    hit = kept.post(body, headers=ALICE)
    assert said(hit) == "hit-exact"
    assert {name: hit.json()["usage"][name] for name in usage} == usage
    assert kept.entry(hit.request_id).saved_nusd > 0
