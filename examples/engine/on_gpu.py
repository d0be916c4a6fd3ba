"""What the scripts beside it share: run each case, hold its kernels against what was expected and their time against the card's own clock.

Not a script itself. A case passes if its kernels are the expected ones, and if their times sum to within 3 % of what CUDA events
say of many calls in a row (asked only where the kernels are long enough that nothing waits for the host).
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from penstock.engine.lab.tour import observed
from penstock.engine.measure import hardware
from penstock.engine.measure.records import KernelRow
from penstock.engine.workloads.tour import Sight, differences

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
AGREE = 0.03
LONG_US = 200.0
"""Of all kernels of a call: below, the events measure the host's launches."""
CALLS = 50


@dataclass
class Case:
    """One thing to run, and the kernels that it should show. ``least``: at least so many kernels, whichever, instead."""

    name: str
    call: Callable[[], Any]
    expected: tuple[Sight, ...]
    least: int = 0


def judged(case: Case, rows: Sequence[KernelRow]) -> tuple[str, ...]:
    """The differences; empty where all is as expected."""
    if case.least:
        count = sum(row.count for row in rows)
        return () if count >= case.least else (f"expected {case.least} kernels or more, seen {count}",)
    return differences(case.expected, rows)


def events_us(call: Callable[[], Any], device: str) -> float:
    """One call by CUDA events, the mean of many in a row."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    call()
    torch.cuda.synchronize(device)
    first.record()
    for _ in range(CALLS):
        call()
    last.record()
    torch.cuda.synchronize(device)
    return first.elapsed_time(last) * 1e3 / CALLS


def ran(case: Case, device: str, folder: Path) -> dict[str, Any]:
    """One case: printed, and as a record."""
    print(f"\n{case.name}")
    for sight in case.expected:
        print(f"  expected  {sight}")
    with torch.no_grad():
        for _ in range(3):
            case.call()
        rows = observed(case.call, device, folder / "trace.json")
        clock_us = events_us(case.call, device) if device != "cpu" else None
    for row in rows:
        print(f"  observed  {row.count} x {row.name[:100]} ({row.means}) {row.total_ms * 1e3:.1f} us")
    said = list(judged(case, rows))
    kernels_us = sum(row.total_ms for row in rows) * 1e3
    if clock_us is not None and kernels_us > LONG_US and abs(kernels_us / clock_us - 1) > AGREE:
        said.append(f"kernels take {kernels_us:.1f} us, CUDA events say {clock_us:.1f} us")
    for line in said:
        print(f"  differs   {line}")
    return {
        "case": case.name,
        "expected": [str(sight) for sight in case.expected],
        "kernels": [
            {"name": row.name, "count": row.count, "us": row.total_ms * 1e3, "means": row.means}
            for row in rows
        ],
        "kernels_us": kernels_us,
        "events_us": clock_us,
        "differences": said,
    }


def main(doc: str | None, cases: Callable[[str, torch.dtype, list[int]], list[Case]]) -> None:
    """The command line. Exits with 2 without a GPU, with 1 where something differs."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--size", type=int, action="append", default=[], help="repeat it: sizes, as the script has them"
    )
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="bf16")
    parser.add_argument("--out", type=Path, help="write the record there, as JSON")
    parser.add_argument(
        "--cpu", action="store_true", help="run on the CPU, to try the script; its kernels will differ"
    )
    asked = parser.parse_args()
    if not asked.cpu and not torch.cuda.is_available():
        parser.exit(
            2,
            "This needs a GPU with CUDA or ROCm. On a CPU: docs/tutorials/from-a-linear-to-a-fused-mlp.md\n",
        )
    device = "cpu" if asked.cpu else "cuda:0"
    with tempfile.TemporaryDirectory() as folder:
        records = [ran(case, device, Path(folder)) for case in cases(device, DTYPES[asked.dtype], asked.size)]
    if asked.out is not None:
        told = {"machine": hardware.machine(device), "dtype": asked.dtype, "cases": records}
        asked.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    raise SystemExit(int(any(record["differences"] for record in records)))
