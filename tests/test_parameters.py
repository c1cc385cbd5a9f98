"""Every constructor argument that cannot be right is named, with its value and what is expected."""

import numpy as np
import pandas as pd
import pytest
import torch

from sklearn_fairlatent import FairLatentTransformer
from sklearn_fairlatent._parameters import check_parameters

CONSTRAINT_NAMES = "one of .*demographic_parity.*equalized_odds.*true_positive_rate_parity"

BAD = [
    ("n_codes", [0, 1, -2, 513, 4.0, True, "8", [4]], r"None or an integer in \[2, 512\]"),
    ("n_components", [0, -1, 1.0, 2.5, True, "all", [1]], "'auto', None or an integer >= 1"),
    ("constraints", ["parity", None, 1, ["demographic_parity"]], CONSTRAINT_NAMES),
    ("fairness_strength", [-0.1, np.inf, np.nan, "strong", None, True], "a finite number >= 0"),
    ("task", ["binary", None, ["auto"]], "'auto', 'classification' or 'regression'"),
    ("on_missing_sensitive", ["ignore", None, False], "'warn' or 'raise'"),
    ("max_epochs", [0, -3, 1.5, None, "many", True], "'auto' or an integer >= 1"),
    ("batch_size", [0, -3, 1.5, None, "big", True], "'auto' or an integer >= 1"),
    ("batch_size", [1, np.int64(1)], "at least 2 rows, to compare groups"),
    ("lr", [0, 0.0, -1e-3, np.inf, np.nan, "auto", None, True], "a finite number > 0"),
    ("n_layers", [-1, 1.0, None, "two", True], "an integer >= 0"),
    ("hidden_size", [0, -8, 8.0, None, "big", True], "an integer >= 1"),
    ("n_threads", [0, -1, 1.5, None, "all", True], "an integer >= 1"),
    ("validation_fraction", [0, 0.0, 1, 1.0, -0.1, 2, np.nan, None, "a", True], r"a number in \(0, 1\)"),
    ("verbose", ["yes", None, 0.5], "0, 1 or 2"),
    ("early_stopping", [0, 1, None, "yes"], "True or False"),
    ("warm_start", [0, 1, None, "yes"], "True or False"),
    ("net_params", [[("lr", 1)], "lr", 3], r"a dict of skorch.NeuralNet arguments, or None"),
    ("net_params", [{"max_epochs": 3}, {"lr": 0.1, "batch_size": 8}], "which the schedule of the rate goes by"),
    ("module", [torch.nn.Linear(2, 2), "flow", 3], "a class derived from torch.nn.Module, or None"),
    ("module", [int, dict], "torch.nn.Module"),
    ("sensitive_columns", ["sex", [], (), 0, {"sex"}], "a non-empty list of names or positions, or None"),
    ("counterfactual_map", ["linear", None, True], "'latent', 'trained', 'transport'"),
    ("immutable_features", ["age", [], (), 0, {"age"}], "a non-empty list of names or positions, or None"),
    ("continuous_features", ["age", [], (), 0, {"age"}], "a non-empty list of names or positions, or None"),
    ("encoder", ["pca", 3], "encoder"),
    ("decoder", ["inverse", 7], "decoder"),
    ("device", ["nonsense", 3.5], "device"),
    ("n_components", [np.array([1, 2])], "'auto', None or an integer >= 1"),
    ("max_epochs", [np.array([1, 2])], "'auto' or an integer >= 1"),
    ("verbose", [-1, 7], "0, 1 or 2"),
]
CASES = [(name, value, expected) for name, values, expected in BAD for value in values]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, 4))
    return X, (X[:, 0] > 0).astype(int), pd.Series(rng.permutation(np.arange(24) % 2), name="sex")


@pytest.mark.parametrize(("name", "value", "expected"), CASES, ids=lambda v: repr(v)[:30])
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the fit, where a bad value gets that far
def test_bad_value(name, value, expected, data):
    X, y, sensitive_features = data
    model = FairLatentTransformer(**{"max_epochs": 1, name: value})
    with pytest.raises(ValueError, match=expected) as caught:
        model.fit(X, y, sensitive_features=sensitive_features)
    assert f"{name}=" in str(caught.value)
    shown = value.__name__ if isinstance(value, type) else repr(value)
    assert shown in str(caught.value)
    assert not hasattr(model, "flow_")


def test_bad_random_state(data):
    X, y, sensitive_features = data
    with pytest.raises(ValueError, match="'x' cannot be used to seed"):
        FairLatentTransformer(random_state="x").fit(X, y, sensitive_features=sensitive_features)


def test_every_argument_that_is_checked_has_a_bad_case():
    # What a value of these means is known only with the data, and tested there.
    elsewhere = {"pos_label", "random_state"}
    assert {name for name, _, _ in CASES} | elsewhere == set(FairLatentTransformer().get_params())


GOOD = [
    {},
    {"n_components": None, "max_epochs": np.int64(3), "batch_size": np.int32(2)},
    {"n_components": 3, "n_layers": 0, "verbose": True},
    {"constraints": "equal_opportunity", "fairness_strength": 0},
    {"lr": np.float32(0.1), "validation_fraction": np.float64(0.5), "net_params": {}},
    {"sensitive_columns": ("sex",), "continuous_features": ["age"], "module": torch.nn.Identity},
    {"early_stopping": True, "net_params": {"callbacks": []}, "task": "regression"},
    {"early_stopping": np.True_},
]


@pytest.mark.parametrize("params", GOOD, ids=repr)
def test_good_values(params):
    model = FairLatentTransformer(**params)
    check_parameters(model)
    assert {name: model.get_params(deep=False)[name] for name in params} == params


def test_a_bad_value_leaves_an_earlier_fit_as_it_was(data):
    X, _, sensitive_features = data
    model = FairLatentTransformer(max_epochs=1, fairness_strength=0, random_state=0)
    model.fit(X, sensitive_features=sensitive_features)
    before = model.transform(X)
    with pytest.raises(ValueError, match="lr=-1"):
        model.set_params(lr=-1).fit(X, sensitive_features=sensitive_features)
    np.testing.assert_array_equal(model.transform(X), before)
