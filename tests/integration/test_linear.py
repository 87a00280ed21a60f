"""The linear sweep against the exact one where the two must agree: to the last digit in a linear network."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, load_samples
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.measures import linear
from bitplan.analyzer.measures.calibration import calibrate, with_per_tensor_sums
from bitplan.analyzer.measures.linear import beyond_linear, measure_linear
from bitplan.analyzer.measures.refinement import TOP, refine, worst
from bitplan.analyzer.measures.sensitivity import exact_sweep, measure_sensitivity
from bitplan.analyzer.measures.sources import sources_of
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.units import MemoryStore
from scipy.stats import kendalltau

pytestmark = pytest.mark.slow


def weights(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def linear_network(network, outputs=1):
    """Convolutions, a residual ADD, a constant operand and a dense layer, without any activation function."""
    net = network()
    x = net.input("x", (1, 12, 12, 3))
    stem = net.op("CONV_2D", [x, net.constant("w0", weights(0, 8, 3, 3, 3)), net.constant("b0", weights(1, 8))],
                  [net.tensor("stem", (1, 12, 12, 8))])  # fmt: skip
    depth = net.op("DEPTHWISE_CONV_2D", [stem, net.constant("w1", weights(2, 1, 3, 3, 8)),
                   net.constant("b1", weights(3, 8))], [net.tensor("depth", (1, 12, 12, 8))])  # fmt: skip
    point = net.op("CONV_2D", [depth, net.constant("w2", weights(4, 8, 1, 1, 8)), net.constant("b2", weights(5, 8))],
                   [net.tensor("point", (1, 12, 12, 8))])  # fmt: skip
    added = net.op("ADD", [stem, point], [net.tensor("added", (1, 12, 12, 8))])
    scaled = net.op("MUL", [added, net.constant("c", weights(6, 1, 1, 1, 8))], [net.tensor("scaled", (1, 12, 12, 8))])
    small = net.op("CONV_2D", [scaled, net.constant("w3", weights(7, 4, 1, 1, 8)), net.constant("b3", weights(8, 4))],
                   [net.tensor("small", (1, 6, 6, 4))], strideH=2, strideW=2)  # fmt: skip
    flat = net.op(
        "RESHAPE", [small, net.constant("shape", np.array([1, 144], np.int32))], [net.tensor("flat", (1, 144))]
    )
    out = net.op("FULLY_CONNECTED", [flat, net.constant("w4", weights(9, outputs, 144)),
                 net.constant("b4", weights(10, outputs))], [net.tensor("out", (1, outputs))])  # fmt: skip
    return net.build([out])


def prepared(data, count, seed=0, shape=(12, 12, 3)):
    graph = build_graph(data)
    images = np.random.default_rng(seed).uniform(-1, 1, (count, *shape)).astype(np.float32)
    spec = InputSpec("x", (1, *shape), "float32")
    samples = load_samples(images, (spec,), Preprocessing(), warn=print).in_content_order()
    return graph, samples, calibrate(data, graph, samples)


def estimable(data, graph, calibration, *, per_channel=True):
    sources = sources_of(graph, calibration, per_channel=per_channel)
    beyond = beyond_linear(data, graph, sources)
    return [source for source in sources if source.id not in beyond]


@pytest.mark.parametrize("per_channel", [True, False])
def test_one_linear_output_gives_the_exact_figures(network, per_channel):
    """With one output, v is 1 or -1 and (v . J d)^2 is (J d)^2; in a linear network that is the whole error."""
    data = linear_network(network)
    graph, samples, calibration = prepared(data, 20)
    calibration = with_per_tensor_sums(data, graph, calibration, samples)
    sources = estimable(data, graph, calibration, per_channel=per_channel)
    exact = measure_sensitivity(data, graph, calibration, samples, per_channel=per_channel)
    found = measure_linear(data, graph, calibration, samples, sources)
    checked = [s for s in sources if s.variant in ("w4", "w8", "c8", "a8")]
    assert {s.part for s in checked} == {"weights", "activation", "edge", "input"}
    errors = {m.source.id: m.error for m in exact.measurements}
    for source in checked:
        # An element that lies between two steps, to the last bit, may be rounded to the one or to the other.
        tolerance = 0.05 if source.variant == "a8" else 2e-3
        wanted, given = errors[source.id], found[source.id].error
        assert found[source.id].method == "linear"
        assert given.nmse == pytest.approx(wanted.nmse, rel=tolerance), source.id
        assert given.standard_error == pytest.approx(wanted.standard_error, rel=2 * tolerance), source.id
        assert given.sqnr_db == pytest.approx(wanted.sqnr_db, abs=10 * tolerance), source.id


@pytest.mark.parametrize("per_channel", [True, False])
def test_expected_rounding_noise_is_what_16_bits_give_on_average(network, per_channel):
    data = linear_network(network, outputs=24)
    graph, samples, calibration = prepared(data, 96)
    calibration = with_per_tensor_sums(data, graph, calibration, samples)
    noisy = ("w16a8", "w16a16", "a16", "c16") if per_channel else ("w16a8", "w16a16")
    sources = [s for s in estimable(data, graph, calibration, per_channel=per_channel) if s.variant in noisy]
    with exact_sweep(data, graph, calibration, samples) as sweep:
        exact = sweep.measure(sources)
    found = measure_linear(data, graph, calibration, samples, sources, vectors=8)
    ratios = {s.id: found[s.id].error.nmse / exact[s.id].error.nmse for s in sources}
    assert len(ratios) > (12 if per_channel else 6)
    assert all(0.7 < ratio < 1.4 for ratio in ratios.values()), ratios


def test_a_refined_sweep_of_the_other_weights_takes_over_what_it_knows(network):
    data = linear_network(network, outputs=24)
    graph, samples, calibration = prepared(data, 24)
    calibration = with_per_tensor_sums(data, graph, calibration, samples)
    known = measure_sensitivity(data, graph, calibration, samples, mode="refined")
    found = measure_sensitivity(data, graph, calibration, samples, mode="refined", per_channel=False, known=known)
    before = {m.source.id: m for m in known.measurements}
    taken = [m for m in found.measurements if m == before.get(m.source.id)]
    others = [m for m in found.measurements if m not in taken]
    assert {m.source.part for m in taken if m.method == "linear"} > {"activation", "edge"}
    assert all(not m.source.per_channel or m.method == "exact" for m in others), "a new top is measured"
    ranked = [m for m in found.measurements if m.source.is_ranked]
    assert {m.method for m in sorted(ranked, key=lambda m: -m.error.nmse)[:TOP]} == {"exact"}
    exact = measure_sensitivity(data, graph, calibration, samples, per_channel=False, known=known)
    assert {m.method for m in exact.measurements} == {"exact"}, "estimates are no answer to a demand for measurements"


def test_the_demo_network_ranks_as_the_exact_sweep_does():
    from conftest_data import demo

    data, images, labels = demo()
    data = load_float(data, warn=print).flatbuffer
    graph = build_graph(data)
    spec = InputSpec("image", (1, 28, 28, 1), "float32")
    samples = load_samples((images[:128], labels[:128]), (spec,), Preprocessing(scale="tf"), warn=print)
    samples = samples.in_content_order()
    calibration = calibrate(data, graph, samples)
    sources = sources_of(graph, calibration)
    store = MemoryStore()
    exact = {m.source.id: m for m in measure_sensitivity(data, graph, calibration, samples, store=store).measurements}
    estimates = measure_linear(data, graph, calibration, samples, estimable(data, graph, calibration), vectors=2)
    assert set(exact) - set(estimates) == {s.id for s in sources if s.tensor == graph.outputs[0]}
    ranked = [s.id for s in sources if s.is_ranked and s.id in estimates]
    tau = kendalltau([exact[i].error.nmse for i in ranked], [estimates[i].error.nmse for i in ranked]).statistic
    assert tau > 0.9

    with exact_sweep(data, graph, calibration, samples, store=store) as sweep:
        refined = refine(sweep, estimates, sources)
    assert refined.keys() == exact.keys()
    top = worst(refined, sources)
    assert [s.id for s in top[:5]] == [s.id for s in worst(exact, sources, 5)]
    assert len(top) == TOP
    for source in sources:
        if refined[source.id].method == "exact":
            assert refined[source.id] == exact[source.id]
        else:
            assert source not in top and source.tensor != graph.outputs[0]


def test_order_batches_and_restarts_change_nothing(network, monkeypatch):
    data = linear_network(network, outputs=3)
    graph, samples, calibration = prepared(data, 70)
    sources = estimable(data, graph, calibration)
    first = measure_linear(data, graph, calibration, samples, sources)
    shuffled = samples.subset(np.random.default_rng(1).permutation(70)).in_content_order()
    assert measure_linear(data, graph, calibration, shuffled, sources) == first

    runs = []
    run = linear.LinearSweep._run
    monkeypatch.setattr(linear.LinearSweep, "_run", lambda self, *bounds: runs.append(bounds) or run(self, *bounds))
    store = MemoryStore()

    def stop_after_one(done, total):
        if done > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_linear(data, graph, calibration, samples, sources, store=store, progress=stop_after_one)
    assert runs == [(0, 32, 0), (32, 64, 0)]
    assert measure_linear(data, graph, calibration, samples, sources, store=store) == first
    assert runs == [(0, 32, 0), (32, 64, 0), (64, 70, 0)]

    second = measure_linear(data, graph, calibration, samples, sources, vectors=2, store=store)
    assert runs[3:] == [(0, 32, 1), (32, 64, 1), (64, 70, 1)]
    assert second == measure_linear(data, graph, calibration, shuffled, sources, vectors=2)
    assert second != first


def test_samples_are_left_out_once_the_order_is_sure(network):
    net = network()
    x = net.input("x", (1, 64))
    hidden = net.op("FULLY_CONNECTED", [x, net.constant("w0", weights(0, 64, 64)), -1], [net.tensor("h", (1, 64))])
    out = net.op("FULLY_CONNECTED", [hidden, net.constant("w1", weights(1, 8, 64)), -1], [net.tensor("y", (1, 8))])
    data = net.build([out])
    graph, samples, calibration = prepared(data, 400, shape=(64,))
    sources = [s for s in estimable(data, graph, calibration) if s.variant in ("a8", "w4")]
    sure = [s for s in sources if s.id in (f"weights:{hidden}:w4", f"activation:{hidden}:a8")]
    assert {m.error.samples for m in measure_linear(data, graph, calibration, samples, sure).values()} == {256}


def test_what_a_gradient_cannot_see_is_named(network):
    net = network()
    x = net.input("x", (1, 8))
    hidden = net.op("FULLY_CONNECTED", [x, net.constant("w", weights(0, 5, 8)), -1], [net.tensor("h", (1, 5))])
    out = net.op("SOFTMAX", [hidden], [net.tensor("y", (1, 5))])
    data = net.build([out])
    graph, _, calibration = prepared(data, 4, shape=(8,))
    beyond = beyond_linear(data, graph, sources_of(graph, calibration))
    assert beyond == {f"activation:{out}:a8", f"activation:{out}:a16"}
