"""Where scorers and splitters find the sensitive attributes of the rows that they are given."""

import pandas as pd

from ._encoding import as_frame, column_names, column_values

REMEDY = "switch metadata routing on and pass sensitive_features= to fit or cross_validate"


def find_attributes(sensitive_features, X, y=None, *, owner):
    """The sensitive attributes of the rows of ``X``.

    Parameters
    ----------
    sensitive_features : str, list of str, Series, DataFrame or None
        Columns of X by name; or the attributes of all rows, found by the index of X or, if X has none, of y.
    X : array-like or frame of shape (n_samples, n_features)
    y : array-like of shape (n_samples,), default=None
    owner : str
        Who asks, for error messages.

    Returns
    -------
    dict of str to ndarray, or DataFrame
        As :func:`~sklearn_fairlatent._attributes.read_sensitive_features` takes it.

    Raises
    ------
    ValueError, TypeError
        If the attributes cannot be found without guessing.
    """
    if sensitive_features is None:
        raise ValueError(
            f"{owner} was not given the sensitive attributes. Either {REMEDY}; or make it with sensitive_features= a "
            "column of X by name, or a Series or DataFrame with the index of X."
        )
    if isinstance(sensitive_features, str):
        sensitive_features = [sensitive_features]
    if isinstance(sensitive_features, (list, tuple)) and all(isinstance(name, str) for name in sensitive_features):
        return _columns_of(X, sensitive_features, owner)
    if not isinstance(sensitive_features, (pd.Series, pd.DataFrame)):
        raise TypeError(
            f"{owner}: sensitive_features is a {type(sensitive_features).__name__}, whose rows cannot be told in a "
            "fold. Pass a pandas Series or DataFrame with the index of X, the name of a column of X, or "
            f"{REMEDY}."
        )
    for name, rows in (("X", X), ("y", y)):
        index = getattr(rows, "index", None)
        if isinstance(index, pd.Index):
            return _rows_at(sensitive_features, index, name, owner)
    raise ValueError(
        f"{owner}: neither X nor y has an index by which to find the rows' sensitive attributes. Pass X as a pandas "
        f"frame or y as a pandas Series, or {REMEDY}."
    )


def _columns_of(X, names, owner):
    if as_frame(X) is None:
        raise ValueError(
            f"{owner}: sensitive_features={list(names)} are columns by name, but X is a {type(X).__name__} without "
            f"names. Pass X as a frame, or {REMEDY}."
        )
    missing = [name for name in names if name not in column_names(X)]
    if missing:
        raise ValueError(f"{owner}: sensitive_features {missing} are no columns of X, which has {column_names(X)}.")
    return {name: column_values(X, name) for name in names}


def _rows_at(attributes, index, name, owner):
    if not attributes.index.is_unique:
        raise ValueError(
            f"{owner}: the index of sensitive_features holds a label twice, so a row's attribute cannot be told. "
            "Reset the index of X, y and sensitive_features together."
        )
    missing = index.difference(attributes.index)
    if len(missing):
        raise ValueError(
            f"{owner}: {len(missing)} rows of {name} are not in the index of sensitive_features, {missing[0]!r} for "
            "one. Give it the index of all rows."
        )
    return attributes.loc[index]
