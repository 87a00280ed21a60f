"""Target tables: what the shipped ones promise, what a user's own may say, and what each mistake in it is answered."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bitplan.analyzer.errors import UsageError
from bitplan.analyzer.network.kernels import schemes_for
from bitplan.analyzer.schema import ASSUMED, SCHEMES, Format, Graph, Kernel, Op, Target, Tensor
from bitplan.strategies import targets
from bitplan.strategies.targets import border_cost, load_target, relative_cost, schemes_on, shipped_targets, work

ROOT = Path(__file__).resolve().parents[2]
INTEGER_OPS = sorted(load_target("litert-cpu").kernels.keys() - {"*"})
SMALL = """
title = "x"
integer_only = false
io = ["int8", "float"]
[sources]
doc = "A document"
[kernels]
CONV_2D = { w8a8 = 1, float = 3, source = "doc" }
"""


def op_of(opcode, schemes=None, **more):
    offered = schemes or schemes_for(opcode)
    return Op(0, f"0:{opcode}:2x2", opcode, "layer", (0, 1), (2,), weights=1, schemes=offered, **more)


def graph_of(op, shape=(1, 4), dtype="float32"):
    tensors = (Tensor(0, "x", (1, 6), dtype), Tensor(1, "w", (4, 6), dtype, 1), Tensor(2, "y", shape, dtype))
    return Graph(tensors, (op,), (0,), (2,), (2,), False, "", 0)


def offered(target, opcode):
    op = op_of(opcode)
    return schemes_on(target, op, graph_of(op))


@pytest.fixture
def written(tmp_path):
    """written(text) -> path of a table of the user's own."""

    def write(text):
        (tmp_path / "mine.toml").write_text(text)
        return str(tmp_path / "mine.toml")

    return write


def kernels_of(target):
    return [kernel for line in target.kernels.values() for kernel in line.values()] + list(target.border.values())


def test_the_shipped_targets_are_those_of_the_command_line():
    names = {"any", "coral", "ethos-u55", "ethos-u85", "litert-cpu", "qualcomm-htp", "stm32-npu", "tflite-micro"}
    assert set(shipped_targets()) == names
    assert targets.DEFAULT_TARGET in names


@pytest.mark.parametrize("name", shipped_targets())
def test_every_line_cites_a_source_and_every_cost_is_a_time(name):
    target = load_target(name)
    assert target.name == name and target.title and target.io
    assert not target.measured and target.mac_ms is None
    for kernel in kernels_of(target):
        assert {kernel.source, kernel.cost_source} <= target.sources.keys()
        assert kernel.source != ASSUMED, "a shipped kernel exists because a document says so"
        assert kernel.cost >= 0
    assert target.kernel("CONV_2D", "w8a8").cost == 1


@pytest.mark.parametrize("name", shipped_targets())
def test_a_shipped_source_says_its_version_or_where_it_is(name):
    for key, document in load_target(name).sources.items():
        assert key in (ASSUMED, "bits") or re.search(r"\d\.(\d|dev)|https?://|github\.com/", document), document


@pytest.mark.parametrize("name", shipped_targets())
def test_no_target_offers_what_litert_lacks(name):
    target = load_target(name)
    for opcode in INTEGER_OPS:
        assert set(offered(target, opcode)) <= set(schemes_for(opcode))
    assert not any(scheme.startswith("w4") for scheme in offered(target, "DEPTHWISE_CONV_2D"))


@pytest.mark.parametrize("name", ["coral", "ethos-u55", "ethos-u85", "qualcomm-htp", "stm32-npu"])
def test_an_integer_only_target_has_no_float_op(name):
    target = load_target(name)
    assert target.integer_only and Format.FLOAT not in target.io
    for opcode in [*INTEGER_OPS, "LEAKY_RELU", "ARG_MAX", "CUSTOM:mine"]:
        assert "float" not in offered(target, opcode)


def test_coral_and_the_stm32_npu_take_int8_alone_split_or_not():
    for name in ("coral", "stm32-npu"):
        target = load_target(name)
        assert offered(target, "CONV_2D") == ("w8a8", "w16a8")
        assert {scheme for opcode in INTEGER_OPS for scheme in offered(target, opcode)} == {"w8a8", "w16a8"}
        assert not any(Format.INT16 in pair for pair in target.border)
    assert load_target("coral").per_channel and not load_target("stm32-npu").per_channel


