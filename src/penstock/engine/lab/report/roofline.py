"""Kernels and stages against the device's limits, both axes logarithmic.

Theory (Williams, Waterman, Patterson: Roofline, 2009): at an intensity of I FLOP per byte a device does at most
min(peak, I x bandwidth) FLOP per second. A point whose time is not known is drawn hollow, on the roof: it can be there at best.
"""

from collections.abc import Sequence
from math import ceil, floor, log10

from msgspec import Struct

from penstock.engine.lab.figures import ms_text, scaled_text, share_text, short_text
from penstock.engine.lab.report.markup import Html, joined, tag
from penstock.engine.measure.records import Peaks, RooflinePoint
from penstock.engine.measure.roofline import peak_of

WIDTH, HEIGHT = 1000, 460
LEFT, RIGHT, TOP, BOTTOM = 84, 150, 16, 46
MOST = 400
_MOST_LABELS = 12


class Spot(Struct, frozen=True):
    """A point on the axes: FLOP per byte, FLOP per second (None: not known, so the roof at best), and its share of the roof."""

    point: RooflinePoint
    intensity: float
    rate: float
    known: bool
    of_roof: float | None


class Axis(Struct, frozen=True):
    """A logarithmic axis from 10^low to 10^high over the pixels from ``start`` to ``end``."""

    low: int
    high: int
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value above 0, kept within the axis."""
        share = (log10(value) - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


def roof(peaks: Peaks, intensity: float, dtype: str = "") -> float:
    """FLOP per second that the device can do at ``intensity`` at best, in the dtype; in its fastest listed one where none is known."""
    own = peak_of(peaks, dtype)
    top = max(peaks.flops_per_s.values(), default=0.0) if own is None else own
    return min(top, intensity * peaks.bytes_per_s)


def spots(points: Sequence[RooflinePoint], peaks: Peaks | None) -> list[Spot]:
    """The points that can be drawn: those that compute and move something."""
    found: list[Spot] = []
    for point in points:
        if point.flops <= 0 or point.bytes <= 0:
            continue
        intensity = point.flops / point.bytes
        best = None if peaks is None else roof(peaks, intensity, point.dtype)
        if point.time_ms is not None and point.time_ms > 0:
            rate = point.flops / (point.time_ms / 1000)
            found.append(Spot(point, intensity, rate, True, rate / best if best else None))
        elif best:
            found.append(Spot(point, intensity, best, False, None))
    found.sort(key=lambda spot: -(spot.point.time_ms or 0.0))
    return found[:MOST]


def axes(found: Sequence[Spot], peaks: Peaks | None) -> tuple[Axis, Axis]:
    """Whole decades around all points and the roof's edge."""
    xs = [spot.intensity for spot in found]
    ys = [spot.rate for spot in found]
    if peaks is not None and peaks.bytes_per_s > 0:
        top = max(peaks.flops_per_s.values(), default=0.0)
        if top > 0:
            xs += [top / peaks.bytes_per_s]
            ys += [top]
    x_low, x_high = floor(log10(min(xs))), ceil(log10(max(xs)))
    y_low, y_high = floor(log10(min(ys))), ceil(log10(max(ys)))
    return (
        Axis(x_low, max(x_high, x_low + 1), LEFT, WIDTH - RIGHT),
        Axis(y_low, max(y_high, y_low + 1), HEIGHT - BOTTOM, TOP),
    )


def picture(points: Sequence[RooflinePoint], peaks: Peaks | None) -> Html:
    """The scatter with the roof; empty where nothing can be drawn."""
    found = spots(points, peaks)
    if not found:
        return Html("")
    x, y = axes(found, peaks)
    parts = [*_grid(x, y), *(_roofs(x, y, peaks) if peaks is not None else []), *_points(x, y, found)]
    return tag(
        "svg",
        joined(parts),
        class_="roofline",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label="Roofline: FLOP per second over FLOP per byte, both logarithmic; the table below has the same figures",
    )


