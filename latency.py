"""`bitplan measure-latency`: how long every op of a model takes on this machine, as a target's table to plan with."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import pathlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .analyzer.conversion.converter import convert
from .analyzer.conversion.costs import build_costs
from .analyzer.conversion.op_times import Times, activations, made_up_calibration, time_ops
from .analyzer.errors import RunFolderError, UsageError
from .analyzer.files import atomic_write
from .analyzer.inputs.dataset import input_specs, random_samples
from .analyzer.inputs.loader import load_float
from .analyzer.network.graph import build_graph
from .analyzer.schema import SCHEMES, Calibration, Format, Graph, Plan, Scheme, Target
from .reports.cells import Cell, Column, Row, Table
from .session import Reporter, ignore, silent
from .strategies.targets import DEFAULT_TARGET, load_target, measured_target, to_toml

DEFAULT_SECONDS = 0.05
_UNIFORM = ("float", "w8a8")
"""Schemes of the files that are timed as a whole, to hold the sum of the table's times against."""

_PACKAGES = ("ai-edge-litert", "litert-quantizer")


@dataclass(frozen=True)
class OpLatency:
    """Milliseconds of one op by scheme name; no entry where it could not be timed."""

    op: str
    layer: str
    milliseconds: Mapping[str, float]


@dataclass(frozen=True)
class FileLatency:
    """A file with one scheme everywhere: what the table predicts, and what it takes."""

    scheme: str
    predicted_ms: float
    measured_ms: float


@dataclass(frozen=True)
class Latencies:
    """What was measured.

    Attributes:
      table: Where it was written, "" for nowhere.
      model: Its name.
      machine: Name of the processor.
      threads: That a kernel could use.
      timed: How many pieces were run; ops that are equal but for their weights are timed once.
      border_ns: Nanoseconds of one element of a QUANTIZE or DEQUANTIZE, by `int8 -> float` and the like.
      untimed: Why an op could not be timed in a scheme, by `op scheme`; the base's relative cost stands for it.
      mac_ms: Milliseconds of a relative cost of 1.
    """

    table: str
    model: str
    machine: str
    threads: int
    timed: int
    ops: tuple[OpLatency, ...]
    border_ns: Mapping[str, float]
    files: tuple[FileLatency, ...]
    untimed: Mapping[str, str]
    mac_ms: float

    def _repr_html_(self) -> str:
        """What a notebook shows: the ops and their times."""
        from .reports.notebook import table_html

        return table_html(self.model, latency_table(self))


def measure_latency(
    model: Any,
    *,
    out: str | pathlib.Path | None = None,
    base: str = DEFAULT_TARGET,
    threads: int = 1,
    seconds: float = DEFAULT_SECONDS,
    force: bool = False,
    seed: int = 0,
    trust_model: bool = False,
    reporter: Reporter = silent,
    warn: Callable[[str], None] = ignore,
) -> Latencies:
    """Times every op of a model in every scheme with the real interpreter, and writes them as a target's table.

    No data is needed: kernels run on the activations of a made-up sample, and take about the same time on any.

    Args:
      model: As for `prepare`.
      out: The table, a `.toml` file; None writes none.
      base: Name or path of the target whose schemes are timed; one that runs in LiteRT.
      threads: That a kernel may use.
      seconds: To spend on each op and scheme.
      force: Write over a file that is there.
      seed: Of the made-up inputs.
      trust_model: Whether code inside a model file may run.
      reporter, warn: Take progress and warnings.

    Raises:
      UsageError: The base does not run in LiteRT, or `out` is no file that can be written.
      UnsupportedModel: The model cannot be read or converted.
    """
    from .strategies.assignment.choices import offered, uniform_schemes

    target = load_target(base)
    if target.runtime != "litert":
        raise UsageError(
            f"{target.name} does not run in LiteRT, whose times on this machine say nothing of it",
            f"choose another --base, such as {DEFAULT_TARGET}",
        )
    path = None if out is None else _writable(pathlib.Path(out), force)
    reporter("Loading the model")(0, 1)
    loaded = load_float(model, trust_model=trust_model, warn=warn)
    graph = build_graph(loaded.flatbuffer)
    sample = [array[0] for array in random_samples(input_specs(graph), 1, seed).block(0, 1)]
    values = activations(loaded.flatbuffer, graph, sample)
    uniform = {name: uniform_schemes(graph, name, target) for name in _UNIFORM}
    files = _files(loaded.flatbuffer, graph, uniform, made_up_calibration(graph, values), target.per_channel)
    times = time_ops(
        loaded.flatbuffer, graph, offered(graph, target), values, files=files,
        per_channel=target.per_channel, threads=threads, seconds=seconds,
        progress=reporter("Timing every op in every scheme"),
    )  # fmt: skip
    for (op, scheme), why in times.untimed.items():
        warn(f"{op} was not timed in {scheme}, its relative cost stands: {why}")
    name, machine = pathlib.Path(loaded.name).name, machine_name()
    measured = measured_target(
        target, graph, times.ops, times.borders, name=path.stem if path else "measured",
        title=f"LiteRT on {machine}, measured for {name}", source=_source(name, graph, machine, threads, seconds),
    )  # fmt: skip
    predicted = _predicted(loaded.flatbuffer, graph, uniform, measured)
    rows = zip(uniform, predicted, times.files, strict=True)
    whole = tuple(FileLatency(*row) for row in rows if math.isfinite(row[-1]))
    if path is not None:
        atomic_write(path, to_toml(measured))
    return _latencies(measured, graph, times, whole, str(path or ""), name, machine, threads)


