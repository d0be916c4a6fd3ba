"""What is decided, for any order of asking: right as a whole or not at all, and never a key without its limits."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.base.errors import PenstockError
from penstock.config.catalogue import Catalogue
from penstock.config.meaning import meaning_faults
from penstock.config.schema import BudgetConfig, Config, OrganisationConfig, TeamConfig, VirtualKeyConfig
from penstock.registry.changes import Ask, BadFields, applied, decide, settled
from penstock.registry.desk import Desk
from penstock.registry.objects import SORTS, Registry, Stored, declared, merge, name_of
from penstock.registry.secret import fresh_key, hash_of
from penstock.registry.store import FileStore
from penstock.registry.views import budget_views, entry_of, entry_view, object_views

CATALOGUE = Catalogue.load()
NOW_S = 1_795_000_000.0
BASE = Config(
    organisations=(OrganisationConfig(name="acme"),),
    teams=(
        TeamConfig(name="declared", organisation="acme", budgets=(BudgetConfig(limit_usd=5, period="day"),)),
    ),
    virtual_keys=(VirtualKeyConfig(name="old", key="sha256:" + "ab" * 32, team="declared"),),
)
BARE = Config(virtual_keys=BASE.virtual_keys[:0])


def check(config):
    return meaning_faults(config, CATALOGUE, Path())


names = st.sampled_from(["a", "b", "old", "declared", "acme", "", "x/y"])
budgets = st.fixed_dictionaries(
    {"limit_usd": st.sampled_from([1, "2.5", "-1", "x"])},
    optional={"period": st.sampled_from(["day", "month", "year"]), "name": st.sampled_from(["one", "two"])},
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "team": st.sampled_from(["a", "b", "declared", "nobody", None]),
        "organisation": st.sampled_from(["a", "acme", "nobody", None]),
        "models": st.sampled_from([["*"], ["openai/*", "!openai/o1"], [], "openai/*", None]),
        "budgets": st.lists(budgets, max_size=2),
        "expires": st.sampled_from(["2099-01-01", "soon", None]),
        "rate_limit": st.sampled_from([{"requests_per_minute": 5}, {"requests_per_minute": 0}, None]),
        "key": st.just("sk-plain"),
    },
)
asks = st.builds(
    lambda verb, kind, name, given, budget, which, grace_s: Ask(
        verb=verb,
        kind="key" if verb == "rotate" else kind,
        name=name,
        fields=budget if verb == "set_budget" else given,
        budget=which,
        grace_s=grace_s,
    ),
    st.sampled_from(
        ["create", "create", "create", "change", "remove", "rotate", "set_budget", "remove_budget"]
    ),
    st.sampled_from(["organisation", "team", "key"]),
    names,
    fields,
    budgets,
    st.sampled_from(["day", "month", "one", "two"]),
    st.sampled_from([0, 60, -1]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(asks, min_size=3, max_size=14))
def test_what_is_accepted_is_in_force_and_what_is_refused_changed_nothing(asked):
    """Each accepted change counts once; the configuration of both stays without a fault; no view shows a key."""
    registry, secrets = Registry(), []
    for ask in asked:
        before = msgspec.json.encode(registry)
        try:
            change = decide(ask, registry, BASE, NOW_S, fresh_key)
            merged = settled(ask, change, registry, BASE, check)
        except PenstockError as error:
            assert 400 <= error.status < 500
            assert error.message
            assert msgspec.json.encode(registry) == before
            continue
        after = applied(registry, change)
        assert after.version == registry.version + 1
        assert after.closed == (registry.closed or ask.kind == "key")
        assert merged.left_out == {}
        assert check(merged.config) == []
        told = [entry_view(entry_of(change, "ann", NOW_S))]
        told += [view for kind in SORTS for view in object_views(kind, BASE, after, merged, NOW_S)]
        told += budget_views(BASE, merged)
        if change.secret is not None:
            secrets.append(change.secret.reveal())
            (kept,) = [one for one in after.objects if one.place == ("key", ask.name)]
            assert kept.fields["key"] == hash_of(secrets[-1])
        text = json.dumps(told) + repr(change) + repr(after)
        assert not any(secret in text or hash_of(secret) in text for secret in secrets)
        registry = after
    assert len(set(secrets)) == len(secrets)


def stored(kind, name, **given):
    given = {"key": hash_of(name), **given} if kind == "key" else given
    return Stored(kind=kind, name=name, fields=given, created_ms=0, updated_ms=0)


few = st.sampled_from(["a", "b", "c", "declared", "acme"])
objects = st.one_of(
    st.builds(lambda name: stored("organisation", name), few),
    st.builds(lambda name, above: stored("team", name, organisation=above), few, few),
    st.builds(lambda name, team: stored("key", name, team=team), few, few),
    st.builds(lambda name: stored("key", name, modles=["*"]), few),
    st.builds(lambda name: stored("team", name, budgets=[{"limit_usd": "much"}]), few),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(objects, max_size=8, unique_by=lambda one: one.place), st.sampled_from([BASE, BARE]))
def test_no_key_is_let_in_without_what_stands_above_it(made, config):
    """Whatever is in the store, and whatever the configuration has become: in force is what is whole, all the way up."""
    merged = merge(config, Registry(version=1, objects=tuple(made)), check)
    assert check(merged.config) == []
    organisations = {one.name for one in merged.config.organisations}
    teams = {one.name for one in merged.config.teams}
    assert {one.organisation for one in merged.config.teams} - {None} <= organisations
    assert {one.team for one in merged.config.virtual_keys} - {None} <= teams
    for one in made:
        live = [name_of(other) for other in declared(merged.config, one.kind)].count(one.name)
        own = [name_of(other) for other in declared(config, one.kind)].count(one.name)
        assert (one.place in merged.left_out) == (live == own)
    assert len(merged.warnings()) == len(merged.left_out)
    assert all(fault.message and fault.remedy for faults in merged.left_out.values() for fault in faults)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 300)), min_size=1, max_size=8))
def test_each_older_key_is_taken_for_its_own_grace_period_and_no_longer(turns):
    """Rotations at any distance, each with a grace period of its own; one without ends all of them."""
    now_s, registry = NOW_S, Registry()
    ask = Ask(verb="create", kind="key", name="k")
    change = decide(ask, registry, BASE, now_s, fresh_key)
    registry = applied(registry, change)
    current, until = hash_of(change.secret.reveal()), {}
    for wait_s, grace_s in turns:
        now_s += wait_s
        ask = Ask(verb="rotate", kind="key", name="k", grace_s=grace_s)
        change = decide(ask, registry, BASE, now_s, fresh_key)
        settled(ask, change, registry, BASE, check)
        registry = applied(registry, change)
        until = {key: end_s for key, end_s in until.items() if end_s > now_s}
        until = {**until, current: now_s + grace_s} if grace_s else {}
        current = hash_of(change.secret.reveal())
        (kept,) = registry.objects
        previous = {
            one["key"]: datetime.fromisoformat(one["until"]).timestamp()
            for one in kept.fields.get("previous", [])
        }
        assert (kept.fields["key"], previous) == (current, until)


def test_a_change_is_decided_anew_on_what_another_has_left(tmp_path):
    """Two desks at one store: the second one's name was taken in between, and it is told so."""
    store = FileStore(str(tmp_path / "penstock.db.admin"))
    ann, bob = (Desk(store, BASE, check, who, lambda: NOW_S) for who in ("ann", "bob"))
    read, once = store.read, []

    def read_then_be_overtaken():
        registry = read()
        if not once:
            once.append(ann.ask(Ask(verb="create", kind="key", name="k")))
        return registry

    bob._store = type("Slow", (), {"read": staticmethod(read_then_be_overtaken), "commit": store.commit})()
    with pytest.raises(PenstockError, match="There is a virtual key 'k' already"):
        bob.ask(Ask(verb="create", kind="key", name="k"))
    assert [row["who"] for row in ann.audit(limit=9, before=None, kind=None, name=None)] == ["ann"]


