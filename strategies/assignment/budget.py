"""A file size as people write it."""

from __future__ import annotations

import re
from decimal import Decimal

from ...analyzer.errors import UsageError

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-z]*)", re.IGNORECASE)
_REMEDY = (
    "write 2.75MB (10^6 bytes), 310KB, 310KiB (1024 bytes), 2800000 (bytes) or 3.2x (that much smaller than float)"
)


def parse_size(text: str, float_bytes: int) -> int:
    """Reads a size budget, rounded down to whole bytes.

    Args:
      text: A number with a unit (`B KB MB GB KiB MiB GiB`, in any case), a bare number of bytes, or `3.2x`: the size of
        the float file divided by 3.2.
      float_bytes: Size of the float file.

    Raises:
      UsageError: The text is none of these, or its size is below one byte.
    """
    match = _SIZE.fullmatch(text.strip())
    unit = match.group(2).lower() if match else ""
    if match is None or (unit != "x" and unit not in _UNITS):
        raise UsageError(f"the size {text!r} cannot be read", _REMEDY)
    number = Decimal(match.group(1))
    if unit == "x":
        if number < 1:
            raise UsageError(
                f"the size {text!r} asks for a file larger than the float one",
                "a ratio says how many times smaller the file shall be: 2x is half the float file",
            )
        return int(float_bytes / number)
    if unit in ("", "b") and number != int(number):
        raise UsageError(f"the size {text!r} is not a whole number of bytes", _REMEDY)
    size = int(number * _UNITS[unit])
    if size < 1:
        raise UsageError(f"the size {text!r} leaves no byte for the file", _REMEDY)
    return size
