"""What asks a ledger in PostgreSQL that does not answer says so in one line: no stack trace, no password."""

import pytest

from penstock.cli.main import run

PLACE = "postgresql://penstock:hush-hush@127.0.0.1:1/ledger"


@pytest.mark.parametrize("named", [PLACE, "env.SOME_LEDGER"])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("cost", "--by", "stage"), 1),
        (("cost", "--by", "stage", "--where", "meta:sku=1", "--json"), 1),
        (("cost", "--trace", "t1", "--csv"), 1),
        (("cost", "--by", "team"), 1),
        (("reconcile", "BILL"), 2),
    ],
)
def test_it_is_said(capsys, monkeypatch, tmp_path, named, words, code):
    """By every table."""
    bill = tmp_path / "bill.csv"
    bill.write_text("day,model,input_tokens,output_tokens,cost_usd\n2026-11-01,gpt-4o-mini,1,1,1\n")
    monkeypatch.setenv("SOME_LEDGER", PLACE)
    assert run([str(bill) if word == "BILL" else word for word in words] + ["--db", named]) == code
    said = capsys.readouterr()
    assert "The ledger postgresql://penstock@127.0.0.1:1/ledger cannot be opened" in said.err
    assert said.err.count("\n") == 1
    assert "hush-hush" not in said.out + said.err
