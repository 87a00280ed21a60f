"""What holds for the rows of a sweep however the samples are cut into shards."""

from __future__ import annotations

import numpy as np
from bitplan.analyzer.measures import metrics
from bitplan.analyzer.measures.kept_rows import KeptRows
from bitplan.analyzer.measures.rows import Rows
from bitplan.analyzer.schema import Source
from bitplan.analyzer.units import MemoryStore
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

SHAPES = hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=6)


@st.composite
def outputs(draw):
    shape = draw(SHAPES)
    floats = hnp.arrays(np.float32, shape, elements=st.floats(-1e6, 1e6, width=32))
    return draw(floats), draw(hnp.arrays(np.float32, shape, elements=st.floats(width=32)))


@settings(deadline=None)
@given(outputs(), st.randoms())
def test_figures_do_not_depend_on_how_samples_are_cut_and_put(pair, random):
    x, y = pair
    variance = metrics.output_variance(x)
    classifier = x[0].size > 1
    expected = metrics.output_error([x], [y], variances=[variance], is_classifier=classifier)
    names = [str(i) for i in range(len(x))]
    cuts = sorted(random.sample(range(1, len(x)), random.randint(0, len(x) - 1)))
    shards = np.split(np.array(random.sample(range(len(x)), len(x))), cuts)
    store = MemoryStore()
    for shard in shards:
        rows = Rows.of(
            [0], [x[shard]], [y[shard]], np.zeros(len(shard)), is_classifier=classifier, are_logits=True, labels=None,
            user_metric=None,
        )  # fmt: skip
        KeptRows(store, names).put("source", shard.tolist(), rows)
    parts, missing = KeptRows(store, names).find("source")
    assert not missing.any()
    measured = Rows.joined(parts, len(x)).measurement(Source("input", "a8", 0), lambda tensor: variance)
    assert measured.error == expected
