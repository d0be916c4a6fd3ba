"""The rollups say what a scan of all entries says: for every window, filter and moment of folding."""

import sqlite3
import threading
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.ledger.fold import fold
from penstock.ledger.journal import Journal
from penstock.ledger.reading import open_reader
from penstock.ledger.rollup import HOUR_MS, facts_of, first_ms, rolled_facts, scanned_facts, state_of
from penstock.ledger.rows import entry_values
from penstock.ledger.schema import INSERT_ENTRIES, open_writer
from penstock.ledger.stages import Facts
from tests.ledger.make import AT_MS, entry, record

TIMES = st.integers(0, 5 * HOUR_MS) | st.sampled_from([0, HOUR_MS - 1, HOUR_MS, 2 * HOUR_MS, 4 * HOUR_MS])
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {
            "request_id": st.sampled_from(["r1", "r2", "r3", "r4"]),
            "trace_id": st.sampled_from(["", "r1", "r2", "t1", "t2"]),
            "stage": st.sampled_from(["", "plan", "denoise"]),
            "attempt": st.integers(1, 3),
            "at_ms": TIMES,
            "klass": st.sampled_from(["delivered", "failed", "billed_not_delivered", "own_cost"]),
            "provider": st.sampled_from(["openai", "own"]),
            "model": st.sampled_from(["m", "h100"]),
            "cost_nusd": st.none() | st.integers(0, 10**12),
            "latency_ms": st.floats(0, 1e6),
        }
    ),
    max_size=12,
)
WINDOWS = st.tuples(st.none() | TIMES, st.none() | TIMES)
WHERE = st.fixed_dictionaries(
    {},
    optional={
        "class": st.sampled_from(["delivered", "failed"]),
        "provider": st.sampled_from(["openai", "own", "nobody"]),
        "model": st.sampled_from(["own/h100", "openai/m"]),
        "stage": st.sampled_from(["", "plan"]),
    },
)


def store(path, rows, start=0):
    """Entries as the journal writes them."""
    with closing(open_writer(path)) as connection:
        for number, fields in enumerate(rows, start):
            made = entry(fields.get("request_id", f"e{number}"))
            for name, value in fields.items():
                setattr(made, name, value)
            made.id = f"e{number}"
            connection.execute(INSERT_ENTRIES[1], entry_values(made))
        connection.commit()


def comparable(facts: Facts):
    """Facts in one order; a stage without traces is as good as none."""
    return (
        sorted(
            (cell.stage, cell.klass, cell.provider, cell.model, cell) for cell in facts.cells if cell.entries
        ),
        {stage: count for stage, count in facts.traces.items() if count},
        facts.traces_all,
        facts.delivered,
    )


def same(path, window, where):
    """Whether both ways agree; what they say."""
    with closing(open_reader(path)) as reader:
        rolled, scanned = rolled_facts(reader, window, where), scanned_facts(reader, window, where)
    assert comparable(rolled) == comparable(scanned)
    return scanned


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ENTRIES, st.booleans()), max_size=4), WINDOWS, WHERE, st.integers(1, 5))
def test_rollups_are_the_scan(tmp_path_factory, batches, window, where, chunk):
    """Whatever was folded when, in chunks of any size; for whole hours, broken ones and none."""
    path = str(tmp_path_factory.mktemp("ledger") / "penstock.db")
    open_writer(path).close()
    start = 0
    for rows, folds in batches:
        store(path, rows, start)
        start += len(rows)
        if folds:
            fold(path, from_rows=0, chunk=chunk)
        same(path, window, where)
        same(path, (None, None), {})


@pytest.fixture
def path(tmp_path):
    """A ledger of 60 renders over three hours, not yet folded."""
    path = str(tmp_path / "penstock.db")
    store(
        path,
        [
            {"request_id": f"r{n}", "trace_id": f"t{n // 3}", "stage": ("plan", "denoise", "")[n % 3], "at_ms": AT_MS + n * 60_000}
            for n in range(180)
        ],
    )  # fmt: skip
    return path


def folded_to(path):
    """The watermark."""
    with closing(open_reader(path)) as reader:
        return state_of(reader).upto


