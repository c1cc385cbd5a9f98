"""Mixed tables: a frame or an array read column by column, and written as it was."""

from __future__ import annotations

import math
from collections import Counter
from numbers import Real
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype
from sklearn.utils.validation import check_array

# By pandas' name for what an object column holds, and by numpy's letter for any other dtype.
_KINDS = {
    **dict.fromkeys(["integer", "floating", "mixed-integer-float", "i", "u", "f"], "numeric"),
    **dict.fromkeys(["boolean", "b"], "boolean"),
    **dict.fromkeys(["string", "empty", "U"], "categorical"),
    **dict.fromkeys(["m", "M"], "temporal"),
}
# What pandas finds among objects only.
_TEMPORAL_OBJECTS = {"datetime", "datetime64", "date", "time", "timedelta", "timedelta64", "period"}


class Table:
    """A pandas or polars frame or a 2-D array, read column by column."""

    def __init__(self, X, estimator):
        self.native: Any = X
        self.frame: nw.DataFrame | None = None
        self.backend = "numpy"
        self.labels: list[Any] = []
        name = type(estimator).__name__
        if nw.dependencies.is_pandas_dataframe(X) or nw.dependencies.is_polars_dataframe(X):
            _check_frame(X, name)
            self.frame = nw.from_native(X, eager_only=True)
            self.backend = "pandas" if self.frame.implementation.is_pandas() else "polars"
            self.labels = list(X.columns)
            return
        if nw.dependencies.is_into_dataframe(X) or nw.dependencies.is_polars_lazyframe(X):
            raise TypeError(
                f"X is a {type(X).__module__}.{type(X).__qualname__}; {name} takes pandas and polars data "
                "frames, 2-D arrays and nested lists. Convert it, for example with `.to_pandas()` or, for a "
                "lazy frame, `.collect()`."
            )
        options: dict[str, Any] = {"dtype": None, "ensure_all_finite": False, "estimator": estimator}
        self.native = check_array(X, input_name="X", **options)
        if self.native.dtype.kind in "US" and not hasattr(X, "dtype"):
            # numpy turns the numbers of a mixed nested list into strings.
            options["dtype"] = object
            self.native = check_array(X, input_name="X", **options)
        self.labels = list(range(self.native.shape[1]))

    @property
    def shape(self):
        """Return the numbers of rows and columns."""
        return self.native.shape

    def values(self, position):
        """Return a column as a numpy array; missing values are NaN, NaT in dates, any kind among objects.

        Dates with a time zone are read as the time in UTC.
        """
        if self.frame is None:
            return self.native[:, position]
        if self.backend == "polars":
            # narwhals would make an array of fixed width of strings, which takes a final "\0" for padding.
            return self.native[self.labels[position]].to_numpy()
        column, dtype = self.frame.get_column(self.labels[position]), self.dtype(position)
        if isinstance(dtype, pd.DatetimeTZDtype):
            return column.to_native().dt.tz_convert(None).to_numpy()
        if isinstance(dtype, pd.ArrowDtype) and (dtype.kind in "mM" or column.dtype == nw.Date):
            return column.to_arrow().to_numpy(zero_copy_only=False)  # pandas would make Python's dates of some
        values = column.to_numpy()
        if values.dtype.kind in "mM" and isinstance(dtype, pd.CategoricalDtype):
            return column.to_native().astype(object).to_numpy()
        return values

    def dtype(self, position):
        """Return the dtype of a column, as its own library names it."""
        if self.backend == "pandas":
            return self.native.dtypes.iloc[position]
        if self.backend == "polars":
            return self.native.schema[self.labels[position]]
        return self.native.dtype

    def is_integer(self, position) -> bool:
        """Return whether the dtype is an integer one; those with missing values are read as floats."""
        if self.frame is None:
            return self.native.dtype.kind in "iu"
        return self.frame.schema[self.labels[position]].is_integer()

    def timezone(self, position, values) -> Any:
        """Return the time zone of a column of dates, None where they have none."""
        if values.dtype == object:
            observed = values[~pd.isna(values)]
            return getattr(observed[0], "tzinfo", None) if len(observed) else None
        return _find_timezone(self.dtype(position))

    def missing_value(self, position, values) -> Any:
        """Return what the column writes for a missing value: None, NaN or the library's own NA."""
        if values.dtype == object:
            missing = pd.isna(values)
            return values[missing.argmax()] if missing.any() else None
        if self.backend == "polars":
            # polars tells null from NaN, its numpy array does not.
            return None if self.native[self.labels[position]].null_count() else np.nan
        return np.nan

    def declared_categories(self, position) -> list | None:
        """Return the categories that the dtype itself lists, seen in the rows or not."""
        if self.frame is None:
            return None
        dtype = self.dtype(position)
        # A polars Categorical lists what any column has ever held, so it declares nothing.
        if isinstance(self.frame.schema[self.labels[position]], nw.Enum) or isinstance(dtype, pd.CategoricalDtype):
            return list(dtype.categories)
        return None

    def is_ordered(self, position) -> bool:
        """Return whether the dtype puts its categories in an order that has a meaning."""
        dtype = self.dtype(position)
        # Every polars Enum is compared in the order of its categories, whether they have one or not.
        return isinstance(dtype, pd.CategoricalDtype) and bool(dtype.ordered)

    def kind(self, position, values) -> str:
        """Return "numeric", "boolean", "categorical" or "temporal"; any other kind of column is an error."""
        if self.declared_categories(position) is not None:
            return "categorical"
        inferred = infer_dtype(values, skipna=True) if values.dtype == object else values.dtype.kind
        kind = _KINDS.get(inferred) if values.ndim == 1 else None
        is_vague = inferred == "m" and np.datetime_data(values.dtype)[0] in {"M", "Y", "generic"}
        if kind is not None and not is_vague:
            return kind
        found = f"Column {self.labels[position]!r} of X has dtype {self.dtype(position)}"
        if is_vague or inferred in _TEMPORAL_OBJECTS:
            raise TypeError(
                f"{found}: periods, times of day, durations in months and objects of Python's datetime have no "
                "encoding of their own. Convert it to datetime64 or timedelta64, for example with "
                "`pandas.to_datetime`, or to a number first."
            )
        types = sorted({type(value).__name__ for value in values[~pd.isna(values)].tolist()})
        raise TypeError(
            f"{found} and holds values of type {', '.join(types)}: within a column the argument must be "
            "uniformly strings, bools or real numbers. Convert it, for example with `.astype(str)` or "
            "`.astype(float)`."
        )


