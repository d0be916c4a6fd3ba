"""The admin API over a real socket to a real process: in force at once, there after a restart, recorded, and never half."""

import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import quote

import pytest

from penstock.base.money import NANO_PER_USD, usd_text
from penstock.simulate import Scenario, Simulator, running_simulator
from penstock.simulate.scenario import Profile
from tests.server.process import GatewayProcess
from tests.simulate.raw import connect, read_reply, request_bytes

KEYS = {"OPENAI_KEY": "sk-openai-000000000001", "ADMIN_KEY": "admin-secret-9000", "OLD_KEY": "vk-declared-77"}
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY, name: main}]
    network: {base_url: "SIM/p/openai/v1"}
organisations: [{name: acme}]
teams: [{name: declared, organisation: acme, models: ["openai/*"]}]
server: {admin_key: env.ADMIN_KEY, drain_timeout_ms: 2000}
"""
KEYED = CONFIG + "virtual_keys: [{name: old, key: env.OLD_KEY}]\n"
PACED = Scenario(profiles={"gpt-4o": Profile(tokens_per_s=40.0, output_tokens=40)})
"""gpt-4o takes a second for its forty words; every other model answers at once."""
ADMIN = {"authorization": f"Bearer {KEYS['ADMIN_KEY']}", "x-penstock-operator": "ann"}


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with running_simulator(PACED) as simulator:
        yield simulator


def started(tmp_path, sim, config=CONFIG) -> GatewayProcess:
    return GatewayProcess(tmp_path, config.replace("SIM", sim.url), KEYS)


def api(gateway, method, path, body=None, status=200, headers=ADMIN):
    """One request of the operator; the JSON of its answer, whose status is the one that was meant."""
    reply = gateway.ask(f"/admin{path}", body, method=method, headers=headers)
    assert reply.status == status, reply.body
    return reply.json()


def said(answer):
    return answer["error"]["message"]


def called(gateway, key, model="openai/gpt-4o-mini"):
    """The status of a call with this key, and the code of its refusal."""
    reply = gateway.chat(model=model, headers={"authorization": f"Bearer {key}"})
    return reply.status, "" if reply.status == 200 else reply.json()["error"]["code"]


def test_a_key_works_at_once_and_after_a_restart(tmp_path, sim):
    """Its answer has the key, this once; the store has a hash; a kill -9 takes nothing of it."""
    with started(tmp_path, sim, KEYED) as gateway:
        made = api(gateway, "POST", "/keys", {"name": "research", "models": ["openai/gpt-4o*"]}, 201)
        assert made["key"].startswith("psk-")
        assert (made["source"], made["in_force"], made["models"]) == ("runtime", True, ["openai/gpt-4o*"])
        assert called(gateway, made["key"]) == (200, "")
        assert called(gateway, made["key"], "openai/gpt-4.1") == (403, "model_not_allowed")
        assert called(gateway, KEYS["OLD_KEY"]) == (200, "")
        again = api(gateway, "GET", "/keys/research")
        assert "key" not in again
        assert "sha256" not in json.dumps(again)
        gateway.signal(signal.SIGKILL)
        gateway.join()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert made["key"].encode() not in kept
    assert made["key"] not in "".join(gateway.lines)
    with started(tmp_path, sim, KEYED) as gateway:
        assert called(gateway, made["key"]) == (200, "")
        names = [(one["name"], one["source"]) for one in api(gateway, "GET", "/keys")["data"]]
        assert names == [("old", "config"), ("research", "runtime")]


def test_a_revoked_key_is_refused_at_once_and_the_door_stays_closed(tmp_path, sim):
    """Without keys the gateway was open; the first key closes it, and taking the last away does not open it again."""
    with started(tmp_path, sim) as gateway:
        assert called(gateway, "anything") == (200, "")
        key = api(gateway, "POST", "/keys", {"name": "a"}, 201)["key"]
        assert called(gateway, "anything") == (401, "invalid_api_key")
        assert called(gateway, key) == (200, "")
        assert api(gateway, "DELETE", "/keys/a") == {"name": "a", "removed": True}
        assert called(gateway, key) == (401, "invalid_api_key")
        gateway.terminate()
    with started(tmp_path, sim) as gateway:
        assert called(gateway, "anything") == (401, "invalid_api_key")


def test_a_rotated_key_is_taken_until_its_grace_period_ends(tmp_path, sim):
    """Both for a while; without a grace period the old one at once not, nor those before it."""
    with started(tmp_path, sim) as gateway:
        first = api(gateway, "POST", "/keys", {"name": "a"}, 201)["key"]
        rotated = api(gateway, "POST", "/keys/a/rotate", {"grace_s": 2})
        second = rotated["key"]
        (until,) = rotated["previous_until"]
        assert called(gateway, first) == called(gateway, second) == (200, "")
        until_s = datetime.fromisoformat(until).timestamp()
        assert 0 < until_s - time.time() <= 4
        time.sleep(max(0.0, until_s - time.time()) + 0.05)
        assert called(gateway, first) == (403, "key_rotated")
        third = api(gateway, "POST", "/keys/a/rotate")["key"]
        assert called(gateway, second) == called(gateway, third) == (200, "")
        last = api(gateway, "POST", "/keys/a/rotate", {"grace_s": 0})
        assert last["previous_until"] == []
        assert called(gateway, second) == called(gateway, third) == (401, "invalid_api_key")
        assert called(gateway, last["key"]) == (200, "")


def test_fields_change_without_a_restart(tmp_path, sim):
    """What is not named stays, null is the default; an expired key is refused."""
    with started(tmp_path, sim) as gateway:
        key = api(
            gateway, "POST", "/keys", {"name": "a", "models": ["openai/gpt-4o*"], "tags": {"k": "v"}}, 201
        )
        assert called(gateway, key["key"], "openai/gpt-4.1")[0] == 403
        changed = api(gateway, "PATCH", "/keys/a", {"models": None, "expires": "2099-01-01"})
        assert (changed["models"], changed["tags"], changed["expires"]) == (["*"], {"k": "v"}, "2099-01-01")
        assert called(gateway, key["key"], "openai/gpt-4.1")[0] == 200
        api(gateway, "PATCH", "/keys/a", {"expires": "2020-01-01"})
        assert called(gateway, key["key"]) == (403, "key_expired")


def test_a_tree_is_made_and_taken_down(tmp_path, sim):
    """Teams below organisations of either source; what is still in use is not removed, and the refusal names who."""
    with started(tmp_path, sim) as gateway:
        api(gateway, "POST", "/organisations", {"name": "zeta"}, 201)
        api(gateway, "POST", "/teams", {"name": "search", "organisation": "zeta"}, 201)
        api(gateway, "POST", "/teams", {"name": "ads", "organisation": "acme"}, 201)
        api(gateway, "POST", "/keys", {"name": "a", "team": "search"}, 201)
        api(gateway, "POST", "/keys", {"name": "b", "team": "declared"}, 201)
        refused = api(gateway, "DELETE", "/teams/search", status=409)
        assert refused["error"]["code"] == "still_used"
        assert "1 virtual key ('a') belongs to the team 'search'. Move or revoke them first." in said(refused)
        assert "team ('search') belongs" in said(api(gateway, "DELETE", "/organisations/zeta", status=409))
        api(gateway, "PATCH", "/keys/a", {"team": "ads"})
        api(gateway, "DELETE", "/teams/search")
        api(gateway, "DELETE", "/organisations/zeta")
        teams = [(one["name"], one["organisation"]) for one in api(gateway, "GET", "/teams")["data"]]
        assert teams == [("declared", "acme"), ("ads", "acme")]


def test_budgets_are_set_and_removed_one_by_one(tmp_path, sim):
    """By whose they are; a name, or the period, tells two of one owner apart."""
    with started(tmp_path, sim) as gateway:
        api(gateway, "POST", "/teams", {"name": "search"}, 201)
        api(gateway, "PUT", "/budgets/team/search", {"limit_usd": "100", "period": "month"})
        api(
            gateway,
            "PUT",
            "/budgets/team/search",
            {"limit_usd": 7.5, "period": "day", "timezone": "Europe/Berlin"},
        )
        api(gateway, "PUT", "/budgets/team/search", {"limit_usd": "120"})
        rows = api(gateway, "GET", "/budgets")["data"]
        told = [(one["kind"], one["of"], one["name"], one["limit_usd"], one["timezone"]) for one in rows]
        assert told == [
            ("team", "search", "month", "120", "UTC"),
            ("team", "search", "day", "7.5", "Europe/Berlin"),
        ]
        api(gateway, "DELETE", "/budgets/team/search/month")
        refused = api(gateway, "DELETE", "/budgets/team/search/month", status=404)
        assert "It has: 'day'." in said(refused)
        assert [one["name"] for one in api(gateway, "GET", "/budgets")["data"]] == ["day"]


def test_what_a_killed_run_had_leased_is_shown_apart(tmp_path, sim):
    """Counted as spent, in no entry: the counter is the ledger's sum and what is withheld, to the nano-dollar."""
    with started(tmp_path, sim) as gateway:
        key = api(gateway, "POST", "/keys", {"name": "a"}, 201)["key"]
        api(gateway, "PUT", "/budgets/key/a", {"limit_usd": "10", "period": "day"})
        assert called(gateway, key) == (200, "")
        in_ledger_nusd = ledger_sum(tmp_path)
        (row,) = api(gateway, "GET", "/budgets")["data"]
        assert (row["in_ledger_usd"], row["withheld_usd"]) == (usd_text(in_ledger_nusd), "0")
        gateway.signal(signal.SIGKILL)
        gateway.join()
    with started(tmp_path, sim) as gateway:
        (row,) = api(gateway, "GET", "/budgets")["data"]
        assert row["in_ledger_usd"] == usd_text(in_ledger_nusd)
        spent_nusd, withheld_nusd = (
            round(Decimal(row[name]) * NANO_PER_USD) for name in ("spent_usd", "withheld_usd")
        )
        assert spent_nusd == in_ledger_nusd + withheld_nusd
        assert 0 < withheld_nusd <= NANO_PER_USD // 2  # a slice: at most some percent of the limit


