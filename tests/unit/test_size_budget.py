"""Sizes as people write them."""

from __future__ import annotations

import pytest
from bitplan.analyzer.errors import UsageError
from bitplan.strategies.assignment.budgets import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2.75MB", 2_750_000),
        ("2.80 MB", 2_800_000),
        ("310KiB", 317_440),
        ("310KB", 310_000),
        ("310kb", 310_000),
        ("1.5MiB", 1_572_864),
        ("2800000", 2_800_000),
        ("2800000B", 2_800_000),
        (" 64 kib ", 65_536),
        ("3.2x", 2_789_897),
        ("2X", 4_463_836),
        ("1x", 8_927_672),
        ("0.0000015MB", 1),
    ],
)
def test_size_is_read_exactly_and_rounded_down(text: str, size: int) -> None:
    assert parse_size(text, 8_927_672) == size


@pytest.mark.parametrize(
    "text", ["", "big", "-3MB", "3,5MB", "2.5", "1.5B", "0", "0x", "0.5x", "3 TB", "1e6", "x", "nan"]
)
def test_what_is_no_size_is_refused_with_a_way_out(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_size(text, 1000)
    assert repr(text) in error.value.problem
    assert error.value.remedy
