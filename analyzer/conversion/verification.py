"""The emitted file on the real interpreter: output error, agreement, accuracy, bytes and memory, beside its baselines.

Every file is run on the same samples as the float model, sample by sample, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from ..measures.calibration import Progress
from ..measures.flips import are_probabilities
from ..measures.metrics import ErrorSums
from ..measures.per_sample import (
    Metric,
    agreements,
    log_softmax,
    output_variance,
    per_sample_metric,
    right_answers,
)
from ..measures.statistics import mcnemar_exact, paired_bootstrap
from ..measures.sweep import LabelledSource
from ..network import flatbuffer as fb
from ..network import runtime
from ..network.subgraph import Cutter
from ..schema import Evaluation, Graph, Interval, OutputError

_SLOW_SUBSET_MACS = 25e9
"""Multiply-accumulates that a file with 16-bit kernels gets: some 20 s on two cores."""

_REFERENCE_SUBSET_MACS = 5e9
"""The same for reference kernels."""

_SMALLEST_SUBSET = 100


@dataclass(frozen=True)
class Candidate:
    """A file to be judged.

    Attributes:
      name: As in `Evaluation.name`.
      flatbuffer: The file's bytes.
      kernels: See `runtime.Runner`.
      limit: Only the first samples, at most so many; None for all.
      compared: The file's tensors that stand for `Graph.compared`; None finds them by name, which conversion keeps.
    """

    name: str
    flatbuffer: bytes
    kernels: str = "xnnpack"
    limit: int | None = None
    compared: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Answers:
    """What one file says of samples, all or the first ones: the compared tensors and the outputs, arrays [n, ...]."""

    compared: list[np.ndarray]
    outputs: list[np.ndarray]


@dataclass(frozen=True)
class PairedDrop:
    """What each sample loses.

    Attributes:
      differences: float64 [n], float minus quantized; None where nothing can be counted.
      drop_of: As in `Evaluation.drop_of`; "" where there are no differences.
      unit: See `statistics.paired_bootstrap`.
      mcnemar_p: Exact McNemar test; None unless right answers were counted.
      float_mean: Of the float network's right answers, or of its metric; None for an agreement.
    """

    differences: np.ndarray | None = None
    drop_of: str = ""
    unit: float = 100.0
    mcnemar_p: float | None = None
    float_mean: float | None = None


def slow_subset(graph: Graph) -> int:
    """How many samples a file with 16-bit kernels is judged on; they are some 50 times slower on a CPU."""
    return max(_SMALLEST_SUBSET, int(_SLOW_SUBSET_MACS / max(1, sum(op.macs for op in graph.ops))))


def reference_subset(graph: Graph) -> int:
    """How many samples the reference kernels are run on."""
    return max(_SMALLEST_SUBSET, int(_REFERENCE_SUBSET_MACS / max(1, sum(op.macs for op in graph.ops))))


def evaluate(
    float_data: bytes,
    graph: Graph,
    candidates: Sequence[Candidate],
    samples: LabelledSource,
    *,
    metric: Metric | None = None,
    seed: int = 0,
    workers: int = runtime.DEFAULT_WORKERS,
    progress: Progress | None = None,
) -> tuple[Evaluation, ...]:
    """Judges files on samples, paired with the float model.

    Args:
      float_data: The float flatbuffer.
      graph: Of `float_data`.
      candidates: The files; the float model need not be among them.
      samples: With labels where there are some.
      metric: A user's metric of the outputs, see `per_sample.Metric`.
      seed: Of the bootstrap.
      workers: Threads.
      progress: Called with (samples done, samples in all).

    Returns:
      One evaluation for each candidate, in order.
    """
    answers = run_candidates(float_data, graph, candidates, samples, workers=workers, progress=progress)
    return judge(graph, candidates, answers, samples, metric=metric, seed=seed)


def run_candidates(
    float_data: bytes, graph: Graph, candidates: Sequence[Candidate], samples: LabelledSource,
    *, workers: int = runtime.DEFAULT_WORKERS, progress: Progress | None = None,
) -> list[Answers]:  # fmt: skip
    """The first half of `evaluate`: the answers of the float model, then of each candidate."""
    files = [with_compared(float_data, graph), *(with_compared(c.flatbuffer, graph, c.compared) for c in candidates)]
    limits = [len(samples), *(min(c.limit or len(samples), len(samples)) for c in candidates)]
    kernel_names = ["xnnpack", *(c.kernels for c in candidates)]
    return _run_all(files, limits, kernel_names, len(graph.compared), samples, workers, progress)


def judge(
    graph: Graph, candidates: Sequence[Candidate], answers: Sequence[Answers], samples: LabelledSource,
    *, metric: Metric | None = None, seed: int = 0,
) -> tuple[Evaluation, ...]:  # fmt: skip
    """The second half of `evaluate`: what the answers of `run_candidates` are worth."""
    reference, *found = answers
    variances = [output_variance(values) for values in reference.compared]
    return tuple(
        _judge(graph, candidate, reference, answer, variances, samples, metric, seed)
        for candidate, answer in zip(candidates, found, strict=True)
    )


def outputs_of(
    file: bytes, samples: LabelledSource, *, kernels: str = "xnnpack", limit: int | None = None,
    workers: int = runtime.DEFAULT_WORKERS, progress: Progress | None = None,
) -> list[np.ndarray]:  # fmt: skip
    """A file's outputs on samples, or on the first ones: one array [n, ...] each, dequantized."""
    count = min(limit or len(samples), len(samples))
    return _run_all([file], [count], [kernels], 0, samples, workers, progress)[0].outputs


