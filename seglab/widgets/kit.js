// What every widget of seglab needs in the browser. Python puts this file in front of the widget's own (`browser_code`),
// so all of it lives in one ES module: no import, no request.

/** An element: h("button", {class: "x", onclick: f, "aria-label": "…"}, "text", child, …). Text is never HTML. */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The same for SVG, which has a namespace of its own; listeners are added by hand. */
function svgElement(tag, properties = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Bytes of the kernel (a DataView) as they are. */
function bytesOf(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** The inverse of Python's `pack`: a DataView -> Promise of the Uint8Array. The browser inflates, nothing is rounded. */
async function unpack(view, width = 0) {
  const stream = new Blob([bytesOf(view)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const values = new Uint8Array(await new Response(stream).arrayBuffer());
  // With a width, rows are differences to the row above: maps that change slowly travel in fewer bytes.
  for (let i = width; width && i < values.length; i++) values[i] += values[i - width];
  return values;
}

/** A PNG or JPEG (a DataView) -> Promise of an ImageBitmap. */
function decode(view) {
  return createImageBitmap(new Blob([bytesOf(view)]));
}

/** Run `draw` once before the next frame is shown, however often it is asked for. */
function onceAFrame(draw) {
  let waiting = 0;
  const ask = () => { waiting ||= requestAnimationFrame(() => { waiting = 0; draw(); }); };
  ask.cancel = () => { cancelAnimationFrame(waiting); waiting = 0; };
  return ask;
}

/** The shared state of a view: reads, writes and listens, and forgets its listeners when the view goes.
 *
 * Writing changes the widget in this page at once; Python hears of it a moment later, at most ten times a second. If the
 * kernel is gone nobody hears, and the view works on.
 */
function stateOf(model) {
  const listeners = [];
  let timer = 0, live = true;
  const alive = () => live && model.comm_live !== false;
  const tell = () => {
    timer = 0;
    if (alive()) model.save_changes();
  };
  const hearOf = (event, listener) => {
    model.on(event, listener);
    listeners.push([event, listener]);
  };
  // The line to Python was cut (the kernel died or began anew) or mended; a message proves that it is there.
  hearOf("comm_live_update", () => { live = model.comm_live ?? false; });
  hearOf("msg:custom", () => { live = true; });
  return {
    get: (name) => model.get(name),
    set(name, value) {
      model.set(name, value);
      timer ||= setTimeout(tell, 100);
    },
    on(names, listener) {
      for (const name of [names].flat()) hearOf(`change:${name}`, listener);
    },
    hear: (listener) => hearOf("msg:custom", listener),  // messages of the kernel: listener(content, buffers)
    ask: (content) => model.send(content),
    alive,
    forget() {
      if (timer) { clearTimeout(timer); tell(); }
      for (const [event, listener] of listeners) model.off(event, listener);
    },
  };
}

let labelCount = 0;

/** A labelled slider. `.show(value)` sets it without telling `oninput`. */
function slider({ label, min = 0, max = 1, step = 0.01, value, format = (v) => v, oninput, title }) {
  const id = `seglab-${++labelCount}-${Date.now().toString(36)}`;
  const text = h("output", { for: id });
  const input = h("input", { id, type: "range", min, max, step, title, oninput: () => {
    write();
    oninput(Number(input.value));
  } });
  const write = () => {
    text.textContent = format(Number(input.value));
    input.setAttribute("aria-valuetext", text.textContent);
  };
  const element = h("div", { class: "seglab-slider" }, h("label", { for: id }, label), input, text);
  element.input = input;
  element.show = (v) => { input.value = v; write(); };
  element.show(value);
  return element;
}

/** A button that stays pressed. `.show(pressed)`. */
function toggle({ label, title, pressed = false, onchange }) {
  const button = h("button", { type: "button", class: "seglab-button", title, onclick: () => {
    const now = button.getAttribute("aria-pressed") !== "true";
    button.show(now);
    onchange(now);
  } }, label);
  button.show = (now) => button.setAttribute("aria-pressed", String(now));
  button.show(pressed);
  return button;
}

/** A push button. */
function button({ label, title, onclick, name }) {
  return h("button", { type: "button", class: "seglab-button", title, "aria-label": name || title, onclick }, label);
}

/** A labelled choice of [value, text] pairs. `.show(value)`. */
function choice({ label, options, value, onchange, title }) {
  const select = h("select", { title, onchange: () => onchange(select.value) },
    ...options.map(([v, text]) => h("option", { value: v }, text)));
  const element = h("label", { class: "seglab-choice" }, h("span", {}, label), select);
  element.select = select;
  element.show = (v) => { select.value = v; };
  element.show(value);
  return element;
}

/** A toggle of the colours for colour-blind eyes; null if the classes are drawn in these already. */
function safeToggle(classes, onchange) {
  if (classes.every(({ colour, safe }) => String(colour) === String(safe))) return null;
  return toggle({ label: "safe colours", title: "colours that colour-blind eyes can tell apart", onchange });
}

/** CSS of a colour [r, g, b]. */
const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

/** 0.1234 -> "12.3 %"; what would read 0 but is not, as "< 0.1 %". */
function percent(share, digits = 1) {
  const least = 10 ** -digits / 100;
  if (share > 0 && share < least / 2) return `< ${(least * 100).toFixed(digits)} %`;
  return `${(share * 100).toFixed(digits)} %`;
}

/** Make a canvas as sharp as the screen: its pixels are the screen's. Returns true if its size changed. */
function fit(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [w, ht] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  if (canvas.width === w && canvas.height === ht) return false;
  canvas.width = w;
  canvas.height = ht;
  return true;
}

/** The widget's outermost element, in which all styles apply. `label` is what a screen reader calls it. */
function stage(el, label, ...children) {
  const root = h("div", { class: "seglab", role: "group", "aria-label": label }, ...children);
  // A notebook's keys without Ctrl (arrows change the cell, x cuts it, 0 0 restarts the kernel) are not meant in here.
  root.addEventListener("keydown", (event) => {
    const runs = event.key === "Enter" && event.shiftKey;
    if (!event.ctrlKey && !event.altKey && !event.metaKey && !runs) event.stopPropagation();
  });
  el.append(root);
  return root;
}
