// One layer is chosen on the whole page: in the strip, in the charts, in every table, and in its own panel.

const section = document.getElementById("layer");
const bitplan = (globalThis.bitplan = { ...globalThis.bitplan });
const panel = section?.querySelector(".panel");
const link = (op) => `a[href="#op-${op}"]`;

let known = null;
let chosen = null;
let from = null;

function layers() {
  known ??= JSON.parse(document.getElementById("layer-data").textContent);
  return known;
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// --- the panel ------------------------------------------------------------------------------------------------------

// Titles and texts of a row, as its table has them.
function read(row) {
  if (!row) return [];
  const heads = row.closest("table").tHead.rows[0].cells;
  return [...row.cells].slice(1).flatMap((cell, index) => {
    const text = cell.textContent.trim();
    return text ? [[heads[index + 1].textContent.trim(), text, cell.title]] : [];
  });
}

function facts(op) {
  const list = element("dl");
  for (const [title, text, note] of read(document.getElementById(`op-${op}`))) {
    const value = element("dd", text);
    if (note) value.title = note;
    list.append(element("dt", title), value);
  }
  return list;
}

function schemes(layer, columns) {
  const table = element("table");
  const head = table.createTHead().insertRow();
  for (const [title, note] of [["Scheme", ""], ...columns]) {
    const cell = element("th", title);
    cell.scope = "col";
    if (note) cell.title = note;
    head.append(cell);
  }
  const body = table.createTBody();
  for (const [scheme, own, ...cells] of layer.s) {
    const row = body.insertRow();
    const first = element("th");
    first.scope = "row";
    first.append(element("span", scheme, `swatch s-${scheme}`));
    if (own) {
      row.className = "plan";
      first.append(element("small", "the plan's"));
    }
    row.append(first);
    for (const text of cells) row.insertCell().textContent = text;
  }
  return table;
}

function columns([start, width, counts], range) {
  const step = width || Math.abs(start) * 1e-3 || 1e-3;
  return counts.flatMap((count, index) => {
    if (!count) return [];
    const low = start + index * step;
    const high = low + step;
    const outside = range && (high <= range[0] || low >= range[1]);
    return [{ low, high, count, floor: 0.5, kind: outside ? "clipped" : "in the range" }];
  });
}

function drawing(title, note, spec, datasets) {
  const figure = element("figure");
  const caption = element("figcaption");
  caption.append(element("b", title), ` ${note}`);
  const plot = element("div", undefined, "plot small");
  figure.append(caption, plot);
  plot.append(element("div", undefined, "host"));
  queueMicrotask(() => {
    if (!plot.isConnected || !globalThis.vegaEmbed) return;
    bitplan.embed(plot.firstChild, { ...spec, datasets }, plot.clientWidth).catch(console.error);
  });
  return figure;
}

function drawings(layer, specs) {
  const made = [];
  if (layer.w && specs.weights) {
    const [start, width, counts, joined, low, high] = layer.w;
    const row = document.querySelector(`#table-weights ${link(layer.op)}`)?.closest("tr");
    const note = read(row).map(([title, text]) => `${title}: ${text}`).join("; ");
    made.push(drawing("Weights", note, specs.weights, { rows: columns([start, width, counts]) }));
    if (low.length > 1) {
      const rows = low.map((value, index) => {
        const [first, last] = [index * joined, (index + 1) * joined];
        const name = joined > 1 ? `${first} to ${last - 1}` : String(first);
        return { first, last, name, low: value, high: high[index] };
      });
      const help = joined > 1 ? `Each bar spans ${joined} neighbouring channels.` : "One bar a channel.";
      made.push(drawing("Weights by channel", help, specs.channels, { rows }));
    }
  }
  for (const [start, width, counts, minimum, maximum, clips, note] of layer.a ?? []) {
    const rows = columns([start, width, counts], clips && [minimum, maximum]);
    const ends = [{ at: minimum }, { at: maximum }];
    made.push(drawing("Output, with its range", note, specs.activation, { rows, ends }));
  }
  return made;
}

function show(layer) {
  const { columns: heads, charts } = layers();
  const name = panel.querySelector("h3 bdi");
  name.textContent = layer.name;
  const body = panel.querySelector(".panel-body");
  const why = (layer.why ?? []).map((sentence) => element("p", sentence, "why"));
  const text = element("div", undefined, "panel-text");
  text.append(...why);
  if (layer.s) {
    const scroll = element("div", undefined, "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Schemes of this layer");
    scroll.append(schemes(layer, heads));
    text.append(element("h4", "Schemes it could have, and what each would change of the plan"), scroll);
  }
  text.append(facts(layer.op));
  const row = element("p");
  if (document.getElementById(`op-${layer.op}`)) {
    const to = element("a", "Its row in the table of layers");
    to.href = `#op-${layer.op}`;
    to.dataset.row = "";
    row.append(to);
    text.append(row);
  }
  const plots = element("div", undefined, "panel-plots");
  const made = drawings(layer, charts);
  plots.append(...made);
  body.replaceChildren(text, ...(made.length ? [plots] : []));
  body.scrollTop = 0;
  panel.dataset.op = layer.op;
  const all = layers().layers;
  const place = all.indexOf(layer);
  panel.querySelector("[data-step='-1']").disabled = place === 0;
  panel.querySelector("[data-step='1']").disabled = place === all.length - 1;
}

// --- choosing -------------------------------------------------------------------------------------------------------

function find(key) {
  const all = layers().layers;
  return all.find((layer) => String(layer.op) === key) ?? all.find((layer) => layer.name === key);
}

function mark(op) {
  for (const other of document.querySelectorAll(".chosen-layer")) {
    other.classList.remove("chosen-layer");
    other.querySelector("a[aria-current]")?.removeAttribute("aria-current");
  }
  for (const anchor of document.querySelectorAll(link(op))) {
    if ("row" in anchor.dataset) continue;
    const holder = anchor.closest("tr, li");
    if (!holder) continue;
    holder.classList.add("chosen-layer");
    anchor.setAttribute("aria-current", "true");
    follow(holder);
  }
}

// Scrolls a table, and never the page, to the row that was chosen.
function follow(holder) {
  const box = holder.closest(".tall");
  if (!box || holder.hidden || !box.checkVisibility({ contentVisibilityAuto: true })) return;
  const head = holder.closest("table").tHead.offsetHeight;
  const [outer, inner] = [box.getBoundingClientRect(), holder.getBoundingClientRect()];
  if (inner.top < outer.top + head || inner.bottom > outer.bottom) {
    box.scrollTop += inner.top - outer.top - head - (outer.height - head) / 3;
  }
}

bitplan.follow = follow;

function afloat(on) {
  if (on) section.style.minHeight = `${section.offsetHeight}px`;
  else section.style.minHeight = "";
  panel.classList.toggle("sheet", on);
  document.documentElement.classList.toggle("with-sheet", on);
}

function inSight() {
  const box = section.getBoundingClientRect();
  return box.top < innerHeight * 0.5 && box.bottom > innerHeight * 0.5;
}

bitplan.choose = (op, { focus = false, sheet = true, address = true } = {}) => {
  const layer = section && find(String(op));
  if (!layer) return;
  chosen = layer.op;
  mark(chosen);
  bitplan.tell?.("chosen", `op-${chosen}`);
  if (address) history.replaceState(null, "", `#layer=${chosen}`);
  if (sheet && !panel.classList.contains("sheet") && !inSight()) afloat(true);
  show(layer);
  if (panel.classList.contains("sheet")) from?.scrollIntoView({ block: "nearest" });
  section.querySelector("[aria-live]").textContent = `${layer.name} is chosen`;
  if (focus) panel.focus({ preventScroll: true });
  rove();
};

function step(by) {
  const all = layers().layers;
  const place = all.findIndex((layer) => layer.op === Number(panel.dataset.op));
  const next = all[place + by];
  if (next) bitplan.choose(next.op);
}

function close() {
  if (!panel.classList.contains("sheet")) return;
  afloat(false);
  from?.focus({ preventScroll: true });
  from = null;
}

function opened() {
  const hash = decodeURIComponent(location.hash);
  if (!hash.startsWith("#layer=")) return;
  const layer = find(hash.slice(7));
  if (!layer) return;
  bitplan.choose(layer.op, { sheet: false, address: false });
  section.scrollIntoView();
}

// --- finding by name ------------------------------------------------------------------------------------------------

const finder = document.getElementById("find-layer");
const PICKED = "insertReplacementText";

// The layer of this number or name, else the first whose name has every word.
function closest(text) {
  const words = text.toLocaleLowerCase("en").split(/\s+/).filter(Boolean);
  const has = (layer) => words.every((word) => layer.name.toLocaleLowerCase("en").includes(word));
  return words.length ? (find(text.trim()) ?? layers().layers.find(has)) : undefined;
}

function search() {
  const layer = closest(finder.value);
  const asked = finder.value.trim();
  finder.parentElement.querySelector("output").textContent = layer || !asked ? "" : "No layer has such a name.";
  if (!layer) return;
  from = finder;
  bitplan.choose(layer.op);
}

function suggest() {
  if (finder.list.childElementCount) return;
  finder.list.append(...layers().layers.map((layer) => Object.assign(element("option"), { value: layer.name })));
}

// --- the strip's cells are one stop of the tab key, and the arrow keys go from cell to cell ------------------------------

const cells = [...document.querySelectorAll("#network .strip a")];

function rove(to) {
  const current = to ?? cells.find((cell) => cell.getAttribute("href") === `#op-${chosen}`) ?? cells[0];
  for (const cell of cells) {
    const index = cell === current ? 0 : -1;
    if (cell.tabIndex !== index) cell.tabIndex = index;
  }
}

function neighbour(target, key) {
  const place = cells.indexOf(target);
  if (place >= 0) {
    const to = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: cells.length - 1 }[key];
    if (to !== undefined) return cells[to];
    if (key !== "ArrowUp" && key !== "ArrowDown") return undefined;
    const [x, y] = [target.offsetLeft + target.offsetWidth / 2, target.parentElement.offsetTop];
    const down = key === "ArrowDown";
    const line = cells
      .map((cell) => cell.parentElement)
      .filter((cell) => (down ? cell.offsetTop > y + 4 : cell.offsetTop < y - 4));
    const edge = line.length && (down ? line[0] : line.at(-1)).offsetTop;
    const same = line.filter((cell) => Math.abs(cell.offsetTop - edge) < 4);
    const reach = (cell) => Math.abs(cell.offsetLeft + cell.offsetWidth / 2 - x);
    return same.sort((a, b) => reach(a) - reach(b))[0]?.querySelector("a");
  }
  const row = target.closest("tbody tr");
  if (!row || (key !== "ArrowUp" && key !== "ArrowDown")) return undefined;
  let next = row;
  do next = key === "ArrowDown" ? next.nextElementSibling : next.previousElementSibling;
  while (next && (next.hidden || !next.querySelector("a[href^='#op-']")));
  return next?.querySelector("a[href^='#op-']");
}

