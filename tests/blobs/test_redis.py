"""Blobs in a real Redis: nodes that hear one another, and a server that goes away."""

import socket
import threading

import pytest
import redis as client

from penstock.base.errors import ConfigFault
from penstock.blobs.blob import Place, StoreFault
from penstock.blobs.far import Put
from penstock.blobs.opening import BlobSettings, open_blobs
from penstock.blobs.redis import ANSWER_S, RedisBlobs
from penstock.blobs.redis_log import CONNECT_S
from penstock.blobs.sqlite import SqliteBlobs
from tests.blobs.make import ACME, AMPLE, OTHER, Clock, blob, redis, tiers, until
from tests.servers import RedisServer
from tests.state.make import running

SOON_S = 20.0


@pytest.fixture
def own_server():
    """One that may be stopped."""
    server = RedisServer()
    yield server
    server.remove()


def node(url, prefix, *, path=None, clock=None, **more):
    """Memory, perhaps a file, and Redis."""
    clock = clock or Clock()
    files, far = [], []

    def file(heard):
        files.append(SqliteBlobs(str(path), AMPLE, now_ms=clock, heard=heard))
        return files[-1]

    def shared(heard):
        position = files[-1].position if files else None
        return RedisBlobs(
            url,
            now_ms=clock,
            heard=heard,
            prefix=prefix,
            answer_s=SOON_S,
            node=str(path or ""),
            position=position,
        )

    if path is not None:
        far.append(("sqlite", file))
    far.append(("redis", shared))
    return tiers(far=far, clock=clock, **more)


@running
async def test_nodes_share_blobs_and_the_secret_and_hear_of_drops_at_once(redis_server):
    one, two = node(redis_server.url, "hear", poll_s=3600), node(redis_server.url, "hear", poll_s=3600)
    await one.open()
    await two.open()
    assert one.secret() == two.secret()
    news, gone = [], []
    two.news(lambda told: news.append((told.key, told.about, told.value)))
    two.subscribe(lambda place, key: gone.append((place, key)))
    one.put(blob(about=b"a"))
    one.put(blob(OTHER))
    await one.flush()
    until(lambda: two._far[0].mark == 2)
    assert (await two.find(ACME, b"k", 0, within_s=SOON_S)).value == b"v"
    assert (await two.find(OTHER, b"k", 0, within_s=SOON_S)).value == b"v"
    assert await two.find(Place("answer", "third", "n"), b"k", 0, within_s=SOON_S) is None
    until(lambda: news == [(b"k", b"a", b"")])
    one.put(blob(value=b"newer"))
    until(lambda: two.near(ACME, b"k", 0) is None and two._far[0].mark == 3)
    assert (await two.find(ACME, b"k", 0, within_s=SOON_S)).value == b"newer"
    del gone[:]
    assert await one.purge(tenant="acme") == 1
    until(lambda: gone == [(ACME, b"k")])
    assert await two.find(ACME, b"k", 0, within_s=SOON_S) is None
    assert two.near(OTHER, b"k", 0) is not None
    assert one.faults == two.faults == 0
    await one.aclose()
    await two.aclose()


def test_a_late_write_does_not_undo_what_another_node_dropped(redis_server):
    mine, theirs = (redis(redis_server.url, prefix="late") for _ in range(2))
    mine.put(blob(key=b"there"))
    assert theirs.get(ACME, b"there", 0) is not None
    mark = theirs.mark
    late = [
        Put(one, mark) for one in (blob(), blob(key=b"2"), blob(OTHER), blob(Place("tensor", "acme", "n")))
    ]
    assert mine.purge(kind="answer", tenant="acme") == 1
    mine.drop(Place("tensor", "acme", "n"), b"k")
    assert theirs.write(late) == [0, 0, 1, 0]
    assert theirs.get(ACME, b"k", 0) is None
    until(lambda: theirs.mark >= mark + 2)
    assert theirs.write([Put(blob(), theirs.mark)]) == [1]
    assert mine.write([Put(blob(value=b"own"), 0)]) == [1]
    mine.close()
    theirs.close()


def test_keys_hold_no_names(redis_server):
    store = redis(redis_server.url, prefix="names")
    store.put(blob(Place("kindword", "tenantword", "spaceword"), tags=("tagword",), about=b"a"))
    with client.Redis.from_url(redis_server.url) as line:
        names = [name.decode() for name in line.keys("{names}*")]
        lives = {name: line.pttl(name) for name in names if ":blob:" in name or ":tag:" in name}
    assert len(names) == 5
    assert not [name for name in names if "word" in name]
    assert len(lives) == 2
    assert all(0 < life <= 60_000 for life in lives.values())
    store.close()


def test_what_has_expired_leaves_the_index(redis_server):
    store = redis(redis_server.url, prefix="expire")
    store.put(blob(life=1, about=b"a"))
    store.put(blob(key=b"2", about=b"a"))
    until(lambda: store.get(ACME, b"k", 0) is None)
    assert [one.key for one in store.scan("answer", 0, 10, 0)] == [b"2"]
    with client.Redis.from_url(redis_server.url) as line:
        assert line.zcard(store._names.abouts("answer")) == 1
    store.close()


