"""Self-distillation: quantization-aware fine-tuning of a float flatbuffer, without labels.

The float network teaches; the planned mixed-precision network, rounding as its file does, learns to say the same. What
was learned goes back into the float flatbuffer, which then converts, by the same plan and ranges, to what was trained.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ...analyzer.conversion.converter import convert
from ...analyzer.conversion.simulation import Simulation
from ...analyzer.errors import UnsupportedModel
from ...analyzer.measures.calibration import Progress
from ...analyzer.measures.per_sample import output_variance
from ...analyzer.network.constants import replace_constants
from ...analyzer.network.differentiable import uncovered
from ...analyzer.schema import Calibration, Graph, HeldBackError, Plan
from ...analyzer.silence import import_tensorflow
from ...analyzer.units import content_key, versions_of
from .augmentation import Augmentation
from .checkpoint import Checkpoint
from .lessons import Lessons, TrainingSamples

if TYPE_CHECKING:
    from .student import Student

_VERSION = "distillation-1"
_PACKAGES = ("bitplan", "tensorflow", "numpy", "litert-quantizer")
_TRIAL_STEPS = 8
_RESERVE = 1.1
"""Time that an epoch may take beyond what its steps took in the trial: preparing batches, judging."""


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
      epochs: How often every sample is learned from; fewer where a time budget does not allow them.
      rate: The share of a grid's step by which a step of Adam moves a weight at first; it falls to 0 as a cosine does.
      batch: Samples in a step.
      learn_scales: Whether the steps of 4-bit weights are learned too.
      augmentation: How colour images are changed before they are learned from; nothing else is.
      label_weight: Share that labels have in the loss of a classifier, where there are some; float's answers have the
        rest.
      seed: Of the order of the samples.
    """

    epochs: int = 20
    rate: float = 0.003
    batch: int = 32
    learn_scales: bool = True
    augmentation: Augmentation = field(default_factory=Augmentation)
    label_weight: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Distillation:
    """What came of training.

    Attributes:
      flatbuffer: The float network with the learned weights and biases; the original where training did not help.
      curve: Held-back error before training and after each epoch.
      chosen: The step whose network this is: that with the least held-back error.
      planned_epochs: For how many the rate's decay was laid out. The same number as `Training.epochs`, without a time
        budget, gives the same flatbuffer again.
      loss: `kl` (divergence from the float network's class distribution, nats) or `nmse`.
      samples, held_back: How many were trained on, and how many chose.
    """

    flatbuffer: bytes
    curve: tuple[HeldBackError, ...]
    chosen: int
    planned_epochs: int
    loss: str
    samples: int
    held_back: int

    @property
    def steps(self) -> int:
        """How many were taken."""
        return self.curve[-1].step


