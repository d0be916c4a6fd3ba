"""What reads a SQLite file only says so of a ledger in PostgreSQL, and what to do instead: no stack trace, no password."""

import pytest

from penstock.base.errors import ConfigFault
from penstock.cli.main import run
from penstock.ledger.fold import fold

PLACE = "postgresql://penstock:hush-hush@127.0.0.1:1/ledger"


@pytest.fixture
def bill(tmp_path):
    """An export that can be read."""
    path = tmp_path / "bill.csv"
    path.write_text("day,model,input_tokens,output_tokens,cost_usd\n2026-11-01,gpt-4o-mini,1,1,1\n")
    return str(path)


@pytest.mark.parametrize("named", [PLACE, "env.SOME_LEDGER"])
@pytest.mark.parametrize(
    ("words", "code", "instead"),
    [
        (("cost", "--by", "stage"), 1, "--by model --where stage=NAME"),
        (("cost", "--by", "stage", "--where", "meta:sku=1", "--json"), 1, "--by trace"),
        (("cost", "--trace", "t1", "--csv"), 1, "--where trace=ID"),
        (("reconcile", "BILL"), 2, "penstock cost --by day --where provider=NAME"),
    ],
)
def test_postgresql_is_refused(capsys, monkeypatch, bill, named, words, code, instead):
    """Before anything is asked there: nobody listens at that address."""
    monkeypatch.setenv("SOME_LEDGER", PLACE)
    assert run([bill if word == "BILL" else word for word in words] + ["--db", named]) == code
    said = capsys.readouterr()
    assert "needs a ledger in a SQLite file; this one is in PostgreSQL." in said.err
    assert instead in said.err
    assert said.err.count("\n") == 1
    assert "hush-hush" not in said.out + said.err


def test_nothing_is_folded_in_postgresql():
    """Nor taken for a file of that name."""
    with pytest.raises(ConfigFault, match="Folding into rollups needs a ledger in a SQLite file"):
        fold(PLACE)
