"""The invertible map behind trained counterfactuals: blocks whose shift moves one variable and leaves the others."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.linalg import qr
from torch import nn
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.transforms import MonotonicAffineTransform

from ._flow import MIN_SLOPE
from ._flow import _start_at_zero as start_at_zero
from ._readers import live_columns

# How far the covariance within groups and labels is shrunk to a multiple of the identity before it is inverted: few
# rows and many columns make directions that judges trained on other rows do not share (docs/design_notes.md).
SHRINKAGE = 0.5
# Share of the Euclidean metric, or the one that is given, beside the Mahalanobis one in what is called the least move.
METRIC = 0.5
# Coordinates beside the blocks are scaled to unit variance, but as if none varied less than this share of the mean:
# one-hot tables have directions without any variance.
VARIANCE_FLOOR = 0.03
# Readouts are held as long as they and the scores take this share of the columns at most, and as far as
# they add so much to those before them (they have length 1).
MOST_HELD = 0.25
LEAST_NEW = 0.05


@dataclass(frozen=True)
class LinearBlocks:
    """The closed form that every counterfactual map starts from.

    In the coordinates ``[blocks | rest] = (x - mean) / scale @ inverse.T`` the block of a variable is its discriminant
    score, and moving along it changes no other block: ``x`` moves by the columns of ``matrix``.
    """

    mean: np.ndarray  # (d,)
    scale: np.ndarray  # (d,)
    matrix: np.ndarray  # (d, d)
    inverse: np.ndarray  # (d, d)
    columns: dict  # name of a variable to the slice of its block
    positions: dict  # name to where the groups lie in its block: (n_groups, width); of a number its slope (1, 1)


def linear_blocks(X, variables, codes, readouts, metric=None):
    """Directions that move one variable's discriminant score and hold those of the others.

    With the discriminants of all variables (differences of means within the others' groups, through the shrunk
    covariance within groups) as the columns of ``W``, a column of ``V`` is the least move that changes one score by 1
    and the others by 0, and that no further readout of another variable sees. The rest of the coordinates are those
    orthogonal to ``W``.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    variables : list of Variable
    codes : ndarray of shape (n, n_variables)
        NaN where missing: such rows count as average.
    readouts : dict of str to ndarray of shape (d, n_readouts)
        Weights of further linear readers of every variable, on the columns of X.
    metric : ndarray of shape (d, d), default=None
        By which the length of moves is measured. None: by the units of :func:`column_scale`.

    Returns
    -------
    LinearBlocks
    """
    mean, scale = X.mean(0), column_scale(X)
    Z = (X - mean) / scale
    n, d = Z.shape
    designs, effects, within = fitted_effects(Z, variables, codes)
    # Fewer columns than scores: the last ones share what is left, as in the layout of the latent.
    widths, left = [], d
    for design in designs:
        widths.append(min(design.shape[1], left))
        left -= widths[-1]
    covariance = within.T @ within / n
    mean_variance = max(np.trace(covariance) / d, 1e-12)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * mean_variance * np.eye(d)
    columns, axes, start, first = {}, [], 0, 0
    for variable, own, width in zip(variables, designs, widths, strict=True):
        columns[variable.name] = slice(start, start + width)
        w = np.linalg.solve(shrunk, effects[first : first + width].T)
        axes.append(w / np.maximum(np.sqrt(np.einsum("ij,ij->j", w, covariance @ w)), 1e-12))
        start, first = start + width, first + own.shape[1]
    W = _independent(np.column_stack(axes))
    lengths = np.eye(d) / mean_variance
    if metric is not None:
        # The rows' mean square length is d, as it is in the other part.
        lengths = scale[:, None] * metric * scale
        lengths *= d / max(np.trace(lengths @ covariance), 1e-12)
    mahalanobis = np.linalg.inv(covariance + VARIANCE_FLOOR * mean_variance * np.eye(d))
    towards = np.linalg.solve(METRIC * lengths + (1 - METRIC) * mahalanobis, W)
    others = {name: _unit(weights * scale[:, None]) for name, weights in readouts.items()}
    V = np.column_stack(
        [_held(W, towards, columns[name], [o for k, o in others.items() if k != name]) for name in columns]
    )
    rest = np.linalg.qr(W, mode="complete")[0][:, W.shape[1] :]
    variances, rotation = np.linalg.eigh(rest.T @ covariance @ rest) if rest.shape[1] else (np.zeros(0), np.eye(0))
    rest = rest @ rotation * np.sqrt(np.maximum(variances, VARIANCE_FLOOR * mean_variance))
    matrix = np.column_stack([V, rest])
    scores = Z @ W
    positions = {
        variable.name: _positions(variable, scores[:, columns[variable.name]], code)
        for variable, code in zip(variables, codes.T, strict=True)
    }
    return LinearBlocks(mean, scale, matrix, np.linalg.inv(matrix), columns, positions)


def _held(W, towards, own, others):
    """Moves near ``towards`` that change the scores of the columns ``own`` of W by 1 each and nothing else read."""
    d, n_scores = W.shape
    unseen = np.column_stack([np.delete(W, np.arange(own.start, own.stop), axis=1), *others])
    # Where readouts leave little room a move that none of them sees would be long and strange.
    if n_scores + unseen.shape[1] > d * MOST_HELD:
        unseen = unseen[:, : n_scores - (own.stop - own.start)]
    if unseen.shape[1]:
        q, r, _ = qr(_unit(unseen), mode="economic", pivoting=True)
        q = q[:, np.abs(np.diag(r)) > LEAST_NEW]
        towards = towards - q @ (q.T @ towards)
    moves = towards[:, own]
    moves = moves @ np.linalg.pinv(W[:, own].T @ moves)
    # Pivoting may have left a direction of the other scores out: they are held exactly all the same.
    rest = np.delete(W, np.arange(own.start, own.stop), axis=1)
    return moves - W @ np.linalg.pinv(W.T @ W) @ (W.T @ moves - _targets(n_scores, own)) if rest.shape[1] else moves


def _targets(n_scores, own):
    return np.eye(n_scores)[:, own]


def _unit(weights):
    """Columns of length 1, those without length left out."""
    lengths = np.linalg.norm(weights, axis=0)
    return weights[:, lengths > 1e-12] / lengths[lengths > 1e-12]


def column_scale(X):
    """The standard deviation of every column; of a column with two values their distance."""
    low, high = X.min(0), X.max(0)
    two_valued = ((low == X) | (high == X)).all(0)
    scale = np.where(two_valued, high - low, X.std(0))
    return np.where(live_columns(X), scale, 1.0)


def fitted_effects(Z, variables, codes):
    """Least squares of the rows ``Z`` on all variables.

    Returns
    -------
    designs : list of ndarray of shape (n, width)
        Columns of every variable.
    effects : ndarray of shape (n_columns, d)
        Of these columns, side by side.
    within : ndarray of shape (n, d)
        What is left.
    """
    designs = [design_columns(variable, code) for variable, code in zip(variables, codes.T, strict=True)]
    design = np.column_stack([np.ones(len(Z)), *designs])
    coefficients = np.linalg.lstsq(design, Z, rcond=None)[0]
    return designs, coefficients[1:], Z - design @ coefficients


def design_columns(variable, code):
    """Columns of a variable for least squares: its groups but the first, or its number; 0, the mean, where missing."""
    design = variable.design(code)
    design = design[:, 1:] if design.shape[1] > 1 else design
    if np.isnan(code).all():
        return np.zeros_like(design)
    return np.nan_to_num(design - np.nanmean(design, axis=0))


def _independent(W):
    """``W`` with directions that nearly repeat others replaced by what they add, or by a fresh axis."""
    q, r = np.linalg.qr(W)
    weak = np.abs(np.diag(r)) < 1e-6 * np.linalg.norm(W, axis=0).max()
    return np.where(weak, q, W)


def _positions(variable, scores, code):
    """Mean score of every group, or the slope of the scores on a continuous code."""
    known = ~np.isnan(code)
    if variable.kind == "continuous":
        centred = code[known] - code[known].mean()
        return (centred @ scores[known] / (centred @ centred))[None]
    overall = scores.mean(0)
    rows = [scores[code == group] for group in range(variable.n_groups)]
    return np.stack([part.mean(0) if len(part) else overall for part in rows])


class BlockFlow(nn.Module):
    """An invertible module whose latent holds a block per variable; couplings at the identity behind the closed form.

    Moving a row to another group shifts its block by the difference of the two groups' positions: from group to group
    and back, and by any detour, is exact.

    Parameters
    ----------
    start : LinearBlocks
    n_context : int
        Columns that stay as they are and that the couplings may look at.
    n_layers, hidden_size : int
    """

    mean: torch.Tensor
    matrix: torch.Tensor
    inverse_matrix: torch.Tensor

    def __init__(
        self, start, n_context=0, *, context_mean: Any = 0.0, context_scale: Any = 1.0, n_layers=4, hidden_size=64
    ):
        super().__init__()
        self.register_buffer("context_mean", torch.as_tensor(context_mean, dtype=torch.float64))
        self.register_buffer("context_scale", torch.as_tensor(context_scale, dtype=torch.float64))
        self.register_buffer("mean", torch.as_tensor(start.mean))
        self.register_buffer("matrix", torch.as_tensor(start.matrix * start.scale[:, None]))
        self.register_buffer("inverse_matrix", torch.as_tensor(start.inverse / start.scale))
        self.columns = start.columns
        self.positions = nn.ParameterDict(
            {_key(k): torch.as_tensor(where) for k, where in enumerate(start.positions.values())}
        )
        self.names = list(start.positions)
        n_features = len(start.mean)
        n_blocks = max((columns.stop for columns in start.columns.values()), default=0)
        self.couplings = nn.ModuleList(_couplings(n_features, n_blocks, n_context, n_layers, hidden_size))

    def forward(self, x, context=None):
        """Latents of the rows ``x``, both of shape (n, n_features)."""
        z = (x - self.mean) @ self.inverse_matrix.T
        context = self._standardised(context)
        for coupling in self.couplings:
            z = coupling(context)(z)
        return z

    def inverse(self, z, context=None):
        """Rows whose latents are ``z``."""
        context = self._standardised(context)
        for coupling in reversed(self.couplings):
            z = coupling(context).inv(z)
        return z @ self.matrix.T + self.mean

    def _standardised(self, context):
        return None if context is None else (context - self.context_mean) / self.context_scale

    def positions_of(self, name):
        """Where the groups of a variable lie in its block, or its slope."""
        return self.positions[_key(self.names.index(name))]

    def shift(self, name, own, wanted):
        """How far the block of ``name`` moves from the codes ``own`` to the codes ``wanted``: (n, width)."""
        where = self.positions_of(name)
        if len(where) == 1:
            return (wanted - own)[:, None].to(where.dtype) * where
        return where[wanted.long()] - where[own.long()]

    def place(self, z, name, shift):
        """Latents ``z`` with the block of ``name`` shifted."""
        columns = self.columns[name]
        return torch.cat([z[:, : columns.start], z[:, columns] + shift, z[:, columns.stop :]], dim=1)


def _key(position):
    """Names of attributes may hold dots, which torch does not take."""
    return f"variable_{position}"


def _couplings(n_features, n_blocks, n_context, n_layers, hidden_size):
    """Couplings that start at the identity: the rest given the blocks, the blocks given the rest, then halves."""
    position = torch.arange(n_features)
    for layer in range(n_layers if n_features > 1 else 0):
        if layer < 2 and 0 < n_blocks < n_features:
            held = position < n_blocks if layer == 0 else position >= n_blocks
        else:
            held = position % 2 == layer % 2
        coupling = GeneralCouplingTransform(
            n_features,
            n_context,
            mask=held,
            univariate=partial(MonotonicAffineTransform, slope=MIN_SLOPE),
            hidden_features=(hidden_size, hidden_size),
        )
        start_at_zero(coupling.hyper)
        yield coupling
