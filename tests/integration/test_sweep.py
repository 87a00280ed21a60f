"""The sweep's figures against an independent computation: the whole network, rewritten, on the real interpreter."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, load_samples
from bitplan.analyzer.measures import quantization as q
from bitplan.analyzer.measures.calibration import calibrate, with_per_tensor_sums
from bitplan.analyzer.measures.crew import Crew
from bitplan.analyzer.measures.sensitivity import measure_sensitivity
from bitplan.analyzer.measures.sources import sources_of
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network import runtime
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.network.rewrite import split_weights
from bitplan.analyzer.network.subgraph import Cutter
from bitplan.analyzer.schema import SCHEMES, Plan
from bitplan.analyzer.units import UnitStore

pytestmark = pytest.mark.slow

SAMPLES = 12


@pytest.fixture(scope="module")
def network():
    from conftest_data import demo

    data, images, labels = demo()
    graph = build_graph(data)
    spec = InputSpec("image", (1, 28, 28, 1), "float32")
    given = (images[:SAMPLES], labels[:SAMPLES])
    samples = load_samples(given, (spec,), Preprocessing(scale="tf"), warn=print).in_content_order()
    calibration = calibrate(data, graph, samples)
    return data, graph, samples, calibration


@pytest.fixture(scope="module")
def table(network):
    data, graph, samples, calibration = network
    return measure_sensitivity(data, graph, calibration, samples)


def logits_of(data, graph, samples):
    """Logits of a rewritten network: the softmax's input made an output."""
    model = fb.read(data)
    subgraph = model.subgraphs[0]
    names = [fb.text(t.name) for t in subgraph.tensors]
    subgraph.outputs = [names.index(graph.tensors[graph.compared[0]].name)]
    model.signatureDefs = []
    (logits,) = runtime.run_samples(fb.write(model), samples.block(0, len(samples)), workers=1)
    return logits.astype(np.float64)


def nmse(reference, changed):
    return float(((reference - changed) ** 2).mean() / reference.var())


@pytest.mark.parametrize(
    ("layer", "bits"), [("stem", 8), ("block_0_depthwise", 8), ("block_3_project", 4), ("classes", 8)]
)
def test_weights_alone_equal_the_whole_network_with_those_weights(network, table, layer, bits):
    data, graph, samples, _ = network
    op = next(op for op in graph.ops if op.layer == layer)
    model = fb.read(data)
    tensor = model.subgraphs[0].tensors[op.weights]
    weights = fb.constant(model, tensor)
    fb.set_constant(model, tensor, q.fake_quantize_weights(weights, op.channel_axis, bits))
    reference = logits_of(data, graph, samples)
    expected = nmse(reference, logits_of(fb.write(model), graph, samples))
    assert table.nmse(f"weights:{op.outputs[0]}:w{bits}") == pytest.approx(expected, rel=1e-3)


# --- weights with one scale for the tensor ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def per_tensor(network):
    """The calibration with the partial sums that it takes, and the table."""
    data, graph, samples, calibration = network
    calibration = with_per_tensor_sums(data, graph, calibration, samples)
    return calibration, measure_sensitivity(data, graph, calibration, samples, per_channel=False)


@pytest.mark.parametrize(
    ("layer", "bits"), [("stem", 8), ("block_0_depthwise", 8), ("block_3_project", 4), ("classes", 8)]
)
def test_weights_with_one_scale_equal_the_whole_network_with_those_weights(network, per_tensor, layer, bits):
    data, graph, samples, _ = network
    op = next(op for op in graph.ops if op.layer == layer)
    model = fb.read(data)
    tensor = model.subgraphs[0].tensors[op.weights]
    weights = fb.constant(model, tensor)
    scale = np.abs(weights).max() / np.float32(2 ** (bits - 1) - 1)
    fb.set_constant(model, tensor, (np.rint(weights / scale) * scale).astype(np.float32))
    reference = logits_of(data, graph, samples)
    expected = nmse(reference, logits_of(fb.write(model), graph, samples))
    assert per_tensor[1].nmse(f"weights:{op.outputs[0]}:w{bits}t") == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_split_with_one_scale_equals_the_emitted_file_with_it(network, per_tensor, bits):
    """The rest of the file is float: its QUANTIZE and integer kernels round what the sweep rounds in numpy."""
    data, graph, samples, _ = network
    calibration, table = per_tensor
    op = next(op for op in graph.ops if op.layer == "block_0_depthwise")
    schemes = [f"w16a{bits}" if other is op else "float" for other in graph.ops]
    model = convert(data, graph, calibration, Plan.bare(graph, schemes, per_channel=False)).model
    reference, found = (logits_of(file, graph, samples) for file in (data, model))
    before, behind = op.inputs[0], op.outputs[0]
    parts = (f"weights:{behind}:w16a{bits}t", f"activation:{before}:a{bits}", f"activation:{behind}:a{bits}")
    assert nmse(reference, found) == pytest.approx(sum(map(table.nmse, parts)), rel=0.35)


