"""``penstock reconcile``: exit 0 where the books agree, 1 where they do not, 2 where a file cannot be read."""

import json
from datetime import UTC, datetime

import pytest

from penstock.ledger.journal import Journal
from tests.ledger.make import AT_MS, entry, record
from tests.ledger.test_exports import OPENAI_COST, OPENAI_USAGE

DAY = datetime.fromtimestamp(AT_MS // 1000, UTC).date().isoformat()


@pytest.fixture
def ledger(tmp_path):
    """Two delivered calls of 1,000 tokens in and 200 out: $0.00027 each."""
    path = tmp_path / "penstock.db"
    journal = Journal(str(path))
    for name in ("r1", "r2"):
        journal.add(record(name, entry(name)))
    journal.close()
    return str(path)


def export(tmp_path, *lines):
    path = tmp_path / "export.csv"
    path.write_text("\n".join(("day,model,input_tokens,output_tokens,cost_usd", *lines)) + "\n")
    return str(path)


def test_books_that_agree(screen, tmp_path, ledger):
    """One sentence: what was compared, in which days, and both sums."""
    path = export(tmp_path, f"{DAY},gpt-4o-mini-2024-07-18,2000,400,0.00054")
    code, text = screen.show(100, "reconcile", path, "--db", ledger, "--provider", "openai")
    assert code == 0
    said = " ".join(text.split())
    assert f"{DAY} to {DAY} (UTC days), 1 compared, 0 differ. Export $0.00054, ledger $0.00054." in said


def test_books_that_do_not(screen, tmp_path, ledger):
    """Each difference with its reason; the tolerance decides what is one."""
    path = export(tmp_path, f"{DAY},gpt-4o-mini,2500,400,0.00064", f"{DAY},gpt-5,7,7,2")
    words = ("reconcile", path, "--db", ledger, "--provider", "openai", "--json")
    code, text = screen.show(None, *words)
    assert code == 1
    found = json.loads(text)
    assert [(one["model"], one["reason"]) for one in found["differences"]] == [
        ("gpt-5", "missing-in-ledger"),
        ("gpt-4o-mini", "tokens-differ"),
    ]
    assert found["differences"][1]["ledger"] == {
        "input_tokens": 2000,
        "output_tokens": 400,
        "cost_nusd": 540_000,
        "entries": 2,
        "estimated": 0,
        "unknown_price": 0,
    }
    assert (found["export_nusd"], found["ledger_nusd"], found["timezone"]) == (2_000_640_000, 540_000, "UTC")
    loose = (*words, "--tolerance-percent", "20", "--tolerance-usd", "3")
    assert screen.show(None, *loose)[0] == 0
    assert "tokens-differ" in screen.show(120, *words[:-1])[1]


def test_two_exports_of_one_provider(screen, tmp_path, ledger):
    """OpenAI's usage and its cost are joined; without --provider the export says whose it is."""
    (tmp_path / "usage.csv").write_text(OPENAI_USAGE)
    (tmp_path / "cost.csv").write_text(OPENAI_COST)
    words = ("reconcile", str(tmp_path / "usage.csv"), str(tmp_path / "cost.csv"), "--db", ledger, "--json")
    code, text = screen.show(None, *words)
    found = json.loads(text)
    assert code == 1
    assert found["providers"] == ["openai"]
    assert [one["shape"] for one in found["exports"]] == ["openai-usage", "openai-cost"]
    mini = next(one for one in found["differences"] if one["model"] == "gpt-4o-mini")
    assert (mini["export"]["input_tokens"], mini["export"]["cost_nusd"]) == (7162, 100_123_457)
    assert mini["reason"] == "missing-in-ledger"


@pytest.mark.parametrize(
    "options",
    [("--tolerance-usd", "cheap"), ("--tolerance-percent", "-1"), ("--tolerance-usd", "NaN"), ()],
)
def test_a_wrong_call(screen, options):
    """Said before anything is read."""
    words = ["reconcile", "none.csv", *options] if options else ["reconcile"]
    with pytest.raises(SystemExit) as caught:
        screen.show(None, *words)
    assert caught.value.code == 2


def test_what_cannot_be_read(screen, tmp_path, ledger, capsys):
    """A missing export or ledger, a file of something else: 2, so that a job can tell it from a difference."""
    good = export(tmp_path, f"{DAY},m,1,1,1")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00\x80")
    for words in (
        (str(tmp_path / "none.csv"), "--db", ledger),
        (str(tmp_path / "other.csv"), "--db", ledger),
        (str(tmp_path / "bytes.csv"), "--db", ledger),
        (good, "--db", str(tmp_path / "none.db")),
    ):
        assert screen.show(None, "reconcile", *words)[0] == 2
