"""``penstock cost`` prints what was spent, and never shows an unknown price as 0."""

import csv
import io
import json

import pytest

from penstock.base.errors import BadRequest
from penstock.cli.cost import moment_ms
from penstock.cli.main import run
from penstock.ledger.journal import Journal
from tests.ledger.make import AT_MS, entry, record


@pytest.fixture
def db(tmp_path, monkeypatch):
    """A ledger with two providers, one of them without prices."""
    monkeypatch.setenv("COLUMNS", "160")
    path = str(tmp_path / "penstock.db")
    journal = Journal(path)
    journal.add(record("r1", entry("r1", meta={"sku": "12"})))
    journal.add(record("r2", entry("r2", 1), entry("r2", 2, row=None)))
    journal.add(record("r3", entry("r3", provider="local", model="llama", row=None)))
    journal.close()
    return path


def test_the_table_says_what_is_not_known(db, capsys):
    """Known sums in exact dollars, unknown prices in words."""
    assert run(["cost", "--db", db]) == 0
    lines = {
        line.split("│")[1].strip(): line
        for line in capsys.readouterr().out.splitlines()
        if line.count("│") > 5
    }
    assert "$0.00054 + 1 with unknown price" in lines["openai"]
    assert lines["local"].rstrip(" │").endswith("unknown price")
    assert "$0" not in lines["local"]
    assert "$0.00054 + 2 with unknown price" in lines["total"]


@pytest.mark.parametrize("columns", [200, 100, 80, 60, 40, 20, None])
def test_money_is_never_cut(db, screen, columns):
    """However narrow the terminal: counts go, names fold, and what went is said; a pipe gets everything."""
    code, out = screen.show(columns, "cost", "--db", db, "--by", "model")
    assert code == 0
    assert "…" not in out
    assert "$0.00054 + 1 with unknown price" in out
    assert "$0.00054 + 2 with unknown price" in out
    assert ("hint: no room for" in " ".join(out.split())) == (columns is not None and columns < 118)


def test_json_is_for_programs(db, capsys):
    """Integers, exact text, and the count of unknown prices."""
    assert run(["cost", "--db", db, "--by", "provider", "--where", "provider=openai", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {
        "provider": "openai",
        "calls": 2,
        "entries": 3,
        "input": 3000,
        "output": 600,
        **dict.fromkeys(("cache_read", "cache_write_5m", "cache_write_1h", "input_audio", "input_image"), 0),
        **dict.fromkeys(("reasoning", "output_audio", "output_image"), 0),
        "cost_nusd": 540_000,
        "cost_usd": "0.00054",
        "entries_with_unknown_price": 1,
        "saved_nusd": 0,
    }


def test_csv_is_for_spreadsheets(db, capsys):
    """A header and one line per group, with no totals among them."""
    assert run(["cost", "--db", db, "--by", "meta:sku", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["meta:sku"], row["calls"], row["cost_nusd"]) for row in rows] == [
        ("", "2", "270000"),
        ("12", "1", "270000"),
    ]


def test_since_and_until(db, capsys):
    """Dates cut the time."""
    assert run(["cost", "--db", db, "--since", "2026-11-18", "--until", "2026-11-19", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert run(["cost", "--db", db, "--since", "2026-11-19", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run(["cost", "--db", db, "--since", "2026-11-19"]) == 0
    assert "no entries" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", AT_MS - 7 * 86_400_000),
        ("24h", AT_MS - 86_400_000),
        ("30m", AT_MS - 1_800_000),
        ("2w", AT_MS - 14 * 86_400_000),
        ("2026-11-01", 1_793_491_200_000),
        ("2026-11-01T02:00:00+02:00", 1_793_491_200_000),
    ],
)
def test_moments(text, expected):
    """Spans count back from now; dates are UTC unless they say otherwise."""
    assert moment_ms(text, "--since", now_s=lambda: AT_MS / 1000) == expected


@pytest.mark.parametrize("text", ["yesterday", "7 fortnights", "", "2026-13-01"])
def test_what_is_no_moment_is_said(text):
    """A slip names the option and shows how to write it."""
    with pytest.raises(BadRequest, match="--since") as caught:
        moment_ms(text, "--since")
    assert "7d" in caught.value.hint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--by", "providr"], "no dimension 'providr'"),
        (["--where", "provider"], "KEY=VALUE"),
        (["--since", "soon"], "--since does not understand"),
    ],
)
def test_slips_exit_1_with_a_sentence(db, capsys, words, said):
    """Nothing on stdout, what to do on stderr."""
    assert run(["cost", "--db", db, *words]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


def test_no_ledger_exits_1(tmp_path, capsys):
    """A missing file is named and not made."""
    path = tmp_path / "none.db"
    assert run(["cost", "--db", str(path)]) == 1
    assert str(path) in capsys.readouterr().err
    assert not path.exists()
