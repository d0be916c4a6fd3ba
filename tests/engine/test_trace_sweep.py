"""Intervals and sweeps against the plain definitions, for any spans: nested, crossing, empty, equal."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from penstock.engine.measure import intervals

WHOLE = st.integers(0, 40).map(float)
PAIRS = st.tuples(WHOLE, WHOLE).map(lambda pair: (min(pair), max(pair)))


class Stretch(Struct, frozen=True, eq=False):
    """A span of a test's."""

    start_us: float
    end_us: float


SPANS = st.lists(PAIRS.map(lambda pair: Stretch(*pair)), max_size=25).map(
    lambda rows: sorted(rows, key=intervals.order)
)
POINTS = st.lists(st.integers(-2, 44).map(float), max_size=25).map(sorted)


@given(SPANS, POINTS)
def test_innermost_is_the_last_started_of_them(spans: list[Stretch], points: list[float]):
    for point, found in zip(points, intervals.innermost(spans, points), strict=True):
        naive = [span for span in spans if span.start_us <= point <= span.end_us]
        assert found is (naive[-1] if naive else None)


@given(SPANS)
def test_a_parent_holds_the_start_and_is_the_last_started_that_does(spans: list[Stretch]):
    for index, parent in enumerate(intervals.parents(spans)):
        span = spans[index]
        naive = [
            at
            for at in range(index)
            if spans[at].end_us > span.start_us
            or (spans[at].start_us == span.start_us and spans[at].end_us == span.end_us)
        ]
        assert parent == (naive[-1] if naive else -1)


def cells(rows: list[tuple[float, float]]) -> set[int]:
    """Unit cells that the intervals cover."""
    return {cell for start, end in rows for cell in range(int(start), int(end))}


@given(st.lists(PAIRS, max_size=20))
def test_a_union_covers_the_same_and_is_disjoint(rows: list[tuple[float, float]]):
    merged = intervals.union(rows)
    assert cells(merged) == cells(rows)
    assert intervals.length(merged) == len(cells(rows))
    assert all(end < start for (_, end), (start, _) in pairwise(merged))


@given(st.lists(PAIRS, max_size=20), st.lists(PAIRS, max_size=20))
def test_overlap_is_what_both_cover(ones: list[tuple[float, float]], others: list[tuple[float, float]]):
    found = intervals.overlap(intervals.union(ones), intervals.union(others))
    assert found == len(cells(ones) & cells(others))
