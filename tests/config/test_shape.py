"""Faults of shape: the walk and msgspec agree about what fits, and every knob's bounds and kind are enforced."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from penstock.config.fault import Fault
from penstock.config.schema import Config
from penstock.config.shape import nearest, shape_faults
from tests.config.make import loaded


class Knob(NamedTuple):
    """One scalar of the schema: a document that holds ``value`` there is made by ``document(value)``."""

    path: str
    info: Any
    keys: tuple[Any, ...]

    def document(self, value: Any) -> dict[str, Any]:
        made = value
        for key in reversed(self.keys):
            made = [made] if key is list else {key: made}
        return made


def plain(info: inspect.Type) -> inspect.Type:
    """Without the meaning beside it."""
    return plain(info.type) if isinstance(info, inspect.Metadata) else info


def knobs(info: inspect.Type, path: str = "$", keys: tuple[Any, ...] = ()) -> Iterator[Knob]:
    """Every scalar below."""
    info = plain(info)
    match info:
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from knobs(field.type, f"{path}.{field.encode_name}", (*keys, field.encode_name))
        case inspect.DictType(value_type=kind):
            yield from knobs(kind, f"{path}.some", (*keys, "some"))
        case inspect.VarTupleType(item_type=kind):
            yield from knobs(kind, f"{path}[0]", (*keys, list))
        case inspect.UnionType(types=types):
            for kind in types:
                if not isinstance(kind, inspect.NoneType):
                    yield from knobs(kind, path, keys)
        case inspect.AnyType():
            pass
        case _:
            yield Knob(path, info, keys)


KNOBS = list(knobs(inspect.type_info(Config)))
each_knob = pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: f"{knob.path}:{type(knob.info).__name__}")


def at(knob: Knob, value: Any) -> list[Fault]:
    """What is said at the knob's own place (fields that are missing beside it do not matter here)."""
    return [fault for fault in shape_faults(knob.document(value), Config) if fault.path == knob.path]


def bounds(info: Any) -> list[tuple[str, float]]:
    return [
        (name, bound) for name in ("ge", "gt", "le", "lt") if (bound := getattr(info, name, None)) is not None
    ]


def test_the_walk_finds_the_knobs():
    """Else the tests below would test nothing."""
    found = {knob.path for knob in KNOBS}
    assert len(found) > 60
    assert {
        "$.server.port",
        "$.providers.some.keys[0].weight",
        "$.providers.some.network.retry.max_retries",
        "$.virtual_keys[0].rate_limit.burst",
        "$.semantic_cache.similarity_threshold",
        "$.fallbacks[0].primary.model",
    } <= found


@each_knob
def test_the_bounds_of_every_knob_are_enforced(knob: Knob):
    """At a bound it passes, one step beyond it is refused with the bound in the remedy."""
    whole = isinstance(knob.info, inspect.IntType)
    step = 1 if whole else 0.001
    for name, bound in bounds(knob.info):
        outwards = -step if name in ("ge", "gt") else step
        inside, outside = (bound, bound + outwards) if name in ("ge", "le") else (bound - outwards, bound)
        kind = int if whole else float
        assert at(knob, kind(inside)) == []
        (fault,) = at(knob, kind(outside))
        assert f"{bound:g}" in fault.remedy
        assert not msgspec_takes(knob, kind(outside))
    if isinstance(knob.info, inspect.FloatType):
        for odd in (float("nan"), float("inf"), float("-inf")):
            assert len(at(knob, odd)) == 1
    if isinstance(knob.info, inspect.IntType | inspect.FloatType):
        assert len(at(knob, 10**400)) == 1


def msgspec_takes(knob: Knob, value: Any) -> bool:
    """msgspec's own opinion: does it complain about this very place?"""
    try:
        msgspec.convert(knob.document(value), Config)
    except msgspec.ValidationError as error:
        return "missing required field" in str(error)
    return True


DOLLARS = ("usd_per_hour", "usd_per_gb_month", "usd_per_gb", "usd", "limit_usd")


@each_knob
def test_every_knob_refuses_another_kind(knob: Knob):
    """A list where a scalar is wanted, numbers as text, text as numbers, true for 1."""
    wrong: list[Any] = [[1], {"a": {"b": 1}}]
    match knob.info:
        case inspect.StrType() | inspect.FloatType() if knob.path.rpartition(".")[2] in DOLLARS:
            wrong += [True]  # a number or its decimal text
        case inspect.StrType():
            wrong = [[1], 7, 1.5, True]
        case inspect.IntType():
            wrong += ["7", 1.5, True, "seven"]
        case inspect.FloatType():
            wrong += ["0.5", True]
        case inspect.BoolType():
            wrong += ["yes", 1, 0]
        case inspect.LiteralType():
            wrong += ["nothing", 1, None if knob.path.count("dialect") == 0 else 2]
        case _:
            raise AssertionError(knob)
    for value in wrong:
        found = [f for f in shape_faults(knob.document(value), Config) if f.path.startswith(knob.path)]
        assert found, (knob, value)
        assert all(fault.message and fault.remedy for fault in found)


