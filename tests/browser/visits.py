"""Pages of runs by name, and one of them opened in a real browser with the network off."""

from __future__ import annotations

import pathlib

from .. import results_factory as factory
from .. import results_planning as planning
from .. import results_refined, results_repairs, results_samples

RESULTS = {
    **{
        name: getattr(factory, name)
        for name in ("mobilenet", "islands", "two_layers", "inspected", "unevaluated", "hostile", "mismatched")
    },
    "refined": results_refined.refined,
    "repaired": results_repairs.repaired,
    "without_classes": results_repairs.without_classes,
    "hostile_repairs": results_repairs.hostile,
    "samples": results_samples.sampled,
    "hostile_samples": results_samples.hostile,
    "device": lambda: planning.on_target(factory.mobilenet(), "ethos-u55", planning.vela()),
}
"""What pages of runs are made of, by name."""


class Visit:
    """A page opened offline, with everything it asked for and complained about."""

    def __init__(self, browser, path: pathlib.Path, **context) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
        self.context.set_offline(True)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.url = path.as_uri()
        self.page.goto(self.url)

    def drawn(self) -> None:
        """Waits until every chart is there."""
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('[data-chart]')]"
            ".every((plot) => plot.dataset.drawn && plot.querySelector('svg'))"
        )

    def close(self) -> None:
        """Closes it; it must have asked for nothing and complained of nothing."""
        self.context.close()
        assert [url for url in self.requests if url != self.url and not url.startswith("data:")] == []
        assert self.complaints == []

    def column(self, table: str, position: int) -> list[str]:
        """Texts of one column's visible cells."""
        return self.page.eval_on_selector_all(
            f"#table-{table} tbody tr:not([hidden])", f"rows => rows.map(r => r.cells[{position}].innerText.trim())"
        )
