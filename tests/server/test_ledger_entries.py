"""``POST /v1/ledger/entries`` on a process of its own: acknowledged is stored, also for a kill -9 right after."""

import json
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.server.process import GatewayProcess
from tests.simulate.raw import connect, read_reply, request_bytes

RATES = """
compute: {h100: {usd_per_hour: 2.49, owned: 4}}
storage: {s3: {usd_per_gb_month: 0.023}}
"""
KEYS = """
organisations: [{name: acme}]
teams: [{name: vision, organisation: acme, tags: {cost_centre: "7"}}]
virtual_keys:
  - {name: render, key: env.RENDER_KEY, team: vision}
  - {name: other, key: env.OTHER_KEY}
"""
ENV = {"RENDER_KEY": "vk-render-000000000001", "OTHER_KEY": "vk-other-000000000002"}
PATH = "/v1/ledger/entries"
KILLS = 20


def event(number, **fields):
    """One GPU-second."""
    return {"id": f"e{number}", "stage": "denoise", "compute": "h100", "gpu_seconds": 1, **fields}


def rows(db, sql):
    connection = sqlite3.connect(f"file:{db}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """One gateway for the tests that leave it as it was."""
    with GatewayProcess(tmp_path_factory.mktemp("own"), RATES + KEYS, ENV) as running:
        yield running


def post(gateway, body, key="RENDER_KEY", path=PATH):
    return gateway.ask(path, body, headers={"authorization": f"Bearer {ENV.get(key, key)}"}, timeout_s=20)


def test_stored_when_answered_and_once(gateway):
    """The row is there when the answer is; again is a duplicate; another key's event of the same id is its own."""
    assert post(gateway, event(1)).json() == {"accepted": 1, "duplicates": 0}
    assert rows(
        gateway.db, "SELECT virtual_key, cost_nusd FROM entries WHERE request_id = 'own:render:e1'"
    ) == [("render", 691_667)]
    assert post(gateway, {"entries": [event(1), event(2), event(2)]}).json() == {
        "accepted": 1,
        "duplicates": 2,
    }
    assert post(gateway, event(1), "OTHER_KEY").json() == {"accepted": 1, "duplicates": 0}


def own_costs(gateway):
    lines = gateway.ask("/metrics").body.decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if line.startswith("penstock_own_cost_"))


def test_costs_are_counted_once_by_what_they_are_for(gateway):
    """As nano-dollars and as dollars; the operator's own names from the start; what is sent again is not counted again."""
    before = own_costs(gateway)
    storage = '{kind="storage",name="s3"}'
    assert before[f"penstock_own_cost_nusd_total{storage}"] == "0"
    batch = [
        event("m1"),
        event("m2"),
        {"id": "m3", "storage": "s3", "gb_months": 2},
        {"id": "m4", "unit": "retouch", "quantity": 3, "usd_per_unit": "0.5"},
    ]
    for entries in (batch[:1], batch, [*batch, batch[0]]):
        assert post(gateway, {"entries": entries}).status == 200
    after = own_costs(gateway)

    def grown(labels):
        name = f"penstock_own_cost_nusd_total{labels}"
        return int(after[name]) - int(before.get(name, 0))

    assert grown('{kind="compute",name="h100"}') == 2 * 691_667
    assert grown(storage) == 46_000_000
    assert grown('{kind="unit",name="retouch"}') == 1_500_000_000
    assert after['penstock_own_cost_usd_total{kind="unit",name="retouch"}'] == "1.5"


def test_who_stands_above_the_key(gateway):
    """Its team and organisation stand on the entry, with the tags of all of them; and the user that the sender names."""
    posted = event("above", user="anna", meta={"sku": "1", "cost_centre": "mine"})
    assert post(gateway, posted).json() == {"accepted": 1, "duplicates": 0}
    ((organisation, team, user, meta),) = rows(
        gateway.db,
        "SELECT organisation, team, end_user, meta FROM entries WHERE request_id = 'own:render:eabove'",
    )
    assert (organisation, team, user) == ("acme", "vision", "anna")
    assert json.loads(meta) == {"sku": "1", "cost_centre": "7"}


def test_every_prefix_and_only_post(gateway):
    """As the other routes."""
    for prefix in ("/v1", "", "/openai/v1", "/openai", "/api/v1"):
        assert post(gateway, event(3), path=f"{prefix}/ledger/entries").status == 200
    refused = gateway.ask(PATH)
    assert (refused.status, refused.headers["allow"]) == (405, "POST")


def test_only_for_known_keys(gateway):
    """And nothing of it is stored."""
    assert post(gateway, event("x"), "vk-nobody").status == 401
    assert rows(gateway.db, "SELECT * FROM entries WHERE request_id LIKE '%:ex'") == []


