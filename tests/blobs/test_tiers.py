"""The tiers as one: what is dropped stays dropped, and no store's failure reaches who asks."""

import asyncio
import threading

import pytest

from penstock.blobs.blob import Place, Stats, StoreFault
from penstock.blobs.far import Change
from penstock.blobs.gdsf import Limits
from penstock.blobs.guard import MOST_PAUSE_S, MOST_RETRY_S, RETRY_S, SLOW_IN_A_ROW, Guarded
from penstock.blobs.opening import BlobSettings, disk_limits, open_blobs
from tests.blobs.make import ACME, AMPLE, OTHER, Clock, blob, memory, sqlite, tiers, until
from tests.state.make import running

NO_ROOM = Limits(0, 0, 0, 0)
SOON_S = 20.0


class Held:
    """A far store that waits at a gate before it writes or reads, or fails."""

    name = "held"
    mark = 0

    def __init__(self):
        self.kept = memory()
        self.write_gate, self.read_gate, self.reached = (
            threading.Event(),
            threading.Event(),
            threading.Event(),
        )
        self.write_gate.set()
        self.read_gate.set()
        self.fails = False
        self.batches = []

    def _asked(self):
        if self.fails:
            raise StoreFault("The store is away.")

    def get(self, place, key, now_ms):
        self._asked()
        found = self.kept.get(place, key, now_ms)
        self.reached.set()
        assert self.read_gate.wait(SOON_S)
        return found

    def write(self, ops):
        self.reached.set()
        assert self.write_gate.wait(SOON_S)
        self._asked()
        self.batches.append(len(ops))
        return [self._one(op) for op in ops]

    def _one(self, op):
        match type(op).__name__:
            case "Put":
                self.kept.put(op.blob)
                return 1
            case "Drop":
                return int(self.kept.drop(op.place, op.key))
            case "Purge":
                words = {name: getattr(op.which, name) for name in ("kind", "tenant", "namespace", "tag")}
                return self.kept.purge(**words)
        return 0

    def poll(self):
        self._asked()

    def secret(self, offer, *, instead=False):
        self._asked()
        return b"s" * 32

    def scan(self, kind, after_seq, limit, now_ms):
        self._asked()
        return self.kept.scan(kind, after_seq, limit, now_ms)

    def stats(self):
        self._asked()
        return Stats("held", self.kept.stats().entries, 0)

    def close(self):
        pass


async def held(**more):
    store = Held()
    blobs = tiers(far=[("held", lambda heard: store)], limits=NO_ROOM, **more)
    await blobs.open()
    return store, blobs


async def reached(store):
    await asyncio.to_thread(store.reached.wait, SOON_S)
    store.reached.clear()


@running
async def test_memory_now_and_the_file_soon(tmp_path):
    blobs = tiers(tmp_path / "b.db")
    await blobs.open()
    blobs.put(blob(about=b"a"))
    assert blobs.near(ACME, b"k", 0).value == b"v"
    await blobs.flush()
    secret = blobs.secret()
    await blobs.aclose()

    again = tiers(tmp_path / "b.db")
    await again.open()
    assert again.near(ACME, b"k", 0) is None
    assert (await again.find(ACME, b"k", 0, within_s=SOON_S)).value == b"v"
    assert again.near(ACME, b"k", 0).value == b"v"
    assert await again.find(OTHER, b"k", 0, within_s=SOON_S) is None
    assert [one.key for one in await again.scan("answer", 0, 10)] == [b"k"]
    assert again.secret() == secret
    assert len(secret) == 32
    await again.flush()
    await again.aclose()
    assert again.faults == 0


@running
async def test_a_purge_is_not_undone_by_what_was_put_before_it():
    """The write is held until the purge has been asked for; what is put after the purge is kept."""
    store, blobs = await held()
    store.write_gate.clear()
    blobs.put(blob(key=b"first"))
    await reached(store)
    blobs.put(blob(key=b"waiting"))
    purge = asyncio.ensure_future(blobs.purge(tenant="acme"))
    await asyncio.sleep(0)
    assert await blobs.find(ACME, b"waiting", 0, within_s=SOON_S) is None
    blobs.put(blob(key=b"after"))
    blobs.put(blob(key=b"waiting", value=b"anew"))
    store.write_gate.set()
    assert await purge == 2
    await blobs.flush()
    assert await blobs.find(ACME, b"first", 0, within_s=SOON_S) is None
    assert (await blobs.find(ACME, b"after", 0, within_s=SOON_S)).value == b"v"
    assert (await blobs.find(ACME, b"waiting", 0, within_s=SOON_S)).value == b"anew"
    await blobs.aclose()


