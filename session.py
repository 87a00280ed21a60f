"""One run: a model, its data, and what the stages have found so far.

A `Run` is a value: every step returns a new one that knows more. With a folder, each step also writes what it found
there, and takes from there what an earlier process found for the same inputs. What is measured sample by sample lies in
the user's cache, for any run to find.
"""

from __future__ import annotations

import contextlib
import pathlib
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from .analyzer.cache import Cache
from .analyzer.errors import PlanMismatch, RunFolderError, UnsupportedModel
from .analyzer.inputs.functions import import_function
from .analyzer.measures.crew import Crew
from .analyzer.measures.per_sample import Metric
from .analyzer.network.graph import rebuild_graph
from .analyzer.runs import RunFolder, content_key, read_stage
from .analyzer.schema import (
    Calibration,
    Graph,
    Plan,
    Planning,
    RepairLog,
    Results,
    SensitivityTable,
    Target,
    TypeMismatch,
    Verification,
)
from .analyzer.serialize import dumps
from .analyzer.units import Store
from .record import (
    AFTER_CONVERSION,
    AFTER_PLAN,
    Emitted,
    Inputs,
    Measured,
    file_key,
    source_key,
)
from .strategies.targets import to_toml

if TYPE_CHECKING:
    from .analyzer.conversion.converter import Conversion
    from .strategies.repair.material import Network

_T = TypeVar("_T")

