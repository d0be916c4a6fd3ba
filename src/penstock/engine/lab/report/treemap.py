"""The kernels as areas: as large as their share of the device's time, coloured by their family.

Theory: squarified treemap (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000): rows are filled along the shorter side for
as long as the worst aspect ratio in the row gets better.
"""

from collections.abc import Sequence

from msgspec import Struct

from penstock.engine.lab.figures import ms_text, share_text
from penstock.engine.lab.report.markup import Html, joined, tag
from penstock.engine.measure.kernel_names import decode
from penstock.engine.measure.records import KernelRow

WIDTH, HEIGHT = 1000, 420
MOST = 60
"""More than this are not told apart; the rest is one area."""
LEAST_REACHED = 0.01
"""Of the whole: smaller areas are no stops of the Tab key; the table has them."""
FAMILIES = {
    "attention": "attention", "conv": "convolution", "gemm": "GEMM", "moe": "GEMM", "norm": "norm or reduction",
    "softmax": "norm or reduction", "reduction": "norm or reduction", "copy": "copy or layout", "memset": "copy or layout",
    "layout": "copy or layout", "view": "copy or layout", "index": "copy or layout", "pointwise": "pointwise",
    "quantise": "pointwise", "random": "pointwise",
}  # fmt: skip
"""What a kernel's name was decoded to -> its family."""
OTHER = "other"


class Area(Struct, frozen=True):
    """A rectangle in the picture's units."""

    x: float
    y: float
    width: float
    height: float


def family(row: KernelRow) -> str:
    """The kernel's family, for its colour: what its own name says, else what its op's does."""
    found = FAMILIES.get(decode(row.name).kind)
    return found or FAMILIES.get(decode(row.op).kind if row.op else "", OTHER)


def squarified(weights: Sequence[float], width: float, height: float) -> list[Area]:
    """An area for each weight (above 0, falling), which fill the rectangle. Areas are in the weights' proportion."""
    total = sum(weights)
    if not weights or total <= 0:
        return []
    scale = width * height / total
    sizes = [weight * scale for weight in weights]
    out: list[Area] = []
    x = y = 0.0
    index = 0
    while index < len(sizes):
        side = min(width - x, height - y)
        row = [sizes[index]]
        while index + len(row) < len(sizes):
            longer = [*row, sizes[index + len(row)]]
            if _worst(longer, side) > _worst(row, side):
                break
            row = longer
        index += len(row)
        last = index == len(sizes)
        x, y = _lay(row, (x, y), (width, height), out, last=last)
    return out


def _worst(row: Sequence[float], side: float) -> float:
    whole = sum(row)
    if side <= 0 or min(row) <= 0:
        return float("inf")
    return max(side * side * max(row) / (whole * whole), whole * whole / (side * side * min(row)))


def _lay(
    row: Sequence[float],
    at: tuple[float, float],
    size: tuple[float, float],
    out: list[Area],
    *,
    last: bool,
) -> tuple[float, float]:
    """Put one row along the shorter side; the corner that is left. The last row takes what rounding has left."""
    (x, y), (width, height) = at, size
    across, down = max(0.0, width - x), max(0.0, height - y)
    upright = across >= down
    side, far = (down, across) if upright else (across, down)
    whole = sum(row)
    thick = far if last else min(far, whole / side if side > 0 else 0.0)
    along = 0.0
    for size_one in row:
        length = side * size_one / whole
        if upright:
            out.append(Area(x, y + along, thick, length))
        else:
            out.append(Area(x + along, y, length, thick))
        along += length
    return (x + thick, y) if upright else (x, y + thick)


def grouped(kernels: Sequence[KernelRow]) -> list[tuple[str, float, int, KernelRow]]:
    """Name, milliseconds, count and one row of each kernel by name, the longest first; the rest in one."""
    sums: dict[str, tuple[float, int, KernelRow]] = {}
    for row in kernels:
        ms, count, first = sums.get(row.name, (0.0, 0, row))
        sums[row.name] = (ms + row.total_ms, count + row.count, first)
    found = sorted(
        ((name, ms, count, row) for name, (ms, count, row) in sums.items() if ms > 0),
        key=lambda one: -one[1],
    )
    if len(found) > MOST:
        rest = found[MOST - 1 :]
        ms, count = sum(one[1] for one in rest), sum(one[2] for one in rest)
        name = f"{len(rest)} more kernels"
        found = [*found[: MOST - 1], (name, ms, count, KernelRow(name=name, count=count, total_ms=ms))]
        found.sort(key=lambda one: -one[1])
    return found


def treemap(kernels: Sequence[KernelRow], shown: frozenset[str] = frozenset()) -> Html:
    """The picture with its legend; empty where no kernel took time. ``shown``: the names that the timeline has."""
    found = grouped(kernels)
    if not found:
        return Html("")
    total = sum(one[1] for one in found)
    areas = squarified([one[1] for one in found], WIDTH, HEIGHT)
    cells: list[Html] = []
    seen: dict[str, float] = {}
    for (name, ms, count, row), area in zip(found, areas, strict=True):
        kind = family(row)
        seen[kind] = seen.get(kind, 0.0) + ms
        cells.append(_cell(name, (ms, ms / total, count), row, area, leads=name in shown))
    legend = [
        tag(
            "li",
            tag("span", class_=f"key fill-{_slug(kind)}", aria_hidden="true"),
            f"{kind} {share_text(ms / total)}",
        )
        for kind, ms in sorted(seen.items(), key=lambda pair: -pair[1])
    ]
    picture = tag(
        "ol",
        *cells,
        class_="treemap",
        aria_label="Kernels by their share of the device's time; the table below has the same figures",
    )
    return joined((tag("ul", *legend, class_="legend"), picture))


def _slug(kind: str) -> str:
    return kind.partition(" ")[0].lower()


def _cell(name: str, figures: tuple[float, float, int], row: KernelRow, area: Area, *, leads: bool) -> Html:
    ms, share, count = figures
    words = f"{name}\n{ms_text(ms)}, {share_text(share)} of all, {count:,} times"
    if row.means:
        words += f"\n{row.means}"
    if row.op or row.module:
        words += f"\n{row.op or '-'} in {row.module or '-'}"
    inside = (
        tag("span", row.means or name, class_="name"),
        tag("span", f"{share_text(share)} · {ms_text(ms)}", class_="small"),
    )
    style = (
        f"left:{area.x / WIDTH * 100:.3f}%;top:{area.y / HEIGHT * 100:.3f}%;"
        f"width:{area.width / WIDTH * 100:.3f}%;height:{area.height / HEIGHT * 100:.3f}%"
    )
    kind = f"cell fill-{_slug(family(row))}"
    if leads:
        reached = None if share >= LEAST_REACHED else "-1"
        inner = tag(
            "button", *inside, type="button", class_=kind, title=words, data_shows=name, tabindex=reached
        )
    else:
        inner = tag("div", *inside, class_=kind, title=words)
    return tag("li", inner, style=style)
