"""The ledger's own speed: entries written a second in batches, and ``penstock cost --by stage`` on a million of them.

``python -m benches.ledger [--entries 1000000] [--rounds 5]``
The ledger: renders of ten entries over 30 days (planning calls, GPU stages, an upscale, uploads), one attempt in fifty
failed, one in two hundred billed and not delivered; and one chat answer, a trace of its own, for each render.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benches.machine import ROOT, identity, write
from penstock.ledger.entry import Call, Entry, Line, Record
from penstock.ledger.fold import fold
from penstock.ledger.journal import Journal

START_MS = 1_790_000_000_000
SPAN_MS = 30 * 86_400_000
PER_RENDER = 11
STAGES = (
    ("plan", "openai", "gpt-4o-mini"), ("plan", "anthropic", "claude-haiku"), ("prompt", "openai", "gpt-4o-mini"),
    ("load", "own", "h100"), ("denoise", "own", "h100"), ("decode", "own", "h100"), ("upscale", "own", "l40s"),
    ("check", "openai", "gpt-4o"), ("encode", "own", "l40s"), ("store", "own", "s3"),
)  # fmt: skip
LINES = (Line("input", 812, 150_000, 1, "2026-11-01", "provider", 121_800),)


def entry(
    name: str, trace: str, stage: str, provider: str, model: str, at_ms: int, dice: random.Random
) -> Entry:
    """One entry of the ledger."""
    chance = dice.random()
    klass = "failed" if chance < 0.02 else "billed_not_delivered" if chance < 0.025 else "delivered"
    if provider == "own":
        klass = "own_cost"
    cost = 0 if klass == "failed" else dice.randrange(10_000, 5_000_000)
    return Entry(
        f"{name}/1", name, trace, stage, 1, at_ms, klass, provider, model, model, "KEY", "studio", "", "openai", False, 200,
        None, None, "stop", "stop", "", 812, 0, 0, 0, 0, 0, 200, 0, 0, 0, "provider", LINES, cost, "2026-11-01",
        dice.uniform(5, 9000), 120.0, 55.0, None, None, "",
    )  # fmt: skip


def records(entries: int) -> list[list[Record]]:
    """Renders in the order in which they happened, each a list of one-entry records."""
    dice = random.Random(7)
    renders = entries // PER_RENDER
    made: list[list[Record]] = []
    for number in range(renders):
        at_ms = START_MS + number * SPAN_MS // renders
        rows = [
            entry(f"e{number:07}{step}", f"render-{number:07}", *stage, at_ms + step * 1500, dice)
            for step, stage in enumerate(STAGES)
        ]
        rows.append(entry(f"chat-{number:07}", f"chat-{number:07}", "", "openai", "gpt-4o", at_ms, dice))
        made.append([_record(row) for row in rows])
    return made


def _record(row: Entry) -> Record:
    call = Call(
        row.request_id, row.at_ms, "studio", row.model, 200, None, False, 1, row.latency_ms, 80, "", "", (), None, "c1"
    )  # fmt: skip
    return Record(call, (row,))


def writing(folder: Path, entries: int) -> dict[str, Any]:
    """Calls of one entry each, from a loop that never rests: two rows a record, until all are committed."""
    path = folder / "penstock.db"
    made = [record for render in records(entries) for record in render]
    journal = Journal(str(path), max_queue=len(made) + 1)
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    for record in made:
        journal.add(record)
    added_s = time.perf_counter() - start_s
    journal.flush(timeout_s=600)
    total_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    journal.close()
    return {
        "entries": len(made),
        "cpu_s": round(cpu_s, 3),
        "added_s": round(added_s, 3),
        "committed_s": round(total_s, 3),
        "entries_per_s": round(len(made) / total_s),
        "bytes_per_entry": round(path.stat().st_size / len(made)),
    }


def batched(folder: Path, entries: int) -> dict[str, Any]:
    """Entries without calls, a thousand at a time, as posted costs come: entries a second until all are committed."""
    made = [record.entries[0] for render in records(entries) for record in render]
    groups = [tuple(made[start : start + 1000]) for start in range(0, len(made), 1000)]
    journal = Journal(str(folder / "batched.db"), max_queue=len(groups) + 1)
    stored: list[int] = []
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    for group in groups:
        journal.add_entries(group, stored.append)
    journal.flush(timeout_s=600)
    total_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    journal.close()
    if sum(stored) != len(made):
        raise RuntimeError(f"{len(made)} entries became {sum(stored)}")
    return {
        "entries": len(made),
        "per_batch": 1000,
        "committed_s": round(total_s, 3),
        "cpu_s": round(cpu_s, 3),
        "entries_per_s": round(len(made) / total_s),
        "entries_per_cpu_s": round(len(made) / cpu_s),
    }


def asking(folder: Path, rounds: int) -> dict[str, Any]:
    """The first question folds a million entries in; the others find them folded."""
    path = folder / "penstock.db"
    before = path.stat().st_size
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    folded = fold(str(path))
    fold_s, fold_cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    ways = {
        "by_stage": ("--by", "stage"),
        "by_stage_billed_not_delivered": ("--by", "stage", "--class", "billed_not_delivered"),
        "by_stage_broken_hours": ("--by", "stage", "--since", "2026-10-01T10:20:00", "--until", "2026-10-08T11:50:00"),
        "by_stage_scanned": ("--by", "stage", "--where", "virtual_key=studio"),
    }  # fmt: skip
    return {
        "fold": {
            "entries": folded,
            "seconds": round(fold_s, 3),
            "cpu_us_per_entry": round(fold_cpu_s / max(1, folded) * 1e6, 2),
            "file_grows_by": round(path.stat().st_size / before - 1, 3),
        },
        **{
            name: _asked(path, words, 1 if name.endswith("scanned") else rounds)
            for name, words in ways.items()
        },
    }


def _asked(path: Path, words: tuple[str, ...], rounds: int) -> dict[str, float]:
    """A whole ``penstock cost``, from its start to its last line."""
    took: list[float] = []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(rounds):
        start_s = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "penstock", "cost", "--db", str(path), "--json", *words],
            check=True,
            capture_output=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        took.append(time.perf_counter() - start_s)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / rounds
    return {
        "median_s": round(median(took), 3),
        "min_s": round(min(took), 3),
        "max_s": round(max(took), 3),
        "cpu_s": round(cpu_s, 3),
    }


def main() -> None:
    """Run, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    record = identity()
    with tempfile.TemporaryDirectory() as name:
        record["batched"] = batched(Path(name), min(200_000, args.entries))
        record["writing"] = writing(Path(name), args.entries)
        record["asking"] = asking(Path(name), args.rounds)
    print(json.dumps({key: record[key] for key in ("batched", "writing", "asking")}, indent=1))
    if args.entries >= 1_000_000:
        print(write("ledger", record))


if __name__ == "__main__":
    main()
