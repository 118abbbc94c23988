"use strict";
// Makes every heading of a column a button that sorts the rows by it: numbers by value, before texts; empty cells
// last, whichever way; equal ones stay in their order. An indented row stays below the row that it belongs to.

const collator = new Intl.Collator("en", { numeric: true });
const EMPTY = ["", "—"];
const NUMBER = 0, TEXT = 1, NOTHING = 2;

function keyOf(cell) {
  if ("number" in cell.dataset) return [NUMBER, Number(cell.dataset.number)];
  const text = cell.innerText.trim(); // not what is hidden: the list of a number's runs
  return [EMPTY.includes(text) ? NOTHING : TEXT, text];
}

function compare([rank, value], [otherRank, otherValue], sign) {
  if (rank !== otherRank) return rank - otherRank;
  return sign * (rank === TEXT ? collator.compare(value, otherValue) : (value > otherValue) - (value < otherValue));
}

function sort(table, heading) {
  const isDown = heading.getAttribute("aria-sort") === "ascending";
  const groups = [];
  for (const row of table.tBodies[0].rows) {
    if (row.className === "below" && groups.length) groups.at(-1).rows.push(row);
    else groups.push({ key: keyOf(row.cells[heading.cellIndex]), rows: [row] });
  }
  groups.sort((a, b) => compare(a.key, b.key, isDown ? -1 : 1));
  table.tBodies[0].append(...groups.flatMap((group) => group.rows));
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", isDown ? "descending" : "ascending");
}

for (const table of document.querySelectorAll("table")) {
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(table, heading));
    heading.append(button);
  }
}
