"""Counterfactuals where rows have partners: an affine map per group, from rows that are versions of each other."""

from dataclasses import dataclass

import numpy as np

# Ridge of the affine maps, in units of the mean variance of the rows: partners of few templates tell a shift well, and
# how it differs from row to row roughly.
RIDGE = 1.0
# Fewer rows with a partner in every group than this tell no affine map.
LEAST_PARTNERS = 20


@dataclass(frozen=True, eq=False)
class PartnerMap:
    """For every group the affine map of its rows to the mean of a row and its partners in all groups.

    A row goes to another group by its own group's map and the inverse of the other's, so that there and
    back, and any detour, is exact.
    """

    matrices: np.ndarray  # (n_groups, d, d)
    offsets: np.ndarray  # (n_groups, d)

    @classmethod
    def fit(cls, X, table):
        """Learn the maps.

        Parameters
        ----------
        X : ndarray of shape (n, d)
        table : ndarray of int of shape (n, n_groups)
            Every row's partner in every other group, -1 for none.

        Returns
        -------
        PartnerMap or None
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
            offsets[group] = step.mean(0) - centre @ slope
        return cls(matrices, offsets)

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
