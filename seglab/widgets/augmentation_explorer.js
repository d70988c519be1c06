// The explorer's controls and panels; what they show is computed in augmentation.js.

/** Paint ids in their colours, loud where asked; pale makes room for what is loud. */
function aePaint(canvas, out, ids, colours, pale, loud) {
  const data = new ImageData(out.width, out.height), words = new Uint32Array(data.data.buffer);
  const table = Uint32Array.from(colours, (colour) => aeWord(pale ? colour.map((v) => (v >> 1) + 64) : colour));
  const magenta = aeWord(AE_LOUD);
  for (let i = 0; i < ids.length; i++) words[i] = loud && loud[i] ? magenta : table[ids[i]];
  aePut(canvas, data);
}

/** A colour as one word of an ImageData, opaque. */
function aeWord(rgb) {
  return new Uint32Array(Uint8Array.of(...rgb, 255).buffer)[0];
}

function aePut(canvas, data) {
  if (canvas.width !== data.width) canvas.width = data.width;
  if (canvas.height !== data.height) canvas.height = data.height;
  // Pixels stay squares where they are enlarged.
  const enlarged = canvas.clientWidth * (window.devicePixelRatio || 1) >= data.width;
  canvas.style.imageRendering = enlarged ? "pixelated" : "auto";
  canvas.getContext("2d").putImageData(data, 0, 0);
}

/** The picture, with the mask's colours over it; `bare` says of each id whether it shows the picture. */
function aeBlend(canvas, out, colours, bare, opacity) {
  const rgba = out.rgba.slice();
  if (opacity > 0) {
    for (let i = 0; i < out.mask.length; i++) {
      if (bare[out.mask[i]]) continue;
      const colour = colours[out.mask[i]];
      for (let c = 0; c < 3; c++) rgba[4 * i + c] = (1 - opacity) * rgba[4 * i + c] + opacity * colour[c];
    }
  }
  aePut(canvas, new ImageData(rgba, out.width, out.height));
}

function aeFormat(unit) {
  return {
    "°": (v) => `${v}°`,
    "×": (v) => `× ${aeNumber(v)}`,
    "%": (v) => `${aeNumber(100 * v)} %`,
    px: (v) => (v ? `${aeNumber(v)} px` : "off"),
  }[unit] || aeNumber;
}

