"""What the statements make of the values: batches of any size, values of any kind, and a loop that gives way."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.base.usage import Usage
from penstock.ledger.entry import Call, Entry, Line, Record
from penstock.ledger.journal import Journal
from penstock.ledger.native_rows import missing
from penstock.ledger.reading import open_reader
from penstock.ledger.rows import read_record
from penstock.ledger.schema import (
    ENTRY_COLUMNS,
    INSERT_CALLS,
    INSERT_ENTRIES,
    MIGRATIONS,
    STATEMENT_ROWS,
)
from penstock.ledger.store import SqliteStore
from tests.ledger.make import call, entry, record


@pytest.fixture
def path(tmp_path):
    """Where a ledger may be made."""
    return str(tmp_path / "penstock.db")


def ask(path, sql, *bound):
    """The rows of a question to the file."""
    connection = open_reader(path)
    try:
        return connection.execute(sql, bound).fetchall()
    finally:
        connection.close()


def of_sizes(counts):
    """One call for each count, with that many attempts."""
    return [
        Record(call(f"r{number}"), tuple(entry(f"r{number}", one + 1) for one in range(count)))
        for number, count in enumerate(counts)
    ]


class Held:
    """Nobody else can write until the block ends, so that what is added meanwhile is one batch."""

    def __init__(self, path):
        self.connection = sqlite3.connect(path, isolation_level=None)

    def __enter__(self):
        self.connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_):
        self.connection.execute("ROLLBACK")
        self.connection.close()


MOST = STATEMENT_ROWS[-1]


@pytest.mark.parametrize(
    "counts",
    [
        [1] * (MOST - 1),
        [1] * MOST,
        [1] * (MOST + 1),
        [2] * MOST,
        [0] * 5,
        [MOST + 1],
        [3] * (2 * MOST + 7),
        [0, 2 * MOST, 1],
    ],
    ids=lambda counts: f"{len(counts)}x{max(counts)}",
)
def test_a_batch_of_any_size_is_stored_whole(path, counts):
    """One row less than a statement holds, as many, one more; calls without attempts, and one with very many."""
    journal = Journal(path)
    with Held(path):
        for made in of_sizes(counts):
            journal.add(made)
    journal.close()
    kept = dict(ask(path, "SELECT request_id, 0 FROM calls"))
    assert len(kept) == len(counts)
    for name, entries, last in ask(path, "SELECT request_id, count(*), max(attempt) FROM entries GROUP BY 1"):
        assert entries == last
        kept[name] = entries
    assert [kept[f"r{number}"] for number in range(len(counts))] == counts


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=60), cuts=st.sets(st.integers(0, 60)))
def test_batches_of_all_sizes_after_each_other(tmp_path_factory, counts, cuts):
    """However the calls fall into batches, each is stored with its own attempts, in their order."""
    path = str(tmp_path_factory.mktemp("sizes") / "penstock.db")
    journal = Journal(path, flush_ms=1)
    for number, made in enumerate(of_sizes(counts)):
        if number in cuts:
            assert journal.flush(20)
        journal.add(made)
    journal.close()
    rows = ask(path, "SELECT request_id, attempt FROM entries ORDER BY rowid")
    assert rows == [(f"r{number}", one + 1) for number, count in enumerate(counts) for one in range(count)]
    assert ask(path, "SELECT count(*) FROM calls") == [(len(counts),)]


def test_the_statements_stay_below_every_sqlites_limit():
    """32,766 parameters are what SQLite allows where nobody has raised it."""
    assert max(INSERT_CALLS[MOST].count("?"), INSERT_ENTRIES[MOST].count("?")) <= 32_766
    assert all(INSERT_ENTRIES[rows].count("?") == rows * len(ENTRY_COLUMNS) for rows in STATEMENT_ROWS)


def test_values_have_the_types_that_sql_can_reckon_with(path):
    """What is not known is NULL, not a number; numbers are numbers, JSON is text, and false is 0."""
    journal = Journal(path)
    journal.add(
        record(
            "r1",
            entry(
                "r1",
                finish_reason=None,
                native_finish_reason=None,
                usage_source=None,
                cost_nusd=None,
                price_version=None,
                ttft_ms=None,
                tokens_per_s=None,
            ),
        )
    )
    journal.add(record("r2", entry("r2", stream=True, meta={}), stream=True, explain={}))
    journal.close()

    def types(table, request_id):
        names = [row[1] for row in ask(path, f"PRAGMA table_info({table})")]
        found = ask(
            path,
            f"SELECT {', '.join(f'typeof({name})' for name in names)} FROM {table} WHERE request_id = ?",
            request_id,
        )[0]
        return dict(zip(names, found, strict=True))

    entries = types("entries", "r1")
    assert {name for name, kind in entries.items() if kind == "null"} == {
        "error_code", "error", "finish_reason", "native_finish_reason", "usage_source", "cost_nusd", "price_version",
        "ttft_ms", "tokens_per_s", "connect_ms", "meta", "service_tier", "joules",
    }  # fmt: skip
    assert {name for name, kind in entries.items() if kind == "integer"} == {
        "attempt", "at_ms", "stream", "status", "input", "cache_read", "cache_write_5m", "cache_write_1h", "input_audio",
        "input_image", "output", "reasoning", "output_audio", "output_image", "saved_nusd",
    }  # fmt: skip
    assert entries["latency_ms"] == "real"
    assert entries["lines"] == "text"
    calls = types("calls", "r1")
    assert {name for name, kind in calls.items() if kind == "null"} == {"error_code", "explain"}
    assert (calls["stream"], calls["adjusted"], calls["latency_ms"]) == ("integer", "text", "real")
    assert ask(
        path,
        "SELECT c.stream, e.stream, adjusted, explain, meta FROM calls c JOIN entries e USING (request_id)",
    ) == [
        (0, 0, "[]", None, None),
        (1, 1, "[]", "{}", "{}"),
    ]


WORDS = st.text(st.characters(exclude_categories=()), max_size=12)
"""Half surrogate pairs and NULs included."""
NUMBERS = st.one_of(st.integers(-(2**80), 2**80), st.integers(-5, 5))


def fields_of(*names):
    """Some of the named fields, with values of any kind that they may come to hold."""
    return st.fixed_dictionaries({}, optional=dict(names))


@settings(max_examples=60, deadline=None)
@given(
    made=st.lists(
        st.tuples(
            fields_of(
                ("asked_model", WORDS), ("client_request_id", WORDS), ("at_ms", NUMBERS), ("gateway_us", NUMBERS),
                ("error_code", st.none() | WORDS), ("adjusted", st.lists(WORDS, max_size=2).map(tuple)),
                ("explain", st.none() | st.dictionaries(WORDS, WORDS | NUMBERS, max_size=2)),
            ),
            fields_of(
                ("model", WORDS), ("error", st.none() | WORDS), ("at_ms", NUMBERS), ("output", NUMBERS),
                ("meta", st.none() | st.dictionaries(WORDS, WORDS, max_size=2)), ("trace_id", WORDS),
                ("tokens_per_s", st.none() | st.floats(allow_nan=False, allow_infinity=False)), ("service_tier", st.none() | WORDS),
            ),
        ),
        min_size=1,
        max_size=6,
    )
)  # fmt: skip
def test_whatever_a_record_holds_its_money_is_kept(tmp_path_factory, made):
    """Every call comes back with its cost; one that could be stored as it is comes back as it was."""
    path = str(tmp_path_factory.mktemp("values") / "penstock.db")
    journal = Journal(path, flush_ms=1)
    records = [
        record(f"r{number}", entry(f"r{number}", **of_entry), **of_call)
        for number, (of_call, of_entry) in enumerate(made)
    ]
    for one in records:
        journal.add(one)
    assert journal.flush(20)
    journal.close()
    connection = open_reader(path)
    try:
        for one in records:
            found = read_record(connection, one.call.request_id)
            assert found.cost_nusd == 270_000
            if storable(one):
                assert found == one
    finally:
        connection.close()


def storable(value):
    """Can JSON and SQLite hold this as it is?"""
    if isinstance(value, str):
        return not any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, dict):
        return all(storable(key) and storable(item) for key, item in value.items())
    if isinstance(value, tuple | list):
        return all(map(storable, value))
    if isinstance(value, Record | Call | Entry | Line):
        return all(storable(getattr(value, name)) for name in value.__struct_fields__)
    return True


@pytest.mark.parametrize("tokens", [2**63 - 1, 2**63, 2**80])
def test_a_count_that_nobody_can_store_is_read_again(path, tokens):
    """As the most that can be stored, at no known cost; the call is there, and so is its neighbour line."""
    journal = Journal(path, flush_ms=1)
    journal.add(record("r", entry("r", usage=Usage(input=tokens, output=200))))
    assert journal.flush(20)
    journal.close()
    with closing(open_reader(path)) as connection:
        (found,) = read_record(connection, "r").entries
    lines = {line.unit: line for line in found.lines}
    assert lines["input"].quantity == 2**63 - 1
    assert lines["input"].cost_nusd is None or tokens < 2**63
    assert (lines["output"].quantity, lines["output"].cost_nusd) == (200, 120_000)
    assert found.cost_nusd is None or found.cost_nusd < 2**63


def test_one_broken_row_among_many_costs_its_neighbours_nothing(path):
    """A value that cannot be bound, deep in a batch: its own text is mended, every other row is as it was."""

    class Strange:
        pass

    broken = {MOST + 3: "half a \ud83d pair", MOST + 4: 2**70, 7: Strange()}
    journal = Journal(path)
    with Held(path):
        for number in range(2 * MOST):
            one = entry(f"r{number}")
            if number in broken:
                one.model = broken[number]
            journal.add(record(f"r{number}", one))
    journal.close()
    assert ask(path, "SELECT count(*), sum(cost_nusd) FROM entries") == [(2 * MOST, 2 * MOST * 270_000)]
    assert ask(
        path, "SELECT request_id, model FROM entries WHERE model IS NOT 'gpt-4o-mini' ORDER BY rowid"
    ) == [
        ("r7", "<Strange>"),
        (f"r{MOST + 3}", "half a ? pair"),
        (f"r{MOST + 4}", None),
    ]


def test_a_record_as_it_was_added_is_found_after_it_was_mended(path):
    """What is found before the write is the record itself, broken or not; afterwards it is what could be kept."""
    journal = Journal(path)
    broken = record("r1", entry("r1", error="\ud800"))
    with Held(path):
        journal.add(broken)
        assert journal.find("r1") is broken
    assert journal.flush(20)
    assert journal.find("r1").entries[0].error == "?"
    journal.close()


def test_a_loop_that_outruns_the_writer_gives_way_to_it(path, monkeypatch):
    """Once two slices wait and their batch is late, add lets go of the GIL now and then; not before, and not where the disk
    is the fault."""
    naps = []
    journal = Journal(path)
    with Held(path):
        monkeypatch.setattr("penstock.ledger.journal.time.sleep", naps.append)
        for made in of_sizes([1] * (2 * MOST - 1)):
            journal.add(made)
        assert naps == []
        journal._late_s = float("inf")
        journal.add(record("in-time"))
        assert naps == []
        journal._late_s = 0.0
        for number in range(64):
            journal.add(record(f"more-{number}"))
        assert len(naps) == 4
        journal.fault = "The disk is full."
        for number in range(64):
            journal.add(record(f"yet-more-{number}"))
        assert len(naps) == 4
    journal.close()
    assert ask(path, "SELECT count(*) FROM calls") == [(2 * MOST + 128,)]


@pytest.fixture
def old(path):
    """A ledger as version 1 made it: two calls, one by way of a body id of its own, one within a trace."""
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in MIGRATIONS[0]:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {0x50454E53}")
    connection.execute("PRAGMA user_version = 1")
    for name, body_id, trace_id in (("r1", "chatcmpl-r1", "r1"), ("r2", "r2", "render-7")):
        connection.execute(
            "INSERT INTO calls (request_id, at_ms, virtual_key, body_id, adjusted) VALUES (?, 5, 'research', ?, '[]')",
            (name, body_id),
        )
        connection.execute(
            "INSERT INTO entries (id, request_id, trace_id, attempt, at_ms, class, lines, cost_nusd) "
            "VALUES (?, ?, ?, 1, 5, 'delivered', '[]', 7)",
            (f"{name}/1", name, trace_id),
        )
    connection.close()
    return path


def test_a_ledger_of_the_first_version_goes_on(old):
    """It gets the new column and indexes; what it held is found as before, and new calls stand beside it."""
    journal = Journal(old)
    journal.add(record("r3", entry("r3", service_tier="flex")))
    assert journal.flush(20)
    for any_id, tier in (
        ("r1", None),
        ("chatcmpl-r1", None),
        ("r2", None),
        ("r3", "flex"),
        ("chatcmpl-r3", "flex"),
    ):
        found = journal.find(any_id, virtual_key="research")
        assert found.call.request_id == f"r{any_id[-1]}"
        assert [one.service_tier for one in found.entries] == [tier]
        assert [(one.organisation, one.team, one.user) for one in found.entries] == [("", "", "")]
    journal.close()
    assert ask(old, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert {
        name
        for (name,) in ask(old, "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    } == {
        "calls_at",
        "calls_body",
        "entries_spent",
        "entries_trace",
    }


def test_an_index_holds_only_what_no_other_finds(path):
    """A call whose body carries its own id, and an attempt that is its own trace, take no place in these indexes."""
    journal = Journal(path)
    for number in range(50):
        journal.add(record(f"r{number}", body_id=f"r{number}" if number % 2 else ""))
    journal.add(record("r50", entry("r50", trace_id="render-1"), body_id="chatcmpl-1"))
    journal.close()
    if ("ENABLE_DBSTAT_VTAB",) not in ask(path, "PRAGMA compile_options"):
        pytest.skip("this SQLite does not tell the sizes of its indexes")
    sizes = dict(
        ask(
            path,
            "SELECT name, sum(ncell) FROM dbstat WHERE name IN ('calls_body', 'entries_trace') GROUP BY 1",
        )
    )
    assert sizes == {"calls_body": 1, "entries_trace": 1}


@pytest.mark.parametrize("python", [False, True])
def test_a_batch_that_fails_half_way_leaves_nothing_and_locks_nobody_out(path, python):
    """The calls are in, the entries are refused: neither is stored, others may write, and the next try stores both."""
    journal = Journal(path, flush_ms=1)
    if python:
        journal._store._native = None
    refuse = "BEGIN SELECT RAISE(ABORT, 'nowhere'); END"
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"CREATE TRIGGER refuse BEFORE INSERT ON entries {refuse}")
    journal.add(record("r1"))
    assert journal.flush(0.5) is False
    assert "nowhere" in journal.fault
    assert ask(path, "SELECT count(*) FROM calls") == [(0,)]
    with Held(path):  # raises where the writer keeps its lock
        pass
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TRIGGER refuse")
    assert journal.flush(20)
    assert journal.fault is None
    journal.close()
    assert ask(path, "SELECT count(*) FROM calls JOIN entries USING (request_id)") == [(1,)]


@pytest.mark.skipif(bool(missing), reason=f"no native writer: {missing}")
@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=True)
        | st.text(st.characters(exclude_categories=["Cs"])),
        min_size=len(ENTRY_COLUMNS),
        max_size=len(ENTRY_COLUMNS),
    ),
    st.integers(1, 600),
)
def test_native_code_binds_what_python_binds(tmp_path_factory, values, rows):
    """Any value that SQLite can hold, in any number of rows: the same is stored."""
    found = []
    for native in (True, False):
        path = str(tmp_path_factory.mktemp("bind") / "penstock.db")
        store = SqliteStore(path)
        if not native:
            store._native.close()
            store._native = None
        fixed = dict(zip(ENTRY_COLUMNS, values, strict=True)) | {
            "request_id": "r",
            "at_ms": 1,
            "class": "failed",
        }
        batch = [(record("r"), [], [*(fixed | {"id": f"r/{n}"}).values()]) for n in range(rows)]
        store.write(batch)
        with closing(open_reader(path)) as reader:
            found.append(reader.execute("SELECT *, typeof(cost_nusd) FROM entries ORDER BY id").fetchall())
        store.close()
    assert len(found[0]) == rows
    assert found[0] == found[1]


@pytest.mark.skipif(bool(missing), reason=f"no native writer: {missing}")
@pytest.mark.parametrize("value", ["\ud800", 2**63, object()])
def test_native_code_refuses_what_python_refuses(path, value):
    """With an exception that the journal mends; the batch leaves nothing behind."""
    store = SqliteStore(path)
    row = [value] * len(ENTRY_COLUMNS)
    good = [*["x"] * len(ENTRY_COLUMNS)]
    with pytest.raises(store.unbindable):
        store.write([(record("r"), [], one) for one in [good] * 200 + [row]])
    with closing(open_reader(path)) as reader:
        assert reader.execute("SELECT count(*) FROM entries").fetchone() == (0,)
    store.close()
