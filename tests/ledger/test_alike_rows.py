"""Rows that are alike: whoever writes them, and whatever stands between them, the tables hold what all their values say."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.ledger.journal import PUT_BY, Journal, _row
from penstock.ledger.native_rows import missing
from penstock.ledger.rows import Form, call_values, entry_values, record_of, rows_of
from penstock.ledger.schema import CALL_COLUMNS, ENTRY_COLUMNS
from penstock.ledger.store import SqliteStore
from tests.ledger.make import call, entry, record

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.one_of(
    TEXTS,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.just(float("nan")),
    st.none(),
    st.booleans(),
)
NAMES = ("request_id", "body_id", "entry_id", "one", "two", "three")
"""A row's own values."""
FREE = {"calls": (2, 3, 8, 13), "entries": (8, 9, 21, 35, 39)}
"""Columns that may hold anything."""


def form_of(free, places):
    """A form whose common values are ``free``'s; ``places`` says where the last three of a row's own go, if anywhere."""
    one, two = call_values(call("c")), entry_values(entry("c"))
    for column, value in zip(FREE["calls"], free, strict=False):
        one[column] = value
    for column, value in zip(FREE["entries"], free, strict=False):
        two[column] = value
    held = [(table, column) for table, columns in FREE.items() for column in columns]
    chosen = {held[place]: 3 + number for number, place in enumerate(places) if place is not None}
    calls = [(0, 0), (CALL_COLUMNS.index("body_id"), 1)]
    entries = [(0, 2), (1, 0), (2, 0)]
    calls += [(column, value) for (table, column), value in chosen.items() if table == "calls"]
    entries += [(column, value) for (table, column), value in chosen.items() if table == "entries"]
    return Form("k", one, two, tuple(calls), tuple(entries), len(NAMES))


FORMS = st.builds(
    form_of,
    st.lists(VALUES, min_size=5, max_size=5),
    st.lists(st.none() | st.integers(0, 8), min_size=3, max_size=3),
)
BATCHES = st.tuples(
    st.lists(FORMS, min_size=1, max_size=3),
    st.lists(st.none() | st.tuples(st.integers(0, 2), VALUES, VALUES, VALUES), max_size=40),
)


def batch_of(forms, picks):
    """Rows of these forms, and ordinary ones between them."""
    made = []
    for number, pick in enumerate(picks):
        name = f"r{number}"
        if pick is None:
            one = record(name)
            made.append(_row(one, one.call, one.entries))
        else:
            form = forms[pick[0] % len(forms)]
            made.append((form, name, f"b{number % 3}", f"{name}/1", *pick[1:]))
    return made


