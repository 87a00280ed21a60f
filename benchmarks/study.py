"""What a calibration study costs beside its evaluations, in evaluations.

    python benchmarks/study.py mobilenetv2_cifar10_96.tflite --calibration cifar10.npz:x_unlabelled \
        --evaluation cifar10.npz:x_eval,y_eval --resize 96 --scale tf

The whole design unless told otherwise: 5 sizes, 5 seeds and 4 ways to choose ranges, from one pool of 1000 samples. One
evaluation is one int8 file on all evaluation samples, the mean over all files of the study.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time
from collections.abc import Sequence

import bitplan
from bitplan.analyzer.runs import RunFolder
from bitplan.analyzer.schema import Study
from bitplan.record import Measured
from bitplan.strategies.study import METHOD_NAMES, SEEDS, SIZES

_MAKING = ("statistics_s", "ranges_s", "conversion_s")


def report(found: Study, stages: dict[str, float], wall: float) -> str:
    """The stages and their sum in evaluations.

    Args:
      found: The study.
      stages: Seconds by stage.
      wall: Seconds of the whole command.
    """
    files = sum(band.seeds for band in found.bands)
    one = stages["evaluation_s"] / files
    making, held_back = sum(stages[name] for name in _MAKING), stages["held_back_s"]
    rest = wall - making - held_back - stages["evaluation_s"]
    lines = [f"{files} files, {found.pool} samples in the pool, {found.evaluation} evaluation samples"]
    lines += [f"{name[:-2].replace('_', ' '):<12} {seconds:7.2f} s" for name, seconds in sorted(stages.items())]
    lines += [
        f"the rest     {rest:7.2f} s: reading model and data, float's own answers, the page",
        f"one evaluation {one:.2f} s",
        f"statistics, ranges and files: {making:.2f} s, {making / one:.1f} evaluations",
        f"with {found.held_back} held-back samples for each file: {making + held_back:.2f} s, "
        f"{(making + held_back) / one:.1f} evaluations",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the study into a temporary folder and prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model")
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--evaluation", required=True)
    parser.add_argument("--resize", type=int)
    parser.add_argument("--scale", default="raw")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--methods", default=",".join(METHOD_NAMES))
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "study"
        start = time.perf_counter()
        found = bitplan.calibrate_study(
            given.model, given.calibration, evaluation=given.evaluation, resize=given.resize, scale=given.scale,
            sizes=[int(size) for size in given.sizes.split(",")], seeds=given.seeds, methods=given.methods.split(","),
            out=out,
        )  # fmt: skip
        wall = time.perf_counter() - start
        stages = dict(RunFolder.open(out).load("measured", Measured).figures)
    print(report(found, stages, wall))


if __name__ == "__main__":
    main()
