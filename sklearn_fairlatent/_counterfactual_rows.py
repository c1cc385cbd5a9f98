"""The rows a counterfactual map is trained on: with what each is to become, rows it would join, and its partner."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

# Rows of a group that look for a partner in another one: assigning 1,500 rows to 1,500 takes half a second.
PARTNER_ROWS = 1500
# Partners that tell less than this are chance.
LEAST_SHARE = 0.25


class MoveRows(torch.utils.data.Dataset):
    """Whole batches in which one variable moves.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    codes : ndarray of shape (n, n_variables)
        NaN where missing: such a row does not move.
    variables : list of Variable
    partners : dict of str to (ndarray of int of shape (n, n_groups), float)
        Position of every row's partner in every group, -1 for none, and how much a partner tells.
    rng : numpy RandomState
    position : int
        Which of the variables moves.
    """

    def __init__(self, X, codes, variables, partners, rng, position):
        self.X, self.codes, self.variables, self.partners, self.rng = X, codes, variables, partners, rng
        self.position = position
        self.members = [
            [np.flatnonzero(code == group) for group in range(variable.n_groups)]
            for variable, code in zip(variables, codes.T, strict=True)
        ]

    def __len__(self):
        return len(self.X)

    def take(self, positions):
        """Inputs and targets of the rows at ``positions``."""
        k = self.position
        variable, own = self.variables[k], self.codes[positions, k]
        known = ~np.isnan(own)
        if variable.kind == "continuous":
            pool = np.flatnonzero(~np.isnan(self.codes[:, k]))
            real = self.rng.choice(pool, len(positions))
            wanted = self.codes[real, k]
        else:
            wanted = (np.nan_to_num(own) + self.rng.randint(1, variable.n_groups, len(positions))) % variable.n_groups
            # A group that these rows miss lends its place to the row itself: nothing to be alike to.
            real = np.array(
                [
                    self.rng.choice(self.members[k][int(w)]) if len(self.members[k][int(w)]) else p
                    for w, p in zip(wanted, positions, strict=True)
                ]
            )
        wanted = np.where(known, wanted, 0.0)
        own = np.where(known, own, 0.0)
        partner, share = np.full(len(positions), -1), 0.0
        if variable.name in self.partners:
            table, share = self.partners[variable.name]
            partner = table[positions, wanted.astype(int)]
        inputs = {
            "x": _float(self.X[positions]),
            "own": _float(own),
            "wanted": _float(wanted),
        }
        batch = {
            "x": inputs["x"],
            "wanted": inputs["wanted"],
            "known": _float(known),
            "real": _float(self.X[real]),
            "partner": _float(self.X[np.maximum(partner, 0)]),
            "partner_weight": _float(share * (partner >= 0)),
        }
        return inputs, batch


def _float(values):
    return torch.as_tensor(values, dtype=torch.float32)


def partners_of(X, variables, codes, rng):
    """For every row its partner in each other group: the optimal assignment after the groups' means are aligned.

    Where rows are versions of each other (the same sentence about another person) partners are true counterfactuals.
    How much they tell is one less the mean squared distance of partners over that of rows that are no versions of each
    other: of an assignment between two parts of one group, carried on from a quarter and half of its rows to all.

    Returns
    -------
    dict of str to (ndarray of int of shape (n, n_groups), float)
        Only variables with groups whose partners tell something.
    """
    found = {}
    for variable, code in zip(variables, codes.T, strict=True):
        if variable.kind == "continuous":
            continue
        members = [rng.permutation(np.flatnonzero(code == g))[:PARTNER_ROWS] for g in range(variable.n_groups)]
        table = np.full((len(X), variable.n_groups), -1)
        across, within = [], []
        for g, own in enumerate(members):
            for h in range(g):
                fewer, more = sorted((own, members[h]), key=len)
                if len(fewer) and len(more) > 1:
                    rows, others, distance = _assign(X, own, members[h])
                    table[rows, h], table[others, g] = others, rows
                    across.append(distance)
                    within.append(_chance_distance(X, more, len(fewer)))
        if across:
            share = float(np.clip(1 - np.mean(across) / max(np.mean(within), 1e-12), 0, 1))
            if share > LEAST_SHARE:
                found[variable.name] = table, share
    return found


def _chance_distance(X, rows, n_assigned):
    """Mean squared distance of an assignment of ``n_assigned`` rows to as many strangers as there are ``rows``.

    The more there are to choose from, the nearer is the nearest, by a power law: what halving the choice costs,
    doubling it gains.
    """
    half, quarter = len(rows) // 2, len(rows) // 4
    if not quarter:
        return 0.0
    of_half = _assign(X, rows[half:][:n_assigned], rows[:half])[2]
    of_quarter = _assign(X, rows[half:][: min(n_assigned, quarter)], rows[:quarter])[2]
    return of_half * min(1.0, of_half / max(of_quarter, 1e-12))


def _assign(X, rows, others):
    """The pairs of the cheapest assignment between two sets of rows, and their mean squared distance."""
    left, right = X[rows] - X[rows].mean(0), X[others] - X[others].mean(0)
    squared = cdist(left, right, "sqeuclidean")
    first, second = linear_sum_assignment(squared)
    return rows[first], others[second], squared[first, second].mean()
