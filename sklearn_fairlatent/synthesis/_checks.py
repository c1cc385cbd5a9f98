"""Checks of the synthesizer's arguments, which run in ``fit``, as scikit-learn asks, and of those of ``sample``."""

import numbers

import numpy as np
from sklearn.frozen import FrozenEstimator

from .._devices import EXPECTED_DEVICE, is_device
from .._parameters import check_net_params, check_value, is_integer, is_real
from .._transformer import FairLatentTransformer
from ._distilling import SIZES

ROWS = ("auto", "table", "vectors")
SOURCES = ("student", "teacher")


def check_parameters(estimator):
    """Raise ValueError, with name, value and expectation, for the first argument that cannot be right."""

    def check(name, test, expected):
        value = getattr(estimator, name)
        check_value(name, value, test(value), expected)

    def positive_integer(value):
        return is_integer(value) and value >= 1

    def word(value, *words):
        return isinstance(value, str) and value in words

    inner = inner_transformer(estimator.transformer)
    check_value(
        "transformer",
        estimator.transformer,
        inner is None or isinstance(inner, FairLatentTransformer),
        "a FairLatentTransformer, one in a FrozenEstimator, or None",
    )
    if inner is not None and inner.sensitive_columns:
        raise ValueError(
            f"transformer has sensitive_columns={list(inner.sensitive_columns)!r}: it would not know the rows without "
            "them. Name them in the sensitive_columns of the synthesizer instead, and fit the transformer on the rest "
            "with sensitive_features."
        )
    check(
        "student_size",
        lambda v: word(v, *SIZES) or positive_integer(v),
        f"one of {list(SIZES)}, or the largest number of parameters, an integer >= 1",
    )
    for name in ("quality_weight", "utility_weight"):
        check(name, lambda v: is_real(v) and 0 <= v < np.inf, "a finite number >= 0")
    if estimator.quality_weight == estimator.utility_weight == 0:
        raise ValueError("quality_weight=0 and utility_weight=0: nothing would be learnt. Raise one of them.")
    check("rows", lambda v: word(v, *ROWS), f"one of {list(ROWS)}")
    check(
        "sensitive_columns",
        lambda v: v is None or (isinstance(v, (list, tuple)) and len(v) > 0),
        "a non-empty list of names or positions, or None",
    )
    for name in ("max_epochs", "batch_size"):
        check(name, lambda v: word(v, "auto") or positive_integer(v), "'auto' or an integer >= 1")
    check("lr", lambda v: is_real(v) and 0 < v < np.inf, "a finite number > 0")
    check("n_threads", positive_integer, "an integer >= 1")
    check("validation_fraction", lambda v: is_real(v) and 0 < v < 1, "a number in (0, 1)")
    check("on_missing_sensitive", lambda v: word(v, "warn", "raise"), "'warn' or 'raise'")
    check("device", is_device, EXPECTED_DEVICE)
    check("verbose", lambda v: isinstance(v, (numbers.Integral, np.bool_)) and v in (0, 1, 2), "0, 1 or 2")
    check_net_params(estimator.net_params, "synthesizer")


def inner_transformer(transformer):
    """What a FrozenEstimator holds, else what was given."""
    return transformer.estimator if isinstance(transformer, FrozenEstimator) else transformer


def check_count(name, value):
    """Raise unless ``value`` is a positive number of rows."""
    check_value(name, value, is_integer(value) and value >= 1, "an integer >= 1")
