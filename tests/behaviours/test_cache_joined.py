"""Identical calls in flight join one upstream call (single-flight)."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.simulate import Profile, Scenario
from tests.behaviours.gateway import THREE_DIALECTS, WAIT_S, Answer, Gateway, chat, running_gateway

MODEL = "openai/gpt-4o-mini"
CONFIG = THREE_DIALECTS + "\ncache: {coalesce: {enabled: true, max_followers: 4, wait_ms: 20000}}\n"
SLOW = Scenario(profiles={"*": Profile(ttft_ms=300, tokens_per_s=100, output_tokens=60)})


@pytest.fixture(scope="module")
def joining(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("joined"), CONFIG, scenario=SLOW) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _fresh(joining: Gateway) -> None:
    joining.fresh()


def at_once(joining: Gateway, bodies: list[dict[str, Any]], gap_s: float = 0.05) -> list[Answer]:
    """All of them in flight together, the first one first."""
    answers: list[Answer | None] = [None] * len(bodies)

    def ask(at: int) -> None:
        answers[at] = joining.post(bodies[at])

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(len(bodies))]
    for thread in threads:
        thread.start()
        time.sleep(gap_s)
    for thread in threads:
        thread.join(WAIT_S)
    return [answer for answer in answers if answer is not None]


def said(answer: Answer) -> str:
    return answer.headers.get("x-penstock-cache", "")


@pytest.mark.parametrize(
    "streams", [(True, True, True), (False, False, False), (True, False, True), (False, True, False)]
)
def test_identical_calls_are_one_call(joining: Gateway, streams: tuple[bool, ...]):
    """Streamed or whole, in any mixture; the leader pays, the others' entries say what they saved."""
    answers = at_once(joining, [chat(MODEL, f"join {streams}", stream=stream) for stream in streams])
    assert [said(answer) for answer in answers] == ["miss", "coalesced", "coalesced"]
    assert len(joining.sim.requests) == 1
    assert len({answer.text() for answer in answers}) == 1
    assert answers[0].text()
    paid = joining.entry(answers[0].request_id)
    assert (paid.klass, paid.saved_nusd) == ("delivered", 0)
    for follower in answers[1:]:
        entry = joining.entry(follower.request_id)
        assert (entry.klass, entry.cost_nusd, entry.saved_nusd) == ("cache_hit", 0, paid.cost_nusd)
        reasons = [note["reason"] for note in joining.story(follower.request_id)["happenings"]]
        assert any(answers[0].request_id in reason for reason in reasons)


def test_a_follower_reads_live(joining: Gateway):
    """It does not wait for the leader's end: words come to it before that."""
    body = chat(MODEL, "live")
    with joining.stream(body) as leader:
        leader.until(b"content")
        with joining.stream(body) as follower:
            assert follower.headers["x-penstock-cache"] == "coalesced"
            follower.until(b"content")
            assert not leader.answer.ended
            assert follower.rest().text() == leader.rest().text()
    assert len(joining.sim.requests) == 1


def test_the_leaders_hang_up_does_not_cancel(joining: Gateway):
    """Followers get all of it, and the ledger keeps the call that was paid for as delivered."""
    body = chat(MODEL, "leader leaves")
    leader = joining.stream(body)
    leader.until(b"content")
    follower = joining.stream(body)
    follower.until(b"content")
    leader_id = leader.answer.request_id
    leader.close()
    answer = follower.rest()
    assert answer.ended == "complete"
    assert answer.done
    assert len(joining.sim.requests) == 1
    assert joining.entry(leader_id).klass == "delivered"
    assert joining.entry(answer.request_id).saved_nusd == joining.entry(leader_id).cost_nusd > 0


def test_without_followers_a_hang_up_cancels(joining: Gateway):
    """Nobody waits: the provider is told at once."""
    with joining.stream(chat(MODEL, "SAY_TOKENS 900 nobody waits")) as leader:
        leader.until(b"content")
        leader_id = leader.answer.request_id
    until_s = time.monotonic() + WAIT_S
    while joining.ledger(leader_id).call.status != 499:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    assert joining.entry(leader_id).klass == "billed_not_delivered"


def test_when_all_have_gone_the_call_is_cancelled(joining: Gateway):
    """The last follower's hang-up ends what its leader had begun."""
    body = chat(MODEL, "SAY_TOKENS 900 all leave")
    leader, follower = joining.stream(body), None
    leader.until(b"content")
    leader_id = leader.answer.request_id
    follower = joining.stream(body)
    follower.until(b"content")
    leader.close()
    time.sleep(0.1)
    follower.close()
    until_s = time.monotonic() + WAIT_S
    while joining.ledger(leader_id).entries[0].klass != "billed_not_delivered":
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_a_failed_leader_is_replaced_by_a_follower(joining: Gateway):
    """What went wrong is the leader's: a follower tries again and leads the rest."""
    joining.faults({"kind": "error_first_frame", "count": 1})
    body = chat(MODEL, "replaced", stream=True)
    answers = at_once(joining, [body] * 3)
    assert sorted(answer.status for answer in answers) == [200, 200, 502]
    assert len(joining.sim.requests) == 2


def test_other_tenants_and_other_requests_do_not_join(tmp_path):
    """Same words, another key: its own call."""
    config = (
        CONFIG
        + """
virtual_keys:
  - {name: alice, key: env.CALLER_KEY, models: ["*"]}
  - {name: bob, key: env.OTHER_CALLER_KEY, models: ["*"]}
"""
    )
    with running_gateway(tmp_path, config, scenario=SLOW) as gateway:
        keys = ["vk-caller-000000000006", "vk-other-000000000007"]
        body = chat(MODEL, "two tenants", stream=True)
        streams = [gateway.open(body, headers={"authorization": f"Bearer {key}"}) for key in keys]
        answers = [stream.rest() for stream in streams]
        assert [said(answer) for answer in answers] == ["miss", "miss"]
        assert len(gateway.sim.requests) == 2


def test_a_warm_call_is_not_joined(joining: Gateway):
    """Who asks for variety gets it."""
    answers = at_once(joining, [chat(MODEL, "warm", temperature=1.0)] * 2)
    assert len(joining.sim.requests) == 2
    assert "coalesced" not in [said(answer) for answer in answers]


def test_no_more_than_the_configured_number_follow(joining: Gateway):
    """The sixth makes a call of its own."""
    answers = at_once(joining, [chat(MODEL, "crowd")] * 6, gap_s=0.02)
    assert sorted(said(answer) for answer in answers) == ["coalesced"] * 4 + ["miss"] * 2
    assert len(joining.sim.requests) == 2


def test_a_leader_that_does_not_read_holds_up_nobody(joining: Gateway):
    """Its own socket is full; who joined gets all of it."""
    joining.faults({"kind": "huge_event", "bytes": 6_000_000})
    body = chat(MODEL, "a slow reader", stream=True)
    leader = joining.open(body)
    joining.sim.wait_for(lambda received: received.provider == "openai")
    follower = joining.open(body, timeout_s=20)
    answer = follower.rest()
    assert said(answer) == "coalesced"
    assert answer.ended == "complete"
    leader.close()
