"""The grid that an activation is measured with is the one that the emitted file gives it."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.measures.sources import grids_of, sources_of
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.schema import SCHEMES, Format, Plan
from converter_networks import inputs, noise


def pooled(network):
    """Ops that keep a scale behind one that does not, and behind one that has a fixed one."""
    net = network()
    x, fixed = net.input("x", (1, 8, 8, 3)), net.tensor("fixed", (1, 2, 2, 4))
    wide, mean = net.tensor("wide", (1, 8, 8, 4)), net.tensor("mean", (1, 2, 2, 4))
    moved, large, out = (
        net.tensor("moved", (1, 2, 8)),
        net.tensor("large", (1, 4, 4, 4)),
        net.tensor("out", (1, 4, 4, 4)),
    )
    net.op("CONV_2D", [x, net.constant("w", noise(4, 3, 3, 3)), net.constant("b", noise(4))], [wide])
    net.op("AVERAGE_POOL_2D", [wide], [mean], strideW=4, strideH=4, filterWidth=4, filterHeight=4)
    net.op("RESHAPE", [mean, net.constant("shape", np.array([1, 2, 8], np.int32))], [moved])
    net.op("LOGISTIC", [mean], [fixed])
    net.op("RESIZE_BILINEAR", [fixed, net.constant("size", np.array([4, 4], np.int32))], [large])
    net.op("ADD", [large, net.constant("c", noise(1, 4))], [out])
    return net.build([out, moved])


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
def test_of_every_activation(network, calibrated, scheme):
    data = pooled(network)
    graph, calibration = calibrated(data, inputs())
    names = [scheme if scheme in op.schemes else "float" for op in graph.ops]
    assert "float" not in names
    io = SCHEMES[scheme].format
    emitted = fb.read(convert(data, graph, calibration, Plan.bare(graph, names, Format.FLOAT)).model)
    found = {fb.text(t.name): t.quantization for t in emitted.subgraphs[0].tensors if fb.dtype_name(t) == io.value}
    checked = set()
    for source in sources_of(graph, calibration):
        name = graph.tensors[source.tensor].name
        # The output's name is that of the float tensor behind the last border.
        if source.part == "activation" and source.variant == f"a{io.bits}" and name != "out":
            (grid,) = grids_of(source, graph, calibration)
            assert (grid.scale, grid.zero_point) == (float(found[name].scale[0]), int(found[name].zeroPoint[0])), name
            checked.add(name)
    assert checked == {"wide", "mean", "fixed", "large"}
