"""Rates and places that several processes share: never more than one limit would let pass, and nearly as much."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.base.decisions import Rejected
from penstock.routing.credit import (
    FORGET_S,
    LEASE_S,
    CreditClaim,
    CreditPool,
    LeasedPlaces,
    Wallet,
    pot_of,
)
from penstock.routing.limits import Gcra, KeyLimits, PathLimits

START_S = 1_000_000.0


@dataclass
class Cluster:
    """Processes with wallets, one pool, and messages that take their time, are lost, doubled and late."""

    count: int
    seed: int
    per_minute: int = 600
    burst: int = 60
    trouble: float = 0.0
    recall: bool = True
    now_s: float = START_S
    admitted: list[tuple[float, int]] = field(default_factory=list)
    refused: int = 0

    def __post_init__(self):
        self.source = random.Random(self.seed)
        self.pool = CreditPool()
        self.wallets = [Wallet(f"run{number}") for number in range(self.count)]
        self.leases = [self.lease(wallet) for wallet in self.wallets]
        self.late: list[tuple[float, CreditClaim, Wallet]] = []

    def lease(self, wallet):
        return wallet.lease("key", "requests", self.per_minute, self.burst)

    def send(self, wallet, claims, *, now=False):
        for claim in claims:
            if not now and self.source.random() < self.trouble:
                continue
            if not now and self.source.random() < self.trouble:
                self.late.append((self.now_s + self.source.random() * 3, claim, wallet))
            grant = self.pool.exchange(claim, self.now_s)
            if grant.idle and self.recall:
                for other in self.wallets:
                    if other is not wallet:
                        for back in other.recalled([claim.pot], self.now_s):
                            other.learn(self.pool.exchange(back, self.now_s), self.now_s)
                grant = self.pool.again(claim, self.now_s)
            wallet.learn(grant, self.now_s)

    def step(self, seconds):
        self.now_s += seconds
        self.pool.expire(self.now_s)
        for at_s, claim, wallet in list(self.late):
            if at_s <= self.now_s:
                self.late.remove((at_s, claim, wallet))
                wallet.learn(self.pool.exchange(claim, self.now_s), self.now_s)
        for wallet in self.wallets:
            if self.source.random() < 0.7:
                self.send(wallet, wallet.claims(self.now_s))

    def call(self, number, units=1):
        wallet, lease = self.wallets[number], self.leases[number]
        if lease.admit(units, self.now_s):
            claim = wallet.need(lease, units, self.now_s)
            if claim is not None:
                self.send(wallet, [claim])
            if lease.admit(units, self.now_s):
                self.refused += 1
                return False
        self.admitted.append((self.now_s, units))
        return True


def kept(cluster):
    """Every admission would have passed one GCRA of its own, at the moment when it was made."""
    law = Gcra(cluster.per_minute, cluster.burst)
    return all(law.admit(units, at_s) == 0.0 for at_s, units in cluster.admitted)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 5),
    st.sampled_from([1, 7, 60, 600, 6000]),
    st.integers(1, 200),
    st.sampled_from([0.0, 0.2]),
    st.booleans(),
    st.sampled_from([0, 1, 5, 30]),
)
def test_all_together_never_pass_more_than_one_limit_would(seed, count, rate, burst, trouble, recall, rush):
    """In no stretch of time; whatever messages do, whoever dies."""
    cluster = Cluster(count, seed, rate, burst, trouble, recall)
    for _ in range(150):
        for _ in range(cluster.source.randint(0, rush)):
            cluster.call(cluster.source.randrange(count), cluster.source.randint(1, max(1, min(9, burst))))
        cluster.step(cluster.source.choice([0.001, 0.025, 0.5, 7.0]))
        if cluster.source.random() < 0.03:
            number = cluster.source.randrange(count)
            if cluster.source.random() < 0.5:
                cluster.pool.drop(cluster.wallets[number].holder, cluster.now_s)
            cluster.wallets[number] = Wallet(f"run{number}/{cluster.now_s}")
            cluster.leases[number] = cluster.lease(cluster.wallets[number])
    assert cluster.admitted or not rush
    assert kept(cluster)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_at_once_exactly_the_burst_passes(count):
    """Not one less, whoever asks; and then the rate."""
    cluster = Cluster(count, 1, per_minute=600, burst=100)
    passed = sum(cluster.call(number % count) for number in range(400))
    assert passed == 100
    for _ in range(1000):
        cluster.step(0.01)
        for _ in range(3):
            cluster.call(cluster.source.randrange(count))
    assert 198 <= len(cluster.admitted) <= 200
    assert kept(cluster)


def test_what_one_holds_and_does_not_use_another_gets_at_once():
    """It is called back."""
    cluster = Cluster(2, 1, burst=64)
    assert cluster.call(0)
    assert cluster.leases[0].idle > 0
    assert sum(cluster.call(1) for _ in range(80)) == 63
    assert kept(cluster)


def test_idle_credit_goes_back_by_itself():
    """And then nothing more is due, until there is something."""
    cluster = Cluster(1, 1)
    cluster.call(0)
    for _ in range(20):
        cluster.step(0.025)
    assert cluster.leases[0].idle == 0
    assert cluster.wallets[0].active == {}
    assert cluster.pool.holders(cluster.leases[0].pot) == []


def test_who_falls_silent_has_used_its_rate_until_it_says_otherwise():
    """Its credit is paid off like any other."""
    pool, wallet = CreditPool(), Wallet("a")
    lease = wallet.lease("key", "requests", 60, 60)
    wallet.learn(pool.exchange(wallet.need(lease, 30, 0.0), 0.0), 0.0)
    other = Wallet("b").lease("key", "requests", 60, 60)
    pool.expire(LEASE_S)
    ask = other.wallet.need(other, 60, LEASE_S)
    refused = pool.exchange(ask, LEASE_S)
    assert refused.granted == 0
    assert 29 < refused.wait_s < 35
    for claim in wallet.recalled([lease.pot], LEASE_S + 1):
        wallet.learn(pool.exchange(claim, LEASE_S + 1), LEASE_S + 1)
    assert pool.again(ask, LEASE_S + 1).granted >= 60


def test_a_late_correction_counts_even_after_the_credit_was_gone():
    """A long call's tokens are known at its end."""
    pool, wallet = CreditPool(), Wallet("a")
    lease = wallet.lease("key", "tokens", 1000, 1000)
    wallet.learn(pool.exchange(wallet.need(lease, 100, 0.0), 0.0), 0.0)
    assert lease.admit(100, 0.0) == 0.0
    for number in range(600):
        for claim in wallet.claims(number / 10):
            wallet.learn(pool.exchange(claim, number / 10), number / 10)
        pool.expire(number / 10)
    stirred = []
    wallet.stir = lambda: stirred.append(1)
    lease.correct(900, 60.0)
    assert stirred
    for claim in wallet.claims(60.0):
        grant = pool.exchange(claim, 60.0)
        wallet.learn(grant, 60.0)
    assert grant.left == 100
    lease.correct(-950, 60.0)
    for _ in range(2):
        for claim in wallet.claims(60.0):
            grant = pool.exchange(claim, 60.0)
    assert grant.left == 1000
    pool.expire(60 + LEASE_S + FORGET_S)
    assert pool._pots == {}


