"""Checks of the constructor's arguments; they run in ``fit``, as scikit-learn asks."""

import numbers

from ._attributes import CONSTRAINTS


def _is_integer(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_real(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check(name, value, valid, expected):
    if not valid:
        raise ValueError(f"{name}={value!r}: expected {expected}.")


def check_parameters(estimator):
    """Raise ValueError, with name, value and expectation, for the first argument that cannot be right."""

    def check(name, test, expected):
        value = getattr(estimator, name)
        _check(name, value, test(value), expected)

    def positive_integer(value):
        return _is_integer(value) and value >= 1

    check(
        "n_components",
        lambda v: v is None or v == "auto" or positive_integer(v),
        "'auto', None or an integer >= 1",
    )
    check("constraints", lambda v: isinstance(v, str) and v in CONSTRAINTS, f"one of {sorted(CONSTRAINTS)}")
    check("fairness_strength", lambda v: _is_real(v) and 0 <= v < float("inf"), "a finite number >= 0")
    check(
        "task",
        lambda v: v in ("auto", "classification", "regression"),
        "'auto', 'classification' or 'regression'",
    )
    check("on_missing_sensitive", lambda v: v in ("warn", "raise"), "'warn' or 'raise'")
    for name in ("max_epochs", "batch_size"):
        check(name, lambda v: v == "auto" or positive_integer(v), "'auto' or an integer >= 1")
    _check(
        "batch_size", estimator.batch_size, estimator.batch_size != 1, "at least 2 rows, to compare groups"
    )
    check("lr", lambda v: _is_real(v) and 0 < v < float("inf"), "a finite number > 0")
    check("n_layers", lambda v: _is_integer(v) and v >= 0, "an integer >= 0")
    check("hidden_size", positive_integer, "an integer >= 1")
    check("n_threads", positive_integer, "an integer >= 1")
    check("validation_fraction", lambda v: _is_real(v) and 0 < v < 1, "a number in (0, 1)")
    check("verbose", lambda v: _is_integer(v) or isinstance(v, bool), "0, 1 or 2")
    check("early_stopping", lambda v: isinstance(v, bool), "True or False")
    check(
        "net_params",
        lambda v: v is None or isinstance(v, dict),
        "a dict of skorch.NeuralNet arguments, or None",
    )
    check(
        "module", lambda v: v is None or isinstance(v, type), "a class derived from torch.nn.Module, or None"
    )
    for name in ("sensitive_columns", "continuous_features"):
        check(
            name,
            lambda v: v is None or (isinstance(v, (list, tuple)) and len(v) > 0),
            "a non-empty list of names or positions, or None",
        )
