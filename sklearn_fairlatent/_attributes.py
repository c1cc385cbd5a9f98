"""The label and the sensitive attributes: from what a user passes to numeric codes, and back."""

import warnings
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import type_of_target

from ._exceptions import SmallGroupWarning

CONSTRAINTS = {
    "demographic_parity": "demographic_parity",
    "equalized_odds": "equalized_odds",
    "true_positive_rate_parity": "true_positive_rate_parity",
    "equal_opportunity": "true_positive_rate_parity",
}

# Whole numbers with more values than this are read as a quantity that the user forgot to declare.
MAX_WHOLE_NUMBER_GROUPS = 20

# A continuous attribute is compared at these quantiles: low against high at each of them.
THRESHOLDS = np.arange(1, 8) / 8

# A continuous label is cut into this many quantile bins for label-conditional constraints.
LABEL_BINS = 4


def as_values(values):
    """``values`` as an array; numpy would turn the NaN and the numbers beside strings in a list into strings."""
    array = np.asarray(values)
    if array.dtype.kind in "US" and not hasattr(values, "dtype"):
        return np.asarray(values, dtype=object)
    return array


@dataclass(frozen=True, eq=False)
class Variable:
    """A label or a sensitive attribute: how its values become codes.

    ``kind`` is "groups" (code: the position in ``categories``) or "continuous" (code: the value, standardised).
    Missing values have the code NaN.
    """

    name: str
    kind: str
    categories: Any = None  # ndarray, or None if continuous
    mean: float = 0.0
    scale: float = 1.0
    thresholds: np.ndarray | None = None

    @classmethod
    def from_values(cls, name, values, *, continuous, argument="sensitive_features"):
        """Learn the categories, or the location and scale, of ``values``."""
        if continuous:
            numbers = _as_numbers(name, values, argument)
            present = numbers[np.isfinite(numbers)]
            scale = present.std() if present.size else 0.0
            if not scale > 0:
                raise ValueError(
                    f"{name!r} is constant: a continuous {'label' if argument == 'y' else 'attribute'} needs at least "
                    "two different values. "
                    "Leave it out, or check how it was read."
                )
            standardised = (present - present.mean()) / scale
            return cls(
                name,
                "continuous",
                mean=float(present.mean()),
                scale=float(scale),
                # Nothing lies above the maximum: a threshold there becomes the value below it.
                thresholds=np.unique(
                    np.minimum(
                        np.quantile(standardised, THRESHOLDS), standardised[standardised < standardised.max()].max()
                    )
                ),
            )
        return cls(name, "groups", categories=_categories(name, values))

    @property
    def n_groups(self):
        """Number of groups; 0 for a continuous variable."""
        return 0 if self.categories is None else len(self.categories)

    @property
    def width(self):
        """Number of latent columns the variable asks for."""
        return max(1, self.n_groups - 1)

    def encode(self, values, argument="sensitive_features"):
        """Codes of ``values``, float64 of shape (n_samples,); NaN where missing.

        Raises
        ------
        ValueError
            If a value is no known group.
        """
        values = as_values(values)
        if self.kind == "continuous":
            return (_as_numbers(self.name, values) - self.mean) / self.scale
        missing = pd.isna(values)
        known = {category: code for code, category in enumerate(self.categories.tolist())}
        listed = values.tolist()
        codes = np.array(
            [np.nan if gone else known.get(value, -1) for value, gone in zip(listed, missing, strict=True)],
            dtype=np.float64,
        )
        if (codes == -1).any():
            stranger = listed[int(np.argmax(codes == -1))]
            raise ValueError(
                f"{argument}: {stranger!r} is not a known value of {self.name!r}. "
                f"Groups seen in fit: {self.categories.tolist()}."
            )
        return codes

    def decode(self, codes):
        """Values that belong to ``codes``; the inverse of :meth:`encode` where nothing is missing."""
        if self.kind == "continuous":
            return codes * self.scale + self.mean
        return self.categories[codes.astype(int)]

    def design(self, codes):
        """Columns whose linear span holds the code: one-hot groups or the number; NaN where missing."""
        if self.kind == "continuous":
            return codes[:, None]
        return np.where(
            np.isnan(codes)[:, None], np.nan, (codes[:, None] == np.arange(self.n_groups)).astype(np.float64)
        )

    def memberships(self, codes):
        """Indicator columns for the dependence measure: one-vs-rest groups, or "above" each threshold.

        Returns
        -------
        ndarray of shape (n_samples, n_comparisons), of 0, 1 and NaN where missing
        """
        if self.kind == "continuous":
            inside = (codes[:, None] > self.thresholds).astype(np.float64)
        else:
            first = 1 if self.n_groups == 2 else 0
            inside = (codes[:, None] == np.arange(first, self.n_groups)).astype(np.float64)
        return np.where(np.isnan(codes)[:, None], np.nan, inside)


