"""Functions that a user names as `module:function`: finding them, calling them, and saying what went wrong in them."""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import BitplanError, DataError, UsageError

_NAME = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<function>[^\W\d]\w*(?:\.[^\W\d]\w*)*)")


def is_function_name(text: str) -> bool:
    """Whether `text` is written like `module:function` or `package.module:Class.function`."""
    return _NAME.fullmatch(text) is not None


def import_function(text: str) -> Callable[..., Any]:
    """Imports a `module:function`, from the working folder or from what is installed.

    The working folder stays on `sys.path`, as it does under `python -m`: the function may import its neighbours when it
    is called.

    Raises:
      UsageError: `text` is not of that form.
      DataError: There is no such module or function, its import fails, or it cannot be called.
    """
    match = _NAME.fullmatch(text)
    if match is None:
        hint = "without .py: " if ".py:" in text else ""
        raise UsageError(f"{text!r} is not of the form module:function", f"write it {hint}like package.module:function")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(match["module"])
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (match["module"] + ".").startswith(f"{error.name}."):
            raise DataError(
                f"there is no module {error.name}, neither in the working folder nor installed",
                f"run Bitplan in the folder that holds it, or install it; {text} names module and function",
            ) from error
        raise DataError(f"importing {match['module']} fails: {_last_line(error)}", "mend the module") from error
    for part in match["function"].split("."):
        if not hasattr(found, part):
            names = sorted(
                n for n, value in getattr(found, "__dict__", {}).items() if callable(value) and not n.startswith("_")
            )
            raise DataError(f"{match['module']} has no {match['function']}", f"it has {', '.join(names) or 'none'}")
        found = getattr(found, part)
    if not callable(found):
        raise DataError(f"{text} is a {type(found).__name__} and cannot be called", "name a function")
    return found  # type: ignore[no-any-return]


def call(function: Callable[..., Any], *arguments: Any, what: str) -> Any:
    """Calls a user's function.

    Args:
      what: The function and what it was called for, e.g. `prep:crop on sample 3`.

    Raises:
      DataError: It raised; the message ends with the last line of its traceback.
    """
    try:
        return function(*arguments)
    except BitplanError:
        raise
    except Exception as error:
        raise DataError(f"{what} fails: {_last_line(error)}", "mend the function") from error


def iterate(items: Iterable[Any], what: str) -> Iterator[Any]:
    """Goes through a user's iterable.

    Raises:
      DataError: It raised on the way.
    """
    try:
        iterator = iter(items)
    except Exception as error:
        raise DataError(f"{what} cannot be iterated over: {_last_line(error)}", "mend it") from error
    count = 0
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            return
        except BitplanError:
            raise
        except Exception as error:
            raise DataError(f"{what} fails after {count} items: {_last_line(error)}", "mend it") from error
        count += 1
        yield item


def _last_line(error: Exception) -> str:
    """The error in one line, with the place in the user's own file where it came up."""
    text = traceback.format_exception_only(error)[-1].strip()
    if isinstance(error, SyntaxError):
        return f"{text} ({Path(error.filename or '?').name}, line {error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__)[1:] if not f.filename.startswith("<frozen")]
    frames = [f for f in frames if f.filename != importlib.__file__]
    if not frames:
        return text
    # The deepest frame may be inside numpy; the first one behind ours is the user's, whose file can be mended.
    own = [f for f in frames if f.filename == frames[0].filename][-1]
    return f"{text} ({Path(own.filename).name}, line {own.lineno})"
