// Augmentations as torchvision.transforms.v2.functional computes them for uint8 tensors, in typed arrays. Where
// rounding decides (halves in nearest), the steps are torch's, in its float32: Math.fround.

const AE_LOUD = [255, 0, 255], AE_IGNORE = 255;

/** To the nearest whole number, halves to the even one, as Python and torch round. */
function aeRound(value) {
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 !== 0 ? up - 1 : up;
}

/** The arguments of torchvision's affine, or null at rest. */
function aeMove(s, width, height) {
  const translate = [aeRound(s.translate_x * width) + 0, aeRound(s.translate_y * height) + 0];
  if (s.rotation === 0 && s.scale === 1 && s.shear === 0 && !translate[0] && !translate[1]) return null;
  return { angle: s.rotation, translate, scale: s.scale, shear: s.shear };
}

function aeWindow(s, width, height) {
  const w = Math.max(1, aeRound(s.crop * width)), ht = Math.max(1, aeRound(s.crop * height));
  return { left: aeRound(s.crop_x * (width - w)), top: aeRound(s.crop_y * (height - ht)), width: w, height: ht };
}

/** How far the blur's kernel reaches: 3 sigma, but less than the picture, which is mirrored at its edges. */
const aeReach = (s, width, height) => Math.min(Math.ceil(3 * s.blur), height - 1, width - 1);

/** Picture and mask, flipped, with one pixel of padding around: four neighbours are then always there. */
function aeSource(pixels, ids, width, height, flipX, flipY) {
  const across = width + 2;
  const rgb = new Uint8Array(across * (height + 2) * 3), mask = new Uint8Array(across * (height + 2)).fill(AE_IGNORE);
  for (let y = 0, from = 0; y < height; y++) {
    const row = (flipY ? height - y : y + 1) * across;
    for (let x = 0; x < width; x++, from++) {
      const to = row + (flipX ? width - x : x + 1);
      mask[to] = ids[from];
      for (let c = 0; c < 3; c++) rgb[3 * to + c] = pixels[from + c * width * height];
    }
  }
  return { rgb, mask, width, height };
}

/** One pass over the cropped window: bilinear picture, nearest mask, bilinear mask with its inventions. */
function aeSample(source, move, window) {
  const { rgb, mask, width, height } = source, across = width + 2, f = Math.fround;
  const count = window.width * window.height;
  const out = { width: window.width, height: window.height, rgba: new Uint8ClampedArray(4 * count).fill(255),
    nearest: new Uint8Array(count), linear: new Uint8Array(count), invented: new Uint8Array(count), cases: new Map() };
  const { rgba, nearest, linear, invented, cases } = out;
  if (!move) {
    for (let y = 0, to = 0; y < window.height; y++) {
      let from = (y + window.top + 1) * across + window.left + 1;
      for (let x = 0; x < window.width; x++, from++, to++) {
        nearest[to] = linear[to] = mask[from];
        for (let c = 0; c < 3; c++) rgba[4 * to + c] = rgb[3 * from + c];
      }
    }
    return out;
  }
  // torchvision's _get_inverse_affine_matrix about the centre, without a shear along y.
  const angle = move.angle * Math.PI / 180, tan = Math.tan(move.shear * Math.PI / 180);
  const a = Math.cos(angle), b = -(a * tan + Math.sin(angle)), c = Math.sin(angle), d = a - c * tan;
  const terms = (byX, byY, size) => [byX, byY, -byX * move.translate[0] - byY * move.translate[1]]
    .map((v) => f(f(v) / f(size / 2)));
  const [xx, xy, x0] = terms(d / move.scale, -b / move.scale, width);
  const [yx, yy, y0] = terms(-c / move.scale, a / move.scale, height);
  const halfWidth = f(width / 2), halfHeight = f(height / 2);
  for (let row = 0, to = 0; row < window.height; row++) {
    const gy = row + window.top + (1 - height) / 2, xOfRow = f(gy * xy), yOfRow = f(gy * yy);
    for (let column = 0; column < window.width; column++, to++) {
      const gx = column + window.left + (1 - width) / 2;
      const x = f(f(f(f(f(f(gx * xx) + xOfRow) + x0) + f(1)) * halfWidth) - f(0.5));
      const y = f(f(f(f(f(f(gx * yx) + yOfRow) + y0) + f(1)) * halfHeight) - f(0.5));
      const ix = Math.floor(x), iy = Math.floor(y);
      if (ix < -1 || iy < -1 || ix >= width || iy >= height) {
        rgba[4 * to] = rgba[4 * to + 1] = rgba[4 * to + 2] = 0;
        nearest[to] = linear[to] = AE_IGNORE;
        continue;
      }
      const p = (iy + 1) * across + ix + 1, q = p + across, fx = x - ix, fy = y - iy;
      const wa = (1 - fx) * (1 - fy), wb = fx * (1 - fy), wc = (1 - fx) * fy, wd = fx * fy;
      // torchvision fades to the padding twice: grid_sample has zeros outside, then the share that lies inside counts.
      const inside = ((ix >= 0 ? 1 - fx : 0) + (ix + 1 < width ? fx : 0))
        * ((iy >= 0 ? 1 - fy : 0) + (iy + 1 < height ? fy : 0));
      for (let channel = 0; channel < 3; channel++) {
        const i = 3 * p + channel, j = 3 * q + channel;
        rgba[4 * to + channel] = (wa * rgb[i] + wb * rgb[i + 3] + wc * rgb[j] + wd * rgb[j + 3]) * inside;
      }
      const ia = mask[p], ib = mask[p + 1], ic = mask[q], id = mask[q + 1];
      if (ia === ib && ia === ic && ia === id) {
        nearest[to] = linear[to] = ia;
        continue;
      }
      // Halves go to the even pixel.
      const right = fx > 0.5 || (fx === 0.5 && (ix & 1) !== 0), below = fy > 0.5 || (fy === 0.5 && (iy & 1) !== 0);
      nearest[to] = mask[(below ? q : p) + (right ? 1 : 0)];
      const sum = wa * ia + wb * ib + wc * ic + wd * id - AE_IGNORE * (1 - inside);  // of those inside
      const value = linear[to] = aeRound(f((sum - AE_IGNORE) * inside + AE_IGNORE));
      if (value !== ia && value !== ib && value !== ic && value !== id) {
        invented[to] = 1;
        const key = (Math.min(ia, ib, ic, id) << 16) | (Math.max(ia, ib, ic, id) << 8) | value;
        cases.set(key, (cases.get(key) || 0) + 1);
      }
    }
  }
  return out;
}

