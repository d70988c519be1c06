// One picture with its masks: what MaskViewer shows, and what PredictionBrowser opens.

const VIEWER_RIGHT = [0, 114, 178], VIEWER_WRONG = [230, 159, 0], VIEWER_UNSCORED = [235, 235, 235];
const VIEWER_IGNORE = 255, VIEWER_MAX_HEIGHT = 560, VIEWER_MAX_ZOOM = 64, VIEWER_CLOSER = 3;
const VIEWER_HELP = "Arrow keys move the crosshair (Shift: one pixel), + and − zoom, 0 shows all, [ and ] move the "
  + "swipe. Drag to pan, Ctrl + wheel to zoom, double click to look closer and to see all again.";

/** The colour of each id as the four bytes of a pixel, in a table for Uint32 memory. */
function viewerTable(classes, safe, hidden) {
  const bytes = new Uint8Array(256 * 4);
  for (const { id, colour, safe: other } of classes) {
    if (id !== VIEWER_IGNORE && !hidden.includes(id)) bytes.set([...(safe ? other : colour), 255], id * 4);
  }
  return new Uint32Array(bytes.buffer);  // ids without a colour, and ignored pixels, show the picture
}

// The loops over all pixels stand alone, so that the browser compiles them once for all viewers.
function viewerPaint(pixels, ids, table) {
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[ids[i]];
}

/** Right, wrong, not scored; pixels whose true class is hidden show the picture, but for the background. */
function viewerPaintErrors(pixels, ids, real, classes, hidden, colours) {
  const off = new Uint8Array(256);
  for (const { id, background } of classes) off[id] = hidden.includes(id) && !background;
  for (let i = 0; i < pixels.length; i++) {
    const id = real[i];
    pixels[i] = colours[off[id] ? 3 : id === VIEWER_IGNORE ? 2 : ids[i] === id ? 0 : 1];
  }
}

/** Shares of the picture by id: ids -> Float64Array(256). */
function viewerShares(ids) {
  const counts = new Uint32Array(256), shares = new Float64Array(256);
  for (let i = 0; i < ids.length; i++) counts[ids[i]]++;
  for (let id = 0; id < 256; id++) shares[id] = counts[id] / ids.length;
  return shares;
}

/** How many scored pixels are right, and how many wrong. */
function viewerErrors(ids, real) {
  let [right, scored] = [0, 0];
  for (let i = 0; i < real.length; i++) {
    const id = real[i];
    if (id !== VIEWER_IGNORE) scored++;
    if (id !== VIEWER_IGNORE && ids[i] === id) right++;
  }
  return [right, scored - right];
}

/**
 * Show a picture and its masks inside `host`.
 *
 * content: { size: [width, height], image, masks: [{ name, ids, confidence }], classes, truth }, see `viewer_content`.
 * state: opacity, mask, compare, swipe, hidden, errors, safe_colours, as from `stateOf`.
 * tool: what MaskPainter does with pointers and keys instead: help, down, move, up, cancel, double, key, draw.
 * Returns { ready, destroy, element, canvas, zoom, ids, changed }; the last two are for a tool.
 */
