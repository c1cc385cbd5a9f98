"""Counterfactuals by affine maps of groups: between versions of a row, and by optimal transport."""

from dataclasses import dataclass

import numpy as np
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.linear_model import LogisticRegression

from ._counterfactual_flow import design_columns, fitted_effects

# Ridge of the maps between partners, in units of the mean variance of the rows: partners of few templates tell a shift
# well, and how it differs from row to row roughly.
RIDGE = 1.0
# Fewer rows with a partner in every group than this tell no affine map.
LEAST_PARTNERS = 20
# Directions in which the rows of a group vary less than this, in units of the scale, are left alone: that is rounding.
LEAST_VARIANCE = 1e-10
# Rows that are rarer than this in their group, as the other variables tell, weigh no more than these.
LEAST_CHANCE = 0.05
# The barycenter of two groups is there after one step; of more, after this many to well below what the rows tell.
N_BARYCENTER_STEPS = 20


@dataclass(frozen=True, eq=False)
class GroupMaps:
    """For every group an affine map of its rows to a place that all groups share.

    A row goes to another group by its own group's map and the inverse of the other's, so that there and
    back, and any detour, is exact.
    """

    matrices: np.ndarray  # (n_groups, d, d)
    offsets: np.ndarray  # (n_groups, d)

    def move(self, X, own, wanted):
        """Rows of the groups ``own`` as members of the groups ``wanted`` (codes of shape (n,))."""
        moved = X.copy()
        for source in np.unique(own).astype(int):
            for goal in np.unique(wanted[own == source]).astype(int):
                rows = (own == source) & (wanted == goal)
                if source != goal:
                    middle = X[rows] @ self.matrices[source] + self.offsets[source]
                    moved[rows] = np.linalg.solve(self.matrices[goal].T, (middle - self.offsets[goal]).T).T
        return moved


@dataclass(frozen=True, eq=False)
class Slope:
    """How far rows move for each unit of a continuous variable."""

    slope: np.ndarray  # (d,)

    def move(self, X, own, wanted):
        """Rows with the numbers ``own`` as rows with the numbers ``wanted``, both of shape (n,)."""
        return X + (wanted - own)[:, None] * self.slope


def partner_maps(X, table, stretch=0.0):
    """The maps of rows to the mean of themselves and their versions in the other groups.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    table : ndarray of int of shape (n, n_groups)
        Every row's partner in every other group, -1 for none.
    stretch : float, default=0.0
        By which part of the groups' distance they are set farther apart.

    Returns
    -------
    GroupMaps or None
        None if too few rows have partners.
    """
    n_groups, d = table.shape[1], X.shape[1]
    matrices, offsets = np.empty((n_groups, d, d)), np.empty((n_groups, d))
    for group in range(n_groups):
        others = np.delete(table, group, axis=1)
        rows = np.flatnonzero((table[:, group] < 0) & (others >= 0).all(1))
        if len(rows) < LEAST_PARTNERS:
            return None
        own = X[rows]
        step = (own + X[others[rows]].sum(1)) / n_groups - own
        centre = own.mean(0)
        centred = own - centre
        covariance = centred.T @ centred / len(rows)
        ridge = RIDGE * max(np.trace(covariance) / d, 1e-12) * np.eye(d)
        slope = np.linalg.solve(covariance + ridge, centred.T @ (step - step.mean(0)) / len(rows))
        matrices[group] = np.eye(d) + slope
        offsets[group] = step.mean(0) - centre @ slope + stretch * step.mean(0) @ matrices[group]
    return GroupMaps(matrices, offsets)


