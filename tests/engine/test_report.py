"""The HTML report: one file, no network, nothing that a name can break, pictures with the table's figures."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.engine.lab.report.markup import Html, data, tag
from penstock.engine.lab.report.page import KINDS, SCRIPTS, page
from penstock.engine.lab.report.roofline import HIGH, _label, axes, picture, roof, spots
from penstock.engine.lab.report.treemap import FAMILIES, HEIGHT, WIDTH, family, grouped, squarified
from penstock.engine.lab.report.waterfall import bars_of, merged, ticks
from penstock.engine.measure.records import UNATTRIBUTED, KernelRow, RooflinePoint, StageRow, Variant
from tests.engine.made import EVIL, profile
from tests.house.source import SRC

VOID = {"meta", "input", "br", "wbr"}
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
    assert EVIL in [name for name, _ in held["names"]]
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
    for name in (*SCRIPTS, "report.css"):
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
    assert used - {"--off"} <= defined  # which stands with each element that uses it
    assert defined == set(re.findall(r"(--[\w-]+):", dark))


def light_of(colour):
    """WCAG 2.2's relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """WCAG 2.2's contrast ratio."""
    light, dark = sorted((light_of(one), light_of(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_letters_can_be_read(scheme):
    """Every text on its ground has the contrast of WCAG's AA, 4.5; edges of controls and marks have 3."""
    own = (SRC / "engine/lab/report/report.css").read_text(encoding="utf-8")
    colours = dict(
        re.findall(r"(--[\w-]+): (#\w{6})", own.split("@media (prefers-color-scheme: dark)")[scheme])
    )
    fills = (*(name.partition(" ")[0].lower() for name in FAMILIES.values()), "other")
    pairs = [
        ("ink", "bg"),
        ("ink", "panel"),
        ("quiet", "bg"),
        ("quiet", "panel"),
        ("accent", "bg"),
        ("accent", "panel"),
    ]
    pairs += [
        ("warn-ink", "warn-bg"),
        *(("on-fill", fill) for fill in fills),
        *(("on-bar", f"k-{kind}") for kind in KINDS),
    ]
    for letters, ground in pairs:
        assert contrast(colours[f"--{letters}"], colours[f"--{ground}"]) >= 4.5, (letters, ground)
    marks = (
        "edge",
        "mark",
        "compute",
        "memory",
        "overhead",
        "unknown",
        "stage",
        "gateway",
        "ledger",
        "profile",
    )
    for mark in marks:
        assert contrast(colours[f"--{mark}"], colours["--panel"]) >= 3, mark


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
        name="void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits>",
        count=1,
        total_ms=1,
        op="aten::mm",
    )
    assert family(flash) == "attention"
    kinds = {
        "batched_transpose_32x32_half": "copy or layout",
        "triton_poi_fused_addmm_gelu_view_15": "pointwise",
        "what": "other",
    }
    assert {name: family(KernelRow(name=name, count=1, total_ms=1)) for name in kinds} == kinds
    assert family(KernelRow(name="triton_poi_fused_gelu_mul_0", count=1, total_ms=1)) == "pointwise"
    assert family(KernelRow(name="unheard of", count=1, total_ms=1, op="aten::addmm")) == "GEMM"


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


