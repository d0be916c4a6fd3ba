"""The journal keeps everything it was given, says what it cannot do, and answers before it has written."""

import asyncio
import sqlite3
import threading
import time

import msgspec
import pytest
import uvloop

from penstock.base.errors import ConfigFault, OurFault
from penstock.base.usage import Usage
from penstock.ledger import journal as ledger_journal
from penstock.ledger.journal import Journal
from penstock.ledger.native_rows import missing
from penstock.ledger.reading import open_reader
from penstock.ledger.rows import read_record
from penstock.ledger.schema import (
    CALL_COLUMNS,
    ENTRY_COLUMNS,
    MIGRATIONS,
    open_writer,
)
from penstock.ledger.store import SqliteStore
from tests.ledger.make import call, entry, record


@pytest.fixture
def path(tmp_path):
    """Where a ledger may be made."""
    return str(tmp_path / "penstock.db")


def stored(path):
    """(calls, entries, sum of known cost) in the file."""
    connection = open_reader(path)
    try:
        calls = connection.execute("SELECT count(*) FROM calls").fetchone()[0]
        return calls, *connection.execute("SELECT count(*), sum(cost_nusd) FROM entries").fetchone()
    finally:
        connection.close()


def test_what_was_added_comes_back_whole(path):
    """Every field of a call and its attempts survives the way through SQL, nulls and words included."""
    failed = entry(
        "r1",
        1,
        row=None,
        klass="failed",
        status=503,
        error_code="upstream_fault",
        error='He said "no\u2028" \\ ünï\x1f',
        usage_source=None,
        ttft_ms=None,
        tokens_per_s=None,
        finish_reason=None,
        meta={"sku": "12", 'quo"te': "ä"},
    )
    served = entry(
        "r1", 2, usage=Usage(input=7, cache_read=3, reasoning=5, output=2, source="stream"), stream=True
    )
    whole = record(
        "r1", failed, served, adjusted=("logit_bias-dropped",), stream=True, explain={"a": [1, None, "x"]}
    )
    journal = Journal(path)
    journal.add(whole)
    journal.close()
    connection = open_reader(path)
    try:
        assert read_record(connection, "r1") == whole
    finally:
        connection.close()


def test_what_was_decided_is_kept_as_it_was_written(path):
    """Key order, number spelling and escapes of the explanation are not touched on the way."""
    journal = Journal(path)
    journal.add(record("r1", explain={"z": 1, "a": [{"p": 0.7000000000000001}, "\u2028é\n"]}))
    journal.close()
    connection = sqlite3.connect(path)
    try:
        text = connection.execute("SELECT explain FROM calls").fetchone()[0]
    finally:
        connection.close()
    assert text == '{"z":1,"a":[{"p":0.7000000000000001},"\u2028é\\n"]}'


def test_found_before_it_is_written(path):
    """From add on a call is found, by its id and by its body's id, though the writer has not come to it."""
    journal = Journal(path, flush_ms=1000)
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")  # nobody else can write now
    try:
        journal.add(record("r1"))
        assert journal.find("r1").call.request_id == "r1"
        assert journal.find("chatcmpl-r1").call.request_id == "r1"
        assert journal.find("r2") is None
        assert journal.find("") is None
        assert stored(path)[0] == 0
    finally:
        lock.execute("ROLLBACK")
        lock.close()
        journal.close()
    assert stored(path)[0] == 1


def test_found_after_it_is_written(path):
    """Once stored a call is found in the file, and no longer held in memory."""
    journal = Journal(path)
    journal.add(record("r1"))
    assert journal.flush(10)
    assert journal.queued == 0
    found = journal.find("chatcmpl-r1")
    assert found.entries == record("r1").entries
    assert journal.pending == {}
    journal.close()


def test_found_only_by_its_owner(path):
    """Two callers may get the same body id from a provider: each finds its own call, before and after the write."""
    journal = Journal(path)
    mine = record("r1", virtual_key="mine", body_id="same")
    theirs = record("r2", virtual_key="theirs", body_id="same")
    journal.add(mine)
    assert journal.flush(10)
    journal.add(theirs)
    for _ in range(2):
        assert journal.find("same", virtual_key="mine").call.request_id == "r1"
        assert journal.find("same", virtual_key="theirs").call.request_id == "r2"
        assert journal.find("r1", virtual_key="theirs") is None
        assert journal.flush(10)
    journal.close()


