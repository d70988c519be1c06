// Pictures that a training is watched on: their masks after one epoch, the truth, the errors, and a slider over epochs.

const GROWTH_PLAY = { whole: 6000, least: 120, most: 700 };  // ms: all epochs, and one
const GROWTH_WIDTH = 320, GROWTH_GAP = 8, GROWTH_APART = 24;  // pixels: a panel, between panels, between pictures

/** One picture's panels: { element, count, ids(), layout(width), show(ids, words), destroy() }; without ids (null), the
 * picture alone is painted. */
function growthPicture({ name, size: [width, height], image, truth }, classes, state, ready) {
  const kinds = truth ? ["prediction", "truth", "errors"] : ["prediction"];
  const panels = kinds.map((kind) => {
    const canvas = h("canvas", { role: "img" }), caption = h("figcaption");
    return { kind, canvas, caption, element: h("figure", { class: "growth-panel" }, canvas, caption) };
  });
  const element = h("div", { class: "growth-picture", role: "group", "aria-label": name },
    ...panels.map((panel) => panel.element));
  const layer = new OffscreenCanvas(width, height), context = layer.getContext("2d");
  const data = context.createImageData(width, height), pixels = new Uint32Array(data.data.buffer);
  const hidden = classes.filter(({ background }) => background).map(({ id }) => id);
  let picture = null, real = null, gone = false;
  Promise.all([decode(image), truth && unpack(truth)]).then(([bitmap, ids]) => {
    if (gone) return bitmap.close();
    [picture, real] = [bitmap, ids];
    ready();
  });

  function paint({ kind, canvas }, ids) {
    const painted = canvas.getContext("2d"), from = kind === "truth" ? real : ids;
    painted.imageSmoothingEnabled = canvas.width < width;  // enlarged pixels stay sharp
    painted.globalAlpha = 1;
    painted.drawImage(picture, 0, 0, canvas.width, canvas.height);
    if (!from) return;
    if (kind === "errors") {
      const colours = [VIEWER_RIGHT, VIEWER_WRONG, VIEWER_UNSCORED].flatMap((colour) => [...colour, 255]);
      viewerPaintErrors(pixels, ids, real, classes, [], new Uint32Array(Uint8Array.from(colours).buffer));
    } else viewerPaint(pixels, from, viewerTable(classes, state.get("safe_colours"), hidden));
    context.putImageData(data, 0, 0);
    painted.globalAlpha = state.get("opacity");
    painted.drawImage(layer, 0, 0, canvas.width, canvas.height);
  }
  return {
    element, count: panels.length, ids: () => real,
    layout(across) {
      element.style.gridTemplateColumns = `repeat(${panels.length}, ${across}px)`;
      const s = Math.min(across, GROWTH_WIDTH) / width;
      for (const { canvas } of panels) fit(canvas, Math.round(width * s), Math.max(1, Math.round(height * s)));
    },
    show(ids, words) {
      for (const panel of panels) {
        if (picture) paint(panel, ids);
        const text = panel.kind === "prediction" ? words : panel.kind;
        panel.caption.textContent = text;
        const what = panel.kind === "truth" ? "truth" : `${panel.kind}, ${words}`;
        panel.canvas.setAttribute("aria-label", `${name}: ${what}`);
      }
    },
    destroy() { gone = true; picture?.close(); },
  };
}

