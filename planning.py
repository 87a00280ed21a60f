"""The second stage of a run: from sensitivities to a plan whose file was measured, and what there is to say of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .analyzer.conversion.costs import build_costs
from .analyzer.errors import ImpossibleBudget, RunFolderError, UsageError
from .analyzer.schema import Frontier, Planning, Target
from .run_data import calibration_samples, held_back_samples
from .session import Run
from .strategies.assignment.budgets import DEFAULT_LATENCY, Budgets
from .strategies.assignment.noise import build_noise
from .strategies.assignment.resources import Resources, build_resources
from .strategies.drafting import Drafter, default_budget
from .strategies.explain import explain
from .strategies.loop import Loop, Settled
from .strategies.pareto import frontier_beside_baselines, price_beside, to_frontier
from .strategies.request import MINIMISE, Request, budgets_of, has_slow_kernels, parse_points
from .strategies.targets import load_target
from .strategies.trial import SAMPLES, Court, spread

_MOST_POINTS = 24
_ROOM = 1.1
"""How much longer than the fastest plan one may take, where no plan is as fast as by default."""


@dataclass(frozen=True)
class _Task:
    """A request, understood.

    Attributes:
      default_latency: Whether nobody asked for the limit on latency.
    """

    run: Run
    request: Request
    target: Target
    resources: Resources
    budgets: Budgets
    drafter: Drafter
    default_latency: bool


def plan(run: Run, request: Request) -> Run:
    """See `Run.plan`."""
    if run.sensitivity is None or run.calibration is None:
        raise RunFolderError("the model has not been analyzed", "run `bitplan analyze` first")
    target = load_target(request.target)
    run = _measured_for(run, target)
    if request.max_drop and not run.graph.is_classifier:
        raise UsageError(
            "the network scores no classes, so it has no accuracy to lose",
            "leave --max-drop out and give a budget: --size-budget 2.8MB",
        )
    task = _understood(run, request, target)
    court = _court(run)
    with run.timed("plan_s") as measured:
        task, settled = _settle(task, court)
    plan_ = settled.draft.plan
    planned = run.with_new_plan(plan_, target, settled.draft.conversion)
    drafter = replace(task.drafter, noise=settled.noise)
    found = Planning(
        reasons=explain(run.graph, settled.noise, task.drafter.costs, plan_, target=target),
        price=price_beside(run.graph, settled.noise, drafter.costs, plan_, target=target),
        trial=settled.trial,
        frontier=_frontier(replace(task, drafter=drafter), court, run) if request.pareto else None,
    )
    planned = replace(planned, planning=found, measured=measured())
    planned.save_stage("planning", found, "")
    return planned


def _measured_for(run: Run, target: Target) -> Run:
    """The run with the sensitivities of the target's kind of weights."""
    assert run.sensitivity is not None
    if run.sensitivity.per_channel == target.per_channel:
        return run
    from .analysis import analyze

    return analyze(
        run, run.sensitivity.mode, left_float=bool(run.sensitivity.left_float), per_channel=target.per_channel
    )  # fmt: skip


def _understood(run: Run, request: Request, target: Target) -> _Task:
    assert run.sensitivity is not None and run.calibration is not None
    io = request.io_format
    noise = build_noise(run.graph, run.sensitivity, per_channel=target.per_channel)
    costs = build_costs(run.graph, run.flatbuffer, per_channel=target.per_channel)
    resources = build_resources(run.graph, costs, target, io)
    size = None
    if request.size_budget is None and request.goal == "noise":
        size = default_budget(run.flatbuffer, run.graph, run.calibration, io, target, allowed=request.allow)
    allowed = request.allow
    if size is not None and size >= run.graph.file_bytes:
        # A tiny model is smaller in float than its int8 file with all its scales. Nobody quantizes to hear that.
        allowed = tuple(name for name in allowed if name != "float")
    default = DEFAULT_LATENCY if has_slow_kernels(target) and not request.latency_budget.strip() else None
    budgets = budgets_of(request, run.graph, resources, default_size=size, default_latency=default)
    drafter = Drafter(
        run.flatbuffer, run.graph, run.calibration, noise, costs, target, tuple(allowed), io, request.strategy
    )
    return _Task(run, request, target, resources, budgets, drafter, default is not None)


def _with_more_time(task: _Task) -> _Task:
    """The task with as much time as the other budgets need, and a little more."""
    fastest = task.drafter.draft(replace(task.budgets, latency=None), "latency").plan.predicted_latency
    assert fastest is not None, "every plan of a target has a latency"
    limit = fastest * _ROOM
    task.run.warn(
        f"within the other budgets no plan is nearly as fast as int8: up to {limit / task.resources.int8_latency:.1f} "
        "times its time is allowed (--latency-budget says otherwise)"
    )
    return replace(task, budgets=replace(task.budgets, latency=limit), default_latency=False)


def _court(run: Run) -> Court:
    samples = held_back_samples(run, SAMPLES)
    judged = calibration_samples(run) if samples is None else samples
    return Court(
        run.flatbuffer, run.graph, judged, samples is not None, seed=run.inputs.options.seed, workers=run.workers
    )  # fmt: skip


def _settle(task: _Task, court: Court) -> tuple[_Task, Settled]:
    """The loop's end; with more time where nobody asked for so little of it, and no plan can do with that."""
    progress = task.run.reporter("Choosing a precision for every layer, and measuring the file")
    loop = Loop(task.drafter, court, progress)
    try:
        if not task.request.max_drop:
            return task, loop.least_error(task.budgets)
        return task, loop.least(task.request.goal, task.budgets, parse_points(task.request.max_drop))
    except ImpossibleBudget:
        if not task.default_latency:
            raise
    return _settle(_with_more_time(task), court)


def _frontier(task: _Task, court: Court, run: Run) -> Frontier:
    along, drafter = MINIMISE[task.request.pareto], task.drafter
    run.reporter("Finding the best plan for every budget")(0, 1)
    plans, rivals = frontier_beside_baselines(
        run.graph, drafter.noise, task.drafter.costs, along=along, budgets=task.budgets, allowed=drafter.allowed,
        io=drafter.io, target=task.target, points=_MOST_POINTS,
    )  # fmt: skip
    found = to_frontier(plans, rivals, along)
    chosen = spread(task.request.verify_points, plans) if task.request.verify_points else []
    progress = run.reporter("Measuring points of the frontier") if chosen else None
    points = list(found.points)
    for done, index in enumerate(chosen):
        draft = drafter.made_from(plans[index])
        outcome = court.judge(draft)
        points[index] = replace(
            points[index], emitted_bytes=draft.file_bytes, emitted_arena_bytes=draft.arena_bytes,
            measured_nmse=outcome.nmse, drop_points=outcome.drop,
        )  # fmt: skip
        if progress:
            progress(done + 1, len(chosen))
    return replace(found, points=tuple(points))