def test_a_restart_keeps_the_ledger(path):
    """A second journal on the file adds to what the first one wrote."""
    for number in range(3):
        journal = Journal(path)
        journal.add(record(f"r{number}"))
        journal.close()
        assert stored(path)[0] == number + 1
    journal = Journal(path)
    assert journal.find("r0").call.request_id == "r0"
    journal.close()


def test_the_same_call_twice_is_one(path):
    """A batch that is written again, as after a doubtful failure, counts nothing twice."""
    journal = Journal(path)
    for _ in range(2):
        journal.add(record("r1"))
        assert journal.flush(10)
    journal.close()
    assert stored(path) == (1, 1, 270_000)


@pytest.mark.parametrize("policy", [asyncio.run, uvloop.run])
def test_a_saturated_loop_loses_nothing(path, policy):
    """A writer beside a loop that never rests still stores every call, each exactly once."""
    count = 20_000

    async def saturate(journal):
        for number in range(count):
            journal.add(record(f"r{number}", entry(f"r{number}", 1), entry(f"r{number}", 2)))
            if number % 50 == 0:
                await asyncio.sleep(0)

    journal = Journal(path)
    policy(saturate(journal))
    journal.close()
    assert stored(path) == (count, 2 * count, 2 * count * 270_000)


def test_calls_without_attempts_and_with_many_share_a_batch(path):
    """A refused call has no entries; its neighbours' entries are not shifted by that."""
    journal = Journal(path)
    for number in range(40):
        entries = tuple(entry(f"r{number}", attempt + 1) for attempt in range(number % 4))
        made = call(f"r{number}", attempts=len(entries))
        whole = record(f"r{number}")
        whole.call, whole.entries = made, entries
        journal.add(whole)
    journal.close()
    connection = open_reader(path)
    try:
        counts = connection.execute(
            "SELECT c.attempts, count(e.id) FROM calls c LEFT JOIN entries e USING (request_id) GROUP BY c.request_id"
        ).fetchall()
    finally:
        connection.close()
    assert sorted(counts) == sorted((number % 4, number % 4) for number in range(40))


def test_flush_says_when_it_could_not(path):
    """Flush is False while something is not stored, and True once it is."""
    journal = Journal(path)
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    journal.add(record("r1"))
    assert journal.flush(0.2) is False
    lock.execute("ROLLBACK")
    lock.close()
    assert journal.flush(20) is True
    journal.close()


def limit_pages(journal: Journal, pages: int) -> None:
    """The file may grow no further, whoever writes."""
    statement = f"PRAGMA max_page_count = {pages}"
    journal._store._writer.execute(statement)
    if journal._store._native is not None:
        journal._store._native.execute(statement.encode())


@pytest.fixture(params=["native", "python"])
def made(request, path):
    """A journal that writes its rows in native code, or in Python."""
    journal = Journal(path)
    if request.param == "native" and journal._store._native is None:
        journal.close()
        pytest.skip(f"no native writer: {missing}")
    if request.param == "python" and journal._store._native is not None:
        journal._store._native.close()
        journal._store._native = None
    return journal


def test_a_full_disk_is_said_and_nothing_is_lost(path, made):
    """While there is no space the fault is said and calls are kept; when space returns they are all written."""
    journal = made
    pages = journal._store._writer.execute("PRAGMA page_count").fetchone()[0]
    limit_pages(journal, pages + 20)
    for number in range(2000):
        journal.add(record(f"r{number}"))
    deadline = time.monotonic() + 20
    while journal.fault is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "full" in journal.fault
    assert path in journal.fault
    assert journal.queued > 0
    calls, entries, _ = stored(path)
    assert calls == entries  # of no batch is one half there
    assert journal.find("r1999").call.request_id == "r1999"
    limit_pages(journal, 1_000_000)
    assert journal.flush(20)
    assert journal.fault is None
    journal.close()
    assert stored(path) == (2000, 2000, 2000 * 270_000)


