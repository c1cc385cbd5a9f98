"""The cells of label and groups: what a row weighs, and which rows are left when all cells get the same number."""

from dataclasses import dataclass, replace

import numpy as np
import torch


@dataclass(frozen=True, eq=False)
class Rows:
    """What is known of the rows: their features and codes.

    Parameters
    ----------
    features : Tensor of shape (n, ...)
    label : Tensor of int of shape (n,)
    groups : Tensor of int of shape (n, n_attributes)
        -1 where not known.
    cells : Tensor of int of shape (n,)
        Combination of the label and all groups.
    label_weights, rate_weights : Tensor of shape (n,)
        Weights in the label's loss, and in the rates.
    """

    features: torch.Tensor
    label: torch.Tensor
    groups: torch.Tensor
    cells: torch.Tensor
    label_weights: torch.Tensor
    rate_weights: torch.Tensor

    def with_features(self, features):
        """The same rows with these features."""
        return replace(self, features=features)

    def take(self, rows):
        """The rows at these positions."""
        return Rows(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def cells_of(label, attributes):
    """Number of the combination of label and groups, missing ones being a group of their own.

    Parameters
    ----------
    label : ndarray of shape (n,)
    attributes : list of ndarray of shape (n,)
        Codes, NaN where missing.
    """
    columns = [np.nan_to_num(codes, nan=-1.0) for codes in (label, *attributes)]
    return np.unique(np.column_stack(columns), axis=0, return_inverse=True)[1].ravel()


def coded_rows(label, attributes, weights, balanced, dtype, device):
    """The rows, still without features, as tensors.

    Parameters
    ----------
    label : ndarray of shape (n,)
    attributes : list of ndarray of shape (n,)
    weights : ndarray of shape (n,)
    balanced : {True, "subsample", False}
        As in :class:`FairStitchClassifier`.
    dtype : torch.dtype
    device : str or torch.device

    Returns
    -------
    Rows
    """
    cells = cells_of(label, attributes)
    groups = np.column_stack([np.zeros((len(label), 0)), *(np.nan_to_num(codes, nan=-1.0) for codes in attributes)])
    label_weights = rate_weights = weights
    if balanced == "subsample":
        # All cells will have the same number of rows: rates need those that there were.
        rate_weights = weights * np.bincount(cells)[cells]
    elif balanced:
        totals = np.bincount(cells, weights)
        label_weights = weights / np.where(totals > 0, totals, 1)[cells]
    codes = [torch.as_tensor(part.astype(np.int64), device=device) for part in (label, groups, cells)]
    # Of mean one, so that a loss is of the size it has without weights.
    scaled = [torch.as_tensor(part / part.mean(), dtype=dtype, device=device) for part in (label_weights, rate_weights)]
    return Rows(torch.zeros(len(label), 0), *codes, *scaled)


def smallest_cells(rows, cells, rng):
    """As many of the positions ``rows`` of every cell as the smallest has, at random, in order."""
    own = np.unique(cells[rows], return_inverse=True)[1]
    n = np.bincount(own).min()
    chosen = [rng.choice(rows[own == cell], n, replace=False) for cell in range(own.max() + 1)]
    return np.sort(np.concatenate(chosen))
