"""kill -9 in the middle of 5,000 writes a second, twenty times: what was acknowledged is there, once; every counter agrees.

``python -m benches.kill [--kills 20] [--writes 5300] [--postgres]``. A tenth of the writes are calls (whole and streamed),
the rest entries, posted a hundred at a time. Acknowledged: a post that was answered 2xx, and a call whose reply had ended
more than ``ledger.flush_ms`` (20) before the blow. After each kill a new process on the same ledger is asked: its rollups
and metrics are compared with the entries themselves, and what nobody had acknowledged is sent again.
Ends with 1, and says what, if anything was lost, was double, or differed.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.server.reckoning import Played, play
from tests.server.storm import PER_POST
from tests.servers import PostgresServer

from benches.machine import identity, write

FLUSH_MS = 20


def told(played: Played, kills: int) -> dict[str, Any]:
    """The figures of a run."""
    reckoning = played.reckoning
    ((entries, nusd),) = reckoning.ask("SELECT count(*), sum(cost_nusd) FROM entries")
    lost_ms = reckoning.lost_ms()
    writes = [storm.writes_per_s for storm in played.storms[:kills]]
    return {
        "kills": kills,
        "acknowledged_if_a_reply_ended_before_the_blow_ms": FLUSH_MS,
        "writes_per_s": {
            "median": statistics.median(writes),
            "least": min(writes),
            "most": max(writes),
        },
        "acknowledged": {
            "entries_posted": len(reckoning.owed),
            "calls": sum(ago_ms > FLUSH_MS for _, ago_ms in reckoning.answers),
        },
        "in_the_ledger": {"entries": entries, "nusd": int(nusd)},
        "replies_lost_that_were_not_acknowledged": {
            "calls": len(lost_ms),
            "the_longest_before_the_blow_ms": round(lost_ms[-1], 1) if lost_ms else None,
        },
        "trouble": [trouble for storm in played.storms for trouble in storm.trouble],
        "faults": played.faults,
    }


def main() -> None:
    """Run, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--writes", type=int, default=5300, help="asked for a second: a tenth calls, else posted entries"
    )
    parser.add_argument("--postgres", action="store_true", help="the ledger in a PostgreSQL of its own")
    args = parser.parse_args()
    record = identity()
    server = PostgresServer(durable=True) if args.postgres else None
    try:
        with tempfile.TemporaryDirectory(prefix="penstock-kill-") as name:
            played = play(
                Path(name),
                args.kills,
                posts_per_s=args.writes * 0.9 / PER_POST,
                calls_per_s=args.writes * 0.1,
                least_s=1.0,
                within_ms=FLUSH_MS,
                ledger_url=None if server is None else server.database(),
            )
            figures = told(played, args.kills)
    finally:
        if server is not None:
            server.remove()
    print(*(f"{key}: {value}" for key, value in figures.items()), sep="\n")
    if args.kills >= 20:
        name = "ledger-kill-postgres" if args.postgres else "ledger-kill"
        print(write(name, {**record, "load_after": os.getloadavg(), **figures}))
    if played.faults or not played.reckoning.owed:
        sys.exit(1)


if __name__ == "__main__":
    main()
