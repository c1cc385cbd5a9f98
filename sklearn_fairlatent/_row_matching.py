"""Counterfactual rows of a table: rows of the wanted group that were seen, spread over many of them.

What may not change, and numbers that hardly differ, stay as they are in the row itself.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._counterfactual_flow import column_scale
from ._latent import row_chunks

# Most rows of a group to give, and most of the others that tell how often each would be asked for.
MOST_DONORS = 4000
MOST_ASKING = 6000
# Rows that readers take for members of another group than theirs are not given, up to this share of the group.
MOST_ODD = 0.25
# A column that differs costs 1, a number at most so many deviations; columns that may not change cost more, for what
# comes with them should fit them.
FAR = 2.0
FIXED_WEIGHT = 3.0
# What it costs if another variable is read otherwise, and each nat by which its readings differ.
READ_OTHERWISE, NAT = 5.0, 1.0
# A number that would change by no more than so many deviations stays.
NEAR = 0.5
# Prices keep rows from being given more often than others that are read alike otherwise. They are found in so many
# rounds at each softness of the choice, in units of the costs, and hold for the soft choice: a single row is given to
# some more than its share.
SOFTNESS = (0.5, 0.2)
N_ROUNDS = 30
CHUNK = 1024


class Likeness:
    """How alike two encoded rows are: in categories, in numbers, and in what is read of the other variables.

    Parameters
    ----------
    X : ndarray of shape (n, n_encoded)
        Encoded rows, which tell the scale of numbers.
    columns : list of (slice, bool)
        The encoded columns of every column of the table, and whether they are one-hot.
    fixed : ndarray of int
        Encoded columns that will not change.
    panel : Panel
    held : list of str
        The variables that are to be read as before.
    """

    def __init__(self, X, columns, fixed, panel, held):
        self.fixed, self.panel, self.held = fixed, panel, held
        weights, one_hot = np.ones(X.shape[1]), np.zeros(X.shape[1], dtype=bool)
        weights[fixed] = FIXED_WEIGHT
        for part, is_one_hot in columns:
            one_hot[part] = is_one_hot
        self.categories, self.numbers = np.flatnonzero(one_hot), np.flatnonzero(~one_hot)
        self.roots = np.sqrt(weights[self.categories])
        scale = column_scale(X)
        self.units, self.most = weights[self.numbers] / scale[self.numbers], FAR * weights[self.numbers]
        self.number_parts = [part for part, is_one_hot in columns if not is_one_hot]
        self.near = NEAR * scale

    def describe(self, X):
        """What is compared of rows: numbers to multiply with those of another row, and numbers to subtract."""
        factors, terms = [X[:, self.categories] * self.roots], [X[:, self.numbers] * self.units]
        for name in self.held:
            scores = self.panel.scores(X, name).mean(0)
            if scores.shape[1] > 1:
                factors.append(np.sqrt(READ_OTHERWISE) * (scores.argmax(1)[:, None] == np.arange(scores.shape[1])))
                scores = 2 * (scores - scores.mean(1, keepdims=True))[:, 1:]
            terms.append(NAT * scores)
        return np.column_stack(factors).astype(np.float32), np.column_stack(terms).astype(np.float32)

    def costs(self, rows, others):
        """Costs of every one of the ``others`` for every row, both from :meth:`describe`; up to a constant."""
        cost = -(rows[0] @ others[0].T)
        for k in range(rows[1].shape[1]):
            apart = np.abs(rows[1][:, k, None] - others[1][:, k])
            cost += np.minimum(apart, np.float32(self.most[k])) if k < len(self.most) else apart
        return cost

    def given(self, X, donors):
        """Rows ``X`` made the rows ``donors``, but for what may not change and numbers that hardly differ."""
        moved = donors.copy()
        for part in self.number_parts:
            near = (np.abs(donors[:, part] - X[:, part]) <= self.near[part]).all(1)
            moved[near, part] = X[near, part]
        moved[:, self.fixed] = X[:, self.fixed]
        return moved


@dataclass(eq=False)
class RowMatching:
    """Rows of every group to give to others, with their prices.

    Attributes
    ----------
    likeness : Likeness
    donors : list of ndarray of shape (n_donors, n_encoded)
        By group.
    prices : list of ndarray of shape (n_donors,)
    """

    likeness: Likeness
    donors: list
    prices: list

    def move(self, X, own, wanted):
        """Encoded rows ``X`` as the rows of the groups ``wanted`` that cost least (codes of shape (n,))."""
        moved = X.copy()
        for goal in np.unique(wanted[own != wanted]).astype(int):
            asking = np.flatnonzero((wanted == goal) & (own != wanted))
            donors = self.likeness.describe(self.donors[goal])
            for part in row_chunks(len(asking), CHUNK):
                rows = X[asking[part]]
                costs = self.likeness.costs(self.likeness.describe(rows), donors)
                moved[asking[part]] = self.likeness.given(
                    rows, self.donors[goal][(costs + self.prices[goal]).argmin(1)]
                )
        return moved


def match_rows(X, variables, codes, k, panel, columns, fixed, rng):
    """Rows of the groups of the ``k``-th variable, and prices that spread what is asked for over many of them.

    It is an optimal transport between samples of the groups, within what is read of the other variables, in which no
    row takes more than its share of a soft choice. Its dual are the prices, so that any further row can be matched
    alone, with the one that is cheapest.

    Parameters
    ----------
    X : ndarray of shape (n, n_encoded)
    variables : list of Variable
    codes : ndarray of shape (n, n_variables)
        NaN where missing.
    k : int
    panel : Panel
    columns, fixed
        As in :class:`Likeness`.
    rng : numpy RandomState

    Returns
    -------
    RowMatching

    References
    ----------
    .. [1] Black, Yeom, Fredrikson (2020), "FlipTest: fairness testing via optimal transport", FAT* (each row's match in
       the other group).
    .. [2] Peyre and Cuturi (2019), "Computational optimal transport", Foundations and Trends in Machine Learning 11,
       sections 4.2 (Sinkhorn's iteration) and 5.1 (matching by prices).
    """
    variable, code = variables[k], codes[:, k]
    others: list[Any] = [other for other in variables if other is not variable]
    likeness = Likeness(X, columns, fixed, panel, [other.name for other in others])
    read = [other.name for other in others if other.kind == "groups"]
    donors, prices = [], []
    for goal in range(variable.n_groups):
        own, rest = np.flatnonzero(code == goal), np.flatnonzero(~np.isnan(code) & (code != goal))
        donors.append(X[_some(_typical(own, panel.margin(X[own], variable.name, code[own])), MOST_DONORS, rng)])
        asking = X[_some(rest, MOST_ASKING, rng)]
        costs = likeness.costs(likeness.describe(asking), likeness.describe(donors[-1]))
        cells = [
            np.column_stack([np.zeros(len(part)), *(panel.read(part, name) for name in read)])
            for part in (asking, donors[-1])
        ]
        prices.append(_prices(costs, _most_uses(*cells)))
    return RowMatching(likeness, donors, prices)


def _typical(rows, margins):
    """Those of a group's rows that readers take for members of it, but most of them in any case."""
    return rows[margins >= min(0.0, np.quantile(margins, MOST_ODD))]


def _some(rows, most, rng):
    return rows if len(rows) <= most else np.sort(rng.permutation(rows)[:most])


def _most_uses(asking, donors):
    """How often each donor may be asked for: its share among the donors in the same cell, but at least once."""
    cells, where = np.unique(np.concatenate([asking, donors]), axis=0, return_inverse=True)
    of_asking, of_donors = np.split(where.ravel(), [len(asking)])
    asked, there = (np.bincount(part, minlength=len(cells)) for part in (of_asking, of_donors))
    return np.maximum(1.0, asked / np.maximum(there, 1))[of_donors]


def _prices(costs, most):
    """Prices of the columns with which none is the cheapest of many more rows than ``most`` says of it.

    Every row asks for the cheapest columns softly, ever less so; what is asked for more often than it may be rises, the
    rest falls, but not below 0: Sinkhorn's iteration where one side has upper bounds only.
    """
    prices = np.zeros(costs.shape[1], dtype=np.float32)
    bound = np.log(most).astype(np.float32)
    for softness in np.repeat(SOFTNESS, N_ROUNDS) if costs.size else []:
        uses = np.zeros(len(prices), dtype=np.float32)
        for part in row_chunks(len(costs), CHUNK):
            asked = (costs[part] + prices) / -np.float32(softness)
            asked -= asked.max(1, keepdims=True)
            np.exp(asked, out=asked)
            uses += (1 / asked.sum(1)) @ asked
        prices = np.maximum(prices + np.float32(softness) * (np.log(uses + 1e-30) - bound), 0)
    return prices
