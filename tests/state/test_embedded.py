"""What the pool granted is on the disk before it is used: a crash never gives money back."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from zoneinfo import ZoneInfo

import pytest

from penstock.base.errors import ConfigFault
from penstock.ledger.leases import Claim
from penstock.ledger.periods import window_at
from penstock.state.embedded import KEPT_S, EmbeddedStore
from penstock.state.names import new_run
from tests.state.holder import BUDGET, LIMIT_NUSD
from tests.state.make import running

NOW_S = 1_795_219_200.0
POT = ("key", "day", NOW_S)


def claim(holder, seq, spent=0, returned=0, **words):
    return Claim(holder, POT, seq, spent, returned, limit=1_000_000, ceiling=1_000_000, **words)


def taken(path):
    """As another process reads the file, now."""
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return reader.execute("SELECT COALESCE(SUM(nusd), 0) FROM taken").fetchone()[0]
    finally:
        reader.close()


def opened(path, at_s=NOW_S):
    return EmbeddedStore(str(path), lambda: at_s)


@running
async def test_a_grant_is_on_the_disk_when_it_is_answered(tmp_path):
    """Read back by another connection at that moment."""
    path = tmp_path / "penstock.db.state"
    store = opened(path)
    (grant,) = await store.exchange([claim("a", 1, want=True)])
    assert (grant.granted, grant.taken, taken(path)) == (20_000, 20_000, 20_000)
    grants = await asyncio.gather(
        *(store.exchange([claim(f"h{n}", 1, want=True, need=7)]) for n in range(40))
    )
    assert taken(path) == 20_000 + sum(grant.granted for (grant,) in grants)
    await store.aclose()


@running
async def test_a_run_that_ended_without_a_word_has_spent_all_it_held(tmp_path):
    """And one that ended well has spent what it said."""
    path = tmp_path / "state"
    store = opened(path)
    await store.exchange([claim("a", 1, want=True), claim("b", 1, want=True, need=500)])
    await store.exchange([claim("b", 2, 300, 0, final=True)])
    await store.aclose()
    again = opened(path)
    assert await again.standing([POT]) == [(20_300, 0)]
    (grant,) = await again.exchange([claim("c", 1, want=True, need=1_000_000)])
    assert (grant.granted, grant.left) == (0, 979_700)
    await again.aclose()


@running
async def test_a_restart_restarts_nothing(tmp_path):
    """Ten times in a row: what was taken stays taken, and is never counted twice."""
    path = tmp_path / "state"
    for turn in range(1, 11):
        store = opened(path)
        (grant,) = await store.exchange([claim(f"run{turn}", 1, want=True, need=50_000)])
        assert grant.granted == 50_000
        await store.aclose()
        assert taken(path) == 50_000 * turn
    rows = sqlite3.connect(path).execute("SELECT COUNT(*) FROM taken").fetchone()[0]
    assert rows == 2, "the last run, and one row for all before it"


@running
async def test_a_renewal_writes_nothing(tmp_path):
    """Most messages are renewals: they must not cost an fsync."""
    path = tmp_path / "state"
    store = opened(path)
    await store.exchange([claim("a", 1, want=True)])
    before = store._file.total_changes
    for seq in range(2, 50):
        await store.exchange([claim("a", seq, seq)])
    assert store._file.total_changes == before
    assert await store.standing([POT]) == [(49, 19_951)]
    await store.aclose()


@running
async def test_what_the_ledger_says_was_spent_is_taken(tmp_path):
    """A budget that is new, or a state file that was lost: at least that is gone. One that is known is not counted twice."""
    path = tmp_path / "state"
    store = opened(path)
    (grant,) = await store.exchange([claim("a", 1, floor=900_000, want=True, need=100_001)])
    assert (grant.granted, grant.left) == (0, 100_000)
    (grant,) = await store.exchange([claim("b", 1, floor=900_000, want=True, need=100_000)])
    assert grant.granted == 100_000
    await store.aclose()
    again = opened(path)
    (grant,) = await again.exchange([claim("c", 1, floor=950_000)])
    assert grant.taken == 1_000_000
    await again.aclose()


@running
async def test_nothing_is_granted_that_cannot_be_written_and_it_is_when_it_can_be(tmp_path):
    """Another connection holds the file's write lock longer than is waited for."""
    path = tmp_path / "state"
    store = opened(path)
    store._file.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    assert await store.exchange([claim("a", 1, want=True, need=10)]) == []
    assert store.fault is not None
    assert "locked" in store.fault
    assert await store.exchange([claim("a", 2)]) == [], "what is granted is not told before it is durable"
    other.rollback()
    (grant,) = await store.exchange([claim("a", 3)])
    assert (grant.granted, taken(path), store.fault) == (20_000, 20_000, None)
    await store.aclose()


