"""Counterfactual rows of a table: of a moved row only the columns that the question needs."""

import numpy as np

# A row counts as read as wanted when its readers prefer the wanted group by so many nats on average.
MARGIN = 0.5
# What a shortfall of that costs, what a change in what else is read costs, per nat, and what a changed column costs.
SHORTFALL, DISTURBANCE, COLUMN = 20.0, 2.0, 0.3
# No more columns than this are changed, but all of them where fewer do not do.
MOST_COLUMNS = 6
# Rows revised at once: every one is read some thirty times.
REVISION_ROWS = 4096


class Revision:
    """Chooses, row by row, which columns of a moved row are needed.

    Every column is changed alone first, and judged by how much it moves the readers towards what is wanted and how
    little it disturbs what else they read. In that order the columns are changed together, and the best number of them
    is kept; of several moved rows the best.

    Parameters
    ----------
    panel : Panel
    columns : list of slice
        The encoded columns of every column of the table.
    """

    def __init__(self, panel, columns):
        self.panel, self.columns = panel, columns

    def revise(self, X, candidates, wanted):
        """Encoded rows between ``X`` and one of the moved rows.

        Parameters
        ----------
        X : ndarray of shape (n, n_encoded)
        candidates : list of ndarray of shape (n, n_encoded)
            Valid rows that do what is asked, the first one the least.
        wanted : dict of str to ndarray of shape (n,)
            Codes of the variables that move.

        Returns
        -------
        ndarray of shape (n, n_encoded)
        """
        parts = [slice(start, start + REVISION_ROWS) for start in range(0, len(X), REVISION_ROWS)]
        return np.concatenate(
            [
                self._revise(X[p], [rows[p] for rows in candidates], {name: codes[p] for name, codes in wanted.items()})
                for p in parts
            ]
        )

    def _revise(self, X, candidates, wanted):
        before = {name: self._levels(X, name) for name in self.panel.names if name not in wanted}
        best, best_value = X.copy(), np.full(len(X), -np.inf)
        for moved in candidates:
            gains = np.full((len(X), len(self.columns)), -np.inf)
            for k, columns in enumerate(self.columns):
                changed = (moved[:, columns] != X[:, columns]).any(1)
                if changed.any():
                    alone = X[changed].copy()
                    alone[:, columns] = moved[changed][:, columns]
                    parts = {name: levels[:, changed] for name, levels in before.items()}
                    gains[changed, k] = self._value(alone, {n: c[changed] for n, c in wanted.items()}, parts, np.inf)
            order = np.argsort(-gains, axis=1, kind="stable")
            n_changed = np.isfinite(gains).sum(1)
            rows = X.copy()
            for step in range(min(MOST_COLUMNS, len(self.columns))):
                for k, columns in enumerate(self.columns):
                    here = (order[:, step] == k) & (step < n_changed)
                    rows[here, columns] = moved[here, columns]
                value = self._value(rows, wanted, before, MARGIN) - COLUMN * np.minimum(step + 1, n_changed)
                better = value > best_value
                best[better], best_value[better] = rows[better], value[better]
            value = self._value(moved, wanted, before, MARGIN) - COLUMN * n_changed
            better = value > best_value
            best[better], best_value[better] = moved[better], value[better]
        return best

    def _value(self, rows, wanted, before, enough):
        """How good the rows are: read as wanted up to ``enough``, and otherwise as before."""
        value = np.zeros(len(rows))
        for name, codes in wanted.items():
            margin = self.panel.margin(rows, name, codes)
            value += margin if np.isinf(enough) else SHORTFALL * np.minimum(0.0, margin - enough)
        for name, levels in before.items():
            value -= DISTURBANCE * np.abs(self._levels(rows, name) - levels).mean(0).max(-1)
        return value

    def _levels(self, rows, name):
        """Scores of a variable that was to stay, against their mean over its groups: (n_readers, n, n_scores)."""
        scores = self.panel.scores(rows, name)
        return scores if scores.shape[-1] == 1 else 2 * (scores - scores.mean(-1, keepdims=True))
