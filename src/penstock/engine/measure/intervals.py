"""Intervals of time: unions, overlaps, and which spans hold a point, each in one sweep.

An interval is (start, end) with start <= end. All is plain arithmetic; the unit is the caller's.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

Interval = tuple[float, float]


class Spanlike(Protocol):
    """Something with a start and an end."""

    @property
    def start_us(self) -> float:
        """Its start."""
        ...

    @property
    def end_us(self) -> float:
        """Its end."""
        ...


S = TypeVar("S", bound=Spanlike)


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Disjoint intervals that cover the same points, in order. Touching ones become one."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def length(disjoint: Iterable[Interval]) -> float:
    """Sum of the lengths."""
    return sum(end - start for start, end in disjoint)


def overlap(ones: Sequence[Interval], others: Sequence[Interval]) -> float:
    """Length of what both cover. Each must be disjoint and in order, as ``union`` gives them."""
    total = 0.0
    at = 0
    for start, end in ones:
        while at < len(others) and others[at][1] <= start:
            at += 1
        here = at
        while here < len(others) and others[here][0] < end:
            total += min(end, others[here][1]) - max(start, others[here][0])
            here += 1
    return total


def order(span: Spanlike) -> tuple[float, float]:
    """Sort key that puts the outer of two spans first."""
    return (span.start_us, -span.end_us)


def innermost(spans: Sequence[S], points: Sequence[float]) -> list[S | None]:
    """For each point, the span that holds it (ends included) and started last; None where none does.

    ``spans`` in ``order``, ``points`` ascending. One sweep: a stack loses its ended tops. What ended below an open span (they
    cross it, which nested calls never do but damaged traces show) goes when it comes to the top: time only moves on.
    """
    found: list[S | None] = []
    stack: list[S] = []
    at = 0
    for point in points:
        while at < len(spans) and spans[at].start_us <= point:
            while stack and stack[-1].end_us < spans[at].start_us:
                stack.pop()
            stack.append(spans[at])
            at += 1
        while stack and stack[-1].end_us < point:
            stack.pop()
        found.append(stack[-1] if stack else None)
    return found


def parents(spans: Sequence[Spanlike]) -> list[int]:
    """For each span (in ``order``) the index of the span it started in, -1 at the top."""
    found: list[int] = []
    stack: list[int] = []
    for index, span in enumerate(spans):
        while stack and spans[stack[-1]].end_us <= span.start_us and not _same(spans[stack[-1]], span):
            stack.pop()
        found.append(stack[-1] if stack else -1)
        stack.append(index)
    return found


def _same(outer: Spanlike, inner: Spanlike) -> bool:
    """Two empty spans at one instant are nested in the order they were written."""
    return outer.start_us == inner.start_us and outer.end_us == inner.end_us