def test_partial_sums_of_one_scale_are_those_of_the_split_network(network, per_tensor):
    data, graph, samples, calibration = network
    sums = per_tensor[0].per_tensor_sums
    assert sums.keys() == calibration.partial_sums.keys()
    split, splits = split_weights(data, list(sums), per_channel=False)
    cutter = Cutter(split)
    for info in splits[:3]:
        for name, extremes in zip((info.high_output, info.low_output), sums[info.op], strict=True):
            file = cutter.whole([cutter.tensor(name)]).flatbuffer
            (values,) = runtime.run_samples(file, samples.block(0, len(samples)), workers=1)
            assert extremes == (values.min(), values.max())
    assert with_per_tensor_sums(data, graph, per_tensor[0], samples) is per_tensor[0]
    with pytest.raises(ValueError, match="other samples"):
        with_per_tensor_sums(data, graph, calibration, samples.subset(np.arange(3)))


def test_only_weights_are_measured_where_the_rest_is_known(network, table, per_tensor):
    data, graph, samples, _ = network
    calibration, whole = per_tensor
    done = []
    found = measure_sensitivity(
        data, graph, calibration, samples, per_channel=False, known=table,
        progress=lambda _, total: done.append(total),
    )  # fmt: skip
    assert found == whole
    assert set(done) == {sum(op.weights is not None for op in graph.ops)}
    assert {m.source.id for m in found.measurements} - {m.source.id for m in table.measurements} == {
        m.source.id for m in found.measurements if not m.source.per_channel
    }
    assert all(m.source.part == "weights" for m in found.measurements if not m.source.per_channel)
    with pytest.raises(ValueError, match="other samples"):
        measure_sensitivity(data, graph, calibration, samples.subset(np.arange(3)), known=table)


def test_both_kinds_of_weights_give_their_own_layer_figures(network, table, per_tensor):
    _, graph, _, _ = network
    op = next(op for op in graph.ops if op.layer == "block_0_depthwise")
    many, one = table.layer_nmse(op, SCHEMES["w8a8"]), per_tensor[1].layer_nmse(op, SCHEMES["w8a8"])
    assert many[1] == one[1]
    assert one[0] > 2 * many[0] > 0


def with_rounding(data, tensor, params, reader=None):
    """The network with a QUANTIZE and a DEQUANTIZE kernel behind a tensor, for all readers or one."""
    schema = fb.schema()
    model = fb.read(data)
    subgraph = model.subgraphs[0]

    def code(builtin):
        model.operatorCodes.append(schema.OperatorCodeT())
        model.operatorCodes[-1].builtinCode = builtin
        model.operatorCodes[-1].deprecatedBuiltinCode = min(builtin, 127)
        model.operatorCodes[-1].version = 1
        return len(model.operatorCodes) - 1

    def add_tensor(kind, name):
        new = schema.TensorT()
        new.shape, new.type, new.name, new.buffer = subgraph.tensors[tensor].shape, kind, name, 0
        subgraph.tensors.append(new)
        return len(subgraph.tensors) - 1

    integer = add_tensor(schema.TensorType.INT8 if params.bits == 8 else schema.TensorType.INT16, b"integer")
    quantization = schema.QuantizationParametersT()
    quantization.scale = np.array([params.scale], np.float32)
    quantization.zeroPoint = np.array([params.zero_point], np.int64)
    subgraph.tensors[integer].quantization = quantization
    back = add_tensor(schema.TensorType.FLOAT32, b"back")
    place = 1 + max((i for i, op in enumerate(subgraph.operators) if tensor in op.outputs), default=-1)
    for index, op in enumerate(subgraph.operators[place:], place):
        if reader is None or index == reader:
            op.inputs = [back if t == tensor else t for t in op.inputs]
    new_ops = []
    for builtin, source, target in (
        (schema.BuiltinOperator.QUANTIZE, tensor, integer),
        (schema.BuiltinOperator.DEQUANTIZE, integer, back),
    ):
        op = schema.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = code(builtin), [source], [target]
        new_ops.append(op)
    subgraph.operators[place:place] = new_ops
    return fb.write(model)


