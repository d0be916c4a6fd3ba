"""What differs between the ledger and an export is listed with its reason; what agrees within the tolerance is not."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from penstock.base.usage import Usage
from penstock.ledger.exports import PACIFIC, Export, ExportRow
from penstock.ledger.journal import Journal
from penstock.ledger.reading import open_reader
from penstock.ledger.reconcile import (
    Figures,
    LedgerDay,
    Tolerance,
    as_json,
    ledger_figures,
    reconcile,
    span_ms,
)
from tests.ledger.make import entry, record

DAY = "2026-11-21"
EXACT = Tolerance(0, 0)
USUAL = Tolerance()


def export(*rows: ExportRow, timezone: str = "UTC") -> Export:
    return Export("generic", (), timezone, rows)


def theirs(model="m", key="", tokens=(100, 10), nusd=1_000_000_000, day=DAY) -> ExportRow:
    return ExportRow(day, model, "", key, *(tokens or (None, None)), nusd)


def ours(model="m", key="", tokens=(100, 10), nusd=1_000_000_000, day=DAY, **more) -> LedgerDay:
    return LedgerDay(day, model, "openai", key, Figures(*tokens, nusd, more.pop("entries", 5), **more))


def reasons(rows, days, tolerance=USUAL):
    return [one.reason for one in reconcile([export(*rows)], days, tolerance).differences]


@pytest.mark.parametrize(
    ("row", "day", "reason"),
    [
        (theirs(), ours(), None),
        (theirs(), ours(tokens=(101, 10), nusd=1_009_000_000), None),
        (theirs(), None, "missing-in-ledger"),
        (None, ours(), "missing-in-export"),
        (theirs(), ours(tokens=(150, 10), nusd=1_500_000_000), "tokens-differ"),
        (theirs(), ours(tokens=(100, 12)), "tokens-differ"),
        (theirs(), ours(nusd=1_500_000_000), "price-differs"),
        (theirs(tokens=None), ours(nusd=1_500_000_000), "price-differs"),
        (theirs(), ours(tokens=(150, 10), nusd=1_500_000_000, estimated=1), "estimated-usage"),
        (theirs(), ours(nusd=500_000_000, unknown_price=2), "unknown-price"),
        (theirs(), ours(nusd=0, unknown_price=5, estimated=1), "unknown-price"),
        (theirs(nusd=None), ours(nusd=0, unknown_price=5), None),
        (theirs(nusd=None), ours(nusd=9_000_000_000), None),
        (theirs(nusd=None), None, "missing-in-ledger"),
        (theirs(nusd=9_000_000, tokens=None), None, None),
        (None, ours(nusd=9_000_000), None),
        (None, ours(nusd=0, unknown_price=5), "missing-in-export"),
        (theirs(nusd=0), ours(nusd=9_999_999), None),
        (theirs(nusd=0), ours(nusd=10_000_001), "price-differs"),
    ],
)
def test_each_difference_has_its_reason(row, day, reason):
    """The first that fits; a difference counts above both tolerances, and what is not known is not compared."""
    found = reasons([row] if row else [theirs("other", nusd=0)], [day] if day else [])
    assert found == ([reason] if reason else [])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["2026-11-20", DAY]),
            st.sampled_from(["a", "b"]),
            st.integers(0, 10**6),
            st.integers(0, 10**6),
            st.integers(0, 10**12),
        ),
        max_size=12,
    )
)
def test_a_ledger_agrees_with_itself(rows):
    """Exported as it stands, in any order and any cut, nothing differs, to the last token and nano-dollar."""
    exported = [theirs(model, tokens=(i, o), nusd=nusd, day=day) for day, model, i, o, nusd in rows]
    days = [ours(model, tokens=(i, o), nusd=nusd, day=day) for day, model, i, o, nusd in reversed(rows)]
    found = reconcile([export(*exported)], days, EXACT)
    assert found.differences == ()
    assert found.ledger_nusd == sum(row[4] for row in rows)
    assert found.export_nusd == (sum(row[4] for row in rows) if rows else None)


@given(st.integers(1, 10**12), st.integers(0, 10**12), st.integers(0, 10_000), st.integers(0, 10**9))
def test_a_tolerance_is_exact(their_nusd, our_nusd, percent, nusd):
    """In hundredths of a per cent and nano-dollars; no float decides."""
    tolerance = Tolerance(percent * 10_000, nusd)
    within = abs(their_nusd - our_nusd) <= nusd or abs(their_nusd - our_nusd) * 10_000 <= percent * their_nusd
    assert tolerance.cost(their_nusd, our_nusd) == within
    found = reasons([theirs(nusd=their_nusd)], [ours(nusd=our_nusd)], tolerance)
    assert found == ([] if within else ["price-differs"])


def test_usage_and_cost_exports_are_joined():
    """One says tokens, the other dollars: together they are compared in both, and neither hides what the other says."""
    usage, cost = export(theirs(nusd=None)), export(theirs(tokens=None), theirs("n", tokens=None))
    assert [one.reason for one in reconcile([usage, cost], [ours()], USUAL).differences] == [
        "missing-in-ledger"
    ]
    (one,) = reconcile([usage, export(theirs(tokens=None))], [ours(tokens=(200, 10))], USUAL).differences
    assert one.reason == "tokens-differ"


def test_keys_are_compared_only_where_both_know_them():
    """Names of the ledger's own: by key. Anything else: summed up."""
    rows = [theirs(key="A"), theirs(key="B", nusd=2_000_000_000)]
    days = [ours(key="A", nusd=2_000_000_000), ours(key="B")]
    found = reconcile([export(*rows)], days, USUAL)
    assert found.by_key
    assert [(one.key, one.reason) for one in found.differences] == [
        ("A", "price-differs"),
        ("B", "price-differs"),
    ]
    foreign = [structs.replace(row, key=f"key_{row.key}") for row in rows]
    assert not reconcile([export(*foreign)], days, USUAL).by_key
    assert reasons(foreign, days) == []


