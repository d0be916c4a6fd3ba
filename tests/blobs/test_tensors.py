"""Tensors as bytes: what was put comes back bit by bit, and whatever is odd is a miss."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.blobs.blob import Place, StoreFault
from penstock.blobs.opening import BlobSettings, open_store
from penstock.blobs.stacked import StackedBlobs
from penstock.blobs.tensors import ITEM_BYTES, KIND, Tensor, TensorCache, content_key, packed, unpacked
from tests.blobs.make import AMPLE, Clock, blob, memory, redis, sqlite

SOME = [
    Tensor("bfloat16", (2, 3), bytes(range(12))),
    Tensor("bool", (), b"\1"),
    Tensor("float32", (0, 4), b""),
]


@st.composite
def tensors(draw):
    dtype = draw(st.sampled_from(sorted(ITEM_BYTES)))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    size = ITEM_BYTES[dtype]
    for n in shape:
        size *= n
    return Tensor(dtype, shape, draw(st.binary(min_size=size, max_size=size)))


@given(st.lists(tensors(), max_size=4))
def test_what_is_packed_comes_out_again(some):
    assert unpacked(packed(some)) == some


@settings(max_examples=300)
@given(st.lists(tensors(), max_size=3), st.data())
def test_whatever_is_odd_is_a_miss(some, data):
    """One bit other, cut short, or longer: never another tensor."""
    value = bytearray(packed(some))
    match data.draw(st.sampled_from(["bit", "short", "long"])):
        case "bit":
            at = data.draw(st.integers(0, len(value) * 8 - 1))
            value[at // 8] ^= 1 << at % 8
        case "short":
            del value[data.draw(st.integers(0, len(value) - 1)) :]
        case _:
            value += b"\0"
    assert unpacked(bytes(value)) is None


@given(st.binary(max_size=200))
def test_noise_is_a_miss(noise):
    assert unpacked(noise) is None
    assert unpacked(struct.pack("<5sII", b"PENT\x01", 0, len(noise)) + noise) is None


@pytest.mark.parametrize(
    "wrong", [Tensor("float32", (2,), b"1234"), Tensor("object", (1,), b"1"), Tensor("int8", (-1, -1), b"1")]
)
def test_what_is_no_tensor_is_refused(wrong):
    with pytest.raises(ValueError, match="are no"):
        packed([wrong])


@settings(max_examples=50)
@given(st.lists(st.one_of(st.binary(max_size=4), st.text(max_size=4), st.integers(), st.none()), max_size=4))
def test_a_key_is_of_its_parts_and_no_others(parts):
    key = content_key(*parts)
    assert len(key) == 32
    assert key == content_key(*parts)
    assert key != content_key(*parts, b"")
    if parts:
        assert key != content_key(*parts[:-1])
        assert content_key(repr(parts[0])) != content_key(parts[0])


def test_a_key_knows_where_its_parts_end():
    keys = [
        content_key(*parts)
        for parts in (("ab",), ("a", "b"), ("", "ab"), (b"ab",), (1,), (1.0,), ("1",), (True,))
    ]
    assert len(set(keys)) == len(keys)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request, tmp_path):
    match request.param:
        case "memory":
            one = memory()
        case "sqlite":
            one = sqlite(tmp_path / "b.db")
        case _:
            one = redis(request.getfixturevalue("redis_server").url)
    yield one
    one.close()


def test_in_memory_sqlite_and_redis(store):
    clock = Clock()
    cache = TensorCache(store, "clip", 10.0, now_ms=clock)
    other = TensorCache(store, "t5", 10.0, now_ms=clock)
    key = content_key("weights", "a red lamp")
    assert cache.get(key) is None
    cache.put(key, SOME)
    assert cache.get(key) == SOME
    assert other.get(key) is None
    assert (cache.hits, cache.misses, other.misses) == (1, 1, 1)
    clock.now += 10_000
    assert cache.get(key) is None


def test_what_somebody_else_wrote_there_is_a_miss():
    store, clock = memory(), Clock()
    cache = TensorCache(store, "n", 10.0, now_ms=clock)
    store.put(blob(Place(KIND, "", "n"), b"k", b"no tensor"))
    assert cache.get(b"k") is None
    cache.put(b"k", [])
    assert cache.get(b"k") == []


def test_a_store_that_fails_is_a_miss(tmp_path):
    (tmp_path / "b.db").write_bytes(b"a document" * 100)
    store = sqlite(tmp_path / "b.db")
    with pytest.raises(StoreFault):
        store.put(blob())
    cache = TensorCache(store, "n", 10.0, now_ms=Clock())
    cache.put(b"k", SOME)
    assert cache.get(b"k") is None
    assert (cache.faults, cache.misses) == (2, 1)


def test_stacked_tiers_without_an_event_loop(tmp_path):
    """Memory before a file; two processes' worth of them hear each other."""
    beat = Clock(0.0)

    def stacked():
        return StackedBlobs(
            AMPLE, [("sqlite", lambda heard: sqlite(tmp_path / "b.db", heard=heard))], monotonic_s=beat
        )

    one, two = stacked(), stacked()
    place = blob().place
    one.put(blob(about=b"a"))
    assert two.get(place, b"k", 0).value == b"v"
    assert two.scan("answer", 0, 9, 0)[0].key == b"k"
    one.put(blob(value=b"newer"))
    assert two.get(place, b"k", 0).value == b"v"  # not heard yet
    beat.now += 1.0
    assert two.get(place, b"k", 0).value == b"newer"
    assert one.drop(place, b"k")
    beat.now += 1.0
    assert two.get(place, b"k", 0) is None
    two.put(blob())
    assert one.purge(tenant="acme") == 1
    assert one.get(place, b"k", 0) is None
    assert one.stats().entries == 0
    assert one.faults == two.faults == 0
    one.close()
    two.close()


def test_opened_by_its_settings(tmp_path):
    store = open_store(BlobSettings(path=str(tmp_path / "b.db")))
    TensorCache(store, "n", 60.0).put(b"k", SOME)
    store.close()
    again = open_store(BlobSettings(path=str(tmp_path / "b.db")))
    assert TensorCache(again, "n", 60.0).get(b"k") == SOME
    again.close()
