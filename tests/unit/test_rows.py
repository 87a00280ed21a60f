"""Rows of a sweep: the same figures as straight from the outputs, however they are cut, kept and joined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bitplan.analyzer.measures.kept_rows import KeptRows
from bitplan.analyzer.measures.metrics import output_error
from bitplan.analyzer.measures.rows import Rows
from bitplan.analyzer.schema import Source
from bitplan.analyzer.units import MemoryStore, UnitStore

SOURCE = Source("activation", "a8", 3, 0)
RANDOM = np.random.default_rng(0)
FLOAT = [RANDOM.normal(size=(30, 10)).astype(np.float32), RANDOM.normal(5, 9, size=(30, 2, 3)).astype(np.float32)]
QUANTIZED = [a + RANDOM.normal(0, 0.5, size=a.shape).astype(np.float32) for a in FLOAT]
LABELS = RANDOM.integers(0, 10, 30)
VARIANCES = {7: 1.3, 8: 0.02, 3: 4.0}


def rows_of(which=slice(None), outputs=2, labels=None, metric=None, quantized=QUANTIZED):
    return Rows.of(
        [7, 8][:outputs],
        [a[which] for a in FLOAT[:outputs]],
        [a[which] for a in quantized[:outputs]],
        np.arange(30)[which],
        is_classifier=outputs == 1,
        are_logits=True,
        labels=None if labels is None else labels[which],
        user_metric=metric,
    )


def columns(rows):
    return {name: None if value is None else np.asarray(value).tolist() for name, value in vars(rows).items()}


@pytest.mark.parametrize("outputs", [1, 2])
def test_rows_give_the_figures_of_the_outputs_themselves(outputs):
    options = {"is_classifier": outputs == 1, "labels": LABELS if outputs == 1 else None}
    expected = output_error(FLOAT[:outputs], QUANTIZED[:outputs], variances=[1.3, 0.02][:outputs], **options)
    measured = rows_of(outputs=outputs, labels=options["labels"]).measurement(SOURCE, VARIANCES.__getitem__)
    assert measured.error == expected
    assert measured.local_nmse == np.arange(30).mean() / 4.0


def test_rows_go_through_a_unit_bit_for_bit():
    broken = [QUANTIZED[0].copy()]
    broken[0][3, 3] = math.nan
    rows = rows_of(outputs=1, labels=LABELS, metric=lambda out, ref, label: math.nan, quantized=broken)
    again = Rows.from_unit(rows.to_unit(), 30)
    assert repr(columns(again)) == repr(columns(rows))  # NaN is not equal to itself
    assert again.squared_error[0, 3] == math.inf


@pytest.mark.parametrize(
    "unit",
    [
        {},
        {"targets": [7]},
        {"targets": "7"},
        {"targets": [True]},
        {**rows_of().to_unit(), "targets": [7]},
        {**rows_of().to_unit(), "local": "AAAA"},
        {**rows_of().to_unit(), "local": "not base64"},
        {**rows_of().to_unit(), "local": None},
        {**rows_of().to_unit(), "newer": rows_of().to_unit()["local"]},
        rows_of(slice(0, 29)).to_unit(),
    ],
)
def test_units_that_hold_something_else_hold_no_rows(unit):
    assert Rows.from_unit(unit, 30) is None


def test_parts_join_in_the_order_of_the_samples():
    order = np.random.default_rng(1).permutation(30)
    parts = [(order[:7], rows_of(order[:7])), (order[7:], rows_of(order[7:]))]
    assert columns(Rows.joined(parts, 30)) == columns(rows_of())


def test_a_sample_without_a_row_is_never_passed_over():
    with pytest.raises(ValueError, match="1 of 30 samples"):
        Rows.joined([(np.arange(29), rows_of(slice(0, 29)))], 30)


def test_unlike_figures_do_not_join():
    with pytest.raises(ValueError, match="unlike"):
        Rows.joined(
            [(np.arange(15), rows_of(slice(0, 15), 1)), (np.arange(15, 30), rows_of(slice(15, 30), 1, LABELS))], 30
        )


# --- rows in a store -------------------------------------------------------------------------------------------------

NAMES = [f"sample {i}" for i in range(30)]


def test_rows_are_found_for_any_other_set_of_samples(tmp_path):
    with UnitStore(tmp_path / "units.jsonl") as store:
        kept = KeptRows(store, NAMES)
        kept.put("a", range(12), rows_of(slice(0, 12)))
        kept.put("a", range(12, 20), rows_of(slice(12, 20)))
        kept.put("b", range(12), rows_of(slice(0, 12)))
    wanted = [25, 13, 2, 19, 3, 13]
    with UnitStore(tmp_path / "units.jsonl") as store:
        parts, missing = KeptRows(store, [NAMES[i] for i in wanted]).find("a")
        assert missing.tolist() == [True, False, False, False, False, False]
        found = {int(i): rows.local[k] for places, rows in parts for k, i in enumerate(places)}
        assert found == {1: 13, 2: 2, 3: 19, 4: 3, 5: 13}
        _, missing = KeptRows(store, [NAMES[i] for i in wanted]).find("b")
        assert missing.tolist() == [True, True, False, True, False, True]
        assert KeptRows(store, NAMES).find("c")[1].all()


def test_rows_that_overlap_are_counted_once():
    store = MemoryStore()
    kept = KeptRows(store, NAMES)
    kept.put("a", range(20), rows_of(slice(0, 20)))
    kept.put("a", range(10, 30), rows_of(slice(10, 30)))
    parts, missing = KeptRows(store, NAMES).find("a")
    assert not missing.any()
    assert sorted(int(i) for places, _ in parts for i in places) == list(range(30))
    assert columns(Rows.joined(parts, 30)) == columns(rows_of())


def test_rows_whose_shard_is_unknown_or_damaged_are_missing():
    class Forgetful(MemoryStore):
        def get(self, key):
            return None if key.startswith(self.lost) else super().get(key)

    for lost in ("shard/", "rows/"):
        store = Forgetful()
        store.lost = "nothing"
        KeptRows(store, NAMES).put("a", range(30), rows_of())
        assert not KeptRows(store, NAMES).find("a")[1].any()
        store.lost = lost
        assert KeptRows(store, NAMES).find("a")[1].all()
