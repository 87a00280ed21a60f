"""Statistics taken sample by sample against those of one pass over the samples that are chosen."""

from __future__ import annotations

import numpy as np
from bitplan.analyzer.measures.calibration import RangeRecorder
from bitplan.analyzer.measures.pool import Pool, SampleStatistics
from bitplan.analyzer.schema import Graph, Tensor
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.data())
def test_any_subset_has_what_one_pass_over_it_finds(seed, data):
    generator = np.random.default_rng(seed)
    count = data.draw(st.integers(1, 12))
    kinds = data.draw(st.lists(st.sampled_from(["zero", "relu", "normal", "shifted"]), min_size=count, max_size=count))
    samples = [made(generator, kind) for kind in kinds]
    chosen = data.draw(st.lists(st.integers(0, count - 1), min_size=1, unique=True))
    declared = data.draw(st.sampled_from([None, {"x": (-1.5, 2.5)}]))
    pool = Pool({0: [SampleStatistics.of(values) for values in samples]})
    graph = Graph((Tensor(0, "x", (7, 11), "float32"),), (), (0,), (0,), (0,), False, "", 0)
    recorder = RangeRecorder()
    for k in chosen:
        recorder.add(samples[k])
    assert pool.ranges(graph, chosen, declared) == {0: recorder.finish(0, declared["x"] if declared else None)}


def made(generator, kind):
    """A tensor of some size: all zero, half zero, or of any magnitude about 0 or far from it."""
    values = generator.normal(size=(7, 11)) * 10.0 ** generator.uniform(-12, 6)
    if kind == "zero":
        values[:] = 0
    elif kind == "relu":
        values = np.maximum(values, 0)
    elif kind == "shifted":
        values += generator.uniform(-100, 100)
    return values.astype(np.float32)


def test_a_narrow_histogram_on_the_edge_of_a_much_wider_bin_is_divided_there():
    narrow = (1 + np.arange(-300, 300) * 2.0**-23).astype(np.float32)
    graph = Graph((Tensor(0, "x", (1,), "float32"),), (), (0,), (0,), (0,), False, "", 0)
    for power in (1, 4, 7):
        wide = np.float32([-(2.0**power), 2.0**power])
        (found,) = Pool({0: [SampleStatistics.of(narrow), SampleStatistics.of(wide)]}).ranges(graph, [0, 1]).values()
        edges = (found.histogram.start + np.arange(len(found.histogram.counts) + 1)) * found.histogram.width
        assert 1.0 in edges
        assert list(found.histogram.counts) == np.histogram(np.concatenate([narrow, wide]), edges)[0].tolist()
