"""A finite code of what is handed on: cells chosen for the label and for parity, and a representative of each."""

from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeRegressor

# Small cells that are merged into those of the code: rows of Adult's training part, 31,000, give 120 each.
SMALL_CELLS = 256
# Rows in a small cell below which its shares are noise; fewer where there are not so many small cells for each code.
LEAST_ROWS = 50
FEWEST_ROWS = 5
CHOICE = 8
# What the commonest label of a small cell counts, next to its labels' shares: without it a code of few cells need not
# have an edge where decisions change (docs/design_notes.md, "Certificates").
DECISIONS = 0.3


class Codebook:
    """Cells of the handed-on block.

    Rows are first sorted into many small cells: quantiles of a single column, leaves of a tree that predicts the label
    from several. These are joined to those of the code, runs of neighbours if there is a single column, so that little
    is lost of what the small cells tell of the label, and what they tell of the attributes cancels.

    Codes are numbered along the column, in the direction in which the first target rises; of several columns by the
    mean of the first target.

    Attributes
    ----------
    representatives : ndarray of shape (n_codes, n_components)
        A place inside each cell: the mean of its rows or, where that lies in another cell, of the part of it that is
        nearest to the mean.
    """

    def __init__(self, representatives, edges=None, rises=True, tree=None, code_of_leaf=None):
        self.representatives = representatives
        self._rises = rises
        self._edges: Any = edges
        self._tree: Any = tree
        self._code_of_leaf: Any = code_of_leaf

    def __repr__(self):
        return f"Codebook({self.n_codes} codes of {self.representatives.shape[1]} column(s))"

    @property
    def n_codes(self):
        """Number of cells."""
        return len(self.representatives)

    @classmethod
    def fit(cls, Z, targets, gaps, n_codes, *, strength, are_classes, seed):
        """Learn at most ``n_codes`` cells.

        Parameters
        ----------
        Z : ndarray of shape (n, n_components)
        targets : ndarray of shape (n, n_targets)
            What the cells should tell.
        gaps : ndarray of shape (n, n_comparisons)
            Of every row, its share of the difference between two groups' frequencies, see :func:`group_gaps`.
        n_codes : int
        strength : float
            What a unit of total variation between groups is worth, in shares of what the small cells tell.
        are_classes : bool
            Whether ``targets`` are indicators of classes: which one is commonest in a small cell is then told, too.
        seed : int
            Of the tree, which breaks ties at random.
        """
        scale = targets.std(axis=0)
        standardised = (targets - targets.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
        # Of few rows the small cells are smaller, so that there is something to choose from.
        least = max(FEWEST_ROWS, min(LEAST_ROWS, len(Z) // (CHOICE * n_codes)))
        n_small = max(n_codes, min(SMALL_CELLS, len(Z) // least))
        tree: Any = None
        edges: Any = None
        if Z.shape[1] == 1:
            edges = _quantile_edges(Z[:, 0], n_small)
            small = np.searchsorted(edges, Z[:, 0], side="right")
        else:
            tree = DecisionTreeRegressor(max_leaf_nodes=n_small, min_samples_leaf=least, random_state=seed)
            small = tree.fit(Z, standardised).apply(Z)
        leaves, small = np.unique(small, return_inverse=True)
        counts = np.bincount(small).astype(np.float64)
        told = _told(small, counts, standardised, targets if are_classes else None)
        join = _runs if tree is None else _joined
        code = join(counts, told, strength * _sums(small, gaps), min(n_codes, len(counts)))
        places = _sums(small, Z) / counts[:, None]
        if tree is None:
            rises = bool(counts @ (told[:, 0] * _centred(places, counts)[:, 0]) >= 0)
            middles = _sums(code, places * counts[:, None]) / np.bincount(code, counts)[:, None]
            return cls(middles if rises else middles[::-1], edges=edges[np.flatnonzero(np.diff(code))], rises=rises)
        code = _by_first(code, counts, told)
        code_of_leaf = np.zeros(tree.tree_.node_count, dtype=np.int64)
        code_of_leaf[leaves] = code
        middles = _sums(code, places * counts[:, None]) / np.bincount(code, counts)[:, None]
        inside = code_of_leaf[tree.apply(middles)] == np.arange(len(middles))
        for k in np.flatnonzero(~inside):
            own = np.flatnonzero(code == k)
            middles[k] = places[own[np.argmin(((places[own] - middles[k]) ** 2).sum(axis=1))]]
        return cls(middles, tree=tree, code_of_leaf=code_of_leaf)

    def assign(self, Z):
        """The cell of every row.

        Parameters
        ----------
        Z : ndarray of shape (n, n_components)

        Returns
        -------
        ndarray of int of shape (n,)
            In [0, n_codes).
        """
        if self._tree is None:
            place = np.searchsorted(self._edges, Z[:, 0], side="right")
            return place if self._rises else len(self._edges) - place
        return self._code_of_leaf[self._tree.apply(Z)]


def group_gaps(members, strata, weights):
    """Of every row, its share of the differences between groups' frequencies, whose sum over a cell is that there.

    1 over the size of the one group, minus 1 over that of the other, 0 in neither; all weighted so that comparisons and
    strata together count as one.

    Parameters
    ----------
    members : ndarray of shape (n, n_comparisons)
        0 or 1; NaN where missing.
    strata : ndarray of int of shape (n,)
        Rows are compared inside; -1 where not at all.
    weights : ndarray of shape (n_comparisons,)
    """
    columns, total = [np.zeros((len(members), 0))], 0.0
    for stratum in np.unique(strata[strata >= 0]):
        for member, weight in zip(members.T, weights, strict=True):
            inside, outside = ((strata == stratum) & (member == value) for value in (1, 0))
            if inside.any() and outside.any():
                columns.append(weight * (inside / inside.sum() - outside / outside.sum())[:, None])
                total += weight
    return np.column_stack(columns) / (total or 1.0)


def _told(small, counts, standardised, classes):
    """What every small cell tells: the means of the targets, and which class is commonest; total variance 1."""
    told = _centred(_sums(small, standardised) / counts[:, None], counts)
    if classes is not None:
        shares = _sums(small, classes)
        decisions = _centred(np.eye(classes.shape[1])[shares.argmax(axis=1)], counts)
        spread = (counts @ decisions**2).sum() or 1.0
        told = np.column_stack([told, decisions * np.sqrt(DECISIONS * (counts @ told**2).sum() / spread)])
    return told / (np.sqrt((counts @ told**2).sum()) or 1.0)


def _quantile_edges(z, n_cells):
    """Places halfway between two values of ``z``, next to its quantiles: a rounding error moves no row."""
    values = np.unique(z)
    at = np.unique(np.searchsorted(values, np.quantile(z, np.arange(1, n_cells) / n_cells)))
    at = at[(at > 0) & (at < len(values))]
    return (values[at - 1] + values[at]) / 2


def _sums(cells, values):
    """Sums of the rows of ``values`` by cell: shape (n_cells, n_columns)."""
    out = np.zeros((cells.max() + 1, values.shape[1]))
    np.add.at(out, cells, values)
    return out


def _centred(means, counts):
    """``means`` without their mean over all rows."""
    return means - np.average(means, axis=0, weights=counts)


# What a code tells is the variance of ``told`` between its cells, in [0, 1]; what it shows is half the sum of the
# absolute ``gaps`` of its cells. Both are sums over cells, and the code of the highest difference is sought.


def _runs(counts, told, gaps, n_codes):
    """The best code whose cells are runs of small ones: one number per small cell, ascending.

    All runs that end at a small cell are compared with the best codes of what lies before them: Fisher (1958), "On
    grouping for maximum homogeneity", J. Am. Stat. Assoc. 53.
    """
    size = len(counts)
    n, sums, gap = (np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(axis=0)]) for values in
                    (counts[:, None], counts[:, None] * told, gaps))  # fmt: skip
    value = np.full((size + 1, size + 1), -np.inf)  # of the run of small cells from the first index to the second
    for start in range(size):
        after = slice(start + 1, None)
        value[start, after] = ((sums[after] - sums[start]) ** 2).sum(axis=1) / (n[after] - n[start])[:, 0]
        value[start, after] -= 0.5 * np.abs(gap[after] - gap[start]).sum(axis=1)
    best, starts = value[0], []
    for _ in range(n_codes - 1):
        whole = best[:, None] + value
        starts.append(whole.argmax(axis=0))
        best = whole.max(axis=0)
    begins = np.zeros(size + 1, dtype=np.int64)
    end = size
    for start in starts[::-1]:
        end = start[end]
        begins[end] = 1
    return begins[:-1].cumsum()


def _joined(counts, told, gaps, n_codes):
    """A good code of small cells in any combination: the two whose union costs least are joined, one pair at a time."""
    counts, told, gaps = counts.copy(), told.copy(), gaps.copy()
    members = [[k] for k in range(len(counts))]
    while len(members) > n_codes:
        first, second = np.triu_indices(len(members), 1)
        apart = ((told[first] - told[second]) ** 2).sum(axis=1)
        lost = counts[first] * counts[second] / (counts[first] + counts[second]) * apart
        a, b = gaps[first], gaps[second]
        evened = 0.5 * (np.abs(a) + np.abs(b) - np.abs(a + b)).sum(axis=1)
        k = int(np.argmin(lost - evened))
        a, b = first[k], second[k]
        told[a] = np.average(told[[a, b]], axis=0, weights=counts[[a, b]])
        counts[a] += counts[b]
        gaps[a] += gaps[b]
        members[a] += members.pop(b)
        counts, told, gaps = (np.delete(values, b, axis=0) for values in (counts, told, gaps))
    code = np.empty(sum(map(len, members)), dtype=np.int64)
    for k, own in enumerate(members):
        code[own] = k
    return code


def _by_first(code, counts, told):
    """Codes renamed in the order of the first target's mean."""
    first = np.bincount(code, counts * told[:, 0]) / np.bincount(code, counts)
    return np.argsort(np.argsort(first, kind="stable"), kind="stable")[code]
