"""Causes that lie in the ranges of activations: which samples they come from, clipped, too wide, corrupted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...analyzer.schema import Op
from .case import Case, Mend, Proposal, not_testable, ruled_out
from .regrid import Shared, shared_grids, with_ranges

_CLIPPED = 0.01
"""Share of a range that must lie beyond the grid's end to be called clipped."""

_WIDE = 1.25
"""A grid is too wide where it is so many times as wide as what occurs."""

_UNLIKE_WIDE, _UNLIKE_NARROW = 0.25, 0.1
"""Share of the input's range by which a grid of other data goes beyond it, or falls short of it."""

_RARE = 0.01
"""Share of single samples that may have narrower extremes than a range that was calibrated on one of them."""

_FEW_SHARE, _FEW = 8, 32
"""Ranges are those of few samples where they are like those of at most 32, and of an eighth of what was studied."""

_LEAST_SAMPLES = 16
"""Fewer say too little of what single samples give."""

_OUTLIER = 1.75
"""A scale is corrupted where it is off by this factor, and most others are not."""

_SAME_BIASES = 0.9
"""Squared cosine from which two sets of biases are taken to be the same one, up to a factor."""

_CLAMPS = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}


def range_proposals(case: Case) -> list[Proposal]:
    """Mends of ranges, and what the ranges rule out."""
    grids = shared_grids(case)
    if not grids:
        return [ruled_out(name, "no activation of the file is quantized") for name in _NAMES]
    origin = _Origin.of(case, grids)
    return [
        *_of_other_data(case, grids, origin),
        *_of_few_samples(case, grids, origin),
        _corrupted(case, grids),
        _some(case, "ranges_clipped", [g for g in grids if _is_clipped(g)], _widened, _say_clipped),
        _some(case, "ranges_too_wide", [g for g in grids if _is_wide(case, g)], _narrowed, _say_wide),
        _some(
            case, "unused_range", [g for g in grids if _is_unused(case, g)], lambda g: _possible(case, g), _say_unused
        ),
        _relu6(case, grids),
    ]


_NAMES = (
    "calibration_unlike_evaluation", "too_few_samples", "ranges_clipped", "ranges_too_wide", "unused_range",
    "relu6_clipping",
)  # fmt: skip


@dataclass(frozen=True)
class _Origin:
    """What samples a file's ranges look as if they came from.

    Attributes:
      like: About how many samples of the studied data give such ranges; infinite for as many as were studied, or more.
      ends: How many ends of ranges that estimate stands on.
      below: Share of those ends that lie further in than any single sample's: ranges that clip on purpose, or come from
        other data.
      unlike_input: How the grid of an input differs from the data, in words; "" where it does not.
    """

    like: float
    ends: int
    below: float
    unlike_input: str

    @classmethod
    def of(cls, case: Case, grids: Sequence[Shared]) -> _Origin:
        """Estimates it from the extremes of single samples.

        The largest of k samples lies below a share u of all samples' extremes with the chance u^k, so -1 / mean(ln u)
        over many tensors is the maximum likelihood estimate of k.
        """
        shares = np.array([share for grid in grids for share in _end_shares(case, grid)])
        studied = case.extremes.samples
        like = np.inf
        if shares.size:
            kept = np.clip(shares, 0.5 / studied, 1 - 0.5 / studied)
            like = float(-1 / np.log(kept).mean())
        below = float((shares == 0).mean()) if shares.size else 0.0
        unlike = next((text for grid in grids if (text := _unlike_input(case, grid))), "")
        return cls(like if like < studied else np.inf, shares.size, below, unlike)

    def is_few(self, studied: int) -> bool:
        """Whether the ranges are surely those of few samples of this data: a handful of ends may look so by chance."""
        if not self.ends or self.below > 0.1:
            return False
        return self.like * _upper_factor(self.ends) <= min(_FEW, studied / _FEW_SHARE)


def _upper_factor(ends: int) -> float:
    """Upper end of the 95 % interval of `_Origin.like`, in units of it.

    -k ln u is exponential, so twice its sum over m ends is chi-squared with 2 m degrees of freedom; the quantile is
    Wilson and Hilferty's.
    """
    return float((1 - 1 / (9 * ends) + 1.96 / (3 * np.sqrt(ends))) ** 3)


def _end_shares(case: Case, grid: Shared) -> list[float]:
    """For each end of a grid that varies among samples, the share of samples whose extremes it holds."""
    lows, highs = case.extremes.minima[grid.first], case.extremes.maxima[grid.first]
    tolerated = grid.grid.scale / 2
    found = []
    if lows.min() < 0 and np.ptp(lows) > 0.02 * grid.span:
        found.append(float((lows >= grid.grid.minimum - tolerated).mean()))
    if highs.max() > 0 and np.ptp(highs) > 0.02 * grid.span:
        found.append(float((highs <= grid.grid.maximum + tolerated).mean()))
    return found