def test_who_missed_too_much_forgets_all(redis_server, monkeypatch):
    """The log was cut off before this node heard it."""
    monkeypatch.setattr("penstock.blobs.redis.LOG_ENTRIES", 10)
    told = []
    mine = redis(
        redis_server.url, prefix="gap", heard=lambda changes: told.extend(one.what for one in changes)
    )
    mine.put(blob())
    until(lambda: mine.mark == 1)
    mine._listening, real = None, mine._listening  # it hears nothing for a while
    mine._closing.set()
    mine._thread.join()
    theirs = redis(redis_server.url, prefix="gap")
    late = [Put(blob(OTHER), mine.mark)]
    for number in range(500):
        theirs.drop(ACME, b"%d" % number)
    assert mine.write(late) == [0]
    mine._closing.clear()
    mine._listening, mine._thread = real, threading.Thread(target=mine._listen)
    mine._thread.start()
    until(lambda: "lost" in told)
    mine.close()
    theirs.close()


@running
async def test_a_server_that_has_forgotten_is_another(own_server):
    """Flushed, or restarted without its data: what is in memory may have been purged meanwhile."""
    blobs = node(own_server.url, "flush", poll_s=0.02)
    await blobs.open()
    blobs.put(blob())
    await blobs.flush()
    with client.Redis.from_url(own_server.url) as line:
        line.flushall()
    until(lambda: blobs.near(ACME, b"k", 0) is None)
    blobs.put(blob(value=b"anew"))
    await blobs.flush()
    assert (await blobs.find(ACME, b"k", 0, within_s=SOON_S)).value == b"anew"
    await blobs.aclose()


@running
async def test_a_dead_server_costs_nothing_after_the_first_fault(own_server):
    said, beat = [], Clock(0.0)
    blobs = tiers(
        far=[("redis", lambda heard: RedisBlobs(own_server.url, now_ms=Clock(), heard=heard))],
        monotonic_s=beat, poll_s=3600, say=lambda key, words: said.append(words),
    )  # fmt: skip
    await blobs.open()
    own_server.stop(now=True)
    asked = []
    store = blobs._far[0]._store
    real = store.get
    store.get = lambda *words: asked.append(1) or real(*words)
    for number in range(50):
        assert await blobs.find(ACME, b"%d" % number, 0, within_s=SOON_S) is None
    assert len(asked) == 1
    assert len(said) == 1
    assert "127.0.0.1" not in said[0] or "refused" in said[0]
    await blobs.purge(tenant="acme")
    assert blobs.owed == 1
    own_server.start()
    beat.now = 100.0
    await blobs.flush()
    blobs.put(blob())
    await blobs.flush()
    beat.now = 200.0
    blobs.put(blob(OTHER))
    await blobs.flush()
    assert blobs.owed == 0
    assert store.get(OTHER, b"k", 0) is not None
    await blobs.aclose()


def test_a_server_that_says_nothing_is_waited_for_briefly():
    """It takes the connection, and never answers."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(8)
        store = RedisBlobs(f"redis://user:hunter2@127.0.0.1:{deaf.getsockname()[1]}/0", now_ms=Clock())
        with pytest.raises(StoreFault, match=r"(?i)time") as caught:
            store.get(ACME, b"k", 0)
        assert "hunter2" not in str(caught.value)
        assert ANSWER_S <= CONNECT_S <= 0.5
        store.close()


@running
async def test_a_file_hears_of_the_other_nodes_drops(redis_server, tmp_path):
    """Also of those that were dropped while no process of its node ran."""
    one = node(redis_server.url, "relay", path=tmp_path / "1.db", poll_s=0.02)
    two = node(redis_server.url, "relay", path=tmp_path / "2.db", poll_s=0.02)
    await one.open()
    await two.open()
    assert one.secret() == two.secret()
    for key in (b"1", b"2", b"3"):
        two.put(blob(key=key))
    two.put(blob(OTHER))
    await two.flush()
    file = SqliteBlobs(str(tmp_path / "2.db"), AMPLE, now_ms=Clock())
    assert file.get(ACME, b"1", 0) is not None
    await one.drop(ACME, b"1")
    until(lambda: file.get(ACME, b"1", 0) is None)
    assert file.get(ACME, b"2", 0) is not None
    until(lambda: file.position() != b"")
    await two.aclose()
    await one.purge(tenant="acme")
    assert file.get(ACME, b"2", 0) is not None
    again = node(redis_server.url, "relay", path=tmp_path / "2.db", poll_s=0.02)
    await again.open()
    until(lambda: file.get(ACME, b"2", 0) is None)
    assert file.get(OTHER, b"k", 0) is not None
    file.close()
    await again.aclose()
    await one.aclose()


@running
async def test_workers_of_one_node_do_not_drop_each_others_writes(redis_server, tmp_path):
    path = tmp_path / "b.db"
    one = node(redis_server.url, "workers", path=path, poll_s=0.02)
    two = node(redis_server.url, "workers", path=path, poll_s=0.02)
    await one.open()
    await two.open()
    for number in range(50):
        one.put(blob(key=b"%d" % number))
    await one.flush()
    redis_of_two = two._far[1]._store
    until(lambda: redis_of_two.mark >= 50)
    await two.flush()
    file = SqliteBlobs(str(path), AMPLE, now_ms=Clock())
    assert file.stats().entries == 50
    file.close()
    await one.aclose()
    await two.aclose()


@running
async def test_by_its_settings(redis_server, tmp_path):
    settings = BlobSettings(path=str(tmp_path / "b.db"), redis_url=redis_server.url)
    blobs = open_blobs(settings)
    await blobs.open()
    await blobs.flush()
    assert [one.tier for one in blobs.stats()] == ["memory", "sqlite", "redis"]
    await blobs.aclose()
    with pytest.raises(ConfigFault) as caught:
        open_blobs(BlobSettings(redis_url="hunter2://secret"))
    assert "hunter2" not in caught.value.public()
