"""Several processes, one pool, and a network that loses, doubles, delays and reorders; processes crash.

Run it for the table of docs/explanation/budgets.md: ``PYTHONPATH=src:. python -m tests.ledger.lease_network``.
"""

import random
from dataclasses import dataclass

from penstock.ledger.budgets import Bucket, Budget, Budgets, Node, Reservation
from penstock.ledger.leases import Claim, Grant, Short, Slices
from penstock.ledger.pool import Pool

START_S = 1_795_219_200.0 + 8 * 3600
TICK_S = 0.05
BUDGETS = (Budget("day", 1_000_000, "day", "Europe/Berlin"),)


@dataclass
class Call:
    amount: int
    at_s: float
    ends_s: float = 0.0


class Process:
    """One run of one node."""

    def __init__(self, name: str, node: Node) -> None:
        self.slices = Slices(name, Budgets([node], fed=True))
        self.path = self.slices.budgets.path(node.id)
        self.buckets: set[Bucket] = set()
        self.waiting: list[Call] = []
        self.running: dict[str, Call] = {}
        self.calls = 0
        self.trips = 0
        self.extend_some = False

    def try_call(self, call: Call, now_s: float, source: random.Random) -> list[Claim]:
        self.buckets.update(self.path.at(now_s))
        rid = f"{self.slices.holder}/{self.calls}"
        answer = self.slices.reserve(self.path, rid, call.amount, now_s)
        if isinstance(answer, Reservation):
            self.calls += 1
            call.ends_s = now_s + source.random() * 2
            self.running[rid] = call
            return []
        call.at_s = now_s + 0.2
        self.waiting.append(call)
        if isinstance(answer, Short):
            self.trips += 1
            return answer.claims
        return []

    def step(self, now_s: float, source: random.Random) -> list[Claim]:
        for rid, call in list(self.running.items()):
            if call.ends_s <= now_s:
                del self.running[rid]
                held = self.slices.budgets.settle(rid, int(call.amount * source.uniform(0.3, 1)))
                assert held is not None
            elif self.extend_some and source.random() < 0.02:
                more = self.slices.extend(rid, 200, now_s)
                if isinstance(more, Reservation):
                    call.amount = more.held
        claims: list[Claim] = []
        ready = [call for call in self.waiting if call.at_s <= now_s]
        self.waiting = [call for call in self.waiting if call.at_s > now_s]
        for call in ready:
            claims += self.try_call(call, now_s, source)
        return claims + self.slices.claims(now_s)

    @property
    def committed(self) -> int:
        return sum(bucket.committed for bucket in self.buckets)

    @property
    def reserved(self) -> int:
        return sum(bucket.reserved for bucket in self.buckets)


class Cluster:
    """``trouble``: the part of messages that is lost, and as much that is doubled or late."""

    def __init__(self, nodes: int, seed: int, *, trouble: float = 0.0, budgets=BUDGETS) -> None:
        self.random = random.Random(seed)
        self.node = Node("key", None, budgets)
        self.pool = Pool(lambda _node, name: next(one for one in budgets if one.name == name))
        self.trouble = trouble
        self.limit = sum(budget.limit_nusd for budget in budgets) // len(budgets)
        self.now_s = START_S
        self.names = 0
        self.alive = [self.start() for _ in range(nodes)]
        self.dead: list[Process] = []
        self.post: list[tuple[float, int, Process, Claim | Grant]] = []

    def start(self) -> Process:
        self.names += 1
        return Process(f"run-{self.names}", self.node)

    def crash(self, index: int) -> None:
        """Everything in memory is gone; a successor starts. The old one's messages may still arrive."""
        self.dead.append(self.alive[index])
        self.alive[index] = self.start()

    def recover(self) -> None:
        """Each crashed run's records are read: what it had spent, what its calls held counted as spent."""
        for process in self.dead:
            for bucket in process.buckets:
                pot = ("key", bucket.account.spec.name, bucket.start_s)
                final = Claim(process.slices.holder, pot, 10**9, bucket.committed, 0, final=True)
                self.pool.exchange(final, self.now_s)

    def send(self, process: Process, message: Claim | Grant) -> None:
        copies = 0 if self.random.random() < self.trouble else 1
        copies += self.random.random() < self.trouble
        for _ in range(copies):
            late_s = self.random.random() * 3 if self.random.random() < self.trouble else 0.01
            self.post.append((self.now_s + late_s, len(self.post), process, message))

    def deliver(self) -> None:
        ripe = sorted((one for one in self.post if one[0] <= self.now_s), key=lambda one: one[:2])
        self.post = [one for one in self.post if one[0] > self.now_s]
        for _, _, process, message in ripe:
            if isinstance(message, Claim):
                self.send(process, self.pool.exchange(message, self.now_s))
            elif process in self.alive:
                process.slices.learn(message, self.now_s)

    def step(self) -> None:
        self.now_s += TICK_S
        self.deliver()
        for process in self.alive:
            for claim in process.step(self.now_s, self.random):
                self.send(process, claim)
        self.pool.expire(self.now_s)

    def arrive(self, a_second: float) -> None:
        for process in self.alive:
            share = a_second * TICK_S / len(self.alive)
            new = int(share) + (self.random.random() < share % 1)
            for _ in range(new):
                if len(process.waiting) < 12:
                    process.waiting.append(Call(self.random.randint(400, 3000), self.now_s))

    def drain(self) -> None:
        """Nothing new, a quiet network: until nothing is reserved and what waits has been refused for a while."""
        self.trouble, quiet_s = 0.0, 0.0
        for _ in range(int(3600 / TICK_S)):
            calls = sum(process.calls for process in self.alive)
            self.step()
            idle = not any(process.running for process in self.alive)
            quiet_s = quiet_s + TICK_S if idle and calls == sum(p.calls for p in self.alive) else 0.0
            if quiet_s > 12:
                return
        raise AssertionError("the cluster did not come to rest")

    @property
    def committed(self) -> int:
        return sum(process.committed for process in (*self.alive, *self.dead))

    @property
    def spent(self) -> int:
        return self.committed - sum(process.reserved for process in self.alive)


def main() -> None:
    """The page's table: the worst of ten seeds, in budgets of about 800 calls and of about 8,000."""
    print(
        "| processes | budget of about | highest ever | spent at the end, least | calls that waited for the pool, most |"
    )
    print("|--:|--:|--:|--:|--:|")
    for nodes in (3, 10):
        for limit in (1_000_000, 10_000_000):
            high, low, waited = 0, limit, 0.0
            for seed in range(10):
                cluster = Cluster(nodes, seed, budgets=(Budget("day", limit, "day", "Europe/Berlin"),))
                share = None
                for _ in range(limit // 2500):
                    cluster.arrive(100)
                    cluster.step()
                    high = max(high, cluster.committed)
                    if share is None and cluster.committed > limit * 9 // 10:
                        calls = sum(process.calls for process in cluster.alive)
                        share = sum(process.trips for process in cluster.alive) / calls
                cluster.drain()
                high, low, waited = (
                    max(high, cluster.committed),
                    min(low, cluster.spent),
                    max(waited, share or 0),
                )
            about = limit // 1250
            print(
                f"| {nodes} | {about:,} calls | {high / limit:.2%} | {low / limit:.2%} | {waited:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
