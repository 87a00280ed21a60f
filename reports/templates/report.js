// Sorting, filtering, charts. Everything shown is in the page already: this computes no figure.

document.documentElement.classList.add("js");

// --- tables ---------------------------------------------------------------------------------------------------------

function sortValue(row, column, numeric) {
  const raw = row.cells[column].dataset.value;
  if (raw === undefined || raw === "") return null;
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

// --- charts ---------------------------------------------------------------------------------------------------------

const block = document.getElementById("chart-data");
const charts = block ? JSON.parse(block.textContent) : {};

function fitted(spec, width) {
  const copy = structuredClone(spec);
  if (width < 560) {
    copy.config.axisY = { ...copy.config.axisY, labelLimit: Math.round(width * 0.36) };
    copy.config.axis = { ...copy.config.axis, labelFontSize: 11, titleFontSize: 11 };
    copy.config.legend = { ...copy.config.legend, direction: "vertical" };
    copy.config.axisX = { ...copy.config.axisX, tickCount: 3 };
  }
  return copy;
}

async function draw(plot) {
  const id = plot.dataset.chart;
  const choices = [...document.querySelectorAll(`[data-choice="${id}"]`)].map((select) => select.value);
  const spec = charts[id][choices.join("|")];
  const fallback = plot.querySelector(".fallback");
  try {
    const host = document.createElement("div");
    host.className = "host";
    plot.replaceChildren(host);
    const embedded = await globalThis.vegaEmbed(host, fitted(spec, plot.clientWidth), {
      mode: "vega-lite",
      renderer: "svg",
      actions: false,
      ast: true,
    });
    embedded.view.addEventListener("click", (event, item) => {
      if (item?.datum?.anchor) location.hash = item.datum.anchor;
    });
    plot.dataset.drawn = choices.join("|") || "yes";
  } catch (error) {
    if (fallback) plot.replaceChildren(fallback);
    console.error(error);
  }
}

for (const plot of document.querySelectorAll("[data-chart]")) draw(plot);
for (const select of document.querySelectorAll("[data-choice]")) {
  select.addEventListener("change", () => draw(document.querySelector(`[data-chart="${select.dataset.choice}"]`)));
}
