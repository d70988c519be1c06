// Curves over epochs as SVG: lines, ticks, the best epoch's ring, and the values of one epoch.

const CURVE_HEIGHT = 150;
const CURVE_EDGE = { left: 46, right: 10, top: 8, bottom: 20 };
// Each stands out on white and on dark paper; dashes tell curves apart without colour.
const CURVE_COLOURS = ["#0c7bb3", "#d55e00", "#009e73", "#b8578f", "#8a6fd1", "#8c7a1f"];
const CURVE_DASHES = ["", "7 3", "2 3", "9 3 2 3", "4 2", "1 4"];

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Round numbers between low and high, about `count` of them. */
function roundTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    ticks.push(Number((i * step).toPrecision(12)));
  }
  return ticks;
}

/** 1, 2, 5, 10, … between low and high; of many decades, only some powers of ten. */
function logTicks(low, high) {
  const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const factors = to - from <= 2 ? [1, 2, 5] : [1];
  const stride = Math.ceil((to - from) / 5);
  const ticks = [];
  for (let p = from; p <= to; p += factors.length > 1 ? 1 : stride) {
    for (const factor of factors) {
      const tick = Number((factor * 10 ** p).toPrecision(6));
      if (tick >= low * 0.9999 && tick <= high * 1.0001) ticks.push(tick);
    }
  }
  return ticks.length > 1 ? ticks : roundTicks(low, high, 3);
}

/** 0.000123 -> "1.23e-4", 0.01230 -> "0.0123", 1234 -> "1234". */
function shortNumber(value, digits = 4) {
  if (value === undefined || value === null) return "–";
  if (!isNumber(value)) return String(value) === "nan" ? "NaN" : String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e6) return Number(value.toPrecision(Math.min(digits, 3))).toExponential();
  return size >= 10 ** digits ? value.toFixed(0) : String(Number(value.toPrecision(digits)));
}

/** Where values stand on the axis: {place(value) in 0..1, ticks}; null if there is nothing to draw. */
function curveScale(values, log, zero) {
  const usable = values.filter((v) => isNumber(v) && (!log || v > 0));
  if (!usable.length) return null;
  let [low, high] = [usable.reduce((a, b) => Math.min(a, b)), usable.reduce((a, b) => Math.max(a, b))];
  if (zero) low = Math.min(0, low);
  if (high - low <= Math.abs(high) * 1e-9) {
    const room = Math.abs(high) * 0.1 || 1;
    [low, high] = log ? [low / 1.2, high * 1.2] : [low - room, high + room];
  }
  const [a, b] = log ? [Math.log(low), Math.log(high)] : [low, high];
  const room = (b - a) * 0.08;
  const place = (value) => ((log ? Math.log(value) : value) - a + room) / (b - a + 2 * room);
  const inside = (tick) => place(tick) >= 0 && place(tick) <= 1;
  let ticks = log ? logTicks(low, high).filter(inside) : [];
  for (let count = 4; ticks.length < (log ? 1 : 3) && count <= 8; count += 2) {
    ticks = roundTicks(low - (log ? 0 : room), high + (log ? 0 : room), count).filter(inside);
  }
  return { place, ticks };
}

/** A panel: a title with the values of the epoch that is looked at, and the curves.
 *
 * `onlook(epoch or 0)` hears which epoch (from 1) is looked at, by mouse or keyboard; `looked()` says which is.
 * `.draw({...})`: series [{name, values, style (its colour and dashes), best (ring?)}], count of epochs, best, look
 * (epoch or 0), log, zero (does the axis begin there?), digits, legend (name the series?).
 */
