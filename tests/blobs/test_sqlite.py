"""A file that several processes share, and what becomes of it when the machine is unkind."""

import asyncio
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys

import pytest

from penstock.blobs.blob import Place, StoreFault
from penstock.blobs.far import Put
from penstock.blobs.sqlite_rows import GONE_KEPT_MS
from penstock.blobs.sqlite_schema import APPLICATION_ID, MIGRATIONS
from tests.blobs.make import ACME, OTHER, Clock, blob, sqlite, tiers, until
from tests.house.source import ROOT
from tests.state.make import running

ENVIRONMENT = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": os.environ["PATH"]}


class Worker:
    """Another process on the same file."""

    def __init__(self, path, what="obey"):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.blobs.worker", what, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT,
        )  # fmt: skip
        self.first = self.process.stdout.readline()

    def __call__(self, *words):
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            assert self.process.wait(20) == 0
        self.process.stdout.close()
        self.process.stdin.close()


def test_two_processes_see_what_the_other_does(tmp_path):
    """Writes, overwriting, drops and purges; and both have the same secret."""
    one, two = Worker(tmp_path / "b.db"), Worker(tmp_path / "b.db")
    assert one.first == two.first
    one("put", "acme", "k", "first", "about")
    one("put", "other", "k", "others", "")
    assert two("find", "acme", "k") == "first"
    assert two("near", "acme", "k") == "first"
    assert two("find", "third", "k") is None
    one("put", "acme", "k", "second", "")
    until(lambda: two("near", "acme", "k") is None)
    assert two("find", "acme", "k") == "second"
    assert two("drop", "acme", "k") is True
    until(lambda: one("near", "acme", "k") is None)
    assert one("find", "acme", "k") is None
    one("put", "acme", "k", "third", "")
    assert two("find", "acme", "k") == "third"
    assert two("find", "other", "k") == "others"
    assert one("purge", "acme") == 1
    until(lambda: two("near", "acme", "k") is None)
    assert two("find", "acme", "k") is None
    assert two("near", "other", "k") == "others"
    one.end()
    two.end()