def test_a_budget_set_at_run_time_holds_and_outlives_the_process(tmp_path, sim):
    """The first budget there is, of a key that has called before: what it spent in this window counts, and is refused."""
    with started(tmp_path, sim) as gateway:
        key = api(gateway, "POST", "/keys", {"name": "a"}, 201)["key"]
        assert called(gateway, key) == (200, "")
        cost_nusd = ledger_sum(tmp_path)
        api(gateway, "PUT", "/budgets/key/a", {"limit_usd": "1", "period": "day"})
        (row,) = api(gateway, "GET", "/budgets")["data"]
        assert row["spent_usd"] == usd_text(cost_nusd)
        assert row["left_usd"] == usd_text(NANO_PER_USD - cost_nusd)
        assert called(gateway, key) == (200, "")
        spent_nusd = ledger_sum(tmp_path, 2)
        api(gateway, "PUT", "/budgets/key/a", {"limit_usd": usd_text(spent_nusd + 1), "period": "day"})
        refused = gateway.chat(headers={"authorization": f"Bearer {key}"})
        assert refused.status in (402, 429)
        assert refused.json()["error"]["code"].startswith("budget")
        gateway.terminate()
    with started(tmp_path, sim) as gateway:
        (row,) = api(gateway, "GET", "/budgets")["data"]
        assert row["spent_usd"] == usd_text(spent_nusd)
        assert gateway.chat(headers={"authorization": f"Bearer {key}"}).status == refused.status
        api(gateway, "DELETE", "/budgets/key/a/day")
        assert called(gateway, key) == (200, "")


