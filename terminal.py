"""What a terminal shows: progress with the time left, warnings, tables one can paste; or one JSON document."""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from .analyzer.cache import CacheContents
    from .analyzer.schema import Audit, FileInspection, RunDiff, Study, VectorManifest
    from .checking import Check
    from .comparing import Comparison
    from .latency import Latencies
    from .reports.cells import PlanPart, Table
    from .reports.repair_cells import RepairPart
    from .session import Run

_FILES = (
    "model.tflite", "plan.json", "recipe.json", "ranges.json", "calibration.json", "sensitivity.json",
    "planning.json", "repair.json", "verification.json", "study.json", "report.json", "sensitivity.csv",
    "model-explorer-sensitivity.json", "model-explorer-schemes.json", "model-explorer-gain.json", "report.md",
    "report.html",
)  # fmt: skip
_WORST = 10


class Console:
    """One command's output.

    Args:
      as_json: Whether stdout is one JSON document.
    """

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._stderr = RichConsole(stderr=True, highlight=False)
        self._progress: Progress | None = None

    def __enter__(self) -> Console:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_progress()

    def reporter(self, title: str) -> Callable[[int, int], None]:
        """Starts a line of progress; see `api.Reporter`."""
        self.close_progress()
        if not self._stderr.is_terminal:
            self._stderr.print(f"{title} ...", markup=False, soft_wrap=True)
            return lambda _done, _total: None
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=self._stderr, transient=True)
        task = self._progress.add_task(title, total=None)
        self._progress.start()
        progress = self._progress
        return lambda done, total: progress.update(task, completed=done, total=total)

    def warn(self, message: str) -> None:
        """A line on stderr."""
        self._stderr.print(f"warning: {message}", style="yellow", markup=False, soft_wrap=True)

    def close_progress(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def result(self, run: Run, parts: tuple[str, ...]) -> None:
        """Prints parts of a run: `worst`, `comparison`, `plan`, `repair`, `answer`, `files`."""
        from .reports.view import build_view

        if self._json:
            from .reports.export import report_json

            self._document(report_json(run.results()))
            return
        view = build_view(run.results())
        if "worst" in parts and view.sensitivity is not None:
            self._table(view.sensitivity.by_scheme, "The ten worst layers", _WORST)
            print(view.sensitivity.method)
        if "plan" in parts and view.plan is not None and view.strip is not None:
            self._plan(view.plan)
            print(view.strip.summary)
        if "repair" in parts and view.repairs is not None:
            self._repairs(view.repairs)
        if "comparison" in parts and view.comparison is not None:
            self._table(view.comparison, view.comparison.caption)
        if "answer" in parts:
            print(f"\n{view.verdict.text}\n")
        if "answer" in parts or "plan" in parts:
            for note in view.notes:
                print(f"Note: {note}\n")
        if "files" in parts and run.folder is not None:
            for name in _FILES:
                path = run.folder.path / name
                if path.is_file():
                    print(path)

    def inventory(self, run: Run) -> None:
        """Prints every op of a network."""
        from .reports.view import build_view

        if self._json:
            from .reports.export import report_json

            self._document(report_json(run.results()))
            return
        view = build_view(run.results())
        if view.layers is not None:
            self._table(view.layers, view.layers.caption)
        if view.refused is not None:
            self._table(view.refused, view.refused.caption)
        print(view.verdict.text)

    def diff(self, found: RunDiff) -> None:
        """Prints the ops in which two plans differ, what changes as a whole, and what was measured of both files."""
        if self._json:
            from .analyzer.serialize import to_jsonable

            self._document(to_jsonable(found))
            return
        from .reports.plan import diff_measured, diff_table, diff_totals

        if found.plans.changes:
            self._table(diff_table(found.plans), "Ops that differ")
        print(diff_totals(found.plans, found.latency_unit))
        if found.before is not None and found.after is not None:
            print(diff_measured(found.before, found.after))

    def inspection(self, found: FileInspection, out: pathlib.Path) -> None:
        """Prints what one file shows alone."""
        if self._json:
            from .analyzer.serialize import to_jsonable

            self._document(to_jsonable(found))
            return
        from .reports.inspection import findings_table, inspection_verdict

        self._table(findings_table(found), "What the file shows", _WORST)
        print(f"\n{inspection_verdict(found).text}\n")
        for name in ("audit.json", "report.html"):
            print(out / name)

    def comparison(self, found: Comparison) -> None:
        """Prints runs side by side, every other one against the first in words, and the files that were written."""
        if self._json:
            from .reports.side_by_side import comparison_json

            self._document(comparison_json(found.sides))
            return
        view = found.view
        self._table(view.table, view.table.caption)
        for sentence in (*view.findings, *view.plans, *view.notes):
            print(f"{sentence}\n")
        for path in found.written:
            print(path)

    def audit(self, found: Audit, out: pathlib.Path) -> None:
        """Prints an audit's verdict, what it found the causes to be, and the worst sources."""
        if self._json:
            from .analyzer.serialize import to_jsonable

            self._document(to_jsonable(found))
            return
        from .reports.audit import audit_table, audit_verdict
        from .reports.causes import causes_table

        self._table(audit_table(found), "Where the error comes from", _WORST)
        if found.causes:
            self._table(causes_table(found), "Why, each cause mended alone", _WORST)
        if found.options is not None:
            from .reports.options import options_table

            table = options_table(found.options)
            self._table(table, table.caption)
        print(f"\n{audit_verdict(found)}\n")
        for name in ("audit.json", "report.html"):
            print(out / name)

    def vectors(self, found: VectorManifest, out: pathlib.Path) -> None:
        """Prints what each exported file holds."""
        if self._json:
            from .analyzer.serialize import to_jsonable

            self._document(to_jsonable(found))
            return
        for tensor in (*found.inputs, *found.outputs):
            shape = "x".join(map(str, (found.samples, *tensor.shape)))
            scale = f", scale {tensor.scale:g}, zero point {tensor.zero_point}" if tensor.scale else ""
            print(f"{out / tensor.raw}  {tensor.name}  {tensor.dtype} {shape}{scale}")
        print(out / "manifest.json")

    def study(self, found: Study, out: pathlib.Path) -> None:
        """Prints a calibration study's table and recommendation."""
        if self._json:
            from .analyzer.serialize import to_jsonable

            self._document(to_jsonable(found))
            return
        from .reports.study import study_table, study_verdict

        table = study_table(found)
        self._table(table, table.caption)
        for note in table.notes:
            print(note)
        print(f"\n{study_verdict(found).text}\n")
        for name in ("study.json", "report.html"):
            print(out / name)

    def check(self, found: Check) -> None:
        """Prints one line a person can read."""
        if self._json:
            from .analyzer.serialize import to_jsonable

            self._document(to_jsonable(found))
            return
        print(found.line)

    def cache(self, found: CacheContents) -> None:
        """Prints where results are kept, how many, of which models, and what was removed."""
        if self._json:
            from .analyzer.serialize import to_jsonable

            self._document(to_jsonable(found))
            return
        for entry in found.removed:
            print(f"removed {entry.results} results of {entry.model or entry.path}")
        size = sum(entry.bytes for entry in found.entries)
        limit = f"of at most {found.limit_bytes / 1e6:.0f} MB"
        print(f"{found.folder}: {size / 1e6:.1f} {limit}, models: {len({e.digest for e in found.entries})}")
        for entry in found.entries:
            print(
                f"{entry.model or '?'}  {entry.digest[:12]}  {entry.results} results  {entry.bytes / 1e6:.1f} MB  "
                f"last used {entry.last_used}"
            )

    def latencies(self, found: Latencies) -> None:
        """Prints the time of every op by scheme, and how well they add up to those of whole files."""
        if self._json:
            from .analyzer.serialize import to_jsonable

            self._document(to_jsonable(found))
            return
        from .latency import latency_table

        table = latency_table(found)
        self._table(table, table.caption)
        for file in found.files:
            print(f"{file.scheme} everywhere: {file.predicted_ms:.3f} ms predicted, {file.measured_ms:.3f} ms measured")
        if found.table:
            print(found.table)

    def _document(self, value: Any) -> None:
        json.dump(value, sys.stdout, indent=1)
        sys.stdout.write("\n")

    def _plan(self, part: PlanPart) -> None:
        from .reports.summary import plan_summary

        if part.frontier:
            self._table(part.frontier.table, part.frontier.table.caption)
        print(f"\n{plan_summary(part)}")

    def _repairs(self, part: RepairPart) -> None:
        from .reports.summary import repair_summary

        self._table(part.steps, part.steps.caption)
        print(repair_summary(part))

    def _table(self, table: Table, title: str, most: int | None = None) -> None:
        """Prints a table as Markdown, which pastes into an issue or a pull request."""
        from .reports.markdown import as_markdown

        print(f"\n{title}\n\n{as_markdown(table, most)}")
