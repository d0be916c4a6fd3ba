"""Vectors by text: the last used stay, each partition for itself."""

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from penstock.cache.semantic.known import MOST_CHARACTERS, KnownVectors

STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from([b"p", b"q"]), st.sampled_from("abcdef")))


@given(STEPS, st.integers(1, 5))
def test_it_is_a_bounded_map_of_what_was_used_last(steps: list[tuple[bool, bytes, str]], most: int):
    """Against the standard library's ordered one."""
    known, model = KnownVectors(most), OrderedDict[tuple[bytes, str], bytes]()
    for keeps, partition, text in steps:
        key, vector = (partition, text), partition + text.encode()
        if keeps:
            known.keep(partition, text, vector)
            model[key] = vector
            model.move_to_end(key)
            if len(model) > most:
                model.popitem(last=False)
        else:
            assert known.find(partition, text) == model.get(key, b"")
            if key in model:
                model.move_to_end(key)
        assert len(known) == len(model) <= most


def test_what_has_no_vector_or_is_long_is_not_kept():
    """An empty one would look like a text that is not known."""
    known = KnownVectors()
    known.keep(b"p", "text", b"")
    known.keep(b"p", "x" * (MOST_CHARACTERS + 1), b"vector")
    assert len(known) == 0
