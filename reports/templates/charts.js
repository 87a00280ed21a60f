// Charts, each drawn when it comes near the screen or when the browser has nothing else to do.

const block = document.getElementById("chart-data");
const charts = block ? JSON.parse(block.textContent) : {};
const views = new Map();
const said = new Map();

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

function embed(host, spec, width) {
  const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true };
  return globalThis.vegaEmbed(host, fitted(spec, width), options);
}

// Tells every chart what was chosen elsewhere on the page; one that is drawn later hears it then.
function tell(name, value) {
  said.set(name, value);
  for (const view of views.values()) hear(view, name, value);
}

function hear(view, name, value) {
  try {
    view.signal(name, value).runAsync();
  } catch {
    // A chart of something else.
  }
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
    const { view } = await embed(host, spec, plot.clientWidth);
    view.addEventListener("click", (event, item) => {
      if (item?.datum?.anchor) globalThis.bitplan.choose?.(Number(item.datum.anchor.slice(3)));
      else if (item?.datum?.place !== undefined) globalThis.bitplan.showPlan?.(item.datum.place);
    });
    views.set(id, view);
    for (const [name, value] of said) hear(view, name, value);
    plot.dataset.drawn = choices.join("|") || "yes";
  } catch (error) {
    if (fallback) plot.replaceChildren(fallback);
    console.error(error);
  }
}

const waiting = new Set(document.querySelectorAll("[data-chart]"));

function take(plot) {
  if (waiting.delete(plot)) draw(plot);
}

const idle = globalThis.requestIdleCallback ?? ((task) => setTimeout(task, 50));
const near = new IntersectionObserver(
  (entries) => entries.forEach((entry) => entry.isIntersecting && (near.unobserve(entry.target), take(entry.target))),
  { rootMargin: "300px" },
);
for (const plot of waiting) near.observe(plot);

function next() {
  const [plot] = waiting;
  if (!plot) return;
  take(plot);
  idle(next);
}
addEventListener("load", () => idle(next));
addEventListener("beforeprint", () => waiting.forEach(take));

for (const select of document.querySelectorAll("[data-choice]")) {
  select.addEventListener("change", () => draw(document.querySelector(`[data-chart="${select.dataset.choice}"]`)));
}

globalThis.bitplan = { ...globalThis.bitplan, embed, tell, idle };
