"""What the model cannot show: several processes and threads, a kill in the middle of a body, the ledger beside it."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from penstock.base.errors import ConfigFault, OurFault
from penstock.ledger.journal import Journal
from penstock.objects.store import PIECE_BYTES
from tests.house.source import ROOT
from tests.objects.make import START_MS, Hand, in_file, in_postgres


@pytest.fixture(params=["file", "postgres"])
def opened(request, tmp_path):
    """Opens one store again and again, as several processes would."""
    clock = Hand()
    if request.param == "file":
        place = tmp_path / "ledger.db"
        Journal(str(place)).close()
        return lambda: in_file(place, clock)
    url = request.getfixturevalue("postgres_url")
    return lambda: in_postgres(url, clock)


def test_what_one_has_stored_another_finds(opened):
    """And after all have gone."""
    first, second = opened(), opened()
    first.put("file", "file-1", "alice", meta={"a": 1}, body=b"x" * (3 * PIECE_BYTES))
    assert second.body("file", "file-1", "alice") == b"x" * (3 * PIECE_BYTES)
    assert second.get("file", "file-1", "bob") is None
    assert second.change("file", "file-1", "alice", {"a": 2}, version=1)
    assert not first.change("file", "file-1", "alice", {"a": 3}, version=1)
    first.close()
    second.close()
    third = opened()
    assert third.get("file", "file-1", "alice").meta == {"a": 2}
    third.close()


def test_work_is_claimed_once_however_many_ask(opened):
    """Forty jobs, four stores, eight threads: each is had by one."""
    stores = [opened() for _ in range(4)]
    for n in range(40):
        stores[0].put("job", f"job_{n}", "alice", meta={}, due_ms=START_MS)
    had: list[str] = []

    def work(store, worker):
        while (job := store.claim("job", worker=worker, lease_ms=60_000, now_ms=START_MS)) is not None:
            had.append(job.id)

    threads = [threading.Thread(target=work, args=(stores[n % 4], f"w{n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # PostgreSQL passes over rows that others hold, so that somebody may leave early: what is left is claimed now.
    work(stores[0], "last")
    assert sorted(had) == sorted(f"job_{n}" for n in range(40))
    for store in stores:
        store.close()


def test_who_has_lost_its_lease_changes_nothing(opened):
    """A worker that slept too long finds its version gone."""
    store = opened()
    store.put("job", "j", "alice", meta={"state": "queued"}, due_ms=START_MS)
    slow = store.claim("job", worker="slow", lease_ms=10, now_ms=START_MS)
    assert store.claim("job", worker="next", lease_ms=10, now_ms=START_MS + 9) is None
    quick = store.claim("job", worker="next", lease_ms=10, now_ms=START_MS + 10)
    assert quick.id == "j"
    assert store.renew("job", "j", "alice", worker="slow", lease_ms=10, now_ms=START_MS + 11) is None
    assert not store.change("job", "j", "alice", {"state": "done by slow"}, version=slow.version, due_ms=None)
    assert store.change("job", "j", "alice", {"state": "done"}, version=quick.version, due_ms=None)
    assert store.claim("job", worker="any", lease_ms=10, now_ms=START_MS + 99) is None
    store.close()


def test_two_that_store_the_same_name_at_once(opened):
    """One of the two stays, whole."""
    stores = [opened() for _ in range(2)]
    bodies = [bytes([65 + n]) * (PIECE_BYTES + 7) for n in range(2)]
    for round_ in range(5):
        threads = [
            threading.Thread(
                target=stores[n].put,
                args=("file", f"f{round_}", "alice"),
                kwargs={"meta": {}, "body": bodies[n]},
            )
            for n in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stores[0].body("file", f"f{round_}", "alice") in bodies
    stores[0].sweep(START_MS + 10 * 86_400_000)
    with stores[0].database.reading() as connection:
        assert connection.execute("SELECT count(DISTINCT blob) FROM object_pieces").fetchone()[0] == 5
    for store in stores:
        store.close()


KILLED = """
import sys
from penstock.objects.sql import SqlObjects
from penstock.objects.sqlite import SqliteTables
from penstock.objects.times import unix_ms
store = SqlObjects(SqliteTables(sys.argv[1]), unix_ms)
add = store.add
def told(draft, n, piece):
    add(draft, n, piece)
    print(n, flush=True)
store.add = told
store.put("file", "f", "alice", meta={}, body=b"x" * (64 << 20))
"""


def test_a_body_whose_writer_is_killed_is_not_there_and_leaves_nothing(tmp_path):
    """kill -9 in the middle of 64 pieces."""
    place = tmp_path / "ledger.db"
    clock = Hand()
    store = in_file(place, clock)
    store.put("file", "f", "alice", meta={"old": True}, body=b"old")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(place)],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    for _ in range(5):
        assert process.stdout is not None
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert store.body("file", "f", "alice") == b"old"
    with sqlite3.connect(place) as connection:
        assert connection.execute("SELECT count(*) FROM object_pieces").fetchone()[0] >= 5
    connection.close()
    clock.now_ms += 10 * 365 * 86_400_000
    store.sweep(clock.now_ms)
    with store.database.reading() as rows:
        assert rows.execute("SELECT count(*) FROM object_pieces").fetchone()[0] == 1
    store.close()


def test_names_that_no_database_can_keep_are_not_found(opened):
    """They come out of callers' paths."""
    store = opened()
    for odd in ("a\x00b", "\ud800"):
        assert store.get("file", odd, "alice") is None
        assert store.delete("file", odd, "alice") is False
        assert store.listed("file", "alice", after=odd) == []
        with pytest.raises(OurFault):
            store.put("file", odd, "alice", meta={})
    store.close()


def test_the_ledger_is_read_and_migrated_with_these_tables_in_it(tmp_path):
    """Own tables: the ledger's version stays its own."""
    place = tmp_path / "ledger.db"
    Journal(str(place)).close()
    store = in_file(place, Hand())
    store.put("file", "f", "alice", meta={})
    Journal(str(place)).close()
    assert store.get("file", "f", "alice") is not None
    store.close()


def test_a_folder_that_is_missing_is_said(tmp_path):
    """With the path of the knob."""
    with pytest.raises(ConfigFault) as fault:
        in_file(tmp_path / "no" / "ledger.db", Hand())
    assert fault.value.path == "$.ledger.path"


def test_postgres_that_was_restarted_is_asked_again(postgres_server, postgres_url):
    """Kept connections that are gone are replaced; while it is away: 503."""
    store = in_postgres(postgres_url, Hand())
    store.put("file", "f", "alice", meta={})
    postgres_server.stop()
    try:
        with pytest.raises(OurFault) as refused:
            store.get("file", "f", "alice")
        assert refused.value.status == 503
    finally:
        postgres_server.start()
    assert store.get("file", "f", "alice") is not None
    store.close()
