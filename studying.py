"""`bitplan calibrate-study`: how many calibration samples, which ones, and which way to choose ranges."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

from .analyzer.errors import UsageError
from .analyzer.network.runtime import DEFAULT_WORKERS
from .analyzer.runs import RunFolder, content_key
from .analyzer.schema import Study
from .analyzer.units import UnitStore
from .record import Measured
from .run_data import held_back_samples
from .session import Reporter, Run, silent
from .strategies.study import LARGEST_POOL, METHOD_NAMES, SEEDS, SIZES, Design, Ground, parse_methods, run_study

HELD_BACK = 256
"""Samples that files are compared on: an error is a mean over all output values, and settles early."""

_HELD_BACK_SHARE = 4
"""Where the data holds no more than the pool, one in so many of its samples is held back."""


def calibrate_study(
    model: Any,
    calibration: Any,
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
      model, calibration: As for `prepare`.
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
      DataError: Sets shall be balanced and the calibration data has no labels.
      UsageError: A size, a number or a method makes no sense.
    """
    from .api import prepare

    names = parse_methods(methods)
    wanted = tuple(sorted(set(sizes)))
    if not wanted or wanted[0] < 1 or wanted[-1] > LARGEST_POOL or min(seeds, held_back) < 1:
        raise UsageError(
            f"sets of {', '.join(map(str, wanted)) or 'no'} samples, {seeds} of each, cannot be studied",
            f"give --sizes between 1 and {LARGEST_POOL}, and at least one seed and one held-back sample",
        )
    run = prepare(
        model, calibration, evaluation=evaluation, calibration_samples=wanted[-1], workers=workers, reporter=reporter,
        **options,
    )  # fmt: skip
    ground = _ground(run, held_back, evaluation_samples)
    fitting = tuple(size for size in wanted if size <= len(ground.pool))
    if len(fitting) < len(wanted):
        left = ", ".join(str(size) for size in wanted if size not in fitting)
        run.warn(f"sets of {left} samples are left out: there are {len(ground.pool)} to draw from")
    design = Design(fitting, seeds, names, balanced)
    if out is None:
        return run_study(ground, design, reporter=reporter).study
    folder = RunFolder.create(out, force, key=content_key("study", run.graph.digest))
    with UnitStore(folder.path / "cells.jsonl") as store:
        result = run_study(ground, design, store=store, reporter=reporter)
    _write(result.study, run, folder)
    folder.save("measured", Measured(result.seconds), "")
    return result.study


def _ground(run: Run, held_back: int, evaluation_samples: int | None) -> Ground:
    assert run.calibration_data is not None, "a study is never made on made-up data"
    pool, evaluation = run.calibration_data, run.evaluation_data
    apart = held_back_samples(run, held_back)
    kept = apart
    if kept is None:
        if len(pool) < 2:
            raise UsageError("one calibration sample cannot be studied", "give at least two; 100 to 1000 are usual")
        indices = range(0, len(pool), _HELD_BACK_SHARE)
        kept = pool.subset(indices)
        pool = pool.subset([index for index in range(len(pool)) if index not in indices])
        run.warn(
            f"the calibration data holds no further samples: files are compared on {len(kept)} of its "
            f"{len(pool) + len(kept)}, and sets are drawn from the others"
        )
    if evaluation is not None and evaluation_samples is not None:
        evaluation = evaluation.take(evaluation_samples)
    declared = dict(run.inputs.declared_ranges)
    return Ground(run.flatbuffer, run.graph, declared, pool, kept, apart is not None, evaluation, run.workers)


def _write(found: Study, run: Run, folder: RunFolder) -> None:
    from .reports.study import render_study

    folder.save("study", found, "")
    folder.write_bytes("report.html", render_study(found, run.inputs.options.model_name).encode())
