"""The HTML report: one file, no network, nothing that a name can break, pictures with the table's figures."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.lab.report.markup import Html, data, tag
from penstock.engine.lab.report.page import page
from penstock.engine.lab.report.roofline import axes, roof, spots
from penstock.engine.lab.report.timeline import MOST, packed, timeline_data
from penstock.engine.lab.report.treemap import HEIGHT, WIDTH, family, grouped, squarified
from penstock.engine.lab.report.waterfall import bars_of, merged
from penstock.engine.measure.records import UNATTRIBUTED, KernelRow, RooflinePoint, Slice
from tests.engine.made import EVIL, profile, slices
from tests.house.source import SRC

VOID = {"meta", "input", "br"}
LOADS = {"src", "href", "srcset", "action", "data", "poster", "formaction"}


class Seen(HTMLParser):
    """What a browser would make of the page: elements, texts, and whether all is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.loads, self.handlers, self.texts, self.scripts = [], [], [], [], [], []

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.loads += [value for key, value in attributes if key in LOADS]
        self.handlers += [key for key, _ in attributes if key.startswith("on")]
        if name not in VOID:
            self.open.append(name)
        if name == "script":
            self.scripts.append(dict(attributes))

    def handle_startendtag(self, name, attributes):
        self.tags.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, text):
        if self.open and self.open[-1] == "script":
            self.scripts[-1]["body"] = self.scripts[-1].get("body", "") + text
        else:
            self.texts.append(text)


def seen(text):
    """The page, parsed to its end."""
    parser = Seen()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


def test_the_page_is_whole_and_alone():
    """Everything is closed; what it links to is on itself; no handler, no picture, no frame."""
    page_seen = seen(page(profile()))
    assert page_seen.loads
    assert all(where.startswith("#") for where in page_seen.loads)
    assert page_seen.handlers == []
    assert not {"img", "iframe", "link", "object", "embed", "base"} & set(page_seen.tags)
    assert page_seen.tags.count("script") == 2
    own = (SRC / "engine/lab/report/report.css").read_text(encoding="utf-8")
    assert "url(" not in own
    assert "@import" not in own


def test_a_name_cannot_break_it():
    """A kernel called </script><img …> is text, in the table, in the pictures and in the script's data."""
    text = page(profile())
    page_seen = seen(text)
    assert "img" not in page_seen.tags
    assert any("onerror" in one for one in page_seen.texts)
    held = json.loads(page_seen.scripts[0]["body"])
    assert EVIL in held["names"]
    assert text.count("</script>") == 2


@given(st.text(), st.text())
def test_any_text_comes_back_as_it_was(name, cell):
    """From an element and from the data, but for characters that no HTML file may hold."""
    found = seen(tag("p", name) + data("d", {"cell": cell}))
    shown = "".join(found.texts)
    if name.isprintable():
        assert shown == name
    assert found.tags == ["p", "script"]
    assert json.loads(found.scripts[0]["body"]) == {"cell": cell}


def test_markup_is_not_escaped_twice():
    """An element inside an element stays one; its text is escaped once."""
    assert tag("p", tag("b", "<&>")) == "<p><b>&lt;&amp;&gt;</b></p>"
    assert isinstance(tag("p"), Html)
    assert (
        tag("a", name="n", title='"><script>', hidden=None, data_x=True)
        == '<a name="n" title="&quot;&gt;&lt;script&gt;" data-x></a>'
    )


def test_our_own_script_and_style_end_nothing():
    """What goes in unescaped holds nothing that ends its element."""
    for name in ("timeline.js", "report.css"):
        own = (SRC / "engine/lab/report" / name).read_text(encoding="utf-8").lower()
        assert "</s" not in own
        assert "<!--" not in own


def test_every_figure_is_in_a_table_too():
    """Stages with the residual, kernels, findings with evidence and code, variants, hops, the roofline."""
    shown = " ".join(seen(page(profile())).texts)
    for word in (
        UNATTRIBUTED, "text_encoder", "60.0 %", "6.000 ms", "aten::addmm", "launch-bound", "Host wait 6.32 of 7.56 ms.",
        "pipe.unet.compile_repeated_blocks(fullgraph=True)", "It worked if: ", "saves at most 6.320 ms", "2,500 calls",
        "No Triton here.", "$0.00027", "render-1", "the machine was <disturbed>", "2.13.0+cpu", "GEMM 128x64 bf16 tn",
    ):  # fmt: skip
        assert word in shown, word


