"""Both stores against a dictionary: every sequence of operations, the same answers."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from penstock.objects import tables, work
from penstock.objects.store import KEEP, Item
from tests.objects.make import Hand, in_file, in_postgres

KINDS, NAMES, OWNERS = ("file", "job"), ("a", "b", "ç?%s"), ("alice", "bob")
names = st.tuples(st.sampled_from(KINDS), st.sampled_from(NAMES), st.sampled_from(OWNERS))
metas = st.dictionaries(
    st.text("ab\x00é", max_size=2), st.integers(-5, 5) | st.text("x\x00ü", max_size=2), max_size=2
)
PIECE_BYTES = 8
bodies = st.sampled_from([b"", b"x", b"\x00\xff\x80", b"p" * PIECE_BYTES, b"q" * (6 * PIECE_BYTES + 3)])
offsets = st.none() | st.integers(0, 4)
workers = st.sampled_from(["w1", "w2"])


class Model(RuleBasedStateMachine):
    """``store`` is set by the test that runs it; ``held`` is the dictionary, in the order of making."""

    def __init__(self, open_store: Any) -> None:
        super().__init__()
        self.clock = Hand()
        self.store = open_store(self.clock)
        self.held: dict[tuple[str, str, str], dict[str, Any]] = {}

    def _live(self, key: tuple[str, str, str]) -> dict[str, Any] | None:
        one = self.held.get(key)
        if one is None or (one["expires"] is not None and one["expires"] <= self.clock.now_ms):
            return None
        return one

    @rule(key=names, meta=metas, body=bodies, expires=offsets, due=offsets, drafted=st.booleans())
    def put(self, key, meta, body, expires, due, drafted):
        now_ms = self.clock.now_ms
        expires_ms = None if expires is None else now_ms + expires
        due_ms = None if due is None else now_ms + due
        if drafted:
            draft = self.store.draft()
            for n, start in enumerate(range(0, len(body), 5)):
                self.store.add(draft, n, body[start : start + 5])
            self.store.put(*key, meta=meta, draft=draft, expires_ms=expires_ms, due_ms=due_ms)
        else:
            self.store.put(*key, meta=meta, body=body, expires_ms=expires_ms, due_ms=due_ms)
        old = self.held.pop(key, None)
        self.held[key] = {
            "meta": meta, "body": body, "expires": expires_ms, "due": due_ms, "created": now_ms,
            "version": 1 if old is None else old["version"] + 1, "lease": None, "worker": None, "items": {},
        }  # fmt: skip

    @rule(key=names, meta=metas, body=st.none() | bodies, due=st.just(KEEP) | offsets, late=st.booleans())
    def change(self, key, meta, body, due, late):
        one = self._live(key)
        version = 7_000 if one is None else one["version"] - late
        due_ms = due if due is None or due == KEEP else self.clock.now_ms + due
        said = self.store.change(*key, meta, version=version, body=body, due_ms=due_ms)
        assert said is (one is not None and not late)
        if one is not None and not late:
            one["meta"], one["version"] = meta, one["version"] + 1
            if body is not None:
                one["body"] = body
            if due_ms != KEEP:
                one.update(due=due_ms, lease=None, worker=None)

    @rule(key=names)
    def delete(self, key):
        assert self.store.delete(*key) is (self._live(key) is not None)
        self.held.pop(key, None)

    @rule(by=st.integers(0, 3))
    def time_passes(self, by):
        self.clock.now_ms += by

    @rule()
    def sweep(self):
        dead = [key for key in self.held if self._live(key) is None]
        assert self.store.sweep(self.clock.now_ms) == len(dead)
        for key in dead:
            del self.held[key]

    @rule(kind=st.sampled_from(KINDS), worker=workers, lease=st.integers(1, 3))
    def claim(self, kind, worker, lease):
        now_ms = self.clock.now_ms
        due = [
            (one["due"], n, key)
            for n, (key, one) in enumerate(self.held.items())
            if key[0] == kind and self._live(key) and one["due"] is not None and one["due"] <= now_ms
            and (one["lease"] is None or one["lease"] <= now_ms)
        ]  # fmt: skip
        got = self.store.claim(kind, worker=worker, lease_ms=lease, now_ms=now_ms)
        if not due:
            assert got is None
            return
        key = min(due)[2]
        assert got is not None
        assert (got.kind, got.id, got.owner) == key
        one = self.held[key]
        one.update(lease=now_ms + lease, worker=worker, version=one["version"] + 1)
        assert (got.version, got.meta) == (one["version"], one["meta"])

    @rule(key=names, worker=workers, lease=st.integers(1, 3))
    def renew(self, key, worker, lease):
        one, now_ms = self._live(key), self.clock.now_ms
        got = self.store.renew(*key, worker=worker, lease_ms=lease, now_ms=now_ms)
        if one is None or one["worker"] != worker:
            assert got is None
        else:
            assert got is not None
            assert got.meta == one["meta"]
            one["lease"] = now_ms + lease

    @rule(key=names, worker=workers)
    def release(self, key, worker):
        one, due_ms = self.held.get(key), self.clock.now_ms + 1
        mine = one is not None and one["worker"] == worker
        assert self.store.release(*key, worker=worker, due_ms=due_ms) is mine
        if one is not None and mine:
            one.update(lease=None, worker=None, due=due_ms)

    @rule(
        key=names,
        items=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["ok", "no"]), bodies), max_size=3),
    )
    def tell(self, key, items):
        one = self._live(key)
        told = self.store.tell(*key, [Item(*item) for item in items])
        new = 0
        if one is not None:
            for n, state, body in items:
                if n not in one["items"]:
                    one["items"][n] = (state, body)
                    new += 1
        assert told == new

    @invariant()
    def everything_is_as_the_model_says(self):
        for kind in KINDS:
            for owner in OWNERS:
                keys = [key for key in self.held if key[0] == kind and key[2] == owner and self._live(key)]
                keys.reverse()
                listed = self.store.listed(kind, owner)
                assert [(one.kind, one.id, one.owner) for one in listed] == keys
                assert self.store.used(kind, owner) == sum(len(self.held[key]["body"]) for key in keys)
                assert self.store.many(kind, owner) == len(keys)
                if keys:
                    after = self.store.listed(kind, owner, after=keys[0][1], limit=1)
                    assert [one.id for one in after] == [key[1] for key in keys[1:2]]
            for name in NAMES:
                for owner in OWNERS:
                    self._alike((kind, name, owner))

    def _alike(self, key: tuple[str, str, str]) -> None:
        one, got = self._live(key), self.store.get(*key)
        if one is None:
            assert got is None
            assert self.store.body(*key) is None
            assert self.store.piece(*key, 0) is None
            assert self.store.told(*key) == []
            return
        assert got is not None
        assert (got.meta, got.version, got.size) == (one["meta"], one["version"], len(one["body"]))
        assert (got.created_ms, got.expires_ms, got.due_ms) == (one["created"], one["expires"], one["due"])
        assert self.store.body(*key) == one["body"]
        items = [Item(n, *one["items"][n]) for n in sorted(one["items"])]
        assert self.store.told(*key) == items
        assert self.store.told(*key, start=2, limit=1) == [item for item in items if item.n >= 2][:1]
        assert self.store.numbers(*key) == [item.n for item in items]
        states = [item.state for item in items]
        assert self.store.counts(*key) == {state: states.count(state) for state in set(states)}

    def teardown(self):
        try:
            self.clock.now_ms += 10 * 86_400_000
            for key in list(self.held):
                self.store.delete(*key)
            self.store.sweep(self.clock.now_ms)
            with self.store.database.reading() as connection:
                for table in ("objects", "object_pieces", "object_drafts", "object_items", "object_gone"):
                    assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0, table
        finally:
            self.store.close()


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    """Bodies of several pieces that are quickly compared."""
    for module in (tables, work):
        monkeypatch.setattr(module, "PIECE_BYTES", PIECE_BYTES)


LONG = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_file_says_what_a_dictionary_says():
    """SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(10_000))
        run_state_machine_as_test(
            lambda: Model(lambda clock: in_file(Path(folder) / f"{next(numbers)}.db", clock)), settings=LONG
        )


def test_postgres_says_what_a_dictionary_says(postgres_url):
    """PostgreSQL; every run leaves it empty."""
    run_state_machine_as_test(
        lambda: Model(lambda clock: in_postgres(postgres_url, clock)),
        settings=settings(LONG, max_examples=5),
    )


def test_the_model_can_fail():
    """A store that forgets is found out."""

    model = Model(lambda clock: in_file(":memory:", clock))
    model.put(("file", "a", "alice"), {}, b"x", None, None, drafted=False)
    model.everything_is_as_the_model_says()
    model.store.delete("file", "a", "alice")
    with pytest.raises(AssertionError):
        model.everything_is_as_the_model_says()
    model.teardown()
