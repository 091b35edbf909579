"use strict";
// Plots of a sweep as SVG. Each returns the drawing, find(x, y) for what is at a place of it, and
// mark(place) to mark a point of the sweep in it.
const plots = (() => {
  const COLOURS = 9;
  // So many ranges are made of a numeric param with more values than MOST.
  const MOST = 12;
  const BINS = 8;
  const MOST_CELLS = 30;
  const MOST_LINES = 300;
  const MOST_BARS = 60;

  const element = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) {
      const value = attributes[key];
      made.setAttribute(key, typeof value === "number" ? round(value) : value);
    }
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const canvas = (width, height, label) =>
    element("svg", {
      class: "drawing",
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      role: "img",
      "aria-label": label,
    });

  const format = (value, digits = 6) => {
    if (typeof value !== "number") return value ?? "—";
    const rounded = Number(value.toPrecision(digits));
    return rounded && Math.abs(rounded) < 1e-3 ? rounded.toExponential() : String(rounded);
  };

  const cut = (text, length) => (text.length <= length ? text : `${text.slice(0, length - 1)}…`);
  const round = (value) => Math.round(value * 10) / 10;
  const mean = (values) => values.reduce((sum, value) => sum + value / values.length, 0);
  const path = (points) => `M${points.map(([x, y]) => `${round(x)} ${round(y)}`).join("L")}`;
  // A letter of the labels is about so wide.
  const LETTER = 6.3;

  // From numbers between low and high to places between start and end, what is beyond at the edge.
  const scale = (low, high, start, end, log = false) => {
    const bend = log ? Math.log10 : (value) => value;
    // Halves, for the difference of the largest floats is infinite.
    const from = bend(low) / 2;
    const half = bend(high) / 2 - from;
    return (value) => {
      const share = half ? (bend(value) / 2 - from) / half : 0.5;
      return start + Math.min(1, Math.max(0, share)) * (end - start);
    };
  };

  const ticks = (low, high, count, log = false) => {
    if (log && low > 0) {
      const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
      const step = Math.max(1, Math.ceil((last - first + 1) / count));
      const found = [];
      for (let power = first; power <= last; power += step) found.push(Number(`1e${power}`));
      return found;
    }
    const room = (high / 2 - low / 2) * (2 / count);
    if (!(room > Math.abs(high) * 1e-12) || !Number.isFinite(room)) return low < high ? [low, high] : [low];
    const power = 10 ** Math.floor(Math.log10(room));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((found) => found >= room * 0.999);
    const found = [];
    for (let at = Math.ceil(low / step - 1e-9); at <= high / step + 1e-9; at += 1) {
      found.push(Number((at * step).toPrecision(12)));
    }
    return found.length ? found : [low, high];
  };

  // Show as many labels as there is room for; of those that would overlap, the first.
  const thin = (labels, room) => {
    let end = -Infinity;
    return labels.filter(({ at, size }) => {
      if (at - size / 2 < end + room) return false;
      end = at + size / 2;
      return true;
    });
  };

  // Values that are far off (a run that diverged) would press all others into one colour and weigh
  // on every mean.
  const bounds = (sweep) => sweep.usual.map((bound, side) => bound ?? (side ? Infinity : -Infinity));
  const isUsual = (sweep) => {
    const [least, most] = bounds(sweep);
    return (place) => sweep.means[place] >= least && sweep.means[place] <= most;
  };

  // The range of values of the objective with their intervals; those far off share the edge.
  const range = (sweep, values, stds = []) => {
    const [least, most] = bounds(sweep);
    let [low, high] = [Infinity, -Infinity];
    values.forEach((value, place) => {
      if (value < least || value > most) return;
      const std = Number.isFinite(stds[place]) ? stds[place] : 0;
      const ends = [value - std, value + std].map((end) => (Number.isFinite(end) ? end : value));
      low = Math.min(low, ends[0]);
      high = Math.max(high, ends[1]);
    });
    return {
      low,
      high,
      beyondLow: values.some((value) => value < least),
      beyondHigh: values.some((value) => value > most),
      mode: sweep.mode,
    };
  };

  // The strongest colour is that of the best values.
  const colour = ({ low, high, mode }, value) => {
    const share = scale(low, high, 0, 1)(value);
    const good = mode === "min" ? 1 - share : share;
    return low < high ? Math.min(COLOURS - 1, Math.floor(good * COLOURS)) : COLOURS - 1;
  };

  const legend = ({ low, high, beyondLow, beyondHigh, mode }, name) => {
    const box = document.createElement("p");
    box.className = "scale";
    const swatches = canvas(COLOURS * 16, 10, `colours from ${format(low, 4)} to ${format(high, 4)}`);
    for (let place = 0; place < COLOURS; place += 1) {
      const shade = mode === "min" ? COLOURS - 1 - place : place;
      swatches.append(element("rect", { class: `q${shade} cell`, x: place * 16, width: 16, height: 10 }));
    }
    const word = mode === "max" ? ["", " best"] : mode === "min" ? ["best ", ""] : ["", ""];
    box.append(
      `${name}: ${word[0]}${beyondLow ? "≤ " : ""}${format(low, 4)} `,
      swatches,
      ` ${beyondHigh ? "≥ " : ""}${format(high, 4)}${word[1]}`,
    );
    return box;
  };

  // The values of a param in groups: each by itself, or ranges of many numbers. of[i] is the group
  // of the value i; what has none is left out.
  const groups = ({ values, numbers, log }) => {
    if (!numbers || values.length <= MOST) {
      const labels = values.slice(0, MOST_CELLS);
      return { labels, of: values.map((_, place) => (place < MOST_CELLS ? place : -1)) };
    }
    const place = scale(numbers[0], numbers[numbers.length - 1], 0, BINS, log);
    const all = numbers.map((number) => Math.min(BINS - 1, Math.floor(place(number))));
    const used = Array.from(new Set(all));
    const labels = used.map((bin) => {
      const members = numbers.filter((_, at) => all[at] === bin);
      const [first, last] = [format(members[0], 2), format(members[members.length - 1], 2)];
      return first === last ? first : `${first} – ${last}`;
    });
    return { labels, of: all.map((bin) => used.indexOf(bin)) };
  };

  const label = (text, x, y, name, room = 24) => {
    const made = element("text", { class: name, x, y }, cut(text, room));
    if (text.length > room) made.append(element("title", {}, text));
    return made;
  };

  // Where the values of a param stand between two places, and what is written there.
  const axisOf = ({ values, numbers, log }, from, to) => {
    const last = values.length - 1;
    const along = numbers && scale(numbers[0], numbers[last], from, to, log);
    const at = numbers
      ? (value) => along(numbers[value])
      : (value) => from + ((to - from) * (value + 0.5)) / (last + 1);
    const marks =
      numbers && last >= MOST
        ? ticks(numbers[0], numbers[last], 6, log).map((tick) => ({ text: format(tick), at: along(tick) }))
        : values.map((text, value) => ({ text: text || "''", at: at(value) }));
    return { at, marks };
  };

  // Labels below a drawing: level where they fit, else upright.
  const standing = (texts, room) => {
    const longest = Math.max(...texts.map((text) => text.length));
    const upright = longest * LETTER + 6 > room;
    return { upright, height: upright ? Math.min(longest, 16) * LETTER + 12 : 22 };
  };
  const below = (svg, marks, bottom, { upright }, room) => {
    const sized = marks.map((mark) => ({ ...mark, size: upright ? 12 : mark.text.length * LETTER }));
    for (const { text, at } of thin(sized, upright ? 0 : room)) {
      const [x, y] = upright ? [at + 4, bottom + 8] : [at, bottom + 18];
      const made = label(text, x, y, upright ? "upright" : "middle", upright ? 16 : 40);
      if (upright) made.setAttribute("transform", `rotate(-90 ${round(x)} ${round(y)})`);
      svg.append(made);
    }
  };

  const nearest = (points, x, y, reach) => {
    let [best, least] = [null, reach * reach];
    for (const point of points) {
      const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (distance < least) [best, least] = [point.place, distance];
    }
    return best;
  };

  // A scatter without chance: the same place for the same point, however it is drawn.
  const jitter = (place) => ((place * 0.618034) % 1) - 0.5;

  // The objective by a param (params[which]), or against the second objective with its front.
  const strip = (view, width, which) => {
    const { sweep, drawable } = view;
    const param = sweep.params[which];
    const { second } = sweep;
    const shown = param ? drawable : drawable.filter((place) => Number.isFinite(second.values[place]));
    const hasBars = shown.length <= MOST_BARS;
    const means = shown.map((place) => sweep.means[place]);
    const span = range(sweep, means, hasBars ? shown.map((place) => sweep.stds[place]) : []);
    const levels = ticks(span.low, span.high, 5);
    const longest = Math.max(span.beyondLow || span.beyondHigh ? 7 : 0, ...levels.map((level) => format(level).length));
    const [left, right, top] = [Math.min(10, longest) * LETTER + 14, width - 14, 18];
    const count = param ? param.values.length : 0;
    const band = (right - left) / count;
    const isText = param && !param.numbers;
    const room = isText ? standing(param.values, band) : { upright: false, height: 22 };
    const height = 250 + room.height;
    const bottom = height - room.height - 10;
    const y = scale(span.low, span.high, bottom - 12, top);
    const name = param ? param.name : second.name;
    const svg = canvas(width, height, `${sweep.objective} by ${name}`);
    for (const tick of levels) {
      svg.append(
        element("path", { class: "grid", d: path([[left, y(tick)], [right, y(tick)]]) }),
        label(format(tick), left - 6, y(tick) + 4, "end", 10),
      );
    }
    if (span.beyondLow) svg.append(label("▼ below", left - 6, y(span.low) + 16, "end"));
    if (span.beyondHigh) svg.append(label("▲ above", left - 6, y(span.high) - 8, "end"));

    let [x, marks, spread] = [null, [], 0];
    if (param) {
      const axis = isText ? axisOf(param, left, right) : axisOf(param, left + 14, right - 14);
      x = (place) => axis.at(sweep.choices[place][which]);
      marks = axis.marks;
      const gaps = param.values.slice(1).map((_, value) => axis.at(value + 1) - axis.at(value) || Infinity);
      spread = Math.min(26, 0.5 * (isText ? band : Math.min(...gaps)));
    } else {
      const found = shown.map((place) => second.values[place]);
      const [low, high] = [Math.min(...found), Math.max(...found)];
      const along = scale(low, high, left + 14, right - 14);
      x = (place) => along(second.values[place]);
      marks = ticks(low, high, 6).map((tick) => ({ text: format(tick), at: along(tick) }));
    }
    for (const { at } of marks) svg.append(element("path", { class: "grid", d: path([[at, bottom], [at, bottom + 4]]) }));
    below(svg, marks, bottom, room, 8);

    const crowds = new Map();
    for (const place of shown) crowds.set(x(place), (crowds.get(x(place)) ?? 0) + 1);
    const points = shown.map((place) => {
      const aside = crowds.get(x(place)) > 1 && spread > 4 ? spread * jitter(place) : 0;
      return { place, x: x(place) + aside, y: y(sweep.means[place]) };
    });
    const cloud = element("g", { class: "points" });
    for (const { place, x: at } of hasBars ? points : []) {
      const [middle, std] = [sweep.means[place], sweep.stds[place]];
      if (!(Number.isFinite(std) && std > 0)) continue;
      cloud.append(element("path", { class: "std", d: path([[at, y(middle - std)], [at, y(middle + std)]]) }));
    }
    for (const point of points) {
      const isFront = !param && sweep.front.includes(sweep.ranks[point.place]);
      const r = points.length > 200 && !isFront ? 2 : 3.2;
      cloud.append(element("circle", { class: isFront ? "front" : "", cx: point.x, cy: point.y, r }));
    }
    svg.append(cloud);

    if (param) {
      // The mean of each value, and a line through those of numbers.
      const grouped = param.numbers && count > MOST ? groups(param) : null;
      const members = new Map();
      for (const place of shown.filter(isUsual(sweep))) {
        const value = sweep.choices[place][which];
        const key = grouped ? grouped.of[value] : value;
        if (!members.has(key)) members.set(key, []);
        members.get(key).push(place);
      }
      const middles = Array.from(members.keys())
        .sort((a, b) => a - b)
        .map((key) => members.get(key))
        .map((places) => [mean(places.map(x)), y(mean(places.map((place) => sweep.means[place]))), places.length]);
      const half = Math.min(16, Math.max(3, spread * 0.65));
      for (const [at, level, size] of middles) {
        if (size > 1) svg.append(element("path", { class: "mean", d: path([[at - half, level], [at + half, level]]) }));
      }
      if (param.numbers) svg.append(element("path", { class: "through", d: path(middles) }));
    } else {
      // Its steps are what can be had without losing in one of both.
      const front = points
        .filter(({ place }) => sweep.front.includes(sweep.ranks[place]))
        .sort((a, b) => a.x - b.x || a.y - b.y);
      const isFirst = (second.mode === "min") === (sweep.mode === "max");
      const steps = front.flatMap((point, place) => {
        const next = front[place + 1];
        if (!next) return [[point.x, point.y]];
        const corner = second.mode === "min" ? [next.x, point.y] : [point.x, next.y];
        return [[point.x, point.y], corner];
      });
      if (steps.length > 1) svg.append(element("path", { class: "front-line", d: path(steps) }));
      for (const { at, point } of thin(front.map((point) => ({ point, at: point.x, size: 24 })), 4)) {
        svg.append(label(`#${sweep.ranks[point.place] + 1}`, at, point.y + (isFirst ? -8 : 16), "middle halo"));
      }
    }

    const ring = element("circle", { class: "ring", r: 7, visibility: "hidden" });
    const best = points.find(({ place }) => sweep.best && sweep.ranks[place] === 0);
    if (best) {
      svg.append(element("circle", { class: "star", cx: best.x, cy: best.y, r: 4.5 }));
      const inner = best.x > right - 60;
      svg.append(label("best", best.x + (inner ? -9 : 9), best.y + 4, inner ? "end strong halo" : "strong halo"));
    }
    svg.append(ring);
    const where = new Map(points.map((point) => [point.place, point]));
    return {
      svg,
      find: (atX, atY) => nearest(points, atX, atY, 18),
      mark: (place) => {
        const point = where.get(place);
        ring.setAttribute("visibility", point ? "visible" : "hidden");
        if (!point) return;
        ring.setAttribute("cx", point.x);
        ring.setAttribute("cy", point.y);
      },
    };
  };

  const heat = (view, width, acrossAt, upwardsAt) => {
    const { sweep, drawable } = view;
    const [one, other] = [sweep.params[acrossAt], sweep.params[upwardsAt]];
    const [columns, rows] = [groups(one), groups(other)];
    const cells = new Map();
    for (const place of drawable.filter(isUsual(sweep))) {
      const [column, row] = [
        columns.of[sweep.choices[place][acrossAt]],
        rows.of[sweep.choices[place][upwardsAt]],
      ];
      if (column < 0 || row < 0) continue;
      const key = row * columns.labels.length + column;
      if (!cells.has(key)) cells.set(key, []);
      cells.get(key).push(place);
    }
    const means = new Map();
    for (const [key, places] of cells) means.set(key, mean(places.map((place) => sweep.means[place])));
    const all = Array.from(means.values());
    const own = range(sweep, all);

    const texts = rows.labels.map((text) => text || "''");
    const left = Math.min(130, Math.max(...texts.map((text) => Math.min(20, text.length))) * LETTER + 14);
    const right = width - 6;
    const wide = (right - left) / columns.labels.length;
    const high = Math.max(16, Math.min(64, 250 / rows.labels.length));
    const room = standing(columns.labels, wide);
    const bottom = 6 + high * rows.labels.length;
    const svg = canvas(width, bottom + room.height + 2, `mean ${sweep.objective} by ${one.name} and ${other.name}`);
    // As many digits as tell the cells apart.
    const span = own.high - own.low;
    const size = Math.max(Math.abs(own.low), Math.abs(own.high));
    const digits = span > 0 && size < 1e300 ? Math.ceil(Math.log10(size / span)) + 2 : 3;
    const written = (value) => format(value, Math.min(7, Math.max(3, digits)));
    const fits = Math.max(...all.map((value) => written(value).length)) * LETTER + 6 <= wide;
    // The greatest numbers are at the top; texts read downwards.
    const top = (row) => (other.numbers ? bottom - (row + 1) * high : 6 + row * high);
    for (const [key, value] of means) {
      const [row, column] = [Math.floor(key / columns.labels.length), key % columns.labels.length];
      const shade = colour(own, value);
      svg.append(
        element("rect", {
          class: `q${shade} cell`,
          x: left + column * wide + 0.5,
          y: top(row) + 0.5,
          width: Math.max(1, wide - 1),
          height: high - 1,
          rx: 2,
        }),
      );
      if (fits) {
        svg.append(
          label(written(value), left + (column + 0.5) * wide, top(row) + high / 2 + 4, `q${shade} in middle`),
        );
      }
    }
    texts.forEach((text, row) => svg.append(label(text, left - 6, top(row) + high / 2 + 4, "end", 20)));
    const marks = columns.labels.map((text, column) => ({ text: text || "''", at: left + (column + 0.5) * wide }));
    below(svg, marks, bottom - 2, room, 0);
    const ring = element("rect", { class: "ring", rx: 2, width: wide, height: high, visibility: "hidden" });
    svg.append(ring);
    const hidden = [one, other].filter((param) => param.values.length > MOST_CELLS && !param.numbers);
    const key = legend(own, "mean");
    if (hidden.length) {
      const names = hidden.map((param) => `${MOST_CELLS} of ${param.values.length} values of ${param.name}`);
      key.append(` (${names.join(", ")})`);
    }
    return {
      svg,
      below: [key],
      find: (atX, atY) => {
        const column = Math.floor((atX - left) / wide);
        const from = Math.floor((atY - 6) / high);
        const row = other.numbers ? rows.labels.length - 1 - from : from;
        const places = column >= 0 && cells.get(row * columns.labels.length + column);
        if (!places || column >= columns.labels.length || row < 0) return null;
        const found = places.map((place) => sweep.means[place]);
        return [
          `mean ${format(mean(found))}`,
          `${one.name} = ${columns.labels[column]}`,
          `${other.name} = ${rows.labels[row]}`,
          places.length === 1
            ? "1 point"
            : `${places.length} points, ${format(Math.min(...found))} to ${format(Math.max(...found))}`,
        ];
      },
      mark: (place) => {
        const [column, row] = [
          columns.of[sweep.choices[place]?.[acrossAt]],
          rows.of[sweep.choices[place]?.[upwardsAt]],
        ];
        ring.setAttribute("visibility", column >= 0 && row >= 0 ? "visible" : "hidden");
        if (!(column >= 0 && row >= 0)) return;
        ring.setAttribute("x", left + column * wide);
        ring.setAttribute("y", top(row));
      },
    };
  };

  const parallel = (view, least, count) => {
    const { sweep, drawable } = view;
    // The most important param stands beside the objective.
    const params = sweep.params.slice(0, count).map((param, place) => ({ param, place })).reverse();
    const width = Math.max(least, 80 * (params.length + 1));
    const [top, bottom, height] = [40, 300, 316];
    const [left, right] = [70, width - 76];
    const at = (axis) => left + (axis / params.length) * (right - left);
    const svg = canvas(width, height, `${sweep.objective} of every point by ${params.length} params`);
    const span = range(sweep, drawable.map((place) => sweep.means[place]));
    const y = scale(span.low, span.high, bottom, top);
    const axes = params.map(({ param }) =>
      param.numbers ? axisOf(param, bottom, top) : axisOf(param, top, bottom),
    );

    const step = Math.max(1, drawable.length / MOST_LINES);
    const chosen = [];
    for (let place = 0; place < drawable.length; place += step) chosen.push(drawable[Math.floor(place)]);
    // Lines that share a value are a little apart there, so that one can be told from the other.
    const room = params.map(({ param }) =>
      Math.min(14, param.values.length > 20 ? 0 : ((bottom - top) / param.values.length) * 0.4),
    );
    const heights = (place) => [
      ...params.map((axis, number) => {
        const value = axes[number].at(sweep.choices[place][axis.place]);
        const moved = value + (chosen.length > 1 ? room[number] * jitter(place) : 0);
        return Math.min(bottom, Math.max(top, moved));
      }),
      y(sweep.means[place]),
    ];
    const lines = chosen.map((place) => ({ place, heights: heights(place) }));
    const trace = (line) => path(line.heights.map((height, axis) => [at(axis), height]));
    const crowd = lines.length > 60 ? "many" : "few";
    const group = element("g", { class: `lines ${crowd}` });
    // The best come last, so that they are on top.
    for (const line of Array.from(lines).reverse()) {
      const shade = colour(span, sweep.means[line.place]);
      group.append(element("path", { class: `q${shade}`, d: trace(line) }));
    }
    svg.append(group);
    const best = lines.find(({ place }) => sweep.best && sweep.ranks[place] === 0);
    if (best) svg.append(element("path", { class: "best-line", d: trace(best) }));
    const lit = element("path", { class: "lit-line", visibility: "hidden" });
    svg.append(lit);

    params.forEach(({ param }, axis) => {
      const x = at(axis);
      svg.append(element("path", { class: "axis", d: path([[x, top], [x, bottom]]) }));
      svg.append(label(param.name, x, axis % 2 && width / params.length < 130 ? 10 : 24, "middle strong", 16));
      const marks = axes[axis].marks.map((mark) => ({ ...mark, size: 13 })).sort((a, b) => a.at - b.at);
      for (const { text, at: place } of thin(marks, 0)) svg.append(label(text, x - 5, place + 4, "end halo", 11));
    });
    const x = at(params.length);
    svg.append(element("path", { class: "axis", d: path([[x, top], [x, bottom]]) }));
    svg.append(label(sweep.objective, x, 24, "middle strong", 20));
    for (const tick of ticks(span.low, span.high, 6)) {
      svg.append(element("path", { class: "axis", d: path([[x, y(tick)], [x + 4, y(tick)]]) }));
      const taken = best && Math.abs(y(tick) - y(sweep.means[best.place])) < 13;
      if (!taken) svg.append(label(format(tick), x + 8, y(tick) + 4, "halo", 9));
    }
    if (best) svg.append(label("best", x + 8, y(sweep.means[best.place]) + 4, "strong halo"));

    const where = new Map(lines.map((line) => [line.place, line]));
    const key = legend(span, sweep.objective);
    if (lines.length < drawable.length) {
      key.append(`; ${lines.length} of ${drawable.length} lines, evenly from the best to the worst`);
    }
    return {
      svg,
      below: [key],
      find: (atX, atY) => {
        const share = ((atX - left) / (right - left)) * params.length;
        if (share < -0.1 || share > params.length + 0.1) return null;
        const axis = Math.max(0, Math.min(params.length - 1, Math.floor(share)));
        const rest = Math.min(1, Math.max(0, share - axis));
        let [found, closest] = [null, 14];
        for (const line of lines) {
          const height = line.heights[axis] * (1 - rest) + line.heights[axis + 1] * rest;
          const distance = Math.abs(height - atY);
          if (distance < closest) [found, closest] = [line.place, distance];
        }
        return found;
      },
      mark: (place) => {
        const line = where.get(place);
        lit.setAttribute("visibility", line ? "visible" : "hidden");
        if (line) lit.setAttribute("d", trace(line));
      },
    };
  };

  return { format, strip, heat, parallel };
})();
