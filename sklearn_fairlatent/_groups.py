"""Groups and labels as metrics, scorers and splitters need them: read, checked, cut, crossed."""

import numbers

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d

from ._attributes import MAX_WHOLE_NUMBER_GROUPS, as_values, read_sensitive_features

# What joins the names of two attributes, and the values of two groups.
AND = " & "


def binary_labels(y_true, y_pred, pos_label):
    """Labels and predictions as 0 and 1.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
    pos_label : object or None
        The favourable label. None: 1 of {0, 1}, {-1, 1} or booleans.

    Raises
    ------
    ValueError
        If the favourable label is not told or not there.
    """
    y_true, y_pred = (column_or_1d(as_values(values)) for values in (y_true, y_pred))
    if len(y_true) != len(y_pred):
        raise ValueError(f"y_true has {len(y_true)} rows, y_pred has {len(y_pred)}; they must have the same length.")
    if pd.isna(y_true).any() or pd.isna(y_pred).any():
        raise ValueError("y_true or y_pred contains missing values. Drop these rows before.")
    classes = sorted({*y_true.tolist(), *y_pred.tolist()}, key=str)
    if len({isinstance(value, str) for value in classes}) > 1:
        raise ValueError(
            f"y_true has {_some(sorted(set(y_true.tolist())))} and y_pred {_some(sorted(set(y_pred.tolist())))}: "
            "labels and predictions must be of one kind. Encode both alike."
        )
    if pos_label is None:
        plain = all(isinstance(value, (bool, numbers.Real)) for value in classes)
        if not (plain and ({*classes} <= {0, 1} or {*classes} <= {-1, 1})):
            raise ValueError(
                f"pos_label=None is ambiguous: the labels are {_some(classes)}. Pass pos_label= the favourable one."
            )
        pos_label = 1
    elif pos_label not in classes:
        raise ValueError(f"pos_label={pos_label!r} is not among the labels {_some(classes)}. Pass one of them.")
    return (y_true == pos_label).astype(int), (y_pred == pos_label).astype(int)


def read_columns(sensitive_features, n_samples, index=None):
    """The attributes by name; a Series in a dict must not have the rows of ``index`` in another order either."""
    if isinstance(sensitive_features, dict):
        for name, values in sensitive_features.items():
            if isinstance(values, pd.Series):
                read_sensitive_features(values.rename(str(name)), len(values), index)
    return read_sensitive_features(sensitive_features, n_samples, index)


def read_groups(sensitive_features, n_samples, *, index=None, bins=None):
    """The group of every row by attribute.

    Parameters
    ----------
    sensitive_features : Series, DataFrame, array-like of shape (n_samples,) or (n_samples, n), or dict of arrays
    n_samples : int
    index : pandas.Index or None
        As in :func:`~sklearn_fairlatent._attributes.read_sensitive_features`.
    bins : dict of str to list of float, or None
        Edges at which a continuous attribute is cut.

    Returns
    -------
    DataFrame of shape (n_samples, n_attributes)
        Objects; None where missing.

    Raises
    ------
    ValueError
        If an attribute is continuous and has no bins.
    """
    if sensitive_features is None:
        raise ValueError("sensitive_features=None: expected the attributes of the rows. Pass one value per row.")
    columns = read_columns(sensitive_features, n_samples, index)
    if bins is not None and not isinstance(bins, dict):
        raise TypeError(
            f"bins={bins!r}: expected a dict of edges by attribute, such as {{{next(iter(columns))!r}: [30, 50]}}."
        )
    bins = dict(bins or {})
    strangers = sorted(set(bins) - set(columns))
    if strangers:
        raise ValueError(f"bins names {strangers}, which sensitive_features has not: {list(columns)}.")
    return pd.DataFrame({
        name: _cut(name, values, bins[name]) if name in bins else _groups(name, values)
        for name, values in columns.items()
    }, dtype=object)  # fmt: skip


def none_where_missing(values):
    """``values`` as objects, with None for every kind of missing value."""
    values = np.array(as_values(values), dtype=object)
    values[pd.isna(values)] = None
    return values


def is_continuous(values):
    """Whether an attribute is a quantity: numbers that are not all whole, or many whole ones."""
    present = pd.Series(as_values(values)).dropna().infer_objects()
    if not pd.api.types.is_numeric_dtype(present) or pd.api.types.is_bool_dtype(present):
        return False
    n_values = present.nunique()
    return n_values > MAX_WHOLE_NUMBER_GROUPS or (n_values > 2 and bool((present % 1 != 0).any()))


def _groups(name, values):
    if is_continuous(values):
        n_values = pd.Series(values).nunique()
        raise ValueError(
            f"sensitive_features: {name!r} is a quantity with {n_values} different values, each of which would be a "
            f"group. Pass bins={{{name!r}: [...]}} with the edges of its groups, or cut it with pandas.cut before."
        )
    return none_where_missing(values)


def _cut(name, values, edges):
    edges = np.unique(np.asarray(edges, dtype=np.float64))
    if edges.ndim != 1 or not len(edges) or not np.isfinite(edges).all():
        raise ValueError(f"bins[{name!r}]={edges.tolist()}: expected a list of finite edges.")
    try:
        numbers_ = pd.to_numeric(pd.Series(values)).to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"bins names {name!r}, whose values are not numbers. Take it out of bins.") from None
    names = [f"< {edges[0]:.12g}", *(f"{a:.12g} to < {b:.12g}" for a, b in zip(edges, edges[1:], strict=False)),
             f">= {edges[-1]:.12g}"]  # fmt: skip
    found = np.asarray(names, dtype=object)[np.searchsorted(edges, numbers_, side="right")]
    found[np.isnan(numbers_)] = None
    return found


def with_intersection(groups):
    """``groups`` with one more column, the combinations, if there are several attributes."""
    if groups.shape[1] < 2:
        return groups
    return groups.assign(**{AND.join(groups.columns): crossed(groups)})


def crossed(columns):
    """One value for every combination of the columns' values (of one column its own); None where any is missing."""
    if columns.shape[1] == 1:
        return none_where_missing(columns.iloc[:, 0])
    rows = pd.Index(list(zip(*(columns[name] for name in columns), strict=True)), tupleize_cols=False)
    codes, cells = pd.factorize(rows)
    names = [AND.join(map(str, cell)) for cell in cells]
    if len(set(names)) < len(names):  # 1 and "1", or a value that holds the word between two
        names = [AND.join(map(repr, cell)) for cell in cells]
    joined = np.array(names, dtype=object)[codes]
    joined[columns.isna().any(axis=1)] = None
    return joined


def group_sizes(values):
    """Number of rows of every group, smallest first."""
    return pd.Series(values, dtype=object).value_counts().sort_values(kind="stable")


def _some(values, n=6):
    """A list for an error message."""
    listed = list(values)
    return str(listed) if len(listed) <= n else f"{listed[:n]} and {len(listed) - n} more"
