"""The page as a file: escaped, offline, whole without scripts, the same bytes for the same run."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html.parser
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from bitplan.reports import html as page
from bitplan.reports.cells import Cell, Sparkline
from bitplan.reports.charts import build_charts
from bitplan.reports.view import RANDOM_BANNER

from .. import results_factory as factory
from .. import results_planning as planning
from .. import results_refined, results_repairs

LIMIT_BYTES = 2_500_000


# Charts, panels, plans; Vega and the page's own.
SCRIPTS = [*["application/json"] * 3, *["module"] * 5]


class Reader(html.parser.HTMLParser):
    """Elements with their attributes, scripts, and the text that a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str, str]] = []
        self.seen: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag
            if tag == "script":
                self.scripts.append((dict(attrs)["type"], ""))

    def handle_endtag(self, tag):
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            kind, before = self.scripts[-1]
            self.scripts[-1] = (kind, before + data)
        elif not self._inside:
            self.seen.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.seen).split())

    def ids(self) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get("id"))]


@pytest.fixture(scope="module")
def mobilenet() -> str:
    return page.render(factory.mobilenet())


def test_the_page_is_under_two_and_a_half_megabytes(mobilenet):
    assert len(mobilenet.encode()) < LIMIT_BYTES


@pytest.mark.parametrize("name", ["islands", "two_layers", "inspected"])
def test_equal_results_give_equal_bytes(name):
    assert page.render(getattr(factory, name)()) == page.render(getattr(factory, name)())


def test_another_process_gives_the_same_bytes(mobilenet):
    code = (
        "import sys, hashlib, types\n"
        "package = types.ModuleType('package')\n"
        f"package.__path__ = [{str(pathlib.Path(factory.__file__).parent)!r}]\n"
        "sys.modules['package'] = package\n"
        "from package.results_factory import mobilenet\n"
        "from bitplan.reports.html import render\n"
        "print(hashlib.sha256(render(mobilenet()).encode()).hexdigest())\n"
    )
    environment = {"PYTHONHASHSEED": "12345", "PATH": "/usr/bin:/bin", "HOME": "/tmp"}
    environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == hashlib.sha256(mobilenet.encode()).hexdigest()


def test_only_times_and_the_measured_block_differ_between_equal_runs(mobilenet):
    again = dataclasses.replace(factory.mobilenet(), provenance=factory.provenance(measured={"verify_s": 99.0}))
    block = re.compile(r'<div id="measured">.*?</div>|<aside id="times".*?</aside>\n', re.DOTALL)
    other = page.render(again)
    assert other != mobilenet
    assert block.sub("", other) == block.sub("", mobilenet)


