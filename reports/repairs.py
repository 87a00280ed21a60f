"""The repairs of a plan: which were tried, which were kept, and what each did on samples that were held back."""

from __future__ import annotations

from ..analyzer.schema import HeldBackError, Interval, KernelAgreement, Likeness, RepairLog, RepairStep, Results
from . import numbers
from .cells import Cell, Column, Row, Table
from .repair_cells import Fall, Learned, RepairPart
from .sources import sample_word

BEFORE, AFTER, KEPT, DROPPED = "before repair", "after repair", "kept", "dropped"
"""Kinds of bars in the waterfall."""

_ARROW = "\N{RIGHTWARDS ARROW}"
_ERRORS = {"kl": ("KL divergence", ", nats"), "nmse": ("nmse", "")}
_TITLES = {"bias_correction": "bias correction", "distillation": "self-distillation"}
_WHAT = {
    "ranges": "Ranges of activations other than the extremes, chosen by their error",
    "equalization": "Weight ranges of neighbouring layers made alike; the float output stays as it is",
    "bias_correction": "Each layer's mean error taken off its bias",
    "rounding": "Which way each weight is rounded, learned layer by layer",
    "distillation": "The quantized network learns to answer like the float network",
}


def repair_part(results: Results) -> RepairPart | None:
    """Everything that a page shows of repairs; None where there were none."""
    log = results.repair
    if log is None:
        return None
    word = sample_word(results.graph)
    learned = _learned(log)
    return RepairPart(
        outcome=_outcome(log),
        basis=_basis(log, word),
        falls=_falls(log),
        axis=_axis(log),
        error=_measure(log),
        steps=_steps(log),
        learned=learned,
        training=_training(learned, log),
        kernels=_kernels(log.kernels, word) if log.kernels else None,
        kernels_note=_kernels_note(log.kernels, word) if log.kernels else "",
    )


def title(name: str) -> str:
    """A repair's name as it can be shown."""
    return _TITLES.get(name, numbers.name(name))


def _labels(log: RepairLog) -> list[str]:
    """A name for each step; a repair that was tried again has a number behind it."""
    names = [title(step.name) for step in log.steps]
    again = [names[:place].count(name) for place, name in enumerate(names)]
    return [f"{name} ({often + 1})" if often else name for name, often in zip(names, again, strict=True)]


def _measure(log: RepairLog, when: str = "") -> str:
    """Name and unit of the error that decided: `KL divergence before, nats`."""
    name, unit = _ERRORS[log.error_of]
    return f"{name}{' ' if when else ''}{when}{unit}"


# --- in words --------------------------------------------------------------------------------------------------------


def _outcome(log: RepairLog) -> str:
    """What was kept, and where that took error and drop: figures of the last step that was kept."""
    if not log.steps:
        return "No repair was tried."
    kept = [step for step in log.steps if step.kept]
    if not kept:
        return "No repair was kept: the file is as planned."
    names = ", ".join(title(step.name) for step in kept)
    line = f"Kept {len(kept)} of {numbers.plural(len(log.steps), 'repair')}: {names}."
    before, after = kept[0], kept[-1]
    if after.after is not None:
        name, unit = _ERRORS[log.error_of]
        change = f"{numbers.significant(before.before)} {_ARROW} {numbers.significant(after.after)}"
        line += f" {name}: {change}{unit.replace(',', '')}."
    if before.drop_before is not None and after.drop_after is not None:
        of = f" of {log.drop_of}" if log.drop_of else ""
        change = f"{numbers.interval(before.drop_before)} {_ARROW} {numbers.interval(after.drop_after)}"
        line += f" Drop{of}: {change} points."
    return line


def _basis(log: RepairLog, word: str) -> str:
    decided = _so_many(log.held_back, word)
    sentences = [
        f"Each step was kept or dropped by the emitted file's error on {decided} that were held back; repairs were made"
        f" from {numbers.count(log.learned_from)} others. Evaluation {word} were not looked at."
    ]
    if log.drop_of == "expected accuracy":
        sentences.append("There are no labels: the float network's own probabilities stand for them in every drop.")
    plain, repaired = log.plain_bytes, log.bytes
    if plain == repaired:
        sentences.append(f"The file has {numbers.plural(plain, 'byte')} before and after.")
    else:
        sizes = f"{numbers.plural(plain, 'byte')} before and {numbers.count(repaired)} after"
        sentences.append(f"The file has {sizes} ({numbers.signed_bytes(repaired - plain)}).")
    return " ".join(sentences)


