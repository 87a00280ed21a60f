"""`bitplan audit`: a float model beside a quantized file of it, from any converter; why did the accuracy drop?"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from .advising import DEFAULT_TIME, advise, check_wishes, save_times
from .analyzer.conversion.type_check import count_types
from .analyzer.conversion.verification import Candidate, evaluate, judge, run_candidates
from .analyzer.errors import DataError, UnsupportedModel, UsageError
from .analyzer.inputs.dataset import Samples
from .analyzer.measures.alone import measure_alone
from .analyzer.measures.attribution import divide_error
from .analyzer.measures.calibration import calibrate
from .analyzer.measures.extremes import sample_extremes
from .analyzer.measures.quantized_file import QuantizedFile, as_parent, with_compared
from .analyzer.network import flatbuffer as fb
from .analyzer.network.differentiable import uncovered
from .analyzer.network.runtime import DEFAULT_WORKERS
from .analyzer.runs import RunFolder, content_key
from .analyzer.schema import Attribution, Audit, AuditCause, Drop, Evaluation, Graph, LayerShare, Measurement
from .drops import DropOptions, read_brought, study_drop
from .preparing import prepare
from .session import Reporter, Run, silent
from .strategies.audit import find_causes
from .strategies.causes.case import Case
from .strategies.targets import DEFAULT_TARGET

_DIVIDED_ON = 64
"""Samples on which the error is divided among its parts: every coalition of kinds runs on all of them."""


def audit(
    float_model: Any,
    quantized: str | pathlib.Path | bytes,
    *,
    evaluation: Any = None,
    calibration: Any = None,
    samples: int = 256,
    out: str | pathlib.Path | None = None,
    force: bool = False,
    seed: int = 0,
    workers: int = DEFAULT_WORKERS,
    reporter: Reporter = silent,
    what_to_do: bool | None = None,
    target: str = DEFAULT_TARGET,
    size_budget: str = "",
    time_budget: str = DEFAULT_TIME,
    **options: Any,
) -> Audit:
    """Measures the drop, each of the file's own sources alone in the float network, and each cause mended alone.

    Args:
      float_model: What `prepare` takes.
      quantized: The file or its bytes.
      evaluation: What the drop is measured on; labels where there are some.
      calibration: What the sources are measured on; the evaluation samples where it is missing. Nothing is chosen here.
      samples: So many of them.
      out: Folder for `audit.json` and `report.html`.
      force: Take a folder that holds something else.
      seed: Of the bootstrap.
      workers: Threads.
      reporter: Takes progress.
      what_to_do: Whether to make and measure other files too, see `advising.advise`; None for where there is
        calibration data, which they are made from.
      target: Where those files shall run.
      size_budget, time_budget: Of the hybrid plan, and of the repairs of each repaired file.
      options: Others of `prepare` (preprocessing, `metric`, `trust_model`, `warn`, `command`), and those of
        `DropOptions`.

    Raises:
      UnsupportedModel: The second file is not quantized, or is no child of the first.
    """
    brings = DropOptions(**{f.name: options.pop(f.name) for f in fields(DropOptions) if f.name in options})
    what_to_do = calibration is not None if what_to_do is None else what_to_do
    if what_to_do:
        check_wishes(calibration, target, size_budget, time_budget)
    elif size_budget.strip():
        raise UsageError(
            "a size is for the files that an audit makes beside the given one, and it makes none",
            "add --calibration DATA, or leave --size-budget out",
        )
    if evaluation is None:
        raise DataError("an audit needs evaluation data", "give --evaluation FILE.npz:x,y")
    brought = read_quantized(quantized) if isinstance(quantized, str | pathlib.Path) else quantized
    run = prepare(
        float_model, calibration if calibration is not None else evaluation, evaluation=evaluation,
        calibration_samples=samples, seed=seed, workers=workers, reporter=reporter,
        compare_data=calibration is not None, **options,
    )  # fmt: skip
    pair = _paired(run, brought)
    # Only now: a wrong second file must not mark the folder as its own.
    folder = None if out is None else RunFolder.create(out, force, key=content_key("audit", brought))
    paths = [pathlib.Path(p) for p in (quantized, float_model) if isinstance(p, str | pathlib.Path)]
    whole, drop = _dropped(run, pair, brings, paths)
    if folder is not None:  # of an earlier audit, perhaps of other data
        folder.discard("audit.json", "report.html")
    found = _explained(run, pair, whole, drop)
    times: Mapping[str, float] = {}
    if what_to_do:
        advice, times = advise(
            run, replace(pair.candidate, name="leave"), graph=pair.graph, target=target, size_budget=size_budget,
            time_budget=time_budget, folder=folder,
        )  # fmt: skip
        found = replace(found, options=advice)
    if folder is not None:
        _write(found, times, run.inputs.options.model_name, folder)
    return found


@dataclass(frozen=True)
class _Pair:
    """A quantized file that fits the float network of a run.

    Attributes:
      opened: The file beside its parent.
      graph: The float network, compared where the file can be.
      flatbuffer: The file, its ports laid out as the parent's.
      places: Its tensors that stand for `graph.compared`.
      file_bytes: Of the file as it was brought.
    """

    opened: QuantizedFile
    graph: Graph
    flatbuffer: bytes
    places: tuple[int, ...]
    file_bytes: int

    @property
    def candidate(self) -> Candidate:
        return Candidate("quantized", self.flatbuffer, compared=self.places)


def _paired(run: Run, brought: bytes) -> _Pair:
    file = as_parent(brought, run.graph)
    opened = QuantizedFile(file, run.graph, run.flatbuffer)
    if not opened.is_quantized:
        raise UnsupportedModel("the second file has no quantized tensors", "give FLOAT first, then QUANTIZED")
    if opened.ports() != [run.graph.tensors[t].elements for t in (*run.graph.inputs, *run.graph.outputs)]:
        raise UnsupportedModel("the two files have unlike inputs or outputs", "give a file and its float parent")
    graph, places = with_compared(opened, run.graph)
    return _Pair(opened, graph, file, places, len(brought))


def _dropped(run: Run, pair: _Pair, brings: DropOptions, paths: Sequence[pathlib.Path]) -> tuple[Evaluation, Drop]:
    """The file on all evaluation samples, and which of them it fails."""
    judged, seed = run.evaluation_data, run.inputs.options.seed
    assert judged is not None, "an audit has evaluation data"
    file, metric = pair.flatbuffer, run.metric()
    brought = read_brought(brings, file, pair.graph, judged, paths, run.warn)
    answers = run_candidates(
        run.flatbuffer, pair.graph, [pair.candidate], judged, workers=run.workers,
        progress=run.reporter("Running both files"),
    )  # fmt: skip
    (whole,) = judge(pair.graph, [pair.candidate], answers, judged, metric=metric, seed=seed)
    reference, answer = answers
    drop = study_drop(
        file, pair.graph, judged, reference, answer, whole, brought, metric=metric, seed=seed, workers=run.workers,
        reporter=run.reporter,
    )  # fmt: skip
    return whole, drop


def _explained(run: Run, pair: _Pair, whole: Evaluation, drop: Drop) -> Audit:
    """Where the file's error comes from, and why."""
    judged, studied, seed = run.evaluation_data, run.calibration_data, run.inputs.options.seed
    assert judged is not None and studied is not None, "an audit has data"
    opened, graph, file = pair.opened, pair.graph, pair.flatbuffer
    divided = _divided(run, pair, studied)
    extremes = sample_extremes(run.flatbuffer, graph, studied, workers=run.workers)
    trial = find_causes(
        Case(run.flatbuffer, graph, file, opened.ingredients, extremes, divided.errors),
        pair.places, studied, judged, seed=seed, workers=run.workers,
        progress=run.reporter("Mending one cause at a time"),
    )  # fmt: skip
    return Audit(
        sources=divided.sources,
        evaluation=whole,
        float_bytes=graph.file_bytes,
        quantized_bytes=pair.file_bytes,
        tensor_types=count_types(file),
        matched_ops=opened.coverage.matched_ops,
        total_ops=opened.coverage.total_ops,
        unmatched=tuple(item.op for item in opened.alignment.unmatched if not item.harmless),
        parts_nmse=sum(source.nmse for source in divided.sources),
        measured_nmse=divided.measured_nmse,
        samples=divided.samples,
        external_buffers=fb.has_external_buffers(file),
        causes=trial.found,
        ruled_out=trial.others,
        causes_nmse=trial.nmse,
        simulated_nmse=trial.simulated_nmse,
        drop=drop,
        attribution=divided.attribution,
    )