def test_close_says_what_it_could_not_write(path, made):
    """A ledger that cannot be written until the end is an error with the number of calls, not silence."""
    journal = made
    pages = journal._store._writer.execute("PRAGMA page_count").fetchone()[0]
    limit_pages(journal, pages)
    for number in range(500):
        journal.add(record(f"r{number}"))
    with pytest.raises(OurFault, match="could not be written") as caught:
        journal.close(timeout_s=0.3)
    written = stored(path)[0]
    assert f"{500 - written} calls" in str(caught.value)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_writer_is_a_fault(path, monkeypatch):
    """A bug in the writer thread does not end in silence: the fault is said, and close counts what is left."""
    journal = Journal(path, flush_ms=1)
    monkeypatch.setattr(journal._store, "write", lambda batch: len(batch) / 0)
    journal.add(record("r1"))
    assert journal.flush(0.5) is False
    assert "ZeroDivisionError" in journal.fault
    with pytest.raises(OurFault, match="1 calls"):
        journal.close()


@pytest.mark.parametrize(("write_s", "at_most"), [(0.0, 0.01), (0.03, 0.0)])
def test_a_slow_disk_leaves_less_time_to_gather(path, monkeypatch, write_s, at_most):
    """Half of flush_ms; and where two writes take all of it, nothing: a record is written within flush_ms if that can be."""
    naps, before = [], []
    write = SqliteStore.write

    def slowly(self, batch):
        time.sleep(write_s)
        write(self, batch)
        before.append(len(naps))

    monkeypatch.setattr(ledger_journal, "_nap", lambda _, seconds: naps.append(seconds))
    monkeypatch.setattr(SqliteStore, "write", slowly)
    journal = Journal(path, flush_ms=20)
    for number in range(3):
        journal.add(record(f"r{number}"))
        assert journal.flush(20)
    journal.close()
    assert set(naps[: before[0]]) == {0.01}
    assert len(naps) > before[0]
    assert max(naps[before[0] :]) <= at_most
    assert stored(path)[0] == 3


def test_who_adds_a_record_while_calls_come_wakes_nobody(path, monkeypatch):
    """The writer looks for rows by itself for a while before it sleeps: to wake it costs the loop more than a call does."""
    rung = []
    journal = Journal(path, flush_ms=20)
    journal.add(record("r0"))
    assert journal.flush(20)
    monkeypatch.setattr(journal, "_bell", Bell(journal._bell, rung))
    for number in range(1, 11):
        journal.add(record(f"r{number}"))
        while journal.queued:
            time.sleep(0.001)
    assert len(rung) < 5  # none, unless the machine stood still for a third of a second
    while not journal.asleep:
        time.sleep(0.001)
    rung.clear()
    journal.add(record("r11"))
    assert rung == [None]
    journal.close()
    assert stored(path)[0] == 12


class Bell:
    """The writer's, with a note of who rang."""

    def __init__(self, bell, rung):
        self.get = bell.get
        self._put, self._rung = bell.put, rung

    def put(self, what):
        self._rung.append(what)
        self._put(what)


def test_a_full_queue_is_known_to_admission(path):
    """From max_queue waiting calls on, full is True; once they are written it is False again."""
    journal = Journal(path, max_queue=3)
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    seen = []
    for number in range(4):
        seen.append(journal.full)
        journal.add(record(f"r{number}"))
    assert seen == [False, False, False, True]
    lock.execute("ROLLBACK")
    lock.close()
    assert journal.flush(20)
    assert journal.full is False
    journal.close()
    assert stored(path)[0] == 4


def test_what_cannot_be_encoded_keeps_its_money(path):
    """Broken characters, impossible numbers and strange objects cost their text; their cost and neighbours stay."""

    class Strange:
        secret = "sk-123"

    class Told(msgspec.Struct):
        reason: str

    endless = []
    endless.append(endless)
    journal = Journal(path)
    journal.add(record("r1"))
    journal.add(
        record("r2", entry("r2", error="half a \ud83d pair", output=2**70), explain=Told("\udc00 said"))
    )
    journal.add(record("r3", explain={"x": Strange()}))
    journal.add(record("r4", explain=endless))
    journal.close()
    assert stored(path) == (4, 4, 4 * 270_000)
    connection = open_reader(path)
    try:
        second, third, fourth = (read_record(connection, name) for name in ("r2", "r3", "r4"))
    finally:
        connection.close()
    assert second.entries[0].error == "half a ? pair"
    assert second.entries[0].output is None
    assert second.call.explain == {"reason": "? said"}
    assert third.call.explain == {"x": "<Strange>"}
    assert fourth.call.explain == {"unreadable": "What was decided could not be kept: RecursionError."}


