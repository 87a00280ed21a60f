"""Which schemes a plan may give each op, and the rules that every plan keeps."""

from __future__ import annotations

from collections.abc import Sequence

from ...analyzer.errors import UnsupportedModel, UsageError
from ...analyzer.network.wiring import INPUT, Wiring
from ...analyzer.schema import SCHEMES, Format, Graph, Scheme, Target
from ..targets import schemes_on

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

_UNASKED = ("w8a8", "float")
"""What an op gets that has none of the allowed schemes, best first."""


def offered(graph: Graph, target: Target | None) -> tuple[tuple[str, ...], ...]:
    """Names of the schemes that each op has, narrowest first.

    Args:
      graph: The network.
      target: Where it will run; None for all that Bitplan knows.

    Raises:
      UnsupportedModel: The target cannot run an op in any scheme.
    """
    if target is None:
        return tuple(op.schemes for op in graph.ops)
    everything = tuple(schemes_on(target, op, graph) for op in graph.ops)
    missing = [op for op, names in zip(graph.ops, everything, strict=True) if not names]
    if missing:
        shown = ", ".join(f"{op.layer} ({op.opcode})" for op in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        why = "it never runs a float op" if target.integer_only else "its table has no scheme for them"
        raise UnsupportedModel(
            f"{target.name} cannot run {shown}{more}: {why}",
            "choose another --target, replace these ops in the model, or write them into a table of your own",
        )
    return everything


def schemes_for_ops(graph: Graph, allowed: Sequence[str], target: Target | None = None) -> Choices:
    """The schemes that a plan may give each op, narrowest first.

    An op keeps those of its schemes that are allowed. An op that has none of them gets `w8a8`, or `float` where it
    lacks that too (no integer kernel exists for it), or the narrowest one that the target has: `allowed` narrows the
    plan, it cannot make a kernel.

    Args:
      graph: The network.
      allowed: Names of schemes.
      target: Where it will run; None for all schemes that Bitplan knows.

    Raises:
      UnsupportedModel: The target cannot run an op in any scheme.
      UsageError: A name is unknown, or there is none.
    """
    unknown = [name for name in allowed if name not in SCHEMES]
    if unknown or not allowed:
        problem = f"there is no scheme called {', '.join(unknown)}" if unknown else "no scheme is allowed"
        raise UsageError(problem, f"choose from {', '.join(SCHEMES)}")
    ordered = [name for name in SCHEMES if name in allowed]
    result = []
    for names in offered(graph, target):
        kept = [name for name in ordered if name in names] or [_first(_UNASKED, names)]
        result.append(tuple(SCHEMES[name] for name in kept))
    return tuple(result)


def uniform_schemes(graph: Graph, name: str, target: Target | None = None) -> list[Scheme]:
    """One scheme for every op; an op that lacks it gets the next one below it, or `float`.

    Args:
      graph: The network.
      name: Of the scheme.
      target: As for `schemes_for_ops`.

    Raises:
      UnsupportedModel: The target cannot run an op in any scheme.
      UsageError: The name is unknown.
    """
    if name not in SCHEMES:
        raise UsageError(f"there is no scheme called {name}", f"choose from {', '.join(SCHEMES)}")
    order = (name, *_INSTEAD[name], "float")
    return [SCHEMES[_first(order, names)] for names in offered(graph, target)]


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


def _first(order: Sequence[str], names: Sequence[str]) -> str:
    """The first of `order` among `names`, else the first of `names`."""
    return next((name for name in order if name in names), names[0])