def _so_many(samples: int, word: str) -> str:
    return f"{numbers.count(samples)} {word[:-1] if samples == 1 else word}"


# --- the waterfall ---------------------------------------------------------------------------------------------------


def _by_drop(log: RepairLog) -> bool:
    """Whether the waterfall falls in points: every repair that was tried must have them."""
    tried = [step for step in log.steps if step.after is not None]
    return bool(tried) and all(step.drop_before and step.drop_after for step in tried)


def _axis(log: RepairLog) -> str:
    if _by_drop(log):
        return f"drop of {log.drop_of or 'accuracy'} against float, points"
    return _measure(log)


def _falls(log: RepairLog) -> tuple[Fall, ...]:
    """One bar for each repair that was tried to its end, between the file before and the file after all of them."""
    pairs = zip(_labels(log), log.steps, strict=True)
    tried = [(label, step, step.after) for label, step in pairs if step.after is not None]
    if not tried:
        return ()
    by_drop = _by_drop(log)
    _, first, _ = tried[0]
    standing = _figure(first.before, first.drop_before, by_drop)
    bars = [_whole(BEFORE, standing, by_drop)]
    for label, step, error in tried:
        ends = _figure(error, step.drop_after, by_drop)
        bars.append(_bar(label, KEPT if step.kept else DROPPED, standing.value, ends, by_drop))
        standing = ends if step.kept else standing
    return (*bars, _whole(AFTER, standing, by_drop))


def _figure(error: float, drop: Interval | None, by_drop: bool) -> Interval:
    return drop if by_drop and drop else Interval(error, error, error)


def _text(figure: Interval, by_drop: bool) -> str:
    return f"{numbers.interval(figure)} points" if by_drop else numbers.significant(figure.value)


def _short(value: float, by_drop: bool) -> str:
    return numbers.fixed(value, 2) if by_drop else numbers.significant(value)


def _whole(kind: str, at: Interval, by_drop: bool) -> Fall:
    return Fall(kind, kind, 0.0, at.value, at.low, at.high, _short(at.value, by_drop), _text(at, by_drop))


def _bar(label: str, kind: str, start: float, ends: Interval, by_drop: bool) -> Fall:
    change = ends.value - start
    short = f"{'+' if change > 0 else ''}{_short(change, by_drop)}"
    note = f"{_short(start, by_drop)} {_ARROW} {_text(ends, by_drop)}; {kind}"
    return Fall(label, kind, start, ends.value, ends.low, ends.high, short, note)


# --- tables ----------------------------------------------------------------------------------------------------------


def _steps(log: RepairLog) -> Table:
    drops = any(step.drop_before or step.drop_after for step in log.steps)
    mean = "Mean over the held-back samples"
    points = f"Drop of {log.drop_of or 'accuracy'} against float on the held-back samples; 95 % interval"
    columns = (
        Column("Repair", "In the order in which they were tried; each builds on those that were kept"),
        Column("Outcome"),
        Column(_measure(log, "before"), f"Of the emitted file without it. {mean}", True),
        Column(_measure(log, "after"), f"Of the emitted file with it. {mean}", True),
        *((Column("Drop before, points", points, True), Column("Drop after, points", points, True)) if drops else ()),
        Column("What it changed"),
    )
    rows = []
    for label, step in zip(_labels(log), log.steps, strict=True):
        facts = tuple(numbers.name(fact, 400) for fact in step.facts)
        cells = (
            Cell(label, label, _WHAT.get(step.name, "")),
            _verdict(step),
            _error(step.before),
            _error(step.after),
            *((_drop(step.drop_before), _drop(step.drop_after)) if drops else ()),
            Cell("; ".join(facts)),
        )
        rows.append(Row(cells, role="plan" if step.kept else "aside" if step.after is None else ""))
    return Table("repairs", "Repairs, in the order in which they were tried", columns, tuple(rows))


def _verdict(step: RepairStep) -> Cell:
    if step.skipped:
        return Cell("not tried", "not tried", detail=numbers.name(step.skipped, 400))
    if step.after is None:
        return Cell("not finished", "not finished")
    if step.kept:
        return Cell(KEPT, KEPT)
    return Cell(DROPPED, DROPPED, detail="" if step.after < step.before else "the error did not fall")


