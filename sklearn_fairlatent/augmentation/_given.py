"""What a user passes to a sampler: rows, classes and attributes with groups, checked."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from .._attributes import Variable, as_values, label_variable, sensitive_variable, warn_of_lonely_rows
from .._encoding import as_frame
from .._groups import is_continuous, read_columns
from .._joining import split_columns

FLOATS = [np.float64, np.float32]
# The label's name where attributes have theirs.
LABEL = "target"


def learnable(values):
    """Values for an estimator to learn: numbers and booleans that came as objects as what they are."""
    if values.dtype != object:
        return values
    inferred = np.asarray(values.tolist())
    # Beside a word everything would become one.
    words = inferred.dtype.kind in "US" and not all(isinstance(value, str) for value in values)
    return values if words else inferred


@dataclass(frozen=True, eq=False)
class Given:
    """Rows with their labels and attributes."""

    X: Any  # array or frame
    rest: Any  # the same without the sensitive columns
    columns: list  # names or positions of the sensitive columns
    y: np.ndarray
    label: Variable
    variables: list
    attributes: pd.DataFrame  # values of the attributes, those in columns first

    @property
    def codes(self):
        """Codes of every attribute, NaN where missing."""
        return {v.name: v.encode(self.attributes[v.name].to_numpy()) for v in self.variables}

    @property
    def label_codes(self):
        return self.label.encode(self.y).astype(int)


def read_given(X, y, sensitive_features, columns):
    """Check what was passed.

    Parameters
    ----------
    X, y, sensitive_features
        As in ``fit_resample``.
    columns : list of str or int
        Columns of X that are attributes.

    Returns
    -------
    Given
    """
    if sensitive_features is None and not columns:
        raise ValueError(
            "sensitive_features=None: there is nothing to flip. Pass fit_resample(..., sensitive_features=...), or "
            "keep the attribute in X and name it in sensitive_columns. imbalanced-learn's Pipeline drops this keyword, "
            "without a word, unless metadata routing is enabled: sklearn.set_config(enable_metadata_routing=True)."
        )
    frame = as_frame(X)
    if frame is None:
        X = check_array(X, dtype=None if columns else FLOATS, allow_nd=True, input_name="X")
    n_samples = len(X)
    rest, own, columns = split_columns(X, columns)
    if columns and frame is None:
        X, rest = (check_array(part, dtype=FLOATS, input_name="X") for part in (X, rest))
    attributes = dict(own)
    if sensitive_features is not None:
        told = read_columns(sensitive_features, n_samples, getattr(X, "index", None))
        clashes = sorted(set(told) & set(attributes))
        if clashes:
            raise ValueError(f"{clashes} are in sensitive_columns and in sensitive_features. Name each once.")
        attributes |= told
    if LABEL in attributes:
        raise ValueError(f"sensitive attribute {LABEL!r} bears the name of the label. Rename it.")
    values = column_or_1d(as_values(y), warn=True)
    if pd.isna(values).any():
        raise ValueError("Input y contains missing values. Drop the rows without a label before.")
    values = learnable(values)
    check_classification_targets(values)
    if len(values) != n_samples:
        raise ValueError(f"y has {len(values)} rows, X has {n_samples}; they must have the same length.")
    if (values == values[0]).all():
        raise ValueError(f"y has a single class {values[:1].tolist()}: there is nothing to learn. Pass rows of two.")
    label, _ = label_variable(values, "classification", LABEL)
    quantities = [str(name) for name, told in attributes.items() if is_continuous(told)]
    if quantities:
        raise ValueError(f"sensitive attribute(s) {quantities} are numbers, not groups. Cut them into groups before.")
    variables = [sensitive_variable(str(name), told, continuous_features=[]) for name, told in attributes.items()]
    for variable in variables:
        warn_of_lonely_rows(variable, variable.encode(attributes[variable.name]), stacklevel=3)
    table = pd.DataFrame({str(name): pd.Series(told) for name, told in attributes.items()})
    return Given(X, rest, columns, values, label, variables, table)
