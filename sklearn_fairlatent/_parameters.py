"""Checks of arguments; those of a constructor run in ``fit``, as scikit-learn asks."""

import numbers

import numpy as np
import pandas as pd
import torch

from ._attributes import CONSTRAINTS
from ._devices import EXPECTED_DEVICE, is_device
from ._encoding import is_network

# Arguments of skorch that the schedule of a fit goes by.
SCHEDULED = {
    "module",
    "criterion",
    "max_epochs",
    "batch_size",
    "lr",
    "device",
    "train_split",
    "iterator_train",
    "iterator_valid",
}
COUNTERFACTUAL_MAPS = ("latent", "trained", "transport")
# Samples of n rows from equal groups seem about sqrt(k / n) apart in k codes: with more, few tables show anything.
MOST_CODES = 512


def is_integer(value):
    """Whether it is a whole number, which True is not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_real(value):
    """Whether it is a number, which True is not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_value(name, value, valid, expected):
    """Raise ValueError, with name, value and expectation, unless ``valid``."""
    if not valid:
        raise ValueError(f"{name}={value!r}: expected {expected}.")


def check_net_params(net_params, owner):
    """Raise ValueError unless it is None or a dict without what the ``owner`` of the net has arguments for."""
    valid = net_params is None or isinstance(net_params, dict)
    check_value("net_params", net_params, valid, "a dict of skorch.NeuralNet arguments, or None")
    taken = sorted(set(net_params or {}) & SCHEDULED)
    if taken:
        raise ValueError(
            f"net_params={net_params!r} sets {taken}, which the schedule of the rate goes by. Set those of the {owner}."
        )


def check_parameters(estimator):
    """Raise ValueError, with name, value and expectation, for the first argument that cannot be right."""

    def check(name, test, expected):
        value = getattr(estimator, name)
        check_value(name, value, test(value), expected)

    def is_auto(value):
        return isinstance(value, str) and value == "auto"

    def positive_integer(value):
        return is_integer(value) and value >= 1

    check(
        "n_components",
        lambda v: v is None or is_auto(v) or positive_integer(v),
        "'auto', None or an integer >= 1",
    )
    check(
        "n_codes",
        lambda v: v is None or (is_integer(v) and 2 <= v <= MOST_CODES),
        f"None or an integer in [2, {MOST_CODES}]",
    )
    check("constraints", lambda v: isinstance(v, str) and v in CONSTRAINTS, f"one of {sorted(CONSTRAINTS)}")
    check(
        "pos_label",
        lambda v: v is None or (pd.api.types.is_scalar(v) and not pd.isna(v)),
        "one of the classes, or None",
    )
    check("fairness_strength", lambda v: is_real(v) and 0 <= v < float("inf"), "a finite number >= 0")
    check(
        "task",
        lambda v: v in ("auto", "classification", "regression"),
        "'auto', 'classification' or 'regression'",
    )
    check("on_missing_sensitive", lambda v: v in ("warn", "raise"), "'warn' or 'raise'")
    for name in ("max_epochs", "batch_size"):
        check(name, lambda v: is_auto(v) or positive_integer(v), "'auto' or an integer >= 1")
    check_value("batch_size", estimator.batch_size, estimator.batch_size != 1, "at least 2 rows, to compare groups")
    check("lr", lambda v: is_real(v) and 0 < v < float("inf"), "a finite number > 0")
    check("n_layers", lambda v: is_integer(v) and v >= 0, "an integer >= 0")
    check("hidden_size", positive_integer, "an integer >= 1")
    check("n_threads", positive_integer, "an integer >= 1")
    check("validation_fraction", lambda v: is_real(v) and 0 < v < 1, "a number in (0, 1)")
    check("verbose", lambda v: isinstance(v, (numbers.Integral, np.bool_)) and v in (0, 1, 2), "0, 1 or 2")
    for name in ("early_stopping", "warm_start"):
        check(name, lambda v: isinstance(v, (bool, np.bool_)), "True or False")
    check(
        "encoder",
        lambda v: v is None or hasattr(v, "transform") or callable(v) or is_network(v),
        "an estimator with transform as the encoder, a torch.nn.Module, a skorch net, a callable, or None",
    )
    check(
        "decoder",
        lambda v: v is None or hasattr(v, "transform") or callable(v) or is_network(v),
        "an estimator with transform as the decoder, a torch.nn.Module, a skorch net, a callable, or None",
    )
    check("device", is_device, EXPECTED_DEVICE)
    check_net_params(estimator.net_params, "transformer")
    check(
        "module",
        lambda v: v is None or (isinstance(v, type) and issubclass(v, torch.nn.Module)),
        "a class derived from torch.nn.Module, or None",
    )
    check("counterfactual_map", lambda v: v in COUNTERFACTUAL_MAPS, f"one of {list(COUNTERFACTUAL_MAPS)}")
    for name in ("sensitive_columns", "continuous_features", "immutable_features"):
        check(
            name,
            lambda v: v is None or (isinstance(v, (list, tuple)) and len(v) > 0),
            "a non-empty list of names or positions, or None",
        )
