"""Lists and rates of several levels: every one of them must allow, and who is refused at one has taken nothing at another."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.routing.allow import ALL, Lists, allowed, joined, may_use
from penstock.routing.limits import KeyLimits, PathLimits

NAMES = st.sampled_from(["openai/a", "openai/b", "gemini/a", "chat"])
LIST = st.lists(
    st.sampled_from(["*", "openai/*", "*/a", "chat", "!openai/b", "!gemini/*", "!chat"]), max_size=3
).map(tuple)
PROVIDERS = st.lists(st.sampled_from(["*", "openai", "gemini", "!openai", "!gem*"]), max_size=2).map(tuple)
LEVELS = st.lists(st.tuples(LIST, PROVIDERS), max_size=4)


@given(NAMES, st.sampled_from(["", "chat"]), LEVELS)
def test_a_tree_allows_what_every_level_allows(name, route, levels):
    """Models by name or route, providers by name; a denial anywhere wins."""
    patterns = joined(levels)
    each = [
        may_use(name, route, models) and ("/" not in name or allowed(name.partition("/")[0], providers))
        for models, providers in levels
    ]
    assert may_use(name, route, patterns) == (all(each) if levels else True)
    assert allowed(name, patterns) == may_use(name, "", patterns)


@given(LEVELS)
def test_one_list_stays_one_list(levels):
    """What most keys have costs no more than it did."""
    patterns = joined(levels)
    telling = {models for models, _ in levels if models != ALL}
    if len(telling) <= 1 and all(providers == ALL for _, providers in levels):
        assert patterns == (telling.pop() if telling else ALL)
    else:
        assert isinstance(patterns, Lists)


RATE = st.tuples(st.one_of(st.none(), st.integers(1, 5)), st.one_of(st.none(), st.integers(1, 100)))


@given(
    st.lists(RATE, min_size=2, max_size=3),
    st.lists(st.tuples(st.integers(0, 60), st.floats(0, 30)), min_size=1, max_size=20),
)
def test_a_path_takes_of_all_levels_or_of_none(rates, calls):
    """Beside it the same levels alone: what one of them refuses has moved none of them."""
    levels = tuple(KeyLimits(requests, tokens, None) for requests, tokens in rates)
    path = PathLimits(levels)
    now_s = 1000.0
    for tokens, later_s in calls:
        now_s += later_s
        before = [level.mark() for level in levels]
        alone = []
        for level, mark in zip(levels, before, strict=True):
            alone.append(level.admit(tokens, now_s) is None)
            level.restore(mark)
        refused = path.admit(tokens, now_s)
        assert (refused is None) == all(alone)
        after = [level.mark() for level in levels]
        if refused is not None:
            assert after == before
            assert refused.retry_after_s is not None
            assert refused.retry_after_s > 0


def test_who_refuses_says_its_name():
    """A caller must know whom to ask."""
    path = PathLimits((KeyLimits(10, None, None), KeyLimits(1, None, None, "Team design")))
    assert path.admit(1, 0.0) is None
    refused = path.admit(1, 0.0)
    assert refused is not None
    assert refused.reason.startswith("Team design may make 1 requests per minute")