def _unlike_input(case: Case, grid: Shared) -> str:
    """How the grid of a model input differs from the data that is put in; "" where it does not."""
    inputs = [t for t in grid.tensors if t in case.graph.inputs]
    if not inputs:
        return ""
    lows, highs = case.extremes.minima[inputs[0]], case.extremes.maxima[inputs[0]]
    step = grid.grid.scale
    low, high = grid.low, grid.high
    if grid.grid.bits == 16:  # symmetric, whatever was calibrated on: one of its ends says nothing
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    beyond = max(grid.grid.maximum - high, low - grid.grid.minimum) / max(high - low, grid.span)
    missing = 0.0
    for short, share in (
        (grid.high - grid.grid.maximum, float((highs <= grid.grid.maximum + step).mean())),
        (grid.grid.minimum - grid.low, float((lows >= grid.grid.minimum - step).mean())),
    ):
        if share <= _RARE:
            missing = max(missing, short / grid.span)
    if beyond <= _UNLIKE_WIDE and missing <= _UNLIKE_NARROW:
        return ""
    return (
        f"the file holds its input on {grid.grid.minimum:.4g} to {grid.grid.maximum:.4g}, and the audit's data runs "
        f"from {grid.low:.4g} to {grid.high:.4g}"
    )


def _of_other_data(case: Case, grids: Sequence[Shared], origin: _Origin) -> list[Proposal]:
    if not origin.unlike_input:
        said = "the file's input range is that of the audit's data"
        return [ruled_out("calibration_unlike_evaluation", said)]
    return [_all_ranges(case, "calibration_unlike_evaluation", grids, origin.unlike_input)]


def _of_few_samples(case: Case, grids: Sequence[Shared], origin: _Origin) -> list[Proposal]:
    studied = case.extremes.samples
    if studied < _LEAST_SAMPLES:
        reason = f"{studied} samples are too few to tell how ranges grow with their number"
        return [not_testable("too_few_samples", reason)]
    like = f"{origin.like:.1f}" if np.isfinite(origin.like) else f"{studied} or more"
    said = f"the file's ranges are as narrow as those of about {like} of the audit's {studied} samples"
    said += f" ({origin.ends} ends of ranges compared)"
    if origin.unlike_input or not origin.is_few(studied):
        if origin.below > 0.1:
            said += f"; {100 * origin.below:.0f} % of the ends lie further in than any single sample's"
        return [ruled_out("too_few_samples", said)]
    averaged = "; a calibrator that averages over samples gives such ranges too"
    return [_all_ranges(case, "too_few_samples", grids, said + averaged)]


def _all_ranges(case: Case, name: str, grids: Sequence[Shared], said: str) -> Mend:
    numbers = with_ranges(case, {grid: (grid.low, grid.high) for grid in grids})
    furthest = max(
        grids, key=lambda g: max(g.grid.maximum - g.grid.minimum, g.span) / min(g.grid.maximum - g.grid.minimum, g.span)
    )
    said += f"; furthest off is {_say_range(case, furthest)}"
    return Mend(name, case.layer(furthest.first), len(grids), numbers, said)


def _some(
    case: Case, name: str, grids: Sequence[Shared], ends: Callable[[Shared], tuple[float, float]],
    say: Callable[[Case, Shared], str],
) -> Proposal:  # fmt: skip
    if not grids:
        return ruled_out(name, _NONE[name])
    tensor = case.worst_tensor([grid.first for grid in grids])
    worst = next(grid for grid in grids if grid.first == tensor)
    alone = Mend(name, case.layer(tensor), 1, with_ranges(case, {worst: ends(worst)}), say(case, worst))
    if len(grids) == 1:
        return alone
    numbers = with_ranges(case, {grid: ends(grid) for grid in grids})
    return Mend(name, alone.layer, len(grids), numbers, f"{len(grids)} ranges are so; {alone.evidence}", alone)


_NONE = {
    "ranges_clipped": "every range holds what occurs in the audit's data",
    "ranges_too_wide": f"no range is more than {_WIDE} times as wide as what occurs in the audit's data",
    "unused_range": "no range holds values that its op cannot give",
}


def _is_clipped(grid: Shared) -> bool:
    beyond = max(grid.high - grid.grid.maximum, grid.grid.minimum - grid.low)
    return beyond > max(_CLIPPED * grid.span, grid.grid.scale)


def _widened(grid: Shared) -> tuple[float, float]:
    return min(grid.low, grid.grid.minimum), max(grid.high, grid.grid.maximum)


def _is_wide(case: Case, grid: Shared) -> bool:
    low, high = _possible(case, grid)
    return grid.grid.bits == 8 and high - low > _WIDE * grid.span


def _narrowed(grid: Shared) -> tuple[float, float]:
    return max(grid.low, grid.grid.minimum), min(grid.high, grid.grid.maximum)


def _possible(case: Case, grid: Shared) -> tuple[float, float]:
    """The part of a grid's range that the writing op can give at all."""
    low, high = _bounds(case, grid)
    return max(low, grid.grid.minimum), min(high, grid.grid.maximum)


def _bounds(case: Case, grid: Shared) -> tuple[float, float]:
    producer = case.graph.producer(grid.first)
    if producer is None:
        return -np.inf, np.inf
    op = case.graph.ops[producer]
    return _CLAMPS.get(op.activation) or _CLAMPS.get(op.opcode) or (-np.inf, np.inf)


