"""Figures as text, rounded honestly: "0" only where it is zero, "100 %" only where it is all.

Ratios name their base at the call site; MB is 10^6 bytes, KiB is 1024. Thousands are set apart by a narrow no-break
space.
"""

from __future__ import annotations

import math
import unicodedata

from ..analyzer.schema import Interval

KERNELS = {"xnnpack": "XNNPACK", "reference": "reference kernels"}
LONGEST_NAME = 72
ALMOST_EQUAL = "\N{ALMOST EQUAL TO}"
TIMES = "\N{MULTIPLICATION SIGN}"
SMALL_FILE = 100_000
"""Bytes below which a file's size is told in KiB."""

_MINUS = "\N{MINUS SIGN}"
_THOUSANDS = "\N{NARROW NO-BREAK SPACE}"
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def marked(text: str, exact: bool) -> str:
    """A figure, or the head of a column of them, with the sign of an estimate unless it was measured exactly."""
    return text if exact else f"{ALMOST_EQUAL} {text}"


def name(text: str, longest: int = LONGEST_NAME) -> str:
    """A name from a model as it can be shown: visible characters only, at most about `longest` of them.

    Control characters and those that change the direction of writing become escapes, so that a name cannot disguise
    what stands beside it. The middle is left out of a long name: both ends tell layers apart.
    """
    if len(text) > longest:
        head = longest * 2 // 3
        text = f"{text[:head]}{_ELLIPSIS}{text[-(longest - head) :]} ({count(len(text))} characters)"
    return "".join(c if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else _escape(c) for c in text)


def _escape(character: str) -> str:
    return f"\\u{ord(character):04x}"


def count(number: int) -> str:
    """Digits in groups of three from 10 000 on."""
    if abs(number) < 10_000:
        return str(number).replace("-", _MINUS)
    return f"{number:,}".replace(",", _THOUSANDS).replace("-", _MINUS)


def large(number: int) -> str:
    """Three digits and a decimal unit: `2.24 M`. Exact below 1000."""
    for limit, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        # 999 950 would print as "1000 k".
        if abs(number) >= limit * 0.9995:
            return f"{_significant(number / limit, 3)} {unit}"
    return count(number)


def megabytes(size_bytes: int, decimals: int = 2, beside: int | None = None) -> str:
    """A file's size in MB (10^6 bytes); KiB where two decimals of a MB would say too little.

    Args:
      size_bytes: What to write.
      decimals: Of a MB.
      beside: A size that it is read against: both get the unit of the smaller one.
    """
    smaller = abs(size_bytes) if beside is None else min(abs(size_bytes), beside)
    if smaller >= SMALL_FILE:
        return f"{fixed(size_bytes / 1e6, decimals)} MB"
    return kibibytes(size_bytes)


def kibibytes(size_bytes: int) -> str:
    """A size in KiB (1024 bytes); plain bytes below one."""
    if abs(size_bytes) < 1024:
        return f"{count(size_bytes)} B"
    if abs(size_bytes) < 100 * 1024:
        return f"{fixed(size_bytes / 1024, 1)} KiB"
    return f"{count(round(size_bytes / 1024))} KiB"


def fixed(value: float, decimals: int) -> str:
    """A fixed number of decimals; `<0.01` where rounding would say 0 and it is not."""
    if not math.isfinite(value):
        return _not_finite(value)
    text = f"{value:.{decimals}f}"
    if value != 0 and float(text) == 0:
        smallest = f"{10.0**-decimals:.{decimals}f}"
        return f"<{smallest}" if value > 0 else f">{_MINUS}{smallest}"
    return f"{abs(value):.{decimals}f}" if float(text) == 0 else text.replace("-", _MINUS)


def significant(value: float, digits: int = 3) -> str:
    """Three significant digits; powers of ten below 0.0001. `0` only where it is zero."""
    if not math.isfinite(value):
        return _not_finite(value)
    if value == 0:
        return "0"
    if abs(value) < 1e-4:
        mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", _MINUS)
    return _significant(value, digits).replace("-", _MINUS)


def signed(value: float) -> str:
    """A change, three significant digits: `+0.0123`; `0` only where nothing changes."""
    return f"+{significant(value)}" if value > 0 else significant(value)