def test_while_nobody_answers_each_keeps_the_limit_alone_and_tells_afterwards():
    """Nothing that passed is forgotten, and nothing counted twice."""
    pool, wallet = CreditPool(), Wallet("a")
    lease = wallet.lease("key", "requests", 60, 10)
    assert lease.admit(1, 0.0) > 0
    wallet.alone = True
    assert [lease.admit(1, 0.0) == 0.0 for _ in range(12)] == [True] * 10 + [False] * 2
    wallet.alone = False
    assert lease.admit(1, 0.0) > 0
    for claim in wallet.claims(0.0):
        grant = pool.exchange(claim, 0.0)
        wallet.learn(grant, 0.0)
    # A pool that has never heard of this holder cannot tell what it has been charged for: it starts anew.
    wallet.alone = True
    assert lease.admit(1, 0.0) == 0.0
    for claim in wallet.claims(0.0):
        grant = pool.exchange(claim, 0.0)
    assert grant.left == 9


def test_key_limits_decide_by_leases_as_by_their_own():
    """Requests and tokens, both or neither, with the header's figures."""
    wallet, pool = Wallet("a"), CreditPool()

    def make(what, rate, burst):
        return wallet.lease("key", what, rate, burst)

    limits = PathLimits((KeyLimits(60, 1000, 2, "This key", make),))
    (requests, tokens) = limits.levels[0].buckets

    def fetch(count):
        for lease, units in ((requests, 1), (tokens, count)):
            claim = wallet.need(lease, units, 1.0)
            if claim is not None:
                wallet.learn(pool.exchange(claim, 1.0), 1.0)

    assert limits.admit(10, 1.0).code == "rate-limited-requests"
    fetch(10)
    assert limits.admit(10, 1.0) is None
    assert (requests.used, tokens.used) == (1, 10)
    fetch(5000)
    refused = limits.admit(5000, 1.0)
    assert refused.code == "rate-limited-tokens"
    assert requests.used == 1, "both or neither"
    assert b"x-ratelimit-limit-requests: 2\r\n" in limits.lines(1.0)
    limits.settle(10, 500, 1.0)
    assert tokens.used == 500


