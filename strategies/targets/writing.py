"""Writes a target as the file that `load_target` reads, such as one with measurements in it."""

from __future__ import annotations

import json

from ...analyzer.schema import ASSUMED, Kernel, Target
from .tables import ARROW, WORK


def to_toml(target: Target) -> str:
    """A table that loads as the same target, but for its name, which is that of the file it is written to."""
    lines = [
        f"title = {_text(target.title)}",
        f"runtime = {_text(target.runtime)}",
        f"integer_only = {_flag(target.integer_only)}",
        f"per_channel = {_flag(target.per_channel)}",
        f"io = [{', '.join(_text(fmt) for fmt in target.io)}]",
    ]
    lines += [] if target.mac_ms is None else [f"mac_ms = {target.mac_ms!r}"]
    lines += ["", "[sources]"]
    lines += [f"{_text(key)} = {_text(title)}" for key, title in target.sources.items() if key != ASSUMED]
    lines += ["", "[kernels]"]
    for opcode, by_scheme in target.kernels.items():
        cells = ", ".join(f"{scheme} = {_cell(kernel)}" for scheme, kernel in by_scheme.items())
        lines.append(f"{_text(opcode)} = {{ {cells} }}")
    lines += ["", "[borders]"]
    for (read, written), kernel in target.border.items():
        lines.append(f"{_text(f'{read}{ARROW}{written}')} = {_cell(kernel)}")
    lines += ["", "[measured]", *_measured(target)]
    return "\n".join(lines) + "\n"


def _measured(target: Target) -> list[str]:
    by_op: dict[str, list[str]] = {op: [f"{WORK} = {work}"] for op, work in target.measured_work.items()}
    for (op, scheme), milliseconds in target.measured.items():
        by_op.setdefault(op, []).append(f"{scheme} = {milliseconds!r}")
    return [f"{_text(op)} = {{ {', '.join(cells)} }}" for op, cells in by_op.items()]


def _cell(kernel: Kernel) -> str:
    parts = [f"cost = {kernel.cost!r}", f"source = {_text(kernel.source)}"]
    parts += [f"cost_source = {_text(kernel.cost_source)}"] if kernel.cost_source != kernel.source else []
    parts += [f"note = {_text(kernel.note)}"] if kernel.note else []
    return f"{{ {', '.join(parts)} }}"


def _text(value: str) -> str:
    """A TOML basic string: JSON's escapes are among TOML's, but for DEL, which TOML wants escaped as well."""
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _flag(value: bool) -> str:
    return "true" if value else "false"
