// A film with its masks: frames are decoded ahead of the one on show, and only so many are kept.

const FILM_IGNORE = 255, FILM_AHEAD = 4, FILM_WIDTH = 760, FILM_HEIGHT = 480;
const FILM_KEPT = 96e6;  // bytes of decoded frames, at most
const FILM_SPEEDS = [0.25, 0.5, 1, 1.5, 2];
const FILM_HELP = "space: play or pause · ← →: a frame · Home, End · click the chart to jump";

/** Frames on demand: { get, promise, ahead, destroy }. get(i) gives {bitmap, prediction, truth}, or null; then came(i). */
function filmReel(model, film, came) {
  const [width, height] = film.size, cache = new Map();
  const room = Math.max(FILM_AHEAD + 4, Math.floor(FILM_KEPT / (width * height * 6)));
  const offsets = Object.fromEntries(Object.entries(film.offsets)
    .map(([name, view]) => [name, chartNumbers(view, Uint32Array)]));
  const part = (name, i) => {
    const all = model.get(name), [from, to] = offsets[name].slice(i, i + 2);
    return new DataView(all.buffer, all.byteOffset + from, to - from);
  };
  const close = (entry) => entry.ready?.bitmap.close();

  function load(i) {
    let entry = cache.get(i);
    cache.delete(i);
    if (!entry) {
      entry = { ready: null };
      const parts = [decode(part("jpegs", i)), unpack(part("ids", i))];
      if (film.truth) parts.push(unpack(part("truth_ids", i)));
      entry.promise = Promise.all(parts).then(([bitmap, prediction, truth]) => {
        if (cache.get(i) !== entry) return bitmap.close();  // thrown out in the meantime
        entry.ready = { bitmap, prediction, truth };
        came(i);
      });
    }
    cache.set(i, entry);  // last in, last out
    for (const [old, other] of cache) {
      if (cache.size <= room) break;
      cache.delete(old);
      close(other);
    }
    return entry;
  }
  return {
    get: (i) => load(i).ready,
    promise: (i) => load(i).promise,
    ahead(i) {
      for (let k = 1; k <= FILM_AHEAD; k++) if (!cache.has((i + k) % film.count)) load((i + k) % film.count);
      load(i);  // the one on show is the last to go
    },
    destroy() {
      cache.forEach(close);
      cache.clear();
    },
  };
}

/** Paint one frame's ids into the pixels of a layer (Uint32Array); returns nothing. */
function filmPaint(pixels, { prediction, truth }, film, state) {
  const word = (colour) => new Uint32Array(Uint8Array.from([...colour, 255]).buffer)[0];
  const hidden = state.get("hidden"), seen = Uint8Array.from({ length: 256 }, (_, id) => !hidden.includes(id));
  if (state.get("shown") === "errors" && film.truth) {
    for (const { id, background } of film.classes) seen[id] ||= background;  // errors on the background always show
    const [right, wrong, unscored] = [word(film.right), word(film.wrong), word(film.unscored)];
    for (let i = 0; i < pixels.length; i++) {
      const id = truth[i];
      pixels[i] = !seen[id] ? 0 : id === FILM_IGNORE ? unscored : prediction[i] === id ? right : wrong;
    }
    return;
  }
  const ids = state.get("shown") === "truth" && film.truth ? truth : prediction, table = new Uint32Array(256);
  for (const { id, colour, safe } of film.classes) {
    if (id !== FILM_IGNORE && seen[id]) table[id] = word(state.get("safe_colours") ? safe : colour);
  }
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[ids[i]];
}

