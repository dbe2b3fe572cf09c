"use strict";
// Tables sort by the column whose heading is pressed; a second press reverses the order.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead button").forEach((button) => {
    const heading = button.closest("th");
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending"
        || (!heading.hasAttribute("aria-sort") && heading.dataset.first === "descending");
      const value = (row) => row.cells[heading.cellIndex].dataset.value;
      const sign = down ? -1 : 1;
      const rows = Array.from(body.rows);
      const words = heading.dataset.kind === "text";
      rows.sort((one, other) => {
        const [a, b] = [value(one), value(other)];
        if (words) return sign * a.localeCompare(b, undefined, { numeric: true });
        // Unknown values stay at the end in either direction.
        if (a === "" || b === "") return (a === "") - (b === "");
        return sign * (Number(a) - Number(b));
      });
      body.append(...rows);
      for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
  });
}
// Open everything that is folded for printing.
const folded = () => document.querySelectorAll("details:not([open])");
let opened = [];
addEventListener("beforeprint", () => { opened = Array.from(folded()); for (const d of opened) d.open = true; });
addEventListener("afterprint", () => { for (const d of opened) d.open = false; });
