"""What every tier keeps to, whichever it is."""

import pytest

from penstock.blobs.blob import Place
from penstock.blobs.gdsf import Limits
from penstock.blobs.redis import RedisBlobs
from tests.blobs.make import ACME, OTHER, Clock, blob, memory, redis, sqlite, until


@pytest.fixture(params=["memory", "sqlite", "redis"])
def opened(request, tmp_path):
    """Makes a store of this kind."""
    made = []
    server = request.getfixturevalue("redis_server") if request.param == "redis" else None

    def make(limits=None, clock=None, **more):
        if server is not None:
            if limits is not None:
                pytest.skip("how much lies in Redis is the server's business")
            made.append(redis(server.url, clock, **more))
            return made[-1]
        words = {} if limits is None else {"limits": limits}
        if request.param == "memory":
            made.append(memory(**words))
        else:
            made.append(sqlite(tmp_path / "blobs.db", clock, **words, **more))
        return made[-1]

    yield make
    for store in made:
        store.close()


def counted(store):
    """Redis counts a little with each poll: until it has been round once from the start."""
    if isinstance(store, RedisBlobs):
        store._counting, store._counted = (0, 0, 0), None
        until(lambda: store._counted is not None, each=store.poll)
    return store.stats()


def test_what_is_put_is_found_whole(opened):
    store = opened()
    kept = blob(value=b"\0\xff" * 500, worth_nusd=7, tags=("a", "b\0"), about=b"about")
    store.put(kept)
    found = store.get(ACME, b"k", 1_000_001)
    assert found is not None
    assert (found.value, found.about, found.tags, found.worth_nusd) == (kept.value, kept.about, kept.tags, 7)
    assert (found.place, found.key, found.created_ms, found.expires_ms) == (ACME, b"k", 1_000_000, 1_060_000)
    assert found.seq > 0


def test_a_life_is_absolute(opened):
    """A hit never prolongs it."""
    store = opened()
    store.put(blob(life=60_000))
    for now in (1_000_000, 1_030_000, 1_059_999):
        assert store.get(ACME, b"k", now) is not None
    assert store.get(ACME, b"k", 1_060_000) is None


def test_a_place_is_compared_whole(opened):
    """Kind, tenant, namespace: none of them is a prefix of another's, and no key is found elsewhere."""
    store = opened()
    places = [
        Place("answer", "acme", "n"), Place("answer", "acme", ""), Place("answer", "acmen", ""), Place("answer", "acm", "en"),
        Place("answer", "", "acmen"), Place("tensor", "acme", "n"), Place("answer", "acme", "N"), Place("answer", "acme", "n\0"),
        Place("answer", "%", "n"), Place("answer", "acme*", "n"),
    ]  # fmt: skip
    for at, place in enumerate(places):
        assert store.get(place, b"k", 0) is None
        store.put(blob(place, value=b"%d" % at))
    for at, place in enumerate(places):
        assert store.get(place, b"k", 0).value == b"%d" % at


def test_a_purge_leaves_all_others(opened):
    store = opened()
    for place in (ACME, OTHER, Place("answer", "acme", "m"), Place("tensor", "acme", "n")):
        for key in (b"1", b"2"):
            store.put(blob(place, key, tags=("t" + key.decode(),)))
    assert store.purge(kind="answer", tenant="acme", namespace="n", tag="t1") == 1
    assert store.get(ACME, b"1", 0) is None
    assert store.purge(tag="t1") == 3
    assert store.purge(tag="t") == 0
    assert store.purge(tenant="acme") == 3
    assert store.purge(tenant="") == 0
    assert store.get(OTHER, b"2", 0) is not None
    assert store.purge() == 1
    assert counted(store).entries == 0


def test_the_newest_is_the_one_that_is_there(opened):
    store = opened()
    store.put(blob(value=b"old", tags=("old",)))
    store.put(blob(value=b"newer", tags=("new",)))
    assert store.get(ACME, b"k", 0).value == b"newer"
    store_stats = counted(store)
    assert (store_stats.entries, store_stats.value_bytes) == (1, 5)
    assert store.purge(tag="old") == 0
    assert store.drop(ACME, b"k")
    assert not store.drop(ACME, b"k")