export default {
  async render({ model, el }) {
    const state = stateOf(model);
    const { controls, classes, ...content } = state.get("content"), [width, height] = content.size;
    const [pixels, ids] = await Promise.all([unpack(content.pixels, width), unpack(content.ids)]);
    const colours = Array.from({ length: 256 }, () => AE_LOUD);
    for (const entry of classes) colours[entry.id] = entry.colour;
    const bare = new Uint8Array(256);
    for (const { id, background } of classes) bare[id] = background || id === AE_IGNORE;
    const names = new Map(classes.map((entry) => [entry.id, `${entry.name} (${entry.id})`]));
    const all = [...controls.map((control) => control.name), "picture_only"];

    const panels = [0, 1, 2].map(() => {
      const title = h("b"), note = h("span");
      const canvas = h("canvas", { role: "img" });
      const frame = h("div", { class: "seglab-ae-frame", style: { aspectRatio: `${width} / ${height}` } }, canvas);
      return { title, note, canvas, element: h("figure", {}, h("figcaption", {}, title, h("br"), note), frame) };
    });
    const words = h("p", { class: "seglab-ae-words", "aria-live": "polite" });
    const legend = h("div", { class: "seglab-ae-legend" });
    const under = h("div", { class: "seglab-note" });
    const pre = h("pre", { tabindex: "0", "aria-label": "The same in torchvision" });

    const shown = {};  // control's name -> its element
    const addSliders = (box, name) => {
      for (const control of controls.filter((entry) => entry.group === name)) {
        const format = aeFormat(control.unit), element = slider({ ...control, value: state.get(control.name), format,
          oninput: (value) => state.set(control.name, value) });
        const { show } = element;
        element.show = (value) => {  // Python may set a value between two steps: the text says it as it is
          show(value);
          element.querySelector("output").textContent = format(value);
          element.input.setAttribute("aria-valuetext", format(value));
        };
        element.show(state.get(control.name));
        box.append(shown[control.name] = element);
      }
    };
    const both = h("fieldset", {}, h("legend", {}, "moves picture and mask"));
    const picture = h("fieldset", {}, h("legend", {}, "changes the picture only"));
    const flips = h("div", { class: "seglab-bar" });
    for (const { name, label } of controls.filter((entry) => entry.group === "flip")) {
      flips.append(shown[name] = toggle({ label, pressed: state.get(name), onchange: (now) => state.set(name, now) }));
    }
    both.append(flips);
    addSliders(both, "both");
    addSliders(picture, "picture");
    picture.append(h("div", { class: "seglab-note" },
      "A darker cat is still a cat: the mask stays as it is. All steps run in the order of this page."));
    const opacity = slider({ label: "mask over the picture", value: state.get("opacity"),
      format: (v) => `${Math.round(100 * v)} %`, oninput: (value) => state.set("opacity", value) });
    shown.picture_only = toggle({ label: "Move only the picture (a bug)", pressed: state.get("picture_only"),
      title: "Flips and affine leave the mask where it was", onchange: (now) => state.set("picture_only", now) });
    const put = (values) => { for (const [name, value] of Object.entries(values)) state.set(name, value); };
    const surprise = button({ label: "Surprise me", title: "Draw settings at random, as in training", onclick: () => {
      const seed = state.get("seed");
      put({ ...aeSurprise(seed), seed: seed + 1 });
    } });
    const reset = button({ label: "Reset", title: "Put every setting to rest", onclick: () =>
      put(Object.fromEntries([...controls.map((c) => [c.name, c.rest ?? false]), ["picture_only", false]])) });
    const copy = button({ label: "Copy", title: "Copy the code", onclick: async () => {
      getSelection().selectAllChildren(pre);
      try {
        await navigator.clipboard.writeText(pre.textContent);
        copy.textContent = "Copied";
      } catch {  // not allowed on this page: the text is selected
        copy.textContent = "Selected: press Ctrl+C";
      }
    } });

    let out = null, named = "";
    const source = { key: "", value: null };
    const read = () => Object.fromEntries(all.map((name) => [name, state.get(name)]));
    const draw = onceAFrame(() => {
      const s = read(), key = `${s.flip_horizontal} ${s.flip_vertical}`;
      if (source.key !== key) {
        Object.assign(source, { key, value: aeSource(pixels, ids, width, height, s.flip_horizontal, s.flip_vertical) });
      }
      out = aeCompute(source.value, s);
      const over = s.picture_only ? Math.max(0.5, state.get("opacity")) : state.get("opacity");
      aeBlend(panels[0].canvas, out, colours, bare, over);
      aePaint(panels[1].canvas, out, out.mask, colours, false, null);
      aePaint(panels[2].canvas, out, out.linear, colours, true, out.invented);
      const titles = s.picture_only
        ? [["picture", "moved; the mask over it"], ["mask", "not moved"], ["labels", "magenta: now wrong"]]
        : [["picture", "bilinear; 0 outside"], ["mask, right", "nearest; 255 (ignored) outside"],
          ["mask, wrong", "bilinear class ids; magenta: invented"]];
      panels.forEach((panel, i) => {
        [panel.title.textContent, panel.note.textContent] = titles[i];
        panel.canvas.setAttribute("aria-label", titles[i].join(": "));
      });
      words.textContent = aeWords(out, s, classes);
      pre.textContent = aeCode(s, width, height);
      copy.textContent = "Copy";
      tellClasses();
    });
    const tellClasses = () => {
      const there = new Uint8Array(256);
      for (const id of out.nearest) there[id] = 1;
      for (const id of out.mask) there[id] = 1;
      const seen = classes.filter((entry) => there[entry.id]);
      const text = seen.map((entry) => entry.id).join(" ");
      if (text === named) return;
      named = text;
      legend.replaceChildren(...seen.map((entry) => h("span", {},
        h("span", { class: "seglab-swatch", style: { background: css(entry.colour) } }), ` ${names.get(entry.id)}`)));
    };
    const point = (event) => {
      if (!out) return;
      const box = event.currentTarget.getBoundingClientRect();
      const zoom = Math.min(box.width / out.width, box.height / out.height);
      const x = Math.floor((event.clientX - box.left - (box.width - zoom * out.width) / 2) / zoom);
      const y = Math.floor((event.clientY - box.top - (box.height - zoom * out.height) / 2) / zoom);
      if (x < 0 || y < 0 || x >= out.width || y >= out.height) return rest();
      const at = y * out.width + x, name = (id) => names.get(id) || `${id}, no class`;
      const last = state.get("picture_only")
        ? `right: ${name(out.nearest[at])}${out.invented[at] ? ", so this label is wrong" : ""}`
        : `bilinear: ${name(out.linear[at])}${out.invented[at] ? ", invented" : ""}`;
      under.textContent = `x ${x}, y ${y} – mask: ${name(out.mask[at])} – ${last}`;
    };
    const rest = () => { under.textContent = `${width} × ${height} pixels. Point at a panel to read its ids.`; };
    for (const { canvas } of panels) {
      canvas.addEventListener("pointermove", point);
      canvas.addEventListener("pointerleave", rest);
    }

    const root = stage(el, "Augmentation explorer",
      h("div", { class: "seglab-ae-panels" }, ...panels.map((panel) => panel.element)), words, legend, under,
      h("div", { class: "seglab-bar" }, surprise, reset, shown.picture_only, opacity),
      h("div", { class: "seglab-ae-groups" }, both, picture),
      h("div", { class: "seglab-ae-code" }, h("span", {}, "The same in torchvision"), copy), pre);
    root.classList.add("seglab-ae");
    for (const name of all) {
      state.on(name, () => { shown[name].show(state.get(name)); draw(); });
    }
    state.on("opacity", () => { opacity.show(state.get("opacity")); draw(); });
    const sized = new ResizeObserver(draw);
    sized.observe(root);
    rest();
    draw();
    return () => { draw.cancel(); sized.disconnect(); state.forget(); };
  },
};
