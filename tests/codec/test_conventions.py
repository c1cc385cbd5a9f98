"""scikit-learn's checks, what a consumer of the encoding reads, and housekeeping."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from sklearn_fairlatent._codec import TabularCodec

from .samples import assert_same_table, make_table

VARIANTS = [TabularCodec(), TabularCodec(numeric="quantile"), TabularCodec(handle_unknown="ignore")]


# scikit-learn's own checks


@parametrize_with_checks(VARIANTS)
def test_sklearn_checks(estimator, check):
    check(estimator)


def test_sklearn_checks_are_collected():
    for variant in VARIANTS:
        assert len(list(estimator_checks_generator(variant))) > 40


@pytest.mark.parametrize(
    "name",
    [
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_set_output_transform_polars",
        "check_global_output_transform_pandas",
        "check_global_set_output_transform_polars",
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
        "check_dataframe_column_names_consistency",
    ],
)
@pytest.mark.parametrize("variant", VARIANTS, ids=repr)
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names")  # they mix frames and arrays
def test_sklearn_output_checks(name, variant):
    getattr(estimator_checks, name)("TabularCodec", clone(variant))


def test_tags():
    tags = get_tags(TabularCodec()).input_tags
    assert tags.categorical
    assert tags.allow_nan
    assert not tags.sparse


# What a consumer of the encoding reads


def test_groups_and_categories():
    X = pd.DataFrame(
        {
            "a": [1.0, None, 3.0],
            "c": pd.Series(["x", "y", "x"], dtype=pd.CategoricalDtype(["y", "unseen", "x"])),
            "b": [True, True, True],
            "t": ["z", None, "k"],
        }
    )
    codec = TabularCodec().fit(X)
    assert codec.feature_groups_ == {"a": slice(0, 2), "c": slice(2, 5), "b": slice(5, 7), "t": slice(7, 10)}
    assert codec.categories_ == {"c": ["y", "unseen", "x"], "b": [False, True], "t": ["k", "z"]}
    assert list(codec.feature_names_in_) == ["a", "c", "b", "t"]
    assert codec.n_features_in_ == 4
    unseen = X.assign(c=pd.Series(["unseen"] * 3, dtype=X["c"].dtype), b=False)
    assert_same_table(codec.inverse_transform(codec.transform(unseen)), unseen)


def test_integer_labels():
    X = pd.DataFrame([[1, "a"], [2, "b"]], columns=[10, 20])
    codec = TabularCodec(categorical_features=[0]).fit(X)
    assert codec.categories_ == {10: [1, 2], 20: ["a", "b"]}
    assert codec.get_feature_names_out().tolist() == ["x0_1", "x0_2", "x1_a", "x1_b"]
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)


def test_names_are_unique():
    X = pd.DataFrame({"a": ["missing", None, "b_c"], "a_b": ["c", "c", "c"], "a_b_c_2": [1, 2, 3]})
    codec = TabularCodec().set_output(transform="polars").fit(X)
    names = ["a_b_c", "a_missing", "a_missing_2", "a_b_c_2", "a_b_c_2_2"]
    assert codec.get_feature_names_out().tolist() == names
    assert codec.transform(X).columns == names


def test_names_in_may_be_given_for_arrays():
    codec = TabularCodec().fit([[1, "a"], [2, "b"]])
    assert codec.get_feature_names_out(["n", "c"]).tolist() == ["n", "c_a", "c_b"]


# Housekeeping


def test_refit_forgets_the_names():
    codec = TabularCodec().fit(pd.DataFrame({"a": [1.0, 2.0]}))
    assert list(codec.feature_names_in_) == ["a"]
    codec.fit([[1.0, 2.0]])
    assert not hasattr(codec, "feature_names_in_")
    assert codec.n_features_in_ == 2


def test_input_is_not_changed():
    X = make_table("pandas")
    before = X.copy(deep=True)
    codec = TabularCodec(numeric="quantile").fit(X)
    Z = codec.transform(X)
    kept = Z.copy()
    codec.inverse_transform(Z)
    pd.testing.assert_frame_equal(X, before)
    assert_array_equal(Z, kept)


def test_fit_keeps_no_rows():
    X = pd.DataFrame({"a": np.arange(20_000), "b": ["x", "y"] * 10_000})
    assert len(pickle.dumps(TabularCodec().fit(X))) < 10_000


def test_large_numbers_decode_without_a_warning():
    codec = TabularCodec().fit([[1e90], [-1e90]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_array_equal(codec.inverse_transform([[1e300], [-1e300]]), [[1e90], [-1e90]])


def test_memory_is_a_few_times_the_encoding():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({f"n{i}": rng.normal(size=20_000) for i in range(6)})
    X = X.assign(**{f"c{i}": rng.choice(list("abcdefgh"), 20_000) for i in range(6)})
    codec = TabularCodec().fit(X)
    tracemalloc.start()
    try:
        Z = codec.transform(X)
        encoding = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        codec.inverse_transform(Z)
        decoding = tracemalloc.get_traced_memory()[1] - Z.nbytes
    finally:
        tracemalloc.stop()
    assert encoding < 3 * Z.nbytes
    assert decoding < 3 * Z.nbytes
