"""Plans for several targets and file budgets, each converted and judged on all evaluation images that time allows.

    bitplan analyze mobilenetv2_cifar10_96.tflite --calibration cifar10.npz:x_unlabelled \\
        --evaluation cifar10.npz:x_eval,y_eval --resize 96 --scale tf --out analyzed
    python benchmarks/plans.py analyzed --json plans.json [--targets litert-cpu,ethos-u55] [--budgets 2.75MB,2.8MB]

Cells that are in the JSON file already are not made again. int16 layers run in LiteRT's reference kernels on a CPU,
some 50 times slower than int8; files with many of them are judged on the first images only, as many as `--seconds`
allow, and the table says how many. A budget that cannot be met states the smallest file. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import time
from typing import Any

import bitplan as bp
from bitplan.analyzer.conversion.devices import second_opinion
from bitplan.analyzer.conversion.verification import Candidate, evaluate
from bitplan.analyzer.errors import ImpossibleBudget
from bitplan.analyzer.network import runtime
from bitplan.analyzer.serialize import to_jsonable
from bitplan.run_data import evaluation_samples

BUDGETS = "1.75MB,2.0MB,2.25MB,2.5MB,2.75MB,2.8MB,3.0MB"
TARGETS = "litert-cpu,ethos-u55,coral,tflite-micro"
_TIMED = 4


def cell(run: Any, samples: Any, target: str, budget: str, seconds: float) -> dict[str, Any]:
    """One plan, its file and what that is worth."""
    start = time.perf_counter()
    try:
        planned = run.plan(budget, target=target).convert()
    except ImpossibleBudget as error:
        return {"impossible": error.problem, "smallest_bytes": error.smallest}
    took = time.perf_counter() - start
    plan, model = planned.plan_, planned.model
    count = min(len(samples), int(seconds * run.workers / _seconds(model, samples)))
    judged = evaluate(
        run.flatbuffer, run.graph, [Candidate("plan", model, limit=count)], samples, workers=run.workers
    )[0]  # fmt: skip
    opinion = second_opinion(planned.target, model)
    schemes: dict[str, int] = {}
    for assignment in plan.assignments:
        schemes[assignment.scheme] = schemes.get(assignment.scheme, 0) + 1
    rounds = planned.planning.trial.rounds
    return {
        "bytes": len(model), "predicted_bytes": plan.predicted_bytes, "arena_bytes": judged.arena_bytes,
        "predicted_arena_bytes": plan.predicted_arena_bytes, "predicted_nmse": plan.predicted_nmse,
        "held_back_nmse": next(r.measured_nmse for r in rounds if r.kept), "rounds": len(rounds),
        "measured_nmse": judged.error.nmse, "drop": vars(judged.drop_points), "samples": count,
        "mcnemar_p": judged.mcnemar_p, "predicted_latency": plan.predicted_latency, "unit": plan.latency_unit,
        "schemes": schemes, "status": plan.status, "mip_gap": plan.mip_gap, "seconds": took,
        "opinion": None if opinion is None else to_jsonable(opinion),
    }  # fmt: skip


def _seconds(model: bytes, samples: Any) -> float:
    """Of one sample on one thread."""
    runner = runtime.Runner(model)
    runtime.run_one(runner, samples[0])
    start = time.perf_counter()
    for index in range(_TIMED):
        runtime.run_one(runner, samples[index])
    return (time.perf_counter() - start) / _TIMED


def markdown(cells: dict[str, dict[str, Any]]) -> str:
    """All cells as a table."""
    lines = [
        "| target | budget | bytes | arena | tool's RAM | drop, points (95 %), images | error predicted / measured "
        "| latency | plan |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for key, found in cells.items():
        target, budget = key.split(" ")
        if "impossible" in found:
            lines.append(f"| {target} | {budget} | smallest: {found['smallest_bytes']:.0f} | | | | | | |")
            continue
        drop, opinion = found["drop"], found["opinion"] or {}
        plan = ", ".join(f"{count} {name}" for name, count in sorted(found["schemes"].items(), key=lambda x: -x[1]))
        lines.append(
            f"| {target} | {budget} | {found['bytes']} | {found['arena_bytes']} | {opinion.get('arena_bytes') or ''} "
            f"| {drop['value']:.2f} ({drop['low']:.2f} to {drop['high']:.2f}), {found['samples']} "
            f"| {found['predicted_nmse']:.3g} / {found['measured_nmse']:.3g} "
            f"| {found['predicted_latency']:.2f} | {plan} |"
        )
    return "\n".join(lines)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="an analyzed run folder with evaluation data")
    parser.add_argument("--targets", default=TARGETS)
    parser.add_argument("--budgets", default=BUDGETS)
    parser.add_argument("--seconds", type=float, default=120.0, help="of evaluation for one file")
    parser.add_argument("--json", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    run = bp.open_run(arguments.folder, with_plan=False, warn=print)
    samples = evaluation_samples(run)
    # The run's own folder stays as it is: plans are made in memory.
    run = dataclasses.replace(run, folder=None)
    cells = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    for target in arguments.targets.split(","):
        for budget in arguments.budgets.split(","):
            if f"{target} {budget}" not in cells:
                cells[f"{target} {budget}"] = cell(run, samples, target, budget, arguments.seconds)
                arguments.json.write_text(json.dumps(cells, indent=1))
                print(markdown({f"{target} {budget}": cells[f"{target} {budget}"]}).splitlines()[-1], flush=True)
    print(markdown(cells))


if __name__ == "__main__":
    main()
