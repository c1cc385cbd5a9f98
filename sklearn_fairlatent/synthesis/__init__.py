"""Fair synthetic data: a small student of a fair latent, from which rows are drawn."""

from ._synthesizer import FairSynthesizer

__all__ = ["FairSynthesizer"]
