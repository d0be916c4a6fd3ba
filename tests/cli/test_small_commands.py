"""``keys new`` and ``doctor``."""

import hashlib
import json
import re

import pytest

from penstock.cli.main import run
from penstock.simulate import running_simulator
from tests.config.make import sound


def test_keys_new_prints_a_fresh_key_and_its_configuration(capsys):
    """Different each time, long enough not to be guessed; what configures it is its hash alone."""
    keys = set()
    for _ in range(3):
        assert run(["keys", "new", "research", "--print"]) == 0
        out = capsys.readouterr().out
        key = out.splitlines()[0]
        assert re.fullmatch(r"psk-[\w-]{43}", key)
        assert out.count(key) == 1
        assert f"key: sha256:{hashlib.sha256(key.encode()).hexdigest()}" in out
        keys.add(key)
    assert len(keys) == 3


@pytest.mark.parametrize(
    "name",
    [
        "research",
        "a team",
        "7even",
        "équipe",
        "yes",
        "a: b",
        "#1",
        "null",
        '"quoted"',
        "tab\there",
        "-",
        "水",
    ],
)
def test_the_configuration_that_keys_prints_is_sound_for_any_name(capsys, name):
    """Its YAML loads, names the holder as given, and holds the key's hash."""
    assert run(["keys", "new", f"--name={name}", "--print"]) == 0
    out = capsys.readouterr().out
    wanted = "sha256:" + hashlib.sha256(out.splitlines()[0].encode()).hexdigest()
    block = out[out.index("  virtual_keys:") :]
    config = sound("\n".join(line[2:] for line in block.splitlines()), {})
    assert [(one.name, one.key) for one in config.virtual_keys] == [(name, wanted)]


def test_keys_new_as_json(capsys):
    assert run(["keys", "new", "a b", "--print", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["name"] == "a b"
    assert made["hash"] == "sha256:" + hashlib.sha256(made["key"].encode()).hexdigest()


def test_doctor_offline_says_what_is_installed(capsys, monkeypatch):
    """Exit 0, within 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["doctor", "--offline"]) == 0
    out = capsys.readouterr().out
    for word in ("penstock", "python", "sqlite", "catalogue", "msgspec", "uvloop"):
        assert word in out
    assert max(map(len, out.splitlines())) <= 80


def test_doctor_says_each_fault_of_a_configuration(tmp_path, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text("providers: {openai: {keys: [{value: env.PENSTOCK_UNSET}]}, opnai: {}}")
    assert run(["doctor", "--config", str(path), "--offline", "--json"]) == 1
    checks = json.loads(capsys.readouterr().out)
    bad = [check["found"] for check in checks if not check["ok"]]
    assert len(bad) == 2
    assert any("PENSTOCK_UNSET is not set" in found for found in bad)


def test_doctor_reaches_providers_and_signs_in(tmp_path, capsys, monkeypatch):
    """A provider that listens, one that does not, and Google's sign-in."""
    monkeypatch.setenv("K", "k")
    with running_simulator() as sim:
        account = sim.make_service_account(tmp_path)
        path = tmp_path / "penstock.yaml"
        path.write_text(f"""
providers:
  up: {{dialect: openai, keys: [{{value: env.K}}], network: {{base_url: "{sim.url}/v1"}}}}
  down: {{dialect: openai, keys: [{{value: env.K}}], network: {{base_url: "http://127.0.0.1:9/v1"}}}}
  vertex: {{project: p, location: global, credentials: "file:{account}", network: {{base_url: "{sim.url}"}}}}
""")
        assert run(["doctor", "--config", str(path), "--json"]) == 1
        checks = {check["what"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["configuration"]["ok"]
    assert (checks["reach up"]["ok"], checks["reach down"]["ok"]) == (True, False)
    assert checks["sign in vertex"]["ok"]
    assert "ya29" not in str(checks)
