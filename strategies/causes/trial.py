"""Runs the mends: in the float network with the file's numbers, or the file itself on other inputs and kernels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ...analyzer.conversion.verification import with_compared
from ...analyzer.inputs.dataset import Samples
from ...analyzer.measures.per_sample import agreements, right_answers
from ...analyzer.measures.statistics import paired_bootstrap
from ...analyzer.measures.substitution import Ingredients, Substituted
from ...analyzer.network import runtime
from ...analyzer.schema import CAUSES, RULED_OUT, TESTED, Cause, Interval
from .case import Case, Mend, ruled_out
from .inputs import OtherInput, other_inputs
from .order import Found, Touched, is_effective, percent, share_of_error, touched
from .yardstick import Yardstick

_SCREENED = 64
"""Samples that every mend is run on first; what does next to nothing there goes no further."""

_WORTH_MORE = 0.005
"""Share of the error that a mend must take on those to be run on all samples."""

_ONE_IS_ALL = 0.8
"""Share of a group's effect from which its worst member alone is the cause."""

_JUMP = 0.3
"""Share of the error that must go for inputs to have been the wrong ones: on broken files chance wins up to 5 %."""

_ACCURACY_MACS = 60e9
"""Multiply-accumulates of the float network that each cause's accuracy is measured with: some seconds on two cores."""

_REFERENCE_MACS = 2e9
"""The same for the reference kernels, which are some 20 times slower."""

_LEAST_SAMPLES = 100


