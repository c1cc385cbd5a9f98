"""The fair decision tree of FARE (Jovanovic et al. 2023) as a finite code of the rows, written anew in numpy."""

import heapq
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

# Most thresholds of a numeric column, chosen once: rows are then counted per bin, all columns at a time.
N_THRESHOLDS = 32
# From counts of the cells 2 * y + s to counts of all rows, of y = 1 and of s = 1.
MARGINS = np.array([[1, 0, 0], [1, 0, 1], [1, 1, 0], [1, 1, 1]])


@dataclass(frozen=True)
class Feature:
    """What a split may ask of a row.

    Parameters
    ----------
    columns : ndarray of int
        One numeric column, or the one-hot columns of one categorical feature.
    thresholds : ndarray of float or None
        Upper ends of all bins but the last; None for a categorical feature, whose bins are its categories and one for
        rows of none.
    """

    columns: np.ndarray
    thresholds: np.ndarray | None

    @property
    def n_bins(self):
        return len(self.columns if self.thresholds is None else self.thresholds) + 1

    def bins(self, X):
        """Bin of every row, int of shape (n,)."""
        if self.thresholds is not None:
            return np.searchsorted(self.thresholds, X[:, self.columns[0]])
        held = X[:, self.columns] > 0.5
        return np.where(held.any(axis=1), held.argmax(axis=1), len(self.columns))


@dataclass(frozen=True)
class Split:
    """One step of growth: of the rows of a leaf those that do not go left become a leaf of the next free number.

    Parameters
    ----------
    leaf : int
    feature : int
        Position in the list of features.
    goes_left : ndarray of bool of shape (n_bins,)
    """

    leaf: int
    feature: int
    goes_left: np.ndarray


def find_thresholds(column):
    """Midpoints between values: all where they are few, else those next to N_THRESHOLDS quantiles."""
    values, counts = np.unique(column, return_counts=True)
    last = np.arange(len(values) - 1)
    if len(last) > N_THRESHOLDS:
        # No value weighs more than a quantile's share: 92 % of Adult have no capital gain, and uncapped quantiles
        # would leave 3 thresholds for the amounts of the others.
        weights = np.cumsum(np.minimum(counts, len(column) / N_THRESHOLDS))
        ends = np.searchsorted(weights, weights[-1] * np.arange(1, N_THRESHOLDS + 1) / (N_THRESHOLDS + 1))
        last = np.unique(np.minimum(ends, len(values) - 2))
    return (values[last] + values[last + 1]) / 2


def list_features(X, categorical):
    """One feature per categorical group and per column in none."""
    groups = [np.asarray(columns, dtype=int) for columns in categorical]
    taken = np.concatenate([*groups, np.empty(0, dtype=int)])
    if len(np.unique(taken)) < len(taken):
        raise ValueError(f"categorical={categorical}: expected every column position once.")
    for columns in groups:
        if not np.isin(X[:, columns], (0, 1)).all() or (X[:, columns].sum(axis=1) > 1).any():
            raise ValueError(f"categorical columns {columns.tolist()}: expected 0 and 1, and at most one 1 in a row.")
    numeric = np.setdiff1d(np.arange(X.shape[1]), taken)
    return [Feature(np.array([j]), find_thresholds(X[:, j])) for j in numeric] + [Feature(c, None) for c in groups]


def gains(left, total, gamma, min_rows):
    """How much a split lowers the criterion, summed over rows; -inf where a side is too small.

    The Gini impurity of two values with share p is 2 p (1 - p), and its mean over the rows of two sides is lower than
    that of their union by 2 n_l n_r / n^2 (p_l - p_r)^2. So a split gains by the label and never by the attribute.

    Parameters
    ----------
    left : ndarray of shape (..., 3)
        Numbers of rows, of y = 1 and of s = 1 on the left side of every split.
    total : ndarray of shape (3,)
        The same of both sides.
    gamma : float
    min_rows : int
    """
    right = total - left
    n_left, n_right = left[..., 0], right[..., 0]
    some = np.maximum(left[..., :1], 1), np.maximum(right[..., :1], 1)
    apart = np.square(left[..., 1:] / some[0] - right[..., 1:] / some[1])
    gain = 2 * n_left * n_right / total[0] * ((1 - gamma) * apart[..., 0] - gamma * apart[..., 1])
    return np.where((n_left >= min_rows) & (n_right >= min_rows), gain, -np.inf)


