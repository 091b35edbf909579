"use strict";
// What all tables of the page have in common: heads that sort, and an order of values.
const tables = (() => {
  const names = new Intl.Collator("en", { numeric: true }).compare;

  // The numbers of a row that it can be sorted by.
  const keys = (row) => row.dataset.k.split(" ").map((key) => (key === "-" ? null : Number(key)));

  const byNumber = (key, sign) => (a, b) => {
    const [x, y] = [a.numbers[key], b.numbers[key]];
    // What has no number comes last in either order.
    if (x === null || y === null) return (x === null) - (y === null);
    return x === y ? 0 : sign * (x - y);
  };

  // Make buttons of the heads that can be sorted by; sort(head, sign) does it.
  const makeSortable = (headers, sort) => {
    const order = (header) => {
      const down = header.getAttribute("aria-sort") === "ascending";
      for (const other of headers) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(header, down ? -1 : 1);
    };
    for (const header of headers) {
      if (!header.dataset.sort) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = header.textContent.trim();
      button.addEventListener("click", () => order(header));
      header.replaceChildren(button);
    }
  };

  return { names, keys, byNumber, makeSortable };
})();
