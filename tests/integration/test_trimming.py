"""Pieces of a network against the whole network on the real interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.network.runtime import Runner
from bitplan.analyzer.network.subgraph import Cutter
from small_networks import interpret


def weights(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def diamond(network):
    """x -> a -> (b, c) -> b + c -> d, where `a` is read twice."""
    net = network()
    x = net.input("x", (1, 6))
    names = {"x": x}

    def dense(name, source, seed, activation):
        shape = net.constant(f"{name}.w", weights(seed, 6, 6)), net.constant(f"{name}.b", weights(seed + 50, 6))
        names[name] = net.op("FULLY_CONNECTED", [names[source], *shape], [net.tensor(name, (1, 6))],
                             fusedActivationFunction=activation)  # fmt: skip

    dense("a", "x", 1, net.schema.ActivationFunctionType.RELU)
    dense("b", "a", 2, net.schema.ActivationFunctionType.NONE)
    dense("c", "a", 3, net.schema.ActivationFunctionType.RELU6)
    names["sum"] = net.op("ADD", [names["b"], names["c"]], [net.tensor("sum", (1, 6))])
    dense("d", "sum", 4, net.schema.ActivationFunctionType.NONE)
    return net.build([names["d"]]), names


def test_the_whole_gives_every_tensor(diamond):
    data, names = diamond
    sample = weights(9, 1, 6)
    wanted = [names[n] for n in ("a", "b", "c", "sum", "d")]
    piece = Cutter(data).whole(wanted)
    found = Runner(piece.flatbuffer).run([sample])
    for a, b in zip(found, interpret(data, [[sample]], wanted)[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_suffix_goes_on_from_a_changed_tensor(diamond):
    data, names = diamond
    changed, other = weights(10, 1, 6), weights(11, 1, 6)
    piece = Cutter(data).suffix(names["b"], [names["d"]])
    assert piece.inputs == (names["b"], names["c"]) and piece.outputs == (names["d"],)
    (found,) = Runner(piece.flatbuffer).run([changed, other])
    np.testing.assert_allclose(found, (changed + other) @ weights(4, 6, 6).T + weights(54, 6), rtol=1e-4, atol=1e-5)


def test_a_change_for_one_reader_leaves_the_other_its_values(diamond):
    data, names = diamond
    changed, original = weights(12, 1, 6), weights(13, 1, 6)
    cutter = Cutter(data)
    reader = 2  # the op that writes c
    piece = cutter.suffix(names["a"], [names["sum"]], reader)
    given = {names["a"]: original, names["b"]: original @ weights(2, 6, 6).T + weights(52, 6)}
    (found,) = Runner(piece.flatbuffer).run([changed, *(given[t] for t in piece.inputs[1:])])
    wanted = given[names["b"]] + np.clip(changed @ weights(3, 6, 6).T + weights(53, 6), 0, 6)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_one_op_runs_with_other_constants_and_without_its_activation(diamond):
    data, names = diamond
    sample, other = weights(14, 1, 6), weights(15, 6, 6)
    cutter = Cutter(data)
    constant = cutter.tensor("c.w")
    for plain in (False, True):
        piece = cutter.single(2, {constant: other}, without_activation=plain)
        assert piece.inputs == (names["a"],)
        wanted = sample @ other.T + weights(53, 6)
        (found,) = Runner(piece.flatbuffer).run([sample])
        np.testing.assert_allclose(found, wanted if plain else np.clip(wanted, 0, 6), rtol=1e-4, atol=1e-5)
    (found,) = Runner(cutter.single(2, {}).flatbuffer).run([sample])  # the network itself is as it was
    np.testing.assert_allclose(found, np.clip(sample @ weights(3, 6, 6).T + weights(53, 6), 0, 6), rtol=1e-4, atol=1e-5)


def test_constants_that_share_a_buffer_can_be_changed_apart(network):
    net = network()
    x = net.input("x", (1, 1))
    weight = net.constant("w", np.array([[2.0]], np.float32))
    bias = net.constant("b", np.array([2.0], np.float32), net.buffer(weight))
    out = net.op("FULLY_CONNECTED", [x, weight, bias], [net.tensor("y", (1, 1))])
    piece = Cutter(net.build([out])).single(0, {weight: np.array([[5.0]], np.float32)})
    (found,) = Runner(piece.flatbuffer).run([np.array([[3.0]], np.float32)])
    assert found.item() == 17.0
