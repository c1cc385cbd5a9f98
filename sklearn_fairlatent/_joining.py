"""Rows of any kind apart from their sensitive columns and with them, some of them, and labels in the kind of others."""

import narwhals as nw
import numpy as np
import pandas as pd

from ._encoding import as_frame, column_names, column_values, take_columns


def split_columns(X, names):
    """X without some columns, these as arrays by name, and what they are called in X.

    Parameters
    ----------
    X : array or frame
    names : list of str or int
        Names of a frame, or positions.
    """
    if not names:
        return X, {}, []
    labels = column_names(X)
    columns = [name if name in labels else _at(labels, name) for name in names]
    if None in columns or len(set(columns)) < len(columns):
        raise ValueError(
            f"sensitive_columns={list(names)!r}: expected different columns of X, by name or position; it has {labels}."
        )
    rest = [label for label in labels if label not in columns]
    if not rest:
        raise ValueError(f"sensitive_columns={list(names)!r} takes every column of X. Leave at least one.")
    called = attribute_names(columns, labels)
    if isinstance(X, pd.DataFrame):
        return X[rest], {name: X[column].to_numpy() for name, column in zip(called, columns, strict=True)}, columns
    own = {name: column_values(X, column) for name, column in zip(called, columns, strict=True)}
    return take_columns(X, rest), own, columns


def attribute_names(columns, labels):
    """What attributes are called that are the ``columns`` of X, which has the columns ``labels``.

    Like scikit-learn, x0, x1, ... by position where a column is not called by a string.
    """
    return [name if isinstance(name, str) else f"x{labels.index(name)}" for name in columns]


def _at(labels, position):
    """The label at a position; None if it is none."""
    whole = isinstance(position, (int, np.integer)) and not isinstance(position, bool)
    return labels[position] if whole and 0 <= position < len(labels) else None


def join_columns(rows, names, values, order):
    """Rows without the columns ``names`` and their ``values`` (a list of arrays), in the order of names ``order``."""
    if not names:
        return rows
    if as_frame(rows) is None:
        columns = dict(zip(names, values, strict=True))
        rest = iter(rows.T)
        return np.column_stack([columns[k] if k in columns else next(rest) for k in order])
    if isinstance(rows, pd.DataFrame):
        given = pd.DataFrame({name: list(column) for name, column in zip(names, values, strict=True)}, index=rows.index)
        return pd.concat([rows, given], axis=1)[order]
    frame = as_frame(rows)
    backend = nw.get_native_namespace(frame)
    series = [nw.new_series(name, list(column), backend=backend) for name, column in zip(names, values, strict=True)]
    return frame.with_columns(*series).select(order).to_native()


def with_dtypes(rows, template, columns):
    """Rows of a frame whose ``columns`` (values by name) have the dtypes of ``template`` that can hold them."""
    if isinstance(rows, pd.DataFrame):
        rows = rows.copy(deep=False)  # columns are replaced, none is written to
        for name, values in columns.items():
            rows[name] = _as_dtype(rows[name], values, template[name].dtype)
        return rows
    frame, like = as_frame(rows), as_frame(template)
    found = []
    for name in columns:
        # What is missing came as NaN, which no category is.
        column = frame.get_column(name)
        column = column.fill_nan(None) if column.dtype.is_float() else column
        dtype = like.get_column(name).dtype
        # Of numbers only those that are whole already.
        if not (column.dtype.is_float() and dtype.is_integer()) or bool((column % 1 == 0).all()):
            column = column.cast(dtype)
        found.append(column)
    return frame.with_columns(*found).to_native()


def _as_dtype(column, values, dtype):
    """The values as a pandas Series of a dtype, or the Series ``column`` if that cannot hold them."""
    given = pd.Series(list(values), dtype=object, index=column.index)
    try:
        converted = given.astype(dtype)
    except (TypeError, ValueError):
        return column
    # Truth values make True of what is missing, and whole numbers cut fractions.
    known = given.notna()
    same = converted.notna().equals(known) and (converted[known].astype(object) == given[known]).all()
    return converted if same else column


def series_like(given, values):
    """Labels as the kind of ``given``: a Series of its library, or an array."""
    if isinstance(given, np.ndarray):
        return values.astype(given.dtype, copy=False)
    if isinstance(given, pd.Series):
        return pd.Series(values, name=given.name).astype(given.dtype)
    series = nw.from_native(given, series_only=True, pass_through=True)
    if not isinstance(series, nw.Series):
        return values
    backend = nw.get_native_namespace(series)
    return nw.new_series(series.name, values.tolist(), series.dtype, backend=backend).to_native()


def take_rows(X, rows):
    """The rows at the positions ``rows``, as the kind of ``X``."""
    frame = as_frame(X)
    return np.asarray(X[rows]) if frame is None else frame[np.asarray(rows).tolist()].to_native()