def orders(counts):
    """Orders of the categories that a node holds: by P(y | c), by P(s | c), and FARE's second.

    FARE halves the categories by P(s | c), sorts each half by P(y | c) and takes them in turn, so that a prefix has
    many of high y and as many of high as of low s.

    Parameters
    ----------
    counts : ndarray of shape (n_bins, 3)
        Numbers of rows, of y = 1 and of s = 1 in every category.
    """
    present = np.flatnonzero(counts[:, 0])
    y, s = (counts[:, j] / np.maximum(counts[:, 0], 1) for j in (1, 2))
    by_y = present[np.argsort(y[present], kind="stable")]
    by_s = present[np.argsort(s[present], kind="stable")]
    high_s = np.isin(by_y, by_s[len(present) // 2 :])
    woven = np.empty_like(present)
    woven[::2], woven[1::2] = by_y[high_s], by_y[~high_s]
    return by_y, by_s, woven


def best_split(counts, is_categorical, gamma, min_rows):
    """Gain, feature and bins that go left of the best split of a node.

    Parameters
    ----------
    counts : ndarray of shape (n_features, n_bins, 3)
        Numbers of rows, of y = 1 and of s = 1 in every bin.
    is_categorical : ndarray of bool of shape (n_features,)
    gamma : float
    min_rows : int
    """
    total, n_bins = counts[0].sum(axis=0), counts.shape[1]
    best, feature, goes_left = -np.inf, -1, np.zeros(n_bins, dtype=bool)
    numeric = np.flatnonzero(~is_categorical)
    if len(numeric):
        found = gains(counts[numeric].cumsum(axis=1), total, gamma, min_rows)
        row, cut = np.unravel_index(found.argmax(), found.shape)
        best, feature, goes_left = found[row, cut], int(numeric[row]), np.arange(n_bins) <= cut
    for j in np.flatnonzero(is_categorical):
        for order in orders(counts[j]):
            left = counts[j, order].cumsum(axis=0)
            found = gains(left, total, gamma, min_rows)
            cut = found.argmax()
            if found[cut] > best:
                best, feature = found[cut], int(j)
                # A category that the node has not seen goes with the more.
                goes_left = np.full(n_bins, 2 * left[cut, 0] > total[0])
                goes_left[order] = np.arange(len(order)) <= cut
    return best, feature, goes_left


def grow(bins, cell, is_categorical, n_bins, max_leaves, gamma, min_rows):
    """Splits in the order of growth: always that of the largest gain, until none gains or the budget is spent.

    Parameters
    ----------
    bins : ndarray of int of shape (n, n_features)
    cell : ndarray of int of shape (n,)
        2 * y + s.
    is_categorical : ndarray of bool of shape (n_features,)
    n_bins : int
    max_leaves : int
    gamma : float
    min_rows : int
    """
    n, n_features = bins.shape
    places = (np.arange(n_features) * n_bins + bins) * len(MARGINS) + cell[:, None]
    shape = (n_features, n_bins, len(MARGINS))
    frontier, splits = [], []

    def count(rows):
        return np.bincount(places[rows].ravel(), minlength=np.prod(shape)).reshape(shape) @ MARGINS

    def consider(leaf, rows, counts):
        gain, feature, goes_left = best_split(counts, is_categorical, gamma, min_rows)
        if gain > n * np.finfo(float).eps:
            heapq.heappush(frontier, (-gain, leaf, feature, goes_left, rows, counts))

    consider(0, np.arange(n), count(np.arange(n)))
    while frontier and len(splits) < max_leaves - 1:
        _, leaf, feature, goes_left, rows, counts = heapq.heappop(frontier)
        splits.append(Split(leaf, feature, goes_left))
        is_left = goes_left[bins[rows, feature]]
        left, right = rows[is_left], rows[~is_left]
        # The larger side is what the smaller leaves over.
        in_left = count(left) if len(left) < len(right) else counts - count(right)
        consider(leaf, left, in_left)
        consider(len(splits), right, counts - in_left)
    return splits


def two_values(values, name, n):
    """0 and 1 for the two values of an array of n."""
    values = column_or_1d(values)
    check_consistent_length(values, np.empty(n))
    found, codes = np.unique(values, return_inverse=True)
    if len(found) != 2:
        raise ValueError(f"{name} has {len(found)} values: expected 2.")
    return codes


class FareTree(TransformerMixin, BaseEstimator):
    """A decision tree whose leaves tell of the label and little of the attribute; the leaf is the code of a row.

    Growth is best-first. The criterion, to be minimised, is the mean over the rows of the criterion of their leaves,
    FARE's "FairGini" for demographic parity::

        (1 - gamma) * Gini_y + gamma * (0.5 - Gini_s)

    Parameters
    ----------
    max_leaves : int, default=8
    gamma : float in [0, 1], default=0.5
        0 is CART by Gini, 1 gives a single leaf: no split makes an attribute's leaves more mixed.
    min_rows : int, default=100
        Fewest training rows of a leaf.
    random_state : int, RandomState or None, default=None
        Order of the columns, of which the first has a tie.
    categorical : list of list of int, default=None
        Positions of the one-hot columns of every categorical feature: it is split into two sets of categories at once.
        A row may hold no category. Other columns are split by thresholds.

    Attributes
    ----------
    n_leaves_ : int
        1 (with a warning) where no split lowers the criterion.
    splits_ : list of Split
        In the order of growth: the first k of them are the tree of ``max_leaves=k + 1``.
    features_ : list of Feature

    Notes
    -----
    The criterion, the best-first growth and the second order of categories were read in the code of the authors
    (github.com/eth-sri/fare at 89cb1b6: ``FairGiniDP`` in sktree/_criterion.pyx, ``BestFirstTreeBuilder`` in
    sktree/_tree.pyx, ``BestSplitter`` in sktree/_splitter.pyx, all patches of scikit-learn), not in the paper.
    The rest is inspired by it:

    - FARE tries every threshold, and this N_THRESHOLDS quantiles of all training rows.
    - FARE tries prefixes of two orders of the categories, and this of P(s | c) too.
    - FARE sends a category that a node has not seen left or right by its number, and this to the larger side.
    - FARE takes splits that change nothing, and this does not.
    - FARE hands on the medians of a leaf's rows, and this the leaf's indicators. They are a function of the code either
      way, so what can be learnt of the attribute is the same but for leaves of equal medians.
    - FARE's certificate and its criteria for equal opportunity and equalized odds are left out.

    References
    ----------
    Jovanovic, N., Balunovic, M., Dimitrov, D. I. and Vechev, M. (2023). FARE: Provably Fair Representation Learning
    with Practical Certificates. ICML. arXiv:2210.07213.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.RandomState(0)
    >>> group, fair = rng.randint(2, size=1000), rng.randint(2, size=1000)
    >>> X = np.column_stack([group, fair])
    >>> y = (fair + group + rng.normal(size=1000) > 1).astype(int)
    >>> FareTree(gamma=0.0, random_state=0).fit(X, y, group).n_leaves_
    4
    >>> FareTree(gamma=0.5, random_state=0).fit(X, y, group).codes([[0, 0], [1, 0], [0, 1]])
    array([0, 0, 1])
    """

    def __init__(self, max_leaves=8, gamma=0.5, min_rows=100, random_state=None, categorical=None):
        self.max_leaves = max_leaves
        self.gamma = gamma
        self.min_rows = min_rows
        self.random_state = random_state
        self.categorical = categorical

    def fit(self, X, y, group):
        """Grow the tree.

        Parameters
        ----------
        X : array-like of float of shape (n, d)
        y : array-like of shape (n,)
            Of two values.
        group : array-like of shape (n,)
            Of two values; not needed for new rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of its range, y or group has not two values, or categorical columns are not one-hot.
        """
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma={self.gamma}: expected a number in [0, 1].")
        for name in ("max_leaves", "min_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected a positive number.")
        X = validate_data(self, X, dtype=np.float64)
        cell = 2 * two_values(y, "y", len(X)) + two_values(group, "group", len(X))
        features = list_features(X, self.categorical or [])
        features = [features[j] for j in check_random_state(self.random_state).permutation(len(features))]
        splits = grow(
            np.column_stack([feature.bins(X) for feature in features]),
            cell,
            np.array([feature.thresholds is None for feature in features]),
            max(feature.n_bins for feature in features),
            self.max_leaves,
            self.gamma,
            self.min_rows,
        )
        if not splits and self.max_leaves > 1:
            warnings.warn(f"No split lowers the criterion at gamma={self.gamma}: all rows get code 0.", stacklevel=2)
        self.features_, self.splits_, self.n_leaves_ = features, splits, len(splits) + 1
        return self

    def codes(self, X):
        """Leaf of every row.

        Parameters
        ----------
        X : array-like of float of shape (n, d)

        Returns
        -------
        codes : ndarray of int of shape (n,)
            From 0 to ``n_leaves_ - 1``, in the order of growth.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        codes = np.zeros(len(X), dtype=int)
        for number, split in enumerate(self.splits_, start=1):
            here = np.flatnonzero(codes == split.leaf)
            is_left = split.goes_left[self.features_[split.feature].bins(X[here])]
            codes[here[~is_left]] = number
        return codes

    def transform(self, X):
        """Indicators of the leaves, float of shape (n, ``n_leaves_``)."""
        return np.eye(self.n_leaves_)[self.codes(X)]
