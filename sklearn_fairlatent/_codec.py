"""TabularCodec: mixed data frames to numbers and back, always to valid rows."""

from __future__ import annotations

from typing import Any, cast

import narwhals as nw
import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from ._column_choice import choose_columns
from ._column_kinds import CategoricalColumn, NumericColumn, OrderedColumn
from ._columns import Table, TableFormat, list_values


class TabularCodec(TransformerMixin, BaseEstimator):
    """Encode a mixed table as numbers, and decode any numbers to valid rows.

    Numeric columns are standardised or mapped to normal scores; ordered categories, dates and durations are turned
    into one number first; strings, bools and other categories become one-hot columns; a missing value is a state of
    its own: an indicator column next to a number, one more category in a categorical column.
    :meth:`inverse_transform` gives back the kind of table seen by :meth:`fit`, with its column names, order and
    dtypes, and only values which that table could hold: known categories, numbers and dates within the range seen,
    whole numbers where all were whole, whole days where all were midnights, missing ones where some were missing.

    Parameters
    ----------
    numeric : {"standardize", "quantile"}, default="standardize"
        What happens to numeric columns, to the ranks of ordered categories, and to dates and durations.

        - "standardize": zero mean and unit variance (:class:`~sklearn.preprocessing.StandardScaler`). The
          round trip is exact for integers and ranks, and for a column whose numbers all end within 14 digits, counted
          from the largest; other numbers come back within 1e-15 of the column's largest magnitude.
        - "quantile": normal scores of the empirical quantiles
          (:class:`~sklearn.preprocessing.QuantileTransformer`, 1,000 quantiles). The round trip is exact to
          about 1e-9 of the column's range, but at either end only to 1e-4 of the distance between the two
          outermost quantiles. The smallest and the largest value, however many rows share them, are encoded
          as -5.2 and 5.2.

    categorical_features : "auto" or list of {str, int}, default="auto"
        Columns to treat as categories whatever their dtype, by name or by position (an integer is a
        position), for example numeric codes of a region. Strings, bools and unordered categories always are;
        "auto" adds none. An ordered pandas categorical named here becomes one-hot columns too.

    ordered_features : dict of {str or int: list}, default=None
        Columns to treat as ordered categories whatever their dtype, by name or by position, each with all of
        its categories, the lowest first. Each becomes one number, its rank from 0, and is decoded to the
        category of the nearest rank. Ordered pandas categoricals always do, in the order of their dtype; a
        polars enum does not unless it is named here.

    handle_unknown : {"error", "ignore"}, default="error"
        What :meth:`transform` does with a category, or with a missing value in a column, that was not seen by
        :meth:`fit`.

        - "error": raise a ValueError that names column and value.
        - "ignore": encode a category as zeros in all its one-hot columns, an ordered category as the median
          rank, a missing number or date as the median. The first is decoded as the most frequent category.

    repair : callable, default=None
        What must hold between columns: a function that takes the table which :meth:`inverse_transform` has
        decoded and returns one of the same kind, rows and columns, for example with a total set to the sum of
        its parts. The dtypes of `fit` are restored; values are not checked any more. A fitted codec can be pickled
        if the function can be imported: define it in a module, not as a lambda or inside another function.

    Attributes
    ----------
    feature_groups_ : dict of {str or int: slice}
        The encoded columns of each input column: the number, rank or time and then, if some were missing, the
        indicator; or one column per category and then, if some were missing, one for missing. Keys are the
        column labels of a data frame, the positions in an array.
    categories_ : dict of {str or int: list}
        The known categories of each categorical column, in the order of their encoded columns or, where they
        are ordered, of their ranks: those that `ordered_features` lists or the dtype declares (pandas
        categories, polars enums, bools), seen in the rows or not, else those seen, sorted. A missing value is
        not listed.
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
    +-1e100. With ``numeric="quantile"`` an ordered category beyond those seen comes back as the nearest one seen.

    Dates are datetime64 columns of any unit, with or without a time zone, and polars' Date and Datetime; durations
    are timedelta64 and polars' Duration. They are counted in the longest of days, seconds, milliseconds, microseconds
    and nanoseconds of which `fit` saw whole numbers only, and rounded to it on the way back; days are those of the
    column's own time zone. With "standardize" the round trip is exact for days and seconds, for milliseconds within
    30,000 years, microseconds within 30 years and nanoseconds within 10 days; beyond, to 1e-15 of the range.

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

    Sizes have an order, dates are numbers, and a total is repaired:

    >>> def add_up(X):
    ...     return X.assign(total=X["rent"] + X["food"])
    >>> X = pd.DataFrame(
    ...     {
    ...         "size": ["S", "L", "M"],
    ...         "since": pd.to_datetime(["2024-02-28", "2024-03-03", "2024-02-29"]),
    ...         "rent": [600, 900, 700],
    ...         "food": [200, 400, 300],
    ...         "total": [800, 1300, 1000],
    ...     }
    ... )
    >>> codec = TabularCodec(ordered_features={"size": ["S", "M", "L"]}, repair=add_up).fit(X)
    >>> codec.get_feature_names_out().tolist()
    ['size', 'since', 'rent', 'food', 'total']
    >>> codec.inverse_transform([[0.4, -0.4, 0.0, 0.5, 9.0]])
      size      since  rent  food  total
    0    M 2024-02-29   733   341   1074
    """

    def __init__(
        self,
        *,
        numeric="standardize",
        categorical_features="auto",
        ordered_features=None,
        handle_unknown="error",
        repair=None,
    ):
        self.numeric = numeric
        self.categorical_features = categorical_features
        self.ordered_features = ordered_features
        self.handle_unknown = handle_unknown
        self.repair = repair

    def fit(self, X, y=None):
        """Learn the range, the categories and the scale of each column.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            A pandas or polars data frame, a numeric, string or object array, or a nested list. Missing values
            are NaN, NaT, None or the library's own NA or null.
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
            If `X` is sparse, or a column holds periods, times of day, objects of Python's datetime or a mixture
            of types.
        """
        choices = {"numeric": ["standardize", "quantile"], "handle_unknown": ["error", "ignore"]}
        for name, allowed in choices.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in allowed:
                raise ValueError(f"{name}={value!r} is not known. Pass one of {list_values(allowed)}.")
        if self.repair is not None and not callable(self.repair):
            raise ValueError(f"repair={self.repair!r} cannot be called. Pass None or a function of one table.")
        table = Table(X, self)
        columns = choose_columns(table, self.categorical_features, self.ordered_features)

        scaler = StandardScaler()
        if self.numeric == "quantile":
            # QuantileTransformer takes values within 1e-7 of an extreme for it: in units of the spread, then.
            # All rows count, so that nothing is random.
            n_rows = table.shape[0]
            quantiles = QuantileTransformer(
                n_quantiles=min(1000, n_rows), output_distribution="normal", subsample=n_rows
            )
            scaler = make_pipeline(scaler, quantiles)
        numeric, _ = _split_columns(columns)
        if numeric:
            numbers = np.empty((table.shape[0], len(numeric)), order="F")
            for j, column in enumerate(numeric):
                numbers[:, j], missing = column.encode(table, "error")
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
        self.categories_ = {
            column.label: list(column.categories)
            for column in columns
            if isinstance(column, CategoricalColumn | OrderedColumn)
        }
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
            Float64: numbers, ranks and times standardised or as normal scores, one-hot columns and indicators 0 or 1.
            A data frame
            after ``set_output(transform="pandas")`` or ``"polars"``.

        Raises
        ------
        ValueError
            If the columns differ from those at fit, as do dates with and without a time zone; for a number that is
            infinite or beyond 1e100; and, with ``handle_unknown="error"``, for a category, or a missing value in a
            column, new since `fit`.
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
            numbers[:, j], missing = column.encode(table, self.handle_unknown)
            if column.has_missing:
                Z[:, self.feature_groups_[column.label].start + 1] = missing
        if numeric:
            Z[:, self._find_starts(numeric)] = self._scaler.transform(numbers)
        for column in categorical:
            codes = column.encode(table, self.handle_unknown)
            rows = np.flatnonzero(codes >= 0)
            Z[rows, self.feature_groups_[column.label].start + codes[rows]] = 1.0
        return Z

    def inverse_transform(self, Z):
        """Decode numbers to valid rows, whatever the numbers are.

        The largest value within its one-hot columns decides on a category, an indicator of at least 0.5 on a
        missing number; numbers and dates are clipped to the range seen by `fit` and rounded where all were whole;
        the nearest rank decides on an ordered category. At last comes `repair`.

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
            If `Z` is not finite or does not have `n_encoded` columns, or `repair` returns other rows or columns
            or a value that a column's dtype cannot hold.
        TypeError
            If `repair` returns another kind of table.
        """
        check_is_fitted(self)
        index = Z.index if nw.dependencies.is_pandas_dataframe(Z) else None
        Z = check_array(Z, dtype="float64", estimator=self, input_name="Z")
        if Z.shape[1] != self._n_encoded:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, but {type(self).__name__} encodes to {self._n_encoded}. Pass "
                "rows as transform returns them."
            )
        X = self._decode(Z, index)
        if self.repair is None:
            return X
        # Taken before the call, which may change the table itself.
        form = type(X), X.shape, getattr(X, "index", None)
        return self._format.restore(self.repair(X), *form)

    def _decode(self, Z, index=None):
        """Return the table of encoded rows before it is repaired."""
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
            "age" and "age_missing" for numbers, ordered categories and dates, "job_nurse" and "job_missing" for
            other categories. Where two would be alike, the later ones end in "_2", "_3", ...

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

    def _column_codes(self, X) -> list:
        """Return what every column of rows is by itself: codes of categories, or numbers and which are missing."""
        table = Table(X, self)
        validate_data(self, table.native, reset=False, skip_check_array=True)
        return [column.encode(table, self.handle_unknown) for column in self._columns]

    def _encoded_columns(self) -> list:
        """Return the encoded columns of every input column, and whether they are one-hot."""
        return [(self.feature_groups_[c.label], isinstance(c, CategoricalColumn)) for c in self._columns]

    def _find_starts(self, numeric: list) -> list:
        """Return the positions of the encoded numbers, without their indicators."""
        return [self.feature_groups_[column.label].start for column in numeric]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.allow_nan = True
        return tags


def _split_columns(columns: list) -> tuple[list[NumericColumn], list[CategoricalColumn]]:
    """Return the columns encoded as one number and those encoded as one column per category."""
    numeric = [column for column in columns if isinstance(column, NumericColumn)]
    return numeric, [column for column in columns if isinstance(column, CategoricalColumn)]


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
