"""The timeline's slices as the report's script takes them: names once, rows without overlap, a few characters a bar.

A row's bars follow one another, so each is told by the gap before it and its length, in whole nanoseconds: a hundred thousand
of them are about 2 MB, and a browser has them in a tenth of a second.
"""

from collections.abc import Iterable
from typing import Any

from penstock.engine.lab.figures import shown_name
from penstock.engine.measure.records import KernelRow, Profile, Slice

MOST = 150_000
"""Slices in one report; where there are more, the longest are kept."""
_FIRST = {"hop": 0, "stage": 0, "kernel": 1, "copy": 1, "sync": 2, "module": 3, "launch": 4}
"""Lanes from the top: what was asked for, what the device did, what the host waited for; the host's many rows last."""
_NS = 1000


def timeline_data(profile: Profile) -> dict[str, Any]:
    """``{lanes, kinds, names, means, rows, left_out}``.

    A name is ``[name, kind]``, and a row ``{lane, gaps, lengths, names}``: before each bar so many nanoseconds since the end of
    the one before it, the bar's length, and its name's index. Within a row no bar overlaps another: what would, moves to the
    next row of its lane. ``means`` has, of a name's index, what else is known of it.
    """
    kept, left_out = _kept(profile.timeline)
    names: dict[tuple[str, int], int] = {}
    kinds: dict[str, int] = {}
    by_lane: dict[str, list[Slice]] = {}
    for one in kept:
        by_lane.setdefault(one.lane, []).append(one)
    lanes = sorted(by_lane, key=lambda lane: min(_FIRST.get(one.kind, 5) for one in by_lane[lane]))
    rows: list[dict[str, Any]] = []
    for index, lane in enumerate(lanes):
        first = len(rows)
        until_ns: list[int] = []
        for row, one in packed(by_lane[lane]):
            while first + row >= len(rows):
                rows.append({"lane": index, "gaps": [], "lengths": [], "names": []})
                until_ns.append(0)
            start_ns = max(until_ns[row], round(one.start_us * _NS))
            end_ns = max(start_ns, round((one.start_us + one.dur_us) * _NS))
            held = rows[first + row]
            held["gaps"].append(start_ns - until_ns[row])
            held["lengths"].append(end_ns - start_ns)
            name = shown_name(one.name), kinds.setdefault(one.kind or "op", len(kinds))
            held["names"].append(names.setdefault(name, len(names)))
            until_ns[row] = end_ns
    known = meanings(profile.kernels)
    return {
        "lanes": lanes,
        "kinds": list(kinds),
        "names": [list(name) for name in names],
        "means": {index: known[name] for (name, _), index in names.items() if name in known},
        "rows": rows,
        "left_out": left_out,
    }


def meanings(kernels: Iterable[KernelRow]) -> dict[str, str]:
    """Kernel -> what its name says, and who launched it."""
    means: dict[str, str] = {}
    ops: dict[str, dict[str, None]] = {}
    modules: dict[str, dict[str, None]] = {}
    for row in kernels:
        means[row.name] = row.means or means.get(row.name, "")
        for said, of in ((row.op, ops), (row.module, modules)):
            if said and said != row.name:
                of.setdefault(row.name, {})[said] = None
    found: dict[str, str] = {}
    for name, meant in means.items():
        parts = [meant] if meant and meant != name else []
        if name in ops:
            parts.append(f"launched by {_some(ops[name], 'ops')}")
        if name in modules:
            parts.append(f"in {_some(modules[name], 'modules')}")
        if parts:
            found[name] = ", ".join(parts)
    return found


def _some(said: Iterable[str], what: str) -> str:
    held = list(said)
    return ", ".join(held) if len(held) <= 2 else f"{held[0]} and {len(held) - 1} more {what}"


def packed(slices: list[Slice]) -> list[tuple[int, Slice]]:
    """Each slice with its row, by start: its depth, or the first below it that is free."""
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