def test_every_fault_of_a_body_is_told_at_once():
    """With the path from the body's own fields, for each of them."""
    given = {"modles": 1, "budgets": [{"limit_usd": 1, "perod": "day"}], "max_concurrent": 0}
    with pytest.raises(BadFields) as refused:
        decide(Ask(verb="create", kind="team", name="t", fields=given), Registry(), BASE, NOW_S, fresh_key)
    assert [fault.path for fault in refused.value.faults] == [
        "$.modles",
        "$.budgets[0].perod",
        "$.max_concurrent",
    ]
    ask = Ask(verb="set_budget", kind="team", name="t", fields={"limit_usd": "x", "timezone": "Nowhere"})
    registry = Registry(objects=(stored("team", "t", budgets=[{"limit_usd": 1, "period": "day"}]),))
    change = decide(ask, registry, BASE, NOW_S, fresh_key)
    with pytest.raises(BadFields) as refused:
        settled(ask, change, registry, BASE, check)
    assert sorted(fault.path for fault in refused.value.faults) == ["$.limit_usd", "$.timezone"]


def test_every_fault_of_a_change_is_told_at_once():
    """Fields of a wrong shape, unknown ones, and ones that have no default, together."""
    registry = Registry(objects=(stored("key", "k"),))
    given = {"modles": 1, "max_concurrent": 0, "key": None, "team": None, "tags": "x", "previus": None}
    with pytest.raises(BadFields) as refused:
        decide(Ask(verb="change", kind="key", name="k", fields=given), registry, BASE, NOW_S, fresh_key)
    assert sorted(fault.path for fault in refused.value.faults) == [
        "$.key",
        "$.max_concurrent",
        "$.modles",
        "$.previus",
        "$.tags",
    ]


@given(st.integers(-3, 3), st.sampled_from(["+00:00", "", "Z", "+02:00"]))
def test_an_expired_key_is_not_in_force(days, zone):
    """Of the configuration or of run time, in whichever time zone its moment is written."""
    moment = datetime.fromtimestamp(NOW_S, UTC) + timedelta(days=days)
    if zone == "+02:00":
        moment = moment.astimezone(timezone(timedelta(hours=2)))
    expires = moment.strftime("%Y-%m-%dT%H:%M:%S") + zone
    config = msgspec.structs.replace(
        BASE, virtual_keys=(msgspec.structs.replace(BASE.virtual_keys[0], expires=expires),)
    )
    registry = Registry(objects=(stored("key", "k", expires=expires), stored("key", "plain")))
    views = object_views("key", config, registry, merge(config, registry, check), NOW_S)
    told = {view["name"]: (view.get("in_force", True), view.get("why_not", "")) for view in views}
    assert told["plain"] == (True, "")
    for name in ("old", "k"):
        assert told[name] == ((True, "") if days > 0 else (False, f"It has expired, {expires}."))