def test_users_below_a_star_are_told_one_by_one(tmp_path, sim):
    """Each has called, and has a budget of its own; who is named in the configuration stands there once."""
    with started(tmp_path, sim) as gateway:
        budgets = [{"limit_usd": "1", "period": "day"}]
        users = [{"name": "*", "budgets": budgets}, {"name": "carl", "budgets": budgets}]
        key = api(gateway, "POST", "/keys", {"name": "a", "users": users}, 201)["key"]
        bearer = {"authorization": f"Bearer {key}"}
        for user in ("bob", "ann of key a", "bob", "carl"):
            assert gateway.chat(headers={**bearer, "x-penstock-user": user}).status == 200
        total_nusd = ledger_sum(tmp_path, 4)
        rows = {row["user"]: row for row in api(gateway, "GET", "/budgets")["data"]}
        assert list(rows) == ["*", "bob", "ann of key a", "carl"]
        assert rows["*"]["spent_usd"] is None
        spent = [round(Decimal(rows[user]["spent_usd"]) * NANO_PER_USD) for user in list(rows)[1:]]
        assert sum(spent) == total_nusd
        assert spent[0] > spent[1] == spent[2]


def ledger_sum(folder, calls=1):
    """What the ledger has of so many calls, as soon as it has them."""
    until_s = time.monotonic() + 10
    while True:
        connection = sqlite3.connect(folder / "penstock.db")
        count, total = connection.execute("SELECT count(*), sum(cost_nusd) FROM entries").fetchone()
        connection.close()
        if count >= calls:
            return total
        assert time.monotonic() < until_s
        time.sleep(0.02)


