"""What the differentiable graph says it cannot do, and where gradients miss something."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from bitplan.analyzer.network.differentiable import cut_gradients, uncovered
from single_ops import X, build, case, named
from small_networks import Network

A = X((2, 3))
IMAGE = X((1, 4, 4, 3))


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def ints(*values):
    return np.array(values, np.int32)


def conv(**options):
    defaults = {"kind": "Conv2D", "padding": 0, "strideH": 1, "strideW": 1}
    return case("CONV_2D", IMAGE, zeros(4, 1, 1, 3), zeros(4), **{**defaults, **options})


def strided(begin=(0, 0), strides=(1, 1), **masks):
    return case("STRIDED_SLICE", A, ints(*begin), ints(2, 3), ints(*strides), kind="StridedSlice", **masks)


DEEP = X((2, 3, 2, 3, 2))
CASES = [
    (case("ELU", A), None),
    (case("GATHER_ND", A, ints([0])), None),
    (case("HASHTABLE_LOOKUP", A), "HASHTABLE_LOOKUP"),
    (conv(fusedActivationFunction=4), "CONV_2D with fused TANH"),
    (conv(fusedActivationFunction=5), "CONV_2D with fused SIGN_BIT"),
    (case("CONV_2D", IMAGE, X((4, 1, 1, 3)), zeros(4), kind="Conv2D"), "CONV_2D with a computed input 1"),
    (case("CONV_2D", IMAGE, zeros(4, 1, 1, 2), zeros(4), kind="Conv2D"), "CONV_2D whose kernel does not fit its data"),
    (case("SOFTMAX", A), "SOFTMAX without its options"),
    (case("FULLY_CONNECTED", A, zeros(4, 3), kind="FullyConnected", weightsFormat=1),
     "FULLY_CONNECTED with shuffled weights"),
    (case("MEAN", A, X((1,), "int32"), kind="Reducer"), "MEAN with a computed input 1"),
    (case("RELU", X((2, 3), "int32"), out=["int32"]), "RELU on int32"),
    (case("ADD", X((2, 3), "uint8"), zeros(3, dtype=np.uint8), kind="Add", out=["uint8"]), "ADD on uint8"),
    (case("ADD", X((2, -1)), zeros(3), kind="Add"), "ADD of dynamic shape"),
    (case("ADD", X((2, 0)), zeros(1), kind="Add"), "ADD of empty tensors"),
    (case("RELU", X((1,) * 7)), "RELU of more than 6 dimensions"),
    (case("SELECT", X((1, 3), "bool"), A, A), "SELECT with a condition of another shape"),
    (case("RESIZE_NEAREST_NEIGHBOR", IMAGE, ints(4, 4), kind="ResizeNearestNeighbor", alignCorners=True,
          halfPixelCenters=True), "RESIZE_NEAREST_NEIGHBOR with aligned corners and half pixel centers"),
    (strided(offset=True), "STRIDED_SLICE with ends relative to their beginnings"),
    (strided(beginMask=1, shrinkAxisMask=1), "STRIDED_SLICE with masks that overlap"),
    (strided(strides=(-1, 1), shrinkAxisMask=1), "STRIDED_SLICE with a single element taken backwards"),
    (strided(begin=(2, 0), shrinkAxisMask=1), "STRIDED_SLICE with indices that do not fit"),
    (named("TRANSPOSE_CONV", case("TRANSPOSE_CONV", ints(1, 12, 12, 2), zeros(2, 2, 2, 3), IMAGE, kind="TransposeConv",
          padding=1, strideH=2, strideW=2)), "TRANSPOSE_CONV whose output does not fit its data"),
]  # fmt: skip
SHAPES = {"TRANSPOSE_CONV": [(1, 12, 12, 2)], "CONV_2D": [(1, 4, 4, 4)]}


@pytest.mark.parametrize(("made", "expected"), CASES, ids=[str(expected) for _, expected in CASES])
def test_what_is_not_covered_is_named(made, expected):
    data = build(made, SHAPES.get(made.opcode, [(2, 3)]))
    assert uncovered(data) == (() if expected is None else (expected,))


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (case("ADD", DEEP, X((1, 3, 1, 3, 1)), kind="Add"), "ADD broadcast over too many dimensions"),
        (case("ADD", DEEP, X((2, 3, 1, 3, 2)), kind="Add"), None),
        (case("SUM", DEEP, ints(0, 2, 4), kind="Reducer", keepDims=True), "SUM broadcast over too many dimensions"),
        (case("SUM", DEEP, ints(0, 1, 4), kind="Reducer", keepDims=True), None),
    ],
)
def test_broadcasting_has_an_end(made, expected):
    assert uncovered(build(made, [DEEP.shape])) == (() if expected is None else (expected,))


def test_telling_what_is_covered_loads_no_tensorflow(tmp_path):
    file = tmp_path / "net.tflite"
    file.write_bytes(build(conv(), [(1, 4, 4, 4)]))
    code = (
        "import pathlib, sys\n"
        "from bitplan.analyzer.network.differentiable import cut_gradients, uncovered\n"
        f"data = pathlib.Path({str(file)!r}).read_bytes()\n"
        "print(uncovered(data), cut_gradients(data), 'tensorflow' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "() frozenset() False"


class Chain:
    """Builds networks of ops on [2, 3] by name."""

    def __init__(self):
        self.net, self.at = Network(), {}

    def given(self, name):
        self.at[name] = self.net.input(name, (2, 3))
        return self

    def op(self, opcode, inputs, output, dtype="float32", shape=(2, 3)):
        self.at[output] = self.net.tensor(output, shape, dtype)
        self.net.op(opcode, [self.at[name] for name in inputs], [self.at[output]])
        return self

    def cut(self, *outputs, among=None):
        data = self.net.build([self.at[name] for name in outputs])
        found = cut_gradients(data, None if among is None else [self.at[name] for name in among])
        return {name for name, tensor in self.at.items() if tensor in found}


def test_nothing_is_cut_where_everything_has_a_derivative():
    chain = Chain().given("x").op("TANH", "x", "a").op("ADD", "xa", "b")
    assert chain.cut("b") == set()


def test_all_before_a_rounding_is_cut_and_nothing_behind_it():
    chain = Chain().given("x").op("TANH", "x", "a").op("ROUND", "a", "b").op("EXP", "b", "c")
    assert chain.cut("c") == {"x", "a"}


def test_one_path_of_several_is_enough():
    chain = Chain().given("x").op("TANH", "x", "a").op("FLOOR", "a", "b").op("ADD", "ab", "c")
    assert chain.cut("c") == {"x", "a"}


def test_comparisons_and_integers_cut():
    chain = (
        Chain().given("x").given("y").op("TANH", "x", "a").op("TANH", "y", "b").op("GREATER", "ab", "c", "bool")
        .op("EXP", "b", "d").op("SELECT_V2", "cbd", "e")
    )  # fmt: skip
    assert chain.cut("e") == {"x", "y", "a", "b"}
    whole = Chain().given("x").op("TANH", "x", "a").op("CAST", "a", "b", "int32").op("CAST", "b", "c")
    assert whole.cut("c") == {"x", "a"}


def test_what_reaches_no_output_and_what_reads_only_a_shape_cuts_nothing():
    chain = Chain().given("x").op("TANH", "x", "a").op("ROUND", "a", "b").op("EXP", "a", "c")
    assert chain.cut("c") == set()
    chain = Chain().given("x").op("TANH", "x", "a").op("SHAPE", "a", "b", "int32", (2,)).op("EXP", "a", "c")
    assert chain.cut("c", "b") == set()


def test_only_the_outputs_asked_for_count():
    chain = Chain().given("x").op("TANH", "x", "a").op("ARG_MAX", "a", "b", "int32", (2,)).op("EXP", "a", "c")
    assert chain.cut("b", "c") == {"x", "a"}
    assert chain.cut("b", "c", among="c") == set()
