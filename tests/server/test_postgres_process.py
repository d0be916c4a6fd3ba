"""Gateways on one PostgreSQL: the whole process, the command line, and a server that is restarted under them."""

import json
import os
import subprocess
import sys
import time

import psycopg
import pytest

from penstock.simulate import running_simulator
from tests.server.process import WAIT_S, GatewayProcess, command
from tests.servers import PASSWORD

CONFIG = """
providers:
  openai:
    keys: [{value: env.SOME_KEY}]
    network: {base_url: "SIM/p/openai/v1"}
ledger: {url: env.LEDGER_URL, flush_ms: 20}
"""


@pytest.fixture(scope="module")
def sim():
    """One simulator for all gateways of this file."""
    with running_simulator() as simulator:
        yield simulator


def gateway(folder, sim, url):
    """A gateway whose ledger is where its configuration says."""
    folder.mkdir(exist_ok=True)
    made = GatewayProcess(folder, CONFIG.replace("SIM", sim.url), {"SOME_KEY": "sk-some", "LEDGER_URL": url})
    made.db = None
    return made


def ids(url):
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("SELECT request_id FROM penstock.calls")}


def until(true):
    until_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_two_gateways_share_one_ledger(sim, postgres_url, tmp_path):
    """Each finds the other's calls; the tables count both; the password is in no log."""
    with gateway(tmp_path / "a", sim, postgres_url) as one, gateway(tmp_path / "b", sim, postgres_url) as two:
        made = [who.chat().headers["x-request-id"] for who in (one, two) for _ in range(5)]
        until(lambda: ids(postgres_url) == set(made))
        reply = one.ask(f"/v1/generation?id={made[-1]}")
        assert (reply.status, json.loads(reply.body)["data"]["request_id"]) == (200, made[-1])
        assert two.ask("/v1/generation?id=nobody").status == 404
        measured = one.ask("/metrics")
        assert (measured.status, b"penstock_cost_per_render{" in measured.body) == (200, True)
        assert b"penstock_requests_total{" in measured.body
        assert two.terminate() == 0
    assert PASSWORD not in "\n".join([*one.lines, *two.lines])
    env = {"LEDGER_URL": postgres_url}
    rows = json.loads(command("cost", "--by", "provider", "--json", "--db", "env.LEDGER_URL", env=env).stdout)
    assert [(row["provider"], row["calls"]) for row in rows] == [("openai", 10)]
    table = json.loads(command("cost", "--by", "stage", "--json", "--db", "env.LEDGER_URL", env=env).stdout)
    assert [(row["stage"], row["calls"]) for row in table["rows"]] == [("", 10)]
    steps = json.loads(
        command("cost", "--trace", made[0], "--json", "--db", "env.LEDGER_URL", env=env).stdout
    )
    assert [step["entry"] for step in steps["rows"]] == [f"{made[0]}/1"]
    bill = tmp_path / "bill.csv"
    bill.write_text("day,model,cost_usd\n2026-01-01,gpt-4o-mini,5\n")
    compared = command("reconcile", str(bill), "--json", "--db", "env.LEDGER_URL", env=env)
    assert compared.returncode == 1
    assert [one["reason"] for one in json.loads(compared.stdout)["differences"]] == ["missing-in-ledger"]
    told = command("explain", made[0], "--db", "env.LEDGER_URL", env=env)
    assert made[0] in told.stdout
    unknown = command("explain", "nobody", "--db", postgres_url)
    assert unknown.returncode == 1
    assert PASSWORD not in unknown.stderr
    assert "127.0.0.1" in unknown.stderr


def test_a_server_restarted_in_mid_run_loses_nothing(sim, postgres_server, postgres_url, tmp_path):
    """Calls go on while it is away, /ready says why, and all are stored afterwards."""
    with gateway(tmp_path, sim, postgres_url) as one:
        made = [one.chat().headers["x-request-id"] for _ in range(5)]
        postgres_server.stop(now=True)
        try:
            made += [one.chat().headers["x-request-id"] for _ in range(20)]
            until(lambda: one.ask("/ready").status == 503)
            said = one.ask("/ready").body.decode()
            assert "ledger" in said
            assert PASSWORD not in said
            assert one.ask(f"/v1/generation?id={made[-1]}").status == 200
        finally:
            postgres_server.start()
        until(lambda: one.ask("/ready").status == 200)
        made += [one.chat().headers["x-request-id"] for _ in range(5)]
        assert one.terminate() == 0
    assert ids(postgres_url) == set(made)


def test_a_gateway_killed_in_mid_write_keeps_what_was_stored(sim, postgres_url, tmp_path):
    """kill -9 under load: what another connection has seen stays, nothing is torn or double, and the next start works."""
    seen = set()
    for turn in range(3):
        with gateway(tmp_path / str(turn), sim, postgres_url) as one:
            for _ in range(15):
                one.chat()
            before = len(seen)
            until(lambda before=before: len(ids(postgres_url)) > before)
            seen |= ids(postgres_url)
            for _ in range(3):
                one.chat()
            one._process.kill()
    with gateway(tmp_path / "last", sim, postgres_url) as one:
        seen.add(one.chat().headers["x-request-id"])
        assert one.terminate() == 0
    assert ids(postgres_url) >= seen
    with psycopg.connect(postgres_url) as connection:
        torn = connection.execute(
            "SELECT count(*) FROM penstock.entries e FULL JOIN penstock.calls c USING (request_id) "
            "WHERE e.id IS NULL OR c.at_ms IS NULL"
        ).fetchone()[0]
    assert torn == 0


