"""The vocabulary that every stage shares: frozen data classes, no TensorFlow, no I/O.

Units are in the names: `_bytes`, `_bits`, `_db`, `_ms`. MB is 10^6 bytes, KiB is 1024. "nmse" is the mean squared error
divided by the variance of the float output, averaged over the compared outputs: 0 is perfect, 1 is as bad as answering
with the mean.
"""

from __future__ import annotations

from .measurements import (
    Calibration,
    Histogram,
    LeftFloat,
    Measurement,
    OutputError,
    Range,
    SensitivityTable,
    Source,
)
from .network import (
    ACTIVATION_VARIANTS,
    DEFAULT_ALLOWED,
    KINDS,
    SCHEMES,
    Format,
    Graph,
    Op,
    Scheme,
    Tensor,
)
from .outcomes import (
    Assignment,
    Audit,
    AuditCause,
    Evaluation,
    Interval,
    Plan,
    Provenance,
    Results,
    TypeMismatch,
    Verification,
)

SCHEMA_VERSION = 1

__all__ = [
    "ACTIVATION_VARIANTS",
    "DEFAULT_ALLOWED",
    "KINDS",
    "SCHEMA_VERSION",
    "SCHEMES",
    "Assignment",
    "Audit",
    "AuditCause",
    "Calibration",
    "Evaluation",
    "Format",
    "Graph",
    "Histogram",
    "Interval",
    "LeftFloat",
    "Measurement",
    "Op",
    "OutputError",
    "Plan",
    "Provenance",
    "Range",
    "Results",
    "Scheme",
    "SensitivityTable",
    "Source",
    "Tensor",
    "TypeMismatch",
    "Verification",
]