def transport_maps(X, variables, codes, k, scale):
    """Optimal transport between the groups of the ``k``-th variable, as if rows were normal around what all tell.

    Groups are compared beside the other variables: rows weigh as much as makes these alike in all groups, a group's
    mean is that of its regression on them where they have their means over all rows, its covariance that of the
    residuals. Every group's map is the optimal transport of that normal distribution to the barycenter of all groups,
    which for two groups lies on the way from one to the other.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    variables : list of Variable
    codes : ndarray of shape (n, n_variables)
        NaN where missing.
    k : int
    scale : ndarray of shape (d,)
        Units in which distances are measured.

    Returns
    -------
    GroupMaps or Slope
        The latter for a continuous variable.

    References
    ----------
    .. [1] Peyre and Cuturi (2019), "Computational optimal transport", Foundations and Trends in Machine Learning 11,
       remark 2.31 (the map between normal distributions).
    .. [2] Alvarez-Esteban, del Barrio, Cuesta-Albertos, Matran (2016), "A fixed-point approach to barycenters in
       Wasserstein space", J. Math. Anal. Appl. 441, theorem 4.2 (the barycenter of normal distributions).
    """
    variable, d = variables[k], X.shape[1]
    known = ~np.isnan(codes[:, k])
    Z, codes = X[known] / scale, codes[known]
    if variable.kind == "continuous":
        designs, effects, _ = fitted_effects(Z, variables, codes)
        return Slope(effects[sum(design.shape[1] for design in designs[:k])] * scale)
    others = [
        design_columns(other, code) for other, code in zip(variables, codes.T, strict=True) if other is not variable
    ]
    design = np.column_stack([np.zeros((len(Z), 0)), *others])
    centres, within = np.tile(Z.mean(0), (variable.n_groups, 1)), np.zeros_like(Z)
    for group, weights in enumerate(_balancing(design, codes[:, k], variable.n_groups)):
        rows = codes[:, k] == group
        if rows.any():
            centres[group], within[rows] = _beside(Z[rows], design[rows], weights[rows])
    variances, axes = np.linalg.eigh(within.T @ within / len(within))
    live = variances > LEAST_VARIANCE
    axes, deviations = axes[:, live], np.sqrt(variances[live])
    covariances = np.stack([
        _shrunk(within[codes[:, k] == group] @ axes / deviations) * np.outer(deviations, deviations)
        for group in range(len(centres))
    ])  # fmt: skip
    middle = _barycenter(covariances)
    matrices, offsets = np.empty((len(centres), d, d)), np.empty((len(centres), d))
    for group in range(len(centres)):
        stretch = np.eye(d) + axes @ (_transport(covariances[group], middle) - np.eye(len(deviations))) @ axes.T
        matrices[group] = stretch / scale[:, None] * scale
        offsets[group] = (centres.mean(0) - centres[group] @ stretch) * scale
    return GroupMaps(matrices, offsets)


def _balancing(design, group, n_groups):
    """Weights of the rows, a vector for each group, with which the columns of ``design`` tell no group; of mean 1."""
    weights = np.ones((n_groups, len(design)))
    if not design.shape[1] or len(np.unique(group)) < 2:
        return weights
    model = LogisticRegression(max_iter=1000).fit(design, group)
    chances = model.predict_proba(design)
    for chance, code in zip(chances.T, model.classes_.astype(int), strict=True):
        odds = 1 / np.clip(chance, LEAST_CHANCE, None)
        weights[code] = odds / odds[group == code].mean()
    return weights


def _beside(Z, design, weights):
    """Where a group is if the columns of ``design`` are 0, by weighted least squares, and what is left of its rows."""
    middle, centre = (np.average(part, axis=0, weights=weights) for part in (design, Z))
    root = np.sqrt(weights)[:, None]
    columns, rows = root * (design - middle), root * (Z - centre)
    # A ridge of one row: what hardly varies in the group tells nothing there.
    slopes = np.linalg.solve(columns.T @ columns + np.eye(design.shape[1]), columns.T @ rows)
    return centre - middle @ slopes, rows - columns @ slopes


def _shrunk(U):
    """Covariance of a group's rows, in units of that of all rows and shrunk towards it.

    As much as Ledoit and Wolf find, who look at how the rows scatter, but at least as a row for each column would.
    """
    n, d = U.shape
    share = max(ledoit_wolf_shrinkage(U, assume_centered=True), d / (n + d)) if n > 1 and d else 1.0
    return (1 - share) * (U.T @ U / max(n, 1)) + share * np.eye(d)


def _root(S, power=0.5):
    values, axes = np.linalg.eigh((S + S.T) / 2)
    return axes * np.maximum(values, 1e-12 * values.max(initial=0.0)) ** power @ axes.T


def _transport(S, goal):
    """The symmetric matrix T with T S T = goal: optimal transport of N(0, S) to N(0, goal)."""
    root, inverse = _root(S), _root(S, -0.5)
    return inverse @ _root(root @ goal @ root) @ inverse


def _barycenter(covariances):
    """Covariance of the Wasserstein barycenter of centred normal distributions with equal weights."""
    middle = covariances[0]
    for _ in range(N_BARYCENTER_STEPS):
        root, inverse = _root(middle), _root(middle, -0.5)
        step = inverse @ np.mean([_root(root @ S @ root) for S in covariances], axis=0) @ inverse
        middle = step @ middle @ step
        if np.abs(step - np.eye(len(step))).max(initial=0.0) < 1e-10:
            break
    return middle
