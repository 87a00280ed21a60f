"""What a target's own tool says of an emitted file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Opinion:
    """A second opinion on an emitted file; its figures hold for `runtime` alone, never for LiteRT.

    Attributes:
      runtime: Whose figures these are, one of `RUNTIMES`.
      tool: Name of the package.
      version: Of the package.
      setting: What it ran, or compiled for, in words.
      arena_bytes: Memory that the runtime needs beside the file: TFLite Micro's arena after a run, or Vela's SRAM. None
        where the file was refused.
      flash_bytes: Bytes that are stored: the file, or what it was compiled to. None where the file was refused.
      cpu_ops: Opcodes that an NPU's compiler leaves to the CPU, in execution order, without the QUANTIZE and DEQUANTIZE
        of float inputs and outputs; empty for a runtime that is a CPU's.
      refusal: Why the runtime cannot run the file, naming the op; "" where it can.
      agreement: Share of samples (0 to 1) on which the largest value of the first output is the same one as in LiteRT;
        None where nothing was compared.
      samples: How many were compared.
      figures: The tool's own further figures; bytes (`_bytes`), cycles and inferences per second.
    """

    runtime: str
    tool: str
    version: str
    setting: str
    arena_bytes: int | None = None
    flash_bytes: int | None = None
    cpu_ops: tuple[str, ...] = ()
    refusal: str = ""
    agreement: float | None = None
    samples: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Tool, version and setting in one line: what every figure has to be shown with."""
        return f"{self.tool} {self.version}: {self.setting}"
