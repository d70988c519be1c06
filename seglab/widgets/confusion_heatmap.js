// A confusion matrix on a canvas: rows are the truth, columns the prediction.

const HEAT_LEAST = 0.12, HEAT_FONT = "12px system-ui, sans-serif", HEAT_MARGIN = 6;
const HEAT_HINT = "Point at a cell, or go there with the arrow keys. Enter or a click selects, Escape clears.";
const HEAT_WAYS = [["rows", "of the true class (recall)"], ["columns", "of the predicted class (precision)"],
  ["none", "counts"]];

/** What the cells show: shares or counts, NaN where there is nothing to measure. As `_shares` in Python. */
function heatShares(counts, size, normalise) {
  const rows = new Float64Array(size), columns = new Float64Array(size), values = new Float64Array(size * size);
  counts.forEach((count, i) => { rows[Math.floor(i / size)] += count; columns[i % size] += count; });
  for (let i = 0; i < values.length; i++) {
    const total = normalise === "columns" ? columns[i % size] : rows[Math.floor(i / size)];
    values[i] = total === 0 ? NaN : normalise === "none" ? counts[i] : counts[i] / total;
  }
  return values;
}

/** The ends of the scale, after the values above 0 that are on show, and how much colour a value gets. As `_levels` in Python. */
function heatScale(values, size, diagonal, logarithmic) {
  let [least, most] = [Infinity, 0];
  values.forEach((value, i) => {
    if (!(value > 0) || (!diagonal && i % (size + 1) === 0)) return;
    least = Math.min(least, value);
    most = Math.max(most, value);
  });
  least = Math.min(Math.max(least, most * 1e-6), most / 100);  // at least two decades, or near values would look far
  const span = Math.log(most / least);
  const level = (value) => {
    if (!(value > 0)) return 0;
    return logarithmic ? 1 - ((1 - HEAT_LEAST) * Math.log(most / Math.max(value, least))) / span : value / most;
  };
  return { least, most, level };
}

const heatCount = (count) => Math.round(count).toLocaleString("en");
const heatCompact = (count) => new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 })
  .format(count);

/** A cell in words. As `ConfusionHeatmap.sentence` in Python. */
function heatSentence(row, column, { names, unit, counts, total }, values, normalise) {
  const i = row * names.length + column, share = values[i], count = heatCount(counts[i]);
  const [truth, called] = [names[row], names[column]];
  if (normalise === "columns") {
    if (Number.isNaN(share)) return `no ${unit} are called ${called}`;
    return `of the ${unit} called ${called}, ${percent(share)} (${count}) are truly ${truth}`;
  }
  if (Number.isNaN(share)) return `there are no true ${truth} ${unit}`;
  if (normalise === "rows") return `of the true ${truth} ${unit}, ${percent(share)} (${count}) are called ${called}`;
  return `${count} true ${truth} ${unit} are called ${called}, ${percent(counts[i] / total)} of all ${unit}`;
}

/** Any CSS colour as [r, g, b]. */
function heatColour(text) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = text;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}

function heatShort(context, name, width) {
  if (context.measureText(name).width <= width) return name;
  let text = name;
  while (text && context.measureText(`${text}…`).width > width) text = text.slice(0, -1);
  return `${text}…`;
}

const heatMix = (from, to, share) => from.map((v, i) => v + share * (to[i] - v));
const heatLight = ([r, g, b]) => 0.3 * r + 0.59 * g + 0.11 * b;

