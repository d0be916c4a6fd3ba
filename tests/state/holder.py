"""A holder of slices in a process of its own: reserves and settles until told to stop, and prints what it spent.

``python -m tests.state.holder embedded PATH SECONDS`` and the like; one line of JSON after every settled call.
"""

import asyncio
import json
import random
import sys
import time

from penstock.ledger.budgets import Budget, Budgets, Node, Reservation
from penstock.ledger.leases import Short, Slices, SliceStore
from penstock.state.names import new_run

LIMIT_NUSD = 10_000_000_000
BUDGET = Budget("day", LIMIT_NUSD, "day", "UTC")
PUMP_S = 0.02


class Spender:
    """One run of one process, with calls of some milliseconds."""

    def __init__(self, store: SliceStore, seed: int, mean_nusd: int = 20_000_000) -> None:
        self.store = store
        self.slices = Slices(new_run(), Budgets([Node("key", None, (BUDGET,))], fed=True))
        self.path = self.slices.budgets.path("key")
        self.random = random.Random(seed)
        self.mean_nusd = mean_nusd
        self.spent = self.calls = self.refused = self.trips = 0

    async def exchange(self, claims) -> None:
        for grant in await self.store.exchange(claims):
            self.slices.learn(grant, time.time())

    async def call(self) -> bool:
        """One call: reserve (by the long way where the slice is short), work, settle. False: refused."""
        rid, amount = f"{self.slices.holder}/{self.calls}", self.random.randint(1, 2 * self.mean_nusd)
        self.calls += 1
        held = self.slices.reserve(self.path, rid, amount, time.time())
        if isinstance(held, Short):
            self.trips += 1
            await self.exchange(held.claims)
            held = self.slices.reserve(self.path, rid, amount, time.time(), claimed=True)
        if not isinstance(held, Reservation):
            self.refused += 1
            return False
        await asyncio.sleep(self.random.random() * 0.05)
        cost = self.random.randint(amount // 2, amount)
        settled = self.slices.budgets.settle(rid, cost)
        assert settled is not None
        assert not settled.again
        self.spent += cost
        return True

    async def pump(self) -> None:
        while True:
            await self.exchange(self.slices.claims(time.time()))
            await asyncio.sleep(PUMP_S)

    async def run(self, calls_per_s: float, seconds: float) -> None:
        """At a rate, whatever becomes of the calls."""
        pump = asyncio.ensure_future(self.pump())
        tasks: set[asyncio.Task[bool]] = set()
        ends_s, began_s, made = time.monotonic() + seconds, time.monotonic(), 0
        while time.monotonic() < ends_s:
            while made < (time.monotonic() - began_s) * calls_per_s:
                made += 1
                task = asyncio.ensure_future(self.call())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.sleep(0.005)
        if tasks:
            await asyncio.wait(tasks)
        pump.cancel()

    def say(self) -> None:
        words = {"spent": self.spent, "calls": self.calls, "refused": self.refused, "trips": self.trips}
        print(json.dumps(words), flush=True)


async def open_store(kind: str, place: str) -> SliceStore:
    if kind == "embedded":
        from penstock.state.embedded import EmbeddedStore  # noqa: PLC0415 - one kind a process

        return EmbeddedStore(place)
    raise ValueError(kind)


async def main(kind: str, place: str, rate: float, seconds: float, seed: int) -> None:
    store = await open_store(kind, place)
    spender = Spender(store, seed)
    reports = asyncio.ensure_future(report(spender))
    await spender.run(rate, seconds)
    reports.cancel()
    await spender.exchange(spender.slices.leave(time.time()))
    await store.aclose()
    spender.say()


async def report(spender: Spender) -> None:
    """What a reader of the output knows to have been spent, at least."""
    while True:
        spender.say()
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    kind, place, rate, seconds, seed = sys.argv[1:]
    asyncio.run(main(kind, place, float(rate), float(seconds), int(seed)))
