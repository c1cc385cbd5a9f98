"""Data sets: real tables with sensitive attributes, and generated rows whose counterfactuals are known."""

from ._generators import make_biased_latents
from ._loaders import load_adult, load_german
from ._truth import LatentTruth

__all__ = ["LatentTruth", "load_adult", "load_german", "make_biased_latents"]
