"""Activation memory step by step, against sums by hand and against the ops of the emitted file."""

from __future__ import annotations

import random

import pytest
from bitplan.analyzer.conversion.arena import build_arena
from bitplan.analyzer.conversion.placement import Scratch, aligned, place
from bitplan.analyzer.schema import SCHEMES, Format, Graph, Op, Tensor

PLAIN = ("w8a8", "w8a16", "float")
SPLIT = ("w8a8", "w8a16", "w16a8", "w16a16", "float")
JOINS = ("ADD", "MUL", "CONCATENATION")
INT8, INT16, FLOAT = Format.INT8, Format.INT16, Format.FLOAT


def network(elements: list[int], *ops: tuple[str, tuple[int, ...], tuple[str, ...]], outputs: tuple[int, ...]) -> Graph:
    """Tensor 0 is the input, tensor k + 1 what op k writes, with so many elements each."""
    tensors = tuple(Tensor(k, f"t{k}", (1, count), "float32") for k, count in enumerate(elements))
    made = tuple(
        Op(k, f"{k}:{opcode}", opcode, f"l{k}", reads, (k + 1,), schemes=schemes)
        for k, (opcode, reads, schemes) in enumerate(ops)
    )
    return Graph(tensors, made, (0,), outputs, outputs, False, "digest", 0)


def chain(*schemes: tuple[str, ...]) -> Graph:
    """640, 1280, 640 ... elements; depthwise convolutions in a row."""
    elements = [640 * (1 + k % 2) for k in range(len(schemes) + 1)]
    ops = [("DEPTHWISE_CONV_2D", (k,), names) for k, names in enumerate(schemes)]
    return network(elements, *ops, outputs=(len(schemes),))


def peak(graph: Graph, schemes: str, io: Format = INT8) -> int:
    return build_arena(graph).peak([SCHEMES[name] for name in schemes.split()], io)


def test_a_step_holds_what_is_read_what_is_written_and_the_input():
    graph = chain(PLAIN, PLAIN, PLAIN)
    assert peak(graph, "w8a8 w8a8 w8a8") == 640 + 640 + 1280, "the third op reads 640 and writes 1280"
    assert peak(graph, "w8a16 w8a16 w8a16", INT16) == 2 * 2560
    assert peak(graph, "float float float", FLOAT) == 4 * 2560


def test_a_border_holds_both_copies_while_it_is_crossed():
    graph = chain(PLAIN, PLAIN, PLAIN)
    float_island = peak(graph, "w8a8 float w8a8")
    assert float_island == 640 + 4 * 1280 + 4 * 640, "the island's own step"
    assert peak(graph, "w8a8 w8a8 w8a16") == 640 + 2 * 1280 + 1280, "the output, on its way back to int8"


def test_float_io_keeps_the_input_in_float_to_the_end():
    assert peak(chain(PLAIN, PLAIN, PLAIN), "w8a8 w8a8 w8a8", FLOAT) == 4 * 640 + 1280 + 4 * 1280


def test_a_split_holds_both_partial_sums():
    graph = chain(SPLIT, PLAIN)
    assert peak(graph, "w8a8 w8a8") == 640 + 1280 + 640
    assert peak(graph, "w16a8 w8a8") == 640 + 2 * 1280
    assert peak(graph, "w16a16 w8a8") == 640 + 2 * 640 + 2 * 2 * 1280, "with the input's int16 copy"


def test_the_sum_of_a_split_has_a_place_of_its_own_where_the_model_returns_it():
    graph = chain(SPLIT)
    assert peak(graph, "w16a8") == 640 + 3 * 1280
    assert peak(graph, "w16a16", INT8) == 640 + 2 * 640 + 2 * 2 * 1280, "here the QUANTIZE behind it is returned"


def test_a_skipped_tensor_lives_until_it_is_added():
    ops = [("DEPTHWISE_CONV_2D", (k,), PLAIN) for k in range(3)]
    graph = network([64, 640, 640, 640, 640], *ops, ("ADD", (1, 3), PLAIN), outputs=(4,))
    assert peak(graph, "w8a8 w8a8 w8a8 w8a8") == 64 + 3 * 640
    assert peak(graph, "w8a8 w8a8 w8a8 float", FLOAT) == 4 * (64 + 640 * 3)
    graph = network([64, 640, 640, 640, 640, 64], *ops, ("ADD", (1, 3), PLAIN), ops[0], outputs=(5,))
    assert peak(graph, "w8a8 w8a8 w8a8 w8a8 w8a8") == 64 + 3 * 640


