"""Which schemes a plan may give each op, and the rules that every plan keeps."""

from __future__ import annotations

from collections.abc import Sequence

from ...analyzer.errors import UsageError
from ...analyzer.network.wiring import INPUT, Wiring
from ...analyzer.schema import SCHEMES, Format, Graph, Scheme

Choices = tuple[tuple[Scheme, ...], ...]

_INSTEAD = {
    "w4a8": ("w8a8",),
    "w4a16": ("w8a16", "w8a8"),
    "w8a8": (),
    "w8a16": ("w8a8",),
    "w16a8": ("w8a8",),
    "w16a16": ("w8a16", "w8a8"),
    "float": (),
}
"""What a uniform plan gives an op that lacks the scheme, best first; `float` where none of these exists."""


def schemes_for_ops(graph: Graph, allowed: Sequence[str]) -> Choices:
    """The schemes that a plan may give each op, narrowest first.

    An op keeps those of its schemes that are allowed. An op that has none of them gets `w8a8`, or `float` where it
    lacks that too (no integer kernel exists for it): `allowed` narrows the plan, it cannot make a kernel.

    Args:
      graph: The network.
      allowed: Names of schemes.

    Raises:
      UsageError: A name is unknown, or there is none.
    """
    unknown = [name for name in allowed if name not in SCHEMES]
    if unknown or not allowed:
        problem = f"there is no scheme called {', '.join(unknown)}" if unknown else "no scheme is allowed"
        raise UsageError(problem, f"choose from {', '.join(SCHEMES)}")
    ordered = [name for name in SCHEMES if name in allowed]
    result = []
    for op in graph.ops:
        names = [name for name in ordered if name in op.schemes] or ["w8a8" if "w8a8" in op.schemes else "float"]
        result.append(tuple(SCHEMES[name] for name in names))
    return tuple(result)


def uniform_schemes(graph: Graph, name: str) -> list[Scheme]:
    """One scheme for every op; an op that lacks it gets the next one below it, or `float`.

    Raises:
      UsageError: The name is unknown.
    """
    if name not in SCHEMES:
        raise UsageError(f"there is no scheme called {name}", f"choose from {', '.join(SCHEMES)}")
    order = (name, *_INSTEAD[name], "float")
    return [SCHEMES[next(n for n in order if n in op.schemes)] for op in graph.ops]


def settle(wiring: Wiring, choices: Choices, schemes: list[Scheme], io: Format) -> None:
    """Gives each movement op the format in which its values were written, where it has that choice.

    It moves values without rounding them, so any other format costs a border and wins nothing. Changes `schemes`.
    """
    for op, tensor in wiring.source.items():
        writer = wiring.writer[tensor]
        written = io if writer == INPUT else schemes[writer].format
        schemes[op] = following(choices[op], schemes[op], written)


def following(choices: Sequence[Scheme], current: Scheme, written: Format) -> Scheme:
    """The scheme of a movement op whose values were written in a format: the same one, where it has that choice."""
    if current.format is written:
        return current
    return next((scheme for scheme in choices if scheme.format is written), current)
