"""The vocabulary that every stage shares: frozen data classes, no TensorFlow, no I/O.

Units are in the names: `_bytes`, `_bits`, `_db`, `_ms`. MB is 10^6 bytes, KiB is 1024. "nmse" is the mean squared error
divided by the variance of the float output, averaged over the compared outputs: 0 is perfect, 1 is as bad as answering
with the mean.
"""

from __future__ import annotations

from .attribution import (
    ERROR_KINDS,
    Attribution,
    ErrorInteraction,
    FileCoverage,
    KindShare,
    LayerShare,
    NotAligned,
)
from .audit import Audit, AuditCause
from .causes import CAUSES, NOT_TESTABLE, RULED_OUT, TESTED, Cause, CauseKind, CauseTrial
from .drops import (
    ClassDrop,
    DeviceDifference,
    DeviceJudgement,
    Drop,
    Flip,
    Flips,
    OutputGap,
    SetMetric,
    VectorManifest,
    VectorTensor,
)
from .inspection import FILE_KINDS, FileFinding, FileInspection, WeightCodes
from .interval import Interval
from .measurements import (
    Calibration,
    Histogram,
    LeftFloat,
    Measurement,
    OutputError,
    PartialSums,
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
from .opinion import Opinion
from .options import OPTIONS, Option, OptionTable
from .outcomes import (
    Assignment,
    Evaluation,
    Plan,
    TypeMismatch,
    Verification,
)
from .planning import (
    Alternative,
    Frontier,
    FrontierPoint,
    OpChange,
    PlanDiff,
    Planning,
    Price,
    Reason,
    Remeasured,
    Rival,
    Round,
    RunDiff,
    Trial,
)
from .repairs import RANGE_METHODS, REPAIRS, HeldBackError, KernelAgreement, Likeness, RepairLog, RepairStep
from .results import Provenance, Results
from .study import DRAWS, Study, StudyBand, StudyCell
from .target import ASSUMED, EVERY_OP, RUNTIMES, Kernel, Target
from .weights import WeightProfile

SCHEMA_VERSION = 1

__all__ = [
    "ACTIVATION_VARIANTS",
    "ASSUMED",
    "CAUSES",
    "DEFAULT_ALLOWED",
    "DRAWS",
    "ERROR_KINDS",
    "EVERY_OP",
    "FILE_KINDS",
    "KINDS",
    "NOT_TESTABLE",
    "OPTIONS",
    "RANGE_METHODS",
    "REPAIRS",
    "RULED_OUT",
    "RUNTIMES",
    "SCHEMA_VERSION",
    "SCHEMES",
    "TESTED",
    "Alternative",
    "Assignment",
    "Attribution",
    "Audit",
    "AuditCause",
    "Calibration",
    "Cause",
    "CauseKind",
    "CauseTrial",
    "ClassDrop",
    "DeviceDifference",
    "DeviceJudgement",
    "Drop",
    "ErrorInteraction",
    "Evaluation",
    "FileCoverage",
    "FileFinding",
    "FileInspection",
    "Flip",
    "Flips",
    "Format",
    "Frontier",
    "FrontierPoint",
    "Graph",
    "HeldBackError",
    "Histogram",
    "Interval",
    "Kernel",
    "KernelAgreement",
    "KindShare",
    "LayerShare",
    "LeftFloat",
    "Likeness",
    "Measurement",
    "NotAligned",
    "Op",
    "OpChange",
    "Opinion",
    "Option",
    "OptionTable",
    "OutputError",
    "OutputGap",
    "PartialSums",
    "Plan",
    "PlanDiff",
    "Planning",
    "Price",
    "Provenance",
    "Range",
    "Reason",
    "Remeasured",
    "RepairLog",
    "RepairStep",
    "Results",
    "Rival",
    "Round",
    "RunDiff",
    "Scheme",
    "SensitivityTable",
    "SetMetric",
    "Source",
    "Study",
    "StudyBand",
    "StudyCell",
    "Target",
    "Tensor",
    "Trial",
    "TypeMismatch",
    "VectorManifest",
    "VectorTensor",
    "Verification",
    "WeightCodes",
    "WeightProfile",
]