def test_an_add_in_the_middle_writes_over_what_it_reads():
    conv = ("DEPTHWISE_CONV_2D", (0,), PLAIN)
    middle = network([64, 640, 640, 640, 64], conv, conv, ("ADD", (1, 2), PLAIN), ("MEAN", (3,), PLAIN), outputs=(4,))
    assert peak(middle, "w8a8 w8a8 w8a8 w8a8") == 64 + 2 * 640
    last = network([64, 640, 640, 640], conv, conv, ("ADD", (1, 2), PLAIN), outputs=(3,))
    assert peak(last, "w8a8 w8a8 w8a8") == 64 + 3 * 640


def test_convolutions_unroll_patches_of_more_than_one_value():
    tensors = (
        Tensor(0, "x", (1, 8, 8, 16), "float32"),
        Tensor(1, "w", (4, 3, 3, 16), "float32", buffer=1),
        Tensor(2, "y", (1, 8, 8, 4), "float32"),
        Tensor(3, "p", (4, 1, 1, 16), "float32", buffer=2),
    )

    def of(weights: int) -> int:
        op = Op(0, "0:CONV_2D", "CONV_2D", "l", (0, weights), (2,), weights, schemes=PLAIN)
        return peak(Graph(tensors, (op,), (0,), (2,), (2,), False, "d", 0), "w8a8")

    assert of(1) == 1024 + 256 + 64 * 3 * 3 * 16
    assert of(3) == 1024 + 256


def test_integers_have_their_own_size():
    tensors = (Tensor(0, "x", (1, 64), "float32"), Tensor(1, "i", (1, 64), "int64"))
    op = Op(0, "0:ARG_MAX", "ARG_MAX", "l", (0,), (1,))
    assert peak(Graph(tensors, (op,), (0,), (1,), (1,), False, "d", 0), "float") == 64 + 4 * 64 + 8 * 64


def random_network(draw: random.Random) -> Graph:
    """Branches, joins, unread outputs and several outputs; no RESHAPE of a tensor that others read."""
    kinds = {
        "DEPTHWISE_CONV_2D": SPLIT,
        "ADD": PLAIN,
        "MUL": PLAIN,
        "CONCATENATION": PLAIN,
        "HARD_SWISH": ("w8a8", "float"),
    }
    ops, elements = [], [640]
    for k in range(draw.randint(1, 8)):
        opcode = draw.choice(list(kinds))
        reads = tuple(draw.randrange(k + 1) for _ in range(2 if opcode in JOINS else 1))
        ops.append((opcode, reads, kinds[opcode]))
        elements.append(draw.choice([64, 640, elements[reads[0]]]))
    outputs = draw.sample(range(1, len(elements)), min(len(ops), draw.randint(1, 2)))
    return network(elements, *ops, outputs=tuple(outputs))


@pytest.mark.parametrize("seed", range(150))
def test_peak_is_the_most_that_lives_at_once_among_the_emitted_ops(seed):
    draw = random.Random(seed)
    graph = random_network(draw)
    arena = build_arena(graph)
    for _ in range(5):
        schemes = [SCHEMES[draw.choice(op.schemes)] for op in graph.ops]
        io = draw.choice(list(Format))
        calls = list(arena.emission.calls(schemes, io))
        inputs, outputs, sizes = arena.emission.ends(schemes, io)
        places = [p for key, p in place(calls, sizes, inputs, outputs).items() if not isinstance(key, Scratch)]
        most = max(sum(aligned(p.size) for p in places if p.first <= t <= p.last) for t in range(len(calls)))
        assert arena.peak(schemes, io) == most
        assert arena.packed(schemes, io) >= most - 63


def test_steps_are_the_same_from_run_to_run():
    graph = random_network(random.Random(3))
    assert build_arena(graph).steps == build_arena(graph).steps