def test_an_acknowledged_post_outlives_kill_9(sim, postgres_url, tmp_path):
    """The answer comes once the rows are committed: killed right after it, they are there, and a repetition is none."""
    for turn in range(3):
        with gateway(tmp_path / str(turn), sim, postgres_url) as one:
            entries = [
                {"id": f"e{number}", "trace": "t", "unit": "renders", "quantity": 1, "usd_per_unit": "0.5"}
                for number in range(turn + 2)
            ]
            reply = one.ask("/v1/ledger/entries", {"entries": entries})
            one._process.kill()
            assert json.loads(reply.body) == {
                "accepted": 2 if turn == 0 else 1,
                "duplicates": turn and turn + 1,
            }
            with psycopg.connect(postgres_url) as connection:
                kept = connection.execute("SELECT count(*), sum(cost_nusd) FROM penstock.entries").fetchone()
            assert kept == (turn + 2, (turn + 2) * 500_000_000)


def test_the_start_says_that_the_server_cannot_be_reached(sim, tmp_path):
    """A fault with its path and remedy, not a traceback, and no password."""
    one = gateway(tmp_path, sim, "postgresql://penstock:hush-hush@127.0.0.1:1/ledger")
    one.start()
    assert one.join() == 1
    said = "\n".join(one.lines)
    assert "$.ledger.url" in said
    assert "Traceback" not in said
    assert "hush-hush" not in said


def test_doctor_says_whether_the_ledger_can_be_reached(sim, postgres_url, tmp_path):
    """With the server's version; else why not."""
    path = tmp_path / "penstock.yaml"
    path.write_text(CONFIG.replace("SIM", sim.url), encoding="utf-8")
    env = {"SOME_KEY": "sk-some", "LEDGER_URL": postgres_url}
    done = command("doctor", "--config", str(path), "--json", env=env)
    (check,) = [one for one in json.loads(done.stdout) if one["what"] == "reach the ledger"]
    assert check["ok"]
    assert "PostgreSQL" in check["found"]
    assert PASSWORD not in done.stdout + done.stderr
    env["LEDGER_URL"] = "postgresql://penstock:hush-hush@127.0.0.1:1/ledger"
    done = command("doctor", "--config", str(path), "--json", env=env)
    (check,) = [one for one in json.loads(done.stdout) if one["what"] == "reach the ledger"]
    assert not check["ok"]
    assert "hush-hush" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("mysql://localhost/x", "not PostgreSQL"),
        ("postgresql://me:hush-hush@localhost/x", "password must not stand"),
        ("postgresql://me@localhost/x?password=hush-hush", "password must not stand"),
        ("env.NOT_SET_ANYWHERE", "not set"),
        ("env.ANOTHER", "not PostgreSQL"),
    ],
)
def test_a_faulty_url_is_a_fault_of_the_configuration(tmp_path, value, word):
    """Said by penstock check with its path; what was written is not repeated."""
    path = tmp_path / "penstock.yaml"
    path.write_text(f'ledger: {{url: "{value}"}}\n', encoding="utf-8")
    done = command("check", str(path), env={"ANOTHER": "redis://:hush-hush@localhost"})
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "$.ledger.url" in said
    assert word in " ".join(said.split())
    assert "hush-hush" not in said


def test_a_file_needs_no_postgresql(tmp_path):
    """Neither psycopg nor Alembic is loaded for a ledger in a file."""
    script = (
        "import sys; from penstock.ledger.opening import open_journal\n"
        "open_journal(sys.argv[1], flush_ms=5, max_queue=10).close()\n"
        "print(sorted({'psycopg', 'alembic', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "penstock.db")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_budget_that_is_new_begins_with_the_ledger_in_postgresql(tmp_path, sim, postgres_url):
    """Its state is a file beside where the ledger's would be; what was spent before stands in the database."""
    key = {"authorization": "Bearer vk-budgeted"}
    env = {"SOME_KEY": "sk-some", "LEDGER_URL": postgres_url, "CALLER_KEY": "vk-budgeted"}
    ledger = f"ledger: {{url: env.LEDGER_URL, path: {tmp_path}/penstock.db}}"
    config = CONFIG.replace("SIM", sim.url).replace("ledger: {url: env.LEDGER_URL, flush_ms: 20}", ledger)
    callers = "virtual_keys: [{name: budgeted, key: env.CALLER_KEY%s}]\n"
    # A call costs $0.00001, and holds three times as much: with five of them spent there is no room for another.
    budget = ', budgets: [{limit_usd: "0.00006", period: month}]'
    for more, statuses in (("", [200] * 5), (budget, [402])):
        made = GatewayProcess(tmp_path, config + callers % more, env)
        made.db = None
        with made as process:
            assert [process.chat(headers=key, max_tokens=16).status for _ in statuses] == statuses
            assert process.terminate() == 0
    assert (tmp_path / "penstock.db.state").exists()
