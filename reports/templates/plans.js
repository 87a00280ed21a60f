// The slider: every plan and every text of it is in the page; this only shows the one that a budget buys.

const box = document.getElementById("budget");

if (box) {
  const { stops, own, schemes } = JSON.parse(document.getElementById("plan-data").textContent);
  const slider = box.querySelector("input");
  const strip = box.querySelector(".strip");
  const cells = [];

  const build = () => {
    for (let index = 0; index < stops[own].ops.length; index++) {
      const cell = document.createElement("li");
      cell.append(document.createElement("span"));
      cell.dataset.op = index;
      cells.push(cell);
    }
    strip.append(...cells);
  };

  const show = (place, moved = true) => {
    if (!cells.length) build();
    const stop = stops[place];
    slider.value = place;
    slider.setAttribute("aria-valuetext", stop.title);
    box.querySelector("output").textContent = stop.title;
    box.querySelector(".changed").textContent = stop.changed;
    const list = box.querySelector("dl");
    list.replaceChildren();
    for (const [name, value] of stop.facts) {
      list.append(Object.assign(document.createElement("dt"), { textContent: name }));
      list.append(Object.assign(document.createElement("dd"), { textContent: value }));
    }
    cells.forEach((cell, index) => {
      const letter = stop.ops[index];
      const scheme = schemes[letter.toLowerCase()];
      const differs = scheme !== schemes[stops[own].ops[index].toLowerCase()];
      cell.className = `${letter < "a" ? "border" : ""} ${differs ? "differs" : ""}`;
      cell.firstChild.className = `swatch s-${scheme}`;
      cell.title = `${index}: ${scheme}`;
    });
    for (const row of document.querySelectorAll("#table-frontier tbody tr")) {
      row.classList.toggle("at-budget", row.id === `frontier-${place}`);
      if (moved && row.id === `frontier-${place}`) globalThis.bitplan.follow?.(row);
    }
    globalThis.bitplan.tell?.("budget", place);
  };

  globalThis.bitplan.showPlan = show;
  slider.addEventListener("input", () => show(Number(slider.value)));
  strip.addEventListener("click", (event) => {
    const cell = event.target.closest("li");
    if (cell) globalThis.bitplan.choose?.(Number(cell.dataset.op));
  });
  document.getElementById("table-frontier").tBodies[0].addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!row || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    show(Number(row.id.slice(9)));
  });
  const asked = location.hash.match(/^#frontier-(\d+)$/);
  show(asked && stops[asked[1]] ? Number(asked[1]) : own, false);
}