/** Brightness, contrast, saturation, hue in place; each step ends in whole grey levels, cut off, as torchvision's. */
function aeColour(rgba, s) {
  const f = Math.fround, values = new Uint8Array(rgba.buffer), table = new Uint8Array(256);
  // Lightness as torchvision weighs it, each product in float32.
  const weigh = (share) => Float32Array.from(table, (_, v) => v * f(share));
  const ofRed = weigh(0.2989), ofGreen = weigh(0.587), ofBlue = weigh(0.114);
  const grey = (i) => f(f(ofRed[values[i]] + ofGreen[values[i + 1]]) + ofBlue[values[i + 2]]) | 0;
  const cut = (value) => (value <= 0 ? 0 : value >= 255 ? 255 : value | 0);
  const look = () => {
    for (let i = 0; i < values.length; i += 4) {
      values[i] = table[values[i]];
      values[i + 1] = table[values[i + 1]];
      values[i + 2] = table[values[i + 2]];
    }
  };
  if (s.brightness !== 1) {
    for (let v = 0; v < 256; v++) table[v] = cut(f(v * f(s.brightness)));
    look();
  }
  if (s.contrast !== 1) {
    let sum = 0;
    for (let i = 0; i < values.length; i += 4) sum += grey(i);
    const mean = f(sum / (values.length / 4));
    for (let v = 0; v < 256; v++) table[v] = cut(f(f(v * f(s.contrast)) + f(f(1 - s.contrast) * mean)));
    look();
  }
  if (s.saturation !== 1) {
    const own = weigh(s.saturation), rest = f(1 - s.saturation);
    for (let i = 0; i < values.length; i += 4) {
      const light = f(rest * grey(i));
      values[i] = cut(f(own[values[i]] + light));
      values[i + 1] = cut(f(own[values[i + 1]] + light));
      values[i + 2] = cut(f(own[values[i + 2]] + light));
    }
  }
  if (s.hue !== 0) aeHue(values, s.hue);
}

/** Turn the colour circle by a share of it, in place: to hue, saturation and value, and back. */
function aeHue(values, share) {
  const whole = 255.999 / 255;  // from floats to whole numbers as torchvision does
  for (let i = 0; i < values.length; i += 4) {
    const r = values[i], g = values[i + 1], b = values[i + 2];
    const most = r > g ? (r > b ? r : b) : (g > b ? g : b), least = r < g ? (r < b ? r : b) : (g < b ? g : b);
    const range = most - least;
    if (range === 0) continue;
    const sixth = most === r ? (g - b) / range : most === g ? 2 + (b - r) / range : 4 + (r - g) / range;
    let turned = sixth + 6 * share;
    turned -= 6 * Math.floor(turned / 6);  // [0, 6)
    if (turned >= 6) turned = 0;  // what was a hair below 0
    const part = turned | 0, rise = turned - part;
    const top = most * whole | 0, low = least * whole | 0;
    const falling = (most - range * rise) * whole | 0, rising = (least + range * rise) * whole | 0;
    values[i] = part === 0 || part === 5 ? top : part === 1 ? falling : part === 4 ? rising : low;
    values[i + 1] = part === 1 || part === 2 ? top : part === 3 ? falling : part === 0 ? rising : low;
    values[i + 2] = part === 3 || part === 4 ? top : part === 5 ? falling : part === 2 ? rising : low;
  }
}

