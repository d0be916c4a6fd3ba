"""Who goes: against a model that looks at every entry each time."""

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.blobs.gdsf import PLAIN_GAIN, Gdsf, Limits, gain_of


class Model:
    """The rule as the paper says it: a list, its least, two clocks."""

    def __init__(self, limits):
        self.limits, self.entries, self.tick = limits, {}, 0
        self.clock, self.clocks = 0.0, {}

    def used(self, entry):
        self.tick += 1
        entry["tick"] = self.tick
        entry["all"] = self.clock + entry["uses"] * entry["gain"]
        entry["own"] = self.clocks.get(entry["tenant"], 0.0) + entry["uses"] * entry["gain"]

    def hit(self, name):
        self.entries[name]["uses"] += 1
        self.used(self.entries[name])

    def leave(self, name):
        tenant = self.entries.pop(name)["tenant"]
        if tenant and not any(entry["tenant"] == tenant for entry in self.entries.values()):
            self.clocks.pop(tenant, None)

    def room(self, tenant, most_bytes, most_entries, gone):
        while True:
            mine = {n: e for n, e in self.entries.items() if tenant is None or e["tenant"] == tenant}
            if sum(e["size"] for e in mine.values()) <= most_bytes and len(mine) < most_entries:
                return
            if not mine:
                return
            which = "all" if tenant is None else "own"
            name = min(mine, key=lambda n: (mine[n][which], mine[n]["tick"]))
            if tenant is None:
                self.clock = max(self.clock, mine[name]["all"])
            else:
                self.clocks[tenant] = max(self.clocks.get(tenant, 0.0), mine[name]["own"])
            kept = None if tenant is None else self.clocks[tenant]
            self.leave(name)
            if kept is not None:
                self.clocks[tenant] = kept
            gone.append(name)

    def enter(self, name, tenant, size, worth):
        gone, limits = [], self.limits
        if size > limits.max_bytes or (tenant and size > limits.tenant_max_bytes):
            return False, gone
        if tenant:
            self.room(tenant, limits.tenant_max_bytes - size, limits.tenant_max_entries, gone)
        own = self.clocks.get(tenant, 0.0)
        self.room(None, limits.max_bytes - size, limits.max_entries, gone)
        if tenant:
            self.clocks[tenant] = own
        self.entries[name] = entry = {"tenant": tenant, "size": size, "gain": gain_of(worth, size), "uses": 1}
        self.used(entry)
        return True, gone


STEP = st.tuples(
    st.sampled_from(["enter", "enter", "hit", "leave"]),
    st.integers(0, 30),
    st.sampled_from(["", "a", "b"]),
    st.integers(0, 60),
    st.sampled_from([0, 0, 1, 50, 3_000]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=120), st.integers(40, 200), st.integers(1, 12), st.integers(10, 100))
def test_it_decides_as_the_model_does(steps, most_bytes, most_entries, tenant_bytes):
    limits = Limits.of(most_bytes, most_entries, tenant_bytes)
    policy, model, slots, number = Gdsf(limits), Model(limits), {}, 0
    for what, which, tenant, size, worth in steps:
        names = sorted(slots)
        name = names[which % len(names)] if names else None
        if what == "enter":
            number += 1
            slot, gone = policy.enter(number, tenant, size, worth)
            kept, wanted = model.enter(number, tenant, size, worth)
            assert (slot is not None, [one.item for one in gone]) == (kept, wanted)
            for one in gone:
                del slots[one.item]
            if slot is not None:
                slots[number] = slot
        elif name is not None and what == "hit":
            policy.hit(slots[name])
            model.hit(name)
        elif name is not None:
            policy.leave(slots.pop(name))
            model.leave(name)
        assert policy.all.entries == len(model.entries) <= most_entries
        assert policy.all.size == sum(entry["size"] for entry in model.entries.values()) <= most_bytes


def test_the_worthless_goes_first_and_the_large():
    """Dear and small stays; of what is worth the same, the large goes."""
    policy = Gdsf(Limits.of(300, 100))
    dear, _ = policy.enter("dear", "", 100, 1_000_000)
    _, _ = policy.enter("cheap", "", 100, 1_000)
    _, _ = policy.enter("large and dear", "", 100, 500_000)
    _, gone = policy.enter("new", "", 150, 900_000)
    assert [slot.item for slot in gone] == ["cheap", "large and dear"]
    assert dear is not None
    assert dear.alive


def test_without_worth_what_is_used_stays_and_the_oldest_goes():
    policy = Gdsf(Limits.of(1_000, 3))
    slots = {name: policy.enter(name, "", size, 0)[0] for name, size in (("a", 300), ("b", 10), ("c", 10))}
    policy.hit(slots["a"])
    assert [slot.item for slot in policy.enter("d", "", 10, 0)[1]] == ["b"]
    assert [slot.item for slot in policy.enter("e", "", 10, 0)[1]] == ["c"]
    assert gain_of(0, 77) == PLAIN_GAIN


def test_what_was_once_used_much_is_overtaken():
    """The clock: without it an old favourite would never go."""
    policy = Gdsf(Limits.of(1_000, 2))
    old, _ = policy.enter("old", "", 1, 0)
    for _ in range(20):
        policy.hit(old)
    for number in range(60):
        policy.enter(number, "", 1, 0)
    assert not old.alive


def test_a_tenant_at_its_limit_takes_nothing_from_others():
    policy = Gdsf(Limits.of(1_000, 100, 100))
    other, _ = policy.enter("other", "b", 90, 0)
    for number in range(50):
        _, gone = policy.enter(number, "a", 50, 1_000_000)
        assert all(slot.item != "other" for slot in gone)
    assert other.alive
    assert policy.all.size == 190


def test_heaps_do_not_grow_with_what_left():
    policy = Gdsf(Limits.of(1_000, 100))
    for number in range(5_000):
        slot, _ = policy.enter(number, "t", 1, 0)
        policy.hit(slot)
        policy.leave(slot)
    assert len(policy.all._heap) < 100
    assert policy._tenants == {}
