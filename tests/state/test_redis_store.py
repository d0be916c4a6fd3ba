"""The shared store: the scripts decide as the classes do, and what becomes of a store never makes money."""

import asyncio
import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.msgpack import decode, encode

from penstock.base.errors import ConfigFault
from penstock.ledger.budgets import Budget, Budgets, Node, Reservation
from penstock.ledger.leases import LEASE_S, Claim, Short, Slices
from penstock.ledger.pool import Pool
from penstock.routing.credit import CreditClaim, CreditPool, Wallet
from penstock.state.names import new_run
from penstock.state.opening import open_shared
from penstock.state.redis_store import RedisStore
from tests.servers import RedisServer
from tests.state.make import running

HISTORIES = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
DAY_S = 86_400.0


def pot(number=0):
    """Of today, and of nobody else's test."""
    return (f"key {new_run()}", f"day{number}", time.time() // DAY_S * DAY_S)


OPEN: list[RedisStore] = []


async def opened(url, run=None, prefix="store-tests"):
    """Not under the prefix of tests that empty the store: who has just forgotten grants nothing for a while."""
    OPEN.append(await open_shared(url, prefix, run or new_run()))
    return OPEN[-1]


async def closing(work):
    """Whatever becomes of it, no store is left open."""
    try:
        await work
    finally:
        while OPEN:
            await OPEN.pop().aclose()


@HISTORIES
@given(st.integers(0, 2**32), st.sampled_from([1_000, 1_000_000, 10_000_000_000]), st.sampled_from([0, 10]))
def test_slices_are_decided_as_the_pool_decides_them(redis_server, seed, limit, overdraft):
    """Message for message; also of holders that the store has never heard of, doubled and out of order."""
    source, where = random.Random(seed), pot()

    async def compare():
        store, pool = await opened(redis_server.url, prefix=new_run()), Pool()
        seqs, figures, began_s = [1, 1, 1], [[0, 0, 0] for _ in range(3)], time.monotonic()
        for _ in range(60):
            if time.monotonic() - began_s > LEASE_S / 2:
                return  # a machine so slow that leases end at different steps of the two
            number = source.randrange(3)
            mine = figures[number]
            mine[0] = max(0, mine[0] + source.randint(-5, limit // 20))
            mine[1] += source.choice([0, 0, 0, limit // 100])
            seqs[number] += source.choice([0, 1, 1, 1])
            claim = Claim(
                f"run{number}", where, seqs[number], mine[0], mine[1],
                want=source.random() < 0.7, need=source.choice([0, 0, 1, limit // 7, limit]),
                running=source.random() < 0.2, final=source.random() < 0.05, granted=mine[2],
                floor=source.choice([0, 0, limit // 3]), limit=limit, ceiling=limit * (100 + overdraft) // 100,
            )  # fmt: skip
            wanted = pool.exchange(claim, time.time())
            (grant,) = await store.exchange([claim])
            told = (grant.granted, grant.left, grant.loose, grant.taken, grant.return_idle)
            assert told == (wanted.granted, wanted.left, wanted.loose, wanted.taken, wanted.return_idle)
            mine[2] = grant.granted
        assert await store.standing([where]) == [pool.status(where)]

    asyncio.run(closing(compare()))


@HISTORIES
@given(st.integers(0, 2**32), st.sampled_from([0, 1]), st.integers(1, 60))
def test_credit_is_decided_as_the_pool_decides_it(redis_server, seed, rate, burst):
    """A rate so slow that the time this takes is less than one unit; and places."""
    source, name = random.Random(seed), f"{new_run()}|x|{rate}|{burst}"

    async def compare():
        store, pool = await opened(redis_server.url, prefix=new_run()), CreditPool()
        seqs, used, returned, granted = [1] * 3, [0] * 3, [0] * 3, [0] * 3
        for _ in range(40):
            who = source.randrange(3)
            seqs[who] += source.choice([0, 1, 1, 1])
            used[who] += source.choice([0, 0, 1, 3, -1]) if rate else 0
            if granted[who] - returned[who] - used[who] > 0:
                returned[who] += source.choice([0, 1])
            need = source.choice([0, 1, 1, 5, 70])
            claim = CreditClaim(
                f"run{who}", name, seqs[who], rate, burst, used[who], returned[who], granted[who], need
            )
            wanted = pool.exchange(claim, time.time())
            (grant,) = await store._credit([claim], again=False)
            assert (grant.granted, grant.left, grant.idle) == (wanted.granted, wanted.left, wanted.idle)
            assert grant.wait_s == pytest.approx(wanted.wait_s, abs=1.0)
            assert grant.reset_s == pytest.approx(wanted.reset_s, abs=1.0)
            granted[who] = grant.granted

    asyncio.run(closing(compare()))


class Nodes:
    """Nodes with one budget, each with a store of its own."""

    def __init__(self, limit=1_000_000):
        self.budget = Budget("day", limit, "day")
        self.node = f"key {new_run()}"
        self.all: list[tuple[RedisStore, Slices]] = []

    async def open(self, url, count):
        for _ in range(count):
            run = new_run()
            budgets = Budgets([Node(self.node, None, (self.budget,))], fed=True)
            self.all.append((await opened(url, run), Slices(run, budgets)))

    async def exchange(self, number, claims):
        store, slices = self.all[number]
        grants = await store.exchange(claims)
        for grant in grants:
            slices.learn(grant, time.time())
        return grants

    async def reserve(self, number, rid, amount):
        slices = self.all[number][1]
        path = slices.budgets.path(self.node)
        answer = slices.reserve(path, rid, amount, time.time())
        if isinstance(answer, Short):
            await self.exchange(number, answer.claims)
            answer = slices.reserve(path, rid, amount, time.time(), claimed=True)
        return answer

    async def renew(self):
        for number, (_, slices) in enumerate(self.all):
            await self.exchange(number, slices.claims(time.time() + LEASE_S))

    @property
    def pot(self):
        return (self.node, "day", time.time() // DAY_S * DAY_S)

    async def close(self):
        for store, _ in self.all:
            await store.aclose()


@running
async def test_hard_budgets_refuse_with_a_reason_while_the_store_is_gone_and_count_once_when_it_is_back():
    """Within what was leased calls go on; what was spent meanwhile is told when it is back."""
    server = RedisServer()
    nodes = Nodes()
    try:
        await nodes.open(server.url, 2)
        assert isinstance(await nodes.reserve(0, "a", 10_000), Reservation)
        server.stop(now=True)
        assert isinstance(await nodes.reserve(0, "b", 10_000), Reservation), "its slice has room"
        began_s = time.monotonic()
        refused = [await nodes.reserve(0, f"c{n}", 10_000) for n in range(50)]
        assert time.monotonic() - began_s < 3, "nobody waits for what is not there"
        assert {one.code for one in refused} == {"budget-held"}
        store, slices = nodes.all[0]
        assert store.fault is not None
        assert f"127.0.0.1:{server.port}" in store.fault
        slices.budgets.settle("a", 9_000)
        slices.budgets.settle("b", 8_000)
    finally:
        server.remove()
        await nodes.close()


@running
async def test_a_store_that_comes_back_empty_grants_nothing_before_all_have_said_what_they_hold():
    """And then it knows what it knew: nothing is lost, nothing counted twice."""
    server = RedisServer()
    nodes = Nodes()
    try:
        await nodes.open(server.url, 3)
        for number in range(3):
            assert isinstance(await nodes.reserve(number, "a", 100_000), Reservation)
            nodes.all[number][1].budgets.settle("a", 100_000)
            assert isinstance(await nodes.reserve(number, "b", 50_000), Reservation)
        dead = nodes.all.pop()
        await nodes.renew()
        (before,) = await nodes.all[0][0].standing([nodes.pot])
        await dead[0].aclose()  # with 150,000 of what was taken
        server.stop(now=True)
        server.start()
        assert 450_000 <= sum(before) < 500_000, "and what the dead one had leased beyond that"
        assert await nodes.reserve(0, "c", 500_000) is not None
        await asyncio.sleep(0.6)
        late = Nodes()
        late.node = nodes.node
        await late.open(server.url, 1)
        assert not isinstance(await nodes.reserve(0, "d", 500_000), Reservation), "it is quiet"
        assert not isinstance(await late.reserve(0, "e", 500_000), Reservation)
        await nodes.renew()
        (after,) = await nodes.all[0][0].standing([nodes.pot])
        assert 450_000 <= sum(after) <= sum(before)
        await asyncio.sleep(LEASE_S)
        assert isinstance(await nodes.reserve(0, "f", 400_000), Reservation)
        assert not isinstance(await late.reserve(0, "g", 200_000), Reservation)
        (last,) = await nodes.all[0][0].standing([nodes.pot])
        assert 850_000 <= sum(last) <= 1_000_000
        await late.close()
    finally:
        server.remove()
        await nodes.close()


@running
async def test_what_lies_idle_at_another_node_is_called_back():
    """Exactly the burst passes, whoever asks."""
    server = RedisServer()
    try:
        stores, wallets = [], []
        for _ in range(2):
            run = new_run()
            store, wallet = await opened(server.url, run), Wallet(run)
            stores.append(store)
            wallets.append(wallet)

            async def recall(pots, wallet=wallet):
                return encode(wallet.recalled(decode(pots), time.monotonic()))

            store.on("recall", recall)
        await asyncio.sleep(0.1)
        leases = [wallet.lease("key", "requests", 1, 64) for wallet in wallets]

        async def call(number):
            now_s, lease = time.monotonic(), leases[number]
            if not lease.admit(1, now_s):
                return True
            claim = wallets[number].need(lease, 1, now_s)
            if claim is not None:
                for grant in await stores[number].exchange_credit([claim]):
                    wallets[number].learn(grant, now_s)
            return not lease.admit(1, now_s)

        assert await call(0)
        assert leases[0].idle > 0
        assert sum([await call(1) for _ in range(70)]) == 63
        server.stop(now=True)
        assert await stores[0].exchange_credit([wallets[0].need(leases[0], 5, 0.0)]) is None
        for store in stores:
            await store.aclose()
    finally:
        server.remove()


@running
async def test_news_reach_all_other_nodes_also_after_the_line_broke():
    """Not the one who says them."""
    server = RedisServer()
    try:
        stores, heard = [await opened(server.url) for _ in range(3)], []
        for number, store in enumerate(stores):

            async def hear(payload, number=number):
                heard.append((number, payload))
                return b""

            store.on("key", hear)
        await until(lambda: said(stores[0], heard, b"1") == [1, 2])
        server.stop(now=True)
        server.start()
        await until(lambda: said(stores[1], heard, b"2") == [0, 2])
        assert (1, b"2") not in heard
        for store in stores:
            await store.aclose()
    finally:
        server.remove()


def said(store, heard, payload):
    """Say it again until all have heard: who listens is not known."""
    store.fault = None
    store.tell("key", payload)
    return sorted({number for number, words in heard if words == payload})


async def until(holds):
    ends_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < ends_s
        await asyncio.sleep(0.05)


@running
async def test_a_store_that_is_not_there_is_a_fault_without_its_password():
    """Nor does a URL that cannot be read stand in it."""
    with pytest.raises(ConfigFault, match="cannot be reached") as caught:
        await opened("redis://user:hush-hush@127.0.0.1:1/0")
    assert "hush" not in caught.value.public()
    with pytest.raises(ConfigFault, match="cannot be read") as caught:
        await opened("redis://user:hush-hush@127.0.0.1:port/0")
    assert "hush" not in caught.value.public()