/** Gaussian blur in place, rows then columns, mirrored at the edges. */
function aeBlur(rgba, width, height, sigma, reach) {
  const kernel = new Float64Array(reach + 1);  // from the centre outwards
  let sum = 0;
  for (let k = 0; k <= reach; k++) sum += (kernel[k] = Math.exp(-(k * k) / (2 * sigma * sigma))) * (k ? 2 : 1);
  for (let k = 0; k <= reach; k++) kernel[k] /= sum;
  const mirror = (i, n) => (i < 0 ? -i : i >= n ? 2 * n - 2 - i : i), across = 3 * width;
  const values = new Uint8Array(rgba.buffer), rows = new Float32Array(across * height);
  const line = new Float32Array(3 * (width + 2 * reach)), total = new Float32Array(across);
  for (let y = 0; y < height; y++) {
    for (let x = -reach, to = 0; x < width + reach; x++, to += 3) {
      const from = 4 * (y * width + mirror(x, width));
      line[to] = values[from];
      line[to + 1] = values[from + 1];
      line[to + 2] = values[from + 2];
    }
    for (let x = 0, at = 3 * reach; x < across; x++, at++) total[x] = kernel[0] * line[at];
    for (let k = 1; k <= reach; k++) {
      const weight = kernel[k];
      let left = 3 * (reach - k), right = 3 * (reach + k);
      for (let x = 0; x < across; x++, left++, right++) total[x] += weight * (line[left] + line[right]);
    }
    rows.set(total, y * across);
  }
  for (let y = 0; y < height; y++) {
    for (let x = 0, at = y * across; x < across; x++, at++) total[x] = kernel[0] * rows[at];
    for (let k = 1; k <= reach; k++) {
      const weight = kernel[k];
      let above = mirror(y - k, height) * across, below = mirror(y + k, height) * across;
      for (let x = 0; x < across; x++, above++, below++) total[x] += weight * (rows[above] + rows[below]);
    }
    for (let x = 0, from = 0, to = 4 * y * width; x < width; x++, from += 3, to += 4) {
      values[to] = total[from] + 0.5;  // an array of bytes cuts off
      values[to + 1] = total[from + 1] + 0.5;
      values[to + 2] = total[from + 2] + 0.5;
    }
  }
}

/** All of it for the settings s: {width, height, rgba, nearest, linear, invented, cases, mask, wrong}. */
function aeCompute(source, s) {
  const move = aeMove(s, source.width, source.height), window = aeWindow(s, source.width, source.height);
  const out = aeSample(source, move, window);
  out.mask = out.nearest;
  if (s.picture_only) {
    out.mask = new Uint8Array(out.nearest.length);
    out.wrong = 0;
    for (let y = 0, to = 0; y < window.height; y++) {
      for (let x = 0; x < window.width; x++, to++) {
        // The source is flipped; the mask that stays is not.
        const column = x + window.left, row = y + window.top;
        const from = (s.flip_vertical ? source.height - row : row + 1) * (source.width + 2)
          + (s.flip_horizontal ? source.width - column : column + 1);
        out.mask[to] = source.mask[from];
        out.wrong += out.invented[to] = out.mask[to] === out.nearest[to] ? 0 : 1;
      }
    }
    out.linear = out.mask;
  }
  aeColour(out.rgba, s);
  const reach = aeReach(s, window.width, window.height);
  if (reach > 0) aeBlur(out.rgba, window.width, window.height, s.blur, reach);
  return out;
}