class Places:
    """Two processes with places of one limit."""

    def __init__(self, most):
        self.pool = CreditPool()
        self.wallets = [Wallet("a"), Wallet("b")]
        self.of = [LeasedPlaces(wallet.lease("key", "places", 0, most), 600.0) for wallet in self.wallets]

    def take(self, number, rid, now_s=0.0):
        wallet, places = self.wallets[number], self.of[number]
        refused = places.take(rid, now_s)
        if refused is None:
            return True
        assert isinstance(refused, Rejected)
        grant = self.pool.exchange(wallet.need(places.lease, 1, now_s), now_s)
        if grant.idle:
            other = self.wallets[1 - number]
            for claim in other.recalled([grant.pot], now_s):
                other.learn(self.pool.exchange(claim, now_s), now_s)
            claim = CreditClaim(
                wallet.holder, grant.pot, grant.seq, 0, places.most, 0, places.lease.returned, 0, 1
            )
            grant = self.pool.again(claim, now_s)
        wallet.learn(grant, now_s)
        return places.take(rid, now_s) is None


@settings(deadline=None)
@given(
    st.integers(1, 12), st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.integers(0, 3)), max_size=80)
)
def test_places_are_exactly_as_many_as_the_limit_says(most, moves):
    """A place that one gives back another gets at once."""
    places, running = Places(most), [{}, {}]
    for step, (number, begins, which) in enumerate(moves):
        if begins:
            free = len(running[0]) + len(running[1]) < most
            assert places.take(number, f"r{step}") is free
            if free:
                running[number][f"r{step}"] = None
        elif running[number]:
            rid = list(running[number])[which % len(running[number])]
            del running[number][rid]
            assert places.of[number].give(rid)
            assert not places.of[number].give(rid)


def test_the_places_of_a_dead_process_are_free():
    """At once when it is known to be dead; after its lease when it only fell silent."""
    places = Places(2)
    assert places.take(0, "a")
    assert places.take(0, "b")
    assert not places.take(1, "c")
    places.pool.drop("a", 1.0)
    assert places.take(1, "c", 1.0)
    assert places.take(1, "d", 1.0)
    silent = Places(1)
    assert silent.take(0, "a")
    silent.pool.expire(LEASE_S)
    silent.wallets[0] = Wallet("another")
    assert silent.take(1, "c", LEASE_S)
    assert silent.of[1].sweep(LEASE_S + 601) == ["c"]


def test_another_limit_is_another_pot():
    """As a reload makes them."""
    assert pot_of("key", "requests", 60, 1) != pot_of("key", "requests", 61, 1)
