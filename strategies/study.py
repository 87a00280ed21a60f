"""How many calibration samples, which ones, and which way to choose ranges: int8 files of many sets, each measured.

The float network runs once over the pool that sets are drawn from; what any set would have found follows from that
(`measures/pool.py`). Files are compared on calibration samples that are in no set, and a recommendation stands on these
alone: the evaluation samples are shown beside it.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..analyzer.conversion.converter import usable_range
from ..analyzer.conversion.counterfactual import int8_everywhere
from ..analyzer.conversion.recalibration import Recalibration
from ..analyzer.conversion.verification import Reference, with_compared
from ..analyzer.errors import UsageError
from ..analyzer.inputs.dataset import Samples
from ..analyzer.inputs.labels import draw_evenly
from ..analyzer.inputs.samples import unlabelled_draw
from ..analyzer.measures.calibration import Progress
from ..analyzer.measures.clipping import METHODS
from ..analyzer.measures.pool import Pool, take_statistics
from ..analyzer.measures.statistics import paired_bootstrap
from ..analyzer.network import runtime
from ..analyzer.schema import (
    DRAWS,
    Calibration,
    Graph,
    Interval,
    OutputError,
    Plan,
    Range,
    Study,
    StudyBand,
    StudyCell,
)
from ..analyzer.serialize import from_jsonable, to_jsonable
from ..analyzer.units import MemoryStore, Store, content_key, versions_of
from .repair.ranges import int8_activations, with_ranges

VERSION = "study-1"
"""Part of every cell's key: raise it when a change of this module changes a figure."""

LARGEST_POOL = 1000
"""Samples that sets are drawn from, at most."""

SIZES = (10, 30, 100, 300, 1000)
SEEDS = 5
METHOD_NAMES = ("min_max", "percentile", "mse", "kl")
"""What a study compares unless somebody says otherwise."""

_CHANCE = 0.01
"""Share of an error by which another one may differ by chance, also where there is only one set."""

_SHORT = {"min_max": "min-max", "percentile": "percentile-99.99"}
_PACKAGES = ("bitplan", "ai-edge-litert", "litert-quantizer", "numpy")


@dataclass(frozen=True)
class Design:
    """What a study varies.

    Attributes:
      sizes: Of the sets, rising.
      seeds: How many sets of each size; they are drawn with the seeds 0, 1 ...
      methods: Keys of `clipping.METHODS`.
      balanced: Whether sets are also drawn evenly over the classes.
    """

    sizes: tuple[int, ...] = SIZES
    seeds: int = SEEDS
    methods: tuple[str, ...] = tuple(_SHORT.get(name, name) for name in METHOD_NAMES)
    balanced: bool = False

    @property
    def draws(self) -> tuple[str, ...]:
        return DRAWS if self.balanced else DRAWS[:1]


@dataclass(frozen=True)
class Ground:
    """What a study is made on.

    Attributes:
      flatbuffer, graph: The float network.
      declared: Ranges of FAKE_QUANT ops by tensor name.
      pool: What sets are drawn from, in content order.
      held_back: What files are compared on; none of the pool.
      held_back_apart: Whether these follow the pool in the data.
      evaluation: Shown beside; None for none.
      workers: Threads.
    """

    flatbuffer: bytes
    graph: Graph
    declared: dict[str, tuple[float, float]]
    pool: Samples
    held_back: Samples
    held_back_apart: bool
    evaluation: Samples | None
    workers: int = runtime.DEFAULT_WORKERS


@dataclass(frozen=True)
class StudyResult:
    """A study and what it took.

    Attributes:
      seconds: By stage: `statistics_s`, `ranges_s`, `conversion_s`, `held_back_s`, `evaluation_s`; of this process,
        without what was finished before.
    """

    study: Study
    seconds: dict[str, float]


def parse_methods(names: Sequence[str]) -> tuple[str, ...]:
    """Keys of `clipping.METHODS` from what people type: `min_max`, `percentile`, `mse`, `kl` or a key itself.

    Raises:
      UsageError: There is no such method, or none is named.
    """
    found = tuple(dict.fromkeys(_SHORT.get(name, name) for name in names))
    unknown = [name for name in found if name not in METHODS]
    if unknown or not found:
        problem = f"there is no way to choose ranges called {', '.join(unknown)}" if unknown else "no method is named"
        raise UsageError(problem, f"choose from {', '.join(dict.fromkeys((*METHOD_NAMES, *METHODS)))}")
    return found


