"""The repairs as a ladder tries them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ...analyzer.measures.calibration import calibrate, with_per_tensor_sums
from ...analyzer.schema import Graph, Plan
from .bias_correction import correct_biases
from .distillation import Training, distill
from .equalization import equalize
from .material import Effort, Made, Material, Network
from .ranges import choose_ranges
from .rounding import learn_rounding
from .schedule import Schedule

_ROUNDING_SAMPLES = 1024


@dataclass(frozen=True)
class Repair:
    """A way to repair.

    Attributes:
      name: As on the command line.
      title: For the line of progress.
      weight: What it gets of a time budget beside the others.
      simulates: Whether it needs the network as a function with gradients.
      make: Repairs a network.
      unsuitable: Why it is nothing for a network under a plan; "" where it may be.
    """

    name: str
    title: str
    weight: float
    simulates: bool
    make: Callable[[Material, Network, Effort], Made]
    unsuitable: Callable[[Graph, Plan], str] = lambda _graph, _plan: ""


def _ranges(material: Material, network: Network, effort: Effort) -> Made:
    found = choose_ranges(
        network.flatbuffer, material.graph_of(network), network.calibration, material.plan,
        material.calibration_samples, method=material.range_method, workers=material.workers, progress=effort.progress,
    )  # fmt: skip
    weights = sum(choice.op is not None for choice in found.choices)
    fact = (
        f"{len(found.choices) - weights} activations and the weights of {weights} layers have other ranges than their "
        f"extremes, of {found.considered}"
    )
    return Made(replace(network, flatbuffer=found.flatbuffer, calibration=found.calibration), (fact,))


def _bias_correction(material: Material, network: Network, effort: Effort) -> Made:
    found = correct_biases(
        network.flatbuffer, material.graph_of(network), network.calibration, material.plan,
        material.calibration_samples, reference=network.reference, progress=effort.progress,
    )  # fmt: skip
    facts = [f"the biases of {len(found.layers)} layers were moved, on {found.samples} samples"]
    if found.layers:
        most = max(found.layers, key=lambda layer: layer.shift)
        facts.append(f"most in {most.layer}: by {most.shift:.2g} standard deviations of its output")
    return Made(replace(network, flatbuffer=found.flatbuffer), tuple(facts))


def _equalization(material: Material, network: Network, effort: Effort) -> Made:
    if any(seen.declared for seen in network.calibration.ranges.values()):
        return Made(network, ("left alone: the model itself declares ranges, which scaling would make wrong",))
    found = equalize(
        network.flatbuffer, material.graph_of(network), material.calibration_samples, workers=material.workers
    )  # fmt: skip
    channels = sum(pair.channels for pair in found.pairs)
    if found.undone:
        fact = f"undone: it would have moved the float output by {found.output_change:.2g} standard deviations"
        return Made(network, (fact,))
    graph = material.graph_of(replace(network, flatbuffer=found.flatbuffer))
    ranges = calibrate(
        found.flatbuffer, graph, material.calibration_samples, workers=material.workers, progress=effort.progress
    )
    if not material.plan.per_channel:
        ranges = with_per_tensor_sums(
            found.flatbuffer, graph, ranges, material.calibration_samples, workers=material.workers
        )  # fmt: skip
    left_out = "".join(f"; {count} not: {why}" for why, count in sorted(found.left_out.items()))
    facts = (
        f"{found.scaled} of {channels} channels between {len(found.pairs)} pairs of layers were scaled{left_out}",
        f"the float output moved by {found.output_change:.1g} standard deviations",
    )
    return Made(Network(found.flatbuffer, ranges, found.flatbuffer), facts)


def _rounding(material: Material, network: Network, effort: Effort) -> Made:
    found = learn_rounding(
        network.flatbuffer, material.graph_of(network), network.calibration, material.plan,
        material.samples.take(min(_ROUNDING_SAMPLES, len(material.samples))),
        reference=network.reference, schedule=Schedule(seed=material.seed), time_budget_s=effort.seconds,
        progress=effort.progress,
    )  # fmt: skip
    moved, weights = sum(layer.moved for layer in found.layers), sum(layer.weights for layer in found.layers)
    fact = f"{moved} of {weights} weights in {len(found.layers)} layers are rounded the other way, learned from"
    return Made(replace(network, flatbuffer=found.flatbuffer), (f"{fact} {found.samples} samples",))


def _distillation(material: Material, network: Network, effort: Effort) -> Made:
    found = distill(
        network.flatbuffer, material.graph_of(network), network.calibration, material.plan, material.samples,
        material.held_back, teacher=network.reference, training=Training(seed=material.seed),
        time_budget_s=effort.seconds, progress=effort.progress,
    )  # fmt: skip
    facts = (
        f"{found.steps} steps on {found.samples} samples; the network after step {found.chosen} was the best on the "
        "held-back ones",
    )
    return Made(replace(network, flatbuffer=found.flatbuffer), facts, found.curve)


def _has_no_narrow_weights(_graph: Graph, plan: Plan) -> str:
    narrow = any(scheme.weight_bits in (4, 8) and not scheme.is_split for scheme in plan.schemes)
    return "" if narrow else "the plan has no weights in 4 or 8 bits"


def _has_scales_for_channels(_graph: Graph, plan: Plan) -> str:
    """Weights with a scale for each channel have nothing to even out."""
    return "every channel of weights has a scale of its own already" if plan.per_channel else ""


RUNGS: Mapping[str, Repair] = {
    repair.name: repair
    for repair in (
        Repair(
            "equalization",
            "Evening out weight ranges between layers",
            1,
            False,
            _equalization,
            _has_scales_for_channels,
        ),
        Repair("ranges", "Choosing ranges", 1, False, _ranges),
        Repair("bias_correction", "Correcting biases", 1, True, _bias_correction),
        Repair("rounding", "Learning how to round weights", 3, True, _rounding, _has_no_narrow_weights),
        Repair("distillation", "Teaching the quantized network what the float network says", 9, True, _distillation),
    )
}
"""By name, in the order of `REPAIRS`."""