def test_nothing_on_the_page_names_another_host(mobilenet):
    reader = Reader(mobilenet)
    for tag, attributes in reader.elements:
        for key in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(key)
            assert value is None or value.startswith("#") or value == "data:,", (tag, value)
        assert tag not in ("iframe", "object", "embed", "form", "base")
    style = re.search(r"<style>(.*?)</style>", mobilenet, re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style


def test_the_policy_allows_the_pages_own_scripts_and_nothing_else(mobilenet):
    reader = Reader(mobilenet)
    policy = next(a["content"] for tag, a in reader.elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    digests = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for kind, text in reader.scripts
        if kind == "module"
    ]
    assert rules["script-src"].split() == digests and len(digests) == 5
    assert "unsafe-eval" not in policy


def test_no_event_handlers_stand_in_the_markup(mobilenet):
    assert not [a for _, a in Reader(mobilenet).elements if any(key.startswith("on") for key in a)]


def test_hostile_names_are_text():
    text = page.render(factory.hostile())
    reader = Reader(text)
    tags = {tag for tag, _ in reader.elements}
    assert "img" not in tags
    assert [kind for kind, _ in reader.scripts] == SCRIPTS
    assert "</script><b>\"'" in reader.text
    assert "<img src=x onerror=alert(1)>{{ 7*7 }}" in reader.text
    assert "\u202e" not in text and "\x00" not in text
    assert "L" * 200 not in text
    assert len(text.encode()) < LIMIT_BYTES


def test_hostile_names_leave_the_chart_data_readable():
    block = next(text for kind, text in Reader(page.render(factory.hostile())).scripts if kind == "application/json")
    assert next(iter(json.loads(block)["ranking"].values()))["datasets"]
    assert "</script><b>\"'" in json.dumps(json.loads(block), ensure_ascii=False).replace('\\"', '"')


def test_ids_are_unique_and_every_link_on_the_page_leads_somewhere(mobilenet):
    reader = Reader(mobilenet)
    assert len(reader.ids()) == len(set(reader.ids()))
    for _, attributes in reader.elements:
        target = attributes.get("href") or ""
        assert not target.startswith("#") or target[1:] in reader.ids(), target


@pytest.mark.parametrize("name", ["two_layers", "mismatched", "analyzed", "hostile"])
def test_links_hold_on_other_pages_too(name):
    reader = Reader(page.render(getattr(factory, name)()))
    targets = {a["href"][1:] for _, a in reader.elements if (a.get("href") or "").startswith("#")}
    assert targets <= set(reader.ids())


def test_parts_stand_in_the_order_of_reading(mobilenet):
    order = [
        "answer", "before-after", "times", "causes", "network", "plan", "frontier", "budget", "trial", "why", "layer",
        "tables", "weights", "calibration", "run", "measured",
    ]  # fmt: skip
    ids = Reader(mobilenet).ids()
    assert [part for part in ids if part in order] == order


def test_parts_without_data_are_absent():
    reader = Reader(page.render(factory.inspected()))
    absent = {
        "before-after", "causes", "network", "plan", "repairs", "calibration", "measured", "times", "opinion",
        "chart-data", "layer", "layer-data", "budget", "plan-data", "weights",
    }  # fmt: skip
    assert not absent & set(reader.ids())
    assert [kind for kind, _ in reader.scripts] == ["module"]
    assert len(page.render(factory.inspected())) < 200_000


def test_without_scripts_the_figures_are_there(mobilenet):
    text = Reader(mobilenet).text
    for figure in ("3.42 ± 0.80", "0.0629", "expanded_conv_depthwise", "2.735 MB", "w16a16", "reads int8 as float"):
        assert figure in text or figure in mobilenet
    assert "This chart needs JavaScript; the same figures are in" in text


def test_the_banner_is_there_exactly_when_the_calibration_data_is_random(mobilenet):
    assert RANDOM_BANNER in Reader(page.render(factory.unevaluated())).text
    assert RANDOM_BANNER not in Reader(mobilenet).text


def test_sort_values_are_numbers_that_a_browser_reads():
    assert page.data_value(Cell("∞", float("inf"))) == ' data-value="Infinity"'
    assert page.data_value(Cell("x", float("nan"))) == ' data-value=""'
    assert page.data_value(Cell("≈ 0.33", 1 / 3)) == ' data-value="0.3333333"'
    assert page.data_value(Cell("a\u2026", 'a"<b>', is_name=True)) == ' data-value="a&#34;&lt;b&gt;"'
    assert page.data_value(Cell("a", "a", is_name=True, href="#op-1")) == ""
    # What is shown sorts by itself.
    assert (
        page.data_value(Cell("", None))
        == page.data_value(Cell("0", 0.0))
        == page.data_value(Cell("w8a8", "w8a8"))
        == ""
    )


def test_a_sparkline_closes_on_its_baseline():
    assert page.spark(Sparkline((0.0, 1.0), None, (0.0, 1.0))) == "M0 24V24h1V1h1V24z"


def test_a_breakable_name_is_escaped_before_it_is_broken():
    assert str(page.breakable("a_b/<b>_c")) == "a_<wbr>b/&lt;b&gt;_<wbr>c"


def test_charts_are_the_same_every_time_and_carry_their_own_data():
    one, other = build_charts(factory.mobilenet()), build_charts(factory.mobilenet())
    assert one == other
    assert [chart.id for chart in one] == ["drops", "ranking", "kinds", "local", "frontier"]
    schemes = [key.split("|")[0] for key in one[1].specs]
    assert list(dict.fromkeys(schemes)) == ["w8a8", "w4a8", "w4a16", "w8a16", "w16a8", "w16a16"]
    for chart in one:
        for spec in chart.specs.values():
            assert "$schema" in spec and "url" not in json.dumps(spec.get("datasets", {}))


def layers_of(spec):
    return spec.get("layer", [spec])


def test_charts_fill_what_was_measured_and_outline_estimates_with_a_legend_of_both():
    for chart in build_charts(results_refined.refined())[1:3]:
        for spec in chart.specs.values():
            *_, marks, legend = (layer for layer in layers_of(spec) if layer["mark"]["type"] != "rule")
            filling = marks["encoding"]["fillOpacity"]
            assert filling["condition"]["test"] == "datum.estimated"
            assert filling["condition"]["value"] < 0.2 < filling["value"]
            assert marks["encoding"]["stroke"]["field"] == "part"
            assert legend["encoding"]["fill"]["scale"]["domain"][-1] == "estimated"
            assert "outline" in chart.help


def test_charts_without_estimates_have_no_legend_of_them():
    for chart in build_charts(factory.mobilenet())[1:3]:
        for spec in chart.specs.values():
            assert not any("fill" in layer["encoding"] for layer in layers_of(spec))
        assert "estimated" not in chart.help


def test_a_few_measured_sources_do_not_show_how_poor_a_guide_the_layer_is():
    local = build_charts(results_refined.refined())[3]
    assert local.title == "Error at the layer and at the output"
    assert local.help.startswith("Each mark is one source that was measured. ")
    assert [chart.id for chart in build_charts(results_refined.linear())] == ["drops", "ranking", "kinds", "frontier"]


def test_parts_of_the_plan_without_data_are_absent():
    reader = Reader(page.render(factory.islands()))
    assert "plan" in reader.ids() and "table-limits" in reader.ids()
    assert not {"frontier", "trial", "why", "opinion", "table-reasons", "chart-frontier"} & set(reader.ids())


def test_what_the_targets_tool_says_is_text():
    base = factory.mobilenet()
    reader = Reader(page.render(planning.on_target(base, "tflite-micro", planning.refused())))
    assert "It refuses the file: it has no <b>PRELU</b>" in reader.text and "table-opinion" not in reader.ids()
    seen = Reader(page.render(planning.on_target(base, "ethos-u55", planning.vela()))).text
    assert "ethos-u-vela 5.2.0: compiled for ethos-u55-128" in seen and "SOFTMAX, PRELU" in seen
    assert "One thread of this machine's CPU: says nothing of ethos-u55." in seen


def test_hostile_words_of_a_planning_are_text():
    reader = Reader(page.render(hostile_planning()))
    assert {"img", "script"} & {tag for tag, _ in reader.elements} == {"script"}
    assert [kind for kind, _ in reader.scripts] == SCRIPTS
    for table in ("reasons", "remeasured", "rivals"):
        assert f"table-{table}" in reader.ids()
    assert reader.text.count("<img src=x onerror=alert(1)>") > 3
    targets = {a["href"][1:] for _, a in reader.elements if (a.get("href") or "").startswith("#")}
    assert targets <= set(reader.ids())


def hostile_planning():
    """Names of layers, rivals, tools and targets that try to be markup."""
    base = factory.hostile()
    bad, found = factory.HOSTILE[1], base.planning
    rivals = tuple(dataclasses.replace(rival, name=bad) for rival in found.frontier.rivals)
    reasons = tuple(dataclasses.replace(reason, op=bad, layer=bad) for reason in found.reasons)
    rounds = tuple(
        dataclasses.replace(t, remeasured=tuple(dataclasses.replace(r, op=bad, layer=bad) for r in t.remeasured))
        for t in found.trial.rounds
    )
    frontier = dataclasses.replace(found.frontier, rivals=rivals)
    trial = dataclasses.replace(found.trial, rounds=rounds, advice=(bad,))
    made = dataclasses.replace(found, reasons=reasons, frontier=frontier, trial=trial)
    opinion = dataclasses.replace(planning.vela(), tool=bad, setting=bad, cpu_ops=(bad,), figures={bad: 1.0})
    return planning.on_target(dataclasses.replace(base, planning=made), bad, opinion)


def test_repairs_stand_behind_the_plan_and_only_where_there_are_some(mobilenet):
    reader = Reader(page.render(results_repairs.repaired()))
    order = ["before-after", "plan", "repairs", "kernels", "tables", "run"]
    assert [part for part in reader.ids() if part in order] == order
    assert {"chart-waterfall", "chart-training", "table-repairs", "table-training", "table-kernels"} <= set(
        reader.ids()
    )
    assert len(reader.ids()) == len(set(reader.ids()))
    assert not {"repairs", "kernels", "table-repairs", "chart-waterfall"} & set(Reader(mobilenet).ids())
    bare = Reader(page.render(results_repairs.without_classes()))
    assert "chart-waterfall" in bare.ids() and not {"chart-training", "table-training"} & set(bare.ids())


def test_equal_repairs_give_equal_bytes():
    assert page.render(results_repairs.repaired()) == page.render(results_repairs.repaired())


def test_hostile_words_of_repairs_are_text():
    text = page.render(results_repairs.hostile())
    reader = Reader(text)
    assert {"img", "script"} & {tag for tag, _ in reader.elements} == {"script"}
    assert [kind for kind, _ in reader.scripts] == SCRIPTS
    assert reader.text.count("<img src=x onerror=alert(1)>") > 10 and "</script><b>" in reader.text
    assert "\u202e" not in text
    targets = {a["href"][1:] for _, a in reader.elements if (a.get("href") or "").startswith("#")}
    assert targets <= set(reader.ids())


def test_names_of_what_has_no_gradient_are_text():
    reader = Reader(page.render(results_refined.not_differentiable()))
    assert "because of WHILE, CUSTOM <b>Fft</b>: every source was measured" in reader.text


def test_a_ranking_over_many_powers_of_ten_opens_on_a_logarithmic_scale():
    ranking = build_charts(factory.mobilenet())[1]
    assert next(iter(ranking.specs)) == "w8a8|log"
    small = build_charts(factory.two_layers())[1]
    assert next(iter(small.specs)) == "w8a8|linear"
