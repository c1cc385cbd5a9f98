"""What a TabularCodec does to a row on the way back, with a gradient; and which encoded columns a column of X has."""

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from torch import nn

from ._codec import TabularCodec

# Sharpness of the choice among one-hot columns that gives the gradient.
TEMPERATURE = 0.1


class Rounding(nn.Module):
    """Encoded rows as decoding and encoding them again would give them back, up to the rounding of numbers.

    The value is the rounded one, the gradient that of a softmax (the straight-through estimator of Bengio, Leonard and
    Courville 2013, arXiv:1308.3432, section 4).

    Parameters
    ----------
    one_hot : list of slice
        The columns of every categorical column.
    indicators : list of int
        Columns that say that a number is missing.
    low, high : ndarray of shape (n_encoded,)
        Bounds of every column.
    columns : list of slice
        The encoded columns of every column of the table.
    """

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, one_hot, indicators, low, high, columns):
        super().__init__()
        self.one_hot, self.indicators, self.columns = one_hot, indicators, columns
        self.register_buffer("low", torch.as_tensor(low, dtype=torch.float32))
        self.register_buffer("high", torch.as_tensor(high, dtype=torch.float32))

    def forward(self, x):
        rounded = torch.minimum(torch.maximum(x, self.low), self.high)
        parts = rounded.clone()
        for columns in self.one_hot:
            soft = (x[:, columns] / TEMPERATURE).softmax(1)
            hard = nn.functional.one_hot(soft.argmax(1), soft.shape[1]).to(soft.dtype)
            parts[:, columns] = hard + soft - soft.detach()
        for column in self.indicators:
            soft = ((x[:, column] - 0.5) / TEMPERATURE).sigmoid()
            parts[:, column] = (soft >= 0.5).to(soft.dtype) + soft - soft.detach()
        return parts


def codec_of(encoder):
    """The TabularCodec that ``encoder`` is, perhaps a frozen one; else None."""
    inner = encoder.estimator if isinstance(encoder, FrozenEstimator) else encoder
    return inner if isinstance(inner, TabularCodec) else None


def rounding_of(codec, E):
    """The :class:`Rounding` of a fitted TabularCodec, from its encoded training rows."""
    one_hot, indicators = [], []
    for columns, is_one_hot in codec._encoded_columns():
        if is_one_hot:
            one_hot.append(columns)
        elif columns.stop - columns.start > 1:
            indicators.append(columns.start + 1)
    low, high = E.min(0), E.max(0)
    # One-hot columns choose the largest, whatever their size: bounds would take the gradient away.
    for columns in one_hot:
        low[columns], high[columns] = -np.inf, np.inf
    for column in indicators:
        low[column], high[column] = -np.inf, np.inf
    return Rounding(one_hot, indicators, low, high, list(codec.feature_groups_.values()))


def column_positions(names, labels, sensitive):
    """Positions of the immutable columns ``names``, sorted, among the columns beside ``sensitive``.

    Parameters
    ----------
    names : list of str or int
    labels : list
        Names of all columns of X, or their positions.
    sensitive : list of int
        Positions of the sensitive columns.

    Raises
    ------
    ValueError
        If a name is not a column, or a sensitive one.
    """
    others = [k for k in range(len(labels)) if k not in sensitive]
    positions = set()
    for name in names:
        if name in labels:
            position = labels.index(name)
        elif isinstance(name, (int, np.integer)) and not isinstance(name, bool):
            position = int(name)
        else:
            position = -1
        if position not in others:
            raise ValueError(
                f"immutable_features: {name!r} is not a column of X beside the sensitive ones, which are "
                f"{[labels[k] for k in others]}."
            )
        positions.add(others.index(position))
    return sorted(positions)


def encoded_positions(encoder, positions):
    """Encoded columns of the columns of X at ``positions``, an ndarray of int.

    Raises
    ------
    ValueError
        If the encoder does not say which columns it makes of one.
    """
    if encoder is None:
        return np.array(positions, dtype=int)
    codec = codec_of(encoder)
    if codec is None:
        raise ValueError(
            f"immutable_features: encoder={type(encoder).__name__} does not say which of its columns belong to "
            "a column of X. Use encoder=TabularCodec() or encoder=None, or leave immutable_features out."
        )
    slices = list(codec.feature_groups_.values())
    return np.concatenate([np.arange(slices[k].start, slices[k].stop) for k in positions])