/** The list of classes with their share of the frame, or their IoU in it: { element, draw(), show(frame) }. */
function filmClasses(film, tables, state) {
  const { classes } = film, cells = [];
  const title = h("span"), list = h("div", { class: "seglab-film-list", role: "group", "aria-label": "classes" });
  const all = button({ label: "show all", name: "show all", title: "switch all classes on",
    onclick: () => state.set("hidden", []) });
  const element = h("div", { class: "seglab-film-classes" },
    h("div", { class: "seglab-film-title" }, title, all), list);
  const key = (colour, name) => {
    const bar = h("span", { class: "seglab-film-bar", style: { background: css(colour) } });
    const value = h("span", { class: "seglab-film-value" });
    return [bar, value, h("span", { class: "seglab-swatch", style: { background: css(colour) } }),
      h("span", { class: "seglab-film-name", title: name }, name)];
  };

  function draw() {
    const hidden = state.get("hidden"), iou = state.get("chart") === "iou", errors = state.get("shown") === "errors";
    title.textContent = iou ? "IoU in this frame" : "share of this frame";
    all.style.visibility = hidden.length ? "visible" : "hidden";
    cells.length = 0;
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    list.replaceChildren();
    if (errors) {
      for (const [name, of] of [["right", (value) => value], ["wrong", (value) => 1 - value]]) {
        const [bar, value, swatch, text] = key(film[name], name);
        list.append(h("div", { class: "seglab-film-class seglab-film-score" }, swatch, text, value, bar));
        cells.push([bar, value, (frame) => of(tables.accuracy[frame])]);
      }
    }
    classes.forEach(({ id, name, colour, safe, background }, column) => {
      const [bar, value, swatch, text] = key(state.get("safe_colours") ? safe : colour, name);
      const box = id === FILM_IGNORE ? null : h("input", { type: "checkbox", "data-id": id, onchange: () => {
        const others = state.get("hidden").filter((other) => other !== id);
        state.set("hidden", box.checked ? others : [...others, id].sort((a, b) => a - b));
      } });
      const always = errors && background, off = hidden.includes(id) && !always;
      if (box) [box.checked, box.disabled] = [!off, always];
      list.append(h("label", { class: `seglab-film-class${off ? " seglab-film-off" : ""}` },
        box ?? h("span"), swatch, text, value, bar));
      if (box && focused === String(id)) box.focus();
      const table = iou ? tables.iou : tables[state.get("shown") === "truth" ? "truth" : "prediction"];
      cells.push([bar, value, (frame) => table[frame * classes.length + column]]);
    });
  }
  function show(frame) {
    for (const [bar, value, of] of cells) {
      const share = of(frame);
      value.textContent = Number.isNaN(share) ? "–" : percent(share);
      bar.style.width = `${(share || 0) * 100}%`;
    }
  }
  return { element, draw, show };
}

/** Counts the frames of a film while it plays, in one view only: the one in which play was pressed. */
function filmClock(film, state, shown) {
  const me = Math.random().toString(36).slice(2);
  let waiting = 0, last = 0, moved = 0, resume = false;
  const mine = () => state.get("clock") === me;
  const period = () => 1000 / (film.fps * state.get("speed"));

  function advance(now) {
    // A clock without a view (closed without a word, or on a page that is gone) is taken over.
    if (!mine() && now - moved > 2000 + 2 * period()) state.set("clock", me);
    if (!mine()) { last = now; return; }
    const due = Math.floor((now - last) / period());
    if (due < 1 || (!shown() && now - last < 1000)) return;  // a slow browser plays slower
    last = due > 8 ? now : last + due * period();  // no race after a stop of the whole page
    const next = state.get("frame") + (due > 8 ? 1 : due);
    if (next < film.count || state.get("loop")) return state.set("frame", next % film.count);
    state.set("frame", film.count - 1);
    pause();
  }
  function tick(now) {
    waiting = 0;
    if (state.get("playing")) advance(now);
    if (state.get("playing")) waiting = requestAnimationFrame(tick);  // last: a frame is drawn before the next is due
  }
  function run() {
    if (!state.get("playing") || waiting) return;
    if (!state.get("clock")) state.set("clock", me);  // Python pressed play: the first view to hear of it
    if (mine() && !state.get("loop") && state.get("frame") === film.count - 1) state.set("frame", 0);
    last = moved = performance.now();
    waiting = requestAnimationFrame(tick);
  }
  function play() {
    state.set("clock", me);
    state.set("playing", true);
  }
  function pause() {
    state.set("playing", false);
    state.set("clock", "");
  }
  /** While the pointer holds the film, it stands still. */
  function hold(on) {
    if (on) resume = state.get("playing");
    if (on && resume) pause();
    if (!on && resume) play();
    resume = on && resume;
  }
  state.on("playing", run);
  state.on("frame", () => { moved = performance.now(); });
  run();
  return {
    toggle: () => (state.get("playing") ? pause() : play()),
    pause,
    hold,
    destroy() {
      cancelAnimationFrame(waiting);
      if (state.get("playing") && mine()) pause();
    },
  };
}