def test_an_empty_profile_is_a_page():
    """Without stages, kernels, timeline or peaks it says what there is."""
    empty = profile(
        stages=(), kernels=(), findings=(), timing=None, variants=(), roofline=(), peaks=None, timeline=(),
        warnings=(), machine={}, facts={}, hops=(), wall_ms=None,
    )  # fmt: skip
    page_seen = seen(page(empty))
    assert "canvas" not in page_seen.tags
    assert "Nothing was found that is worth a change." in page_seen.texts


def test_light_and_dark():
    """Every colour that the page uses is defined in both schemes."""
    own = (SRC / "engine/lab/report/report.css").read_text(encoding="utf-8")
    light, dark = own.split("@media (prefers-color-scheme: dark)")
    dark = dark.split("* { box-sizing")[0]
    used = set(re.findall(r"var\((--[\w-]+)\)", own))
    defined = set(re.findall(r"(--[\w-]+):", light))
    assert used <= defined
    assert defined - set(re.findall(r"(--[\w-]+):", dark)) == {"--mark"}


@given(st.lists(st.floats(min_value=1e-6, max_value=1e6), min_size=1, max_size=60))
def test_the_treemap_is_in_proportion(weights):
    """Areas are as the weights, lie inside, and fill the picture."""
    weights.sort(reverse=True)
    areas = squarified(weights, WIDTH, HEIGHT)
    whole = WIDTH * HEIGHT
    assert len(areas) == len(weights)
    for weight, area in zip(weights, areas, strict=True):
        assert abs(area.width * area.height / whole - weight / sum(weights)) < 1e-6
        assert area.x >= -1e-6
        assert area.x + area.width <= WIDTH + 1e-6
        assert area.y + area.height <= HEIGHT + 1e-6
    assert abs(sum(area.width * area.height for area in areas) / whole - 1) < 1e-6


@given(st.lists(st.floats(min_value=0.1, max_value=100), min_size=2, max_size=12))
def test_areas_do_not_overlap(weights):
    """Any two of them."""
    weights.sort(reverse=True)
    areas = squarified(weights, WIDTH, HEIGHT)
    for i, one in enumerate(areas):
        for other in areas[i + 1 :]:
            across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
            down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
            assert across < 1e-6 or down < 1e-6


def test_kernels_of_one_name_are_one_area():
    """Whatever op launched them; what is too much becomes one, and nothing is lost."""
    rows = [KernelRow(name=f"k{i % 90}", count=1, total_ms=float(i + 1)) for i in range(180)]
    found = grouped(rows)
    assert len(found) == 60
    assert sum(one[1] for one in found) == sum(row.total_ms for row in rows)
    assert any(name == "31 more kernels" for name, *_ in found)
    flash = KernelRow(
        name="void cutlass::pytorch_flash", count=1, total_ms=1, means="flash attention", op="aten::mm"
    )
    assert family(flash) == "attention"
    assert family(KernelRow(name="triton_poi_fused_gelu_mul_0", count=1, total_ms=1)) == "pointwise"
    assert (
        family(KernelRow(name="Cijk_Ailk", count=1, total_ms=1, means="GEMM 128x64 bf16 tn added")) == "GEMM"
    )


def test_points_lie_where_the_roof_says():
    """A timed point at its own rate, an untimed one on the roof; the knee is inside the axes."""
    made = profile()
    found = spots(made.roofline, made.peaks)
    assert [spot.point.name for spot in found] == ["unet", EVIL]
    timed, hollow = found
    assert timed.rate == 1e12
    assert timed.of_roof == pytest.approx(1e12 / min(989e12, 100 * 3.35e12))
    assert not hollow.known
    assert hollow.rate == roof(made.peaks, 0.1) == pytest.approx(0.335e12)
    x, y = axes(found, made.peaks)
    assert 10.0**x.low <= 0.1 < 989e12 / 3.35e12 <= 10.0**x.high
    assert 10.0**y.low <= 0.335e12 < 989e12 <= 10.0**y.high
    assert spots((RooflinePoint(name="x", flops=1, bytes=1),), None) == []


