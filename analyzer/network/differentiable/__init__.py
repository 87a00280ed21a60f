"""A float flatbuffer as a TensorFlow function with gradients: the network for estimates and for training.

The interpreter stays the judge of what a network computes; this is where derivatives come from. TensorFlow is loaded
with the first `DifferentiableGraph`, not with this package.
"""

from __future__ import annotations

from .coverage import cut_gradients, uncovered
from .graph import DifferentiableGraph, Taps

__all__ = ["DifferentiableGraph", "Taps", "cut_gradients", "uncovered"]