def _is_unused(case: Case, grid: Shared) -> bool:
    low, high = _possible(case, grid)
    width = grid.grid.maximum - grid.grid.minimum
    return grid.grid.bits == 8 and width - (high - low) > max(0.05 * width, 2 * grid.grid.scale)


def _say_range(case: Case, grid: Shared) -> str:
    return (
        f"{case.layer(grid.first)}: the file holds {grid.grid.minimum:.4g} to {grid.grid.maximum:.4g}, "
        f"{grid.low:.4g} to {grid.high:.4g} occurs"
    )


def _say_clipped(case: Case, grid: Shared) -> str:
    lows, highs = case.extremes.minima[grid.first], case.extremes.maxima[grid.first]
    beyond = (highs > grid.grid.maximum + grid.grid.scale) | (lows < grid.grid.minimum - grid.grid.scale)
    return f"{_say_range(case, grid)}, beyond it in {100 * beyond.mean():.0f} % of the samples"


def _say_wide(case: Case, grid: Shared) -> str:
    used = 100 * grid.span / (grid.grid.maximum - grid.grid.minimum)
    return f"{_say_range(case, grid)}: {used:.0f} % of the codes are used"


def _say_unused(case: Case, grid: Shared) -> str:
    low, high = _possible(case, grid)
    unused = 100 * (1 - (high - low) / (grid.grid.maximum - grid.grid.minimum))
    return f"{_say_range(case, grid)}, and {unused:.0f} % of the codes stand for what cannot occur"


def _corrupted(case: Case, grids: Sequence[Shared]) -> Proposal:
    """A grid that is off by a factor where most are not; what bears it out is a bias, or a clamp, that it contradicts.

    Biases are stored in steps of the input's scale: where that is multiplied, so is every bias behind it.
    """
    ratios = np.array([(g.grid.maximum - g.grid.minimum) / g.span for g in grids])
    usual = float(np.median(ratios))
    suspects = []
    for grid, ratio in zip(grids, ratios, strict=True):
        factor = float(ratio / usual)
        if max(factor, 1 / factor) < _OUTLIER or grid.grid.bits != 8:
            continue
        said = _contradicted(case, grid, factor)
        if said:
            suspects.append((grid, said))
    if not suspects:
        return ruled_out("scale_corrupted", "no activation's scale contradicts the float model's biases and clamps")
    tensor = case.worst_tensor([grid.first for grid, _ in suspects])
    worst, said = next((grid, said) for grid, said in suspects if grid.first == tensor)
    numbers = with_ranges(case, {worst: (worst.low, worst.high)})
    return Mend("scale_corrupted", case.layer(tensor), 1, numbers, f"{_say_range(case, worst)}; {said}")


def _contradicted(case: Case, grid: Shared, factor: float) -> str:
    """What speaks for a corrupted scale rather than a wide or narrow range; "" where nothing does."""
    for tensor in grid.tensors:
        for reader in case.graph.consumers(tensor):
            slope = _bias_slope(case, case.graph.ops[reader])
            if slope is not None and abs(np.log(slope / factor)) < 0.2:
                layer = case.graph.ops[reader].layer
                return f"the biases of {layer}, which reads it, are {slope:.2f} times the float model's"
    low, high = _bounds(case, grid)
    outside = max(grid.grid.maximum - high, low - grid.grid.minimum)
    if np.isfinite(high) and outside > 0.5 * (high - low):
        return f"its activation function gives {low:g} to {high:g} only"
    return ""


def _bias_slope(case: Case, op: Op) -> float | None:
    """The least-squares factor between the file's biases of an op and the float model's; None where there is none."""
    wanted = case.float_biases([op]).get(op.index)
    if wanted is None:
        return None
    found, wanted = case.numbers.biases[op.index].astype(np.float64).reshape(-1), wanted.astype(np.float64).reshape(-1)
    power, cross = float(wanted @ wanted), float(found @ wanted)
    if power == 0 or cross <= 0 or cross * cross < _SAME_BIASES * power * float(found @ found):
        return None
    return cross / power


def _relu6(case: Case, grids: Sequence[Shared]) -> Proposal:
    meant = [grid for grid in grids if _bounds(case, grid) == _CLAMPS["RELU6"]]
    if not meant:
        return ruled_out("relu6_clipping", "the float model has no ReLU6 whose output the file quantizes")
    short = [grid for grid in meant if _is_clipped(grid)]
    if not short:
        said = f"all {len(meant)} outputs behind ReLU6 hold what the float model gives there"
        return ruled_out("relu6_clipping", said)
    tensors = {t for grid in short for t in grid.tensors}
    numbers = case.numbers.with_parts(clips=False, rounds=True, tensors=tensors)
    tensor = case.worst_tensor([grid.first for grid in short])
    worst = next(grid for grid in short if grid.first == tensor)
    said = f"{len(short)} of {len(meant)} outputs behind ReLU6 end too low; {_say_clipped(case, worst)}"
    return Mend("relu6_clipping", case.layer(tensor), len(short), numbers, said)
