// Thumbnails of a split, sorted and filtered here; a click opens one in the viewer.

const BROWSE_ORDERS = { worst: "worst first", best: "best first", loss: "largest loss first", name: "by name" };
const BROWSE_PAIRS = 100;  // confusions to choose from: the largest ones
const BROWSE_PATIENCE = 4000;  // ms until a kernel that does not answer is mentioned

/** The wire's columns as typed arrays; `start[i]` to `start[i + 1]` are picture i's rows in `pixels`. */
function browseTable(content) {
  const memory = (view) => bytesOf(view).slice().buffer;  // aligned, as typed arrays want it
  const numbers = (view) => (view ? new Float32Array(memory(view)) : null);
  const count = content.names.length, pixels = new Uint32Array(memory(content.pixels));
  const start = new Uint32Array(count + 1);
  for (let k = 0; k < pixels.length; k += 4) start[pixels[k] + 1] = k + 4;
  for (let i = 1; i <= count; i++) start[i] = Math.max(start[i], start[i - 1]);
  const orders = Object.fromEntries(Object.entries(content.orders).map(
    ([name, view]) => [name, new Uint32Array(memory(view))]));
  return { ...content, count, pixels, start, orders, iou: numbers(content.iou), loss: numbers(content.loss),
    confidence: numbers(content.confidence), sizes: new Uint16Array(memory(content.sizes)),
    offsets: new Uint32Array(memory(content.offsets)), lower: content.names.map((name) => name.toLowerCase()) };
}

/** How much of picture i is of class `truth` and called `prediction`: [pixels, true pixels of that class]. */
function browseAmount({ pixels, start }, i, [truth, prediction]) {
  let [found, all] = [0, 0];
  for (let k = start[i]; k < start[i + 1]; k += 4) {
    if (pixels[k + 1] !== truth) continue;
    all += pixels[k + 3];
    if (pixels[k + 2] === prediction) found = pixels[k + 3];
  }
  return [found, all];
}

/** The pictures that pass the filters, sorted. As `PredictionBrowser.visible` in Python. */
function browseVisible(table, state) {
  const { pixels, start, lower } = table, wanted = state.get("search").toLowerCase();
  const one = state.get("class_filter"), confused = state.get("confused");
  const holds = (i) => {
    for (let k = start[i]; k < start[i + 1]; k += 4) if (pixels[k + 1] === one || pixels[k + 2] === one) return true;
    return false;
  };
  const found = Array.from(table.orders[state.get("order")]).filter(
    (i) => (one < 0 || holds(i)) && (!wanted || lower[i].includes(wanted)));
  if (!confused.length) return found;
  const amount = new Map(found.map((i) => [i, browseAmount(table, i, confused)[0]]));
  return found.filter((i) => amount.get(i) > 0).sort((a, b) => amount.get(b) - amount.get(a));
}

/** All mistakes of the split, largest first: [truth, prediction, pixels, pictures]. */
function browsePairs({ pixels }) {
  const sums = new Map();
  for (let k = 0; k < pixels.length; k += 4) {
    const [truth, prediction] = [pixels[k + 1], pixels[k + 2]], key = truth * 256 + prediction;
    if (truth === prediction) continue;
    const sum = sums.get(key) ?? [truth, prediction, 0, 0];
    sum[2] += pixels[k + 3];
    sum[3] += 1;
    sums.set(key, sum);
  }
  return [...sums.values()].sort((a, b) => b[2] - a[2]);
}

/** Put a thumbnail on a canvas: the picture, and over it prediction, truth or errors. As `_thumb` in Python. */
function browsePaint(canvas, { picture, prediction, truth }, show, classes) {
  const { width, height } = picture;
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  if (show === "picture" || !prediction) return;
  const data = context.getImageData(0, 0, width, height), to = data.data;
  const painted = classes.filter(({ id, background }) => id !== VIEWER_IGNORE && !background);
  const colours = new Map(painted.map(({ id, colour }) => [id, colour]));
  for (let i = 0; i < prediction.length; i++) {
    let colour, alpha = 0.5;
    if (show === "errors") {
      alpha = 0.6;
      colour = truth[i] === VIEWER_IGNORE ? VIEWER_UNSCORED : truth[i] === prediction[i] ? VIEWER_RIGHT : VIEWER_WRONG;
    } else {
      colour = colours.get((show === "truth" ? truth : prediction)[i]);
      if (!colour) continue;
    }
    for (let c = 0; c < 3; c++) to[4 * i + c] = (1 - alpha) * to[4 * i + c] + alpha * colour[c];
  }
  context.putImageData(data, 0, 0);
}

