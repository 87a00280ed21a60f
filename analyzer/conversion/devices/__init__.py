"""The targets' own tools, which have the last word: they run or compile an emitted file.

They are optional: `bitplan[tflite-micro]` and `bitplan[vela]`. Each works in a process of its own, for a file that it
cannot stand ends that process and not this one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...schema import Opinion, Target
from . import micro, vela

_TOOLS = {"tflite-micro": micro.TOOL, "vela": vela.TOOL}


def unavailable(target: Target) -> str:
    """Why `second_opinion` has nothing to say on a target, with what to do about it; "" where it has."""
    tool = _TOOLS.get(target.runtime)
    if tool is None:
        return f"{target.title} has no tool of its own that Bitplan can run"
    if not tool.installed:
        return f"{tool.package} is not installed; pip install 'bitplan[{tool.extra}]' for the figures of {target.title}"
    if target.runtime == "vela" and vela.setting_of(target) is None:
        return f"no accelerator is known for {target.name}; let its name begin with {' or '.join(vela.SETTINGS)}"
    return ""


def second_opinion(target: Target, flatbuffer: bytes, samples: Sequence[np.ndarray] | None = None) -> Opinion | None:
    """Has the target's own tool look at an emitted file.

    TFLite Micro runs it, on this host and with its reference kernels; Vela compiles it, for an Ethos-U of one size.

    Args:
      target: Whose `runtime` decides on the tool.
      flatbuffer: The emitted file.
      samples: One float array [n, ...] for each input, to compare answers with LiteRT where the tool can run the file;
        None runs it once, on zeros.

    Returns:
      None where there is no such tool, or it is not installed; `unavailable` says which.

    Raises:
      UnsupportedModel: The tool died of the file.
    """
    if unavailable(target):
        return None
    if target.runtime == "vela":
        return vela.compile_file(flatbuffer, vela.setting_of(target) or vela.SETTINGS["ethos-u55"])
    return micro.run_file(flatbuffer, samples)
