"""What repairs are made from, and what comes of them: one form for all."""

from __future__ import annotations

from dataclasses import dataclass

from ...analyzer.inputs.dataset import Samples
from ...analyzer.measures.calibration import Progress
from ...analyzer.network import runtime
from ...analyzer.network.graph import rebuild_graph
from ...analyzer.schema import Calibration, Graph, HeldBackError, Plan


@dataclass(frozen=True)
class Material:
    """What repairs are made from and judged by.

    Attributes:
      flatbuffer, graph: The float network, whose answers are wanted.
      calibration: Its ranges.
      plan: One scheme for each op.
      calibration_samples: Those of the ranges.
      samples: All to learn from, the former among them.
      held_back: To decide on; none of `samples`.
      range_method: `auto`, or a key of `analyzer.measures.clipping.METHODS`: how the repair of ranges chooses them.
      seed: Of the order of samples in training, and of intervals.
      workers: Threads.
    """

    flatbuffer: bytes
    graph: Graph
    calibration: Calibration
    plan: Plan
    calibration_samples: Samples
    samples: Samples
    held_back: Samples
    range_method: str = "auto"
    seed: int = 0
    workers: int = runtime.DEFAULT_WORKERS

    def graph_of(self, network: Network) -> Graph:
        """The graph of a repaired network."""
        return rebuild_graph(network.flatbuffer, self.graph)


@dataclass(frozen=True)
class Network:
    """A float network to convert.

    Attributes:
      flatbuffer: Its file.
      calibration: Its ranges.
      reference: The float network whose activations it is to have: that of the start, or what equalization made of it.
    """

    flatbuffer: bytes
    calibration: Calibration
    reference: bytes


@dataclass(frozen=True)
class Effort:
    """What a repair may take.

    Attributes:
      seconds: About how long; None for as long as it likes.
      progress: Called with (done, in all).
    """

    seconds: float | None
    progress: Progress


@dataclass(frozen=True)
class Made:
    """A repaired network.

    Attributes:
      network: The network.
      facts: What was changed, a line each.
      curve: Held-back error while training; empty for other repairs.
    """

    network: Network
    facts: tuple[str, ...]
    curve: tuple[HeldBackError, ...] = ()
