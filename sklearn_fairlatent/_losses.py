"""Pure tensor functions: the dependence measure, the label losses and the likelihood."""

import torch
import torch.nn.functional as F

# A comparison with few rows is mostly noise: its weight is 1 / (1 + NOISE * (1/n_in + 1/n_out)), which
# is 0.97 for two halves of a batch of 2,048 and 0.2 for a group of four.
NOISE = 16.0


def random_directions(width, n_directions, generator, device):
    """Axes and ``n_directions`` random unit directions, shape (width, width + n_directions)."""
    axes = torch.eye(width, device=device)
    if width == 1:
        return axes
    directions = torch.randn(width, n_directions, generator=generator).to(device)
    return torch.cat([axes, directions / directions.norm(dim=0)], dim=1)


def _compared(strata):
    """Masks of the strata inside which rows are compared: those with enough rows."""
    for stratum in torch.unique(strata).tolist():
        rows = strata == stratum
        if stratum >= 0 and int(rows.sum()) >= 4:
            yield rows


def _shares(n_in, n_out, weights):
    """Weight of every comparison, lower the fewer its rows, and ``1 / n_in + 1 / n_out``."""
    bias = 1 / n_in.clamp(min=1) + 1 / n_out.clamp(min=1)
    return weights * ((n_in >= 2) & (n_out >= 2)) / (1 + NOISE * bias), bias


def dependence(Z, members, weights, strata, directions):
    """Sliced energy distance between the groups, normalised and corrected for its finite-sample bias.

    For one direction and one comparison (inside against outside a group) it is::

        integral (F_in - F_out)^2 dv / integral F (1 - F) dv - (1 / n_in + 1 / n_out)

    with ``F`` the empirical distribution functions of the projected latent: 0 on average under
    independence, whatever the sample size, and 0 in the limit if and only if ``Z`` is independent of the group.

    Parameters
    ----------
    Z : Tensor of shape (n, width)
        What is handed on.
    members : Tensor of shape (n, n_comparisons)
        1 inside the group, 0 outside, NaN unknown.
    weights : Tensor of shape (n_comparisons,)
        Weight of each comparison.
    strata : Tensor of int, shape (n,)
        Rows are compared within equal values; -1 leaves a row out.
    directions : Tensor of shape (width, n_directions)
        Directions to project on.

    Returns
    -------
    Tensor
        A scalar: mean over directions, weighted sum over comparisons, mean over strata; times
        the width, which makes it a sum over the columns of a basis.

    References
    ----------
    .. [1] Szekely and Rizzo (2013), "Energy statistics", J. Stat. Planning and Inference 143, eq. 2.
    """
    total, n_strata = Z.new_zeros(()), 0
    for rows in _compared(strata):
        n_strata += 1
        values, order = torch.sort(Z[rows] @ directions, dim=0)
        inside = members[rows][order]
        known = ~torch.isnan(inside)
        inside = torch.nan_to_num(inside)
        outside = known.to(Z.dtype) - inside
        n_in, n_out = inside[:, 0].sum(0), outside[:, 0].sum(0)
        share, bias = _shares(n_in, n_out, weights)

        steps = (values[1:] - values[:-1])[..., None]
        gap = inside.cumsum(0) / n_in.clamp(min=1) - outside.cumsum(0) / n_out.clamp(min=1)
        distance = (gap[:-1] ** 2 * steps).sum(0)
        if known.all():
            n = len(values)
            ranks = (torch.arange(1, n, device=Z.device, dtype=Z.dtype) / n)[:, None, None]
        else:
            ranks = known.to(Z.dtype).cumsum(0)[:-1] / (n_in + n_out).clamp(min=1)
        spread = (ranks * (1 - ranks) * steps).sum(0)
        statistic = (distance / (spread + 1e-12) - bias).mean(0)
        total = total + (share * statistic).sum()
    return total * Z.shape[1] / max(1, n_strata)


def soft_decisions(scores, temperature):
    """How far each label is decided for, from the scores of a label head, in [0, 1]; rows sum to 1.

    Parameters
    ----------
    scores : Tensor of shape (n, 1) or (n, n_classes)
        Log-odds of the second of two labels, or logits of the classes.
    temperature : float
        In nats: the lower, the nearer to the hard decision for the likeliest label.
    """
    if scores.shape[1] == 1:
        scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
    return torch.softmax(scores / temperature, dim=1)


def rate_gap(decisions, members, weights, strata):
    """How far apart the groups' rates of decision lie, in total variation.

    For two labels and one comparison (inside against outside a group) it is the absolute difference of the two rates:
    a small one counts in proportion, while :func:`dependence` counts its square.

    Parameters
    ----------
    decisions : Tensor of shape (n, n_labels)
        How far each label is decided for, in [0, 1]; rows sum to 1.
    members, weights, strata
        As in :func:`dependence`.

    Returns
    -------
    Tensor
        A scalar: weighted sum over comparisons, mean over strata; in [0, 1] if the weights sum to 1.
    """
    total, n_strata = decisions.new_zeros(()), 0
    for rows in _compared(strata):
        n_strata += 1
        known = (~torch.isnan(members[rows])).to(decisions.dtype)
        inside = torch.nan_to_num(members[rows])
        outside = known - inside
        n_in, n_out = inside.sum(0), outside.sum(0)
        share, _ = _shares(n_in, n_out, weights)
        gaps = decisions[rows].T @ (inside / n_in.clamp(min=1) - outside / n_out.clamp(min=1))
        total = total + (share * gaps.abs().sum(0) / 2).sum()
    return total / max(1, n_strata)


def label_loss(scores, codes, kind):
    """Mean loss of the label head, in nats.

    Parameters
    ----------
    scores : Tensor of shape (n, 1) or (n, n_classes)
    codes : Tensor of shape (n,)
        Class positions, or the standardised number.
    kind : {"binary", "multiclass", "continuous"}
    """
    if kind == "binary":
        return F.binary_cross_entropy_with_logits(scores[:, 0], codes)
    if kind == "multiclass":
        return F.cross_entropy(scores, codes.long())
    return 0.5 * F.mse_loss(scores[:, 0], codes)


def gaussian_nll(Z, location):
    """Negative log-density of each row under N(location, I) up to a constant; NaN locations count as 0 loss."""
    # The square of a NaN has a NaN for a gradient even where its value is replaced: replace before squaring.
    return 0.5 * (torch.nan_to_num(Z - location) ** 2).sum(dim=1)


def design_loss(scores, design):
    """Mean loss of reading an attribute from its block: cross-entropy of groups, or squared error of a number.

    Parameters
    ----------
    scores, design : Tensor of shape (n, n_columns)
        ``design`` holds one-hot groups or, in one column, the standardised number; NaN rows are left out.
    """
    known = ~torch.isnan(design).any(dim=1)
    target = torch.nan_to_num(design)
    if design.shape[1] == 1:
        losses = 0.5 * (scores[:, 0] - target[:, 0]) ** 2
    else:
        losses = -(target * torch.log_softmax(scores, dim=1)).sum(dim=1)
    return (losses * known).sum() / known.sum().clamp(min=1)
