"use strict";
(() => {
  // So many rows are laid out at a time: a browser needs seconds for a table of thousands.
  const PAGE = 200;
  const HEIGHT = 210;
  const [LEFT, RIGHT, TOP, BOTTOM] = [58, 14, 12, 30];

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const svg = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const text = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(6))) : "NaN")
    .replace("NaN", value === Infinity ? "∞" : value === -Infinity ? "-∞" : "NaN");
  const count = (number) => number.toLocaleString("en");

  // A name breaks where those of the page do: after separators.
  const breakable = (name) =>
    name
      .split(/(?<=[_\-/:,=|])(?=[^_\-/:,=|\])])|(?<=\D\.)(?=\w)|(?<=\w)(?=\[)|(?<=[a-z])(?=[A-Z])/)
      .flatMap((part) => [make("wbr"), part]);

  let common = { cases: [], sessions: [], link: [] };

  // Values are written out, or in two characters each between the least and the greatest.
  const decode = (coded) => {
    if (!coded) return [];
    if (typeof coded[2] !== "string" || coded[2].length < 6) return coded.map(Number);
    const [low, high, steps] = [Number(coded[0]), Number(coded[1]), coded[2]];
    const special = { n: NaN, "+": Infinity, "-": -Infinity };
    return Array.from({ length: steps.length / 2 }, (_, at) => {
      const [first, second] = [steps[2 * at], steps[2 * at + 1]];
      if (first === "!") return special[second];
      const share = ((first.charCodeAt(0) - 63) * 64 + second.charCodeAt(0) - 63) / 4095;
      return Number((low + share * (high - low)).toPrecision(5));
    });
  };

  // The values of a metric by session: those of the baseline, then those of now.
  const pointsOf = (data) => {
    const history = decode(data.h);
    const last = common.sessions.length - 1;
    const places = data.s ?? history.map((_, at) => last - history.length + at);
    const points = history.map((value, at) => ({ place: places[at], values: [value] }));
    const now = (data.v ?? []).map(Number);
    if (now.length) points.push({ place: last, values: now, now: true });
    return points;
  };

  const ticks = (low, high) => {
    const room = (high - low) / 4;
    if (!(room > Math.abs(high) * 1e-12)) return [low];
    const power = 10 ** Math.floor(Math.log10(room));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= room * 0.999);
    const found = [];
    for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) {
      found.push(Number((at * step).toPrecision(12)));
    }
    return found;
  };

  const describe = (point, data) => {
    const [name, commit, branch, author, moment, verdict] = common.sessions[point.place] ?? [];
    const shown = point.values.slice(0, 8).map(text).join(", ");
    const level = Number(data.b);
    const mean = point.values.reduce((sum, value) => sum + value, 0) / point.values.length;
    const share = (mean - level) / Math.abs(level);
    const where = [commit || name, branch, author && `by ${author}`, moment].filter(Boolean);
    const told = [
      `${point.now ? "this session: " : ""}${shown}`,
      !point.now && Number.isFinite(share) && Math.abs(share) > 1e-9 && data.b !== undefined
        ? `${share > 0 ? "+" : ""}${text(Number((100 * share).toPrecision(2)))} % from the level`
        : "",
      ...where,
      point.now ? "" : verdict,
    ];
    return told.filter(Boolean).join(" · ");
  };

  const legend = (data, points, outside) => {
    const entry = (kind, words) => make("span", { class: `key ${kind}` }, words);
    const commit = (place) =>
      place === common.sessions.length - 1
        ? "this session"
        : common.sessions[place]?.[1] || common.sessions[place]?.[0];
    const list = make("p", { class: "legend" });
    const side = Number(data.l) < Number(data.b) ? "below" : "above";
    if (data.b !== undefined) {
      const since = data.k > (points[0]?.place ?? 0) ? ` since ${commit(data.k)}` : "";
      list.append(entry("level", `baseline ${text(Number(data.b))}${since}`));
    }
    if (data.q !== undefined) list.append(entry("step", `worse since ${commit(data.q)}`));
    if (data.l !== undefined) list.append(entry("limit", `worse ${side} ${text(Number(data.l))}`));
    if (data.g) list.append(entry("guard", `assertion ${data.g}${outside ? " (far away)" : ""}`));
    if (data.v) list.append(entry("now", data.f ? `now, ${data.f} fresh runs` : "now"));
    return list;
  };

  const chart = (box, data, title) => {
    const points = pointsOf(data);
    if (points.length < 2) return;
    const width = Math.max(260, box.clientWidth);
    const [left, right, top, bottom] = [LEFT, width - RIGHT, TOP, HEIGHT - BOTTOM];
    const lines = [data.b, data.l].filter((one) => one !== undefined).map(Number);
    const finite = [...points.flatMap((point) => point.values), ...lines].filter(Number.isFinite);
    let [low, high] = [Math.min(...finite), Math.max(...finite)];
    const guard = Number.parseFloat(data.g?.slice(2));
    const reach = 1.5 * (high - low);
    const isNear = guard >= low - reach && guard <= high + reach;
    if (isNear) [low, high] = [Math.min(low, guard), Math.max(high, guard)];
    const edge = 0.05 * (high - low);
    if (Number.isFinite(edge)) [low, high] = [low - edge, high + edge];
    const [from, to] = [points[0].place, points[points.length - 1].place];
    const x = (place) =>
      to > from ? left + 8 + ((place - from) / (to - from)) * (right - left - 16) : (left + right) / 2;
    const y = (value) => {
      if (Number.isNaN(value)) return (top + bottom) / 2;
      const share = high > low ? (value / 2 - low / 2) / (high / 2 - low / 2) : 0.5;
      return bottom - Math.min(1, Math.max(0, share)) * (bottom - top);
    };
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, "aria-hidden": "true" });
    const path = (kind, d) => drawing.append(svg("path", { class: kind, d }));
    const label = (kind, at, height, words) => {
      const element = svg("text", { class: kind, x: at, y: height });
      element.textContent = words;
      drawing.append(element);
    };
    for (const tick of ticks(low, high)) {
      path("grid", `M${left} ${y(tick)}H${right}`);
      label("y", left - 8, y(tick) + 4, text(tick));
    }
    // As many commits as have room.
    const every = Math.max(1, Math.ceil((points.length * 74) / (right - left)));
    points.forEach((point, at) => {
      if ((points.length - 1 - at) % every) return;
      const [name, commit] = common.sessions[point.place] ?? ["", ""];
      const words = point.now ? "now" : (commit || name || "").slice(0, 8);
      label(at === points.length - 1 && at ? "x end" : "x", at === points.length - 1 && at ? right : x(point.place), bottom + 19, words);
    });
    if (isNear) path("guard", `M${left} ${y(guard)}H${right}`);
    if (data.l !== undefined) path("limit", `M${left} ${y(Number(data.l))}H${right}`);
    if (data.b !== undefined) path("level", `M${x(data.k ?? from)} ${y(Number(data.b))}H${right}`);
    for (const step of [data.k > from ? data.k : undefined, data.q]) {
      if (step !== undefined && to > from) path("step", `M${x(step - 0.5)} ${top}V${bottom}`);
    }
    let pen = "M";
    let d = "";
    for (const point of points) {
      const mean = point.values.reduce((sum, value) => sum + value, 0) / point.values.length;
      if (Number.isFinite(mean)) {
        d += `${pen}${x(point.place)} ${y(mean)}`;
        pen = "L";
      } else pen = "M";
    }
    path("line", d);
    for (const point of points) {
      for (const value of point.values.slice(0, 40)) {
        const [cx, cy] = [x(point.place), y(value)];
        if (Number.isFinite(value)) {
          drawing.append(svg("circle", { class: point.now ? "now" : "past", cx, cy, r: point.now ? 4.5 : 3 }));
        } else path("cross", `M${cx - 4} ${cy - 4}l8 8m0-8l-8 8`);
      }
    }
    const marker = svg("path", { class: "marker" });
    drawing.append(marker);
    const readout = make("p", { class: "readout" });
    // A slider is what keyboards and screen readers know to move along a line with.
    const canvas = make("div", {
      class: "canvas",
      tabindex: "0",
      role: "slider",
      "aria-label": `Sessions of ${title}`,
      "aria-valuemin": "1",
      "aria-valuemax": String(points.length),
    });
    canvas.append(drawing);
    let at = points.length - 1;
    const select = (place) => {
      at = Math.min(points.length - 1, Math.max(0, place));
      const words = describe(points[at], data);
      marker.setAttribute("d", `M${x(points[at].place)} ${top}V${bottom}`);
      // Only between its parts.
      readout.replaceChildren(...words.split(/(?<= · )/).map((part) => make("span", {}, part)));
      canvas.setAttribute("aria-valuenow", String(at + 1));
      canvas.setAttribute("aria-valuetext", words);
    };
    canvas.addEventListener("pointermove", (event) => {
      const place = ((event.clientX - canvas.getBoundingClientRect().left) * width) / canvas.clientWidth;
      const distances = points.map((point) => Math.abs(x(point.place) - place));
      select(distances.indexOf(Math.min(...distances)));
    });
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: points.length - 1 };
      if (!(event.key in moves)) return;
      event.preventDefault();
      select(moves[event.key]);
    });
    select(at);
    box.replaceChildren(canvas, readout, legend(data, points, data.g && !isNear));
  };

  const drawn = new Map();
  const draw = (box, data, title) => {
    drawn.set(box, () => chart(box, data, title));
    chart(box, data, title);
  };
  let pending = 0;
  window.addEventListener("resize", () => {
    cancelAnimationFrame(pending);
    pending = requestAnimationFrame(() => {
      for (const [box, again] of drawn) if (box.isConnected && box.clientWidth) again();
    });
  });

  // All that is known of a metric, beside its chart.
  const facts = (data, isCard) => {
    const list = make("dl");
    const add = (term, ...content) => list.append(make("dt", {}, term), make("dd", {}, ...content));
    const [nodeid, params, named] = common.cases[data.c] ?? [];
    if (!isCard && data.w) add("Why", data.w);
    for (const [term, words] of data.o ?? []) add(term, words);
    if (data.d) {
      const rows = Object.entries(data.d).map(([seed, [now, before]]) =>
        make("tr", {}, make("th", { scope: "row" }, seed), make("td", {}, text(Number(now))),
          make("td", {}, before === undefined ? "—" : text(Number(before)))));
      const heads = ["repeat", "now", "before"].map((head) => make("th", { scope: "col" }, head));
      add("By repeat", make("table", { class: "seeds" }, make("thead", {}, make("tr", {}, ...heads)),
        make("tbody", {}, ...rows)));
    } else if (data.v?.length > 1) add(data.f ? "Fresh runs" : "Now", data.v.map(Number).map(text).join(", "));
    if (data.h) add("History", decode(data.h).map(text).join(", "));
    const names = Object.entries(params ?? {});
    if (names.length) add("Params", ...names.map(([name, value]) => make("code", { class: "named" }, `${name} = ${value}`)));
    if (nodeid) add("Test", make("code", {}, ...breakable(nodeid)));
    if (nodeid && common.link.length === 2 && !(named ?? nodeid).includes("'")) {
      const href = common.link.join(encodeURIComponent(named ?? nodeid));
      add("MLflow", make("a", { href, rel: "noreferrer" }, "the case's run in this session"));
    }
    return list;
  };

  const titleOf = (element) =>
    Array.from(element.querySelectorAll("b, small, h3 > span:last-child"), (one) => one.textContent)
      .slice(0, 2)
      .join(" of ");

  const open = (row, button, data) => {
    const next = row.nextElementSibling;
    if (next?.classList.contains("detail")) {
      next.remove();
      button.setAttribute("aria-expanded", "false");
      return;
    }
    const box = make("div", { class: "history" });
    const cell = make("td", { colspan: String(row.cells.length) }, box, facts(data, false));
    row.after(make("tr", { class: "detail" }, cell));
    button.setAttribute("aria-expanded", "true");
    draw(box, data, titleOf(row.cells[0]));
  };

  const startTable = (table) => {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    const ranks = new Map(rows.map((row, rank) => [row, rank]));
    const region = table.parentElement;
    const counted = region.nextElementSibling.querySelector(".counted");
    const more = region.nextElementSibling.querySelector(".more");
    const group = table.closest("details");
    const known = new Map();
    const dataOf = (row) => {
      if (!known.has(row)) known.set(row, JSON.parse(row.dataset.m));
      return known.get(row);
    };
    const texts = new Map();
    const words = (row) => {
      if (!texts.has(row)) {
        const nodeid = common.cases[dataOf(row).c]?.[0] ?? "";
        texts.set(row, `${row.cells[0].textContent} ${nodeid}`.toLowerCase());
      }
      return texts.get(row);
    };
    const prepare = (row) => {
      if (row.dataset.ready) return;
      row.dataset.ready = "1";
      const head = row.cells[0];
      const button = make("button", { type: "button", class: "opener", "aria-expanded": "false" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => open(row, button, dataOf(row)));
    };
    let room = PAGE;
    let asked = [];
    const show = () => {
      let fitting = 0;
      for (const row of rows) {
        const fits = asked.every((word) => words(row).includes(word));
        fitting += fits;
        row.hidden = !fits || fitting > room;
        if (!row.hidden) prepare(row);
        const next = row.nextElementSibling;
        if (next?.classList.contains("detail")) next.hidden = row.hidden;
      }
      const shown = Math.min(fitting, room);
      counted.textContent = shown < rows.length ? `${count(shown)} of ${count(rows.length)} shown` : "";
      more.hidden = fitting <= room;
      return fitting;
    };
    const number = (row, at) => {
      const shown = row.cells[at].firstChild?.textContent ?? "";
      const value = shown.includes("∞") ? (shown.startsWith("-") ? -Infinity : Infinity) : Number.parseFloat(shown);
      return Number.isNaN(value) ? null : value;
    };
    tables.makeSortable(Array.from(table.tHead.rows[0].cells), (header, sign) => {
      const at = header.cellIndex;
      for (const detail of body.querySelectorAll(".detail")) {
        detail.previousElementSibling.querySelector(".opener").setAttribute("aria-expanded", "false");
        detail.remove();
      }
      const keys = new Map(
        rows.map((row) => [row, { numbers: [at ? number(row, at) : row.cells[0].textContent.trim()] }]),
      );
      const compare = at
        ? tables.byNumber(0, sign)
        : (one, other) => sign * tables.names(one.numbers[0], other.numbers[0]);
      rows.sort((one, other) => compare(keys.get(one), keys.get(other)) || ranks.get(one) - ranks.get(other));
      for (const row of rows) row.hidden = true;
      body.append(...rows);
      room = PAGE;
      show();
    });
    more.addEventListener("click", () => {
      room += PAGE;
      show();
    });
    // What is folded is made ready when it is unfolded.
    let isReady = !group || group.open;
    if (isReady) show();
    else {
      for (const row of rows.slice(PAGE)) row.hidden = true;
      group.addEventListener("toggle", () => {
        if (!isReady) show();
        isReady = true;
      });
    }
    return (list) => {
      asked = list;
      room = PAGE;
      isReady = true;
      const fitting = show();
      if (group) group.open = list.length > 0 && fitting > 0;
      return fitting;
    };
  };

  const startCommands = () => {
    for (const code of document.querySelectorAll(".command code")) {
      const button = make("button", { type: "button", class: "copy" }, "Copy");
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(code.textContent);
        } catch {
          getSelection().selectAllChildren(code);
          document.execCommand("copy");
        }
        button.textContent = "Copied";
        setTimeout(() => {
          button.textContent = "Copy";
        }, 1500);
      });
      code.after(button);
    }
  };

  const start = () => {
    const main = document.querySelector("main");
    common = JSON.parse(main.dataset.common);
    const search = document.getElementById("search");
    const tablesOfMetrics = Array.from(document.querySelectorAll("table.metrics"), startTable);
    const cards = Array.from(document.querySelectorAll(".card[data-m]"));
    for (const card of cards) {
      const data = JSON.parse(card.dataset.m);
      const box = card.querySelector(".history");
      const show = () => card.open && !drawn.has(box) && draw(box, data, titleOf(card));
      card.addEventListener("toggle", show);
      show();
      const list = facts(data, true);
      if (list.children.length) {
        const details = make("details", { class: "whole" }, make("summary", {}, "Params, history and more"), list);
        card.append(details);
      }
    }
    startCommands();
    if (!search) return;
    const empty = document.getElementById("empty");
    const find = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let found = tablesOfMetrics.reduce((sum, filter) => sum + filter(words), 0);
      for (const card of cards) {
        const nodeid = common.cases[JSON.parse(card.dataset.m).c]?.[0] ?? "";
        const all = `${titleOf(card)} ${nodeid}`.toLowerCase();
        card.hidden = !words.every((word) => all.includes(word));
        found += !card.hidden;
      }
      empty.hidden = found > 0;
    };
    search.hidden = false;
    search.addEventListener("input", find);
    document.getElementById("reset").addEventListener("click", () => {
      search.value = "";
      find();
      search.focus();
    });
    // A link to what is folded opens it.
    const unfold = () => {
      const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
      const group = target && target.closest("details");
      if (group) group.open = true;
      if (target) target.scrollIntoView();
    };
    window.addEventListener("hashchange", unfold);
    for (const link of document.querySelectorAll("nav a")) link.addEventListener("click", () => setTimeout(unfold));
    unfold();
  };

  // Nothing is drawn before it is known which rows are shown.
  const root = document.documentElement;
  root.classList.add("starting");
  document.addEventListener("DOMContentLoaded", () => {
    try {
      start();
    } finally {
      root.classList.remove("starting");
    }
  });
})();
