"""scikit-learn's estimator checks, and the output checks that ``check_estimator`` leaves out."""

from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from sklearn.utils.fixes import parse_version

from sklearn_fairlatent import FairLatentTransformer

# The checks fit on noise without an attribute, or on a column of noise: the warnings about that are right.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::sklearn_fairlatent.{category}Warning")
    for category in ("MissingSensitive", "LabelLost", "PenaltyIneffective", "SmallGroup")
]

# Two epochs: the checks are about behaviour, not about quality.
ESTIMATORS = [
    FairLatentTransformer(max_epochs=2),
    FairLatentTransformer(max_epochs=2, sensitive_columns=[0]),
]

# What scikit-learn 1.9 makes of each of the two; its other releases have a few more or less.
N_CHECKS = 47
FEWEST_CHECKS = 40

OUTPUT_CHECKS = [
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_get_feature_names_out_error",
    "check_dataframe_column_names_consistency",
    "check_n_features_in_after_fitting",
]


@parametrize_with_checks(ESTIMATORS)
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_no_check_is_missing(estimator):
    checks = Counter(check.func.__name__ for _, check in estimator_checks_generator(estimator))
    n_checks = checks.total()
    if parse_version("1.9") <= parse_version(sklearn.__version__) < parse_version("1.10"):
        assert n_checks == N_CHECKS
    assert n_checks >= FEWEST_CHECKS
    assert {"check_fit2d_1sample", "check_transformer_data_not_an_array", "check_fit_idempotent"} <= set(checks)


# The checks fit on a frame and transform an array, of which scikit-learn warns.
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names:UserWarning")
@pytest.mark.parametrize("name", OUTPUT_CHECKS)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_output_checks(estimator, name):
    getattr(estimator_checks, name)(type(estimator).__name__, clone(estimator).set_params(max_epochs=1))


def _frame(n_samples=80):
    rng = np.random.RandomState(0)
    frame = pd.DataFrame(rng.normal(size=(n_samples, 4)), columns=["a", "b", "c", "d"])
    frame.insert(1, "sex", rng.randint(2, size=n_samples))
    frame.index = 1000 - 3 * np.arange(n_samples)
    y = (frame["a"] + 0.5 * rng.normal(size=n_samples) > 0).astype(int)
    return frame, y


@pytest.mark.parametrize("sensitive", [["sex"], None], ids=["column", "argument"])
def test_set_output_with_a_sensitive_attribute(sensitive):
    frame, y = _frame()
    X = frame if sensitive else frame.drop(columns="sex")
    given = None if sensitive else frame["sex"]
    fair = FairLatentTransformer(2, max_epochs=2, sensitive_columns=sensitive, random_state=0)
    Z = fair.fit(X, y, sensitive_features=given).transform(X)
    names = ["fairlatenttransformer0", "fairlatenttransformer1"]
    assert fair.get_feature_names_out().tolist() == names

    as_pandas = fair.set_output(transform="pandas").transform(X)
    assert isinstance(as_pandas, pd.DataFrame)
    assert as_pandas.columns.tolist() == names
    pd.testing.assert_index_equal(as_pandas.index, X.index)
    np.testing.assert_array_equal(as_pandas.to_numpy(), Z)

    as_polars = fair.set_output(transform="polars").transform(X)
    assert isinstance(as_polars, pl.DataFrame)
    assert as_polars.columns == names
    np.testing.assert_array_equal(as_polars.to_numpy(), Z)

    assert isinstance(fair.set_output(transform="default").transform(X), np.ndarray)


def test_the_attribute_column_may_be_absent_and_nothing_else_may():
    frame, y = _frame()
    fair = FairLatentTransformer(max_epochs=2, sensitive_columns=["sex"], random_state=0).fit(frame, y)
    assert fair.n_features_in_ == 5
    assert fair.feature_names_in_.tolist() == frame.columns.tolist()
    Z = fair.transform(frame)
    np.testing.assert_array_equal(fair.transform(frame.drop(columns="sex")), Z)
    np.testing.assert_array_equal(fair.transform(frame.assign(sex=1 - frame["sex"])), Z)
    with pytest.raises(ValueError, match="names"):
        fair.transform(frame.drop(columns="b"))
    with pytest.raises(ValueError, match="(?s)names.*order"):
        fair.transform(frame[["a", "b", "sex", "c", "d"]])