def test_ethos_u_has_no_4_bit_weights_and_hard_swish_in_8_bits():
    for name in ("ethos-u55", "ethos-u85"):
        target = load_target(name)
        assert offered(target, "CONV_2D") == ("w8a8", "w8a16", "w16a8", "w16a16")
        assert offered(target, "HARD_SWISH") == ("w8a8",)
        assert offered(target, "MEAN") == ("w8a8", "w8a16")
    assert offered(load_target("ethos-u55"), "BATCH_MATMUL") == ("w8a8",)
    assert offered(load_target("ethos-u55"), "DIV") == ()


def test_tflite_micro_lacks_what_its_interpreter_refuses():
    target = load_target("tflite-micro")
    assert offered(target, "CONV_2D") == ("w4a8", "w8a8", "w8a16", "w16a8", "w16a16", "float")
    assert offered(target, "FULLY_CONNECTED") == ("w8a8", "w8a16", "w16a8", "w16a16", "float")
    for opcode in ("RESIZE_BILINEAR", "DIV", "HARD_SWISH", "GATHER", "MIRROR_PAD", "REDUCE_MIN"):
        assert offered(target, opcode) == ("w8a8", "float")
    assert offered(target, "GELU") == () and offered(target, "SQRT") == ("float",)


@pytest.mark.parametrize("name", ["any", "litert-cpu"])
def test_litert_has_everything_that_bitplan_knows(name):
    target = load_target(name)
    for opcode in [*INTEGER_OPS, "LEAKY_RELU", "CUSTOM:mine"]:
        assert offered(target, opcode) == schemes_for(opcode)
    pairs = {(read, made) for read in Format for made in Format} - {(Format.FLOAT, Format.FLOAT)}
    assert target.border.keys() == pairs


def test_a_split_exists_where_its_op_and_add_do_and_costs_as_they_do():
    kernel = Kernel(3.0, "doc", "doc")
    lines = {
        "CONV_2D": {"w8a8": kernel, "w8a16": replace(kernel, cost=5.0)},
        "ADD": {"w8a8": replace(kernel, cost=7.0)},
    }
    target = Target("t", "t", "other", True, True, (Format.INT8,), lines, {}, {})
    op = op_of("CONV_2D", macs=100)
    graph = graph_of(op)
    assert schemes_on(target, op, graph) == ("w8a8", "w8a16", "w16a8")
    assert relative_cost(target, op, graph, "w16a8") == 2 * 100 * 3 + 4 * 7
    assert relative_cost(target, op, graph, "w8a16") == 500


def test_a_split_costs_what_vela_estimates():
    """Cycles of Vela 5.2 for a 3x3 convolution of 24 x 24 x 48 on an Ethos-U55, its halves and the ADD: within 5 %."""
    target = load_target("ethos-u55")
    op = op_of("CONV_2D", macs=24 * 24 * 48 * 9 * 48)
    graph = graph_of(op, (1, 24, 24, 48))
    found = relative_cost(target, op, graph, "w16a8") / relative_cost(target, op, graph, "w8a8")
    assert found == pytest.approx(305192 / 135836, rel=0.05)


def test_work_is_macs_or_elements_on_the_larger_side():
    assert work(op_of("CONV_2D", macs=11), graph_of(op_of("CONV_2D"))) == 11
    for opcode, elements in (("ADD", 4), ("MEAN", 6), ("MAX_POOL_2D", 6), ("SLICE", 4)):
        assert work(op_of(opcode), graph_of(op_of(opcode))) == elements


def test_an_op_of_integers_is_left_alone_everywhere():
    op = op_of("SHAPE", ("float",))
    for name in shipped_targets():
        assert schemes_on(load_target(name), op, graph_of(op, dtype="int32")) == ("float",)
        assert relative_cost(load_target(name), op, graph_of(op, dtype="int32"), "float") == 0


def test_an_op_that_reads_or_makes_floats_is_none_of_integers():
    op = op_of("ARG_MAX", ("float",))
    read, made = graph_of(op), graph_of(op, dtype="int32")
    read = replace(read, tensors=(*read.tensors[:2], made.tensors[2]))
    made = replace(made, tensors=(*made.tensors[:2], graph_of(op).tensors[2]))
    for graph in (read, made):
        assert schemes_on(load_target("coral"), op, graph) == ()
        assert schemes_on(load_target("litert-cpu"), op, graph) == ("float",)


