"""Own costs, from posted JSON to rows: exact, whole or not at all, counted once."""

import json
import sqlite3
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.base.money import Price
from penstock.ledger.entry import Entry
from penstock.ledger.journal import Journal
from penstock.ledger.own_costs import FIELDS, MAX_ENTRIES, Above, Rates, decode, rates_of, read_entries
from penstock.ledger.queries import cost
from penstock.ledger.reading import open_reader
from tests.config.make import loaded
from tests.ledger.make import record

RATES = Rates(
    {"h100": Price(2_490_000_000_000), "cpu": Price(120_000_000_000)},
    {"s3": Price(23_000_000_000)},
    {"cdn": Price(85_000_000_000)},
    "config-1",
)
NOW_MS = 1_795_000_000_000


def read(document, key="render"):
    """As the page reads it: from bytes."""
    return read_entries(decode(json.dumps(document).encode()), RATES, virtual_key=key, now_ms=NOW_MS)


def one(**fields):
    """The entry of a faultless post."""
    entries, faults = read({"id": "e1", **fields})
    assert faults == []
    (entry,) = entries
    return entry


def stored(path, sql, *bound):
    connection = open_reader(str(path))
    try:
        return connection.execute(sql, bound).fetchall()
    finally:
        connection.close()


# What it costs.


@pytest.mark.parametrize(
    ("fields", "line", "nusd"),
    [
        ({"compute": "h100", "gpu_seconds": 3600}, ("gpu_us", 3_600_000_000), 2_490_000_000),
        ({"compute": "h100", "duration_ms": 3_600_000}, ("gpu_us", 3_600_000_000), 2_490_000_000),
        ({"compute": "h100", "gpu_seconds": "1e-6"}, ("gpu_us", 1), 1),
        ({"compute": "h100", "gpu_seconds": 0}, ("gpu_us", 0), 0),
        ({"compute": "h100", "duration_ms": 10_000, "gpu_seconds": 80}, ("gpu_us", 80_000_000), 55_333_333),
        ({"storage": "s3", "gb_months": "1.5"}, ("byte_months", 1_500_000_000), 34_500_000),
        ({"egress": "cdn", "gb": 0.1}, ("bytes", 100_000_000), 8_500_000),
        ({"unit": "pages", "quantity": 3, "usd_per_unit": "0.0004"}, ("pages", 3), 1_200_000),
        ({"unit": "pages", "quantity": 3, "usd_per_unit": 0.1}, ("pages", 3), 300_000_000),
    ],
)
def test_what_it_costs_to_the_nano_dollar(fields, line, nusd):
    """By hand: $2.49 an hour is 0.69 nano-dollars a microsecond; 0.1 in JSON is a tenth, not the float beside it."""
    entry = one(**fields)
    assert (entry.lines[0].unit, entry.lines[0].quantity) == line
    assert entry.cost_nusd == entry.lines[0].cost_nusd == nusd
    assert (entry.klass, entry.provider, entry.usage_source) == ("own_cost", "own", "counted")


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=50))
def test_parts_of_an_hour_sum_to_the_hour(parts):
    """However GPU time is cut into entries, the sum is off by at most half a nano-dollar an entry."""
    total = sum(one(compute="h100", gpu_seconds=f"{us}e-6").cost_nusd for us in parts)
    exact_by_3600 = sum(parts) * 2_490
    assert abs(total * 3600 - exact_by_3600) <= len(parts) * 1800


def test_an_entry_says_whose_it_is_and_when():
    """Trace, stage, time, energy and metadata; what is not said is the event's own trace, now, and not known."""
    entry = one(compute="cpu", gpu_seconds=1, trace="r7", stage="mux", at="2026-11-21T16:00:00+01:00", joules=12.5,
                duration_ms=900, meta={"sku": "1"})  # fmt: skip
    assert (entry.trace_id, entry.stage, entry.virtual_key, entry.joules) == ("r7", "mux", "render", 12.5)
    assert (entry.at_ms, entry.latency_ms, entry.meta) == (1_795_273_200_000, 900.0, {"sku": "1"})
    bare = one(compute="cpu", gpu_seconds=1)
    assert (bare.trace_id, bare.at_ms, bare.joules, bare.meta) == (bare.request_id, NOW_MS, None, None)
    assert one(compute="cpu", gpu_seconds=1, at=1_795_273_200.5).at_ms == 1_795_273_200_500
    assert one(compute="cpu", gpu_seconds=1, at=None, gb=None).at_ms == NOW_MS  # null is not there


