"""The cost of a render as a metric: the ledger's last hour, by stage and currency, and nothing that is not known."""

import asyncio
import os
import threading
import time
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.config.catalogue import Catalogue
from penstock.config.load import load_text
from penstock.ledger.currency import Rate
from penstock.ledger.journal import Journal
from penstock.ledger.opening import open_journal, open_ledger
from penstock.ledger.rows import read_record
from penstock.observe.metrics import Metrics
from penstock.server import render_costs
from penstock.server.render_costs import MAX_STAGES, WINDOW_MS, RenderCosts, read
from tests.ledger.make import AT_MS, entry, record

EUR = Rate("EUR", "1.08", "2026-11-20")


def ledger(path, *records):
    """A ledger with these records."""
    journal = Journal(path)
    for one in records:
        journal.add(one)
    journal.close()
    return path


@pytest.fixture
def path(tmp_path):
    """Two renders of two stages, one older, a call without a stage, one of unknown price."""
    rows = [
        entry(f"{stage}{n}", trace_id=f"t{n}", stage=stage) for n in range(2) for stage in ("plan", "denoise")
    ]
    rows.append(entry("lost", trace_id="t0", stage="plan", klass="billed_not_delivered"))
    rows.append(entry("old", trace_id="old", stage="upscale", at_ms=AT_MS - WINDOW_MS))
    rows.append(entry("free", trace_id="t1", stage="store", row=None))
    return ledger(str(tmp_path / "penstock.db"), *(record(row.request_id, row) for row in rows))


def test_the_last_hour_by_stage_and_currency(path):
    """Failures are in it; the hour before, and what has no price, are not."""
    assert read(path, AT_MS + 1, (EUR,)) == {
        ("USD", "plan"): "0.000405",
        ("USD", "denoise"): "0.00027",
        ("EUR", "plan"): "0.000375",
        ("EUR", "denoise"): "0.00025",
    }
    assert read(path, AT_MS + 2 * WINDOW_MS, (EUR,)) == {}


def test_a_ledger_that_cannot_be_read_gives_nothing(tmp_path):
    """Not known is not 0."""
    assert read(str(tmp_path / "none.db"), AT_MS, ()) == {}


def test_a_server_that_is_away_gives_nothing():
    """As a file that is not there."""
    assert read("postgresql://penstock:hush-hush@127.0.0.1:1/ledger", AT_MS, ()) == {}


def test_postgresql_has_it_too(path, postgres_url):
    """The same figures of the same entries."""
    journal = open_journal(postgres_url, flush_ms=5, max_queue=1000)
    with closing(open_ledger(path)) as file:
        for (request_id,) in file.execute("SELECT request_id FROM calls").fetchall():
            journal.add(read_record(file, request_id))
    journal.close()
    assert read(postgres_url, AT_MS + 1, (EUR,)) == read(path, AT_MS + 1, (EUR,)) != {}


def test_a_slow_ledger_holds_no_scrape_up(tmp_path, monkeypatch):
    """What takes too long is told at the next time; meanwhile it is not asked again."""
    config = load_text("", tmp_path, {}, Catalogue.load(), "2026-11-21").config
    go, asked = threading.Event(), []

    def slow(*words):
        asked.append(words)
        go.wait(20)
        return {("USD", "plan"): "0.5"}

    monkeypatch.setattr(render_costs, "read", slow)
    monkeypatch.setattr(render_costs, "WAIT_S", 0.01)
    metrics, costs = Metrics(), RenderCosts()

    async def scrapes():
        await costs.refresh(metrics, "somewhere", config)
        await costs.refresh(metrics, "somewhere", config)
        assert b"penstock_cost_per_render{" not in metrics.render()
        go.set()
        while b"penstock_cost_per_render{" not in metrics.render():
            await costs.refresh(metrics, "somewhere", config)

    asyncio.run(scrapes())
    assert len(asked) == 1


def test_callers_cannot_fill_the_metrics_with_stages(tmp_path):
    """The dearest have series of their own, the others one together; the sum stays."""
    rows = []
    for n in range(MAX_STAGES + 30):
        row = entry(f"r{n}", trace_id="t", stage=f"s{n}")
        row.cost_nusd = 1_000_000 - n
        rows.append(record(f"r{n}", row))
    series = read(ledger(str(tmp_path / "penstock.db"), *rows), AT_MS + 1, ())
    assert len(series) == MAX_STAGES + 1
    assert series["USD", "s0"] == "0.001"
    assert series["USD", "other"] == "0.029998065"  # 30 of them: 30,000,000 - (50 + ... + 79) nano-dollars


def test_scrapes_read_it_once_in_a_while(tmp_path):
    """The second scrape finds the first one's figures; Prometheus reads them as they were written."""
    text = "currencies: {EUR: {usd: 1.08, date: 2026-11-20}}"
    config = load_text(text, tmp_path, {}, Catalogue.load(), "2026-11-21").config
    now = entry("now", trace_id="t", stage="plan", at_ms=round(time.time() * 1000) - 1000)
    path = ledger(str(tmp_path / "penstock.db"), record("now", now))
    metrics, costs = Metrics(), RenderCosts()
    asyncio.run(costs.refresh(metrics, path, config))
    first = metrics.render()
    assert b'\npenstock_cost_per_render{currency="EUR",stage="plan"} 0.00025\n' in first
    families = {one.name: one for one in text_string_to_metric_families(first.decode())}
    samples = families["penstock_cost_per_render"].samples
    assert {sample.labels["currency"]: sample.value for sample in samples} == {"USD": 0.00027, "EUR": 0.00025}
    os.unlink(path)
    asyncio.run(costs.refresh(metrics, path, config))
    assert metrics.render() == first