WRONG = [
    ("POST", "/keys", {}, 400, "$.name: The name is missing."),
    ("POST", "/keys", {"name": "a/b"}, 400, "$.name: A name has no slash"),
    ("POST", "/keys", {"name": 7}, 400, "$.name"),
    ("POST", "/keys", {"name": "n", "key": "sk-own"}, 400, "$.key: The gateway makes keys itself."),
    (
        "POST",
        "/keys",
        {"name": "n", "modles": ["*"]},
        400,
        "$.modles: There is no field 'modles'. Did you mean 'models'?",
    ),
    ("POST", "/keys", {"name": "n", "models": "openai/*"}, 400, "$.models: Expected a list, got text."),
    ("POST", "/keys", {"name": "n", "team": "serach"}, 400, "$.team"),
    ("POST", "/keys", {"name": "n", "expires": "soon"}, 400, "$.expires"),
    ("POST", "/keys", {"name": "n", "provider_keys": ["openai.x"]}, 400, "$.provider_keys[0]"),
    ("POST", "/keys", {"name": "n", "budgets": [{"limit_usd": "x"}]}, 400, "$.budgets[0].limit_usd"),
    ("POST", "/keys", {"name": "old"}, 409, "The configuration has a virtual key 'old'."),
    ("POST", "/keys", {"name": "mine"}, 409, "There is a virtual key 'mine' already."),
    ("POST", "/keys", b"{", 400, "The body is not JSON"),
    ("POST", "/keys", b"[]", 400, "The body is no JSON object."),
    (
        "PATCH",
        "/keys/old",
        {"models": ["*"]},
        409,
        "is declared in the configuration. Change it there, and reload.",
    ),
    ("PATCH", "/keys/mine", {}, 400, "There is no field to change."),
    ("PATCH", "/keys/mine", {"name": "other"}, 400, "$.name: A name cannot be changed."),
    ("PATCH", "/keys/mine", {"teem": None}, 400, "Did you mean 'team'?"),
    ("PATCH", "/keys/mien", {"models": ["*"]}, 404, "There is no virtual key 'mien'. Did you mean 'mine'?"),
    ("DELETE", "/keys/nobody", None, 404, "There is no virtual key 'nobody'."),
    ("POST", "/keys/mine/rotate", {"grace_s": -1}, 400, "$.grace_s"),
    ("POST", "/keys/mine/rotate", {"grace_s": "1h"}, 400, "$.grace_s"),
    ("POST", "/keys/mine/rotate", {"grace": 5}, 400, "$.grace: There is no field 'grace'."),
    ("PUT", "/budgets/key/mine", {"limit": 5}, 400, "Did you mean 'limit_usd'?"),
    ("PUT", "/budgets/key/mine", {"limit_usd": -5}, 400, "$.limit_usd"),
    ("PUT", "/budgets/key/mine", {"limit_usd": 5, "timezone": "Berlin"}, 400, "$.timezone"),
    ("PUT", "/budgets/teem/mine", {"limit_usd": 5}, 400, "Did you mean 'team'?"),
    ("PUT", "/budgets/team/declared", {"limit_usd": 5}, 409, "is declared in the configuration"),
    ("GET", "/audit?limit=0", None, 400, "limit"),
]


