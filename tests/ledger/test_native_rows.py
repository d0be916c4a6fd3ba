"""The native writer where things go wrong: paths of any bytes, a file that others write to, a transaction that must not stay."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from penstock.base.errors import ConfigFault
from penstock.ledger import store
from penstock.ledger.journal import Journal, _row
from penstock.ledger.native_rows import missing, native, native_writer
from penstock.ledger.schema import MIGRATIONS
from penstock.ledger.store import SLICE_RECORDS, SqliteStore
from tests.ledger.make import record

if native is None:
    pytest.skip(f"no native writer: {missing}", allow_module_level=True)


def rows_of(count):
    """Rows as the journal makes them."""
    made = [record(f"r{number}") for number in range(count)]
    return [_row(one, one.call, one.entries) for one in made]


def counted(path):
    """Calls and entries in the file."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT (SELECT count(*) FROM calls), (SELECT count(*) FROM entries)"
        ).fetchone()


@pytest.mark.parametrize("name", [b"a b.db", b"q?x#%41.db", b"\xff\xfe.db", "é🌍.db".encode(), b"quo'te.db"])
def test_a_ledger_of_any_name(tmp_path, name):
    """Names that are no text, and such as a URL would mean otherwise: the file that Python opens, and no other."""
    try:
        path = os.path.join(os.fsencode(tmp_path), name)
        Path(os.fsdecode(path)).touch()
    except OSError:
        pytest.skip("this file system takes no such name")
    journal = Journal(os.fsdecode(path))
    journal.add(record("r1"))
    journal.close()
    assert counted(os.fsdecode(path)) == (1, 1)
    assert os.listdir(os.fsencode(tmp_path)) == [name]


def test_a_symbolic_link_is_one_ledger(tmp_path):
    """Both connections write to what it points at, with one log."""
    (tmp_path / "true").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "true" / "penstock.db")
    journal = Journal(str(tmp_path / "link.db"))
    journal.add(record("r1"))
    assert journal.flush(20)
    assert sorted(os.listdir(tmp_path)) == ["link.db", "true"]
    journal.close()
    assert counted(tmp_path / "true" / "penstock.db") == (1, 1)


def test_a_fault_at_opening_is_the_configurations(tmp_path, monkeypatch):
    """It is said in a sentence, and no file stays open."""

    def fails(path):
        raise sqlite3.OperationalError(f"{path} is locked")

    monkeypatch.setattr(store, "native_writer", fails)
    with pytest.raises(ConfigFault, match="is locked"):
        SqliteStore(str(tmp_path / "penstock.db"))


@pytest.mark.parametrize("at", [0, SLICE_RECORDS + 3])
@pytest.mark.parametrize("value", ["\ud800", 2**70, object()])
def test_a_value_that_cannot_be_bound_leaves_nothing_behind(tmp_path, at, value):
    """In the first slice or a later one: nothing is written, and the next batch is, by either connection."""
    path = str(tmp_path / "penstock.db")
    one = SqliteStore(path)
    rows = rows_of(2 * SLICE_RECORDS)
    good = rows[at][1][8]
    rows[at][1][8] = value
    with pytest.raises(one.unbindable):
        one.write(rows)
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # nobody holds the file
        other.execute("ROLLBACK")
    assert counted(path) == (0, 0)
    rows[at][1][8] = good
    one.write(rows)
    one.write(rows)  # what is there already is passed over
    one.close()
    assert counted(path) == (2 * SLICE_RECORDS, 2 * SLICE_RECORDS)


def test_a_transaction_that_fails_in_its_middle_is_undone(tmp_path):
    """A file that may grow no further fails in some step or in COMMIT: all or nothing, and the same batch goes in later."""
    path = str(tmp_path / "penstock.db")
    one = SqliteStore(path)
    rows = rows_of(6 * SLICE_RECORDS)
    with closing(sqlite3.connect(path)) as other:
        pages = other.execute("PRAGMA page_count").fetchone()[0]
    one._native.execute(b"PRAGMA max_page_count = %d" % (pages + 40))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        one.write(rows)
    assert counted(path) == (0, 0)
    one._native.execute(b"PRAGMA max_page_count = 1000000")
    one.write(rows)
    one.close()
    assert counted(path) == (6 * SLICE_RECORDS, 6 * SLICE_RECORDS)


def test_a_table_that_was_changed_underneath_is_prepared_anew(tmp_path):
    """Another process may migrate the file while rows are being written: a column more does not matter."""
    path = str(tmp_path / "penstock.db")
    one = SqliteStore(path)
    one.write(rows_of(3))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("ALTER TABLE entries ADD COLUMN of_tomorrow TEXT DEFAULT 'x'")
        other.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    one.write(rows_of(5))
    one.close()
    assert counted(path) == (5, 5)


def test_writers_of_several_processes_take_turns(tmp_path):
    """Workers share one file: every row of each is there, and nobody gives up."""
    path = str(tmp_path / "penstock.db")
    SqliteStore(path).close()
    code = """
import sys
from penstock.ledger.journal import Journal, _row
from tests.ledger.make import record
journal = Journal(sys.argv[1], flush_ms=1)
for number in range(600):
    journal.add(record(f"{sys.argv[2]}-{number}"))
    if not number % 40:
        assert journal.flush(30)
journal.close()
"""
    words = [[sys.executable, "-c", code, path, name] for name in ("a", "b", "c")]
    running = [
        subprocess.Popen(one, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) for one in words
    ]
    assert [one.wait(50) for one in running] == [0, 0, 0]
    assert counted(path) == (1800, 1800)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_closed_writer_writes_nothing(tmp_path):
    """Whoever comes too late hears it, and nothing is touched that is gone."""
    path = str(tmp_path / "penstock.db")
    SqliteStore(path).close()
    writer = native_writer(path)
    assert writer is not None
    writer.close()
    writer.close()
    with pytest.raises(sqlite3.Error):
        writer.write(rows_of(1))
    assert counted(path) == (0, 0)
