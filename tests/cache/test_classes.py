"""Callers name namespaces, and so classes: each tenant has so many, and no tenant's make room for another's."""

import string

from hypothesis import given
from hypothesis import strategies as st

from penstock.cache.classes import ByClass, Classes, class_name, shared_name, tenant_of_class

HOUR_MS = 3_600_000
WORDS = st.text("ab|%*" + string.digits[:1], max_size=3)


@given(one=st.tuples(WORDS, WORDS, WORDS, WORDS), other=st.tuples(WORDS, WORDS, WORDS, WORDS))
def test_no_choice_of_names_makes_two_classes_one(
    one: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    assert (class_name(*one) == class_name(*other)) == (one == other)
    assert class_name(*one) != shared_name(other[0], other[3])
    assert (tenant_of_class(class_name(*one)) == tenant_of_class(shared_name(other[0], ""))) == (
        one[0] == other[0]
    )


def test_the_class_that_was_idle_longest_is_folded_away() -> None:
    gone: list[str] = []
    classes = Classes(most=3, idle_s=3600)
    classes.gone = gone.append
    names = [classes.name("t", space, "m", "b", at) for at, space in enumerate("abc")]
    assert names == ["t|a|m|b", "t|b|m|b", "t|c|m|b"]
    assert classes.name("t", "a", "m", "b", 10) == names[0]
    assert classes.name("t", "d", "m", "b", HOUR_MS) == "t|*|*|b", "none was idle for an hour"
    assert classes.name("t", "d", "m", "b", HOUR_MS + 1) == "t|d|m|b"
    assert gone == [names[1]], "it was idle longest"
    assert (classes.folded, classes.shared) == (1, 1)
    assert classes.name("t", "b", "m", "b", HOUR_MS + 2) == names[1]
    assert gone == names[1:]


def test_a_tenant_that_names_thousands_takes_no_other_ones_room() -> None:
    gone: list[str] = []
    classes = Classes(most=5, idle_s=3600)
    classes.gone = gone.append
    quiet = classes.name("quiet", "a", "m", "b", 0)
    made = {classes.name("noisy", f"n{at}", "m", "b", 1) for at in range(1_000)}
    assert len(made) == 6, "five of its own, and one that the rest share"
    made |= {classes.name("noisy", f"n{at}", "m", "b", at * HOUR_MS) for at in range(1_000)}
    assert all(tenant_of_class(one) == "noisy" for one in gone)
    assert classes.name("quiet", "a", "m", "b", 10**12) == quiet
    assert quiet not in gone


def test_what_is_known_by_class_is_bounded_by_tenant() -> None:
    known: ByClass[int] = ByClass(2)
    for at, klass in enumerate(["a|1", "b|1", "a|2", "a|1", "a|3"]):
        known.put(klass, at)
    assert known.items() == [("a|1", 3), ("a|3", 4), ("b|1", 1)]
    known.pop("a|1")
    known.pop("c|1")
    assert [known.get(klass) for klass in ("a|1", "a|2", "a|3", "b|1")] == [None, None, 4, 1]
    assert len(known) == 2
