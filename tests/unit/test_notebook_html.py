"""What a notebook shows of a run: its answer and one short table, with nothing in a name that could become markup."""

from __future__ import annotations

import pytest
from bitplan.reports.notebook import run_html

from .. import results_factory as factory


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("mobilenet", "Before and after"),
        ("analyzed", "Error by scheme"),
        ("inspected", "By layer"),
        ("regression", "Before"),
    ],
)
def test_it_shows_the_most_telling_table_there_is(name, table):
    html = run_html(getattr(factory, name)())
    assert f"<caption>{table}" in html and html.count("<table") == 1
    assert "<script" not in html and "id=" not in html  # a notebook may hold many of them


def test_long_tables_are_cut_and_say_so():
    html = run_html(factory.analyzed())
    assert html.count("<tr>") == 11 and "more</p>" in html


def test_hostile_names_are_text():
    html = run_html(factory.hostile())
    assert "<img" not in html and "<b>\"'" not in html and "</script>" not in html
    assert "&lt;/<wbr>script&gt;" in html and "L" * 200 not in html


def test_equal_results_give_equal_html():
    assert run_html(factory.mobilenet()) == run_html(factory.mobilenet())
