"""The report in a real browser: no complaint on its console, nothing asked of a network, nothing over its edges, and it moves.

Where the machine has no Chromium these are skipped, with a line that says so; with PENSTOCK_NEED_BROWSER=1 they fail.
"""

import os
import re
import tempfile

import pytest

from penstock.engine.lab.report.page import page
from penstock.engine.measure.records import KernelRow, RooflinePoint, Slice
from tests.engine import browser
from tests.engine.made import EVIL, profile


@pytest.fixture(scope="module")
def chromium():
    path = browser.found()
    if path is None:
        assert not os.environ.get("PENSTOCK_NEED_BROWSER"), f"none of {browser.NAMES} is on the PATH"
        pytest.skip(
            f"NOT RUN: the report was opened in no browser, for none of {', '.join(browser.NAMES)} is on the PATH"
        )
    with tempfile.TemporaryDirectory(prefix="penstock-browser-", ignore_cleanup_errors=True) as folder:
        running = browser.Browser(path, folder)
        yield running
        running.close()


def crowded():
    """Many kernels with long names, points that lie together, a thousand bars."""
    names = [f"void at::native::kernel_{i}<float, {'long_' * (i % 7)}name>(int, float*)" for i in range(40)]
    return profile(
        kernels=tuple(
            KernelRow(name=name, count=i + 1, total_ms=50.0 / (i + 1), means=f"GEMM {i}" if i % 2 else "", op="aten::mm", module="unet.down_blocks.0")
            for i, name in enumerate((EVIL, *names))
        ),
        roofline=tuple(
            RooflinePoint(name=f"aten::op_{i % 5}", flops=1e9 * (1 + i % 3), bytes=1e7, time_ms=1 + i / 10, bound=("compute", "memory", "overhead")[i % 3])
            for i in range(20)
        ),
        timeline=tuple(
            Slice(lane="gpu stream 7" if i % 2 else "host", name=names[i % 40], start_us=i * 10.0, dur_us=8.0, kind="kernel" if i % 2 else "op", depth=i // 2 % 3)
            for i in range(1000)
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page(crowded()), encoding="utf-8")
    return path


OVER = """
(() => {
  const out = [], box = (e) => e.getBoundingClientRect(), shown = (e) => e.getClientRects().length;
  if (document.documentElement.scrollWidth > innerWidth) out.push(["page", document.documentElement.scrollWidth]);
  for (const cell of document.querySelectorAll(".treemap li")) {
    const room = box(cell);
    for (const words of cell.querySelectorAll("span")) {
      if (!shown(words)) continue;
      const at = box(words);
      if (at.left < room.left || at.right > room.right + 0.5 || at.bottom > room.bottom + 0.5) out.push(["cell", words.textContent]);
    }
  }
  for (const kind of [".spot-name", ".roof-name", ".tick.x", ".tick.y"]) {
    const boxes = [...document.querySelectorAll(kind)].map((e) => [box(e), e.textContent]);
    boxes.forEach(([a, one], i) => boxes.slice(i + 1).forEach(([b, other]) => {
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1) out.push([kind, one, other]);
    }));
    for (const [a, one] of boxes) if (a.right > innerWidth || a.left < 0) out.push([kind, one, "out of the window"]);
  }
  return out;
})()
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_complains_and_nothing_is_asked_of_a_network(chromium, report, dark):
    """Hostile names run nothing; the only address is the file's own."""
    shown = chromium.open(report, dark=dark)
    shown.painted()
    assert shown.complaints() == []
    assert shown.asked_for() == [report.as_uri()]
    assert shown.run("document.images.length") == 0
    assert shown.run("document.title") == "tiny-sdxl </title> - Penstock profile"
    assert EVIL.split("<!--")[0] in shown.run("document.querySelector('#kernels table').textContent")
    ground = shown.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in re.findall(r"\d+", ground)) < 200) == dark


@pytest.mark.parametrize("width", [1440, 800, 420])
def test_nothing_runs_over_its_edges(chromium, report, width):
    """At three widths: the page does not scroll sideways, a treemap's words stay in their cells, labels lie on no other."""
    shown = chromium.open(report, width=width)
    shown.painted()
    assert shown.run(OVER) == []
    named = shown.run(
        "[...document.querySelectorAll('.spot-name')].filter((one) => one.getClientRects().length).length"
    )
    assert (named > 2) == (width > 700)


def test_all_controls_have_names(chromium, report):
    """As assistive technology has them; and every part its heading."""
    shown = chromium.open(report)
    shown.call("Accessibility.enable")
    nodes = shown.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "searchbox", "application", "table", "region", "navigation", "list"}
    found = [one for one in nodes if one.get("role", {}).get("value") in roles and not one.get("ignored")]
    named = {
        role
        for one in found
        if (role := one["role"]["value"]) and one.get("name", {}).get("value", "").strip()
    }
    unnamed = [one["role"]["value"] for one in found if not one.get("name", {}).get("value", "").strip()]
    assert {"button", "link", "searchbox", "application", "table", "region", "navigation"} <= named
    assert set(unnamed) <= {"list"}
    assert shown.run("[...document.querySelectorAll('section')].every((one) => one.querySelector('h2'))")


