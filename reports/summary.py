"""A run in a screenful of Markdown: what a terminal prints of a plan, and what goes into a pull request."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..analyzer.schema import Results
from .cells import PlanPart
from .markdown import as_markdown
from .repair_cells import RepairPart
from .view import build_view


def plan_summary(part: PlanPart) -> str:
    """What a plan uses of its limits, how it was tried, and what a little more would buy: for a terminal."""
    return "\n\n".join(_plan(part, str)) + "\n"


def _plan(part: PlanPart, text: Callable[[str], str]) -> list[str]:
    """Paragraphs and the table of limits, which has no name in it; `text` is what every sentence goes through."""
    blocks = [text(part.mix)]
    if part.limits:
        blocks += [as_markdown(part.limits).rstrip(), *map(text, part.limits.notes)]
    if part.trial:
        blocks.append(text(f"{part.trial.outcome} {part.trial.basis}"))
        blocks += ["\n".join(f"- {text(line)}" for line in part.trial.advice)] if part.trial.advice else []
    if part.frontier:
        blocks += map(text, part.frontier.findings)
    return [*blocks, text(part.price)] if part.price else blocks


def repair_summary(part: RepairPart) -> str:
    """What was kept, what that came to and on what it stands: for a terminal, below the table of steps."""
    return f"{part.outcome}\n{part.basis}\n"


def _repairs(part: RepairPart) -> list[str]:
    """The same with its tables."""
    blocks = [_inert(part.outcome), as_markdown(part.steps).rstrip(), _inert(part.basis)]
    if part.kernels:
        blocks += [_inert(part.kernels_note), as_markdown(part.kernels).rstrip()]
    return blocks


def markdown_summary(results: Results) -> str:
    """The answer, before and after, the plan and its repairs, as Markdown in which no name can become markup."""
    view = build_view(results)
    blocks = [f"## {_inert(view.title)}", f"**{view.verdict.label}.** {_inert(view.verdict.text)}"]
    if view.banner:
        blocks.insert(1, f"**{view.banner}.**")
    if view.comparison:
        blocks.append(as_markdown(view.comparison).rstrip())
        blocks += map(_inert, view.comparison.notes)
    if view.opinion:
        blocks.append(_inert(f"{view.opinion.source}."))
        if view.opinion.refusal:
            blocks.append(f"**It refuses the file:** {_inert(view.opinion.refusal)}")
        elif view.opinion.memory:
            blocks.append(as_markdown(view.opinion.memory).rstrip())
        blocks.append("\n".join(f"- {_inert(f'{key}: {value}')}" for key, value in view.opinion.items))
    if view.plan:
        blocks += _plan(view.plan, _inert)
    if view.repairs:
        blocks += _repairs(view.repairs)
    return "\n\n".join(filter(None, blocks)) + "\n"


def _inert(text: str) -> str:
    """Text with everything escaped that Markdown or HTML would read as markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~&])", r"\\\1", text)