def test_measured_milliseconds_go_before_costs_and_both_have_one_unit(written):
    text = "mac_ms = 0.5\n" + SMALL + '[borders]\n"int8 -> float" = { cost = 3, source = "doc" }\n'
    target = load_target(written(text + '[measured]\n"0:CONV_2D:2x2" = { w8a8 = 0.25 }\n'))
    op = op_of("CONV_2D", macs=10)
    assert relative_cost(target, op, graph_of(op), "w8a8") == 0.25
    assert relative_cost(target, op, graph_of(op), "float") == 10 * 3 * 0.5
    assert border_cost(target, 8, read=Format.INT8, written=Format.FLOAT) == 8 * 3 * 0.5
    assert border_cost(target, 8, read=Format.FLOAT, written=Format.INT8) is None


def test_a_scheme_that_is_not_there_has_no_cost():
    op = op_of("CONV_2D")
    with pytest.raises(UsageError, match="coral has no float for layer") as raised:
        relative_cost(load_target("coral"), op, graph_of(op), "float")
    assert raised.value.remedy == "choose one of w8a8, w16a8"
    with pytest.raises(UsageError, match="choose another target"):
        relative_cost(load_target("coral"), op_of("GELU"), graph_of(op_of("GELU")), "w8a8")


def test_a_file_of_ones_own_works(written):
    target = load_target(written(SMALL))
    assert (target.name, target.runtime, target.per_channel) == ("mine", "other", True)
    assert target.io == (Format.INT8, Format.FLOAT)
    assert target.kernel("CONV_2D", "float") == Kernel(3.0, "doc", "doc")
    assert target.kernel("ADD", "w8a8") is None
    assert offered(target, "CONV_2D") == ("w8a8", "float")


def test_a_scheme_may_have_a_source_and_a_note_of_its_own(written):
    cells = 'w8a8 = 2, w8a16 = { cost = 4, source = "other", note = "n" }'
    line = f'ADD = {{ {cells}, source = "doc", cost_source = "assumed" }}'
    target = load_target(written(SMALL.replace("[kernels]", f'other = "Another"\n[kernels]\n{line}')))
    assert target.kernel("ADD", "w8a8") == Kernel(2.0, "doc", ASSUMED)
    assert target.kernel("ADD", "w8a16") == Kernel(4.0, "other", "other", "n")