def paired_drop(
    graph: Graph, reference: Sequence[np.ndarray], found: Sequence[np.ndarray], labels: np.ndarray | None,
    metric: Metric | None = None,
) -> PairedDrop:  # fmt: skip
    """What each sample loses of the user's metric, of accuracy or, without labels, of agreement with float.

    Args:
      graph: Of the float network.
      reference: Its outputs, arrays [n, ...].
      found: The file's outputs, for the same samples.
      labels: [n], or None.
      metric: See `per_sample.Metric`.
    """
    if metric is not None:
        before = np.array(per_sample_metric(metric, reference, reference, labels))
        after = np.array(per_sample_metric(metric, found, reference, labels))
        return PairedDrop(before - after, "metric", 1.0, None, float(before.mean()))
    if not graph.is_classifier:
        return PairedDrop()
    if labels is None:
        return PairedDrop(100.0 * ~agreements(reference[0], found[0]), "agreement")
    before, after = (right_answers(scores, labels) for scores in (reference[0], found[0]))
    p_value = mcnemar_exact(int((before & ~after).sum()), int((~before & after).sum()))
    return PairedDrop(100.0 * (before.astype(float) - after), "accuracy", 100.0, p_value, float(before.mean()))


@dataclass(frozen=True)
class Comparison:
    """One file beside the float network on the same samples.

    Attributes:
      error: At the output.
      drops: float64 [n], percentage points of accuracy that each sample loses; None where no classes are scored.
      drop_of: `accuracy` where there are labels; else `expected accuracy`, see `Reference`.
    """

    error: OutputError
    drops: np.ndarray | None
    drop_of: str


class Reference:
    """The float network's answers to some samples, to hold many files against; no user's metric.

    Without labels a drop of accuracy can still be expected: where the float network's probabilities p are right about
    how often its classes are, a sample loses p(class that float chooses) - p(class that the file chooses). Networks
    tend to be surer than they are right (Guo et al., On Calibration of Modern Neural Networks, 2017), which makes the
    figure too large rather than too small.

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      samples: With labels where there are some.
      workers: Threads.
    """

    def __init__(
        self, data: bytes, graph: Graph, samples: LabelledSource, *, workers: int = runtime.DEFAULT_WORKERS
    ) -> None:
        self._graph, self._samples, self._workers = graph, samples, workers
        self._answers = self._run(data)
        self._variances = [output_variance(values) for values in self._answers.compared]

    def error(self, file: bytes, limit: int | None = None, *, exposed: bool = False) -> OutputError:
        """Output error of one file on all samples, or on the first ones; `exposed`: it is `with_compared` already."""
        return self._error(self._run(file, limit, exposed))

    def compare(self, file: bytes, limit: int | None = None, *, exposed: bool = False) -> Comparison:
        """Error and drop of one file, otherwise as `error`."""
        found = self._run(file, limit, exposed)
        drops, drop_of = self._drops(found)
        return Comparison(self._error(found), drops, drop_of)

    def _error(self, found: Answers) -> OutputError:
        labels = self._samples.labels
        return _error(self._graph, self._answers, found, len(found.outputs[0]), self._variances, labels, None)

    def _drops(self, found: Answers) -> tuple[np.ndarray | None, str]:
        if not self._graph.is_classifier:
            return None, ""
        count = len(found.outputs[0])
        scores, answers = self._answers.outputs[0][:count].reshape(count, -1), found.outputs[0].reshape(count, -1)
        labels = self._samples.labels
        if labels is not None:
            return paired_drop(self._graph, [scores], [answers], labels[:count]).differences, "accuracy"
        logits = self._answers.compared[0][:count].reshape(count, -1)
        of_scores = self._graph.compared != self._graph.outputs or not are_probabilities(scores)
        p = np.exp(log_softmax(logits)) if of_scores else scores
        rows = np.arange(count)
        return 100.0 * (p[rows, scores.argmax(1)] - p[rows, answers.argmax(1)]), "expected accuracy"

    def _run(self, file: bytes, limit: int | None = None, exposed: bool = False) -> Answers:
        files = [file if exposed else with_compared(file, self._graph)]
        limits = [min(limit or len(self._samples), len(self._samples))]
        compared = len(self._graph.compared)
        (found,) = _run_all(files, limits, ["xnnpack"], compared, self._samples, self._workers, None)
        return found


