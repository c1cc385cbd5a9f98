"""One column of a mixed table: read as numbers or as categories, and written back as valid values."""

from __future__ import annotations

from collections import Counter
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype
from sklearn.utils.validation import check_array

# The square of a larger number, summed over the rows, overflows the variance of a float64 column.
LARGEST_NUMBER = 1e100
# Standardising and back moves x by at most 7 * 2**-53 * max|x|: below 1/2, so that rounding restores x.
LARGEST_INTEGER = 2**49
# By pandas' name for what an object column holds, and by numpy's letter for any other dtype.
_KINDS = {
    **dict.fromkeys(["integer", "floating", "mixed-integer-float", "i", "u", "f"], "numeric"),
    **dict.fromkeys(["boolean", "b"], "boolean"),
    **dict.fromkeys(["string", "empty", "U"], "categorical"),
}
_TEMPORAL = {"datetime", "datetime64", "date", "time", "timedelta", "timedelta64", "period", "m", "M"}


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
        """Return a column as a numpy array; missing values are NaN among floats, any kind among objects."""
        if self.frame is None:
            return self.native[:, position]
        return self.frame.get_column(self.labels[position]).to_numpy()

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
        dtype = self.frame.schema[self.labels[position]]
        # A polars Categorical lists what any column has ever held, so it declares nothing.
        if isinstance(dtype, nw.Enum) or (self.backend == "pandas" and isinstance(dtype, nw.Categorical)):
            return list(self.dtype(position).categories)
        return None

    def kind(self, position, values) -> str:
        """Return "numeric", "boolean" or "categorical"; any other kind of column is an error."""
        if self.declared_categories(position) is not None:
            return "categorical"
        inferred = infer_dtype(values, skipna=True) if values.dtype == object else values.dtype.kind
        kind = _KINDS.get(inferred) if values.ndim == 1 else None
        if kind is not None:
            return kind
        found = f"Column {self.labels[position]!r} of X has dtype {self.dtype(position)}"
        if inferred in _TEMPORAL:
            raise TypeError(
                f"{found}: dates, times and durations have no encoding of their own. Convert it to a number "
                "first, for example to days since a fixed date."
            )
        types = sorted({type(value).__name__ for value in values[~pd.isna(values)].tolist()})
        raise TypeError(
            f"{found} and holds values of type {', '.join(types)}: within a column the argument must be "
            "uniformly strings, bools or real numbers. Convert it, for example with `.astype(str)` or "
            "`.astype(float)`."
        )


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
        pairs = zip(columns, self.dtypes, strict=True)
        if self.backend == "pandas":
            frame = pd.DataFrame({i: pd.Series(values, dtype=dtype) for i, (values, dtype) in enumerate(pairs)})
            frame.columns = self.labels
            return frame if index is None else frame.set_axis(index, axis=0)
        import polars as pl  # only a user of polars needs it

        series = []
        for label, (values, dtype) in zip(self.labels, pairs, strict=True):
            if dtype == pl.Object:  # nothing can be cast to it
                series.append(pl.Series(label, values.tolist(), dtype=dtype))
            else:
                series.append(pl.Series(label, values.tolist()).cast(dtype))
        return pl.DataFrame(series)


class NumericColumn:
    """Numbers, with an indicator next to them where fit saw missing values."""

    def __init__(self, table: Table, position: int, values):
        self.position, self.label = position, table.labels[position]
        self.missing_value = table.missing_value(position, values)
        numbers, missing = self._read(values)
        observed = numbers[~missing]
        self.has_missing = bool(missing.any())
        self.only_missing = observed.size == 0
        self.low, self.high, self.median = 0.0, 0.0, 0.0
        if not self.only_missing:
            self.low, self.high = float(observed.min()), float(observed.max())
            self.median = float(np.median(observed))
        self.is_object = values.dtype == object
        self.is_integer_object = self.is_object and infer_dtype(values, skipna=True) == "integer"
        largest = max(abs(self.low), abs(self.high))
        self.decimals = _count_decimals(observed, largest)
        if largest > LARGEST_INTEGER and (self.is_integer_object or table.is_integer(position)):
            raise ValueError(
                f"Column {self.label!r} of X holds an integer of size {largest:.0f}; beyond 2**49 integers "
                "do not survive the way through float64 and back. Drop an identifier or turn it into "
                "strings; pass a quantity as float."
            )

    def _read(self, values):
        """Return a column as float64 with NaN where missing, and the missing mask."""
        missing = pd.isna(values)
        try:
            if values.dtype.kind in "mM":
                raise TypeError(f"holds {values.dtype} values")
            numbers = np.where(missing, np.nan, values).astype(np.float64, copy=False)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"Column {self.label!r} of X is numeric, but: {error}. Pass real numbers, as at fit."
            ) from error
        large = np.abs(numbers) > LARGEST_NUMBER
        if large.any():
            raise ValueError(
                f"Column {self.label!r} of X holds {numbers[large][0]} in row {int(large.argmax())}; numbers "
                f"must be finite and within +-{LARGEST_NUMBER:g}. Replace it with a missing value (NaN), or "
                "clip or rescale the column."
            )
        return numbers, missing

    def names(self, name: str) -> list:
        """Return the names of the encoded columns."""
        return [name, f"{name}_missing"] if self.has_missing else [name]

    def encode(self, values, handle_unknown: str):
        """Return a column as numbers without gaps, and where the gaps were."""
        numbers, missing = self._read(values)
        if missing.any() and not self.has_missing and handle_unknown == "error":
            _raise_missing(self.label, missing)
        numbers[missing] = self.median
        return numbers, missing

    def decode(self, numbers, indicator):
        """Return valid values from any numbers and from the indicator, None where fit saw none missing."""
        numbers = np.clip(numbers, self.low, self.high)
        if self.decimals is not None:
            numbers = np.round(numbers, self.decimals)
        if self.is_object:
            numbers = (numbers.astype(np.int64) if self.is_integer_object else numbers).astype(object)
        if indicator is not None:
            missing = np.ones(len(numbers), dtype=bool) if self.only_missing else indicator >= 0.5
            if self.missing_value is None:
                numbers = numbers.astype(object)
            numbers[missing] = self.missing_value
        return numbers


