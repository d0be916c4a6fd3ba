"""The report's timeline: what its script is given, and what the script makes of it (run by node, where there is one)."""

import json
import shutil
import subprocess
from itertools import pairwise

import pytest
from hypothesis import given

from penstock.engine.lab.report.page import SCRIPTS, page
from penstock.engine.lab.report.timeline import meanings, packed, timeline_data
from penstock.engine.measure.records import KernelRow, Slice
from tests.engine.made import EVIL, profile, slices
from tests.house.source import SRC


def read_back(made):
    """The bars of the script's data: ``(lane, name, kind, start, end)`` in nanoseconds, by row."""
    rows = []
    for row in made["rows"]:
        at, found = 0, []
        for gap, length, name in zip(row["gaps"], row["lengths"], row["names"], strict=True):
            assert gap >= 0
            assert length >= 0
            word, kind = made["names"][name]
            found.append((made["lanes"][row["lane"]], word, made["kinds"][kind], at + gap, at + gap + length))
            at += gap + length
        rows.append(found)
    return rows


@given(slices)
def test_bars_of_a_row_do_not_overlap(found):
    """And none is lost, whatever overlaps, nor moved by more than a nanosecond's rounding."""
    placed = packed(found)
    assert len(placed) == len(found)
    rows = {}
    for row, one in placed:
        rows.setdefault(row, []).append(one)
    assert sorted(rows) == list(range(len(rows)))
    for held in rows.values():
        for before, after in pairwise(held):
            assert before.start_us + before.dur_us <= after.start_us
    back = sorted(bar for row in read_back(timeline_data(profile(timeline=tuple(found)))) for bar in row)
    true = sorted(
        (one.lane, one.name, one.kind, one.start_us * 1e3, (one.start_us + one.dur_us) * 1e3) for one in found
    )
    assert [bar[:3] for bar in back] == [bar[:3] for bar in true]
    for lane in {bar[0] for bar in back}:
        for at in (3, 4):
            told, meant = (sorted(bar[at] for bar in bars if bar[0] == lane) for bars in (back, true))
            assert all(abs(one - other) <= 1.01 for one, other in zip(told, meant, strict=True))


def test_the_device_stands_above_the_host_s_ops():
    """Stages first, then what the device did, then waits and launches, and the host's many rows last."""
    told = [
        ("host", "op"),
        ("host calls", "launch"),
        ("gpu stream 7", "kernel"),
        ("syncs", "sync"),
        ("host ranges", "stage"),
    ]
    many = tuple(Slice(lane=lane, name="n", start_us=0, dur_us=1, kind=kind) for lane, kind in told)
    made = timeline_data(profile(timeline=many))
    assert made["lanes"] == ["host ranges", "gpu stream 7", "syncs", "host calls", "host"]


def test_a_bar_says_what_its_kernel_means():
    """And which op of which module launched it; several are counted."""
    rows = (
        KernelRow(name="k", count=1, total_ms=1, means="GEMM", op="aten::mm", module="up"),
        KernelRow(name="k", count=1, total_ms=1, op="aten::bmm", module="up"),
        KernelRow(name="aten::mm", count=1, total_ms=1, op="aten::mm"),
        *(KernelRow(name="z", count=1, total_ms=1, module=f"layers.{i}") for i in range(4)),
    )
    assert meanings(rows) == {
        "k": "GEMM, launched by aten::mm, aten::bmm, in up",
        "z": "in layers.0 and 3 more modules",
    }
    made = timeline_data(profile())
    assert (
        made["means"][[name for name, _ in made["names"]].index(EVIL)]
        == "GEMM 128x64 bf16 tn, launched by aten::addmm, in unet"
    )


def test_of_too_many_bars_the_longest_are_kept(monkeypatch):
    """And how many were left out is said."""
    monkeypatch.setattr("penstock.engine.lab.report.timeline.MOST", 1000)
    many = tuple(Slice(lane="l", name="n", start_us=i * 10.0, dur_us=float(i % 10)) for i in range(1500))
    long = profile(timeline=many)
    made = timeline_data(long)
    (row,) = made["rows"]
    assert len(row["lengths"]) == 1000
    assert made["left_out"] == 500
    assert sum(one == 9000 for one in row["lengths"]) == sum(one.dur_us == 9.0 for one in many)
    assert "500 shorter ones were left out" in page(long)


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node runs the report's script")


