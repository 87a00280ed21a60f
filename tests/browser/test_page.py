"""The page in a real browser with the network off: nothing asked for, tables sorted, names harmless."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet", "islands", "two_layers", "inspected", "unevaluated", "hostile", "refined", "device", "repaired",
        "without_classes", "hostile_repairs", "samples", "hostile_samples",
    ],
)  # fmt: skip
def test_every_chart_is_drawn_offline_without_a_request_or_a_complaint(visit, name):
    opened = visit(name)
    opened.drawn()
    charts = opened.page.locator("[data-chart] svg")
    assert charts.count() == opened.page.locator("[data-chart]").count()
    for index in range(charts.count()):
        box = charts.nth(index).bounding_box()
        assert box["width"] > 200 and box["height"] > 50


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_readers_colour_scheme(visit, scheme):
    opened = visit("mobilenet", color_scheme=scheme)
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")


@pytest.mark.parametrize("name", ["islands", "mobilenet", "device", "repaired", "samples", "hostile_samples"])
def test_a_phone_needs_no_sideways_scrolling(visit, name):
    opened = visit(name, viewport={"width": 390, "height": 844})
    opened.drawn()
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_click_sorts_and_a_second_one_turns_the_order(visit):
    opened = visit("mobilenet")
    before = opened.column("layers", 0)
    head = opened.page.locator("#table-layers thead th", has_text="Weights error")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert opened.column("layers", 0)[:2] == ["expanded_conv_depthwise", "Conv1"]
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    shown = opened.column("layers", 9)
    numbers = [float(text.replace("−", "-")) for text in shown if text]
    assert numbers == sorted(numbers)
    # What was not measured stays last in both directions.
    assert shown[len(numbers) :] == [""] * (len(shown) - len(numbers)) and len(numbers) == 53
    head.locator("button").click()
    assert head.get_attribute("aria-sort") is None
    assert opened.column("layers", 0) == before


def test_the_keyboard_sorts_too(visit):
    opened = visit("mobilenet")
    opened.page.locator("#table-kinds thead button", has_text="Ops").focus()
    opened.page.keyboard.press("Enter")
    assert opened.column("kinds", 0)[0] == "pointwise"
    opened.page.keyboard.press("Space")
    assert opened.column("kinds", 1)[0] == "1"


def test_the_filter_shows_the_rows_that_hold_every_word(visit):
    opened = visit("mobilenet")
    opened.page.fill("#filter-layers", "DEPTHWISE block_1")
    names = opened.column("layers", 0)
    assert names[0] == "block_1_depthwise" and all("depthwise" in name for name in names)
    # block_1 and block_10 to block_16
    assert len(names) == 8
    assert opened.page.locator("output[for=filter-layers]").inner_text() == "8 of 65"


def test_a_link_to_a_filtered_row_shows_it(visit):
    opened = visit("mobilenet")
    opened.page.fill("#filter-layers", "softmax")
    opened.page.locator("#network .strip a").nth(1).click()
    opened.page.locator(".panel a[data-row]").click()
    assert opened.page.locator("#op-1").is_visible()
    assert opened.page.input_value("#filter-layers") == ""


def test_a_column_with_estimates_sorts_by_value(visit):
    opened = visit("refined")
    head = opened.page.locator("#table-layers thead th", has_text="Weights error")
    head.locator("button").click()
    shown = [text for text in opened.column("layers", 9) if text]
    numbers = [float(text.replace("−", "-").removeprefix("≈").strip()) for text in shown]
    assert numbers == sorted(numbers, reverse=True) and shown[0] == "0.0629" and shown[-1].startswith("≈")


def test_a_layer_is_found_by_parts_of_its_name_or_by_its_number(visit):
    opened = visit("mobilenet")
    page, field = opened.page, opened.page.locator("#find-layer")
    field.fill("DEPTHWISE block_3")
    field.press("Enter")
    assert page.locator("#panel-name").inner_text() == "block_3_depthwise"
    assert page.locator(".panel.sheet").is_visible() and page.url.endswith("#layer=11")
    page.locator(".panel [data-close]").click()
    assert page.evaluate("document.activeElement.id") == "find-layer"
    field.fill("1")
    field.press("Enter")
    assert page.locator("#panel-name").inner_text() == "expanded_conv_depthwise"
    said = page.locator("output[for=find-layer]")
    assert said.inner_text() == ""
    field.fill("attention")
    field.press("Enter")
    assert said.inner_text() == "No layer has such a name."
    assert page.locator("#panel-name").inner_text() == "expanded_conv_depthwise"
    names = page.locator("#layer-names option").evaluate_all("all => all.map(one => one.value)")
    assert len(names) == 65 and names[1] == "expanded_conv_depthwise"


def test_the_rows_of_a_table_are_one_stop_of_the_tab_key(visit):
    opened = visit("mobilenet")
    page = opened.page

    def stops() -> list[str]:
        return page.locator("#table-layers tbody a:not([tabindex='-1'])").all_inner_texts()

    assert stops() == ["Conv1"]
    page.locator("#table-layers tbody a").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert stops() == [page.evaluate("document.activeElement.textContent")] == ["expanded_conv_project"]
    # The stop is never in a row that a filter hides, and the first one of another order.
    page.fill("#filter-layers", "block_1_depthwise")
    assert stops() == ["block_1_depthwise"]
    page.fill("#filter-layers", "")
    page.locator("#table-layers thead th", has_text="Weights error").locator("button").click()
    assert stops() == ["expanded_conv_depthwise"]


def test_the_strip_tells_what_a_cell_is_to_pointer_and_keyboard(visit):
    opened = visit("islands")
    opened.page.locator(".strip a").nth(1).hover()
    said = opened.page.locator(".strip-detail").inner_text()
    assert said.startswith("1. expanded_conv_depthwise · DEPTHWISE_CONV_2D · w16a16 (16/16) · 832 bytes")
    opened.page.mouse.move(0, 0)
    opened.page.locator(".strip a").nth(4).focus()
    opened.page.keyboard.press("ArrowRight")
    assert opened.page.locator(".strip-detail").inner_text().startswith("5. block_1_project")


def test_the_plans_tables_are_there_and_can_be_sorted_and_filtered(visit):
    opened = visit("mobilenet")
    rows = {"limits": 5, "frontier": 13, "rivals": 10, "rounds": 2, "remeasured": 2, "reasons": 65, "times": 3}
    for table, count in rows.items():
        assert opened.page.locator(f"#table-{table} tbody tr").count() == count, table
    assert opened.column("reasons", 1) == [str(op) for op in range(65)]
    gain = opened.page.locator("#table-reasons thead th", has_text="Gain over the next cheaper")
    gain.locator("button").click()
    shown = [float(text.split("\n")[0]) for text in opened.column("reasons", 7) if text]
    assert shown == sorted(shown, reverse=True) and len(shown) == 36
    opened.page.fill("#filter-reasons", "block_16 w4a8")
    assert sorted(opened.column("reasons", 0)) == ["block_16_expand", "block_16_project"]


def test_what_the_targets_tool_says_is_on_the_page(visit):
    opened = visit("device")
    card = opened.page.locator("#opinion")
    assert card.is_visible() and opened.page.locator("#table-opinion tbody tr").count() == 2
    assert "SOFTMAX, PRELU" in card.inner_text() and "ethos-u-vela 5.2.0" in card.inner_text()
    head = opened.page.locator("#table-comparison thead th").nth(2)
    assert head.inner_text() == "LiteRT's arena on this host, not the device's"
    assert opened.page.locator("[data-chart=frontier]").count() == 1


def test_hostile_names_are_shown_as_text_in_page_and_charts(visit):
    opened = visit("hostile")
    opened.drawn()
    assert opened.page.locator("#table-layers tbody th").nth(1).inner_text() == "</script><b>\"'"
    assert "</script><b>\"'" in opened.page.locator("[data-chart=ranking] svg text").all_text_contents()
    assert opened.page.locator("img").count() == 0
    # The tooltip is the one place where Vega writes HTML.
    opened.page.locator("[data-chart=ranking] svg .mark-symbol path").first.hover()
    tooltip = opened.page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert "</script><b>\"'" in tooltip.inner_text() and tooltip.locator("b").count() == 0


def test_without_javascript_the_tables_and_the_strip_are_there(visit):
    opened = visit("mobilenet", java_script_enabled=False)
    page = opened.page
    for table, rows in {"layers": 65, "frontier": 13, "rounds": 2, "reasons": 65}.items():
        assert page.locator(f"#table-{table} tbody tr").count() == rows
    assert page.locator(".strip a").count() == 65
    assert page.locator(".plot .fallback").first.is_visible()
    assert not page.locator("#filter-layers").is_visible()
    page.locator("details summary").first.click()
    assert page.locator("#table-by-scheme").is_visible()


def test_random_data_is_written_across_screen_and_print(visit):
    opened = visit("unevaluated")
    opened.drawn()
    assert opened.page.locator(".banner").is_visible() and not opened.page.locator(".watermark").is_visible()
    opened.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert opened.page.locator(".banner").bounding_box()["y"] == 0
    opened.page.emulate_media(media="print")
    assert opened.page.locator(".banner").is_visible() and opened.page.locator(".watermark").is_visible()


def test_print_shows_whole_tables_and_no_controls(visit):
    opened = visit("mobilenet", color_scheme="dark")
    opened.drawn()
    opened.page.emulate_media(media="print")
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    ink = opened.page.evaluate("getComputedStyle(document.body).color")
    assert ink == opened.page.evaluate("getComputedStyle(document.querySelector('.plot svg text')).fill")
    assert ink == "rgb(28, 35, 48)"
    assert not opened.page.locator(".filter").first.is_visible() and not opened.page.locator(".find").is_visible()
    assert opened.page.evaluate("getComputedStyle(document.querySelector('.tall')).maxHeight") == "none"
    assert opened.page.pdf(format="A4").startswith(b"%PDF")
