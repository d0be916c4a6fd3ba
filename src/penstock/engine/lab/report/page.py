"""The whole report: one HTML text, with its style, its script and its data inside."""

from importlib.resources import files

from penstock.engine.lab.figures import shown_name
from penstock.engine.lab.report import roofline, sections
from penstock.engine.lab.report.markup import Html, data, joined, tag
from penstock.engine.lab.report.timeline import MOST, timeline_data
from penstock.engine.lab.report.treemap import treemap
from penstock.engine.measure.records import Profile

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""The browser itself keeps the page from the network."""


def page(profile: Profile) -> str:
    """The report of ``profile``. It reads nothing and asks nothing of the network."""
    parts = [
        sections.findings(profile),
        sections.hops(profile),
        sections.stages(profile),
        sections.variants(profile),
        _timeline(profile),
        _kernels(profile),
        _roofline(profile),
        sections.machine(profile),
    ]
    body = tag(
        "body",
        sections.head(profile),
        _contents(profile),
        tag("main", *parts),
        tag("footer", tag("p", "Made by penstock profile. This file holds all that it shows.")),
        data("timeline-data", timeline_data(profile)),
        tag("script", _own("timeline.js")),
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
        ("kernels", "Kernels", bool(profile.kernels)),
        ("roofline", "Roofline", bool(profile.roofline)),
        ("machine", "What it rests on", bool(profile.machine or profile.facts or profile.peaks)),
    ]
    links = [tag("li", tag("a", title, href=f"#{identity}")) for identity, title, there in shown if there]
    return tag("nav", tag("ul", *links), aria_label="Parts of the report")


def _timeline(profile: Profile) -> Html:
    if not profile.timeline:
        return Html("")
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
        tag("input", type="search", id="timeline-find", placeholder="part of a name", autocomplete="off"),
    )
    bar = tag("div", *buttons, search, tag("output", id="timeline-found"), class_="toolbar")
    canvas = tag(
        "canvas",
        id="timeline-canvas",
        tabindex="0",
        role="img",
        aria_label=(
            "Timeline of the run. Arrow keys move, plus and minus zoom, 0 shows all, n and p go from bar to bar."
        ),
        aria_describedby="timeline-said",
    )
    hint = (
        "Wheel with Ctrl (or after a click) zooms, drag and Shift+wheel move, double click shows one bar, "
        "arrows, +, -, 0, n and p do the same by keyboard."
    )
    if len(profile.timeline) >= MOST:
        hint += f" Shown are {MOST:,} bars: stages, waits and kernels before the shortest operators."
    longest = sorted(profile.timeline, key=lambda one: -one.dur_us)[:20]
    rows = [
        [
            shown_name(one.name),
            one.lane,
            one.kind,
            f"{one.start_us / 1000:,.3f} ms",
            f"{one.dur_us / 1000:,.3f} ms",
        ]
        for one in longest
    ]
    aside = tag(
        "details",
        tag("summary", "The longest bars as a table"),
        sections.table("Longest bars", ["name", "lane", "kind", "start", "time"], rows, words=3),
    )
    return sections.section(
        "timeline",
        "Timeline",
        bar,
        tag("div", canvas, class_="stage-canvas"),
        tag("output", "", id="timeline-said", aria_live="polite", class_="said"),
        tag("p", hint, class_="quiet"),
        aside,
    )


def _kernels(profile: Profile) -> Html:
    if not profile.kernels:
        return Html("")
    return sections.section(
        "kernels", "Kernels", joined((treemap(profile.kernels), sections.kernels(profile)))
    )


def _roofline(profile: Profile) -> Html:
    drawn = roofline.picture(profile.roofline, profile.peaks)
    if not drawn:
        return Html("")
    said = "Filled points were timed; hollow ones lie where they can be at best."
    if profile.peaks is None:
        said += " The device's peaks are not known, so there is no roof."
    return sections.section(
        "roofline",
        "Roofline",
        drawn,
        tag("p", said, class_="quiet"),
        sections.points(profile.roofline, profile),
    )
