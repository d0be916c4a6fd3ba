"use strict";
// The report's timeline: bars on a canvas, zoomed by wheel, buttons and keys. What is drawn is found by binary search in each
// row, and bars narrower than a pixel are drawn once a pixel, so that 20,000 of them move at the screen's pace.
const PenstockTimeline = (() => {
  const ROW = 18, LANE = 20, AXIS = 24, GUTTER = 8, LEAST_US = 0.05;
  const TALLEST = 32000; // pixels of a canvas; browsers draw nothing on a taller one

  // data as penstock.engine.lab.report.timeline writes it -> rows with their slices, sorted by start
  function model(data) {
    const rows = data.rows.map((lane) => ({ lane, y: 0, slices: [] }));
    let end = 0;
    for (const s of data.slices) {
      rows[s[0]].slices.push(s);
      end = Math.max(end, s[3] + s[4]);
    }
    let y = AXIS, last = -1;
    const heads = [];
    for (const row of rows) {
      if (row.lane !== last) { heads.push({ lane: row.lane, y }); y += LANE; last = row.lane; }
      row.y = y;
      y += ROW;
    }
    return { data, rows, heads, end: Math.max(end, LEAST_US), height: y + 6 };
  }

  // index of the first slice of a row that ends after t; slices of a row do not overlap, so their ends rise, too
  function firstAfter(slices, t) {
    let low = 0, high = slices.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      if (slices[mid][3] + slices[mid][4] <= t) low = mid + 1; else high = mid;
    }
    return low;
  }

  // what a row shows of a view [from, to] on `width` pixels: [x, w, slice], at most about one a pixel
  function visible(slices, view, width) {
    const out = [], scale = width / (view.to - view.from);
    let drawn = -1;
    for (let i = firstAfter(slices, view.from); i < slices.length && slices[i][3] < view.to; i++) {
      const s = slices[i];
      const x = (s[3] - view.from) * scale, w = Math.max(1, s[4] * scale);
      if (x + w - drawn < 1) continue;
      out.push([x, w, s]);
      drawn = x + w;
    }
    return out;
  }

  function clamp(view, end) {
    const span = Math.min(Math.max(view.to - view.from, LEAST_US), end);
    const from = Math.min(Math.max(view.from, 0), end - span);
    return { from, to: from + span };
  }

  // zoom by `factor` (below 1 is nearer) so that the time at `share` of the width stays where it is
  function zoom(view, end, factor, share) {
    const at = view.from + (view.to - view.from) * share;
    const span = Math.min(Math.max((view.to - view.from) * factor, LEAST_US), end);
    return clamp({ from: at - span * share, to: at + span * (1 - share) }, end);
  }

  function pan(view, end, share) {
    const by = (view.to - view.from) * share;
    return clamp({ from: view.from + by, to: view.to + by }, end);
  }

  // a step of 1, 2 or 5 times a power of ten, about `most` of them in the view
  function step(span, most) {
    const rough = span / Math.max(1, most), power = Math.pow(10, Math.floor(Math.log10(rough)));
    for (const times of [1, 2, 5, 10]) if (power * times >= rough) return power * times;
    return power * 10;
  }

  function time(us) {
    const size = Math.abs(us);
    if (size >= 1e6) return (us / 1e6).toFixed(3) + " s";
    if (size >= 1e3) return (us / 1e3).toFixed(3) + " ms";
    return us.toFixed(size < 10 ? 3 : 1) + " \u00b5s";
  }

  function hit(held, view, width, x, y) {
    for (const row of held.rows) {
      if (y < row.y || y >= row.y + ROW) continue;
      for (const [left, w, s] of visible(row.slices, view, width)) if (x >= left - 1 && x <= left + w + 1) return s;
    }
    return null;
  }

  function start(document, window) {
    const canvas = document.getElementById("timeline-canvas");
    if (!canvas) return null;
    const held = model(JSON.parse(document.getElementById("timeline-data").textContent));
    const said = document.getElementById("timeline-said"), found = document.getElementById("timeline-found");
    const find = document.getElementById("timeline-find");
    const state = { view: { from: 0, to: held.end }, chosen: null, matches: null, drag: null, asked: false };
    const names = held.data.names, kinds = held.data.kinds;

    function colours() {
      const style = window.getComputedStyle(document.documentElement), of = (name) => style.getPropertyValue(name).trim();
      return { kinds: kinds.map((kind) => of("--k-" + kind) || of("--k-op")), ink: of("--ink"), quiet: of("--quiet"),
        line: of("--line"), panel: of("--panel"), mark: of("--mark"), fill: of("--on-fill") };
    }

    function draw() {
      state.asked = false;
      const width = canvas.clientWidth, ratio = Math.min(window.devicePixelRatio || 1, TALLEST / held.height), inner = Math.max(1, width - 2 * GUTTER);
      if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(held.height * ratio)) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(held.height * ratio);
        canvas.style.height = held.height + "px";
      }
      const pen = canvas.getContext("2d"), paint = colours();
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.fillStyle = paint.panel;
      pen.fillRect(0, 0, width, held.height);
      pen.font = "11px system-ui, sans-serif";
      pen.textBaseline = "middle";
      axis(pen, paint, inner);
      for (const head of held.heads) {
        pen.fillStyle = paint.quiet;
        pen.fillText(held.data.lanes[head.lane], GUTTER, head.y + LANE / 2);
      }
      pen.save();
      pen.beginPath();
      pen.rect(GUTTER, 0, inner, held.height);
      pen.clip();
      for (const row of held.rows) bars(pen, paint, row, inner);
      pen.restore();
    }

    function axis(pen, paint, inner) {
      const span = state.view.to - state.view.from, every = step(span, inner / 110);
      for (let t = Math.ceil(state.view.from / every) * every; t <= state.view.to; t += every) {
        const x = GUTTER + (t - state.view.from) / span * inner;
        pen.fillStyle = paint.line;
        pen.fillRect(x, 0, 1, held.height);
        pen.fillStyle = paint.quiet;
        pen.fillText(time(t), x + 4, AXIS / 2);
      }
    }

    function bars(pen, paint, row, inner) {
      for (const [x, w, s] of visible(row.slices, state.view, inner)) {
        const faded = state.matches && !state.matches.has(s[1]);
        const left = Math.max(x, -2), wide = Math.min(x + w, inner + 2) - left;
        pen.globalAlpha = faded ? 0.18 : 1;
        pen.fillStyle = paint.kinds[s[2]];
        pen.fillRect(GUTTER + left, row.y + 1, Math.max(wide, 0.6), ROW - 2);
        if (s === state.chosen) {
          pen.lineWidth = 2;
          pen.strokeStyle = paint.mark;
          pen.strokeRect(GUTTER + left, row.y + 1, Math.max(wide, 2), ROW - 2);
        }
        if (wide > 34) {
          const fits = Math.floor((wide - 8) / 6.2), name = names[s[1]];
          pen.fillStyle = paint.fill;
          pen.fillText(name.length > fits ? name.slice(0, Math.max(1, fits - 1)) + "\u2026" : name, GUTTER + left + 4, row.y + ROW / 2 + 1);
        }
        pen.globalAlpha = 1;
      }
    }

    function ask() {
      if (state.asked) return;
      state.asked = true;
      window.requestAnimationFrame(draw);
    }

    function show(view) { state.view = view; ask(); }

    function choose(s) {
      state.chosen = s;
      said.textContent = s ? names[s[1]] + "\n" + held.data.lanes[held.rows[s[0]].lane] + " \u00b7 " + kinds[s[2]] + " \u00b7 " +
        time(s[4]) + " from " + time(s[3]) : "";
      ask();
    }

    function onto(s) {
      const margin = Math.max(s[4] * 0.6, LEAST_US);
      show(clamp({ from: s[3] - margin, to: s[3] + s[4] + margin }, held.end));
    }

    function next(by) {
      const row = held.rows[state.chosen ? state.chosen[0] : 0];
      if (!row) return;
      const at = state.chosen ? row.slices.indexOf(state.chosen) + by : 0;
      const s = row.slices[Math.min(Math.max(at, 0), row.slices.length - 1)];
      choose(s);
      if (s[3] < state.view.from || s[3] + s[4] > state.view.to) {
        const half = Math.max((state.view.to - state.view.from) / 2, s[4]);
        show(clamp({ from: s[3] + s[4] / 2 - half, to: s[3] + s[4] / 2 + half }, held.end));
      }
    }

    const acts = {
      in: () => show(zoom(state.view, held.end, 0.5, 0.5)), out: () => show(zoom(state.view, held.end, 2, 0.5)),
      left: () => show(pan(state.view, held.end, -0.2)), right: () => show(pan(state.view, held.end, 0.2)),
      fit: () => show({ from: 0, to: held.end }),
    };
    const keys = { "+": acts.in, "=": acts.in, ArrowUp: acts.in, w: acts.in, "-": acts.out, ArrowDown: acts.out, s: acts.out,
      ArrowLeft: acts.left, a: acts.left, ArrowRight: acts.right, d: acts.right, 0: acts.fit, Home: acts.fit,
      n: () => next(1), p: () => next(-1), Enter: () => { if (state.chosen) onto(state.chosen); }, Escape: () => choose(null) };

    function place(event) {
      const box = canvas.getBoundingClientRect();
      return { x: event.clientX - box.left - GUTTER, y: event.clientY - box.top, inner: Math.max(1, box.width - 2 * GUTTER) };
    }

    canvas.addEventListener("wheel", (event) => {
      const at = place(event);
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        event.preventDefault();
        show(pan(state.view, held.end, (event.deltaX || event.deltaY) / at.inner));
      } else if (event.ctrlKey || event.metaKey || document.activeElement === canvas) {
        event.preventDefault();
        show(zoom(state.view, held.end, Math.exp(Math.max(-100, Math.min(100, event.deltaY)) / 250), at.x / at.inner));
      }
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const act = event.ctrlKey || event.metaKey || event.altKey ? null : keys[event.key];
      if (act) { event.preventDefault(); act(); }
    });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.focus({ preventScroll: true });
      state.drag = { x: event.clientX, view: state.view, moved: false };
      if (canvas.setPointerCapture) canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const at = place(event);
      if (state.drag) {
        const by = state.drag.x - event.clientX;
        state.drag.moved = state.drag.moved || Math.abs(by) > 3;
        show(pan(state.drag.view, held.end, by / at.inner));
        return;
      }
      const s = hit(held, state.view, at.inner, at.x, at.y);
      canvas.title = s ? names[s[1]] + ", " + time(s[4]) : "";
    });
    canvas.addEventListener("pointerup", (event) => {
      const at = place(event);
      if (state.drag && !state.drag.moved) choose(hit(held, state.view, at.inner, at.x, at.y));
      state.drag = null;
    });
    canvas.addEventListener("pointercancel", () => { state.drag = null; });
    canvas.addEventListener("dblclick", (event) => {
      const at = place(event), s = hit(held, state.view, at.inner, at.x, at.y);
      if (s) { choose(s); onto(s); }
    });
    for (const button of document.querySelectorAll("[data-does]")) button.addEventListener("click", acts[button.dataset.does]);
    find.addEventListener("input", () => {
      const word = find.value.trim().toLowerCase();
      state.matches = word ? new Set(names.flatMap((name, i) => (name.toLowerCase().includes(word) ? [i] : []))) : null;
      let count = 0, sum = 0;
      if (state.matches) for (const s of held.data.slices) if (state.matches.has(s[1])) { count += 1; sum += s[4]; }
      found.textContent = state.matches ? count + " bars, " + time(sum) : "";
      ask();
    });
    window.addEventListener("resize", ask);
    if (window.matchMedia) window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", ask);
    draw();
    return { state, held, draw, acts, keys };
  }

  function copying(document, window) {
    for (const button of document.querySelectorAll("[data-copies]")) {
      button.addEventListener("click", () => {
        const code = document.getElementById(button.dataset.copies);
        const done = () => { button.textContent = "Copied"; };
        if (window.navigator && window.navigator.clipboard) { window.navigator.clipboard.writeText(code.textContent).then(done, () => mark(code)); } else mark(code);
      });
    }
    function mark(element) { window.getSelection().selectAllChildren(element); }
  }

  return { model, firstAfter, visible, clamp, zoom, pan, step, time, hit, start, copying };
})();
if (typeof document !== "undefined") {
  PenstockTimeline.start(document, window);
  PenstockTimeline.copying(document, window);
}