function createViewer(host, content, state, tool = null) {
  const [width, height] = content.size;
  const { classes, truth } = content;
  const names = content.masks.map((mask) => mask.name);
  const classOf = new Map(classes.map((one) => [one.id, one]));
  const view = { zoom: 1, x: width / 2, y: height / 2 };  // which point of the picture is in the middle of the canvas
  const fingers = new Map(), help = tool?.help ?? VIEWER_HELP;
  let picture = null, masks = [], at = null, byKeys = false, dragging = null, pinching = false;

  // ----------------------------------------------------------------------------------------------- what is on show
  const shown = () => (names.includes(state.get("mask")) ? state.get("mask")
    : names.find((name) => name !== truth) ?? names[0] ?? "");
  const compared = () => (names.includes(state.get("compare")) && state.get("compare") !== shown()
    ? state.get("compare") : "");
  const inErrors = (name) => Boolean(state.get("errors") && truth && name !== truth);

  // ---------------------------------------------------------------------------------------------------- elements
  const canvas = h("canvas", { class: "seglab-canvas", tabindex: 0, role: tool ? "application" : "img", title: help });
  const handle = h("div", { class: "seglab-swipe", tabindex: 0, role: "slider", "aria-label": "swipe between the masks",
    "aria-valuemin": 0, "aria-valuemax": 100 });
  const [left, right] = [h("span", { class: "seglab-tag" }), h("span", { class: "seglab-tag seglab-tag-right" })];
  const frame = h("div", { class: "seglab-frame" }, canvas, left, right, handle);
  const note = h("div", { class: "seglab-note", "aria-live": "polite" });
  const legend = h("div", { class: "seglab-legend", role: "group", "aria-label": "classes" });
  const options = names.map((name) => [name, name]);
  const mask = choice({ label: "mask", options, value: shown(), onchange: (name) => state.set("mask", name) });
  const compare = choice({ label: "swipe to", options: [["", "—"], ...options], value: compared(),
    title: "compare two masks: drag the line", onchange: (name) => state.set("compare", name) });
  const opacity = slider({ label: "opacity", value: state.get("opacity"), format: (v) => percent(v, 0),
    oninput: (value) => state.set("opacity", value) });
  const errors = toggle({ label: "errors", title: "blue is right, orange is wrong, grey is not scored",
    onchange: (on) => state.set("errors", on) });
  const safe = safeToggle(classes, (on) => state.set("safe_colours", on));
  const zoomed = h("output", { class: "seglab-zoom" });
  const bar = h("div", { class: "seglab-bar" },
    names.length > 1 ? mask : null, names.length > 1 ? compare : null, names.length ? opacity : null,
    truth && names.length > 1 ? errors : null, names.length ? safe : null,
    h("span", { class: "seglab-group" },
      button({ label: "−", title: "zoom out", onclick: () => zoom(1 / 1.5) }), zoomed,
      button({ label: "+", title: "zoom in", onclick: () => zoom(1.5) }),
      button({ label: "all", title: "show the whole picture", onclick: () => zoom(0) })));
  const element = h("div", { class: "seglab-viewer" }, bar, frame, note, names.length && !tool ? legend : null);
  host.append(element);

  // ----------------------------------------------------------------------------------------------------- painting
  const layers = new Map();  // name -> canvas of the picture's size, painted when it is needed and no longer true
  function layer(name) {
    if (!layers.has(name)) {
      const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
      const data = context.createImageData(width, height);
      layers.set(name, { context, data, pixels: new Uint32Array(data.data.buffer), painted: "" });
    }
    const one = layers.get(name), { context, data, pixels } = one;
    const wanted = `${inErrors(name) ? "errors" : state.get("safe_colours")} ${state.get("hidden")}`;
    if (one.painted === wanted) return context.canvas;
    const start = performance.now(), { ids } = masks[names.indexOf(name)];
    if (inErrors(name)) {
      const colours = [VIEWER_RIGHT, VIEWER_WRONG, VIEWER_UNSCORED].flatMap((colour) => [...colour, 255]);
      viewerPaintErrors(pixels, ids, masks[names.indexOf(truth)].ids, classes, state.get("hidden"),
        new Uint32Array(Uint8Array.from([...colours, 0, 0, 0, 0]).buffer));
    } else {
      viewerPaint(pixels, ids, viewerTable(classes, state.get("safe_colours"), state.get("hidden")));
    }
    context.putImageData(data, 0, 0);
    one.painted = wanted;
    canvas.paintMs = performance.now() - start;
    return context.canvas;
  }

  const scale = () => (canvas.width / width) * view.zoom;  // screen pixels a pixel of the picture
  const draw = onceAFrame(() => {
    if (!picture) return;
    const start = performance.now(), context = canvas.getContext("2d"), s = scale();
    const [x, y] = [canvas.width / 2 - view.x * s, canvas.height / 2 - view.y * s];
    const line = Math.round(state.get("swipe") * canvas.width);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(s, 0, 0, s, x, y);
    context.imageSmoothingEnabled = s < 1;  // pixels stay sharp when they are enlarged
    context.drawImage(picture, 0, 0);
    const [one, other] = [shown(), compared()];
    const put = (name, from, to) => {
      context.save();
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.beginPath();
      context.rect(from, 0, to - from, canvas.height);
      context.clip();
      context.setTransform(s, 0, 0, s, x, y);
      context.globalAlpha = state.get("opacity");
      context.drawImage(layer(name), 0, 0);
      context.restore();
    };
    if (one) put(one, 0, other ? line : canvas.width);
    if (other) put(other, line, canvas.width);
    if (byKeys && at) {
      const [cx, cy] = [x + (at.x + 0.5) * s, y + (at.y + 0.5) * s];
      context.setTransform(1, 0, 0, 1, 0, 0);
      for (const [colour, lineWidth] of [["#000", 3], ["#fff", 1]]) {
        context.strokeStyle = colour;
        context.lineWidth = lineWidth;
        context.beginPath();
        for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
          context.moveTo(cx + dx * (4 + s / 2), cy + dy * (4 + s / 2));
          context.lineTo(cx + dx * (16 + s / 2), cy + dy * (16 + s / 2));
        }
        context.stroke();
      }
    }
    tool?.draw(context, { s, x, y }, at);
    canvas.drawMs = performance.now() - start;
    canvas.draws = (canvas.draws || 0) + 1;
  });

  // -------------------------------------------------------------------------------------------------------- words
  const nameOf = (id) => classOf.get(id)?.name ?? `class ${id}`;
  function describe() {
    if (!at) {
      note.textContent = "";
    } else {
      const i = at.y * width + at.x;
      const parts = masks.map(({ name, ids, confidence, shares }) => {
        const sure = confidence ? ` (${confidence[i]} % sure)` : "";
        return `${name}: ${nameOf(ids[i])}${sure}, ${percent(shares[ids[i]])} of the picture`;
      });
      note.textContent = [`x ${at.x}, y ${at.y}`, ...parts].join("  ·  ");
    }
    const current = at && masks.length ? masks[names.indexOf(shown())].ids[at.y * width + at.x] : -1;
    for (const row of legend.querySelectorAll("[data-id]")) {
      row.classList.toggle("seglab-here", Number(row.dataset.id) === current);
    }
  }

  function writeLegend() {
    const name = shown(), hidden = state.get("hidden"), current = masks[names.indexOf(name)];
    if (!current) return;
    const key = (colour, text) => h("span", { class: "seglab-key" },
      h("span", { class: "seglab-swatch", style: { background: css(colour) } }), ` ${text}`);
    const rows = [];
    if (inErrors(name)) {
      const [good, bad] = current.counts;
      const scored = good + bad;
      const of = (count) => (scored ? percent(count / scored) : "nothing scored");
      rows.push(key(VIEWER_RIGHT, `right ${of(good)}`), key(VIEWER_WRONG, `wrong ${of(bad)}`),
        key(VIEWER_UNSCORED, `not scored ${percent(1 - scored / (width * height))} of the picture`));
    }
    const present = classes.filter(({ id }) => masks.some(({ shares }) => shares[id] > 0));
    for (const { id, name: text, colour, safe: other, background } of present) {
      const box = h("input", { type: "checkbox", onchange: () => {
        const now = state.get("hidden").filter((one) => one !== id);
        state.set("hidden", box.checked ? now : [...now, id].sort((a, b) => a - b));
      } });
      const always = background && inErrors(name);  // errors on the background always show
      box.checked = always || !hidden.includes(id);
      box.disabled = always || id === VIEWER_IGNORE;  // where it is ignored, nothing is painted
      rows.push(h("label", { class: "seglab-key", "data-id": id }, box,
        h("span", { class: "seglab-swatch", style: { background: css(state.get("safe_colours") ? other : colour) } }),
        ` ${text} `, h("span", { class: "seglab-share" }, percent(current.shares[id]))));
    }
    if (present.length > 2) {
      const all = classes.map(({ id }) => id).filter((id) => id !== VIEWER_IGNORE);  // in the next picture, too
      rows.push(h("span", { class: "seglab-group" },
        button({ label: "all", title: "show all classes", onclick: () => state.set("hidden", []) }),
        button({ label: "none", title: "hide all classes", onclick: () => state.set("hidden", all) })));
    }
    const focused = legend.contains(document.activeElement)
      ? [...legend.querySelectorAll("input, button")].indexOf(document.activeElement) : -1;
    legend.replaceChildren(...rows);
    legend.querySelectorAll("input, button")[focused]?.focus();  // the keyboard stays where it was
  }

  function refresh() {
    const [one, other] = [shown(), compared()], part = state.get("swipe");
    mask.show(one);
    compare.show(other);
    opacity.show(state.get("opacity"));
    errors.show(Boolean(state.get("errors")));
    safe?.show(Boolean(state.get("safe_colours")));
    handle.hidden = left.hidden = right.hidden = !other;
    const words = (name) => (inErrors(name) ? `errors of ${name}` : name);
    [left.textContent, right.textContent] = [words(one), words(other)];
    handle.style.left = `${part * 100}%`;
    handle.setAttribute("aria-valuenow", Math.round(part * 100));
    handle.setAttribute("aria-valuetext", `left ${words(one)}, right ${words(other)}, ${percent(part, 0)}`);
    canvas.setAttribute("aria-label", names.length
      ? `picture, ${width} by ${height} pixels, with ${words(one)}${other ? ` and ${words(other)}` : ""}. ${help}`
      : `picture, ${width} by ${height} pixels. ${help}`);
    zoomed.textContent = percent(canvas.clientWidth / width * view.zoom, 0);
    draw();
  }

  // -------------------------------------------------------------------------------------------------- moving about
  function keepInside() {
    view.zoom = Math.min(Math.max(view.zoom, 1), VIEWER_MAX_ZOOM);
    const [w, ht] = [width / view.zoom / 2, height / view.zoom / 2];
    view.x = Math.min(Math.max(view.x, w), width - w);
    view.y = Math.min(Math.max(view.y, ht), height - ht);
    canvas.classList.toggle("seglab-pannable", view.zoom > 1);
    refresh();
  }
  /** Zoom around a point of the picture that stays where it is; 0 shows everything. */
  function zoom(factor, around = byKeys && at ? { x: at.x + 0.5, y: at.y + 0.5 } : { x: view.x, y: view.y }) {
    const before = view.zoom;
    view.zoom = factor === 0 ? 1 : Math.min(Math.max(before * factor, 1), VIEWER_MAX_ZOOM);
    const share = before / view.zoom;
    view.x = around.x + (view.x - around.x) * share;
    view.y = around.y + (view.y - around.y) * share;
    keepInside();
  }
  /** The point of the picture under a pointer. */
  function under(event) {
    const box = canvas.getBoundingClientRect(), s = (box.width / width) * view.zoom;
    return { x: view.x + (event.clientX - box.left - box.width / 2) / s,
             y: view.y + (event.clientY - box.top - box.height / 2) / s };
  }
  function pointAt(point, keys = false) {
    const [x, y] = [Math.floor(point.x), Math.floor(point.y)];
    at = x >= 0 && y >= 0 && x < width && y < height ? { x, y } : null;
    if (keys || byKeys || tool) draw();
    byKeys = keys;
    describe();
  }
  const swipeTo = (part) => state.set("swipe", Math.min(Math.max(part, 0), 1));

  /** Two fingers zoom and pan: what was between them stays between them. */
  function pinch(event) {
    const between = () => {
      const [a, b] = fingers.values();
      return { clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2,
               apart: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) };
    };
    const old = between(), held = under(old);
    fingers.set(event.pointerId, event);
    const now = between();
    view.zoom = Math.min(Math.max(view.zoom * now.apart / Math.max(old.apart, 1), 1), VIEWER_MAX_ZOOM);
    const there = under(now);
    view.x += held.x - there.x;
    view.y += held.y - there.y;
    keepInside();
  }

  frame.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch") fingers.set(event.pointerId, event);
    pinching ||= fingers.size > 1;
    if (pinching) {
      tool?.cancel();
      dragging = null;
      return;
    }
    const onHandle = event.target === handle;
    if (tool && !onHandle && tool.down(under(event), event)) {
      canvas.setPointerCapture(event.pointerId);
      canvas.focus({ preventScroll: true });
      pointAt(under(event));
      return;
    }
    if (event.button !== 0) return;
    dragging = { swipe: onHandle, x: event.clientX, y: event.clientY, viewX: view.x, viewY: view.y };
    event.target.setPointerCapture(event.pointerId);  // who captures also gets the click: the canvas needs its own
    if (onHandle) event.preventDefault();
    (onHandle ? handle : canvas).focus({ preventScroll: true });
  });
  frame.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    if (pinching) {
      if (fingers.size === 2 && fingers.has(event.pointerId)) pinch(event);
      return;
    }
    tool?.move((event.getCoalescedEvents?.() ?? []).concat(event).map(under), event);
    if (dragging?.swipe) {
      swipeTo((event.clientX - box.left) / box.width);
    } else if (dragging && view.zoom > 1) {
      const s = (box.width / width) * view.zoom;
      view.x = dragging.viewX - (event.clientX - dragging.x) / s;
      view.y = dragging.viewY - (event.clientY - dragging.y) / s;
      keepInside();
    }
    pointAt(under(event));
  });
  for (const name of ["pointerup", "pointercancel"]) {
    frame.addEventListener(name, (event) => {
      dragging = null;
      if (!pinching) tool?.[name === "pointerup" ? "up" : "cancel"]();
      fingers.delete(event.pointerId);
      pinching &&= fingers.size > 0;
    });
  }
  frame.addEventListener("pointerleave", () => { if (!dragging) { at = null; byKeys = false; describe(); draw(); } });
  canvas.addEventListener("dblclick", (event) => {
    if (tool) tool.double();
    else zoom(view.zoom > 1 ? 0 : VIEWER_CLOSER, under(event));
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;  // the page scrolls, as everywhere else
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 300), under(event));
  }, { passive: false });
  canvas.addEventListener("blur", () => { if (byKeys) { at = null; byKeys = false; describe(); draw(); } });

  const swipeKeys = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1, "[": -0.02, "]": 0.02 };
  handle.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !(event.key in swipeKeys)) return;
    event.preventDefault();
    event.stopPropagation();  // arrow keys move cells of a notebook
    swipeTo(state.get("swipe") + swipeKeys[event.key]);
  });
  canvas.addEventListener("keydown", (event) => {
    if (tool?.key(event, byKeys ? at : null)) return;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const step = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(width, height) / 40 / view.zoom));
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (move) {
      const from = at ?? { x: Math.floor(view.x), y: Math.floor(view.y) };
      const to = { x: Math.min(Math.max(from.x + move[0] * step, 0), width - 1),
                   y: Math.min(Math.max(from.y + move[1] * step, 0), height - 1) };
      const [w, ht] = [width / view.zoom / 2, height / view.zoom / 2];  // the crosshair takes the view along
      view.x = Math.min(Math.max(view.x, to.x - w + 1), to.x + w);
      view.y = Math.min(Math.max(view.y, to.y - ht + 1), to.y + ht);
      pointAt(to, true);
      keepInside();
    } else if (event.key === "+" || event.key === "=") zoom(1.5);
    else if (event.key === "-") zoom(1 / 1.5);
    else if (event.key === "0") zoom(0);
    else if (event.key in swipeKeys && compared()) swipeTo(state.get("swipe") + swipeKeys[event.key]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  // ------------------------------------------------------------------------------------------------------ start, end
  const resized = new ResizeObserver(() => layout());
  function layout() {
    const room = element.clientWidth;
    if (!room) return;
    // Small pictures are enlarged up to four times; none is wider than the page or higher than a screen.
    const s = Math.min(room / width, VIEWER_MAX_HEIGHT / height, 4);
    fit(canvas, Math.max(1, Math.round(width * s)), Math.max(1, Math.round(height * s)));
    frame.style.width = canvas.style.width;
    refresh();
  }
  state.on(["opacity", "swipe"], refresh);
  state.on(["mask", "compare", "hidden", "errors", "safe_colours"], () => { writeLegend(); refresh(); describe(); });

  const ready = (async () => {
    try {
      const decoded = content.masks.map(async ({ name, ids, confidence }) => {
        const values = await unpack(ids);
        return { name, ids: values, shares: viewerShares(values),
                 confidence: confidence ? await unpack(confidence, width) : null };
      });
      [picture, ...masks] = await Promise.all([decode(content.image), ...decoded]);
      const real = masks[names.indexOf(truth)]?.ids;
      if (real) for (const one of masks) one.counts = viewerErrors(one.ids, real);
    } catch (error) {
      note.textContent = `This browser could not read the picture (${error.message}). A current one can.`;
      throw error;
    }
    resized.observe(element);
    writeLegend();
    layout();
  })();
  return {
    ready, element, canvas, zoom,
    ids: () => masks[0].ids,  // a tool paints on these, and says when they are
    changed(done) {
      if (layers.has(names[0])) layers.get(names[0]).painted = "";
      if (done) masks[0].shares = viewerShares(masks[0].ids);
      describe();
      draw();
    },
    destroy() {
      resized.disconnect();
      draw.cancel();
      picture?.close();
      picture = null;
      element.remove();
    },
  };
}
