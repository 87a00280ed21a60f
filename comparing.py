"""`bitplan report RUN RUN ...`: runs beside one another, as a page and as JSON."""

from __future__ import annotations

import pathlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .analyzer.errors import UsageError
from .analyzer.files import atomic_write
from .analyzer.schema import PlanDiff, Results
from .analyzer.serialize import dumps
from .delivery import make_folder, write_figures
from .reports.side_by_side import SideBySide, build_side_by_side, comparison_json
from .reports.side_figures import Side
from .session import Reporter, Run, ignore, silent
from .strategies.comparison import diff_plans


@dataclass(frozen=True)
class Comparison:
    """Runs beside one another.

    Attributes:
      sides: In the order given; the first is what the others are held against.
      written: Files, where a folder was given.
    """

    sides: tuple[Side, ...]
    written: tuple[pathlib.Path, ...] = ()

    @property
    def view(self) -> SideBySide:
        """The page as data."""
        return build_side_by_side(self.sides)

    def _repr_html_(self) -> str:
        from .reports.notebook import comparison_html

        return comparison_html(self.view)


RunOrFolder = str | pathlib.Path | Run


def compare(
    runs: Sequence[RunOrFolder] | Mapping[str, RunOrFolder],
    *,
    out: str | pathlib.Path | None = None,
    figures: str | pathlib.Path | None = None,
    reporter: Reporter = silent,
    warn: Callable[[str], None] = ignore,
) -> Comparison:
    """Puts runs side by side: verdicts, flash, RAM, accuracy, latency, and schemes where the structure is the same.

    Args:
      runs: At least two run folders, or runs, by name or as a list; of one network, of one trained again, or of unlike
        ones.
      out: Folder for `comparison.html` and `comparison.json`; None writes nothing.
      figures: Folder for the page's charts as SVG and PNG; None draws none.
      reporter, warn: As in `prepare`.

    Raises:
      RunFolderError: A folder holds no run, or the file system refuses.
      UsageError: There are fewer than two.
    """
    from .opening import open_run

    if len(runs) < 2:
        raise UsageError("there is nothing to compare", "give two run folders or more")
    given = list(runs.values()) if isinstance(runs, Mapping) else list(runs)
    names = list(runs) if isinstance(runs, Mapping) else _names(given)
    opened = [run if isinstance(run, Run) else open_run(run, reporter=reporter, warn=warn) for run in given]
    results = [run.results() for run in opened]
    sides = tuple(
        Side(name, found, _diff(results[0], found) if place else None)
        for place, (name, found) in enumerate(zip(names, results, strict=True))
    )
    compared = Comparison(sides)
    if out is None and figures is None:
        return compared
    return Comparison(sides, _write(compared, out, figures, reporter))


def _write(
    compared: Comparison, out: str | pathlib.Path | None, figures: str | pathlib.Path | None, reporter: Reporter
) -> tuple[pathlib.Path, ...]:
    from .reports.html import render_side_by_side
    from .reports.side_by_side_charts import side_by_side_charts

    view = compared.view
    charts = side_by_side_charts(view)
    written: list[pathlib.Path] = []
    if out is not None:
        folder = make_folder(out, "--out")
        for name, text in (
            ("comparison.html", render_side_by_side(view, charts)),
            ("comparison.json", dumps(comparison_json(compared.sides))),
        ):
            atomic_write(folder / name, text)
            written.append(folder / name)
    if figures is not None:
        written += write_figures(charts, view.title, figures, reporter)
    return tuple(written)


def _diff(first: Results, other: Results) -> PlanDiff | None:
    """None where there is nothing to compare op by op: a plan is missing, or the networks' structures are unlike."""
    if first.plan is None or other.plan is None:
        return None
    try:
        return diff_plans(first.plan, other.plan)
    except UsageError:
        return None


def _names(runs: Sequence[RunOrFolder]) -> list[str]:
    """The folders' names; with as much of the path before them, or a number behind, as tells them apart."""
    paths = [_place(run) for run in runs]
    depth = max(len(path.parts) for path in paths)
    for parts in range(1, depth + 1):
        names = [str(pathlib.Path(*path.parts[-parts:])) for path in paths]
        if len(set(names)) == len(names):
            return names
    often = Counter[str]()
    numbered = []
    for name in (path.name for path in paths):
        often[name] += 1
        numbered.append(f"{name} ({often[name]})")
    return numbered


def _place(run: RunOrFolder) -> pathlib.Path:
    if not isinstance(run, Run):
        return pathlib.Path(run).resolve()
    return run.folder.path.resolve() if run.folder else pathlib.Path(run.inputs.options.model_name or "run")