def test_a_path_that_cannot_be_written_is_a_clear_fault(tmp_path):
    """The fault names the setting, the path and what to do."""
    with pytest.raises(ConfigFault, match="cannot be opened") as caught:
        Journal(str(tmp_path / "no" / "such" / "dir.db"))
    assert caught.value.path == "$.ledger.path"
    assert "directory" in caught.value.hint


def test_a_stranger_is_left_alone(tmp_path):
    """Another program's database, or no database at all, is refused and not changed."""
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE entries (id)")
    connection.commit()
    connection.close()
    text = tmp_path / "notes.txt"
    text.write_bytes(b"not a database, but long enough to be read as one. " * 100)
    for path, message in ((other, "not a Penstock ledger"), (text, "not a database")):
        before = path.read_bytes()
        with pytest.raises(ConfigFault, match=message):
            Journal(str(path))
        assert path.read_bytes() == before


def test_a_newer_ledger_is_refused(path):
    """A schema from the future is not guessed at."""
    Journal(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigFault, match="newer Penstock"):
        Journal(path)


def test_reading_needs_a_ledger(tmp_path):
    """A reader makes no file, and says how to name one."""
    path = tmp_path / "absent.db"
    with pytest.raises(ConfigFault, match="no ledger") as caught:
        open_reader(str(path))
    assert "--db" in caught.value.hint
    assert not path.exists()


def test_the_tables_are_the_structs(path):
    """Columns and fields are one list, so that a value lands where it belongs; rows are made and read by these places."""
    connection = open_writer(path)
    try:
        for table, columns in (("calls", CALL_COLUMNS), ("entries", ENTRY_COLUMNS)):
            made = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            assert tuple(made) == columns
        places = (14, 16, 17, 32, 36, 37, 38, 39)
        assert [ENTRY_COLUMNS[place] for place in places] == [
            "stream", "error_code", "error", "lines", "ttft_ms", "tokens_per_s", "connect_ms", "meta",
        ]  # fmt: skip
        assert [CALL_COLUMNS[place] for place in (5, 6, 12, 13)] == [
            "error_code",
            "stream",
            "adjusted",
            "explain",
        ]
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
    finally:
        connection.close()


def test_two_processes_may_open_a_new_ledger_at_once(path):
    """Migrating is done by one of them; both can write."""
    journals, faults = [], []

    def opening():
        try:
            journals.append(Journal(path))
        except ConfigFault as error:
            faults.append(str(error))

    threads = [threading.Thread(target=opening) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, journal in enumerate(journals):
        journal.add(record(f"r{number}"))
        journal.close()
    assert faults == []
    assert stored(path)[0] == 4


@pytest.mark.parametrize("after", range(1, 4))
def test_a_ledger_made_while_it_is_looked_at_is_ours(path, after, monkeypatch):
    """Between any two looks of the one that opens, another process may have made the tables."""
    made = []

    class Meddled(sqlite3.Connection):
        def execute(self, sql, *more):
            if len(looks) == after and not made:
                made.append(None)
                open_writer(path).close()
            looks.append(sql)
            return super().execute(sql, *more)

    looks = []
    connect = sqlite3.connect
    first = [Meddled]

    def connecting(*words, **options):
        return connect(*words, **options, factory=first.pop() if first else sqlite3.Connection)

    monkeypatch.setattr("penstock.ledger.schema.sqlite3.connect", connecting)
    open_writer(path).close()
    assert made


def test_the_view_unfolds_lines(path):
    """Every line of every entry is a row of the view, and they add up to the entries' costs."""
    journal = Journal(path)
    journal.add(record("r1", entry("r1", 1), entry("r1", 2, row=None)))
    journal.close()
    connection = open_reader(path)
    try:
        rows = connection.execute(
            "SELECT entry_id, unit, quantity, price_version, cost_nusd FROM lines"
        ).fetchall()
    finally:
        connection.close()
    assert rows == [
        ("r1/1", "input", 1000, "2026-11-01", 150_000),
        ("r1/1", "output", 200, "2026-11-01", 120_000),
        ("r1/2", "input", 1000, "unknown", None),
        ("r1/2", "output", 200, "unknown", None),
    ]