@dataclass(frozen=True)
class _Divided:
    """The error of a file by where it enters.

    Attributes:
      attribution: Its shares; None where the network has an op without gradients, and sources were run one at a time.
      sources: The same as rows, worst first.
      errors: By (part, op or input tensor), as `Case.errors` has it.
      measured_nmse: Of the file itself on the samples that it was divided on.
      samples: So many.
    """

    attribution: Attribution | None
    sources: tuple[AuditCause, ...]
    errors: Mapping[tuple[str, int], float]
    measured_nmse: float
    samples: int


def _divided(run: Run, pair: _Pair, studied: Samples) -> _Divided:
    graph, workers = pair.graph, run.workers
    if not uncovered(run.flatbuffer):
        found = divide_error(
            run.flatbuffer, graph, pair.flatbuffer, studied.take(_DIVIDED_ON), opened=pair.opened,
            workers=workers, progress=run.reporter("Putting the file's numbers into the float network"),
        )  # fmt: skip
        sources, errors = tuple(map(_share_cause, found.layers)), _errors_by_place(graph, found.layers)
        return _Divided(found, sources, errors, found.measured_nmse, found.samples)
    progress = run.reporter("Reading the float network")
    ranges = calibrate(run.flatbuffer, graph, studied, workers=workers, progress=progress)
    measured = measure_alone(
        run.flatbuffer, graph, ranges, pair.opened, studied, workers=workers,
        progress=run.reporter("Putting the file's sources into the float network"),
    )  # fmt: skip
    total = sum(m.error.nmse for m in measured)
    ranked = sorted(measured, key=lambda m: (-m.error.nmse, m.source.id))
    errors = {(m.source.part, _place(m)): m.error.nmse for m in measured}
    (same,) = evaluate(
        run.flatbuffer, graph, [pair.candidate], studied, seed=run.inputs.options.seed, workers=workers
    )  # fmt: skip
    sources = tuple(_cause(graph, m, total) for m in ranked)
    return _Divided(None, sources, errors, same.error.nmse, len(studied))