@running
async def test_a_purge_is_not_undone_by_a_find_that_had_begun():
    """What was read before the purge is neither answered nor kept in memory."""
    store, blobs = await held()
    store.kept.put(blob())
    store.read_gate.clear()
    find = asyncio.ensure_future(blobs.find(ACME, b"k", 0, within_s=SOON_S))
    await reached(store)
    assert await blobs.purge(kind="answer") == 1
    store.read_gate.set()
    assert await find is None
    assert blobs.near(ACME, b"k", 0) is None
    await blobs.aclose()


@running
async def test_a_purge_whose_caller_has_gone_is_done_and_the_queue_goes_on():
    """A caller that hangs up cancels the wait for it; once that ended the thread which writes, and nothing was kept after it."""
    store, blobs = await held()
    store.kept.put(blob(key=b"old"))
    store.write_gate.clear()
    purge = asyncio.ensure_future(blobs.purge(tenant="acme"))
    await reached(store)
    purge.cancel()
    with pytest.raises(asyncio.CancelledError):
        await purge
    store.write_gate.set()
    await blobs.flush()
    assert store.kept.stats().entries == 0
    blobs.put(blob(key=b"after"))
    await blobs.flush()
    assert store.kept.stats().entries == 1
    assert blobs.unwritten == 0
    await blobs.aclose()


@running
async def test_a_find_begun_between_asking_and_doing_keeps_nothing():
    store, blobs = await held()
    store.kept.put(blob())
    store.write_gate.clear()
    store.read_gate.clear()
    drop = asyncio.ensure_future(blobs.drop(ACME, b"k"))
    await reached(store)
    find = asyncio.ensure_future(blobs.find(ACME, b"k", 0, within_s=SOON_S))
    await reached(store)
    store.write_gate.set()
    assert await drop
    store.read_gate.set()
    assert await find is None
    assert blobs.near(ACME, b"k", 0) is None
    await blobs.aclose()


@running
async def test_a_find_does_not_put_the_old_over_the_new():
    store = Held()
    blobs = tiers(far=[("held", lambda heard: store)])
    await blobs.open()
    store.kept.put(blob(value=b"old"))
    store.read_gate.clear()
    find = asyncio.ensure_future(blobs.find(ACME, b"k", 0, within_s=SOON_S))
    await reached(store)
    blobs.put(blob(value=b"new"))
    store.read_gate.set()
    assert (await find).value == b"new"
    assert blobs.near(ACME, b"k", 0).value == b"new"
    await blobs.aclose()


@running
async def test_too_late_is_a_miss_and_counted():
    store, blobs = await held()
    store.kept.put(blob())
    store.read_gate.clear()
    assert await blobs.find(ACME, b"k", 0, within_s=0.01) is None
    assert blobs.faults == 1
    store.read_gate.set()
    assert (await blobs.find(ACME, b"k", 0, within_s=SOON_S)).value == b"v"
    await blobs.aclose()


@running
async def test_a_full_queue_drops_the_write_and_what_lies_there():
    """Never waits; and nobody finds an older blob in its place."""
    store, blobs = await held(max_waiting=3)
    store.kept.put(blob(key=b"4", value=b"old"))
    store.write_gate.clear()
    blobs.put(blob(key=b"0"))
    await reached(store)
    for number in range(1, 6):
        blobs.put(blob(key=b"%d" % number))
    assert blobs.unwritten == 3
    store.write_gate.set()
    await blobs.flush()
    assert store.kept.stats().entries == 3
    assert await blobs.find(ACME, b"4", 0, within_s=SOON_S) is None
    await blobs.aclose()


@running
async def test_a_full_queue_by_bytes():
    _, blobs = await held(max_waiting_bytes=100)
    blobs.put(blob(value=b"x" * 101))
    assert blobs.unwritten == 1
    await blobs.aclose()


@running
async def test_a_store_that_fails_is_a_miss_left_alone_and_said_once():
    said, beat = [], Clock(0.0)
    store, blobs = await held(say=lambda key, words: said.append((key, words)), monotonic_s=beat, poll_s=3600)
    blobs.put(blob())
    await blobs.flush()
    store.fails = True
    for _ in range(5):
        assert await blobs.find(OTHER, b"k", 0, within_s=SOON_S) is None
        blobs.put(blob(OTHER))
        await blobs.flush()
        assert await blobs.scan("answer", 0, 10) == []
    assert blobs.faults == 1
    assert [key for key, _ in said] == ["cache.held"]
    store.fails = False
    assert await blobs.find(ACME, b"k", 0, within_s=SOON_S) is None
    beat.now = RETRY_S
    assert (await blobs.find(ACME, b"k", 0, within_s=SOON_S)).value == b"v"
    await blobs.aclose()


