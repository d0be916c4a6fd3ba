"""``penstock keys|teams|organisations|budgets|audit``: at a running gateway, and at its store; errors say what to do."""

import json
import socket
import time
from collections.abc import Iterator

import pytest

from penstock.simulate import Simulator, running_simulator
from tests.server.process import GatewayProcess, command

KEYS = {"OPENAI_KEY": "sk-openai-000000000001", "PENSTOCK_ADMIN_KEY": "admin-secret-9000"}
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY, name: main}]
    network: {base_url: "SIM/p/openai/v1"}
teams: [{name: declared, budgets: [{limit_usd: 5, period: day}]}]
server: {admin_key: env.PENSTOCK_ADMIN_KEY, drain_timeout_ms: 2000}
"""


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def folder(tmp_path, sim):
    """With the gateway's configuration in it."""
    (tmp_path / "penstock.yaml").write_text(CONFIG.replace("SIM", sim.url), encoding="utf-8")
    return tmp_path


def started(folder):
    return GatewayProcess(folder, (folder / "penstock.yaml").read_text(encoding="utf-8"), KEYS)


def done(*words):
    """A command that must succeed: what it printed."""
    ended = command(*words, env=KEYS)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout


def refused(*words, env=KEYS):
    """A command that must fail with a sentence: what it said."""
    ended = command(*words, env=env)
    assert ended.returncode == 1, (ended.stdout, ended.stderr)
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    return ended.stderr


def at(folder):
    """The store, by the gateway's configuration and ledger."""
    return ["--config", str(folder / "penstock.yaml"), "--db", str(folder / "penstock.db")]


def status(gateway, key):
    return gateway.chat(headers={"authorization": f"Bearer {key}"}).status


def becomes(gateway, key, wanted):
    """A gateway follows what was changed at its store: within a second, and this machine is slow."""
    until_s = time.monotonic() + 15
    while status(gateway, key) != wanted:
        assert time.monotonic() < until_s, f"still not {wanted}"
        time.sleep(0.05)


@pytest.mark.parametrize("way", ["url", "store"])
def test_a_key_lives_through_its_whole_life(folder, way):
    """Made, listed, changed, rotated, revoked, recorded: the same words, with a gateway's URL or at its store."""
    with started(folder) as gateway:
        to = ["--url", gateway.url] if way == "url" else at(folder)
        done("organisations", "new", "acme", *to)
        done("teams", "new", "search", "--organisation", "acme", "--set", "models=[openai/*]", *to)
        key = done("keys", "new", "research", "--team", "search", "--set", "tags.kind=batch", *to).strip()
        becomes(gateway, "anything", 401)  # the first key closes what was open until then
        assert status(gateway, key) == 200
        listed = done("keys", *to)
        assert "research" in listed
        assert "in force" in listed
        assert key not in listed
        (view,) = json.loads(done("keys", "list", "--json", *to))
        assert (view["team"], view["tags"]) == ("search", {"kind": "batch"})
        done("budgets", "set", "--team", "search", "--limit-usd", "100", "--period", "week", *to)
        done(
            "budgets",
            "set",
            "--key",
            "research",
            "--limit-usd",
            "7.5",
            "--mode",
            "soft",
            "--overdraft-percent",
            "5",
            *to,
        )
        rows = json.loads(done("budgets", "--json", *to))
        told = [(row["kind"], row["of"], row["name"], row["limit_usd"], row["mode"]) for row in rows]
        assert told == [
            ("team", "declared", "day", "5", "hard"),
            ("team", "search", "week", "100", "hard"),
            ("key", "research", "month", "7.5", "soft"),
        ]
        shown = done("budgets", "--team", "search", *to)
        assert "$100" in shown
        assert "week, UTC" in shown
        assert "declared" not in shown
        if way == "url":
            row = next(row for row in rows if row["of"] == "declared")
            assert row["left_usd"] == "5"
            assert f"until {row['window_until'][:16]}Z" in done("budgets", "--team", "declared", *to)
        late = command("keys", "new", "late", "--expires", "2020-01-01", *to, env=KEYS)
        assert (late.returncode, "has no effect" in late.stderr) == (0, True)
        assert "expired 2020-01-01" in " ".join(done("keys", *to).split())
        done("keys", "revoke", "late", *to)
        done("keys", "set", "research", "--unset", "tags", "--expires", "2099-01-01", *to)
        view = json.loads(done("keys", "show", "research", *to))
        assert (view["tags"], view["expires"]) == ({}, "2099-01-01")
        second = done("keys", "rotate", "research", "--grace", "1h", *to).strip()
        becomes(gateway, second, 200)
        assert status(gateway, key) == 200
        assert "old key until" in done("keys", *to)
        third = json.loads(done("keys", "rotate", "research", "--grace", "0s", "--json", *to))["key"]
        becomes(gateway, third, 200)
        assert (status(gateway, key), status(gateway, second)) == (401, 401)
        done("budgets", "remove", "--key", "research", "--period", "month", *to)
        done("keys", "revoke", "research", *to)
        becomes(gateway, third, 401)
        done("teams", "remove", "search", *to)
        actions = [row["action"] for row in json.loads(done("audit", "--json", "--kind", "key", *to))]
        assert actions == [
            "key.revoked", "key.changed", "key.rotated", "key.rotated", "key.changed", "key.revoked", "key.created",
            "key.changed", "key.created",
        ]  # fmt: skip
        table = done("audit", "--limit", "3", *to)
        assert "team.removed" in table
        assert ("admin key" in table) == (way == "url")


