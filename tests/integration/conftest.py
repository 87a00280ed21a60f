"""Puts this folder's helper modules within reach, and small networks as fixtures."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from converter_networks import convert  # noqa: F401
from small_networks import calibrated, interpret_fixture, network, sqnr_fixture  # noqa: F401
