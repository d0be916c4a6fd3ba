"""The timeline's slices as the report's script takes them: names once, rows without overlap, numbers short."""

from typing import Any

from penstock.engine.lab.figures import shown_name
from penstock.engine.measure.records import Profile, Slice

MOST = 20_000
"""Slices in one report; where there are more, the longest are kept."""


def timeline_data(profile: Profile) -> dict[str, Any]:
    """``{lanes, kinds, names, rows, slices, left_out}``.

    ``rows`` has each row's lane; a slice is ``[row, name, kind, start, duration]``, in microseconds with three places, by row
    and start. Within a row no slice overlaps another: what would, moves to the next row of its lane.
    """
    kept, left_out = _kept(profile.timeline)
    lanes: list[str] = []
    names: dict[str, int] = {}
    kinds: dict[str, int] = {}
    by_lane: dict[str, list[Slice]] = {}
    for one in kept:
        by_lane.setdefault(one.lane, []).append(one)
    rows: list[int] = []
    slices: list[list[float | int]] = []
    for lane, held in by_lane.items():
        first = len(rows)
        placed = packed(held)
        rows += [len(lanes)] * (1 + max(row for row, _ in placed))
        lanes.append(lane)
        for row, one in placed:
            slices.append(
                [
                    first + row,
                    names.setdefault(shown_name(one.name), len(names)),
                    kinds.setdefault(one.kind or "op", len(kinds)),
                    round(one.start_us, 3),
                    round(one.dur_us, 3),
                ]
            )
    slices.sort(key=lambda one: (one[0], one[3], -one[4]))
    return {
        "lanes": lanes,
        "names": list(names),
        "kinds": list(kinds),
        "rows": rows,
        "slices": slices,
        "left_out": left_out,
    }


def packed(slices: list[Slice]) -> list[tuple[int, Slice]]:
    """Each slice with its row: its depth, or the first below it that is free."""
    until: list[float] = []
    placed: list[tuple[int, Slice]] = []
    for one in sorted(slices, key=lambda one: (one.start_us, one.depth, -one.dur_us)):
        row = max(0, one.depth)
        while row < len(until) and until[row] > one.start_us:
            row += 1
        while len(until) <= row:
            until.append(float("-inf"))
        until[row] = one.start_us + one.dur_us
        placed.append((row, one))
    return _dense(placed)


def _dense(placed: list[tuple[int, Slice]]) -> list[tuple[int, Slice]]:
    """The same without empty rows."""
    new = {row: index for index, row in enumerate(sorted({row for row, _ in placed}))}
    return [(new[row], one) for row, one in placed]


def _kept(slices: tuple[Slice, ...]) -> tuple[list[Slice], int]:
    if len(slices) <= MOST:
        return list(slices), 0
    order = sorted(range(len(slices)), key=lambda index: -slices[index].dur_us)[:MOST]
    keep = set(order)
    return [one for index, one in enumerate(slices) if index in keep], len(slices) - MOST