def distill(
    flatbuffer: bytes,
    graph: Graph,
    calibration: Calibration,
    plan: Plan,
    samples: TrainingSamples,
    held_back: TrainingSamples,
    *,
    teacher: bytes | None = None,
    training: Training | None = None,
    time_budget_s: float | None = None,
    checkpoint: pathlib.Path | None = None,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Distillation:
    """Trains the weights and biases of a float network for a plan, ranges of activations staying as they are.

    Makes TensorFlow's ops deterministic for the rest of the process. The same arguments give the same bytes on the same
    kind of processor; a time budget decides only how many epochs there are.

    Args:
      flatbuffer: The float network.
      graph: Of `flatbuffer`.
      calibration: Its ranges.
      plan: One scheme for each op.
      samples: To learn from, in content order.
      held_back: To choose by; none of `samples`, and none that anything is judged on in the end.
      teacher: The float network whose answers are wanted, where `flatbuffer` was changed by another repair; it has the
        same inputs and outputs. None for `flatbuffer` itself.
      training: How.
      time_budget_s: Seconds for everything; there is always one epoch. None for no limit.
      checkpoint: Where to keep what a killed training goes on from; the caller removes the file. None keeps nothing.
      progress: Called with (steps done, steps in all).
      clock: Seconds; for the time budget.

    Raises:
      UnsupportedModel: Some op has no differentiable rule, or the network cannot be converted by the plan.
    """
    from .student import Loss, Student

    training = training or Training()
    started = clock()
    missing = uncovered(flatbuffer)
    if missing:
        raise UnsupportedModel(
            f"self-distillation cannot learn through: {', '.join(missing)}", "repair this network by other steps"
        )
    import_tensorflow().config.experimental.enable_op_determinism()
    emitted = convert(flatbuffer, graph, calibration, plan).model
    teacher = teacher or flatbuffer
    lessons = Lessons(teacher, graph, samples, training.augmentation)
    examination = Lessons(teacher, graph, held_back)
    labelled = graph.is_classifier and samples.labels is not None and held_back.labels is not None
    loss = Loss(
        kind="kl" if graph.is_classifier else "nmse",
        variances=tuple(output_variance(values) for values in examination.targets),
        label_weight=training.label_weight if labelled else 0.0,
    )
    simulation = Simulation(flatbuffer, graph, plan, emitted)
    student = Student(simulation, graph, calibration, loss, learn_scales=training.learn_scales)
    made_from = (emitted, flatbuffer, teacher, *_identity(samples, held_back, training))
    key = content_key(_VERSION, versions_of(*_PACKAGES), *made_from)
    course = _Course(student, lessons, examination, training, checkpoint, key)
    deadline = None if time_budget_s is None else started + time_budget_s
    reached = course.run(deadline, clock, progress)
    best = reached.best
    return Distillation(
        flatbuffer=flatbuffer if best is None else replace_constants(flatbuffer, best),
        curve=reached.curve,
        chosen=reached.chosen,
        planned_epochs=reached.epochs,
        loss=loss.kind,
        samples=len(samples),
        held_back=len(held_back),
    )


@dataclass(frozen=True)
class _Course:
    """A training from its first step, or its last checkpoint, to its last step."""

    student: Student
    lessons: Lessons
    examination: Lessons
    training: Training
    path: pathlib.Path | None
    key: str

    def run(self, deadline: float | None, clock: Callable[[], float], progress: Progress | None) -> Checkpoint:
        reached = None if self.path is None else Checkpoint.load(self.path, self.key)
        if reached is None:
            epochs = self.training.epochs if deadline is None else self._affordable(deadline, clock)
            before = HeldBackError(0, self.examination.mean(self.student.first_errors))
            reached = Checkpoint(epochs, (before,), self.student.state(), None, 0)
        self.student.restore(reached.state)
        for epoch in range(len(reached.curve) - 1, reached.epochs):
            if epoch and deadline is not None and clock() > deadline:
                break
            step = self._learn(epoch, reached.epochs, progress)
            reached = self._examined(reached, step)
            if self.path is not None:
                reached.save(self.path, self.key)
        return reached

    def _learn(self, epoch: int, epochs: int, progress: Progress | None) -> int:
        """One epoch; answers how many steps there were up to its end."""
        per_epoch = self._steps_per_epoch()
        step = epoch * per_epoch
        for batch in self.lessons.batches(self.training.batch, self.training.seed, epoch):
            decay = 0.5 * (1 + math.cos(math.pi * step / (epochs * per_epoch)))
            self.student.step(batch, self.training.rate * decay)
            step += 1
            if progress:
                progress(step, epochs * per_epoch)
        return step

    def _examined(self, before: Checkpoint, step: int) -> Checkpoint:
        """What is known after a further epoch: where its network is the best so far, that is kept."""
        error = self.examination.mean(self.student.errors)
        better = error < min(point.error for point in before.curve)
        return Checkpoint(
            epochs=before.epochs,
            curve=(*before.curve, HeldBackError(step, error)),
            state=self.student.state(),
            best=self.student.constants() if better else before.best,
            chosen=step if better else before.chosen,
        )

    def _affordable(self, deadline: float, clock: Callable[[], float]) -> int:
        """How many epochs fit before the deadline, at least one; a few steps that change nothing show their time."""
        state = self.student.state()
        batch = self.lessons.batch(np.arange(min(self.training.batch, len(self.lessons))))
        self.student.step(batch, 0.0).numpy()  # traces the program
        self.student.errors(batch).numpy()
        started = clock()
        for _ in range(_TRIAL_STEPS):
            self.student.step(batch, 0.0).numpy()
        now = clock()
        self.student.restore(state)
        epoch_s = (now - started) / _TRIAL_STEPS * self._steps_per_epoch() * _RESERVE
        return max(1, min(self.training.epochs, int((deadline - now) / max(epoch_s, 1e-9))))

    def _steps_per_epoch(self) -> int:
        return max(1, len(self.lessons) // self.training.batch)


def _identity(samples: TrainingSamples, held_back: TrainingSamples, training: Training) -> list[str | bytes]:
    """What a training depends on beside the networks."""
    labels = b"" if samples.labels is None else np.ascontiguousarray(samples.labels).tobytes()
    return [samples.digest, held_back.digest, labels, repr(dataclasses.astuple(training))]