def _as_numbers(name, values, argument="sensitive_features"):
    reason, remedy = "declared continuous", "Take it out of continuous_features"
    if argument == "y":
        reason, remedy = "the label of a regression", "Pass task='classification'"
    try:
        numbers = np.asarray(pd.to_numeric(pd.Series(values).astype(object)), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name!r} is {reason} but holds values that are not numbers ({error}). {remedy}, or convert it."
        ) from None
    if np.isinf(numbers).any():
        raise ValueError(f"{name!r} contains infinity. Clip the values, or set them to NaN: missing is allowed.")
    return numbers


def _categories(name, values):
    values = as_values(values)
    present = values[~pd.isna(values)]
    for value in present.tolist() if present.dtype == object else []:
        if not isinstance(value, Hashable):
            raise TypeError(
                f"{name!r} holds a {type(value).__name__}: every value of the argument must be a string or a number."
            )
    try:
        return np.unique(present)
    except TypeError:
        raise ValueError(
            f"{name!r} mixes values of different types, which cannot be ordered into groups. "
            "Convert the column to strings."
        ) from None


def _is_number(values):
    values = np.asarray(values)
    present = values[~pd.isna(values)]
    return present.size > 0 and all(
        isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        for value in (present if present.dtype == object else present[:1]).tolist()
    )


def sensitive_variable(name, values, *, continuous_features):
    """The :class:`Variable` of a sensitive attribute, with the checks a user needs.

    Raises
    ------
    ValueError
        If there is one group only, or whole numbers with many values that were not declared.
    """
    continuous = name in continuous_features
    if not continuous and _is_number(values):
        numbers = _as_numbers(name, values)
        present = numbers[np.isfinite(numbers)]
        whole = bool((present == np.round(present)).all())
        n_values = len(np.unique(present))
        if not whole and n_values > 2:
            continuous = True
        elif n_values > MAX_WHOLE_NUMBER_GROUPS:
            raise ValueError(
                f"sensitive_features: {name!r} has {n_values} different whole numbers. If it is a quantity "
                f"(an age), pass continuous_features=[{name!r}]; if they are groups, convert them to strings."
            )
    variable = Variable.from_values(name, values, continuous=continuous)
    if variable.kind == "groups" and variable.n_groups < 2:
        raise ValueError(
            f"sensitive_features: {name!r} has a single group {variable.categories.tolist()}; fairness "
            "between groups needs at least two. Leave the attribute out or add rows of another group."
        )
    return variable


def warn_of_lonely_rows(variable, codes, stacklevel):
    """Warn of groups of one row; ``stacklevel`` as if the caller warned."""
    if variable.kind != "groups":
        return
    counts = np.bincount(codes[~np.isnan(codes)].astype(int), minlength=variable.n_groups)
    if counts.min() < 2:
        lonely = variable.categories[counts < 2].tolist()
        warnings.warn(
            f"sensitive_features: group(s) {lonely} of {variable.name!r} have one row each. Nothing can be learnt "
            "or claimed about their fairness; merge them with another group.",
            SmallGroupWarning,
            stacklevel=stacklevel + 1,
        )


