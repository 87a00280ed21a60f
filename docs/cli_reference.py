"""Writes docs/cli.md from the commands themselves, so that it cannot drift. `python docs/cli_reference.py`"""

from __future__ import annotations

import pathlib
import re

import typer
from bitplan.cli import app

TARGET = pathlib.Path(__file__).with_name("cli.md")

EXIT_CODES = """## Exit codes

| code | meaning |
| --- | --- |
| 0 | good |
| 1 | a limit does not hold |
| 2 | usage, or input that is not supported |
| 3 | the emitted file differs from the plan |
| 5 | undecided: too few samples |
| 130 | interrupted with Ctrl-C; a run folder goes on where it stopped |

With `--json`, stdout is one JSON document; progress, warnings and errors are on stderr.
"""


def reference() -> str:
    """The whole page."""
    group = typer.main.get_command(app)
    lines = ["# Command line", "", re.sub(r"\[/?bold\]", "**", group.help or ""), "", f"`{group.epilog}`", ""]
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        lines += [f"## bitplan {name}", "", (command.help or "").strip(), "", f"    {command.epilog}", ""]
        lines += ["| option | meaning | default |", "| --- | --- | --- |"]
        for parameter in command.params:
            is_argument = parameter.param_type_name == "argument"
            option = ", ".join([*parameter.opts, *parameter.secondary_opts])
            names = (parameter.metavar or parameter.name or "").upper() if is_argument else option
            default = parameter.default
            shown = "" if is_argument or default in (None, "", False) else f"`{getattr(default, 'value', default)}`"
            help_text = (getattr(parameter, "help", "") or "").replace("|", chr(92) + "|")
            lines.append(f"| `{names}` | {help_text} | {shown} |")
        lines.append("")
    return "\n".join(lines) + "\n" + EXIT_CODES


if __name__ == "__main__":
    TARGET.write_text(reference())