function createHeat(root, content, state) {
  const { names, colours, unit, counts } = content, size = names.length;
  let values, scale, ink, cells = null, layout = null, pointed = null, cursor = [0, 0], focused = false;

  const canvas = h("canvas", { tabindex: 0, role: "application", "aria-roledescription": "confusion matrix" });
  const words = h("div", { class: "seglab-heat-words", "aria-live": "polite" });
  const [from, to] = [h("span"), h("span")], ramp = h("span", { class: "seglab-heat-ramp" });
  const ways = choice({ label: "share", options: HEAT_WAYS, value: state.get("normalise"),
    onchange: (value) => state.set("normalise", value) });
  const log = toggle({ label: "logarithmic", title: "colours by the logarithm: rare mistakes show beside frequent ones",
    onchange: (on) => state.set("logarithmic", on) });
  const hide = toggle({ label: "mistakes only", title: "hide the diagonal, where the prediction is right",
    onchange: (on) => state.set("diagonal", !on) });
  const clear = button({ label: "clear", title: "select no cell", onclick: () => state.set("selected", []) });
  const frame = h("div", { class: "seglab-heat-frame" }, canvas);
  root.append(h("div", { class: "seglab-bar" }, ways, log, hide, clear,
    h("span", { class: "seglab-heat-scale" }, from, ramp, to)), frame, words);

  /** Where everything lies, in CSS pixels. */
  function measure() {
    const context = canvas.getContext("2d"), room = root.clientWidth - 22;
    context.font = HEAT_FONT;
    const short = names.map((name) => heatShort(context, name, Math.min(130, room * 0.25)));
    const widths = short.map((name) => context.measureText(name).width);
    const swatch = colours.length ? 16 : 0;
    const left = Math.ceil(Math.max(...widths)) + swatch + HEAT_MARGIN + 22;
    // At least three pixels a cell, so that it can be hit; what is wider than the page scrolls.
    const cell = Math.min(Math.max((room - left - 2) / size, 3), size <= 4 ? 92 : size <= 10 ? 64 : 40);
    const flat = Math.max(...widths) + swatch < cell - 6;
    const top = flat ? 44 : Math.ceil(Math.max(...widths)) + swatch + HEAT_MARGIN + 22;
    return { cell, left, top, flat, short, widths, swatch, step: Math.ceil(14 / cell), side: cell * size };
  }

  /** The text of every cell in the longest way that fits in all of them. */
  function texts(context) {
    const { cell } = layout;
    // Short ones leave out what would read 0: it may be a little more, which the colour says.
    const ways = state.get("normalise") === "none" ? [heatCount, (v) => (v ? heatCompact(v) : "")]
      : [percent, (v) => (v >= 0.005 ? percent(v, 0) : ""), (v) => (v >= 0.005 ? (v * 100).toFixed(0) : "")];
    for (const write of cell >= 20 ? ways : []) {
      const found = Array.from(values, (value, i) => (Number.isNaN(value) || hidden(i) ? "" : write(value)));
      if ([...new Set(found)].every((text) => context.measureText(text).width <= cell - 6)) return found;
    }
    return null;
  }
  const hidden = (i) => !state.get("diagonal") && i % (size + 1) === 0;

  /** Cells, numbers and names, drawn once for a setting; `draw` puts what moves on top. */
  function paint() {
    layout = canvas.places = measure();
    const { cell, left, top, side } = layout, style = getComputedStyle(root);
    const [paper, deep, soft, dark, line] = ["--paper", "--accent", "--soft", "--ink", "--line"].map(
      (name) => heatColour(style.getPropertyValue(name)));
    ink = { paper, deep, dark, line, faint: heatColour(style.getPropertyValue("--faint")) };
    fit(canvas, left + side + 4, top + side + 4);
    const ratio = canvas.width / (left + side + 4);
    cells = new OffscreenCanvas(canvas.width, canvas.height);
    const context = cells.getContext("2d");
    const edge = (start, i) => Math.round((start + i * cell) * ratio), gap = cell > 8 ? Math.round(ratio) : 0;
    context.font = HEAT_FONT;
    const written = texts(context), ramped = [];
    for (let i = 0; i < values.length; i++) {
      const [x, y] = [i % size, Math.floor(i / size)], x0 = edge(left, x), y0 = edge(top, y);
      const [w, ht] = [edge(left, x + 1) - x0 - gap, edge(top, y + 1) - y0 - gap];
      const colour = Number.isNaN(values[i]) ? soft : hidden(i) ? paper : heatMix(paper, deep, scale.level(values[i]));
      ramped.push(colour);
      context.fillStyle = css(colour.map(Math.round));
      context.fillRect(x0, y0, w, ht);
      if ((Number.isNaN(values[i]) || hidden(i)) && cell > 8) {  // a stroke, as in a table: nothing here
        context.strokeStyle = css(line);
        context.lineWidth = ratio;
        context.beginPath();
        context.moveTo(x0 + w * 0.35, y0 + ht / 2);
        context.lineTo(x0 + w * 0.65, y0 + ht / 2);
        context.stroke();
      }
    }
    context.scale(ratio, ratio);
    context.strokeStyle = css(line);
    context.strokeRect(left - 0.5, top - 0.5, side + 1, side + 1);
    context.textBaseline = "middle";
    context.textAlign = "center";
    (written || []).forEach((text, i) => {
      const light = heatLight(ramped[i]);
      const [one, other] = [dark, paper].map((c) => Math.abs(heatLight(c) - light));
      context.fillStyle = css(one > other ? dark : paper);
      context.fillText(text, left + (i % size + 0.5) * cell, top + (Math.floor(i / size) + 0.5) * cell);
    });
    context.fillStyle = css(ink.faint);
    context.textAlign = "left";
    context.fillText("predicted", left, 9);
    context.save();
    context.translate(9, top);
    context.rotate(-Math.PI / 2);
    context.textAlign = "right";
    context.fillText("true", 0, 0);
    context.restore();
    for (let i = 0; i < size; i += layout.step) {
      name(context, i, true);
      name(context, i, false);
    }
    canvas.setAttribute("aria-label", `confusion matrix of ${size} classes: rows are the truth, columns the prediction`);
  }

  /** The name of a row or column; a chosen one is set off, and covers its neighbours where there is no room. */
  function name(context, i, isRow, chosen = false) {
    const { cell, left, top, flat, short, widths, swatch } = layout, middle = (i + 0.5) * cell;
    const length = widths[i] + swatch;
    context.save();
    context.font = HEAT_FONT;
    if (isRow) context.translate(left - HEAT_MARGIN - length, top + middle);
    else if (flat) context.translate(left + middle - length / 2, top - 14);
    else {
      context.translate(left + middle, top - HEAT_MARGIN);
      context.rotate(-Math.PI / 2);
    }
    if (chosen) {
      context.fillStyle = css(ink.paper);
      context.fillRect(-3, -8, length + 6, 16);
    }
    if (swatch) {
      context.fillStyle = css(colours[i]);
      context.fillRect(0, -5, 10, 10);
      context.strokeStyle = css(ink.faint);
      context.lineWidth = 1;
      context.strokeRect(0.5, -4.5, 9, 9);
    }
    context.textBaseline = "middle";
    context.textAlign = "left";
    context.fillStyle = css(chosen ? ink.deep : ink.dark);
    context.fillText(short[i], swatch, 0.5);
    context.restore();
  }

  const draw = onceAFrame(() => {
    if (!root.clientWidth) return;
    if (!cells) paint();
    const context = canvas.getContext("2d"), { cell, left, top, side } = layout;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(cells, 0, 0);
    const ratio = canvas.width / (left + side + 4);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const frameOf = ([row, column], colour, width) => {
      const grow = cell > 8 ? 0 : 2;
      context.strokeStyle = css(colour);
      context.lineWidth = width;
      context.strokeRect(left + column * cell - grow, top + row * cell - grow, cell + 2 * grow, cell + 2 * grow);
    };
    const chosen = state.get("selected"), at = place();
    if (at) {
      name(context, at[0], true, true);
      name(context, at[1], false, true);
    }
    if (chosen.length) {
      frameOf(chosen, ink.paper, 5);
      frameOf(chosen, ink.dark, 2.5);
    }
    if (at) frameOf(at, ink.dark, 1);
  });
  const place = () => pointed || (focused ? cursor : null);

  function say() {
    const at = place() || (state.get("selected").length ? state.get("selected") : null);
    words.textContent = at ? heatSentence(...at, content, values, state.get("normalise")) : HEAT_HINT;
    if (cells) draw();
  }

  function refresh() {
    values = heatShares(counts, size, state.get("normalise"));
    scale = heatScale(values, size, state.get("diagonal"), state.get("logarithmic"));
    ways.show(state.get("normalise"));
    log.show(state.get("logarithmic"));
    hide.show(!state.get("diagonal"));
    ramp.classList.toggle("seglab-heat-log", state.get("logarithmic"));
    const word = (value) => (state.get("normalise") === "none" ? heatCompact(value) : percent(value));
    from.textContent = scale.most && state.get("logarithmic") ? word(scale.least) : word(0);
    to.textContent = scale.most ? word(scale.most) : "nothing to show";
    cells = null;
    say();
    draw();
  }

  function under(event) {
    const box = canvas.getBoundingClientRect(), { cell, left, top } = layout;
    const column = Math.floor((event.clientX - box.left - left) / cell);
    const row = Math.floor((event.clientY - box.top - top) / cell);
    return row >= 0 && column >= 0 && row < size && column < size ? [row, column] : null;
  }
  const same = (a, b) => a[0] === b[0] && a[1] === b[1];
  function select(cell) {
    cursor = cell;
    state.set("selected", same(cell, state.get("selected")) ? [] : cell);
  }
  canvas.addEventListener("pointermove", (event) => { if (layout) { pointed = under(event); say(); } });
  canvas.addEventListener("pointerleave", () => { pointed = null; say(); });
  canvas.addEventListener("click", (event) => {
    const cell = layout && under(event);
    if (cell) select(cell);
  });
  canvas.addEventListener("focus", () => { focused = canvas.matches(":focus-visible"); say(); });
  canvas.addEventListener("blur", () => { focused = false; say(); });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (move) {
      cursor = cursor.map((v, i) => Math.min(Math.max(v + move[i], 0), size - 1));
      pointed = null;
      focused = true;
      say();
    } else if (event.key === "Enter" || event.key === " ") select(cursor);
    else if (event.key === "Escape" && state.get("selected").length) state.set("selected", []);
    else return;
    event.preventDefault();
    event.stopPropagation();  // arrow keys move cells of a notebook
  });
  const selection = () => {
    const chosen = state.get("selected");
    if (chosen.length) cursor = [...chosen];
    clear.disabled = !chosen.length;
    say();
  };
  state.on("selected", selection);
  state.on(["normalise", "logarithmic", "diagonal"], refresh);
  refresh();
  selection();

  const repaint = () => { cells = null; draw(); };
  const resized = new ResizeObserver(repaint), themed = new MutationObserver(repaint);
  const night = matchMedia("(prefers-color-scheme: dark)");
  resized.observe(root);
  themed.observe(document.body, { attributes: true });  // JupyterLab writes its theme there
  night.addEventListener("change", repaint);
  return () => {
    resized.disconnect();
    themed.disconnect();
    night.removeEventListener("change", repaint);
    draw.cancel();
  };
}

export default {
  async render({ model, el }) {
    const state = stateOf(model), wire = model.get("content");
    const counts = new Float64Array((await unpack(wire.counts)).buffer);
    const total = counts.reduce((sum, count) => sum + count, 0);
    const end = createHeat(stage(el, "confusion matrix"), { ...wire, counts, total }, state);
    return () => {
      end();
      state.forget();
    };
  },
};