def test_keys_can_be_made_before_the_first_start(folder):
    """Nobody listens yet; the gateway that starts on the ledger has them, behind any address."""
    made = command("keys", "new", "first", *at(folder), env={})
    assert made.returncode == 0, "no secret of the configuration is needed for it"
    assert "there is no ledger at" in made.stderr
    key = made.stdout.strip()
    with started(folder) as gateway:
        assert status(gateway, key) == 200
        assert status(gateway, "anything") == 401
    with GatewayProcess(folder, gateway.config.read_text(), KEYS, "--host", "0.0.0.0") as gateway:
        gateway.terminate()


def test_what_is_wrong_at_the_store_is_said(folder):
    """Field and remedy, exit 1; nothing is stored by any of it."""
    to = at(folder)
    done("keys", "new", "mine", *to)
    before = done("audit", "--json", *to)
    wrong = [
        (["keys", "new", "n", "--team", "declard"], "team"),
        (["keys", "new", "mine"], "There is a virtual key 'mine' already."),
        (["keys", "new"], "Whose? new needs a name. penstock keys new NAME"),
        (["keys", "new", "n", "--set", "models"], "--set takes FIELD=VALUE"),
        (["keys", "new", "n", "--set", "models=[a"], "it is no YAML value"),
        (["keys", "new", "n", "--set", "modles=[a]"], "Did you mean 'models'?"),
        (["keys", "new", "n", "--set", "tags=x", "--set", "tags.a=b"], "'tags' was set to a value before"),
        (["keys", "set", "mien", "--team", "declared"], "Did you mean 'mine'?"),
        (["keys", "rotate", "mine", "--grace", "soon"], "Write 30m, 24h or 7d."),
        (["keys", "show", "nobody"], "penstock keys list"),
        (["teams", "set", "declared", "--set", "tags={}"], "declared in the configuration"),
        (["budgets", "set", "--limit-usd", "5"], "Name one of --key, --team and --organisation."),
        (["budgets", "set", "--key", "mine"], "limit_usd"),
        (["budgets", "set", "--key", "mine", "--limit-usd", "lots"], "$.limit_usd"),
        (["budgets", "set", "--key", "mine", "--limit-usd", "5", "--period", "fortnight"], "$.period"),
        (["budgets", "remove", "--key", "mine"], "Which budget?"),
        (["budgets", "remove", "--key", "mine", "--budget", "x"], "It has none."),
    ]
    for words, said in wrong:
        assert said in refused(*words, *to), words
    assert done("audit", "--json", *to) == before


