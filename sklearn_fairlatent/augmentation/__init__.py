"""Training rows with the sensitive attribute flipped in a latent space, to balance what a classifier learns from."""

from ._flip import latent_flip
from ._sampler import LatentFlipSampler

__all__ = ["LatentFlipSampler", "latent_flip"]
