"""The objective of a stitch as pure tensor functions: the label's loss and the disparity between groups."""

import torch
import torch.nn.functional as F

from .._attributes import CONSTRAINTS as RATE_CONSTRAINTS

# The values are the names used here.
CONSTRAINTS = RATE_CONSTRAINTS | {name: name for name in ("accuracy_equality", "max_min")}


def means_by(values, codes, n_codes, weights):
    """Weighted mean of the rows of each code, and whether there is one; rows with the code -1 are left out.

    Parameters
    ----------
    values : Tensor of shape (n, n_columns)
    codes : Tensor of int of shape (n,)
    n_codes : int
    weights : Tensor of shape (n,)

    Returns
    -------
    means : Tensor of shape (n_codes, n_columns)
    present : Tensor of bool of shape (n_codes,)
    """
    inside = F.one_hot(codes + 1, n_codes + 1)[:, 1:].to(values.dtype) * weights[:, None]
    totals = inside.sum(0)
    present = totals > 0
    return inside.T @ values / totals.where(present, totals.new_ones(()))[:, None], present


def spread(means, present):
    """Twice the mean distance (total variation) of the groups' rates from their middle: of two groups, the distance.

    Parameters
    ----------
    means : Tensor of shape (n_groups, n_columns)
        Rates of each outcome; or one column, half of whose difference counts.
    present : Tensor of bool of shape (n_groups,)
    """
    n_present = present.sum()
    if n_present < 2:
        return means.new_zeros(())
    middle = (means * present[:, None]).sum(0) / n_present
    return ((means - middle).abs().sum(1) * present).sum() / n_present


def disparity(rates, nll, label, groups, n_groups, weights, constraint, pos_label):
    """How differently the groups of one attribute are treated, at least 0.

    Parameters
    ----------
    rates : Tensor of shape (n, n_classes)
        Soft decisions in [0, 1]; hard ones count decisions.
    nll : Tensor of shape (n,)
        Loss of each row, in nats.
    label, groups : Tensor of int of shape (n,)
        Codes; a group of -1 is not known.
    n_groups : int
    weights : Tensor of shape (n,)
    constraint : str
        One of the values of ``CONSTRAINTS``.
    pos_label : int or None
        Code of the favourable label, for "true_positive_rate_parity".

    Returns
    -------
    Tensor
        A scalar. Of two groups and two classes: for "equalized_odds" the gap of the false positive rates plus the gap
        of the false negative rates, for "true_positive_rate_parity" and "demographic_parity" the gap of the rates,
        for "accuracy_equality" that of the losses, in nats, and for "max_min" the highest loss of a cell of label and
        group, in nats.

    References
    ----------
    .. [1] Sulaiman and Roy (2023), "The Fairness Stitch", arXiv:2311.03532, section 3.
    """
    n_classes = rates.shape[1]
    if constraint == "max_min":
        cells = torch.where(groups < 0, -1, groups * n_classes + label)
        means, present = means_by(nll[:, None], cells, n_groups * n_classes, weights)
        return means[present].max() if present.any() else rates.new_zeros(())
    if constraint == "accuracy_equality":
        # One column, whose difference the sum over two outcomes would count twice.
        means, present = means_by(nll[:, None], groups, n_groups, weights)
        return 2 * spread(means, present)
    if constraint == "demographic_parity":
        return spread(*means_by(rates, groups, n_groups, weights))
    compared = range(n_classes) if constraint == "equalized_odds" else [pos_label]
    gaps = [
        # Divided by the count of the group WITH this label.
        spread(*means_by(rates, torch.where(label == code, groups, -1), n_groups, weights))
        for code in compared
    ]
    return 2 * sum(gaps) / n_classes if constraint == "equalized_odds" else gaps[0]