def run_study(
    ground: Ground,
    design: Design,
    *,
    store: Store | None = None,
    reporter: Callable[[str], Progress] = lambda _title: lambda _done, _total: None,
) -> StudyResult:
    """Draws every set, makes and measures every file, and recommends one.

    Args:
      ground: Network and samples; sets larger than the pool are not drawn.
      design: What is varied.
      store: Finished files' figures are taken from here and put here.
      reporter: Starts a line of progress.

    Raises:
      DataError: Sets shall be balanced and the pool has no labels.
      UsageError: No set fits the pool.
    """
    sizes = tuple(size for size in design.sizes if size <= len(ground.pool))
    if not sizes or design.seeds < 1:
        raise UsageError(
            f"no set of {', '.join(map(str, design.sizes))} samples can be drawn from {len(ground.pool)}",
            "give more calibration data, smaller --sizes, and at least one seed",
        )
    if design.balanced and ground.pool.labels is None:
        raise unlabelled_draw(ground.pool.source)
    bench = _Bench(ground, MemoryStore() if store is None else store, reporter)
    total = len(design.draws) * len(sizes) * design.seeds * len(design.methods)
    places: list[tuple[int, int, str, str]] = []
    found: dict[tuple[int, int, str, str], StudyCell] = {}
    distinct: dict[tuple[int, str], set[bytes]] = {}
    progress = reporter("Making and measuring a file of every set")
    for draw in design.draws:
        for size in sizes:
            for seed in range(design.seeds):
                chosen = drawn(ground.pool, size, seed, draw)
                distinct.setdefault((size, draw), set()).add(chosen.tobytes())
                for method in design.methods:
                    figures = bench.figures(chosen, method)
                    place = (size, seed, draw, method)
                    places.append(place)
                    found[place] = StudyCell(*place, figures.held_back, figures.evaluation, figures.drop)
                    progress(len(places), total)
    order = [(d, m, s, k) for d in design.draws for m in design.methods for s in sizes for k in range(design.seeds)]
    cells = tuple(found[size, seed, draw, method] for draw, method, size, seed in order)
    bands = tuple(
        _band([c for c in cells if (c.draw, c.method, c.size) == (draw, method, size)], len(distinct[size, draw]))
        for draw in design.draws for method in design.methods for size in sizes
    )  # fmt: skip
    evaluated = 0 if ground.evaluation is None else len(ground.evaluation)
    study = Study(
        cells, bands, recommend(bands), len(ground.pool), len(ground.held_back), ground.held_back_apart, evaluated,
        *_drop_of(ground, cells[0]),
    )  # fmt: skip
    return StudyResult(study, {f"{stage}_s": round(seconds, 3) for stage, seconds in sorted(bench.seconds.items())})


def drawn(pool: Samples, size: int, seed: int, draw: str) -> np.ndarray:
    """Positions in a pool of one set, ascending, int64 [size]; with one seed the larger set holds the smaller one.

    Args:
      pool: In content order.
      size: At most as many as the pool has.
      seed: Of the draw.
      draw: One of `DRAWS`.
    """
    if draw == "balanced":
        if pool.labels is None:
            raise unlabelled_draw(pool.source)
        return draw_evenly(pool.labels, size, seed, lambda index: pool.hashes[index])
    return np.sort(np.random.default_rng(seed).permutation(len(pool))[:size])


def with_method(graph: Graph, calibration: Calibration, plan: Plan, method: str) -> Calibration:
    """A calibration whose int8 activations have the ranges that one method gives them.

    Args:
      graph: Of the network.
      calibration: Its ranges are the data's extremes.
      plan: One scheme for each op.
      method: A key of `clipping.METHODS`.
    """
    tensors = int8_activations(graph, calibration, plan)
    ends = {tensor: usable_range(*METHODS[method](calibration.ranges[tensor])) for tensor in tensors}
    return with_ranges(graph, calibration, ends)


def recommend(bands: Sequence[StudyBand]) -> StudyBand:
    """The cheapest band that is as good as the best, by the error on held-back samples.

    The best has the least mean error over the seeds. As good is a band whose mean is no larger than the best one's
    largest, for its own seeds differ by as much, or no more than 1 % larger than its mean. Of these the one with the
    fewest samples is taken, and of those the first.
    """
    best = min(bands, key=lambda band: band.held_back_nmse.value).held_back_nmse
    limit = max(best.high, best.value * (1 + _CHANCE))
    return min((band for band in bands if band.held_back_nmse.value <= limit), key=lambda band: band.size)


@dataclass(frozen=True)
class _Figures:
    """What was measured of one file."""

    held_back: OutputError
    evaluation: OutputError | None
    drop: Interval | None


