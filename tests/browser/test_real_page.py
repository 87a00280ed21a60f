"""The page of the real benchmark model, made by a real run on few images, driven as a reader would."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import numpy as np
import pytest
from bitplan import api
from bitplan.reports.html import render

from .. import results_factory as factory
from ..results_large import large
from .visits import Visit

pytestmark = pytest.mark.slow

IMAGES = 24


@pytest.fixture(scope="module")
def results(shared, tmp_path_factory):
    """Ranges and estimated sensitivities from a few images, a frontier of real plans, a file that was run, a study."""
    folder = tmp_path_factory.mktemp("data")
    with np.load(shared / "data" / "cifar10.npz") as data:
        np.savez(
            folder / "few.npz", x=data["x_unlabelled"][: 2 * IMAGES], xe=data["x_eval"][:64], ye=data["y_eval"][:64]
        )
    run = api.analyze(
        str(shared / "models" / "mobilenetv2_cifar10_96.tflite"), f"{folder}/few.npz:x",
        evaluation=f"{folder}/few.npz:xe,ye", calibration_samples=IMAGES, resize=96, scale="tf", sensitivity="linear",
        left_float=False, out=folder / "run",
    )  # fmt: skip
    run = run.plan(pareto="size", allow=("w8a8", "w16a8", "float")).convert().verify()
    api.calibrate_study(folder / "run", sizes=(4, 12), seeds=2, methods=("min_max", "mse"), held_back=8)
    return run.results()


@pytest.fixture(scope="module")
def real(results, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("real") / "real.html"
    path.write_text(render(results), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, real) -> Iterator[Visit]:
    visit = Visit(browser, real)
    visit.drawn()
    yield visit
    visit.close()


@pytest.fixture(scope="module")
def made_up(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("made_up") / "hostile.html"
    path.write_text(render(factory.hostile()), encoding="utf-8")
    return path


def chosen(visit: Visit) -> str:
    return visit.page.locator("#panel-name").inner_text()


def test_the_page_stays_small_and_stands_in_the_order_of_reading(opened, real):
    assert real.stat().st_size < 2_500_000
    sections = opened.page.eval_on_selector_all("main > section", "all => all.map(one => one.id)")
    assert sections == [
        "answer", "before-after", "causes", "network", "plan", "layer", "flips", "study", "tables", "weights",
        "calibration", "run",
    ]  # fmt: skip
    figures = opened.page.locator(".figures li")
    assert figures.count() == 4
    said = figures.all_inner_texts()
    assert "Flash (file)" in said[0] and "RAM (arena)" in said[1]
    assert "64 images" in said[2] and "±" in said[2] and "predicted, not measured" in said[3]


def test_the_images_that_change_their_class_are_seen(opened, results):
    found = results.verification.flips
    assert 0 < found.total == len(found.listed) <= 24, "of 64 images a few"
    page = opened.page
    cards, pictures = page.locator("#flips li"), page.locator("#flips img")
    assert cards.count() == pictures.count() == found.total
    pictures.first.scroll_into_view_if_needed()
    sizes = page.eval_on_selector_all("#flips img", "all => all.map((one) => [one.naturalWidth, one.naturalHeight])")
    assert sizes == [[32, 32]] * found.total, "CIFAR-10's own pixels, before they were resized"
    for card, flip in zip(cards.all_inner_texts(), found.listed, strict=True):
        for word in (flip.origin, f"class {flip.float_class}, ", f"class {flip.quantized_class}, "):
            assert word in card
    assert {int(flip.index) for flip in found.listed} <= set(range(64))


def test_the_calibration_study_is_drawn_and_its_chart_follows_the_choice(opened, results):
    page = opened.page
    lines = page.locator("[data-chart=study] svg .mark-line.role-mark path")
    assert lines.count() == 2 and len(results.study.bands) == 4
    page.locator("[data-choice=study]").select_option("accuracy")
    page.wait_for_function(
        "() => document.querySelector('[data-chart=study]').textContent.includes('accuracy on evaluation samples')"
    )
    assert page.locator("#table-study tbody tr").count() == 4
    assert page.locator("#table-study tr.plan").count() == 1
    assert "This run was calibrated on 24 samples." in page.locator("#study").inner_text()


def test_no_box_is_empty_before_a_layer_is_chosen(browser, real):
    visit = Visit(browser, real)
    visit.page.wait_for_selector("#network .strip a")
    assert not visit.page.locator(".panel-body").is_visible()
    visit.page.emulate_media(media="print")
    assert not visit.page.locator("#layer").is_visible()
    visit.page.emulate_media(media="screen")
    visit.page.locator("#network .strip a").first.click()
    assert visit.page.locator(".panel-body").is_visible()
    visit.close()


def test_a_layer_chosen_in_the_strip_is_chosen_everywhere(opened, results):
    page = opened.page
    page.locator("#network .strip a").nth(1).click()
    page.wait_for_selector(".panel.sheet figure svg")
    assert chosen(opened) == "expanded_conv_depthwise" and page.url.endswith("#layer=1")
    for table in ("layers", "reasons", "ranges", "weights"):
        marked = page.locator(f"#table-{table} tr.chosen-layer")
        assert marked.count() == 1 and "expanded_conv_depthwise" in marked.inner_text(), table
    assert page.locator("#network .strip li.chosen-layer").count() == 1
    band = page.locator("[data-chart=ranking] svg .mark-rule.role-mark line[stroke-width='18']")
    assert band.count() == 1
    # The panel says what the tables say.
    panel = page.locator(".panel-body").inner_text()
    assert "DEPTHWISE_CONV_2D" in panel and "Weights by channel" in panel and "288" in panel
    assert page.locator(".panel-plots figure").count() == 3
    profile = next(profile for profile in results.weights if profile.op == 1)
    marks = page.locator(".panel-plots figure").nth(0).locator(".mark-rect.role-mark path")
    assert marks.count() == sum(count > 0 for count in profile.counts)
    channels = page.locator(".panel-plots figure").nth(1).locator(".mark-rect.role-mark path")
    assert channels.count() == profile.channels == 32
    # Its schemes, the plan's marked.
    rows = page.locator(".panel-body tbody tr")
    assert rows.count() == len(results.graph.ops[1].schemes)
    assert results.plan.assignments[1].scheme in page.locator(".panel-body tbody tr.plan").inner_text()


def test_a_row_and_a_mark_choose_too(opened):
    page = opened.page
    page.locator("#table-reasons tbody tr", has_text="block_3_expand").locator("td").nth(2).click()
    assert chosen(opened) == "block_3_expand"
    page.locator(".panel [data-close]").click()
    assert page.locator(".panel.sheet").count() == 0
    mark = page.locator("[data-chart=ranking] svg .mark-symbol path[aria-label*='block_2_project']").first
    mark.click(force=True)
    assert chosen(opened) == "block_2_project"


def test_the_keyboard_goes_from_cell_to_cell_and_into_the_panel(opened):
    page = opened.page
    page.locator("#network .strip a").first.focus()
    assert page.locator("#network .strip a:not([tabindex='-1'])").count() == 1
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert chosen(opened) == "expanded_conv_project"
    assert page.evaluate("document.activeElement.className").startswith("panel")
    page.keyboard.press("ArrowRight")
    assert chosen(opened) == "block_1_expand"
    page.keyboard.press("Escape")
    assert page.locator(".panel.sheet").count() == 0
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#op-2"
    assert page.locator(":focus-visible").count() == 1


@pytest.mark.parametrize("key", ["1", "expanded_conv_depthwise"])
def test_a_link_to_a_layer_opens_on_it(browser, real, key):
    visit = Visit(browser, real)
    visit.url = f"{real.as_uri()}#layer={key}"
    visit.page.goto("about:blank")
    visit.page.goto(visit.url)
    visit.page.wait_for_selector("#layer figure svg")
    assert chosen(visit) == "expanded_conv_depthwise"
    assert visit.page.locator("#layer").bounding_box()["y"] < 900
    visit.requests = [url for url in visit.requests if url.split("#")[0] not in (real.as_uri(), "about:blank")]
    visit.close()


def test_the_slider_shows_the_plan_that_a_budget_buys(opened, results):
    page = opened.page
    points = results.planning.frontier.points
    slider = page.locator("#budget-slider")
    own = int(slider.input_value())
    assert "the plan of this run" in page.locator("#budget output").inner_text()
    slider.focus()
    page.keyboard.press("Home")
    smallest = points[0]
    said = page.locator("#budget").inner_text()
    assert "plan 1 of" in said and slider.get_attribute("aria-valuetext") in said
    classes = page.eval_on_selector_all("#budget .mini .swatch", "all => all.map(one => one.className)")
    assert [name.removeprefix("swatch s-") for name in classes] == list(smallest.schemes)
    differing = sum(a.scheme != b for a, b in zip(results.plan.assignments, smallest.schemes, strict=True))
    assert page.locator("#budget .mini .differs").count() == differing
    assert page.locator("#table-frontier tr.at-budget").get_attribute("id") == "frontier-0"
    ring = page.locator("[data-chart=frontier] svg .mark-symbol.role-mark path").last
    assert ring.count() == 1
    page.keyboard.press("End")
    assert page.locator("#table-frontier tr.at-budget").get_attribute("id") == f"frontier-{slider.get_attribute('max')}"
    # A row of the table and a mark of the chart move it as well.
    page.locator("#table-frontier tbody tr").nth(own).locator("td").first.click()
    assert slider.input_value() == str(own)


def test_every_plan_of_the_slider_has_its_borders_where_formats_change(results):
    from bitplan.analyzer.schema import SCHEMES
    from bitplan.reports.budget import budget_part

    graph = results.graph
    for stop in budget_part(results).stops:
        for op, border in zip(graph.ops, stop.borders, strict=True):
            own = SCHEMES[stop.schemes[op.index]].format
            read = []
            for tensor in graph.activations_in(op):
                producer = graph.producer(tensor)
                read.append(results.plan.io if producer is None else SCHEMES[stop.schemes[producer]].format)
            assert border == any(source is not own for source in read)


def test_what_a_layers_panel_says_comes_from_the_weights_themselves(results, shared):
    from bitplan.analyzer.network import flatbuffer as fb

    model = fb.read((shared / "models" / "mobilenetv2_cifar10_96.tflite").read_bytes())
    names = {fb.text(t.name): t for t in model.subgraphs[0].tensors}
    profile = results.weights[1]
    tensor = results.graph.tensors[results.graph.ops[profile.op].weights]
    values = fb.constant(model, names[tensor.name])
    assert profile.values == values.size == sum(profile.counts) == 288
    assert profile.low == tuple(float(v) for v in values.min(axis=(0, 1, 2)))
    assert profile.high == tuple(float(v) for v in values.max(axis=(0, 1, 2)))
    reach = np.abs(values).max(axis=(0, 1, 2))
    assert (profile.narrowest, profile.widest) == (reach.min(), reach.max())
    for bits, top in ((8, 127), (4, 7)):
        zero = (np.rint(values / (reach / top)) == 0) & (values != 0)
        assert profile.zeroed[bits] == zero.mean()


def test_hostile_names_are_text_in_the_panel(browser, made_up):
    visit = Visit(browser, made_up)
    page = visit.page
    page.wait_for_selector("#network .strip a")
    names = {}
    for place in range(8):
        page.evaluate(f"globalThis.bitplan.choose({place})")
        names[place] = chosen(visit)
        assert page.locator("#panel-name b, #panel-name img, #panel-name script").count() == 0
    assert "</script><b>\"'" in names.values()
    assert any(name.startswith("LLLL") and name.endswith("000 characters)") for name in names.values())
    assert any("שלום" in name for name in names.values())
    assert not any("\u202e" in name for name in names.values())
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    visit.close()


def test_without_javascript_nothing_of_the_panels_is_shown_and_the_tables_are(browser, real):
    visit = Visit(browser, real, java_script_enabled=False)
    assert not visit.page.locator("#layer").is_visible() and not visit.page.locator("#budget").is_visible()
    assert visit.page.locator("#table-weights tbody tr").count() == 53
    assert visit.page.locator("#table-frontier tbody tr").count() > 5
    visit.context.close()


@pytest.mark.parametrize("media", ["screen", "print"])
def test_a_phone_and_paper_hold_the_panel(browser, real, media):
    visit = Visit(browser, real, viewport={"width": 390, "height": 844})
    visit.drawn()
    visit.page.locator("#network .strip a").nth(4).click()
    visit.page.wait_for_selector(".panel.sheet figure svg")
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
    if media == "print":
        visit.page.emulate_media(media="print")
        assert visit.page.evaluate("getComputedStyle(document.querySelector('.panel')).position") == "static"
        assert not visit.page.locator(".panel [data-close]").is_visible()
    visit.close()


def test_a_thousand_ops_and_a_hundred_plans_open_in_two_seconds_and_stay_under_six_megabytes(browser, tmp_path):
    path = tmp_path / "large.html"
    path.write_text(render(large()), encoding="utf-8")
    assert path.stat().st_size < 6_000_000
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(path.as_uri(), wait_until="load")
    loaded = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000
    page.wait_for_function("() => [...document.querySelectorAll('[data-chart]')].every((plot) => plot.dataset.drawn)")
    work = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}[
        "TaskDuration"
    ]
    for table in ("layers", "reasons", "ranges"):
        assert page.locator(f"#table-{table} tbody tr").count() >= 1040
    assert page.locator("#table-frontier tbody tr").count() > 100
    page.evaluate("globalThis.bitplan.choose(1000)")
    assert (
        page.locator("#panel-name").inner_text()
        == json.loads(page.locator("#layer-data").text_content())["layers"][1000]["name"]
    )
    context.close()
    print(f"1040 ops: {path.stat().st_size} bytes, open after {loaded:.2f} s, {work:.2f} s of work for all charts")
    # Processor time of the page's own thread, which other work on the machine does not stretch.
    assert work < 2