def in_node(script, *files):
    """What the report's scripts say about themselves, run by node."""
    code = "\n".join((SRC / "engine/lab/report" / name).read_text(encoding="utf-8") for name in SCRIPTS)
    done = subprocess.run(
        ["node", "-e", f"{code}\nconst T = PenstockTimeline;\n{script}", *files],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


BIG = 99_999
"""Bars: a trace of a hundred thousand events."""


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A large timeline as the report's data: three lanes, each with a thread's nested bars in two rows."""
    many = tuple(
        Slice(
            lane=f"lane {i % 3}",
            name=f"n{i % 100}",
            start_us=(i // 3) * 2.0,
            dur_us=1.5,
            kind="op",
            depth=i // 3 % 2,
        )
        for i in range(BIG)
    )
    path = tmp_path_factory.mktemp("report") / "data.json"
    path.write_text(json.dumps(timeline_data(profile(timeline=many, kernels=()))), encoding="utf-8")
    return path


@needs_node
def test_the_timeline_draws_a_bounded_number_of_bars(big):
    """Of a hundred thousand at most about one a pixel and row; near enough each that is in view. Together they cover what they cover."""
    said = in_node(
        """
        const held = T.model(JSON.parse(require("fs").readFileSync(process.argv[1])));
        const width = 1000, all = { from: 0, to: held.end }, near = { from: 1000, to: 1100 };
        const found = (view) => held.rows.map((row) => T.visible(row, view, width));
        const inView = (row) => Array.from(row.start).filter((t, i) => row.end[i] > near.from && t < near.to).length;
        const area = (row, view) => T.visible(row, view, width).reduce((sum, [, w, , , cover]) => sum + w * cover, 0);
        console.log(JSON.stringify({ all: found(all).map((one) => one.length), near: found(near).map((one) => one.length),
          stood: found(all).map((one) => one.reduce((sum, [, , , n]) => sum + n, 0)), exact: held.rows.map(inView),
          rows: held.rows.map((row) => row.n), area: held.rows.map((row) => area(row, all) / width),
          true: held.rows.map((row) => row.sum[row.n] / held.end), count: held.count }));
        """,
        str(big),
    )
    assert said["count"] == BIG
    assert all(0 < count <= 1001 for count in said["all"])
    assert said["stood"] == said["rows"]  # each bar is in one of the columns
    assert said["near"] == said["exact"]
    assert sum(said["near"]) > 100
    assert said["area"] == pytest.approx(said["true"], rel=0.01)


@needs_node
def test_what_is_under_the_pointer_is_what_is_drawn(big):
    """A bar is found in its middle, and within two pixels of its ends, but not farther off."""
    said = in_node(
        """
        const held = T.model(JSON.parse(require("fs").readFileSync(process.argv[1])));
        const row = held.rows[3], view = { from: 2000, to: 2100 }, width = 1000, out = [];
        const at = (us) => { const hit = T.hit(held, view, width, (us - view.from) * 10, row.y + 5); return hit && hit[0] === row ? row.start[hit[1]] : null; };
        const i = T.above(row.end, 2040, 0, row.n), s = row.start[i], e = row.end[i];
        out.push(at((s + e) / 2) === s, at(s - 0.19) === s, at(e + 0.19) === s, at(e + 0.5), T.hit(held, view, width, 10, 3));
        console.log(JSON.stringify(out));
        """,
        str(big),
    )
    assert said == [True, True, True, None, None]


@needs_node
def test_a_measured_span_knows_each_lane_s_time(big):
    """The first rows' bars inside it, those at its ends in part."""
    said = in_node(
        """
        const held = T.model(JSON.parse(require("fs").readFileSync(process.argv[1])));
        console.log(JSON.stringify([T.within(held, 4.5, 12.5), T.within(held, 1.6, 1.9)]));
        """,
        str(big),
    )
    assert said[0] == [
        {"name": f"lane {i}", "us": pytest.approx(1 + 1.5 + 0.5), "count": 3} for i in range(3)
    ]
    assert [one["us"] for one in said[1]] == [0, 0, 0]


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
        out.push([T.tick(1500, 500, 8000), T.tick(1200000, 100000, 1.3e6), T.tick(4.2, 0.1, 9), T.tick(2e6, 1e6, 9e6)]);
        console.log(JSON.stringify(out));
        """
    )
    assert said == [
        True,
        ["1.500 µs", "1.500 ms", "2.500 s", 200],
        ["1.5 ms", "1,200 ms", "4.2 µs", "2 s"],
    ]


STUB = """
const listeners = {}, drawn = [];
const pen = new Proxy({}, { get: (_, name) => name === "fillRect" ? (...a) => drawn.push(a) : () => ({ width: 40 }), set: () => true });
const element = (id, more) => ({ id, style: {}, dataset: {}, value: "", textContent: "", clientWidth: 1000, clientHeight: 300, width: 0, height: 0,
  scrollTop: 0, offsetWidth: 200, offsetHeight: 40, hidden: true,
  addEventListener: (kind, act) => { listeners[id + ":" + kind] = act; }, getContext: () => pen, focus() {}, setPointerCapture() {},
  getBoundingClientRect: () => ({ left: 0, top: 0, width: 1000 }), ...more });
const byId = {};
for (const id of ["canvas", "said", "found", "find", "box", "filler", "tip", "shown"]) byId["timeline-" + id] = element("timeline-" + id);
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
        const key = (name, of = "canvas") => listeners[`timeline-${of}:keydown`]({ key: name, preventDefault() {} });
        key("0"); out.fit = span() === whole;
        key("+"); out.half = span() / whole;
        key("ArrowRight"); out.right = running.state.view.from > whole / 4;
        key("n"); key("n"); key("Enter"); out.one = span() < 10;
        out.said = byId["timeline-said"].textContent;
        const rows = running.held.rows.filter((row) => row.shown).length;
        key("c"); out.folded = rows - running.held.rows.filter((row) => row.shown).length;
        byId["timeline-find"].value = "N7"; listeners["timeline-find:input"]();
        out.found = byId["timeline-found"].textContent;
        const names = () => running.held.data.names[running.state.chosen[0].name[running.state.chosen[1]]][0];
        const starts = () => running.state.chosen[0].start[running.state.chosen[1]];
        key("0"); key("Escape"); key("Enter", "find"); out.first = [names(), starts()];
        key("Enter", "find"); out.second = [names(), starts() > out.first[1]];
        key("p"); out.back = starts() === out.first[1];
        console.log(JSON.stringify(out));
        """,
        str(big),
    )
    assert 10 < said["drawn"] < 8000
    assert said["page"] == [0, True]
    assert said["near"] == [1, True]
    assert said["fit"]
    assert said["half"] == 0.5
    assert said["right"]
    assert said["one"]
    assert said["said"].startswith("n")
    assert said["folded"] == 1
    assert said["found"] == "11,000 bars, 16.500 ms"  # n7, n70 to n79
    assert said["first"][0].startswith("n7")
    assert said["second"][0].startswith("n7")
    assert said["second"][1]
    assert said["back"]


@needs_node
def test_the_pointer_moves_and_chooses(big):
    """A drag pans by as much as it is long; a click chooses the bar under it; a double click shows it; Shift measures."""
    said = in_node(
        STUB
        + """
        const on = (kind, x, y, more) => listeners["timeline-canvas:" + kind](
          { clientX: x, clientY: y, pointerId: 1, button: 0, preventDefault() {}, ...more });
        const y = running.held.rows[0].y + 5, out = {};
        running.acts.in(); running.acts.in();
        const before = running.state.view;
        on("pointerdown", 500, y); on("pointermove", 400, y - 30); on("pointerup", 400, y - 30);
        out.moved = (running.state.view.from - before.from) / (before.to - before.from);
        out.down = byId["timeline-box"].scrollTop;
        byId["timeline-box"].scrollTop = 0;
        out.none = running.state.chosen;
        on("pointerdown", 508, y); on("pointerup", 508, y);
        out.chosen = running.state.chosen !== null && running.state.chosen[0] === running.held.rows[0];
        on("dblclick", 508, y);
        const [row, i] = running.state.chosen, now = running.state.view;
        out.inside = now.from <= row.start[i] && now.to >= row.end[i] && now.to - now.from < 20;
        on("pointermove", 508, y); out.tip = [byId["timeline-tip"].hidden, byId["timeline-tip"].textContent.split("\\n")[0]];
        out.name = running.held.data.names[row.name[i]][0];
        running.acts.fit();
        on("pointerdown", 10, y, { shiftKey: true }); on("pointermove", 500, y); on("pointerup", 500, y);
        out.span = running.state.span.to / running.held.end; out.said = byId["timeline-said"].textContent;
        const rows = running.held.rows.filter((row) => row.shown).length;
        on("pointerdown", 508, 35); on("pointerup", 508, 35); // the first lane's title
        out.folded = rows - running.held.rows.filter((row) => row.shown).length;
        console.log(JSON.stringify(out));
        """,
        str(big),
    )
    assert abs(said["moved"] - 100 / 980) < 1e-9
    assert said["down"] == 30
    assert said["none"] is None
    assert said["chosen"]
    assert said["inside"]
    assert said["tip"] == [False, said["name"]]
    assert said["span"] == pytest.approx(0.5)
    assert "lane 0: " in said["said"]
    assert "37.5 %" in said["said"]
    assert said["folded"] == 1
