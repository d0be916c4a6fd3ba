"""What ``penstock.meter`` costs the thread that is metered: CPU time a block, while a real gateway takes the reports.

``python -m benches.meter [--rounds 20] [--blocks 2000]`` writes ``benches/results/meter-block_…json``. The baseline is a block
of ``contextlib.nullcontext``. CPU time of the calling thread only: wall time would be that of whatever else runs here.
"""

import argparse
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import penstock
from benches.machine import identity, write
from tests.server.process import GatewayProcess

RATES = "compute: {h100: {usd_per_hour: 2.49}}\n"


def blocks_us(context, count: int) -> float:
    """Microseconds of this thread's CPU time for one block."""
    begun = time.thread_time_ns()
    for _ in range(count):
        with context():
            pass
    return (time.thread_time_ns() - begun) / count / 1000


def measure(rounds: int, count: int) -> dict[str, list[float]]:
    """Each kind in turn, so that all meet the same machine."""

    def one() -> object:
        return penstock.meter("stage", compute="h100")

    found: dict[str, list[float]] = {"nullcontext": [], "outermost": [], "inside_another": []}
    with tempfile.TemporaryDirectory() as folder, GatewayProcess(Path(folder), RATES) as gateway:
        penstock.meter.configure(url=gateway.url, max_queue=10 * count)
        for _ in range(rounds):
            found["nullcontext"].append(blocks_us(nullcontext, count))
            found["outermost"].append(blocks_us(one, count))
            with penstock.meter("group"):
                found["inside_another"].append(blocks_us(one, count))
            assert penstock.meter.flush(30), penstock.meter.status()
        status = penstock.meter.status()
        assert (status["sent"], status["dropped"]) == (2 * rounds * count, 0), status
    return found


def main() -> None:
    """Measure, write, say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--blocks", type=int, default=2000)
    args = parser.parse_args()
    record = {"theme": "meter-block", **identity(), "rounds": args.rounds, "blocks": args.blocks}
    found = measure(args.rounds, args.blocks)
    record["thread_cpu_us_per_block"] = {
        name: {
            "p20": round(statistics.quantiles(each, n=5)[0], 2),
            "p50": round(statistics.median(each), 2),
            "p80": round(statistics.quantiles(each, n=5)[3], 2),
        }
        for name, each in found.items()
    }
    print(record["thread_cpu_us_per_block"], write("meter-block", record))


if __name__ == "__main__":
    main()
