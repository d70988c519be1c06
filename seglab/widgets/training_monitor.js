// A training while it runs: progress, four panels of curves, masks of pictures, and a table of the epochs.

const MONITOR_NO_SCORES = ["epoch", "loss", "lr", "images_per_second", "seconds"];
const MONITOR_NAMES = { miou: "mIoU", images_per_second: "images/s", lr: "learning rate" };
const monitorName = (column) => MONITOR_NAMES[column] || column.replaceAll("_", " ").replace(/\biou\b/, "IoU");

/** 41 -> "0:41", 3725 -> "1:02:05". */
function monitorClock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const two = (n) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

const monitorCount = (n) => `${n} epoch${n === 1 ? "" : "s"}`;
const monitorSpeed = (value) => (isNumber(value) ? (value >= 9.95 ? value.toFixed(0) : value.toPrecision(2)) : "–");

/** A cell of the table. */
function monitorCell(column, value) {
  if (column === "seconds" && isNumber(value)) return value >= 99.95 ? value.toFixed(0) : value.toFixed(1);
  if (column === "images_per_second") return monitorSpeed(value);
  if (column === "lr" || column === "epoch" || !isNumber(value)) return shortNumber(value, 3);
  return Math.abs(value) < 1e-3 && value !== 0 ? shortNumber(value) : value.toFixed(4);
}

/** The table of epochs; rows are added to it, never built anew in one training. */
function monitorTable(onlook) {
  const head = h("thead"), body = h("tbody");
  const scroll = h("div", { class: "monitor-scroll", tabindex: 0, role: "region", "aria-label": "table of the epochs" },
    h("table", { class: "monitor-table" }, head, body));
  let known = "", first = null, shown = { best: 0, look: 0 };
  body.addEventListener("pointerover", (event) => onlook(event.target.closest("tr").rowIndex));
  body.addEventListener("pointerleave", () => onlook(0));
  const mark = (which, epoch) => {
    for (const row of [body.rows[shown[which] - 1], body.rows[epoch - 1]]) row?.classList.remove(`monitor-${which}`);
    body.rows[epoch - 1]?.classList.add(`monitor-${which}`);
    if (which === "best") {
      if (shown.best !== epoch) body.rows[shown.best - 1]?.querySelector(".monitor-tag")?.remove();
      const cell = body.rows[epoch - 1]?.cells[0];
      if (cell && !cell.querySelector(".monitor-tag")) cell.prepend(h("span", { class: "monitor-tag" }, "best "));
    }
    shown[which] = epoch;
  };
  scroll.show = ({ names, rows, best }) => {
    const atEnd = scroll.scrollTop + scroll.clientHeight >= scroll.scrollHeight - 4;
    if (names.join("\n") !== known || body.rows.length > rows.length || String(rows[0]) !== first) {
      known = names.join("\n");
      head.replaceChildren(h("tr", {}, ...names.map((name) => h("th", { scope: "col",
        title: name === "seconds" ? "of training, without validation" : null },
      name === "lr" ? "lr" : monitorName(name)))));
      body.replaceChildren();
      shown = { best: 0, look: 0 };
      first = String(rows[0]);
    }
    for (const row of rows.slice(body.rows.length)) {
      body.append(h("tr", {}, ...names.map((name, i) => h(i ? "td" : "th", { scope: i ? null : "row" },
        monitorCell(name, row[i])))));
    }
    mark("best", best);
    if (atEnd) scroll.scrollTop = scroll.scrollHeight;
  };
  scroll.look = (epoch, follow) => {
    mark("look", epoch);
    const row = body.rows[epoch - 1];
    if (!row || !follow) return;
    const top = row.offsetTop - head.offsetHeight, end = row.offsetTop + row.offsetHeight - scroll.clientHeight;
    scroll.scrollTop = Math.min(top, Math.max(end, scroll.scrollTop));  // not scrollIntoView: the page stays
  };
  return scroll;
}