// A table's layers are one stop of the tab key too: without this, a reader tabs through every row of every table.
function roveIn(body, to) {
  const anchors = [...body.querySelectorAll("a[href^='#op-']")];
  const current = to ?? anchors.find((anchor) => !anchor.closest("tr").hidden);
  for (const anchor of anchors) anchor.tabIndex = anchor === current ? 0 : -1;
}

// --- listening ------------------------------------------------------------------------------------------------------

if (section) {
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const anchor = event.target.closest("a");
    const own = anchor ?? event.target.closest("tbody tr")?.querySelector("a[href^='#op-']");
    if (!own?.getAttribute("href")?.startsWith("#op-")) return;
    if ("row" in own.dataset) {
      close();
      return;
    }
    if (!anchor && (event.target.closest("button, input, summary") || String(getSelection()))) return;
    event.preventDefault();
    from = own;
    // A click of the keyboard has no place: the panel is read next.
    bitplan.choose(own.getAttribute("href").slice(4), { focus: Boolean(anchor) && event.detail === 0 });
  });
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const target = event.target;
    if (event.key === "Escape") close();
    else if (target.closest?.(".panel") && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      if (target.closest(".scroll")) return;
      step(event.key === "ArrowLeft" ? -1 : 1);
      event.preventDefault();
    } else if (target.matches?.("a[href^='#op-']")) {
      const to = neighbour(target, event.key);
      if (!to) return;
      event.preventDefault();
      if (cells.includes(to)) rove(to);
      else roveIn(to.closest("tbody"), to);
      to.focus();
      if (panel.classList.contains("sheet")) {
        from = to;
        bitplan.choose(to.getAttribute("href").slice(4));
      }
    }
  });
  for (const button of panel.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => step(Number(button.dataset.step)));
  }
  panel.querySelector("[data-close]").addEventListener("click", close);
  finder.addEventListener("focus", suggest);
  finder.addEventListener("keydown", (event) => event.key === "Enter" && search());
  // A suggestion that was picked replaces the text; typing does not.
  finder.addEventListener("input", (event) => (event.inputType ?? PICKED) === PICKED && search());
  for (const table of document.querySelectorAll("table:has(tbody a[href^='#op-'])")) {
    const body = table.tBodies[0];
    roveIn(body);
    const input = document.querySelector(`[data-filter="${table.id.slice(6)}"]`);
    input?.addEventListener("input", () => roveIn(body));
    table.tHead.addEventListener("click", () => roveIn(body));
  }
  addEventListener("hashchange", opened);
  rove();
  opened();
  if (chosen === null) {
    const first = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        first.disconnect();
        if (chosen === null) show(find(String(layers().first)));
      },
      { rootMargin: "300px" },
    );
    first.observe(section);
    addEventListener("beforeprint", () => panel.dataset.op ?? show(find(String(layers().first))));
  }
}