class Bench:
    """One file on the studied samples, ready to be mended.

    Args:
      case: The file and its parent.
      places: Tensors of the file that stand for `Graph.compared`.
      studied: What error is measured on.
      evaluation: What accuracy is measured on: no mend is chosen by it.
      seed: Of intervals.
      workers: Threads.
    """

    def __init__(
        self, case: Case, places: Sequence[int], studied: Samples, evaluation: Samples, *, seed: int, workers: int
    ) -> None:
        self.case, self._studied, self._evaluation = case, studied, evaluation
        self._seed, self._workers = seed, workers
        self._file = with_compared(case.file, case.graph, tuple(places))
        self._float = with_compared(case.data, case.graph)
        self._inputs = studied.block(0, len(studied))
        self._network = Substituted(case.data, case.graph)
        self._screened = studied.take(_SCREENED)
        self.yardstick = Yardstick(case.graph, self._run(self._float, self._inputs))
        self.errors = self.yardstick.errors(self._run(self._file, self._inputs))
        self.simulated = self._mended(case.numbers, studied)
        self._scores: np.ndarray | None = None
        self._reference: np.ndarray | None = None

    # --- mends in the float network ----------------------------------------------------------------------------------

    def try_mend(self, mend: Mend) -> Found | Cause:
        """Runs a mend, and where it is one of several layers the worst of them alone."""
        screened = self._share(mend.numbers, self._screened)
        if screened[0].value < _WORTH_MORE:
            return self._against(mend, screened[0], len(self._screened))
        share, errors = self._share(mend.numbers, self._studied)
        if not is_effective(share):
            return self._against(mend, share, len(self._studied))
        if mend.worst is not None:
            alone, alone_errors = self._share(mend.worst.numbers, self._studied)
            if alone.value >= _ONE_IS_ALL * share.value:
                said = (
                    f"{mend.worst.evidence}; all {mend.layers} such together take {percent(share.value)} of the error"
                )
                return self._found(replace(mend.worst, evidence=said), alone, alone_errors)
            mend = replace(mend, evidence=f"{mend.evidence}, which alone takes {percent(alone.value)} of the error")
        return self._found(mend, share, errors)

    def _share(self, numbers: Ingredients, samples: Samples) -> tuple[Interval, np.ndarray]:
        errors = self._mended(numbers, samples)
        return share_of_error(self.simulated[: len(errors)], errors, self._seed), errors

    def _mended(self, numbers: Ingredients, samples: Samples) -> np.ndarray:
        return self.yardstick.errors(self._network.outputs(samples, numbers))

    def _found(self, mend: Mend, share: Interval, errors: np.ndarray) -> Found:
        said = f"{mend.evidence}; mended alone, {_fall(self.simulated, errors)}"
        return Found(
            self._cause(mend, share, said, len(errors)), errors, touched(self.case.numbers, mend.numbers), mend
        )

    def _cause(self, mend: Mend, share: Interval, said: str, samples: int) -> Cause:
        return Cause(
            mend.name, mend.layer, TESTED, share.value, said, CAUSES[mend.name].remedy, layers=mend.layers,
            share_interval=_over(share, samples), samples=samples,
        )  # fmt: skip

    def _against(self, mend: Mend, share: Interval, samples: int) -> Cause:
        said = f"{mend.evidence}; mended, {_taken(share.value)} of the error goes"
        return replace(self._cause(mend, share, said, samples), status=RULED_OUT)

    # --- the file itself ---------------------------------------------------------------------------------------------

    def try_inputs(self) -> list[Found | Cause]:
        """Runs the file on other inputs, and keeps the best of each kind."""
        first = [values[:_SCREENED] for values in self._inputs]
        best: dict[str, tuple[float, OtherInput]] = {}
        counts: dict[str, int] = {}
        for other in other_inputs(self.case):
            errors = self.yardstick.errors(self._run(self._file, other.change(first)))
            share = share_of_error(self.errors[: len(errors)], errors, self._seed).value
            counts[other.name] = counts.get(other.name, 0) + 1
            if other.name not in best or share > best[other.name][0]:
                best[other.name] = share, other
        missing = [name for name in ("channel_order", "input_scaling") if name not in best]
        results: list[Found | Cause] = [ruled_out(name, _NO_WAY[name]) for name in missing]
        for name, (share, other) in best.items():
            if share < _JUMP:
                said = f"{counts[name]} other ways tried on {len(first[0])} samples"
                results.append(ruled_out(name, f"{said}; the best, {other.said}, takes {_taken(share)} of the error"))
                continue
            results.append(self._found_input(other, counts[name]))
        return results

    def _found_input(self, other: OtherInput, tried: int) -> Found:
        errors = self.yardstick.errors(self._run(self._file, other.change(self._inputs)))
        share = share_of_error(self.errors, errors, self._seed)
        said = f"the file itself run on {other.said}, the best of {tried} ways: {_fall(self.errors, errors)}"
        cause = Cause(
            other.name, other.layer, TESTED, share.value, said, CAUSES[other.name].remedy, layers=1,
            share_interval=_over(share, len(errors)), samples=len(errors),
        )  # fmt: skip
        return Found(cause, errors, frozenset(), other)

    def try_kernels(self) -> Found | Cause:
        """Runs the file by the reference kernels."""
        name, macs = "kernel_difference", sum(op.macs for op in self.case.graph.ops)
        count = min(len(self._studied), max(16, int(_REFERENCE_MACS / max(1, macs))))
        inputs = [values[:count] for values in self._inputs]
        outputs = runtime.run_samples(self._file, inputs, kernels="reference", workers=self._workers)
        errors = self.yardstick.errors(outputs[: len(self.case.graph.compared)])
        share = share_of_error(self.errors[:count], errors, self._seed)
        said = f"reference kernels instead of XNNPACK: {_fall(self.errors[:count], errors)}"
        cause = Cause(
            name, "", TESTED, share.value, said, CAUSES[name].remedy, share_interval=_over(share, count), samples=count
        )  # fmt: skip
        return Found(cause, errors, _KERNELS) if is_effective(share) else replace(cause, status=RULED_OUT)

    def _run(self, file: bytes, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return runtime.run_samples(file, inputs, workers=self._workers)[: len(self.case.graph.compared)]

    # --- accuracy ----------------------------------------------------------------------------------------------------

    def with_accuracy(self, found: Found) -> Cause:
        """The cause with what mending it gives back on evaluation samples; as it is where no classes are scored."""
        if not self.case.graph.is_classifier or found.mend is None:
            return found.cause
        judged = self._evaluation.take(self._judged)
        before, after = self._answers(found.mend, judged)
        wanted = self._right(judged)
        gained = 100.0 * (wanted(after).astype(float) - wanted(before).astype(float))
        interval = paired_bootstrap(gained, seed=self._seed, unit=100.0)
        lost = wanted(self._float_scores(judged)).astype(float) - wanted(before).astype(float)
        return replace(
            found.cause, accuracy_recovered=interval, accuracy_samples=len(judged),
            accuracy_lost=100.0 * float(lost.mean()),
        )  # fmt: skip

    @property
    def _judged(self) -> int:
        macs = sum(op.macs for op in self.case.graph.ops)
        return max(_LEAST_SAMPLES, int(_ACCURACY_MACS / max(1, macs)))

    def _answers(self, mend: Mend | OtherInput, judged: Samples) -> tuple[np.ndarray, np.ndarray]:
        """Scores [samples, classes] without and with a mend."""
        if isinstance(mend, Mend):
            return self._simulated(judged), self._network.outputs(judged, mend.numbers)[0]
        inputs = judged.block(0, len(judged))
        return self._run(self._file, inputs)[0], self._run(self._file, mend.change(inputs))[0]

    def _simulated(self, judged: Samples) -> np.ndarray:
        if self._scores is None:
            self._scores = self._network.outputs(judged, self.case.numbers)[0]
        return self._scores

    def _right(self, judged: Samples) -> Callable[[np.ndarray], np.ndarray]:
        """Which scores give the right class: the label's, or the float model's where there are no labels."""
        if judged.labels is not None:
            labels = judged.labels
            return lambda scores: right_answers(scores, labels)
        reference = self._float_scores(judged).reshape(len(judged), -1)
        return lambda scores: agreements(reference, scores.reshape(len(judged), -1))

    def _float_scores(self, judged: Samples) -> np.ndarray:
        if self._reference is None:
            self._reference = self._run(self._float, judged.block(0, len(judged)))[0]
        return self._reference


_NO_WAY = {
    "channel_order": "no input has 2 to 4 channels",
    "input_scaling": "the inputs have no range that is commonly normalised",
}

_KERNELS: Touched = frozenset({("kernels", "")})


def _over(share: Interval, samples: int) -> Interval | None:
    """An interval over samples; one sample has none."""
    return share if samples > 1 else None


def _fall(before: np.ndarray, after: np.ndarray) -> str:
    return f"the output error goes from {before.mean():.4g} to {after.mean():.4g} on {_samples(len(after))}"


def _samples(number: int) -> str:
    return f"{number} sample{'' if number == 1 else 's'}"


def _taken(share: float) -> str:
    return percent(share, 1) if math.isfinite(share) else "none"
