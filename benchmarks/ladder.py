"""What each repair is worth alone, and the ladder: several plans of one network, judged on all evaluation samples.

    bitplan analyze mobilenetv2_cifar10_96.tflite --calibration cifar10.npz:x_unlabelled \\
        --evaluation cifar10.npz:x_eval,y_eval --resize 96 --scale tf --out analyzed
    python benchmarks/ladder.py analyzed --json ladder.json [--plans w8a8,2.75MB,w4a8,2.0MB] [--time-budget 15m]

A plan is a scheme for all ops that have it, or a file budget for the planner. Everything is learned and chosen on
calibration data; evaluation samples are run once for each finished file. Cells that are in the JSON file already are
not made again; the analyzed folder stays as it is. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import bitplan as bp
from bitplan.analyzer.conversion.verification import Candidate, evaluate
from bitplan.analyzer.schema import REPAIRS, SCHEMES
from bitplan.analyzer.serialize import to_jsonable
from bitplan.run_data import evaluation_samples
from bitplan.strategies.ladder import check_steps

LADDER = "ladder"
PLAIN = "plain"


def planned(run: Any, plan: str, target: str) -> Any:
    """The run with a plan: one scheme everywhere, or what the planner makes of a file budget."""
    if plan in SCHEMES:
        return run.plan("none", strategy="uniform", allow=(plan,), latency_budget="none", target=target)
    return run.plan(plan, target=target)


def steps_of(name: str) -> tuple[str, ...]:
    """Which repairs a column of the table stands for; none for the plain file."""
    whole = {PLAIN: (), LADDER: REPAIRS}
    return whole[name] if name in whole else check_steps(name.split("+"))


def cell(planned: Any, samples: Any, steps: Sequence[str], time_budget: str) -> dict[str, Any]:
    """The file after some repairs, and what it is worth."""
    wall, busy = time.perf_counter(), time.process_time()
    repaired = planned.repair(steps, time_budget=time_budget) if steps else planned
    model = repaired.convert().model
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    judged = evaluate(planned.flatbuffer, planned.graph, [Candidate("repaired", model)], samples, workers=2)[0]
    drop = judged.drop_points
    return {
        "bytes": len(model), "ratio": len(planned.flatbuffer) / len(model), "nmse": judged.error.nmse,
        "drop": None if drop is None else vars(drop), "samples": judged.error.samples,
        "agreement": judged.error.agreement, "mcnemar_p": judged.mcnemar_p, "seconds": wall, "cpu_seconds": busy,
        "log": to_jsonable(repaired.repair_) if steps else None,
    }  # fmt: skip


def markdown(cells: dict[str, dict[str, Any]]) -> str:
    """All cells as a table."""
    lines = [
        "| plan | repairs | kept | bytes | float / file | drop, points (95 %) | nmse | samples | seconds (CPU) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for key, found in cells.items():
        plan, repairs = key.split(" ")
        kept = [] if found["log"] is None else [step["name"] for step in found["log"]["steps"] if step["kept"]]
        drop = found["drop"]
        points = "" if drop is None else f"{drop['value']:.2f} ({drop['low']:.2f} to {drop['high']:.2f})"
        lines.append(
            f"| {plan} | {repairs} | {', '.join(kept)} | {found['bytes']} | {found['ratio']:.2f} | {points} "
            f"| {found['nmse']:.3g} | {found['samples']} | {found['seconds']:.0f} ({found['cpu_seconds']:.0f}) |"
        )
    return "\n".join(lines)


def fill(run: Any, plans: Sequence[str], repairs: Sequence[str], path: pathlib.Path, **options: str) -> None:
    """Makes the cells that the JSON file has not, and writes each into it."""
    samples = evaluation_samples(run)
    # The run's own folder stays as it is: plans and repairs are made in memory.
    run = dataclasses.replace(run, folder=None)
    cells = json.loads(path.read_text()) if path.exists() else {}
    for plan in plans:
        missing = [name for name in repairs if f"{plan} {name}" not in cells]
        start = planned(run, plan, options["target"]) if missing else None
        for name in missing:
            found = cell(start, samples, steps_of(name), options["time_budget"])
            cells[f"{plan} {name}"] = found
            path.write_text(json.dumps(cells, indent=1))
            print(markdown({f"{plan} {name}": found}).splitlines()[-1], flush=True)
    print(markdown(cells))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="an analyzed run folder with evaluation data")
    parser.add_argument("--plans", default="w8a8,2.75MB,w4a8,2.0MB")
    parser.add_argument(
        "--repairs", default=",".join((PLAIN, *REPAIRS, LADDER)), help="one, several joined by +, or ladder"
    )
    parser.add_argument("--target", default="litert-cpu")
    parser.add_argument("--time-budget", default="15m", help="of each cell")
    parser.add_argument("--json", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    run = bp.open_run(arguments.folder, with_plan=False, warn=print)
    fill(
        run, arguments.plans.split(","), arguments.repairs.split(","), arguments.json,
        target=arguments.target, time_budget=arguments.time_budget,
    )  # fmt: skip


if __name__ == "__main__":
    main()
