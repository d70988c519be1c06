// Strokes on a mask, pixel by pixel as painting.py draws them, with the same arithmetic in the same order.

/** The pixels of a picture that the browser has, one of each step × step: as `_samples` in Python. */
function paintGrid([width, height], [fullWidth, fullHeight], step) {
  const half = (step - 1) / 2;
  const along = (count, full) => ({
    count,
    place: (i) => Math.min(i * step + half, full - 1),  // which pixel of the picture it is
    first: (p) => (p > full - 1 ? count : Math.max(0, Math.ceil((p - half) / step))),  // the first one from p on
    last: (p) => (p >= full - 1 ? count - 1 : Math.floor((p - half) / step)),  // the last one up to p
  });
  return { step, width, height, columns: along(width, fullWidth), rows: along(height, fullHeight) };
}

/** What a round brush covers between a and b, [x, y] each: put(row, first column, last column). */
function paintSegment({ rows, columns }, [ax, ay], [bx, by], radius, put) {
  const low = Math.min(ay, by) - radius, high = Math.max(ay, by) + radius;
  const length = Math.sqrt((bx - ax) * (bx - ax) + (by - ay) * (by - ay)) || 1;
  const nx = (ay - by) / length * radius, ny = (bx - ax) / length * radius;
  const discs = [[ax, ay], [bx, by]];
  const tangents = [[ax + nx, ay + ny, bx + nx, by + ny], [ax - nx, ay - ny, bx - nx, by - ny]];
  const end = rows.last(Math.floor(high - 0.5));
  for (let j = rows.first(Math.ceil(low - 0.5)); j <= end; j++) {
    const y = rows.place(j) + 0.5;
    let [least, most] = [Infinity, -Infinity];
    for (const [cx, cy] of discs) {
      const rest = radius * radius - (y - cy) * (y - cy);
      if (rest < 0) continue;
      const reach = Math.sqrt(rest);
      least = Math.min(least, cx - reach);
      most = Math.max(most, cx + reach);
    }
    for (const [px, py, qx, qy] of tangents) {
      if ((py <= y) === (qy <= y)) continue;
      const x = px + (y - py) * (qx - px) / (qy - py);
      least = Math.min(least, x);
      most = Math.max(most, x);
    }
    if (least <= most) put(j, columns.first(Math.ceil(least - 0.5)), columns.last(Math.floor(most - 0.5)));
  }
}

/** What a polygon covers, with its outline: put(row, first column, last column). */
function paintPolygon(grid, points, put) {
  const { rows, columns } = grid, turns = new Map();  // row -> how the outline winds from a column on
  points.forEach(([ax, ay], i) => {
    const [bx, by] = points[(i + 1) % points.length];
    const end = rows.last(Math.ceil(Math.max(ay, by) - 0.5) - 1);
    for (let j = rows.first(Math.ceil(Math.min(ay, by) - 0.5)); j <= end; j++) {
      const x = ax + (rows.place(j) + 0.5 - ay) * (bx - ax) / (by - ay);
      if (!turns.has(j)) turns.set(j, new Int32Array(columns.count + 1));
      turns.get(j)[columns.first(Math.ceil(x - 0.5))] += by > ay ? 1 : -1;
    }
    paintSegment(grid, [ax, ay], [bx, by], 0.5, put);
  });
  for (const [j, row] of turns) {
    for (let i = 0, winds = 0; i < columns.count; i++) if (winds += row[i]) put(j, i, i);
  }
}
