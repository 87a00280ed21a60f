"""Pages of other tools beside Bitplan's: what a browser says of each, with the network off.

    python benchmarks/rival_pages.py bitplan=out/report.html coverage=htmlcov/index.html \
        memray=memray-flamegraph.html netron=http://127.0.0.1:8081/ --press Accept --axe axe.min.js --screenshots shots

A page is NAME=FILE or NAME=URL of a server on this machine. Prints a Markdown table, one row a measure:

- *elements* are counted when the page has loaded and rested for `--rest` seconds.
- *characters without JavaScript* are what a reader sees then; folded parts are left out.
- *tab stops* are the different elements that the tab key reaches in 400 presses.
- *follows a dark system* compares the colour behind the text under both colour schemes.
- *phone* is how much wider than a window of 390 pixels the page is.
- Load times are of files or of this machine, medians of five, without what other hosts would have sent.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
PHONE = 390
PRESSES = 400
LOADS = 5

Row = dict[str, str]


@contextmanager
def opened(
    browser: Browser, url: str, rest: float, press: str = "", **context: Any
) -> Iterator[tuple[Page, list[str], list[Any]]]:
    """A page that has loaded and rested, what it asked other hosts for, and the answers that it got."""
    made = browser.new_context(viewport={"width": 1280, "height": 900}, **context)
    page = made.new_page()
    host = url.split("/")[2] if url.startswith("http") else ""
    outside: list[str] = []

    def take(route: Any) -> None:
        asked = route.request.url
        local = asked.startswith(("file:", "data:", "blob:")) or asked.split("/")[2] == host
        if local:
            route.continue_()
        else:
            outside.append(asked)
            route.abort()

    answers: list[Any] = []
    page.route("**/*", take)
    page.on("response", lambda answer: answers.append(answer))
    page.goto(url, wait_until="load")
    if press and context.get("java_script_enabled", True):
        page.wait_for_timeout(rest * 1000)
        button = page.get_by_text(press, exact=True)
        if button.count():
            button.first.click()
    page.wait_for_timeout(rest * 1000)
    try:
        yield page, outside, answers
    finally:
        made.close()


def said(page: Page, expression: str) -> Any:
    """What an expression gives in the page; not through its `eval`, which Netron takes away."""
    session = page.context.new_cdp_session(page)
    asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
    answer = session.send("Runtime.evaluate", asked)
    session.detach()
    if "exceptionDetails" in answer:
        raise RuntimeError(str(answer["exceptionDetails"]))
    return answer["result"].get("value")


def measure(
    browser: Browser, url: str, rest: float, press: str, axe: str, shots: pathlib.Path | None, name: str
) -> Row:
    """Every row of one page."""
    found: Row = {}
    with opened(browser, url, rest, press) as (page, outside, answers):
        sizes = [len(answer.body()) for answer in answers if not answer.url.startswith(("data:", "blob:"))]
        found["bytes of the page and its own files"] = f"{sum(sizes):,}"
        found["files it consists of"] = str(len(sizes))
        found["requests to other hosts"] = str(len(outside))
        found["elements"] = f"{said(page, 'document.querySelectorAll(`*`).length'):,}"
        found["background"] = said(page, f"({BACKGROUND})()")
        _shot(page, shots, f"{name}-light")
    with opened(browser, url, rest, press) as (page, _, _):
        said(page, f"({WATCH})()")
        stops, seen = _tabbed(page)
        found["tab stops in 400 presses"] = str(stops)
        found["of them with an outline or a shadow"] = str(seen)
    with opened(browser, url, rest, press, java_script_enabled=False) as (page, _, _):
        found["characters without JavaScript"] = f"{len(' '.join(page.inner_text('body').split())):,}"
    with opened(browser, url, rest, press, color_scheme="dark") as (page, _, _):
        dark = said(page, f"({BACKGROUND})()")
        found["follows a dark system"] = "yes" if dark != found.pop("background") else "no"
        _shot(page, shots, f"{name}-dark")
        if axe:
            found["axe, dark: rules broken seriously"] = _axe(page, axe)
    with opened(browser, url, rest, press) as (page, _, _):
        if axe:
            found["axe, light: rules broken seriously"] = _axe(page, axe)
        pdf = page.pdf(format="A4")
        found["pages on A4"] = str(
            pdf.count(b"/Type /Page\n") or pdf.count(b"/Type /Page ") or pdf.count(b"/Type /Page/")
        )
        if shots:
            (shots / f"{name}.pdf").write_bytes(pdf)
    with opened(browser, url, rest, press) as (page, _, _):
        page.set_viewport_size({"width": PHONE, "height": 844})
        page.wait_for_timeout(500)
        wide = said(page, "document.documentElement.scrollWidth")
        found["phone: pixels too wide"] = str(wide - PHONE)
        _shot(page, shots, f"{name}-phone")
    found["seconds to the load event"] = f"{statistics.median(_load(browser, url) for _ in range(LOADS)):.2f}"
    return found


BACKGROUND = """
() => {
  const clear = (colour) => colour === "rgba(0, 0, 0, 0)" || colour === "transparent";
  for (const one of [document.body, document.documentElement]) {
    const colour = getComputedStyle(one).backgroundColor;
    if (!clear(colour)) return colour;
  }
  return "none";
}
"""
WATCH = """
() => {
  globalThis.stops = new Map();
  addEventListener("focusin", ({ target }) => {
    const style = getComputedStyle(target);
    const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
    globalThis.stops.set(target, outlined || style.boxShadow !== "none");
  }, true);
}
"""
"""A focus counts as visible where an outline or a shadow is drawn."""


def _tabbed(page: Page) -> tuple[int, int]:
    for _ in range(PRESSES):
        page.keyboard.press("Tab")
    stops, seen = said(page, "[stops.size, [...stops.values()].filter(Boolean).length]")
    return stops, seen


def _axe(page: Page, axe: str) -> str:
    said(page, f"{axe}; 0")
    found = said(
        page,
        "axe.run(document).then((said) => said.violations.filter((v) => ['serious', 'critical'].includes(v.impact))"
        ".map((v) => [v.id, v.nodes.length]))",
    )
    return ", ".join(f"{rule} ({places})" for rule, places in found) or "none"


def _load(browser: Browser, url: str) -> float:
    with opened(browser, url, 0.1) as (page, _, _):
        milliseconds: float = said(page, "performance.getEntriesByType('navigation')[0].loadEventEnd")
    return milliseconds / 1000


def _shot(page: Page, shots: pathlib.Path | None, name: str) -> None:
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=shots / f"{name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", metavar="NAME=PAGE")
    parser.add_argument("--axe", type=pathlib.Path, help="axe.min.js of npm's axe-core")
    parser.add_argument("--press", default="", help="text of a button that a page has to be let in by")
    parser.add_argument("--screenshots", type=pathlib.Path, help="folder for pictures and PDFs")
    parser.add_argument("--rest", type=float, default=3, help="seconds that a page gets after it has loaded")
    given = parser.parse_args()
    axe = given.axe.read_text(encoding="utf-8") if given.axe else ""
    columns: dict[str, Row] = {}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for page in given.pages:
            name, _, where = page.partition("=")
            url = where if where.startswith("http") else pathlib.Path(where).resolve().as_uri()
            columns[name] = measure(browser, url, given.rest, given.press, axe, given.screenshots, name)
        browser.close()
    print("| | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for title in next(iter(columns.values())):
        print(f"| {title} | " + " | ".join(row.get(title, "") for row in columns.values()) + " |")


if __name__ == "__main__":
    main()
