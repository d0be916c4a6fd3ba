"""``penstock check`` names every fault with its place and its remedy, readable at any width."""

import json

import pytest

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
"""


@pytest.fixture
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


def test_teams_and_budgets_are_counted(tmp_path, screen):
    """Those of users, too."""
    path = tmp_path / "penstock.yaml"
    path.write_text(
        "organisations: [{name: o, budgets: [{limit_usd: 1}]}]\n"
        "teams: [{name: t}, {name: u, budgets: [{limit_usd: 1}]}]\n"
        f"virtual_keys: [{{name: k, key: 'sha256:{'ab' * 32}', users: [{{name: '*', budgets: [{{limit_usd: 1}}]}}]}}]\n",
        encoding="utf-8",
    )
    said = " ".join(" ".join(screen.lines(80, "check", str(path))).split())
    assert "1 virtual key, 1 organisation, 2 teams, 3 budgets." in said


def test_a_sound_configuration_says_so(tmp_path, screen, monkeypatch):
    """One sentence, exit 0."""
    path = tmp_path / "penstock.yaml"
    path.write_text("providers:\n  openai:\n    keys: [{value: env.K}]\n", encoding="utf-8")
    monkeypatch.setenv("K", "sk-1")
    lines = screen.lines(80, "check", str(path))
    assert "no faults. 1 provider, 1 key, 0 chains" in " ".join(lines)
