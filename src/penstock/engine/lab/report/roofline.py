"""Kernels and stages against the device's limits, both axes logarithmic.

Theory (Williams, Waterman, Patterson: Roofline, 2009): at an intensity of I FLOP per byte a device does at most
min(peak, I x bandwidth) FLOP per second. A point whose time is not known is drawn hollow, on the roof: it can be there at best.

The lines are an SVG that is stretched; points, labels and ticks are HTML at shares of the plot, so that letters keep their size on
every screen. Labels are placed for the narrowest plot: on a wider one what is beside something else only moves away from it.
"""

from collections.abc import Sequence
from math import ceil, floor, log10

from msgspec import Struct

from penstock.engine.lab.figures import ms_text, scaled_text, share_text, short_text
from penstock.engine.lab.report.markup import Html, joined, tag
from penstock.engine.measure.records import Peaks, RooflinePoint
from penstock.engine.measure.roofline import peak_of

MOST = 400
SIDE = 1000
"""Of the stretched picture, both ways."""
HIGH, NARROW = 420, 460
"""Pixels of the plot: its height (report.css has the same), and the least width that labels are placed for."""
_MOST_LABELS = 14
_LETTER, _LINE = 6.3, 15
"""Pixels of a label's letter and line."""


class Spot(Struct, frozen=True):
    """A point on the axes: FLOP per byte, FLOP per second (None: not known, so the roof at best), and its share of the roof."""

    point: RooflinePoint
    intensity: float
    rate: float
    known: bool
    of_roof: float | None


class Axis(Struct, frozen=True):
    """A logarithmic axis from 10^low to 10^high over the shares from ``start`` to ``end`` of the picture."""

    low: int
    high: int
    start: float
    end: float

    def at(self, value: float) -> float:
        """The place of a value above 0, kept within the axis."""
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