def test_a_scan_tells_in_order_what_has_an_about(opened):
    store = opened()
    for number in range(10):
        store.put(
            blob(
                key=b"%d" % number,
                value=b"value",
                about=b"about" if number % 2 else b"",
                life=number * 10_000,
            )
        )
    first = store.scan("answer", 0, 2, 1_040_000)
    assert [(one.key, one.value, one.about) for one in first] == [
        (b"5", b"", b"about"),
        (b"7", b"", b"about"),
    ]
    assert [one.key for one in store.scan("answer", first[-1].seq, 9, 0)] == [b"9"]
    assert store.scan("tensor", 0, 9, 0) == []


def test_limits_are_kept_by_bytes_and_entries_and_for_each_tenant(opened):
    store = opened(Limits(1_000, 20, 400, 5))
    for number in range(30):
        store.put(blob(ACME, b"%d" % number, b"x" * 100))
        assert store.stats().value_bytes <= 400
    for number in range(30):
        store.put(blob(OTHER, b"%d" % number, b"x"))
    assert store.stats().entries == 9
    assert store.get(OTHER, b"29", 0) is not None
    for number in range(30):
        store.put(blob(Place("answer", f"t{number}"), b"", b"x" * 90))
        assert store.stats().value_bytes <= 1_000
        assert store.stats().entries <= 20
    assert store.stats().evicted > 0
    store.put(blob(ACME, b"too large", b"x" * 401))
    assert store.get(ACME, b"too large", 0) is None


def test_without_tenants_everything_may_be_used(opened):
    """Tenant "" is a gateway without virtual keys: a quarter for each would leave three quarters empty."""
    store, place = opened(Limits(1_000, 20, 250, 5)), Place("answer")
    for number in range(10):
        store.put(blob(place, b"%d" % number, b"x" * 100))
    assert store.stats().entries == 10


def test_what_is_used_and_dear_stays(opened):
    store = opened(Limits.of(1_000, 5, 1_000))
    store.put(blob(key=b"dear", value=b"x" * 10, worth_nusd=10**9))
    for number in range(50):
        store.put(blob(key=b"%d" % number, value=b"x" * 10, worth_nusd=1_000))
    assert store.get(ACME, b"dear", 0) is not None
    assert store.get(ACME, b"49", 0) is not None


def test_odd_names_are_no_fault(opened):
    """Whatever a caller writes into a header: found again, or a miss."""
    store = opened()
    for name in ("", "'; DROP TABLE blobs", "\ud800", "a\0b", "x" * 10_000, "%_*?[]"):
        place = Place("answer", name, name)
        store.put(blob(place, b"k", b"v", tags=(name,)))
        found = store.get(place, b"k", 0)
        assert found is None or found.value == b"v"
        store.purge(tenant=name, tag=name)
        assert store.get(place, b"k", 0) is None
    store.put(blob(life=10**30))
    store.drop(Place("answer", "\ud800"), b"k")
    store.put(blob(value=b"after"))
    assert store.get(ACME, b"k", 0).value == b"after"


def test_eviction_tells_whom_it_concerns():
    gone, evicted = [], []
    store = memory(
        Limits.of(100, 2, 100),
        gone=lambda place, key: gone.append(key),
        evicted=lambda one, uses: evicted.append((one.key, uses)),
    )
    store.put(blob(key=b"1"))
    store.put(blob(key=b"1"))
    store.get(ACME, b"1", 0)
    store.put(blob(key=b"2"))
    store.put(blob(key=b"3"))
    store.get(ACME, b"3", 0)
    store.drop(ACME, b"3")
    store.purge()
    assert gone == [b"1", b"3", b"1"]
    assert evicted == [(b"2", 0)]


def test_expired_rows_are_swept(tmp_path):
    clock, beat = Clock(), Clock(0)
    store = sqlite(tmp_path / "blobs.db", clock, monotonic_s=beat)
    for number in range(1_200):
        store.put(blob(key=b"%d" % number, life=100 if number else 10_000))
    clock.now += 200
    store.poll()
    assert store.stats().entries == 1_200
    beat.now = 61
    store.poll()
    assert store.stats().entries == 1
    store.close()
