"""What several commands share."""

from __future__ import annotations

import contextlib
import pathlib
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from .analyzer.errors import EXIT_OK

if TYPE_CHECKING:
    from .session import Run


def exit_with_answer(result: Run) -> None:
    """Where a largest drop was asked for, the exit code says whether it holds."""
    from .checking import answer_code

    code = answer_code(result)
    if code != EXIT_OK:
        raise typer.Exit(code)


def stage(
    as_json: bool, folder: pathlib.Path, parts: tuple[str, ...], step: Callable[[Run], Run], *, with_plan: bool = True
) -> Run:
    """A command that reads a run folder, takes one step, and prints."""
    from . import api
    from .analyzer.runs import RunFolder
    from .terminal import Console

    with Console(as_json) as console, RunFolder.open(folder).lock():
        opened = api.open_run(folder, with_plan=with_plan, reporter=console.reporter, warn=console.warn)
        result = step(opened)
        console.close_progress()
        console.result(result, parts)
    return result


def side_by_side(
    as_json: bool, folders: Sequence[pathlib.Path], out: pathlib.Path | None, figures: pathlib.Path | None
) -> None:
    """`bitplan report` of several runs; their folders are read, and nothing is written there."""
    from . import api
    from .analyzer.errors import UsageError
    from .terminal import Console

    if out is None and not as_json:
        raise UsageError("several runs need a folder for their common page", "add --out DIR")
    with Console(as_json) as console:
        found = api.compare(folders, out=out, figures=figures, reporter=console.reporter, warn=console.warn)
        console.close_progress()
        console.comparison(found)


@contextlib.contextmanager
def writing(out: pathlib.Path, force: bool) -> Iterator[None]:
    """Keeps other processes out of the run folder; one that holds something else is refused before any work."""
    from .analyzer.runs import RunFolder

    with RunFolder.create(out, force).lock():
        yield


def names(text: str) -> tuple[str, ...]:
    """A comma-separated list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def command_line() -> str:
    """This process' command as one would type it."""
    return shlex.join(["bitplan", *sys.argv[1:]])
