"""The divided error against brute force and against the interpreter."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from bitplan.analyzer.measures.attribution import divide_error
from bitplan.analyzer.measures.kinds import of_changes, of_kinds
from bitplan.analyzer.measures.path_shares import path_shares
from bitplan.analyzer.measures.quantized_file import QuantizedFile
from bitplan.analyzer.measures.shapley import shapley_values
from bitplan.analyzer.measures.substitution import Substituted
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.schema import ERROR_KINDS
from converter_networks import conv_net, inputs
from samples import Arrays

pytestmark = pytest.mark.slow

SAMPLES = Arrays(np.concatenate([row[0] for row in inputs(24)]))


@pytest.fixture
def files(network, convert):
    def make(*schemes):
        net, out = conv_net(network)
        data = net.build([out])
        return data, build_graph(data), convert(data, inputs(8), list(schemes)).model

    return make


def outputs_by_hand(data):
    """The one output of all samples, with the interpreter's own choice of kernels."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    rows = []
    for (sample,) in SAMPLES.rows():
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample)
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).ravel())
    return np.concatenate(rows).astype(np.float64)


def measured_by_hand(data, emitted):
    """nmse of the file in the interpreter, from its definition."""
    wanted, found = outputs_by_hand(data), outputs_by_hand(emitted)
    return float(np.square(found - wanted).mean() / wanted.var())


@pytest.mark.parametrize("schemes", [("w8a8", "w8a8", "w8a8"), ("w4a8", "w8a8", "w4a8"), ("w16a8", "float", "w8a16")])
def test_all_parts_sum_to_what_the_interpreter_measures(files, schemes):
    data, graph, emitted = files(*schemes)
    found = divide_error(data, graph, emitted, SAMPLES)
    assert found.measured_nmse == pytest.approx(measured_by_hand(data, emitted), rel=1e-4)
    assert sum(share.nmse for share in found.kinds) == pytest.approx(found.measured_nmse, rel=1e-9)
    assert sum(share.share_of_error for share in found.kinds) == pytest.approx(1)
    assert {share.kind for share in found.kinds} <= ERROR_KINDS.keys()
    told = sum(share.nmse for share in found.layers)
    assert told == pytest.approx(found.substituted_nmse, rel=0.15)
    assert found.coverage.matched_ops == found.coverage.total_ops == 3
    assert not found.coverage.not_aligned


def test_shares_of_single_changes_are_their_shapley_values(files):
    """All 2^n coalitions of the single changes of a file; a share may differ by what is not quadratic in them."""
    data, graph, emitted = files("w4a8", "w8a8", "w4a8")
    everything = QuantizedFile(emitted, graph, data).ingredients
    network = Substituted(data, graph)
    shares = path_shares(network, SAMPLES, everything)
    changes = [change for change, share in shares.items() if change.kind != "bias" and share.nmse]
    assert 6 <= len(changes) <= 9
    worths = network.errors(SAMPLES, [
        of_changes(graph, everything, [c for k, c in enumerate(changes) if coalition >> k & 1])
        for coalition in range(1 << len(changes))
    ]).mean(axis=1)  # fmt: skip
    values = shapley_values(worths)
    whole = worths[-1] - worths[0]
    for change, value in zip(changes, values, strict=True):
        assert shares[change].nmse == pytest.approx(value, abs=0.03 * whole), change
    order = sorted(changes, key=lambda c: -shares[c].nmse)
    assert order[0] == changes[int(np.argmax(values))]


def test_kinds_are_the_shapley_values_of_their_coalitions(files):
    data, graph, emitted = files("w4a8", "w8a8", "w8a8")
    found = divide_error(data, graph, emitted, SAMPLES)
    kinds = [share.kind for share in found.kinds if share.kind != "kernels"]
    everything = QuantizedFile(emitted, graph, data).ingredients
    network = Substituted(data, graph)
    worth = {
        frozenset(members): float(network.errors(SAMPLES, [of_kinds(everything, members, graph.inputs)]).mean())
        for size in range(len(kinds) + 1) for members in itertools.combinations(kinds, size)
    }  # fmt: skip
    orders = list(itertools.permutations(kinds))
    for share in found.kinds:
        if share.kind == "kernels":
            continue
        marginals = []
        for order in orders:
            before = frozenset(order[: order.index(share.kind)])
            marginals.append(worth[before | {share.kind}] - worth[before])
        assert share.nmse == pytest.approx(math.fsum(marginals) / len(orders), rel=1e-6, abs=1e-12)
        assert share.alone == pytest.approx(worth[frozenset({share.kind})], rel=1e-6, abs=1e-12)


def test_a_spoiled_layer_has_the_largest_share_and_takes_it_with_it(files):
    from bitplan.analyzer.network import flatbuffer as fb

    data, graph, emitted = files("w8a8", "w8a8", "w8a8")
    model = fb.read(emitted)
    victim = next(t for t in model.subgraphs[0].tensors if fb.text(t.name) == "w1")
    # The integers, not their scale: kernels read the layer's bias on that too.
    fb.set_constant(model, victim, fb.constant(model, victim) // 2)
    found = divide_error(data, graph, fb.write(model), SAMPLES)
    worst = found.layers[0]
    assert (worst.op, worst.kind) == (graph.ops[1].key, "weights")
    assert worst.share_of_error > 0.8
    assert worst.removed == pytest.approx(found.substituted_nmse, rel=0.1)
    assert found.kinds[0].kind == "weights"


def test_a_file_that_errs_nowhere_has_no_shares(files):
    """Dead weights and constant outputs survive any bits: no change is left to run alone."""
    data, graph, _ = files("w8a8", "w8a8", "w8a8")
    found = divide_error(data, graph, data, SAMPLES)
    assert found.measured_nmse == 0 and found.layers == () and found.layer_interactions == ()
    assert Substituted(data, graph).errors(SAMPLES, []).shape == (0, len(SAMPLES))