@running
async def test_a_purge_that_the_store_does_not_take_is_owed_and_hides():
    beat = Clock(0.0)
    store, blobs = await held(monotonic_s=beat, poll_s=3600)
    blobs.put(blob())
    blobs.put(blob(OTHER))
    await blobs.flush()
    store.fails = True
    await blobs.purge(tenant="acme")
    assert blobs.owed == 1
    store.fails, beat.now = False, 100.0
    assert await blobs.find(ACME, b"k", 0, within_s=SOON_S) is None
    assert (await blobs.find(OTHER, b"k", 0, within_s=SOON_S)).value == b"v"
    blobs.put(blob(value=b"anew"))
    await blobs.flush()
    assert blobs.owed == 0
    assert store.kept.get(ACME, b"k", 0).value == b"anew"
    await blobs.aclose()


@running
async def test_the_breaker_waits_longer_each_time():
    beat = Clock(0.0)
    asked = []

    def fails(store):
        asked.append(beat.now)
        raise StoreFault("away")

    guard = Guarded("held", Held, monotonic_s=beat)
    while beat.now < 200:
        with pytest.raises(StoreFault):
            guard.do(fails)
        beat.now += 0.5
    assert asked[:6] == [0, 1, 3, 7, 15, 31]
    assert asked[-1] - asked[-2] == MOST_RETRY_S


class Slow(Held):
    """Takes its time, by the clock of the test, and answers."""

    beat = Clock(0.0)
    takes_s = 0.0

    def get(self, place, key, now_ms):
        self.beat.now += self.takes_s
        return super().get(place, key, now_ms)


def test_slow_answers_are_not_waited_for_any_more():
    """After five in a row; writes go on; it is tried again, and waits twice as long where it is still slow."""
    store, said = Slow(), []
    beat = store.beat = Clock(0.0)
    guard = Guarded(
        "redis", lambda: store, say=lambda *words: said.append(words), monotonic_s=beat, slow_s=0.025
    )

    def read():
        try:
            guard.read(lambda one: one.get(ACME, b"k", 0))
        except StoreFault:
            return False
        return True

    store.takes_s = 0.02
    assert all(read() for _ in range(20)), "quick enough"
    store.takes_s = 0.04
    assert [read() for _ in range(SLOW_IN_A_ROW - 1)] == [True] * (SLOW_IN_A_ROW - 1)
    store.takes_s = 0.001
    assert read(), "a quick one between them: it begins anew"
    store.takes_s = 0.04
    assert [read() for _ in range(SLOW_IN_A_ROW + 3)] == [True] * SLOW_IN_A_ROW + [False] * 3
    assert guard.passed_over == 3
    assert guard.left_alone().code == "store-slow"
    assert "25 ms or more 5 times in a row" in guard.left_alone().reason
    assert len(said) == 1
    assert guard.do(lambda one: one.write([])) == [], "nobody waits for what is written"
    pauses, paused_s = [], beat.now
    while beat.now < 400:
        if read():
            pauses.append(beat.now - paused_s)
            paused_s = beat.now
        beat.now += 0.25
    assert [round(one) for one in pauses[:4]] == [5, 10, 20, 40]
    assert max(pauses) <= MOST_PAUSE_S + 1
    store.takes_s = 0.001
    beat.now += MOST_PAUSE_S
    assert read()
    assert guard.left_alone() is None
    store.takes_s = 0.04
    assert all(read() for _ in range(SLOW_IN_A_ROW - 1)), "it is trusted again"


@running
async def test_what_is_not_asked_says_why():
    """A miss that may be none: the reason is there for who asks."""
    store = Slow()
    beat = store.beat = Clock(0.0)
    store.takes_s = 1.0
    one = tiers(far=[("redis", lambda _heard: store)], slow_s={"redis": 0.025}, monotonic_s=beat, poll_s=3600)
    assert one.left_alone() is None
    for _ in range(SLOW_IN_A_ROW):
        assert await one.find(ACME, b"k", 0, within_s=SOON_S) is None
    assert one.left_alone().code == "store-slow"
    store.fails = True
    beat.now += MOST_PAUSE_S
    assert await one.find(ACME, b"k", 0, within_s=SOON_S) is None
    assert one.left_alone().code == "store-away"


@running
async def test_subscribers_are_told():
    gone = []
    blobs = tiers(limits=Limits.of(100, 2, 100))
    await blobs.open()
    blobs.subscribe(lambda place, key: gone.append(key))
    for key in (b"1", b"2", b"3"):
        blobs.put(blob(key=key))
    assert gone == [b"1"]
    blobs.put(blob(key=b"2"))
    assert await blobs.drop(ACME, b"2")
    assert await blobs.purge(tenant="acme") == 1
    assert gone == [b"1", b"2", b"2", b"3"]
    await blobs.aclose()