class _Bench:
    """Makes and measures files; what several of them need is made once, and only where a file needs it."""

    def __init__(self, ground: Ground, store: Store, reporter: Callable[[str], Progress]) -> None:
        self._ground, self._store, self._reporter = ground, store, reporter
        self._plan = Plan.bare(ground.graph, int8_everywhere(ground.graph))
        self._recalibration = Recalibration(
            ground.flatbuffer, ground.graph, self._plan, lambda file: with_compared(file, ground.graph)
        )
        self._ranges: tuple[bytes, dict[int, Range]] = (b"", {})
        self.seconds: dict[str, float] = {}

    def figures(self, chosen: np.ndarray, method: str) -> _Figures:
        """Of the file whose ranges one method chooses from one set."""
        key = self._key(chosen, method)
        kept = self._store.get(key)
        if kept is not None:
            return from_jsonable(_Figures, kept)
        file = self._file(chosen, method)
        with self._timed("held_back"):
            held_back = self._held_back.error(file, exposed=True)
        evaluation, drop = None, None
        if self._evaluation is not None:
            with self._timed("evaluation"):
                compared = self._evaluation.compare(file, exposed=True)
            evaluation = compared.error
            drop = None if compared.drops is None else paired_bootstrap(compared.drops, unit=100.0)
        found = _Figures(held_back, evaluation, drop)
        self._store.put(key, to_jsonable(found))
        return found

    def _file(self, chosen: np.ndarray, method: str) -> bytes:
        ground = self._ground
        samples = ground.pool.subset(chosen)
        with self._timed("statistics"):
            pool = self._pool
        with self._timed("ranges"):
            if self._ranges[0] != chosen.tobytes():
                self._ranges = chosen.tobytes(), pool.ranges(ground.graph, chosen.tolist(), ground.declared)
            plain = Calibration(self._ranges[1], {}, len(samples), samples.digest)
            calibration = with_method(ground.graph, plain, self._plan, method)
        with self._timed("conversion"):
            return self._recalibration.file(calibration)

    @functools.cached_property
    def _pool(self) -> Pool:
        ground = self._ground
        return take_statistics(
            ground.flatbuffer, ground.graph, ground.pool, workers=ground.workers,
            progress=self._reporter("Reading the float network on the pool"),
        )  # fmt: skip

    @functools.cached_property
    def _held_back(self) -> Reference:
        ground = self._ground
        return Reference(ground.flatbuffer, ground.graph, ground.held_back, workers=ground.workers)

    @functools.cached_property
    def _evaluation(self) -> Reference | None:
        ground = self._ground
        if ground.evaluation is None:
            return None
        return Reference(ground.flatbuffer, ground.graph, ground.evaluation, workers=ground.workers)

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def _key(self, chosen: np.ndarray, method: str) -> str:
        ground = self._ground
        judged = (list(ground.graph.compared), ground.graph.is_classifier)
        declared = [(name, *ends) for name, ends in sorted(ground.declared.items())]
        return content_key(
            VERSION, versions_of(*_PACKAGES), ground.graph.digest, judged, declared, ground.pool.subset(chosen).digest,
            method, *_identity(ground.held_back), *_identity(ground.evaluation),
        )  # fmt: skip


def _identity(samples: Samples | None) -> tuple[str, str]:
    return ("", "") if samples is None else (samples.digest, samples.labels_digest or "")


def _drop_of(ground: Ground, cell: StudyCell) -> tuple[str, float | None]:
    """What a drop is one of, and the float network's accuracy, which is a file's and what it has lost."""
    if ground.evaluation is None or cell.evaluation is None or cell.drop is None:
        return "", None
    if ground.evaluation.labels is None or cell.evaluation.accuracy is None:
        return "expected accuracy", None
    return "accuracy", cell.evaluation.accuracy + cell.drop.value / 100


def _band(cells: Sequence[StudyCell], seeds: int) -> StudyBand:
    first = cells[0]
    evaluations = [cell.evaluation for cell in cells if cell.evaluation is not None]
    drops = [cell.drop for cell in cells if cell.drop is not None]
    accuracies = [found.accuracy for found in evaluations if found.accuracy is not None]
    drop = None
    if drops:
        low, high = min(drop.low for drop in drops), max(drop.high for drop in drops)
        drop = Interval(_mean([drop.value for drop in drops]), low, high)
    return StudyBand(
        first.size, first.draw, first.method, seeds, _spread([cell.held_back.nmse for cell in cells]),
        _spread([found.nmse for found in evaluations]) if evaluations else None,
        _spread(accuracies) if accuracies else None, drop,
    )  # fmt: skip


def _spread(values: Sequence[float]) -> Interval:
    mean, low, high = _mean(values), min(values), max(values)
    # Rounding must not put the mean of equal values beside them.
    return Interval(min(max(mean, low), high), low, high)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