def signed_bytes(change: int) -> str:
    """A change of a size, in bytes: `+912 bytes`."""
    return f"{'+' if change > 0 else ''}{plural(change, 'byte')}"


def _significant(value: float, digits: int) -> str:
    # The exponent after rounding: 0.9996 has three digits as 1.00, not as 1.000.
    exponent = int(f"{value:.{digits - 1}e}".split("e")[1])
    decimals = max(0, digits - 1 - exponent)
    return f"{value:.{decimals}f}"


def decibels(value: float) -> str:
    """One decimal; the sign of infinity where nothing changed."""
    return _not_finite(value) if not math.isfinite(value) else f"{value:.1f}".replace("-", _MINUS)


def percent(share: float, decimals: int = 0) -> str:
    """A share of 1 in percent; `<1 %` and `>99 %` where rounding would claim none or all."""
    if not math.isfinite(share):
        return _not_finite(share)
    value, step = share * 100, 10.0**-decimals
    text = f"{value:.{decimals}f}"
    if 0 < share < 1 and float(text) == 100:
        return f">{100 - step:.{decimals}f} %"
    if share in (0.0, 1.0):
        return f"{round(value)} %"
    return f"{fixed(value, decimals)} %"


def probability(p: float) -> str:
    """A p-value: never 0."""
    return "<0.001" if p < 0.001 else _significant(p, 2) if p < 0.995 else "1.0"


def p_value(p: float) -> str:
    """The same in a sentence: `p = 0.38`, `p < 0.001`."""
    shown = probability(p)
    return f"p < {shown[1:]}" if shown.startswith("<") else f"p = {shown}"


def ratio(base_bytes: int, size_bytes: int) -> str:
    """How many times smaller (or larger) than the base, which the caller names."""
    if size_bytes <= 0 or base_bytes <= 0:
        return "not defined"
    if size_bytes == base_bytes:
        return "the same size"
    smaller = size_bytes < base_bytes
    times = base_bytes / size_bytes if smaller else size_bytes / base_bytes
    text = f"{times:.2f}" if times >= 1.005 else ">1.00"
    return f"{text}\N{MULTIPLICATION SIGN} {'smaller' if smaller else 'larger'}"


def interval(figure: Interval, decimals: int = 2) -> str:
    """`0.58 ± 0.52`; `0.58 (0.10 to 1.30)` where the interval is lopsided, or where `±` would say another thing of 0.

    More decimals than asked for where the width would read as 0 and is not.
    """
    below, above = figure.value - figure.low, figure.high - figure.value
    half = (figure.high - figure.low) / 2
    while decimals < 5 and half and round(half, decimals) == 0:
        decimals += 1
    # "2.3 ± 2.5" would put 0 into an interval from 0.2 to 5.2.
    same = (abs(figure.value) > half) == figure.excludes_zero
    if abs(above - below) <= 0.4 * half + 10.0**-decimals and same:
        return f"{_plain(figure.value, decimals)} ± {_plain(half, decimals)}"
    low, high = _plain(figure.low, decimals), _plain(figure.high, decimals)
    return f"{_plain(figure.value, decimals)} ({low} to {high})"


def _plain(value: float, decimals: int) -> str:
    """Rounded to the interval's own precision: here 0.00 is right beside a width, and never carries a sign."""
    if not math.isfinite(value):
        return _not_finite(value)
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", _MINUS)


def samples_to_decide(needed: int) -> str:
    """How many samples would decide, to two digits: more would claim a precision that such a number has not."""
    if needed < 100:
        return count(needed)
    step = 10 ** (len(str(needed)) - 2)
    return count(-(-needed // step) * step)


def ordinal(rank: int) -> str:
    """`1st`, `2nd`, `11th`."""
    suffix = "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{suffix}"


def plural(number: int, singular: str, several: str | None = None) -> str:
    """`1 op`, `2 ops`."""
    return f"{count(number)} {singular if abs(number) == 1 else several or singular + 's'}"


def kernels(kernel: str) -> str:
    """Name of the kernels that a figure was measured with."""
    return KERNELS.get(kernel, kernel)


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "not a number"
    return "\N{INFINITY}" if value > 0 else f"{_MINUS}\N{INFINITY}"
