"""What was begun before a purge is not kept after it: here, in the file, in Redis, and in every process."""

import pytest

from penstock.blobs.far import Drop, Purge, Which
from penstock.blobs.since import MOST_NOTES, Dropped, Since
from tests.blobs.make import ACME, OTHER, blob, tiers, until
from tests.blobs.test_redis import SOON_S, node
from tests.state.make import running

PURGES = [
    {},
    {"tenant": "acme"},
    {"tag": "t"},
    {"namespace": "n"},
    {"kind": "answer", "tenant": "acme", "tag": "t"},
]
NAMES = ["all", "tenant", "tag", "namespace", "several"]


@pytest.mark.parametrize("words", PURGES, ids=NAMES)
@pytest.mark.parametrize("file", [False, True], ids=["memory", "file"])
@running
async def test_a_purge_wins_over_what_was_begun_before_it(tmp_path, words, file):
    one = tiers(tmp_path / "b.db" if file else None, poll_s=3600)
    await one.open()
    since = one.dropped.since()
    assert await one.purge(**words) == 0
    assert one.put(blob(tags=("t",)), since) is False
    assert one.dropped.touched(since, ACME, b"k")
    assert one.near(ACME, b"k", 0) is None
    assert await one.find(ACME, b"k", 0, within_s=SOON_S) is None
    assert one.put(blob(tags=("t",)), one.dropped.since()) is True
    assert one.near(ACME, b"k", 0) is not None
    await one.aclose()


@running
async def test_what_a_purge_does_not_mean_is_kept(tmp_path):
    one = tiers(tmp_path / "b.db", poll_s=3600)
    await one.open()
    since = one.dropped.since()
    await one.purge(tenant="acme")
    await one.purge(tag="another")
    await one.drop(OTHER, b"another")
    assert one.put(blob(OTHER), since) is True
    assert not one.dropped.touched(one.dropped.since(), OTHER, b"k")
    assert await one.drop(OTHER, b"k")
    assert one.put(blob(OTHER), since) is False
    await one.aclose()


@pytest.mark.parametrize("words", PURGES, ids=NAMES)
@pytest.mark.parametrize("store", ["sqlite", "redis"])
@running
async def test_another_process_purges_what_this_one_has_begun(tmp_path, redis_server, words, store):
    """It had not heard of it when the answer came: nobody finds it, and it is gone here when it hears."""
    if store == "sqlite":
        mine, theirs = (tiers(tmp_path / "b.db", poll_s=3600) for _ in range(2))
    else:
        prefix = "since-" + "-".join(words)
        mine, theirs = (node(redis_server.url, prefix, poll_s=3600) for _ in range(2))
    await mine.open()
    await theirs.open()
    since = mine.dropped.since()
    await theirs.purge(**words)
    mine.put(blob(tags=("t",)), since)
    await mine.flush()
    assert await theirs.find(ACME, b"k", 0, within_s=SOON_S) is None

    def heard():
        mine._far[0].do(lambda store: store.poll())
        return mine.near(ACME, b"k", 0) is None

    until(heard)
    assert mine.put(blob(tags=("t",)), since) is False, "now it has heard"
    found = None
    while (
        found is None
    ):  # its place in the log may still be the old one: then it is not kept, which is a miss
        assert mine.put(blob(tags=("t",)), mine.dropped.since()) is True
        await mine.flush()
        found = await theirs.find(ACME, b"k", 0, within_s=SOON_S)
    await mine.aclose()
    await theirs.aclose()


def test_what_is_too_old_to_say_is_dropped():
    """Older than the notes, or than the file remembers."""
    now_s = [0.0]
    notes = Dropped(monotonic_s=lambda: now_s[0], most_s=10.0)
    since = notes.since()
    now_s[0] = 10.0
    assert not notes.meant(since, blob())
    now_s[0] = 10.1
    assert notes.meant(since, blob())
    now_s[0] = 0.0
    for _ in range(MOST_NOTES):
        notes.note(Drop(OTHER, b"x"))
    assert not notes.meant(since, blob())
    notes.note(Purge(Which(tenant="other")))
    assert notes.meant(since, blob()), "the first note is lost"
    assert not notes.meant(Since(1, (), 0.0), blob())
