"""Where each stage lies in the run: its calls as bars on one axis of time."""

from collections.abc import Sequence

from penstock.engine.lab.figures import shown_name
from penstock.engine.lab.report.markup import Html, joined, tag
from penstock.engine.measure.records import UNATTRIBUTED, Hop, Profile, StageRow

WIDTH = 1000
_HEIGHT = 16
_JOIN_SHARE = 0.0005
"""Calls of one stage nearer than this share of the run are drawn as one bar."""

Bar = tuple[float, float]
"""Start and end, milliseconds."""


def bars_of(profile: Profile) -> dict[str, list[Bar]]:
    """Stage -> its calls in order, from the timeline; without one a single bar from its first call on."""
    calls: dict[str, list[Bar]] = {}
    for one in profile.timeline:
        if one.kind == "stage":
            start = one.start_us / 1000
            calls.setdefault(shown_name(one.name), []).append((start, start + one.dur_us / 1000))
    found: dict[str, list[Bar]] = {}
    for row in profile.stages:
        if row.name == UNATTRIBUTED:
            continue
        known = sorted(calls.get(row.name, ()))
        # The timeline may begin before the run does; a row's first call says by how much.
        late_ms = row.start_ms - known[0][0] if known else 0.0
        found[row.name] = [(start + late_ms, end + late_ms) for start, end in known] or [
            (row.start_ms, row.start_ms + row.wall_ms)
        ]
    return found


def merged(bars: Sequence[Bar], nearer_ms: float) -> list[Bar]:
    """Sorted bars, those with less than ``nearer_ms`` between them as one."""
    out: list[Bar] = []
    for start, end in sorted(bars):
        if out and start - out[-1][1] <= nearer_ms:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def span_of(profile: Profile, bars: dict[str, list[Bar]]) -> float:
    """Milliseconds that the axis shows: the run, and whatever sticks out of it."""
    ends = [end for calls in bars.values() for _, end in calls]
    return max([profile.wall_ms or 0.0, *ends, 1e-6])


def bar_svg(bars: Sequence[Bar], span_ms: float, *, kind: str, label: str) -> Html:
    """One row's picture; ``label`` says the same in words."""
    rects = [
        tag(
            "rect",
            class_=f"bar {kind}",
            x=start / span_ms * WIDTH,
            y=2,
            width=max(1.5, (end - start) / span_ms * WIDTH),
            height=_HEIGHT - 4,
            rx=2,
        )
        for start, end in merged(bars, span_ms * _JOIN_SHARE)
    ]
    return tag(
        "svg",
        tag("title", label),
        joined(rects),
        class_="bars",
        viewBox=f"0 0 {WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def stage_bar(row: StageRow, calls: Sequence[Bar], span_ms: float) -> Html:
    """A stage's bars, one for each of its ``calls``; of the residual a bar as long as it is, for it lies everywhere."""
    if row.name == UNATTRIBUTED:
        label = f"{row.wall_ms:.3f} ms between and around the stages"
        return bar_svg([(0.0, row.wall_ms)], span_ms, kind="rest", label=label)
    label = f"{row.name}: {row.calls} calls, {row.wall_ms:.3f} ms, the first at {row.start_ms:.3f} ms"
    return bar_svg(calls, span_ms, kind="nested" if row.parent else "stage", label=label)


def hop_bar(hop: Hop, span_ms: float) -> Html:
    """A hop's bar."""
    label = f"{hop.name}: {hop.wall_ms:.3f} ms from {hop.start_ms:.3f} ms"
    return bar_svg(
        [(hop.start_ms, hop.start_ms + hop.wall_ms)], span_ms, kind=f"hop-{hop.source}", label=label
    )
