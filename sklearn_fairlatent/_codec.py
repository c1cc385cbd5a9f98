"""TabularCodec: mixed data frames to numbers and back, always to valid rows."""

from __future__ import annotations

from typing import Any, cast

import narwhals as nw
import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from ._columns import CategoricalColumn, NumericColumn, Table, TableFormat, list_values


class TabularCodec(TransformerMixin, BaseEstimator):
    """Encode a mixed table as numbers, and decode any numbers to valid rows.

    Numeric columns are standardised or mapped to normal scores; strings, bools and categories become one-hot
    columns; a missing value is a state of its own: an indicator column next to a numeric column, one more
    category in a categorical one. :meth:`inverse_transform` gives back the kind of table seen by :meth:`fit`,
    with its column names, order and dtypes, and only values which that table could hold: known categories,
    numbers within the range seen, whole numbers where all were whole, missing ones where some were missing.

    Parameters
    ----------
    numeric : {"standardize", "quantile"}, default="standardize"
        What happens to numeric columns.

        - "standardize": zero mean and unit variance (:class:`~sklearn.preprocessing.StandardScaler`). The
          round trip is exact for integers, and for a column whose numbers all end within 14 digits, counted
          from the largest; other numbers come back within 1e-15 of the column's largest magnitude.
        - "quantile": normal scores of the empirical quantiles
          (:class:`~sklearn.preprocessing.QuantileTransformer`, 1,000 quantiles). The round trip is exact to
          about 1e-9 of the column's range, but at either end only to 1e-4 of the distance between the two
          outermost quantiles. The smallest and the largest value, however many rows share them, are encoded
          as -5.2 and 5.2.

    categorical_features : "auto" or list of {str, int}, default="auto"
        Columns to treat as categories whatever their dtype, by name or by position (an integer is a
        position), for example numeric codes of a region. Strings, bools and categories always are; "auto"
        adds none.

    handle_unknown : {"error", "ignore"}, default="error"
        What :meth:`transform` does with a category, or with a missing value in a column, that was not seen by
        :meth:`fit`.

        - "error": raise a ValueError that names column and value.
        - "ignore": encode a category as zeros in all its one-hot columns, a missing number as the median.
          The former is decoded as the most frequent category.

    Attributes
    ----------
    feature_groups_ : dict of {str or int: slice}
        The encoded columns of each input column: the number and then, if some were missing, the indicator;
        or one column per category and then, if some were missing, one for missing. Keys are the column
        labels of a data frame, the positions in an array.
    categories_ : dict of {str or int: list}
        The known categories of each categorical column, in the order of their encoded columns: those that
        the dtype declares (pandas categories, polars enums, bools), seen in the rows or not, else those seen,
        sorted. A missing value is not listed.
    n_features_in_ : int
        Number of columns seen during fit.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns seen during fit. Only set if `X` has names that are all strings.

    See Also
    --------
    sklearn.preprocessing.OneHotEncoder : One-hot columns alone.
    sklearn.compose.ColumnTransformer : Another encoding for each column, without an inverse.

    Notes
    -----
    The round trip restores rows within what `fit` saw. A number beyond the range is clipped on the way back,
    and a fraction is rounded in a column where `fit` saw whole numbers only. That includes columns of floats,
    since pandas turns integers with gaps into floats. Integers must lie within +-2**49, other numbers within
    +-1e100.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_fairlatent import TabularCodec
    >>> X = pd.DataFrame({"age": [39.0, None, 28.0], "job": ["clerk", "nurse", "clerk"]})
    >>> codec = TabularCodec().fit(X)
    >>> Z = codec.transform(X)
    >>> codec.get_feature_names_out().tolist()
    ['age', 'age_missing', 'job_clerk', 'job_nurse']
    >>> codec.feature_groups_["job"]
    slice(2, 4, None)
    >>> codec.inverse_transform(Z).equals(X)
    True
    >>> codec.inverse_transform([[9.0, 0.1, 0.3, 0.2], [0.0, 0.7, -2.0, -1.0]])
        age    job
    0  39.0  clerk
    1   NaN  nurse
    """

    def __init__(self, *, numeric="standardize", categorical_features="auto", handle_unknown="error"):
        self.numeric = numeric
        self.categorical_features = categorical_features
        self.handle_unknown = handle_unknown

    def fit(self, X, y=None):
        """Learn the range, the categories and the scale of each column.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            A pandas or polars data frame, a numeric, string or object array, or a nested list. Missing values
            are NaN, None or the library's own NA or null.
        y : None
            Ignored.

        Returns
        -------
        self : TabularCodec
            The fitted codec.

        Raises
        ------
        ValueError
            If a parameter is invalid, `X` is empty, has two columns of one name, a number that is infinite or
            beyond 1e100, or an integer beyond 2**49.
        TypeError
            If `X` is sparse, or a column holds dates or a mixture of types.
        """
        choices = {"numeric": ["standardize", "quantile"], "handle_unknown": ["error", "ignore"]}
        for name, allowed in choices.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in allowed:
                raise ValueError(f"{name}={value!r} is not known. Pass one of {list_values(allowed)}.")
        table = Table(X, self)
        as_categories = _find_positions(self.categorical_features, table)
        columns = []
        for position in range(table.shape[1]):
            values = table.values(position)
            kind = table.kind(position, values)
            if kind == "numeric" and position not in as_categories:
                columns.append(NumericColumn(table, position, values))
            else:
                columns.append(CategoricalColumn(table, position, values, kind))

        scaler = StandardScaler()
        if self.numeric == "quantile":
            # QuantileTransformer takes values within 1e-7 of an extreme for it: in units of the spread, then.
            # All rows count, so that nothing is random.
            n_rows = table.shape[0]
            quantiles = QuantileTransformer(
                n_quantiles=min(1000, n_rows), output_distribution="normal", subsample=n_rows
            )
            scaler = make_pipeline(scaler, quantiles)
        numeric, categorical = _split_columns(columns)
        if numeric:
            numbers = np.empty((table.shape[0], len(numeric)), order="F")
            for j, column in enumerate(numeric):
                numbers[:, j], missing = column.encode(table.values(column.position), "error")
                if not column.only_missing:
                    # The scalers leave NaN out of the statistics, which median imputation would narrow.
                    numbers[missing, j] = np.nan
            scaler.fit(numbers)

        groups, start = {}, 0
        for column in columns:
            stop = start + len(column.names(""))
            groups[column.label], start = slice(start, stop), stop
        # Last, since it writes to self: a fit that fails leaves the earlier one as it was.
        validate_data(self, table.native, reset=True, skip_check_array=True)
        self.feature_groups_ = groups
        self.categories_ = {column.label: list(column.categories) for column in categorical}
        self._columns, self._scaler = columns, scaler
        self._format, self._n_encoded = TableFormat(table), start
        return self

    def transform(self, X):
        """Encode rows as numbers.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows with the columns seen by `fit`.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_encoded)
            Float64: numbers standardised or as normal scores, categories and indicators 0 or 1. A data frame
            after ``set_output(transform="pandas")`` or ``"polars"``.

        Raises
        ------
        ValueError
            If the columns differ from those at fit; for a number that is infinite or beyond 1e100; and, with
            ``handle_unknown="error"``, for a category, or a missing value in a column, new since `fit`.
        TypeError
            If `X` is sparse.
        """
        check_is_fitted(self)
        table = Table(X, self)
        validate_data(self, table.native, reset=False, skip_check_array=True)
        Z = np.zeros((table.shape[0], self._n_encoded))
        numeric, categorical = _split_columns(self._columns)
        numbers = np.empty((table.shape[0], len(numeric)), order="F")
        for j, column in enumerate(numeric):
            numbers[:, j], missing = column.encode(table.values(column.position), self.handle_unknown)
            if column.has_missing:
                Z[:, self.feature_groups_[column.label].start + 1] = missing
        if numeric:
            Z[:, self._find_starts(numeric)] = self._scaler.transform(numbers)
        for column in categorical:
            codes = column.encode(table.values(column.position), self.handle_unknown)
            rows = np.flatnonzero(codes >= 0)
            Z[rows, self.feature_groups_[column.label].start + codes[rows]] = 1.0
        return Z

    def inverse_transform(self, Z):
        """Decode numbers to valid rows, whatever the numbers are.

        The largest value within its one-hot columns decides on a category, an indicator of at least 0.5 on a
        missing number; numbers are clipped to the range seen by `fit` and rounded where all were whole.

        Parameters
        ----------
        Z : array-like or data frame of shape (n_samples, n_encoded)
            Any finite numbers.

        Returns
        -------
        X : data frame or ndarray of shape (n_samples, n_features)
            The same kind of table as at fit, with its column names and dtypes. A pandas frame has the index
            of `Z` where that is a pandas frame, else a new one.

        Raises
        ------
        ValueError
            If `Z` is not finite or does not have `n_encoded` columns.
        """
        check_is_fitted(self)
        index = Z.index if nw.dependencies.is_pandas_dataframe(Z) else None
        Z = check_array(Z, dtype="float64", estimator=self, input_name="Z")
        if Z.shape[1] != self._n_encoded:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, but {type(self).__name__} encodes to {self._n_encoded}. Pass "
                "rows as transform returns them."
            )
        numeric, categorical = _split_columns(self._columns)
        decoded: list = [None] * len(self._columns)
        if numeric:
            # A product beyond the largest float is infinite, which clipping to the range sets right.
            with np.errstate(over="ignore"):
                numbers = self._scaler.inverse_transform(Z[:, self._find_starts(numeric)])
            for j, column in enumerate(numeric):
                indicator = self.feature_groups_[column.label].start + 1
                decoded[column.position] = column.decode(numbers[:, j], Z[:, indicator] if column.has_missing else None)
        for column in categorical:
            decoded[column.position] = column.decode(Z[:, self.feature_groups_[column.label]])
        return self._format.write(decoded, index)

    def get_feature_names_out(self, input_features=None):
        """Names of the encoded columns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the input columns, to be used for "x0", "x1", ... where `X` had none; where it had,
            they must be the same.

        Returns
        -------
        feature_names_out : ndarray of str objects of shape (n_encoded,)
            "age" and "age_missing" for numbers, "job_nurse" and "job_missing" for categories. Where two would
            be alike, the later ones end in "_2", "_3", ...

        Raises
        ------
        ValueError
            If `input_features` does not fit the columns seen by `fit`.
        """
        check_is_fitted(self)
        # scikit-learn's own check of the names, which it makes public through this mixin only.
        names_in: Any = OneToOneFeatureMixin.get_feature_names_out(cast(Any, self), input_features)
        names = [name for x, column in zip(names_in, self._columns, strict=True) for name in column.names(x)]
        return np.array(_make_unique(names), dtype=object)

    def _find_starts(self, numeric: list) -> list:
        """Return the positions of the encoded numbers, without their indicators."""
        return [self.feature_groups_[column.label].start for column in numeric]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.allow_nan = True
        return tags


