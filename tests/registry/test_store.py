"""Both stores keep a promise: a change is whole and durable, or it did not happen; and the record is only added to."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading

import psycopg
import pytest

from penstock.base.errors import ConfigFault, OurFault
from penstock.registry.objects import Registry, Stored
from penstock.registry.opening import open_store
from penstock.registry.store import SUFFIX, FileStore, Stale
from penstock.registry.views import Entry
from tests.house.source import ROOT


def stored(kind="team", name="research", at_ms=1000, **fields):
    return Stored(kind=kind, name=name, fields=fields, created_ms=at_ms, updated_ms=at_ms)


def entry(name="research", kind="team", action="team.created", at_ms=1000, **sides):
    return Entry(
        at_ms=at_ms,
        who="ann",
        action=action,
        kind=kind,
        name=name,
        before=sides.get("before"),
        after=sides.get("after"),
    )


@pytest.fixture(params=["file", "postgres"])
def place(request, tmp_path):
    """The ledger's place, of each kind; nothing is stored yet."""
    if request.param == "file":
        return str(tmp_path / "penstock.db")
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def store(place):
    opened = open_store(place)
    yield opened
    opened.close()


def test_nothing_was_made_yet(store):
    assert store.version() == 0
    assert store.read() == Registry()
    assert store.audit(limit=10, before=None, kind=None, name=None) == []


def test_what_is_stored_is_read_by_another(store, place):
    """In the order of the tree, with text of any kind; the version counts, and a key closes the door for good."""
    odd = "équipe 'Ä' \"水\" 🦆 %s"
    store.commit(0, ("team", odd), stored(name=odd, models=["a/*"], tags={"k": "v"}), entry(odd))
    org = stored("organisation", "zeta", budgets=[{"limit_usd": "10.50"}])
    store.commit(1, org.place, org, entry("zeta", "organisation", after={"budgets": []}))
    assert not store.read().closed
    key = stored("key", "a", key="sha256:00")
    store.commit(2, key.place, key, entry("a", "key"))
    other = open_store(place)
    registry = other.read()
    assert [one.place for one in registry.objects] == [("organisation", "zeta"), ("team", odd), ("key", "a")]
    assert registry.objects[1].fields == {"models": ["a/*"], "tags": {"k": "v"}}
    assert (registry.version, registry.closed) == (3, True)
    store.commit(3, key.place, None, entry("a", "key", "key.revoked"))
    assert (other.read().closed, other.version()) == (True, 4)
    assert [one.name for one in other.read().objects] == ["zeta", odd]
    other.close()


def test_a_stale_change_stores_nothing(store):
    """Neither the object nor the record of it."""
    store.commit(0, ("team", "a"), stored(name="a"), entry("a"))
    with pytest.raises(Stale):
        store.commit(0, ("team", "b"), stored(name="b"), entry("b"))
    assert [one.name for one in store.read().objects] == ["a"]
    assert [one.name for one in store.audit(limit=9, before=None, kind=None, name=None)] == ["a"]
    assert store.version() == 1


def test_a_change_keeps_when_it_was_made(store):
    """Of the object itself; what changes is the time of the change."""
    store.commit(0, ("team", "a"), stored(name="a", at_ms=5), entry("a"))
    later = Stored(kind="team", name="a", fields={"models": ["x/*"]}, created_ms=99, updated_ms=9)
    store.commit(1, ("team", "a"), later, entry("a"))
    (one,) = store.read().objects
    assert (one.created_ms, one.updated_ms, one.fields) == (5, 9, {"models": ["x/*"]})


