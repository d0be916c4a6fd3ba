"""``penstock cost --by stage``, ``--trace``, ``--class``, ``--currency`` and the exports, from a ledger to the last line."""

import csv
import io
import json
import sys

import pytest
from pyarrow import parquet

from penstock.cli.main import run
from penstock.ledger.entry import Line
from penstock.ledger.journal import Journal
from tests.ledger.make import AT_MS, entry, record

HOUR_MS = 3_600_000
CONFIG = """
providers: {openai: {keys: [{value: env.OPENAI_KEY}]}}
compute: {h100: {usd_per_hour: 2.49, owned: 4}, spare: {usd_per_hour: 1, owned: 0}}
currencies: {EUR: {usd: 1.08, date: 2026-11-20}}
"""
WINDOW = ["--since", "2026-11-18T11:00:00", "--until", "2026-11-18T12:00:00"]
START_MS = 1_795_000_000_000 // HOUR_MS * HOUR_MS
"""2026-11-18T11:00:00Z, the hour of AT_MS."""


def own(name, trace, stage, at_ms, gpu_us, cost_nusd):
    """GPU time, as a posted own cost is stored."""
    made = entry(
        name, trace_id=trace, stage=stage, at_ms=at_ms, klass="own_cost", provider="own", model="h100"
    )
    made.lines = (Line("gpu_us", gpu_us, 691_666_667, 1_000_000, "own", "provider", cost_nusd),)
    made.cost_nusd, made.latency_ms = cost_nusd, gpu_us / 1000
    return record(name, made)


@pytest.fixture
def db(tmp_path, monkeypatch):
    """Two renders: a plan, a denoising; one plan was hung up on; one call has no stage and no price."""
    monkeypatch.setenv("COLUMNS", "180")
    monkeypatch.setenv("OPENAI_KEY", "made-up")
    path = str(tmp_path / "penstock.db")
    (tmp_path / "penstock.yaml").write_text(CONFIG)
    journal = Journal(path)
    for n, trace in enumerate(("render-1", "render-2")):
        at_ms = AT_MS + n * 10_000
        journal.add(
            record(f"p{n}", entry(f"p{n}", trace_id=trace, stage="plan", at_ms=at_ms, latency_ms=500.0))
        )
        journal.add(own(f"d{n}", trace, "denoise", at_ms + 500, 2_000_000, 1_383_333))
    lost = entry(
        "x", trace_id="render-1", stage="plan", klass="billed_not_delivered", error_code="caller_gone"
    )
    journal.add(record("x", lost))
    journal.add(record("y", entry("y", row=None, at_ms=AT_MS + 30_000)))
    journal.close()
    return path


