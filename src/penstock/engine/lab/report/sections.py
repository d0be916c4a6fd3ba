"""The parts of the report beside its pictures: head, findings, tables."""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from penstock.engine.lab import folding
from penstock.engine.lab.figures import (
    NONE,
    bound_text,
    break_even_text,
    count_text,
    depths,
    fact_text,
    fix_parts,
    gain_text,
    hop_depths,
    module_text,
    ms_text,
    nothing_found,
    on_cpu,
    saves_text,
    scaled_text,
    share_text,
    short_text,
    start_text,
    usd,
    where_text,
)
from penstock.engine.lab.report.markup import Html, joined, tag, text
from penstock.engine.lab.report.roofline import intensity_text, spots
from penstock.engine.lab.report.waterfall import axis, hop_bar, span_of, stage_bar
from penstock.engine.measure.records import REST, Finding, Profile, RooflinePoint, Variant

MOST_KERNELS = 100
_TALL = 24
"""Rows from which on a table scrolls in itself."""
_NAME_LETTERS = 40
_LEADS = "Show it in the timeline"


class Figure(NamedTuple):
    """A cell by whose value a table is sorted."""

    text: str
    value: float | None


def table(
    caption: str,
    titles: Sequence[object],
    rows: Sequence[Sequence[object]],
    *,
    words: Collection[int] = (0,),
    sorts: bool = False,
) -> Html:
    """A table of figures, but for the columns ``words``. ``sorts``: by a click on a title. A long one scrolls in itself."""
    head = tag(
        "tr",
        *(
            tag("th", _title(title, sorts=sorts), scope="col", class_=_kind(i, words))
            for i, title in enumerate(titles)
        ),
    )
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(_cell(cell, _kind(i, words)) for i, cell in enumerate(row[1:], 1)),
        )
        for row in rows
    ]
    made = tag(
        "table", tag("caption", caption, class_="unseen"), tag("thead", head), tag("tbody", joined(body))
    )
    tall = " tall" if len(rows) > _TALL else ""
    return tag("div", made, class_=f"scroll{tall}", tabindex="0", role="region", aria_label=caption)


def breakable(name: str) -> Html:
    """A dotted name that goes on a new line after a dot, not within a word."""
    parts = [text(part) for part in re.split(r"(?<=[./])(?=.)|(?<=::)(?=.)", name)]
    return Html("<wbr>".join(parts))


def _title(title: object, *, sorts: bool) -> object:
    return tag("button", title, type="button", class_="sort") if sorts else title


def _cell(cell: object, kind: str | None) -> Html:
    if isinstance(cell, Figure):
        return tag(
            "td", cell.text, class_=kind, data_value=None if cell.value is None else f"{cell.value:.9g}"
        )
    return tag("td", cell, class_=kind)


def _kind(index: int, words: Collection[int]) -> str | None:
    return None if index in words else "figure"


def section(identity: str, title: str, *children: Html | str) -> Html:
    """A part of the page with its heading."""
    return tag("section", tag("h2", title), *children, id=identity)


