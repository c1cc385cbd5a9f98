"""The layers that are stitched in: the identity before training, in the shape of what goes through them."""

import copy

import torch
from torch import nn

from ._networks import Standardise

# A feature with less than this share of the mean spread is a dead unit: nothing is read from it.
DEAD = 1e-3


class Stitch(nn.Module):
    """Features plus what a small network makes of them: ``f + c U a(V (f - m) / d)``, with ``U = 0`` at first.

    Parameters
    ----------
    features : Tensor of shape (n, n_features), (n, n_tokens, n_features) or (n, n_channels, height, width)
        What goes through it in training: gives ``m`` and ``d``, the mean and spread of every feature or channel, and
        ``c``, the mean of the spreads.
    hidden_size : int or None
        Units of the hidden layer. None: no hidden layer, an affine map.
    axis : int
        That of the features, or channels.
    """

    def __init__(self, features, hidden_size, axis=-1):
        super().__init__()
        self.axis = axis
        mean, scale = _moments(features, self.axis)
        width, dtype = len(mean), features.dtype
        self.standardise = Standardise(mean, scale)
        self.register_buffer("scale", scale.mean())
        self.inner = nn.Identity()
        if hidden_size is not None:
            self.inner = nn.Sequential(nn.Linear(width, hidden_size, dtype=dtype), nn.SiLU())
            width = hidden_size
        self.outer = nn.Linear(width, len(mean), dtype=dtype)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, features):
        """Stitched features, of the same shape."""
        # A linear layer wants channels last.
        step = self.outer(self.inner(self.standardise(features.movedim(self.axis, -1))))
        return features + self.scale * step.movedim(-1, self.axis)


class FreshLayer(nn.Module):
    """A layer like another one with new weights, behind a standardisation, which lets it learn at one rate.

    Parameters
    ----------
    layer : torch.nn.Module
    features : Tensor of shape (n, ...)
        What goes into it in training.
    """

    def __init__(self, layer, features):
        super().__init__()
        axis = -1 if isinstance(layer, nn.Linear) else 1
        shape = [1] * (features.ndim - 1)
        shape[axis if axis < 0 else axis - 1] = -1
        mean, scale = (part.reshape(shape) for part in _moments(features, axis))
        self.standardise = Standardise(mean, scale)
        if not hasattr(layer, "reset_parameters"):
            raise ValueError(
                f"stitch='last_layer': the last layer of the network, a {type(layer).__name__}, cannot be made anew; "
                "expected one with reset_parameters(), such as a torch.nn.Linear."
            )
        if isinstance(getattr(layer, "weight", None), torch.Tensor) and "weight" not in dict(layer.named_parameters()):
            raise ValueError(
                f"stitch='last_layer': the last layer of the network, a {type(layer).__name__}, computes its weights "
                "from others, as weight_norm does, and cannot be made anew. Make them plain ones first "
                "(torch.nn.utils.parametrize.remove_parametrizations)."
            )
        self.layer = copy.deepcopy(layer).requires_grad_(True)
        self.layer.reset_parameters()

    def forward(self, features):
        """Outputs of the layer."""
        return self.layer(self.standardise(features))


def _moments(features, axis):
    """Mean and spread of every feature, or channel, along ``axis``."""
    rows = features.detach().movedim(axis, -1).flatten(0, -2)
    mean, scale = rows.mean(0), rows.std(0, correction=0)
    typical = scale.mean()
    dead = scale <= DEAD * typical
    return mean, scale.masked_fill(dead, float(typical) or 1.0)
