"""Rounding that neither hides a loss nor claims a perfection."""

from __future__ import annotations

import math

import pytest
from bitplan.analyzer.schema import Interval
from bitplan.reports import numbers


@pytest.mark.parametrize(
    ("share", "decimals", "text"),
    [
        (0.0, 0, "0 %"),
        (1.0, 2, "100 %"),
        (1e-9, 0, "<1 %"),
        (1 - 1e-9, 0, ">99 %"),
        (1e-9, 2, "<0.01 %"),
        (0.99999, 2, ">99.99 %"),
        (0.8308, 2, "83.08 %"),
        (0.5, 0, "50 %"),
        (1.27, 0, "127 %"),
    ],
)
def test_percent_is_0_only_for_nothing_and_100_only_for_everything(share, decimals, text):
    assert numbers.percent(share, decimals) == text


@pytest.mark.parametrize("exponent", range(-12, 6))
def test_three_digits_are_never_0_unless_the_value_is(exponent):
    value = 3.14159 * 10.0**exponent
    text = numbers.significant(value)
    assert float(text.replace("−", "-")) == pytest.approx(value, rel=0.02)
    assert numbers.significant(0.0) == "0"


def test_small_values_that_round_to_0_say_so():
    assert numbers.fixed(0.004, 2) == "<0.01"
    assert numbers.fixed(-0.004, 2) == ">−0.01"
    assert numbers.fixed(0.0, 2) == "0.00"
    assert numbers.fixed(-0.0, 2) == "0.00"


@pytest.mark.parametrize(
    ("size", "text"),
    [(2_735_248, "2.74 MB"), (100_000, "0.10 MB"), (99_999, "97.7 KiB"), (1024, "1.0 KiB"), (912, "912 B"), (0, "0 B")],
)
def test_megabytes_are_millions_of_bytes_and_kibibytes_1024(size, text):
    assert numbers.megabytes(size) == text


def test_a_ratio_says_its_direction():
    assert numbers.ratio(8_927_672, 2_735_248) == "3.26× smaller"
    assert numbers.ratio(100, 150) == "1.50× larger"
    assert numbers.ratio(100, 100) == "the same size"
    assert numbers.ratio(100_000, 99_999) == ">1.00× smaller"


def test_sizes_beside_each_other_have_one_unit():
    assert [numbers.megabytes(size, beside=51_904) for size in (317_488, 51_904)] == ["310 KiB", "50.7 KiB"]
    assert numbers.megabytes(51_904, beside=317_488) == "50.7 KiB"
    assert numbers.megabytes(8_924_416, beside=2_717_392) == "8.92 MB"


@pytest.mark.parametrize(
    ("figure", "decimals", "text"),
    [
        (Interval(3.42, 2.62, 4.22), 1, "3.4 ± 0.8"),
        (Interval(-0.26, -0.69, 0.17), 2, "−0.26 ± 0.43"),
        (Interval(0.001, -0.36, 0.36), 2, "0.00 ± 0.36"),
        (Interval(-0.001, -0.36, 0.36), 2, "0.00 ± 0.36"),
        (Interval(0.58, 0.1, 1.9), 2, "0.58 (0.10 to 1.90)"),
        (Interval(0.02, 0.0, 0.04), 1, "0.02 ± 0.02"),
        (Interval(0.0, 0.0, 0.0), 1, "0.0 ± 0.0"),
        # A sum of both halves that reaches 0 although the interval does not, and the other way round.
        (Interval(2.34, 0.24, 5.2), 1, "2.3 (0.2 to 5.2)"),
        (Interval(2.0, -0.1, 3.6), 1, "2.0 (−0.1 to 3.6)"),
    ],
)
def test_an_interval_keeps_its_width_visible(figure, decimals, text):
    assert numbers.interval(figure, decimals) == text


def test_a_p_value_is_never_0():
    assert numbers.probability(1e-30) == "<0.001"
    assert numbers.probability(0.031) == "0.031"
    assert numbers.probability(1.0) == "1.0"


def test_what_is_not_finite_has_a_name():
    assert numbers.decibels(math.inf) == "∞"
    assert numbers.significant(math.nan) == "not a number"
    assert numbers.percent(math.nan) == "not a number"


def test_large_counts_keep_three_digits():
    assert [numbers.large(n) for n in (999, 2_236_682, 999_950, 12_800)] == ["999", "2.24 M", "1.00 M", "12.8 k"]


def test_ordinals_are_english():
    assert [numbers.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th",
    ]  # fmt: skip


def test_a_name_cannot_change_the_direction_of_writing_or_hide_characters():
    assert numbers.name("a\u202eb\x00c\n") == "a\\u202eb\\u0000c\\u000a"
    assert numbers.name("שלום") == "שלום"


def test_a_long_name_keeps_both_ends_and_says_its_length():
    short = numbers.name("head" + "x" * 9_992 + "tail")
    assert short.startswith("head") and "tail" in short and "10\u202f000 characters" in short and len(short) < 110


def test_a_p_value_is_an_equation_or_a_bound():
    assert numbers.p_value(0.382) == "p = 0.38"
    assert numbers.p_value(3e-9) == "p < 0.001"
