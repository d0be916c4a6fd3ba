"""The WAL is carried over behind the writer's back: nothing is lost by it, and it does not grow without end."""

import sqlite3
import time
from pathlib import Path

import pytest

from penstock.ledger.checkpoint import NET_PAGES, Checkpointer
from penstock.ledger.journal import Journal
from penstock.ledger.schema import open_writer
from tests.ledger.make import entry, record


def until(holds, seconds: float = 10.0) -> None:
    end_s = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def in_the_file_alone(path: Path) -> int:
    """How many calls the ledger's file holds without its WAL, as a copy of it would."""
    copy = path.with_name(f"copy-{time.monotonic_ns()}.db")
    copy.write_bytes(path.read_bytes())
    connection = sqlite3.connect(copy)
    try:
        return connection.execute("SELECT count(*) FROM calls").fetchone()[0]
    except sqlite3.DatabaseError:
        return -1  # half of what was written is there
    finally:
        connection.close()


def test_no_writer_checkpoints_by_itself(tmp_path: Path):
    """Every connection that writes leaves it to the other thread, short of the net."""
    connection = open_writer(str(tmp_path / "l.db"))
    assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (NET_PAGES,)
    connection.close()


@pytest.mark.parametrize("native", [True, False])
def test_records_are_carried_over_while_the_writer_goes_on(
    tmp_path: Path, native: bool, monkeypatch: pytest.MonkeyPatch
):
    """Many batches: all in the ledger, and soon all in its file."""
    if not native:
        monkeypatch.setattr("penstock.ledger.store.native_writer", lambda path: None)
    path = tmp_path / "l.db"
    journal = Journal(str(path), flush_ms=1)
    count = 24_000
    for number in range(count):
        name = f"r{number:06d}"
        journal.add(record(name, entry(name, id=f"{name}/1")))
        if not number % 2_000:
            assert journal.flush(20)
    assert journal.flush(20)
    checkpoints = journal._store._checkpoints
    assert checkpoints.done >= 3
    until(lambda: in_the_file_alone(path) == count)  # the idle one
    assert checkpoints.fault is None
    journal.close()
    assert not path.with_name("l.db-wal").exists()
    assert in_the_file_alone(path) == count


def test_a_checkpoint_that_fails_is_tried_again(tmp_path: Path):
    """It says why, and the next one is none the worse; at the end nothing is left behind."""
    path = tmp_path / "l.db"
    connection = open_writer(str(path))
    checkpoints = Checkpointer(str(path))
    try:
        checkpoints._connection.close()
        checkpoints.wrote(5_000)
        until(lambda: checkpoints.fault is not None)
        checkpoints._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        until(lambda: checkpoints.done == 1)
        until(lambda: checkpoints.fault is None)
    finally:
        checkpoints.close()
        connection.close()
    assert not checkpoints._thread.is_alive()


def test_what_was_kept_back_is_carried_over_when_it_can_be(tmp_path: Path):
    """Without another write: a reader in an old state leaves, and the file is whole soon after."""
    path = tmp_path / "l.db"
    journal = Journal(str(path), flush_ms=1)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM calls").fetchone() == (0,)
    journal.add(record("r1", entry("r1", id="r1/1")))
    assert journal.flush(20)
    until(lambda: journal._store._checkpoints.done >= 1)
    assert in_the_file_alone(path) < 1
    reader.close()
    until(lambda: in_the_file_alone(path) == 1)
    assert journal.notice is None
    journal.close()


def test_a_ledger_that_cannot_be_carried_over_says_so(tmp_path: Path):
    """Batches are written all the same; the operator's log has the notice."""
    path = tmp_path / "l.db"
    journal = Journal(str(path), flush_ms=1)
    journal._store._checkpoints._connection.close()
    journal.add(record("r1", entry("r1", id="r1/1")))
    assert journal.flush(20)
    until(lambda: journal.notice is not None)
    assert "cannot be carried over" in str(journal.notice)
    assert journal.fault is None
    journal.close()
