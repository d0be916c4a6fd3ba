"""kill -9 in the middle of writing to PostgreSQL: what was acknowledged is there, whole and once."""

import os
import signal
import subprocess
import sys

import psycopg

WRITER = """
import sys
from penstock.ledger.opening import open_journal
from tests.ledger.make import entry, record
journal = open_journal(sys.argv[1], flush_ms=1, max_queue=100_000)
number = int(sys.argv[2])
while True:
    for _ in range(50):
        journal.add(record(f"r{number}", entry(f"r{number}", 1), entry(f"r{number}", 2, klass="own_cost")))
        number += 1
    assert journal.flush(30)
    for _ in range(25):  # more on the way when the blow falls
        journal.add(record(f"x{number}"))
        number += 1
    print(number, flush=True)
"""


def acknowledged(url, start, rounds):
    """Run a writer, kill it after some acknowledgements; the ids it had been told are safe."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, url, str(start)],
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


def test_no_acknowledged_call_is_lost_by_kill_9(postgres_url):
    """Five kills on one database: every flushed call is there with both entries, none is torn, none is double."""
    safe = []
    for turn in range(5):
        safe += acknowledged(postgres_url, turn * 1_000_000, rounds=3 + turn)
    with psycopg.connect(postgres_url) as connection:
        kept = dict(
            connection.execute("SELECT request_id, count(*) FROM penstock.entries GROUP BY 1").fetchall()
        )
        calls = [row[0] for row in connection.execute("SELECT request_id FROM penstock.calls")]
        double = connection.execute(
            "SELECT id FROM penstock.entries GROUP BY id HAVING count(*) > 1"
        ).fetchall()
    assert len(safe) == 50 * (3 + 4 + 5 + 6 + 7)
    assert [name for name in safe if kept.get(name) != 2] == []
    assert len(calls) == len(set(calls))
    assert set(calls) == set(kept)
    assert {kept[name] for name in calls if name.startswith("r")} == {2}
    assert double == []
