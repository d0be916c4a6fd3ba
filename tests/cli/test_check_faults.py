"""``penstock check`` says all faults at once, readably at 80 columns, and exits 0 or 1."""

import json

import pytest

from penstock.cli.main import run
from tests.config.make import FIXTURES, TODAY, catalogue
from tests.config.test_secrets import PLAIN

ENV = ("OPENAI_KEY_PRIMARY", "OPENAI_KEY_BACKUP", "OPENAI_KEY_SECONDARY", "ANTHROPIC_KEY", "STABILITY_KEY")
BROKEN = f"""
providers:
  openai: {{keys: [{{value: env.PENSTOCK_UNSET_KEY}}], network: {{base_url: "h/v1"}}}}
  anthropic: {{keys: [{{value: {PLAIN}}}]}}
  a-provider-with-a-long-name: {{dialect: openai, network: {{base_url: "https://h/v1", retry: {{backoff_max_ms: 1}}}}}}
routes: [{{id: "[bold]r[/]", primary: "opnai/[red]x", fallbacks: [openai/no-such-model-here]}}]
"""


@pytest.fixture
def keys(monkeypatch):
    """Every key of the fixtures is set."""
    for name in ENV:
        monkeypatch.setenv(name, f"value-of-{name}")


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text(BROKEN)
    return str(path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "chain.yaml",
            "2 providers, 3 keys, 1 chain, 0 routes, 0 virtual keys, 0 organisations, 0 teams, 0 budgets.",
        ),
        (
            "route.yaml",
            "3 providers, 4 keys, 0 chains, 1 route, 0 virtual keys, 0 organisations, 0 teams, 0 budgets.",
        ),
    ],
)
def test_a_sound_file_is_exit_0(keys, capsys, monkeypatch, name, said):
    """And what it holds is counted."""
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["check", str(FIXTURES / name)]) == 0
    assert f"no faults. {said}" in capsys.readouterr().out


def test_an_unset_variable_is_a_fault(keys, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_KEY_BACKUP")
    monkeypatch.setenv("ANTHROPIC_KEY", "")
    assert run(["check", str(FIXTURES / "chain.yaml")]) == 1
    out = capsys.readouterr().out
    assert "2 faults" in out
    assert "OPENAI_KEY_BACKUP is not set" in " ".join(out.split())
    assert "ANTHROPIC_KEY is empty" in " ".join(out.split())


def test_no_secret_is_repeated(broken, capsys):
    """Neither in text nor in JSON."""
    run(["check", broken])
    run(["check", broken, "--json"])
    out, err = capsys.readouterr()
    assert PLAIN not in out + err
    assert PLAIN[:12] not in out + err


def test_json_is_for_programs(broken, capsys):
    """ok, faults, warnings; each with path, message, remedy."""
    assert run(["check", broken, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], len(found["faults"]), len(found["warnings"])) == (False, 5, 1)
    assert all(set(fault) == {"path", "message", "remedy"} for fault in found["faults"] + found["warnings"])


def test_json_of_a_sound_file(keys, capsys):
    assert run(["check", str(FIXTURES / "chain.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["faults"]) == (True, [])


def test_warnings_alone_are_exit_0(tmp_path, capsys, monkeypatch):
    """A model that was retired: said, and served all the same."""
    monkeypatch.setenv("K", "k")
    old = next(f for f in catalogue().find("openai/") if f.provider == "openai" and "" < f.retires < TODAY)
    path = tmp_path / "old.yaml"
    path.write_text(
        f"providers: {{openai: {{keys: [{{value: env.K}}]}}}}\nroutes: [{{id: r, primary: openai/{old.model}}}]"
    )
    assert run(["check", str(path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"openai/{old.model} was retired on {old.retires}" in out
    assert "no faults" in out


def test_a_missing_file_is_a_fault(tmp_path, capsys):
    assert run(["check", str(tmp_path / "nowhere.yaml")]) == 1
    assert "There is no file" in capsys.readouterr().out