def test_who_stands_above_the_key_stands_on_its_entries():
    """Team and organisation, the sender's word for the user; the key's tags go before the sender's own metadata."""
    document = {
        "id": "e1",
        "compute": "cpu",
        "gpu_seconds": 1,
        "user": "anna",
        "meta": {"cost_centre": "mine", "sku": "1"},
    }
    above = Above("acme", "vision", {"cost_centre": "4711"})
    (entry,), faults = read_entries(document, RATES, virtual_key="k", now_ms=NOW_MS, above=above)
    assert faults == []
    assert (entry.organisation, entry.team, entry.virtual_key, entry.user) == ("acme", "vision", "k", "anna")
    assert entry.meta == {"cost_centre": "4711", "sku": "1"}
    (bare,), _ = read_entries(
        {"id": "e1", "compute": "cpu", "gpu_seconds": 1}, RATES, virtual_key="k", now_ms=NOW_MS
    )
    assert (bare.organisation, bare.team, bare.user, bare.meta) == ("", "", "", None)


def test_one_key_s_events_do_not_hide_another_s():
    """Also where names are chosen to collide."""
    ids = {
        read({"id": event, "compute": "cpu", "gpu_seconds": 1}, key)[0][0].id
        for key, event in [("a", "b:c"), ("a:b", "c"), ("a%3Ab", "c"), ("", "a:b:c"), ("a", "c")]
    }
    assert len(ids) == 5


def test_the_configuration_s_example_loads_and_prices():
    """Numbers as YAML has them, or in quotes."""
    text = (
        "compute: {h100: {usd_per_hour: 2.49, owned: 4}, cpu: {usd_per_hour: '0.12'}, mine: {usd_per_hour: 3}}\n"
        "storage: {s3: {usd_per_gb_month: 0.023}}\negress: {cdn: {usd_per_gb: 0.085}}\n"
    )
    config = loaded(text).config
    assert config is not None
    rates = rates_of(config, "1")
    assert {**rates.compute, **rates.storage, **rates.egress} == {
        "h100": Price(2_490_000_000_000, 1, "2.49"),
        "cpu": Price(120_000_000_000, 1, "0.12"),
        "mine": Price(3_000_000_000_000, 1, "3.0"),
        "s3": Price(23_000_000_000, 1, "0.023"),
        "cdn": Price(85_000_000_000, 1, "0.085"),
    }
    assert (config.compute["h100"].owned, config.compute["cpu"].owned) == (4, 0)


def test_prices_that_are_none_are_faults_of_the_configuration():
    """All at once, each at its place."""
    text = (
        "compute: {a: {usd_per_hour: -1}, b: {usd_per_hour: cheap}, c: {usd_per_hour: 1, owned: -1}, ' ': {usd_per_hour: 1}}\n"
        "storage: {s: {usd_per_gb_month: 1e9}}\negress: {e: {usd_per_gb: 1, per: 2}, f: {}}\n"
    )
    result = loaded(text)
    assert result.config is None
    assert {fault.path for fault in result.faults} == {
        "$.compute.a.usd_per_hour", "$.compute.b.usd_per_hour", "$.compute.c.owned", "$.compute. ",
        "$.storage.s.usd_per_gb_month", "$.egress.e.per", "$.egress.f.usd_per_gb",
    }  # fmt: skip


# What is refused.