def head(profile: Profile) -> Html:
    """What was profiled, on what, and the figures that count."""
    device, timing = profile.device, profile.timing
    tiles: list[tuple[str, str, str]] = []
    if timing is not None:
        spread = f"{ms_text(timing.low_ms)} to {ms_text(timing.high_ms)}, {timing.runs} runs, {timing.clock}"
        tiles.append(("median, without profiler", ms_text(timing.median_ms), spread))
        if timing.first_ms is not None:
            tiles.append(("first call", ms_text(timing.first_ms), "cold"))
    if profile.wall_ms is not None and profile.source == "preflight":
        tiles.append(("roofline", ms_text(profile.wall_ms), "no program is faster on this card"))
    elif profile.wall_ms is not None:
        tiles.append(("captured run", ms_text(profile.wall_ms), "with the profiler" if timing else ""))
    if device.span_ms:
        tiles.append(("device busy", share_text(device.busy_share), f"of {ms_text(device.span_ms)}"))
        if device.host_wait_ms is not None:
            waits = f"kernel {ms_text(device.kernel_wait_ms)}, other {ms_text(device.other_wait_ms)}"
            tiles.append(("waits for the host", ms_text(device.host_wait_ms), waits))
        tiles.append(
            (
                "kernels",
                count_text(device.kernels),
                f"{device.correlated:,} of {device.device_events:,} device events with a known launch",
            )
        )
    if profile.cost_nusd is not None:
        note = "at best" if profile.source == "preflight" else "at the configured price"
        tiles.append(("cost of a run", usd(profile.cost_nusd), note))
    shown = [
        tag(
            "div",
            tag("dt", name),
            tag("dd", value, tag("small", note) if note else None),
            class_="tile",
        )
        for name, value, note in tiles
    ]
    warned = [*profile.warnings, *(() if timing is None else timing.warnings)]
    if not device.reliable:
        warned.insert(0, f"Attribution is unreliable here: {device.unreliable_because}")
    kind = {"live": "a live run", "trace": "a trace file", "preflight": "a pre-flight without a device"}
    return tag(
        "header",
        tag("p", "Penstock profile", class_="brand"),
        tag("h1", profile.target),
        tag("p", f"{kind.get(profile.source, profile.source)} · {device.name}", class_="quiet"),
        tag("dl", *shown, class_="tiles"),
        tag("ul", *(tag("li", one) for one in warned), class_="warnings") if warned else None,
    )


def findings(profile: Profile) -> Html:
    """Each with its proof and its fix, as they are ranked."""
    if not profile.findings:
        return section("findings", "Findings", tag("p", nothing_found(profile)))
    most = max((one.saves_ms or 0.0 for one in profile.findings if not one.once), default=0.0)
    cards = [_card(index, one, most) for index, one in enumerate(profile.findings, 1)]
    return section("findings", "Findings", tag("ol", *cards, class_="findings"))


def _card(index: int, finding: Finding, most_ms: float) -> Html:
    sentence, code = fix_parts(finding.fix)
    saves = None
    if finding.saves_ms is not None:
        share = finding.saves_ms / most_ms * 100 if most_ms and not finding.once else 0
        saves = tag(
            "p",
            tag("span", style=f"width:{share:.1f}%", class_="meter", aria_hidden="true"),
            f"saves at most {saves_text(finding)}",
            class_="saves",
        )
    parts = [
        tag("h3", finding.title),
        tag(
            "p",
            tag("code", finding.id),
            f" · {where_text(finding)}" if finding.where else None,
            class_="quiet",
        ),
        saves,
        tag("p", finding.evidence),
        tag("p", bound_text(finding), class_="quiet") if finding.bound else None,
    ]
    if sentence:
        parts.append(tag("p", tag("strong", "Fix: "), sentence))
    if code:
        words = f"Copy the code that fixes {finding.id}"
        copy = tag("button", "Copy", type="button", class_="copy", data_copies=f"fix-{index}", title=words)
        block = tag(
            "pre", tag("code", code, id=f"fix-{index}"), tabindex="0", role="region", aria_label="Code"
        )
        parts.append(tag("div", copy, block, class_="fix"))
    if finding.proof:
        parts.append(tag("p", tag("strong", "It worked if: "), finding.proof))
    return tag("li", tag("article", *parts))


def stages(profile: Profile) -> Html:
    """The waterfall: a table whose first picture is the axis of time."""
    if not profile.stages:
        return Html("")
    span_ms = span_of(profile)
    priced = any(row.cost_nusd is not None for row in profile.stages)
    titles: list[object] = [
        "stage",
        axis(span_ms),
        "wall",
        folding.EACH,
        "share",
        "calls",
        "exposed host",
        "device busy",
        "launches",
    ]
    if priced:
        titles.append("cost")
    rows: list[list[object]] = []
    shown = folding.stages(profile.stages, profile.kernels)
    for one, depth in zip(shown, depths([one.row for one in shown]), strict=True):
        row = one.row
        style = f"padding-left:{depth * 16}px" if depth else None
        name = tag("span", breakable(one.label), class_="nested" if depth else None, style=style)
        cells: list[object] = [
            name,
            stage_bar(row, span_ms),
            ms_text(row.wall_ms),
            ms_text(one.median_ms),
            share_text(row.share),
            NONE if row.name in REST else count_text(row.calls),
            ms_text(row.exposed_host_ms),
            ms_text(row.gpu_busy_ms),
            count_text(row.launches),
        ]
        rows.append([*cells, usd(row.cost_nusd)] if priced else cells)
    note = (
        "Rows that are not indented, and the unattributed rest, sum to the captured run. A stage's device time is what was "
        "launched inside it. Exposed host time: the host worked and the device had nothing to do."
    ) + (f" {folding.SAID}" if len(shown) < len(profile.stages) else "")
    known = [index for index in range(len(titles)) if any(row[index] != NONE for row in rows)]
    titles = [titles[index] for index in known]  # on a CPU there is no device to be busy
    rows = [[row[index] for index in known] for row in rows]
    return section(
        "stages", "Stages", table("Stages", titles, rows, words=(0, 1)), tag("p", note, class_="quiet")
    )