@given(slices)
def test_bars_of_a_row_do_not_overlap(found):
    """And none is lost, whatever overlaps."""
    placed = packed(found)
    assert len(placed) == len(found)
    rows = {}
    for row, one in placed:
        rows.setdefault(row, []).append(one)
    assert sorted(rows) == list(range(len(rows)))
    for held in rows.values():
        for before, after in pairwise(held):
            assert before.start_us + before.dur_us <= after.start_us


def test_of_too_many_bars_the_longest_are_kept():
    """And how many were left out is said."""
    many = tuple(
        Slice(lane="l", name="n", start_us=i * 10.0, dur_us=float(i % 10)) for i in range(MOST + 500)
    )
    made = timeline_data(profile(timeline=many))
    assert len(made["slices"]) == MOST
    assert made["left_out"] == 500
    assert min(one[4] for one in made["slices"]) >= 0
    assert sum(one[4] == 9.0 for one in made["slices"]) == sum(one.dur_us == 9.0 for one in many)


def test_a_stage_s_bars_are_its_calls():
    """From the timeline, where it has them; else one bar from its first call on."""
    bars = bars_of(profile())
    assert bars["unet"] == [(1.2, 4.2), (4.3, 7.3)]
    assert bars["vae"] == [(8.0, 9.7)]
    assert merged([(0, 1), (1.001, 2), (5, 6)], 0.01) == [(0, 2), (5, 6)]


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node runs the report's script")