def _grid(x: Axis, y: Axis) -> list[Html]:
    parts: list[Html] = []
    for power in range(x.low, x.high + 1):
        at = x.at(10.0**power)
        parts.append(tag("line", x1=at, x2=at, y1=y.start, y2=y.end, class_="grid"))
        parts.append(
            tag("text", _power(power), x=at, y=HEIGHT - BOTTOM + 18, class_="tick", text_anchor="middle")
        )
    for power in range(y.low, y.high + 1):
        at = y.at(10.0**power)
        parts.append(tag("line", x1=x.start, x2=x.end, y1=at, y2=at, class_="grid"))
        shown = scaled_text(10.0**power, "FLOP/s") if power >= 0 else f"1e{power} FLOP/s"
        parts.append(tag("text", shown, x=LEFT - 8, y=at + 4, class_="tick", text_anchor="end"))
    parts.append(
        tag(
            "text",
            "arithmetic intensity, FLOP per byte",
            x=(x.start + x.end) / 2,
            y=HEIGHT - 8,
            class_="axis",
            text_anchor="middle",
        )
    )
    return parts


def _power(power: int) -> str:
    return f"{10**power:,}" if 0 <= power <= 4 else f"{10.0**power:g}"


def _roofs(x: Axis, y: Axis, peaks: Peaks) -> list[Html]:
    """The slope of the memory and a ceiling for each dtype; equal ceilings share a line."""
    parts: list[Html] = []
    ceilings: dict[float, list[str]] = {}
    for name, rate in peaks.flops_per_s.items():
        if rate > 0:
            ceilings.setdefault(rate, []).append(name)
    if not ceilings or peaks.bytes_per_s <= 0:
        return parts
    top = max(ceilings)
    low = max(10.0**x.low, 10.0**y.low / peaks.bytes_per_s)
    knee = top / peaks.bytes_per_s
    slope = f"M {x.at(low):.2f} {y.at(low * peaks.bytes_per_s):.2f} L {x.at(knee):.2f} {y.at(top):.2f}"
    parts.append(
        tag("path", tag("title", f"memory: {scaled_text(peaks.bytes_per_s, 'B/s')}"), d=slope, class_="roof")
    )
    last = -100.0
    for rate in sorted(ceilings, reverse=True):
        if rate < 10.0**y.low:
            continue
        at, begin = y.at(rate), x.at(rate / peaks.bytes_per_s)
        parts.append(tag("line", x1=begin, x2=x.end, y1=at, y2=at, class_="roof"))
        if at - last >= 13:
            words = f"{', '.join(ceilings[rate])} {scaled_text(rate, 'FLOP/s')}"
            parts.append(tag("text", words, x=x.end + 6, y=at + 4, class_="tick"))
            last = at
    return parts


def _points(x: Axis, y: Axis, found: Sequence[Spot]) -> list[Html]:
    longest = max((spot.point.time_ms or 0.0 for spot in found), default=0.0)
    parts: list[Html] = []
    for index, spot in enumerate(found):
        point = spot.point
        share = (point.time_ms or 0.0) / longest if longest else 0.5
        words = f"{point.name}\n{spot.intensity:,.3g} FLOP/B, {scaled_text(spot.rate, 'FLOP/s')}"
        if not spot.known:
            words += " at best (its time is not known)"
        if spot.of_roof is not None:
            words += f"\n{share_text(spot.of_roof)} of the roof"
        if point.time_ms is not None:
            words += f"\n{ms_text(point.time_ms)}"
        if point.bound:
            words += f", {point.bound}-bound"
        kind = point.bound if point.bound in ("compute", "memory", "overhead") else "unknown"
        parts.append(
            tag(
                "circle",
                tag("title", words),
                cx=x.at(spot.intensity),
                cy=y.at(spot.rate),
                r=4 + 8 * share**0.5,
                class_=f"spot bound-{kind}{'' if spot.known else ' hollow'}",
                tabindex="0",
            )
        )
        if index < _MOST_LABELS and share > 0.1:
            parts.append(
                tag(
                    "text",
                    short_text(point.name, 26),
                    x=x.at(spot.intensity) + 14,
                    y=y.at(spot.rate) + 4,
                    class_="label small plain",
                )
            )
    return parts
