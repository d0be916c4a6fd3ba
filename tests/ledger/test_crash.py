"""kill -9 in the middle of writing: what was acknowledged is there, and the file is whole."""

import os
import signal
import sqlite3
import subprocess
import sys

from penstock.ledger.journal import Journal
from tests.ledger.make import record

WRITER = """
import sys
from penstock.ledger.journal import Journal
from tests.ledger.make import entry, record
journal = Journal(sys.argv[1], flush_ms=1)
number = int(sys.argv[2])
while True:
    for _ in range(50):
        journal.add(record(f"r{number}", entry(f"r{number}", 1), entry(f"r{number}", 2)))
        number += 1
    assert journal.flush(30)
    for _ in range(25):  # more on the way when the blow falls
        journal.add(record(f"x{number}"))
        number += 1
    print(number, flush=True)
"""


def acknowledged(path, start, rounds):
    """Run a writer, kill it after some acknowledgements; the ids it had been told are safe."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, path, str(start)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    safe = []
    try:
        for _ in range(rounds):
            last = int(process.stdout.readline())
            safe += [f"r{number}" for number in range(last - 75, last - 25)]
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    return safe


def test_no_acknowledged_call_is_lost_by_kill_9(tmp_path):
    """Five kills on one file: every flushed call is there with both entries, nothing is double, the file is sound."""
    path = str(tmp_path / "penstock.db")
    safe = []
    for turn in range(5):
        safe += acknowledged(path, turn * 1_000_000, rounds=3 + turn)
    journal = Journal(path)  # the restart after the crash
    journal.add(record("after"))
    journal.close()
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        kept = dict(connection.execute("SELECT request_id, count(*) FROM entries GROUP BY 1"))
        calls = {row[0] for row in connection.execute("SELECT request_id FROM calls")}
        torn = connection.execute(
            "SELECT count(*) FROM entries WHERE request_id NOT IN (SELECT request_id FROM calls)"
        ).fetchone()[0]
    finally:
        connection.close()
    assert len(safe) == 50 * (3 + 4 + 5 + 6 + 7)
    assert [name for name in safe if kept.get(name) != 2 or name not in calls] == []
    assert torn == 0
    assert "after" in calls
