"""A small layer stitched into a trained network, so that its decisions become fair and the rest stays frozen."""

from ._classifier import FairStitchClassifier

__all__ = ["FairStitchClassifier"]