def _error(value: float | None) -> Cell:
    return Cell("", None) if value is None else Cell(numbers.significant(value), value)


def _drop(drop: Interval | None) -> Cell:
    return Cell("", None) if drop is None else Cell(numbers.interval(drop), drop.value)


def _learned(log: RepairLog) -> tuple[Learned, ...]:
    found = []
    for label, step in zip(_labels(log), log.steps, strict=True):
        best = _chosen(step.curve)
        found += [Learned(label, point.step, point.error, point is best) for point in step.curve]
    return tuple(found)


def _chosen(curve: tuple[HeldBackError, ...]) -> HeldBackError | None:
    """Training keeps the weights with the least held-back error, the earliest of equals."""
    return min(curve, key=lambda point: point.error, default=None)


def _training(learned: tuple[Learned, ...], log: RepairLog) -> Table | None:
    columns = (
        Column("Repair"),
        Column("After steps", "0 is the file without any training", True),
        Column(_measure(log), "Of the simulated file, mean over held-back samples", True),
        Column("Chosen", "Whether these weights were taken: those with the least held-back error"),
    )
    rows = tuple(
        Row(
            (
                Cell(one.repair, one.repair),
                Cell(numbers.count(one.step), one.step),
                _error(one.error),
                Cell("yes" if one.chosen else "no"),
            ),
            role="plan" if one.chosen else "",
        )
        for one in learned
    )
    return Table("training", "Error while training", columns, rows) if rows else None


# --- simulated and real ----------------------------------------------------------------------------------------------


def _pairs(kernels: KernelAgreement) -> tuple[tuple[str, str, Likeness], ...]:
    return (
        ("simulation", "XNNPACK", kernels.simulated_xnnpack),
        ("simulation", "reference kernels", kernels.simulated_reference),
        ("reference kernels", "XNNPACK", kernels.reference_xnnpack),
    )


def _kernels(kernels: KernelAgreement, word: str) -> Table:
    pairs = _pairs(kernels)
    classes = any(alike.agreement is not None for _, _, alike in pairs)
    columns = (
        Column("One"),
        Column("The other"),
        *(
            (Column("Same top-1 answer", f"Share of {word} to which both give the same answer", True),)
            if classes
            else ()
        ),
        Column("Difference (nmse)", "Mean squared difference of their outputs over the variance of float's", True),
        Column(word.capitalize(), "How many both ran on; they were held back", True),
    )
    rows = tuple(
        Row(
            (
                Cell(one, one),
                Cell(other, other),
                *((_share(alike.agreement),) if classes else ()),
                _error(alike.nmse),
                Cell(numbers.count(kernels.samples), kernels.samples),
            )
        )
        for one, other, alike in pairs
    )
    return Table("kernels", "The simulation and LiteRT's kernels beside each other", columns, rows)


def _share(value: float | None) -> Cell:
    return Cell("", None) if value is None else Cell(numbers.percent(value, 2), value)


def _kernels_note(kernels: KernelAgreement, word: str) -> str:
    """The simulation's distance from XNNPACK beside the distance that LiteRT's own two sets of kernels keep."""
    n = _so_many(kernels.samples, word)
    simulated, real = kernels.simulated_xnnpack, kernels.reference_xnnpack
    head = ""
    if real.nmse > 0:
        head = "LiteRT's own two sets of kernels do not agree to the last digit, so no simulation can agree with both. "
    if simulated.agreement is None or real.agreement is None:
        how = (
            f"On {n} the simulation that repairs were made in differs from XNNPACK by an nmse of"
            f" {numbers.significant(simulated.nmse)}, the reference kernels by {numbers.significant(real.nmse)}"
        )
        farther = "farther" if simulated.nmse > real.nmse else ""
    else:
        how = (
            f"On {n} the simulation that repairs were made in gives XNNPACK's answer {_often(simulated.agreement)}, the"
            f" reference kernels {_often(real.agreement)}"
        )
        points = 100 * (real.agreement - simulated.agreement)
        farther = f"{numbers.fixed(points, 2)} points farther" if points > 0 else ""
    meaning = f"{farther} from XNNPACK than" if farther else "no farther from XNNPACK than"
    return f"{head}{how}: it is {meaning} LiteRT's other kernels are."


def _often(share: float) -> str:
    return f"{numbers.percent(share, 1)} of the time"
