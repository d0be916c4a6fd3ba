"use strict";
// The timeline's figures: rows of bars, what a view of them shows, and what lies under a point. It touches no page.
// Times are microseconds. A row's bars do not overlap, so that starts, ends and sums all rise and are searched by halves: what is
// drawn costs by the width of the screen, not by the number of bars.
const PenstockModel = (() => {
  const ROW = 18, LANE = 22, AXIS = 30, LEAST_US = 0.05;
  const NARROW = 1.5; // pixels; bars below are drawn together, one a pixel, as dense as they cover it

  // data as penstock.engine.lab.report.timeline writes it -> lanes with their rows
  function model(data) {
    const rows = data.rows.map((held, index) => {
      const n = held.names.length, row = { index, lane: held.lane, y: 0, shown: true, n, start: new Float64Array(n),
        end: new Float64Array(n), sum: new Float64Array(n + 1), name: Uint32Array.from(held.names), marks: null };
      let at = 0;
      for (let i = 0; i < n; i++) {
        at += held.gaps[i];
        row.start[i] = at / 1000;
        at += held.lengths[i];
        row.end[i] = at / 1000;
        row.sum[i + 1] = row.sum[i] + held.lengths[i] / 1000;
      }
      return row;
    });
    const end = rows.reduce((most, row) => Math.max(most, row.n ? row.end[row.n - 1] : 0), LEAST_US);
    const lanes = data.lanes.map((name, index) => ({ name, y: 0, open: true, rows: rows.filter((row) => row.lane === index) }));
    const held = { data, rows, lanes, end, height: 0, count: rows.reduce((sum, row) => sum + row.n, 0) };
    place(held);
    return held;
  }

  // where each lane and row stands; of a closed lane the first row alone
  function place(held) {
    let y = AXIS;
    for (const lane of held.lanes) {
      lane.y = y;
      y += LANE;
      lane.rows.forEach((row, index) => {
        row.shown = lane.open || index === 0;
        row.y = y;
        if (row.shown) y += ROW;
      });
      y += 4;
    }
    held.height = y + 6;
  }

  // index of the first value that is above `least`, from `low` on
  function above(values, least, low, high) {
    while (low < high) {
      const mid = (low + high) >> 1;
      if (values[mid] <= least) low = mid + 1; else high = mid;
    }
    return low;
  }

  // what a row shows of a view on `width` pixels: [x, w, bar, how many bars, how much of w they cover]
  function visible(row, view, width) {
    const out = [], scale = width / (view.to - view.from), { start, end, sum, n } = row;
    let i = above(end, view.from, 0, n);
    if (i > 0 && end[i - 1] === start[i - 1] && end[i - 1] === view.from) i -= 1;
    while (i < n && start[i] < view.to) {
      const x = (start[i] - view.from) * scale, w = (end[i] - start[i]) * scale;
      if (w >= NARROW) { out.push([x, w, i, 1, 1]); i += 1; continue; }
      const edge = Math.floor(x) + 1;
      let j = above(start, view.from + edge / scale - 1e-9, i + 1, n);
      if (j - 1 > i && (end[j - 1] - start[j - 1]) * scale >= NARROW) j -= 1;
      const cover = Math.min(1, (sum[j] - sum[i]) * scale);
      if (j - i === 1) out.push([x, Math.max(1, w), i, 1, Math.max(cover, 0.35)]);
      else out.push([edge - 1, 1, i, j - i, Math.max(cover, 0.25)]);
      i = j;
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
    if (size === 0) return "0 \u00b5s";
    if (size >= 1e6) return (us / 1e6).toFixed(3) + " s";
    if (size >= 1e3) return (us / 1e3).toFixed(3) + " ms";
    return us.toFixed(size < 10 ? 3 : 1) + " \u00b5s";
  }

  // a place on the axis, with as many digits as its step needs
  function tick(us, every, span) {
    const [unit, name] = span >= 2e6 ? [1e6, " s"] : span >= 2e3 ? [1e3, " ms"] : [1, " \u00b5s"];
    const digits = Math.max(0, Math.min(6, Math.ceil(-Math.log10(every / unit) - 1e-9)));
    return (us / unit).toFixed(digits).replace(/\B(?=(\d{3})+(?!\d))/, ",") + name;
  }

  // the row at a height, and in it the bar at (or within two pixels of) a place: [row, bar], or null
  function rowAt(held, y) {
    return held.rows.find((row) => row.shown && y >= row.y && y < row.y + ROW) || null;
  }

  function hit(held, view, width, x, y) {
    const row = rowAt(held, y);
    if (!row || !row.n) return null;
    const scale = width / (view.to - view.from), at = view.from + x / scale;
    const after = above(row.start, at, 0, row.n);
    let best = null, nearest = 2.001;
    for (const i of [after - 1, after]) {
      if (i < 0 || i >= row.n) continue;
      const off = Math.max(0, row.start[i] - at, at - row.end[i]) * scale;
      if (off < nearest) { best = [row, i]; nearest = off; }
    }
    return best;
  }

  // bars of which a search has found the name: their number, their sum, and running counts for the rows
  function search(held, matches) {
    let count = 0, sum = 0;
    for (const row of held.rows) {
      row.marks = matches ? new Uint32Array(row.n + 1) : null;
      if (!matches) continue;
      for (let i = 0; i < row.n; i++) {
        const is = matches.has(row.name[i]);
        row.marks[i + 1] = row.marks[i] + (is ? 1 : 0);
        if (is) { count += 1; sum += row.end[i] - row.start[i]; }
      }
    }
    return { count, sum };
  }

  // the next bar (by start, over all rows) that the search has found, after (or before) a time: [row, bar], or null
  function nextFound(held, from, by) {
    let best = null;
    for (const row of held.rows) {
      if (!row.marks || !row.marks[row.n]) continue;
      const at = above(row.start, by > 0 ? from : from - 1e-9, 0, row.n);
      if (by > 0 && row.marks[row.n] > row.marks[at]) {
        const i = above(row.marks, row.marks[at], at, row.n + 1) - 1;
        if (!best || row.start[i] < best[0].start[best[1]]) best = [row, i];
      } else if (by < 0 && row.marks[above(row.start, from - 1e-9, 0, row.n)] > 0) {
        const upto = above(row.start, from - 1e-9, 0, row.n), i = above(row.marks, row.marks[upto] - 1, 0, upto + 1) - 1;
        if (!best || row.start[i] > best[0].start[best[1]]) best = [row, i];
      }
    }
    return best;
  }

  // each lane's time within a span, by its first row, which holds what nothing of the lane is around
  function within(held, from, to) {
    return held.lanes.map((lane) => {
      const row = lane.rows[0];
      if (!row) return { name: lane.name, us: 0, count: 0 };
      const low = above(row.end, from, 0, row.n), high = Math.max(low, above(row.start, to, 0, row.n));
      let us = row.sum[high] - row.sum[low];
      if (high > low) us -= Math.max(0, from - row.start[low]) + Math.max(0, row.end[high - 1] - to);
      return { name: lane.name, us, count: high - low };
    });
  }

  return { ROW, LANE, AXIS, LEAST_US, model, place, above, visible, clamp, zoom, pan, step, time, tick, rowAt, hit, search, nextFound, within };
})();