/** `onhold(epoch or 0)` hears which epoch is to be shown where nobody points at one; `.show({look, count, best})`. */
function createGrowth(state, onhold) {
  const { pictures, classes } = state.get("growth"), unpacked = new WeakMap();
  let at = { look: 0, count: 0, best: 0 }, playing = 0, round = 0;
  const epochs = () => state.get("masks").epochs || [];
  /** Which of the epochs that have masks is on show, or the last before it. */
  const place = () => (at.look ? epochs().findLastIndex(({ epoch }) => epoch <= at.look) : epochs().length - 1);
  const hold = (index) => {
    const there = epochs(), next = Math.min(there.length - 1, Math.max(0, index));
    onhold(next === there.length - 1 ? 0 : there[next].epoch);  // the last: go on with the training
  };

  // ---------------------------------------------------------------------------------------------------- elements
  const icon = h("span", { class: "growth-icon" });
  const play = h("button", { type: "button", class: "seglab-button growth-play", onclick: () => {
    playing ? pause() : start();
  } }, icon);
  const track = h("input", { type: "range", class: "growth-track", min: 0, step: 1, "aria-label": "epoch of the masks",
    oninput: () => { pause(); hold(Number(track.value)); } });
  const words = h("span", { class: "growth-words" });  // no live region: the slider says the same
  const opacity = slider({ label: "opacity", value: state.get("opacity"), format: (v) => percent(v, 0),
    oninput: (value) => state.set("opacity", value) });
  const safe = safeToggle(classes, (on) => state.set("safe_colours", on));
  const ticks = h("div", { class: "growth-ticks", "aria-hidden": "true" });
  const legend = h("div", { class: "seglab-legend" }), note = h("div", { class: "seglab-note growth-note" });
  const shown = pictures.map((one) => growthPicture(one, classes, state, () => element.draw()));
  const grid = h("div", { class: "growth-grid" }, ...shown.map((picture) => picture.element));
  const element = h("section", { class: "growth", "aria-label": "masks of the pictures that are watched" },
    h("div", { class: "growth-bar" }, play, h("div", { class: "growth-rail" }, track, ticks), words),
    grid,
    h("div", { class: "seglab-bar growth-under" }, legend, h("span", { class: "seglab-group" }, opacity, safe)), note);

  track.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || ![" ", "Escape"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    const played = playing;
    pause();
    if (event.key === "Escape") onhold(0);
    else if (!played) start();
  });

  // ------------------------------------------------------------------------------------------------------- playing
  function showPlay() {
    icon.classList.toggle("growth-pause", playing > 0);
    play.setAttribute("aria-label", playing ? "pause" : "play the epochs");
    play.title = playing ? "pause" : "see the masks grow from the first epoch to the last";
  }
  function start() {
    const count = epochs().length;
    if (count < 2) return;
    let index = place() >= count - 1 ? 0 : place();
    const each = Math.min(GROWTH_PLAY.most, Math.max(GROWTH_PLAY.least, GROWTH_PLAY.whole / count));
    const next = () => {
      playing = setTimeout(() => {
        index += 1;
        if (index < epochs().length - 1) next();
        else { playing = 0; showPlay(); }
        hold(index);
      }, each);
    };
    hold(index);
    next();
    showPlay();
  }
  function pause() {
    clearTimeout(playing);
    playing = 0;
    showPlay();
  }

  // ------------------------------------------------------------------------------------------------------- showing
  const idsOf = (view) => {
    if (!unpacked.has(view)) unpacked.set(view, unpack(view));
    return unpacked.get(view);
  };
  function writeLegend(all) {
    const there = new Uint8Array(256);
    for (const ids of all) if (ids) for (const id of ids) there[id] = 1;
    const key = (colour, text) => h("span", { class: "seglab-key" },
      h("span", { class: "seglab-swatch", style: { background: css(colour) } }), ` ${text}`);
    legend.replaceChildren(
      ...classes.filter(({ id, background }) => there[id] && !background && id !== VIEWER_IGNORE)
        .map(({ name, colour, safe: other }) => key(state.get("safe_colours") ? other : colour, name)),
      ...(pictures.some(({ truth }) => truth) ? [key(VIEWER_RIGHT, "right"), key(VIEWER_WRONG, "wrong"),
        ...(there[VIEWER_IGNORE] ? [key(VIEWER_UNSCORED, "not scored")] : [])] : []));
  }
  element.draw = async () => {
    const mine = ++round, there = epochs(), index = place(), number = at.look || there[index]?.epoch || at.count;
    const now = there[index]?.epoch === number ? there[index] : null;  // never the mask of another epoch
    const best = number === at.best ? ", the best" : "", theBest = there.findIndex(({ epoch }) => epoch === at.best);
    track.max = Math.max(1, there.length - 1);
    track.disabled = play.disabled = there.length < 2;
    track.value = Math.max(0, index);
    words.textContent = at.count ? `epoch ${number} of ${at.count}${best}` : "no epoch yet";
    track.setAttribute("aria-valuetext", `${words.textContent}${now ? "" : ", no mask"}`);
    ticks.replaceChildren(...(there.length > 1 && theBest >= 0 ? [h("span", { class: "growth-best",
      style: { left: `${100 * theBest / (there.length - 1)}%` } }, "best")] : []));
    opacity.show(state.get("opacity"));
    safe?.show(state.get("safe_colours"));
    const masks = await Promise.all(shown.map((_, i) => (now ? idsOf(now.ids[i]) : null)));
    if (mine !== round) return;
    shown.forEach((picture, i) => {
      const iou = now?.iou[i];
      picture.show(masks[i], now ? `epoch ${number}${typeof iou === "number" ? ` · IoU ${iou.toFixed(3)}` : ""}`
        : `epoch ${number}: no mask kept`);
    });
    writeLegend([...masks, ...shown.map((picture) => picture.ids())]);
    const missing = !now && at.look && there.length && at.look > there[0].epoch
      ? `Of so many epochs not all masks are kept; that of epoch ${at.look} is not.` : "";
    note.textContent = [state.get("masks").note, missing].filter(Boolean).join(" ");
  };
  element.layout = () => {
    const room = element.clientWidth, { count } = shown[0];
    if (!room) return;
    const inRow = count === 1 ? (room > 540 ? 4 : 2) : room > 700 ? 2 : 1, abreast = Math.min(shown.length, inRow);
    const whole = (room - (abreast - 1) * GROWTH_APART) / abreast;
    const across = Math.floor(Math.min(GROWTH_WIDTH, (whole - (count - 1) * GROWTH_GAP) / count));
    grid.style.gridTemplateColumns = `repeat(${abreast}, max-content)`;
    for (const picture of shown) picture.layout(across);
  };
  element.show = (now) => { at = now; element.layout(); element.draw(); };
  element.destroy = () => { pause(); round++; for (const picture of shown) picture.destroy(); };
  showPlay();
  return element;
}
