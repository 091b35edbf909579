"use strict";
(() => {
  // So many rows of a ranking are laid out at first, and so many more at a time.
  const FIRST = 12;
  const PAGE = 200;

  const number = (value) => value.toLocaleString("en");

  const startRanking = (table) => {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    const ranked = Array.from(rows);
    const facts = new Map(rows.map((row, rank) => [row, { rank, numbers: tables.keys(row) }]));
    const below = table.parentElement.nextElementSibling;
    const [counted, more] = [below.querySelector(".counted"), below.querySelector(".more")];
    let room = FIRST;

    const show = () => {
      rows.forEach((row, place) => {
        row.hidden = place >= room;
      });
      counted.textContent =
        rows.length > room ? `The first ${number(room)} of ${number(rows.length)} shown` : "";
      more.hidden = rows.length <= room;
    };
    const sort = (header, sign) => {
      const place = header.cellIndex;
      const text = (row) => row.cells[place].textContent;
      const byKey = tables.byNumber(header.dataset.sort, sign);
      const compare =
        header.dataset.sort === "text"
          ? (one, other) => sign * tables.names(text(one), text(other))
          : (one, other) => byKey(facts.get(one), facts.get(other));
      rows.sort((one, other) => compare(one, other) || facts.get(one).rank - facts.get(other).rank);
      body.append(...rows);
      room = FIRST;
      show();
    };
    tables.makeSortable(Array.from(table.tHead.rows[0].cells), sort);
    more.addEventListener("click", () => {
      room += PAGE;
      show();
    });
    show();
    return (rank) => ranked[rank];
  };

  const describe = (sweep, place) => {
    const mean = sweep.means[place];
    const std = sweep.stds[place];
    const n = sweep.ns[place];
    const failed = sweep.failed[place];
    const scatter = std === null ? "" : ` ± ${plots.format(std, 2)}`;
    const lines = sweep.params.map(
      (param, at) => `${param.name} = ${param.values[sweep.choices[place][at]]}`,
    );
    const room = 14;
    if (lines.length > room) lines.splice(room, Infinity, `… ${lines.length - room} more`);
    return [
      `#${number(sweep.ranks[place] + 1)}  ${plots.format(mean)}${scatter}${n > 1 ? ` (n = ${n})` : ""}`,
      ...lines,
      ...(failed ? [`${failed} of ${sweep.cases[place]} cases did not pass`] : []),
    ];
  };

  // One text beside the pointer, for all plots.
  const makeTip = () => {
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    document.body.append(tip);
    return {
      show: (lines, event) => {
        tip.replaceChildren(
          ...lines.map((line, place) => {
            const element = document.createElement(place ? "span" : "b");
            element.textContent = line;
            return element;
          }),
        );
        tip.hidden = false;
        const [width, height] = [tip.offsetWidth, tip.offsetHeight];
        const room = document.documentElement.clientWidth;
        const left = event.clientX + 14 + width > room ? event.clientX - 14 - width : event.clientX + 14;
        tip.style.left = `${Math.max(4, Math.min(left, room - width - 4))}px`;
        tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - height - 4))}px`;
      },
      hide: () => {
        tip.hidden = true;
      },
    };
  };

  const startPlots = (box, tip, rowOf) => {
    const sweep = JSON.parse(document.getElementById(box.dataset.plots).textContent);
    const drawable = sweep.means.flatMap((mean, place) => (Number.isFinite(mean) ? [place] : []));
    const view = { sweep, drawable };
    const parts = [];

    // What the pointer is on is told beside it, and marked in all plots and in the table.
    let lit = null;
    const light = (place, event) => {
      if (place === null) tip.hide();
      else tip.show(describe(sweep, place), event);
      if (place === lit) return;
      lit = place;
      for (const part of parts) part.mark?.(place);
      for (const row of document.querySelectorAll("tr.lit")) row.classList.remove("lit");
      if (place !== null) rowOf(sweep.ranks[place])?.classList.add("lit");
    };

    const add = (name, title, draw, selectors) => {
      const figure = document.createElement("figure");
      figure.className = `plot ${name}`;
      const caption = document.createElement("figcaption");
      const canvas = document.createElement("div");
      canvas.className = "canvas";
      let width = 0;
      const part = { mark: null, redraw: null };
      const redraw = () => {
        width = canvas.clientWidth;
        if (!width) return;
        const drawn = draw(view, width, ...choices.map((select) => Number(select.value)));
        canvas.replaceChildren(drawn.svg, ...(drawn.below || []));
        part.mark = drawn.mark;
        drawn.svg.addEventListener("pointermove", (event) => {
          const frame = drawn.svg.getBoundingClientRect();
          const found = drawn.find(event.clientX - frame.left, event.clientY - frame.top);
          if (Array.isArray(found)) tip.show(found, event);
          else light(found, event);
        });
        drawn.svg.addEventListener("pointerleave", () => light(null));
      };
      const choices = selectors.map(([label, chosen]) => {
        const select = document.createElement("select");
        select.setAttribute("aria-label", label);
        sweep.params.forEach((param, place) => {
          const share = param.share === null ? "" : ` (${Math.round(100 * param.share)} %)`;
          select.add(new Option(param.name + share, String(place), false, place === chosen));
        });
        select.addEventListener("change", redraw);
        return select;
      });
      caption.append(...title(choices));
      figure.append(caption, canvas);
      box.append(figure);
      part.redraw = redraw;
      parts.push(part);
      // Also tells when a folded sweep is opened: what is not seen is not drawn.
      new ResizeObserver(() => {
        if (canvas.clientWidth !== width) redraw();
      }).observe(canvas);
    };

    box.replaceChildren();
    const objective = sweep.objective;
    add("strip", ([param]) => [`${objective} by `, param], plots.strip, [["Param", 0]]);
    if (sweep.second) {
      const { name, mode } = sweep.second;
      const wanted = mode === "max" ? "greater is better" : "smaller is better";
      const draw = (view, width) => plots.strip(view, width, sweep.params.length);
      add("front", () => [`${objective} against ${name} (${wanted}), with the Pareto front`], draw, []);
    }
    if (sweep.params.length > 1) {
      add("heat", ([x, y]) => [`mean ${objective} by `, x, " and ", y], plots.heat, [
        ["Param across", 0],
        ["Param upwards", 1],
      ]);
    }
    // Of two params the map shows all there is.
    if (sweep.params.length > 2) {
      const few = 12;
      const all = sweep.params.length;
      let axes = Math.min(few, all);
      const drawLines = (view, width) => plots.parallel(view, width, axes);
      const title = () => {
        const text = [`every point, from params to ${objective}`];
        if (all <= few) return text;
        const button = document.createElement("button");
        button.type = "button";
        const name = () => {
          button.textContent = axes < all ? `all ${all} params` : `${few} params that matter most`;
        };
        button.addEventListener("click", () => {
          axes = axes < all ? all : few;
          name();
          parts[parts.length - 1].redraw();
        });
        name();
        return [...text, " ", button];
      };
      add("parallel", title, drawLines, []);
    }
    const missing = sweep.means.length - drawable.length;
    const notes = [];
    if (sweep.total > sweep.means.length) {
      notes.push(
        `${number(sweep.means.length)} of ${number(sweep.total)} points are drawn, ` +
          "evenly from the best to the worst.",
      );
    }
    if (missing) {
      notes.push(`${number(missing)} of them ${missing === 1 ? "has" : "have"} no finite ${objective}.`);
    }
    if (notes.length) {
      const note = document.createElement("p");
      note.className = "soft";
      note.textContent = notes.join(" ");
      box.append(note);
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    const tip = makeTip();
    const rowOf = new Map();
    for (const table of document.querySelectorAll(".ranking")) {
      rowOf.set(`sweep-data-${table.dataset.sweep}`, startRanking(table));
    }
    for (const box of document.querySelectorAll(".plots")) {
      startPlots(box, tip, rowOf.get(box.dataset.plots));
    }
  });
})();
