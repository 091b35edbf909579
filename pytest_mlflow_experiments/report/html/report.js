"use strict";
(() => {
  // So many rows are laid out at a time: a browser needs seconds for a table of thousands.
  const PAGE = 300;

  const start = () => {
    const table = document.getElementById("table");
    if (!table) return;
    const body = table.tBodies[0];
    const headers = Array.from(table.tHead.rows[0].cells);
    const rows = Array.from(body.rows);
    const search = document.getElementById("search");
    const shown = document.getElementById("shown");
    const empty = document.getElementById("empty");
    const more = document.getElementById("more");
    const chips = Array.from(document.querySelectorAll(".chip"));
    let room = PAGE;

    const isPressed = (chip) => chip.getAttribute("aria-pressed") === "true";
    const press = (chip, pressed) => chip.setAttribute("aria-pressed", String(pressed));
    const text = (cell) => (cell.firstChild ? cell.firstChild.textContent : "");
    const number = (value) => value.toLocaleString("en");

    // What sorting and searching need of a row, read from the page once and only when needed.
    const facts = new Map();
    const ranks = new Map(rows.map((row, rank) => [row, rank]));
    const fact = (row) => {
      let known = facts.get(row);
      if (!known) {
        const name = text(row.cells[1]);
        const metric = text(row.cells[2]);
        const test = row.querySelector("dl code").textContent;
        known = {
          rank: ranks.get(row),
          case: name,
          metric,
          words: `${name} ${metric} ${test}`.toLowerCase(),
          numbers: tables.keys(row),
        };
        facts.set(row, known);
      }
      return known;
    };

    const show = () => {
      const groups = new Set(chips.filter(isPressed).map((chip) => chip.dataset.group));
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const row of rows) {
        const fits =
          groups.has(row.className) && words.every((word) => fact(row).words.includes(word));
        count += fits;
        row.hidden = !fits || count > room;
      }
      shown.textContent =
        count > room
          ? `the first ${number(room)} of ${number(count)} shown`
          : `${number(count)} of ${number(rows.length)} shown`;
      empty.hidden = count > 0;
      more.hidden = count <= room;
    };
    const restart = () => {
      room = PAGE;
      show();
    };

    const sort = (header, sign) => {
      const key = header.dataset.sort;
      const compare =
        {
          rank: (a, b) => sign * (a.rank - b.rank),
          case: (a, b) => sign * tables.names(a.case, b.case),
          metric: (a, b) => sign * tables.names(a.metric, b.metric),
        }[key] || tables.byNumber(key, sign);
      rows.sort((one, other) => {
        const [a, b] = [fact(one), fact(other)];
        return compare(a, b) || a.rank - b.rank;
      });
      for (const row of rows) row.hidden = true;
      body.append(...rows);
      restart();
    };

    for (const chip of chips) {
      chip.disabled = false;
      chip.addEventListener("click", () => {
        press(chip, !isPressed(chip));
        restart();
      });
    }
    tables.makeSortable(headers, sort);
    search.hidden = false;
    search.addEventListener("input", restart);
    more.addEventListener("click", () => {
      room += PAGE;
      show();
    });
    document.getElementById("reset").addEventListener("click", () => {
      search.value = "";
      for (const chip of chips) press(chip, true);
      restart();
    });
    show();
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
