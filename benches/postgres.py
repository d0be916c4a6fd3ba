"""Entries a second into PostgreSQL: the store's own way, COPY in batches, on a real server that syncs its disk.

``python -m benches.postgres [--entries 200000] [--url postgresql://...]``. Without a URL a server of its own is started.
Beside it SQLite, the same records in the same batches, and the merge that only a repeated batch takes.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.ledger.make import entry, record
from tests.servers import PostgresServer

from benches.machine import identity, write
from penstock.ledger.entry import Record
from penstock.ledger.journal import _row
from penstock.ledger.postgres.store import PostgresStore
from penstock.ledger.store import Group, Row, SqliteStore, Store

BATCHES = (100, 1_000, 10_000)


def rows_of(prefix: str, count: int, **fields: Any) -> list[Row]:
    """One call with one entry, ``count`` times: what a batch holds."""
    made: list[Row] = []
    for number in range(count):
        name = f"{prefix}{number:09d}"
        one = record(name, entry(name, id=f"{name}/1", at_ms=time.time_ns() // 1_000_000, **fields))
        made.append(_row(one, one.call, one.entries))
    return made


def timed(store: Store, rows: list[Row], batch: int) -> dict[str, float]:
    """Write ``rows`` in batches: entries/s over all, and how long one batch takes."""
    took: list[float] = []
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    for start in range(0, len(rows), batch):
        at_s = time.perf_counter()
        store.write(rows[start : start + batch])
        took.append((time.perf_counter() - at_s) * 1000)
    wall_s = time.perf_counter() - begun_s
    return {
        "entries_per_s": round(len(rows) / wall_s),
        "own_cpu_us_per_entry": round((time.process_time() - cpu_s) / len(rows) * 1e6, 2),
        "batch_p50_ms": round(statistics.median(took), 2),
        "batch_max_ms": round(max(took), 2),
    }


def posted(store: Store, entries: int) -> dict[str, float]:
    """Entries without calls, a thousand to a post and ten posts to a batch, as ``POST /v1/ledger/entries`` brings them."""
    rows = rows_of("posted", entries, klass="own_cost")
    made: list[Row] = []
    for start in range(0, entries, 1000):
        some = rows[start : start + 1000]
        group = Group(tuple(row[0].entries[0] for row in some if isinstance(row[0], Record)), lambda _: None)
        made.append((group, [], [value for row in some for value in row[2]]))
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    for start in range(0, len(made), 10):
        store.write(made[start : start + 10])
    wall_s = time.perf_counter() - begun_s
    return {
        "entries_per_s": round(entries / wall_s),
        "own_cpu_us_per_entry": round((time.process_time() - cpu_s) / entries * 1e6, 2),
    }


def measured(open_store: Callable[[], Store], entries: int) -> dict[str, Any]:
    """Every size of batch, and the same records once more."""
    store = open_store()
    found: dict[str, Any] = {}
    try:
        store.write(rows_of("warm", 1000))
        for batch in BATCHES:
            count = min(entries, batch * 100)
            found[f"batches_of_{batch}"] = timed(store, rows_of(f"b{batch}-", count), batch)
        again = rows_of("again", entries // 10)
        timed(store, again, 5_000)
        found["the_same_again"] = timed(store, again, 5_000)
        found["posted_by_the_thousand"] = posted(store, min(entries, 100_000))
        found["from_outside"] = timed(store, rows_of("own", entries // 10, klass="own_cost"), 5_000)
    finally:
        store.close()
    return found


def main() -> None:
    """Run, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--url", help="a database of your own; it keeps what is written")
    args = parser.parse_args()
    who = identity()
    server = None if args.url else PostgresServer(durable=True)
    try:
        url = args.url or (server.database() if server else "")
        store = PostgresStore(url)
        version = store._connection.info.parameter_status("server_version")  # noqa: SLF001
        store.close()
        postgres = measured(lambda: PostgresStore(url), args.entries)
    finally:
        if server is not None:
            server.remove()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        sqlite = measured(lambda: SqliteStore(str(Path(folder) / "ledger.db")), args.entries)
    found = {
        **who,
        "theme": "ledger-postgres",
        "server_version": version,
        "settings": "fsync on, synchronous_commit on, otherwise as initdb makes them; over TCP on loopback",
        "entries": args.entries,
        "load_after": os.getloadavg(),
        "postgres": postgres,
        "sqlite": sqlite,
    }
    for name, figures in (("postgres", postgres), ("sqlite", sqlite)):
        for what, one in figures.items():
            print(name, what, one)
    print(write("ledger-postgres", found))


if __name__ == "__main__":
    main()