DEFAULT_MODE = "refined"
"""How sensitivities are found unless somebody says otherwise."""

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
      calibration, sensitivity, plan_, planning, verification: Results of the stages that were run; else None.
      repair_, network: What repairs did, and the float network and ranges that they made; None without.
      target: What the plan was made for; None where nobody knows.
      model: The emitted file.
      made_from: Key of the plan and the ranges that `model` was made from.
      recipe, ranges, prepared: What litert-quantizer was given for `model`; empty where the folder has them already.
      folder: Where the stages are kept; None to keep them in memory only.
      crew: Who sweeps; its number of threads is that of the other stages too.
    """

    flatbuffer: bytes
    graph: Graph
    inputs: Inputs
    calibration: Calibration | None = None
    sensitivity: SensitivityTable | None = None
    plan_: Plan | None = None
    model: bytes | None = None
    made_from: str = ""
    recipe: tuple[Mapping[str, Any], ...] = ()
    ranges: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    prepared: bytes = b""
    verification: Verification | None = None
    planning: Planning | None = None
    repair_: RepairLog | None = None
    network: Network | None = None
    target: Target | None = None
    folder: RunFolder | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    calibration_object: Any = field(default=None, repr=False, compare=False)
    calibration_data: Any = field(default=None, repr=False, compare=False)
    evaluation_data: Any = field(default=None, repr=False, compare=False)
    metric_function: Metric | None = field(default=None, repr=False, compare=False)
    crew: Crew = field(default_factory=Crew)
    reporter: Reporter = field(default=silent, repr=False, compare=False)
    warn: Callable[[str], None] = field(default=ignore, repr=False, compare=False)

    @property
    def workers(self) -> int:
        """Threads."""
        return self.crew.threads

    # --- stages ------------------------------------------------------------------------------------------------------

    def analyze(
        self, *, sensitivity: str = DEFAULT_MODE, left_float: bool = True, per_channel: bool = True
    ) -> Run:  # fmt: skip
        """Calibrates and measures sensitivities.

        Args:
          sensitivity: `refined`, `linear` or `exact`; see `measure_sensitivity`.
          left_float: Whether to measure the other direction too: int8 everywhere, and that with each op in float that
            has a source that was measured exactly.
          per_channel: Whether weights get a scale for each channel, or one for the tensor.
        """
        from .analysis import analyze

        return analyze(self, sensitivity, left_float=left_float, per_channel=per_channel)

    def plan(self, size_budget: str | int | None = None, **wishes: Any) -> Run:
        """Chooses a scheme for every op: least predicted error within budgets, or least of something else.

        The file is made and measured on calibration data that was held back, and planned again where the prediction
        misses.

        Args:
          size_budget: Bytes of the file: `2.75MB`, `310KiB`, `3.2x` (of the float file), a number, or `none` for no
            limit. None allows 3 % more than int8 everywhere has (no limit where int8 is not allowed).
          wishes: The other fields of `Request`, such as `target="ethos-u55"` or `max_drop="1pt"`.
        """
        from .planning import plan
        from .strategies.request import Request

        return plan(self, Request(size_budget=size_budget, **wishes))

    def with_plan(self, plan: Plan) -> Run:
        """Takes a plan from elsewhere, such as one that a person has edited.

        Raises:
          UsageError: It is for another network, or asks an op for a scheme that does not exist there.
        """
        from .analyzer.conversion.converter import check_plan

        check_plan(self.graph, plan)
        if plan.graph_digest != self.graph.digest:
            self.warn(
                "the plan is of a network of the same structure with other weights: its predictions are that one's"
            )
        return self._planned(plan)

    def with_plan_file(self, path: pathlib.Path | None) -> Run:
        """The same from a file; None takes the run folder's own `plan.json`, edited or not."""
        if path is None:
            return self if self.plan_ is None else self.with_plan(self.plan_)
        return self.with_plan(read_stage(path, "plan", Plan))

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
            network = run.to_convert
            graph = rebuild_graph(network.flatbuffer, self.graph)
            run = run._with_model(convert(network.flatbuffer, graph, network.calibration, self.plan_))
        assert run.model is not None
        if run.made_from != run.plan_key():
            raise RunFolderError(
                "model.tflite was made from another plan, or from other calibration data",
                "run `bitplan convert` first: it makes the file of this plan",
            )
        try:
            mismatches = check_types(run.model, run.graph, self.plan_)
        except UnsupportedModel as error:
            mismatches = (TypeMismatch("", "the whole file", "", "a TFLite model", error.problem),)
        if mismatches:
            if run.folder:
                run.folder.discard("model.tflite", *AFTER_CONVERSION)  # it would pass for this plan's
                run.folder.write_bytes("model.MISMATCH.tflite", run.model)
            first = mismatches[0]
            raise PlanMismatch(
                f"the emitted file differs from the plan in {len(mismatches)} places, first at {first.layer}: "
                f"tensor {first.tensor} is {first.found}, planned {first.expected}",
                "do not ship it; report this as a defect of Bitplan with plan.json and the model",
            )
        if run.folder:
            path = run.folder.path / "model.tflite"
            if not path.is_file() or path.read_bytes() != run.model:
                run.folder.discard(*AFTER_CONVERSION)
            run.folder.write_bytes("model.tflite", run.model)
            run.save_stage("emitted", Emitted(run.made_from), "")
            if run.recipe:  # a model that was read from the folder has its recipe there
                run.folder.write_bytes("recipe.json", dumps(list(run.recipe)).encode())
                run.folder.write_bytes("ranges.json", dumps(run.ranges).encode())
                run.folder.discard("prepared.tflite")
                if run.prepared != run.flatbuffer:
                    run.folder.write_bytes("prepared.tflite", run.prepared)
        return run

    def repair(self, steps: Sequence[str] = (), *, time_budget: str | float | None = None, ranges: str = "auto") -> Run:
        """Wins accuracy back before bits are spent: repairs the planned network without labels, and makes its file.

        Each step is measured on the emitted file, on samples that are held back, and kept only where it helps.

        Args:
          steps: Names of repairs; none for all of them.
          time_budget: For everything: `15m`, `90s`, or seconds; None for no limit.
          ranges: How the repair of ranges chooses them: `auto` for the best of all ways for each tensor, by measured
            error, or one of `min-max`, `percentile-99.9`, `percentile-99.99`, `percentile-99.999`, `mse`, `kl`.
        """
        from .repairing import repair

        return repair(self, steps, time_budget, ranges)

    def verify(self, evaluation: Any = None) -> Run:
        """Runs the emitted file and its baselines beside the float model on the evaluation samples.

        Args:
          evaluation: Other evaluation data than the run's own: what `analyze` takes.
        """
        from .verifying import verify

        return verify(self, evaluation)

    def report(self, figures: str | pathlib.Path | None = None) -> Run:
        """Writes the report into the folder: the page, and the same for other programs.

        Args:
          figures: Folder for the page's charts as SVG and PNG; None draws none.
        """
        from .delivery import write_report

        write_report(self, figures)
        return self

    def save(self, folder: str | pathlib.Path, *, force: bool = False) -> Run:
        """Writes everything that is known into a folder: the emitted file, its plan and recipe, and the report.

        What has not been verified yet is verified first.
        """
        from .delivery import save

        return save(self, folder, force=force)

    def results(self) -> Results:
        """What a report shows."""
        from .delivery import results_of

        return results_of(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: the answer and a table."""
        from .reports.notebook import run_html

        return run_html(self.results())

    # --- what the stages share ---------------------------------------------------------------------------------------

    def metric(self) -> Metric | None:
        """The user's metric."""
        if self.metric_function is not None:
            return self.metric_function
        return import_function(self.inputs.options.metric) if self.inputs.options.metric else None

    def context(self) -> str:
        """Key of what every measured figure depends on beside samples and versions: the network, and what is judged."""
        return content_key(self.graph.digest, self.graph.compared, self.graph.is_classifier, self.metric_key() or "")

    def metric_key(self) -> str | None:
        """Identity of the user's metric, "" without one; None where nothing can tell it from another function."""
        if self.metric_function is not None:
            return None
        name = self.inputs.options.metric
        return source_key(import_function(name)) if name else ""

    def plan_key(self) -> str:
        """Key of what an emitted file is made from."""
        assert self.plan_ is not None and self.calibration is not None
        return file_key(self.plan_, self.to_convert.flatbuffer, self.to_convert.calibration)

    @property
    def to_convert(self) -> Network:
        """The float network and the ranges that the emitted file is made from: repaired ones where there are any."""
        from .strategies.repair.material import Network

        if self.network is not None:
            return self.network
        assert self.calibration is not None
        return Network(self.flatbuffer, self.calibration, self.flatbuffer)

    def _with_model(self, conversion: Conversion) -> Run:
        return replace(
            self, model=conversion.model, made_from=self.plan_key(), recipe=conversion.recipe,
            ranges=conversion.ranges, prepared=conversion.prepared,
        )  # fmt: skip

    def with_new_plan(self, plan: Plan, target: Target, conversion: Conversion) -> Run:
        """The run with a plan of its own, the target it was made for and the file that was made from it."""
        return replace(self, target=target)._planned(plan)._with_model(conversion)

    def _planned(self, plan: Plan) -> Run:
        """The run with a plan; what was made from another one is forgotten, here and in the folder."""
        run, same = replace(self, plan_=plan, model=None, made_from="", verification=None), self.plan_ == plan
        if run.folder:
            previous = None
            with contextlib.suppress(RunFolderError):  # a plan that cannot be read, or is not there, is another plan
                previous = None if run.folder.is_edited("plan") else run.folder.load("plan", Plan)
            same = same and previous == plan
            if previous != plan:
                run.folder.discard(*AFTER_PLAN)
                if run.target is not None:
                    run.folder.write_bytes("target.toml", to_toml(run.target).encode())
            run.save_stage("plan", plan, "")
        return run if same else replace(run, planning=None, repair_=None, network=None)

    def load_stage(self, stage: str, cls: type[_T], key: str) -> _T | None:
        """A stage that an earlier process finished; None for a metric that cannot be told from another."""
        return self.folder.load(stage, cls, key) if self.folder and self.metric_key() is not None else None

    def save_stage(self, stage: str, value: Any, key: str) -> None:
        """Writes a stage, and what was measured so far, into the folder where there is one."""
        if self.folder:
            self.folder.save(stage, value, key)
            self.folder.save("measured", Measured(self.measured), "")

    @contextlib.contextmanager
    def units(self) -> Iterator[Store | None]:
        """Where finished work is kept; None for a metric that cannot be told from another, and without a cache."""
        if self.metric_key() is None:
            yield None
            return
        with Cache().opened(self.graph.digest, self.inputs.options.model_name, self.warn) as store:
            yield store

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[Callable[[], dict[str, float]]]:
        """Times a block; what it gives answers, after the block, `measured` with that time and the peak of memory."""
        start, seconds = time.perf_counter(), [0.0]

        def figures() -> dict[str, float]:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            return {**self.measured, name: round(seconds[0], 3), "peak_rss_bytes": float(peak)}

        yield figures
        seconds[0] = time.perf_counter() - start