def test_what_is_wrong_is_named_and_changes_nothing(tmp_path, sim):
    """Field, fault and remedy; afterwards the store, the record and what is in force are what they were."""
    with started(tmp_path, sim, KEYED) as gateway:
        key = api(gateway, "POST", "/keys", {"name": "mine"}, 201)["key"]
        before = [api(gateway, "GET", path) for path in ("/keys", "/teams", "/budgets", "/audit")]
        for method, path, body, status, words in WRONG:
            refused = api(gateway, method, path, body, status)
            assert words in said(refused), (path, body, refused)
        faults = api(gateway, "POST", "/keys", {"name": "", "models": 7}, 400)["faults"]
        assert [fault["path"] for fault in faults] == ["$.name"]
        after = [api(gateway, "GET", path) for path in ("/keys", "/teams", "/budgets", "/audit")]
        assert after == before
        assert called(gateway, key) == (200, "")


def test_every_path_wants_the_admin_key(tmp_path, sim):
    """None without it, and a virtual key is none; without server.admin_key there is no such path."""
    paths = [
        ("GET", "/keys"), ("POST", "/keys"), ("GET", "/keys/a"), ("PATCH", "/keys/a"), ("DELETE", "/keys/a"),
        ("POST", "/keys/a/rotate"), ("GET", "/teams"), ("GET", "/organisations"), ("GET", "/budgets"),
        ("PUT", "/budgets/key/a"), ("DELETE", "/budgets/key/a/month"), ("GET", "/audit"),
    ]  # fmt: skip
    with started(tmp_path, sim) as gateway:
        key = api(gateway, "POST", "/keys", {"name": "a"}, 201)["key"]
        for method, path in paths:
            api(gateway, method, path, {"name": "b"}, 403, {"authorization": f"Bearer {key}"})
            api(gateway, method, path, {"name": "b"}, 401, {"authorization": ""})
        assert len(api(gateway, "GET", "/audit")["data"]) == 1
        gateway.terminate()
    with GatewayProcess(
        tmp_path, CONFIG.replace("SIM", sim.url).replace("admin_key: env.ADMIN_KEY, ", ""), KEYS
    ) as gateway:
        for method, path in paths:
            assert api(gateway, method, path, {"name": "b"}, 404)


def test_the_record_says_who_when_and_what_without_secrets(tmp_path, sim):
    """Newest first, by kind, name and page; a reload that takes another file is in it, and the same file is not twice."""
    with started(tmp_path, sim) as gateway:
        first = api(
            gateway, "POST", "/keys", {"name": "a"}, 201, {**ADMIN, "x-penstock-operator": "bob\tthe"}
        )
        second = api(gateway, "POST", "/keys/a/rotate", {"grace_s": 60})
        api(gateway, "PATCH", "/keys/a", {"models": ["openai/*"]})
        another = CONFIG.replace("name: declared,", "name: declared, max_concurrent: 9,")
        gateway.config.write_text(another.replace("SIM", sim.url), encoding="utf-8")
        api(gateway, "POST", "/reload")
        api(gateway, "POST", "/reload")
        api(gateway, "DELETE", "/keys/a")
        rows = api(gateway, "GET", "/audit")["data"]
        told = [(row["action"], row["who"]) for row in rows]
        assert told == [
            ("key.revoked", "ann (admin key)"),
            ("config.taken", "ann (admin key)"),
            ("key.changed", "ann (admin key)"),
            ("key.rotated", "ann (admin key)"),
            ("key.created", "bobthe (admin key)"),
        ]
        assert abs(datetime.fromisoformat(rows[0]["at"]).timestamp() - datetime.now(UTC).timestamp()) < 60
        changed, taken, rotated = rows[2], rows[1], rows[3]
        team = {"models": ["openai/*"], "organisation": "acme"}
        assert taken["before"]["teams"]["declared"] == team
        assert taken["after"]["teams"]["declared"] == {**team, "max_concurrent": 9}
        assert ("models" in changed["before"], changed["after"]["models"]) == (False, ["openai/*"])
        assert rotated["before"]["key"] == rotated["after"]["previous"][0]["key"] != rotated["after"]["key"]
        assert all(
            len(one) <= len("sha256:") + 9 for one in (rotated["before"]["key"], rotated["after"]["key"])
        )
        text = json.dumps(rows)
        assert first["key"] not in text
        assert second["key"] not in text
        page = api(gateway, "GET", f"/audit?limit=2&before={rows[1]['id']}&kind=key&name=a")["data"]
        assert page == rows[2:4]
        assert "admin.changed" in {one["event"] for one in gateway.events}