export default {
  async render({ model, el }) {
    const state = stateOf(model), film = model.get("film"), tables = chartTables(film);
    const [width, height] = film.size, { count } = film;
    const root = stage(el, model.get("label"));
    root.classList.add("seglab-film");
    const icon = (name) => h("span", { class: `seglab-film-icon seglab-film-${name}` });
    const seconds = (frame) => `${(frame / film.fps).toFixed(1)} s`;
    const words = (frame) => `frame ${frame + 1} of ${count}, ${seconds(frame)}`;
    const seek = (frame) => state.set("frame", Math.min(count - 1, Math.max(0, frame)));
    const step = (by) => { clock.pause(); seek(state.get("frame") + by); };
    const setter = (name) => (value) => state.set(name, value);
    let painted = -1, stale = true, pointer = null;

    // -------------------------------------------------------------------------------------------------- elements
    const canvas = h("canvas", { role: "img", "aria-label": model.get("label"), title: "click to play or pause" });
    const tag = h("span", { class: "seglab-film-tag", hidden: true });
    const host = h("div", { class: "seglab-film-picture" }, canvas, tag);
    const list = filmClasses(film, tables, state);
    const playIcon = icon("play");
    const play = h("button", { type: "button", class: "seglab-button seglab-film-toggle", disabled: count < 2,
      onclick: () => clock.toggle() }, playIcon);
    const track = h("input", { type: "range", class: "seglab-film-track", min: 0, max: Math.max(1, count - 1), step: 1,
      "aria-label": "frame", disabled: count < 2, oninput: () => seek(Number(track.value)) });
    const clock = filmClock(film, state, () => painted === state.get("frame"));
    const chart = createChart(film, tables, state, { seek, hold: clock.hold, words });
    const time = h("span", { class: "seglab-film-time" });
    const speed = choice({ label: "speed", options: FILM_SPEEDS.map((s) => [String(s), `${s}×`]), value: "1",
      onchange: (value) => state.set("speed", Number(value)) });
    const loop = toggle({ label: "loop", title: "begin again at the end", onchange: setter("loop") });
    const shown = choice({ label: "show", options: ["prediction", "truth", "errors"].map((v) => [v, v]),
      value: "prediction", onchange: setter("shown"), title: "errors: blue is right, orange is wrong" });
    const measure = choice({ label: "chart", options: [["shares", "shares"], ["iou", "IoU"]], value: "shares",
      onchange: setter("chart"), title: "what the chart and the list of classes tell of each frame" });
    const opacity = slider({ label: "opacity", value: 0.5, format: (v) => percent(v, 0), oninput: setter("opacity") });
    const safe = safeToggle(film.classes, setter("safe_colours"));
    const move = (name, title, by) => h("button", { type: "button", class: "seglab-button seglab-film-step", title,
      "aria-label": title, onclick: () => step(by) }, icon(name));
    root.append(h("div", { class: "seglab-film-page" }, host, list.element,
      h("div", { class: "seglab-film-controls" },
        h("div", { class: "seglab-film-row" }, play, track), chart.element,
        h("div", { class: "seglab-bar" }, move("back", "a frame back", -1), move("forth", "a frame forth", 1), time,
          speed, loop),
        h("div", { class: "seglab-bar" }, film.truth ? shown : null, film.truth ? measure : null, opacity, safe),
        h("div", { class: "seglab-note" }, FILM_HELP))));

    // -------------------------------------------------------------------------------------------------- painting
    const layer = new OffscreenCanvas(width, height), layerContext = layer.getContext("2d");
    const data = layerContext.createImageData(width, height), pixels = new Uint32Array(data.data.buffer);
    const reel = filmReel(model, film, (frame) => { if (frame === state.get("frame")) draw(); });

    function paint(frame, ready) {
      const start = performance.now();
      if (painted !== frame || stale) {
        filmPaint(pixels, ready, film, state);
        layerContext.putImageData(data, 0, 0);
        [painted, stale] = [frame, false];
      }
      const context = canvas.getContext("2d");
      context.globalAlpha = 1;
      context.imageSmoothingEnabled = true;
      context.drawImage(ready.bitmap, 0, 0, canvas.width, canvas.height);
      context.globalAlpha = state.get("opacity");
      context.imageSmoothingEnabled = canvas.width < width;  // enlarged masks keep sharp borders
      context.drawImage(layer, 0, 0, canvas.width, canvas.height);
      canvas.dataset.frame = frame;
      canvas.paintMs = performance.now() - start;
      point(ready);
    }
    function tell(frame) {
      track.value = frame;
      track.setAttribute("aria-valuetext", words(frame));
      time.textContent = words(frame);
      list.show(frame);
      chart.show(frame);
    }
    const draw = onceAFrame(() => {
      const frame = Math.min(count - 1, Math.max(0, state.get("frame"))), ready = reel.get(frame);
      tell(frame);
      if (!ready) return;  // it calls back
      paint(frame, ready);
      reel.ahead(frame);
    });

    /** The class under the pointer. */
    function point(ready) {
      tag.hidden = !pointer || !ready;
      if (tag.hidden) return;
      const box = canvas.getBoundingClientRect();
      const [x, y] = [Math.floor((pointer[0] - box.left) / box.width * width),
        Math.floor((pointer[1] - box.top) / box.height * height)];
      if (x < 0 || y < 0 || x >= width || y >= height) { tag.hidden = true; return; }
      const at = y * width + x, one = (id) => film.classes.find((c) => c.id === id);
      const now = one((state.get("shown") === "truth" ? ready.truth : ready.prediction)[at]);
      const other = film.truth ? one((state.get("shown") === "truth" ? ready.prediction : ready.truth)[at]) : null;
      const colour = now[state.get("safe_colours") ? "safe" : "colour"];
      tag.replaceChildren(h("span", { class: "seglab-swatch", style: { background: css(colour) } }),
        ` ${now.name}`, other ? ` · ${state.get("shown") === "truth" ? "predicted" : "truth"}: ${other.name}` : "");
    }
    function fitted() {
      const most = Math.min(host.clientWidth, Math.max(width, FILM_WIDTH));
      const scale = Math.min(most / width, Math.max(height, FILM_HEIGHT) / height);
      fit(canvas, Math.max(1, Math.floor(width * scale)), Math.max(1, Math.floor(height * scale)));
      draw();
    }
    function settings() {
      const playing = state.get("playing");
      playIcon.className = `seglab-film-icon seglab-film-${playing ? "pause" : "play"}`;
      play.setAttribute("aria-label", playing ? "pause" : "play");
      play.title = playing ? "pause (space)" : "play (space)";
      speed.show(String(state.get("speed")));
      loop.show(state.get("loop"));
      shown.show(state.get("shown"));
      measure.show(state.get("chart"));
      opacity.show(state.get("opacity"));
      safe?.show(state.get("safe_colours"));
    }
    function refresh() {
      stale = true;
      settings();
      list.draw();
      chart.draw();
      draw();
    }

    // ---------------------------------------------------------------------------------------------------- events
    state.on("frame", draw);
    state.on(["playing", "speed", "loop"], settings);
    state.on("opacity", () => { settings(); draw(); });
    state.on(["hidden", "shown", "chart", "safe_colours"], refresh);
    track.addEventListener("pointerdown", () => clock.hold(true));
    for (const end of ["pointerup", "pointercancel", "blur"]) track.addEventListener(end, () => clock.hold(false));
    canvas.addEventListener("click", () => { play.click(); track.focus({ preventScroll: true }); });
    const hover = (event) => {
      pointer = event && [event.clientX, event.clientY];
      point(reel.get(state.get("frame")));
    };
    canvas.addEventListener("pointermove", hover);
    canvas.addEventListener("pointerleave", () => hover(null));
    root.addEventListener("keydown", (event) => {
      const { target, key } = event;
      if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      if (target.matches("select") || (target.matches("input[type=range]") && target !== track)) return;
      if (key === " " && target.matches("button, input[type=checkbox]")) return;  // presses it
      const act = { " ": () => play.click(), ArrowLeft: () => step(-1), ArrowRight: () => step(1), Home: () => seek(0),
        End: () => seek(count - 1) }[key];
      if (!act) return;
      event.preventDefault();
      act();
    });
    const watch = new ResizeObserver(fitted);
    refresh();
    await reel.promise(Math.min(count - 1, Math.max(0, state.get("frame"))));
    watch.observe(host);
    fitted();
    return () => {
      clock.destroy();
      watch.disconnect();
      draw.cancel();
      reel.destroy();
      state.forget();
    };
  },
};