def hops(profile: Profile) -> Html:
    """The request's way, from HTTP to storage."""
    if not profile.hops:
        return Html("")
    span_ms = max([1e-6, *(one.start_ms + one.wall_ms for one in profile.hops)])
    rows: list[list[object]] = [
        [
            tag(
                "span",
                breakable(one.name),
                class_="nested" if depth else None,
                style=f"padding-left:{depth * 16}px" if depth else None,
            ),
            hop_bar(one, span_ms),
            start_text(one.start_ms),
            ms_text(one.wall_ms),
            ms_text(one.gpu_busy_ms),
            one.target or NONE,
            one.klass or NONE,
            usd(one.cost_nusd),
        ]
        for one, depth in zip(profile.hops, hop_depths(profile.hops), strict=True)
    ]
    titles: list[object] = [
        "hop",
        axis(span_ms),
        "start",
        "wall",
        "device busy",
        "target",
        "class",
        "cost",
    ]
    note = "Indented rows are parts of the row above them, and so is their cost."
    shown = ", ".join(profile.trace_ids)
    return section(
        "hops",
        f"The request {shown}".strip(),
        table("Hops", titles, rows, words=(0, 1)),
        tag("p", note, class_="quiet"),
    )


def kernels(profile: Profile, shown: frozenset[str]) -> Html:
    """The table beside the treemap. ``shown``: the names that the timeline has."""
    total = sum(row.total_ms for row in profile.kernels)
    found = folding.kernels(profile.kernels)
    rows: list[list[object]] = [
        [
            _named(row.name, leads=row.name in shown),
            Figure(ms_text(row.total_ms), row.total_ms),
            share_text(row.total_ms / total if total else None),
            Figure(count_text(row.count), row.count),
            Figure(ms_text(row.total_ms / max(1, row.count)), row.total_ms / max(1, row.count)),
            NONE if one.median_ms is None else Figure(ms_text(one.median_ms), one.median_ms),
            row.means or NONE,
            breakable(row.op if row.op and row.op != row.name else NONE)
            if row.attributed
            else "replayed: not known",
            breakable(folding.labelled(module_text(row.module), len(one.totals_ms))),
        ]
        for one in found[:MOST_KERNELS]
        for row in [one.row]
    ]
    what = "op" if on_cpu(profile) else "kernel"
    titles = [what, "total", "share", "count", "each", folding.EACH, "means", "launched by", "module"]
    known = [index for index in range(len(titles)) if any(row[index] != NONE for row in rows)]
    titles = [titles[index] for index in known]
    rows = [[row[index] for index in known] for row in rows]
    more = len(found) - MOST_KERNELS
    rest = sum(one.row.total_ms for one in found[MOST_KERNELS:]) / total if total else None
    said = [f"{more:,} more rows, {share_text(rest)} of the time: --json has them all."] if more > 0 else []
    said += [folding.SAID] if len(found) < len(profile.kernels) else []
    notes = (tag("p", one, class_="quiet") for one in said)
    words = [place for place, index in enumerate(known) if index in (0, 6, 7, 8)]
    return joined((table("Kernels", titles, rows, words=words, sorts=True), *notes))