def read_sensitive_features(sensitive_features, n_samples, index=None):
    """Columns of A by name, as arrays of length ``n_samples``.

    Parameters
    ----------
    sensitive_features : Series, DataFrame, array-like of shape (n_samples,) or (n_samples, n), or dict of arrays
    n_samples : int
        Number of rows of X.
    index : pandas.Index or None
        The index of X, if it has one: the same labels in another order are an error.

    Returns
    -------
    dict of str to ndarray
    """
    labels = getattr(sensitive_features, "index", None) if not isinstance(sensitive_features, list) else None
    if isinstance(sensitive_features, dict):
        columns = {name: as_values(values) for name, values in sensitive_features.items()}
    else:
        native = nw.from_native(sensitive_features, allow_series=True, pass_through=True)
        if isinstance(native, nw.DataFrame):
            columns = {name: native[name].to_numpy() for name in native.columns}
        elif isinstance(native, nw.Series):
            columns = {native.name or "sensitive_feature_0": native.to_numpy()}
        else:
            values = as_values(sensitive_features)
            if values.ndim not in (1, 2):
                raise ValueError(f"sensitive_features has {values.ndim} dimensions; expected 1 or 2. Pass a DataFrame.")
            values = values[:, None] if values.ndim == 1 else values
            columns = {f"sensitive_feature_{j}": as_values(values[:, j].tolist()) for j in range(values.shape[1])}
    if not columns:
        raise ValueError("sensitive_features has no columns. Pass at least one attribute, or None.")
    if not all(isinstance(name, str) for name in columns):
        raise TypeError(f"sensitive_features: column names must be strings, got {list(columns)}. Rename the columns.")
    for name, values in columns.items():
        if values.ndim != 1:
            raise ValueError(f"sensitive_features: {name!r} has {values.ndim} dimensions; expected one value per row.")
        if len(values) != n_samples:
            raise ValueError(
                f"sensitive_features: {name!r} has {len(values)} rows, X has {n_samples}. Inside a search or "
                "cross-validation a dict of arrays is not sliced with X: pass a DataFrame."
            )
    if isinstance(labels, pd.Index) and isinstance(index, pd.Index):
        _check_same_order(labels, index)
    return columns


def _check_same_order(labels, index):
    if labels.equals(index) or not labels.is_unique or not index.is_unique:
        return
    if len(labels.difference(index)) == 0:
        raise ValueError(
            "sensitive_features carries the same index labels as X in another order. Rows are matched by "
            "position: reorder with sensitive_features.loc[X.index], or drop the index if the positions are right."
        )


def label_variable(y, task, name):
    """The :class:`Variable` of the label and its codes.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
    task : {"auto", "classification", "regression"}
        "auto": regression when y holds numbers that are not whole, classification otherwise.
    name : str
        The name of the block.

    Returns
    -------
    variable : Variable
    codes : ndarray of float64 of shape (n_samples,)
    """
    y = column_or_1d(as_values(y) if isinstance(y, (list, tuple)) else y, warn=True)
    if y.dtype == object:
        y = np.asarray(pd.Series(y).infer_objects())
    if y.dtype.kind == "f" and np.isinf(y).any():
        raise ValueError("Input y contains infinity. Drop or clip these rows before fit.")
    if pd.isna(y).any():
        raise ValueError("Input y contains NaN. Drop or impute the rows without a label before fit.")
    kind = type_of_target(y, input_name="y")
    continuous = task == "regression" or (task == "auto" and kind.startswith("continuous"))
    if task == "classification" and kind.startswith("continuous"):
        raise ValueError(
            "task='classification' but y holds numbers that are not whole. Pass task='regression', or bin y."
        )
    if continuous:
        variable = Variable.from_values(name, y, continuous=True, argument="y")
    else:
        variable = Variable.from_values(name, y, continuous=False)
        if variable.n_groups < 2:
            raise ValueError(
                f"y has a single class {variable.categories.tolist()}; a label needs at least two. "
                "Pass y=None to sort out the sensitive information only."
            )
    return variable, variable.encode(y, argument="y")


def label_conditions(label, codes, constraint, pos_label):
    """The label stratum inside which a row is compared, or -1 where it is not compared at all.

    Returns
    -------
    ndarray of int of shape (n_samples,)
    """
    if constraint == "demographic_parity":
        return np.zeros(len(codes), dtype=np.int64)
    if constraint == "equalized_odds":
        if label.kind == "groups":
            return codes.astype(np.int64)
        edges = np.quantile(codes, np.arange(1, LABEL_BINS) / LABEL_BINS)
        return np.searchsorted(edges, codes, side="right").astype(np.int64)
    return np.where(codes == label.encode([pos_label], argument="pos_label")[0], 0, -1).astype(np.int64)


def resolve_pos_label(label, pos_label):
    """The favourable label of a "true_positive_rate_parity" constraint."""
    if label.kind != "groups":
        raise ValueError(
            "constraints='true_positive_rate_parity' needs a label with classes; y is continuous. "
            "Use 'demographic_parity' or 'equalized_odds'."
        )
    if pos_label is not None:
        label.encode([pos_label], argument="pos_label")
        return pos_label
    if label.categories.tolist() in ([0, 1], [-1, 1], [False, True]):
        return label.categories[1]
    raise ValueError(
        f"pos_label=None is ambiguous: y has the classes {label.categories.tolist()}. Pass pos_label= the "
        "favourable one."
    )