class CategoricalColumn:
    """Categories, one encoded column each, and one more for "missing" where fit saw it."""

    def __init__(self, table: Table, position: int, values, kind: str):
        self.position, self.label = position, table.labels[position]
        self.missing_value = table.missing_value(position, values)
        missing = pd.isna(values)
        observed = values[~missing]
        if table.is_integer(position):
            observed = observed.astype(np.int64, copy=False)
        counts = Counter(observed.tolist())
        declared = [False, True] if kind == "boolean" else table.declared_categories(position)
        self.categories = sorted(counts) if declared is None else declared
        self.codes = {category: code for code, category in enumerate(self.categories)}
        self.has_missing = bool(missing.any())
        self.most_frequent = self.codes[counts.most_common(1)[0][0]] if counts else len(self.categories)

    def names(self, name: str) -> list:
        """Return the names of the encoded columns."""
        names = [f"{name}_{category}" for category in self.categories]
        return [*names, f"{name}_missing"] if self.has_missing else names

    def encode(self, values, handle_unknown: str):
        """Return the code of each row's category, -1 where unknown."""
        missing = pd.isna(values)
        get = self.codes.get
        try:
            codes = np.array([get(value, -1) for value in values.tolist()], dtype=np.intp)
        except TypeError as error:
            raise TypeError(
                f"Column {self.label!r} of X holds a value that cannot be a category: {error}. Pass strings, "
                "bools or numbers, as at fit."
            ) from error
        codes[missing] = len(self.categories) if self.has_missing else -1
        if handle_unknown == "error" and (codes < 0).any():
            if missing.any() and not self.has_missing:
                _raise_missing(self.label, missing)
            row = int((codes < 0).argmax())
            value = values.tolist()[row]
            raise ValueError(
                f"Column {self.label!r} of X holds the unknown category {value!r} in row {row}; "
                f"the known ones are {list_values(self.categories)}. Correct it, fit on rows that include "
                "it, or pass handle_unknown='ignore'."
            )
        return codes

    def decode(self, block):
        """Return the category of the largest value in each row, the most frequent one where all are equal."""
        codes = block.argmax(axis=1)
        codes[(block == block[:, :1]).all(axis=1)] = self.most_frequent
        states = [*self.categories, self.missing_value]
        return np.fromiter(states, dtype=object, count=len(states))[codes]


def list_values(values: list) -> str:
    """Return the first twenty, for an error message."""
    return ", ".join([*map(repr, values[:20]), *(["..."] if len(values) > 20 else [])])


def _count_decimals(observed, largest: float) -> int | None:
    """Return decimals that restore the numbers: 0 for whole ones, else 14 digits of the largest, or None."""
    candidates = [0]
    if largest > 1e-280:  # below, ten to the power of the decimals is no float
        candidates.append(14 - int(np.ceil(np.log10(largest))))
    return next((d for d in candidates if (np.round(observed, d) == observed).all()), None)


def _raise_missing(label, missing):
    """Raise the error for missing values in a column where fit saw none."""
    raise ValueError(
        f"Column {label!r} of X has {int(missing.sum())} missing value(s), the first in row "
        f"{int(missing.argmax())}, but had none at fit. Fit on rows that include a missing one, impute it "
        "before, or pass handle_unknown='ignore'."
    )
