"""`bitplan calibrate-study`: how many calibration samples, which ones, and which way to choose ranges."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .analyzer.errors import DataError, RunFolderError, UsageError
from .analyzer.inputs.dataset import Samples, input_specs
from .analyzer.network.runtime import DEFAULT_WORKERS
from .analyzer.runs import RunFolder, content_key
from .analyzer.schema import Study
from .analyzer.units import UnitStore
from .delivery import write_report
from .opening import open_run
from .preparing import prepare
from .record import Measured, data_warnings, study_key
from .run_data import calibration_samples, evaluation_samples, held_back_samples
from .session import Reporter, Run, ignore, silent
from .strategies.study import LARGEST_POOL, METHOD_NAMES, SEEDS, SIZES, Design, Ground, parse_methods, run_study

HELD_BACK = 256
"""Samples that files are compared on: an error is a mean over all output values, and settles early."""

_HELD_BACK_SHARE = 4
"""Where the data holds no more than the pool, one in so many of its samples is held back."""


@dataclass(frozen=True)
class _Wish:
    """What a study shall vary, and on what; checked.

    Attributes:
      sizes: Of the sets, rising.
      seeds: How many sets of each size.
      methods: Keys of `clipping.METHODS`.
      balanced: Whether sets are drawn evenly over the classes too.
      held_back: Calibration samples to compare files on.
      evaluation_samples: Only the first so many; None for all.
    """

    sizes: tuple[int, ...]
    seeds: int
    methods: tuple[str, ...]
    balanced: bool
    held_back: int
    evaluation_samples: int | None


def calibrate_study(
    model: Any,
    calibration: Any = None,
    *,
    evaluation: Any = None,
    sizes: Sequence[int] = SIZES,
    seeds: int = SEEDS,
    methods: Sequence[str] = METHOD_NAMES,
    balanced: bool = False,
    held_back: int = HELD_BACK,
    evaluation_samples: int | None = None,
    out: str | pathlib.Path | None = None,
    force: bool = False,
    workers: int = DEFAULT_WORKERS,
    reporter: Reporter = silent,
    **options: Any,
) -> Study:
    """Makes int8 files from many sets of calibration samples and measures each.

    The sets are drawn from the first so many calibration samples as the largest has; what follows them is held back,
    and what is recommended is chosen there. The evaluation samples are shown beside it and decide nothing.

    Args:
      model: As for `prepare`; or a `Run` or the folder of one, whose model and data are taken, and whose page is made
        again with the study on it.
      calibration: As for `prepare`; only with a model.
      evaluation: What accuracy is shown on; None for none.
      sizes: Of the sets, at most `LARGEST_POOL`; one larger than the data is left out with a warning.
      seeds: How many sets of each size.
      methods: `min_max`, `percentile`, `mse`, `kl`, or names of `clipping.METHODS`.
      balanced: Draw sets evenly over the classes too, beside random ones.
      held_back: Calibration samples to compare files on.
      evaluation_samples: Only the first so many in content order; None for all.
      out: Folder for `study.json` and `report.html`; finished files' figures are kept there, and not measured again.
      force: Take a folder that holds something else.
      workers: Threads.
      reporter: Takes progress.
      options: Others of `prepare`: preprocessing, `trust_model`, `warn`, `command`.

    Raises:
      DataError: Sets shall be balanced and the calibration data has no labels; or a run's data is not what it was.
      RunFolderError: A folder holds no run.
      UsageError: A size, a number or a method makes no sense, or a run is given data.
    """
    names = parse_methods(methods)
    wanted = tuple(sorted(set(sizes)))
    if not wanted or wanted[0] < 1 or wanted[-1] > LARGEST_POOL or min(seeds, held_back) < 1:
        raise UsageError(
            f"sets of {', '.join(map(str, wanted)) or 'no'} samples, {seeds} of each, cannot be studied",
            f"give --sizes between 1 and {LARGEST_POOL}, and at least one seed and one held-back sample",
        )
    wish = _Wish(wanted, seeds, names, balanced, held_back, evaluation_samples)
    folder = None if isinstance(model, Run) else run_folder(model)
    if folder is not None or isinstance(model, Run):
        brought = {"calibration": calibration, "evaluation": evaluation, "out": out, "force": force or None, **options}
        refuse_beside_a_run([n for n, v in brought.items() if v is not None and n not in ("warn", "command")])
        if folder is None:
            return _study_of_run(model, wish)
        warn = options.get("warn", ignore)
        return _study_of_run(open_run(folder, workers=workers, reporter=reporter, warn=warn), wish)
    if calibration is None:
        raise UsageError("a study of a model needs calibration data", "give --calibration DATA, or the folder of a run")
    run = prepare(
        model, calibration, evaluation=evaluation, calibration_samples=wanted[-1], workers=workers, reporter=reporter,
        **options,
    )  # fmt: skip
    ground, design = _ground(run, wish)
    if out is None:
        return run_study(ground, design, reporter=reporter).study
    target = RunFolder.create(out, force, key=content_key("study", run.graph.digest))
    with UnitStore(target.path / "cells.jsonl") as store:
        result = run_study(ground, design, store=store, reporter=reporter)
    _write(result.study, run, target)
    target.save("measured", Measured(result.seconds), "")
    return result.study


def run_folder(model: Any) -> pathlib.Path | None:
    """The folder of a run; None where this is a model.

    Raises:
      RunFolderError: It is a folder with neither a run nor a SavedModel.
      UsageError: There is nothing of this name.
    """
    if not isinstance(model, str | os.PathLike):
        return None
    path = pathlib.Path(model)
    if not path.exists():
        raise UsageError(f"there is no file or folder {path}", "check the path")
    if not path.is_dir() or any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        return None
    if not RunFolder(path).has("inputs"):
        raise RunFolderError(
            f"the folder {path} holds neither a run nor a SavedModel",
            "give the folder of `bitplan run` or `bitplan analyze`, or a model with --calibration",
        )
    return path


def refuse_beside_a_run(given: Sequence[str]) -> None:
    """A run has its model, its data and its folder.

    Raises:
      UsageError: Something of that was given.
    """
    if given:
        raise UsageError(
            f"a study of a run takes everything from there, and cannot be given {', '.join(given)}",
            "leave that out, or give the model itself for a study in a folder of its own",
        )


def _study_of_run(run: Run, wish: _Wish) -> Study:
    """Studies a run's model on its own data; what was measured stays in the user's cache, as that of all runs does."""
    with run.timed("study_s") as measured, run.units() as store:
        ground, design = _ground(_with_pool(run, wish.sizes[-1]), wish)
        study = run_study(ground, design, store=store, reporter=run.reporter).study
    if run.folder is not None:
        run = replace(run, measured=measured())
        run.save_stage("study", study, study_key(run.graph, run.inputs))
        write_report(run)
    return study


def _with_pool(run: Run, count: int) -> Run:
    """The run with as many calibration samples as the largest set has, in memory only.

    Raises:
      DataError: There never was calibration data, or the data is not what it was when the run was made.
    """
    declared = run.inputs.options.calibration
    if declared is None:
        raise DataError("the run was made without calibration data", "run again with --calibration DATA")
    _check_same(calibration_samples(run), run.inputs.calibration, "calibration")
    evaluation = evaluation_samples(run)
    if evaluation is not None:
        _check_same(evaluation, run.inputs.evaluation, "evaluation")
    declared = replace(declared, limit=count, balanced=False)
    pool = declared.load(input_specs(run.graph), run.warn, run.calibration_object)
    if evaluation is not None:
        for message in data_warnings(pool, evaluation):
            run.warn(message)
    options = replace(run.inputs.options, calibration=declared)
    inputs = replace(run.inputs, options=options)
    return replace(run, inputs=inputs, calibration_data=pool, evaluation_data=evaluation)


def _check_same(samples: Samples, recorded: Mapping[str, Any], what: str) -> None:
    if (samples.digest, samples.labels_digest) != (recorded.get("digest"), recorded.get("labels_digest")):
        raise DataError(
            f"the {what} data is no longer what the run was made from: {samples.source}",
            "bring it back as it was, or make the run again",
        )


def _ground(run: Run, wish: _Wish) -> tuple[Ground, Design]:
    """What a study stands on, and what it varies there: sets larger than the pool are left out."""
    assert run.calibration_data is not None, "a study is never made on made-up data"
    pool, evaluation = run.calibration_data, run.evaluation_data
    apart = held_back_samples(run, wish.held_back)
    kept = apart
    if kept is None:
        if len(pool) < 2:
            raise UsageError("one calibration sample cannot be studied", "give at least two; 100 to 1000 are usual")
        indices = range(0, len(pool), _HELD_BACK_SHARE)
        kept = pool.subset(indices)
        pool = pool.subset([index for index in range(len(pool)) if index not in indices])
        run.warn(
            f"the calibration data holds no further samples that may judge: files are compared on {len(kept)} of its "
            f"{len(pool) + len(kept)}, and sets are drawn from the others"
        )
    if evaluation is not None and wish.evaluation_samples is not None:
        evaluation = evaluation.take(wish.evaluation_samples)
    declared = dict(run.inputs.declared_ranges)
    ground = Ground(run.flatbuffer, run.graph, declared, pool, kept, apart is not None, evaluation, run.workers)
    fitting = tuple(size for size in wish.sizes if size <= len(pool))
    if len(fitting) < len(wish.sizes):
        left = ", ".join(str(size) for size in wish.sizes if size not in fitting)
        run.warn(f"sets of {left} samples are left out: there are {len(pool)} to draw from")
    return ground, Design(fitting, wish.seeds, wish.methods, wish.balanced)


def _write(found: Study, run: Run, folder: RunFolder) -> None:
    from .reports.study_page import render_study

    folder.save("study", found, "")
    folder.write_bytes("report.html", render_study(found, run.inputs.options.model_name).encode())
