"""The classes and the sensitive attributes of a fit: from columns of X and from the arguments, checked and coded."""

import warnings

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d

from ._attributes import as_values, label_variable, sensitive_variable, warn_of_lonely_rows
from ._exceptions import MissingSensitiveWarning
from ._groups import is_continuous, read_columns

# Frames from a warning to who called: this function, the estimator's ``_fit``, its ``fit``.
CALLER = 4


def read_attributes(own, sensitive_features, n_samples, index, *, taken, continuous, on_missing):
    """Variables and codes of all attributes; to be called by the ``_fit`` that ``fit`` calls.

    Parameters
    ----------
    own : dict of str to ndarray
        Attributes that are columns of X.
    sensitive_features : Series, DataFrame, array-like of shape (n_samples,) or (n_samples, n), dict, or None
    n_samples : int
    index : pandas.Index or None
        That of X.
    taken : set of str
        Names that no attribute may bear.
    continuous : list of str or None
        Attributes that are quantities. None: there may be none.
    on_missing : {"warn", "raise"}
        What is done where there is no attribute at all.

    Returns
    -------
    variables : list of Variable
    codes : list of ndarray of shape (n_samples,)
        NaN where missing.
    """
    columns = dict(own)
    if sensitive_features is not None:
        given = read_columns(sensitive_features, n_samples, index)
        clashes = sorted(set(given) & set(columns))
        if clashes:
            raise ValueError(f"{clashes} are in sensitive_columns and in sensitive_features. Name each attribute once.")
        columns.update(given)
    clashes = sorted(set(columns) & taken)
    if clashes:
        raise ValueError(
            f"sensitive attribute(s) {clashes} bear the name of another block, or of the label. Rename them."
        )
    if continuous is None:
        quantities = [name for name, values in columns.items() if is_continuous(values)]
        if quantities:
            raise ValueError(
                f"sensitive attribute(s) {quantities} are numbers, not groups. Cut them into groups before."
            )
        continuous = []
    strangers = [name for name in continuous if name not in columns]
    if strangers and columns:
        raise ValueError(f"continuous_features names {strangers}, but the sensitive attributes are {sorted(columns)}.")
    if not columns:
        message = (
            "No sensitive attribute: pass fit(..., sensitive_features=...) or sensitive_columns=[...]. "
            "What is learnt is plain, nothing about it is fair."
        )
        if on_missing == "raise":
            raise ValueError(message)
        warnings.warn(message, MissingSensitiveWarning, stacklevel=CALLER)
    variables = [sensitive_variable(name, values, continuous_features=continuous) for name, values in columns.items()]
    codes = [variable.encode(columns[variable.name]) for variable in variables]
    for variable, code in zip(variables, codes, strict=True):
        warn_of_lonely_rows(variable, code, CALLER)
        n_missing = int(np.isnan(code).sum())
        if n_missing:
            warnings.warn(
                f"sensitive_features: {n_missing} of {len(code)} rows have no value of {variable.name!r}. "
                "They train everything but its fairness.",
                UserWarning,
                stacklevel=CALLER,
            )
    return variables, codes


def read_classes(y, n_samples, name, what):
    """The label as a Variable of groups, and its codes.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
    n_samples : int
    name : str
    what : str
        What takes classes only, for the error.

    Raises
    ------
    ValueError
        If there is one class, numbers that are no classes, or another number of rows.
    """
    values = column_or_1d(as_values(y) if isinstance(y, (list, tuple)) else y, warn=True)
    if len(values) != n_samples:
        raise ValueError(f"y has {len(values)} rows, X has {n_samples}; they must have the same length.")
    if len(values) and not pd.isna(values).any() and (values == values[0]).all():
        raise ValueError(f"y has a single class {values[:1].tolist()}; {what} needs at least two.")
    label, codes = label_variable(values, "auto", name)
    if label.kind == "continuous":
        raise ValueError(f"Unknown label type: y is continuous, this is {what}. Cut y into classes before.")
    return label, codes
