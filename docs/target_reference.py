"""Writes docs/targets.md from the tables themselves, so that it cannot drift. `python docs/target_reference.py`"""

from __future__ import annotations

import pathlib

from bitplan.analyzer.network.kernels import schemes_for
from bitplan.analyzer.schema import ASSUMED, EVERY_OP, Target
from bitplan.strategies.targets import load_target, shipped_targets

PAGE = pathlib.Path(__file__).with_name("targets.md")

INTRODUCTION = """# Targets

A target is a table: which schemes each op has on a device, and what they cost there. `--target` takes the name of one
of the tables below, or the path of your own file.

A plan gives an op only schemes that its target lists. An integer-only target never gets a float op, not even one that
falls back to a CPU. `w16a8` and `w16a16` are never listed: they are two 8-bit ops and an ADD, and exist where the
target has these (`w8a8`, or `w8a16`, for the op and for ADD). A scheme whose kernel is known to be wrong cannot be
listed, such as 4-bit weights for depthwise convolutions.

Where a compiler refuses an op for its shape, the table cannot know: the compiled file has the last word.

## A file of your own

```toml
title = "Our chip, first silicon"
runtime = "other"            # whose memory and time hold: litert, tflite-micro, vela or other
integer_only = true          # never a float op
per_channel = true           # false: one scale for each tensor of weights
io = ["int8"]                # formats of inputs and outputs that need no QUANTIZE on a CPU

[sources]                    # every line cites one of these, or "assumed"
manual = "Our chip, reference manual 1.3, chapter 7"
bench = "measured on the evaluation board, 2026-05-04"

[kernels]                    # op = { scheme = cost, ..., source = where it says so }
CONV_2D = { w4a8 = 0.6, w8a8 = 1, w8a16 = 2, source = "manual" }
DEPTHWISE_CONV_2D = { w8a8 = 4, source = "manual", cost_source = "bench" }
FULLY_CONNECTED = { w8a8 = 1, w8a16 = { cost = 2, source = "manual", note = "at most 4096 inputs" }, source = "bench" }
ADD = { w8a8 = 20, w8a16 = 40, source = "manual", cost_source = "assumed" }
RESHAPE = { w8a8 = 0, w8a16 = 0, source = "manual" }

[borders]                    # QUANTIZE and DEQUANTIZE, by what they read and write
"int8 -> int16" = { cost = 20, source = "assumed" }
"int16 -> int8" = { cost = 20, source = "assumed" }
"float -> int8" = { cost = 500, source = "assumed", note = "on the CPU" }
"int8 -> float" = { cost = 500, source = "assumed", note = "on the CPU" }
```

- **cost** is relative: the time of one multiply-accumulate, or of one element where an op has none (one that it reads
  for pooling and reductions, one that it writes for the rest). A multiply-accumulate of an int8 CONV_2D is 1.
- **source** is the document that says that the kernel exists, **cost_source** the one that its cost comes from (the
  same unless it is given), **note** what limits it. A single scheme may have its own: `{ cost = ..., source = ... }`.
- `"*"` stands for every op that has no line.
- A border without a line does not exist there.
- `[measured]` holds milliseconds by op of one model, as `"3:DEPTHWISE_CONV_2D:1x3x3x32" = { w8a8 = 0.21 }`; they go
  before the costs, and `mac_ms` at the top says how many milliseconds a cost of 1 is. The tables below have none.

## Measured on this machine

    bitplan measure-latency model.tflite --out cpu.toml
    bitplan plan out --target cpu.toml --latency-budget 3.4ms

The first command times every op of the model in every scheme, and each kind of border op, with the interpreter that
ships, and writes a table like the one above with `[measured]`, borders and `mac_ms` filled in. It needs no data. With
it, latencies are milliseconds and not times of int8. `--threads` is how many threads a kernel may use, `--base` the
target whose schemes are timed (one that runs in LiteRT: times of a CPU say nothing of another device).

- The model is converted once for each scheme, and every op cut out of that file as it stands there; a split is its two
  8-bit ops and the ADD, timed together. Ops that are equal but for their weights are timed once.
- A time is the best of rounds of about a millisecond, spread over five passes through all ops, less what a call of a
  network without ops takes. With one thread it is processor time of that thread, with several that of the wall clock.
  So it is what an otherwise idle machine does; on a busy one, files take longer.
- Activations are those of a made-up sample. Most kernels take the same time for any; QUANTIZE between int8 and int16,
  which runs in reference kernels, does not: its time for one element is the median over eight large activations.
- A latency is the sum over ops and border ops. The command prints how well that sum agrees with float and int8
  everywhere, timed in the same passes; `python benchmarks/latency.py MODEL.tflite` does so for 18 mixed files.
- An op's line also says how much it computes (`work`: multiply-accumulates, or elements where it has none). A table of
  another network, or of the same at another resolution, is refused; one of a network trained anew is not.
- `[sources]` names processor, threads, date and versions.

"""


def reference() -> str:
    """The whole page."""
    targets = [load_target(name) for name in shipped_targets()]
    lines = ["## What there is", "", "| target | | runtime | float ops | weights' scales | inputs, outputs |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for target in targets:
        lines.append(
            f"| `{target.name}` | {target.title} | {target.runtime} | {'never' if target.integer_only else 'yes'} | "
            f"{'per channel' if target.per_channel else 'per tensor'} | {', '.join(target.io)} |"
        )
    lines += ["", "## Schemes", "", "Ops that can be integer somewhere; a dash where a target cannot run one.", ""]
    lines += ["| op | " + " | ".join(f"`{target.name}`" for target in targets) + " |"]
    lines += ["| --- |" + " --- |" * len(targets)]
    listed = sorted({opcode for target in targets for opcode in target.kernels} - {EVERY_OP})
    ops = [opcode for opcode in listed if schemes_for(opcode) != ("float",)]
    lines += [f"| {opcode} | " + " | ".join(_schemes(target, opcode) for target in targets) + " |" for opcode in ops]
    lines += ["", "Every other op is float alone, so no integer-only target runs it.", ""]
    for target in targets:
        others = [opcode for opcode in listed if opcode not in ops and opcode in target.kernels]
        if not target.integer_only:
            lines.append(f"- `{target.name}` has {', '.join(others) if others else 'all of them'}.")
    lines += ["", "## Sources", ""]
    for target in targets:
        lines += [f"**{target.name}**", ""]
        lines += [f"- `{key}`: {title}" for key, title in target.sources.items() if key != ASSUMED]
        lines += [f"- {_assumed(target)}", ""]
    return INTRODUCTION + "\n".join(lines)


def _schemes(target: Target, opcode: str) -> str:
    """Of a line, or of what stands for all other ops, as far as LiteRT has them."""
    there = [name for name in schemes_for(opcode) if target.kernel(opcode, name)]
    return " ".join(there) or "-"


def _assumed(target: Target) -> str:
    kernels = [kernel for line in target.kernels.values() for kernel in line.values()] + list(target.border.values())
    count = sum(kernel.cost_source == ASSUMED for kernel in kernels)
    return f"{count} of {len(kernels)} costs are assumed" if count else "no cost is assumed"


if __name__ == "__main__":
    PAGE.write_text(reference())