@pytest.mark.parametrize("number", range(3))
def test_killed_while_it_writes_it_leaves_a_file_that_can_be_read(tmp_path, number):
    worker = Worker(tmp_path / "b.db", "write")
    assert worker.first == "writing\n"
    store = sqlite(tmp_path / "b.db")
    until(lambda: store.stats().entries > 100)
    worker.process.send_signal(signal.SIGKILL)
    worker.process.wait(20)
    worker.end()
    found = store.scan("answer", 0, 1_000, 0)
    assert len(found) == store.stats().entries > 100
    for one in found:
        whole = store.get(one.place, one.key, 0)
        assert len(set(whole.value.split())) == 1
    store.put(blob())
    assert store.get(ACME, b"k", 0).value == b"v"
    store.close()
    with sqlite3.connect(tmp_path / "b.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        row = connection.execute("SELECT sum(size), count(*) FROM blobs").fetchone()
        assert row == connection.execute("SELECT size, entries FROM state").fetchone()
    connection.close()


def test_a_late_write_does_not_undo_what_another_dropped(tmp_path):
    """The mark: what was asked for before one had heard of the purge is not written after it."""
    mine, theirs = sqlite(tmp_path / "b.db"), sqlite(tmp_path / "b.db")
    mine.put(blob(key=b"there"))
    theirs.poll()
    late = [
        Put(one, theirs.mark)
        for one in (blob(), blob(key=b"2"), blob(OTHER), blob(Place("tensor", "acme", "n")))
    ]
    assert mine.purge(kind="answer", tenant="acme") == 1
    mine.drop(Place("tensor", "acme", "n"), b"k")
    assert theirs.write(late) == [0, 0, 1, 0]
    theirs.poll()
    assert theirs.write([Put(blob(), theirs.mark)]) == [1]
    assert mine.write([Put(blob(value=b"own"), 0)]) == [1]
    mine.close()
    theirs.close()


def test_news_is_of_others_and_in_order(tmp_path):
    told = []
    mine = sqlite(tmp_path / "b.db", heard=told.extend)
    mine.poll()
    theirs = sqlite(tmp_path / "b.db")
    mine.put(blob(key=b"mine"))
    mine.poll()
    assert told == []
    theirs.put(blob(key=b"1", about=b"a"))
    theirs.purge(kind="answer")
    theirs.put(blob(key=b"2", about=b"b"))
    mine.poll()
    assert [(one.what, one.key) for one in told] == [("purge", b""), ("drop", b"1"), ("put", b"2")]
    assert told[-1].blob.about == b"b"
    assert told[-1].blob.value == b""
    del told[:]
    mine.poll()
    assert told == []
    mine.close()
    theirs.close()


def test_who_slept_for_an_hour_forgets_all(tmp_path):
    clock, beat, told = Clock(), Clock(0), []
    mine = sqlite(tmp_path / "b.db", clock, heard=lambda changes: told.extend(one.what for one in changes))
    mine.poll()
    theirs = sqlite(tmp_path / "b.db", clock, monotonic_s=beat)
    theirs.drop(ACME, b"k")
    clock.now += GONE_KEPT_MS + 1
    beat.now = 100
    theirs.poll()
    mine.poll()
    assert told == ["lost"]
    mine.close()
    theirs.close()


def test_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "b.db"
    store = sqlite(path)
    store.put(blob())
    for end in ("", "-wal", "-shm"):
        assert stat.S_IMODE(os.stat(f"{path}{end}").st_mode) == 0o600
    store.close()
    os.chmod(path, 0o644)
    store = sqlite(path)
    store.get(ACME, b"k", 0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store.close()


@pytest.mark.parametrize(
    "what", ["a document", "another database", "with another's id", "a newer one", "a folder"]
)
def test_what_is_not_ours_is_left_as_it_is(tmp_path, what):
    path = tmp_path / "b.db"
    if what == "a document":
        path.write_bytes(b"Dear diary, " * 1_000)
    elif what == "a folder":
        path.mkdir()
    else:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE theirs (x)")
        if what == "with another's id":
            connection.execute("PRAGMA application_id = 7")
        if what == "a newer one":
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        connection.commit()
        connection.close()
    before = None if path.is_dir() else path.read_bytes()
    store = sqlite(path)
    with pytest.raises(StoreFault):
        store.put(blob())
    with pytest.raises(StoreFault):
        store.get(ACME, b"k", 0)
    store.close()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["b.db"]
    if before is not None and what != "a newer one":
        assert path.read_bytes() == before


def filled(path):
    store = sqlite(path)
    for number in range(300):
        store.put(blob(key=b"%d" % number, value=b"x" * 2_000, about=b"a"))
    store.close()


def spoil(path):
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xff" * (path.stat().st_size - 4_096))


def test_a_broken_file_is_set_aside_and_a_new_one_begun(tmp_path):
    path = tmp_path / "b.db"
    filled(path)
    spoil(path)
    store, told = sqlite(path), []
    faults = 0
    for _ in range(3):
        try:
            store.put(blob())
        except StoreFault:
            faults += 1
    assert faults == 1
    assert store.get(ACME, b"k", 0).value == b"v"
    aside = [
        one for one in tmp_path.iterdir() if ".broken-" in one.name and one.name[-4:] not in ("-wal", "-shm")
    ]
    assert len(aside) == 1
    assert aside[0].stat().st_size > 300_000
    assert told == []
    store.close()


def test_a_file_that_breaks_while_it_is_open(tmp_path):
    """Two processes have it open: one sets it aside, the other goes over to the new one with its next poll."""
    path = tmp_path / "b.db"
    filled(path)
    one, told = sqlite(path), []
    two = sqlite(path, heard=lambda changes: told.extend(change.what for change in changes))
    assert one.get(ACME, b"1", 0) is not None
    two.poll()
    spoil(path)
    with pytest.raises(StoreFault):
        assert [one.get(ACME, b"%d" % number, 0) for number in range(300)]
    one.put(blob(value=b"anew"))
    two.poll()
    assert told[:1] == ["lost"]
    assert two.get(ACME, b"k", 0).value == b"anew"
    two.put(blob(OTHER))
    assert one.get(OTHER, b"k", 0).value == b"v"
    one.close()
    two.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@running
async def test_a_locked_file_is_a_miss(tmp_path, monkeypatch):
    monkeypatch.setattr("penstock.blobs.sqlite_schema._BUSY_S", 0.05)
    path, said = tmp_path / "b.db", []
    blobs = tiers(path, say=lambda key, words: said.append(words))
    await blobs.open()
    blobs.put(blob())
    await blobs.flush()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    blobs.put(blob(OTHER))
    await blobs.flush()
    assert blobs.faults == 1
    assert "locked" in said[0]
    assert blobs.near(OTHER, b"k", 0).value == b"v"
    other.execute("ROLLBACK")
    other.close()
    await blobs.aclose()


@running
async def test_a_full_disk_is_a_miss(tmp_path):
    """As SQLite says it where no page is left; /dev/full is no file that it would open."""
    path, said = tmp_path / "b.db", []
    blobs = tiers(path, say=lambda key, words: said.append(words))
    await blobs.open()
    blobs.put(blob(value=b"kept"))
    await blobs.flush()
    writer = blobs._far[0]._store._file.writer
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages}")
    blobs.put(blob(OTHER, value=b"x" * 100_000))
    await blobs.flush()
    assert blobs.faults == 1
    assert "full" in said[0]
    assert (await blobs.find(ACME, b"k", 0, within_s=20.0)).value == b"kept"
    await blobs.aclose()


@running
async def test_a_file_that_cannot_be_made_is_a_miss(tmp_path):
    blobs = tiers(tmp_path / "no such folder" / "b.db")
    await blobs.open()
    blobs.put(blob())
    await asyncio.wait_for(blobs.flush(), 20)
    assert (await blobs.find(ACME, b"k", 0, within_s=20.0)).value == b"v"
    assert blobs.faults == 1
    assert len(blobs.secret()) == 32
    assert await blobs.purge(tenant="acme") == 1
    await blobs.aclose()


def test_two_open_a_new_file_at_once(tmp_path):
    workers = [Worker(tmp_path / "b.db") for _ in range(3)]
    assert len({worker.first for worker in workers}) == 1
    for worker in workers:
        worker.end()