/** `choices()` makes a state for a viewer: what is chosen there is the widget's, and stays from picture to picture. */
function createBrowser(root, table, bytes, state, choices) {
  const { names, classes, masks, count, page_size: pageSize, offsets, sizes } = table;
  const nameOf = (id) => classes[id].name;
  const whole = (number) => number.toLocaleString("en");
  let found = [], focus = -1, drawn = 0;
  let open = null;  // { index, ends, viewer, full, timer, note, host }

  // ------------------------------------------------------------------------------------------------- thumbnails
  const piece = (i, k) => new DataView(bytes.buffer, bytes.byteOffset + offsets[3 * i + k],
    offsets[3 * i + k + 1] - offsets[3 * i + k]);
  const decoded = new Map();  // the last few pages, oldest first
  function thumbnail(i) {
    if (!decoded.has(i)) {
      decoded.set(i, Promise.all([decode(piece(i, 0)), ...(masks ? [unpack(piece(i, 1)), unpack(piece(i, 2))] : [])])
        .then(([picture, prediction, truth]) => ({ picture, prediction, truth })));
      if (decoded.size > 3 * pageSize) decoded.delete(decoded.keys().next().value);
    }
    return decoded.get(i);
  }

  // ------------------------------------------------------------------------------------------------------- words
  const known = (values, i) => values && !Number.isNaN(values[i]);
  function scoreOf(i) {
    const parts = [];
    if (masks) parts.push(known(table.iou, i) ? `IoU ${table.iou[i].toFixed(3)}` : "not scored");
    else {
      const [, truth, prediction] = table.pixels.subarray(table.start[i]);
      parts.push(truth === prediction ? `✓ ${nameOf(truth)}` : `✗ ${nameOf(truth)}, called ${nameOf(prediction)}`);
    }
    if (known(table.loss, i)) parts.push(`loss ${table.loss[i].toFixed(2)}`);
    if (!masks && known(table.confidence, i)) parts.push(`${percent(table.confidence[i], 0)} sure`);
    return parts;
  }
  /** What is confused in picture i: short, and as a sentence. */
  function confusionOf(i) {
    const pair = state.get("confused");
    if (!pair.length || !masks) return [];
    const [amount, all] = browseAmount(table, i, pair);
    return [`${whole(amount)} px · ${percent(amount / all)}`, `${percent(amount / all)} of the true `
      + `${nameOf(pair[0])} pixels, ${whole(amount)}, are called ${nameOf(pair[1])}`];
  }

  // ---------------------------------------------------------------------------------------------------- controls
  const choose = (name, value) => { state.set("page", 0); state.set(name, value); };
  const byConfusion = "most of this confusion";
  const order = choice({ label: "sort", options: Object.keys(table.orders).map((name) => [name, BROWSE_ORDERS[name]]),
    value: state.get("order"), onchange: (value) => choose("order", value) });
  const confusionOrder = h("option", { value: "confusion" }, byConfusion);
  const shows = (masks ? ["prediction", "truth", "errors", "picture"] : []).map((name) => toggle({ label: name,
    title: `show ${name} on the thumbnails`, onchange: () => {
      state.set("show", name);
      if (name === "errors") state.set("errors", true);
      refreshShow();
    } }));
  const present = new Set();
  for (let k = 0; k < table.pixels.length; k += 4) present.add(table.pixels[k + 1]).add(table.pixels[k + 2]);
  const some = classes.filter(({ id }) => present.has(id)).map(({ id, name }) => [id, name]);
  const classChoice = choice({ label: "class", options: [[-1, "all"], ...some], value: state.get("class_filter"),
    title: "pictures whose truth or prediction holds this class", onchange: (v) => choose("class_filter", Number(v)) });
  const pairText = ([truth, prediction, amount, pictures]) => `${nameOf(truth)} taken for ${nameOf(prediction)} `
    + `(${masks ? `${whole(amount)} px in ${whole(pictures)}` : whole(pictures)})`;
  const pairs = browsePairs(table);
  const pairChoice = choice({ label: "mistake", value: "",
    options: [["", "any"], ...pairs.slice(0, BROWSE_PAIRS).map((pair) => [`${pair[0]},${pair[1]}`, pairText(pair)])],
    title: "pictures with this mistake, those with most of it first",
    onchange: (v) => choose("confused", v ? v.split(",").map(Number) : []) });
  pairChoice.classList.add("seglab-browse-pairs");
  const otherPair = h("option", { value: "other" });  // a confusion that is not among them: chosen by Python or a link
  const search = h("input", { type: "text", size: 14, "aria-label": "part of a name", placeholder: "name",
    oninput: () => choose("search", search.value) });
  const counted = h("span", { class: "seglab-browse-count", "aria-live": "polite" });
  const panel = h("section", { class: "seglab-browse-open", hidden: true, "aria-label": "open picture" });
  const grid = h("div", { class: "seglab-browse-grid", role: "group", "aria-label": "pictures" });
  grid.style.gridTemplateColumns = `repeat(auto-fill, minmax(min(100%, ${Math.max(table.thumbnail, 108) + 12}px), 1fr))`;
  const turn = (page) => state.set("page", Math.min(Math.max(page, 0), pages() - 1));
  const [back, on] = [button({ label: "‹", title: "previous page", onclick: () => turn(page() - 1) }),
    button({ label: "›", title: "next page", onclick: () => turn(page() + 1) })];
  const place = h("output");
  const pager = h("div", { class: "seglab-bar seglab-browse-pager" }, back, place, on);
  root.classList.add("seglab-browse");
  root.append(h("div", { class: "seglab-bar" }, order, shows.length
    ? h("span", { class: "seglab-browse-shows", role: "group", "aria-label": "on the thumbnails" }, ...shows) : null,
  counted), h("div", { class: "seglab-bar" }, classChoice, pairChoice, search), panel, grid, pager);

  const pages = () => Math.max(1, Math.ceil(found.length / pageSize));
  const page = () => Math.min(state.get("page"), pages() - 1);

  // -------------------------------------------------------------------------------------------------------- grid
  function render() {
    const pair = state.get("confused");
    found = browseVisible(table, state);
    counted.textContent = `${whole(found.length)} of ${whole(count)} pictures`;
    order.select.disabled = pair.length > 0;
    pair.length ? order.select.prepend(confusionOrder) : confusionOrder.remove();
    order.show(pair.length ? "confusion" : state.get("order"));
    classChoice.show(state.get("class_filter"));
    otherPair.remove();
    if (pair.length) {
      const sums = pairs.find(([a, b]) => a === pair[0] && b === pair[1]);
      const listed = pairs.indexOf(sums) >= 0 && pairs.indexOf(sums) < BROWSE_PAIRS;
      otherPair.textContent = pair[0] === pair[1] ? `${nameOf(pair[0])}, rightly found`
        : pairText(sums ?? [...pair, 0, 0]);
      if (!listed) pairChoice.select.append(otherPair);
      pairChoice.show(listed ? String(pair) : "other");
    } else pairChoice.show("");
    if (search.value !== state.get("search")) search.value = state.get("search");
    const here = found.slice(page() * pageSize, (page() + 1) * pageSize);
    place.textContent = `page ${whole(page() + 1)} of ${whole(pages())}`;
    pager.hidden = pages() === 1;
    pager.style.display = pager.hidden ? "none" : "";
    back.disabled = page() === 0;
    on.disabled = page() === pages() - 1;
    const within = grid.contains(document.activeElement);
    if (!here.includes(focus)) focus = here[0] ?? -1;
    const tallest = Math.max(...here.map((i) => sizes[2 * i + 1]));  // so that names stand on one line
    grid.replaceChildren(...here.map((i) => item(i, tallest)), ...(here.length ? [] : [h("div", { class: "seglab-browse-none" },
      "No picture matches.")]));
    if (within) itemOf(focus)?.focus();
    open?.ends();
    refreshShow();
  }
  const itemOf = (i) => grid.querySelector(`[data-index="${i}"]`);
  function item(i, tallest) {
    const score = scoreOf(i), [more, sentence] = confusionOf(i), wrong = score[0].startsWith("✗");
    const canvas = h("canvas", { width: sizes[2 * i], height: sizes[2 * i + 1] });
    return h("button", { type: "button", class: "seglab-browse-item", "data-index": i, tabindex: i === focus ? 0 : -1,
      title: [names[i], score.join(", "), sentence].filter(Boolean).join("\n"), "aria-current": i === state.get("opened"), onclick: () => {
        setFocus(i);
        state.set("opened", i);
      } },
    h("div", { class: "seglab-browse-thumb", style: { height: `${tallest}px` } }, canvas),
    h("span", {}, names[i]),
    h("span", { class: wrong ? "seglab-browse-score seglab-browse-wrong" : "seglab-browse-score" },
      masks ? score.join(" · ") : score[0]),
    masks || score.length < 2 ? null : h("span", { class: "seglab-browse-score" }, score.slice(1).join(" · ")),
    more ? h("span", { class: "seglab-browse-score" }, more) : null);
  }
  function refreshShow() {
    for (const one of shows) one.show(one.textContent === state.get("show"));
    const round = ++drawn;
    for (const element of grid.querySelectorAll("[data-index]")) {
      thumbnail(Number(element.dataset.index)).then((thumb) => {
        if (round === drawn) browsePaint(element.querySelector("canvas"), thumb, state.get("show"), classes);
      });
    }
  }
  function setFocus(i) {
    if (itemOf(focus)) itemOf(focus).tabIndex = -1;
    focus = i;
    if (itemOf(i)) itemOf(i).tabIndex = 0;
  }
  grid.addEventListener("keydown", (event) => {
    const items = [...grid.querySelectorAll("[data-index]")], at = items.indexOf(document.activeElement);
    if (at < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    const across = items.filter((one) => one.offsetTop === items[0].offsetTop).length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across, Home: -at,
      End: items.length - 1 - at }[event.key];
    if (step === undefined) return;
    const next = items[at + step];
    if (next) {
      setFocus(Number(next.dataset.index));
      next.focus();
    }
    event.preventDefault();
    event.stopPropagation();  // arrow keys move cells of a notebook
  });

  // --------------------------------------------------------------------------------------------------- one picture
  function closeViewer() {
    if (!open) return;
    clearTimeout(open.timer);
    open.leave?.();
    open = null;
  }
  /** Put a picture into the panel. The one before it goes once this one is decoded, so that nothing flickers. */
  async function put(content, full) {
    const mine = open, host = h("div", { hidden: true }), chosen = choices();
    mine.host.append(host);
    const viewer = createViewer(host, content, chosen);
    const leave = () => { viewer.destroy(); chosen.forget(); host.remove(); };
    try {
      await viewer.ready;
    } catch (error) {
      leave();
      if (mine === open) mine.note.textContent = `This picture cannot be shown: ${error.message}.`;
      return;
    }
    if (mine !== open || (mine.full && !full)) {
      leave();
      return;
    }
    mine.leave?.();
    mine.leave = leave;
    mine.full ||= full;
    host.hidden = false;
    if (full) {
      clearTimeout(mine.timer);
      mine.note.textContent = "";
    }
  }
  function showOpened() {
    const index = state.get("opened");
    for (const one of grid.children) one.setAttribute("aria-current", one.dataset.index === String(index));
    if (open?.index === index) return;
    const inside = panel.contains(document.activeElement), before = document.activeElement?.getAttribute("aria-label");
    const wasOpen = open !== null;
    closeViewer();
    panel.hidden = index < 0;
    panel.replaceChildren();
    if (index < 0) {
      if (inside) itemOf(focus)?.focus();
      return;
    }
    const go = (step) => button({ label: step < 0 ? "‹ previous" : "next ›",
      title: step < 0 ? "previous picture (P)" : "next picture (N)", onclick: () => goTo(step) });
    const [previous, next] = [go(-1), go(1)];
    const ends = () => {  // what comes before and after depends on the filters
      const now = found.indexOf(index);
      previous.disabled = now <= 0;
      next.disabled = now < 0 || now === found.length - 1;
    };
    ends();
    const close = button({ label: "close", title: "close (Escape)", onclick: () => state.set("opened", -1) });
    open = { index, ends, leave: null, full: false, timer: 0, host: h("div"),
      note: h("div", { class: "seglab-note", role: "status" }, "The thumbnail, enlarged; the full picture is coming.") };
    panel.append(h("div", { class: "seglab-bar" }, h("div", { class: "seglab-browse-title" }, h("b", {}, names[index]),
      [...scoreOf(index), confusionOf(index)[1]].filter(Boolean).join(" · ")), previous, next, close), open.note, open.host);
    const [same] = [previous, next].filter((one) => one.getAttribute("aria-label") === before && !one.disabled);
    if (!wasOpen || inside) (same ?? close).focus({ preventScroll: true });
    if (!wasOpen) panel.scrollIntoView({ block: "nearest" });
    put({ size: [sizes[2 * index], sizes[2 * index + 1]], image: piece(index, 0), classes, truth: masks ? "truth" : "",
      masks: masks ? [{ name: "prediction", ids: piece(index, 1), confidence: null },
        { name: "truth", ids: piece(index, 2), confidence: null }] : [] }, false);
    const mine = open;
    if (!state.alive()) {
      mine.note.textContent = "The kernel is gone: this is the thumbnail, enlarged. Run the notebook for the full size.";
      return;
    }
    state.ask({ kind: "open", index });
    mine.timer = setTimeout(() => {
      mine.note.textContent = "The kernel is busy or gone: this is the thumbnail, enlarged, until it answers.";
    }, BROWSE_PATIENCE);
  }
  function goTo(step) {
    const at = found.indexOf(state.get("opened")), next = at + step;
    if (at < 0 || next < 0 || next >= found.length) return;
    setFocus(found[next]);
    turn(Math.floor(next / pageSize));
    state.set("opened", found[next]);
  }
  panel.addEventListener("keydown", (event) => {
    const typing = event.target.matches("select, input[type=text]");
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") state.set("opened", -1);
    else if (!typing && event.key.toLowerCase() === "n") goTo(1);
    else if (!typing && event.key.toLowerCase() === "p") goTo(-1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  state.hear((message, buffers) => {
    if (!open || message.index !== open.index || open.full) return;
    if (message.kind === "failed") {
      clearTimeout(open.timer);
      open.note.textContent = `This is the thumbnail, enlarged. The full picture could not be read: ${message.why}`;
      return;
    }
    const { content } = message, at = (number) => (number === null ? null : buffers[number]);
    open.full = true;
    put({ ...content, image: at(content.image), masks: content.masks.map(
      ({ name, ids, confidence }) => ({ name, ids: at(ids), confidence: at(confidence) })) }, true);
  });

  state.on(["order", "class_filter", "search", "page"], render);
  state.on("confused", () => {
    if (state.get("page")) state.set("page", 0);  // chosen by a link, which knows nothing of pages
    render();
  });
  state.on("show", refreshShow);
  state.on("opened", showOpened);
  render();
  showOpened();
  return closeViewer;
}

export default {
  async render({ model, el }) {
    const state = stateOf(model);
    const end = createBrowser(stage(el, "predictions"), browseTable(model.get("content")), model.get("thumbnails"), state,
      () => stateOf(model));
    return () => {
      end();
      state.forget();
    };
  },
};
