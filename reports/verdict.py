"""The answer in two sentences, computed from the figures and never saying more than they do."""

from __future__ import annotations

from collections import Counter

from ..analyzer.schema import SCHEMES, Evaluation, Graph, Op, Opinion, Plan, Results, SensitivityTable, Verification
from . import amounts, numbers
from .cells import Span, Verdict
from .losses import loss, same_basis
from .repair_gain import gain
from .sources import (
    Contribution,
    all_exact,
    base_scheme,
    contributions,
    input_label,
    labels,
    sample_word,
    total,
    weight_count,
)

Spans = list[Span]

# Above this share one source is the story; below it the error is spread and naming one would mislead.
DOMINANT_SHARE = 0.3


def build_verdict(results: Results) -> Verdict:
    """Two sentences: what quantization does to this model, and what the plan makes of it. A third says what repair won.

    A sentence before them says what takes the ground from under both: a file that differs from its plan, or figures
    that stand on the samples on which the plan was chosen.
    """
    verification = results.verification
    sentences: list[Spans] = []
    if verification and verification.mismatches:
        sentences.append(_mismatch(verification))
    if verification and verification.on_calibration:
        sentences.append(_unevaluated(results, verification))
    if results.sensitivity is None and results.plan is None and verification is None:
        sentences.append(_inventory(results.graph))
        return Verdict("open", "Nothing measured yet", _frozen(sentences))
    diagnosis = _diagnosis(results)
    if diagnosis:
        sentences.append(diagnosis)
    sentences.append(_plan(results))
    won = gain(verification) if verification else []
    if won:
        sentences.append(won)
    tone, label = _tone(results)
    return Verdict(tone, label, _frozen(sentences))


def _frozen(sentences: list[Spans]) -> tuple[tuple[Span, ...], ...]:
    return tuple(tuple(sentence) for sentence in sentences)


def _tone(results: Results) -> tuple[str, str]:
    verification = results.verification
    if verification and verification.mismatches:
        return "bad", "The file is not what was planned"
    plan = verification.find("plan") if verification else None
    if results.plan is None:
        return "open", "No plan yet"
    if plan is None:
        return "open", "Predicted, not measured"
    failed = _failed(results, plan)
    if failed:
        return "bad", failed
    if verification is None or verification.on_calibration:
        return "open", "Not measured on evaluation data"
    if plan.drop_points is None:
        return "open", "File as planned; only its output error was measured"
    if plan.drop_points.low > 0:
        differs = plan.drop_of == "agreement"
        return "fair", "File as planned; " + (
            "some answers differ from float" if differs else "a measurable loss is left"
        )
    return "good", "File as planned; no measurable loss"


def _failed(results: Results, emitted: Evaluation) -> str:
    """What the emitted file does not keep; "" where it keeps all that was asked for, as far as one can tell."""
    plan, verification = results.plan, results.verification
    assert plan is not None and verification is not None
    trial = results.planning.trial if results.planning else None
    if verification.opinion and verification.opinion.refusal:
        return "The target's own tool refuses the file"
    if plan.budget_bytes is not None and emitted.file_bytes > plan.budget_bytes:
        return "Over the size budget"
    arena = _arena_bytes(plan, emitted, verification.opinion)
    if plan.arena_budget_bytes is not None and arena is not None and arena > plan.arena_budget_bytes:
        return "Over the arena budget"
    return "The allowed drop does not hold" if trial and trial.answer == "fails" else ""


def _mismatch(verification: Verification) -> Spans:
    wrong = len(verification.mismatches)
    return [
        Span("The emitted file is NOT what was planned: "),
        Span(numbers.plural(wrong, "tensor"), "figure"),
        Span(f" {'has' if wrong == 1 else 'have'} another type than the plan asked for (first: "),
        Span(numbers.name(verification.mismatches[0].layer), "name"),
        Span(
            f", {verification.mismatches[0].found} instead of {verification.mismatches[0].expected}),"
            " so no figure of that file is a figure of the plan."
        ),
    ]


