// The chart below a film: shares of the classes, or their IoU, over time. It is SVG, so that it follows the theme.

const CHART_TOPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1];

/** Bytes of the kernel as numbers; copied, because they need not lie on a multiple of four. */
function chartNumbers(view, Kind = Float32Array) {
  return new Kind(bytesOf(view).slice().buffer);
}

/** What is known of each frame and class: { shares: {prediction, truth}, iou, accuracy }, Float32Array each. */
function chartTables({ shares, iou, accuracy }) {
  return { prediction: chartNumbers(shares.prediction), truth: chartNumbers(shares.truth), iou: chartNumbers(iou),
    accuracy: chartNumbers(accuracy) };
}

/** Mean of the numbers that are numbers, or NaN. */
function chartMean(values) {
  const known = values.filter((value) => !Number.isNaN(value));
  return known.reduce((sum, value) => sum + value, 0) / (known.length || NaN);
}

/**
 * Draw a chart of film.count columns.
 *
 * seek(frame): the learner points at a frame. hold(on): the pointer is down. words(frame): how a frame is called.
 * Returns { element, draw(), show(frame) }; draw after any change of colours, classes or what is on show.
 */
function createChart(film, tables, state, { seek, hold, words }) {
  const { count, classes } = film;
  const drawing = svgElement("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img" });
  const head = h("div", { class: "seglab-film-head" }), mark = h("div", { class: "seglab-film-mark", hidden: true });
  const tip = h("div", { class: "seglab-film-tip", hidden: true });
  const plot = h("div", { class: "seglab-film-plot" }, drawing, mark, head, tip);
  const [top, bottom] = [h("span"), h("span", {}, "0 %")];
  const element = h("div", { class: "seglab-film-chart" },
    h("div", { class: "seglab-film-axis", "aria-hidden": "true" }, top, bottom), plot);

  const share = (frame) => (count > 1 ? frame / (count - 1) : 0.5);
  const table = () => (state.get("chart") === "iou" ? tables.iou
    : tables[state.get("shown") === "truth" ? "truth" : "prediction"]);
  const at = (frame, column) => table()[frame * classes.length + column];
  const columns = () => classes.map((_, column) => column).filter((c) => !state.get("hidden").includes(classes[c].id));
  const colour = (column) => css(classes[column][state.get("safe_colours") ? "safe" : "colour"]);
  const frames = count > 1 ? Array.from({ length: count }, (_, i) => [i, share(i) * 1000]) : [[0, 0], [0, 1000]];
  const point = (x, y) => `${x.toFixed(1)} ${(100 - y * 100).toFixed(2)}`;

  function areas() {
    // A black class 0 is the background: it is the rest, and leaves the height to the others.
    const some = columns().filter((c) => classes[c].id !== 0 || classes[c].colour.some((value) => value > 0));
    const sums = frames.map(([i]) => some.reduce((sum, c) => sum + at(i, c), 0));
    const most = some.length ? CHART_TOPS.find((value) => value >= Math.max(...sums) - 1e-6) ?? 1 : 1;
    top.textContent = percent(most, 0);
    let low = frames.map(() => 0);
    return some.reverse().map((c) => {
      const high = frames.map(([i], k) => low[k] + at(i, c) / most);
      const path = [...frames.map(([, x], k) => point(x, high[k])),
        ...frames.map(([, x], k) => point(x, low[k])).reverse()];
      low = high;
      return svgElement("path", { d: `M${path.join("L")}Z`, fill: colour(c) });
    });
  }

  function line(value, attributes) {
    let d = "", open = false;
    for (const [i, x] of frames) {
      const y = value(i);
      if (!Number.isNaN(y)) d += `${open ? "L" : "M"}${point(x, y)}${open ? "" : "h.1"}`;
      open = !Number.isNaN(y);
    }
    return svgElement("path", { d, fill: "none", "vector-effect": "non-scaling-stroke", ...attributes });
  }

  function lines() {
    top.textContent = percent(1, 0);
    const some = columns().filter((c) => classes[c].id !== 255);
    return [...some.flatMap((c) => [
      line((i) => at(i, c), { class: "seglab-film-halo" }),
      line((i) => at(i, c), { class: "seglab-film-line", stroke: colour(c) })]),
    ...(some.length > 1 ? [line((i) => chartMean(some.map((c) => at(i, c))), { class: "seglab-film-mean" })] : [])];
  }

  function draw() {
    const iou = state.get("chart") === "iou";
    drawing.setAttribute("aria-label", iou ? "IoU of each class in each frame; dashed: their mean"
      : "share of each class in each frame; the rest is background");
    drawing.replaceChildren(...(iou ? lines() : areas()));
  }

  function told(frame) {
    const values = columns().map((c) => [classes[c].name, at(frame, c)]).filter(([, v]) => v > 0);
    const most = values.sort((a, b) => b[1] - a[1]).slice(0, 3).map(([name, v]) => `${name} ${percent(v)}`);
    return [words(frame), ...most].join(" · ");
  }

  const frameOf = (event) => {
    const box = plot.getBoundingClientRect();
    const x = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    return Math.round(x * (count - 1));
  };
  plot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    plot.setPointerCapture(event.pointerId);
    hold(true);
    seek(frameOf(event));
  });
  plot.addEventListener("pointermove", (event) => {
    const frame = frameOf(event);
    if (plot.hasPointerCapture(event.pointerId)) seek(frame);
    mark.hidden = tip.hidden = false;
    mark.style.left = `${share(frame) * 100}%`;
    tip.textContent = told(frame);
    // The text grows to the left of the pointer in the right half: it never leaves the plot.
    Object.assign(tip.style, share(frame) < 0.5 ? { left: mark.style.left, right: "auto" }
      : { left: "auto", right: `${(1 - share(frame)) * 100}%` });
  });
  plot.addEventListener("pointerleave", () => { mark.hidden = tip.hidden = true; });
  plot.addEventListener("lostpointercapture", () => hold(false));

  return { element, draw, show: (frame) => { head.style.left = `${share(frame) * 100}%`; } };
}