function createMonitor(el, state) {
  let look = 0, held = 0, growth = null;  // an epoch that is pointed at; one that the slider holds; the masks
  let heard = performance.now();
  const words = h("div", { class: "monitor-words" }), clock = h("div", { class: "monitor-clock" });
  const fill = h("div", { class: "monitor-fill" });
  const bar = h("div", { class: "monitor-progress", role: "progressbar", "aria-label": "training", "aria-valuemin": 0,
    "aria-valuemax": 100 }, fill);
  const scores = h("div", { class: "monitor-scores", role: "group", "aria-label": "scores to draw" });
  const log = toggle({ label: "log loss", title: "Draw the loss on a logarithmic axis",
    onchange: (on) => state.set("log_loss", on) });
  const note = h("div", { class: "seglab-note" });
  const lookAt = (pointed, follow = true) => {
    const epoch = pointed || held;
    if (epoch === look) return;
    look = epoch;
    table.look(epoch, follow);
    draw();
  };
  const table = monitorTable((epoch) => lookAt(epoch, false));
  const panels = Object.fromEntries([["loss", "loss"], ["scores", "scores"], ["lr", "learning rate"],
    ["images_per_second", "images/s"]].map(([key, title]) => [key, curvePanel(title, lookAt, () => look)]));
  const grid = h("div", { class: "monitor-grid" }), masks = h("div");
  const choices = h("div", { class: "seglab-bar" }, scores, log);
  const results = h("div", { class: "monitor-results" }, choices, grid, note, masks, table);
  const root = stage(el, "training monitor", h("div", { class: "monitor-top" }, words, clock), bar, results);

  const columnOf = (name) => {
    const { names = [], rows = [] } = state.get("table");
    const at = names.indexOf(name);
    return at < 0 ? [] : rows.map((row) => row[at]);
  };
  const scoreNames = () => (state.get("table").names || []).filter((name) => !MONITOR_NO_SCORES.includes(name));
  // The score that is watched has the plainest line.
  const styleOf = (name) => {
    const names = scoreNames();
    const first = [state.get("table").watched, "miou", "accuracy", ...names].find((n) => names.includes(n));
    return [first, ...names.filter((other) => other !== first)].indexOf(name);
  };
  const chosen = () => (state.get("columns") || []).filter((name) => scoreNames().includes(name));

  function showProgress() {
    const { status = "waiting", done, total, epochs, elapsed = 0, rate } = state.get("progress");
    const finished = state.get("table").rows?.length || 0;
    const share = status === "done" ? 1 : total ? done / total : epochs ? Math.min(1, finished / epochs) : 0;
    const parts = [];
    if (status === "waiting") parts.push("waiting for the first step");
    else if (status === "done") parts.push(`${monitorCount(finished)} done`);
    else if (status === "stopped" && epochs) parts.push(`stopped after ${finished} of ${monitorCount(epochs)}`);
    else if (status === "stopped") parts.push(`stopped after ${monitorCount(finished)}`);
    else if (epochs) parts.push(`epoch ${Math.min(finished + 1, epochs)} of ${epochs}`);
    else parts.push(`epoch ${finished + 1}`);
    if (total && status !== "done") parts.push(`step ${done} of ${total}`);
    words.textContent = parts.join(" · ");
    const percents = Math.floor(share * 100);
    fill.style.width = `${share * 100}%`;
    bar.setAttribute("aria-valuenow", percents);
    bar.setAttribute("aria-valuetext", `${percents} %, ${words.textContent}`);
    root.dataset.status = status;

    const since = status === "training" && state.alive() ? (performance.now() - heard) / 1000 : 0;
    const times = status === "waiting" ? [] : [`${monitorClock(elapsed + since)} elapsed`];
    if (status === "training" && share > 0 && share < 1 && elapsed > 1) {
      times.push(`about ${monitorClock(elapsed * (1 - share) / share - since)} left`);
    }
    if (status === "training" && isNumber(rate)) times.push(`${monitorSpeed(rate)} steps/s`);
    const speed = columnOf("images_per_second").filter(isNumber).at(-1);
    if (isNumber(speed)) times.push(`${monitorSpeed(speed)} images/s`);
    if (status === "training" && !state.alive()) times.push("the kernel is gone");
    clock.textContent = times.join(" · ");
  }

  function showChoices() {
    const names = scoreNames();
    if (scores.dataset.names !== names.join("\n")) {
      scores.dataset.names = names.join("\n");
      scores.replaceChildren(...names.map((name) => {
        const one = toggle({ label: monitorName(name), title: `Draw ${monitorName(name)}`, onchange: (on) =>
          state.set("columns", names.filter((other) => (other === name ? on : chosen().includes(other)))) });
        one.prepend(curveSwatch(styleOf(name)));
        one.name = name;
        return one;
      }));
      grid.replaceChildren(panels.loss, ...(names.length ? [panels.scores] : []),
        ...(columnOf("lr").length ? [panels.lr] : []),
        ...(columnOf("images_per_second").some(isNumber) ? [panels.images_per_second] : []));
      grid.dataset.count = grid.children.length;
    }
    for (const one of scores.children) one.show(chosen().includes(one.name));
    log.show(state.get("log_loss"));
  }

  const draw = onceAFrame(() => {
    if (!root.isConnected) return;  // an output that was replaced, or a cell scrolled out of a long notebook
    const { rows = [], best = 0, watched = "" } = state.get("table");
    results.hidden = !rows.length;
    if (!rows.length) return;
    const count = rows.length, common = { count, best, look: Math.min(look, count) };
    const one = (name, ring) => [{ name: monitorName(name), values: columnOf(name), style: 0, ring }];
    panels.loss.draw({ ...common, series: one("loss", true), log: state.get("log_loss") });
    panels.scores.draw({ ...common, legend: true, series: chosen().map((name) => ({ name: monitorName(name),
      values: columnOf(name), style: styleOf(name), ring: true })) });
    panels.lr.draw({ ...common, series: one("lr", false), digits: 3 });
    panels.images_per_second.draw({ ...common, series: one("images_per_second", false), zero: true, digits: 3 });
    const epoch = common.look || count;
    const which = epoch === best ? ", the best" : common.look ? "" : ", the last";
    const other = best && epoch !== best ? `; the best is epoch ${best}` : "";
    note.textContent = `Values of epoch ${epoch}${which}${other}${best ? `, by ${monitorName(watched)}` : ""}.`;
    growth?.show({ count, best, look: common.look });
  });

  const showAll = () => {
    const { rows = [], names = [] } = state.get("table");
    if (Math.max(look, held) > rows.length) look = held = 0;
    table.show({ best: 0, ...state.get("table"), rows, names });
    table.look(look, false);
    showChoices();
    showProgress();
    draw();
  };
  const watch = () => {
    growth?.destroy();
    growth = state.get("growth").pictures ? createGrowth(state, (epoch) => { held = epoch; lookAt(0); }) : null;
    masks.replaceChildren(...(growth ? [growth] : []));
    draw();
  };
  state.on("growth", watch);
  state.on(["masks", "opacity", "safe_colours"], draw);
  state.on("progress", () => { heard = performance.now(); showProgress(); });
  state.on("table", showAll);
  state.on(["columns", "log_loss"], () => { showChoices(); draw(); });
  const size = new ResizeObserver(() => {  // also when a cell comes back into the page
    root.classList.toggle("monitor-narrow", root.clientWidth < 540);
    draw();
  });
  size.observe(root);
  const tick = setInterval(() => { if (root.isConnected) showProgress(); }, 1000);
  showAll();
  watch();
  return () => {
    growth?.destroy();
    clearInterval(tick);
    size.disconnect();
    draw.cancel();
  };
}

export default {
  render({ model, el }) {
    const state = stateOf(model);
    const end = createMonitor(el, state);
    return () => { end(); state.forget(); };
  },
};