def test_names_of_any_kind_are_reached(tmp_path, sim):
    """Percent-encoded in the path, as they are in the answer."""
    with started(tmp_path, sim) as gateway:
        for name in ("Ä ö%", "rotate", "🦆?#", "."):
            api(gateway, "POST", "/keys", {"name": name}, 201)
            place = f"/keys/{quote(name, safe='')}"
            assert api(gateway, "GET", place)["name"] == name
            assert api(gateway, "PATCH", place, {"tags": {"a": "b"}})["tags"] == {"a": "b"}
            assert api(gateway, "POST", f"{place}/rotate")["name"] == name
            assert api(gateway, "DELETE", place)["removed"]


def test_the_configuration_wins_on_equal_names_and_says_so(tmp_path, sim):
    """A key made at run time loses its effect when the configuration takes its name, and has it again afterwards."""
    with started(tmp_path, sim, KEYED) as gateway:
        key = api(gateway, "POST", "/keys", {"name": "mine"}, 201)["key"]
        taken = KEYED.replace("name: old", "name: mine").replace("SIM", sim.url)
        gateway.config.write_text(taken, encoding="utf-8")
        api(gateway, "POST", "/reload")
        assert called(gateway, key) == (401, "invalid_api_key")
        assert called(gateway, KEYS["OLD_KEY"]) == (200, "")
        declared, made = api(gateway, "GET", "/keys")["data"]
        assert (declared["source"], made["source"], made["in_force"]) == ("config", "runtime", False)
        assert "the configuration has one of the same name" in made["why_not"]
        notice = gateway.wait_for("notice")["message"]
        assert "'mine' made at run time has no effect" in notice
        gateway.config.write_text(KEYED.replace("SIM", sim.url), encoding="utf-8")
        api(gateway, "POST", "/reload")
        assert called(gateway, key) == (200, "")


def test_a_key_whose_team_is_gone_is_refused_and_not_set_free(tmp_path, sim):
    """The configuration dropped the team: its keys would have lost their limits. They are left out, with the reason."""
    with started(tmp_path, sim, KEYED) as gateway:
        key = api(gateway, "POST", "/keys", {"name": "a", "team": "declared"}, 201)["key"]
        free = api(gateway, "POST", "/keys", {"name": "b"}, 201)["key"]
        gone = "\n".join(line for line in KEYED.splitlines() if not line.startswith("teams"))
        gateway.config.write_text(gone.replace("SIM", sim.url), encoding="utf-8")
        api(gateway, "POST", "/reload")
        assert called(gateway, key) == (401, "invalid_api_key")
        assert called(gateway, free) == (200, "")
        one = api(gateway, "GET", "/keys/a")
        assert not one["in_force"]
        assert "declared" in one["why_not"]
        api(gateway, "PATCH", "/keys/a", {"team": None})
        assert called(gateway, key) == (200, "")


def test_a_store_that_cannot_be_written_changes_nothing(tmp_path, sim):
    """503 with the reason; what was in force stays, and so does what is read."""
    with started(tmp_path, sim) as gateway:
        key = api(gateway, "POST", "/keys", {"name": "a"}, 201)["key"]
        path = tmp_path / "penstock.db.admin"
        whole = path.read_bytes()
        path.write_bytes(b"this is no database any more" * 100)
        refused = api(gateway, "POST", "/keys", {"name": "b"}, 503)
        assert refused["error"]["code"] == "admin_store_fault"
        assert "Nothing was changed." in said(refused)
        assert called(gateway, key) == (200, "")
        path.write_bytes(whole)
        api(gateway, "POST", "/keys", {"name": "b"}, 201)