def tables(path):
    """All that is stored, and of which type."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        return [
            connection.execute(
                f"SELECT {', '.join(f'{name}, typeof({name})' for name in columns)} FROM {table} ORDER BY 1"
            ).fetchall()
            for table, columns in (("calls", CALL_COLUMNS), ("entries", ENTRY_COLUMNS))
        ]


@pytest.mark.skipif(bool(missing), reason=f"no native writer: {missing}")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(made=BATCHES, cut=st.integers(0, 40))
def test_both_writers_store_the_same(tmp_path_factory, made, cut):
    """In one batch or two, by native code or by Python: each row is as if all its values had been given."""
    rows, folder = batch_of(*made), tmp_path_factory.mktemp("alike")
    found = []
    for name, native in (("native", True), ("python", False)):
        store = SqliteStore(str(folder / name))
        if not native:
            store._native.close()
            store._native = None
        for some in (rows[:cut], rows[cut:]):
            if some:
                store.write(some)
        store.close()
        found.append(tables(folder / name))
    assert found[0] == found[1]
    assert len(found[0][0]) == len(rows)
    whole = SqliteStore(str(folder / "whole"))
    if rows:
        whole.write([(record("r"), *rows_of(row)) if isinstance(row[0], Form) else row for row in rows])
    whole.close()
    assert tables(folder / "whole") == found[0]


@pytest.mark.skipif(bool(missing), reason=f"no native writer: {missing}")
def test_of_rows_that_are_alike_only_their_own_values_are_bound(tmp_path):
    """What they have in common is bound once for each place of a statement, again when another row stood there between."""
    store = SqliteStore(str(tmp_path / "l.db"))
    form = form_of(["x"] * 5, [0, 4, None])
    own = len(form.call_places) + len(form.entry_places)
    rows = batch_of([form], [(0, 1, 2, 3)] * 50)
    store.write(rows[:25])
    store.write(rows[25:])
    both = len(CALL_COLUMNS) + len(ENTRY_COLUMNS)
    assert store._native.bindings == (16 + 4 + 1) * both + 50 * own  # 16 + 4 + 4 + 1 rows, twice
    one = record("between")
    other = [(form, f"s{number}", "", f"s{number}/1", 1, 2, 3) for number in range(2)]
    store.write([other[0], _row(one, one.call, one.entries), other[1]])
    assert store._native.bindings == (16 + 4 + 1 + 2) * both + 52 * own
    store.close()


@pytest.mark.skipif(bool(missing), reason=f"no native writer: {missing}")
@pytest.mark.parametrize("wrong", ["short", "place", "width"])
def test_a_form_that_fits_no_table_is_refused(tmp_path, wrong):
    """Before anything is read beyond a row's end, and nothing is written."""
    store = SqliteStore(str(tmp_path / "l.db"))
    form = form_of(["x"] * 5, [0, 4, None])
    if wrong == "place":
        form.call_places = (*form.call_places, (3, 6))
    elif wrong == "width":
        form.entry = form.entry[:-1]
    row = (form, "r", "", "r/1", 1, 2, *([] if wrong == "short" else [3]))
    with pytest.raises(ValueError, match="form"):
        store.write([_row(record("a"), record("a").call, record("a").entries), row])
    assert tables(tmp_path / "l.db") == [[], []]
    store.close()


def test_found_while_they_wait_and_then_in_the_file(tmp_path):
    """However many wait: each by its id, and by a body id that several have the newest."""
    path = str(tmp_path / "l.db")
    journal = Journal(path, flush_ms=1000)
    form = form_of(["k", "x", 1, None, None], [None] * 3)
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")  # nobody else can write now
    count = 3 * PUT_BY
    try:
        for number in range(count):
            journal.add_alike((form, f"r{number}", f"b{number % 7}", f"r{number}/1", 1, 2, 3))
        for number in range(count):
            assert journal.recent(f"r{number}").call.request_id == f"r{number}"
        for number in range(7):
            newest = max(one for one in range(count) if one % 7 == number)
            assert journal.recent(f"b{number}").call.request_id == f"r{newest}"
        assert journal.recent("r7", virtual_key="k").entries[0].id == "r7/1"
        assert journal.recent("r7", virtual_key="other") is None
        waiting = journal.recent("r3")
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    assert journal.flush(20)
    assert journal.recent("r3") is None
    assert not journal.pending
    assert not journal._put_by
    assert journal.find("r3") == waiting == record_of((form, "r3", "b3", "r3/1", 1, 2, 3))
    journal.close()


def test_one_that_cannot_be_bound_is_mended_among_its_like(tmp_path):
    """Its text is mended, its neighbours are stored as they are."""
    path = str(tmp_path / "l.db")
    journal = Journal(path)
    form = form_of(["k", "x", 1, None, None], [None, None, 5])
    for number in range(20):
        model = "\ud800" if number == 7 else f"m{number}"
        journal.add_alike((form, f"r{number}", "", f"r{number}/1", 1, 2, model))
    journal.close()
    with closing(sqlite3.connect(path)) as connection:
        rows = dict(connection.execute("SELECT request_id, model_served FROM entries").fetchall())
    assert rows == {f"r{number}": "?" if number == 7 else f"m{number}" for number in range(20)}
