"""``penstock check`` names every fault with its place and its remedy, readable at any width."""

import json

import pytest

from penstock.config.catalogue import Catalogue
from penstock.config.load import load_text
from penstock.wiring import extras
from penstock.wiring.extras import installed, missing_extras

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


EXTRAS = """\
providers:
  bedrock:
    location: eu-central-1
    aws: {access_key_id: env.ID, secret_access_key: env.SECRET}
  pairs:
    dialect: bedrock
    location: us-east-1
    keys: [{value: env.PLAIN}, {value: env.PAIR}]
  plain:
    dialect: bedrock
    location: us-east-1
    keys: [{value: env.PLAIN}]
  openai:
    keys: [{value: env.PAIR}]
    tokenizer: tokenizer.json
"""
ENVIRON = {"ID": "AKIA1", "SECRET": "hidden-1", "PAIR": "AKIA2:hidden-2", "PLAIN": "an-api-key"}
NEEDED = ["$.providers.bedrock.aws", "$.providers.pairs.keys[1].value", "$.providers.openai.tokenizer"]


def test_a_library_that_is_not_installed_is_a_fault(tmp_path):
    """Where it is needed and nowhere else; the secrets are not repeated."""
    catalogue = Catalogue.load()
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    loaded = load_text(EXTRAS, tmp_path, ENVIRON, catalogue, "2026-11-21")
    assert loaded.faults == []
    faults = missing_extras(loaded, catalogue, lambda _: False)
    assert [fault.path for fault in faults] == NEEDED
    assert ["penstock[bedrock]" in fault.remedy for fault in faults] == [True, True, False]
    assert "penstock[tokenizers]" in faults[2].remedy
    assert "hidden" not in str(faults)
    assert missing_extras(loaded, catalogue, lambda _: True) == []
    assert (installed("json"), installed("no_such_library")) == (True, False)


def test_check_refuses_what_serve_would(tmp_path, screen, monkeypatch):
    """Exit 1, the path and the remedy."""
    path = tmp_path / "penstock.yaml"
    path.write_text(EXTRAS, encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    code, out = screen.show(None, "check", str(path), "--json")
    told = json.loads(out)
    assert (code, told["ok"], [fault["path"] for fault in told["faults"]]) == (1, False, NEEDED)


def test_check_finds_a_cache_that_cannot_be_kept(tmp_path, screen):
    """Each with its path: no folder, a folder, somebody's document, a file in the way; and a good place is none."""
    (tmp_path / "a-folder").mkdir()
    (tmp_path / "document.txt").write_text("mine " * 40, encoding="utf-8")
    for place, why in (
        ("missing/cache.db", "no folder"),
        ("a-folder", "it is a folder"),
        ("document.txt", "another program's"),
        ("document.txt/cache.db", "no folder"),
        ("cache.db", ""),
        ("memory", ""),
    ):
        path = tmp_path / "penstock.yaml"
        path.write_text(f"cache: {{exact: {{enabled: true}}, path: {place}}}\n", encoding="utf-8")
        code, out = screen.show(None, "check", str(path), "--json")
        faults = json.loads(out)["faults"]
        assert (code, [fault["path"] for fault in faults]) == ((1, ["$.cache.path"]) if why else (0, []))
        assert why in str(faults)
    assert (tmp_path / "document.txt").read_text(encoding="utf-8") == "mine " * 40
    assert not (tmp_path / "cache.db").exists(), "check makes nothing"


def test_check_finds_an_embedder_that_is_not_there(tmp_path, screen):
    """A folder without a model; the words of doctor."""
    (tmp_path / "empty").mkdir()
    path = tmp_path / "penstock.yaml"
    path.write_text(
        "semantic_cache: {enabled: true, similarity_threshold: 0.94, embedder: ./empty}\n", encoding="utf-8"
    )
    code, out = screen.show(None, "check", str(path), "--json")
    (fault,) = json.loads(out)["faults"]
    assert (code, fault["path"]) == (1, "$.semantic_cache.embedder")
    assert "empty" in fault["message"]