def test_a_faulty_batch_is_listed_and_not_stored(gateway):
    """Every fault in ``faults``; the error's sentence has the first; the good entries are not stored either."""
    answer = post(gateway, {"entries": [event("good"), event("bad", compute="h10"), {"idd": 1}]})
    assert answer.status == 400
    said = answer.json()
    assert said["error"]["code"] == "invalid_entries"
    assert "Did you mean 'h100'?" in said["error"]["message"]
    assert [fault["path"] for fault in said["faults"]] == [
        "$.entries[1].compute", "$.entries[2].idd", "$.entries[2].id", "$.entries[2]",
    ]  # fmt: skip
    assert rows(gateway.db, "SELECT * FROM entries WHERE request_id LIKE '%good'") == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"id": "\\ud800"}', b"[" * 100_000])
def test_what_is_no_entry_is_the_caller_s_fault(gateway, body):
    """400, whatever the bytes."""
    assert post(gateway, body).status == 400


def test_too_long_a_body(gateway):
    """413, before it is read as JSON."""
    assert post(gateway, b" " * (4 * 1024 * 1024 + 1)).status == 413


def test_the_same_events_from_many_at_once(gateway):
    """Eight callers send the same hundred events: each is new to exactly one of them."""
    batch = {"entries": [event(f"same{i}") for i in range(100)]}
    with ThreadPoolExecutor(8) as pool:
        said = [answer.json() for answer in pool.map(lambda _: post(gateway, batch), range(8))]
    assert sum(one["accepted"] for one in said) == 100
    assert sum(one["duplicates"] for one in said) == 700


def test_a_ledger_that_cannot_be_written_says_503(tmp_path):
    """Not yet stored, when to try again, and no entry twice when it can be written again."""
    with GatewayProcess(tmp_path, RATES) as gateway:
        page = gateway.ask(PATH, event(1), headers={"origin": "https://elsewhere.example"})
        assert page.status == 403  # no key is needed here: a web page could write
        held = sqlite3.connect(gateway.db, isolation_level=None)
        held.execute("BEGIN IMMEDIATE")
        try:
            answer = gateway.ask(PATH, event(1), timeout_s=30)
            assert (answer.status, answer.json()["error"]["code"]) == (503, "ledger_not_ready")
            assert int(answer.headers["retry-after"]) >= 1
        finally:
            held.execute("ROLLBACK")
            held.close()
        answer = gateway.ask(PATH, event(1), timeout_s=30)
        while answer.status == 503:
            answer = gateway.ask(PATH, event(1), timeout_s=30)
        assert answer.json() == {"accepted": 0, "duplicates": 1}


def test_a_restart_still_knows_what_was_sent(tmp_path):
    """Also after SIGTERM."""
    for accepted in (1, 0):
        with GatewayProcess(tmp_path, RATES) as gateway:
            assert gateway.ask(PATH, event(1)).json() == {"accepted": accepted, "duplicates": 1 - accepted}
            assert gateway.terminate() == 0


class Poster(threading.Thread):
    """Posts batches on one connection until the gateway is gone; ``safe`` are the acknowledged events."""

    def __init__(self, gateway, name, begun):
        super().__init__()
        self.gateway, self.label, self.begun = gateway, name, begun
        self.safe, self.accepted = [], 0

    def run(self):
        try:
            with connect(self.gateway.url) as sock:
                for turn in range(10_000):
                    ids = [f"{self.label}-{turn}-{i}" for i in range(20)]
                    body = json.dumps({"entries": [event(one) for one in ids]}).encode()
                    sock.sendall(request_bytes("POST", PATH, body))
                    reply = read_reply(sock)
                    if reply.ended != "complete" or reply.status != 200:
                        return
                    self.safe += ids
                    self.accepted += reply.json()["accepted"]
                    self.begun.release()
        except OSError:
            return


@pytest.mark.timeout(180)
def test_kill_9_right_after_an_answer_loses_nothing(tmp_path):
    """Twenty kills on one ledger, each in the middle of posts from three callers: what was acknowledged is there, once."""
    safe, accepted = [], 0
    for turn in range(KILLS):
        with GatewayProcess(tmp_path, RATES) as gateway:
            begun = threading.Semaphore(0)
            posters = [Poster(gateway, f"{turn}-{name}", begun) for name in "abc"]
            for poster in posters:
                poster.start()
            for _ in range(turn % 4 + 1):  # right after the first, second, ... acknowledgement
                assert begun.acquire(timeout=20)
            gateway.signal(signal.SIGKILL)
            for poster in posters:
                poster.join(20)
                assert not poster.is_alive()
                safe += poster.safe
                accepted += poster.accepted
    kept = [row[0] for row in rows(gateway.db, "SELECT request_id FROM entries")]
    assert len(kept) == len(set(kept))
    assert len(safe) >= KILLS * 20
    assert accepted == len(safe)
    assert {f"own::e{one}" for one in safe} <= set(kept)
    assert rows(gateway.db, "PRAGMA integrity_check") == [("ok",)]
    assert rows(gateway.db, "SELECT DISTINCT cost_nusd FROM entries") == [(691_667,)]
