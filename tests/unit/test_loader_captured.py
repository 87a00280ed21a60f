"""TensorFlow's chatter is kept off the streams of the process, and its end goes into the error."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest
from bitplan.analyzer.errors import UnsupportedModel
from bitplan.analyzer.inputs.captured import captured_output, told_by


def test_neither_python_nor_c_reaches_the_streams(capfd):
    with captured_output() as output:
        print("from python")
        print("to stderr", file=sys.stderr)
        os.write(1, b"from C\n")
        os.write(2, b"error from C\n")
        told = output.tail()
    assert capfd.readouterr() == ("", "")
    assert {line.strip() for line in told.splitlines()} == {"from python", "to stderr", "from C", "error from C"}
    print("afterwards", flush=True)
    os.write(1, b"and from C\n")
    assert capfd.readouterr().out == "afterwards\nand from C\n"


def test_what_c_code_holds_in_its_buffer_does_not_leak_afterwards():
    code = (
        "import ctypes; from bitplan.analyzer.inputs.captured import captured_output; c = ctypes.CDLL(None)\n"
        "c.printf(b'before\\n')\nwith captured_output(): c.printf(b'hidden\\n')\nc.printf(b'after\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("before\nafter\n", "")


def test_warnings_of_others_are_not_shown(recwarn):
    with captured_output():
        warnings.warn("chatter", stacklevel=1)
    assert not recwarn.list


def test_the_streams_are_given_back_after_an_error(capfd):
    with pytest.raises(ValueError, match="inside"), captured_output():
        print("hidden")
        raise ValueError("inside")
    print("seen")
    os.write(2, b"seen too\n")
    assert capfd.readouterr() == ("seen\n", "seen too\n")


def test_text_printed_before_stays_on_the_stream(capfd):
    print("before", end="")
    with captured_output():
        print("hidden")
    assert capfd.readouterr().out == "before"


def test_the_tail_leaves_log_chatter_out_and_keeps_few_lines():
    with captured_output() as output:
        for number in range(20):
            os.write(2, b"I0000 00:00:1 loader.cc:1] chatter\n")
            print(f"line {number}")
        assert output.tail().split("\n") == [f"    line {number}" for number in range(14, 20)]


@pytest.mark.parametrize(("text", "problem", "remedy"), [
    ("Some ops\n\nTF Select ops: Cholesky, Qr\nDetails:", "has no kernel for: Cholesky, Qr", "replace"),
    ("Custom ops: EagerPyFunc\nDetails:", "has no kernel for: EagerPyFunc", "replace"),
    ("TF Select ops: MatMul\nDetails:\n\ttf.MatMul(tensor<1x8xf64>)", "computes in float64", "float32"),
    ("Could not locate class 'Mine'. Make sure", "needs the class Mine", "keras.Model"),
    ("Unknown layer: 'Mine'. Please", "needs the class Mine", "keras.Model"),
    ("Requested ... `safe_mode=False` to", "holds code", "--trust-model"),
    ("Error when deserializing class 'Dense' using config={'a': 1}.\n\nException encountered: no argument b",
     "cannot build the Dense layer of the model: no argument b", "SavedModel"),
    ("\nsomething odd\nmore", "cannot convert the model: something odd", ".tflite"),
    ("", "cannot convert the model: RuntimeError", ".tflite"),
])  # fmt: skip
def test_failures_are_told_in_one_line_with_the_end_of_the_log(text, problem, remedy):
    with pytest.raises(UnsupportedModel) as caught, captured_output() as output, told_by(output, "the model"):
        print("what the converter said last")
        raise RuntimeError(text)
    first, *rest = caught.value.problem.split("\n")
    assert problem.replace("has no kernel", "TFLite has no kernel") in first and remedy in caught.value.remedy
    assert rest == ["    what the converter said last"]
