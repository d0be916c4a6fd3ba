"""Places for concurrent calls: never more than the limit, and none lost for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.routing.concurrency import Places

STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "give", "sweep"]), st.integers(0, 8), st.integers(0, 20)), max_size=80
)


@given(st.integers(1, 4), STEPS)
def test_never_more_than_the_limit_and_as_a_plain_model_says(most, steps):
    """A model that keeps every lease agrees at each step."""
    places, model, now_s = Places(most, lease_s=30), {}, 0.0
    for what, number, pause_s in steps:
        now_s += pause_s
        rid = str(number)
        if what == "give":
            assert places.give(rid) == (model.pop(rid, None) is not None)
        elif what == "sweep":
            assert set(places.sweep(now_s)) == {one for one, at_s in model.items() if at_s <= now_s}
            model = {one: at_s for one, at_s in model.items() if at_s > now_s}
        else:
            if rid not in model and len(model) >= most:
                model = {one: at_s for one, at_s in model.items() if at_s > now_s}
            refused = places.take(rid, now_s)
            assert (refused is None) == (rid in model or len(model) < most)
            if refused is None:
                model[rid] = now_s + 30
            else:
                assert (refused.code, refused.retry_after_s) == ("too-many-concurrent", 1.0)
        assert places.free() == most - len(model) >= 0


def test_a_place_whose_caller_died_is_free_after_its_lease():
    """And a renewed one is not."""
    places = Places(2, lease_s=10)
    assert places.take("dead", 0.0) is None
    assert places.take("alive", 0.0) is None
    assert places.take("alive", 5.0) is None
    assert places.take("new", 9.9) is not None
    assert places.take("new", 10.0) is None
    assert places.take("newer", 10.0) is not None
    with pytest.raises(ValueError, match="at least 1"):
        Places(0)