@pytest.mark.parametrize(
    ("fields", "path", "said"),
    [
        ({"id": ""}, "id", "missing"),
        ({"id": 7}, "id", "no text"),
        ({"id": "x" * 201}, "id", "201 characters"),
        ({"id": "a\nb"}, "id", "printed"),
        ({"compute": "h10"}, "compute", "Did you mean 'h100'?"),
        ({"compute": "l40s"}, "compute", "Known: h100, cpu"),
        ({"gpu_secs": 1}, "gpu_secs", "Did you mean 'gpu_seconds'?"),
        ({"gpu_seconds": -1}, "gpu_seconds", "below 0"),
        ({"gpu_seconds": True}, "gpu_seconds", "no number"),
        ({"gpu_seconds": "NaN"}, "gpu_seconds", "no number"),
        ({"gpu_seconds": 10**18}, "gpu_seconds", "out of range"),
        ({"gb": 1}, "gb", "belongs to egress"),
        ({"at": 1_795_000_000_000}, "at", "not milliseconds"),
        ({"at": "yesterday"}, "at", "no time"),
        ({"meta": {"a": 1}}, "meta", "no text"),
        ({"meta": {str(i): "" for i in range(17)}}, "meta", "too many"),
        ({"joules": "hot"}, "joules", "no number"),
        ({"stage": "s" * 257}, "stage", "257"),
    ],
)
def test_a_faulty_field_is_named_with_a_remedy(fields, path, said):
    """Where, what, and what to write instead."""
    entries, faults = read({"id": "e1", "compute": "h100", "gpu_seconds": 1, **fields})
    assert entries == []
    (fault,) = faults
    assert fault.path == f"$.{path}"
    assert said in str(fault)
    assert fault.remedy


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "$"),
        ({"compute": "h100", "egress": "cdn", "gb": 1}, "$"),
        ({"compute": "h100"}, "$.gpu_seconds"),
        ({"storage": "s3"}, "$.gb_months"),
        ({"unit": "u", "quantity": 1}, "$.usd_per_unit"),
        ({"unit": "u", "quantity": 1.5, "usd_per_unit": 1}, "$.quantity"),
        ({"unit": "u", "quantity": 1, "usd_per_unit": "2 dollars"}, "$.usd_per_unit"),
        ({"unit": "u", "quantity": 10**15, "usd_per_unit": 1000000}, "$.quantity"),
    ],
)
def test_a_cost_of_nothing_known_is_refused(fields, path):
    """Never booked at 0."""
    entries, faults = read({"id": "e1", **fields})
    assert entries == []
    assert [fault.path for fault in faults] == [path]


def test_all_faults_of_a_batch_come_at_once():
    """With the place of each; one faulty entry keeps the whole batch out."""
    good = {"id": "g", "compute": "h100", "gpu_seconds": 1}
    entries, faults = read({"entries": [good, {"id": "b", "compute": "h1"}, 3, {**good, "joules": -1}, good]})
    assert entries == []
    assert [fault.path for fault in faults] == [
        "$.entries[1].compute", "$.entries[1].gpu_seconds", "$.entries[2]", "$.entries[3].joules",
    ]  # fmt: skip
    assert read({"entries": [good] * (MAX_ENTRIES + 1)})[1][0].path == "$.entries"
    assert read({"entries": []})[1][0].path == "$.entries"
    assert read({"entries": [good], "id": "x"})[1][0].path == "$"
    assert read([good])[1][0].path == "$"
    assert len(read({"entries": [good] * MAX_ENTRIES})[0]) == MAX_ENTRIES


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["1e999999999", "h100"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_any_document_gives_entries_or_faults(document):
    """And never an exception; what is taken is priced and fits the ledger."""
    entries, faults = read_entries(document, RATES, virtual_key="k", now_ms=NOW_MS)
    assert bool(entries) != bool(faults)
    assert all(0 <= entry.cost_nusd < 2**63 for entry in entries)


def test_numbers_of_absurd_length_cost_no_time():
    """A million digits, an exponent of a billion: out of range, at once."""
    with pytest.raises(ValueError, match="out of range"):
        decode(b'{"gpu_seconds": %b}' % (b"9" * 100_000))
    for number in (b"1e999999999", b"1e-999999999", b"9" * 100_000 + b".5", b"0." + b"1" * 100_000):
        document = decode(b'{"id": "e", "compute": "h100", "gpu_seconds": %b}' % number)
        entries, faults = read_entries(document, RATES, virtual_key="k", now_ms=NOW_MS)
        assert len(entries) + len(faults) == 1


# Counted once, and acknowledged when stored.


class Told:
    """What the journal said of each group."""

    def __init__(self):
        self.counts = []
        self.event = threading.Event()

    def __call__(self, new):
        self.counts.append(new)
        self.event.set()


POSTS = st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=6), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(posts=POSTS, restarts=st.sets(st.integers(0, 7)))
def test_an_event_counts_once_however_it_is_sent(tmp_path_factory, posts, restarts):
    """In one batch, in several at once, and after restarts: as many rows as events, and as many were said to be new."""
    path = tmp_path_factory.mktemp("own") / "penstock.db"
    journal, told, seen = Journal(str(path), flush_ms=1), Told(), 0
    counted: list[Entry] = []
    for number, post in enumerate(posts):
        entries, faults = read(
            {"entries": [{"id": f"e{event}", "compute": "h100", "gpu_seconds": event + 1} for event in post]}
        )
        assert faults == []
        journal.add_entries(tuple(entries), told, counted.extend)
        if number % 2:
            journal.add(record(f"r{number}"))  # calls in between
        if number in restarts:
            journal.close()
            journal = Journal(str(path), flush_ms=1)
    journal.close()
    events = {event for post in posts for event in post}
    rows = stored(path, "SELECT request_id, cost_nusd FROM entries WHERE class = 'own_cost'")
    assert {row[0] for row in rows} == {f"own:render:e{event}" for event in events}
    assert len(rows) == len(events) == sum(told.counts)
    assert len(told.counts) == len(posts)
    assert sorted((entry.request_id, entry.cost_nusd) for entry in counted) == sorted(rows)
    seen = sum(one(compute="h100", gpu_seconds=event + 1).cost_nusd for event in events)
    connection = open_reader(str(path))
    try:
        assert sum(row.cost_nusd for row in cost(connection, by="class") if row.key == "own_cost") == seen
    finally:
        connection.close()


