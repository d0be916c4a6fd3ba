"""The whole report: one HTML text, with its style, its script and its data inside."""

from importlib.resources import files
from typing import Any

from msgspec.structs import replace

from penstock.engine.lab.figures import on_cpu, shown_name
from penstock.engine.lab.report import roofline, sections
from penstock.engine.lab.report.markup import Html, data, joined, tag
from penstock.engine.lab.report.timeline import timeline_data
from penstock.engine.lab.report.treemap import treemap
from penstock.engine.measure.records import Profile

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""The browser itself keeps the page from the network."""
SCRIPTS = ("timeline_model.js", "timeline.js", "page.js")
"""In this order, as one script."""


def page(profile: Profile) -> str:
    """The report of ``profile``. It reads nothing and asks nothing of the network."""
    held = timeline_data(profile)
    shown = frozenset(name for name, _ in held["names"])
    parts = [
        sections.findings(profile),
        sections.hops(profile),
        sections.stages(profile),
        sections.variants(profile),
        _timeline(profile, held),
        _kernels(profile, shown),
        _roofline(profile),
        sections.machine(profile),
    ]
    body = tag(
        "body",
        sections.head(profile),
        _contents(profile),
        tag("main", *parts),
        tag("footer", tag("p", "Made by penstock profile. This file holds all that it shows.")),
        data("timeline-data", held),
        tag("script", joined([_own(name) for name in SCRIPTS])),
    )
    top = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{profile.target} - Penstock profile"),
        tag("style", _own("report.css")),
    )
    return f"<!doctype html>\n{tag('html', top, body, lang='en')}\n"


def _own(name: str) -> Html:
    """A file of this folder, which is markup as it stands: the tests see to it that nothing in it ends its element."""
    return Html(files("penstock.engine.lab.report").joinpath(name).read_text(encoding="utf-8"))


def _contents(profile: Profile) -> Html:
    shown = [
        ("findings", "Findings", True),
        ("hops", "Request", bool(profile.hops)),
        ("stages", "Stages", bool(profile.stages)),
        ("variants", "Variants", bool(profile.variants)),
        ("timeline", "Timeline", bool(profile.timeline)),
        ("kernels", "Ops" if on_cpu(profile) else "Kernels", bool(profile.kernels)),
        ("roofline", "Roofline", bool(profile.roofline)),
        ("machine", "What it rests on", bool(profile.machine or profile.facts or profile.peaks)),
    ]
    links = [tag("li", tag("a", title, href=f"#{identity}")) for identity, title, there in shown if there]
    return tag("nav", tag("ul", *links), aria_label="Parts of the report")


def _toolbar() -> Html:
    """Buttons, the search, and what is shown of the run."""
    buttons = [
        tag("button", sign, type="button", data_does=does, aria_label=words, title=words)
        for sign, does, words in (
            ("+", "in", "Zoom in (+)"),
            ("-", "out", "Zoom out (-)"),
            ("\N{LEFTWARDS ARROW}", "left", "Earlier (left)"),
            ("\N{RIGHTWARDS ARROW}", "right", "Later (right)"),
            ("All", "fit", "All of it (0)"),
        )
    ]
    search = tag(
        "label",
        "Find ",
        tag(
            "input",
            type="search",
            id="timeline-find",
            placeholder="part of a name",
            autocomplete="off",
            spellcheck="false",
        ),
    )
    return tag(
        "div",
        *buttons,
        search,
        tag("output", id="timeline-found", for_="timeline-find"),
        tag("span", id="timeline-shown", title="What is shown of the run"),
        class_="toolbar",
    )


def _timeline(profile: Profile, held: dict[str, Any]) -> Html:
    if not profile.timeline:
        return Html("")
    canvas = tag(
        "canvas",
        id="timeline-canvas",
        tabindex="0",
        role="application",
        aria_label=(
            "Timeline of the run. Arrow keys move, plus and minus zoom, 0 shows all, n and p go from bar to bar, "
            "c folds a lane, Page Up and Down scroll the lanes."
        ),
        aria_describedby="timeline-said",
    )
    tip = tag("div", id="timeline-tip", class_="tip", hidden=True, aria_hidden="true")
    pane = tag("div", canvas, tip, class_="pane")
    scrolled = tag("div", tag("div", pane, id="timeline-filler"), id="timeline-box")
    keys = [
        tag(
            "li",
            tag("span", class_="key", style=f"background:var(--k-{kind})", aria_hidden="true"),
            KINDS.get(kind, kind),
        )
        for kind in held["kinds"]
    ]
    return sections.section(
        "timeline",
        "Timeline",
        _toolbar(),
        tag("ul", *keys, class_="legend"),
        scrolled,
        tag("output", "", id="timeline-said", aria_live="polite", class_="said"),
        tag("details", tag("summary", "How to move in it"), *_hints(held["left_out"])),
        _longest(profile),
    )


KINDS = {
    "stage": "stage or annotation", "module": "module", "op": "operator", "kernel": "kernel", "copy": "copy or memset",
    "launch": "launch", "sync": "the host waits for the device", "hop": "hop of the request",
}  # fmt: skip
"""A slice's kind in words. Each has its colour in report.css."""


_KERNELS = {"preflight": "Kernels to expect"}


def _hints(left_out: int) -> list[Html]:
    told = [
        "Ctrl and the wheel zoom, and the wheel alone once the timeline has been clicked; drag to move; double click shows one bar.",
        "Shift and a drag measure a span: what each lane did in it. Enter then shows just that.",
        "A click on a lane's title folds it. Enter in the search goes to the next bar that it has found.",
        "By keyboard: arrows, + and -, 0 for all, n and p from bar to bar, c folds the lane, Enter shows the chosen bar.",
        "Where bars are narrower than a pixel, a column is as strong as they cover it.",
    ]
    if left_out:
        told.append(f"The longest bars are shown; {left_out:,} shorter ones were left out.")
    return [tag("p", one, class_="quiet") for one in told]


def _longest(profile: Profile) -> Html:
    longest = sorted(profile.timeline, key=lambda one: -one.dur_us)[:20]
    rows: list[list[object]] = [
        [
            shown_name(one.name),
            one.lane,
            one.kind,
            sections.Figure(f"{one.start_us / 1000:,.3f} ms", one.start_us),
            sections.Figure(f"{one.dur_us / 1000:,.3f} ms", one.dur_us),
        ]
        for one in longest
    ]
    return tag(
        "details",
        tag("summary", "The longest bars as a table"),
        sections.table(
            "Longest bars", ["name", "lane", "kind", "start", "time"], rows, words=(0, 1, 2), sorts=True
        ),
    )


def _kernels(profile: Profile, shown: frozenset[str]) -> Html:
    if not profile.kernels:
        return Html("")
    drawn = treemap(profile.kernels, shown)
    return sections.section(
        "kernels",
        _KERNELS.get(profile.source) or ("Ops" if on_cpu(profile) else "Kernels"),
        joined((drawn, sections.kernels(profile, shown))),
    )


def _roofline(profile: Profile) -> Html:
    foreseen = profile.source == "preflight"  # its times are the roof's own: nothing was timed
    points = [replace(one, time_ms=None) if foreseen else one for one in profile.roofline]
    drawn = roofline.picture(points, profile.peaks)
    if not drawn:
        return Html("")
    found = roofline.spots(points, profile.peaks)
    bare = profile.peaks is None
    return sections.section(
        "roofline",
        "Roofline",
        roofline.legend(found, profile.peaks),
        drawn,
        tag("p", "The device's peaks are not known, so there is no roof.", class_="quiet")
        if bare
        else Html(""),
        sections.points(points, profile),
    )