def with_compared(data: bytes, graph: Graph, places: tuple[int, ...] | None = None) -> bytes:
    """The file with the compared tensors as first outputs, its own outputs behind them.

    Conversion keeps the names of tensors; the file that ships is not touched.
    """
    cutter = Cutter(data)
    own = cutter.outputs
    compared = places or [
        own[k] if c == o else cutter.tensor(graph.tensors[c].name)
        for k, (c, o) in enumerate(zip(graph.compared, graph.outputs, strict=True))
    ]
    return cutter.whole([*compared, *own]).flatbuffer


def _run_all(
    files: Sequence[bytes], limits: Sequence[int], kernel_names: Sequence[str], compared: int,
    samples: LabelledSource, workers: int, progress: Progress | None,
) -> list[Answers]:  # fmt: skip
    """Runs every file on every sample it is due, preparing each sample once; equal files run once."""
    keys = list(zip((fb.digest(f) for f in files), kernel_names, strict=True))
    due: dict[tuple[str, str], int] = {}
    for key, limit in zip(keys, limits, strict=True):
        due[key] = max(limit, due.get(key, 0))
    content = dict(zip(keys, files, strict=True))
    done = [0] * workers

    def part(worker: int) -> list[tuple[int, dict[tuple[str, str], list[np.ndarray]]]]:
        runners = {key: runtime.Runner(content[key], kernels=key[1]) for key in due}
        rows = []
        for position in range(worker, max(due.values()), workers):
            sample = [array[0] for array in samples.block(position, position + 1)]
            rows.append((position, {k: runtime.run_one(runners[k], sample) for k in due if position < due[k]}))
            done[worker] += 1
            if progress:
                progress(sum(done), max(due.values()))
        return rows

    with ThreadPoolExecutor(workers) as pool:
        by_position = dict(row for rows in pool.map(part, range(workers)) for row in rows)
    whole = {}
    for key, count in due.items():
        taken = [by_position[position][key] for position in range(count)]
        whole[key] = [np.stack([row[i] for row in taken]) for i in range(len(taken[0]))]
    answers = []
    for key, limit in zip(keys, limits, strict=True):
        arrays = [values[:limit] for values in whole[key]]
        answers.append(Answers(arrays[:compared], arrays[compared:]))
    return answers


def _judge(
    graph: Graph, candidate: Candidate, reference: Answers, answer: Answers, variances: Sequence[float],
    samples: LabelledSource, metric: Metric | None, seed: int,
) -> Evaluation:  # fmt: skip
    limit = len(answer.outputs[0])
    labels = None if samples.labels is None else samples.labels[:limit]
    drop = paired_drop(graph, [values[:limit] for values in reference.outputs], answer.outputs, labels, metric)
    return Evaluation(
        name=candidate.name,
        file_bytes=len(candidate.flatbuffer),
        arena_bytes=runtime.arena_bytes(candidate.flatbuffer),
        kernels=candidate.kernels,
        error=_error(graph, reference, answer, limit, variances, samples.labels, metric),
        drop_points=None if drop.differences is None else _interval(drop.differences, drop.drop_of, seed, drop.unit),
        drop_of=drop.drop_of,
        mcnemar_p=drop.mcnemar_p,
        discordant=_discordant(drop.differences) if drop.drop_of in ("accuracy", "agreement") else None,
        subset=limit < len(samples),
        float_accuracy=drop.float_mean,
    )


def _discordant(differences: np.ndarray | None) -> tuple[int, int] | None:
    return None if differences is None else (int((differences > 0).sum()), int((differences < 0).sum()))


def _interval(differences: np.ndarray, drop_of: str, seed: int, unit: float) -> Interval:
    found = paired_bootstrap(differences, seed=seed, unit=unit)
    # Disagreement cannot be negative, though an interval that is symmetric for small counts can.
    return replace(found, low=max(found.low, 0.0)) if drop_of == "agreement" else found


def _error(
    graph: Graph, reference: Answers, answer: Answers, limit: int, variances: Sequence[float],
    labels: np.ndarray | None, metric: Metric | None,
) -> OutputError:  # fmt: skip
    """Error at the compared tensors; top-1 figures from the outputs themselves, ties and all."""
    compared = ErrorSums.of(
        [values[:limit].reshape(limit, -1) for values in reference.compared],
        [values.reshape(limit, -1) for values in answer.compared],
        variances=variances,
        is_classifier=graph.is_classifier,
        are_logits=graph.compared != graph.outputs,
    )
    agree = right = judged = None
    if graph.is_classifier:
        agree = tuple(agreements(reference.outputs[0][:limit], answer.outputs[0]).tolist())
        if labels is not None:
            right = tuple(right_answers(answer.outputs[0], labels[:limit]).tolist())
    if metric is not None:
        wanted = [values[:limit] for values in reference.outputs]
        judged = per_sample_metric(metric, answer.outputs, wanted, None if labels is None else labels[:limit])
    return replace(compared, agree=agree, right=right, metric=judged).to_output_error()
