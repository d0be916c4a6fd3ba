"""An alert of a budget that many nodes share: one of them tells it, and a store that comes back empty learns that."""

import asyncio
import time

from redis.asyncio import Redis

from penstock.ledger.alerts import Alert, Reading
from penstock.ledger.budgets import Budget
from penstock.state.names import new_run
from penstock.state.opening import open_shared

DAY_S = 86_400.0


def test_one_of_three_nodes_may_tell_it(redis_server):
    """Whoever asks first; nobody gets it later, also after the store has forgotten and was told."""

    async def run() -> None:
        start_s = time.time() // DAY_S * DAY_S
        reading = Reading(f"team {new_run()}", Budget("day", 1000, "day"), start_s, start_s + DAY_S, 900)
        alert = Alert(80, reading)
        stores = [await open_shared(redis_server.url, "penstock", new_run()) for _ in range(3)]
        try:
            grants = [await store.exchange([alert.claim(f"node{n}", 1)]) for n, store in enumerate(stores)]
            assert [(one.granted, one.taken) for (one,) in grants] == [(1, 1), (0, 1), (0, 1)]
            ((again,), (other,)) = (
                await stores[0].exchange([alert.claim("node0", 2)]),
                await stores[0].exchange([alert.claim("forgetful", 3)]),
            )
            assert (again.granted, other.granted, other.taken) == (1, 0, 1)
            redis = Redis.from_url(redis_server.url)
            await redis.flushall()
            await redis.aclose()
            late: list[tuple[int, int]] = []
            until_s = time.monotonic() + 30
            while not late or not late[-1][1]:  # while it is quiet, nobody has it and nobody gets it
                assert time.monotonic() < until_s
                for n, store in enumerate(stores):
                    (grant,) = await store.exchange([alert.claim(f"late{n}", len(late) + 1)])
                    late.append((grant.granted, grant.taken))
                await asyncio.sleep(0.05)
            assert {granted for granted, _ in late} == {0}
        finally:
            for store in stores:
                await store.aclose()

    asyncio.run(run())