def intensity_text(value: float) -> str:
    """FLOP per byte, in three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


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
    return Axis(x_low, max(x_high, x_low + 1), 0.0, 1.0), Axis(y_low, max(y_high, y_low + 1), 1.0, 0.0)


def measured(peaks: Peaks) -> bool:
    """Whether the roofs were measured on the device itself, not read from a data sheet."""
    return peaks.source.startswith("measured")


def picture(points: Sequence[RooflinePoint], peaks: Peaks | None) -> Html:
    """The scatter with the roof; empty where nothing can be drawn."""
    found = spots(points, peaks)
    if not found:
        return Html("")
    x, y = axes(found, peaks)
    lines, words = _grid(x, y)
    if peaks is not None:
        roof_lines, roof_words = _roofs(x, y, peaks)
        lines, words = lines + roof_lines, words + roof_words
    drawn = tag(
        "svg",
        joined(lines),
        viewBox=f"0 0 {SIDE} {SIDE}",
        preserveAspectRatio="none",
        aria_hidden="true",
        focusable="false",
    )
    plot = tag("div", drawn, *words, *_points(x, y, found), class_="plot")
    return tag(
        "div",
        tag("p", "rate, FLOP per second", class_="axis-name y", aria_hidden="true"),
        plot,
        tag("p", "arithmetic intensity, FLOP per byte", class_="axis-name x", aria_hidden="true"),
        class_="roofline",
        role="group",
        aria_label="Roofline: FLOP per second over FLOP per byte, both logarithmic; the table below has the same figures",
    )


def legend(found: Sequence[Spot], peaks: Peaks | None) -> Html:
    """What colours, fillings and lines mean, of those that are there."""
    kinds = dict.fromkeys(_bound(spot) for spot in found)
    said = {
        "compute": "compute-bound",
        "memory": "memory-bound",
        "overhead": "overhead: far under its roof, or too short",
        "unknown": "bound not known",
    }
    keys = [
        tag("li", tag("span", class_=f"key round bound-{kind}", aria_hidden="true"), words)
        for kind, words in said.items()
        if kind in kinds
    ]
    if any(spot.known for spot in found):
        keys.append(tag("li", "filled: timed; the larger, the longer it took in all"))
    if not all(spot.known for spot in found):
        keys.append(tag("li", "hollow: not timed, so where it can be at best"))
    if peaks is not None and peaks.flops_per_s:
        how = (
            ("measured", f"roofs {peaks.source}")
            if measured(peaks)
            else ("sheet", f"roofs of the data sheet: {peaks.source}")
        )
        keys.append(tag("li", tag("span", class_=f"key line {how[0]}", aria_hidden="true"), how[1]))
    return tag("ul", *keys, class_="legend")


def _style(left: float, top: float) -> str:
    return f"left:{left * 100:.2f}%;top:{top * 100:.2f}%"


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    return tag("line", x1=x1 * SIDE, y1=y1 * SIDE, x2=x2 * SIDE, y2=y2 * SIDE, class_=kind)


def _grid(x: Axis, y: Axis) -> tuple[list[Html], list[Html]]:
    lines: list[Html] = []
    words: list[Html] = []
    for power in range(x.low, x.high + 1):
        at = x.at(10.0**power)
        lines.append(_line(at, 0, at, 1, "grid"))
        words.append(tag("span", _power(power), class_="tick x", style=_style(at, 1)))
    every = ceil((y.high - y.low) / 9)  # so that they keep clear of one another
    for power in range(y.low, y.high + 1):
        at = y.at(10.0**power)
        lines.append(_line(0, at, 1, at, "grid"))
        if (power - y.low) % every == 0:
            words.append(tag("span", _rate(power), class_="tick y", style=_style(0, at)))
    return lines, words


def _power(power: int) -> str:
    return f"{10**power:,}" if 0 <= power <= 4 else f"{10.0**power:g}"


def _rate(power: int) -> str:
    prefixes = ("", "k", "M", "G", "T", "P", "E")
    if 0 <= power < 3 * len(prefixes):
        return f"{10 ** (power % 3)} {prefixes[power // 3]}".strip()
    return f"1e{power}"


def _roofs(x: Axis, y: Axis, peaks: Peaks) -> tuple[list[Html], list[Html]]:
    """The slope of the memory and a ceiling for each dtype; equal ceilings share a line."""
    lines: list[Html] = []
    ceilings: dict[float, list[str]] = {}
    for name, rate in peaks.flops_per_s.items():
        if rate > 0:
            ceilings.setdefault(rate, []).append(name)
    if not ceilings or peaks.bytes_per_s <= 0:
        return [], []
    kind = "roof measured" if measured(peaks) else "roof sheet"
    top = max(ceilings)
    low = max(10.0**x.low, 10.0**y.low / peaks.bytes_per_s)
    knee = top / peaks.bytes_per_s
    lines.append(_line(x.at(low), y.at(low * peaks.bytes_per_s), x.at(knee), y.at(top), kind))
    named: list[tuple[float, str]] = []
    for rate in sorted(ceilings, reverse=True):
        if rate < 10.0**y.low:
            continue
        at = y.at(rate)
        lines.append(_line(x.at(rate / peaks.bytes_per_s), at, 1, at, kind))
        named.append((at, f"{', '.join(ceilings[rate])} {scaled_text(rate, 'FLOP/s')}"))
    places = _apart([at for at, _ in named])
    words = [
        tag("span", said, class_="roof-name", style=_style(1, place))
        for place, (_, said) in zip(places, named, strict=True)
    ]
    slope = f"memory {scaled_text(peaks.bytes_per_s, 'B/s')}"
    begin = x.at(low) + (x.at(knee) - x.at(low)) * 0.04
    words.append(
        tag(
            "span",
            slope,
            class_="roof-name slope",
            style=_style(begin, y.at(_value(x, begin) * peaks.bytes_per_s)),
        )
    )
    return lines, words


def _value(axis: Axis, share: float) -> float:
    """The value at a place of an axis from 0 to 1."""
    return 10.0 ** (axis.low + share * (axis.high - axis.low))


def _apart(places: Sequence[float]) -> list[float]:
    """Falling heights (shares, from the top), moved down where a line of text would lie on the one above."""
    least, last = _LINE / HIGH, -1.0
    moved: list[float] = []
    for place in places:
        last = max(place, last + least)
        moved.append(last)
    return moved


def _bound(spot: Spot) -> str:
    bound = spot.point.bound
    return bound if bound in ("compute", "memory", "overhead") else "unknown"


def _words(spot: Spot) -> str:
    point = spot.point
    said = [point.name, f"{intensity_text(spot.intensity)} FLOP/B, {scaled_text(spot.rate, 'FLOP/s')}"]
    if not spot.known:
        said[1] += " at best: its time is not known"
    if spot.of_roof is not None:
        said.append(f"{share_text(spot.of_roof)} of the roof" + (f" of {point.dtype}" if point.dtype else ""))
    if point.time_ms is not None:
        said.append(ms_text(point.time_ms))
    if point.bound:
        said.append(f"{point.bound}-bound" if point.bound != "overhead" else "bound by overhead")
    return "\n".join(said)


def _points(x: Axis, y: Axis, found: Sequence[Spot]) -> list[Html]:
    """The longest first, and so below the others, which are smaller."""
    longest = max((spot.point.time_ms or 0.0 for spot in found), default=0.0)
    parts: list[Html] = []
    taken: list[Box] = []
    for spot in found:
        at, high, half = x.at(spot.intensity) * NARROW, y.at(spot.rate) * HIGH, _size(spot, longest) / 2
        taken.append((at - half, high - half, at + half, high + half))
    for index, spot in enumerate(found):
        left, top, size = x.at(spot.intensity), y.at(spot.rate), _size(spot, longest)
        kind = f"spot bound-{_bound(spot)}{'' if spot.known else ' hollow'}"
        sides = f"{' flip' if left > 0.55 else ''}{' up' if top > 0.6 else ''}"
        parts.append(
            tag(
                "span",
                tag("span", _words(spot), class_="tip"),
                class_=kind + sides,
                style=f"{_style(left, top)};width:{size:.1f}px;height:{size:.1f}px",
                tabindex="0",
            )
        )
        if index < _MOST_LABELS:
            parts += _label(short_text(spot.point.name, 26), left, top, size, taken)
    return parts


def _size(spot: Spot, longest_ms: float) -> float:
    """Pixels across; areas go by time, from a least one on."""
    share = (spot.point.time_ms or 0.0) / longest_ms if longest_ms else 0.5
    return 8 + 16 * share**0.5


Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the narrowest plot."""


def _label(name: str, left: float, top: float, size: float, taken: list[Box]) -> list[Html]:
    """The name beside its point, on the first side that is free; nothing where none is."""
    x, y, wide, off = left * NARROW, top * HIGH, len(name) * _LETTER, size / 2 + 4
    sides = {
        "right": (x + off, y - _LINE / 2),
        "left": (x - off - wide, y - _LINE / 2),
        "over": (x - wide / 2, y - off - _LINE),
        "under": (x - wide / 2, y + off),
    }
    for side, (at, high) in sides.items():
        box = (at, high, at + wide, high + _LINE)
        inside = box[0] >= 0 and box[2] <= NARROW and box[1] >= 0 and box[3] <= HIGH
        if inside and not any(_meet(box, other) for other in taken):
            taken.append(box)
            style = f"{_style(left, top)};--off:{off:.1f}px"
            return [tag("span", name, class_=f"spot-name {side}", style=style, aria_hidden="true")]
    return []


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
