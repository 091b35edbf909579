"use strict";
// Plots of a sweep as SVG. Each returns the drawing, find(x, y) for what is at a place of it, and
// mark(place) to mark a configuration in it.
const plots = (() => {
  const COLOURS = 9;
  // So many ranges are made of a numeric param with more values than MOST.
  const MOST = 12;
  const BINS = 8;
  const MOST_CELLS = 30;
  const MOST_LINES = 1500;

  const element = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
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

  const format = (value, digits = 6) =>
    typeof value === "number" ? String(Number(value.toPrecision(digits))) : (value ?? "—");

  const cut = (text, length) => (text.length <= length ? text : `${text.slice(0, length - 1)}…`);
  const round = (value) => Math.round(value * 10) / 10;
  const mean = (values) => values.reduce((sum, value) => sum + value / values.length, 0);
  // A letter of the labels is about so wide.
  const LETTER = 6.3;

  const quantile = (sorted, share) => {
    const place = share * (sorted.length - 1);
    const low = Math.floor(place);
    const rest = place - low;
    return sorted[low] * (1 - rest) + sorted[Math.ceil(place)] * rest;
  };

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

  // The objective's scale. A few values that are far off on the bad side (a run that diverged)
  // would press all others into one colour, so they share the edge.
  const outcome = (sweep, drawable) => {
    const sorted = drawable.map((place) => sweep.means[place]).sort((a, b) => a - b);
    let [low, high] = [sorted[0], sorted[sorted.length - 1]];
    const [first, third] = [quantile(sorted, 0.25), quantile(sorted, 0.75)];
    const fence = 4 * (third - first);
    let [beyondLow, beyondHigh] = [false, false];
    if (sorted.length >= 8 && fence > 0) {
      if (sweep.mode !== "min" && low < first - fence) {
        low = sorted.find((value) => value >= first - fence);
        beyondLow = true;
      }
      if (sweep.mode !== "max" && high > third + fence) {
        high = sorted.findLast((value) => value <= third + fence);
        beyondHigh = true;
      }
    }
    return { low, high, beyondLow, beyondHigh, mode: sweep.mode };
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
  const groups = (param) => {
    const { values, numbers } = param;
    if (!numbers || values.length <= MOST) {
      const labels = values.slice(0, MOST_CELLS);
      return { labels, of: values.map((_, place) => (place < MOST_CELLS ? place : -1)) };
    }
    const place = scale(numbers[0], numbers[numbers.length - 1], 0, BINS, param.log);
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
    const made = element("text", { class: name, x: round(x), y: round(y) }, cut(text, room));
    if (text.length > room) made.append(element("title", {}, text));
    return made;
  };

  // Labels below a drawing: level where they fit, else upright. Returns how high they are.
  const across = (labels, room) => {
    const longest = Math.max(...labels.map((text) => text.length));
    const upright = longest * LETTER + 6 > room;
    return { upright, height: upright ? Math.min(longest, 16) * LETTER + 12 : 22 };
  };
  const below = (svg, text, x, y, upright) => {
    const made = label(text, x, y, upright ? "upright" : "middle", upright ? 16 : 40);
    if (upright) made.setAttribute("transform", `rotate(-90 ${round(x)} ${round(y)})`);
    svg.append(made);
  };

  const outcomeAxis = (svg, view, y, left, right) => {
    const { low, high, beyondLow, beyondHigh } = view.scale;
    for (const tick of ticks(low, high, 5)) {
      const at = round(y(tick));
      svg.append(
        element("path", { class: "grid", d: `M${left} ${at}H${right}` }),
        label(format(tick), left - 6, at + 4, "end", 10),
      );
    }
    if (beyondLow) svg.append(label("▼ below", left - 6, y(low) + 16, "end"));
    if (beyondHigh) svg.append(label("▲ above", left - 6, y(high) - 8, "end"));
  };

  const nearest = (points, x, y, reach) => {
    let [best, least] = [null, reach * reach];
    for (const point of points) {
      const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (distance < least) [best, least] = [point.place, distance];
    }
    return best;
  };

  // A scatter without chance: the same place for the same configuration, however it is drawn.
  const jitter = (place) => ((place * 0.618034) % 1) - 0.5;

  const strip = (view, width, which) => {
    const { sweep, drawable } = view;
    const param = sweep.params[which];
    const [left, right, top] = [64, width - 14, 18];
    const count = param.values.length;
    const band = (right - left) / count;
    const labels = param.values.map((text) => text || "''");
    const room = param.numbers ? { upright: false, height: 22 } : across(labels, band);
    const height = 250 + room.height;
    const bottom = height - room.height - 10;
    const y = scale(view.scale.low, view.scale.high, bottom - 12, top);
    const svg = canvas(width, height, `${sweep.objective} by ${param.name}`);
    outcomeAxis(svg, view, y, left, right);

    const ends = param.numbers && [param.numbers[0], param.numbers[count - 1]];
    const x = param.numbers
      ? ((to) => (value) => to(param.numbers[value]))(
          scale(ends[0], ends[1], left + 14, right - 14, param.log),
        )
      : (value) => left + (value + 0.5) * band;
    const marks =
      param.numbers && count > MOST
        ? ticks(ends[0], ends[1], 6, param.log).map((tick) => ({
            text: format(tick),
            at: scale(ends[0], ends[1], left + 14, right - 14, param.log)(tick),
          }))
        : labels.map((text, value) => ({ text, at: x(value) }));
    for (const { text, size, at } of thin(
      marks.map((mark) => ({ ...mark, size: room.upright ? 12 : mark.text.length * LETTER })),
      room.upright ? 0 : 8,
    )) {
      svg.append(element("path", { class: "grid", d: `M${round(at)} ${bottom}v4` }));
      below(svg, text, at + (room.upright ? 4 : 0), bottom + (room.upright ? 8 : 18), room.upright);
    }

    const gap = param.numbers
      ? Math.min(...param.values.slice(1).map((_, place) => x(place + 1) - x(place) || Infinity))
      : band;
    const spread = Math.min(26, gap * 0.5);
    const crowds = new Array(count).fill(0);
    for (const place of drawable) crowds[sweep.choices[place][which]] += 1;
    const points = drawable.map((place) => {
      const value = sweep.choices[place][which];
      const aside = crowds[value] > 1 && spread > 4 ? spread * jitter(place) : 0;
      return { place, x: x(value) + aside, y: y(sweep.means[place]) };
    });
    const small = points.length > 200;
    const cloud = element("g", { class: small ? "points many" : "points" });
    for (const point of points) {
      const std = sweep.stds[point.place];
      if (points.length <= 60 && Number.isFinite(std) && std > 0) {
        const mean = sweep.means[point.place];
        const d = `M${round(point.x)} ${round(y(mean - std))}V${round(y(mean + std))}`;
        cloud.append(element("path", { class: "std", d }));
      }
    }
    for (const point of points) {
      const r = small ? 2 : 3.2;
      cloud.append(element("circle", { cx: round(point.x), cy: round(point.y), r }));
    }
    svg.append(cloud);

    // The mean of each value, with a box of its middle half, and a line through those of numbers.
    const grouped = param.numbers && count > MOST ? groups(param) : null;
    const members = new Map();
    for (const place of drawable) {
      const value = sweep.choices[place][which];
      const key = grouped ? grouped.of[value] : value;
      if (!members.has(key)) members.set(key, { at: [], means: [] });
      members.get(key).at.push(x(value));
      members.get(key).means.push(sweep.means[place]);
    }
    const middles = Array.from(members.keys())
      .sort((a, b) => a - b)
      .map((key) => {
        const { at, means } = members.get(key);
        const centre = mean(at);
        const sorted = means.sort((a, b) => a - b);
        const half = Math.min(16, Math.max(3, spread * 0.65));
        if (sorted.length >= 5 && !grouped && spread > 4) {
          const [high, low] = [y(quantile(sorted, 0.75)), y(quantile(sorted, 0.25))];
          svg.append(
            element("rect", {
              class: "box",
              x: round(centre - half),
              y: round(high),
              width: round(2 * half),
              height: round(Math.max(1, low - high)),
            }),
          );
        }
        const level = round(y(mean(sorted)));
        if (sorted.length > 1) {
          const d = `M${round(centre - half)} ${level}H${round(centre + half)}`;
          svg.append(element("path", { class: "mean", d }));
        }
        return `${round(centre)} ${level}`;
      });
    if (param.numbers) svg.append(element("path", { class: "through", d: `M${middles.join("L")}` }));

    const ring = element("circle", { class: "ring", r: 7, visibility: "hidden" });
    const best = points.find(({ place }) => sweep.best && sweep.ranks[place] === 0);
    if (best) {
      svg.append(element("circle", { class: "star", cx: round(best.x), cy: round(best.y), r: 4.5 }));
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
    for (const place of drawable) {
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
    const own = outcome({ means: all, mode: sweep.mode }, all.map((_, place) => place));

    const texts = rows.labels.map((text) => text || "''");
    const left = Math.min(130, Math.max(...texts.map((text) => Math.min(20, text.length))) * LETTER + 14);
    const right = width - 6;
    const wide = (right - left) / columns.labels.length;
    const high = Math.max(16, Math.min(64, 250 / rows.labels.length));
    const room = across(columns.labels, wide);
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
          x: round(left + column * wide + 0.5),
          y: round(top(row) + 0.5),
          width: round(Math.max(1, wide - 1)),
          height: round(high - 1),
          rx: 2,
        }),
      );
      if (fits && high >= 16) {
        svg.append(
          label(written(value), left + (column + 0.5) * wide, top(row) + high / 2 + 4, `q${shade} in middle`),
        );
      }
    }
    texts.forEach((text, row) => svg.append(label(text, left - 6, top(row) + high / 2 + 4, "end", 20)));
    const marks = columns.labels.map((text, column) => ({
      text: text || "''",
      at: left + (column + 0.5) * wide,
      size: room.upright ? 12 : text.length * LETTER,
    }));
    for (const { text, at } of thin(marks, 0)) {
      below(svg, text, at + (room.upright ? 4 : 0), bottom + (room.upright ? 6 : 16), room.upright);
    }
    const ring = element("rect", { class: "ring", rx: 2, width: wide, height: high, visibility: "hidden" });
    const cellOf = (column, row) => {
      ring.setAttribute("visibility", "visible");
      ring.setAttribute("x", left + column * wide);
      ring.setAttribute("y", top(row));
    };
    svg.append(ring);
    const hidden = [one, other].filter((param, place) => param.values.length > MOST_CELLS && !param.numbers);
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
            ? "1 configuration"
            : `${places.length} configurations, ${format(Math.min(...found))} to ${format(Math.max(...found))}`,
        ];
      },
      mark: (place) => {
        ring.setAttribute("visibility", "hidden");
        if (place === null) return;
        const [column, row] = [
          columns.of[sweep.choices[place]?.[acrossAt]],
          rows.of[sweep.choices[place]?.[upwardsAt]],
        ];
        if (column >= 0 && row >= 0) cellOf(column, row);
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
    const svg = canvas(width, height, `${sweep.objective} of every configuration by ${params.length} params`);
    const y = scale(view.scale.low, view.scale.high, bottom, top);
    const places = params.map(({ param }) => {
      const many = param.values.length;
      if (param.numbers) {
        const to = scale(param.numbers[0], param.numbers[many - 1], bottom, top, param.log);
        return (value) => to(param.numbers[value]);
      }
      return (value) => (many > 1 ? top + ((bottom - top) * value) / (many - 1) : (top + bottom) / 2);
    });

    const step = Math.max(1, drawable.length / MOST_LINES);
    const chosen = [];
    for (let place = 0; place < drawable.length; place += step) chosen.push(drawable[Math.floor(place)]);
    // Lines that share a value are a little apart there, so that one can be told from the other.
    const room = params.map(({ param }) =>
      Math.min(14, param.values.length > 20 ? 0 : ((bottom - top) / param.values.length) * 0.4),
    );
    const heights = (place) => [
      ...params.map((axis, number) => {
        const value = places[number](sweep.choices[place][axis.place]);
        const moved = value + (chosen.length > 1 ? room[number] * jitter(place) : 0);
        return Math.min(bottom, Math.max(top, moved));
      }),
      y(sweep.means[place]),
    ];
    const lines = chosen.map((place) => ({ place, heights: heights(place) }));
    const path = (found) => `M${found.map((height, axis) => `${round(at(axis))} ${round(height)}`).join("L")}`;
    const crowd = lines.length > 300 ? "crowd" : lines.length > 60 ? "many" : "few";
    const group = element("g", { class: `lines ${crowd}` });
    // The best come last, so that they are on top.
    for (const line of Array.from(lines).reverse()) {
      const shade = colour(view.scale, sweep.means[line.place]);
      group.append(element("path", { class: `q${shade}`, d: path(line.heights) }));
    }
    svg.append(group);
    const best = lines.find(({ place }) => sweep.best && sweep.ranks[place] === 0);
    if (best) svg.append(element("path", { class: "best-line", d: path(best.heights) }));
    const lit = element("path", { class: "lit-line", visibility: "hidden" });
    svg.append(lit);

    params.forEach(({ param }, axis) => {
      const x = round(at(axis));
      const many = param.values.length;
      svg.append(element("path", { class: "axis", d: `M${x} ${top}V${bottom}` }));
      svg.append(label(param.name, x, axis % 2 && width / params.length < 130 ? 10 : 24, "middle strong", 16));
      const marks =
        param.numbers && many > MOST
          ? ticks(param.numbers[0], param.numbers[many - 1], 5, param.log).map((tick) => ({
              text: format(tick),
              at: scale(param.numbers[0], param.numbers[many - 1], bottom, top, param.log)(tick),
            }))
          : param.values.map((text, value) => ({ text: text || "''", at: places[axis](value) }));
      const shown = thin(
        marks.map((mark) => ({ ...mark, size: 13 })).sort((a, b) => a.at - b.at),
        0,
      );
      for (const { text, at: place } of shown) svg.append(label(text, x - 5, place + 4, "end halo", 11));
    });
    const x = round(at(params.length));
    svg.append(element("path", { class: "axis", d: `M${x} ${top}V${bottom}` }));
    svg.append(label(sweep.objective, x, 24, "middle strong", 20));
    for (const tick of ticks(view.scale.low, view.scale.high, 6)) {
      svg.append(element("path", { class: "axis", d: `M${x} ${round(y(tick))}h4` }));
      const taken = best && Math.abs(y(tick) - y(sweep.means[best.place])) < 13;
      if (!taken) svg.append(label(format(tick), x + 8, y(tick) + 4, "halo", 9));
    }
    if (best) svg.append(label("best", x + 8, y(sweep.means[best.place]) + 4, "strong halo"));

    const where = new Map(lines.map((line) => [line.place, line]));
    return {
      svg,
      below: [legend(view.scale, sweep.objective)],
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
        if (line) lit.setAttribute("d", path(line.heights));
      },
    };
  };

  return { format, outcome, strip, heat, parallel };
})();