@pytest.mark.parametrize(
    ("old", "new", "place", "remedy"),
    [
        ("CONV_2D", "CONV2D", "kernels.CONV2D: TFLite has no op", "did you mean CONV_2D?"),
        ("w8a8", "w8a9", "kernels.CONV_2D.w8a9: there is no scheme", "did you mean w8a8?"),
        ("w8a8", "w16a8", "kernels.CONV_2D.w16a8: a split is never listed", "w8a8 and ADD"),
        ("CONV_2D = { w8a8", "DEPTHWISE_CONV_2D = { w4a16", "DEPTHWISE_CONV_2D.w4a16: LiteRT has no", "w8a8, w8a16"),
        ("w8a8 = 1", "w8a8 = -1", "kernels.CONV_2D.w8a8: -1 is no cost", "at least 0"),
        ("w8a8 = 1", "w8a8 = nan", "kernels.CONV_2D.w8a8: nan is no cost", "at least 0"),
        ("w8a8 = 1", "w8a8 = true", "kernels.CONV_2D.w8a8: True is no cost", "at least 0"),
        ("w8a8 = 1", "w8a8 = { source = 'doc' }", "kernels.CONV_2D.w8a8: 'cost' is missing", "add it"),
        ("w8a8 = 1", "w8a8 = { cost = 1, why = 2 }", "kernels.CONV_2D.w8a8: there is no key 'why'", "choose one of"),
        (', source = "doc"', "", "kernels.CONV_2D.w8a8: it has no source", 'source = "assumed"'),
        ('source = "doc"', 'source = "dok"', "kernels.CONV_2D.source: 'dok' is unknown", "did you mean doc?"),
        ('source = "doc"', 'source = "doc", note = 3', "kernels.CONV_2D.note: it must be a text", "quotes"),
        ("{ w8a8 = 1, float = 3, ", "{ ", "kernels.CONV_2D: it has no scheme", "w8a8 = 1"),
        ("integer_only = false", "integer_only = true", "io: an integer-only target takes no float", "remove float"),
        ('false\nio = ["int8", "float"]', 'true\nio = ["int8"]', "CONV_2D.float: the target is integer-only", ""),
        ("integer_only = false", "integer_only = 0", "integer_only: 0 is neither", "true or false"),
        ('title = "x"', "", "mine.toml: 'title' is missing", "add it"),
        ('title = "x"', 'titel = "x"', "mine.toml: there is no key 'titel'", "did you mean title?"),
        ('title = "x"', 'title = "x"\nruntime = "litter"', "runtime: 'litter' is unknown", "did you mean litert?"),
        ('"int8", "float"', '"int4"', "io: 'int4' is unknown", "did you mean int8?"),
        ('"int8", "float"', "", "io: it must list at least one", "int8"),
        ('"int8", "float"', '"int8", "int8"', "io: a format stands twice", "remove one"),
        ('doc = "A', 'assumed = "x"\ndoc = "A', "sources.assumed: this key is reserved", "remove it"),
        ("[kernels]", 'kernels = 3\n[other]\n', "there is no key 'other'", ""),
        ("[kernels]", "[borders]\nint8 = 3\n[kernels]", "borders.'int8': it must name two formats", "int8 -> int16"),
        ("[kernels]", '[borders]\n"int8 -> x" = 3\n[kernels]', "borders.'int8 -> x': 'x' is unknown", ""),
        ("[kernels]", '[borders]\n"float -> float" = 3\n[kernels]', "float needs no border", "remove it"),
        ("[kernels]", '[borders]\n"int8 -> int16" = 3\n[kernels]', "borders.'int8 -> int16': it has no source", ""),
        ("[kernels]", '[measured]\n"0:A:1" = { w8a8 = 1 }\n[kernels]', "measured: milliseconds do not", "mac_ms"),
        ("[kernels]", '[measured]\n"0:A:1" = { w9 = 1 }\n[kernels]', "measured.'0:A:1'.w9: 'w9' is unknown", "choose"),
        ("[kernels]", '[measured]\n"0:A:1" = { work = 1.5 }\n[kernels]', "'0:A:1'.work: 1.5 is no count", "whole"),
        ("[kernels]", "[measured]\nA = 3\n[kernels]", "measured.'A': it must be a table", "key = value"),
        ("w8a8 = 1", "w8a8 == 1", "mine.toml: no TOML: ", "docs/targets.md"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_a_remedy(written, old, new, place, remedy):
    assert old in SMALL
    path = written(SMALL.replace(old, new, 1))
    with pytest.raises(UsageError) as raised:
        load_target(path)
    assert place in raised.value.problem and raised.value.problem.startswith(path)
    assert remedy in raised.value.remedy
    assert len(str(raised.value).splitlines()) == 2


def test_what_is_no_file_is_named_too(tmp_path):
    with pytest.raises(UsageError, match="no target called 'etos-u55'\ndid you mean ethos-u55"):
        load_target("etos-u55")
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        load_target(str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"bytes\.toml: no TOML"):
        load_target(str(tmp_path / "bytes.toml"))


@pytest.mark.parametrize("name", shipped_targets())
def test_a_table_that_is_written_again_loads_as_the_same_target(name, written):
    measured = {("0:CONV_2D:1x1", "w8a8"): 0.125, ("0:CONV_2D:1x1", "w16a8"): 1e-07, ('a"b\n', "float"): 3.0}
    target = replace(load_target(name), title='q"uo\\te', measured=measured, mac_ms=2.5e-9)
    assert load_target(written(targets.to_toml(target))) == replace(target, name="mine")


def test_the_page_says_what_the_tables_do_and_its_example_loads(written):
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from target_reference import PAGE, reference
    finally:
        sys.path.pop(0)
    page = PAGE.read_text()
    assert page == reference(), "run: python docs/target_reference.py"
    example = load_target(written(re.search(r"```toml\n(.*?)```", page, re.DOTALL).group(1)))
    assert example.integer_only and example.kernel("FULLY_CONNECTED", "w8a16").note == "at most 4096 inputs"
    assert offered(example, "CONV_2D") == ("w4a8", "w8a8", "w8a16", "w16a8", "w16a16")


def test_every_scheme_name_of_a_table_is_known():
    for name in shipped_targets():
        for line in load_target(name).kernels.values():
            assert line.keys() <= SCHEMES.keys() - {"w16a8", "w16a16"}
