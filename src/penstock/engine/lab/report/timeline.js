// The timeline itself: a canvas as large as its box, which draws what is in view of the rows; wheel, drag, buttons, keys, search.
const PenstockTimeline = (() => {
  const M = PenstockModel, GUTTER = 10;

  function start(document, window) {
    const byId = (id) => document.getElementById(id), canvas = byId("timeline-canvas");
    if (!canvas) return null;
    const held = M.model(JSON.parse(byId("timeline-data").textContent));
    const box = byId("timeline-box"), filler = byId("timeline-filler"), tip = byId("timeline-tip");
    const said = byId("timeline-said"), found = byId("timeline-found"), shown = byId("timeline-shown"), find = byId("timeline-find");
    const { names, kinds, means } = held.data;
    const kindOf = (row, i) => kinds[names[row.name[i]][1]], nameOf = (row, i) => names[row.name[i]][0];
    const state = { view: { from: 0, to: held.end }, chosen: null, matches: null, drag: null, asked: false, span: null, draws: 0 };
    let paint = null;

    function colours() {
      const style = window.getComputedStyle(document.documentElement), of = (name) => style.getPropertyValue(name).trim();
      return { names: names.map(([, kind]) => of("--k-" + kinds[kind]) || of("--k-op")), ink: of("--ink"), quiet: of("--quiet"),
        line: of("--line"), panel: of("--panel"), band: of("--bg"), mark: of("--mark"), fill: of("--on-bar"), accent: of("--accent") };
    }

    const inner = () => Math.max(1, canvas.clientWidth - 2 * GUTTER);
    const across = (us) => GUTTER + (us - state.view.from) / (state.view.to - state.view.from) * inner();

    function fitted() {
      filler.style.height = held.height + "px";
      const width = box.clientWidth, height = Math.min(box.clientHeight, held.height), ratio = window.devicePixelRatio || 1;
      const w = Math.round(width * ratio), h = Math.round(height * ratio);
      canvas.style.height = height + "px";
      if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
      return { width, height, ratio };
    }

    function draw() {
      state.asked = false;
      state.draws += 1;
      paint = paint || colours();
      const { width, height, ratio } = fitted(), pen = canvas.getContext("2d"), top = box.scrollTop;
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.globalAlpha = 1;
      pen.fillStyle = paint.panel;
      pen.fillRect(0, 0, width, height);
      pen.font = "11px system-ui, sans-serif";
      pen.textBaseline = "middle";
      for (const lane of held.lanes) head(pen, lane, lane.y - top, width);
      grid(pen, height);
      for (const row of held.rows) if (row.shown && row.y - top < height && row.y - top + M.ROW > M.AXIS) bars(pen, row, row.y - top);
      if (state.span) spanned(pen, height);
      axis(pen, width);
      const { from, to } = state.view;
      shown.textContent = M.time(to - from) + " from " + M.time(from);
    }

    function head(pen, lane, y, width) {
      pen.fillStyle = paint.band;
      pen.fillRect(0, y, width, M.LANE - 2);
      pen.fillStyle = paint.ink;
      const more = lane.rows.length > 1 ? (lane.open ? "\u25be " : "\u25b8 ") : "";
      pen.fillText(more + lane.name + (lane.open || !more ? "" : "  (" + lane.rows.length + " rows)"), GUTTER, y + M.LANE / 2 - 1);
    }

    function ticks(act) {
      const { from, to } = state.view, every = M.step(to - from, inner() / 110);
      for (let k = Math.ceil(from / every - 1e-9); k * every <= to + 1e-9; k++) act(k * every, every);
    }

    function grid(pen, height) {
      pen.fillStyle = paint.line;
      ticks((t) => pen.fillRect(Math.round(across(t)), M.AXIS, 1, height));
    }

    // drawn last, over what has been scrolled under it; the strip below the figures is the whole run, with the view in it
    function axis(pen, width) {
      pen.fillStyle = paint.panel;
      pen.fillRect(0, 0, width, M.AXIS);
      pen.fillStyle = paint.quiet;
      ticks((t, every) => {
        const words = M.tick(t, every, held.end), at = across(t), size = pen.measureText(words).width;
        pen.fillText(words, Math.min(at - 1, width - GUTTER - size), 11);
      });
      pen.fillStyle = paint.line;
      pen.fillRect(GUTTER, M.AXIS - 8, inner(), 5);
      pen.fillStyle = paint.accent;
      const share = inner() / held.end;
      pen.fillRect(GUTTER + state.view.from * share, M.AXIS - 8, Math.max(3, (state.view.to - state.view.from) * share), 5);
    }

    function bars(pen, row, y) {
      const width = inner();
      let [block, from, to, shade] = [null, 0, 0, 1]; // neighbours of one look are one rectangle
      const flush = () => {
        if (block === null) return;
        pen.globalAlpha = shade;
        pen.fillStyle = block;
        pen.fillRect(GUTTER + from, y + 1, to - from, M.ROW - 2);
        block = null;
      };
      const lettered = [];
      for (const [x, w, i, count, cover] of M.visible(row, state.view, width)) {
        const is = !row.marks || row.marks[i + count] > row.marks[i];
        const left = Math.max(x, -2), right = Math.min(x + (row.marks && is ? Math.max(w, 2) : w), width + 2);
        const alpha = (is ? 1 : 0.15) * Math.ceil((row.marks && is ? 1 : cover) * 4) / 4, colour = paint.names[row.name[i]];
        if (block !== colour || shade !== alpha || left > to + 0.01 || w >= 3) flush();
        if (block === null) { block = colour; from = left; shade = alpha; }
        to = w >= 6 ? right - 0.5 : right; // a hair between bars that touch
        if (right - left > 30) lettered.push([left, right, i, is]);
      }
      flush();
      for (const [left, right, i, is] of lettered) {
        const at = Math.max(left, 0), words = cut(pen, nameOf(row, i), Math.min(right, width) - at - 7);
        pen.globalAlpha = is ? 1 : 0.35;
        pen.fillStyle = paint.fill;
        pen.fillText(words, GUTTER + at + 4, y + M.ROW / 2 + 0.5);
      }
      pen.globalAlpha = 1;
      if (state.chosen && state.chosen[0] === row) {
        const i = state.chosen[1], left = Math.max(across(row.start[i]), 0), right = Math.min(across(row.end[i]), width + 2 * GUTTER);
        pen.lineWidth = 2;
        pen.strokeStyle = paint.mark;
        if (right >= 0 && left <= width + 2 * GUTTER) pen.strokeRect(left - 1, y + 1, Math.max(right - left, 2) + 2, M.ROW - 2);
      }
    }

    // a name that fits, with an ellipsis where it did not
    function cut(pen, name, room) {
      const size = pen.measureText(name).width;
      if (size <= room) return name;
      let letters = Math.floor(name.length * room / size);
      while (letters > 0 && pen.measureText(name.slice(0, letters) + "\u2026").width > room) letters -= 1;
      return letters > 1 ? name.slice(0, letters) + "\u2026" : "";
    }

    function spanned(pen, height) {
      const left = across(state.span.from), right = across(state.span.to);
      pen.globalAlpha = 0.18;
      pen.fillStyle = paint.accent;
      pen.fillRect(left, M.AXIS, Math.max(1, right - left), height);
      pen.globalAlpha = 1;
      pen.fillRect(left, M.AXIS, 1, height);
      pen.fillRect(right, M.AXIS, 1, height);
    }

    function ask() {
      if (state.asked) return;
      state.asked = true;
      window.requestAnimationFrame(draw);
    }

    function show(view) { state.view = view; ask(); }

    // [what, where and how long, what the name says]
    function words([row, i]) {
      const us = row.end[i] - row.start[i];
      return [nameOf(row, i), held.lanes[row.lane].name + " \u00b7 " + kindOf(row, i) + " \u00b7 " + M.time(us) + " from " + M.time(row.start[i]),
        means[row.name[i]] || ""];
    }

    function choose(bar) {
      state.chosen = bar;
      state.span = null;
      said.textContent = bar ? words(bar).filter((one) => one).join("\n") : "";
      if (bar) seen(bar[0]);
      ask();
    }

    // the row is scrolled to, below the axis; a closed lane is opened
    function seen(row) {
      const lane = held.lanes[row.lane];
      if (!row.shown) { lane.open = true; M.place(held); fitted(); }
      const top = row.y - M.AXIS - M.LANE, bottom = row.y + M.ROW + 6 - box.clientHeight;
      if (box.scrollTop > top) box.scrollTop = top; else if (box.scrollTop < bottom) box.scrollTop = bottom;
    }

    function onto(from, to) {
      const margin = Math.max((to - from) * 0.1, M.LEAST_US);
      show(M.clamp({ from: from - margin, to: to + margin }, held.end));
    }

    function into([row, i]) {
      const half = Math.max((state.view.to - state.view.from) / 2, row.end[i] - row.start[i]), middle = (row.start[i] + row.end[i]) / 2;
      if (row.start[i] < state.view.from || row.end[i] > state.view.to) show(M.clamp({ from: middle - half, to: middle + half }, held.end));
    }

    // from bar to bar: along those that the search has found, else along the row
    function next(by) {
      let bar = null;
      const now = state.chosen;
      if (state.matches) bar = M.nextFound(held, now ? now[0].start[now[1]] : by > 0 ? -1 : Infinity, by);
      else if (now) bar = [now[0], Math.min(Math.max(now[1] + by, 0), now[0].n - 1)];
      else if (held.rows.length && held.rows[0].n) bar = [held.rows[0], 0];
      if (!bar) return;
      choose(bar);
      into(bar);
    }

    function measure() {
      const { from, to } = state.span, share = (us) => (us / (to - from) * 100).toFixed(1) + " %";
      const parts = M.within(held, from, to).filter((one) => one.count);
      said.textContent = M.time(to - from) + " from " + M.time(from) + "\n" +
        parts.map((one) => one.name + ": " + M.time(one.us) + ", " + share(one.us)).join(" \u00b7 ");
    }

    const acts = {
      in: () => show(M.zoom(state.view, held.end, 0.5, 0.5)), out: () => show(M.zoom(state.view, held.end, 2, 0.5)),
      left: () => show(M.pan(state.view, held.end, -0.2)), right: () => show(M.pan(state.view, held.end, 0.2)),
      fit: () => show({ from: 0, to: held.end }),
    };
    const onto_ = () => {
      if (state.span) onto(state.span.from, state.span.to);
      else if (state.chosen) onto(state.chosen[0].start[state.chosen[1]], state.chosen[0].end[state.chosen[1]]);
    };
    const keys = { "+": acts.in, "=": acts.in, ArrowUp: acts.in, w: acts.in, "-": acts.out, ArrowDown: acts.out, s: acts.out,
      ArrowLeft: acts.left, a: acts.left, ArrowRight: acts.right, d: acts.right, 0: acts.fit, Home: acts.fit,
      n: () => next(1), p: () => next(-1), Enter: onto_, Escape: () => choose(null), c: () => fold(state.chosen ? held.lanes[state.chosen[0].lane] : null),
      PageDown: () => { box.scrollTop += box.clientHeight / 2; }, PageUp: () => { box.scrollTop -= box.clientHeight / 2; } };

    function fold(lane) {
      if (!lane || lane.rows.length < 2) return;
      lane.open = !lane.open;
      M.place(held);
      ask();
    }

    // the event's place: x from the first pixel of time, y in the rows, top on the canvas
    function place(event) {
      const edge = canvas.getBoundingClientRect(), top = event.clientY - edge.top;
      return { x: event.clientX - edge.left - GUTTER, y: top + box.scrollTop, top, inner: Math.max(1, edge.width - 2 * GUTTER) };
    }
    const when = (at) => state.view.from + at.x / at.inner * (state.view.to - state.view.from);
    const under = (at) => at.top < M.AXIS ? null : M.hit(held, state.view, at.inner, at.x, at.y);
    const laneAt = (at) => at.top < M.AXIS ? null : held.lanes.find((lane) => at.y >= lane.y && at.y < lane.y + M.LANE);

    function hover(at) {
      const bar = under(at);
      canvas.style.cursor = bar || laneAt(at) ? "pointer" : "grab";
      tip.hidden = !bar;
      if (!bar) return;
      tip.textContent = words(bar).filter((one) => one).join("\n");
      const room = canvas.clientWidth - tip.offsetWidth - 4, below = at.top + 18 + tip.offsetHeight <= canvas.clientHeight;
      tip.style.left = Math.max(4, Math.min(at.x + GUTTER + 12, room)) + "px";
      tip.style.top = Math.max(0, below ? at.top + 18 : at.top - tip.offsetHeight - 8) + "px";
    }

    canvas.addEventListener("wheel", (event) => {
      const at = place(event);
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        event.preventDefault();
        show(M.pan(state.view, held.end, (event.deltaX || event.deltaY) / at.inner));
      } else if (event.ctrlKey || event.metaKey || document.activeElement === canvas) {
        event.preventDefault();
        show(M.zoom(state.view, held.end, Math.exp(Math.max(-100, Math.min(100, event.deltaY)) / 250), at.x / at.inner));
      }
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const act = event.ctrlKey || event.metaKey || event.altKey ? null : keys[event.key];
      if (act) { event.preventDefault(); act(); }
    });
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      const at = place(event);
      canvas.focus({ preventScroll: true });
      tip.hidden = true;
      state.drag = { x: event.clientX, y: event.clientY, view: state.view, top: box.scrollTop, moved: false, from: event.shiftKey ? when(at) : null };
      if (canvas.setPointerCapture) canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const at = place(event), drag = state.drag;
      if (!drag) { hover(at); return; }
      const by = drag.x - event.clientX, down = drag.y - event.clientY;
      drag.moved = drag.moved || Math.abs(by) > 3 || Math.abs(down) > 3;
      if (!drag.moved) return;
      if (drag.from === null) {
        box.scrollTop = drag.top + down;
        show(M.pan(drag.view, held.end, by / at.inner));
        return;
      }
      const to = Math.min(Math.max(when(at), 0), held.end);
      state.chosen = null;
      state.span = { from: Math.min(drag.from, to), to: Math.max(drag.from, to) };
      measure();
      ask();
    });
    canvas.addEventListener("pointerup", (event) => {
      const at = place(event), drag = state.drag;
      state.drag = null;
      if (!drag || drag.moved) return;
      const bar = under(at), lane = bar ? null : laneAt(at);
      if (lane) fold(lane); else choose(bar);
    });
    canvas.addEventListener("pointercancel", () => { state.drag = null; });
    canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
    canvas.addEventListener("dblclick", (event) => {
      const bar = under(place(event));
      if (bar) { choose(bar); onto(bar[0].start[bar[1]], bar[0].end[bar[1]]); }
    });
    box.addEventListener("scroll", ask);
    for (const button of document.querySelectorAll("[data-does]")) button.addEventListener("click", acts[button.dataset.does]);

    function look(word, exactly) {
      const fits = exactly ? (name) => name === word : (name) => name.toLowerCase().includes(word.toLowerCase());
      state.matches = word ? new Set(names.flatMap(([name], i) => (fits(name) ? [i] : []))) : null;
      const { count, sum } = M.search(held, state.matches);
      found.textContent = state.matches ? count.toLocaleString("en") + (count === 1 ? " bar, " : " bars, ") + M.time(sum) : "";
      ask();
      return count;
    }
    find.addEventListener("input", () => look(find.value.trim(), false));
    find.addEventListener("keydown", (event) => {
      if (event.key === "Enter") { event.preventDefault(); next(event.shiftKey ? -1 : 1); }
    });
    // from a table or a picture: this name, its first bar
    function showName(name) {
      find.value = name;
      if (!look(name, true)) look(name, false);
      state.chosen = null;
      next(1);
    }

    window.addEventListener("resize", ask);
    if (window.ResizeObserver) new window.ResizeObserver(ask).observe(box);
    if (window.matchMedia) window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paint = null; ask(); });
    draw();
    return { state, held, draw, acts, keys, showName };
  }

  return { ...M, start };
})();
