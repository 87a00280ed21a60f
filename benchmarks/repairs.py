"""What each of the cheap repairs is worth, alone and together: int8 everywhere, judged on all evaluation images.

    bitplan analyze mobilenetv2_cifar10_96.tflite --calibration cifar10.npz:x_unlabelled \\
        --evaluation cifar10.npz:x_eval,y_eval --resize 96 --scale tf --out analyzed
    python benchmarks/repairs.py analyzed [--targets any,stm32-npu]

Every repair is made from the calibration samples of the analyzed folder, which stays as it is. `held back` is the error
on calibration data that nothing was made from: what a choice between the files could go by. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bitplan as bp
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.verification import Candidate, Reference, evaluate
from bitplan.analyzer.measures.calibration import calibrate
from bitplan.analyzer.network.graph import rebuild_graph
from bitplan.analyzer.schema import Calibration, Plan
from bitplan.run_data import calibration_samples, evaluation_samples, held_back_samples
from bitplan.strategies.assignment.choices import uniform_schemes
from bitplan.strategies.repair.bias_correction import correct_biases
from bitplan.strategies.repair.equalization import equalize
from bitplan.strategies.repair.output_change import largest_change
from bitplan.strategies.repair.ranges import choose_ranges
from bitplan.strategies.targets import load_target
from bitplan.strategies.trial import SAMPLES

LADDERS = (
    (), ("ranges",), ("bias",), ("ranges", "bias"), ("equalization",), ("equalization", "bias"),
    ("equalization", "ranges"), ("equalization", "ranges", "bias"),
)  # fmt: skip
"""Each behind the one that it goes on from."""


@dataclass(frozen=True)
class Network:
    """A float network on its way through repairs.

    Attributes:
      reference: The float network whose values a bias correction aims at.
    """

    flatbuffer: bytes
    calibration: Calibration
    reference: bytes


class Bench:
    """One analyzed network and its samples."""

    def __init__(self, run: Any) -> None:
        self.run, self.samples = run, calibration_samples(run)
        self.held_back = held_back_samples(run, SAMPLES)
        self._steps: dict[str, Callable[[Network, Plan], Network]] = {
            "ranges": self._ranges, "bias": self._bias, "equalization": self._equalization,
        }  # fmt: skip

    def plan(self, name: str) -> Plan:
        """int8 everywhere for a target."""
        target = load_target(name)
        schemes = [scheme.name for scheme in uniform_schemes(self.run.graph, "w8a8", target)]
        return Plan.bare(self.run.graph, schemes, per_channel=target.per_channel)

    def files(self, plan: Plan) -> dict[str, tuple[bytes, float]]:
        """The file of each ladder and the seconds that its repairs took, by its name."""
        found, made = {}, {}
        for ladder in LADDERS:
            before, seconds = made[ladder[:-1]] if ladder else (self._plain(), 0.0)
            start = time.perf_counter()
            network = self._steps[ladder[-1]](before, plan) if ladder else before
            made[ladder] = network, seconds + time.perf_counter() - start
            graph = rebuild_graph(network.flatbuffer, self.run.graph)
            file = convert(network.flatbuffer, graph, network.calibration, plan).model
            found[" + ".join(ladder) or "plain"] = file, made[ladder][1]
        return found

    def equalization(self) -> str:
        """What it did, in words."""
        found = equalize(self.run.flatbuffer, self.run.graph, self.samples)
        unseen = largest_change(self.run.flatbuffer, found.flatbuffer, self.run.graph, self.held_back)
        held = sum(pair.held for pair in found.pairs)
        return (
            f"equalization: {found.scaled} of {sum(pair.channels for pair in found.pairs)} channels between "
            f"{len(found.pairs)} pairs scaled ({held} of them less than wanted), {found.rounds} rounds; left out "
            f"{dict(found.left_out)}; unpaired {dict(found.unpaired)}; largest change of the float output, in its "
            f"standard deviations: {found.output_change:.1e} on calibration samples, {unseen:.1e} on held-back ones"
        )

    def _plain(self) -> Network:
        return Network(self.run.flatbuffer, self.run.calibration, self.run.flatbuffer)

    def _ranges(self, network: Network, plan: Plan) -> Network:
        graph = rebuild_graph(network.flatbuffer, self.run.graph)
        found = choose_ranges(network.flatbuffer, graph, network.calibration, plan, self.samples)
        return Network(found.flatbuffer, found.calibration, network.reference)

    def _bias(self, network: Network, plan: Plan) -> Network:
        graph = rebuild_graph(network.flatbuffer, self.run.graph)
        found = correct_biases(
            network.flatbuffer, graph, network.calibration, plan, self.samples, reference=network.reference
        )
        return Network(found.flatbuffer, network.calibration, network.reference)

    def _equalization(self, network: Network, plan: Plan) -> Network:
        found = equalize(network.flatbuffer, self.run.graph, self.samples)
        graph = rebuild_graph(found.flatbuffer, self.run.graph)
        calibration = calibrate(found.flatbuffer, graph, self.samples)
        return Network(found.flatbuffer, calibration, found.flatbuffer)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="an analyzed run folder with evaluation data")
    parser.add_argument("--targets", default="any,stm32-npu")
    arguments = parser.parse_args()
    bench = Bench(bp.open_run(arguments.folder, with_plan=False, warn=print))
    reference = Reference(bench.run.flatbuffer, bench.run.graph, bench.held_back)
    print(bench.equalization(), flush=True)
    print("\n| target | repairs | bytes | drop, points (95 %) | error | agreement | held back | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for target in arguments.targets.split(","):
        files = bench.files(bench.plan(target))
        candidates = [Candidate(name, file) for name, (file, _) in files.items()]
        for judged in evaluate(bench.run.flatbuffer, bench.run.graph, candidates, evaluation_samples(bench.run)):
            file, seconds = files[judged.name]
            drop = judged.drop_points
            cells = [
                target, judged.name, str(judged.file_bytes), f"{drop.value:.2f} ({drop.low:.2f} to {drop.high:.2f})",
                f"{judged.error.nmse:.4f}", f"{judged.error.agreement:.2%}", f"{reference.error(file).nmse:.4f}",
                f"{seconds:.0f}",
            ]  # fmt: skip
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