def _errors_by_place(graph: Graph, layers: Sequence[LayerShare]) -> dict[tuple[str, int], float]:
    """Output error by (part, op or input tensor), as `Case.errors` has it; of the kinds of a part together."""
    ops = {op.key: op.index for op in graph.ops}
    inputs = {graph.tensors[t].name: t for t in graph.inputs}
    found: dict[tuple[str, int], float] = {}
    for share in layers:
        part = "weights" if share.kind == "bias" else share.kind.split(" ")[0]
        key = part, ops[share.op] if share.op else inputs[share.layer]
        found[key] = found.get(key, 0.0) + share.nmse
    return found


def _place(measurement: Measurement) -> int:
    source = measurement.source
    return source.tensor if source.op is None else source.op


def _cause(graph: Graph, measurement: Measurement, total: float) -> AuditCause:
    source, error = measurement.source, measurement.error
    op = graph.ops[source.op] if source.op is not None else None
    bits = source.variant[1:]
    what = {
        "weights": f"the file's {bits}-bit weights",
        "activation": f"the file's {bits}-bit output",
        "input": f"the file's {bits}-bit input",
    }[source.part]
    share = error.nmse / total if total else 0.0
    agreement = "" if error.agreement is None else f", top-1 agrees on {100 * error.agreement:.1f} %"
    return AuditCause(
        name=source.part,
        layer=op.layer if op else graph.tensors[source.tensor].name,
        opcode=op.opcode if op else "",
        nmse=error.nmse,
        share_of_error=share,
        evidence=f"{what} alone in the float network: SQNR {error.sqnr_db:.1f} dB{agreement}, n = {error.samples}",
    )


def _share_cause(share: LayerShare) -> AuditCause:
    alone = "" if share.alone is None else f"; {share.alone:.3g} alone, {share.removed:.3g} goes away without it"
    return AuditCause(
        name=share.kind, layer=share.layer, opcode=share.opcode, nmse=share.nmse, share_of_error=share.share_of_error,
        evidence=f"share of the output error (nmse) {share.nmse:.3g} +- {2 * share.standard_error:.2g}{alone}",
    )  # fmt: skip


def _write(found: Audit, times: Mapping[str, float], model_name: str, folder: RunFolder) -> None:
    from .reports.audit import render_audit

    folder.save("audit", found, "")
    if times:
        save_times(times, folder)
    folder.write_bytes("report.html", render_audit(found, model_name, times).encode())


def read_quantized(path: str | pathlib.Path) -> bytes:
    """The bytes of a quantized file.

    Raises:
      UsageError: It cannot be read.
    """
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "give the path of a quantized .tflite") from error