def _unevaluated(results: Results, verification: Verification) -> Spans:
    word = sample_word(results.graph)
    chosen = ", on which the plan was chosen too." if results.plan else "."
    return [
        Span("Nothing was measured on evaluation data", "figure"),
        Span(f": the figures stand on the {numbers.count(verification.samples)} calibration {word}{chosen}"),
    ]


def _inventory(graph: Graph) -> Spans:
    free = [op for op in graph.ops if op.schemes != ("float",)]
    weights = sum(weight_count(graph, op) for op in graph.ops)
    return [
        Span("The model has "),
        Span(numbers.plural(len(graph.ops), "op"), "figure"),
        Span(", "),
        Span(f"{numbers.large(weights)} weights", "figure"),
        Span(" and "),
        Span(numbers.megabytes(graph.file_bytes), "figure"),
        Span(" as a float .tflite; "),
        Span("every op" if len(free) == len(graph.ops) else f"{len(free)} of {len(graph.ops)} ops", "figure"),
        Span(" can be quantized. Nothing has been measured yet."),
    ]


# --- what quantization does ------------------------------------------------------------------------------------------


def _baseline(results: Results) -> tuple[Evaluation | None, str]:
    """The uniform file that a plan has to beat, and what is said before its name.

    That is int8 everywhere, unless only int4 everywhere fits the budget.
    """
    verification, plan = results.verification, results.plan
    if verification is None:
        return None, ""
    int8, int4 = verification.find("int8 everywhere"), verification.find("int4 everywhere")
    budget = plan.budget_bytes if plan else None
    if int8 and int4 and budget is not None and int8.file_bytes > budget >= int4.file_bytes:
        return int4, f"int8 everywhere takes {_near_budget(int8.file_bytes, budget)}, over the budget; "
    return int8, ""


def _diagnosis(results: Results) -> Spans:
    graph, verification, table = results.graph, results.verification, results.sensitivity
    baseline, before = _baseline(results)
    cause = _cause(results, "w4a8" if before else "")
    if baseline:
        measured = loss(baseline, graph)
        plan = verification.find("plan") if verification else None
        # The basis is said once, at the end of the second sentence, where both figures share it.
        shared = plan is not None and results.plan is not None and same_basis(baseline, plan)
        head = [Span(f"{before}{baseline.name} "), *measured.spans("" if shared else f" {measured.basis}")]
    elif table and table.int8:
        head = [
            Span(f"On the {numbers.count(table.int8.samples)} calibration samples int8 everywhere has an "),
            Span(f"output error (nmse) of {numbers.significant(table.int8.nmse)}", "figure"),
        ]
    else:
        if not cause:
            return []
        first, *others = cause
        return [Span(first.text[:1].upper() + first.text[1:], first.style), *others, Span(".")]
    return [*head, Span("; "), *cause, Span(".")] if cause else [*head, Span(".")]


def _cause(results: Results, wanted: str) -> Spans:
    """Where the error enters: one source where one dominates, else how it is spread.

    A source's share is of the joint error, or of the sum of all sources where that is larger because errors cancel. It
    is called estimated where the source's error is, and `about` so much where only the sum has estimates in it.
    """
    table, scheme = results.sensitivity, SCHEMES[wanted] if wanted else base_scheme(results)
    if table is None or scheme is None:
        return []
    parts = contributions(table, scheme)
    together = total(parts)
    if not parts or together == 0:
        return []
    joint = table.int8.nmse if table.int8 and scheme.name == "w8a8" else None
    top, share = parts[0], parts[0].nmse / max(joint or 0.0, together)
    of_joint = joint is not None and joint >= together
    about = "" if all_exact(parts) else "about "
    if share < DOMINANT_SHARE:
        several = parts[:5]
        return [
            Span("the error has no single cause: the five largest of "),
            Span(f"{len(parts)} sources hold {about}{numbers.percent(total(several) / together)}", "figure"),
            Span(" of the sum, the largest " if top.exact else " of the sum, the largest, by estimate, "),
            *_source_name(results.graph, top),
        ]
    of = "its output error" if joint is not None else f"the summed {scheme.name} error of all sources"
    nearly = "an estimated " if not top.exact else "" if of_joint else about
    figure = f"{nearly}{numbers.percent(share)} of {of}"
    return [
        Span(figure, "figure"),
        Span(" enters at "),
        *_source_name(results.graph, top),
        *_counterfactual(table, top),
    ]