@pytest.mark.parametrize(
    ("document", "path", "said"),
    [
        ({"server": {"prot": 1}}, "$.server.prot", "Did you mean 'port'?"),
        ({"server": {"zzzzzz": 1}}, "$.server.zzzzzz", "Known fields: host, port"),
        ({"server": {1: 1}}, "$.server.1", "There is no field 1."),
        ({"providers": {True: {}}}, "$.providers.True", "The name True is not text. Put it in quotes."),
        ({"providers": []}, "$.providers", "Write it as name: value."),
        ({"routes": {"id": "r"}}, "$.routes", "Write it as a YAML list"),
        ({"routes": [{}]}, "$.routes[0].primary", "Add primary: …"),
        ({"routes": ["r"]}, "$.routes[0]", "Write {id: …}, with fields such as id, primary"),
        ({"routes": [{"id": "r", "primary": 7}]}, "$.routes[0].primary", "Put it in quotes."),
        ({"routes": [{"id": "r", "primary": {"modle": "x"}}]}, "$.routes[0].primary.modle", "'model'"),
        ({"semantic_cache": "on"}, "$.semantic_cache", "Write fields such as enabled"),
        (
            {"virtual_keys": [{"name": "a", "key": "env.A", "rate_limit": 7}]},
            "$.virtual_keys[0].rate_limit",
            "fields",
        ),
        ({"server": {"port": "8080"}}, "$.server.port", "Expected a whole number, got text. Write digits"),
        ({"server": None}, "$.server", "Expected fields, got nothing."),
    ],
)
def test_a_fault_says_where_what_and_what_instead(document, path, said):
    found = {fault.path: str(fault) for fault in shape_faults(document, Config)}
    assert said in found[path]
    assert found[path].startswith(f"{path}: ")


def test_nothing_is_written_for_what_may_be_left_out():
    """null is "not said" where a knob may be missing, and a fault where it may not."""
    assert shape_faults({"server": {"admin_key": None}, "semantic_cache": None}, Config) == []
    assert [fault.path for fault in shape_faults({"server": {"port": None}}, Config)] == ["$.server.port"]


def test_nearest_names_only_what_is_near():
    assert nearest("prot", ["port", "host"]) == "port"
    assert nearest("qqq", ["port", "host"]) is None
    assert nearest("", []) is None


def test_names_of_which_all_are_known_are_checked():
    """With the nearest: a tensor's purpose is one of a few words."""
    document = {"providers": {"triton": {"keys": [], "tensors": {"inptu": "x"}}}}
    (fault,) = [one for one in shape_faults(document, Config) if "tensors" in one.path]
    assert fault.path == "$.providers.triton.tensors.inptu"
    assert "input" in fault.remedy


_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(-2, 2), st.text(max_size=3)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KNOBS), _VALUES)
def test_no_faults_means_that_msgspec_takes_it_and_the_other_way_round(knob: Knob, value: Any):
    """The walk is a second reading of the same types: both must come to the same answer."""
    document = knob.document(value)
    found = shape_faults(document, Config)
    if found:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(document, Config)
    else:
        msgspec.convert(document, Config)


@pytest.mark.parametrize(
    ("document", "place", "meant"),
    [
        (
            {"providers": {"openai": {"keys": [{"valeu": "env.K"}]}}},
            "$.providers.openai.keys[0].valeu",
            "value",
        ),
        (
            {"fallbacks": [{"primry": "openai/x", "secondary": "openai/y"}]},
            "$.fallbacks[0].primry",
            "primary",
        ),
        ({"routes": [{"idd": "a", "primary": "openai/x"}]}, "$.routes[0].idd", "id"),
        ({"virtual_keys": [{"nam": "a", "key": "env.K"}]}, "$.virtual_keys[0].nam", "name"),
        (
            {"prices": [{"model": "a/b", "usd_per_milion": {"input": "1"}}]},
            "$.prices[0].usd_per_milion",
            "usd_per_million",
        ),
    ],
)
def test_a_misspelt_field_that_must_be_there_is_one_fault(document: Any, place: str, meant: str):
    """The misspelling with the nearest name; not the same field a second time, as missing."""
    (fault,) = shape_faults(document, Config)
    assert (fault.path, f"Did you mean {meant!r}?" in fault.remedy) == (place, True)
    whole = {"providers": {"openai": {"keys": [{"value": "env.K"}]}}, **document}
    assert [fault.path for fault in loaded(yaml.safe_dump(whole)).faults] == [place]


def test_a_misspelt_field_whose_value_would_not_fit_does_not_stand_for_the_missing_one():
    """Its name alone would not mend it; and one misspelling excuses one field."""
    found = shape_faults({"virtual_keys": [{"nam": 5, "key": "env.K"}]}, Config)
    assert [fault.path for fault in found] == ["$.virtual_keys[0].nam", "$.virtual_keys[0].name"]
    found = shape_faults({"virtual_keys": [{"nam": "a"}]}, Config)
    assert [fault.path for fault in found] == ["$.virtual_keys[0].nam", "$.virtual_keys[0].key"]
