// Sorting, filtering, links. Everything shown is in the page already: no script of it computes a figure.

document.documentElement.classList.add("js");

// --- tables ---------------------------------------------------------------------------------------------------------

function sortValue(row, column, numeric) {
  const cell = row.cells[column];
  const raw = cell.dataset.value ?? cell.textContent;
  if (raw === "") return null;
  return numeric ? Number(raw) : raw;
}

function compare(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
}

function sortTable(table, head) {
  const headings = [...head.parentElement.children];
  const column = headings.indexOf(head);
  const numeric = head.dataset.type === "number";
  const first = numeric ? "descending" : "ascending";
  const second = numeric ? "ascending" : "descending";
  const now = head.getAttribute("aria-sort");
  const next = now === first ? second : now === second ? null : first;
  headings.forEach((other) => other.removeAttribute("aria-sort"));
  const body = table.tBodies[0];
  const rows = [...body.rows];
  if (next === null) {
    rows.sort((a, b) => a.dataset.order - b.dataset.order);
  } else {
    head.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    rows.sort((a, b) => {
      const x = sortValue(a, column, numeric);
      const y = sortValue(b, column, numeric);
      // A missing value is neither large nor small: last in both directions.
      if (x === null || y === null) return (x === null) - (y === null) || a.dataset.order - b.dataset.order;
      return sign * compare(x, y) || a.dataset.order - b.dataset.order;
    });
  }
  body.append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tBodies[0].rows].forEach((row, index) => (row.dataset.order = index));
  for (const button of table.tHead.querySelectorAll("button")) {
    button.addEventListener("click", () => sortTable(table, button.closest("th")));
  }
}

function applyFilter(input) {
  const words = input.value.toLocaleLowerCase("en").split(/\s+/).filter(Boolean);
  const rows = [...document.getElementById(`table-${input.dataset.filter}`).tBodies[0].rows];
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLocaleLowerCase("en");
    row.hidden = !words.every((word) => text.includes(word));
    shown += row.hidden ? 0 : 1;
  }
  input.parentElement.querySelector("output").textContent = words.length ? `${shown} of ${rows.length}` : "";
}

for (const input of document.querySelectorAll("input[data-filter]")) {
  input.addEventListener("input", () => applyFilter(input));
}

// A link to a row that a filter hides, or inside closed details, would lead nowhere.
function reveal() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  target.closest("details")?.setAttribute("open", "");
  if (target.hidden) {
    for (const input of document.querySelectorAll("input[data-filter]")) {
      input.value = "";
      applyFilter(input);
    }
    target.scrollIntoView({ block: "center" });
  }
}
addEventListener("hashchange", reveal);
reveal();

// Everything is on paper, whatever was filtered or folded on the screen.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});

// --- the strip ------------------------------------------------------------------------------------------------------

const detail = document.querySelector(".strip-detail");
if (detail) {
  const show = (event) => {
    const link = event.target.closest("a");
    if (link) detail.textContent = link.title;
  };
  const strip = document.querySelector(".strip");
  strip.addEventListener("pointerover", show);
  strip.addEventListener("focusin", show);
}