def test_whose_keys_must_be_said(tmp_path, monkeypatch):
    """In a folder without a configuration: an error with the three ways, and no file is made."""
    monkeypatch.chdir(tmp_path)
    said = refused("keys", "new", "n")
    assert all(word in said for word in ("--url", "--config", "--db"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "penstock.yaml").write_text("providers: {opnai: {}}")
    assert "penstock check" in refused("keys", "new", "n")
    (tmp_path / "penstock.yaml").write_text("ledger: {url: env.NO_SUCH_LEDGER}")
    assert "NO_SUCH_LEDGER is not set" in refused("keys", "new", "n")
    assert [path.name for path in tmp_path.iterdir()] == ["penstock.yaml"]


def test_a_gateway_that_does_not_answer_is_said(folder, sim):
    """None there, another program there, no admin API, a wrong key, no key, a key in plain."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    said = refused("keys", "list", "--url", nobody)
    assert f"No gateway answers at {nobody}" in said
    assert "leave --url away" in said
    assert "has no admin API" in refused("keys", "--url", f"{sim.url}/nowhere")
    assert "--url" in refused("keys", "--url", "127.0.0.1:8080")
    assert "--db does not go with --url" in refused("keys", "--url", nobody, "--db", "x")
    said = refused("keys", "--url", nobody, env={})
    assert "PENSTOCK_ADMIN_KEY is not set" in said
    said = refused("keys", "--url", nobody, "--admin-key", "admin-secret-9000")
    assert "admin-secret-9000" not in said
    assert "env.NAME" in said
    with started(folder) as gateway:
        said = refused("keys", "--url", gateway.url, env={"PENSTOCK_ADMIN_KEY": "wrong"})
        assert "This is not the admin key." in said
        assert "--admin-key" in said
        assert "There is a virtual key" not in refused("keys", "new", "a/b", "--url", gateway.url)
        gateway.terminate()
    bare = (folder / "penstock.yaml").read_text().replace("admin_key: env.PENSTOCK_ADMIN_KEY, ", "")
    with GatewayProcess(folder, bare, KEYS) as gateway:
        said = refused("keys", "--url", gateway.url)
        assert "has no admin API. Set server.admin_key" in said


def test_two_gateways_on_one_postgres_have_one_set_of_keys(folder, postgres_url):
    """Made at one, in force at the other; revoked at the store, refused at both; there after both are gone."""
    bare = (folder / "penstock.yaml").read_text()
    env = {**KEYS, "LEDGER": postgres_url}

    def node(name):
        place = folder / name
        place.mkdir(exist_ok=True)
        made = GatewayProcess(place, f"{bare}ledger: {{url: env.LEDGER, path: {place}/own.db}}\n", env)
        made.db = None
        return made

    with node("one") as one, node("two") as two:
        key = command("keys", "new", "shared", "--url", one.url, env=env).stdout.strip()
        assert status(one, key) == 200
        becomes(two, key, 200)
        to = ["--config", str(one.config)]
        assert "shared" in command("keys", *to, env=env).stdout
        gone = command("keys", "revoke", "shared", *to, env=env)
        assert gone.returncode == 0
        assert postgres_url.split(":")[2].split("@")[0] not in gone.stdout + gone.stderr
        becomes(one, key, 401)
        becomes(two, key, 401)
        second = command("keys", "new", "shared", *to, env=env).stdout.strip()
    with node("one") as again:
        assert status(again, second) == 200
        assert status(again, key) == 401


def test_a_gateway_may_be_named_once_for_all_commands(folder):
    """PENSTOCK_URL, as for the meter and the cache's commands; --url, and a store that is named, come before it."""
    with started(folder) as gateway:
        env = {**KEYS, "PENSTOCK_URL": gateway.url}
        made = command("keys", "new", "once", env=env)
        assert (made.returncode, f"In force at {gateway.url}" in made.stderr) == (0, True), made.stderr
        for words in (["keys"], ["teams"], ["organisations"], ["budgets"], ["audit"]):
            listed = command(*words, "--json", env=env)
            assert listed.returncode == 0, listed.stderr
        assert "once" in command("keys", env=env).stdout
        key = {**env, "VIRTUAL_KEY": made.stdout.strip()}
        assert "There are no batches" in command("batches", "--key", "env.VIRTUAL_KEY", env=key).stdout
        nobody = {**KEYS, "PENSTOCK_URL": "http://127.0.0.1:1"}
        assert command("keys", "--url", gateway.url, env=nobody).returncode == 0
        assert "once" in command("keys", *at(folder), env=nobody).stdout
        for words in (["keys"], ["batches"], ["cache", "stats"]):
            assert "127.0.0.1:1" in refused(*words, env=nobody)
        assert "name --config or --db" in refused("keys", env=nobody)
        for words in (["keys"], ["batches"], ["cache", "stats"]):
            assert "$PENSTOCK_URL: " in refused(*words, env={**KEYS, "PENSTOCK_URL": "nowhere:80"})
