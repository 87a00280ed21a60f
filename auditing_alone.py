"""`bitplan audit QUANTIZED`: what one quantized file shows without its float model and without data."""

from __future__ import annotations

import pathlib

from .analyzer.errors import UnsupportedModel
from .analyzer.measures.inspection import inspect_file
from .analyzer.runs import RunFolder, content_key
from .analyzer.schema import FileInspection
from .auditing import read_quantized

ALONE = "alone"
"""What such an audit's `audit.json` was made from, which tells it from one beside a float model."""


def audit_alone(
    quantized: str | pathlib.Path | bytes, *, out: str | pathlib.Path | None = None, force: bool = False
) -> FileInspection:
    """Looks at a quantized file alone; nothing is run.

    Args:
      quantized: The file or its bytes.
      out: Folder for `audit.json` and `report.html`.
      force: Take a folder that holds something else.

    Raises:
      UnsupportedModel: The bytes are no TFLite model, or nothing in it is quantized.
    """
    file = quantized if isinstance(quantized, bytes) else read_quantized(quantized)
    found = inspect_file(file)
    if found.quantization == "float":
        raise UnsupportedModel(
            "the file has no quantized tensors",
            "give a quantized file, or both: bitplan audit FLOAT QUANTIZED --evaluation DATA",
        )
    if out is not None:
        from .reports.inspection import render_inspection

        name = "the file" if isinstance(quantized, bytes) else pathlib.Path(quantized).name
        folder = RunFolder.create(out, force, key=content_key("audit-alone", file))
        folder.save("audit", found, ALONE)
        folder.write_bytes("report.html", render_inspection(found, name).encode())
    return found