def test_the_record_is_asked_from_its_newest_end(store):
    """By kind and by name, page by page."""
    for number in range(6):
        kind, name = ("team", "organisation")[number % 2], "ab"[number // 3]
        store.note(entry(name, kind, at_ms=number, before={"n": number}, after={"n": number}))
        if number == 0 and not store.audit(limit=1, before=None, kind=None, name=None):
            # A file is made by the first change, and a note is none.
            store.commit(
                0, ("team", "a"), stored(name="a"), entry("a", at_ms=0, before={"n": 0}, after={"n": 0})
            )
    every = store.audit(limit=100, before=None, kind=None, name=None)
    assert [one.at_ms for one in every] == [5, 4, 3, 2, 1, 0]
    assert every[0].before == {"n": 5}
    assert [one.at_ms for one in store.audit(limit=100, before=None, kind="team", name=None)] == [4, 2, 0]
    assert [one.at_ms for one in store.audit(limit=100, before=None, kind="team", name="a")] == [2, 0]
    page = store.audit(limit=2, before=every[1].id, kind=None, name=None)
    assert [one.at_ms for one in page] == [3, 2]


def test_what_the_newest_note_said_is_not_said_again(store):
    """Four workers take one file, and say it once; another file is another line, and so is going back to the first."""
    store.commit(0, ("team", "a"), stored(name="a"), entry("a"))
    for version in ("x", "x", "y", "y", "x"):
        store.note(entry("", "config", "config.taken", after={"config": version}))
    said = store.audit(limit=9, before=None, kind="config", name=None)
    assert [one.after["config"] for one in said] == ["x", "y", "x"]


def test_many_at_once_are_one_after_another(store, place):
    """Four threads, each with its own connection, each change decided anew when it was stale: none is lost."""
    store.commit(0, ("team", "start"), stored(name="start"), entry("start"))

    def work(number):
        mine = open_store(place)
        for turn in range(5):
            name = f"t{number}-{turn}"
            while True:
                try:
                    mine.commit(mine.version(), ("team", name), stored(name=name), entry(name))
                except Stale:
                    continue
                break
        mine.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    registry = store.read()
    assert len(registry.objects) == 21
    assert registry.version == 21
    assert len(store.audit(limit=100, before=None, kind=None, name=None)) == 21


def test_the_record_cannot_be_rewritten(store, place):
    """By a slip of a tool: the database itself refuses."""
    store.commit(0, ("team", "a"), stored(name="a"), entry("a"))
    if isinstance(store, FileStore):
        connection = sqlite3.connect(place + SUFFIX)
        for statement in ("DELETE FROM audit", "UPDATE audit SET who = 'bob'"):
            with pytest.raises(sqlite3.IntegrityError, match="only added to"):
                connection.execute(statement)
        connection.close()
    else:
        with psycopg.connect(place, autocommit=True) as connection:
            for statement in ("DELETE FROM penstock.admin_audit", "TRUNCATE penstock.admin_audit"):
                with pytest.raises(psycopg.errors.RaiseException, match="only added to"):
                    connection.execute(statement)
    assert len(store.audit(limit=9, before=None, kind=None, name=None)) == 1


def test_the_file_is_its_owners_and_made_by_the_first_change(tmp_path):
    """Who never makes a key at run time has no such file; whoever reads it must be its owner."""
    store = open_store(str(tmp_path / "penstock.db"))
    store.read()
    store.note(entry())
    assert list(tmp_path.iterdir()) == []
    store.commit(0, ("team", "a"), stored(name="a"), entry("a"))
    (path,) = tmp_path.iterdir()
    assert path.name == "penstock.db.admin"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("what", ["other", "newer", "text"])
def test_a_file_of_somebody_else_is_left_alone(tmp_path, what):
    """Another program's database, a newer version's, no database at all: refused at the start, byte for byte the same."""
    path = tmp_path / "penstock.db.admin"
    if what == "text":
        path.write_text("these are my notes, and no database at all, whatever its name\n" * 40)
    else:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE mine (a)")
        if what == "newer":
            connection.execute(f"PRAGMA application_id = {0x50454E41}")
            connection.execute("PRAGMA user_version = 99")
        connection.commit()
        connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigFault) as refused:
        FileStore(str(path))
    assert str(path) in refused.value.message
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    """Nothing is half there, and the error names the file."""
    store = FileStore(str(tmp_path / "gone" / "penstock.db.admin"))
    with pytest.raises(OurFault) as refused:
        store.commit(0, ("team", "a"), stored(name="a"), entry("a"))
    assert refused.value.status == 503
    assert "No such file or directory" in refused.value.message
    assert store.read() == Registry()


def test_a_first_change_that_was_cut_leaves_an_empty_store(tmp_path):
    """The file is there and has no tables: as if nothing had been."""
    path = tmp_path / "penstock.db.admin"
    path.touch()
    store = FileStore(str(path))
    assert store.read() == Registry()
    assert store.audit(limit=1, before=None, kind=None, name=None) == []
    store.commit(0, ("team", "a"), stored(name="a"), entry("a"))
    assert store.version() == 1


KILLED = """
import sys
from penstock.registry.store import FileStore
from tests.registry.test_store import entry, stored
store = FileStore(sys.argv[1])
for number in range(100_000):
    name = f"t{number}"
    store.commit(number, ("team", name), stored(name=name, models=["x" * 2000]), entry(name))
    print(number, flush=True)
"""


def test_what_was_answered_survives_kill_9(tmp_path):
    """Killed in the middle of changes: every answered one is there, at most one more, and the record is its mirror."""
    path = str(tmp_path / "penstock.db.admin")
    for _ in range(3):
        started = len(FileStore(path).read().objects)
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED.replace("range(100_000)", f"range({started}, 100_000)"), path],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        )
        assert child.stdout is not None
        for _ in range(8):
            answered = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
        child.stdout.close()
        child.wait()
        answered = int(rest[-1]) if rest else answered
        store = FileStore(path)
        registry = store.read()
        assert len(registry.objects) in (answered + 1, answered + 2)
        assert registry.version == len(registry.objects)
        record = store.audit(limit=100_000, before=None, kind=None, name=None)
        assert {one.name for one in record} == {one.name for one in registry.objects}


def test_postgres_that_was_restarted_is_asked_again(postgres_server, postgres_url):
    """A kept connection that is gone is no answer: a question and a change find a new one. While it is away: 503."""
    store = open_store(postgres_url)
    store.commit(0, ("team", "a"), stored(name="a"), entry("a"))
    postgres_server.stop()
    try:
        with pytest.raises(OurFault) as refused:
            store.version()
        assert refused.value.status == 503
        with pytest.raises(OurFault):
            store.commit(1, ("team", "b"), stored(name="b"), entry("b"))
    finally:
        postgres_server.start()
    assert store.version() == 1
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND application_name = 'penstock'"
        )
    store.commit(1, ("team", "b"), stored(name="b"), entry("b"))
    assert [one.name for one in store.read().objects] == ["a", "b"]
    store.close()