def test_the_roofs_say_where_they_come_from():
    """Measured ones are drawn through, a data sheet's dashed; both are named with their source, each ceiling with its dtype."""
    made = profile()
    sheet = replace(made.peaks, source="the maker's data sheet, 2022-09")
    own = replace(made.peaks, source="measured: GEMM of side 2048")
    for peaks, line, words in ((sheet, "roof sheet", "roofs of the data sheet: the maker&#x27;s data sheet, 2022-09"), (own, "roof measured", "roofs measured: GEMM of side 2048")):  # fmt: skip
        text = page(replace(made, peaks=peaks))
        assert text.count(f'class="{line}"') == 3  # two dtypes and the memory
        assert words in text
        assert "bf16 989 TFLOP/s" in text
        assert "memory 3.35 TB/s" in text
    assert "FLOP per second" in text
    assert "arithmetic intensity, FLOP per byte" in text


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=14))
def test_the_roofline_s_labels_do_not_overlap(places):
    """Each stands beside its point, inside the plot, and none on another; where there is no room there is none."""
    taken = []
    told = [bool(_label("aten::convolution", x, y, 12, taken)) for x, y in places]
    assert sum(told) == len(taken)
    for i, (left, top, right, bottom) in enumerate(taken):
        assert left >= 0
        assert top >= 0
        assert bottom <= HIGH
        for other in taken[i + 1 :]:
            assert left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom


def test_many_roofs_have_lines_of_their_own():
    """Six dtypes with near peaks: no name lies on another."""
    rates = {f"dtype{i}": 1e15 * (1 + i / 100) for i in range(6)}
    made = profile()
    text = picture(made.roofline, replace(made.peaks, flops_per_s=rates))
    tops = [float(top) for top in re.findall(r'class="roof-name" style="left:100.00%;top:([\d.]+)%"', text)]
    assert len(tops) == 6
    assert all(after - before >= 15 / HIGH * 100 - 0.02 for before, after in pairwise(tops))


def test_a_stage_s_bars_are_its_calls():
    """As the trace has them; where they are not known, one bar from its first call on. Two parts of one name keep their own."""
    known = StageRow(
        name="Linear", wall_ms=2, share=0.2, start_ms=1, parent="up", pieces=((1.0, 2.0), (5.0, 6.0))
    )
    other = StageRow(name="Linear", wall_ms=1, share=0.1, start_ms=8, parent="down")
    assert bars_of(known) == [(1, 2), (5, 6)]
    assert bars_of(other) == [(8, 9)]
    assert merged([(0, 1), (1.001, 2), (5, 6)], 0.01) == [(0, 2), (5, 6)]
    text = page(profile(stages=(known, other), wall_ms=10.0))
    paths = re.findall(r'<path d="([^"]*)" class="bar nested"/>', text)
    assert paths == ["M100.0 2h100.0v12H100.0zM500.0 2h100.0v12H500.0z", "M800.0 2h100.0v12H800.0z"]


@given(st.floats(min_value=1e-6, max_value=1e7))
def test_the_axis_has_few_round_figures(span_ms):
    """From 0 on, inside the axis, in equal steps of 1, 2 or 5."""
    found = ticks(span_ms)
    assert found[0] == 0
    assert 2 <= len(found) <= 6
    assert found[-1] <= span_ms * 1.001
    assert f"{found[1]:e}"[0] in "125"


def test_a_preflight_s_page_says_what_it_is():
    """Nothing was timed: points are hollow, the stages are at the roof, launching it is told beside; no captured run is spoken of."""
    text = page(
        profile(source="preflight", timing=None, timeline=(), facts={"launches": 99.0, "launch_ms": 0.495})
    )
    assert "hollow: not timed" in text
    assert "filled: timed" not in text
    assert "no program is faster on it" in text
    assert "captured run" not in text
    assert "99 launches of one op each" in text
    assert "Kernels to expect" in text


def test_a_cpu_s_page_speaks_of_no_device():
    """There is none beside the host: ops are told, and a variant that never pays says so."""
    made = profile()
    slow = Variant(name="compile", prepare_s=4.0, graphs=1, gain=0.7, kernels=made.kernels)
    text = page(
        replace(
            made, device=replace(made.device, name="cpu"), variants=(made.variants[0], slow, made.variants[2])
        )
    )
    assert "<dt>device busy</dt>" not in text
    assert "device time" not in text
    assert "16.2 % of 7.560 ms" in text
    assert '<td class="figure">never</td>' in text
    assert "Not run: No Triton here." in text
    assert ">Ops</h2>" in text