def machine_name() -> str:
    """What the system calls its processor."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name") and ":" in line]
    return next((name for name in names if name), "") or platform.processor() or platform.machine() or "unknown"


def _writable(path: pathlib.Path, force: bool) -> pathlib.Path:
    """Refuses before any work what could not be written after it."""
    if path.suffix != ".toml":
        raise UsageError(f"{path} does not end in .toml, so no --target could be read from it", "choose another --out")
    if not path.parent.is_dir():
        raise RunFolderError(f"there is no folder {path.parent}", "make it first, or choose another --out")
    if path.exists() and not force:
        raise RunFolderError(f"{path} exists", "choose another --out, or add --force to write over it")
    return path


def _source(name: str, graph: Graph, machine: str, threads: int, seconds: float) -> str:
    packages = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in _PACKAGES)
    return (
        f"bitplan measure-latency of {name} (SHA-256 {graph.digest[:12]}) on {machine}, threads: {threads}, "
        f"{datetime.date.today().isoformat()}; {packages}; a made-up sample; each op cut out of a converted file, best "
        f"mean of rounds of 1 ms in {seconds} s, less what a call takes without any op"
    )


def _files(
    flatbuffer: bytes, graph: Graph, plans: Mapping[str, Sequence[Scheme]], calibration: Calibration, per_channel: bool
) -> list[bytes]:
    """The files of some plans, with float inputs and outputs."""
    bare = (Plan.bare(graph, [s.name for s in schemes], per_channel=per_channel) for schemes in plans.values())
    return [convert(flatbuffer, graph, calibration, plan).model for plan in bare]


def _predicted(flatbuffer: bytes, graph: Graph, plans: Mapping[str, Sequence[Scheme]], target: Target) -> list[float]:
    """Milliseconds of these files by the table."""
    from .strategies.assignment.resources import build_resources

    costs = build_costs(graph, flatbuffer, per_channel=target.per_channel)
    resources = build_resources(graph, costs, target, Format.FLOAT)
    return [resources.total_latency(schemes, Format.FLOAT) for schemes in plans.values()]


def _latencies(
    target: Target, graph: Graph, times: Times, files: tuple[FileLatency, ...], table: str, name: str, machine: str,
    threads: int,
) -> Latencies:  # fmt: skip
    by_op: dict[str, dict[str, float]] = {op.key: {} for op in graph.ops}
    for (op, scheme), milliseconds in target.measured.items():
        by_op[op][scheme] = milliseconds
    unit = target.mac_ms or 0.0
    return Latencies(
        table=table,
        model=name,
        machine=machine,
        threads=threads,
        timed=times.timed,
        ops=tuple(OpLatency(op.key, op.layer, by_op[op.key]) for op in graph.ops),
        border_ns={f"{read} -> {written}": k.cost * unit * 1e6 for (read, written), k in target.border.items()},
        files=files,
        untimed={f"{op} {scheme}": why for (op, scheme), why in times.untimed.items()},
        mac_ms=unit,
    )


def latency_table(found: Latencies) -> Table:
    """Milliseconds of every op, and of all together, one column for each scheme."""
    schemes = [name for name in SCHEMES if any(name in op.milliseconds for op in found.ops)]
    columns = [Column("op"), Column("layer"), *(Column(f"{s}, ms", numeric=True) for s in schemes)]
    rows = []
    for op in found.ops:
        times = [op.milliseconds.get(scheme) for scheme in schemes]
        cells = [Cell("" if ms is None else f"{ms:.4f}", ms) for ms in times]
        rows.append(Row((Cell(op.op), Cell(op.layer, is_name=True), *cells)))
    return Table("latency", f"Milliseconds on {found.machine}", tuple(columns), tuple(rows))
