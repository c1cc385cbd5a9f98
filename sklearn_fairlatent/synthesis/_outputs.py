"""Labels and attributes as a user gave them: the kind, names and dtypes of what a sample gives back."""

import narwhals as nw
import numpy as np
import pandas as pd

from .._columns import Table, TableFormat
from .._encoding import as_frame, column_names, frame_like, take_columns
from .._joining import attribute_names


class LabelFormat:
    """How labels are written: as a Series of the library that y was of, or as an array.

    Parameters
    ----------
    name : str
    column : TableFormat of one column, or None for arrays
    dtype : numpy dtype
        Of arrays.
    """

    def __init__(self, name, column, dtype):
        self.name, self.column, self.dtype = name, column, dtype

    @classmethod
    def of(cls, y, name):
        """From the training labels."""
        series = nw.from_native(y, series_only=True, pass_through=True)
        if not isinstance(series, nw.Series):
            return cls(name, None, np.asarray(y).dtype)
        native = series.rename(name).to_frame().to_native()
        return cls(name, TableFormat(Table(native, "y")), None)

    def write(self, values):
        """Labels of shape (n,)."""
        if self.column is None:
            return values.astype(self.dtype)
        return self.column.write([values])[self.name]


def attribute_format(X, own, sensitive_features, columns, names):
    """The TableFormat of all attributes as one data frame, polars where X or the attributes are, else pandas; or None.

    Parameters
    ----------
    X : array or frame
    own : list of str or int
        Columns of X that are attributes.
    sensitive_features : as given
    columns : dict of str to ndarray
        Values by name.
    names : list of str
        In the order of the codes.
    """
    if not names:
        return None
    parts = [] if not own or as_frame(X) is None else [_named(X, own)]
    given = nw.from_native(sensitive_features, allow_series=True, pass_through=True)
    if isinstance(given, nw.Series) and given.name:
        given = given.to_frame()
    if isinstance(given, nw.DataFrame):
        parts.append(given)
    found = [name for part in parts for name in part.columns]
    if set(found) == set(names) and len({part.implementation for part in parts}) == 1:
        whole = parts[0] if len(parts) == 1 else nw.concat(parts, how="horizontal")
        native = whole.select(names).to_native()
        return TableFormat(Table(native, "sensitive_features"))
    values = {name: np.asarray(columns[name]) for name in names}
    frame = pd.DataFrame(values) if as_frame(X) is None else frame_like(X, values)
    return TableFormat(Table(frame, "sensitive_features"))


def _named(X, own):
    """Columns of a frame, with strings as names."""
    if isinstance(X, pd.DataFrame):
        return as_frame(X[own].set_axis(attribute_names(own, column_names(X)), axis=1))
    return as_frame(take_columns(X, own))


def join_attributes(rows, attributes, own, order):
    """Rows with their own sensitive columns among them; embeddings, which have no such columns, as they are.

    Parameters
    ----------
    rows : array or frame
    attributes : frame
    own : list of str or int
        What the attributes that are columns of X are called there.
    order : list
        All columns of X.
    """
    frame = as_frame(rows)
    if not own or (frame is None and (rows.ndim != 2 or rows.shape[1] != len(order) - len(own))):
        return rows
    if frame is None:
        columns = {k: attributes[f"x{k}"].to_numpy() for k in own}
        rest = iter(rows.T)
        return np.column_stack([columns[k] if k in columns else next(rest) for k in order])
    if isinstance(rows, pd.DataFrame):
        # The name of an attribute is a string, that of a column need not be.
        given = attributes[attribute_names(own, order)].set_axis(own, axis=1)
        return pd.concat([rows, given], axis=1)[order]
    return nw.concat([frame, as_frame(attributes).select(own)], how="horizontal").select(order).to_native()
