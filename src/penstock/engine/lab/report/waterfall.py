"""Where each stage lies in the run: its calls as bars on one axis of time."""

from collections.abc import Sequence
from math import floor, log10

from penstock.engine.lab.report.markup import Html, joined, tag
from penstock.engine.measure.records import UNATTRIBUTED, Hop, Profile, StageRow

WIDTH = 1000
_HEIGHT = 16
_JOIN_SHARE = 0.001
"""Calls of one stage nearer than this share of the run are drawn as one bar."""
_MOST_TICKS = 5
_LEAST = 1.5
"""Of ``WIDTH``."""

Bar = tuple[float, float]
"""Start and end, milliseconds."""


def bars_of(row: StageRow) -> list[Bar]:
    """A stage's calls in order; where they are not known a single bar from its first call on."""
    return list(row.pieces) or [(row.start_ms, row.start_ms + row.wall_ms)]


def merged(bars: Sequence[Bar], nearer_ms: float) -> list[Bar]:
    """Sorted bars, those with less than ``nearer_ms`` between them as one."""
    out: list[Bar] = []
    for start, end in sorted(bars):
        if out and start - out[-1][1] <= nearer_ms:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def span_of(profile: Profile) -> float:
    """Milliseconds that the axis shows: the run, and whatever sticks out of it."""
    ends = [end for row in profile.stages for _, end in bars_of(row)]
    return max([profile.wall_ms or 0.0, *ends, 1e-6])


def ticks(span_ms: float) -> list[float]:
    """Where the axis has its figures: 0, and a few steps of 1, 2 or 5 times a power of ten."""
    rough = span_ms / _MOST_TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough * 0.999)
    return [count * step for count in range(int(span_ms / step * 1.0001) + 1)]


def axis(span_ms: float) -> Html:
    """The head of the bars' column: the figures over their places."""
    unit, name = (1000.0, "s") if span_ms >= 10_000 else (1.0, "ms") if span_ms >= 1 else (0.001, "µs")
    marks = [
        tag(
            "span",
            f"{at / unit:,.6g}" + (f" {name}" if at == 0 else ""),
            style=f"left:{at / span_ms * 100:.2f}%",
            class_="late" if at / span_ms > 0.9 else None,
        )
        for at in ticks(span_ms)
    ]
    return tag(
        "span", *marks, class_="ticks", role="img", aria_label=f"time, from 0 to {span_ms / unit:,.3g} {name}"
    )


def bar_svg(bars: Sequence[Bar], span_ms: float, *, kind: str, label: str) -> Html:
    """One row's picture; ``label`` says the same in words."""
    grid = [
        tag("line", x1=at / span_ms * WIDTH, x2=at / span_ms * WIDTH, y1=0, y2=_HEIGHT, class_="grid")
        for at in ticks(span_ms)
        if at
    ]
    drawn = "".join(
        _rectangle(start / span_ms, end / span_ms) for start, end in merged(bars, span_ms * _JOIN_SHARE)
    )
    return tag(
        "svg",
        tag("title", label),
        joined(grid),
        tag("path", d=drawn, class_=f"bar {kind}"),
        class_="bars",
        viewBox=f"0 0 {WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def _rectangle(start: float, end: float) -> str:
    """A bar between two shares of the picture, at least as wide as can be seen."""
    left = min(start * WIDTH, WIDTH - _LEAST)
    return f"M{left:.1f} 2h{max(_LEAST, end * WIDTH - left):.1f}v{_HEIGHT - 4}H{left:.1f}z"


def stage_bar(row: StageRow, span_ms: float) -> Html:
    """A stage's bars, one for each of its calls; the residual's are what lies between the stages."""
    calls = bars_of(row)
    if row.name == UNATTRIBUTED:
        label = f"{row.wall_ms:.3f} ms between and around the stages"
        return bar_svg(calls, span_ms, kind="rest", label=label)
    times = "1 call" if row.calls == 1 else f"{row.calls:,} calls"
    label = f"{row.name}: {times}, {row.wall_ms:.3f} ms, the first at {row.start_ms:.3f} ms"
    return bar_svg(calls, span_ms, kind="nested" if row.parent else "stage", label=label)


def hop_bar(hop: Hop, span_ms: float) -> Html:
    """A hop's bar."""
    label = f"{hop.name}: {hop.wall_ms:.3f} ms from {hop.start_ms:.3f} ms"
    return bar_svg(
        [(max(0.0, hop.start_ms), hop.start_ms + hop.wall_ms)], span_ms, kind=f"hop-{hop.source}", label=label
    )
