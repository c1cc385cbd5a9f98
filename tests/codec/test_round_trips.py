"""The round trip, and valid rows from any numbers."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from sklearn_fairlatent._codec import TabularCodec

from .samples import A_DAY, A_SECOND, FRAMES, assert_same_table, build_frame, make_table, mixed_columns, name_order

# The round trip


def test_round_trip_of_decimals_is_exact():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    X = np.c_[X[:, 0].round(4), (1e6 * X[:, 1]).round(2), X[:, 2].round(9)]
    codec = TabularCodec().fit(X)
    assert_array_equal(codec.inverse_transform(codec.transform(X)), X)


@pytest.mark.parametrize("numeric", ["standardize", "quantile"])
@pytest.mark.parametrize("kind", ["pandas", "polars", "objects"])
def test_round_trip_of_every_kind_of_column(kind, numeric):
    X = make_table(kind)
    codec = TabularCodec(numeric=numeric).fit(X)
    Z = codec.transform(X)
    assert isinstance(Z, np.ndarray)
    assert Z.dtype == np.float64
    assert Z.shape == (9, len(codec.get_feature_names_out()))
    assert np.isfinite(Z).all()
    assert_same_table(codec.inverse_transform(Z), X)
    assert_same_table(pickle.loads(pickle.dumps(codec)).inverse_transform(Z), X)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_round_trip_of_numbers_as_categories(kind):
    X = make_table(kind)
    numbers = ["age", "hours", "children", "small", "count", "zero"]
    codec = TabularCodec(categorical_features=numbers).fit(X)
    assert set(numbers) <= set(codec.categories_)
    assert codec.categories_["count"] == [1, 3]
    assert all(type(category) is int for category in codec.categories_["count"])
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)


@pytest.mark.parametrize(
    "X",
    [
        np.array([[1.5, 2.0], [np.nan, 4.0], [2.5, 4.0]], dtype=np.float32),
        np.array([[1, 2], [3, 2**49]]),
        np.array([[1, 2], [3, 4]], dtype=np.uint8),
        np.array([[True, False], [True, True]]),
        np.array([["a", "bcd"], ["", "bcd"]]),
        np.array([["2024-02-29", "1950-01-01"], ["NaT", "2024-03-01"]], dtype="M8[ns]"),
        np.array([["2024-02", "1950-01"], ["NaT", "2024-03"]], dtype="M8[M]"),
        np.array([["2024-02-29T11", "1950-01-01"], ["NaT", "2024-03-01"]], dtype="M8[h]"),
        np.array([[1, 2], ["NaT", -3]], dtype="m8[h]"),
    ],
    ids=lambda X: str(X.dtype),
)
def test_round_trip_of_arrays(X):
    codec = TabularCodec().fit(X)
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)
    assert list(codec.feature_groups_) == [0, 1]
    assert not hasattr(codec, "feature_names_in_")


def test_nested_lists():
    codec = TabularCodec().fit([[1, 2.5], [3, 4.5]])
    assert_same_table(codec.inverse_transform(codec.transform([[1, 2.5]])), np.array([[1, 2.5]]))
    codec = TabularCodec().fit([[1, "a"], [3, "b"]])
    assert codec.categories_ == {1: ["a", "b"]}
    expected = np.array([[3, "a"]], dtype=object)
    assert_same_table(codec.inverse_transform(codec.transform([[3, "a"]])), expected)


@pytest.mark.parametrize("kind", FRAMES)
@settings(max_examples=80, deadline=None)
@given(columns=mixed_columns())
def test_round_trip_of_random_frames(kind, columns):
    X = build_frame(columns, kind)
    codec = TabularCodec(ordered_features=name_order(columns)).fit(X)
    Z = codec.transform(X)
    assert Z.shape[1] == sum(group.stop - group.start for group in codec.feature_groups_.values())
    assert_same_table(codec.inverse_transform(Z), X)


@pytest.mark.parametrize("kind", FRAMES)
def test_round_trip_of_text_that_ends_in_a_null_character(kind):
    X = FRAMES[kind]({"text": ["a\0", "a", "\0"]})
    codec = TabularCodec().fit(X)
    assert codec.categories_ == {"text": ["\0", "a", "a\0"]}
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)


def test_round_trip_of_many_categories():
    X = pd.DataFrame({"id": [f"user {i}" for i in range(2000)]})
    codec = TabularCodec().fit(X)
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)


@pytest.mark.parametrize("n_rows", [300, 5000])
def test_round_trip_under_quantiles_is_as_close_as_documented(n_rows):
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=n_rows), rng.lognormal(sigma=2.0, size=n_rows), 1e-9 * rng.uniform(size=n_rows)]
    codec = TabularCodec(numeric="quantile").fit(X)
    error = np.abs(codec.inverse_transform(codec.transform(X)) - X)
    spread = np.ptp(X, axis=0)
    inner = np.abs(codec.transform(X)) < 5.19
    assert (np.where(inner, error, 0.0) <= 1e-9 * spread).all()
    quantiles = np.quantile(X, [0, 1 / 999, 998 / 999, 1], axis=0)
    outermost = np.maximum(quantiles[1] - quantiles[0], quantiles[3] - quantiles[2])
    assert (error <= 1e-9 * spread + 1e-4 * outermost).all()


def test_quantiles_give_normal_scores():
    X = np.random.default_rng(0).lognormal(size=(2001, 1))
    Z = TabularCodec(numeric="quantile").fit_transform(X)
    assert abs(np.median(Z)) < 0.01
    assert abs(np.quantile(Z, 0.975) - 1.96) < 0.01


def test_standardize_uses_observed_values_only():
    X = pd.DataFrame({"a": [1.0, 2.0, 6.0, np.nan, np.nan, np.nan]})
    Z = TabularCodec().fit_transform(X)
    assert_allclose(Z[:3, 0].mean(), 0, atol=1e-12)
    assert_allclose(Z[:3, 0].std(), 1)
    assert_allclose(Z[3:, 0], Z[1, 0])  # the median
    assert_array_equal(Z[:, 1], [0, 0, 0, 1, 1, 1])


# Any numbers decode to valid rows


def assert_valid_rows(rows, codec, X):
    """Same dtypes, known values only; and rows that the codec itself takes for what they are."""
    result = rows if isinstance(rows, pd.DataFrame) else rows.to_pandas()
    seen = X if isinstance(X, pd.DataFrame) else X.to_pandas()
    if isinstance(rows, pd.DataFrame):
        assert (rows.dtypes == X.dtypes).all()
    else:
        assert rows.schema == X.schema
    for name in seen:
        got, known = result[name].dropna(), seen[name].dropna()
        if seen[name].notna().all():
            assert len(got) == len(result)
        if name in codec.categories_:
            assert set(got) <= set(codec.categories_[name])
        elif len(known) and known.dtype.kind in "mM":
            assert got.empty or known.min() <= got.min() <= got.max() <= known.max()
            # All that mixed_columns draws are whole seconds, and its days midnights.
            length = A_DAY if name == "day" else A_SECOND
            assert ((got - known.min()) % length == 0 * A_SECOND).all()
        elif len(known):
            assert got.empty or known.min() <= got.min() <= got.max() <= known.max()
            if (known == known.round()).all():
                assert (got == got.round()).all()
        else:
            assert got.empty
    assert_same_table(codec.inverse_transform(codec.transform(rows)), rows, fitted=X)


@pytest.mark.parametrize("numeric", ["standardize", "quantile"])
@pytest.mark.parametrize("kind", FRAMES)
@settings(max_examples=30, deadline=None)
@given(columns=mixed_columns(), data=st.data())
def test_any_numbers_decode_to_valid_rows(kind, numeric, columns, data):
    X = build_frame(columns, kind)
    order = name_order(columns)
    codec = TabularCodec(numeric=numeric, ordered_features=order).fit(X)
    n_encoded = len(codec.get_feature_names_out())
    finite = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-3, 3)
    Z = data.draw(st.lists(st.lists(finite, min_size=n_encoded, max_size=n_encoded), min_size=1, max_size=4))
    rows = codec.inverse_transform(Z)
    assert rows.shape == (len(Z), X.shape[1])
    if numeric == "quantile":  # whose own round trip is not exact
        codec = TabularCodec(ordered_features=order).fit(X)
    assert_valid_rows(rows, codec, X)


def test_decoding_rules():
    X = pd.DataFrame({"n": [1.0, 2.0, 4.0, None], "x": [0.5, 1.0, 2.0, 1.5], "c": ["a", "b", "b", None]})
    codec = TabularCodec().fit(X)
    assert codec.get_feature_names_out().tolist() == ["n", "n_missing", "x", "c_a", "c_b", "c_missing"]
    Z = np.array(
        [
            [99, 0.49, -99, 0.2, 0.1, 0.1],
            [-99, 0.5, 99, -9, -8, -7],
            [0.1, -5, 0, 0, 0, 0],
        ]
    )
    expected = pd.DataFrame({"n": [4.0, None, 2.0], "x": [0.5, 2.0, 1.25], "c": ["a", None, "b"]})
    pd.testing.assert_frame_equal(codec.inverse_transform(Z), expected)


def test_numbers_beyond_the_range_are_clipped_on_the_way_back():
    X = pd.DataFrame({"whole": [1.0, 5.0], "x": [0.5, 2.5]})
    codec = TabularCodec().fit(X)
    new = pd.DataFrame({"whole": [2.25, 7.0], "x": [2.25, 7.0]})
    Z = codec.transform(new)
    assert Z[1, 1] > codec.transform(X)[:, 1].max()  # not on the way in
    expected = pd.DataFrame({"whole": [2.0, 5.0], "x": [2.25, 2.5]})
    pd.testing.assert_frame_equal(codec.inverse_transform(Z), expected)


def test_index_follows_a_pandas_frame():
    X = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "x"]}, index=[30, 10, 20])
    codec = TabularCodec().set_output(transform="pandas").fit(X)
    Z = codec.transform(X)
    assert list(Z.columns) == ["a", "b_x", "b_y"]
    pd.testing.assert_frame_equal(codec.inverse_transform(Z), X)
    pd.testing.assert_frame_equal(codec.inverse_transform(Z.to_numpy()), X.reset_index(drop=True))
    codec.set_output(transform="polars")
    pd.testing.assert_frame_equal(codec.inverse_transform(codec.transform(X)), X.reset_index(drop=True))


def test_inverse_of_a_pipeline():
    X = make_table("pandas")
    pipeline = make_pipeline(TabularCodec(), MaxAbsScaler()).fit(X)
    result = pipeline.inverse_transform(pipeline.transform(X))
    pd.testing.assert_frame_equal(result, X)
