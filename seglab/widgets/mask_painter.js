// Brush, polygon, fill and eraser on the pictures of a learner. The browser draws at once what Python then makes of it.

const PAINT_EMPTY = 255, PAINT_PATIENCE = 4000;  // ms until a kernel that does not answer is mentioned
const PAINT_TOOLS = { brush: ["B", "drag to paint"], polygon: ["G", "click corners, or drag around a thing"],
  fill: ["F", "click into an area"], eraser: ["E", "drag to take labels away"] };
const PAINT_RADII = [0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 25, 32, 40, 50, 64, 80, 100, 128, 160, 200, 256, 320, 400];
const PAINT_HELP = "Arrow keys move the crosshair (Shift: one pixel), Space or Enter paints there. B, G, F and E choose "
  + "brush, polygon, fill and eraser, 0 to 9 the class; [ and ] change the brush, R fills the rest, K keeps what is "
  + "painted. Ctrl+Z takes back, N and P change the picture, + and − zoom, Home shows all. Ctrl + wheel or two fingers "
  + "zoom; Space and drag pans.";

function createPainter(root, model) {
  const state = stateOf(model);
  const { names, classes, folder } = state.get("content");
  const me = Math.random().toString(36).slice(2);
  const known = classes.filter(({ id }) => id !== PAINT_EMPTY);
  const background = known.find((one) => one.background);
  let viewer = null, leave = () => {}, host = null, shown = -1, grid = null, ids = null;
  let before = null, points = null;  // what the mask was before the stroke that is being drawn, and its points
  let corners = [], press = null;  // of a polygon; where and how the pointer went down for its last corner
  let pending = [], sent = 0, round = 0, timer = 0, problem = "", panning = false;

  // ---------------------------------------------------------------------------------------------------- controls
  const go = (step) => { if (names[state.get("index") + step] !== undefined) state.set("index", state.get("index") + step); };
  const [previous, next] = [button({ label: "‹ previous", title: "previous picture (P)", onclick: () => go(-1) }),
    button({ label: "next ›", title: "next picture (N)", onclick: () => go(1) })];
  const pictures = choice({ label: "picture", value: 0, options: names.map((name, i) => [i, name]),
    onchange: (i) => state.set("index", Number(i)) });
  const bar = h("progress", { max: names.length, "aria-hidden": "true" }), counted = h("span", {});
  const saved = h("span", { class: "seglab-paint-saved", role: "status" });
  const hint = h("div", { class: "seglab-note", role: "status" });
  const tools = Object.entries(PAINT_TOOLS).map(([name, [key, what]]) => toggle({ label: name, title: `${what} (${key})`,
    onchange: () => chooseTool(name) }));
  const radius = slider({ label: "radius", min: 0, max: PAINT_RADII.length - 1, step: 1, value: 0,
    title: "of brush and eraser, in pixels of the picture ([ and ])", format: (place) => `${PAINT_RADII[place]} px`,
    oninput: (place) => state.set("radius", PAINT_RADII[place]) });
  const keep = toggle({ label: "keep painted", title: "change only what is not painted yet (K)",
    onchange: (on) => state.set("keep", on) });
  const closer = button({ label: "close polygon", title: "close the polygon (Enter)", onclick: () => closePolygon() });
  const rest = button({ label: "", title: "give all that is not painted yet this class (R)", onclick: () => fillRest() });
  const [undo, redo] = [button({ label: "↶ undo", title: "undo (Ctrl+Z)", onclick: () => send({ do: "undo" }) }),
    button({ label: "↷ redo", title: "redo (Ctrl+Shift+Z)", onclick: () => send({ do: "redo" }) })];
  const choices = known.map(({ id, name }) => {
    const one = toggle({ label: "", title: id < 10 ? `paint ${name} (${id})` : `paint ${name}`, onchange: () => chooseClass(id) });
    one.classList.add("seglab-paint-class");
    one.append(...(id < 10 ? [h("kbd", { "aria-hidden": "true" }, String(id))] : []), h("span", { class: "seglab-swatch" }), name);
    return one;
  });
  const panel = h("div");
  root.classList.add("seglab-paint");
  const group = (label, ...inside) => h("span", { class: "seglab-group", role: "group", "aria-label": label }, ...inside);
  root.append(
    h("div", { class: "seglab-bar" }, previous, pictures, next, h("span", { class: "seglab-group" }, bar, counted), saved),
    h("div", { class: "seglab-bar" }, group("tools", ...tools), radius, keep, group("steps", undo, redo), closer),
    h("div", { class: "seglab-bar" }, group("classes", ...choices), rest), panel);

  // ------------------------------------------------------------------------------------------------------- words
  const classOf = (id) => classes.find((one) => one.id === id);
  const value = () => (state.get("tool") === "eraser" ? PAINT_EMPTY : state.get("chosen"));
  const restId = () => background?.id ?? state.get("chosen");
  const reach = () => Math.max(state.get("radius"), (grid?.step ?? 1) / 2);  // at least the pixel under the pointer
  function refresh() {
    const { opened, layer, painted } = Object.fromEntries(["opened", "layer", "painted"].map((n) => [n, state.get(n)]));
    const [index, tool, name] = [state.get("index"), state.get("tool"), classOf(state.get("chosen")).name];
    tools.forEach((one) => one.show(one.textContent === tool));
    choices.forEach((one, i) => {
      one.show(known[i].id === state.get("chosen"));
      one.querySelector(".seglab-swatch").style.background = css(known[i][state.get("safe_colours") ? "safe" : "colour"]);
    });
    keep.show(state.get("keep"));
    radius.show(PAINT_RADII.findLastIndex((one) => one <= state.get("radius")));
    rest.textContent = `the rest is ${classOf(restId()).name}`;
    rest.setAttribute("aria-label", rest.textContent);
    closer.hidden = tool !== "polygon" || corners.length < 3;
    pictures.show(index);
    [...pictures.select.options].forEach((one, i) => { one.textContent = `${names[i]}${painted.includes(i) ? " ✓" : ""}`; });
    [previous.disabled, next.disabled] = [index === 0, index === names.length - 1];
    bar.value = painted.length;
    counted.textContent = `${painted.length} of ${names.length} painted`;
    [undo.disabled, redo.disabled] = [!layer.undo, !layer.redo];
    const words = {
      brush: `Drag to paint ${name}.`, eraser: "Drag to take labels away.",
      polygon: press?.drawn && press.alone ? `Let go, and what you drew around is ${name}.` : corners.length ? `${corners.length} corner${corners.length > 1 ? "s" : ""}. ${corners.length > 2
        ? "Enter, a double click or the first corner closes the polygon, " : ""}Backspace takes one back, Escape all.`
        : `Click corner after corner around ${name}, or drag around it in one go.`,
      fill: `Click into an area: it becomes ${name} as far as it hangs together.` }[tool];
    const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };  // or it is read again
    say(hint, opened.why ? `This picture cannot be painted: ${opened.why}`
      : problem || (ids && shown === index ? words : "Opening the picture …"));
    hint.classList.toggle("seglab-paint-problem", Boolean(opened.why || problem));
    const waiting = `${pending.length} step${pending.length > 1 ? "s" : ""}`;
    say(saved, !state.alive() ? `The kernel is gone${pending.length ? `: ${waiting} not saved` : ""}. Run the cell again to paint.`
      : pending.length ? (timer ? "saving …" : `The kernel is busy: ${waiting} to save.`)
        : painted.includes(index) ? `✓ saved in ${folder}/masks` : "nothing painted yet");
    saved.classList.toggle("seglab-paint-problem", !state.alive() || (pending.length > 0 && !timer));
    if (viewer) viewer.canvas.style.cursor = panning ? "grab" : tool === "brush" || tool === "eraser" ? "none" : "crosshair";
    viewer?.changed(false);
  }
  function chooseTool(name) {
    cancel();
    state.set("tool", name);
  }
  const chooseClass = (id) => {
    if (state.get("tool") === "eraser") state.set("tool", "brush");
    state.set("chosen", id);
  };
  function resize(by) {
    const place = PAINT_RADII.findLastIndex((one) => one <= state.get("radius")) + by;
    state.set("radius", PAINT_RADII[Math.min(Math.max(place, 0), PAINT_RADII.length - 1)]);
  }

  // ------------------------------------------------------------------------------------- what Python hears and says
  function send(command) {
    if (!ready()) return;
    pending.push(`${me}.${++sent}`);
    state.ask({ index: shown, command, token: pending.at(-1) });
    clearTimeout(timer);
    timer = setTimeout(() => { timer = 0; refresh(); }, PAINT_PATIENCE);
    problem = "";
    refresh();
  }
  /** Whether there is a picture to paint on, and somebody who saves it. */
  const ready = () => Boolean(ids) && shown === state.get("index") && state.alive();
  function answered(token) {
    const place = pending.indexOf(token);
    if (place >= 0) pending = pending.slice(place + 1);
    if (!pending.length) { clearTimeout(timer); timer = 0; }
  }
  /** What Python has is the truth, as soon as it knows all that was painted here. */
  async function takeTruth() {
    const layer = state.get("layer"), mine = ++round;
    answered(layer.token);
    refresh();
    const truth = await unpack(layer.ids);
    if (mine !== round || layer.index !== shown || pending.length || points || !ids) return;
    ids.set(truth);
    viewer.changed(true);
  }
  state.hear((message) => {
    if (!pending.includes(message.token)) return;
    problem = message.why ?? "";  // "failed" has one, "done" has none
    answered(message.token);
    takeTruth();
  });
  async function showPicture() {
    const { index, why, size, full, step, image } = state.get("opened"), layer = state.get("layer");
    if (why) panel.replaceChildren(hint);
    if (why || index !== layer.index) return refresh();
    cancel();
    const focused = host?.contains(document.activeElement), choices = stateOf(model), inside = h("div", { hidden: true, "data-picture": index });
    panel.append(inside);
    const fresh = createViewer(inside, { size, image, masks: [{ name: "mask", ids: layer.ids, confidence: null }], classes,
      truth: "" }, choices, tool);
    const gone = () => { fresh.destroy(); choices.forget(); inside.remove(); };
    [ids, host, shown, problem] = [null, inside, index, ""];
    await fresh.ready;
    if (host !== inside) return gone();  // another one was opened meanwhile
    leave();
    [viewer, leave] = [fresh, gone];
    [grid, ids] = [paintGrid(size, full, step), fresh.ids()];
    fresh.element.firstChild.append(hint);  // beside opacity and zoom
    inside.hidden = false;
    if (focused) viewer.canvas.focus({ preventScroll: true });
    takeTruth();
  }

  // ---------------------------------------------------------------------------------------------------- painting
  /** The middle of the pixel under a point of the viewer, in pixels of the whole picture. */
  const whole = ({ x, y }) => [(Math.floor(x) + 0.5) * grid.step, (Math.floor(y) + 0.5) * grid.step];
  const same = (a, b) => a[0] === b[0] && a[1] === b[1];
  function putting(id) {
    const kept = state.get("keep") && id !== PAINT_EMPTY, { width } = grid;
    return (j, from, to) => {
      for (let k = j * width + from; k <= j * width + to; k++) if (!kept || ids[k] === PAINT_EMPTY) ids[k] = id;
    };
  }
  const painting = (extra) => ({ class: value() === PAINT_EMPTY ? null : value(), keep: state.get("keep"), ...extra });
  function stroke(point) {
    if (points && same(points.at(-1), point)) return;
    if (!points) [before, points] = [ids.slice(), [point]];
    else points.push(point);
    paintSegment(grid, points.at(-2) ?? point, point, reach(), putting(value()));
    viewer.changed(false);
  }
  function endStroke() {
    const done = points;
    [points, before] = [null, null];
    viewer.changed(true);
    send(painting({ do: "stroke", points: done, radius: reach() }));
  }
  function addCorner(point, near) {
    const [first, last] = [corners[0], corners.at(-1)];
    if (corners.length > 2 && (same(point, last) || Math.hypot(point[0] - first[0], point[1] - first[1]) <= near)) closePolygon();
    else if (!last || !same(point, last)) corners.push(point);
    refresh();
  }
  function closePolygon() {
    if (corners.length < 3) return;
    const done = corners;
    [corners, press] = [[], null];
    paintPolygon(grid, done, putting(value()));
    viewer.changed(true);
    send(painting({ do: "polygon", points: done }));
  }
  function fillRest() {
    if (!ready()) return refresh();
    for (let k = 0; k < ids.length; k++) if (ids[k] === PAINT_EMPTY) ids[k] = restId();
    viewer.changed(true);
    send({ do: "rest", class: restId() });
  }
  /** Give up what is being drawn. */
  function cancel() {
    const any = points || corners.length;
    if (points) {
      ids.set(before);
      [points, before] = [null, null];
      takeTruth();
    }
    [corners, press] = [[], null];
    if (any) refresh();
    return Boolean(any);
  }

  const letters = { n: () => go(1), p: () => go(-1), "[": () => resize(-1), "]": () => resize(1), r: fillRest,
    k: () => state.set("keep", !state.get("keep")), home: () => viewer?.zoom(0), escape: cancel,
    ...Object.fromEntries(Object.entries(PAINT_TOOLS).map(([name, [key]]) => [key.toLowerCase(), () => chooseTool(name)])),
    ...Object.fromEntries(known.filter(({ id }) => id < 10).map(({ id }) => [String(id), () => chooseClass(id)])) };
  /** Keys that mean the same wherever the focus is in here. */
  function shortcut(event) {
    const key = event.key.toLowerCase(), control = event.ctrlKey || event.metaKey;
    if (event.altKey || event.target.matches("select")) return false;
    if (control && (key === "z" || key === "y")) send({ do: key === "y" || event.shiftKey ? "redo" : "undo" });
    else if (control || !(key in letters) || (key === "home" && event.target.matches("input"))) return false;
    else if (letters[key]() === false) return false;
    event.preventDefault();
    event.stopPropagation();
    return true;
  }
  root.addEventListener("keydown", shortcut);
  root.addEventListener("keyup", (event) => { if (event.key === " ") { panning = false; refresh(); } });

  const tool = {
    help: PAINT_HELP,
    down(point, event) {
      if (panning || event.button !== 0) return false;
      if (!ready()) { refresh(); return true; }
      const chosen = state.get("tool"), at = whole(point);
      if (chosen === "fill") send(painting({ do: "fill", points: [at] }));
      else if (chosen === "polygon") {
        press = { x: event.clientX, y: event.clientY, alone: corners.length === 0, drawn: false };
        const shownWidth = viewer.canvas.getBoundingClientRect().width;
        const pixel = grid.width * grid.step / shownWidth;  // of the picture, in one of the screen when all is shown
        addCorner(at, pixel * (event.pointerType === "touch" ? 16 : 8));
      } else stroke(at);
      return true;
    },
    move(list, event) {
      if (points) for (const point of list) stroke(whole(point));
      else if (press && corners.length) {
        if (!press.drawn && Math.hypot(event.clientX - press.x, event.clientY - press.y) > 8) {
          press.drawn = true;
          refresh();
        }
        if (press.drawn) for (const point of list) if (!same(whole(point), corners.at(-1))) corners.push(whole(point));
      }
    },
    up() {
      if (points) endStroke();
      else if (press?.drawn && press.alone) corners.length > 2 ? closePolygon() : cancel();
      if (press?.drawn) refresh();
      press = null;
    },
    cancel,
    double: () => { if (state.get("tool") === "polygon") closePolygon(); },
    key(event, at) {
      const plain = !event.ctrlKey && !event.altKey && !event.metaKey;
      if (plain && event.key === "Backspace" && corners.length) { corners.pop(); refresh(); }
      else if (plain && event.key === "Enter" && !at && corners.length) closePolygon();
      else if (plain && (event.key === "Enter" || event.key === " ") && at) {
        if (!ready()) refresh();
        else if (state.get("tool") === "fill") send(painting({ do: "fill", points: [whole(at)] }));
        else if (state.get("tool") === "polygon") addCorner(whole(at), 0);
        else { stroke(whole(at)); endStroke(); }
      } else if (plain && event.key === " ") { panning = true; refresh(); }
      else return shortcut(event);
      event.preventDefault();
      event.stopPropagation();
      return true;
    },
    draw(context, { s, x, y }, at) {
      context.setTransform(1, 0, 0, 1, 0, 0);
      const place = ([px, py]) => [x + px / grid.step * s, y + py / grid.step * s];
      const line = (path) => {
        for (const [colour, width] of [["#000", 3], ["#fff", 1.4]]) {
          [context.strokeStyle, context.lineWidth] = [colour, width];
          context.stroke(path);
        }
      };
      if (corners.length) {
        const path = new Path2D();
        corners.forEach((corner, i) => path[i ? "lineTo" : "moveTo"](...place(corner)));
        if (at && !press?.drawn) path.lineTo(x + (at.x + 0.5) * s, y + (at.y + 0.5) * s);
        context.fillStyle = css(classOf(value()).colour).replace(")", " / 30%)");
        context.fill(path);
        line(path);
        for (const corner of press?.drawn ? [corners[0]] : corners) {
          const dot = new Path2D();
          dot.arc(...place(corner), corner === corners[0] ? 5 : 3, 0, 7);
          context.fillStyle = "#fff";
          context.fill(dot);
          line(dot);
        }
      }
      if (at && grid && !panning && ["brush", "eraser"].includes(state.get("tool"))) {
        const circle = new Path2D();
        circle.arc(x + (at.x + 0.5) * s, y + (at.y + 0.5) * s, Math.max(2, reach() / grid.step * s), 0, 7);
        line(circle);
      }
    },
  };

  state.on(["tool", "chosen", "radius", "keep", "painted", "index", "safe_colours"], refresh);
  state.on("layer", takeTruth);
  state.on("opened", showPicture);
  refresh();
  const began = showPicture();
  return { began, destroy() { clearTimeout(timer); host = null; leave(); state.forget(); } };
}

export default {
  async render({ model, el }) {
    const painter = createPainter(stage(el, "mask painter"), model);
    await painter.began;
    return () => painter.destroy();
  },
};