def shown(capsys, *words):
    """The command's JSON."""
    assert run(["cost", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_table_of_stages(db, capsys):
    """What each stage cost, one more render, and a render with everything; unknown prices are said."""
    told = shown(capsys, "--db", db, "--by", "stage")
    rows = {row["stage"]: row for row in told["rows"]}
    assert set(rows) == {"plan", "denoise", ""}
    plan, denoise = rows["plan"], rows["denoise"]
    assert (plan["calls"], plan["renders"], plan["cost_nusd"], plan["marginal_nusd"]) == (
        3,
        2,
        810_000,
        540_000,
    )
    assert (denoise["calls"], denoise["renders"], denoise["cost_nusd"]) == (2, 2, 2_766_666)
    assert rows[""]["entries_with_unknown_price"] == 1
    assert rows[""]["loaded_per_render_nusd"] is None
    assert (told["delivered_renders"], told["pools"]) == (3, None)
    assert plan["marginal_per_render_nusd"] == 180_000
    assert told["total"]["cost_nusd"] == 3_576_666
    assert told["total"]["wall_us"] == sum(row["wall_us"] for row in told["rows"])


def test_idle_time_of_owned_compute(db, tmp_path, capsys):
    """Four H100 for the window's hour, minus what was used, on the stage that used them."""
    told = shown(capsys, "--db", db, "--by", "stage", "--config", str(tmp_path / "penstock.yaml"), *WINDOW)
    rows = {row["stage"]: row for row in told["rows"]}
    assert told["window_ms"] == HOUR_MS
    (pool,) = told["pools"]
    assert (pool["paid_nusd"], pool["idle_nusd"]) == (9_960_000_000, 9_960_000_000 - 2_766_666)
    assert rows["denoise"]["loaded_nusd"] == 9_960_000_000
    assert rows["plan"]["loaded_nusd"] == rows["plan"]["cost_nusd"]


def test_a_part_bears_its_share_of_the_idle_time(db, tmp_path, capsys):
    """The half of the use bears half of it."""
    words = ["--db", db, "--by", "stage", "--config", str(tmp_path / "penstock.yaml"), *WINDOW]
    told = shown(capsys, *words, "--where", "trace=render-1", "--where", "stage=denoise")
    assert told["total"]["idle_nusd"] == (9_960_000_000 - 2_766_666) // 2


def test_the_table_for_people(db, tmp_path, capsys):
    """With a total, a name for what has no stage, and the sentence that says what is in it."""
    assert run(["cost", "--db", db, "--by", "stage"]) == 0
    said = capsys.readouterr().out
    assert "(no stage)" in said
    assert "unknown price" in said
    assert "3 delivered traces" in said
    assert "--config names the file" in said
    words = ["--config", str(tmp_path / "penstock.yaml"), "--currency", "EUR", *WINDOW]
    assert run(["cost", "--db", db, "--by", "stage", *words]) == 0
    said = capsys.readouterr().out
    assert "1 EUR = 1.08 USD on 2026-11-20" in said
    assert "h100: 4 owned for 1.0 h cost 9.222222222 EUR" in said
    assert "$" not in said


@pytest.mark.parametrize("columns", [180, 100, 60, 40, None])
def test_loaded_money_is_never_cut(db, screen, columns):
    """However narrow the terminal."""
    code, out = screen.show(columns, "cost", "--db", db, "--by", "stage")
    assert code == 0
    assert "…" not in out
    assert "$0.000922222" in out  # denoise, fully loaded


def test_an_outage_s_bill(db, capsys):
    """--class shows one class only; nothing was delivered in it, so no cost per render."""
    told = shown(capsys, "--db", db, "--by", "stage", "--class", "billed_not_delivered")
    assert [(row["stage"], row["cost_nusd"], row["per_render_nusd"]) for row in told["rows"]] == [
        ("plan", 270_000, None)
    ]
    (row,) = shown(capsys, "--db", db, "--class", "billed_not_delivered")
    assert (row["provider"], row["cost_nusd"]) == ("openai", 270_000)
    with pytest.raises(SystemExit) as caught:
        run(["cost", "--db", db, "--class", "lost"])
    assert caught.value.code == 2


def test_one_render_as_it_went(db, capsys):
    """Entries in order, from the first one's start."""
    told = shown(capsys, "--db", db, "--trace", "render-1")
    assert [(row["stage"], row["start_ms"], row["class"]) for row in told["rows"]] == [
        ("plan", 0, "delivered"),
        ("plan", 0, "billed_not_delivered"),
        ("denoise", 500, "own_cost"),
    ]
    assert (told["elapsed_ms"], told["cost_nusd"]) == (2500.0, 270_000 * 2 + 1_383_333)
    assert run(["cost", "--db", db, "--trace", "render-1"]) == 0
    said = capsys.readouterr().out
    assert "own/h100" in said
    assert "+0.500 s" in said
    assert "$0.001923333" in said
    assert run(["cost", "--db", db, "--trace", "nobody"]) == 1
    assert "no trace 'nobody'" in capsys.readouterr().err
    assert len(shown(capsys, "--db", db, "--trace", "y")["rows"]) == 1


def test_another_currency(db, tmp_path, capsys):
    """Exact text beside the dollars, with the rate and its day; an unknown code names those there are."""
    config = ["--config", str(tmp_path / "penstock.yaml")]
    rows = shown(capsys, "--db", db, "--where", "stage=plan", *config, "--currency", "eur")
    assert (rows[0]["cost_usd"], rows[0]["cost_eur"]) == ("0.00081", "0.00075")
    assert (rows[0]["usd_per_eur"], rows[0]["rate_date"]) == ("1.08", "2026-11-20")
    assert run(["cost", "--db", db, *config, "--currency", "GBP"]) == 1
    assert "Known: EUR" in capsys.readouterr().err
    assert run(["cost", "--db", db, "--currency", "EUR"]) == 1
    assert "--config" in capsys.readouterr().err


def test_the_configuration_that_is_here_is_meant(db, tmp_path, capsys, monkeypatch):
    """Its ledger and its owned compute, as ``keys`` and ``budgets`` do it; ``--db`` is another ledger."""
    folder = tmp_path / "here"
    folder.mkdir()
    text = (tmp_path / "penstock.yaml").read_text(encoding="utf-8")
    (folder / "penstock.yaml").write_text(f"{text}\nledger: {{path: {db}}}\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    told = shown(capsys, "--by", "stage", *WINDOW)
    assert told["total"]["calls"] > 0
    assert [pool["name"] for pool in told["pools"]] == ["h100"]
    assert run(["cost", "--db", "elsewhere.db"]) == 1
    assert "elsewhere.db" in capsys.readouterr().err


def test_a_faulty_configuration_is_said(db, tmp_path, capsys):
    """Its first fault, and where all are listed."""
    (tmp_path / "bad.yaml").write_text(CONFIG.replace("usd: 1.08", "usd: nothing"))
    assert run(["cost", "--db", db, "--config", str(tmp_path / "bad.yaml")]) == 1
    said = capsys.readouterr().err
    assert "penstock check" in said
    assert "rate" in said


def test_csv_of_the_stages(db, capsys):
    """One line for each stage, no total among them; what is not known is empty."""
    assert run(["cost", "--db", db, "--by", "stage", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["stage"]: row["cost_nusd"] for row in rows} == {
        "denoise": "2766666",
        "plan": "810000",
        "": "0",
    }
    assert [row["per_render_nusd"] for row in rows if row["stage"] == ""] == [""]
    assert run(["cost", "--db", db, "--trace", "render-2", "--csv"]) == 0
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == 2


def test_parquet(db, tmp_path, capsys):
    """The rows of the table, integers as integers."""
    path = str(tmp_path / "stages.parquet")
    assert run(["cost", "--db", db, "--by", "stage", "--parquet", path]) == 0
    assert "3 rows" in capsys.readouterr().err
    rows = parquet.read_table(path).to_pylist()
    assert {row["stage"]: row["cost_nusd"] for row in rows} == {"denoise": 2_766_666, "plan": 810_000, "": 0}
    assert run(["cost", "--db", db, "--parquet", str(tmp_path / "none" / "x.parquet")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "asked", [["--by", "provider"], ["--by", "stage"], ["--by", "stage", "--currency", "EUR"]]
)
def test_a_day_without_entries_has_the_columns_of_the_others(db, tmp_path, asked):
    """Of the same types, so that many files are read as one table."""
    tables, config = [], str(tmp_path / "penstock.yaml")
    for number, since in enumerate(([], ["--since", "2099-01-01", "--until", "2099-01-02"])):
        path = str(tmp_path / f"{number}.parquet")
        assert run(["cost", "--db", db, "--config", config, *asked, *since, "--parquet", path]) == 0
        tables.append(parquet.read_table(path))
    full, empty = tables
    assert full.num_rows > empty.num_rows
    assert empty.schema == full.schema
    assert {"string", "int64"} <= {str(field.type) for field in full.schema}
    assert "null" not in {str(field.type) for field in full.schema}


def test_a_trace_without_a_price_is_of_the_same_types(tmp_path):
    """A column of which nothing is known is no column of its own type."""
    path = str(tmp_path / "penstock.db")
    journal = Journal(path)
    journal.add(record("priced"))
    journal.add(record("other", entry("other", row=None)))
    journal.close()
    schemas = []
    for name in ("priced", "other"):
        out = str(tmp_path / f"{name}.parquet")
        assert run(["cost", "--db", path, "--trace", name, "--parquet", out]) == 0
        schemas.append(parquet.read_table(out).schema)
    assert schemas[0] == schemas[1]


def test_parquet_without_the_extra(db, tmp_path, capsys, monkeypatch):
    """It is said what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert run(["cost", "--db", db, "--parquet", str(tmp_path / "x.parquet")]) == 1
    assert "penstock[parquet]" in capsys.readouterr().err