def test_two_gateways_do_not_share_one_file(tmp_path):
    """Each would grant the whole of it."""
    path = tmp_path / "state"
    first = opened(path)
    with pytest.raises(ConfigFault, match="Another gateway") as caught:
        opened(path)
    assert "--workers" in caught.value.hint
    asyncio.run(first.aclose())
    asyncio.run(opened(path).aclose())


def test_a_file_of_somebody_else_is_not_touched(tmp_path):
    """Nor one that is no database."""
    path = tmp_path / "state"
    path.write_bytes(b"not a database, and long enough to be looked at" * 40)
    with pytest.raises(ConfigFault, match="cannot be opened"):
        opened(path)
    theirs = tmp_path / "theirs"
    with sqlite3.connect(theirs) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()
    with pytest.raises(ConfigFault, match="not one of Penstock's"):
        opened(theirs)


@running
async def test_windows_long_over_are_forgotten(tmp_path):
    """A month's are kept for a good while after it."""
    path = tmp_path / "state"
    store = opened(path)
    await store.exchange([claim("a", 1, want=True)])
    await store.aclose()
    store = opened(path, NOW_S + KEPT_S - 1)
    assert await store.standing([POT]) == [(20_000, 0)]
    await store.aclose()
    store = opened(path, NOW_S + KEPT_S + 1)
    assert await store.standing([POT]) == [(0, 0)]
    await store.aclose()
    assert taken(path) == 0


@running
async def test_windows_are_forgotten_by_a_process_that_never_restarts(tmp_path):
    """Once an hour it looks."""
    path, clock = tmp_path / "state", [NOW_S]
    store = EmbeddedStore(str(path), lambda: clock[0])
    await store.exchange([claim("a", 1, want=True)])
    clock[0] += KEPT_S + 1
    later = Claim("a", ("key", "day", clock[0]), 1, 0, 0, want=True, limit=100, ceiling=100)
    await store.exchange([later])
    assert taken(path) == 2
    assert len(store._told) == 1
    await store.aclose()


def test_names_of_runs_are_never_used_again():
    """Whatever the clock does."""
    assert len({new_run() for _ in range(1000)}) == 1000


def test_kill_9_gives_nothing_back(tmp_path):
    """Six runs, five of them killed at work: never above the limit, and what was spent is counted."""
    path = str(tmp_path / "state")
    spent = 0
    for turn in range(6):
        words = [sys.executable, "-m", "tests.state.holder", "embedded", path, "200", "0.6", str(turn)]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environ)
        last = {"spent": 0}
        lines = iter(process.stdout.readline, "")
        try:
            for number, line in enumerate(lines):
                last = json.loads(line)
                if turn < 5 and number >= 12 + turn:
                    process.send_signal(signal.SIGKILL)
                    break
            for line in lines:
                if line.endswith("}\n"):
                    last = json.loads(line)
        finally:
            process.kill()
            process.stdout.close()
            process.wait()
        assert last["spent"] > 0
        spent += last["spent"]
    pot = (BUDGET.name, window_at("day", ZoneInfo("UTC"), time.time()).start_s)

    async def standing():
        store = EmbeddedStore(path)
        found = await store.standing([("key", *pot)])
        await store.aclose()
        return found[0]

    counted, leased = asyncio.run(standing())
    assert leased == 0
    assert spent <= counted <= LIMIT_NUSD
