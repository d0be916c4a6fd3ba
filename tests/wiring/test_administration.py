"""What may come between deciding a change and its being in force: a caller who leaves, a past that cannot be read."""

import asyncio
import json
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from penstock.base.errors import ConfigFault
from penstock.wiring import serve as serving
from tests.behaviours.gateway import WAIT_S, chat, running_gateway
from tests.simulate.raw import ask, request_bytes

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
server: {admin_key: env.ADMIN_KEY}
"""
ADMIN = {"authorization": "Bearer admin-000000000008"}


def api(gateway, method, path, body=None):
    return ask(gateway.running.url, f"/admin{path}", body, method=method, headers=ADMIN)


def called(gateway, key):
    return gateway.post(chat("openai/gpt-4o-mini"), headers={"authorization": f"Bearer {key}"}).status


def until(holds, what):
    ends_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < ends_s, what
        time.sleep(0.02)


@pytest.fixture
def gateway(tmp_path):
    with running_gateway(tmp_path, CONFIG) as gateway:
        yield gateway


def test_who_hangs_up_in_the_middle_of_a_change_leaves_it_whole(gateway):
    """The store is slow, the caller gone: it is stored, in force and recorded all the same, and reloads wait for it."""
    key = api(gateway, "POST", "/keys", {"name": "a"}).json()["key"]
    assert called(gateway, key) == 200
    store = gateway.running.administration._store
    commit, began, go = store.commit, threading.Event(), threading.Event()

    def slow(*args):
        began.set()
        assert go.wait(WAIT_S)
        commit(*args)

    store.commit = slow
    parts = urlsplit(gateway.running.url)
    with socket.create_connection((parts.hostname, parts.port), WAIT_S) as sock:
        sock.sendall(request_bytes("DELETE", "/admin/keys/a", b"", ADMIN))
        assert began.wait(WAIT_S)
    reload = asyncio.run_coroutine_threadsafe(gateway.running.reload(), gateway.loop)
    until(lambda: not gateway.inside(lambda: gateway.running.app.connections), "the hang-up was not noticed")
    assert called(gateway, key) == 200, "not stored yet, and so not in force"
    go.set()
    assert reload.result(WAIT_S) == []
    assert called(gateway, key) == 401
    rows = api(gateway, "GET", "/audit?kind=key").json()["data"]
    assert [row["action"] for row in rows] == ["key.revoked", "key.created"]


def test_a_budget_whose_past_cannot_be_read_is_not_in_force_and_is_tried_again(gateway, monkeypatch):
    """The answer is neither yes nor no, and says so; nobody spends under a budget that began at nothing."""
    key = api(gateway, "POST", "/keys", {"name": "a"}).json()["key"]
    recall, broken = serving.recall, threading.Event()
    broken.set()

    async def sometimes(*args):
        if broken.is_set():
            raise ConfigFault("The ledger cannot be read.", path="$.ledger.path")
        await recall(*args)

    monkeypatch.setattr(serving, "recall", sometimes)
    budget = {"limit_usd": "0.000000001", "period": "day"}
    refused = api(gateway, "PUT", "/budgets/key/a", budget)
    assert refused.status == 503
    assert refused.json()["error"]["code"] == "admin_not_in_force"
    assert "The ledger cannot be read." in refused.json()["error"]["message"]
    assert called(gateway, key) == 200
    assert gateway.reload(CONFIG) == ["$.ledger.path: The ledger cannot be read."]
    broken.clear()
    until(lambda: called(gateway, key) != 200, "the budget did not come into force")
    assert [row["name"] for row in api(gateway, "GET", "/budgets").json()["data"]] == ["day"]


def test_changes_at_once_are_one_after_another_and_none_is_lost(gateway):
    """Twenty callers, each with a key and a team of its own, while the file is reloaded."""
    answers = []

    def work(number):
        answers.append(api(gateway, "POST", "/teams", {"name": f"t{number}"}).status)
        made = api(gateway, "POST", "/keys", {"name": f"k{number}", "team": f"t{number}"})
        answers.append(made.status)
        answers.append(called(gateway, made.json()["key"]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    assert gateway.reload(CONFIG) == []
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] * 20 + [201] * 40
    assert len(api(gateway, "GET", "/keys").json()["data"]) == 20
    rows = api(gateway, "GET", "/audit?limit=1000").json()["data"]
    assert len([row for row in rows if row["kind"] != "config"]) == 40
    assert json.dumps(rows).count("psk-") == 0