@running
async def test_with_a_file_its_evictions_are_told_not_the_memorys(tmp_path):
    gone = []
    blobs = tiers(tmp_path / "b.db", limits=Limits.of(100, 1, 100), disk=Limits.of(1_000, 3, 1_000))
    await blobs.open()
    for number in range(5):
        blobs.put(blob(key=b"%d" % number))
        await blobs.flush()
        if number == 0:
            blobs.subscribe(lambda place, key: gone.append(key))
    assert [key for key in gone if key in (b"0", b"1")] == [b"1", b"0", b"1"]
    await blobs.aclose()


@running
async def test_what_was_of_use_in_memory_stays_in_the_file(tmp_path):
    """The file would else evict what memory serves all day."""
    blobs = tiers(tmp_path / "b.db", disk=Limits.of(1_000, 3, 1_000))
    await blobs.open()
    for key in (b"used", b"2", b"3"):
        blobs.put(blob(key=key))
    for _ in range(10):
        blobs.near(ACME, b"used", 0)
    await blobs.aclose()
    store = sqlite(tmp_path / "b.db", limits=Limits.of(1_000, 3, 1_000))
    for number in range(6):
        store.put(blob(key=b"new%d" % number))
    assert store.get(ACME, b"used", 0) is not None
    store.close()


@running
async def test_what_others_did_reaches_memory():
    """As the stores tell it."""
    told = {}

    def opened(heard):
        told["heard"] = heard
        return Held()

    blobs = tiers(far=[("held", opened)])
    await blobs.open()
    gone, news = [], []
    blobs.subscribe(lambda place, key: gone.append(key))
    blobs.news(lambda one: news.append(one.key))
    for key in (b"1", b"2", b"3", b"4"):
        blobs.put(blob(key=key))
    del gone[:]
    told["heard"]([Change("drop", ACME, b"1"), Change("evict", ACME, b"2")])
    told["heard"](
        [Change("put", ACME, b"3", blob(key=b"3", about=b"a")), Change("put", ACME, b"9", blob(key=b"9"))]
    )
    assert gone == [b"1", b"2", b"3", b"9"]
    assert news == [b"3"]
    assert [blobs.near(ACME, b"%d" % n, 0) is not None for n in (1, 2, 3, 4)] == [False, True, False, True]
    told["heard"]([Change("lost")])
    assert blobs.near(ACME, b"4", 0) is None
    await blobs.aclose()


@running
async def test_who_waits_is_never_left_waiting():
    """A subscriber's bug ends the thread; drops and flushes come back all the same."""
    threads = []
    hook, threading.excepthook = threading.excepthook, lambda args: threads.append(args.exc_type)
    try:
        store, blobs = await held()
        store.poll = lambda: 1 / 0
        store.write = lambda ops: 1 / 0
        blobs.put(blob())
        await blobs.flush()
        until(lambda: threads == [ZeroDivisionError])
        assert not await blobs.drop(ACME, b"2")
        blobs.put(blob())
        await blobs.flush()
        await blobs.aclose()
    finally:
        threading.excepthook = hook


@running
async def test_without_far_stores_there_is_only_memory():
    blobs = open_blobs(BlobSettings(max_bytes=1_000, max_entries=10))
    await blobs.open()
    blobs.put(blob(about=b"a"))
    assert (await blobs.find(ACME, b"k", 0, within_s=0.0)).value == b"v"
    assert [one.tier for one in blobs.stats()] == ["memory"]
    assert await blobs.scan("answer", 0, 5) == []  # it is over by the real clock
    assert await blobs.drop(ACME, b"k")
    await blobs.flush()
    await blobs.aclose()


def test_settings_show_no_secret():
    settings = BlobSettings(redis_url="redis://user:hunter2@host:6379/0")
    assert "hunter2" not in repr(settings) + str(settings) + f"{settings!r}"


def test_a_tenants_share_on_disk_is_its_share_in_memory():
    limits = disk_limits(BlobSettings(max_bytes=1_000, tenant_max_bytes=100, disk_max_bytes=50_000))
    assert (limits.max_bytes, limits.tenant_max_bytes) == (50_000, 5_000)
    assert disk_limits(BlobSettings()).tenant_max_bytes == 1024**3
    assert Limits.of(8, 4).tenant_max_entries == 1
    assert AMPLE.tenant_max_bytes == AMPLE.max_bytes // 4
    assert Place("a") != Place("b")
