<<<<<<< HEAD
"""``penstock check`` names every fault with its place and its remedy, readable at any width."""
=======
"""``penstock check`` says all faults at once, readably at 80 columns, and exits 0 or 1."""
>>>>>>> heads/conf

import json

import pytest

<<<<<<< HEAD
FAULTY = """\
providers:
  openai:
    keys:
      - {value: env.OPENAI_KEY_OF_THE_RESEARCH_DEPARTMENT_THAT_IS_NOT_SET, name: primary, weight: 0.7}
      - {value: env.ANOTHER_KEY_THAT_IS_NOT_SET, name: primary}
    network: {base_url: "ftp://example.com"}
  made_up_provider:
    keys: [{value: env.ONE_MORE_KEY_THAT_IS_NOT_SET}]
fallbacks:
  - primary: openai/gpt-4o-mini
    secondary: antropic/claude-haiku-4-5
virtual_keys:
  - {name: research, key: env.RESEARCH_KEY_THAT_IS_NOT_SET, models: ["opnai/*"]}
=======
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
>>>>>>> heads/conf
"""


@pytest.fixture
<<<<<<< HEAD
def faulty(tmp_path):
    """A configuration with many faults."""
    path = tmp_path / "penstock.yaml"
    path.write_text(FAULTY, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("columns", [60, 80, 200, None])
def test_many_faults_are_readable(faulty, screen, columns):
    """Path, what is wrong and what to write instead stand whole, in that order, for each fault."""
    _, out = screen.show(columns, "check", faulty, "--json")
    faults = json.loads(out)["faults"]
    assert len(faults) >= 5
    code, out = screen.show(columns, "check", faulty)
    assert code == 1
    assert f"penstock.yaml: {len(faults)} faults" in out
    text, place = " ".join(out.split()), 0
    for fault in faults:
        for words in (fault["path"], fault["message"], fault["remedy"]):
            place = text.index(" ".join(words.split()), place)
    assert "\\" not in out  # no markup artefacts: "keys\\[0]"
    assert "…" not in out
    if columns is None:
        assert sum(line.strip() in {fault["path"] for fault in faults} for line in out.splitlines()) == len(
            faults
        )
    else:
        # Neither the file's name nor a path is ever folded: they are searched for.
        paths = [fault["path"] for fault in faults]
        folded = [line for line in out.splitlines()[1:] if line.strip() not in paths]
        assert max(map(len, folded)) <= columns


def test_a_sound_configuration_says_so(tmp_path, screen, monkeypatch):
    """One sentence, exit 0."""
    path = tmp_path / "penstock.yaml"
    path.write_text("providers:\n  openai:\n    keys: [{value: env.K}]\n", encoding="utf-8")
    monkeypatch.setenv("K", "sk-1")
    lines = screen.lines(80, "check", str(path))
    assert "no faults. 1 provider, 1 key, 0 chains" in " ".join(lines)
=======
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
        ("chain.yaml", "2 providers, 3 keys, 1 chain, 0 routes, 0 virtual keys."),
        ("route.yaml", "3 providers, 4 keys, 0 chains, 1 route, 0 virtual keys."),
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


@pytest.mark.parametrize("columns", [200, 80, 60])
def test_every_fault_is_readable_at_any_width(broken, capsys, monkeypatch, columns):
    """Places stand whole on their own line; sentences fold between words and stay within the terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run(["check", broken]) == 1
    out = capsys.readouterr().out
    lines = [line.rstrip() for line in out.splitlines()]
    for place in (
        "$.providers.openai.network.base_url",
        "$.providers.openai.keys[0].value",
        "$.providers.anthropic.keys[0].value",
        "$.providers.a-provider-with-a-long-name.network.retry.backoff_max_ms",
        "$.routes[0].primary",
    ):
        assert f"  {place}" in lines
    assert (
        max(len(line) for line in lines if not line.lstrip().startswith("$") and broken not in line)
        <= columns
    )
    flat = " ".join(out.split())
    assert "5 faults" in flat
    assert "1 warning" in flat
    assert "The price of openai/no-such-model-here is not known." in flat
    assert "'opnai' is not configured. Did you mean openai/[red]x?" in flat


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
>>>>>>> heads/conf
