"""AttributeStratifiedKFold: every fold has its share of every group and label."""

import numbers
import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state, column_or_1d

from .._attributes import LABEL_BINS, as_values
from .._exceptions import SmallGroupWarning
from .._groups import AND, is_continuous, read_groups
from .._lookup import find_attributes

# Cells named in a warning.
N_NAMED = 6


def fresh_generator(random_state):
    """scikit-learn's reading of a seed, but None does not touch numpy's global generator."""
    return np.random.RandomState() if random_state is None else check_random_state(random_state)


def count_rows(X):
    """Number of rows of an array, a frame, a sparse matrix or a list."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


def read_label(y, n_samples, n_splits):
    """Code of every row's label, and the names of the codes.

    Numbers that are not whole are cut into quantile bins, and so are whole ones where a value has on average too few
    rows to be in every fold.
    """
    if y is None:
        return np.zeros(n_samples, dtype=np.int64), [None]
    values = np.asarray(pd.Series(column_or_1d(as_values(y))).infer_objects())
    if len(values) != n_samples:
        raise ValueError(f"y has {len(values)} rows, X has {n_samples}; they must have the same length.")
    if pd.isna(values).any():
        raise ValueError("y contains missing values. Drop the rows without a label before splitting.")
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise ValueError("y contains infinity. Drop or clip these rows before splitting.")
    codes, classes = pd.factorize(values)
    if not is_continuous(values) or ((values % 1 == 0).all() and len(classes) * n_splits <= n_samples):
        return codes, [repr(label) for label in classes.tolist()]
    edges = np.quantile(values, np.arange(1, LABEL_BINS) / LABEL_BINS)
    names = [f"quantile bin {k + 1} of {LABEL_BINS}" for k in range(LABEL_BINS)]
    return np.searchsorted(edges, values, side="right"), names


def deal(cells, labels, n_splits, rng):
    """Fold of every row: rows of one cell side by side, dealt in turn like cards.

    Whatever lies side by side is spread over the folds within one row: each cell, the rare cells of a label together,
    each label, the rare labels together, and all rows.

    Parameters
    ----------
    cells, labels : ndarray of int of shape (n_samples,)
        Codes; rows of one cell have one label.
    n_splits : int
    rng : RandomState or None
        None: the rows of a cell go to the folds in blocks, in their order.

    Returns
    -------
    ndarray of int of shape (n_samples,)
    """
    n_samples = len(cells)
    rare_cell, rare_label = (np.bincount(codes)[codes] < n_splits for codes in (cells, labels))
    within = np.arange(n_samples) if rng is None else rng.permutation(n_samples)
    folds = np.empty(n_samples, dtype=np.int64)
    folds[np.lexsort((within, cells, rare_cell, labels, rare_label))] = np.arange(n_samples) % n_splits
    if rng is None:
        folds[np.argsort(cells, kind="stable")] = folds[np.lexsort((folds, cells))]
    return folds


class AttributeStratifiedKFold(BaseCrossValidator):
    """K folds, each with its share of every cell: a label within a group of every sensitive attribute.

    :class:`~sklearn.model_selection.StratifiedKFold` looks at the label only and may leave a fold without a row of a
    group, or without a favourable label in it, where no difference between groups can be measured. Here the share of a
    cell is the same in all folds, up to one row, and so is the share of a label.

    With metadata routing on it asks for ``sensitive_features`` by itself. With routing off it finds the attributes by
    the index of X (or y), or in columns of X.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    sensitive_features : str, list of str, Series or DataFrame, default=None
        For routing off: columns of X by name, or the attributes of all rows with the index of X.
    bins : dict of str to list of float, default=None
        Edges at which continuous attributes are cut.
    shuffle : bool, default=True
        False: the rows of a cell go to the folds in blocks, in their order.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling. An integer gives the same folds every time. None draws a seed from the operating system;
        numpy's global generator is never used.

    Raises
    ------
    ValueError
        If ``n_splits`` or ``shuffle`` is out of range.

    Warns
    -----
    SmallGroupWarning
        By :meth:`split`, if cells are rare.

    See Also
    --------
    sklearn_fairlatent.metrics.fairness_scorer : A scorer that needs such folds.

    Notes
    -----
    A cell with fewer rows than there are folds is rare and cannot be in all of them. Rare cells are merged: with the
    other rare ones of the same label; with the label's other rows, if these are still too few; with other rare labels,
    if the label is itself too rare. What was merged is spread evenly as a whole [1]_. Missing values of an attribute
    are a group of their own. A continuous y is cut into four quantile bins; whole numbers are classes, unless there
    are more than 20 of them, with fewer rows each, on average, than folds.

    References
    ----------
    .. [1] Kohavi (1995), "A study of cross-validation and bootstrap for accuracy estimation and model selection",
       IJCAI, on stratified folds.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> from sklearn_fairlatent.model_selection import AttributeStratifiedKFold
    >>> data = make_biased_latents(100, random_state=0)
    >>> X, group = pd.DataFrame(data.data), data.sensitive_features["group"]
    >>> folds = AttributeStratifiedKFold(4, sensitive_features=group, random_state=0)
    >>> [int(group.iloc[test].sum()) for _, test in folds.split(X, data.target)]
    [11, 11, 11, 12]
    """

    # With routing on, the attribute is asked for without a set_split_request call.
    __metadata_request__split = {"sensitive_features": True}

    def __init__(self, n_splits=5, *, sensitive_features=None, bins=None, shuffle=True, random_state=None):
        # Checked here, as in scikit-learn's splitters: there is no fit.
        if not isinstance(n_splits, numbers.Integral) or isinstance(n_splits, bool) or n_splits < 2:
            raise ValueError(f"n_splits={n_splits!r}: expected the number of folds, an integer >= 2.")
        if not isinstance(shuffle, (bool, np.bool_)):
            raise ValueError(f"shuffle={shuffle!r}: expected True or False.")
        self.n_splits = n_splits
        self.sensitive_features = sensitive_features
        self.bins = bins
        self.shuffle = shuffle
        self.random_state = random_state

    def __repr__(self):
        # The frame of all attributes is not to be printed.
        given = self.sensitive_features
        shown = repr(given) if isinstance(given, (str, list, tuple, type(None))) else f"<{type(given).__name__}>"
        return (
            f"AttributeStratifiedKFold(n_splits={self.n_splits}, sensitive_features={shown}, bins={self.bins}, "
            f"shuffle={self.shuffle}, random_state={self.random_state})"
        )

    def get_n_splits(self, X=None, y=None, groups=None, sensitive_features=None):
        """Number of folds.

        Parameters
        ----------
        X, y, groups, sensitive_features : object
            Ignored; there for scikit-learn's signature.

        Returns
        -------
        n_splits : int
        """
        return self.n_splits

    def split(self, X, y=None, groups=None, sensitive_features=None):
        """Row numbers of every fold.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            The label. None: the folds are stratified on the attributes only.
        groups : object
            Ignored with a warning, as in :class:`~sklearn.model_selection.StratifiedKFold`.
        sensitive_features : Series, DataFrame or array-like of shape (n_samples,) or (n_samples, n), default=None
            The attributes of these rows. None: those that the splitter was made with.

        Returns
        -------
        folds : iterator of (train, test)
            ndarrays of int, sorted; every row is in one ``test``.

        Raises
        ------
        ValueError, TypeError
            If the attributes cannot be found, one is continuous without ``bins``, there are fewer rows than folds, or
            y has missing values.
        """
        if groups is not None:
            warnings.warn(
                "groups is ignored by AttributeStratifiedKFold, which does not keep rows together.",
                UserWarning,
                stacklevel=2,
            )
        n_samples = count_rows(X)
        if n_samples < self.n_splits:
            raise ValueError(f"n_splits={self.n_splits} folds need as many rows; X has {n_samples}.")
        attributes = sensitive_features
        if attributes is None:
            attributes = find_attributes(self.sensitive_features, X, y, owner=type(self).__name__)
        groups_ = read_groups(attributes, n_samples, index=getattr(X, "index", None), bins=self.bins)
        labels, names = read_label(y, n_samples, self.n_splits)
        # -1, pandas' code of a missing value, is a group like the others.
        codes = pd.DataFrame(np.column_stack([labels, *(pd.factorize(groups_[name])[0] for name in groups_)]))
        cells = codes.groupby(list(codes.columns)).ngroup().to_numpy()
        self._warn_of_rare(cells, labels, names, groups_)
        folds = deal(cells, labels, self.n_splits, fresh_generator(self.random_state) if self.shuffle else None)
        return ((np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(self.n_splits))

    def _warn_of_rare(self, cells, labels, names, groups):
        _, first, sizes = np.unique(cells, return_index=True, return_counts=True)
        rare = sizes < self.n_splits
        if not rare.any():
            return
        named = [
            AND.join(
                [f"y={names[labels[row]]}"] * (names != [None])
                + [f"{name}={value!r}" for name, value in groups.iloc[row].items()]
            )
            + f" ({size})"
            for row, size in zip(first[rare][:N_NAMED], sizes[rare], strict=False)
        ]
        more = f" and {rare.sum() - N_NAMED} more" if rare.sum() > N_NAMED else ""
        warnings.warn(
            f"{rare.sum()} cell(s) of label and attributes have fewer rows than n_splits={self.n_splits}, so that some "
            f"folds lack them: {', '.join(named)}{more}. They were merged, first with the other rare ones of their "
            "label. Use fewer folds, or merge groups before.",
            SmallGroupWarning,
            stacklevel=3,
        )
