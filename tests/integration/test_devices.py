"""TFLite Micro and Vela on emitted files of the demo, and of networks that they refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from bitplan.analyzer.conversion.devices import second_opinion, unavailable
from bitplan.analyzer.errors import UnsupportedModel
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.network.runtime import Runner
from bitplan.analyzer.schema import Format, Opinion
from bitplan.strategies.targets import load_target
from conftest_data import demo
from small_networks import Network
from test_arena import emitted, everywhere

MICRO, U55, U85 = (load_target(name) for name in ("tflite-micro", "ethos-u55", "ethos-u85"))
micro = pytest.mark.skipif(bool(unavailable(MICRO)), reason=unavailable(MICRO))
vela = pytest.mark.skipif(bool(unavailable(U55)), reason=unavailable(U55))


pytestmark = pytest.mark.slow


def demo_file(change: str = "w8a8", io: Format = Format.INT8, base: str = "w8a8") -> bytes:
    """The demo's network with one scheme everywhere, and another for its first depthwise convolution."""
    data = demo()[0]
    graph = build_graph(data)
    names = everywhere(graph, base)
    names[next(op.index for op in graph.ops if op.opcode == "DEPTHWISE_CONV_2D")] = change
    return emitted(data, graph, (names, io))


def opinion(target, data, samples=None) -> Opinion:
    found = second_opinion(target, data, samples)
    assert found is not None
    return found


@micro
def test_tflite_micro_gives_its_own_arena():
    from tflite_micro.python.tflite_micro import runtime

    data = demo_file()
    found = opinion(MICRO, data)
    assert (found.runtime, found.tool, found.refusal, found.cpu_ops) == ("tflite-micro", "tflite-micro", "", ())
    assert found.flash_bytes == len(data)
    assert found.arena_bytes == found.figures["activations_bytes"] + found.figures["structures_bytes"]
    runtime.Interpreter.from_bytes(data, arena_size=found.arena_bytes + 1024)
    with pytest.raises(RuntimeError):
        runtime.Interpreter.from_bytes(data, arena_size=int(found.figures["activations_bytes"]))


@micro
def test_flash_and_ram_pull_apart_in_tflite_micro():
    int8, split, island, wide = (
        opinion(MICRO, data)
        for data in (demo_file(), demo_file("w16a16"), demo_file("float"), demo_file("w8a16", base="w8a16"))
    )
    assert 1 < island.flash_bytes / int8.flash_bytes < 1.02
    assert int8.arena_bytes < split.arena_bytes < island.arena_bytes
    assert wide.arena_bytes > int8.arena_bytes


@micro
def test_agreement_with_litert_is_counted_sample_by_sample():
    _, images, _ = demo()
    samples = [images[:20].astype(np.float32) / 255]
    data = demo_file()
    found = opinion(MICRO, data, samples)
    assert found.samples == 20
    from tflite_micro.python.tflite_micro import runtime

    lite, other = Runner(data), runtime.Interpreter.from_bytes(data, arena_size=1_000_000)
    port, same = lite.inputs[0], 0
    for image in samples[0]:
        given = np.clip(np.rint(image / np.float32(port.scale)) + port.zero_point, -128, 127).astype(np.int8)
        given = given.reshape(port.shape)
        other.set_input(given, 0)
        other.invoke()
        same += int(other.get_output(0).argmax() == lite.run([given])[0].argmax())
    assert found.agreement == same / 20


@micro
def test_tflite_micro_refuses_by_the_name_of_the_op(network: Callable[[], Network]):
    net = network()
    refused = opinion(MICRO, net.build([net.op("GELU", [net.input("x", (1, 8))], [net.tensor("y", (1, 8))])]))
    assert refused.refusal == "it has no GELU"
    assert (refused.arena_bytes, refused.flash_bytes, refused.agreement) == (None, None, None)


@vela
@pytest.mark.parametrize("target", [U55, U85], ids=["ethos-u55", "ethos-u85"])
def test_vela_puts_an_integer_file_wholly_on_the_npu(target):
    for change in ("w8a8", "w16a16", "w16a8"):
        found = opinion(target, demo_file(change))
        assert found.cpu_ops == ()
        assert found.runtime == "vela" and target.name in found.setting
        assert found.arena_bytes == found.figures["sram_bytes"] > 10_000
        assert 0 < found.flash_bytes < len(demo()[0])
        assert found.figures["npu_cycles"] > 0


@vela
def test_float_io_leaves_borders_to_the_cpu_and_an_island_more():
    assert opinion(U55, demo_file(io=Format.FLOAT)).cpu_ops == ()
    assert opinion(U55, demo_file("float", Format.FLOAT)).cpu_ops == ("DEQUANTIZE", "DEPTHWISE_CONV_2D", "QUANTIZE")


@vela
def test_a_crash_of_vela_is_an_error_with_a_remedy():
    data = demo_file(base="w4a8")
    assert "int4" in {fb.dtype_name(tensor).lower() for tensor in fb.read(data).subgraphs[0].tensors}
    with pytest.raises(UnsupportedModel) as caught:
        second_opinion(U55, data)
    assert "ethos-u-vela" in caught.value.problem and "crashes" in caught.value.problem
    assert caught.value.remedy


@vela
def test_a_file_that_vela_cannot_read_is_an_error_in_one_line():
    with pytest.raises(UnsupportedModel) as caught:
        second_opinion(U55, b"\0" * 4096)
    assert "\n" not in caught.value.problem
