"""LiteRT's planner of memory, on networks small enough to lay out by hand."""

from __future__ import annotations

import itertools
import random

import pytest
from bitplan.analyzer.conversion.placement import Call, Place, Scratch, aligned, place, span


def test_the_input_lives_to_the_end_and_others_until_they_are_read():
    """x 100 | a 640, b 640, y 10: b cannot have a's place while a is read, y can once it was."""
    calls = [Call("CONV_2D", ("x",), ("a",)), Call("CONV_2D", ("a",), ("b",)), Call("CONV_2D", ("b",), ("y",))]
    sizes = {"x": 100, "a": 640, "b": 640, "y": 10}
    assert place(calls, sizes, ["x"], ["y"]) == {
        "x": Place(0, 100, 0, 3),
        "a": Place(128, 640, 0, 1),
        "b": Place(768, 640, 1, 2),
        "y": Place(128, 10, 2, 3),
    }
    assert span(place(calls, sizes, ["x"], ["y"])) == 1408


def test_the_tightest_gap_is_taken():
    """`c` fits into the gap of 128 that `small` leaves and into the 640 of `a`; it goes into the smaller one."""
    calls = [
        Call("A", ("x",), ("a", "p", "small", "q")),
        Call("B", ("a", "small"), ("b",)),
        Call("C", ("b",), ("c",)),
        Call("D", ("p", "q", "c"), ("y",)),
    ]
    sizes = {"x": 64, "a": 640, "p": 320, "small": 128, "q": 64, "b": 32, "c": 16, "y": 8}
    found = place(calls, sizes, ["x"], ["y"])
    assert (found["a"].offset, found["p"].offset, found["small"].offset, found["q"].offset) == (64, 704, 1024, 1152)
    assert found["b"].offset == 1216, "a and small are still read"
    assert found["c"].offset == 1024


@pytest.mark.parametrize("opcode", ["RESHAPE", "ADD", "MUL", "SOFTMAX"])
def test_an_output_lies_in_the_place_of_what_only_its_op_reads(opcode):
    calls = [Call("CONV_2D", ("x",), ("a",)), Call(opcode, ("a", None), ("b",)), Call("CONV_2D", ("b",), ("y",))]
    found = place(calls, {"x": 64, "a": 64, "b": 64, "y": 64}, ["x"], ["y"])
    assert "b" not in found
    assert found["a"].last == 2, "until b is read"


@pytest.mark.parametrize(
    ("opcode", "reads", "outputs"),
    [
        ("CONV_2D", ("a", None), ["y"]),  # does not write over what it reads
        ("ADD", ("a", "a"), ["y"]),  # reads it twice
        ("ADD", ("x", None), ["y"]),  # the model's input
        ("RESHAPE", ("x", None), ["y"]),
        ("RESHAPE", ("a", None), ["b", "y"]),  # the model's output
        ("ADD", ("wide", None), ["y"]),  # of another size
    ],
)
def test_an_output_has_a_place_of_its_own_where_the_input_has_to_stay(opcode, reads, outputs):
    calls = [Call("CONV_2D", ("x",), ("a", "wide")), Call(opcode, reads, ("b",)), Call("CONV_2D", ("b",), ("y",))]
    found = place(calls, {"x": 64, "a": 64, "wide": 128, "b": 64, "y": 64}, ["x"], outputs)
    assert "b" in found


def test_a_tensor_that_others_read_is_reshaped_in_place_and_never_added_to_in_place():
    for opcode, own in (("RESHAPE", False), ("ADD", True)):
        calls = [
            Call("CONV_2D", ("x",), ("a",)),
            Call(opcode, ("a", None), ("b",)),
            Call("CONV_2D", ("a",), ("c",)),
            Call("CONV_2D", ("b", "c"), ("y",)),
        ]
        assert ("b" in place(calls, dict.fromkeys("xabcy", 64), ["x"], ["y"])) == own


def test_what_nobody_reads_stays():
    calls = [Call("SPLIT", ("x",), ("a", "unread")), Call("CONV_2D", ("a",), ("b",)), Call("CONV_2D", ("b",), ("y",))]
    assert place(calls, dict.fromkeys(("x", "a", "unread", "b", "y"), 64), ["x"], ["y"])["unread"].last == 3


def test_scratch_counts_where_a_tensor_lies_above_it():
    def laid_out(*scratch):
        calls = [Call("MUL", ("x",), ("a",)), Call("CONV_2D", ("a",), ("b",), scratch), Call("MUL", ("b",), ("y",))]
        return place(calls, {"x": 64, "a": 64, "b": 128, "y": 64}, ["x"], ["y"])

    assert span(laid_out(256)) == 64 + 256 + 128 + 64
    assert span(laid_out(32)) == 64 + 128 + 64
    found = laid_out(256, 32)
    assert {Scratch(1, 0), Scratch(1, 1)} < found.keys()
    assert found[Scratch(1, 0)] == Place(64, 256, 1, 1)


def test_gaps_make_the_arena_larger_than_what_ever_lives_at_once():
    """The large ends of a chain lie at the bottom; its two middle tensors are placed later, on top of them."""
    chain = ["x", "a", "b", "c", "y"]
    calls = [Call("CONV_2D", (read,), (written,)) for read, written in itertools.pairwise(chain)]
    found = place(calls, {"x": 64, "a": 320, "b": 256, "c": 256, "y": 320}, ["x"], ["y"])
    assert {name: p.offset for name, p in found.items()} == {"x": 0, "a": 64, "y": 64, "b": 384, "c": 640}
    assert span(found) == 896, "and never more than 64 + 320 + 256 at once"


def test_nothing_that_lives_at_the_same_time_overlaps():
    for seed in range(200):
        draw = random.Random(seed)
        tensors = ["x"]
        calls, sizes = [], {"x": draw.randint(1, 500)}
        for k in range(draw.randint(1, 12)):
            reads = tuple(draw.choice([*tensors, None]) for _ in range(draw.randint(1, 3)))
            opcode, scratch = draw.choice(["CONV_2D", "ADD", "RESHAPE"]), draw.choice([(), (draw.randint(1, 900),)])
            sizes[f"t{k}"] = sizes[reads[0]] if opcode == "RESHAPE" and reads[0] else draw.choice([64, 100, 700])
            calls.append(Call(opcode if reads[0] else "CONV_2D", reads, (f"t{k}",), scratch))
            tensors.append(f"t{k}")
        places = list(place(calls, sizes, ["x"], tensors[-1:]).values())
        for number, a in enumerate(places):
            assert a.offset % 64 == 0
            for b in places[number + 1 :]:
                apart = a.end <= b.offset or b.end <= a.offset
                assert apart or a.last < b.first or b.last < a.first, (seed, a, b)
        now = range(len(calls))
        assert max(p.end for p in places) >= max(sum(p.size for p in places if p.first <= t <= p.last) for t in now)


def test_alignment():
    assert [aligned(size) for size in (0, 1, 64, 65)] == [0, 64, 64, 128]
