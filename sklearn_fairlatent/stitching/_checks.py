"""Checks of the constructor's arguments, which run in ``fit``, as scikit-learn asks."""

import numbers

import numpy as np
from torch import nn

from .._devices import EXPECTED_DEVICE, is_device
from .._parameters import check_net_params, check_value, is_integer, is_real
from ._constraints import CONSTRAINTS

KINDS = ("residual", "linear", "last_layer")


def check_parameters(estimator):
    """Raise ValueError, with name, value and expectation, for the first argument that cannot be right."""

    def check(name, test, expected):
        value = getattr(estimator, name)
        check_value(name, value, test(value), expected)

    def positive_integer(value):
        return is_integer(value) and value >= 1

    def word(value, *words):
        return isinstance(value, str) and value in words

    for name in ("extractor", "head"):
        check(name, lambda v: v is None or isinstance(v, nn.Module), "a torch.nn.Module, or None")
    check(
        "network",
        lambda v: v is None or isinstance(v, nn.Module) or hasattr(v, "fit"),
        "a torch.nn.Module, a skorch net, an estimator or None",
    )
    given = [name for name in ("network", "extractor", "head") if getattr(estimator, name) is not None]
    if given not in ([], ["network"], ["extractor", "head"]):
        raise ValueError(f"{given} are given: expected network= alone, or extractor= and head= together.")
    check("split", lambda v: isinstance(v, str), "the name of a layer, 'input' or 'auto'")
    check("constraints", lambda v: word(v, *CONSTRAINTS), f"one of {sorted(CONSTRAINTS)}")
    check("fairness_strength", lambda v: is_real(v) and 0 <= v < np.inf, "a finite number >= 0")
    check(
        "stitch",
        lambda v: isinstance(v, nn.Module) or word(v, *KINDS),
        "'residual', 'linear', 'last_layer' or a torch.nn.Module",
    )
    if isinstance(estimator.stitch, nn.Module) and not any(True for _ in estimator.stitch.parameters()):
        raise ValueError(f"stitch={type(estimator.stitch).__name__} has no weights: there is nothing to train.")
    check(
        "balanced",
        lambda v: isinstance(v, (bool, np.bool_)) or word(v, "subsample"),
        "True, 'subsample' or False",
    )
    check(
        "sensitive_columns",
        lambda v: v is None or (isinstance(v, (list, tuple)) and len(v) > 0),
        "a non-empty list of names or positions, or None",
    )
    check(
        "classes",
        lambda v: v is None or (np.ndim(v) == 1 and len(v) == len(np.unique(v)) >= 2),
        "two or more different values, or None",
    )
    check(
        "network_output",
        lambda v: word(v, "auto", "logits", "probabilities"),
        "'auto', 'logits' or 'probabilities'",
    )
    for name in ("hidden_size", "n_threads"):
        check(name, positive_integer, "an integer >= 1")
    check("max_epochs", lambda v: word(v, "auto") or positive_integer(v), "'auto' or an integer >= 1")
    check("batch_size", lambda v: word(v, "auto") or (is_integer(v) and v >= 2), "'auto' or an integer >= 2")
    check("lr", lambda v: word(v, "auto") or (is_real(v) and 0 < v < np.inf), "'auto' or a finite number > 0")
    check("validation_fraction", lambda v: is_real(v) and 0 < v < 1, "a number in (0, 1)")
    check("on_missing_sensitive", lambda v: word(v, "warn", "raise"), "'warn' or 'raise'")
    check("device", is_device, EXPECTED_DEVICE)
    check("verbose", lambda v: isinstance(v, (numbers.Integral, np.bool_)) and v in (0, 1, 2), "0, 1 or 2")
    check_net_params(estimator.net_params, "classifier")