def test_folding_goes_on_where_it_stopped(path):
    """Each entry is folded once; few new ones are left for later."""
    assert fold(path, from_rows=0) == 180
    assert fold(path, from_rows=0) == 0
    store(path, [{"trace_id": "t0", "stage": "upscale"}], 180)
    assert fold(path, from_rows=2) == 0
    assert same(path, (None, None), {}).traces == {"plan": 60, "denoise": 60, "": 60, "upscale": 1}
    assert fold(path, from_rows=1) == 1
    assert folded_to(path) == 181
    assert same(path, (None, None), {}).traces_all == 60


@pytest.mark.parametrize(
    "change",
    [
        ["DELETE FROM entries WHERE rowid IN (3, 50)"],
        ["UPDATE entries SET cost_nusd = 7 WHERE rowid = 9"],
        ["DELETE FROM entries WHERE rowid < 10", "VACUUM"],
        ["DELETE FROM entries"],
    ],
)
def test_entries_that_somebody_changed_are_summed_anew(path, change):
    """The rollups of what was are void at once, and made again by the next fold."""
    assert fold(path, from_rows=0) == 180
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in change:
            other.execute(statement)
    before = same(path, (None, None), {})
    fold(path, from_rows=0)
    assert comparable(same(path, (None, None), {})) == comparable(before)
    store(path, [{"trace_id": "new", "stage": "plan"}], 180)
    assert same(path, (None, None), {}).traces_all == before.traces_all + 1


def test_a_watermark_that_stands_elsewhere_is_noticed(path):
    """Rowids may be given anew (VACUUM, a restored dump) and no trigger sees it: the watermark's entry is another."""
    assert fold(path, from_rows=0) == 180
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DROP TRIGGER rollup_updated")
        other.execute("UPDATE entries SET rowid = rowid + 1000 WHERE rowid < 10")
        other.execute("UPDATE entries SET rowid = rowid - 9 WHERE rowid < 1000")
        other.execute("UPDATE entries SET rowid = rowid - 829 WHERE rowid > 1000")
    assert same(path, (None, None), {}).traces_all == 60
    assert fold(path, from_rows=0) == 180
    assert same(path, (None, None), {}).traces_all == 60


def test_a_ledger_that_cannot_be_written_is_read_all_the_same(path):
    """Locked by another, or gone: nothing is folded, and the answer is the same."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert fold(path, from_rows=0) == 0
        assert same(path, (None, None), {}).traces_all == 60
        other.execute("ROLLBACK")
    assert fold(f"{path}.none", from_rows=0) == 0


def test_an_older_ledger_is_scanned(path):
    """One that has no rollups yet, because no gateway of this version has opened it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for table in ("rollup_state", "rollup_cells", "rollup_sets", "rollup_traces"):
            other.execute(f"DROP TABLE {table}")
        other.execute("PRAGMA user_version = 3")
    assert fold(path, from_rows=0) == 0
    with closing(open_reader(path)) as reader:
        assert facts_of(reader, (None, None), {}).traces_all == 60


def test_other_filters_are_scanned(path):
    """What a cell does not know is asked of the entries: metadata, keys, routes."""
    fold(path, from_rows=0)
    with closing(open_reader(path)) as reader:
        assert facts_of(reader, (None, None), {"route": "fast", "stage": "plan"}).traces == {"plan": 60}
        assert facts_of(reader, (None, None), {"meta:sku": "12"}).traces_all == 0
        assert first_ms(reader) == AT_MS


def test_readers_that_fold_at_once_while_a_gateway_writes(tmp_path):
    """Two of them, and the journal: nothing is folded twice, nothing is lost."""
    path = str(tmp_path / "penstock.db")
    journal = Journal(path, flush_ms=2)
    stop = threading.Event()

    def folding():
        while not stop.is_set():
            fold(path, from_rows=0, chunk=37)

    folders = [threading.Thread(target=folding) for _ in range(2)]
    for one in folders:
        one.start()
    for n in range(2000):
        journal.add(record(f"r{n}", entry(f"r{n}", trace_id=f"t{n // 7}", stage=f"s{n % 5}")))
    journal.close()
    stop.set()
    for one in folders:
        one.join()
    facts = same(path, (None, None), {})
    assert (facts.traces_all, sum(cell.entries for cell in facts.cells)) == (286, 2000)
    fold(path, from_rows=0)
    assert folded_to(path) == 2000
    assert comparable(same(path, (None, None), {})) == comparable(facts)