def _counterfactual(table: SensitivityTable, top: Contribution) -> Spans:
    """What becomes of int8's error where the op that causes it is left in float; empty where nobody measured that."""
    left = next((left for left in table.left_float if left.op == top.op), None)
    if left is None or table.int8 is None or not 0 < left.gain <= table.int8.nmse:
        return []
    share = numbers.percent(left.gain / table.int8.nmse)
    return [Span("; with that op alone in float, "), Span(f"{share} of the error", "figure"), Span(" is gone")]


def _source_name(graph: Graph, part: Contribution) -> Spans:
    if part.op is None:
        return [Span(f"the {input_label(graph, part.tensor)}")]
    op = graph.ops[part.op]
    name = Span(labels(graph)[op.index], "name")
    if part.part == "weights":
        return [Span("the weights of "), name, Span(f" ({numbers.plural(weight_count(graph, op), 'weight')})")]
    return [Span("the output of "), name]


# --- what the plan makes of it ---------------------------------------------------------------------------------------


def _plan(results: Results) -> Spans:
    plan, graph, verification = results.plan, results.graph, results.verification
    if plan is None:
        if verification:
            return [Span("There is no plan in this run.")]
        return [Span("No plan was made in this run, and no file emitted.")]
    measured = verification.find("plan") if verification else None
    size = measured.file_bytes if measured else plan.predicted_bytes
    spans = [
        Span("The plan "),
        *_mix(plan, graph),
    ]
    if size > 0:
        # A plan that came from elsewhere predicts nothing.
        spans += [
            Span(", fits in " if measured else ", is predicted to take "),
            Span(_near_budget(size, plan.budget_bytes), "figure"),
            Span(f" ({_against_float(size, graph)}{_budget(size, plan.budget_bytes)})"),
        ]
        spans += _arena(plan, measured, verification.opinion if verification else None)
        spans += _over_baseline(results, measured)
    outcome = loss(measured, graph) if measured else None
    if measured and outcome:
        baseline, _ = _baseline(results)
        both = ", both" if baseline and same_basis(baseline, measured) else ""
        return [*spans, Span(" and "), *outcome.spans(f"{both} {outcome.basis}"), Span(".")]
    return [*spans, Span("; no file was emitted, so nothing of this is measured.")]


def _arena(plan: Plan, emitted: Evaluation | None, opinion: Opinion | None) -> Spans:
    """The other memory, under the name that says whose it is: the target's own tool has the last word."""
    size = _arena_bytes(plan, emitted, opinion)
    if not size:
        return []
    by_tool = opinion is not None and opinion.arena_bytes is not None
    if by_tool and opinion:
        whose = f" of RAM by {numbers.name(opinion.tool)}"
    else:
        whose = " of RAM" if amounts.runs_litert(plan) else f" of {amounts.ON_HOST}"
    budget = plan.arena_budget_bytes
    held = "within" if budget is not None and size <= budget else "OVER"
    limit = "" if budget is None else f" ({held} the budget of {numbers.kibibytes(budget)})"
    return [Span(" with "), Span(numbers.kibibytes(size), "figure"), Span(f"{whose}{limit}")]


