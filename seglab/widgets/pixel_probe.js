// What a network says about one pixel, and how far it looked.

const PROBE_BARS = 8, PROBE_IGNORE = 255, PROBE_MAX_HEIGHT = 520, PROBE_LOUPE = 15, PROBE_LOUPE_SIDE = 104;
const PROBE_HELP = "Click a pixel. Arrow keys move it by 1, with Shift by 10; Home goes to the middle.";
// The colours of "inferno", from the least to the most.
const PROBE_HEAT = [[0, 0, 4], [33, 12, 74], [87, 16, 110], [138, 34, 106], [188, 55, 84], [228, 90, 49], [249, 142, 9],
  [249, 203, 53], [252, 255, 164]];

/** A canvas with one colour for each value: Uint8Array -> OffscreenCanvas, with a table of [r, g, b, a] by value. */
function probePaint(values, width, height, table) {
  const target = new OffscreenCanvas(width, height), context = target.getContext("2d");
  const data = context.createImageData(width, height), pixels = new Uint32Array(data.data.buffer);
  const words = new Uint32Array(Uint8Array.from(table.flat()).buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = words[values[i]];
  context.putImageData(data, 0, 0);
  return target;
}

/** The most probable classes of a pixel: [{ id, share }], largest first. `values` are planes of bytes. */
function probeBars({ values, ids, kept, area }, index) {
  const rows = Array.from({ length: kept }, (_, i) => (
    { id: ids ? ids[i * area + index] : i, share: values[i * area + index] / 255 }));
  return rows.sort((a, b) => b.share - a.share || a.id - b.id).slice(0, PROBE_BARS);
}

/**
 * The theoretical receptive field of a pixel, in pixels of the picture: { left, top, right, bottom, text }, cut at the
 * edge. `reach` is [up, left, down, right] in pixels of the size at which the network works, null for up to the edge.
 */
function probeBox({ reach, size, seen }, [x, y]) {
  const side = (at, before, after, length, inside) => {
    const scale = length / inside, middle = at + 0.5;
    const [from, to] = [before === null ? 0 : Math.max(0, middle - (before + 0.5) * scale),
      after === null ? length : Math.min(length, middle + (after + 0.5) * scale)];
    const full = before === null || after === null ? null : Math.round((before + 1 + after) * scale);
    return { from, to, all: from <= 0 && to >= length, full, cut: full !== null && Math.round(to - from) < full };
  };
  const across = side(x, reach[1], reach[3], size[0], seen[0]), down = side(y, reach[0], reach[2], size[1], seen[1]);
  let text = "the whole picture";
  if (!across.all || !down.all) {
    const [w, ht] = [across, down].map(({ full, from, to }) => full ?? Math.round(to - from));
    text = `${w}×${ht} pixels${across.cut || down.cut ? ", cut off at the edge" : ""}`;
  }
  return { left: across.from, right: across.to, top: down.from, bottom: down.to, text };
}

async function createProbe(root, content, state) {
  const [width, height] = content.size, { step, classes, kept } = content;
  const [columns, rows] = [Math.ceil(width / step), Math.ceil(height / step)];
  const byId = new Map(classes.map((one) => [one.id, one])), count = classes.length - 1;  // without "ignored"
  const data = { kept, area: columns * rows, values: null, ids: null };
  let picture = null, mask = null, truth = null, base = null, maskLayer = null, heatLayer = null, heatPixel = "";
  let ended = false, asked = { pixel: "", time: 0 }, waiting = 0, dragging = false;

  const at = () => { const p = state.get("pixel"); return p.length === 2 ? p : [width >> 1, height >> 1]; };
  const indexOf = ([x, y]) => Math.floor(y / step) * columns + Math.floor(x / step);
  const colourOf = (id) => { const one = byId.get(id); return state.get("safe_colours") ? one.safe : one.colour; };

  // -------------------------------------------------------------------------------------------------------- elements
  const canvas = h("canvas", { tabindex: 0, role: "application", title: PROBE_HELP,
    "aria-label": `picture, ${width} by ${height} pixels. ${PROBE_HELP}` });
  const loupe = h("canvas", { "aria-hidden": "true" });
  const list = h("ul", { class: "seglab-probe-bars", "aria-label": "class probabilities" });
  const [where, real, sees] = [h("dd"), h("dd"), h("dd")];
  const note = h("div", { class: "seglab-note" });
  const spoken = h("div", { class: "seglab-probe-spoken", "aria-live": "polite" });  // what eyes read at the side
  const opacity = slider({ label: "overlay", value: state.get("opacity"), format: (v) => percent(v, 0),
    title: "opacity of the heat or the classes", oninput: (value) => state.set("opacity", value) });
  const toggles = [
    content.reach && ["receptive field", "show_field", "frame all that this pixel can depend on"],
    content.model && ["heat", "show_heat", "colour what this pixel does depend on; asks the kernel"],
    ["classes", "show_mask", "colour the predicted classes"],
  ].filter(Boolean).map(([label, name, title]) => {
    const element = toggle({ label, title, pressed: state.get(name), onchange: (on) => state.set(name, on) });
    return { element, name };
  });
  const safe = safeToggle(classes, (on) => state.set("safe_colours", on));
  if (safe) toggles.push({ element: safe, name: "safe_colours" });
  safe?.show(state.get("safe_colours"));
  const left = h("div", { class: "seglab-probe-picture" }, canvas);
  root.append(
    h("div", { class: "seglab-bar" }, ...toggles.map(({ element }) => element), opacity),
    h("div", { class: "seglab-probe" }, left,
      h("div", { class: "seglab-probe-side" },
        h("div", { class: "seglab-probe-facts" }, loupe,
          h("dl", {}, h("dt", {}, "pixel"), where, ...(content.truth ? [h("dt", {}, "in truth"), real] : []),
            ...(content.reach ? [h("dt", {}, "can depend on"), sees] : []))),
        list)),
    spoken, note);
  const bars = Array.from({ length: Math.min(PROBE_BARS, kept) + (count > Math.min(PROBE_BARS, kept) ? 1 : 0) }, () => {
    const row = { swatch: h("span", { class: "seglab-swatch" }), name: h("span", { class: "seglab-probe-name" }),
      fill: h("div", { class: "seglab-probe-fill" }), share: h("span", { class: "seglab-probe-percent" }) };
    row.element = h("li", {}, row.swatch, row.name, h("div", { class: "seglab-probe-track" }, row.fill), row.share);
    list.append(row.element);
    return row;
  });

  // -------------------------------------------------------------------------------------------------------- painting
  const showsHeat = () => state.get("show_heat") && heatLayer && heatPixel === String(at());
  function paintOver(context) {  // in coordinates of the picture
    context.globalAlpha = state.get("opacity");
    if (showsHeat()) context.drawImage(heatLayer, 0, 0, width, height);
    else if (state.get("show_mask")) {
      maskLayer ||= probePaint(mask, columns, rows, Array.from({ length: 256 }, (_, id) => (
        byId.has(id) && id !== PROBE_IGNORE && !byId.get(id).background ? [...colourOf(id), 255] : [0, 0, 0, 0])));
      context.imageSmoothingEnabled = false;
      context.drawImage(maskLayer, 0, 0, columns * step, rows * step);
    }
    context.globalAlpha = 1;
  }
  /** Lines that show on light and on dark: black, with white inside. `path` gets the context in screen pixels. */
  function outline(context, path) {
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    for (const [colour, thick] of [["#000", 3], ["#fff", 1.2]]) {
      context.strokeStyle = colour;
      context.lineWidth = thick * ratio;
      context.beginPath();
      path(context, ratio);
      context.stroke();
    }
  }
  const draw = onceAFrame(() => {
    if (!picture) return;
    const start = performance.now(), context = canvas.getContext("2d"), [x, y] = at();
    const s = canvas.width / width, box = content.reach ? probeBox(content, [x, y]) : null;
    if (!base || base.width !== canvas.width || base.height !== canvas.height) {  // once for each size
      base = new OffscreenCanvas(canvas.width, canvas.height);
      const paper = base.getContext("2d");
      paper.imageSmoothingEnabled = s * step < 1;
      paper.drawImage(picture, 0, 0, columns * step * s, rows * step * s);
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(base, 0, 0);
    context.setTransform(s, 0, 0, canvas.height / height, 0, 0);
    context.imageSmoothingEnabled = true;
    paintOver(context);
    const framed = box && state.get("show_field");
    if (framed) {
      outline(context, (c, ratio) => {  // a line's half inside, so that nothing is cut off at the edge
        const inset = 1.5 * ratio, wide = (box.right - box.left) * s, high = (box.bottom - box.top) * s;
        const grow = Math.min(wide, high) > 8 * ratio ? inset : -inset;
        c.rect(box.left * s + grow, box.top * s + grow, wide - 2 * grow, high - 2 * grow);
      });
    }
    outline(context, (c, ratio) => {
      const [cx, cy] = [(x + 0.5) * s, (y + 0.5) * s], gap = Math.max(5 * ratio, s), end = gap + 11 * ratio;
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        c.moveTo(cx + dx * gap, cy + dy * gap);
        c.lineTo(cx + dx * end, cy + dy * end);
      }
    });
    drawLoupe(x, y, framed ? box : null);
    canvas.drawMs = performance.now() - start;
    canvas.draws = (canvas.draws || 0) + 1;
  });
  /** 15×15 pixels around the marked one, enlarged. */
  function drawLoupe(x, y, box) {
    const context = loupe.getContext("2d"), cells = PROBE_LOUPE * step, s = loupe.width / cells;
    const [cx, cy] = [Math.floor(x / step) * step + step / 2, Math.floor(y / step) * step + step / 2];
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, loupe.width, loupe.height);
    const [dx, dy] = [loupe.width / 2 - cx * s, loupe.height / 2 - cy * s];
    context.setTransform(s, 0, 0, s, dx, dy);
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, 0, 0, columns * step, rows * step);
    paintOver(context);
    outline(context, (c) => c.rect(dx + (cx - step / 2) * s, dy + (cy - step / 2) * s, step * s, step * s));
    if (box) {
      outline(context, (c) => c.rect(dx + box.left * s, dy + box.top * s, (box.right - box.left) * s,
        (box.bottom - box.top) * s));
    }
  }

  // ----------------------------------------------------------------------------------------------------------- words
  function describe() {
    if (!picture) return;
    const p = at(), index = indexOf(p), found = probeBars(data, index), most = byId.get(found[0].id);
    where.textContent = `x ${p[0]}, y ${p[1]}`;
    const trueId = truth ? truth[index] : -1;
    if (truth) {
      const one = byId.get(trueId), verdict = trueId === PROBE_IGNORE ? "" : trueId === mask[index] ? " ✓" : " ✗";
      const swatch = h("span", { class: "seglab-swatch", style: { background: css(colourOf(trueId)) } });
      real.replaceChildren(swatch, ` ${one.name}${verdict}`);
    }
    let rest = 1;
    bars.forEach(({ element, swatch, name, fill, share }, i) => {
      const row = found[i], value = row ? row.share : Math.max(0, rest);
      rest -= value;
      const colour = row ? css(colourOf(row.id)) : "var(--faint)";
      element.classList.toggle("seglab-probe-rest", !row);
      element.classList.toggle("seglab-probe-true", Boolean(row) && row.id === trueId);
      element.dataset.id = row ? row.id : "";
      swatch.style.background = colour;
      swatch.style.visibility = row ? "" : "hidden";
      name.textContent = name.title = row ? byId.get(row.id).name : `${count - found.length} others`;
      fill.style.background = colour;
      fill.style.width = `${value * 100}%`;
      fill.style.visibility = value > 0 ? "" : "hidden";
      share.textContent = percent(value, 0);
    });
    const box = content.reach ? probeBox(content, p) : null;
    if (box) sees.textContent = box.text;
    spoken.textContent = `x ${p[0]}, y ${p[1]}: ${most.name} ${percent(found[0].share, 0)}`
      + `${truth ? `, in truth ${byId.get(trueId).name}` : ""}${box ? `, can depend on ${box.text}` : ""}.`;
    remark();
  }
  function remark() {
    const parts = [state.get("pixel").length ? "" : PROBE_HELP, content.problem
      && `The receptive field cannot be measured: ${content.problem}`];
    if (content.seen.length && content.seen[0] !== width) {
      parts.push(`The network works at ${content.seen.join("×")} pixels.`);
    }
    if (step > 1) parts.push(`Of this large picture, one in ${step} rows and columns is here.`);
    if (data.ids) parts.push(`Of ${count} classes, the ${kept} most probable of each pixel are here.`);
    if (state.get("show_heat")) {
      const heat = state.get("heat"), here = String(heat.pixel ?? "") === String(at());
      if (here && heat.error) parts.push(`No heat: ${heat.error}`);
      else if (here && heat.values) {
        parts.push(`Heat: how strongly each pixel moves the score of “${byId.get(heat.class).name}”; bright is most.`);
      } else parts.push(state.alive() ? "Heat: asking the kernel …" : "The heat needs the kernel, which is gone.");
    }
    note.textContent = parts.filter(Boolean).join(" ");
  }

  // ------------------------------------------------------------------------------------------------------------ heat
  /** Ask the kernel, a moment after the last move; one question at a time, as each costs two passes. */
  function wantHeat() {
    clearTimeout(waiting);
    if (!state.get("show_heat") || !content.model || !state.alive()) return;
    if (String(state.get("heat").pixel ?? "") === String(at())) return;
    waiting = setTimeout(() => {
      const pixel = at(), late = performance.now() - asked.time > 30000;
      if (asked.pixel && !late) return;  // its answer asks again
      asked = { pixel: String(pixel), time: performance.now() };
      state.ask({ ask: "heat", pixel });
    }, 250);
  }
  async function heatCame() {
    const heat = state.get("heat");
    asked = { pixel: "", time: 0 };
    if (heat.values) {
      const values = await unpack(heat.values, heat.size[0]);
      if (ended || state.get("heat") !== heat) return;
      const last = PROBE_HEAT.length - 1;
      heatLayer = probePaint(values, ...heat.size, Array.from({ length: 256 }, (_, value) => {
        const place = value / 255 * last, i = Math.min(Math.floor(place), last - 1);
        return [...PROBE_HEAT[i].map((from, c) => Math.round(from + (PROBE_HEAT[i + 1][c] - from) * (place - i))), 255];
      }));
      heatPixel = String(heat.pixel);
    }
    remark();
    draw();
    wantHeat();
  }

  // --------------------------------------------------------------------------------------------------- moving about
  const clamp = (value, length) => Math.min(Math.max(value, 0), length - 1);
  const moveTo = (x, y) => state.set("pixel", [clamp(Math.floor(x), width), clamp(Math.floor(y), height)]);
  const pointed = (event) => {
    const room = canvas.getBoundingClientRect();
    moveTo((event.clientX - room.left) / room.width * width, (event.clientY - room.top) / room.height * height);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    dragging = event.pointerType !== "touch";  // a finger that moves scrolls the page
    if (dragging) canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    pointed(event);
  });
  canvas.addEventListener("pointermove", (event) => { if (dragging) pointed(event); });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { dragging = false; });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const [x, y] = at(), far = event.shiftKey ? 10 : 1;
    if (move) moveTo(x + move[0] * far, y + move[1] * far);
    else if (event.key === "Home") moveTo(width >> 1, height >> 1);
    else return;
    event.preventDefault();
    event.stopPropagation();  // arrow keys move cells of a notebook
  });

  // ----------------------------------------------------------------------------------------------------- start, end
  function layout() {
    const room = left.clientWidth;
    if (!room) return;
    // Small pictures are enlarged, with sharp pixels; none is wider than its column.
    const s = Math.min(room / width, PROBE_MAX_HEIGHT / height, 24);
    fit(canvas, Math.max(1, Math.round(width * s)), Math.max(1, Math.round(height * s)));
    fit(loupe, PROBE_LOUPE_SIDE, PROBE_LOUPE_SIDE);
    draw();
  }
  const resized = new ResizeObserver(layout);
  state.on("pixel", () => { describe(); draw(); wantHeat(); });
  state.on("opacity", () => { opacity.show(state.get("opacity")); draw(); });
  state.on("safe_colours", () => { maskLayer = null; });
  state.on(toggles.map(({ name }) => name), () => {
    for (const { element, name } of toggles) element.show(state.get(name));
    describe();
    draw();
    wantHeat();
  });
  state.on("heat", heatCame);
  try {
    [picture, mask, truth, data.values, data.ids] = await Promise.all([decode(content.image), unpack(content.mask),
      content.truth && unpack(content.truth), unpack(content.values, columns), content.ids && unpack(content.ids)]);
  } catch (error) {
    note.textContent = `This browser could not read the picture (${error.message}). A current one can.`;
    throw error;
  }
  describe();
  layout();
  resized.observe(left);
  if (state.get("heat").pixel) await heatCame();
  wantHeat();
  return () => {
    ended = true;
    clearTimeout(waiting);
    resized.disconnect();
    draw.cancel();
    picture.close();
  };
}

export default {
  async render({ model, el }) {
    const state = stateOf(model);
    const root = stage(el, model.get("label"));
    const end = await createProbe(root, model.get("content"), state);
    return () => {
      end();
      state.forget();
    };
  },
};
