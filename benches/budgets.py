"""What a budget costs a call: reserve and settle over three budgets, in CPU time of one process.

``PYTHONPATH=src:. python -m benches.budgets`` records it.
"""

import time
from statistics import median

from benches.machine import identity, write
from penstock.ledger.budgets import Budget, Budgets, Node
from penstock.ledger.leases import Claim, Slices
from penstock.ledger.pool import Pool

CALLS, ROUNDS = 100_000, 9
MUCH = 10**15
DAY_S = 1_795_219_200.0


def tree(*, fed: bool = False) -> Budgets:
    """Organisation, team, key: one budget each, much too large to be met."""
    parents = {"org": None, "team": "org", "key": "team"}
    return Budgets(
        [
            Node(one, parent, (Budget(one, MUCH, "month", "Europe/Berlin"),))
            for one, parent in parents.items()
        ],
        fed=fed,
    )


def alone() -> float:
    """In-process budgets: microseconds a call."""
    budgets = tree()
    ids = [str(number) for number in range(CALLS)]
    began = time.process_time_ns()
    for rid in ids:
        budgets.reserve(budgets.path("key"), rid, 1000, DAY_S)
        budgets.settle(rid, 700)
    return (time.process_time_ns() - began) / CALLS / 1000


def within_a_slice() -> float:
    """Budgets fed by slices, while a slice lasts."""
    slices = Slices("bench", tree(fed=True))
    pool = Pool(lambda node, _name: Budget(node, MUCH, "month", "Europe/Berlin"))
    path = slices.budgets.path("key")
    for bucket in path.at(DAY_S):
        pot = (bucket.account.node, bucket.account.spec.name, bucket.start_s)
        slices.reserve(path, "first", 1000, DAY_S)
        slices.learn(pool.exchange(Claim("bench", pot, 9, 0, 0, want=True), DAY_S), DAY_S)
    ids = [str(number) for number in range(CALLS)]
    began = time.process_time_ns()
    for rid in ids:
        slices.reserve(slices.budgets.path("key"), rid, 1000, DAY_S)
        slices.budgets.settle(rid, 700)
    took = (time.process_time_ns() - began) / CALLS / 1000
    assert path.at(DAY_S)[0].spent == CALLS * 700
    return took


def main() -> None:
    """Alternating rounds, so that the machine's moods hit both."""
    who = identity()
    rounds = [(alone(), within_a_slice()) for _ in range(ROUNDS)]
    figures = {
        name: {
            "median": round(median(values), 2),
            "least": round(min(values), 2),
            "most": round(max(values), 2),
        }
        for name, values in zip(
            ("in_process_us", "within_a_slice_us"), zip(*rounds, strict=True), strict=True
        )
    }
    print(figures)
    print(
        write(
            "ledger-budgets", {"theme": "ledger-budgets", **who, "calls": CALLS, "rounds": ROUNDS, **figures}
        )
    )


if __name__ == "__main__":
    main()
