"""One run: a model, its data, and what the stages have found so far.

A `Run` is a value: every step returns a new one that knows more. With a folder, each step also writes what it found
there, and takes from there what an earlier process found for the same inputs.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .analyzer.errors import PlanMismatch, RunFolderError, UsageError
from .analyzer.inputs.dataset import Samples, input_specs, random_samples
from .analyzer.inputs.declaration import DataDeclaration
from .analyzer.inputs.functions import import_function
from .analyzer.measures.per_sample import Metric
from .analyzer.network.runtime import DEFAULT_WORKERS
from .analyzer.runs import RunFolder, UnitStore, content_key, read_stage
from .analyzer.schema import (
    DEFAULT_ALLOWED,
    Calibration,
    Format,
    Graph,
    Plan,
    Provenance,
    Results,
    SensitivityTable,
    Verification,
)
from .record import Inputs, Measured, as_classifier, versions

RANDOM_SAMPLES = 32
"""Made-up samples where no calibration data is given: enough for ranges, and they mean nothing more."""

Reporter = Callable[[str], Callable[[int, int], None]]
"""Starts showing a piece of work by its title; answers what to call with (done, in all)."""


def silent(_title: str) -> Callable[[int, int], None]:
    return lambda _done, _total: None


def ignore(_message: str) -> None:
    return None


@dataclass(frozen=True)
class Run:
    """What is known of one model so far.

    Attributes:
      flatbuffer: The float network, normalised.
      graph: Of `flatbuffer`.
      inputs: What was given.
      calibration, sensitivity, plan_, verification: Results of the stages that were run; else None.
      model: The emitted file.
      folder: Where the stages are kept; None to keep them in memory only.
    """

    flatbuffer: bytes
    graph: Graph
    inputs: Inputs
    calibration: Calibration | None = None
    sensitivity: SensitivityTable | None = None
    plan_: Plan | None = None
    model: bytes | None = None
    recipe: tuple[Mapping[str, Any], ...] = ()
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    verification: Verification | None = None
    folder: RunFolder | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    calibration_data: Any = field(default=None, repr=False, compare=False)
    evaluation_data: Any = field(default=None, repr=False, compare=False)
    metric_function: Metric | None = field(default=None, repr=False, compare=False)
    workers: int = DEFAULT_WORKERS
    reporter: Reporter = field(default=silent, repr=False, compare=False)
    warn: Callable[[str], None] = field(default=ignore, repr=False, compare=False)

    # --- stages ------------------------------------------------------------------------------------------------------

    def analyze(self, *, left_float: bool = True) -> Run:
        """Calibrates and measures sensitivities; the other direction too unless `left_float` is False."""
        from .analyzer.conversion.counterfactual import measure_left_float
        from .analyzer.measures.sensitivity import VERSION, measure_sensitivity

        samples = self._calibration_samples()
        run, calibration, key = self._calibrated(samples)

        key = content_key("sensitivity", VERSION, key, _labels_key(samples), run.inputs.options.metric, left_float)
        found = run.folder.load("sensitivity", SensitivityTable, key) if run.folder else None
        if found is not None:
            return replace(run, sensitivity=found)
        with run._timed("sweep_s") as measured, run._units() as store:
            table = measure_sensitivity(
                run.flatbuffer, run.graph, calibration, samples,
                metric=run._metric(), metric_name=run.inputs.options.metric, store=store,
                workers=run.workers, progress=run.reporter("Measuring each layer's sensitivity"),
            )  # fmt: skip
        run = replace(run, measured=measured())
        if left_float:
            with run._timed("left_float_s") as measured, run._units() as store:
                int8, left = measure_left_float(
                    run.flatbuffer, run.graph, calibration, samples, store=store, workers=run.workers,
                    progress=run.reporter("Leaving each layer in float"),
                )  # fmt: skip
            table = replace(table, int8=int8, left_float=left)
            run = replace(run, measured=measured())
        run = replace(run, sensitivity=table)
        run._save("sensitivity", table, key)
        return run

    def plan(
        self,
        size_budget: str | int | None = None,
        *,
        allow: Sequence[str] = DEFAULT_ALLOWED,
        io: str = "float",
        strategy: str = "milp",
    ) -> Run:
        """Chooses a scheme for every op, least predicted error within the budget.

        Args:
          size_budget: Bytes of the file: `2.75MB`, `310KiB`, `3.2x` (of the float file), a number, or `none` for no
            limit. None allows 3 % more than int8 everywhere has (no limit where int8 is not allowed).
          allow: Names of schemes.
          io: Format of the model's inputs and outputs: `float`, `int8` or `int16`.
          strategy: `milp`, `greedy`, `threshold` or `uniform`.
        """
        from .strategies.loop import plan_to_budget

        if self.sensitivity is None or self.calibration is None:
            raise RunFolderError("the model has not been analyzed", "run `bitplan analyze` first")
        budget = self._budget(size_budget, allow, Format(io))
        key = content_key("plan", self._digest(), budget or 0, tuple(allow), io, strategy)
        self.reporter("Choosing a precision for every layer")(0, 1)
        with self._timed("plan_s") as measured:
            plan, conversion = plan_to_budget(
                self.flatbuffer, self.graph, self.sensitivity, self.calibration,
                budget_bytes=budget, allowed=allow, io=Format(io), strategy=strategy,
            )  # fmt: skip
        run = replace(
            self, plan_=plan, model=conversion.model, recipe=conversion.recipe, ranges=conversion.ranges,
            verification=None, measured=measured(),
        )  # fmt: skip
        run._save("plan", plan, key)
        return run

    def with_plan(self, plan: Plan) -> Run:
        """Takes a plan from elsewhere, such as one that a person has edited.

        Raises:
          UsageError: It asks an op for a scheme that does not exist there.
        """
        ops = {op.key: op for op in self.graph.ops}
        for index, assignment in enumerate(plan.assignments):
            op = ops.get(assignment.op)
            if op is not None and assignment.scheme not in op.schemes:
                raise UsageError(
                    f"plan.json: assignments[{index}].scheme: {op.layer} cannot run in {assignment.scheme!r}",
                    f"take one of {', '.join(op.schemes)}",
                )
        return replace(self, plan_=plan, model=None, verification=None)

    def with_plan_file(self, path: pathlib.Path | None) -> Run:
        """The same from a file; None takes the run folder's own `plan.json`, edited or not."""
        if path is None:
            return self if self.plan_ is None else self.with_plan(self.plan_)
        given = read_stage(path, "plan", Plan)
        run = self.with_plan(given)
        run._save("plan", given, "")
        return run

    def convert(self) -> Run:
        """Makes the `.tflite` and checks the type of every tensor in it.

        Raises:
          PlanMismatch: The file is not what was planned; it is kept as `model.MISMATCH.tflite`.
        """
        from .analyzer.conversion.converter import convert
        from .analyzer.conversion.type_check import check_types

        if self.plan_ is None or self.calibration is None:
            raise RunFolderError("there is no plan", "run `bitplan plan` first")
        run = self
        if run.model is None:
            sums = self.calibration.partial_sums
            conversion = convert(self.flatbuffer, self.graph, self.calibration, self.plan_, sums)
            run = replace(run, model=conversion.model, recipe=conversion.recipe, ranges=conversion.ranges)
        assert run.model is not None
        mismatches = check_types(run.model, run.graph, self.plan_)
        if mismatches:
            if run.folder:
                run.folder.write_bytes("model.MISMATCH.tflite", run.model)
                (run.folder.path / "model.tflite").unlink(missing_ok=True)  # it would pass for this plan's
            first = mismatches[0]
            raise PlanMismatch(
                f"the emitted file differs from the plan in {len(mismatches)} places, first at {first.layer}: "
                f"tensor {first.tensor} is {first.found}, planned {first.expected}",
                "do not ship it; report this as a defect of Bitplan with plan.json and the model",
            )
        if run.folder:
            run.folder.write_bytes("model.tflite", run.model)
            if run.recipe:  # a model that was read from the folder has its recipe there
                run.folder.write_bytes("recipe.json", _json(list(run.recipe)).encode())
                run.folder.write_bytes("ranges.json", _json(run.ranges).encode())
        return run

    def verify(self, evaluation: Any = None) -> Run:
        """Runs the emitted file and its baselines beside the float model on the evaluation samples.

        Args:
          evaluation: Other evaluation data than the run's own: what `analyze` takes.
        """
        from .strategies.judgement import judge

        if self.model is None or self.plan_ is None or self.calibration is None:
            raise RunFolderError("there is no emitted file", "run `bitplan convert` first")
        run = self if evaluation is None else self._with_evaluation(evaluation)
        assert run.model is not None and run.plan_ is not None and run.calibration is not None
        samples = run._evaluation_samples()
        on_calibration = samples is None
        samples = run._calibration_samples() if samples is None else samples
        key = content_key("verification", run._digest(), run.model, samples.digest, _labels_key(samples))
        found = run.folder.load("verification", Verification, key) if run.folder else None
        if found is not None:
            return replace(run, verification=found)
        with run._timed("verify_s") as measured:
            verification = judge(
                run.flatbuffer, run.graph, run.calibration, run.plan_, run.model, samples,
                on_calibration=on_calibration, metric=run._metric(), seed=run.inputs.options.seed, workers=run.workers,
                progress=run.reporter("Running the emitted file and its baselines"),
            )  # fmt: skip
        run = replace(run, verification=verification, measured=measured())
        run._save("verification", verification, key)
        return run

    def report(self) -> Run:
        """Writes `report.json` and `report.html` into the folder."""
        from .reports.export import report_json
        from .reports.html import render

        if self.folder is None:
            raise UsageError("a report needs a folder", "use save(folder)")
        results = self.results()
        self.folder.write_bytes("report.json", _json(report_json(results)).encode())
        self.folder.write_bytes("report.html", render(results).encode())
        return self

    def save(self, folder: str | pathlib.Path, *, force: bool = False) -> Run:
        """Writes everything that is known into a folder: the emitted file, its plan and recipe, and the report.

        What has not been verified yet is verified first.
        """
        target = RunFolder.create(folder, force)
        run = replace(self, folder=target)
        run._save("inputs", run.inputs, "")
        target.write_bytes("float.tflite", run.flatbuffer)
        for stage, value in (("calibration", run.calibration), ("sensitivity", run.sensitivity), ("plan", run.plan_)):
            if value is not None:
                run._save(stage, value, "")
        if run.plan_ is not None:
            run = run.convert().verify()
        return run.report()

    def results(self) -> Results:
        """What a report shows."""
        options = self.inputs.options
        return Results(
            provenance=Provenance(
                command=options.command,
                seed=options.seed,
                versions=versions(),
                model_name=options.model_name,
                model_digest=self.graph.digest,
                calibration=self.inputs.calibration,
                evaluation=self.inputs.evaluation,
                warnings=self.inputs.warnings,
                measured=self.measured,
            ),
            graph=self.graph,
            calibration=self.calibration,
            sensitivity=self.sensitivity,
            plan=self.plan_,
            verification=self.verification,
            notes=(*self.inputs.notes, *self._plan_notes()),
        )

    # --- what the stages share ---------------------------------------------------------------------------------------

    def _calibrated(self, samples: Samples) -> tuple[Run, Calibration, str]:
        from .analyzer.measures.calibration import calibrate

        declared = {name: tuple(bounds) for name, bounds in self.inputs.declared_ranges.items()}
        key = content_key("calibration", self.graph.digest, samples.digest, _json(declared))
        found = self.folder.load("calibration", Calibration, key) if self.folder else None
        if found is not None:
            return replace(self, calibration=found), found, key
        with self._timed("calibration_s") as measured:
            calibration = calibrate(
                self.flatbuffer, self.graph, samples, declared=self.inputs.declared_ranges,
                random=samples.random, workers=self.workers, progress=self.reporter("Calibrating"),
            )  # fmt: skip
        run = replace(self, calibration=calibration, measured=measured())
        run._save("calibration", calibration, key)
        return run, calibration, key

    def _plan_notes(self) -> tuple[str, ...]:
        if self.plan_ is None:
            return ()
        slow = sum(
            1
            for op, scheme in zip(self.graph.ops, self.plan_.schemes, strict=True)
            if scheme.format is Format.INT16 and op.macs
        )
        if not slow:
            return ()
        return (
            f"{slow} layers run with int16 activations. On a CPU, LiteRT has only reference kernels for them, tens of "
            "times slower than int8; where the model runs on a CPU, plan with --allow w4a8,w8a8,w16a8,float.",
        )

    def _budget(self, size_budget: str | int | None, allow: Sequence[str], io: Format) -> int | None:
        from .strategies.assignment.budget import parse_size
        from .strategies.loop import default_budget

        if size_budget is None:
            return default_budget(self.flatbuffer, self.graph, io) if "w8a8" in allow else None
        if str(size_budget).strip().lower() == "none":
            return None
        return parse_size(str(size_budget), self.graph.file_bytes)

    def _calibration_samples(self) -> Samples:
        declaration = self.inputs.options.calibration
        if declaration is None:
            return random_samples(input_specs(self.graph), RANDOM_SAMPLES, self.inputs.options.seed).in_content_order()
        if isinstance(self.calibration_data, Samples):
            return self.calibration_data
        return declaration.load(input_specs(self.graph), self.warn, self.calibration_data)

    def _evaluation_samples(self) -> Samples | None:
        declaration = self.inputs.options.evaluation
        if declaration is None:
            return None
        if isinstance(self.evaluation_data, Samples):
            return self.evaluation_data
        return declaration.load(input_specs(self.graph), self.warn, self.evaluation_data)

    def _with_evaluation(self, evaluation: Any) -> Run:
        base = self.inputs.options.evaluation or self.inputs.options.calibration or DataDeclaration("")
        name = str(evaluation) if isinstance(evaluation, str | pathlib.Path) else ""
        declaration = replace(base, data=name, limit=None, balanced=False)
        given = None if name else evaluation
        samples = declaration.load(input_specs(self.graph), self.warn, given)
        options = replace(self.inputs.options, evaluation=declaration)
        inputs = replace(self.inputs, options=options, evaluation=samples.describe())
        run = replace(self, inputs=inputs, evaluation_data=samples, graph=as_classifier(self.graph, samples))
        run._save("inputs", inputs, "")
        return run

    def _metric(self) -> Metric | None:
        if self.metric_function is not None:
            return self.metric_function
        return import_function(self.inputs.options.metric) if self.inputs.options.metric else None

    def _digest(self) -> str:
        assert self.calibration is not None
        return content_key(self.graph.digest, self.calibration.data_digest, self.inputs.options.metric)

    def _save(self, stage: str, value: Any, key: str) -> None:
        if self.folder:
            self.folder.save(stage, value, key)
            self.folder.save("measured", Measured(self.measured), "")

    @contextlib.contextmanager
    def _units(self) -> Iterator[UnitStore | None]:
        if self.folder is None:
            yield None
            return
        with self.folder.units() as store:
            yield store

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[Callable[[], dict[str, float]]]:
        start, seconds = time.perf_counter(), [0.0]

        def figures() -> dict[str, float]:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            return {**self.measured, name: round(seconds[0], 3), "peak_rss_bytes": float(peak)}

        yield figures
        seconds[0] = time.perf_counter() - start


def _labels_key(samples: Samples) -> str:
    return samples.labels_digest or ""


def _json(value: Any) -> str:
    from .analyzer.serialize import to_jsonable

    return json.dumps(to_jsonable(value), indent=1, allow_nan=False) + "\n"