@pytest.mark.parametrize(("layer", "bits"), [("stem", 8), ("block_1_depthwise", 8), ("block_2_add", 8), ("stem", 16)])
def test_an_activation_alone_equals_the_quantize_kernel_in_its_place(network, table, layer, bits):
    data, graph, samples, calibration = network
    op = next(op for op in graph.ops if op.layer == layer)
    tensor = op.outputs[0]
    seen = calibration.ranges[tensor]
    params = q.activation_params(seen.minimum, seen.maximum, bits)
    reference = logits_of(data, graph, samples)
    expected = nmse(reference, logits_of(with_rounding(data, tensor, params), graph, samples))
    assert table.nmse(f"activation:{tensor}:a{bits}") == pytest.approx(expected, rel=0.02)


def test_an_edge_alone_equals_the_kernel_before_that_reader(network, table):
    data, graph, samples, calibration = network
    edges = [m.source for m in table.measurements if m.source.part == "edge"]
    assert len(edges) >= 4
    reference = logits_of(data, graph, samples)
    for edge in edges[:4]:
        seen = calibration.ranges[edge.tensor]
        params = q.activation_params(seen.minimum, seen.maximum, 8)
        expected = nmse(reference, logits_of(with_rounding(data, edge.tensor, params, edge.consumer), graph, samples))
        assert table.nmse(edge.id) == pytest.approx(expected, rel=0.02)


def test_every_source_is_measured_once_on_all_samples(network, table):
    _, graph, _, calibration = network
    assert [m.source for m in table.measurements] == list(sources_of(graph, calibration))
    assert {m.error.samples for m in table.measurements} == {SAMPLES}


def test_wider_is_never_much_worse(network, table):
    """Not a theorem for one source, but a sweep that mixes variants up fails it at once."""
    _, graph, _, _ = network
    for op in graph.ops:
        if op.weights is not None and "w4a8" in op.schemes:
            four, eight, sixteen = (table.nmse(f"weights:{op.outputs[0]}:{v}") for v in ("w4", "w8", "w16a16"))
            assert four > eight > sixteen


def test_order_of_samples_does_not_change_a_figure(network, table):
    data, graph, samples, _ = network
    shuffled = samples.subset(np.random.default_rng(0).permutation(SAMPLES)).in_content_order()
    calibration = calibrate(data, graph, shuffled, workers=1)
    again = measure_sensitivity(data, graph, calibration, shuffled, crew=Crew(threads=1))
    assert again == table


def test_a_sweep_that_was_stopped_goes_on_and_gives_the_same_table(network, table, tmp_path):
    data, graph, samples, calibration = network

    class Stopped(Exception):
        pass

    def stop(done, total):
        if done == 10:
            raise Stopped

    with UnitStore(tmp_path / "units.jsonl") as store, pytest.raises(Stopped):
        measure_sensitivity(data, graph, calibration, samples, store=store, crew=Crew(threads=1), progress=stop)
    with UnitStore(tmp_path / "units.jsonl") as store:
        kept = len(store)
        assert kept >= 9
        totals = []
        again = measure_sensitivity(
            data, graph, calibration, samples, store=store, progress=lambda done, total: totals.append(total)
        )
        assert len(store) > kept
    assert again == table
    assert set(totals) == {len({s.tensor for s in sources_of(graph, calibration)}) - 10}


def test_other_ranges_are_measured_anew(network, tmp_path):
    data, graph, samples, calibration = network
    tensor = graph.ops[0].outputs[0]
    wide = dataclasses.replace(calibration.ranges[tensor], maximum=60.0)
    other = dataclasses.replace(calibration, ranges={**calibration.ranges, tensor: wide})
    with UnitStore(tmp_path / "units.jsonl") as store:
        first = measure_sensitivity(data, graph, calibration, samples, store=store)
        second = measure_sensitivity(data, graph, other, samples, store=store)
    source = f"activation:{tensor}:a8"
    assert second.nmse(source) > 10 * first.nmse(source)