function curvePanel(title, onlook, looked) {
  const heading = h("div", { class: "curve-title" });
  const svg = svgElement("svg", { class: "curve", tabindex: 0, role: "slider", "aria-valuemin": 1 });
  const element = h("div", { class: "curve-panel" }, heading, svg);
  let drawn = { count: 0, look: 0 }, width = 0;
  const inner = () => width - CURVE_EDGE.left - CURVE_EDGE.right;
  const room = () => Math.min(8, inner() / 8);
  const share = (epoch) => (drawn.count > 1 ? (epoch - 1) / (drawn.count - 1) : 0.5);
  const x = (epoch) => CURVE_EDGE.left + room() + (inner() - 2 * room()) * share(epoch);

  svg.addEventListener("pointermove", (event) => {
    const along = (event.clientX - svg.getBoundingClientRect().left - x(1)) / Math.max(1, x(drawn.count) - x(1));
    onlook(Math.min(drawn.count, Math.max(1, Math.round(1 + along * (drawn.count - 1)))));
  });
  svg.addEventListener("pointerleave", () => onlook(0));
  svg.addEventListener("blur", () => onlook(0));
  svg.addEventListener("focus", () => { if (!looked()) onlook(drawn.count); });
  svg.addEventListener("keydown", (event) => {
    const now = looked() || drawn.count;  // not as drawn: keys may come faster than frames
    const next = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, Home: 1,
      End: drawn.count, PageDown: now - 10, PageUp: now + 10, Escape: 0 }[event.key];
    if (next === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();  // arrows are a notebook's own keys, too
    onlook(event.key === "Escape" ? 0 : Math.min(drawn.count, Math.max(1, next)));
  });

  function write({ series, count, look, digits, legend, best }) {
    const epoch = look || count;
    const shown = series.map(({ name, values, style }) => [name, shortNumber(values[epoch - 1], digits), style]);
    heading.replaceChildren(h("span", { class: "curve-name" }, title), ...shown.map(([name, text, style]) => h("span",
      { class: "curve-value" }, legend ? curveSwatch(style) : null, legend ? `${name} ` : null, h("b", {}, text))));
    svg.setAttribute("aria-label", `${title}: epoch`);
    svg.setAttribute("aria-valuemax", count);
    svg.setAttribute("aria-valuenow", epoch);
    svg.setAttribute("aria-valuetext", `epoch ${epoch} of ${count}${epoch === best ? ", the best" : ""}: `
      + shown.map(([name, text]) => `${name} ${text}`).join(", "));
  }

  element.draw = (now) => {
    drawn = now;
    const { series, count, best, look, log, zero } = now;
    write(now);
    width = Math.max(160, element.clientWidth || width);  // 0 while it is not on the screen
    svg.setAttribute("viewBox", `0 0 ${width} ${CURVE_HEIGHT}`);
    svg.setAttribute("height", CURVE_HEIGHT);
    const [left, right] = [CURVE_EDGE.left, width - CURVE_EDGE.right];
    const [top, bottom] = [CURVE_EDGE.top, CURVE_HEIGHT - CURVE_EDGE.bottom];
    const scale = curveScale(series.flatMap(({ values }) => values), log, zero);
    const parts = [];
    const text = (content, properties) => parts.push(svgElement("text", { class: "curve-tick", ...properties }, content));
    const wanted = Math.max(2, Math.min(count - 1, Math.floor(inner() / 50)));
    const epochs = count > 1 ? roundTicks(1, count, wanted).filter(Number.isInteger) : [1];
    if (epochs[0] > 1 && epochs[0] > (epochs[1] - epochs[0]) * 0.7) epochs.unshift(1);
    for (const epoch of epochs) text(String(epoch), { x: x(epoch), y: bottom + 14, "text-anchor": "middle" });
    if (!scale) {
      const nothing = series.length ? (log ? "nothing above zero" : "no number yet") : "no curve chosen";
      text(nothing, { x: (left + right) / 2, y: (top + bottom) / 2, "text-anchor": "middle" });
    } else {
      const y = (value) => bottom - (bottom - top) * scale.place(value);
      for (const tick of scale.ticks) {
        parts.push(svgElement("line", { class: "curve-grid", x1: left, x2: right, y1: y(tick), y2: y(tick) }));
        text(shortNumber(tick), { x: left - 6, y: y(tick) + 3.5, "text-anchor": "end" });
      }
      if (look) parts.push(svgElement("line", { class: "curve-look", x1: x(look), x2: x(look), y1: top, y2: bottom }));
      for (const { values, style, ring } of series) {
        const there = (i) => i >= 0 && i < count && isNumber(values[i]) && (!log || values[i] > 0);
        let path = "";
        for (let i = 0; i < count; i++) {
          if (there(i)) path += `${there(i - 1) ? "L" : "M"}${x(i + 1).toFixed(1)} ${y(values[i]).toFixed(1)}`;
        }
        const colour = CURVE_COLOURS[style % CURVE_COLOURS.length];
        parts.push(svgElement("path", { class: "curve-line", d: path, stroke: colour,
          "stroke-dasharray": CURVE_DASHES[style % CURVE_DASHES.length] }));
        const dot = (i, r, extra = {}) => parts.push(svgElement("circle",
          { cx: x(i + 1), cy: y(values[i]), r, fill: colour, ...extra }));
        for (let i = 0; i < count; i++) {
          if (there(i) && (count <= 30 || !(there(i - 1) || there(i + 1)))) dot(i, 2.2);  // a line of one point is none
        }
        if (ring && best && there(best - 1)) dot(best - 1, 5.5, { class: "curve-best", fill: "none" });
        if (look && there(look - 1)) dot(look - 1, 4);
      }
    }
    parts.push(svgElement("line", { class: "curve-axis", x1: left, x2: right, y1: bottom, y2: bottom }));
    svg.replaceChildren(...parts);
  };
  return element;
}

/** A short piece of a curve, for a legend. */
function curveSwatch(style) {
  return svgElement("svg", { class: "curve-swatch", width: 18, height: 8, "aria-hidden": "true" }, svgElement("line", {
    x1: 0, x2: 18, y1: 4, y2: 4, "stroke-width": 2.2, stroke: CURVE_COLOURS[style % CURVE_COLOURS.length],
    "stroke-dasharray": CURVE_DASHES[style % CURVE_DASHES.length] }));
}
