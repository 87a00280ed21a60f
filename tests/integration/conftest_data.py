"""The demo's network and data, as plain arrays."""

from __future__ import annotations

import functools
import pathlib

import numpy as np

DEMO = pathlib.Path(__file__).resolve().parents[2] / "analyzer" / "demo"


@functools.cache
def demo():
    """Flatbuffer, calibration images uint8 [256, 28, 28, 1] and their labels."""
    arrays = np.load(DEMO / "data.npz")
    return (DEMO / "fashion_mobilenet.tflite").read_bytes(), arrays["x_calibration"], arrays["y_calibration"]