def in_node(script, *files):
    """What the report's script says about itself, run by node."""
    code = (SRC / "engine/lab/report/timeline.js").read_text(encoding="utf-8")
    done = subprocess.run(
        ["node", "-e", f"{code}\nconst T = PenstockTimeline;\n{script}", *files],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def big(tmp_path):
    """20,000 bars as the report's data."""
    many = tuple(
        Slice(
            lane=f"lane {i % 3}",
            name=f"n{i % 100}",
            start_us=(i // 3) * 2.0,
            dur_us=1.5,
            kind="op",
            depth=i % 2,
        )
        for i in range(MOST)
    )
    path = tmp_path / "data.json"
    path.write_text(json.dumps(timeline_data(profile(timeline=many))), encoding="utf-8")
    return path


@needs_node
def test_the_timeline_draws_a_bounded_number_of_bars(big):
    """Of 20,000 at most about one a pixel and row; near enough every one that is in view, and only those."""
    said = in_node(
        """
        const held = T.model(JSON.parse(require("fs").readFileSync(process.argv[1])));
        const width = 1000, all = { from: 0, to: held.end }, near = { from: 1000, to: 1100 };
        const count = (view) => held.rows.map((row) => T.visible(row.slices, view, width).length);
        const inside = held.rows.every((row) => T.visible(row.slices, near, width).every(
          ([x, w, s]) => s[3] + s[4] > near.from && s[3] < near.to));
        const exact = held.rows.map((row) => row.slices.filter((s) => s[3] + s[4] > near.from && s[3] < near.to).length);
        console.log(JSON.stringify({ all: count(all), near: count(near), exact, inside, rows: held.rows.length }));
        """,
        str(big),
    )
    assert all(0 < count <= 1001 for count in said["all"])
    assert said["near"] == said["exact"]
    assert sum(said["near"]) > 100
    assert said["inside"]


@needs_node
def test_zooming_keeps_the_time_under_the_pointer():
    """And the view stays inside the run, however often and wherever one zooms and pans."""
    said = in_node(
        """
        const end = 1000, out = [];
        let view = { from: 0, to: end };
        const kept = T.zoom(view, end, 0.5, 0.3);
        out.push(Math.abs(kept.from + (kept.to - kept.from) * 0.3 - 300) < 1e-9);
        let seed = 7;
        const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
        for (let i = 0; i < 5000; i++) {
          view = random() < 0.5 ? T.zoom(view, end, 0.25 + 2 * random(), random()) : T.pan(view, end, 4 * random() - 2);
          if (!(view.from >= 0 && view.to <= end + 1e-9 && view.to - view.from >= 0.0499)) out.push(view);
        }
        out.push([T.time(1.5), T.time(1500), T.time(2.5e6), T.step(1000, 9)]);
        console.log(JSON.stringify(out));
        """
    )
    assert said == [True, ["1.500 µs", "1.500 ms", "2.500 s", 200]]


STUB = """
const listeners = {}, drawn = [];
const pen = new Proxy({}, { get: (_, name) => name === "fillRect" ? (...a) => drawn.push(a) : () => undefined, set: () => true });
const element = (id, more) => ({ id, style: {}, dataset: {}, value: "", textContent: "", clientWidth: 1000, width: 0, height: 0,
  addEventListener: (kind, act) => { listeners[id + ":" + kind] = act; }, getContext: () => pen, focus() {}, setPointerCapture() {},
  getBoundingClientRect: () => ({ left: 0, top: 0, width: 1000 }), ...more });
const byId = {};
for (const id of ["timeline-canvas", "timeline-said", "timeline-found", "timeline-find"]) byId[id] = element(id);
byId["timeline-data"] = element("timeline-data", { textContent: require("fs").readFileSync(process.argv[1], "utf8") });
const fake = { getElementById: (id) => byId[id] || null, querySelectorAll: () => [], documentElement: {}, activeElement: null };
const view = { devicePixelRatio: 2, requestAnimationFrame: (f) => f(), addEventListener() {},
  getComputedStyle: () => ({ getPropertyValue: () => "#123456" }) };
const running = T.start(fake, view);
const span = () => running.state.view.to - running.state.view.from;
"""


@needs_node
def test_wheel_keys_and_search_move_the_timeline(big):
    """In a stand-in for a browser: a wheel without Ctrl or focus is the page's; keys, pointer and search are ours."""
    said = in_node(
        STUB
        + """
        const whole = span(), out = { drawn: drawn.length };
        let stopped = 0;
        const wheel = (more) => listeners["timeline-canvas:wheel"](
          { clientX: 500, clientY: 60, deltaX: 0, deltaY: -100, preventDefault: () => { stopped += 1; }, ...more });
        wheel({}); out.page = [stopped, span() === whole];
        wheel({ ctrlKey: true }); out.near = [stopped, span() < whole];
        const key = (name) => listeners["timeline-canvas:keydown"]({ key: name, preventDefault() {} });
        key("0"); out.fit = span() === whole;
        key("+"); out.half = span() / whole;
        key("ArrowRight"); out.right = running.state.view.from > whole / 4;
        key("n"); key("n"); key("Enter"); out.one = span() < 10;
        out.said = byId["timeline-said"].textContent;
        byId["timeline-find"].value = "N7"; listeners["timeline-find:input"]();
        out.found = byId["timeline-found"].textContent;
        console.log(JSON.stringify(out));
        """,
        str(big),
    )
    assert 100 < said["drawn"] < 8000
    assert said["page"] == [0, True]
    assert said["near"] == [1, True]
    assert said["fit"]
    assert said["half"] == 0.5
    assert said["right"]
    assert said["one"]
    assert said["said"].startswith("n")
    assert said["found"] == "2200 bars, 3.300 ms"


@needs_node
def test_the_pointer_moves_and_chooses(big):
    """A drag pans by as much as it is long; a click chooses the bar under it; a double click shows that bar."""
    said = in_node(
        STUB
        + """
        const on = (kind, x, y) => listeners["timeline-canvas:" + kind](
          { clientX: x, clientY: y, pointerId: 1, preventDefault() {} });
        const y = running.held.rows[0].y + 5, out = {};
        running.acts.in(); running.acts.in();
        const before = running.state.view;
        on("pointerdown", 500, y); on("pointermove", 400, y); on("pointerup", 400, y);
        out.moved = (running.state.view.from - before.from) / (before.to - before.from);
        out.none = running.state.chosen;
        on("pointerdown", 508, y); on("pointerup", 508, y);
        out.chosen = running.state.chosen !== null && running.state.chosen[0] === 0;
        on("dblclick", 508, y);
        const s = running.state.chosen, now = running.state.view;
        out.inside = now.from <= s[3] && now.to >= s[3] + s[4] && now.to - now.from < 20;
        console.log(JSON.stringify(out));
        """,
        str(big),
    )
    assert abs(said["moved"] - 100 / 984) < 1e-9
    assert said["none"] is None
    assert said["chosen"]
    assert said["inside"]
