"""Samples and calibrations that the repairs' tests share."""

from __future__ import annotations

import numpy as np
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, load_samples
from bitplan.analyzer.measures.calibration import calibrate, with_per_tensor_sums
from bitplan.analyzer.network.graph import build_graph


def samples_of(values):
    """Samples in content order from an array [n, *shape]; the model's own batch dimension is 1."""
    specs = (InputSpec("in", (1, *values.shape[1:]), "float32"),)
    return load_samples(values.astype(np.float32), specs, Preprocessing(), warn=print).in_content_order()


def drawn(count, seed, shape=(8, 8, 3), mean=0.0):
    """Normal values around a mean."""
    return samples_of(np.random.default_rng(seed).normal(mean, 1.0, (count, *shape)))


def analyzed(data, samples):
    """The graph and the calibration of a float network, both kinds of partial sums included."""
    graph = build_graph(data)
    return graph, with_per_tensor_sums(data, graph, calibrate(data, graph, samples), samples)


def as_samples(samples):
    """What `interpret` takes."""
    return [[array[None] for array in sample] for sample in samples]
