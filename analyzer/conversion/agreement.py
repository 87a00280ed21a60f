"""How far a simulated file and LiteRT's kernels agree with one another.

The kernels themselves do not agree: XNNPACK and the reference kernels round sums unlike. A simulation is as good as it
needs to be where it is no further from XNNPACK than the reference kernels are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..measures.calibration import SampleSource
from ..measures.per_sample import agreements, output_variance, per_sample_nmse
from ..network import runtime
from ..schema import Graph, KernelAgreement, Likeness, Plan
from ..silence import import_tensorflow
from .simulation import Simulation
from .verification import with_compared

_BLOCK_BYTES = 16 * 2**20


def kernel_agreement(
    flatbuffer: bytes,
    graph: Graph,
    plan: Plan,
    emitted: bytes,
    samples: SampleSource,
    *,
    workers: int = runtime.DEFAULT_WORKERS,
) -> KernelAgreement:
    """Runs a file simulated, by XNNPACK and by the reference kernels, on the same samples.

    Args:
      flatbuffer: The float network.
      graph: Of `flatbuffer`.
      plan: One scheme for each op.
      emitted: What `converter.convert` made of them.
      samples: At least one; all are run, and kept in memory.
      workers: Threads.

    Raises:
      UnsupportedModel: Some op has no differentiable rule.
    """
    inputs = samples.block(0, len(samples))
    compared, file = len(graph.compared), with_compared(emitted, graph)
    exact = runtime.run_samples(with_compared(flatbuffer, graph), inputs, workers=workers)[:compared]
    variances = [output_variance(values) for values in exact]
    simulated = _simulated(Simulation(flatbuffer, graph, plan, emitted), graph, inputs)
    xnnpack, reference = (
        runtime.run_samples(file, inputs, kernels=kernels, workers=workers)[:compared]
        for kernels in ("xnnpack", "reference")
    )

    def likeness(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> Likeness:
        pairs = list(zip(one, other, variances, strict=True))
        errors = [per_sample_nmse(a, b, variance).tolist() for a, b, variance in pairs]
        return Likeness(
            agreement=float(np.mean(agreements(one[0], other[0]))) if graph.is_classifier else None,
            nmse=math.fsum(error for row in errors for error in row) / (len(samples) * len(pairs)),
        )

    return KernelAgreement(
        simulated_xnnpack=likeness(xnnpack, simulated),
        simulated_reference=likeness(reference, simulated),
        reference_xnnpack=likeness(xnnpack, reference),
        samples=len(samples),
    )


def _simulated(simulation: Simulation, graph: Graph, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The compared outputs of all samples, as `runtime.run_samples` gives them."""
    tf = import_tensorflow()
    tensors = [graph.tensors[t] for t in graph.inputs]
    specs = [tf.TensorSpec([None, *tensor.shape], tensor.dtype) for tensor in tensors]
    run = tf.function(lambda x: simulation(x), autograph=False, input_signature=[specs])
    count = len(inputs[0])
    size = max(1, min(64, _BLOCK_BYTES // sum(values[:1].nbytes for values in inputs)))
    rows = []
    for start in range(0, count, size):
        block = [values[start : start + size] for values in inputs]
        given = [tf.constant(v.reshape(len(v), *t.shape)) for v, t in zip(block, tensors, strict=True)]
        rows.append([values.numpy() for values in run(given)])
    whole = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    return [v.reshape(count, *v.shape[2:]) if v.ndim > 2 and v.shape[1] == 1 else v for v in whole]