def _split_columns(columns: list) -> tuple[list[NumericColumn], list[CategoricalColumn]]:
    """Return the numeric and the categorical columns."""
    numeric = [column for column in columns if isinstance(column, NumericColumn)]
    return numeric, [column for column in columns if isinstance(column, CategoricalColumn)]


def _find_positions(categorical_features, table: Table) -> set:
    """Return the positions of the columns to treat as categories."""
    if isinstance(categorical_features, str):
        if categorical_features != "auto":
            raise ValueError(
                f"categorical_features={categorical_features!r} is not known. Pass 'auto' or a list of "
                f"columns, for example [{categorical_features!r}]."
            )
        return set()
    try:
        wanted = list(categorical_features)
    except TypeError as error:
        raise ValueError(
            f"categorical_features={categorical_features!r} is not known. Pass 'auto' or a list of columns."
        ) from error
    positions = set()
    for item in wanted:
        if isinstance(item, bool | np.bool_):
            raise ValueError(
                f"categorical_features holds {item!r}, but a mask is not taken. Pass names or positions of columns."
            )
        if isinstance(item, int | np.integer):
            known = 0 <= item < table.shape[1]
            position = int(item)
        else:
            known = item in table.labels
            position = table.labels.index(item) if known else -1
        if not known:
            raise ValueError(
                f"categorical_features names the column {item!r}, which X does not have: its columns are "
                f"{list_values(table.labels)}. Pass names, or positions from 0."
            )
        positions.add(position)
    return positions


def _make_unique(names: list) -> list:
    """Append _2, _3, ... to the later ones among equal names."""
    unique: dict = {}  # in order, and quick to search
    for name in names:
        new, count = name, 1
        while new in unique:
            count += 1
            new = f"{name}_{count}"
        unique[new] = None
    return list(unique)