def _find_timezone(dtype) -> Any:
    """Return the time zone in a dtype of pandas, pyarrow or polars."""
    return getattr(getattr(dtype, "pyarrow_dtype", dtype), "tz", None) or getattr(dtype, "time_zone", None)


def _check_frame(X, name: str):
    """Raise an error for a frame that is empty or has two columns of one name."""
    for size, what, axis in [(X.shape[0], "sample", "row"), (X.shape[1], "feature", "column")]:
        if size == 0:
            raise ValueError(
                f"Found a data frame with 0 {what}(s) (shape={X.shape}) while a minimum of 1 is required by "
                f"{name}. Pass at least one {axis}."
            )
    label, count = Counter(X.columns).most_common(1)[0]
    if count > 1:
        raise ValueError(f"X has {count} columns named {label!r}; each name may occur once. Rename or drop the others.")


class TableFormat:
    """What is needed to write a table as it was read at fit: library, labels and dtypes, no rows."""

    def __init__(self, table: Table):
        self.backend = table.backend
        self.labels = table.native.columns if table.backend == "pandas" else table.labels
        self.dtypes: list[Any] = [table.dtype(position) for position in range(table.shape[1])]

    def write(self, columns: list, index=None):
        """Build the table from one numpy array per column."""
        if self.backend == "numpy":
            X = np.empty((len(columns[0]), len(columns)), dtype=self.dtypes[0])
            for position, values in enumerate(columns):
                X[:, position] = values
            return X
        return self._assemble([self._write_column(i, values) for i, values in enumerate(columns)], index)

    def _write_column(self, position: int, values) -> Any:
        """Build one column, in the dtype of fit, from a numpy array."""
        dtype = self.dtypes[position]
        if self.backend == "numpy":
            return values.astype(dtype)
        if self.backend == "pandas":
            if values.dtype.kind == "M" and _find_timezone(dtype) is not None:
                return pd.Series(values).dt.tz_localize("UTC").astype(dtype)
            series = pd.Series(values, dtype=dtype)
            return series if series.dtype == dtype else series.astype(dtype)  # pandas 2.0 takes dates as nanoseconds
        import polars as pl  # only a user of polars needs it

        label = self.labels[position]
        if dtype == pl.Object:  # nothing can be cast to it
            return pl.Series(label, values.tolist(), dtype=dtype)
        # As a list, an array of objects gets a dtype of its own; dates and durations have one.
        return pl.Series(label, values if values.dtype.kind in "mM" else values.tolist(), strict=False).cast(dtype)

    def _assemble(self, columns: list, index=None):
        """Build a data frame from its own columns."""
        if self.backend == "pandas":
            frame = pd.DataFrame(dict(enumerate(columns)))
            frame.columns = self.labels
            return frame if index is None else frame.set_axis(index, axis=0)
        import polars as pl

        return pl.DataFrame(columns)

    def cast(self, position: int, values: list, source: str, remedy: str) -> Any:
        """Build one column from values of whatever type; those that the dtype of fit cannot hold are an error."""
        column, loss = self._try_to_cast(position, values)
        if loss is not None:
            found = f"column {self.labels[position]!r} of dtype {self.dtypes[position]}"
            raise ValueError(f"{source} values that {found} cannot hold: {loss}. {remedy}")
        return column

    def _try_to_cast(self, position: int, values: list) -> tuple[Any, str | None]:
        """Return values as a column in the dtype of fit, and what that loses, None for nothing."""
        dtype = self.dtypes[position]
        if isinstance(dtype, pd.CategoricalDtype):  # pandas writes a missing value for what is no category
            unknown = [value for value in values if not _is_missing(value) and value not in dtype.categories]
            if unknown:
                return None, f"{unknown[0]!r} is not one of its categories"
        try:
            column = self._write_column(position, np.fromiter(values, dtype=object, count=len(values)))
        except Exception as error:  # numpy, pandas, polars and pyarrow have errors of their own; few name the value
            if len(values) == 1:
                return None, f"{values[0]!r} ({error})"
            half = len(values) // 2
            losses = (self._try_to_cast(position, part)[1] for part in (values[:half], values[half:]))
            return None, next((loss for loss in losses if loss is not None), str(error))
        pairs = zip(values, as_list(column), strict=True)
        return column, next((f"{old!r} would become {new!r}" for old, new in pairs if not _is_same(old, new)), None)

    def restore(self, X, kind: type, shape: tuple, index=None):
        """Return what a repair made of the written table, in the dtypes of fit; a table of another form is an error."""
        if not isinstance(X, kind):
            raise TypeError(
                f"repair returned {_name_type(type(X))}, but was given {_name_type(kind)}. Return a table of the same "
                "kind, even where the function changes the one that it is given."
            )
        if self.backend != "numpy" and list(X.columns) != list(self.labels):
            raise ValueError(
                f"repair returned the columns {list_values(list(X.columns))}, but was given "
                f"{list_values(list(self.labels))}. Return the same columns in the same order."
            )
        if X.shape != shape:
            raise ValueError(
                f"repair returned a table of shape {X.shape}, but was given one of shape {shape}. Return the same "
                "rows and columns."
            )
        if index is not None and not X.index.equals(index):
            raise ValueError(
                "repair returned rows with another index than it was given. Return the same rows in the same order."
            )
        if self.backend == "numpy":
            columns, dtypes = list(X.T), [X.dtype] * X.shape[1]
        else:
            columns = [X[label] for label in self.labels]
            dtypes = [column.dtype for column in columns]
        changed = [i for i, dtype in enumerate(dtypes) if dtype != self.dtypes[i]]
        if not changed:
            return X
        for i in changed:
            remedy = "Round or convert them in the function."
            columns[i] = self.cast(i, as_list(columns[i]), "repair returned", remedy)
            if self.backend == "pandas":
                columns[i] = columns[i].set_axis(index)
        return np.stack(columns, axis=1) if self.backend == "numpy" else self._assemble(columns, index)


def _name_type(kind: type) -> str:
    """Return the name of a type, with its library's."""
    library = kind.__module__.partition(".")[0]
    return kind.__name__ if library == "builtins" else f"{library}.{kind.__name__}"


def _is_missing(value) -> bool:
    """Return whether a value of any type is a missing one."""
    return pd.api.types.is_scalar(value) and bool(pd.isna(value))


def _is_same(old, new) -> bool:
    """Return whether a value survived, but for the digits that a narrower float drops."""
    if _is_missing(old) or _is_missing(new):
        return _is_missing(old) and _is_missing(new)
    if isinstance(new, float) and isinstance(old, Real):
        return math.isclose(old, new, rel_tol=1e-3)
    return bool(old == new)


def as_list(column) -> list:
    """Return the values of an array, or of a column of either library."""
    return column.tolist() if isinstance(column, np.ndarray) else column.to_list()


def list_values(values: list) -> str:
    """Return the first twenty, for an error message."""
    return ", ".join([*map(repr, values[:20]), *(["..."] if len(values) > 20 else [])])