def span(shown):
    """Microseconds of the run that the timeline says it shows, and from where."""
    shown.painted()
    told = shown.run("document.getElementById('timeline-shown').textContent")
    units = {"s": 1e6, "ms": 1e3, "µs": 1.0}
    length, begin = re.findall(r"([\d.]+) (s|ms|µs)", told)
    return float(length[0]) * units[length[1]], float(begin[0]) * units[begin[1]]


def test_wheel_drag_and_keys_move_the_timeline(chromium, report):
    """As a user's, through the browser's own events."""
    shown = chromium.open(report)
    x, y = shown.middle("#timeline-canvas")
    whole, begin = span(shown)
    assert begin == 0
    place = shown.run("scrollY")
    shown.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300, modifiers=2)  # Ctrl
    near, begin = span(shown)
    assert near < whole / 1.2
    assert shown.run("scrollY") == place
    assert begin + near / 2 == pytest.approx(whole / 2, rel=0.02)  # the pointer was in the middle
    shown.drag((x, y), (x - 200, y))
    moved, later = span(shown)
    assert moved == near
    assert later > begin
    shown.key("+")
    assert span(shown)[0] == pytest.approx(near / 2, rel=0.01)
    shown.key("ArrowLeft")
    assert span(shown)[1] < later + near / 4
    shown.key("0")
    assert span(shown) == (whole, 0)
    shown.click(x, y)  # has the focus now: the wheel alone zooms
    shown.mouse("mouseWheel", x, y, deltaX=0, deltaY=-100)
    assert span(shown)[0] < whole
    assert shown.complaints() == []


def test_bars_are_found_chosen_and_measured(chromium, report):
    """A search goes from bar to bar, a double click shows one, Shift and a drag measure; a lane folds."""
    shown = chromium.open(report)
    whole, _ = span(shown)
    x, y = shown.middle("#timeline-find")
    shown.click(x, y)
    shown.write("kernel_7<")
    assert shown.run("document.getElementById('timeline-found').textContent") == "25 bars, 200.0 µs"
    shown.key("Enter", text="\r")
    said = "document.getElementById('timeline-said').textContent"
    assert shown.run(said).startswith("void at::native::kernel_7<")
    assert "gpu stream 7 · kernel · 8.000 µs" in shown.run(said)
    box = shown.run("(() => { const b = document.getElementById('timeline-canvas').getBoundingClientRect(); return [b.left, b.top, b.width]; })()")  # fmt: skip
    left, top, width = box
    shown.drag((left + width * 0.25, top + 60), (left + width * 0.75, top + 60), modifiers=8)  # Shift
    assert "gpu stream 7: " in shown.run(said)
    shown.key("Enter")
    assert span(shown)[0] < whole * 0.65
    high = "document.getElementById('timeline-filler').offsetHeight"
    before = shown.run(high)
    shown.click(left + 60, top + 40)  # the first lane's title
    shown.painted()
    assert shown.run(high) < before
    assert shown.complaints() == []


def test_tables_sort_and_code_is_copied(chromium, report):
    """A click on a title orders by the figure, another turns it round; a name leads to its bars; the button says that it copied."""
    shown = chromium.open(report)
    counts = "[...document.querySelectorAll('#kernels tbody tr')].map((row) => Number(row.children[3].dataset.value))"
    title = (
        "[...document.querySelectorAll('#kernels th button.sort')].find((one) => one.textContent === 'count')"
    )
    shown.run(f"{title}.click()")
    found = shown.run(counts)
    assert found == sorted(found, reverse=True)
    shown.run(f"{title}.click()")
    assert shown.run(counts) == sorted(found)
    assert shown.run(f"{title}.parentElement.getAttribute('aria-sort')") == "ascending"
    shown.run("document.querySelector('.treemap [data-shows]').click()")
    shown.painted()
    assert shown.run("document.getElementById('timeline-found').textContent").startswith("25 bars")
    x, y = shown.middle(".copy")
    shown.click(x, y)
    told = "document.querySelector('.copy').textContent"
    shown.run(
        f"new Promise((done) => {{ const look = () => {told} === 'Copy' ? setTimeout(look, 20) : done(1); look(); }})"
    )
    assert shown.run(told) == "Copied"
    assert shown.run("navigator.clipboard.readText()") == shown.run(
        "document.getElementById('fix-1').textContent"
    )
    assert shown.complaints() == []
