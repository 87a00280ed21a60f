"""Bitplan: which layers quantization hurts, why, and the precision for each of them that fits a size limit.

The functions here are what the commands of the same names call; they are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import (
        Run,
        analyze,
        audit,
        cache,
        calibrate_study,
        check,
        compare,
        convert,
        demo,
        diff,
        export_vectors,
        inspect,
        measure_latency,
        open_run,
        plan,
        prepare,
        repair,
        run,
    )

__all__ = [
    "Run",
    "analyze",
    "audit",
    "cache",
    "calibrate_study",
    "check",
    "compare",
    "convert",
    "demo",
    "diff",
    "export_vectors",
    "inspect",
    "measure_latency",
    "open_run",
    "plan",
    "prepare",
    "repair",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)