def test_nothing_is_acknowledged_before_it_is_stored(tmp_path):
    """While another program holds the file, no word; then the word, and what it says is so."""
    path = tmp_path / "penstock.db"
    journal, told = Journal(str(path), flush_ms=1), Told()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    journal.add_entries((one(compute="h100", gpu_seconds=1),), told)
    assert not told.event.wait(0.3)
    other.execute("ROLLBACK")
    other.close()
    assert told.event.wait(20)
    assert told.counts == [1]
    assert stored(path, "SELECT cost_nusd, joules FROM entries") == [(691_667, None)]
    journal.close()


def test_an_entry_that_cannot_be_stored_as_it_is_keeps_its_money(tmp_path):
    """Half a surrogate pair costs its text; the group's other entries, and the calls beside it, are untouched."""
    path = tmp_path / "penstock.db"
    journal, told = Journal(str(path), flush_ms=1), Told()
    broken, whole = one(compute="h100", gpu_seconds=1), one(compute="h100", gpu_seconds=2)
    broken.stage, broken.meta = "a\ud800", {"k": "\udfff"}
    whole.id = "other/1"
    journal.add(record("r1"))
    journal.add_entries((broken, whole), told)
    journal.close()
    assert told.counts == [2]
    rows = dict(stored(path, "SELECT stage, cost_nusd FROM entries WHERE class = 'own_cost'"))
    assert rows == {"a?": 691_667, "": 1_383_333}
    assert stored(path, "SELECT count(*) FROM calls") == [(1,)]


def test_a_group_beyond_one_statement_is_counted_whole(tmp_path):
    """A thousand entries are several statements and one answer."""
    path = tmp_path / "penstock.db"
    journal, told = Journal(str(path), flush_ms=1), Told()
    counted: list[Entry] = []
    for start in (0, 500):
        entries, _ = read(
            {"entries": [{"id": f"e{start + i}", "egress": "cdn", "gb": 1} for i in range(MAX_ENTRIES)]}
        )
        journal.add_entries(tuple(entries), told, counted.extend)
    journal.close()
    assert told.counts == [1000, 500]
    assert {entry.id for entry in counted} == {f"own:render:e{i}/1" for i in range(1500)}
    assert len(counted) == 1500