def test_the_dearest_difference_of_a_day_comes_first():
    """Days in order; within one, by what is at stake."""
    rows = [theirs("a", nusd=2_000_000_000), theirs("b", nusd=9_000_000_000), theirs("c", day="2026-11-20")]
    found = reconcile([export(*rows)], [], USUAL)
    assert [one.model for one in found.differences] == ["c", "b", "a"]
    assert as_json(found)["differences"][0]["ledger"] is None


def ms(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.fixture
def path(tmp_path):
    """A real ledger: two days and a failure, a cut call, an unknown price, another provider, own costs."""
    path = str(tmp_path / "penstock.db")
    journal = Journal(path)
    fields = {"provider_key": "MAIN"}
    cut = Usage(input=1000, cache_read=500, output=50, source="estimated")
    journal.add(record("r1", entry("r1", at_ms=ms("2026-11-21T00:00:00"), **fields)))
    journal.add(record("r2", entry("r2", at_ms=ms("2026-11-21T23:59:59"), usage=cut, **fields)))
    journal.add(record("r3", entry("r3", at_ms=ms("2026-11-22T00:00:00"), row=None, **fields)))
    journal.add(record("r4", entry("r4", at_ms=ms("2026-11-21T05:00:00"), klass="failed", **fields)))
    journal.add(record("r5", entry("r5", at_ms=ms("2026-11-21T05:00:00"), provider="vertex")))
    journal.add(record("r6", entry("r6", at_ms=ms("2026-11-21T05:00:00"), provider="own", klass="own_cost")))
    journal.close()
    return path


def test_the_ledger_is_summed_by_the_export_s_days(path):
    """UTC by day: the whole prompt, cached included; estimates and unknown prices counted; failures and own costs not."""
    span = span_ms([export(theirs(day=DAY), theirs(day="2026-11-22"))])
    assert span == (ms("2026-11-21T00:00:00"), ms("2026-11-23T00:00:00"))
    connection = open_reader(path)
    found = ledger_figures(connection, ("openai",), "UTC", span)
    by_day: dict[str, list[Figures]] = {}
    for day in found:
        assert (day.model, day.provider, day.key) == ("gpt-4o-mini", "openai", "MAIN")
        by_day.setdefault(day.day, []).append(day.figures)
    first, cut = by_day[DAY]
    assert (first.input_tokens, first.output_tokens, first.cost_nusd) == (1000, 200, 1000 * 150 + 200 * 600)
    assert (cut.input_tokens, cut.estimated, cut.cost_nusd) == (1500, 1, 1000 * 150 + 500 * 75 + 50 * 600)
    (unknown,) = by_day["2026-11-22"]
    assert (unknown.cost_nusd, unknown.unknown_price, unknown.entries) == (0, 1, 1)
    everyone = ledger_figures(connection, (), "UTC", span)
    assert {day.provider for day in everyone} == {"openai", "vertex"}
    connection.close()


def test_google_s_days_are_pacific(path):
    """Midnight UTC is still yesterday there; the span begins and ends at Pacific midnights, an hour apart in summer."""
    span = span_ms([export(theirs(day="2026-11-20"), timezone=PACIFIC)])
    assert span == (ms("2026-11-20T08:00:00"), ms("2026-11-21T08:00:00"))
    change = span_ms([export(theirs(day="2026-11-01"), timezone=PACIFIC)])
    assert change is not None
    assert change[1] - change[0] == 25 * 3_600_000
    connection = open_reader(path)
    found = ledger_figures(connection, (), PACIFIC, span)
    connection.close()
    assert {day.day for day in found} == {"2026-11-20"}
    assert {day.provider for day in found} == {"openai", "vertex"}


def test_an_export_without_rows_has_no_span():
    """Nothing to ask the ledger for."""
    assert span_ms([export()]) is None