/** What the third panel teaches, in one sentence: Python's words(). */
function aeWords(out, s, classes) {
  if (s.picture_only) {
    return `Only the picture moved: ${percent(out.wrong / out.mask.length)} of the mask's pixels now name something `
      + "else than the picture shows.";
  }
  const many = (n, word) => (n === 1 ? word : `${word}s`);
  const names = new Map(classes.map((entry) => [entry.id, entry.name]));
  const name = (id) => (names.has(id) ? `${names.get(id)} (${id})` : String(id));
  const parts = [];
  for (const real of [true, false]) {
    const cases = [...out.cases].filter(([key]) => names.has(key & 255) === real).sort((a, b) => a[0] - b[0]);
    if (!cases.length) continue;
    const kinds = new Set(cases.map(([key]) => key & 255)).size, count = cases.reduce((sum, [, n]) => sum + n, 0);
    let text = `${count} ${many(count, "pixel")} of ${kinds} ` + (real
      ? `${kinds > 1 ? "classes that are" : "class that is"} not there` : `${many(kinds, "id")} that no class has`);
    let example = null;
    for (const [key, n] of cases) {
      const [low, high, id] = [key >> 16, (key >> 8) & 255, key & 255];
      if (low < id && id < high && (!example || n > example.n)) example = { low, high, id, n };
    }
    if (example) {
      const { low, high, id } = example;
      text += `: ${kinds > 1 ? "e.g. " : ""}between ${name(low)} and ${name(high)} lies ${name(id)}`;
    }
    parts.push(text);
  }
  return parts.length ? `Bilinear invents ${parts.join("; and ")}.` : "Bilinear invents nothing here.";
}

/** With three digits at most, as Python's code() writes numbers. */
const aeNumber = (value) => String(Number(value.toFixed(3)));

/** The same in torchvision: Python's code(). */
function aeCode(s, width, height) {
  const n = aeNumber, lines = ["from torchvision.transforms import InterpolationMode",
    "from torchvision.transforms.v2 import functional as F", "",
    `# image: tv_tensors.Image (3, ${height}, ${width}) uint8; mask: tv_tensors.Mask (${height}, ${width}) uint8`];
  const masks = (line) => lines.push(s.picture_only ? "# the bug: the mask stays where it was" : line);
  for (const [name, call] of [["flip_horizontal", "horizontal_flip"], ["flip_vertical", "vertical_flip"]]) {
    if (!s[name]) continue;
    lines.push(`image = F.${call}(image)`);
    masks(`mask = F.${call}(mask)`);
  }
  const move = aeMove(s, width, height);
  if (move) {
    lines.push(`move = dict(angle=${n(s.rotation)}, translate=[${move.translate.join(", ")}], scale=${n(s.scale)}, `
      + `shear=[${n(s.shear)}, 0])`);
    lines.push("image = F.affine(image, **move, interpolation=InterpolationMode.BILINEAR, fill=0)");
    masks("mask = F.affine(mask, **move, interpolation=InterpolationMode.NEAREST, fill=255)");
  }
  const window = aeWindow(s, width, height);
  if (s.crop < 1) {
    const text = `top=${window.top}, left=${window.left}, height=${window.height}, width=${window.width}`;
    lines.push(`image = F.crop(image, ${text})`, `mask = F.crop(mask, ${text})`);
  }
  for (const [name, rest] of [["brightness", 1], ["contrast", 1], ["saturation", 1], ["hue", 0]]) {
    if (s[name] !== rest) lines.push(`image = F.adjust_${name}(image, ${n(s[name])})`);
  }
  const size = 2 * aeReach(s, window.width, window.height) + 1;
  if (size > 1) {
    lines.push(`image = F.gaussian_blur(image, kernel_size=[${size}, ${size}], sigma=[${n(s.blur)}, ${n(s.blur)}])`);
  }
  return lines.join("\n");
}

/** Numbers in [0, 1) from a seed: Mulberry32. */
function aeRandom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let v = Math.imul(state ^ (state >>> 15), 1 | state);
    v = (v + Math.imul(v ^ (v >>> 7), 61 | v)) ^ v;
    return ((v ^ (v >>> 14)) >>> 0) / 4294967296;
  };
}

/** Settings as one would draw them in training. */
function aeSurprise(seed) {
  const random = aeRandom(seed), between = (low, high) => Number((low + (high - low) * random()).toFixed(2));
  const often = (share, low, high, rest) => { const v = between(low, high); return random() < share ? v : rest; };
  return { rotation: Math.round(between(-30, 30)), scale: between(0.7, 1.5), translate_x: between(-0.15, 0.15),
    translate_y: between(-0.15, 0.15), shear: Math.round(often(0.5, -15, 15, 0)), crop: often(0.4, 0.6, 0.95, 1),
    crop_x: between(0, 1), crop_y: between(0, 1), brightness: between(0.6, 1.4), contrast: between(0.6, 1.4),
    saturation: between(0.5, 1.5), hue: often(0.5, -0.1, 0.1, 0), blur: often(0.3, 0.5, 2, 0),
    flip_horizontal: random() < 0.5, flip_vertical: random() < 0.15 };
}