def _over_baseline(results: Results, measured: Evaluation | None) -> Spans:
    """What the plan takes more, or less, than the uniform file beside it: the price of what it wins."""
    baseline, _ = _baseline(results)
    if baseline is None or measured is None or not same_basis(baseline, measured):
        return []
    changes = [("flash", measured.file_bytes - baseline.file_bytes, numbers.signed_bytes)]
    if results.plan and amounts.runs_litert(results.plan):
        changes.append(("RAM", measured.arena_bytes - baseline.arena_bytes, _signed_kibibytes))
    if all(change <= 0 for _, change, _ in changes):
        facts = [f"{words(-change).lstrip('+')} less {what}" if change else f"no more {what}"
                 for what, change, words in changes]  # fmt: skip
        compared = "than"
    else:
        facts = [f"{words(change)} of {what}" if change else f"no more {what}" for what, change, words in changes]
        compared = "over"
    return [Span(", "), Span(" and ".join(facts), "figure"), Span(f" {compared} {baseline.name},")]


def _signed_kibibytes(change: int) -> str:
    return f"{'+' if change > 0 else ''}{numbers.kibibytes(change)}"


def _arena_bytes(plan: Plan, emitted: Evaluation | None, opinion: Opinion | None) -> int | None:
    if opinion and opinion.arena_bytes is not None:
        return opinion.arena_bytes
    return emitted.arena_bytes if emitted else plan.predicted_arena_bytes


def _near_budget(size: int, budget: int | None) -> str:
    """The size with as many decimals as it takes to see on which side of the budget it lies."""
    text = numbers.megabytes(size)
    if budget is not None and size != budget and text == numbers.megabytes(budget):
        return f"{numbers.count(size)} bytes"
    return text


def _against_float(size: int, graph: Graph) -> str:
    if size == graph.file_bytes:
        return "the size of the float .tflite"
    before = numbers.megabytes(graph.file_bytes, beside=size)
    return f"{numbers.ratio(graph.file_bytes, size)} than the float .tflite of {before}"


def _budget(size: int, budget: int | None) -> str:
    if budget is None:
        return ""
    alike = numbers.megabytes(size) == numbers.megabytes(budget)
    words = f"{numbers.count(budget)} bytes" if alike else numbers.megabytes(budget, beside=size)
    return f"; {'within' if size <= budget else 'OVER'} the budget of {words}"


def _mix(plan: Plan, graph: Graph) -> Spans:
    """`keeps 1 of 65 ops in float` or `runs 5 of 65 ops in w16a16 and the rest in w8a8`.

    Ops that have no choice (only float exists for them) are said apart: the plan did not decide them.
    """
    by_key = {op.key: op for op in graph.ops}
    chosen = [a.scheme for a in plan.assignments if not _is_fixed(by_key.get(a.op))]
    fixed = len(plan.assignments) - len(chosen)
    tally = Counter(chosen)
    order = list(SCHEMES)
    ranked = sorted(tally, key=lambda name: (-tally[name], order.index(name)))
    everything = numbers.plural(len(plan.assignments), "op")
    if not ranked:
        return [Span("leaves "), Span("every op in float", "figure"), Span(": none can be quantized")]
    usual, others = ranked[0], ranked[1:]
    if ranked == ["float"]:
        return [Span("leaves "), Span("every op in float", "figure")]
    if not others:
        spans = [Span("runs "), Span(f"every op{' that can be quantized' if fixed else ''} in {usual}", "figure")]
    elif others == ["float"]:
        spans = [Span("keeps "), Span(f"{tally['float']} of {everything} in float", "figure")]
        rest = "the other one" if tally[usual] == 1 else "the others"
        spans.append(Span(f" and {rest} in {usual}"))
    else:
        listed = [f"{tally[usual]} of {everything} in {usual}", *(f"{tally[name]} in {name}" for name in others)]
        spans = [Span("runs "), Span(f"{', '.join(listed[:-1])} and {listed[-1]}", "figure")]
    if fixed:
        spans.append(Span(f", leaves {numbers.plural(fixed, 'op')} that cannot be quantized in float"))
    return spans


def _is_fixed(op: Op | None) -> bool:
    return op is not None and op.schemes == ("float",)