def _named(name: str, *, leads: bool) -> Html:
    """A kernel's name, which leads to the timeline; a long one opens."""
    short = short_text(name, _NAME_LETTERS)
    if short == name:
        said = (
            tag("button", name, type="button", class_="plain", data_shows=name, title=_LEADS)
            if leads
            else name
        )
        return tag("span", said, class_="kernel")
    more = tag("button", "Show in the timeline", type="button", data_shows=name) if leads else None
    return tag("details", tag("summary", short), tag("p", name), more, class_="kernel")


def points(found: Sequence[RooflinePoint], profile: Profile) -> Html:
    """The table beside the roofline."""
    rows: list[list[object]] = [
        [
            breakable(spot.point.name),
            spot.point.dtype or NONE,
            spot.point.bound or NONE,
            Figure(intensity_text(spot.intensity), spot.intensity),
            Figure(scaled_text(spot.point.flops, "FLOP"), spot.point.flops),
            Figure(scaled_text(spot.point.bytes, "B"), spot.point.bytes),
            Figure(ms_text(spot.point.time_ms), spot.point.time_ms),
            Figure(
                scaled_text(spot.rate, "FLOP/s") if spot.known else NONE, spot.rate if spot.known else None
            ),
            Figure(share_text(spot.of_roof), spot.of_roof),
        ]
        for spot in spots(found, profile.peaks)[:MOST_KERNELS]
    ]
    titles = ["name", "dtype", "bound", "FLOP per byte", "work", "bytes", "time", "rate", "of the roof"]
    return table("Roofline", titles, rows, words=(0, 1, 2), sorts=True)


def variants(profile: Profile) -> Html:
    """``--compare``: side by side, and expected against observed; and what the run's notes say."""
    told = [tag("p", line) for line in profile.notes]
    if not profile.variants:
        return section("notes", "Notes", *told) if told else Html("")
    rows = [_variant(one) for one in profile.variants]
    titles = [
        "variant",
        "median",
        "quartiles",
        "gain",
        "max error",
        "prepared in",
        "graphs",
        "breaks even after",
    ]
    seen = [
        tag(
            "article",
            tag("h3", one.name),
            tag("p", one.refused) if one.refused else None,
            tag("p", f"Compiled: {', '.join(one.compiled)}.") if one.compiled else None,
            tag("p", "Expected:") if one.expected else None,
            tag("ul", *(tag("li", line) for line in one.expected)) if one.expected else None,
            tag("p", "Observed:") if one.kernels else None,
            tag(
                "ul",
                *(
                    tag("li", f"{row.count} x {row.name}", f" ({row.means})" if row.means else None)
                    for row in one.kernels
                ),
            )
            if one.kernels
            else None,
            tag("p", "Differs:") if one.differences else None,
            tag("ul", *(tag("li", line) for line in one.differences)) if one.differences else None,
        )
        for one in profile.variants
    ]
    return section(
        "variants", "Variants", table("Variants", titles, rows), tag("div", *seen, class_="columns"), *told
    )


def _variant(one: Variant) -> list[object]:
    timing = one.timing
    return [
        one.name,
        "refused" if one.refused else ms_text(None if timing is None else timing.median_ms),
        NONE if timing is None else f"{ms_text(timing.low_ms)} to {ms_text(timing.high_ms)}",
        gain_text(one),
        NONE if one.max_error is None else f"{one.max_error:.2g}",
        f"{one.prepare_s:.2f} s" if one.prepare_s else NONE,
        count_text(one.graphs),
        break_even_text(one),
    ]


def machine(profile: Profile) -> Html:
    """What the figures rest on."""
    said = {name.replace("_", " "): value for name, value in profile.machine.items()}
    if profile.peaks is not None and profile.peaks.flops_per_s:
        peaks = profile.peaks
        said["peaks"] = (
            f"{peaks.device}: "
            + ", ".join(f"{name} {scaled_text(rate, 'FLOP/s')}" for name, rate in peaks.flops_per_s.items())
            + f", memory {scaled_text(peaks.bytes_per_s, 'B/s')} ({peaks.source})"
        )
    said |= dict(fact_text(name, value) for name, value in profile.facts.items())
    if not said:
        return Html("")
    rows = [joined((tag("dt", name), tag("dd", value))) for name, value in said.items()]
    return section("machine", "What it rests on", tag("dl", *rows, class_="facts"))