def test_running_calls_end_as_they_began(tmp_path, sim):
    """A key that is revoked in the middle of its stream: that one ends whole, the next call is refused."""
    with started(tmp_path, sim) as gateway:
        key = api(gateway, "POST", "/keys", {"name": "a"}, 201)["key"]
        told = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        body = {"model": "openai/gpt-4o", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
        with connect(gateway.url, 20) as sock:
            sock.sendall(request_bytes("POST", "/v1/chat/completions", json.dumps(body).encode(), told))
            wire = sock.recv(4096)
            assert b"200 OK" in wire
            assert b"[DONE]" not in wire
            api(gateway, "DELETE", "/keys/a")
            assert called(gateway, key) == (401, "invalid_api_key")
            while b"[DONE]" not in wire:
                more = sock.recv(65536)
                assert more, wire
                wire += more


def test_a_kept_connection_has_no_memory_of_a_revoked_key(tmp_path, sim):
    """Whatever a lane remembers of a connection's last call: the next one on it is refused, or fares by the new limits."""
    with started(tmp_path, sim) as gateway:
        keys = [api(gateway, "POST", "/keys", {"name": name}, 201)["key"] for name in "ab"]
        body = json.dumps({"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]})

        def call(sock, key):
            told = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            sock.sendall(request_bytes("POST", "/v1/chat/completions", body.encode(), told))
            return read_reply(sock).status

        with connect(gateway.url, 20) as one, connect(gateway.url, 20) as two:
            for _ in range(5):
                assert call(one, keys[0]) == call(two, keys[1]) == 200
            api(gateway, "DELETE", "/keys/a")
            assert call(one, keys[0]) == 401
            assert call(two, keys[1]) == 200
            api(gateway, "PATCH", "/keys/b", {"models": ["anthropic/*"]})
            assert call(two, keys[1]) == 403
            api(gateway, "PATCH", "/keys/b", {"models": None, "rate_limit": {"requests_per_minute": 1}})
            assert [call(two, keys[1]) for _ in range(2)] == [200, 429]


def test_every_worker_follows(tmp_path, sim):
    """Asked of whichever worker takes the connection: in force in all of them, one record, one line for the file."""
    config = CONFIG.replace("drain_timeout_ms: 2000", "drain_timeout_ms: 2000, workers: 3")
    with started(tmp_path, sim, config) as gateway:

        def all_of_them(key, wanted):
            until_s, right = time.monotonic() + 20, 0
            while right < 24:  # connections of their own, spread over the workers by the kernel
                right = right + 1 if called(gateway, key) == wanted else 0
                assert time.monotonic() < until_s, f"not yet {wanted} everywhere: {called(gateway, key)}"

        key = api(gateway, "POST", "/keys", {"name": "a"}, 201)["key"]
        all_of_them("anything", (401, "invalid_api_key"))
        all_of_them(key, (200, ""))
        for number in range(8):
            api(gateway, "POST", "/teams", {"name": f"t{number}"}, 201)
            names = [one["name"] for one in api(gateway, "GET", "/teams")["data"]]
            assert f"t{number}" in names, "whoever is asked has what was answered before"
        api(gateway, "PUT", "/budgets/key/a", {"limit_usd": "1"})
        all_of_them(key, (200, ""))
        api(gateway, "PUT", "/budgets/key/a", {"limit_usd": "0.000000001"})
        all_of_them(key, (402, "budget-too-small"))
        api(gateway, "PUT", "/budgets/key/a", {"limit_usd": "1"})
        all_of_them(key, (200, ""))
        api(gateway, "PATCH", "/keys/a", {"team": "t3", "models": ["anthropic/*"]})
        all_of_them(key, (403, "model_not_allowed"))
        api(gateway, "DELETE", "/keys/a")
        all_of_them(key, (401, "invalid_api_key"))
        assert len(api(gateway, "GET", "/audit?kind=key")["data"]) == 6
        gateway.config.write_text(config.replace("SIM", sim.url) + "# another\n", encoding="utf-8")
        api(gateway, "POST", "/reload")
        assert len(api(gateway, "GET", "/audit?kind=config")["data"]) == 1
