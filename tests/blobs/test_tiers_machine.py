"""All tiers against a dictionary, step by step, with a clock that stands still unless told.

Memory is so small that most of it lies in the file; the model holds all that was put. A cache may forget only what its limits
say; here the file's limits are ample, so it must find exactly what the dictionary has.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.blobs.blob import Blob, Place
from penstock.blobs.gdsf import Limits
from penstock.blobs.sqlite import SqliteBlobs
from tests.blobs.make import AMPLE, Clock, tiers

WORDS = st.sampled_from(["", "a", "ab", "b"])
PLACES = st.builds(Place, st.sampled_from(["answer", "tensor"]), WORDS, WORDS)
KEYS = st.sampled_from([b"", b"k", b"kk", b"\0"])
MAYBE = st.none() | WORDS


class Tiers(RuleBasedStateMachine):
    """Blobs on one side, a dictionary on the other."""

    memory, file = AMPLE, True

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-blobs-"))
        self.clock, self.model = Clock(), {}
        self.gone, self.told = set(), []
        self.open()

    def open(self):
        path = self.folder / "b.db" if self.file else None
        self.tiers = tiers(path, clock=self.clock, limits=self.memory, poll_s=3600.0)
        self.tiers.subscribe(lambda place, key: self.gone.add((place, key)))
        self.do(self.tiers.open())

    def do(self, work):
        return self.loop.run_until_complete(asyncio.wait_for(work, 30))

    def living(self):
        return {key: one for key, one in self.model.items() if one.expires_ms > self.clock.now}

    @rule(
        place=PLACES, key=KEYS, size=st.integers(0, 20), life=st.integers(1, 100), worth=st.integers(0, 99),
        tags=st.sets(WORDS, max_size=2), about=st.sampled_from([b"", b"about"]),
    )  # fmt: skip
    def put(self, place, key, size, life, worth, tags, about):
        value = bytes([len(self.told) % 256]) * size
        self.told.append(1)
        now = self.clock.now
        one = Blob(place, key, value, now, now + life, worth, tuple(sorted(tags)), about)
        overwritten = (place, key) in self.living()
        self.gone.clear()
        self.tiers.put(one)
        self.model[place, key] = one
        assert not overwritten or (place, key) in self.gone

    @rule(place=PLACES, key=KEYS)
    def find(self, place, key):
        found = self.do(self.tiers.find(place, key, self.clock.now, within_s=20.0))
        wanted = self.living().get((place, key))
        assert (found is None) == (wanted is None)
        if wanted is not None:
            assert (found.place, found.key, found.value) == (place, key, wanted.value)
            assert (found.tags, found.about, found.expires_ms) == (
                wanted.tags,
                wanted.about,
                wanted.expires_ms,
            )

    @rule(place=PLACES, key=KEYS)
    def near(self, place, key):
        found = self.tiers.near(place, key, self.clock.now)
        wanted = self.living().get((place, key))
        assert found is None or found.value == wanted.value

    @rule(place=PLACES, key=KEYS)
    def drop(self, place, key):
        was = (place, key) in self.living()
        done = self.do(self.tiers.drop(place, key))
        assert done or not was
        self.model.pop((place, key), None)

    @rule(kind=st.none() | st.sampled_from(["answer", "tensor"]), tenant=MAYBE, namespace=MAYBE, tag=MAYBE)
    def purge(self, kind, tenant, namespace, tag):
        words = {"kind": kind, "tenant": tenant, "namespace": namespace, "tag": tag}
        meant = {
            key
            for key, one in self.model.items()
            if kind in (None, one.place.kind) and tenant in (None, one.place.tenant)
            if namespace in (None, one.place.namespace) and (tag is None or tag in one.tags)
        }
        living = meant & set(self.living())
        self.gone.clear()
        assert len(living) <= self.do(self.tiers.purge(**words)) <= len(meant)
        assert {key for key in living if self.model[key].about} <= self.gone
        for key in meant:
            del self.model[key]

    @rule(by=st.integers(1, 60))
    def later(self, by):
        self.clock.now += by

    @rule()
    def scan(self):
        self.do(self.tiers.flush())
        found = self.do(self.tiers.scan("answer", 0, 1_000))
        wanted = {key for key, one in self.living().items() if one.about and one.place.kind == "answer"}
        assert {(one.place, one.key) for one in found} == wanted
        assert [one.seq for one in found] == sorted(one.seq for one in found)

    @precondition(lambda self: self.file)
    @rule()
    def again(self):
        """The process ends and another begins: all is there still."""
        self.do(self.tiers.aclose())
        self.open()

    @precondition(lambda self: self.file)
    @rule(place=PLACES, key=KEYS)
    def another_process_drops(self, place, key):
        self.do(self.tiers.flush())
        other = SqliteBlobs(str(self.folder / "b.db"), AMPLE, now_ms=self.clock)
        other.drop(place, key)
        other.close()
        self.tiers._far[0].do(lambda store: store.poll())
        self.model.pop((place, key), None)

    @precondition(lambda self: self.file)
    @rule(place=PLACES, key=KEYS)
    def another_process_puts(self, place, key):
        self.do(self.tiers.flush())
        other = SqliteBlobs(str(self.folder / "b.db"), AMPLE, now_ms=self.clock)
        one = Blob(place, key, b"theirs", self.clock.now, self.clock.now + 50)
        other.put(one)
        other.close()
        self.tiers._far[0].do(lambda store: store.poll())
        self.model[place, key] = one

    @invariant()
    def limits(self):
        stats = self.tiers.stats()[0]
        assert stats.value_bytes <= self.memory.max_bytes
        assert stats.entries <= self.memory.max_entries

    @invariant()
    def nothing_failed(self):
        assert (self.tiers.faults, self.tiers.owed, self.tiers.unwritten) == (0, 0, 0)

    def teardown(self):
        self.do(self.tiers.aclose())
        self.loop.close()
        shutil.rmtree(self.folder)


class NoMemory(Tiers):
    """Everything comes from the file."""

    memory = Limits(0, 0, 0, 0)


class LittleMemory(Tiers):
    """Evicted and found again all the time."""

    memory = Limits(40, 4, 25, 3)


class OnlyMemory(Tiers):
    """No file at all."""

    file = False


ENOUGH = settings(max_examples=15, stateful_step_count=40, deadline=None, phases=[Phase.generate])
NoMemory.TestCase.settings = LittleMemory.TestCase.settings = OnlyMemory.TestCase.settings = ENOUGH
TestNoMemory, TestLittleMemory, TestOnlyMemory = NoMemory.TestCase, LittleMemory.TestCase, OnlyMemory.TestCase
